"""The pytest plugin: options for every assert_bit_exact, a `dut` fixture that closes the device, and what a failure left behind.

Found by pytest where hwsim is installed; in a checkout `-p hwsim.testing.plugin`. Importing it loads nothing of hwsim but this.
"""

from __future__ import annotations

import importlib
import random
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hwsim.testing.defaults import EXAMPLES, Defaults, holding

STACK = pytest.StashKey[ExitStack]()
DEFAULTS = pytest.StashKey[Defaults]()
SEED_INPUT = "hwsim_seed"
"""How a random seed comes from pytest-xdist's controller to its workers: all of them take the same."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hwsim", "hwsim: devices held to the model, bit for bit")
    group.addoption("--hwsim-backend", metavar="NAME", help="who computes what is expected: auto (default), spec, jit or native")
    group.addoption("--hwsim-seed", metavar="N", help="seed of the examples (default 0); 'random' draws one and prints it")
    group.addoption("--hwsim-examples", metavar="N", type=int, help=f"examples of each assert_bit_exact (default {EXAMPLES})")
    group.addoption("--hwsim-save", metavar="DIR", help="where mismatches are saved (default: below pytest's cache)")
    group.addoption(
        "--hwsim-dut",
        metavar="DUT",
        help="the device of the fixture `dut`: module:object, or a command with {package} and {dump} in it",
    )


def pytest_configure(config: pytest.Config) -> None:
    stack = config.stash[STACK] = ExitStack()
    config.stash[DEFAULTS] = _defaults(config)
    stack.enter_context(holding(config.stash[DEFAULTS]))


def pytest_unconfigure(config: pytest.Config) -> None:
    if STACK in config.stash:
        config.stash[STACK].close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist the seed."""
    node.workerinput[SEED_INPUT] = node.config.stash[DEFAULTS].seed


def _defaults(config: pytest.Config) -> Defaults:
    backend, examples = config.getoption("--hwsim-backend"), config.getoption("--hwsim-examples")
    names = ("auto", "spec", "jit", "native")
    if backend is not None and backend not in names:
        raise pytest.UsageError(f"--hwsim-backend: found {backend!r}, allowed {', '.join(names)}.")
    if examples is not None and examples < 1:
        raise pytest.UsageError(f"--hwsim-examples: found {examples}, allowed an integer from 1.")
    return Defaults(backend or "auto", _seed(config), EXAMPLES if examples is None else examples, _save(config))


def _seed(config: pytest.Config) -> int:
    told = getattr(config, "workerinput", {}).get(SEED_INPUT, config.getoption("--hwsim-seed"))
    if told is None:
        return 0
    if told == "random":
        return random.SystemRandom().randrange(1 << 32)
    if not str(told).isascii() or not str(told).isdigit():
        raise pytest.UsageError(f"--hwsim-seed: found {told!r}, allowed an integer from 0, or random.")
    return int(told)


def _save(config: pytest.Config) -> Path | None:
    named = config.getoption("--hwsim-save")
    if named is not None:
        return config.invocation_params.dir / str(named)
    cache = getattr(config, "cache", None)  # there is none under -p no:cacheprovider
    return None if cache is None else Path(cache.mkdir("hwsim"))


def pytest_report_header(config: pytest.Config) -> str:
    """The line that a bug report needs: who computes, by which instruction set, and the seed."""
    defaults = config.stash[DEFAULTS]
    # Which instruction set is a question to the C core, which loads numpy: asked where pytest prints, not where it imports.
    from hwsim.backends.native import info

    native = info()
    core = f"native uses {native.chosen} x {native.threads}" if native.present else "no native core"
    return f"hwsim: backend {defaults.backend}, {core}, seed {defaults.seed}, {defaults.max_examples} examples"


@pytest.fixture
def dut(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The device under test: the test's indirect parameter, else --hwsim-dut; closed when the test ends."""
    device = request.param if hasattr(request, "param") else _named(request.config.getoption("--hwsim-dut"))
    if isinstance(device, str):
        device = _named(device)
    try:
        yield device
    finally:
        close = getattr(device, "close", None)
        if callable(close):
            close()


def _named(text: str | None) -> Any:
    """A device from --hwsim-dut."""
    if text is None:
        raise pytest.UsageError(
            "dut: found no device; give --hwsim-dut, a fixture `dut` of your own, or "
            "@pytest.mark.parametrize('dut', [device], indirect=True)."
        )
    if "{package}" in text:
        from hwsim.testing.command import Command

        return Command(shlex.split(text))
    module, colon, name = text.partition(":")
    try:
        found = importlib.import_module(module) if colon and name else None
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise pytest.UsageError(f"--hwsim-dut: {text!r} cannot be imported ({error}); give module:object.") from None
    return found() if isinstance(found, type) else found


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Put what a device left behind, and the reduced example, below the failure."""
    outcome: Any = yield
    error: Any = None if call.excinfo is None else call.excinfo.value
    report = getattr(error, "report", None)
    if type(error).__module__.partition(".")[0] != "hwsim" or call.when != "call":
        return
    sections = outcome.get_result().sections
    if report is not None and not isinstance(error, AssertionError):  # a BitMismatch says all of it itself
        sections.append(("hwsim", str(report)))
    if getattr(error, "detail", "") and error.detail != str(report):
        sections.append(("the device", error.detail))
