"""The part of Caffe's file format that inference needs, as protobuf messages in a pool of their own.

Numbers and defaults are those of src/caffe/proto/caffe.proto (BVLC/caffe), field 149 that of pmgysel/caffe (Ristretto).
The pool is private, so that another program's caffe.proto in the same process does not clash. Fields that cannot change
inference (fillers, learning rates, engines) are left out; the text parser skips them (caffe_fields.py refuses misspelt ones).
"""

from __future__ import annotations

import re
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory, text_format

from hwsim.errors import InputError
from hwsim.network.caffe_fields import refuse_unknown
from hwsim.network.files import read_bytes

MAX_PROTOTXT_BYTES = 4 << 20
"""Largest prototxt read; that of ResNet-152 has 0.2 MB."""

_ENUMS = {
    "Phase": "TRAIN 0, TEST 1",
    "EltwiseOp": "PROD 0, SUM 1, MAX 2",
    "PoolMethod": "MAX 0, AVE 1, STOCHASTIC 2",
    "RoundMode": "CEIL 0, FLOOR 1",
    "NormRegion": "ACROSS_CHANNELS 0, WITHIN_CHANNEL 1",
    "Precision": "DYNAMIC_FIXED_POINT 0, MINIFLOAT 1, INTEGER_POWER_OF_2_WEIGHTS 2",
    "RoundingScheme": "NEAREST 0, STOCHASTIC 1",
    "LayerType": "NONE 0, ACCURACY 1, BNLL 2, CONCAT 3, CONVOLUTION 4, DATA 5, DROPOUT 6, EUCLIDEAN_LOSS 7, FLATTEN 8, "
    "HDF5_DATA 9, HDF5_OUTPUT 10, IM2COL 11, IMAGE_DATA 12, INFOGAIN_LOSS 13, INNER_PRODUCT 14, LRN 15, "
    "MULTINOMIAL_LOGISTIC_LOSS 16, POOLING 17, RELU 18, SIGMOID 19, SOFTMAX 20, SOFTMAX_LOSS 21, SPLIT 22, TANH 23, "
    "WINDOW_DATA 24, ELTWISE 25, POWER 26, SIGMOID_CROSS_ENTROPY_LOSS 27, HINGE_LOSS 28, MEMORY_DATA 29, ARGMAX 30, "
    "THRESHOLD 31, DUMMY_DATA 32, SLICE 33, MVN 34, ABSVAL 35, SILENCE 36, CONTRASTIVE_LOSS 37, EXP 38, "
    "DECONVOLUTION 39",
}

_PARAMS = {
    # name of the field: (its message, its number in LayerParameter, in V1LayerParameter)
    "transform_param": ("TransformationParameter", 100, 36),
    "batch_norm_param": ("BatchNormParameter", 139, None),
    "concat_param": ("ConcatParameter", 104, 9),
    "convolution_param": ("ConvolutionParameter", 106, 10),
    "data_param": ("DataParameter", 107, 11),
    "eltwise_param": ("EltwiseParameter", 110, 24),
    "flatten_param": ("FlattenParameter", 135, None),
    "image_data_param": ("ImageDataParameter", 115, 15),
    "inner_product_param": ("InnerProductParameter", 117, 17),
    "input_param": ("InputParameter", 143, None),
    "lrn_param": ("LRNParameter", 118, 18),
    "memory_data_param": ("MemoryDataParameter", 119, 22),
    "pooling_param": ("PoolingParameter", 121, 19),
    "prelu_param": ("PReLUParameter", 131, None),
    "relu_param": ("ReLUParameter", 123, 30),
    "scale_param": ("ScaleParameter", 142, None),
    "slice_param": ("SliceParameter", 126, 31),
    "softmax_param": ("SoftmaxParameter", 125, 39),
    "quantization_param": ("QuantizationParameter", 149, None),
}

# One message a line: NAME: label type field = number [default], ...
# `*` is repeated and `*p` repeated and packed. In the Weights messages what is nested stays bytes: the reader opens it
# piece by piece, so that neither depth nor empty pieces without end cost more than the file's own size.
_MESSAGES = """
BlobShape: *p int64 dim = 1
BlobProto: int64 num = 1, int64 channels = 2, int64 height = 3, int64 width = 4, *p float data = 5, BlobShape shape = 7,
    *p double double_data = 8
WeightsFile: *bytes layers = 2, *bytes layer = 100
WeightsLayer: bytes name = 1, *bytes blobs = 7
WeightsLayerV1: bytes layer = 1, bytes name = 4, *bytes blobs = 6
NetParameter: string name = 1, *V1LayerParameter layers = 2, *string input = 3, *int64 input_dim = 4,
    *BlobShape input_shape = 8, *LayerParameter layer = 100
NetStateRule: Phase phase = 1, int64 min_level = 2, int64 max_level = 3, *string stage = 4, *string not_stage = 5
LayerParameter: string name = 1, string type = 2, *string bottom = 3, *string top = 4, *NetStateRule include = 8,
    *NetStateRule exclude = 9
V0LayerParameter: string name = 1
V1LayerParameter: V0LayerParameter layer = 1, *string bottom = 2, *string top = 3, string name = 4, LayerType type = 5,
    *NetStateRule include = 32, *NetStateRule exclude = 33
TransformationParameter: float scale = 1 [1], uint32 crop_size = 3 [0], string mean_file = 4, *float mean_value = 5
DataParameter: float scale = 2 [1], string mean_file = 3, uint32 crop_size = 5 [0]
ImageDataParameter: float scale = 2 [1], string mean_file = 3, uint32 crop_size = 5 [0], uint32 new_height = 9 [0],
    uint32 new_width = 10 [0]
MemoryDataParameter: uint32 channels = 2, uint32 height = 3, uint32 width = 4
InputParameter: *BlobShape shape = 1
BatchNormParameter: bool use_global_stats = 1, float eps = 3 [1e-5]
ConcatParameter: uint32 concat_dim = 1 [1], int32 axis = 2 [1]
ConvolutionParameter: uint32 num_output = 1, bool bias_term = 2 [true], *uint32 pad = 3, *uint32 kernel_size = 4,
    uint32 group = 5 [1], *uint32 stride = 6, uint32 pad_h = 9, uint32 pad_w = 10, uint32 kernel_h = 11,
    uint32 kernel_w = 12, uint32 stride_h = 13, uint32 stride_w = 14, int32 axis = 16 [1], *uint32 dilation = 18
EltwiseParameter: EltwiseOp operation = 1 [SUM], *float coeff = 2
FlattenParameter: int32 axis = 1 [1], int32 end_axis = 2 [-1]
InnerProductParameter: uint32 num_output = 1, bool bias_term = 2 [true], int32 axis = 5 [1], bool transpose = 6 [false]
LRNParameter: uint32 local_size = 1 [5], float alpha = 2 [1], float beta = 3 [0.75],
    NormRegion norm_region = 4 [ACROSS_CHANNELS], float k = 5 [1]
PoolingParameter: PoolMethod pool = 1 [MAX], *uint32 kernel_size = 2, *uint32 stride = 3, *uint32 pad = 4,
    uint32 kernel_h = 5, uint32 kernel_w = 6, uint32 stride_h = 7, uint32 stride_w = 8, uint32 pad_h = 9,
    uint32 pad_w = 10, bool global_pooling = 12 [false], RoundMode round_mode = 13 [CEIL]
PReLUParameter: bool channel_shared = 2 [false]
ReLUParameter: float negative_slope = 1 [0]
ScaleParameter: int32 axis = 1 [1], int32 num_axes = 2 [1], bool bias_term = 4 [false]
SliceParameter: uint32 slice_dim = 1 [1], *uint32 slice_point = 2, int32 axis = 3 [1]
SoftmaxParameter: int32 axis = 2 [1]
QuantizationParameter: Precision precision = 1 [DYNAMIC_FIXED_POINT], RoundingScheme rounding_scheme = 2 [NEAREST],
    uint32 bw_layer_in = 3 [32], uint32 bw_layer_out = 4 [32], uint32 bw_params = 5 [32], int32 fl_layer_in = 6 [16],
    int32 fl_layer_out = 7 [16], int32 fl_params = 8 [16]
"""

_FIELD = re.compile(r"(\*p?)? *(\w+) (\w+) = (\d+)(?: \[(\S+)\])?$")
_SCALARS = ("int32", "int64", "uint32", "float", "double", "bool", "string", "bytes")


def _add_field(target: Any, text: str) -> None:
    found = _FIELD.match(text.strip())
    assert found, text
    label, kind, name, number, default = found.groups()
    types = descriptor_pb2.FieldDescriptorProto
    field = target.field.add(name=name, number=int(number))
    field.label = types.LABEL_REPEATED if label else types.LABEL_OPTIONAL
    field.options.packed = label == "*p"
    if default is not None:
        field.default_value = default
    if kind in _SCALARS:
        field.type = types.Type.Value(f"TYPE_{kind.upper()}")
    else:
        field.type = types.TYPE_ENUM if kind in _ENUMS else types.TYPE_MESSAGE
        field.type_name = f".caffe.{kind}"


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="hwsim/caffe.proto", package="caffe", syntax="proto2")
    for enum_name, values in _ENUMS.items():
        scope = file.message_type.add(name=f"{enum_name}Scope")  # values of proto2 enums share their parent's scope
        enum = scope.enum_type.add(name=enum_name)
        for value in values.split(", "):
            label, number = value.split()
            enum.value.add(name=label, number=int(number))
    for line in _MESSAGES.replace("\n    ", " ").strip().splitlines():
        name, fields = line.split(":", 1)
        target = file.message_type.add(name=name)
        for text in fields.split(","):
            _add_field(target, text)
        column = {"LayerParameter": 1, "V1LayerParameter": 2}.get(name)
        for param, numbers in _PARAMS.items() if column else ():
            if numbers[column or 0] is not None:
                _add_field(target, f"{numbers[0]} {param} = {numbers[column or 0]}")
    _scope_enums(file)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _scope_enums(file: Any) -> None:
    for target in file.message_type:
        for field in target.field:
            kind = field.type_name.rpartition(".")[2]
            if kind in _ENUMS:
                field.type_name = f".caffe.{kind}Scope.{kind}"


@cache
def message_class(name: str) -> Any:
    """The message class NAME of package caffe."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"caffe.{name}"))


def parse_binary(name: str, data: bytes, where: str) -> Any:
    """The message NAME from its binary form; InputError where the bytes are truncated or something else.

    >>> parse_binary("BlobShape", bytes([10, 2, 3, 5]), "blob").dim[:]
    [3, 5]
    """
    try:
        return message_class(name).FromString(data)
    except message.DecodeError:
        what = {"WeightsFile": "caffemodel", "BlobProto": "blob"}.get(name, "layer of a caffemodel")
        raise InputError(
            f"{where}: these {len(data):,} bytes are no {what}: truncated, damaged, or another kind of file; get the file again."
        ) from None


def read_prototxt(path: Path) -> Any:
    """The NetParameter of a prototxt; fields that cannot change inference are skipped, misspelt ones refused."""
    data = read_bytes(path, MAX_PROTOTXT_BYTES)
    net = message_class("NetParameter")()
    try:
        with warnings.catch_warnings():  # protobuf leaves an unknown escape in a text to Python, which warns the programmer
            warnings.simplefilter("ignore")
            text_format.Parse(data.decode("utf-8"), net, allow_unknown_field=True, descriptor_pool=_pool())
    except UnicodeDecodeError:
        raise InputError(f"{path}: this is no text; give the network's prototxt first, its weights second.") from None
    except text_format.ParseError as error:
        line, reason = error.GetLine(), str(error).rpartition(" : ")[2].rstrip(".")
        raise InputError(f"{path}: line {line}: {reason}; correct this line of the prototxt.") from None
    except RecursionError:
        raise InputError(f"{path}: fields are nested too deep for a network; this is no prototxt of a network.") from None
    known = {name: frozenset(message_class(kind).DESCRIPTOR.fields_by_name) for name, (kind, _, _) in _PARAMS.items()}
    refuse_unknown(path, data.decode("utf-8"), known)
    return net


def enum_name(enum: str, number: int) -> str:
    """The label of an enum's value.

    >>> enum_name("LayerType", 14)
    'INNER_PRODUCT'
    """
    return next(value.split()[0] for value in _ENUMS[enum].split(", ") if int(value.split()[1]) == number)
