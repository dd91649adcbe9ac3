"""Which layers remain on the hardware: ReLU and clip fused into their producer, and whose tensor decides which format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hwsim.errors import InputError
from hwsim.network import ops
from hwsim.network.graph import Network, Node

MAC = (ops.Convolution, ops.Deconvolution, ops.InnerProduct)
FUSES = (*MAC, ops.EltwiseSum, ops.EltwiseProduct)
"""What an activation right behind becomes a part of."""

PASSES = (
    ops.Concat, ops.EltwiseMax, ops.Clip, ops.Pad, ops.ResizeNearest, ops.Slice, ops.ChannelShuffle, ops.Softmax,
)  # fmt: skip
"""What passes the format of its inputs on, beside ReLU without a slope and max pooling."""


@dataclass(frozen=True, eq=False)
class Site:
    """One layer to be. relu, clip: a ReLU or a Clip right behind is its activation, and clip's limits are what it leaves to cut.

    tensor: the float tensor that its output stands for.
    """

    name: str
    op: ops.Op
    inputs: tuple[str, ...]
    tensor: str
    relu: bool = False
    clip: ops.Clip | None = None

    @property
    def is_mac(self) -> bool:
        """True if it multiplies and accumulates."""
        return isinstance(self.op, MAC)

    @property
    def passes_format(self) -> bool:
        """True if its output codes have the format of its inputs."""
        return isinstance(self.op, PASSES) or is_relu(self.op) or is_max_pool(self.op)

    def behind(self, node: Node) -> Site | None:
        """Return the site with the node behind it fused into it, or None where it does not fuse."""
        op = node.op
        if not isinstance(self.op, FUSES) or self.clip is not None:
            return None
        if is_relu(op) and not self.relu:
            return replace(self, relu=True, tensor=node.name)
        if isinstance(op, ops.Clip) and not (op.high is not None and op.high < 0):
            relu = self.relu or op.low == 0  # a clip at 0 is a ReLU
            low = None if op.low is None or self.relu and op.low <= 0 else op.low or None
            return replace(self, relu=relu, clip=ops.Clip(low, op.high), tensor=node.name)
        return None


def is_relu(op: ops.Op) -> bool:
    """True for a ReLU without a slope."""
    return isinstance(op, ops.ReLU) and op.negative_slope == 0


def is_max_pool(op: ops.Op) -> bool:
    """True for a max pooling."""
    return isinstance(op, ops.Pooling) and op.method is ops.PoolMethod.MAX


def sites(network: Network) -> tuple[Site, ...]:
    """Return the layers of a folded network in order; a ReLU or Clip that is the only reader of its producer fuses into it.

    The network ends where its last output (or the Softmax behind the logits) ends.  InputError, naming the layer, for
    what the integer layers cannot do.
    """
    readers = Counter(name for node in network for name in node.inputs)
    kept: dict[str, Site] = {}
    stands_for: dict[str, str] = {}
    for node in network:
        inputs = tuple(stands_for.get(name, name) for name in node.inputs)
        if inputs and readers[node.inputs[0]] == 1 and (fused := kept[inputs[0]].behind(node)) is not None:
            kept[fused.name] = fused
            stands_for[node.name] = fused.name
            continue
        if isinstance(node.op, ops.Softmax) and node.name in readers:
            raise InputError(
                f"network {network.name!r}, layer {node.name!r}: Softmax runs on the host and must be last, but "
                f"{readers[node.name]} layers read it."
            )
        kept[node.name] = Site(node.name, node.op, inputs, node.name)
    return tuple(kept.values())


def never_negative(chain: Sequence[Site]) -> dict[str, bool]:
    """{site: True if its output cannot be negative whatever the image}: proven by structure, not by what was seen."""
    known: dict[str, bool] = {}
    for site in chain:
        known[site.name] = site.relu or _is_positive(site.op, [known[name] for name in site.inputs])
    return known


def _is_positive(op: ops.Op, inputs: Sequence[bool]) -> bool:
    """Whether an operation's output cannot be negative. inputs: whether each input cannot."""
    if isinstance(op, ops.Input):
        return op.preprocessing is not None and op.preprocessing.real_range()[0] >= 0
    if is_relu(op) or isinstance(op, (ops.Sigmoid, ops.Softmax)):
        return True
    if isinstance(op, MAC) or isinstance(op, ops.Pad) and op.value < 0:
        return False
    if isinstance(op, ops.Clip) and (op.low is not None and op.low >= 0 or op.high is not None and op.high < 0):
        return op.high is None or op.high >= 0
    return (any if isinstance(op, ops.EltwiseMax) else all)(inputs)


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
