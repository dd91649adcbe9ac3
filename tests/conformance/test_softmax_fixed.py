"""The softmax in integers: LiteRT's reference kernel bit for bit, every backend alike, and what cannot be built."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract import Activation, Multiplier, Output, Scaling
from hwsim.errors import ContractError
from hwsim.formats import Affine, FixedPoint
from hwsim.layers import Shape, SoftmaxFixed
from oracles import tflite_rules as rules
from oracles.able import conforms_or_refuses
from oracles.cases import Case
from oracles.compare import by_spec

LOW = {"uint8": 0, "int8": -128}


def layer_of(dtype: str, scale: float, zero: int = 3) -> SoftmaxFixed:
    signed = dtype == "int8"
    output = Output(Affine(8, 1 / 256, LOW[dtype], signed), Rounding.TIES_AWAY)
    return SoftmaxFixed.from_scale(Affine(8, 0.5, zero, signed), scale, output)


def rows(rng: np.random.Generator, dtype: str, count: int, channels: int, spread: float) -> np.ndarray:
    """Codes [count][channels][1][1], anywhere in the type, in rows of their own spread."""
    low = LOW[dtype]
    centre = rng.uniform(low, low + 255, (count, 1))
    return np.clip(rng.normal(centre, spread, (count, channels)), low, low + 255).astype(np.int64)[:, :, None, None]


@pytest.mark.parametrize("dtype", LOW)
def test_litert_gives_the_same_codes(dtype):
    litert = pytest.importorskip("oracles.litert", exc_type=ImportError)
    from hwsim.execute.single import run_layer

    seen, differ = 0, 0
    for seed in range(16):
        rng = np.random.default_rng(seed)
        n, scale = int(rng.integers(2, 400)), float(np.float32(np.exp(rng.uniform(-9, 2))))
        beta = float(np.float32(rng.choice([1.0, 0.5, 2.7, 10])))
        x = rows(rng, dtype, 200, n, float(rng.choice([2, 20, 90])))
        tensor, out = litert.T((200, n), dtype, (scale,), (3,)), litert.T((200, n), dtype, (1 / 256,), (LOW[dtype],))
        model = litert.single("SOFTMAX", "SoftmaxOptions", {"beta": beta}, [tensor], out)
        want = litert.Reference(model).run(x[:, :, 0, 0].astype(dtype)).astype(np.int64)
        layer = layer_of(dtype, beta * scale)
        np.testing.assert_array_equal(run_layer(layer, x, backend="jit").codes[:, :, 0, 0], want, f"seed {seed}")
        other = replace(layer, output=replace(layer.output, rounding=Rounding.FLOOR))
        differ += int((run_layer(other, x, backend="jit").codes[:, :, 0, 0] != want).sum())
        seen += want.size
    assert seen > 100_000 and differ > 1000


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("seed", range(6))
def test_every_backend_follows_the_rule(target, dtype, seed):
    """Height, width, channels and images pairwise different; the rule itself is tests/oracles'."""
    rng = np.random.default_rng(seed)
    scale, low = float(np.float32(np.exp(rng.uniform(-7, 1)))), LOW[dtype]
    x = rows(rng, dtype, 2 * 3 * 5, 7, 25.0).reshape(2, 3, 5, 7).transpose(0, 3, 1, 2)
    layer = layer_of(dtype, scale)
    case = Case(f"softmax {dtype} {seed}", layer, (np.ascontiguousarray(x),))
    conforms_or_refuses(target, case)
    got = by_spec(case)
    for n, y, column in np.ndindex(2, 3, 5):
        want = rules.softmax(x[n, :, y, column], scale, 1.0, low, low + 255)
        np.testing.assert_array_equal(got.codes[n, :, y, column].astype(np.int64), want)


def test_wide_outputs_and_other_ends_follow_the_share():
    """16 bits of a share, floor, wrap, a clamp: an exact softmax is near, and a lone channel is all of it."""
    fmt, low = FixedPoint(8, 4), -32768
    layer = SoftmaxFixed.from_scale(fmt, 1 / 16, Output(Affine(16, 2.0**-16, low), Rounding.TIES_EVEN))
    x = np.random.default_rng(5).integers(-128, 128, (1, 11, 1, 1))
    codes = np.array([layer.spec([x.tolist()], 0, k, 0, 0).code for k in range(11)])
    real = np.exp(x[0, :, 0, 0] / 16)
    np.testing.assert_allclose((codes - low) / 65536, real / real.sum(), atol=2 / 65536)
    alone = [layer.spec([[[[[code]]]]], 0, 0, 0, 0) for code in (-128, 5)]
    assert [(cell.code, cell.events.output) for cell in alone] == [(32767, 1)] * 2
    clamped = replace(layer, output=replace(layer.output, clamp_high=100))
    assert clamped.spec([[[[[5]]]]], 0, 0, 0, 0).events.output == 0 and clamped.bounds.output == (low, 100)
    wrapped = replace(layer, output=replace(layer.output, overflow=Overflow.WRAP))
    assert wrapped.spec([[[[[5]]]]], 0, 0, 0, 0).code == low and layer.bounds.output == (low, 32768)


@pytest.mark.parametrize(("scale", "left", "reach"), [(1.0, 27, 15), (0.6, 26, 31), (2.0**-26, 1, 31 << 25), (1e9, 30, 1)])
def test_a_channel_beyond_the_reach_is_not_shifted(scale, left, reach):
    """31 as Q5.26, in codes: any further, and 32 bits would not hold the shifted difference."""
    layer = SoftmaxFixed.from_scale(FixedPoint(16, 0), scale, Output(Affine(8, 1 / 256, 0, False), Rounding.TIES_AWAY))
    assert (layer.left_shift, layer.numbers.reach) == (left, reach) and reach << left < 1 << 31
    if left > 26:
        row = [[[code]] for code in (2000, 2000 - 32768, 2000, -32768, 1900)]
        assert [layer.spec([[row]], 0, k, 0, 0).code for k in range(5)] == [128, 0, 128, 0, 0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"multiplier": 0}, "multiplier: found 0"),
        ({"multiplier": 1 << 31}, "allowed an integer in 1..2147483647"),
        ({"left_shift": -1}, "left_shift: found -1"),
        ({"left_shift": 31}, "allowed an integer in 0..30"),
        ({"format": FixedPoint(17, 0)}, "found 17 bits"),
        ({"output": 8}, "output: found 8"),
        ({"output": Output(FixedPoint(8, 8))}, "allowed an Affine with a scale of 1/2 down to 1/65536"),
        ({"output": Output(Affine(8, 0.3))}, "allowed an Affine with a scale of 1/2 down to 1/65536"),
        ({"output": Output(Affine(8, 2.0**-17))}, "allowed an Affine with a scale of 1/2 down to 1/65536"),
        ({"output": Output(Affine(8, 1 / 256), scaling=Multiplier(Scaling.MULTIPLY, 1, 0))}, "found a scaling or an activation"),
        (
            {"output": Output(Affine(8, 1 / 256), activation=Activation.RELU_BEFORE_REQUANTIZE)},
            "found a scaling or an activation",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(change, said):
    with pytest.raises(ContractError, match=said.replace("(", r"\(")):
        replace(layer_of("int8", 0.1), **change)


def test_scales_and_channels_beyond_the_registers_are_refused():
    with pytest.raises(ContractError, match="allowed from 2\\*\\*-27"):
        layer_of("int8", 2.0**-28)
    with pytest.raises(ContractError, match="found 4096 channels, allowed at most 4095"):
        layer_of("int8", 0.1).output_shape([Shape(4096, 1, 1)])
