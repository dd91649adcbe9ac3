"""hwsim.score: a quantized network over a data set, beside its float twin where that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike

import numpy as np

from hwsim.errors import InputError
from hwsim.execute.score import Baseline, Item, Progress, Score
from hwsim.execute.score import score as score_items
from hwsim.images import ImageSet, images
from hwsim.network.quantized import QuantizedNetwork
from hwsim.quantize.float_run import FloatRun
from hwsim.quantize.float_twin import float_twin


def score(
    network: QuantizedNetwork,
    data: ImageSet | str | PathLike[str],
    backend: str = "auto",
    float: bool = False,
    limit: int | None = None,
    progress: Progress | None = None,
    label_offset: int = 0,
) -> Score:
    """Return top-1 and top-5 of the network over labelled images; images are decoded one at a time.

    data: an ImageSet or DATA as the command line takes it.  float: score the float twin on the same images beside it.
    limit: only the first images.  label_offset: added to each label; 1 for networks of ImageNet whose class 0 is the
    background, where the data's classes begin with 0.  Errors: InputError for data without labels, or none at all.
    """
    chosen, labels = labelled(network, data, limit, label_offset)
    baseline = float_baseline(network) if float else None
    return score_items(network, _items(chosen, labels), len(chosen), backend, baseline, progress)


def labelled(
    network: QuantizedNetwork, data: ImageSet | str | PathLike[str], limit: int | None = None, label_offset: int = 0
) -> tuple[ImageSet, np.ndarray]:
    """Return the images that score takes of the data, and the class of each with label_offset added; arguments as there."""
    if limit is not None and limit < 1:
        raise InputError(f"score: found limit {limit}, allowed 1 or more.")
    chosen = data if isinstance(data, ImageSet) else images(str(data), network.preprocessing)
    chosen = chosen[:limit]
    if chosen.labels is None:
        raise InputError(f"score: {data!s} has no labels; give a list file with `path label` lines, or arrays with labels.")
    return chosen, _shifted(network, chosen.labels, label_offset)


def _shifted(network: QuantizedNetwork, labels: np.ndarray, offset: int) -> np.ndarray:
    """Return label + offset, each a class of the network; compared as Python's integers, so that no offset wraps."""
    classes = network.shapes()[network.logits].c
    for at, label in enumerate(labels.tolist()):
        if not 0 <= label + offset < classes:
            shifted = f" with label_offset {offset}" if offset else ""
            raise InputError(
                f"score: image {at} has label {label + offset}{shifted}, allowed 0..{classes - 1}, the network's classes."
            )
    return labels + offset


def _items(chosen: ImageSet, labels: np.ndarray) -> Iterator[Item]:
    for i in range(len(chosen)):
        yield chosen.pixels(i), int(labels[i])


def float_baseline(network: QuantizedNetwork) -> Baseline:
    """Return a function: uint8 pixels [N][C][H][W] -> the float twin's logits [N][K]."""
    run = FloatRun(float_twin(network))
    return lambda pixels: run.logits(network.preprocessing.real(pixels))
