"""Where pixels enter a quantized ONNX network: as its first Quantize has them, or as codes themselves."""

from __future__ import annotations

from hwsim.contract import Output
from hwsim.errors import InputError
from hwsim.formats import Affine
from hwsim.layers import ImageEncoding, Shape
from hwsim.network.caffe_input import Wish
from hwsim.network.lower.plain import encoding as image_encoding
from hwsim.network.onnx_integers import Quantize
from hwsim.network.preprocessing import ChannelOrder, Preprocessing

ORDERS = {1: ChannelOrder.GRAY, 3: ChannelOrder.RGB}


def pixels(op: Quantize, shape: Shape, wish: Wish) -> Preprocessing:
    """real = (pixel - mean) * scale, as the wish has it; by default a pixel is a code, counted from the lowest.

    Errors: InputError for images of other than 1 or 3 channels, and for codes of other than 8 bits without a wish.
    """
    order = wish.channel_order or ORDERS.get(shape.c)
    if order is None or order.channels != shape.c:
        raise InputError(f"the image has {shape.c} channels; hwsim encodes images of 1 or 3, in an order that has as many.")
    size, fmt = (shape.h, shape.w), op.format
    if wish.mean is not None or wish.scale is not None:
        return Preprocessing(order, size, (0.0,) if wish.mean is None else wish.mean, 1.0 if wish.scale is None else wish.scale)
    if fmt.bits != 8:
        raise InputError(f"the image has {fmt.bits}-bit codes, which are no pixels; say with mean and scale what a pixel means.")
    step = fmt.step() if isinstance(fmt, Affine) else 2.0 ** -fmt.fl()
    return Preprocessing(order, size, (float(fmt.zero() - fmt.low),), step)


def encoding(op: Quantize, preprocessing: Preprocessing) -> ImageEncoding:
    """The image's codes: exact products and one rounding; onnxruntime, which is given real numbers, divides in float32."""
    return image_encoding(preprocessing.mean, preprocessing.scale, Output(op.format, op.rounding, op.overflow))
