"""Under HWSIM_REQUIRE_ALL=1 nothing may skip: a skipped oracle proves nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.process import run_python

CONFTEST = Path(__file__).with_name("conftest.py")

SKIPS = {
    "a test": "import pytest\ndef test_one():\n    pytest.skip('no oracle')\n",
    "a fixture": "def test_one(data_dir):\n    pass\n",
    "a file": "import pytest\npytest.importorskip('no_such_oracle')\ndef test_one():\n    pass\n",
}


@pytest.mark.parametrize("text", SKIPS.values(), ids=SKIPS)
@pytest.mark.parametrize("required", [False, True], ids=["may skip", "must not skip"])
def test_a_skip_fails_only_where_everything_is_required(text: str, required: bool, tmp_path: Path) -> None:
    shutil.copy(CONFTEST, tmp_path / "conftest.py")
    (tmp_path / "test_it.py").write_text(text)
    run = run_python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py", cwd=tmp_path,
        HWSIM_REQUIRE_ALL="1" if required else "", HWSIM_DATA="",
    )  # fmt: skip
    assert ("skipped" in run.stdout) or required
    # 5: pytest found no test to run, as a file that skips itself has none
    assert run.returncode in ((1, 2) if required else (0, 5)), run.stdout


def test_an_instruction_set_that_the_processor_lacks_may_skip_everywhere(tmp_path: Path) -> None:
    """Nothing can install it, and pytest's header says what was tested."""
    shutil.copy(CONFTEST, tmp_path / "conftest.py")
    (tmp_path / "test_it.py").write_text("import pytest\ndef test_one():\n    pytest.skip('this processor has no amx; ...')\n")
    run = run_python("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py", cwd=tmp_path, HWSIM_REQUIRE_ALL="1")
    assert "1 skipped" in run.stdout and run.returncode == 0, run.stdout
