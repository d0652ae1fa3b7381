"""The corpus that is measured is trained on from disk, and the figures are those of that."""

import json
import sys

import numpy as np
import pytest

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.fixture
def benchmark():
    import benchmarks.corpus

    return benchmarks.corpus


def test_the_figures_are_of_all_clips(benchmark, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "QUICK", 90)
    path = tmp_path / "figures.json"
    benchmark.main(["--quick", "--folder", str(tmp_path), "--json", str(path)])
    assert sorted(tmp_path.iterdir()) == [path], "the recordings are removed"
    report = json.loads(path.read_text())
    first, again = report["first"], report["again"]
    assert first["clips"] == again["clips"] == 90
    # 101 frames of 40 bands and their slopes, four of them a step.
    assert first["features_mb"] == again["features_mb"] == pytest.approx(4e-6 * 90 * 26 * 4 * 80)
    assert first["training_mb"] >= first["opening_mb"] > 20
    assert 0 < first["loss"] < 2 * np.log(10)
    assert again["loss"] is None
    assert "90 clips of 1 s" in capsys.readouterr().out


def test_clips_of_a_class_glide_alike(benchmark, tmp_path):
    benchmark.write_corpus(tmp_path, 12)
    assert len(list(tmp_path.glob("0/*.wav"))) == 12

    def slope(n):
        samples, rate = benchmark.soundfile.read(benchmark.path_of(tmp_path, n))
        early, late = (
            np.abs(np.fft.rfft(part)).argmax() * 4 for part in (samples[: rate // 4], samples[-rate // 4 :])
        )
        return (late - early) / 0.75

    for n in (0, 3, 9, 10):
        assert slope(n) == pytest.approx(200 * (n % 10) - 900, abs=100)
