"""The wheel: native where a compiler works, an honest pure one where none does, and never one for our own C errors."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD = "import build_backend, sys; print(build_backend.build_wheel(sys.argv[1]))"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small project of the same shape: our build files, one C file, and a stale library from an earlier build."""
    folder = tmp_path / "project"
    (folder / "native" / "src").mkdir(parents=True)
    (folder / "hwsim" / "_native").mkdir(parents=True)
    for name in ("pyproject.toml", "build_backend.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "hwsim" / "__init__.py").write_text("")
    (folder / "hwsim" / "_native" / "libhwsim.so").write_text("stale")
    (folder / "native" / "src" / "one.c").write_text("int one(void) { return 1; }\n")
    (folder / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(hwsim LANGUAGES C)\nadd_library(hwsim SHARED native/src/one.c)\n"
        "install(TARGETS hwsim LIBRARY DESTINATION hwsim/_native)\n"
    )
    return folder


def build(tree: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k not in {"CC", "HWSIM_REQUIRE_NATIVE", "HWSIM_PURE", "PYTHONPATH"}}
    env |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **environment}
    command = [sys.executable, "-c", BUILD, str(tree.parent)]
    return subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, check=False)


def wheels(tree: Path) -> dict[str, list[str]]:
    """{wheel: its files}"""
    return {path.name: zipfile.ZipFile(path).namelist() for path in tree.parent.glob("*.whl")}


def test_with_a_compiler_the_wheel_holds_the_core_and_fits_every_python_3(tree: Path) -> None:
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler here")
    assert build(tree).returncode == 0
    ((name, files),) = wheels(tree).items()
    assert name.startswith("hwsim-0.1.0-py3-none-")
    assert not name.endswith("-any.whl")
    assert "hwsim/_native/libhwsim.so" in files
    core = zipfile.ZipFile(tree.parent / name).read("hwsim/_native/libhwsim.so")
    assert core[:4] == b"\x7fELF"


def test_without_a_compiler_the_wheel_is_pure_and_says_so(tree: Path) -> None:
    run = build(tree, PATH=str(tree))
    assert run.returncode == 0, run.stderr
    ((name, files),) = wheels(tree).items()
    assert name == "hwsim-0.1.0-py3-none-any.whl"
    assert not [file for file in files if "_native" in file]
    assert "pure wheel" in run.stderr


def test_a_missing_compiler_is_an_error_where_native_is_required(tree: Path) -> None:
    run = build(tree, PATH=str(tree), HWSIM_REQUIRE_NATIVE="1")
    assert run.returncode != 0
    assert "no working C compiler was found" in run.stderr
    assert wheels(tree) == {}


def test_our_own_compile_error_is_never_a_pure_wheel(tree: Path) -> None:
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler here")
    (tree / "native" / "src" / "one.c").write_text("int one(void) { return 1 }\n")
    run = build(tree)
    assert run.returncode != 0
    assert wheels(tree) == {}


def test_a_compiler_chosen_by_cc_that_does_not_work_is_an_error(tree: Path) -> None:
    run = build(tree, CC="no-such-compiler")
    assert run.returncode != 0
    assert "CC=no-such-compiler" in run.stderr
    assert wheels(tree) == {}
