"""Tools for verification teams: strategies whose corner values are likely, devices under test, and what holds them to the model.

    from hwsim.testing import assert_bit_exact, conv_layers

    def test_my_rtl(dut):
        assert_bit_exact(dut, conv_layers())

Needs Hypothesis: pip install 'hwsim[testing]'. Every name is loaded at its first use; sessions and devices need no Hypothesis.

    strategies.py        formats and codes: corners, bounds;  contract_strategies (wishes, float_contracts), layer_strategies
                         (rows), network_strategies;  inputs steered at corners: aims, steer, reach, resteer, steer_floats
    dut.py               devices: isolated, command, session, over process
    bit_exact.py         assert_bit_exact: campaign (draws and asks), judge (what an answer shows), extremes, frame, constants
    shrink.py            the reducer: moves (what it tries), simpler (what counts as smaller)
    report.py, saved.py  the failure, shown and on disk;  plugin.py, defaults.py  for pytest;  example/  a MAC unit in Verilog
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from hwsim.errors import InputError

# public name -> "module:name in it"
_API: dict[str, str] = {
    "BitExact": "hwsim.testing.bit_exact:BitExact",
    "BitMismatch": "hwsim.testing.bit_exact:BitMismatch",
    "Command": "hwsim.testing.command:Command",
    "Device": "hwsim.testing.dut:Device",
    "Isolated": "hwsim.testing.isolated:Isolated",
    "Report": "hwsim.testing.report:Report",
    "Session": "hwsim.testing.session:Session",
    "assert_bit_exact": "hwsim.testing.bit_exact:assert_bit_exact",
    "replay": "hwsim.testing.bit_exact:replay",
    "parse_codes": "hwsim.testing.session:parse_codes",
    "Product": "hwsim.testing.strategies:Product",
    "accumulators": "hwsim.testing.contract_strategies:accumulators",
    "affine_formats": "hwsim.testing.strategies:affine_formats",
    "codes": "hwsim.testing.strategies:codes",
    "contracts": "hwsim.testing.contract_strategies:contracts",
    "fixed_formats": "hwsim.testing.strategies:fixed_formats",
    "minifloat_formats": "hwsim.testing.strategies:minifloat_formats",
    "pow2_formats": "hwsim.testing.strategies:pow2_formats",
    "conv_layers": "hwsim.testing.layer_strategies:conv_layers",
    "deconv_layers": "hwsim.testing.layer_strategies:deconv_layers",
    "fc_layers": "hwsim.testing.layer_strategies:fc_layers",
    "inputs": "hwsim.testing.layer_strategies:inputs",
    "Aim": "hwsim.testing.aims:Aim",
    "networks": "hwsim.testing.network_strategies:networks",
    "pixels": "hwsim.testing.network_strategies:pixels",
}

INSTALL = "pip install 'hwsim[testing]'"
__all__ = [*_API]


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f"module 'hwsim.testing' has no attribute {name!r}; it has: {', '.join(sorted(_API))}")
    module, _, attribute = _API[name].partition(":")
    try:
        value = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise InputError(f"hwsim.testing.{name}: Hypothesis is not installed, and it draws the examples; {INSTALL}.") from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_API})
