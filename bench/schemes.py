"""The study behind docs/quantize.md on schemes: powers of two, minifloats, affine codes and narrow accumulators.

`python -m bench.schemes --choose` compares with float on held-out calibration images (no labels); without it, the networks
are scored. HWSIM_DATA is needed. Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import hwsim
from hwsim.arith.overflow import Overflow
from hwsim.contract import (
    DPU,
    EXACT32,
    ONNXRUNTIME,
    RISTRETTO_GPU,
    TFLITE,
    Accumulator,
    Dialect,
    ExactSum,
    FloatAccumulator,
    Minifloats,
    Scheme,
)
from hwsim.execute.plan import Plan
from hwsim.formats.catalog import named
from hwsim.images import ImageSet
from hwsim.network.graph import Network
from hwsim.network.lower.layers import Widths
from hwsim.network.quantized import QuantizedNetwork
from hwsim.network.ranges import POWER_BITS, Calibration
from hwsim.quantize.compare import float_baseline
from hwsim.quantize.quantize import calibrate, choose
from hwsim.quantize.ranges import Tally

FLOATS = ("e4m3", "e5m2", "e3m4_ieee")
REGISTERS = ("binary32", "binary16")
# accumulator, weights and activations, fitted grid: on the products' grid, operands of fewer bits are the other remedy
NARROW = (
    (16, 8, False), (16, 7, False), (16, 6, False), (12, 8, False), (12, 6, False), (12, 5, False), (16, 8, True), (12, 8, True),
)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A network, images that show its ranges, others to compare on, and labelled ones."""

    net: Network
    calibration: ImageSet
    held_out: ImageSet
    scoring: ImageSet


@dataclass(frozen=True)
class Study:
    """One line of a table."""

    name: str
    widths: Widths
    dialect: Dialect = EXACT32
    method: Calibration = Calibration.LEAST_SQUARES
    per_channel: bool | None = None


def squeezenet(data: Path) -> Subject:
    """SqueezeNet on the images of ImageNet's validation set."""
    folder = data / "squeezenet_v1.0"
    net = hwsim.read(folder / "deploy.prototxt", folder / "squeezenet_v1.0.caffemodel", mean=(104.0, 117.0, 123.0))
    seen, scored = (hwsim.images(str(data / "imagenet_val" / f), net.preprocessing) for f in ("calibration.txt", "scoring.txt"))
    return Subject(net, seen[:175], seen[175:], scored)


def lenet(data: Path) -> Subject:
    """LeNet on MNIST: ranges and choices from training images."""
    net = hwsim.read(data / "lenet" / "lenet.prototxt", data / "lenet" / "lenet.caffemodel", scale=1 / 256)
    files = (next((data / "mnist").glob(f"{part}*images*")) for part in ("train", "t10k"))
    train, test = (hwsim.images(str(file), net.preprocessing) for file in files)
    return Subject(net, train[:500], train[500:1500], test)


SUBJECTS = {"lenet": lenet, "squeezenet": squeezenet}


def powers() -> Iterator[Study]:
    """Powers of two of several widths; the defaults of dynamic fixed point beside them."""
    yield Study("dynamic fixed point, 8 bits", Widths(8, 8))
    for bits in (3, POWER_BITS, 5):
        yield Study(f"power of two, {bits} bits", Widths(bits, 8, Scheme.POWER_OF_TWO))
    yield Study("power of two, Ristretto's", Widths(4, 8, Scheme.POWER_OF_TWO), RISTRETTO_GPU)


def minifloats() -> Iterator[Study]:
    """Formats and accumulators of minifloats."""
    yield Study("E4M3 or E5M2 by range, exact sum", _floats(None))
    for name in FLOATS:
        yield Study(f"{name}, exact sum", _floats(name))
    yield Study("Ristretto's minifloat, exact sum", _floats(None), RISTRETTO_GPU)
    for register in REGISTERS:
        yield Study(f"E4M3 or E5M2 by range, {register} register", _floats(None, register))


def _floats(name: str | None, register: str | None = None) -> Widths:
    accumulator = ExactSum() if register is None else FloatAccumulator(named(register))
    return Widths(8, 8, Scheme.MINIFLOAT, Minifloats(None if name is None else named(name), accumulator))


def accumulators() -> Iterator[Study]:
    """Narrow saturating accumulators in declared order: on the products' grid, and on one that holds what was seen."""
    for bits, operands, fit in NARROW:
        narrow = Accumulator(bits, overflow=Overflow.SATURATE)
        dialect = replace(EXACT32, accumulator=narrow, fit_accumulator=fit)
        grid = "fitted grid" if fit else "products' grid"
        yield Study(f"{operands} bits, {bits}-bit saturating accumulator, {grid}", Widths(operands, operands), dialect)


def affine() -> Iterator[Study]:
    """Scales and zero points: ranges, kinds of codes and dialects; dynamic fixed point and the DPU's beside them."""
    codes = Widths(8, 8, Scheme.AFFINE)
    yield Study("dynamic fixed point, 8 bits", Widths(8, 8))
    for method in (Calibration.MAXIMUM, Calibration.LEAST_SQUARES, Calibration.PERCENTILE):
        yield Study(f"tflite, {method.value.replace('_', ' ')}", codes, TFLITE, method)
    yield Study("tflite, uint8, maximum", replace(codes, signed=False), TFLITE, Calibration.MAXIMUM)
    yield Study("tflite, one scale for each layer's weights, maximum", codes, TFLITE, Calibration.MAXIMUM, False)
    yield Study("onnxruntime, maximum", codes, ONNXRUNTIME, Calibration.MAXIMUM)
    yield Study("dpu, least squares", Widths(8, 8), DPU)


TABLES = {"powers": powers, "minifloats": minifloats, "accumulators": accumulators, "affine": affine}


class Judge:
    """Runs networks on one set of images; the float answers are computed once."""

    def __init__(self, subject: Subject, images: ImageSet) -> None:
        self.pixels = np.stack([images.pixels(i) for i in range(len(images))])
        self.labels = images.labels
        reference = choose(subject.net, self.seen(subject, EXACT32), Widths(), EXACT32, Calibration.LEAST_SQUARES)
        baseline = float_baseline(reference)
        self.wanted = np.concatenate([baseline(self.pixels[i : i + 1]) for i in range(len(self.pixels))])

    _seen: dict[bool, dict[str, Tally]] = {}

    @classmethod
    def seen(cls, subject: Subject, dialect: Dialect) -> dict[str, Tally]:
        """Return what calibration saw for a dialect."""
        key = dialect.requantize_inputs
        if key not in cls._seen:
            cls._seen[key] = calibrate(subject.net, subject.calibration, dialect)
        return cls._seen[key]

    def line(self, study: Study, subject: Subject) -> str:
        """One line: KL of the class probabilities, equal first guesses, and top-1 where there are labels."""
        seen = self.seen(subject, study.dialect)
        network = choose(subject.net, seen, study.widths, study.dialect, study.method, per_channel=study.per_channel)
        logits, walked = self.run(network)
        same = float((logits.argmax(1) == self.wanted.argmax(1)).mean())
        top1 = "" if self.labels is None else f"{(logits.argmax(1) == self.labels).mean():.2%}"
        return f"| {study.name} | {divergence(self.wanted, logits):.4f} | {same:.2%} | {top1} | {walked} |"

    def run(self, network: QuantizedNetwork) -> tuple[np.ndarray, str]:
        """Return the logits as real numbers, and events and the share of outputs that were walked."""
        plan, events, shares = Plan(network), 0, np.zeros(3)
        found = []
        for i in range(len(self.pixels)):
            found.append(plan.run(self.pixels[i : i + 1])[0])
            for bound in plan.bound:
                events += int(bound.step.taps.events[[0, 2, 3]].sum())
                shares += bound.step.taps.shares
        share = f"{shares[2] / shares.sum():.2%}" if shares.any() else ""
        return network[network.logits].layer.output_format.to_real(np.stack(found)), f"{events / len(found):.0f} | {share}"


def divergence(wanted: np.ndarray, found: np.ndarray) -> float:
    """Return the mean over images of KL(float, found) of the class probabilities."""
    p, q = (_log_softmax(np.asarray(x, dtype=np.float64)) for x in (wanted, found))
    return float((np.exp(p) * (p - q)).sum(1).mean())


def _log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subject", choices=tuple(SUBJECTS))
    parser.add_argument("table", choices=tuple(TABLES))
    parser.add_argument("--choose", action="store_true", help="compare on held-out calibration images")
    parser.add_argument("--limit", type=int, help="only the first N images")
    options = parser.parse_args()
    if not os.environ.get("HWSIM_DATA"):
        sys.exit("schemes: HWSIM_DATA is not set; point it at the folder of networks and images.")
    subject = SUBJECTS[options.subject](Path(os.environ["HWSIM_DATA"]))
    images = (subject.held_out if options.choose else subject.scoring)[: options.limit]
    judge = Judge(subject, images)
    print(f"{options.subject}, {len(images)} images\n")
    if judge.labels is not None:
        print(f"float: {(judge.wanted.argmax(1) == judge.labels).mean():.2%}\n")
    print("| arithmetic | KL(float, this) | same first guess | top-1 | accumulator events per image | outputs walked |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for study in TABLES[options.table]():
        print(judge.line(study, subject), flush=True)


if __name__ == "__main__":
    main()
