"""The only place that folds layers away and that inserts rescales: from a float Network to integer Layers.

fold.py   float to float: batch norm, scale, dropout and flatten go.
sites.py  which layers remain on the hardware, what fuses, and whose tensors decide a format.
layers.py Network + ranges -> QuantizedNetwork.
settle.py input formats follow the producers; a concatenation's branches get the rescales that they need.
"""

from hwsim.network.lower.fold import fold

__all__ = ["fold"]
