"""A small picture of two words, as they stand at the head of READMEs: an SVG without fonts, scripts or addresses of its own."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path

from hwsim.errors import InputError

GOOD, BAD, GREY = "#2e7d32", "#c62828", "#555555"
LETTER = 7
"""Width of a letter [px] at 11 px, on the safe side."""


def badge(label: str, value: str, good: bool) -> str:
    """Return the SVG; the same words give the same bytes.

    >>> badge("public tests", "3 of 3", True).splitlines()[0]
    '<svg xmlns="http://www.w3.org/2000/svg" width="158" height="20" role="img" aria-label="public tests: 3 of 3">'
    """
    left, right = LETTER * len(label) + 16, LETTER * len(value) + 16
    text = f"{escape(label)}: {escape(value)}"
    return "\n".join((
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{text}">',
        f"<title>{text}</title>",
        f'<rect width="{left}" height="20" fill="{GREY}"/>',
        f'<rect x="{left}" width="{right}" height="20" fill="{GOOD if good else BAD}"/>',
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">',
        f'<text x="{left / 2:g}" y="14">{escape(label)}</text>',
        f'<text x="{left + right / 2:g}" y="14">{escape(value)}</text>',
        "</g>",
        "</svg>",
        "",
    ))  # fmt: skip


def refuse(file: str | os.PathLike[str]) -> None:
    """Raise InputError where no badge can be written under this name: before the work, so that no long run is lost."""
    path = Path(file)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: the badge cannot be written there; name a file in a folder that is writable.")
