"""Activations: each a function and its slope, both of the pre-activation z.

Pieces are told apart by the real part, so that each is analytic and a complex step sees its slope.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lstm_scratch.lstm import sigmoid


class Activation(NamedTuple):
    """A function of z and its derivative."""

    value: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]


def clip(z: np.ndarray, limit: float) -> np.ndarray:
    """Bound values to ``-limit .. limit``.

    Parameters
    ----------
    z : ndarray
        Real or complex values.
    limit : float
        The bound, infinite for none.

    Returns
    -------
    ndarray
        Values of the same shape and dtype.
    """
    # A float has no dtype of its own to give to the result.
    limit = float(limit)
    return z if limit == math.inf else np.where(np.abs(z.real) <= limit, z, np.sign(z.real) * limit)


def clipped(name: str, limit: float = math.inf) -> Activation:
    """Look up an activation, behind a bound on its input.

    Parameters
    ----------
    name : str
        One of `ACTIVATIONS`.
    limit : float, optional
        z is bounded to ``-limit .. limit`` first; the slope beyond is zero.

    Returns
    -------
    Activation
        The function and its slope.
    """
    value, slope = ACTIVATIONS[name]
    if limit == math.inf:
        return ACTIVATIONS[name]
    return Activation(
        lambda z: value(clip(z, limit)),
        lambda z: np.where(np.abs(z.real) <= limit, slope(z), 0),
    )


def _magnitude(z: np.ndarray) -> np.ndarray:
    return np.where(z.real < 0, -z, z)


# Hard sigmoid is that of ONNX and of Theano, 0.2 z + 0.5; torch's and Keras 3's has a slope of 1/6.
ACTIVATIONS = {
    "sigmoid": Activation(sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
    "tanh": Activation(np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "hard_sigmoid": Activation(
        lambda z: clip(0.2 * z, 0.5) + 0.5, lambda z: 0.2 * (np.abs(z.real) <= 2.5).astype(z.dtype)
    ),
    "relu": Activation(lambda z: np.where(z.real <= 0, 0, z), lambda z: (z.real > 0).astype(z.dtype)),
    "softsign": Activation(lambda z: z / (1 + _magnitude(z)), lambda z: (1 + _magnitude(z)) ** -2),
    "identity": Activation(lambda z: z, np.ones_like),
}
