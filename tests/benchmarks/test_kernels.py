"""From the plain loop to the register tile, at sizes too small to tell anything of time."""

import json
from itertools import pairwise

import numpy as np
import pytest

pytestmark = pytest.mark.compiled
KEYS = "T B I H version threads steps_timed ms gflops times_before times_first fraction_of_peak"
VERSIONS = [
    "python loops (1 of 21 steps)",
    *["jitted loops", "loops reordered", "matrix product", "beside: numpy (lstm.py)"],
    *["register tile", "own exp", "own exp, in registers", "all threads (2)"],
]


@pytest.fixture
def benchmark(monkeypatch):
    import benchmarks.kernels as benchmark

    H = 2 * benchmark.lanes(np.float32)  # two blocks, of seven rows
    monkeypatch.setattr(benchmark, "SHAPE", (3, 7, 5, H))
    monkeypatch.setattr(benchmark, "gemm_peak", lambda: 50)
    monkeypatch.setattr(benchmark, "thread_count", lambda: 2)
    return benchmark


def test_every_version_gives_a_row(benchmark, monkeypatch, tmp_path, capsys):
    def alternate(runs, *_, **__):
        return {name: 0.001 * (len(runs) - n) for n, name in enumerate(runs)}

    monkeypatch.setattr(benchmark, "alternate", alternate)
    path = tmp_path / "rows.json"
    benchmark.main(["--quick", "--json", str(path)])
    rows = json.loads(path.read_text())["rows"]
    assert [row["version"] for row in rows] == VERSIONS
    for row in rows:
        assert list(row) == KEYS.split()
        assert [row[k] for k in "TBIH"] == list(benchmark.SHAPE)
        assert row["fraction_of_peak"] == pytest.approx(row["gflops"] / 50)
    assert [row["threads"] for row in rows] == [*[1] * 8, 2]
    assert [row["steps_timed"] for row in rows] == [1, *[21] * 8]
    ms = [9 * 21, 8, 7, 6, 5, 4, 3, 2, 1]  # the first was timed on one step of 21
    assert [row["ms"] for row in rows] == pytest.approx(ms)
    assert [row["times_first"] for row in rows] == pytest.approx([ms[0] / each for each in ms])
    # What stands beside the steps has none before it, and is before none.
    assert [row["version"] for row in rows if row["times_before"] is None] == [VERSIONS[0], VERSIONS[4]]
    steps = [*ms[:4], *ms[5:]]
    times = [row["times_before"] for row in rows if row["times_before"] is not None]
    assert times == pytest.approx([before / each for before, each in pairwise(steps)])
    # Two operations per weight, step and row: weights are 4 H (I + H).
    _, _, I, H = benchmark.SHAPE
    assert rows[-1]["gflops"] == pytest.approx(2 * 21 * 4 * H * (I + H) / 0.001 / 1e9)
    printed = capsys.readouterr().out
    assert all(f"\n{name} " in printed for name in VERSIONS)


@pytest.mark.parametrize("wrong", range(len(VERSIONS)), ids=VERSIONS)
def test_a_wrong_version_is_refused_before_anything_is_timed(benchmark, monkeypatch, wrong):
    def with_one_wrong(*arguments):
        every = right(*arguments)
        version = every[wrong]

        def run(x):
            y = version.run(x).copy()
            y[-1, -1, -1] += 1e-4 * np.abs(y).max()
            return y

        every[wrong] = version._replace(run=run)
        return every

    right = benchmark.versions
    monkeypatch.setattr(benchmark, "versions", with_one_wrong)
    monkeypatch.setattr(benchmark, "alternate", None)
    with pytest.raises(AssertionError) as error:
        benchmark.measure(benchmark.SHAPE, threads=2, budget=0, rounds=1)
    assert VERSIONS[wrong] in str(error.value)


def test_python_loops_are_right_on_all_steps(benchmark):
    (T, B, I, H), rng = benchmark.SHAPE, np.random.default_rng(1)
    sizes = {"weight_ih": (4 * H, I), "weight_hh": (4 * H, H), "bias": (4 * H,)}
    params = {name: rng.standard_normal(size, np.float32) for name, size in sizes.items()}
    x = rng.standard_normal((T, B, I), np.float32)
    expected = benchmark.plain.lstm_forward(params, x)[0][0]
    np.testing.assert_allclose(benchmark.versions(params, x, 1)[0].run(x), expected, 0, 2e-5)
