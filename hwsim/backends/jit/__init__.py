"""The jit backend: numba compiles the leaves that the specification calls."""

from hwsim.backends.base import Backend
from hwsim.backends.host import HOST_TABLE
from hwsim.backends.jit.float_kernels import mac_kernel
from hwsim.backends.jit.kernels import (
    AveragePoolKernel,
    ConcatKernel,
    MaxPoolKernel,
    ReluKernel,
    ValueKernel,
)
from hwsim.backends.jit.noise import JitNoisyKernel

JIT = Backend(
    "jit",
    {
        "image_encoding": ValueKernel,
        "convolution": mac_kernel,
        "fully_connected": mac_kernel,
        "max_pool": MaxPoolKernel,
        "average_pool": AveragePoolKernel,
        "relu": ReluKernel,
        "rescale": ValueKernel,
        "eltwise_sum": ValueKernel,
        "concat": ConcatKernel,
        **HOST_TABLE,
    },
    with_noise=JitNoisyKernel,
)
