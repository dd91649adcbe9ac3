"""What a failure looks like: the outputs that differ, the operands behind the first of them, its accumulator step by step."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.errors import InputError, OverflowTrap, printable
from hwsim.execute.explain import explain
from hwsim.execute.explanation import Explanation
from hwsim.golden.compare import in_order
from hwsim.golden.describe import plain
from hwsim.golden.package import text_table
from hwsim.layers import FullyConnected, Layer, MacLayer, Shape
from hwsim.layers.float_unit import FloatUnit
from hwsim.testing.judge import Example, Kind, Verdict
from hwsim.testing.simpler import cost, zero_of, zeros_like

SHOWN_OUTPUTS, SHOWN_OPERANDS, SHOWN_STEPS = 8, 16, 12
SCHEMA = "hwsim.mismatch/1"


@dataclass(frozen=True)
class Effort:
    """How a failure was found. example: its number, from 1.  calls, reduce_calls: of the device, to find it and to reduce it.

    seconds: all of it.  before: codes that were not zero in the example as it was drawn.  drawn: examples that Hypothesis drew,
    to learn what varies.  stopped: why the reduction is not finished, or "".
    """

    example: int
    seed: int
    backend: str
    calls: int
    reduce_calls: int
    seconds: float
    before: int
    drawn: int = 0
    stopped: str = ""


@dataclass(frozen=True, eq=False)
class Report:
    """A failure, reduced, with all that is known about it; str() is what a person reads.

    folder: where the golden package, the device's dump and this report are kept; None where nothing could be.
    own_fault: what is wrong with hwsim itself, or "".
    """

    device: str
    verdict: Verdict
    effort: Effort
    folder: Path | None = None
    unsaved: str = ""
    own_fault: str = ""

    @property
    def example(self) -> Example:
        """The layer and the inputs."""
        return self.verdict.example

    @property
    def operands(self) -> int:
        """Products of the first wrong output whose input and weight are both not zero; of all outputs where none is named."""
        return len(operands(self.example, self.verdict.place))

    def headline(self) -> str:
        """One line: what went wrong."""
        verdict = self.verdict
        if verdict.kind is Kind.ERROR:
            return str(verdict.error)
        wrong, against = verdict.wrong, "model" if verdict.kind is Kind.WRONG else "device's own first answer"
        said = "" if not verdict.note else f" ({verdict.note})"
        if wrong is None:
            return f"{self.device}: the {against} {told(verdict.reference)}; the device {told(verdict.other)}{said}."
        count = int(wrong.sum())
        verb = "differs" if count == 1 else "differ"
        return f"{self.device}: {count} of {wrong.size} outputs {verb} from the {against}{said}."

    def found(self) -> str:
        """One line: how it was found."""
        e, now = self.effort, cost(self.example)[0]
        reduced = f"reduced from {e.before} codes that are not zero to {now} by {e.reduce_calls} calls of the device"
        stopped = f" ({e.stopped})" if e.stopped else ""
        return f"example {e.example} of seed {e.seed}, backend {e.backend}, {e.seconds:.2f} s; {reduced}{stopped}."

    def rows(self) -> list[tuple[str, ...]]:
        """The outputs that differ, a line each below its heads; empty where no two arrays of codes differ."""
        wrong, a, b = self.verdict.wrong, self.verdict.reference, self.verdict.other
        if wrong is None or not wrong.any() or not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
            return []
        heads = ("expected", "found") if self.verdict.kind is Kind.WRONG else ("first answer", "another answer")
        rows: list[tuple[str, ...]] = [("n", "k", "y", "x", *heads, "ulps")]
        fmt = self.example.layer.output_format
        for at in np.argwhere(wrong):
            codes = int(a[tuple(at)]), int(b[tuple(at)])
            ulps = int(in_order(codes[1], fmt) - in_order(codes[0], fmt))
            rows.append((*(str(int(i)) for i in at), str(codes[0]), str(codes[1]), f"{ulps:+d}"))
        return rows

    def __str__(self) -> str:
        parts = [self.headline(), self.found()]
        if self.own_fault:
            parts.insert(0, self.own_fault)
        rows = self.rows()
        if rows:
            more = len(rows) - 1 - SHOWN_OUTPUTS
            parts.append(text_table(rows[: SHOWN_OUTPUTS + 1]) + (f"\n... and {more} more" if more > 0 else ""))
        parts += [described(self.example), *self._behind(), self.again()]
        return "\n\n".join(parts)

    def _behind(self) -> list[str]:
        """The operands, and the model's steps."""
        place, layer = self.verdict.place, self.example.layer
        if not isinstance(layer, MacLayer) or place is None:
            arrays = {"inputs": self.example.inputs, "weights": getattr(layer, "weight", None)}
            return [f"{name}: {a.tolist()}" for name, a in arrays.items() if a is not None and a.size <= SHOWN_OPERANDS]
        found = operands(self.example, place)
        head = ("tap (c, r, s)", "input (c, y, x)", "input", "weight", "product")
        shown = text_table([head, *found[:SHOWN_OPERANDS]])
        more = f"\n... and {len(found) - SHOWN_OPERANDS} more" if len(found) > SHOWN_OPERANDS else ""
        steps = str(replace(self.explanation(), limit=SHOWN_STEPS))
        return [
            f"operands of {place} that are not zero: {len(found)}" + (f"\n{shown}{more}" if found else ""),
            f"the model: {steps}",
        ]

    def explanation(self) -> Explanation:
        """The model's accumulator at the first output that is wrong, step by step; `.plot(file)` draws it.

        Errors: InputError where no output is named, or the layer accumulates nothing.
        """
        if self.verdict.place is None:
            raise InputError(f"{self.device}: its failure names no output; see report.example for the layer and the inputs.")
        return explain(self.example.layer, self.verdict.place, self.example.inputs)

    def again(self) -> str:
        """How to see it again."""
        lines = [f"again: the same examples come from seed={self.effort.seed} (pytest --hwsim-seed={self.effort.seed})"]
        if self.unsaved:
            lines.append(f"not saved: {self.unsaved}")
        if self.folder is not None:
            lines.insert(0, f"saved: {self.folder}")
            name = shlex.quote(str(self.folder))
            if (self.folder / PACKAGE).is_dir():
                dump = f" --dump {name}/{DUMP}" if (self.folder / DUMP).is_file() else ""
                lines.append(f"  hwsim check {name}/{PACKAGE}{dump}")
                if self.verdict.place is not None and isinstance(self.example.layer, MacLayer):
                    at = ",".join(map(str, self.verdict.place))
                    lines.append(f"  hwsim explain {name}/{PACKAGE} --layer {self.example.layer.kind} --at {at}")
                lines.append(f"  hwsim.testing.replay(dut, {str(self.folder)!r})")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        verdict, rows = self.verdict, self.rows()
        example = self.example
        return {
            "schema": SCHEMA,
            "device": printable(self.device),
            "kind": verdict.kind.value,
            "headline": printable(self.headline()),
            "note": verdict.note,
            "effort": {**vars(self.effort)},
            "own_fault": self.own_fault,
            "place": None if verdict.place is None else list(verdict.place),
            "wrong": len(rows) - 1 if rows else None,
            "outputs": [dict(zip(rows[0], row, strict=True)) for row in rows[1:]],
            "operands": self.operands,
            "layer": {"kind": example.layer.kind, "attributes": plain(example.layer)},
            "inputs": {"shape": list(example.inputs.shape), "codes": example.inputs.ravel().tolist()},
        }


PACKAGE, DUMP, AGAIN = "package", "dut.hex", "dut_again.hex"
"""What stands in a report's folder: the golden package, the device's answer, and another one where it is not steady."""


def told(outcome: np.ndarray | OverflowTrap) -> str:
    """An outcome in words."""
    if isinstance(outcome, OverflowTrap):
        step = "" if outcome.step is None else f", step {outcome.step}"
        return f"traps at {outcome.place} (n, k, y, x) = {tuple(outcome.coordinate)}{step}"
    return f"answers codes {outcome.ravel()[:SHOWN_OUTPUTS].tolist()}{' ..' if outcome.size > SHOWN_OUTPUTS else ''}"


def described(example: Example) -> str:
    """One line about a layer and its input."""
    layer, shape = example.layer, "x".join(map(str, example.inputs.shape))
    if not isinstance(layer, MacLayer):
        return f"{layer.kind}, input {shape} (N C H W)"
    weight = "x".join(map(str, layer.weight.shape))
    axes = "K I" if isinstance(layer, FullyConnected) else "K C R S"
    said = [f"weights {weight} ({axes})", "no bias" if layer.bias is None else f"bias {_few(layer.bias)}"]
    simple = {"stride": (1, 1), "pad": (0, 0), "dilation": (1, 1), "groups": 1, "pad_end": None}
    said += [f"{name} {getattr(layer, name)}" for name, usual in simple.items() if getattr(layer, name, usual) != usual]
    return f"{layer.kind}, input {shape} (N C H W), {', '.join(said)}"


def _few(codes: np.ndarray) -> str:
    flat = codes.ravel().tolist()
    return f"{flat[:SHOWN_OUTPUTS]}{' ..' if len(flat) > SHOWN_OUTPUTS else ''}"


def operands(example: Example, place: tuple[int, int, int, int] | None) -> list[tuple[str, ...]]:
    """(tap, where the input lies, its code, the weight's code, the product) of each product of an output with neither zero.

    place: None for all outputs of all images.
    """
    layer, inputs = example.layer, example.inputs
    if not isinstance(layer, MacLayer):
        return []
    shape = Shape(*inputs.shape[1:])
    if place is None:
        ranges = (range(size) for size in (len(inputs), *layer.output_shape([shape])))
        return [row for at in np.ndindex(*(len(r) for r in ranges)) for row in operands(example, at)]
    n, k, y, x = place
    index: list[list[list[int]]] = np.arange(inputs[n].size).reshape(shape).tolist()
    sources, padded = layer.taps(index, k, y, x)
    extents = layer.extents(shape)
    weights, zeros = layer.weight[k].ravel(), zeros_like(layer.weight, layer.contract.weight)[k].ravel()
    zero = zero_of(layer.input_formats[0])
    found: list[tuple[str, ...]] = []
    for tap, (source, outside) in enumerate(zip(sources, padded, strict=True)):
        code = layer.pad_code if outside else int(inputs[n].flat[source])
        if code == zero or weights[tap] == zeros[tap]:
            continue
        where = tuple(int(i) for i in np.unravel_index(source, shape))
        at = tuple(int(i) for i in np.unravel_index(tap, extents))
        found.append((str(at), str(where), str(code), str(int(weights[tap])), _product(layer, code, k, tap)))
    return found


def _product(layer: MacLayer, code: int, k: int, tap: int) -> str:
    unit = layer.unit
    return "" if isinstance(unit, FloatUnit) else str(unit.product(code, k, tap))


def own_fault(backend: str, expected: Any, layer: Layer, by_spec: Any) -> str:
    """The sentence that is said where hwsim's own backends differ."""
    return (
        f"HWSIM ITSELF IS WRONG HERE: backend {backend} {told(expected)}, the specification {told(by_spec)} for the same "
        f"{layer.kind}. Whatever the device does, please report this with the saved package."
    )
