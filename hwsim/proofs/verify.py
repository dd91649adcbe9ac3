"""A second opinion on certificates: plain Python ints, from a contract's declared fields and the operands' codes alone.

Why two walks prove everything: products are monotone in the input, and sums, rounding and saturation are monotone in what
they take. Hence every register is smallest where each product is smallest, and largest where each is largest; both are inputs
that exist, for each set of taps that does not lie in the padding. Where a register wraps, or taps close up by what they read,
this holds no longer: then every state is followed, one by one, where they are few (states.py). Where they are not, bounds stay
bounds, but that they are reached was not checked, and the Verdict says so.
A spill buffer wider than a narrower accumulator is narrowed to hold what that does: then the accumulator overflows first, so
that the walk with the declared buffer tells of every width; and where its ends are those claimed, one bit less is one too few.
None of this shares a line with what makes certificates.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.errors import ProofError
from hwsim.layers import MacLayer
from hwsim.proofs.claim import Claim, Register, read_claim
from hwsim.proofs.walks import Live, Unit, Walk

WIDEST = 99
"""Bits that hold whatever a claim can say."""
Walks = dict[Live, Walk]


@dataclass(frozen=True)
class Verdict:
    """A certificate that was not refuted.

    unproven: sentences, by channel: that these widths hold every input was not confirmed.  unreached: they hold, but that no
    fewer bits do was not confirmed.  Both empty: every end was proven again; where and when it is reached (low_at, high_at)
    where a walk tells so, that is, not of an end of 0, where states were followed, or where reading zero leaves taps out.
    """

    name: str
    unproven: tuple[str, ...] = ()
    unreached: tuple[str, ...] = ()

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Whatever was not confirmed: never a pass."""
        return self.unproven + self.unreached


def verify(data: object, layer: MacLayer, file: str = "") -> Verdict:
    """Check a certificate, as plain data from any source, against the layer that it claims to be of.

    file: where sentences about data that are no certificate say that these stand.
    Errors: ProofError where a claim is false or is of another layer; InputError where the data are no certificate.
    """
    claim = read_claim(data, layer, file)
    unit = Unit(layer, claim.shape, claim.low, claim.high)
    unproven, unreached = [], []
    for k in range(layer.channels):
        where = f"layer {claim.name!r}, channel {k}: not checked"
        wider, doubt = _check_channel(claim, unit, k)
        unproven += [f"{where}: {wider}."] if wider else []
        unreached += [f"{where} that no fewer bits do: {doubt}."] if doubt else []
    return Verdict(claim.name, tuple(unproven), tuple(unreached))


def _check_channel(claim: Claim, unit: Unit, k: int) -> tuple[str | None, str | None]:
    """Refute the claims of a channel, or return why it is not proven that they hold, and why not that they are the least."""
    where, bits, tight = f"certificate of layer {claim.name!r}, channel {k}", claim.bits[k], claim.tight[k]
    low, high = claim.registers[0].low[k], claim.registers[0].high[k]
    need = next(b for b in range(2, WIDEST) if unit.fits(k, low, high, b))
    if bits != need:
        raise ProofError(f"{where}: claims {bits} bits for {low}..{high}, found that {need} are needed; prove it again.")
    walks = unit.walks(k, follow=False)
    if _doubt(walks) and (tight or not all(_within(r, k, _reached(walks, i)) for i, r in enumerate(claim.registers))):
        walks = unit.walks(k, follow=True)
    doubt = _doubt(walks)
    for i, register in enumerate(claim.registers):
        wider = _check_ends(where, register, k, _reached(walks, i), tight, doubt)
        if wider:
            return wider, None
    if tight and not doubt:
        for i, register in enumerate(claim.registers):
            _check_places(f"{where}, {register.name}", register, k, i, unit, walks)
    return None, doubt if tight else None  # and claimed ends that are reached need every bit: `need` was made from them


def _doubt(walks: Walks) -> str | None:
    """Return why ends are bounds only, or None where they are reached."""
    return next((walk.doubt for walk in walks.values() if walk.doubt), None)


def _within(register: Register, k: int, ends: tuple[int, int]) -> bool:
    return register.low[k] <= ends[0] and ends[1] <= register.high[k]


def _reached(walks: Walks, register: int) -> tuple[int, int]:
    """Ends of one register over all live sets."""
    ends = [walk.registers[register] for walk in walks.values()]
    return min(low for (low, _), _ in ends), max(high for _, (high, _) in ends)


def _check_ends(where: str, register: Register, k: int, reached: tuple[int, int], tight: bool, doubt: str | None) -> str | None:
    """Refute the claimed ends of a register, or return why they are neither proven nor refuted."""
    claimed = register.low[k], register.high[k]
    if _within(register, k, reached) and (doubt or not tight or claimed == reached):
        return None
    if doubt:
        return f"{doubt}, so that the {register.name} was bounded by {reached[0]}..{reached[1]} only"
    raise ProofError(
        f"{where}, {register.name}: claims {claimed[0]}..{claimed[1]}{' and that both are reached' if tight else ''}, found "
        f"{reached[0]}..{reached[1]}; prove it again."
    )


def _check_places(where: str, register: Register, k: int, i: int, unit: Unit, walks: Walks) -> None:
    """Each end is reached first where the claim says; 0 is what every register holds before its first step."""
    if unit.skips_inputs:
        return  # what an input leaves out changes the number of the step
    for side, value, (y, x, step) in ((0, register.low[k], register.low_at[k]), (1, register.high[k], register.high_at[k])):
        live = unit.live(y, x)
        if live not in walks:
            walks[live] = unit.walk(k, unit.products(k), live)
        found, told = walks[live].registers[i][side], walks[live].doubt is None
        if value and told and found[1] is not None and found != (value, step):
            raise ProofError(
                f"{where}: claims {value} first at (y, x, step) = {(y, x, step)}, found {found[0]} as the end there, at step "
                f"{found[1]}; prove it again."
            )
