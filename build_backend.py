"""The wheel holds the C core wherever a C compiler works, and is an honest pure one (py3-none-any) where none does.

scikit-build-core builds both. This file only decides which, before CMake starts, so that an error in our own C code
is never mistaken for a missing compiler: once a compiler has passed the probe, whatever fails afterwards is an error.
HWSIM_REQUIRE_NATIVE=1 makes the missing compiler an error, too; HWSIM_PURE=1 asks for the pure wheel.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from scikit_build_core import build as _skbuild
from scikit_build_core.build import build_sdist, get_requires_for_build_sdist  # noqa: F401  (PEP 517 hooks)

Settings = dict[str, Any] | None

# Needs the libc headers as much as the compiler: Debian's gcc alone, without libc6-dev, cannot build anything.
PROBE = """#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
int hwsim_probe(void) { return (int)INT8_MAX; }
"""


def compiler_works(command: list[str]) -> bool:
    """Whether `command` turns the probe into a shared library."""
    if shutil.which(command[0]) is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text(PROBE)
        out = str(Path(folder, "probe.so"))
        run = subprocess.run([*command, "-shared", "-fPIC", str(source), "-o", out], capture_output=True, check=False)
        return run.returncode == 0


def find_compiler() -> str | None:
    """The first of $CC, cc, gcc, clang that works. A $CC that does not work is an error: somebody chose it."""
    chosen = os.environ.get("CC", "").strip()
    if chosen:
        if compiler_works(shlex.split(chosen)):
            return chosen
        raise SystemExit(f"hwsim: CC={chosen} cannot build a shared library; name one that can, or unset CC.")
    return next((name for name in ("cc", "gcc", "clang") if compiler_works([name])), None)


def choose(settings: Settings) -> tuple[Settings, bool]:
    """(settings for scikit-build-core, whether the C core is built)."""
    required = os.environ.get("HWSIM_REQUIRE_NATIVE") == "1"
    wanted = os.environ.get("HWSIM_PURE") != "1"
    compiler = find_compiler() if wanted else None
    if compiler is not None:
        # CMake looks for cc, gcc, cl, clang in its own order; hand it the one that was tried.
        os.environ.setdefault("CC", compiler)
        return settings, True
    if required:
        raise SystemExit(
            "hwsim: HWSIM_REQUIRE_NATIVE=1, but no working C compiler was found ($CC, cc, gcc, clang). "
            "Install one (Debian: apt-get install gcc libc6-dev), or unset HWSIM_REQUIRE_NATIVE for a pure wheel."
        )
    print(
        "hwsim: no working C compiler; this is a pure wheel without the native backend (jit takes over).",
        file=sys.stderr,
    )
    return {**(settings or {}), "wheel.cmake": "false"}, False


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    return _skbuild.get_requires_for_build_wheel(choose(config_settings)[0])


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    return _skbuild.get_requires_for_build_editable(choose(config_settings)[0])


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Settings = None) -> str:
    return _skbuild.prepare_metadata_for_build_wheel(metadata_directory, choose(config_settings)[0])


def build_wheel(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    return _skbuild.build_wheel(wheel_directory, choose(config_settings)[0], metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    return _skbuild.build_editable(wheel_directory, choose(config_settings)[0], metadata_directory)
