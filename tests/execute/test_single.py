"""One layer runs without a network."""

from __future__ import annotations

import numpy as np
import pytest

import hwsim
from hwsim.errors import BackendError, ContractError, OverflowTrap
from hwsim.execute.single import run_layer
from hwsim.formats import FixedPoint
from hwsim.layers import Rescale


def test_a_convolution_runs_from_codes_and_a_contract():
    s8 = hwsim.FixedPoint(8, 0)
    contract = hwsim.MacContract(s8, s8, hwsim.Output(s8))
    x = np.arange(2 * 3 * 5).reshape(1, 2, 3, 5) - 15
    w = np.arange(7 * 2 * 2 * 2).reshape(7, 2, 2, 2) - 28
    traces = [hwsim.Conv2d(stride=(1, 2)).run(x, w, contract, np.arange(7), backend=b) for b in ("spec", "jit")]
    windows = np.lib.stride_tricks.sliding_window_view(x[0], (2, 2), axis=(1, 2))[:, :, ::2]
    expected = np.einsum("cyxrs,kcrs->kyx", windows, w) + np.arange(7)[:, None, None]
    for trace in traces:
        assert (trace.acc[0] == expected).all()
        assert (trace.codes[0] == np.clip(expected, -128, 127)).all()
        assert trace.events.output == ((expected < -128) | (expected > 127)).sum() > 0


def test_a_trap_without_a_network_names_the_kind_of_layer():
    layer = Rescale(FixedPoint(8, 0), hwsim.Output(FixedPoint(4, 0), overflow=hwsim.Overflow.TRAP))
    x = np.array([[[1, 2, 3], [4, 9, -100]]])
    for backend in ("spec", "jit"):
        with pytest.raises(OverflowTrap, match=r"rescale: first overflow at output \(n, k, y, x\) = \(0, 0, 1, 1\)"):
            run_layer(layer, x, backend=backend)


def test_bad_codes_and_backends_are_refused():
    s8 = hwsim.FixedPoint(8, 0)
    contract = hwsim.MacContract(s8, s8, hwsim.Output(s8))
    with pytest.raises(ContractError, match=r"codes in -128\.\.127"):
        hwsim.Linear().run(np.full((2, 3, 5), 128), np.ones((7, 30), int), contract, backend="spec")
    with pytest.raises(ContractError, match=r"convolution.weight: codes reach 1..200, allowed -128..127"):
        hwsim.Conv2d().run(np.ones((2, 3, 5), int), np.array([[[[1]], [[200]]]]), contract)
    with pytest.raises(BackendError, match="found 'cuda', allowed spec, jit, native or auto"):
        hwsim.Linear().run(np.ones((2, 3, 5), int), np.ones((7, 30), int), contract, backend="cuda")
