"""hwsim.quantize: a float network and calibration images -> a network in integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from os import PathLike

import numpy as np

from hwsim.contract.dialects import DIALECTS, EXACT32, TFLITE, Dialect, Minifloats, RangeRule, Scheme
from hwsim.errors import ContractError, InputError
from hwsim.images import Image, ImageSet
from hwsim.images import images as open_images
from hwsim.layers.lrn_table import TableDesign
from hwsim.network.graph import Network
from hwsim.network.lower.affine import lower_affine
from hwsim.network.lower.fold import fold
from hwsim.network.lower.layers import DEFAULT_TABLE, Widths, lower
from hwsim.network.lower.sites import answering, measured_tensors, sites
from hwsim.network.quantized import QuantizedNetwork
from hwsim.network.ranges import POWER_BITS, Calibration, Range, WeightRule
from hwsim.quantize.float_run import FloatRun
from hwsim.quantize.ranges import Tally

Images = ImageSet | np.ndarray | Sequence[Image] | str | PathLike[str]
Progress = Callable[[int, int], None]

MINIFLOATS = Minifloats()

BATCH = 8
"""Images per float run: what it holds of SqueezeNet's tensors stays under 200 MB."""

PERCENT = 99.999


def quantize(
    network: Network,
    images: Images,
    bits: int = 8,
    dialect: Dialect | None = None,
    method: Calibration = Calibration.LEAST_SQUARES,
    *,
    weight_bits: int | None = None,
    weight_method: Calibration = Calibration.MAXIMUM,
    per_channel: bool | None = None,
    percent: float = PERCENT,
    limit: int | None = None,
    progress: Progress | None = None,
    scheme: Scheme | None = None,
    minifloats: Minifloats = MINIFLOATS,
    lrn_table: TableDesign | None = DEFAULT_TABLE,
    signed: bool = True,
) -> QuantizedNetwork:
    """Return the network in integers: ranges from the images by float execution, formats from the ranges.

    images: an ImageSet, DATA as the command line takes it, or uint8 pixels [N][C][H][W]; labels are not looked at.
    scheme: which kind of numbers; None: AFFINE with a dialect that has affine codes, else DYNAMIC_FIXED_POINT.  dialect: None:
    TFLITE for AFFINE, else EXACT32.  minifloats: what Scheme.MINIFLOAT takes.  signed: of AFFINE: int8 rather than uint8, whose
    weights have zero points, too.
    bits: of weights and activations, 2..16; weight_bits: of the weights alone. Powers of two have 4 bits unless weight_bits says
    otherwise (2..7); minifloats have those of their format, unless Ristretto's rule makes one of `bits`.
    method: which part of a range activations keep; weight_method: the same for weights.
    The defaults are those of least divergence from float on held-out calibration images (docs/quantize.md).
    per_channel: a fractional length for each output channel of the weights; None: yes, but for Ristretto's rule, which has
    one for all and takes the maximum always.  percent: for Calibration.PERCENTILE.  limit: only the first images.
    lrn_table: the table of each LRN in integers; None leaves LRN to the host, in float, where Ristretto's dialects and minifloats
    have it always.
    progress: called with (images done, images in all).
    Errors: InputError (no images, onnxruntime absent, a layer that integers cannot do), ProofError (an accumulator that
    cannot be proven safe: the sentence names the layer and the width that would do).
    """
    scheme, dialect = _school(scheme, dialect)
    widths = _widths(bits, weight_bits, scheme, minifloats, lrn_table, signed)
    if limit is not None and limit < 1:
        raise InputError(f"quantize: found limit {limit}, allowed 1 or more.")
    if not 0 < percent <= 100:
        raise InputError(f"quantize: found percent {percent}, allowed above 0 and up to 100.")
    tallies = calibrate(network, images, dialect, limit, progress)
    return choose(network, tallies, widths, dialect, method, weight_method, per_channel, percent)


def calibrate(
    network: Network, images: Images, dialect: Dialect = EXACT32, limit: int | None = None, progress: Progress | None = None
) -> dict[str, Tally]:
    """Run the images in float; return what was seen of each range that the dialect's formats need.

    Memory does not grow with the number of images.
    """
    if isinstance(images, (str, PathLike)):
        images = open_images(images, network.preprocessing)
    network = fold(network)
    wanted = measured_tensors(sites(network), not dialect.requantize_inputs)
    tensors = {name: Tally() for group in wanted.values() for name in group}
    run = FloatRun(network, tensors)
    total = _length(images) if limit is None else min(limit, _length(images))
    done = 0
    for batch in _batches(network, images, total):
        outputs = run.run(batch, list(tensors))
        for name, tally in tensors.items():
            tally.add(outputs[name], f"layer {name!r}")
        done += len(batch)
        if progress is not None:
            progress(done, total)
    return {key: Tally.union([tensors[name] for name in group]) for key, group in wanted.items()}


def choose(
    network: Network,
    tallies: dict[str, Tally],
    widths: Widths,
    dialect: Dialect,
    method: Calibration,
    weight_method: Calibration = Calibration.MAXIMUM,
    per_channel: bool | None = None,
    percent: float = PERCENT,
) -> QuantizedNetwork:
    """Return the network in integers with formats from what calibrate() saw."""
    network = fold(network)
    chain = sites(network)
    by_name = {site.name: site for site in chain}
    ranges: dict[str, Range] = {}
    for key, tally in tallies.items():
        site = by_name.get(key)
        rule = dialect.ranges
        if site is not None and not site.is_mac and site.inputs:
            rule = RangeRule.COVER  # Ristretto quantizes the inputs and outputs of its own layers only
        whole = key in answering(chain) or rule != dialect.ranges  # wide formats: nothing is gained by clipping
        ranges[key] = tally.range(percent, rule, Calibration.MAXIMUM if whole else method)
    follows_ristretto = dialect.ranges == RangeRule.RISTRETTO
    if follows_ristretto:
        weight_method = Calibration.MAXIMUM
    weight_rule = WeightRule(dialect.ranges, weight_method, dialect.per_channel if per_channel is None else per_channel)
    if widths.scheme is Scheme.AFFINE:
        return lower_affine(network, _affine_ranges(tallies, ranges, widths), widths, dialect, weight_rule)
    return lower(network, ranges, widths, dialect, weight_rule)


def _affine_ranges(tallies: dict[str, Tally], ranges: dict[str, Range], widths: Widths) -> dict[str, Range]:
    """The ranges with the ends that affine formats of least squared error have, where that is the method."""
    found = dict(ranges)
    for key, seen in ranges.items():
        if seen.method is Calibration.LEAST_SQUARES:
            low, high = tallies[key].affine_ends(widths.outputs, widths.signed)
            found[key] = replace(seen, clip_low=low, clip_high=high)
    return found


def _school(scheme: Scheme | None, dialect: Dialect | None) -> tuple[Scheme, Dialect]:
    """The scheme and the dialect, where one of them is named the other's own."""
    if not isinstance(scheme, Scheme | None):
        raise ContractError(f"quantize: found scheme={scheme!r}, allowed Scheme: {', '.join(member.name for member in Scheme)}.")
    if not isinstance(dialect, Dialect | None):
        raise ContractError(f"quantize: found dialect={dialect!r}, allowed a Dialect, as hwsim.dialects.TFLITE.")
    if dialect is None:
        dialect = TFLITE if scheme is Scheme.AFFINE else EXACT32
    if scheme is None:
        scheme = Scheme.DYNAMIC_FIXED_POINT if dialect.affine is None else Scheme.AFFINE
    if (scheme is Scheme.AFFINE) != (dialect.affine is not None):
        fits = ", ".join(name for name, known in DIALECTS.items() if (known.affine is not None) == (scheme is Scheme.AFFINE))
        raise InputError(f"quantize: found scheme {scheme.name} with dialect {dialect.name!r}, allowed with this scheme: {fits}.")
    return scheme, dialect


def _widths(
    bits: int, weight_bits: int | None, scheme: Scheme, minifloats: Minifloats, lrn: TableDesign | None, signed: bool
) -> Widths:
    if not isinstance(minifloats, Minifloats):
        raise ContractError(f"quantize: found minifloats={minifloats!r}, allowed Minifloats.")
    default = POWER_BITS if scheme is Scheme.POWER_OF_TWO else _width("bits", bits)
    chosen = default if weight_bits is None else _width("weight_bits", weight_bits)
    if scheme is Scheme.AFFINE and not signed and bits > 8:
        raise InputError(f"quantize: found unsigned codes of {bits} bits, allowed with AFFINE are 8: its wider codes are signed.")
    return Widths(chosen, _width("bits", bits), scheme, minifloats, lrn, signed)


def _width(name: str, bits: int) -> int:
    if isinstance(bits, bool) or not isinstance(bits, (int, np.integer)) or not 2 <= bits <= 16:
        raise ContractError(f"quantize: found {name}={bits!r}, allowed an integer in 2..16.")
    return int(bits)


def _length(images: ImageSet | np.ndarray | Sequence[Image]) -> int:
    plain = isinstance(images, (list, tuple)) and all(isinstance(image, Image) for image in images)
    if not plain and not isinstance(images, (ImageSet, np.ndarray)):
        raise InputError(f"quantize: images are {type(images).__name__}; give hwsim.images(...) or a uint8 array.")
    total = len(images)
    if not total:
        raise InputError("quantize: no calibration images; ranges cannot be seen without one.")
    return total


def _batches(network: Network, images: ImageSet | np.ndarray | Sequence[Image], total: int) -> Iterator[np.ndarray]:
    """Real numbers in batches, float32 [N][C][H][W]."""
    preprocessing = network.preprocessing
    if preprocessing is None:
        raise InputError(
            f"network {network.name!r} does not say how pixels enter it; give read() a channel_order, mean and scale."
        )
    if isinstance(images, ImageSet):
        yield from (preprocessing.real(pixels) for pixels in images[:total].pixel_batches(BATCH))
        return
    pixels = images if isinstance(images, np.ndarray) else np.stack([image.pixels for image in images])
    if pixels.dtype != np.uint8:
        raise InputError(f"quantize: found images of type {pixels.dtype}; pixels are uint8, as hwsim.images gives them.")
    for start in range(0, total, BATCH):
        yield preprocessing.real(pixels[start : min(start + BATCH, total)])
