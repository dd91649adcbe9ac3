"""The faults of tests/oracles/mutants.py in affine codes: formats, multipliers, dialects, lowering, files, the first scheme."""

from __future__ import annotations

from faults import Mutant

FORMAT, FORMATS = "hwsim/formats/affine.py", ("tests/formats/test_affine.py",)
SCALE, SCALES = "hwsim/arith/scale.py", ("tests/arith/test_scale.py",)
SCALING, SCALINGS = "hwsim/contract/scaling.py", ("tests/contract/test_scaling.py",)
SCHOOLS, DIALECTS = "hwsim/contract/requantizers.py", ("tests/contract/test_dialects.py",)
LOWER, RANGES = "hwsim/network/lower/affine.py", "hwsim/network/ranges.py"
QUANTIZE = ("tests/quantize/test_affine.py",)
STANZAS, STANZA = ("tests/network/test_contract_stanzas.py", "tests/network/test_hwnet.py"), "hwsim/network/layer_stanzas.py"
FIRST, FIRSTS = "hwsim/quantize/first_scheme.py", ("tests/quantize/test_first_scheme.py",)

AFFINE_FAULTS = (
    Mutant(
        "a quotient at a tie is not looked at again",
        FORMAT,
        "found[on] += _remainder_sign",
        "found[on] += 0 * _remainder_sign",
        FORMATS,
    ),
    Mutant("a quarter above a half is a half", FORMAT, "(rest >= 0.5) + (rest > 0.5)", "2 * (rest >= 0.5)", FORMATS),
    Mutant(
        "the zero point always follows from the low end",
        FORMAT,
        "zero = from_low if error_low < error_high",
        "zero = from_low if True",
        FORMATS,
    ),
    Mutant(
        "scales of channels lie along the first axis",
        FORMAT,
        "return (along(scale, ndim, axis)",
        "return (along(scale, ndim, 0)",
        FORMATS,
    ),
    Mutant("narrow codes use the smallest one", FORMAT, "return super().low + self.narrow", "return super().low", FORMATS),
    Mutant("the high half is rounded as its second step is", SCALE, "HIGH, Rounding.TIES_UP)", "HIGH, rounding)", SCALES),
    Mutant("the left shift does not wrap", SCALE, "wrap_signed(value << left, 32)", "(value << left)", SCALES),
    Mutant("TOSA nudges upward only", SCALE, "(1 << 30) if value >= 0 else -(1 << 30)", "(1 << 30)", SCALES),
    Mutant(
        "a large value enters float32 unrounded",
        SCALE,
        "spare = max(magnitude_bits(value) - FLOAT32_BITS, 0)",
        "spare = 0",
        SCALES,
    ),
    Mutant("a multiplier of 2**31 stays", SCALING, "if m == 1 << 31:", "if m == 1 << 32:", SCALINGS),
    Mutant("reduced multipliers are cut off", SCALING, "(m + (1 << 15)) >> 16", "m >> 16", SCALINGS),
    Mutant("what is tiny keeps a multiplier", SCALING, "if exponent < -31:", "if exponent < -99:", SCALINGS),
    Mutant("ONNX Runtime multiplies scales as doubles", SCHOOLS, "TIES_EVEN, ScaleProduct.FLOAT32)", "TIES_EVEN)", DIALECTS),
    Mutant(
        "fully connected layers requantize as convolutions do",
        SCHOOLS,
        "AffineRules(DOUBLE, IN_DOUBLE,",
        "AffineRules(DOUBLE, DOUBLE,",
        DIALECTS,
    ),
    Mutant(
        "the float32 product is a double",
        SCHOOLS,
        "np.float64(np.float32(first) * np.float32(second))",
        "np.float64(np.float64(first) * second)",
        DIALECTS,
    ),
    Mutant("a ReLU leaves negative codes", LOWER, "lows = [] if not site.relu else [fmt.zero()]", "lows = []", QUANTIZE),
    Mutant(
        "sums are scaled to the coarsest operand itself", LOWER, "2.0 ** math.ceil(math.log2(len(formats))) *", "1.0 *", QUANTIZE
    ),
    Mutant(
        "window averages divide real sums",
        LOWER,
        "return AveragePool(fmt, window, op.count, output, of_codes=True)",
        "return AveragePool(fmt, window, op.count, output)",
        QUANTIZE,
    ),
    Mutant("a large bias leaves its accumulator", LOWER, "(fmt.step() * ROOM)", "(fmt.step() * ROOM * 64)", QUANTIZE),
    Mutant(
        "sixteen-bit codes keep a zero point",
        LOWER,
        "seen.symmetric(bits) if bits > NARROW",
        "seen.symmetric(bits) if bits > 99",
        QUANTIZE,
    ),
    Mutant(
        "weights reach one code too far",
        RANGES,
        "return symmetric(max(-low, high) * part, bits)",
        "return symmetric(max(-low, high) * part * 0.99, bits)",
        QUANTIZE,
    ),
    Mutant(
        "the bias's grid forgets the input's scale",
        "hwsim/network/lower/settle.py",
        "float(real_step(read) * real_step(weight, k))",
        "float(real_step(weight, k))",
        QUANTIZE,
    ),
    Mutant(
        "a clamp is lost in the file",
        "hwsim/network/contract_stanzas.py",
        'SCALED = ("scaling", "clamp_low", "clamp_high")',
        'SCALED = ("scaling", "clamp_low")',
        STANZAS,
    ),
    Mutant(
        "padding at the end is lost in the file",
        STANZA,
        "elif field.name in GEOMETRY or value != field.default:",
        "elif field.name in GEOMETRY:",
        ("tests/network/test_moving_stanzas.py", "tests/network/test_combined_stanzas.py"),
    ),
    Mutant("a range need not hold 0", FIRST, "bottom = F32(min(F32(0.0), F32(low)))", "bottom = F32(low)", FIRSTS),
    Mutant(
        "the new range need not hold 0",
        FIRST,
        "new_low = min(F32(0.0), real_sum(int(sums.min()), low, high))",
        "new_low = real_sum(int(sums.min()), low, high)",
        FIRSTS,
    ),
    Mutant("halves go to even", FIRST, "np.abs(np.asarray(x) - whole) >= 0.5", "np.abs(np.asarray(x) - whole) > 0.5", FIRSTS),
    Mutant(
        "weights lose their zero point",
        FIRST,
        "right = w.codes.astype(np.float64) - w.zero",
        "right = w.codes.astype(np.float64)",
        FIRSTS,
    ),
)
