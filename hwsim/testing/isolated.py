"""A Python device in a process of its own: a hang is ended, a segmentation fault is seen, and memory is its own."""

from __future__ import annotations

import faulthandler
import io
import json
import os
import pickle
import signal
import struct
import sys
import traceback
import warnings
from contextlib import suppress
from typing import Any, NoReturn

import numpy as np

from hwsim.errors import (
    BackendError,
    ContractError,
    DeviceAnswer,
    DeviceCrashed,
    DeviceError,
    DeviceHung,
    HwsimError,
    InputError,
    OverflowTrap,
)
from hwsim.layers import Layer, Shape
from hwsim.testing.dut import Device, checked_answer, checked_trap, crash_of, device_name
from hwsim.testing.process import EXIT_GRACE, Came, Child, how_it_ended
from hwsim.testing.session import checked_seconds

HEAD = struct.Struct("<cQ")
"""What kind of answer, and how many bytes of it follow."""
CODES, TRAP, ERROR = b"C", b"T", b"E"
LONGEST_TEXT = 1 << 16


class Isolated:
    """dut(layer, inputs) in a forked process, which stays up from one call to the next.

    device: any callable; a fork needs nothing of it to be importable or picklable, so closures will do. It forks at the first
    call, and anew after a failure and after reset(): with the state that the device then has in this process.
    timeout: seconds for one call; then the process and its children are ended (DeviceHung). Exceptions, sys.exit() and
    signals are DeviceCrashed; what it prints is the failure's detail.
    A fork has only the thread that asked for it: a device must not wait for other threads of this process. POSIX only.

    >>> def negative(layer, inputs):
    ...     return -inputs.astype(int)
    >>> from hwsim.formats import FixedPoint
    >>> from hwsim.layers import LookupTable
    >>> s4 = FixedPoint(4, 0)
    >>> layer = LookupTable(s4, s4, np.arange(-8, 8)[::-1])
    >>> with Isolated(negative) as dut:
    ...     dut(layer, np.array([[[[3]]]])).tolist()
    [[[[-3]]]]
    """

    stoppable = True

    def __init__(self, device: Device, *, timeout: float = 30.0) -> None:
        if not callable(device):
            raise InputError(f"Isolated: found {device!r}, allowed a callable: dut(layer, inputs) -> codes.")
        if not hasattr(os, "fork"):
            raise InputError("Isolated: this system cannot fork; write the device as a program and take Session or Command.")
        self.device, self.timeout = device, checked_seconds("Isolated.timeout", timeout)
        self._child: Child | None = None

    def __call__(self, layer: Layer, inputs: np.ndarray) -> np.ndarray:
        if self._child is None:
            self._child = _fork(self.device)
        child = self._child
        outputs = len(inputs) * int(np.prod(layer.output_shape([Shape(*inputs.shape[1:])])))
        answer = _Answer(8 * outputs)
        question = pickle.dumps((layer, np.asarray(inputs)))
        try:
            came = child.exchange(struct.pack("<Q", len(question)) + question, answer, self.timeout)
            if came is not Came.ALL or answer.odd:
                raise self._failure(child, came)
        except BaseException:
            self.close()
            raise
        return answer.opened(device_name(self.device), (len(inputs), *layer.output_shape([Shape(*inputs.shape[1:])])))

    def _failure(self, child: Child, came: Came) -> DeviceError:
        name = device_name(self.device)
        if came is Came.LATE:
            said = f"no answer within {self.timeout:g} s, so its process was ended; mend it, or give it more time (timeout)"
            return DeviceHung(f"device {name}: {said}.", child.tail)
        if came is Came.ALL:
            return DeviceAnswer(
                f"device {name}: its process wrote what is no answer; it must leave open files alone.", child.tail
            )
        gone = child.ended(EXIT_GRACE)
        tail, code = child.tail, child.close()
        said = how_it_ended(code) if gone else "closed its pipes and ran on"
        return DeviceCrashed(f"device {name}: its process {said} before it answered.", tail)

    def reset(self) -> None:
        """End the process; the next call forks again."""
        self.close()

    def close(self) -> None:
        """End the process and its children."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def __enter__(self) -> Isolated:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Isolated({device_name(self.device)})"


class _Answer:
    """Takes the bytes of one answer. odd: they are none."""

    def __init__(self, codes: int) -> None:
        self.codes, self.data, self.odd = codes, bytearray(), False

    def __call__(self, piece: bytes) -> bool:
        self.data += piece
        if len(self.data) < HEAD.size:
            return False
        kind, size = HEAD.unpack_from(self.data)
        right = size == self.codes if kind == CODES else kind in (TRAP, ERROR) and size <= LONGEST_TEXT
        self.odd = not right or len(self.data) > HEAD.size + size
        return self.odd or len(self.data) == HEAD.size + size

    def opened(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return the codes, or raise what was raised in the process."""
        kind, body = HEAD.unpack_from(self.data)[0], bytes(self.data[HEAD.size :])
        if kind == CODES:
            return np.frombuffer(body, dtype="<i8").reshape(shape)
        try:
            told = json.loads(body)
            if kind == TRAP:
                raise OverflowTrap(told["layer"], told["place"], tuple(told["coordinate"]), told["step"])
            error = RAISED.get(told["kind"], DeviceCrashed)(told["sentence"])
            if isinstance(error, DeviceError):
                error.detail = told["detail"]
            raise error
        except (ValueError, KeyError, TypeError) as odd:
            raise DeviceAnswer(f"device {name}: its process wrote what is no answer ({odd}).") from None


KINDS = (DeviceHung, DeviceCrashed, DeviceAnswer, InputError, ContractError, BackendError)
RAISED: dict[str, type[HwsimError]] = {kind.__name__: kind for kind in KINDS}
"""What a device may raise in its process to be raised here as it is."""


def _fork(device: Device) -> Child:
    """Start the process: it reads questions from a pipe, and its stdout and stderr are another."""
    pipes = [os.pipe() for _ in range(3)]
    with warnings.catch_warnings():
        # Python 3.12 warns where other threads run: the child runs the device alone, and the documentation says so.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _serve_and_exit(device, pipes)
    with suppress(OSError):
        os.setpgid(pid, pid)  # whoever of the two is first: its group can be ended from now on
    (question, stdin), (stdout, answer), (stderr, printed) = pipes
    for end in (question, answer, printed):
        os.close(end)
    return Child(pid, stdin, stdout, stderr)


def _serve_and_exit(device: Device, pipes: list[tuple[int, int]]) -> NoReturn:
    """The child's life; whatever happens it never returns into a copy of the parent."""
    code = 1
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        (question, stdin), (stdout, answer), (stderr, printed) = pipes
        for end in (stdin, stdout, stderr):
            os.close(end)
        for stream in (1, 2):
            os.dup2(printed, stream)
        sys.stdout = sys.stderr = io.TextIOWrapper(io.FileIO(printed, "w"), "utf-8", "backslashreplace", write_through=True)
        faulthandler.enable(file=2)
        with open(question, "rb") as asked:
            code = _serve(device, asked, answer)
    except BaseException:
        with suppress(BaseException):
            traceback.print_exc()
    finally:
        os._exit(code)


def _serve(device: Device, asked: Any, answer: int) -> int:
    """Answer until the questions end; return the exit code."""
    while len(head := asked.read(8)) == 8:
        layer, inputs = pickle.loads(asked.read(struct.unpack("<Q", head)[0]))  # noqa: S301  written by our own parent
        kind, body = _answer(device, layer, inputs)
        data = memoryview(HEAD.pack(kind, len(body)) + body)
        while data:
            data = data[os.write(answer, data) :]
    return 0


def _answer(device: Device, layer: Layer, inputs: np.ndarray) -> tuple[bytes, bytes]:
    inputs.setflags(write=False)
    asked = device_name(device), layer, len(inputs), Shape(*inputs.shape[1:])
    try:
        try:
            found = checked_answer(*asked, device(layer, inputs))
        except OverflowTrap as raised:
            trap = checked_trap(*asked, raised)
            told = {"layer": str(trap.layer), "place": trap.place, "coordinate": trap.coordinate, "step": trap.step}
            return TRAP, json.dumps(told).encode()
        return CODES, found.astype("<i8").tobytes()
    except KINDS as error:
        return ERROR, _told(error)
    except (Exception, SystemExit) as error:
        return ERROR, _told(crash_of(device, error))


def _told(error: HwsimError) -> bytes:
    """An error for the parent, cut to what it reads."""
    kind = next(kind.__name__ for kind in KINDS if isinstance(error, kind))
    detail = getattr(error, "detail", "") or "".join(traceback.format_exception(error))
    return json.dumps({"kind": kind, "sentence": str(error), "detail": detail[-4000:]}).encode()
