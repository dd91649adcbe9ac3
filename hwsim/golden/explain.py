"""Explain an output of a packaged layer: the stimulus is in the package, so neither network nor image is needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from hwsim.execute.explain import explain_codes, mac_layer
from hwsim.execute.explanation import Explanation
from hwsim.golden.package import Package
from hwsim.golden.read import load_npy, read_package


def explain_golden(
    package: Package | str | os.PathLike[str], layer: str, at: Sequence[int] | None = None, limit: int | None = 20
) -> Explanation:
    """Explain output (n, k, y, x) of a package's layer, from its stimulus.

    at: None for the first overflow, see hwsim.explain.  limit: about how many rows are printed.
    Errors: InputError for a package or a stimulus that was changed, a layer without a sum, an output that is not there.
    """
    opened = read_package(package)
    packaged = opened[layer]
    mac_layer(layer, packaged.layer)
    codes = load_npy(opened.path / packaged.folder, packaged.stimuli[0])
    return replace(explain_codes(layer, packaged.layer, at, codes, packaged.first_turns), limit=limit)
