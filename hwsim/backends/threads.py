"""How many threads to use, and rows shared out among them; no result depends on either."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

from hwsim.errors import BackendError

MAX_THREADS = 256
SHARES = 4  # pieces per thread: where another program holds a core, the other threads take its pieces


def chosen_threads() -> int:
    """Return how many threads to use: HWSIM_THREADS, else all processors."""
    named = os.environ.get("HWSIM_THREADS")
    if not named:
        count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(count, MAX_THREADS)
    if not named.isascii() or not named.isdigit() or not 1 <= int(named) <= MAX_THREADS:
        raise BackendError(f"HWSIM_THREADS: found {named!r}, allowed an integer in 1..{MAX_THREADS}; unset it for all cores.")
    return int(named)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="hwsim")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of its parent's threads


def over_rows(loop: Callable[..., Any], rows: int, *arguments: Any) -> np.ndarray:
    """Return the sum of loop(first, last, *arguments) over pieces of 0..rows, run by the threads that are to be used.

    loop: releases the interpreter's lock and writes only what belongs to its rows; returns counts.
    """
    threads = min(chosen_threads(), rows)
    if threads < 2:
        return np.asarray(loop(0, rows, *arguments))
    pieces = min(rows, SHARES * threads)
    cuts = [rows * i // pieces for i in range(pieces + 1)]
    counts = _pool(threads).map(lambda i: loop(cuts[i], cuts[i + 1], *arguments), range(pieces))
    return np.sum([np.asarray(count) for count in counts], axis=0)
