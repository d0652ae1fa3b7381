"""Figures are those of the predictions, intervals agree with closed forms, and files are told apart."""

import json
import re

import numpy as np
import pytest
from scipy.stats import beta, binom, norm, t

from lstm_scratch import results
from lstm_scratch.errors import DataError
from lstm_scratch.metrics import accuracy, confusion_matrix, unweighted_average_recall
from lstm_scratch.recipe import build_classifier, plain_settings, read_recipe, settings_of
from lstm_scratch.results import (
    Predictions,
    changed,
    figures,
    interval,
    markdown_table,
    read_results,
    save_results,
    table_row,
)

METRICS = {"accuracy": accuracy, "uar": unweighted_average_recall}


@pytest.fixture
def clips():
    """31 clips of three classes in folds of 5, 9 and 17, with four seeds; the first fold lacks a class."""
    rng = np.random.default_rng(1)
    fold = np.repeat([0, 1, 2], [5, 9, 17])
    label = np.where(fold == 0, rng.integers(2, size=31), rng.integers(3, size=31))
    predicted = np.where(rng.random((4, 31)) < 0.6, label, rng.integers(3, size=(4, 31)))
    return Predictions(label, fold, np.arange(31) // 3, predicted)


def plain(values, groups=None):
    """The interval of a plain mean."""
    values = np.asarray(values, float)
    weights = np.full(len(values), 1 / len(values))
    groups = np.arange(len(values)) if groups is None else groups
    return interval(values, weights, groups, np.zeros(len(values), int))


# Figures.


def test_figures_are_means_over_the_seeds_of_means_over_the_folds(clips):
    found = figures(clips, ["x", "y", "z"])
    assert (found["n"], found["n_groups"]) == (31, 11)
    for name, metric in METRICS.items():
        values = np.array(
            [
                [
                    metric(confusion_matrix(clips.label[clips.fold == k], row[clips.fold == k], 3))
                    for k in range(3)
                ]
                for row in clips.predicted
            ]
        )
        assert found[name] == pytest.approx(values.mean())
        assert found[f"{name}_sd"] == pytest.approx(values.mean(axis=1).std(ddof=1))
        assert found[f"{name}_by_fold"] == pytest.approx(dict(zip("xyz", values.mean(axis=0), strict=True)))
        low, high = found[f"{name}_interval"]
        assert low < found[name] < high
    assert found["accuracy"] != pytest.approx(found["uar"], abs=1e-3)


def test_one_seed_has_no_spread_and_one_group_no_interval(clips):
    one = clips._replace(predicted=clips.predicted[:1], group=np.zeros(31, int))
    found = figures(one, ["x", "y", "z"])
    assert (found["accuracy_sd"], found["uar_sd"]) == (None, None)
    assert (found["accuracy_interval"], found["uar_interval"], found["n_groups"]) == (None, None, 1)


def test_a_fold_without_clips_does_not_count(clips):
    kept = clips.take(clips.fold != 1)
    found = figures(kept, ["x", "y", "z"])
    assert list(found["accuracy_by_fold"]) == ["x", "z"]
    assert found["accuracy"] == pytest.approx(np.mean(list(found["accuracy_by_fold"].values())))


# Intervals.


@pytest.mark.parametrize(("n", "right"), [(40, 29), (200, 164), (1001, 930)])
def test_the_interval_of_a_proportion_is_the_binomial_distributions(n, right):
    """Clips drawn with replacement are right as often as the binomial distribution says, in closed form."""
    low, high = plain(np.arange(n) < right)
    tail = norm.cdf(-t.ppf(0.975, n - 1) * np.sqrt(n / (n - 1)))
    assert tail == pytest.approx(0.025, rel=0.2)
    expected = binom.ppf([tail, 1 - tail], n, right / n) / n
    assert [low, high] == pytest.approx(expected, abs=1.01 / n), "to one clip: it is drawn"


@pytest.mark.parametrize("n_groups", [12, 30])
def test_the_interval_of_groups_of_one_size_is_students(n_groups):
    """Of values that are as evenly spread as a normal distribution's quantiles."""
    of_group = 0.5 + 0.1 * norm.ppf((np.arange(n_groups) + 0.5) / n_groups)
    low, high = plain(np.repeat(of_group, 7), np.repeat(np.arange(n_groups), 7))
    half = t.ppf(0.975, n_groups - 1) * of_group.std(ddof=1) / np.sqrt(n_groups)
    assert [low, high] == pytest.approx([0.5 - half, 0.5 + half], abs=0.08 * half)


def test_clips_of_a_group_count_as_one_if_they_agree():
    of_group = np.array([0.2, 0.9, 0.4, 1.0, 0.7])
    once = plain(of_group)
    assert plain(np.repeat(of_group, 6), np.repeat([0, 1, 2, 3, 4], 6)) == pytest.approx(once)
    apart = plain(np.repeat(of_group, 6))
    assert apart[1] - apart[0] < 0.6 * (once[1] - once[0]), "thirty who are independent tell more"


def test_each_draw_is_a_uar_of_the_clips_drawn(monkeypatch):
    """Every draw, by the confusion matrix of its clips, in which a class may be missing."""
    monkeypatch.setattr(results, "DRAWS", 500)
    label = np.array([0] * 9 + [1] * 4 + [2] * 2)
    right = np.array([1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 0, 1, 0, 1, 0])
    group = np.array([0, 0, 1, 2, 3, 3, 4, 5, 6, 0, 4, 4, 5, 2, 6])
    clips = Predictions(label, np.zeros(15, int), group, np.where(right, label, (label + 1) % 3)[None])
    rng, drawn = np.random.default_rng(0), []
    for _ in range(500):
        chosen = np.concatenate([np.flatnonzero(group == g) for g in rng.integers(7, size=7)])
        drawn.append(
            unweighted_average_recall(confusion_matrix(label[chosen], clips.predicted[0, chosen], 3))
        )
    tail = norm.cdf(-t.ppf(0.975, 6) * np.sqrt(7 / 6))
    assert figures(clips, ["x"])["uar_interval"] == pytest.approx(np.quantile(drawn, [tail, 1 - tail]))


@pytest.mark.parametrize("n", [6, 300])
def test_where_all_is_right_the_bounds_are_those_of_clopper_and_pearson(n):
    assert plain(np.ones(n)) == pytest.approx([beta.ppf(0.025, n, 1), 1])
    assert plain(np.zeros(n)) == pytest.approx([0, beta.ppf(0.975, 1, n)])
    assert plain(np.ones(5 * n), np.repeat(np.arange(n), 5)) == plain(np.ones(n))


def test_an_interval_covers_what_it_is_to_cover_even_of_few_speakers(monkeypatch):
    """Six speakers, of 50 clips each, who are understood 80 % on average: 300 times anew."""
    monkeypatch.setattr(results, "DRAWS", 1000)
    group, found = np.repeat(np.arange(6), 50), []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        values = rng.random(300) < np.repeat(rng.normal(0.8, 0.07, size=6), 50)
        found.append([low <= 0.8 <= high for low, high in (plain(values, group), plain(values))])
    by_group, by_clip = np.mean(found, axis=0)
    assert 0.91 <= by_group <= 0.98
    assert by_clip < 0.85, "as if clips of a speaker were independent: too narrow"


# Files and tables.


@pytest.fixture
def outcome(clips):
    """As `cross_validate` returns it, of the fixture `clips`."""
    return figures(clips, ["x", "y", "z"]) | {
        "seeds": [0, 1, 2, 3],
        "labels": ["no", "silence", "yes"],
        "resampled": "speaker",
        "clips": {name: array.tolist() for name, array in clips._asdict().items()},
        "protocol": {"folds": "fold", "part": "test", "processes": 2, "skip_bad": False},
        "settings": {"delta_order": 2, "stack": 5, "hidden_size": 48, "dropout": 0.25},
        "recipe": "default",
        "data": "words",
        "parameters": 12_345,
        "seconds": 67.8,
    }


@pytest.fixture
def saved(tmp_path, outcome):
    save_results(tmp_path / "r.json", outcome)
    return tmp_path / "r.json"


def test_what_is_saved_is_read_again(saved, outcome):
    assert read_results(saved) == outcome


def test_a_row_tells_what_was_done_and_found(saved, outcome):
    row = table_row(saved)
    assert (row["recipe"], row["changed"]) == ("default", {"stack": 5, "dropout": 0.25})
    assert (row["data"], row["folds"], row["part"], row["n_seeds"]) == ("words", "fold", "test", 4)
    for name in ("n", "n_groups", "accuracy", "uar_interval", "accuracy_sd", "uar_by_fold", "parameters"):
        assert row[name] == outcome[name]


def test_a_row_tells_of_short_cuts(tmp_path, outcome):
    settings = plain_settings(settings_of(build_classifier(read_recipe("digits").choose(fast=True))))
    fast = outcome | {"recipe": "digits", "fast": True, "settings": settings | {"dropout": 0.25}}
    save_results(tmp_path / "fast.json", fast)
    row = table_row(tmp_path / "fast.json")
    assert (row["recipe"], row["changed"]) == ("digits --fast", {"dropout": 0.25})


def test_clips_of_some_classes_are_left_out_but_not_what_others_are_taken_for(saved, clips, outcome):
    row = table_row(saved, ["silence"])
    kept = clips.label != 1
    assert row["n"] == kept.sum() < 31
    recalls = [
        np.mean(clips.predicted[:, kept & (clips.fold == k)] == clips.label[kept & (clips.fold == k)])
        for k in range(3)
    ]
    assert row["accuracy"] == pytest.approx(np.mean(recalls))
    assert row["accuracy"] != pytest.approx(outcome["accuracy"], abs=1e-3)
    assert (clips.predicted[:, kept] == 1).any(), "some are taken for silence, and are wrong"
    with pytest.raises(DataError, match=r"r\.json: no class 'noise'; there are no, silence, yes"):
        table_row(saved, ["silence", "noise"])
    with pytest.raises(DataError, match=r"r\.json: no clip is left without no, silence, yes"):
        table_row(saved, ["no", "silence", "yes"])


def test_the_table_is_as_the_readme_shows_it():
    row = {"data": "fsdd", "n": 3000, "folds": "speaker", "part": "test", "changed": {}, "parameters": 79_690}
    row["recipe"] = "digits"
    row |= {"accuracy": 0.824, "accuracy_sd": 0.0225, "accuracy_interval": [0.71, 0.915], "n_seeds": 3}
    row |= {"seconds": 211.6, "n_groups": 6, "resampled": "speaker"}
    row |= {"uar": 0.5, "uar_sd": None, "uar_interval": None}
    other = row | {"folds": 5, "part": "validation", "changed": {"hidden_size": 64, "a": "x|y"}}
    assert markdown_table([row, other]).splitlines() == [
        "| data | folds | recipe | parameters | accuracy (95 % interval) | spread over seeds | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| fsdd (3,000 clips) | speaker | digits | 79,690 | 82.40 % (71.00 to 91.50 %, over 6 speakers) "
        "| 2.25 (3 seeds) | 212 |",
        "| fsdd (3,000 clips) | 5, validation part | digits, hidden_size=64, a=x\\|y | 79,690 "
        "| 82.40 % (71.00 to 91.50 %, over 6 speakers) | 2.25 (3 seeds) | 212 |",
    ]
    table = markdown_table([row], "uar", ["silence", "unknown"]).splitlines()
    assert "| UAR without silence, unknown (95 % interval) |" in table[0]
    assert table[2] == "| fsdd (3,000 clips) | speaker | digits | 79,690 | 50.00 % | 1 seed | 212 |"


def test_settings_are_compared_with_the_recipe_of_today():
    assert changed({"delta_order": 2, "stack": 4, "hidden_size": 48, "class_weight": None}) == {}
    assert changed({"delta_order": 0, "stack": 4, "vtln": [0.9, 1.1]}) == {
        "delta_order": 0,
        "vtln": [0.9, 1.1],
    }
    new = {"colour": "red", "sleep": 3, "epochs": 9}
    assert changed(new) == new
    digits = {"hidden_size": 36, "vtln": [0.85, 1.18], "top_db": None}
    assert changed(digits, "digits") == {}
    assert changed(digits) == changed(digits, "/of/somebody/else.toml") == digits
    short = plain_settings(settings_of(build_classifier(read_recipe("digits").choose(fast=True))))
    assert changed(short, "digits", fast=True) == {}
    assert changed(short, "digits")["vtln"] is None
    assert changed(digits, "/of/somebody/else.toml", fast=True) == digits
    everything = settings_of(build_classifier(read_recipe("digits").settings))
    assert changed(everything, "digits") == changed(plain_settings(everything), "digits") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no such file; `lstm-scratch cross-validate DATA ... -o"),
        (b"\xff\xfe", "not a whole JSON file"),
        (b'{"kind": "lstm-sc', "not a whole JSON file"),
        (b"[1, 2]", "holds no results of a cross-validation; name a file that"),
        (b'{"accuracy": 0.5}', "holds no results of a cross-validation"),
        (
            json.dumps({"kind": results.KIND, "format_version": 7}).encode(),
            "results of format 7, but this lstm-scratch reads format 1; use the version that wrote it",
        ),
        (
            json.dumps({"kind": results.KIND, "format_version": 1}).encode(),
            r"damaged or made by hand (KeyError('protocol')); copy it again",
        ),
    ],
)
def test_a_file_of_another_kind_is_told(tmp_path, text, said):
    path = tmp_path / "other.json"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(DataError, match=re.escape(f"{path}: {said}")):
        table_row(path)
