"""AudioClassifier: recordings in, labels out; features and sequence classifier in one file on disk.

Letters: N samples, T frames, F features per frame.
"""

import copy
import dataclasses
import os
import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from lstm_scratch.batches import Distortion, Redraw
from lstm_scratch.checks import check_number
from lstm_scratch.classifier import SequenceClassifier
from lstm_scratch.errors import DataError, SettingError
from lstm_scratch.params import Params
from lstm_scratch.progress import progress_bar
from lstm_scratch.sound import (
    AudioError,
    Augmentation,
    FeatureError,
    FeatureSettings,
    audio_sample_rate,
    augmentation_to_dict,
    check_samples,
    read_audio,
    resample,
    settings_from_dict,
    settings_to_dict,
)
from lstm_scratch.threads import one_blas_thread
from lstm_scratch.training import Epoch

MAX_DEFAULT_RATE = 16_000  # speech has little above 8 kHz; whoever wants more says so
ROOM_HZ = 100.0, 500.0  # below and above a range that is warped: Kaldi's, of bands over the whole spectrum
DRAWN = 7  # warps, and tempos, of which one is drawn


class Extraction(NamedTuple):
    """Features of many recordings, and what was amiss with some of them."""

    features: Sequence[np.ndarray]  # (T, F) each, of the good ones
    kept: list[int]  # which ones these are
    bad: list[AudioError]  # why the others are left out
    silent: list[str]  # names of good ones that hold nothing but zeros
    samples: list[np.ndarray]  # (N,) each, of the good ones, if they are to be kept


@dataclass(kw_only=True, eq=False)
class AudioClassifier(SequenceClassifier):
    """LSTM classifier of recordings.

    It takes files (a path each), sample arrays (N,) at `sample_rate`, or features (T, F) that its
    `extract` returned.

    Parameters
    ----------
    features : FeatureSettings, default FeatureSettings(delta_order=2, stack=4)
        How sound becomes features.
    augmentation : Augmentation, optional
        How sound is changed in training, anew for every epoch. By default not at all.
    vtln, tempo : (float, float), optional
        Warps of the frequency axis, and factors of the speed at the same pitch, between which one is drawn
        for every clip and epoch, in training. By default none. The range that is warped
        keeps off the ends of the bands; a warp that they still have no room for is left out, with a warning.
    copies : int, default 8
        How many changed versions of a clip there are, of which each epoch takes one; they are drawn once, and
        kept in memory. 0: another one is drawn every time.
    sample_rate : int, optional
        Rate in Hz at which sound is analysed; files are resampled to it. By default the lowest rate
        of the training files, but at most 16 kHz. Needed where arrays are given.
    hidden_size, epochs, random_state and so on
        All of `SequenceClassifier`'s.

    Attributes
    ----------
    sample_rate_ : int
        The rate at which sound is analysed, in Hz.
    """

    features: FeatureSettings = FeatureSettings(delta_order=2, stack=4)  # noqa: RUF009 (it is frozen)
    augmentation: Augmentation | None = None
    vtln: tuple[float, float] | None = None
    tempo: tuple[float, float] | None = None
    copies: int = 8
    sample_rate: int | None = None

    def fit(
        self,
        X: Sequence[Any],
        y: Sequence[Hashable],
        groups: Sequence[Hashable] | None = None,
        validation_data: tuple[Sequence[Any], Sequence[Hashable]] | None = None,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_seconds: float = 10.0,
        resume: bool = False,
        on_epoch: Callable[[Epoch], None] | None = None,
    ) -> Self:
        """Train on labelled recordings.

        Parameters
        ----------
        X : sequence of path, array (N,) or array (T, F)
            Training data: files, samples at `sample_rate`, or features. Features that are fetched, such as a
            `FeatureStore`, are not kept in memory; where training changes sound, a store reads the recordings
            anew, and no `copies` are kept either: what is learned is the same, to the bit.
        y : sequence
            A label for each.
        groups : sequence, optional
            Who or what was recorded in each: the validation part then takes whole groups.
        validation_data : tuple (X, y), optional
            The validation part. By default `validation_fraction` of the training data.
        checkpoint : path, optional
            A file that is written while training goes on, as of `SequenceClassifier.fit`.
        checkpoint_seconds : float, default 10
            From one checkpoint to the next.
        resume : bool, default False
            Go on from the checkpoint, if it is there: what comes of it is the same to the bit.
        on_epoch : callable, optional
            Called with an `Epoch` after each.

        Returns
        -------
        self
            The trained classifier.

        Raises
        ------
        AudioError
            If a recording cannot be used.
        DataError
            If labels do not fit, or are of fewer than two classes.
        SettingError
            If a parameter is out of its range, or the training diverges (`DivergenceError`).
        ModelFileError
            If the checkpoint is of another training.
        OSError
            If the checkpoint cannot be written. The one before it stays.
        """
        self.check_settings()
        X = _as_list(X)
        rate = self.sample_rate
        if rate is None:
            files = [] if _fetches(X) else [item for item in X if isinstance(item, str | os.PathLike)]
            if len(files) < len(X):
                raise SettingError(
                    "sample_rate has to be given where X holds arrays: at which rate are they?"
                )
            rate = common_sample_rate(files)
        if validation_data is not None:
            validation_data = (self._extract(validation_data[0], rate).features, validation_data[1])
        extraction = self._extract(X, rate, keep_samples=self.hears)
        self._warn_of_single_steps(extraction.features, rate)
        redraw = None
        if self.hears:
            sound_of: Callable[[int], np.ndarray] | None = getattr(X, "sound", None)
            if not _fetches(X) and all(sound.ndim == 1 for sound in extraction.samples):
                sound_of = extraction.samples.__getitem__
            if sound_of is None:
                raise DataError("features cannot be augmented: give paths, samples, or a FeatureStore")
            redraw = self._redraw(sound_of, rate, keep=not _fetches(X))
        data = extraction.features, y, groups, validation_data
        fitted = copy.copy(self)._at(rate)  # what `self` learned before stays, until there is something new
        fitted._fit(*data, redraw, checkpoint, checkpoint_seconds, resume, on_epoch)
        self.__dict__.update(fitted.__dict__)
        return self

    def _at(self, sample_rate: int) -> Self:
        self.sample_rate_ = sample_rate
        return self

    def _warn_of_single_steps(self, features: Sequence[np.ndarray], sample_rate: int) -> None:
        """Tell of a stack that no clip is longer than: the network grows with it, to no end."""
        lengths = getattr(features, "lengths", None)  # which who fetches knows without fetching
        longest = max(map(len, features) if lengths is None else lengths, default=0)
        if self.features.stack > 1 and longest == 1:
            n_features = self.features.n_features(sample_rate)
            warnings.warn(
                f"stack={self.features.stack} joins every clip to a single step, of {n_features:,} features, "
                "which leaves an LSTM nothing to remember; lower it",
                stacklevel=3,
            )

    @property
    def hears(self) -> bool:
        """Whether training takes sound, which it changes, and not features alone."""
        return self.augmentation is not None or self.vtln is not None or self.tempo is not None

    def _redraw(self, sound_of: Callable[[int], np.ndarray], sample_rate: int, keep: bool) -> Redraw:
        """Make what gives the features of a changed sound, and keeps its copies or draws them again."""
        # To plan features takes longer than to compute those of a clip, so there are a few.
        tempos = [1.0] if self.tempo is None else np.linspace(*self.tempo, DRAWN).tolist()
        hop = self.features.sizes(sample_rate)[1]
        drawn = [
            warped.change(hop_ms=None, hop_length=max(1, round(hop * tempo)))
            for warped in self._warped(sample_rate)
            for tempo in tempos
        ]

        def draw(n: int, rng: np.random.Generator) -> np.ndarray:
            sound, features = sound_of(n), drawn[int(rng.integers(len(drawn)))]
            if self.augmentation is not None:
                sound = self.augmentation(sound, sample_rate, rng)
            return features(sound, sample_rate)

        versions: dict[tuple[int, int], np.ndarray] = {}

        def redraw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, None]:
            if not self.copies:
                return draw(n, rng), None
            version = n, int(rng.integers(self.copies))
            if version in versions:
                return versions[version], None
            features = draw(n, np.random.default_rng([self.random_state, *version]))
            if keep:
                versions[version] = features
            return features, None

        return redraw

    def _warped(self, sample_rate: int) -> list[FeatureSettings]:
        """List the features with each warp of the frequency axis that is drawn from."""
        settings = self.features
        if self.vtln is None:
            return [settings]
        low, high = settings.vtln_low_hz, settings.vtln_high_hz
        if low <= settings.f_min_hz:
            low = settings.f_min_hz + ROOM_HZ[0]
        if high is None:
            high = min(sample_rate / 2, settings.f_max_hz or np.inf) - ROOM_HZ[1]
        frame = np.zeros(settings.sizes(sample_rate)[0], np.float32)
        warped, left_out = [], []
        for factor in np.linspace(*self.vtln, DRAWN).tolist():
            try:
                warp = settings.vtln_warp * factor
                features = settings.change(vtln_warp=warp, vtln_low_hz=low, vtln_high_hz=high)
                features(frame, sample_rate)
            except FeatureError:
                left_out.append(f"{factor:.3g}")
            else:
                warped.append(features)
        if left_out:
            warnings.warn(
                f"the mel bands have no room for warps by {', '.join(left_out)}, which training leaves out; "
                "change the bands, or vtln",
                stacklevel=4,
            )
        return warped or [settings]

    def _distortion(self) -> Distortion:
        # Slopes and stacked frames stand beside values, of the same bands.
        n_blocks = self.features.stack * (self.features.delta_order + 1)
        return dataclasses.replace(super()._distortion(), feature_blocks=n_blocks)

    def check_settings(self) -> None:
        """Make sure that every parameter is in its range, before something long begins.

        Raises
        ------
        SettingError
            If one is not.
        """
        super().check_settings()
        if not isinstance(self.features, FeatureSettings):
            raise SettingError(f"features are FeatureSettings, not {self.features!r}")
        if self.sample_rate is not None:
            check_number("sample_rate", self.sample_rate, whole=True, above=0)
        if not isinstance(self.augmentation, Augmentation | None):
            raise SettingError(f"augmentation is an Augmentation, not {self.augmentation!r}")
        check_number("copies", self.copies, whole=True, at_least=0)
        for name in ("vtln", "tempo"):
            if (factors := getattr(self, name)) is not None:
                _check_factors(name, factors)

    def predict_proba(self, X: Sequence[Any]) -> Any:
        """Compute the probability of every class.

        Parameters
        ----------
        X : sequence of path, array (N,) or array (T, F)
            Files, samples at `sample_rate_`, or features.

        Returns
        -------
        ndarray (N, K), float32, or list of ndarray (T, K) where every step has a label
            Rows sum to 1; columns are in the order of `classes_`.

        Raises
        ------
        AudioError
            If a recording cannot be used.
        """
        self._check_fitted()
        return super().predict_proba(self.extract(X))

    def trace(self, sequence: Any, label: Hashable = None) -> dict[str, np.ndarray]:
        """Record every step of the LSTM, and the gradient of a label's cross-entropy with respect to it.

        Parameters
        ----------
        sequence : path, array (N,) or array (T, F)
            One recording: a file, samples at `sample_rate_`, or features.
        label : optional
            The label whose loss is meant. By default the one that is predicted.

        Returns
        -------
        dict of str to ndarray (T, hidden_size)
            As of `SequenceClassifier.trace`.

        Raises
        ------
        AudioError
            If the recording cannot be used.
        DataError
            If the label is unknown.
        """
        self._check_fitted()
        return super().trace(self.extract([sequence])[0], label)

    def extract(self, X: Sequence[Any]) -> Sequence[np.ndarray]:
        """Turn recordings into features, once for many calls of `fit` and `predict`.

        Parameters
        ----------
        X : sequence of path, array (N,) or array (T, F)
            Files, samples at the classifier's sample rate, or features, which are left as they are.

        Returns
        -------
        sequence of ndarray (T, F)
            Features: a list, or what was given, if it fetches them.

        Raises
        ------
        AudioError
            If a recording cannot be used.
        """
        rate = getattr(self, "sample_rate_", self.sample_rate)
        if rate is None:
            raise SettingError("sample_rate is not known yet: give it to the constructor, or call fit first")
        return self._extract(X, rate).features

    def _extract(self, X: Sequence[Any], sample_rate: int, keep_samples: bool = False) -> Extraction:
        if _fetches(X):
            return Extraction(X, [], [], [], [])
        extraction = extract_features(
            _as_list(X), self.features, sample_rate, self.verbose, keep_samples=keep_samples
        )
        if extraction.bad:
            raise extraction.bad[0]
        for name in extraction.silent:
            warnings.warn(f"{name}: silent, all samples are zero", stacklevel=3)
        return extraction

    def describe(self) -> dict[str, Any]:
        """Put everything but the arrays into plain values.

        Returns
        -------
        dict
            What JSON can hold: settings, features, sample rate, classes, history and card.
        """
        description = super().describe()
        settings = description["settings"]
        settings["features"] = settings_to_dict(self.features)
        settings["augmentation"] = (
            None if self.augmentation is None else augmentation_to_dict(self.augmentation)
        )
        for name in ("vtln", "tempo"):
            settings[name] = None if settings[name] is None else [float(factor) for factor in settings[name]]
        return description | {"sample_rate": self.sample_rate_}

    @classmethod
    def _restore(cls, arrays: Params, description: dict[str, Any]) -> Self:
        settings = _tuples(description["settings"])
        settings["features"] = settings_from_dict(settings["features"])
        if settings["augmentation"] is not None:
            settings["augmentation"] = Augmentation(**_tuples(settings["augmentation"]))
        classifier = super()._restore(arrays, description | {"settings": settings})
        classifier.sample_rate_ = description["sample_rate"]
        return classifier


@one_blas_thread()
def extract_features(
    recordings: Sequence[Any],
    features: FeatureSettings,
    sample_rate: int,
    verbose: bool = False,
    heard: Callable[[str, np.ndarray, int], None] = lambda name, samples, native_rate: None,
    keep_samples: bool = False,
) -> Extraction:
    """Turn recordings into features, and note those that cannot be used.

    Parameters
    ----------
    recordings : sequence of path, array (N,) or array (T, F)
        Files, samples at `sample_rate`, or features, which are left as they are.
    features : FeatureSettings
        How sound becomes features.
    sample_rate : int
        Rate in Hz at which sound is analysed.
    verbose : bool, default False
        Show progress on stderr.
    heard : callable, optional
        Takes the name, the samples (N,) and the rate in Hz of every good file, as it was recorded.
    keep_samples : bool, default False
        Give the samples of the good ones, too: for who is to change them.

    Returns
    -------
    Extraction
        Features of the good ones, reasons against the bad ones.
    """
    arrays: list[np.ndarray] = []
    result = Extraction(arrays, [], [], [], [])
    with progress_bar(len(recordings), "features", "clips", verbose) as bar:
        for n, recording in enumerate(recordings):
            try:
                name, samples = samples_of(recording, n, features, sample_rate, heard)
            except AudioError as error:
                result.bad.append(error)
            else:
                found = samples if samples.ndim == 2 else features(samples, sample_rate)
                arrays.append(found)
                if keep_samples:
                    result.samples.append(samples)
                if samples.ndim == 1 and not samples.any():
                    result.silent.append(name)
                result.kept.append(n)
            bar.update()
    return result


def common_sample_rate(files: Sequence[str | os.PathLike[str]]) -> int:
    """Choose a rate that every file has: the lowest among them, but at most 16 kHz.

    Parameters
    ----------
    files : sequence of path
        Recordings; those that cannot be read are passed over.

    Returns
    -------
    int
        A rate in Hz.

    Raises
    ------
    AudioError
        If no file can be read.
    """
    rates, error = [], AudioError("there are no recordings")
    for file in files:
        try:
            rates.append(audio_sample_rate(file))
        except AudioError as unreadable:
            error = unreadable
    if not rates:
        raise error
    return min(MAX_DEFAULT_RATE, *rates)


def _check_factors(name: str, factors: Any) -> None:
    """Refuse what is no pair of factors in order."""
    pair = list(factors) if isinstance(factors, tuple | list | np.ndarray) else []
    if not (
        len(pair) == 2 and all(isinstance(factor, Real) for factor in pair) and 0.5 <= pair[0] <= pair[1] <= 2
    ):
        raise SettingError(f"{name} is a pair of factors from 0.5 to 2, the lower first, not {factors!r}")


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Turn lists into what they were before JSON."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _fetches(X: Sequence[Any]) -> bool:
    """Tell features that are fetched one by one, as `Fetched` and stores do: they know lengths without it."""
    return hasattr(X, "lengths")


def _as_list(X: Sequence[Any]) -> Sequence[Any]:
    if isinstance(X, str | os.PathLike):
        raise DataError(f"{X}: a list is wanted here, also for one recording: [{str(X)!r}]")
    return X if _fetches(X) else list(X)


def samples_of(
    recording: Any,
    n: int,
    features: FeatureSettings,
    sample_rate: int,
    heard: Callable[[str, np.ndarray, int], None] = lambda name, samples, native_rate: None,
) -> tuple[str, np.ndarray]:
    """Give the samples of one recording.

    Parameters
    ----------
    recording : path, array (N,) or array (T, F)
        A file, samples at `sample_rate`, or features, which are left as they are.
    n : int
        Its number, by which an array is named.
    features : FeatureSettings
        What it is for.
    sample_rate : int
        Rate in Hz at which sound is analysed.
    heard : callable, optional
        As of `extract_features`.

    Returns
    -------
    name : str
        Of the recording.
    samples : ndarray (N,), float32
        Mono sound at `sample_rate`; or the features.

    Raises
    ------
    AudioError
        If it cannot be used.
    """
    if not isinstance(recording, str | os.PathLike):
        try:
            array = np.asarray(recording)
        except ValueError:
            raise DataError(f"recording {n} is no array of samples, nor a path") from None
        is_features = array.ndim == 2 and array.shape[1] == features.n_features(sample_rate)
        if not is_features:
            array = check_samples(array, f"array {n}").astype(np.float32, copy=False)
        return f"array {n}", array
    samples, native = read_audio(recording)
    highest = features.f_max_hz or sample_rate / 2
    if native < 2 * highest:
        raise AudioError(
            f"{Path(recording)}: recorded at {native} Hz, so it holds nothing above {native / 2:g} Hz, but "
            f"the features reach {highest:g} Hz; use a recording at {2 * highest:g} Hz or more, or train "
            f"with a sample rate of {native} Hz"
        )
    heard(str(recording), samples, native)
    return str(recording), resample(samples, native, sample_rate)
