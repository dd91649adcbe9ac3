"""One campaign against a device: examples drawn and asked, a failure settled, reduced, explained and saved."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np

from hwsim.backends.registry import backend as backend_by_name
from hwsim.errors import DeviceHung, InputError
from hwsim.layers import Layer, MacLayer, Shape
from hwsim.testing.constants import no_local_constants
from hwsim.testing.dut import Device, Watched, device_name, same, watched
from hwsim.testing.extremes import LAYERS, extreme_inputs
from hwsim.testing.frame import SURVEY, Frame
from hwsim.testing.judge import Example, Judge, Kind, Settled, Verdict, settle
from hwsim.testing.report import Effort, Report, own_fault
from hwsim.testing.saved import save
from hwsim.testing.session import checked_seconds
from hwsim.testing.shrink import REDUCE_CALLS, reduce
from hwsim.testing.simpler import cost

Progress = Callable[[int, int], None]
Inputs = Any
"""None, codes, a strategy of them, or a function of the layer that returns one of these."""
SPEC_PRODUCTS = 1_000_000
"""The specification checks a reduced example with at most so many products: a second or two."""
LATER = "right when it was asked first, otherwise after other examples: something of them is left in the device"


class _Stop(BaseException):
    """Leaves Hypothesis at once, which would catch an Exception and run the example again. error: to be raised outside."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error


@dataclass
class Campaign:
    """What assert_bit_exact was asked for, and how far it has come. None: what the defaults say, see there."""

    dut: Device
    layer: Any
    inputs: Inputs
    max_examples: int
    seed: int
    timeout: float
    runs: int
    backend: str
    save: str | os.PathLike[str] | None
    fixed: bool | None
    reduce_calls: int = REDUCE_CALLS
    progress: Progress | None = None
    examples: int = 0
    found: Verdict | None = None
    again: bool = True
    kept: list[Example] = field(default_factory=list)
    frame: Frame = field(default_factory=Frame)

    def __post_init__(self) -> None:
        if not is_layer(self.layer) and not is_strategy(self.layer):
            raise InputError(
                f"assert_bit_exact: found layer {self.layer!r}, allowed a layer of hwsim, or a strategy of such layers."
            )
        for name, least in (("max_examples", 1), ("seed", 0), ("runs", 1), ("reduce_calls", 0)):
            check_count(name, getattr(self, name), least)
        if self.backend != "auto":
            backend_by_name(self.backend)
        self.device = watched(self.dut, checked_seconds("timeout", self.timeout))
        self.judge = Judge(self.device, self.backend, self.runs, self.dut)
        self.start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self.start

    def search(self) -> Verdict | None:
        """Return the first failure, or None. again: whether it may come again; not where it takes what ran before."""
        given = self.given(self.layer) if is_layer(self.layer) else None
        if given is not None and not is_strategy(given):
            self.look(Example(self.layer, np.asarray(given)))
        else:
            self.draw()
        if not self.examples:
            raise InputError("assert_bit_exact: no example was drawn, so nothing was compared; give a strategy that draws some.")
        if self.found is None:
            self.once_more()
        return self.found

    def given(self, layer: Layer) -> Any:
        """What the caller says about a layer's inputs: codes or a strategy; None for hwsim's own."""
        return self.inputs(layer) if callable(self.inputs) and not is_strategy(self.inputs) else self.inputs

    def draw(self) -> None:
        """Let Hypothesis draw; a seed and no database, so that the same seed draws the same examples again."""
        require_hypothesis()
        from hypothesis import HealthCheck, Phase, Verbosity, given, settings
        from hypothesis import seed as seeded

        tosses = random.Random(self.seed)

        @seeded(self.seed)
        @settings(
            max_examples=max(self.max_examples, SURVEY),
            phases=[Phase.generate],
            database=None,
            deadline=None,
            derandomize=False,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.quiet,
        )
        @given(self.strategy())
        def each(example: Example) -> None:
            # Hypothesis starts these anew for every example: a device that tosses coins would toss the same ones each time
            random.seed(tosses.getrandbits(64))
            np.random.seed(tosses.getrandbits(32))  # noqa: NPY002
            try:
                done = self.drawn(example)
            except Exception as error:
                raise _Stop(error) from None
            if done:
                raise _Stop

        try:
            with no_local_constants():
                each()
        except _Stop as stop:
            if stop.error is not None:
                raise stop.error from None

    def strategy(self) -> Any:
        """Draw a layer, unless one was given, and its inputs."""
        from hypothesis import strategies as st

        from hwsim.testing.layer_strategies import inputs as own_inputs

        @st.composite
        def examples(draw: Any) -> Example:
            layer = draw(self.layer) if is_strategy(self.layer) else self.layer
            found = self.given(layer)
            codes = draw(own_inputs(layer) if found is None else found) if found is None or is_strategy(found) else found
            return Example(layer, np.asarray(codes))

        return examples()

    def drawn(self, example: Example) -> bool:
        """Ask about a drawn example; after a failure draw on for a while to learn what varies. True when that is enough."""
        self.frame.add(example)
        if self.found is None:
            for each in self.with_corners(example):
                self.look(each)
                if self.found is not None:
                    break
                if self.examples >= self.max_examples:
                    return True
        return self.found is not None and (not is_strategy(self.layer) or self.frame.count >= SURVEY)

    def with_corners(self, example: Example) -> Iterator[Example]:
        """The example, and of the first layers the corner inputs that every layer has."""
        yield example
        if self.inputs is None and self.frame.count <= LAYERS:
            for codes in extreme_inputs(example.layer, Shape(*example.inputs.shape[1:])):
                yield Example(example.layer, codes)

    def look(self, example: Example) -> None:
        """Judge one example; keep a few, each twice as far on as the one before, to be asked again at the end."""
        _check_example(example)
        self.found = self.judge.judge(example)
        self.examples += 1
        if self.progress is not None:
            self.progress(min(self.examples, self.max_examples), self.max_examples)
        if self.examples & (self.examples - 1) == 0:
            self.kept.append(example)

    def once_more(self) -> None:
        """Ask what was right before, last one first: a device that keeps something may answer otherwise now."""
        for example in reversed(self.kept[:-1]):
            verdict = self.judge.judge(example, runs=1)
            if verdict is None:
                continue
            self.found, self.again = verdict, False
            if verdict.kind is not Kind.ERROR:
                answers = (verdict.expected, verdict.answers[0])
                self.found = Verdict(Kind.UNSTEADY, example, verdict.expected, answers, note=LATER)
            return

    def report(self, found: Verdict) -> Report:
        """Reduce, explain and save a failure."""
        calls = self.judge.calls
        settled = settle(self.judge, found) if self.again else Settled(found, False)
        verdict, stopped, reduce_calls = settled.verdict, "", 0
        if settled.again:
            fixed = is_layer(self.layer) if self.fixed is None else self.fixed
            frame = self.frame if is_strategy(self.layer) and self.fixed is None else None
            reduced = reduce(self.judge, settled, fixed, self.reduce_calls, frame)
            verdict, stopped, reduce_calls = reduced.verdict, reduced.stopped, reduced.calls
        else:
            hung = isinstance(verdict.error, DeviceHung)
            stopped = "what hangs is not reduced: each call takes the whole limit" if hung else "it does not come again at will"
        before = cost(settled.verdict.example)[0]
        effort = Effort(
            self.examples, self.seed, self.backend, calls, reduce_calls, self.seconds, before, self.frame.count, stopped
        )
        return save(Report(device_name(self.device), verdict, effort, own_fault=self.own_fault(verdict)), self.save)

    def own_fault(self, verdict: Verdict) -> str:
        """Ask the specification, too: a difference between hwsim's own backends must not be called the device's fault."""
        example = verdict.example
        outputs = len(example.inputs) * int(np.prod(example.layer.output_shape([Shape(*example.inputs.shape[1:])])))
        taps = int(np.prod(example.layer.weight.shape[1:])) if isinstance(example.layer, MacLayer) else 1
        if self.backend == "spec" or outputs * taps > SPEC_PRODUCTS:
            return ""
        by_spec = Judge(self.device, "spec", 1).expected(example)
        return "" if same(by_spec, verdict.expected) else own_fault(self.backend, verdict.expected, example.layer, by_spec)

    def end(self) -> None:
        """Let the watching thread go."""
        if isinstance(self.device, Watched):
            self.device.stop()


def require_hypothesis() -> None:
    """InputError where Hypothesis is not installed."""
    if find_spec("hypothesis") is None:
        raise InputError("hwsim.testing: Hypothesis is not installed, and it draws the examples; pip install 'hwsim[testing]'.")


def is_layer(value: object) -> bool:
    """Whether it is a layer of hwsim."""
    return hasattr(value, "output_shape") and hasattr(value, "input_formats")


def is_strategy(value: object) -> bool:
    """Whether it is a Hypothesis strategy; asked without importing Hypothesis."""
    return hasattr(value, "flatmap") and hasattr(value, "example")


def _check_example(example: Example) -> None:
    """Refuse what is no layer with one input; its codes are checked where the layer is run."""
    layer = example.layer
    if not is_layer(layer):
        raise InputError(f"assert_bit_exact: found layer {layer!r}, allowed a layer of hwsim, or a strategy of such layers.")
    if len(layer.input_formats) != 1:
        raise InputError(f"assert_bit_exact: found {layer.kind} with {len(layer.input_formats)} inputs, allowed layers with one.")
    if example.inputs.ndim != 4 or example.inputs.dtype.kind not in "iu":
        found = f"{example.inputs.dtype} of shape {example.inputs.shape}"
        raise InputError(f"assert_bit_exact: found inputs {found}, allowed integer codes [N][C][H][W].")


def check_count(name: str, value: object, least: int) -> None:
    """Refuse what is no number of something."""
    if type(value) is not int or value < least:
        raise InputError(f"assert_bit_exact: found {name}={value!r}, allowed an integer from {least}.")
