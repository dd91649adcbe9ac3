"""The picture of formats shows the numbers of the table and of the ranges, and what clips is what saturates."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.formats import Affine, FixedPoint, PowerOfTwo
from hwsim.formats.catalog import E2M1
from hwsim.layers import MacLayer
from hwsim.network.picture import layer_formats, output_cover, weight_cover
from hwsim.network.ranges import Range
from support.networks import branching
from support.pictures import words

LENGTHS = (0,) * 15


def seen(low: float, high: float, clip_low: float = 0.0, clip_high: float = 0.0) -> Range:
    return Range(low, high, clip_low, clip_high, LENGTHS, LENGTHS)


def test_each_line_has_the_numbers_of_the_table() -> None:
    network = replace(branching(), ranges={"data": seen(-100, 120), "right:rescale": seen(0, 40), "left": seen(0, 9000)})
    table = {row[0]: row for row in network.rows()}
    lines = {line.name: line for line in layer_formats(network)}
    assert list(lines) == ["data", "conv1", "left", "right", "right:rescale", "wide", "fc"]
    for name, line in lines.items():
        *_, weight, output, declared, proven = table[name]
        assert ("" if line.needed is None else str(line.needed), "" if line.declared is None else str(line.declared)) == (
            proven,
            declared,
        )
        assert (weight if line.weight is None else str(line.weight.format)) == weight
        assert line.output is None or str(line.output.format) == output
    assert [name for name, line in lines.items() if line.output] == ["data", "left", "right:rescale"]
    assert [line.output.clips for line in lines.values() if line.output] == [False, True, False]


def test_the_side_nearest_to_its_limit_is_shown() -> None:
    cover = output_cover(seen(-3.9, 3.0, -2.0, 1.0), FixedPoint(8, 5))
    assert (cover.ulp, cover.limit, cover.seen, cover.typical, cover.clips) == (1 / 32, 4.0, 3.9, 2.0, False)
    assert cover.headroom == -math.log2(3.9 / 4.0)


def test_one_integer_bit_too_many_is_one_bit_free() -> None:
    right, wide = (output_cover(seen(0.0, 127 / 64), FixedPoint(8, fl)) for fl in (6, 5))
    assert (right.headroom, wide.headroom) == (0.0, 1.0)


def test_anything_below_zero_is_beyond_an_unsigned_format() -> None:
    cover = output_cover(seen(-1.0, 2.0), FixedPoint(8, 5, signed=False))
    assert (cover.clips, cover.headroom) == (True, -math.inf)


def test_zeros_use_no_bit() -> None:
    assert output_cover(seen(0.0, 0.0), FixedPoint(8, 5)).headroom is None
    cover = weight_cover(np.zeros((2, 3), np.float32), FixedPoint(8, 5))
    assert (cover.headroom, cover.typical, cover.clips) == (None, 0.0, False)


@given(high=st.floats(0, 20, width=32), low=st.floats(-20, 0, width=32), fl=st.integers(-2, 9))
def test_what_clips_is_what_saturates(high: float, low: float, fl: int) -> None:
    """Against exact arithmetic: more than half a step beyond the largest or smallest value."""
    fmt = FixedPoint(8, fl)
    half = Fraction(1, 2) / Fraction(2) ** fl
    beyond = Fraction(high) > fmt.largest + half or Fraction(low) < fmt.smallest - half
    cover = output_cover(seen(low, high), fmt)
    if (high > float(fmt.largest)) != (low < float(fmt.smallest)):
        assert cover.clips == beyond
    assert (cover.headroom is None) == (high == low == 0)


def test_each_channel_is_held_against_its_own_format() -> None:
    weight = np.array([[0.5, -0.25], [0.01, 0.03]], np.float32)
    cover = weight_cover(weight, FixedPoint(8, (7, 12)))
    assert (cover.ulp, cover.finest, cover.limit) == (2.0**-7, 2.0**-12, 127 / 128)
    assert cover.seen == 0.5
    assert cover.ratio == float(np.float32(0.03)) * 4096 / 127, "channel 1 is nearer to its limit than channel 0"
    assert not cover.clips
    assert weight_cover(weight, FixedPoint(8, (7, 13))).clips


def test_a_minifloat_reaches_from_its_smallest_number_to_its_largest() -> None:
    cover = output_cover(seen(-7.0, 3.0, -1.0, 2.0), E2M1)
    assert (cover.ulp, cover.limit, cover.seen, cover.typical, cover.clips) == (0.5, 6.0, 7.0, 2.0, False)
    assert cover.headroom == -math.log2(7 / 6)
    assert output_cover(seen(0.0, 7.5), E2M1).clips, "more than half a step of 2 beyond 6"
    weight = weight_cover(np.array([[0.25, -3.0], [0.0, 1.0]], np.float32), E2M1)
    assert (weight.seen, weight.typical, weight.headroom) == (3.0, 1.0, 1.0)


def test_a_power_of_two_reaches_from_its_smallest_to_its_largest() -> None:
    powers = PowerOfTwo(-7, -1)
    cover = weight_cover(np.array([[0.7, -0.25]], np.float32), powers)
    assert (cover.ulp, cover.limit, cover.clips) == (2.0**-7, 0.5, False)
    assert powers.decode(powers.encode(0.7)) == 0.5
    assert weight_cover(np.array([[0.71]], np.float32), powers).clips, "log2 0.71 is nearer to 0 than to -1"


def test_an_affine_format_reaches_from_its_zero_point_to_each_end() -> None:
    fmt = Affine(8, 0.5, 27)  # 155 codes below zero, 100 above
    cover = output_cover(seen(-70.0, 48.0, -60.0, 40.0), fmt)
    assert (cover.ulp, cover.limit, cover.seen, cover.typical, cover.clips) == (0.5, 50.0, 48.0, 40.0, False)
    assert output_cover(seen(-78.0, 0.0), fmt).clips and not output_cover(seen(-77.6, 0.0), fmt).clips
    weights = weight_cover(np.array([[0.4, -1.0], [0.01, 0.02]], np.float32), Affine(8, (0.01, 0.0001), narrow=True))
    assert weights.clips and weights.ratio == pytest.approx(0.02 / 0.0127), "the channel that clips is the one shown"
    assert (weights.ulp, weights.finest) == (0.01, 0.0001)


def test_weights_below_zero_are_held_against_the_end_below_zero() -> None:
    fmt = Affine(8, 0.5, 200, signed=False)  # 200 codes below zero, 55 above
    cover = weight_cover(np.array([[-90.0, 20.0]], np.float32), fmt)
    assert (cover.limit, cover.seen, cover.ratio, cover.clips) == (100.0, 90.0, 0.9, False)
    assert weight_cover(np.array([[-90.0, 28.0]], np.float32), fmt).clips
    assert not weight_cover(np.array([[-1.0, 0.5]], np.float32), FixedPoint(8, 7)).clips, "-128 is a code"


def test_a_network_born_in_integers_shows_what_its_formats_cover() -> None:
    network = branching()
    born = replace(network, ranges={}, nodes=tuple(replace(node, source=None) for node in network.nodes))
    lines = {line.name: line for line in layer_formats(born)}
    for node in born:
        fmt = node.layer.output_format
        if isinstance(node.layer, MacLayer) or fmt not in node.layer.input_formats:
            cover = lines[node.name].output
            assert cover is not None and cover.seen is None and cover.headroom is None and not cover.clips
            assert cover.limit == max(abs(float(fmt.smallest)), abs(float(fmt.largest)))
        if isinstance(node.layer, MacLayer):
            weight, reals = lines[node.name].weight, node.layer.contract.weight.to_real(node.layer.weight)
            assert weight is not None and weight.ratio <= 1 and not weight.clips, "a code is never beyond its format"
            assert weight.seen in (reals.max(), -reals.min()) and weight.typical == np.median(np.abs(reals[reals != 0]))
    figure = born.plot()
    outputs, weights, _ = figure.axes
    assert len(outputs.patches) >= len(born.nodes) // 2 and len(weights.patches) > 0
    shown = words(figure)
    assert "unknown" in " ".join(shown) and not [text for text in shown if "calibration" in text]


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    network = replace(branching(), ranges={"left": seen(-1, 9000), "wide": seen(0, 0)})
    network.plot(tmp_path / "formats.png")
    assert (tmp_path / "formats.png").read_bytes().startswith(b"\x89PNG")


def test_magnitudes_are_powers_of_two_that_can_be_read() -> None:
    shown = words(replace(branching(), ranges={"left": seen(-1, 9000)}).plot())
    assert {"2⁻⁷", "2⁰", "2⁴"} <= set(shown) and not [text for text in shown if "$" in text]


def test_the_labels_are_the_layers() -> None:
    network = branching()
    labels = [label.get_text() for label in network.plot().axes[0].get_yticklabels()]
    assert labels == [line.name for line in layer_formats(network)]


@pytest.mark.parametrize("bits", [12, 20])
def test_an_accumulator_that_may_wrap_is_seen(bits: int) -> None:
    network = branching().with_accumulator("wide", bits, require_proof=False)
    line = next(line for line in layer_formats(network) if line.name == "wide")
    assert (line.declared, str(line.needed)) == (bits, next(row[-1] for row in network.rows() if row[0] == "wide"))
