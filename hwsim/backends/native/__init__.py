"""The native backend: the C core of native/, on the fastest instruction set of this processor."""

from hwsim.backends.base import Backend
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

NATIVE = Backend(
    "native",
    {
        "image_encoding": ImageEncodingKernel,
        "convolution": mac_kernel,
        "fully_connected": mac_kernel,
        "max_pool": MaxPoolKernel,
        "average_pool": AveragePoolKernel,
        "relu": ReluKernel,
        "rescale": RescaleKernel,
        "eltwise_sum": EltwiseSumKernel,
        "concat": ConcatKernel,
        **HOST_TABLE,
    },
    native_program,
    NativeNoisyKernel,
)

__all__ = ["NATIVE", "NativeInfo", "available", "info", "require"]
