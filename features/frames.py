"""What is done to a sequence of feature frames: deltas, normalisation, stacking.

Letters: T frames, F features. Each function sees one clip alone, never the padding of a batch.
"""

import math
from functools import lru_cache
from typing import Literal

import numpy as np

from features.errors import FeatureError

ClipNormalisation = Literal["none", "mean", "mean-variance"]


def deltas(frames: np.ndarray, order: int = 1, width: int = 9) -> np.ndarray:
    """Local slope (order 1) or curvature (order 2) of every feature over time.

    The derivative of the polynomial of degree `order` fitted to `width` frames around each frame;
    the fit of the outermost `width` frames serves the frames at either end.

    Parameters
    ----------
    frames : ndarray (T, F), floating
        Features of one clip.
    order : int, default 1
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
    moved = frames - frames[0]  # so that the derivative of a constant is 0, and not its rounding
    n_fits = len(frames) - width + 1
    fits = np.zeros((n_fits, frames.shape[1]), frames.dtype)
    for place, weight in enumerate(_derivative_weights(order, width).tolist()):
        fits += weight * moved[place : place + n_fits]
    # A polynomial of degree `order` has the same derivative of that order everywhere.
    return np.pad(fits, ((width // 2, width // 2), (0, 0)), mode="edge")


@lru_cache(maxsize=8)
def _derivative_weights(order: int, width: int) -> np.ndarray:
    """Weights of `width` values, by which their least-squares polynomial's derivative is a sum of them."""
    powers = np.vander(np.arange(width) - width // 2, order + 1, increasing=True)
    return np.asarray(math.factorial(order) * np.linalg.pinv(powers)[order])


def normalise_clip(frames: np.ndarray, kind: ClipNormalisation) -> np.ndarray:
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
    padded = np.pad(frames, ((0, -len(frames) % count), (0, 0)), mode="edge")
    return padded.reshape(-1, count * frames.shape[1])
