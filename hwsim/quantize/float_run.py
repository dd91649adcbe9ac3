"""A float Network executed by onnxruntime: the baseline of quantized results, and the source of ranges.

onnx and onnxruntime are imported when the first FloatRun is built.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.network.graph import Network


class FloatRun:
    """outputs = network(images) in float32, layers as Caffe defines them.

    outputs: names of the nodes whose results can be asked for; the others are never kept.  None: the logits only.
    threads: threads of onnxruntime; None: as many as it likes.  Raises InputError where onnx or onnxruntime is absent,
    or for a name that is no node.
    """

    def __init__(self, network: Network, outputs: Iterable[str] | None = None, threads: int | None = None) -> None:
        names = tuple(dict.fromkeys(outputs if outputs is not None else ()))
        self.network = network
        self.outputs = tuple(dict.fromkeys((*(network[name].name for name in names), network.logits)))
        self._session = _session(network, self.outputs, threads)

    def run(self, images: np.ndarray, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """{name: float32 N, C, H, W} for images that are real numbers, float32 N, C, H, W.

        names: some of the outputs given when this was built; None: all of them.
        """
        shape = self.network.shapes()[self.network.input.name]
        images = np.ascontiguousarray(images, dtype=np.float32)
        if images.ndim != 4 or images.shape[1:] != shape:
            raise InputError(f"float run of {self.network.name!r}: images of shape {images.shape}; (N, {shape}) is needed.")
        wanted = self.outputs if names is None else tuple(names)
        for name in wanted:
            if name not in self.outputs:
                raise InputError(f"float run of {self.network.name!r}: {name!r} is not among the outputs {self.outputs}.")
        tensors = [f"t:{name}" for name in wanted]
        return dict(zip(wanted, self._session.run(tensors, {"in": images}), strict=True))

    def logits(self, images: np.ndarray) -> np.ndarray:
        """The numbers before softmax, float32 of shape N, classes."""
        return self.run(images, [self.network.logits])[self.network.logits].reshape(len(images), -1)


def _session(network: Network, outputs: tuple[str, ...], threads: int | None) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise InputError(
            "float execution needs onnx and onnxruntime, which are not installed here; `pip install 'hwsim[models]'`."
        ) from None
    from hwsim.quantize.to_onnx import to_onnx

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # the arena keeps the largest batch's memory for good
    if threads is not None:
        options.intra_op_num_threads = threads
    model = to_onnx(network, outputs).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
