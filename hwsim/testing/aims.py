"""What an input can be steered at, and how one steering is said. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple


class Waypoint(NamedTuple):
    """A content that the accumulator comes to behind a step. final: with a bias that comes last.  goal: what is aimed at."""

    step: int
    content: Any
    final: bool = False
    goal: bool = False


class Aim(Enum):
    """What an input is steered at, the simplest first.

    REGISTER: a partial sum at the register's limit.  TIE: an accumulator halfway between two outputs.  SATURATION: one where
    the output begins to overflow.  TRANSIENT: beyond the limit, and back.  CANCELLATION: a large partial sum, a small end.
    CARRY: 0b0111..1 and one more, or -1 and one more.  TREE, SPILL: at a level's, or the buffer's limit.
    """

    REGISTER = "register"
    TIE = "tie"
    SATURATION = "saturation"
    TRANSIENT = "transient"
    CANCELLATION = "cancellation"
    CARRY = "carry"
    TREE = "tree"
    SPILL = "spill"


BEYOND = (Aim.REGISTER, Aim.SATURATION, Aim.TRANSIENT, Aim.SPILL)
"""Aims of which what lies a little further is as good."""


@dataclass(frozen=True)
class Steering:
    """One corner of one output. output: (k, y, x).  step: the earliest.  negative: which side.  offset: beside the corner.

    place: which one, where there are several: of the outputs beside a tie, of the powers of two, of the tree's levels.
    exact: False may go beyond what is sought, with fewer codes.
    """

    aim: Aim
    output: tuple[int, int, int]
    step: int = 0
    negative: bool = False
    offset: int = 0
    place: int = 0
    exact: bool = True
