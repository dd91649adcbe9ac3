"""Explain one output of a multiply-accumulate layer: by the leaves that the specification runs, one row per step."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction

import numpy as np

from hwsim.arith.accumulate import Place as Register
from hwsim.arith.lfsr import round_shift_stochastic
from hwsim.arith.requantize import Activation
from hwsim.arith.scale import Scaling, scale_value
from hwsim.backends.base import Taps
from hwsim.contract.draws import Draws
from hwsim.errors import InputError, OverflowTrap
from hwsim.execute.explain_float import float_datapath, float_ending, float_rows
from hwsim.execute.explain_integer import datapath, integer_rows, product_step
from hwsim.execute.explanation import Ending, Explanation, text
from hwsim.execute.plan import Plan, choose
from hwsim.execute.trace import LayerTrace
from hwsim.images import Image
from hwsim.layers import Layer, MacLayer, Shape
from hwsim.layers.base import Cell, finish_rounded
from hwsim.layers.draws import draws_of
from hwsim.layers.float_unit import FloatUnit
from hwsim.layers.integer_unit import Extents, IntegerUnit
from hwsim.network.quantized import QuantizedNetwork

Place = tuple[int, int, int, int]
Reads = tuple[list[int], list[bool], Extents]
"""What one output reads: codes, which of them lie in the padding, and their extents."""

NAME_ONE = "name the one to explain (at=(n, k, y, x), --at N,K,Y,X)"


def explain(
    layer: LayerTrace | Layer, at: Sequence[int] | None = None, inputs: np.ndarray | None = None, first_turn: int = 0
) -> Explanation:
    """Explain output (n, k, y, x) of a layer: one row for each step of its accumulator.

    at: None for the first output, in row-major order, in which a register before the output's overflows.

    layer: of a trace, which knows its inputs, or a bare one with inputs: codes [N][C][H][W] or one image [C][H][W].
    first_turn: where the output draws its rounding, the turn since the last reset in which image n begins; a trace knows it.
    Errors: InputError for a layer that accumulates nothing, and for an output that it does not have.

    >>> from hwsim.contract import Accumulator, MacContract, Output
    >>> from hwsim.arith.overflow import Overflow
    >>> from hwsim.execute.single import Linear
    >>> from hwsim.formats import FixedPoint
    >>> s8 = FixedPoint(8, 0)
    >>> contract = MacContract(s8, s8, Output(s8), Accumulator(8, overflow=Overflow.SATURATE))
    >>> layer = Linear().layer(np.array([[50, 50, -50]]), contract)
    >>> found = explain(layer, (0, 0, 0, 0), np.array([[[2, 1, 1]]]))
    >>> [(row.before, row.exact, row.after, row.events.accumulator) for row in found.rows]
    [(0, 100, 100, 0), (100, 150, 127, 1), (127, 77, 77, 0)]
    """
    name, bare, codes = _operands(layer, inputs)
    drawn = layer.draws if isinstance(layer, LayerTrace) else None
    return explain_codes(name, bare, at, codes, (first_turn,) * len(codes) if drawn is None else drawn.first_turns)


def explain_layer(
    network: QuantizedNetwork,
    image: Image | np.ndarray,
    layer: str,
    at: Sequence[int] | None = None,
    backend: str = "auto",
    limit: int | None = 20,
    first_image: int = 0,
) -> Explanation:
    """Explain output (n, k, y, x) of a network's layer for one image (n is 0 then) or several.

    A TRAP stops nothing here, so that an output at which a run is trapped can be explained.
    image, first_image: as in hwsim.run.  at: see explain.  limit: about how many rows the printed table shows.
    """
    pixels = image.pixels if isinstance(image, Image) else np.asarray(image)
    node = network[layer]
    mac_layer(layer, node.layer)
    batch = pixels[None] if pixels.ndim == 3 else pixels
    plan = Plan(network, backend, max(len(batch), 1) if batch.ndim == 4 else 1)
    with suppress(OverflowTrap):  # raised when all layers have run
        plan.run(batch, first_image)
    first_turns = plan.drawn[layer].first_turns if layer in plan.drawn else ()
    return replace(explain_codes(layer, node.layer, at, plan.buffers[node.inputs[0]].codes, first_turns), limit=limit)


def mac_layer(name: str, layer: Layer) -> MacLayer:
    """Return the layer, which must multiply and accumulate."""
    if not isinstance(layer, MacLayer):
        raise InputError(f"{name}: found a layer of kind {layer.kind}, allowed one that multiplies and accumulates.")
    return layer


def explain_codes(
    name: str, layer: Layer, at: Sequence[int] | None, codes: np.ndarray, first_turns: Sequence[int]
) -> Explanation:
    """Explain output (n, k, y, x) for codes [N][C][H][W]. first_turns: of each image, where the layer draws; else empty."""
    mac, shape = mac_layer(name, layer), Shape(*codes.shape[1:])
    place = first_event(name, mac, codes) if at is None else _place(name, at, layer, codes)
    first_turn = first_turns[place[0]] if first_turns else 0
    image = codes[place[0]].tolist()
    taps, padded = mac.taps(image, *place[1:])
    cell = mac.spec([[image]], 0, *place[1:], first_turn)
    reads = (taps, padded, mac.extents(shape))
    if isinstance(mac.unit, FloatUnit):
        return _explain_floats(name, mac.unit, place, reads, cell)
    draws = draws_of(mac.numbers.epilogue, mac.output_shape([shape]))
    draw = None if draws is None else _draw(draws, place, first_turn)
    return _explain_integers(name, mac.integer, place, reads, cell, draw)


def first_event(name: str, layer: MacLayer, codes: np.ndarray) -> Place:
    """Return the first output in row-major order in which the adder tree, the accumulator or the spill buffer overflows.

    Errors: InputError where none does, and for a layer with a minifloat in it, whose kernels do not tell places.
    """
    if isinstance(layer.unit, FloatUnit):
        raise InputError(f"{name}: kernels of minifloats do not tell which outputs overflowed; {NAME_ONE}.")
    maker = next((b for b in choose() if b.can(layer)), choose()[-1])
    kernel = maker.prepare(layer, [Shape(*codes.shape[1:])])
    c, h, w = kernel.output_shape
    taps = Taps(first_turns=np.zeros(len(codes), dtype=np.int64), flags=np.zeros((len(codes), h, w, c), dtype=np.uint8))
    kernel([codes], taps)
    assert taps.flags is not None
    flagged = np.moveaxis(taps.flags & ~np.uint8(1 << Register.OUTPUT), 3, 1) != 0
    if not flagged.any():
        raise InputError(f"{name}: no output has an overflow before its last stage; {NAME_ONE}.")
    n, k, y, x = (int(i) for i in np.argwhere(flagged)[0])
    return n, k, y, x


def _draw(draws: Draws, at: Place, first_turn: int) -> tuple[int, str]:
    """The noise of an output, and who drew it when."""
    place = draws.place(*at[1:])
    who = "nobody draws" if place is None else f"lane {place[1]} in turn {first_turn + place[0]}"
    return draws.noise(*at[1:], first_turn), who


def _operands(layer: LayerTrace | Layer, inputs: np.ndarray | None) -> tuple[str, Layer, np.ndarray]:
    if isinstance(layer, LayerTrace):
        if inputs is not None:
            raise InputError(f"{layer.name}: found inputs beside a trace, which has its own; leave them away.")
        return layer.name, layer.layer, layer.inputs[0]
    if inputs is None:
        raise InputError(f"{layer.kind}: found no inputs, allowed codes [N][C][H][W] or [C][H][W].")
    codes = np.asarray(inputs)
    codes = codes[None] if codes.ndim == 3 else codes
    if codes.ndim != 4 or codes.dtype.kind not in "iu" or 0 in codes.shape:
        raise InputError(f"{layer.kind}: found inputs of shape {codes.shape}, {codes.dtype}, allowed codes [N][C][H][W].")
    low, high = layer.input_formats[0].low, layer.input_formats[0].high
    if not low <= int(codes.min()) <= int(codes.max()) <= high:
        raise InputError(f"{layer.kind}: inputs reach {codes.min()}..{codes.max()}, allowed {low}..{high}.")
    return layer.kind, layer, codes


def _place(name: str, at: Sequence[int], layer: Layer, codes: np.ndarray) -> Place:
    """Return (n, k, y, x), checked against what the layer has."""
    sizes = (len(codes), *layer.output_shape([Shape(*codes.shape[1:])]))
    ints = isinstance(at, (tuple, list)) and all(isinstance(i, (int, np.integer)) for i in at)
    if not ints or len(at) != 4 or not all(0 <= i < size for i, size in zip(at, sizes, strict=True)):
        last = tuple(size - 1 for size in sizes)
        raise InputError(f"{name}: found output {at!r}, allowed (n, k, y, x) from (0, 0, 0, 0) to {last}.")
    return int(at[0]), int(at[1]), int(at[2]), int(at[3])


def _explain_integers(
    name: str, unit: IntegerUnit, at: Place, reads: Reads, cell: Cell, draw: tuple[int, str] | None
) -> Explanation:
    k, p, contract = at[1], unit.numbers, unit.contract
    rows, persistent = integer_rows(unit, *reads, k)
    acc = int(rows[-1].after) if rows else 0
    product = product_step(contract, k)
    step = product * Fraction(2) ** (contract.product_length(k) - contract.accumulator_length(k))
    return Explanation(
        name=name,
        at=at,
        datapath=datapath(unit, reads[2], k),
        rows=rows,
        low=p.acc_low,
        high=p.acc_high,
        unit=step,
        product_unit=step * Fraction(2) ** p.step_shift[k],
        acc=acc,
        persistent=persistent,
        events=cell.events,
        ending=_ending(unit, acc, k, draw),
    )


def _explain_floats(name: str, unit: FloatUnit, at: Place, reads: Reads, cell: Cell) -> Explanation:
    k, register, e = at[1], unit.accumulator, cell.events
    rows = float_rows(unit, *reads, k)
    assert cell.acc is not None
    return Explanation(
        name=name,
        at=at,
        datapath=float_datapath(unit, reads[2], k),
        rows=rows,
        low=None if register is None else register.format.smallest,
        high=None if register is None else register.format.largest,
        unit=Fraction(1),
        product_unit=Fraction(1),
        acc=cell.acc,
        persistent=e.accumulator + e.tree > e.transient_accumulator + e.transient_tree,
        events=e,
        ending=float_ending(unit, cell, rows[-1].after if rows else Fraction(0)),
    )


def _ending(unit: IntegerUnit, acc: int, k: int, draw: tuple[int, str] | None) -> Ending:
    """From the accumulator to the code, each rule by its leaf. draw: noise and who drew it, where rounding is stochastic."""
    e, fmt = unit.numbers.epilogue, unit.contract.output.format
    said, value, shift = [f"acc = {acc}"], acc, e.shift[k]
    if e.activation == Activation.RELU_BEFORE_REQUANTIZE:
        value = max(acc, 0)
        said.append(f"ReLU: {value}")
    moved = f"{'>>' if shift >= 0 else '<<'} {abs(shift)}"
    if e.scaling is not Scaling.SHIFT:
        moved = f"* {e.multiplier[k]} {moved} ({e.scaling.name})"
    if draw is None:
        rounded = scale_value(value, e.multiplier[k], shift, e.scaling, e.rounding)
        said.append(f"requantize: {value} {moved}, {e.rounding.name}: {rounded}")
    else:
        rounded = round_shift_stochastic(value, shift, draw[0])
        said.append(f"requantize: ({value} + noise {draw[0]}) {moved} = {rounded}, {draw[1]}")
    if e.zero_point:
        said.append(f"zero point {e.zero_point}: {rounded + e.zero_point}")
    clamped = min(max(rounded + e.zero_point, e.clamp_low), e.clamp_high)
    if clamped != rounded + e.zero_point:
        said.append(f"clamp: {clamped}")
    code, event = finish_rounded(rounded, e)
    if event:
        said.append(f"beyond {e.low}..{e.high}, {e.overflow.name}: an event at the output")
    if e.activation == Activation.RELU_AFTER_REQUANTIZE:
        said.append("ReLU")
    real = fmt.decode(code)
    said.append(f"code = {code} ({fmt}), real {text(real)}")
    return Ending(code, real, event, tuple(said))
