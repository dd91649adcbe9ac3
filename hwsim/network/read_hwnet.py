"""The directory NAME.hwnet -> QuantizedNetwork. Trusts nothing: every field, file, shape and digest is checked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.contract import RangeRule
from hwsim.errors import InputError
from hwsim.formats.fixed import MAX_FRACTIONAL_LENGTH
from hwsim.layers import MacLayer, Shape
from hwsim.network.contract_stanzas import read_output
from hwsim.network.files import read_bytes
from hwsim.network.finite import not_finite
from hwsim.network.layer_stanzas import KINDS, array_fields, build, check_reads, needed_arrays
from hwsim.network.lower.plain import encoding
from hwsim.network.lower.settle import naming, settle
from hwsim.network.preprocessing import MAX_SIDE, ChannelOrder, Preprocessing
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode, Source
from hwsim.network.ranges import Calibration, Range, WeightRule
from hwsim.network.strict import Fields, checked_file, load_npy, read_json
from hwsim.network.write_hwnet import (
    FORMAT,
    MEAN_FILE,
    NETWORK_FILE,
    SCHEMA,
    WEIGHTS_FOLDER,
    codes_digest,
    contract_digests,
    sha256,
)

MAX_JSON = 1 << 24
MAX_NPY = 1 << 32
FLOATS, CODES = ("<f4",), ("|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8")
"""Types of arrays that stand in files."""


def load(path: str | os.PathLike[str]) -> QuantizedNetwork:
    """Return the network of a .hwnet directory; its codes are derived from the weights by the contracts that stand there.

    A contract edited by hand is accepted if it holds together, and its layer is listed in `edited`; the layers that read it
    follow.  Weight files may not change.  Errors: InputError, ContractError, ProofError: file, layer, field, what was
    found, what is allowed.
    """
    path = Path(path)
    if not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise InputError(f"{path}: this {found}; give the directory that `hwsim quantize --out` wrote.")
    if not (path / NETWORK_FILE).exists():
        raise InputError(f"{path}: holds no {NETWORK_FILE}, so it is no .hwnet; give one that `hwsim quantize --out` wrote.")
    return _Reader(path).network()


class _Reader:
    """One .hwnet being read: its folder and its weight files."""

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, path / NETWORK_FILE
        self.read_files: set[str] = set()
        self.file_digests: dict[str, Any] = {}

    def network(self) -> QuantizedNetwork:
        if self.file.is_symlink():
            raise InputError(f"{self.file}: is a link; a network's files are plain files, so put the file itself there.")
        top = Fields(read_json(self.file, MAX_JSON), str(self.file))
        if top.text("format") != FORMAT:
            raise InputError(f"{self.file}, format: allowed {FORMAT!r}; this is another kind of file.")
        version = top.integer("schema", 0, 1 << 30)
        if version != SCHEMA:
            raise InputError(f"{self.file}, schema: found {version}, this hwsim reads {SCHEMA}; use the hwsim that wrote it.")
        digests = top.fields("digests")
        self.file_digests = digests.items("files")
        name, dialect = top.text("name"), top.text("dialect")
        preprocessing = self._preprocessing(top.fields("preprocessing"))
        rule = _weight_rule(top.fields("weight_rule"))
        nodes = self._nodes(top.objects("nodes"), preprocessing)
        ranges = {key: _range(Fields(value, f"{self.file}: range {key!r}")) for key, value in top.items("ranges").items()}
        top.done()
        self._check_files()
        with naming(str(self.file)):
            shape = Shape(*preprocessing.shape)
            network = QuantizedNetwork(name, settle(nodes, name), shape, preprocessing, dialect, ranges, rule)
        edited = self._edited(network, digests.items("contracts"), digests.items("codes"))
        digests.done()
        return network if not edited else network.with_edited(edited)

    def _preprocessing(self, f: Fields) -> Preprocessing:
        order, size = f.choice("channel_order", ChannelOrder), f.integers("size", 1, MAX_SIDE, 2)
        mean: Any = f.any("mean")
        if isinstance(mean, str):
            if mean != MEAN_FILE:
                raise InputError(f"{f.where}, mean: found {mean!r}, allowed a list of numbers or {MEAN_FILE!r}.")
            mean = self._array(mean, (3,), f.where)
        elif not isinstance(mean, list) or not all(type(v) in (int, float) and abs(v) <= 1e30 for v in mean):
            raise InputError(f"{f.where}, mean: allowed a list of numbers, one per channel, or {MEAN_FILE!r}.")
        scale, crop = f.real("scale"), f.boolean("crop")
        f.done()
        with naming(f.where):
            return Preprocessing(order, (size[0], size[1]), tuple(mean) if isinstance(mean, list) else mean, scale, crop)

    def _nodes(self, stanzas: Sequence[Any], preprocessing: Preprocessing) -> list[QuantizedNode]:
        """The nodes in order, each with its inputs' formats; rescales before concatenations come when they are settled."""
        formats: dict[str, Any] = {}
        nodes = []
        for number, value in enumerate(stanzas):
            f = Fields(value, f"{self.file}: nodes[{number}]")
            name = f.text("name")
            f.where = f"{self.file}: layer {name!r}"
            if name in formats:
                raise InputError(f"{f.where}: this name is taken by an earlier layer; rename it.")
            node = self._node(f, name, preprocessing, formats)
            f.done()
            formats[name] = node.layer.output_format
            nodes.append(node)
        return nodes

    def _node(self, f: Fields, name: str, preprocessing: Preprocessing, formats: dict[str, Any]) -> QuantizedNode:
        kind, reads = f.text("kind"), f.texts("reads")
        for read in reads:
            if read not in formats:
                raise InputError(f"{f.where}, reads: found {read!r}, allowed the name of an earlier layer.")
        if (kind == "image_encoding") != (not formats):
            raise InputError(f"{f.where}, kind: found {kind!r}; the first layer is an image_encoding, and no other is.")
        if kind == "image_encoding":
            output = read_output(f)
            with naming(f.where):
                return QuantizedNode(name, reads, encoding(preprocessing.mean, preprocessing.scale, output))
        check_reads(kind, reads, f.where)
        source, arrays = self._arrays(f, kind)
        return QuantizedNode(name, reads, build(kind, f, [formats[read] for read in reads], arrays, source), source)

    def _arrays(self, f: Fields, kind: str) -> tuple[Source | None, dict[str, np.ndarray | None]]:
        """A layer's files: float weights, of which its codes are derived, or its codes by field."""
        names, weighted = array_fields(KINDS[kind]), issubclass(KINDS[kind], MacLayer)
        if not names or "files" not in f and not needed_arrays(KINDS[kind]):
            return None, {}
        files = f.fields("files")
        as_codes = "codes" in files and files.boolean("codes")
        wanted = [field for field in names if weighted or field in files]
        found = {field: self._file(files, field, CODES if as_codes else FLOATS) for field in wanted}
        files.done()
        if not as_codes and not weighted:
            raise InputError(f"{files.where}, codes: found none, allowed true: a {kind} is kept in codes.")
        for field in needed_arrays(KINDS[kind]):
            if found.get(field) is None:
                raise InputError(f"{files.where}, {field}: found null, allowed the name of a file.")
        if as_codes:
            return None, found
        weight = found["weight"]
        assert weight is not None  # needed_arrays
        return Source(weight, found["bias"]), {}

    def _file(self, files: Fields, field: str, types: tuple[str, ...]) -> np.ndarray | None:
        name = files.any(field)
        if name is not None and not isinstance(name, str):
            raise InputError(f"{files.where}, {field}: allowed the name of a file, or null.")
        return None if name is None else self._array(name, (1, 2, 3, 4), files.where, types)

    def _array(self, name: str, axes: tuple[int, ...], where: str, types: tuple[str, ...] = FLOATS) -> np.ndarray:
        """One file: named plainly, unchanged since it was written, of an allowed type, finite."""
        path = checked_file(self.path / WEIGHTS_FOLDER, name, where)
        if name in self.read_files:
            raise InputError(f"{where}: the file {name} is used twice; each array has a file of its own.")
        self.read_files.add(name)
        data = read_bytes(path, MAX_NPY)
        if self.file_digests.get(name) != sha256(data):
            raise InputError(f"{path}: changed since the network was written (sha256 differs); restore it, or quantize again.")
        array = load_npy(data, str(path), types, axes)
        if array.dtype.kind == "f" and (bad := not_finite(array)) is not None:
            raise InputError(f"{path}: holds a number that is not finite, {bad}; restore the file.")
        return array

    def _check_files(self) -> None:
        """Refuse arrays that no layer uses: one that somebody meant to be used must not be passed over."""
        folder = self.path / WEIGHTS_FOLDER
        found = {entry.name for entry in folder.iterdir() if entry.suffix == ".npy"} if folder.is_dir() else set()
        for name in sorted(found - self.read_files):
            raise InputError(f"{folder / name}: no layer of {NETWORK_FILE} uses this file; remove it.")
        for name in self.file_digests:
            if name not in self.read_files:
                raise InputError(f"{self.file}, digests, files: {name[:60]!r} is used by no layer; remove the entry.")

    def _edited(self, network: QuantizedNetwork, contracts: dict[str, Any], stored: dict[str, Any]) -> tuple[str, ...]:
        """Names of the layers whose contract is not the one that was written; the codes of the others must be the same."""
        now = contract_digests(network)
        edited = tuple(name for name in now if contracts.get(name) != now[name])
        for node in network.nodes:
            if node.name in edited or not isinstance(node.layer, MacLayer):
                continue
            if stored.get(node.name) != codes_digest(node.layer):
                raise InputError(
                    f"{self.file}, digests, codes: layer {node.name!r} has other codes than when it was written, under the same "
                    "contract; restore the file and its weights, or quantize again."
                )
        return edited


def _weight_rule(f: Fields) -> WeightRule:
    rule, method, per_channel = f.choice("rule", RangeRule), f.choice("method", Calibration), f.boolean("per_channel")
    f.done()
    with naming(f.where):
        return WeightRule(rule, method, per_channel)


def _range(f: Fields) -> Range:
    low, high, clip_low, clip_high = (f.real(name) for name in ("low", "high", "clip_low", "clip_high"))
    most = MAX_FRACTIONAL_LENGTH
    signed, unsigned = (f.integers(f"least_{name}", -most, most) for name in ("signed", "unsigned"))
    rule, method = f.choice("rule", RangeRule), f.choice("method", Calibration)
    f.done()
    with naming(f.where):
        return Range(low, high, clip_low, clip_high, signed, unsigned, rule, method)
