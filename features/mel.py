"""The mel scale, and the bank of triangular filters that goes from FFT bins to mel bands."""

from functools import lru_cache

import numpy as np

from features.errors import FeatureError

# Slaney's scale: linear below 1 kHz, logarithmic above.
HZ_PER_LINEAR_MEL = 200.0 / 3.0
BREAK_HZ = 1000.0
BREAK_MEL = BREAK_HZ / HZ_PER_LINEAR_MEL
LOG_STEP = np.log(6.4) / 27.0


def hz_to_mel(hz: np.ndarray | float) -> np.ndarray:
    """Frequency to mel, on Slaney's scale.

    Parameters
    ----------
    hz : array
        Frequencies in Hz.

    Returns
    -------
    ndarray, float64
        ``3 hz / 200`` below 1 kHz, ``15 + 27 ln(hz / 1000) / ln(6.4)`` above.

    Notes
    -----
    M. Slaney, "Auditory Toolbox, version 2", Interval Research technical report 1998-010.
    """
    hz = np.asarray(hz, dtype=np.float64)
    above = BREAK_MEL + np.log(np.maximum(hz, BREAK_HZ) / BREAK_HZ) / LOG_STEP
    return np.where(hz < BREAK_HZ, hz / HZ_PER_LINEAR_MEL, above)


def mel_to_hz(mel: np.ndarray | float) -> np.ndarray:
    """Mel to frequency: the inverse of `hz_to_mel`.

    Parameters
    ----------
    mel : array
        Mels on Slaney's scale.

    Returns
    -------
    ndarray, float64
        Frequencies in Hz.
    """
    mel = np.asarray(mel, dtype=np.float64)
    above = BREAK_HZ * np.exp(LOG_STEP * (np.maximum(mel, BREAK_MEL) - BREAK_MEL))
    return np.where(mel < BREAK_MEL, mel * HZ_PER_LINEAR_MEL, above)


@lru_cache(maxsize=16)
def mel_filterbank(
    sample_rate: int, n_fft: int, n_mels: int, f_min_hz: float = 0.0, f_max_hz: float | None = None
) -> np.ndarray:
    """Triangles, evenly spaced in mel, each of unit area over Hz.

    Band m rises from the m-th edge to the next and falls to the one after, the ``n_mels + 2`` edges
    being evenly spaced in mel. Its height ``2 / (right - left)`` makes its area over Hz one (Slaney).

    Parameters
    ----------
    sample_rate : int
        Sample rate in Hz.
    n_fft : int
        Length of the Fourier transform.
    n_mels : int
        Number of bands.
    f_min_hz : float, default 0
        Lower edge of the lowest band in Hz.
    f_max_hz : float, optional
        Upper edge of the highest band in Hz. By default half the sample rate.

    Returns
    -------
    ndarray (n_mels, 1 + n_fft // 2), float32, read-only
        Weight of each FFT bin in each band.

    Raises
    ------
    FeatureError
        If the edges do not fit the sample rate, or a band is so narrow that it holds no bin.
    """
    nyquist = sample_rate / 2
    f_max_hz = nyquist if f_max_hz is None else f_max_hz
    if not 0 <= f_min_hz < f_max_hz <= nyquist:
        raise FeatureError(
            f"mel bands from {f_min_hz:g} to {f_max_hz:g} Hz do not fit a sample rate of {sample_rate} Hz; "
            f"0 <= f_min_hz < f_max_hz <= {nyquist:g} is needed"
        )
    edges = mel_to_hz(np.linspace(hz_to_mel(f_min_hz), hz_to_mel(f_max_hz), n_mels + 2))[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    bins = np.arange(1 + n_fft // 2) * (sample_rate / n_fft)
    triangles = np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre))
    bank = np.maximum(triangles, 0) * (2 / (right - left))
    empty = np.flatnonzero(bank.max(axis=1) == 0)
    if len(empty):
        raise FeatureError(
            f"{n_mels} mel bands are too many for {n_fft} FFT points at {sample_rate} Hz: "
            f"band {empty[0]} holds no frequency bin; use fewer bands or a longer frame"
        )
    bank = bank.astype(np.float32)
    bank.flags.writeable = False  # shared by the cache
    return np.asarray(bank)
