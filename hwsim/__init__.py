"""hwsim runs convolutional networks the way an accelerator does: in integers, in a declared order, bit for bit.

    net = hwsim.read("squeezenet.prototxt", "squeezenet.caffemodel")
    cal = hwsim.images("calibration.txt", net.preprocessing)
    q   = hwsim.quantize(net, cal, bits=8, dialect=hwsim.dialects.EXACT32)
    t   = hwsim.run(q, cal[0]);  t["conv1"].acc, t["conv1"].events
    pkg = hwsim.write_golden(t, "pkg", layers=["conv1"])
    hwsim.check(pkg).passed

Every public name is loaded at its first use, so that `import hwsim` costs neither numba nor onnx nor onnxruntime.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # These two share their names with packages; a type checker has to be told that the function is meant.
    from hwsim.images import images as images
    from hwsim.quantize.quantize import quantize as quantize

__version__ = "0.1.0"

# public name -> "module:name in it", or "module" for the module itself
_API: dict[str, str] = {
    "Accumulator": "hwsim.contract:Accumulator",
    "Activation": "hwsim.contract:Activation",
    "Affine": "hwsim.formats:Affine",
    "BackendError": "hwsim.errors:BackendError",
    "ByteOrder": "hwsim.golden.layout:ByteOrder",
    "Calibration": "hwsim.network.ranges:Calibration",
    "ChannelOrder": "hwsim.network.preprocessing:ChannelOrder",
    "ContractError": "hwsim.errors:ContractError",
    "Conv2d": "hwsim.execute.single:Conv2d",
    "Deconv2d": "hwsim.execute.single:Deconv2d",
    "ExactSum": "hwsim.contract:ExactSum",
    "FirstScheme": "hwsim.quantize.score_first:FirstScheme",
    "FixedPoint": "hwsim.formats:FixedPoint",
    "FloatAccumulator": "hwsim.contract:FloatAccumulator",
    "HwsimError": "hwsim.errors:HwsimError",
    "InputError": "hwsim.errors:InputError",
    "Layout": "hwsim.golden.layout:Layout",
    "Lfsr": "hwsim.contract:Lfsr",
    "Linear": "hwsim.execute.single:Linear",
    "LookupTable": "hwsim.layers:LookupTable",
    "MacContract": "hwsim.contract:MacContract",
    "MemoryLayout": "hwsim.golden.layout:MemoryLayout",
    "Minifloats": "hwsim.contract.dialects:Minifloats",
    "Multiplier": "hwsim.contract:Multiplier",
    "Order": "hwsim.contract:Order",
    "Output": "hwsim.contract:Output",
    "Overflow": "hwsim.arith.overflow:Overflow",
    "OverflowTrap": "hwsim.errors:OverflowTrap",
    "Plan": "hwsim.execute.plan:Plan",
    "Preprocessing": "hwsim.network.preprocessing:Preprocessing",
    "ProofError": "hwsim.errors:ProofError",
    "Ranges": "hwsim.proofs.overflow:Ranges",
    "Rounding": "hwsim.arith.rounding:Rounding",
    "Schedule": "hwsim.contract:Schedule",
    "Scheme": "hwsim.contract.dialects:Scheme",
    "StochasticRounding": "hwsim.contract:StochasticRounding",
    "TableDesign": "hwsim.layers.lrn_table:TableDesign",
    "check": "hwsim.golden.check:check",
    "dialects": "hwsim.contract.dialects",
    "explain": "hwsim.execute.explain:explain",
    "explain_golden": "hwsim.golden.explain:explain_golden",
    "explain_layer": "hwsim.execute.explain:explain_layer",
    "images": "hwsim.images:images",
    "layers": "hwsim.layers",
    "load": "hwsim.network.read_hwnet:load",
    "minifloat": "hwsim.formats.catalog:named",
    "minimize_accumulators": "hwsim.proofs.minimize:minimize_accumulators",
    "quantize": "hwsim.quantize.quantize:quantize",
    "overflow": "hwsim.proofs.overflow:overflow",
    "read": "hwsim.network.read:read",
    "read_golden": "hwsim.golden.read:read_package",
    "run": "hwsim.execute.trace:run",
    "run_layer": "hwsim.execute.single:run_layer",
    "score": "hwsim.quantize.compare:score",
    "score_first": "hwsim.quantize.score_first:score_first",
    "verify_certificates": "hwsim.proofs.stored:verify_report",
    "write_golden": "hwsim.golden.write:write_golden",
    "write_onnx": "hwsim.network.write_onnx:write_onnx",
}

__all__ = [*_API, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f"module 'hwsim' has no attribute {name!r}; it has: {', '.join(sorted(_API))}")
    module, _, attribute = _API[name].partition(":")
    loaded = import_module(module)
    value = getattr(loaded, attribute) if attribute else loaded
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_API})


class _Package(ModuleType):
    """The functions `hwsim.images` and `hwsim.quantize` share their names with the packages they come from.

    Importing a package sets it as an attribute of its parent. Where the parent has a public function of that name, the
    function stays; `from hwsim.images import ...` finds the package all the same.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _API and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
