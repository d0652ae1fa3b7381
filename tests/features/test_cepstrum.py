"""The cosine transform: scipy's, orthonormal, and of a cosine by hand."""

import numpy as np
import pytest
from scipy.fft import dct

from features.cepstrum import dct_matrix


@pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (5, 3), (40, 13), (23, 23)])
def test_it_is_scipys(n_in, n_out):
    x = np.random.default_rng(0).standard_normal((7, n_in))
    expected = dct(x, type=2, norm="ortho", axis=1)[:, :n_out]
    np.testing.assert_allclose(x @ dct_matrix(n_in, n_out), expected, rtol=0, atol=1e-13)


def test_whole_it_is_orthonormal():
    matrix = dct_matrix(23, 23)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(23), rtol=0, atol=1e-14)


def test_a_cosine_has_one_coefficient():
    x = np.cos(np.pi * 3 * (np.arange(40) + 0.5) / 40)
    np.testing.assert_allclose(x @ dct_matrix(40, 5), [0, 0, 0, 20**0.5, 0], rtol=0, atol=1e-13)
