"""Pooling: one vector for a whole sequence, from its valid steps alone.

Letters: T time steps, B batch rows, F features per step, S statistics. A row without steps pools to zeros.
"""

from typing import NamedTuple

import numpy as np

from lstm_scratch.errors import SettingError
from lstm_scratch.lstm import valid_steps
from lstm_scratch.params import Params, glorot_uniform

#: What may be said of the steps; several are joined by "+".
STATISTICS = ("mean", "max", "std", "last", "attention")
EACH = "none"  # no pooling: every step has a result of its own
POOLINGS = (*STATISTICS, "mean+max+std", EACH)  # examples of all that there is
VARIANCE_FLOOR = 1e-5  # keeps the gradient of a standard deviation finite, where the steps are alike


class StatisticCache(NamedTuple):
    """What the backward pass of one statistic needs."""

    weights: np.ndarray  # (T, B, F) or (T, B, 1): each step's share in the result, or in the mean
    result: np.ndarray  # (B, F)
    mean: np.ndarray | None  # (B, F), of the standard deviation


class PoolingCache(NamedTuple):
    """All that `pooling_backward` needs of the forward pass."""

    y: np.ndarray  # (T, B, F)
    statistics: list[StatisticCache]


def statistics(pooling: str) -> list[str]:
    """Take a pooling apart.

    Parameters
    ----------
    pooling : str
        Such as "mean" or "mean+max+std".

    Returns
    -------
    list of str
        Statistics, in the order of their results; empty for "none".

    Raises
    ------
    SettingError
        If one of them is unknown, or is there twice.
    """
    if pooling == EACH:
        return []
    kinds = pooling.split("+") if isinstance(pooling, str) else [pooling]
    if not set(kinds) <= set(STATISTICS) or len(set(kinds)) < len(kinds):
        raise SettingError(
            f"pooling is one of {', '.join(STATISTICS)}, several joined by +, or {EACH}, not {pooling!r}"
        )
    return kinds


def pooled_size(pooling: str, n_features: int) -> int:
    """Count the numbers that are left of a sequence, or of a step where nothing is pooled.

    Parameters
    ----------
    pooling : str
        As of `statistics`.
    n_features : int
        F.

    Returns
    -------
    int
        ``S * F``, or F for "none".
    """
    return max(1, len(statistics(pooling))) * n_features


def pooling_init(rng: np.random.Generator, pooling: str, n_features: int) -> Params:
    """Draw the parameters: attention has one query vector, the others none.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    pooling : str
        As of `statistics`.
    n_features : int
        F.

    Returns
    -------
    dict
        ``query (F,)`` for attention, float64; else empty.
    """
    return {"query": glorot_uniform(rng, 1, n_features)[0]} if "attention" in statistics(pooling) else {}


def pooling_forward(
    params: Params, pooling: str, y: np.ndarray, lengths: np.ndarray, directions: tuple[bool, ...] = (False,)
) -> tuple[np.ndarray, PoolingCache]:
    """Pool the valid steps of every row: ``pooled = sum_t weights_t * y_t``, or their deviation from that.

    Parameters
    ----------
    params : dict
        ``query (F,)`` for attention.
    pooling : str
        One statistic, or several joined by "+", whose results stand side by side. "mean": the steps' mean;
        "max": each feature's maximum; "std": its standard deviation, ``sqrt(mean (y_t - mean y)^2 + 1e-5)``;
        "last": the step that a direction read last (the last valid one, for a direction that reads
        backwards the first); "attention": a mean weighted by ``softmax_t(y_t @ query)``. "none": ``y``
        itself.
    y : ndarray (T, B, F)
        Outputs of the LSTM.
    lengths : ndarray (B,), int
        Valid steps of each row.
    directions : tuple of bool, default (False,)
        For each equal part of the features, whether it was read backwards.

    Returns
    -------
    pooled : ndarray (B, S * F), or (T, B, F) for "none"
        One vector per row.
    cache : PoolingCache
        What `pooling_backward` needs.

    Notes
    -----
    Attention: C. Raffel and D. Ellis, "Feed-forward networks with attention can solve some
    long-term memory problems", arXiv:1512.08756, equation 2, with a linear score. Mean and standard
    deviation: D. Snyder et al., "Deep neural network embeddings for text-independent speaker
    verification", Interspeech 2017, section 3.2.
    """
    caches = [
        _statistic(params, kind, y, lengths, valid_steps(lengths, *y.shape[:2]), directions)
        for kind in statistics(pooling)
    ]
    if not caches:
        return y, PoolingCache(y, [])
    return np.concatenate([cache.result for cache in caches], axis=1), PoolingCache(y, caches)


def _statistic(
    params: Params,
    kind: str,
    y: np.ndarray,
    lengths: np.ndarray,
    valid: np.ndarray,
    directions: tuple[bool, ...],
) -> StatisticCache:
    T, _, F = y.shape
    if kind in ("mean", "std"):
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
    result = (weights * y).sum(axis=0)
    if kind != "std":
        return StatisticCache(weights, result, None)
    variance = (weights * (y - result) ** 2).sum(axis=0)
    floor = y.dtype.type(VARIANCE_FLOOR) * (lengths > 0)[:, None]
    return StatisticCache(weights, np.sqrt(variance + floor), result)


def pooling_backward(
    params: Params, pooling: str, cache: PoolingCache, dpooled: np.ndarray
) -> tuple[np.ndarray, Params]:
    """Carry the gradient back to every step.

    ``dy_t = weights_t * dpooled``; attention's weights move with y too: the score of step t has
    the gradient ``dscore_t = weights_t * ((y_t - pooled) @ dpooled)``. Of a standard deviation,
    ``dy_t = weights_t * (y_t - mean) / std * dpooled``.

    Parameters
    ----------
    params : dict
        The parameters given to `pooling_forward`.
    pooling : str
        As there.
    cache : PoolingCache
        What it returned.
    dpooled : ndarray (B, S * F), or (T, B, F) for "none"
        Gradient with respect to its result.

    Returns
    -------
    dy : ndarray (T, B, F)
        Gradient with respect to ``y``, zero at the padding.
    grads : dict
        Gradients of the parameters.
    """
    y, caches = cache
    if not caches:
        return dpooled, {}
    dy, grads = np.zeros_like(y), {}
    parts = np.split(dpooled, len(caches), axis=1)
    for kind, (weights, result, mean), dresult in zip(statistics(pooling), caches, parts, strict=True):
        if mean is not None:
            nonzero = np.maximum(result, np.finfo(y.dtype).tiny)
            dy += weights * (y - mean) * (dresult / nonzero)
            continue
        dy += weights * dresult
        if kind == "attention":
            dscores = weights * ((y - result) * dresult).sum(axis=2, keepdims=True)
            dy += dscores * params["query"]
            grads["query"] = (dscores * y).sum(axis=(0, 1))
    return dy, grads
