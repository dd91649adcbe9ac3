"""The faults of tests/oracles/mutants.py in layers that move codes, look them up, have slopes or scatter."""

from __future__ import annotations

from faults import Mutant

MOVES, MOVED = ("tests/layers/test_move.py",), ("tests/conformance/test_move.py", "-k", "jit-1threads")
LOOKUPS, LOOKED_UP = ("tests/layers/test_lookup.py",), ("tests/conformance/test_lookup.py", "-k", "jit-1threads")
SLOPES = ("tests/layers/test_prelu.py", "tests/conformance/test_lookup.py", "-k", "spec or prelu")
SCATTERED, DECONVOLVED = ("tests/layers/test_deconv.py",), ("tests/conformance/test_deconv.py", "-k", "jit-1threads")
IN_C = ("-k", "native-portable-1threads")
C_MOVED = ("tests/conformance/test_move.py", *IN_C)
C_LOOKED_UP, C_DECONVOLVED = ("tests/conformance/test_lookup.py", *IN_C), ("tests/conformance/test_deconv.py", *IN_C)
SAMPLE, MOVE, TABLES = "hwsim/arith/sample.py", "hwsim/layers/move.py", "hwsim/layers/tables.py"
LOOKUP, PRELU, DECONV = "hwsim/arith/lookup.py", "hwsim/layers/prelu.py", "hwsim/layers/deconv.py"
SPREAD, WALK, TURNED = (
    "hwsim/backends/jit/deconv_kernels.py",
    "hwsim/backends/jit/walk.py",
    "hwsim/backends/native/deconv_kernels.py",
)
C_MOVE, C_LOOKUP = "native/src/move.c", "native/src/lookup.c"

MOVING_FAULTS = (
    Mutant("a place is not rounded to float32", SAMPLE, "    if float32:\n", "    if False:\n", MOVES),
    Mutant(
        "a place beyond the image is not brought back",
        SAMPLE,
        "saturate(round_ratio(place, unit, rounding), 0, extent - 1)",
        "round_ratio(place, unit, rounding)",
        MOVES,
    ),
    Mutant("half a pixel is forgotten", MOVE, "inputs - outputs, rounding)", "0, rounding)", MOVES),
    Mutant("TOSA's places are cut", MOVE, "offset, Rounding.TIES_UP)", "offset, Rounding.FLOOR)", MOVES),
    Mutant(
        "TensorFlow Lite's aligned corners are cut",
        MOVE,
        "Rounding.TIES_AWAY if align_corners",
        "Rounding.FLOOR if align_corners",
        MOVES,
    ),
    Mutant(
        "padding is code 0",
        MOVE,
        "return zero_code(self.format) if self.code is None else self.code",
        "return self.code or 0",
        MOVED,
    ),
    Mutant(
        "a shuffle runs the other way",
        MOVE,
        "index % self.groups * (extent // self.groups) + index // self.groups",
        "index % (extent // self.groups) * self.groups + index // (extent // self.groups)",
        MOVED,
    ),
    Mutant("both orders flatten alike", MOVE, "if self.order is FlattenOrder.CHW:", "if True:", MOVED),
    Mutant("a line has no slope", LOOKUP, "(table[index + 1] - table[index]) * (place", "0 * (place", LOOKED_UP),
    Mutant("a line is cut", LOOKUP, "round_shift(line, dropped_bits, rounding)", "line >> dropped_bits", LOOKED_UP),
    Mutant("bounds of a curve are points", TABLES, "    slack = value / 10**digits\n", "    slack = value * 0\n", LOOKUPS),
    Mutant(
        "entries come from sixteen digits",
        TABLES,
        "    digits = 20\n",
        "    digits = 2\n    return output.encode(curve(x, 2)[0], rounding, overflow)\n",
        LOOKUPS,
    ),
    Mutant(
        "TensorFlow Lite's tables round ties to even",
        TABLES,
        "np.copysign(np.floor(np.abs(scaled.astype(np.float64)) + 0.5), scaled)",
        "np.floor(scaled.astype(np.float64))",
        LOOKUPS,
    ),
    Mutant(
        "the slope's zero point is forgotten",
        PRELU,
        "self.slope.astype(np.int64) - self.slope_format.zero()",
        "self.slope.astype(np.int64)",
        SLOPES,
    ),
    Mutant("one slope for all channels", PRELU, "self.slopes[k if len(self.slopes) > 1 else 0]", "self.slopes[0]", SLOPES),
    Mutant(
        "both sides are scaled alike",
        PRELU,
        "output = self.output if self.negative is None else replace(self.output, scaling=self.negative)",
        "output = self.output",
        SLOPES,
    ),
    Mutant(
        "the kernel is turned round",
        DECONV,
        "place = output + self.pad[axis] - tap",
        "place = output + self.pad[axis] - (self.kernel[axis] - 1 - tap)",
        SCATTERED,
    ),
    Mutant(
        "what lies between pixels is the pixel before",
        DECONV,
        "if place % self.stride[axis] == 0 and 0 <= place",
        "if 0 <= place",
        SCATTERED,
    ),
    Mutant(
        "cropping below is cropping above", DECONV, "self.pad if self.pad_end is None else self.pad_end", "self.pad", SCATTERED
    ),
    Mutant("taps between pixels are steps", WALK, "                if spread:\n", "                if False:\n", DECONVOLVED),
    Mutant(
        "the convolution's order is the deconvolution's",
        SPREAD,
        "return np.where(table < 0, table, layer.tap_order[table])",
        "return table",
        DECONVOLVED,
    ),
    Mutant("what lies between pixels is code 0", DECONV, "return zero_code(self.format)", "return 0", DECONVOLVED),
    Mutant(
        "the C core takes the convolution's order",
        TURNED,
        "return np.where(table < 0, table, layer.tap_order[table])",
        "return table",
        C_DECONVOLVED,
    ),
    Mutant(
        "C: runs of channels are one run",
        C_MOVE,
        "last->from >= 0 && last->from + last->count == from",
        "last->from >= 0",
        C_MOVED,
    ),
    Mutant("C: a constant is 0", C_MOVE, "hw_store(out, type, i, code);", "hw_store(out, type, i, 0);", C_MOVED),
    Mutant(
        "C: a line is cut", C_LOOKUP, "round_shift(line, l->dropped_bits, l->rounding)", "(line >> l->dropped_bits)", C_LOOKED_UP
    ),
    Mutant("C: negative bytes find the upper entries", C_LOOKUP, "byte > lookup->high ? byte - 256 : byte", "byte", C_LOOKED_UP),
    Mutant(
        "C: below zero is scaled as above",
        C_LOOKUP,
        "below.multiplier = &p->multiplier[1];",
        "below.multiplier = &p->multiplier[0];",
        C_LOOKED_UP,
    ),
    Mutant("C: a table counts no events", C_LOOKUP, "2 * found + events[HW_AT_OUTPUT]", "2 * found", C_LOOKED_UP),
)
