"""hwsim explain: the table, the JSON and the picture of one output, and what is refused."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.cli import main
from hwsim.demo.story import MODEL, WEIGHTS

HERE = ("--input", "digits", "--index", "5")


@pytest.fixture(scope="module")
def net(tmp_path_factory, onnxruntime) -> Path:
    """The demo's network, in integers."""
    folder = tmp_path_factory.mktemp("explain")
    read = hwsim.read(MODEL, WEIGHTS)
    return hwsim.quantize(read, hwsim.images("digits", read.preprocessing, limit=50)).save(folder / "digits.hwnet")


def command(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["explain", *arguments])
    out, err = capsys.readouterr()
    return left.value.code, out, err


def test_every_output_of_the_table_is_the_traces(net: Path, capsys) -> None:
    q = hwsim.load(net)
    trace = hwsim.run(q, hwsim.images("digits", q.preprocessing)[5])["conv2"]
    for k, y, x in ((0, 0, 0), (3, 2, 1), (23, 3, 3)):
        code, out, err = command(capsys, str(net), *HERE, "--layer", "conv2", "--at", f"0,{k},{y},{x}", "--json")
        assert code == 0, err
        found = json.loads(out)
        assert (found["acc"], found["code"]) == (trace.acc[0, k, y, x], trace.codes[0, k, y, x])
        assert len(found["rows"][0]["lanes"]) == 16 * 3 * 3


def test_the_table_is_short_unless_asked(net: Path, capsys) -> None:
    arguments = (str(net), *HERE, "--layer", "conv2", "--at", "0,3,2,2")
    short, long = (command(capsys, *arguments, "--steps", steps)[1] for steps in ("6", "1000"))
    assert "138 more" in short
    assert long.count("(15, ") == 9 and short.count("(15, ") == 3
    assert short.splitlines()[-1] == long.splitlines()[-1]
    assert short.splitlines()[0] == "conv2 (n, k, y, x) = (0, 3, 2, 2)"


def test_the_picture_is_drawn_once(net: Path, tmp_path: Path, capsys) -> None:
    arguments = (str(net), *HERE, "--layer", "ip1", "--at", "0,3,0,0", "--plot", str(tmp_path / "ip1.png"))
    assert command(capsys, *arguments)[0] == 0
    assert (tmp_path / "ip1.png").read_bytes().startswith(b"\x89PNG")
    code, out, err = command(capsys, *arguments)
    assert (code, out) == (2, "") and "exists already" in err


def test_a_package_explains_itself(net: Path, tmp_path: Path, capsys) -> None:
    """The same story without network and image; and the output that differs first is the one to ask about."""
    q = hwsim.load(net)
    trace = hwsim.run(q, hwsim.images("digits", q.preprocessing)[5])
    package = hwsim.write_golden(trace, tmp_path / "package", layers=["conv2"])
    at = ("--layer", "conv2", "--at", "0,7,1,2")
    code, told, err = command(capsys, str(package.path), *at)
    assert code == 0, err
    assert told == command(capsys, str(net), *HERE, *at)[1]
    assert hwsim.explain_golden(package, "conv2", (0, 7, 1, 2)).acc == trace["conv2"].acc[0, 7, 1, 2]
    for wrong in ((str(package.path), *HERE, *at), (str(net), *at)):
        code, out, err = command(capsys, *wrong)
        assert (code, out) == (2, "") and "leave --input away" in err
    stimulus = next(package.path.glob("*conv2/stimulus.npy"))
    stimulus.write_bytes(stimulus.read_bytes()[:-1] + b"\x7e")
    code, out, err = command(capsys, str(package.path), *at)
    assert (code, out) == (2, "") and "stimulus.npy" in err


def test_a_mismatch_names_the_command_that_explains_it(net: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    q = hwsim.load(net)
    trace = hwsim.run(q, hwsim.images("digits", q.preprocessing)[5])
    monkeypatch.chdir(tmp_path)
    package = hwsim.write_golden(trace, "of digits", layers=["conv2", "pool2"])
    for layer, told in (("conv2", True), ("pool2", False)):
        dump = trace[layer].codes.copy()
        dump[0, 4, 1, 1] ^= 1
        np.save("dut.npy", dump)
        report = str(hwsim.check(package, layer=layer, dump="dut.npy"))
        assert ("how that output comes about" in report) == told
        if told:
            arguments = shlex.split(report.split("step by step: ")[1].splitlines()[0])
            assert arguments[:3] == ["hwsim", "explain", "of digits"]
            code, out, err = command(capsys, *arguments[2:])
            assert code == 0, err
            assert out.startswith("conv2 (n, k, y, x) = (0, 4, 1, 1)")


BAD = {
    "no layer of that name": (("--layer", "conv9", "--at", "0,0,0,0"), "conv9"),
    "a layer without a sum": (("--layer", "pool1", "--at", "0,0,0,0"), "pool1: found a layer of kind max_pool"),
    "no overflow to begin with": (("--layer", "conv2"), "before its last stage; name the one to explain (at=(n, k, y, x), --at"),
    "no such output": (("--layer", "conv2", "--at", "0,24,0,0"), r"from (0, 0, 0, 0) to (0, 23, 3, 3)"),
    "a second image": (("--layer", "conv2", "--at", "1,0,0,0"), r"conv2: found output (1, 0, 0, 0)"),
    "below zero": (("--layer", "conv2", "--at", "0,0,-1,0"), r"found output (0, 0, -1, 0)"),
    "three numbers": (("--layer", "conv2", "--at", "0,0,0"), "3 numbers, 4 are wanted"),
    "no numbers": (("--layer", "conv2", "--at", "a,b,c,d"), "numbers with commas"),
    "no rows": (("--layer", "conv2", "--at", "0,0,0,0", "--steps", "0"), "--steps"),
}


@pytest.mark.parametrize(("arguments", "sentence"), BAD.values(), ids=BAD)
def test_bad_use_is_2_and_says_what_is_allowed(net: Path, arguments: tuple[str, ...], sentence: str, capsys) -> None:
    code, out, err = command(capsys, str(net), *HERE, *arguments)
    assert (code, out) == (2, "")
    assert sentence in err
