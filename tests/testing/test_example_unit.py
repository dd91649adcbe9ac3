"""The worked example's MAC unit: the Verilog itself against an oracle and against hwsim, and what it refuses."""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.arith.overflow import Overflow
from hwsim.arith.rounding import Rounding
from hwsim.contract import Accumulator, BiasPoint, FloatMacContract, MacContract, Order, Output, Schedule
from hwsim.errors import ContractError, DeviceAnswer, DeviceHung, InputError
from hwsim.formats import FixedPoint
from hwsim.layers import Convolution, FullyConnected, Layer, LookupTable
from hwsim.testing.example import FAULTS, Fault, MacUnit, Widths, contract, fault
from hwsim.testing.example.device import HERE
from oracles.mac_unit import code

Job = tuple[list[tuple[int, int]], int, int, bool]
"""Pairs (x, w), bias, shift, ReLU."""

TINY = Widths(x=3, w=3, acc=6, out=3, shift=2)
NARROW = Widths(x=3, w=3, acc=5, out=3, shift=2)
"""The narrowest accumulator, which saturates on -4 * -4 alone."""


@pytest.fixture(autouse=True)
def icarus() -> None:
    if shutil.which("iverilog") is None:
        pytest.skip("iverilog is not installed (Debian: apt-get install iverilog)")


def asked(unit: MacUnit, jobs: list[Job]) -> list[int]:
    return unit.ask([f"{len(p)} {shift} {int(relu)} {b} " + " ".join(f"{x} {w}" for x, w in p) for p, b, shift, relu in jobs])


def expected(jobs: list[Job], widths: Widths = Widths()) -> list[int]:
    return [code(*job, widths.acc, widths.out) for job in jobs]


@pytest.mark.parametrize("widths", [TINY, NARROW], ids=["tiny", "narrow"])
def test_a_tiny_unit_equals_the_oracle_on_every_job_of_one_product(widths: Widths) -> None:
    operand, biases = range(-4, 4), range(-(2 ** (widths.acc - 1)), 2 ** (widths.acc - 1))
    every = itertools.product(operand, operand, biases, range(4), (False, True))
    jobs: list[Job] = [([(x, w)], bias, shift, relu) for x, w, bias, shift, relu in every]
    with MacUnit(widths=widths) as unit:
        answers = asked(unit, jobs)
    assert answers == expected(jobs, widths)
    assert set(answers) == set(range(-4, 4))


def test_a_tiny_unit_equals_the_oracle_on_every_pair_of_products() -> None:
    """The bias stands at both ends, where the first product saturates, and at a tie."""
    operand = range(-4, 4)
    every = itertools.product(operand, operand, operand, operand, (-32, 2, 31))
    jobs: list[Job] = [([(x, w), (v, u)], bias, 2, False) for x, w, v, u, bias in every]
    with MacUnit(widths=TINY) as unit:
        answers = asked(unit, jobs)
    assert answers == expected(jobs, TINY)


def test_the_unit_equals_the_oracle_at_its_corners() -> None:
    rng = random.Random(17)
    codes = (-128, -127, -1, 0, 1, 64, 127)
    jobs: list[Job] = []
    for _ in range(3000):
        pairs = [(rng.choice(codes), rng.choice(codes)) for _ in range(rng.randint(1, 6))]
        jobs.append((pairs, rng.choice((-524288, -1, 0, 524287)), rng.randint(0, 15), rng.random() < 0.5))
    with MacUnit() as unit:
        assert asked(unit, jobs) == expected(jobs)


ORDERS = [Order.CRS, Order.SRC]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.name)
def test_the_unit_equals_hwsim_on_a_convolution_in_any_order(order: Order) -> None:
    rng = np.random.default_rng(3)
    plain = contract(4, relu=True)
    ordered = MacContract(
        plain.input, plain.weight, plain.output, Accumulator(20, overflow=Overflow.SATURATE, schedule=Schedule(order))
    )
    weight, bias = rng.choice((-128, 127, 3), (4, 1, 3, 2)), rng.choice((-524288, 524287, 0), 4)
    layer = Convolution(ordered, weight, bias, stride=(2, 1), pad=(1, 0), groups=2)
    x = rng.choice((-128, 127), (2, 2, 5, 7))
    with MacUnit() as unit:
        found = unit(layer, x)
    wanted = hwsim.run_layer(layer, x, backend="spec")
    assert found.dtype == np.int64 and np.array_equal(found, wanted.codes)
    assert wanted.events.transient_accumulator > 0


def test_the_order_of_the_products_matters_to_the_unit() -> None:
    """Otherwise the test above could not tell one order from another."""
    weight = np.array([[[[127], [-127]], [[127], [-127]]]])  # [K][C][R][S]
    layers = []
    for order in (Order.CRS, Order.RCS):
        acc = Accumulator(20, overflow=Overflow.SATURATE, schedule=Schedule(order))
        layers.append(Convolution(MacContract(S8, S8, Output(FixedPoint(8, -12)), acc), weight, np.array([524287])))
    x = np.full((1, 2, 2, 1), 127)
    x[:, 0, 0] = 10
    with MacUnit() as unit:
        found = [unit(layer, x).item() for layer in layers]
    assert found == [hwsim.run_layer(layer, x, backend="spec").codes.item() for layer in layers]


def test_a_batch_knows_nothing_of_the_one_before() -> None:
    jobs: list[Job] = [([(3, 5), (7, -11), (2, 2)], 40, 1, False), ([(1, 1)], 0, 0, False)]
    with MacUnit(fault("acc-not-cleared")) as unit:
        assert asked(unit, jobs) == asked(unit, jobs) != expected(jobs)


S8 = FixedPoint(8, 0)
SATURATES = Accumulator(20, overflow=Overflow.SATURATE)
OUT = Output(FixedPoint(8, -3))


def fc(made: MacContract | FloatMacContract) -> FullyConnected:
    return FullyConnected(made, np.ones((1, 2), dtype=np.int64))


def last(bias: BiasPoint) -> Accumulator:
    return Accumulator(20, overflow=Overflow.SATURATE, schedule=Schedule(bias=bias))


TIES_UP = Output(OUT.format, Rounding.TIES_UP)

NOT_MINE = {
    "another kind": (LookupTable(S8, S8, np.zeros(256, dtype=np.int64)), "kind lookup"),
    "an accumulator that wraps": (fc(MacContract(S8, S8, OUT, Accumulator(20))), "accumulator overflow WRAP, allowed SATURATE"),
    "a wide accumulator": (fc(MacContract(S8, S8, OUT, Accumulator(21, overflow=Overflow.SATURATE))), "bits 21, allowed 20"),
    "a bias that comes last": (fc(MacContract(S8, S8, OUT, last(BiasPoint.LAST))), "a bias that comes last True, allowed False"),
    "wide operands": (fc(MacContract(FixedPoint(9, 0), S8, OUT, SATURATES)), r"input codes -256..255, allowed -128..127"),
    "unsigned operands": (fc(MacContract(FixedPoint(8, 0, False), S8, OUT, SATURATES)), r"input codes 0..255, allowed -128..127"),
    "other ties": (fc(MacContract(S8, S8, TIES_UP, SATURATES)), "rounding TIES_UP, allowed TIES_EVEN"),
    "a left shift": (fc(MacContract(S8, S8, Output(FixedPoint(8, 1)), SATURATES)), r"shifts of the output -1..-1, allowed 0..15"),
}


@pytest.mark.parametrize(("layer", "sentence"), NOT_MINE.values(), ids=NOT_MINE)
def test_a_layer_that_is_not_the_units_is_refused(layer: Layer, sentence: str) -> None:
    with MacUnit() as unit, pytest.raises(ContractError, match=sentence):
        unit(layer, np.zeros((1, 2, 1, 1), dtype=np.int64))


def test_without_icarus_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match=r"iverilog: not found on the PATH; install Icarus Verilog \(Debian: apt-get"):
        MacUnit()


def test_nothing_is_left_behind() -> None:
    unit = MacUnit()
    folder = Path(unit.folder)
    asked(unit, [([(1, 1)], 0, 0, False)])
    assert (folder / "mac.vvp").exists()
    unit.close()
    assert not folder.exists()


VALID = "out_valid <= a_last & ~rst;"
BROKEN = {
    "no answer": (VALID, "out_valid <= 0;", DeviceAnswer, "found 'none', allowed a code for job 0 of 2"),
    "too many": (VALID, "out_valid <= (out_valid | a_last) & ~rst;", DeviceAnswer, "found 'more', allowed the word end"),
    "no number": ("clipped[OUT_BITS-1:0]", "clipped[ACC_BITS+OUT_BITS:ACC_BITS+1]", DeviceAnswer, "found 'x', allowed a code"),
    "the end": ("endmodule", "initial #14 $finish; endmodule", DeviceAnswer, "0 of 3 answers came, then it ended"),
    "no end": ("endmodule", "initial #14 forever #0; endmodule", DeviceHung, r"0 of 3 answers came within 0.5 s"),
}


@pytest.mark.parametrize(("old", "new", "kind", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_broken_unit_never_looks_like_a_pass(old: str, new: str, kind: type[Exception], sentence: str) -> None:
    jobs: list[Job] = [([(1, 1)], 0, 0, False)] * 2
    with MacUnit(Fault("broken", "is broken", old, new), timeout=0.5) as unit, pytest.raises(kind, match=sentence):
        asked(unit, jobs)


@pytest.mark.parametrize("language", ["2001", "2005", "2012"])
def test_the_unit_and_its_bench_compile_in_systemverilog_too(language: str, tmp_path: Path) -> None:
    """Whoever copies them compiles them with newer sources, where more words are keywords."""
    sources = [str(HERE / name) for name in ("bench.v", "mac.v")]
    command = ["iverilog", f"-g{language}", "-s", "bench", "-o", str(tmp_path / "unit"), *sources]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_the_largest_shift_of_a_unit_drops_its_whole_accumulator() -> None:
    """One more, and half a unit of the output would not fit; no such unit is made."""
    widths = Widths(x=4, w=4, acc=7, out=4, shift=3)
    jobs: list[Job] = [([(0, 1)], bias, shift, False) for bias in range(-64, 64) for shift in (6, 7)]
    with MacUnit(widths=widths) as unit:
        assert asked(unit, jobs) == expected(jobs, widths)
    with pytest.raises(ContractError, match=r"Widths.shift: found 4, allowed up to 3, whose shifts do not go beyond 7 bits\."):
        Widths(x=4, w=4, acc=7, out=4, shift=4)


def test_a_fault_that_is_no_verilog_is_said_to_be_none() -> None:
    with pytest.raises(InputError, match=r"mac.v does not compile: .*syntax error"):
        MacUnit(Fault("broken", "is broken", "endmodule", "end of the module"))


def test_every_fault_has_a_name_of_its_own_and_one_place() -> None:
    source = (HERE / "mac.v").read_text(encoding="utf-8")
    assert len({one.name for one in FAULTS}) == len({one.says for one in FAULTS}) == len(FAULTS) >= 15
    assert all(one.plant(source) != source for one in FAULTS)
    with pytest.raises(InputError, match="fault double: found 2 places"):
        Fault("double", "stands twice", "in_x * in_w", "").plant(source * 2)
