"""What the benchmarks share: real networks quantized once, and the peer beside them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.backends.native import info
from hwsim.network.graph import Network
from hwsim.network.quantized import QuantizedNetwork

CALIBRATION_IMAGES = 32


@dataclass(frozen=True)
class Subject:
    """A float network, the same in integers, and images: `real` for calibration, `pixels` of the one that is timed."""

    net: Network
    quantized: QuantizedNetwork
    real: list[np.ndarray]
    pixels: np.ndarray


@pytest.fixture(scope="session")
def data_dir() -> Path:
    named = os.environ.get("HWSIM_DATA")
    if not named:
        pytest.skip("HWSIM_DATA is not set: no real networks to time")
    return Path(named)


@pytest.fixture(scope="session")
def squeezenet(data_dir: Path) -> Subject:
    folder = data_dir / "squeezenet_v1.0"
    net = hwsim.read(folder / "deploy.prototxt", folder / "squeezenet_v1.0.caffemodel", mean=(104.0, 117.0, 123.0))
    images = hwsim.images(str(data_dir / "imagenet_val" / "calibration.txt"), net.preprocessing)[:CALIBRATION_IMAGES]
    quantized = hwsim.quantize(net, images, bits=8)
    return Subject(net, quantized, [images.real(i) for i in range(8)], images.pixels(0))


def thread_counts() -> list[int]:
    """One thread, and all."""
    return sorted({1, len(os.sched_getaffinity(0))})


def pytest_report_header() -> list[str]:
    return [f"native: {info()}"]
