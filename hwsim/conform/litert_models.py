"""Small .tflite models, built field by field, and what LiteRT's reference kernels (BUILTIN_REF) make of them.

Nothing of hwsim's arithmetic is used here. The version that the tests are held to is pinned in pyproject.toml: another one
may compute other bits (TensorFlow Lite has changed its kernels' roundings more than once).
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

VERSION = importlib.metadata.version("ai-edge-litert")
TYPES = ("uint8", "int8", "int16", "int32", "int64", "float32")
KINDS = {np.dtype(kind): getattr(schema.TensorType, kind.upper()) for kind in TYPES}


@dataclass(frozen=True)
class T:
    """A tensor: shape as TensorFlow has it (N H W C), and data where it is a constant."""

    shape: tuple[int, ...]
    dtype: str = "uint8"
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    axis: int = 0
    data: np.ndarray | None = None
    name: str = ""


@dataclass(frozen=True)
class Op:
    """An operator: its name in the schema, the tensors it reads and writes (-1: none), its options by name."""

    code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1


def constant(values: np.ndarray, scales: Sequence[float] = (), zero_points: Sequence[int] = (), axis: int = 0) -> T:
    """A constant tensor, of the array's own type and shape."""
    return T(values.shape, str(values.dtype), tuple(scales), tuple(zero_points), axis, values)


def build(tensors: Sequence[T], ops: Sequence[Op], inputs: Iterable[int], outputs: Iterable[int]) -> bytes:
    """The bytes of a .tflite file: one subgraph of these operators."""
    model = schema.ModelT()
    model.version, model.description = 3, "a case"
    model.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = [_tensor(model, i, tensor) for i, tensor in enumerate(tensors)]
    graph.inputs, graph.outputs = list(inputs), list(outputs)
    codes = sorted({(op.code, op.version) for op in ops})
    model.operatorCodes = [_code(*code) for code in codes]
    graph.operators = [_operator(op, codes.index((op.code, op.version))) for op in ops]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def single(op: str, options: str, fields: Mapping[str, Any], inputs: Sequence[T], output: T, version: int = 1) -> bytes:
    """A model of one operator; inputs without data are the model's inputs."""
    tensors = [*inputs, output]
    feeds = [i for i, tensor in enumerate(inputs) if tensor.data is None]
    ops = [Op(op, tuple(range(len(inputs))), (len(inputs),), options, fields, version)]
    return build(tensors, ops, feeds, [len(inputs)])


def _code(name: str, version: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = version
    return code


def _tensor(model: Any, index: int, tensor: T) -> Any:
    made = schema.TensorT()
    made.name = tensor.name or f"t{index}"
    made.shape, made.type = list(tensor.shape), KINDS[np.dtype(tensor.dtype)]
    if tensor.data is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(tensor.data).tobytes(), np.uint8)
        model.buffers.append(buffer)
        made.buffer = len(model.buffers) - 1
    if tensor.scales:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale = list(tensor.scales)
        made.quantization.zeroPoint = list(tensor.zero_points or (0,) * len(tensor.scales))
        made.quantization.quantizedDimension = tensor.axis
    return made


def _operator(op: Op, code: int) -> Any:
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = code, list(op.inputs), list(op.outputs)
    if op.options:
        made.builtinOptionsType = getattr(schema.BuiltinOptions, op.options)
        made.builtinOptions = getattr(schema, f"{op.options}T")()
        for name, value in op.fields.items():
            assert hasattr(made.builtinOptions, name), (op.options, name)
            setattr(made.builtinOptions, name, value)
    return made


class Reference:
    """A model run by BUILTIN_REF, one thread, every intermediate tensor kept.

    resolver: BUILTIN_REF, or another to show that they differ.
    """

    def __init__(self, model: bytes, resolver: OpResolverType = OpResolverType.BUILTIN_REF) -> None:
        self._it = Interpreter(
            model_content=model,
            experimental_op_resolver_type=resolver,
            experimental_preserve_all_tensors=True,
            num_threads=1,
        )
        self._it.allocate_tensors()
        self.inputs = [detail["index"] for detail in self._it.get_input_details()]
        self.outputs = [detail["index"] for detail in self._it.get_output_details()]
        self.details = self._it.get_tensor_details()

    def run(self, *feeds: np.ndarray) -> np.ndarray:
        """Feed the inputs, in order, and return a copy of the first output."""
        for index, feed in zip(self.inputs, feeds, strict=True):
            self._it.set_tensor(index, feed)
        self._it.invoke()
        return self.tensor(self.outputs[0])

    def tensor(self, index: int) -> np.ndarray:
        """A copy of a tensor after the last run."""
        return np.array(self._it.get_tensor(index))
