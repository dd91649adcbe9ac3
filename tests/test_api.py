"""The public names of `import hwsim`."""

from __future__ import annotations

import pytest

import hwsim
from support.process import run_python


@pytest.mark.parametrize("name", hwsim.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(hwsim, name) is not None
    assert name in dir(hwsim)


def test_a_wrong_name_is_told_the_right_ones() -> None:
    with pytest.raises(AttributeError, match="no attribute 'imagenet'.*images"):
        hwsim.imagenet  # noqa: B018


@pytest.mark.parametrize(
    "program",
    [
        "import hwsim.images.open, hwsim; print(callable(hwsim.images))",
        "import hwsim; hwsim.images; import hwsim.images.open; print(callable(hwsim.images))",
        "from hwsim.images import ImageSet; import hwsim; print(callable(hwsim.images))",
    ],
)
def test_a_function_outlives_the_import_of_its_namesake_package(program: str) -> None:
    assert run_python("-c", program).stdout.strip() == "True"
