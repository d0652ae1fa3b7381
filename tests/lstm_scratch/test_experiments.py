"""Given splits are honoured, drawn ones part no group, and the figures are those of the clips tested."""

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lstm_scratch.audio import AudioClassifier
from lstm_scratch.corpus import ALONE, Corpus, read_corpus
from lstm_scratch.division import divide
from lstm_scratch.errors import DataError, SettingError
from lstm_scratch.experiments import cross_validate, evaluate, train
from lstm_scratch.recipe import settings_of
from lstm_scratch.sound import AudioError

SHARED = Path(__file__).parents[3] / "shared" / "data"


def table(rows, columns="label,speaker,part,fold", group_column="speaker"):
    """Make a corpus of rows such as ("yes", "anna", "test"), for tests that open no file."""
    cells = dict(zip(columns.split(","), zip(*rows, strict=True), strict=False))
    paths = [Path(f"{n}.wav") for n in range(len(rows))]
    groups = cells.get("speaker")
    return Corpus(
        "corpus", paths, cells["label"], groups and group_column, groups, cells.get("part"), cells.get("fold")
    )


def division_of(corpus, seed=0, **options):
    lines = []
    division = divide(corpus, np.random.default_rng(seed), say=lines.append, **options)
    together = np.concatenate([division.training, division.validation, division.test])
    assert sorted(together.tolist()) == list(range(len(corpus))), "each clip serves one purpose"
    return division, lines


@pytest.fixture
def tone_corpus(tones):
    """Eight clips of each of three tones; clip n of each is spoken by n % 4."""
    corpus = read_corpus(tones)
    speakers = [f"s{int(path.stem) % 4}" for path in corpus.paths]
    return Corpus(corpus.name, corpus.paths, corpus.labels, "speaker", speakers)


@pytest.fixture
def fits(monkeypatch, tiny, tones):
    """What every call of `fit` was given: names of the training and validation clips, and the groups."""
    files = sorted(tones.glob("*/*.wav"))
    names = [f"{path.parent.name}/{path.stem}" for path in files]
    features = tiny(sample_rate=8000).extract(files)
    name_of = {array.tobytes(): name for array, name in zip(features, names, strict=True)}
    calls = []
    fit = AudioClassifier.fit

    def spy(self, X, y, groups=None, validation_data=None, **how):
        training, validation = (
            [name_of[x.tobytes()] for x in part] for part in (X, (validation_data or [[]])[0])
        )
        assert [name.split("/")[0] for name in training] == list(y)
        calls.append((training, validation, groups))
        return fit(self, X, y, groups, validation_data, **how)

    monkeypatch.setattr(AudioClassifier, "fit", spy)
    return calls


def test_a_training_of_a_corpus_goes_on_from_its_checkpoint(tone_corpus, tiny, tmp_path):
    path, told = tmp_path / "checkpoint", []

    def stop(epoch):
        told.append(epoch.epoch)
        if epoch.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tone_corpus, tiny(epochs=5), checkpoint=path, checkpoint_seconds=0, on_epoch=stop)
    told.clear()
    resumed, whole = tiny(epochs=5), tiny(epochs=5)
    train(tone_corpus, resumed, checkpoint=path, resume=True, on_epoch=lambda epoch: told.append(epoch.epoch))
    train(tone_corpus, whole)
    assert told == [3, 4, 5]
    for name, array in whole.params_.items():
        assert resumed.params_[name].tobytes() == array.tobytes()
    assert resumed.history_ == whole.history_


# Dividing: no file is opened.


def test_a_given_split_is_honoured_to_the_clip():
    parts = ["training", "test", "validation", "training", "test", "training"]
    corpus = table([(label, part) for label, part in zip("ababab", parts, strict=True)], "label,part")
    division, lines = division_of(corpus)
    assert division.training.tolist() == [0, 3, 5]
    assert division.validation.tolist() == [2]
    assert division.test.tolist() == [1, 4]
    assert "3 to train, 1 to validate, 2 to test (the manifest's split)" in lines[-1]


def test_a_split_goes_before_folds():
    corpus = table(
        [(x, "u", p, f) for x, p, f in zip("abab", ["training"] * 2 + ["test"] * 2, "2211", strict=True)]
    )
    assert division_of(corpus)[0].test.tolist() == [2, 3]
    with pytest.raises(DataError, match="gives a split; there is no fold to choose"):
        divide(corpus, np.random.default_rng(0), test_fold="1")


def test_speakers_on_both_sides_of_a_given_split_are_said_aloud():
    rows = [("a", "anna", "training"), ("b", "bob", "validation"), ("b", "carl", "training")]
    tested = [("a", "anna", "test"), ("b", "bob", "test"), ("b", "dora", "test")]
    division, lines = division_of(table(rows + tested))
    assert not division.groups_disjoint
    assert any(
        "warning: 2 speaker(s) are on both sides of the given split (anna, bob)" in line for line in lines
    )
    division, lines = division_of(table([*rows, tested[2]]))
    assert division.groups_disjoint
    assert not any("both sides" in line for line in lines)


def test_only_the_first_eight_of_many_shared_sources_are_named():
    rows = [("ab"[n % 2], f"s{n % 10}", part) for part in ("training", "test") for n in range(10)]
    lines = division_of(table(rows, group_column="source"))[1]
    assert "10 source(s)" in lines[0]
    assert "(s0, s1, s2, s3, s4, s5, s6, s7, ...)" in lines[0]


@pytest.mark.parametrize(("asked", "tested"), [(None, "10"), ("2", "2"), ("10", "10")])
def test_the_last_fold_is_tested_unless_another_is_chosen(asked, tested):
    folds = ["10", "2", "10", "2", "1", "1"]
    division, lines = division_of(
        table(list(zip("ababab", folds, strict=True)), "label,fold"), test_fold=asked
    )
    assert division.test.tolist() == [n for n in range(6) if folds[n] == tested]
    assert division.validation.tolist() == []
    assert f"test on fold {tested} of 1, 2, 10" in lines[-1]


def test_a_fold_that_is_not_there_is_told():
    corpus = table(list(zip("abab", "1122", strict=True)), "label,fold")
    with pytest.raises(DataError, match="corpus: no fold '3'; there are 1, 2"):
        divide(corpus, np.random.default_rng(0), test_fold="3")
    with pytest.raises(DataError, match="corpus: gives no folds"):
        divide(table([("a",), ("b",)], "label"), np.random.default_rng(0), test_fold="3")


def test_a_drawn_split_is_stratified_and_drawn_from_the_rng():
    corpus = table([(label,) for label in "a" * 50 + "b" * 20], "label")
    tests = []
    for seed in (0, 0, 1):
        division, lines = division_of(corpus, seed)
        assert [corpus.labels[n] for n in division.test] == ["a"] * 10 + ["b"] * 4
        assert "drawn, stratified by class" in lines[-1]
        tests.append(division.test.tolist())
    assert tests[0] == tests[1] != tests[2]
    assert len(division_of(corpus, test_fraction=0.5)[0].test) == 35


@pytest.mark.parametrize("seed", range(10))
def test_a_drawn_split_never_cuts_through_a_group(seed):
    rng = np.random.default_rng(seed)
    speakers = [f"s{n}" for n in rng.integers(12, size=90)]
    corpus = table(list(zip(rng.choice(list("abc"), 90).tolist(), speakers, strict=True)), "label,speaker")
    division, lines = division_of(corpus, seed)
    assert division.groups_disjoint
    assert not {speakers[n] for n in division.test} & {speakers[n] for n in division.training}
    assert 9 <= len(division.test) <= 27
    assert "drawn by speaker" in lines[-1]
    assert not any("both sides" in line for line in lines)


def test_without_a_test_all_clips_are_for_training():
    division, lines = division_of(table([("a",), ("b",)], "label"), test_fraction=0)
    assert division.training.tolist() == [0, 1]
    assert "0 to test" in lines[-1]


@pytest.mark.parametrize("fraction", [1, 1.5, -0.1, float("nan")])
def test_a_test_fraction_out_of_range_is_told(fraction):
    with pytest.raises(DataError, match=r"the test fraction lies in \[0, 1\), not"):
        divide(table([("a",)] * 4 + [("b",)] * 4, "label"), np.random.default_rng(0), test_fraction=fraction)


def test_a_class_of_one_clip_cannot_be_drawn_from():
    corpus = table([("a",), ("a",), ("b",), ("a",)], "label")
    with pytest.raises(DataError, match=r"2\.wav: the only clip of class 'b'.*--test-fraction 0"):
        divide(corpus, np.random.default_rng(0))
    lines = division_of(corpus, test_fraction=0)[1]
    assert "warning: class 'b' has one clip to train on; it will hardly be recognised" in lines


def test_a_class_that_is_only_tested_is_told():
    corpus = table([("a", "training"), ("b", "training"), ("c", "test"), ("a", "test")], "label,part")
    with pytest.raises(
        DataError, match=r"2\.wav: class 'c' has no clip to train on; add recordings or remove"
    ):
        divide(corpus, np.random.default_rng(0))


def test_a_single_class_is_told():
    with pytest.raises(DataError, match="corpus: all clips are of class 'a'; at least two classes"):
        divide(table([("a",)] * 9, "label"), np.random.default_rng(0))


def test_speakers_that_each_hold_a_whole_class_cannot_be_spared():
    corpus = table([("a", "anna")] * 5 + [("b", "bob")] * 5, "label,speaker")
    with pytest.raises(
        DataError, match=r"corpus: no speaker can be spared.*add recordings of other speakers"
    ):
        divide(corpus, np.random.default_rng(0))


# Training.


@pytest.mark.parametrize("shared", [True, False])
def test_fit_is_given_the_training_rows_and_the_given_validation_rows(tone_corpus, tiny, fits, shared):
    parts = ["test" if n % 4 == 3 else "validation" if n % 4 == 2 else "training" for n in range(24)]
    speakers = tone_corpus.groups if not shared else ["anna"] * 24
    corpus = Corpus("c", tone_corpus.paths, tone_corpus.labels, "speaker", speakers, parts)
    result = train(corpus, tiny(epochs=1))
    names = [f"{path.parent.name}/{path.stem}" for path in corpus.paths]
    training, validation, groups = fits[0]
    assert training == [name for name, part in zip(names, parts, strict=True) if part == "training"]
    assert validation == [name for name, part in zip(names, parts, strict=True) if part == "validation"]
    assert groups == (
        None if shared else [s for s, part in zip(speakers, parts, strict=True) if part == "training"]
    )
    assert result["n"] == parts.count("test")
    for counts in result["classes"].values():
        assert {part: counts[part] for part in ("training", "validation", "test")} == {
            "training": 4, "validation": 2, "test": 2
        }  # fmt: skip


def test_validation_is_taken_by_speaker_where_the_test_is(tone_corpus, tiny, fits):
    classifier = tiny(epochs=1, validation_fraction=0.3)
    result = train(tone_corpus, classifier)
    training, validation, groups = fits[0]
    speaker_of = {
        f"{p.parent.name}/{p.stem}": s for p, s in zip(tone_corpus.paths, tone_corpus.groups, strict=True)
    }
    assert validation == []
    assert groups == [speaker_of[name] for name in training]
    assert len(set(groups)) == 3
    # One speaker of three, that is two clips of each class, is taken for the validation.
    assert classifier.card_["clips"] == {kind: {"training": 4, "validation": 2} for kind in result["classes"]}


def test_the_figures_agree_with_each_other_and_with_what_the_classifier_says(tone_corpus, tiny):
    parts = ["test" if n % 8 >= 5 else "training" for n in range(24)]
    corpus = Corpus("c.csv", tone_corpus.paths, tone_corpus.labels, parts=parts)
    classifier = tiny(epochs=2, random_state=3)
    result = train(corpus, classifier)
    tested = [n for n in range(24) if parts[n] == "test"]
    true = np.array(corpus.labels)[tested]
    predicted = classifier.predict([corpus.paths[n] for n in tested])
    names = ["falling", "rising", "steady"]
    assert result["confusion"] == [
        [int(((true == t) & (predicted == p)).sum()) for p in names] for t in names
    ]
    recalls = [float(np.mean(predicted[true == name] == name)) for name in names]
    assert 0 < np.mean(recalls) < 1, "an undertrained classifier makes mistakes, but not only mistakes"
    assert result["accuracy"] == pytest.approx(np.mean(predicted == true))
    assert result["uar"] == pytest.approx(np.mean(recalls))
    assert result["n"] == 9
    assert list(result["classes"]) == names
    for k, counts in enumerate(result["classes"].values()):
        assert counts["test"] == 3
        assert counts["correct"] == result["confusion"][k][k]
        assert counts["training"] + counts["validation"] == 5
    assert result["parameters"] == sum(array.size for array in classifier.params_.values())
    assert (result["epochs"], result["seed"], result["sample_rate_hz"]) == (2, 3, 8000)
    assert result["seconds"] > 0
    assert classifier.card_["data"] == "c.csv"
    assert classifier.card_["test"] == {name: result[name] for name in ("accuracy", "uar", "n")}


def test_without_a_test_there_are_no_figures(tone_corpus, tiny):
    result = train(tone_corpus, tiny(epochs=1), test_fraction=0)
    assert (result["accuracy"], result["uar"], result["n"]) == (None, None, 0)
    assert sum(c["training"] + c["validation"] for c in result["classes"].values()) == 24


def test_the_lowest_rate_serves_a_mixed_corpus(tmp_path, tone_corpus, tiny, write_tone):
    high = [write_tone(tmp_path / f"{kind}.wav", kind, rate=44_100) for kind in ("rising", "falling")]
    corpus = Corpus("c", [*tone_corpus.paths, *high], [*tone_corpus.labels, "rising", "falling"])
    classifier = tiny(epochs=1)
    assert train(corpus, classifier)["sample_rate_hz"] == 8000
    high = Corpus("c", high * 5, ["rising", "falling"] * 5)
    assert train(high, tiny(epochs=1))["sample_rate_hz"] == 16_000


# Recordings that cannot be used.


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / "broken.wav"
    path.write_bytes(b"no sound")
    return path


def test_bad_recordings_are_left_out_if_wanted_and_said(tone_corpus, tiny, broken, fits):
    paths = [broken if n in (0, 7) else path for n, path in enumerate(tone_corpus.paths)]  # of 'falling'
    parts = ["test" if n % 8 >= 5 else "training" for n in range(24)]
    corpus = Corpus("c", paths, tone_corpus.labels, "speaker", ["anna"] * 24, parts)
    lines = []
    with pytest.raises(DataError, match=r"broken.wav: .* \(and 1 more, above\); or leave .* with --skip-bad"):
        train(corpus, tiny(epochs=1), say=lines.append)
    assert [line for line in lines if line.startswith("bad: ")] == [
        line for line in lines if "broken.wav" in line
    ]
    lines.clear()
    result = train(corpus, tiny(epochs=1), skip_bad=True, say=lines.append)
    assert sum(line.startswith("left out: ") and "broken.wav" in line for line in lines) == 2
    assert result["n"] == 8
    assert [counts["test"] for counts in result["classes"].values()] == [2, 3, 3]
    assert len(fits[0][0]) == 14


def test_a_class_whose_training_clips_are_all_bad_is_told(tone_corpus, tiny, broken):
    falling = [label == "falling" for label in tone_corpus.labels]
    parts = ["test" if n % 8 >= 5 else "training" for n in range(24)]
    paths = [
        broken if kind and part == "training" else path
        for path, kind, part in zip(tone_corpus.paths, falling, parts, strict=True)
    ]
    corpus = Corpus("c", paths, tone_corpus.labels, parts=parts)
    with pytest.raises(DataError, match="falling"):
        train(corpus, tiny(epochs=1), skip_bad=True)


def test_a_fold_whose_clips_are_all_bad_is_told(tone_corpus, tiny, broken):
    paths = [
        broken if s == "s1" else path for path, s in zip(tone_corpus.paths, tone_corpus.groups, strict=True)
    ]
    corpus = Corpus("c", paths, tone_corpus.labels, "speaker", tone_corpus.groups)
    with pytest.raises(DataError, match="s1"):
        cross_validate(corpus, tiny(epochs=1), "speaker", skip_bad=True)


def test_a_corpus_of_bad_recordings_is_told(tiny, broken):
    corpus = Corpus("c", [broken] * 4, ["a", "b"] * 2)
    with pytest.raises((DataError, AudioError), match=r"c: none of its 4|broken\.wav"):
        train(corpus, tiny(epochs=1), skip_bad=True)


def test_a_silent_recording_is_used_with_a_warning(tmp_path, tone_corpus, tiny):
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(2000), 8000)
    lines = []
    corpus = Corpus("c", [*tone_corpus.paths, silent], [*tone_corpus.labels, "steady"])
    result = train(corpus, tiny(epochs=1), test_fraction=0, say=lines.append)
    assert f"warning: 1 clip is silent, all samples are zero: {silent}; record again or remove" in lines
    assert sum(c["training"] + c["validation"] for c in result["classes"].values()) == 25


@pytest.mark.parametrize(("patience", "validation_fraction"), [(None, 0), (2, 0), (2, 0.2)])
def test_it_is_said_where_patience_has_nothing_to_wait_for(tone_corpus, tiny, patience, validation_fraction):
    lines = []
    settings = {"epochs": 1, "patience": patience, "validation_fraction": validation_fraction}
    train(tone_corpus, tiny(**settings), say=lines.append)
    said = "warning: there is no patience without a validation part; give --validation-fraction, too" in lines
    assert said == (patience == 2 and validation_fraction == 0)


@pytest.mark.parametrize("tempo", [None, (0.9, 1.1)])
def test_it_is_said_where_a_cache_does_not_spare_reading(tone_corpus, tiny, tmp_path, tempo):
    lines = []
    train(tone_corpus, tiny(epochs=1, tempo=tempo), say=lines.append, cache=tmp_path / "cache")
    told = [line for line in lines if line.startswith("training changes sound, so it reads every recording")]
    assert len(told) == (tempo is not None)


def test_it_is_said_where_one_speaker_is_left_and_none_can_be_spared_to_validate(tone_corpus, tiny):
    corpus = Corpus("c", tone_corpus.paths, tone_corpus.labels, "speaker", ["ada", "ben"] * 12)
    lines = []
    result = train(corpus, tiny(epochs=1, validation_fraction=0.1), say=lines.append)
    assert "warning: no clips can be spared for a validation part; the last epoch is kept" in lines
    assert result["classes"]["rising"] == {"training": 4, "validation": 0, "test": 4} | {
        "correct": result["classes"]["rising"]["correct"]
    }


# Evaluating.


@pytest.fixture
def mislabelled(tones):
    """Ten clips, three of them under a wrong label: a perfect classifier gets 4/4, 3/4 and 1/2 right."""
    truth = ["falling"] * 4 + ["rising"] * 3 + ["falling"] + ["steady", "rising"]
    said = ["falling"] * 4 + ["rising"] * 4 + ["steady"] * 2
    paths = [tones / kind / f"{n % 8}.wav" for n, kind in enumerate(truth)]
    return Corpus("c", paths, said, parts=["test"] * 3 + ["training"] + ["validation"] * 3 + ["test"] * 3)


def test_a_trained_classifier_is_measured_against_the_labels_given(trained, mislabelled):
    result = evaluate(trained, mislabelled, part="all")
    assert result["confusion"] == [[4, 0, 0], [1, 3, 0], [0, 1, 1]]
    assert result["accuracy"] == 8 / 10
    assert result["uar"] == pytest.approx((1 + 3 / 4 + 1 / 2) / 3)
    assert result["n"] == 10
    assert result["classes"] == {
        "falling": {"test": 4, "correct": 4},
        "rising": {"test": 4, "correct": 3},
        "steady": {"test": 2, "correct": 1},
    }
    assert result["parameters"] == trained.n_parameters_


def test_uar_is_over_the_classes_that_occur(trained, mislabelled):
    result = evaluate(trained, mislabelled.take([0, 1, 6, 7]), part="all")
    assert result["confusion"] == [[2, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert (result["accuracy"], result["uar"]) == (3 / 4, (1 + 1 / 2) / 2)


@pytest.mark.parametrize(
    ("part", "said", "n", "correct"),
    [
        (None, "test", 6, 4),
        ("test", "test", 6, 4),
        ("validation", "validation", 3, 3),
        ("training", "training", 1, 1),
        ("all", None, 10, 8),
    ],
)
def test_the_part_asked_for_is_tested_and_the_test_part_by_default(
    trained, mislabelled, part, said, n, correct
):
    lines = []
    result = evaluate(trained, mislabelled, part=part, say=lines.append)
    assert (result["n"], round(result["accuracy"] * n)) == (n, correct)
    assert lines == ([f"testing the {n} {said} rows of 10; --part all takes all"] if said else [])


def test_a_corpus_of_nothing_but_test_rows_is_not_said_to_have_been_trained_on(trained, mislabelled):
    lines = []
    corpus = Corpus("c", mislabelled.paths, mislabelled.labels, parts=["test"] * 10)
    assert evaluate(trained, corpus, say=lines.append)["n"] == 10
    assert not any("trained on" in line for line in lines)


def test_of_folds_the_one_that_training_kept_aside_is_tested_unless_another_is_chosen(tone_corpus, tiny):
    folds = ["small" if n % 8 < 2 else "large" for n in range(24)]
    corpus = Corpus("c", tone_corpus.paths, tone_corpus.labels, folds=folds)
    classifier = tiny(epochs=2)
    result = train(corpus, classifier, test_fold="large")
    lines = []
    assert evaluate(classifier, corpus, say=lines.append)["confusion"] == result["confusion"]
    assert len(lines) == 1
    assert lines[0].startswith("testing the 18 rows of fold large")
    assert evaluate(classifier, corpus, test_fold="small")["n"] == 6
    assert evaluate(classifier, corpus, part="all")["n"] == 24
    with pytest.raises(DataError, match="c: no fold 'tiny'; there are large, small"):
        evaluate(classifier, corpus, test_fold="tiny")
    split = Corpus("c", tone_corpus.paths, tone_corpus.labels, parts=["test"] * 24, folds=folds)
    for without_a_choice in (tone_corpus, split):
        with pytest.raises(DataError, match="fold"):
            evaluate(classifier, without_a_choice, test_fold="small")


def test_a_corpus_without_a_split_is_tested_whole_and_that_is_said(trained, tones):
    lines = []
    assert evaluate(trained, read_corpus(tones), say=lines.append)["n"] == 24
    assert lines == [f"{tones} gives no test part: testing all, even what the model was trained on"]


@pytest.mark.parametrize("parts", [None, ["training"] * 10])
def test_a_part_that_is_not_there_is_told(trained, mislabelled, parts):
    corpus = Corpus("c", mislabelled.paths, mislabelled.labels, parts=parts)
    with pytest.raises(DataError, match="c: has no test rows; --part all takes what there is"):
        evaluate(trained, corpus, part="test")


def test_a_label_that_the_model_does_not_know_is_told(trained, mislabelled):
    corpus = Corpus("c", mislabelled.paths, ["falling"] * 9 + ["wobbly"])
    said = r"1\.wav: label 'wobbly' is none of the model's \(falling, rising, steady\); remove these clips"
    with pytest.raises(DataError, match=said):
        evaluate(trained, corpus)


# Cross-validating.


def test_each_speaker_is_tested_once_by_a_model_that_never_heard_it(tones, tiny, fits):
    """Speakers of different sizes: anna 1, bob 2 and carl 5 clips of each class."""
    speakers = ["anna", "bob", "bob", "carl", "carl", "carl", "carl", "carl"] * 3
    corpus = read_corpus(tones)
    corpus = Corpus("c", corpus.paths, corpus.labels, "speaker", speakers)
    names = [f"{path.parent.name}/{path.stem}" for path in corpus.paths]
    lines = []
    outcome = cross_validate(corpus, tiny(epochs=3), "speaker", seeds=(0, 5), say=lines.append)
    assert [(run["seed"], run["fold"], run["n"]) for run in outcome["folds"]] == [
        (seed, name, n) for seed in (0, 5) for name, n in (("anna", 3), ("bob", 6), ("carl", 15))
    ]
    assert outcome["n"] == len(corpus) == 24
    for (training, validation, groups), run in zip(fits, outcome["folds"], strict=True):
        assert training == [name for name, s in zip(names, speakers, strict=True) if s != run["fold"]]
        assert groups == [s for s in speakers if s != run["fold"]]
        assert validation == []
        assert run["accuracy"] == sum(c["correct"] for c in run["classes"].values()) / run["n"]

    for figure in ("accuracy", "uar"):
        values = {(run["seed"], run["fold"]): run[figure] for run in outcome["folds"]}
        rounds = [sum(values[seed, name] for name in ("anna", "bob", "carl")) / 3 for seed in (0, 5)]
        mean = sum(rounds) / 2
        assert outcome[figure] == pytest.approx(mean)
        assert outcome[f"{figure}_sd"] == pytest.approx(sum((r - mean) ** 2 for r in rounds) ** 0.5)
        by_fold = {name: (values[0, name] + values[5, name]) / 2 for name in ("anna", "bob", "carl")}
        assert outcome[f"{figure}_by_fold"] == pytest.approx(by_fold)
    assert outcome["accuracy_sd"] > 0, "both seeds gave the same figures: this test shows little"
    assert sum("accuracy" in line for line in lines) == 6


def test_one_seed_has_no_spread_and_is_what_train_gives(tone_corpus, tiny):
    folds = [str(n % 8 // 4) for n in range(24)]
    corpus = Corpus("c", tone_corpus.paths, tone_corpus.labels, folds=folds)
    outcome = cross_validate(corpus, tiny(epochs=2), "fold")
    assert (outcome["accuracy_sd"], outcome["uar_sd"], outcome["n"]) == (None, None, 24)
    alone = train(corpus, tiny(epochs=2), test_fold="1")
    assert outcome["folds"][1]["confusion"] == alone["confusion"]
    assert outcome["parameters"] == alone["parameters"]


def test_the_given_split_is_one_fold(tone_corpus, tiny):
    parts = ["test" if n % 8 >= 5 else "validation" if n % 8 == 4 else "training" for n in range(24)]
    corpus = Corpus("c", tone_corpus.paths, tone_corpus.labels, parts=parts)
    outcome = cross_validate(corpus, tiny(epochs=2), "split")
    alone = train(corpus, tiny(epochs=2))
    assert [run["confusion"] for run in outcome["folds"]] == [alone["confusion"]]
    assert outcome["folds"][0]["classes"] == alone["classes"]


@pytest.mark.parametrize("folds", ["split", "fold", "source"])
def test_folds_of_a_column_that_is_not_there_are_told(tone_corpus, tiny, folds):
    with pytest.raises(DataError, match=f"has no column '{folds}' to make folds of"):
        cross_validate(tone_corpus, tiny(), folds)


def test_a_single_fold_is_told(tones, tiny):
    corpus = read_corpus(tones)
    corpus = Corpus("c", corpus.paths, corpus.labels, folds=["7"] * 24)
    with pytest.raises(DataError, match="c: only one fold, '7'; at least two are needed"):
        cross_validate(corpus, tiny(), "fold")


def test_a_split_without_test_rows_cannot_be_cross_validated(tone_corpus, tiny):
    corpus = Corpus("c", tone_corpus.paths, tone_corpus.labels, parts=["training"] * 24)
    with pytest.raises(DataError, match="test"):
        cross_validate(corpus, tiny(epochs=1), "split")


# Real corpora, without their sound.


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the recordings in {SHARED}")
def test_real_protocols_are_followed():
    division, lines = division_of(read_corpus(SHARED / "fsdd"))
    assert (len(division.training), len(division.test), division.groups_disjoint) == (2700, 300, False)
    assert any("warning: 6 speaker(s) are on both sides" in line for line in lines)
    actors = read_corpus(SHARED / "ravdess")
    division, lines = division_of(actors)
    assert division.groups_disjoint
    assert {actors.folds[n] for n in division.test} == {"5"}
    assert not any("both sides" in line for line in lines)


def test_clips_of_nobody_are_trained_on_in_every_fold_and_never_tested(tone_corpus, tiny):
    groups = [
        ALONE + str(p) if g == "s3" else g for p, g in zip(tone_corpus.paths, tone_corpus.groups, strict=True)
    ]
    corpus = Corpus("c", tone_corpus.paths, tone_corpus.labels, "speaker", groups)
    lines = []
    outcome = cross_validate(corpus, tiny(epochs=1), "speaker", say=lines.append)
    assert list(outcome["accuracy_by_fold"]) == ["s0", "s1", "s2"]
    assert outcome["n"] == 18
    assert "6 clips without a speaker are trained on, and never tested" in lines
    assert (
        sum(sum(c[p] for p in ("training", "validation")) for c in outcome["folds"][0]["classes"].values())
        == 18
    )


def test_the_sample_rate_does_not_look_at_the_test_part(tmp_path, tone_corpus, tiny, write_tone):
    low = write_tone(tmp_path / "low.wav", "steady", rate=4000)
    corpus = Corpus(
        "c", [*tone_corpus.paths, low], [*tone_corpus.labels, "steady"], parts=["training"] * 24 + ["test"]
    )
    with pytest.raises(DataError, match=r"low\.wav: recorded at 4000 Hz"):
        train(corpus, tiny(epochs=1))


def test_speakers_in_training_and_validation_of_a_speaker_split_are_said_aloud():
    rows = [
        ("yes", "a", "training"),
        ("no", "a", "training"),
        ("yes", "a", "validation"),
        ("no", "b", "test"),
    ]
    _, lines = division_of(table(rows, "label,speaker,part"))
    assert any(
        "1 speaker(s) are in training and in validation, but not in the test" in line for line in lines
    )


# Cross-validating in several processes, and on a part of the training data.


def without_times(outcome):
    kept = {name: value for name, value in outcome.items() if name != "seconds"}
    return kept | {"protocol": kept["protocol"] | {"processes": None}}


def test_several_processes_give_the_bits_of_one(tone_corpus, tiny, tmp_path, monkeypatch):
    """And what they say, in the same order, though the fifth clip of each tone cannot be used."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    paths = [tmp_path / "bad.wav" if n % 8 == 4 else path for n, path in enumerate(tone_corpus.paths)]
    corpus = Corpus("c", paths, tone_corpus.labels, "speaker", tone_corpus.groups)
    outcomes, said = [], []
    for processes in (1, 3):
        lines = []
        options = {"seeds": (2, 7), "processes": processes, "skip_bad": True, "say": lines.append}
        outcomes.append(cross_validate(corpus, tiny(epochs=3, validation_fraction=0.3), "speaker", **options))
        said.append(lines)
    assert without_times(outcomes[0]) == without_times(outcomes[1])
    assert said[0] == said[1]
    assert sum("left out" in line for line in lines) == 3
    assert lines[-1].startswith("8 of 8: seed 7, speaker s3: accuracy ")
    assert [outcome["protocol"]["processes"] for outcome in outcomes] == [1, 3]
    assert 0 < outcomes[0]["accuracy"] < 1, "figures that could differ"
    assert list(tmp_path.iterdir()) == [tmp_path / "bad.wav"], "the features were put on disk, and taken away"


def test_an_error_in_a_process_is_the_one_of_the_first_round_that_fails(tone_corpus, tiny, broken):
    """Only speaker s1 has good clips that fall: without, none is left."""
    paths = [
        broken if label == "falling" and speaker != "s1" else path
        for path, label, speaker in zip(
            tone_corpus.paths, tone_corpus.labels, tone_corpus.groups, strict=True
        )
    ]
    corpus = Corpus("c", paths, tone_corpus.labels, "speaker", tone_corpus.groups)
    for processes in (1, 2):
        with pytest.raises(DataError, match=r"1\.wav: none of the recordings of class 'falling' to train on"):
            cross_validate(corpus, tiny(epochs=1), "speaker", processes=processes, skip_bad=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"processes": 0}, "processes is a whole number from 1 on, not 0"),
        ({"processes": 1.5}, "processes is a whole number from 1 on, not 1.5"),
        ({"seeds": ()}, "the number of seeds is a whole number from 1 on, not 0"),
    ],
)
def test_counts_out_of_range_are_told(tone_corpus, tiny, options, said):
    with pytest.raises(SettingError, match=said):
        cross_validate(tone_corpus, tiny(), "speaker", **options)


def test_predictions_are_kept_clip_by_clip(tone_corpus, tiny):
    groups = [f"s{int(path.stem) % 3}" for path in tone_corpus.paths]
    corpus = Corpus("c", tone_corpus.paths, tone_corpus.labels, "speaker", groups)
    outcome = cross_validate(corpus, tiny(epochs=2), "speaker", seeds=(1, 4))
    clips, labels = outcome["clips"], ["falling", "rising", "steady"]
    assert (outcome["labels"], clips["row"]) == (labels, list(range(24)))
    assert [labels[k] for k in clips["label"]] == list(corpus.labels)
    assert [f"s{k}" for k in clips["fold"]] == [f"s{k}" for k in clips["group"]] == groups
    assert (outcome["resampled"], outcome["n_groups"]) == ("speaker", 3)
    for run in outcome["folds"]:
        predicted = clips["predicted"][(1, 4).index(run["seed"])]
        own = [n for n in range(24) if groups[n] == run["fold"]]
        counts = [[0] * 3 for _ in labels]
        for n in own:
            counts[clips["label"][n]][predicted[n]] += 1
        assert counts == run["confusion"]
    assert clips["predicted"][0] != clips["predicted"][1]


def test_settings_and_versions_are_told_in_plain_values(tone_corpus, tiny):
    classifier = tiny(epochs=1, class_weight={"rising": np.float32(2)}, learning_rate=np.float64(0.5))
    corpus = Corpus(
        "words/manifest.csv", tone_corpus.paths, tone_corpus.labels, "speaker", tone_corpus.groups
    )
    outcome = cross_validate(corpus, classifier, 2)
    settings = outcome["settings"]
    assert json.loads(json.dumps(outcome)) == outcome
    assert settings.keys() == settings_of(classifier).keys() | {"engine"}
    of_features = {name: settings[name] for name in ("n_mels", "n_mfcc", "delta_order", "stack")}
    assert of_features == {"n_mels": 20, "n_mfcc": 8, "delta_order": 1, "stack": 2}
    assert (settings["class_weight"], settings["learning_rate"]) == ({"rising": 2.0}, 0.5)
    assert settings["sample_rate"] is None, "as it was set; the folds tell what it came to"
    assert outcome["folds"][0]["sample_rate_hz"] == 8000
    assert outcome["data"] == "words"
    assert outcome["versions"] == {
        name: import_module(name).__version__ for name in ("lstm_scratch", "numpy", "numba")
    }
    assert outcome["protocol"] == {"folds": 2, "part": "test", "processes": 1, "skip_bad": False}


def test_drawn_folds_are_trained_and_tested(tone_corpus, tiny, fits):
    outcome = cross_validate(tone_corpus, tiny(epochs=1), 4)
    assert [(run["fold"], run["n"]) for run in outcome["folds"]] == [(str(k), 6) for k in (1, 2, 3, 4)]
    for training, _, groups in fits:
        assert (len(training), len(set(groups))) == (18, 3)


def test_to_validate_no_clip_of_the_test_part_is_trained_or_tested_on(tone_corpus, tiny, fits):
    outcome = cross_validate(tone_corpus, tiny(epochs=1), "speaker", part="validation")
    assert [run["fold"] for run in outcome["folds"]] == ["s0", "s1", "s2", "s3"]
    speaker_of = {
        f"{p.parent.name}/{p.stem}": s for p, s in zip(tone_corpus.paths, tone_corpus.groups, strict=True)
    }
    for k, (training, _, groups) in enumerate(fits):
        heard = {speaker_of[name] for name in training}
        assert heard == set(groups) == {f"s{n}" for n in range(4)} - {f"s{k}", f"s{(k + 1) % 4}"}
    clips = outcome["clips"]
    assert [f"s{(fold + 1) % 4}" for fold in clips["fold"]] == list(tone_corpus.groups)
    assert outcome["protocol"]["part"] == "validation"


def test_to_validate_on_a_split_its_test_rows_are_not_even_opened(tone_corpus, tiny, broken):
    parts = ["test" if n % 8 == 7 else "training" for n in range(24)]
    paths = [broken if part == "test" else p for p, part in zip(tone_corpus.paths, parts, strict=True)]
    corpus = Corpus("c", paths, tone_corpus.labels, parts=parts)
    outcome = cross_validate(corpus, tiny(epochs=1), "split", part="validation", seeds=(0, 1))
    assert outcome["n"] == 4, "a fifth of 21"
    assert all(parts[row] == "training" for row in outcome["clips"]["row"])
    assert outcome["resampled"] == "clip"
    with pytest.raises(DataError, match=r"broken\.wav"):
        cross_validate(corpus, tiny(epochs=1), "split")


def test_the_sample_rate_of_a_cross_validated_split_does_not_look_at_the_test_part(
    tmp_path, tone_corpus, tiny, write_tone
):
    low = write_tone(tmp_path / "low.wav", "steady", rate=4000)
    paths, labels = [*tone_corpus.paths, low], [*tone_corpus.labels, "steady"]
    corpus = Corpus("c", paths, labels, parts=["training"] * 24 + ["test"])
    with pytest.raises(DataError, match=r"low\.wav: recorded at 4000 Hz"):
        cross_validate(corpus, tiny(epochs=1), "split")


def test_known_speakers_are_no_sample_of_speakers(tone_corpus, tiny):
    """Where a split's speakers are all heard in training, the interval is over clips."""
    parts = ["test" if int(path.stem) >= 4 else "training" for path in tone_corpus.paths]
    corpus = Corpus("c", tone_corpus.paths, tone_corpus.labels, "speaker", tone_corpus.groups, parts)
    outcome = cross_validate(corpus, tiny(epochs=1), "split")
    assert (outcome["resampled"], outcome["n_groups"]) == ("clip", 12)
