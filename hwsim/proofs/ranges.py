"""Ranges through the network: which codes can reach a layer at all, from the pixels onwards, proven for every image."""

from __future__ import annotations

from hwsim.contract.mac import MacContract
from hwsim.formats import Minifloat
from hwsim.layers import MacLayer
from hwsim.network.quantized import QuantizedNetwork
from hwsim.proofs.certificate import Certificate, InputRange
from hwsim.proofs.codes import given, of_contents
from hwsim.proofs.prove import prove


def network_certificates(network: QuantizedNetwork) -> dict[str, Certificate]:
    """certificate = of each integer multiply-accumulate layer, for the codes that some image could send to it, and no others."""
    return _forward(network)[1]


def network_ranges(network: QuantizedNetwork) -> dict[str, InputRange]:
    """low[c]..high[c] = codes that a layer could give on some image, for every layer whose codes are integers.

    Ranges go forward from pixels of 0..255, channel by channel: a layer gives what its worst-case content makes, through
    requantize, overflow and activation. Only ends are kept, so a range may hold codes that no image gives; never fewer.
    """
    return _forward(network)[0]


def _forward(network: QuantizedNetwork) -> tuple[dict[str, InputRange], dict[str, Certificate]]:
    """(codes that each node may give, certificates on the way)."""
    shapes = network.shapes()
    codes: dict[str, InputRange] = {}
    found: dict[str, Certificate] = {}
    for node in network.nodes:
        inputs = [codes[name] for name in node.inputs if name in codes]
        if isinstance(node.layer, MacLayer) and isinstance(node.layer.contract, MacContract):
            found[node.name] = prove(node.layer, shapes[node.inputs[0]], inputs[0], node.name)
        proof, read = found.get(node.name), [shapes[name] for name in node.inputs] or [network.input_shape]
        if proof is not None:
            codes[node.name] = of_contents(proof)
        elif not isinstance(node.layer.output_format, Minifloat):
            codes[node.name] = given(node.layer, inputs, read, shapes[node.name])
    return codes, found
