"""What the README says is true: its commands and its Python run, in order, and its table of variables is the one table."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from hwsim.installation import VARIABLES
from support.process import hwsim_command, run_python

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the files that the README's commands name."""
    folder = tmp_path / "hwsim" / "demo"
    folder.mkdir(parents=True)
    for name in ("digits.prototxt", "digits.caffemodel"):
        shutil.copy(ROOT / "hwsim" / "demo" / name, folder / name)
    return tmp_path


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert found, f"README.md has no {language} block"
    return found


def commands() -> list[list[str]]:
    return [shlex.split(line[2:]) for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]


def test_the_commands_run_in_order(checkout: Path, onnxruntime) -> None:
    for command in commands():
        assert command[0] == "hwsim"
        run = hwsim_command(*command[1:], cwd=checkout)
        assert run.returncode == 0, f"{shlex.join(command)}\n{run.stderr}"
        assert run.stdout.strip(), f"{shlex.join(command)} prints nothing"


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_the_python_runs(number: int, checkout: Path, onnxruntime) -> None:
    run = run_python("-c", blocks("python")[number], cwd=checkout)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()


def test_the_table_of_variables_is_the_one_table() -> None:
    rows = [f"| `{name}` | {meaning} | {default} |" for name, meaning, default in VARIABLES]
    assert re.findall(r"^\| `HWSIM_.*$", README, re.MULTILINE) == rows


def test_the_folders_named_exist() -> None:
    table = README.split("## Where things are")[1].split("## ")[0]
    for folder in re.findall(r"`([a-z_/]+)`", table):
        assert (ROOT / folder).is_dir(), f"README.md names {folder}, which is not there"


def test_the_make_targets_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"\bmake ([a-z]+)\b", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"README.md names make {target}"
