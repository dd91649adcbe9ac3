"""The rows of an explanation where the sum is exact or a float register: the specification's leaves, one step at a time.

Values are real: Fractions, and floats for infinity, NaN and -0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from hwsim.arith.accumulate import arrange
from hwsim.arith.float_walk import add_codes, add_terms, multiply_terms, round_term, unpack_term
from hwsim.arith.requantize import Activation
from hwsim.contract.float_mac import FloatAccumulator, FloatOutput
from hwsim.contract.stochastic import Tail
from hwsim.execute.explain_integer import IDLE, coordinates, order_words, pairs_of_level
from hwsim.execute.explanation import At, Ending, Kind, Lane, Node, Number, Row, text
from hwsim.formats import Minifloat
from hwsim.layers.base import Cell
from hwsim.layers.float_unit import ZERO, FloatUnit, Term, order_of, special_of
from hwsim.layers.integer_unit import Extents


def number(term: Term) -> Number:
    """Return the value of a term.

    >>> number((1, 3, -2, 0)), number((1, 0, 0, 0)), number((1, 0, 0, 1))
    (Fraction(-3, 4), -0.0, -inf)
    """
    sign, significand, exponent, kind = term
    if kind:
        return float("nan") if kind == 2 else float("-inf" if sign else "inf")
    if not significand:
        return -0.0 if sign else Fraction(0)
    return Fraction(-significand if sign else significand) * Fraction(2) ** exponent


def plus(a: Number, b: Number) -> Number:
    """Return the exact sum: floats where one of them is no number.

    >>> plus(Fraction(1, 3), -0.0), plus(float("inf"), Fraction(1))
    (Fraction(1, 3), inf)
    """
    if any(isinstance(v, float) and v != 0 for v in (a, b)):
        return float(a) + float(b)
    return Fraction(a) + Fraction(b)


def float_rows(unit: FloatUnit, codes: Sequence[int], padded: Sequence[bool], extents: Extents, k: int) -> tuple[Row, ...]:
    """Return the rows of one output."""
    products, lanes = [], []
    for tap, (code, pad) in enumerate(zip(codes, padded, strict=True)):
        x, w = unit.operand(code, pad), unit.weight_term(k, tap)
        skipped = unit.skips(x, pad, w)
        products.append(ZERO if skipped else multiply_terms(*x, *w))
        how = f"{text(number(x))} * {text(number(w))} = {text(number(products[-1]))}"
        how = "skipped" if skipped else f"padding: {text(number(products[-1]))}" if pad else how
        place = coordinates(tap, extents)
        lanes.append(Lane(place, pad, skipped, code, int(unit.weight[k, tap]), number(products[-1]), how))
    if unit.accumulator is None:
        return (_sum_row(unit, products, tuple(lanes), k),)
    return tuple(_walked_rows(unit, products, lanes, extents, k, unit.accumulator))


def _sum_row(unit: FloatUnit, products: list[Term], lanes: tuple[Lane, ...], k: int) -> Row:
    """The exact sum at once: the finite products, and what the others make of the output."""
    bias = Fraction(unit.aligned_bias[k]) * Fraction(2) ** unit.exponents[k]
    finite = sum((Fraction(number(p)) for p in products if not p[3]), Fraction(0))
    special = special_of(products)
    note = "" if special is None else "the others sum to NaN or infinity"
    return Row(Kind.SUM, None, bias, finite, bias + finite, bias + finite, bias + finite, At(), lanes, note=note)


def _walked_rows(
    unit: FloatUnit, products: list[Term], lanes: list[Lane], extents: Extents, k: int, register: FloatAccumulator
) -> Iterator[Row]:
    """Every step of the declared order; the law is arith.float_walk.float_walk, and the leaves are the same."""
    f, w, bias = register.format.layout, unit.walk, unit.bias_codes[k]
    acc = f.zero if w.bias_last else bias
    exact = number(unpack_term(acc, f))
    if unit.bias is not None and not w.bias_last:
        yield Row(Kind.LOAD, None, Fraction(0), exact, exact, exact, exact, note=_word(register, acc))
    for step, taken in enumerate(_steps(register, lanes, extents)):
        terms = [ZERO if tap is None else products[tap] for tap in taken]
        row, acc = _step_row(step, terms, [IDLE if tap is None else lanes[tap] for tap in taken], acc, exact, unit, register)
        yield row
        exact = row.unlimited
    if w.bias_last and unit.bias is not None:
        before, adds = number(unpack_term(acc, f)), number(unpack_term(bias, f))
        acc, event = add_codes(acc, bias, f, w.mode)
        after = number(unpack_term(acc, f))
        note = _word(register, acc)
        yield Row(Kind.BIAS, None, before, adds, plus(before, adds), after, plus(exact, adds), At(0, event), note=note)


def _word(register: FloatAccumulator, code: int) -> str:
    return f"{code:#0{2 + -(-register.format.bits // 4)}x}"


def _steps(register: FloatAccumulator, lanes: list[Lane], extents: Extents) -> Iterator[list[int | None]]:
    """The taps of each step, as arith.accumulate.arrange puts them; None in an idle lane."""
    schedule = register.schedule
    taps = order_of(schedule, extents)
    places = [0] * len(taps)
    terms = [0 if lane.skipped else tap + 1 for tap, lane in enumerate(lanes)]
    skipped = [int(lane.skipped) for lane in lanes]
    count = arrange(terms, skipped, taps, schedule.lanes, schedule.tail is Tail.PACKED, places)
    for first in range(0, count * schedule.lanes, schedule.lanes):
        yield [place - 1 if place else None for place in places[first : first + schedule.lanes]]


def _step_row(
    step: int, terms: list[Term], lanes: list[Lane], acc: int, exact: Number, unit: FloatUnit, register: FloatAccumulator
) -> tuple[Row, int]:
    f, w = register.format.layout, unit.walk
    entering, at_tree = _rounded(terms, register)
    if register.product is not None:
        lanes = [_entering(lane, number(term)) for lane, term in zip(lanes, entering, strict=True)]
    levels: tuple[tuple[Node, ...], ...] = ()
    added = entering[0]
    if len(entering) > 1:
        levels, added, events = _tree(entering, unit, register)
        at_tree += events
    before, adds = number(unpack_term(acc, f)), number(added)
    held: Term = unpack_term(acc, f)
    acc, event = add_terms(*held, *added, f, w.mode)
    after, note = number(unpack_term(acc, f)), _word(register, acc)
    unlimited = exact
    for term in terms:
        unlimited = plus(unlimited, number(term))
    at = At(at_tree, event)
    return Row(Kind.STEP, step, before, adds, plus(before, adds), after, unlimited, at, tuple(lanes), levels, note), acc


def _rounded(products: list[Term], register: FloatAccumulator) -> tuple[list[Term], int]:
    """The products as they enter the sum, rounded where the contract says so, and the events of that."""
    if register.product is None:
        return products, 0
    made = [round_term(*product, register.product.layout, register.product_rounding) for product in products]
    return [unpack_term(code, register.product.layout) for code, _ in made], sum(event for _, event in made)


def _entering(lane: Lane, product: Number) -> Lane:
    return lane if lane.tap is None else replace(lane, product=product, how=f"{lane.how} -> {text(product)}")


def _tree(terms: list[Term], unit: FloatUnit, register: FloatAccumulator) -> tuple[tuple[tuple[Node, ...], ...], Term, int]:
    """The registers of each level, the sum as a term, and the events: every add rounds, and so does an odd product."""
    f, w = register.format.layout, unit.walk
    values, levels, events = [terms], [], 0
    for level in range(register.schedule.tree.levels(len(terms))):
        nodes, held = [], []
        for of in pairs_of_level(level, len(values[-1]), w.pairing):
            parts = [values[at][i] for at, i in of]
            pair = len(parts) == 2
            code, event = add_terms(*parts[0], *parts[1], f, w.mode) if pair else round_term(*parts[0], f, w.mode)
            events += event
            held.append(unpack_term(code, f))
            exact = number(parts[0]) if len(parts) == 1 else plus(number(parts[0]), number(parts[1]))
            nodes.append(Node(exact, number(held[-1]), of, bool(event)))
        levels.append(tuple(nodes))
        values.append(held)
    return tuple(levels), values[-1][0], events


def float_datapath(unit: FloatUnit, extents: Extents, k: int) -> tuple[str, ...]:
    """What the contract says of this output's way, a line each."""
    contract, register = unit.contract, unit.accumulator
    first = f"input {contract.input}, weight {contract.weight}, {extents[0] * extents[1] * extents[2]} taps"
    operands = f"{first} ({' x '.join(map(str, extents))})"
    if register is None:
        return operands, f"exact sum in {unit.register.bits} bits on the grid 2^{unit.exponents[k]}: every order ends here"
    product = "exact" if register.product is None else f"rounded to {register.product}, {register.product_rounding.name}"
    tree = f"tree {register.schedule.tree.pairing.name}, every add rounded"
    return (
        operands,
        f"accumulator {register.format}, {register.rounding.name} at every add; products {product}",
        order_words(register.schedule, tree),
    )


def float_ending(unit: FloatUnit, cell: Cell, held: Number) -> Ending:
    """From the sum to the code."""
    output = unit.contract.output
    said = [f"acc = {text(held)}"]
    if output.activation == Activation.RELU_BEFORE_REQUANTIZE:
        said.append("ReLU")
    rounding = output.rounding if isinstance(output, FloatOutput) else output.fixed_rounding("output")
    said.append(f"round to {output.format}, {rounding.name}")
    if cell.events.output:
        said.append("beyond the output's range: an event at the output")
    if output.activation == Activation.RELU_AFTER_REQUANTIZE:
        said.append("ReLU")
    fmt = output.format
    real: Number
    if isinstance(fmt, Minifloat):
        real, shown = number(unpack_term(cell.code, fmt.layout)), f"{cell.code:#0{2 + -(-fmt.bits // 4)}x}"
    else:
        real, shown = fmt.decode(cell.code), str(cell.code)
    said.append(f"code = {shown} ({fmt}), real {text(real)}")
    return Ending(cell.code, real, cell.events.output, tuple(said))
