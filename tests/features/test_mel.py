"""The mel scale has its anchors; the filterbank is librosa's, of unit area, and refuses what does not fit."""

import librosa
import numpy as np
import pytest

from features import FeatureError, hz_to_mel, mel_filterbank, mel_to_hz


def test_the_mel_scale_has_slaneys_anchors():
    hz = [0, 200 / 3, 400, 1000, 6400, 1000 * 6.4 ** (2 / 27)]
    mel = [0, 1, 6, 15, 42, 17]
    np.testing.assert_allclose(hz_to_mel(hz), mel, rtol=1e-14)
    np.testing.assert_allclose(mel_to_hz(mel), hz, rtol=1e-14)


def test_mel_to_hz_undoes_hz_to_mel():
    hz = np.linspace(0, 24_000, 1001)
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz)), hz, rtol=1e-13)


def test_a_filterbank_below_1_khz_is_what_a_hand_draws():
    # Edges 0, 200, ..., 1000 Hz; a bin every 100 Hz; triangles 400 Hz wide, so 1 / 200 high.
    triangle = np.array([0.5, 1, 0.5]) / 200
    by_hand = np.zeros((4, 11))
    for band in range(4):
        by_hand[band, 2 * band + 1 : 2 * band + 4] = triangle
    np.testing.assert_allclose(mel_filterbank(2000, 20, 4), by_hand, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("sample_rate", "n_fft", "n_mels", "f_min_hz", "f_max_hz"),
    [
        (22_050, 2048, 128, 0, None),
        (16_000, 512, 40, 0, None),
        (16_000, 512, 23, 64, 7600),
        (16_000, 401, 20, 100, 8000),
        (8000, 256, 26, 0, 4000),
        (48_000, 2048, 80, 20, 16_000),
    ],
)
def test_the_filterbank_is_librosas(sample_rate, n_fft, n_mels, f_min_hz, f_max_hz):
    bank = mel_filterbank(sample_rate, n_fft, n_mels, f_min_hz, f_max_hz)
    reference = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=f_min_hz, fmax=f_max_hz)
    assert bank.dtype == np.float32
    np.testing.assert_allclose(bank, reference, rtol=1e-6, atol=1e-9)


def test_every_band_has_unit_area_over_hz():
    areas = mel_filterbank(16_000, 2**15, 40).sum(axis=1) * (16_000 / 2**15)
    np.testing.assert_allclose(areas, 1, rtol=1e-4)


def test_the_shared_filterbank_cannot_be_written_to():
    bank = mel_filterbank(16_000, 512, 40)
    with pytest.raises(ValueError, match="read-only"):
        bank[0, 0] = 1


@pytest.mark.parametrize(
    ("f_min_hz", "f_max_hz"), [(0, 8001), (4000, 4000), (4000, 300), (8000, None), (-1, None)]
)
def test_edges_that_do_not_fit_are_refused(f_min_hz, f_max_hz):
    named = f"from {f_min_hz} to {f_max_hz or 8000} Hz do not fit a sample rate of 16000 Hz; .* <= 8000 "
    with pytest.raises(FeatureError, match=named):
        mel_filterbank(16_000, 512, 40, f_min_hz, f_max_hz)


def test_bands_without_a_bin_are_refused():
    # Bins are 62.5 Hz apart; the lowest of 128 bands ends at 44 Hz.
    with pytest.raises(
        FeatureError, match="128 mel bands are too many for 256 FFT points at 16000 Hz: band 0 "
    ):
        mel_filterbank(16_000, 256, 128)
