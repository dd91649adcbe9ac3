""".hwnet: the same bytes after a round trip, hand edits taken, and one sentence for everything that cannot be."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hwsim
from hwsim.contract import EXACT32, RISTRETTO_GPU
from hwsim.errors import HwsimError, InputError, ProofError
from hwsim.formats.fixed import FixedPoint
from hwsim.network import write_hwnet
from hwsim.network.quantized import QuantizedNetwork
from hwsim.network.read_hwnet import load
from hwsim.network.write_hwnet import file_name, pretty, sha256
from support.float_networks import fire, pixels
from support.networks import branching


@pytest.fixture(scope="module", params=[EXACT32, RISTRETTO_GPU], ids=lambda d: d.name)
def network(request, onnxruntime) -> QuantizedNetwork:
    return hwsim.quantize(fire(), pixels(10), dialect=request.param)


@pytest.fixture(scope="module")
def exact(onnxruntime) -> QuantizedNetwork:
    return hwsim.quantize(fire(), pixels(10))


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def edit(folder: Path, change) -> None:
    """Change the parsed network.json in place."""
    document = json.loads((folder / "network.json").read_text())
    change(document)
    (folder / "network.json").write_text(json.dumps(document))


def layer(document, name):
    return next(node for node in document["nodes"] if node["name"] == name)


def put(path: str, value):
    """A change of the document: put("nodes/1/weight/bits", 6)."""
    *steps, last = path.split("/")

    def change(document):
        for step in steps:
            document = document[int(step) if isinstance(document, list) else step]
        document[int(last) if isinstance(document, list) else last] = value

    return change


def drop(path: str):
    *steps, last = path.split("/")

    def change(document):
        for step in steps:
            document = document[int(step) if isinstance(document, list) else step]
        del document[last]

    return change


def test_a_round_trip_gives_the_same_network_and_the_same_bytes(network, tmp_path):
    first, second = network.save(tmp_path / "a.hwnet"), tmp_path / "b.hwnet"
    opened = load(first)
    assert opened.edited == ()
    assert str(opened) == str(network) and opened.ranges == network.ranges and opened.weight_rule == network.weight_rule
    for old, new in zip(network.mac_nodes, opened.mac_nodes, strict=True):
        np.testing.assert_array_equal(old.layer.weight, new.layer.weight)
        np.testing.assert_array_equal(old.layer.bias, new.layer.bias)
        assert old.layer.contract == new.layer.contract
    opened.save(second)
    assert content(first) == content(second)
    np.testing.assert_array_equal(hwsim.run(network, pixels(1)).logits, hwsim.run(opened, pixels(1)).logits)


def test_a_network_built_by_hand_makes_the_round_trip(tmp_path):
    network = branching()
    opened = load(network.save(tmp_path / "hand.hwnet"))
    assert str(opened) == str(network)
    for old, new in zip(network.mac_nodes, opened.mac_nodes, strict=True):
        np.testing.assert_array_equal(old.layer.weight, new.layer.weight)


def test_a_mean_for_each_pixel_and_lengths_per_channel_make_the_round_trip(onnxruntime, tmp_path):
    image = hwsim.Preprocessing(
        hwsim.ChannelOrder.BGR, (11, 13), np.random.default_rng(1).uniform(90, 130, (3, 11, 13)).astype(np.float32), 1 / 64
    )
    q = hwsim.quantize(fire(preprocessing=image), pixels(6), per_channel=True)
    first = q.save(tmp_path / "a.hwnet")
    opened = load(first)
    np.testing.assert_array_equal(opened.preprocessing.mean, image.mean)
    opened.save(tmp_path / "b.hwnet")
    assert content(first) == content(tmp_path / "b.hwnet")


def test_bits_edited_by_hand_keep_the_range_and_the_layer_is_listed(network, tmp_path):
    folder = network.save(tmp_path / "net.hwnet")
    edit(folder, lambda d: layer(d, "conv5")["weight"].update(bits=6))
    opened = load(folder)
    assert opened.edited == ("conv5",)
    assert opened["conv5"].layer.contract.weight == network["conv5"].layer.contract.weight.with_bits(6)
    assert np.abs(opened["conv5"].layer.weight).max() <= 32
    assert "edited by hand: conv5" in str(opened)
    again = load(opened.save(tmp_path / "again.hwnet"))
    assert again.edited == () and str(again).splitlines()[1:] == str(opened).splitlines()[1:]


def test_an_edited_output_is_followed_by_its_readers(exact, tmp_path):
    folder = exact.save(tmp_path / "net.hwnet")
    edit(folder, lambda d: layer(d, "conv1")["output"].update(bits=6))
    opened = load(folder)
    assert opened.edited == ("conv1", "pool1", "left", "right")
    assert opened["left"].layer.contract.input == exact["conv1"].layer.output_format.with_bits(6)


def test_a_branch_that_was_edited_gets_a_visible_rescale(exact, tmp_path):
    folder = exact.save(tmp_path / "net.hwnet")
    edit(folder, lambda d: layer(d, "left")["output"].update(bits=7))
    opened = load(folder)
    assert opened["joint"].inputs == ("joint:left", "right")
    assert opened["joint:left"].layer.output == exact["left"].layer.contract.output.__class__(exact["joint"].layer.format)
    again = opened.save(tmp_path / "again.hwnet")
    assert "joint:left" not in (again / "network.json").read_text().split('"digests"')[0], "it follows; it is not stored"
    assert str(load(again)).splitlines()[1:] == str(opened).splitlines()[1:]


def test_with_bits_needs_no_images_and_comes_back(network, tmp_path):
    opened = load(network.save(tmp_path / "net.hwnet"))
    changed = opened.with_bits("conv1", weights=6, output=7)
    assert changed["conv1"].layer.contract.weight.bits == 6
    assert changed["conv1"].layer.output_format == network.ranges["conv1"].format(7, network["conv1"].layer.output_format.signed)
    assert str(changed.with_bits("conv1", weights=8, output=8)) == str(network)
    assert str(opened) == str(network), "the network itself did not change"


@pytest.mark.parametrize(
    ("name", "widths", "sentence"),
    [
        ("pool1", {"output": 6}, "max_pool passes its input's format on.*'conv1'"),
        ("pool1", {"weights": 6}, "max_pool has no weights"),
        ("nobody", {"weights": 6}, "no layer 'nobody'"),
        ("conv1", {"weights": 17}, "17 bits, allowed at most 16"),
        ("conv1", {"weights": 1}, "weights=1"),
        ("conv1", {"output": 40}, "output=40"),
    ],
)
def test_with_bits_refuses_with_the_layer_named(exact, name, widths, sentence):
    with pytest.raises(HwsimError, match=sentence):
        exact.with_bits(name, **widths)


BAD_EDITS = {
    "another format": (put("format", "golden"), "format: allowed 'hwsim quantized network'"),
    "newer schema": (put("schema", 2), "schema: found 2, this hwsim reads 1"),
    "schema is text": (put("schema", "1"), "schema: found '1', allowed an integer"),
    "missing name": (drop("name"), "'name' is missing"),
    "unknown field": (put("colour", 1), "'colour' is unknown"),
    "unknown layer field": (put("nodes/1/colour", 1), "layer 'conv1': the field 'colour' is unknown"),
    "missing layer field": (drop("nodes/1/stride"), "layer 'conv1': the field 'stride' is missing"),
    "width of zero": (put("nodes/1/weight/bits", 0), "layer 'conv1', weight, bits: found 0, allowed an integer in 1..16"),
    "width of 17": (put("nodes/1/weight/bits", 17), "layer 'conv1', weight, bits: found 17"),
    "width is real": (put("nodes/1/weight/bits", 8.0), "layer 'conv1', weight, bits: found 8.0"),
    "width is true": (put("nodes/1/weight/bits", True), "layer 'conv1', weight, bits: found true"),
    "far integer bits": (put("nodes/1/weight/integer_bits", 900), "integer_bits: found 900"),
    "lengths of other channels": (put("nodes/1/weight/integer_bits", [1, 2]), "a list of 5"),
    "output per channel": (put("nodes/1/output/integer_bits", [1] * 5), "layer 'conv1', output, integer_bits"),
    "accumulator of 65": (put("nodes/1/accumulator/bits", 65), "layer 'conv1', accumulator, bits: found 65"),
    "accumulator not proven": (put("nodes/1/accumulator/bits", 12), "layer 'conv1': .*12 bits"),
    "unknown rounding": (put("nodes/1/output/rounding", "HALF_UP"), "rounding: found 'HALF_UP', allowed one of FLOOR"),
    "unknown kind": (put("nodes/1/kind", "magic"), "layer 'conv1', kind: found 'magic'"),
    "second image": (put("nodes/2/kind", "image_encoding"), "layer 'pool1', kind"),
    "first is no image": (put("nodes/0/kind", "relu"), "layer 'data', kind"),
    "reads a later layer": (put("nodes/1/reads", ["right"]), "layer 'conv1', reads: found 'right'"),
    "reads nothing": (put("nodes/1/reads", []), "layer 'conv1', reads: found 0"),
    "reads two": (put("nodes/2/reads", ["conv1", "data"]), "layer 'pool1', reads: found 2"),
    "name taken": (put("nodes/2/name", "conv1"), "layer 'conv1': this name is taken"),
    "name unprintable": (put("nodes/1/name", "a\x1b[2J"), "printable characters"),
    "name is a number": (put("nodes/1/name", 5), r"nodes\[1\], name: found 5"),
    "node is a list": (put("nodes/1", []), r"nodes\[1\]: found \[\]"),
    "nodes is an object": (put("nodes", {}), "nodes: found {}, allowed a list"),
    "no nodes": (put("nodes", []), "first node must encode the image|is used by no layer|no layer of network.json"),
    "stride of zero": (put("nodes/1/stride", [0, 1]), "layer 'conv1': convolution.stride"),
    "pad beyond reason": (put("nodes/1/pad", [65535, 65535]), "layer 'conv1'.*large"),
    "kernel larger than the image": (put("nodes/2/kernel", [40, 40]), "layer 'pool1'.*does not fit"),
    "groups": (put("nodes/1/groups", 3), "layer 'conv1': .*groups: found 3"),
    "file with a path": (put("nodes/1/files/weight", "../network.json"), r"file name '../network.json', allowed letters"),
    "absolute file": (put("nodes/1/files/weight", "/etc/passwd"), "file name '/etc/passwd'"),
    "hidden file": (put("nodes/1/files/weight", ".x"), "file name '.x'"),
    "missing file": (put("nodes/1/files/weight", "other.npy"), "weights/other.npy is missing"),
    "no weight file": (put("nodes/1/files/weight", None), "layer 'conv1', files, weight: found null"),
    "same file twice": (put("nodes/1/files/bias", "conv1.weight.npy"), "used twice"),
    "array of another layer": (put("nodes/1/files", {"weight": "right.weight.npy", "bias": None}), "layer 'right'|conv"),
    "size of zero": (put("preprocessing/size", [0, 13]), "preprocessing, size"),
    "mean of two numbers": (put("preprocessing/mean", [1, 2]), "preprocessing: .*mean"),
    "mean of text": (put("preprocessing/mean", ["1", 2, 3]), "preprocessing, mean"),
    "mean of another file": (put("preprocessing/mean", "x.npy"), "preprocessing, mean: found 'x.npy'"),
    "negative scale": (put("preprocessing/scale", -1.0), "layer 'data': scale -1.0"),
    "range upside down": (put("ranges/conv1/low", 5.0), "range 'conv1'"),
    "range of other widths": (put("ranges/conv1/least_signed", [1]), "range 'conv1'"),
    "method unknown": (put("weight_rule/method", "GUESS"), "weight_rule, method: found 'GUESS'"),
    "percentile of weights": (put("weight_rule/method", "PERCENTILE"), "weight_rule: .*PERCENTILE"),
    "digest missing": (drop("digests/files"), "digests: the field 'files' is missing"),
    "digest of no file": (put("digests/files/x.npy", "00"), "'x.npy' is used by no layer"),
    "codes digest changed": (put("digests/codes/conv1", "00"), "layer 'conv1' has other codes"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_EDITS)
def test_a_bad_edit_gets_one_sentence_with_file_and_place(exact, tmp_path, name):
    change, sentence = BAD_EDITS[name]
    folder = exact.save(tmp_path / "net.hwnet")
    edit(folder, change)
    with pytest.raises(HwsimError, match=sentence) as caught:
        load(folder)
    assert "net.hwnet" in str(caught.value) and "\n" not in str(caught.value)


BAD_TEXTS = {
    "empty": (b"", "not JSON"),
    "half": (b'{"format": "hwsim', "not JSON"),
    "no UTF-8": (b"\xff\xfe{}", "not UTF-8"),
    "a list": (b"[]", "found .*, allowed an object"),
    "a key twice": (b'{"format": 1, "format": 2}', "stands twice"),
    "NaN": (b'{"format": NaN}', "NaN is no number"),
    "a huge real": (b'{"format": 1e999}', "too long or too large"),
    "a long integer": (b'{"format": ' + b"9" * 5000 + b"}", "5000 digits"),
    "deep": (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
    "quite deep": (b"[" * 20 + b"]" * 20, "nested too deeply"),
    "too large": (b" " * ((1 << 24) + 1), "larger than"),
}


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_a_text_that_is_no_network_gets_one_sentence(exact, tmp_path, name):
    text, sentence = BAD_TEXTS[name]
    folder = exact.save(tmp_path / "net.hwnet")
    (folder / "network.json").write_bytes(text)
    with pytest.raises(InputError, match=sentence) as caught:
        load(folder)
    assert "network.json" in str(caught.value) and "\n" not in str(caught.value)


def npy(array, **options) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def claims_more(data: bytes) -> bytes:
    return data.replace(b"(5, 3, 3, 3)", b"(5, 3, 9, 3)")


BAD_ARRAYS = {
    "nothing": (lambda data: b"", "no .npy"),
    "truncated": (lambda data: data[:-4], "bytes follow"),
    "longer": (lambda data: data + b"\0", "bytes follow"),
    "claims more": (claims_more, "bytes follow"),
    "claims no end": (lambda data: data.replace(b"(5, 3, 3, 3), }  ", b"(5, 3, 3, 1<<60)}"), "no .npy|bytes follow"),
    "float64": (lambda data: npy(np.zeros((5, 3, 3, 3))), "elements of type float64"),
    "pickle": (lambda data: npy(np.array([[[[{}]]]], dtype=object), allow_pickle=True), "elements of type object"),
    "Fortran order": (lambda data: npy(np.asfortranarray(np.zeros((5, 3, 3, 3), np.float32))), "Fortran"),
    "three axes": (lambda data: npy(np.zeros((5, 3, 9), np.float32)), "allowed axes K C R S"),
    "no element": (lambda data: npy(np.zeros((5, 3, 0, 3), np.float32)), "none of them empty"),
    "not a number": (lambda data: npy(np.full((5, 3, 3, 3), np.nan, np.float32)), "not finite"),
    "other channels": (lambda data: npy(np.ones((5, 2, 3, 3), np.float32)), "layer 'conv1': .*channels"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_a_bad_array_is_refused_even_under_its_own_hash(exact, tmp_path, name):
    change, sentence = BAD_ARRAYS[name]
    folder = exact.save(tmp_path / "net.hwnet")
    path = folder / "weights" / "conv1.weight.npy"
    data = change(path.read_bytes())
    path.write_bytes(data)
    edit(folder, put("digests/files/conv1.weight.npy", sha256(data)))
    with pytest.raises(HwsimError, match=sentence) as caught:
        load(folder)
    assert "net.hwnet" in str(caught.value)


def test_a_changed_weight_is_refused_by_its_hash(exact, tmp_path):
    folder = exact.save(tmp_path / "net.hwnet")
    path = folder / "weights" / "conv1.weight.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"conv1.weight.npy: changed since the network was written"):
        load(folder)


def test_changed_weights_under_a_new_hash_are_refused_by_their_codes(exact, tmp_path):
    folder = exact.save(tmp_path / "net.hwnet")
    path = folder / "weights" / "conv1.weight.npy"
    array = np.load(path)
    data = npy(-array)
    path.write_bytes(data)
    edit(folder, put("digests/files/conv1.weight.npy", sha256(data)))
    with pytest.raises(InputError, match=r"layer 'conv1' has other codes than when it was written"):
        load(folder)


def test_files_that_are_missing_or_too_many_are_named(exact, tmp_path):
    folder = exact.save(tmp_path / "net.hwnet")
    np.save(folder / "weights" / "extra.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"extra.npy: no layer"):
        load(folder)
    (folder / "weights" / "extra.npy").unlink()
    weight = folder / "weights" / "conv1.weight.npy"
    weight.rename(tmp_path / "elsewhere.npy")
    with pytest.raises(InputError, match=r"conv1.weight.npy is missing"):
        load(folder)
    os.symlink(tmp_path / "elsewhere.npy", weight)
    with pytest.raises(InputError, match=r"conv1.weight.npy is missing or no plain file"):
        load(folder)
    (folder / "network.json").unlink()
    with pytest.raises(InputError, match=r"holds no network.json, so it is no .hwnet"):
        load(folder)
    with pytest.raises(InputError, match=r"nowhere.hwnet: this does not exist"):
        load(tmp_path / "nowhere.hwnet")
    with pytest.raises(InputError, match=r"this is a file"):
        load(tmp_path / "elsewhere.npy")


def test_a_proof_that_an_edit_breaks_is_refused_with_the_width_that_would_do(exact, tmp_path):
    folder = exact.save(tmp_path / "net.hwnet")
    need = exact["left"].layer.numbers
    bits = max(need.exact_high.bit_length(), (-need.exact_low - 1).bit_length()) + 1
    edit(folder, lambda d: layer(d, "left")["accumulator"].update(bits=bits))
    assert load(folder).edited == ("left",)
    edit(folder, lambda d: layer(d, "left")["accumulator"].update(bits=bits - 1))
    with pytest.raises(ProofError, match=f"layer 'left'.*{bits} bits would do"):
        load(folder)


def test_a_network_that_exists_is_refused_and_forced_only_over_its_own_kind(exact, tmp_path):
    folder = exact.save(tmp_path / "net.hwnet")
    before = content(folder)
    with pytest.raises(InputError, match="exists already"):
        exact.save(folder)
    assert content(folder) == before
    changed = exact.with_bits("conv1", weights=6)
    changed.save(folder, force=True)
    assert load(folder)["conv1"].layer.contract.weight.bits == 6
    other = tmp_path / "photos"
    other.mkdir()
    (other / "me.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="not replaced even when forced"):
        exact.save(other, force=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.hwnet", "photos"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full disk", "interrupt"])
@pytest.mark.parametrize("exists", [False, True], ids=["new", "replaced"])
def test_a_failed_write_leaves_nothing_and_loses_nothing(exact, tmp_path, monkeypatch, error, exists):
    folder = tmp_path / "net.hwnet"
    if exists:
        exact.save(folder)
    before = content(folder) if exists else {}
    real, calls = write_hwnet._write, []

    def fails(path, data):
        calls.append(path)
        if len(calls) == 4:
            raise error
        real(path, data)

    monkeypatch.setattr(write_hwnet, "_write", fails)
    with pytest.raises((InputError, KeyboardInterrupt)):
        exact.with_bits("conv1", weights=5).save(folder, force=True)
    assert content(folder) == before
    assert [p.name for p in tmp_path.iterdir()] == (["net.hwnet"] if exists else [])


def test_names_of_layers_become_names_of_files_that_stay_in_the_folder():
    taken = set()
    for name in ("a/b", "a_b", "A_B", "../../x", "", "ж", "." * 5, "x" * 300):
        found = file_name(name, "weight", taken)
        assert "/" not in found and not found.startswith(".") and len(found) < 128 and found.lower() not in taken
        taken.add(found.lower())
    assert len(taken) == 8


def test_pretty_json_says_the_same_on_fewer_lines():
    value = {"a": {"bits": 8, "list": [1, 2]}, "b": [], "c": [{"x": {"y": 1}}, {}], "d": [1.5] * 40, "é": None}
    assert json.loads(pretty(value)) == value
    assert '"a": {"bits": 8, "list": [1, 2]}' in pretty(value)


@pytest.fixture
def born(exact) -> QuantizedNetwork:
    """The network without its float weights, as if it had come from a file of integers."""
    return dataclasses.replace(exact, nodes=tuple(dataclasses.replace(node, source=None) for node in exact))


def test_codes_without_float_weights_are_kept_as_they_are(exact, born, tmp_path):
    folder = born.save(tmp_path / "net.hwnet")
    opened = load(folder)
    for node in exact.mac_nodes:
        assert np.array_equal(opened[node.name].layer.weight, node.layer.weight)
        assert np.array_equal(opened[node.name].layer.bias, node.layer.bias) and opened[node.name].source is None
        assert np.load(folder / "weights" / f"{node.name}.weight.npy").dtype == node.layer.weight.dtype
    assert content(opened.save(tmp_path / "again.hwnet")) == content(folder) and not opened.edited


def test_kept_codes_that_no_longer_fit_an_edited_format_are_refused(born, tmp_path):
    folder = born.save(tmp_path / "net.hwnet")
    edit(folder, put("nodes/1/weight/bits", 6))
    with pytest.raises(HwsimError, match="layer 'conv1': convolution.weight: codes reach .* allowed -32..31"):
        load(folder)


def test_floats_that_claim_to_be_codes_are_refused(exact, tmp_path):
    folder = exact.save(tmp_path / "net.hwnet")
    edit(folder, put("nodes/1/files/codes", True))
    with pytest.raises(InputError, match="found elements of type float32, allowed int8"):
        load(folder)


def test_codes_that_claim_to_be_floats_are_refused(born, tmp_path):
    folder = born.save(tmp_path / "net.hwnet")
    edit(folder, put("nodes/1/files/codes", False))
    with pytest.raises(InputError, match="found elements of type int8, allowed float32"):
        load(folder)


def test_formats_in_the_file_are_bits_and_integer_bits():
    fmt = FixedPoint(8, -2, signed=False)
    stanza = write_hwnet.format_stanza(fmt)
    assert stanza == {"bits": 8, "integer_bits": 10, "signed": False}
    assert math.isclose(float(fmt.largest), 2.0**10, rel_tol=0.01)


ODD = (None, -1, 0, 3, 1e9, 0.5, True, "x", "../x", [], [1], [[1]], {}, {"a": 1}, 1 << 40, "TRAP")


def leaves(value, path=()):
    """Every place of the document, inner ones too."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:2]):
            yield from leaves(inner, (*path, index))


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_odd_value_anywhere_is_taken_or_gets_one_sentence(exact, tmp_path_factory, data):
    folder = exact.save(tmp_path_factory.mktemp("odd") / "net.hwnet")
    document = json.loads((folder / "network.json").read_text())
    path = data.draw(st.sampled_from([p for p in leaves(document) if p and p[0] != "digests"] + [("digests", "files")]))
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = data.draw(st.sampled_from(ODD))
    (folder / "network.json").write_text(json.dumps(document))
    try:
        opened = load(folder)
    except HwsimError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
    else:
        again = load(opened.save(folder.parent / "again.hwnet"))
        assert str(again).splitlines()[1:] == str(opened).splitlines()[1:]
