"""The transform is numpy's for every length of small factors, lane by lane, without its neighbours."""

import numpy as np
import pytest
from numba import njit

from features.kernels import fft
from features.kernels.frames import _tables, _transform
from features.plan import plan
from features.settings import FeatureSettings
from simd.cpu import lanes

LENGTHS = [
    2,
    4,
    6,
    8,
    10,
    12,
    18,
    20,
    30,
    32,
    50,
    60,
    64,
    90,
    128,
    200,
    256,
    270,
    400,
    512,
    600,
    1024,
    1500,
    2048,
]
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@njit
def transform(data, table, numbers, L):
    _transform(data, table, numbers, L)


def settings(n_fft):
    return FeatureSettings(kind="log-spectrogram", frame_length=n_fft, hop_length=n_fft, n_fft=n_fft)


def transformed(frames):
    """The transforms of so many frames as there are lanes, by the passes, in their natural order."""
    L, n_fft = frames.shape
    tables = _tables(plan(settings(n_fft), 16_000), frames.dtype, True)
    data = np.ascontiguousarray(frames.T)
    transform(data, tables.table, tables.numbers, L)
    z = data[0::2] + 1j * data[1::2]
    return z[fft.positions(fft.factors(n_fft // 2))].T


@pytest.mark.compiled
@dtypes
@pytest.mark.parametrize("n_fft", LENGTHS)
def test_the_passes_are_a_complex_transform_of_half_the_length(n_fft, dtype):
    frames = np.random.default_rng(n_fft).standard_normal((lanes(dtype), n_fft)).astype(dtype)
    wanted = np.fft.fft((frames[:, 0::2] + 1j * frames[:, 1::2]).astype(np.clongdouble), axis=1)
    error = np.abs(transformed(frames) - wanted).max() / np.abs(wanted).max()
    assert error < 3 * np.finfo(dtype).eps


@pytest.mark.compiled
@dtypes
def test_a_lane_does_not_know_of_the_others(dtype):
    L, rng = lanes(dtype), np.random.default_rng(0)
    frames = rng.standard_normal((L, 60)).astype(dtype)
    alone = transformed(frames)
    for lane in range(L):
        others = np.full((L, 60), np.nan, dtype)
        others[lane] = frames[lane]
        assert transformed(others)[lane].tobytes() == alone[lane].tobytes()


@pytest.mark.parametrize(
    ("n", "radices"), [(1, []), (2, [2]), (8, [4, 2]), (256, [4] * 4), (450, [2, 3, 3, 5, 5])]
)
def test_lengths_are_factored(n, radices):
    assert fft.factors(n) == radices


@pytest.mark.parametrize("n", [7, 14, 11 * 64, 121])
def test_lengths_with_large_prime_factors_are_left_to_others(n):
    assert fft.factors(n) is None


def test_positions_are_reversed_digits():
    # 6 = 2 * 3: frequency k is in block k % 2, there at k // 2.
    np.testing.assert_array_equal(fft.positions([2, 3]), [0, 3, 1, 4, 2, 5])


def test_twiddles_by_hand():
    half = np.sqrt(0.5)  # of a pass of radix 2 over 8 numbers, and one of radix 4 over each 4 that it leaves
    first = [1, 0, half, -half, 0, -1, -half, -half]
    np.testing.assert_allclose(fft.twiddles([2, 4]), first + [1, 0] * 3, atol=1e-15)
