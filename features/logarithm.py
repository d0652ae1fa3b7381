"""From power to what the ear makes of it: logarithms, and per-channel energy normalisation."""

import numpy as np

from features.settings import FeatureSettings

# M of long silence would decay into numbers that some processors compute with a hundred times slower. This is
# far below any epsilon that it is added to.
LEAST_SMOOTHED = 1e-300


def logarithm(power: np.ndarray, settings: FeatureSettings) -> np.ndarray:
    """Take the logarithm, of a floor where there is less.

    Parameters
    ----------
    power : ndarray, floating
        Nothing negative.
    settings : FeatureSettings
        `log`, `log_floor`, `log_floor_for`, `log_offset`.

    Returns
    -------
    ndarray
        Of the same shape and dtype; the power itself where `log` is "none" or "pcen".
    """
    if settings.log in ("none", "pcen"):
        return power
    floored = floor(power + power.dtype.type(settings.log_offset), settings, settings.log_floor)
    with np.errstate(divide="ignore"):  # the floor may be 0
        return np.asarray(10 * np.log10(floored) if settings.log == "db" else np.log(floored))


def floor(power: np.ndarray, settings: FeatureSettings, least: float) -> np.ndarray:
    """Replace what is too little.

    Parameters
    ----------
    power : ndarray, floating
        Nothing negative.
    settings : FeatureSettings
        `log_floor_for`.
    least : float
        By what.

    Returns
    -------
    ndarray
        Of the same shape and dtype.
    """
    if settings.log_floor_for == "less":
        return np.asarray(np.maximum(power, power.dtype.type(least)))
    return np.where(power == 0, power.dtype.type(least), power)


def log_energy(energy: np.ndarray, settings: FeatureSettings) -> np.ndarray:
    """Take the natural logarithm of frames' energies.

    Parameters
    ----------
    energy : ndarray (T,), floating
        Nothing negative.
    settings : FeatureSettings
        `energy_floor`, `log_floor`, `log_floor_for`.

    Returns
    -------
    ndarray (T,)
        In the same dtype.
    """
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(floor(energy, settings, settings.energy_floor or settings.log_floor)))


def limit_range(decibels: np.ndarray, top_db: float | None) -> np.ndarray:
    """Raise what is far below the clip's maximum.

    Parameters
    ----------
    decibels : ndarray (T, n)
        Of the whole clip.
    top_db : float or None
        How far below it may be. None: as far as it is.

    Returns
    -------
    ndarray (T, n)
        In the same dtype.
    """
    return decibels if top_db is None else np.maximum(decibels, decibels.max() - decibels.dtype.type(top_db))


class Pcen:
    """Per-channel energy normalisation: a logarithm's place taken by one that adapts to the level.

    ``(E / (eps + M) ** gain + bias) ** power - bias ** power``, where M is E smoothed over time by
    ``M[t] = (1 - s) M[t - 1] + s E[t]`` and begins as 1. It remembers M from call to call.

    Parameters
    ----------
    settings : FeatureSettings
        Those that begin with ``pcen_``.
    hop_s : float
        From one frame to the next, in seconds.

    Notes
    -----
    Y. Wang et al., "Trainable frontend for robust and far-field keyword spotting", ICASSP 2017, equations 1
    and 2. The smoothing coefficient s is of a first-order filter with that time constant, as in
    ``librosa.pcen(S, hop_length=..., sr=..., time_constant=...)``, whose beginning is the same.
    """

    def __init__(self, settings: FeatureSettings, hop_s: float) -> None:
        self.settings = settings
        frames = settings.pcen_seconds / hop_s
        self.s = (np.sqrt(1 + 4 * frames**2) - 1) / (2 * frames**2)
        self.smooth: np.ndarray | None = None

    def __call__(self, energy: np.ndarray) -> np.ndarray:
        """Normalise the next frames.

        Parameters
        ----------
        energy : ndarray (T, n), floating
            Of bands or bins.

        Returns
        -------
        ndarray (T, n)
            In the same dtype.
        """
        settings = self.settings
        smooth = np.empty(energy.shape)
        last = self.smooth
        if last is None:
            last = np.full(energy.shape[1], 1 - self.s)  # of a steady 1, as scipy's lfilter_zi has it
        for t, now in enumerate(energy.astype(np.float64)):
            smooth[t] = last + self.s * now
            last = np.maximum((1 - self.s) * smooth[t], LEAST_SMOOTHED)
        self.smooth = last
        gained = energy * np.exp(-settings.pcen_gain * np.log(settings.pcen_eps + smooth))
        bias, power = settings.pcen_bias, settings.pcen_power
        if bias == 0:
            return np.asarray(gained**power).astype(energy.dtype)
        # The difference as one expression, in which nothing cancels where the energy is small.
        return np.asarray(bias**power * np.expm1(power * np.log1p(gained / bias))).astype(energy.dtype)
