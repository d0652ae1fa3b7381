"""Deltas are derivatives up to the ends of a clip; normalisation and stacking give hand-computed values."""

import librosa
import numpy as np
import pytest

from features import FeatureSettings, deltas, normalise_clip, regression, stack_frames
from features.dynamics import Sliding, append_deltas
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


# Regression


def test_regression_by_hand():
    frames = np.array([[0.0], [1], [4], [9], [16]])
    # (1 (x[t + 1] - x[t - 1]) + 2 (x[t + 2] - x[t - 2])) / 10, edges repeated
    by_hand = [[(1 + 2 * 4) / 10], [(4 + 2 * 9) / 10], [4], [(12 + 2 * 15) / 10], [(7 + 2 * 12) / 10]]
    np.testing.assert_allclose(regression(frames, 5), by_hand, rtol=1e-13)
    np.testing.assert_allclose(regression(frames, 3), [[0.5], [2], [4], [6], [3.5]], rtol=1e-13)


@pytest.mark.parametrize("width", [3, 5, 9])
@pytest.mark.parametrize("n_frames", [1, 2, 4, 30])
def test_regression_is_its_definition(n_frames, width):
    frames, half = NOISE[:n_frames], width // 2

    def at(t):
        return frames[min(max(t, 0), n_frames - 1)]

    expected = [
        sum(k * (at(t + k) - at(t - k)) for k in range(1, half + 1))
        / (2 * sum(k * k for k in range(1, half + 1)))
        for t in range(n_frames)
    ]
    np.testing.assert_allclose(regression(frames, width), expected, rtol=1e-12, atol=1e-14)


def test_regression_of_no_frames_is_none():
    np.testing.assert_array_equal(regression(np.zeros((0, 4)), 5), np.zeros((0, 4)), strict=True)


def test_regression_keeps_float32_and_a_constant_has_no_slope():
    single = regression(NOISE.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, regression(NOISE), atol=1e-6)
    np.testing.assert_array_equal(regression(np.full((7, 2), -63.7, np.float32), 9), np.zeros((7, 2)))


# Appended


@pytest.mark.parametrize("width", [5, 9])
def test_deltas_are_appended_in_the_order_of_their_order(width):
    fitted = FeatureSettings(delta_order=2, delta_width=width)
    expected = [NOISE, deltas(NOISE, 1, width), deltas(NOISE, 2, width)]
    np.testing.assert_array_equal(append_deltas(NOISE, fitted), np.hstack(expected))
    np.testing.assert_array_equal(append_deltas(NOISE, fitted.change(delta_order=1)), np.hstack(expected[:2]))
    slopes = regression(NOISE, width)
    expected = [NOISE, slopes, regression(slopes, width)]
    regressed = fitted.change(delta_kind="regression")
    np.testing.assert_array_equal(append_deltas(NOISE, regressed), np.hstack(expected))


def test_without_deltas_frames_are_left_alone():
    assert append_deltas(NOISE, FeatureSettings()) is NOISE


# Sliding


def sliding(kind, frames):
    return Sliding(FeatureSettings(sliding_normalisation=kind, sliding_frames=frames))


@pytest.mark.parametrize(
    ("kind", "by_hand"),
    [  # over 1, 3; 1, 3, 8; 3, 8, 4 of the first column; the second does not vary
        ("mean", [[0, 0], [1, 0], [4, 0], [-1, 0]]),
        ("mean-variance", [[0, 0], [1, 0], [4 / (26 / 3) ** 0.5, 0], [-1 / (14 / 3) ** 0.5, 0]]),
        ("none", [[1, 7], [3, 7], [8, 7], [4, 7]]),
    ],
)
def test_each_frame_is_normalised_over_the_last_3_by_hand(kind, by_hand):
    frames = np.array([[1, 7], [3, 7], [8, 7], [4, 7]], np.float32)
    found = sliding(kind, 3)(frames)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["mean", "mean-variance"])
@pytest.mark.parametrize("n", [1, 2, 7, 30, 300])
def test_the_last_frame_is_that_of_a_clip_of_the_last_ones(n, kind):
    found = sliding(kind, n)(NOISE - 63.7)
    for t in range(len(NOISE)):
        alone = normalise_clip(NOISE[max(0, t + 1 - n) : t + 1] - 63.7, kind)[-1]
        np.testing.assert_allclose(found[t], alone, rtol=0, atol=1e-6 if kind == "mean-variance" else 1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["mean", "mean-variance"])
@pytest.mark.parametrize("n", [1, 4, 20])
def test_a_sequence_normalised_in_pieces_is_the_same_bits(n, kind, dtype):
    frames = (NOISE - 63.7).astype(dtype)
    whole, pieces = sliding(kind, n)(frames), sliding(kind, n)
    found = [pieces(frames[low:high]) for low, high in [(0, 1), (1, 1), (1, 3), (3, 21), (21, 30)]]
    np.testing.assert_array_equal(np.concatenate(found), whole)


@pytest.mark.parametrize("kind", ["mean", "mean-variance"])
def test_a_million_frames_later_nothing_has_drifted(kind):
    """The last windows agree with direct sums as closely as the first ones."""
    rng, n = np.random.default_rng(0), 300
    sliding = Sliding(FeatureSettings(sliding_normalisation=kind, sliding_frames=n))
    errors = []
    for block in range(100):
        frames = rng.normal(-60, [3, 17], (10_007, 2))
        found = sliding(frames)[-500:]
        if block in (0, 99):
            windows = np.lib.stride_tricks.sliding_window_view(frames, n, axis=0)[-500:]
            wanted = frames[-500:] - windows.mean(axis=2)
            if kind == "mean-variance":
                wanted = wanted / windows.std(axis=2)
            errors.append(np.abs(found - wanted).max())
    first, last = errors
    assert last < 1e-11
    assert last < 3 * first


@pytest.mark.parametrize("kind", ["mean", "mean-variance"])
@pytest.mark.parametrize("n", [1, 4, 7])
def test_sliding_normalisation_is_of_each_window_alone(kind, n):
    """Also far below what came long before, and after what was no number."""
    frames = NOISE.copy()
    frames[:5] *= 1e12
    frames[9] = -np.inf
    sliding = Sliding(FeatureSettings(sliding_normalisation=kind, sliding_frames=n))
    with np.errstate(invalid="ignore"):
        found = np.concatenate([sliding(frames[:3]), sliding(frames[3:4]), sliding(frames[4:])])
    for t in [*range(5), *range(5 + n, 9), *range(10 + n, 30)]:
        window = frames[max(0, t - n + 1) : t + 1]
        wanted = frames[t] - window.mean(axis=0)
        if kind == "mean-variance" and n > 1 and t > 0:
            wanted = wanted / window.std(axis=0)
        np.testing.assert_allclose(
            found[t], 0 if n == 1 else wanted, rtol=1e-9, atol=1e-9 * np.abs(window).max()
        )
