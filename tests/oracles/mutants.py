"""Do the tests bite? Plant one fault at a time in a copy of hwsim, and see that the tests named beside it fail.

Run by hand from the root of a checkout: `python tests/oracles/mutants.py [WORD ...]` runs those whose claim holds a WORD.
A mutant that survives is a hole in the tests, and the exit code says so. One takes some seconds; those in C are compiled.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from affine_faults import AFFINE_FAULTS
from combined_faults import COMBINED_FAULTS
from faults import FAULTS, Mutant
from lrn_faults import LRN_FAULTS
from more_faults import MORE_FAULTS
from moving_faults import MOVING_FAULTS
from proof_faults import PROOF_FAULTS
from report_faults import REPORT_FAULTS
from witness_faults import WITNESS_FAULTS

ROOT = Path(__file__).parents[2]
MUTANTS = FAULTS + MORE_FAULTS + COMBINED_FAULTS + MOVING_FAULTS + LRN_FAULTS + AFFINE_FAULTS
MUTANTS += PROOF_FAULTS + REPORT_FAULTS + WITNESS_FAULTS


def copied(root: Path, checkout: Path) -> None:
    """Copy what the tests need, and what the C core is built from."""
    for name in ("hwsim", "tests", "native", "docs"):
        shutil.copytree(root / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "CMakeLists.txt"):
        shutil.copy(root / name, checkout)


def build(checkout: Path) -> None:
    """The C core of the checkout, into its hwsim/_native, which CMake would leave as it is if it were of the same second."""
    shutil.rmtree(checkout / "hwsim" / "_native")
    for arguments in ("-S . -B build", "--build build", "--install build --prefix ."):
        done = subprocess.run(["cmake", *arguments.split()], cwd=checkout, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"cmake {arguments}: {done.stdout}{done.stderr}")


@contextmanager
def planted(mutant: Mutant, checkout: Path) -> Iterator[None]:
    """The checkout with the fault in it, and without it afterwards."""
    path = checkout / mutant.file
    source = path.read_text(encoding="utf-8")
    if source.count(mutant.text) != 1:
        sys.exit(f"{mutant.file}: {mutant.text!r} occurs {source.count(mutant.text)} times, not once: {mutant.claim}")
    path.write_text(source.replace(mutant.text, mutant.fault), encoding="utf-8")
    in_c = mutant.file.startswith("native/")
    if in_c:
        build(checkout)
    yield
    path.write_text(source, encoding="utf-8")
    if in_c:
        build(checkout)


def killed(tests: tuple[str, ...], checkout: Path) -> str | None:
    """Return the test that fails, or None where all pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_PROFILE": "ci"}
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return lines[0] if lines else f"pytest ended with {done.returncode}"


@cache
def demand_green(tests: tuple[str, ...], checkout: Path) -> None:
    """Without a fault the tests pass, else they would kill anything."""
    by = killed(tests, checkout)
    if by:
        sys.exit(f"{' '.join(tests)} fails without a fault: {by}")


def main(words: list[str]) -> int:
    chosen = [m for m in MUTANTS if not words or any(word in m.claim or word in m.file for word in words)]
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder)
        copied(ROOT, checkout)
        for i, mutant in enumerate(chosen, 1):
            demand_green(mutant.tests, checkout)
            with planted(mutant, checkout):
                by = killed(mutant.tests, checkout)
            survivors += by is None
            print(f"{i:3}/{len(chosen)} {'killed' if by else 'SURVIVED'}: {mutant.claim}  [{(by or '')[:110]}]", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants killed")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
