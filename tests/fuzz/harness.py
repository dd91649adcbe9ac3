"""The law for every reader of files that nobody vouches for, and the loop that tries it.

Any bytes give either a good result or one sentence as a HwsimError that names the file: no other exception, no warning, no
more than 10 seconds, and no memory out of proportion to the file.
"""

from __future__ import annotations

import random
import resource
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwsim.errors import HwsimError

SECONDS = 10.0
FREE_MEMORY, MEMORY_RATIO = 64 << 20, 64
"""A reader may take FREE_MEMORY and MEMORY_RATIO times its file."""
LONGEST_SENTENCE = 2000
MAX_INPUT = 1 << 16
"""Longest file that a mutation may grow to; seeds may be longer."""

Mutate = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Reader:
    """One reader under attack.

    name: of its harness.  file: what every refusal must name.  prepare: fills an empty folder once with what stands around
    the file.  read: puts the bytes under test there, reads them, and uses the result as a user would.
    seeds: `good` good files and then a few hostile ones, made by code.  mutate: one change that knows the format.
    """

    name: str
    file: str
    prepare: Callable[[Path], None]
    read: Callable[[Path, bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    mutate: Mutate
    good: int = 3
    free_memory: int = FREE_MEMORY


class Broken(Exception):
    """A reader broke the law."""


def attempt(reader: Reader, folder: Path, data: bytes) -> bool:
    """Read the bytes; True where they were taken, False where they were refused as they should be, else Broken."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", ResourceWarning)
            reader.read(folder, data)
        taken = True
    except HwsimError as error:
        demand_sentence(str(error), reader.file)
        taken = False
    except (Exception, MemoryError) as error:
        raise Broken(f"{type(error).__name__}: {error}") from error
    seconds = time.process_time() - start
    if seconds > SECONDS:
        raise Broken(f"took {seconds:.1f} s")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if grown > reader.free_memory + MEMORY_RATIO * len(data):
        raise Broken(f"took {grown:,} bytes for a file of {len(data):,}")
    return taken


def demand_sentence(text: str, file: str) -> None:
    """One line that a terminal can print, not too long, that names the file and hides no exhausted memory."""
    if not text.isprintable() or not text.isascii() and not text.encode("utf-8", "replace"):
        raise Broken(f"not printable: {text[:300]!r}")
    if not text.endswith(".") or len(text) > LONGEST_SENTENCE:
        raise Broken(f"no sentence, or {len(text)} characters: {text[:300]!r}")
    if file not in text or "MemoryError" in text:
        raise Broken(f"does not name {file}: {text[:300]!r}")


def cases(reader: Reader, seed: int) -> Callable[[], bytes]:
    """An endless, reproducible supply of inputs: a seed, changed once or a few times."""
    rng, pool = random.Random(f"{reader.name} {seed}"), list(reader.seeds())
    supply = iter(pool)

    def following() -> bytes:
        fresh = next(supply, None)
        if fresh is not None:
            return fresh
        chosen = pool[: reader.good] if rng.random() < 0.8 else pool
        data = rng.choice([one for one in chosen if len(one) <= MAX_INPUT])
        for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
            data = reader.mutate(data, rng)[:MAX_INPUT]
        return data

    return following
