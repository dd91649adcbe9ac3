"""The integers of a layer's datapath that follow from its contract: what RTL is built with, never an input of hwsim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hwsim.arith.scale import Scaling
from hwsim.contract import MacContract, Schedule
from hwsim.contract.resolve import Epilogue
from hwsim.golden.describe import plain
from hwsim.layers import AveragePool, Layer, MacLayer, Shape
from hwsim.layers.draws import epilogue_of
from hwsim.layers.float_unit import FloatUnit
from hwsim.network.lower.settle import bias_meaning

MAX_TABLE = 4096
"""Entries of a table of steps that is written out; a longer one follows from the schedule as the rule says."""
MODES = ("pairing", "tree_overflow", "overflow", "rounding", "spill_overflow", "spill_rounding")
"""Fields of the walk that the attributes already name."""


def resolved(layer: Layer, inputs: Sequence[Shape]) -> dict[str, Any]:
    """Return the numbers of one layer. inputs: shapes of what it reads."""
    if isinstance(layer, MacLayer):
        float_unit = isinstance(layer.unit, FloatUnit)
        return _float_mac(layer, layer.unit, inputs[0]) if float_unit else _integer_mac(layer, inputs[0])  # type: ignore[arg-type]
    epilogue = epilogue_of(layer)
    divides = isinstance(layer, AveragePool) and epilogue is not None and epilogue.scaling is Scaling.SHIFT
    return {} if epilogue is None or divides else _scaling(epilogue)


def _scaling(epilogue: Epilogue) -> dict[str, Any]:
    """The shift of each channel, and where multipliers scale their rule and theirs."""
    found: dict[str, Any] = {"requantize_shift": list(epilogue.shift)}
    if epilogue.scaling is not Scaling.SHIFT:
        found |= {"requantize_rule": epilogue.scaling.name, "requantize_multiplier": list(epilogue.multiplier)}
    return found


def _integer_mac(layer: MacLayer, shape: Shape) -> dict[str, Any]:
    numbers, contract = layer.numbers, layer.contract
    assert isinstance(contract, MacContract)
    found = {
        "accumulator_fractional_length": [contract.accumulator_length(k) for k in range(layer.channels)],
        "bias_format": plain(bias_meaning(contract, layer.channels)),
        "product_shift": list(numbers.product_shift),
        "aligned_bias": list(numbers.bias),
    } | _scaling(numbers.epilogue)
    return found if numbers.walk is None else found | _order(layer, shape)


def _order(layer: MacLayer, shape: Shape) -> dict[str, Any]:
    """The declared order: bits dropped before and behind the tree, registers, and the taps of each step."""
    numbers, contract = layer.numbers, layer.contract
    assert numbers.walk is not None and isinstance(contract, MacContract) and contract.accumulator.schedule is not None
    return {
        "product_drop": list(numbers.drop),
        "step_shift": list(numbers.step_shift),
        "level_bits": list(numbers.level_bits),
        "walk": {name: value for name, value in numbers.walk._asdict().items() if name not in MODES},
    } | _steps(contract.accumulator.schedule, layer.extents(shape))


def _steps(schedule: Schedule, extents: tuple[int, int, int]) -> dict[str, Any]:
    """The taps of each step.

    steps[step][lane] = (c*R + r)*S + s of the tap that is taken there, -1 in an idle lane, before any tap is skipped.
    """
    count = schedule.steps(*extents)
    small = count * schedule.lanes <= MAX_TABLE
    table = schedule.table(*extents).tolist() if small else None
    return {"extents": list(extents), "step_count": count, "steps": table}


def _float_mac(layer: MacLayer, unit: FloatUnit, shape: Shape) -> dict[str, Any]:
    """Minifloats: the exact sum's register and the biases on its grids, or the float register's biases and its order."""
    found: dict[str, Any] = {"bias_format": plain(layer.contract.bias_format(layer.channels))}
    if unit.accumulator is None:
        grids = {"accumulator_exponent": list(unit.exponents), "accumulator_bits": unit.register.bits}
        return found | grids | {"aligned_bias": [str(bias) for bias in unit.aligned_bias]}
    return found | {"bias_codes": list(unit.bias_codes)} | _steps(unit.accumulator.schedule, layer.extents(shape))
