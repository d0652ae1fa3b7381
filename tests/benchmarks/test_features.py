"""The benchmark of features, on clips too short to tell anything of time."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

pytestmark = pytest.mark.compiled
KEYS = "op seconds threads origin frame_ms dtype ours_ms theirs_ms ratio times_real_time theirs_bytes"
HERE = ["librosa", "kaldi_native_fbank", "python_speech_features"]
SECONDS = {"float32": 0.002, "float64": 0.004, "theirs": 0.01}


@pytest.fixture
def benchmark(monkeypatch):
    import benchmarks.features as benchmark

    monkeypatch.setattr(benchmark, "DURATIONS", (0.1, 0.3))
    monkeypatch.setattr(benchmark, "thread_count", lambda: 2)
    every = benchmark.installed()  # what is optional may be here or not
    monkeypatch.setattr(benchmark, "installed", lambda: {name: every[name] for name in HERE})
    return benchmark


@pytest.fixture
def on_a_clock(benchmark, monkeypatch):
    """Any clip takes the same time."""
    monkeypatch.setattr(benchmark, "alternate", lambda runs, *_, **__: {name: SECONDS[name] for name in runs})


def test_a_row_per_duration_threads_origin_and_dtype(benchmark, on_a_clock, tmp_path, capsys):
    path = tmp_path / "rows.json"
    benchmark.main(["--quick", "--json", str(path)])
    rows = json.loads(path.read_text())["rows"]
    lines = [(HERE[0], "float32"), (HERE[1], "float32"), (HERE[2], "float64"), (HERE[2], "float32")]
    assert [tuple(row[key] for key in ("seconds", "threads", "origin", "dtype")) for row in rows] == [
        (seconds, threads, *line) for seconds in (0.1, 0.3) for threads in (1, 2) for line in lines
    ]
    for row in rows:
        assert list(row) == KEYS.split()
        assert (row["op"], row["frame_ms"], row["theirs_ms"]) == ("mfcc", 25, 10)
        assert row["ours_ms"] == 1e3 * SECONDS[row["dtype"]]
        assert row["ratio"] == {"float32": 5, "float64": 2.5}[row["dtype"]]
        assert row["times_real_time"] == pytest.approx(row["seconds"] / SECONDS[row["dtype"]])
        assert row["theirs_bytes"] > 4 * 13 * 8  # ten frames' cepstra, but for two
    out = capsys.readouterr().out
    assert "ratio 0.1 s x 1: 2.50 (python_speech_features), 0.1 s x 2: 2.50" in out
    assert "times real time: 0.1 s: 50 to 50, 0.3 s: 150 to 150\n" in out


def test_hours_come_last_and_have_few_rounds(benchmark, monkeypatch, tmp_path):
    def alternate(runs, budget, rounds, warm_up):
        given.append((budget, rounds, warm_up))
        return {name: SECONDS[name] for name in runs}

    given = []
    monkeypatch.setattr(benchmark, "alternate", alternate)
    path = tmp_path / "rows.json"
    benchmark.main(["--hours", "0.0005", "--json", str(path)])
    rows = json.loads(path.read_text())["rows"]
    assert sorted({row["seconds"] for row in rows}) == [0.1, 0.3, 1.8]
    assert given == [(3.0, 5, 0)] * 12 + [(0.0, 3, 0)] * 6


@pytest.mark.parametrize("least", ["MOST_SECONDS", "MOST_BYTES"])
def test_what_would_need_too_much_is_left_out_and_ours_is_timed(
    benchmark, on_a_clock, monkeypatch, tmp_path, capsys, least
):
    # 0.3 s take three times as long as 0.1 s: 0.03 s here.
    monkeypatch.setattr(benchmark, least, {"MOST_SECONDS": 0.02, "MOST_BYTES": 0}[least])
    path = tmp_path / "rows.json"
    benchmark.main(["--hours", "0.001", "--json", str(path)])
    for row in json.loads(path.read_text())["rows"]:
        there = row["seconds"] == 0.1
        assert row["ours_ms"] == 1e3 * SECONDS[row["dtype"]]
        assert row["theirs_ms"] == (10 if there else None)
        assert (row["ratio"] is None) != there
        assert (row["theirs_bytes"] is None) != there
    out = capsys.readouterr().out
    assert "    3.6       2  librosa                 float32  |     2.000         -" in out
    assert "0.1 s x 2: 2.50 (python_speech_features)\n" in out


@pytest.mark.parametrize("name", HERE)
def test_wrong_cepstra_are_refused_before_anything_is_timed(benchmark, monkeypatch, name):
    def prepare(module, x):
        def run():
            cepstra = right.prepare(module, x)().copy()
            cepstra[-1, -1] += 1e-4 * np.abs(cepstra).max()
            return cepstra

        return run

    right = benchmark.ORIGINS[name]
    monkeypatch.setitem(benchmark.ORIGINS, name, right._replace(prepare=prepare))
    monkeypatch.setattr(benchmark, "alternate", None)
    with pytest.raises(AssertionError, match=f"cepstra of {name}"):
        benchmark.measure(name, benchmark.installed()[name], benchmark.noise(0.2), 1, 0)


def test_one_cepstrum_in_many_may_be_off_by_a_little_and_none_by_much(benchmark):
    theirs = np.ones((3000, 13), np.float32)  # three may be off

    def check(wrong):
        ours = theirs.copy()
        ours.ravel()[1000 : 1000 + len(wrong)] = wrong
        benchmark.check_equal(ours, theirs, "float32", "it")

    check([1.0009] * 3 + [1.00001] * 500)
    for wrong in ([1.0009] * 4, [1.002], [np.nan], [np.inf]):
        with pytest.raises(AssertionError, match="of 39000 cepstra of it differ by more than 2e-05"):
            check(wrong)


def test_another_number_of_frames_is_refused(benchmark):
    ours = np.zeros((7, 13), np.float32)
    with pytest.raises(AssertionError, match=r"it has \(8, 13\), ours \(7, 13\)"):
        benchmark.check_equal(ours, np.zeros((8, 13)), "float32", "it")
    with pytest.raises(AssertionError, match="in float32, not float64"):
        benchmark.check_equal(ours, ours, "float64", "it")


def test_audioflux_gives_our_cepstra(benchmark, monkeypatch):
    monkeypatch.undo()
    modules = benchmark.installed()
    monkeypatch.setattr(benchmark, "alternate", lambda runs, *_, **__: {key: SECONDS[key] for key in runs})
    (row,) = benchmark.measure("audioflux", modules["audioflux"], benchmark.noise(0.5), 1, 0)
    assert row["ratio"] == 5


def test_what_cannot_be_imported_has_no_lines(benchmark, monkeypatch):
    def importing(name):
        if name in errors:
            raise errors[name]
        return SimpleNamespace(name=name)

    monkeypatch.undo()
    errors = {"librosa": ImportError("no"), "torchaudio": OSError("could not load this library")}
    monkeypatch.setattr(benchmark, "import_module", importing)
    assert list(benchmark.installed()) == ["kaldi_native_fbank", "python_speech_features", "audioflux"]


def test_noise_is_at_its_level(benchmark):
    samples = benchmark.noise(3)
    assert samples.dtype == np.float32
    assert samples.shape == (48_000,)
    assert samples.std() == pytest.approx(0.1, rel=0.02)
    np.testing.assert_array_equal(samples[:100], benchmark.noise(1)[:100])
