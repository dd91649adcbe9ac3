"""The unit as a device under test: mac.v compiled by iverilog, run by vvp, asked over its standard input."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import weakref
from dataclasses import fields
from pathlib import Path

import numpy as np

from hwsim.errors import DeviceAnswer, InputError
from hwsim.layers import Layer
from hwsim.testing.example.faults import Fault
from hwsim.testing.example.jobs import DEFAULT, Widths, fitting, jobs, output_shape
from hwsim.testing.session import Session

HERE = Path(__file__).resolve().parent
TOOLS = ("iverilog", "vvp")
COMPILE_SECONDS = 60
"""A compilation takes a hundredth of a second; a machine that swaps may need more."""


class MacUnit:
    """codes[n,k,y,x] = what mac.v answers; a device under test for hwsim.testing.assert_bit_exact.

    fault: one of FAULTS, planted; None for the correct unit.  timeout: seconds for one batch, a batch being one call.
    Takes convolutions and fully connected layers whose contract is the one in mac.v's header, products in the contract's order.
    Errors: InputError where Icarus Verilog is missing, ContractError for a layer that is not this unit's, and DeviceError of
    the right kind where the unit hangs, crashes or answers nonsense.
    """

    stoppable = True
    """Its session ends a call that takes too long, so nobody else has to watch it."""

    def __init__(self, fault: Fault | None = None, *, widths: Widths = DEFAULT, timeout: float = 60) -> None:
        require_tools()
        self.fault, self.widths = fault, widths
        self.folder = tempfile.mkdtemp(prefix="hwsim-mac-")
        self._remove = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        program = compiled(Path(self.folder), fault, widths)
        self._session = Session(["vvp", "-n", str(program)], timeout=timeout)

    def __repr__(self) -> str:
        return f"MacUnit({'' if self.fault is None else f'fault({self.fault.name!r})'})"

    def __call__(self, layer: Layer, inputs: np.ndarray) -> np.ndarray:
        """Return output codes [N][K][H][W] for input codes [N][C][H][W]."""
        mac = fitting(layer, self.widths)
        return np.array(self.ask(jobs(mac, inputs)), dtype=np.int64).reshape(output_shape(mac, inputs))

    def ask(self, lines: list[str]) -> list[int]:
        """Return the codes that answer a batch of jobs, each a line as bench.v reads it."""
        answers = self._session.ask([*lines, "0"], len(lines) + 1)
        for job, answer in enumerate(answers):
            if not _is_code(answer) and (job < len(lines) or answer != "end"):
                wanted = f"a code for job {job} of {len(lines)}" if job < len(lines) else "the word end"
                raise DeviceAnswer(f"{self!r}: found {answer!r}, allowed {wanted}; see the words in bench.v.")
        return [int(answer) for answer in answers[:-1]]

    def close(self) -> None:
        """End vvp and remove the compiled unit."""
        self._session.close()
        self._remove()

    def __enter__(self) -> MacUnit:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_code(answer: str) -> bool:
    return answer.removeprefix("-").isdecimal()


def require_tools() -> None:
    """Raise InputError where Icarus Verilog is not installed."""
    for tool in TOOLS:
        if shutil.which(tool) is None:
            raise InputError(f"{tool}: not found on the PATH; install Icarus Verilog (Debian: apt-get install iverilog).")


def compiled(folder: Path, fault: Fault | None, widths: Widths) -> Path:
    """Return the program that vvp runs: bench.v with mac.v, its fault planted, its widths set."""
    source = (HERE / "mac.v").read_text(encoding="utf-8")
    unit, program = folder / "mac.v", folder / "mac.vvp"
    unit.write_text(source if fault is None else fault.plant(source), encoding="utf-8")
    sizes = [f"-Pbench.{field.name.upper()}_BITS={getattr(widths, field.name)}" for field in fields(widths)]
    command = ["iverilog", "-g2005", "-s", "bench", *sizes, "-o", str(program), str(HERE / "bench.v"), str(unit)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise InputError(
            f"iverilog: mac.v takes more than {COMPILE_SECONDS} s to compile; find out what ails this machine."
        ) from None
    if run.returncode:
        raise InputError(f"iverilog: mac.v does not compile: {run.stderr.strip()[:300]}; mend the fault's text.")
    return program
