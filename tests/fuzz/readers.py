"""Every reader under attack, by name."""

from __future__ import annotations

from fuzz import caffe, certificates, data, onnx, packages, quantized, tflite
from fuzz.harness import Reader

READERS: dict[str, Reader] = {
    reader.name: reader for module in (caffe, quantized, packages, data, tflite, onnx, certificates) for reader in module.READERS
}
