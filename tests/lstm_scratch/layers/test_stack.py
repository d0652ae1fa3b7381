"""Layers and directions: values and every gradient against torch and central differences."""

import numpy as np
import pytest

from lstm_scratch.errors import SettingError
from lstm_scratch.layers.stack import LSTM, reverse_valid
from reference import assert_gradients
from reference.torch_lstm import torch_lstm

T, B, I, H = 5, 3, 4, 2
SHAPES = [(1, False), (1, True), (2, False), (3, True)]


def draw(num_layers, bidirectional, seed=0):
    lstm = LSTM(I, H, num_layers=num_layers, bidirectional=bidirectional)
    rng = np.random.default_rng(seed)
    params = lstm.init(rng, np.float64)
    for array in params.values():
        array += rng.normal(size=array.shape)
    states = (num_layers * (1 + bidirectional), B, H)
    inputs = {"x": rng.normal(size=(T, B, I)), "h0": rng.normal(size=states), "c0": rng.normal(size=states)}
    upstream = {
        "dy": rng.normal(size=(T, B, lstm.output_size)),
        "dh_n": rng.normal(size=states),
        "dc_n": rng.normal(size=states),
    }
    return lstm, params, inputs, upstream


@pytest.mark.parametrize(("num_layers", "bidirectional"), SHAPES)
@pytest.mark.parametrize("lengths", [[5, 5, 5], [2, 5, 3]], ids=str)
def test_values_and_gradients_are_those_of_torch(num_layers, bidirectional, lengths):
    lstm, params, inputs, upstream = draw(num_layers, bidirectional)
    lengths = np.array(lengths)
    outputs, cache = lstm.forward(params, **inputs, lengths=lengths)
    d_inputs, grads = lstm.backward(params, cache, **upstream)
    values, torch_grads = torch_lstm(lstm, params, **inputs, lengths=lengths, **upstream)
    ours = dict(zip(("y", "h_n", "c_n"), outputs, strict=True))
    for name, value in values.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-11, atol=1e-14, err_msg=name)
    ours = grads | dict(zip(("x", "h0", "c0"), d_inputs, strict=True))
    assert ours.keys() == torch_grads.keys()
    for name, grad in torch_grads.items():
        scale = np.abs(grad).max()
        np.testing.assert_allclose(ours[name], grad, rtol=1e-11, atol=1e-12 * scale, err_msg=name)


@pytest.mark.parametrize(("num_layers", "bidirectional"), SHAPES)
def test_every_gradient_is_the_derivative_of_the_loss(num_layers, bidirectional):
    """With a row of no steps, which torch cannot pack, and fixed dropout masks."""
    lstm, params, inputs, upstream = draw(num_layers, bidirectional)
    lstm = LSTM(I, H, num_layers=num_layers, bidirectional=bidirectional, dropout=0.4)
    lengths = np.array([4, 0, 5])

    def forward(arrays):
        states = {name: arrays[name] for name in inputs}
        return lstm.forward(arrays, **states, lengths=lengths, rng=np.random.default_rng(11))

    def loss(arrays):
        outputs, _ = forward(arrays)
        return sum((value * weight).sum() for value, weight in zip(outputs, upstream.values(), strict=True))

    d_inputs, grads = lstm.backward(params, forward(params | inputs)[1], **upstream)
    grads |= dict(zip(("x", "h0", "c0"), d_inputs, strict=True))
    assert_gradients(loss, params | inputs, grads, tolerance=1e-8)


def test_the_reverse_direction_is_the_forward_one_on_reversed_rows():
    lstm, params, inputs, _ = draw(1, True)
    lengths = np.array([2, 5, 3])
    (y, h_n, _), _ = lstm.forward(params, inputs["x"], lengths=lengths)
    one_way = LSTM(I, H)
    swapped = {name.removesuffix("_reverse"): params[name] for name in params if "_reverse" in name}
    (back, h_back, _), _ = one_way.forward(swapped, reverse_valid(inputs["x"], lengths), lengths=lengths)
    np.testing.assert_array_equal(y[:, :, H:], reverse_valid(back, lengths))
    np.testing.assert_array_equal(h_n[1], h_back[0])


def test_reverse_valid_by_hand():
    x = np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0]])[:, :, None]
    lengths = np.array([2, 3])
    np.testing.assert_array_equal(reverse_valid(x, lengths)[:, :, 0], [[2, 7], [1, 6], [3, 5]])
    np.testing.assert_array_equal(reverse_valid(reverse_valid(x, lengths), lengths), x)


def test_dropout_acts_between_layers_in_training_only():
    lstm, params, inputs, _ = draw(2, False)
    dropping = LSTM(I, H, num_layers=2, dropout=0.5)
    (plain, *_), _ = lstm.forward(params, inputs["x"])
    (at_rest, *_), _ = dropping.forward(params, inputs["x"])
    (trained, *_), cache = dropping.forward(params, inputs["x"], rng=np.random.default_rng(0))
    np.testing.assert_array_equal(plain, at_rest)
    assert np.abs(trained - plain).max() > 1e-3
    (mask,) = cache.masks
    assert set(np.unique(mask)) == {0.0, 2.0}
    np.testing.assert_array_equal(cache.passes[1].x, cache.passes[0].h[1:] * mask)


def test_parameters_have_the_names_and_shapes_of_torch_and_one_bias():
    shapes = {
        name: a.shape
        for name, a in LSTM(I, H, num_layers=2, bidirectional=True).init(np.random.default_rng(0)).items()
    }
    assert shapes == {
        f"{name}_l{layer}{reverse}": shape
        for layer, width in ((0, I), (1, 2 * H))
        for reverse in ("", "_reverse")
        for name, shape in (("weight_ih", (4 * H, width)), ("weight_hh", (4 * H, H)), ("bias", (4 * H,)))
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((T, B, I + 1))}, "x has shape"),
        ({"x": np.zeros((T, I))}, "x has shape"),
        ({"h0": np.zeros((1, 1, H))}, "h0 has shape"),
        ({"c0": np.zeros((2, B, H))}, "c0 has shape"),
        ({"lengths": np.array([1, 2])}, "whole numbers"),
        ({"lengths": np.array([1.0, 2.0, 3.0])}, "whole numbers"),
        ({"lengths": np.array([1, 2, T + 1])}, "between 0 and T=5"),
        ({"lengths": np.array([1, -1, 3])}, "between 0 and T=5"),
    ],
)
def test_what_does_not_fit_is_refused_and_not_broadcast(change, message):
    lstm, params, inputs, _ = draw(1, False)
    with pytest.raises(ValueError, match=message):
        lstm.forward(params, **inputs | change)


@pytest.mark.parametrize(
    "change", [{"hidden_size": 0}, {"num_layers": 0}, {"input_size": -1}, {"dropout": 1.0}]
)
def test_sizes_out_of_range_are_refused(change):
    with pytest.raises(SettingError, match=next(iter(change))):
        LSTM(**{"input_size": I, "hidden_size": H} | change)
