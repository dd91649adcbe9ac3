"""SqueezeNet v1.0 whole, one image, codes in to logits out, events counted: hwsim beside ONNX Runtime in the same run.

Equality first: what is timed is compared with the jit backend on every code and event of the network, and an
integer-valued onnxruntime product stands behind both in the tests. Run with `make bench`; read the ratios, not the times.
"""

from __future__ import annotations

import numpy as np
import pytest

from bench import peer
from bench.conftest import Subject, thread_counts
from hwsim.backends.native import info
from hwsim.execute.plan import Plan

ROUNDS = {"warmup_rounds": 5, "rounds": 60, "iterations": 1}


@pytest.fixture(scope="session")
def truth(squeezenet: Subject) -> Plan:
    plan = Plan(squeezenet.quantized, "jit")
    plan.run(squeezenet.pixels[None])
    return plan


def assert_equal(plan: Plan, truth: Plan) -> None:
    for ours, theirs in zip(plan.bound, truth.bound, strict=True):
        assert (ours.step.out.codes == theirs.step.out.codes).all(), ours.node.name
        assert (ours.step.taps.events == theirs.step.taps.events).all(), ours.node.name


@pytest.mark.parametrize("threads", thread_counts())
@pytest.mark.parametrize("isa", info().instruction_sets)
def test_native(benchmark, monkeypatch, squeezenet: Subject, truth: Plan, isa: str, threads: int) -> None:
    """hwsim native."""
    monkeypatch.setenv("HWSIM_ISA", isa)
    monkeypatch.setenv("HWSIM_THREADS", str(threads))
    benchmark.group = f"squeezenet {threads} thread{'s' * (threads > 1)}"
    plan = Plan(squeezenet.quantized, "native")
    plan.run(squeezenet.pixels[None])
    assert_equal(plan, truth)
    benchmark.pedantic(plan.execute, **ROUNDS)
    assert_equal(plan, truth)


@pytest.mark.parametrize("threads", thread_counts())
@pytest.mark.parametrize("kind", ["float32", "uint8 x int8"])
def test_onnxruntime(benchmark, squeezenet: Subject, kind: str, threads: int) -> None:
    """ONNX Runtime on the same network."""
    benchmark.group = f"squeezenet {threads} thread{'s' * (threads > 1)}"
    if kind == "float32":
        model = peer.float_model(squeezenet.net)
    else:
        model = peer.uint8_int8_model(squeezenet.net, squeezenet.real)
        assert peer.operators(model)["QLinearConv"] == 26
    session = peer.session(model, threads)
    feed = peer.feed(squeezenet.real[0])
    assert np.isfinite(session.run(None, feed)[0]).all()
    benchmark.pedantic(lambda: session.run(None, feed), **ROUNDS)


def test_jit(benchmark, squeezenet: Subject, truth: Plan) -> None:
    """hwsim jit, all threads: what computes where no compiler was found."""
    benchmark.group = "squeezenet jit"
    benchmark.pedantic(truth.execute, warmup_rounds=1, rounds=5, iterations=1)
