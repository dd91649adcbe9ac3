"""Codes of any width as memory words: against Python's own formatting of ints, and back."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.formats.catalog import E5M2
from hwsim.golden.compare import in_order
from hwsim.golden.dump import collect, parse_bin, parse_hex
from hwsim.golden.layout import ByteOrder, MemoryLayout
from hwsim.golden.wide import ExactRegister, from_words, to_words, words_of
from hwsim.golden.words import FORMATTERS, Image, from_npy

SHAPE = (1, 3, 2, 1)


@st.composite
def arrays(draw):
    """(bits, codes): signed codes of 65..200 bits, the extremes among them."""
    bits = draw(st.integers(65, 200))
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    edges = st.sampled_from([low, high, -1, 0, 1 << 63, -(1 << 63)])
    codes = draw(st.lists(st.integers(low, high) | edges, min_size=6, max_size=6))
    return bits, np.array(codes, dtype=object).reshape(SHAPE)


def image_of(bits: int, lanes: int = 1, order: ByteOrder = ByteOrder.LITTLE) -> Image:
    return Image("t", "NCHW", SHAPE, bits, True, MemoryLayout("NCHW", lanes=lanes, byte_order=order))


@given(arrays())
def test_a_word_of_the_text_is_the_number_in_twos_complement(drawn):
    bits, codes = drawn
    digits = -(-bits // 4)
    lines = FORMATTERS["hex"](codes, image_of(bits)).decode().splitlines()[3:]
    assert lines == [f"{code % (1 << 4 * digits):0{digits}x}" for code in codes.ravel()]


@given(arrays(), st.sampled_from(ByteOrder))
def test_a_word_of_the_raw_image_is_the_number_in_whole_words_of_64_bits(drawn, order):
    bits, codes = drawn
    size = 8 * words_of(bits)
    expected = b"".join(code.to_bytes(size, order.value, signed=True) for code in codes.ravel())
    assert FORMATTERS["bin"](codes, image_of(bits, order=order)) == expected


@given(arrays(), st.sampled_from(ByteOrder), st.integers(1, 4))
def test_every_file_is_read_back(drawn, order, lanes):
    bits, codes = drawn
    image = image_of(bits, lanes, order)
    for kind, parse in (("hex", parse_hex), ("bin", parse_bin)):
        data = FORMATTERS[kind](codes, image)
        assert len(data) == image.sizes()[kind]
        values, undefined = parse(data, image, "here")
        assert (collect(values, image) == codes).all() and not collect(undefined, image).any()
    data = FORMATTERS["npy"](codes, image)
    assert len(data) == image.sizes()["npy"]
    assert (from_npy(np.load(io.BytesIO(data)), image) == codes).all()


@given(st.integers(-(1 << 191), (1 << 191) - 1))
def test_words_are_twos_complement_little_end_first(code):
    words = to_words(np.array([code], dtype=object), 3)[0].tolist()
    assert sum((word % (1 << 64)) << (64 * i) for i, word in enumerate(words)) == code % (1 << 192)
    assert from_words(np.array([words])).tolist() == [code]


@pytest.mark.parametrize("text", ["3fffffffffffffffff", "1fffffffffffffffff"])
def test_a_port_narrower_than_its_digits_may_extend_either_way(text):
    """-1 of 70 bits in 18 digits: with two more ones above it, or without; 69 ones are the largest number."""
    image = Image("t", "K", (1,), 70, True, MemoryLayout("K"))
    values, _ = parse_hex(text.encode(), image, "here")
    assert values.ravel().tolist() == [-1 if text[0] == "3" else (1 << 69) - 1]
    assert parse_hex(b"f" * 18, image, "here")[0].ravel().tolist() == [-1]


def test_minifloats_in_order_rise_with_their_values():
    finite = [code for code in range(256) if code & 0x7C != 0x7C]
    ordered = sorted(finite, key=lambda code: in_order(code, E5M2))
    values = [E5M2.decode(code) for code in ordered]
    assert values == sorted(values) and ordered.index(0x80) + 1 == ordered.index(0x00)
    assert in_order(np.array(finite), E5M2).tolist() == [in_order(code, E5M2) for code in finite]


def test_a_register_says_what_its_codes_mean():
    register = ExactRegister(70, (3, 5))
    assert register.per_channel and register.low == -(1 << 69) and register.high == (1 << 69) - 1
    assert register.decode(40, 0) == 5 and register.decode(32, 1) == 1
    assert str(register) == "exact s70 fl 3..5 per channel" and str(ExactRegister(70, 3)) == "exact s70 fl 3"
