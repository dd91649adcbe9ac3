"""Hypothesis strategies of convolutions, deconvolutions and fully connected layers, and of inputs that are steered at corners.

Weights hold +-1 code often, so that any sum can be reached; biases lie at the register's ends, at a tie of the output, at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from hwsim.arith.rounding import round_shift
from hwsim.contract import FloatMacContract, MacContract, Output
from hwsim.contract.mac import signed_width
from hwsim.contract.scaling import LIMITS
from hwsim.errors import ContractError, InputError
from hwsim.formats import Affine, FixedPoint, Format, IntegerFormat
from hwsim.layers import Convolution, Deconvolution, FullyConnected, Layer, MacLayer, Shape
from hwsim.testing.bounds import check_int, check_strategy, chosen
from hwsim.testing.contract_strategies import MAX_TAPS, NARROWER, Wishes, clipped, contracts_of, draw_from
from hwsim.testing.corners import corner_codes, extremes, unit_codes, zero_code, zero_codes
from hwsim.testing.steer import Aim, Steering, aims_of, steered
from hwsim.testing.strategies import LONG_TILE, any_code, codes, laid_out, one_code

Contract = MacContract | FloatMacContract | SearchStrategy[Any] | None
MAX_SIDE = 64
LIMITS_OF = (Aim.REGISTER, Aim.SATURATION, Aim.TREE, Aim.SPILL)
"""Aims of which one beyond is the corner itself; of the others it is the place itself."""

BESIDE = st.integers(0, 3)
FINE = 1 << 16
BIASES: tuple[Callable[[int, int, int], int], ...] = (
    lambda low, high, half: 0,
    lambda low, high, half: 1,
    lambda low, high, half: -1,
    lambda low, high, half: high,
    lambda low, high, half: low,
    lambda low, high, half: half,
    lambda low, high, half: -half,
    lambda low, high, half: high - 1,
    lambda low, high, half: low + 1,
    lambda low, high, half: high // 2,
)
"""Biases on the accumulator's grid, from the least and largest that it takes and half a unit of the output."""

class Weights(Enum):
    """What an array of weights looks like. UNITS: +-1 code and 0.  ALTERNATING: both ends in turn.  POSITIVE: one sign."""

    MIXED = "mixed"
    SPARSE = "sparse"
    UNITS = "units"
    ALTERNATING = "alternating"
    POSITIVE = "positive"
    ENDS = "ends"


def conv_layers(
    max_channels: int = 4,
    max_kernel: int = 3,
    *,
    contract: Contract = None,
    max_stride: int = 2,
    max_pad: int = 2,
    max_dilation: int = 2,
    grouped: bool = True,
    biased: bool | None = None,
) -> SearchStrategy[Convolution]:
    """Convolutions of at most max_channels input and output channels and a kernel of at most max_kernel x max_kernel.

    contract: given, or a strategy of contracts that any layer of this size can have (contracts(max_taps=...)); None draws one
    for each layer, whose register is about as wide as the layer's sums.  biased: None for layers with and without.
    Shrinks to one 1x1 weight that is 0.

    >>> conv_layers(max_kernel=0)
    Traceback (most recent call last):
    ...
    hwsim.errors.InputError: conv_layers: max_kernel: found 0, allowed an integer in 1..64.
    """
    sizes = _sizes("conv_layers", max_channels, max_kernel, contract, biased)
    for name, value, least in (("max_stride", max_stride, 1), ("max_pad", max_pad, 0), ("max_dilation", max_dilation, 1)):
        check_int(f"conv_layers: {name}", value, least, MAX_SIDE)
    return _convolutions(*sizes, (max_stride, 0, max_pad, max_dilation), grouped, biased, Convolution)


def deconv_layers(
    max_channels: int = 4,
    max_kernel: int = 3,
    *,
    contract: Contract = None,
    max_stride: int = 3,
    max_pad: int = 1,
    max_dilation: int = 2,
    grouped: bool = True,
    biased: bool | None = None,
) -> SearchStrategy[Deconvolution]:
    """Transposed convolutions, as conv_layers; padding cuts off at most max_pad rows and columns, or adds as many."""
    sizes = _sizes("deconv_layers", max_channels, max_kernel, contract, biased)
    for name, value, least in (("max_stride", max_stride, 1), ("max_pad", max_pad, 0), ("max_dilation", max_dilation, 1)):
        check_int(f"deconv_layers: {name}", value, least, MAX_SIDE)
    return _convolutions(*sizes, (max_stride, -max_pad, max_pad, max_dilation), grouped, biased, Deconvolution)


def fc_layers(
    max_channels: int = 4, max_taps: int = 16, *, contract: Contract = None, biased: bool | None = None
) -> SearchStrategy[FullyConnected]:
    """Fully connected layers of at most max_taps inputs and max_channels outputs; contract, biased: as conv_layers has them.

    Shrinks to one weight that is 0.

    >>> fc_layers(max_taps=100000)
    Traceback (most recent call last):
    ...
    hwsim.errors.InputError: fc_layers: max_taps: found 100000, allowed an integer in 1..65536.
    """
    check_int("fc_layers: max_taps", max_taps, 1, MAX_TAPS)
    check_int("fc_layers: max_channels", max_channels, 1, 4096)
    _check_contract("fc_layers", contract, biased)
    return _connected(max_channels, max_taps, contract, biased)


def _sizes(where: str, max_channels: int, max_kernel: int, contract: Contract, biased: bool | None) -> tuple[int, int, Contract]:
    check_int(f"{where}: max_channels", max_channels, 1, 4096)
    check_int(f"{where}: max_kernel", max_kernel, 1, MAX_SIDE)
    if max_channels * max_kernel**2 > MAX_TAPS:
        raise InputError(
            f"{where}: found max_channels={max_channels} with max_kernel={max_kernel}, allowed are {MAX_TAPS} taps of an output; "
            "take fewer channels or a smaller kernel."
        )
    _check_contract(where, contract, biased)
    return max_channels, max_kernel, contract


def _check_contract(where: str, contract: Contract, biased: bool | None) -> None:
    chosen(f"{where}: biased", None if biased is None else (biased,), (False, True))
    if contract is not None:
        check_strategy(f"{where}: contract", contract, MacContract, FloatMacContract)


@st.composite
def _convolutions(
    draw: DrawFn,
    max_channels: int,
    max_kernel: int,
    contract: Contract,
    reach: tuple[int, int, int, int],
    grouped: bool,
    biased: bool | None,
    kind: Callable[..., Any],
) -> Any:
    max_stride, min_pad, max_pad, max_dilation = reach
    side = st.integers(1, max_kernel)
    kernel = (draw(side), draw(side))
    groups = draw(st.integers(1, max_channels)) if grouped and draw(st.integers(0, 3)) == 3 else 1
    shape = (draw(st.integers(1, max(1, max_channels // groups))), *kernel)
    drawn, narrower = given_contract(draw, contract, max_channels, math.prod(shape))
    rows = draw_rows(draw, drawn, math.prod(shape), max_channels, biased)
    groups = math.gcd(groups, len(rows))
    stride, dilation = (_pair(draw, 1, most) for most in (max_stride, max_dilation))
    pad = _pair(draw, min_pad, max_pad)
    pad_end = _pair(draw, min_pad, max_pad) if max_pad and draw(st.integers(0, 3)) == 3 else None
    where = {"stride": stride, "pad": pad, "dilation": dilation, "groups": groups, "pad_end": pad_end}
    return built(lambda c, w, b: kind(c, w, b, **where), drawn, rows, shape, narrower)


def _pair(draw: DrawFn, low: int, high: int) -> tuple[int, int]:
    """(vertical, horizontal), mostly the plain one."""
    plain = clipped(0, low, high)
    if low == high or draw(st.booleans()) is False:
        return plain, plain
    return draw(st.integers(low, high)), draw(st.integers(low, high))


@st.composite
def _connected(draw: DrawFn, max_channels: int, max_taps: int, contract: Contract, biased: bool | None) -> FullyConnected:
    taps = draw(st.integers(1, max_taps))
    drawn, narrower = given_contract(draw, contract, max_channels, taps)
    return built(FullyConnected, drawn, draw_rows(draw, drawn, taps, max_channels, biased), (taps,), narrower)


def given_contract(draw: DrawFn, contract: Contract, channels: int, taps: int) -> tuple[Any, int | None]:
    """The contract that the caller gave; or one for a layer of this size, and how much narrower than its sums to make it."""
    if contract is None:
        own = draw(contracts_of(Wishes(channels=channels, max_taps=taps, stochastic=True)))
        return own, draw_from(draw, (*NARROWER, None))
    found = draw(contract) if isinstance(contract, SearchStrategy) else contract
    if not isinstance(found, (MacContract, FloatMacContract)):
        raise InputError(f"contract: found {found!r} drawn from {contract!r}, allowed a MacContract or a FloatMacContract.")
    return found, None


# ---- weights and biases


@dataclass(frozen=True)
class Row:
    """One output channel as it is drawn: weight codes of channel 0, and where its bias lies (None: the layer has none)."""

    weight: list[int]
    bias: tuple[int, int] | int | None


def draw_rows(draw: DrawFn, contract: Any, taps: int, max_channels: int, biased: bool | None) -> list[Row]:
    """Draw output channels: a list, so that shrinking can drop a channel with all that is in it."""
    count = channels_of(contract)
    least, most = (count, count) if count is not None and count != max_channels else (1, max_channels)
    kind, long = draw_from(draw, Weights), draw(st.integers(0, 3)) == 3
    given = draw(st.booleans()) if biased is None else biased
    rows = st.builds(Row, _row_weights(contract.weight, taps, kind, long), _bias_places(contract) if given else st.none())
    return draw(st.lists(rows, min_size=least, max_size=most))


def _row_weights(fmt: Format, taps: int, kind: Weights, long: bool) -> SearchStrategy[list[int]]:
    """Codes of one channel: some entries, repeated over the taps, or zeros behind them.

    An entry is drawn alike whatever the kind, so that shrinking can take the simplest kind and keep the entries.
    """
    size = min(taps, LONG_TILE) if long else 1
    entries = st.tuples(st.integers(0, 7), any_code(fmt, 0, True))
    tiles = st.lists(entries, min_size=size, max_size=max(size, 8))

    def laid(tile: list[tuple[int, int]]) -> list[int]:
        made = [_weight(fmt, kind, at, *entry) for at, entry in enumerate(tile)]
        return [made[at % len(made)] if at < len(made) or kind is not Weights.SPARSE else zero_code(fmt) for at in range(taps)]

    return tiles.map(laid)


def _weight(fmt: Format, kind: Weights, at: int, which: int, code: int) -> int:
    """The code of one entry. The ends come before +-1, the farther one first: one tap there is simpler than many taps."""
    (low, high), zero, units = extremes(fmt), zero_code(fmt), unit_codes(fmt)
    if kind is Weights.UNITS:
        choice: tuple[int, ...] = (zero, *units)
    elif kind is Weights.ALTERNATING:
        choice = (zero, (high, low)[at % 2])
    elif kind is Weights.POSITIVE:
        choice = (zero, high, units[0])
    elif kind is Weights.ENDS:
        choice = (zero, high, low)
    else:
        corners, far = corner_codes(fmt), (low, high) if low < 0 else (high, low)
        choice = (zero, *far, units[0], units[-1], corners[code % len(corners)], code, code)
    return choice[which % len(choice)]


def _bias_places(contract: Any) -> SearchStrategy[Any]:
    if isinstance(contract, FloatMacContract):
        return one_code(contract.bias_format(1), 0, finite=True)
    return st.tuples(st.integers(0, 2 * len(BIASES)), st.integers(-FINE, FINE))


def channels_of(contract: Any) -> int | None:
    """Return how many output channels a contract tells apart; None where all are alike."""
    fmt, scaling = contract.weight, getattr(contract.output, "scaling", None)
    lengths = getattr(fmt, "fractional_length", None)
    found = [len(lengths)] if isinstance(lengths, tuple) else [getattr(fmt, "channels", None)]
    return max((n for n in (*found, scaling.channels if scaling is not None else None) if n is not None), default=None)


def cut(contract: Any, channels: int) -> Any:
    """Return the contract of the first so many of the output channels that it tells apart."""
    fmt, output = contract.weight, contract.output
    if isinstance(fmt, FixedPoint) and isinstance(fmt.fractional_length, tuple):
        fmt = replace(fmt, fractional_length=_first(fmt.fractional_length, channels))
    if isinstance(fmt, Affine):
        fmt = replace(fmt, scale=_first(fmt.scale, channels), zero_point=_first(fmt.zero_point, channels))
    scaling = getattr(output, "scaling", None)
    if scaling is not None and scaling.channels is not None:
        few = replace(scaling, multiplier=_first(scaling.multiplier, channels), shift=_first(scaling.shift, channels))
        output = replace(output, scaling=few)
    return contract if (fmt, output) == (contract.weight, contract.output) else replace(contract, weight=fmt, output=output)


def _first(part: Any, channels: int) -> Any:
    return part[:channels] if isinstance(part, tuple) else part


def built(make: Callable[..., Any], contract: Any, rows: list[Row], shape: tuple[int, ...], narrower: int | None) -> Any:
    """The layer of these channels; its weights are halved until a register that must be proven safe is."""
    if (told := channels_of(contract)) is not None and told > len(rows):
        contract = cut(contract, len(rows))
    channels = np.array([row.weight for row in rows])
    weight = laid_out(contract.weight, (len(rows), *shape), channels.ravel().tolist())
    while True:
        try:
            plain = make(contract, weight, None)
            break
        except ContractError as refused:
            zero = zero_codes(contract.weight, weight.shape)
            if (weight == zero).all():
                raise InputError(f"contract: no layer of shape {weight.shape} can have {contract!r}: {refused}") from None
            weight = _halved(weight, zero, contract.weight)
    if narrower is not None and isinstance(contract, MacContract) and not contract.accumulator.require_proof:
        contract = narrowed(contract, plain, narrower)
        plain = make(contract, weight, None)
    if rows[0].bias is None:
        return plain
    biases = [row.bias if isinstance(row.bias, int) else _bias_code(plain, k, *row.bias) for k, row in enumerate(rows)]  # type: ignore
    try:
        return make(contract, weight, np.array(biases, dtype=np.int64))
    except ContractError:  # beyond the largest number of a float register; or no bias leaves a register proven safe
        return make(contract, weight, np.full(len(biases), zero_code(contract.bias_format(plain.channels)), dtype=np.int64))


def narrowed(contract: MacContract, plain: MacLayer, more: int) -> MacContract:
    """Return the contract with registers around what sums of these weights need, so that inputs can make them overflow.

    more: bits that the accumulator has beyond those of any sum; no register is made wider.  The output's grid follows.
    """
    accumulator, schedule, shift = contract.accumulator, contract.accumulator.schedule, plain.numbers.step_shift
    ends = [(low << s, high << s) if s > 0 else (low >> -s, high >> -s) for (low, high), s in zip(plain.sums, shift, strict=True)]
    need = max(max(signed_width(low), signed_width(high)) for low, high in ends)
    less = accumulator.bits - clipped(need + more, 2, accumulator.bits)
    if schedule is not None:
        tree, spill = schedule.tree, schedule.spill
        if tree.bits is not None and tree.overflow is not None:
            wide, used = (max(signed_width(end) for end in ends) for ends in (contract.product_range, _largest_product(plain)))
            tree = replace(tree, bits=tuple(max(2, bits - wide + used) for bits in tree.bits))
        if spill is not None:
            spill = replace(spill, bits=max(2, spill.bits - less))
        schedule = replace(schedule, tree=tree, spill=spill)
    fewer = replace(accumulator, bits=accumulator.bits - less, schedule=schedule)
    return replace(contract, accumulator=fewer, output=_with_less_shift(contract.output, min(plain.numbers.epilogue.shift), less))


def _largest_product(plain: MacLayer) -> tuple[int, int]:
    """The smallest and the largest product of any input with these weights."""
    unit, fmt = plain.integer, plain.contract.input
    found = [unit.products_at(code, k) for code in (fmt.low, fmt.high) for k in range(plain.channels)]
    return min(int(products.min()) for products in found), max(int(products.max()) for products in found)


def _with_less_shift(output: Output, shift: int, less: int) -> Output:
    """The output stage for values that are `less` bits smaller, as far as its shift goes."""
    fewer = min(less, max(shift - 1, 0))
    if output.scaling is None:
        fmt = output.format
        if isinstance(fmt, FixedPoint) and isinstance(fmt.fractional_length, int):
            return replace(output, format=replace(fmt, fractional_length=min(fmt.fractional_length + fewer, 256)))
        return output
    given, least = output.scaling.shift, LIMITS[output.scaling.rule][0]
    if isinstance(given, tuple):
        return replace(output, scaling=replace(output.scaling, shift=tuple(max(s - less, least, 0) for s in given)))
    return replace(output, scaling=replace(output.scaling, shift=max(given - less, least, 0)))


def _halved(weight: np.ndarray, zero: np.ndarray, fmt: Format) -> np.ndarray:
    """Every code halfway to real 0; words of sign and fields are 0 at once."""
    if not isinstance(fmt, IntegerFormat):
        return zero
    apart = weight.astype(np.int64) - zero
    return np.asarray((zero + np.sign(apart) * (np.abs(apart) // 2)).astype(weight.dtype))


def _bias_code(plain: MacLayer, k: int, which: int, part: int) -> int:
    """The bias of a channel: one of BIASES, or `part` of FINE of what the register holds."""
    numbers, contract = plain.numbers, plain.contract
    assert isinstance(contract, MacContract)
    room = (1 << 63) - 1 - max(numbers.exact_high, -numbers.exact_low)
    low, high = max(contract.accumulator.low, -room), min(contract.accumulator.high, room)
    if contract.accumulator.require_proof:
        low, high = max(low, numbers.acc_low - numbers.exact_low), min(high, numbers.acc_high - numbers.exact_high)
    half = 1 << clipped(numbers.epilogue.shift[k] - 1, 0, 62)
    target = BIASES[which % len(BIASES)](low, high, half) if which < 2 * len(BIASES) else high * part // FINE
    fmt, shift = contract.bias_format(plain.channels), contract.bias_length(k) - contract.accumulator_length(k)
    return _on_grid(clipped(target, low, high), shift, contract, fmt, (low, high))


def _on_grid(target: int, shift: int, contract: MacContract, fmt: Any, ends: tuple[int, int]) -> int:
    """The bias's code whose value on the accumulator's grid is nearest to the target, and no further than the ends."""
    code = clipped(target >> -shift if shift < 0 else target << shift, fmt.low, fmt.high)
    while code and not ends[0] <= round_shift(code, shift, contract.bias_rounding) <= ends[1]:
        code = code + 1 if code < 0 else code - 1
    return code


# ---- inputs


def inputs(
    layer: Layer,
    *,
    min_images: int = 1,
    max_images: int = 2,
    max_extra: int = 2,
    shape: tuple[int, int, int] | None = None,
    aims: Sequence[Aim] | None = None,
    finite: bool = True,
) -> SearchStrategy[np.ndarray]:
    """Codes [N][C][H][W] for a layer of one input: corner codes, and for a multiply-accumulate layer mostly steered ones.

    Steered: one output of each image is chosen, a step of the declared order and an aim, and the codes under it are set so that
    the exact sum comes there, or as near as it gets (hwsim.testing.steer).  aims: which ones, None for all that the layer has,
    () for none.  max_extra: by how many rows and columns an image exceeds the smallest that the layer takes.  shape: (C, H, W)
    instead.  finite: False lets NaN and infinities of minifloats in.  Shrinks to one small image of zeros.

    Errors: InputError for several inputs, for a shape that the layer refuses, for images or aims that leave nothing.
    """
    if not hasattr(layer, "input_formats") or len(layer.input_formats) != 1:
        raise InputError(f"inputs: found {layer!r}, allowed a layer of one input; draw codes(format, shape) for each of several.")
    check_int("inputs: max_images", max_images, 1, 64)
    check_int("inputs: min_images", min_images, 1, max_images)
    check_int("inputs: max_extra", max_extra, 0, MAX_SIDE)
    mine: tuple[Aim, ...] = aims_of(layer) if isinstance(layer, MacLayer) else ()
    allowed = mine if aims is None else () if not tuple(aims) else chosen("inputs: aims", aims, mine)
    if shape is not None:
        try:
            layer.output_shape([Shape(*shape)])
        except (ContractError, TypeError) as refused:
            raise InputError(f"inputs: found shape={shape!r}, allowed (C, H, W) that the layer takes: {refused}") from None
    return _inputs(layer, (min_images, max_images), max_extra, shape, allowed, finite)


@st.composite
def _inputs(
    draw: DrawFn,
    layer: Layer,
    images: tuple[int, int],
    max_extra: int,
    shape: tuple[int, int, int] | None,
    aims: tuple[Aim, ...],
    finite: bool,
) -> np.ndarray:
    taken = Shape(*shape) if shape is not None else _input_shape(draw, layer, max_extra)
    count = draw(st.integers(*images))
    found = draw(codes(layer.input_formats[0], (count, *taken), finite=finite))
    if not aims or not isinstance(layer, MacLayer) or draw(st.integers(0, 7)) == 7:
        return np.asarray(found)
    for n in range(count):
        found[n] = _draw_steered(draw, layer, found[n], aims)
    return np.asarray(found)


def _input_shape(draw: DrawFn, layer: Layer, max_extra: int) -> Shape:
    """A shape that the layer takes: the smallest, and a few rows and columns more."""
    if isinstance(layer, FullyConnected):
        return _factors(draw, layer.weight.shape[1])
    rows, columns = draw(st.integers(0, max_extra)), draw(st.integers(0, max_extra))
    if isinstance(layer, (Convolution, Deconvolution)):
        return _window_shape(layer, rows, columns)
    for extent in range(1, MAX_SIDE):
        for c in (1, 2, 3, 4, 5, 6, 8, 16):
            for shape in (Shape(c, extent + rows, extent + columns), Shape(c, extent, extent)):
                try:
                    layer.output_shape([shape])
                except ContractError:
                    continue
                return shape
    raise InputError(f"inputs: found no small image that {layer!r} takes; give shape=(C, H, W).")


def _window_shape(layer: Convolution | Deconvolution, rows: int, columns: int) -> Shape:
    least = []
    for axis in (0, 1):
        reach = layer.dilation[axis] * (layer.kernel[axis] - 1) + 1
        if isinstance(layer, Convolution):
            least.append(max(1, reach - sum(pads[axis] for pads in layer.padding)))
        else:
            missing = 1 - reach + sum(cut[axis] for cut in layer.cropping)
            least.append(1 + max(0, -(-missing // layer.stride[axis])))
    return Shape(layer.weight.shape[1] * layer.groups, least[0] + rows, least[1] + columns)


def _factors(draw: DrawFn, taps: int) -> Shape:
    """(taps, 1, 1), or another shape with so many codes."""
    channels = draw(st.sampled_from([c for c in range(taps, 0, -1) if taps % c == 0]))
    pixels = taps // channels
    rows = draw(st.sampled_from([h for h in range(1, pixels + 1) if pixels % h == 0]))
    return Shape(channels, rows, pixels // rows)


def _draw_steered(draw: DrawFn, layer: MacLayer, image: np.ndarray, aims: tuple[Aim, ...]) -> np.ndarray:
    """Steer one output of an image at a corner; the simplest way is over the register's limit with few codes."""
    zero = zero_codes(layer.contract.weight, layer.weight.shape)
    live = [k for k in range(layer.channels) if (layer.weight[k] != zero[k]).any()]
    if not live:
        return image
    out, aim, exact, beside = layer.output_shape([Shape(*image.shape)]), draw_from(draw, aims), draw(st.booleans()), draw(BESIDE)
    k, y, x = draw_from(draw, live), draw(st.integers(0, out.h - 1)), draw(st.integers(0, out.w - 1))
    step, place = draw(st.integers(0, max(0, layer.weight[0].size - 1))), draw(st.integers(0, 15))
    offset = (1, 0, -1, 1)[beside] if aim in LIMITS_OF else (0, 1, -1, 0)[beside]
    return steered(layer, image, Steering(aim, (k, y, x), step, draw(st.booleans()), offset, place, exact))
