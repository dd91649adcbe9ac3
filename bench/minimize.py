"""The study behind docs/overflow.md on the narrowest accumulators: LeNet, CIFAR-10 full and SqueezeNet.

`python -m bench.minimize [NETWORK ...]` with HWSIM_DATA set prints tables in Markdown. Ranges and the data's widths come from
calibration images, every top-1 from other images: `make study` runs it.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import hwsim
from bench.study import load
from hwsim.images import ImageSet
from hwsim.network.graph import Network
from hwsim.proofs.minimize_report import LayerWidths, Minimized

MARGIN = 1.0
CALIBRATION = 350


@dataclass(frozen=True)
class Subject:
    """A float network, its calibration and its scoring images, and the margin; None for the first two columns alone."""

    net: Network
    calibration: ImageSet
    scoring: ImageSet
    margin: float | None


def lenet(data: Path) -> Subject:
    """LeNet on MNIST."""
    net = hwsim.read(data / "lenet" / "lenet.prototxt", data / "lenet" / "lenet.caffemodel", scale=1 / 256)
    names = ("train-images-idx3-ubyte.gz", "t10k-first5000-images-idx3-ubyte.gz")
    calibration, scoring = (hwsim.images(str(data / "mnist" / name), net.preprocessing) for name in names)
    return Subject(net, calibration[:CALIBRATION], scoring[:2000], MARGIN)


def cifar10(data: Path) -> Subject:
    """CIFAR-10 full."""
    folder = data / "cifar10"
    net = hwsim.read(
        folder / "cifar10_full.prototxt",
        folder / "cifar10_full_v1format.caffemodel",
        mean=np.load(folder / "train_mean_rgb_chw.npy"),
        channel_order=hwsim.ChannelOrder.RGB,
    )
    names = ("train_first10000.npz", "test_first500.npz")
    calibration, scoring = (hwsim.images(str(folder / name), net.preprocessing) for name in names)
    return Subject(net, calibration[:CALIBRATION], scoring, MARGIN)


def squeezenet(data: Path) -> Subject:
    """SqueezeNet v1.0, the first two columns."""
    net, calibration, scoring = load(data)
    return Subject(net, calibration, scoring, None)


SUBJECTS: dict[str, Callable[[Path], Subject]] = {"lenet": lenet, "cifar10": cifar10, "squeezenet": squeezenet}


def table(name: str, found: Minimized) -> Iterator[str]:
    """A line for each layer, and a sentence for each line below hwsim's own table."""
    bits = ["declared", "log2 rule", "proven", "data"]
    titles = bits if found.margin is None else [*bits, "saturating", "price alone", "together"]
    yield f"| {name} | " + " | ".join(titles) + " |"
    yield "|---|" + "---|" * len(titles)
    for layer in found.layers:
        yield f"| {layer.name} | " + " | ".join(cells(found, layer)) + " |"
    yield ""
    yield from (f"* {line}" for line in found.lines())


def cells(found: Minimized, layer: LayerWidths) -> list[str]:
    """The widths of one layer, and the price of the saturating one."""
    shown = [str(bits) for bits in (layer.declared, layer.rule, layer.proven, layer.data)]
    if layer.right_alone is None:
        return shown
    return [*shown, str(layer.alone), f"{found.points(layer.right_alone):+.2f}", str(layer.together)]


def main() -> None:
    """Print the tables of the networks that are named, or of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", choices=[*SUBJECTS, []])
    parser.add_argument("--plot", type=Path, help="folder for the pictures")
    asked = parser.parse_args()
    for name in asked.networks or SUBJECTS:
        subject = SUBJECTS[name](Path(os.environ["HWSIM_DATA"]))
        q = hwsim.quantize(subject.net, subject.calibration)
        start, busy = time.perf_counter(), time.process_time()
        found = hwsim.minimize_accumulators(q, subject.calibration, subject.scoring, margin=subject.margin)
        print("\n".join(table(name, found)))
        print(f"* {time.perf_counter() - start:.1f} s; of all cores together {time.process_time() - busy:.1f} s\n")
        if asked.plot is not None:
            found.plot(asked.plot / f"minimize_{name}.png", force=True)


if __name__ == "__main__":
    main()
