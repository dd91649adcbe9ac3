"""The worked example's table: medians, text, JSON, picture, and the command that prints it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from hwsim.testing.example import FAULTS
from hwsim.testing.example.__main__ import main
from hwsim.testing.example.table import Passed, Row, Search, Study, median

FOUND, LATE, NEVER = Search(3, 0.5, 1), Search(40, 1.5, 2), Search(None, 9.0)


def made() -> Study:
    rows = (
        Row(FAULTS[0], (FOUND, LATE, FOUND), (LATE, LATE, NEVER)),
        Row(FAULTS[1], (LATE, LATE, LATE), (NEVER, NEVER, FOUND)),
    )
    return Study(50, (0, 1, 2), rows, (Passed(50, 400, 2.0),) * 3)


@pytest.mark.parametrize(
    ("searches", "middle"),
    [((FOUND,), 3), ((FOUND, LATE), 40), ((NEVER, FOUND, LATE), 40), ((NEVER, FOUND, NEVER), None), ((FOUND, NEVER), None)],
)
def test_the_median_counts_what_was_not_found_as_beyond_the_budget(searches: tuple[Search, ...], middle: int | None) -> None:
    assert median(searches) == middle


def test_the_table_says_who_found_what() -> None:
    first, second = (row.cells(50) for row in made().rows)
    assert first == (FAULTS[0].name, FAULTS[0].says, "3", "0.50", "2", "40 (2 of 3 seeds found it)", "1.50")
    assert second[2:] == ("40", "1.50", "2", "beyond 50 (1 of 3 seeds found it)", "9.00")
    assert made().summary() == (
        "Of 2 faults 2 were found within 50 examples, by uniform codes 1; medians over 3 seeds. "
        "The correct unit passed 150 examples, 1,200 outputs, in 6.0 s of processors."
    )
    assert f"| {FAULTS[0].name} | {FAULTS[0].says} | 3 | 0.50 | 2 |" in made().markdown()


def test_the_picture_has_a_mark_for_every_search(tmp_path: Path) -> None:
    figure = made().plot(tmp_path / "study.png")
    axes = figure.axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert len(dots) == 12
    assert sum(line.get_markerfacecolor() == "none" for line in dots) == 3
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_searches_and_prints_json() -> None:
    if shutil.which("iverilog") is None:
        pytest.skip("iverilog is not installed (Debian: apt-get install iverilog)")
    run = CliRunner().invoke(main, ["--examples", "20", "--seeds", "1", "--fault", "round-floor", "--json"])
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    (row,) = found["faults"]
    assert row["name"] == "round-floor" and row["steered"][0]["operands"] in range(5)
    assert found["correct"][0]["examples"] == 20


BAD = {
    "a fault that is none": (["--fault", "acc-warps"], "fault: found 'acc-warps', allowed are product-unsigned-operand"),
    "no picture": (["--plot", "study.jpg"], "no picture is written as '.jpg'"),
    "no examples": (["--examples", "0"], "0 is not in the range x>=1"),
}


@pytest.mark.parametrize(("arguments", "sentence"), BAD.values(), ids=BAD)
def test_bad_use_is_a_sentence_and_exit_code_2(arguments: list[str], sentence: str) -> None:
    run = CliRunner().invoke(main, arguments)
    assert run.exit_code == 2 and sentence in run.output


def test_without_icarus_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    run = CliRunner().invoke(main, ["--examples", "5"])
    assert run.exit_code == 2
    assert run.output.strip() == (
        "hwsim: iverilog: not found on the PATH; install Icarus Verilog (Debian: apt-get install iverilog)."
    )


def test_who_interrupts_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hwsim.testing.example.__main__.require_tools", interrupted)
    run = CliRunner().invoke(main, ["--examples", "5"])
    assert run.exit_code == 2 and run.output.strip() == "hwsim: interrupted; nothing half-written stands under a final name."
