"""What registers are asked to hold, by brute force: every input of a small layer, walked in plain ints and Fractions.

Written from the design's text: the accumulator is endless, tree and spill buffer are as declared. Of hwsim it takes the
contract's fields alone; nothing here knows of monotone rules, intervals or shifts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import product

import numpy as np

from hwsim.arith.accumulate import Pairing
from hwsim.arith.overflow import Overflow
from hwsim.arith.shift_add import SignOrder
from hwsim.contract import BiasPoint, MacContract, RoundAt
from hwsim.formats import Affine, PowerOfTwo
from oracles.exact import fitted, limits, rounded
from oracles.ordered import Read, reads_of, steps_of, weight_of

Place = tuple[int, int, int]


@dataclass
class Asked:
    """The ends of what one register is asked to hold, where inputs that reach an end do so first, and one such input's codes."""

    low: int | None = None
    high: int | None = None
    low_at: set[Place] = field(default_factory=set)
    high_at: set[Place] = field(default_factory=set)
    low_codes: dict[int, int] = field(default_factory=dict)
    high_codes: dict[int, int] = field(default_factory=dict)

    def take(self, log: list[tuple[int, int]], places: list[tuple[int, int]], codes: dict[int, int]) -> None:
        """Learn what one input asked at (step, value), in time."""
        low, high = min(v for _, v in log), max(v for _, v in log)
        if self.low is None or low < self.low:
            self.low, self.low_at, self.low_codes = low, set(), codes
        if self.high is None or high > self.high:
            self.high, self.high_at, self.high_codes = high, set(), codes
        if low == self.low:
            self.low_at |= {(*at, first(log, low)) for at in places}
        if high == self.high:
            self.high_at |= {(*at, first(log, high)) for at in places}


def first(log: list[tuple[int, int]], value: int) -> int:
    return next(step for step, v in log if v == value)


@dataclass
class Registers:
    """Of one output channel."""

    accumulator: Asked = field(default_factory=Asked)
    spill: Asked = field(default_factory=Asked)
    tree: list[Asked] = field(default_factory=list)


@lru_cache(maxsize=1 << 16)
def scaled(value: int, shift: int, mode) -> int:
    return rounded(value * Fraction(2) ** shift, mode)


def length(fmt, k: int = 0) -> int:
    """The fractional length of a format; affine codes are integers."""
    if isinstance(fmt, Affine):
        return 0
    lengths = fmt.fractional_length
    return lengths[k] if isinstance(lengths, tuple) else lengths


def zero(fmt, k: int = 0) -> int:
    if not isinstance(fmt, Affine):
        return 0
    return fmt.zero_point[k] if isinstance(fmt.zero_point, tuple) else fmt.zero_point


def grids(contract: MacContract, k: int) -> tuple[int, int, int]:
    """Fractional lengths of products, of what the tree adds, and of the accumulator."""
    if isinstance(contract.weight, PowerOfTwo):
        own = contract.input.fractional_length + contract.product.guard_bits
    else:
        own = length(contract.input) + length(contract.weight, k)
    declared = contract.accumulator.fractional_length
    acc = own - contract.accumulator.dropped_bits if declared is None else declared
    acc = acc[k] if isinstance(acc, tuple) else acc
    early = acc < own and contract.accumulator.round_at is RoundAt.PRODUCT
    return own, acc if early else own, acc


def product_of(contract: MacContract, read: Read, k: int) -> int:
    """What enters the tree; read: less its zero points."""
    made = read.x * weight_of(contract.weight, read.w)
    if isinstance(contract.weight, PowerOfTwo):
        unit, finer = contract.product, made * 2**contract.product.guard_bits
        negative = weight_of(contract.weight, read.w) < 0
        if unit.sign_order == SignOrder.BEFORE_ROUNDING or not negative:
            made = rounded(finer, unit.rounding)
        else:
            made = -rounded(-finer, unit.rounding)
    own, tree, _ = grids(contract, k)
    return rounded(made * Fraction(2) ** (tree - own), contract.accumulator.rounding)


def bias_of(layer, k: int) -> int:
    if layer.bias is None:
        return 0
    grid, fmt = grids(layer.contract, k)[2], layer.contract.bias
    own = grid if fmt is None else length(fmt, k)
    return rounded(int(layer.bias[k]) * Fraction(2) ** (grid - own), layer.contract.bias_rounding)


def brute_force(layer, shape, low: list[int], high: list[int]) -> list[Registers]:
    """Walk every input with codes low[c]..high[c], for every output; return the registers of each output channel."""
    pixels = np.arange(shape.c * shape.h * shape.w).reshape(shape)
    out, found = layer.output_shape([shape]), []
    for k in range(out.c):
        registers = Registers()
        alike: dict[tuple, tuple[dict, list]] = {}  # outputs that read alike are asked alike
        for y, x in product(range(out.h), range(out.w)):
            reads = reads_of(layer, pixels, k, y, x)
            key = tuple((tap, r.padded, -1 if r.padded else r.x // (shape.h * shape.w)) for tap, r in reads.items())
            alike.setdefault(key, (reads, []))[1].append((y, x))
        for reads, places in alike.values():
            for codes in inputs(reads, shape, low, high):
                walk(layer, k, reads, codes, registers, places)
        found.append(registers)
    return found


def inputs(reads: dict, shape, low: list[int], high: list[int]) -> Iterator[dict[int, int]]:
    """Every input, by pixel, of the pixels that an output reads."""
    pixels = [read.x for read in reads.values() if not read.padded]
    channels = [pixel // (shape.h * shape.w) for pixel in pixels]
    for codes in product(*(range(low[c], high[c] + 1) for c in channels)):
        yield dict(zip(pixels, codes, strict=True))


def walk(layer, k: int, reads: dict, codes: dict[int, int], registers: Registers, places: list) -> None:
    """One output, whose registers learn what they are asked."""
    contract = layer.contract
    zx, zw = zero(contract.input), zero(contract.weight, k)
    real = {tap: Read(0 if r.padded else codes[r.x] - zx, r.w - zw, r.padded) for tap, r in reads.items()}
    products = {tap: cached_product(contract, read, k) for tap, read in real.items()}
    acc_log, spill_log = [], [(0, 0)]
    tree_logs: list[list[tuple[int, int]]] = []
    schedule, bias = contract.accumulator.schedule, bias_of(layer, k)
    _, tree_grid, grid = grids(contract, k)
    if schedule is None:
        acc_log.append((0, scaled(sum(products.values()), grid - tree_grid, contract.accumulator.rounding) + bias))
    else:
        tree_logs = [[(0, 0)] for _ in range(schedule.tree.levels(schedule.lanes))]
        ordered(contract, real, products, bias, grid - tree_grid, (acc_log, spill_log, tree_logs))
    registers.accumulator.take(acc_log, places, codes)
    registers.spill.take(spill_log, places, codes)
    registers.tree.extend(Asked() for _ in range(len(tree_logs) - len(registers.tree)))
    for asked, log in zip(registers.tree, tree_logs, strict=True):
        asked.take(log, places, codes)


def ordered(contract: MacContract, real: dict, products: dict, bias: int, shift: int, logs: tuple) -> None:
    """acc = bias; each step: acc += round(tree(products)), spilled as declared; the bias, if it is last."""
    acc_log, spill_log, tree_logs = logs
    schedule, rounding = contract.accumulator.schedule, contract.accumulator.rounding
    acc = bias if schedule.bias is BiasPoint.FIRST else 0
    acc_log.append((0, acc))
    steps = steps_of(contract, real)
    for i, step in enumerate(steps):
        total = tree_sum(contract, [0 if tap is None else products[tap] for tap in step], i, tree_logs)
        acc += scaled(total, shift, rounding)
        acc_log.append((i, acc))
        spill = schedule.spill
        if spill is None or not (spill.last if i == len(steps) - 1 else (i + 1) % spill.every == 0):
            continue
        written = scaled(acc, -spill.shift, spill.rounding)
        spill_log.append((i, written))
        acc = fitted(written, spill.overflow, spill.bits, True) * 2**spill.shift
        acc_log.append((i, acc))
    if schedule.bias is BiasPoint.LAST:
        acc_log.append((len(steps), acc + bias))


def tree_sum(contract: MacContract, values: list[int], step: int, logs: list) -> int:
    """What a tree makes of its lanes: every sum in a register of its level."""
    tree = contract.accumulator.schedule.tree
    for level, log in enumerate(logs):
        if tree.pairing == Pairing.CHAIN:
            sums, waiting = [sum(values[:2])], values[2:]
        elif tree.pairing == Pairing.ADJACENT:
            sums, waiting = [sum(values[i : i + 2]) for i in range(0, len(values), 2)], []
        else:
            half = -(-len(values) // 2)
            sums, waiting = [sum(values[i::half]) for i in range(half)], []
        log.extend((step, value) for value in sums)
        if tree.bits is not None and tree.overflow is not None:
            sums = [fitted(value, tree.overflow, tree.bits[level], True) for value in sums]
        values = sums + waiting
    return values[0]


_products: dict = {}


def cached_product(contract: MacContract, read: Read, k: int) -> int:
    key = (id(contract), read.x, read.w, k)
    if _products.get("of") is not contract:
        _products.clear()
        _products["of"] = contract
    if key not in _products:
        _products[key] = product_of(contract, read, k)
    return _products[key]


def width(low: int, high: int, overflow: Overflow) -> int:
    """The fewest bits of a register that holds both, by trying."""
    bits = 2
    while True:
        ends = limits(bits, True, overflow)
        if ends[0] <= low and high <= ends[1]:
            return bits
        bits += 1


def image(shape, codes: dict[int, int], low: list[int]) -> np.ndarray:
    """An input [1][C][H][W] with these codes by pixel, elsewhere the smallest of the range."""
    filled = np.repeat(np.array(low, dtype=np.int64), shape.h * shape.w)
    for pixel, code in codes.items():
        filled[pixel] = code
    return filled.reshape(1, *shape)
