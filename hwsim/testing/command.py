"""A program as a device: started once for each example, fed a golden package, and asked for a dump."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hwsim.errors import DeviceAnswer, DeviceCrashed, DeviceHung, InputError, OverflowTrap
from hwsim.execute.single import run_layer
from hwsim.golden.dump import BINARY_SUFFIXES, TEXT_SUFFIXES, read_dump
from hwsim.golden.layout import Layout
from hwsim.golden.package import Package
from hwsim.golden.write import write_golden
from hwsim.layers import Layer
from hwsim.testing.process import Came, Child, how_it_ended
from hwsim.testing.session import checked_command, checked_seconds, told_command

PACKAGE, DUMP = "{package}", "{dump}"
SUFFIXES = (*TEXT_SUFFIXES, *BINARY_SUFFIXES, ".npy")
SAID = 200


class Command:
    """dut(layer, inputs) = the dump that a program writes when it is started with a golden package of that layer.

    command: words, with {package} where the package's folder belongs and {dump} where the file to write; both must be there.
    timeout: seconds for one run; then the program and its children are ended.  dump: name of the file, whose suffix says what
    the program writes: .hex .mem .txt .vmem .dat, .bin .raw, .npy; as `hwsim check PKG --dump FILE` reads it.
    layout: of the package's memories.  cwd, env: of the program; None for a fresh folder, which goes afterwards, and ours.
    The package holds the expected output, too: a program must not look at it.
    Errors: DeviceHung; DeviceCrashed for an exit code that is not 0; DeviceAnswer for a dump that is missing, short, garbage or
    undefined (x, z) in places; InputError for an example that traps, of which there is no package.
    """

    stoppable = True

    def __init__(
        self,
        command: Sequence[str],
        *,
        timeout: float = 60.0,
        dump: str = "dut.hex",
        layout: Layout | None = None,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.command = checked_command("Command.command", command)
        for name in (PACKAGE, DUMP):
            if not any(name in word for word in self.command):
                raise InputError(
                    f"Command.command: found {self.command}, allowed a command with both {PACKAGE} and {DUMP} in it."
                )
        self.timeout = checked_seconds("Command.timeout", timeout)
        if not isinstance(dump, str) or Path(dump).name != dump or Path(dump).suffix.lower() not in SUFFIXES:
            raise InputError(f"Command.dump: found {dump!r}, allowed a file's name that ends in one of {', '.join(SUFFIXES)}.")
        self.dump, self.layout = dump, layout
        self.cwd = None if cwd is None else os.fspath(cwd)
        self.env = None if env is None else dict(env)

    def __call__(self, layer: Layer, inputs: np.ndarray) -> np.ndarray:
        """Run the program once; return what it dumped."""
        try:
            trace = run_layer(layer, inputs)
        except OverflowTrap as trap:
            raise InputError(
                f"device {self._name}: this example traps ({trap.place}, {trap.coordinate}), and no package holds a run that was "
                "stopped; draw layers without TRAP, or write the device in Python."
            ) from None
        with tempfile.TemporaryDirectory(prefix="hwsim-dut-") as name:
            folder = Path(name)
            package = write_golden(trace, folder / "package", layout=self.layout)
            self._run(package.path, folder / self.dump, folder)
            return self._read(package, folder / self.dump)

    def _run(self, package: Path, dump: Path, folder: Path) -> None:
        words = [word.replace(PACKAGE, str(package)).replace(DUMP, str(dump)) for word in self.command]
        child = Child.start(words, self.cwd or str(folder), self.env)
        try:
            child.hang_up()
            came = child.exchange(b"", lambda _: False, self.timeout)  # what it prints is of no account, and not kept
            late = came is Came.LATE or not child.ended(self.timeout)
            tail, code = child.tail, child.close()
        finally:
            child.close()
        said = f" The end of its stderr: {tail[-SAID:]!r}." if tail else ""
        if late:
            raise DeviceHung(
                f"device {self._name}: did not end within {self.timeout:g} s and was ended; mend it, or give it more time "
                f"(timeout).{said}",
                tail,
            )
        if code != 0:
            raise DeviceCrashed(f"device {self._name}: {how_it_ended(code)}, allowed is 0.{said}", tail)

    def _read(self, package: Package, dump: Path) -> np.ndarray:
        memory = package.layers[0].memory("expected")
        assert memory is not None  # write_golden gives every layer one
        try:
            codes, undefined = read_dump(dump, memory.image)
        except InputError as error:
            raise DeviceAnswer(f"device {self._name}: {str(error).replace(str(dump), self.dump)}") from None
        if undefined.any():
            at = tuple(int(i) for i in np.argwhere(undefined)[0])
            raise DeviceAnswer(
                f"device {self._name}: {self.dump} is undefined (x or z) at (n, k, y, x) = {at}, allowed is a code."
            )
        return codes

    @property
    def _name(self) -> str:
        return told_command(self.command)

    def __repr__(self) -> str:
        return f"Command({self.command!r})"
