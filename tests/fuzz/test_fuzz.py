"""A few hundred changed files for each reader, the same ones in every run; `make fuzz` goes on for longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.harness import Broken, attempt, cases, demand_sentence
from fuzz.readers import READERS

CHANGED = 200


@pytest.mark.parametrize("name", READERS)
def test_any_bytes_give_a_result_or_one_sentence(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    reader.prepare(tmp_path)
    following, seeds = cases(reader, seed=1), list(reader.seeds())
    taken = [attempt(reader, tmp_path, following()) for _ in range(len(seeds) + CHANGED)]
    # A harness whose good files are refused, or whose changed ones are all taken, would try nothing.
    assert taken[0] and not all(taken)


@pytest.mark.parametrize(
    "text", ["two\nlines of x.", "\x1b[2J in x.", "no full stop in x", "another file.", "x: MemoryError.", "x" * 3000 + "."]
)
def test_what_is_no_sentence_is_seen(text: str) -> None:
    with pytest.raises(Broken):
        demand_sentence(text, "x")
