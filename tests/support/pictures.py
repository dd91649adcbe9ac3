"""What can be read on a picture."""

from __future__ import annotations

from typing import Any


def words(figure: Any) -> list[str]:
    """Every text that is drawn: titles, labels of axes and of their ticks, legends."""
    from matplotlib.text import Text

    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
