"""hw_run: whole networks in one call, from several threads at once, after a fork; refusals as data; use from C."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hwsim.backends import native
from hwsim.backends.native.library import FOLDER, library_path
from hwsim.backends.native.program import Calls, native_program
from hwsim.errors import BackendError
from support.native_network import small_network


def snapshot(steps) -> list[tuple[np.ndarray, tuple[int, int]]]:
    return [(step.out.codes.copy(), tuple(step.taps.counted)) for step in steps]


def cleared(steps):
    for step in steps:
        step.taps.events[:] = 0
        step.out.codes[...] = 0
    return steps


def same(a, b) -> bool:
    return all(np.array_equal(x, y) and e == f for (x, e), (y, f) in zip(a, b, strict=True))


def test_one_call_gives_what_its_layers_give_one_by_one(isa, monkeypatch):
    steps = small_network()
    monkeypatch.setenv("HWSIM_THREADS", "1")
    for step in steps:
        Calls([step]).run()
    alone = snapshot(steps)
    assert any(any(events) for _, events in alone)
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("HWSIM_THREADS", threads)
        native_program(cleared(steps))()
        assert same(snapshot(steps), alone), threads


def test_events_are_added_not_set(library):
    steps = small_network()
    program = native_program(steps)
    program()
    once = snapshot(steps)
    program()
    assert [tuple(step.taps.counted) for step in steps] == [tuple(2 * count for count in events) for _, events in once]


def test_threads_may_call_at_once(library, monkeypatch):
    monkeypatch.setenv("HWSIM_THREADS", "2")
    networks = [small_network() for _ in range(4)]
    native_program(networks[0])()
    expected = snapshot(networks[0])
    cleared(networks[0])

    def work(steps) -> bool:
        program = native_program(steps)
        good = True
        for _ in range(20):
            program()
            good = good and same(snapshot(steps), expected)
            cleared(steps)
        return good

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, networks))


def test_a_forked_child_starts_its_own_threads(library, monkeypatch):
    monkeypatch.setenv("HWSIM_THREADS", "2")
    steps = small_network()
    program = native_program(steps)
    program()
    expected = snapshot(steps)
    cleared(steps)
    child = os.fork()
    if child == 0:
        program()
        os._exit(0 if same(snapshot(steps), expected) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_refusals_are_data(library):
    ffi, lib = library.ffi, library.lib
    status = ffi.new("hw_status *")
    conv = ffi.new("hw_conv *")
    conv.c, conv.k = 3, 0
    assert lib.hw_conv_new(conv, 0, status) == ffi.NULL
    assert (status.code, status.index, status.value) == (lib.HW_BAD_ARGUMENT, 1, 0)
    assert lib.hw_concat_new(0, status) == ffi.NULL and status.code == lib.HW_BAD_ARGUMENT
    assert lib.hw_max_pool_new(ffi.new("hw_pool *"), 99, status) == ffi.NULL and status.code == lib.HW_ISA_MISSING
    assert lib.hw_run(ffi.new("hw_call[1]"), 1, 1, status) == lib.HW_BAD_ARGUMENT
    assert lib.hw_run(ffi.new("hw_call[1]"), 1, 0, status) == lib.HW_BAD_ARGUMENT and status.value == 0
    assert ffi.string(lib.hw_status_text(status.code)) == b"an argument outside its range"
    lib.hw_op_free(ffi.NULL)


def test_shapes_that_contradict_are_refused_before_anything_runs(library):
    steps = small_network()
    calls = Calls(steps)
    calls.calls[1].output.h += 1000
    with pytest.raises(BackendError, match="sizes that contradict each other"):
        calls.run()
    assert not steps[0].out.codes.any(), "the first call ran although the second is wrong"


def test_an_instruction_set_that_is_not_there_is_named_with_those_that_are(library, monkeypatch):
    monkeypatch.setenv("HWSIM_ISA", "sse9")
    with pytest.raises(BackendError, match="HWSIM_ISA: found 'sse9', this processor can run portable"):
        small_network()
    assert native.info().chosen is None and "sse9" in native.info().note


@pytest.mark.parametrize("threads", ["0", "-1", "many", "257", "²"])
def test_thread_counts_are_checked(library, monkeypatch, threads):
    program = native_program(small_network())
    monkeypatch.setenv("HWSIM_THREADS", threads)
    with pytest.raises(BackendError, match="HWSIM_THREADS: found .* allowed an integer in 1..256"):
        program()


def test_a_missing_library_says_how_to_get_it(monkeypatch, tmp_path):
    from hwsim.backends.native import library as module

    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(module, "_open", module._open.__wrapped__)  # the library that other tests hold stays the one that is open
    assert not native.available()
    with pytest.raises(BackendError, match="not installed; install a C compiler"):
        native.require()
    (tmp_path / "hwsim.h").write_text("int hw_abi_version(void);")
    (tmp_path / "libhwsim.so").write_text("not a library")
    assert "cannot be opened" in native.info().note


PROGRAM = r"""
#include "hwsim.h"
#include <stdio.h>
/* A 1x1 convolution of 2 channels into 1: 2*x0 - 3*x1 + 1, halved, ties to even. */
static int8_t memory[2 * HW_SLACK + 8], out[4];
int main(void)
{
    int8_t *x = memory + HW_SLACK;
    const int8_t codes[8] = {1, 2, 3, 4, 100, -100, -5, 0};
    for (int i = 0; i < 8; i++)
        x[i] = codes[i];
    const int32_t weights[2] = {2, -3}, zero = 0, one = 1;
    const int64_t bias = 1;
    hw_status status;
    hw_conv conv = {.c = 2, .k = 1, .r = 1, .s = 1, .groups = 1, .stride_h = 1, .stride_w = 1, .dilation_h = 1,
                    .dilation_w = 1, .in_low = -128, .in_high = 127, .weights = weights, .bias = &bias,
                    .product_shift = &zero, .shift = &one, .output = {32, HW_TIES_EVEN, HW_SATURATE, HW_NONE, -128, 127}};
    hw_op *op = hw_conv_new(&conv, HW_ISA_AUTO, &status);
    int64_t events[HW_COUNTERS] = {0};
    hw_tensor in = {.data = x, .type = HW_S8, .n = 1, .h = 2, .w = 2, .c = 2, .stride_n = 8, .stride_h = 4, .stride_w = 2};
    hw_tensor to = {.data = out, .type = HW_S8, .n = 1, .h = 2, .w = 2, .c = 1, .stride_n = 4, .stride_h = 2, .stride_w = 1};
    hw_call call = {.op = op, .inputs = &in, .n_inputs = 1, .output = to, .events = events};
    if (op == 0 || hw_run(&call, 1, 1, &status) != HW_OK)
        return 1;
    hw_op_free(op);
    printf("%d %d %d %d events %d %d\n", out[0], out[1], out[2], out[3], (int)events[0], (int)events[1]);
    return 0;
}
"""


def test_a_c_program_can_use_it(library, tmp_path: Path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build a program with")
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("the library under test needs the sanitizers' runtime, which this program has not")
    (tmp_path / "use.c").write_text(PROGRAM)
    shared = str(library_path())
    subprocess.run(
        [compiler, "-std=c11", "-Wall", "-Werror", f"-I{FOLDER}", "use.c", shared, f"-Wl,-rpath,{FOLDER}", "-o", "use"],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    run = subprocess.run([str(tmp_path / "use")], capture_output=True, text=True, check=True)
    # (2 - 6 + 1) / 2 = -1.5; (6 - 12 + 1) / 2 = -2.5; (200 + 300 + 1) / 2 = 250.5; (-10 + 1) / 2 = -4.5
    assert run.stdout == "-2 -2 127 -4 events 0 1\n"
