"""Layer normalisation. Letters: N features, normalised over the last axis."""

import numpy as np

EPSILON = 1e-5  # added to the variance, as torch does


def layer_norm_forward(gain: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Compute ``y = gain * n`` with ``n = (v - mean(v)) / sqrt(var(v) + 1e-5)``.

    Parameters
    ----------
    gain : ndarray (N,)
        Scale of each feature.
    v : ndarray (..., N)
        Values.

    Returns
    -------
    y : ndarray (..., N)
        Normalised and scaled values.
    cache : tuple of ndarray
        n ``(..., N)`` and ``1 / sqrt(var + 1e-5) (..., 1)``, for `layer_norm_backward`.

    Notes
    -----
    J. Ba, J. Kiros and G. Hinton, "Layer normalization", arXiv:1607.06450, equation 3.
    """
    centred = v - v.mean(axis=-1, keepdims=True)
    scale = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)
    n = centred * scale
    return gain * n, (n, scale)


def layer_norm_backward(
    gain: np.ndarray, cache: tuple[np.ndarray, np.ndarray], dy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Carry the gradient back: ``dv = scale * (dn - mean(dn) - n * mean(dn * n))``, ``dn = gain * dy``.

    Parameters
    ----------
    gain : ndarray (N,)
        That given to `layer_norm_forward`.
    cache : tuple of ndarray
        What it returned.
    dy : ndarray (..., N)
        Gradient with respect to its result.

    Returns
    -------
    dv : ndarray (..., N)
        Gradient with respect to the values.
    dgain : ndarray (N,)
        Gradient with respect to the gain, ``sum(dy * n)``.
    """
    n, scale = cache
    dn = gain * dy
    dv = scale * (dn - dn.mean(axis=-1, keepdims=True) - n * (dn * n).mean(axis=-1, keepdims=True))
    return dv, (dy * n).reshape(-1, len(gain)).sum(axis=0)
