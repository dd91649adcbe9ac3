"""A device's dump against a package: every way to write it, every way to get it wrong, and why it differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwsim
from hwsim.arith.accumulate import Pairing
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.arith.shift_add import SignOrder
from hwsim.contract import BiasPoint, ExactSum, Order, ZeroSkip
from hwsim.errors import InputError
from hwsim.execute.single import run_layer
from hwsim.golden.package import Package
from hwsim.golden.read import load_npy
from hwsim.golden.words import FORMATTERS
from hwsim.layers import Layer
from support.golden import GOLDEN
from support.pictures import words


def opened(name: str = "conv_wrap") -> tuple[Package, dict[str, np.ndarray]]:
    package = hwsim.read_golden(GOLDEN / name)
    packaged = package.layers[0]
    return package, {m.role: load_npy(package.path / packaged.folder, m) for m in packaged.memories}


def dump(tmp_path: Path, package: Package, codes: np.ndarray, kind: str = "hex") -> Path:
    """What a device that computed these codes writes."""
    path = tmp_path / f"dut.{kind}"
    image = package.layers[0].memory("expected").image
    path.write_bytes(FORMATTERS[kind](codes.astype(image.dtype), image))
    return path


@pytest.mark.parametrize("kind", ["hex", "bin", "npy"])
@pytest.mark.parametrize("name", ["conv_ties", "conv_wrap", "conv_saturate", "minifloat_exact", "fc_s16", "ristretto"])
def test_the_expected_output_passes_and_each_changed_code_is_named(name: str, kind: str, tmp_path: Path) -> None:
    package, codes = opened(name)
    assert hwsim.check(package, dump=dump(tmp_path, package, codes["expected"], kind)).passed
    for at in list(np.ndindex(codes["expected"].shape))[::5]:
        wrong = codes["expected"].copy()
        wrong[at] ^= 1
        report = hwsim.check(package, dump=dump(tmp_path, package, wrong, kind))
        first = report.first_mismatch
        assert not report.passed and first.coordinate == at
        assert (first.expected, first.found) == (codes["expected"][at], wrong[at])
        assert sum(report.histogram().values()) == wrong.size
        assert report.histogram()["0"] == wrong.size - 1


def test_the_first_mismatch_in_code_hex_and_real(tmp_path: Path) -> None:
    package, codes = opened("conv_ties")
    wrong = codes["expected"].copy()
    wrong[0, 3, 1, 2], wrong[0, 4, 0, 0] = -3, 100
    report = hwsim.check(package, dump=dump(tmp_path, package, wrong))
    expected = int(codes["expected"][0, 3, 1, 2])
    assert str(report.first_mismatch) == (
        f"conv_ties: output at (n, c, y, x) = (0, 3, 1, 2): expected {expected} (hex {expected % 256:02x}, "
        f"real {expected / 4:g}), dump -3 (hex fd, real -0.75), {-3 - expected:+d} ulp"
    )
    assert report.to_json()["first_mismatch"]["coordinate"] == [0, 3, 1, 2]
    assert "first mismatch" in str(report) and "2 differ" in report.verdict()


def test_readmemh_syntax_is_read(tmp_path: Path) -> None:
    """Comments, underscores, capitals, dropped zeros, several words a line, and addresses in any order."""
    package, codes = opened("conv_ties")
    words = dump(tmp_path, package, codes["expected"]).read_text().splitlines()[3:]
    text = "/* from the\n simulator */ @0 " + " ".join(words[:5]) + f" // five\n@{len(words) - 9:X}\n"
    text += "\n".join(f"0_0{w.upper()}" for w in words[-9:]) + "\n@5\n" + "\n".join(w.lstrip("0") or "0" for w in words[5:-9])
    path = tmp_path / "dut.mem"
    path.write_text(text)
    assert hwsim.check(package, dump=path).passed


@pytest.mark.parametrize("digits", ["x", "zz", "X", "?0"])
def test_x_and_z_are_undefined(digits: str, tmp_path: Path) -> None:
    package, codes = opened("conv_ties")
    path = dump(tmp_path, package, codes["expected"])
    lines = path.read_text().splitlines()
    lines[3 + 7] = digits
    path.write_text("\n".join(lines))
    report = hwsim.check(package, dump=path)
    at = package.layout.codes.coordinate(codes["expected"].shape, 7, 0)
    assert report.first_mismatch.coordinate == at and report.first_mismatch.found is None
    assert report.histogram()["undefined"] == 1


def test_addresses_never_written_are_undefined(tmp_path: Path) -> None:
    package, codes = opened("conv_ties")
    path = dump(tmp_path, package, codes["expected"])
    lines = path.read_text().splitlines()[3:]
    path.write_text("@2\n" + "\n".join(lines[2:]))
    report = hwsim.check(package, dump=path)
    assert report.first_mismatch.coordinate == (0, 0, 0, 0) and report.histogram()["undefined"] == 2


@pytest.mark.parametrize("width", ["sign", "zero"])
def test_a_port_narrower_than_its_digits_may_extend_either_way(width: str, tmp_path: Path) -> None:
    """Codes of 6 bits in 8-bit lanes: a device's 3f and hwsim's ff are both -1."""
    package, codes = opened("conv_wrap")
    path = dump(tmp_path, package, codes["expected"])
    if width == "zero":
        words = [f"{int(w, 16) & 0x3F3F:04x}" for w in path.read_text().splitlines()[3:]]
        path.write_text("\n".join(words))
    assert hwsim.check(package, dump=path).passed
    assert (codes["expected"] < 0).any()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("dut.hex", b"00 01 02", "found 3 words, allowed 72"),
        ("dut.hex", b"", "found 0 words, allowed 72"),
        ("dut.hex", b"0 " * 73, "found 73 words, allowed 72"),
        ("dut.hex", b"@47 00 00", "reach address 48, allowed are 0..47"),
        ("dut.hex", b"@zz 00", "found address '@zz'"),
        ("dut.hex", b"@ 00", "found address '@'"),
        ("dut.hex", b"0g " * 72, "found word '0g'"),
        ("dut.hex", b"@2 " + b"00 " * 68 + b"0g 00", r"layer '\w+': .*dut.hex: at address 46 \(hexadecimal\) found word '0g'"),
        ("dut.hex", b"00 " * 71 + b"100", r"at address 47 \(hexadecimal\) found word '100'"),
        ("dut.hex", b"_ " * 72, "found word ''"),
        ("dut.hex", b"100 " * 72, "found word '100', allowed are 2 hex digits"),
        ("dut.bin", b"\0" * 71, "found 71 bytes, allowed 72"),
        ("dut.bin", b"\0" * 73, "found 73 bytes, allowed 72"),
        ("dut.npy", b"\x93NUMPY\x01\x00", "no .npy file"),
        ("dut.npy", b"PK", "no .npy file"),
        ("dut.vcd", b"", "found suffix '.vcd'"),
        ("missing.hex", None, "does not exist"),
    ],
)
def test_a_dump_that_cannot_be_one_is_one_sentence(name: str, content: bytes | None, sentence: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        hwsim.check(GOLDEN / "conv_ties", dump=tmp_path / name)


def test_an_npy_dump_never_runs_code(tmp_path: Path) -> None:
    np.save(tmp_path / "dut.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="of integers"):
        hwsim.check(GOLDEN / "conv_ties", dump=tmp_path / "dut.npy")


def test_a_dump_of_several_layers_must_be_named(tmp_path: Path) -> None:
    path = GOLDEN / "every_layer"
    packaged = hwsim.read_golden(path)["pool max"]
    file = path / packaged.folder / "expected.bin"
    with pytest.raises(InputError, match="say which one"):
        hwsim.check(path, dump=file)
    assert hwsim.check(path, dump=file, layer="pool max").passed
    with pytest.raises(InputError, match="no layer 'conv9'"):
        hwsim.check(path, dump=file, layer="conv9")


def test_the_diagnosis_names_the_rule_that_was_broken(tmp_path: Path) -> None:
    package, codes = opened("conv_ties")
    layer = package.layers[0].layer
    output = layer.contract.output
    stories = {
        "rounded TIES_UP instead of TIES_EVEN": replace(output, rounding=Rounding.TIES_UP),
        "under WRAP instead of SATURATE": replace(output, overflow=Overflow.WRAP),
    }
    variants = {s: replace(layer, contract=replace(layer.contract, output=o)) for s, o in stories.items()}
    variants["without the bias"] = replace(layer, bias=None)
    for sentence, variant in variants.items():
        found = run_layer(variant, codes["stimulus"], backend="spec").codes
        report = hwsim.check(package, dump=dump(tmp_path, package, found))
        assert f"every code equals the expected one {sentence}." in report.diagnosis


def diagnosed(package: Package, codes: dict[str, np.ndarray], changed: Layer, tmp_path: Path) -> tuple[str, ...]:
    """What is said of a device that computes by the changed rules."""
    found = run_layer(changed, codes["stimulus"], backend="spec").codes
    assert (found != codes["expected"]).any(), "a device that is right shows nothing"
    return hwsim.check(package, dump=dump(tmp_path, package, found)).diagnosis


def with_schedule(layer: Layer, **changes: Any) -> Layer:
    acc = layer.contract.accumulator
    changed = replace(acc, schedule=replace(acc.schedule, **changes))
    return replace(layer, contract=replace(layer.contract, accumulator=changed))


def test_the_diagnosis_names_what_an_ordered_accumulator_did_otherwise(tmp_path: Path) -> None:
    package, codes = opened("conv_saturate")
    layer = package.layers[0].layer
    acc, schedule = layer.contract.accumulator, layer.contract.accumulator.schedule
    wraps = replace(layer, contract=replace(layer.contract, accumulator=replace(acc, overflow=Overflow.WRAP)))
    wide = replace(layer, contract=replace(layer.contract, accumulator=replace(acc, bits=17)))
    tree, spill = replace(schedule.tree, overflow=Overflow.SATURATE), replace(schedule.spill, rounding=Rounding.FLOOR)
    stories = {
        "overflow WRAP instead of SATURATE": wraps,
        "bits 17 instead of 16": wide,
        "bias FIRST instead of LAST": with_schedule(layer, bias=BiasPoint.FIRST),
        "order CRS instead of RSC": with_schedule(layer, order=Order.CRS),
        "skip zeros NONE instead of INPUT": with_schedule(layer, skip_zeros=ZeroSkip.NONE),
        "tree's overflow SATURATE instead of WRAP": with_schedule(layer, tree=tree),
        "spill's rounding FLOOR instead of TIES_AWAY": with_schedule(layer, spill=spill),
        "spill left out": with_schedule(layer, spill=None),
    }
    for sentence, variant in stories.items():
        said = diagnosed(package, codes, variant, tmp_path)
        assert f"every code equals the expected one with the accumulator's {sentence}." in said


def test_the_diagnosis_names_what_a_shift_add_unit_did_otherwise(tmp_path: Path) -> None:
    package, codes = opened("pow2")
    layer = package.layers[0].layer
    for sentence, change in (
        ("sign order BEFORE_ROUNDING instead of AFTER_ROUNDING", {"sign_order": SignOrder.BEFORE_ROUNDING}),
        ("rounding TIES_EVEN instead of FLOOR", {"rounding": Rounding.TIES_EVEN}),
    ):
        unit = replace(layer.contract.product, **change)
        said = diagnosed(package, codes, replace(layer, contract=replace(layer.contract, product=unit)), tmp_path)
        assert f"every code equals the expected one with the product's {sentence}." in said


def test_the_diagnosis_names_what_a_minifloat_unit_did_otherwise(tmp_path: Path) -> None:
    package, codes = opened("minifloat_ordered")
    contract = package.layers[0].layer.contract
    acc = contract.accumulator
    stories = {
        "the accumulator's rounding TOWARD_ZERO instead of TIES_EVEN": replace(acc, rounding=Rounding.TOWARD_ZERO),
        "the accumulator's products exact instead of rounded": replace(acc, product=None),
        "the accumulator's order RSC instead of SRC": replace(acc, schedule=replace(acc.schedule, order=Order.RSC)),
        "the accumulator's tree's pairing HALVES instead of ADJACENT": replace(
            acc, schedule=replace(acc.schedule, tree=replace(acc.schedule.tree, pairing=Pairing.HALVES))
        ),
        "an exact sum instead of the accumulator's format": ExactSum(),
    }
    for sentence, accumulator in stories.items():
        changed = replace(package.layers[0].layer, contract=replace(contract, accumulator=accumulator))
        assert f"every code equals the expected one with {sentence}." in diagnosed(package, codes, changed, tmp_path)
    package, codes = opened("minifloat_exact")
    layer = package.layers[0].layer
    wraps = replace(layer.contract.output, format=replace(layer.contract.output.format, saturate=False))
    changed = replace(layer, contract=replace(layer.contract, output=wraps))
    sentence = "every code equals the expected one with the output's saturate False instead of True."
    assert sentence in diagnosed(package, codes, changed, tmp_path)


def test_the_diagnosis_names_the_place(tmp_path: Path) -> None:
    package, codes = opened("conv_ties")
    wrong = codes["expected"].copy()
    wrong[:, 3] += 1
    report = hwsim.check(package, dump=dump(tmp_path, package, wrong))
    assert report.diagnosis[0] == "all mismatches lie in channel c = 3 (12 of its 12 codes)."
    moved = np.roll(codes["expected"], 1, axis=2)
    report = hwsim.check(package, dump=dump(tmp_path, package, moved))
    assert "every code stands at row y +1 of its place." in report.diagnosis


def test_random_errors_get_no_diagnosis(tmp_path: Path) -> None:
    package, codes = opened("conv_ties")
    noise = codes["expected"] ^ np.random.default_rng(1).integers(0, 2, codes["expected"].shape, dtype=np.int8)
    assert hwsim.check(package, dump=dump(tmp_path, package, noise)).diagnosis == ()


def test_reversed_lanes_are_seen(tmp_path: Path) -> None:
    package, codes = opened("conv_wrap")
    path = dump(tmp_path, package, codes["expected"])
    words = path.read_text().splitlines()[3:]
    path.write_text("\n".join(w[2:] + w[:2] for w in words))
    report = hwsim.check(package, dump=path)
    assert "the lanes of every word are in reverse order." in report.diagnosis


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    package, codes = opened("conv_ties")
    wrong = codes["expected"].copy()
    wrong[0, 2, 1, 1] ^= 4
    report = hwsim.check(package, dump=dump(tmp_path, package, wrong))
    shown = words(report.plot(tmp_path / "errors.png"))
    assert "1" in shown and not [text for text in shown if "$" in text], "the counts can be read"
    assert (tmp_path / "errors.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="nothing differs"):
        hwsim.check(package, backends=()).plot()
