"""Engines: who computes a pass, that is one layer in one direction. All give the same numbers.

An engine has the two functions of `lstm.py`, and is told the variant too. What it does not compute
itself, it hands over to `variants.py`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lstm_scratch.errors import SettingError
from lstm_scratch.lstm import LSTMCache, lstm_backward, lstm_forward
from lstm_scratch.params import Params
from lstm_scratch.variants import PLAIN, Variant, VariantCache, variant_backward, variant_forward

Three = tuple[np.ndarray, np.ndarray, np.ndarray]


class Engine(NamedTuple):
    """A forward and a backward pass.

    ``forward(params, x, h0, c0, lengths, variant, rng)`` returns ``((y, h_n, c_n), cache)`` and
    ``backward(params, cache, dy, dh_n, dc_n)`` returns ``((dx, dh0, dc0), grads)``, with the shapes
    of `variant_forward` and `variant_backward`. ``variant`` and ``rng`` go together with a
    ``weight_hr`` among the parameters, if there is a projection.
    """

    forward: Callable[..., tuple[Three, Any]]
    backward: Callable[..., tuple[Three, Params]]


def numpy_forward(
    params: Params,
    x: np.ndarray,
    h0: np.ndarray | None,
    c0: np.ndarray | None,
    lengths: np.ndarray | None,
    variant: Variant,
    rng: np.random.Generator | None,
) -> tuple[Three, LSTMCache | VariantCache]:
    """Run a pass by `lstm.py`, or by `variants.py` where it differs from the plain LSTM.

    Parameters
    ----------
    params, x, h0, c0, lengths, variant, rng : object
        As of `variant_forward`.

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


def numpy_backward(
    params: Params,
    cache: LSTMCache | VariantCache,
    dy: np.ndarray,
    dh_n: np.ndarray | None,
    dc_n: np.ndarray | None,
) -> tuple[Three, Params]:
    """Carry the gradient back through a pass of `numpy_forward`.

    Parameters
    ----------
    params, cache, dy, dh_n, dc_n : object
        As of `variant_backward`.

    Returns
    -------
    inputs : tuple of ndarray
        As of `variant_backward`.
    grads : dict
        As of `variant_backward`.
    """
    if isinstance(cache, LSTMCache):
        return lstm_backward(params, cache, dy, dh_n, dc_n)
    return variant_backward(params, cache, dy, dh_n, dc_n)


ENGINES = {"numpy": Engine(numpy_forward, numpy_backward)}


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
