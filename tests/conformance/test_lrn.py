"""LRN in integers and in stepped minifloats: every backend gives the codes and events of the loops written apart."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from conformance.test_layers import amid

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.backends.base import Taps
from hwsim.contract import Output
from hwsim.formats import Affine, FixedPoint
from hwsim.formats.catalog import E2M3, ristretto
from hwsim.layers import Events, IntegerLRN, Region, Shape, SteppedLRN
from hwsim.layers.lrn_table import SumLookup, TableDesign
from oracles.cases import Case, generator
from oracles.float_lrn import Steps, ristretto_column, separate_column
from oracles.lrn import integer_lrn

READS = (FixedPoint(8, 4), FixedPoint(8, 6, signed=False), FixedPoint(5, -1), FixedPoint(16, 9), Affine(8, 0.043, -7),
         Affine(8, 0.11, 131, signed=False))  # fmt: skip
WRITES = (FixedPoint(8, 5), FixedPoint(6, 4, signed=False), FixedPoint(16, 11), Affine(8, 0.021, 12), Affine(4, 0.3, 3))
CONSTANTS = ((1.0, 0.75, 1.0), (1e-4, 0.5, 2.0), (3.0, 1.0, 0.25), (0.0, 0.75, 1.0))
CASES = 60


@cache
def case(i: int) -> tuple[IntegerLRN, np.ndarray, np.ndarray, Events]:
    """One layer, its table built for real constants or filled with any codes at all; its input, its codes and its events."""
    rng = generator(f"lrn {i}")
    pick = lambda values: values[int(rng.integers(len(values)))]  # noqa: E731
    f = READS[i % len(READS)]
    output = Output(WRITES[i % len(WRITES)], list(Rounding)[i % 10], pick([Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC]))
    about = (list(Region)[i % 2], pick([1, 3, 5, 99]), *pick(CONSTANTS))
    fraction = int(rng.integers(0, 11))
    dropped, rounding = int(rng.integers(0, fraction + 1)), pick(list(Rounding))
    if i % 3:
        design = TableDesign(pick([2, 7, 64, 300]), int(rng.integers(4, 18)), fraction, dropped, rounding)
        layer = IntegerLRN.from_real(f, *about, output, design)
    else:
        entry = FixedPoint(int(rng.integers(3, 19)), int(rng.integers(2, 17)), bool(rng.integers(2)))
        lookup = SumLookup(entry, int(rng.integers(0, 15)), pick([None, *range(6)]), fraction, dropped, rounding)
        table = rng.integers(entry.low, entry.high, int(rng.integers(1, 41)), endpoint=True)
        layer = IntegerLRN(f, *about, lookup, table, output)
    x = rng.integers(f.low, f.high, size=(2, 5, 3, 4), endpoint=True)
    x[0] = np.where(x[0] % 3 == 0, f.zero(), x[0])  # small sums too
    x[1, :, 0] = f.low
    return layer, x, *integer_lrn(layer, x)


@pytest.mark.parametrize("i", range(CASES))
def test_codes_and_events_are_those_of_the_plain_loops(target, i):
    layer, x, codes, events = case(i)
    with target.chosen() as backend:
        taps = Taps()
        found = backend.prepare(layer, [Shape(*x.shape[1:])])([x], taps).codes
        around = amid(backend, Case(f"lrn {i}", layer, (x.astype(layer.format.dtype),))) if i % 5 == 0 else None
    np.testing.assert_array_equal(found.astype(object), codes, repr(layer))
    assert taps.counted == events
    if around is not None:
        np.testing.assert_array_equal(around.codes.astype(object), codes, "amid a network")


@pytest.mark.parametrize("i", range(CASES))
def test_no_output_leaves_the_bounds_but_by_saturation(i):
    layer, _, codes, _ = case(i)
    low, high = layer.bounds.output
    for code in codes[(codes > layer.output.low) & (codes < layer.output.high)]:
        assert low <= code <= high


def test_the_cases_tell_the_entries_apart():
    """Interpolated and not, uniform and by octaves, beyond the table and within it, clipped and not."""
    layers = [case(i)[0] for i in range(CASES)]
    assert {bool(layer.lookup.fraction_bits) for layer in layers} == {True, False}
    assert {layer.lookup.mantissa_bits is None for layer in layers} == {True, False}
    assert len({case(i)[3].output > 0 for i in range(CASES)}) == 2
    assert sum(len(np.unique(case(i)[2])) > 8 for i in range(CASES)) > CASES // 2


STEPS = (ristretto(4, 3), ristretto(5, 6), ristretto(4, 7, zero_code=0), E2M3, ristretto(5, 2))


@cache
def stepped(i: int) -> tuple[SteppedLRN, np.ndarray, np.ndarray, Events]:
    """One layer of minifloats, its input, the real numbers of its output, and the specification's events."""
    rng = generator(f"stepped {i}")
    f = STEPS[i % len(STEPS)]
    size, running = (1, 3, 5, 31)[i % 4], bool(i % 3)
    alpha, beta, k = ((1.0, 0.75, 1.0), (0.5, 0.5, 2.0), (2.0, 1.0, 0.5))[i // 2 % 3]
    mode = (Rounding.TIES_EVEN, Rounding.TIES_AWAY, Rounding.FLOOR)[i // 4 % 3]
    layer = SteppedLRN.from_real(f, size, alpha, beta, k, mode, running)
    x = f.encode_array(rng.normal(size=(2, 6, 3, 4)) * rng.choice([0.3, 2.0, 20.0], (2, 1, 3, 4)))
    q, want = Steps(f, mode), np.zeros(x.shape)
    column = ristretto_column if running else separate_column
    for n, y, c in np.ndindex(2, 3, 4):
        want[n, :, y, c] = column([f.decode(code) for code in x[n, :, y, c].tolist()], size, alpha, beta, k, q)
    cells = [layer.spec([x.tolist()], *at) for at in np.ndindex(*x.shape)]
    return layer, x, want, Events(*map(sum, zip(*(cell.events for cell in cells), strict=True)))


@pytest.mark.parametrize("i", range(15))
def test_minifloats_step_as_ristrettos_kernel_does(target, i):
    layer, x, want, events = stepped(i)
    with target.chosen() as backend:
        if not backend.can(layer):
            assert target.backend == "native"
            return
        taps = Taps()
        found = backend.prepare(layer, [Shape(*x.shape[1:])])([x], taps).codes
    np.testing.assert_array_equal(layer.steps.to_real(found), want, repr(layer))
    assert taps.counted == events


def test_a_running_sum_keeps_its_roundings():
    """Each output's own sum is another one; the two differ somewhere, and the oracle tells them apart."""
    layer, x, want, _ = stepped(1)
    assert layer.running
    own = replace(layer, running=False)
    found = [own.spec([x.tolist()], *at).code for at in np.ndindex(*x.shape)]
    assert (layer.steps.to_real(np.array(found)).reshape(x.shape) != want).any()
