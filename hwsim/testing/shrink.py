"""The reducer: from a failing example to the smallest one that hwsim's moves find and that still fails in the same way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from hwsim.errors import BackendError, ContractError, DeviceHung, InputError
from hwsim.testing.frame import Frame
from hwsim.testing.judge import Example, Judge, Kind, Settled, Verdict, alike
from hwsim.testing.simpler import Cost, cost

Make = Callable[..., "Example | None"]
Move = Callable[["Search"], None]
REDUCE_CALLS = 1000
"""Calls of the device that a reduction may take unless told."""


@dataclass(frozen=True, eq=False)
class Reduced:
    """verdict: on the smallest example.  calls: of the device.  finished: False where the budget ended it.  stopped: why."""

    verdict: Verdict
    calls: int
    finished: bool
    stopped: str = ""


class _Spent(Exception):
    """The budget is used up, or the device hangs."""


class Search:
    """Tries smaller examples; `current` is the smallest that failed so far. Deterministic: no chance, no clock."""

    def __init__(self, judge: Judge, settled: Settled, fixed: bool, budget: int, frame: Frame | None = None) -> None:
        self.judge, self.settled, self.fixed, self.budget, self.frame = judge, settled, fixed, budget, frame
        self.verdict, self.first = settled.verdict, judge.calls
        self.cost: Cost = cost(self.verdict.example)
        self._seen: set[bytes] = set()

    @property
    def current(self) -> Example:
        """The smallest example so far."""
        return self.verdict.example

    @property
    def calls(self) -> int:
        """Calls of the device so far."""
        return self.judge.calls - self.first

    def attempt(self, make: Make, *given: Any) -> bool:
        """Take what make(*given) gives, if it can be built, is smaller, and fails in the same way; whether it was taken."""
        try:
            candidate = make(*given)
            if candidate is None or not self._new(candidate):
                return False
            verdict = self._judged(candidate)
        except (ContractError, InputError, BackendError):
            return False  # no such layer, or none that this device or this backend can take
        if verdict is None or not verdict.resembles(self.verdict):
            return False
        self.verdict, self.cost = verdict, cost(candidate)
        return True

    def _new(self, candidate: Example) -> bool:
        if cost(candidate) >= self.cost or not (self.frame is None or self.frame.allows(candidate)):
            return False
        key = _digest(candidate)
        new = key not in self._seen
        self._seen.add(key)
        return new

    def _judged(self, candidate: Example) -> Verdict | None:
        if self.calls >= self.budget:
            raise _Spent(f"the budget of {self.budget} device calls ended it")
        runs = 1 if self.verdict.kind is Kind.WRONG else None
        verdict = self.judge.judge(candidate, self.settled.fresh, runs)
        if verdict is not None and isinstance(verdict.error, DeviceHung):
            raise _Spent("the device hung on a smaller example")
        return verdict


def _digest(example: Example) -> bytes:
    """The same for the same layer and inputs; of a few bytes, so that all that was tried can be remembered."""
    layer = example.layer
    arrays = {"inputs": example.inputs, "weight": getattr(layer, "weight", None), "bias": getattr(layer, "bias", None)}
    state = sha256()
    for name in getattr(layer, "__dataclass_fields__", {}):
        if name not in arrays:
            state.update(f"{name}={getattr(layer, name)!r};".encode())
    for name, codes in arrays.items():
        if codes is not None:
            state.update(f"{name} {codes.shape} {codes.dtype};".encode() + np.ascontiguousarray(codes).tobytes())
    return state.digest()


def reduce(judge: Judge, settled: Settled, fixed: bool, budget: int = REDUCE_CALLS, frame: Frame | None = None) -> Reduced:
    """Return the smallest failing example that greedy moves reach: round after round until none helps any more.

    Smaller is: fewer codes that are not zero, then fewer codes, simpler attributes, less bias, a simpler contract, smaller
    magnitudes. fixed: the layer is the device's own, so inputs alone may change. frame: what a smaller example may be,
    None for anything. The kind of failure stays the same.
    What the device and the budget are, and nothing else, decides the result.
    """
    from hwsim.testing.moves import MOVES  # it needs Search

    search = Search(judge, settled, fixed, budget, frame)
    stopped = ""
    try:
        while True:
            before = search.cost
            for move in MOVES:
                move(search)
            if search.cost == before:
                break
    except _Spent as spent:
        stopped = str(spent)
    verdict, unsure = _confirmed(search)
    return Reduced(verdict, search.calls, not stopped, unsure or stopped)


def _confirmed(search: Search) -> tuple[Verdict, str]:
    """Ask once more: a device that leaves something behind may have failed the last example because of the one before."""
    found = search.verdict
    if found.kind is not Kind.WRONG or found is search.settled.verdict:
        return found, ""
    again = search.judge.judge(found.example, search.settled.fresh)
    if again is None or again.kind is Kind.ERROR:
        return search.settled.verdict, "what was smaller did not fail again, so this is not reduced"
    if alike(found, again):
        return found, ""
    return again, "the reduced example is not answered twice alike"
