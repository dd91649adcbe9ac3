"""The running sum of a local response normalization in minifloats, every step of which is rounded. A leaf for ints and int64."""

from hwsim.arith.minifloat import add_floats, multiply_floats, unpack


def add_square(total, x, leaves, f, mode):
    """add_square(total, x) = (code, events) of round(total + round(x * x)), or of total - round(x * x) where x leaves the sum.

    All in format f.  events: 0..2, square and sum.

    >>> from hwsim.arith.rounding import Rounding
    >>> from hwsim.formats.catalog import E4M3
    >>> f = E4M3.layout
    >>> one, three = E4M3.encode(1.0), E4M3.encode(3.0)
    >>> ten, _ = add_square(one, three, 0, f, Rounding.TIES_EVEN)
    >>> one_again, _ = add_square(ten, three, 1, f, Rounding.TIES_EVEN)
    >>> float(E4M3.decode(ten)), float(E4M3.decode(one_again))
    (10.0, 1.0)
    """
    square, at_square = multiply_floats(x, f, x, f, f, mode)
    if (leaves == 1) & (unpack(square, f)[1] != 0):
        square = square ^ (1 << f.sign_shift)
    code, at_sum = add_floats(total, f, square, f, f, mode)
    return code, at_square + at_sum
