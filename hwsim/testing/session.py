"""A device that stays up and answers lines: a simulator, a board behind a serial port, a model in another language."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping, Sequence

import numpy as np

from hwsim.errors import DeviceAnswer, DeviceCrashed, DeviceHung, InputError
from hwsim.testing.process import CLOSE_GRACE, EXIT_GRACE, Came, Child, how_it_ended

LONGEST_LINE = 1 << 16
MEAN_LINE = 1 << 8
"""Bytes that the lines of one answer may have on the average, beside one longest line: no device fills the memory."""
QUOTED = 60
DECIMAL = re.compile(r"\s*[+-]?[0-9]{1,18}\s*", re.ASCII)
"""Up to 18 digits: no code has more, and int64 holds them."""


class Session:
    """ask(lines, answers) = the lines that the process writes in answer to those, in order.

    command: the program and its arguments; started at the first question, in a process group of its own, and started anew
    after a failure.  timeout: seconds for one question.  cwd, env: of the process; None for ours.
    Lines are text without a line break; the process reads its stdin, answers on its stdout and must flush it. What it writes
    to its stderr is kept for error messages (the last 32 KiB). After close(), and when the object goes, no process of the
    group is left; a question after close() starts it again.
    Errors: DeviceHung, DeviceCrashed, DeviceAnswer; InputError for a bad question.

    >>> with Session(["cat"]) as echo:
    ...     echo.ask(["3", "4"], answers=2)
    ['3', '4']
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        timeout: float = 30.0,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.command = checked_command("Session.command", command)
        self.timeout = checked_seconds("Session.timeout", timeout)
        self.cwd = None if cwd is None else os.fspath(cwd)
        self.env = None if env is None else dict(env)
        self._child: Child | None = None
        self._lock = threading.Lock()

    def ask(self, lines: Sequence[str], answers: int) -> list[str]:
        """Write the lines, each with a line break, and return the next `answers` lines that come, without theirs."""
        if isinstance(lines, str) or not all(isinstance(line, str) and "\n" not in line for line in lines):
            raise InputError(f"Session.ask: found {str(lines)[:QUOTED]!r}, allowed a list of lines without line breaks.")
        if type(answers) is not int or answers < 0:
            raise InputError(f"Session.ask: found {answers!r} answers, allowed an integer from 0.")
        with self._lock:
            try:
                return self._ask(lines, answers)
            except BaseException:  # whatever happened, what comes next from this process is the answer to nothing
                self._stop()
                raise

    def _ask(self, lines: Sequence[str], answers: int) -> list[str]:
        if self._child is None:
            self._child = Child.start(self.command, self.cwd, self.env)
        child, asked = self._child, _told_lines(lines)
        if early := child.pending():
            said = f"wrote {_text(early)!r} before it was asked {asked}, allowed are answers alone"
            raise DeviceAnswer(f"device {self._name}: {said}: as many lines as are asked for.", child.tail)
        taken = _Lines(answers)
        came = child.exchange("".join(f"{line}\n" for line in lines).encode(), taken, self.timeout)
        taken(child.pending())  # what came a little later: the next question would find it, but there may be none
        if taken.flood is not None:
            raise DeviceAnswer(f"device {self._name}: asked {asked}, it wrote {taken.flood}.", child.tail)
        if came is Came.ALL:
            return taken.lines()
        raise self._failure(child, came, f"asked {asked}, {taken.count} of {answers} answers came")

    def _failure(self, child: Child, came: Came, told: str) -> Exception:
        """Why an answer is short: the process hangs, has closed its stdout, or has ended."""
        if came is Came.LATE:
            said = f"{told} within {self.timeout:g} s and nothing more, so it was ended; mend it, or give it more time (timeout)"
            return DeviceHung(f"device {self._name}: {said}.{_quoted(child.tail)}", child.tail)
        if not child.ended(EXIT_GRACE):
            said = f"{told}, then it closed its stdout and ran on; allowed is a line for each answer"
            return DeviceAnswer(f"device {self._name}: {said}.{_quoted(child.tail)}", child.tail)
        tail, code = child.tail, child.close()
        kind = DeviceAnswer if code == 0 else DeviceCrashed
        return kind(f"device {self._name}: {told}, then it {how_it_ended(code)}.{_quoted(tail)}", tail)

    def ask_codes(self, lines: Sequence[str], shape: Sequence[int]) -> np.ndarray:
        """Return one decimal integer of each answered line as int64 of this shape; DeviceAnswer for anything else."""
        answers = self.ask(lines, int(np.prod(shape)))
        return parse_codes(answers, shape, f"device {self._name}")

    @property
    def _name(self) -> str:
        return told_command(self.command)

    def reset(self) -> None:
        """End the process; the next question starts a new one, in the state of power-up."""
        self.close()

    def close(self) -> None:
        """Close its stdin, let it end, end what is left of its group."""
        child = self._child
        if child is None:
            return
        if not self._lock.acquire(blocking=False):
            child.kill()  # somebody still waits for an answer: that ends the waiting, and who waits clears up
            return
        try:
            child.hang_up()
            child.ended(CLOSE_GRACE)
            self._stop()
        finally:
            self._lock.release()

    def _stop(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Session({self.command!r}, timeout={self.timeout!r})"


class _Lines:
    """Counts the lines of an answer as they come. flood: what is too much of it, or None."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.count = wanted, 0
        self.flood: str | None = None
        self._data, self._open = bytearray(), 0

    def __call__(self, piece: bytes) -> bool:
        self._data += piece
        self.count += piece.count(b"\n")
        last = piece.rfind(b"\n")
        self._open = self._open + len(piece) if last < 0 else len(piece) - last - 1
        self.flood = self._flooded()
        return self.flood is not None or self.count == self.wanted

    def _flooded(self) -> str | None:
        if self.count > self.wanted or (self.count == self.wanted and self._open):
            extra = _text(self._data.split(b"\n", self.wanted)[-1])
            return f"more than the {self.wanted} answers asked for: {extra!r} came behind them"
        if self._open > LONGEST_LINE:
            return f"a line of more than {LONGEST_LINE:,} bytes, allowed is one answer a line"
        if len(self._data) > self.wanted * MEAN_LINE + LONGEST_LINE:
            return f"more than {len(self._data):,} bytes, allowed are {MEAN_LINE} for each of {self.wanted} answers"
        return None

    def lines(self) -> list[str]:
        return [line.rstrip("\r") for line in self._data.decode("utf-8", "backslashreplace").split("\n")[: self.wanted]]


def _text(data: bytes | bytearray) -> str:
    """The first line of it, not too much."""
    return bytes(data[:QUOTED]).split(b"\n")[0].decode("utf-8", "backslashreplace")


def parse_codes(lines: Sequence[str], shape: Sequence[int], where: str = "device") -> np.ndarray:
    """codes = one decimal integer a line, int64 of this shape; x, z, words and fractions are refused as DeviceAnswer.

    >>> parse_codes(["3", "-4"], (1, 2, 1, 1)).ravel().tolist()
    [3, -4]
    """
    codes = np.empty(len(lines), dtype=np.int64)
    for i, line in enumerate(lines):
        if not DECIMAL.fullmatch(line):
            raise DeviceAnswer(f"{where}: answer {i} is {line[:QUOTED]!r}, allowed an integer in decimal digits.")
        codes[i] = int(line)
    if len(codes) != int(np.prod(shape)):
        raise DeviceAnswer(f"{where}: found {len(codes)} answers, allowed {int(np.prod(shape))} for an output of {tuple(shape)}.")
    return codes.reshape(tuple(shape))


def checked_command(name: str, command: object) -> list[str]:
    """Return a command as a list of words; InputError for anything else."""
    words = list(command) if isinstance(command, (list, tuple)) else []
    if not words or not all(isinstance(word, (str, os.PathLike)) for word in words):
        raise InputError(f"{name}: found {command!r}, allowed a list of words: the program and its arguments.")
    return [os.fspath(word) for word in words]


def checked_seconds(name: str, seconds: object) -> float:
    """Return a time limit in seconds; InputError where it is none."""
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not number or not 0 < seconds < 1e6:  # type: ignore[operator]
        raise InputError(f"{name}: found {seconds!r}, allowed seconds above 0.")
    return float(seconds)  # type: ignore[arg-type]


def told_command(command: Sequence[str]) -> str:
    """A command for a sentence, not longer than a line."""
    text = " ".join(command)
    return repr(text if len(text) <= 2 * QUOTED else f"{text[: 2 * QUOTED]}...")


def _told_lines(lines: Sequence[str]) -> str:
    first = f" ({lines[0][:QUOTED]!r}{' ..' if len(lines) > 1 else ''})" if lines else ""
    return f"{len(lines)} line{'s' if len(lines) != 1 else ''}{first}"


def _quoted(tail: str) -> str:
    return f" The end of its stderr: {tail[-200:]!r}." if tail else ""
