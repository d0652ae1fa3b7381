"""Linear layer. Letters: B batch rows, F inputs, K outputs."""

import numpy as np

from lstm_scratch.params import Params, glorot_uniform


def linear_init(rng: np.random.Generator, n_in: int, n_out: int) -> Params:
    """Draw the parameters: Glorot uniform weights, zero bias.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    n_in, n_out : int
        F and K.

    Returns
    -------
    dict
        ``weight (K, F)`` and ``bias (K,)``, float64.
    """
    return {"weight": glorot_uniform(rng, n_out, n_in), "bias": np.zeros(n_out)}


def linear_forward(params: Params, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute ``y = x @ weight.T + bias``.

    Parameters
    ----------
    params : dict
        ``weight (K, F)`` and ``bias (K,)``.
    x : ndarray (..., F)
        Inputs.

    Returns
    -------
    y : ndarray (..., K)
        Outputs.
    cache : ndarray (..., F)
        The inputs, for `linear_backward`.
    """
    return x @ params["weight"].T + params["bias"], x


def linear_backward(params: Params, cache: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, Params]:
    """Carry the gradient back: ``dx = dy @ weight``, ``dweight = dy.T @ x``, ``dbias = sum(dy)``.

    Parameters
    ----------
    params : dict
        The parameters given to `linear_forward`.
    cache : ndarray (..., F)
        What `linear_forward` returned.
    dy : ndarray (..., K)
        Gradient with respect to its result.

    Returns
    -------
    dx : ndarray (..., F)
        Gradient with respect to the inputs.
    grads : dict
        Gradients of the parameters.
    """
    rows, x = dy.reshape(-1, dy.shape[-1]), cache.reshape(-1, cache.shape[-1])
    return dy @ params["weight"], {"weight": rows.T @ x, "bias": rows.sum(axis=0)}
