"""The number formats that Ristretto wrote into a prototxt."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hwsim.errors import InputError
from hwsim.network.caffe_proto import enum_name, read_prototxt
from hwsim.network.read_caffe import caffe_layers_of


@dataclass(frozen=True)
class RistrettoFormat:
    """quantization_param of one layer: bits (bw) and fractional lengths (fl) of its input, output and parameters."""

    bw_layer_in: int
    bw_layer_out: int
    bw_params: int
    fl_layer_in: int
    fl_layer_out: int
    fl_params: int


def read_ristretto_formats(prototxt: str | os.PathLike[str]) -> dict[str, RistrettoFormat]:
    """{layer: format} of the layers of phase TEST that have a quantization_param, in the order of the file.

    InputError where a layer's precision is not DYNAMIC_FIXED_POINT or the file has no such layer.
    Source: pmgysel/caffe, src/caffe/proto/caffe.proto, field 149 of LayerParameter.
    """
    path, formats = Path(prototxt), {}
    for layer in caffe_layers_of(read_prototxt(path), path):
        if not (hasattr(layer.params, "quantization_param") and layer.params.HasField("quantization_param")):
            continue
        q = layer.params.quantization_param
        precision = enum_name("Precision", q.precision)
        if precision != "DYNAMIC_FIXED_POINT":
            raise InputError(f"{path}: layer {layer.name!r}: precision {precision}; hwsim reads DYNAMIC_FIXED_POINT.")
        formats[layer.name] = RistrettoFormat(
            q.bw_layer_in, q.bw_layer_out, q.bw_params, q.fl_layer_in, q.fl_layer_out, q.fl_params
        )
    if not formats:
        raise InputError(f"{path}: no layer has a quantization_param; give a prototxt that Ristretto wrote.")
    return formats
