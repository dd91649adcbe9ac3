"""The noise operator of the C core: refusals as data, and a tensor of first turns that it reads and never keeps."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.arith.lfsr import LfsrForm, lfsr_jump
from hwsim.backends.base import Step, Taps
from hwsim.backends.buffers import Buffer
from hwsim.backends.native.noise import Stage
from hwsim.backends.native.program import Calls
from hwsim.contract import Output
from hwsim.contract.stochastic import Lfsr
from hwsim.errors import BackendError
from hwsim.formats import FixedPoint
from hwsim.layers import Rescale, Shape

LAYER = Rescale(FixedPoint(16, 0), Output(FixedPoint(32, -8)))


def described(library, **changes):
    """Return an hw_noise of one 16-bit register and two channels, with some fields changed; and what keeps it alive."""
    ffi, noise = library.ffi, library.ffi.new("hw_noise *")
    seeds, shift = ffi.new("uint64_t[]", [changes.pop("seed", 1)]), ffi.new("int32_t[]", [changes.pop("shift", 16), 16])
    noise.k, noise.width, noise.taps, noise.lanes, noise.clocks = 2, 16, Lfsr(16).taps, 1, 1
    noise.order, noise.seeds, noise.shift = [1, 2, 0], seeds, shift
    output = noise.output
    output.acc_bits, output.overflow, output.low, output.high = 64, 1, -(1 << 31), (1 << 31) - 1
    for name, value in changes.items():
        setattr(output if hasattr(output, name) else noise, name, value)
    return noise, (seeds, shift)


def made(library, **changes):
    noise, alive = described(library, **changes)
    status = library.ffi.new("hw_status *")
    op = library.lib.hw_noise_new(noise, status)
    del alive
    return library.ffi.gc(op, library.lib.hw_op_free) if op else None, status


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"k": 0}, "HW_BAD_ARGUMENT"),
        ({"width": 1}, "HW_BAD_ARGUMENT"),
        ({"width": 65}, "HW_BAD_ARGUMENT"),
        ({"galois": 2}, "HW_BAD_ARGUMENT"),
        ({"lanes": 0}, "HW_BAD_ARGUMENT"),
        ({"lanes": 4097}, "HW_BAD_ARGUMENT"),
        ({"clocks": 0}, "HW_BAD_ARGUMENT"),
        ({"order": [0, 1, 1]}, "HW_BAD_ARGUMENT"),
        ({"order": [0, 1, 3]}, "HW_BAD_ARGUMENT"),
        ({"taps": 0x7FFF}, "HW_OUT_OF_RANGE"),
        ({"taps": 0x1FFFF}, "HW_OUT_OF_RANGE"),
        ({"seed": 0}, "HW_OUT_OF_RANGE"),
        ({"seed": 1 << 16}, "HW_OUT_OF_RANGE"),
        ({"shift": 63}, "HW_OUT_OF_RANGE"),
        ({"low": 1, "high": 0}, "HW_BAD_ARGUMENT"),
        ({"low": -3, "high": 3, "overflow": 0}, "HW_OUT_OF_RANGE"),
    ],
)
def test_what_cannot_be_built_is_refused(library, changes, code):
    op, status = made(library, **changes)
    assert op is None and status.code == getattr(library.lib, code)


def run(library, turns: np.ndarray, values: np.ndarray) -> np.ndarray:
    op, status = made(library)
    assert status.code == library.lib.HW_OK
    shape = Shape(2, 1, 1)
    given, out = Buffer.from_codes(values.reshape(-1, 2, 1, 1), np.dtype(np.int64)), None
    out = Buffer.allocate(given.n, shape, np.dtype(np.int32))
    first = Buffer(turns.reshape(-1, 1, 1, 1), (0, 0), 0, Shape(1, 1, 1))
    Calls([Step(Stage(LAYER, op), (given, first), out, Taps())]).run()
    return out.codes[:, :, 0, 0]


def test_each_image_begins_at_its_turn_however_far(library):
    """A value of 0 takes no bit of the noise; 65535 takes its top bits: 1 unless the state is 0, which it never is."""
    turns = np.array([0, 5, 1 << 40, (1 << 63) - 3], dtype=np.int64)
    states = [[lfsr_jump(1, int(turn) + k, Lfsr(16).taps, 16, LfsrForm.FIBONACCI) for k in range(2)] for turn in turns.tolist()]
    for threshold in (0, 1, 30000, 40000, 65535):
        got = run(library, turns, np.full((4, 2), threshold))
        assert got.tolist() == [[int(state + threshold >= 1 << 16) for state in pair] for pair in states]


@pytest.mark.parametrize("turns", [np.array([-1]), np.array([(1 << 63) - 2]), np.array([0], dtype=np.int32), np.array([0, 0])])
def test_turns_that_cannot_be_counted_are_refused(library, turns):
    with pytest.raises(BackendError, match="native core found"):
        run(library, turns, np.zeros((1, 2), dtype=np.int64))
