"""Cepstra: from the logarithm of a spectrum to a few numbers that hardly depend on each other."""

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=8)
def dct_matrix(n_in: int, n_out: int) -> np.ndarray:
    """Discrete cosine transform of type II, orthonormal, as a matrix.

    Parameters
    ----------
    n_in : int
        Length of what is transformed.
    n_out : int
        How many of its coefficients are wanted, the lowest ones.

    Returns
    -------
    ndarray (n_in, n_out), float64
        Column k is ``sqrt(2 / n_in) * cos(pi * k * (n + 1/2) / n_in)``, for k = 0 by ``sqrt(1/2)`` less.

    Notes
    -----
    N. Ahmed, T. Natarajan and K. R. Rao, IEEE Transactions on Computers C-23 (1974) 90. Cepstra of mel
    bands: S. Davis and P. Mermelstein, IEEE Transactions on ASSP 28 (1980) 357.
    """
    n, k = np.arange(n_in)[:, None] + 0.5, np.arange(n_out)
    matrix: np.ndarray = np.sqrt(2 / n_in) * np.cos(np.pi / n_in * k * n)
    matrix[:, 0] *= np.sqrt(0.5)
    matrix.flags.writeable = False
    return matrix
