"""Saving a picture: the same bytes each time, whole or not at all, and one sentence where it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwsim.errors import InputError
from hwsim.picture import METADATA, canvas, refuse

MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml", "pdf": b"%PDF"}


def draw(file: Path | None = None, force: bool = False, height: float = 1.0) -> None:
    with canvas(2, 1, file, force) as figure:
        figure.subplots().bar([1, 2], [height, 3.0])


@pytest.mark.parametrize("kind", METADATA)
def test_the_same_numbers_give_the_same_bytes(kind: str, tmp_path: Path) -> None:
    first, second, other = (tmp_path / f"{name}.{kind}" for name in ("first", "second", "other"))
    draw(first)
    draw(second)
    draw(other, height=2.0)
    assert first.read_bytes().startswith(MAGIC[kind])
    assert first.read_bytes() == second.read_bytes() != other.read_bytes()


def test_a_style_of_ones_own_changes_nothing(tmp_path: Path) -> None:
    import matplotlib

    draw(tmp_path / "plain.png")
    with matplotlib.rc_context({"font.size": 30, "figure.facecolor": "black"}):
        draw(tmp_path / "dark.png")
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "dark.png").read_bytes()


def test_a_name_with_dollars_is_no_formula(tmp_path: Path) -> None:
    for name in ("plain", r"a$\frac$b"):
        with canvas(3, 1, tmp_path / f"{len(name)}.png") as figure:
            figure.suptitle(name)
    assert (tmp_path / "9.png").read_bytes() != (tmp_path / "5.png").read_bytes()


def test_an_existing_file_stands_until_forced(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_text("mine")
    with pytest.raises(InputError, match="a.png: exists already and nothing was overwritten"):
        draw(file)
    assert file.read_text() == "mine"
    draw(file, force=True)
    assert file.read_bytes().startswith(MAGIC["png"])


def test_a_drawing_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), canvas(2, 1, tmp_path / "a.png"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_leaves_nothing_and_the_old_file(tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "a.png"
    file.write_text("mine")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InputError, match="a.png: the picture cannot be written .No space left"):
        draw(file, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a.jpg", r"written as '.jpg'; allowed are .png, .svg, .pdf"),
        ("a", r"written as ''; allowed"),
        (".png", r"written as ''; allowed"),
        ("no/such/a.png", "there is no folder"),
        ("folder.png", "this is a folder"),
        (f"{'long' * 70}.png", "cannot be written"),
        ("nul\0.png", "cannot be written"),
    ],
)
def test_a_name_that_cannot_be_is_refused(name: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match=sentence):
        draw(tmp_path / name, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


def test_upper_case_is_as_good(tmp_path: Path) -> None:
    refuse(tmp_path / "A.PNG")
