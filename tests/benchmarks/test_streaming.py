"""The benchmark of single steps, on shapes too small to tell anything of time."""

import json

import numpy as np
import pytest

pytestmark = pytest.mark.compiled


@pytest.fixture
def benchmark(monkeypatch):
    import benchmarks.streaming

    monkeypatch.setattr(benchmarks.streaming, "STEPS", 4)
    return benchmarks.streaming


def test_a_row_per_shape(benchmark, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "SHAPES", [(3, 5, 1), (3, 5, 2)])
    monkeypatch.setattr(benchmark, "MODELS", [6])
    monkeypatch.setattr(benchmark, "alternate", lambda runs, *_, **__: dict.fromkeys(runs, 0.004))
    path = tmp_path / "rows.json"
    benchmark.main(["--quick", "--json", str(path)])
    one, two, model = json.loads(path.read_text())["rows"]
    assert [one[k] for k in ("op", "I", "H", "L", "threads")] == ["step", 3, 5, 1, 1]
    assert one["ours_ms"] == one["torch_ms"] == one["cell_ms"] == one["onnxruntime_ms"] == 1
    assert one["ratio_torch"] == one["ratio_cell"] == one["ratio_onnxruntime"] == 1
    assert (two["L"], two["cell_ms"], two["ratio_cell"]) == (2, None, None)
    assert [model[k] for k in ("op", "H", "ours_ms", "others_ms", "ratio_others")] == ["model", 6, 1, 1, 1]
    assert "1000.0" in capsys.readouterr().out  # microseconds


@pytest.mark.parametrize("who", ["torch", "cell", "onnxruntime"])
def test_a_wrong_result_is_refused_before_anything_is_timed(benchmark, monkeypatch, who):
    runs = benchmark.contestants(3, 5, 1)
    wrong = runs | {who: lambda: runs[who]() + np.float32(1e-4)}
    monkeypatch.setattr(benchmark, "contestants", lambda *sizes: wrong)
    monkeypatch.setattr(benchmark, "alternate", None)
    with pytest.raises(AssertionError, match=who):
        benchmark.measure(3, 5, 1, 0)


@pytest.mark.parametrize("who", ["ours", "others"])
def test_a_model_that_says_something_else_is_refused_before_anything_is_timed(benchmark, monkeypatch, who):
    runs = benchmark.model_contestants(6)
    wrong = runs | {who: lambda: runs[who]()[::-1]}
    monkeypatch.setattr(benchmark, "model_contestants", lambda H: wrong)
    monkeypatch.setattr(benchmark, "alternate", None)
    with pytest.raises(AssertionError, match="Mismatched elements"):
        benchmark.measure_model(6, 0)
