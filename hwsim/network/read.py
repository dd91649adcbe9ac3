"""hwsim.read: model files -> the float Network, or the QuantizedNetwork of a file whose network was born in integers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from hwsim.errors import InputError
from hwsim.network.preprocessing import ChannelOrder

if TYPE_CHECKING:
    from hwsim.contract.dialects import Dialect
    from hwsim.network.graph import Network
    from hwsim.network.quantized import QuantizedNetwork

PathLike = str | os.PathLike[str]
MeanLike = PathLike | Sequence[float] | np.ndarray


@overload
def read(
    model: PathLike,
    weights: PathLike,
    *,
    mean: MeanLike | None = None,
    scale: float | None = None,
    channel_order: ChannelOrder | None = None,
    shape: tuple[int, int, int] | None = None,
    dialect: Dialect | None = None,
) -> Network: ...
@overload
def read(
    model: PathLike,
    weights: None = None,
    *,
    mean: MeanLike | None = None,
    scale: float | None = None,
    channel_order: ChannelOrder | None = None,
    shape: tuple[int, int, int] | None = None,
    dialect: Dialect | None = None,
) -> Network | QuantizedNetwork: ...
def read(
    model: PathLike,
    weights: PathLike | None = None,
    *,
    mean: MeanLike | None = None,
    scale: float | None = None,
    channel_order: ChannelOrder | None = None,
    shape: tuple[int, int, int] | None = None,
    dialect: Dialect | None = None,
) -> Network | QuantizedNetwork:
    """The float network of a Caffe prototxt and caffemodel, as Caffe runs it in phase TEST, or of an ONNX file.

    An .onnx file holds its weights: give it alone.  So does a quantized .tflite file, which gives a QuantizedNetwork, in the
    arithmetic of TensorFlow Lite's reference kernels; its pixels are its codes where neither mean nor scale is given.
    dialect: of a .tflite file alone, whose rules of requantizing it follows instead: what another device would give.
    What the files do not say about pixels may be said here, and goes before what they say.  mean: numbers per channel,
    an array C, H, W, or a .npy or .binaryproto file, in the network's channel order.  scale: factor after the mean.
    channel_order: for 3 channels where nothing else is said BGR, as Caffe has it, of an .onnx file RGB.  shape: C, H, W of
    the input, needed where a data layer does not state it.
    Raises InputError, naming file, layer and field, for anything that is missing, damaged or not supported.
    """
    from hwsim.contract.dialects import Dialect
    from hwsim.network.caffe_input import Wish
    from hwsim.network.caffe_weights import read_mean
    from hwsim.network.read_caffe import read_caffe

    model, weights = Path(model), None if weights is None else Path(weights)
    if isinstance(mean, (str, os.PathLike)):
        mean = read_mean(Path(mean))
    elif mean is not None and not isinstance(mean, np.ndarray):
        try:
            mean = tuple(float(value) for value in mean)
        except (TypeError, ValueError):
            raise InputError(f"read: mean {mean!r} is not a sequence of numbers, an array, or the path of one.") from None
    if shape is not None and len(shape) != 3:
        raise InputError(f"read: shape {shape} is not (channels, height, width).")
    if not isinstance(dialect, Dialect | None):
        raise InputError(f"read: found dialect={dialect!r}, allowed a Dialect, as hwsim.dialects.TFLITE.")
    if dialect is not None and model.suffix != ".tflite":
        raise InputError(f"{model}: found the dialect {dialect.name}; only a .tflite file takes one here, others when quantized.")
    wish = Wish(mean, scale, channel_order, shape)
    if model.suffix == ".onnx":
        from hwsim.network.read_onnx import read_onnx

        if weights is not None:
            raise InputError(f"{model}: found weights {weights} beside it; an ONNX file holds its own, so give it alone.")
        return read_onnx(model, wish)
    if model.suffix == ".tflite":
        from hwsim.network.read_tflite import read_tflite

        if weights is not None:
            raise InputError(f"{model}: found weights {weights} beside it; a .tflite file holds its own, so give it alone.")
        return read_tflite(model, wish) if dialect is None else read_tflite(model, wish, dialect)
    if weights is None:
        raise InputError(
            f"{model}: its weights are missing; give a .prototxt and its .caffemodel, or an .onnx or .tflite file alone."
        )
    if model.suffix == ".caffemodel" and weights.suffix == ".prototxt":
        raise InputError(f"{model}: give the prototxt first and the caffemodel second.")
    return read_caffe(model, weights, wish)
