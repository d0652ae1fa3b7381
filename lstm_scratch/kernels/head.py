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
    and the linear layer's weights (K, F).
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
    highest, whole = -np.inf, F // 4 * 4
    for k in range(K):
        row = F + K + k * F
        a = b = c = d = 0.0  # four sums, as one alone waits for itself
        for f in range(0, whole, 4):
            a += weights[row + f] * state[f]
            b += weights[row + f + 1] * state[f + 1]
            c += weights[row + f + 2] * state[f + 2]
            d += weights[row + f + 3] * state[f + 3]
        for f in range(whole, F):
            a += weights[row + f] * state[f]
        out[k] = ((a + b) + (c + d)) / state[F] + weights[F + k]
        highest = max(highest, out[k])
    total = 0.0
    for k in range(K):
        out[k] = math.exp(out[k] - highest)
        total += out[k]
    for k in range(K):
        out[k] /= total


@jit
def steps(frames, h, c, packed, sizes, kind, state, weights, out):
    """Do a step for each frame, and what follows it; h and c (layers, H) are written."""
    for t in range(len(frames)):
        h[:], c[:] = step(frames[t], h, c, packed, sizes)
        head(kind, h[-1], state, weights, out[t])


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
        Of frames (k, I), the states h and c (layers, H), the head's state (F + 2,) and probabilities (k, K):
        all but the frames are written. They are plain arrays of the weights' dtype, but for the head's state,
        which is in float64.
    """
    single_step(layers)  # compiles it
    packed = pack_layers(layers)
    (_, I), H = layers[0]["weight_ih"].shape, layers[0]["weight_hh"].shape[1]
    sizes = (I, len(layers), H, lanes(packed.dtype))
    weights = np.concatenate([query, linear["bias"], linear["weight"].ravel()]).astype(packed.dtype)
    number = KINDS.index(kind)

    def run(frames, h, c, state, out):
        steps(frames, h, c, packed, sizes, number, state, weights, out)

    return run
