"""What TensorFlow Lite's reference kernels compute, one rule per function, in numpy's int64 and plain ints.

Written from the published kernels (kernels/internal/common.h, quantization_util.cc, reference/*.h and gemmlowp's
fixedpoint.h), and held to LiteRT itself, value by value, by tests/conformance/test_tflite_rules.py. Nothing of hwsim is
used here, and hwsim is held to both.
"""

from __future__ import annotations

import math

import numpy as np

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1


def int32(x):
    """x wrapped to 32 bits, two's complement."""
    return (np.asarray(x, np.int64) + (1 << 31)) % (1 << 32) - (1 << 31)


# -- multipliers ----------------------------------------------------------------------------------------------------


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(m, shift): real ~ m * 2**(shift - 31), m in 2**30 .. 2**31 - 1; below 2**-32 it becomes (0, 0)."""
    if real == 0:
        return 0, 0
    mantissa, shift = math.frexp(real)
    m = math.floor(mantissa * (1 << 31) + 0.5)  # exact: a double has 53 bits, this one lies in 2**30 .. 2**31
    if m == 1 << 31:
        m, shift = m // 2, shift + 1
    return (0, 0) if shift < -31 else (m, shift)


def conv_multiplier_uint8(input_scale: float, weight_scale: float, output_scale: float) -> tuple[int, int]:
    """The product of the two scales is rounded to float32, the quotient is a double."""
    product = float(np.float32(input_scale) * np.float32(weight_scale))
    return quantize_multiplier(product / float(np.float32(output_scale)))


def conv_multiplier_per_channel(input_scale: float, weight_scale: float, output_scale: float) -> tuple[int, int]:
    """Product and quotient are doubles."""
    return quantize_multiplier(float(np.float32(input_scale)) * float(np.float32(weight_scale)) / float(np.float32(output_scale)))


# -- scaling ----------------------------------------------------------------------------------------------------------


def high_mul(a, b):
    """gemmlowp's SaturatingRoundingDoublingHighMul: round(a * b / 2**31), ties to +inf, then saturated.

    The nudge is 2**30 for products >= 0 and 1 - 2**30 below, and the division cuts toward zero: so -0.5 becomes 0.
    """
    ab = np.asarray(a, np.int64) * np.int64(b)
    nudged = ab + np.where(ab >= 0, 1 << 30, 1 - (1 << 30))
    quotient = np.where(nudged >= 0, nudged >> 31, -((-nudged) >> 31))
    return np.minimum(quotient, INT32_MAX)


def rounding_divide_by_pot(x, exponent: int):
    """gemmlowp's RoundingDivideByPOT: round(x / 2**exponent), ties away from zero."""
    x = np.asarray(x, np.int64)
    mask = (1 << exponent) - 1
    return (x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0))


def double_rounding(x, m: int, shift: int):
    """MultiplyByQuantizedMultiplier of an int32: shift left (mod 2**32), high_mul, then rounding_divide_by_pot."""
    left, right = max(shift, 0), max(-shift, 0)
    return rounding_divide_by_pot(high_mul(int32(np.asarray(x, np.int64) << left), m), right)


def single_rounding(x, m: int, shift: int):
    """The variant under TFLITE_SINGLE_ROUNDING: one rounding, ties to +inf."""
    total = 31 - shift
    return (np.asarray(x, np.int64) * m + (1 << (total - 1))) >> total


def reduced_multiplier(x, m: int, shift: int):
    """MultiplyByQuantizedMultiplier of an int64 (16x8 layers): m rounded to 15 bits, one rounding, ties to +inf."""
    m15 = (m + (1 << 15)) >> 16 if m < 0x7FFF0000 else 0x7FFF
    total = 15 - shift
    return int32((np.asarray(x, np.int64) * m15 + (1 << (total - 1))) >> total)


def activation_range(low: int, high: int, scale: float, zero_point: int, activation: str) -> tuple[int, int]:
    """CalculateActivationRangeQuantized: bounds of NONE, RELU, RELU6 or RELU_N1_TO_1 in codes; float32 quotients, ties away."""

    def code(real):
        quotient = float(np.float32(real) / np.float32(scale))
        return zero_point + int(math.copysign(math.floor(abs(quotient) + 0.5), quotient))

    if activation in ("RELU", "RELU6"):
        low = max(low, code(0.0))
    if activation == "RELU6":
        high = min(high, code(6.0))
    if activation == "RELU_N1_TO_1":
        low, high = max(low, code(-1.0)), min(high, code(1.0))
    return low, high


# -- sums ----------------------------------------------------------------------------------------------------------------


def add(a, b, scales, zeros, low: int, high: int, sign: int = 1, left: int = 20):
    """ADD (sign 1) and SUB (sign -1) of 8-bit codes: both inputs << 20 (<< 15 for int16), each scaled, the sum scaled again."""
    s1, s2, so = (float(np.float32(scale)) for scale in scales)
    twice = 2 * max(s1, s2)
    stages = [quantize_multiplier(s1 / twice), quantize_multiplier(s2 / twice), quantize_multiplier(twice / ((1 << left) * so))]
    first = double_rounding((np.asarray(a, np.int64) - zeros[0]) << left, *stages[0])
    second = double_rounding((np.asarray(b, np.int64) - zeros[1]) << left, *stages[1])
    return np.clip(double_rounding(first + sign * second, *stages[2]) + zeros[2], low, high)


def average(total: int, count: int) -> int:
    """AVERAGE_POOL_2D of raw codes, no zero point in it: total / count, ties away from zero."""
    return (total + count // 2) // count if total > 0 else -((-total + count // 2) // count)


# -- softmax -------------------------------------------------------------------------------------------------------------

EXP_STEPS = ((24, 1672461947), (25, 1302514674), (26, 790015084), (27, 290630308), (28, 39332535), (29, 720401), (30, 242))
"""(bit of a Q5.26 number, exp(-2**(bit - 26)) as Q0.31)."""


def _shift_left_saturating(x, exponent: int):
    limit = (1 << (31 - exponent)) - 1
    x = np.asarray(x, np.int64)
    return np.where(x > limit, INT32_MAX, np.where(x < -limit, INT32_MIN, x << exponent))


def exp_on_negative_values(a):
    """gemmlowp's exp of Q5.26 numbers <= 0, as Q0.31."""
    a = np.asarray(a, np.int64)
    quarter = 1 << 24
    part = (a & (quarter - 1)) - quarter
    x = _shift_left_saturating(part, 5) + (1 << 28)
    x2 = high_mul(x, x)
    x3, x4 = high_mul(x2, x), high_mul(x2, x2)
    poly = rounding_divide_by_pot(high_mul(rounding_divide_by_pot(x4, 2) + x3, 715827883) + x2, 1)
    result = 1895147668 + high_mul(1895147668, x + poly)
    rest = part - a
    for bit, factor in EXP_STEPS:
        result = np.where(rest & (1 << bit), high_mul(result, factor), result)
    return np.where(a == 0, INT32_MAX, result)


def reciprocal(total: int) -> tuple[int, int]:
    """GetReciprocal of a Q12.19 sum: (1 / (1 + x) as Q0.31, bits over one), three Newton steps."""
    leading = 32 - total.bit_length()
    a = (total << leading) - (1 << 31)
    half = (a + INT32_MAX + 1) // 2  # RoundingHalfSum of a >= 0 and one
    x = 1515870810 + int(high_mul(half, -1010580540))
    for _ in range(3):
        x += int(_shift_left_saturating(high_mul(x, (1 << 29) - int(high_mul(half, x))), 2))
    return int(_shift_left_saturating(x, 1)), 12 - leading


def softmax(codes, scale: float, beta: float, low: int, high: int):
    """SOFTMAX of one row of 8-bit codes; output scale 1/256, zero point `low`."""
    real = min(float(np.float32(beta)) * float(np.float32(scale)) * (1 << 26), (1 << 31) - 1.0)
    m, left = quantize_multiplier(real)
    diff_min = -math.floor(31 * (1 << 26) / (1 << left))
    diff = np.asarray(codes, np.int64) - int(np.max(codes))
    counted = diff >= diff_min
    exps = exp_on_negative_values(high_mul(int32(np.where(counted, diff, 0) << left), m))
    total = int(np.sum(np.where(counted, rounding_divide_by_pot(exps, 12), 0)))
    factor, over = reciprocal(total)
    out = rounding_divide_by_pot(high_mul(factor, exps), over + 31 - 8) + low
    return np.where(counted, np.clip(out, low, high), low)


# -- other operators ---------------------------------------------------------------------------------------------------

F = np.float32


def round_away(x):
    """round(x), ties away from zero, of exact doubles."""
    x = np.asarray(x, np.float64)
    return np.copysign(np.floor(np.abs(x) + 0.5), x)


def dense(acc, input_scale: float, weight_scale: float, output_scale: float):
    """FULLY_CONNECTED: round(double(acc) * real), ties away, a double product; beyond int32 it is the lowest int32."""
    real = float(F(input_scale)) * float(F(weight_scale)) / float(F(output_scale))
    scaled = round_away(np.asarray(acc, np.int64).astype(np.float64) * real)
    return np.where((scaled < INT32_MIN) | (scaled > INT32_MAX), INT32_MIN, scaled).astype(np.int64)


def float32_multiplier(*scales: float) -> tuple[int, int]:
    """s1 * s2 * .. / s_last, each step rounded to float32: MUL, RELU, LEAKY_RELU, PRELU."""
    product = F(scales[0])
    for scale in scales[1:-1]:
        product = F(product * F(scale))
    return quantize_multiplier(float(F(product / F(scales[-1]))))


def double_multiplier(input_scale: float, output_scale: float) -> tuple[int, int]:
    """s_in / s_out, a double: QUANTIZE of codes, MEAN."""
    return quantize_multiplier(float(F(input_scale)) / float(F(output_scale)))


def mean(total, count: int, m: int, shift: int):
    """MEAN of `count` codes less their zero points, of that total: 1/count goes into the multiplier, which is cut."""
    k = min(count.bit_length() - 1, 32, 31 + shift)
    return double_rounding(total, (m << k) // count, shift - k)


def concatenated(codes, scale: float, zero: int, output_scale: float, output_zero: int):
    """CONCATENATION of uint8: float32 steps where scale or zero point differ, else a copy."""
    if scale == output_scale and zero == output_zero:
        return np.asarray(codes, np.int64)
    factor = F(F(scale) * F(F(1) / F(output_scale)))
    rescaled = (np.asarray(codes).astype(F) * factor + F(F(-zero) * factor)).astype(F)
    return np.clip(round_away(rescaled) + output_zero, 0, 255).astype(np.int64)


def table(function, codes, scales: tuple[float, float], zeros: tuple[int, int], low: int, high: int):
    """LOGISTIC and TANH: float32 throughout, one entry for each code."""
    reals = (F(scales[0]) * (np.asarray(codes, np.int64) - zeros[0]).astype(F)).astype(F)
    scaled = (function(reals).astype(F) * F(F(1) / F(scales[1]))).astype(F)
    return np.clip(round_away(scaled) + zeros[1], low, high).astype(np.int64)


def logistic(x):
    """1 / (1 + exp(-x)) in float32."""
    with np.errstate(over="ignore"):
        return (F(1) / (F(1) + np.exp(-x))).astype(F)


def nearest(index: int, inputs: int, outputs: int, align_corners: bool, half_pixel: bool) -> int:
    """RESIZE_NEAREST_NEIGHBOR: which input stands at an output, in float32."""
    scale = F(inputs - 1) / F(outputs - 1) if align_corners and outputs > 1 else F(inputs) / F(outputs)
    place = float(F(F(F(index) + F(0.5 if half_pixel else 0)) * scale))
    return max(min(math.floor(place + 0.5) if align_corners else math.floor(place), inputs - 1), 0)


def same_padding(inputs: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int, int]:
    """(outputs, padding before, padding behind) of SAME: the odd one stands behind."""
    outputs = -(-inputs // stride)
    total = max((outputs - 1) * stride + (kernel - 1) * dilation + 1 - inputs, 0)
    return outputs, total // 2, total - total // 2
