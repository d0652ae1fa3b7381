"""Passes in threads: that no result tells how many there were, and that nothing else is changed."""

import json
import multiprocessing
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lstm_scratch.engines import ENGINES
from lstm_scratch.errors import SettingError
from lstm_scratch.kernels import engine as kernels
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.variants import PLAIN
from simd.threads import VARIABLE, ThreadCountError, in_parts


def test_a_pass_refuses_a_wrong_number_of_threads(draw, always_threads):
    a = draw(3, 2, 4, 5)
    with pytest.raises(ThreadCountError, match="num_threads"):
        kernels.lstm_forward(a.params, a.x, num_threads=0)
    _, cache = kernels.lstm_forward(a.params, a.x)
    with pytest.raises(ThreadCountError, match="num_threads"):
        kernels.lstm_backward(a.params, cache, a.dy, num_threads=0)


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
import simd.threads
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
simd.threads.WORTH_A_THREAD = 0
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
