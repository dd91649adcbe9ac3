"""Devices under test: anything called as dut(layer, inputs) -> codes; what it may answer, and how a callable is watched."""

from __future__ import annotations

import queue
import threading
import traceback
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hwsim.errors import DeviceAnswer, DeviceCrashed, DeviceHung, HwsimError, InputError, OverflowTrap
from hwsim.layers import Layer, Shape

TRAPS = ("tree", "accumulator", "spill", "output")
"""Where a trap may be."""
Outcome = np.ndarray | OverflowTrap
"""What a run ends with: the output's codes, int64 [N][K][H][W], or the trap of a contract that says TRAP."""


class Device(Protocol):
    """dut(layer, inputs) = the layer's output codes for input codes [N][C][H][W]: integers [N][K][H][W].

    inputs: a read-only array.  Where the contract says TRAP and a step overflows, it raises hwsim.OverflowTrap with the place,
    coordinate and step of the first event.  What else it may have, all of it optional:
    close(): ends what it runs.  reset(): brings it to its state at power-up.  stoppable: True where it ends a call that takes
    too long by itself (Session, Command and Isolated do); every other call is watched from a thread.
    """

    def __call__(self, layer: Layer, inputs: np.ndarray) -> np.ndarray:
        """Compute."""


def ask(device: Device, layer: Layer, inputs: np.ndarray) -> Outcome:
    """Run a device once: its codes, checked to be codes of this layer's output; or its trap.

    Errors: what it raises, if that is an hwsim error; DeviceCrashed for any other exception.
    """
    given = np.array(inputs)
    given.setflags(write=False)
    try:
        found = device(layer, given)
    except OverflowTrap as trap:
        return checked_trap(device_name(device), layer, len(inputs), Shape(*inputs.shape[1:]), trap)
    except HwsimError:
        raise
    except (Exception, SystemExit) as error:  # sys.exit() in a device would end the test run as if all were well
        raise crash_of(device, error) from error
    return checked_answer(device_name(device), layer, len(inputs), Shape(*inputs.shape[1:]), found)


def crash_of(device: object, error: BaseException) -> DeviceCrashed:
    """The failure that an exception in a device is."""
    said = str(error).strip().split("\n")[0][:200]
    detail = "".join(traceback.format_exception(error))
    return DeviceCrashed(f"device {device_name(device)}: raised {type(error).__name__}{f': {said}' if said else ''}.", detail)


def checked_answer(name: str, layer: Layer, images: int, shape: Shape, found: object) -> np.ndarray:
    """Return an answer as int64 codes of its own; DeviceAnswer where it has another type, shape or range."""
    expected = (images, *layer.output_shape([shape]))
    plain = isinstance(found, np.ndarray) and not isinstance(found, np.ma.MaskedArray)  # what is masked is never compared
    if not isinstance(found, np.ndarray) or not plain or found.dtype.kind not in "iu":
        kind = f"an array of {found.dtype}" if isinstance(found, np.ndarray) and plain else f"a {type(found).__name__}"
        raise DeviceAnswer(f"device {name}: answered {kind}, allowed is a numpy array of integers: the output's codes.")
    found = np.asarray(found)  # of numpy's own class, whose == tells every difference
    if found.shape != expected:
        raise DeviceAnswer(f"device {name}: answered shape {found.shape}, allowed (N, K, H, W) = {expected}.")
    fmt = layer.output_format
    wrong = (found < fmt.low) | (found > fmt.high)
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise DeviceAnswer(
            f"device {name}: answered {int(found[at])} at (n, k, y, x) = {at}, allowed codes {fmt.low}..{fmt.high} ({fmt})."
        )
    return found.astype(np.int64)


def checked_trap(name: str, layer: Layer, images: int, shape: Shape, trap: OverflowTrap) -> OverflowTrap:
    """Return a trap with its numbers as integers; DeviceAnswer where it names no place, no output, or no step of this layer."""
    outputs = (images, *layer.output_shape([shape]))
    at, step = trap.coordinate, trap.step
    if trap.place not in TRAPS:
        raise DeviceAnswer(f"device {name}: answered a trap at {trap.place!r:.60}, allowed is one of {', '.join(TRAPS)}.")
    known = isinstance(at, tuple) and len(at) == 4 and all(isinstance(i, (int, np.integer)) for i in at)
    if not known or not all(0 <= i < size for i, size in zip(at, outputs, strict=True)):
        raise DeviceAnswer(f"device {name}: answered a trap at {at!r:.60}, allowed is an output (n, k, y, x) below {outputs}.")
    if step is not None and not (isinstance(step, (int, np.integer)) and step >= 0):
        raise DeviceAnswer(f"device {name}: answered a trap at step {step!r:.60}, allowed is an integer from 0, or None.")
    return OverflowTrap(trap.layer, trap.place, tuple(int(i) for i in at), None if step is None else int(step))


def same(a: Outcome, b: Outcome) -> bool:
    """Whether two runs ended alike: every code; or the same trap, by place, coordinate and step."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and bool((a == b).all())
    if isinstance(a, OverflowTrap) and isinstance(b, OverflowTrap):
        return (a.place, tuple(a.coordinate), a.step) == (b.place, tuple(b.coordinate), b.step)
    return False


def device_name(device: object) -> str:
    """A device's name for a sentence: a function's own, else its repr, not too long."""
    inner = device.device if isinstance(device, Watched) else device
    name = getattr(inner, "__qualname__", None) or repr(inner)
    return name if len(name) <= 120 else f"{name[:120]}..."


@dataclass
class _Call:
    """One call on its way to the thread and back."""

    layer: Layer
    inputs: np.ndarray
    found: Any = None
    error: BaseException | None = None


class Watched:
    """A device with a time limit: it runs in a thread of its own, one call at a time.

    A thread cannot be ended from outside: after DeviceHung it goes on in the background until the interpreter ends. A device
    that may hang is better wrapped in Isolated, whose process is ended. Exceptions come out as they are.
    """

    def __init__(self, device: Device, timeout: float) -> None:
        self.device, self.timeout = device, timeout
        self._calls: queue.SimpleQueue[_Call | None] | None = None
        self._done: queue.SimpleQueue[_Call] = queue.SimpleQueue()

    def __call__(self, layer: Layer, inputs: np.ndarray) -> np.ndarray:
        if self._calls is None:
            self._calls, self._done = queue.SimpleQueue(), queue.SimpleQueue()
            threading.Thread(target=_work, args=(self.device, self._calls, self._done), name="hwsim dut", daemon=True).start()
        self._calls.put(_Call(layer, inputs))
        try:
            call = self._done.get(timeout=self.timeout)
        except queue.Empty:
            self._calls = None  # the next call gets a thread of its own
            raise DeviceHung(
                f"device {device_name(self)}: no answer within {self.timeout:g} s; a thread cannot be ended, so it goes on in "
                "the background: mend it, give it more time (timeout), or wrap it in hwsim.testing.Isolated, which ends it."
            ) from None
        if call.error is not None:
            raise call.error
        return call.found

    def stop(self) -> None:
        """Let the thread end; the device stays."""
        if self._calls is not None:
            self._calls.put(None)
            self._calls = None


def _work(device: Device, calls: queue.SimpleQueue[_Call | None], done: queue.SimpleQueue[_Call]) -> None:
    while (call := calls.get()) is not None:
        try:
            call.found = device(call.layer, call.inputs)
        except BaseException as error:  # the caller's thread raises it
            call.error = error
        done.put(call)


def watched(device: Device, timeout: float) -> Device:
    """Return the device, in a thread of its own unless it ends a call that hangs by itself; InputError for what is none."""
    if not callable(device) or isinstance(device, type):
        raise InputError(
            f"dut: found {device!r}, allowed a device: anything called as dut(layer, inputs) that returns the output's codes."
        )
    return device if getattr(device, "stoppable", False) else Watched(device, timeout)
