"""Layout: the valid steps of a batch's rows without padding between, as `passes.py` walks them.

Letters: T steps, B batch rows, N valid steps of all rows together, F features.
"""

from functools import lru_cache

import numpy as np


class Layout:
    """Where each step of each row is.

    Parameters
    ----------
    lengths : ndarray (B,), int, or None
        Valid steps of each row. By default T.
    T, B : int
        Steps and rows.
    """

    def __init__(self, lengths: np.ndarray | None, T: int, B: int) -> None:
        self.T, self.B = T, B
        self.whole = lengths is None or bool((np.asarray(lengths) == T).all())
        if self.whole:
            self.N = T * B
            self.counts, self.starts, self.steps = _whole(T, B)
            return
        lengths = np.asarray(lengths, np.intp)  # unsigned ones have no negatives to sort by
        self.order = np.argsort(-lengths, kind="stable")  # the longest first
        self.steps = lengths[self.order]
        self.counts = (self.steps > np.arange(T)[:, None]).sum(axis=1)
        self.starts = np.cumsum(self.counts) - self.counts
        self.N = int(self.counts.sum())
        # Of each of the N rows here: its step, its place among the sorted rows, and the row it follows in h.
        self.t = np.repeat(np.arange(T), self.counts)
        self.row = np.arange(self.N) - self.starts[self.t]
        self.before = np.where(self.t > 0, B + self.starts[self.t - 1], 0) + self.row
        # In h, each sorted row's last state.
        before = np.where(self.steps > 0, B + self.starts[np.maximum(self.steps - 1, 0)], 0)
        self.last = before + np.arange(B)

    def pack(self, padded: np.ndarray) -> np.ndarray:
        """Lay the valid steps out.

        Parameters
        ----------
        padded : ndarray (T, B, F)
            A batch.

        Returns
        -------
        ndarray (N, F)
            C-contiguous; a view, if all rows are whole.
        """
        if self.whole:
            return plain(padded).reshape(self.N, padded.shape[2])
        return plain(padded[self.t, self.order[self.row]])

    def pad(self, packed: np.ndarray) -> np.ndarray:
        """Undo `pack`.

        Parameters
        ----------
        packed : ndarray (N, F)
            Valid steps.

        Returns
        -------
        ndarray (T, B, F)
            The batch, zero at the padding; a view, if all rows are whole.
        """
        if self.whole:
            return packed.reshape(self.T, self.B, packed.shape[1])
        padded = np.zeros((self.T, self.B, packed.shape[1]), packed.dtype)
        padded[self.t, self.order[self.row]] = packed
        return padded

    def sort(self, states: np.ndarray) -> np.ndarray:
        """Bring one state per row into the layout's order.

        Parameters
        ----------
        states : ndarray (B, F)
            States.

        Returns
        -------
        ndarray (B, F)
            The same, sorted.
        """
        return states if self.whole else states[self.order]

    def unsort(self, states: np.ndarray) -> np.ndarray:
        """Undo `sort`.

        Parameters
        ----------
        states : ndarray (B, F)
            Sorted states.

        Returns
        -------
        ndarray (B, F)
            A copy in the batch's order.
        """
        if self.whole:
            return states.copy()
        result = np.empty_like(states)
        result[self.order] = states
        return result

    def last_of(self, states: np.ndarray) -> np.ndarray:
        """Pick the state after each row's last step.

        Parameters
        ----------
        states : ndarray (B + N, F)
            h or c, initial states in front.

        Returns
        -------
        ndarray (B, F)
            In the layout's order.
        """
        return states[self.N :] if self.whole else states[self.last]

    def add_to_last(self, packed: np.ndarray, initial: np.ndarray, states: np.ndarray) -> None:
        """Add one state per row to each row's last step, or to its initial state where it has no step.

        Parameters
        ----------
        packed : ndarray (N, F)
            Valid steps.
        initial : ndarray (B, F)
            Initial states, in the layout's order.
        states : ndarray (B, F)
            What is added, in the batch's order.
        """
        states = self.sort(states)
        has_steps = self.steps > 0
        last = np.arange(self.N, self.N + self.B) if self.whole else self.last
        packed[last[has_steps] - self.B] += states[has_steps]
        initial[~has_steps] += states[~has_steps]


@lru_cache(maxsize=4)  # as few as a training alternates between: long sequences make long arrays
def _whole(T: int, B: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give counts, starts and steps of rows that are all T long."""
    return np.full(T, B), B * np.arange(T), np.full(B, T)


def plain(array: np.ndarray) -> np.ndarray:
    """Bring an array into the one form that kernels are compiled for: to numba, any other is another type.

    Parameters
    ----------
    array : ndarray
        In any memory order, maybe read-only or not aligned.

    Returns
    -------
    ndarray
        In C order, writable and aligned; the same array, if it is.
    """
    return array if array.flags.carray else np.require(array, None, ["C", "A", "W"])
