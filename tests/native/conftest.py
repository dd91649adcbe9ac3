"""Every test here needs the C core; where it is not installed they skip with its own sentence."""

from __future__ import annotations

import pytest

from hwsim.backends import native


@pytest.fixture(scope="session")
def library():
    """The opened C core."""
    found = native.info()
    if not found.present:
        pytest.skip(found.note)
    return native.require()


@pytest.fixture(params=["portable", "avx2", "avx512vnni", "amx"])
def isa(request, library, monkeypatch) -> str:
    """Each instruction set in turn, chosen as a user chooses it."""
    if request.param not in library.instruction_sets:
        pytest.skip(f"this processor has no {request.param}; it runs {', '.join(library.instruction_sets)}")
    monkeypatch.setenv("HWSIM_ISA", request.param)
    return request.param
