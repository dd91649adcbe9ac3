"""The only place that folds layers away and that inserts rescales: from a float Network to integer Layers.

fold.py       float to float: batch norm, scale, dropout and flatten go; commute.py puts ReLU before a maximum.
sites.py      which layers remain on the hardware, what fuses, and whose tensors decide a format.
layers.py     Network + ranges -> QuantizedNetwork; mac_layers.py has the layers with weights, plain.py those without, clip.py and
              curves.py their limits and tables.
affine.py     the same for affine codes.
settle.py     input formats follow the producers; a concatenation's branches get the rescales that they need.
refit.py      what a layer becomes that reads other formats.
edit.py       other widths, accumulators, weights and roundings in one layer.
tflite*.py, onnx_quantized*.py  networks that were born in integers.
"""

from hwsim.network.lower.fold import fold

__all__ = ["fold"]
