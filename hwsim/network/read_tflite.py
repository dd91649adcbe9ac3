"""A quantized .tflite file -> the QuantizedNetwork that computes what TensorFlow Lite's reference kernels compute."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from hwsim.arith.rounding import Rounding
from hwsim.contract import Output
from hwsim.contract.dialects import TFLITE, Dialect
from hwsim.errors import InputError
from hwsim.formats import Affine
from hwsim.layers import ImageEncoding
from hwsim.layers.image import MEAN_LENGTH
from hwsim.network.caffe_input import Wish
from hwsim.network.lower.settle import naming
from hwsim.network.lower.tflite import lower_tflite
from hwsim.network.lower.tflite_site import activation_format, plane_shape
from hwsim.network.preprocessing import ChannelOrder, Preprocessing
from hwsim.network.quantized import QuantizedNetwork
from hwsim.network.tflite_file import TfliteModel, read_tflite_file

ORDERS = {1: ChannelOrder.GRAY, 3: ChannelOrder.RGB}


def read_tflite(path: Path, wish: Wish | None = None, dialect: Dialect = TFLITE) -> QuantizedNetwork:
    """Return the network of a quantized .tflite file: uint8, int8 or 16-bit codes throughout, one image at a time.

    A pixel is a code: uint8 codes are the pixels themselves, int8 codes are pixel - 128, whatever scale and zero point make of
    them. With a mean or a scale (wish), code = fit(round((pixel - mean) * scale / input scale) + zero point) instead; so it
    must be where the model takes floats and quantizes them itself. A DEQUANTIZE at the end is left out.
    dialect: whose rounding; TFLITE is that of LiteRT's reference kernels, and others tell what another device would give.
    Errors: InputError for damaged files and for what hwsim does not run, naming operator and tensor.
    """
    return network_of(read_tflite_file(path), path.stem, wish or Wish(), dialect)[0]


def network_of(model: TfliteModel, name: str, wish: Wish, dialect: Dialect = TFLITE) -> tuple[QuantizedNetwork, dict[int, str]]:
    """Return the network of a model that was read, and {tensor of the file: node that holds its codes}.

    Codes are C, H, W here and N H W C in the file; a reshape's tensor is held by the node before it.
    """
    if dialect.affine is None or dialect.affine.sum_shift is None:
        raise InputError(f"{model.where}: the dialect {dialect.name} does not scale affine codes by integers; take another.")
    floats = any(model.tensors[i].dtype == "float32" for i in model.inputs)
    model = _without_floats(model)
    image = _image(model)
    tensor = model.tensors[image]
    with naming(f"{model.where}: input {tensor.name!r}"):
        fmt, shape = activation_format(tensor, "its codes"), plane_shape(tensor, "its shape")
        if shape.c not in ORDERS or wish.shape not in (None, tuple(shape)):
            raise InputError(f"found shape {tuple(shape)} (C, H, W), allowed images of 1 or 3 channels, and no other shape.")
        if floats and wish.mean is None and wish.scale is None:
            raise InputError("the model takes floats; say with mean and scale what a pixel means to it.")
        preprocessing = _preprocessing(fmt, wish.channel_order or ORDERS[shape.c], (shape.h, shape.w), wish)
        encoding = _encoding(fmt, preprocessing)
    nodes, held = lower_tflite(model, encoding, image, dialect.affine)
    return QuantizedNetwork(name, nodes, shape, preprocessing, dialect.name), held


def _without_floats(model: TfliteModel) -> TfliteModel:
    """The model without the QUANTIZE that makes codes of a float image, and without the DEQUANTIZE of its answer."""
    operators = model.operators
    first = [
        o
        for o in operators
        if o.name == "QUANTIZE" and o.inputs == model.inputs and model.tensors[o.inputs[0]].dtype == "float32"
    ]
    readers = [o for o in operators if set(o.inputs) & set(model.inputs)]
    if len(first) == 1 and readers == first:
        model = replace(model, inputs=first[0].outputs, operators=tuple(o for o in operators if o is not first[0]))
    last = [o for o in operators if o.name == "DEQUANTIZE" and o.outputs == model.outputs]
    if len(last) == 1:
        model = replace(model, outputs=last[0].inputs, operators=tuple(o for o in model.operators if o is not last[0]))
    return model


def _image(model: TfliteModel) -> int:
    if len(model.inputs) != 1:
        raise InputError(f"{model.where}: found {len(model.inputs)} inputs, allowed one, an image.")
    return model.inputs[0]


def _preprocessing(fmt: Affine, order: ChannelOrder, size: tuple[int, int], wish: Wish) -> Preprocessing:
    """real = (pixel - mean) * scale; by default the pixel is the code, from the lowest on."""
    if wish.mean is None and wish.scale is None:
        if fmt.bits != 8:
            raise InputError(f"found {fmt.bits}-bit codes, which are no pixels; say with mean and scale what a pixel means.")
        return Preprocessing(order, size, (float(fmt.zero() - fmt.low),), fmt.step())
    return Preprocessing(order, size, (0.0,) if wish.mean is None else wish.mean, 1.0 if wish.scale is None else wish.scale)


def _encoding(fmt: Affine, preprocessing: Preprocessing) -> ImageEncoding:
    """The image's codes on the input's scale: pixel - mean is exact where scales are equal."""
    output, scale = Output(fmt, Rounding.TIES_AWAY), preprocessing.scale / fmt.step()
    mean = np.asarray(preprocessing.mean)
    if scale == 1.0:
        codes = np.rint(mean.astype(np.float64) * (1 << MEAN_LENGTH)).astype(np.int64)
        return ImageEncoding(codes.reshape(-1, 1, 1) if codes.ndim == 1 else codes, 1, 0, output)
    return ImageEncoding.from_real(mean, scale, output)
