"""Hypothesis strategies of convolutions, deconvolutions and fully connected layers, and of inputs that are steered at corners."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from hwsim.arith.overflow import Overflow
from hwsim.contract import FloatMacContract, MacContract
from hwsim.contract.mac import MAX_OPERAND_BITS
from hwsim.errors import ContractError, InputError
from hwsim.layers import Convolution, Deconvolution, FullyConnected, Layer, MacLayer, Shape
from hwsim.layers.integer_unit import IntegerUnit
from hwsim.testing.aims import Aim, Steering
from hwsim.testing.bounds import check_int, check_strategy, chosen
from hwsim.testing.corners import zero_codes
from hwsim.testing.rows import built, draw_rows, given_contract
from hwsim.testing.steer import aims_of, steered
from hwsim.testing.strategies import Product, codes
from hwsim.testing.wishes import MAX_TAPS, clipped, draw_from, wishes_of

Contract = MacContract | FloatMacContract | SearchStrategy[Any] | None
MAX_SIDE = 64
LIMITS_OF = (Aim.REGISTER, Aim.SATURATION, Aim.TREE, Aim.SPILL)
"""Aims of which one beyond is the corner itself; of the others it is the place itself."""

BESIDE = st.integers(0, 3)


def conv_layers(
    max_channels: int = 4,
    max_kernel: int = 3,
    *,
    contract: Contract = None,
    products: Iterable[Product] | None = None,
    overflow: Iterable[Overflow] | None = None,
    scheduled: bool | None = None,
    max_bits: int = MAX_OPERAND_BITS,
    max_stride: int = 2,
    max_pad: int = 2,
    max_dilation: int = 2,
    grouped: bool = True,
    biased: bool | None = None,
) -> SearchStrategy[Convolution]:
    """Convolutions of at most max_channels input and output channels and a kernel of at most max_kernel x max_kernel.

    contract: given, or a strategy of contracts that any layer of this size can have (contracts(max_taps=...)).  None draws one
    for each layer, with registers about as wide as the sums of its weights; products, overflow, scheduled, max_bits narrow it
    as those of contracts() do.  biased: None for layers with and without.
    Shrinks to one 1x1 weight that is 0.

    >>> conv_layers(max_kernel=0)
    Traceback (most recent call last):
    ...
    hwsim.errors.InputError: conv_layers: max_kernel: found 0, allowed an integer in 1..64.
    """
    _check_sizes("conv_layers", max_channels, max_kernel, biased)
    wanted = _wanted("conv_layers", contract, products, overflow, scheduled, max_bits)
    for name, value, least in (("max_stride", max_stride, 1), ("max_pad", max_pad, 0), ("max_dilation", max_dilation, 1)):
        check_int(f"conv_layers: {name}", value, least, MAX_SIDE)
    return _convolutions(max_channels, max_kernel, wanted, (max_stride, 0, max_pad, max_dilation), grouped, biased, Convolution)


def deconv_layers(
    max_channels: int = 4,
    max_kernel: int = 3,
    *,
    contract: Contract = None,
    products: Iterable[Product] | None = None,
    overflow: Iterable[Overflow] | None = None,
    scheduled: bool | None = None,
    max_bits: int = MAX_OPERAND_BITS,
    max_stride: int = 3,
    max_pad: int = 1,
    max_dilation: int = 2,
    grouped: bool = True,
    biased: bool | None = None,
) -> SearchStrategy[Deconvolution]:
    """Transposed convolutions, as conv_layers; padding cuts off at most max_pad rows and columns, or adds as many."""
    _check_sizes("deconv_layers", max_channels, max_kernel, biased)
    wanted = _wanted("deconv_layers", contract, products, overflow, scheduled, max_bits)
    for name, value, least in (("max_stride", max_stride, 1), ("max_pad", max_pad, 0), ("max_dilation", max_dilation, 1)):
        check_int(f"deconv_layers: {name}", value, least, MAX_SIDE)
    reach = (max_stride, -max_pad, max_pad, max_dilation)
    return _convolutions(max_channels, max_kernel, wanted, reach, grouped, biased, Deconvolution)


def fc_layers(
    max_channels: int = 4,
    max_taps: int = 16,
    *,
    contract: Contract = None,
    products: Iterable[Product] | None = None,
    overflow: Iterable[Overflow] | None = None,
    scheduled: bool | None = None,
    max_bits: int = MAX_OPERAND_BITS,
    biased: bool | None = None,
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
    chosen("fc_layers: biased", None if biased is None else (biased,), (False, True))
    wanted = _wanted("fc_layers", contract, products, overflow, scheduled, max_bits)
    return _connected(max_channels, max_taps, wanted, biased)


def _check_sizes(where: str, max_channels: int, max_kernel: int, biased: bool | None) -> None:
    check_int(f"{where}: max_channels", max_channels, 1, 4096)
    check_int(f"{where}: max_kernel", max_kernel, 1, MAX_SIDE)
    if max_channels * max_kernel**2 > MAX_TAPS:
        raise InputError(
            f"{where}: found max_channels={max_channels} with max_kernel={max_kernel}, allowed are {MAX_TAPS} taps of an output; "
            "take fewer channels or a smaller kernel."
        )
    chosen(f"{where}: biased", None if biased is None else (biased,), (False, True))


def _wanted(where: str, contract: Contract, products: Any, overflow: Any, scheduled: bool | None, max_bits: int) -> Any:
    """The contract that the caller gave, or his wishes for one."""
    wishes = wishes_of(where, 2, max_bits, products, overflow, None, scheduled)
    if contract is None:
        return replace(wishes, stochastic=True)
    check_strategy(f"{where}: contract", contract, MacContract, FloatMacContract)
    if (products, overflow, scheduled, max_bits) != (None, None, None, MAX_OPERAND_BITS):
        raise InputError(
            f"{where}: found contract beside products, overflow, scheduled or max_bits, allowed is one of the two; "
            "narrow the strategy of contracts instead."
        )
    return contract


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
    drawn = given_contract(draw, contract, max_channels, math.prod(shape))
    rows = draw_rows(draw, drawn, math.prod(shape), max_channels, biased)
    groups = math.gcd(groups, len(rows))
    stride, dilation = (_pair(draw, 1, most) for most in (max_stride, max_dilation))
    pad = _pair(draw, min_pad, max_pad)
    pad_end = _pair(draw, min_pad, max_pad) if max_pad and draw(st.integers(0, 3)) == 3 else None
    where = {"stride": stride, "pad": pad, "dilation": dilation, "groups": groups, "pad_end": pad_end}
    return built(lambda c, w, b: kind(c, w, b, **where), drawn, rows, shape)


def _pair(draw: DrawFn, low: int, high: int) -> tuple[int, int]:
    """(vertical, horizontal), mostly the plain one."""
    plain = clipped(0, low, high)
    if low == high or draw(st.booleans()) is False:
        return plain, plain
    return draw(st.integers(low, high)), draw(st.integers(low, high))


@st.composite
def _connected(draw: DrawFn, max_channels: int, max_taps: int, contract: Contract, biased: bool | None) -> FullyConnected:
    taps = draw(st.integers(1, max_taps))
    drawn = given_contract(draw, contract, max_channels, taps)
    return built(FullyConnected, drawn, draw_rows(draw, drawn, taps, max_channels, biased), (taps,))


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
    if aims is not None and not isinstance(aims, Sequence):
        raise InputError(f"inputs: aims: found {aims!r}, allowed a list of Aim, None for all, () for none.")
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
    for n in range(count):
        if aims and isinstance(layer, MacLayer) and draw(st.integers(0, 7)) < 7:
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
    often = tuple(aim for aim in aims if aim in (Aim.REGISTER, Aim.TIE, Aim.TRANSIENT))
    out, aim = layer.output_shape([Shape(*image.shape)]), draw_from(draw, (*aims, *often))
    exact, beside = draw_from(draw, (False, True, True)), draw(BESIDE)
    among = _able(layer, live) if aim in (Aim.REGISTER, Aim.TRANSIENT) else live
    k, y, x = draw_from(draw, among), draw(st.integers(0, out.h - 1)), draw(st.integers(0, out.w - 1))
    step, place = draw(st.integers(0, max(0, layer.weight[0].size - 1))), draw(st.integers(0, 15))
    offset = (1, 0, -1, 1)[beside] if aim in LIMITS_OF else (0, 1, -1, 0)[beside]
    return steered(layer, image, Steering(aim, (k, y, x), step, draw(st.booleans()), offset, place, exact))


def _able(layer: MacLayer, live: list[int]) -> list[int]:
    """Those of the channels whose sums can leave the register; all of them where none can, or in floats."""
    if not isinstance(layer.unit, IntegerUnit):
        return live
    p, sums = layer.numbers, layer.sums
    grown = [tuple(end << s if s > 0 else end >> -s for end in ends) for ends, s in zip(sums, p.step_shift, strict=True)]
    able = [k for k in live if grown[k][0] + p.bias[k] < p.acc_low or grown[k][1] + p.bias[k] > p.acc_high]
    return able or live
