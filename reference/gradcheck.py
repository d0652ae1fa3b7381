"""Gradient check: a hand-written backward pass against central differences of the forward pass."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Comparison:
    """A gradient and its numerical counterpart, where they differ most."""

    # Largest difference, relative to the largest entry of the tensor, or of all where the tensor is zero.
    error: float
    index: tuple[int, ...]  # where it is
    analytic: float
    numerical: float


def numerical_gradient(loss: Callable[[], float], array: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Gradient of a loss by central differences: ``(loss(a + step) - loss(a - step)) / (2 step)``.

    Parameters
    ----------
    loss : callable
        Computes the loss from `array`, among other things.
    array : ndarray, float64
        What to differentiate by. Each entry is moved in place and put back.
    step : float, default 1e-5
        Size of the move. The error is of the order of ``step ** 2``, and ``1e-16 / step`` of rounding.

    Returns
    -------
    ndarray, float64
        One derivative for every entry.

    Raises
    ------
    TypeError
        If the array is not float64: differences of smaller floats are all rounding.
    """
    if array.dtype != np.float64:
        raise TypeError(f"a gradient check needs float64, not {array.dtype}")
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + step
        above = loss()
        array[index] = value - step
        below = loss()
        array[index] = value
        gradient[index] = (above - below) / (2 * step)
    return gradient


def compare_gradients(
    loss: Callable[[], float],
    arrays: Mapping[str, np.ndarray],
    grads: Mapping[str, np.ndarray],
    step: float = 1e-5,
) -> dict[str, Comparison]:
    """Hold gradients against central differences.

    Parameters
    ----------
    loss : callable
        Computes the loss from `arrays`.
    arrays : mapping of str to ndarray, float64
        What was differentiated by.
    grads : mapping of str to ndarray
        The gradients, under the same names.
    step : float, default 1e-5
        Of `numerical_gradient`.

    Returns
    -------
    dict of str to Comparison
        For every name, where the two differ most.

    Raises
    ------
    ValueError
        If names or shapes differ.
    """
    if set(arrays) != set(grads):
        raise ValueError(f"gradients of {sorted(grads)} for arrays {sorted(arrays)}")
    comparisons = {}
    numericals = {name: numerical_gradient(loss, array, step) for name, array in arrays.items()}
    largest = max((np.abs(n).max(initial=0) for n in numericals.values()), default=0)
    for name, array in arrays.items():
        analytic, numerical = grads[name], numericals[name]
        if analytic.shape != numerical.shape:
            raise ValueError(f"{name} has shape {array.shape}, its gradient {analytic.shape}")
        if array.size == 0:
            continue
        difference = np.abs(analytic - numerical)
        difference[np.isnan(difference)] = np.inf  # else NaN would be the smallest of all
        index = np.unravel_index(int(difference.argmax()), difference.shape)
        scale = np.abs(numerical).max()
        if scale <= 1e-9 * largest:  # a gradient of zero, which is all rounding here
            scale = largest
        scale = max(scale, np.finfo(np.float64).tiny)
        comparisons[name] = Comparison(
            float(difference[index] / scale),
            tuple(int(i) for i in index),
            float(analytic[index]),
            float(numerical[index]),
        )
    return comparisons


def assert_gradients(
    loss: Callable[[], float],
    arrays: Mapping[str, np.ndarray],
    grads: Mapping[str, np.ndarray],
    tolerance: float = 1e-8,
    step: float = 1e-5,
) -> None:
    """Fail where a gradient is not the derivative of the loss.

    Parameters
    ----------
    loss : callable
        Computes the loss from `arrays`.
    arrays : mapping of str to ndarray, float64
        What was differentiated by.
    grads : mapping of str to ndarray
        The gradients, under the same names.
    tolerance : float, default 1e-8
        Largest difference allowed, relative to the largest entry of a tensor.
    step : float, default 1e-5
        Of `numerical_gradient`.

    Raises
    ------
    AssertionError
        It names each wrong gradient, its worst entry, and both numbers there.
    """
    wrong = [
        f"{name}{list(c.index)}: gradient {c.analytic:.12g}, central difference {c.numerical:.12g} "
        f"(relative error {c.error:.1e})"
        for name, c in compare_gradients(loss, arrays, grads, step).items()
        if not c.error <= tolerance
    ]
    if wrong:
        raise AssertionError("; ".join(wrong))
