"""Rows shared out among threads: every row once, sums exact, bad settings named, several callers and forks at once."""

from __future__ import annotations

import multiprocessing
import threading

import numpy as np
import pytest

from hwsim.backends.threads import chosen_threads, over_rows
from hwsim.errors import BackendError
from hwsim.execute.plan import Plan
from support.networks import branching, pixels


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("rows", [1, 2, 5, 27, 64])
def test_every_row_is_visited_once_and_counts_add_up(monkeypatch, rows, threads):
    monkeypatch.setenv("HWSIM_THREADS", str(threads))
    seen = np.zeros(rows, dtype=np.int64)

    def loop(first, last, weight):
        seen[first:last] += 1
        return last - first, weight * (last - first)

    assert over_rows(loop, rows, 10).tolist() == [rows, 10 * rows]
    assert (seen == 1).all()


@pytest.mark.parametrize("value", ["0", "-1", "two", "257", "²"])
def test_threads_that_cannot_be_are_refused(monkeypatch, value):
    monkeypatch.setenv("HWSIM_THREADS", value)
    with pytest.raises(BackendError, match="HWSIM_THREADS: found .*, allowed an integer in 1..256"):
        chosen_threads()


@pytest.mark.parametrize("backend", ["jit", "native"])
def test_callers_from_several_threads_each_get_their_own_result(monkeypatch, backend):
    monkeypatch.setenv("HWSIM_THREADS", "3")
    network, images = branching(), pixels(6)
    alone = [Plan(network, backend).run(images[i : i + 1]).tolist() for i in range(6)]
    results: list[object] = [None] * 6

    def work(i):
        plan = Plan(network, backend)
        results[i] = [plan.run(images[i : i + 1]).tolist() for _ in range(20)]

    callers = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert results == [[expected] * 20 for expected in alone]


def _in_child(queue, network, image):
    queue.put(Plan(network, "jit").run(image).tolist())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_a_forked_child_has_threads_of_its_own(monkeypatch):
    monkeypatch.setenv("HWSIM_THREADS", "2")
    network, image = branching(), pixels()
    expected = Plan(network, "jit").run(image).tolist()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue, network, image))
    child.start()
    assert queue.get(timeout=60) == expected
    child.join()
