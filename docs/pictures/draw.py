"""Run the worked examples of five pages, mac.md first: `python docs/pictures/draw.py`, or `make pictures`.

Every Python block runs, one after the other in one namespace for each document. What it prints becomes the text block below
it, and where a picture follows, the variable `found` is drawn into it.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent.parent))  # a checkout needs no installation

DOCUMENTS = tuple(HERE.parent / f"{name}.md" for name in ("mac", "products", "stochastic", "affine", "overflow", "testing"))
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<text>.*?)^```\n)?(?:\n!\[[^\]]*\]\(pictures/(?P<picture>[\w.]+)\)\n)?",
    re.DOTALL | re.MULTILINE,
)
COLOURS = 192
"""A drawing of lines and areas needs no more, and takes a third of the bytes."""


@dataclass(frozen=True)
class Example:
    """One block. shown: the text that stands below it, "" for none.  printed: what it prints.  found: what is drawn."""

    shown: str
    printed: str
    picture: str | None
    found: Any
    match: re.Match[str]


def run_examples(document: Path) -> Iterator[Example]:
    """Run the blocks in order; whatever one defines, the next one knows."""
    namespace: dict[str, Any] = {}
    text = document.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            line = text[: match.start()].count("\n") + 2
            exec(compile(match["code"], f"{document.name}, block at line {line}", "exec"), namespace)
        yield Example(match["text"] or "", printed.getvalue(), match["picture"], namespace.get("found"), match)


def written(text: str, examples: list[Example]) -> str:
    """Return the document with what its blocks print."""
    for example in reversed(examples):
        match = example.match
        below = f"\n```text\n{example.printed}```\n" if example.printed else ""
        picture = match.group()[match.end("text") - match.start() + 4 :] if match["text"] is not None else ""
        if match["text"] is None:
            picture = match.group()[match.end("code") - match.start() + 4 :]
        text = f"{text[: match.start()]}```python\n{match['code']}```\n{below}{picture}{text[match.end() :]}"
    return text


def draw(found: Any, file: Path) -> None:
    """Draw one explanation, with few colours."""
    from PIL import Image

    found.plot(file, force=True)
    with Image.open(file) as image:
        few = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(file, optimize=True)


def main(folder: Path = HERE) -> None:
    """Write the texts into the documents and the pictures into the folder."""
    for document in DOCUMENTS:
        examples = list(run_examples(document))
        for example in examples:
            if example.picture is not None:
                draw(example.found, folder / example.picture)
        document.write_text(written(document.read_text(encoding="utf-8"), examples), encoding="utf-8")


if __name__ == "__main__":
    main()
