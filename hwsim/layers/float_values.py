"""What layers other than multiply-accumulate do where a minifloat enters or leaves them: one exact value, one rounding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hwsim.arith.float_finish import finish_code as finish_leaf
from hwsim.arith.float_walk import unpack_term
from hwsim.contract.float_mac import FloatOutput
from hwsim.contract.mac import MAX_OUTPUT_BITS, Output, check_format
from hwsim.errors import ContractError
from hwsim.formats import Affine, FixedPoint, Format, Minifloat
from hwsim.formats.catalog import BINARY32
from hwsim.layers.base import AnyOutput, Bounds, Real
from hwsim.layers.float_output import finish_ratio, finish_rule
from hwsim.layers.float_unit import exact_sum, span_of, special_of

SPARE_BITS = 64


def has_float(formats: Iterable[Format]) -> bool:
    """Return whether a minifloat is among the formats."""
    return any(isinstance(fmt, Minifloat) for fmt in formats)


def check_real(name: str, value: object, max_bits: int = MAX_OUTPUT_BITS) -> None:
    """Refuse what is neither a Minifloat nor a format of integers, alike for all channels and of at most `max_bits`."""
    if not isinstance(value, Minifloat):
        check_format(name, value, max_bits)


def check_no_affine(kind: str, formats: Iterable[Format]) -> None:
    """Refuse affine codes beside minifloats: no unit takes both."""
    for fmt in formats:
        if isinstance(fmt, Affine):
            raise ContractError(f"{kind}: found {fmt} beside a minifloat, allowed there are FixedPoint and Minifloat.")


def check_stage(kind: str, output: object) -> None:
    """Refuse what is no output stage."""
    if not isinstance(output, (Output, FloatOutput)):
        raise ContractError(f"{kind}.output: found {output!r}, allowed an Output or a FloatOutput.")


def check_float_output(kind: str, output: AnyOutput) -> None:
    """Refuse an output stage that draws noise: a value of minifloats is rounded by a fixed mode."""
    if isinstance(output, Output):
        output.fixed_rounding(kind)


def integer_format(kind: str, fmt: Format) -> FixedPoint | Affine:
    """Return the format of a layer in integers; ContractError where it is none."""
    if isinstance(fmt, (FixedPoint, Affine)):
        return fmt
    raise ContractError(f"{kind}: found the format {fmt}, allowed here a FixedPoint or an Affine.")


def integer_output(kind: str, output: AnyOutput) -> Output:
    """Return the output stage of a layer in integers; ContractError where it is none."""
    if isinstance(output, Output):
        return output
    raise ContractError(f"{kind}.output: found {output!r}, allowed here an Output.")


def words(output: AnyOutput) -> Bounds:
    """Return any code of the output: what a minifloat can become is not narrowed."""
    return Bounds(None, (output.format.low, output.format.high))


def sum_of_codes(codes: Sequence[int], formats: Sequence[Real], divisor: int, output: AnyOutput) -> tuple[int, int]:
    """(code, event) of round(sum of the codes' numbers / divisor): exact up to the one rounding. divisor >= 1.

    An exact sum has one zero, +0. NaN among the terms, or two infinities that disagree, give NaN; else an infinity stays.

    >>> from hwsim.formats.catalog import E4M3
    >>> E4M3.decode(sum_of_codes([0x38, 24], [E4M3, FixedPoint(8, 4)], 2, FloatOutput(E4M3))[0])
    Fraction(5, 4)
    """
    terms = [
        unpack_term(code, fmt.layout) if isinstance(fmt, Minifloat) else (int(code < 0), abs(code), -fmt.fl(), 0)
        for code, fmt in zip(codes, formats, strict=True)
    ]
    special = special_of(terms)
    if special is not None:
        code, event = finish_leaf(special, BINARY32.layout, finish_rule(output))
        return int(code), int(event)
    exponent = min((at for _, significand, at, _ in terms if significand), default=0)
    return finish_ratio(exact_sum(terms, exponent), divisor, exponent, output)


def sum_grid(formats: Sequence[Real], output: AnyOutput, divides: bool) -> int:
    """Return the exponent of a grid on which all terms lie; where the sum is divided, so low that its last bit may be sticky.

    A quotient by up to 2**20 that is not 0 then has 44 bits or more, and reaches two bits below a fixed-point output's grid.
    """
    grid = min(span_of(fmt).exponent for fmt in formats)
    if not divides:
        return grid
    return min(grid - SPARE_BITS, -output.format.fl() - 2) if isinstance(output.format, FixedPoint) else grid - SPARE_BITS


def sum_bits(formats: Sequence[Real], terms: int, grid: int) -> int:
    """Return the bits that a sum of so many terms of these formats needs in units of 2**grid, its sign included."""
    reach = max(span.largest << (span.exponent - grid) for span in map(span_of, formats))
    return (reach * terms).bit_length() + 1
