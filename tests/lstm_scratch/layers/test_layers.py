"""Linear, dropout, pooling and loss: values by hand or from torch, gradients by differences."""

import itertools

import numpy as np
import pytest
import torch

from lstm_scratch.layers.dropout import dropout_backward, dropout_forward
from lstm_scratch.layers.linear import linear_backward, linear_forward
from lstm_scratch.layers.loss import cross_entropy_backward, cross_entropy_forward, softmax
from lstm_scratch.layers.pooling import (
    EACH,
    STATISTICS,
    pooled_size,
    pooling_backward,
    pooling_forward,
    pooling_init,
)
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


def test_linear_takes_any_number_of_axes_before_the_last():
    params, x, dy = (
        {"weight": draw(K, F), "bias": draw(K, seed=1)},
        draw(T, B, F, seed=2),
        draw(T, B, K, seed=3),
    )
    y, cache = linear_forward(params, x)
    dx, grads = linear_backward(params, cache, dy)
    rows, cache = linear_forward(params, x.reshape(T * B, F))
    np.testing.assert_allclose(y.reshape(T * B, K), rows, rtol=1e-13, atol=1e-15)
    drows, expected = linear_backward(params, cache, dy.reshape(T * B, K))
    np.testing.assert_allclose(dx.reshape(T * B, F), drows, rtol=1e-13, atol=1e-15)
    for name, grad in expected.items():
        np.testing.assert_allclose(grads[name], grad, rtol=1e-13, atol=1e-15)


def pool_by_hand(pooling, y, query):
    """One row without padding, of which the second half of the features was read backwards."""
    weights = np.exp(y @ query) / np.exp(y @ query).sum()
    said = {
        "mean": y.mean(axis=0),
        "max": y.max(axis=0),
        "std": np.sqrt(y.var(axis=0) + 1e-5),
        "last": np.concatenate([y[-1, : F // 2], y[0, F // 2 :]]),
        "attention": weights @ y,
    }
    return np.concatenate([said[kind] for kind in pooling.split("+")])


ANALYTIC = {"mean", "std", "attention"}


def pool_analytic(pooling, y, query):
    """The same for complex numbers, of what is analytic."""
    mean = y.sum(axis=0) / len(y)
    said = {"mean": mean, "std": np.sqrt(((y - mean) ** 2).sum(axis=0) / len(y) + 1e-5)}
    if query is not None:
        e = np.exp((y * query).sum(axis=1, keepdims=True))
        said["attention"] = (e * y).sum(axis=0) / e.sum()
    return np.concatenate([said[kind] for kind in pooling.split("+")])


# Each alone, each pair in both orders, and all.
COMBINATIONS = [*STATISTICS, *map("+".join, itertools.permutations(STATISTICS, 2)), "+".join(STATISTICS)]


@pytest.mark.parametrize("kind", COMBINATIONS)
def test_pooling_takes_the_valid_steps_of_each_row(kind):
    y, params = draw(T, B, F), {"query": draw(F, seed=1)}
    y[np.arange(T)[:, None] >= LENGTHS] = 0  # as an LSTM leaves it
    pooled, _ = pooling_forward(params, kind, y, LENGTHS, directions=(False, True))
    assert pooled.shape == (B, pooled_size(kind, F))
    for b, length in enumerate(LENGTHS):
        expected = pool_by_hand(kind, y[:length, b], params["query"])
        np.testing.assert_allclose(pooled[b], expected, rtol=1e-12)


def test_without_pooling_every_step_stays_and_so_does_its_gradient():
    y, dy = draw(T, B, F), draw(T, B, F, seed=2)
    left, cache = pooling_forward({}, EACH, y, LENGTHS)
    np.testing.assert_array_equal(left, y)
    back, grads = pooling_backward({}, EACH, cache, dy)
    np.testing.assert_array_equal(back, dy)
    assert grads == {}
    assert pooled_size(EACH, F) == F


def test_only_attention_has_parameters():
    for pooling in (*COMBINATIONS, EACH):
        params = pooling_init(np.random.default_rng(3), pooling, F)
        assert {name: array.shape for name, array in params.items()} == (
            {"query": (F,)} if "attention" in pooling else {}
        )


def test_last_takes_the_last_valid_step_in_one_direction():
    y = draw(T, B, F)
    pooled, _ = pooling_forward({}, "last", y, LENGTHS)
    np.testing.assert_array_equal(pooled, y[LENGTHS - 1, np.arange(B)])


def test_max_of_negative_steps_is_not_the_zero_of_the_padding():
    y = -np.abs(draw(T, B, F))
    y[np.arange(T)[:, None] >= LENGTHS] = 0
    pooled, _ = pooling_forward({}, "max", y, LENGTHS)
    assert (pooled < 0).all()


@pytest.mark.parametrize("kind", COMBINATIONS)
@pytest.mark.parametrize("directions", [(False,), (True,), (False, True)])
def test_pooling_gradients_by_differences(kind, directions):
    y, params, dpooled = draw(T, B, F), {"query": draw(F, seed=1)}, draw(B, pooled_size(kind, F), seed=2)
    params = params if "attention" in kind else {}
    y[np.arange(T)[:, None] >= LENGTHS] = 0

    def forward(arrays):
        return pooling_forward(arrays, kind, arrays["y"], LENGTHS, directions)

    arrays = params | {"y": y}
    dy, grads = pooling_backward(params, kind, forward(arrays)[1], dpooled)
    assert_gradients(lambda moved: (forward(moved)[0] * dpooled).sum(), arrays, grads | {"y": dy})


@pytest.mark.parametrize("kind", [kind for kind in COMBINATIONS if set(kind.split("+")) <= ANALYTIC])
def test_pooling_gradients_by_complex_step(kind):
    y, params, dpooled = draw(T, B, F), {"query": draw(F, seed=1)}, draw(B, pooled_size(kind, F), seed=2)
    params = params if "attention" in kind else {}
    y[np.arange(T)[:, None] >= LENGTHS] = 0

    def loss(arrays):
        """By hand: our own forward looks for the largest score, which complex numbers do not have."""
        rows = [
            (pool_analytic(kind, arrays["y"][:length, b], arrays.get("query")) * dpooled[b]).sum()
            for b, length in enumerate(LENGTHS)
        ]
        return sum(rows)

    _, cache = pooling_forward(params, kind, y, LENGTHS)
    dy, grads = pooling_backward(params, kind, cache, dpooled)
    assert_gradients(loss, params | {"y": y}, grads | {"y": dy}, 1e-13, method="complex")


def test_the_deviation_of_steps_that_are_alike_has_a_finite_gradient():
    y = np.repeat(draw(1, B, F), T, axis=0)
    pooled, cache = pooling_forward({}, "std", y, LENGTHS)
    np.testing.assert_allclose(pooled, np.sqrt(1e-5), rtol=1e-12)
    dy, _ = pooling_backward({}, "std", cache, draw(B, F, seed=2))
    np.testing.assert_allclose(dy, 0, atol=1e-12)


@pytest.mark.parametrize("kind", COMBINATIONS)
def test_a_row_without_steps_pools_to_zero_and_keeps_float32(kind):
    y, params = np.zeros((T, B, F), np.float32), {"query": draw(F).astype(np.float32)}
    y[:, 1:] = 3
    lengths = np.array([0, 5, 5])
    pooled, cache = pooling_forward(params, kind, y, lengths)
    dy, grads = pooling_backward(params, kind, cache, np.ones((B, pooled_size(kind, F)), np.float32))
    np.testing.assert_array_equal(pooled[0], 0)
    np.testing.assert_array_equal(dy[:, 0], 0)
    for name, said in zip(kind.split("+"), np.split(pooled[1:], len(kind.split("+")), axis=1), strict=True):
        np.testing.assert_allclose(said, np.sqrt(1e-5) if name == "std" else 3, rtol=1e-6)
    assert {array.dtype for array in (pooled, dy, *grads.values())} == {np.dtype(np.float32)}


def steps_of(targets):
    """Targets of steps, with -1 after the end of each row and at two steps within."""
    targets = np.where(np.arange(T)[:, None] < LENGTHS, targets, -1)
    targets[[0, 3], [0, 1]] = -1
    return targets


TARGETS = {
    "a class each": np.array([4, 0, 5]),
    "a row that does not count": np.array([4, -1, 5]),
    "a class of every step": steps_of(np.random.default_rng(4).integers(0, K, (T, B))),
    "probabilities": np.random.default_rng(5).dirichlet(np.ones(K), B),
    "probabilities of every step": np.random.default_rng(6).dirichlet(np.ones(K), (T, B)),
}


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_cross_entropy_is_that_of_torch(label_smoothing, weighted, targets):
    soft = targets.dtype == np.float64
    logits = 3 * draw(*(targets.shape if soft else (*targets.shape, K)))
    weight = np.linspace(0.5, 2, K) if weighted else None
    loss, cache = cross_entropy_forward(logits, targets, label_smoothing, weight)
    theirs = torch.tensor(logits, requires_grad=True)
    criterion = torch.nn.CrossEntropyLoss(
        weight=None if weight is None else torch.tensor(weight),
        label_smoothing=label_smoothing,
        ignore_index=-1,
    )
    torch_loss = criterion(
        theirs.reshape(-1, K), torch.tensor(targets.reshape(-1, K) if soft else targets.ravel())
    )
    if soft and weighted:  # torch divides by the number of rows, whatever they weigh
        torch_loss = torch_loss * targets.size / K / (targets * weight).sum()
    torch_loss.backward()
    assert loss == pytest.approx(torch_loss.item(), rel=1e-13)
    np.testing.assert_allclose(
        cross_entropy_backward(cache, 2.0), 2 * theirs.grad.numpy(), rtol=1e-12, atol=1e-16
    )
    assert_gradients(
        lambda arrays: cross_entropy_forward(arrays["logits"], targets, label_smoothing, weight)[0],
        {"logits": logits},
        {"logits": cross_entropy_backward(cache)},
    )


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_certain_probabilities_are_classes(label_smoothing):
    """Weighted too: a class and the probability 1 of it are the same."""
    logits, targets, weight = draw(B, K), np.array([4, 0, 5]), np.linspace(0.5, 2, K)
    by_class = cross_entropy_forward(logits, targets, label_smoothing, weight)
    by_probability = cross_entropy_forward(logits, np.eye(K)[targets], label_smoothing, weight)
    assert by_class[0] == by_probability[0]
    np.testing.assert_array_equal(by_class[1], by_probability[1])


def test_where_no_step_counts_there_is_neither_loss_nor_gradient():
    loss, cache = cross_entropy_forward(draw(T, B, K), np.full((T, B), -1), 0.1, np.linspace(0.5, 2, K))
    assert loss == 0
    np.testing.assert_array_equal(cache, np.zeros((T, B, K)))


def test_float32_logits_have_float32_gradients():
    for targets in TARGETS.values():
        shape = targets.shape if targets.dtype == np.float64 else (*targets.shape, K)
        logits = draw(*shape).astype(np.float32)
        _, cache = cross_entropy_forward(logits, targets, 0.1, np.linspace(0.5, 2, K))
        assert cross_entropy_backward(cache).dtype == np.float32


def test_softmax_and_loss_survive_large_logits():
    logits = np.array([[1000.0, 0.0, -1000.0]])
    np.testing.assert_array_equal(softmax(logits), [[1, 0, 0]])
    loss, cache = cross_entropy_forward(logits, np.array([1]))
    assert loss == 1000
    np.testing.assert_array_equal(cache, [[1, -1, 0]])
