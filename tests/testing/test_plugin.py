"""The pytest plugin: its options reach every assert_bit_exact, its fixture closes the device, its reports show the table."""

from __future__ import annotations

import re
import sys
from importlib.metadata import entry_points

import pytest

import hwsim
from hwsim.testing import assert_bit_exact, fc_layers
from support.devices import model
from support.process import run_python

pytest_plugins = "pytester"

INSTALLED = any(point.value == "hwsim.testing.plugin" for point in entry_points(group="pytest11"))
"""Where hwsim is installed, pytest has found the plugin already, and must not load it again."""
LOAD = () if INSTALLED else ("-p", "hwsim.testing.plugin")

DEVICES = """
import numpy as np
import hwsim
from hwsim.testing import assert_bit_exact, fc_layers
from hwsim.testing.defaults import current

S8 = hwsim.FixedPoint(8, 4)
LAYERS = fc_layers(2, 4, contract=hwsim.MacContract(S8, S8, hwsim.Output(S8)))

def right(layer, inputs):
    return hwsim.run_layer(layer, inputs, backend="spec").codes

def faulty(layer, inputs):
    codes = right(layer, inputs).astype(int)
    return np.where(codes == 127, 126, codes)

class Closing:
    closed = 0
    def __call__(self, layer, inputs):
        return right(layer, inputs)
    def close(self):
        Closing.closed += 1
"""
TEST = "from devices import *\ndef test_it(dut):\n    print(assert_bit_exact(dut, LAYERS))\n"


@pytest.fixture(scope="module")
def warm() -> None:
    """Load here what inner runs load: pytester forgets their modules, and numpy cannot be loaded twice."""
    assert_bit_exact(model, fc_layers(), max_examples=2)


@pytest.fixture
def run(warm, pytester: pytest.Pytester, monkeypatch):
    """Run pytest on one test file, with the plugin and without what this run was configured by."""
    monkeypatch.syspath_prepend(pytester.path)
    pytester.makepyfile(devices=DEVICES)

    def run_pytest(*options: str, text: str = TEST) -> pytest.RunResult:
        pytester.makepyfile(test_it=text)
        return pytester.runpytest_inprocess(*LOAD, "-p", "no:cacheprovider", "--hwsim-examples=60", *options)

    yield run_pytest
    sys.modules.pop("devices", None)


def test_the_header_names_backend_instruction_set_and_seed(run) -> None:
    result = run("--hwsim-dut=devices:right", "--hwsim-backend=spec", "--hwsim-seed=7", "-s")
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines([r"hwsim: backend spec, (native uses \w+ x \d+|no native core), seed 7, 60 examples"])
    result.stdout.re_match_lines([r".*bit exact: 60 examples, .* seed 7, backend spec"])


def test_a_failing_test_shows_the_table_and_how_to_see_it_again(run, pytester: pytest.Pytester) -> None:
    result = run("--hwsim-dut=devices:faulty", "--hwsim-save=kept", "--hwsim-seed=3")
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines(
        [r"E .*faulty: 1 of 1 outputs differs from the model\.", r"E +n  k  y  x  expected  found  ulps"]
    )
    result.stdout.re_match_lines([r"E +0  0  0  0  127 +126 +-1", r"E .*--hwsim-seed=3"])
    assert "campaign.py" not in result.stdout.str()  # the traceback ends in the test
    (folder,) = (pytester.path / "kept").iterdir()
    assert hwsim.check(folder / "package").passed
    assert hwsim.check(folder / "package", dump=folder / "dut.hex").first_mismatch.found == 126


def test_a_seed_reproduces_a_failure_exactly(run) -> None:
    def lines(seed: str) -> list[str]:
        found = run("--hwsim-dut=devices:faulty", "--hwsim-save=kept", f"--hwsim-seed={seed}").stdout.lines
        return [re.sub(r"[\d.]+ s;", "", line) for line in found if line.startswith("E ")]

    assert lines("11") == lines("11")
    assert len({re.search(r"example \d+ of seed \d+", "".join(lines(seed)))[0] for seed in ("11", "12")}) == 2


def test_a_random_seed_is_printed(run) -> None:
    seeds = set()
    for _ in range(2):
        result = run("--hwsim-seed=random", text="def test_it(): pass")
        seeds.add(re.search(r"seed (\d+), 60 examples", result.stdout.str())[1])
    assert len(seeds) == 2


def test_the_fixture_takes_a_parameter_and_closes_it(run) -> None:
    result = run(
        text="import pytest\nfrom devices import *\n"
        "@pytest.mark.parametrize('dut', [Closing(), Closing(), 'devices:right'], indirect=True)\n"
        "def test_it(dut):\n    assert_bit_exact(dut, LAYERS, max_examples=3)\n"
        "def test_closed():\n    assert Closing.closed == 2\n"
    )
    result.assert_outcomes(passed=4)


def test_a_class_is_made_and_closed(run) -> None:
    text = TEST + "def test_closed():\n    assert Closing.closed == 1\n"
    run("--hwsim-dut=devices:Closing", text=text).assert_outcomes(passed=2)


def test_a_command_line_is_a_device(run, pytester: pytest.Pytester) -> None:
    """A program that copies the right answer, on a layer of its own: one example, two runs."""
    (pytester.path / "program.py").write_text(
        "import sys, pathlib\npackage, dump = sys.argv[1:]\n"
        "pathlib.Path(dump).write_text((pathlib.Path(package) / '000_fully_connected' / 'expected.hex').read_text())\n"
    )
    text = "from devices import *\ndef test_it(dut):\n    assert_bit_exact(dut, LAYERS, max_examples=2, runs=1)\n"
    result = run(f"--hwsim-dut={sys.executable} -S {pytester.path / 'program.py'} {{package}} {{dump}}", text=text)
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ("return inputs * 1.0", "DeviceAnswer", "answered an array of float64"),
        ("raise ValueError('no clock')", "DeviceCrashed", "raised ValueError: no clock"),
        ("import itertools; return right(layer, inputs) ^ next(TOSS)", "DeviceUnsteady", "another time"),
        ("import pytest; pytest.fail('by itself')", "Failed", "by itself"),
    ],
)
def test_a_bad_device_fails_its_test(run, body: str, kind: str, said: str) -> None:
    text = f"import itertools\nfrom devices import *\nTOSS = itertools.cycle([0, 1, 0])\ndef dut(layer, inputs):\n    {body}\n"
    result = run(text=text + "def test_it():\n    assert_bit_exact(dut, LAYERS, reduce_calls=20)\n")
    result.assert_outcomes(failed=1)
    assert kind in result.stdout.str() and said in result.stdout.str()
    if kind == "DeviceCrashed":
        result.stdout.re_match_lines([r"-+ hwsim -+", r"-+ the device -+", r".*ValueError: no clock"])


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--hwsim-backend=gpu", "--hwsim-backend: found 'gpu', allowed auto, spec, jit, native."),
        ("--hwsim-seed=-1", "--hwsim-seed: found '-1', allowed an integer from 0, or random."),
        ("--hwsim-seed=x", "--hwsim-seed: found 'x'"),
        ("--hwsim-examples=0", "--hwsim-examples: found 0, allowed an integer from 1."),
    ],
)
def test_a_bad_option_is_a_usage_error(run, option: str, said: str) -> None:
    result = run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert said in result.stderr.str()


@pytest.mark.parametrize("named", ["nowhere:dut", "devices:nothing", "devices", "devices:", ":dut"])
def test_a_device_that_is_not_there_is_an_error(run, named: str) -> None:
    result = run(f"--hwsim-dut={named}")
    result.assert_outcomes(errors=1)
    assert "give module:object" in result.stdout.str()


def test_no_device_is_an_error_that_says_what_to_do(run) -> None:
    result = run()
    result.assert_outcomes(errors=1)
    assert "dut: found no device; give --hwsim-dut" in result.stdout.str()


def test_defaults_of_an_inner_run_end_with_it(run) -> None:
    from hwsim.testing.defaults import current

    before = current()
    run("--hwsim-seed=99", text="from hwsim.testing.defaults import current\ndef test_it():\n    assert current().seed == 99\n")
    assert current() == before


def test_importing_the_plugin_is_cheap() -> None:
    """Every pytest run of an environment with hwsim in it imports the plugin."""
    heavy = ("numpy", "numba", "hypothesis", "onnx", "onnxruntime", "matplotlib", "hwsim.backends", "hwsim.layers")
    program = f"import sys, hwsim.testing.plugin; print([name for name in {heavy} if name in sys.modules])"
    assert run_python("-c", program).stdout.strip() == "[]"


def test_importing_hwsim_and_devices_does_not_import_hypothesis() -> None:
    program = (
        "import sys, hwsim, hwsim.testing\nfrom hwsim.testing import Command, Isolated, Session, assert_bit_exact, replay\n"
        "print('hypothesis' in sys.modules)"
    )
    assert run_python("-c", program).stdout.strip() == "False"


WITHOUT = """
import importlib.abc, importlib.util, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "hypothesis":
            raise ModuleNotFoundError("No module named 'hypothesis'", name="hypothesis")
sys.meta_path.insert(0, Absent())
importlib.util.find_spec = lambda name, package=None: None
import numpy as np, hwsim
from hwsim.testing import assert_bit_exact
s8 = hwsim.FixedPoint(8, 0)
layer = hwsim.Linear().layer(np.array([[1]]), hwsim.MacContract(s8, s8, hwsim.Output(s8)))
dut = lambda layer, inputs: hwsim.run_layer(layer, inputs).codes
print(assert_bit_exact(dut, layer, np.array([[[[1]]]])).examples)
for use in ("assert_bit_exact(dut, layer)", "from hwsim.testing import conv_layers"):
    try:
        exec(use)
    except hwsim.InputError as error:
        print(error)
"""


def test_without_hypothesis_the_sentence_names_what_to_install() -> None:
    """Codes that are given need none; whatever draws says what is missing."""
    said = "Hypothesis is not installed, and it draws the examples; pip install 'hwsim[testing]'."
    run = run_python("-c", WITHOUT)
    assert run.stdout.split("\n") == ["1", f"hwsim.testing: {said}", f"hwsim.testing.conv_layers: {said}", ""], run.stderr


@pytest.mark.slow
def test_workers_of_xdist_take_one_random_seed(run, pytester: pytest.Pytester) -> None:
    text = "from hwsim.testing.defaults import current\nfrom pathlib import Path\nimport pytest\n"
    text += "@pytest.mark.parametrize('n', range(4))\ndef test_it(n):\n    Path(f'seed{n}').write_text(str(current().seed))\n"
    run("--hwsim-seed=random", "-n2", "-p", "xdist", text=text).assert_outcomes(passed=4)
    assert len({path.read_text() for path in pytester.path.glob("seed*")}) == 1


def test_every_public_name_is_there() -> None:
    import hwsim.testing as testing

    assert all(getattr(testing, name) is not None for name in testing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'; it has: .*assert_bit_exact"):
        testing.nothing  # noqa: B018
