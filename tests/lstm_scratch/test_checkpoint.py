"""Checkpoints: a training that was killed goes on to the same bits, and the last good weights are kept."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tqdm.std

from lstm_scratch import AudioClassifier, SequenceClassifier, progress
from lstm_scratch import classifier as module
from lstm_scratch.checkpoint import PREFIX, of_model, restore_state, state_arrays, state_values
from lstm_scratch.errors import DataError, DivergenceError, ModelFileError, SettingError
from lstm_scratch.files import load_model, save_model
from lstm_scratch.optim import AdamW
from lstm_scratch.sound import Augmentation
from lstm_scratch.training import Epoch, TrainingOptions, TrainingState

SMALL = {"hidden_size": 5, "epochs": 6, "batch_size": 8, "learning_rate": 0.02}
KILLED = Path(__file__).with_name("killed_training.py")


def ramps(n=40, seed=0):
    """Noisy rising and falling ramps."""
    rng = np.random.default_rng(seed)
    labels = np.array(["falling", "rising"])[rng.integers(0, 2, n)]
    sequences = []
    for label in labels:
        ramp = np.linspace(-1, 1, rng.integers(5, 12)) * (1 if label == "rising" else -1)
        sequences.append(np.column_stack([ramp, rng.normal(size=(len(ramp), 2))]))
    return sequences, labels


def updates_of(path):
    return load_model(path)[1][PREFIX]["updates"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The file of a model whose training was not interrupted: 6 epochs of 5 updates."""
    path = tmp_path_factory.mktemp("whole") / "model.safetensors"
    SequenceClassifier(**SMALL).fit(*ramps()).save(path)
    return path.read_bytes()


def goes_on(checkpoint, whole, **changed):
    """Whether what comes of a checkpoint is the model that was not interrupted."""
    path = checkpoint.with_name("resumed.safetensors")
    SequenceClassifier(**SMALL | changed).fit(*ramps(), checkpoint=checkpoint, resume=True).save(path)
    return path.read_bytes() == whole


# Killed.


@pytest.mark.parametrize(
    ("kind", "engine"),
    [("sequences", "numba"), ("sequences", "numpy"), ("sounds", "numba"), ("steps", "numpy")],
)
def test_a_training_that_is_killed_goes_on_to_the_same_bits(tmp_path, kind, engine):
    """By SIGKILL: in many updates, at ends of epochs, in the midst of a checkpoint, again and again."""
    quiet = {"LSTM_SCRATCH_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # it forks
    process = subprocess.run(
        [sys.executable, KILLED, tmp_path, kind, engine],
        env=os.environ | quiet,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    result = json.loads(process.stdout)
    assert result["wrong"] == []
    assert result["lives"] >= 18
    if kind == "sequences":
        assert result["epochs"] < 12, "it stops early"


# What is in a checkpoint.


def state():
    rng = np.random.default_rng(0)

    def arrays(*names):
        return {name: rng.normal(size=(2, n)).astype(np.float32) for n, name in enumerate(names, start=1)}

    optimiser = AdamW(weight_decay=0.125)
    optimiser.steps, optimiser.mean, optimiser.square = 17, arrays("a", "b.c"), arrays("a", "b.c")
    history = [Epoch(1, 9, 0.1, 1 / 3, 0.5, None, None), Epoch(2, 9, 0.2, 2 / 3, 0.75, 0.1, 1.0)]
    values = {
        "best_loss": 0.1,
        "best_epoch": 2,
        "epoch": 3,
        "batch": 4,
        "loss_sum": 1 / 7,
        "correct": 5,
        "rows": 6,
    }
    return TrainingState(
        arrays("a", "b.c"), optimiser, arrays("a", "b.c"), arrays("a", "b.c"), history=history, **values
    )


@pytest.mark.parametrize("without", [(), ("average", "best")])
def test_a_state_comes_back_from_its_arrays_and_json(without):
    before = state()
    if without:
        before.average, before.best, before.best_loss, before.best_epoch = {}, {}, np.inf, 0
    arrays, values = state_arrays(before), json.loads(json.dumps(state_values(before)))
    model = {"linear.weight": np.ones(3), "trainingwheels": np.ones(2)}
    start = TrainingState(before.params, AdamW(weight_decay=0.125), before.average, {})
    after = restore_state(arrays | model, values, start)
    for name in vars(before):
        one, other = getattr(before, name), getattr(after, name)
        if isinstance(one, AdamW):
            assert (one.steps, one.weight_decay) == (other.steps, other.weight_decay)
            pairs = [(one.mean, other.mean), (one.square, other.square)]
        else:
            pairs = [(one, other)]
        for one, other in pairs:
            if isinstance(one, dict):
                assert {k: a.tobytes() for k, a in one.items()} == {k: a.tobytes() for k, a in other.items()}
                assert all(other[name] is not array for name, array in one.items())
            else:
                assert one == other
    assert of_model(arrays | model).keys() == model.keys()


def test_a_checkpoint_is_a_model_of_what_would_be_kept(tmp_path):
    """The best by validation so far; with the state beside it, and without it when saved again."""
    path, seen = tmp_path / "checkpoint.safetensors", []
    sequences, labels = ramps()
    held, wrong = ramps(12, seed=1)
    wrong = np.where(wrong == "rising", "falling", "rising")  # the first epochs are the best

    def look(epoch):
        if epoch.epoch > 2:
            seen.append(SequenceClassifier.load(path))

    classifier = SequenceClassifier(**SMALL, patience=99, dropout=0.0)
    data = sequences, labels, None, (held, wrong)
    classifier.fit(*data, checkpoint=path, checkpoint_seconds=0, on_epoch=look)
    losses = [epoch["validation_loss"] for epoch in classifier.history_]
    assert np.argmin(losses) < 2
    for loaded in [*seen, SequenceClassifier.load(path)]:
        np.testing.assert_array_equal(loaded.predict_proba(held), classifier.predict_proba(held))
    assert [len(loaded.history_) for loaded in seen] == [2, 3, 4, 5]
    SequenceClassifier.load(path).save(tmp_path / "again")
    classifier.save(tmp_path / "model")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()


def test_checkpoints_are_written_at_the_start_from_time_to_time_and_at_the_end(tmp_path, monkeypatch, whole):
    now, written, save = [100.0], [], module.save_model

    def noted(path, arrays, description):
        if PREFIX in description:
            written.append(description[PREFIX]["updates"])
        save(path, arrays, description)

    def clock():
        now[0] += 1
        return now[0]

    monkeypatch.setattr(module, "save_model", noted)
    monkeypatch.setattr(module.time, "monotonic", clock)
    path = tmp_path / "checkpoint"
    SequenceClassifier(**SMALL).fit(*ramps(), checkpoint=path, checkpoint_seconds=8)
    assert written[0] == 0
    assert written[-1] == 30
    assert set(np.diff(written[:-1])) == {8}  # the clock ticks once in every update
    assert list(tmp_path.iterdir()) == [path]
    assert goes_on(path, whole)
    assert written[-1] == 30, "there was nothing left to do, and nothing is written"


def test_a_training_that_is_done_is_not_done_again(tmp_path, monkeypatch, whole):
    path = tmp_path / "checkpoint"
    SequenceClassifier(**SMALL).fit(*ramps(), checkpoint=path)
    before = path.read_bytes()
    monkeypatch.setattr(AdamW, "step", None)
    assert goes_on(path, whole)
    assert path.read_bytes() == before


def test_without_a_checkpoint_a_training_that_is_to_go_on_begins(tmp_path, whole):
    assert goes_on(tmp_path / "none", whole)


def test_how_it_is_told_makes_no_other_training(tmp_path, whole, capsys):
    path = tmp_path / "checkpoint"
    SequenceClassifier(**SMALL).fit(*ramps(), checkpoint=path)
    assert goes_on(path, whole, verbose=True)


@pytest.fixture
def interrupted(tmp_path):
    """A checkpoint in the fourth epoch."""
    path = tmp_path / "checkpoint"

    def stop(epoch):
        if epoch.epoch == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SequenceClassifier(**SMALL).fit(*ramps(), checkpoint=path, checkpoint_seconds=0, on_epoch=stop)
    assert updates_of(path) == 19
    return path


def test_a_training_that_is_interrupted_goes_on(interrupted, whole):
    told = []
    again = SequenceClassifier(**SMALL)
    again.fit(*ramps(), checkpoint=interrupted, resume=True, on_epoch=lambda epoch: told.append(epoch.epoch))
    assert told == [4, 5, 6]
    assert [epoch["epoch"] for epoch in again.history_] == [1, 2, 3, 4, 5, 6]
    assert goes_on(interrupted, whole)


@pytest.mark.parametrize(
    "change",
    [{"hidden_size": 6}, {"random_state": 1}, {"engine": "numpy"}, {"epochs": 7}, {"mixup": 0.5}],
    ids=str,
)
def test_a_checkpoint_of_other_settings_is_refused(interrupted, change):
    before = interrupted.read_bytes()
    with pytest.raises(ModelFileError, match="checkpoint of a training with other data or settings"):
        SequenceClassifier(**SMALL | change).fit(*ramps(), checkpoint=interrupted, resume=True)
    assert interrupted.read_bytes() == before


def test_a_checkpoint_of_other_noises_is_refused(tmp_path):
    """Of thousands of samples, of which `repr` tells the first and the last."""
    rng = np.random.default_rng(0)
    clips, labels = [rng.normal(scale=0.1, size=n) for n in range(700, 712)], ["a", "b"] * 6
    noises = [rng.normal(size=n) for n in (2003, 1999)]
    path = tmp_path / "checkpoint"

    def fit(*noises, resume):
        changed = Augmentation(snr_db=(5, 20), noises=noises)
        settings = {"hidden_size": 3, "epochs": 1, "sample_rate": 8000, "augmentation": changed}
        AudioClassifier(**settings).fit(clips, labels, checkpoint=path, resume=resume)
        return path.read_bytes()

    before = fit(*noises, resume=False)
    assert fit(*[noise.copy() for noise in noises], resume=True) == before
    quieter = noises[1].copy()
    quieter[1000] += 1e-3
    assert repr(quieter) == repr(noises[1])
    columns = noises[0][:2000].reshape(2, 1000)
    others = [(noises[0], quieter), noises[::-1], noises[:1], [noises[0].astype(">f8"), noises[1]]]
    for other in [*others, columns]:
        with pytest.raises(ModelFileError, match="other data or settings"):
            fit(*other, resume=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("what", ["values", "order", "labels", "length", "validation"])
def test_a_checkpoint_of_other_data_is_refused(tmp_path, what):
    path = tmp_path / "checkpoint"
    (sequences, labels), (held, others) = ramps(), ramps(10, seed=1)
    SequenceClassifier(**SMALL).fit(sequences, labels, None, (held, others), checkpoint=path)
    if what == "values":
        sequences[7] = sequences[7] + 1e-3
    elif what == "order":
        sequences, labels = sequences[::-1], labels[::-1]
    elif what == "labels":
        labels = np.roll(labels, 1)
    elif what == "length":
        sequences[7] = sequences[7][:-1]
    else:
        held = held[::-1]
    with pytest.raises(ModelFileError, match="other data or settings"):
        SequenceClassifier(**SMALL).fit(sequences, labels, None, (held, others), checkpoint=path, resume=True)


def test_what_is_no_checkpoint_is_refused(tmp_path, whole):
    path = tmp_path / "model.safetensors"
    for content, said in (
        (whole, "a model that is ready, and no checkpoint"),
        (whole[:-9], "not a whole safe"),
    ):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=said):
            SequenceClassifier(**SMALL).fit(*ramps(), checkpoint=path, resume=True)
        assert path.read_bytes() == content
    with pytest.raises(SettingError, match="name the checkpoint"):
        SequenceClassifier(**SMALL).fit(*ramps(), resume=True)


def test_a_checkpoint_that_lacks_something_is_told_in_one_line(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    averaged = SMALL | {"ema_decay": 0.5, "validation_fraction": 0.1}
    SequenceClassifier(**averaged).fit(*ramps(), checkpoint=path)
    arrays, description = load_model(path)
    parts = {name.split(".")[1] for name in arrays if name.startswith(PREFIX)}
    assert parts == {"params", "average", "best", "mean", "square"}
    values = description[PREFIX]
    for lacking in values:
        left = {name: value for name, value in values.items() if name != lacking}
        save_model(path, arrays, description | {PREFIX: left})
        with pytest.raises(ModelFileError, match=f"damaged or made by hand .*{lacking}") as caught:
            SequenceClassifier(**averaged).fit(*ramps(), checkpoint=path, resume=True)
        assert str(caught.value).startswith(f"{path}: ")
    for wrong in (
        {"epoch": -3},
        {"epoch": 0},
        {"epoch": "1"},
        {"batch": -1},
        {"updates": 1.5},
        {"updates": True},
        {"loss_sum": float("nan")},
        {"loss_sum": "much"},
        {"best_epoch": None},
        {"best_epoch": 50},
        {"best_loss": "much"},
        {"best_loss": float("nan")},
        {"history": {}},
        {"history": []},
        {"updates": 3},
        {"rows": 1},
    ):
        save_model(path, arrays, description | {PREFIX: values | wrong})
        with pytest.raises(ModelFileError, match=f"damaged or made by hand .*{next(iter(wrong))}"):
            SequenceClassifier(**averaged).fit(*ramps(), checkpoint=path, resume=True)
    for name in (name for name in arrays if name.startswith(PREFIX)):
        bias = arrays[name]
        others = bias[:-1], bias.astype(np.float64), None
        for other, said in zip(others, ("of shape", "is float64", "KeyError"), strict=True):
            left = {key: array for key, array in (arrays | {name: other}).items() if array is not None}
            save_model(path, left, description)
            before = path.read_bytes()
            with pytest.raises(ModelFileError, match=f"damaged or made by hand .*{name}") as caught:
                SequenceClassifier(**averaged).fit(*ramps(), checkpoint=path, resume=True)
            assert str(caught.value).startswith(f"{path}: ")
            assert said in str(caught.value)
            assert "\n" not in str(caught.value)
            assert path.read_bytes() == before
    for seconds in (-1, np.nan, "ten"):
        with pytest.raises(SettingError, match="checkpoint_seconds"):
            SequenceClassifier(**SMALL).fit(*ramps(), checkpoint=path, checkpoint_seconds=seconds)


# The last good weights.


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("good", [0, 7])
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch, whole, code, good):
    path, write, written = tmp_path / "checkpoint", Path.write_bytes, []

    def full(self, content):
        if len(written) == good:
            write(self, content[: len(content) // 2])
            raise OSError(code, os.strerror(code))
        written.append(write(self, content))

    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="cannot write the checkpoint") as error:
            SequenceClassifier(**SMALL).fit(*ramps(), checkpoint=path, checkpoint_seconds=0)
    assert (error.value.errno, error.value.filename) == (code, str(path))
    assert os.strerror(code) in error.value.strerror
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [path] * (good > 0)
    if good:
        assert updates_of(path) == good - 1
    assert goes_on(path, whole)


def too_fast(monkeypatch, after):
    """A learning rate beyond all bounds from an update on."""
    rate = TrainingOptions.learning_rate_of
    monkeypatch.setattr(
        TrainingOptions,
        "learning_rate_of",
        lambda self, update, updates: 1e38 if update >= after else rate(self, update, updates),
    )


def test_a_training_that_diverges_keeps_the_last_weights_that_were_sound(tmp_path, monkeypatch):
    """Those whose loss and gradient were finite; not those that the update too large made of them."""
    path, steps, step = tmp_path / "checkpoint", [], AdamW.step
    sequences, labels = ramps()
    with monkeypatch.context() as rates:
        too_fast(rates, after=17)
        with pytest.raises(
            DivergenceError, match=r"in update 19 \(epoch 4\) at a learning rate of 1e\+38, which"
        ):
            SequenceClassifier(**SMALL, pooling="mean").fit(
                sequences, labels, checkpoint=path, checkpoint_seconds=0
            )
    assert updates_of(path) == 17
    kept = SequenceClassifier.load(path)
    assert kept.score(sequences, labels) > 0.8
    assert len(kept.history_) == 3

    def noted(self, params, grads, learning_rate):
        steps.append({name: array.copy() for name, array in params.items()})
        step(self, params, grads, learning_rate)

    monkeypatch.setattr(AdamW, "step", noted)  # of a training that goes well
    SequenceClassifier(**SMALL, pooling="mean").fit(sequences, labels)
    for name, array in steps[17].items():
        np.testing.assert_array_equal(kept.params_[name], array)


@pytest.mark.parametrize("validation_fraction", [0, 0.25])
def test_a_last_update_that_is_too_large_leaves_the_checkpoint_before_it(
    tmp_path, monkeypatch, validation_fraction
):
    """The very bytes that a training leaves which is interrupted there."""
    settings = SMALL | {"validation_fraction": validation_fraction, "patience": 99}
    last, step = 6 * (4 if validation_fraction == 0 else 3), AdamW.step

    def left(name, error, said):
        with pytest.raises(error, match=said):
            classifier.fit(*ramps(32), checkpoint=tmp_path / name, checkpoint_seconds=0)
        return (tmp_path / name).read_bytes()

    def stop(self, params, grads, learning_rate):
        if self.steps == last - 1:
            raise KeyboardInterrupt
        step(self, params, grads, learning_rate)

    classifier = SequenceClassifier(**settings).fit(*ramps(32))
    before = classifier.params_
    with monkeypatch.context() as steps:
        steps.setattr(AdamW, "step", stop)
        interrupted = left("interrupted", KeyboardInterrupt, "^$")
    too_fast(monkeypatch, after=last - 1)
    said = rf"^the loss became nan after update {last}, the last \(epoch 6\), at a learning rate of 1e\+38, "
    assert left("diverged", DivergenceError, said) == interrupted
    assert updates_of(tmp_path / "diverged") == last - 1
    assert classifier.params_ is before


def test_no_checkpoint_is_written_while_the_loss_is_far_from_guessing(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint"
    step = AdamW.step

    def wild(self, params, grads, learning_rate):
        step(self, params, grads, learning_rate)
        if self.steps >= 9:
            params["linear.bias"][:] = [1000, 0]

    monkeypatch.setattr(AdamW, "step", wild)
    with pytest.raises(
        DivergenceError, match="more than 10 times that of guessing for 50 updates in update 59"
    ):
        SequenceClassifier(**SMALL | {"epochs": 30}, validation_fraction=0).fit(
            *ramps(), checkpoint=path, checkpoint_seconds=0
        )
    assert updates_of(path) == 8
    assert SequenceClassifier.load(path).params_["linear.bias"].max() < 1


def test_other_mistakes_leave_the_checkpoint_too(interrupted):
    before = interrupted.read_bytes()
    with pytest.raises(DataError):
        SequenceClassifier(**SMALL).fit([np.zeros((3, 2))], ["a"], checkpoint=interrupted, resume=True)
    assert interrupted.read_bytes() == before


# The bar.


def test_the_bar_of_a_resumed_training_counts_and_times_what_is_left(interrupted, monkeypatch):
    """On a clock by which every update takes two seconds: reading the checkpoint is not counted."""
    now, shown = [1000.0], []

    class Bar(tqdm.std.tqdm):
        def update(self, n=1):
            now[0] += 2
            super().update(n)
            said = self.format_dict
            shown.append((said["n"], said["total"], said["initial"], said["rate"]))

    monkeypatch.setattr(progress, "tqdm", lambda **given: Bar(**given | {"delay": 0, "mininterval": 0}))
    monkeypatch.setattr(tqdm.std, "time", lambda: now[0])
    SequenceClassifier(**SMALL, verbose=True).fit(*ramps(), checkpoint=interrupted, resume=True)
    assert [row[:3] for row in shown] == [(n, 30, 19) for n in range(20, 31)]
    assert [row[3] for row in shown[1:]] == pytest.approx([0.5] * 10)
