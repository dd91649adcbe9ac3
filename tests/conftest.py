"""What all tests share: the data folder, what may skip, and a header that names the configuration under test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REQUIRE_ALL = os.environ.get("HWSIM_REQUIRE_ALL") == "1"

# Time limits of single examples say more about the machine than about hwsim.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_report_header() -> list[str]:
    import hwsim
    from hwsim.installation import installation

    return [f"under test: {Path(hwsim.__file__).parent}", str(installation())]


def absent(reason: str) -> None:
    """Skip with the reason; fail where HWSIM_REQUIRE_ALL=1 says that nothing may be absent."""
    if REQUIRE_ALL:
        pytest.fail(f"{reason} (HWSIM_REQUIRE_ALL=1: this must not skip)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real networks and images, HWSIM_DATA."""
    named = os.environ.get("HWSIM_DATA")
    if not named:
        absent("HWSIM_DATA is not set: no real networks and images to test with")
    folder = Path(str(named))
    if not folder.is_dir():
        absent(f"HWSIM_DATA={named} is not a folder")
    return folder


@pytest.fixture(scope="session")
def onnxruntime():
    """The module onnxruntime, the oracle of float execution and of integer accumulators."""
    try:
        import onnxruntime as module
    except ImportError:
        absent("onnxruntime is not installed (pip install 'hwsim[models]')")
    return module


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Under HWSIM_REQUIRE_ALL=1 a skip anywhere is a failure: a skipped oracle proves nothing."""
    _refuse_skip((yield).get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector):
    """The same for a whole file that skips itself (pytest.importorskip at its head)."""
    _refuse_skip((yield).get_result())


# The one thing that no script can install: an instruction set. The header says which sets were tested.
HARDWARE = "Skipped: this processor has no "


def _refuse_skip(report) -> None:
    lacking = isinstance(report.longrepr, tuple) and str(report.longrepr[2]).startswith(HARDWARE)
    if REQUIRE_ALL and report.skipped and not lacking and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: skipped, and HWSIM_REQUIRE_ALL=1 allows none: {report.longrepr}"
