"""Threads: how many, what each does, and that no result tells."""

import itertools
import json
import multiprocessing
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import SimpleNamespace

import numpy as np
import pytest

from lstm_scratch.engines import ENGINES
from lstm_scratch.errors import SettingError
from lstm_scratch.kernels import engine as kernels
from lstm_scratch.kernels import threads
from lstm_scratch.kernels.threads import VARIABLE, all_at_once, bounds_of, in_parts, thread_count, threads_for
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.variants import PLAIN


@pytest.fixture
def always_threads(monkeypatch):
    """Small work is divided too."""
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 0)


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
    with pytest.raises(SettingError) as caught:
        thread_count()
    assert str(caught.value) == f"{VARIABLE} is a whole number above 0, not {text!r}"
    assert thread_count(2) == 2, "what the variable says is not asked for"


@pytest.mark.parametrize("number", [0, -2, 1.5, "2", np.nan])
def test_an_argument_that_is_no_number_of_threads_is_refused(number):
    with pytest.raises(SettingError) as caught:
        thread_count(number)
    assert str(caught.value) == f"num_threads is a whole number above 0, not {number!r}"


def test_a_pass_refuses_a_wrong_number_of_threads(draw, always_threads):
    a = draw(3, 2, 4, 5)
    with pytest.raises(SettingError, match="num_threads"):
        kernels.lstm_forward(a.params, a.x, num_threads=0)
    _, cache = kernels.lstm_forward(a.params, a.x)
    with pytest.raises(SettingError, match="num_threads"):
        kernels.lstm_backward(a.params, cache, a.dy, num_threads=0)


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("H", "B", "lengths"),
    [(5, 2, None), (33, 7, None), (33, 7, "uneven"), (33, 3, "uneven"), (70, 17, "uneven")],
)
def test_any_number_of_threads_gives_the_same_bits(
    draw, assert_same_bits, monkeypatch, always_threads, dtype, H, B, lengths
):
    a = draw(H, 13, B, 9, dtype, lengths)
    engine = kernels.lstm_forward, kernels.lstm_backward
    seen = []
    monkeypatch.setattr(kernels, "in_parts", lambda w, c, parts: (seen.append(parts), in_parts(w, c, parts)))
    one = a.run(*engine, num_threads=1)
    for number in (2, 3, 5):
        assert_same_bits(a.run(*engine, num_threads=number), one)
    assert sorted(set(seen)) == [1, 2, 3, 5]


def test_the_variable_is_looked_at_for_little_work_too(monkeypatch):
    monkeypatch.setenv(VARIABLE, "zwei")
    with pytest.raises(SettingError, match=VARIABLE):
        threads_for(1, None)
    monkeypatch.setenv(VARIABLE, "3")
    assert threads_for(1, None) == threads_for(1, 5) == 1
    assert (threads_for(10**12, None), threads_for(10**12, 5)) == (3, 5)


def test_small_work_stays_in_its_thread(draw, monkeypatch):
    a, seen = draw(3, 2, 4, 5), []
    monkeypatch.setattr(kernels, "in_parts", lambda w, c, parts: (seen.append(parts), in_parts(w, c, parts)))
    a.run(kernels.lstm_forward, kernels.lstm_backward, num_threads=4)
    assert set(seen) == {1}


def test_a_stack_hands_the_number_on_to_both_passes_of_every_layer(monkeypatch, always_threads):
    monkeypatch.setenv(VARIABLE, "7")
    seen = []
    monkeypatch.setattr(kernels, "in_parts", lambda w, c, parts: (seen.append(parts), in_parts(w, c, parts)))
    lstm = LSTM(3, 2, num_layers=2)
    params, x = lstm.init(np.random.default_rng(0)), np.ones((5, 4, 3), np.float32)
    for given, used in ((3, 3), (None, 7)):
        (y, _, _), cache = lstm.forward(params, x, num_threads=given)
        lstm.backward(params, cache, y)
        assert seen == [used] * (2 + 2 * 2)  # a forward pass is one piece of work, a backward pass two
        seen.clear()
    with pytest.raises(SettingError, match="num_threads is a whole number above 0, not 0"):
        lstm.forward(params, x, num_threads=0)


def test_eight_threads_at_once_get_the_same_bits(draw, assert_same_bits, monkeypatch, always_threads):
    monkeypatch.setenv(VARIABLE, "2")
    cases = [draw(20, 5, 6 + n, 30, np.float32, "uneven", seed=n) for n in range(8)]
    engine = ENGINES["numba"]

    def predict(a):
        outputs, _ = engine.forward(
            a.params, a.x, a.h0, a.c0, a.lengths, PLAIN, None, inference=True, num_threads=None
        )
        return dict(zip(("y", "h_n", "c_n"), outputs, strict=True))

    alone = [predict(a) for a in cases]
    barrier = threading.Barrier(8)

    def together(a):
        barrier.wait()
        return [predict(a) for _ in range(20)]

    with ThreadPoolExecutor(8) as pool:
        for expected, found in zip(alone, pool.map(together, cases), strict=True):
            for result in found:
                assert_same_bits(result, expected)


def in_child(connection, a):
    """Run a training step in a forked process, with threads of its own."""
    result = a.run(kernels.lstm_forward, kernels.lstm_backward, num_threads=3)
    names = [t.name for t in threading.enumerate() if t.name.startswith("lstm-scratch")]
    connection.send((result, len(names)))
    connection.close()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_computes_the_same_after_its_parent_used_threads(
    draw, assert_same_bits, always_threads
):
    a = draw(33, 13, 7, 9, np.float32, "uneven")
    expected = a.run(kernels.lstm_forward, kernels.lstm_backward, num_threads=3)
    fork = multiprocessing.get_context("fork")
    for _ in range(2):
        ours, theirs = fork.Pipe()
        child = fork.Process(target=in_child, args=(theirs, a), daemon=True)
        child.start()
        theirs.close()
        assert ours.poll(60), "the child waits for threads that are its parent's"
        result, n_threads = ours.recv()
        child.join(60)
        assert child.exitcode == 0
        assert n_threads > 0
        assert_same_bits(result, expected)
    assert_same_bits(a.run(kernels.lstm_forward, kernels.lstm_backward, num_threads=3), expected)


SETTINGS = """
import json, locale, os, signal, sys, threading, warnings
import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_info

def settings():
    return {
        "threads": threading.active_count(),
        "pools": sorted(map(str, threadpool_info())),
        "errors": np.geterr(),
        "warnings": list(map(str, warnings.filters)),
        "environment": dict(os.environ),
        "locale": locale.getlocale(),
        "signals": [str(signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)],
        "limit": sys.getrecursionlimit(),
        "interval": sys.getswitchinterval(),
    }

IMPORT_NUMBA
before = settings()
import lstm_scratch
between = settings(), "numba" in sys.modules
import lstm_scratch.kernels.engine as kernels
after = settings()
COMPUTE
import numba
try:
    layer = numba.threading_layer()
except ValueError as error:
    layer = str(error)
print(json.dumps([before, *between, after, layer]))
"""
COMPUTE = """
lstm_scratch.kernels.threads.WORTH_A_THREAD = 0
params = {"weight_ih": np.ones((8, 3)), "weight_hh": np.ones((8, 2)), "bias": np.ones(8)}
kernels.lstm_forward(params, np.ones((4, 5, 3)), num_threads=2)
"""


def test_importing_changes_no_setting_and_computing_starts_no_layer_of_numbas():
    code = SETTINGS.replace("COMPUTE", COMPUTE)
    process = subprocess.run(
        [sys.executable, "-c", code.replace("IMPORT_NUMBA", "import numba")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.stderr == ""
    before, between, _, after, layer = json.loads(process.stdout)
    assert between == before
    assert after == before
    assert before["threads"] == 1
    assert layer == "Threading layer is not initialized."


def test_the_package_alone_does_not_import_numba():
    code = SETTINGS.replace("COMPUTE", "").replace("IMPORT_NUMBA", "")
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, between, numba_is_there, _, _ = json.loads(process.stdout)
    assert between == before
    assert not numba_is_there


def test_an_lstm_uses_threads_as_the_variable_says(draw, monkeypatch, always_threads):
    parts = []
    monkeypatch.setattr(kernels, "in_parts", lambda w, c, n: (parts.append(n), in_parts(w, c, n)))
    monkeypatch.setenv(VARIABLE, "4")
    a = draw(3, 2, 6, 5)
    lstm = LSTM(2, 3, engine="numba")
    params = {f"{name}_l0": array for name, array in a.params.items()}
    (y, *_), cache = lstm.forward(params, a.x)
    lstm.backward(params, cache, y)
    assert set(parts) == {4}


@pytest.mark.parametrize("lengths", [None, [2, 0, 5, 4]], ids=str)
def test_two_directions_at_once_give_the_same_bits(always_threads, lengths):
    lstm = LSTM(3, 33, num_layers=2, bidirectional=True, dropout=0.4)
    rng = np.random.default_rng(0)
    params, x = lstm.init(rng), rng.standard_normal((5, 4, 3)).astype(np.float32)
    dy = rng.standard_normal((5, 4, 66)).astype(np.float32)
    lengths = lengths and np.array(lengths)
    found = []
    for number in (1, 2, 3, 8):
        outputs, cache = lstm.forward(
            params, x, lengths=lengths, rng=np.random.default_rng(1), num_threads=number
        )
        inputs, grads = lstm.backward(params, cache, dy)
        found.append((*outputs, *inputs, *grads.values()))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


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
    alone = lambda k, number: (k, number)  # noqa: E731  # no barrier
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
