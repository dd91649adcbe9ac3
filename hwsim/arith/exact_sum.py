"""The exact sum of products: how wide its register is, and the register as many words.

The only file that computes a width or a grid, and the only multiword arithmetic. A number here is an integer on a grid
2**exponent, the register a two's complement integer on the product's grid, wide enough for every sum.

The leaves hold the register in limbs of 32 bits, little end first, each in an int64 that takes up carries until
`carry_limbs` settles them: 2**28 products and a bias leave no limb's int64. They run on lists of Python ints too.
"""

from typing import NamedTuple

from hwsim.arith.minifloat import FloatLayout, bit_length

LIMB = 32
MASK = (1 << LIMB) - 1
WINDOW = 60  # bits that a sum keeps on its way to a rounding: more than man_bits + 3, and 2 below any fixed-point grid


class Span(NamedTuple):
    """What an operand can be: an integer multiple of 2**exponent, at most `largest` times it, either sign."""

    exponent: int
    largest: int


class Register(NamedTuple):
    """A two's complement register of `bits` whose last bit means 2**exponent."""

    exponent: int
    bits: int

    @property
    def words(self) -> int:
        """Words of 64 bits that hold it.

        >>> Register(0, 64).words, Register(0, 65).words
        (1, 2)
        """
        return -(-self.bits // 64)

    @property
    def limbs(self) -> int:
        """Limbs of 32 bits for its words, and three for the pieces of a product at the top."""
        return 2 * self.words + 3


def fixed_span(fractional_length: int, low: int, high: int) -> Span:
    """Span of a fixed-point format's codes low..high."""
    return Span(-fractional_length, max(-low, high))


def power_span(exp_min: int, exp_max: int) -> Span:
    """Span of powers of two."""
    return Span(exp_min, 1 << (exp_max - exp_min))


def float_span(f: FloatLayout) -> Span:
    """Span of a minifloat: the last bit of its lowest binade, and its largest number.

    >>> from hwsim.formats.catalog import E5M2
    >>> float_span(E5M2.layout) == Span(-16, 57344 << 16)
    True
    """
    field, fraction = f.largest >> f.man_bits, f.largest & ((1 << f.man_bits) - 1)
    return Span(f.lowest - f.bias - f.man_bits, (fraction + (1 << f.man_bits)) << (field - f.lowest))


def register_of(x: Span, w: Span, taps: int, bias: int = 0, finest: int | None = None) -> Register:
    """Return the narrowest register for `taps` products of two operands and a bias.

    bias: its greatest magnitude on the register's grid, which is the product's, or 2**finest where that is finer.
    E5M2 needs 74 bits for 576 products, binary16 91:

    >>> e5m2, binary16 = Span(-16, 7 << 29), Span(-24, 2047 << 29)
    >>> register_of(e5m2, e5m2, 576), register_of(binary16, binary16, 576)
    (Register(exponent=-32, bits=74), Register(exponent=-48, bits=91))
    """
    product = x.exponent + w.exponent
    exponent = product if finest is None else min(product, finest)
    most = (taps * x.largest * w.largest << (product - exponent)) + bias
    return Register(exponent, bit_length(most) + 1)


def to_words(value: int, words: int) -> list[int]:
    """Return a two's complement integer as signed words of 64 bits, little end first.

    >>> to_words(-1, 2), to_words(1 << 64, 2)
    ([-1, -1], [0, 1])
    """
    unsigned = [(value >> (64 * i)) & ((1 << 64) - 1) for i in range(words)]
    return [word - (1 << 64) if word >> 63 else word for word in unsigned]


def from_words(words: list[int]) -> int:
    """from_words(to_words(value)) = value.

    >>> from_words([5, -1])
    -18446744073709551611
    """
    value = words[len(words) - 1]
    for i in range(len(words) - 2, -1, -1):
        value = (value << 64) | (words[i] & ((1 << 64) - 1))
    return value


def to_limbs(value: int, limbs: int) -> list[int]:
    """Return a two's complement integer in limbs, each 0..2**32 - 1.

    >>> to_limbs(-2, 2), to_limbs(1 << 32, 2)
    ([4294967294, 4294967295], [0, 1])
    """
    return [(value >> (LIMB * i)) & MASK for i in range(limbs)]


def add_to_limbs(limbs, sign, significand, shift):
    """limbs += (-1)**sign * significand * 2**shift, carries left where they are. significand < 2**48, shift >= 0."""
    at, offset = shift >> 5, shift & 31
    low = (significand & MASK) << offset
    high = (low >> LIMB) + ((significand >> LIMB) << offset)
    if sign:
        limbs[at] -= low & MASK
        limbs[at + 1] -= high & MASK
        limbs[at + 2] -= high >> LIMB
    else:
        limbs[at] += low & MASK
        limbs[at + 1] += high & MASK
        limbs[at + 2] += high >> LIMB


def carry_limbs(limbs):
    """Settle all carries: each limb ends in 0..2**32 - 1, the whole is two's complement.

    >>> limbs = [-1, 0, 0]
    >>> carry_limbs(limbs), limbs
    (None, [4294967295, 4294967295, 4294967295])
    """
    carry = 0
    for i in range(len(limbs)):
        total = limbs[i] + carry
        limbs[i] = total & MASK
        carry = total >> LIMB


def magnitude_limbs(limbs):
    """Return the sign of settled limbs, and leave their magnitude.

    >>> limbs = [4294967291, 4294967295]
    >>> magnitude_limbs(limbs), limbs
    (1, [5, 0])
    """
    sign = limbs[len(limbs) - 1] >> (LIMB - 1)
    if sign:
        for i in range(len(limbs)):
            limbs[i] = -limbs[i]
        carry_limbs(limbs)
    return sign


def divide_limbs(limbs, divisor):
    """magnitude = magnitude // divisor, its last bit set if a remainder is left: it rounds as the exact quotient does.

    divisor: 1..2**31 - 1, so that a remainder and a limb stay below 2**63.

    >>> limbs = [5, 3]
    >>> divide_limbs(limbs, 2), limbs
    (None, [2147483651, 1])
    """
    rest = 0
    for i in range(len(limbs) - 1, -1, -1):
        rest = (rest << LIMB) | limbs[i]
        limbs[i] = rest // divisor
        rest -= limbs[i] * divisor
    if rest:
        limbs[0] |= 1


def length_of_limbs(limbs):
    """Return the bit length of a magnitude.

    >>> length_of_limbs([0, 5, 0]), length_of_limbs([0, 0])
    (35, 0)
    """
    for i in range(len(limbs) - 1, -1, -1):
        if limbs[i]:
            length, rest = LIMB * i, limbs[i]
            while rest > 0:
                rest >>= 1
                length += 1
            return length
    return 0


def thirty_bits(limbs, first):
    """Return bits first..first + 29 of a magnitude."""
    at, offset = first >> 5, first & 31
    if at >= len(limbs):
        return 0
    bits = limbs[at] >> offset
    if (offset > 2) & (at + 1 < len(limbs)):
        bits |= limbs[at + 1] << (LIMB - offset)
    return bits & ((1 << 30) - 1)


def window_of_limbs(limbs, first):
    """Return bits first..first + 59 of a magnitude, the last one set if any bit below is: it rounds as the whole does.

    >>> window_of_limbs([1, 8], 33), window_of_limbs([0, 8], 33)
    (5, 4)
    """
    window = thirty_bits(limbs, first) | thirty_bits(limbs, first + 30) << 30
    for i in range(min(first >> 5, len(limbs))):
        if limbs[i]:
            return window | 1
    at = first >> 5
    if at < len(limbs) and limbs[at] & ((1 << (first & 31)) - 1):
        return window | 1
    return window


def round_limbs(limbs, exponent, is_float, fractional_length):
    """Return (sign, significand, exponent, beyond) for float_finish.finish_exact; settled limbs become their magnitude.

    Towards a minifloat the window is the top of the number; towards fixed point it begins two bits below the output's grid,
    and beyond = 1 if the magnitude has bits above it.
    """
    sign = magnitude_limbs(limbs)
    length = length_of_limbs(limbs)
    if is_float:
        first = max(length - WINDOW, 0)
        return sign, window_of_limbs(limbs, first), exponent + first, 0
    first = max(-(exponent + fractional_length) - 2, 0)
    return sign, window_of_limbs(limbs, first), exponent + first, int(length > first + WINDOW)


def pack_words(limbs, words):
    """words[i] = limbs[2i] + limbs[2i + 1] * 2**32, signed; limbs settled and not yet a magnitude."""
    for i in range(len(words)):
        high = limbs[2 * i + 1]
        words[i] = ((high - (1 << LIMB) if high >> (LIMB - 1) else high) << LIMB) | limbs[2 * i]
