"""The faults of tests/oracles/mutants.py in local response normalization and in the lowering of what is no plain convolution."""

from __future__ import annotations

from faults import Mutant

TABLES, SPEC = ("tests/layers/test_lrn.py",), ("tests/conformance/test_lrn.py", "-k", "spec")
JIT, C = (("tests/conformance/test_lrn.py", "-k", which) for which in ("jit-1threads", "native-portable-1threads"))
LOWERED, FOLDED = ("tests/quantize/test_lowered_ops.py",), ("tests/network/test_lower.py",)
LOOK_UP, TABLE, LAYER = "hwsim/arith/lrn.py", "hwsim/layers/lrn_table.py", "hwsim/layers/lrn.py"
STEP, STEPPED, LOOPS = "hwsim/arith/float_lrn.py", "hwsim/layers/float_lrn.py", "hwsim/backends/jit/lrn_kernels.py"
C_LRN, COMMUTE, CLIP = "native/src/lrn.c", "hwsim/network/lower/commute.py", "hwsim/network/lower/clip.py"
SITES, REFIT, PLAIN = "hwsim/network/lower/sites.py", "hwsim/network/lower/refit.py", "hwsim/network/lower/plain.py"
SETTLE, MAC = "hwsim/network/lower/settle.py", "hwsim/network/lower/mac_layers.py"

LRN_FAULTS = (
    Mutant(
        "octaves begin one late", LOOK_UP, "bit_length(total) - 1 - mantissa_bits", "bit_length(total) - 2 - mantissa_bits", SPEC
    ),
    Mutant("the last entry is interpolated", LOOK_UP, "if index >= last:", "if index > last:", SPEC),
    Mutant(
        "the line starts at the next entry",
        LOOK_UP,
        "((1 << bits) - part) + table[index + 1] * part",
        "part + table[index + 1] * ((1 << bits) - part)",
        SPEC,
    ),
    Mutant("a short segment's place is cut", LOOK_UP, "else rest << (bits - drop)", "else rest", SPEC),
    Mutant(
        "the factor is cut",
        LOOK_UP,
        "return round_shift(line, rule.dropped_bits, rule.rounding)",
        "return line >> rule.dropped_bits",
        SPEC,
    ),
    Mutant(
        "entries stand at the segments' starts", TABLE, "Fraction(first + self.start(index + 1), 2)", "Fraction(first)", TABLES
    ),
    Mutant("an exact tie is not seen", TABLE, "KEPT.plus(EXACT", "KEPT.next_plus(EXACT", TABLES),
    Mutant("the ratio of scales is forgotten", LAYER, "_off_grid(format) / _off_grid(output.format)", "Fraction(1)", TABLES),
    Mutant(
        "a hand-written table is lost",
        LAYER,
        "        if real_step(read) == real_step(self.format)",
        "        if False and real_step(read) == real_step(self.format)",
        TABLES,
    ),
    Mutant("zero points stay in the squares", LAYER, "sum((code - zero) ** 2 for", "sum(code**2 for", SPEC),
    Mutant("the window lacks its last row", LOOPS, "min(y + reach[1] + 1, height)", "min(y + reach[1], height)", JIT),
    Mutant("channels are not neighbours", LOOPS, "low, high = max(k - reach[0], 0)", "low, high = max(k, 0)", JIT),
    Mutant("a square that leaves is added", STEP, "    if (leaves == 1)", "    if (leaves == 2)", SPEC),
    Mutant("squares are not rounded", STEP, "multiply_floats(x, f, x, f, f, mode)", "multiply_floats(x, f, x, f, f, 0)", SPEC),
    Mutant("no sum runs", STEPPED, "        if not self.running:\n", "        if True:\n", SPEC),
    Mutant(
        "the scaled sum is not rounded",
        STEPPED,
        "f.decode(f.encode(total * Fraction(slope), rounding))",
        "total * Fraction(slope)",
        SPEC,
    ),
    Mutant("what leaves, leaves late", LOOPS, "own[k - reach - 1], 1, f, mode)", "own[k - reach], 1, f, mode)", JIT),
    Mutant("sums run backwards in C", C_LRN, "x - l->reach_w - 1, -1, sums", "x - l->reach_w - 1, 0, sums", C),
    Mutant("channels do not leave the sum in C", C_LRN, "total -= c > l->reach_c", "total -= c > l->reach_c + 1", C),
    Mutant(
        "C cuts the factor",
        C_LRN,
        "return (int64_t)round_shift(line, l->dropped_bits, l->rounding);",
        "return (int64_t)round_shift(line, l->dropped_bits, HW_FLOOR);",
        C,
    ),
    Mutant(
        "a ReLU stays behind its maximum",
        COMMUTE,
        "        if not readers[after.name] or",
        "        if readers[after.name] or",
        FOLDED,
    ),
    Mutant("a leaky ReLU goes before a maximum", COMMUTE, " and op.negative_slope == 0", "", FOLDED),
    Mutant("a maximum that others read is moved", COMMUTE, " and readers[pool.name] == 1", "", FOLDED),
    Mutant(
        "a limit beyond the format clips",
        CLIP,
        "    if high is not None and high > fmt.high:\n        high = None\n",
        "",
        LOWERED,
    ),
    Mutant(
        "clamps keep their codes on another grid",
        CLIP,
        "    return replace(stage, format=fmt, clamp_low=low, clamp_high=high)",
        "    return replace(stage, format=fmt)",
        LOWERED,
    ),
    Mutant("ReLU6 leaves its limit away", SITES, "clip=ops.Clip(low, op.high)", "clip=ops.Clip(low, None)", LOWERED),
    Mutant("a clip fuses whoever reads around it", SITES, "inputs and readers[node.inputs[0]] == 1 and", "inputs and", LOWERED),
    Mutant("a clamp keeps its codes on another grid", REFIT, "    Clamp: _clamped,\n", "", LOWERED),
    Mutant("a padding keeps its code on another grid", REFIT, "    Pad: _padded,\n", "", LOWERED),
    Mutant("a curve keeps its table", REFIT, "    LookupTable: _looked_up,\n", "", LOWERED),
    Mutant(
        "padding at the end is that at the start", MAC, "op.dilation, op.groups, op.pad_end)", "op.dilation, op.groups)", LOWERED
    ),
    Mutant("a pooling forgets its end", PLAIN, "op.ceil_mode, op.pad_end)", "op.ceil_mode)", LOWERED),
    Mutant("more rows of a deconvolution are cut", MAC, "(bottom - more[0], right - more[1])", "(bottom, right)", LOWERED),
    Mutant(
        "branches of a maximum may differ",
        SETTLE,
        "layer.formats[0] if isinstance(layer, (EltwiseMax, EltwiseMin)) else None",
        "None",
        LOWERED,
    ),
)
