"""Where images enter a Caffe network: shape and preprocessing, from the file and from what the user says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.errors import HwsimError, InputError
from hwsim.network.graph import ChannelOrder, Input, Node, Preprocessing, Shape

Mean = tuple[float, ...] | np.ndarray


@dataclass(frozen=True, eq=False)
class Wish:
    """What the user says about the input; None leaves it to the file. shape: C, H, W; mean: in the network's order."""

    mean: Mean | None = None
    scale: float | None = None
    channel_order: ChannelOrder | None = None
    shape: Shape | None = None


@dataclass(frozen=True)
class _Transform:
    """What a data layer says about pixels."""

    mean: tuple[float, ...] = ()
    mean_file: str = ""
    scale: float = 1.0
    crop: int = 0


def make_input(
    path: Path, net: Any, entry: Sequence[tuple[str, tuple[str, ...], Any]], wish: Wish, channels: int | None
) -> Node:
    """The one Input: from `input`, an Input layer or a data layer. channels: what the first convolution takes."""
    if len(net.input) + len(entry) != 1:
        names = ", ".join([*net.input, *(name for name, _, _ in entry)])
        raise InputError(f"{path}: {len(net.input) + len(entry)} inputs in phase TEST ({names}); exactly 1 is needed.")
    name, tops, params = entry[0] if entry else (net.input[0], (net.input[0],), None)
    where = f"{path}: input {name!r}"
    transform = _transform(params)
    if not tops:
        raise InputError(f"{where}: it has no top; name the blob that it writes.")
    stated = _stated_shape(net, params, where)
    shape = wish.shape or stated or _derived_shape(params, transform, wish, channels, where)
    try:
        return Node(tops[0], Input(shape, _preprocessing(shape, transform, wish)))
    except HwsimError as error:
        raise InputError(f"{where}: {error}") from None


def _stated_shape(net: Any, params: Any, where: str) -> Shape | None:
    """C, H, W where the file says it as an input's shape; the batch is left out."""
    if params is None:
        dims = list(net.input_shape[0].dim) if net.input_shape else list(net.input_dim)
    elif hasattr(params, "input_param") and params.input_param.shape:
        dims = list(params.input_param.shape[0].dim)
    else:
        return None
    if len(dims) != 4:
        raise InputError(f"{where}: its shape has {len(dims)} numbers; 4 (batch, channels, height, width) are needed.")
    return dims[1], dims[2], dims[3]


def _derived_shape(params: Any, transform: _Transform, wish: Wish, channels: int | None, where: str) -> Shape:
    """C, H, W of a data layer: the crop, the sizes of Image- or MemoryData, or the mean image."""
    if isinstance(wish.mean, np.ndarray) and wish.mean.ndim == 3:
        channels = channels or wish.mean.shape[0]
    sizes: list[tuple[int, int]] = [(transform.crop, transform.crop)]
    if params is not None:
        sizes.append((params.image_data_param.new_height, params.image_data_param.new_width))
        sizes.append((params.memory_data_param.height, params.memory_data_param.width))
        channels = channels or params.memory_data_param.channels
    if isinstance(wish.mean, np.ndarray) and wish.mean.ndim == 3:
        sizes.append((wish.mean.shape[1], wish.mean.shape[2]))
    height, width = next((size for size in sizes if all(size)), (0, 0))
    if not (height and channels):
        raise InputError(f"{where}: the file does not say the size of an image; give it: --shape 1,28,28 (shape=(1, 28, 28)).")
    return channels, height, width


def _transform(params: Any) -> _Transform:
    """transform_param, or the older fields of the same names in data_param and image_data_param."""
    if params is None:
        return _Transform()
    t, old = params.transform_param, [params.data_param, params.image_data_param]
    scale = next((p.scale for p in [t, *old] if p.HasField("scale")), 1.0)
    crop = next((p.crop_size for p in [t, *old] if p.crop_size), 0)
    mean_file = next((p.mean_file for p in [t, *old] if p.mean_file), "")
    return _Transform(tuple(t.mean_value), mean_file, scale, crop)


def _preprocessing(shape: Shape, transform: _Transform, wish: Wish) -> Preprocessing | None:
    channels, height, width = shape
    order = wish.channel_order or {1: ChannelOrder.GRAY, 3: ChannelOrder.BGR}.get(channels)
    if order is None:
        return None
    if order.channels != channels:
        raise InputError(f"channel order {order.name} has {order.channels} channels; the network takes {channels}.")
    mean: Mean = transform.mean or (0.0,)
    if wish.mean is not None:
        mean = _cropped(wish.mean, height, width)
    elif transform.mean_file:
        raise InputError(f"its mean is in {transform.mean_file!r}; give this file, or a .npy array, as mean.")
    scale = transform.scale if wish.scale is None else wish.scale
    if not math.isfinite(scale):
        raise InputError(f"scale {scale} is not finite.")
    return Preprocessing(order, (height, width), mean, scale, crop=transform.crop > 0)


def _cropped(mean: Mean, height: int, width: int) -> Mean:
    """A mean image larger than the crop, cropped around its centre as Caffe does in phase TEST."""
    if not isinstance(mean, np.ndarray) or mean.ndim != 3 or mean.shape[1] < height or mean.shape[2] < width:
        return mean
    top, left = (mean.shape[1] - height) // 2, (mean.shape[2] - width) // 2
    return mean[:, top : top + height, left : left + width]
