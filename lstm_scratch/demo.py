"""The demo: a corpus made on the spot, a model trained on it, and pictures of how that went."""

from pathlib import Path
from typing import Any

from lstm_scratch.audio import AudioClassifier
from lstm_scratch.corpus import read_corpus
from lstm_scratch.division import Say
from lstm_scratch.experiments import train
from lstm_scratch.plots import CONFUSION, TRAINING, check_plots, plot_confusion, plot_training
from lstm_scratch.synthesis import spoken_digits


def run_demo(folder: Path, seed: int, say: Say) -> dict[str, Any]:
    """Render the corpus if it is not there, train, test on voices never heard, draw and save.

    Parameters
    ----------
    folder : Path
        Where corpus, model and pictures go. Those of an earlier demo are replaced.
    seed : int
        Seed of the training.
    say : callable
        Takes a line for the user.

    Returns
    -------
    dict
        As `experiments.train` returns, and the paths ``model``, ``pictures`` and ``example``, a test clip.

    Raises
    ------
    UserError
        If the synthesizer or matplotlib is not installed.
    """
    check_plots()
    say(f"1/3 corpus: ten digits in about a hundred synthetic voices, in {folder / 'corpus'}")
    corpus = read_corpus(spoken_digits(folder / "corpus"))
    say("2/3 training: MFCC features, a bidirectional LSTM; the test voices are never heard")
    classifier = AudioClassifier(validation_fraction=0.1, random_state=seed, verbose=True)
    result = train(corpus, classifier, say=say)
    say("3/3 saving the model and the pictures")
    model, confusion, curve = (folder / name for name in ("digits.safetensors", CONFUSION, TRAINING))
    classifier.save(model)
    title = f"digits of voices never heard: {100 * result['accuracy']:.1f} % of {result['n']} right"
    plot_confusion(confusion, result["confusion"], list(result["classes"]), title)
    plot_training(curve, classifier.history_, "training on synthetic digits")
    heard = zip(corpus.paths, corpus.parts or (), strict=True)
    return result | {
        "model": str(model),
        "pictures": [str(confusion), str(curve)],
        "example": str(next(path for path, part in heard if part == "test")),
    }
