"""Engines: who computes a pass, that is one layer in one direction. All give the same numbers.

An engine has the two functions of `lstm.py`, and is told the variant too. What it does not compute
itself, it hands over to `variants.py`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstm_scratch.errors import SettingError, UserError
from lstm_scratch.lstm import LSTMCache, lstm_backward, lstm_forward, lstm_init
from lstm_scratch.params import Params
from lstm_scratch.variants import PLAIN, Variant, VariantCache, variant_backward, variant_forward
from simd.loading import load_kernels

Three = tuple[np.ndarray, np.ndarray, np.ndarray]
State = tuple[np.ndarray, np.ndarray]


class Engine(NamedTuple):
    """A forward and a backward pass.

    ``forward(params, x, h0, c0, lengths, variant, rng, *, inference, num_threads)`` returns
    ``((y, h_n, c_n), cache)`` and ``backward(params, cache, dy, dh_n, dc_n, *, input_gradient)`` returns
    ``((dx, dh0, dc0), grads)``, with the shapes of `variant_forward` and `variant_backward`. A projection
    shows as ``weight_hr`` among the parameters. What comes by name may be ignored: for ``inference`` no
    backward pass is to follow, and the cache may be None; ``num_threads`` is how many threads the user grants
    this pass and its backward pass, or None; without ``input_gradient``, ``dx`` need have no columns.

    ``single_step(layers, variant)``, where there is one, takes the parameters of layers on top of each other,
    and returns a function that computes from ``x (I,)`` and the states ``h`` and ``c (L, H)`` those after the
    step; or None, where it has no better way than `forward`.

    ``together(run, n, operations, num_threads)``, where there is one, returns what ``run(k, threads)``
    returns for k = 0 .. n - 1: passes that do not need each other, of so many operations each, maybe at once.
    """

    forward: Callable[..., tuple[Three, Any]]
    backward: Callable[..., tuple[Three, Params]]
    single_step: Callable[[list[Params], Variant], Callable[..., State] | None] | None = None
    together: Callable[[Callable[..., Any], int, int, int | None], list[Any]] | None = None


# BLAS may flag as invalid what lies beside its operands, though its result is right: OpenBLAS 0.3.31 does
# with AVX-512 (a float32 row of 5 times a matrix of 2, 3, 6, 7 ... columns). The kernels tell of no flags.
_ANY_FLAG = np.errstate(invalid="ignore")


@_ANY_FLAG
def numpy_forward(
    params: Params,
    x: np.ndarray,
    h0: np.ndarray | None,
    c0: np.ndarray | None,
    lengths: np.ndarray | None,
    variant: Variant,
    rng: np.random.Generator | None,
    *,
    inference: bool,
    num_threads: int | None,
) -> tuple[Three, LSTMCache | VariantCache]:
    """Run a pass by `lstm.py`, or by `variants.py` where it differs from the plain LSTM.

    Parameters
    ----------
    params, x, h0, c0, lengths, variant, rng : object
        As of `variant_forward`.
    inference, num_threads : object
        Neither is of any use here.

    Returns
    -------
    outputs : tuple of ndarray
        As of `variant_forward`.
    cache : LSTMCache or VariantCache
        What `numpy_backward` needs.
    """
    if variant == PLAIN and "weight_hr" not in params:
        return lstm_forward(params, x, h0, c0, lengths)
    return variant_forward(params, x, h0, c0, lengths, variant, rng)


@_ANY_FLAG
def numpy_backward(
    params: Params,
    cache: LSTMCache | VariantCache,
    dy: np.ndarray,
    dh_n: np.ndarray | None,
    dc_n: np.ndarray | None,
    *,
    input_gradient: bool,
) -> tuple[Three, Params]:
    """Carry the gradient back through a pass of `numpy_forward`.

    Parameters
    ----------
    params, cache, dy, dh_n, dc_n : object
        As of `variant_backward`.
    input_gradient : bool
        Whether ``dx`` is wanted.

    Returns
    -------
    inputs : tuple of ndarray
        As of `variant_backward`; ``dx`` without columns, if it is not wanted.
    grads : dict
        As of `variant_backward`.
    """
    back = lstm_backward if isinstance(cache, LSTMCache) else variant_backward
    (dx, dh0, dc0), grads = back(params, cache, dy, dh_n, dc_n)  # type: ignore[arg-type]  # each its own
    return (dx if input_gradient else dx[:, :, :0], dh0, dc0), grads


def numba_forward(
    params: Params,
    x: np.ndarray,
    h0: np.ndarray | None,
    c0: np.ndarray | None,
    lengths: np.ndarray | None,
    variant: Variant,
    rng: np.random.Generator | None,
    *,
    inference: bool,
    num_threads: int | None,
) -> tuple[Three, Any]:
    """Run a pass by the kernels, or by `numpy_forward` where it differs from the plain LSTM in float32 or 64.

    Parameters
    ----------
    params, x, h0, c0, lengths, variant, rng : object
        As of `variant_forward`.
    inference : bool
        Whether no backward pass is to follow.
    num_threads : int or None
        As of `lstm_scratch.kernels.engine.lstm_forward`.

    Returns
    -------
    outputs : tuple of ndarray
        As of `variant_forward`.
    cache : KernelCache, LSTMCache or VariantCache
        What `numba_backward` needs.
    """
    states = [state for state in (h0, c0) if state is not None]
    if _is_for_kernels(variant, params, x, *states):
        kernels = _kernels()
        if kernels is not None:
            outputs, cache = kernels.lstm_forward(params, x, h0, c0, lengths, num_threads, keep=not inference)
            return outputs, cache
    return numpy_forward(
        params, x, h0, c0, lengths, variant, rng, inference=inference, num_threads=num_threads
    )


def numba_backward(
    params: Params,
    cache: Any,
    dy: np.ndarray,
    dh_n: np.ndarray | None,
    dc_n: np.ndarray | None,
    *,
    input_gradient: bool,
) -> tuple[Three, Params]:
    """Carry the gradient back through a pass of `numba_forward`.

    Parameters
    ----------
    params, cache, dy, dh_n, dc_n : object
        As of `variant_backward`.
    input_gradient : bool
        Whether ``dx`` is wanted.

    Returns
    -------
    inputs : tuple of ndarray
        As of `variant_backward`; ``dx`` without columns, if it is not wanted.
    grads : dict
        As of `variant_backward`.
    """
    if isinstance(cache, LSTMCache | VariantCache):
        return numpy_backward(params, cache, dy, dh_n, dc_n, input_gradient=input_gradient)
    if any(array.dtype != cache.x.dtype for array in (*params.values(), dy)):
        raise ValueError(f"the forward pass was in {cache.x.dtype}: parameters and dy are to be, too")
    inputs, grads = _kernels().lstm_backward(params, cache, dy, dh_n, dc_n, input_gradient=input_gradient)
    return inputs, grads


def numba_single_step(layers: list[Params], variant: Variant) -> Callable[..., State] | None:
    """Set up a single step, as `Engine` describes it.

    Parameters
    ----------
    layers : list of dict
        Parameters.
    variant : Variant
        What differs from the plain LSTM.

    Returns
    -------
    callable or None
        The step.
    """
    one_dtype = len({params["bias"].dtype for params in layers}) == 1
    if not (one_dtype and all(_is_for_kernels(variant, params) for params in layers)):
        return None
    if _kernels() is None:
        return None
    from lstm_scratch.kernels.step import single_step

    return single_step(layers)


def numba_together(
    run: Callable[[int, int | None], Any], n: int, operations: int, num_threads: int | None
) -> list[Any]:
    """Run passes in threads of their own, as `Engine` describes it.

    Parameters
    ----------
    run : callable
        From a pass's number and how many threads it may use, its result.
    n : int
        How many passes.
    operations : int
        Of a pass.
    num_threads : int or None
        As of `lstm_scratch.kernels.engine.lstm_forward`, for all passes.

    Returns
    -------
    list
        The results, in order.
    """
    if _kernels() is None:
        return [run(k, num_threads) for k in range(n)]
    from simd.threads import all_at_once

    return all_at_once(run, n, operations, num_threads)


def _is_for_kernels(variant: Variant, params: Params, *inputs: np.ndarray) -> bool:
    dtype = params["bias"].dtype
    return (
        variant == PLAIN
        and "weight_hr" not in params
        and dtype in (np.float32, np.float64)
        and all(array.dtype == dtype for array in (*params.values(), *inputs))
    )


def _kernels() -> Any:
    """Import the kernels when they are first needed. None, if they do not work here."""
    return load_kernels("lstm_scratch.kernels.engine", "the LSTM")


def warm_up() -> str:
    """Compile the kernels, so that nobody has to wait for it later.

    Returns
    -------
    str
        Where they are kept.

    Raises
    ------
    UserError
        If there are none here, or they cannot be kept.
    """
    kernels = _kernels()
    if kernels is None:
        raise UserError("there is no working numba here: pip install numba, and unset NUMBA_DISABLE_JIT")
    for dtype in (np.float32, np.float64):
        params = {
            name: array.astype(dtype) for name, array in lstm_init(np.random.default_rng(0), 2, 3).items()
        }
        for B in (1, 8):  # few rows take another way
            for keep in (False, True):
                (y, _, _), cache = kernels.lstm_forward(params, np.zeros((2, B, 2), dtype), keep=keep)
            kernels.lstm_backward(params, cache, y)
        numba_together(lambda k, threads: None, 2, 10**9, 2)
        numba_single_step([params], PLAIN)(np.zeros(2, dtype), *np.zeros((2, 1, 3), dtype))  # type: ignore[misc]
    from simd.jit import cache_folder

    folder = cache_folder(Path(kernels.__file__).parent)
    if folder is None:
        raise UserError("nothing can be written in ~/.cache; set XDG_CACHE_HOME to a folder where it can")
    return str(folder.parent)


ENGINES = {
    "numpy": Engine(numpy_forward, numpy_backward),
    "numba": Engine(numba_forward, numba_backward, numba_single_step, numba_together),
}


def engine_named(name: str) -> Engine:
    """Look up an engine.

    Parameters
    ----------
    name : str
        One of `ENGINES`.

    Returns
    -------
    Engine
        Its two functions.

    Raises
    ------
    SettingError
        If there is none of that name.
    """
    if name not in ENGINES:
        raise SettingError(f"engine is one of {', '.join(ENGINES)}, not {name!r}")
    return ENGINES[name]
