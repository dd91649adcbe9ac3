"""Quantized .tflite networks, one image, one thread: hwsim beside LiteRT's interpreter in the same run.

Equality first: every code that hwsim gives is the reference kernels', on each image that is timed. LiteRT's faster kernels
compute other bits here and there, and are timed with their share of equal first guesses beside them. Run with `make bench`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import hwsim
from hwsim.backends.native import info
from hwsim.execute.plan import Plan
from hwsim.images import images
from hwsim.network.quantized import QuantizedNetwork

ROUNDS = {"warmup_rounds": 2, "rounds": 20, "iterations": 1}
IMAGES = 8
NETWORKS = {
    "mobilenet_v1_0.25_128_quant": ("uint8", "imagenet_val/scoring.txt"),
    "resnet8_cifar10_int8": ("int8", "cifar10/test_first500.npz"),
}
KERNELS = {
    "XNNPACK": OpResolverType.BUILTIN,
    "optimized": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": OpResolverType.BUILTIN_REF,
}


@dataclass(frozen=True, eq=False)
class Case:
    """A network with images: pixels for hwsim, codes N H W C for LiteRT, and what the reference kernels answer."""

    path: Path
    network: QuantizedNetwork
    pixels: np.ndarray
    codes: np.ndarray
    answers: np.ndarray


def interpret(interpreter: Interpreter, codes: np.ndarray) -> np.ndarray:
    source, answer = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    found = []
    for image in codes[:, None]:
        interpreter.set_tensor(source, image)
        interpreter.invoke()
        found.append(interpreter.get_tensor(answer)[0])
    return np.array(found)


def interpreter(path: Path, kernels: OpResolverType) -> Interpreter:
    made = Interpreter(model_path=str(path), experimental_op_resolver_type=kernels, num_threads=1)
    made.allocate_tensors()
    return made


@pytest.fixture(scope="module", params=NETWORKS)
def case(request, data_dir: Path) -> Case:
    dtype, source = NETWORKS[request.param]
    path = data_dir / "tflite" / f"{request.param}.tflite"
    network = hwsim.read(path)
    assert isinstance(network, QuantizedNetwork)
    pixels = np.stack([image.pixels for image in images(data_dir / source, network.preprocessing, limit=IMAGES)])
    codes = (pixels.transpose(0, 2, 3, 1).astype(np.int64) - (128 if dtype == "int8" else 0)).astype(dtype)
    return Case(path, network, pixels, codes, interpret(interpreter(path, KERNELS["reference"]), codes))


@pytest.mark.parametrize("isa", info().instruction_sets)
def test_hwsim(benchmark, monkeypatch, case: Case, isa: str) -> None:
    """hwsim, image by image."""
    monkeypatch.setenv("HWSIM_ISA", isa)
    monkeypatch.setenv("HWSIM_THREADS", "1")
    benchmark.group = f"{case.path.stem}, {IMAGES} images, 1 thread"
    plan = Plan(case.network, "auto", 1)
    assert np.array_equal(np.concatenate([plan.run(image) for image in case.pixels[:, None]]), case.answers)
    benchmark.pedantic(lambda: [plan.run(image) for image in case.pixels[:, None]], **ROUNDS)


@pytest.mark.parametrize("kernels", KERNELS)
def test_litert(benchmark, case: Case, kernels: str) -> None:
    """LiteRT on the same images."""
    benchmark.group = f"{case.path.stem}, {IMAGES} images, 1 thread"
    made = interpreter(case.path, KERNELS[kernels])
    found = interpret(made, case.codes)
    benchmark.extra_info["equal first guesses"] = int((found.argmax(1) == case.answers.argmax(1)).sum())
    assert kernels != "reference" or np.array_equal(found, case.answers)
    benchmark.pedantic(lambda: interpret(made, case.codes), **ROUNDS)
