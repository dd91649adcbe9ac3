"""What is installed here: versions, the C core and its instruction sets, and every HWSIM_* variable in one table."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import hwsim
from hwsim.backends.native import NativeInfo
from hwsim.backends.native import info as native_info

if TYPE_CHECKING:
    from rich.console import Group

# name, meaning, what holds where it is not set
VARIABLES: tuple[tuple[str, str, str], ...] = (
    ("HWSIM_ISA", "instruction set of the native backend: one of those that `hwsim info` lists", "the fastest here"),
    ("HWSIM_THREADS", "threads of the backends native and jit", "all processors"),
    ("HWSIM_CACHE", "folder of the code that numba has compiled and of the TOSA tests", "a folder in the user's cache"),
    ("HWSIM_DATA", "folder with the networks and images that tests and benchmarks use", "those tests skip"),
    ("HWSIM_TOSA", "environment with tosa-tools, whose tests `hwsim conform` runs", "the tools on PATH"),
    ("HWSIM_REQUIRE_ALL", "1: a test that would skip for want of data or a library fails instead", "0"),
    ("HWSIM_REQUIRE_NATIVE", "1: an installation without the C core is an error", "0"),
    ("HWSIM_PURE", "1: `pip install` leaves the C core out", "0"),
)

PACKAGES = ("numpy", "numba", "cffi", "protobuf", "pillow", "onnx", "onnxruntime")

@dataclass(frozen=True)
class Installation:
    """What `hwsim info` shows and bug reports need."""

    hwsim: str
    python: str
    machine: str
    packages: dict[str, str | None]
    native: NativeInfo
    environment: dict[str, str | None]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        native = self.native
        core = f"{', '.join(native.instruction_sets)}, uses {native.chosen} x {native.threads}" if native.present else native.note
        packages = ", ".join(f"{name} {version or 'missing'}" for name, version in self.packages.items())
        return f"hwsim {self.hwsim}, Python {self.python} on {self.machine}; native: {core}; {packages}"

    def __rich__(self) -> Group:
        from rich.console import Group

        return Group(*_tables(self))


def installation() -> Installation:
    """Look at this installation; loads neither numba nor onnxruntime."""
    return Installation(
        hwsim=hwsim.__version__,
        python=platform.python_version(),
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        packages={name: _version(name) for name in PACKAGES},
        native=native_info(),
        environment={name: os.environ.get(name) for name, _, _ in VARIABLES},
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _tables(found: Installation) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_row("hwsim", found.hwsim)
    facts.add_row("Python", f"{found.python} on {found.machine}")
    for name, version in found.packages.items():
        facts.add_row(name, version or "missing (pip install 'hwsim[models]')")
    facts.add_row("backends", "spec, jit, native" if found.native.present else "spec, jit")
    facts.add_row("native", found.native.note)
    if found.native.present:
        facts.add_row("  can use", ", ".join(found.native.instruction_sets))
        facts.add_row("  uses", f"{found.native.chosen}, {found.native.threads} threads" if found.native.chosen else "nothing")
    variables = Table("variable", "now", "meaning [when not set]", box=None, pad_edge=False)
    for name, meaning, default in VARIABLES:
        variables.add_row(name, found.environment[name] or "-", Text(f"{meaning} [{default}]"))
    return [facts, "", variables]
