"""A float Network with Quantize nodes -> the QuantizedNetwork that computes it in integers.

Everything between two Quantize nodes is one layer: a sum of products and the activation behind it, a pool, a sum of two
tensors.  Arithmetic is onnxruntime's where formats are affine (onnx_quantized_layers.py), and shifts where they are fixed
point: QONNX's power-of-two scales.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from hwsim.contract import Output
from hwsim.errors import InputError
from hwsim.formats import Affine, FixedPoint
from hwsim.layers import Concat, ImageEncoding, Layer, Rescale, Shape, Softmax
from hwsim.network import ops
from hwsim.network.caffe_input import Wish
from hwsim.network.graph import Network, Node
from hwsim.network.lower.onnx_quantized_image import encoding, pixels
from hwsim.network.lower.onnx_quantized_layers import (
    DIALECT,
    WIDE_BITS,
    bias_codes,
    quantize_linear,
    rescaling,
    sum_contract,
)
from hwsim.network.lower.onnx_quantized_makers import (
    MAKERS,
    MOVES,
    MULTIPLYING,
    Clamps,
    Codes,
    Waiting,
    all_fixed,
    as_affine,
    multiplying,
    shifted,
    stage,
    weights,
)
from hwsim.network.lower.settle import naming
from hwsim.network.onnx_build import OnnxNode
from hwsim.network.onnx_integers import Accumulated, Grid, IntegerBuild, Quantize, moves_codes, nearest
from hwsim.network.onnx_operators import per_channel_axis
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode

QONNX = "qonnx"
"""What a network of QONNX's fixed-point formats says of its school."""


def lower_quantized(network: Network, build: IntegerBuild, wish: Wish) -> QuantizedNetwork:
    """The network in integers.

    wish: what a pixel means; without a mean or a scale, pixels are codes.  Errors: InputError, naming the node, for a
    result that a layer needs and that nothing quantizes, and for what hwsim does not run in integers.
    """
    walk = Walk(network, build, wish)
    for node in network:
        with naming(f"network {network.name!r}, node {node.name!r}"):
            walk.take(node)
    return walk.result()


class Walk:
    """One walk over the nodes: which are codes by now, and which wait to be quantized."""

    def __init__(self, network: Network, build: IntegerBuild, wish: Wish) -> None:
        self.network, self.build, self.wish = network, build, wish
        self.readers = Counter(name for node in network for name in node.inputs)
        self.shapes = network.shapes()
        self.found: dict[str, Codes | Waiting] = {}
        self.nodes: list[QuantizedNode] = []
        self.hosted: set[str] = set()

    def take(self, node: Node) -> None:
        """Take in one node of the Network."""
        op = node.op
        if isinstance(op, ops.Input):
            return
        if isinstance(op, ops.Softmax):
            self.hosted.add(node.name)
        elif self.hosted.intersection(node.inputs):
            self.behind_host(node)
            return
        if isinstance(op, Quantize):
            self.found[node.name] = self.quantized(node, op)
        elif isinstance(op, Accumulated):
            self.found[node.name] = self.accumulated(node, self.waiting(node.inputs[0]))
        elif isinstance(op, ops.Clip) or isinstance(op, ops.ReLU) and not op.negative_slope:
            self.found[node.name] = self.activated(node, op)
        elif isinstance(op, ops.Scale):
            self.found[node.name] = self.biased(node, op)
        else:
            read = self.sums if isinstance(op, ops.Softmax) else self.codes
            inputs = tuple(read(name) for name in node.inputs)
            moved = moves_codes(op) and len({each.format for each in inputs}) == 1 or isinstance(op, (ops.Pad, ops.Softmax))
            self.found[node.name] = self.moved(node, inputs) if moved else Waiting(node, inputs)

    def behind_host(self, node: Node) -> None:
        """What stands behind a softmax is the host's, too, and must only move or quantize."""
        if not isinstance(node.op, (Quantize, ops.Flatten)):
            raise InputError("it reads a softmax, which the host computes; hwsim needs that to be last.")
        self.hosted.add(node.name)
        self.found[node.name] = self.codes(node.inputs[0])

    def codes(self, name: str) -> Codes:
        """A node that is codes by now; InputError where it waits to be quantized, or is the image."""
        value = self.found.get(name)
        if not isinstance(value, Codes):
            raise InputError(
                f"it reads {name!r}, which nothing quantizes before; hwsim runs a network that is quantized throughout."
            )
        return value

    def sums(self, name: str) -> Codes:
        """A node as codes; a sum of products that nothing quantizes, behind which the network ends, as its accumulator is."""
        value = self.found.get(name)
        if isinstance(value, Waiting) and isinstance(value.node.op, MULTIPLYING):
            self.found[name] = self.accumulated(value.node, value)
        return self.codes(name)

    def waiting(self, name: str) -> Waiting:
        """A node that waits to be quantized."""
        value = self.found[name]
        assert isinstance(value, Waiting)
        return value

    def add(self, name: str, inputs: tuple[str, ...], layer: Layer) -> Codes:
        """Add one layer."""
        self.nodes.append(QuantizedNode(name.removesuffix(":sum"), inputs, layer))
        fmt = layer.output_format
        assert isinstance(fmt, (Affine, FixedPoint))
        return Codes(self.nodes[-1].name, fmt)

    def quantized(self, node: Node, op: Quantize) -> Codes:
        """A Quantize of the image, of codes (a rescale, or nothing), or of what waits."""
        source = node.inputs[0]
        if source == self.network.input.name:
            if self.nodes:
                raise InputError("it quantizes the image a second time, in another format; hwsim encodes an image once.")
            return self.add(node.name, (), self.image(op))
        value = self.found[source]
        if isinstance(value, Waiting):
            if self.readers[source] > 1:
                raise InputError(
                    f"it quantizes {source!r}, which {self.readers[source]} nodes read; hwsim computes it once, quantized."
                )
            return self.layer(value, op)
        if value.format == op.format:
            return value
        return self.add(node.name, (value.node,), Rescale(value.format, self.rescale(value.format, op)))

    def image(self, op: Quantize) -> ImageEncoding:
        shape = Shape(*self.shapes[self.network.input.name])
        self.preprocessing = pixels(op, shape, self.wish)
        return encoding(op, self.preprocessing)

    def activated(self, node: Node, op: ops.ReLU | ops.Clip) -> Waiting:
        """ReLU or Clip: behind what waits its limits, behind codes a layer of its own that waits."""
        low, high = (0.0, None) if isinstance(op, ops.ReLU) else (op.low, op.high)
        value = self.found.get(node.inputs[0])
        if not isinstance(value, Waiting):
            return Waiting(node, (self.codes(node.inputs[0]),), low, high)
        if self.readers[node.inputs[0]] > 1:
            raise InputError(f"it reads {node.inputs[0]!r}, which other nodes read unclipped; quantize that first.")
        low = low if value.low is None else value.low if low is None else max(low, value.low)
        high = high if value.high is None else value.high if high is None else min(high, value.high)
        return replace(value, low=low, high=high)

    def biased(self, node: Node, op: ops.Scale) -> Waiting:
        """A constant added behind a matrix product: its bias."""
        value = self.found.get(node.inputs[0])
        plain = isinstance(value, Waiting) and isinstance(value.node.op, ops.InnerProduct) and value.node.op.bias is None
        if not (plain and isinstance(value, Waiting) and value.low is value.high is value.bias is None):
            raise InputError("hwsim adds and multiplies constants in quantized ONNX files only as a matrix product's bias.")
        if not (op.factor == 1).all() or op.bias is None or self.readers[node.inputs[0]] > 1:
            raise InputError("hwsim adds and multiplies constants in quantized ONNX files only as a matrix product's bias.")
        return replace(value, bias=op.bias)

    def clamp(self, value: Waiting, fmt: Grid) -> Clamps:
        """Codes of the limits of an activation, in this format; None where one lies beyond it, which then overflows first."""
        step = float(np.ldexp(1.0, -fmt.fl())) if isinstance(fmt, FixedPoint) else fmt.step()
        limits = (value.low, value.high)
        low, high = (None if v is None else nearest(v, step, fmt.zero()) for v in limits)
        return (
            None if low is None or low < fmt.low else min(low, fmt.high),
            None if high is None or high > fmt.high else max(high, fmt.low),
        )

    def rescale(self, x: Grid, op: Quantize, clamp: Clamps = (None, None)) -> Output:
        """The output stage between two formats."""
        if all_fixed(x, op.format):
            return stage(op, clamp)
        return rescaling(x, as_affine(op.format), clamp)

    def layer(self, value: Waiting, op: Quantize) -> Codes:
        """The layer of an operation whose result is quantized here."""
        node, clamp = value.node, self.clamp(value, op.format)
        for kind, make in MAKERS.items():
            if isinstance(node.op, kind):
                return self.add(node.name, tuple(each.node for each in value.inputs), make(self, value, op, clamp))
        if isinstance(node.op, ops.Concat):
            return self.joined(value, op)
        raise InputError(f"hwsim does not run {type(node.op).__name__} in quantized ONNX files.")

    def joined(self, value: Waiting, op: Quantize) -> Codes:
        """A Concat of branches in other formats: each is rescaled to the output's."""
        names = []
        for i, branch in enumerate(value.inputs):
            if branch.format != op.format:
                layer = Rescale(branch.format, self.rescale(branch.format, op))
                branch = self.add(f"{value.node.name}:{i}", (branch.node,), layer)
            names.append(branch.node)
        return self.add(value.node.name, tuple(names), Concat(op.format, len(names)))

    def accumulated(self, node: Node, value: Waiting) -> Codes:
        """The sums themselves: of ConvInteger and MatMulInteger, and of what the host reads."""
        x, weight = value.inputs[0].format, self.stored_weight(value)
        bias, real = self.stored_bias(value, x, weight), weights(value.node.op)
        if isinstance(x, FixedPoint) and isinstance(weight, FixedPoint):
            lengths = [x.fl() + weight.fl(k) for k in range(len(real))]
            fmt: Grid = FixedPoint(32 if len(set(lengths)) == 1 else WIDE_BITS, max(lengths))
            mac = shifted(x, weight, Quantize(fmt), self.clamp(value, fmt))
            codes = weight.encode_array(real)
        else:
            fmt = sum_contract(as_affine(x), as_affine(weight)).output.format
            mac = sum_contract(as_affine(x), as_affine(weight), self.clamp(value, fmt))
            codes = quantize_linear(real, as_affine(weight), 0)
        return self.add(node.name, (value.inputs[0].node,), multiplying(value.node.op, mac, codes, bias))

    def stored_weight(self, value: Waiting) -> Grid:
        """The weights' format, its channels along the first axis; InputError where the file has no codes of them."""
        origin = self.build.origin[value.node.name]
        stored = self.build.stored.get(origin.inputs[1])
        if stored is None:
            raise InputError("its weights are not quantized; quantize them, or read the network in floats.")
        if stored.format.per_channel and stored.axis != per_channel_axis(origin):
            raise InputError(f"its weights have a scale for each place along axis {stored.axis}; output channels are needed.")
        return stored.format

    def stored_bias(self, value: Waiting, x: Grid, weight: Grid) -> np.ndarray | None:
        """Bias codes on the accumulator's grid: as stored, or from float numbers."""
        origin, channels = self.build.origin[value.node.name], len(weights(value.node.op))
        real = value.bias if value.bias is not None else value.node.op.bias  # type: ignore[attr-defined]
        if real is None:
            return None
        stored = self.build.stored.get(origin.inputs[2]) if len(origin.inputs) > 2 and value.bias is None else None
        if np.size(real) not in (1, channels):
            raise InputError(f"it has {np.size(real)} biases for {channels} output channels; 1, or one for each, is needed.")
        if isinstance(x, FixedPoint) and isinstance(weight, FixedPoint):
            lengths = tuple(x.fl() + weight.fl(k) for k in range(channels))
            return FixedPoint(32, lengths).encode_array(real).astype(np.int64)
        if stored is None or stored.codes.dtype != np.int32:
            return bias_codes(np.broadcast_to(real, (channels,)), as_affine(x), as_affine(weight), channels)
        if stored.codes.size not in (1, channels):
            raise InputError(f"it has {stored.codes.size} biases for {channels} output channels; 1, or one for each, is needed.")
        self.check_bias(stored.format, as_affine(x), as_affine(weight), origin)
        return np.broadcast_to(stored.codes.reshape(-1).astype(np.int64), (channels,))

    def check_bias(self, fmt: Grid, x: Affine, weight: Affine, origin: OnnxNode) -> None:
        """A bias must be worth what the products are; an integer operator's is by definition."""
        assert isinstance(fmt, Affine)
        wanted, given = np.float64(x.step()) * np.asarray(weight.scale), np.asarray(fmt.scale)
        if origin.name.endswith(":sum"):
            return
        if np.any(np.asarray(fmt.zero_point)) or not np.allclose(given, wanted, rtol=1e-4, atol=0):
            raise InputError(f"its biases are stored as {fmt}, but its products are worth {np.min(wanted):g}; store them so.")

    def moved(self, node: Node, inputs: tuple[Codes, ...]) -> Codes:
        """Operations that take codes as they are."""
        op, fmt = node.op, inputs[0].format
        if isinstance(op, ops.Dropout):
            return inputs[0]
        layer: Layer
        if isinstance(op, ops.Concat):
            layer = Concat(fmt, len(inputs))
        elif isinstance(op, ops.Softmax):
            layer = Softmax(fmt)
        else:
            layer = MOVES[type(op)](op, fmt)
        return self.add(node.name, tuple(each.node for each in inputs), layer)

    def result(self) -> QuantizedNetwork:
        """The network, once its outputs are codes."""
        for name in self.network.outputs:
            self.sums(name)
        fixed = self.build.qonnx
        name = self.network.name
        shape = Shape(*self.shapes[self.network.input.name])
        return QuantizedNetwork(name, tuple(self.nodes), shape, self.preprocessing, QONNX if fixed else DIALECT)
