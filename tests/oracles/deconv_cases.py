"""Deconvolutions made of the cases that convolutions have: the same contract, weights and codes, scattered instead."""

from __future__ import annotations

from hypothesis import assume

from hwsim.errors import ContractError
from hwsim.layers import Convolution, Deconvolution
from oracles.cases import Case
from oracles.compare import shapes


def scattered(case: Case, pad=None, pad_end=None) -> Case | None:
    """Return the case with a Deconvolution in place of its Convolution; None where there is none, or nothing is left of it."""
    given = case.layer
    if not isinstance(given, Convolution):
        return None
    pad = given.pad if pad is None else pad
    layer = Deconvolution(given.contract, given.weight, given.bias, given.stride, pad, given.dilation, given.groups, pad_end)
    made = Case(f"{case.name} scattered", layer, case.inputs)
    try:
        layer.output_shape(shapes(made))
    except ContractError as refused:
        assert "leaves an output" in str(refused)
        return None
    return made


def assumed(case: Case | None) -> Case:
    """Return the case; hypothesis draws another where there is none."""
    assume(case is not None)
    assert case is not None
    return case
