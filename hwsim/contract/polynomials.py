"""Feedback polynomials of maximal period, and the factors that prove it.

A polynomial is the tuple of its exponents, highest first, without the constant term, which every one has: (16, 15, 13, 4)
is x^16 + x^15 + x^13 + x^4 + 1.
"""

from __future__ import annotations

from functools import lru_cache

from hwsim.arith.lfsr import x_power
from hwsim.arith.overflow import wrap_signed

MIN_WIDTH, MAX_WIDTH = 2, 64


def mask_of(polynomial: tuple[int, ...]) -> int:
    """Return the taps as arith.lfsr takes them: bit i - 1 for x**i, as a two's complement number at 64 bits.

    >>> bin(mask_of((4, 3))), mask_of((64, 1)) == 1 - (1 << 63)
    ('0b1100', True)
    """
    return wrap_signed(sum(1 << (i - 1) for i in polynomial), 64)


@lru_cache(maxsize=1024)  # every layer of a network declares its register
def is_maximal(polynomial: tuple[int, ...]) -> bool:
    """Return whether the register runs through all 2**width - 1 states: whether the order of x modulo p is that number.

    x has an order that divides N = 2**width - 1 iff x**N = 1, and no smaller one iff x**(N / q) != 1 for each prime q of N.
    An order of N makes every non-zero residue a power of x, so p is irreducible too. The reciprocal has the same order.

    >>> is_maximal((4, 3)), is_maximal((4, 2)), is_maximal((4, 3, 2, 1))  # the last: irreducible, of period 5
    (True, False, False)
    """
    width = polynomial[0]
    low = wrap_signed(1 | sum(1 << i for i in polynomial[1:]), 64)
    order = (1 << width) - 1
    return x_power(order, low, width) == 1 and all(
        x_power(order // prime, low, width) != 1 for prime in set(MERSENNE_FACTORS[width])
    )


# Source: P. Alfke, "Efficient Shift Registers, LFSR Counters, and Long Pseudo-Random Sequence Generators", Xilinx XAPP052
# (1996), table 3, for widths from 3; of degree 2 there is one irreducible polynomial. The tests prove each of them maximal.
MAXIMAL = {
    taps[0]: taps
    for taps in (
        (2, 1),
        (3, 2),
        (4, 3),
        (5, 3),
        (6, 5),
        (7, 6),
        (8, 6, 5, 4),
        (9, 5),
        (10, 7),
        (11, 9),
        (12, 6, 4, 1),
        (13, 4, 3, 1),
        (14, 5, 3, 1),
        (15, 14),
        (16, 15, 13, 4),
        (17, 14),
        (18, 11),
        (19, 6, 2, 1),
        (20, 17),
        (21, 19),
        (22, 21),
        (23, 18),
        (24, 23, 22, 17),
        (25, 22),
        (26, 6, 2, 1),
        (27, 5, 2, 1),
        (28, 25),
        (29, 27),
        (30, 6, 4, 1),
        (31, 28),
        (32, 22, 2, 1),
        (33, 20),
        (34, 27, 2, 1),
        (35, 33),
        (36, 25),
        (37, 5, 4, 3, 2, 1),
        (38, 6, 5, 1),
        (39, 35),
        (40, 38, 21, 19),
        (41, 38),
        (42, 41, 20, 19),
        (43, 42, 38, 37),
        (44, 43, 18, 17),
        (45, 44, 42, 41),
        (46, 45, 26, 25),
        (47, 42),
        (48, 47, 21, 20),
        (49, 40),
        (50, 49, 24, 23),
        (51, 50, 36, 35),
        (52, 49),
        (53, 52, 38, 37),
        (54, 53, 18, 17),
        (55, 31),
        (56, 55, 35, 34),
        (57, 50),
        (58, 39),
        (59, 58, 38, 37),
        (60, 59),
        (61, 60, 46, 45),
        (62, 61, 6, 5),
        (63, 62),
        (64, 63, 61, 60),
    )
}

# width -> the primes of 2**width - 1, with their multiplicity. The tests multiply them and prove each of them prime.
MERSENNE_FACTORS = {
    2: (3,),
    3: (7,),
    4: (3, 5),
    5: (31,),
    6: (3, 3, 7),
    7: (127,),
    8: (3, 5, 17),
    9: (7, 73),
    10: (3, 11, 31),
    11: (23, 89),
    12: (3, 3, 5, 7, 13),
    13: (8191,),
    14: (3, 43, 127),
    15: (7, 31, 151),
    16: (3, 5, 17, 257),
    17: (131071,),
    18: (3, 3, 3, 7, 19, 73),
    19: (524287,),
    20: (3, 5, 5, 11, 31, 41),
    21: (7, 7, 127, 337),
    22: (3, 23, 89, 683),
    23: (47, 178481),
    24: (3, 3, 5, 7, 13, 17, 241),
    25: (31, 601, 1801),
    26: (3, 2731, 8191),
    27: (7, 73, 262657),
    28: (3, 5, 29, 43, 113, 127),
    29: (233, 1103, 2089),
    30: (3, 3, 7, 11, 31, 151, 331),
    31: (2147483647,),
    32: (3, 5, 17, 257, 65537),
    33: (7, 23, 89, 599479),
    34: (3, 43691, 131071),
    35: (31, 71, 127, 122921),
    36: (3, 3, 3, 5, 7, 13, 19, 37, 73, 109),
    37: (223, 616318177),
    38: (3, 174763, 524287),
    39: (7, 79, 8191, 121369),
    40: (3, 5, 5, 11, 17, 31, 41, 61681),
    41: (13367, 164511353),
    42: (3, 3, 7, 7, 43, 127, 337, 5419),
    43: (431, 9719, 2099863),
    44: (3, 5, 23, 89, 397, 683, 2113),
    45: (7, 31, 73, 151, 631, 23311),
    46: (3, 47, 178481, 2796203),
    47: (2351, 4513, 13264529),
    48: (3, 3, 5, 7, 13, 17, 97, 241, 257, 673),
    49: (127, 4432676798593),
    50: (3, 11, 31, 251, 601, 1801, 4051),
    51: (7, 103, 2143, 11119, 131071),
    52: (3, 5, 53, 157, 1613, 2731, 8191),
    53: (6361, 69431, 20394401),
    54: (3, 3, 3, 3, 7, 19, 73, 87211, 262657),
    55: (23, 31, 89, 881, 3191, 201961),
    56: (3, 5, 17, 29, 43, 113, 127, 15790321),
    57: (7, 32377, 524287, 1212847),
    58: (3, 59, 233, 1103, 2089, 3033169),
    59: (179951, 3203431780337),
    60: (3, 3, 5, 5, 7, 11, 13, 31, 41, 61, 151, 331, 1321),
    61: (2305843009213693951,),
    62: (3, 715827883, 2147483647),
    63: (7, 7, 73, 127, 337, 92737, 649657),
    64: (3, 5, 17, 257, 641, 65537, 6700417),
}
