"""Activations: values by formula, also at kinks and far out; slopes by complex step and by differences."""

import math

import numpy as np
import pytest

from lstm_scratch.activations import ACTIVATIONS, clip, clipped

BY_HAND = {
    "sigmoid": [(0, 0.5), (math.log(3), 0.75), (-math.log(3), 0.25), (1000, 1), (-1000, 0), (1e300, 1)],
    "tanh": [(0, 0), (math.log(2), 0.6), (-math.log(2), -0.6), (1000, 1), (-1e300, -1)],
    "hard_sigmoid": [(0, 0.5), (1, 0.7), (-1, 0.3), (2.5, 1), (-2.5, 0), (2.6, 1), (-2.6, 0), (1e300, 1)],
    "relu": [(0, 0), (1.5, 1.5), (-1.5, 0), (1e300, 1e300), (-1e300, 0), (np.inf, np.inf), (-np.inf, 0)],
    "softsign": [(0, 0), (3, 0.75), (-3, -0.75), (1e300, 1), (-1e300, -1)],
    "identity": [(0, 0), (-2.5, -2.5), (1e300, 1e300), (-np.inf, -np.inf)],
}
SLOPES = {
    "sigmoid": [(0, 0.25), (math.log(3), 0.1875), (1000, 0), (-1e300, 0)],
    "tanh": [(0, 1), (math.log(2), 0.64), (1000, 0), (-1e300, 0)],
    # At a kink, the slope is that of the piece to which the point belongs.
    "hard_sigmoid": [(0, 0.2), (2.5, 0.2), (-2.5, 0.2), (2.6, 0), (-2.6, 0), (1e300, 0), (-np.inf, 0)],
    "relu": [(0, 0), (1e-300, 1), (-1e-300, 0), (1e300, 1), (np.inf, 1), (-np.inf, 0)],
    "softsign": [(0, 1), (3, 1 / 16), (-3, 1 / 16), (1e300, 0)],
    "identity": [(0, 1), (1e300, 1), (np.inf, 1)],
}
KINKS = {"hard_sigmoid": [-2.5, 2.5], "relu": [0.0], "softsign": [0.0]}  # the last, of its slope

each = pytest.mark.parametrize("name", ACTIVATIONS)


def points(name, limit=math.inf):
    """From -8 to 8, closer in the middle, clear of kinks."""
    z = np.concatenate([np.linspace(-8, 8, 33), np.linspace(-0.93, 0.91, 17)])
    kinks = [*KINKS.get(name, []), limit, -limit]
    return z[np.all([np.abs(z - kink) > 1e-3 for kink in kinks], axis=0)]


def test_every_activation_is_proven_here():
    assert ACTIVATIONS.keys() == BY_HAND.keys() == SLOPES.keys()


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_and_slopes_by_hand(name, dtype):
    tolerance = 4 * np.finfo(dtype).eps
    for function, table in ((ACTIVATIONS[name].value, BY_HAND), (ACTIVATIONS[name].slope, SLOPES)):
        z, expected = np.array(table[name]).T
        fits = (np.abs(z) < np.finfo(dtype).max) | np.isinf(z)
        fits &= (z == 0) | (np.abs(z) > np.finfo(dtype).tiny)
        result = function(z[fits].astype(dtype))
        assert result.dtype == dtype
        np.testing.assert_allclose(result, expected[fits].astype(dtype), rtol=tolerance, atol=tolerance)


@each
@pytest.mark.parametrize("limit", [math.inf, 0.8])
def test_slopes_are_derivatives(name, limit):
    value, slope = clipped(name, limit)
    z = points(name, limit)
    by_complex_step = value(z + 1e-30j).imag / 1e-30
    np.testing.assert_allclose(slope(z), by_complex_step, rtol=1e-13, atol=1e-15)
    by_differences = (value(z + 1e-5) - value(z - 1e-5)) / 2e-5
    np.testing.assert_allclose(slope(z), by_differences, rtol=1e-8, atol=1e-9)
    assert slope(z).any()


@each
def test_at_a_kink_the_slope_is_what_a_complex_step_sees(name):
    for limit in (math.inf, 0.8):
        value, slope = clipped(name, limit)
        z = np.array([*KINKS.get(name, []), -0.8, 0.8])
        np.testing.assert_allclose(slope(z), value(z + 1e-30j).imag / 1e-30, rtol=1e-13, atol=1e-15)


@each
def test_behind_a_bound_nothing_changes_within_and_nothing_moves_beyond(name):
    value, slope = clipped(name, 0.8)
    within, beyond = np.array([-0.79, 0.0, 0.8]), np.array([-5, -0.81, 0.81, 5, 1e300])
    np.testing.assert_array_equal(value(within), ACTIVATIONS[name].value(within))
    np.testing.assert_array_equal(slope(within), ACTIVATIONS[name].slope(within))
    np.testing.assert_array_equal(value(beyond), ACTIVATIONS[name].value(0.8 * np.sign(beyond)))
    np.testing.assert_array_equal(slope(beyond), 0)


@each
def test_without_a_bound_it_is_the_activation_itself(name):
    assert clipped(name) is ACTIVATIONS[name]


@each
@pytest.mark.parametrize("limit", [math.inf, 0.8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_the_dtype_is_kept_and_nan_stays_nan(name, limit, dtype):
    value, slope = clipped(name, limit)
    z = np.array([-3, -0.5, 0.0, 0.5, 3, np.nan]).astype(dtype)
    with np.errstate(invalid="ignore"):  # complex division warns of NaN
        values, slopes = value(z), slope(z)
    assert (values.dtype, slopes.dtype) == (dtype, dtype)
    np.testing.assert_array_equal(np.isnan(values), np.isnan(z))


def test_clip_by_hand():
    z = np.array([-np.inf, -2.0, -1.5, 0.3, 1.5, 2.0, np.inf])
    np.testing.assert_array_equal(clip(z, 1.5), [-1.5, -1.5, -1.5, 0.3, 1.5, 1.5, 1.5])
    np.testing.assert_array_equal(clip(z, math.inf), z)
    assert np.isnan(clip(np.array([np.nan]), 1.5)).all()
    np.testing.assert_array_equal(clip(np.array([1 + 2j, 3 + 2j]), 1.5), [1 + 2j, 1.5])
