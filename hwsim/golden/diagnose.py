"""Why a dump differs: hypotheses about the device, each told only if it gives the device's codes in every place."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hwsim.errors import BackendError, ContractError, OverflowTrap
from hwsim.execute.single import run_layer
from hwsim.golden.compare import Comparison
from hwsim.golden.neighbours import neighbours
from hwsim.golden.package import PackagedLayer
from hwsim.golden.words import arrange
from hwsim.layers import Layer

SPEC_OUTPUTS = 1000
"""Outputs that the specification computes for a hypothesis where no other backend has a kernel."""
AXES = ("image n", "channel c", "row y", "column x")


def diagnose(packaged: PackagedLayer, codes: dict[str, np.ndarray], comparison: Comparison) -> Iterator[str]:
    """Yield sentences that are exactly true of the dump; none where no hypothesis holds."""
    if comparison.undefined is not None and comparison.undefined.any():
        yield f"{int(comparison.undefined.sum())} codes are undefined: x or z digits, or addresses that were never written."
        return
    yield from _places(comparison)
    yield from _moved(comparison)
    yield from _words(comparison)
    stimuli = [codes[m.role] for m in packaged.stimuli]
    at = [tuple(int(i) for i in place) for place in np.argwhere(comparison.wrong)[[0, -1]]]
    plain = [stimulus.tolist() for stimulus in stimuli]
    for sentence, variant in neighbours(packaged.layer):
        if any(packaged.spec(plain, place, variant).code != comparison.found[place] for place in at):
            continue  # two wrong codes, computed in plain integers, rule nearly every hypothesis out
        found = _computed(packaged, variant, stimuli)
        if found is not None and np.array_equal(found, comparison.found):
            yield f"every code equals the expected one {sentence}."


def _computed(packaged: PackagedLayer, layer: Layer, stimuli: list[np.ndarray]) -> np.ndarray | None:
    """The codes of a layer in this one's place; None where it cannot be computed, or would take the specification too long."""
    small = int(np.prod(packaged.shape)) <= SPEC_OUTPUTS
    for backend in ("auto", "jit", *(("spec",) if small else ())):
        try:
            return run_layer(layer, *stimuli, backend=backend, first_turns=packaged.first_turns or None).codes
        except BackendError:
            continue
        except (ContractError, OverflowTrap):
            return None
    return None


def _places(comparison: Comparison) -> Iterator[str]:
    """All mismatches lie in one image, channel, row or column, where the axis has more than one."""
    at = np.argwhere(comparison.wrong)
    if len(at) < 2:
        return
    for axis, name in enumerate(AXES):
        only = np.unique(at[:, axis])
        if len(only) == 1 and comparison.expected.shape[axis] > 1:
            size = comparison.expected.size // comparison.expected.shape[axis]
            yield f"all mismatches lie in {name} = {only[0]} ({len(at)} of its {size} codes)."


def _moved(comparison: Comparison) -> Iterator[str]:
    """The right codes at a neighbouring place: told where the overlap is exact and not constant."""
    expected, found = comparison.expected.astype(np.int64), comparison.found.astype(np.int64)
    for axis, name in enumerate(AXES):
        extent = expected.shape[axis]
        if extent < 2:
            continue
        low, high = np.arange(extent - 1), np.arange(1, extent)
        for sign, mine, theirs in ((1, low, high), (-1, high, low)):
            wanted = expected.take(mine, axis)
            if len(np.unique(wanted)) > 1 and np.array_equal(found.take(theirs, axis), wanted):
                yield f"every code stands at {name} {sign:+d} of its place."
    if expected.shape[2] == expected.shape[3] and np.array_equal(found, expected.transpose(0, 1, 3, 2)):
        yield "rows and columns are exchanged."


def _words(comparison: Comparison) -> Iterator[str]:
    """Lanes in reverse order within each word."""
    image = comparison.memory.image
    if image.layout.lanes > 1:
        expected, found = (arrange(a.astype(np.int64), image) for a in (comparison.expected, comparison.found))
        real = image.layout.positions(image.shape, image.axes).reshape(found.shape) >= 0
        if np.array_equal(np.where(real, found, 0), np.where(real, expected[:, ::-1], 0)):
            yield "the lanes of every word are in reverse order."
