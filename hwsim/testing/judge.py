"""What one example shows of a device: nothing, a wrong answer, two answers to one question, or no answer at all."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from hwsim.errors import DeviceError, DeviceHung, OverflowTrap
from hwsim.execute.single import run_layer
from hwsim.layers import Layer
from hwsim.testing.dut import Device, Outcome, ask, same


class Kind(Enum):
    """WRONG: the answer is not the model's.  UNSTEADY: the same question got two answers.  ERROR: there was no answer."""

    WRONG = "wrong"
    UNSTEADY = "unsteady"
    ERROR = "error"


@dataclass(frozen=True, eq=False)
class Example:
    """A layer and the codes [N][C][H][W] that it is given."""

    layer: Layer
    inputs: np.ndarray


@dataclass(frozen=True, eq=False)
class Verdict:
    """One example that a device failed.

    answers: of each run, in order; none where `error` came.  note: what else is known, or "".
    """

    kind: Kind
    example: Example
    expected: Outcome
    answers: tuple[Outcome, ...] = ()
    error: DeviceError | None = None
    note: str = ""

    def resembles(self, before: Verdict) -> bool:
        """Whether this is the same way to fail: the same kind, by the same error, with traps where there were traps."""
        trapped = [isinstance(outcome, OverflowTrap) for v in (self, before) for outcome in (v.reference, v.other)]
        same_error = type(self.error) is type(before.error)
        return self.kind is before.kind and same_error and trapped[:2] == trapped[2:]

    @property
    def other(self) -> Outcome:
        """What the device said and should not have: of an unsteady one, the first answer that differs from its first."""
        if self.kind is Kind.UNSTEADY:
            return next((found for found in self.answers[1:] if not same(found, self.answers[0])), self.answers[-1])
        return self.answers[0] if self.answers else self.expected

    @property
    def reference(self) -> Outcome:
        """What `other` is held against: the model's answer, or an unsteady device's first one."""
        return self.answers[0] if self.kind is Kind.UNSTEADY else self.expected

    @property
    def wrong(self) -> np.ndarray | None:
        """Where the codes differ, bool [N][K][H][W]; None where there are no two arrays of codes."""
        a, b = self.reference, self.other
        return a != b if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) else None

    @property
    def place(self) -> tuple[int, int, int, int] | None:
        """The first output (n, k, y, x) that differs, or that a trap names; None where no place is known."""
        wrong = self.wrong
        if wrong is not None and wrong.any():
            n, k, y, x = (int(i) for i in np.argwhere(wrong)[0])
            return n, k, y, x
        trap = next((o for o in (self.expected, *self.answers) if isinstance(o, OverflowTrap)), None)
        return None if trap is None else tuple(trap.coordinate)  # type: ignore[return-value]


class Judge:
    """Holds a device to the model, one example at a time; counts what it asks of it."""

    def __init__(self, device: Device, backend: str, runs: int, owner: object | None = None) -> None:
        self.device, self.backend, self.runs = device, backend, runs
        self.calls = self.outputs = 0
        self._reset = getattr(device if owner is None else owner, "reset", None)

    @property
    def resets(self) -> bool:
        """Whether the device can be brought to its state at power-up."""
        return callable(self._reset)

    def expected(self, example: Example) -> Outcome:
        """What the model says."""
        try:
            return run_layer(example.layer, example.inputs, backend=self.backend, acc=False).codes.astype(np.int64)
        except OverflowTrap as trap:
            return trap

    def judge(self, example: Example, fresh: bool = False, runs: int | None = None) -> Verdict | None:
        """Ask the device `runs` times; None where every answer is the model's. fresh: from its state at power-up, if it can.

        From power-up a wrong first answer is WRONG whatever the next ones are; else answers that differ are UNSTEADY.
        """
        expected = self.expected(example)
        if fresh and self._reset is not None:
            self._reset()
        answers: list[Outcome] = []
        try:
            for _ in range(self.runs if runs is None else runs):
                self.calls += 1
                answers.append(ask(self.device, example.layer, example.inputs))
        except DeviceError as error:
            return Verdict(Kind.ERROR, example, expected, error=error)
        if isinstance(expected, np.ndarray):
            self.outputs += expected.size
        steady = all(same(answers[0], other) for other in answers[1:])
        right = same(answers[0], expected)
        if right and steady:
            return None
        wrong = not right and (steady or (fresh and self.resets))
        return Verdict(Kind.WRONG if wrong else Kind.UNSTEADY, example, expected, tuple(answers))


def alike(a: Verdict | None, b: Verdict | None) -> bool:
    """Whether two verdicts on one example say the same."""
    if a is None or b is None or a.kind is not b.kind:
        return a is b
    if a.kind is Kind.ERROR:
        return type(a.error) is type(b.error)
    kept = 1 if a.kind is Kind.WRONG else None
    return all(same(x, y) for x, y in zip(a.answers[:kept], b.answers[:kept], strict=False))


@dataclass(frozen=True, eq=False)
class Settled:
    """A failure looked at twice. fresh: only from power-up does it come again.  again: whether it comes again at all."""

    verdict: Verdict
    again: bool
    fresh: bool = False


LEFT_OVER = "right from power-up, wrong after other examples: something of them is left in the device"
AT_RANDOM = "asked the same again, from the same state as far as hwsim can tell, it answered differently"
ONCE = "asked the same again it did not fail"


def settle(judge: Judge, found: Verdict) -> Settled:
    """Find out whether a failure comes again: at once, or from power-up only; or whether the device is not steady.

    A device that hangs is not asked again: each time would take the whole time limit.
    """
    if isinstance(found.error, DeviceHung):
        return Settled(found, False)
    if not judge.resets:
        again = judge.judge(found.example)
        if alike(found, again) or (again is not None and found.kind is again.kind is Kind.UNSTEADY):
            return Settled(found, True)
        return Settled(_differently(found, again), False)
    first, second, later = (judge.judge(found.example, fresh) for fresh in (True, True, False))
    if first is None and second is None:
        return Settled(_left_over(found), False)
    if first is None or not alike(first, second):
        return Settled(_differently(first or found, second), False)
    return Settled(first, True, fresh=not (alike(first, later) and alike(first, found)))


def _left_over(found: Verdict) -> Verdict:
    if found.kind is Kind.ERROR:
        return Verdict(Kind.ERROR, found.example, found.expected, error=found.error, note=LEFT_OVER)
    wrong = next(a for a in found.answers if not same(a, found.expected))
    return Verdict(Kind.UNSTEADY, found.example, found.expected, (found.expected, wrong), note=LEFT_OVER)


def _differently(a: Verdict, b: Verdict | None) -> Verdict:
    """Two looks that differ."""
    if a.kind is Kind.ERROR or (b is not None and b.kind is Kind.ERROR):
        failed = a if a.kind is Kind.ERROR or b is None else b
        return Verdict(Kind.ERROR, a.example, a.expected, error=failed.error, note=ONCE)
    if a.kind is Kind.UNSTEADY:
        return a
    answers = (a.answers[0], a.expected if b is None else b.answers[0])
    if same(*answers):
        answers = (a.answers[0], next((o for o in b.answers if not same(o, a.answers[0])), a.expected) if b else a.expected)
    return Verdict(Kind.UNSTEADY, a.example, a.expected, answers, note=AT_RANDOM)
