"""From a signal to frames: scaling, dither, pre-emphasis, what is beyond the ends, windows.

Letters: N samples, T frames.
"""

from typing import Any

import numpy as np

from features.errors import FeatureError
from features.settings import FeatureSettings

PADDING: dict[str, Any] = {"mirrored": "symmetric", "pad-end": "constant"}  # of the others: their pad_mode


def scale(samples: np.ndarray, settings: FeatureSettings, noise: np.ndarray | None = None) -> np.ndarray:
    """Bring samples to the scale of the settings' origin, and add dither.

    Parameters
    ----------
    samples : ndarray (n,), floating
        The signal, or a piece of it.
    settings : FeatureSettings
        `sample_scale`.
    noise : ndarray (n,), optional
        Dither, of that scale.

    Returns
    -------
    ndarray (n,)
        In the same dtype; the same array where nothing is to be done.
    """
    if settings.sample_scale != 1:
        samples = samples * samples.dtype.type(settings.sample_scale)
    return samples if noise is None else samples + noise


def emphasise(samples: np.ndarray, settings: FeatureSettings, before: float | None = None) -> np.ndarray:
    """Emphasise high frequencies, where that is done over the signal.

    Parameters
    ----------
    samples : ndarray (n,), floating
        The scaled signal, or a piece of it.
    settings : FeatureSettings
        `pre_emphasis`, `pre_emphasis_of`.
    before : float, optional
        The sample before the first. None: there is none.

    Returns
    -------
    ndarray (n,)
        In the same dtype; the same array where nothing is to be done.
    """
    if settings.pre_emphasis == 0 or settings.pre_emphasis_of == "frame" or len(samples) == 0:
        return samples
    previous = np.concatenate([[0 if before is None else before], samples[:-1]]).astype(samples.dtype)
    return np.asarray(samples - samples.dtype.type(settings.pre_emphasis) * previous)


def dither(settings: FeatureSettings) -> np.random.Generator | None:
    """Make the source of dither.

    Parameters
    ----------
    settings : FeatureSettings
        `dither` and `dither_seed`.

    Returns
    -------
    numpy.random.Generator or None
        Of standard normal numbers, one per sample. None where there is no dither.
    """
    return np.random.default_rng(settings.dither_seed) if settings.dither else None


def draw_dither(rng: np.random.Generator, n: int, settings: FeatureSettings, dtype: np.dtype) -> np.ndarray:
    """Draw the next noise.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of `dither`.
    n : int
        How much.
    settings : FeatureSettings
        `dither`.
    dtype : dtype
        Of the signal.

    Returns
    -------
    ndarray (n,)
        White Gaussian noise.
    """
    return (settings.dither * rng.standard_normal(n)).astype(dtype)


def first_sample(settings: FeatureSettings, sample_rate: int | None) -> int:
    """Tell where frame 0 begins.

    Parameters
    ----------
    settings : FeatureSettings
        `framing` and the lengths.
    sample_rate : int or None
        In Hz.

    Returns
    -------
    int
        Its first sample; negative, if it begins before the signal.
    """
    frame, hop, n_fft = settings.sizes(sample_rate)
    if settings.framing == "centred":
        return (n_fft - frame) // 2 - n_fft // 2  # the window is centred in the transform
    if settings.framing == "mirrored":
        return hop // 2 - frame // 2
    return 0


def count_frames(n_samples: int, settings: FeatureSettings, sample_rate: int | None) -> int:
    """Count the frames of a signal.

    Parameters
    ----------
    n_samples : int
        N.
    settings : FeatureSettings
        `framing` and the lengths.
    sample_rate : int or None
        In Hz.

    Returns
    -------
    int
        T; 0 for a signal that is too short for one.
    """
    return frames_within(n_samples, settings.framing, *settings.sizes(sample_rate))


def frames_within(n_samples: int, framing: str, frame: int, hop: int, n_fft: int) -> int:
    """Count the frames of a signal.

    Parameters
    ----------
    n_samples : int
        N.
    framing : str
        As of `FeatureSettings`.
    frame, hop, n_fft : int
        Lengths in samples.

    Returns
    -------
    int
        T.
    """
    if framing == "centred":
        return 1 + (n_samples + n_fft // 2 * 2 - n_fft) // hop
    if framing == "mirrored":
        return (n_samples + hop // 2) // hop
    if framing == "whole-frames":
        return max(0, 1 + (n_samples - frame) // hop)
    return 1 + max(0, -((frame - n_samples) // hop))


def frame_seconds(n_frames: int, settings: FeatureSettings, sample_rate: int) -> np.ndarray:
    """Tell when frames are: what an axis is labelled by.

    Parameters
    ----------
    n_frames : int
        T, before frames are stacked.
    settings : FeatureSettings
        `framing` and the lengths.
    sample_rate : int
        In Hz.

    Returns
    -------
    ndarray (T,), float64
        The middle of each frame, in seconds from the first sample.
    """
    frame, hop, _ = settings.sizes(sample_rate)
    middle = first_sample(settings, sample_rate) + frame / 2
    return np.asarray((middle + hop * np.arange(n_frames)) / sample_rate)


def stretch(signal: np.ndarray, low: int, high: int, settings: FeatureSettings) -> np.ndarray:
    """Take a stretch of the signal, with what is beyond its ends.

    Parameters
    ----------
    signal : ndarray (N,)
        The conditioned signal.
    low, high : int
        From which sample to which; below 0 and above N there is padding.
    settings : FeatureSettings
        `framing` and `pad_mode`.

    Returns
    -------
    ndarray (high - low,)
        The stretch: a view where it is within the signal.
    """
    n = len(signal)
    before, after = max(0, -low), max(0, high - n)
    if before == after == 0:
        return signal[low:high]
    mode = PADDING.get(settings.framing, settings.pad_mode)
    if mode in ("constant", "edge"):  # which need only what is near
        near = signal[max(low, 0) : min(high, n)] if low < n and high > 0 else signal[:0]
        padded = np.zeros(high - low, signal.dtype)
        padded[before : before + len(near)] = near
        if mode == "edge":
            padded[:before], padded[before + len(near) :] = signal[0], signal[-1]
        return padded
    return np.pad(signal, (before, after), mode=mode)[low + before : high + before]


def by_blocks(settings: FeatureSettings) -> bool:
    """Tell whether a signal can be conditioned stretch by stretch.

    Parameters
    ----------
    settings : FeatureSettings
        What is to be done to it.

    Returns
    -------
    bool
        Not with dither, which is drawn from its beginning on; nor if it is emphasised, and mirrored then.
    """
    emphasised = settings.pre_emphasis > 0 and settings.pre_emphasis_of == "signal"
    filled = settings.framing != "mirrored" and settings.pad_mode == "constant"
    return settings.dither == 0 and (filled or not emphasised)


def conditioned_stretch(samples: np.ndarray, low: int, high: int, settings: FeatureSettings) -> np.ndarray:
    """Take a stretch of a signal that is not conditioned yet: the same as `stretch` of the conditioned one.

    Parameters
    ----------
    samples : ndarray (N,)
        The signal.
    low, high : int
        As of `stretch`.
    settings : FeatureSettings
        Of which `by_blocks` is true.

    Returns
    -------
    ndarray (high - low,)
        The stretch.
    """
    if settings.pre_emphasis == 0 or settings.pre_emphasis_of == "frame":
        return scale(stretch(samples, low, high, settings), settings)
    scaled = scale(stretch(samples, low - 1, high, settings), settings)
    emphasised = emphasise(scaled[1:], settings, before=scaled[0])
    emphasised[max(0, len(samples) - low) :] = 0  # where the filling begins
    return emphasised


def check_length(n_samples: int, settings: FeatureSettings, sample_rate: int | None) -> None:
    """Refuse a signal of which there is no frame.

    Parameters
    ----------
    n_samples : int
        N.
    settings : FeatureSettings
        `framing` and the lengths.
    sample_rate : int or None
        In Hz.

    Raises
    ------
    FeatureError
        If it is too short.
    """
    if count_frames(n_samples, settings, sample_rate) < 1:
        frame, _, _ = settings.sizes(sample_rate)
        of = f"of {frame}" if settings.framing == "whole-frames" else "with its middle in the clip"
        raise FeatureError(
            f"{n_samples} samples hold no frame {of}; use a longer clip, or "
            'framing="pad-end" or "centred", which fill up with zeros'
        )


def cut(stretch: np.ndarray, frame_length: int, hop_length: int) -> np.ndarray:
    """Cut a stretch of signal into frames.

    Parameters
    ----------
    stretch : ndarray (n,)
        Signal.
    frame_length : int
        Samples of a frame.
    hop_length : int
        From one frame to the next.

    Returns
    -------
    ndarray (T, frame_length)
        A view; frame 0 begins at the beginning, and the last ends with the stretch or before.
    """
    return np.lib.stride_tricks.sliding_window_view(stretch, frame_length)[::hop_length]


def window(settings: FeatureSettings, frame_length: int) -> np.ndarray:
    """Compute the window.

    Parameters
    ----------
    settings : FeatureSettings
        `window` and `window_symmetric`.
    frame_length : int
        Its length.

    Returns
    -------
    ndarray (frame_length,), float64
        By what a frame is multiplied.

    Notes
    -----
    F. J. Harris, Proceedings of the IEEE 66 (1978) 51. Povey's window is Kaldi's own.
    """
    if frame_length == 1:
        return np.ones(1)
    phase = 2 * np.pi / (frame_length - settings.window_symmetric) * np.arange(frame_length)
    if settings.window == "hamming":
        return np.asarray(0.54 - 0.46 * np.cos(phase))
    if settings.window == "blackman":
        return np.asarray(0.42 - 0.5 * np.cos(phase) + 0.08 * np.cos(2 * phase))
    if settings.window == "rectangular":
        return np.ones(frame_length)
    hann: np.ndarray = 0.5 - 0.5 * np.cos(phase)
    return hann if settings.window == "hann" else hann**0.85
