"""Threads: how many, what each does, and what happens where one fails."""

import itertools
import threading
from queue import SimpleQueue
from types import SimpleNamespace

import numpy as np
import pytest

from simd import threads
from simd.threads import (
    VARIABLE,
    ThreadCountError,
    all_at_once,
    bounds_of,
    in_parts,
    thread_count,
    threads_for,
)


def test_the_callers_number_of_threads_comes_first_then_the_variables(monkeypatch):
    monkeypatch.setenv(VARIABLE, "3")
    assert thread_count() == 3
    assert thread_count(7) == 7
    monkeypatch.setenv(VARIABLE, " 12 ")
    assert thread_count() == 12


def test_by_default_there_is_a_thread_for_every_cpu_the_process_may_use(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert thread_count() == 3


@pytest.mark.parametrize("text", ["two", "0", "-1", "1.5", "", "2 3", "²", "inf"])
def test_a_variable_that_is_no_number_of_threads_is_refused_as_it_was_written(monkeypatch, text):
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ThreadCountError) as caught:
        thread_count()
    assert str(caught.value) == f"{VARIABLE} is a whole number above 0, not {text!r}"
    assert thread_count(2) == 2, "what the variable says is not asked for"


@pytest.mark.parametrize("number", [0, -2, 1.5, "2", np.nan])
def test_an_argument_that_is_no_number_of_threads_is_refused(number):
    with pytest.raises(ThreadCountError) as caught:
        thread_count(number)
    assert str(caught.value) == f"num_threads is a whole number above 0, not {number!r}"


@pytest.mark.parametrize(
    ("costs", "parts", "bounds"),
    [
        ([1, 1, 1, 1], 2, [0, 2, 4]),
        ([1, 1, 1, 1], 4, [0, 1, 2, 3, 4]),
        ([1, 1, 1, 1], 1, [0, 4]),
        ([1, 1], 5, [0, 1, 2]),
        ([9, 3, 3, 3], 2, [0, 1, 4]),
        ([6, 2, 2, 2], 2, [0, 1, 4]),
        ([5, 5, 0, 0], 2, [0, 1, 4]),
        ([100, 1, 1], 3, [0, 1, 3]),
        ([0, 0, 0], 2, [0, 3]),
        ([7], 3, [0, 1]),
    ],
)
def test_parts_by_hand(costs, parts, bounds):
    assert bounds_of(np.array(costs), parts) == bounds


def test_parts_are_never_empty_and_about_equal():
    """Of things sorted by cost, as rows are by length, no part costs more than its share and one thing."""
    rng = np.random.default_rng(0)
    for n, parts in ((1, 2), (6, 5), (40, 2), (40, 7), (300, 16)):
        costs = np.sort(rng.integers(0, 50, size=n))[::-1]
        bounds = bounds_of(costs, parts)
        assert bounds[0] == 0
        assert bounds[-1] == n
        assert (np.diff(bounds) > 0).all()
        assert len(bounds) <= parts + 1
        for low, high in itertools.pairwise(bounds):
            assert costs[low:high].sum() <= costs.sum() / parts + costs.max()


@pytest.mark.parametrize("parts", [1, 2, 5, 40])
def test_every_thing_is_done_once_and_each_part_in_a_thread_of_its_own(parts):
    done, by = np.zeros(23, int), []
    together = threading.Barrier(min(parts, 23), timeout=60)

    def work(low, high):
        together.wait()  # nobody gets past this before all have begun
        done[low:high] += 1
        by.append(threading.current_thread().name)

    in_parts(work, np.ones(23), parts)
    np.testing.assert_array_equal(done, 1)
    assert len(set(by)) == len(by) == min(parts, 23)
    others = set(by) - {threading.current_thread().name}
    assert len(others) == len(by) - 1
    assert all(name.startswith("lstm-scratch") for name in others)


def test_the_caller_does_what_nobody_else_begins(monkeypatch):
    done, by = np.zeros(23, int), set()
    monkeypatch.setattr(threads, "_team", SimpleNamespace(ask=lambda task, helpers: None))

    def work(low, high):
        done[low:high] += 1
        by.add(threading.current_thread().name)

    in_parts(work, np.ones(23), 5)
    np.testing.assert_array_equal(done, 1)
    assert by == {threading.current_thread().name}


def test_who_comes_late_finds_nothing_to_do(monkeypatch):
    asked, done = [], np.zeros(23, int)
    monkeypatch.setattr(threads, "_team", SimpleNamespace(ask=lambda task, helpers: asked.append(task)))

    def work(low, high):
        done[low:high] += 1

    in_parts(work, np.ones(23), 5)
    asked[0]()
    np.testing.assert_array_equal(done, 1)


def test_threads_that_have_slept_for_long_still_come():
    """Longer than any looks out before it sleeps."""
    for _ in range(3):
        together = threading.Barrier(2, timeout=60)
        in_parts(lambda low, high, wait=together.wait: wait(), np.ones(2), 2)
        threading.Event().wait(0.05)


@pytest.mark.parametrize("parts", [1, 3])
def test_no_things_are_no_work(parts):
    in_parts(lambda low, high: pytest.fail("work") if low < high else None, np.zeros(0), parts)


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_exception_comes_out_after_all_parts_have_ended(failing):
    ended = []

    def work(low, high):
        if low == failing:
            raise RuntimeError(f"part {low}")
        threading.Event().wait(0.05)
        ended.append(low)

    with pytest.raises(RuntimeError, match=f"part {failing}"):
        in_parts(work, np.ones(3), 3)
    assert sorted(ended) == sorted({0, 1, 2} - {failing})
    in_parts(lambda low, high: ended.append(-1), np.ones(3), 3)
    assert ended.count(-1) == 3, "the threads work on"


def test_the_variable_is_looked_at_for_little_work_too(monkeypatch):
    monkeypatch.setenv(VARIABLE, "zwei")
    with pytest.raises(ThreadCountError, match=VARIABLE):
        threads_for(1, None)
    monkeypatch.setenv(VARIABLE, "3")
    assert threads_for(1, None) == threads_for(1, 5) == 1
    assert (threads_for(10**12, None), threads_for(10**12, 5)) == (3, 5)


def test_passes_at_once_share_the_threads(monkeypatch, always_threads):
    together, seen = threading.Barrier(2, timeout=60), []

    def run(k, number):
        together.wait()  # both are on their way
        seen.append(number)
        return k

    for given, each in ((2, 1), (3, 1), (8, 4)):
        assert all_at_once(run, 2, 1, given) == [0, 1]
        assert seen == [each, each]
        seen.clear()

    def alone(k, number):  # no barrier
        return k, number

    assert all_at_once(alone, 2, 1, 1) == [(0, 1), (1, 1)]
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 10)
    assert all_at_once(alone, 2, 9, 8) == [(0, 8), (1, 8)], "small passes go one after the other"


def test_an_interrupted_caller_waits_for_who_still_works():
    """Memory that is used again must not be written to by those who came before."""
    begun, finished = threading.Event(), []

    def work(low, high):
        if threading.current_thread().name.startswith("lstm-scratch"):
            begun.set()
            threading.Event().wait(0.2)
            finished.append(low)
        else:
            begun.wait(60)

    class Interrupted(SimpleQueue):
        def get(self, *arguments):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "SimpleQueue", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            in_parts(work, np.ones(2), 2)
    assert len(finished) == 1


def test_nested_work_has_all_threads(always_threads):
    """Four threads: two passes at once, each of which takes two."""
    together, by = threading.Barrier(4, timeout=60), set()

    def work(low, high):
        together.wait()  # nobody gets past this before four have come
        by.add(threading.current_thread().name)

    def run(k, number):
        in_parts(work, np.ones(number), number)

    all_at_once(run, 2, 1, 4)
    assert len(by) == 4


def test_where_no_thread_can_be_started_the_caller_does_all(monkeypatch):
    class Refused(threading.Thread):
        def start(self):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "_team", threads._Team())
    monkeypatch.setattr(threading, "Thread", Refused)
    done = np.zeros(5, int)

    def work(low, high):
        done[low:high] += 1

    in_parts(work, np.ones(5), 3)
    np.testing.assert_array_equal(done, 1)
