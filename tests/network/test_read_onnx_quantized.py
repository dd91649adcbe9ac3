"""Quantized ONNX graphs: the codes that hwsim computes are onnxruntime's, bit for bit, on every backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.formats import Affine, FixedPoint
from hwsim.network import read
from support.onnx_files import model, run, save

pytestmark = pytest.mark.usefixtures("onnxruntime")
RNG = np.random.default_rng(29)
SHAPE = (3, 9, 11)
PIXELS = RNG.integers(0, 256, (2, *SHAPE), dtype=np.uint8)
f32, u8, s8 = np.float32, np.uint8, np.int8

C = {
    "xs": f32(0.05), "xz": u8(128), "ys": f32(0.37), "yz": u8(100), "zs": f32(0.0311), "zz": u8(7), "lz": u8(0),
    "w": RNG.integers(-128, 128, (8, 3, 3, 3)).astype(s8), "ws": f32(0.01), "wz": s8(0), "bz": np.int32(0),
    "b": RNG.integers(-9000, 9000, 8).astype(np.int32), "bs": f32(0.05) * f32(0.01),
    "kws": RNG.uniform(0.002, 0.02, 8).astype(f32), "kwz": np.zeros(8, s8), "bf": RNG.normal(size=8).astype(f32),
    "m": RNG.integers(-128, 128, (99, 4)).astype(s8), "ms": RNG.uniform(0.002, 0.02, 4).astype(f32), "mz": np.zeros(4, s8),
    "six": f32(6), "zero": f32(0),
}  # fmt: skip
C["kbs"], C["kbz"] = C["xs"] * C["kws"], np.zeros(8, np.int32)

IN = [("QuantizeLinear", "x xs xz", "xq"), ("DequantizeLinear", "xq xs xz", "xd")]
W = [("DequantizeLinear", "w ws wz", "wd"), ("DequantizeLinear", "b bs bz", "bd")]
KW = [("DequantizeLinear", "w kws kwz", "wd", {"axis": 0}), ("DequantizeLinear", "b kbs kbz", "bd", {"axis": 0})]


def quantized(tensor, scale="ys", zero="yz", output="y"):
    return [("QuantizeLinear", f"{tensor} {scale} {zero}", output)]


def constants(nodes):
    used = {name for node in nodes for name in node[1].split()}
    return {name: value for name, value in C.items() if name in used}


def built(nodes, shape=("N", *SHAPE), **options):
    return model(nodes, constants(nodes), shape, **options)


def codes_of(folder, made, pixels=PIXELS, backend="jit", **wish):
    """(network, its last codes)."""
    network = read(save(made, folder), **wish)
    return network, hwsim.run(network, pixels, backend=backend)[network.nodes[-1].name].codes


def real(pixels, scale, zero):
    """What the pixels are worth: a pixel is a code, counted from the lowest."""
    return (pixels.astype(np.float64) - float(zero)).astype(f32) * f32(scale)


def agree(folder, made, optimized=True, pixels=PIXELS):
    network, got = codes_of(folder, made)
    (expected,) = run(made, real(pixels, C["xs"], C["xz"]), optimized)
    np.testing.assert_array_equal(got.reshape(expected.shape), expected)
    return network


CONV = {"pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2]}


@pytest.mark.parametrize("weights", [W, KW], ids=["per tensor", "per channel"])
@pytest.mark.parametrize("attributes", [{}, CONV], ids=["plain", "attributes"])
def test_a_convolution_between_qdq_is_qlinearconv(tmp_path, weights, attributes):
    network = agree(tmp_path, built([*IN, *weights, ("Conv", "xd wd bd", "c", attributes), *quantized("c")]))
    assert [node.name for node in network] == ["QuantizeLinear_0", "Conv_4"]
    assert network.dialect == "onnxruntime" and network["Conv_4"].layer.input_formats == (Affine(8, float(C["xs"]), 128, False),)


def test_a_float_bias_is_put_on_the_products_grid(tmp_path):
    agree(tmp_path, built([*IN, *W[:1], ("Conv", "xd wd bf", "c"), *quantized("c")]))


def test_relu_and_relu6_behind_a_convolution_are_its_clamp(tmp_path):
    nodes = [*IN, *W, ("Conv", "xd wd bd", "c"), ("Relu", "c", "r"), *quantized("r", "ys", "lz")]
    agree(tmp_path, built(nodes))
    nodes = [*IN, *W, ("Conv", "xd wd bd", "c"), ("Clip", "c zero six", "r"), *quantized("r", "zs", "lz")]
    network = agree(tmp_path, built(nodes))
    assert network.nodes[-1].layer.contract.output.clamp_high == 193  # 6 / 0.0311 = 192.9


def test_graphs_are_float_arithmetic_where_nothing_is_fused(tmp_path):
    """Without optimizations onnxruntime sums a QDQ graph's products in float32: what differs is a code by one, seldom."""
    made = built([*IN, *W, ("Conv", "xd wd bd", "c"), *quantized("c")])
    _, got = codes_of(tmp_path, made)
    (expected,) = run(made, real(PIXELS, C["xs"], C["xz"]), optimized=False)
    assert np.abs(got.astype(int) - expected.astype(int)).max() <= 1


def dense(kind, inputs, attributes=None):
    pooled = [("Slice", "xd s0 s1 ax", "sl"), ("Flatten", "sl", "fl")]
    weights = [("DequantizeLinear", "m ms mz", "md", {"axis": 1})]
    return [*IN, *pooled, *weights, (kind, inputs, "c", attributes or {}), *quantized("c")]


@pytest.mark.parametrize("kind", ["Gemm", "MatMul"])
def test_a_matrix_product_behind_a_flatten(tmp_path, kind):
    nodes = dense(kind, "fl md")
    extra = {"s0": np.array([0]), "s1": np.array([1]), "ax": np.array([1])}
    made = model(nodes, constants(nodes) | extra, (1, *SHAPE))
    network, got = codes_of(tmp_path, made, PIXELS[:1])
    (expected,) = run(made, real(PIXELS[:1], C["xs"], C["xz"]))
    np.testing.assert_array_equal(got.reshape(expected.shape), expected)
    assert network.shapes()[network.nodes[-1].name] == (4, 1, 1)


def test_weights_that_are_transposed_or_passed_on_stay_codes(tmp_path):
    """What PyTorch exports: a matrix stored with its outputs first, then turned."""
    nodes = dense("MatMul", "fl turned")
    at = next(i for i, node in enumerate(nodes) if node[2] == "md")
    nodes[at : at + 1] = [
        ("DequantizeLinear", "n ms mz", "nd", {"axis": 0}),
        ("Identity", "nd", "same"),
        ("Transpose", "same", "turned", {"perm": [1, 0]}),
    ]
    extra = {"s0": np.array([0]), "s1": np.array([1]), "ax": np.array([1]), "n": C["m"].T.copy()}
    made = model(nodes, constants(nodes) | extra, (1, *SHAPE))
    network, got = codes_of(tmp_path, made, PIXELS[:1])
    (expected,) = run(made, real(PIXELS[:1], C["xs"], C["xz"]))
    np.testing.assert_array_equal(got.reshape(expected.shape), expected)
    np.testing.assert_array_equal(network.nodes[-1].layer.weight, C["m"].T)


TWO = [("QuantizeLinear", "p zs zz", "pq"), ("DequantizeLinear", "pq zs zz", "pd")]


TIES = {"xs": f32(0.3), "zs": f32(0.1), "ys": f32(0.2)}


def needs_fma():
    flags = Path("/proc/cpuinfo")
    if not flags.exists() or " fma " not in flags.read_text():
        pytest.skip("this processor has no fused multiply-add: onnxruntime takes another kernel for QLinearAdd")


def combined(tmp_path, nodes, optimized=True, **changed):
    """The image and its maxima, combined: many pairs of codes, in formats whose quotients often are ties."""
    pool = ("MaxPool", "xd", "p", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})
    whole = [*IN, pool, *TWO, *nodes]
    made = model(whole, constants(whole) | {k: v for k, v in (TIES | changed).items() if k in constants(whole)}, ("N", 3, 40, 50))
    images = RNG.integers(0, 256, (2, 3, 40, 50), dtype=np.uint8)
    network, got = codes_of(tmp_path, made, images)
    (expected,) = run(made, real(images, f32(changed.get("xs", TIES["xs"])), C["xz"]), optimized)
    np.testing.assert_array_equal(got, expected)
    return network


def test_a_sum_of_two_is_qlinearadd(tmp_path):
    needs_fma()
    combined(tmp_path, [("Add", "xd pd", "c"), *quantized("c")])


def test_a_product_of_two_is_qlinearmul(tmp_path):
    combined(tmp_path, [("Mul", "xd pd", "c"), *quantized("c")], ys=f32(1.7))


@pytest.mark.parametrize("optimized", [True, False])
def test_sums_that_nothing_fuses_are_float32_step_by_step(tmp_path, optimized):
    combined(tmp_path, [("Add", "xd pd", "c"), ("Relu", "c", "r"), *quantized("r")], optimized)
    combined(tmp_path, [("Sum", "xd pd xd", "c"), *quantized("c")], optimized, ys=f32(0.7))
    combined(tmp_path, [("Mul", "xd xd", "c"), *quantized("c")], optimized, ys=f32(2.9))
    combined(tmp_path, [("Mul", "xd pd", "c"), ("Clip", "c zero six", "r"), *quantized("r")], optimized)


def test_a_maximum_is_taken_of_codes(tmp_path):
    nodes = [("QuantizeLinear", "p xs xz", "p2q"), ("DequantizeLinear", "p2q xs xz", "p2"), ("Max", "xd p2", "c")]
    network = combined(tmp_path, [*nodes, *quantized("c", "xs", "xz")])
    assert network.nodes[-1].layer.kind == "eltwise_max"


EVERY_CODE = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)


@pytest.mark.parametrize("kind", ["Sigmoid", "Tanh", "LeakyRelu"])
def test_curves_are_tables_of_every_code(tmp_path, kind):
    attributes = [{"alpha": 0.13}] if kind == "LeakyRelu" else []
    nodes = [*IN, (kind, "xd", "c", *attributes), *quantized("c", "zs" if kind == "LeakyRelu" else "cs", "zz")]
    made = model(nodes, constants(nodes) | ({} if kind == "LeakyRelu" else {"cs": f32(1 / 127)}), ("N", 1, 16, 16))
    network, got = codes_of(tmp_path, made, EVERY_CODE)
    (expected,) = run(made, real(EVERY_CODE, C["xs"], C["xz"]))
    np.testing.assert_array_equal(got, expected)
    assert network.nodes[-1].layer.kind == "lookup_table"


def test_a_windows_average_is_one_float32_multiplication(tmp_path):
    """onnxruntime's QLinearAveragePool divides in float32: codes differ by one at most, and only beside ties."""
    nodes = [*IN, ("AveragePool", "xd", "c", {"kernel_shape": [3, 2], "strides": [2, 1]}), *quantized("c", "zs", "zz")]
    made = built(nodes)
    _, got = codes_of(tmp_path, made)
    (expected,) = run(made, real(PIXELS, C["xs"], C["xz"]))
    windows = np.lib.stride_tricks.sliding_window_view(PIXELS.astype(np.int64) - 128, (3, 2), (2, 3))[:, :, ::2]
    exact = windows.sum((4, 5)) / 6 * np.float64(C["xs"]) / np.float64(C["zs"]) + 7
    sure = np.abs(exact - np.floor(exact) - 0.5) > 1e-4
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(got[sure], expected[sure])
    np.testing.assert_array_equal(got[sure], np.clip(np.rint(exact), 0, 255)[sure])


def test_a_transpose_convolution_scatters_in_integers(tmp_path):
    """onnxruntime has no integer operator for it; without room for doubt both round alike."""
    extra = {"t": RNG.integers(-128, 128, (3, 4, 3, 2)).astype(s8)}
    attributes = {"strides": [2, 3], "pads": [1, 0, 0, 1], "output_padding": [1, 0]}
    nodes = [*IN, ("DequantizeLinear", "t ws wz", "td"), ("ConvTranspose", "xd td", "c", attributes), *quantized("c")]
    made = model(nodes, constants(nodes) | extra, ("N", *SHAPE))
    network, got = codes_of(tmp_path, made)
    (expected,) = run(made, real(PIXELS, C["xs"], C["xz"]), optimized=False)
    assert np.abs(got.astype(int) - expected.astype(int)).max() <= 1 and (got == expected).mean() > 0.99
    assert network.nodes[-1].layer.kind == "deconvolution"


def test_codes_move_as_they_are(tmp_path):
    nodes = [
        *IN,
        ("MaxPool", "xd", "p", {"kernel_shape": [2, 3], "strides": [2, 1], "ceil_mode": 1}),
        ("QuantizeLinear", "p xs xz", "pq"),
        ("DequantizeLinear", "pq xs xz", "pd"),
        ("Concat", "pd pd", "j", {"axis": 1}),
        ("Transpose", "j", "t", {"perm": [0, 1, 2, 3]}),
        *quantized("t", "xs", "xz"),
    ]
    network = agree(tmp_path, built(nodes))
    assert [node.layer.kind for node in network] == ["image_encoding", "max_pool", "concat"]


def test_moves_between_qdq_are_layers_on_codes(tmp_path):
    nodes = [
        *IN,
        ("Concat", "xd xd", "j", {"axis": 1}),
        ("Pad", "j pads v", "p"),
        ("Slice", "p from to axes steps", "s"),
        ("Resize", "s _ by", "u", {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
        ("Reshape", "u split", "g"),
        ("Transpose", "g", "t", {"perm": [0, 2, 1, 3, 4]}),
        ("Reshape", "t back", "h"),
        *quantized("h", "xs", "xz"),
    ]
    extra = {"pads": np.array([0, 0, 1, 2, 0, 0, 0, 1]), "v": f32(0.25), "from": np.array([1, 2]), "to": np.array([9, 14])}
    extra |= {"axes": np.array([2, 3]), "steps": np.array([1, 3]), "by": np.array([1, 1, 2, 3], f32)}
    extra |= {"split": np.array([0, 2, 3, 16, 12]), "back": np.array([0, 6, 16, 12])}
    made = model(nodes, constants(nodes) | extra, ("N", *SHAPE))
    network, got = codes_of(tmp_path, made)
    (expected,) = run(made, real(PIXELS, C["xs"], C["xz"]))
    np.testing.assert_array_equal(got, expected)
    kinds = [node.layer.kind for node in network]
    assert kinds == ["image_encoding", "concat", "pad", "slice", "resize_nearest", "channel_shuffle"]


def test_one_tensor_in_another_format_is_a_rescale(tmp_path):
    nodes = [*IN, ("Relu", "xd", "r"), *quantized("r", "zs", "zz")]
    network = agree(tmp_path, built(nodes), optimized=False)
    assert network.nodes[-1].layer.kind == "rescale"


def test_branches_in_other_formats_are_rescaled_before_they_are_joined(tmp_path):
    nodes = [*IN, ("MaxPool", "xd", "p", {"kernel_shape": [1, 1]}), *TWO, ("Concat", "xd pd", "c", {"axis": 1}), *quantized("c")]
    network = agree(tmp_path, built(nodes), optimized=False)
    assert [node.layer.kind for node in network][1:] == ["max_pool", "rescale", "rescale", "rescale", "concat"]


def test_a_global_average_is_onnxruntimes(tmp_path):
    agree(tmp_path, built([*IN, ("GlobalAveragePool", "xd", "c"), *quantized("c", "zs", "zz")]))


QCONV = [("QuantizeLinear", "x xs xz", "xq"), ("QLinearConv", "xq xs xz w kws kwz ys yz b", "y", CONV)]


@pytest.mark.parametrize("backend", ["spec", "jit"])
def test_qlinear_operators_follow_each_other(tmp_path, backend):
    nodes = [
        ("QuantizeLinear", "x xs xz", "xq"),
        ("QLinearConv", "xq xs xz w kws kwz ys yz b", "c", {"pads": [1, 1, 1, 1]}),
        ("MaxPool", "c", "p", {"kernel_shape": [3, 3], "strides": [4, 4]}),
        ("Flatten", "p", "f"),
        ("QLinearMatMul", "f ys yz v vs vz zs zz", "y"),
    ]
    extra = {"v": RNG.integers(-128, 128, (48, 5)).astype(s8), "vs": f32(0.003), "vz": s8(0)}
    made = model(nodes, constants(nodes) | extra, ("N", *SHAPE))
    network, got = codes_of(tmp_path, made, backend=backend)
    (expected,) = run(made, real(PIXELS, C["xs"], C["xz"]))
    np.testing.assert_array_equal(got.reshape(expected.shape), expected)
    assert [node.name for node in network][1:] == ["QLinearConv_1", "MaxPool_2", "QLinearMatMul_4"]


@pytest.mark.parametrize("dtype", [2, 3], ids=["uint8", "int8"])
def test_an_input_of_integers_is_codes(tmp_path, dtype):
    kind = u8 if dtype == 2 else s8
    extra = {"qz": kind(5), "rz": kind(3)}
    nodes = [("QLinearConv", "x xs qz w ws wz ys rz", "y")]
    made = model(nodes, constants(nodes) | extra, ("N", *SHAPE), input_type=dtype)
    codes = PIXELS if dtype == 2 else (PIXELS.astype(int) - 128).astype(s8)
    _, got = codes_of(tmp_path, made)
    np.testing.assert_array_equal(got, run(made, codes)[0])


def test_integer_sums_go_out_as_they_are(tmp_path):
    extra = {"wz8": RNG.integers(-9, 9, 8).astype(s8), "q": u8(77)}
    nodes = [("ConvInteger", "x w q", "y", CONV)]
    made = model(nodes, constants(nodes) | extra, ("N", *SHAPE), input_type=2)
    network, got = codes_of(tmp_path, made)
    np.testing.assert_array_equal(got, run(made, PIXELS)[0])
    assert network.nodes[-1].layer.output_format.bits == 32


@pytest.mark.parametrize("weights", [W, KW], ids=["per tensor", "per channel"])
@pytest.mark.parametrize(
    "behind", [[], [("Relu", "c", "y")], [("Softmax", "c", "y", {"axis": 1})]], ids=["none", "relu", "softmax"]
)
def test_a_last_sum_that_nothing_quantizes_is_the_accumulator(tmp_path, weights, behind):
    nodes = [*IN, *weights, ("Conv", "xd wd bd", "c" if behind else "y"), *behind]
    network, got = codes_of(tmp_path, built(nodes))
    sums = convolved(PIXELS.astype(np.float64) - 128, C["w"].astype(np.float64)) + C["b"].reshape(1, 8, 1, 1)
    scales = C["kws"].reshape(8, 1, 1) if weights is KW else C["ws"]
    expected = sums * (np.float64(C["xs"]) * scales.astype(np.float64))
    expected = np.maximum(expected, 0) if behind and behind[0][0] == "Relu" else expected
    fmt = network[network.logits].layer.output_format
    found = fmt.to_real(hwsim.run(network, PIXELS, backend="jit")[network.logits].codes)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=0 if weights is W else 0.51 * fmt.step())
    assert fmt.step() <= float(C["xs"]) * np.min(scales)


def test_integer_sums_behind_a_scale_keep_what_they_are_worth(tmp_path):
    nodes = [*IN[:1], ("ConvInteger", "xq w xz", "y", CONV)]
    made = built(nodes)
    network, got = codes_of(tmp_path, made)
    np.testing.assert_array_equal(got, run(made, real(PIXELS, C["xs"], C["xz"]))[0])
    assert network.nodes[-1].layer.output_format.scale == float(C["xs"])


def qonnx(nodes, extra):
    """A graph of QONNX's Quant nodes; onnxruntime does not know them, plain numpy stands for them."""
    return model(nodes, extra, ("N", *SHAPE), domains={"qonnx.custom_op.general": 1})


QUANT = {"domain": "qonnx.custom_op.general", "signed": 1, "narrow": 0, "rounding_mode": "ROUND"}


def fake(x, scale, bits, signed=True, narrow=False, rounding=np.rint):
    low, high = (-(1 << (bits - 1)) + narrow, (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    return rounding(np.clip(x / scale, low, high)) * scale


def convolved(x, w):
    out = np.zeros((len(x), len(w), x.shape[2] - 2, x.shape[3] - 2))
    for r, s in np.ndindex(3, 3):
        out += np.einsum("ncyx,kc->nkyx", x[:, :, r : r + out.shape[2], s : s + out.shape[3]], w[:, :, r, s])
    return out


@pytest.mark.parametrize(
    ("mode", "rounding"), [("ROUND", np.rint), ("FLOOR", np.floor), ("CEIL", np.ceil), ("ROUND_TO_ZERO", np.trunc)]
)
def test_qonnx_with_powers_of_two_is_fixed_point(tmp_path, mode, rounding):
    weight = RNG.normal(size=(4, 3, 3, 3)).astype(f32)
    extra = {"xs2": f32(0.25), "z": f32(0), "8": f32(8), "4": f32(4), "w": weight, "ws2": f32(0.125), "ys2": f32(2.0)}
    nodes = [
        ("Quant", "x xs2 z 8", "xd", QUANT | {"signed": 0}),
        ("Quant", "w ws2 z 4", "wd", QUANT | {"narrow": 1}),
        ("Conv", "xd wd", "c"),
        ("Relu", "c", "r"),
        ("Quant", "r ys2 z 4", "y", QUANT | {"signed": 0, "rounding_mode": mode}),
    ]
    network, got = codes_of(tmp_path, qonnx(nodes, extra))
    x = PIXELS * 0.25
    expected = fake(np.maximum(convolved(x, fake(weight, 0.125, 4, narrow=True)), 0), 2.0, 4, signed=False, rounding=rounding)
    np.testing.assert_array_equal(got * 2.0, expected)
    assert network.dialect == "qonnx"
    assert network.nodes[-1].layer.contract.weight == FixedPoint(4, 3) and network.nodes[-1].layer.output_format == FixedPoint(
        4, -1, False
    )


def test_qonnx_that_ends_in_a_sum_gives_its_exact_value(tmp_path):
    weight = RNG.normal(size=(4, 3, 3, 3)).astype(f32)
    scales = np.array([0.125, 0.25, 0.5, 0.125], f32).reshape(4, 1, 1, 1)
    extra = {"xs2": f32(0.25), "z": f32(0), "8": f32(8), "4": f32(4), "w": weight, "ws2": scales}
    nodes = [("Quant", "x xs2 z 8", "xd", QUANT | {"signed": 0}), ("Quant", "w ws2 z 4", "wd", QUANT), ("Conv", "xd wd", "y")]
    network, got = codes_of(tmp_path, qonnx(nodes, extra))
    fmt = network.nodes[-1].layer.output_format
    np.testing.assert_array_equal(fmt.to_real(got), convolved(PIXELS * 0.25, fake(weight, scales, 4)))


def test_qonnx_with_other_scales_is_affine(tmp_path):
    weight = RNG.normal(size=(4, 3, 3, 3)).astype(f32)
    scales = np.array([0.11, 0.07, 0.2, 0.13], f32).reshape(4, 1, 1, 1)
    extra = {"xs3": f32(0.3), "z": f32(0), "8": f32(8), "4": f32(4), "w": weight, "ws3": scales, "ys3": f32(3.3)}
    nodes = [
        ("Quant", "x xs3 z 8", "xd", QUANT | {"signed": 0}),
        ("Quant", "w ws3 z 4", "wd", QUANT),
        ("Conv", "xd wd", "c"),
        ("Quant", "c ys3 z 8", "y", QUANT),
    ]
    network, got = codes_of(tmp_path, qonnx(nodes, extra))
    weights = np.clip(np.rint(weight / scales), -8, 7)
    exact = convolved(PIXELS, weights) * (f32(0.3) * scales.reshape(1, 4, 1, 1) / f32(3.3)).astype(np.float64)
    sure = np.abs(exact - np.floor(exact) - 0.5) > 1e-3  # beside ties float32 cannot decide otherwise
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(got[sure], np.clip(np.rint(exact), -128, 127)[sure])
    assert network.nodes[-1].layer.contract.weight.scale == tuple(float(s) for s in scales.reshape(-1))


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([*IN, ("Sigmoid", "xd", "y")], "nothing quantizes"),
        (
            [*IN, *W, ("Conv", "xd wd bd", "c"), ("MaxPool", "c", "p", {"kernel_shape": [2, 2]}), *quantized("p")],
            "nothing quantizes",
        ),
        ([("Conv", "x wd", "c"), *W[:1], *quantized("c")], "cyclic or not in order"),
        ([*W[:1], ("Conv", "x wd", "c"), *quantized("c")], "which nothing quantizes before"),
        ([*IN, ("Conv", "xd bf2", "c"), *quantized("c")], "its weights are not quantized"),
        ([*IN, ("DequantizeLinear", "xq zs zz", "xe"), *quantized("xe")], "but what wrote it gives"),
        ([*IN, ("Relu", "xq", "c"), *quantized("c")], "it reads the integers 'xq'"),
        ([*IN, ("LRN", "xd", "c", {"size": 3}), *quantized("c")], "does not run LRN"),
        ([*IN, ("QuantizeLinear", "xd kws kwz", "y")], "one scale per channel"),
        (
            [
                *IN,
                ("QuantizeLinear", "x zs zz", "y2"),
                ("DequantizeLinear", "y2 zs zz", "e"),
                ("Add", "xd e", "c"),
                *quantized("c"),
            ],
            "a second time",
        ),
        ([("QuantizeLinear", "x neg xz", "y")], "positive finite numbers"),
        ([("QuantizeLinear", "x nan xz", "y")], "positive finite numbers"),
        ([("QuantizeLinear", "x xs bz", "y")], "8 or 16 bits are needed"),
        (
            [
                *IN,
                ("DequantizeLinear", "w ws wz", "wd"),
                ("DequantizeLinear", "b ws bz", "bd"),
                ("Conv", "xd wd bd", "c"),
                *quantized("c"),
            ],
            "its biases are stored as",
        ),
    ],
)
def test_what_hwsim_does_not_run_in_integers_is_refused(tmp_path, nodes, expected):
    extra = {"neg": f32(-1), "nan": f32(np.nan), "bf2": RNG.normal(size=(8, 3, 3, 3)).astype(f32)}
    used = {name for node in nodes for name in node[1].split()}
    made = model(nodes, constants(nodes) | {k: v for k, v in extra.items() if k in used}, ("N", *SHAPE))
    with pytest.raises(hwsim.HwsimError, match=expected) as caught:
        read(save(made, tmp_path))
    text = str(caught.value)
    assert "net.onnx" in text and "\n" not in text and text.endswith(".")


def test_a_quantized_file_is_run_saved_and_loaded(tmp_path):
    made = built([*IN, *KW, ("Conv", "xd wd bd", "c"), *quantized("c")])
    network, got = codes_of(tmp_path, made)
    again = hwsim.load(network.save(tmp_path / "net.hwnet"))
    np.testing.assert_array_equal(hwsim.run(again, PIXELS, backend="jit")["Conv_4"].codes, got)
