"""Reports on disk: written whole or not at all, and certificates from a file checked again against a network."""

from __future__ import annotations

import html
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsim.errors import InputError, ProofError
from hwsim.golden.package import slug
from hwsim.layers import MacLayer
from hwsim.network.files import refuse_name, write_whole
from hwsim.network.quantized import QuantizedNetwork
from hwsim.network.storage import writing_directory
from hwsim.network.strict import Fields, parse_json, read_json, short
from hwsim.proofs.certificate import InputRange
from hwsim.proofs.ranges import network_certificates
from hwsim.proofs.report import SCHEMA, OverflowReport, digest
from hwsim.proofs.seen import in_integers
from hwsim.proofs.verify import verify

if TYPE_CHECKING:
    from hwsim.proofs.witness import Witness

LIMIT = 32 << 20
"""Bytes of a report: SqueezeNet's has 0.3 MB."""
INDEX = "overflow.json"
"""Of a folder of witnesses: the report that they belong to."""


def refuse(path: str | os.PathLike[str], force: bool = False) -> None:
    """Raise InputError where a report cannot be written under this name: before the work."""
    refuse_name(path, ".json", force)


def write_report(report: OverflowReport, path: str | os.PathLike[str], force: bool = False) -> Path:
    """Write the report as JSON; return its path. The file appears whole under its name, or not at all.

    Errors: InputError where it exists (force replaces it) or the disk refuses.
    """
    refuse(path, force)
    return write_whole(path, _bytes(report), force)


def _bytes(report: OverflowReport) -> bytes:
    return (json.dumps(report.to_json(), sort_keys=True, allow_nan=False) + "\n").encode("ascii")


def write_witnesses(report: OverflowReport, path: str | os.PathLike[str], force: bool = False) -> Path:
    """Write a folder with the report and, for each witness, its golden package NNN_layer_place; return its path.

    Where another input makes an output differ, its package is NNN_layer_place_visible; where another overflows the other
    way, NNN_layer_place_transient or NNN_layer_place_persistent.
    Errors: InputError where the folder exists (force replaces one that holds a report) or the disk refuses.
    """
    path = Path(path)
    with writing_directory(path, force, INDEX) as folder:
        for i, layer in enumerate(report.layers):
            for witness in layer.witnesses:
                for suffix, each in _inputs(witness).items():
                    each.write(folder / f"{slug(i, layer.name)}_{witness.place}{suffix}")
        (folder / INDEX).write_bytes(_bytes(report))
    return path


def _inputs(witness: Witness) -> dict[str, Witness]:
    """The inputs of a witness that differ: itself, the one that an output shows, and the one of the other kind."""
    found = {"": witness}
    more = {"_visible": witness.visible} if witness.visible is not None else {}
    more |= {f"_{witness.other.kind}": witness.other} if witness.other is not None else {}
    for suffix, each in more.items():
        if not any(np.array_equal(each.inputs, known.inputs) for known in found.values()):
            found[suffix] = each
    return found


@dataclass(frozen=True)
class Checked:
    """One certificate, checked again. bits: claimed for the widest channel; None where the claim is refuted.

    declared: of the layer.  refuted: why, or None.  unproven: channels for which it could not be confirmed that the claimed
    registers hold every sum, as sentences.  unreached: those for which they do, but not confirmed that no fewer bits do.
    """

    name: str
    bits: int | None
    declared: int
    refuted: str | None = None
    unproven: tuple[str, ...] = ()
    unreached: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether every register was proven again to hold every sum."""
        return self.refuted is None and not self.unproven

    @property
    def result(self) -> str:
        """In words."""
        if self.refuted is not None:
            return f"refuted: {self.refuted}"
        if self.unproven:
            return f"not checked in {len(self.unproven)} channels: {self.unproven[0]}"
        room = "" if self.bits is None or self.bits <= self.declared else "; the declared accumulator can overflow"
        doubt = f"; not checked in {len(self.unreached)} channels that no fewer bits do" if self.unreached else ""
        return f"holds{room}{doubt}"


@dataclass(frozen=True)
class Verification:
    """What came of a file's certificates. missing: integer layers of the network that it has none of."""

    network: str
    layers: tuple[Checked, ...]
    missing: tuple[str, ...]
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether every certificate was proven again, and there was one: minifloats have none."""
        return bool(self.layers) and all(layer.holds for layer in self.layers)

    @property
    def safe(self) -> bool:
        """Whether every layer of the network has a certificate that holds, and an accumulator as wide as it says."""
        return not self.missing and all(
            layer.holds and layer.bits is not None and layer.bits <= layer.declared for layer in self.layers
        )

    def rows(self) -> list[tuple[str, ...]]:
        """Lines of the table."""
        return [(each.name, "" if each.bits is None else str(each.bits), str(each.declared), each.result) for each in self.layers]

    def summary(self) -> str:
        """One line."""
        count = sum(layer.holds for layer in self.layers)
        missing = f"; without a certificate: {', '.join(self.missing)}" if self.missing else ""
        return f"{count} of {len(self.layers)} certificates hold{missing}."

    def __str__(self) -> str:
        rows = [("layer", "proven", "declared", "result"), *self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = ("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
        return "\n".join([f"{self.network}: certificates, checked again", *lines, self.summary()])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        layers = [
            {
                "name": each.name,
                "proven_bits": each.bits,
                "declared_bits": each.declared,
                "refuted": each.refuted,
                "holds": each.holds,
                "unproven": list(each.unproven),
                "unreached": list(each.unreached),
            }
            for each in self.layers
        ]
        told = {"network": self.network, "holds": self.holds, "safe": self.safe, "missing": list(self.missing)}
        return told | {"layers": layers, "seconds": self.seconds}


def verify_report(source: str | os.PathLike[str] | Mapping[str, Any], network: QuantizedNetwork) -> Verification:
    """Check every certificate of a report against the network; nothing else that stands in it is believed.

    source: a file that OverflowReport.write wrote, or its to_json().  A certificate for less than the whole input format
    holds if no image can leave its range, which is proven here again.
    Errors: InputError for what is no report, or one of another network.
    """
    start = time.perf_counter()
    path = "report" if isinstance(source, Mapping) else str(source)
    fields = Fields(_plain(source) if isinstance(source, Mapping) else read_json(source, LIMIT), path)
    if fields.any("schema") != SCHEMA:
        raise InputError(f"{path}: this is no report that `hwsim overflow --out` writes (schema {SCHEMA}); write it again.")
    if fields.any("network_sha256") != digest(network):
        raise InputError(
            f"{path}: it is of another network than {network.name!r} as it is now: other layers, contracts or weights; "
            "write it again with --out."
        )
    checker = _Checker(network, path)
    entries = fields.objects("layers")
    if not entries and network.mac_nodes:
        raise InputError(f"{path}, layers: found none, so that nothing is proven; write the report again.")
    found = tuple(each for entry in entries if (each := checker.check(entry)) is not None)
    known = {each.name for each in found}
    missing = tuple(node.name for node in network.mac_nodes if node.name not in known)
    return Verification(network.name, found, missing, time.perf_counter() - start)


def _plain(source: Mapping[str, Any]) -> Any:
    """The data as a file would give them."""
    try:
        return parse_json(json.dumps(source).encode("ascii"), "report")
    except (TypeError, ValueError) as error:
        raise InputError(f"report: these are no plain data ({error}); give what to_json() returns.") from None


class _Checker:
    """Checks certificates against the layers of one network, each layer once."""

    def __init__(self, network: QuantizedNetwork, where: str) -> None:
        self.network, self.where, self.shapes = network, where, network.shapes()
        self.names: set[str] = set()
        self._reachable: dict[str, InputRange] | None = None

    def check(self, entry: object) -> Checked | None:
        """Check one entry of a report; None where it has no certificate."""
        fields = Fields(entry, f"{self.where}, layers")
        name, data = fields.text("name", 4096), fields.any("certificate")
        if name in self.names:
            raise InputError(f"{self.where}: the layer {name!r} stands there twice; write the report again.")
        self.names.add(name)
        if name not in self.shapes:
            raise InputError(f"{self.where}: it names a layer {short(name)}, which the network does not have; write it again.")
        node = self.network[name]
        if not in_integers(node):
            if data is None:
                return None
            raise InputError(f"{self.where}: a certificate of layer {name!r}, which adds no integers; write the report again.")
        if data is None:
            raise InputError(f"{self.where}: layer {name!r} adds integers, found no certificate of it; write the report again.")
        assert isinstance(node.layer, MacLayer)
        declared = node.layer.numbers.acc_bits
        try:
            verdict = verify(data, node.layer, self.where)
        except ProofError as error:
            return Checked(name, None, declared, str(error))
        if verdict.name != name:
            raise InputError(f"{self.where}: found the certificate of {short(verdict.name)} at {name!r}; write the report again.")
        found = Checked(name, max(data["accumulator"]["bits"]), declared, None, verdict.unproven, verdict.unreached)
        shape = list(self.shapes[node.inputs[0]])
        if data["input_shape"] != shape:
            return _refuted(found, f"it is for inputs of shape {data['input_shape']}, the layer reads {shape}.")
        if not self._covers(name, node.layer, data["input_range"]):
            return _refuted(found, "some image sends codes to the layer that lie outside its input_range.")
        return found

    def _covers(self, name: str, layer: MacLayer, given: dict[str, list[int]]) -> bool:
        """Whether no image can leave the range that was proven."""
        low, high, fmt = np.array(given["low"]), np.array(given["high"]), layer.input_formats[0]
        if (low <= fmt.low).all() and (high >= fmt.high).all():
            return True
        if self._reachable is None:
            self._reachable = {name: proof.inputs for name, proof in network_certificates(self.network).items()}
        codes = self._reachable[name]
        return bool((low <= codes.low).all() and (high >= codes.high).all())


def _refuted(found: Checked, why: str) -> Checked:
    return replace(found, bits=None, refuted=why)
