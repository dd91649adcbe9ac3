"""Studies behind the docs: what a dialect costs SqueezeNet, and how much of it the bias format explains.

Run with `make study` (HWSIM_DATA set): prints tables in Markdown. All scores are on the images of scoring.txt; ranges come
from calibration.txt alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import hwsim
from hwsim.contract.dialects import EXACT32, RISTRETTO_CPU, RISTRETTO_GPU, BiasRule, Dialect
from hwsim.execute.score import Baseline, Score
from hwsim.execute.score import score as score_items
from hwsim.images import ImageSet
from hwsim.network.graph import Network
from hwsim.network.quantized import QuantizedNetwork
from hwsim.quantize.compare import float_baseline


def load(data: Path) -> tuple[Network, ImageSet, ImageSet]:
    """Return SqueezeNet and its calibration and scoring images."""
    folder = data / "squeezenet_v1.0"
    net = hwsim.read(folder / "deploy.prototxt", folder / "squeezenet_v1.0.caffemodel", mean=(104.0, 117.0, 123.0))
    sets = [hwsim.images(str(data / "imagenet_val" / name), net.preprocessing) for name in ("calibration.txt", "scoring.txt")]
    return net, sets[0], sets[1]


class Judge:
    """Scores networks on one set of images beside float; the float answers are computed once."""

    def __init__(self, images: ImageSet, float_logits: Baseline) -> None:
        self.pixels = [images.pixels(i) for i in range(len(images))]
        assert images.labels is not None
        self.labels = images.labels
        self.logits = np.concatenate([float_logits(p[None]) for p in self.pixels])

    def score(self, network: QuantizedNetwork) -> Score:
        """Return the score beside the stored float logits."""
        served: Iterator[np.ndarray] = iter(self.logits)
        items = zip(self.pixels, (int(label) for label in self.labels), strict=True)
        return score_items(network, items, len(self.pixels), baseline=lambda batch: np.stack([next(served) for _ in batch]))


def row(name: str, s: Score) -> str:
    """One line of a table."""
    assert s.baseline is not None and s.agreement is not None
    points = 100 * (s.top1 - s.baseline.top1)
    return f"| {name} | {s.top1:.1%} | {points:+.1f} | {s.agreement:.1%} | {len(s.gained)} / {len(s.lost)} |"


def with_layer(base: QuantizedNetwork, other: QuantizedNetwork, name: str) -> QuantizedNetwork:
    """Return `base` with one node taken from `other`."""
    return replace(base, nodes=tuple(other[node.name] if node.name == name else node for node in base.nodes))


def saturated_biases(network: QuantizedNetwork) -> dict[str, int]:
    """Return how many biases of each layer its format clips, where any."""
    counts = {}
    for node in network.mac_nodes:
        if node.source is None or node.source.bias is None:
            continue
        fmt = node.layer.contract.bias_format(len(node.source.bias))
        exact = [fmt.round_real(float(b), channel=k) for k, b in enumerate(node.source.bias)]
        clipped = sum(not fmt.low <= code <= fmt.high for code in exact)
        if clipped:
            counts[node.name] = clipped
    return counts


def dialects() -> list[tuple[str, Dialect]]:
    """The dialects compared, and RISTRETTO_GPU with one rule changed."""
    return [
        ("EXACT32", EXACT32),
        ("RISTRETTO_GPU", RISTRETTO_GPU),
        ("RISTRETTO_CPU", RISTRETTO_CPU),
        ("RISTRETTO_GPU, bias on the accumulator's grid", replace(RISTRETTO_GPU, bias=BiasRule.ACCUMULATOR)),
    ]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("HWSIM_DATA"), help="folder of networks and images (HWSIM_DATA)")
    parser.add_argument("--limit", type=int, help="score only the first N images")
    options = parser.parse_args()
    if not options.data:
        sys.exit("study: HWSIM_DATA is not set; point it at the folder of networks and images.")
    net, calibration, scoring = load(Path(options.data))
    networks = {name: hwsim.quantize(net, calibration, bits=8, dialect=d) for name, d in dialects()}
    judge = Judge(scoring[: options.limit], float_baseline(networks["EXACT32"]))
    print("| arithmetic | top-1 | points from float | same first guess | gained / lost |\n| --- | --- | --- | --- | --- |")
    for name, network in networks.items():
        print(row(name, judge.score(network)), flush=True)
    gpu, repaired = networks["RISTRETTO_GPU"], networks["RISTRETTO_GPU, bias on the accumulator's grid"]
    print("\n| RISTRETTO_GPU, the bias of one layer on the accumulator's grid | top-1 | points | same | gained / lost |")
    print("| --- | --- | --- | --- | --- |")
    for name, count in saturated_biases(gpu).items():
        print(row(f"{name} ({count} biases clipped)", judge.score(with_layer(gpu, repaired, name))), flush=True)


if __name__ == "__main__":
    main()
