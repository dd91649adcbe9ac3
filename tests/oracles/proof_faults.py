"""The faults of tests/oracles/mutants.py in the prover: intervals, sets, patterns, bounds, arrangement, widths."""

from __future__ import annotations

from faults import Mutant

PROVE = ("tests/proofs/test_prove.py",)
INTERVALS, REACHABLE, SKIPS = (f"hwsim/proofs/{name}.py" for name in ("intervals", "reachable", "skips"))
TAPS, ARRANGED, FOUND = (f"hwsim/proofs/{name}.py" for name in ("taps", "arranged", "found"))
CERTIFICATE, NARROW, LIVE, PROVER = (f"hwsim/proofs/{name}.py" for name in ("certificate", "narrow", "live", "prove"))


PHASES, FLOAT = "hwsim/proofs/phases.py", "hwsim/proofs/float_prove.py"


def fault(claim: str, file: str, text: str, planted: str) -> Mutant:
    tests = ("tests/proofs/test_float_prove.py",) if file == FLOAT else PROVE
    return Mutant(f"prover: {claim}", file, text, planted, tests)


PROOF_FAULTS = (
    fault("saturation misses the low end", INTERVALS, "np.minimum(np.maximum(end, low), high) for", "np.minimum(end, high) for"),
    fault(
        "the last sum is spilled like any other",
        INTERVALS,
        "return spill.last if step + 1 == count else (step + 1) % spill.every == 0",
        "return (step + 1) % spill.every == 0",
    ),
    fault(
        "a bias that comes last is loaded, too",
        INTERVALS,
        "return self.bias * 0 if self.schedule.bias is BiasPoint.LAST else self.bias",
        "return self.bias",
    ),
    fault(
        "a bias that comes last is lost",
        INTERVALS,
        "return self.bias if self.schedule.bias is BiasPoint.LAST else self.bias * 0",
        "return self.bias * 0",
    ),
    fault(
        "halves pair like neighbours",
        INTERVALS,
        "return list(range(half)), list(range(half, count)), []",
        "return list(range(0, count, 2)), list(range(1, count, 2)), []",
    ),
    fault(
        "a chain begins with its last lane",
        INTERVALS,
        "return [0], [1], list(range(2, count))",
        "return [0], [count - 1], list(range(1, count - 1))",
    ),
    fault(
        "what comes back from the buffer is not asked of the accumulator",
        INTERVALS,
        "asked = Interval(np.minimum(asked.low, now.low), np.maximum(asked.high, now.high))",
        "asked = Interval(asked.low, asked.high)",
    ),
    fault(
        "every step is rounded down",
        INTERVALS,
        "round_shift(values[shift == s], -s, rounding)",
        "round_shift(values[shift == s], -s, 0)",
    ),
    fault("sums of 64 bits wrap in int64", INTERVALS, "SAFE = 1 << 62", "SAFE = 1 << 80"),
    fault(
        "a register that wraps is taken for one that holds its interval",
        INTERVALS,
        "beyond = np.asarray((asked.low < low) | (asked.high > high), dtype=bool)",
        "beyond = np.asarray((asked.low < low) & (asked.high > high), dtype=bool)",
    ),
    fault(
        "products are taken to grow with the code",
        TAPS,
        "np.minimum(at_low, at_high), np.maximum(at_low, at_high), falls",
        "at_low, at_high, falls",
    ),
    fault("a tap that is not left out may read zero", TAPS, "self.zero + 1", "self.zero"),
    fault(
        "sets hold the product of a zero that is left out",
        TAPS,
        "!= self.zero if self.nonzero else",
        "!= self.zero if False else",
    ),
    fault(
        "a tap that is left out of a step that is taken keeps its product",
        ARRANGED,
        "np.where((tables >= 0) & kept[rows[:, None, None], tables], tables, -1)",
        "tables",
    ),
    fault(
        "packed lanes keep their order's gaps",
        ARRANGED,
        "= order[places]",
        "= order[(np.cumsum(taken, axis=1) - 1)[rows, places]]",
    ),
    fault(
        "zero weights are never left out by what is read", SKIPS, "if self.schedule.skip_zeros is ZeroSkip.EITHER:", "if False:"
    ),
    fault(
        "codes below zero alone may be left out",
        SKIPS,
        "return ~self.never & (self.taps.code_low <= zero) & (self.taps.code_high >= zero)",
        "return ~self.never & (self.taps.code_low <= zero)",
    ),
    fault(
        "padding with zero in the range moves no lane",
        PROVER,
        "widest(sets) if holds_zero and not moves else",
        "widest(sets) if holds_zero else",
    ),
    fault(
        "padding adds nothing whatever the range",
        PROVER,
        "widest(sets) if holds_zero and not moves else",
        "widest(sets) if not moves else",
    ),
    fault(
        "skipped padding takes steps",
        PROVER,
        "live.taps if schedule.padded is PaddedTaps.SKIPPED else",
        "live.taps & True if False else",
    ),
    fault("the accumulator's grid is the products'", PROVER, ".astype(kind) << shift) + bias", ".astype(kind)) + bias"),
    fault("steps are counted from one", FOUND, "np.maximum(behind - 1, 0)", "behind"),
    fault("sets are thinned before a register that wraps", REACHABLE, "(v if whole else _ends(v)).tolist()", "_ends(v).tolist()"),
    fault(
        "sets forget what comes back from the buffer",
        REACHABLE,
        "low, high = min(low, content[0]), max(high, content[-1])",
        "low, high = low, high",
    ),
    fault(
        "the lowest code of a symmetric register is used",
        CERTIFICATE,
        "return bits + (low < register_low(bits, overflow))",
        "return bits",
    ),
    fault(
        "a register need not hold its bias",
        CERTIFICATE,
        "return np.maximum(self.accumulator.widths(overflow), alone)",
        "return self.accumulator.widths(overflow)",
    ),
    fault("a narrowed buffer clips the lowest code", NARROW, "Overflow.SATURATE if lacks else spill.overflow", "spill.overflow"),
    fault(
        "bounds forget that each step is rounded",
        SKIPS,
        "slack = np.where(shift < 0, count, 0)",
        "slack = np.where(shift < 0, 0, 0)",
    ),
    fault(
        "bounds forget that the buffer wraps",
        SKIPS,
        "np.where(wraps, low_end - edge, low_end)",
        "np.where(wraps, low_end, low_end)",
    ),
    fault(
        "bounds forget that a level of the tree wraps",
        SKIPS,
        "low = np.where(wrapped, held.low + again[0],",
        "low = np.where(wrapped & False, held.low + again[0],",
    ),
    fault(
        "a bias that comes last always helps",
        SKIPS,
        "ends.append(total + (worse(bias, 0) if last else bias))",
        "ends.append(total + bias)",
    ),
    fault(
        "outputs lie side by side whatever the stride",
        LIVE,
        "first = output * layer.stride[axis] - layer",
        "first = output - layer",
    ),
    fault(
        "every group reads the first one's channels",
        LIVE,
        "first = k // (layer.channels // layer.groups) * per_group",
        "first = 0 * per_group",
    ),
    fault(
        "a full buffer lets the next tap pass",
        PHASES,
        "content[:, full] = self._spilled(content[:, full], count[:, full], reached[:, full])",
        "self._spilled(content[:, full], count[:, full], reached[:, full])",
    ),
    fault("phases spill the last sum where the others do not", PHASES, "spill is not None and spill.last:", "spill is not None:"),
    fault("a tap that every input leaves out is taken", PHASES, "self.reached & ~never[:, None]", "self.reached & True"),
    fault("steps of several lanes are counted by the tap", PHASES, "counts // self.lanes - 1", "counts - 1"),
    fault("every tap may be left out", PHASES, "(never | free)[:, None] & self.reached", "self.reached & True"),
    fault(
        "a negative weight's largest product is its smallest",
        FLOAT,
        "np.where(negative, low, high))",
        "np.where(negative, high, high))",
    ),
    fault("regrouped roundings are those that were run", FLOAT, "safe &= [_holds(", "[_holds("),
    fault("the exact sum forgets its bias", FLOAT, "(low + min(b, 0), high + max(b, 0)) for", "(low, high) for"),
)
