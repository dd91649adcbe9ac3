"""The native backend: the C core of native/, on the fastest instruction set of this processor."""

from hwsim.backends.base import Backend, by_format, has_minifloat
from hwsim.backends.host import HOST_TABLE
from hwsim.backends.native.deconv_kernels import DeconvolutionKernel, skips_beyond
from hwsim.backends.native.eltwise_kernels import ELTWISE_TABLE, sum_kernel
from hwsim.backends.native.float_kernels import mac_kernel
from hwsim.backends.native.kernels import (
    AveragePoolKernel,
    ClampKernel,
    ConcatKernel,
    ImageEncodingKernel,
    MaxPoolKernel,
    ReluKernel,
    RescaleKernel,
)
from hwsim.backends.native.library import NativeInfo, available, info, require
from hwsim.backends.native.lrn_kernels import LRNKernel
from hwsim.backends.native.move_kernels import FlattenKernel, LookupKernel, MoveKernel, PReluKernel
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
from hwsim.formats import IntegerFormat
from hwsim.layers import EltwiseMax, Layer, MacLayer
from hwsim.layers.base import Real
from hwsim.layers.float_unit import FloatUnit


def lacks(layer: Layer) -> bool:
    """Return whether the C core has no operator for this layer, though for others of its kind."""
    if skips_beyond(layer):
        return True
    if isinstance(layer, EltwiseMax) and has_minifloat(layer):
        return True
    if has_minifloat(layer) or isinstance(layer, MacLayer) and isinstance(layer.unit, FloatUnit):
        return sums_beyond(layer) or any(isinstance(f, IntegerFormat) and f.bits > 32 for f in formats(layer))
    return False


def formats(layer: Layer) -> tuple[Real, ...]:
    """Return all formats that enter or leave."""
    return (*layer.input_formats, layer.output_format)


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
        "eltwise_sum": by_format(sum_kernel, FloatSumKernel),
        **ELTWISE_TABLE,
        "concat": ConcatKernel,
        "clamp": ClampKernel,
        **dict.fromkeys(("pad", "slice", "resize_nearest", "channel_shuffle"), MoveKernel),
        "flatten": FlattenKernel,
        "lookup_table": LookupKernel,
        "prelu": PReluKernel,
        "lrn": LRNKernel,
        "deconvolution": DeconvolutionKernel,
        **HOST_TABLE,
    },
    native_program,
    NativeNoisyKernel,
    lacks,
)

__all__ = ["NATIVE", "NativeInfo", "available", "info", "require"]
