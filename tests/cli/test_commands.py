"""The commands in the order of the main job, with good input and with bad: exit codes 0, 1, 2 and one sentence."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest

import hwsim
from hwsim.cli import main
from hwsim.cli.frame import COMMANDS
from hwsim.demo.story import MODEL, WEIGHTS
from support.process import hwsim_command

QUANTIZE = ("quantize", str(MODEL), str(WEIGHTS), "--calibration", "digits", "--limit", "200")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, onnxruntime) -> Path:
    """A folder with digits.hwnet and, of its conv1 and ip2, the golden package `package`."""
    here = tmp_path_factory.mktemp("commands")
    for command in (
        (*QUANTIZE, "--out", "digits.hwnet"),
        ("vectors", "digits.hwnet", "--input", "digits", "--index", "5", "--out", "package", "--layers", "conv1,ip2"),
    ):
        run = hwsim_command(*command, cwd=here)
        assert run.returncode == 0, run.stderr
    return here


def found(run) -> dict:
    """The one JSON object on stdout of a command that went well."""
    assert run.returncode == 0, run.stderr
    value = json.loads(run.stdout)
    assert isinstance(value, dict)
    return value


def test_the_command_chooses_what_the_function_chooses(folder: Path, tmp_path: Path) -> None:
    """Options that nobody gave leave the API's defaults alone."""
    net = hwsim.read(MODEL, WEIGHTS)
    hwsim.quantize(net, hwsim.images("digits", net.preprocessing, limit=200)).save(tmp_path / "digits.hwnet")
    assert contents(tmp_path / "digits.hwnet") == contents(folder / "digits.hwnet")


def test_the_examples_of_the_help_work(tmp_path: Path, onnxruntime) -> None:
    """Each command's own example, run in the order of the main job where a checkout's demo files lie."""
    demo = tmp_path / "hwsim" / "demo"
    demo.mkdir(parents=True)
    for file in (MODEL, WEIGHTS):
        shutil.copy(file, demo / file.name)
    order = ("info", "demo", "quantize", "show", "score", "run", "explain", "overflow", "vectors", "export", "check", "conform")
    assert set(order) == set(COMMANDS)
    for command in order:
        text = hwsim_command(command, "--help").stdout.split("Example:")[1]
        example = shlex.split(" ".join(text.split()))
        assert example[:2] == ["hwsim", command]
        run = hwsim_command(*example[1:], cwd=tmp_path)
        assert run.returncode == 0, f"{shlex.join(example)}\n{run.stderr}"


def test_quantize_prints_what_it_wrote(tmp_path: Path, onnxruntime) -> None:
    run = hwsim_command(*QUANTIZE, "--bits", "6", "--out", "six.hwnet", "--json", cwd=tmp_path)
    assert json.dumps(found(run)).count('"conv1"') >= 1
    assert (tmp_path / "six.hwnet" / "network.json").is_file()


def test_a_rounding_word_reaches_the_contract(tmp_path: Path, onnxruntime) -> None:
    run = hwsim_command(*QUANTIZE, "--rounding", "floor", "--out", "floor.hwnet", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    written = (tmp_path / "floor.hwnet" / "network.json").read_text()
    assert "FLOOR" in written
    assert "TIES_EVEN" not in written


def test_a_refused_accumulator_can_be_widened(tmp_path: Path, onnxruntime) -> None:
    wide = (*QUANTIZE, "--bits", "16", "--out", "wide.hwnet", "--json")
    refused = hwsim_command(*wide, cwd=tmp_path)
    assert refused.returncode == 2
    assert "bits would do: widen the accumulator" in refused.stderr
    layers = found(hwsim_command(*wide, "--accumulator-bits", "40", cwd=tmp_path))["layers"]
    assert {layer["accumulator_bits"] for layer in layers} == {"", "40"}


def test_score_agrees_with_itself_in_every_backend(folder: Path) -> None:
    scores = [
        found(hwsim_command("score", "digits.hwnet", "--data", "digits", "--limit", "60", "--backend", b, "--json", cwd=folder))
        for b in ("auto", "jit")
    ]
    assert scores[0]["images"] == 60
    assert scores[0]["top1"] == scores[1]["top1"]
    assert scores[0]["events"] == scores[1]["events"]


def test_score_beside_float(folder: Path) -> None:
    run = hwsim_command("score", "digits.hwnet", "--data", "digits", "--float", "--limit", "300", "--json", cwd=folder)
    assert {"float", "agreement", "gained", "lost"} <= found(run).keys()


def test_run_shows_every_layer(folder: Path) -> None:
    run = hwsim_command("run", "digits.hwnet", "--input", "digits", "--index", "7", cwd=folder)
    assert run.returncode == 0, run.stderr
    for layer in ("conv1", "pool1", "conv2", "pool2", "ip1", "ip2"):
        assert layer in run.stdout


def test_show_of_a_network_a_package_and_a_layer(folder: Path) -> None:
    for command in (("digits.hwnet",), ("package",), ("package", "--layer", "conv1"), ("digits.hwnet", "--layer", "conv1")):
        run = hwsim_command("show", *command, cwd=folder)
        assert run.returncode == 0, run.stderr
        assert "conv1" in run.stdout
        assert isinstance(found(hwsim_command("show", *command, "--json", cwd=folder)), dict)


def test_check_of_a_good_package_is_0(folder: Path) -> None:
    assert found(hwsim_command("check", "package", "--json", cwd=folder))["passed"] is True


@pytest.fixture
def dump(folder: Path, tmp_path: Path) -> Path:
    """What a device without defects would dump of ip2."""
    (expected,) = (folder / "package").glob("*ip2/expected.hex")
    return Path(shutil.copy(expected, tmp_path / "dut.hex"))


def test_a_dump_that_is_equal_is_0(folder: Path, dump: Path) -> None:
    run = hwsim_command("check", "package", "--layer", "ip2", "--dump", str(dump), cwd=folder)
    assert run.returncode == 0, run.stderr


@pytest.fixture
def wrong_dump(dump: Path) -> Path:
    """The same with the lowest bit of class 3 turned."""
    lines = dump.read_text().splitlines(keepends=True)
    words = [i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith(("//", "@"))]
    code = lines[words[3]].split()[0]
    lines[words[3]] = f"{int(code, 16) ^ 1:0{len(code)}x}\n"
    dump.write_text("".join(lines))
    return dump


def test_a_dump_with_one_wrong_bit_is_1_and_named(folder: Path, wrong_dump: Path) -> None:
    check = ("check", "package", "--layer", "ip2", "--dump", str(wrong_dump))
    run = hwsim_command(*check, "--json", cwd=folder)
    assert run.returncode == 1
    assert json.loads(run.stdout)["first_mismatch"]["coordinate"] == [0, 3, 0, 0]
    assert "ip2" in hwsim_command(*check, cwd=folder).stdout


def test_a_plot_is_drawn_of_what_differs(folder: Path, wrong_dump: Path, tmp_path: Path) -> None:
    picture = tmp_path / "errors.png"
    run = hwsim_command("check", "package", "--layer", "ip2", "--dump", str(wrong_dump), "--plot", str(picture), cwd=folder)
    assert run.returncode == 1, run.stderr
    assert picture.read_bytes()[:4] == b"\x89PNG"


PLOTS = {
    "show": ("show", "digits.hwnet"),
    "run": ("run", "digits.hwnet", "--input", "digits"),
    "score": ("score", "digits.hwnet", "--data", "digits", "--limit", "20"),
}


@pytest.mark.parametrize("command", PLOTS.values(), ids=PLOTS)
def test_a_plot_changes_nothing_of_what_is_printed(folder: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    picture = tmp_path / "picture.png"
    plain = found(hwsim_command(*command, "--json", cwd=folder))
    plotted = found(hwsim_command(*command, "--json", "--plot", str(picture), cwd=folder))
    assert {**plotted, "seconds": 0} == {**plain, "seconds": 0}
    assert picture.read_bytes()[:4] == b"\x89PNG"
    before = picture.read_bytes()
    again = hwsim_command(*command, "--plot", str(picture), cwd=folder)
    assert (again.returncode, again.stdout) == (2, ""), "refused before the work"
    assert "exists already" in again.stderr and picture.read_bytes() == before
    assert hwsim_command(*command, "--plot", str(picture), "--force", cwd=folder).returncode == 0


BAD = {
    "missing caffemodel": ("quantize", str(MODEL), "no.caffemodel", "--calibration", "digits", "--out", "x.hwnet"),
    "missing prototxt": ("quantize", "no.prototxt", str(WEIGHTS), "--calibration", "digits", "--out", "x.hwnet"),
    "exchanged files": ("quantize", str(WEIGHTS), str(MODEL), "--calibration", "digits", "--out", "x.hwnet"),
    "missing data": ("quantize", str(MODEL), str(WEIGHTS), "--calibration", "no.txt", "--out", "x.hwnet"),
    "empty list": ("quantize", str(MODEL), str(WEIGHTS), "--calibration", "empty.txt", "--out", "x.hwnet"),
    "width out of range": (*QUANTIZE, "--bits", "99", "--out", "x.hwnet"),
    "width no number": (*QUANTIZE, "--bits", "eight", "--out", "x.hwnet"),
    "ambiguous rounding": (*QUANTIZE, "--rounding", "half up", "--out", "x.hwnet"),
    "unknown dialect": (*QUANTIZE, "--dialect", "exact", "--out", "x.hwnet"),
    "output exists": (*QUANTIZE, "--out", "digits.hwnet"),
    "output in no folder": (*QUANTIZE, "--out", "no/such/x.hwnet"),
    "no network": ("score", "no.hwnet", "--data", "digits"),
    "a file as a network": ("score", "empty.txt", "--data", "digits"),
    "score without data": ("score", "digits.hwnet"),
    "score of nothing": ("score", "digits.hwnet", "--data", "empty.txt"),
    "limit 0": ("score", "digits.hwnet", "--data", "digits", "--limit", "0"),
    "unknown backend": ("score", "digits.hwnet", "--data", "digits", "--backend", "gpu"),
    "index too large": ("run", "digits.hwnet", "--input", "digits", "--index", "1797"),
    "damaged image": ("run", "digits.hwnet", "--input", "bad.png"),
    "unknown layer": ("vectors", "digits.hwnet", "--input", "digits", "--out", "y", "--layers", "conv9"),
    "package exists": ("vectors", "digits.hwnet", "--input", "digits", "--out", "package"),
    "no package": ("check", "nothing"),
    "a network as a package": ("check", "digits.hwnet"),
    "missing dump": ("check", "package", "--layer", "ip2", "--dump", "no.hex"),
    "dump of the wrong length": ("check", "package", "--layer", "ip2", "--dump", "short.hex"),
    "dump of which layer": ("check", "package", "--dump", "short.hex"),
    "show nothing": ("show", "nothing"),
    "plot of a package": ("show", "package", "--plot", "x.png"),
    "plot of a layer": ("show", "digits.hwnet", "--layer", "conv1", "--plot", "x.png"),
    "plot of no known kind": ("run", "digits.hwnet", "--input", "digits", "--plot", "x.jpg"),
    "plot in no folder": ("score", "digits.hwnet", "--data", "digits", "--plot", "no/such/x.png"),
    "plot exists": ("check", "package", "--plot", "bad.png"),
    "show of an unknown layer": ("show", "digits.hwnet", "--layer", "conv9"),
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", BAD.values(), ids=BAD)
def test_bad_use_is_2_and_one_sentence_and_nothing_is_touched(folder, command, monkeypatch, capsys) -> None:
    monkeypatch.chdir(folder)
    (folder / "empty.txt").write_text("")
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    (folder / "short.hex").write_text("00\n")
    before = contents(folder)
    with pytest.raises(SystemExit) as left:
        main(list(command))
    out, err = capsys.readouterr()
    assert (left.value.code, out) == (2, ""), err
    assert len(err.strip()) > 20
    if err.startswith("hwsim:"):
        assert len(err.strip().splitlines()) == 1
    else:
        assert err.startswith("Usage:")
    assert contents(folder) == before


def test_an_output_that_exists_is_refused_before_anything_is_read(folder: Path) -> None:
    """No minutes of calibration end in a refusal: the data, which is not there, is not even looked for."""
    for command in (
        (*QUANTIZE[:4], "nowhere.txt", "--out", "digits.hwnet"),
        ("vectors", "digits.hwnet", "--input", "nowhere.txt", "--out", "package"),
    ):
        run = hwsim_command(*command, cwd=folder)
        assert run.returncode == 2
        assert run.stderr.startswith(f"hwsim: {command[-1]}: exists already")
        assert "--force" in run.stderr


def test_run_and_show_say_the_answer_and_what_happens_to_pixels(folder: Path) -> None:
    run = hwsim_command("run", "digits.hwnet", "--input", "digits", "--index", "3", cwd=folder)
    assert run.stdout.splitlines()[-1].startswith("first guesses: class 3 (")
    show = hwsim_command("show", "digits.hwnet", cwd=folder)
    assert show.stdout.splitlines()[1] == "images: GRAY 8x8, resized; real = (pixel - (0)) * 0.0625"


def test_force_replaces_the_output(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "package", tmp_path / "package")
    vectors = ("vectors", str(folder / "digits.hwnet"), "--input", "digits", "--out", "package", "--layers", "ip1")
    assert hwsim_command(*vectors, cwd=tmp_path).returncode == 2
    assert hwsim_command(*vectors, "--force", cwd=tmp_path).returncode == 0
    assert [path.name[-3:] for path in (tmp_path / "package").iterdir() if path.is_dir()] == ["ip1"]
