"""assert_bit_exact: any device held to the model, example by example; a failure is reduced, explained and saved."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsim.backends.registry import backend as backend_by_name
from hwsim.errors import DeviceError, DeviceHung, DeviceUnsteady, InputError
from hwsim.layers import Layer, MacLayer, Shape
from hwsim.testing.defaults import current
from hwsim.testing.dut import Device, Watched, device_name, same, watched
from hwsim.testing.judge import Example, Judge, Kind, Settled, Verdict, settle
from hwsim.testing.report import Effort, Report, own_fault
from hwsim.testing.saved import load_example, save
from hwsim.testing.session import checked_seconds
from hwsim.testing.shrink import REDUCE_CALLS, reduce
from hwsim.testing.simpler import cost

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Progress = Callable[[int, int], None]
Inputs = Any
"""None, codes, a strategy of them, or a function of the layer that returns one of these."""
SPEC_PRODUCTS = 1_000_000
"""The specification checks a reduced example with at most so many products: a second or two."""


class BitMismatch(AssertionError):
    """A device whose codes, or whose trap, are not the model's. report: everything about it; str() is its text."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report


@dataclass(frozen=True)
class BitExact:
    """What a device has passed. outputs: compared, each run of an example counted once; calls: of the device."""

    examples: int
    outputs: int
    calls: int
    seconds: float
    seed: int
    backend: str

    def __str__(self) -> str:
        return (
            f"bit exact: {self.examples} examples, {self.outputs:,} outputs, {self.calls} calls of the device, "
            f"{self.seconds:.2f} s; seed {self.seed}, backend {self.backend}"
        )


class _Stop(BaseException):
    """Leaves Hypothesis at once: it would catch an Exception, and run the example again."""

    def __init__(self, verdict: Verdict | None = None, error: Exception | None = None) -> None:
        super().__init__()
        self.verdict, self.error = verdict, error


def assert_bit_exact(
    dut: Device,
    layer: Layer | SearchStrategy[Any],
    inputs: Inputs = None,
    *,
    max_examples: int | None = None,
    seed: int | None = None,
    timeout: float = 60.0,
    runs: int = 2,
    backend: str | None = None,
    save: str | os.PathLike[str] | None = None,
    fixed: bool | None = None,
    reduce_calls: int = REDUCE_CALLS,
    progress: Progress | None = None,
) -> BitExact:
    """dut(layer, inputs) = hwsim.run_layer(layer, inputs).codes on every example that is drawn, every time it is asked.

    dut: see hwsim.testing.Device.  layer: a layer, or a strategy of layers such as conv_layers().
    inputs: None for hwsim.testing.inputs(layer), in which corners are likely; codes [N][C][H][W]; a strategy of them; or a
    function of the layer that returns one of these.
    max_examples, seed, backend, save: None takes the plugin's options, else 200, 0, "auto", and a temporary folder.
    timeout: seconds for one call of a device that has no limit of its own.  runs: how often each example is asked.
    fixed: the layer is the device's own, so that a failure is reduced in its inputs alone; None: where a layer was given.
    reduce_calls: of the device, at most, to reduce a failure.  progress: called as progress(done, total).

    Raises BitMismatch for other codes or another trap; DeviceUnsteady for two answers to one question, of one run after the
    other or of an example that is asked again at the end; DeviceHung, DeviceCrashed, DeviceAnswer for no answer or none that
    could be one; InputError for arguments, and what the device raises of hwsim's errors.
    """
    __tracebackhide__ = True
    task = _Task(dut, layer, inputs, max_examples, seed, timeout, runs, backend, save, fixed, reduce_calls, progress)
    try:
        found = task.search()
        failure = None if found is None else task.failure(*found)
    finally:
        task.end()
    if failure is not None:
        raise failure
    return task.result()


def replay(dut: Device, folder: str | os.PathLike[str], **options: Any) -> BitExact:
    """assert_bit_exact on the one example that a failure's folder, or a golden package of one layer, holds."""
    __tracebackhide__ = True
    example = load_example(folder)
    return assert_bit_exact(dut, example.layer, example.inputs, **options)


class _Task:
    """One call of assert_bit_exact."""

    def __init__(
        self,
        dut: Device,
        layer: Any,
        inputs: Inputs,
        max_examples: int | None,
        seed: int | None,
        timeout: float,
        runs: int,
        backend: str | None,
        save: str | os.PathLike[str] | None,
        fixed: bool | None,
        reduce_calls: int,
        progress: Progress | None,
    ) -> None:
        if not hasattr(layer, "output_shape") and not _is_strategy(layer):
            raise InputError(f"assert_bit_exact: found layer {layer!r}, allowed a layer of hwsim, or a strategy of such layers.")
        told = current()
        self.layer, self.inputs, self.progress = layer, inputs, progress
        self.max_examples = checked_count("max_examples", told.max_examples if max_examples is None else max_examples, 1)
        self.seed = checked_count("seed", told.seed if seed is None else seed, 0)
        self.reduce_calls = checked_count("reduce_calls", reduce_calls, 0)
        backend_name = told.backend if backend is None else backend
        if backend_name != "auto":
            backend_by_name(backend_name)
        self.save = told.save if save is None else save
        self.fixed = hasattr(layer, "output_shape") if fixed is None else fixed
        self.device = watched(dut, checked_seconds("timeout", timeout))
        self.judge = Judge(self.device, backend_name, checked_count("runs", runs, 1), dut)
        self.examples, self.kept, self.start = 0, list[Example](), time.perf_counter()

    def search(self) -> tuple[Verdict, bool] | None:
        """Return the first failure, and whether it is one that only shows when an example is asked again at the end."""
        layers = self.layer
        try:
            if hasattr(layers, "output_shape") and self._plain(self._given(layers)):
                self.look(Example(layers, np.asarray(self._given(layers))))
            else:
                self._draw()
        except _Stop as stop:
            if stop.error is not None:
                raise stop.error from None
            assert stop.verdict is not None
            return stop.verdict, False
        if not self.examples:
            raise InputError("assert_bit_exact: no example was drawn, so nothing was compared; give a strategy that draws some.")
        return self._once_more()

    def _given(self, layer: Layer) -> Any:
        """What the caller says about a layer's inputs: codes or a strategy; None for hwsim's own."""
        return self.inputs(layer) if callable(self.inputs) and not _is_strategy(self.inputs) else self.inputs

    @staticmethod
    def _plain(given: Any) -> bool:
        return given is not None and not _is_strategy(given)

    def _draw(self) -> None:
        """Let Hypothesis draw; a seed and no database, so that the same seed draws the same examples everywhere."""
        require_hypothesis()
        from hypothesis import HealthCheck, Phase, Verbosity, given, settings
        from hypothesis import seed as seeded
        from hypothesis import strategies as st

        from hwsim.testing.layer_strategies import inputs as own_inputs

        def inputs_of(layer: Layer) -> Any:
            found = self._given(layer)
            if found is None:
                return own_inputs(layer)
            return found if _is_strategy(found) else st.just(found)

        @st.composite
        def examples(draw: Any) -> Example:
            layer = draw(self.layer) if _is_strategy(self.layer) else self.layer
            return Example(layer, np.asarray(draw(inputs_of(layer))))

        @seeded(self.seed)
        @settings(
            max_examples=self.max_examples,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            derandomize=False,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.quiet,
        )
        @given(examples())
        def each(example: Example) -> None:
            self.look(example)

        each()

    def look(self, example: Example) -> None:
        """Judge one example; keep a few, each twice as far on as the one before, to be asked again at the end."""
        try:
            _check_example(example)
            verdict = self.judge.judge(example)
        except Exception as error:
            raise _Stop(error=error) from None
        self.examples += 1
        if self.progress is not None:
            self.progress(min(self.examples, self.max_examples), self.max_examples)
        if verdict is not None:
            raise _Stop(verdict)
        if self.examples & (self.examples - 1) == 0:
            self.kept.append(example)

    def _once_more(self) -> tuple[Verdict, bool] | None:
        """Ask what was right before, last one first: a device that keeps something may answer otherwise now."""
        for example in reversed(self.kept[:-1]):
            verdict = self.judge.judge(example, runs=1)
            if verdict is not None and verdict.kind is Kind.ERROR:
                return verdict, True
            if verdict is not None:
                answers = (verdict.expected, verdict.answers[0])
                return Verdict(Kind.UNSTEADY, example, verdict.expected, answers, note=LATER), True
        return None

    def failure(self, verdict: Verdict, later: bool) -> BaseException:
        """Reduce, explain and save a failure; return what to raise."""
        calls = self.judge.calls
        settled = Settled(verdict, False) if later else settle(self.judge, verdict)
        verdict, stopped, reduce_calls = settled.verdict, "", 0
        if settled.again and not _hangs(verdict):
            reduced = reduce(self.judge, settled, self.fixed, self.reduce_calls)
            verdict, stopped, reduce_calls = reduced.verdict, reduced.stopped, reduced.calls
        elif verdict.kind is not Kind.WRONG:
            stopped = "it takes too long to be reduced" if _hangs(verdict) else "what does not come again cannot be reduced"
        effort = Effort(
            example=self.examples,
            seed=self.seed,
            backend=self.judge.backend,
            calls=calls,
            reduce_calls=reduce_calls,
            seconds=time.perf_counter() - self.start,
            before=cost(settled.verdict.example)[0],
            stopped=stopped,
        )
        report = Report(device_name(self.device), verdict, effort, own_fault=self._own_fault(verdict))
        return failure_of(save(report, self.save))

    def _own_fault(self, verdict: Verdict) -> str:
        """Ask the specification, too: a difference between hwsim's own backends must not be called the device's fault."""
        example = verdict.example
        outputs = len(example.inputs) * int(np.prod(example.layer.output_shape([Shape(*example.inputs.shape[1:])])))
        taps = int(np.prod(example.layer.weight.shape[1:])) if isinstance(example.layer, MacLayer) else 1
        if self.judge.backend == "spec" or outputs * taps > SPEC_PRODUCTS:
            return ""
        by_spec = Judge(self.device, "spec", 1).expected(example)
        return "" if same(by_spec, verdict.expected) else own_fault(self.judge.backend, verdict.expected, example.layer, by_spec)

    def end(self) -> None:
        """Let the watching thread go."""
        if isinstance(self.device, Watched):
            self.device.stop()

    def result(self) -> BitExact:
        """What was passed."""
        judge, seconds = self.judge, time.perf_counter() - self.start
        return BitExact(self.examples, judge.outputs, judge.calls, seconds, self.seed, judge.backend)


LATER = "right when it was asked first, otherwise after other examples: something of them is left in the device"


def failure_of(report: Report) -> BaseException:
    """What is raised for a failure: by its kind, with the report in it."""
    verdict = report.verdict
    if verdict.kind is Kind.WRONG:
        return BitMismatch(report)
    where = f" {report.found()}" + ("" if report.folder is None else f" saved: {report.folder}")
    if verdict.kind is Kind.UNSTEADY:
        failure: DeviceError = DeviceUnsteady(f"device {report.headline()}{_both(verdict)}{where}", str(report))
    else:
        assert verdict.error is not None
        failure = type(verdict.error)(
            f"{verdict.error}{f' ({verdict.note})' if verdict.note else ''}{where}", verdict.error.detail
        )
        failure.__cause__ = verdict.error.__cause__
    failure.report = report
    return failure


def _both(verdict: Verdict) -> str:
    """The two answers of an unsteady device, at the first place where they differ."""
    a, b, at = verdict.reference, verdict.other, verdict.place
    if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray) or at is None:
        return ""
    return f" At (n, k, y, x) = {at} it answered {int(a[at])}, and {int(b[at])} another time."


def _hangs(verdict: Verdict) -> bool:
    return isinstance(verdict.error, DeviceHung)


def require_hypothesis() -> None:
    """InputError where Hypothesis is not installed."""
    if find_spec("hypothesis") is None:
        raise InputError("hwsim.testing: Hypothesis is not installed, and it draws the examples; pip install 'hwsim[testing]'.")


def _is_strategy(value: object) -> bool:
    """Whether it is a Hypothesis strategy; asked without importing Hypothesis."""
    return hasattr(value, "flatmap") and hasattr(value, "example")


def _check_example(example: Example) -> None:
    """Refuse what is no layer with one input; its codes are checked where the layer is run."""
    layer = example.layer
    if not hasattr(layer, "output_shape") or not hasattr(layer, "input_formats"):
        raise InputError(f"assert_bit_exact: found layer {layer!r}, allowed a layer of hwsim, or a strategy of such layers.")
    if len(layer.input_formats) != 1:
        raise InputError(
            f"assert_bit_exact: found a {layer.kind} with {len(layer.input_formats)} inputs, allowed layers with one."
        )
    if example.inputs.ndim != 4 or example.inputs.dtype.kind not in "iu":
        found = f"{example.inputs.dtype} of shape {example.inputs.shape}"
        raise InputError(f"assert_bit_exact: found inputs {found}, allowed integer codes [N][C][H][W].")


def checked_count(name: str, value: object, least: int) -> int:
    """Return a number of something; InputError where it is none."""
    if type(value) is not int or value < least:
        raise InputError(f"assert_bit_exact: found {name}={value!r}, allowed an integer from {least}.")
    return value
