"""From a .tflite file to a network: what enters, what it is called, and what is refused, in one sentence that names it."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwsim
from fuzz import tflite as attack
from hwsim.errors import HwsimError, InputError
from hwsim.execute.plan import Plan
from hwsim.network.quantized import QuantizedNetwork
from support.process import hwsim_command

litert = pytest.importorskip("oracles.litert", exc_type=ImportError)
models = pytest.importorskip("oracles.tflite_models", exc_type=ImportError)
T, Op, constant = litert.T, litert.Op, litert.constant

CORPUS = sorted(attack.CORPUS.glob("*.tflite"))


def image(
    dtype: str = "int8", shape: tuple[int, ...] = (1, 4, 4, 3), scale: float = 0.5, zero: int = 0, name: str = "image"
) -> Any:
    return T(shape, dtype, (scale,), (zero,), name=name)


def model(*tensors: Any, ops: list[Any], inputs: tuple[int, ...] = (0,), outputs: tuple[int, ...] = (-1,)) -> bytes:
    return litert.build(tensors, ops, inputs, [i % len(tensors) for i in outputs])


def one(code: str, *tensors: Any, options: str = "", **fields: Any) -> bytes:
    """A single operator that reads all tensors but the last."""
    last = len(tensors) - 1
    return model(*tensors, ops=[Op(code, tuple(range(last)), (last,), options, fields)])


def saved(data: bytes, folder: Path) -> Path:
    path = folder / "net.tflite"
    path.write_bytes(data)
    return path


def opened(data: bytes, folder: Path, **said: Any) -> QuantizedNetwork:
    found = hwsim.read(saved(data, folder), **said)
    assert isinstance(found, QuantizedNetwork)
    return found


PIXELS = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)


@pytest.mark.parametrize("dtype, zero", [("uint8", 0), ("uint8", 130), ("int8", -128), ("int8", 17)])
def test_a_pixel_is_a_code(dtype: str, zero: int, tmp_path: Path) -> None:
    whole = image(dtype, (1, 16, 16, 1), 0.37, zero)
    q = opened(
        one("MAXIMUM", whole, constant(np.full((1, 1, 1, 1), models.LIMITS[dtype][0], dtype), (0.37,), (zero,)), whole), tmp_path
    )
    plan = Plan(q, "auto")
    plan.run(PIXELS)
    found = plan.buffers["image"].codes[0].astype(int)
    assert np.array_equal(found, PIXELS[0].astype(int) + models.LIMITS[dtype][0])
    assert q.preprocessing.real(PIXELS[0]).ravel() == pytest.approx((found.ravel() - zero) * 0.37)


@pytest.mark.parametrize("backend", ["auto", "jit", "spec"])
def test_mean_and_scale_say_what_a_pixel_means(backend: str, tmp_path: Path) -> None:
    whole = image("int8", (1, 16, 16, 1), 0.02, 5)
    q = opened(one("RELU6", whole, whole), tmp_path, mean=(120.5,), scale=1 / 64)
    plan = Plan(q, backend)
    plan.run(PIXELS)
    step = Fraction(float(np.float32(float(np.float32(1 / 64)) / float(np.float32(0.02)))))
    for pixel, code in zip(PIXELS.ravel().tolist(), plan.buffers["image"].codes.ravel().tolist(), strict=True):
        exact = (Fraction(pixel) - Fraction(241, 2)) * step
        nearest = int(abs(exact) + Fraction(1, 2)) * (1 if exact >= 0 else -1)
        assert code == min(max(nearest + 5, -128), 127), pixel


def test_floats_at_the_ends_are_left_out(tmp_path: Path) -> None:
    """The codes between them are LiteRT's where the real numbers are those that the codes stand for."""
    floats = T((1, 16, 16, 1), "float32", name="floats")
    codes, answer = image("int8", (1, 16, 16, 1), 0.5, 3), image("int8", (1, 16, 16, 1), 0.25, -7, "answer")
    last = T((1, 16, 16, 1), "float32")
    ops = [
        Op("QUANTIZE", (0,), (1,), "QuantizeOptions"),
        Op("RELU6", (1,), (2,)),
        Op("DEQUANTIZE", (2,), (3,), "DequantizeOptions"),
    ]
    data = model(floats, codes, answer, last, ops=ops)
    with pytest.raises(InputError, match="takes floats; say with mean and scale"):
        opened(data, tmp_path)
    q, reference = opened(data, tmp_path, mean=(131.0,), scale=0.5), litert.Reference(data)
    assert [node.layer.kind for node in q] == ["image_encoding", "rescale"]
    reference.run((PIXELS.reshape(1, 16, 16, 1).astype(np.float32) - 131) * np.float32(0.5))
    assert np.array_equal(Plan(q, "auto").run(PIXELS)[0], reference.tensor(2).ravel())


def test_names_are_the_first_that_the_converter_joined_and_differ(tmp_path: Path) -> None:
    tensors = [image(), *(image(name="net/conv;net/relu") for _ in range(3)), image(name="")]
    ops = [Op("RELU", (i,), (i + 1,)) for i in range(4)]
    q = opened(model(*tensors, ops=ops), tmp_path)
    assert [node.name for node in q] == ["image", "net/conv", "net/conv_2", "net/conv_3", "t4"]


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_a_network_is_the_same_once_saved(path: Path, tmp_path: Path) -> None:
    q = hwsim.read(path)
    assert isinstance(q, QuantizedNetwork)
    again = hwsim.load(q.save(tmp_path / "net.hwnet"))
    assert json.dumps([node.to_json() for node in again]) == json.dumps([node.to_json() for node in q])
    pixels = np.random.default_rng(0).integers(0, 256, (2, *q.input_shape), dtype=np.uint8)
    assert np.array_equal(Plan(q, "auto", 2).run(pixels), Plan(again, "auto", 2).run(pixels))


def conv(weights: Any = None, bias: Any = None, source: Any = None, out: Any = None, **fields: Any) -> bytes:
    """A convolution 3 x 3 from 3 to 2 channels, with something wrong."""
    source, out = source or image(), out or image(shape=(1, 4, 4, 2))
    weights = weights or constant(np.ones((2, 3, 3, 3), np.int8), (0.1,), (0,))
    bias = bias or constant(np.zeros(2, np.int32), (0.05,), (0,))
    fields = {"strideH": 1, "strideW": 1} | fields
    return model(source, weights, bias, out, ops=[Op("CONV_2D", (0, 1, 2), (3,), "Conv2DOptions", fields)])


def ones(
    shape: tuple[int, ...], dtype: str = "int8", scales: tuple[float, ...] = (0.1,), zeros: tuple[int, ...] = (0,), axis: int = 0
) -> Any:
    return constant(np.ones(shape, dtype), scales, zeros, axis)


FLOAT = T((1, 4, 4, 3), "float32")
ROW = image(shape=(1, 48))
SIZE = constant(np.array([1, 48], np.int32))
BIAS = constant(np.zeros(2, np.int32), (0.05,), (0,))
REFUSED = {
    "floats": (one("RELU", FLOAT, FLOAT), "'t0' is float32 with 0 scales; allowed are uint8, int8 and int16"),
    "two inputs": (model(image(), image(), image(), ops=[Op("MAXIMUM", (0, 1), (2,))], inputs=(0, 1)), "2 inputs, allowed one"),
    "two outputs": (model(image(), image(), ops=[Op("RELU", (0,), (1,))], outputs=(0, 1)), r"outputs \(0, 1\); allowed is one"),
    "two channels": (
        one("RELU", image(shape=(1, 4, 4, 2)), image(shape=(1, 4, 4, 2))),
        r"\(2, 4, 4\).*images of 1 or 3 channels",
    ),
    "two images": (one("RELU", image(shape=(2, 4, 4, 3)), image(shape=(2, 4, 4, 3))), r"\(2, 4, 4, 3\).*one image at a time"),
    "a cube": (one("RELU", image(shape=(1, 4, 4, 3, 1)), image()), "one image at a time"),
    "16 bits": (one("RELU", image("int16"), image("int16")), "say with mean and scale what a pixel means"),
    "an operator in floats": (
        model(image(), FLOAT, FLOAT, ops=[Op("DEQUANTIZE", (0,), (1,), "DequantizeOptions"), Op("RELU", (1,), (2,))]),
        r"operator 0 \(DEQUANTIZE\)",
    ),
    "what nobody computes": (model(image(), image(), image(), ops=[Op("MAXIMUM", (1, 0), (2,))]), "'image' is no constant"),
    "what is computed twice": (model(image(), image(), ops=[Op("RELU", (0,), (1,))] * 2), "has written before"),
    "types that differ": (one("RELU", image(), image("uint8")), "reads int8 and writes uint8"),
    "a shape that lies": (
        one("RELU", image(), image(shape=(1, 4, 5, 3))),
        r"gives \(3, 4, 4\), but its tensor 'image' is said to be",
    ),
    "weights with a zero point": (conv(ones((2, 3, 3, 3), zeros=(1,))), "int8 weights with a zero point"),
    "floats for weights": (conv(constant(np.ones((2, 3, 3, 3), np.float32))), "weights of float32"),
    "weights without a scale": (conv(ones((2, 3, 3, 3), scales=(), zeros=())), "0 scales"),
    "scales of another axis": (
        conv(ones((2, 3, 3, 3), scales=(0.1,) * 3, zeros=(0,) * 3, axis=3)),
        "axis 3 of the weights, allowed 0",
    ),
    "scales per channel with uint8": (
        conv(ones((2, 3, 3, 3), "uint8", (0.1, 0.2), (0, 0)), source=image("uint8"), out=image("uint8", (1, 4, 4, 2))),
        "one scale per channel with uint8",
    ),
    "too many weights": (conv(ones((2, 3, 3, 4))), r"weights of shape \(2, 3, 3, 4\) for 3 input channels"),
    "weights of two axes": (conv(ones((2, 27))), r"has shape \(2, 27\); allowed is a constant of 4 axes"),
    "weights that are computed": (conv(image(shape=(2, 3, 3, 3))), "is no constant"),
    "a wide bias": (conv(bias=constant(np.zeros(2, np.int64), (0.05,), (0,))), "2 x int64, allowed 2 x int32"),
    "a short bias": (conv(bias=constant(np.zeros(1, np.int32), (0.05,), (0,))), "1 x int32, allowed 2 x int32"),
    "a bias with a zero point": (
        conv(bias=constant(np.zeros(2, np.int32), (0.05,), (3,))),
        r"with zero points \(3,\), allowed 2 x int32 without",
    ),
    "no stride": (conv(strideH=0), r"stride \(0, 1\)"),
    "no dilation": (conv(dilationWFactor=-1), r"dilation \(1, -1\)"),
    "a stride beyond": (conv(strideW=1 << 30), "stride"),
    "a kernel beyond the image": (conv(ones((2, 9, 9, 3)), padding=1), "does not fit"),
    "a depth multiplier that lies": (
        model(
            image(),
            ones((1, 3, 3, 6)),
            BIAS,
            image(shape=(1, 4, 4, 6)),
            ops=[
                Op(
                    "DEPTHWISE_CONV_2D",
                    (0, 1, 2),
                    (3,),
                    "DepthwiseConv2DOptions",
                    {"strideH": 1, "strideW": 1, "depthMultiplier": 3},
                )
            ],
        ),
        r"depth multiplier 3 and 3 input channels, allowed \(1, R, S, 9\)",
    ),
    "a row of other length": (
        model(
            image(),
            ones((2, 47)),
            BIAS,
            image(shape=(1, 2)),
            ops=[Op("FULLY_CONNECTED", (0, 1, 2), (3,), "FullyConnectedOptions")],
        ),
        r"\(2, 47\) for an input of 48 numbers",
    ),
    "shuffled weights": (
        model(
            image(),
            ones((2, 48)),
            BIAS,
            image(shape=(1, 2)),
            ops=[Op("FULLY_CONNECTED", (0, 1, 2), (3,), "FullyConnectedOptions", {"weightsFormat": 1})],
        ),
        "shuffled weights",
    ),
    "sums beyond int32": (
        model(
            image(),
            ones((2, 48)),
            constant(np.full(2, 1 << 30, np.int32), (0.05,), (0,)),
            image(shape=(1, 2), scale=1e-3),
            ops=[Op("FULLY_CONNECTED", (0, 1, 2), (3,), "FullyConnectedOptions")],
        ),
        r"nothing sensible beyond 2\*\*31",
    ),
    "a flattened image that is pooled": (
        model(image(), SIZE, ROW, ROW, ops=[Op("RESHAPE", (0, 1), (2,)), Op("RELU", (2,), (3,))]),
        "reads a flattened image",
    ),
    "an image turned on its side": (
        model(image(shape=(1, 2, 8, 3)), SIZE, image(), ops=[Op("RESHAPE", (0, 1), (2,))]),
        "allowed is to flatten",
    ),
    "a reshape that loses codes": (
        model(image(), SIZE, image(shape=(1, 47)), ops=[Op("RESHAPE", (0, 1), (2,))]),
        "another format or size",
    ),
    "a pool between scales": (
        one(
            "MAX_POOL_2D", image(), image(scale=0.6), options="Pool2DOptions", strideH=1, strideW=1, filterHeight=1, filterWidth=1
        ),
        "allowed is one scale and zero point for both",
    ),
    "a window of nothing": (
        one("MAX_POOL_2D", image(), image(), options="Pool2DOptions", strideH=1, strideW=1),
        r"window \(0, 0\)",
    ),
    "a maximum between scales": (
        one("MAXIMUM", image(), ones((1, 1, 1, 3), scales=(0.6,)), image()),
        "one scale and zero point for all",
    ),
    "a sum of constants": (
        one("ADD", constant(np.ones(3, np.int8), (0.5,), (0,)), ones((3,)), image(), options="AddOptions"),
        "",
    ),
    "three to add": (one("ADD", image(), ones((3,)), ones((3,)), image(), options="AddOptions"), "3 inputs"),
    "a fine sum": (one("ADD", image(), ones((3,)), image(scale=1e-9), options="AddOptions"), "the kernel refuses it"),
    "int8 joined between scales": (
        one("CONCATENATION", image(), image(shape=(1, 4, 4, 6), scale=0.4), options="ConcatenationOptions", axis=3),
        "allowed is one scale and zero point",
    ),
    "rows joined": (
        model(image(), image(shape=(1, 8, 4, 3)), ops=[Op("CONCATENATION", (0, 0), (1,), "ConcatenationOptions", {"axis": 1})]),
        "allowed are channels, the last",
    ),
    "probabilities of another scale": (one("SOFTMAX", image(), image(), options="SoftmaxOptions", beta=1.0), "scale 1/256"),
    "no temperature": (
        one("SOFTMAX", image(), image(scale=1 / 256, zero=-128), options="SoftmaxOptions", beta=0.0),
        r"SOFTMAX\)",
    ),
    "a curve of another scale": (one("LOGISTIC", image(), image()), "allowed 1/256"),
    "a negative slope": (one("LEAKY_RELU", image(), image(), options="LeakyReluOptions", alpha=-0.5), "alpha -0.5"),
    "slopes for pixels": (one("PRELU", image(), ones((4, 4, 3)), image()), r"slopes of shape \(4, 4, 3\)"),
    "a mean of channels": (
        one(
            "MEAN", image(), constant(np.array([3], np.int32)), image(shape=(1, 4, 4, 1)), options="ReducerOptions", keepDims=True
        ),
        r"over axes \[3\], allowed N H W C over 1, 2",
    ),
    "images padded": (
        one("PAD", image(), constant(np.array([[1, 0], [0, 0], [0, 0], [0, 0]], np.int32)), image(), options="PadOptions"),
        "none of them for images",
    ),
    "a negative pad": (
        one("PAD", image(), constant(np.array([[0, 0], [-1, 0], [0, 0], [0, 0]], np.int32)), image(), options="PadOptions"),
        "four pairs from 0",
    ),
    "no size": (
        one(
            "RESIZE_NEAREST_NEIGHBOR",
            image(),
            constant(np.array([0, 4], np.int32)),
            image(),
            options="ResizeNearestNeighborOptions",
        ),
        r"size \[0, 4\]",
    ),
}


@pytest.mark.parametrize("data, why", REFUSED.values(), ids=REFUSED)
def test_what_hwsim_does_not_run_is_refused_in_one_sentence(data: bytes, why: str, tmp_path: Path) -> None:
    path = saved(data, tmp_path)
    with pytest.raises(HwsimError) as caught:
        hwsim.read(path)
    said = str(caught.value)
    assert re.search(why, said) and "net" in said and said.endswith("."), said


def test_another_dialect_gives_what_another_device_would(data_dir: Path) -> None:
    path = data_dir / "tflite" / "resnet8_cifar10_int8.tflite"
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    codes = {}
    for dialect in (hwsim.dialects.TFLITE, hwsim.dialects.TFLITE_SINGLE, hwsim.dialects.TOSA, hwsim.dialects.CMSIS_NN):
        q = hwsim.read(path, dialect=dialect)
        assert isinstance(q, QuantizedNetwork) and q.dialect == dialect.name
        plan = Plan(q, "auto", 4)
        plan.run(pixels)
        codes[dialect.name] = {node.name: plan.buffers[node.name].codes.copy() for node in q}
    wanted = codes["tflite"]
    assert sum(int((codes["tflite_single"][name] != wanted[name]).sum()) for name in wanted) >= 100
    # TOSA's double rounding is TensorFlow Lite's wherever no left shift wraps; only the fully connected layer is in doubles
    assert [name for name in wanted if (codes["tosa"][name] != wanted[name]).any()] in (
        [],
        ["model/dense/MatMul", "Identity_int8"],
    )


@pytest.mark.parametrize("name", ["EXACT32", "ONNXRUNTIME"])
def test_a_dialect_that_scales_no_codes_by_integers_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="does not scale affine codes by integers"):
        hwsim.read(CORPUS[0], dialect=getattr(hwsim.dialects, name))


def test_other_files_take_no_dialect(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found dialect='tflite', allowed a Dialect, as hwsim.dialects.TFLITE"):
        hwsim.read(CORPUS[0], dialect="tflite")  # type: ignore[call-overload]
    with pytest.raises(InputError, match="only a .tflite file takes one here"):
        hwsim.read(tmp_path / "net.onnx", dialect=hwsim.dialects.TFLITE)


def test_weights_beside_a_tflite_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give it alone"):
        hwsim.read(CORPUS[0], tmp_path / "w.caffemodel")


@pytest.mark.slow
def test_the_command_line_takes_a_tflite_file(tmp_path: Path) -> None:
    net, data = str(CORPUS[0]), tmp_path / "images.npz"
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8), dtype=np.uint8)
    np.savez(data, images=pixels, labels=np.arange(6) % 4)
    for words in (
        ("show", net), ("run", net, "--input", str(data)), ("score", net, "--data", str(data), "--label-offset", "1"),
        ("vectors", net, "--input", str(data), "--out", "pkg"), ("check", "pkg"),
        ("explain", net, "--input", str(data), "--layer", "conv", "--at", "0,1,2,3"),
    ):  # fmt: skip
        run = hwsim_command(*words, cwd=tmp_path)
        assert run.returncode == 0 and not run.stderr, (words, run.stderr)
    beyond = hwsim_command("score", net, "--data", str(data), "--label-offset", "2", cwd=tmp_path)
    assert beyond.returncode == 2 and "label 5 with label_offset 2, allowed 0..4" in beyond.stderr


def test_a_damaged_tflite_file_ends_the_command_with_2(tmp_path: Path) -> None:
    path = saved(CORPUS[0].read_bytes()[:700], tmp_path)
    run = hwsim_command("show", str(path))
    assert run.returncode == 2 and run.stderr.startswith(f"hwsim: {path}: ") and run.stderr.count("\n") == 1
