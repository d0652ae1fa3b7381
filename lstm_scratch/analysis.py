"""One recording and its features: told, saved, drawn, compared. What `lstm-scratch features` does."""

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lstm_scratch.errors import DataError
from lstm_scratch.files import atomic_write
from lstm_scratch.sound import (
    Difference,
    FeatureSettings,
    explain_difference,
    preset,
    read_audio,
    setting_from_text,
)

OWN = "none"  # in place of a preset's name: our own defaults


class Analysis(NamedTuple):
    """A recording and its features."""

    file: str
    samples: np.ndarray  # (N,), float32
    sample_rate: int  # in Hz
    settings: FeatureSettings
    features: np.ndarray  # (T, F)

    def describe(self) -> dict[str, Any]:
        """Tell of it in plain values, for JSON.

        Returns
        -------
        dict
            `file`, `samples`, `seconds`, `sample_rate_hz`, `settings` (all of them), `shape`, `least` and
            `largest` of the features.
        """
        return {
            "file": self.file,
            "samples": len(self.samples),
            "seconds": len(self.samples) / self.sample_rate,
            "sample_rate_hz": self.sample_rate,
            "settings": dataclasses.asdict(self.settings),
            "shape": list(self.features.shape),
            "least": finite(float(self.features.min())),
            "largest": finite(float(self.features.max())),
        }

    def __str__(self) -> str:
        (n_frames, n_columns), seconds = self.features.shape, len(self.samples) / self.sample_rate
        settings = ", ".join(f"{name}={value}" for name, value in self.settings.differing().items())
        return (
            f"{self.file}: {seconds:.3f} s, {len(self.samples)} samples at {self.sample_rate} Hz\n"
            f"settings: {settings or 'all as by default'}\n"
            f"features: {n_frames} frames x {n_columns} columns, "
            f"from {self.features.min():.4g} to {self.features.max():.4g}"
        )


def analyse(
    file: str | os.PathLike[str], settings: FeatureSettings, sample_rate: int | None = None
) -> Analysis:
    """Read a recording and compute its features.

    Parameters
    ----------
    file : path
        The recording.
    settings : FeatureSettings
        How.
    sample_rate : int, optional
        At which rate, in Hz. By default the file's own.

    Returns
    -------
    Analysis
        Recording and features.

    Raises
    ------
    FeatureError
        If the recording cannot be read, or the settings do not fit it.
    """
    samples, rate = read_audio(file, sample_rate)
    return Analysis(os.fspath(file), samples, rate, settings, settings(samples, rate))


def settings_from_words(name: str, words: Sequence[str]) -> FeatureSettings:
    """Make settings of a preset's name and of ``NAME=VALUE``.

    Parameters
    ----------
    name : str
        Of the preset; "none" for our own defaults.
    words : sequence of str
        What is changed in it.

    Returns
    -------
    FeatureSettings
        The settings.

    Raises
    ------
    FeatureError
        If there is no such preset or setting, or a value is out of its range.
    """
    changes = dict(map(setting_from_text, words))
    return FeatureSettings().change(**changes) if name == OWN else preset(name, **changes)


def others_from_words(
    name: str, words: Sequence[str], other: str | None, other_words: Sequence[str]
) -> tuple[FeatureSettings | None, tuple[str, str]]:
    """Make the settings that others are compared with, and names for both.

    Parameters
    ----------
    name : str
        Name of the ones' preset, as of `settings_from_words`.
    words : sequence of str
        What is changed in it.
    other : str or None
        Name of the others' preset. None: that of the ones, with the same words.
    other_words : sequence of str
        What is changed in it.

    Returns
    -------
    others : FeatureSettings or None
        The others. None: nothing is to be compared.
    names : tuple of str
        What both are called.

    Raises
    ------
    FeatureError
        As of `settings_from_words`.
    """
    ours = _called(name, words)
    if other is None:
        theirs = _called(name, other_words) + (" again" if words else "")
        return settings_from_words(name, [*words, *other_words]) if other_words else None, (ours, theirs)
    theirs = _called(other, other_words)
    if ours == theirs:
        ours, theirs = f"{ours} (1)", f"{theirs} (2)"
    return settings_from_words(other, other_words), (ours, theirs)


def _called(name: str, words: Sequence[str]) -> str:
    return ("defaults" if name == OWN else name) + (" changed" if words else "")


def compare(analysis: Analysis, others: FeatureSettings, names: tuple[str, str]) -> Difference:
    """Explain what other settings do differently with a recording.

    Parameters
    ----------
    analysis : Analysis
        The recording, and the settings that are a.
    others : FeatureSettings
        Those that are b.
    names : tuple of str
        What a and b are called.

    Returns
    -------
    Difference
        As of `features.explain_difference`.

    Raises
    ------
    FeatureError
        If the others do not fit the recording.
    """
    found = explain_difference(analysis.settings, others, analysis.samples, analysis.sample_rate)
    return dataclasses.replace(found, names=names)


def describe_difference(found: Difference) -> dict[str, Any]:
    """Tell of a difference in plain values, for JSON.

    Parameters
    ----------
    found : Difference
        The difference.

    Returns
    -------
    dict
        Its fields; what is infinite is None.
    """

    def plain(gap: Any) -> dict[str, float | None]:
        return {"largest": finite(gap.largest), "relative": finite(gap.relative)}

    final = found.final._asdict() | plain(found.final)
    return dataclasses.asdict(found) | plain(found) | {"final": final}


def finite(number: float | None) -> float | None:
    """Replace what JSON has no word for.

    Parameters
    ----------
    number : float or None
        A number.

    Returns
    -------
    float or None
        None, unless it is finite.
    """
    return number if number is not None and math.isfinite(number) else None


def check_new(path: str | os.PathLike[str]) -> None:
    """Refuse to replace a file.

    Parameters
    ----------
    path : path
        Where something is to be written.

    Raises
    ------
    DataError
        If a file is there.
    """
    if os.path.lexists(path):
        raise DataError(f"{path}: is there already; name another file, or pass --overwrite")


def save_array(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Save an array as .npy, atomically.

    Parameters
    ----------
    path : path
        The file, whatever its ending; one that is there is replaced.
    array : ndarray
        Numbers.
    """
    with atomic_write(path) as part, part.open("wb") as file:
        np.save(file, array, allow_pickle=False)
