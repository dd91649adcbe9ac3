"""Linear feedback shift registers, and the rounding that their bits decide.

Stage i of a register of `width` stages is bit i - 1 of its state. `taps` has bit i - 1 set for each term x**i of the
feedback polynomial x**width + ... + 1 (width included, the constant not), as application notes list them.
Both forms of one polynomial run through their states by maps of one characteristic polynomial, the reciprocal
x**width * p(1 / x); so one jump serves both.

Leaves, for Python ints and int64 alike. Domain: width 2..64. A state, a mask or a residue of 64 bits is carried as the
two's complement number of its bits (wrap_signed(bits, 64)); narrower ones are themselves and not negative.
"""

from enum import IntEnum

from hwsim.arith.overflow import wrap_signed


class LfsrForm(IntEnum):
    """FIBONACCI: the sum of the taps enters stage 1, all shift up.

    GALOIS: all shift down; the bit that leaves stage 1 is added at the taps.
    """

    FIBONACCI = 0
    GALOIS = 1

    def __repr__(self) -> str:
        return f"LfsrForm.{self.name}"


class Alignment(IntEnum):
    """Which bits of a state meet a fraction. HIGH: top bit on top bit.  LOW: bottom bit on bottom bit."""

    HIGH = 0
    LOW = 1

    def __repr__(self) -> str:
        return f"Alignment.{self.name}"


def parity(x):
    """parity(x) = the sum of the low 64 bits of x, modulo 2.

    >>> parity(0b1011), parity(-1), parity(-2)
    (1, 0, 1)
    """
    x = x ^ (x >> 32)
    x = x ^ (x >> 16)
    x = x ^ (x >> 8)
    x = x ^ (x >> 4)
    x = x ^ (x >> 2)
    return (x ^ (x >> 1)) & 1


def shift_in(state, bit, width):
    """shift_in(state, b) = (2 * state + b) modulo 2**width.

    >>> shift_in(0b1011, 1, 4), shift_in(1 << 62, 0, 64) == -(1 << 63)
    (7, True)
    """
    return wrap_signed(((state & ((1 << (width - 1)) - 1)) << 1) | bit, 64)


def lfsr_step(state, taps, width, form):
    """lfsr_step(state) = the register's next state; 0 stays 0, and no other state reaches it.

    >>> [lfsr_step(0b1001, 0b1100, 4, form) for form in LfsrForm]  # x^4 + x^3 + 1
    [3, 8]
    """
    if form == LfsrForm.FIBONACCI:
        return shift_in(state, parity(state & taps), width)
    return ((state >> 1) & ((1 << (width - 1)) - 1)) ^ (taps & -(state & 1))


def characteristic(taps, width):
    """characteristic(taps) = the reciprocal polynomial x**width * p(1 / x), less its top term.

    >>> bin(characteristic(0b1100, 4))  # x^4 + x^3 + 1 -> x^4 + x + 1
    '0b11'
    """
    low = 0
    for i in range(width):
        low = shift_in(low, (taps >> i) & 1, width)
    return low


def times_x(a, low, width):
    """times_x(a) = a * x modulo x**width + low, over GF(2).

    >>> times_x(0b1000, 0b0011, 4), times_x(0b0100, 0b0011, 4)
    (3, 8)
    """
    return shift_in(a, 0, width) ^ (low & -((a >> (width - 1)) & 1))


def multiply_residues(a, b, low, width):
    """multiply_residues(a, b) = a * b modulo x**width + low, over GF(2).

    >>> multiply_residues(0b0110, 0b1001, 0b0011, 4)  # (x^2 + x)(x^3 + 1) = x^5 + x^4 + x^2 + x = x + 1
    3
    """
    product = 0
    for i in range(width):
        product = times_x(product, low, width) ^ (a & -((b >> (width - 1 - i)) & 1))
    return product


def x_power(n, low, width):
    """x_power(n) = x**n modulo x**width + low, over GF(2), n >= 0, in O(log n) multiplications.

    >>> x_power(4, 0b0011, 4), x_power(15, 0b0011, 4)
    (3, 1)
    """
    power = 1
    square = 2
    while n > 0:
        if n & 1 == 1:
            power = multiply_residues(power, square, low, width)
        square = multiply_residues(square, square, low, width)
        n = n >> 1
    return power


def lfsr_jump(state, steps, taps, width, form):
    """lfsr_jump(state, n) = lfsr_step n times, in O(log n): any draw is reached directly.

    By Cayley and Hamilton the step T satisfies its characteristic polynomial c, so T**n = r(T) with r = x**n mod c.
    steps: n >= 0 (int64: below 2**63).

    >>> state = 0b1001
    >>> for _ in range(1000): state = lfsr_step(state, 0b1100, 4, LfsrForm.GALOIS)
    >>> state == lfsr_jump(0b1001, 1000, 0b1100, 4, LfsrForm.GALOIS)
    True
    """
    residue = x_power(steps, characteristic(taps, width), width)
    ahead = 0
    for i in range(width):
        ahead = ahead ^ (state & -((residue >> i) & 1))
        state = lfsr_step(state, taps, width, form)
    return ahead


def noise_bits(state, width, shift, alignment):
    """noise_bits(state) = the noise in 0..2**shift - 1 that a state gives to a fraction of `shift` bits.

    HIGH: floor(state * 2**(shift - width)); a fraction longer than the state has zeros below.
    LOW: state modulo 2**shift; a fraction longer than the state has zeros above, and rounds up too rarely.
    shift [bits]: up to 62 in int64; 0 or less drops nothing and needs no noise.

    >>> [noise_bits(0b1011, 4, shift, Alignment.HIGH) for shift in (0, 2, 4, 6)]
    [0, 2, 11, 44]
    >>> [noise_bits(0b1011, 4, shift, Alignment.LOW) for shift in (0, 2, 4, 6)]
    [0, 3, 11, 11]
    """
    if shift <= 0:
        return state & 0
    if alignment == Alignment.LOW:
        return state & ((1 << shift) - 1)
    if shift <= width:
        return (state >> (width - shift)) & ((1 << shift) - 1)
    return state << (shift - width)


def round_shift_stochastic(x, shift, noise):
    """round_shift_stochastic(x, s, noise) = (x + noise) >> s; a negative shift is the exact left shift x * 2**-s.

    noise: 0..2**s - 1.  Quotient and remainder first, so that no sum leaves int64.  Domain as round_shift.

    >>> [round_shift_stochastic(-5, 2, noise) for noise in range(4)]  # -1.25: up for 3 of 4
    [-2, -1, -1, -1]
    """
    if shift <= 0:
        return x << -shift
    q = x >> shift
    return q + ((x - (q << shift) + noise) >> shift)
