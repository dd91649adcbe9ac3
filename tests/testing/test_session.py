"""A process that answers lines; whatever it does instead ends in one sentence of the right kind, and no process is left."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import select
import signal
import sys
from pathlib import Path

import pytest

from hwsim.errors import DeviceAnswer, DeviceCrashed, DeviceError, DeviceHung, InputError
from hwsim.testing import Session, parse_codes
from support.processes import alive, gone

SOON = 1.5
"""Seconds: the time limit of a device that hangs for good. No outcome depends on how fast the machine is."""
LONG = 60.0

ECHO = "for line in sys.stdin:\n    print(line.strip(), flush=True)"
BURST = "lines = [sys.stdin.readline() for _ in range(2)]\n"


def python(text: str, timeout: float = LONG) -> Session:
    return Session([sys.executable, "-S", "-c", f"import sys, os, signal, time, subprocess\n{text}"], timeout=timeout)


def test_every_line_is_answered_in_order_by_one_process() -> None:
    with python("n = 0\nfor line in sys.stdin:\n    n += 1\n    print(os.getpid(), n, line.strip(), flush=True)") as device:
        first = device.ask(["a", "b"], 2)
        second = device.ask(["c"], 1)
    assert [line.split()[1:] for line in first + second] == [["1", "a"], ["2", "b"], ["3", "c"]]
    pids = {int(line.split()[0]) for line in first + second}
    assert len(pids) == 1 and gone(pids.pop())


def test_neither_side_waits_for_the_others_full_pipe() -> None:
    """2 MB each way: a device that answers each line at once fills its pipe long before all lines are written."""
    lines = [f"{i:07d}" * 3 for i in range(100_000)]
    with python(ECHO) as device:
        assert device.ask(lines, len(lines)) == lines


def test_a_question_without_an_answer_and_an_answer_to_no_line() -> None:
    with python("print('ready', flush=True)\nfor line in sys.stdin: pass") as device:
        assert device.ask([], 1) == ["ready"]
        assert device.ask(["a"], 0) == []


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        (BURST + "print(1, flush=True)\ntime.sleep(99)", DeviceHung, r"1 of 2 answers came within 1.5 s and nothing more"),
        ("time.sleep(99)", DeviceHung, r"asked 2 lines \('a' ..\), 0 of 2"),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(99)", DeviceHung, "so it was ended"),
        (BURST + "sys.stdout.write('1')\nsys.stdout.flush()\ntime.sleep(99)", DeviceHung, "0 of 2 answers"),
    ],
)
def test_a_device_that_hangs(text: str, kind: type, said: str) -> None:
    with python(text, SOON) as device, pytest.raises(kind, match=said):
        device.ask(["a", "b"], 2)


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        (BURST + "print(1)\nsys.exit('no weight')", DeviceCrashed, "1 of 2 answers came, then it ended with exit code 1"),
        (BURST + "os.kill(os.getpid(), signal.SIGSEGV)", DeviceCrashed, "was ended by signal SIGSEGV"),
        ("sys.exit(0)", DeviceAnswer, "0 of 2 answers came, then it ended with exit code 0"),
        (BURST + "print(1)\nsys.exit(0)", DeviceAnswer, "1 of 2 answers"),
        (BURST + "print(1)\nsys.stdout.flush()\nos.close(1)\ntime.sleep(99)", DeviceAnswer, "closed its stdout and ran on"),
        (BURST + "print('1\\n2\\n3', flush=True)\ntime.sleep(99)", DeviceAnswer, "more than the 2 answers asked for: '3'"),
        (BURST + "while True: os.write(1, b'7\\n' * 100_000)", DeviceAnswer, "more than the 2 answers"),
        (BURST + "while True: sys.stdout.write('7' * 999)", DeviceAnswer, "a line of more than 65,536 bytes"),
        (BURST + "print('7' * 60_000)\nprint('7' * 60_000, flush=True)\ntime.sleep(99)", DeviceAnswer, "more than [0-9,]+ bytes"),
        ("os.close(0)\nos.write(2, b'x' * 10**6)\nsys.exit(5)", DeviceCrashed, "exit code 5"),
    ],
)  # fmt: skip
def test_a_device_that_crashes_or_answers_too_little_or_too_much(text: str, kind: type, said: str) -> None:
    with python(text) as device, pytest.raises(kind, match=said) as caught:
        device.ask(["a", "b"], 2)
    assert type(caught.value) is kind and "\n" not in str(caught.value)
    assert len(caught.value.detail) <= 1 << 15


def test_what_comes_unasked_is_no_answer(tmp_path: Path) -> None:
    """A line behind the answers, written when nobody asks: the next question must not take it for its answer."""
    go = tmp_path / "go"
    wait = f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
    with python(f"{BURST}print('1\\n2', flush=True)\n{wait}print('late', flush=True)\n{ECHO}") as device:
        assert device.ask(["a", "b"], 2) == ["1", "2"]
        go.touch()
        assert device._child is not None
        assert select.select([device._child.stdout], [], [], LONG)[0]
        with pytest.raises(DeviceAnswer, match=r"wrote 'late' before it was asked 1 line \('c'\), allowed are answers alone"):
            device.ask(["c"], 1)


def test_after_a_failure_a_new_process_answers(tmp_path: Path) -> None:
    once = tmp_path / "crashed"
    with python(f"if not os.path.exists({str(once)!r}):\n    open({str(once)!r}, 'w')\n    sys.exit(3)\n{ECHO}") as device:
        with pytest.raises(DeviceCrashed):
            device.ask(["a"], 1)
        assert device.ask(["a"], 1) == ["a"]
        device.close()
        assert device.ask(["b"], 1) == ["b"]


@pytest.mark.parametrize("end", ["close", "hang", "collected"])
def test_the_children_of_a_device_end_with_it(end: str) -> None:
    """A simulator started through a shell script: killing the shell alone would leave it running."""
    child = "subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(99)'])"
    device = python(f"child = {child}\nprint(os.getpid(), child.pid, flush=True)\ntime.sleep(99)", LONG)
    pids = [int(pid) for pid in device.ask([], 1)[0].split()]
    assert all(map(alive, pids))
    if end == "close":
        device.close()
    elif end == "hang":
        device.timeout = SOON
        with pytest.raises(DeviceHung):
            device.ask(["a"], 1)
    else:
        del device
    assert all(map(gone, pids))


def test_no_pipe_is_left_open(tmp_path: Path) -> None:
    def once(text: str, closed: bool) -> None:
        device = python(text)
        with contextlib.suppress(DeviceError):
            device.ask(["a"], 1)
        if closed:
            device.close()

    before = len(os.listdir("/proc/self/fd"))
    for text in (ECHO, "pass", "sys.exit(1)"):
        for closed in (True, False):
            once(text, closed)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_device_may_finish_its_files_when_it_is_closed(tmp_path: Path) -> None:
    waves = tmp_path / "waves"
    device = python(f"{ECHO}\nopen({str(waves)!r}, 'w').write('done')")
    device.ask(["a"], 1)
    device.close()
    assert waves.read_text() == "done"


def test_a_fork_of_ours_does_not_end_the_device() -> None:
    with python(ECHO) as device:
        device.ask(["a"], 1)
        assert device._child is not None
        if (pid := os.fork()) == 0:
            device._child._finalizer()  # as when the child's copy goes, or its interpreter ends
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert device.ask(["b"], 1) == ["b"]


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(DeviceCrashed, match=r"\['no-such-simulator'\]: cannot be started \(No such file"):
        Session(["no-such-simulator"]).ask([], 1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Session("vvp sim"), "Session.command: found 'vvp sim', allowed a list of words"),
        (lambda: Session([]), "Session.command"),
        (lambda: Session(["cat"], timeout=0), "Session.timeout: found 0, allowed seconds above 0"),
        (lambda: Session(["cat"], timeout=float("nan")), "Session.timeout"),
        (lambda: Session(["cat"]).ask("line", 1), "Session.ask: found 'line', allowed a list"),
        (lambda: Session(["cat"]).ask(["a\nb"], 1), "without line breaks"),
        (lambda: Session(["cat"]).ask(["a"], -1), "Session.ask: found -1 answers"),
    ],
)
def test_a_bad_question_is_refused(make, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        make()


@pytest.mark.parametrize("bad", ["x", "", "1.5", "12_3", "1 2", "nan", "9" * 40, "0x10"])
def test_an_answer_that_is_no_integer(bad: str) -> None:
    with pytest.raises(DeviceAnswer, match=re.escape(f"answer 1 is {bad!r}")):
        parse_codes(["5", bad], (1, 2, 1, 1))


def test_answers_are_codes_in_the_outputs_shape() -> None:
    assert parse_codes(["5", "-6", " +7\t"], (1, 3, 1, 1)).tolist() == [[[[5]], [[-6]], [[7]]]]
    with pytest.raises(DeviceAnswer, match=r"found 1 answers, allowed 2 for an output of \(1, 2, 1, 1\)"):
        parse_codes(["5"], (1, 2, 1, 1))
    with python(ECHO) as device:
        assert device.ask_codes(["3", "4"], (2, 1, 1, 1)).ravel().tolist() == [3, 4]


def test_every_kind_of_failure_is_a_device_error() -> None:
    assert all(issubclass(kind, DeviceError) for kind in (DeviceHung, DeviceCrashed, DeviceAnswer))
    assert signal.getsignal(signal.SIGPIPE) is not signal.SIG_DFL  # a closed stdin is an error that can be caught
