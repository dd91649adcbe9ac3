"""Score TensorFlow's first eight-bit schemes beside the float network that they come from."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from os import PathLike

import numpy as np

from hwsim.errors import InputError
from hwsim.execute.score import Accuracy, Progress, Score
from hwsim.execute.trace import best
from hwsim.images import ImageSet, images
from hwsim.network.graph import Network
from hwsim.network.lower.fold import fold
from hwsim.quantize.first_scheme import RuntimeRanges, weights_only
from hwsim.quantize.float_run import FloatRun

BATCH = 8


class FirstScheme(Enum):
    """RUNTIME_RANGES: uint8 convolutions whose ranges are found for each image.  WEIGHTS_ONLY: weights stored in 8 bits."""

    RUNTIME_RANGES = "runtime_ranges"
    WEIGHTS_ONLY = "weights_only"


def score_first(
    network: Network,
    data: ImageSet | str | PathLike[str],
    scheme: FirstScheme,
    limit: int | None = None,
    progress: Progress | None = None,
    label_offset: int = 0,
) -> Score:
    """Return top-1 and top-5 of a float network run in one of the first schemes, and the float network's beside it.

    data: an ImageSet or DATA as the command line takes it, with labels.  limit: only the first images.
    """
    preprocessing = network.preprocessing
    if preprocessing is None:
        raise InputError(f"network {network.name!r} does not say how pixels enter it; give read() a mean and a scale.")
    if not -(2**31) <= label_offset < 2**31:
        raise InputError(f"score: found label_offset {label_offset}, allowed {-(2**31)}..{2**31 - 1}.")
    chosen = (data if isinstance(data, ImageSet) else images(str(data), preprocessing))[:limit]
    if chosen.labels is None or not len(chosen):
        raise InputError("score: found no labelled images; give a list file with `path label` lines, or arrays with labels.")
    floats = FloatRun(fold(network))
    run = _runner(network, scheme)
    guesses: list[np.ndarray] = []
    wanted: list[np.ndarray] = []
    seconds = 0.0
    for pixels in chosen.pixel_batches(BATCH):
        start = time.perf_counter()
        guesses.append(best(run(pixels), 5))
        seconds += time.perf_counter() - start
        wanted.append(best(floats.logits(preprocessing.real(pixels)), 5))
        if progress is not None:
            progress(sum(map(len, guesses)), len(chosen))
    return _result(network.name, np.concatenate(guesses), np.concatenate(wanted), chosen.labels + label_offset, seconds, scheme)


def _runner(network: Network, scheme: FirstScheme) -> Callable[[np.ndarray], np.ndarray]:
    """Logits of uint8 pixels."""
    if scheme is FirstScheme.RUNTIME_RANGES:
        return RuntimeRanges(network).logits
    stored, preprocessing = FloatRun(fold(weights_only(network))), network.preprocessing
    assert preprocessing is not None
    return lambda pixels: stored.logits(preprocessing.real(pixels))


def _result(name: str, found: np.ndarray, floats: np.ndarray, labels: np.ndarray, seconds: float, scheme: FirstScheme) -> Score:
    right, right_float = found[:, 0] == labels, floats[:, 0] == labels
    return Score(
        network=name,
        backends=("numpy" if scheme is FirstScheme.RUNTIME_RANGES else "onnxruntime",),
        fixed=_accuracy(found, labels),
        baseline=_accuracy(floats, labels),
        agreeing=int((found[:, 0] == floats[:, 0]).sum()),
        gained=tuple(np.flatnonzero(right & ~right_float).tolist()),
        lost=tuple(np.flatnonzero(~right & right_float).tolist()),
        events={},
        shares={},
        outputs={},
        host_layers=(),
        seconds=seconds,
    )


def _accuracy(ranked: np.ndarray, labels: np.ndarray) -> Accuracy:
    hits = ranked == np.asarray(labels)[:, None]
    return Accuracy(len(labels), int(hits[:, 0].sum()), int(hits.any(axis=1).sum()))
