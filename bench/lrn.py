"""The study behind docs/layers.md on integer LRN: how far its outputs lie from the real ones, by size of the table.

`python -m bench.lrn` measures codes drawn over a format's range and CIFAR-10's own activations; HWSIM_DATA is needed for
these. Prints tables in Markdown.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import hwsim
from hwsim.backends.registry import backend
from hwsim.contract import Output
from hwsim.formats import FixedPoint
from hwsim.layers import HostLRN, IntegerLRN, Region, Shape
from hwsim.layers.lrn_table import TableDesign
from hwsim.network.graph import Network
from hwsim.quantize.quantize import quantize

SIZES = (16, 64, 256, 1024)
ALEXNET = (Region.ACROSS_CHANNELS, 5, 1e-4, 0.75, 1.0)
STEEP = (Region.ACROSS_CHANNELS, 5, 1.0, 0.75, 1.0)


class Subject(NamedTuple):
    """What an LRN reads, its constants, and the format it writes."""

    name: str
    read: FixedPoint
    constants: tuple[Region, int, float, float, float]
    write: FixedPoint
    codes: np.ndarray


def drawn(name: str, read: FixedPoint, constants: tuple[Region, int, float, float, float], write: FixedPoint) -> Subject:
    """Codes of all sizes: half-normal, with scales from a hundredth of the range to all of it."""
    rng = np.random.default_rng(5)
    scales = read.high * np.geomspace(0.01, 1.0, 64).reshape(1, 1, 8, 8)
    codes = np.abs(rng.normal(size=(8, 48, 8, 8))) * scales
    return Subject(name, read, constants, write, np.clip(np.rint(codes), 0, read.high).astype(read.dtype))


def errors(subject: Subject, design: TableDesign) -> tuple[float, float]:
    """Largest and mean distance of the output codes from the real LRN of the input codes, in codes."""
    region, size, alpha, beta, k = subject.constants
    layer = IntegerLRN.from_real(subject.read, region, size, alpha, beta, k, Output(subject.write), design)
    codes = backend("jit").prepare(layer, [Shape(*subject.codes.shape[1:])])([subject.codes]).codes.astype(np.float64)
    far = FixedPoint(48, subject.write.fl() + 20)
    host = HostLRN(subject.read, region, size, alpha, beta, k, Output(far))
    reals = np.ldexp(host.compute(subject.codes)[0].astype(np.float64), -20)
    distance = np.abs(codes - np.minimum(reals, subject.write.high))
    return float(distance.max()), float(distance.mean())


def table(subjects: list[Subject]) -> Iterator[str]:
    """Rows: entries and interpolation; columns: largest and mean error of each subject."""
    yield "| entries | interpolation | " + " | ".join(s.name for s in subjects) + " |"
    yield "|---|---|" + "---|" * len(subjects)
    for entries in SIZES:
        for name, bits in (("none", 0), ("linear", 8)):
            cells = ("{:.2f}, {:.3f}".format(*errors(s, TableDesign(entries, 16, bits))) for s in subjects)
            yield f"| {entries} | {name} | " + " | ".join(cells) + " |"


def cifar10() -> tuple[Network, np.ndarray, Path] | None:
    """CIFAR-10 full, its calibration images and its scoring images; None where the data is not at hand."""
    if "HWSIM_DATA" not in os.environ:
        return None
    folder = Path(os.environ["HWSIM_DATA"]) / "cifar10"
    net = hwsim.read(
        folder / "cifar10_full.prototxt",
        folder / "cifar10_full_v1format.caffemodel",
        mean=np.load(folder / "train_mean_rgb_chw.npy"),
        channel_order=hwsim.ChannelOrder.RGB,
    )
    with np.load(folder / "train_first10000.npz") as data:
        return net, data["images"][:350], folder / "test_first500.npz"


def activations(net: Network, images: np.ndarray) -> list[Subject]:
    """What both LRNs of the network read of 20 images."""
    q = quantize(net, images)
    plan = [hwsim.run(q, image, backend="auto") for image in images[:20]]
    found = []
    for name in ("norm1", "norm2"):
        layer = q[name].layer
        assert isinstance(layer, IntegerLRN) and isinstance(layer.format, FixedPoint)
        codes = np.concatenate([trace[name].inputs[0] for trace in plan])
        constants = (layer.region, layer.local_size, layer.alpha, layer.beta, layer.k)
        assert isinstance(layer.output.format, FixedPoint)
        found.append(Subject(f"CIFAR-10 {name}, {layer.format} to {layer.output.format}", layer.format, constants,
                             layer.output.format, codes))  # fmt: skip
    return found


def scores(net: Network, images: np.ndarray, scoring: Path) -> Iterator[str]:
    """Top-1 by table, beside LRN on the host and float."""
    yield "| LRN | top-1 | same first guess as float |"
    yield "|---|---|---|"
    kinds: list[tuple[str, TableDesign | None]] = [("float64 on the host", None)]
    for entries in SIZES:
        kinds += [(f"{entries} entries, {name}", TableDesign(entries, 16, bits)) for name, bits in (("none", 0), ("linear", 8))]
    for name, design in kinds:
        score = hwsim.score(quantize(net, images, lrn_table=design), str(scoring), float=True)
        yield f"| {name} | {score.top1:.1%} | {score.agreement:.1%} |"


def main() -> None:
    """Print all tables."""
    print("\n".join(table([
        drawn("AlexNet, u8 fl 0 to u8 fl 0", FixedPoint(8, 0, False), ALEXNET, FixedPoint(8, 0, False)),
        drawn("alpha 1, u8 fl 4 to u8 fl 7", FixedPoint(8, 4, False), STEEP, FixedPoint(8, 7, False)),
        drawn("alpha 1, u16 fl 12 to u16 fl 15", FixedPoint(16, 12, False), STEEP, FixedPoint(16, 15, False)),
    ])))  # fmt: skip
    found = cifar10()
    if found is not None:
        net, images, scoring = found
        print("\n" + "\n".join(table(activations(net, images))))
        print("\n" + "\n".join(scores(net, images, scoring)))


if __name__ == "__main__":
    main()
