"""onnxruntime's own operators on integers (domain com.microsoft): each is a float operator between two Quantize nodes.

Source: onnxruntime docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hwsim.errors import InputError
from hwsim.network.onnx_build import OnnxNode, Tensor
from hwsim.network.onnx_integers import IntegerBuild, as_format, operator, output_quantize, stored_bias, stored_input

DOMAIN = "com.microsoft"


def _named(build: IntegerBuild, node: OnnxNode, at: int) -> str:
    """Input `at`, whose scale and zero point follow it, under a name that the float operator reads."""
    if at + 1 >= len(node.inputs):
        raise InputError(f"it has {len(node.inputs)} inputs; a tensor and its scale are needed at {at}.")
    name = f"{node.name}:x{at}"
    build.values[name] = as_format(build, node, node.inputs[at], at + 1, at + 2)
    return name


def _without(node: OnnxNode, *names: str) -> OnnxNode:
    """The node without attributes that say nothing here; InputError where they say something."""
    for name in names:
        if node.attributes.get(name, 0):
            raise InputError(f"its {name} is {node.attributes[name]}; hwsim reads 0 there: channels first.")
    return replace(node, attributes={key: value for key, value in node.attributes.items() if key not in names})


def _one(kind: str) -> Callable[[IntegerBuild, OnnxNode], Tensor]:
    """X, its scale and zero point, then the output's."""

    def convert(build: IntegerBuild, node: OnnxNode) -> Tensor:
        plain = _without(node, "channels_last")
        return operator(build, plain, kind, (_named(build, node, 0),), output_quantize(build, node, 3, 4))

    return convert


def _softmax(build: IntegerBuild, node: OnnxNode) -> Tensor:
    """Softmax as the opset that its attribute names has it; the host computes it."""
    plain = replace(node, attributes={key: value for key, value in node.attributes.items() if key != "opset"})
    return operator(build, plain, "Softmax", (_named(build, node, 0),), output_quantize(build, node, 3, 4))


def _two(kind: str) -> Callable[[IntegerBuild, OnnxNode], Tensor]:
    """A and B with their scales and zero points, then the output's; a constant for B is not read."""

    def convert(build: IntegerBuild, node: OnnxNode) -> Tensor:
        names = (_named(build, node, 0), _named(build, node, 3))
        return operator(build, node, kind, names, output_quantize(build, node, 6, 7))

    return convert


def _concat(build: IntegerBuild, node: OnnxNode) -> Tensor:
    """The output's scale and zero point come first."""
    if len(node.inputs) < 5 or len(node.inputs) % 3 != 2:
        raise InputError(f"it has {len(node.inputs)} inputs; 2 and 3 for each tensor are needed.")
    names = tuple(_named(build, node, at) for at in range(2, len(node.inputs), 3))
    return operator(build, node, "Concat", names, output_quantize(build, node, 0, 1))


def _gemm(build: IntegerBuild, node: OnnxNode) -> Tensor:
    """A, B, their scales and zero points, an int32 bias, and the output's."""
    if node.attributes.get("alpha", 1.0) != 1.0:
        raise InputError(f"its alpha is {node.attributes['alpha']}; hwsim reads 1 there.")
    axis = 0 if node.attributes.get("transB") else 1
    names = [_named(build, node, 0), stored_input(build, node, 3, 4, 5, axis)]
    names += stored_bias(build, node, 6)
    if len(node.inputs) < 8 or not node.inputs[7]:
        raise InputError("it has no y_scale; hwsim runs a network that is quantized throughout.")
    return operator(build, node, "Gemm", tuple(names), output_quantize(build, node, 7, 8))


MICROSOFT: dict[str, Callable[[IntegerBuild, OnnxNode], Tensor]] = {
    "QGemm": _gemm,
    "QLinearAdd": _two("Add"),
    "QLinearAveragePool": _one("AveragePool"),
    "QLinearConcat": _concat,
    "QLinearGlobalAveragePool": _one("GlobalAveragePool"),
    "QLinearLeakyRelu": _one("LeakyRelu"),
    "QLinearMul": _two("Mul"),
    "QLinearSigmoid": _one("Sigmoid"),
    "QLinearSoftmax": _softmax,
}
"""Operator of the domain -> what reads it."""
