"""The memory that is measured is the memory that was used."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.fixture
def benchmark():
    import benchmarks.memory

    return benchmarks.memory


def test_what_is_touched_counts_even_if_it_is_given_back(benchmark):
    works = {
        "kept": "kept.append(np.ones(8_000_000))",
        "given back": "np.ones(4_000_000).sum()",
        "never touched": "np.empty(8_000_000).size",
        "nothing": "None",
    }
    peaks = benchmark.in_fresh_process(
        f"(lambda kept: [{', '.join(f'peak_of(lambda: {work})' for work in works.values())}])([])"
    )
    for peak, mb in zip(peaks, (64, 32, 0, 0), strict=True):
        assert abs(peak - 1e6 * mb) <= 2e6  # Linux counts pages per CPU, and adds them up now and then


def test_a_row_per_shape_and_one_long_sequence(benchmark, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "QUICK", [(200, 16, 8, 64)])
    monkeypatch.setattr(benchmark, "QUICK_HOURS", 0.3)
    path = tmp_path / "rows.json"
    benchmark.main(["--quick", "--json", str(path)])
    report = json.loads(path.read_text())
    (row,) = report["training"]
    assert list(row) == ["T", "B", "I", "H", "ours_mb", "torch_mb", "ratio", "both_hold_mb"]
    assert [row[k] for k in "TBIH"] == [200, 16, 8, 64]
    # x, dx (I), y, dy (H), and gradients of 4 H rows of I + H weights and a bias.
    assert row["both_hold_mb"] == pytest.approx(4e-6 * (2 * 3200 * (8 + 64) + 256 * 73))
    assert min(row["ours_mb"], row["torch_mb"]) > row["both_hold_mb"]
    assert row["ratio"] == pytest.approx(row["ours_mb"] / row["torch_mb"])
    long = report["inference"]
    assert list(long) == ["hours", "frames", "resident_mb", "seconds", "real_time_factor", "difference"]
    assert long["frames"] == 108_000
    assert list(long["resident_mb"]) == ["1%", "10%", "50%", "100%"]
    assert long["real_time_factor"] == pytest.approx(long["seconds"] / 1080)
    assert long["difference"] == 0
    heard = report["features"]
    assert heard["frames"] == 107_998  # whole ones of 25 ms, every 10 ms
    assert heard["features_mb"] == pytest.approx(4e-6 * 13 * 107_998)
    assert heard["features_mb"] < heard["most_mb"] < 500
    assert heard["hours"] == 0.3
    out = capsys.readouterr().out
    assert "blocks differ from one pass over 10,000 frames by 0\n" in out
    assert "MFCC of a recording of 0.3 h, 35 MB: 107,998 frames, all kept\n" in out


def test_blocks_without_the_state_are_refused(benchmark, monkeypatch):
    def forgets(params, x, h0=None, c0=None, **options):
        return lstm.forward(params, x, h0, **options)

    monkeypatch.setattr(benchmark, "BLOCK", 5)
    monkeypatch.setattr(benchmark, "AT_ONCE", 3)
    lstm = benchmark.LSTM(benchmark.INPUTS, 7, engine="numba")
    params = lstm.init(np.random.default_rng(0))
    assert benchmark.difference_of_blocks(lstm, params) == 0
    with pytest.raises(AssertionError, match=r"blocks differ from one pass by \d"):
        benchmark.difference_of_blocks(SimpleNamespace(forward=forgets), params)


def test_elsewhere_than_on_linux_it_says_so_in_one_line(benchmark, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "CLEAR", tmp_path / "clear_refs")
    with pytest.raises(SystemExit):
        benchmark.main([])
    assert capsys.readouterr().err == "benchmarks.memory needs Linux: it reads /proc/self/status\n"
