"""What holds where a test does not say otherwise; the pytest plugin sets it from its options. Loads nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

EXAMPLES = 200


@dataclass(frozen=True)
class Defaults:
    """backend: who computes what is expected.  seed: of the examples.  max_examples: how many.  save: where mismatches go.

    seed: the same one gives the same examples; 0 unless told.  save: a folder, or None for a new one among the temporary files.
    """

    backend: str = "auto"
    seed: int = 0
    max_examples: int = EXAMPLES
    save: Path | None = None


_current = [Defaults()]


def current() -> Defaults:
    """Return the defaults that hold now."""
    return _current[-1]


@contextmanager
def holding(defaults: Defaults) -> Iterator[None]:
    """Let these defaults hold inside the block."""
    _current.append(defaults)
    try:
        yield
    finally:
        _current.remove(defaults)
