"""What follows the LSTM after each step of a live sequence, in one call: pooling so far, linear layer, softmax."""

import math

import numpy as np

from simd.jit import jit

KINDS = ("mean", "max", "last", "attention")
MEAN, MAX, LAST, ATTENTION = range(4)


@jit
def head(kind, y, pooled, totals, query, weight, bias, out):
    """Take in outputs y (F,), and write the probabilities (K,) of the sequence up to here.

    `pooled` (F,) and `totals` (2,) are the pooling's state, at first zeros: the sum or the maximum so far, the
    last outputs, or the weighted sum; the number of steps or the sum of their weights, and the highest score.
    """
    F, K = weight.shape[1], weight.shape[0]
    first = totals[0] == 0
    if kind == MEAN:
        totals[0] += 1
        for f in range(F):
            pooled[f] += y[f]
    elif kind == ATTENTION:
        score = y[0] * query[0]
        for f in range(1, F):
            score += y[f] * query[f]
        top = score if first else max(score, totals[1])
        old, new = 0.0 if first else math.exp(totals[1] - top), math.exp(score - top)
        totals[0], totals[1] = totals[0] * old + new, top
        for f in range(F):
            pooled[f] = pooled[f] * old + y[f] * new
    else:
        for f in range(F):
            pooled[f] = y[f] if first or kind == LAST else max(pooled[f], y[f])
        totals[0] = 1
    highest = -np.inf
    for k in range(K):
        total = 0.0
        for f in range(F):
            total += weight[k, f] * pooled[f]
        out[k] = total / totals[0] + bias[k]
        highest = max(highest, out[k])
    total = 0.0
    for k in range(K):
        out[k] = math.exp(out[k] - highest)
        total += out[k]
    for k in range(K):
        out[k] /= total
