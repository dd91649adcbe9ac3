"""A seed's examples do not depend on what else the process has loaded."""

from __future__ import annotations

from support.process import run_python

DRAWN = """
import sys, hashlib
import numpy as np
{more}
import hwsim
from hwsim.testing import assert_bit_exact, conv_layers
told = hashlib.sha256()

def unit(layer, inputs):
    told.update(repr((layer.weight.tolist(), inputs.tolist())).encode())
    return hwsim.run_layer(layer, inputs, backend="spec").codes

assert_bit_exact(unit, conv_layers(max_channels=2, max_kernel=2), max_examples=40, runs=1)
print(told.hexdigest())
"""


def test_a_seed_draws_the_same_examples_beside_modules_full_of_numbers(tmp_path) -> None:
    (tmp_path / "numbers_of_mine.py").write_text("\n".join(f"N{i} = {37 * i - 9000}" for i in range(600)))
    alone = run_python("-c", DRAWN.format(more="")).stdout
    beside = run_python("-c", DRAWN.format(more=f"sys.path.insert(0, {str(tmp_path)!r}); import numbers_of_mine")).stdout
    assert alone == beside and len(alone.strip()) == 64
