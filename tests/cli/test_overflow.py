"""hwsim overflow: the table, the exit codes, the files it writes and reads, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import hwsim
from hwsim.arith.overflow import Overflow
from hwsim.cli import main
from hwsim.contract import Accumulator
from hwsim.demo.story import MODEL, WEIGHTS


@pytest.fixture(scope="module")
def nets(tmp_path_factory, onnxruntime) -> Path:
    """The demo's network in integers, safe, and with one accumulator that saturates at 18 bits."""
    folder = tmp_path_factory.mktemp("overflow")
    read = hwsim.read(MODEL, WEIGHTS)
    q = hwsim.quantize(read, hwsim.images("digits", read.preprocessing, limit=50))
    q.save(folder / "digits.hwnet")
    q.with_accumulator("conv2", Accumulator(18, overflow=Overflow.SATURATE)).save(folder / "narrow.hwnet")
    return folder


def command(capsys, *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["overflow", *map(str, arguments)])
    out, err = capsys.readouterr()
    return left.value.code, out, err


def test_a_safe_network_is_0_and_one_that_can_overflow_is_1(nets: Path, capsys) -> None:
    code, out, err = command(capsys, nets / "digits.hwnet")
    assert (code, err) == (0, "") and "4 of 4 layers are proven safe" in out
    code, out, err = command(capsys, nets / "narrow.hwnet")
    assert (code, err) == (1, "") and "3 of 4 layers are proven safe" in out
    assert "conv2: the accumulator of output (n, k, y, x) = (0, " in out


def test_the_json_is_the_report(nets: Path, capsys) -> None:
    arguments = (nets / "narrow.hwnet", "--data", "digits", "--limit", "20", "--layer", "conv2,ip1", "--ranges", "network")
    code, out, _ = command(capsys, *arguments, "--json")
    report = hwsim.overflow(
        hwsim.load(nets / "narrow.hwnet"),
        "digits",
        limit=20,
        layers=["conv2", "ip1"],
        ranges=hwsim.proofs.overflow.Ranges.NETWORK,
    )
    found, expected = json.loads(out), json.loads(json.dumps(report.to_json()))
    assert code == 1 and found.pop("seconds") > 0 and expected.pop("seconds") > 0
    assert found == expected and found["images"] == 20
    _, table, _ = command(capsys, *arguments)
    assert "seen: 20 images" in table.splitlines()[0]


def test_certificates_are_kept_and_checked_again(nets: Path, tmp_path: Path, capsys) -> None:
    net, file = nets / "digits.hwnet", tmp_path / "proof.json"
    assert command(capsys, net, "--out", file)[0] == 0
    code, out, _ = command(capsys, net, "--verify", file)
    assert code == 0 and "4 of 4 certificates hold" in out
    data = json.loads(file.read_text())
    data["layers"][2]["certificate"]["accumulator"]["bits"][0] -= 1
    file.write_text(json.dumps(data))
    code, out, _ = command(capsys, net, "--verify", file, "--json")
    assert code == 1 and [each["refuted"] is None for each in json.loads(out)["layers"]] == [True, True, False, True]
    code, out, err = command(capsys, nets / "narrow.hwnet", "--verify", file)
    assert (code, out) == (2, "") and "another network" in err


def test_witnesses_and_picture_are_written_once(nets: Path, tmp_path: Path, capsys) -> None:
    arguments = (nets / "narrow.hwnet", "--witnesses", tmp_path / "inputs", "--plot", tmp_path / "room.png")
    assert command(capsys, *arguments)[0] == 1
    assert (tmp_path / "room.png").read_bytes().startswith(b"\x89PNG")
    (package, *_) = sorted((tmp_path / "inputs").glob("*_conv2_accumulator*"))
    assert hwsim.check(package).passed
    code, out, err = command(capsys, *arguments)
    assert (code, out) == (2, "") and "exists already" in err
    assert command(capsys, *arguments, "--force")[0] == 1


BAD = {
    "no such layer": (("--layer", "conv9"), "no layer 'conv9'"),
    "no name of a layer": (("--layer", ","), "layers: found none to prove"),
    "a layer without a sum": (("--layer", "pool1"), "accumulates nothing; layers that do: conv1, conv2, ip1, ip2"),
    "no such data": (("--data", "nowhere"), "no such data"),
    "images of nothing": (("--limit", "3"), "--data"),
    "no image": (("--data", "digits", "--limit", "0"), "--limit"),
    "no such ranges": (("--ranges", "seen"), "format"),
    "a report that is no JSON": (("--out", "proof.txt"), "allowed .json"),
    "a folder that is not there": (("--out", "nowhere/proof.json"), "there is no folder"),
    "a picture that is none": (("--plot", "room.jpg"), "no picture is written as '.jpg'"),
    "no such file": (("--verify", "nowhere.json"), "does not exist"),
    "a check that proves": (("--verify", "proof.json", "--layer", "conv1"), "--verify takes no --layer"),
    "a search that proves": (("--minimize", "--layer", "conv1"), "--minimize takes no --layer"),
    "a margin for nothing": (("--margin", "1"), "takes no --margin"),
}


@pytest.mark.parametrize(("arguments", "sentence"), BAD.values(), ids=BAD)
def test_bad_use_is_2_and_says_what_is_allowed(nets: Path, arguments, sentence: str, capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = command(capsys, nets / "digits.hwnet", *arguments)
    assert (code, out) == (2, "") and sentence in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"schema": "hwsim.overflow.report/1"}', "9" * 100], ids=range(5))
def test_a_damaged_file_of_certificates_is_2(nets: Path, tmp_path: Path, text: str, capsys) -> None:
    (tmp_path / "proof.json").write_text(text)
    code, out, err = command(capsys, nets / "digits.hwnet", "--verify", tmp_path / "proof.json")
    assert (code, out) == (2, "") and "proof.json" in err and err.count("\n") == 1
