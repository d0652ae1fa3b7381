"""The mel scale, and the bank of triangular filters that goes from FFT bins to mel bands."""

from typing import Literal

import numpy as np

from features.errors import FeatureError
from features.settings import FeatureSettings, check_sample_rate

# Slaney's scale: linear below 1 kHz, logarithmic above.
HZ_PER_LINEAR_MEL = 200.0 / 3.0
BREAK_HZ = 1000.0
BREAK_MEL = BREAK_HZ / HZ_PER_LINEAR_MEL
LOG_STEP = np.log(6.4) / 27.0

Scale = Literal["slaney", "htk"]


def hz_to_mel(hz: np.ndarray | float, scale: Scale = "slaney") -> np.ndarray:
    """Frequency to mel.

    Parameters
    ----------
    hz : array
        Frequencies in Hz.
    scale : {"slaney", "htk"}, default "slaney"
        ``3 hz / 200`` below 1 kHz and ``15 + 27 ln(hz / 1000) / ln(6.4)`` above;
        or ``1127 ln(1 + hz / 700)``.

    Returns
    -------
    ndarray, float64
        Mels.

    Notes
    -----
    M. Slaney, "Auditory Toolbox, version 2", Interval Research technical report 1998-010.
    S. Young et al., "The HTK Book", version 3.4 (2006), section 5.4. Others write that scale as
    ``2595 log10(1 + hz / 700)``, which differs by a factor of 1 - 5e-6: the same bands.
    """
    hz = np.asarray(hz, dtype=np.float64)
    if scale == "htk":
        return np.asarray(1127 * np.log1p(hz / 700))
    above = BREAK_MEL + np.log(np.maximum(hz, BREAK_HZ) / BREAK_HZ) / LOG_STEP
    return np.where(hz < BREAK_HZ, hz / HZ_PER_LINEAR_MEL, above)


def mel_to_hz(mel: np.ndarray | float, scale: Scale = "slaney") -> np.ndarray:
    """Mel to frequency: the inverse of `hz_to_mel`.

    Parameters
    ----------
    mel : array
        Mels.
    scale : {"slaney", "htk"}, default "slaney"
        As of `hz_to_mel`.

    Returns
    -------
    ndarray, float64
        Frequencies in Hz.
    """
    mel = np.asarray(mel, dtype=np.float64)
    if scale == "htk":
        return np.asarray(700 * np.expm1(mel / 1127))
    above = BREAK_HZ * np.exp(LOG_STEP * (np.maximum(mel, BREAK_MEL) - BREAK_MEL))
    return np.where(mel < BREAK_MEL, mel * HZ_PER_LINEAR_MEL, above)


def mel_filterbank(settings: FeatureSettings, sample_rate: int) -> np.ndarray:
    """Triangles that are evenly spaced in mel.

    Band m rises from the m-th edge to the next and falls to the one after, the ``n_mels + 2`` edges
    being evenly spaced in mel.

    Parameters
    ----------
    settings : FeatureSettings
        Those of the bands: `n_mels`, `f_min_hz`, `f_max_hz`, ``mel_*``, ``vtln_*`` and so on.
    sample_rate : int
        Sample rate in Hz.

    Returns
    -------
    ndarray (n_mels, 1 + n_fft // 2), float64
        Weight of each FFT bin in each band.

    Raises
    ------
    FeatureError
        If the edges do not fit the sample rate, or a band is so narrow that it holds no bin and
        that is not allowed.
    """
    check_sample_rate(sample_rate)
    _, _, n_fft = settings.sizes(sample_rate)
    low, high = settings.f_min_hz, settings.f_max_hz or sample_rate / 2
    scale, n_mels = settings.mel_scale, settings.n_mels
    if n_mels > 2 * n_fft and not settings.allow_empty_bands:  # before they take memory
        raise FeatureError(f"{n_mels} mel bands are too many for {n_fft} FFT points; use fewer bands")
    mel = _evenly_in_mel(settings, sample_rate)
    edges = warp(mel_to_hz(mel, scale), settings, sample_rate)[:, None]
    bins = np.arange(1 + n_fft // 2) * (sample_rate / n_fft)
    if settings.mel_slopes == "hz":
        left, centre, right, at = edges[:-2], edges[1:-1], edges[2:], bins
    elif settings.mel_slopes == "mel":
        mel = hz_to_mel(edges, scale) if settings.vtln_warp != 1 else mel[:, None]
        left, centre, right, at = mel[:-2], mel[1:-1], mel[2:], hz_to_mel(bins, scale)
    else:
        whole = np.floor((n_fft + 1) * edges / sample_rate)
        left, centre, right, at = whole[:-2], whole[1:-1], whole[2:], np.arange(float(len(bins)))
    with np.errstate(divide="ignore", invalid="ignore"):  # where two edges are one, there is no such side
        rising, falling = (at - left) / (centre - left), (right - at) / (right - centre)
    bank = np.where((at >= left) & (at < right), np.where(at < centre, rising, falling), 0)
    if settings.mel_float32:
        bank = _rounded(bank)  # before the norm and after it, as librosa does
    if settings.mel_norm == "slaney":
        bank *= 2 / (edges[2:] - edges[:-2])
    if settings.htk_skip_bins:
        # Of HTK's bins, which count from 1: those from int(low / spacing + 2.5) to int(high / spacing + 0.5),
        # and neither the first nor the last of all.
        spacing = sample_rate / n_fft
        bank[:, : max(1, int(low / spacing + 2.5) - 1)] = 0
        bank[:, min(n_fft // 2, int(high / spacing + 0.5)) :] = 0
    empty = np.flatnonzero(bank.max(axis=1) == 0)
    if len(empty) and not settings.allow_empty_bands:
        raise FeatureError(
            f"{n_mels} mel bands are too many for {n_fft} FFT points at {sample_rate} Hz: "
            f"band {empty[0]} holds no frequency bin; use fewer bands or a longer frame"
        )
    return _rounded(bank) if settings.mel_float32 else np.asarray(bank)


def band_centres(settings: FeatureSettings, sample_rate: int) -> np.ndarray:
    """Tell where the bands are: what an axis is labelled by.

    Parameters
    ----------
    settings : FeatureSettings
        As of `mel_filterbank`.
    sample_rate : int
        In Hz.

    Returns
    -------
    ndarray (n_mels,), float64
        The frequency in Hz at which each triangle has its peak (but for `mel_slopes` "bins", which moves it
        down to a bin).

    Raises
    ------
    FeatureError
        If the edges do not fit the sample rate.
    """
    hz = mel_to_hz(_evenly_in_mel(settings, sample_rate), settings.mel_scale)
    return warp(hz, settings, sample_rate)[1:-1]


def _evenly_in_mel(settings: FeatureSettings, sample_rate: int) -> np.ndarray:
    """Place the ``n_mels + 2`` edges, in mel, before any warp."""
    low, high = settings.f_min_hz, settings.f_max_hz or sample_rate / 2
    if not low < high <= sample_rate / 2:
        raise FeatureError(
            f"mel bands from {low:g} to {high:g} Hz do not fit a sample rate of {sample_rate} Hz; "
            f"0 <= f_min_hz < f_max_hz <= {sample_rate / 2:g} is needed"
        )
    scale = settings.mel_scale
    return np.asarray(np.linspace(hz_to_mel(low, scale), hz_to_mel(high, scale), settings.n_mels + 2))


def _rounded(weights: np.ndarray) -> np.ndarray:
    """Round to float32."""
    return weights.astype(np.float32).astype(np.float64)


def warp(hz: np.ndarray, settings: FeatureSettings, sample_rate: int) -> np.ndarray:
    """Move the bands' edges to where they would be for a vocal tract of another length.

    Piecewise linear: by the factor in the middle, and such that the outer edges stay where they are.

    Parameters
    ----------
    hz : ndarray
        Edges in Hz, from `f_min_hz` to `f_max_hz`.
    settings : FeatureSettings
        `vtln_warp`, `vtln_low_hz`, `vtln_high_hz`, `vtln_kind`.
    sample_rate : int
        In Hz.

    Returns
    -------
    ndarray
        Warped edges in Hz.

    Raises
    ------
    FeatureError
        If the range that is warped does not fit the bands.

    Notes
    -----
    L. Lee and R. Rose, IEEE Transactions on Speech and Audio Processing 6 (1998) 49; as in Kaldi's
    feature extraction, and in HTK's ("The HTK Book", section 5.4), which differ in where the pieces meet.
    """
    factor = settings.vtln_warp
    if factor == 1:
        return hz
    low, high = settings.f_min_hz, settings.f_max_hz or sample_rate / 2
    told = sample_rate / 2 - 500 if settings.vtln_high_hz is None else settings.vtln_high_hz
    if settings.vtln_kind == "kaldi":
        lower, upper = settings.vtln_low_hz * max(1, factor), told * min(1, factor)
    else:
        lower, upper = (2 * edge / (1 + 1 / factor) for edge in (settings.vtln_low_hz, told))
    if not low < lower < upper < high:
        raise FeatureError(
            f"a warp of {factor:g} between {lower:g} and {upper:g} Hz does not fit bands from {low:g} to "
            f"{high:g} Hz; change vtln_low_hz, vtln_high_hz, or the bands"
        )
    return np.asarray(np.interp(hz, [low, lower, upper, high], [low, lower / factor, upper / factor, high]))
