"""The layering, the sizes and the quiet import of DESIGN: each failure names the line that breaks the law."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.process import run_python

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "hwsim"

# package -> the packages that it may import directly; "and everything below" follows from the closure
DIRECT = {
    "arith": (),
    # style and saving, no numbers: below whatever draws itself
    "picture": (),
    # the bar on stderr: below the command line and what is run like one
    "progress": (),
    "formats": ("arith",),
    "contract": ("formats",),
    "layers": ("contract",),
    "backends": ("layers",),
    "network": ("layers", "picture"),
    "images": ("network",),
    "execute": ("images", "backends"),
    "quantize": ("execute",),
    "golden": ("execute",),
    "proofs": ("quantize", "golden"),
    "testing": ("proofs", "progress"),
    "conform": ("proofs",),
    "installation": ("proofs",),
    "demo": ("proofs",),
    "cli": ("proofs", "progress", "installation", "demo", "conform"),
    "__main__": ("cli",),
}
# may be imported by everybody: names and sentences only
COMMON = {"errors"}
# nothing in these may be loaded by `import hwsim`
HEAVY = ("numba", "onnx", "onnxruntime", "google.protobuf", "PIL", "rich", "numpy")
# A generated or third-party text is no code that somebody has to read.
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|home/\w+|opt|farm)/")


def below(package: str) -> set[str]:
    """The closure of DIRECT."""
    return set(DIRECT[package]).union(*(below(p) for p in DIRECT[package]), set())


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if "_native" not in p.parts)


def package_of(path: Path) -> str:
    """hwsim/arith/rounding.py -> arith, hwsim/errors.py -> errors, hwsim/__init__.py -> hwsim."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "hwsim" if parts == ("__init__",) else parts[0]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import of hwsim in the file, those inside functions and TYPE_CHECKING included."""
    here = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: len(here) - node.level]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            # `from hwsim import arith` names the package in the alias
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def violations(path: Path) -> Iterator[str]:
    mine = package_of(path)
    if mine in COMMON | {"hwsim"}:
        return
    allowed = below(mine) | COMMON | {mine}
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] != "hwsim" or len(parts) < 2 or parts[1] == "__version__":
            continue
        if parts[1] in DIRECT.keys() | COMMON and parts[1] not in allowed:
            yield f"{path.relative_to(ROOT)}:{line}: hwsim.{mine} imports hwsim.{parts[1]}, which stands above it"
        elif parts[1] not in DIRECT.keys() | COMMON:
            yield f"{path.relative_to(ROOT)}:{line}: hwsim.{parts[1]} has no place in the layering (DIRECT, above)"


def test_imports_only_point_downwards() -> None:
    assert [line for path in modules() for line in violations(path)] == []


def test_every_package_has_a_place_in_the_layering() -> None:
    names = {package_of(path) for path in modules()} - COMMON - {"hwsim"}
    assert names <= DIRECT.keys()


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        ("arith/x.py", "from hwsim.formats.fixed import FixedPoint", "hwsim.arith imports hwsim.formats"),
        ("network/x.py", "def f():\n    import hwsim.backends.jit", "hwsim.network imports hwsim.backends"),
        ("layers/x.py", "from hwsim import execute", "hwsim.layers imports hwsim.execute"),
        ("layers/x.py", "from ..golden import check", "hwsim.layers imports hwsim.golden"),
        ("execute/x.py", "from hwsim.quantize import ranges", "hwsim.execute imports hwsim.quantize"),
    ],
)
def test_a_broken_layering_is_seen(file: str, text: str, found: str, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "hwsim" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path / "hwsim")
    assert found in "".join(violations(path))


def test_import_hwsim_is_quiet() -> None:
    """`import hwsim` loads no numba, onnx or onnxruntime (each 0.1 to 0.2 s), nor anything else that is heavy."""
    program = f"import sys, hwsim; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert run_python("-c", program).stdout.strip() == "[]"


def test_only_the_command_line_catches_every_hwsim_error() -> None:
    """Elsewhere a caught HwsimError would be a swallowed one; catching a subclass to add a place and raise is fine.

    conform reports hwsim's refusal of somebody's test as that test's outcome.
    """
    caught = []
    for path in modules():
        if package_of(path) in {"cli", "conform"}:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler) and node.type is not None:
                names = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)}
                raises = any(isinstance(n, ast.Raise) for n in ast.walk(node))
                if "HwsimError" in names and not raises:
                    caught.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert caught == []


def test_the_command_line_does_no_arithmetic() -> None:
    """cli calls the Python API; codes, formats and layers are not its business, nor is numpy."""
    forbidden = {"hwsim.arith", "hwsim.formats", "hwsim.contract", "hwsim.layers", "hwsim.backends", "numpy", "numba"}
    found = [
        f"{path.relative_to(ROOT)}:{line}: imports {name}"
        for path in sorted((PACKAGE / "cli").rglob("*.py"))
        for line, name in imports(path)
        if any(name == f or name.startswith(f + ".") for f in forbidden)
    ]
    assert found == []


def test_leaves_call_only_leaves() -> None:
    """arith: ints in, ints out. numba compiles these same functions, so they may call each other and a few builtins."""
    allowed_builtins = {"min", "max", "abs", "int", "range", "len", "bool", "IntEnum"}
    defined = {
        node.name
        for path in (PACKAGE / "arith").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    found = []
    for path in sorted((PACKAGE / "arith").glob("*.py")):
        for function in [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)]:
            for node in ast.walk(function):
                if not isinstance(node, ast.Call):
                    continue
                name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
                if name not in defined | allowed_builtins:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {function.name} calls {name}")
    assert found == []


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def test_functions_fit_on_a_screen() -> None:
    sources = [*modules(), *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "bench").rglob("*.py"))]
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for path in sources
        for node in functions(path)
        if (node.end_lineno or 0) - node.lineno + 1 > 60
    ]
    assert long == []


def text_files() -> list[Path]:
    """Every file that a person reads."""
    suffixes = {".py", ".c", ".h", ".sh", ".toml", ".md", ".cmake", ".inc"}
    folders = [PACKAGE, *(ROOT / name for name in ("native", "tests", "bench", "golden", "tools", "docs"))]
    inside = [p for folder in folders for p in folder.rglob("*") if p.suffix in suffixes and "_native" not in p.parts]
    top = [p for p in ROOT.iterdir() if p.is_file() and p.suffix in suffixes]
    named = [ROOT / name for name in ("Makefile", "CMakeLists.txt", ".ci/run")]
    return sorted(inside) + sorted(top) + [p for p in named if p.exists()]


def test_files_are_short() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {count} lines"
        for path in text_files()
        if (count := path.read_text(encoding="utf-8").count("\n")) > 500
    ]
    assert long == []


def test_no_path_of_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in text_files()
        if path != Path(__file__).resolve()
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


def test_every_variable_stands_in_the_one_table() -> None:
    from hwsim.installation import VARIABLES

    table = {name for name, _, _ in VARIABLES}
    used: dict[str, str] = {}
    for path in text_files():
        if path.suffix in {".py", ".sh", ".c"} or path.name in {"Makefile", "CMakeLists.txt", "run"}:
            for name in re.findall(r"(?:getenv\(|environ\S*|export )\W*(HWSIM_[A-Z_]+)", path.read_text()):
                used.setdefault(name, str(path.relative_to(ROOT)))
    assert {name: where for name, where in used.items() if name not in table} == {}
    assert {"HWSIM_REQUIRE_ALL", "HWSIM_REQUIRE_NATIVE"} <= used.keys()
