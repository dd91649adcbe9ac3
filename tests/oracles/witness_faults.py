"""Faults of tests/oracles/mutants.py in the search for witnesses: limits, steps, directions, and claims that nothing backs."""

from __future__ import annotations

from faults import Mutant

BY_HAND = ("tests/proofs/test_witness.py",)
ALL = (*BY_HAND, "tests/proofs/test_witness_runs.py", "tests/proofs/test_witness_small.py")
SITE, MACHINE, ENDINGS = "hwsim/proofs/site.py", "hwsim/proofs/machine.py", "hwsim/proofs/endings.py"
FEWEST, PEAKS, VISIBLE = "hwsim/proofs/fewest.py", "hwsim/proofs/peaks.py", "hwsim/proofs/visible.py"
HARMLESS, SEARCH, WITNESS = "hwsim/proofs/harmless.py", "hwsim/proofs/search.py", "hwsim/proofs/witness.py"
REFERENCE = "hwsim/proofs/reference.py"

WITNESS_FAULTS = (
    Mutant(
        "the bound counts a sum that only meets the limit",
        FEWEST,
        "        if total > room:\n",
        "        if total >= room:\n",
        ALL,
    ),
    Mutant("the bound ignores the bias that is loaded", FEWEST, "start = sign * (0 if w", "start = 0 * (0 if w", ALL),
    Mutant("the bound ignores the bias that comes last", FEWEST, "limit -= max(0, sign * machine.bias)", "limit -= 0", ALL),
    Mutant(
        "the bound takes the upper limit for both sides",
        FEWEST,
        "limit = machine.limits[1] if up else",
        "limit = machine.limits[1] if 1 else",
        ALL,
    ),
    Mutant("the bound rounds shares down", FEWEST, "-(-value >> shift)", "(value >> shift)", ALL),
    Mutant("the bound takes small shares first", FEWEST, "if use), reverse=True)", "if use))", ALL),
    Mutant(
        "a tree's node takes small products first",
        FEWEST,
        "(-np.sort(-size, axis=1))",
        "np.sort(size, axis=1)",
        ALL,
    ),
    Mutant(
        "a tree's level takes its neighbour's limit",
        FEWEST,
        "room = (high if up else -low) - np",
        "room = (2 * high if up else -low) - np",
        ALL,
    ),
    Mutant(
        "halves are paired as neighbours",
        FEWEST,
        "if pairing is Pairing.ADJACENT else (i, i + half)",
        "if pairing is not None else (i, i + half)",
        ALL,
    ),
    Mutant(
        "no direction but up",
        SEARCH,
        "    for up in (True, False):\n        found, bound",
        "    for up in (True,):\n        found, bound",
        ALL,
    ),
    Mutant(
        "the first site speaks for all",
        SEARCH,
        "in sites(layer, proof.shape, proof.inputs, k)]",
        "in list(sites(layer, proof.shape, proof.inputs, k))[:1]]",
        BY_HAND,
    ),
    Mutant(
        "the other kind is the same kind",
        SEARCH,
        "other = kinds[not persistent].settled",
        "other = kinds[persistent].settled",
        ALL,
    ),
    Mutant(
        "padding is read",
        SITE,
        "np.where(pixels < 0, layer.pad_code, end[channels])",
        "np.where(pixels < -1, layer.pad_code, end[channels])",
        ALL,
    ),
    Mutant("the zero point is 0", SITE, "return self.layer.pad_code", "return 0", ALL),
    Mutant(
        "the whole format is read",
        SITE,
        "for end in (inputs.low, inputs.high))",
        "for end in (inputs.low * 0 + layer.contract.input.low, inputs.high))",
        ALL,
    ),
    Mutant(
        "every pixel holds the first code",
        SITE,
        "flat[self.pixels[~self.padded]] = codes[~self.padded]",
        "flat[self.pixels[~self.padded]] = codes[~self.padded][0]",
        ALL,
    ),
    Mutant(
        "steps are counted from 1",
        WITNESS,
        "step = count if row.step is None else row.step",
        "step = count if row.step is None else row.step + 1",
        ALL,
    ),
    Mutant(
        "a late bias is the last tap's step",
        WITNESS,
        "step = count if row.step is None",
        "step = count - 1 if row.step is None",
        ALL,
    ),
    Mutant(
        "the last event is named", WITNESS, "row = next(row for row in rows if", "row = next(row for row in rows[::-1] if", ALL
    ),
    Mutant(
        "an order where none is declared", WITNESS, "return (None if w is None else step), _asked", "return step, _asked", ALL
    ),
    Mutant(
        "the spill buffer is asked on the accumulator's grid",
        WITNESS,
        "round_shift(int(row.before), w.spill_shift, w.spill_rounding)",
        "row.before",
        ALL,
    ),
    Mutant(
        "the wide accumulator is the narrow one",
        REFERENCE,
        "with_width(certificate.layer, certificate.layer_bits)",
        "certificate.layer",
        ALL,
    ),
    Mutant(
        "a wide tree keeps its levels",
        REFERENCE,
        "replace(schedule.tree, bits=None, overflow=None)",
        "replace(schedule.tree)",
        ALL,
    ),
    Mutant(
        "a trap saturates in the package",
        REFERENCE,
        "return Overflow.WRAP if overflow",
        "return Overflow.SATURATE if overflow",
        ALL,
    ),
    Mutant("the late bias is left out of the states", ENDINGS, "    if not w.bias_last:\n", "    if w.bias_last < 2:\n", ALL),
    Mutant("the dearest way to a state is kept", ENDINGS, "after[reached][0] > cost", "after[reached][0] < cost", ALL),
    Mutant(
        "the spill is forgotten in the states",
        ENDINGS,
        "    if spills:\n        acc, spilled",
        "    if spills and False:\n        acc, spilled",
        ALL,
    ),
    Mutant("a trap elsewhere is no obstacle", ENDINGS, "state.traps or o.traps or trapped or stopped", "False", ALL),
    Mutant("every end fits, whatever its bias", HARMLESS, "last = [machine.bias] if", "last = [0] if", ALL),
    Mutant("the steps behind a clip are forgotten", HARMLESS, "        rest += amount\n", "        rest += 0\n", ALL),
    Mutant(
        "one clip's side speaks for both",
        HARMLESS,
        "        if not clips:\n            continue\n",
        "        if not clips or sign < 0:\n            continue\n",
        ALL,
    ),
    Mutant(
        "a wrapping output keeps one bit less",
        HARMLESS,
        "return max(e.bits + shift, 1)",
        "return max(e.bits + shift - 1, 1)",
        ALL,
    ),
    Mutant(
        "a constant is told from one end",
        HARMLESS,
        "if code == machine.code(high)[0] else None",
        "if code == code else None",
        ALL,
    ),
    Mutant(
        "the way back is too short",
        VISIBLE,
        "peaks.limit + peaks.last - first + 1)",
        "peaks.limit + peaks.last - first - 200)",
        ALL,
    ),
    Mutant(
        "a register's own events do not matter", VISIBLE, "if not ours.events[self.place] or ours.traps:", "if ours.traps:", ALL
    ),
    Mutant(
        "the peak stands beyond its way back", PEAKS, "(self.falling[1], steps > step)", "(self.falling[1], steps <= step)", ALL
    ),
    Mutant(
        "a buffer clips nothing of what is wide",
        HARMLESS,
        "Place.ACCUMULATOR and wide.spill_is_harmless else",
        "Place.ACCUMULATOR else",
        ALL,
    ),
    Mutant(
        "an accumulator that wraps hides nothing",
        FEWEST,
        "w.overflow in CLIPS and machine.tree_is_monotone",
        "machine.tree_is_monotone",
        ALL,
    ),
    Mutant(
        "an output that wraps is monotone",
        MACHINE,
        "return e.overflow in CLIPS or not",
        "return e.overflow is not None or not",
        ALL,
    ),
)
