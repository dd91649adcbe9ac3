"""assert_bit_exact: any device held to the model, example by example; a failure is reduced, explained and saved."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsim.errors import DeviceError, DeviceUnsteady
from hwsim.layers import Layer
from hwsim.testing.campaign import Campaign, Inputs, Progress
from hwsim.testing.defaults import current
from hwsim.testing.dut import Device
from hwsim.testing.judge import Kind, Verdict
from hwsim.testing.report import Report, told
from hwsim.testing.saved import load_example
from hwsim.testing.shrink import REDUCE_CALLS

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


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
    fixed: True: the layer is the device's own, so that a failure is reduced in its inputs alone.  False: everything may be
    reduced.  None: inputs alone where a layer was given; of a strategy what it varies, as far as its draws show.
    reduce_calls: of the device, at most, to reduce a failure.  progress: called as progress(done, total).

    Raises BitMismatch for other codes or another trap; DeviceUnsteady for two answers to one question, of one run after the
    other or of an example that is asked again at the end; DeviceHung, DeviceCrashed, DeviceAnswer for no answer or none that
    could be one; InputError for arguments, and what the device raises of hwsim's errors.
    """
    __tracebackhide__ = True
    defaults = current()
    campaign = Campaign(
        dut,
        layer,
        inputs,
        defaults.max_examples if max_examples is None else max_examples,
        defaults.seed if seed is None else seed,
        timeout,
        runs,
        defaults.backend if backend is None else backend,
        defaults.save if save is None else save,
        fixed,
        reduce_calls,
        progress,
    )
    try:
        found = campaign.search()
        failure = None if found is None else failure_of(campaign.report(found))
    finally:
        campaign.end()
    if failure is not None:
        raise failure
    judge = campaign.judge
    return BitExact(campaign.examples, judge.outputs, judge.calls, campaign.seconds, campaign.seed, campaign.backend)


def replay(dut: Device, folder: str | os.PathLike[str], **options: Any) -> BitExact:
    """assert_bit_exact on the one example that a failure's folder, or a golden package of one layer, holds."""
    __tracebackhide__ = True
    example = load_example(folder)
    return assert_bit_exact(dut, example.layer, example.inputs, **options)


def failure_of(report: Report) -> BaseException:
    """What is raised for a failure: by its kind, with the report in it."""
    verdict = report.verdict
    if verdict.kind is Kind.WRONG:
        return BitMismatch(report)
    where = f" {report.found()}" + ("" if report.folder is None else f" saved: {report.folder}")
    if verdict.kind is Kind.UNSTEADY:
        failure: DeviceError = DeviceUnsteady(f"device {report.device}: {_both(verdict)}.{where}", str(report))
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
    a, b, at, wrong = verdict.reference, verdict.other, verdict.place, verdict.wrong
    note = f"; {verdict.note}" if verdict.note else ""
    if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray) or at is None or wrong is None:
        return f"asked the same twice, it {told(a)}, and it {told(b)} another time{note}"
    count = f"{int(wrong.sum())} of {wrong.size} outputs differ"
    return f"asked the same twice, it answered {int(a[at])} at (n, k, y, x) = {at}, and {int(b[at])} another time; {count}{note}"
