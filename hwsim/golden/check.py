"""Check a golden package: every digest, every format of every array, and everything computed again; or a device's dump."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from hwsim.backends.registry import backend as backend_by_name
from hwsim.backends.registry import native_available
from hwsim.errors import BackendError, InputError, OverflowTrap
from hwsim.execute.single import run_layer
from hwsim.golden.compare import Comparison
from hwsim.golden.diagnose import diagnose
from hwsim.golden.dump import collect, parse_bin, parse_hex, read_dump
from hwsim.golden.package import Memory, Package, PackagedLayer
from hwsim.golden.read import load_bytes, load_npy, read_package
from hwsim.golden.report import CheckReport, LayerCheck
from hwsim.golden.wide import accumulators
from hwsim.golden.words import FORMATTERS
from hwsim.layers import Convolution, Deconvolution, Events, MacLayer, Shape

SPEC_OUTPUTS = 1000
SEED = 2022
"""Chooses the outputs that the specification computes: any number would do, but the same every time."""
PADDING_FACTOR = 64
PADDING_ROOM = 64 << 20
"""Bytes that zero padding may take beyond 64 times the stimulus: more is a claim, not a layer."""
LANE_FACTOR, FEW_PLACES = 16, 1 << 16
"""Places of lanes in the steps of one output, for each of its taps; so few never take long."""

Progress = Callable[[int, int], None]
Arrays = dict[str, np.ndarray]


def check(
    package: Package | str | os.PathLike[str],
    dump: str | os.PathLike[str] | None = None,
    layer: str | None = None,
    backends: Sequence[str] | None = None,
    spec_outputs: int = SPEC_OUTPUTS,
    progress: Progress | None = None,
) -> CheckReport:
    """passed = every file is what the manifest says, and every output, accumulator and event count is computed again equal.

    backends: compute every output; None for jit, and native where it is installed and has a kernel; the report tells who
    computed each layer.  spec_outputs: at least so many outputs
    of each layer are computed by the specification too, in plain integers: corners, every channel, and a fixed choice.
    dump: a device's output of one layer (.hex, .bin or .npy) to compare instead; `layer` says of which one.
    Errors: InputError for a file that is damaged or no package; a difference in a computed bit is no error but the report.
    """
    opened = read_package(package)
    if spec_outputs < 0:
        raise InputError(f"spec_outputs: found {spec_outputs}, allowed 0 or more.")
    if dump is not None:
        return _check_dump(opened, Path(dump), layer)
    names = ("jit", *(("native",) if native_available() else ())) if backends is None else tuple(backends)
    for name in names:
        backend_by_name(name)
    asked = backends is not None
    chosen = [opened[layer]] if layer is not None else list(opened)
    found = []
    for done, packaged in enumerate(chosen):
        if progress is not None:
            progress(done, len(chosen))
        found.append(_check_layer(opened, packaged, names, asked, spec_outputs))
    if progress is not None:
        progress(len(chosen), len(chosen))
    computed = tuple(name for name in names if any(name in line.backends for line in found))
    return CheckReport(opened.path.name, tuple(found), backends=computed)


def _check_layer(
    package: Package, packaged: PackagedLayer, backends: Sequence[str], asked: bool, spec_outputs: int
) -> LayerCheck:
    """One layer's line. asked: the backends were asked for by name, so that one without a kernel is an error."""
    folder = package.path / packaged.folder
    codes: Arrays = {m.role: load_npy(folder, m) for m in packaged.memories}
    failures: list[Comparison] = []
    for memory in packaged.memories:
        failures += _check_formats(folder, packaged.name, memory, codes[memory.role])
    failures += _check_sources(package, packaged, codes)
    _demand_codes(packaged, codes)
    _demand_room(packaged)
    problems: list[str] = []
    computed = []
    for backend in backends:
        try:
            wrong, told = _compute(packaged, codes, backend)
        except BackendError:
            if asked:
                raise
            continue
        computed.append(backend)
        failures += wrong
        problems += told
    wrong, told, count = _specify(packaged, codes, spec_outputs)
    shape = packaged.shape
    return LayerCheck(
        packaged.name,
        packaged.layer.kind,
        packaged.host,
        int(np.prod(shape)),
        tuple(computed),
        count,
        packaged.events,
        tuple(failures + wrong),
        tuple(problems + told),
    )


def _check_formats(folder: Path, layer: str, memory: Memory, codes: np.ndarray) -> Iterator[Comparison]:
    """The text and the raw binary must be, to the byte, what the npy array gives."""
    for kind, parse in (("hex", parse_hex), ("bin", parse_bin)):
        data = load_bytes(folder, memory, kind)
        if data == FORMATTERS[kind](codes, memory.image):
            continue
        name = f"{folder.parent.name}/{folder.name}/{memory.file(kind)}"
        values, undefined = parse(data, memory.image, name)
        comparison = Comparison(
            layer, memory, codes, collect(values, memory.image), memory.file(kind), collect(undefined, memory.image)
        )
        if not comparison.count:
            raise InputError(f"{name}: has the codes of {memory.role}.npy but is not written as hwsim does; write it again.")
        yield comparison


def _check_sources(package: Package, packaged: PackagedLayer, codes: Arrays) -> Iterator[Comparison]:
    """A stimulus is its producer's expected output, where the package has both."""
    names = {layer.name: layer for layer in package}
    for memory in packaged.stimuli:
        source = names.get(memory.source or "")
        expected = None if source is None else source.memory("expected")
        if source is None or expected is None or not packaged.inputs:
            continue
        if expected.format != memory.format or expected.image.shape != memory.image.shape:
            raise InputError(
                f"{package.path.name}: {memory.role} of {packaged.name!r} is {memory.image.shape} of {memory.format}, but "
                f"{source.name!r}, which makes it, gives {expected.image.shape} of {expected.format}; write the package again."
            )
        if dict(expected.sha256)["npy"] != dict(memory.sha256)["npy"]:
            made = load_npy(package.path / source.folder, expected)
            comparison = Comparison(packaged.name, memory, codes[memory.role], made, f"output of {source.name}")
            if comparison.count:
                yield comparison


def _demand_codes(packaged: PackagedLayer, codes: Arrays) -> None:
    """Stimuli must lie in their formats: no layer is defined on anything else."""
    for memory in packaged.stimuli:
        values = codes[memory.role]
        outside = (values < memory.format.low) | (values > memory.format.high)
        if outside.any():
            at = tuple(int(i) for i in np.argwhere(outside)[0])
            raise InputError(
                f"{packaged.name}: {memory.role} at (n, c, y, x) = {at} is {int(values[at])}, allowed "
                f"{memory.format.low}..{memory.format.high} ({memory.format}); write the package again."
            )


def _demand_room(packaged: PackagedLayer) -> None:
    """Refuse padding and idle lanes out of proportion, before they take memory and time."""
    layer = packaged.layer
    if isinstance(layer, MacLayer):
        _demand_lanes(packaged, layer)
    n, c, h, w = packaged.stimuli[0].image.shape
    if isinstance(layer, Convolution):
        rows, columns = (side + 2 * max(pads) for side, pads in zip((h, w), zip(*layer.padding, strict=True), strict=True))
        said = f"a pad of {layer.padding} around {h} x {w} pixels, allowed is much less padding"
    elif isinstance(layer, Deconvolution):
        rows, columns = layer.spread(Shape(c, h, w)).size
        said = f"{h} x {w} pixels spread over {rows} x {columns}, allowed is a much smaller stride or dilation"
    else:
        return
    if 2 * n * c * rows * columns > PADDING_FACTOR * 2 * n * c * h * w + PADDING_ROOM:
        raise InputError(f"{packaged.name}: found {said}.")


def _demand_lanes(packaged: PackagedLayer, layer: MacLayer) -> None:
    schedule = getattr(layer.contract.accumulator, "schedule", None)
    if schedule is None:
        return
    extents = layer.extents(packaged.input_shapes[0])
    taps, places = math.prod(extents), schedule.steps(*extents) * schedule.lanes
    if places > max(FEW_PLACES, LANE_FACTOR * taps):
        raise InputError(
            f"{packaged.name}: found {schedule.lanes} lanes along {schedule.lane_axis.name}, {places:,} places for {taps:,} taps "
            f"of one output, allowed are {max(FEW_PLACES, LANE_FACTOR * taps):,}: most lanes idle, so take fewer."
        )


def _compute(packaged: PackagedLayer, codes: Arrays, backend: str) -> tuple[list[Comparison], list[str]]:
    """Compute the whole layer: (differences in acc and codes, what else differs)."""
    stimuli = [codes[m.role] for m in packaged.stimuli]
    try:
        trace = run_layer(packaged.layer, *stimuli, backend=backend, first_turns=packaged.first_turns or None)
    except OverflowTrap as trap:
        return [], [f"{packaged.name}: computed by {backend}: {trap}"]
    found = {"accumulator": accumulators(trace), "expected": trace.codes}
    wrong = []
    for role, values in found.items():
        memory = packaged.memory(role)
        if memory is not None and values is not None:
            comparison = Comparison(packaged.name, memory, codes[role], values, backend)
            wrong += [comparison] if comparison.count else []
    return wrong, _event_problem(packaged, trace.events, backend)


def _event_problem(packaged: PackagedLayer, events: Events, by: str) -> list[str]:
    if events == packaged.events:
        return []
    differ = [name for name in Events._fields if getattr(events, name) != getattr(packaged.events, name)]
    told = "; ".join(f"{name} {getattr(packaged.events, name)}, {by} counts {getattr(events, name)}" for name in differ)
    return [f"{packaged.name}: events: the package says {told}."]


def _specify(packaged: PackagedLayer, codes: Arrays, wanted: int) -> tuple[list[Comparison], list[str], int]:
    """Compute a choice of outputs in plain Python ints: (differences, what else differs, how many)."""
    cells = sample(packaged.shape, wanted)
    stimuli = [codes[m.role].tolist() for m in packaged.stimuli]
    acc = packaged.memory("accumulator")
    found = {} if acc is None else {"accumulator": codes["accumulator"].astype(object if acc.image.parts else np.int64)}
    found["expected"] = codes["expected"].astype(np.int64)
    events = Events()
    for at in cells:
        cell = packaged.spec(stimuli, at)
        found["expected"][at] = cell.code
        if cell.acc is not None:
            found["accumulator"][at] = cell.acc
        events = events.plus(cell.events)
    memories = [(memory, found[memory.role]) for memory in packaged.memories if memory.role in found]
    comparisons = [Comparison(packaged.name, memory, codes[memory.role], values, "spec") for memory, values in memories]
    whole = len(cells) == int(np.prod(packaged.shape))
    told = _event_problem(packaged, events, "spec") if whole else []
    return [c for c in comparisons if c.count], told, len(cells)


def sample(shape: tuple[int, int, int, int], wanted: int) -> list[tuple[int, int, int, int]]:
    """Choose at least `wanted` outputs (all, if there are fewer), in row-major order and always the same ones.

    The four corners of the first and the last channel, one pixel of every channel, and the rest anywhere.

    >>> len(sample((1, 5, 7, 3), 30)), len(sample((1, 2, 3, 3), 1000)), sample((1, 5, 7, 3), 0)
    (30, 18, [])
    """
    n, channels, height, width = shape
    total = n * channels * height * width
    if wanted >= total:
        chosen = set(range(total))
    else:
        chosen = set(_musts(shape)) if wanted else set()
        choice = random.Random(SEED)
        while len(chosen) < wanted:
            chosen.add(choice.randrange(total))
    return [tuple(int(i) for i in np.unravel_index(index, shape)) for index in sorted(chosen)]  # type: ignore[misc]


def _musts(shape: tuple[int, int, int, int]) -> Iterator[int]:
    n, channels, height, width = shape
    plane = height * width
    choice = random.Random(SEED)
    for k in range(channels):
        yield (choice.randrange(n) * channels + k) * plane + choice.randrange(plane)
    for k in (0, channels - 1):
        for corner in (0, width - 1, plane - width, plane - 1):
            yield k * plane + corner


def _check_dump(package: Package, dump: Path, layer: str | None) -> CheckReport:
    packaged = package[layer] if layer is not None else _only_layer(package, dump)
    folder = package.path / packaged.folder
    memory = packaged.memory("expected")
    assert memory is not None  # read_package demands one of every layer
    expected = load_npy(folder, memory)
    try:
        found, undefined = read_dump(dump, memory.image)
    except InputError as error:
        raise InputError(f"layer {packaged.name!r}: {error}") from None
    comparison = Comparison(packaged.name, memory, expected, found, "dump", undefined)
    wrong = (comparison,) if comparison.count else ()
    sentences: tuple[str, ...] = ()
    if wrong:
        codes = {m.role: load_npy(folder, m) for m in packaged.memories}
        _demand_codes(packaged, codes)
        _demand_room(packaged)
        sentences = tuple(diagnose(packaged, codes, comparison))
    events = packaged.events
    line = LayerCheck(packaged.name, packaged.layer.kind, packaged.host, expected.size, (), 0, events, wrong)
    return CheckReport(package.path.name, (line,), dump.name, sentences)


def _only_layer(package: Package, dump: Path) -> PackagedLayer:
    if len(package.layers) == 1:
        return package.layers[0]
    names = ", ".join(layer.name for layer in package.layers)
    raise InputError(f"{dump}: the package has several layers; say which one this is the output of (layer): {names}.")
