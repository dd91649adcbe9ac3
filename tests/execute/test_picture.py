"""The pictures of a trace and of a score show the numbers of their tables."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract import Activation, FloatMacContract, FloatOutput, MacContract, Multiplier, Output, Scaling
from hwsim.execute.picture_score import Fates, fates, with_events
from hwsim.execute.picture_trace import BINS, code_strips
from hwsim.execute.score import score
from hwsim.execute.single import Conv2d
from hwsim.execute.trace import LayerTrace, Trace, run
from hwsim.formats import Affine, FixedPoint, Minifloat
from hwsim.formats.catalog import E2M1, E4M3
from hwsim.layers import Events
from hwsim.picture import event_bars
from support.networks import branching, pixels
from support.pictures import words


def test_each_strip_counts_the_layer_s_codes() -> None:
    trace = run(branching(), pixels(2), "spec")
    strips = code_strips(trace)
    assert [strip.name for strip in strips] == [layer.name for layer in trace]
    for strip, layer in zip(strips, trace, strict=True):
        fmt, codes = layer.layer.output_format, layer.codes.ravel().tolist()
        width = (fmt.high - fmt.low + 1) // BINS
        counted = Counter((code - fmt.low) // width for code in codes)
        assert [round(share * len(codes)) for share in strip.shares] == [counted[i] for i in range(BINS)]
        assert (strip.events, strip.outputs) == (layer.events, len(codes))
        assert strip.at_low == codes.count(fmt.low) / len(codes)
        assert strip.at_high == codes.count(fmt.high) / len(codes)
        assert strip.zero == (0.5 if fmt.signed else 0.0)
        assert strip.low_is_zero == (not fmt.signed)
    assert any(strip.events.output for strip in strips) and any(strip.at_high for strip in strips)


def test_the_zero_of_an_affine_format_is_its_zero_point() -> None:
    s8, y8 = FixedPoint(8, 0), Affine(8, 1.0, -28)
    scaling = Multiplier(Scaling.MULTIPLY, 1 << 30, 30)
    x = np.arange(-100, 100).reshape(1, 1, 10, 20)
    found = []
    for clamp in (None, -28):
        contract = MacContract(s8, s8, Output(y8, Rounding.TIES_UP, scaling=scaling, clamp_low=clamp))
        layer = Conv2d().run(x, np.ones((1, 1, 1, 1), int), contract)
        found += code_strips(Trace(branching(), pixels(), {"conv": layer}))
    plain, relu = found
    assert plain.zero == relu.zero == 100 / 256
    assert (plain.low_is_zero, plain.at_low) == (False, 1 / 200), "-128 is worth -100"
    assert (relu.low_is_zero, relu.at_low) == (True, 101 / 200), "-28 is worth 0"


def test_a_format_of_few_codes_has_several_parts_to_a_code() -> None:
    s3 = FixedPoint(3, 0)
    contract = MacContract(s3, s3, Output(s3, overflow=Overflow.SATURATE_SYMMETRIC))
    x = np.array([-4, -3, -3, 0, 3, 3, 3, 2]).reshape(1, 1, 2, 4)
    layer = Conv2d().run(x, np.ones((1, 1, 1, 1), int), contract)
    (strip,) = code_strips(Trace(branching(), pixels(), {"conv": layer}))
    assert strip.shares.reshape(8, -1).tolist() == [[share / 8] * 8 for share in (0, 3, 0, 0, 1, 0, 1, 3)]
    assert (strip.at_low, strip.at_high, strip.events) == (3 / 8, 3 / 8, Events(0, 1)), "the least code is -3: symmetric"


def float_layer(reals: list[float], fmt: Minifloat, activation: Activation = Activation.NONE) -> LayerTrace:
    """A convolution by 1: its outputs are these numbers."""
    contract = FloatMacContract(fmt, fmt, FloatOutput(fmt, activation=activation))
    x = fmt.encode_array(np.array(reals)).reshape(1, 1, 1, -1)
    return Conv2d().run(x, fmt.encode_array(np.ones((1, 1, 1, 1))), contract)


def test_minifloats_stand_in_the_order_of_their_numbers() -> None:
    reals = [-448.0, -448.0, -1.0, -0.015625, 0.0, 0.0, 2.0, 448.0]
    layer = float_layer(reals, E4M3)
    (strip,) = code_strips(Trace(branching(), pixels(), {"conv": layer}))
    positive = [int(E4M3.encode(abs(real))) for real in reals]
    parts = Counter((128 + (code if real >= 0 else -code)) // 4 for real, code in zip(reals, positive, strict=True))
    assert [round(8 * share) for share in strip.shares] == [parts[i] for i in range(BINS)]
    assert (strip.zero, strip.at_low, strip.at_high, strip.low_is_zero) == (0.5, 2 / 8, 1 / 8, False)
    assert layer.row()[5] == "0xfe..0x7e"


def test_behind_a_relu_the_smallest_minifloat_is_zero() -> None:
    layer = float_layer([-6.0, -1.0, 0.5, 6.0], E2M1, Activation.RELU_BEFORE_REQUANTIZE)
    (strip,) = code_strips(Trace(branching(), pixels(), {"conv": layer}))
    assert (strip.at_low, strip.at_high, strip.low_is_zero) == (2 / 4, 1 / 4, True)
    assert [round(4 * share) for share in strip.shares.reshape(16, -1)[:, 0]] == [0] * 8 + [2, 1] + [0] * 5 + [1]
    assert layer.row()[5] == "0x0..0x7"


def test_the_trace_is_drawn(tmp_path: Path) -> None:
    figure = run(branching(), pixels(2), "spec").plot(tmp_path / "trace.png")
    assert (tmp_path / "trace.png").read_bytes().startswith(b"\x89PNG")
    assert "2 images" in figure.get_suptitle()


def test_no_title_runs_into_the_next() -> None:
    for figure in (run(branching(), pixels()).plot(), branching().plot()):
        figure.draw_without_rendering()
        titles = [text.get_window_extent() for axes in figure.axes for text in (axes.title, axes._left_title) if text.get_text()]
        assert len(titles) > 2
        assert not [(one, other) for i, one in enumerate(titles) for other in titles[:i] if one.overlaps(other)]


def test_no_label_is_a_formula_that_nobody_reads() -> None:
    for figure in (run(branching(), pixels(2), "spec").plot(), scored().plot()):
        shown = words(figure)
        assert not [text for text in shown if "$" in text or "\\" in text]
        assert {"0.1", "1"} <= set(shown), "shares have numbers on their axes"


def test_an_axis_of_events_holds_a_layer_with_several_per_output() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    event_bars(axes, [tuple(Events(40)), tuple(Events(0, 1))], [10, 100])
    assert axes.get_xlim()[0] < 0.01 and axes.get_xlim()[1] > 4.0


def scored(events_only: bool = False):
    """Five images of which float and the integers share three, with one gained and one lost."""
    network, images = branching(), pixels(5)
    guesses = run(network, images, "spec", acc=False).top(1)[:, 0]
    labels = guesses.copy()
    labels[[1, 4]] = (guesses[[1, 4]] + 1) % 4
    floats = np.zeros((5, 4))
    floats[range(5), guesses] = 1
    floats[1, labels[1]] = floats[2, (labels[2] + 1) % 4] = 2
    served = iter(floats)
    baseline = None if events_only else lambda batch: np.stack([next(served) for _ in batch])
    return score(network, list(zip(images, labels.tolist(), strict=True)), 5, "spec", baseline)


def test_every_image_has_one_fate() -> None:
    result = scored()
    assert fates(result) == Fates(both=2, gained=1, lost=1, neither=1)
    assert (len(result.gained), len(result.lost), result.fixed.right, result.baseline.right) == (1, 1, 3, 3)
    assert fates(scored(events_only=True)) is None


def test_shares_are_of_all_outputs_of_all_images() -> None:
    result = scored(events_only=True)
    trace = run(branching(), pixels(5), "spec", acc=False)
    assert result.outputs == {layer.name: layer.codes.size for layer in trace} == result.to_json()["outputs"]
    assert with_events(result) == {layer.name: layer.events for layer in trace if any(layer.events)} != {}


def test_the_score_is_drawn_with_and_without_float(tmp_path: Path) -> None:
    for name, result in (("with", scored()), ("without", scored(events_only=True))):
        result.plot(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
