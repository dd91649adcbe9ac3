"""No bad device looks like a pass: it hangs, crashes, answers the wrong shape or type, or not the same twice, and is told so."""

from __future__ import annotations

import ctypes
import itertools
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

import hwsim
from hwsim.errors import (
    DeviceAnswer,
    DeviceCrashed,
    DeviceError,
    DeviceHung,
    DeviceUnsteady,
    HwsimError,
    InputError,
    OverflowTrap,
)
from hwsim.golden.read import read_package
from hwsim.testing import BitMismatch, Command, Isolated, Session, assert_bit_exact, inputs
from support.devices import INPUTS, LAYER, S8, model
from support.processes import gone

SOON = 0.3


def exact(dut, **options):
    return assert_bit_exact(dut, LAYER, INPUTS, **options)


def loop(layer, inputs):
    while True:
        time.sleep(0.01)


def segfault(layer, inputs):
    ctypes.string_at(0)


def leave(layer, inputs):
    sys.exit(0)


def divide(layer, inputs):
    return 1 // 0


def test_the_right_device_passes(tmp_path: Path) -> None:
    for dut in (model, Isolated(model)):
        found = exact(dut, save=tmp_path)
        assert (found.examples, found.outputs, found.calls) == (1, 8, 2)
    assert list(tmp_path.iterdir()) == []  # what passes leaves nothing behind


ANSWERS = {
    "none": (lambda right: None, "a NoneType, allowed is a numpy array of integers"),
    "a list": (lambda right: right.tolist(), "a list"),
    "floats": (lambda right: right.astype(np.float64), "an array of float64"),
    "NaN": (lambda right: right * np.nan, "an array of float64"),
    "booleans": (lambda right: right > 0, "an array of bool"),
    "objects": (lambda right: right.astype(object), "an array of object"),
    "masked": (lambda right: np.ma.masked_array(right, right == right[0, 0, 0, 0]), "a MaskedArray, allowed is a numpy array"),
    "flat": (lambda right: right.ravel(), r"shape \(8,\), allowed \(N, K, H, W\) = \(2, 2, 1, 2\)"),
    "one image": (lambda right: right[:1], r"shape \(1, 2, 1, 2\)"),
    "transposed": (lambda right: np.moveaxis(right, 1, 3), r"shape \(2, 1, 2, 2\)"),
    "broadcast": (lambda right: right[:, :1], r"shape \(2, 1, 1, 2\)"),
    "empty": (lambda right: right[:0], r"shape \(0, 2, 1, 2\)"),
    "out of range": (lambda right: right + 300, r"answered \d+ at \(n, k, y, x\) = \(0, 0, 0, 0\), allowed codes -128..127"),
    "unsigned": (lambda right: right.astype(np.uint64) + np.uint64(1 << 63), "allowed codes -128..127"),
}


class Agreeable(np.ndarray):
    """An array that calls whatever it is compared with equal."""

    def __eq__(self, other):
        return np.ones(self.shape, dtype=bool)


def test_an_array_of_a_class_of_its_own_does_not_judge_itself(tmp_path: Path) -> None:
    with pytest.raises(BitMismatch):
        exact(lambda layer, inputs: (model(layer, inputs) ^ 1).view(Agreeable), save=tmp_path, reduce_calls=0)


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("wrap", [lambda dut: dut, Isolated], ids=["thread", "process"])
def test_what_is_no_answer(name: str, wrap, tmp_path: Path) -> None:
    change, said = ANSWERS[name]
    dut = wrap(lambda layer, inputs: change(model(layer, inputs).astype(np.int64)))
    with pytest.raises(DeviceAnswer, match=said) as caught:
        exact(dut, save=tmp_path, reduce_calls=0)
    assert "another answer" not in str(caught.value.report)
    assert "\n" not in str(caught.value) and caught.value.report.example.inputs.size


def test_a_hang_in_a_thread_says_what_cannot_be_ended(tmp_path: Path) -> None:
    with pytest.raises(DeviceHung, match="loop: no answer within 0.3 s; a thread cannot be ended.*Isolated"):
        exact(loop, timeout=SOON, save=tmp_path)


def test_a_hang_in_a_process_ends_it_and_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    def hang(layer, inputs):
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(99)"])
        pids.write_text(f"{os.getpid()} {child.pid}")
        print("so far so good")
        time.sleep(99)

    with pytest.raises(DeviceHung, match="no answer within 0.6 s, so its process was ended") as caught:
        exact(Isolated(hang, timeout=0.6), save=tmp_path)
    assert caught.value.detail == "so far so good"
    assert all(gone(int(pid)) for pid in pids.read_text().split())


@pytest.mark.parametrize(
    ("dut", "said"),
    [
        (divide, "divide: raised ZeroDivisionError: integer division"),
        (leave, "leave: raised SystemExit: 0"),
        (Isolated(divide), "divide: raised ZeroDivisionError"),
        (Isolated(leave), "leave: raised SystemExit: 0"),
        (Isolated(segfault), "segfault: its process was ended by signal SIGSEGV"),
        (Isolated(lambda layer, inputs: os._exit(0)), "its process ended with exit code 0 before it answered"),
        (Isolated(lambda layer, inputs: os.abort()), "SIGABRT"),
    ],
    ids=["exception", "exit", "exception there", "exit there", "segfault", "_exit", "abort"],
)
def test_a_crash(dut, said: str, tmp_path: Path) -> None:
    with pytest.raises(DeviceCrashed, match=said) as caught:
        exact(dut, save=tmp_path, reduce_calls=6)
    if "raised" in said:
        assert "Traceback" in caught.value.detail
    if dut is not divide and "SIGSEGV" in said:
        assert "Segmentation fault" in caught.value.detail  # faulthandler's word, with the line that did it


def test_a_device_that_closes_what_it_should_answer_through(tmp_path: Path) -> None:
    with pytest.raises(DeviceCrashed, match="ended with exit code 1|closed its pipes"):
        exact(Isolated(lambda layer, inputs: os.closerange(3, 4096)), save=tmp_path, reduce_calls=6)


def test_inputs_are_not_the_devices_to_change(tmp_path: Path) -> None:
    def change(layer, inputs):
        inputs[:] = 0
        return model(layer, inputs)

    for dut in (change, Isolated(change)):
        with pytest.raises(DeviceCrashed, match="read-only"):
            exact(dut, save=tmp_path, reduce_calls=0)


def test_an_answer_is_taken_at_once(tmp_path: Path) -> None:
    """A device may answer from one buffer again and again: what stands there after its second answer is not its first."""
    buffer, wrong = np.zeros((2, 2, 1, 2), dtype=np.int64), iter([1, 0, 0, 0, 0])

    def reuse(layer, inputs):
        buffer[:] = np.minimum(model(layer, inputs).astype(np.int64) + next(wrong), 127)
        return buffer

    with pytest.raises(DeviceUnsteady):
        exact(reuse, save=tmp_path)


def test_a_device_that_is_not_deterministic_is_told_its_two_answers(tmp_path: Path) -> None:
    turns = iter(range(10**6))

    def toss(layer, inputs):
        found = model(layer, inputs).astype(np.int64)
        found[0, 1, 0, 1] = next(turns) % 100
        return found

    with pytest.raises(
        DeviceUnsteady, match=r"answered -?\d+ at \(n, k, y, x\) = \(0, 1, 0, 1\), and -?\d+ another time"
    ) as caught:
        exact(toss, save=tmp_path, reduce_calls=20)
    folder = caught.value.report.folder
    assert (folder / "dut.hex").read_bytes() != (folder / "dut_again.hex").read_bytes()


@pytest.mark.parametrize("tossed", [random.random, np.random.random], ids=["python", "numpy"])
def test_a_device_that_tosses_coins_tosses_others_for_each_example(tossed, tmp_path: Path) -> None:
    seen = []

    def device(layer, inputs):
        seen.append(tossed())
        return model(layer, inputs)

    assert_bit_exact(device, LAYER, inputs(LAYER), max_examples=40, save=tmp_path)
    assert len(seen) >= 80 and len(set(seen)) == len(seen)


class Counter:
    """Right until something is left behind: the third call since power-up adds 1."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, layer, inputs):
        self.calls += 1
        return np.minimum(model(layer, inputs).astype(np.int64) + (self.calls >= 3), 127)


def test_state_that_shows_only_later_is_unsteady(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnsteady):
        exact(Counter(), runs=3, save=tmp_path)


class Leftover:
    """Its accumulator is not cleared where the input before was odd: wrong only after some other example."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.left = 0

    def __call__(self, layer, inputs):
        found, self.left = np.minimum(model(layer, inputs).astype(np.int64) + self.left, 127), int(inputs.sum()) == 7
        return found


def test_what_another_example_leaves_behind_is_unsteady(tmp_path: Path) -> None:
    given = itertools.cycle([np.zeros_like(INPUTS), np.eye(1, 12, dtype=int).reshape(INPUTS.shape) * 7, INPUTS])
    drawn = st.integers(0, 1 << 30).map(lambda _: next(given))
    with pytest.raises(DeviceUnsteady, match="right from power-up, wrong after other examples") as caught:
        assert_bit_exact(Leftover(), LAYER, drawn, runs=1, save=tmp_path)
    assert caught.value.report.verdict.answers


def test_what_is_left_behind_is_reduced_from_power_up(tmp_path: Path) -> None:
    """Wrong from the second call on, where an input is not zero: without a reset each smaller example would be wrong at once."""

    class Worn:
        def __init__(self) -> None:
            self.reset()

        def reset(self) -> None:
            self.calls = 0

        def __call__(self, layer, inputs):
            self.calls += 1
            return np.minimum(model(layer, inputs).astype(np.int64) + (self.calls > 1 and inputs.any()), 127)

    with pytest.raises(DeviceUnsteady) as caught:
        exact(Worn(), save=tmp_path)
    report = caught.value.report
    assert np.count_nonzero(report.example.inputs) == 1 and report.effort.reduce_calls > 2
    assert (report.verdict.answers[0] == report.verdict.expected).all()


def test_an_example_is_asked_again_at_the_end(tmp_path: Path) -> None:
    """The device is right about each example when it comes first, and wrong about the first one after the fourth."""

    class Wears:
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, layer, inputs):
            self.calls += 1
            return np.minimum(model(layer, inputs).astype(np.int64) + (self.calls > 4), 127)

    examples = st.integers(0, 9).map(lambda code: np.full_like(INPUTS, code))
    with pytest.raises(DeviceUnsteady, match="right when it was asked first"):
        assert_bit_exact(Wears(), LAYER, examples, runs=1, max_examples=4, save=tmp_path)


TRAP = hwsim.MacContract(S8, S8, hwsim.Output(S8), hwsim.Accumulator(8, overflow=hwsim.Overflow.TRAP))
TRAPPING = hwsim.layers.Convolution(TRAP, np.full((1, 1, 1, 2), 127))


def trap_at(place: str, step: int | None):
    def dut(layer, inputs):
        if abs(inputs.astype(int)).max() < 2:
            return model(layer, inputs)
        raise OverflowTrap("rtl", place, (0, 0, 0, 0), step)

    return dut


@pytest.mark.parametrize("wrap", [lambda dut: dut, Isolated], ids=["thread", "process"])
def test_a_trap_is_an_answer_too(wrap, tmp_path: Path) -> None:
    inputs = np.array([[[[2, 0]]]])
    assert assert_bit_exact(wrap(trap_at("accumulator", 0)), TRAPPING, inputs).examples == 1
    for place, step in (("accumulator", 1), ("output", None)):
        with pytest.raises(BitMismatch, match=f"model traps at accumulator .*step 0; the device traps at {place}"):
            assert_bit_exact(wrap(trap_at(place, step)), TRAPPING, inputs, save=tmp_path)
    with pytest.raises(BitMismatch, match="the device answers codes") as caught:
        assert_bit_exact(wrap(lambda layer, inputs: np.zeros((1, 1, 1, 1), int)), TRAPPING, inputs, save=tmp_path)
    assert (caught.value.report.folder / "stimulus.npy").is_file()  # a run that was stopped has no package


@pytest.mark.parametrize(
    ("place", "at", "step", "said"),
    [
        ("adder", (0, 0, 0, 0), 0, "a trap at 'adder', allowed is one of tree, accumulator, spill, output"),
        ("accumulator", None, 0, r"a trap at None, allowed is an output \(n, k, y, x\) below \(1, 1, 1, 1\)"),
        ("accumulator", (0, 0, 0, 1), 0, r"a trap at \(0, 0, 0, 1\), allowed is an output"),
        ("accumulator", (0, 0, -1, 0), 0, r"a trap at \(0, 0, -1, 0\)"),
        ("accumulator", (0, 0, "0", 0), 0, r"a trap at \(0, 0, '0', 0\)"),
        ("accumulator", (0, 0, 0, 0), "0", "a trap at step '0', allowed is an integer from 0, or None"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda dut: dut, Isolated], ids=["thread", "process"])
def test_a_trap_that_is_nowhere_is_no_answer(wrap, place, at, step, said: str, tmp_path: Path) -> None:
    def dut(layer, inputs):
        raise OverflowTrap("rtl", place, at, step)

    with pytest.raises(DeviceAnswer, match=said) as caught:
        assert_bit_exact(wrap(dut), TRAPPING, np.array([[[[2, 0]]]]), save=tmp_path, reduce_calls=0)
    assert caught.value.report.folder is not None


PROGRAM = """
import sys, os, time, pathlib, json
package, dump = pathlib.Path(sys.argv[1]), sys.argv[2]
right = (package / "000_convolution" / "expected.hex").read_text()
"""


def program(text: str, timeout: float = 60.0, dump: str = "dut.hex") -> Command:
    command = [sys.executable, "-S", "-c", PROGRAM + text, "{package}", "{dump}"]
    return Command(command, timeout=timeout, dump=dump)


def test_a_program_for_each_example_passes() -> None:
    assert exact(program("open(dump, 'w').write(right)")).calls == 2


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("time.sleep(99)", DeviceHung, "did not end within 0.3 s and was ended"),
        ("while True: print('x' * 1000)", DeviceHung, "did not end within"),
        ("sys.exit(7)", DeviceCrashed, "ended with exit code 7, allowed is 0"),
        ("os.abort()", DeviceCrashed, "SIGABRT"),
        ("", DeviceAnswer, "dut.hex: this file does not exist"),
        ("open(dump, 'w').write(right[:-3])", DeviceAnswer, "dut.hex: found 7 words, allowed 8"),
        ("open(dump, 'w').write('garbage')", DeviceAnswer, "dut.hex"),
        ("open(dump, 'w').write(right[:-3] + 'xx')", DeviceAnswer, r"undefined \(x or z\) at \(n, k, y, x\) = \(1, 1, 0, 1\)"),
        ("os.mkfifo(dump)", DeviceAnswer, "is a folder or a device"),
        ("os.symlink('/dev/zero', dump)", DeviceAnswer, "is a folder or a device"),
        ("open(dump, 'w').write('00 ' * 10**6)", DeviceAnswer, "larger than"),
    ],
)
def test_a_program_that_does_not_dump(text: str, kind: type, said: str, tmp_path: Path) -> None:
    dut = program(text, SOON if kind is DeviceHung else 60.0)
    with pytest.raises(kind, match=said):
        exact(dut, save=tmp_path, reduce_calls=0)


def test_a_program_that_is_wrong_is_a_mismatch(tmp_path: Path) -> None:
    """The last code, one up: the dump that is kept names the same first mismatch to `hwsim check`."""
    text = "last = int(right[-3:-1], 16) + 1\nopen(dump, 'w').write(right[:-3] + '%02x' % (last % 256))"
    with pytest.raises(BitMismatch) as caught:
        exact(program(text), save=tmp_path, reduce_calls=3)
    report = caught.value.report
    checked = hwsim.check(report.folder / "package", dump=report.folder / "dut.hex")
    assert checked.first_mismatch.coordinate == report.verdict.place
    assert read_package(report.folder / "package").layers[0].layer.kind == "convolution"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Command(["run", "{package}"]), "with both {package} and {dump}"),
        (lambda: Command("run {package} {dump}"), "allowed a list of words"),
        (lambda: Command(["run", "{package}", "{dump}"], dump="out/dut.hex"), "Command.dump: found 'out/dut.hex'"),
        (lambda: Command(["run", "{package}", "{dump}"], dump="dut.csv"), "ends in one of .hex"),
        (lambda: Command(["run", "{package}", "{dump}"], timeout=-1), "Command.timeout: found -1"),
        (lambda: Isolated(None), "Isolated: found None, allowed a callable"),
        (lambda: exact(3), "dut: found 3, allowed a device"),
        (lambda: exact(Counter), "dut: found <class"),
        (lambda: exact(model, runs=0), "found runs=0, allowed an integer from 1"),
        (lambda: exact(model, seed=-1), "found seed=-1"),
        (lambda: exact(model, timeout="long"), "timeout: found 'long', allowed seconds"),
        (lambda: exact(model, backend="gpu"), "gpu"),
        (lambda: assert_bit_exact(model, "conv1"), "found layer 'conv1', allowed a layer"),
        (lambda: assert_bit_exact(model, LAYER, INPUTS * 1.0), "found inputs float64"),
        (lambda: assert_bit_exact(model, LAYER, INPUTS[0]), "allowed integer codes [N][C][H][W]"),
    ],
)
def test_bad_use_is_refused(make, said: str) -> None:
    with pytest.raises(HwsimError) as caught:
        make()
    assert said in str(caught.value)


def test_what_a_device_refuses_is_raised_as_it_is() -> None:
    def picky(layer, inputs):
        raise InputError("rtl: found a convolution, allowed fully connected layers.")

    for dut in (picky, Isolated(picky)):
        with pytest.raises(InputError, match="^rtl: found a convolution"):
            exact(dut)


def test_a_command_has_no_package_of_a_trap() -> None:
    with pytest.raises(InputError, match="this example traps .*no package holds a run that was stopped"):
        assert_bit_exact(program(""), TRAPPING, np.array([[[[2, 0]]]]))


def test_a_session_in_a_device_fails_as_it_does_alone(tmp_path: Path) -> None:
    session = Session([sys.executable, "-S", "-c", "import sys; sys.exit('no license')"])

    def dut(layer, inputs):
        return session.ask_codes(["go"], (2, 2, 1, 2))

    with pytest.raises(DeviceCrashed, match="exit code 1.*no license"):
        exact(dut, save=tmp_path, reduce_calls=0)


def test_every_failure_of_a_device_is_an_hwsim_error() -> None:
    for kind in (DeviceHung, DeviceCrashed, DeviceAnswer, DeviceUnsteady):
        assert issubclass(kind, DeviceError) and issubclass(kind, HwsimError)
