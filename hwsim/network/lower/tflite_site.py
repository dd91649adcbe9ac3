"""One operator of a .tflite model with what is known where it stands: shapes here are C, H, W, and formats are Affine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.contract.requantizers import AffineRules, Requantizer
from hwsim.errors import InputError
from hwsim.formats import Affine
from hwsim.layers import Shape
from hwsim.network.tflite_file import Operator, Tensor, TfliteModel
from hwsim.network.tflite_schema import Options

WIDTHS = {"uint8": (8, False), "int8": (8, True), "int16": (16, True)}
MAX_STEP = 1 << 15
INT32_CODE, INT64_CODE = 2, 4
"""Codes of types in the schema, as options name that of a bias."""


def activation_format(tensor: Tensor, where: str) -> Affine:
    """The format of what flows between operators: 8 or 16 bits, one scale and zero point."""
    if tensor.dtype not in WIDTHS or len(tensor.scales) != 1:
        raise InputError(
            f"{where}: tensor {tensor.name!r} is {tensor.dtype} with {len(tensor.scales)} scales; allowed are uint8, int8 and "
            "int16 with one: hwsim runs networks that are quantized throughout."
        )
    bits, signed = WIDTHS[tensor.dtype]
    return Affine(bits, tensor.scales[0], tensor.zero_points[0], signed)


def plane_shape(tensor: Tensor, where: str) -> Shape:
    """C, H, W of a tensor 1 H W C, 1 C or C."""
    shape = tensor.shape
    if len(shape) == 4 and shape[0] == 1:
        return Shape(shape[3], shape[1], shape[2])
    if len(shape) == 1 or len(shape) == 2 and shape[0] == 1:
        return Shape(shape[-1], 1, 1)
    raise InputError(
        f"{where}: tensor {tensor.name!r} has shape {shape}; allowed are (1, H, W, C) and (1, C): one image at a time."
    )


@dataclass(frozen=True)
class Site:
    """where: what errors begin with.  shape: of input 0 as the layer before it gives it, flattened or not.

    rules: a requantizer for each kind of operator.
    """

    model: TfliteModel
    operator: Operator
    where: str
    shape: Shape
    rules: AffineRules

    @property
    def product_rule(self) -> Requantizer:
        """The requantizer of products, and of rectifiers that stand alone."""
        return self.rules.product or self.rules.elementwise

    @property
    def options(self) -> Options:
        """The operator's options."""
        return self.operator.options

    def tensor(self, i: int) -> Tensor:
        """Input i."""
        if i >= len(self.operator.inputs) or self.operator.inputs[i] < 0:
            raise InputError(
                f"{self.where}: found {len(self.operator.inputs)} inputs, but input {i} is needed; restore the file."
            )
        return self.model.tensors[self.operator.inputs[i]]

    @property
    def output(self) -> Tensor:
        """The one output."""
        return self.model.tensors[self.operator.outputs[0]]

    def input_format(self, i: int) -> Affine:
        """Format of input i."""
        return activation_format(self.tensor(i), self.where)

    def output_format(self) -> Affine:
        """Format of the output; of the input's type, since no kernel mixes them but QUANTIZE."""
        tensor = self.tensor(0)
        if self.output.dtype != tensor.dtype and self.operator.name != "QUANTIZE":
            raise InputError(f"{self.where}: reads {tensor.dtype} and writes {self.output.dtype}; allowed is one type.")
        return activation_format(self.output, self.where)

    def unchanged_format(self) -> Affine:
        """Format of input and output, of operators that pass codes on."""
        fmt, out = self.input_format(0), self.output_format()
        if fmt != out:
            raise InputError(
                f"{self.where}: its input has {fmt}, its output {out}; allowed is one scale and zero point for both."
            )
        return fmt

    def constant(self, i: int, axes: int | None) -> np.ndarray:
        """The numbers of input i, which must be a constant with so many axes (None: any)."""
        tensor = self.tensor(i)
        if tensor.data is None or axes not in (None, tensor.data.ndim):
            found = "is no constant" if tensor.data is None else f"has shape {tensor.shape}"
            raise InputError(
                f"{self.where}: tensor {tensor.name!r} {found}; allowed is a constant of {axes or 'any number of'} axes."
            )
        return tensor.data

    def bias(self, channels: int, declared: int) -> np.ndarray | None:
        """The bias, in the type that the kernel sums in, one for each channel; None where there is none."""
        if len(self.operator.inputs) < 3 or self.operator.inputs[2] < 0:
            return None
        bias = self.constant(2, 1)
        kind = "int64" if self.wide(declared) else "int32"
        zeros = self.tensor(2).zero_points
        if self.tensor(2).dtype != kind or len(bias) != channels or any(zeros):
            beside = f" with zero points {zeros[:3]}" if any(zeros) else ""
            raise InputError(
                f"{self.where}: found a bias of {len(bias)} x {self.tensor(2).dtype}{beside}, allowed {channels} x {kind} "
                "without a zero point; convert the model again."
            )
        return bias

    def wide(self, declared: int) -> bool:
        """Whether the kernel sums in 64 bits: of 16-bit codes, unless the options declare a bias of int32."""
        return self.tensor(0).dtype == "int16" and declared != INT32_CODE

    def check_pair(self, name: str, values: tuple[int, int]) -> None:
        """Refuse a stride, dilation or window that is no number of pixels."""
        if not all(1 <= value <= MAX_STEP for value in values):
            raise InputError(f"{self.where}: found {name} {values}, allowed numbers of pixels from 1 to {MAX_STEP:,}.")
