"""The native backend: the C core of native/, on the fastest instruction set of this processor."""

from hwsim.backends.base import Backend, by_format, has_minifloat
from hwsim.backends.host import HOST_TABLE
from hwsim.backends.native.float_kernels import mac_kernel
from hwsim.backends.native.kernels import (
    AveragePoolKernel,
    ConcatKernel,
    EltwiseSumKernel,
    ImageEncodingKernel,
    MaxPoolKernel,
    ReluKernel,
    RescaleKernel,
)
from hwsim.backends.native.library import NativeInfo, available, info, require
from hwsim.backends.native.noise import NativeNoisyKernel
from hwsim.backends.native.program import native_program
from hwsim.backends.native.value_kernels import (
    CastKernel,
    FloatImageKernel,
    FloatMaxPoolKernel,
    FloatReluKernel,
    FloatSumKernel,
    sums_beyond,
)
from hwsim.formats import Affine, FixedPoint
from hwsim.layers import Layer, MacLayer
from hwsim.layers.draws import epilogue_of

BEYOND = ("operands", "stretch", "division", "of_codes")
"""Fields of sums and averages that the C core does not know."""


def lacks(layer: Layer) -> bool:
    """Return whether the C core has no operator for this layer, though for others of its kind: a wide sum of minifloats."""
    return scales_beyond(layer) or has_minifloat(layer) and sums_beyond(layer)


def scales_beyond(layer: Layer) -> bool:
    """Return whether a layer has affine codes, a multiplier, a clamp, uneven padding or codes beyond 32 bits."""
    epilogue, window = epilogue_of(layer), getattr(layer, "window", None)
    uneven = getattr(layer, "pad_end", None) is not None or window is not None and window.pad_end is not None
    formats = (*layer.input_formats, layer.output_format)
    affine = any(isinstance(fmt, Affine) or isinstance(fmt, FixedPoint) and fmt.bits > 32 for fmt in formats)
    affine |= isinstance(layer, MacLayer) and isinstance(layer.contract.weight, Affine)
    uneven |= any(getattr(layer, name, None) for name in BEYOND) or getattr(layer, "constant", None) is not None
    return affine or uneven or epilogue is not None and not epilogue.plain


NATIVE = Backend(
    "native",
    {
        "image_encoding": by_format(ImageEncodingKernel, FloatImageKernel),
        "convolution": mac_kernel,
        "fully_connected": mac_kernel,
        "max_pool": by_format(MaxPoolKernel, FloatMaxPoolKernel),
        "average_pool": by_format(AveragePoolKernel, FloatSumKernel),
        "relu": by_format(ReluKernel, FloatReluKernel),
        "rescale": by_format(RescaleKernel, CastKernel),
        "eltwise_sum": by_format(EltwiseSumKernel, FloatSumKernel),
        "concat": ConcatKernel,
        **HOST_TABLE,
    },
    native_program,
    NativeNoisyKernel,
    lacks,
)

__all__ = ["NATIVE", "NativeInfo", "available", "info", "require"]
