"""hwsim.overflow: can the accumulators of a network overflow? Proofs, ranges seen on images, and witnesses, layer by layer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from os import PathLike

from hwsim.arith.accumulate import Place
from hwsim.errors import InputError
from hwsim.execute.score import Progress
from hwsim.images import ImageSet
from hwsim.layers import MacLayer
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode
from hwsim.proofs.certificate import Certificate
from hwsim.proofs.float_prove import FloatCertificate, prove_float
from hwsim.proofs.prove import prove
from hwsim.proofs.ranges import network_certificates
from hwsim.proofs.report import LayerReport, OverflowReport
from hwsim.proofs.seen import Seen, in_integers, seen_widths

Say = Callable[[str], None]

PLACES = (Place.ACCUMULATOR, Place.TREE, Place.SPILL)


class Ranges(Enum):
    """Which codes a layer may read. FORMAT: any of its input format.  NETWORK: those that some image could send to it."""

    FORMAT = "format"
    NETWORK = "network"


def overflow(
    network: QuantizedNetwork,
    calibration: ImageSet | str | PathLike[str] | None = None,
    *,
    limit: int | None = None,
    layers: Sequence[str] | None = None,
    ranges: Ranges = Ranges.FORMAT,
    witnesses: bool = True,
    backend: str = "auto",
    progress: Progress | None = None,
    say: Say | None = None,
) -> OverflowReport:
    """report = for every layer that accumulates, the smallest registers that no input overflows, and what overflows these.

    calibration: images, whose contents stand beside the proven ones; an ImageSet or DATA as the command line takes it.
    limit: only the first images.  layers: names, None for all.  ranges: see Ranges.
    witnesses: look for an input that overflows each layer whose registers are not proven.
    progress: called with (images done, images in all).  say: called with the layer at work.
    Errors: InputError for an unknown layer, a layer that does not accumulate, an empty list of them, or no images.

    >>> from hwsim.demo.story import MODEL, WEIGHTS
    >>> import hwsim
    >>> net = hwsim.read(MODEL, WEIGHTS)
    >>> report = overflow(hwsim.quantize(net, hwsim.images("digits", net.preprocessing, limit=50)))
    >>> report.safe, report["conv1"].certificate.declared_bits
    (True, 32)
    """
    if not isinstance(ranges, Ranges):
        raise InputError(f"overflow: found ranges {ranges!r}, allowed Ranges.FORMAT and Ranges.NETWORK.")
    nodes = _chosen(network, layers)
    start = time.perf_counter()
    proofs = _proofs(network, nodes, ranges, say)
    floats = _float_proofs(network, nodes, say)
    seconds = time.perf_counter() - start
    seen: dict[str, Seen] = {}
    if calibration is not None:
        seen = seen_widths(network, calibration, limit, progress, [node.name for node in nodes], backend)
    found = []
    for node in nodes:
        assert isinstance(node.layer, MacLayer)
        found.append(
            LayerReport(node.name, node.layer, proofs.get(node.name), seen.get(node.name), (), False, floats.get(node.name))
        )
    if witnesses:
        found = [_with_witnesses(layer, say) for layer in found]
    return OverflowReport(network, ranges.value, tuple(found), seconds)


def _chosen(network: QuantizedNetwork, names: Sequence[str] | None) -> list[QuantizedNode]:
    """The nodes to report on, in the network's order."""
    accumulating = network.mac_nodes
    if names is not None and not names:
        raise InputError("layers: found none to prove; name at least one, or leave them out to prove all.")
    for name in names or ():
        if not isinstance(network[name].layer, MacLayer):
            known = ", ".join(node.name for node in accumulating)
            raise InputError(f"layer {name!r}: a {network[name].layer.kind} accumulates nothing; layers that do: {known}.")
    return [node for node in accumulating if names is None or node.name in names]


def _proofs(network: QuantizedNetwork, nodes: Sequence[QuantizedNode], ranges: Ranges, say: Say | None) -> dict[str, Certificate]:
    """The certificates of layers in integers."""
    if ranges is Ranges.NETWORK:
        return network_certificates(network)
    shapes, found = network.shapes(), {}
    for node in filter(in_integers, nodes):
        if say is not None:
            say(f"proving {node.name}")
        assert isinstance(node.layer, MacLayer)
        found[node.name] = prove(node.layer, shapes[node.inputs[0]], name=node.name)
    return found


def _float_proofs(network: QuantizedNetwork, nodes: Sequence[QuantizedNode], say: Say | None) -> dict[str, FloatCertificate]:
    """The certificates of layers that add minifloats."""
    shapes, found = network.shapes(), {}
    for node in nodes:
        if in_integers(node):
            continue
        if say is not None:
            say(f"proving {node.name}")
        assert isinstance(node.layer, MacLayer)
        found[node.name] = prove_float(node.layer, shapes[node.inputs[0]], node.name)
    return found


def _with_witnesses(layer: LayerReport, say: Say | None) -> LayerReport:
    """The layer with an input for each register that can overflow."""
    proof = layer.certificate
    if proof is None or layer.safe:
        return layer
    if say is not None:
        say(f"looking for inputs that overflow {layer.name}")
    from hwsim.proofs.witness import find_witness

    places = [place for place in PLACES if any(need.place.startswith(place.name.lower()) and need.beyond for need in layer.needs)]
    inputs = [find_witness(layer.layer, proof.shape, proof, place=place) for place in places]
    return replace(layer, witnesses=tuple(each for each in inputs if each is not None), searched=True)
