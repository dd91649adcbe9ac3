"""A process that may hang, crash or print without end: asked with a time limit and bounded memory, ended with its whole group."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum

from hwsim.errors import DeviceCrashed

CHUNK = 1 << 16
TAIL = 1 << 15
"""Bytes of stderr that are kept: the last ones."""
EXIT_GRACE = 1.0
"""Seconds that a process may take to end once it has closed its stdout, before it is said to run on."""
CLOSE_GRACE = 0.5
"""Seconds that a process has to end once its stdin is closed: a simulator writes its waves then."""

Take = Callable[[bytes], bool]
"""Takes a piece of what came; True when no more is wanted."""


class Came(Enum):
    """Why an exchange ended: all came, the time was up, or stdout was closed first."""

    ALL = "all"
    LATE = "late"
    CLOSED = "closed"


class Child:
    """A process in a session of its own, with pipes; the leader of its group, all of which ends with it."""

    def __init__(self, pid: int, stdin: int, stdout: int, stderr: int) -> None:
        self.pid, self.stdin, self.stdout, self.stderr = pid, stdin, stdout, stderr
        self.code: int | None = None
        self.written = bytearray()
        for pipe in (stdin, stdout, stderr):
            os.set_blocking(pipe, False)
        self._pipes = [stdin, stdout, stderr]
        # An object that nobody closes, and an interpreter that ends, must not leave a process or a pipe behind.
        self._finalizer = weakref.finalize(self, _end, pid, os.getpid(), self._pipes)

    @classmethod
    def start(cls, command: Sequence[str], cwd: str | None = None, env: dict[str, str] | None = None) -> Child:
        """Start a command; DeviceCrashed where there is no such program."""
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(
                list(command), stdin=pipe, stdout=pipe, stderr=pipe, cwd=cwd, env=env, bufsize=0, start_new_session=True
            )
        except OSError as error:
            said = f"cannot be started ({error.strerror or error}); give a program that is there and may run"
            raise DeviceCrashed(f"device {list(command)}: {said}.") from None
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        ends = [os.dup(stream.fileno()) for stream in (process.stdin, process.stdout, process.stderr)]
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
        process.returncode = 0  # this class waits for it
        return cls(process.pid, *ends)

    @property
    def tail(self) -> str:
        """The end of its stderr."""
        return self.written.decode("utf-8", "backslashreplace").strip()

    def exchange(self, data: bytes, take: Take, seconds: float) -> Came:
        """Write data and read until `take` has enough, both at once: neither side waits for the other's full pipe."""
        deadline, left = time.monotonic() + seconds, memoryview(data)
        with selectors.DefaultSelector() as ready:
            ready.register(self.stdout, selectors.EVENT_READ)
            ready.register(self.stderr, selectors.EVENT_READ)
            if left:
                ready.register(self.stdin, selectors.EVENT_WRITE)
            whole = take(b"")
            while left or not whole:
                found = ready.select(max(deadline - time.monotonic(), 0))
                for key, _ in found:
                    if key.fd == self.stdin:
                        left = self._write(left)
                        if not left:
                            ready.unregister(self.stdin)
                    elif key.fd == self.stderr:
                        if not self._read_stderr():
                            ready.unregister(self.stderr)
                    else:
                        piece = _read(self.stdout)
                        if piece == b"":
                            return Came.CLOSED
                        whole = take(piece or b"")
                if (left or not whole) and time.monotonic() >= deadline:
                    return Came.LATE
        return Came.ALL

    def _write(self, left: memoryview) -> memoryview:
        """Write some; a device that has closed its stdin gets nothing more, and its answers are still read."""
        try:
            return left[os.write(self.stdin, left[:CHUNK]) :]
        except BlockingIOError:
            return left
        except BrokenPipeError:
            return left[:0]

    def _read_stderr(self) -> bool:
        """Keep the last bytes; False at its end."""
        piece = _read(self.stderr)
        self.written += piece or b""
        del self.written[:-TAIL]
        return piece != b""

    def pending(self) -> bytes:
        """Return a piece of stdout that is there already, without waiting."""
        return _read(self.stdout) or b""

    def ended(self, seconds: float) -> bool:
        """Return whether it ends by itself within so many seconds; it is not yet reaped then, so its number stays its own."""
        deadline = time.monotonic() + seconds
        while not self._gone():
            if time.monotonic() >= deadline:
                return False
            self._read_stderr()  # a full pipe must not keep it from ending
            time.sleep(0.002)
        while self._read_stderr() and _waits(self.stderr):
            pass
        return True

    def _gone(self) -> bool:
        if self.code is None and hasattr(os, "waitid"):
            with suppress(ChildProcessError):
                return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        if self.code is None:  # macOS before Python 3.13 has no waitid
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is not None

    def hang_up(self) -> None:
        """Close its stdin: a device that reads to the end ends."""
        if self.stdin >= 0:
            self._pipes.remove(self.stdin)
            os.close(self.stdin)
            self.stdin = -1

    def kill(self) -> None:
        """End the whole group at once; SIGKILL, because SIGTERM may be ignored."""
        if self.stdout >= 0:
            _kill(self.pid)

    def close(self) -> int | None:
        """End the group, reap the process, close the pipes; return its exit code, negative for a signal."""
        if self.stdout < 0:
            return self.code
        self._finalizer.detach()
        _kill(self.pid)
        with suppress(ChildProcessError):
            if self.code is None:
                self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        _close(self._pipes)
        self.stdin = self.stdout = self.stderr = -1
        return self.code


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS refuses where only a zombie is left
        os.killpg(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)  # a fork that has not made its group yet


def _close(pipes: list[int]) -> None:
    while pipes:
        with suppress(OSError):  # a device in a fork may have closed what was open there
            os.close(pipes.pop())


def _end(pid: int, owner: int, pipes: list[int]) -> None:
    _close(pipes)
    if os.getpid() == owner:  # a fork of the owner has the object, too, and no right to the process
        _kill(pid)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _read(pipe: int) -> bytes | None:
    """Return what is there, b"" at the end, None where nothing is there yet."""
    try:
        return os.read(pipe, CHUNK)
    except BlockingIOError:
        return None


def _waits(pipe: int) -> bool:
    with selectors.DefaultSelector() as ready:
        ready.register(pipe, selectors.EVENT_READ)
        return bool(ready.select(0))


def how_it_ended(code: int | None) -> str:
    """Say an exit code in words.

    >>> how_it_ended(3), how_it_ended(-11)
    ('ended with exit code 3', 'was ended by signal SIGSEGV')
    """
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"was ended by signal {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
