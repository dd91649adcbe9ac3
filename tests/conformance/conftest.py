"""Every conformance test runs on each target."""

from __future__ import annotations

import pytest

from oracles.targets import TARGETS, Target


@pytest.fixture(scope="session", params=TARGETS, ids=str)
def target(request) -> Target:
    """Each target in turn; those that this machine cannot run skip with the reason."""
    request.param.need()
    return request.param
