"""The targets of conformance: backend x instruction set x threads, those that this machine can run."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from hwsim.backends.base import Backend

INSTRUCTION_SETS = ("portable", "avx2", "avx512vnni", "amx")


@dataclass(frozen=True)
class Target:
    """One way to compute. isa: None for a backend that has no choice."""

    backend: str
    isa: str | None
    threads: int

    def __str__(self) -> str:
        return "-".join(str(part) for part in (self.backend, self.isa, f"{self.threads}threads") if part)

    def need(self) -> None:
        """Skip, with the reason, where this machine cannot run it."""
        if self.backend != "native":
            return
        from hwsim.backends import native

        info = native.info()
        if not info.present:
            pytest.skip(info.note)
        if self.isa not in info.instruction_sets:
            pytest.skip(f"this processor has no {self.isa}; it runs {', '.join(info.instruction_sets)}")

    @contextmanager
    def chosen(self):
        """Set the environment that chooses the instruction set and the threads; yield the backend."""
        from hwsim.backends.registry import backend

        before = {name: os.environ.get(name) for name in ("HWSIM_ISA", "HWSIM_THREADS")}
        os.environ["HWSIM_THREADS"] = str(self.threads)
        if self.isa:
            os.environ["HWSIM_ISA"] = self.isa
        try:
            found: Backend = backend(self.backend)
            yield found
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


TARGETS = [
    Target("spec", None, 1),
    *(Target("jit", None, threads) for threads in (1, 2, 3)),
    *(Target("native", isa, threads) for isa in INSTRUCTION_SETS for threads in (1, 2, 3)),
]
