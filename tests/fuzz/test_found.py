"""What the attacks found, by hand where a fuzzer cannot: links out of the folder, pipes that never end, memory by address."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import hwsim
from fuzz.caffe import npy
from fuzz.data import AS_GRAY
from fuzz.quantized import network
from hwsim.errors import InputError
from hwsim.network.files import read_bytes
from hwsim.network.graph import Input, Network, Node
from support.process import run_python


@pytest.mark.parametrize("inner", ["weights", "network.json"])
def test_a_network_reads_nothing_outside_its_folder(inner: str, tmp_path: Path) -> None:
    folder = network().save(tmp_path / "net.hwnet")
    (folder / inner).rename(tmp_path / "elsewhere")
    (folder / inner).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="plain"):
        hwsim.load(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
@pytest.mark.parametrize("name", ["data.npz", "list.txt", "images-idx3", "a.png", "a,b"])
def test_a_pipe_is_refused_and_not_waited_for(name: str, tmp_path: Path) -> None:
    for part in name.split(","):
        os.mkfifo(tmp_path / part)
    data = ",".join(str(tmp_path / part) for part in name.split(","))
    with pytest.raises(InputError, match="device|no such data"):
        hwsim.images(data, AS_GRAY)


def test_reading_takes_the_files_size_and_not_the_limit(tmp_path: Path) -> None:
    """The limit of a caffemodel is 2 GB; a buffer of that size was asked for before the first byte."""
    (tmp_path / "file").write_bytes(b"abc")
    program = f"""
import resource
from hwsim.network.files import read_bytes
resource.setrlimit(resource.RLIMIT_AS, (1 << 31,) * 2)
print(read_bytes({str(tmp_path / "file")!r}, (1 << 31) - 1))
"""
    if sys.platform == "linux":
        assert run_python("-c", program).stdout == "b'abc'\n"
    assert read_bytes(tmp_path / "file", 3) == b"abc"
    with pytest.raises(InputError, match="larger than the 2 bytes"):
        read_bytes(tmp_path / "file", 2)


@pytest.mark.parametrize("name", ["a\x1b[2J", "two\nlines", "x" * 257])
def test_a_name_that_no_file_could_hold_is_refused_at_the_source(name: str) -> None:
    with pytest.raises(InputError, match="printable"):
        Network("net", (Node(name, Input((1, 2, 2))),))
    with pytest.raises(InputError, match="printable"):
        Network(name, (Node("data", Input((1, 2, 2))),))


def test_a_table_of_a_package_shows_what_its_names_hold_and_does_not_obey(tmp_path: Path) -> None:
    contract = hwsim.MacContract(hwsim.FixedPoint(8, 0), hwsim.FixedPoint(8, 0), hwsim.Output(hwsim.FixedPoint(8, 0)))
    trace = hwsim.Linear().run(np.ones((1, 2, 1, 1), int), np.ones((3, 2), int), contract, backend="spec")
    object.__setattr__(trace, "name", "a\x1b[2J\n")
    text = str(hwsim.write_golden(trace, tmp_path / "p"))
    assert text.replace("\n", "").isprintable() and "a\\x1b[2J\\n" in text


def test_a_mean_in_any_order_and_byte_order_is_read_alike(tmp_path: Path) -> None:
    from hwsim.network.caffe_weights import read_mean

    mean = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for array in (mean, np.asfortranarray(mean), mean.astype(">f8"), mean.astype(np.uint8)):
        (tmp_path / "mean.npy").write_bytes(npy(array))
        np.testing.assert_array_equal(read_mean(tmp_path / "mean.npy"), mean)


def test_a_sentence_stays_short_however_much_it_must_escape() -> None:
    assert len(str(InputError("\U000e0001" * 100_000 + "."))) < 1100
    assert str(InputError("a" * 5000 + ".")).endswith("a.")


def test_an_escape_that_nobody_knows_in_a_skipped_text_warns_no_user(tmp_path: Path) -> None:
    text = 'name: "n" input: "data" input_shape { dim: 1 dim: 1 dim: 4 dim: 5 }\n'
    text += 'layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" relu_param { comment: "sm\\ll" } }\n'
    (tmp_path / "net.prototxt").write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match="comment"):
            hwsim.read(tmp_path / "net.prototxt", tmp_path / "none.caffemodel")
