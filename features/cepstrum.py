"""Cepstra: from the logarithm of a spectrum to a few numbers that hardly depend on each other."""

from typing import Literal

import numpy as np

from features.settings import FeatureSettings


def dct_matrix(
    n_in: int, n_out: int, kind: Literal[1, 2, 3] = 2, norm: Literal["ortho", "htk", "none"] = "ortho"
) -> np.ndarray:
    """Discrete cosine transform as a matrix.

    Parameters
    ----------
    n_in : int
        Length of what is transformed.
    n_out : int
        How many of its coefficients are wanted, the lowest ones.
    kind : {1, 2, 3}, default 2
        Its type.
    norm : {"ortho", "htk", "none"}, default "ortho"
        Orthonormal; type 2 by ``sqrt(2 / n_in)`` throughout; or twice the sum.

    Returns
    -------
    ndarray (n_in, n_out), float64
        Of type 2, column k is ``2 cos(pi k (n + 1/2) / n_in)``; of type 3, ``2 cos(pi n (k + 1/2) / n_in)``,
        for n = 0 half of that; of type 1, ``2 cos(pi k n / (n_in - 1))``, for the first and last n half of
        that. Orthonormal, it has ``sqrt(2 / n_in)`` (of type 1 ``sqrt(2 / (n_in - 1))``) in place of the 2,
        and ``sqrt(1/2)`` less where k or n is at an end that occurs once.

    Notes
    -----
    N. Ahmed, T. Natarajan and K. R. Rao, IEEE Transactions on Computers C-23 (1974) 90. Cepstra of mel
    bands: S. Davis and P. Mermelstein, IEEE Transactions on ASSP 28 (1980) 357.
    """
    n, k = np.arange(n_in)[:, None], np.arange(n_out)
    if kind == 1:
        matrix = np.cos(np.pi / (n_in - 1) * k * n)
        half_n, half_k, length = [0, n_in - 1], k % (n_in - 1) == 0, n_in - 1
    elif kind == 2:
        matrix = np.cos(np.pi / n_in * k * (n + 0.5))
        half_n, half_k, length = [], k == 0, n_in
    else:
        matrix = np.cos(np.pi / n_in * (k + 0.5) * n)
        half_n, half_k, length = [0], k < 0, n_in
    if norm == "none":
        matrix[half_n] *= 0.5
        return np.asarray(2 * matrix)
    if norm == "ortho":
        matrix[half_n] *= np.sqrt(0.5)
        matrix[:, half_k] *= np.sqrt(0.5)
    return np.asarray(np.sqrt(2 / length) * matrix)


def cepstral_matrix(settings: FeatureSettings) -> np.ndarray:
    """Matrix from the bands' logarithms to liftered coefficients.

    Parameters
    ----------
    settings : FeatureSettings
        `n_mels`, `n_mfcc`, ``dct_*`` and ``lifter*``.

    Returns
    -------
    ndarray (n_mels, n_mfcc), float64
        Cepstra are ``bands @ matrix``.

    Notes
    -----
    Liftering: B.-H. Juang, L. Rabiner and J. Wilpon, IEEE Transactions on ASSP 35 (1987) 947.
    """
    matrix = dct_matrix(settings.n_mels, settings.n_mfcc, settings.dct_type, settings.dct_norm)
    if settings.lifter:
        n = np.arange(settings.n_mfcc) + (settings.lifter_kind == "librosa")
        matrix *= 1 + settings.lifter / 2 * np.sin(np.pi * n / settings.lifter)
    return matrix
