"""From a contract to the integers of the datapath: shifts, limits and the aligned bias of each output channel.

The only place that subtracts fractional lengths; spec, jit and native all start from these numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from hwsim.arith.accumulate import Walk, register_range
from hwsim.arith.overflow import Overflow
from hwsim.arith.requantize import NO_CLAMP, Stage
from hwsim.arith.rounding import Rounding, round_shift
from hwsim.arith.scale import Scaling
from hwsim.contract.accumulator import MAX_TREE_BITS, Accumulator, BiasPoint, RoundAt, Schedule, Spill
from hwsim.contract.mac import MAX_SHIFT, Activation, MacContract, Output, signed_width
from hwsim.contract.scaling import Multiplier
from hwsim.contract.stochastic import StochasticRounding
from hwsim.errors import ContractError, ProofError
from hwsim.formats.pow2 import PowerOfTwo

MAX_FLOAT64_VALUE = 37
"""Bits of a value, its sign included, whose product with a 53-bit mantissa the leaf takes apart within int64."""


@dataclass(frozen=True)
class Epilogue:
    """requantize with resolved numbers: code = activation(fit(clamp(scale(value, multiplier[k], shift[k]) + zero_point))).

    multiplier: 1 where a shift alone scales.
    stochastic: whose noise is added to the dropped bits; rounding is then FLOOR, since (value + noise) >> s is all there is.
    """

    shift: tuple[int, ...]
    rounding: Rounding
    overflow: Overflow
    activation: Activation
    bits: int
    signed: bool
    low: int
    high: int
    stochastic: StochasticRounding | None = None
    scaling: Scaling = Scaling.SHIFT
    multiplier: tuple[int, ...] = (1,)
    zero_point: int = 0
    clamp_low: int = NO_CLAMP[0]
    clamp_high: int = NO_CLAMP[1]

    @cached_property
    def stage(self) -> Stage:
        """What the leaves take, as plain ints."""
        return Stage(
            scaling=int(self.scaling),
            rounding=int(self.rounding),
            zero_point=self.zero_point,
            clamp_low=self.clamp_low,
            clamp_high=self.clamp_high,
            overflow=int(self.overflow),
            activation=int(self.activation),
            bits=self.bits,
            signed=int(self.signed),
            low=self.low,
            high=self.high,
        )

    @property
    def plain(self) -> bool:
        """Whether a shift alone scales, without zero point or clamp."""
        return self.scaling is Scaling.SHIFT and self.zero_point == 0 and (self.clamp_low, self.clamp_high) == NO_CLAMP


@dataclass(frozen=True)
class MacNumbers:
    """Every integer of a MAC layer but operands: per output channel shifts and bias, then the walk and the epilogue.

    product_shift: fl_acc - fl_product.  drop: bits that each product loses before the tree.  step_shift: what is left of
    product_shift behind the tree (product_shift = step_shift - drop).
    total_low, total_high: proven bounds of the exact sum of the codes that the tree adds, over all channels.
    exact_low, exact_high: proven bounds of the accumulator's exact content, over all channels: where an order is declared at
    every step, else at the end.
    walk, level_bits: of the declared order; None where none is.  exact: no bit is lost between product and accumulator, so
    that the exact sum is the answer wherever nothing overflows.  node_low, node_high: range of the narrowest register.
    safe: no register can overflow in this channel, whatever the image.
    """

    product_shift: tuple[int, ...]
    drop: tuple[int, ...]
    step_shift: tuple[int, ...]
    bias: tuple[int, ...]
    acc_bits: int
    acc_low: int
    acc_high: int
    total_low: int
    total_high: int
    exact_low: int
    exact_high: int
    epilogue: Epilogue
    walk: Walk | None
    level_bits: tuple[int, ...]
    exact: bool
    node_low: tuple[int, ...]
    node_high: tuple[int, ...]
    safe: tuple[bool, ...]

    @property
    def proven_bits(self) -> int:
        """Bits that the exact content of the accumulator is proven to need, whatever the image."""
        return max(signed_width(self.exact_low), signed_width(self.exact_high))

    @property
    def static(self) -> tuple[bool, ...]:
        """Per channel: whether the exact sum is proven to be the answer, without an event, whatever the image."""
        return tuple(self.exact and safe for safe in self.safe)


def resolve_output(output: Output, lengths: tuple[int, ...], bits: int, where: str, draws: bool = False) -> Epilogue:
    """shift[k] = lengths[k] - fl_out, checked against int64: values of `bits` bits shifted left must fit 64 bits.

    draws: whether this kind of layer can round by noise; ContractError where it cannot and the output asks for it.
    """
    if output.scaling is not None:
        return _multiplied(output, output.scaling, len(lengths), bits, where)
    shift = tuple(length - output.format.fl() for length in lengths)
    for s in shift:
        if s > MAX_SHIFT or s < 0 and bits - s > 64:
            raise ContractError(
                f"{where}: the shift from the accumulator to the output is {s} bits with {bits} bits to shift; allowed are "
                f"right shifts up to {MAX_SHIFT} and left shifts that stay within 64 bits; choose an output "
                f"fractional_length nearer to {lengths[0]}."
            )
    stochastic = output.rounding if draws and isinstance(output.rounding, StochasticRounding) else None
    rounding = Rounding.FLOOR if stochastic is not None else output.fixed_rounding(where)
    if stochastic is not None and output.format.zero():
        raise ContractError(f"{where}.output.rounding: found a StochasticRounding with a zero point; allowed is zero point 0.")
    return _epilogue(output, shift, rounding, stochastic, Scaling.SHIFT, (1,) * len(shift))


def _epilogue(
    output: Output,
    shift: tuple[int, ...],
    rounding: Rounding,
    stochastic: StochasticRounding | None,
    scaling: Scaling,
    multiplier: tuple[int, ...],
) -> Epilogue:
    f = output.format
    return Epilogue(
        shift, rounding, output.overflow, output.activation, f.bits, f.signed, output.low, output.high, stochastic,
        scaling, multiplier, f.zero(),
        NO_CLAMP[0] if output.clamp_low is None else output.clamp_low,
        NO_CLAMP[1] if output.clamp_high is None else output.clamp_high,
    )  # fmt: skip


def _multiplied(output: Output, scaling: Multiplier, channels: int, bits: int, where: str) -> Epilogue:
    """An output stage with a multiplier, checked: products of values of `bits` bits and multipliers stay within 64 bits."""
    multiplier, shift = scaling.entries(channels, f"{where}.output.scaling")
    for m, s in zip(multiplier, shift, strict=True):
        check_multiplied(scaling.rule, m, s, bits, f"{where}.output.scaling")
    rounding = output.fixed_rounding(where)
    return _epilogue(output, shift, rounding, None, scaling.rule, multiplier)


def check_multiplied(rule: Scaling, m: int, s: int, bits: int, where: str) -> None:
    """Refuse a multiplier whose products with values of `bits` bits leave the rule's register; where: as sentences name it."""
    wide = bits + max(m - 1, 0).bit_length() - min(s, 0)
    most = 63 if rule is Scaling.DOUBLE_ROUND else 64  # whose nudges, up to 2**61 and 2**30, are added to the product
    if rule in (Scaling.MULTIPLY, Scaling.DOUBLE_ROUND) and wide > most:
        raise ContractError(
            f"{where}: values of {bits} bits times {m} need {wide} bits with a shift of {s}, allowed are {most}; "
            "take a narrower multiplier or accumulator."
        )
    if rule is Scaling.HIGH_MULTIPLY and bits > 32:
        raise ContractError(f"{where}: HIGH_MULTIPLY takes 32 bits, found {bits}; take MULTIPLY or a narrower accumulator.")
    if rule is Scaling.FLOAT64 and bits > MAX_FLOAT64_VALUE:
        raise ContractError(
            f"{where}: FLOAT64 takes values of at most {MAX_FLOAT64_VALUE} bits, found {bits}; take a narrower accumulator."
        )


def split_shift(contract: MacContract, k: int) -> tuple[int, int]:
    """Return (drop, step_shift) of channel k: how many bits each product loses, and the shift behind the tree."""
    shift = contract.accumulator_length(k) - contract.product_length(k)
    if shift < 0 and contract.accumulator.round_at is RoundAt.PRODUCT:
        return -shift, 0
    return 0, shift


def resolve_mac(contract: MacContract, sums: list[tuple[int, int]], bias: list[int] | None, taps: int, where: str) -> MacNumbers:
    """Resolve a MAC contract for `len(sums)` output channels.

    sums: per channel proven bounds (N, P), N <= 0 <= P, of every sum of a subset of the codes that the tree adds.
    bias: codes in the bias's format, or None.  taps: of one output.
    Errors: ContractError where a shift or a sum leaves int64, ProofError where a proof is required and fails.
    """
    channels = range(len(sums))
    acc, schedule = contract.accumulator, contract.accumulator.schedule
    splits = [split_shift(contract, k) for k in channels]
    if schedule is None and (coarse := next((k for k in channels if splits[k] != (0, max(splits[k][1], 0))), None)) is not None:
        raise ContractError(
            f"{where}: the accumulator's fractional_length {contract.accumulator_length(coarse)} is coarser than the product's "
            f"{contract.product_length(coarse)} (channel {coarse}); allowed is the product's grid or a finer one, or a declared "
            "schedule (Accumulator.schedule), whose products are rounded."
        )
    aligned = tuple(_align_bias(contract, bias, k, where) for k in channels)
    intervals = [_content(contract, sums[k], splits[k][1], aligned[k], taps, k, where) for k in channels]
    nodes = [_narrowest(contract, splits[k][1]) for k in channels]
    safe = tuple(low >= n_low and high <= n_high for (low, high), (n_low, n_high) in zip(intervals, nodes, strict=True))
    exact = (min(low for low, _ in intervals), max(high for _, high in intervals))
    need = max(signed_width(exact[0]), signed_width(exact[1]))
    if acc.require_proof and not all(safe):
        raise ProofError(
            f"{where}: the exact sum reaches {exact[0]}..{exact[1]}, which an accumulator of {acc.bits} bits cannot be proven "
            f"to hold; {need} bits would do: widen the accumulator (and its tree and spill), or give the operands fewer bits."
        )
    lengths = tuple(contract.accumulator_length(k) for k in channels)
    return MacNumbers(
        product_shift=tuple(step - drop for drop, step in splits),
        drop=tuple(drop for drop, _ in splits),
        step_shift=tuple(step for _, step in splits),
        bias=aligned,
        acc_bits=acc.bits,
        acc_low=acc.low,
        acc_high=acc.high,
        total_low=min(low for low, _ in sums),
        total_high=max(high for _, high in sums),
        exact_low=exact[0],
        exact_high=exact[1],
        epilogue=resolve_output(contract.output, lengths, min(need, acc.bits), where, draws=True),
        walk=None if schedule is None else _walk(acc, schedule),
        level_bits=() if schedule is None else _level_bits(contract, schedule, sums, where),
        exact=_loses_nothing(contract, splits),
        node_low=tuple(low for low, _ in nodes),
        node_high=tuple(high for _, high in nodes),
        safe=safe,
    )


def _content(
    contract: MacContract, sums: tuple[int, int], shift: int, bias: int, taps: int, k: int, where: str
) -> tuple[int, int]:
    """Bounds of what the accumulator of channel k holds: at every step, or at the end where no order is declared."""
    low, high = sums
    schedule = contract.accumulator.schedule
    if shift >= 0:
        low, high = low << shift, high << shift
    else:  # each of at most `taps` steps is rounded, by less than one
        low, high = (low >> -shift) - taps, -(-high >> -shift) + taps
    if schedule is not None and schedule.spill is not None and schedule.spill.shift:
        slack = (taps // schedule.spill.every + 1) << schedule.spill.shift
        low, high = low - slack, high + slack
    if abs(shift) > MAX_SHIFT or max(high, sums[1]) >= 1 << 63 or min(low, sums[0]) < -(1 << 63):
        raise ContractError(
            f"{where}: the exact sum of channel {k} needs more than 64 bits after a left shift of {shift}; "
            f"choose an accumulator fractional_length nearer to {contract.product_length(k)}."
        )
    if schedule is None:
        return low + bias, high + bias
    if high + max(bias, 0) >= 1 << 63 or low + min(bias, 0) < -(1 << 63):
        raise ContractError(
            f"{where}: the exact sum of channel {k} with its bias needs more than 64 bits; give the operands fewer bits."
        )
    return low + min(bias, 0), high + max(bias, 0)


def _narrowest(contract: MacContract, shift: int) -> tuple[int, int]:
    """Range, on the accumulator's grid, that every register of the declared order holds."""
    acc, schedule = contract.accumulator, contract.accumulator.schedule
    ranges = [(acc.low, acc.high)]
    if schedule is not None and schedule.tree.bits is not None and schedule.tree.overflow is not None:
        overflow, left = schedule.tree.overflow, max(shift, 0)
        levels = [register_range(bits, overflow) for bits in schedule.tree.bits]
        if shift >= 0:
            ranges += [(low << left, high << left) for low, high in levels]
        else:
            ranges += [(low >> -shift, high >> -shift) for low, high in levels]
    if schedule is not None and schedule.spill is not None:
        low, high = register_range(schedule.spill.bits, schedule.spill.overflow)
        ranges.append((low << schedule.spill.shift, high << schedule.spill.shift))
    return max(low for low, _ in ranges), min(high for _, high in ranges)


def _level_bits(contract: MacContract, schedule: Schedule, sums: list[tuple[int, int]], where: str) -> tuple[int, ...]:
    """Width of each level of the adder tree: declared, else that of any sum of products, as far as these weights make them."""
    bits, overflow = schedule.tree.bits, schedule.tree.overflow
    if bits and overflow is not None:
        narrowest = register_range(min(bits), overflow)
        for k, (low, high) in enumerate(sums):
            shift = max(split_shift(contract, k)[1], 0)
            held = min(1 << (bits[-1] - 1), high - low)  # a level that wraps keeps less than what it was given
            if (low < narrowest[0] or high > narrowest[1]) and held << shift >= 1 << 63:
                raise ContractError(
                    f"{where}: Schedule.tree.bits: the last level's {bits[-1]} bits leave 64 bits after a left shift of {shift} "
                    f"(channel {k}); choose an accumulator fractional_length nearer to {contract.product_length(k)}."
                )
    if bits is not None or schedule.lanes == 1:
        return bits or ()
    need = max(signed_width(end) for both in sums for end in both)
    if need > MAX_TREE_BITS:
        raise ContractError(
            f"{where}: Schedule.tree adds products whose sums need {need} bits, allowed are {MAX_TREE_BITS}; take one lane, or "
            "give the operands fewer bits."
        )
    return tuple(min(bits, MAX_TREE_BITS) for bits in contract.exact_level_bits)


def _loses_nothing(contract: MacContract, splits: list[tuple[int, int]]) -> bool:
    """Whether no bit is dropped between the product and the end of the accumulator."""
    schedule = contract.accumulator.schedule
    rounds = any(drop > 0 or step < 0 for drop, step in splits)
    spills = schedule is not None and schedule.spill is not None and schedule.spill.shift > 0
    inexact = isinstance(contract.weight, PowerOfTwo) and contract.product is not None
    return not rounds and not spills and not (inexact and not contract.product.is_exact(contract.weight))  # type: ignore


def _walk(acc: Accumulator, schedule: Schedule) -> Walk:
    """The declared order's rules as plain ints."""
    spill = schedule.spill or Spill(1, 2)
    low, high = register_range(spill.bits, spill.overflow)
    return Walk(
        lanes=int(schedule.lanes),
        pairing=int(schedule.tree.pairing),
        tree_overflow=int(schedule.tree.overflow or Overflow.WRAP),
        bits=int(acc.bits),
        low=acc.low,
        high=acc.high,
        overflow=int(acc.overflow),
        rounding=int(acc.rounding),
        bias_last=int(schedule.bias is BiasPoint.LAST),
        spill_every=int(spill.every) if schedule.spill is not None else 0,
        spill_bits=int(spill.bits),
        spill_low=low,
        spill_high=high,
        spill_overflow=int(spill.overflow),
        spill_shift=int(spill.shift),
        spill_rounding=int(spill.rounding),
        spill_last=int(spill.last),
    )


def _align_bias(contract: MacContract, bias: list[int] | None, k: int, where: str) -> int:
    """bias on the accumulator's grid = round_shift(code, fl_bias - fl_acc): left is exact, right as bias_rounding says."""
    if bias is None:
        return 0
    acc = contract.accumulator
    shift = contract.bias_length(k) - contract.accumulator_length(k)
    aligned = round_shift(int(bias[k]), shift, contract.bias_rounding)
    if not acc.low <= aligned <= acc.high:
        raise ContractError(
            f"{where}: bias {k} is {aligned} on the accumulator's grid, which {acc.bits} bits do not hold; "
            f"widen the accumulator or give the bias fewer bits."
        )
    return aligned
