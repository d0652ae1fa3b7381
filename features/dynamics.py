"""What is done to a sequence of feature frames: deltas, normalisation, stacking.

Letters: T frames, F features. Each function sees one clip alone, never the padding of a batch.
"""

import math
from functools import lru_cache

import numpy as np

from features.errors import FeatureError
from features.settings import FeatureSettings, Normalisation


def append_deltas(frames: np.ndarray, settings: FeatureSettings) -> np.ndarray:
    """Append slopes, and slopes or curvatures of the second order, as columns.

    Parameters
    ----------
    frames : ndarray (T, F), floating
        Features of one clip.
    settings : FeatureSettings
        ``delta_*``.

    Returns
    -------
    ndarray (T, F * (1 + delta_order))
        The features, and behind them their deltas.
    """
    if len(frames) == 0:
        return np.zeros((0, frames.shape[1] * (1 + settings.delta_order)), frames.dtype)
    columns = [frames]
    for order in range(1, settings.delta_order + 1):
        if settings.delta_kind == "regression":
            columns.append(regression(columns[-1], settings.delta_width))
        else:
            columns.append(deltas(frames, order, settings.delta_width))
    return np.concatenate(columns, axis=1) if settings.delta_order else frames


def deltas(frames: np.ndarray, order: int = 1, width: int = 9) -> np.ndarray:
    """Local slope (order 1) or curvature (order 2) of every feature over time.

    The derivative of the polynomial of degree `order` fitted to `width` frames around each frame;
    the fit of the outermost `width` frames serves the frames at either end.

    Parameters
    ----------
    frames : ndarray (T, F), floating
        Features of one clip.
    order : {1, 2}, default 1
        Which derivative.
    width : int, default 9
        Frames that a fit takes in, an odd number. A clip of fewer frames takes the largest odd
        number it has; where that is no more than `order`, there is no such derivative: zeros.

    Returns
    -------
    ndarray (T, F)
        The derivative per frame, in the dtype of `frames`.

    Raises
    ------
    FeatureError
        If the width is even.

    Notes
    -----
    A. Savitzky and M. J. E. Golay, Analytical Chemistry 36 (1964) 1627. Equal to
    ``librosa.feature.delta(frames, order=order, width=width, axis=0)`` where that is defined.
    """
    if width % 2 == 0:
        raise FeatureError(f"deltas are fitted to an odd number of frames, not {width}")
    width = min(width, len(frames) - 1 + len(frames) % 2)
    if width <= order:
        return np.zeros_like(frames)
    # A polynomial of degree `order` has the same derivative of that order everywhere.
    return _with_ends_repeated(_fits(frames, order, width), width // 2, width // 2)


def regression(frames: np.ndarray, width: int = 5) -> np.ndarray:
    """Slope of every feature over time, by regression; the outermost frames are repeated beyond the ends.

    Parameters
    ----------
    frames : ndarray (T, F), floating
        Features of one clip, or their slopes.
    width : int, default 5
        Frames that a regression takes in, an odd number.

    Returns
    -------
    ndarray (T, F)
        ``sum_k k (x[t + k] - x[t - k]) / (2 sum_k k**2)`` for k = 1 .. width // 2, in the dtype of `frames`.

    Notes
    -----
    S. Young et al., "The HTK Book", version 3.4 (2006), section 5.9.
    """
    if not len(frames):
        return np.zeros_like(frames)
    return _fits(_with_ends_repeated(frames, width // 2, width // 2), 1, width)


def _with_ends_repeated(frames: np.ndarray, before: int, after: int) -> np.ndarray:
    """Repeat the first frame and the last, as `np.pad` does in more time than a short clip's slopes take."""
    return frames.take(np.arange(-before, len(frames) + after).clip(0, len(frames) - 1), axis=0)


def _fits(frames: np.ndarray, order: int, width: int) -> np.ndarray:
    """Differentiate the polynomial fitted to each `width` frames that follow each other."""
    half = width // 2
    n_fits = len(frames) - width + 1
    fits = np.zeros((n_fits, frames.shape[1]), frames.dtype)
    middle = frames[half : half + n_fits]
    for k, weight in enumerate(_derivative_weights(order, width)[half + 1 :].tolist(), 1):
        after, before = frames[half + k : half + k + n_fits], frames[half - k : half - k + n_fits]
        # Differences, so that the derivative of a constant is 0, and not its rounding.
        fits += weight * ((after - before) if order == 1 else (after - middle) + (before - middle))
    return fits


@lru_cache(maxsize=8)
def _derivative_weights(order: int, width: int) -> np.ndarray:
    """Weights of `width` values, by which their least-squares polynomial's derivative is a sum of them."""
    powers = np.vander(np.arange(width) - width // 2, order + 1, increasing=True)
    return np.asarray(math.factorial(order) * np.linalg.pinv(powers)[order])


def normalise_clip(frames: np.ndarray, kind: Normalisation) -> np.ndarray:
    """Cepstral mean and variance normalisation over one clip.

    It takes out what is constant in a clip: the level, the microphone, the room, part of the voice.

    Parameters
    ----------
    frames : ndarray (T, F), floating
        Features of one clip.
    kind : {"none", "mean", "mean-variance"}
        Leave as is; subtract each feature's mean over time; divide by its standard deviation too
        (a feature that does not vary becomes 0).

    Returns
    -------
    ndarray (T, F)
        The normalised features.

    Notes
    -----
    O. Viikki and K. Laurila, Speech Communication 25 (1998) 133.
    """
    if kind == "none":
        return frames
    centred = (frames - frames.mean(axis=0, dtype=np.float64)).astype(frames.dtype)
    if kind == "mean":
        return np.asarray(centred)
    deviation = frames.std(axis=0, dtype=np.float64).astype(frames.dtype)
    # A constant feature deviates by rounding alone, which must not be blown up to one.
    constant = deviation <= 1e-5 * np.abs(frames).max(axis=0)
    return np.where(constant, 0, centred / np.where(constant, 1, deviation))


class Sliding:
    """Cepstral mean and variance normalisation over the last frames. It remembers them from call to call.

    Parameters
    ----------
    settings : FeatureSettings
        `sliding_normalisation` and `sliding_frames`. At the beginning there are
        fewer frames: those there are.

    Notes
    -----
    O. Viikki and K. Laurila, Speech Communication 25 (1998) 133, section 3.
    """

    def __init__(self, settings: FeatureSettings) -> None:
        self.kind, self.n = settings.sliding_normalisation, settings.sliding_frames
        # Frames are cut into segments of n. The last n frames are the end of one and the beginning of the
        # next; so their sum is one of the former's sums from behind and one of the latter's from its
        # beginning. Nothing is ever subtracted, and what was long ago leaves no trace.
        self.segment: np.ndarray | None = None  # (n, 2, F): frames and their squares
        self.n_there = 0  # of them
        self.from_behind: np.ndarray | None = None  # (n + 1, 2, F), of the segment before

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Normalise the next frames.

        Parameters
        ----------
        frames : ndarray (T, F), floating
            Features.

        Returns
        -------
        ndarray (T, F)
            In the same dtype.
        """
        if self.kind == "none" or len(frames) == 0:
            return frames
        if self.segment is None:
            self.segment = np.empty((self.n, 2, frames.shape[1]))
        parts, start = [], 0
        while start < len(frames):
            part = frames[start : start + self.n - self.n_there]
            parts.append(self._within_segment(part.astype(np.float64), self.segment))
            start += len(part)
        return np.concatenate(parts).astype(frames.dtype)

    def _within_segment(self, frames: np.ndarray, segment: np.ndarray) -> np.ndarray:
        """Normalise frames that end with the present segment, or before."""
        first, end = self.n_there, self.n_there + len(frames)
        segment[first:end, 0], segment[first:end, 1] = frames, frames**2
        sums = np.cumsum(segment[:end], axis=0)[first:]
        count = np.arange(first, end) + 1.0
        if self.from_behind is not None:
            sums, count = sums + self.from_behind[first + 1 : end + 1], np.full(end - first, float(self.n))
        self.n_there = end
        if end == self.n:
            nothing = np.zeros((1, *segment.shape[1:]))
            self.from_behind = np.concatenate([np.cumsum(segment[::-1], axis=0)[::-1], nothing])
            self.n_there = 0
        mean, square = (sums / count[:, None, None]).swapaxes(0, 1)
        centred: np.ndarray = frames - mean
        if self.kind == "mean":
            return centred
        variance = square - mean**2
        constant = variance <= 1e-10 * square  # but for rounding
        return np.where(constant, 0, centred / np.sqrt(np.where(constant, 1, variance)))


def stack_frames(frames: np.ndarray, count: int) -> np.ndarray:
    """Join every `count` frames to one, so that an LSTM takes fewer and longer steps.

    Parameters
    ----------
    frames : ndarray (T, F)
        Features of one clip.
    count : int
        Frames that make one step. The last frame is repeated to fill the last step.

    Returns
    -------
    ndarray (ceil(T / count), count * F)
        Stacked features, earliest frame first.

    Notes
    -----
    H. Sak et al., "Fast and accurate recurrent neural network acoustic models for speech
    recognition", Interspeech 2015, section 3.
    """
    if count == 1:
        return frames
    padded = _with_ends_repeated(frames, 0, -len(frames) % count)
    return padded.reshape(-1, count * frames.shape[1])
