"""A golden package of all of SqueezeNet: seconds and bytes to write it, seconds to check it with every backend."""

from __future__ import annotations

from pathlib import Path

import hwsim
from bench.conftest import Subject


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_write(benchmark, squeezenet: Subject, tmp_path: Path) -> None:
    """Run one image and write every layer of it."""
    benchmark.group = "golden package of squeezenet"
    count = iter(range(100))

    def write() -> Path:
        target = tmp_path / f"package{next(count)}"
        hwsim.write_golden(hwsim.run(squeezenet.quantized, squeezenet.pixels), target)
        return target

    first, second = write(), write()
    assert all(a.read_bytes() == (second / a.relative_to(first)).read_bytes() for a in first.rglob("*") if a.is_file())
    benchmark.pedantic(write, rounds=3)
    benchmark.extra_info["bytes"] = size(first)
    benchmark.extra_info["layers"] = len(squeezenet.quantized.nodes)
    print(f"\npackage of {len(squeezenet.quantized.nodes)} layers: {size(first):,} bytes")


def test_check(benchmark, squeezenet: Subject, tmp_path: Path) -> None:
    """Verify every hash and compute everything again: jit and native whole, spec on 1,000 outputs of each layer."""
    benchmark.group = "golden package of squeezenet"
    package = tmp_path / "package"
    hwsim.write_golden(hwsim.run(squeezenet.quantized, squeezenet.pixels), package)
    report = benchmark.pedantic(hwsim.check, args=(package,), rounds=1)
    assert report.passed
