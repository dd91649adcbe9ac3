"""The report of hwsim.overflow: per layer what is declared, proven and seen, what can overflow, and the input that does it."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsim.arith.overflow import Overflow
from hwsim.contract.accumulator import Schedule
from hwsim.contract.mac import MacContract
from hwsim.errors import InputError
from hwsim.golden.write import network_digest
from hwsim.layers import MacLayer
from hwsim.layers.float_unit import FloatUnit
from hwsim.network.quantized import QuantizedNetwork
from hwsim.proofs.certificate import Certificate
from hwsim.proofs.seen import Seen

if TYPE_CHECKING:
    from hwsim.proofs.float_prove import FloatCertificate
    from hwsim.proofs.witness import Witness

SCHEMA = "hwsim.overflow.report/1"
HEADINGS = (
    "layer",
    "kind",
    "products",
    "declared",
    "order",
    "log2 rule",
    "proven",
    "tree",
    "spill",
    "headroom",
    "seen",
    "result",
)
OPTIONAL = ("tree", "spill", "seen")
"""Columns that are left out where no layer has anything to say in them."""


@dataclass(frozen=True, eq=False)
class Need:
    """One register: bits proven to be needed by each output channel, int64 [K], and the bits it has."""

    place: str
    bits: np.ndarray
    declared: int

    @property
    def beyond(self) -> list[int]:
        """Channels that may need more than there is."""
        return np.flatnonzero(self.bits > self.declared).tolist()

    @property
    def headroom(self) -> int:
        """Bits that no input reaches; below 0, bits that are missing."""
        return self.declared - int(self.bits.max())


@dataclass(frozen=True, eq=False)
class LayerReport:
    """One layer. certificate: None where minifloats are added; these have `floats`.  seen: None where no images were given.

    witnesses: an input for each register that can overflow: accumulator, tree, spill; none where none was looked for, or
    (searched) none was found.
    """

    name: str
    layer: MacLayer
    certificate: Certificate | None
    seen: Seen | None = None
    witnesses: tuple[Witness, ...] = ()
    searched: bool = False
    floats: FloatCertificate | None = None

    @property
    def products(self) -> int:
        """Products of one output."""
        return int(self.layer.weight[0].size)

    @property
    def needs(self) -> tuple[Need, ...]:
        """The accumulator, the levels of the tree and the spill buffer; () where minifloats are added."""
        proof = self.certificate
        if proof is None:
            return ()
        acc = proof.contract.accumulator
        found = [Need("accumulator", proof.bits, acc.bits)]
        if acc.schedule is not None:
            mode = acc.schedule.tree.overflow or Overflow.WRAP
            levels = zip(proof.tree, proof.layer.numbers.level_bits, strict=True)
            found += [Need(f"tree level {i + 1}", level.widths(mode), bits) for i, (level, bits) in enumerate(levels)]
        if proof.spill is not None:
            assert acc.schedule is not None and acc.schedule.spill is not None
            found.append(Need("spill", proof.spill.widths(acc.schedule.spill.overflow), acc.schedule.spill.bits))
        return tuple(found)

    @property
    def safe(self) -> bool:
        """Whether no register can overflow, whatever the input."""
        if self.floats is not None:
            return bool(self.floats.safe.all())
        return self.certificate is not None and not any(need.beyond for need in self.needs)

    @property
    def bits(self) -> np.ndarray | None:
        """The accumulator that each output channel needs, int64 [K]; None for a register of minifloats."""
        if self.certificate is not None:
            return self.certificate.bits
        return None if self.floats is None else self.floats.bits

    @property
    def declared_bits(self) -> int:
        """The accumulator that is declared; of an exact sum of minifloats, the one that the formats ask for."""
        proof = self.floats if self.certificate is None else self.certificate
        return 0 if proof is None else proof.declared_bits

    @property
    def headroom(self) -> int | None:
        """Bits of the declared accumulator that no input reaches; below 0, bits that are missing; None where none is in bits."""
        return None if self.bits is None else self.declared_bits - int(self.bits.max())

    @property
    def proven(self) -> str:
        """The proven width: of the narrowest and of the widest channel; at most, where a bound was not shown to be reached."""
        proof, bits = self.certificate, self.bits
        if bits is None:
            return ""
        low, high = int(bits.min()), int(bits.max())
        most = "" if proof is None or proof.tight[bits == high].any() else "at most "
        return f"{most}{high}" if low == high else f"{most}{low}..{high}"

    @property
    def result(self) -> str:
        """In words: safe, or which registers can overflow in how many channels."""
        if self.certificate is None:
            return "not proven" if self.floats is None else float_words(self.floats)
        if self.safe:
            return "safe"
        told = ", ".join(f"{n.place} in {len(n.beyond)} of {len(n.bits)} channels" for n in self.needs if n.beyond)
        return f"{'can overflow' if self.certain else 'not proven'}: {told}"

    @property
    def certain(self) -> bool:
        """Whether an overflow is more than a bound that may be too wide: a witness is at hand, or the bound is reached."""
        if self.witnesses:
            return True
        assert self.certificate is not None
        return any(bool(self.certificate.tight[need.beyond].any()) for need in self.needs if need.beyond)

    def row(self) -> dict[str, str]:
        """The line of the table, by heading."""
        proof, room = self.certificate, self.headroom
        return {
            "layer": self.name,
            "kind": self.layer.kind,
            "products": str(self.products),
            "declared": declared(self.layer),
            "order": order(self.layer),
            "log2 rule": "" if proof is None else str(proof.rule_bits),
            "proven": self.proven,
            "tree": self._least_room("tree"),
            "spill": self._least_room("spill"),
            "headroom": "" if room is None else f"{room:+d}".replace("+0", "0"),
            "seen": "" if self.seen is None else str(self.seen.bits),
            "result": self.result,
        }

    def _least_room(self, place: str) -> str:
        """Proven of declared bits, of the level with the least headroom."""
        needs = [need for need in self.needs if need.place.startswith(place)]
        if not needs:
            return ""
        worst = min(needs, key=lambda need: need.headroom)
        return f"{int(worst.bits.max())} of {worst.declared}"

    def remarks(self) -> Iterator[str]:
        """Lines below the table: the witness, or why there is none; and why a bound may be too wide."""
        yield from (f"{self.name}: {witness_line(witness)}" for witness in self.witnesses)
        found = {witness.place for witness in self.witnesses}
        for place in dict.fromkeys(need.place.split()[0] for need in self.needs if need.beyond):
            if self.searched and place not in found:
                yield f"{self.name}: no input that overflows the {place} was found; that there is none is not proven."
        proof = self.floats if self.certificate is None else self.certificate
        if proof is not None and proof.reason is not None:
            yield f"{self.name}: what is proven may be too wide: {proof.reason}."

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        proof = self.certificate
        return {
            "name": self.name,
            "kind": self.layer.kind,
            "products": self.products,
            "declared": declared(self.layer),
            "order": order(self.layer),
            "registers": [
                {
                    "place": need.place,
                    "declared_bits": need.declared,
                    "proven_bits": int(need.bits.max()),
                    "headroom": need.headroom,
                    "channels_beyond": need.beyond,
                }
                for need in self.needs
            ],
            "safe": self.safe,
            "result": self.result,
            "certificate": None if proof is None else proof.to_json(),
            "float_certificate": None if self.floats is None else _float_json(self.floats),
            "seen": None if self.seen is None else self.seen.to_json(),
            "witnesses": [witness_json(witness) for witness in self.witnesses],
        }


def witness_line(witness: Witness) -> str:
    """The witness in a line: where, when, by how many entries, what kind of overflow, and what becomes of the output."""
    step = "at the end" if witness.step is None else f"in step {witness.step}"
    fewest = ", no fewer will do" if witness.fewest else ""
    return (
        f"the {witness.place} of output (n, k, y, x) = {witness.at} is asked for {witness.asked:,} {step}, "
        f"by {witness.nonzeros} non-zero inputs{fewest}; {witness.kind}; {_shown(witness)}."
    )


def _shown(witness: Witness) -> str:
    """What becomes of the output, here or on another input; or why nothing does."""
    found = witness.visible
    if found is None:
        return witness.verdict
    same = np.array_equal(found.inputs, witness.inputs)
    where = "the output code is" if same else f"another input, with {found.nonzeros} non-zero entries, gives"
    return f"{where} {found.code}, and {found.wide_code} with room"


def witness_json(witness: Witness) -> dict[str, Any]:
    """The witness as plain data; of its input the entries that are not the zero point, as [c, y, x, code]."""
    zero = witness.layer.pad_code
    image = witness.inputs[0]
    told: dict[str, Any] = {
        "place": witness.place,
        "at": list(witness.at),
        "step": witness.step,
        "asked": witness.asked,
        "kind": witness.kind,
        "nonzeros": witness.nonzeros,
        "fewest": witness.fewest,
        "acc": witness.acc,
        "code": witness.code,
        "wide_acc": witness.wide_acc,
        "wide_code": witness.wide_code,
        "verdict": witness.verdict,
        "reason": witness.reason,
        "inputs": [[*place, int(image[tuple(place)])] for place in np.argwhere(image != zero).tolist()],
    }
    for name, more in (("visible", witness.visible), ("other", witness.other)):
        told[name] = None if more is None else witness_json(more)
    return told


def declared(layer: MacLayer) -> str:
    """The declared accumulator in two words."""
    if isinstance(layer.contract, MacContract):
        acc = layer.contract.accumulator
        return f"{acc.bits} {acc.overflow.name.lower()}"
    unit = layer.unit
    assert isinstance(unit, FloatUnit)
    return f"{unit.register.bits} exact" if unit.accumulator is None else str(unit.accumulator.format)


def order(layer: MacLayer) -> str:
    """The declared order in a word: of the axes, slowest first, and how many lanes along which."""
    acc = layer.contract.accumulator
    schedule: Schedule | None = getattr(acc, "schedule", None)
    if schedule is None:
        return "none"
    lanes = f" x{schedule.lanes}{schedule.lane_axis.name.lower()}" if schedule.lanes > 1 else ""
    return f"{schedule.order.name.lower()}{lanes}"


def _float_json(proof: FloatCertificate) -> dict[str, Any]:
    """The certificate as plain data, its ends as text, since they have any number of digits: 3 * 2**-4 is "3*2**-4"."""
    ends = {end: [f"{numerator}*2**{power}" for numerator, power in proof.to_json()[end]] for end in ("low", "high")}
    return proof.to_json() | ends


def float_words(proof: FloatCertificate) -> str:
    """What is said of a layer that adds minifloats."""
    if proof.headroom is None:
        return "safe: an exact sum"
    if proof.safe.all():
        return f"safe: {int(proof.headroom.min())} binades below the largest number"
    beyond = f"accumulator in {int((~proof.safe).sum())} of {len(proof.safe)} channels"
    return f"{'can overflow' if proof.tight else 'not proven'}: {beyond}"


@dataclass(frozen=True, eq=False)
class OverflowReport:
    """The layers of a network that accumulate. Printed: its table.

    ranges: "format" or "network", which codes the layers were proven for.  seconds: that the proofs took.
    """

    network: QuantizedNetwork
    ranges: str
    layers: tuple[LayerReport, ...]
    seconds: float

    def __getitem__(self, name: str) -> LayerReport:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise InputError(f"the report has no layer {name!r}; it has {', '.join(layer.name for layer in self.layers)}.")

    def __iter__(self) -> Iterator[LayerReport]:
        return iter(self.layers)

    @property
    def safe(self) -> bool:
        """Whether every accumulator is proven to hold every sum."""
        return all(layer.safe for layer in self.layers)

    @property
    def images(self) -> int:
        """On how many images ranges were seen."""
        return max((layer.seen.images for layer in self.layers if layer.seen is not None), default=0)

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Return (headings, rows)."""
        rows = [layer.row() for layer in self.layers]
        shown = tuple(h for h in HEADINGS if h not in OPTIONAL or any(row[h] for row in rows))
        return shown, [tuple(row[h] for h in shown) for row in rows]

    def summary(self) -> str:
        """One line: how many layers are safe, and the accumulator that would serve all."""
        count = sum(layer.safe for layer in self.layers)
        bits = [int(layer.bits.max()) for layer in self.layers if layer.bits is not None]
        rules = [layer.certificate.rule_bits for layer in self.layers if layer.certificate is not None]
        told = f"{count} of {len(self.layers)} layers are proven safe"
        if bits:
            told += f"; {max(bits)} bits would serve all"
        if rules:
            told += f", the log2 rule asks for {max(rules)}"
        return f"{told}."

    def remarks(self) -> list[str]:
        """Lines below the table."""
        return [line for layer in self.layers for line in layer.remarks()]

    def title(self) -> str:
        """What was asked."""
        inputs = "any code of the input formats" if self.ranges == "format" else "codes that some image could send there"
        images = f"; seen: {self.images} images" if self.images else ""
        return f"{self.network.name}: accumulators, proven for {inputs}{images}"

    def __str__(self) -> str:
        headings, rows = self.table()
        widths = [max(len(row[i]) for row in (headings, *rows)) for i in range(len(headings))]
        lines = ("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in (headings, *rows))
        return "\n".join([self.title(), *lines, *self.remarks(), self.summary()])

    def __repr__(self) -> str:
        return f"<OverflowReport of {self.network.name!r}: {self.summary()}>"

    def _repr_html_(self) -> str:
        headings, rows = self.table()
        body = "".join(
            "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"
            for tag, row in [("th", headings), *(("td", row) for row in rows)]
        )
        told = "<br>".join(html.escape(line) for line in [*self.remarks(), self.summary()])
        return f"<p>{html.escape(self.title())}</p><table>{body}</table><p>{told}</p>"

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data: certificates that `verify` reads, what was seen, and witnesses."""
        return {
            "schema": SCHEMA,
            "network": self.network.name,
            "network_sha256": digest(self.network),
            "ranges": self.ranges,
            "images": self.images,
            "safe": self.safe,
            "seconds": self.seconds,
            "layers": [layer.to_json() for layer in self.layers],
        }

    def write(self, path: str | os.PathLike[str], force: bool = False) -> Path:
        """Write the report as JSON, for hwsim.verify_certificates and for whoever keeps records; return its path."""
        from hwsim.proofs.stored import write_report

        return write_report(self, path, force)

    def write_witnesses(self, path: str | os.PathLike[str], force: bool = False) -> Path:
        """Write a folder with the report and a golden package for each witness; return its path."""
        from hwsim.proofs.stored import write_witnesses

        return write_witnesses(self, path, force)

    def plot(self, file: str | os.PathLike[str] | None = None, force: bool = False) -> Any:
        """Draw each layer's headroom; return the figure, save it if a file is named."""
        from hwsim.proofs.picture import draw

        return draw(self, file, force)


def digest(network: QuantizedNetwork) -> str:
    """sha256 of everything in the network that settles a bit."""
    return network_digest([(node.name, node.inputs, node.layer) for node in network])
