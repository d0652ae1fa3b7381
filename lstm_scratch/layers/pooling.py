"""Pooling: one vector for a whole sequence, from its valid steps alone.

Letters: T time steps, B batch rows, F features per step. A row without steps pools to zeros.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np

from lstm_scratch.lstm import valid_steps
from lstm_scratch.params import Params, glorot_uniform

Pooling = Literal["mean", "max", "last", "attention"]
POOLINGS: tuple[str, ...] = get_args(Pooling)


class PoolingCache(NamedTuple):
    """All that `pooling_backward` needs of the forward pass."""

    y: np.ndarray  # (T, B, F)
    weights: np.ndarray  # (T, B, F) or (T, B, 1): each step's share in the result
    pooled: np.ndarray  # (B, F)


def pooling_init(rng: np.random.Generator, kind: Pooling, n_features: int) -> Params:
    """Draw the parameters: attention has one query vector, the others none.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    kind : {"mean", "max", "last", "attention"}
        How to pool.
    n_features : int
        F.

    Returns
    -------
    dict
        ``query (F,)`` for attention, float64; else empty.
    """
    return {"query": glorot_uniform(rng, 1, n_features)[0]} if kind == "attention" else {}


def pooling_forward(
    params: Params, kind: Pooling, y: np.ndarray, lengths: np.ndarray, directions: tuple[bool, ...] = (False,)
) -> tuple[np.ndarray, PoolingCache]:
    """Pool the valid steps of every row: ``pooled = sum_t weights_t * y_t``.

    Parameters
    ----------
    params : dict
        ``query (F,)`` for attention.
    kind : {"mean", "max", "last", "attention"}
        The steps' mean; each feature's maximum; the step that a direction read last (the last valid
        one, for a direction that reads backwards the first); or a mean weighted by
        ``softmax_t(y_t @ query)``.
    y : ndarray (T, B, F)
        Outputs of the LSTM.
    lengths : ndarray (B,), int
        Valid steps of each row.
    directions : tuple of bool, default (False,)
        For each equal part of the features, whether it was read backwards.

    Returns
    -------
    pooled : ndarray (B, F)
        One vector per row.
    cache : PoolingCache
        What `pooling_backward` needs.

    Notes
    -----
    Attention: C. Raffel and D. Ellis, "Feed-forward networks with attention can solve some
    long-term memory problems", arXiv:1512.08756, equation 2, with a linear score.
    """
    T, B, F = y.shape
    valid = valid_steps(lengths, T, B)
    if kind == "mean":
        weights = valid / np.maximum(lengths, 1)[:, None]
    elif kind == "max":
        best = np.where(valid, y, -np.inf).argmax(axis=0)
        weights = valid & (np.arange(T)[:, None, None] == best)
    elif kind == "last":
        step = np.repeat(lengths[:, None] - 1, F, axis=1)
        step[:, np.repeat(directions, F // len(directions))] = 0
        weights = valid & (np.arange(T)[:, None, None] == step)
    else:
        scores = np.where(valid, (y @ params["query"])[:, :, None], -np.inf)
        top = scores.max(axis=0, initial=np.finfo(y.dtype).min)  # finite in a row without steps
        weights = np.exp(scores - top)
        weights = weights / np.maximum(weights.sum(axis=0), np.finfo(y.dtype).tiny)
    weights = weights.astype(y.dtype)
    pooled = (weights * y).sum(axis=0)
    return pooled, PoolingCache(y, weights, pooled)


def pooling_backward(
    params: Params, kind: Pooling, cache: PoolingCache, dpooled: np.ndarray
) -> tuple[np.ndarray, Params]:
    """Carry the gradient back to every step.

    ``dy_t = weights_t * dpooled``; attention's weights move with y too: the score of step t has
    the gradient ``dscore_t = weights_t * ((y_t - pooled) @ dpooled)``.

    Parameters
    ----------
    params : dict
        The parameters given to `pooling_forward`.
    kind : {"mean", "max", "last", "attention"}
        As there.
    cache : PoolingCache
        What it returned.
    dpooled : ndarray (B, F)
        Gradient with respect to its result.

    Returns
    -------
    dy : ndarray (T, B, F)
        Gradient with respect to ``y``, zero at the padding.
    grads : dict
        Gradients of the parameters.
    """
    y, weights, pooled = cache
    dy = weights * dpooled
    if kind != "attention":
        return dy, {}
    dscores = weights * ((y - pooled) * dpooled).sum(axis=2, keepdims=True)
    return dy + dscores * params["query"], {"query": (dscores * y).sum(axis=(0, 1))}
