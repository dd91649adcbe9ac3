"""A worked example: a multiply-accumulate unit in Verilog as the device under test, and faults planted into it.

    with MacUnit() as unit:
        hwsim.testing.assert_bit_exact(unit, layers())          # passes
    with MacUnit(fault("round-ties-up")) as unit:
        hwsim.testing.assert_bit_exact(unit, layers())          # BitMismatch, shrunk

mac.v is the unit, bench.v asks it, faults.py plants the faults, study.py makes the table: `python -m hwsim.testing.example`.
Needs Icarus Verilog (Debian: apt-get install iverilog).
"""

from __future__ import annotations

from hwsim.testing.example.device import MacUnit
from hwsim.testing.example.faults import FAULTS, Fault, fault
from hwsim.testing.example.jobs import Widths
from hwsim.testing.example.unit import contract, contracts, layers

__all__ = ["FAULTS", "Fault", "MacUnit", "Widths", "contract", "contracts", "fault", "layers"]
