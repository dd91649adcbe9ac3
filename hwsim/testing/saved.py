"""A failure on disk: a golden package of the reduced example, what the device made of it, and the report; and back again."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from hwsim.errors import InputError, OverflowTrap
from hwsim.execute.single import run_layer
from hwsim.golden.read import load_npy, read_package
from hwsim.golden.words import FORMATTERS
from hwsim.golden.write import network_digest, write_golden
from hwsim.layers import MacLayer
from hwsim.network.storage import writing_directory
from hwsim.testing.judge import Example, Kind
from hwsim.testing.report import AGAIN, DUMP, PACKAGE, Report

MARKER = "report.json"


def save(report: Report, base: str | os.PathLike[str] | None) -> Report:
    """Write the report's folder below `base` (None: a new temporary folder) and name it in the report.

    The folder's name is that of the example: the same failure takes the same place. A full disk hides no failure: the report
    then says why nothing was saved.
    """
    example = report.example
    try:
        folder = Path(tempfile.mkdtemp(prefix="hwsim-mismatch-") if base is None else base)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder.resolve() / f"{example.layer.kind}-{_digest(example)}"
        with writing_directory(path, True, MARKER) as part:
            _write(report, part)
        return _described(replace(report, folder=path))
    except (InputError, OSError) as error:
        return replace(report, unsaved=str(error))


def _described(report: Report) -> Report:
    """Put the text into the folder now that its name is known."""
    assert report.folder is not None
    (report.folder / "report.txt").write_text(str(report) + "\n", encoding="utf-8")
    return report


def _digest(example: Example) -> str:
    state = sha256(network_digest([(example.layer.kind, (), example.layer)]).encode())
    state.update(f"{example.inputs.shape}".encode() + example.inputs.astype("<i8").tobytes())
    return state.hexdigest()[:12]


def _write(report: Report, folder: Path) -> None:
    (folder / MARKER).write_text(json.dumps(report.to_json(), indent=1, sort_keys=True, default=int) + "\n", encoding="utf-8")
    example, verdict = report.example, report.verdict
    try:
        trace = run_layer(example.layer, example.inputs, backend=report.effort.backend)
    except OverflowTrap:  # no package holds a run that was stopped
        np.save(folder / "stimulus.npy", example.inputs)
        if isinstance(example.layer, MacLayer):
            np.save(folder / "weights.npy", example.layer.weight)
            if example.layer.bias is not None:
                np.save(folder / "bias.npy", example.layer.bias)
        return
    package = write_golden(trace, folder / PACKAGE, command=["hwsim.testing.assert_bit_exact"])
    memory = package.layers[0].memory("expected")
    assert memory is not None
    answers = [verdict.other] if verdict.kind is Kind.WRONG else [verdict.other, verdict.reference]
    if verdict.kind is Kind.ERROR:
        answers = []
    for name, codes in zip((DUMP, AGAIN), answers, strict=False):
        if isinstance(codes, np.ndarray):
            (folder / name).write_bytes(FORMATTERS["hex"](codes, memory.image))


def load_example(folder: str | os.PathLike[str]) -> Example:
    """Return the layer and the inputs that a report's folder, or a golden package of one layer, holds."""
    path = Path(folder)
    package = read_package(path / PACKAGE if (path / PACKAGE).is_dir() else path)
    if len(package.layers) != 1 or len(package.layers[0].stimuli) != 1:
        raise InputError(f"{path}: found {len(package.layers)} layers, allowed is a package of one layer with one input.")
    packaged = package.layers[0]
    codes = load_npy(package.path / packaged.folder, packaged.stimuli[0])
    return Example(packaged.layer, codes)
