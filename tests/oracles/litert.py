"""Small .tflite models and LiteRT's reference kernels: the product has them, for `hwsim conform litert`; tests use them here."""

from hwsim.conform.litert_models import (
    KINDS,
    VERSION,
    Op,
    OpResolverType,
    Reference,
    T,
    build,
    constant,
    flatbuffers,
    schema,
    single,
)

__all__ = [
    "KINDS",
    "VERSION",
    "Op",
    "OpResolverType",
    "Reference",
    "T",
    "build",
    "constant",
    "flatbuffers",
    "schema",
    "single",
]
