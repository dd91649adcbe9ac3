"""The jit backend: numba compiles the leaves that the specification calls."""

from hwsim.backends.base import Backend
from hwsim.backends.host import HOST_TABLE
from hwsim.backends.jit.kernels import (
    AveragePoolKernel,
    ConcatKernel,
    MacKernel,
    MaxPoolKernel,
    ReluKernel,
    ValueKernel,
)
from hwsim.backends.jit.noise import JitNoisyKernel

JIT = Backend(
    "jit",
    {
        "image_encoding": ValueKernel,
        "convolution": MacKernel,
        "fully_connected": MacKernel,
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
