"""The cosine transform: scipy's of every type and norm, and of a cosine by hand; lifters by hand."""

import librosa
import numpy as np
import pytest
from scipy.fft import dct

from features import FeatureSettings, dct_matrix
from features.cepstrum import cepstral_matrix

SIZES = [(1, 1), (5, 3), (40, 13), (23, 23)]


@pytest.mark.parametrize(("n_in", "n_out"), SIZES)
def test_it_is_scipys(n_in, n_out):
    x = np.random.default_rng(0).standard_normal((7, n_in))
    expected = dct(x, type=2, norm="ortho", axis=1)[:, :n_out]
    np.testing.assert_allclose(x @ dct_matrix(n_in, n_out), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("norm", ["ortho", "none"])
@pytest.mark.parametrize("kind", [1, 2, 3])
@pytest.mark.parametrize(("n_in", "n_out"), [*SIZES[1:], (2, 2)])
def test_every_type_and_norm_is_scipys(n_in, n_out, kind, norm):
    x = np.random.default_rng(0).standard_normal((7, n_in))
    expected = dct(x, type=kind, norm=None if norm == "none" else norm, axis=1)[:, :n_out]
    np.testing.assert_allclose(x @ dct_matrix(n_in, n_out, kind, norm), expected, rtol=0, atol=1e-13)


def test_htks_scale_leaves_the_zeroth_coefficient_larger_by_sqrt_2():
    scale = np.array([2**0.5, 1, 1, 1, 1])
    np.testing.assert_allclose(dct_matrix(23, 5, 2, "htk"), dct_matrix(23, 5) * scale, rtol=1e-13)


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_whole_it_is_orthonormal(kind):
    matrix = dct_matrix(23, 23, kind)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(23), rtol=0, atol=1e-13)


def test_whole_it_is_orthonormal_to_the_last_bits():
    matrix = dct_matrix(23, 23)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(23), rtol=0, atol=1e-14)


def test_a_cosine_has_one_coefficient():
    x = np.cos(np.pi * 3 * (np.arange(40) + 0.5) / 40)
    np.testing.assert_allclose(x @ dct_matrix(40, 5), [0, 0, 0, 20**0.5, 0], rtol=0, atol=1e-13)


def test_without_a_lifter_cepstra_are_the_transform():
    settings = FeatureSettings(n_mels=11, n_mfcc=7, dct_type=3, dct_norm="none")
    np.testing.assert_array_equal(cepstral_matrix(settings), dct_matrix(11, 7, 3, "none"))


@pytest.mark.parametrize(
    ("kind", "gains"),
    [("htk", [1, 1 + 2**0.5, 3, 1 + 2**0.5, 1]), ("librosa", [1 + 2**0.5, 3, 1 + 2**0.5, 1, 1 - 2**0.5])],
)
def test_a_lifter_of_4_by_hand(kind, gains):  # 1 + 2 sin(pi n / 4)
    plain = FeatureSettings(n_mels=11, n_mfcc=5)
    liftered = cepstral_matrix(plain.change(lifter=4, lifter_kind=kind))
    np.testing.assert_allclose(liftered, cepstral_matrix(plain) * gains, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("lifter", [0, 0.5, 9, 22])
def test_librosas_lifter_is_librosas(lifter):
    bands = np.random.default_rng(0).standard_normal((23, 9))
    expected = librosa.feature.mfcc(S=bands, n_mfcc=12, lifter=lifter)
    settings = FeatureSettings(n_mels=23, n_mfcc=12, lifter=lifter, lifter_kind="librosa")
    np.testing.assert_allclose(bands.T @ cepstral_matrix(settings), expected.T, rtol=0, atol=1e-12)
