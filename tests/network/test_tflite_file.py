"""A .tflite file says here what LiteRT's own schema says of it; damaged files are refused in one sentence."""

from __future__ import annotations

import dataclasses
import re
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuzz import tflite as attack
from hwsim.errors import InputError
from hwsim.network import tflite_schema
from hwsim.network.tflite_file import parse_tflite, read_tflite_file
from support.process import run_python

litert = pytest.importorskip("oracles.litert", exc_type=ImportError)
schema, T, Op, constant = litert.schema, litert.T, litert.Op, litert.constant

CORPUS = sorted(attack.CORPUS.glob("*.tflite"))
THEIRS = {
    "fused": "fusedActivationFunction", "bias_type": "quantizedBiasType", "multiplier": "depthMultiplier",
    "keep_dims": "keepDims", "dilation_w": "dilationWFactor", "dilation_h": "dilationHFactor",
    "stride_w": "strideW", "stride_h": "strideH",
    "filter_w": "filterWidth", "filter_h": "filterHeight", "weights_format": "weightsFormat", "power_of_two": "potScaleInt16",
    "align_corners": "alignCorners", "half_pixel_centers": "halfPixelCenters", "padding": "padding", "axis": "axis",
    "beta": "beta", "alpha": "alpha",
}  # fmt: skip
"""The schema's spelling of our fields."""


def same_option(operator: Any, name: str, wanted: Any) -> bool:
    value = getattr(operator.options, name)
    if (operator.name, name) == ("MUL", "power_of_two"):
        return value is True  # MUL has no such option
    theirs = "keepNumDims" if (operator.name, name) == ("FULLY_CONNECTED", "keep_dims") else THEIRS[name]
    return (value.value if hasattr(value, "value") else value) == getattr(wanted, theirs)


def check_model(path: Path) -> None:
    ours, theirs = read_tflite_file(path), schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    graph = theirs.subgraphs[0]
    assert (ours.inputs, ours.outputs) == (tuple(graph.inputs), tuple(graph.outputs))
    assert len(ours.tensors) == len(graph.tensors) and len(ours.operators) == len(graph.operators)
    for tensor, wanted in zip(ours.tensors, graph.tensors, strict=True):
        assert (tensor.name, tensor.shape) == (wanted.name.decode(), tuple(wanted.shape))
        assert litert.KINDS[np.dtype(tensor.dtype)] == wanted.type
        scale = wanted.quantization.scale if wanted.quantization else None
        assert tensor.scales == (() if scale is None else tuple(scale.tolist()))
        assert tensor.zero_points == (() if scale is None else tuple(wanted.quantization.zeroPoint.tolist()))
        raw = theirs.buffers[wanted.buffer].data
        assert (tensor.data is None) == (raw is None)
        assert tensor.data is None or tensor.data.tobytes() == bytes(raw)
    for operator, wanted in zip(ours.operators, graph.operators, strict=True):
        code = theirs.operatorCodes[wanted.opcodeIndex]
        assert getattr(schema.BuiltinOperator, operator.name) == max(code.builtinCode, code.deprecatedBuiltinCode)
        assert operator.version == code.version
        assert (operator.inputs, operator.outputs) == (tuple(wanted.inputs), tuple(wanted.outputs))
        for field in dataclasses.fields(operator.options):
            assert same_option(operator, field.name, wanted.builtinOptions), (operator, field.name)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_a_file_says_what_the_schema_says(path: Path) -> None:
    check_model(path)


@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_128_quant", "resnet8_cifar10_int8"])
def test_real_files_say_what_the_schema_says(name: str, data_dir: Path) -> None:
    check_model(data_dir / "tflite" / f"{name}.tflite")


def test_the_names_are_the_schemas() -> None:
    for enum, names in (("BuiltinOperator", tflite_schema.BUILTIN_OPERATORS), ("TensorType", tflite_schema.TENSOR_TYPES)):
        for code, name in enumerate(names):
            assert getattr(getattr(schema, enum), name) == code
    for kind, _, _ in tflite_schema.OPTIONS.values():
        assert kind in vars(schema.BuiltinOptions).values()
    for member in tflite_schema.Fused:
        assert getattr(schema.ActivationFunctionType, member.name) == member.value


def said(data: bytes) -> list[Any]:
    """All that a file says, as data that compares."""
    model = parse_tflite(data, "x.tflite")
    tensors = [
        (t.name, t.shape, t.dtype, t.scales, t.zero_points, None if t.data is None else t.data.tolist()) for t in model.tensors
    ]
    return [tensors, model.operators, model.inputs, model.outputs]


def test_the_corpus_says_what_its_command_writes() -> None:
    """Another version of flatbuffers may lay the same tables out differently."""
    kept = {path.stem: said(path.read_bytes()) for path in CORPUS}
    assert kept == {name: said(make()) for name, make in attack.MADE.items()}


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_no_beginning_of_a_file_is_taken_for_another_model(path: Path) -> None:
    data = path.read_bytes()
    whole = parse_tflite(data, "x.tflite")
    for length in range(len(data)):
        try:
            part = parse_tflite(data[:length], "x.tflite")
        except InputError as error:
            assert str(error).startswith("x.tflite")
        else:  # what was cut off is padding
            assert part.operators == whole.operators and len(data) - length < 8


def quantized(scales=(0.5,), zeros=(3,), shape=(1, 4), dtype="int8", **fields: Any) -> bytes:
    """A RELU from one such tensor to another."""
    tensors = [T(shape, dtype, scales, zeros, name="a", **fields), T(shape, dtype, (0.5,), (3,), name="b")]
    return litert.build(tensors, [Op("RELU", (0,), (1,))], [0], [1])


def edited(edit) -> bytes:
    """The model of quantized(), changed through the schema's objects."""
    model = schema.ModelT.InitFromPackedBuf(quantized(), 0)
    edit(model)
    builder = litert.flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def put(name: str, value: Any, of=lambda model: model.subgraphs[0].tensors[0]) -> bytes:
    return edited(lambda model: setattr(of(model), name, value))


def code(model: Any) -> Any:
    return model.operatorCodes[0]


def code_is(number: int) -> bytes:
    def edit(model: Any) -> None:
        code(model).builtinCode, code(model).deprecatedBuiltinCode = number, min(number, 127)

    return edited(edit)


def outside(model: Any) -> None:
    model.subgraphs[0].tensors[0].buffer = 0
    model.buffers[0].offset, model.buffers[0].size = 1000, 1 << 62


REFUSED = {
    "no identifier": (b"\x08\0\0\0ONNX" + bytes(40), "TFL3"),
    "empty": (b"", "too few"),
    "a lying root": (b"\xff\xff\xff\x7fTFL3" + bytes(40), "truncated or damaged"),
    "a scale of zero": (quantized(scales=(0.0,)), r"tensor 0 'a': found the scale 0\.0"),
    "a negative scale": (quantized(scales=(-1.0,)), "found the scale -1"),
    "an infinite scale": (quantized(scales=(np.inf,)), "found the scale inf"),
    "no scale at all": (quantized(scales=(np.nan,)), "found the scale nan"),
    "a zero point outside": (quantized(zeros=(128,)), r"zero point 128, allowed -128\.\.127 with int8"),
    "another type's zero point": (quantized(zeros=(-1,), dtype="uint8"), r"zero point -1, allowed 0\.\.255"),
    "scales of no axis": (quantized(scales=(1.0, 2.0), zeros=(0, 0)), "2 scales for axis 0 of shape"),
    "three zero points": (quantized(scales=(1.0, 2.0), zeros=(0, 0, 0), shape=(2, 4)), "3 zero points for 2 scales"),
    "too few numbers": (quantized(data=np.zeros((1, 3), np.int8)), "needs 4 bytes, the file holds 3"),
    "an open height": (put("shape", [1, -1]), r"shape \(1, -1\)"),
    "no width": (put("shape", [1, 0]), r"shape \(1, 0\)"),
    "an open signature": (put("shapeSignature", [1, -1]), "fixed input shape"),
    "too many axes": (put("shape", [1] * 9), "9 axes"),
    "too many numbers": (put("shape", [1 << 20, 1 << 20]), "fixed extents"),
    "texts": (put("type", 5), "type STRING"),
    "half floats": (put("type", 1), "type FLOAT16"),
    "an unknown type": (put("type", 77), "type 77"),
    "a variable": (put("isVariable", True), "variable"),
    "an unknown buffer": (put("buffer", 9), "buffer 9"),
    "numbers outside the file": (edited(outside), "said to be at bytes"),
    "an operator we do not run": (code_is(16), "operator code 0: found the operator LSTM"),
    "an unknown operator": (code_is(5000), "operator code 5000"),
    "a custom operator": (code_is(32), "custom operator"),
    "two subgraphs": (edited(lambda m: m.subgraphs.append(m.subgraphs[0])), "2 subgraphs"),
    "another schema": (put("version", 2, lambda m: m), "version 2"),
    "an input beyond": (
        put("inputs", [7], lambda m: m.subgraphs[0].operators[0]),
        r"operator 0 \(RELU\): its inputs name tensor 7",
    ),
    "an output of none": (put("outputs", [-1], lambda m: m.subgraphs[0].operators[0]), "outputs name tensor -1"),
    "a code beyond": (put("opcodeIndex", 3, lambda m: m.subgraphs[0].operators[0]), "operator code 3"),
    "shared without end": (attack.sharing(), "overlap"),
}


@pytest.mark.parametrize("data, why", REFUSED.values(), ids=REFUSED)
def test_a_damaged_file_is_refused_in_one_sentence(data: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_tflite_file(path)
    assert re.search(why, str(caught.value)) and str(caught.value).startswith(str(path))


def test_the_number_of_images_may_be_open() -> None:
    assert parse_tflite(put("shapeSignature", [-1, 4]), "x").tensors[0].shape == (1, 4)


@pytest.mark.parametrize("activation, why", [(4, "fused activation 4"), (5, "NONE, RELU, RELU_N1_TO_1, RELU6")])
def test_an_activation_we_do_not_run_is_named(activation: int, why: str) -> None:
    tensors = [T((1, 4), "int8", (0.5,), (3,)) for _ in range(2)]
    data = litert.build(tensors, [Op("ADD", (0, 0), (1,), "AddOptions", {"fusedActivationFunction": activation})], [0], [1])
    with pytest.raises(InputError, match=why):
        parse_tflite(data, "x.tflite")


def test_options_of_another_operator_are_refused() -> None:
    tensors = [T((1, 4), "int8", (0.5,), (3,)) for _ in range(2)]
    data = litert.build(tensors, [Op("ADD", (0, 0), (1,), "MulOptions", {})], [0], [1])
    with pytest.raises(InputError, match="options of kind 21, allowed 11"):
        parse_tflite(data, "x.tflite")


def test_a_large_models_numbers_stand_behind_its_tables() -> None:
    values = np.arange(-2, 2, dtype=np.int8)
    model = schema.ModelT.InitFromPackedBuf(quantized(), 0)
    model.subgraphs[0].tensors[0].buffer, model.buffers = 1, [schema.BufferT(), schema.BufferT()]
    model.buffers[1].offset, model.buffers[1].size = 4096, 4
    builder = litert.flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    data = bytes(builder.Output()).ljust(4096, b"\0") + values.tobytes()
    found = parse_tflite(data, "x.tflite").tensors[0].data
    assert found is not None and np.array_equal(found.ravel(), values)


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited by Linux")
def test_a_lying_length_takes_no_memory(tmp_path: Path) -> None:
    """Each word of a good file in turn says four thousand million."""
    path = tmp_path / "net.tflite"
    path.write_bytes(CORPUS[0].read_bytes())
    program = f"""
import resource, struct
from hwsim.errors import InputError
from hwsim.network.tflite_file import parse_tflite
good = open({str(path)!r}, "rb").read()
parse_tflite(good, "x")
resource.setrlimit(resource.RLIMIT_AS, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + (1 << 31),) * 2)
for at in range(0, len(good) - 4, 4):
    data = good[:at] + struct.pack("<I", 0xFFFFFFF0) + good[at + 4:]
    try:
        parse_tflite(data, "x")
    except InputError:
        pass
print("fine")
"""
    assert "fine" in run_python("-c", program).stdout


def test_a_file_beyond_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.tflite").open("wb") as file:
        file.truncate(3 << 30)  # a hole: it takes no disk
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="larger than the 2,147,483,647 bytes"):
            read_tflite_file(tmp_path / "huge.tflite")
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
