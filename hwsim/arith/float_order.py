"""Minifloats in order: a key that compares as the numbers do, so that a maximum is one of integers.

-0 lies just below +0, and NaN above everything: a maximum with NaN is NaN, as IEEE 754-2019 section 9.6 has its maximum.
Where several words mean zero (formats without subnormals) they compare as words, and the one that wins stays as it is.

Leaves: they validate nothing and run on Python ints, on int64 and on int64 arrays.
"""

from hwsim.arith.minifloat import is_nan, nan_code


def order_key(code, f):
    """order_key(code) = an integer that grows with the number: the magnitude's bits, or -1 - magnitude below zero."""
    magnitude = code & ((1 << f.sign_shift) - 1)
    negative = (code >> f.sign_shift) & 1
    key = magnitude - negative * (2 * magnitude + 1)
    return key + is_nan(code, f) * ((2 << f.sign_shift) - key)


def code_of_key(key, f):
    """code_of_key(order_key(code)) = code; of every NaN, the format's one NaN result."""
    negative = (key < 0) * 1
    code = key + negative * ((1 << f.sign_shift) - 1 - 2 * key)
    return code + (key == 2 << f.sign_shift) * (nan_code(f) - code)
