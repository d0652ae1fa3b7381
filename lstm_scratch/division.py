"""Which clips train, which validate and which test: what a corpus says itself, or what is drawn."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from lstm_scratch.corpus import ALONE, Corpus, Part
from lstm_scratch.errors import DataError
from lstm_scratch.splits import hold_out

Say = Callable[[str], None]  # takes a line for the user
TestedPart = Literal["test", "validation"]
DRAWN_BY = 0  # seed of drawn folds: they are a protocol, and the same for every training


@dataclass(frozen=True)
class Division:
    """Which clips of a corpus serve which purpose, as indices."""

    training: np.ndarray
    validation: np.ndarray  # empty: the classifier takes its `validation_fraction`
    test: np.ndarray  # empty: there is no test
    groups_disjoint: bool  # nobody who is tested was heard in training
    test_fold: str | None = None  # which of the corpus's folds the test is

    def parts(self) -> list[Part]:
        """Tell of each clip which purpose it serves.

        Returns
        -------
        list of {"training", "validation", "test"}
            In the corpus's order.
        """
        part_of: dict[int, Part] = {}
        for part, indices in zip(get_args(Part), (self.training, self.validation, self.test), strict=True):
            part_of |= dict.fromkeys(indices.tolist(), part)
        return [part_of[n] for n in sorted(part_of)]


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
    division = _division(corpus, is_test, is_validation, say, test_fold)
    validation = f", {len(division.validation)} to validate" if len(division.validation) else ""
    say(
        f"{corpus.name}: {len(corpus)} clips of {len(set(corpus.labels))} classes; "
        f"{len(division.training)} to train{validation}, {len(division.test)} to test ({how})"
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


def divisions(
    corpus: Corpus, folds: str | int, part: TestedPart = "test", say: Say = lambda line: None
) -> list[tuple[str, Division]]:
    """Part a corpus once for every fold.

    Parameters
    ----------
    corpus : Corpus
        The recordings.
    folds : {"split", "fold", "speaker", "source", "group"} or int
        The corpus's own split (one fold), its folds, or leave out one group at a time; a number: as many
        folds are drawn, always the same ones, stratified by class, whole groups where the corpus has any.
    part : {"test", "validation"}, default "test"
        What is tested. "validation": each fold's test part is left out altogether, and the next fold
        (after the last, the first) takes its place; of a split, a fifth of the training rows,
        stratified by class, in whole groups if the split cuts through none.
    say : callable, optional
        Takes a line for the user.

    Returns
    -------
    list of tuple (str, Division)
        The name of each fold, and its division.

    Raises
    ------
    DataError
        If the corpus has no such column, too few clips or groups for so many folds, or a class would be
        on the test side only.
    """
    nobody = np.zeros(len(corpus), dtype=bool)
    if folds == "split" and corpus.parts is not None:
        parts = np.array(corpus.parts)
        if "test" not in parts:
            raise DataError(f"{corpus.name}: has no test rows to test on")
        masks = parts == "test", parts == "validation"
        if part == "test":
            return [("test", _division(corpus, *masks, say))]
        return [("test", _fifth_of_training(corpus, _division(corpus, *masks, lambda line: None), say))]
    if isinstance(folds, int):
        drawn = _draw_folds(corpus, folds, say)
        names = [str(k) for k in range(1, folds + 1)]
        tested = [drawn == k for k in range(folds)]
    else:
        column = {"fold": corpus.folds, corpus.group_column: corpus.groups}.get(folds)
        if column is None:
            raise DataError(f"{corpus.name}: has no column {folds!r} to make folds of")
        names = _sorted_folds([name for name in column if not name.startswith(ALONE)])
        if len(names) < 2:
            raise DataError(f"{corpus.name}: only one {folds}, {', '.join(names)!r}; at least two are needed")
        if len(clips_of_nobody := [name for name in column if name.startswith(ALONE)]):
            say(f"{len(clips_of_nobody)} clips without a {folds} are trained on, and never tested")
        tested = [np.array(column) == name for name in names]
    if part == "test":
        return [
            (name, _division(corpus, mask, nobody, say)) for name, mask in zip(names, tested, strict=True)
        ]
    if len(names) < 3:
        raise DataError(
            f"{corpus.name}: of two folds, one is left out and the other validates: none is left to "
            "train on; at least three are needed"
        )
    following = [*tested[1:], tested[0]]
    return [
        (name, _without(corpus, left_out, mask, nobody, say))
        for name, left_out, mask in zip(names, tested, following, strict=True)
    ]


def _without(
    corpus: Corpus, left_out: np.ndarray, is_test: np.ndarray, is_validation: np.ndarray, say: Say
) -> Division:
    """Divide as if some clips did not exist."""
    kept = np.flatnonzero(~left_out)
    division = _division(corpus.take(kept), is_test[kept], is_validation[kept], say)
    return replace(
        division,
        training=kept[division.training],
        validation=kept[division.validation],
        test=kept[division.test],
    )


def _fifth_of_training(corpus: Corpus, division: Division, say: Say) -> Division:
    """Leave out the test rows of a split, and test on a part of its training rows."""
    training = corpus.take(division.training)
    groups = training.groups if division.groups_disjoint else None
    held = hold_out(training.labels, 0.2, np.random.default_rng(DRAWN_BY), groups, minimum=1)
    if not held.any():
        raise DataError(
            f"{corpus.name}: no {corpus.group_column if groups else 'clip'} of the training rows can be "
            "spared to validate without emptying a class; add recordings"
        )
    left_out, is_test, is_validation = np.zeros((3, len(corpus)), dtype=bool)
    left_out[division.test] = True
    is_test[division.training[held]] = True
    is_validation[division.validation] = True
    return _without(corpus, left_out, is_test, is_validation, say)


def _draw_folds(corpus: Corpus, n_folds: int, say: Say) -> np.ndarray:
    """Deal clips, or whole groups, to so many folds; the number of each clip's fold.

    The largest group comes first, and each goes to the fold that has least of its classes, as parts of
    what there is of each class. scikit-learn's StratifiedGroupKFold is greedy in the same way.
    """
    unit = corpus.group_column or "clip"
    groups = list(range(len(corpus))) if corpus.groups is None else corpus.groups
    group_of = np.unique(groups, return_inverse=True)[1]
    classes, class_of = np.unique(corpus.labels, return_inverse=True)
    clips = np.zeros((group_of.max() + 1, len(classes)), np.int64)  # of each group and class
    np.add.at(clips, (group_of, class_of), 1)
    if n_folds < 2:
        raise DataError(f"at least two folds are needed, not {n_folds}")
    if len(clips) < n_folds:
        raise DataError(
            f"{corpus.name}: {len(clips)} {unit}(s) are too few for {n_folds} folds; "
            f"ask for {len(clips)} at the most, or add recordings"
        )
    for label, n in zip(classes, (clips > 0).sum(axis=0), strict=True):
        if n < n_folds:
            there = f"clips of {n} {unit}(s)" if corpus.groups else f"{n} clip(s)"
            raise DataError(
                f"{corpus.name}: class {str(label)!r} has {there}, too few for {n_folds} folds; "
                f"{f'ask for {n} at the most, ' if n > 1 else ''}add recordings, or remove the class"
            )
    order = np.random.default_rng(DRAWN_BY).permutation(len(clips))
    order = order[np.argsort(-clips[order].sum(axis=1), kind="stable")]
    dealt = np.zeros((n_folds, len(classes)), np.int64)
    fold_of = np.zeros(len(clips), np.int64)
    for group in order:
        share = dealt @ (clips[group] / clips.sum(axis=0))
        fold = np.lexsort((dealt.sum(axis=1), share.round(9)))[0]
        dealt[fold] += clips[group]
        fold_of[group] = fold
    how = f"drawn by {unit}" if corpus.groups else "drawn, stratified by class"
    say(f"{corpus.name}: folds of {', '.join(map(str, dealt.sum(axis=1)))} clips ({how})")
    for fold, label in np.argwhere(dealt == 0):
        say(f"warning: class {str(classes[label])!r} has no clip in fold {fold + 1}")
    return np.asarray(fold_of[group_of])


def evaluated_part(
    corpus: Corpus,
    part: str | None = None,
    test_fold: str | None = None,
    default_fold: str | None = None,
    say: Say = lambda line: None,
) -> Corpus:
    """Select the part of a corpus on which a trained model is to be tested.

    Parameters
    ----------
    corpus : Corpus
        The recordings.
    part : {"test", "validation", "training", "all"}, optional
        Which rows of a manifest that gives a split. By default the test rows, if there are any.
    test_fold : str, optional
        Which rows of a manifest that gives folds and no split.
    default_fold : str, optional
        The fold taken if neither is given, where there is one of that name.
    say : callable, optional
        Takes a line for the user.

    Returns
    -------
    Corpus
        Those rows.

    Raises
    ------
    DataError
        If there are none.
    """
    parts = list(corpus.parts or ())
    folds = list(corpus.folds or ()) if corpus.parts is None else []
    if test_fold is not None and corpus.parts is not None:
        raise DataError(f"{corpus.name}: gives a split; there is no fold to choose")
    if part not in (None, "all", *parts):
        raise DataError(f"{corpus.name}: has no {part} rows; --part all takes what there is")
    if part is None and "test" in parts:
        part = "test"
    if part in parts:
        chosen, name = [own == part for own in parts], f"{part} rows"
    elif test_fold is not None or (part is None and default_fold in folds):
        test_fold = test_fold if test_fold is not None else default_fold
        if test_fold not in folds:
            there = f"there are {', '.join(_sorted_folds(folds))}" if folds else "it gives no folds"
            raise DataError(f"{corpus.name}: no fold {test_fold!r}; {there}")
        chosen, name = [own == test_fold for own in folds], f"rows of fold {test_fold}"
    else:
        if part is None:
            say(f"{corpus.name} gives no test part: testing all, even what the model was trained on")
        return corpus
    say(f"testing the {sum(chosen)} {name} of {len(corpus)}; --part all takes all")
    return corpus.take(np.flatnonzero(chosen))


def _division(
    corpus: Corpus, is_test: np.ndarray, is_validation: np.ndarray, say: Say, test_fold: str | None = None
) -> Division:
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
            f"{corpus.name}: all clips are of class {corpus.labels[0]!r}; at least two classes are needed"
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
        shared = sorted(set(groups[is_training]) & set(groups[is_validation]))
        if shared and disjoint:
            say(
                f"warning: {len(shared)} {corpus.group_column}(s) are in training and in validation, but not "
                "in the test: the best epoch is chosen for known ones"
            )
    training, validation, test = map(np.flatnonzero, (is_training, is_validation, is_test))
    return Division(training, validation, test, disjoint, test_fold)


def _sorted_folds(column: Sequence[str]) -> list[str]:
    """Distinct names, numbers in numerical order."""
    return sorted(
        set(column), key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name)
    )
