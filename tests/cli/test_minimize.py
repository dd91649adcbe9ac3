"""hwsim overflow --minimize: the table, the saved network, and one sentence for what cannot be asked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.cli import main
from hwsim.demo.story import MODEL, WEIGHTS
from hwsim.proofs.certificate import InputRange
from hwsim.proofs.prove import prove


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with digits.hwnet."""
    here = tmp_path_factory.mktemp("minimize")
    net = hwsim.read(MODEL, WEIGHTS)
    hwsim.quantize(net, hwsim.images("digits", net.preprocessing, limit=50)).save(here / "digits.hwnet")
    return here


def called(folder: Path, *options: str) -> int:
    """Exit code of hwsim overflow digits.hwnet with these options."""
    with pytest.raises(SystemExit) as ended:
        main(["overflow", str(folder / "digits.hwnet"), *options])
    return int(str(ended.value.code))


SETS = ("--minimize", "--data", "digits", "--limit", "20", "--scoring", "digits", "--scoring-limit", "60")


def test_the_command_saves_the_network_of_the_column_that_it_reports(folder, capsys):
    picture, saved = folder / "widths.svg", folder / "small.hwnet"
    options = ("--margin", "5", "--column", "saturating", "--save", str(saved), "--plot", str(picture), "--json")
    assert called(folder, *SETS, *options) == 0
    report = json.loads(capsys.readouterr().out)
    score = hwsim.score(hwsim.load(saved), "digits", limit=60)
    assert report["scoring_images"] == 60 and report["calibration_images"] == 20
    assert score.fixed.right == report["columns"]["saturating"]["right"] >= 57 - (60 - report["exact"]["right"])
    assert [hwsim.load(saved)[each["name"]].layer.contract.accumulator.bits for each in report["layers"]] == [
        each["together"] for each in report["layers"]
    ]
    assert picture.read_text().startswith("<?xml")


def test_without_a_margin_there_are_two_columns(folder, capsys):
    assert called(folder, *SETS, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["columns"]) == {"proven", "data"} and "saturating" not in found["layers"][0]


def test_ranges_through_the_network_are_what_is_proven_where_they_are_asked_for(folder, capsys, monkeypatch):
    """With certificates for black images alone, which every other image refutes."""

    def black(network):
        shapes = network.shapes()
        ranges = {node.name: InputRange(*(np.zeros(shapes[node.inputs[0]].c) for _ in range(2))) for node in network.mac_nodes}
        return {n.name: prove(n.layer, shapes[n.inputs[0]], ranges[n.name], n.name) for n in network.mac_nodes}

    monkeypatch.setattr("hwsim.proofs.ranges.network_certificates", black)
    assert called(folder, *SETS, "--ranges", "network") == 2
    assert "scoring images refute the certificates of ['conv1', " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--minimize", "--scoring", "digits"), "--minimize needs --data"),
        (("--minimize", "--data", "digits"), "--minimize needs --scoring"),
        ((*SETS, "--margin", "-1"), "found margin -1.0, allowed 0..100 points of top-1"),
        ((*SETS, "--column", "data"), "--save writes the network of one --column"),
        ((*SETS, "--save", "small.hwnet"), "--save writes the network of one --column"),
        ((*SETS, "--save", "small.hwnet", "--column", "saturating"), "give one, in points of top-1"),
        ((*SETS, "--save", "nowhere/small.hwnet", "--column", "data"), "there is no folder 'nowhere'"),
        ((*SETS, "--layer", "conv1"), "--minimize takes no --layer"),
        ((*SETS, "--label-offset", "3"), "allowed 0..9, the network's classes"),
        (("--margin", "1"), "takes no --margin"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(folder, tmp_path, monkeypatch, capsys, options, said):
    monkeypatch.chdir(tmp_path)
    assert called(folder, *options) == 2
    printed = capsys.readouterr()
    assert said in printed.err and "Traceback" not in printed.err and printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing_under_the_final_name(folder, tmp_path, monkeypatch, capsys):
    from hwsim.network import write_hwnet

    def interrupt(path: Path, data: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(write_hwnet, "_write", interrupt)
    assert called(folder, *SETS, "--column", "data", "--save", str(tmp_path / "small.hwnet")) == 2
    assert "interrupted" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
