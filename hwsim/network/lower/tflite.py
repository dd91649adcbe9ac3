"""A .tflite model's operators, in order, as layers: names, formats, shapes; reshapes go, and a flattened image is remembered."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from hwsim.contract.requantizers import AffineRules
from hwsim.errors import InputError, printable
from hwsim.formats import Affine
from hwsim.layers import Concat, EltwiseMax, EltwiseMin, ImageEncoding, Layer, Shape
from hwsim.layers.tables import logistic_float32, tanh_float32
from hwsim.network.lower import tflite_combine as combine
from hwsim.network.lower import tflite_mac as mac
from hwsim.network.lower import tflite_tables as tables
from hwsim.network.lower import tflite_values as values
from hwsim.network.lower.settle import naming
from hwsim.network.lower.tflite_site import Site, activation_format, plane_shape
from hwsim.network.quantized import QuantizedNode
from hwsim.network.tflite_file import Operator, Tensor, TfliteModel
from hwsim.network.tflite_schema import ConcatOptions, Fused

RESHAPES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
LONGEST_NAME = 100

OPERATORS: dict[str, Callable[[Site], list[Layer]]] = {
    "CONV_2D": lambda site: [mac.convolution(site)],
    "DEPTHWISE_CONV_2D": lambda site: [mac.depthwise(site)],
    "FULLY_CONNECTED": lambda site: [mac.fully_connected(site)],
    "TRANSPOSE_CONV": lambda site: [mac.transposed(site)],
    "MEAN": values.mean,
    "LEAKY_RELU": values.leaky,
    "PRELU": values.prelu,
    "LOGISTIC": tables.curve(logistic_float32),
    "TANH": tables.curve(tanh_float32),
    "AVERAGE_POOL_2D": values.average_pool,
    "MAX_POOL_2D": values.max_pool,
    "PAD": values.pad,
    "PADV2": values.pad,
    "RESIZE_NEAREST_NEIGHBOR": values.resize,
    "SOFTMAX": values.softmax,
    "QUANTIZE": values.requantize,
    "RELU": values.rectifier(Fused.RELU),
    "RELU6": values.rectifier(Fused.RELU6),
    "RELU_N1_TO_1": values.rectifier(Fused.RELU_N1_TO_1),
}


COMBINATIONS: dict[str, Callable[[Site, combine.Pair], list[Layer]]] = {
    "ADD": combine.total,
    "SUB": combine.total,
    "MUL": combine.product,
    "MAXIMUM": combine.extreme(EltwiseMax),
    "MINIMUM": combine.extreme(EltwiseMin),
}


@dataclass(frozen=True)
class Value:
    """What a tensor is here.  node: its name.  shape: C, H, W as that node gives it.  flat: the file has it as one row."""

    node: str
    format: Affine
    shape: Shape
    flat: bool = False


def lower_tflite(
    model: TfliteModel, encoding: ImageEncoding, image: int, rules: AffineRules
) -> tuple[tuple[QuantizedNode, ...], dict[int, str]]:
    """Return the nodes behind an image encoding, and {tensor: node that holds its codes}.

    image: the tensor that the encoding gives.  rules: how each kind of operator requantizes.
    Raises InputError, naming file, operator and tensor, for what hwsim cannot run.
    """
    walk = _Walk(model, encoding, image, rules)
    for operator in model.operators:
        walk.take(operator, f"{model.where}: operator {operator.number} ({operator.name})")
    return walk.result()


class _Walk:
    """One walk over the operators."""

    def __init__(self, model: TfliteModel, encoding: ImageEncoding, image: int, rules: AffineRules) -> None:
        self.model, self.rules = model, rules
        fmt = encoding.output_format
        assert isinstance(fmt, Affine)
        self.nodes: list[QuantizedNode] = []
        self.names: set[str] = set()
        self.values: dict[int, Value] = {}
        name = self.named(model.tensors[image])
        self.nodes.append(QuantizedNode(name, (), encoding))
        self.shapes = {name: plane_shape(model.tensors[image], model.where)}
        self.values[image] = Value(name, fmt, self.shapes[name])

    def named(self, tensor: Tensor) -> str:
        """Return a name for the node that gives this tensor: the first of those that the converter joined, made to differ."""
        first = printable(tensor.name.split(";")[0] or "tensor")[:LONGEST_NAME]
        return self.unique(first)

    def unique(self, first: str) -> str:
        """Return the name, with a number where it is taken."""
        name, number = first, 1
        while name in self.names:
            number += 1
            name = f"{first}_{number}"
        self.names.add(name)
        return name

    def take(self, operator: Operator, where: str) -> None:
        """Add the layers of one operator."""
        if len(operator.outputs) != 1 or operator.outputs[0] in self.values:
            raise InputError(f"{where}: writes tensors {operator.outputs}; allowed is one, which no operator has written before.")
        output = operator.outputs[0]
        if operator.name in RESHAPES:
            self.values[output] = self.reshaped(self.read(operator, 0, where), self.model.tensors[output], where)
            return
        with naming(where):
            self.values[output] = self.chained(operator, self.made(operator, where), where)

    def made(self, operator: Operator, where: str) -> tuple[list[str], list[Layer]]:
        """Return the nodes that an operator reads, and the chain of layers that computes it."""
        if operator.name == "CONCATENATION":
            return self.concatenated(operator, where)
        if operator.name in COMBINATIONS:
            return self.combined(operator, where)
        return self.layers(operator, where)

    def read(self, operator: Operator, i: int, where: str) -> Value:
        """Return input i, which must have been computed."""
        if i >= len(operator.inputs) or operator.inputs[i] not in self.values:
            raise InputError(f"{where}: input {i} is no image and no earlier operator's output; hwsim cannot run this model.")
        return self.values[operator.inputs[i]]

    def layers(self, operator: Operator, where: str) -> tuple[list[str], list[Layer]]:
        """Return what is read, and the chain of layers."""
        if operator.name == "TRANSPOSE_CONV":  # it reads a size, weights, the image and a bias
            size, weights, image, *bias = (*operator.inputs, -1, -1, -1)[: max(len(operator.inputs), 3)]
            operator = replace(operator, inputs=(image, weights, *bias))
        x = self.read(operator, 0, where)
        if x.flat and operator.name != "FULLY_CONNECTED" and math.prod(x.shape[1:]) > 1:
            raise InputError(f"{where}: reads a flattened image; hwsim has a fully connected layer only behind a flatten.")
        make = OPERATORS.get(operator.name, values.unsupported)
        return [x.node], make(Site(self.model, operator, where, x.shape, self.rules))

    def combined(self, operator: Operator, where: str) -> tuple[list[str], list[Layer]]:
        """ADD and its like, of tensors or a tensor and a constant."""
        found = [self.values.get(index) for index in operator.inputs]
        read = [value for value in found if value is not None]
        if any(value.flat for value in read):
            raise InputError(f"{where}: reads a flattened image; hwsim has a fully connected layer only behind a flatten.")
        site = Site(self.model, operator, where, read[0].shape if read else Shape(1, 1, 1), self.rules)
        both = combine.pair(site, [None if value is None else value.shape for value in found])
        return [value.node for value in read], COMBINATIONS[operator.name](site, both)

    def concatenated(self, operator: Operator, where: str) -> tuple[list[str], list[Layer]]:
        """CONCATENATION along the channels, of branches with one scale and zero point."""
        assert isinstance(operator.options, ConcatOptions)
        out = self.model.tensors[operator.outputs[0]]
        fmt, axes = activation_format(out, where), len(out.shape)
        branches = [self.read(operator, i, where) for i in range(len(operator.inputs))]
        if operator.options.axis not in (-1, axes - 1) or any(b.flat and math.prod(b.shape[1:]) > 1 for b in branches):
            raise InputError(f"{where}: found axis {operator.options.axis} of {axes}; allowed are channels, the last.")
        layers: list[Layer] = [Concat(fmt, len(branches)), *values.clamped(fmt, operator.options.fused)]
        return [self.joinable(branch, fmt, where) for branch in branches], layers

    def joinable(self, branch: Value, fmt: Affine, where: str) -> str:
        """Return the node of a branch with this format: for uint8 a table brings it there, "BRANCH:INTO" with a number."""
        if branch.format != fmt and fmt == Affine(8, fmt.scale, fmt.zero_point, signed=False) and not branch.format.signed:
            name = self.unique(f"{branch.node}:joined")
            self.nodes.append(QuantizedNode(name, (branch.node,), tables.joined(branch.format, fmt)))
            self.shapes[name] = branch.shape
            return name
        if branch.format != fmt:
            raise InputError(
                f"{where}: reads {branch.node!r} with {branch.format} into {fmt}; allowed is one scale and zero point."
            )
        return branch.node

    def chained(self, operator: Operator, made: tuple[list[str], list[Layer]], where: str) -> Value:
        """Add the layers as nodes, the last under the output tensor's name."""
        inputs, layers = made
        tensor = self.model.tensors[operator.outputs[0]]
        name = self.named(tensor)
        names = [*(self.unique(f"{name}:{i}") for i in range(len(layers) - 1)), name]
        shapes = [self.shapes[source] for source in inputs]
        for label, layer in zip(names, layers, strict=True):
            shapes = [self.shapes.setdefault(label, layer.output_shape(shapes))]
            self.nodes.append(QuantizedNode(label, tuple(inputs), layer))
            inputs = [label]
        fmt, shape = layers[-1].output_format, plane_shape(tensor, where)
        assert isinstance(fmt, Affine)
        if shapes[0] != shape or fmt != activation_format(tensor, where):
            raise InputError(
                f"{where}: gives {tuple(shapes[0])}, but its tensor {tensor.name!r} is said to be {tuple(shape)}; restore it."
            )
        return Value(name, fmt, shape)

    def reshaped(self, x: Value, tensor: Tensor, where: str) -> Value:
        """A reshape that leaves every code where it is, or flattens an image row by row, as TensorFlow does."""
        shape = plane_shape(tensor, where)
        if activation_format(tensor, where) != x.format or math.prod(shape) != math.prod(x.shape):
            raise InputError(f"{where}: gives {tensor.shape} of another format or size than {x.node!r} has; restore the file.")
        if shape == x.shape or x.flat and shape == Shape(math.prod(x.shape), 1, 1):
            return x
        if shape == Shape(math.prod(x.shape), 1, 1):
            return Value(x.node, x.format, x.shape, math.prod(x.shape[1:]) > 1)
        raise InputError(
            f"{where}: turns {tuple(x.shape)} into {tuple(shape)}; allowed is to flatten, or to add and drop axes of 1."
        )

    def result(self) -> tuple[tuple[QuantizedNode, ...], dict[int, str]]:
        """Return the nodes, the model's output last, and what holds each tensor."""
        if len(self.model.outputs) != 1 or self.model.outputs[0] not in self.values:
            raise InputError(f"{self.model.where}: found outputs {self.model.outputs}; allowed is one, which an operator writes.")
        last = self.values[self.model.outputs[0]].node
        if self.nodes[-1].name != last:
            raise InputError(f"{self.model.where}: its output is not what its last operator gives; hwsim needs that order.")
        return tuple(self.nodes), {index: value.node for index, value in self.values.items()}
