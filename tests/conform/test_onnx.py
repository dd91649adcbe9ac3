"""hwsim computes what the onnx package expects and what onnxruntime computes; a rule that is nearly theirs does not."""

from __future__ import annotations

import re
import sys
from dataclasses import replace

import numpy as np
import pytest

from hwsim.arith.rounding import Rounding
from hwsim.arith.scale import Scaling
from hwsim.conform import onnx_nodes, onnxruntime_ops
from hwsim.conform.suites import conform
from hwsim.contract.scaling import make_multiplier, quantized_multiplier
from hwsim.errors import InputError
from hwsim.network.lower import onnx_quantized_layers

pytestmark = pytest.mark.usefixtures("onnxruntime")

OPERATORS = {"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "QuantizeLinear", "DequantizeLinear"}


def test_every_node_test_of_the_onnx_package_passes():
    report = conform(["onnx"])
    (suite,) = report.suites
    assert report.passed and report.counts[0] == report.counts[1] > 80, str(report)
    assert {row.operator for row in suite.rows} == OPERATORS | {"Cast", "all"}
    assert re.match(r"onnx \d+\.\d+", suite.oracle)


def test_casts_are_tested_from_and_to_each_narrow_type():
    names = " ".join(case.name for case in onnx_nodes.open_suite(["Cast"], None).cases)
    for kind in ("FLOAT8E4M3FN", "FLOAT8E5M2", "FLOAT8E4M3FNUZ", "FLOAT8E5M2FNUZ", "FLOAT4E2M1", "INT4", "UINT4"):
        assert f"FLOAT_to_{kind}" in names and f"{kind}_to_FLOAT" in names


def test_some_of_each_operator_is_onnxruntimes():
    report = conform(["onnxruntime"], limit=8)
    assert report.passed and report.counts[0] == report.counts[1] >= 56, str(report)


@pytest.mark.slow
def test_every_generated_operator_is_onnxruntimes():
    report = conform(["onnxruntime"])
    assert report.passed and report.counts[0] == report.counts[1] >= 600, str(report)


def with_output(monkeypatch, change):
    real = onnx_quantized_layers.contract

    def contract(*formats):
        made = real(*formats)
        return replace(made, output=change(made.output))

    monkeypatch.setattr(onnxruntime_ops, "contract", contract)


def ties_away(output):
    return replace(output, rounding=Rounding.TIES_AWAY)


def gemmlowp(output):
    """TensorFlow Lite's two roundings of the same scale."""
    scaling = output.scaling
    channels = scaling.channels or 1
    pairs = [quantized_multiplier(float(scaling.real(k))) for k in range(channels)]
    return replace(output, scaling=make_multiplier(Scaling.HIGH_MULTIPLY, pairs), rounding=Rounding.TIES_AWAY)


def exact(output):
    """One rounding of the exact product: no float32 between."""
    return replace(output, scaling=replace(output.scaling, rule=Scaling.FLOAT64))


@pytest.mark.parametrize("change", [ties_away, gemmlowp, exact])
def test_a_rule_that_is_nearly_onnxruntimes_differs_in_100_outputs(monkeypatch, change):
    with_output(monkeypatch, change)
    differing = 0
    for case in onnxruntime_ops.open_suite(["QLinearConv"], None).cases:
        if "crafted" in case.name:
            differing += np.count_nonzero(case.compute("spec") != case.expected())
    assert differing >= 100


def test_scales_multiplied_in_another_order_fail(monkeypatch):
    """x_scale * (w_scale / y_scale) has other float32 roundings."""

    def requantizer(x_scale, w_scales, y_scale):
        return onnx_quantized_layers.multiplier(np.float32(x_scale) * (np.asarray(w_scales, np.float32) / np.float32(y_scale)))

    scales = np.random.default_rng(1).uniform(0.01, 1, (100, 3)).astype(np.float32)
    given = [onnx_quantized_layers.requantizer(a, [b], c) != requantizer(a, [b], c) for a, b, c in scales]
    assert sum(given) > 20


def test_without_the_oracle_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for module in (onnx_nodes, onnxruntime_ops):
        with pytest.raises(InputError, match=r"not installed here; `pip install 'hwsim\[models\]'`"):
            module.open_suite(None, None)


def test_operands_are_restricted_where_the_processor_may_saturate(monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(onnxruntime_ops, "sums_exactly", lambda: False)
    codes = onnxruntime_ops.integers(rng, np.int8, (1000,))
    assert (codes.min(), codes.max()) == (-64, 63)
    assert "no VNNI here" in onnxruntime_ops.open_suite(["QuantizeLinear"], None).title
    monkeypatch.setattr(onnxruntime_ops, "sums_exactly", lambda: True)
    assert onnxruntime_ops.integers(rng, np.int8, (1000,)).min() == -128
    assert "full range" in onnxruntime_ops.open_suite(["QuantizeLinear"], None).title
