"""Log-mel and MFCC: frozen settings that are called with sound and return features.

The convention is librosa's, its defaults made explicit: periodic Hann window, frames centred on
multiples of the hop with zeros beyond the ends, power spectrum, Slaney's mel scale with bands of
unit area, ``10 log10(max(power, 1e-10))`` in dB with nothing more than 80 dB below the clip's
maximum, orthonormal DCT-II, Savitzky-Golay deltas over 9 frames. Durations are in ms, so that the
same settings serve every sample rate.

Letters: N samples, T frames, F features.
"""

import dataclasses
import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from features.audio import check_samples
from features.cepstrum import dct_matrix
from features.errors import FeatureError
from features.frames import ClipNormalisation, deltas, normalise_clip, stack_frames
from features.mel import mel_filterbank
from features.spectrum import power_spectrogram

POWER_FLOOR = 1e-10  # -100 dB: what digital silence becomes


@dataclass(frozen=True, kw_only=True)
class LogMel:
    """Log-mel spectrogram: power in mel bands, in dB.

    Calling it with ``(samples, sample_rate)`` gives features of shape (T, F).

    Parameters
    ----------
    n_mels : int, default 40
        Mel bands.
    frame_ms : float, default 25
        Length of the analysis window in ms.
    hop_ms : float, default 10
        Time from one frame to the next in ms.
    n_fft : int, optional
        Length of the Fourier transform in samples. By default the next power of two that holds a
        frame.
    f_min_hz : float, default 0
        Lower edge of the lowest band in Hz.
    f_max_hz : float, optional
        Upper edge of the highest band in Hz. By default half the sample rate.
    top_db : float or None, default 80
        Floor of the spectrogram, in dB below the clip's maximum. None: no such floor.
    delta_order : {0, 1, 2}, default 0
        Append slopes (1), and curvatures too (2).
    clip_normalisation : {"none", "mean", "mean-variance"}, default "none"
        Normalise every feature over the clip.
    stack : int, default 1
        Frames joined to one step.

    Raises
    ------
    FeatureError
        If a setting is out of its range.
    """

    n_mels: int = 40
    frame_ms: float = 25.0
    hop_ms: float = 10.0
    n_fft: int | None = None
    f_min_hz: float = 0.0
    f_max_hz: float | None = None
    top_db: float | None = 80.0
    delta_order: int = 0
    clip_normalisation: ClipNormalisation = "none"
    stack: int = 1

    def __post_init__(self) -> None:
        for name in ("n_mels", "frame_ms", "hop_ms", "n_fft", "top_db", "stack"):
            value = getattr(self, name)
            if value is None and name in ("n_fft", "top_db"):
                continue
            whole = name in ("n_mels", "n_fft", "stack")
            if not isinstance(value, Integral if whole else Real) or not 0 < float(value) < math.inf:
                raise FeatureError(f"{name} is a positive {'whole ' if whole else ''}number, not {value!r}")
        if self.delta_order not in (0, 1, 2):
            raise FeatureError(f"delta_order is 0, 1 or 2, not {self.delta_order!r}")
        if self.clip_normalisation not in ("none", "mean", "mean-variance"):
            raise FeatureError(
                f"clip_normalisation is none, mean or mean-variance, not {self.clip_normalisation!r}"
            )

    def __call__(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """Compute the features of a clip.

        Parameters
        ----------
        samples : array (N,), floating
            Mono sound, full scale 1, at least one sample.
        sample_rate : int
            Its rate in Hz.

        Returns
        -------
        ndarray (T, n_features), float32
            ``T = ceil((1 + N // hop) / stack)``.

        Raises
        ------
        FeatureError
            If the samples are no mono sound, or the settings do not fit the sample rate.
        """
        frames = self._static(check_samples(samples), sample_rate)
        columns = [frames] + [deltas(frames, order) for order in range(1, self.delta_order + 1)]
        frames = normalise_clip(np.concatenate(columns, axis=1), self.clip_normalisation)
        return np.ascontiguousarray(stack_frames(frames, self.stack))

    @property
    def n_features(self) -> int:
        """F: the number of columns that a call returns."""
        return self._n_static * (1 + self.delta_order) * self.stack

    @property
    def _n_static(self) -> int:
        return self.n_mels

    def _static(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """Features before deltas, (T, n_mels)."""
        frame_length = round(self.frame_ms * sample_rate / 1000)
        hop_length = round(self.hop_ms * sample_rate / 1000)
        if min(frame_length, hop_length) < 1:
            raise FeatureError(
                f"a frame of {self.frame_ms:g} ms every {self.hop_ms:g} ms is less than a sample "
                f"at {sample_rate} Hz; use a higher sample rate or longer frames"
            )
        n_fft = self.n_fft or 1 << (frame_length - 1).bit_length()
        if n_fft < frame_length:
            raise FeatureError(
                f"n_fft={n_fft} cannot hold a frame of {frame_length} samples "
                f"({self.frame_ms:g} ms at {sample_rate} Hz)"
            )
        bank = mel_filterbank(sample_rate, n_fft, self.n_mels, self.f_min_hz, self.f_max_hz)
        power = power_spectrogram(samples, frame_length, hop_length, n_fft) @ bank.T
        decibels = 10 * np.log10(np.maximum(power, POWER_FLOOR))
        if self.top_db is not None:
            decibels = np.maximum(decibels, decibels.max() - self.top_db)
        return np.asarray(decibels)


@dataclass(frozen=True, kw_only=True)
class Mfcc(LogMel):
    """Mel-frequency cepstral coefficients: the DCT of the log-mel spectrogram.

    Calling it with ``(samples, sample_rate)`` gives features of shape (T, F). Its parameters are
    those of `LogMel` and `n_mfcc`.

    Parameters
    ----------
    n_mels : int, default 40
        Mel bands.
    frame_ms : float, default 25
        Length of the analysis window in ms.
    hop_ms : float, default 10
        Time from one frame to the next in ms.
    n_fft : int, optional
        Length of the Fourier transform in samples.
    f_min_hz : float, default 0
        Lower edge of the lowest band in Hz.
    f_max_hz : float, optional
        Upper edge of the highest band in Hz.
    top_db : float or None, default 80
        Floor of the spectrogram, in dB below the clip's maximum.
    delta_order : {0, 1, 2}, default 0
        Append slopes (1), and curvatures too (2).
    clip_normalisation : {"none", "mean", "mean-variance"}, default "none"
        Normalise every feature over the clip.
    stack : int, default 1
        Frames joined to one step.
    n_mfcc : int, default 13
        Coefficients kept, the zeroth (the level) among them.

    Raises
    ------
    FeatureError
        If a setting is out of its range.

    Notes
    -----
    S. Davis and P. Mermelstein, IEEE Trans. ASSP 28 (1980) 357.
    """

    n_mfcc: int = 13

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.n_mfcc, Integral) or not 0 < self.n_mfcc <= self.n_mels:
            raise FeatureError(f"n_mfcc is between 1 and n_mels={self.n_mels}, not {self.n_mfcc!r}")

    @property
    def _n_static(self) -> int:
        return self.n_mfcc

    def _static(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """Features before deltas, (T, n_mfcc)."""
        decibels = super()._static(samples, sample_rate)
        cepstra = decibels @ dct_matrix(self.n_mels, self.n_mfcc)  # in float64, as bands nearly cancel
        return np.asarray(cepstra.astype(decibels.dtype))


KINDS = {"log-mel": LogMel, "mfcc": Mfcc}


def settings_to_dict(settings: LogMel) -> dict[str, Any]:
    """Write settings as plain values, to be kept in a file.

    Parameters
    ----------
    settings : LogMel or Mfcc
        The settings.

    Returns
    -------
    dict
        Every setting by name, and ``"kind"``.
    """
    kind = next(kind for kind, cls in KINDS.items() if type(settings) is cls)
    return {"kind": kind} | dataclasses.asdict(settings)


def settings_from_dict(values: dict[str, Any]) -> LogMel:
    """Read settings that `settings_to_dict` wrote.

    Parameters
    ----------
    values : dict
        Every setting by name, and ``"kind"``.

    Returns
    -------
    LogMel or Mfcc
        The settings.

    Raises
    ------
    FeatureError
        If the kind or a setting is unknown or out of range.
    """
    values = dict(values)
    kind = values.pop("kind", None)
    if kind not in KINDS:
        raise FeatureError(f"unknown kind of features {kind!r}; known: {', '.join(KINDS)}")
    try:
        return KINDS[kind](**values)
    except TypeError as error:
        raise FeatureError(f"settings that this version does not know: {error}") from None
