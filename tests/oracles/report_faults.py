"""The faults of tests/oracles/mutants.py in the report on overflow: what is seen, told, kept, checked again and drawn."""

from __future__ import annotations

from faults import Mutant

SEEN, SEEING = "hwsim/proofs/seen.py", ("tests/proofs/test_seen.py",)
REPORT, STORED, PICTURE = "hwsim/proofs/report.py", "hwsim/proofs/stored.py", "hwsim/proofs/picture.py"
ASKED, TOLD = "hwsim/proofs/overflow.py", ("tests/proofs/test_report.py",)
COMMAND, COMMANDS = "hwsim/cli/overflow.py", ("tests/cli/test_overflow.py",)
RANGES, SENT = "hwsim/proofs/ranges.py", ("tests/proofs/test_ranges.py",)

REPORT_FAULTS = (
    Mutant(
        "partial sums are not watched",
        SEEN,
        "self.acc.schedule is not None and self._overflows",
        "False and self._overflows",
        SEEING,
    ),
    Mutant("a width that overflows is taken", SEEN, "counted.accumulator > 0", "counted.accumulator > 1", SEEING),
    Mutant("widths go up by two", SEEN, "self._widen(self.bits + 1)", "self._widen(self.bits + 2)", SEEING),
    Mutant(
        "a kernel outlives its batch's width",
        SEEN,
        "self._widen(max(self.bits, self.end_bits))",
        "self.bits = max(self.bits, self.end_bits)",
        SEEING,
    ),
    Mutant("biases are forgotten", SEEN, "width_for(min(biases), max(biases), self.acc.overflow)", "2", SEEING),
    Mutant("only the last batch is seen", SEEN, "np.minimum(self.low, ends.min(axis=0))", "ends.min(axis=0)", SEEING),
    Mutant("empty places of a batch are images", SEEN, "plan = Plan(network, backend, len(pixels))", "pass", SEEING),
    Mutant(
        "events of the last batch alone", SEEN, "self.events.plus(bound.step.taps.counted)", "bound.step.taps.counted", SEEING
    ),
    Mutant("multipliers keep their rule", SEEN, "self.layer if bits <= self.acc.bits else", "self.layer if True else", SEEING),
    Mutant("a trap ends the images", SEEN, "with suppress(OverflowTrap):", "with suppress(ZeroDivisionError):", SEEING),
    Mutant(
        "only accumulators must be safe",
        REPORT,
        "any(need.beyond for need in self.needs)",
        "any(n.beyond for n in self.needs[:1])",
        TOLD,
    ),
    Mutant("as wide as declared is too narrow", REPORT, "self.bits > self.declared", "self.bits >= self.declared", TOLD),
    Mutant("levels of the tree wrap", REPORT, "acc.schedule.tree.overflow or Overflow.WRAP", "Overflow.SATURATE_SYMMETRIC", TOLD),
    Mutant(
        "headroom is what is missing",
        REPORT,
        "self.declared_bits - int(self.bits.max())",
        "int(self.bits.max()) - self.declared_bits",
        TOLD,
    ),
    Mutant("empty columns stand there", REPORT, "h not in OPTIONAL or any(row[h] for row in rows)", "True", TOLD),
    Mutant("the level with most room is told", REPORT, "worst = min(needs", "worst = max(needs", TOLD),
    Mutant(
        "one witness for all registers",
        ASKED,
        "find_witness(layer.layer, proof.shape, proof, place=place)",
        "find_witness(layer.layer, proof.shape, proof)",
        TOLD,
    ),
    Mutant("ranges are the formats'", ASKED, "ranges is Ranges.NETWORK", "ranges is None", TOLD),
    Mutant(
        "any network's certificates will do",
        STORED,
        'fields.any("network_sha256") != digest(network)',
        'not fields.any("network_sha256")',
        TOLD,
    ),
    Mutant("a refuted claim holds", STORED, "return all(layer.holds for layer in self.layers)", "return True", TOLD),
    Mutant("any range will do", STORED, "if not self._covers(", "if False and not self._covers(", TOLD),
    Mutant("a range for nothing will do", STORED, "(low <= codes.low).all()", "(low <= 0).all()", TOLD),
    Mutant("any shape will do", STORED, 'data["input_shape"] != shape', 'data["input_shape"] is None', TOLD),
    Mutant("missing layers are safe", STORED, "not self.missing and all(", "all(", TOLD),
    Mutant("a layer may stand there twice", STORED, "self.names.add(name)", "self.names", TOLD),
    Mutant("a file is replaced unasked", STORED, "os.path.lexists(path) and not force", "False", TOLD),
    Mutant(
        "packages lie without their report",
        STORED,
        "(folder / INDEX).write_bytes(_bytes(report))",
        "(folder / INDEX).touch()",
        TOLD,
    ),
    Mutant("all bars are blue", PICTURE, "BLUE if layer.safe else RED\n    low", "BLUE\n    low", TOLD),
    Mutant("unsafe is fine", COMMAND, "FINE if report.safe else MISMATCH", "FINE", COMMANDS),
    Mutant("refuted is fine", COMMAND, "FINE if found.holds else MISMATCH", "FINE", COMMANDS),
    Mutant("layers are not chosen", COMMAND, "layers=names(layer)", "layers=None", COMMANDS),
    Mutant("all images are looked at", COMMAND, "limit=limit,", "limit=None,", COMMANDS),
    Mutant(
        "a layer reads its first input's codes only in name",
        RANGES,
        "prove(node.layer, shapes[node.inputs[0]], inputs[0], node.name)",
        "prove(node.layer, shapes[node.inputs[0]], None, node.name)",
        SENT,
    ),
)
