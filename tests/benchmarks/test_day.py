"""The benchmark of a day of sound, on some seconds of it."""

import json
import sys

import numpy as np
import pytest

from features import FeatureStream

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.fixture
def benchmark(monkeypatch):
    import benchmarks.day

    monkeypatch.setattr(benchmarks.day, "HOUR", 4)
    monkeypatch.setattr(benchmarks.day, "EARLY", 1)
    monkeypatch.setattr(benchmarks.day, "HIDDEN", 7)
    return benchmarks.day


def test_sounds_are_what_they_are_called(benchmark):
    noise, silence, fading = map(benchmark.Sound, benchmark.SOUNDS)
    assert not silence(5).any()
    assert noise(3).tobytes() == noise(3).tobytes() != noise(63).tobytes()
    np.testing.assert_allclose(
        noise(3) / noise(63), noise(3)[1] / noise(63)[1], rtol=1e-5
    )  # another loudness
    syllables = np.abs(noise(0)).reshape(8, -1).mean(axis=1)  # each is a quarter of a second
    assert np.corrcoef(noise(0)[:4000] ** 2, np.sin(np.pi * np.arange(4000) / 4000) ** 4)[0, 1] > 0.3
    assert np.ptp(syllables) < 0.2 * syllables.mean()
    loudest = [float(np.abs(fading(second)).max()) for second in (0, 30, 59, 60)]
    np.testing.assert_allclose(loudest, [1e-30, 1e-36, 10**-41.8, 1e-30], rtol=2e-2)
    assert fading(59).dtype == np.float32
    assert loudest[2] < np.finfo(np.float32).tiny


@pytest.mark.parametrize(("number", "steps"), [(0, 798), (1, 397)])
def test_a_stream_says_what_the_reference_says(benchmark, number, steps):
    name = list(benchmark.MODELS)[number]
    for sound in benchmark.SOUNDS:
        row = benchmark.listen(name, sound, 2)
        assert (row["model"], row["sound"], row["steps"]) == (name, sound, steps)
        assert [len(row[key]) for key in ("seconds", "resident_mb", "difference")] == [2, 3, 2]
        assert max(row["difference"]) < benchmark.TOLERANCE
        assert min(row["resident_mb"]) > 50


@pytest.mark.parametrize("number", [0, 1])
def test_the_reference_says_what_the_classifier_says(benchmark, monkeypatch, number):
    name, kept = list(benchmark.MODELS)[number], []
    says = benchmark.Reference.says
    monkeypatch.setattr(benchmark.Reference, "says", lambda self: kept.append(self) or says(self))
    benchmark.listen(name, "speech-like noise", 1)
    classifier, sound = kept[0].classifier, benchmark.Sound("speech-like noise")
    features = FeatureStream(classifier.features, benchmark.RATE)
    (wanted,) = classifier.predict_proba([np.concatenate([features.push(sound(n)) for n in range(4)])])
    assert np.ptp(wanted) > 1e-2
    np.testing.assert_allclose(says(kept[0]), wanted, rtol=0, atol=1e-6)


def test_drift_is_refused(benchmark, monkeypatch):
    says = benchmark.Reference.says
    monkeypatch.setattr(benchmark.Reference, "says", lambda self: says(self) + 2e-5)
    with pytest.raises(AssertionError, match=r"after 1 h of silence, MFCC, mean is off by 2"):
        benchmark.listen("MFCC, mean", "silence", 1)


def test_a_row_per_model_and_sound(benchmark, monkeypatch, tmp_path, capsys):
    calls = []

    def answer(call, module):
        calls.append((call, module))
        seconds, mb, difference = [1.5, 3.5, 2.5], [100.0, 101.0, 102.0, 103.0], [1e-8, 3e-8, 2e-8]
        return {"sound": "x", "steps": 7, "seconds": seconds, "resident_mb": mb, "difference": difference}

    monkeypatch.setattr(benchmark, "in_fresh_process", answer)
    path = tmp_path / "rows.json"
    benchmark.main(["--quick", "--json", str(path)])
    assert len(json.loads(path.read_text())["rows"]) == 6
    assert calls[1] == ("listen('MFCC, mean', 'silence', 1)", "benchmarks.day")
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("x "))
    assert " ".join(line.split()) == "x 7 | 2.50 3.50 2.50 | 100.0 101.0 103.0 | 1.0e-08 2.0e-08"
    benchmark.main([])
    assert calls[-1][0].endswith("'fading', 24)")


def test_elsewhere_than_on_linux_it_says_so_in_one_line(benchmark, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "STATUS", tmp_path / "status")
    with pytest.raises(SystemExit):
        benchmark.main([])
    assert capsys.readouterr().err == "benchmarks.day needs Linux: it reads /proc/self/status\n"
