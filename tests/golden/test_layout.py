"""Layouts: the address iterator against plain nested loops, and back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.errors import ContractError
from hwsim.formats import FixedPoint
from hwsim.golden.dump import collect, parse_bin, parse_hex
from hwsim.golden.layout import ByteOrder, Layout, MemoryLayout
from hwsim.golden.words import Image, arrange, bin_bytes, hex_bytes, npy_bytes

SIZES = st.permutations([2, 3, 5, 7])


@st.composite
def layouts(draw: st.DrawFn, axes: str = "NCHW") -> MemoryLayout:
    """Any order, up to all axes tiled, any number of lanes, both byte orders."""
    tiled = draw(st.lists(st.sampled_from(axes), unique=True, max_size=len(axes)))
    order = draw(st.permutations([*axes, *(a.lower() for a in tiled)]))
    tiles = tuple((axis, draw(st.integers(1, 9))) for axis in tiled)
    return MemoryLayout("".join(order), tiles, draw(st.sampled_from([1, 2, 3, 4, 7, 16])), draw(st.sampled_from(ByteOrder)))


def walk(layout: MemoryLayout, shape: tuple[int, ...], axes: str) -> Iterator[tuple[int, ...] | None]:
    """Coordinate after coordinate, None for padding: loops as hardware has them, one per letter of the order."""
    tiles = dict(layout.tiles)
    extents = dict(zip(axes, shape, strict=True))
    counts = [
        tiles[letter.upper()] if letter.islower() else -(-extents[letter] // tiles.get(letter, 1)) for letter in layout.order
    ]
    for counters in itertools.product(*map(range, counts)):
        at = dict.fromkeys(axes, 0)
        for letter, counter in zip(layout.order, counters, strict=True):
            at[letter.upper()] += counter if letter.islower() else counter * tiles.get(letter, 1)
        inside = all(at[a] < extents[a] for a in axes)
        yield tuple(at[a] for a in axes) if inside else None


@given(layout=layouts(), shape=SIZES)
def test_the_iterator_is_nested_loops_in_the_order(layout: MemoryLayout, shape: list[int]) -> None:
    expected = list(walk(layout, tuple(shape), "NCHW"))
    expected += [None] * (-len(expected) % layout.lanes)
    flat = [-1 if at is None else int(np.ravel_multi_index(at, shape)) for at in expected]
    assert layout.positions(tuple(shape)).tolist() == flat
    assert layout.words(tuple(shape)) * layout.lanes == len(flat)


@given(layout=layouts(), shape=SIZES, data=st.data())
def test_an_address_leads_back_to_its_coordinate(layout: MemoryLayout, shape: list[int], data: st.DataObject) -> None:
    at = tuple(data.draw(st.integers(0, extent - 1)) for extent in shape)
    address, lane = layout.place(tuple(shape), at)
    assert layout.coordinate(tuple(shape), address, lane) == at


def images() -> st.SearchStrategy[Image]:
    return st.builds(
        lambda layout, shape, bits, signed: Image("a, b", "NCHW", tuple(shape), bits, signed, layout),
        layouts(),
        SIZES,
        st.sampled_from([1, 2, 5, 6, 8, 9, 12, 16, 17, 31, 32, 33, 48, 61, 62]),
        st.booleans(),
    )


def random_codes(image: Image, seed: int) -> np.ndarray:
    fmt = FixedPoint(image.bits, 0, image.signed)
    return np.random.default_rng(seed).integers(fmt.low, fmt.high, image.shape, dtype=np.int64, endpoint=True).astype(image.dtype)


@given(image=images(), seed=st.integers(0, 99))
def test_every_format_of_every_layout_reads_back(image: Image, seed: int) -> None:
    codes = random_codes(image, seed)
    sizes = image.sizes()
    for kind, write, parse in (("hex", hex_bytes, parse_hex), ("bin", bin_bytes, parse_bin)):
        data = write(codes, image)
        assert len(data) == sizes[kind]
        values, undefined = parse(data, image, "test")
        assert not undefined.any()
        assert np.array_equal(collect(values, image), codes)
    assert len(npy_bytes(codes, image)) == sizes["npy"]


@given(image=images(), seed=st.integers(0, 99))
def test_hex_words_are_what_python_formats(image: Image, seed: int) -> None:
    """One word at a time, in Python ints: lane 0 lowest, two's complement in whole digits, zero where the layout pads."""
    codes = random_codes(image, seed)
    coordinates = list(walk(image.layout, image.shape, "NCHW"))
    lanes = image.layout.lanes
    words = []
    for first in range(0, len(coordinates), lanes):
        word = 0
        for lane, at in enumerate(coordinates[first : first + lanes]):
            code = 0 if at is None else int(codes[at])
            word |= code % (1 << 4 * image.digits) << 4 * image.digits * lane
        words.append(f"{word:0{image.digits * lanes}x}")
    assert hex_bytes(codes, image).decode().splitlines()[3:] == words


@given(image=images(), seed=st.integers(0, 99))
def test_binary_words_are_python_integers_in_the_byte_order(image: Image, seed: int) -> None:
    lanes, width = arrange(random_codes(image, seed), image), 8 * image.dtype.itemsize
    expected = b""
    for word in lanes.tolist():
        value = sum(code % (1 << width) << width * lane for lane, code in enumerate(word))
        expected += value.to_bytes(len(word) * width // 8, image.layout.byte_order.value)
    assert bin_bytes(random_codes(image, seed), image) == expected


def test_numpy_reads_the_npy_file(tmp_path) -> None:
    for bits in (8, 12, 31, 48):
        image = Image("a, b", "NCHW", (2, 3, 5, 7), bits, True, MemoryLayout("NCHW"))
        codes = random_codes(image, bits)
        (tmp_path / "a.npy").write_bytes(npy_bytes(codes, image))
        assert np.array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), codes)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("NCHH",), "each axis once"),
        (("NCHWc",), "each axis once"),
        (("NCHW", (("C", 4),)), "each axis once"),
        (("NCHWcc", (("C", 4), ("C", 2))), "each axis once"),
        (("NCHWc", (("C", 0),)), "size in 1"),
        (("NCHWc", (("C", True),)), "size in 1"),
        (("NCHW", (), 0), "allowed an integer in 1"),
        (("NCHW", (), 1, "little"), "ByteOrder"),
    ],
)
def test_a_layout_that_makes_no_sense_is_refused(arguments: tuple, sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        MemoryLayout(*arguments)


def test_each_memory_has_its_axes() -> None:
    with pytest.raises(ContractError, match="K C R S|C K R S"):
        Layout(weights=MemoryLayout("NCHW"))
