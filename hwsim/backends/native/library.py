"""The shared library: found beside the package, opened by cffi through the text of its own header."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hwsim.backends.threads import chosen_threads
from hwsim.errors import BackendError

FOLDER = Path(__file__).parents[2] / "_native"
GET_IT = (
    "install a C compiler (Debian: apt-get install gcc libc6-dev) and run pip install again, "
    "or `make native` in a checkout; backend jit needs neither"
)
INSTRUCTION_SETS = ("auto", "portable", "avx2", "avx512vnni", "amx")
ABI_VERSION = 4


@dataclass(frozen=True)
class NativeInfo:
    """The C core here: present or not, what this processor can run of it, what HWSIM_ISA and HWSIM_THREADS choose."""

    present: bool
    instruction_sets: tuple[str, ...]
    chosen: str | None
    threads: int | None
    note: str


@dataclass(frozen=True)
class Library:
    """The opened library: cffi's ffi and lib, and the instruction sets of this processor, slowest first."""

    ffi: Any
    lib: Any
    instruction_sets: tuple[str, ...]

    def check(self, status: Any, where: str) -> None:
        """Raise what the status says, if it says anything."""
        if status.code:
            text = self.ffi.string(self.lib.hw_status_text(status.code)).decode()
            raise BackendError(
                f"{where}: the native core found {text} (item {status.index}, value {status.value}); "
                "choose backend jit for this layer, or change the layer."
            )


def library_path() -> Path | None:
    """Return where the library lies, or None."""
    return next((p for name in ("libhwsim.so", "libhwsim.dylib") if (p := FOLDER / name).is_file()), None)


def declarations(header: str) -> str:
    """Return the header without what cffi does not read: preprocessor lines and the C++ guard."""
    without_guard = re.sub(r"#ifdef __cplusplus\n.*?#endif", "", header, flags=re.DOTALL)
    return re.sub(r"^#.*$", "", without_guard, flags=re.MULTILINE)


@cache
def _open() -> Library | str:
    """Return the library, or the reason why there is none."""
    path = library_path()
    header = FOLDER / "hwsim.h"
    if path is None or not header.is_file():
        return f"the C core is not installed; {GET_IT}"
    import cffi

    ffi = cffi.FFI()
    try:
        ffi.cdef(declarations(header.read_text(encoding="utf-8")))
        lib: Any = ffi.dlopen(str(path))
        version = lib.hw_abi_version()
    except (OSError, AttributeError, cffi.CDefError) as error:
        return f"the C core cannot be opened ({error}); {GET_IT}"
    if version != ABI_VERSION:
        return f"the C core has interface version {version}, this hwsim needs {ABI_VERSION}; {GET_IT}"
    mask = lib.hw_isa_available()
    return Library(ffi, lib, tuple(name for i, name in enumerate(INSTRUCTION_SETS) if mask >> i & 1))


def available() -> bool:
    """Return whether the C core is installed and opens here."""
    return isinstance(_open(), Library)


def require() -> Library:
    """Return the library; BackendError where there is none."""
    found = _open()
    if isinstance(found, Library):
        return found
    raise BackendError(f"backend native: {found}.")


def chosen_isa() -> str:
    """Return the instruction set to use: HWSIM_ISA, else the fastest here."""
    sets = require().instruction_sets
    named = os.environ.get("HWSIM_ISA") or "auto"
    if named == "auto":
        return sets[-1]
    if named not in sets:
        raise BackendError(f"HWSIM_ISA: found {named!r}, this processor can run {', '.join(sets)}; choose one, or unset it.")
    return named


def isa_number() -> int:
    """Return the enum hw_isa of chosen_isa()."""
    return INSTRUCTION_SETS.index(chosen_isa())


def info() -> NativeInfo:
    """Describe the C core without ever raising."""
    found = _open()
    if not isinstance(found, Library):
        return NativeInfo(False, (), None, None, found)
    try:
        return NativeInfo(True, found.instruction_sets, chosen_isa(), chosen_threads(), "installed")
    except BackendError as error:
        return NativeInfo(True, found.instruction_sets, None, None, str(error))
