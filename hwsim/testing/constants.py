"""A seed draws the same examples wherever it is drawn: numbers in the source of other modules do not take part."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

PROVIDERS = "hypothesis.internal.conjecture.providers"


@contextmanager
def no_local_constants() -> Iterator[None]:
    """Inside, Hypothesis draws none of the constants that it collects from modules that are not installed.

    Those depend on which modules are loaded so far: on the tests that ran before in this process, and on whether hwsim runs
    from a checkout. Hypothesis has no option for it, so that the attribute is replaced; a version that has none is left alone.
    """
    module = sys.modules.get(PROVIDERS)
    provider = getattr(module, "HypothesisProvider", None)
    constants, cache = getattr(module, "Constants", None), _cache(module)
    if provider is None or constants is None or cache is None or "_local_constants" not in vars(provider):
        yield
        return
    original = vars(provider)["_local_constants"]
    provider._local_constants = constants()
    cache.clear()
    try:
        yield
    finally:
        provider._local_constants = original
        cache.clear()


def _cache(module: ModuleType | None) -> Any:
    """What Hypothesis keeps of the constants that a kind of draw may use."""
    return getattr(getattr(module, "CONSTANTS_CACHE", None), "cache", None)
