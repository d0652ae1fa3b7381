"""All that settings and a sample rate determine, worked out once: lengths, window, filters, columns."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from features.cepstrum import cepstral_matrix
from features.framing import first_sample, frames_within, window
from features.mel import mel_filterbank
from features.settings import FeatureSettings, check_sample_rate


@dataclass(frozen=True, eq=False)  # one per settings: compared, and hashed, by identity
class Plan:
    """What the computation of features needs.

    Parameters
    ----------
    settings : FeatureSettings
        The settings.
    sample_rate : int
        In Hz.
    frame_length, hop_length, n_fft : int
        In samples.
    first : int
        Where frame 0 begins: at the signal's beginning (0), or before it.
    window : ndarray (frame_length,), float64
        By what a frame is multiplied.
    bank : ndarray (n_bands, 1 + n_fft // 2), float64, or None
        From bins to mel bands. None, where the bins are the bands.
    columns : ndarray (n_bands + 1, n_static), float64, or None
        From the bands' logarithms, with that of the energy behind them, to a frame's columns. None, where
        these are the bands, and the energy if there is one.
    energy_first : bool
        Whether the energy goes before the bands. (There may be thousands of bands: too many for a matrix.)
    """

    settings: FeatureSettings
    sample_rate: int
    frame_length: int
    hop_length: int
    n_fft: int
    first: int
    window: np.ndarray
    bank: np.ndarray | None
    columns: np.ndarray | None
    energy_first: bool

    @property
    def n_bands(self) -> int:
        """How many bands, or bins, there are."""
        return 1 + self.n_fft // 2 if self.bank is None else len(self.bank)

    @property
    def n_static(self) -> int:
        """How many columns there are before deltas."""
        return self.n_with_energy if self.columns is None else self.columns.shape[1]

    @property
    def n_with_energy(self) -> int:
        """How many numbers there are of a frame: the bands, and the energy if there is one."""
        return self.n_bands + (self.settings.energy != "none")

    @property
    def n_computed(self) -> int:
        """How many numbers a frame gives by itself: its columns, or the bands and the energy."""
        return self.n_static if self.in_one_pass else self.n_with_energy

    def count_frames(self, n_samples: int) -> int:
        """Count the frames of a signal.

        Parameters
        ----------
        n_samples : int
            N.

        Returns
        -------
        int
            T; 0 for a signal that is too short for one.
        """
        return frames_within(n_samples, self.settings.framing, self.frame_length, self.hop_length, self.n_fft)

    @property
    def in_one_pass(self) -> bool:
        """Whether a frame's columns depend on that frame alone."""
        return self.settings.log != "pcen" and self.limit is None

    @property
    def limit(self) -> float | None:
        """`top_db`, where it has a meaning."""
        return self.settings.top_db if self.settings.log == "db" else None


@lru_cache(maxsize=128, typed=True)  # 16000.0 is not to be taken for 16000, which is accepted
def plan(settings: FeatureSettings, sample_rate: int) -> Plan:
    """Work out what settings mean at a sample rate.

    Parameters
    ----------
    settings : FeatureSettings
        The settings.
    sample_rate : int
        In Hz.

    Returns
    -------
    Plan
        Its arrays are read-only, as everybody shares them.

    Raises
    ------
    FeatureError
        If the settings do not fit the sample rate.
    """
    check_sample_rate(sample_rate)
    frame_length, hop_length, n_fft = settings.sizes(sample_rate)
    bank = None if settings.kind == "log-spectrogram" else mel_filterbank(settings, sample_rate)
    columns = _columns(settings) if settings.kind == "mfcc" else None
    weights = window(settings, frame_length)
    for array in (weights, bank, columns):
        if array is not None:
            array.flags.writeable = False
    first = first_sample(settings, sample_rate)
    energy_first = settings.kind != "mfcc" and settings.energy != "none" and settings.level == "first"
    lengths = (frame_length, hop_length, n_fft, first)
    return Plan(settings, sample_rate, *lengths, weights, bank, columns, energy_first)


def _columns(settings: FeatureSettings) -> np.ndarray:
    """Make the matrix of `Plan.columns`."""
    n_bands = settings.n_mels
    energy = np.zeros((n_bands + 1, 1))
    energy[-1] = 1
    cepstra = np.zeros((n_bands + 1, settings.n_mfcc))
    cepstra[:-1] = cepstral_matrix(settings)
    level = cepstra[:, :1] if settings.energy == "none" else energy
    rest = cepstra[:, 1:]
    order = {"first": [level, rest], "last": [rest, level], "dropped": [rest]}[settings.level]
    return np.concatenate(order, axis=1)
