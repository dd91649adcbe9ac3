"""The worked examples of docs/mac.md: they run, print what stands there, and draw every picture that is shown."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
LARGEST, ALL = 60_000, 500_000


@pytest.fixture(scope="module")
def examples():
    """docs/pictures/draw.py, the command that wrote the document."""
    spec = importlib.util.spec_from_file_location("draw_pictures", PICTURES / "draw.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_examples_print_what_the_document_shows(examples) -> None:
    text = examples.DOCUMENT.read_text(encoding="utf-8")
    found = list(examples.run_examples(text))
    assert len(found) == text.count("```python\n") > 10
    assert [example.printed for example in found] == [example.shown for example in found], "python docs/pictures/draw.py"
    assert examples.written(text, found) == text


def test_every_picture_is_drawn_and_shown(examples, tmp_path: Path) -> None:
    shown = {e.picture: e for e in examples.run_examples(examples.DOCUMENT.read_text(encoding="utf-8")) if e.picture}
    kept = {path.name: path for path in PICTURES.glob("mac_*.png")}
    assert shown.keys() == kept.keys()
    for name in sorted(shown)[::3]:
        examples.draw(shown[name].found, tmp_path / name)
        assert (tmp_path / name).read_bytes()[:8] == kept[name].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    sizes = [path.stat().st_size for path in PICTURES.glob("*.png")]
    assert max(sizes) < LARGEST and sum(sizes) < ALL
