"""Codes that layers may give: none leaves them, whatever comes in, and where every input is tried both ends are reached."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract import Accumulator, Activation, Axis, MacContract, Multiplier, Output, Scaling, Schedule, Tree
from hwsim.contract.operand import Operand
from hwsim.contract.scaling import quantized_multiplier
from hwsim.errors import OverflowTrap
from hwsim.execute.single import run_layer
from hwsim.formats import Affine, FixedPoint, Minifloat
from hwsim.layers import (
    ArithmeticShiftRight,
    AveragePool,
    Clamp,
    CountRule,
    EltwiseMax,
    EltwiseMin,
    EltwiseProduct,
    EltwiseSum,
    FullyConnected,
    ImageEncoding,
    IntegerLRN,
    LookupTable,
    MacLayer,
    PReLU,
    Region,
    ReLU,
    Rescale,
    Shape,
    Window,
)
from hwsim.proofs.certificate import InputRange
from hwsim.proofs.codes import RULES, given, of_contents
from hwsim.proofs.prove import prove
from oracles.affine_cases import affine_case
from oracles.cases import Case, family
from support.moving_layers import LAYERS as MOVING
from support.moving_layers import inputs as moving_inputs

S4, U4, U2, S8 = FixedPoint(4, 0), FixedPoint(4, 0, signed=False), FixedPoint(2, 0, signed=False), FixedPoint(8, 2)
A4 = Affine(4, 0.5, 3)


def ends(codes: np.ndarray) -> InputRange:
    """The smallest and the largest code of each channel of [N][C][H][W]."""
    return InputRange(codes.min(axis=(0, 2, 3)), codes.max(axis=(0, 2, 3)))


def predicted(layer, inputs: tuple[np.ndarray, ...]) -> InputRange:
    """What is given for inputs whose codes reach no further than these."""
    shapes = [Shape(*x.shape[1:]) for x in inputs]
    if isinstance(layer, MacLayer):
        return of_contents(prove(layer, shapes[0], ends(inputs[0])))
    read = [] if isinstance(layer, ImageEncoding) else [ends(x) for x in inputs]
    return given(layer, read, shapes, layer.output_shape(shapes))


def in_integers(case: Case) -> bool:
    contract = getattr(case.layer, "contract", None)
    formats = (*case.layer.input_formats, case.layer.output_format)
    return not any(isinstance(f, Minifloat) for f in formats) and (contract is None or isinstance(contract, MacContract))


def combined() -> list[Case]:
    """Sums, products, extremes and shifts, with operands that are stretched, and constants."""
    rng, shape, wide = np.random.default_rng(5), (2, 3, 2, 4), Output(S8, Rounding.TIES_AWAY)
    constant = rng.integers(-8, 8, (3, 1, 4))
    half = Operand(2, Multiplier(Scaling.MULTIPLY, *quantized_multiplier(0.6)), negate=True)
    turning = Operand(8, Multiplier(Scaling.HIGH_MULTIPLY, 1 << 30, 3))
    layers = {
        "sum": EltwiseSum((S4, S8, S4), wide),
        "sum that wraps": EltwiseSum((S4, S8), Output(S4, overflow=Overflow.WRAP)),
        "sum with a constant": EltwiseSum((S4,), wide, stretch=True, constant=constant, constant_format=S4),
        "signed sum": EltwiseSum((S4, A4), wide, (Operand(), half)),
        "sum that turns over": EltwiseSum((S8, S8), wide, (Operand(), turning)),
        "product": EltwiseProduct((S4, S8, A4), Output(FixedPoint(8, -2), scaling=Multiplier(Scaling.MULTIPLY, 3, 4))),
        "product with a constant": EltwiseProduct(
            (S8,), Output(FixedPoint(16, 2)), stretch=True, constant=constant, constant_format=S4
        ),
        "largest": EltwiseMax((S4, S4)),
        "smallest": EltwiseMin((S4, S4, S4)),
        "shift": ArithmeticShiftRight((S8, U2), Rounding.TIES_UP),
        "shift by a constant": ArithmeticShiftRight((S8,), constant=abs(constant) % 4, constant_format=U2, stretch=True),
    }
    found = []
    for name, layer in layers.items():
        inputs = tuple(rng.integers(f.low, f.high, shape, endpoint=True) >> rng.integers(0, 3) for f in layer.formats)
        found.append(Case(name, layer, inputs))
    return found


def normalizing() -> list[Case]:
    rng, found = np.random.default_rng(6), []
    for fmt, region in ((S8, Region.ACROSS_CHANNELS), (FixedPoint(6, 3), Region.WITHIN_CHANNEL)):
        layer = IntegerLRN.from_real(fmt, region, 3, 1.0, 0.75, 1.0, Output(FixedPoint(8, 6)))
        found.append(Case(region.name, layer, (rng.integers(fmt.low, fmt.high, (2, 3, 4, 5)) // 3,)))
    return found


def wrapping() -> list[Case]:
    """Sums of what is never negative in a tree that wraps, and a multiplier that shifts left beyond 32 bits."""
    tree = Schedule(lanes=2, lane_axis=Axis.C, tree=Tree(bits=(6,), overflow=Overflow.WRAP))
    contract = MacContract(U4, S4, Output(FixedPoint(16, 0)), Accumulator(20, schedule=tree))
    turning = (Operand(), Operand(4, Multiplier(Scaling.HIGH_MULTIPLY, 1 << 30, 6)))
    codes = np.arange(-8, 8).reshape(1, 1, 1, 16)
    return [
        Case("tree", FullyConnected(contract, np.full((1, 4), 7)), (np.random.default_rng(7).integers(0, 16, (9, 4, 1, 1)),)),
        Case("shift", EltwiseSum((S8, S8), Output(FixedPoint(16, 2)), turning), (0 * codes, codes)),
    ]


def narrowed(case: Case) -> Case:
    """The case with codes from a few places above the middle of the format on, so that neither 0 nor an end is among them."""
    inputs = []
    for x, f in zip(case.inputs, case.layer.input_formats, strict=True):
        middle = (f.low + f.high + 1) // 2
        inputs.append(
            (middle + min(10, f.high // 4) + x % max((f.high - middle) // 300, min(40, f.high // 4), 1)).astype(x.dtype)
        )
    return Case(f"{case.name}, narrowed", case.layer, tuple(inputs))


CASES = [
    *(
        case
        for name in ("geometry", "accumulators", "epilogues", "pools", "elementwise")
        for case in family(name)
        if in_integers(case)
    ),
    *(affine_case(kind, seed) for kind in ("mac", "ordered", "pool", "rescale", "moved", "image", "sum") for seed in range(12)),
    *(Case(name, layer, (moving_inputs(name),)) for name, layer in MOVING.items()),
    *combined(),
    *normalizing(),
    *wrapping(),
]
CASES += [narrowed(case) for case in CASES if not isinstance(case.layer, (ImageEncoding, ArithmeticShiftRight))]


def test_no_code_leaves_what_is_given() -> None:
    tried, narrowed = set(), set()
    for case in CASES:
        try:
            codes = run_layer(case.layer, *case.inputs, acc=False).codes
        except OverflowTrap:
            continue
        found, seen, fmt = predicted(case.layer, case.inputs), ends(codes), case.layer.output_format
        assert (found.low <= seen.low).all() and (found.high >= seen.high).all(), case
        assert (found.low >= fmt.low).all() and (found.high <= fmt.high).all(), case
        tried.add(type(case.layer))
        if (found.low > fmt.low).any() or (found.high < fmt.high).any():
            narrowed.add(type(case.layer))
    assert tried >= set(RULES), "a rule that nothing tried"
    assert narrowed >= set(RULES), "a rule that gave no more than the format"


ALONE = {
    "relu": ReLU(A4),
    "clamp": Clamp(S4, -3, 5),
    "rescale": Rescale(S4, Output(FixedPoint(3, -1), Rounding.TIES_EVEN)),
    "rescale that turns negative off": Rescale(S4, Output(S8, activation=Activation.RELU_AFTER_REQUANTIZE)),
    "leaky": PReLU(S4, FixedPoint(4, 2), np.array([3]), Output(S4)),
    "slopes below 0": PReLU(S4, FixedPoint(4, 2), np.array([-7, 5]), Output(S8)),
    "table": LookupTable(S4, U4, np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3])),
    "average": AveragePool(S4, Window((1, 2), pad=(0, 1)), CountRule.INCLUDE_PADDING, Output(FixedPoint(6, 2))),
    "average without padding": AveragePool(S4, Window((1, 2), pad=(0, 1)), CountRule.EXCLUDE_PADDING, Output(S4)),
    "sum": EltwiseSum((S4, U4), Output(FixedPoint(5, 0))),
    "largest": EltwiseMax((S4, S4)),
    "smallest": EltwiseMin((S4, S4)),
    "product": EltwiseProduct((S4, S4), Output(S8)),
    "shift": ArithmeticShiftRight((S4, U2)),
}


@pytest.mark.parametrize("layer", ALONE.values(), ids=list(ALONE))
def test_both_ends_are_reached_where_every_code_is_tried(layer) -> None:
    """Two channels, whose codes come from intervals of their own: all combinations of all codes."""
    count = len(layer.input_formats)
    for channels in (((-5, 6), (2, 3)), ((-8, -2), (0, 7)), ((-1, 0), (-8, 7))):
        tried = []
        for low, high in channels:
            spans = [range(max(low, f.low), max(min(high, f.high), f.low) + 1) for f in layer.input_formats]
            pixels = 2 if isinstance(layer, AveragePool) else 1
            tried.append(np.array(list(product(*(span for span in spans for _ in range(pixels))))))
        found, read = [], []
        for c, values in enumerate(tried):
            operands = values.reshape(len(values), count, -1)
            inputs = [np.stack([operands[:, i]] * 2, axis=1)[:, :, np.newaxis, :] for i in range(count)]
            found.append(run_layer(layer, *inputs, backend="spec").codes[:, c])
            read.append([ends(x) for x in inputs])
        shape = Shape(2, 1, tried[0].shape[1] // count)
        ranges = [InputRange(*([getattr(read[c][i], end)[c] for c in (0, 1)] for end in ("low", "high"))) for i in range(count)]
        told = given(layer, ranges, [shape] * count, layer.output_shape([shape] * count))
        assert told.low.tolist() == [int(codes.min()) for codes in found]
        assert told.high.tolist() == [int(codes.max()) for codes in found]


def test_what_may_wrap_gives_any_code() -> None:
    layer = Rescale(S8, Output(S4, overflow=Overflow.WRAP))
    fits, leaves = (given(layer, [InputRange([-8], [high])], [Shape(1, 1, 1)], Shape(1, 1, 1)) for high in (28, 40))
    assert (fits.low.tolist(), fits.high.tolist()) == ([-2], [7])
    assert (leaves.low.tolist(), leaves.high.tolist()) == ([S4.low], [S4.high])
