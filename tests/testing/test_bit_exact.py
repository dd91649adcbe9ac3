"""Every planted fault is found and reduced to a few operands; what is reported can be run again; the right device passes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

import hwsim
from hwsim.errors import DeviceUnsteady, InputError
from hwsim.formats import FixedPoint
from hwsim.layers import Convolution, EltwiseMax, FullyConnected, MaxPool, Window
from hwsim.testing import BitMismatch, Report, assert_bit_exact, conv_layers, deconv_layers, fc_layers, replay
from hwsim.testing import inputs as inputs_of
from oracles.unit import FAULTS, STATE, Unit, planted
from support.devices import INPUTS, LAYER, S8, SATURATING, model
from support.process import hwsim_command

LAYERS = conv_layers(2, 2, contract=SATURATING, max_dilation=1, grouped=False)
MOST_OPERANDS = 4


def failure(dut, layer=LAYERS, given=None, **options) -> Report:
    options.setdefault("seed", 0)
    with pytest.raises((BitMismatch, DeviceUnsteady)) as caught:
        assert_bit_exact(dut, layer, given, **options)
    return caught.value.report


def test_the_right_unit_passes() -> None:
    """Plain loops against the model: what hwsim computes and this unit are two readings of one contract."""
    found = assert_bit_exact(Unit(), LAYERS, max_examples=100, seed=1)
    assert found.examples == 100 and found.outputs > 500 and found.calls >= 200


@pytest.mark.parametrize("name", FAULTS)
def test_every_planted_fault_is_found_and_reduced(name: str, tmp_path: Path) -> None:
    """The reduced example fails alone, and the specification of hwsim and the unit without the fault agree about it."""
    report = failure(planted(name), max_examples=500, save=tmp_path)
    example = report.example
    assert report.operands <= MOST_OPERANDS
    assert not report.effort.stopped and not report.own_fault
    assert (Unit()(example.layer, example.inputs) == model(example.layer, example.inputs)).all()
    if name not in STATE:
        assert (planted(name)(example.layer, example.inputs) != model(example.layer, example.inputs)).any()
        with pytest.raises(BitMismatch):
            replay(planted(name), report.folder, save=tmp_path)
    assert replay(Unit(), report.folder).examples == 1


def test_a_reduction_is_deterministic(tmp_path: Path) -> None:
    texts = [str(failure(planted("order backwards"), save=tmp_path)).split("\n") for _ in range(2)]
    same = [[line for line in text if " s; reduced" not in line] for text in texts]  # its seconds differ
    assert same[0] == same[1] and len(same[0]) > 10


def test_another_seed_draws_other_examples(tmp_path: Path) -> None:
    found = {failure(planted("ties up"), seed=seed, save=tmp_path, reduce_calls=0).effort.before for seed in (3, 4)}
    assert len(found) > 1


def test_the_budget_ends_a_reduction_and_is_told(tmp_path: Path) -> None:
    report = failure(planted("order backwards"), save=tmp_path, reduce_calls=10)
    assert report.effort.reduce_calls <= 12 and "the budget of 10 device calls ended it" in str(report)


def test_a_layer_of_its_own_keeps_its_weights(tmp_path: Path) -> None:
    """`layer` given as a layer: the device has it baked in, so that only inputs may be reduced."""
    report = failure(planted("weights unsigned"), LAYER, INPUTS, save=tmp_path)
    assert report.example.layer is LAYER and report.operands <= MOST_OPERANDS
    assert np.count_nonzero(report.example.inputs) == 1 < np.count_nonzero(INPUTS)
    freed = failure(planted("weights unsigned"), LAYER, INPUTS, save=tmp_path, fixed=False)
    assert freed.example.layer.weight.size == 1 and report.operands >= 1


def test_what_a_strategy_never_varies_stays(tmp_path: Path) -> None:
    """A unit for one shape, contract and stride is wrong about every other without being at fault."""
    weights = st.integers(-128, 127).map(lambda code: np.full((1, 2, 2, 2), code))
    layers = weights.map(lambda weight: Convolution(SATURATING, weight, np.array([3]), stride=(2, 2)))

    def dut(layer, inputs):
        assert layer.weight.shape == (1, 2, 2, 2) and layer.stride == (2, 2) and layer.contract == SATURATING
        return planted("weights unsigned")(layer, inputs)

    report = failure(dut, layers, save=tmp_path)
    assert report.operands == 1 and report.effort.drawn >= 20


def test_the_report_is_a_table_a_package_and_data(tmp_path: Path) -> None:
    report = failure(planted("-128 * -128 is -16384"), save=tmp_path)
    text = str(report)
    rows = [line.split() for line in text.split("\n")]
    assert ["0", "0", "0", "0", "127", "-128", "-255"] in rows  # n, k, y, x, expected, found, ulps
    assert "-128 * -128 = 16384" in text and "requantize: 2047 >> 4, TIES_EVEN: 128" in text  # hwsim.explain's rows
    assert f"hwsim check {report.folder}/package --dump {report.folder}/dut.hex" in text
    explained = hwsim_command("explain", f"{report.folder}/package", "--layer", "convolution", "--at", "0,0,0,0")
    assert f"hwsim explain {report.folder}/package --layer convolution --at 0,0,0,0" in text
    assert explained.returncode == 0 and "-128 * -128 = 16384" in explained.stdout
    report.explanation().plot(tmp_path / "steps.png")
    assert (report.folder / "report.txt").read_text() == text + "\n"
    kept = json.loads((report.folder / "report.json").read_text())
    assert kept["outputs"] == [dict(n="0", k="0", y="0", x="0", expected="127", found="-128", ulps="-255")]
    assert kept["operands"] == 1 and kept["effort"]["seed"] == 0 and kept == report.to_json()
    assert hwsim.check(report.folder / "package").passed
    checked = hwsim.check(report.folder / "package", dump=report.folder / "dut.hex")
    assert checked.first_mismatch.coordinate == report.verdict.place and checked.first_mismatch.found == -128


def test_the_same_failure_takes_the_same_folder(tmp_path: Path) -> None:
    first, second = (failure(planted("weights unsigned"), save=tmp_path) for _ in range(2))
    assert first.folder == second.folder and list(tmp_path.iterdir()) == [first.folder]


def test_a_failure_that_cannot_be_saved_is_a_failure_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    report = failure(planted("weights unsigned"), save=tmp_path / "file" / "below")
    assert report.folder is None and "not saved: " in str(report)


@pytest.mark.parametrize("kind", [conv_layers, deconv_layers, fc_layers])
def test_layers_of_any_contract_are_reduced(kind, tmp_path: Path) -> None:
    """Minifloats, powers of two, groups, spills, traps: one code up wherever a code is a multiple of 3."""

    def dut(layer, inputs):
        codes = model(layer, inputs).astype(np.int64)
        return np.where((codes % 3 == 0) & (codes < layer.output_format.high), codes + 1, codes)

    report = failure(dut, kind(), seed=5, max_examples=40, save=tmp_path)
    assert not report.own_fault and not report.effort.stopped and report.operands <= 1
    assert not (report.folder / "package").is_dir() or hwsim.check(report.folder / "package").passed


def test_a_layer_without_weights_is_reduced(tmp_path: Path) -> None:
    layer = MaxPool(S8, Window((2, 2)))

    def dut(layer, inputs):
        codes = model(layer, inputs).astype(np.int64)
        return np.where(codes == 127, -128, codes)

    report = failure(dut, layer, save=tmp_path, fixed=False)
    assert report.example.inputs.size == 4 and sorted(report.example.inputs.ravel().tolist())[-1] == 127
    assert "max_pool, input 1x1x2x2" in str(report)


@pytest.mark.parametrize(
    "given",
    [
        lambda layer: INPUTS,
        lambda layer: st.just(INPUTS),
        lambda layer: inputs_of(layer),
        st.integers(1, 9).map(lambda code: np.full_like(INPUTS, code)),
    ],
    ids=["codes of a layer", "a strategy of a layer", "hwsim's own", "a strategy"],
)
def test_inputs_may_be_given_in_any_way(given) -> None:
    assert assert_bit_exact(model, LAYER, given, max_examples=5).examples >= 1


def test_the_corners_that_every_layer_has_come_first() -> None:
    """Behind the first drawn input: all zero, both ends, and the largest and smallest sums of each output."""
    seen: list[np.ndarray] = []

    def dut(layer, inputs):
        seen.append(inputs)
        return model(layer, inputs)

    assert_bit_exact(dut, LAYER, max_examples=8, runs=1)
    constants = [codes for codes in seen[1:4] if len(np.unique(codes)) == 1]
    assert [int(codes.max()) for codes in constants] == [0, -128, 127]
    sums = [hwsim.run_layer(LAYER, codes, backend="spec").codes for codes in seen[4:8]]
    ends = [(codes[0].max(axis=(1, 2)), codes[0].min(axis=(1, 2))) for codes in sums]
    # (3 * 127 + 2 * 128 + 1 * 127 + 8) / 16 = 48.25, and so on for the weights of LAYER
    assert (ends[0][0][0], ends[1][1][0], ends[2][0][1], ends[3][1][1]) == (48, -47, 79, -80)


def test_rare_corners_are_found(tmp_path: Path) -> None:
    """A product of both smallest codes, among two taps of 16 bits: uniform codes would need about 2**32 examples."""
    s16 = FixedPoint(16, 0)
    contract = hwsim.MacContract(s16, s16, hwsim.Output(FixedPoint(32, 0)), hwsim.Accumulator(40))

    def dut(layer, inputs):
        codes = model(layer, inputs).astype(np.int64)
        hit = (inputs.reshape(len(inputs), 1, -1) == -(1 << 15)) & (layer.weight[None] == -(1 << 15))
        return codes - hit.any(axis=2)[..., None, None]

    report = failure(dut, fc_layers(1, 2, contract=contract), seed=2, max_examples=1000, save=tmp_path)
    assert report.example.inputs.ravel().tolist() == report.example.layer.weight.ravel().tolist() == [-(1 << 15)]


def test_a_difference_between_hwsims_own_backends_is_said_loudly(tmp_path: Path, monkeypatch) -> None:
    """The expected codes are made wrong for every backend but the specification: the device is right, and hwsim is not."""
    right = hwsim.run_layer

    def wrong(layer, inputs, backend="auto", acc=True):
        trace = right(layer, inputs, backend=backend, acc=acc)
        return trace if backend == "spec" else replace(trace, codes=trace.codes ^ 1)

    monkeypatch.setattr("hwsim.testing.judge.run_layer", wrong)
    report = failure(model, LAYER, INPUTS, save=tmp_path)
    assert str(report).startswith("HWSIM ITSELF IS WRONG HERE: backend auto answers codes")


def test_progress_counts_examples() -> None:
    seen: list[tuple[int, int]] = []
    assert_bit_exact(model, LAYER, max_examples=7, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 7) for i in range(1, 8)]


def test_no_example_is_no_pass() -> None:
    empty = st.integers().filter(lambda _: False).map(lambda _: INPUTS)
    with pytest.raises((Unsatisfiable, InputError)):
        assert_bit_exact(model, LAYER, empty)


def test_a_layer_with_two_inputs_is_refused() -> None:
    with pytest.raises(InputError, match="found eltwise_max with 2 inputs, allowed layers with one"):
        assert_bit_exact(model, EltwiseMax((S8, S8)), INPUTS)


def test_a_fully_connected_layer_is_reduced_to_its_taps(tmp_path: Path) -> None:
    """It reads [C][H][W] as one row of taps; what is left is one tap."""
    layer = FullyConnected(SATURATING, np.arange(1, 13).reshape(1, 12))

    def dut(layer, inputs):
        weight = layer.weight.copy()
        weight[:, -1] = 0
        return model(replace(layer, weight=weight), inputs)

    report = failure(dut, layer, np.arange(1, 13).reshape(1, 3, 2, 2), save=tmp_path, fixed=False)
    assert report.example.layer.weight.shape == (1, 1) and report.operands == 1
