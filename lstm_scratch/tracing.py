"""A trace: what happened at every step of an LSTM, and what the loss thinks of it.

Letters: T time steps, B batch rows, I inputs, H hidden units, P outputs, L layers, D directions.
"""

import dataclasses
from typing import Any

import numpy as np

from lstm_scratch.engines import Engine
from lstm_scratch.layers.stack import LSTM, reverse_valid
from lstm_scratch.params import Params
from lstm_scratch.variants import Steps, VariantCache, backward_with_steps, steps_of, variant_forward


def trace(
    lstm: LSTM,
    params: Params,
    x: np.ndarray,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    dy: np.ndarray | None = None,
    dh_n: np.ndarray | None = None,
    dc_n: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Record the gates and states of every step, and the loss's gradient with respect to each.

    The gradients are total: that of a cell, for one, counts all that comes of it later, through its own
    step's output and through the next cell. Nothing is dropped: it is the network as it predicts.

    Parameters
    ----------
    lstm : LSTM
        Any stack; its engine hands over to the plain one.
    params : dict
        Its parameters.
    x : ndarray (T, B, I)
        Inputs, in the layout that `lstm` takes.
    h0 : ndarray (L * D, B, P), optional
        Outputs before the first step. By default zero.
    c0 : ndarray (L * D, B, H), optional
        Cells before the first step. By default zero.
    lengths : ndarray (B,), int, optional
        Valid steps of each row. By default T.
    dy : ndarray (T, B, D * P), optional
        Gradient of the loss with respect to ``y``.
    dh_n : ndarray (L * D, B, P), optional
        Gradient with respect to ``h_n``.
    dc_n : ndarray (L * D, B, H), optional
        Gradient with respect to ``c_n``.

    Returns
    -------
    dict of str to ndarray
        ``i_l0``, ``f_l0``, ``g_l0``, ``o_l0``, ``c_l0 (T, B, H)`` and ``h_l0 (T, B, P)``, and so on for
        every layer, with ``_reverse`` at the end for the direction that reads backwards; in the layout
        of ``x``, at the step whose input was read, zero at the padding. If a gradient is given, also the
        loss's gradient with respect to each: ``di_l0`` and so on. With zoneout, c and h are the step's
        new values, before the old ones are mixed in.

    Raises
    ------
    ValueError
        If a shape or a length does not fit.
    """
    steps: dict[int, tuple[Steps, Steps | None]] = {}  # by the cache of their pass

    def forward(params: Params, *inputs: Any, **_: Any) -> Any:
        outputs, cache = variant_forward(params, *inputs)
        steps[id(cache)] = (steps_of(params, cache), None)
        return outputs, cache

    def backward(params: Params, cache: VariantCache, *d_outputs: Any, **_: Any) -> Any:
        d_inputs, grads, d = backward_with_steps(params, cache, *d_outputs)
        steps[id(cache)] = (steps[id(cache)][0], d)
        return d_inputs, grads

    watched = dataclasses.replace(lstm, engine=Engine(forward, backward))
    (y, _, _), cache = watched.forward(params, x, h0, c0, lengths)
    if not (dy is None and dh_n is None and dc_n is None):
        watched.backward(params, cache, np.zeros_like(y) if dy is None else dy, dh_n, dc_n)

    traced = {}
    for suffix, of_pass in zip(lstm.suffixes, cache.passes, strict=True):
        for d, of_steps in zip(("", "d"), steps[id(of_pass)], strict=True):
            if of_steps is None:
                continue
            for name, array in of_steps._asdict().items():
                array = np.where(of_pass.valid, array, 0)
                if suffix.endswith("_reverse"):
                    array = reverse_valid(array, cache.lengths)
                traced[f"{d}{name}{suffix}"] = lstm.as_given(array, x.ndim == 3)
    return traced
