"""scikit-learn's model selection takes our classifiers, and gives what a loop by hand gives."""

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold, cross_val_score

from features import FeatureSettings
from lstm_scratch import AudioClassifier, SequenceClassifier

RATE = 8000


def tones(n=36):
    """Tones of four pitches, sample arrays of different lengths."""
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c", "d"], n // 4)
    lengths = rng.integers(400, 900, n)
    hz = np.repeat([500, 900, 1500, 2500], n // 4)
    clips = [
        np.sin(2 * np.pi * f * np.arange(m) / RATE).astype(np.float32)
        for f, m in zip(hz, lengths, strict=True)
    ]
    return clips, labels


AUDIO = AudioClassifier(sample_rate=RATE, hidden_size=6, epochs=6, batch_size=4, learning_rate=0.02)


def sequences():
    clips, labels = tones()
    return [FeatureSettings()(clip, RATE) for clip in clips], labels


@pytest.mark.parametrize(
    ("classifier", "data"),
    [
        (AUDIO, tones),
        (SequenceClassifier(hidden_size=6, epochs=6, batch_size=4, learning_rate=0.02), sequences),
    ],
    ids=["audio", "sequences"],
)
def test_cross_val_score_is_the_loop_by_hand(classifier, data):
    X, y = data()
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    by_hand = [
        clone(classifier).fit([X[n] for n in train], y[train]).score([X[n] for n in test], y[test])
        for train, test in folds.split(np.zeros(len(y)), y)
    ]
    scores = cross_val_score(classifier, X, y, cv=folds)
    np.testing.assert_array_equal(scores, by_hand)
    assert scores.mean() > 0.9


def test_cross_val_score_hands_groups_to_the_folds():
    X, y = tones()
    groups = np.arange(len(y)) % 3
    scores = cross_val_score(AUDIO, X, y, groups=groups, cv=GroupKFold(3))
    assert len(scores) == 3
    assert scores.mean() > 0.9


def test_grid_search_finds_the_setting_that_learns():
    X, y = tones()
    search = GridSearchCV(AUDIO, {"learning_rate": [1e-7, 0.02], "features": [FeatureSettings()]}, cv=2).fit(
        X, y
    )
    assert search.best_params_ == {"learning_rate": 0.02, "features": FeatureSettings()}
    assert search.best_score_ > 0.9
    np.testing.assert_array_equal(search.predict(X), y)


def test_clone_parameters_and_tags_follow_the_protocol():
    assert is_classifier(AUDIO)
    copy = clone(AUDIO)
    assert copy is not AUDIO
    assert copy.get_params() == AUDIO.get_params()
    assert copy.set_params(hidden_size=7, features=FeatureSettings(n_mfcc=5)) is copy
    assert (copy.hidden_size, copy.features.n_mfcc, AUDIO.hidden_size) == (7, 5, 6)
    with pytest.raises(
        ValueError, match="AudioClassifier has no parameter 'hiden_size'; it has: hidden_size"
    ):
        copy.set_params(hiden_size=3)
