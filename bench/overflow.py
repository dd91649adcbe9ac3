"""The study behind docs/overflow.md: proven widths against the log2 rule, and what was seen, of three networks.

`python -m bench.overflow [NETWORK ...]` with HWSIM_DATA set prints tables in Markdown, and what the proofs, their second
check and the witnesses cost. `make study` runs it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import hwsim
from bench.minimize import SUBJECTS
from hwsim.proofs.certificate import NARROWEST
from hwsim.proofs.narrow import with_width
from hwsim.proofs.overflow import Ranges, overflow
from hwsim.proofs.report import LayerReport, OverflowReport
from hwsim.proofs.witness import find_witness

SEEN = 100
HEADINGS = (
    "products", "log2 rule", "proven: least..most of a channel", "for what images send", f"seen on {SEEN} images", "one bit less",
)  # fmt: skip


def table(name: str, free: OverflowReport, sent: OverflowReport) -> Iterator[str]:
    """A line for each layer."""
    yield f"| {name} | " + " | ".join(HEADINGS) + " |"
    yield "|---|" + "---|" * len(HEADINGS)
    for layer in free:
        proof, seen = layer.certificate, layer.seen
        assert proof is not None and seen is not None
        cells = (layer.products, proof.rule_bits, layer.proven, sent[layer.name].proven, seen.bits, one_bit_less(layer))
        yield f"| {layer.name} | " + " | ".join(map(str, cells)) + " |"


def one_bit_less(layer: LayerReport) -> str:
    """Non-zero inputs of the witness in a register of one bit less: a `!` where there is none."""
    proof = layer.certificate
    assert proof is not None
    if proof.layer_bits == NARROWEST:
        return "-"
    found = find_witness(with_width(layer.layer, proof.layer_bits - 1), proof.shape)
    return "!" if found is None else f"{found.nonzeros} inputs, {found.kind}"


def seconds(label: str, start: float) -> str:
    """A line that says how long it took."""
    return f"* {label}: {time.perf_counter() - start:.2f} s"


def study(name: str, data: Path) -> Iterator[str]:
    """The table of one network, and the times."""
    subject = SUBJECTS[name](data)
    q = hwsim.quantize(subject.net, subject.calibration)
    start = time.perf_counter()
    proven = overflow(q)
    lines = [seconds(f"{len(proven.layers)} certificates", start)]
    with tempfile.TemporaryDirectory() as folder:
        file = proven.write(Path(folder) / "proof.json")
        start = time.perf_counter()
        if not hwsim.verify_certificates(file, q).holds:
            raise SystemExit(f"{name}: a certificate is refuted")
        lines.append(seconds(f"checked again, from {file.stat().st_size:,} bytes", start))
    start = time.perf_counter()
    free = overflow(q, subject.calibration, limit=SEEN)
    lines.append(seconds(f"the same with {SEEN} images", start))
    start = time.perf_counter()
    yield from table(name, free, overflow(q, ranges=Ranges.NETWORK))
    lines.append(seconds("ranges through the network, and a witness for one bit less in each layer", start))
    yield ""
    yield from lines


def main() -> None:
    """Print the tables of the networks that are named, or of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", choices=[*SUBJECTS, []])
    asked = parser.parse_args()
    for name in asked.networks or SUBJECTS:
        print("\n".join(study(name, Path(os.environ["HWSIM_DATA"]))) + "\n", flush=True)


if __name__ == "__main__":
    main()
