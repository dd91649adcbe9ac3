"""A misspelt field of a layer's parameters is refused: skipped, it would change what the layer computes, unseen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from hwsim.errors import InputError

# Caffe's fields that cannot change inference (how weights are drawn at first, which library computes, augmentation).
WITHOUT_INFLUENCE = {
    "transform_param": ("mirror", "force_color", "force_gray"),
    "batch_norm_param": ("moving_average_fraction",),
    "concat_param": (),
    "convolution_param": ("weight_filler", "bias_filler", "engine", "force_nd_im2col"),
    "eltwise_param": ("stable_prod_grad",),
    "flatten_param": (),
    "inner_product_param": ("weight_filler", "bias_filler"),
    "lrn_param": ("engine",),
    "pooling_param": ("engine",),
    "prelu_param": ("filler",),
    "quantization_param": ("mant_bits", "exp_bits", "exp_min", "exp_max"),
    "relu_param": ("engine",),
    "scale_param": ("filler", "bias_filler"),
    "slice_param": (),
    "softmax_param": ("engine",),
}

# Strings run from escape to escape: one step per character would make the matcher remember a hundred bytes for each.
_TOKEN = re.compile(
    r"""#[^\n]*|"[^"\\\n]*(?:\\.[^"\\\n]*)*"|'[^'\\\n]*(?:\\.[^'\\\n]*)*'|[A-Za-z_]\w*|[{}<>:]"""
)


def fields(text: str) -> Iterator[tuple[str, str, int]]:
    """The fields of a text in protobuf's text format: (the field that they stand in, their name, where the name starts).

    >>> [(outer, name) for outer, name, _ in fields('pool { size: 3 } # note: none')]
    [('', 'pool'), ('pool', 'size')]
    """
    inside: list[str] = []
    name, start = "", 0
    for found in _TOKEN.finditer(text):
        token = found[0]
        if token in (":", "{", "<"):
            if name and start >= 0:
                yield inside[-1] if inside else "", name, start
                start = -1  # `name: {` is one field
            if token != ":":
                inside.append(name)
                name = ""
        elif token in ("}", ">"):
            del inside[-1:]
            name = ""
        elif token[0] not in "#\"'":
            name, start = token, found.start()


def refuse_unknown(path: Path, text: str, known: Mapping[str, frozenset[str]]) -> None:
    """InputError for a field that Caffe does not have in the parameters of a layer that hwsim computes.

    known: the fields of each parameter message that hwsim reads.
    """
    for outer, name, start in fields(text):
        if outer in WITHOUT_INFLUENCE and name not in known[outer] and name not in WITHOUT_INFLUENCE[outer]:
            line = text.count("\n", 0, start) + 1
            raise InputError(
                f"{path}: line {line}: {outer} has no field {name!r}; allowed are {', '.join(sorted(known[outer]))}; "
                f"correct it, or remove it if it cannot change what the layer computes."
            )
