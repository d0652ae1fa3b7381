"""Shipped models: small, with cards, found by name; and as good as their cards say."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lstm_scratch.activity import SpeechDetector
from lstm_scratch.audio import AudioClassifier
from lstm_scratch.corpus import read_corpus
from lstm_scratch.errors import ModelFileError
from lstm_scratch.files import load_model
from lstm_scratch.metrics import roc_auc
from lstm_scratch.recipe import build_classifier, read_recipe, settings_of
from lstm_scratch.shipped import FOLDER, card_of, model_file, shipped_models

DATA = Path(__file__).parents[3] / "shared" / "data"
MOST_BYTES = 300_000
ESTIMATORS = {"digits": AudioClassifier, "voice-activity": SpeechDetector}
every = pytest.mark.parametrize("name", ESTIMATORS)


def rows(card):
    """Cells of the table of figures, by what they are of."""
    found = re.findall(r"^\| ([^|]+) \|(.*)\|$", card, re.MULTILINE)
    return {name.strip(): [cell.strip() for cell in cells.split("|")] for name, cells in found}


def test_these_are_shipped():
    assert shipped_models() == sorted(ESTIMATORS)


@every
def test_a_shipped_model_is_small_and_holds_nothing_of_a_training_that_goes_on(name):
    assert model_file(name).stat().st_size < MOST_BYTES
    assert not [array for array in load_model(model_file(name))[0] if array.startswith("training.")]


@every
def test_a_shipped_model_is_what_its_recipe_makes(name):
    model = ESTIMATORS[name].load(model_file(name))
    recipe = read_recipe(name)
    wanted = settings_of(build_classifier(recipe.settings, recipe.task))
    differing = {k for k, v in settings_of(model).items() if v != wanted[k]}
    assert differing <= {"sample_rate"}, "the rate of its corpus"


@every
def test_a_card_tells_data_licences_figures_and_limits(name):
    for heading in ("Data", "Figures", "Limits"):
        assert f"## {heading}" in card_of(name)
    assert "CC BY" in card_of(name)
    assert f"{ESTIMATORS[name].load(model_file(name)).n_parameters_:,} parameters" in card_of(name)


def test_a_file_comes_before_a_model_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert model_file("digits") == FOLDER / "digits.safetensors"
    (tmp_path / "digits").touch()
    assert model_file("digits") == Path("digits")
    assert model_file("mine.safetensors") == Path("mine.safetensors")
    (tmp_path / "voice-activity").mkdir()  # a corpus, perhaps, and no model
    assert model_file("voice-activity") == FOLDER / "voice-activity.safetensors"
    with pytest.raises(ModelFileError, match="no model 'faces' is shipped; there are digits, voice-activity"):
        card_of("faces")


def test_the_shipped_detector_is_the_shipped_one_wherever_one_works(tmp_path):
    (tmp_path / "voice-activity").touch()
    code = "from lstm_scratch.activity import SHIPPED; print(SHIPPED)"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert process.stdout == f"{FOLDER / 'voice-activity.safetensors'}\n"


@pytest.mark.skipif(not (DATA / "fsdd").is_dir(), reason=f"needs recordings in {DATA / 'fsdd'}")
def test_digits_are_labelled_as_the_card_says():
    corpus = read_corpus(DATA / "fsdd")
    test = corpus.take(np.flatnonzero(np.array(corpus.parts) == "test"))
    accuracy = AudioClassifier.load(model_file("digits")).score(test.paths, test.labels)
    assert rows(card_of("digits"))["fsdd, test part"][0] == f"{100 * accuracy:.2f} %"


@pytest.mark.skipif(
    not (DATA / "vad_meetings").is_dir(), reason=f"needs recordings in {DATA / 'vad_meetings'}"
)
@pytest.mark.parametrize("subset", ["test", "development"])
def test_meetings_are_told_as_the_card_says(subset):
    from benchmarks.vad import Ours, meetings

    ours, recordings = Ours(), meetings(DATA, subset)
    scores = np.concatenate([ours.scores(recording.samples) for recording in recordings])
    labels = np.concatenate([recording.labels for recording in recordings])
    auc = roc_auc(labels, scores)
    assert rows(card_of("voice-activity"))[f"meetings, {subset}"][0] == f"{auc:.3f}"
