"""The jit backend: numba compiles the leaves that the specification calls."""

from hwsim.backends.base import Backend
from hwsim.backends.host import HOST_TABLE
from hwsim.backends.jit.deconv_kernels import DECONV_TABLE
from hwsim.backends.jit.eltwise_kernels import ELTWISE_TABLE
from hwsim.backends.jit.float_kernels import mac_kernel
from hwsim.backends.jit.kernels import ConcatKernel
from hwsim.backends.jit.lookup_kernels import LOOKUP_TABLE
from hwsim.backends.jit.lrn_kernels import LRN_TABLE
from hwsim.backends.jit.move_kernels import MOVE_TABLE
from hwsim.backends.jit.noise import JitNoisyKernel
from hwsim.backends.jit.prelu_kernels import PRELU_TABLE
from hwsim.backends.jit.softmax_kernels import SoftmaxKernel
from hwsim.backends.jit.value_kernels import VALUE_TABLE

JIT = Backend(
    "jit",
    {
        **VALUE_TABLE,
        **ELTWISE_TABLE,
        **LRN_TABLE,
        **MOVE_TABLE,
        **LOOKUP_TABLE,
        **PRELU_TABLE,
        **DECONV_TABLE,
        "convolution": mac_kernel,
        "fully_connected": mac_kernel,
        "concat": ConcatKernel,
        "softmax_fixed": SoftmaxKernel,
        **HOST_TABLE,
    },
    with_noise=JitNoisyKernel,
)
