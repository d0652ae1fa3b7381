"""Steps of a live sequence in one call: the LSTM's, and what follows it: pooling so far, linear, softmax."""

import math
from collections.abc import Callable

import numpy as np

from lstm_scratch.kernels.step import pack_layers, single_step, step
from lstm_scratch.params import Params
from simd.cpu import lanes
from simd.jit import jit

KINDS = ("mean", "max", "last", "attention")
MEAN, MAX, LAST, ATTENTION = range(4)


@jit
def head(kind, y, state, weights, out):
    """Take in outputs y (F,), and write the probabilities (K,) of the sequence up to here.

    `state` (F + 2,) is as of `lstm_scratch.stream.RunningHead`. `weights` holds the query (F,), the bias (K,)
    and the linear layer's weights (F, K).
    """
    F, K = y.size, out.size
    first = state[F] == 0
    if kind == MEAN:
        state[F] += 1
        for f in range(F):
            state[f] += y[f]
    elif kind == ATTENTION:
        score = y[0] * weights[0]
        for f in range(1, F):
            score += y[f] * weights[f]
        top = score if first else max(score, state[F + 1])
        old, new = 0.0 if first else math.exp(state[F + 1] - top), math.exp(score - top)
        state[F], state[F + 1] = state[F] * old + new, top
        for f in range(F):
            state[f] = state[f] * old + y[f] * new
    else:
        for f in range(F):
            state[f] = y[f] if first or kind == LAST else max(state[f], y[f])
        state[F] = 1
    for k in range(K):
        out[k] = weights[F + k]
    for f in range(F):
        pooled, row = out.dtype.type(state[f] / state[F]), F + K + f * K
        for k in range(K):
            out[k] += pooled * weights[row + k]
    highest, total = out.max(), 0.0
    for k in range(K):
        out[k] = math.exp(out[k] - highest)
        total += out[k]
    for k in range(K):
        out[k] /= total


@jit
def steps(frames, h, c, packed, sizes, kind, state, weights, out):
    """Do a step for each frame, and what follows it; return the states h and c after the last."""
    for t in range(len(frames)):
        h, c = step(frames[t], h, c, packed, sizes)
        head(kind, h[-1], state, weights, out[t])
    return h, c


def steps_with_head(
    layers: list[Params], kind: str, query: np.ndarray, linear: Params
) -> Callable[..., None]:
    """Set up the steps of a network in one direction.

    Parameters
    ----------
    layers : list of dict
        As of `single_step`.
    kind : {"mean", "max", "last", "attention"}
        The pooling.
    query : ndarray (F,)
        Of attention.
    linear : dict
        ``weight (K, F)`` and ``bias (K,)``.

    Returns
    -------
    callable
        From frames (k, I), the states h and c (layers, H), the head's state (F + 2,), which is written, and
        probabilities (k, K), which are written: h and c after the last step. All arrays are plain ones of the
        weights' dtype, but the head's state, in float64.
    """
    single_step(layers)  # compiles it
    packed = pack_layers(layers)
    (_, I), H = layers[0]["weight_ih"].shape, layers[0]["weight_hh"].shape[1]
    sizes = (I, len(layers), H, lanes(packed.dtype))
    weights = np.concatenate([query, linear["bias"], linear["weight"].T.ravel()]).astype(packed.dtype)
    number = KINDS.index(kind)

    def run(frames, h, c, state, out):
        return steps(frames, h, c, packed, sizes, number, state, weights, out)

    return run
