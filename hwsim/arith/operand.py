"""What an operand of a sum becomes before it is added: shifted left, scaled and signed on its own."""

from typing import NamedTuple

from hwsim.arith.scale import scale_value


class Term(NamedTuple):
    """One operand's numbers, as plain ints (contract/operand.py makes them). sign: 1 or -1.  scaling: see arith/scale.py."""

    left: int
    sign: int
    multiplier: int
    shift: int
    scaling: int
    rounding: int


def term_value(value, term):
    """term_value(v) = sign * scale(v << left). int64: v << left fits, and within 32 bits where HIGH_MULTIPLY scales it.

    >>> from hwsim.arith.rounding import Rounding
    >>> term_value(3, Term(20, -1, 1 << 30, 40, 2, Rounding.TIES_AWAY))
    -3072
    """
    return term.sign * scale_value(value << term.left, term.multiplier, term.shift, term.scaling, term.rounding)
