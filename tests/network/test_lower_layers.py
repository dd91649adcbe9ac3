"""Sites and settling: what shares a format, what fuses, and what follows when one layer changes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract import Accumulator, MacContract, Output
from hwsim.errors import ContractError, InputError
from hwsim.formats.fixed import FixedPoint
from hwsim.layers import Rescale
from hwsim.network.lower.mac_layers import bias_room
from hwsim.network.lower.settle import settle, with_grid, with_output, without_branch_rescales
from hwsim.network.lower.sites import answering, joint_producers, measured_tensors, never_negative, sites
from support.float_networks import fire
from support.networks import branching

CHAIN = sites(fire())


def test_a_relu_fuses_and_gives_its_tensor_to_its_producer():
    tensors = {site.name: (site.tensor, site.relu) for site in CHAIN}
    assert tensors["conv1"] == ("relu1", True) and tensors["sum"] == ("sum/relu", True)
    assert tensors["conv5"] == ("conv5", False)
    assert {site.name: site.inputs for site in CHAIN}["joint"] == ("left", "right")


def test_what_pooling_and_concat_pass_on_is_one_edge():
    joint = joint_producers(CHAIN)
    assert joint["pool1"] == joint["conv1"] == ("conv1",)
    assert joint["joint"] == joint["left"] == joint["right"] == ("left", "right")
    assert answering(CHAIN) == ("average",)


def test_positive_is_proven_by_structure():
    positive = never_negative(CHAIN)
    assert [name for name, yes in positive.items() if yes] == [
        "conv1", "pool1", "left", "right", "joint", "sum", "average", "prob",
    ]  # fmt: skip


def test_ranges_are_wanted_for_edges_or_for_each_side_of_a_layer():
    joint = measured_tensors(CHAIN, True)
    assert joint["left"] == joint["right"] == ("left/relu", "right/relu")
    assert "conv5:in" not in joint
    own = measured_tensors(CHAIN, False)
    assert own["left"] == ("left/relu",) and own["conv5:in"] == ("joint",) and own["left:in"] == ("pool1",)


def test_settling_a_settled_network_changes_nothing():
    network = branching()
    settled = {node.name: node for node in settle(network.nodes, "branching")}
    assert list(settled) == [node.name for node in network.nodes]
    assert all(settled[node.name].layer is node.layer for node in network.mac_nodes), "no code was derived again"


def changed_output(network, name, fmt, **modes):
    node = network[name]
    output = dataclasses.replace(node.layer.contract.output, format=fmt, **modes)
    new = dataclasses.replace(node, layer=with_output(node.layer, output))
    return settle(tuple(new if n is node else n for n in network.nodes), network.name)


def test_a_branch_with_another_format_gets_a_rescale_with_its_own_modes_and_loses_it_again():
    network = branching()
    nodes = changed_output(network, "left", FixedPoint(6, -2), rounding=Rounding.FLOOR, overflow=Overflow.WRAP)
    byname = {node.name: node for node in nodes}
    assert byname["joint"].inputs == ("joint:left", "right:rescale")
    rescale = byname["joint:left"].layer
    assert isinstance(rescale, Rescale) and rescale.format == FixedPoint(6, -2)
    assert rescale.output == Output(network["joint"].layer.format, Rounding.FLOOR, Overflow.WRAP)
    back = dataclasses.replace(byname["left"], layer=network["left"].layer)
    again = settle(tuple(back if n.name == "left" else n for n in nodes), network.name)
    assert [n.name for n in again] == [n.name for n in network.nodes]
    assert [n.name for n in without_branch_rescales(nodes)] == [n.name for n in network.nodes]


def test_readers_follow_with_format_grid_and_bias():
    network = branching()
    nodes = {node.name: node for node in changed_output(network, "conv1", FixedPoint(8, -2, signed=False))}
    for name in ("left", "right"):
        old, new = network[name].layer, nodes[name].layer
        assert new.contract.input.fl() == -2 and old.contract.input.fl() == -4
        np.testing.assert_array_equal(new.weight, old.weight)
        np.testing.assert_array_equal(new.bias, old.bias.astype(np.int64) << 2)


def test_a_finer_bias_makes_the_accumulator_finer():
    weight = FixedPoint(8, 7)
    contract = MacContract(FixedPoint(8, -3), weight, Output(FixedPoint(8, 0)), Accumulator(64), weight)
    assert with_grid(contract, 4).accumulator.fractional_length == 7, "fl_params + max(fl_in, 0) with fl_in = -3"
    fine = dataclasses.replace(contract, input=FixedPoint(8, 2))
    assert with_grid(fine, 4).accumulator.fractional_length == 9
    assert with_grid(dataclasses.replace(contract, bias=None), 4).accumulator.fractional_length is None


def test_bias_room_leaves_half_the_accumulator():
    room = bias_room(np.array([1.0, 1.5, 0.0]), FixedPoint(8, 4), Accumulator(32), 3)
    assert room.tolist() == [26, 25, 256]
    assert 1.0 * 2 ** (26 + 4) == 2**30


def test_settling_names_what_does_not_hold_together():
    network = branching()
    later = tuple(reversed(network.nodes))
    with pytest.raises(InputError, match="layer 'prob': its input 'fc' is no earlier layer"):
        settle(later, "branching")
    with pytest.raises(InputError, match="layer 'data': this name is taken"):
        settle((network.nodes[0], network.nodes[0]), "branching")
    left, conv1 = network["left"], network["conv1"]
    heavy = dataclasses.replace(left.source, bias=left.source.bias * 1e9)
    finer = dataclasses.replace(conv1.layer.contract.output, format=FixedPoint(8, -3, signed=False))
    changed = {
        "left": dataclasses.replace(left, source=heavy),
        "conv1": dataclasses.replace(conv1, layer=with_output(conv1.layer, finer)),
    }
    with pytest.raises(ContractError, match="layer 'left': the bias does not fit an accumulator of 32 bits[^;]*[^.]; widen"):
        settle(tuple(changed.get(node.name, node) for node in network.nodes), "branching")
