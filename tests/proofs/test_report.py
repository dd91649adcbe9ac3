"""The report of hwsim.overflow: its numbers are the certificates', its file is checked again, its witnesses are packages."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwsim
from hwsim.arith.accumulate import Pairing
from hwsim.arith.overflow import Overflow
from hwsim.contract import (
    Accumulator,
    FloatAccumulator,
    FloatMacContract,
    FloatOutput,
    MacContract,
    Output,
    Schedule,
    Spill,
    Tree,
)
from hwsim.errors import InputError
from hwsim.formats import FixedPoint
from hwsim.formats.catalog import BINARY16, E4M3
from hwsim.golden.read import read_package
from hwsim.layers import Convolution, FullyConnected, ImageEncoding, MacLayer, Shape
from hwsim.network.preprocessing import ChannelOrder, Preprocessing
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode
from hwsim.picture import BLUE, RED
from hwsim.proofs.overflow import Ranges, overflow
from hwsim.proofs.prove import prove
from hwsim.proofs.report import OverflowReport
from hwsim.proofs.stored import INDEX, verify_report
from hwsim.testing import networks
from support.networks import branching
from support.pictures import words

S8, S16 = FixedPoint(8, 0), FixedPoint(16, 0)
ROOMY = Accumulator(32)
TIGHT = Accumulator(14, overflow=Overflow.SATURATE)


def chain(*layers: MacLayer) -> QuantizedNetwork:
    """Two channels of 2 x 3 pixels, and these layers, each behind the last."""
    nodes = [QuantizedNode("data", (), ImageEncoding.from_real((100.0, 120.0), 1.0, Output(S8)))]
    for i, layer in enumerate(layers, 1):
        nodes.append(QuantizedNode(f"layer{i}", (nodes[-1].name,), layer))
    return QuantizedNetwork("chain", tuple(nodes), Shape(2, 2, 3), Preprocessing(ChannelOrder.GRAY, (2, 3)), "by hand")


def conv(accumulator: Accumulator, gain: int = 100) -> Convolution:
    """Three channels with taps of +-gain."""
    weight = np.random.default_rng(gain).integers(-gain, gain + 1, (3, 2, 2, 1))
    return Convolution(MacContract(S8, S8, Output(S8), accumulator), weight, np.array([5, -70, 11]))


def full(accumulator: Accumulator) -> FullyConnected:
    """Four channels that read three of 1 x 3."""
    weight = np.random.default_rng(4).integers(-100, 101, (4, 9))
    return FullyConnected(MacContract(S8, S8, Output(S16), accumulator), weight)


@pytest.fixture(scope="module")
def report() -> OverflowReport:
    """One layer that is safe, and one that is not."""
    return overflow(chain(conv(ROOMY), full(TIGHT)))


def test_a_layer_is_safe_where_its_certificate_says_so(report: OverflowReport) -> None:
    shapes = report.network.shapes()
    for layer, source in ((report["layer1"], "data"), (report["layer2"], "layer1")):
        proof = prove(layer.layer, shapes[source])
        assert layer.certificate.bits.tolist() == proof.bits.tolist()
        assert layer.safe == bool(proof.safe.all())
        assert layer.headroom == proof.declared_bits - proof.layer_bits
        assert layer.needs[0].beyond == np.flatnonzero(~proof.safe).tolist()
    assert report["layer1"].safe and not report["layer2"].safe and not report.safe
    assert overflow(chain(conv(ROOMY))).safe


def test_what_overflows_has_a_witness_and_what_is_safe_has_none(report: OverflowReport) -> None:
    assert report["layer1"].witnesses == ()
    (witness,) = report["layer2"].witnesses
    assert witness.trace("spec").events.accumulator > 0
    assert witness.name == "layer2" and witness.at[1] in report["layer2"].needs[0].beyond
    line = str(report).splitlines()[4]
    assert str(witness.at) in line and f"step {witness.step}" in line and witness.kind in line
    shown = witness.reason if witness.visible is None else f"{witness.visible.code}, and {witness.visible.wide_code} with room"
    assert shown in line
    quiet = overflow(report.network, witnesses=False)["layer2"]
    assert quiet.witnesses == () and not quiet.searched and not quiet.safe


PLACES = {
    "accumulator": TIGHT,
    "tree": Accumulator(32, schedule=Schedule(lanes=2, tree=Tree(Pairing.ADJACENT, (13,), Overflow.SATURATE))),
    "spill": Accumulator(32, schedule=Schedule(spill=Spill(2, 13, overflow=Overflow.SATURATE))),
}


@pytest.mark.parametrize("place", PLACES)
def test_every_register_is_watched(place: str) -> None:
    found = overflow(chain(conv(PLACES[place])))["layer1"]
    assert not found.safe
    assert {need.place.split()[0] for need in found.needs if need.beyond} == {place}
    (witness,) = found.witnesses
    assert witness.place == place and getattr(witness.trace("spec").events, place) > 0
    assert place in found.result
    if place != "accumulator":
        need = next(need for need in found.needs if need.beyond)
        assert found.row()[place] == f"{need.bits.max()} of 13"


@pytest.mark.parametrize(("overflow_mode", "safe"), [(Overflow.WRAP, True), (Overflow.SATURATE_SYMMETRIC, False)])
def test_a_level_is_safe_at_its_very_end_where_the_mode_has_one(overflow_mode: Overflow, safe: bool) -> None:
    """Two inputs of -128 make -256: a register of 9 bits holds it, and one whose range is symmetric does not."""
    schedule = Schedule(lanes=2, tree=Tree(Pairing.ADJACENT, (9,), overflow_mode))
    layer = Convolution(MacContract(S8, S8, Output(S8), Accumulator(10, schedule=schedule)), np.ones((1, 2, 1, 1), dtype=int))
    found = overflow(chain(layer))["layer1"]
    assert found.needs[1].bits.tolist() == [9 if safe else 10] and found.safe == safe


def test_the_proven_width_is_safe_and_one_bit_less_is_not() -> None:
    bits = overflow(chain(conv(ROOMY)))["layer1"].certificate.layer_bits
    for width, safe in ((bits, True), (bits - 1, False)):
        found = overflow(chain(conv(Accumulator(width))))["layer1"]
        assert found.safe == safe and found.headroom == width - bits and len(found.witnesses) == (not safe)


def test_of_several_levels_the_tightest_is_told() -> None:
    schedule = Schedule(lanes=4, tree=Tree(Pairing.CHAIN, (13, 20, 14), Overflow.SATURATE))
    found = overflow(chain(conv(Accumulator(32, schedule=schedule))), witnesses=False)["layer1"]
    rooms = {need.place: need.headroom for need in found.needs[1:]}
    assert list(rooms) == ["tree level 1", "tree level 2", "tree level 3"] and len(set(rooms.values())) == 3
    tightest = found.needs[1:][int(np.argmin(list(rooms.values())))]
    assert found.row()["tree"] == f"{tightest.bits.max()} of {tightest.declared}"


@settings(max_examples=15)
@given(networks(), st.sampled_from(Ranges))
def test_every_network_has_a_report_that_checks(net: QuantizedNetwork, ranges: Ranges) -> None:
    """Whatever its layers are: no certificate is refuted, what is not safe shows a register beyond its width, and it prints."""
    report = overflow(net, ranges=ranges)
    assert [each.refuted for each in verify_report(report.to_json(), net).layers if not each.holds and not each.unproven] == []
    for layer in report:
        assert layer.floats is not None or layer.safe == (not any(need.beyond for need in layer.needs))
        assert not (layer.safe and layer.witnesses)
        assert layer.name in str(report)


def test_columns_with_nothing_to_say_are_left_out(report: OverflowReport) -> None:
    headings, rows = report.table()
    assert not {"tree", "spill", "seen"} & set(headings) and all(len(row) == len(headings) for row in rows)
    assert "tree" in overflow(chain(conv(PLACES["tree"])), witnesses=False).table()[0]
    assert "spill" in overflow(chain(conv(PLACES["spill"])), witnesses=False).table()[0]


def floats(accumulator=None) -> QuantizedNetwork:
    """A convolution of minifloats: ten taps of 1."""
    chosen = {} if accumulator is None else {"accumulator": accumulator}
    contract = FloatMacContract(S8, E4M3, FloatOutput(E4M3), **chosen)
    return chain(Convolution(contract, np.full((3, 2, 2, 2), E4M3.encode(1)), pad=1))


def test_an_exact_sum_of_minifloats_has_a_width_and_is_safe() -> None:
    found = overflow(floats())
    layer = found["layer1"]
    assert found.safe and layer.certificate is None and layer.floats is not None
    row = layer.row()
    assert row["proven"] == str(int(layer.floats.bits.max())) and row["result"].startswith("safe")
    assert int(row["headroom"]) == layer.floats.declared_bits - int(layer.floats.bits.max())
    told = found.to_json()["layers"][0]
    assert told["certificate"] is None and told["float_certificate"]["bits"] == layer.floats.bits.tolist()
    assert [eval(end) for end in told["float_certificate"]["high"]] == list(layer.floats.high)
    assert any(str(layer.declared_bits) in text for text in words(found.plot()))


def test_a_float_register_has_binades_and_no_bits() -> None:
    """Eight inputs of 128 make 1,024: within binary16's 65,504, beyond E4M3's 448."""
    safe, unsafe = overflow(floats(FloatAccumulator(BINARY16))), overflow(floats(FloatAccumulator(E4M3)))
    assert safe.safe and "safe: 5 binades below" in str(safe)
    assert not unsafe.safe and "can overflow: accumulator in 3 of 3 channels" in str(unsafe)
    assert safe["layer1"].row()["proven"] == "" and "5 binades below" in " ".join(words(safe.plot()))


def test_ranges_of_the_network_need_no_more_than_those_of_the_formats() -> None:
    net = branching()
    free, sent = overflow(net), overflow(net, ranges=Ranges.NETWORK)
    assert all((a.certificate.bits >= b.certificate.bits).all() for a, b in zip(free, sent, strict=True))
    assert any((a.certificate.bits > b.certificate.bits).any() for a, b in zip(free, sent, strict=True))
    assert "some image could send" in str(sent)


def test_images_stand_beside_the_proofs() -> None:
    net = chain(conv(ROOMY))
    seen = hwsim.proofs.seen.Seen(7, np.array([-3]), np.array([9]), 5, 5, hwsim.layers.Events())
    told = replace(overflow(net)["layer1"], seen=seen)
    report = replace(overflow(net), layers=(told,))
    assert report.images == 7 and report.table()[0][-2] == "seen" and report.table()[1][0][-2] == "5"
    assert report.to_json()["layers"][0]["seen"]["low"] == [-3]


@pytest.mark.parametrize("names", [["layer3"], ["data"], []])
def test_a_layer_that_accumulates_nothing_is_refused(names: list[str]) -> None:
    with pytest.raises(InputError, match="layer"):
        overflow(chain(conv(ROOMY)), layers=names)


def test_ranges_are_no_strings() -> None:
    with pytest.raises(InputError, match="found ranges 'network', allowed Ranges.FORMAT and Ranges.NETWORK"):
        overflow(chain(conv(ROOMY)), ranges="network")  # type: ignore[arg-type]


def test_only_the_layers_asked_for() -> None:
    net = chain(conv(ROOMY), full(TIGHT))
    assert [layer.name for layer in overflow(net, layers=["layer2"], witnesses=False)] == ["layer2"]
    sent = overflow(net, layers=["layer2"], ranges=Ranges.NETWORK, witnesses=False)
    assert [layer.name for layer in sent] == ["layer2"] and sent["layer2"].certificate is not None


# ---- on disk


def written(report: OverflowReport, folder: Path) -> tuple[Path, Any]:
    """(file, its JSON)."""
    path = report.write(folder / "report.json", force=True)
    return path, json.loads(path.read_text())


def rewritten(path: Path, data: Any) -> Path:
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize("ranges", Ranges)
def test_a_file_of_certificates_holds_and_says_what_the_report_said(ranges: Ranges, tmp_path: Path) -> None:
    net = branching()
    report = overflow(net, ranges=ranges)
    path, data = written(report, tmp_path)
    assert data == json.loads(json.dumps(report.to_json()))
    found = verify_report(path, net)
    assert found.holds and found.safe and found.missing == ()
    assert [(each.name, each.bits) for each in found.layers] == [(each.name, each.certificate.layer_bits) for each in report]


def test_a_claim_of_one_bit_less_is_refuted(report: OverflowReport, tmp_path: Path) -> None:
    path, data = written(report, tmp_path)
    bits = data["layers"][0]["certificate"]["accumulator"]["bits"]
    bits[1] -= 1
    found = verify_report(rewritten(path, data), report.network)
    assert not found.holds and [each.refuted is None for each in found.layers] == [False, True]
    assert "refuted" in str(found) and found.to_json()["holds"] is False


def test_a_range_that_images_leave_is_refuted(tmp_path: Path) -> None:
    """A true certificate for inputs of 0 alone says nothing of a network that reads pixels."""
    net = chain(conv(ROOMY))
    zero = hwsim.proofs.certificate.InputRange(np.zeros(2), np.zeros(2))
    report = overflow(net)
    proof = prove(net["layer1"].layer, Shape(2, 2, 3), zero, "layer1")
    path = replace(report, layers=(replace(report["layer1"], certificate=proof),)).write(tmp_path / "zero.json")
    (found,) = verify_report(path, net).layers
    assert found.refuted is not None and "outside its input_range" in found.refuted


def test_a_certificate_for_another_shape_is_refuted(tmp_path: Path) -> None:
    net = chain(conv(ROOMY))
    report = overflow(net)
    proof = prove(net["layer1"].layer, Shape(2, 5, 7), None, "layer1")
    path = replace(report, layers=(replace(report["layer1"], certificate=proof),)).write(tmp_path / "shape.json")
    (found,) = verify_report(path, net).layers
    assert found.refuted is not None and "shape" in found.refuted


def test_a_layer_without_a_certificate_is_missing(report: OverflowReport, tmp_path: Path) -> None:
    path, data = written(report, tmp_path)
    del data["layers"][1]
    found = verify_report(rewritten(path, data), report.network)
    assert found.holds and not found.safe and found.missing == ("layer2",) and "layer2" in str(found)


DAMAGE = {
    "other network": (lambda d: d.update(network_sha256="0" * 64), "another network"),
    "other schema": (lambda d: d.update(schema="x"), "no report"),
    "twice": (lambda d: d["layers"].append(d["layers"][0]), "twice"),
    "unknown layer": (lambda d: d["layers"][0].update(name="nobody"), "a layer .nobody."),
    "no layers": (lambda d: d.pop("layers"), "layers"),
    "a layer that is none": (lambda d: d["layers"].__setitem__(0, 7), "allowed an object"),
    "no certificate's fields": (lambda d: d["layers"][0].update(certificate={}), "certificate"),
    "a layer of no sums": (lambda d: d["layers"][0].update(name="data"), "adds no integers"),
    "nothing proven": (lambda d: d.update(layers=[]), "nothing is proven"),
    "a layer that is not proven": (lambda d: d["layers"][0].update(certificate=None), "no certificate of it"),
    "another layer's name": (lambda d: d["layers"][0]["certificate"].update(name="layer2"), "of 'layer2' at 'layer1'"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_a_file_that_is_no_report_of_this_network_is_refused(damage, report: OverflowReport, tmp_path: Path) -> None:
    path, data = written(report, tmp_path)
    change, sentence = damage
    change(data)
    with pytest.raises(InputError, match=sentence):
        verify_report(rewritten(path, data), report.network)


def test_a_file_appears_whole_or_not_at_all(report: OverflowReport, tmp_path: Path) -> None:
    path = report.write(tmp_path / "report.json")
    before = path.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        report.write(path)
    for name, sentence in (("a.txt", "allowed .json"), ("no/a.json", "no folder")):
        with pytest.raises(InputError, match=sentence):
            report.write(tmp_path / name)
    assert report.write(path, force=True).read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_witnesses_are_packages_that_check(report: OverflowReport, tmp_path: Path) -> None:
    folder = report.write_witnesses(tmp_path / "inputs")
    assert json.loads((folder / INDEX).read_text())["network"] == "chain"
    packages = sorted(path for path in folder.iterdir() if path.is_dir())
    assert packages[0].name.startswith("001_layer2_accumulator")
    for path in packages:
        assert hwsim.check(path).passed
        (layer,) = read_package(path).layers
        assert layer.events.accumulator > 0
    with pytest.raises(InputError, match="exists already"):
        report.write_witnesses(folder)
    assert report.write_witnesses(folder, force=True) == folder


# ---- the picture


def test_the_picture_tells_safe_from_unsafe(report: OverflowReport) -> None:
    figure = report.plot()
    told = words(figure)
    assert {"layer1", "layer2"} <= set(told)
    bars = {patch.get_facecolor() for axes in figure.axes for patch in axes.patches}
    from matplotlib.colors import to_rgba

    assert to_rgba(BLUE) in bars and to_rgba(RED) in bars
    room = report["layer2"].headroom
    assert room < 0 and any(str(room) in text for text in told)


def test_a_notebook_shows_the_table(report: OverflowReport) -> None:
    assert "<td>layer2</td>" in report._repr_html_()
    assert "1 of 2 layers are proven safe" in repr(report)
