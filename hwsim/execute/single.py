"""One layer without a network: hwsim.Conv2d(...).run(x, w, contract) for an RTL engineer who has just that."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hwsim.backends import trap
from hwsim.backends.base import Taps
from hwsim.contract.mac import MacContract
from hwsim.errors import ContractError
from hwsim.execute.draws import Registers
from hwsim.execute.plan import choose
from hwsim.execute.trace import LayerTrace
from hwsim.layers import Convolution, Deconvolution, FullyConnected, Layer, Shape

Pair = int | tuple[int, int]


def run_layer(
    layer: Layer,
    *inputs: np.ndarray,
    backend: str = "auto",
    acc: bool = True,
    first_image: int = 0,
    first_turns: tuple[int, ...] | None = None,
) -> LayerTrace:
    """Run one layer on codes [N][C][H][W] (or one image [C][H][W]); return its trace.

    first_image: how many images the hardware has seen since power-up; only draws depend on it.  first_turns: of each image,
    as a run of the whole network told them; None for a layer that has its registers for itself.

    >>> from hwsim.formats import FixedPoint
    >>> from hwsim.layers import LookupTable
    >>> s4 = FixedPoint(4, 0)
    >>> run_layer(LookupTable(s4, s4, np.arange(-8, 8)[::-1]), np.array([[[-8, 0, 3]]]), backend="spec").codes.tolist()
    [[[[7, -1, -4]]]]
    """
    batches = tuple(np.asarray(x)[None] if np.asarray(x).ndim == 3 else np.asarray(x) for x in inputs)
    for batch in batches:
        if batch.ndim != 4 or 0 in batch.shape:
            raise ContractError(
                f"{layer.kind}: found an input of shape {batch.shape}, allowed [N][C][H][W] or [C][H][W], not empty."
            )
    chosen = choose(backend)
    maker = next((b for b in chosen if b.can(layer)), chosen[-1])
    kernel = maker.prepare(layer, [Shape(*batch.shape[1:]) for batch in batches])
    taps = Taps.for_layer(layer, len(batches[0]), kernel.output_shape, acc)
    drawn = None
    if kernel.draws is not None:
        drawn = Registers([(layer.kind, kernel.draws)]).drawn(layer.kind, first_image, len(batches[0]))
        drawn = drawn if first_turns is None else replace(drawn, first_turns=first_turns)
        taps.first_turns = np.array(drawn.first_turns, dtype=np.int64)
    ready = [kernel._ready(i, batch) for i, batch in enumerate(batches)]
    out = kernel(ready, taps)
    trap.check(layer.kind, kernel, ready, taps)
    codes = np.ascontiguousarray(out.codes)
    return LayerTrace(layer.kind, layer, batches, taps.channels_first, codes, taps.counted, kernel.backend, taps.shared, drawn)


@dataclass(frozen=True)
class Conv2d:
    """A convolution's attributes; weights and contract come with run().

    >>> from hwsim.contract import MacContract, Output
    >>> from hwsim.formats import FixedPoint
    >>> s8 = FixedPoint(8, 0)
    >>> x, w = np.full((1, 2, 2), 3), np.full((1, 1, 2, 2), 5)
    >>> Conv2d().run(x, w, MacContract(s8, s8, Output(s8)), backend="spec").acc.item()
    60
    """

    stride: Pair = 1
    pad: Pair = 0
    dilation: Pair = 1
    groups: int = 1
    pad_end: Pair | None = None

    def layer(self, weight: np.ndarray, contract: MacContract, bias: np.ndarray | None = None) -> Convolution:
        """Return the layer: weight codes [K][C/groups][R][S], bias codes [K] in the contract's bias format."""
        places = (self.stride, self.pad, self.dilation, self.groups, self.pad_end)
        return Convolution(contract, np.asarray(weight), bias, *places)  # type: ignore[arg-type]

    def run(
        self,
        x: np.ndarray,
        weight: np.ndarray,
        contract: MacContract,
        bias: np.ndarray | None = None,
        backend: str = "auto",
    ) -> LayerTrace:
        """Convolve codes x [N][C][H][W] or [C][H][W]; return the trace: codes, acc, events."""
        return run_layer(self.layer(weight, contract, bias), x, backend=backend)


@dataclass(frozen=True)
class Deconv2d:
    """A deconvolution's attributes; weights and contract come with run().

    >>> from hwsim.contract import MacContract, Output
    >>> from hwsim.formats import FixedPoint
    >>> s8 = FixedPoint(8, 0)
    >>> x, w = np.array([[[1, 10]]]), np.array([[[[1, 2, 3]]]])
    >>> Deconv2d(stride=2).run(x, w, MacContract(s8, s8, Output(s8)), backend="spec").acc.ravel()
    array([ 1,  2, 13, 20, 30], dtype=int32)
    """

    stride: Pair = 1
    pad: Pair = 0
    dilation: Pair = 1
    groups: int = 1
    pad_end: Pair | None = None

    def layer(self, weight: np.ndarray, contract: MacContract, bias: np.ndarray | None = None) -> Deconvolution:
        """Return the layer: weight codes [K][C/groups][R][S], bias codes [K] in the contract's bias format."""
        places = (self.stride, self.pad, self.dilation, self.groups, self.pad_end)
        return Deconvolution(contract, np.asarray(weight), bias, *places)  # type: ignore[arg-type]

    def run(
        self,
        x: np.ndarray,
        weight: np.ndarray,
        contract: MacContract,
        bias: np.ndarray | None = None,
        backend: str = "auto",
    ) -> LayerTrace:
        """Scatter codes x [N][C][H][W] or [C][H][W]; return the trace: codes, acc, events."""
        return run_layer(self.layer(weight, contract, bias), x, backend=backend)


@dataclass(frozen=True)
class Linear:
    """A fully connected layer; weights [K][C*H*W] and contract come with run()."""

    def layer(self, weight: np.ndarray, contract: MacContract, bias: np.ndarray | None = None) -> FullyConnected:
        """Return the layer."""
        return FullyConnected(contract, np.asarray(weight), bias)

    def run(
        self,
        x: np.ndarray,
        weight: np.ndarray,
        contract: MacContract,
        bias: np.ndarray | None = None,
        backend: str = "auto",
    ) -> LayerTrace:
        """Multiply codes x [N][C][H][W] or [C][H][W]; return the trace."""
        return run_layer(self.layer(weight, contract, bias), x, backend=backend)
