"""ONNX Runtime as an oracle: one-node models, built and run here."""

from __future__ import annotations

from itertools import product

import numpy as np

from hwsim.layers import Convolution, Window


def run_node(onnxruntime, node, feeds: dict[str, np.ndarray], out_type: int) -> np.ndarray:
    """Run one ONNX node on the given inputs, on one thread."""
    from onnx import TensorProto, helper

    kinds = {
        "uint8": TensorProto.UINT8,
        "int8": TensorProto.INT8,
        "float32": TensorProto.FLOAT,
        "float64": TensorProto.DOUBLE,
    }
    inputs = [helper.make_tensor_value_info(name, kinds[a.dtype.name], a.shape) for name, a in feeds.items()]
    output = helper.make_tensor_value_info("y", out_type, None)
    model = helper.make_model(helper.make_graph([node], "one", inputs, [output]), opset_imports=[helper.make_opsetid("", 19)])
    model.ir_version = 9
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def byte_planes(codes: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Return (weight, bytes, zero point) of which the codes are the weighted sum; two planes where codes have 16 bits.

    uint8 x uint8 with zero points is the pair that no processor saturates.
    """
    zero = 128 if codes.dtype.kind == "i" else 0
    wide = codes.astype(np.int32)
    if codes.dtype.itemsize == 1:
        return [(1, (wide + zero).astype(np.uint8), np.array(zero, np.uint8))]
    high = ((wide >> 8) + zero).astype(np.uint8)
    return [(256, high, np.array(zero, np.uint8)), (1, (wide & 255).astype(np.uint8), np.array(0, np.uint8))]


def convolve_integer(onnxruntime, x: np.ndarray, layer: Convolution) -> np.ndarray:
    """Return the exact sums of products of a convolution, int64 [N][K][H][W]."""
    from onnx import TensorProto, helper

    (py, px), (r, s) = layer.pad, layer.kernel
    node = helper.make_node(
        "ConvInteger",
        ["x", "w", "xz", "wz"],
        ["y"],
        kernel_shape=[r, s],
        strides=list(layer.stride),
        pads=[py, px, py, px],
        dilations=list(layer.dilation),
        group=layer.groups,
    )
    parts = []
    for (a, codes, x_zero), (b, weight, w_zero) in product(byte_planes(x), byte_planes(layer.weight)):
        feeds = {"x": codes, "w": weight, "xz": x_zero, "wz": w_zero}
        parts.append(a * b * run_node(onnxruntime, node, feeds, TensorProto.INT32).astype(np.int64))
    return np.sum(parts, axis=0)


def pool_node(kind: str, window: Window, **attributes):
    from onnx import helper

    (py, px), kernel = window.pad, list(window.kernel)
    strides, pads = list(window.stride), [py, px, py, px]
    return helper.make_node(
        kind, ["x"], ["y"], kernel_shape=kernel, strides=strides, pads=pads, ceil_mode=int(window.ceil_mode), **attributes
    )


def max_pool(onnxruntime, x: np.ndarray, window: Window) -> np.ndarray:
    """Return the maximum of every window of 8-bit codes."""
    from onnx import TensorProto

    kind = TensorProto.INT8 if x.dtype == np.int8 else TensorProto.UINT8
    return run_node(onnxruntime, pool_node("MaxPool", window), {"x": x}, kind)


def average_pool(onnxruntime, x: np.ndarray, window: Window, count_padding: bool) -> np.ndarray:
    """Return the average of every window in float32, exact where the count is a power of two."""
    from onnx import TensorProto

    node = pool_node("AveragePool", window, count_include_pad=int(count_padding))
    return run_node(onnxruntime, node, {"x": x.astype(np.float32)}, TensorProto.FLOAT)
