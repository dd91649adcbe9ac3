"""The rows of an explanation where the accumulator is a register of integers: the specification's leaves, one step at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from hwsim.arith.accumulate import Pairing, Walk, accumulate, add_to, add_tree, arrange, spill, total_of
from hwsim.arith.overflow import Overflow, fits
from hwsim.arith.rounding import Rounding, round_shift
from hwsim.arith.shift_add import SignOrder
from hwsim.contract.accumulator import PaddedTaps, RoundAt, Schedule, ZeroSkip
from hwsim.contract.mac import MacContract, real_step
from hwsim.contract.stochastic import Tail
from hwsim.execute.explanation import At, Kind, Lane, Node, Row
from hwsim.formats import Affine, FixedPoint, PowerOfTwo
from hwsim.layers.integer_unit import Extents, IntegerUnit


def coordinates(tap: int, extents: Extents) -> tuple[int, int, int]:
    """Return (c, r, s) of a tap.

    >>> coordinates(7, (2, 2, 3))
    (1, 0, 1)
    """
    rest, s = divmod(tap, extents[2])
    return *divmod(rest, extents[1]), s


def integer_rows(
    unit: IntegerUnit, codes: Sequence[int], padded: Sequence[bool], extents: Extents, k: int
) -> tuple[tuple[Row, ...], bool]:
    """Return the rows of one output, and whether the exact final value does not fit the accumulator."""
    lanes = [_lane(unit, tap, x, pad, extents, k) for tap, (x, pad) in enumerate(zip(codes, padded, strict=True))]
    p = unit.numbers
    if p.walk is None:
        row = _sum_row(unit, tuple(lanes), k)
        return (row,), bool(row.events.accumulator)
    rows = _stopped(tuple(_walked_rows(unit, lanes, extents, k, p.walk)), p.walk)
    end = rows[-1].unlimited if rows else 0
    assert isinstance(end, int)
    return rows, not fits(end, p.acc_low, p.acc_high)


def _stopped(rows: tuple[Row, ...], w: Walk) -> tuple[Row, ...]:
    """Note the row at which a run stops: the first event of a register that says TRAP."""
    traps = At(*(mode == Overflow.TRAP for mode in (w.tree_overflow, w.overflow, w.spill_overflow)))
    for i, row in enumerate(rows):
        if any(event and trap for event, trap in zip(row.events, traps, strict=True)):
            return (*rows[:i], replace(row, note=f"{row.note} TRAP stops here".lstrip()), *rows[i + 1 :])
    return rows


def _lane(unit: IntegerUnit, tap: int, x: int, padded: bool, extents: Extents, k: int) -> Lane:
    skipped = unit.numbers.walk is not None and bool(unit.skips(x, padded, k, tap))
    product = unit.product(x, k, tap)
    how = "skipped" if skipped else f"padding: {product}" if padded else product_text(unit, x, k, tap, product)
    return Lane(coordinates(tap, extents), padded, skipped, x, int(unit.weight[k, tap]), product, how)


IDLE = Lane(None, False, False, 0, 0, 0, "")


def product_text(unit: IntegerUnit, x: int, k: int, tap: int, product: int) -> str:
    """Say how the multiplier makes the product: 12 * -3 = -36, or the shifts of a shift-add unit."""
    if unit.fields is None:
        w, zx, zw = int(unit.weight[k, tap]), unit.contract.input.zero(), int(unit.weight_zeros[k])
        exact = (x - zx) * (w - zw)
        made = f"{_less(x, zx)} * {_less(w, zw)} = {exact}"
        return made + (f" -> {product}" if product != exact or unit.numbers.drop[k] else "")
    negative, exponent, nonzero = (int(field[k, tap]) for field in unit.fields)
    if not nonzero:
        return f"{x} * 0 = 0"
    rule = unit.contract.product
    assert rule is not None
    inner = negative and rule.sign_order is SignOrder.BEFORE_ROUNDING
    shifted = f"-{x}" if inner and x >= 0 else f"-({x})" if inner else str(x)
    if rule.guard_bits:
        shifted = f"({shifted} << {rule.guard_bits})"
    if exponent:
        shifted = f"({shifted} {'>>' if exponent < 0 else '<<'} {abs(exponent)})"
    sign = "-" if negative and not inner else ""
    return f"{x} * {'-' if negative else '+'}2^{exponent}: {sign}{shifted} = {product}"


def _less(code: int, zero: int) -> str:
    """A code, with its zero point where there is one: (12 - 3), (12 + 3)."""
    return f"({code} {'-' if zero > 0 else '+'} {abs(zero)})" if zero else str(code)


def _sum_row(unit: IntegerUnit, lanes: tuple[Lane, ...], k: int) -> Row:
    """No declared order: the exact sum at once, modulo the register."""
    p = unit.numbers
    total = total_of([unit.product(lane.x, k, tap) for tap, lane in enumerate(lanes)])
    acc, event = accumulate(total, p.product_shift[k], p.bias[k], p.acc_bits, p.acc_low, p.acc_high)
    adds = total << p.product_shift[k]
    exact = adds + p.bias[k]
    return Row(Kind.SUM, None, p.bias[k], adds, exact, acc, exact, At(accumulator=event), lanes)


def _walked_rows(unit: IntegerUnit, lanes: list[Lane], extents: Extents, k: int, w: Walk) -> Iterator[Row]:
    """Every step of the declared order; the law is arith.accumulate.walk, and the leaves are the same."""
    bias = unit.numbers.bias[k]
    acc = 0 if w.bias_last else bias
    exact = acc
    if unit.bias is not None and not w.bias_last:
        yield Row(Kind.LOAD, None, 0, bias, bias, acc, exact, note=_bias_text(unit, k))
    steps = list(_steps(unit, lanes, extents, k))
    for step, taken in enumerate(steps):
        row = _step_row(unit, step, taken, acc, exact, k, w)
        yield row
        acc, exact = int(row.after), int(row.unlimited)
        if w.spill_every and (w.spill_last if step + 1 == len(steps) else (step + 1) % w.spill_every == 0):
            row = _spill_row(step, acc, exact, w)
            yield row
            acc, exact = int(row.after), int(row.unlimited)
    if w.bias_last and unit.bias is not None:
        after, event = add_to(acc, bias, w.bits, w.low, w.high, w.overflow)
        note = _bias_text(unit, k)
        yield Row(Kind.BIAS, None, acc, bias, acc + bias, after, exact + bias, At(accumulator=event), note=note)


def _bias_text(unit: IntegerUnit, k: int) -> str:
    """Name the bias's code, and its rounding where its grid is not the accumulator's."""
    assert unit.bias is not None
    code, shift = int(unit.bias[k]), unit.contract.bias_length(k) - unit.contract.accumulator_length(k)
    if not shift:
        return ""
    return f"{code} >> {shift} {unit.contract.bias_rounding.name}" if shift > 0 else f"{code} << {-shift}"


def _steps(unit: IntegerUnit, lanes: list[Lane], extents: Extents, k: int) -> Iterator[tuple[Lane, ...]]:
    """The lanes of each step, as arith.accumulate.arrange puts them: it moves any numbers, here the taps' own."""
    schedule = unit.contract.accumulator.schedule
    assert schedule is not None
    taps = schedule.table(*extents).ravel().tolist()
    places = [0] * len(taps)
    skipped = [int(lane.skipped) for lane in lanes]
    packed = schedule.tail is Tail.PACKED
    count = arrange([tap + 1 for tap in range(len(lanes))], skipped, taps, schedule.lanes, packed, places)
    for first in range(0, count * schedule.lanes, schedule.lanes):
        yield tuple(lanes[place - 1] if place else IDLE for place in places[first : first + schedule.lanes])


def _step_row(unit: IntegerUnit, step: int, taken: tuple[Lane, ...], acc: int, exact: int, k: int, w: Walk) -> Row:
    p = unit.numbers
    shift = p.step_shift[k]
    products = [int(lane.product) for lane in taken]
    held, at_tree = add_tree(list(products), p.level_bits, w.pairing, w.tree_overflow)
    adds = round_shift(held, -shift, w.rounding)
    after, event = add_to(acc, adds, w.bits, w.low, w.high, w.overflow)
    unlimited = exact + round_shift(total_of(products), -shift, w.rounding)
    note = f"{held} {'>>' if shift < 0 else '<<'} {abs(shift)} = {adds}" if shift else ""
    levels = tree_levels(products, p.level_bits, w.pairing, w.tree_overflow)
    return Row(Kind.STEP, step, acc, adds, acc + adds, after, unlimited, At(at_tree, event), taken, levels, note)


def tree_levels(products: list[int], level_bits: Sequence[int], pairing: int, overflow: int) -> tuple[tuple[Node, ...], ...]:
    """Return the registers of each level: the tree cut off behind every level.

    >>> levels = tree_levels([100, 100, -100], (8, 8), Pairing.ADJACENT, Overflow.SATURATE)
    >>> [[(node.exact, node.held) for node in level] for level in levels]
    [[(200, 127), (-100, -100)], [(27, 27)]]
    """
    levels: list[tuple[Node, ...]] = []
    values = [list(products)]
    for level in range(len(level_bits)):
        held = list(products)
        add_tree(held, level_bits[: level + 1], pairing, overflow)
        nodes = [_node(of, values, held[i]) for i, of in enumerate(pairs_of_level(level, len(values[-1]), pairing))]
        levels.append(tuple(nodes))
        values.append([int(node.held) for node in nodes])
    return tuple(levels)


def pairs_of_level(level: int, count: int, pairing: int) -> list[tuple[tuple[int, int], ...]]:
    """Which (level, index) each register of a level adds, as arith.accumulate.add_tree has it; level 0 are the products."""
    if pairing == Pairing.CHAIN:
        return [((level, 0), (0, level + 1))]
    half = (count + 1) >> 1
    pairs = [(2 * i, 2 * i + 1) if pairing == Pairing.ADJACENT else (i, i + half) for i in range(half)]
    return [tuple((level, i) for i in pair if i < count) for pair in pairs]


def _node(of: tuple[tuple[int, int], ...], values: list[list[int]], held: int) -> Node:
    exact = sum(values[level][i] for level, i in of)
    return Node(exact, held, of, exact != held)


def _spill_row(step: int, acc: int, exact: int, w: Walk) -> Row:
    after, spilled, reloaded = spill(acc, w)
    kept = round_shift(acc, w.spill_shift, w.spill_rounding)
    unlimited = round_shift(exact, w.spill_shift, w.spill_rounding) << w.spill_shift
    note = f"buffer <- {acc}" + (f" >> {w.spill_shift} = {kept} {Rounding(w.spill_rounding).name}" if w.spill_shift else "")
    return Row(Kind.SPILL, step, acc, None, kept << w.spill_shift, after, unlimited, At(0, reloaded, spilled), note=note)


def product_step(contract: MacContract, k: int) -> Fraction:
    """Return the real value of 1 in a product of channel k: the operands' scales multiplied, exactly."""
    if isinstance(contract.weight, PowerOfTwo):
        return Fraction(2) ** -contract.product_length(k)
    return real_step(contract.input) * real_step(contract.weight, k)


def datapath(unit: IntegerUnit, extents: Extents, k: int) -> tuple[str, ...]:
    """What the contract says of this output's way, a line each."""
    contract, p = unit.contract, unit.numbers
    acc, schedule = contract.accumulator, contract.accumulator.schedule
    taps = extents[0] * extents[1] * extents[2]
    grid, weight = f"grid 2^{-contract.accumulator_length(k)}", contract.weight
    if isinstance(weight, FixedPoint):
        weight = FixedPoint(weight.bits, weight.fl(k), weight.signed)
    if isinstance(weight, Affine):
        weight = Affine(weight.bits, weight.step(k), weight.zero(k), weight.signed, weight.narrow)
    if isinstance(contract.input, Affine) or isinstance(weight, Affine):
        grid = f"steps of {float(product_step(contract, k)):g}"
    lines = [
        f"input {contract.input}, weight {weight}, {taps} taps ({' x '.join(map(str, extents))})",
        f"accumulator of {acc.bits} bits, {p.acc_low}..{p.acc_high}, {grid}, {acc.overflow.name}",
    ]
    if contract.product is not None:
        rule = contract.product
        lines.append(f"shift-add with {rule.guard_bits} guard bits, {rule.rounding.name}, sign {_words(rule.sign_order.name)}")
    if p.drop[k] or p.step_shift[k] < 0:
        lost, where = (p.drop[k], RoundAt.PRODUCT) if p.drop[k] else (-p.step_shift[k], RoundAt.STEP)
        lines.append(f"{lost} bits dropped at each {where.value}, {acc.rounding.name}")
    order = "no declared order: the exact sum modulo the register" if schedule is None else schedule_text(schedule, contract)
    return (*lines, order)


def schedule_text(schedule: Schedule, contract: MacContract) -> str:
    """The order in words."""
    tree = schedule.tree
    bits = ", ".join(map(str, tree.bits or contract.exact_level_bits))
    widths = f"levels of {bits} bits" + (f", {tree.overflow.name}" if tree.bits and tree.overflow is not None else "")
    said = order_words(schedule, f"tree {tree.pairing.name} of {widths}")
    if schedule.spill is None:
        return said
    s = schedule.spill
    return f"{said}, spilled every {s.every} steps to {s.bits} bits, {s.shift} coarser, {s.rounding.name}, {s.overflow.name}"


def order_words(schedule: Schedule, tree: str) -> str:
    """The order in words, but for spills. tree: what is said of the tree, where there is one."""
    said = [f"order {schedule.order.name}"]
    if schedule.lanes > 1:
        said += [f"{schedule.lanes} lanes along {schedule.lane_axis.name} ({schedule.tail.value} tail)", tree]
    said.append(f"bias {schedule.bias.value}")
    if schedule.padded is PaddedTaps.SKIPPED:
        said.append("padding skipped")
    if schedule.skip_zeros is not ZeroSkip.NONE:
        said.append(f"zeros skipped by {schedule.skip_zeros.value}")
    return ", ".join(said)


def _words(name: str) -> str:
    return name.lower().replace("_", " ")
