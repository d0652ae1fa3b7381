"""The gradient check itself: it passes what is right and catches what is wrong."""

import numpy as np
import pytest

from lstm_scratch.lstm import lstm_backward, lstm_forward
from reference import assert_gradients, compare_gradients, numerical_gradient

T, B, I, H = 5, 3, 4, 2
rng = np.random.default_rng(3)
PARAMS = {
    "weight_ih": rng.normal(size=(4 * H, I)),
    "weight_hh": rng.normal(size=(4 * H, H)),
    "bias": rng.normal(size=4 * H),
}
X, DY, DC_N = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H)), rng.normal(size=(B, H))
LENGTHS = np.array([2, 5, 3])


def loss():
    (y, _, c_n), _ = lstm_forward(PARAMS, X, lengths=LENGTHS)
    return (y * DY).sum() + (c_n * DC_N).sum()


def right():
    _, cache = lstm_forward(PARAMS, X, lengths=LENGTHS)
    (dx, _, _), grads = lstm_backward(PARAMS, cache, DY, dc_n=DC_N)
    return grads | {"x": dx}


def swap_gates(grads):
    i, f, g, o = np.split(grads["weight_hh"], 4)
    return grads | {"weight_hh": np.vstack([f, i, g, o])}


def ignore_dc_n(grads):
    _, cache = lstm_forward(PARAMS, X, lengths=LENGTHS)
    (dx, _, _), grads = lstm_backward(PARAMS, cache, DY)
    return grads | {"x": dx}


def ignore_lengths(grads):
    _, cache = lstm_forward(PARAMS, X)
    (dx, _, _), grads = lstm_backward(PARAMS, cache, DY, dc_n=DC_N)
    return grads | {"x": dx}


def one_nan(grads):
    dx = grads["x"].copy()
    dx[0, 0, 0] = np.nan
    return grads | {"x": dx}


WRONG = {
    "a gradient times 1.001": lambda grads: grads | {"bias": grads["bias"] * 1.001},
    "two gates swapped": swap_gates,
    "the gradient of c_n ignored": ignore_dc_n,
    "lengths ignored": ignore_lengths,
    "one entry NaN": one_nan,
    "all zero": lambda grads: grads | {"x": np.zeros_like(X)},
}


def test_right_gradients_pass():
    assert_gradients(loss, PARAMS | {"x": X}, right())


@pytest.mark.parametrize("spoil", WRONG.values(), ids=WRONG.keys())
def test_wrong_gradients_are_caught(spoil):
    with pytest.raises(AssertionError, match="relative error"):
        assert_gradients(loss, PARAMS | {"x": X}, spoil(right()))


def test_a_failure_names_tensor_entry_and_both_numbers():
    grads = right()
    grads["bias"][5] += 0.5
    comparison = compare_gradients(loss, PARAMS | {"x": X}, grads)["bias"]
    assert comparison.index == (5,)
    assert comparison.analytic - comparison.numerical == pytest.approx(0.5, rel=1e-6)
    with pytest.raises(AssertionError, match=r"^bias\[5\]: gradient .* central difference"):
        assert_gradients(loss, PARAMS | {"x": X}, grads)


def test_differences_of_a_parabola_are_its_slope_and_the_array_is_put_back():
    a = np.array([[1.0, -2.0, 3.0]])
    np.testing.assert_allclose(numerical_gradient(lambda: (a**2).sum(), a), 2 * a, rtol=1e-9)
    np.testing.assert_array_equal(a, [[1.0, -2.0, 3.0]])


def test_float32_names_and_shapes_that_do_not_fit_are_refused():
    with pytest.raises(TypeError, match="float64"):
        numerical_gradient(loss, X.astype(np.float32))
    with pytest.raises(ValueError, match="gradients of"):
        compare_gradients(loss, {"x": X}, {"y": X})
    with pytest.raises(ValueError, match="shape"):
        compare_gradients(loss, {"x": X}, {"x": X[0]})


def test_a_gradient_of_zero_is_measured_against_the_others_and_nothing_against_nothing():
    a, unused, empty = np.array([3.0]), np.array([1.0, 2.0]), np.zeros((0, 4))
    arrays = {"a": a, "unused": unused, "empty": empty}
    grads = {"a": 2 * a, "unused": np.array([1e-13, 0]), "empty": empty}
    assert_gradients(lambda: (a**2).sum() + empty.sum(), arrays, grads)
    with pytest.raises(AssertionError, match=r"unused\[1\]"):
        assert_gradients(lambda: (a**2).sum(), arrays, grads | {"unused": np.array([0, 1e-5])})


def test_a_small_gradient_is_held_to_its_own_size():
    a, small = np.array([3.0]), np.array([2.0])
    grads = {"a": 2 * a, "small": 1e-4 * 2 * small * 1.001}
    with pytest.raises(AssertionError, match=r"^small\[0\]"):
        assert_gradients(
            lambda: (a**2).sum() + 1e-4 * (small**2).sum(), {"a": a, "small": small}, grads, 5e-4
        )
