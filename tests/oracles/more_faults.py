"""The faults of tests/oracles/mutants.py in minifloats, noise, files, schemes and the C core."""

from __future__ import annotations

from faults import Mutant

FLOAT_UNIT, EXACT = ("tests/layers/test_float_unit.py",), ("tests/arith/test_exact_sum.py",)
FLOAT_VALUES = ("tests/layers/test_float_values.py", "tests/layers/test_float_layers.py")
JIT_FLOATS = ("tests/conformance/test_floats.py", "-k", "jit-1threads")
LFSR, DRAWS = ("tests/arith/test_lfsr.py",), ("tests/contract/test_stochastic.py", "tests/contract/test_draws.py")
SPEC_DRAWS = ("tests/conformance/test_stochastic.py", "-k", "spec")
JIT_DRAWS, STANZAS = ("tests/conformance/test_stochastic.py", "-k", "jit-1threads"), ("tests/network/test_contract_stanzas.py",)
SCHEMES = ("tests/quantize/test_schemes.py", "-m", "not slow")
ONE_THREAD = ("-k", "native and not 2threads and not 3threads")
C_ORDERED = ("tests/conformance/test_order_rules.py", "tests/native/test_ordered.py", *ONE_THREAD)
C_FLOATS = ("tests/native/test_float_layers.py", "tests/conformance/test_floats.py", *ONE_THREAD)
FLOAT_WALK, FINISH, LIMBS = "hwsim/arith/float_walk.py", "hwsim/arith/float_finish.py", "hwsim/arith/exact_sum.py"
IN_FLOATS, DOUBLES = "hwsim/layers/float_unit.py", "hwsim/backends/jit/float_doubles.py"
SHIFTERS, BANK, NOISE = "hwsim/arith/lfsr.py", "hwsim/contract/draws.py", "hwsim/backends/noise.py"
KEYS, STANZA, LOWER = "hwsim/arith/float_order.py", "hwsim/network/contract_stanzas.py", "hwsim/network/lower/layers.py"
C_ORDER, C_PROVE, C_WALK = (f"native/src/{name}.c" for name in ("order", "conv_prove_new", "conv_walk"))
C_LANES, C_ROUNDED = "native/src/walk_lanes.inc", "native/src/conv_rounded.c"
C_AFFINE, C_PACK, C_STAGE = ("tests/native/test_affine_sizes.py",), "native/src/conv_pack.c", "native/src/stage.c"
C_PLAN, C_FLOAT_WALK = "native/src/float_plan.c", "native/src/float_walk.c"

MORE_FAULTS = (
    Mutant(
        "an odd float lane passes unrounded by its mode",
        FLOAT_WALK,
        "significand[i], exponent[i], kind[i], f, w.mode)\n        events",
        "significand[i], exponent[i], kind[i], f, 0)\n        events",
        FLOAT_UNIT,
    ),
    Mutant("infinity times zero is infinity", FLOAT_WALK, "2 if zero else 1", "1", FLOAT_UNIT),
    Mutant(
        "float halves pair like neighbours above the first level",
        FLOAT_WALK,
        "b = a + 1 if w.pairing == Pairing.ADJACENT else i + half",
        "b = a + 1",
        FLOAT_UNIT,
    ),
    Mutant(
        "a float bias at the end never overflows",
        FLOAT_WALK,
        "        at_accumulator += event\n    return acc",
        "    return acc",
        FLOAT_UNIT,
    ),
    Mutant(
        "what lies beyond the window is zero", FINISH, "if (significand == 0) & (beyond == 0) |", "if (significand == 0) |", EXACT
    ),
    Mutant(
        "ReLU after a cast only",
        FINISH,
        "        code = relu_float(code, of)\n",
        "        code = code\n",
        ("tests/layers/test_float_output.py",),
    ),
    Mutant("the sticky bit is lost", LIMBS, "            return window | 1\n", "            return window\n", EXACT),
    Mutant("one bit less below the fixed-point grid", LIMBS, "fractional_length) - 2, 0)", "fractional_length) - 1, 0)", EXACT),
    Mutant(
        "a float bias does not count for transients", IN_FLOATS, "exact_sum([*products, bias],", "exact_sum(products,", FLOAT_UNIT
    ),
    Mutant(
        "a bias far below the grid rounds as a half",
        IN_FLOATS,
        "significand.bit_length() + 2)",
        "significand.bit_length())",
        FLOAT_UNIT,
    ),
    Mutant("rounded products never overflow", IN_FLOATS, "at_tree += at_product", "at_tree += 0", FLOAT_UNIT),
    Mutant(
        "doubles for products wider than the register",
        DOUBLES,
        "precision, operands)) <= p and",
        "precision, operands)) <= 4 * p and",
        JIT_FLOATS,
    ),
    Mutant(
        "an overflow in doubles is seen one binade late",
        DOUBLES,
        "if peak[k] > largest:",
        "if peak[k] > 2 * largest:",
        JIT_FLOATS,
    ),
    Mutant("a fraction longer than the state has zeros above", SHIFTERS, "return state << (shift - width)", "return state", LFSR),
    Mutant(
        "noise that never decides a tie", SHIFTERS, "(q << shift) + noise) >> shift)", "(q << shift) + noise - 1) >> shift)", LFSR
    ),
    Mutant(
        "an idle tail takes no turn",
        BANK,
        "-(-extents[fastest] // self.rule.lanes)",
        "(extents[fastest] // self.rule.lanes)",
        DRAWS,
    ),
    Mutant(
        "clocks count within one image only",
        BANK,
        "steps = (first_turn + place[0]) * self.rule.clocks",
        "steps = first_turn + place[0] * self.rule.clocks",
        DRAWS,
    ),
    Mutant("what drops nothing draws", BANK, "if s > 0 or", "if s >= 0 or", DRAWS),
    Mutant(
        "every image draws like the first",
        "hwsim/layers/draws.py",
        "draws.noise(*at, first_turn)",
        "draws.noise(*at, 0)",
        SPEC_DRAWS,
    ),
    Mutant("events of the floor are counted too", NOISE, "own.events[AT_OUTPUT] = 0", "own.events[AT_OUTPUT] += 0", JIT_DRAWS),
    Mutant("flags of the floor stay", NOISE, "~np.uint8(1 << Place.OUTPUT)", "~np.uint8(0)", JIT_DRAWS),
    Mutant("both zeros are one in a maximum", KEYS, "negative * (2 * magnitude + 1)", "negative * 2 * magnitude", FLOAT_VALUES),
    Mutant("NaN is as large as its bits", KEYS, "key + is_nan(code, f) * (", "key + 0 * (", FLOAT_VALUES),
    Mutant("infinities that disagree are one of them", IN_FLOATS, "len(signs) == 2", "len(signs) == 3", FLOAT_VALUES),
    Mutant(
        "a grid that follows is written as declared",
        STANZA,
        "is not None and not grid_is_derived(contract, channels)",
        "is not None",
        STANZAS,
    ),
    Mutant("a shift-add without guard bits is exact", STANZA, "ShiftAdd(max(0, -weight.exp_min))", "ShiftAdd(0)", STANZAS),
    Mutant("an empty schedule is never written", STANZA, " == {} and replace(acc, schedule=None) == acc", " == {}", STANZAS),
    Mutant(
        "minifloats named on the way do not saturate",
        LOWER,
        "return None if named is None else replace(named, saturate=True)",
        "return named",
        SCHEMES,
    ),
    Mutant(
        "a fitted accumulator has two bits above",
        "hwsim/network/lower/mac_layers.py",
        "length = bits - 2 -",
        "length = bits - 3 -",
        SCHEMES,
    ),
    Mutant(
        "a fitted accumulator forgets the bias",
        "hwsim/network/lower/mac_layers.py",
        "0.0 if source.bias is None else float(np.abs(source.bias).max()))\n    length",
        "0.0)\n    length",
        SCHEMES,
    ),
    Mutant(
        "the C core's proof counts on the bias", C_ORDER, "(order->bias[k] < 0 ? order->bias[k] : 0)", "order->bias[k]", C_ORDERED
    ),
    Mutant(
        "the C core's proof forgets the spill",
        C_ORDER,
        "    if (w->spill_every)\n        narrow",
        "    if (w->spill_every && w->spill_shift)\n        narrow",
        C_ORDERED,
    ),
    Mutant(
        "the C core's proof forgets a step that drops bits",
        C_ORDER,
        "w->drop[k] == 0 && w->step_shift[k] >= 0",
        "w->drop[k] == 0",
        C_ORDERED,
    ),
    Mutant("the lowest weight has a magnitude in 8 bits", C_PROVE, "clamp32(2 * high - slack)", "clamp32(2 * high)", C_ORDERED),
    Mutant(
        "each output's proof counts on the bias",
        C_PROVE,
        "(hw_wide)o->node_high[k] - most",
        "(hw_wide)o->node_high[k] - o->bias[k]",
        C_ORDERED,
    ),
    Mutant(
        "lanes of 32 bits without room for a step",
        C_PROVE,
        "o->bits <= 31 && step + o->high <= INT32_MAX",
        "o->bits <= 31 && step <= INT32_MAX",
        C_ORDERED,
    ),
    Mutant("a tree holds one product", C_PROVE, "if (terms * product >", "if (product >", C_ORDERED),
    Mutant("nothing added is spilled too", C_WALK, "o->walk.spill_last && v.steps)", "o->walk.spill_last)", C_ORDERED),
    Mutant(
        "a step of skipped taps is taken in C",
        C_WALK,
        "live = live || (tap[lane] >= 0 && !skipped(v, from, tap[lane]));",
        "live = live || tap[lane] >= 0;",
        C_ORDERED,
    ),
    Mutant(
        "the proof of an output is one unit loose",
        C_LANES,
        "(middle + magnitudes[i] > most[i])",
        "(middle + magnitudes[i] - 2 > most[i])",
        C_ORDERED,
    ),
    Mutant(
        "transients leave out the lowest number",
        C_LANES,
        "exact >= low && exact <= high ? count",
        "exact > low && exact <= high ? count",
        C_ORDERED,
    ),
    Mutant("ties away are ties to zero in lanes", C_LANES, "{1, 1, 1, -1, 1}", "{1, 1, 1, 0, 1}", C_ORDERED),
    Mutant(
        "rounded lanes without room for the rounding",
        C_ROUNDED,
        "most + ((hw_wide)1 << r->right) > INT32_MAX",
        "most > INT32_MAX",
        C_ORDERED,
    ),
    Mutant(
        "the sign of a rounded product comes too late",
        C_ROUNDED,
        "negative && !unit->sign_after ?",
        "negative && unit->sign_after ?",
        C_ORDERED,
    ),
    Mutant(
        "exact sums in doubles beyond 53 bits",
        C_PLAN,
        "if (ldexp(most, x_bits) > 0x1p53 ||",
        "if (ldexp(most, x_bits) > 0x1p55 ||",
        C_FLOATS,
    ),
    Mutant("the host's sum with one bit too few", C_PLAN, "if (top - finest <= q)", "if (top - finest <= q + 2)", C_FLOATS),
    Mutant("products may reach a midpoint", C_PLAN, "&& q >= m + p + 3", "&& q >= m + p", C_FLOATS),
    Mutant("double rounding with two bits too few", C_PLAN, "q >= 2 * p + 2", "q >= 2 * p", C_FLOATS),
    Mutant("near zero all is exact", C_PLAN, "exact_near_zero || (v->lanes == 1 && f->subnormals)", "true", C_FLOATS),
    Mutant(
        "infinity times a zero weight is infinity in C",
        C_FLOAT_WALK,
        "x.kind == NOT_A_NUMBER || w.significand == 0 ?",
        "x.kind == NOT_A_NUMBER ?",
        C_FLOATS,
    ),
    Mutant(
        "a float bias does not count for transients in C",
        C_FLOAT_WALK,
        "    add_digits(&d, unpack(cell->op->bias[cell->k], f), cell->op->witness);\n",
        "",
        C_FLOATS,
    ),
    Mutant(
        "the input's zero point is forgotten",
        C_PACK,
        "shown = op->staged_offset - op->zero;",
        "shown = op->staged_offset;",
        C_AFFINE,
    ),
    Mutant(
        "weights beyond bytes are cut",
        "native/src/conv_run.c",
        "*acc += e->weight * (",
        "*acc += 0 * (",
        C_AFFINE,
    ),
    Mutant(
        "the lanes' double rounding is a single one", C_STAGE, "doubles && shift > 31 ? (int64_t)1 << 30 : 0;", "0;", C_AFFINE
    ),
    Mutant(
        "the rows of a depthwise kernel are woven upside down",
        "native/src/conv_depth.c",
        "* LANES + k % LANES) * 4 + r % 4",
        "* LANES + k % LANES) * 4 + 3 - r % 4",
        C_AFFINE,
    ),
    Mutant(
        "what a declared clamp cuts off is an event",
        "native/src/stage_bytes__avx512vnni.c",
        "above = s->clamp32_high > s->high;",
        "above = true;",
        ("tests/conformance/test_affine.py", *ONE_THREAD),
    ),
)
