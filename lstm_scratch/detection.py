"""Training of a speech detector on a corpus, and its test: experiments with scenes.

The corpus has a class `speech`, of clean clips; what has another label is other sounds.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lstm_scratch.activity import SpeechDetector
from lstm_scratch.corpus import Corpus
from lstm_scratch.division import Say, divide
from lstm_scratch.errors import DataError
from lstm_scratch.metrics import roc_auc
from lstm_scratch.progress import progress_bar
from lstm_scratch.scenes import Clip, draw_scene, speech_clip
from lstm_scratch.sound import AudioError, read_audio
from lstm_scratch.sources import Sources
from lstm_scratch.training import Epoch

SPEECH = "speech"  # the class of who speaks
TEST_SCENES = 60


def train_detector(
    corpus: Corpus,
    detector: SpeechDetector,
    *,
    test_fold: str | None = None,
    test_fraction: float = 0.2,
    skip_bad: bool = False,
    say: Say = lambda line: None,
    on_epoch: Callable[[Epoch], None] | None = None,
    **checkpoints: Any,
) -> dict[str, Any]:
    """Train a detector on scenes of one part of a corpus, and test it on scenes of the other.

    Parameters
    ----------
    corpus : Corpus
        Clips of speech, by speaker where these are known, and of other sounds.
    detector : SpeechDetector
        It is trained in place, from its `random_state`.
    test_fold : str, optional
        The fold to test on, where the corpus has folds. By default the last one.
    test_fraction : float, default 0.2
        Part to test on, where the corpus gives neither split nor folds. 0: no test.
    skip_bad : bool, default False
        Go on without recordings that cannot be used.
    say : callable, optional
        Takes a line for the user.
    on_epoch : callable, optional
        Called with an `Epoch` after each.
    **checkpoints
        ``checkpoint``, ``checkpoint_seconds`` and ``resume`` of `SpeechDetector.fit_scenes`.

    Returns
    -------
    dict
        What `evaluate_detector` gives of the test part, ``parameters`` and ``seconds``.

    Raises
    ------
    DataError
        If the corpus has no class `speech` or nothing else, or recordings cannot be used.
    """
    start = time.perf_counter()
    detector.check_settings()
    if SPEECH not in corpus.labels:
        raise DataError(
            f"{corpus.name}: no class {SPEECH!r}, only {', '.join(sorted(set(corpus.labels)))}; "
            "name that of the clips of speech so"
        )
    rng = np.random.default_rng([detector.random_state, TEST_SCENES])
    division = divide(corpus, rng, test_fold, test_fraction, say)
    learned = np.concatenate([division.training, division.validation])
    sources = _sources(corpus, learned, detector, skip_bad, say)
    detector.fit_scenes(*sources, on_epoch=on_epoch, **checkpoints)
    result: dict[str, Any] = {"n": 0}
    if len(division.test):
        result = evaluate_detector(detector, _sources(corpus, division.test, detector, skip_bad, say))
    detector.card_ |= {"data": Path(corpus.name).name, "test": result.copy()}
    return result | {"parameters": detector.n_parameters_, "seconds": time.perf_counter() - start}


def evaluate_detector(
    detector: SpeechDetector, sources: Sources, n_scenes: int = TEST_SCENES
) -> dict[str, Any]:
    """Test a detector on scenes, which are always the same ones.

    Parameters
    ----------
    detector : SpeechDetector
        A trained one.
    sources : Sources
        Speakers and noises that it was not trained on.
    n_scenes : int, default 60
        How many are drawn, like those of its training.

    Returns
    -------
    dict
        Over all steps: ``auc``, the area under the ROC curve (None if there is only speech, or none); ``f1``,
        ``precision`` and ``recall`` of speech at a probability of 0.5; and ``n``, the number of steps.
    """
    rng = np.random.default_rng(n_scenes)
    scores, truth = [], []
    for _ in range(n_scenes):
        scene = draw_scene(*sources, detector.sample_rate_, rng, detector.scenes)
        found = detector.probabilities(scene.samples)
        labels = detector.step_labels(scene)[detector.look_ahead :].astype(bool)
        scores.append(found[: len(labels)])
        truth.append(labels)
    score, speech = np.concatenate(scores), np.concatenate(truth)
    right = int((speech & (score >= 0.5)).sum())
    said, there = int((score >= 0.5).sum()), int(speech.sum())
    return {
        "auc": roc_auc(speech, score),
        "f1": 2 * right / max(1, said + there),
        "precision": right / max(1, said),
        "recall": right / max(1, there),
        "n": len(speech),
    }


def _sources(
    corpus: Corpus, indices: np.ndarray, detector: SpeechDetector, skip_bad: bool, say: Say
) -> Sources:
    """Read some of the recordings: speech by speaker, and what else there is."""
    assert detector.sample_rate is not None
    speakers: dict[str, list[Clip]] = {}
    noises: list[np.ndarray] = []
    unclean = 0
    with progress_bar(len(indices), "reading", "clips", detector.verbose) as bar:
        for n in indices:
            bar.update()
            try:
                samples, _ = read_audio(corpus.paths[n], detector.sample_rate)
            except AudioError as error:
                if not skip_bad:
                    raise DataError(f"{error}; or leave bad recordings out with --skip-bad") from None
                say(f"left out: {error}")
                continue
            if corpus.labels[n] != SPEECH:
                noises += [samples] if samples.any() else []
            elif (clip := speech_clip(samples, detector.sample_rate)) is None:
                unclean += 1
            else:
                speaker = corpus.groups[n] if corpus.groups is not None else str(corpus.paths[n])
                speakers.setdefault(speaker, []).append(clip)
    if unclean:
        say(f"left out: {unclean} clips of speech, which are not clean enough to tell where it is")
    if not speakers:
        raise DataError(f"{corpus.name}: no clip of speech in it is clean enough; add others")
    return Sources(list(speakers.values()), noises)
