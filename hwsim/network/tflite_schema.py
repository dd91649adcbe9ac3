"""The names of TensorFlow Lite's schema (schema.fbs, version 3): operators, types, and the options of what hwsim runs.

Options are read by slot: the place of a field in its table, counted from 0. All of an enum's names are listed, so that what
is refused is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


BUILTIN_OPERATORS = _names(
    "ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR "
    "FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION LSTM "
    "MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS "
    "SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND "
    "TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT "
    "LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL "
    "LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW "
    "ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV "
    "REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS "
    "SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG "
    "ROUND HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM "
    "BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS HASHTABLE "
    "HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE "
    "BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1 "
    "UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR "
    "RIGHT_SHIFT"
)
"""By code. Those behind RIGHT_SHIFT are StableHLO's."""

TENSOR_TYPES = _names(
    "FLOAT32 FLOAT16 INT32 UINT8 INT64 STRING BOOL INT16 COMPLEX64 INT8 FLOAT64 COMPLEX128 UINT64 RESOURCE VARIANT UINT32 "
    "UINT16 INT4 BFLOAT16 INT2 UINT4 FLOAT8_E4M3FN FLOAT8_E5M2"
)
"""By code."""

DTYPES = {"FLOAT32": "float32", "INT32": "int32", "UINT8": "uint8", "INT64": "int64", "INT16": "int16", "INT8": "int8"}
"""The types that hwsim reads, as numpy names them."""


class Padding(Enum):
    """SAME: as many outputs as ceil(inputs / stride), the odd padding at the end.  VALID: none."""

    SAME = 0
    VALID = 1


class Fused(Enum):
    """The activation behind an operator, as a clamp of its codes; by the schema's code."""

    NONE = 0
    RELU = 1
    RELU_N1_TO_1 = 2
    RELU6 = 3


@dataclass(frozen=True)
class Field:
    """A field of an options table.  kind: as numpy names it, "bool", or an Enum, which is stored in 8 bits."""

    slot: int
    kind: str | type[Enum]
    default: float = 0


@dataclass(frozen=True)
class NoOptions:
    """An operator that is told nothing, or nothing that matters here."""


@dataclass(frozen=True)
class ConvOptions:
    """CONV_2D.  bias_type: code of the type of a 16-bit layer's bias, as the kernels take it; 0 where the file does not say."""

    padding: Padding
    stride_w: int
    stride_h: int
    fused: Fused
    dilation_w: int
    dilation_h: int
    bias_type: int


@dataclass(frozen=True)
class DepthwiseOptions:
    """DEPTHWISE_CONV_2D."""

    padding: Padding
    stride_w: int
    stride_h: int
    multiplier: int
    fused: Fused
    dilation_w: int
    dilation_h: int


@dataclass(frozen=True)
class TransposeConvOptions:
    """TRANSPOSE_CONV."""

    padding: Padding
    stride_w: int
    stride_h: int
    fused: Fused
    bias_type: int


@dataclass(frozen=True)
class PoolOptions:
    """AVERAGE_POOL_2D and MAX_POOL_2D."""

    padding: Padding
    stride_w: int
    stride_h: int
    filter_w: int
    filter_h: int
    fused: Fused


@dataclass(frozen=True)
class DenseOptions:
    """FULLY_CONNECTED.  weights_format: 0, or weights shuffled for one kind of processor."""

    fused: Fused
    weights_format: int
    keep_dims: bool
    bias_type: int


@dataclass(frozen=True)
class FusedOptions:
    """ADD, SUB and MUL.  power_of_two: whether 16-bit kernels may take a path for scales that are powers of two."""

    fused: Fused
    power_of_two: bool


@dataclass(frozen=True)
class ConcatOptions:
    """CONCATENATION."""

    axis: int
    fused: Fused


@dataclass(frozen=True)
class SoftmaxOptions:
    """SOFTMAX."""

    beta: float


@dataclass(frozen=True)
class LeakyOptions:
    """LEAKY_RELU."""

    alpha: float


@dataclass(frozen=True)
class ReduceOptions:
    """MEAN."""

    keep_dims: bool


@dataclass(frozen=True)
class ResizeOptions:
    """RESIZE_NEAREST_NEIGHBOR."""

    align_corners: bool
    half_pixel_centers: bool


Options = (
    NoOptions | ConvOptions | DepthwiseOptions | TransposeConvOptions | PoolOptions | DenseOptions | FusedOptions
    | ConcatOptions | SoftmaxOptions | LeakyOptions | ReduceOptions | ResizeOptions
)  # fmt: skip

_STRIDES = (Field(0, Padding), Field(1, "int32"), Field(2, "int32"))
_POOL = (*_STRIDES, Field(3, "int32"), Field(4, "int32"), Field(5, Fused))
_SUM = (Field(0, Fused), Field(1, "bool", True))

OPTIONS: dict[str, tuple[int, type[Options], tuple[Field, ...]]] = {
    "CONV_2D": (
        1, ConvOptions, (*_STRIDES, Field(3, Fused), Field(4, "int32", 1), Field(5, "int32", 1), Field(6, "int8")),
    ),
    "DEPTHWISE_CONV_2D": (
        2, DepthwiseOptions, (*_STRIDES, Field(3, "int32"), Field(4, Fused), Field(5, "int32", 1), Field(6, "int32", 1)),
    ),
    "TRANSPOSE_CONV": (49, TransposeConvOptions, (*_STRIDES, Field(3, Fused), Field(4, "int8"))),
    "AVERAGE_POOL_2D": (5, PoolOptions, _POOL),
    "MAX_POOL_2D": (5, PoolOptions, _POOL),
    "FULLY_CONNECTED": (8, DenseOptions, (Field(0, Fused), Field(1, "int8"), Field(2, "bool"), Field(4, "int8"))),
    "ADD": (11, FusedOptions, _SUM),
    "SUB": (28, FusedOptions, _SUM),
    "MUL": (21, FusedOptions, _SUM[:1] + (Field(99, "bool", True),)),
    "CONCATENATION": (10, ConcatOptions, (Field(0, "int32"), Field(1, Fused))),
    "SOFTMAX": (9, SoftmaxOptions, (Field(0, "float32"),)),
    "LEAKY_RELU": (75, LeakyOptions, (Field(0, "float32"),)),
    "MEAN": (27, ReduceOptions, (Field(0, "bool"),)),
    "RESIZE_NEAREST_NEIGHBOR": (74, ResizeOptions, (Field(0, "bool"), Field(1, "bool"))),
}  # fmt: skip
"""{operator: (code of its options table, their class, its fields in order)}; other operators are told nothing."""

PLAIN = (
    "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "PAD", "PADV2", "MAXIMUM", "MINIMUM", "RELU", "RELU6", "RELU_N1_TO_1", "PRELU",
    "LOGISTIC", "TANH", "QUANTIZE", "DEQUANTIZE",
)  # fmt: skip
"""Operators without options."""
