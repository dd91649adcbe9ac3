"""Small ONNX models built with onnx.helper, and what onnxruntime makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Nodes = Sequence[tuple[Any, ...]]
"""(operator, inputs, outputs, attributes) each; inputs and outputs are words of one string."""


def model(
    nodes: Nodes,
    constants: Mapping[str, np.ndarray],
    shape: Sequence[int | str | None],
    outputs: str = "y",
    opset: int = 17,
    input_type: int = 1,
    domains: Mapping[str, int] | None = None,
) -> Any:
    """A ModelProto with one input "x" of this shape; "_" in a node's inputs leaves one out."""
    from onnx import helper, numpy_helper

    made = []
    for kind, inputs, results, *attributes in nodes:
        names = ["" if name == "_" else name for name in inputs.split()]
        made.append(helper.make_node(kind, names, results.split(), name=f"{kind}_{len(made)}", **(attributes or [{}])[0]))
    entry = helper.make_tensor_value_info("x", input_type, list(shape))
    results = [helper.make_empty_tensor_value_info(name) for name in outputs.split()]
    given = [value if hasattr(value, "dims") else numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(made, "net", [entry], results, given)
    versions = [helper.make_opsetid("", opset), *(helper.make_opsetid(*pair) for pair in (domains or {}).items())]
    return helper.make_model(graph, opset_imports=versions, ir_version=8)


def run(made: Any, feed: np.ndarray, optimized: bool = True) -> list[np.ndarray]:
    """The outputs that onnxruntime computes on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = made if isinstance(made, bytes) else made.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: feed})


def save(made: Any, folder: Path) -> Path:
    """The model as a file in this folder."""
    path = folder / "net.onnx"
    path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return path
