"""Backends by name, loaded at first use: spec costs nothing, jit loads numba, native opens the C core."""

from __future__ import annotations

from hwsim.backends.base import Backend
from hwsim.errors import BackendError

NAMES = ("spec", "jit", "native")


def backend(name: str) -> Backend:
    """Return the backend of that name; BackendError where there is none, or where it is not installed here."""
    if name == "spec":
        from hwsim.backends.spec import SPEC

        return SPEC
    if name == "jit":
        from hwsim.backends.jit import JIT

        return JIT
    if name == "native":
        from hwsim.backends.native import NATIVE, require

        require()
        return NATIVE
    raise BackendError(f"backend: found {name!r}, allowed {', '.join(NAMES)} or auto.")


def native_available() -> bool:
    """Return whether the C core is installed here."""
    from hwsim.backends.native import available

    return available()
