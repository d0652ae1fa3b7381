"""Experiments: train on one part of a corpus, test on another, and put the outcome in figures.

Results are plain dicts, ready for JSON. What a user should know on the way is said in short lines,
through a function `say` that the caller gives.
"""

import contextlib
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from lstm_scratch.audio import AudioClassifier, Extraction, common_sample_rate, extract_features
from lstm_scratch.checks import check_number
from lstm_scratch.corpus import MANIFEST_NAME, Corpus
from lstm_scratch.division import Division, Say, TestedPart, divide, divisions, evaluated_part
from lstm_scratch.engines import warm_up
from lstm_scratch.errors import DataError, UserError
from lstm_scratch.feature_store import FeatureStore, open_store
from lstm_scratch.inspection import Inspector
from lstm_scratch.metrics import accuracy, confusion_matrix, unweighted_average_recall
from lstm_scratch.processes import in_processes
from lstm_scratch.recipe import plain_settings, settings_of
from lstm_scratch.results import Predictions, figures
from lstm_scratch.training import Epoch
from lstm_scratch.version import __version__

EvaluatedPart = Literal["test", "validation", "training", "all"]


def train(
    corpus: Corpus,
    classifier: AudioClassifier,
    *,
    test_fold: str | None = None,
    test_fraction: float = 0.2,
    skip_bad: bool = False,
    say: Say = lambda line: None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 10.0,
    resume: bool = False,
    on_epoch: Callable[[Epoch], None] | None = None,
    cache: str | os.PathLike[str] | None = None,
    near_copies: bool = True,
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
    checkpoint : path, optional
        A file that is written while training goes on, as of `SequenceClassifier.fit`.
    checkpoint_seconds : float, default 10
        From one checkpoint to the next.
    resume : bool, default False
        Go on from the checkpoint, if it is there.
    on_epoch : callable, optional
        Called with an `Epoch` after each.
    cache : path, optional
        A folder where features are kept, as of `feature_store.open_store`: the next time they are there, and
        nothing but a batch at a time is in memory. The results are the same to the bit.
    near_copies : bool, default True
        Look for recordings that are nearly the same, as of `inspection.Inspector`. What a cache knows of them
        is told in any case.

    Returns
    -------
    dict
        ``accuracy``, ``uar`` and ``confusion`` of the test part (None without one), ``n`` its clips,
        ``seconds`` in all, ``parameters``, ``classes`` with counts per class and part, ``corpus``, a
        `Report` of it as a dict, and more.

    Raises
    ------
    DataError
        If the corpus cannot be divided, recordings cannot be used, or the cache cannot be written.
    """
    start = time.perf_counter()
    classifier.check_settings()
    classifier.check_one_label_each()
    rng = np.random.default_rng(np.random.SeedSequence(classifier.random_state).spawn(4)[3])
    division = divide(corpus, rng, test_fold, test_fraction, say)
    rate = classifier.sample_rate
    if rate is None:
        heard = np.concatenate([division.training, division.validation])
        rate = common_sample_rate([corpus.paths[n] for n in heard])
    say(f"sound is analysed at {rate} Hz")
    classifier.set_params(sample_rate=rate)
    if not near_copies and cache is None:
        say("recordings that are nearly the same are not looked for")
    inspector = Inspector(near_copies)
    features = _features(corpus, classifier, rate, skip_bad, say, inspector, cache)
    report = inspector.report(corpus, division.parts(), rate)
    for line in report.lines():
        say(line)
    how: dict[str, Any] = {"checkpoint": checkpoint, "checkpoint_seconds": checkpoint_seconds}
    how |= {"resume": resume, "on_epoch": on_epoch}
    result, _ = _train_and_test(corpus, classifier, division, features, say, **how)
    result["corpus"] = report.to_dict()
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
    classifier.check_one_label_each()
    corpus = evaluated_part(corpus, part, test_fold, classifier.card_.get("test_fold"), say)
    known = {str(label) for label in classifier.classes_}
    for path, label in zip(corpus.paths, corpus.labels, strict=True):
        if label not in known:
            raise DataError(
                f"{path}: label {label!r} is none of the model's ({', '.join(sorted(known))}); "
                "remove these clips or train a model with that class"
            )
    features = _features(corpus, classifier, classifier.sample_rate_, skip_bad, say)
    result, _ = _test(corpus, classifier, sorted(features.places), features)
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
    classifier.check_one_label_each()
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
    folds: str | int,
    *,
    part: TestedPart = "test",
    seeds: Sequence[int] = (0,),
    processes: int = 1,
    skip_bad: bool = False,
    say: Say = lambda line: None,
    cache: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Train and test once for every fold and seed.

    Parameters
    ----------
    corpus : Corpus
        The recordings.
    classifier : AudioClassifier
        Its settings are used; it is trained anew each time.
    folds : {"split", "fold", "speaker", "source", "group"} or int
        The manifest's own split (one fold), its folds, or leave out one group at a time; a number: as many
        folds are drawn, stratified by class, disjoint in groups where the corpus has any.
    part : {"test", "validation"}, default "test"
        "validation": the figures are those of a part of the training data, to choose settings by, and each
        round's test part is left out altogether. See `divisions`.
    seeds : sequence of int, default (0,)
        The `random_state` of each round.
    processes : int, default 1
        How many rounds at once. From 2 on, each is in a process of its own, with one thread; the results
        are the same to the bit. A script then needs ``if __name__ == "__main__":``, as each process
        imports it.
    skip_bad : bool, default False
        Go on without recordings that cannot be used.
    say : callable, optional
        Takes a line for the user.
    cache : path, optional
        A folder where features are kept, as of `feature_store.open_store`: the next time they are there, and
        nothing but a batch at a time is in memory. The results are the same to the bit.

    Returns
    -------
    dict
        All that `results.figures` gives; ``folds``, a list of `train`'s results, one for each seed and
        fold; ``labels``, and ``clips`` with the number of each tested clip's ``label``, ``fold`` and
        ``group``, its ``row`` in the corpus, and what was ``predicted`` with each seed; ``resampled``, what
        a group is; ``settings`` of the classifier, ``protocol``, ``seeds``, ``data``, ``versions``,
        ``parameters`` and ``seconds``. Intervals are over groups, where none that is tested was heard
        in training, and otherwise over clips: they are then about known speakers.

    Raises
    ------
    DataError
        If the manifest has no such column, recordings cannot be used, or the cache cannot be written.
    SettingError
        If a setting is out of its range, or a process was killed.
    """
    start = time.perf_counter()
    classifier.check_settings()
    classifier.check_one_label_each()
    check_number("processes", processes, whole=True, at_least=1)
    check_number("the number of seeds", len(seeds), whole=True, at_least=1)
    parted = divisions(corpus, folds, part, say)
    # What is no part of any round is not looked at: neither for the rate nor for features.
    heard = _union(indices for _, d in parted for indices in (d.training, d.validation))
    used = _union([heard, *(division.test for _, division in parted)])
    rate = classifier.sample_rate or common_sample_rate([corpus.paths[n] for n in heard])
    found = _features(corpus.take(used), classifier, rate, skip_bad, say, cache=cache)
    features = _Features({used[k]: place for k, place in found.places.items()}, found.arrays)
    jobs = [(int(seed), name, division) for seed in seeds for name, division in parted]
    at_once = min(processes, len(jobs))
    fresh = type(classifier)(
        **classifier.get_params() | {"sample_rate": rate, "verbose": classifier.verbose and at_once == 1}
    )
    rounds: list[_Round] = []

    def tell(done: _Round) -> None:
        rounds.append(done)
        for line in done.lines:
            say(line)
        result = done.result
        if not result["n"]:
            raise DataError(f"{corpus.name}: none of the recordings of {folds} {result['fold']} can be used")
        say(
            f"{len(rounds)} of {len(jobs)}: seed {result['seed']}, {folds} {result['fold']}: "
            f"accuracy {100 * result['accuracy']:.2f} % of {result['n']}"
        )

    if at_once == 1:
        trainer = _Trainer(corpus, fresh, features)
        for job in jobs:
            tell(trainer(job))
    else:
        if fresh.engine == "numba":
            with contextlib.suppress(UserError):  # none here, or none that can be kept: each sees to itself
                warm_up()  # so that the processes find kernels compiled, and do not all begin with it
        with contextlib.nullcontext(features) if cache is not None else _on_disk(features) as shared:
            in_processes(_trainer, (corpus, fresh, shared), jobs, at_once, tell)
    return (
        _outcome(corpus, [name for name, _ in parted], seeds, rounds)
        | {
            "protocol": {"folds": folds, "part": part, "processes": processes, "skip_bad": skip_bad},
            "settings": plain_settings(settings_of(classifier) | {"engine": classifier.engine}),
            "data": _name(corpus),
            "versions": {"lstm_scratch": __version__, "numpy": np.__version__, "numba": _numba_version()},
            "parameters": rounds[0].result["parameters"],
            "seconds": time.perf_counter() - start,
        }
        | {"folds": [done.result for done in rounds]}
    )


@dataclass(frozen=True)
class _Features:
    """Features of the good recordings; or, where training changes them, their samples."""

    places: dict[int, int]  # by the recording's index
    arrays: Sequence[np.ndarray]  # in memory, or in a store

    def take(self, indices: list[int]) -> Sequence[np.ndarray]:
        """Give those of some recordings."""
        places = [self.places[n] for n in indices]
        if isinstance(self.arrays, FeatureStore):
            return self.arrays.take(places)
        return [self.arrays[place] for place in places]


class _Round(NamedTuple):
    """What one training and test gave."""

    result: dict[str, Any]  # with its seed and fold
    tested: dict[int, str]  # what each tested clip, by its index, was taken for
    by_groups: bool  # nobody who is tested was heard in training
    lines: list[str]  # for the user


@dataclass(frozen=True)
class _Trainer:
    """Does the rounds of a cross-validation."""

    corpus: Corpus
    classifier: AudioClassifier
    features: _Features

    def __call__(self, job: tuple[int, str, Division]) -> _Round:
        seed, name, division = job
        lines: list[str] = []
        fresh = type(self.classifier)(**self.classifier.get_params() | {"random_state": seed})
        result, tested = _train_and_test(self.corpus, fresh, division, self.features, lines.append)
        return _Round({"seed": seed, "fold": name} | result, tested, division.groups_disjoint, lines)


class _ArrayFile(NamedTuple):
    """Arrays of one width (samples: of none), one after the other in a file."""

    path: str
    dtype: str
    width: tuple[int, ...]
    lengths: list[int]
    places: dict[int, int]


@contextlib.contextmanager
def _on_disk(features: _Features) -> Iterator[_ArrayFile]:
    """Put features where processes find them without a copy for each.

    A file that all map shares its pages, as shared memory would. But that is what a container has little of,
    and a file is written with an error where room is lacking, and not with a crash.
    """
    with tempfile.TemporaryDirectory(prefix="lstm-scratch-") as folder:
        path = Path(folder) / "features"
        first = features.arrays[0]
        try:
            with path.open("wb") as file:
                for array in features.arrays:
                    file.write(np.ascontiguousarray(array).data)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror}, for a copy of the features; set TMPDIR to another folder",
                folder,
            ) from None
        lengths = [len(array) for array in features.arrays]
        yield _ArrayFile(str(path), first.dtype.str, first.shape[1:], lengths, features.places)


def _trainer(corpus: Corpus, classifier: AudioClassifier, shared: _ArrayFile | _Features) -> _Trainer:
    """Make what does the rounds, in a process that finds the features in a file, or in a store."""
    if isinstance(shared, _ArrayFile):
        flat = np.asarray(np.memmap(shared.path, shared.dtype, "r")).reshape(-1, *shared.width)
        shared = _Features(shared.places, np.split(flat, np.cumsum(shared.lengths)[:-1]))
    return _Trainer(corpus, classifier, shared)


def _union(parts: Iterable[np.ndarray | list[int]]) -> list[int]:
    return sorted({int(n) for part in parts for n in part})


def _outcome(corpus: Corpus, folds: list[str], seeds: Sequence[int], rounds: list[_Round]) -> dict[str, Any]:
    """Put together what the rounds predicted, clip by clip, and work out the figures."""
    labels = sorted(set(corpus.labels))
    number = {label: k for k, label in enumerate(labels)}
    fold_of = {n: folds.index(done.result["fold"]) for done in rounds for n in done.tested}
    rows = sorted(fold_of)
    by_seed: dict[int, dict[int, str]] = {}
    for done in rounds:
        by_seed.setdefault(done.result["seed"], {}).update(done.tested)
    by_groups = corpus.groups is not None and all(done.by_groups for done in rounds)
    groups = [corpus.groups[n] if corpus.groups and by_groups else n for n in rows]
    clips = Predictions(
        np.array([number[corpus.labels[n]] for n in rows]),
        np.array([fold_of[n] for n in rows]),
        np.unique(groups, return_inverse=True)[1],
        np.array([[number[by_seed[seed][n]] for n in rows] for seed in seeds]),
    )
    return figures(clips, folds) | {
        "seeds": [int(seed) for seed in seeds],
        "labels": labels,
        "resampled": corpus.group_column if by_groups else "clip",
        "clips": {"row": rows} | {name: array.tolist() for name, array in clips._asdict().items()},
    }


def _name(corpus: Corpus) -> str:
    """Name the data by a file or a folder; `manifest.csv` is what many are called."""
    path = Path(corpus.name).absolute()
    return path.parent.name if path.name == MANIFEST_NAME else path.name


def _numba_version() -> str | None:
    try:
        return version("numba")  # which takes its time to import
    except PackageNotFoundError:
        return None


def _features(
    corpus: Corpus,
    classifier: AudioClassifier,
    sample_rate: int,
    skip_bad: bool,
    say: Say,
    inspector: Inspector | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> _Features:
    """Features, or samples that training changes, of every good recording.

    An inspector hears them all, and tells of silence.
    """
    if cache is not None:
        if classifier.hears:
            say(
                "training changes sound, so it reads every recording again in every epoch, beside the cache; "
                "not with --set probability=0 --set vtln=none --set tempo=none"
            )
        extraction = _stored(cache, corpus, classifier, sample_rate, inspector)
    else:
        how: dict[str, Any] = {"keep_samples": classifier.hears}
        if inspector is not None:
            how["heard"] = inspector.add
        verbose = classifier.verbose
        extraction = extract_features(corpus.paths, classifier.features, sample_rate, verbose, **how)
    for error in extraction.bad:
        say(f"{'left out' if skip_bad else 'bad'}: {error}")
    if extraction.bad and not skip_bad:
        others = f" (and {len(extraction.bad) - 1} more, above)" if len(extraction.bad) > 1 else ""
        raise DataError(f"{extraction.bad[0]}{others}; or leave bad recordings out with --skip-bad")
    if not extraction.kept:
        raise DataError(f"{corpus.name}: none of its {len(corpus)} recordings can be used")
    for name in extraction.silent if inspector is None else ():
        say(f"warning: {name}: silent, all samples are zero")
    arrays = extraction.samples if classifier.hears and cache is None else extraction.features
    return _Features({n: place for place, n in enumerate(extraction.kept)}, arrays)


@contextlib.contextmanager
def _silence_known() -> Iterator[None]:
    """Let a classifier that is given samples not warn of silence, which `_features` told of by its file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"array \d+: silent")
        yield


def _stored(
    cache: str | os.PathLike[str],
    corpus: Corpus,
    classifier: AudioClassifier,
    sample_rate: int,
    inspector: Inspector | None,
) -> Extraction:
    """See to it that features are in a store; what inspection asks is in it, too."""
    store = open_store(
        cache,
        corpus.paths,
        classifier.features,
        sample_rate,
        skip_bad=True,
        verbose=classifier.verbose,
    )
    bad = store.bad
    kept = [n for n in range(len(store)) if n not in bad]
    silent = []
    for n in kept:
        name, heard = str(corpus.paths[n]), store.heard(n)
        if heard.is_silent:
            silent.append(name)
        if inspector is not None:
            inspector.add_heard(name, heard)
    return Extraction(store.take(kept), kept, [bad[n] for n in sorted(bad)], silent, [])


def _train_and_test(
    corpus: Corpus,
    classifier: AudioClassifier,
    division: Division,
    features: _Features,
    say: Say,
    **how: Any,
) -> tuple[dict[str, Any], dict[int, str]]:
    """Fit on the training clips that have features, test on the test clips that have.

    Returned are the figures, and what each tested clip was taken for.
    """

    def good(indices: np.ndarray) -> list[int]:
        return [int(n) for n in indices if int(n) in features.places]

    def data(indices: list[int]) -> tuple[Sequence[np.ndarray], list[str]]:
        return features.take(indices), [corpus.labels[n] for n in indices]

    training, validation, test = map(good, (division.training, division.validation, division.test))
    trained = {corpus.labels[n] for n in training}
    for n in (*validation, *test):
        if corpus.labels[n] not in trained:
            raise DataError(
                f"{corpus.paths[n]}: none of the recordings of class {corpus.labels[n]!r} to train on can be "
                "used; mend one, or remove the class"
            )
    groups = [corpus.groups[n] for n in training] if corpus.groups and division.groups_disjoint else None
    with _silence_known():
        classifier.fit(*data(training), groups, data(validation) if validation else None, **how)
    if classifier.history_[0]["validation_loss"] is None:
        if classifier.validation_fraction:
            say("warning: no clips can be spared for a validation part; the last epoch is kept")
        elif classifier.patience is not None:
            say("warning: there is no patience without a validation part; give --validation-fraction, too")
    result, predicted = _test(corpus, classifier, test, features)
    for label, counts in classifier.card_["clips"].items():
        result["classes"][label] |= counts
    return result | {"epochs": len(classifier.history_), "seed": classifier.random_state}, predicted


def _test(
    corpus: Corpus, classifier: AudioClassifier, indices: list[int], features: _Features
) -> tuple[dict[str, Any], dict[int, str]]:
    """Figures of merit over some of the clips, None where there are none; and what each was taken for."""
    names = [str(label) for label in classifier.classes_]
    confusion = np.zeros((len(names), len(names)), np.int64)
    predicted = np.zeros(0, np.intp)
    if indices:
        with _silence_known():
            predicted = classifier.predict_proba(features.take(indices)).argmax(axis=1)
        true = np.array([names.index(corpus.labels[n]) for n in indices])
        confusion = confusion_matrix(true, predicted, len(names))
    figures_of_merit = {
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
    return figures_of_merit, {n: names[k] for n, k in zip(indices, predicted.tolist(), strict=True)}
