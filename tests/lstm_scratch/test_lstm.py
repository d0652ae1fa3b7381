"""One layer, one direction: values by hand, gradients by central differences, both against torch."""

import numpy as np
import pytest

from lstm_scratch.layers.stack import LSTM
from lstm_scratch.lstm import lstm_backward, lstm_forward, lstm_init, sigmoid, valid_steps
from reference import assert_gradients
from reference.cases import Case
from reference.torch_lstm import torch_lstm

T, B, I, H = 5, 3, 4, 2
LENGTHS = [None, [5, 5, 5], [2, 5, 3], [0, 4, 1]]


@pytest.fixture(params=LENGTHS, ids=str)
def case(request):
    """Everything a forward and a backward pass take, drawn at random in float64."""
    rng = np.random.default_rng(7)
    arrays = {
        "weight_ih": rng.normal(size=(4 * H, I)),
        "weight_hh": rng.normal(size=(4 * H, H)),
        "bias": rng.normal(size=4 * H),
        "x": rng.normal(size=(T, B, I)),
        "h0": rng.normal(size=(B, H)),
        "c0": rng.normal(size=(B, H)),
    }
    upstream = {"dy": (T, B, H), "dh_n": (B, H), "dc_n": (B, H)}
    lengths = None if request.param is None else np.array(request.param)
    return arrays, {name: rng.normal(size=shape) for name, shape in upstream.items()}, lengths


def forward(arrays, lengths):
    params = {name: arrays[name] for name in ("weight_ih", "weight_hh", "bias")}
    return lstm_forward(params, arrays["x"], arrays["h0"], arrays["c0"], lengths)


def loss(arrays, upstream, lengths):
    (y, h_n, c_n), _ = forward(arrays, lengths)
    pairs = ((y, upstream["dy"]), (h_n, upstream["dh_n"]), (c_n, upstream["dc_n"]))
    return sum((value * weight).sum() for value, weight in pairs)


def gradients(arrays, upstream, lengths):
    _, cache = forward(arrays, lengths)
    (dx, dh0, dc0), grads = lstm_backward(arrays, cache, **upstream)
    return grads | {"x": dx, "h0": dh0, "c0": dc0}


def test_one_unit_computes_the_equations():
    """Hidden size 1, two steps, against the scalar formulas: gates in the order i, f, g, o."""
    params = {
        "weight_ih": np.array([[0.5], [-0.4], [0.9], [0.3]]),
        "weight_hh": np.array([[0.2], [0.7], [-0.6], [0.1]]),
        "bias": np.array([0.1, 0.2, -0.3, 0.4]),
    }
    x, h, c = [1.5, -2.0], 0.25, -0.5
    expected = []
    for x_t in x:
        i = 1 / (1 + np.exp(-(0.5 * x_t + 0.2 * h + 0.1)))
        f = 1 / (1 + np.exp(-(-0.4 * x_t + 0.7 * h + 0.2)))
        g = np.tanh(0.9 * x_t - 0.6 * h - 0.3)
        o = 1 / (1 + np.exp(-(0.3 * x_t + 0.1 * h + 0.4)))
        c = f * c + i * g
        h = o * np.tanh(c)
        expected.append(h)
    (y, h_n, c_n), _ = lstm_forward(
        params, np.reshape(x, (2, 1, 1)), h0=np.array([[0.25]]), c0=np.array([[-0.5]])
    )
    np.testing.assert_allclose(y[:, 0, 0], expected, rtol=1e-14)
    assert h_n[0, 0] == y[1, 0, 0]
    assert c_n[0, 0] == pytest.approx(c, rel=1e-14)


def test_every_gradient_is_the_derivative_of_the_loss(case):
    arrays, *others = case
    assert_gradients(lambda moved: loss(moved, *others), arrays, gradients(*case), tolerance=1e-9)


def test_gradients_agree_with_a_complex_step(case):
    """Im f(a + ih) / h has no cancellation, so the step may be tiny and the error is rounding."""
    arrays, upstream, lengths = case
    for name, grad in gradients(*case).items():
        by_complex_step = np.empty_like(grad)
        for index in np.ndindex(grad.shape):
            moved = {key: array.astype(np.complex128) for key, array in arrays.items()}
            moved[name][index] += 1e-30j
            by_complex_step[index] = loss(moved, upstream, lengths).imag / 1e-30
        np.testing.assert_allclose(grad, by_complex_step, rtol=1e-12, atol=1e-14, err_msg=name)


@pytest.mark.usefixtures("one_torch_thread")
def test_values_and_gradients_are_those_of_torch(case):
    arrays, upstream, lengths = case
    ours = gradients(*case)
    (y, h_n, c_n), _ = forward(arrays, lengths)

    states = {name: arrays[name][None] for name in ("h0", "c0")}
    params = {f"{name}_l0": arrays[name] for name in ("weight_ih", "weight_hh", "bias")}
    d_states = {name: upstream[name][None] for name in ("dh_n", "dc_n")}
    values, grads = torch_lstm(
        Case(LSTM(I, H), params | states | {"x": arrays["x"]}, upstream | d_states, lengths)
    )
    np.testing.assert_allclose(y, values["y"], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(h_n, values["h_n"][0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(c_n, values["c_n"][0], rtol=1e-12, atol=1e-14)
    for name, grad in ours.items():
        theirs = grads[name][0] if name in ("h0", "c0") else grads.get(name, grads.get(f"{name}_l0"))
        np.testing.assert_allclose(grad, theirs, rtol=1e-11, atol=1e-14, err_msg=name)


def test_a_row_with_padding_is_the_row_alone(case):
    arrays, _, lengths = case
    if lengths is None:
        lengths = np.full(B, T)
    (y, h_n, c_n), _ = forward(arrays, lengths)
    for b, length in enumerate(lengths):
        alone = arrays | {
            "x": arrays["x"][:length, [b]],
            "h0": arrays["h0"][[b]],
            "c0": arrays["c0"][[b]],
        }
        (y_b, h_b, c_b), _ = forward(alone, None)
        np.testing.assert_allclose(y[:length, b], y_b[:, 0], rtol=1e-12, atol=1e-15)
        np.testing.assert_array_equal(y[length:, b], 0)
        np.testing.assert_allclose(h_n[b], h_b[0], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(c_n[b], c_b[0], rtol=1e-12, atol=1e-15)


def test_an_empty_row_passes_its_state_and_its_gradient_through(case):
    arrays, upstream, _ = case
    lengths = np.array([0, 4, 1])
    (y, h_n, c_n), _ = forward(arrays, lengths)
    grads = gradients(arrays, upstream, lengths)
    np.testing.assert_array_equal(h_n[0], arrays["h0"][0])
    np.testing.assert_array_equal(c_n[0], arrays["c0"][0])
    np.testing.assert_array_equal(grads["h0"][0], upstream["dh_n"][0])
    np.testing.assert_array_equal(grads["c0"][0], upstream["dc_n"][0])
    np.testing.assert_array_equal(y[:, 0], 0)


def test_nothing_at_the_padding_is_looked_at(case):
    arrays, upstream, _ = case
    lengths = np.array([2, 5, 3])
    padding = ~valid_steps(lengths, T, B)[:, :, 0]
    (y, h_n, c_n), _ = forward(arrays, lengths)
    clean = gradients(arrays, upstream, lengths)

    dirty_arrays = arrays | {"x": arrays["x"].copy()}
    dirty_upstream = upstream | {"dy": upstream["dy"].copy()}
    dirty_arrays["x"][padding] = dirty_upstream["dy"][padding] = np.nan
    (dirty_y, dirty_h_n, dirty_c_n), _ = forward(dirty_arrays, lengths)
    dirty = gradients(dirty_arrays, dirty_upstream, lengths)
    for a, b in ((y, dirty_y), (h_n, dirty_h_n), (c_n, dirty_c_n)):
        np.testing.assert_array_equal(a, b)
    for name, grad in clean.items():
        np.testing.assert_array_equal(grad, dirty[name], err_msg=name)
    np.testing.assert_array_equal(dirty["x"][padding], 0)
    np.testing.assert_array_equal(dirty_y[padding], 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_the_dtype_is_kept(case, dtype):
    arrays, upstream, lengths = case
    arrays = {name: array.astype(dtype) for name, array in arrays.items()}
    upstream = {name: array.astype(dtype) for name, array in upstream.items()}
    (y, h_n, c_n), _ = forward(arrays, lengths)
    results = {"y": y, "h_n": h_n, "c_n": c_n} | gradients(arrays, upstream, lengths)
    assert {name: array.dtype for name, array in results.items()} == dict.fromkeys(results, dtype)


def test_float32_is_float64_rounded(case):
    arrays, upstream, lengths = case
    exact = gradients(*case)
    rounded = gradients(
        {k: a.astype(np.float32) for k, a in arrays.items()},
        {k: a.astype(np.float32) for k, a in upstream.items()},
        lengths,
    )
    for name, grad in exact.items():
        np.testing.assert_allclose(rounded[name], grad, atol=2e-6 * np.abs(grad).max(), err_msg=name)


def test_inputs_are_left_as_they_are(case):
    arrays, upstream, _ = case
    before = {k: a.copy() for k, a in (arrays | upstream).items()}
    gradients(*case)
    for name, array in (arrays | upstream).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_states_default_to_zero_and_so_do_their_gradients(case):
    arrays, upstream, _ = case
    zero = np.zeros((B, H))
    (y, *_), cache = lstm_forward(arrays, arrays["x"])
    (y_zero, *_), _ = forward(arrays | {"h0": zero, "c0": zero}, None)
    np.testing.assert_array_equal(y, y_zero)
    (dx, *_), _ = lstm_backward(arrays, cache, upstream["dy"])
    (dx_zero, *_), _ = lstm_backward(arrays, cache, upstream["dy"], zero, zero)
    np.testing.assert_array_equal(dx, dx_zero)


def test_sigmoid_is_the_logistic_function_and_never_overflows():
    z = np.array([-1000.0, -3.0, 0.0, 0.5, 1000.0])
    np.testing.assert_allclose(sigmoid(z)[1:4], 1 / (1 + np.exp(-z[1:4])), rtol=1e-14)
    assert sigmoid(z)[0] == 0.0
    assert sigmoid(z)[-1] == 1.0


def test_initial_weights_are_orthogonal_and_glorot_block_by_block():
    params = lstm_init(np.random.default_rng(0), 30, 20)
    limit = np.sqrt(6 / 50)
    for block in np.split(params["weight_hh"], 4):
        np.testing.assert_allclose(block @ block.T, np.eye(20), atol=1e-13)
    assert 0.98 * limit < np.abs(params["weight_ih"]).max() <= limit
    assert params["weight_ih"].std() == pytest.approx(limit / np.sqrt(3), rel=0.05)
    np.testing.assert_array_equal(params["bias"], np.zeros(80))


def test_the_gradient_of_a_scalar_output_is_what_differences_say_in_a_single_entry(case):
    """A check of the check: one derivative written out, without `assert_gradients`."""
    arrays, *others = case
    step = 1e-5 * (np.arange(4 * H) == 3)
    above, below = (loss(arrays | {"bias": arrays["bias"] + move}, *others) for move in (step, -step))
    assert gradients(*case)["bias"][3] == pytest.approx((above - below) / 2e-5, rel=1e-7)


@pytest.mark.parametrize(("steps", "rows"), [(0, 3), (5, 0)])
def test_nothing_to_do_leaves_the_state_and_has_no_gradient(steps, rows):
    rng = np.random.default_rng(3)
    params, h0, c0 = lstm_init(rng, I, H), rng.normal(size=(rows, H)), rng.normal(size=(rows, H))
    (y, h_n, c_n), cache = lstm_forward(params, np.zeros((steps, rows, I)), h0, c0)
    (dx, dh0, dc0), grads = lstm_backward(params, cache, np.zeros((steps, rows, H)), h0 + 1, c0 + 2)
    assert (y.shape, dx.shape) == ((steps, rows, H), (steps, rows, I))
    if steps == 0:
        for array, expected in ((h_n, h0), (c_n, c0), (dh0, h0 + 1), (dc0, c0 + 2)):
            np.testing.assert_array_equal(array, expected)
    for name, array in params.items():
        np.testing.assert_array_equal(grads[name], np.zeros_like(array), err_msg=name)
