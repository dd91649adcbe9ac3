"""Every error that hwsim raises on purpose: one sentence with where, what was found, what is allowed, what to do."""

from __future__ import annotations

from typing import Any

LONGEST = 1000
"""Characters of a sentence: what a file holds may be quoted in it, and may be long."""


class HwsimError(Exception):
    """The base of all errors that a user can cause; the command line prints its sentence and exits with 2.

    A sentence may quote names from a file that nobody vouches for. As text it is one line that every terminal can show:
    what cannot be printed is escaped, and the middle of what is too long is left out.

    >>> str(HwsimError("layer 'a\x1b[2J\\n': found 3."))
    "layer 'a\\\\x1b[2J\\\\n': found 3."
    """

    def __str__(self) -> str:
        return _shortened(printable(_shortened(super().__str__())))  # escapes are longer than what they stand for


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"


def printable(text: str) -> str:
    """Escape what a terminal cannot show or would obey: names come from files that nobody vouches for.

    >>> print(printable("a\x1b[2J\\n"))
    a\\x1b[2J\\n
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class InputError(HwsimError):
    """A file, a data set or an argument that cannot be used as it is."""


class ContractError(HwsimError):
    """A numeric contract that cannot be built: its fields contradict each other or leave their range."""


class ProofError(ContractError):
    """A property that the contract promises, and that cannot be proven for this layer."""


class BackendError(HwsimError):
    """A backend asked for by name that cannot compute this layer, or is not installed here."""


class OverflowTrap(HwsimError):
    """The first overflow event of a layer whose contract says TRAP.

    layer: its name.  place: "tree", "accumulator", "spill" or "output".  coordinate: (n, k, y, x) of the first event in
    row-major order.  step: of that output, counted from 0 (a bias that comes last is the step behind the others); None at
    the output.

    >>> print(OverflowTrap("conv1", "accumulator", (0, 3, 5, 7), 11))
    conv1: first overflow at accumulator (n, k, y, x) = (0, 3, 5, 7), step 11, and the contract says TRAP. \
Widen the accumulator, or choose another overflow mode.
    """

    def __init__(self, layer: str, place: str, coordinate: tuple[int, ...], step: int | None = None) -> None:
        super().__init__(layer, place, coordinate, step)
        self.layer, self.place, self.coordinate, self.step = layer, place, coordinate, step

    def __str__(self) -> str:
        step = "" if self.step is None else f", step {self.step}"
        return (
            f"{self.layer}: first overflow at {self.place} (n, k, y, x) = {self.coordinate}{step}, "
            f"and the contract says TRAP. Widen {WIDENED[self.place]}, or choose another overflow mode."
        )


class DeviceError(HwsimError):
    """A device under test that gave no answer that could be compared; whoever raises it has failed the test.

    detail: what the device left behind, whole lines of it: the end of its stderr, or a traceback; "" for nothing.
    report: the example that it failed, a hwsim.testing.Report, where assert_bit_exact raised it; else None.
    """

    def __init__(self, sentence: str, detail: str = "") -> None:
        super().__init__(sentence)
        self.detail = detail
        self.report: Any = None


class DeviceHung(DeviceError):
    """No answer, or only a part of it, within the time limit."""


class DeviceCrashed(DeviceError):
    """It ended before it was asked to: an exit code, a signal, an exception; or it could not be started."""


class DeviceAnswer(DeviceError):
    """It answered with what are no codes of this layer: another shape, type or range, lines too few or too many."""


class DeviceUnsteady(DeviceError):
    """Asked the same twice, it answered differently."""


WIDENED = {
    "tree": "the adder tree's levels",
    "accumulator": "the accumulator",
    "spill": "the spill buffer",
    "output": "the output format",
}
