"""How pixels become the numbers that enter, kept in an ONNX file's metadata: files that hwsim wrote say it, others do not."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.network.caffe_input import Wish
from hwsim.network.preprocessing import ChannelOrder, Preprocessing

ORDER, MEAN, SCALE = "hwsim.channel_order", "hwsim.mean", "hwsim.scale"


def keep_preprocessing(model: Any, preprocessing: Preprocessing) -> None:
    """Write channel order, mean and scale into the metadata; a mean image is too large for that and stays outside."""
    entries = {ORDER: preprocessing.channel_order.name, SCALE: repr(float(preprocessing.scale))}
    if not isinstance(preprocessing.mean, np.ndarray):
        entries[MEAN] = ",".join(repr(float(value)) for value in preprocessing.mean)
    for key, value in entries.items():
        model.metadata_props.add(key=key, value=value)


def with_kept(wish: Wish, model: Any) -> Wish:
    """The wish, or where it says nothing what the file's metadata say; InputError where these are none of hwsim's."""
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key in (ORDER, MEAN, SCALE)}
    if len(kept) < 3 or wish.mean is not None or wish.scale is not None or wish.channel_order is not None:
        return wish
    try:
        mean, scale = tuple(float(value) for value in kept[MEAN].split(",")), float(kept[SCALE])
        order = ChannelOrder[kept[ORDER]]
    except (ValueError, KeyError):
        mean, scale, order = (math.nan,), math.nan, ChannelOrder.GRAY
    if not all(map(math.isfinite, (*mean, scale))) or len(mean) > 4:
        raise InputError(f"its metadata {ORDER}, {MEAN} and {SCALE} are damaged; say mean, scale and channel order yourself.")
    return replace(wish, mean=mean, scale=scale, channel_order=order)
