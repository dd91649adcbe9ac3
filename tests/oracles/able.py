"""Conformance of kinds of layers that a backend may still lack: it computes as the specification does, or refuses."""

from __future__ import annotations

import pytest
from conformance.test_layers import conforms

from hwsim.errors import BackendError
from oracles.cases import Case
from oracles.compare import shapes


def conforms_or_refuses(target, case: Case) -> None:
    """spec and jit have every kind; the C core names what it lacks instead of computing something else."""
    with target.chosen() as backend:
        if target.backend == "native" and not backend.can(case.layer):
            with pytest.raises(BackendError, match=case.layer.kind):
                backend.prepare(case.layer, shapes(case))
            return
    conforms(target, case)
