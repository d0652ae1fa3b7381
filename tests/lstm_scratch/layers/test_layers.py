"""Linear, dropout, pooling and loss: values by hand or from torch, gradients by differences."""

import numpy as np
import pytest
import torch

from lstm_scratch.layers.dropout import dropout_backward, dropout_forward
from lstm_scratch.layers.linear import linear_backward, linear_forward
from lstm_scratch.layers.loss import cross_entropy_backward, cross_entropy_forward, softmax
from lstm_scratch.layers.pooling import POOLINGS, pooling_backward, pooling_forward
from reference import assert_gradients

T, B, F, K = 5, 3, 4, 6
LENGTHS = np.array([3, 5, 1])


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_linear_by_hand_and_by_differences():
    params, x, dy = {"weight": draw(K, F), "bias": draw(K, seed=1)}, draw(B, F, seed=2), draw(B, K, seed=3)
    y, cache = linear_forward(params, x)
    assert y[1, 2] == pytest.approx(sum(params["weight"][2] * x[1]) + params["bias"][2])
    dx, grads = linear_backward(params, cache, dy)

    def loss(arrays):
        return (linear_forward(arrays, arrays["x"])[0] * dy).sum()

    assert_gradients(loss, params | {"x": x}, grads | {"x": dx})


def test_dropout_keeps_the_mean_and_lets_the_gradient_through_what_it_kept():
    x = np.full((200, 300), 2.0, np.float32)
    y, mask = dropout_forward(x, 0.25, np.random.default_rng(0))
    assert y.dtype == np.float32
    assert set(np.unique(y)) == {np.float32(0), np.float32(2 / 0.75)}
    assert y.mean() == pytest.approx(2, rel=0.01)
    np.testing.assert_array_equal(dropout_backward(np.ones_like(x), mask), y / 2)


def test_dropout_outside_training_does_nothing():
    x = draw(B, F)
    y, mask = dropout_forward(x, 0.25, None)
    assert y is x
    assert mask is None
    assert dropout_backward(x, mask) is x


def pool_by_hand(kind, y, query):
    """One row without padding."""
    if kind == "mean":
        return y.mean(axis=0)
    if kind == "max":
        return y.max(axis=0)
    if kind == "last":
        return np.concatenate([y[-1, : F // 2], y[0, F // 2 :]])
    weights = np.exp(y @ query) / np.exp(y @ query).sum()
    return weights @ y


@pytest.mark.parametrize("kind", POOLINGS)
def test_pooling_takes_the_valid_steps_of_each_row(kind):
    y, params = draw(T, B, F), {"query": draw(F, seed=1)}
    y[np.arange(T)[:, None] >= LENGTHS] = 0  # as an LSTM leaves it
    pooled, _ = pooling_forward(params, kind, y, LENGTHS, directions=(False, True))
    for b, length in enumerate(LENGTHS):
        expected = pool_by_hand(kind, y[:length, b], params["query"])
        np.testing.assert_allclose(pooled[b], expected, rtol=1e-12)


def test_last_takes_the_last_valid_step_in_one_direction():
    y = draw(T, B, F)
    pooled, _ = pooling_forward({}, "last", y, LENGTHS)
    np.testing.assert_array_equal(pooled, y[LENGTHS - 1, np.arange(B)])


def test_max_of_negative_steps_is_not_the_zero_of_the_padding():
    y = -np.abs(draw(T, B, F))
    y[np.arange(T)[:, None] >= LENGTHS] = 0
    pooled, _ = pooling_forward({}, "max", y, LENGTHS)
    assert (pooled < 0).all()


@pytest.mark.parametrize("kind", POOLINGS)
@pytest.mark.parametrize("directions", [(False,), (True,), (False, True)])
def test_pooling_gradients_by_differences(kind, directions):
    y, params, dpooled = draw(T, B, F), {"query": draw(F, seed=1)}, draw(B, F, seed=2)
    params = params if kind == "attention" else {}
    y[np.arange(T)[:, None] >= LENGTHS] = 0

    def forward(arrays):
        return pooling_forward(arrays, kind, arrays["y"], LENGTHS, directions)

    arrays = params | {"y": y}
    dy, grads = pooling_backward(params, kind, forward(arrays)[1], dpooled)
    assert_gradients(lambda moved: (forward(moved)[0] * dpooled).sum(), arrays, grads | {"y": dy})


@pytest.mark.parametrize("kind", POOLINGS)
def test_a_row_without_steps_pools_to_zero_and_keeps_float32(kind):
    y, params = np.zeros((T, B, F), np.float32), {"query": draw(F).astype(np.float32)}
    y[:, 1:] = 3
    lengths = np.array([0, 5, 5])
    pooled, cache = pooling_forward(params, kind, y, lengths)
    dy, _ = pooling_backward(params, kind, cache, np.ones((B, F), np.float32))
    np.testing.assert_array_equal(pooled[0], 0)
    np.testing.assert_array_equal(dy[:, 0], 0)
    np.testing.assert_allclose(pooled[1:], 3, rtol=1e-6)
    assert (pooled.dtype, dy.dtype) == (np.float32, np.float32)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_is_that_of_torch(label_smoothing, weighted):
    logits, targets = 3 * draw(B, K), np.array([4, 0, 5])
    weight = np.linspace(0.5, 2, K) if weighted else None
    loss, cache = cross_entropy_forward(logits, targets, label_smoothing, weight)
    theirs = torch.tensor(logits, requires_grad=True)
    criterion = torch.nn.CrossEntropyLoss(
        weight=None if weight is None else torch.tensor(weight), label_smoothing=label_smoothing
    )
    torch_loss = criterion(theirs, torch.tensor(targets))
    torch_loss.backward()
    assert loss == pytest.approx(torch_loss.item(), rel=1e-13)
    np.testing.assert_allclose(cross_entropy_backward(cache, 2.0), 2 * theirs.grad.numpy(), rtol=1e-12)
    assert_gradients(
        lambda arrays: cross_entropy_forward(arrays["logits"], targets, label_smoothing, weight)[0],
        {"logits": logits},
        {"logits": cross_entropy_backward(cache)},
    )


def test_softmax_and_loss_survive_large_logits():
    logits = np.array([[1000.0, 0.0, -1000.0]])
    np.testing.assert_array_equal(softmax(logits), [[1, 0, 0]])
    loss, cache = cross_entropy_forward(logits, np.array([1]))
    assert loss == 1000
    np.testing.assert_array_equal(cache, [[1, -1, 0]])
