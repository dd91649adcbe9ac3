"""Who drew what in a run: the turn in which each layer begins each image, and the registers' states there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from hwsim.contract.draws import Draws
from hwsim.contract.stochastic import StochasticRounding
from hwsim.errors import InputError

MOST_TURNS = 1 << 62  # a first turn and the turns behind it fit int64
SHOWN_LANES = 4


@dataclass(frozen=True)
class Drawn:
    """The draws of one layer in a run.

    turns: that one image takes.  first_turns: of each image of the run, counted from the last reset.

    >>> from hwsim.contract.stochastic import Lfsr
    >>> drawn = Drawn(StochasticRounding(Lfsr(8), (1, 77)), 3, (0, 3))
    >>> drawn.before(0), drawn.after(0) == drawn.before(1)
    ((1, 77), True)
    """

    rule: StochasticRounding
    turns: int
    first_turns: tuple[int, ...]

    def before(self, image: int) -> tuple[int, ...]:
        """Return every lane's state in an image's first turn: what it draws first."""
        return self.rule.states(self.first_turns[image])

    def after(self, image: int) -> tuple[int, ...]:
        """Return every lane's state in the turn behind an image's last: what is drawn next, unless a reset comes before."""
        return self.rule.states(self.first_turns[image] + self.turns)

    def lines(self) -> list[str]:
        """Return the first image's draws and the last one's in words."""
        images = sorted({0, len(self.first_turns) - 1})
        return [f"image {i}: {self._turns(i)}, lanes {self._told(self.before(i))} -> {self._told(self.after(i))}" for i in images]

    def _turns(self, image: int) -> str:
        first = self.first_turns[image]
        return f"turns {first}..{first + self.turns - 1}" if self.turns else "no turn"

    def _told(self, states: tuple[int, ...]) -> str:
        digits = -(-self.rule.lfsr.width // 4)
        shown = " ".join(f"0x{state:0{digits}x}" for state in states[:SHOWN_LANES])
        return shown if len(states) <= SHOWN_LANES else f"{shown} .. ({len(states)} lanes)"

    def to_json(self) -> dict[str, Any]:
        """Return the rule, and for each image its first turn and the states before and after, as plain data."""
        images = [
            {"first_turn": turn, "before": list(self.before(i)), "after": list(self.after(i))}
            for i, turn in enumerate(self.first_turns)
        ]
        return {"rule": _plain(asdict(self.rule)), "turns": self.turns, "images": images}


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


class Registers:
    """The register banks of a network: layers whose rules are equal share one, in the order in which they run.

    layers: (name, draws of one image) in the order of execution, those alone that draw.
    """

    def __init__(self, layers: Iterable[tuple[str, Draws]]) -> None:
        banks: dict[StochasticRounding, list[int]] = {}
        self.places: dict[str, tuple[StochasticRounding, int]] = {}
        for name, draws in layers:
            bank = banks.setdefault(draws.rule, [])
            self.places[name] = draws.rule, len(bank)
            bank.append(draws.turns)
        self.banks: Mapping[StochasticRounding, list[int]] = banks

    def drawn(self, name: str, first_image: int, images: int) -> Drawn:
        """Return a layer's draws for images first_image.. of those since power-up."""
        rule, place = self.places[name]
        turns = self.banks[rule]
        if type(first_image) is not int or first_image < 0 or (first_image + images) * (sum(turns) + 1) > MOST_TURNS:
            raise InputError(
                f"first_image: found {first_image!r}, allowed an integer from 0 that keeps the registers' turns below 2**62."
            )
        firsts = tuple(rule.first_turn(image, place, turns) for image in range(first_image, first_image + images))
        return Drawn(rule, turns[place], firsts)
