"""The one compile decorator of the jit backend, with a cache that sees an edited callee.

numba's own cache is keyed by the file of the compiled function alone: an edited leaf would go unnoticed. So the cache
folder is named by the hash of all of arith/ and jit/. HWSIM_CACHE moves it; where it cannot be written there is no cache.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import config as numba_config


def _sources() -> list[Path]:
    jit = Path(__file__).parent
    return sorted([*(jit.parent.parent / "arith").glob("*.py"), *jit.glob("*.py")])


def _folder() -> str | None:
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    base = os.environ.get("HWSIM_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "hwsim"
    )
    folder = os.path.join(base, f"jit-{digest.hexdigest()[:16]}")
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


_CACHE = _folder()
config: Any = numba_config  # its fields are set at run time, which type checkers do not see


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function compiled for int64, without the interpreter's lock: division as Python has it, no fast maths."""
    before = config.CACHE_DIR
    config.CACHE_DIR = _CACHE or before
    try:
        return numba.njit(cache=_CACHE is not None, nogil=True)(function)
    finally:
        config.CACHE_DIR = before
