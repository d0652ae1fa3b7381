"""Truncated backpropagation through time: a long sequence in chunks, the state carried from one to the next.

Letters: T time steps, B batch rows, I inputs, H hidden units, P outputs, L layers.
"""

from typing import Any, NamedTuple

import numpy as np

from lstm_scratch.checks import check_number
from lstm_scratch.errors import SettingError
from lstm_scratch.layers.stack import LSTM, StackCache
from lstm_scratch.params import Params


class TruncatedCache(NamedTuple):
    """All that `truncated_backward` needs of the forward pass."""

    chunks: list[StackCache]
    ends: list[int]  # the step after each chunk's last, but for the last chunk's


def truncated_forward(
    lstm: LSTM,
    params: Params,
    x: np.ndarray,
    chunk: int,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], TruncatedCache]:
    """Run the stack chunk by chunk; the result is that of one run over everything.

    To train on a stream that has no end, call `LSTM.forward` on each chunk yourself, with the ``h_n``
    and ``c_n`` of the one before as ``h0`` and ``c0``: that is all this does.

    Parameters
    ----------
    lstm : LSTM
        A stack that reads forwards.
    params : dict
        Its parameters.
    x : ndarray (T, B, I)
        Inputs, in the layout that `lstm` takes.
    chunk : int
        Steps per chunk; the last may be shorter.
    h0 : ndarray (L, B, P), optional
        Outputs before the first step. By default zero.
    c0 : ndarray (L, B, H), optional
        Cells before the first step. By default zero.
    lengths : ndarray (B,), int, optional
        Valid steps of each row. By default T.
    rng : numpy.random.Generator, optional
        Source of the dropout masks, in training, which are drawn anew for every chunk. By default
        there is no dropout.

    Returns
    -------
    outputs : tuple of ndarray
        ``y``, ``h_n`` and ``c_n``, as of `LSTM.forward`.
    cache : TruncatedCache
        What `truncated_backward` needs.

    Raises
    ------
    SettingError
        If the stack reads backwards, which no chunk can do before the last is there, or the chunk has
        no step.
    ValueError
        If a shape or a length does not fit.
    """
    check_number("chunk", chunk, whole=True, above=0)
    if True in lstm.directions:
        raise SettingError("a stack that reads backwards cannot run in chunks; use one direction, forwards")
    lstm.check_inputs(x, h0, c0, lengths)
    axis = _time_axis(lstm, x)
    ends = list(range(chunk, x.shape[axis], chunk))
    y, caches, h, c = [], [], h0, c0
    for start, part in zip([0, *ends], np.split(x, ends, axis), strict=True):
        left = None if lengths is None else np.clip(np.asarray(lengths) - start, 0, part.shape[axis])
        (of_part, h, c), cache = lstm.forward(params, part, h, c, left, rng)
        y.append(of_part)
        caches.append(cache)
    return (np.concatenate(y, axis), np.asarray(h), np.asarray(c)), TruncatedCache(caches, ends)


def truncated_backward(
    lstm: LSTM,
    params: Params,
    cache: TruncatedCache,
    dy: np.ndarray,
    dh_n: np.ndarray | None = None,
    dc_n: np.ndarray | None = None,
    horizon: int | None = 1,
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], Params]:
    """Carry the gradient of every chunk's loss back through a limited number of chunks.

    The result is the sum over chunks k of the gradient of the loss in chunk k, where the state that
    enters chunk ``k - horizon + 1`` is taken as a constant. With horizon None nothing is cut, and it is
    the full gradient.

    Parameters
    ----------
    lstm : LSTM
        The stack.
    params : dict
        The parameters given to `truncated_forward`.
    cache : TruncatedCache
        What it returned.
    dy : ndarray (T, B, P)
        Gradient of the loss with respect to ``y``, of its shape.
    dh_n : ndarray (L, B, P), optional
        Gradient with respect to ``h_n``. It belongs to the last chunk, also for a row that ended in an
        earlier one. By default zero.
    dc_n : ndarray (L, B, H), optional
        Gradient with respect to ``c_n``. By default zero.
    horizon : int or None, default 1
        Chunks that a gradient goes back through, its own included; None for all.

    Returns
    -------
    inputs : tuple of ndarray
        ``dx``, ``dh0`` and ``dc0``, as of `LSTM.backward`.
    grads : dict
        Gradients of the parameters, under their names.

    Raises
    ------
    SettingError
        If the horizon is not positive.

    Notes
    -----
    R. Williams and J. Peng, Neural Computation 2 (1990) 490: BPTT(h; h'), with h' steps of new losses
    per chunk and h = horizon * h'.
    """
    if horizon is not None:
        check_number("horizon", horizon, whole=True, above=0)
    chunks, ends = cache
    axis, last = _time_axis(lstm, dy), len(chunks) - 1
    dys = np.split(dy, ends, axis)
    dx: list[Any] = [0.0] * len(chunks)
    dh0: Any = 0.0
    dc0: Any = 0.0
    grads: Params = {}
    # Without a cut all losses go back together, from the last chunk to the first; with one, each alone.
    for newest in [last] if horizon is None else range(last + 1):
        oldest = 0 if horizon is None else max(newest - horizon + 1, 0)
        dh, dc = (dh_n, dc_n) if newest == last else (None, None)
        for k in range(newest, oldest - 1, -1):
            d_out = dys[k] if horizon is None or k == newest else np.zeros_like(dys[k])
            (d_in, dh, dc), of_chunk = lstm.backward(params, chunks[k], d_out, dh, dc)
            dx[k] = dx[k] + d_in
            grads = {name: grad + grads.get(name, 0) for name, grad in of_chunk.items()}
        if oldest == 0:
            dh0, dc0 = dh0 + dh, dc0 + dc
    return (np.concatenate(dx, axis), dh0, dc0), grads


def _time_axis(lstm: LSTM, x: np.ndarray) -> int:
    return 1 if lstm.batch_first and x.ndim == 3 else 0
