"""Order: ReLU and clip before a maximum, with which they commute, so that they fuse into the layer that computes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hwsim.network import ops
from hwsim.network.graph import Network, Node


def before_maximum(network: Network) -> Network:
    """The same function with each ReLU and Clip that alone reads a max pooling put before it; the pooling's name is its result's.

    max(f(a), f(b)) = f(max(a, b)) for every f that never falls.  A ReLU with a negative slope stays: it fuses with nothing.
    """
    while (swapped := _swap_one(network)) is not None:
        network = swapped
    return network


def _swap_one(network: Network) -> Network | None:
    readers = Counter(name for node in network for name in node.inputs)
    for after in network:
        if not readers[after.name] or not _clips(after.op):
            continue
        pool = network[after.inputs[0]]
        if isinstance(pool.op, ops.Pooling) and pool.op.method is ops.PoolMethod.MAX and readers[pool.name] == 1:
            return _swapped(network, pool, after)
    return None


def _clips(op: ops.Op) -> bool:
    return isinstance(op, ops.Clip) or isinstance(op, ops.ReLU) and op.negative_slope == 0


def _swapped(network: Network, pool: Node, after: Node) -> Network:
    """Both nodes where the pooling stood, the other way around; who read the second reads the pooling."""
    nodes: list[Node] = []
    for node in network:
        if node is pool:
            nodes += [replace(after, inputs=pool.inputs), replace(pool, inputs=(after.name,))]
        elif node is not after:
            nodes.append(replace(node, inputs=tuple(pool.name if name == after.name else name for name in node.inputs)))
    return replace(network, nodes=tuple(nodes))
