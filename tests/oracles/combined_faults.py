"""The faults of tests/oracles/mutants.py in layers that combine operands, average by reciprocals and take softmaxes."""

from __future__ import annotations

from faults import Mutant

COMBINED, AVERAGE = (
    ("tests/conformance/test_combined.py", "-k", "not every"),
    ("tests/conformance/test_average.py", "-k", "not every"),
)
JIT_COMBINED = ("tests/conformance/test_combined.py", "-k", "jit-1threads")
JIT_AVERAGE = ("tests/conformance/test_average.py", "-k", "jit-1threads")
SOFTMAX, GEMMLOWP = (
    ("tests/conformance/test_softmax_fixed.py", "-k", "spec or refused or share or reach"),
    ("tests/arith/test_gemmlowp.py",),
)
JIT_SOFTMAX, STEPS = ("tests/conformance/test_softmax_fixed.py", "-k", "jit-1threads"), ("tests/arith/test_float_steps.py",)
OPERANDS, IN_STEPS, FIXED_POINT = "hwsim/contract/operand.py", "hwsim/arith/float_steps.py", "hwsim/arith/gemmlowp.py"
SUM, PRODUCT, TOGETHER = (f"hwsim/layers/{name}.py" for name in ("eltwise_sum", "product", "combined"))
POOLED, RECIPROCALS, SHARES = "hwsim/layers/average_pool.py", "hwsim/contract/reciprocals.py", "hwsim/layers/softmax_fixed.py"
KERNELS, LOOPS = "hwsim/backends/jit/eltwise_kernels.py", "hwsim/backends/jit/eltwise_loops.py"

COMBINED_FAULTS = (
    Mutant("a subtracted operand is added", OPERANDS, "-1 if self.negate else 1", "1", COMBINED),
    Mutant(
        "the declared left shift is the aligning one",
        OPERANDS,
        "align if self.left_shift is None else self.left_shift",
        "align",
        COMBINED,
    ),
    Mutant(
        "an operand's rounding is the output's usual one",
        OPERANDS,
        "shift, int(self.scaling.rule), int(self.rounding))",
        "shift, int(self.scaling.rule), 8)",
        COMBINED,
    ),
    Mutant("affine scales need not agree", TOGETHER, "if not product and len(set(units)) > 1:", "if False:", COMBINED),
    Mutant("an inner extent may be stretched", TOGETHER, "extent in (1, full)", "extent <= full", COMBINED),
    Mutant("a constant stretches the output unasked", TOGETHER, "not self.stretch and whole != inputs[0]", "False", COMBINED),
    Mutant(
        "a constant's zero point stays",
        TOGETHER,
        "found[-1] = min(int(self.constant.min()) - zero, 0)",
        "found[-1] = min(int(self.constant.min()), 0)",
        COMBINED,
    ),
    Mutant(
        "the sum of affine codes keeps the zero points",
        SUM,
        "values = [code - f.zero() for code, f in",
        "values = [code for code, f in",
        COMBINED,
    ),
    Mutant(
        "scaled operands are not held to 32 bits",
        SUM,
        '        check_multiplied(rule, term.multiplier, term.shift, bits, "eltwise_sum.operands")\n        if',
        "        if",
        COMBINED,
    ),
    Mutant("a product's grid is its first operand's", PRODUCT, "sum(f.fl() for f in self.fixed)", "self.fixed[0].fl()", COMBINED),
    Mutant(
        "float operands are fused",
        "hwsim/layers/float_steps.py",
        "    if steps.offset is None:\n        terms",
        "    if steps.offset is None and False:\n        terms",
        COMBINED,
    ),
    Mutant(
        "fused operands run from the first",
        "hwsim/layers/float_steps.py",
        "zip(reversed(values), reversed(zeros), reversed(p.scales), strict=True)",
        "zip(values, zeros, p.scales, strict=True)",
        COMBINED,
    ),
    Mutant(
        "the offset leaves the output's zero point out",
        OPERANDS,
        "_nearest32(output.zero() - total)",
        "_nearest32(-total)",
        COMBINED,
    ),
    Mutant("a quotient's sticky bit is lost", IN_STEPS, "quotient | (quotient * m_b != dividend)", "quotient", STEPS),
    Mutant(
        "a fused term is rounded twice",
        IN_STEPS,
        "return multiply_add_floats(number, f, scale, f, total, f, f, Rounding.TIES_EVEN)[0]",
        "return offset_term(code, scale, total, f)",
        STEPS,
    ),
    Mutant("jit adds negated operands", KERNELS, "(values << term.left) * term.sign", "values << term.left", JIT_COMBINED),
    Mutant("jit fuses from the first operand", LOOPS, "range(len(scales) - 1, -1, -1)", "range(len(scales))", JIT_COMBINED),
    Mutant(
        "jit's minimum is the maximum",
        KERNELS,
        "np.maximum if isinstance(self.layer, EltwiseMax) else np.minimum",
        "np.maximum",
        JIT_COMBINED,
    ),
    Mutant("the average of codes goes by the real sign", POOLED, "return self.zero if self.of_codes else 0", "return 0", AVERAGE),
    Mutant(
        "padding counts as code 0", POOLED, "sum(code - self.zero for code in codes)", "sum(codes) - self.zero * unit", AVERAGE
    ),
    Mutant(
        "a reciprocal forgets the change of grid",
        POOLED,
        "return multiplier, shift - self.lift",
        "return multiplier, shift",
        AVERAGE,
    ),
    Mutant(
        "a mean's reciprocal is rounded",
        RECIPROCALS,
        "(multiplier << k) // count), shift + k",
        "(multiplier << k) // count + 1), shift + k",
        AVERAGE,
    ),
    Mutant(
        "TOSA's reciprocal lacks its one",
        RECIPROCALS,
        "((1 << 30) + 1 << (n - 1).bit_length()) // n",
        "((1 << 30) << (n - 1).bit_length()) // n",
        AVERAGE,
    ),
    Mutant(
        "a short reciprocal takes the last of the best",
        RECIPROCALS,
        "range((128 * n - 1).bit_length())]",
        "range((128 * n - 1).bit_length())][::-1]",
        AVERAGE,
    ),
    Mutant(
        "jit swaps the reciprocals' axes",
        "hwsim/backends/jit/pool_loops.py",
        "multiplier[y, column], shift[y, column]",
        "multiplier[y, column], shift[0, 0]",
        JIT_AVERAGE,
    ),
    Mutant(
        "the exponential's cubic lacks its fourth power",
        FIXED_POINT,
        "round_shift(y4, 2, Rounding.TIES_AWAY) + y3",
        "y3",
        GEMMLOWP,
    ),
    Mutant(
        "two Newton steps are enough",
        FIXED_POINT,
        "    y += shift_saturated(high_product(y, ONE_Q2 - high_product(d, y)), 2)\n    return",
        "    return",
        GEMMLOWP,
    ),
    Mutant("the largest code is the format's", SHARES, "    largest = max(row)\n", "    largest = 127\n", SOFTMAX),
    Mutant("channels beyond the reach are shifted", SHARES, "RADIUS >> self.left_shift", "RADIUS", SOFTMAX),
    Mutant(
        "jit takes the first channel for the largest",
        "hwsim/backends/jit/softmax_kernels.py",
        "largest, total = pixel.max(), np.int64(0)",
        "largest, total = pixel[0], np.int64(0)",
        JIT_SOFTMAX,
    ),
)
