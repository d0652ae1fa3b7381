"""The training loop: it learns, keeps the best epoch, stops early, and repeats itself bit by bit."""

import dataclasses

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from lstm_scratch.errors import SettingError
from lstm_scratch.layers.loss import cross_entropy_forward
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.network import Network
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
    return train(NETWORK, params, training, validation, options, np.random.default_rng(seed), **more)


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
    train(NETWORK, start, ramps(20, 1), None, OPTIONS, np.random.default_rng(0))
    for name, array in start.items():
        np.testing.assert_array_equal(array, before[name])


def test_epochs_default_to_a_thousand_updates():
    options = dataclasses.replace(OPTIONS, epochs=None, batch_size=4)
    _, history = run(options, training=ramps(400, 1))
    assert len(history) == 10  # 100 batches each
    assert history[-1].epochs == 10


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


def test_a_loss_that_is_no_number_stops_the_training_and_says_so():
    sequences, targets = ramps(20, 1)
    sequences[7] = np.full_like(sequences[7], np.inf)
    with np.errstate(all="ignore"), pytest.raises(SettingError, match=r"loss became nan in epoch 1 .* lower"):
        run(training=(sequences, targets))


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
    ],
    ids=str,
)
def test_options_out_of_range_are_refused_by_name(change):
    with pytest.raises(SettingError, match=next(iter(change))):
        dataclasses.replace(OPTIONS, **change)
