"""From a contract to the integers of the datapath: shifts, limits and the aligned bias of each output channel.

The only place that subtracts fractional lengths; spec, jit and native all start from these numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding, round_shift
from hwsim.contract.mac import MAX_SHIFT, Activation, MacContract, Output
from hwsim.errors import ContractError, ProofError


@dataclass(frozen=True)
class Epilogue:
    """requantize with resolved numbers: code = activation(fit(round_shift(value, shift[k])))."""

    shift: tuple[int, ...]
    rounding: Rounding
    overflow: Overflow
    activation: Activation
    bits: int
    signed: bool
    low: int
    high: int


@dataclass(frozen=True)
class MacNumbers:
    """Every integer of a MAC layer but operands: per output channel product shift and bias, then the epilogue.

    total_low, total_high: proven bounds of the exact sum of products (before product_shift), over all channels.
    exact_low, exact_high: proven bounds of the accumulator's exact content, over all channels.
    """

    product_shift: tuple[int, ...]
    bias: tuple[int, ...]
    acc_bits: int
    acc_low: int
    acc_high: int
    total_low: int
    total_high: int
    exact_low: int
    exact_high: int
    epilogue: Epilogue

    @property
    def proven_bits(self) -> int:
        """Bits that the exact content of the accumulator is proven to need, whatever the image."""
        return max(signed_width(self.exact_low), signed_width(self.exact_high))


def signed_width(value: int) -> int:
    """Return the fewest bits of a two's complement register that holds the value.

    >>> signed_width(127), signed_width(-128), signed_width(128), signed_width(0)
    (8, 8, 9, 1)
    """
    return (value if value >= 0 else -value - 1).bit_length() + 1


def resolve_output(output: Output, lengths: tuple[int, ...], bits: int, where: str) -> Epilogue:
    """shift[k] = lengths[k] - fl_out, checked against int64: values of `bits` bits shifted left must fit 64 bits."""
    shift = tuple(length - output.format.fl() for length in lengths)
    for s in shift:
        if s > MAX_SHIFT or s < 0 and bits - s > 64:
            raise ContractError(
                f"{where}: the shift from the accumulator to the output is {s} bits with {bits} bits to shift; allowed are "
                f"right shifts up to {MAX_SHIFT} and left shifts that stay within 64 bits; choose an output "
                f"fractional_length nearer to {lengths[0]}."
            )
    f = output.format
    return Epilogue(shift, output.rounding, output.overflow, output.activation, f.bits, f.signed, output.low, output.high)


def resolve_mac(contract: MacContract, sums: list[tuple[int, int]], bias: list[int] | None, where: str) -> MacNumbers:
    """Resolve a MAC contract for `len(sums)` output channels.

    sums: per channel the proven (smallest, largest) exact sum of products.  bias: codes in the bias's format, or None.
    Errors: ContractError where a shift or a sum leaves int64, ProofError where a proof is required and fails.
    """
    channels = range(len(sums))
    product_shift = tuple(contract.accumulator_length(k) - contract.product_length(k) for k in channels)
    aligned = tuple(_align_bias(contract, bias, k, where) for k in channels)
    acc = contract.accumulator
    totals = (min(low for low, _ in sums), max(high for _, high in sums))
    shifted = []
    for k, (low, high) in enumerate(sums):
        s = product_shift[k]
        if s < 0:
            raise ContractError(
                f"{where}: the accumulator's fractional_length {contract.accumulator_length(k)} is coarser than the product's "
                f"{contract.product_length(k)} (channel {k}); allowed is the product's grid or a finer one."
            )
        if s > MAX_SHIFT or (high << s) >= 1 << 63 or (low << s) < -(1 << 63):
            raise ContractError(
                f"{where}: the exact sum of channel {k} needs more than 64 bits after a left shift of {s}; "
                f"choose an accumulator fractional_length nearer to {contract.product_length(k)}."
            )
        shifted.append((low << s, high << s))
    exact = (
        min(low + b for (low, _), b in zip(shifted, aligned, strict=True)),
        max(high + b for (_, high), b in zip(shifted, aligned, strict=True)),
    )
    need = max(signed_width(exact[0]), signed_width(exact[1]))
    if acc.require_proof and need > acc.bits:
        raise ProofError(
            f"{where}: the exact sum reaches {exact[0]}..{exact[1]}, which an accumulator of {acc.bits} bits cannot be proven "
            f"to hold; {need} bits would do: widen the accumulator, or give the operands fewer bits."
        )
    lengths = tuple(contract.accumulator_length(k) for k in channels)
    epilogue = resolve_output(contract.output, lengths, min(need, acc.bits), where)
    return MacNumbers(product_shift, aligned, acc.bits, acc.low, acc.high, *totals, *exact, epilogue)


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
