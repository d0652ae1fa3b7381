"""Layer normalisation: values by hand and from torch, gradients by complex step, differences and torch."""

import numpy as np
import pytest
import torch

from lstm_scratch.layers.layer_norm import layer_norm_backward, layer_norm_forward
from reference import assert_gradients

SHAPES = [(6,), (3, 6), (5, 3, 6)]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(loc=0.5, size=shape)


def test_two_features_by_hand():
    """Mean 3, variance 4: one is below and the other above by two."""
    y, (n, scale) = layer_norm_forward(np.array([10.0, 100.0]), np.array([1.0, 5.0]))
    unit = 2 / np.sqrt(4 + 1e-5)
    np.testing.assert_allclose(y, [-10 * unit, 100 * unit], rtol=1e-15)
    np.testing.assert_allclose(n, [-unit, unit], rtol=1e-15)
    assert scale == pytest.approx(unit / 2, rel=1e-15)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients_are_those_of_torch(shape):
    gain, v, dy = draw(6, seed=1), draw(*shape), draw(*shape, seed=2)
    y, cache = layer_norm_forward(gain, v)
    dv, dgain = layer_norm_backward(gain, cache, dy)
    theirs, their_gain = (torch.tensor(array, requires_grad=True) for array in (v, gain))
    torch_y = torch.nn.functional.layer_norm(theirs, (6,), their_gain)
    torch_y.backward(torch.tensor(dy))
    for ours, torchs in ((y, torch_y.detach()), (dv, theirs.grad), (dgain, their_gain.grad)):
        np.testing.assert_allclose(ours, torchs.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("method", "tolerance"), [("central", 1e-8), ("complex", 1e-13)])
def test_gradients_are_derivatives(shape, method, tolerance):
    gain, v, dy = draw(6, seed=1), draw(*shape), draw(*shape, seed=2)
    dv, dgain = layer_norm_backward(gain, layer_norm_forward(gain, v)[1], dy)

    def loss(arrays):
        return (layer_norm_forward(arrays["gain"], arrays["v"])[0] * dy).sum()

    assert_gradients(loss, {"gain": gain, "v": v}, {"gain": dgain, "v": dv}, tolerance, method=method)


def test_equal_features_are_zero_and_not_nan():
    gain, v = draw(4), np.full((2, 4), 0.75)
    y, cache = layer_norm_forward(gain, v)
    dv, dgain = layer_norm_backward(gain, cache, draw(2, 4, seed=1))
    np.testing.assert_array_equal(y, 0)
    np.testing.assert_array_equal(dgain, 0)
    assert np.isfinite(dv).all()


def test_float32_stays_float32():
    gain, v = draw(6, seed=1).astype(np.float32), draw(3, 6).astype(np.float32)
    y, cache = layer_norm_forward(gain, v)
    results = (y, *cache, *layer_norm_backward(gain, cache, v))
    assert {array.dtype for array in results} == {np.dtype(np.float32)}
    np.testing.assert_allclose(y, layer_norm_forward(draw(6, seed=1), draw(3, 6))[0], atol=2e-6)
