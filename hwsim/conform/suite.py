"""What a suite is: cases that say what an oracle computed and how hwsim computes the same, and how each came out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from hwsim.errors import BackendError, HwsimError

Compute = Callable[[str], np.ndarray]
"""backend -> what hwsim computes with it, every output element; HwsimError where hwsim refuses, BackendError where it cannot."""

SPEC_WORK = 10_000
"""Plain Python takes a second for some 100,000 steps: larger cases run on jit and native alone."""


@dataclass(frozen=True)
class Case:
    """One test: hwsim's array must equal the oracle's, bit for bit.

    operator: as the suite calls it; the report counts by it.  name: of this test, unique in its suite.
    compute: see Compute.  expected: asks the oracle, or reads what it left; integers, bools, or floats (compared as bits,
    any NaN equal to any other).
    upper: the largest allowed integers where the suite itself gives a range, of which expected() is the smallest; None: equal.
    work: elements times the steps of each, as a measure of what it costs spec; 0: what expected() holds.
    miss: why hwsim is known not to pass it, as docs/conformance.md explains; None: it must pass.
    """

    operator: str
    name: str
    compute: Compute
    expected: Callable[[], np.ndarray]
    upper: Callable[[], np.ndarray] | None = None
    work: int = 0
    miss: str | None = None


@dataclass(frozen=True)
class Suite:
    """A suite, ready to run. oracle: who says what is right, and its version.

    left_out: (operator, how many tests, why), for tests of the suite that are none of hwsim's business.
    """

    name: str
    title: str
    oracle: str
    cases: Sequence[Case]
    left_out: tuple[tuple[str, int, str], ...] = ()


class Result(Enum):
    """PASSED: equal on every backend that computed it.  DIFFERS: one value, or the shape, is not.  REFUSED: hwsim said why."""

    PASSED = "passed"
    DIFFERS = "differs"
    REFUSED = "refused"


@dataclass(frozen=True)
class Outcome:
    """How one case came out.

    backends: who computed it.  values: elements compared on each.  why: the first difference, or hwsim's refusal.
    """

    case: Case
    result: Result
    backends: tuple[str, ...] = ()
    values: int = 0
    why: str = ""

    @property
    def passed(self) -> bool:
        """Whether all is equal."""
        return self.result is Result.PASSED

    @property
    def alarming(self) -> bool:
        """Whether a test that should pass does not."""
        return not self.passed and self.case.miss is None


def run_case(case: Case, backends: Sequence[str]) -> Outcome:
    """Run a case on each backend, on spec only where it is small; a backend without a kernel for it stands aside."""
    expected = np.asarray(case.expected())
    upper = None if case.upper is None else np.asarray(case.upper())
    ran: list[str] = []
    why = "no backend has a kernel for it"
    for backend in backends:
        if backend == "spec" and max(case.work, expected.size) > SPEC_WORK and len(backends) > 1:
            continue
        try:
            found = np.asarray(case.compute(backend))
        except BackendError as error:
            why = str(error)
            continue
        except HwsimError as error:
            return Outcome(case, Result.REFUSED, tuple(ran), expected.size, str(error))
        ran.append(backend)
        differs = difference(found, expected, upper)
        if differs:
            return Outcome(case, Result.DIFFERS, tuple(ran), expected.size, f"{backend}: {differs}")
    if not ran:
        return Outcome(case, Result.REFUSED, (), expected.size, why)
    return Outcome(case, Result.PASSED, tuple(ran), expected.size)


def difference(found: np.ndarray, expected: np.ndarray, upper: np.ndarray | None = None) -> str:
    """Return a sentence about the first element that differs, or with `upper` lies outside expected..upper, or "".

    Integers are compared as numbers whatever their type (ml_dtypes' small ones first to be made int8), floats of one type as
    bits.

    >>> difference(np.array([1, 2, 4]), np.array([1, 2, 3], np.int8))
    '1 of 3 elements differ, first at (2,): found 4, expected 3'
    """
    if found.shape != expected.shape:
        return f"found shape {found.shape}, expected {expected.shape}"
    floats = [array.dtype.kind not in "iub" for array in (found, expected)]
    if any(floats) and found.dtype != expected.dtype:
        return f"found elements of type {found.dtype}, expected {expected.dtype}"
    if upper is not None:
        wrong = np.asarray((found < expected) | (found > upper))
    else:
        wrong = _float_bits_differ(found, expected) if any(floats) else np.asarray(found != expected)
    if not wrong.any():
        return ""
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    count = np.count_nonzero(wrong)
    allowed = f"{expected[at]}" if upper is None else f"{expected[at]}..{upper[at]}"
    return f"{count} of {wrong.size} elements differ, first at {at}: found {found[at]}, expected {allowed}"


def _float_bits_differ(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    unsigned = np.dtype(f"u{found.dtype.itemsize}")
    both_nan = np.isnan(found) & np.isnan(expected)
    bits = [np.ascontiguousarray(array).reshape(array.shape).view(unsigned) for array in (found, expected)]
    return np.asarray((bits[0] != bits[1]) & ~both_nan)
