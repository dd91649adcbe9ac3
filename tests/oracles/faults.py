"""The faults of tests/oracles/mutants.py in integer units: leaves, contracts, layers, traps and the backends' Python."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One fault: in `file`, `text` (which must occur once) becomes `fault`; `tests` must fail then."""

    claim: str
    file: str
    text: str
    fault: str
    tests: tuple[str, ...]


ARITH = tuple(f"tests/arith/test_{name}.py" for name in ("overflow", "requantize", "rounding"))
LAYERS = ("tests/layers/test_spec.py",)
CONTRACT = ("tests/contract",)
FORMATS = ("tests/formats",)
JIT = ("tests/conformance/test_layers.py", "-k", "jit-1threads")
NATIVE = ("tests/conformance/test_layers.py", "-k", "native-portable-1threads")
TRAP = ("tests/conformance/test_trap.py", "-k", "spec")
ROUNDING, OVERFLOW = "hwsim/arith/rounding.py", "hwsim/arith/overflow.py"
REQUANTIZE, ACCUMULATE = "hwsim/arith/requantize.py", "hwsim/arith/accumulate.py"
WALK = ("tests/arith/test_accumulate.py",)
ORDERED, THEOREM = ("tests/layers/test_ordered.py",), ("tests/layers/test_ordered_theorem.py",)
JIT_ORDERED = ("tests/conformance/test_order_rules.py", "tests/conformance/test_ordered.py", "-k", "jit-1threads")
SCHEDULE, TRAPS, UNIT = "hwsim/contract/accumulator.py", "hwsim/backends/trap.py", "hwsim/layers/integer_unit.py"
RESOLVE, POOL, CONV = "hwsim/contract/resolve.py", "hwsim/layers/pool.py", "hwsim/layers/conv.py"

FAULTS = (
    Mutant("ties even become ties up", ROUNDING, "(q & 1 == 1))", "(q == q))", ARITH),
    Mutant("ties odd become ties even", ROUNDING, "(q & 1 == 0))", "(q & 1 == 1))", ARITH),
    Mutant("ties away forget the sign", ROUNDING, "((twice == unit) & (q >= 0))", "((twice == unit) & (q >= -1))", ARITH),
    Mutant("toward zero is floor", ROUNDING, "return (r > 0) & (q < 0)", "return (r < 0) & (q < 0)", ARITH),
    Mutant("ties down become ties up", ROUNDING, "        return twice > unit\n", "        return twice >= unit\n", ARITH),
    Mutant("a negative shift is ignored", ROUNDING, "return x << -shift", "return x", ARITH),
    Mutant("division truncates", ROUNDING, "q = x // unit", "q = int(x / unit)", ARITH),
    Mutant("wrap keeps one bit too many", OVERFLOW, "low = -(1 << (bits - 1))  #", "low = -(1 << bits)  #", ARITH),
    Mutant("unsigned wrap is signed", OVERFLOW, "return x & ((1 << bits) - 1)", "return wrap_signed(x, bits)", ARITH),
    Mutant("saturate misses the low end", OVERFLOW, "    if x < low:\n        return low\n", "", ARITH),
    Mutant("an event at the very limit", OVERFLOW, "(x <= high)\n", "(x < high)\n", ARITH),
    Mutant(
        "sum_fits adds without testing the room",
        OVERFLOW,
        "    if b >= 0:\n        if a > high - b:",
        "    if b >= 0:\n        if a + b > high:",
        ("tests/arith/test_compiled.py", "-k", "sum_fits and numba"),
    ),
    Mutant("sum_fits forgets the low end", OVERFLOW, "if a < low - b:", "if a < low - b - 1:", ARITH),
    Mutant("no wrap at the accumulator's end", ACCUMULATE, "wrap_signed(shifted + bias, bits)", "shifted + bias", ARITH),
    Mutant("events of the accumulator are not counted", ACCUMULATE, "sum_fits(shifted, bias, low, high)", "1", ARITH),
    Mutant("bias before the product shift", ACCUMULATE, "shifted = total << product_shift", "shifted = total", ARITH),
    Mutant("TRAP saturates", REQUANTIZE, "(mode == Overflow.WRAP) | (mode == Overflow.TRAP)", "mode == Overflow.WRAP", ARITH),
    Mutant(
        "ReLU before requantize is lost: same codes, other events",
        REQUANTIZE,
        "        value = max(value, 0)\n    return finish_scaled(scale_value(",
        "        stage = stage._replace(activation=Activation.RELU_AFTER_REQUANTIZE)\n    return finish_scaled(scale_value(",
        ARITH,
    ),
    Mutant("overflow before rounding", REQUANTIZE, "event = 1 - fits(rounded", "event = 1 - fits(rounded - 1", ARITH),
    Mutant(
        "the bias is aligned one bit off",
        RESOLVE,
        "contract.accumulator_length(k)\n    aligned",
        "contract.accumulator_length(k) + 1\n    aligned",
        LAYERS,
    ),
    Mutant(
        "the output shift is one off", RESOLVE, "length - output.format.fl() for", "length - output.format.fl() + 1 for", LAYERS
    ),
    Mutant(
        "the product shift is that of channel 0",
        RESOLVE,
        "contract.accumulator_length(k) - contract.product_length(k)\n    if",
        "contract.accumulator_length(k) - contract.product_length(0)\n    if",
        LAYERS,
    ),
    Mutant("a proof that forgets the bias", RESOLVE, "return low + bias, high + bias", "return low, high", CONTRACT),
    Mutant("a proof one bit too generous", RESOLVE, "and high <= n_high for", "and high <= 2 * n_high + 1 for", CONTRACT),
    Mutant("a left shift checked one bit late", RESOLVE, "bits - s > 64", "bits - s > 65", CONTRACT),
    Mutant("the product shift checked one bit late", RESOLVE, "sums[1]) >= 1 << 63", "sums[1]) >= 1 << 64", CONTRACT),
    Mutant(
        "bounds that swap the signs",
        UNIT,
        "np.minimum(*ends).clip(None, 0)",
        "np.maximum(*ends).clip(None, 0)",
        CONTRACT,
    ),
    Mutant(
        "padding one row off",
        CONV,
        "row = y * self.stride[0] - self.pad[0]",
        "row = y * self.stride[0] - self.pad[0] + 1",
        LAYERS,
    ),
    Mutant("dilation along the wrong axis", CONV, "s * self.dilation[1]", "s * self.dilation[0]", LAYERS),
    Mutant("stride along the wrong axis", CONV, "x * self.stride[1]", "x * self.stride[0]", LAYERS),
    Mutant("every group reads the first one's channels", CONV, "image[first + c]", "image[c]", LAYERS),
    Mutant("pad counts once in the output's size", CONV, "room = extent + p - d", "room = extent + p // 2 - d", LAYERS),
    Mutant(
        "the divisors' rules are swapped", POOL, "if rule == CountRule.EXCLUDE_PADDING:", "if rule == CountRule.CAFFE:", LAYERS
    ),
    Mutant(
        "Caffe's divisor forgets the padding",
        POOL,
        "shape[1 + axis] + self.after[axis]) - origin",
        "shape[1 + axis]) - origin",
        LAYERS,
    ),
    Mutant("ceil mode keeps a window outside the image", POOL, ">= extent + pad:", ">= extent + 2 * pad + kernel:", LAYERS),
    Mutant("ceil mode is floor mode", POOL, "-(-room // stride) if ceil_mode", "room // stride if ceil_mode", LAYERS),
    Mutant(
        "padding wins a maximum",
        POOL,
        "return Cell(max(codes), None, Events())",
        "return Cell(max(0, *codes), None, Events())",
        LAYERS,
    ),
    Mutant("average rounds before the grid", "hwsim/arith/average.py", "count << max(-lift, 0), stage", "count, stage", LAYERS),
    Mutant(
        "the sum aligns to the coarsest grid",
        "hwsim/layers/eltwise_sum.py",
        "return tuple(finest - f.fl() for f in self.fixed)",
        "return tuple(abs(f.fl() - finest) // 2 for f in self.fixed)",
        LAYERS,
    ),
    Mutant(
        "concat counts channels from the end", "hwsim/layers/concat.py", "k -= len(codes[n])", "k -= len(codes[n]) - 1", LAYERS
    ),
    Mutant(
        "the image's mean loses its channel", "hwsim/layers/image.py", "self.mean[k, y if full", "self.mean[0, y if full", LAYERS
    ),
    Mutant(
        "encode clips symmetrically",
        "hwsim/formats/integer.py",
        "if overflow == Overflow.SATURATE_SYMMETRIC and",
        "if overflow == Overflow.SATURATE and",
        FORMATS,
    ),
    Mutant(
        "encode_array rounds in float",
        "hwsim/formats/fixed.py",
        "integer = np.ldexp(mantissa, 53)",
        "integer = np.ldexp(mantissa.astype(np.float32), 53)",
        FORMATS,
    ),
    Mutant("jit sums in int32 always", "hwsim/backends/jit/kernels.py", "np.int32 if narrow else np.int64", "np.int32", JIT),
    Mutant("jit forgets the border's origin", "hwsim/backends/jit/kernels.py", "border[1] - self.pad[1])", "0)", JIT),
    Mutant(
        "jit mixes up the groups",
        "hwsim/backends/jit/loops.py",
        "w[r, s, c - g * per_group, ks]",
        "w[r, s, (c - g) % per_group, ks]",
        JIT,
    ),
    Mutant(
        "native is told the wrong input range",
        "hwsim/backends/native/kernels.py",
        "self.layer.contract.input.low, self.layer.contract.input.high",
        "-1, 1",
        NATIVE,
    ),
    Mutant(
        "native's acc width is always 64",
        "hwsim/backends/native/kernels.py",
        "set_output(library, conv.output, self.layer.numbers.epilogue, self.layer.numbers.acc_bits, conv.k)",
        "set_output(library, conv.output, self.layer.numbers.epilogue, 64, conv.k)",
        NATIVE,
    ),
    Mutant(
        "native wraps where it should saturate",
        "hwsim/backends/native/kernels.py",
        "overflow = 0 if e.overflow in (",
        "overflow = 0 if True or e.overflow in (",
        NATIVE,
    ),
    Mutant(
        "TRAP names the last event",
        TRAPS,
        "np.argmax(stops), stops.shape",
        "stops.size - 1 - np.argmax(stops.ravel()[::-1]), stops.shape",
        TRAP,
    ),
    Mutant("TRAP walks channels last", TRAPS, "return np.stack(outside, axis=1)", "return np.stack(outside, axis=-1)", TRAP),
    Mutant("TRAP stops at any place", TRAPS, "places if place is not Place.OUTPUT)", "Place)", TRAP),
    Mutant("saturation on the wrong side", ACCUMULATE, "(high if x > 0 else low)", "(high if acc > 0 else low)", WALK),
    Mutant("a saturated step is no event", ACCUMULATE, "(high if x > 0 else low), 1", "(high if x > 0 else low), 0", WALK),
    Mutant(
        "TRAP saturates a register",
        ACCUMULATE,
        "(overflow == Overflow.WRAP) | (overflow == Overflow.TRAP)",
        "overflow == Overflow.WRAP",
        WALK,
    ),
    Mutant("symmetric registers keep their lowest code", ACCUMULATE, "(-high if overflow ==", "(-high - 1 if overflow ==", WALK),
    Mutant(
        "halves pair like neighbours", ACCUMULATE, "b = a + 1 if pairing == Pairing.ADJACENT else i + half", "b = a + 1", WALK
    ),
    Mutant(
        "an odd lane passes around its register",
        ACCUMULATE,
        "            events += 1 - fits(total, low, high)\n            values[i] =",
        "            events += (1 - fits(total, low, high)) * (b < count)\n            values[i] =",
        WALK,
    ),
    Mutant(
        "a chain's level adds its own lane twice", ACCUMULATE, "values[0] + values[level + 1]", "values[0] + values[level]", WALK
    ),
    Mutant("packed lanes keep what is skipped", ACCUMULATE, ">= 0 and not skipped[taps[i]]:", ">= 0:", WALK),
    Mutant("a step of skipped taps is taken", ACCUMULATE, "if tap >= 0 and not skipped[tap]:", "if tap >= 0:", WALK),
    Mutant("the last packed step is lost", ACCUMULATE, "taken = (count + lanes - 1) // lanes", "taken = count // lanes", WALK),
    Mutant("the bias always comes first", ACCUMULATE, "acc = 0 if w.bias_last else bias", "acc = bias", WALK),
    Mutant("the last sum is spilled like any other", ACCUMULATE, "(w.spill_last if step + 1 == count else ", "(", WALK),
    Mutant("spills come one step early", ACCUMULATE, "(step + 1) % w.spill_every == 0", "(step + 2) % w.spill_every == 0", WALK),
    Mutant("a spill forgets to come back", ACCUMULATE, "back = kept << w.spill_shift", "back = kept", WALK),
    Mutant("what comes back never overflows", ACCUMULATE, "spilled, 1 - fits(back, w.low, w.high)", "spilled, 0", WALK),
    Mutant(
        "the endless path is not rounded where the buffer rounds",
        ACCUMULATE,
        "exact = round_shift(exact, w.spill_shift, w.spill_rounding) << w.spill_shift",
        "exact = exact",
        ORDERED,
    ),
    Mutant(
        "transient and persistent are swapped", UNIT, "(0, 0, 0) if persistent else", "(0, 0, 0) if not persistent else", ORDERED
    ),
    Mutant("lanes beyond the axis read the next tap", SCHEDULE, "along < extents[axis]", "along <= extents[axis]", ORDERED),
    Mutant("lanes stride by blocks", SCHEDULE, "grid[place] * self.lanes + grid[3]", "grid[place] + grid[3] * blocks", ORDERED),
    Mutant(
        "taps are counted (r, c, s)",
        SCHEDULE,
        "(c * extents[1] + r) * extents[2] + s",
        "(r * extents[0] + c) * extents[2] + s",
        ORDERED,
    ),
    Mutant(
        "the proof forgets a bias that helps",
        RESOLVE,
        "return low + min(bias, 0), high + max(bias, 0)",
        "return low + bias, high + bias",
        THEOREM,
    ),
    Mutant(
        "the proof forgets the spill",
        RESOLVE,
        "ranges.append((low << schedule.spill.shift",
        "ranges.count((low << schedule.spill.shift",
        THEOREM,
    ),
    Mutant(
        "the proof takes the widest register",
        RESOLVE,
        "max(low for low, _ in ranges), min(high",
        "min(low for low, _ in ranges), max(high",
        THEOREM,
    ),
    Mutant("jit's proof forgets the bias", "hwsim/backends/jit/walk.py", "+ max(bias, 0)", "+ bias", THEOREM),
    Mutant(
        "jit's proof counts A once too little",
        "hwsim/backends/jit/walk.py",
        "(total + size) >> 1",
        "(total + size - 2) >> 1",
        THEOREM,
    ),
    Mutant("jit rounds no dropped bits", "hwsim/backends/jit/walk.py", "    if drop:\n", "    if drop < 0:\n", JIT_ORDERED),
    Mutant(
        "jit reads another group's channels",
        "hwsim/backends/jit/walk.py",
        "if gathered != k // share:",
        "if gathered < 0:",
        JIT_ORDERED,
    ),
    Mutant("jit takes padding for image", "hwsim/backends/jit/walk.py", "(row < top) |", "(row < top - 1) |", JIT_ORDERED),
)
