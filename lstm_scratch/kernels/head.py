"""Steps of a live sequence in one call: the LSTM's, and what follows it: pooling so far, linear, softmax."""

import math
from collections.abc import Callable

import numpy as np

from lstm_scratch.kernels.step import pack_layers, single_step, step
from lstm_scratch.params import Params
from simd.cpu import lanes
from simd.jit import jit

KINDS = ("none", "mean", "max", "last", "attention", "std")
MEAN, MAX, ATTENTION, STD = (KINDS.index(kind) for kind in ("mean", "max", "attention", "std"))
# That of `layers.pooling`, told again: what is compiled is kept until a file of this folder changes.
VARIANCE_FLOOR = 1e-5


@jit
def pool(kinds, y, state, query, pooled):
    """Take in outputs y (F,), and write the statistics (len(kinds) * F,) of the sequence up to here.

    `state` is as of `lstm_scratch.stream.RunningHead`.
    """
    F = y.size
    state[0] += 1
    steps, first, at = state[0], state[0] == 1, 1
    for n in range(len(kinds)):
        kind, result = kinds[n], pooled[n * F : (n + 1) * F]
        part = state[at : at + F]
        at += F
        if kind == MEAN:
            for f in range(F):
                part[f] += y[f]
                result[f] = part[f] / steps
        elif kind == STD:
            for f in range(F):
                deviation = y[f] - part[f]
                part[f] += deviation / steps
                state[at + f] += deviation * (y[f] - part[f])
                result[f] = math.sqrt(state[at + f] / steps + VARIANCE_FLOOR)
            at += F
        elif kind == ATTENTION:
            score = y[0] * query[0]
            for f in range(1, F):
                score += y[f] * query[f]
            top = score if first else max(score, state[at + 1])
            old, new = 0.0 if first else math.exp(state[at + 1] - top), math.exp(score - top)
            state[at], state[at + 1] = state[at] * old + new, top
            for f in range(F):
                part[f] = part[f] * old + y[f] * new
                result[f] = part[f] / state[at]
            at += 2
        else:
            for f in range(F):
                part[f] = max(part[f], y[f]) if kind == MAX and not first else y[f]
                result[f] = part[f]


@jit
def classify(pooled, bias, weights, out):
    """Write the probabilities (K,) of pooled outputs (P,); the linear layer's weights are flat (K * P,)."""
    P, K = pooled.size, out.size
    highest, whole = -np.inf, P // 4 * 4
    for k in range(K):
        row = k * P
        a = b = c = d = 0.0  # four sums, as one alone waits for itself
        for p in range(0, whole, 4):
            a += weights[row + p] * pooled[p]
            b += weights[row + p + 1] * pooled[p + 1]
            c += weights[row + p + 2] * pooled[p + 2]
            d += weights[row + p + 3] * pooled[p + 3]
        for p in range(whole, P):
            a += weights[row + p] * pooled[p]
        out[k] = ((a + b) + (c + d)) + bias[k]
        highest = max(highest, out[k])
    total = 0.0
    for k in range(K):
        out[k] = math.exp(out[k] - highest)
        total += out[k]
    for k in range(K):
        out[k] /= total


@jit
def steps(frames, h, c, packed, sizes, kinds, state, head, out):
    """Do a step for each frame, and what follows it; h and c (layers, H) are written.

    `head` holds the query (F,), the bias (K,) and the linear layer's weights (K * P,).
    """
    F, K = h.shape[1], out.shape[1]
    query, bias, weights = head[:F], head[F : F + K], head[F + K :]
    pooled = np.empty(len(kinds) * F)
    for t in range(len(frames)):
        h[:], c[:] = step(frames[t], h, c, packed, sizes)
        pool(kinds, h[-1], state, query, pooled)
        classify(pooled, bias, weights, out[t])


def steps_with_head(
    layers: list[Params], kinds: list[str], query: np.ndarray, linear: Params
) -> Callable[..., None]:
    """Set up the steps of a network in one direction.

    Parameters
    ----------
    layers : list of dict
        As of `single_step`.
    kinds : list of {"mean", "max", "std", "last", "attention"}, or of "none" alone
        The statistics that make the pooled vector, one behind the other.
    query : ndarray (F,)
        Of attention.
    linear : dict
        ``weight (K, len(kinds) * F)`` and ``bias (K,)``.

    Returns
    -------
    callable
        Of frames (k, I), the states h and c (layers, H), the head's state (n,) and probabilities (k, K):
        all but the frames are written. They are plain arrays of the weights' dtype, but for the head's state,
        which is in float64, and as of `lstm_scratch.stream.RunningHead`.
    """
    single_step(layers)  # compiles it
    packed = pack_layers(layers)
    (_, I), H = layers[0]["weight_ih"].shape, layers[0]["weight_hh"].shape[1]
    sizes = (I, len(layers), H, lanes(packed.dtype))
    head = np.concatenate([query, linear["bias"], linear["weight"].ravel()]).astype(packed.dtype)
    numbers = np.array([KINDS.index(kind) for kind in kinds])

    def run(frames, h, c, state, out):
        steps(frames, h, c, packed, sizes, numbers, state, head, out)

    return run
