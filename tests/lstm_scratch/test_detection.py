"""A detector from a corpus: trained on one part of it alone, and its figures are those of the definition."""

import numpy as np
import pytest
import soundfile

from lstm_scratch import cli
from lstm_scratch.classifier import _Checkpoints
from lstm_scratch.corpus import read_corpus
from lstm_scratch.detection import evaluate_detector, train_detector
from lstm_scratch.errors import DataError
from lstm_scratch.metrics import roc_auc
from lstm_scratch.scenes import draw_scene
from lstm_scratch.sources import Sources

RATE = 12_000  # of the detector


@pytest.fixture
def corpus(tmp_path, speakers):
    """Writes a corpus of five speakers and some noise; those who test say the words of another seed."""

    def corpus(test_seed):
        folder = tmp_path / f"tested on {test_seed}"
        folder.mkdir()
        rows = ["path,label,speaker,split"]

        def add(name, samples, label, speaker, split):
            soundfile.write(folder / f"{name}.wav", samples, RATE, subtype="FLOAT")
            rows.append(f"{name}.wav,{label},{speaker},{split}")

        for split, seed, n_speakers in (("train", 0, 3), ("test", test_seed, 2)):
            for talker, clips in enumerate(speakers(seed)[:n_speakers]):
                for n, clip in enumerate(clips):
                    add(f"{split}{talker}{n}", 0.1 * clip.samples, "speech", f"{split}{talker}", split)
            noise = 0.1 * np.random.default_rng(seed).normal(size=RATE).astype(np.float32)
            add(f"{split}-noise", noise, "rain", "none", split)
        (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
        return folder

    return corpus


def test_what_is_tested_on_leaves_no_trace_in_what_is_learned(corpus, untrained):
    """Not in the weights, nor in the scale of the features."""
    results, learned = [], []
    for seed in (1, 3):
        detector = untrained(n_scenes=9, epochs=2)
        results.append(train_detector(read_corpus(corpus(seed)), detector))
        learned.append({**detector.params_, "mean": detector.mean_, "scale": detector.scale_})
    for name, array in learned[0].items():
        np.testing.assert_array_equal(array, learned[1][name])
    assert results[0]["auc"] != results[1]["auc"]


def test_figures_are_those_of_the_definition(detector, speakers):
    others = Sources(speakers(1), [])
    found = evaluate_detector(detector, others, n_scenes=5)
    rng, truth, scores = np.random.default_rng(5), [], []
    for _ in range(5):
        scene = draw_scene(*others, RATE, rng, detector.scenes)
        labels = detector.step_labels(scene)[detector.look_ahead :]
        truth += labels.tolist()
        scores += detector.probabilities(scene.samples)[: len(labels)].tolist()
    pairs = [(t == 1, s >= 0.5) for t, s in zip(truth, scores, strict=True)]
    right, wrong, missed = (pairs.count(pair) for pair in ((True, True), (False, True), (True, False)))
    assert found["n"] == len(truth)
    assert found["precision"] == pytest.approx(right / (right + wrong))
    assert found["recall"] == pytest.approx(right / (right + missed))
    assert found["f1"] == pytest.approx(2 * right / (2 * right + wrong + missed))
    assert found["auc"] == roc_auc(np.array(truth, bool), np.array(scores, np.float32))
    assert found["auc"] > 0.9


def test_a_corpus_without_speech_is_refused(tones, untrained):
    with pytest.raises(DataError, match="no class 'speech', only"):
        train_detector(read_corpus(tones), untrained())


def test_figures_are_told_where_a_test_has_no_speech(capsys):
    figures = {"auc": None, "f1": 0.0, "precision": 0.0, "recall": 0.0, "n": 1234}
    cli._print_detection(figures | {"parameters": 56789, "seconds": 1.25})
    assert capsys.readouterr().out == (
        "no AUC (only speech, or none), f1 0.00 %, precision 0.00 %, recall 0.00 % of 1234 steps of test "
        "scenes\n"
        "56,789 parameters, 1.2 s\n"
    )


FEW = [
    *("--recipe", "voice-activity", "--set", "n_scenes=4", "--set", "scenes.duration_s=2"),
    *("--set", "sample_rate=12000", "--epochs", "1", "--hidden-size", "3"),
]


def test_what_an_interrupted_training_leaves_is_for_vad(corpus, tmp_path, capsys, monkeypatch):
    note = _Checkpoints.note

    def noted(self, state):
        note(self, state)
        raise KeyboardInterrupt

    data, path, sound = str(corpus(1)), str(tmp_path / "d.safetensors"), tmp_path / "sound.wav"
    soundfile.write(sound, np.zeros(12_000), 12_000)
    with monkeypatch.context() as stopped:
        stopped.setattr(_Checkpoints, "note", noted)
        assert cli.main(["train", data, "-o", path, *FEW, "--checkpoint-seconds", "0"]) == 1
    checkpoint = tmp_path / "d.checkpoint.safetensors"
    assert capsys.readouterr().err.endswith(
        f"error: interrupted; {checkpoint} holds the last good weights, a model that `vad --model` takes; "
        "go on with --resume\n"
    )
    assert cli.main(["vad", "--model", str(checkpoint), str(sound)]) == 0


def test_pictures_of_a_detectors_training_are_drawn(corpus, tmp_path, capsys):
    path, pictures = tmp_path / "detector.safetensors", tmp_path / "pictures"
    status = cli.main(["train", str(corpus(1)), "-o", str(path), *FEW, "--plots", str(pictures)])
    assert (status, path.exists()) == (0, True), capsys.readouterr().err
    assert [picture.name for picture in pictures.iterdir()] == ["training.png"]
