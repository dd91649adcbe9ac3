"""Layers that move codes, as ONNX Runtime, LiteRT and TOSA's rules move them; what they refuse."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hwsim.arith.rounding import Rounding
from hwsim.errors import ContractError
from hwsim.execute.single import run_layer
from hwsim.formats import Affine, FixedPoint
from hwsim.layers import ChannelShuffle, Clamp, Flatten, Pad, ResizeNearest, Sampling, Shape, Slice
from hwsim.layers.move import Coordinates, sampling, scaled_by, tflite_sampling, tosa_sampling, whole_factors
from oracles import tosa_rules
from oracles.cases import generator
from oracles.litert import Reference, T, constant, single

S8, U8 = FixedPoint(8, 0), Affine(8, 0.5, 7, signed=False)
MODES = {
    "floor": Rounding.FLOOR,
    "ceil": Rounding.CEIL,
    "round_prefer_floor": Rounding.TIES_DOWN,
    "round_prefer_ceil": Rounding.TIES_UP,
}


def places(width: int) -> np.ndarray:
    """One row whose codes are their own places."""
    return np.arange(width, dtype=np.int8).reshape(1, 1, 1, width)


def resized(rule: Sampling, inputs: int, outputs: int) -> list[int]:
    layer = ResizeNearest(S8, Sampling(1, 1), rule, (1, outputs))
    return run_layer(layer, places(inputs), backend="jit").codes.ravel().tolist()


@pytest.mark.parametrize("coordinates", list(Coordinates), ids=lambda c: c.name.lower())
@pytest.mark.parametrize("nearest", MODES)
def test_resize_is_onnxruntime_s_where_its_float32_places_are_exact(onnxruntime, coordinates, nearest):
    from onnx import TensorProto, helper

    mode, found = coordinates.name.lower(), 0
    for inputs in (1, 2, 3, 5, 8, 13):
        for outputs in (1, 2, 4, 8, 16, 32) if coordinates is not Coordinates.ALIGN_CORNERS else (2, 3, 5, 9, 17):
            if coordinates is not Coordinates.ALIGN_CORNERS and inputs % 2 and inputs > 1:
                outputs *= inputs  # so that outputs / inputs is a float32
            attributes = {"mode": "nearest", "coordinate_transformation_mode": mode, "nearest_mode": nearest}
            node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **attributes)
            want = onnx_resized(onnxruntime, node, inputs, outputs, TensorProto.INT8)
            assert resized(sampling(inputs, outputs, coordinates, MODES[nearest]), inputs, outputs) == want, (inputs, outputs)
            found += 1
    assert found > 20


def onnx_resized(onnxruntime, node, inputs: int, outputs: int, kind: int) -> list[int]:
    from onnx import TensorProto, helper, numpy_helper

    x = helper.make_tensor_value_info("x", TensorProto.INT8, (1, 1, 1, inputs))
    sizes = numpy_helper.from_array(np.array([1, 1, 1, outputs]), "sizes")
    graph = helper.make_graph([node], "one", [x], [helper.make_tensor_value_info("y", kind, None)], [sizes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    model.ir_version = 9
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": places(inputs)})[0].ravel().tolist()


@pytest.mark.parametrize(("align", "half"), [(False, False), (True, False), (False, True)])
def test_resize_is_litert_s_float32_rule(align, half):
    exact = Coordinates.ALIGN_CORNERS if align else Coordinates.ASYMMETRIC
    differs = 0
    for inputs in (1, 2, 3, 7, 11, 29, 100):
        for outputs in (1, 2, 3, 5, 10, 33, 41, 49, 98, 123):
            options = {"alignCorners": align, "halfPixelCenters": half}
            x, size = T((1, 1, inputs, 1), "int8", (0.5,), (3,)), constant(np.array([1, outputs], np.int32))
            model = single(
                "RESIZE_NEAREST_NEIGHBOR",
                "ResizeNearestNeighborOptions",
                options,
                [x, size],
                T((1, 1, outputs, 1), "int8", (0.5,), (3,)),
            )
            want = Reference(model).run(places(inputs).reshape(1, 1, inputs, 1)).ravel().tolist()
            assert resized(tflite_sampling(inputs, outputs, align, half), inputs, outputs) == want, (inputs, outputs)
            rounding = Rounding.TIES_AWAY if align else Rounding.FLOOR
            differs += resized(sampling(inputs, outputs, exact, rounding), inputs, outputs) != want
    assert differs or align  # a float32 place is not the exact one


def test_resize_is_tosa_s():
    rng = generator("tosa resize")
    for _ in range(60):
        h, w = (int(v) for v in rng.integers(1, 9, 2))
        scale = [int(v) for v in rng.integers(1, 12, 4)]
        offset = [int(rng.integers(-s, s + 1)) for s in scale[::2]]
        room = [(e - 1) * n - o for e, n, o in zip((h, w), scale[::2], offset, strict=True)]
        border = [-r % d + d * (max(-r, 0) // d) for r, d in zip(room, scale[1::2], strict=True)]
        x = rng.integers(-128, 128, (1, 2, h, w)).astype(np.int8)
        arrays = [x.transpose(0, 2, 3, 1), np.array(scale), np.array(offset), np.array(border)]
        want = tosa_rules.resize({"mode": "NEAREST"}, arrays, ["int8"], "int8").transpose(0, 3, 1, 2)
        rules = tosa_sampling(scale[0], scale[1], offset[0]), tosa_sampling(scale[2], scale[3], offset[1])
        layer = ResizeNearest(S8, *rules, want.shape[2:])
        np.testing.assert_array_equal(run_layer(layer, x, backend="spec").codes, want, str((scale, offset, border)))


def test_resize_by_a_scale_has_the_size_onnx_gives_it():
    rule = scaled_by(2, Coordinates.ASYMMETRIC, Rounding.FLOOR)
    assert rule == whole_factors((2, 3))[0]
    assert ResizeNearest(S8, rule, whole_factors((2, 3))[1]).output_shape([Shape(3, 5, 7)]) == (3, 10, 21)


def test_pad_is_onnxruntime_s(onnxruntime):
    from onnx import TensorProto, helper

    x = np.arange(2 * 3 * 5 * 7, dtype=np.int8).reshape(2, 3, 5, 7)
    node = helper.make_node("Pad", ["x", "pads", "value"], ["y"])
    amounts = np.array([0, 1, 0, 2, 0, 3, 4, 0])
    feeds = {"x": x, "pads": amounts, "value": np.array(-7, np.int8)}
    want = onnx_node(onnxruntime, node, feeds, TensorProto.INT8)
    layer = Pad(S8, (1, 0, 2), (3, 4, 0), -7)
    np.testing.assert_array_equal(run_layer(layer, x, backend="jit").codes, want)


def test_slice_is_onnxruntime_s(onnxruntime):
    from onnx import TensorProto, helper

    x = np.arange(2 * 6 * 5 * 7, dtype=np.int64).astype(np.int8).reshape(2, 6, 5, 7)
    node = helper.make_node("Slice", ["x", "starts", "ends", "axes", "steps"], ["y"])
    far = np.iinfo(np.int64).min
    feeds = {
        "x": x,
        "starts": np.array([5, 0, 6]),
        "ends": np.array([0, 5, far]),
        "axes": np.array([1, 2, 3]),
        "steps": np.array([-2, 3, -1]),
    }
    want = onnx_node(onnxruntime, node, feeds, TensorProto.INT8)
    layer = Slice(S8, (5, 0, 6), (0, 5, -1), (-2, 3, -1))
    np.testing.assert_array_equal(run_layer(layer, x, backend="jit").codes, want)


def onnx_node(onnxruntime, node, feeds, kind):
    """run_node, with int64 inputs held as constants."""
    from onnx import helper, numpy_helper

    consts = [numpy_helper.from_array(v, k) for k, v in feeds.items() if k != "x"]
    x = helper.make_tensor_value_info("x", kind, feeds["x"].shape)
    graph = helper.make_graph([node], "one", [x], [helper.make_tensor_value_info("y", kind, None)], consts)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    model.ir_version = 9
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": feeds["x"]})[0]


def test_clamp_is_onnxruntime_s_clip(onnxruntime):
    from onnx import TensorProto, helper

    x = np.arange(-105, 105, dtype=np.int8).reshape(2, 3, 5, 7)
    want = onnx_node(
        onnxruntime,
        helper.make_node("Clip", ["x", "low", "high"], ["y"]),
        {"x": x, "low": np.array(-9, np.int8), "high": np.array(50, np.int8)},
        TensorProto.INT8,
    )
    layer = Clamp(S8, -9, 50)
    np.testing.assert_array_equal(run_layer(layer, x, backend="jit").codes, want)
    assert layer.bounds.output == (-9, 50)


def test_the_padding_of_affine_codes_is_their_zero_point():
    out = run_layer(Pad(U8, (0, 1, 0), (0, 0, 1)), np.full((1, 2, 3, 5), 200), backend="jit").codes
    assert (out[:, :, 0] == 7).all() and (out[:, :, :, -1] == 7).all() and (out[:, :, 1:, :-1] == 200).all()


REFUSED = [
    (lambda: Pad(S8, (0, -1, 0), (0, 0, 0)), "pad.before: found (0, -1, 0), allowed three integers"),
    (lambda: Pad(S8, (0, 1), (0, 0, 0)), "pad.before: found (0, 1), allowed three integers"),
    (lambda: Pad(S8, (0, 1, 0), (0, 0, 0), 128), "pad.code: found 128, allowed None or a code in -128..127"),
    (lambda: Pad(S8, (0, 1, 0), (0, 0, 0), 1.5), "pad.code: found 1.5, allowed"),
    (lambda: Slice(S8, (0, 0, 0), (1, 0, 1)), "slice.stop: found no rows at all from 0 to 0 in steps of 1"),
    (lambda: Slice(S8, (0, 0, 0), (1, 1, 1), (1, 0, 1)), "found no rows at all from 0 to 1 in steps of 0"),
    (lambda: Slice(S8, (0, 0, 0), (1, 1, 8)).output_shape([Shape(2, 3, 7)]), "found columns 0..7 of an input of 7"),
    (lambda: ChannelShuffle(S8, 0), "channel_shuffle.groups: found 0, allowed a divisor"),
    (lambda: ChannelShuffle(S8, 4).output_shape([Shape(6, 3, 5)]), "channel_shuffle.groups: found 4 for 6 channels"),
    (lambda: Sampling(-1, 2), "Sampling.step: found -1, allowed an integer in 0.."),
    (lambda: Sampling(1, 0), "Sampling.unit: found 0, allowed an integer in 1.."),
    (lambda: Sampling(1, 2, rounding=3), "Sampling.rounding: found 3, allowed FLOOR"),
    (lambda: Sampling(1, 2, float32=1), "Sampling.float32: found 1, allowed True or False"),
    (lambda: ResizeNearest(S8, Sampling(1, 2), 2), "resize_nearest.horizontal: found 2, allowed a Sampling"),
    (lambda: ResizeNearest(S8, Sampling(0, 2), Sampling(1, 2)).output_shape([Shape(1, 2, 3)]), "found 0 without a declared size"),
    (lambda: ResizeNearest(S8, Sampling(9, 2), Sampling(1, 2)).output_shape([Shape(1, 2, 3)]), "found no rows at all"),
    (lambda: scaled_by(2, Coordinates.ALIGN_CORNERS, Rounding.FLOOR), "allowed a scale above 0, without aligned corners"),
    (lambda: Flatten(S8, 0), "flatten.order: found 0, allowed CHW or HWC"),
    (lambda: Clamp(S8, 5, 128), "clamp.high: found 128, allowed a code in -128..127"),
    (lambda: Clamp(S8, 5, 4), "clamp.low: found 5, allowed at most high 4"),
    (lambda: Pad(S8, (0, 1 << 20, 1 << 20), (0, 0, 0)).output_shape([Shape(2, 3, 5)]), "codes is beyond 268435456"),
    (lambda: Flatten(S8).output_shape([Shape(1, 2, 3)] * 2), "found 2 inputs, allowed exactly one"),
]


@pytest.mark.parametrize(("make", "said"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_what_makes_no_sense_is_refused(make, said):
    with pytest.raises(ContractError, match=re.escape(said)) as caught:
        make()
    assert str(caught.value).endswith(".")
