"""SequenceClassifier: it learns, predicts, saves and reloads, and refuses what it cannot take."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from lstm_scratch import SequenceClassifier
from lstm_scratch import classifier as classifier_module
from lstm_scratch.errors import DataError, ModelFileError, NotFittedError, SettingError
from lstm_scratch.splits import hold_out

SMALL = {"hidden_size": 6, "epochs": 15, "batch_size": 8, "learning_rate": 0.02}


def ramps(n, seed=0):
    """Noisy rising, falling and level ramps; features of very different size, one constant."""
    rng = np.random.default_rng(seed)
    names = np.array(["falling", "level", "rising"])
    labels = names[rng.integers(0, 3, n)]
    sequences = []
    for label in labels:
        ramp = np.linspace(-1, 1, rng.integers(5, 12)) * {"falling": -1, "level": 0, "rising": 1}[label]
        noise = rng.normal(scale=0.2, size=(len(ramp), 2))
        sequences.append(np.column_stack([1000 * (ramp + noise[:, 0]), noise[:, 1], np.full(len(ramp), 7)]))
    return sequences, labels


@pytest.fixture(scope="module")
def fitted():
    return SequenceClassifier(**SMALL).fit(*ramps(120))


def test_it_learns_and_scores_on_clips_it_has_not_seen(fitted):
    sequences, labels = ramps(150, seed=1)
    predicted = fitted.predict(sequences)
    assert fitted.score(sequences, labels) == np.mean(predicted == labels) > 0.95
    probabilities = fitted.predict_proba(sequences)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(fitted.classes_, ["falling", "level", "rising"])
    np.testing.assert_array_equal(predicted, fitted.classes_[probabilities.argmax(axis=1)])


@pytest.mark.parametrize("given", [True, False])
def test_nothing_is_learned_from_the_validation_part(given):
    """Groups 0 to 4 are alike, group 5 is a hundred times louder and the one that is held out."""
    sequences, labels = ramps(60)
    groups = np.arange(60) % 6
    loud = [x * [100, 100, 1] if g == 5 else x for x, g in zip(sequences, groups, strict=True)]
    quiet = [x for x, g in zip(loud, groups, strict=True) if g != 5]
    for seed in range(200):  # until the lot falls on group 5
        split = np.random.default_rng(np.random.SeedSequence(seed).spawn(3)[2])
        if hold_out(labels.tolist(), 0.1, split, groups.tolist())[5]:
            break
    options = SMALL | {"epochs": 1, "random_state": seed, "class_weight": "balanced"}
    options |= {"validation_fraction": 0.1}
    if given:
        held = [x for x, g in zip(loud, groups, strict=True) if g == 5]
        classifier = SequenceClassifier(**options).fit(
            quiet, labels[groups != 5], validation_data=(held, labels[groups == 5])
        )
    else:
        classifier = SequenceClassifier(**options).fit(loud, labels, groups=groups)
    steps = np.concatenate(quiet)
    np.testing.assert_allclose(classifier.mean_, steps.mean(axis=0), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(classifier.scale_[:2], steps.std(axis=0)[:2], rtol=1e-5)
    assert classifier.scale_[2] == 1  # a constant feature is not divided by nothing


def test_balanced_weights_count_the_training_part_alone(monkeypatch):
    sequences, labels = ramps(40)
    given = {}
    train = classifier_module.train
    monkeypatch.setattr(
        classifier_module, "train", lambda *args: given.update(weights=args[6]) or train(*args)
    )
    SequenceClassifier(**SMALL | {"epochs": 1}, class_weight="balanced").fit(
        sequences[:30], labels[:30], validation_data=(sequences[30:], labels[30:])
    )
    counts = np.array([np.sum(labels[:30] == label) for label in ("falling", "level", "rising")])
    np.testing.assert_allclose(given["weights"], 30 / (3 * counts), rtol=1e-6)


def test_a_training_that_fails_leaves_what_was_learned():
    sequences, labels = ramps(40)
    classifier = SequenceClassifier(**SMALL).fit(sequences, labels)
    before = classifier.predict_proba(sequences)
    others = ["x", "y"] * 20
    with pytest.raises(DataError):
        classifier.fit(sequences, others, groups=[1])
    with pytest.raises(SettingError, match="loss became"), np.errstate(all="ignore"):
        classifier.set_params(learning_rate=1e30, max_gradient_norm=1e30).fit(
            [x * 1e3 for x in sequences], others
        )
    np.testing.assert_array_equal(classifier.predict_proba(sequences), before)
    assert set(classifier.predict(sequences)) <= {"falling", "level", "rising"}


def test_too_few_clips_to_choose_an_epoch_by_are_not_taken_from_the_training():
    sequences, _ = ramps(6)
    classifier = SequenceClassifier(**SMALL | {"epochs": 1, "validation_fraction": 0.1}).fit(
        sequences, ["a", "b", "c"] * 2
    )
    assert classifier.card_["clips"] == {c: {"training": 2, "validation": 0} for c in "abc"}


def test_groups_may_be_anything_that_can_be_compared():
    sequences, _ = ramps(60)
    labels = ["falling", "level", "rising"] * 20
    groups = [("anna", 1) if n < 30 else None for n in range(60)]
    classifier = SequenceClassifier(**SMALL | {"epochs": 1, "validation_fraction": 0.1}).fit(
        iter(sequences), iter(labels), groups=iter(groups)
    )
    assert classifier.card_["clips"]["level"] == {"training": 10, "validation": 10}


def test_a_score_against_foreign_labels_or_of_another_length_is_no_number(fitted):
    sequences, labels = ramps(6)
    for wrong in (labels[:1], labels[:, None], [0, 1, 2, 0, 1, 2], [*labels[:5], None]):
        with pytest.raises(DataError, match="label"):
            fitted.score(sequences, wrong)


def test_a_clips_probabilities_do_not_depend_on_its_neighbours(fitted):
    sequences, _ = ramps(70, seed=2)
    together = fitted.predict_proba(sequences)
    for n in (0, 33, 69):
        np.testing.assert_allclose(fitted.predict_proba([sequences[n]])[0], together[n], atol=1e-6)


def test_one_number_decides_every_bit():
    models = [
        SequenceClassifier(**SMALL | {"epochs": 2, "random_state": s}).fit(*ramps(30)) for s in (5, 5, 6)
    ]
    for name, array in models[0].params_.items():
        assert array.tobytes() == models[1].params_[name].tobytes()
        assert array.dtype == np.float32
    assert models[0].history_ == models[1].history_ != models[2].history_


def test_the_validation_part_takes_whole_groups_or_a_share_of_every_class():
    sequences, labels = ramps(60)
    labels = np.repeat(["falling", "level", "rising"], 20)
    by_class = SequenceClassifier(**SMALL | {"epochs": 1, "validation_fraction": 0.2}).fit(sequences, labels)
    assert by_class.card_["clips"] == {c: {"training": 16, "validation": 4} for c in set(labels)}
    speakers = ["anna"] * 10 + ["ben"] * 10
    by_group = SequenceClassifier(**SMALL | {"epochs": 1, "validation_fraction": 0.1}).fit(
        sequences, labels, groups=speakers * 3
    )
    assert by_group.card_["clips"] == {c: {"training": 10, "validation": 10} for c in set(labels)}
    none = SequenceClassifier(**SMALL | {"epochs": 1}).fit(sequences, labels)
    assert none.card_["clips"]["level"] == {"training": 20, "validation": 0}
    assert none.history_[0]["validation_loss"] is None


def test_class_weights_reach_the_loss():
    """A class of four among forty: without weights it drowns, balanced it counts as much as the rest."""
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(6, 2)) for _ in range(44)]
    labels = ["many"] * 40 + ["few"] * 4
    options = SMALL | {"epochs": 6, "validation_fraction": 0}
    plain = SequenceClassifier(**options).fit(sequences, labels)
    balanced = SequenceClassifier(**options, class_weight="balanced").fit(sequences, labels)
    by_hand = SequenceClassifier(**options, class_weight={"few": 44 / 8, "many": 44 / 80}).fit(
        sequences, labels
    )
    few = [model.predict_proba(sequences)[:, 0].mean() for model in (plain, balanced, by_hand)]
    assert few[0] < 0.2 < 0.4 < few[1] == few[2]


def test_labels_may_be_numbers():
    sequences, labels = ramps(30)
    numbers = np.searchsorted(["falling", "level", "rising"], labels) * 10
    classifier = SequenceClassifier(**SMALL).fit(sequences, numbers)
    assert classifier.predict(sequences).dtype == numbers.dtype
    np.testing.assert_array_equal(classifier.classes_, [0, 10, 20])


@pytest.mark.parametrize("pooling", ["mean", "max", "last", "attention", "std+attention"])
def test_a_saved_model_predicts_the_same_bits(tmp_path, pooling):
    sequences, labels = ramps(30)
    options = SMALL | {"epochs": 2, "pooling": pooling, "num_layers": 2}
    classifier = SequenceClassifier(**options).fit(sequences, labels)
    classifier.save(tmp_path / "a" / "model.safetensors")
    loaded = SequenceClassifier.load(tmp_path / "a" / "model.safetensors")
    assert loaded.predict_proba(sequences).tobytes() == classifier.predict_proba(sequences).tobytes()
    assert loaded.get_params() == classifier.get_params()
    assert loaded.history_ == classifier.history_
    assert loaded.card_ == classifier.card_
    loaded.save(tmp_path / "again.safetensors")
    first, again = tmp_path / "a" / "model.safetensors", tmp_path / "again.safetensors"
    assert first.read_bytes() == again.read_bytes()


def test_torch_reads_the_saved_lstm(tmp_path):
    fitted = SequenceClassifier(**SMALL | {"pooling": "mean"}).fit(*ramps(30))
    fitted.save(tmp_path / "model.safetensors")
    arrays = load_file(tmp_path / "model.safetensors")
    lstm = torch.nn.LSTM(3, 6, bidirectional=True)
    state = {k.removeprefix("lstm."): torch.tensor(a) for k, a in arrays.items() if k.startswith("lstm.")}
    lstm.load_state_dict(state)
    (sequence, *_), _ = ramps(1, seed=4)
    x = (sequence.astype(np.float32) - arrays["normalisation.mean"]) / arrays["normalisation.scale"]
    with torch.no_grad():
        y = lstm(torch.tensor(x)[:, None])[0][:, 0].mean(dim=0).numpy()
    logits = y @ arrays["linear.weight"].T + arrays["linear.bias"]
    probabilities = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(fitted.predict_proba([sequence])[0], probabilities, atol=1e-6)


def test_weights_that_do_not_fit_the_settings_are_refused(fitted, tmp_path):
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    arrays = load_file(path)
    description = json.loads(metadata["lstm-scratch"])

    def load(arrays, description):
        save_file(arrays, path, {"lstm-scratch": json.dumps(description)})
        return SequenceClassifier.load(path)

    assert load(arrays, description).n_parameters_ == fitted.n_parameters_
    with pytest.raises(ModelFileError, match="damaged"):
        load({k: a for k, a in arrays.items() if k != "linear.bias"}, description)
    with pytest.raises(ModelFileError, match="damaged"):
        load(arrays | {"linear.bias": np.zeros(4, np.float32)}, description)
    with pytest.raises(ModelFileError, match="damaged"):
        load(arrays, description | {"settings": {"hidden_size": 6, "colour": "red"}})
    with pytest.raises(ModelFileError, match="holds a AudioClassifier"):
        load(arrays, description | {"estimator": "AudioClassifier"})


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([], [], "no sequences"),
        ([np.zeros((3, 2))], ["a", "b"], "1 sequences, but labels of shape"),
        ([np.zeros((3, 2)), np.zeros((3, 4))], ["a", "b"], r"sequence 1 has shape \(3, 4\)"),
        ([np.zeros((3, 2)), np.zeros((0, 2))], ["a", "b"], "sequence 1 has shape"),
        ([np.zeros((3, 2)), np.zeros(3)], ["a", "b"], "sequence 1 has shape"),
        ([np.zeros((3, 2)), np.full((3, 2), np.nan)], ["a", "b"], "sequence 1 holds NaN"),
        ([np.zeros((3, 2)), np.zeros((3, 2))], ["a", "a"], "at least two classes"),
        ([1.0, 2.0], ["a", "b"], "sequence 0 has shape"),
        ("clip.wav", ["a", "b"], "a list is wanted here"),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused(X, y, message):
    with pytest.raises(DataError, match=message):
        SequenceClassifier().fit(X, y)


def test_predicting_before_fitting_and_other_widths_are_refused(fitted):
    with pytest.raises(NotFittedError, match="call fit first"):
        SequenceClassifier().predict([np.zeros((3, 2))])
    with pytest.raises(DataError, match=r"not \(T, 3\)"):
        fitted.predict([np.zeros((3, 2))])
    with pytest.raises(DataError, match="label 'sideways' does not occur"):
        fitted.fit(*ramps(20), validation_data=(ramps(2)[0], ["rising", "sideways"]))


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": 0},
        {"pooling": "median"},
        {"dropout": 1.0},
        {"epochs": -1},
        {"class_weight": "heavy"},
        {"class_weight": {"rising": 0}},
        {"class_weight": {"rising": float("nan")}},
        {"hidden_size": 4.0},
        {"epochs": 2.5},
        {"batch_size": None},
        {"dropout": None},
        {"learning_rate": "0.1"},
        {"random_state": -1},
        {"validation_fraction": 1.0},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused_when_fitting(change):
    with pytest.raises(SettingError, match=next(iter(change))):
        SequenceClassifier(**change).fit(*ramps(20))


def test_what_is_no_array_and_no_label_is_refused(trained):
    with pytest.raises(DataError, match="recording 1 is no array of samples, nor a path"):
        trained.predict([np.zeros(4000), [[1, 2, 3], [4]]])
    X = [np.ones((4, 3)), np.zeros((4, 3))] * 4
    classifier = SequenceClassifier(hidden_size=2, epochs=1).fit(X, ["one", "nought"] * 4)
    with pytest.raises(DataError, match=r"sequence 1 is no array of numbers of shape \(T, F\)"):
        classifier.predict([X[0], [[1, 2, 3], [4]]])
    with pytest.raises(DataError, match=r"label \['one'\] does not occur"):
        classifier.trace(X[0], ["one"])


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_a_label_of_steps_that_nothing_would_learn_is_told(class_weight):
    """Where the one sequence that has it falls into the validation part; elsewhere it is learned."""
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(n, 2)) for n in range(3, 11)]
    labels = [np.where(sequence[:, 0] > 0, "up", "down") for sequence in sequences]
    labels[2][:] = "rare"
    told = []
    for seed in range(8):
        classifier = SequenceClassifier(
            **SMALL | {"epochs": 1}, pooling="none", validation_fraction=0.3, class_weight=class_weight
        ).set_params(random_state=seed)
        try:
            classifier.fit(sequences, labels)
        except DataError as error:
            told.append(str(error))
        else:
            assert classifier.card_["clips"]["rare"] == {"training": 5, "validation": 0}
    assert 0 < len(told) < 8
    assert all(line.startswith("label 'rare' stands in sequences of the validation part") for line in told)
