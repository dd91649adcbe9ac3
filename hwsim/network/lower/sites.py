"""Which layers remain on the hardware: ReLU fused into its producer, and whose tensor decides which format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hwsim.errors import InputError
from hwsim.network import ops
from hwsim.network.graph import Network

FUSES_RELU = (ops.Convolution, ops.InnerProduct, ops.EltwiseSum)
MAC = (ops.Convolution, ops.InnerProduct)


@dataclass(frozen=True, eq=False)
class Site:
    """One layer to be. relu: a ReLU right behind is its activation.  tensor: the float tensor that its output stands for."""

    name: str
    op: ops.Op
    inputs: tuple[str, ...]
    tensor: str
    relu: bool = False

    @property
    def is_mac(self) -> bool:
        """True if it multiplies and accumulates."""
        return isinstance(self.op, MAC)

    @property
    def passes_format(self) -> bool:
        """True if its output codes have the format of its inputs."""
        op = self.op
        maximum = isinstance(op, ops.Pooling) and op.method is ops.PoolMethod.MAX
        return maximum or isinstance(op, (ops.ReLU, ops.Concat, ops.Softmax))


def sites(network: Network) -> tuple[Site, ...]:
    """Return the layers of a folded network in order; a ReLU that is the only reader of its producer fuses into it.

    The network ends where its last output (or the Softmax behind the logits) ends.  InputError, naming the layer, for
    what the integer layers cannot do.
    """
    readers = Counter(name for node in network for name in node.inputs)
    kept: dict[str, Site] = {}
    stands_for: dict[str, str] = {}
    for node in network:
        where = f"network {network.name!r}, layer {node.name!r}"
        inputs = tuple(stands_for.get(name, name) for name in node.inputs)
        if isinstance(node.op, ops.ReLU):
            if node.op.negative_slope:
                raise InputError(f"{where}: ReLU with negative_slope {node.op.negative_slope}; only 0 runs in integers yet.")
            before = kept[inputs[0]]
            if isinstance(before.op, FUSES_RELU) and readers[node.inputs[0]] == 1 and not before.relu:
                kept[before.name] = replace(before, relu=True, tensor=node.name)
                stands_for[node.name] = before.name
                continue
        if isinstance(node.op, ops.Softmax) and node.name in readers:
            raise InputError(f"{where}: Softmax runs on the host and must be last, but {readers[node.name]} layers read it.")
        kept[node.name] = Site(node.name, node.op, inputs, node.name)
    return tuple(kept.values())


def never_negative(chain: Sequence[Site]) -> dict[str, bool]:
    """{site: True if its output cannot be negative whatever the image}: proven by structure, not by what was seen."""
    known: dict[str, bool] = {}
    for site in chain:
        if isinstance(site.op, ops.Input):
            preprocessing = site.op.preprocessing
            known[site.name] = preprocessing is not None and preprocessing.real_range()[0] >= 0
        elif site.relu or isinstance(site.op, ops.ReLU):
            known[site.name] = True
        else:
            known[site.name] = not site.is_mac and all(known[name] for name in site.inputs)
    return known


def joint_producers(chain: Sequence[Site]) -> dict[str, tuple[str, ...]]:
    """{site: the sites whose outputs share one format with it}: what pooling, ReLU and concat pass on is one edge.

    So the branches of a concatenation get one format, and no rescale is needed.
    """
    group = {site.name: site.name for site in chain}

    def root(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    for site in chain:
        if site.passes_format:
            for name in site.inputs:
                group[root(name)] = root(site.name)
    members: dict[str, tuple[str, ...]] = {}
    for site in chain:
        if not site.passes_format:
            members[root(site.name)] = (*members.get(root(site.name), ()), site.name)
    return {site.name: members[root(site.name)] for site in chain}


def measured_tensors(chain: Sequence[Site], joint: bool) -> dict[str, tuple[str, ...]]:
    """{key of a range: the float tensors that it covers together}.

    joint: one format per edge (key: the producing site, all producers of the edge together); else each site alone, and
    "<layer>:in" for what a multiply-accumulate layer reads.
    """
    tensor = {site.name: site.tensor for site in chain}
    producers = joint_producers(chain)
    wanted: dict[str, tuple[str, ...]] = {}
    for site in chain:
        if not site.passes_format:
            wanted[site.name] = tuple(tensor[name] for name in producers[site.name]) if joint else (site.tensor,)
        if site.is_mac and not joint:
            wanted[input_name(site.name)] = (tensor[site.inputs[0]],)
    return wanted


def input_name(layer: str) -> str:
    """Name of the rescale through which a layer with an input format of its own reads.

    >>> input_name("conv2")
    'conv2:in'
    """
    return f"{layer}:in"


def answering(chain: Sequence[Site]) -> tuple[str, ...]:
    """Return the sites that compute the logits: those whose format the last site (or what its Softmax reads) has."""
    last = chain[-1]
    return joint_producers(chain)[last.inputs[0] if isinstance(last.op, ops.Softmax) else last.name]
