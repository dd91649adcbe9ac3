"""The multiply-accumulate loop and the end of the accumulator: the only MAC loop of the specification."""

from hwsim.arith.overflow import sum_fits, wrap_signed


def dot(x, w):
    """dot(x, w) = sum of x[i] * w[i], exact.

    x, w: sequences of codes of one length (plain ints; int64 while len * max|x| * max|w| < 2**63).

    >>> dot([1, 2, 3], [4, 5, -6])
    -4
    """
    total = 0
    for i in range(len(x)):
        total += x[i] * w[i]
    return total


def accumulate(total, product_shift, bias, bits, low, high):
    """(acc, event): acc = (total * 2**product_shift + bias) mod 2**bits, signed; event = 1 if the exact sum left low..high.

    total: exact sum of products.  product_shift [bits] = fl_acc - fl_product >= 0.  bias: on the accumulator's grid.
    low, high: the register's range.  Modulo 2**bits the order of the sum is of no account, so codes need only the end.
    int64: total << product_shift fits.

    >>> accumulate(100, 0, 30, 8, -128, 127)
    (-126, 1)
    """
    shifted = total << product_shift
    event = 1 - sum_fits(shifted, bias, low, high)
    return wrap_signed(shifted + bias, bits), event
