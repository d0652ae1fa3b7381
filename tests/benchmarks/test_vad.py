"""The comparison of voice activity detectors: its figures, its sets, and how each detector is run."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import soundfile

import benchmarks.vad as benchmark
from benchmarks.vad import Recording, Silero, WebRTC, area_under, measure, mixes, on_grid
from lstm_scratch.metrics import roc_auc
from lstm_scratch.scenes import Clip
from lstm_scratch.sources import Sources

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_meetings = pytest.mark.skipif(
    not (DATA / "vad_meetings").is_dir(), reason=f"needs the recordings in {DATA}"
)


class Loud:
    """Speech is what is positive."""

    def __init__(self, name="loud", threshold=0.5):
        self.name, self.threshold = name, threshold

    def scores(self, samples):
        return samples[80 : len(samples) // 160 * 160 : 160].clip(0, 1)


class Mode(Loud, WebRTC):
    """The same, as a mode of webrtcvad: yes or no."""

    def scores(self, samples):
        return (super().scores(samples) >= self.threshold).astype(np.float32)


def recording(values, labels):
    return Recording(np.repeat(np.array(values, np.float32), 160), np.array(labels, bool))


def test_auc_is_the_chance_that_speech_has_the_higher_score():
    rng = np.random.default_rng(0)
    labels, scores = rng.random(83) < 0.4, rng.integers(0, 7, 83) / 7
    higher = scores[labels][:, None] - scores[~labels]
    assert roc_auc(labels, scores) == pytest.approx(np.mean((higher > 0) + 0.5 * (higher == 0)))
    assert roc_auc(np.array([False, True, True]), np.array([0.1, 0.2, 0.3])) == 1
    assert roc_auc(np.array([False, True, True]), np.array([0.9, 0.2, 0.3])) == 0
    for only in (np.ones(3, bool), np.zeros(3, bool)):
        assert roc_auc(only, np.arange(3.0)) is None


def test_area_under_points_and_corners():
    assert area_under([]) == 0.5
    assert area_under([(0.2, 0.8)]) == pytest.approx(0.8)
    # 0.1 * 0.5 / 2 + 0.3 * (0.5 + 0.9) / 2 + 0.6 * (0.9 + 1) / 2
    assert area_under([(0.4, 0.9), (0.1, 0.5)]) == pytest.approx(0.805)
    # Of graded answers, the points of all grades give the AUC.
    rng = np.random.default_rng(1)
    labels, scores = rng.random(60) < 0.5, rng.integers(0, 4, 60)
    points = [(np.mean(scores[~labels] >= k), np.mean(scores[labels] >= k)) for k in (1, 2, 3)]
    assert area_under(points) == pytest.approx(roc_auc(labels, scores))


def test_every_10_ms_take_the_value_around_their_middle():
    values = np.array([0.1, 0.2, 0.3])
    # Of 32 ms, the middles 5, 15, 25 | 35, 45, 55 | 65 ...
    assert on_grid(values, 0.032, 11).tolist() == [0.1] * 3 + [0.2] * 3 + [0.3] * 5
    assert on_grid(values, 0.01, 3).tolist() == [0.1, 0.2, 0.3]
    assert on_grid(values, 0.005, 2).tolist() == [0.2, 0.3]
    assert on_grid(np.zeros(0), 0.01, 2).tolist() == [0, 0]


def test_webrtcvad_gets_16_bits_in_frames_and_forgets_between_recordings(monkeypatch):
    class Vad:
        def __init__(self, mode):
            made.append((mode, []))

        def is_speech(self, frame, rate):
            assert rate == 16_000
            made[-1][1].append(np.frombuffer(frame, np.int16))
            return made[-1][1][-1][0] > 0

    made = []
    monkeypatch.setattr(benchmark.importlib, "import_module", lambda name: SimpleNamespace(Vad=Vad))
    samples = np.repeat([0.5, -2, 1, 0.25], [160, 160, 160, 90]).astype(np.float32)
    detector = WebRTC(2)
    for _ in range(2):
        scores = detector.scores(samples)
        assert scores.tolist() == [1, 0, 1]
        assert scores.dtype == np.float32
    assert [mode for mode, _ in made] == [2, 2]
    assert [np.unique(frame).tolist() for frame in made[1][1]] == [[16384], [-32767], [32767]]
    assert [len(frame) for frame in made[1][1]] == [160] * 3
    assert detector.name == "webrtcvad 2"


class Session:
    """A model that counts its chunks in its state, and scores them by their first sample and that count."""

    def __init__(self, path, options, providers):
        assert options.intra_op_num_threads == options.inter_op_num_threads == 1
        assert providers == ["CPUExecutionProvider"]
        self.file = Path(path).name

    def run(self, outputs, given):
        if self.file == "silero_vad_16k_sequence.onnx":
            assert given["h"].shape == given["c"].shape == (1, 1, 128)
            return [given["input"][:, [0, 64]] @ [0.1, 0.01] + 0.001 * np.arange(len(given["input"]))]
        assert self.file == "silero_vad.onnx"
        assert given["input"].shape == (1, 576)
        assert given["sr"] == 16_000
        assert given["state"].shape == (2, 1, 128)
        return given["input"][:, [0, 64]] @ [[0.1], [0.01]] + 0.001 * given["state"][0, 0, 0], given[
            "state"
        ] + 1


@pytest.mark.parametrize("whole", [False, True])
def test_silero_gets_chunks_with_what_was_before_and_its_state(monkeypatch, whole):
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(benchmark, "find_spec", lambda name: SimpleNamespace(origin=f"/{name}/__init__.py"))
    samples = np.arange(1400, dtype=np.float32) / 1000
    detector = Silero(whole)
    expected = [0.01 * 0, 0.1 * 0.448 + 0.01 * 0.512 + 0.001, 0.1 * 0.96 + 0.01 * 1.024 + 0.002]
    for _ in range(2):  # the second recording is a new one
        scores = detector.scores(samples)
        np.testing.assert_allclose(scores, np.repeat(expected, [3, 3, 2]), atol=1e-6)
    assert detector.scores(samples[:100]).shape == (0,)


def test_ours_is_resampled_and_taken_by_its_own_hop(monkeypatch):
    class SpeechDetector:
        sample_rate_, hop_s = 8000, 0.02

        def load():
            return SpeechDetector()

        def probabilities(self, samples):
            assert len(samples) == 800
            return np.array([0.1, 0.2, 0.3, 0.4], np.float32)

    monkeypatch.setattr(benchmark, "SpeechDetector", SpeechDetector)
    scores = benchmark.Ours().scores(np.zeros(1600, np.float32))
    np.testing.assert_allclose(scores, [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.4, 0.4])


def test_what_is_not_installed_is_said(monkeypatch):
    def missing():
        raise ModuleNotFoundError("No module named 'x'")

    monkeypatch.setattr(benchmark, "MAKERS", {"a": missing, "loud": Loud})
    detectors, lines = benchmark.installed()
    assert list(detectors) == ["loud"]
    assert lines == ["a is left out: No module named 'x'"]
    monkeypatch.setattr(benchmark, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="silero_vad"):
        Silero()


def test_a_row_has_the_figures_of_all_frames_of_a_set():
    recordings = [
        recording([0.9, 0.7, 0.2, 0.1], [1, 0, 1, 0]),
        recording([0.6, 0.4, 0.3, 0.3, 0.0, 0.0], [1, 1, 0, 0, 0, 0]),
    ]
    detectors = [Loud(), Mode("mode 0", 0.35), Mode("mode 1", 0.65)]
    rows = measure("a set", recordings, detectors)
    assert [row["detector"] for row in rows] == ["loud", "mode 0", "mode 1", "webrtcvad"]
    for row in rows:
        assert row["set"] == "a set"
        assert row["hours"] == pytest.approx(0.1 / 3600)
        assert row["speech"] == 0.4
        assert row["false_alarms_per_hour"] is None
    # Speech: 0.9, 0.2, 0.6, 0.4. Others: 0.7, 0.1, 0.3, 0.3, 0, 0. Above 0.5: 0.9, 0.6 and 0.7.
    assert rows[0]["precision"] == pytest.approx(2 / 3)
    assert rows[0]["recall"] == 0.5
    assert rows[0]["f1"] == pytest.approx(4 / 7)
    assert rows[0]["auc"] == pytest.approx((6 + 3 + 5 + 5) / 24)
    assert rows[1]["auc"] is rows[2]["auc"] is rows[3]["f1"] is None
    assert rows[1]["f1"] == pytest.approx(6 / 8)
    # Points (1/6, 3/4) and (1/6, 1/4).
    assert rows[3]["auc"] == pytest.approx(1 / 6 * 1 / 8 + 5 / 6 * 7 / 8)


def test_without_speech_segments_are_counted_per_hour():
    # 0.3 s of 1 s, and twice 0.2 s that are one as there is less than 0.2 s between; 0.05 s are none.
    values = (
        [0] * 20
        + [0.6] * 30
        + [0] * 40
        + [0.8] * 20
        + [0.1] * 10
        + [0.8] * 20
        + [0] * 30
        + [0.9] * 5
        + [0] * 5
    )
    (noise,) = benchmark.without_speech([np.repeat(np.array(values, np.float32), 160)])
    assert noise.labels.shape == (180,)
    quiet = recording(np.zeros(20), np.zeros(20))
    (row, strict) = measure("noise", [noise, quiet], [Loud(), Loud("strict", 0.7)])
    assert row["false_alarms_per_hour"] == pytest.approx(2 / (2.0 / 3600))
    assert strict["false_alarms_per_hour"] == pytest.approx(1 / (2.0 / 3600))
    assert row["auc"] is row["f1"] is row["recall"] is None


def test_mixes_have_the_same_speech_at_every_ratio():
    rng = np.random.default_rng(0)
    words = [rng.standard_normal(n).astype(np.float32) for n in (3000, 5000, 7000, 9000)]
    clips = [Clip(x / x.std(), np.ones(len(x), bool)) for x in words]
    sources = Sources([clips, clips[::-1]], [rng.standard_normal(50_000).astype(np.float32)])
    (first, second), (loud, _) = (mixes(sources, snr_db, 2) for snr_db in (30, 0))
    assert first.samples.shape == (160_000,)
    assert first.labels.shape == (1000,)
    np.testing.assert_array_equal(first.labels, loud.labels)
    assert not np.array_equal(first.labels, second.labels)
    for scene, ratio in ((first, 30), (loud, 0)):
        assert 0.1 < scene.labels.mean() < 0.95
        around = np.convolve(scene.labels, np.ones(21), "same")  # labels are those of middles
        spoken, quiet = np.repeat(around == 21, 160), np.repeat(around == 0, 160)
        power, noise = np.mean(scene.samples[spoken] ** 2), np.mean(scene.samples[quiet] ** 2)
        assert 10 * np.log10(power / noise) == pytest.approx(10 * np.log10(1 + 10 ** (ratio / 10)), abs=1.5)


def test_meetings_are_labelled_by_the_middle_of_a_frame(tmp_path):
    folder = tmp_path / "vad_meetings"
    folder.mkdir()
    for name, seconds in (("b", 0.1), ("a", 0.055)):
        soundfile.write(folder / f"{name}.flac", np.full(round(seconds * 16_000), 0.5 * seconds), 16_000)
    with (folder / "vad_segments.csv").open("w", newline="") as file:
        rows = [("test", "b.flac", 0.0151, 0.045), ("test", "b.flac", 0.07, 9), ("test", "a.flac", 0, 0.01)]
        csv.writer(file).writerows([("subset", "file", "start_s", "end_s"), *rows, ("train", "c.flac", 0, 1)])
    first, second = benchmark.meetings(tmp_path, "test")
    assert first.labels.tolist() == [1, 0, 0, 0, 0]
    assert second.labels.tolist() == [0, 0, 1, 1, 0, 0, 0, 1, 1, 1]
    assert second.samples[0] == pytest.approx(0.05, abs=1e-4)


@needs_meetings
def test_real_meetings_have_the_speech_that_their_table_says():
    (first, second) = benchmark.meetings(DATA, "test")
    assert (len(first.labels), len(second.labels)) == (3000, 3000)
    assert first.labels.mean() == pytest.approx(29.92 / 30, abs=2e-3)
    assert second.labels.mean() == pytest.approx((0.35 + 0.366 + 0.54 + 4.388 + 0.448) / 30, abs=2e-3)


def test_the_command_prints_and_writes_every_row(monkeypatch, tmp_path, capsys):
    def sets_of(data, quick):
        assert (data, quick) == (Path("somewhere"), True)
        return {
            "meetings, development": [recording([0.9, 0.1, 0.2], [1, 0, 0])],
            "noise": [recording([0, 0, 0, 0], [0, 0, 0, 0])],
        }

    monkeypatch.setattr(benchmark, "sets_of", sets_of)
    monkeypatch.setattr(benchmark, "MAKERS", {"loud": Loud})
    monkeypatch.setattr(benchmark, "alternate", lambda runs, budget: dict.fromkeys(runs, 0.00006))
    monkeypatch.setattr(benchmark, "memory_of", lambda name: 12.3)
    path = tmp_path / "rows.json"
    benchmark.main(["--data", "somewhere", "--quick", "--json", str(path)])
    written = json.loads(path.read_text())
    assert [(row["set"], row["auc"], row["false_alarms_per_hour"]) for row in written["rows"]] == [
        ("meetings, development", 1.0, None),
        ("noise", None, 0.0),
    ]
    # 0.06 ms for 0.03 s of sound.
    assert written["costs"] == [{"detector": "loud", "ms_per_second": pytest.approx(2), "memory_mb": 12.3}]
    out = capsys.readouterr().out
    assert "meetings, development      0.0     33%  loud           |      1.000      1.000" in out
    assert "loud               |           2.000       12\n" in out


def test_memory_is_what_was_added(monkeypatch, capsys):
    sizes = iter([50_000_000, 62_500_000])
    monkeypatch.setattr(benchmark, "resident", lambda field: next(sizes))
    monkeypatch.setattr(benchmark, "MAKERS", {"loud": Loud})
    benchmark.main(["--data", ".", "--memory-of", "loud"])
    assert float(capsys.readouterr().out) == 12.5


def test_a_folder_without_the_corpora_is_named(tmp_path, capsys):
    for name in benchmark.CORPORA:
        if name != "esc10":
            (tmp_path / name).mkdir()
    with pytest.raises(SystemExit):
        benchmark.main(["--data", str(tmp_path)])
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(f"error: {tmp_path}: no esc10 in it; name the folder that holds these corpora")
