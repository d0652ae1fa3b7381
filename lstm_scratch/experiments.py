"""Experiments: train on one part of a corpus, test on another, and put the outcome in figures.

Results are plain dicts, ready for JSON. What a user should know on the way is said in short lines,
through a function `say` that the caller gives.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lstm_scratch.audio import AudioClassifier, common_sample_rate, extract_features
from lstm_scratch.corpus import Corpus
from lstm_scratch.division import Division, Say, divide, divisions, evaluated_part
from lstm_scratch.errors import DataError
from lstm_scratch.metrics import accuracy, confusion_matrix, unweighted_average_recall

EvaluatedPart = Literal["test", "validation", "training", "all"]


def train(
    corpus: Corpus,
    classifier: AudioClassifier,
    *,
    test_fold: str | None = None,
    test_fraction: float = 0.2,
    skip_bad: bool = False,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Train a classifier on one part of a corpus and test it on the other.

    Parameters
    ----------
    corpus : Corpus
        The recordings.
    classifier : AudioClassifier
        It is trained in place, from its `random_state`.
    test_fold : str, optional
        The fold to test on, where the corpus has folds. By default the last one.
    test_fraction : float, default 0.2
        Part to test on, where the corpus gives neither split nor folds. 0: no test.
    skip_bad : bool, default False
        Go on without recordings that cannot be used.
    say : callable, optional
        Takes a line for the user.

    Returns
    -------
    dict
        ``accuracy``, ``uar`` and ``confusion`` of the test part (None without one), ``n`` its clips,
        ``seconds`` in all, ``parameters``, ``classes`` with counts per class and part, and more.

    Raises
    ------
    DataError
        If the corpus cannot be divided, or recordings cannot be used.
    """
    start = time.perf_counter()
    classifier.check_settings()
    rng = np.random.default_rng(np.random.SeedSequence(classifier.random_state).spawn(4)[3])
    division = divide(corpus, rng, test_fold, test_fraction, say)
    rate = classifier.sample_rate
    if rate is None:
        heard = np.concatenate([division.training, division.validation])
        rate = common_sample_rate([corpus.paths[n] for n in heard])
    say(f"sound is analysed at {rate} Hz")
    classifier.set_params(sample_rate=rate)
    features = _features(corpus, classifier, rate, skip_bad, say)
    result = _train_and_test(corpus, classifier, division, features, say)
    result["seconds"] = time.perf_counter() - start
    classifier.card_ |= {
        "data": Path(corpus.name).name,
        "test_fold": division.test_fold,
        "test": {name: result[name] for name in ("accuracy", "uar", "n")},
    }
    return result


def evaluate(
    classifier: AudioClassifier,
    corpus: Corpus,
    *,
    part: EvaluatedPart | None = None,
    test_fold: str | None = None,
    skip_bad: bool = False,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Test a trained classifier.

    Parameters
    ----------
    classifier : AudioClassifier
        It is not changed.
    corpus : Corpus
        Recordings with labels that the classifier knows.
    part : {"test", "validation", "training", "all"}, optional
        Which rows of a manifest that gives a split. By default the test rows, if there are any.
    test_fold : str, optional
        Which rows of a manifest that gives folds and no split. By default the fold on which `train`
        tested the classifier.
    skip_bad : bool, default False
        Go on without recordings that cannot be used.
    say : callable, optional
        Takes a line for the user.

    Returns
    -------
    dict
        As `train` returns, of the recordings tested.

    Raises
    ------
    DataError
        If there are none, if they have labels that the classifier does not know, or cannot be used.
    """
    start = time.perf_counter()
    corpus = evaluated_part(corpus, part, test_fold, classifier.card_.get("test_fold"), say)
    known = {str(label) for label in classifier.classes_}
    for path, label in zip(corpus.paths, corpus.labels, strict=True):
        if label not in known:
            raise DataError(
                f"{path}: label {label!r} is none of the model's ({', '.join(sorted(known))}); "
                "remove these clips or train a model with that class"
            )
    features = _features(corpus, classifier, classifier.sample_rate_, skip_bad, say)
    result = _test(corpus, classifier, sorted(features), features)
    result["seconds"] = time.perf_counter() - start
    return result


def label_files(
    classifier: AudioClassifier, files: Sequence[Path], say: Say = lambda line: None
) -> Iterator[dict[str, Any]]:
    """Label recordings, one after the other.

    Parameters
    ----------
    classifier : AudioClassifier
        A trained one.
    files : sequence of Path
        Recordings.
    say : callable, optional
        Takes a line for the user.

    Yields
    ------
    dict
        ``file``, and either ``label`` and ``probabilities`` by label, the most probable first, or
        ``error``.
    """
    labels = [str(label) for label in classifier.classes_]
    for file in files:
        extraction = extract_features([file], classifier.features, classifier.sample_rate_)
        for error in extraction.bad:
            yield {"file": str(file), "error": str(error)}
        for name in extraction.silent:
            say(f"warning: {name}: silent, all samples are zero: its label means nothing")
        for features in extraction.features:
            probabilities = classifier.predict_proba([features])[0].tolist()
            ranked = sorted(zip(probabilities, labels, strict=True), reverse=True)
            yield {
                "file": str(file),
                "label": ranked[0][1],
                "probabilities": {label: p for p, label in ranked},
            }


def cross_validate(
    corpus: Corpus,
    classifier: AudioClassifier,
    folds: str,
    *,
    seeds: Sequence[int] = (0,),
    skip_bad: bool = False,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Train and test once for every fold and seed.

    Parameters
    ----------
    corpus : Corpus
        The recordings.
    classifier : AudioClassifier
        Its settings are used; it is trained anew each time.
    folds : {"split", "fold", "speaker", "source", "group"}
        The manifest's own split (one fold), its folds, or leave out one group at a time.
    seeds : sequence of int, default (0,)
        The `random_state` of each round.
    skip_bad : bool, default False
        Go on without recordings that cannot be used.
    say : callable, optional
        Takes a line for the user.

    Returns
    -------
    dict
        ``accuracy`` and ``uar``, each the mean over the seeds of the mean over the folds;
        ``accuracy_sd`` and ``uar_sd``, sample standard deviations over the seeds (None with one seed);
        ``folds``, a list of `train`'s results.

    Raises
    ------
    DataError
        If the manifest has no such column, or recordings cannot be used.
    """
    start = time.perf_counter()
    classifier.check_settings()
    rate = classifier.sample_rate or common_sample_rate(corpus.paths)
    parted = divisions(corpus, folds, say)
    features = _features(corpus, classifier, rate, skip_bad, say)
    runs: list[dict[str, Any]] = []
    for seed in seeds:
        for name, division in parted:
            fresh = type(classifier)(**classifier.get_params() | {"random_state": seed, "sample_rate": rate})
            result = _train_and_test(corpus, fresh, division, features, say)
            if not result["n"]:
                raise DataError(f"{corpus.name}: none of the recordings of {folds} {name} can be used")
            runs.append({"seed": seed, "fold": name} | result)
            say(f"seed {seed}, {folds} {name}: accuracy {100 * result['accuracy']:.2f} % of {result['n']}")
    outcome: dict[str, Any] = {
        "n": sum(run["n"] for run in runs) // len(seeds),
        "seeds": list(seeds),
    }
    for figure in ("accuracy", "uar"):
        per_seed = [float(np.mean([run[figure] for run in runs if run["seed"] == seed])) for seed in seeds]
        outcome[figure] = float(np.mean(per_seed))
        outcome[f"{figure}_sd"] = float(np.std(per_seed, ddof=1)) if len(seeds) > 1 else None
        outcome[f"{figure}_by_fold"] = {
            name: float(np.mean([run[figure] for run in runs if run["fold"] == name])) for name, _ in parted
        }
    return outcome | {
        "parameters": runs[0]["parameters"],
        "seconds": time.perf_counter() - start,
        "folds": runs,
    }


def _features(
    corpus: Corpus, classifier: AudioClassifier, sample_rate: int, skip_bad: bool, say: Say
) -> dict[int, np.ndarray]:
    """Features of every good recording, by its index."""
    extraction = extract_features(corpus.paths, classifier.features, sample_rate, classifier.verbose)
    for error in extraction.bad:
        say(f"{'left out' if skip_bad else 'bad'}: {error}")
    if extraction.bad and not skip_bad:
        others = f" (and {len(extraction.bad) - 1} more, above)" if len(extraction.bad) > 1 else ""
        raise DataError(f"{extraction.bad[0]}{others}; or leave bad recordings out with --skip-bad")
    if not extraction.features:
        raise DataError(f"{corpus.name}: none of its {len(corpus)} recordings can be used")
    for name in extraction.silent:
        say(f"warning: {name}: silent, all samples are zero")
    return dict(zip(extraction.kept, extraction.features, strict=True))


def _train_and_test(
    corpus: Corpus,
    classifier: AudioClassifier,
    division: Division,
    features: dict[int, np.ndarray],
    say: Say,
) -> dict[str, Any]:
    """Fit on the training clips that have features, test on the test clips that have."""

    def good(indices: np.ndarray) -> list[int]:
        return [int(n) for n in indices if int(n) in features]

    def data(indices: list[int]) -> tuple[list[np.ndarray], list[str]]:
        return [features[n] for n in indices], [corpus.labels[n] for n in indices]

    training, validation, test = map(good, (division.training, division.validation, division.test))
    trained = {corpus.labels[n] for n in training}
    for n in (*validation, *test):
        if corpus.labels[n] not in trained:
            raise DataError(
                f"{corpus.paths[n]}: none of the recordings of class {corpus.labels[n]!r} to train on can be "
                "used; mend one, or remove the class"
            )
    groups = [corpus.groups[n] for n in training] if corpus.groups and division.groups_disjoint else None
    classifier.fit(*data(training), groups, data(validation) if validation else None)
    if classifier.validation_fraction and classifier.history_[0]["validation_loss"] is None:
        say("warning: no clips can be spared for a validation part; the last epoch is kept")
    result = _test(corpus, classifier, test, features)
    for label, counts in classifier.card_["clips"].items():
        result["classes"][label] |= counts
    return result | {"epochs": len(classifier.history_), "seed": classifier.random_state}


def _test(
    corpus: Corpus, classifier: AudioClassifier, indices: list[int], features: dict[int, np.ndarray]
) -> dict[str, Any]:
    """Figures of merit over some of the clips; None where there are none."""
    names = [str(label) for label in classifier.classes_]
    confusion = np.zeros((len(names), len(names)), np.int64)
    if indices:
        predicted = classifier.predict_proba([features[n] for n in indices]).argmax(axis=1)
        true = np.array([names.index(corpus.labels[n]) for n in indices])
        confusion = confusion_matrix(true, predicted, len(names))
    return {
        "accuracy": accuracy(confusion) if indices else None,
        "uar": unweighted_average_recall(confusion) if indices else None,
        "n": len(indices),
        "parameters": classifier.n_parameters_,
        "sample_rate_hz": classifier.sample_rate_,
        "classes": {
            name: {"test": int(confusion[k].sum()), "correct": int(confusion[k, k])}
            for k, name in enumerate(names)
        },
        "confusion": confusion.tolist(),
    }
