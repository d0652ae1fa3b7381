"""Dropout: in training, some values are zero and the rest larger; else nothing happens."""

import numpy as np


def dropout_forward(
    x: np.ndarray, probability: float, rng: np.random.Generator | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Drop values at random and scale the others, so that the mean stays.

    Parameters
    ----------
    x : ndarray
        Values of any shape.
    probability : float
        Of dropping a value, in [0, 1).
    rng : numpy.random.Generator or None
        Source of the mask; None outside training.

    Returns
    -------
    y : ndarray
        ``x * mask``.
    mask : ndarray or None
        0 or ``1 / (1 - probability)`` each; None where nothing was dropped. The cache for
        `dropout_backward`.

    Notes
    -----
    N. Srivastava et al., JMLR 15 (2014) 1929, section 10.
    """
    mask = dropout_mask(x.shape, probability, x.dtype, rng)
    return (x, None) if mask is None else (x * mask, mask)


def dropout_backward(dy: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Carry the gradient back through the values that were kept.

    Parameters
    ----------
    dy : ndarray
        Gradient with respect to `dropout_forward`'s result.
    mask : ndarray or None
        What `dropout_forward` returned.

    Returns
    -------
    ndarray
        ``dx = dy * mask``.
    """
    return dy if mask is None else dy * mask


def dropout_mask(
    shape: tuple[int, ...], probability: float, dtype: np.dtype, rng: np.random.Generator | None
) -> np.ndarray | None:
    """Draw what dropout multiplies by.

    Parameters
    ----------
    shape : tuple of int
        Of the values.
    probability : float
        Of dropping a value, in [0, 1).
    dtype : dtype
        Of the values.
    rng : numpy.random.Generator or None
        Source of the mask; None outside training.

    Returns
    -------
    ndarray or None
        0 or ``1 / (1 - probability)`` each; None where nothing is to be dropped.
    """
    if rng is None or probability == 0:
        return None
    keep = rng.random(shape) >= probability
    return np.asarray(keep.astype(dtype) / dtype.type(1 - probability))
