"""Words on the command line: what is refused, and what the refusal tells."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pytest

import hwsim
from hwsim.arith.rounding import Rounding
from hwsim.cli import main
from hwsim.cli.options import AMBIGUOUS, BACKENDS, DIALECTS, ROUNDINGS, Numbers, RoundingWord, names
from hwsim.contract.dialects import DIALECTS as KNOWN_DIALECTS
from support.caffe_files import write_network

DEMO = Path(hwsim.__file__).parent / "demo"


@pytest.mark.parametrize("word", sorted(AMBIGUOUS))
def test_an_ambiguous_rounding_word_is_refused_with_the_meanings(word: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        RoundingWord().convert(word, None, None)
    for name, _ in ROUNDINGS:
        assert name in str(caught.value)
    assert "different tools" in str(caught.value)


def test_the_rounding_words_are_the_rounding_modes() -> None:
    assert [name.upper() for name, _ in ROUNDINGS] == [mode.name for mode in Rounding]
    for name, _ in ROUNDINGS:
        assert RoundingWord().convert(name.upper(), None, None) == name


def test_the_dialect_words_are_the_dialects() -> None:
    assert set(DIALECTS) == set(KNOWN_DIALECTS)


def test_the_backend_words_are_the_backends() -> None:
    from hwsim.backends.registry import NAMES

    assert set(BACKENDS) == {"auto", *NAMES}


@pytest.mark.parametrize(("text", "expected"), [(None, None), ("a", ["a"]), ("a, b/c,", ["a", "b/c"])])
def test_names_are_separated_by_commas(text: str | None, expected: list[str] | None) -> None:
    assert names(text) == expected


@pytest.mark.parametrize(
    ("numbers", "text", "expected"),
    [
        (Numbers(int, 3), "1,28,30", (1, 28, 30)),
        (Numbers(float, or_file=True), "104,117.5", (104.0, 117.5)),
        (Numbers(float, or_file=True), "mean.npy", "mean.npy"),
    ],
)
def test_numbers_are_separated_by_commas(numbers: Numbers, text: str, expected: object) -> None:
    assert numbers.convert(text, None, None) == expected


@pytest.mark.parametrize("text", ["1,28", "1,28,28,1", "1,28,x", "mean.npy", ""])
def test_a_shape_is_three_whole_numbers(text: str) -> None:
    with pytest.raises(click.BadParameter, match="1,227,227"):
        Numbers(int, 3).convert(text, None, None)


def quantize(options: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """Run `hwsim quantize` on the demo's network; return its exit code and what it said."""
    files = [str(DEMO / "digits.prototxt"), str(DEMO / "digits.caffemodel"), "--calibration", "digits", "--limit", "8"]
    with pytest.raises(SystemExit) as exit_:
        main(["quantize", *files, *options, "--out", str(folder / "n.hwnet")])
    said = capsys.readouterr()
    return exit_.value.code or 0, said.out + said.err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--minifloat", "e4m3"], "--minifloat: found beside --scheme dynamic_fixed_point"),
        (["--scheme", "minifloat", "--lanes", "4"], "--lanes: found beside --scheme minifloat, whose exact sum has no order"),
        (["--scheme", "minifloat", "--bits", "6"], "--bits: found beside --scheme minifloat"),
        (["--scheme", "minifloat", "--bits", "6", "--minifloat", "e3m2", "--dialect", "ristretto_cpu"], "--bits: found beside"),
        (["--scheme", "minifloat", "--accumulator-dropped-bits", "0"], "--accumulator-dropped-bits: found beside"),
        (["--scheme", "minifloat", "--method", "maximum"], "--method: found beside --scheme minifloat"),
        (["--scheme", "minifloat", "--per-channel"], "--per-channel: found beside --scheme minifloat"),
        (["--scheme", "power_of_two", "--per-channel"], "--per-channel: found beside --scheme power_of_two"),
        (["--scheme", "power_of_two", "--float-accumulator", "binary16"], "--float-accumulator: found beside"),
        (["--lrn-entries", "64", "--host-lrn"], "--lrn-entries: found beside --host-lrn, which leaves LRN in float"),
        (["--lrn-entries", "64", "--dialect", "ristretto_gpu"], "--lrn-entries: found beside --dialect ristretto_gpu"),
        (["--lrn-entries", "64", "--scheme", "minifloat"], "--lrn-entries: found beside"),
        (["--lrn-entries", "1"], "TableDesign.entries: found 1, allowed an integer in 2..65536"),
    ],
)
def test_an_option_of_another_scheme_is_refused_not_ignored(options, sentence, tmp_path, capsys):
    code, output = quantize(options, tmp_path, capsys)
    assert code == 2 and sentence in output
    assert not (tmp_path / "n.hwnet").exists()


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--scheme", "power_of_two"], "pow2"),
        (["--scheme", "minifloat", "--minifloat", "e5m2", "--float-accumulator", "binary16"], "E5M2"),
        (["--scheme", "minifloat", "--bits", "6", "--dialect", "ristretto_cpu"], "E4M1"),
        (["--scheme", "power_of_two", "--per-tensor"], "pow2"),
        (["--accumulator-bits", "12", "--accumulator-overflow", "saturate", "--accumulator-fit", "--lanes", "4"], "12"),
    ],
)
def test_schemes_and_accumulators_are_chosen_by_options(options, shown, tmp_path, capsys):
    code, output = quantize(options, tmp_path, capsys)
    assert code == 0 and shown in output, output


def test_a_float_register_adds_in_the_order_and_lanes_that_are_named(tmp_path, capsys):
    options = ["--scheme", "minifloat", "--float-accumulator", "binary16", "--lanes", "4", "--order", "rsc"]
    assert quantize(options, tmp_path, capsys)[0] == 0
    contract = hwsim.load(tmp_path / "n.hwnet")["conv2"].layer.contract
    steps = hwsim.Schedule(hwsim.Order.RSC, lanes=4)
    assert contract.accumulator == hwsim.FloatAccumulator(hwsim.minifloat("binary16"), schedule=steps)


@pytest.mark.parametrize(("options", "entries"), [((), 256), (("--lrn-entries", "32"), 32), (("--host-lrn",), None)])
def test_lrn_gets_a_table_of_the_named_size_or_is_left_to_the_host(options, entries, tmp_path, capsys):
    text = """name: "n" input: "data" input_shape { dim: 1 dim: 1 dim: 8 dim: 8 }
    layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 3 } }
    layer { name: "n" type: "LRN" bottom: "c" top: "n" lrn_param { local_size: 3 alpha: 2 } }
    layer { name: "f" type: "InnerProduct" bottom: "n" top: "f" inner_product_param { num_output: 10 } }"""
    rng = np.random.default_rng(1)
    blobs = {"c": [rng.normal(size=(4, 1, 3, 3)), rng.normal(size=4)], "f": [rng.normal(size=(10, 144)), np.zeros(10)]}
    files = [str(path) for path in write_network(tmp_path, text, blobs)]
    arguments = [*files, "--calibration", "digits", "--limit", "8", "--scale", "0.0625", "--mean", "0", "--channels", "GRAY"]
    with pytest.raises(SystemExit) as exit_:
        main(["quantize", *arguments, *options, "--out", str(tmp_path / "n.hwnet")])
    assert not exit_.value.code, capsys.readouterr()
    layer = hwsim.load(tmp_path / "n.hwnet")["n"].layer
    assert layer.kind == ("host_lrn" if entries is None else "lrn")
    assert entries is None or entries // 2 < len(layer.table) <= entries
