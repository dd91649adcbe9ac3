"""Layers that the C core computes in host floats, drawn by number: ties to even, products as they are, every kind of proof."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from hwsim.arith.accumulate import Pairing
from hwsim.arith.rounding import Rounding
from hwsim.contract.accumulator import Axis, BiasPoint, Order, PaddedTaps, Schedule, Tree, ZeroSkip
from hwsim.contract.float_mac import ExactSum, FloatAccumulator, FloatMacContract
from hwsim.errors import ContractError
from hwsim.formats import FixedPoint, Minifloat, Specials, catalog
from oracles.cases import Case, generator
from oracles.float_cases import POWERS, layer_of, output_of, pick, words

HALF, BRAIN, SINGLE = catalog.BINARY16, catalog.BFLOAT16, catalog.BINARY32
# operand formats and register: each pair is there for one proof, or just misses it
PAIRS = [
    (catalog.E4M3, SINGLE),
    (catalog.E5M2, replace(SINGLE, saturate=True)),
    (HALF, SINGLE),
    (BRAIN, SINGLE),
    (SINGLE, SINGLE),
    (catalog.E4M3, HALF),
    (catalog.E5M2, replace(HALF, saturate=True)),
    (HALF, HALF),
    (catalog.E4M3, BRAIN),
    (BRAIN, BRAIN),
    (catalog.E4M3, catalog.E4M3),
    (catalog.E4M3, catalog.E4M3_FNUZ),
    (catalog.E5M2, catalog.E5M2),
    (catalog.ristretto(4, 3), HALF),
    (catalog.E2M1, catalog.E2M3),
    (catalog.E4M3, Minifloat(5, 6, subnormals=False)),
    (catalog.E5M2, Minifloat(4, 4, subnormals=False, specials=Specials.FN)),
    (FixedPoint(8, 5), HALF),
    (FixedPoint(16, 9), Minifloat(6, 12)),
    (catalog.E4M3, Minifloat(3, 0, specials=Specials.FN)),
]


def schedule_of(rng) -> Schedule:
    order = pick(rng, list(Order))
    skips = rng.random() < 0.3
    return Schedule(
        order,
        lanes=int(rng.choice([1, 1, 2, 3, 4])),
        lane_axis=pick(rng, list(Axis)),
        tree=Tree(pick(rng, list(Pairing))),
        bias=pick(rng, list(BiasPoint)),
        padded=PaddedTaps.SKIPPED if skips else PaddedTaps.STEPS,
        skip_zeros=pick(rng, list(ZeroSkip)) if skips else ZeroSkip.NONE,
    )


@cache
def host_case(number: int) -> Case:
    """Return the case of that number."""
    rng = generator(f"host case {number}")
    while True:
        x, register = PAIRS[number % len(PAIRS)]
        w = x if rng.random() < 0.7 else pick(rng, [*POWERS[:1], FixedPoint(8, 7), catalog.E4M3])
        exact = rng.random() < 0.25
        accumulator = ExactSum() if exact else FloatAccumulator(register, Rounding.TIES_EVEN, schedule=schedule_of(rng))
        output = replace(output_of(rng), rounding=Rounding.TIES_EVEN) if rng.random() < 0.8 else output_of(rng)
        contract = FloatMacContract(x, w, output, accumulator)
        try:
            layer, shape = layer_of(rng, contract, connected=rng.random() < 0.2)
        except ContractError:
            continue
        return Case(f"host case {number}", layer, (words(rng, x, shape, finite=False).astype(x.dtype),))
