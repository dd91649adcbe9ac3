"""Peak memory of scoring a data set: it must not grow with the number of images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.conftest import Subject

# VmHWM, not getrusage: ru_maxrss of a child starts from what its parent had at the fork
SCRIPT = """
import json, sys
import hwsim
q = hwsim.load(sys.argv[1])
s = hwsim.score(q, sys.argv[2], float=sys.argv[4] == "float", limit=int(sys.argv[3]))
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"images": s.images, "kilobytes": peak}))
"""


@pytest.mark.parametrize("beside", ["float", "alone"])
@pytest.mark.parametrize("images", [50, 500])
def test_peak_memory_of_scoring(squeezenet: Subject, data_dir: Path, tmp_path: Path, images: int, beside: str) -> None:
    """Score in a process of its own and read what the system says it used at most: under 1 GB."""
    network = tmp_path / "squeezenet.hwnet"
    squeezenet.quantized.save(network)
    data = data_dir / "imagenet_val" / "scoring.txt"
    command = [sys.executable, "-c", SCRIPT, str(network), str(data), str(images), beside]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    result = json.loads(done.stdout.splitlines()[-1])
    print(f"\n{beside}: {result['images']} images, peak {result['kilobytes'] / 1024:.0f} MB")
    assert result["images"] == images
    assert result["kilobytes"] < 1_000_000
