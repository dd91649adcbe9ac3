"""Subprocesses that import the same hwsim as the tests do: the installed one under `make test`, else the checkout's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hwsim


def run_python(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """python ARGUMENTS, in a folder that holds no hwsim of its own."""
    env = {**os.environ, "PYTHONPATH": str(Path(hwsim.__file__).parents[1]), "COLUMNS": "200", **environment}
    folder = cwd or Path(__file__).parent
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=folder, timeout=300)


def hwsim_command(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """hwsim ARGUMENTS"""
    return run_python("-m", "hwsim", *arguments, cwd=cwd, **environment)
