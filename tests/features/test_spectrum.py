"""The power spectrogram is librosa's, and right by hand for a cosine, at the ends and for short signals."""

import librosa
import numpy as np
import pytest

from features import FeatureSettings
from features.spectrum import spectrum

NOISE = np.random.default_rng(0).standard_normal(4001)
RATE = 16_000  # nothing depends on it


def power_spectrogram(samples, frame_length, hop_length, n_fft, **settings):
    lengths = {"frame_length": frame_length, "hop_length": hop_length, "n_fft": n_fft}
    return FeatureSettings(kind="log-spectrogram", log="none", **lengths, **settings)(samples, RATE)


@pytest.mark.parametrize(
    ("frame_length", "hop_length", "n_fft"),
    [(400, 160, 512), (512, 128, 512), (401, 160, 512), (25, 10, 32), (200, 333, 256), (33, 7, 45)],
)
def test_the_spectrogram_is_librosas(frame_length, hop_length, n_fft):
    stft = librosa.stft(NOISE, n_fft=n_fft, hop_length=hop_length, win_length=frame_length)
    reference = np.abs(stft).T ** 2
    power = power_spectrogram(NOISE, frame_length, hop_length, n_fft)
    np.testing.assert_allclose(power, reference, rtol=1e-12, atol=1e-12 * reference.max())
    magnitude = power_spectrogram(NOISE, frame_length, hop_length, n_fft, spectrum="magnitude")
    np.testing.assert_allclose(magnitude, reference**0.5, rtol=1e-12, atol=1e-12 * reference.max() ** 0.5)


def test_a_cosine_on_a_bin_has_its_power_there_and_a_quarter_on_either_side():
    # The 64-point Hann window sums to 32; its transform is 1/2 in the middle and 1/4 beside it.
    cosine = 3 * np.cos(2 * np.pi * 10 * np.arange(640) / 64)
    by_hand = np.zeros(33)
    by_hand[9:12] = (3 * 32 / 2) ** 2 * np.array([1 / 4, 1, 1 / 4])
    inner = power_spectrogram(cosine, 64, 16, 64)[2:-2]
    np.testing.assert_allclose(inner, np.tile(by_hand, (37, 1)), atol=1e-9)


def test_beyond_the_ends_the_signal_is_zero():
    # Window: 0, 0.15, 0.5, 0.85, 1, 0.85, 0.5, 0.15. From its centre on it sums to 2.5, in all to 4.
    at_0_hz = power_spectrogram(np.ones(32), 8, 8, 8)[:, 0]
    np.testing.assert_allclose(at_0_hz, [2.5**2, 16, 16, 16, 1.5**2], rtol=1e-14)


def test_a_signal_shorter_than_a_frame_has_its_place_in_the_window():
    at_0_hz = power_spectrogram(np.array([1.0, 0.0, 3.0]), 8, 2, 8)[:, 0]
    np.testing.assert_allclose(at_0_hz, [(1 + 3 * 0.5) ** 2, (1 * 0.5 + 3) ** 2], rtol=1e-14)


def test_one_sample_is_a_flat_spectrum():
    np.testing.assert_allclose(power_spectrogram(np.array([0.5]), 400, 160, 512), np.full((1, 257), 0.25))


def test_float32_stays_float32():
    power = power_spectrogram(NOISE.astype(np.float32), 400, 160, 512)
    reference = power_spectrogram(NOISE, 400, 160, 512)
    assert power.dtype == np.float32
    np.testing.assert_allclose(power, reference, rtol=1e-5, atol=1e-6 * reference.max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("magnitude", "divide", "by_hand"),
    [
        (False, False, [36, 32, 4]),  # of 6, 4 - 4i, -2
        (True, False, [6, 32**0.5, 2]),
        (False, True, [9, 8, 1]),
        (True, True, [1.5, 2**0.5, 0.5]),
    ],
)
def test_power_and_magnitude_divided_or_not(dtype, magnitude, divide, by_hand):
    found = spectrum(np.array([[3, 4, -1], [0, 0, 0]], dtype), 4, magnitude, divide)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, [by_hand, [0, 0, 0]], rtol=1e-6)
