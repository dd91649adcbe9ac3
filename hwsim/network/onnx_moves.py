"""ONNX operators that move numbers and compute none: reshapes, slices, pads, resizes, and the shuffle that three of them make."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hwsim.errors import InputError
from hwsim.network.graph import ChannelShuffle, ResizeNearest, Slice
from hwsim.network.onnx_attributes import allow, take
from hwsim.network.onnx_build import Build, Grouped, OnnxNode, Padded, Tensor, Value
from hwsim.network.ops_base import MAX_ELEMENTS

HALF_PIXEL = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric")


def _identity(build: Build, node: OnnxNode) -> Value:
    take(node)
    return build.value(node.inputs[0])


def _cast(build: Build, node: OnnxNode) -> Value:
    allow("to", take(node, to=0, saturate=1)["to"], 1)
    return build.value(node.inputs[0])


def _shape(build: Build, node: OnnxNode) -> Value:
    a = take(node, start=0, end=8)
    value = build.value(node.inputs[0])
    if isinstance(value, Padded):
        value = build.tensor(node.inputs[0])
    dims = value.shape if isinstance(value, np.ndarray) else value.dims
    return np.array(dims[a["start"] : a["end"]], np.int64)


def _flatten(build: Build, node: OnnxNode) -> Value:
    axis = take(node, axis=1)["axis"]
    source = build.tensor(node.inputs[0])
    if axis != 1 and axis != 1 - len(source.dims):
        raise InputError(f"axis is {axis}; 1, which keeps the batch, is needed.")
    return Tensor(source.node, source.shape, flat=True)


def _reshape(build: Build, node: OnnxNode) -> Value:
    a = take(node, allowzero=0, shape=None)
    wanted = build.integers(node, 1, "shape")
    value = build.value(node.inputs[0])
    if wanted is None:
        raise InputError("it has no shape; give it as a constant.")
    if isinstance(value, np.ndarray):
        return value.reshape(_resolved(wanted, value.shape, bool(a["allowzero"])))
    if not isinstance(value, Grouped):
        value = build.tensor(node.inputs[0])
    return reshaped(value, _resolved(wanted, value.dims, bool(a["allowzero"])))


def _resolved(wanted: Sequence[int], dims: tuple[int, ...], zeros: bool) -> tuple[int, ...]:
    """The dimensions that a Reshape's list means: 0 keeps one, -1 takes the rest."""
    if any(side < -1 or side > MAX_ELEMENTS for side in wanted) or list(wanted).count(-1) > 1:
        raise InputError(f"the shape {tuple(wanted)} is none that a tensor can have.")
    kept = [dims[i] if side == 0 and not zeros and i < len(dims) else side for i, side in enumerate(wanted)]
    known, total = math.prod(side for side in kept if side != -1), math.prod(dims)
    if -1 in kept and known and total % known == 0:
        kept[kept.index(-1)] = total // known
    if math.prod(kept) != total or min(kept, default=0) < 1:
        raise InputError(f"the shape {tuple(wanted)} does not fit a tensor of dimensions {dims}.")
    return tuple(kept)


def reshaped(value: Tensor | Grouped, dims: tuple[int, ...]) -> Value:
    """The value under other dimensions; InputError where a Network has none like them."""
    if isinstance(value, Grouped):
        if not value.dealt and dims == value.source.dims:
            return value.source
        raise InputError(f"it makes {dims} of {value.dims}; hwsim reads 5 axes only as a channel shuffle (a Transpose between).")
    if dims == value.dims:
        return value
    if dims[0] == 1 and len(dims) == 2:
        return Tensor(value.node, value.shape, flat=True)
    if dims[0] == 1 and len(dims) == 4 and dims[1:] == value.shape:
        return Tensor(value.node, value.shape)
    channels, rows, columns = value.shape
    if len(dims) == 5 and not value.flat and dims[0] == 1 and dims[1] * dims[2] == channels and dims[3:] == (rows, columns):
        return Grouped(value, dims[1])
    raise InputError(
        f"it makes {dims} of {value.dims}; hwsim keeps the batch, flattens to (batch, C*H*W), and splits channels for a shuffle."
    )


def _unshuffle(build: Build, node: OnnxNode) -> Value | None:
    """The Reshape behind a dealt group: the shuffle's end; None where it is none."""
    value = build.value(node.inputs[0])
    if not isinstance(value, Grouped) or not value.dealt:
        return None
    a = take(node, allowzero=0, shape=None)
    wanted = build.integers(node, 1, "shape") or ()
    if _resolved(wanted, value.dims, bool(a["allowzero"])) != value.source.dims:
        raise InputError(f"the shape {wanted} does not end the channel shuffle before it; {value.source.dims} would.")
    return build.emit(node.name, ChannelShuffle(value.groups), (value.source,))


def _reshape_or_shuffle(build: Build, node: OnnxNode) -> Value:
    shuffled = _unshuffle(build, node)
    return _reshape(build, node) if shuffled is None else shuffled


def _transpose(build: Build, node: OnnxNode) -> Value:
    value = build.value(node.inputs[0])
    if isinstance(value, np.ndarray):
        perm = take(node, perm=None)["perm"]
        if perm is not None and sorted(perm) != list(range(value.ndim)):
            raise InputError(f"perm is {perm}; each of {value.ndim} axes is needed once.")
        return value.transpose(perm)
    axes = 5 if isinstance(value, Grouped) else len(build.tensor(node.inputs[0]).dims)
    perm = take(node, perm=tuple(reversed(range(axes))))["perm"]
    if perm == tuple(range(axes)):
        return value
    if isinstance(value, Grouped) and perm == (0, 2, 1, 3, 4) and not value.dealt:
        return Grouped(value.source, value.groups, dealt=True)
    raise InputError(f"perm is {perm}; hwsim reads (0, 2, 1, 3, 4) within a channel shuffle, and networks in the order NCHW.")


def _squeeze(build: Build, node: OnnxNode) -> Value:
    take(node, axes=None)
    axes, source = build.integers(node, 1, "axes"), build.tensor(node.inputs[0])
    if axes is None or source.flat or source.shape[1:] != (1, 1) or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise InputError(f"axes are {axes} of {source.dims}; (2, 3) of one pixel can go.")
    return Tensor(source.node, source.shape, flat=True)


def _unsqueeze(build: Build, node: OnnxNode) -> Value:
    take(node, axes=None)
    axes, source = build.integers(node, 1, "axes"), build.plain(node.inputs[0])
    if axes is None or not source.flat or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise InputError(f"axes are {axes} of {source.dims}; (2, 3), height and width, can come behind the channels.")
    return Tensor(source.node, source.shape)


def _pad(build: Build, node: OnnxNode) -> Value:
    a = take(node, mode="constant", pads=None, value=0.0, axes=None)
    allow("mode", a["mode"], "constant")
    amounts, fill = build.integers(node, 1, "pads"), build.constant(node, 2)
    axes = build.integers(node, 3, "axes")
    source = build.tensor(node.inputs[0])
    if source.flat or amounts is None:
        raise InputError(f"pads are {amounts} of a tensor of {source.dims}; 4 axes are needed.")
    axes = tuple(range(4)) if axes is None else tuple(axis % 4 for axis in axes)
    if len(amounts) != 2 * len(axes) or len(set(axes)) != len(axes) or (fill is not None and fill.size != 1):
        raise InputError(f"pads are {amounts} for the axes {axes}; 2 for each, and one constant, are needed.")
    before, after = [0] * 4, [0] * 4
    for i, axis in enumerate(axes):
        before[axis], after[axis] = amounts[i], amounts[i + len(axes)]
    if before[0] or after[0] or min(before + after) < 0:
        raise InputError(f"pads are {amounts}; only channels, rows and columns can be added, and none cut away.")
    if not any(before + after):
        return source
    value = a["value"] if fill is None else float(fill.reshape(-1)[0])
    (_, *front), (_, *back) = before, after
    return Padded(source, node.name, (front[0], front[1], front[2]), (back[0], back[1], back[2]), value)


def _slice(build: Build, node: OnnxNode) -> Value:
    take(node, starts=None, ends=None, axes=None)
    source = build.plain(node.inputs[0])
    names = ("starts", "ends", "axes", "steps")
    starts, ends, axes, steps = (build.integers(node, index, name) for index, name in enumerate(names, 1))
    if starts is None or ends is None:
        raise InputError("it has no starts and ends; give them as constants.")
    axes = tuple(range(len(starts))) if axes is None else tuple(axis % len(source.dims) for axis in axes)
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or len(set(axes)) != len(axes) or min(steps, default=1) < 1:
        raise InputError(f"starts {starts}, ends {ends}, axes {axes} and steps {steps} do not belong together, or go backwards.")
    begin, end, step = [0, 0, 0, 0], [1, *source.shape], [1, 1, 1, 1]
    for axis, start, stop, by in zip(axes, starts, ends, steps, strict=True):
        at = range(end[axis])[start:stop]
        if not at or axis >= len(source.dims) or axis == 0 and len(at) != 1:
            raise InputError(f"{start}:{stop} of axis {axis} of {source.dims} leaves nothing.")
        begin[axis], end[axis], step[axis] = at[0], at[-1] + 1, by
    return _sliced(build, node.name, source, begin[1:], end[1:], step[1:])


def _sliced(build: Build, name: str, source: Tensor, begin: list[int], end: list[int], step: list[int]) -> Tensor:
    if tuple(end) == source.shape and not any(begin) and step == [1, 1, 1]:
        return source
    op = Slice((begin[0], begin[1], begin[2]), (end[0], end[1], end[2]), (step[0], step[1], step[2]))
    return build.emit(name, op, (source,), source.flat)


def _split(build: Build, node: OnnxNode) -> tuple[Value, ...]:
    a = take(node, axis=0, split=None, num_outputs=0)
    source = build.plain(node.inputs[0])
    axis, count = a["axis"] % len(source.dims), len(node.outputs)
    if axis == 0:
        raise InputError("axis is 0; the batch cannot be split.")
    side = source.shape[axis - 1]
    parts = build.integers(node, 1, "split")
    if parts is None:
        size = -(-side // count)
        if side % count and not a["num_outputs"]:
            raise InputError(f"axis {axis} of {source.dims} cannot be split into {count} equal parts.")
        parts = (*(size,) * (count - 1), side - size * (count - 1))
    if len(parts) != count or min(parts) < 1 or sum(parts) != side:
        raise InputError(f"split is {parts} for {count} outputs; {count} positive numbers with the sum {side} are needed.")
    found: list[Value] = []
    for i, output in enumerate(node.outputs):
        begin, end = [0, 0, 0], list(source.shape)
        begin[axis - 1], end[axis - 1] = sum(parts[:i]), sum(parts[: i + 1])
        found.append(_sliced(build, output or f"{node.name}:{i}", source, begin, end, [1, 1, 1]))
    return tuple(found)


def _resize(build: Build, node: OnnxNode) -> Value:
    a = take(
        node, mode="nearest", coordinate_transformation_mode="half_pixel", nearest_mode="round_prefer_floor", scales=(1.0,),
        antialias=0, cubic_coeff_a=-0.75, exclude_outside=0, extrapolation_value=0.0, keep_aspect_ratio_policy="stretch",
    )  # fmt: skip
    allow("mode", a["mode"], "nearest")
    allow("keep_aspect_ratio_policy", a["keep_aspect_ratio_policy"], "stretch")
    source = build.image(node.inputs[0])
    factors = _factors(build, node, source)
    rule, nearest = a["coordinate_transformation_mode"], a["nearest_mode"]
    if node.kind == "Upsample" or build.opset < 11:
        rule, nearest = "asymmetric", "floor"
    for factor in set(factors):
        # x // factor: exact for blocks; a half pixel's offset never reaches the next pixel's half
        blocks = rule == "asymmetric" and (nearest == "floor" or nearest == "round_prefer_floor" and factor == 2)
        if factor > 1 and not (blocks or rule in HALF_PIXEL and nearest in ("round_prefer_floor", "round_prefer_ceil")):
            raise InputError(f"{rule} with {nearest} by {factor} does not repeat each pixel; hwsim resizes by blocks.")
    return source if factors == (1, 1) else build.emit(node.name, ResizeNearest(factors), (source,))


def _factors(build: Build, node: OnnxNode, source: Tensor) -> tuple[int, int]:
    """Whole factors of height and width, from scales or sizes."""
    given = node.attributes.get("scales")
    modern = node.kind == "Resize" and build.opset >= 11
    scales, sizes = build.constant(node, 2 if modern else 1), build.constant(node, 3) if modern else None
    if sizes is not None and sizes.size == 4:
        found = [float(size) / side for size, side in zip(sizes.reshape(-1).tolist(), source.dims, strict=True)]
    elif scales is not None and scales.size == 4:
        found = [float(scale) for scale in scales.reshape(-1)]
    elif isinstance(given, tuple) and len(given) == 4:
        found = [float(scale) for scale in given]
    else:
        raise InputError("it needs 4 constant scales or sizes.")
    if found[:2] != [1.0, 1.0] or not all(1 <= factor <= 64 and factor == int(factor) for factor in found[2:]):
        raise InputError(f"it resizes by {found}; whole factors of height and width, 1..64, are needed.")
    return int(found[2]), int(found[3])


MOVES = {
    "Cast": _cast,
    "Flatten": _flatten,
    "Identity": _identity,
    "Pad": _pad,
    "Reshape": _reshape_or_shuffle,
    "Resize": _resize,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": _resize,
}
