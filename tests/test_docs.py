"""The worked examples of docs/ run, print what stands there, and draw the pictures that are shown."""

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


@pytest.fixture(scope="module")
def ran(examples, onnxruntime) -> dict:
    """Every example of every document, run once."""
    return {document: list(examples.run_examples(document)) for document in examples.DOCUMENTS}


def test_the_examples_print_what_the_documents_show(examples, ran) -> None:
    for document, found in ran.items():
        text = document.read_text(encoding="utf-8")
        assert len(found) == text.count("```python\n") > 2
        assert [example.printed for example in found] == [example.shown for example in found], "python docs/pictures/draw.py"
        assert examples.written(text, found) == text


def test_every_picture_is_drawn_and_shown(examples, ran, tmp_path: Path) -> None:
    shown = {example.picture: example for found in ran.values() for example in found if example.picture}
    kept = {path.name: path for path in PICTURES.glob("*.png") if path.name.startswith(("mac_", "overflow_"))}
    assert shown.keys() == kept.keys()
    for name in sorted(shown)[::3]:
        examples.draw(shown[name].found, tmp_path / name)
        assert (tmp_path / name).read_bytes()[:8] == kept[name].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    sizes = [path.stat().st_size for path in PICTURES.glob("*.png")]
    assert max(sizes) < LARGEST and sum(sizes) < ALL
