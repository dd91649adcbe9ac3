"""Small layers whose registers are too narrow, every input of which can be tried; and what all of them do, by trying."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from hwsim.arith.accumulate import Place
from hwsim.arith.overflow import Overflow
from hwsim.contract import Accumulator, MacContract
from hwsim.errors import HwsimError
from hwsim.formats import Affine, FixedPoint
from hwsim.layers import Convolution, Deconvolution, FullyConnected, MacLayer, Shape
from hwsim.layers.base import Cell
from hwsim.proofs.certificate import InputRange
from hwsim.proofs.narrow import with_width
from hwsim.proofs.prove import prove
from oracles.generate import refusing, seeds
from oracles.ordered_cases import bias_codes, contracts, weights

tiny = st.builds(FixedPoint, st.sampled_from([1, 2, 2, 3]), st.integers(-1, 2), st.booleans())


@dataclass(frozen=True)
class Small:
    """A layer, the shape of its input, and the codes that it may hold."""

    layer: MacLayer
    shape: Shape
    inputs: InputRange

    @property
    def count(self) -> int:
        """Number of inputs."""
        spans = (self.inputs.high - self.inputs.low + 1).tolist()
        return int(np.prod([float(span) ** (self.shape.h * self.shape.w) for span in spans]))


def unordered(contract: MacContract) -> MacContract:
    """The contract without an order: the accumulator wraps, and only the end counts."""
    acc = contract.accumulator
    return replace(contract, accumulator=Accumulator(acc.bits, acc.fractional_length))


@st.composite
def affine(draw, contract: MacContract) -> MacContract:
    """The contract with a zero point that is not 0, all on the grid of integers."""
    x, w, output = contract.input, contract.weight, contract.output
    assume(isinstance(w, FixedPoint))
    zero = draw(st.integers(x.low, x.high))
    grids = {
        "weight": FixedPoint(w.bits, 0, w.signed),
        "output": replace(output, format=FixedPoint(output.format.bits, 0, output.format.signed)),
    }
    return refusing(replace, contract, input=refusing(Affine, x.bits, 1.0, zero, x.signed), **grids)


@st.composite
def ranges(draw, layer: MacLayer, shape: Shape, most: int) -> InputRange:
    """All codes, or fewer of them: as few as `most` inputs ask for, and now and then without the zero point."""
    whole = InputRange.of(layer, shape)
    span = max(2, int(most ** (1 / (shape.c * shape.h * shape.w)) + 1e-9))
    ends = []
    for low, high in zip(whole.low.tolist(), whole.high.tolist(), strict=True):
        width = min(span, high - low + 1)
        around = [layer.pad_code] * 3 + [low, high]
        first = max(low, min(draw(st.sampled_from(around)) - draw(st.integers(0, width - 1)), high - width + 1))
        ends.append((first, first + width - 1))
    return InputRange(np.array([low for low, _ in ends]), np.array([high for _, high in ends]))


@st.composite
def smalls(draw, most: int = 600) -> Small:
    """Convolutions, deconvolutions and fully connected layers of at most `most` inputs."""
    kind = draw(st.sampled_from(["connected", "connected", "convolution", "deconvolution"]))
    share, r, s = draw(st.sampled_from([(1, 1, 2), (3, 1, 1), (4, 1, 1), (2, 2, 1), (1, 2, 2), (1, 1, 4), (5, 1, 1), (2, 1, 2)]))
    connected = kind == "connected"
    groups, k = draw(st.sampled_from([(1, 1), (1, 2), (2, 2)])) if not connected else (1, draw(st.integers(1, 2)))
    h, w = (r, s) if connected else draw(st.sampled_from([(1, 1), (1, 2), (2, 1), (2, 2), (1, 3)]))
    taps, biased = share * r * s, draw(st.booleans())
    contract = draw(contracts(k, taps, biased, formats=tiny))
    if draw(st.integers(0, 4)) == 0:
        contract = refusing(unordered, contract)
    if draw(st.integers(0, 4)) == 0:
        contract = draw(affine(contract))
    rng, ends = np.random.default_rng(draw(seeds)), draw(st.sampled_from([0.0, 0.3, 0.9]))
    weight = weights(rng, contract.weight, (k, taps) if connected else (k, share, r, s), ends)
    bias = bias_codes(rng, contract, k, ends) if biased else None
    layer = _built(draw, kind, contract, weight, bias, groups)
    shape = Shape(share * groups, h, w)
    refusing(layer.output_shape, [shape])
    small = Small(layer, shape, draw(ranges(layer, shape, most)))
    assume(small.count <= most)
    return replace(small, layer=narrowed(small, draw(st.integers(0, 2)), draw(st.integers(0, 2))))


def narrowed(small: Small, acc: int, spill: int) -> MacLayer:
    """The layer with an accumulator that is too narrow by so many bits, and a buffer; as it is where that cannot be built."""
    proof = prove(small.layer, small.shape, small.inputs)
    layer, schedule = small.layer, small.layer.contract.accumulator.schedule
    try:
        if schedule is not None and schedule.spill is not None and spill:
            bits = int(proof.spill.widths(schedule.spill.overflow).max()) - spill
            fewer = replace(schedule, spill=replace(schedule.spill, bits=max(2, min(bits, layer.contract.accumulator.bits))))
            layer = with_width(layer, layer.contract.accumulator.bits, schedule=fewer)
        return with_width(layer, int(proof.bits.max()) - acc) if acc else layer
    except HwsimError:
        return layer


def _built(draw, kind: str, contract: MacContract, weight: np.ndarray, bias: np.ndarray | None, groups: int) -> MacLayer:
    if kind == "connected":
        return refusing(FullyConnected, contract, weight, bias)
    pair = st.tuples(st.integers(1, 2), st.integers(1, 2))
    pad = draw(st.tuples(st.integers(0, 1), st.integers(0, 1)))
    make = Convolution if kind == "convolution" else Deconvolution
    return refusing(make, contract, weight, bias, draw(pair), pad, draw(pair), groups)


@dataclass
class Brute:
    """What all inputs do to one register of one channel: the fewest non-zero entries of each; None where no input does it."""

    first: int | None = None
    transient: int | None = None
    persistent: int | None = None
    visible: int | None = None


def brute(small: Small, wide: MacLayer | None, k: int, place: Place) -> Brute:
    """Try every input at every output of the channel, by the specification; once for outputs that read the same codes."""
    found, layer = Brute(), small.layer
    out, extents = layer.output_shape([small.shape]), layer.extents(small.shape)
    known: dict[tuple, tuple[str | None, bool]] = {}
    for image in every_input(small):
        nonzeros, codes = int((image != layer.pad_code).sum()), image.tolist()
        for y, x in np.ndindex(out.h, out.w):
            reads = tuple(map(tuple, layer.taps(codes, k, y, x)))
            if reads not in known:
                known[reads] = tried(layer, wide, reads, extents, k, place)
            kind, shows = known[reads]
            for what in [] if kind is None else ["first", kind, *["visible"] * shows]:
                _note(found, what, nonzeros)
    return found


def tried(layer: MacLayer, wide: MacLayer | None, reads: tuple, extents: tuple, k: int, place: Place) -> tuple[str | None, bool]:
    """(kind of the register's events, None for none; whether the output shows them)."""
    ours = layer.integer.cell(*reads, extents, k)
    if not getattr(ours.events, place.name.lower()):
        return None, False
    return kind_of(ours, place), wide is not None and _shows(layer, ours, wide, wide.integer.cell(*reads, extents, k))


def every_input(small: Small):
    """Yield every image [C][H][W] of the range."""
    low, high = small.inputs.low.tolist(), small.inputs.high.tolist()
    pixels = small.shape.h * small.shape.w
    spans = [range(a, b + 1) for a, b in zip(low, high, strict=True) for _ in range(pixels)]
    for chosen in product(*spans):
        yield np.array(chosen, dtype=np.int64).reshape(small.shape)


def kind_of(cell: Cell, place: Place) -> str:
    """Say which kind the events of an output are."""
    if place is Place.ACCUMULATOR and not cell.events.transient_accumulator:
        return "persistent"
    return "transient" if getattr(cell.events, f"transient_{place.name.lower()}") else "persistent"


def _note(found: Brute, what: str, nonzeros: int) -> None:
    before = getattr(found, what)
    setattr(found, what, nonzeros if before is None else min(before, nonzeros))


def stops(layer: MacLayer, cell: Cell) -> bool:
    """Whether a run stops at this output."""
    acc, output = layer.contract.accumulator, layer.contract.output
    modes = {"accumulator": acc.overflow, "output": output.overflow}
    if acc.schedule is not None:
        modes["tree"] = acc.schedule.tree.overflow
        modes["spill"] = None if acc.schedule.spill is None else acc.schedule.spill.overflow
    return any(mode == Overflow.TRAP and getattr(cell.events, place) for place, mode in modes.items())


def _shows(layer: MacLayer, ours: Cell, wide: MacLayer, theirs: Cell) -> bool:
    return ours.code != theirs.code and not stops(layer, ours) and not stops(wide, theirs)
