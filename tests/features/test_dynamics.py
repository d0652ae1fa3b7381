"""Deltas are derivatives up to the ends of a clip; normalisation and stacking give hand-computed values."""

import librosa
import numpy as np
import pytest

from features import deltas, normalise_clip, stack_frames
from features.errors import FeatureError

NOISE = np.random.default_rng(0).standard_normal((30, 4))
NOISE.flags.writeable = False  # so that a function which writes to its input fails


def ramp(n_frames, slopes=(3.0, -0.5)):
    return np.arange(n_frames)[:, None] * np.array(slopes) + 7


@pytest.mark.parametrize("n_frames", [*range(3, 10), 10, 25])
def test_deltas_of_a_ramp_are_its_slope_up_to_the_ends(n_frames):
    np.testing.assert_allclose(deltas(ramp(n_frames)), np.tile([3.0, -0.5], (n_frames, 1)), rtol=1e-12)


@pytest.mark.parametrize("n_frames", [*range(3, 10), 10, 25])
def test_second_deltas_of_a_parabola_are_its_curvature_up_to_the_ends(n_frames):
    t = np.arange(n_frames)[:, None]
    parabola = np.hstack([2.0 * t**2 - 5 * t + 1, -0.25 * (t - 4) ** 2])
    np.testing.assert_allclose(
        deltas(parabola, order=2), np.tile([4.0, -0.5], (n_frames, 1)), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("n_frames", [1, 2])
def test_deltas_of_too_few_frames_are_zero(n_frames, order):
    np.testing.assert_array_equal(deltas(ramp(n_frames), order), np.zeros((n_frames, 2)))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("n_frames", "width"), [(30, 9), (9, 9), (10, 9), (30, 5), (30, 3)])
def test_deltas_are_librosas(n_frames, width, order):
    frames = NOISE[:n_frames]
    reference = librosa.feature.delta(frames, order=order, width=width, axis=0)
    np.testing.assert_allclose(deltas(frames, order, width), reference, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("n_frames", "fitted"), [(8, 7), (7, 7), (6, 5), (4, 3)])
def test_a_short_clip_is_fitted_over_the_largest_odd_number_of_its_frames(n_frames, fitted):
    frames = NOISE[:n_frames]
    reference = librosa.feature.delta(frames, width=fitted, axis=0)
    np.testing.assert_allclose(deltas(frames), reference, rtol=1e-12, atol=1e-12)


def test_deltas_keep_float32():
    single = deltas(NOISE.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, deltas(NOISE), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("none", [[1, 10, -4], [3, 10, -4], [5, 10, -1]]),
        ("mean", [[-2, 0, -1], [0, 0, -1], [2, 0, 2]]),
        (
            "mean-variance",  # deviations: sqrt(8 / 3), 0, sqrt(2)
            [[-(1.5**0.5), 0, -(0.5**0.5)], [0, 0, -(0.5**0.5)], [1.5**0.5, 0, 2**0.5]],
        ),
    ],
)
def test_a_clip_is_normalised_over_time(kind, expected):
    frames = np.array([[1, 10, -4], [3, 10, -4], [5, 10, -1]], np.float32)
    frames.flags.writeable = False
    normalised = normalise_clip(frames, kind)
    assert normalised.dtype == np.float32
    np.testing.assert_allclose(normalised, expected, rtol=1e-6)


@pytest.mark.parametrize("n_frames", [1, 2, 100, 6000])  # 6000: a minute
def test_a_constant_feature_becomes_exactly_0(n_frames):
    frames = np.full((n_frames, 3), [-63.7, 0.1, -100], np.float32)
    np.testing.assert_array_equal(normalise_clip(frames, "mean-variance"), np.zeros((n_frames, 3)))


def test_what_deviates_by_rounding_alone_becomes_exactly_0():
    frames = np.full((100, 1), -63.7, np.float32)
    frames[::3] = np.nextafter(frames[::3], np.float32(0))
    np.testing.assert_array_equal(normalise_clip(frames, "mean-variance"), np.zeros((100, 1)))


def test_a_minute_is_normalised_as_exactly_as_a_second():
    frames = (np.tile(NOISE, (200, 1)) - 63.7).astype(np.float32)
    centred = frames - frames.mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(normalise_clip(frames, "mean"), centred, atol=1e-5)
    scaled = centred / frames.std(axis=0, dtype=np.float64)
    np.testing.assert_allclose(normalise_clip(frames, "mean-variance"), scaled, atol=1e-5)


def test_one_frame_minus_its_mean_is_0():
    np.testing.assert_array_equal(normalise_clip(np.array([[3.3, -70.1]]), "mean"), [[0, 0]])


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [[1, -1], [2, -2], [3, -3]]),
        (2, [[1, -1, 2, -2], [3, -3, 3, -3]]),
        (3, [[1, -1, 2, -2, 3, -3]]),
        (5, [[1, -1, 2, -2, 3, -3, 3, -3, 3, -3]]),
    ],
)
def test_frames_are_stacked_in_order_and_the_last_is_repeated(count, expected):
    frames = np.array([[1, -1], [2, -2], [3, -3]])
    frames.flags.writeable = False
    np.testing.assert_array_equal(stack_frames(frames, count), expected)


def test_deltas_of_an_even_width_are_refused():
    with pytest.raises(FeatureError, match="an odd number of frames, not 8"):
        deltas(np.zeros((20, 3)), width=8)
