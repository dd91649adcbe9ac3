"""The peer that hwsim is timed beside: ONNX Runtime on the same network, in float32 and quantized to uint8 x int8."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from hwsim.network.graph import Network
from hwsim.quantize.to_onnx import to_onnx


class _Reader(CalibrationDataReader):
    """Hands calibration images to onnxruntime's quantizer, one at a time."""

    def __init__(self, images: list[np.ndarray]) -> None:
        self._batches = iter([{"in": image[None].astype(np.float32)} for image in images])

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
        return next(self._batches, None)


def session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    """Return a session on the CPU with that many threads, at onnxruntime's own best optimisation level."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def float_model(network: Network) -> bytes:
    """Return the network as an ONNX model in float32."""
    return to_onnx(network, (network.logits,)).SerializeToString()


def uint8_int8_model(network: Network, images: list[np.ndarray]) -> bytes:
    """Return the network with uint8 activations and int8 weights, QLinear operators, calibrated on real images [C][H][W]."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "float.onnx"), os.path.join(folder, "int8.onnx")
        Path(source).write_bytes(float_model(network))
        quantize_static(
            source,
            target,
            _Reader(images),
            quant_format=QuantFormat.QOperator,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return Path(target).read_bytes()


def operators(model: bytes) -> dict[str, int]:
    """Count the operators of a model, to show what is being timed."""
    counts: dict[str, int] = {}
    for node in onnx.load_from_string(model).graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts


def feed(pixels_real: np.ndarray) -> dict[str, Any]:
    """Return the feed of one image [C][H][W] of real numbers."""
    return {"in": np.ascontiguousarray(pixels_real[None], dtype=np.float32)}
