"""Experiments: divide a corpus, train on one side, test on the other, and put the outcome in figures.

Results are plain dicts, ready for JSON. What a user should know on the way is said in short lines,
through a function `say` that the caller gives.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lstm_scratch.audio import AudioClassifier, common_sample_rate, extract
from lstm_scratch.corpus import Corpus
from lstm_scratch.errors import DataError
from lstm_scratch.metrics import accuracy, confusion_matrix, unweighted_average_recall
from lstm_scratch.splits import hold_out

Say = Callable[[str], None]
EvaluatedPart = Literal["test", "validation", "training", "all"]


@dataclass(frozen=True)
class Division:
    """Which clips of a corpus serve which purpose, as indices."""

    training: np.ndarray
    validation: np.ndarray  # empty: the classifier takes it from the training part
    test: np.ndarray  # empty: there is no test
    groups_disjoint: bool  # nobody who is tested was heard in training


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
    rng = np.random.default_rng(np.random.SeedSequence(classifier.random_state).spawn(4)[3])
    division = divide(corpus, rng, test_fold, test_fraction, say)
    _hint_at_new_groups(corpus, classifier, division, say)
    rate = classifier.sample_rate or common_sample_rate(corpus.paths)
    classifier.set_params(sample_rate=rate)
    features = _features(corpus, classifier, rate, skip_bad, say)
    result = _train_and_test(corpus, classifier, division, features)
    result["seconds"] = time.perf_counter() - start
    classifier.card_ |= {
        "data": Path(corpus.name).name,
        "test": {name: result[name] for name in ("accuracy", "uar", "n")},
    }
    return result


def evaluate(
    classifier: AudioClassifier,
    corpus: Corpus,
    *,
    part: EvaluatedPart | None = None,
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
    parts = list(corpus.parts or ())
    if part is None:
        part = "test" if "test" in parts else "all"
        if part == "test":
            say(f"testing the {parts.count('test')} test rows of {len(corpus)}; --part all takes all")
        else:
            say(f"{corpus.name} gives no test part: testing all, even what the model was trained on")
    if part != "all":
        if part not in parts:
            raise DataError(f"{corpus.name}: has no {part} rows; --part all takes what there is")
        corpus = corpus.take([n for n in range(len(corpus)) if parts[n] == part])
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
        ``accuracy`` and ``uar``, means over the seeds; ``accuracy_sd`` and ``uar_sd``, their sample
        standard deviations (None with one seed); ``folds``, a list of `train`'s results.

    Raises
    ------
    DataError
        If the manifest has no such column, or recordings cannot be used.
    """
    start = time.perf_counter()
    rate = classifier.sample_rate or common_sample_rate(corpus.paths)
    divisions = _divisions(corpus, folds, say)
    _hint_at_new_groups(corpus, classifier, divisions[0][1], say)
    features = _features(corpus, classifier, rate, skip_bad, say)
    runs: list[dict[str, Any]] = []
    for seed in seeds:
        for name, division in divisions:
            fresh = type(classifier)(**classifier.get_params() | {"random_state": seed, "sample_rate": rate})
            result = _train_and_test(corpus, fresh, division, features)
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
            name: float(np.mean([run[figure] for run in runs if run["fold"] == name]))
            for name, _ in divisions
        }
    return outcome | {
        "parameters": runs[0]["parameters"],
        "seconds": time.perf_counter() - start,
        "folds": runs,
    }


def divide(
    corpus: Corpus,
    rng: np.random.Generator,
    test_fold: str | None = None,
    test_fraction: float = 0.2,
    say: Say = lambda line: None,
) -> Division:
    """Part a corpus into training, validation and test, as it says itself, or by lot.

    Parameters
    ----------
    corpus : Corpus
        The recordings.
    rng : numpy.random.Generator
        Source of the lots.
    test_fold : str, optional
        The fold to test on, where the corpus has folds. By default the last one.
    test_fraction : float, default 0.2
        Part to test on, where the corpus gives neither split nor folds.
    say : callable, optional
        Takes a line for the user.

    Returns
    -------
    Division
        A split that the corpus gives is honoured, and it is said aloud where a group lies on both
        sides; one that is drawn never cuts through a group.

    Raises
    ------
    DataError
        If a class is on the test side only, is too small to be divided, or there is no such fold.
    """
    parts = np.array(corpus.parts or [""] * len(corpus))
    if test_fold is not None and (corpus.parts is not None or corpus.folds is None):
        raise DataError(
            f"{corpus.name}: gives {'a split' if corpus.parts else 'no folds'}; there is no fold to choose"
        )
    if corpus.parts is not None:
        is_test, is_validation = parts == "test", parts == "validation"
        how = "the manifest's split"
    else:
        is_validation = np.zeros(len(corpus), dtype=bool)
        if corpus.folds is not None:
            names = _sorted_folds(corpus.folds)
            test_fold = names[-1] if test_fold is None else test_fold
            if test_fold not in names:
                raise DataError(f"{corpus.name}: no fold {test_fold!r}; there are {', '.join(names)}")
            is_test = np.array(corpus.folds) == test_fold
            how = f"test on fold {test_fold} of {', '.join(names)}"
        else:
            is_test = _draw_test(corpus, test_fraction, rng)
            how = f"drawn by {corpus.group_column}" if corpus.groups else "drawn, stratified by class"
    division = _division(corpus, is_test, is_validation, say)
    say(
        f"{corpus.name}: {len(corpus)} clips of {len(set(corpus.labels))} classes; "
        f"{len(division.training)} to train, {len(division.validation) or 'some of them'} to validate, "
        f"{len(division.test)} to test ({how})"
    )
    return division


def _draw_test(corpus: Corpus, fraction: float, rng: np.random.Generator) -> np.ndarray:
    if not 0 <= fraction < 1:
        raise DataError(f"the test fraction lies in [0, 1), not {fraction!r}")
    if fraction == 0:
        return np.zeros(len(corpus), dtype=bool)
    for label, clips in Counter(corpus.labels).items():
        if clips < 2:
            path = corpus.paths[corpus.labels.index(label)]
            raise DataError(
                f"{path}: the only clip of class {label!r}, which cannot be both trained and tested on; add "
                "recordings, remove the class, or train without a test (--test-fraction 0)"
            )
    is_test = hold_out(corpus.labels, fraction, rng, corpus.groups, minimum=1)
    if not is_test.any():
        raise DataError(
            f"{corpus.name}: no {corpus.group_column} can be spared for a test without emptying a class; "
            f"add recordings of other {corpus.group_column}s, or train without a test (--test-fraction 0)"
        )
    return is_test


def _division(corpus: Corpus, is_test: np.ndarray, is_validation: np.ndarray, say: Say) -> Division:
    """Check a division, and say what should be known about it."""
    labels = np.array(corpus.labels)
    is_training = ~is_test & ~is_validation
    clips = Counter(labels[is_training].tolist())
    for label in sorted(set(corpus.labels) - set(clips)):
        path = corpus.paths[corpus.labels.index(label)]
        raise DataError(
            f"{path}: class {label!r} has no clip to train on; add recordings or remove the class"
        )
    if len(clips) < 2:
        raise DataError(
            f"{corpus.name}: all clips are of class {labels[0]!r}; at least two classes are needed"
        )
    for label, number in sorted(clips.items()):
        if number == 1:
            say(f"warning: class {label!r} has one clip to train on; it will hardly be recognised")
    disjoint = False
    if corpus.groups is not None:
        groups = np.array(corpus.groups)
        shared = sorted(set(groups[is_test]) & set(groups[~is_test]))
        disjoint = not shared
        if shared:
            say(
                f"warning: {len(shared)} {corpus.group_column}(s) are on both sides of the given split "
                f"({', '.join(shared[:8])}{', ...' if len(shared) > 8 else ''}): "
                "the figures say nothing about new ones"
            )
    training, validation, test = map(np.flatnonzero, (is_training, is_validation, is_test))
    return Division(training, validation, test, disjoint)


def _hint_at_new_groups(corpus: Corpus, classifier: AudioClassifier, division: Division, say: Say) -> None:
    new_speakers = corpus.group_column == "speaker" and division.groups_disjoint and len(division.test)
    if new_speakers and classifier.features.clip_normalisation == "none":
        say("hint: the test speakers are new; --clip-normalisation mean-variance often helps there")


def _divisions(corpus: Corpus, folds: str, say: Say) -> list[tuple[str, Division]]:
    """One named division per fold."""
    nobody = np.zeros(len(corpus), dtype=bool)
    if folds == "split" and corpus.parts is not None:
        parts = np.array(corpus.parts)
        return [("test", _division(corpus, parts == "test", parts == "validation", say))]
    column = None
    if folds == "fold":
        column = corpus.folds
    elif folds == corpus.group_column:
        column = corpus.groups
    if column is None:
        raise DataError(f"{corpus.name}: has no column {folds!r} to make folds of")
    names = _sorted_folds(column)
    if len(names) < 2:
        raise DataError(f"{corpus.name}: only one {folds}, {names[0]!r}; at least two are needed")
    return [(name, _division(corpus, np.array(column) == name, nobody, say)) for name in names]


def _sorted_folds(column: Sequence[str]) -> list[str]:
    """Distinct names, numbers in numerical order."""
    return sorted(
        set(column), key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name)
    )


def _features(
    corpus: Corpus, classifier: AudioClassifier, sample_rate: int, skip_bad: bool, say: Say
) -> dict[int, np.ndarray]:
    """Features of every good recording, by its index."""
    extraction = extract(corpus.paths, classifier.features, sample_rate, classifier.verbose)
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
    corpus: Corpus, classifier: AudioClassifier, division: Division, features: dict[int, np.ndarray]
) -> dict[str, Any]:
    """Fit on the training clips that have features, test on the test clips that have."""

    def good(indices: np.ndarray) -> list[int]:
        return [int(n) for n in indices if int(n) in features]

    def data(indices: list[int]) -> tuple[list[np.ndarray], list[str]]:
        return [features[n] for n in indices], [corpus.labels[n] for n in indices]

    training, validation, test = map(good, (division.training, division.validation, division.test))
    groups = [corpus.groups[n] for n in training] if corpus.groups and division.groups_disjoint else None
    classifier.fit(*data(training), groups, data(validation) if validation else None)
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
