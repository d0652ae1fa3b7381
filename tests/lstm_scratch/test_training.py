"""The training loop: it learns, keeps the best epoch, stops early, and repeats itself bit by bit."""

import copy
import dataclasses
import threading

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from lstm_scratch.batches import Examples
from lstm_scratch.errors import DivergenceError, SettingError
from lstm_scratch.layers.loss import cross_entropy_forward
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.network import Network
from lstm_scratch.optim import AdamW
from lstm_scratch.params import from_torch_names, to_torch_names
from lstm_scratch.threads import one_blas_thread
from lstm_scratch.training import TrainingOptions, predict_logits, train

OPTIONS = TrainingOptions(
    epochs=12,
    batch_size=8,
    learning_rate=0.02,
    schedule="one-cycle",
    weight_decay=0.01,
    max_gradient_norm=1.0,
    label_smoothing=0.0,
    patience=None,
)
NETWORK = Network(LSTM(3, 6), 2, "mean", dropout=0.1)


def ramps(n, seed):
    """Noisy rising and falling ramps of many lengths: only their order in time tells them apart."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, n)
    sequences = []
    for target in targets:
        ramp = np.linspace(-1, 1, rng.integers(5, 12))
        noise = rng.normal(scale=0.3, size=(len(ramp), 3))
        sequences.append((noise + (ramp if target else ramp[::-1])[:, None]).astype(np.float32))
    return sequences, targets


def run(options=OPTIONS, training=None, validation=None, seed=0, **more):
    training = ramps(60, 1) if training is None else training
    params = NETWORK.init(np.random.default_rng(2))
    return train(NETWORK, params, Examples(*training, 2), validation, options, seed, **more)


def test_it_learns_what_a_mean_over_time_cannot_tell():
    params, history = run()
    sequences, targets = ramps(200, 3)
    assert (predict_logits(NETWORK, params, sequences).argmax(axis=1) == targets).mean() > 0.95
    assert history[-1].training_loss < 0.2 < 0.6 < history[0].training_loss
    assert [epoch.epoch for epoch in history] == list(range(1, 13))


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    first, again, other = run(seed=0)[0], run(seed=0)[0], run(seed=1)[0]
    for name, array in first.items():
        assert array.tobytes() == again[name].tobytes(), name
    assert first["lstm.weight_hh_l0"].tobytes() != other["lstm.weight_hh_l0"].tobytes()


def test_the_epoch_with_the_smallest_validation_loss_is_kept():
    """Validation labels are wrong on purpose, so that the first epochs are the best."""
    sequences, targets = ramps(30, 4)
    validation = (sequences, 1 - targets)
    params, history = run(dataclasses.replace(OPTIONS, patience=3), validation=validation)
    losses = [epoch.validation_loss for epoch in history]
    kept, _ = cross_entropy_forward(predict_logits(NETWORK, params, sequences), validation[1])
    assert kept == pytest.approx(min(losses), rel=1e-6)
    assert len(history) == int(np.argmin(losses)) + 1 + 3 < 12


@pytest.mark.parametrize("schedule", ["one-cycle", "constant"])
def test_updates_are_those_of_torch(schedule):
    """Batches, loss, clipping, AdamW and the rate together: nine updates in float64 without dropout."""
    options = dataclasses.replace(
        OPTIONS, epochs=3, schedule=schedule, max_gradient_norm=0.1, weight_decay=0.5, label_smoothing=0.2
    )
    sequences, targets = ramps(20, 1)
    sequences = [sequence.astype(np.float64) for sequence in sequences]
    weight = np.array([0.5, 2.0])
    network = Network(LSTM(3, 6), 2, "mean")
    start = network.init(np.random.default_rng(2), np.float64)
    ours, _ = train(network, start, Examples(sequences, targets, 2), None, options, 5, weight)

    lstm, linear = torch.nn.LSTM(3, 6, dtype=torch.float64), torch.nn.Linear(6, 2, dtype=torch.float64)
    theirs = torch.nn.ModuleDict({"lstm": lstm, "linear": linear})
    theirs.load_state_dict({name: torch.tensor(a) for name, a in to_torch_names(start).items()})
    lstm.bias_hh_l0.requires_grad_(False)  # we have one bias
    trained = [p for p in theirs.parameters() if p.requires_grad]
    adamw = torch.optim.AdamW(trained, lr=options.learning_rate, weight_decay=0.5)
    if schedule == "one-cycle":
        rate = torch.optim.lr_scheduler.OneCycleLR(
            adamw, max_lr=options.learning_rate, total_steps=9, cycle_momentum=False
        )
    criterion = torch.nn.CrossEntropyLoss(weight=torch.tensor(weight), label_smoothing=0.2)
    for epoch in (1, 2, 3):
        order = np.random.default_rng([5, 0, epoch]).permutation(20)
        for batch in np.split(order, [8, 16]):
            means = [lstm(torch.tensor(sequences[n])[:, None])[0].mean(dim=0)[0] for n in batch]
            loss = criterion(linear(torch.stack(means)), torch.tensor(targets[batch]))
            adamw.zero_grad()
            loss.backward()
            norm = torch.linalg.vector_norm(torch.cat([p.grad.ravel() for p in trained]))
            assert norm > 0.1
            for p in trained:
                p.grad *= 0.1 / norm  # torch's own clipping adds 1e-6 to the norm
            adamw.step()
            if schedule == "one-cycle" and rate.last_epoch < 8:
                rate.step()
    for name, array in from_torch_names(
        {k: p.detach().numpy() for k, p in theirs.state_dict().items()}
    ).items():
        np.testing.assert_allclose(ours[name], array, rtol=1e-9, atol=1e-12, err_msg=name)


def test_dropout_acts_in_training_alone():
    still = Network(LSTM(3, 6), 2, "mean", dropout=0.0)
    start = still.init(np.random.default_rng(2))
    dropped, kept = (
        train(network, start, Examples(*ramps(20, 1), 2), None, OPTIONS, 0)[0] for network in (NETWORK, still)
    )
    assert not np.array_equal(dropped["linear.weight"], kept["linear.weight"])
    sequences, _ = ramps(9, 2)
    np.testing.assert_array_equal(
        predict_logits(NETWORK, kept, sequences), predict_logits(still, kept, sequences)
    )


def test_training_ends_after_a_quarter_of_the_epochs_without_improvement():
    sequences, targets = ramps(30, 4)
    options = dataclasses.replace(OPTIONS, epochs=28)
    _, history = run(options, validation=(sequences, 1 - targets))
    best = int(np.argmin([epoch.validation_loss for epoch in history])) + 1
    assert len(history) == best + 7 < 28


def test_the_validation_loss_weighs_classes_as_the_training_loss_does():
    validation, weight = ramps(30, 4), np.array([1.0, 30.0], np.float32)
    params, history = run(dataclasses.replace(OPTIONS, epochs=1), validation=validation, class_weight=weight)
    logits = predict_logits(NETWORK, params, validation[0])
    expected, _ = cross_entropy_forward(logits, validation[1], class_weight=weight)
    assert history[0].validation_loss == pytest.approx(expected, rel=1e-6)
    assert abs(expected - cross_entropy_forward(logits, validation[1])[0]) > 1e-3


def test_a_long_clip_does_not_stretch_the_batch_of_the_short_ones(monkeypatch):
    rng = np.random.default_rng(0)
    sequences = [
        rng.normal(size=(length, 3)).astype(np.float32) for length in (9000, *[30] * 500, 4000, 4000, 4000)
    ]
    params = NETWORK.init(rng)
    shapes = []
    forward = Network.forward
    monkeypatch.setattr(
        Network,
        "forward",
        lambda self, p, x, n, **more: (shapes.append(x.shape[:2]), forward(self, p, x, n, **more))[1],
    )
    logits = predict_logits(NETWORK, params, sequences)
    assert sum(B for _, B in shapes) == 504
    assert all(T * B <= 8192 or B == 1 for T, B in shapes)
    assert len(shapes) == 5  # 273 and 227 of 30 steps, 2 and 1 of 4000, 1 of 9000
    alone = predict_logits(NETWORK, params, [sequences[0]])
    np.testing.assert_allclose(logits[0], alone[0], atol=1e-6)


def test_threads_that_overlap_leave_the_limit_as_it_was():
    def blas_threads():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    with threadpool_limits(limits=2, user_api="blas"):
        first, second = one_blas_thread(), one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert blas_threads() == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == {2}


def test_epochs_of_large_data_default_to_twenty():
    options = dataclasses.replace(OPTIONS, epochs=None, batch_size=1)
    _, history = run(options, training=ramps(120, 1))
    assert len(history) == 20  # 120 updates each


def test_without_validation_the_last_epoch_is_kept():
    seen = []
    params, history = run(on_epoch=seen.append)
    assert seen == history
    assert history[-1].validation_loss is None
    longer, _ = run(dataclasses.replace(OPTIONS, epochs=13))
    assert not np.array_equal(params["linear.weight"], longer["linear.weight"])


def test_the_start_is_left_as_it_was():
    start = NETWORK.init(np.random.default_rng(2))
    before = {name: array.copy() for name, array in start.items()}
    train(NETWORK, start, Examples(*ramps(20, 1), 2), None, OPTIONS, 0)
    for name, array in start.items():
        np.testing.assert_array_equal(array, before[name])


def test_epochs_default_to_two_thousand_updates():
    options = dataclasses.replace(OPTIONS, epochs=None, batch_size=4)
    _, history = run(options, training=ramps(320, 1))
    assert len(history) == 25  # 80 batches each
    assert history[-1].epochs == 25


def test_matrix_products_keep_to_one_thread_while_it_trains():
    def blas_threads():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    seen = []
    with threadpool_limits(limits=2, user_api="blas"):
        run(on_epoch=lambda epoch: seen.append(blas_threads()))
        assert blas_threads() == {2}
    assert seen == [{1}] * 12


def test_learning_rates_follow_the_schedule():
    rates = [epoch.learning_rate for epoch in run()[1]]
    assert max(rates) == pytest.approx(0.02, rel=0.01)
    assert rates[-1] == pytest.approx(0.02 / 250_000)
    constant = run(dataclasses.replace(OPTIONS, schedule="constant"))[1]
    assert {epoch.learning_rate for epoch in constant} == {0.02}


def test_sequences_that_are_not_finite_stop_the_training_and_are_named_as_the_cause():
    sequences, targets = ramps(20, 1)
    sequences[7] = np.full_like(sequences[7], np.inf)
    update = int(np.flatnonzero(np.random.default_rng([0, 0, 1]).permutation(20) == 7)[0]) // 8 + 1
    with pytest.raises(DivergenceError) as error:
        run(dataclasses.replace(OPTIONS, schedule="constant"), training=(sequences, targets))
    assert str(error.value) == (
        f"the loss became nan in update {update} (epoch 1) at a learning rate of 0.02, since sequences of "
        "its batch hold NaN or infinite values: mend the data"
    )


@pytest.mark.filterwarnings("error")
def test_a_learning_rate_that_is_too_high_stops_the_training_and_is_named():
    options = dataclasses.replace(OPTIONS, schedule="constant", learning_rate=1e38)
    with pytest.raises(DivergenceError) as error:
        run(options, training=ramps(20, 1))
    assert str(error.value) == (
        "the loss became nan in update 2 (epoch 1) at a learning rate of 1e+38, which is likely too high: "
        "lower it, or max_gradient_norm"
    )


@pytest.mark.filterwarnings("error")
def test_a_gradient_that_is_not_finite_stops_the_training():
    """Inputs so large and weights so small that the loss is what it was, but not the gradient."""
    sequences, targets = ramps(20, 1)
    start = NETWORK.init(np.random.default_rng(2))
    start["lstm.weight_ih_l0"] *= np.float32(1e-25)
    examples = Examples([sequence * np.float32(1e25) for sequence in sequences], targets, 2)
    with pytest.raises(
        DivergenceError, match=r"the gradient's norm became inf in update 1 \(epoch 1\) at .* lower"
    ):
        train(NETWORK, start, examples, None, OPTIONS, 0)


@pytest.mark.filterwarnings("error")
def test_a_last_update_that_leaves_no_sound_weights_is_no_end(monkeypatch):
    """Not even where the loss is what it was: a gate whose bias is infinite is wide open, and no more."""
    options = dataclasses.replace(OPTIONS, epochs=2, batch_size=7)
    step = AdamW.step

    def last(name, value):
        def stepped(self, params, grads, learning_rate):
            step(self, params, grads, learning_rate)
            if self.steps == 6:
                params[name][1] = value

        monkeypatch.setattr(AdamW, "step", stepped)
        with pytest.raises(DivergenceError) as error:
            run(options, training=ramps(20, 1))
        assert "\n" not in str(error.value)
        return str(error.value)

    where = "after update 6, the last (epoch 2), at a learning rate of 8e-08, which is likely too high"
    assert f"the loss became nan {where}" in last("linear.bias", np.nan)
    assert f"the loss became nan {where}" in last("linear.weight", np.inf)
    assert f"lstm.bias_l0 holds NaN or infinite values {where}" in last("lstm.bias_l0", np.inf)


@pytest.fixture
def loud():
    """A start so sure of class 0 that its loss is some hundreds, and a rate by which it stays so."""
    start = NETWORK.init(np.random.default_rng(2))
    start["linear.bias"][0] = 1000
    options = dataclasses.replace(OPTIONS, schedule="constant", learning_rate=1e-6, batch_size=60)
    return start, dataclasses.replace(options, epochs=60)


def test_a_loss_that_is_far_from_guessing_for_long_stops_the_training(loud):
    start, options = loud
    sequences, targets = ramps(60, 1)
    with pytest.raises(DivergenceError) as error:
        train(NETWORK, start, Examples(sequences, targets, 2), None, options, 0)
    loss = 1000 * np.mean(targets == 1)
    assert str(error.value) == (
        f"the loss, {loss:.3g}, has been more than 10 times that of guessing for 50 updates in update 50 "
        "(epoch 50) at a learning rate of 1e-06, which is likely too high: lower it, or max_gradient_norm"
    )


def test_one_good_update_among_loud_ones_begins_the_count_anew(loud):
    start, options = loud
    counts = []

    def note(state, updates):
        counts.append(state.loud)
        if state.optimiser.steps in (30, 31):
            state.params["linear.bias"][0] = 0 if state.optimiser.steps == 30 else 1000

    options = dataclasses.replace(options, epochs=90)
    with pytest.raises(DivergenceError, match="in update 82"):
        train(NETWORK, start, Examples(*ramps(60, 1), 2), None, options, 0, on_update=note)
    assert counts == [*range(1, 32), 0, *range(1, 50)]


def test_whoever_watches_the_updates_sees_the_state_before_each():
    seen, states = [], []

    def note(state, updates):
        weights = state.params["linear.weight"].copy()
        seen.append((updates, state.optimiser.steps, state.epoch, state.batch, state.rows, weights))
        states.append(state)

    params, history = run(on_update=note)
    assert [row[:5] for row in seen] == [
        (12 * 8, 8 * (epoch - 1) + batch, epoch, batch, 8 * batch)
        for epoch in range(1, 13)
        for batch in range(8)
    ]
    np.testing.assert_array_equal(seen[0][5], NETWORK.init(np.random.default_rng(2))["linear.weight"])
    assert all(state is states[0] for state in states)
    np.testing.assert_array_equal(states[0].params["linear.weight"], params["linear.weight"])
    assert states[0].history == history


def test_training_loss_and_accuracy_are_means_over_the_rows():
    """Of the parameters before each update, recomputed; the last batch is smaller."""
    sequences, targets = ramps(20, 1)
    options = dataclasses.replace(OPTIONS, epochs=1)
    network, seen = Network(LSTM(3, 6), 2, "mean"), []
    start = network.init(np.random.default_rng(2))

    def note(state, updates):
        seen.append({name: array.copy() for name, array in state.params.items()})

    _, (epoch,) = train(network, start, Examples(sequences, targets, 2), None, options, 0, on_update=note)
    order = np.random.default_rng([0, 0, 1]).permutation(20)
    losses, right = 0.0, 0
    for params, rows in zip(seen, np.split(order, [8, 16]), strict=True):
        logits = predict_logits(network, params, [sequences[n] for n in rows])
        losses += len(rows) * cross_entropy_forward(logits, targets[rows])[0]
        right += int((logits.argmax(axis=1) == targets[rows]).sum())
    assert epoch.training_loss == pytest.approx(losses / 20, rel=1e-5)
    assert epoch.training_accuracy == right / 20


def running_mean(params, decay):
    """Means of parameters over updates, of the first ones with a decay that grows."""
    mean = params[0]
    yield mean
    for step, now in enumerate(params[1:], start=1):
        part = min(decay, (1 + step) / (10 + step))
        mean = {name: part * mean[name] + (1 - part) * array for name, array in now.items()}
        yield mean


@pytest.mark.parametrize("decay", [0.3, 0.97])
def test_the_running_mean_of_the_parameters_is_kept_and_validated(decay):
    training, validation = ramps(20, 1), ramps(30, 4)
    training, validation = (([x.astype(float) for x in part[0]], part[1]) for part in (training, validation))
    network, seen, states = Network(LSTM(3, 6), 2, "mean"), [], []
    start = network.init(np.random.default_rng(2), np.float64)

    def note(state, updates):
        seen.append({name: array.copy() for name, array in state.params.items()})
        states.append(state)

    options = dataclasses.replace(OPTIONS, epochs=4, ema_decay=decay)
    kept, history = train(network, start, Examples(*training, 2), validation, options, 0, on_update=note)
    means = list(running_mean([*seen, states[-1].params], decay))[3::3]  # after each epoch of three updates
    losses = [
        cross_entropy_forward(predict_logits(network, m, validation[0]), validation[1])[0] for m in means
    ]
    assert [epoch.validation_loss for epoch in history] == pytest.approx(losses, rel=1e-11)
    for name, array in means[int(np.argmin(losses))].items():
        np.testing.assert_allclose(kept[name], array, rtol=1e-11, atol=1e-14, err_msg=name)
    last, _ = train(network, start, Examples(*training, 2), None, options, 0)
    for name, array in means[-1].items():
        np.testing.assert_allclose(last[name], array, rtol=1e-11, atol=1e-14, err_msg=name)
    assert np.abs(last["linear.weight"] - states[-1].params["linear.weight"]).max() > 1e-4


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_a_training_goes_on_from_any_update_to_the_same_bits(validated, decay):
    """Also where that was the last of an epoch, and where training stops early."""
    training, (held, targets) = ramps(20, 1), ramps(9, 4)
    validation = (held, 1 - targets) if validated else None
    options = dataclasses.replace(OPTIONS, ema_decay=decay, patience=2)
    states = []
    whole, history = run(
        options, training, validation, on_update=lambda state, _: states.append(copy.deepcopy(state))
    )
    assert (len(history) < 12) == validated
    for state in states[::2]:
        again, told = run(options, training, validation, state=state)
        assert told == history
        for name, array in whole.items():
            assert again[name].tobytes() == array.tobytes(), (name, state.epoch, state.batch)


def test_labels_of_steps_are_learned_counted_and_validated():
    """Which of two features is the larger, step by step."""
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(length, 3)).astype(np.float32) for length in rng.integers(2, 9, 70)]
    targets = [(sequence[:, 0] > sequence[:, 1]).astype(int) for sequence in sequences]
    network = Network(LSTM(3, 6), 2, "none")
    start = network.init(rng)
    examples, validation = Examples(sequences[:50], targets[:50], 2), (sequences[50:], targets[50:])
    options = dataclasses.replace(OPTIONS, schedule="constant")
    params, history = train(network, start, examples, validation, options, 0)
    logits = predict_logits(network, params, sequences[50:])
    assert [of_one.shape for of_one in logits] == [(len(sequence), 2) for sequence in sequences[50:]]
    best = min(history, key=lambda epoch: epoch.validation_loss)
    loss = cross_entropy_forward(np.concatenate(logits), np.concatenate(targets[50:]))[0]
    right = np.mean(np.concatenate(logits).argmax(axis=1) == np.concatenate(targets[50:]))
    assert (best.validation_loss, best.validation_accuracy) == (pytest.approx(loss, rel=1e-6), right)
    assert right > 0.9
    first, _ = train(network, start, examples, None, dataclasses.replace(options, epochs=1), 0)
    assert cross_entropy_forward(
        np.concatenate(predict_logits(network, first, sequences[50:])), np.concatenate(targets[50:])
    )[0] == pytest.approx(history[0].validation_loss, rel=1e-6)


def test_a_training_that_diverges_leaves_no_thread():
    """While its error, and with it all that it refers to, is still there."""
    sequences, targets = ramps(40, 1)
    examples = Examples(
        sequences, targets, 2, redraw=lambda n, rng: (sequences[n] * np.float32(np.nan), targets[n])
    )
    with pytest.raises(DivergenceError) as error:
        train(NETWORK, NETWORK.init(np.random.default_rng(2)), examples, None, OPTIONS, 0)
    assert "hold NaN" in str(error.value)
    assert not [thread for thread in threading.enumerate() if thread.name == "lstm-scratch batches"]


def test_logits_come_in_the_order_of_the_sequences():
    sequences, _ = ramps(150, 5)
    params = NETWORK.init(np.random.default_rng(2))
    together = predict_logits(NETWORK, params, sequences)
    for n in (0, 63, 64, 149):
        np.testing.assert_allclose(together[n], predict_logits(NETWORK, params, [sequences[n]])[0], atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": -1.0},
        {"learning_rate": float("nan")},
        {"schedule": "linear"},
        {"weight_decay": -0.1},
        {"max_gradient_norm": 0.0},
        {"label_smoothing": 1.0},
        {"patience": 0},
        {"ema_decay": 1.0},
        {"ema_decay": -0.5},
    ],
    ids=str,
)
def test_options_out_of_range_are_refused_by_name(change):
    with pytest.raises(SettingError, match=next(iter(change))):
        dataclasses.replace(OPTIONS, **change)
