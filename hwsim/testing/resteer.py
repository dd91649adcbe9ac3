"""The move that no taking away can make: the same sums by fewer and larger products, or by the bias."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from hwsim.contract.mac import operand_range
from hwsim.formats import IntegerFormat
from hwsim.layers import MacLayer, Shape
from hwsim.layers.integer_unit import IntegerUnit
from hwsim.testing.judge import Example
from hwsim.testing.shrink import Search

MOST = 4
"""Products that an accumulator's sum is put together from."""
MANY = 12
"""Products that are moved into the bias one more at a time; of more, all, all but one, or half of them."""
Pair = tuple[int, int]
"""(x, w) of one product, zero points subtracted."""


def resteer(search: Search) -> None:
    """Let few large products make the sums that many small ones made: at the end, at the highest and the lowest point."""
    example, place = search.current, search.verdict.place
    layer = example.layer
    if (
        place is None
        or not isinstance(layer, MacLayer)
        or not isinstance(layer.unit, IntegerUnit)
        or layer.unit.fields is not None
    ):
        return
    if place[0] >= len(example.inputs):
        return
    if not search.fixed:
        _use_bias(search, place)
        example = search.current
    for wanted in _goals(_products(example, place)):
        for first in (True, False):
            if search.attempt(_steered, example, place, wanted, first, search.fixed):
                return


def _products(example: Example, place: tuple[int, int, int, int]) -> list[int]:
    """The products of one output in the order of its steps, as far as one is declared."""
    layer = example.layer
    assert isinstance(layer, MacLayer) and isinstance(layer.unit, IntegerUnit)
    n, k, y, x = place
    codes, _ = layer.taps(example.inputs[n].tolist(), k, y, x)
    return [layer.unit.product(codes[tap], k, tap) for tap in order(layer, example.inputs)]


def order(layer: MacLayer, inputs: np.ndarray) -> list[int]:
    """Taps in the order of their steps."""
    taps = int(np.prod(layer.weight.shape[1:]))
    schedule = layer.integer.contract.accumulator.schedule
    if schedule is None:
        return list(range(taps))
    return [tap for tap in schedule.table(*layer.extents(Shape(*inputs.shape[1:]))).ravel().tolist() if tap >= 0]


def _goals(products: list[int]) -> Iterator[tuple[int, ...]]:
    """Sums to make one after the other, fewest first."""
    running = np.cumsum(np.array(products, dtype=object)) if products else np.array([0], dtype=object)
    total, high, low = int(running[-1]), int(max(running)), int(min(running))
    positive = sum(p for p in products if p > 0)
    goals = [(total,), (high, total - high), (low, total - low), (positive, total - positive), (total - positive, positive)]
    yield from dict.fromkeys(tuple(part for part in goal if part) for goal in goals)


def _steered(
    example: Example, place: tuple[int, int, int, int], wanted: tuple[int, ...], first: bool, fixed: bool
) -> Example | None:
    layer, inputs, (n, k, y, x) = example.layer, example.inputs, place
    assert isinstance(layer, MacLayer) and isinstance(layer.contract.input, IntegerFormat)
    shape = inputs.shape[1:]
    index: list[list[list[int]]] = np.arange(int(np.prod(shape))).reshape(shape).tolist()  # type: ignore[assignment]
    sources, padded = layer.taps(index, k, y, x)
    taps = [tap for tap in order(layer, inputs) if not padded[tap]]
    zero = layer.contract.input.zero()
    weights = layer.integer.factors
    assert weights is not None
    made = _by_weights(wanted, taps, weights[k].tolist(), layer) if fixed else _by_both(wanted, taps, layer, first)
    if made is None:
        return None
    new_inputs = np.full_like(inputs, zero)
    for tap, (code, _) in made.items():
        new_inputs[n].flat[sources[tap]] = code + zero
    if fixed:
        return Example(layer, new_inputs)
    new_weights = np.empty_like(layer.weight)
    new_weights[:] = layer.integer.weight_zeros.reshape(-1, *[1] * (layer.weight.ndim - 1))
    for tap, (_, weight) in made.items():
        new_weights[k].flat[tap] = weight + int(layer.integer.weight_zeros[k])
    return Example(replace(layer, weight=new_weights), new_inputs)


def _by_both(wanted: tuple[int, ...], taps: list[int], layer: MacLayer, first: bool) -> dict[int, Pair] | None:
    """Pairs of inputs and weights for each sum, in the first taps or in the last."""
    contract = layer.integer.contract
    assert isinstance(contract.weight, IntegerFormat)
    ranges = operand_range(contract.input), operand_range(contract.weight)
    pairs: list[Pair] = []
    for goal in wanted:
        found = factors(goal, *ranges)
        if found is None:
            return None
        pairs += found
    if not 0 < len(pairs) <= min(MOST, len(taps)):
        return None
    return dict(zip(taps[: len(pairs)] if first else taps[-len(pairs) :], pairs, strict=True))


def factors(goal: int, xs: tuple[int, int], ws: tuple[int, int]) -> list[Pair] | None:
    """Return at most MOST pairs (x, w) within their ranges whose products sum up to the goal, as few as this finds.

    >>> factors(20000, (-128, 127), (-128, 127))
    [(-128, -128), (113, 32)]
    """
    corners = [(x, w) for x in xs for w in ws if x * w * goal > 0]
    if not corners:
        return None
    large = max(corners, key=lambda pair: abs(pair[0] * pair[1]))
    pairs: list[Pair] = []
    while goal and len(pairs) <= MOST:
        exact = _one_pair(goal, xs, ws)
        if exact is not None:
            return [*pairs, exact]
        product = large[0] * large[1]
        if abs(product) > abs(goal):  # the largest multiple of the largest weight, then a rest that one pair makes
            x = int(abs(goal) // abs(large[1])) * (1 if large[0] > 0 else -1)
            large = (x, large[1])
            if x == 0:
                return None
        pairs.append(large)
        goal -= large[0] * large[1]
    return None


def _one_pair(goal: int, xs: tuple[int, int], ws: tuple[int, int]) -> Pair | None:
    """The pair with the smallest weight whose product is the goal."""
    for size in range(1, max(map(abs, ws)) + 1):
        for w in (size, -size):
            if ws[0] <= w <= ws[1] and goal % w == 0 and xs[0] <= goal // w <= xs[1]:
                return goal // w, w
    return None


def _by_weights(wanted: tuple[int, ...], taps: list[int], weights: list[int], layer: MacLayer) -> dict[int, Pair] | None:
    """Inputs alone: the largest weights first, each as far as it goes."""
    low, high = operand_range(layer.integer.contract.input)
    if len(wanted) != 1:
        return None
    rest = wanted[0]
    made: dict[int, Pair] = {}
    for tap in sorted((t for t in taps if weights[t]), key=lambda t: -abs(weights[t])):
        x = min(max(rest // weights[tap], low), high)
        if x and len(made) < MOST and abs(rest - x * weights[tap]) < abs(rest):
            made[tap] = (x, weights[tap])
            rest -= x * weights[tap]
    return made if rest == 0 and made else None


def _use_bias(search: Search, place: tuple[int, int, int, int]) -> None:
    """As many as possible of the first products into the bias, that a register is loaded with."""
    example = search.current
    products = _products(example, place)
    used = [i for i, product in enumerate(products) if product]
    for count in range(len(used), 0, -1) if len(used) <= MANY else (len(used), len(used) - 1, len(used) // 2):
        if search.attempt(_into_bias, example, place[1], products, used[:count]):
            return


def _into_bias(example: Example, k: int, products: list[int], moved: list[int]) -> Example | None:
    """Some products of output channel k into its bias, as far as that goes, where both are on one grid."""
    layer, inputs = example.layer, example.inputs
    assert isinstance(layer, MacLayer)
    contract = layer.integer.contract
    if contract.bias_length(k) != contract.product_length(k):
        return None
    weight, taps = layer.weight.copy(), order(layer, inputs)
    for i in moved:
        weight[k].flat[taps[i]] = layer.integer.weight_zeros[k]
    bias, fmt = [0] * layer.channels if layer.bias is None else layer.bias.tolist(), contract.bias_format(layer.channels)
    bias[k] = min(max(bias[k] + sum(products[i] for i in moved), fmt.low), fmt.high)
    return Example(replace(layer, weight=weight, bias=np.array(bias)), inputs)
