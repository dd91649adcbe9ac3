"""Words on the command line: what is refused, and what the refusal tells."""

from __future__ import annotations

import click
import pytest

from hwsim.arith.rounding import Rounding
from hwsim.cli.options import AMBIGUOUS, BACKENDS, DIALECTS, ROUNDINGS, Numbers, RoundingWord, names
from hwsim.contract.dialects import DIALECTS as KNOWN_DIALECTS


@pytest.mark.parametrize("word", sorted(AMBIGUOUS))
def test_an_ambiguous_rounding_word_is_refused_with_the_meanings(word: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        RoundingWord().convert(word, None, None)
    for name, _ in ROUNDINGS:
        assert name in str(caught.value)
    assert "different tools" in str(caught.value)


def test_the_rounding_words_are_the_rounding_modes() -> None:
    assert [name.upper() for name, _ in ROUNDINGS] == [mode.name for mode in Rounding]
    for name, _ in ROUNDINGS:
        assert RoundingWord().convert(name.upper(), None, None) == name


def test_the_dialect_words_are_the_dialects() -> None:
    assert set(DIALECTS) == set(KNOWN_DIALECTS)


def test_the_backend_words_are_the_backends() -> None:
    from hwsim.backends.registry import NAMES

    assert set(BACKENDS) == {"auto", *NAMES}


@pytest.mark.parametrize(("text", "expected"), [(None, None), ("a", ["a"]), ("a, b/c,", ["a", "b/c"])])
def test_names_are_separated_by_commas(text: str | None, expected: list[str] | None) -> None:
    assert names(text) == expected


@pytest.mark.parametrize(
    ("numbers", "text", "expected"),
    [
        (Numbers(int, 3), "1,28,30", (1, 28, 30)),
        (Numbers(float, or_file=True), "104,117.5", (104.0, 117.5)),
        (Numbers(float, or_file=True), "mean.npy", "mean.npy"),
    ],
)
def test_numbers_are_separated_by_commas(numbers: Numbers, text: str, expected: object) -> None:
    assert numbers.convert(text, None, None) == expected


@pytest.mark.parametrize("text", ["1,28", "1,28,28,1", "1,28,x", "mean.npy", ""])
def test_a_shape_is_three_whole_numbers(text: str) -> None:
    with pytest.raises(click.BadParameter, match="1,227,227"):
        Numbers(int, 3).convert(text, None, None)
