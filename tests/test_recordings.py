"""The whole path on real recordings: what the README says of the Free Spoken Digit Dataset."""

from pathlib import Path

import pytest

from lstm_scratch import AudioClassifier
from lstm_scratch.corpus import read_corpus
from lstm_scratch.experiments import cross_validate, label_files, train

FSDD = Path(__file__).parents[2] / "shared" / "data" / "fsdd"
pytestmark = pytest.mark.skipif(not FSDD.is_dir(), reason=f"needs the recordings in {FSDD}")


def test_three_seeds_label_99_percent_of_the_official_test_part_right():
    outcome = cross_validate(read_corpus(FSDD), AudioClassifier(), "split", seeds=range(3))
    assert outcome["n"] == 300
    assert outcome["accuracy"] >= 0.99


def test_a_reloaded_model_labels_single_files_with_what_the_trained_one_gives(tmp_path):
    corpus = read_corpus(FSDD)
    corpus = corpus.take([n for n, path in enumerate(corpus.paths) if "_jackson_" in path.name])
    classifier = AudioClassifier(epochs=12)
    assert train(corpus, classifier)["accuracy"] >= 0.98
    classifier.save(tmp_path / "jackson.safetensors")
    files = [path for path, part in zip(corpus.paths, corpus.parts, strict=True) if part == "test"]
    labelled = list(label_files(AudioClassifier.load(tmp_path / "jackson.safetensors"), files))
    assert [prediction["label"] for prediction in labelled] == classifier.predict(files).tolist()
    for prediction, expected in zip(labelled, classifier.predict_proba(files), strict=True):
        assert prediction["probabilities"][prediction["label"]] == pytest.approx(expected.max(), abs=1e-6)
        assert sum(prediction["probabilities"].values()) == pytest.approx(1, abs=1e-5)
