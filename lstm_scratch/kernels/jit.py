"""How everything here is compiled, in one place."""

from collections.abc import Callable
from typing import Any

from numba import njit


def jit(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called, and keep the result on disk.

    It runs without Python's global lock, divides as C does, and knows no fast-math: NaN stays NaN.

    Parameters
    ----------
    function : callable
        Of arrays and numbers.

    Returns
    -------
    numba.core.dispatcher.Dispatcher
        The compiled function.
    """
    return njit(error_model="numpy", nogil=True)(function)
