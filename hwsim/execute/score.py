"""Score a network over a data set: top-1, top-5, and beside a float baseline what was gained and lost."""

from __future__ import annotations

import html
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from hwsim.backends.base import COUNTERS, EVENTS
from hwsim.errors import InputError, OverflowTrap
from hwsim.execute.plan import Plan
from hwsim.execute.trace import best, comparable
from hwsim.layers import Events, HostLRN, Shares
from hwsim.network.quantized import QuantizedNetwork

Baseline = Callable[[np.ndarray], np.ndarray]
"""Float logits [N][K] of uint8 pixels [N][C][H][W]."""

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""


@dataclass(frozen=True)
class Accuracy:
    """How many of `images` were right at the first guess, and among the first five."""

    images: int
    right: int
    right5: int

    @property
    def top1(self) -> float:
        """Share of right first guesses."""
        return self.right / self.images

    @property
    def top5(self) -> float:
        """Share of right answers among the first five."""
        return self.right5 / self.images


@dataclass(frozen=True)
class Score:
    """The result of hwsim.score.

    fixed, baseline: accuracy of the integers and of the float network on the same images (None without a baseline).
    agreeing: images on which both have the same first guess.  gained, lost: images that only the integers, or only the
    float network, had right.  events: per layer, and outputs: how many codes the layer computed in all.  seconds: spent in
    the integer network.
    """

    network: str
    backends: tuple[str, ...]
    fixed: Accuracy
    baseline: Accuracy | None
    agreeing: int | None
    gained: tuple[int, ...]
    lost: tuple[int, ...]
    events: dict[str, Events]
    shares: dict[str, Shares]
    outputs: dict[str, int]
    host_layers: tuple[str, ...]
    seconds: float

    @property
    def images(self) -> int:
        """Number of images."""
        return self.fixed.images

    @property
    def top1(self) -> float:
        """Top-1 of the integer network, 0..1."""
        return self.fixed.top1

    @property
    def top5(self) -> float:
        """Top-5 of the integer network, 0..1."""
        return self.fixed.top5

    @property
    def agreement(self) -> float | None:
        """Share of images with the same first guess as float, 0..1."""
        return None if self.agreeing is None else self.agreeing / self.images

    def rows(self) -> list[tuple[str, str]]:
        """Lines of the table for people."""
        rows = [("images", str(self.images)), ("top-1", f"{self.top1:.2%}"), ("top-5", f"{self.top5:.2%}")]
        if self.baseline is not None:
            rows += [
                ("float top-1", f"{self.baseline.top1:.2%}"),
                ("float top-5", f"{self.baseline.top5:.2%}"),
                ("top-1 difference", f"{100 * (self.top1 - self.baseline.top1):+.2f} points"),
                ("same first guess as float", f"{self.agreement:.2%}"),
                ("gained / lost", f"{len(self.gained)} / {len(self.lost)} images"),
            ]
        rows.append(("overflow events", told_events(self.events.values())))
        shares = [sum(counts) for counts in zip(*self.shares.values(), strict=True)]
        if any(shares[1:]):
            parts = zip(shares, ("by bounds", "by sums", "step by step"), strict=True)
            rows.append(("accumulators", ", ".join(f"{count / sum(shares):.2%} {how}" for count, how in parts)))
        if self.host_layers:
            rows.append(("on the host, in float", ", ".join(self.host_layers)))
        rows.append(("computed by", ", ".join(self.backends)))
        rows.append(("images per second", _rate(self.images, self.seconds)))
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        data: dict[str, Any] = {
            "network": self.network,
            "images": self.images,
            "top1": self.top1,
            "top5": self.top5,
            "backends": list(self.backends),
            "host_layers": list(self.host_layers),
            "seconds": self.seconds,
            "events": {name: events._asdict() for name, events in self.events.items()},
            "shares": {name: shares._asdict() for name, shares in self.shares.items()},
            "outputs": self.outputs,
        }
        if self.baseline is not None:
            data["float"] = {"top1": self.baseline.top1, "top5": self.baseline.top5}
            data |= {"agreement": self.agreement, "gained": list(self.gained), "lost": list(self.lost)}
        return data

    def plot(self, file: str | PathLike[str] | None = None, force: bool = False) -> Any:
        """Draw the accuracy beside float's, and each layer's events; return the figure, save it if a file is named."""
        from hwsim.execute.picture_score import draw

        return draw(self, file, force)

    def __str__(self) -> str:
        width = max(len(label) for label, _ in self.rows())
        return "\n".join([self.network, *(f"  {label:<{width}}  {value}" for label, value in self.rows())])

    def _repr_html_(self) -> str:
        body = "".join(f"<tr><td>{label}</td><td>{html.escape(value)}</td></tr>" for label, value in self.rows())
        return f"<table><caption>{html.escape(self.network)}</caption>{body}</table>"


def _rate(images: int, seconds: float) -> str:
    rate = images / seconds if seconds else math.inf
    return "-" if rate == math.inf else f"{rate:,.{0 if rate >= 100 else 1}f}"


Item = tuple[np.ndarray, int]
"""Pixels uint8 [C][H][W], and the label."""


def _batches(items: Iterable[Item], size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    pixels, labels = [], []
    for image, label in items:
        pixels.append(image)
        labels.append(label)
        if len(pixels) == size:
            yield np.stack(pixels), np.array(labels)
            pixels, labels = [], []
    if pixels:
        yield np.stack(pixels), np.array(labels)


class _Tally:
    """Counts right answers of one network."""

    def __init__(self) -> None:
        self.first: list[np.ndarray] = []
        self.hits5 = 0

    def add(self, logits: np.ndarray, labels: np.ndarray) -> None:
        ranked = best(logits, 5)
        self.first.append(ranked[:, 0])
        self.hits5 += int((ranked == labels[:, None]).any(axis=1).sum())

    def accuracy(self, labels: np.ndarray) -> Accuracy:
        return Accuracy(len(labels), int((self.guesses == labels).sum()), self.hits5)

    @property
    def guesses(self) -> np.ndarray:
        return np.concatenate(self.first)


def score(
    network: QuantizedNetwork,
    items: Iterable[Item],
    total: int,
    backend: str = "auto",
    baseline: Baseline | None = None,
    progress: Progress | None = None,
    batch: int = 8,
) -> Score:
    """Run `total` labelled images and count right answers; memory does not grow with their number.

    items: (pixels, label) one at a time.  baseline: float logits for the same pixels, or None.
    Errors: OverflowTrap, whose n is the image's number among the items.
    """
    if total < 1:
        raise InputError("score: found no images, at least one is needed; is the list empty, or --limit 0?")
    plan = Plan(network, backend, min(batch, total))
    answer = network[network.logits].layer.output_format
    fixed, floats = _Tally(), _Tally()
    truth: list[np.ndarray] = []
    counters = {node.name: np.zeros(COUNTERS, dtype=np.int64) for node in network.nodes}
    seconds, done = 0.0, 0
    for pixels, labels in _batches(items, plan.batch):
        if len(pixels) < plan.batch:
            plan = Plan(network, backend, len(pixels))  # empty places of a batch would be counted as events
        start = time.perf_counter()
        logits = run_batch(plan, pixels, done)
        seconds += time.perf_counter() - start
        fixed.add(comparable(logits, answer), labels)
        truth.append(labels)
        for bound in plan.bound:
            counters[bound.node.name] += bound.step.taps.counters
        if baseline is not None:
            floats.add(baseline(pixels), labels)
        done += len(pixels)
        if progress is not None:
            progress(done, total)
    answers = np.concatenate(truth)
    return _result(network, plan, answers, fixed, floats if baseline is not None else None, counters, seconds)


def run_batch(plan: Plan, pixels: np.ndarray, done: int) -> np.ndarray:
    """Run one batch, of which `done` images went before; a trap counts images from the first of all, not of the batch."""
    try:
        return plan.run(pixels, first_image=done)
    except OverflowTrap as trap:
        n, *place = trap.coordinate
        raise OverflowTrap(trap.layer, trap.place, (done + n, *place), trap.step) from trap


def told_events(events: Iterable[Events]) -> str:
    """Return the sums over layers in words: always accumulator and output, the other places where they have any.

    >>> told_events([Events(3, 1), Events(2, 0, tree=7, transient_accumulator=4)])
    '5 accumulator (4 transient), 1 output, 7 tree'
    """
    total = Events()
    for one in events:
        total = total.plus(one)
    transient = f" ({total.transient_accumulator} transient)" if total.transient_accumulator else ""
    words = [f"{total.accumulator} accumulator{transient}", f"{total.output} output"]
    return ", ".join(words + [f"{count} {name}" for name, count in (("tree", total.tree), ("spill", total.spill)) if count])


def _result(
    network: QuantizedNetwork,
    plan: Plan,
    answers: np.ndarray,
    fixed: _Tally,
    floats: _Tally | None,
    counters: dict[str, np.ndarray],
    seconds: float,
) -> Score:
    gained: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()
    agreeing = None
    if floats is not None:
        right, right_float = fixed.guesses == answers, floats.guesses == answers
        gained = tuple(np.flatnonzero(right & ~right_float).tolist())
        lost = tuple(np.flatnonzero(~right & right_float).tolist())
        agreeing = int((fixed.guesses == floats.guesses).sum())
    return Score(
        network=network.name,
        backends=tuple(sorted({bound.step.kernel.backend for bound in plan.bound})),
        fixed=fixed.accuracy(answers),
        baseline=None if floats is None else floats.accuracy(answers),
        agreeing=agreeing,
        gained=gained,
        lost=lost,
        events={name: Events(*counts[:EVENTS].tolist()) for name, counts in counters.items()},
        shares={name: Shares(*counts[EVENTS:].tolist()) for name, counts in counters.items()},
        outputs={name: len(answers) * math.prod(shape) for name, shape in network.shapes().items()},
        host_layers=tuple(node.name for node in network.nodes if isinstance(node.layer, HostLRN)),
        seconds=seconds,
    )
