"""The models that are shipped: trained anew, or tested against the figures of their cards.

``python -m benchmarks.shipped --data ../shared/data [--train NAME] [--json FILE]``; training digits needs the
extra `demo`, whose voices are trained on as well. Without --train, each model is tested as its card says, on
recordings that it was not trained on, and the figures are printed.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.other_voices import recorded_digits, synthetic_digits
from benchmarks.vad import RATE, Ours, measure, sets_of
from lstm_scratch.activity import SpeechDetector
from lstm_scratch.audio import AudioClassifier
from lstm_scratch.corpus import Corpus, read_corpus
from lstm_scratch.recipe import build_classifier, read_recipe
from lstm_scratch.shipped import FOLDER, SUFFIX, model_file
from lstm_scratch.sources import read_sources
from lstm_scratch.synthesis import DIGITS, spoken_digits

Figures = dict[str, Any]


def train_digits(data: Path) -> AudioClassifier:
    """Train on the training part of fsdd, and on the voices of `benchmarks.other_voices` but those held out.

    Parameters
    ----------
    data : Path
        The folder of corpora.

    Returns
    -------
    AudioClassifier
        The model.
    """
    settings = read_recipe("digits").settings | {"sample_rate": 8000}
    with tempfile.TemporaryDirectory() as name:
        folder, fsdd = Path(name), read_corpus(data / "fsdd")
        fsdd = fsdd.take(np.flatnonzero(np.array(fsdd.parts) == "training"))
        voices = _voices(folder)
        held_out = {
            path.parent.name
            for path, part in zip(voices.paths, voices.parts or (), strict=True)
            if part == "test"
        }
        others = [*recorded_digits(data / "speech_commands_v2_test", folder), *synthetic_digits(folder)]
        others = [row for row in others if Path(row[0]).stem.rpartition("-")[0] not in held_out]
        paths = [*fsdd.paths, *(folder / path for path, _, _ in others)]
        labels = [*fsdd.labels, *(label for _, label, _ in others)]
        return build_classifier(settings, verbose=True).fit(paths, labels)


def digits_figures(model: AudioClassifier, data: Path) -> Figures:
    """Test digits: the test part of fsdd, and synthetic voices that were not heard in training.

    Parameters
    ----------
    model : AudioClassifier
        The model.
    data : Path
        The folder of corpora.

    Returns
    -------
    dict
        Accuracies, by the set's name.
    """
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, corpus in (
            ("fsdd, test part", read_corpus(data / "fsdd")),
            ("synthetic voices", _voices(Path(folder))),
        ):
            part = corpus.take(np.flatnonzero(np.array(corpus.parts) == "test"))
            figures[name] = {"accuracy": model.score(part.paths, part.labels), "clips": len(part)}
    return figures


def _voices(folder: Path) -> Corpus:
    """Synthetic voices, with figures for labels, as fsdd has them."""
    corpus = read_corpus(spoken_digits(folder / "voices"))
    labels = [str(DIGITS.index(label)) for label in corpus.labels]
    return Corpus(corpus.name, corpus.paths, labels, parts=corpus.parts)


def train_activity(data: Path) -> SpeechDetector:
    """Train on scenes of what `lstm_scratch.sources` does not hold out.

    Parameters
    ----------
    data : Path
        The folder of corpora.

    Returns
    -------
    SpeechDetector
        The model.
    """
    recipe = read_recipe("voice-activity")
    detector = build_classifier(recipe.settings, recipe.task, verbose=True)
    assert isinstance(detector, SpeechDetector)
    return detector.fit_scenes(*read_sources(data, RATE, test=False))


def activity_figures(model: SpeechDetector, data: Path) -> Figures:
    """Test voice activity, as `benchmarks.vad` does.

    Parameters
    ----------
    model : SpeechDetector
        The model.
    data : Path
        The folder of corpora.

    Returns
    -------
    dict
        Rows of `benchmarks.vad`, by the set's name.
    """
    return {
        name: measure(name, recordings, [Ours(model)])[0]
        for name, recordings in sets_of(data, quick=False).items()
    }


MODELS: dict[str, tuple[type[AudioClassifier], Callable[[Path], Any], Callable[[Any, Path], Figures]]] = {
    "digits": (AudioClassifier, train_digits, digits_figures),
    "voice-activity": (SpeechDetector, train_activity, activity_figures),
}


def main(arguments: list[str] | None = None) -> None:
    """Train or test.

    Parameters
    ----------
    arguments : list of str, optional
        By default those of the process.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of corpora")
    parser.add_argument("--train", choices=MODELS, help="train this model anew, and put it in its place")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args(arguments)
    if options.train:
        _, train, _ = MODELS[options.train]
        train(options.data).save(FOLDER / f"{options.train}{SUFFIX}")
    found = {}
    for name, (estimator, _, figures) in MODELS.items():
        if options.train in (None, name):
            found[name] = figures(estimator.load(model_file(name)), options.data)
            print(name)
            for of_set, values in found[name].items():
                shown = {k: round(v, 4) for k, v in values.items() if isinstance(v, int | float)}
                print(f"  {of_set}: {', '.join(f'{k} {v}' for k, v in shown.items())}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
