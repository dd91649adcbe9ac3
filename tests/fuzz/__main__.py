"""Attack every reader for a while: `PYTHONPATH=.:tests python -m fuzz [SECONDS] [READER ...]`, or `make fuzz`.

Each reader has a process of its own, with its address space limited. Where atheris is installed (Linux, `pip install
atheris`) its coverage guides the changes; elsewhere they are drawn blindly. A file that breaks the law is kept as
READER.broken in the current folder, and the exit code is 1.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOM = 1 << 30
"""Address space beyond what is taken when the attack starts: several readings' worth, and far below this machine's."""


def main(arguments: list[str]) -> int:
    """Run the named readers, or all, one after the other."""
    from fuzz.readers import READERS

    seconds, names = (arguments or ["60"])[0], arguments[1:] or list(READERS)
    codes = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="hwsim-fuzz-") as folder:
            command = [sys.executable, "-m", "fuzz", "--one", name, seconds, folder]
            codes.append(subprocess.run(command, check=False).returncode)
    return 1 if any(codes) else 0


def one(name: str, seconds: float, place: Path) -> None:
    """Attack one reader; print how often it was read, and how often it took what it read."""
    atheris = _atheris()
    from fuzz.harness import Broken, attempt, cases
    from fuzz.readers import READERS

    reader, count, taken = READERS[name], 0, 0
    folder, corpus = place / "files", place / "corpus"
    folder.mkdir()
    corpus.mkdir()
    reader.prepare(folder)
    start = math.inf

    def case(data: bytes) -> None:
        nonlocal count, taken
        count += 1
        try:
            taken += attempt(reader, folder, data)
        except Broken as error:
            Path(f"{name}.broken").write_bytes(data)
            traceback.print_exception(error.__cause__ or error)
            print(f"{name}: BROKEN after {count} files: {error}; see {name}.broken", flush=True)
            sys.stdout.flush()
            os._exit(1)
        if time.monotonic() - start > seconds:
            _tell(name, count, taken, time.monotonic() - start, atheris is not None)
            os._exit(0)  # libFuzzer's loop has no other end

    following = cases(reader, random.randrange(1 << 32))
    for _ in reader.seeds():
        case(following())
    start = time.monotonic()
    _limit_memory()
    while atheris is None:
        case(following())
    _guided(atheris, reader, case, corpus)


def _atheris():
    """The module, with hwsim and protobuf's text parser instrumented; None where it is not installed."""
    try:
        import atheris
    except ImportError:
        return None
    packages = ["hwsim", "google.protobuf.text_format", "numpy.lib._format_impl"]
    with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(include=packages):
        import google.protobuf.text_format  # noqa: F401

        from fuzz import readers  # noqa: F401
    return atheris


def _guided(atheris, reader, case, corpus: Path) -> None:
    """libFuzzer's loop, with changes that know the format beside its own."""
    from fuzz.harness import MAX_INPUT

    for number, seed in enumerate(reader.seeds()):
        if len(seed) <= MAX_INPUT:
            (corpus / str(number)).write_bytes(seed)

    def change(data: bytes, limit: int, seed: int) -> bytes:
        rng = random.Random(seed)
        return reader.mutate(data, rng)[:limit] if data and rng.random() < 0.7 else atheris.Mutate(data, limit)

    options = [f"-max_len={MAX_INPUT}", "-timeout=15", "-rss_limit_mb=0", "-verbosity=0", f"-artifact_prefix={corpus}/"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], case, custom_mutator=change)
    atheris.Fuzz()


def _tell(name: str, count: int, taken: int, seconds: float, guided: bool) -> None:
    how = "guided by coverage" if guided else "blindly"
    print(f"{name}: {count:,} files in {seconds:.0f} s ({count / seconds:,.0f} a second), {taken:,} taken, {how}", flush=True)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM,) * 2)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], float(sys.argv[3]), Path(sys.argv[4]))
    else:
        sys.exit(main(sys.argv[1:]))
