"""Batches: which sequences come together, and several of them in one padded array.

Letters: T time steps, B batch rows, F features, K classes, N sequences.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np

Item = TypeVar("Item")
Redraw = Callable[[int, np.random.Generator], tuple[np.ndarray, Any]]  # sequence n and its target, anew


class Batch(NamedTuple):
    """What one update learns from."""

    x: np.ndarray  # (T, B, F), padded with zeros
    lengths: np.ndarray  # (B,), int64
    targets: np.ndarray  # (B,) or, of every step, (T, B): classes, -1 for none; or (..., K) probabilities


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


def pad_targets(targets: Sequence[np.ndarray]) -> np.ndarray:
    """Lay the classes of every step side by side, -1 after the end of each sequence.

    Parameters
    ----------
    targets : sequence of ndarray (T_b,), int
        At least one.

    Returns
    -------
    ndarray (max T_b, B), int64
        The padded classes.
    """
    padded = np.full((max(len(of_one) for of_one in targets), len(targets)), -1)
    for b, of_one in enumerate(targets):
        padded[: len(of_one), b] = of_one
    return padded


def shuffled(
    n: int, batch_size: int, rng: np.random.Generator, weights: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Go through 0 .. n - 1 once in random order, a batch at a time.

    Parameters
    ----------
    n : int
        How many.
    batch_size : int
        Indices per batch; the last batch may have fewer.
    rng : numpy.random.Generator
        Source of the order.
    weights : ndarray (n,), optional
        How often each is wanted, relative to the others: then n are drawn with replacement.

    Yields
    ------
    ndarray, int64
        Indices of one batch.
    """
    order = rng.permutation(n) if weights is None else rng.choice(n, n, p=weights / weights.sum())
    for start in range(0, n, batch_size):
        yield order[start : start + batch_size]


@dataclass(frozen=True, kw_only=True)
class Distortion:
    """How sequences are changed while training, so that none is seen twice alike.

    Parameters
    ----------
    time_masks : int, default 0
        Stretches of time that are hidden.
    time_mask : float, default 0.1
        Part of the sequence that each hides at most.
    feature_masks : int, default 0
        Bands of neighbouring features that are hidden.
    feature_mask : float, default 0.2
        Part of the features that each hides at most.
    feature_blocks : int, default 1
        Equal blocks of features of which each begins anew: slopes beside values, stacked frames. A mask
        hides the same features of each.
    mixup : float, default 0
        Parameter of the beta distribution from which the weights of mixtures are drawn. 0: none.

    Notes
    -----
    Masks: D. S. Park et al., "SpecAugment", Interspeech 2019, without time warping. Mixtures: H. Zhang et
    al., "mixup: beyond empirical risk minimization", ICLR 2018, of features, within a batch.
    """

    time_masks: int = 0
    time_mask: float = 0.1
    feature_masks: int = 0
    feature_mask: float = 0.2
    feature_blocks: int = 1
    mixup: float = 0.0

    def mask(self, x: np.ndarray, lengths: np.ndarray, rng: np.random.Generator) -> None:
        """Hide parts of every row, in place: what is hidden becomes zero, the mean of scaled features.

        Parameters
        ----------
        x : ndarray (T, B, F)
            A batch.
        lengths : ndarray (B,), int
            Valid steps of each row.
        rng : numpy.random.Generator
            Draws the masks.
        """
        T, B, F = x.shape
        blocks = x.reshape(T, B, self.feature_blocks, F // self.feature_blocks)
        for b, length in enumerate(lengths):
            for _ in range(self.time_masks):
                blocks[_stretch(int(length), self.time_mask, rng), b] = 0
            for _ in range(self.feature_masks):
                blocks[:, b, :, _stretch(blocks.shape[3], self.feature_mask, rng)] = 0

    def mix(self, batch: Batch, n_classes: int, rng: np.random.Generator) -> Batch:
        """Mix every row with another one, and their classes alike.

        Parameters
        ----------
        batch : Batch
            With one class per row.
        n_classes : int
            K.
        rng : numpy.random.Generator
            Draws partners and weights.

        Returns
        -------
        Batch
            Each row as long as the longer of its two, with probabilities for classes.
        """
        x, lengths, targets = batch
        partner = rng.permutation(len(lengths))
        weight = rng.beta(self.mixup, self.mixup, len(lengths)).astype(x.dtype)
        weight = np.maximum(weight, 1 - weight)  # the row itself is the most of it
        true = np.eye(n_classes, dtype=x.dtype)[targets]
        return Batch(
            x * weight[:, None] + x[:, partner] * (1 - weight)[:, None],
            np.maximum(lengths, lengths[partner]),
            true * weight[:, None] + true[partner] * (1 - weight)[:, None],
        )


def _stretch(size: int, part: float, rng: np.random.Generator) -> slice:
    width = int(rng.integers(0, int(part * size) + 1))
    start = int(rng.integers(0, size - width + 1))
    return slice(start, start + width)


class Fetched(Sequence[np.ndarray]):
    """Sequences that are fetched when they are wanted, and not kept in memory.

    Parameters
    ----------
    fetch : callable
        Gives sequence n, an array (T, F): ``fetch(n)``.
    lengths : sequence of int
        T of each.
    indices : ndarray of int, optional
        Which of them, in which order. By default all.
    """

    def __init__(
        self,
        fetch: Callable[[int], np.ndarray],
        lengths: Sequence[int],
        indices: np.ndarray | None = None,
    ) -> None:
        self._fetch, self._lengths = fetch, lengths
        self._indices = np.arange(len(lengths)) if indices is None else indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, n: Any) -> Any:
        return self._fetch(int(self._indices[n]))

    @property
    def lengths(self) -> list[int]:
        """T of each."""
        return [self._lengths[int(n)] for n in self._indices]

    def take(self, indices: np.ndarray) -> Self:
        """Select some.

        Parameters
        ----------
        indices : ndarray of int
            Which ones.

        Returns
        -------
        Fetched
            Those, in that order.
        """
        return type(self)(self._fetch, self._lengths, self._indices[indices])

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> Self:
        """Change each when it is fetched.

        Parameters
        ----------
        change : callable
            Gives the array (T, ...) that a sequence becomes.

        Returns
        -------
        Fetched
            The changed ones.
        """
        fetch = self._fetch
        return type(self)(lambda n: change(fetch(n)), self._lengths, self._indices)


class Examples:
    """Sequences and their classes, a batch at a time.

    Parameters
    ----------
    sequences : sequence of ndarray (T, F)
        The examples: in memory, or whatever fetches them when asked.
    targets : ndarray (N,), int, or sequence of ndarray (T,), int
        The class of each sequence, or of each of its steps.
    n_classes : int
        K.
    distortion : Distortion, optional
        How they are changed. By default not at all.
    redraw : callable, optional
        Gives sequence n and its target anew: ``redraw(n, rng)``. By default they stay as they are.
    """

    def __init__(
        self,
        sequences: Sequence[np.ndarray],
        targets: np.ndarray | Sequence[np.ndarray],
        n_classes: int,
        distortion: Distortion | None = None,
        redraw: Redraw | None = None,
    ) -> None:
        self.sequences, self.targets, self.n_classes = sequences, targets, n_classes
        self.distortion, self.redraw = distortion or Distortion(), redraw
        self.of_steps = not isinstance(targets, np.ndarray)
        #: Whether to make a batch takes so long that it is worth another thread.
        self.slow = redraw is not None or isinstance(sequences, Fetched)

    def __len__(self) -> int:
        return len(self.sequences)

    def batch(self, indices: np.ndarray, rng: np.random.Generator) -> Batch:
        """Make a batch.

        Parameters
        ----------
        indices : ndarray (B,), int
            Which sequences.
        rng : numpy.random.Generator
            Draws what is changed about them.

        Returns
        -------
        Batch
            Of these.
        """
        if self.redraw is None:
            pairs = [(self.sequences[n], self.targets[n]) for n in indices]
        else:
            pairs = [self.redraw(int(n), rng) for n in indices]
        x, lengths = pad([sequence for sequence, _ in pairs])
        of_each = [target for _, target in pairs]
        targets = pad_targets(of_each) if self.of_steps else np.array(of_each)
        self.distortion.mask(x, lengths, rng)
        batch = Batch(x, lengths, targets)
        return self.distortion.mix(batch, self.n_classes, rng) if self.distortion.mixup else batch


def ahead(items: Iterator[Item], depth: int = 3) -> Generator[Item, None, None]:
    """Go through items that another thread makes ahead.

    Parameters
    ----------
    items : iterator
        What is made.
    depth : int, default 3
        How many may wait.

    Yields
    ------
    object
        The same items, in the same order. What an error in making one was, it is here.
    """
    made: queue.Queue[tuple[list[Item], BaseException | None]] = queue.Queue(depth)  # no item: the end
    ended = threading.Event()

    def put(item: list[Item], error: BaseException | None = None) -> None:
        while not ended.is_set():
            try:
                return made.put((item, error), timeout=0.1)
            except queue.Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put([item])
                if ended.is_set():
                    return
            put([])
        except BaseException as error:  # of whatever kind: it is raised where the items are wanted
            put([], error)

    thread = threading.Thread(target=make, name="lstm-scratch batches", daemon=True)
    thread.start()
    try:
        while (got := made.get())[0]:
            yield from got[0]
        if got[1] is not None:
            raise got[1]
    finally:
        ended.set()
        thread.join()
