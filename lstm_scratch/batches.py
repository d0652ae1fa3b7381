"""Batches: sequences of different lengths in one padded array.

Letters: T time steps, B batch rows, F features.
"""

from collections.abc import Iterator, Sequence

import numpy as np


def pad(sequences: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Lay sequences side by side, zeros after the end of each.

    Parameters
    ----------
    sequences : sequence of ndarray (T_b, F)
        At least one.

    Returns
    -------
    x : ndarray (max T_b, B, F)
        The padded batch, in the dtype of the first sequence.
    lengths : ndarray (B,), int64
        T_b.
    """
    lengths = np.array([len(sequence) for sequence in sequences])
    x = np.zeros((lengths.max(), len(sequences), sequences[0].shape[1]), sequences[0].dtype)
    for b, sequence in enumerate(sequences):
        x[: lengths[b], b] = sequence
    return x, lengths


def shuffled(n: int, batch_size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Go through 0 .. n - 1 once in random order, a batch at a time.

    Parameters
    ----------
    n : int
        How many.
    batch_size : int
        Indices per batch; the last batch may have fewer.
    rng : numpy.random.Generator
        Source of the order.

    Yields
    ------
    ndarray, int64
        Indices of one batch.
    """
    order = rng.permutation(n)
    for start in range(0, n, batch_size):
        yield order[start : start + batch_size]
