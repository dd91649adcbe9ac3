"""The table of polynomials: the factors are the factors, every entry is primitive, and the test of it is brute force's."""

from __future__ import annotations

import math

import pytest

from hwsim.arith.lfsr import LfsrForm, lfsr_step
from hwsim.contract.polynomials import MAXIMAL, MERSENNE_FACTORS, is_maximal, mask_of

# Deterministic below 3.3e24: Sorenson and Webster, Strong pseudoprimes to twelve prime bases (2015)
BASES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


def is_prime(n: int) -> bool:
    """Miller and Rabin's test, certain for the sizes here."""
    if n < 2 or any(n % p == 0 for p in BASES):
        return n in BASES
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    squares = ([pow(a, odd << i, n) for i in range(twos)] for a in BASES)
    return all(chain[0] == 1 or n - 1 in chain for chain in squares)


def period(polynomial: tuple[int, ...], form: LfsrForm) -> int:
    width, taps = polynomial[0], mask_of(polynomial)
    state, steps = lfsr_step(1, taps, width, form), 1
    while state != 1:
        state, steps = lfsr_step(state, taps, width, form), steps + 1
    return steps


def every_polynomial(width: int) -> list[tuple[int, ...]]:
    inner = range(width - 1, 0, -1)
    return [(width, *(i for i in inner if chosen >> i & 1)) for chosen in range(0, 1 << width, 2)]


def test_the_tables_hold_every_width():
    assert list(MAXIMAL) == list(MERSENNE_FACTORS) == list(range(2, 65))
    assert all(width == taps[0] for width, taps in MAXIMAL.items())


@pytest.mark.parametrize("width", sorted(MERSENNE_FACTORS))
def test_the_factors_are_primes_and_multiply_to_the_period(width):
    factors = MERSENNE_FACTORS[width]
    assert math.prod(factors) == 2**width - 1
    assert all(is_prime(p) for p in factors)


def test_the_primality_test_agrees_with_division():
    assert [n for n in range(5000) if is_prime(n)] == [n for n in range(2, 5000) if all(n % d for d in range(2, n))]


@pytest.mark.parametrize("width", sorted(MAXIMAL))
def test_every_entry_is_primitive_and_so_is_its_mirror_image(width):
    mirrored = (width, *sorted((width - i for i in MAXIMAL[width][1:]), reverse=True))
    assert is_maximal(MAXIMAL[width]) and is_maximal(mirrored)


@pytest.mark.parametrize("form", list(LfsrForm), ids=lambda form: form.name)
@pytest.mark.parametrize("width", range(2, 15))
def test_every_entry_runs_through_all_states(width, form):
    assert period(MAXIMAL[width], form) == 2**width - 1


@pytest.mark.parametrize("width", range(2, 9))
def test_maximal_means_the_full_period_for_every_polynomial(width):
    totient = sum(math.gcd(i, 2**width - 1) == 1 for i in range(1, 2**width))
    maximal = [p for p in every_polynomial(width) if is_maximal(p)]
    assert len(maximal) == totient // width  # the number of primitive polynomials of a degree
    for form in LfsrForm:
        assert [p for p in every_polynomial(width) if period(p, form) == 2**width - 1] == maximal
