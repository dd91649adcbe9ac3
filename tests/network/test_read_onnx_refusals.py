"""An ONNX file that cannot be used is refused in one sentence that names it, and takes no memory out of proportion."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.network import read
from support.caffe_files import piece, varint
from support.onnx_files import model, save

pytestmark = pytest.mark.usefixtures("onnxruntime")
SHAPE = (6, 5, 7)
ONES = np.ones((4, 6, 3, 3), np.float32)


def whole(*numbers):
    return np.array(numbers, np.int64)


def said(folder, made):
    with pytest.raises(InputError) as caught:
        read(save(made, folder))
    text = str(caught.value)
    assert "net.onnx" in text and "\n" not in text and text.endswith(".")
    return text


@pytest.mark.parametrize(
    ("nodes", "constants", "expected"),
    [
        ([("Einsum", "x", "y", {"equation": "nchw->nchw"})], {}, "node 'Einsum_0' (Einsum): hwsim does not know this operator"),
        ([("Relu", "z", "y")], {}, "it reads 'z', which no earlier node writes; the graph is cyclic or not in order"),
        ([("Relu", "b", "a"), ("Relu", "a", "b"), ("Relu", "b", "y")], {}, "cyclic or not in order"),
        ([("Relu", "x", "y"), ("Relu", "x", "y")], {}, "are written twice"),
        ([("Relu", "x", "x"), ("Relu", "x", "y")], {}, "are written twice"),
        ([("Relu", "_", "y")], {}, "it has no input"),
        ([("Relu", "x", "y", {"slope": 1.0})], {}, "it has an attribute 'slope'; hwsim knows none there"),
        ([("LeakyRelu", "x", "y", {"alpha": 3})], {}, "attribute 'alpha' is '3'; float is needed"),
        ([("LeakyRelu", "x", "y", {"alpha": float("nan")})], {}, "negative_slope is nan; it must be finite"),
        ([("Conv", "x x", "y")], {}, "its input 'x' is computed; hwsim needs a constant there"),
        ([("Conv", "x", "y")], {}, "its weights are none"),
        ([("Conv", "x w", "y")], {"w": ONES[0]}, "its weights are of shape (6, 3, 3)"),
        ([("Conv", "x w", "y")], {"w": ONES * np.nan}, "weight holds a number that is not finite"),
        ([("Conv", "x w", "y", {"kernel_shape": [3, 5]})], {"w": ONES}, "kernel_shape is (3, 5); its weights have (3, 3)"),
        ([("Conv", "x w", "y", {"strides": [1]})], {"w": ONES}, "strides is (1,); 2 numbers are needed"),
        ([("Conv", "x w", "y", {"strides": [0, 1]})], {"w": ONES}, "stride is (0, 1)"),
        ([("Conv", "x w", "y", {"pads": [1, 1, -1, 1]})], {"w": ONES}, "pad_end is (-1, 1)"),
        ([("Conv", "x w", "y", {"auto_pad": "SAME"})], {"w": ONES}, "auto_pad is 'SAME'"),
        ([("Conv", "x w", "y", {"group": 0})], {"w": ONES}, "groups is 0"),
        ([("ConvTranspose", "x w", "y", {"output_shape": [9, 9]})], {"w": ONES}, "export it with pads"),
        ([("ConvTranspose", "x w", "y", {"group": 3})], {"w": ONES}, "groups is 3; it must divide the input channels"),
        ([("MaxPool", "x", "y")], {}, "it has no kernel_shape"),
        ([("MaxPool", "x", "y", {"kernel_shape": [2, 2], "dilations": [2, 2]})], {}, "windows without holes"),
        ([("MaxPool", "x", "y z", {"kernel_shape": [2, 2]}), ("Relu", "z", "q")], {}, None),
        ([("LRN", "x", "y", {"size": 4})], {}, "local_size is 4"),
        ([("Gemm", "x w", "y")], {"w": ONES[0, 0]}, "2 axes are needed: flatten it"),
        ([("Flatten", "x", "a"), ("MatMul", "a a", "y")], {}, "is computed"),
        ([("Flatten", "x", "y", {"axis": 2})], {}, "axis is 2; 1, which keeps the batch"),
        ([("Reshape", "x s", "y")], {"s": whole(-1, -1)}, "is none that a tensor can have"),
        ([("Reshape", "x s", "y")], {"s": whole(1 << 40, 1)}, "is none that a tensor can have"),
        ([("Reshape", "x s", "y")], {"s": whole(1, 209)}, "does not fit a tensor of dimensions (1, 6, 5, 7)"),
        ([("Reshape", "x s", "y")], {"s": whole(210, 1)}, "hwsim keeps the batch"),
        ([("Reshape", "x s", "y")], {"s": whole(1, 2, 3, 5, 7)}, "5 axes"),
        ([("Transpose", "x", "y", {"perm": [0, 2, 3, 1]})], {}, "networks in the order NCHW"),
        ([("Concat", "x x", "y", {"axis": 2})], {}, "axis is 2; hwsim joins channels"),
        ([("Softmax", "x", "y", {"axis": 2})], {}, "softmax over the channels"),
        ([("Add", "x c", "y")], {"c": ONES[0]}, "one number, or one per channel, is needed"),
        ([("Add", "x c", "y")], {"c": np.float32(np.inf)}, "not finite"),
        ([("Div", "x c", "y")], {"c": np.float32(0)}, "not finite"),
        ([("Div", "c x", "y")], {"c": np.float32(1)}, "divides a constant by a tensor"),
        ([("Sub", "x x", "y")], {}, "both of its inputs are computed"),
        ([("Pad", "x p", "y", {"mode": "reflect"})], {"p": whole(*[0] * 8)}, "mode is reflect"),
        ([("Pad", "x p", "y")], {"p": whole(0, 0, -1, 0, 0, 0, 0, 0)}, "none cut away"),
        ([("Pad", "x p v", "y")], {"p": whole(0, 0, 1, 0, 0, 0, 0, 0), "v": np.float32(-np.inf)}, "must be finite"),
        ([("Slice", "x s e a t", "y")], {"s": whole(4), "e": whole(0), "a": whole(2), "t": whole(-1)}, "or go backwards"),
        ([("Slice", "x s e a", "y")], {"s": whole(4), "e": whole(2), "a": whole(2)}, "leaves nothing"),
        ([("Split", "x", "a y", {"axis": 2})], {}, "cannot be split into 2 equal parts"),
        ([("Split", "x n", "a y", {"axis": 2})], {"n": whole(6, -1)}, "with the sum 5 are needed"),
        ([("Resize", "x _ s", "y", {"mode": "linear"})], {"s": np.ones(4, np.float32)}, "mode is linear"),
        ([("Resize", "x _ s", "y")], {"s": np.array([1, 1, 1.5, 2], np.float32)}, "whole factors"),
        ([("Resize", "x _ s", "y", {"nearest_mode": "ceil"})], {"s": np.array([1, 1, 2, 2], np.float32)}, "does not repeat each"),
        ([("Resize", "x _ s", "y")], {"s": np.array([1, 1, np.nan, 2], np.float32)}, "whole factors"),
        ([("ConstantOfShape", "s", "y")], {"s": whole(1 << 40)}, "does not know this operator"),
        ([("Gather", "c i", "s"), ("Reshape", "x s", "y")], {"c": whole(1), "i": whole(5)}, "constants do not fit together"),
        ([("Add", "c c", "y")], {"c": np.ones((300, 300), np.float32)}, "a constant of 90,000 elements would be computed"),
        ([("BatchNormalization", "x v v v v", "y")], {"v": np.zeros(5, np.float32)}, "the input has 6 channels"),
        ([("BatchNormalization", "x v v v v", "y", {"training_mode": 1})], {"v": np.ones(6, np.float32)}, "training_mode is 1"),
        ([("Cast", "x", "y", {"to": 10})], {}, "to is 10"),
    ],
)  # fmt: skip
def test_a_graph_that_cannot_be_used_is_refused(tmp_path, nodes, constants, expected):
    made = model(nodes, constants, (1, *SHAPE))
    if expected is None:
        assert len(read(save(made, tmp_path)).nodes) == 2
    else:
        assert expected in said(tmp_path, made)


def changed(change):
    made = model([("Conv", "x w", "y")], {"w": ONES}, (1, *SHAPE))
    change(made)
    return made


def external(made):
    tensor = made.graph.initializer[0]
    tensor.data_location = 1
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"


def twice(made):
    made.graph.initializer.append(made.graph.initializer[0])


def second_input(made):
    made.graph.input.append(made.graph.input[0])
    made.graph.input[1].name = "z"
    made.graph.node[0].input.append("z")


def batch(made):
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2


def subgraph(made):
    made.graph.node[0].attribute.add(name="body").g.name = "g"


def many(made):
    made.graph.node[0].attribute.add(name="strides", type=7).ints.extend([1] * 70_000)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (external, "constant 'w' lies in another file; save the model with its weights inside"),
        (twice, "constant 'w' is given twice"),
        (second_input, "it has 2 inputs (x, z); exactly 1, the image, is needed"),
        (batch, "its batch is 2; 1, or a free one, is needed"),
        (subgraph, "it holds a graph within a graph (If, Loop, Scan)"),
        (many, "attribute 'strides' has 70,000 numbers"),
        (lambda m: m.graph.node[0].attribute.add(name="strides", type=11), "attribute 'strides' is of kind 11"),
        (lambda m: m.graph.node[0].attribute.extend([m.graph.node[0].attribute.add(name="group", type=2)]), "is given twice"),
        (lambda m: setattr(m.graph.node[0], "domain", "com.example"), "hwsim does not know this operator"),
        (lambda m: setattr(m.opset_import[0], "version", 6), "opset 6; hwsim reads 7..23"),
        (lambda m: setattr(m.opset_import[0], "version", 99), "opset 99; hwsim reads 7..23"),
        (lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 10), "its elements are FLOAT16; hwsim reads FLOAT"),
        (lambda m: m.graph.initializer[0].ClearField("raw_data"), "has 0 numbers in float_data; its dimensions"),
        (lambda m: setattr(m.graph.initializer[0], "raw_data", b"1234"), "constant 'w' has 4 bytes; its dimensions"),
        (lambda m: m.graph.initializer[0].dims.append(1 << 40), "constant 'w' has 864 bytes"),
        (lambda m: m.graph.initializer[0].dims.append(-1), "that are not negative are allowed"),
        (lambda m: m.graph.initializer[0].dims.extend([1] * 9), "up to 8"),
        (lambda m: setattr(m.graph.initializer[0], "data_type", 16), "elements of BFLOAT16; hwsim reads FLOAT, UINT8"),
        (lambda m: setattr(m.graph.initializer[0], "data_type", 77), "elements of type 77"),
        (lambda m: m.graph.ClearField("output"), "it holds 1 nodes and 0 outputs"),
        (lambda m: setattr(m.graph.output[0], "name", "none"), "output 'none': it reads 'none', which no earlier node writes"),
        (lambda m: setattr(m.graph.node[0], "name", "x" * 300), "found a name of 300 characters"),
        (lambda m: m.functions.add(name="f"), "functions of its own; inline them"),
        (lambda m: m.graph.input[0].type.sequence_type.elem_type.tensor_type.SetInParent(), "a sequence of tensors"),
    ],
)  # fmt: skip
def test_a_file_that_says_what_cannot_be_is_refused(tmp_path, change, expected):
    assert expected in said(tmp_path, changed(change))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (lambda good: good[:-1], "truncated, damaged, or another kind"),
        (lambda good: good[:300], "truncated"),
        (lambda good: b"", "these 0 bytes are no ONNX model"),
        (lambda good: b"name: 'a prototxt'", "are no ONNX model"),
        (lambda good: b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (lambda good: good + b"\xff" * 11, "damaged"),
        (lambda good: piece(7, varint(7 << 3 | 2) + varint(1 << 40)), "damaged"),
        (lambda good: piece(7, piece(1, piece(5, piece(6, piece(1, b""))))), "a graph within a graph"),
        (lambda good: piece(7, piece(1, b"") * 600_000), "more than 524,288 fields"),
        (lambda good: good.replace(b"Conv_0", b"Con\xff\xfe0"), "no text"),
        (lambda good: b"\x0b" * 100, "damaged"),
    ],
)
def test_bytes_that_are_no_model_are_refused(tmp_path, data, expected):
    good = model([("Conv", "x w", "y")], {"w": ONES}, (1, *SHAPE)).SerializeToString()
    assert expected in said(tmp_path, data(good))


def test_weights_beside_an_onnx_file_and_a_caffe_file_without_weights_are_refused(tmp_path):
    path = save(model([("Relu", "x", "y")], {}, (1, *SHAPE)), tmp_path)
    with pytest.raises(InputError, match="give it alone"):
        read(path, tmp_path / "w.caffemodel")
    with pytest.raises(InputError, match="its weights are missing"):
        read(tmp_path / "net.prototxt")
    with pytest.raises(InputError, match="does not exist"):
        read(tmp_path / "none.onnx")


def test_without_the_onnx_package_the_sentence_says_what_to_install(tmp_path, monkeypatch):
    path = save(model([("Relu", "x", "y")], {}, (1, *SHAPE)), tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"net.onnx: this needs the onnx package.*pip install 'hwsim\[models\]'"):
        read(path)


HOSTILE = {
    "empty nodes": "piece(7, piece(1, b'') * 5_000_000)",
    "empty constants": "piece(7, piece(5, b'') * 5_000_000)",
    "empty attributes": "piece(7, piece(1, piece(5, b'') * 5_000_000))",
    "dimensions": "piece(7, piece(5, number(1, 1) * 5_000_000))",
    "names": "piece(7, piece(1, piece(1, b'') * 5_000_000))",
    "deep nesting": "b''.join([b'\\x3a' + varint(15_000_000)] + [b'\\x0a\\x0a'] * 7_500_000)",
    "packed numbers": "piece(7, piece(5, piece(7, b'\\x01' * 10_000_000)))",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_takes_no_memory_out_of_proportion(tmp_path, kind):
    script = f"""
import resource, sys
sys.path.insert(0, {str(__file__).rpartition("network")[0]!r})
from support.caffe_files import number, piece, varint
from hwsim.errors import InputError
from hwsim.network import read
import onnx, hwsim.network.read_onnx
path = {str(tmp_path / "net.onnx")!r}
open(path, "wb").write({HOSTILE[kind]})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read(path)
except InputError as error:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout, done.stderr
    assert int(done.stdout) < 250
