"""Drawn folds hold every class in proportion and whole groups; a validation part never meets a test part."""

from pathlib import Path

import numpy as np
import pytest

from lstm_scratch.corpus import ALONE, Corpus
from lstm_scratch.division import divisions
from lstm_scratch.errors import DataError


def corpus_of(labels, groups=None, parts=None, folds=None):
    paths = [Path(f"{n}.wav") for n in range(len(labels))]
    return Corpus("corpus", paths, list(labels), groups and "speaker", groups, parts, folds)


def test_drawn_folds_hold_every_class_in_proportion_and_each_clip_once():
    corpus = corpus_of("a" * 50 + "b" * 23 + "c" * 7)
    lines = []
    parted = divisions(corpus, 5, say=lines.append)
    assert [name for name, _ in parted] == ["1", "2", "3", "4", "5"]
    assert sorted(np.concatenate([d.test for _, d in parted]).tolist()) == list(range(80))
    labels = np.array(corpus.labels)
    for _, division in parted:
        assert sorted([*division.training, *division.test]) == list(range(80))
        a, b, c = ((labels[division.test] == label).sum() for label in "abc")
        assert (a, b in (4, 5), c in (1, 2), a + b + c) == (10, True, True, 16)
        assert not division.groups_disjoint
    assert lines == ["corpus: folds of 16, 16, 16, 16, 16 clips (drawn, stratified by class)"]
    again = divisions(corpus, 5)
    assert all(np.array_equal(x.test, y.test) for (_, x), (_, y) in zip(parted, again, strict=True))
    assert not np.array_equal(parted[0][1].test, np.arange(0, 80, 5)), "they are drawn, not dealt in order"


@pytest.mark.parametrize("seed", range(5))
def test_drawn_folds_cut_through_no_group_and_stay_even(seed):
    rng = np.random.default_rng(seed)
    groups = [f"s{n}" for n in rng.integers(40, size=600)]
    corpus = corpus_of(rng.choice(list("abc"), 600, p=[0.6, 0.3, 0.1]).tolist(), groups)
    parted = divisions(corpus, 4)
    everyone = [{groups[n] for n in d.test} for _, d in parted]
    assert sum(map(len, everyone)) == len(set(groups)), "each group is in one fold"
    labels = np.array(corpus.labels)
    for _, division in parted:
        assert division.groups_disjoint
        assert not {groups[n] for n in division.training} & {groups[n] for n in division.test}
        for label in "abc":
            wanted = (labels == label).sum() / 4
            assert abs((labels[division.test] == label).sum() - wanted) <= 0.25 * wanted + 2
        assert abs(len(division.test) - 150) <= 15


def test_clips_of_nobody_are_dealt_one_by_one():
    groups = ["ada"] * 6 + ["ben"] * 6 + [f"{ALONE}{n}" for n in range(12)]
    parted = divisions(corpus_of("ab" * 12, groups), 3)
    assert [len(d.test) for _, d in parted] == [8, 8, 8]
    for name in ("ada", "ben"):
        assert sum(any(groups[n] == name for n in d.test) for _, d in parted) == 1


@pytest.mark.parametrize(
    ("labels", "groups", "folds", "said"),
    [
        ("ab" * 6, None, 13, r"corpus: 12 clip\(s\) are too few for 13 folds; ask for 12 at the most"),
        ("a" * 9 + "bb", None, 3, r"class 'b' has 2 clip\(s\), too few for 3 folds; ask for 2 at the most"),
        ("a" * 9 + "b", None, 3, r"class 'b' has 1 clip\(s\), too few for 3 folds; add recordings"),
        ("ab" * 3, ["x", "x", "y", "y", "z", "z"], 4, r"3 speaker\(s\) are too few for 4 folds; ask for 3"),
        (
            "aabbab",
            ["x", "y", "z", "z", "z", "y"],
            3,
            r"class 'b' has clips of 2 speaker\(s\), too few for 3",
        ),
        ("ab" * 6, None, 1, "at least two folds are needed, not 1"),
    ],
)
def test_too_few_clips_or_groups_for_so_many_folds_are_told(labels, groups, folds, said):
    with pytest.raises(DataError, match=said):
        divisions(corpus_of(labels, groups), folds)


def test_a_fold_that_lacks_a_class_is_said_aloud():
    """Each of two speakers fills a fold with a and b; two who say c, and a or b, are left to the third."""
    groups = ["x"] * 40 + ["w"] * 40 + ["y"] * 21 + ["z"] * 20 + ["v"]
    labels = [*"ab" * 40, *"a" * 20, "c", *"b" * 19, "c", "c"]
    lines = []
    parted = divisions(corpus_of(labels, groups), 3, say=lines.append)
    everyone = [{groups[n] for n in d.test} for _, d in parted]
    assert {"y", "z"} in everyone
    (lacking,) = (k for k, group in enumerate(everyone, 1) if not group & set("yzv"))
    said = [line for line in lines if "in fold" in line]
    assert said == [f"warning: class 'c' has no clip in fold {lacking}"]


@pytest.mark.parametrize("folds", ["fold", "speaker", 4])
def test_to_validate_the_next_fold_is_tested_and_the_test_part_is_left_out(folds):
    named = [str(n % 4) for n in range(48)]
    corpus = corpus_of("aaaabbbbcccc" * 4, named, folds=named)
    tested = dict(divisions(corpus, folds))
    validated = dict(divisions(corpus, folds, "validation"))
    names = list(tested)
    assert list(validated) == names
    for k, name in enumerate(names):
        following = names[(k + 1) % 4]
        assert validated[name].test.tolist() == tested[following].test.tolist()
        others = np.concatenate([tested[x].test for x in names if x not in (name, following)])
        assert validated[name].training.tolist() == sorted(others.tolist())
        assert len(validated[name].validation) == 0
        assert validated[name].groups_disjoint


def test_to_validate_three_folds_are_needed():
    corpus = corpus_of("ab" * 6, folds=["1", "1", "2", "2"] * 3)
    with pytest.raises(
        DataError, match=r"corpus: of two folds, one is left out .* at least three are needed"
    ):
        divisions(corpus, "fold", "validation")


@pytest.mark.parametrize("shared", [True, False])
def test_of_a_split_a_fifth_of_the_training_rows_validates(shared):
    """In whole groups only where the split itself is: then ten speakers train, of whom two validate."""
    parts = ["training"] * 50 + ["validation"] * 4 + ["test"] * 10
    groups = [f"s{n % 10}" for n in range(50)] + ["v"] * 4 + (["s0"] if shared else ["t"]) * 10
    labels = ["ab"[n // 10 % 2] for n in range(50)] + list("abab") + list("ab" * 5)
    corpus = corpus_of(labels, groups, parts)
    lines = []
    ((name, division),) = divisions(corpus, "split", "validation", lines.append)
    assert name == "test"
    assert division.validation.tolist() == [50, 51, 52, 53], "by which the epoch is chosen, as always"
    assert sorted([*division.training, *division.test]) == list(range(50))
    counts = [sum(labels[n] == label for n in division.test) for label in "ab"]
    assert counts == [6, 4]
    assert division.groups_disjoint is not shared
    together = {groups[n] for n in division.training} & {groups[n] for n in division.test}
    assert bool(together) is shared
    assert sum("both sides" in line for line in lines) == int(shared)


def test_training_rows_of_which_none_can_be_spared_are_told():
    corpus = corpus_of("abab", list("xyzz"), ["training", "training", "test", "test"])
    with pytest.raises(DataError, match="no speaker of the training rows can be spared to validate"):
        divisions(corpus, "split", "validation")
