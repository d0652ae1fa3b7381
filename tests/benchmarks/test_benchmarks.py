"""The machinery of the benchmarks, on a cell too small to tell anything of time."""

import json
import os
from types import SimpleNamespace

import pytest

from simd.threads import VARIABLE

pytestmark = pytest.mark.compiled
KEYS = "op T B I H threads ours_ms torch_ms onnxruntime_ms numpy_ms ratio_torch ratio_onnxruntime gflops"


@pytest.fixture
def benchmark(monkeypatch):
    import benchmarks.lstm

    monkeypatch.setattr(benchmarks.lstm, "QUICK", [(4, 3, 2, 5)])
    return benchmarks.lstm


def test_every_operation_gives_a_row(benchmark, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "alternate", lambda runs, *_, **__: dict.fromkeys(runs, 0.002))
    monkeypatch.setenv(VARIABLE, "3")
    path = tmp_path / "rows.json"
    benchmark.main(["--quick", "--threads", "1", "--json", str(path), "--plot", str(tmp_path / "ratios.png")])
    rows = json.loads(path.read_text())["rows"]
    assert [row["op"] for row in rows] == list(benchmark.SHAPES)
    for row in rows:
        assert list(row) == [*KEYS.split(), "fraction_of_peak", "ratio_torch_at_best"]
        assert [row[k] for k in "TBIH"] == [4, 3, 2, 5]
        assert row["ours_ms"] == 2
        assert row["ratio_torch"] == 1
        assert row["ratio_onnxruntime"] == (1 if "inference" in row["op"] else None)
    # Two operations per weight, step and row: weights are 4 H (I + H).
    assert rows[0]["gflops"] == pytest.approx(2 * 4 * 3 * 4 * 5 * (2 + 5) / 0.002 / 1e9)
    assert "inference                torch        geometric mean  1.00" in capsys.readouterr().out
    assert (tmp_path / "ratios.png").stat().st_size > 0
    assert os.environ[VARIABLE] == "3"


def test_a_wrong_result_is_refused_before_anything_is_timed(benchmark, monkeypatch):
    def wrong(*arguments, **options):
        (y, h_n, c_n), cache = right(*arguments, **options)
        return (y, h_n * (1 + 1e-4), c_n), cache

    right = benchmark.kernels.lstm_forward
    monkeypatch.setattr(benchmark, "kernels", SimpleNamespace(lstm_forward=wrong))
    monkeypatch.setattr(benchmark, "alternate", None)
    with pytest.raises(AssertionError, match="h_n of numpy"):
        benchmark.measure(benchmark.Cell("inference", 4, 3, 2, 5), threads=1, peak=1)


def test_medians_by_name(benchmark, monkeypatch):
    from benchmarks import timing

    now = 0.0

    def takes(*seconds):
        left = list(seconds)

        def run():
            nonlocal now
            now += left.pop(0)

        return run

    clock = SimpleNamespace(perf_counter=lambda: now, sleep=lambda seconds: None)
    monkeypatch.setattr(timing, "time", clock)
    monkeypatch.setattr(timing, "TURN", 0.5)
    runs = {"a": takes(100, 3, 1, 2), "b": takes(100, 7, 9, 8)}
    assert timing.alternate(runs, budget=0, rounds=3, warm_up=1) == {"a": 2, "b": 8}
