"""The frame of the command line: exit codes, one sentence on stderr, JSON on stdout."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from pathlib import Path

import click
import pytest

from hwsim.cli import frame
from hwsim.errors import InputError
from support.process import hwsim_command, run_python


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """A command `fail` that raises what the test gives it."""

    def install(error: BaseException) -> None:
        @click.command()
        def fail() -> None:
            raise error

        monkeypatch.setattr(frame.Commands, "get_command", lambda self, ctx, name: fail)

    return install


def exit_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        frame.main(list(arguments))
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (InputError("net.prototxt: layer conv9: type Warp is unknown."), "hwsim: net.prototxt: layer conv9: type Warp"),
        (OSError(errno.ENOSPC, "No space left on device", "a.hex"), "hwsim: a.hex: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), "hwsim: out: Permission denied"),
        (KeyboardInterrupt(), "hwsim: interrupted"),
        (MemoryError(), "hwsim: out of memory"),
    ],
)
def test_an_error_is_one_sentence_and_exit_code_2(failing, capsys, error: BaseException, sentence: str) -> None:
    failing(error)
    assert exit_of("fail") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.strip().startswith(sentence)
    assert len(err.strip().splitlines()) == 1


def test_a_defect_of_hwsim_is_not_hidden(failing) -> None:
    """A ZeroDivisionError is no user's fault: its traceback is what a bug report needs."""
    failing(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        frame.main(["fail"])


@pytest.mark.parametrize("arguments", [["nosuch"], ["info", "--nosuch"], ["info", "extra"]])
def test_bad_use_is_exit_code_2(arguments: list[str]) -> None:
    run = hwsim_command(*arguments)
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert run.stdout == ""


def test_info_is_fine_and_shows_every_variable() -> None:
    run = hwsim_command("info")
    assert run.returncode == 0
    from hwsim.installation import VARIABLES

    for name, _, _ in VARIABLES:
        assert name in run.stdout


def test_info_json_is_one_object() -> None:
    run = hwsim_command("info", "--json")
    found = json.loads(run.stdout)
    assert run.returncode == 0
    assert {"hwsim", "python", "packages", "native", "environment"} <= found.keys()


def test_help_loads_no_command() -> None:
    program = (
        "import sys; from hwsim.cli.frame import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not any(m.startswith('hwsim.cli.') and m != 'hwsim.cli.frame' for m in sys.modules)"
    )
    run = run_python("-c", program)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize("command", list(frame.COMMANDS))
def test_every_command_has_help_with_an_example(command: str) -> None:
    run = hwsim_command(command, "--help")
    assert run.returncode == 0
    assert f"hwsim {command}" in run.stdout.split("Example", 1)[1]
    assert "--json" in run.stdout


ENDED = """
import os, signal, sys, time
from pathlib import Path
import click
from hwsim.cli import frame
from hwsim.network.storage import writing_directory

@click.command()
def work():
    with writing_directory(Path("out"), True, "marker") as folder:
        (folder / "half").write_bytes(b"x")
        os.kill(os.getpid(), int(sys.argv[2]))
        time.sleep(60)

frame.Commands.get_command = lambda self, ctx, name: work
frame.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are not sent like this on Windows")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_ended_half_way_leaves_nothing_and_says_so(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "marker").write_text("old")
    program = ENDED.replace("sys.argv[2]", str(int(number)))
    done = run_python("-c", program, "work", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip() == "hwsim: interrupted; nothing half-written stands under a final name."
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == ["out", os.path.join("out", "marker")]
