"""hwsim.testing's strategies: what they give is legal, the impossible is refused, corners are likely, shrinking ends small.

How likely corners are is counted by the oracle of tests/oracles/ordered.py, on plain ints, and never by the code that steers.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st

import hwsim
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract import Accumulator, Axis, FloatMacContract, MacContract, Output, Schedule, Spill, Tail, Tree
from hwsim.contract.accumulator import BiasPoint
from hwsim.contract.scaling import Multiplier  # noqa: F401  a repr is built again in these names
from hwsim.errors import BackendError, ContractError, InputError
from hwsim.formats import Affine, FixedPoint, Minifloat, PowerOfTwo, Specials, ZeroCode
from hwsim.formats.catalog import E4M3
from hwsim.layers import Convolution, FullyConnected, MacLayer, MaxPool, Rescale, Shape, Window
from hwsim.testing import (
    Aim,
    Product,
    accumulators,
    affine_formats,
    codes,
    contracts,
    conv_layers,
    deconv_layers,
    fc_layers,
    fixed_formats,
    inputs,
    minifloat_formats,
    networks,
    pixels,
    pow2_formats,
)
from hwsim.testing.aims import Steering
from hwsim.testing.corners import corner_codes, extremes, stands_for_number
from hwsim.testing.steer import aims_of, steered
from oracles.ordered import expected_output, grids

S8 = FixedPoint(8, 0)
FORMATS = fixed_formats(channels=3) | affine_formats(narrow=None, channels=3) | pow2_formats() | minifloat_formats()
INTEGERS = (Product.FIXED, Product.AFFINE, Product.SHIFT_ADD)
LAYERS = conv_layers() | fc_layers() | deconv_layers()

# 16 products of 8 bits reach 2**18: every register can overflow, and random operands hardly ever make them.
UNIT = MacContract(
    S8,
    S8,
    Output(FixedPoint(8, -8), Rounding.TIES_AWAY),
    Accumulator(
        17,
        overflow=Overflow.SATURATE,
        schedule=Schedule(
            lanes=4,
            lane_axis=Axis.S,
            tail=Tail.PACKED,
            tree=Tree(bits=(17, 16), overflow=Overflow.SATURATE),
            bias=BiasPoint.LAST,
            spill=Spill(2, 16, overflow=Overflow.SATURATE),
        ),
    ),
)


# The same register, of which nothing narrower takes anything away.
PAIRS = replace(UNIT, accumulator=Accumulator(17, overflow=Overflow.SATURATE, schedule=Schedule(lanes=2, lane_axis=Axis.C)))


def drawing(count: int, **more) -> Callable:
    """Settings of a test that draws: few examples, the same ones in every run."""
    kept = {"deadline": None, "database": None, "derandomize": True, "suppress_health_check": [HealthCheck.too_slow]}
    return settings(max_examples=count, **(kept | more))


# ---- what is impossible


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: fixed_formats(9, 8), ("min_bits=9", "max_bits=8")),
        (lambda: fixed_formats(0, 8), ("min_bits", "found 0", "1..")),
        (lambda: fixed_formats(63, 64, signed=False), ("min_bits", "62")),
        (lambda: fixed_formats(min_fractional_length=3, max_fractional_length=2), ("min_fractional_length=3",)),
        (lambda: fixed_formats(2, 8.0), ("max_bits", "8.0")),  # type: ignore[arg-type]
        (lambda: fixed_formats(signed="yes"), ("signed", "'yes'")),  # type: ignore[arg-type]
        (lambda: affine_formats(1, 8), ("min_bits", "found 1")),
        (lambda: minifloat_formats(4, 3), ("min_bits=4", "max_bits=3")),
        (lambda: minifloat_formats(specials=[Specials.NONE], saturate=False), ("Specials.NONE", "saturate=False")),
        (lambda: minifloat_formats(3, 3, specials=[Specials.IEEE]), ("max_bits=3", "from 4 bits")),
        (lambda: pow2_formats(3, -3), ("min_exponent=3", "max_exponent=-3")),
        (lambda: pow2_formats(max_bits=1, zero=[ZeroCode.FIRST]), ("max_bits=1", "zero")),
        (lambda: accumulators(1, 8), ("min_bits", "2..64")),
        (lambda: accumulators(overflow=[]), ("overflow", "at least one")),
        (lambda: accumulators(scheduled=False, overflow=[Overflow.SATURATE]), ("scheduled=False", "SATURATE", "WRAP")),
        (lambda: contracts(2, 17), ("max_bits", "17", "16")),
        (lambda: contracts(products=["fixed"]), ("'fixed'", "FIXED")),  # type: ignore[list-item]
        (lambda: contracts(products=[Product.FIXED], input=E4M3), ("E4M3", "FIXED")),
        (lambda: contracts(max_taps=0), ("max_taps", "found 0")),
        (lambda: codes("int8"), ("'int8'",)),  # type: ignore[arg-type]
        (lambda: codes(S8, (2, 0)), ("(2, 0)",)),
        (lambda: codes(S8, (2**20, 2**20)), ("1099511627776", "268435456")),
        (lambda: conv_layers(0), ("max_channels", "found 0")),
        (lambda: conv_layers(4096, 64), ("max_channels=4096", "max_kernel=64")),
        (lambda: conv_layers(contract=3), ("contract", "found 3")),  # type: ignore[arg-type]
        (lambda: conv_layers(contract=UNIT, max_bits=8), ("contract", "max_bits")),
        (lambda: deconv_layers(max_stride=0), ("max_stride", "found 0")),
        (lambda: fc_layers(max_taps=-1), ("max_taps", "found -1")),
        (lambda: networks(3, 2), ("min_layers=3", "max_layers=2")),
        (lambda: inputs(layer_of([[1, 2]]), shape=(3, 1, 1)), ("shape=(3, 1, 1)",)),
        (lambda: inputs(layer_of([[1, 2]]), min_images=3), ("min_images", "found 3")),
        (lambda: inputs(layer_of([[1, 2]]), aims=3), ("aims", "found 3")),  # type: ignore[arg-type]
        (lambda: inputs(layer_of([[1, 2]]), aims=[Aim.TREE]), ("TREE", "allowed are REGISTER")),
        (lambda: inputs(hwsim.layers.Concat(S8, 2)), ("Concat", "one input")),
        (lambda: pixels(3), ("found 3", "QuantizedNetwork")),  # type: ignore[arg-type]
    ],
)
def test_what_is_impossible_is_refused_where_it_is_asked_for(call, names) -> None:
    with pytest.raises(InputError) as refused:
        call()
    said = str(refused.value)
    assert all(name in said for name in names), said


def test_a_contract_that_no_such_layer_can_have_is_refused() -> None:
    tight = MacContract(S8, replace(S8, fractional_length=(0, 1)), Output(S8))
    once = drawing(20, phases=[Phase.generate])
    layer = find(fc_layers(contract=tight), lambda layer: True, settings=once)
    assert layer.channels == 2  # one for each of the fractional lengths that the contract has
    impossible = MacContract(S8, S8, Output(FixedPoint(8, 200)))
    with pytest.raises(InputError, match="no layer of shape"):
        find(fc_layers(contract=impossible), lambda layer: True, settings=once)


# ---- what comes out is legal


@drawing(60)
@given(FORMATS, st.data())
def test_codes_are_codes_of_their_format(fmt, data) -> None:
    code = data.draw(codes(fmt) if not getattr(fmt, "per_channel", False) else st.just(corner_codes(fmt)[0]))
    array = data.draw(codes(fmt, (3, 2, 2)))
    assert array.dtype == fmt.dtype and array.shape == (3, 2, 2)
    assert fmt.low <= code <= fmt.high and fmt.low <= array.min() and array.max() <= fmt.high
    if isinstance(fmt, PowerOfTwo):
        fmt.fields(array)
    if isinstance(fmt, Minifloat):
        assert all(stands_for_number(int(code), fmt) for code in array.ravel())
    assert set(corner_codes(fmt)) >= set(extremes(fmt))


@drawing(60)
@given(FORMATS | accumulators() | contracts(channels=2))
def test_a_repr_builds_the_object_again(drawn) -> None:
    """Enum's own repr is no expression; every part that has none of these must come back equal."""
    text = repr(drawn)
    names = {name: getattr(hwsim.contract, name) for name in hwsim.contract.__all__} | globals()
    names |= {"Alignment": hwsim.arith.lfsr.Alignment, "LfsrForm": hwsim.arith.lfsr.LfsrForm}
    if "<" not in text:
        assert eval(text, names) == drawn


@drawing(50)
@given(st.data())
def test_every_backend_gives_the_same_bits_on_what_is_drawn(data) -> None:
    layer = data.draw(LAYERS)
    x = data.draw(inputs(layer, finite=False))
    expected = hwsim.run_layer(layer, x, backend="spec")
    for backend in ("jit", "native"):
        try:
            found = hwsim.run_layer(layer, x, backend=backend)
        except BackendError as refused:
            assert backend == "native" and "native has no" in str(refused)
            continue
        assert found.events == expected.events
        np.testing.assert_array_equal(found.codes, expected.codes)
        np.testing.assert_array_equal(found.acc, expected.acc)


def test_nothing_drawn_for_a_layer_is_refused_on_the_way(monkeypatch) -> None:
    """Integers are legal by construction: no layer is built twice because the first one was refused."""
    refusals = []

    def watched(check: Callable) -> Callable:
        def checked(layer) -> None:
            try:
                check(layer)
            except ContractError as refused:
                refusals.append(str(refused))
                raise

        return checked

    for kind in (Convolution, FullyConnected):
        monkeypatch.setattr(kind, "__post_init__", watched(kind.__post_init__))

    @drawing(120)
    @given(conv_layers(products=INTEGERS) | fc_layers(products=INTEGERS))
    def draws(layer) -> None:
        pass

    draws()
    assert refusals == []


@drawing(12)
@given(st.data())
def test_a_drawn_network_runs_and_is_the_same_after_saving(tmp_path_factory, data) -> None:
    network = data.draw(networks())
    images = data.draw(pixels(network))
    folder = tmp_path_factory.mktemp("drawn") / "drawn.hwnet"
    network.save(folder)
    loaded = hwsim.load(folder)
    assert loaded.edited == ()
    first, second, slow = (hwsim.run(q, images, backend=b) for q, b in ((network, "auto"), (loaded, "auto"), (network, "spec")))
    for node in network:
        for trace in (second, slow):
            np.testing.assert_array_equal(first[node.name].codes, trace[node.name].codes)
            assert first[node.name].events == trace[node.name].events


def test_wishes_narrow_what_is_drawn() -> None:
    wanted = fc_layers(products=[Product.SHIFT_ADD], overflow=[Overflow.TRAP], max_bits=4, biased=True)

    @drawing(40)
    @given(wanted)
    def held(layer) -> None:
        assert isinstance(layer.contract.weight, PowerOfTwo) and layer.contract.input.bits <= 4 and layer.bias is not None
        assert layer.contract.accumulator.overflow is Overflow.TRAP is layer.contract.output.overflow

    held()


@pytest.mark.parametrize(
    ("strategy", "part"),
    [
        (contracts(), lambda c: isinstance(c, FloatMacContract)),
        (contracts(), lambda c: c.output.scaling is not None if isinstance(c, MacContract) else False),
        (contracts(products=INTEGERS), lambda c: c.accumulator.require_proof),
        (contracts(products=INTEGERS), lambda c: c.accumulator.schedule is not None and c.accumulator.schedule.spill is not None),
        (contracts(products=INTEGERS), lambda c: c.bias is not None and not c.bias.signed),
        (contracts(channels=2, products=INTEGERS), lambda c: isinstance(c.accumulator.fractional_length, tuple)),
        (contracts(channels=2, products=INTEGERS), lambda c: c.bias is not None and c.bias.per_channel),
        (contracts(products=INTEGERS), lambda c: not isinstance(c.output.rounding, Rounding)),
        (contracts(channels=2), lambda c: isinstance(c.weight, FixedPoint) and c.weight.per_channel),
        (contracts(products=INTEGERS), lambda c: c.output.clamp_low is not None),
        (minifloat_formats(), lambda f: f.zero_code is not None),
        (pow2_formats(), lambda f: f.zero is ZeroCode.NONE),
        (affine_formats(narrow=None, channels=2), lambda f: f.narrow and isinstance(f.scale, tuple)),
    ],
)
def test_every_kind_can_come(strategy, part) -> None:
    find(strategy, part, settings=drawing(2000, phases=[Phase.generate]))


# ---- corners are likely


def test_a_single_code_is_often_a_corner() -> None:
    """Two of 256 codes are extreme, and drawn ones at least ten times as often."""
    found = counted(st.lists(codes(S8), min_size=25, max_size=25), 40, lambda drawn: [code in (-128, 127) for code in drawn])
    assert found[True] >= 40 * 25 * 10 * 2 / 256


def counted(strategy: st.SearchStrategy, count: int, what: Callable) -> Counter:
    """Count what a function says of drawn values."""
    found: Counter = Counter()

    @seed(1)
    @drawing(count, derandomize=False, phases=[Phase.generate])
    @given(strategy)
    def draws(value) -> None:
        found.update(what(value))

    draws()
    return found


def corners_of(layer: MacLayer, x: np.ndarray) -> Iterator[str]:
    """Name the corners that some output comes to, as the oracle computes it."""
    contract = layer.contract
    if {contract.input.low, contract.input.high} & set(x.ravel().tolist()):
        yield "an extreme code"
    shape = layer.output_shape([Shape(*x.shape[1:])])
    for n, k, y, column in np.ndindex(len(x), *shape):
        found = expected_output(layer, x, n, k, y, column)
        events = found.events
        yield from (place for place in ("tree", "accumulator", "spill", "output") if getattr(events, place))
        if events.transient_accumulator or events.transient_tree or events.transient_spill:
            yield "transient"
        real = Fraction(found.acc) * Fraction(2) ** (contract.output.format.fl() - grids(contract, k)[2])
        if real.denominator == 2:
            yield "tie above 0" if real > 0 else "tie below 0"


def uniform(layer: MacLayer, x: np.ndarray, number: int) -> tuple[MacLayer, np.ndarray]:
    """The same shapes with any weights, biases of a usual sum's size, and any inputs."""
    rng = np.random.default_rng(number)
    weight, inputs = (rng.integers(-128, 127, array.shape, endpoint=True) for array in (layer.weight, x))
    bias = None if layer.bias is None else rng.integers(-(1 << 14), 1 << 14, layer.channels)
    return replace(layer, weight=weight, bias=bias), inputs


def corner_counts(count: int, contract: MacContract, corners: Callable) -> tuple[Counter, Counter]:
    """In how many of so many examples each corner is met: of drawn operands, and of uniform ones of the same shapes."""
    drawn, plain, number = Counter(), Counter(), iter(range(10 * count))

    @st.composite
    def pairs(draw):
        layer = draw(fc_layers(2, 16, contract=contract))
        return layer, draw(inputs(layer))

    def both(pair) -> list:
        drawn.update(set(corners(*pair)))
        plain.update(set(corners(*uniform(*pair, next(number)))))
        return []

    counted(pairs(), count, both)
    return drawn, plain


CORNERS = ("tree", "accumulator", "spill", "output", "transient", "tie above 0", "tie below 0", "an extreme code")


def test_corners_are_likelier_than_with_uniform_operands() -> None:
    """Of 300 examples each; docs/testing.md has the table."""
    drawn, plain = corner_counts(300, UNIT, corners_of)
    for name in CORNERS:
        assert drawn[name] >= max(10, 1.5 * plain[name]), (name, drawn[name], plain[name])


def limits_of(layer: MacLayer, x: np.ndarray) -> Iterator[str]:
    """Name the limits of 18 bits that some step's exact sum comes to, one product after the other."""
    low, high = -(1 << 17), (1 << 17) - 1
    names = {high: "high", high + 1: "high + 1", low: "low", low - 1: "low - 1"}
    for image, k in ((image, k) for image in x for k in range(layer.channels)):
        acc = 0 if layer.bias is None else int(layer.bias[k])
        for weight, code in zip(layer.weight[k].tolist(), image.ravel().tolist(), strict=True):
            if weight * code and acc + weight * code in names:
                yield names[acc + weight * code]
            acc = max(low, min(high, acc + weight * code))


def test_sums_come_exactly_to_the_limits_of_a_register() -> None:
    """Where a comparison that is off by one shows. Of 300 examples each; docs/testing.md has the table."""
    contract = replace(UNIT, accumulator=Accumulator(18, overflow=Overflow.SATURATE))
    drawn, plain = corner_counts(300, contract, limits_of)
    assert sum(drawn.values()) >= 4 and sum(plain.values()) <= 1, (drawn, plain)


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("offset", [0, 1, -1])
def test_a_steered_sum_comes_exactly_where_it_should(negative: bool, offset: int) -> None:
    """Two products a step, 17 bits, and a shift of 8 bits: the sums are added up again here."""
    layer, zeros = layer_of([[127, -127, 100, -77, 13, 1, -128, 3]], PAIRS), np.zeros((8, 1, 1), dtype=np.int8)
    beyond = -offset if negative else offset
    wanted = {
        Aim.REGISTER: (-65536 if negative else 65535) + beyond,
        Aim.TIE: (-128 if negative else 128) + offset,
        Aim.SATURATION: (-129 * 256 + 128 if negative else 127 * 256 + 128) + offset,
    }
    for aim, target in wanted.items():
        x = steered(layer, zeros, Steering(aim, (0, 0, 0), negative=negative, offset=offset))
        sums = np.cumsum(layer.weight[0].astype(int) * x.ravel())[1::2]
        assert target in (sums if aim is Aim.REGISTER else sums[-1:]), (aim, sums)


@pytest.mark.parametrize(
    ("aim", "schedule", "place"),
    [
        (Aim.REGISTER, Schedule(), "accumulator"),
        (Aim.TRANSIENT, Schedule(), "transient_accumulator"),
        (Aim.TREE, Schedule(lanes=2, tree=Tree(bits=(15,), overflow=Overflow.SATURATE)), "tree"),
        (Aim.SPILL, Schedule(spill=Spill(2, 15)), "spill"),
    ],
)
def test_an_input_steered_beyond_a_register_makes_it_overflow(aim: Aim, schedule: Schedule, place: str) -> None:
    contract = replace(UNIT, accumulator=Accumulator(17, overflow=Overflow.SATURATE, schedule=schedule))
    layer = layer_of([[127, 127, -127, -127, 127, 127, 1, 1, 127, -127, 127, 127, 100, 2, -128, -128]], contract)
    zeros, steering = np.zeros((16, 1, 1), dtype=np.int8), Steering(aim, (0, 0, 0), offset=1)
    assert aim in aims_of(layer)
    assert getattr(expected_output(layer, steered(layer, zeros, steering)[None], 0, 0, 0, 0).events, place)


def layer_of(weight: list[list[int]], contract: MacContract = MacContract(S8, S8, Output(S8))) -> FullyConnected:
    return FullyConnected(contract, np.array(weight))


# ---- what is left after shrinking


def smallest(strategy: st.SearchStrategy, wanted: Callable, tries: int = 400):
    """What shrinking leaves, from examples that are the same in every run."""
    phases = [Phase.generate, Phase.shrink][:tries]  # the first example is the simplest
    return find(strategy, wanted, settings=drawing(tries, phases=phases, derandomize=False), random=random.Random(5))


def test_a_layer_that_can_overflow_shrinks_to_one_weight() -> None:
    layer = smallest(conv_layers(products=[Product.FIXED]), lambda layer: not all(layer.numbers.safe))
    assert layer.weight.size == 1 and layer.channels == 1
    assert layer.contract.input.bits == 2 and layer.contract.accumulator.schedule is None and layer.bias is None


def test_an_input_that_overflows_an_output_shrinks_to_few_codes() -> None:
    layer = layer_of([[3, 100, -7, 1, 20, 50]])
    x = smallest(inputs(layer), lambda x: hwsim.run_layer(layer, x, backend="spec").events.output)
    assert len(x) == 1 and np.count_nonzero(x) == 1


def test_an_input_that_overflows_a_register_has_as_few_codes_as_there_can_be() -> None:
    """100 * 127 * 5 > 2**15 asks for three of the six: the fewest that can."""
    layer = layer_of([[100, 100, 3, 100, 100, 100]], MacContract(S8, S8, Output(S8), Accumulator(16)))
    x = smallest(inputs(layer), lambda x: hwsim.run_layer(layer, x, backend="spec").events.accumulator)
    assert len(x) == 1 and np.count_nonzero(x) == 3


def test_what_nobody_asks_anything_of_is_nothing() -> None:
    """The simplest example is the first one."""
    network = smallest(networks(), lambda network: True, 1)
    assert len(network.nodes) == 2 and tuple(network.input_shape) == (1, 1, 1)
    layer = smallest(conv_layers(), lambda layer: True, 1)
    assert layer.weight.tolist() == [[[[0]]]] and layer.bias is None and layer.contract.accumulator.schedule is None
    assert smallest(codes(E4M3, (2, 3)), lambda array: True, 1).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert smallest(codes(Affine(8, 1.0, -3)), lambda code: True, 1) == -3


def test_layers_without_products_get_corner_codes() -> None:
    for layer in (MaxPool(S8, Window((2, 2))), Rescale(S8, Output(FixedPoint(4, -2)))):
        x = smallest(inputs(layer), lambda x: True, 20)
        assert x.shape[0] == 1 and not x.any() and x.dtype == np.int8
        layer.output_shape([Shape(*x.shape[1:])])
