"""Features live: fed with chunks of any size, the same bits as for the whole recording at once.

Letters: n samples of a chunk, k frames, F features.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from features import dynamics, framing, logarithm
from features.audio import audio_sample_rate, check_samples, read_audio_blocks
from features.errors import FeatureError
from features.extraction import (
    BLOCK,
    Frames,
    arranged,
    beyond_full_scale,
    frame_computer,
    separated,
)
from features.plan import plan
from features.settings import FeatureSettings


class FeatureStream:
    """Turns sound into features while it comes in.

    What it returns, put together, is what the settings return for the whole recording, bit for bit. Its
    memory is some frames, however long it runs.

    Parameters
    ----------
    settings : FeatureSettings
        How sound becomes features.
    sample_rate : int
        Of the sound, in Hz.
    dtype : dtype, default float32
        In which to compute: float32 or float64.

    Attributes
    ----------
    n_features : int
        F.
    delay : int
        How many frames late a frame comes, as deltas look ahead. The first ones come with the first fit of a
        polynomial, of `delta_width` frames.

    Raises
    ------
    FeatureError
        If a setting needs the whole recording (the message names what does not), or does not fit the rate.

    Examples
    --------
    >>> import numpy as np
    >>> from features import FeatureSettings, FeatureStream
    >>> stream = FeatureStream(FeatureSettings(framing="whole-frames", top_db=None), sample_rate=8000)
    >>> chunk = np.zeros(300, np.float32)
    >>> [len(stream.push(chunk)) for _ in range(3)], len(stream.finish())
    ([2, 4, 3], 0)
    """

    def __init__(self, settings: FeatureSettings, sample_rate: int, dtype: Any = np.float32) -> None:
        if not isinstance(settings, FeatureSettings):
            raise FeatureError(f"a stream is of FeatureSettings, not {settings!r}; preset(name) has some")
        _check_streamable(settings)
        if dtype not in (np.float32, np.float64, "float32", "float64"):
            raise FeatureError(
                f"features are computed in float32 or float64, not {getattr(dtype, '__name__', dtype)}"
            )
        self.dtype = np.dtype(dtype)
        self.n_features = settings.n_features(sample_rate)
        self.delay = _Lookahead(settings).delay
        self._plan = plan(settings, sample_rate)
        self._compute = frame_computer(self._plan, self.dtype)
        self._frame_alone = self._plan.in_one_pass and not (
            settings.delta_order or settings.sliding_normalisation != "none" or settings.stack > 1
        )
        of_the_signal = settings.dither or settings.pre_emphasis_of == "signal" or settings.pad_mode == "edge"
        in_order = self._plan.hop_length <= self._plan.frame_length
        # A hop in one call, where there is nothing to do but to compute frames: for live use.
        self._feed: Callable[..., bool] | None = None
        if self._frame_alone and in_order and not of_the_signal:
            self._feed = getattr(self._compute, "feed", None)
        self._buffer = np.empty(self._plan.frame_length + 2 * self._plan.hop_length, self.dtype)
        self.reset()

    def reset(self) -> None:
        """Begin anew, with another recording."""
        settings, plan = self._plan.settings, self._plan
        self._n_samples = self._n_frames = 0
        self._rng = framing.dither(settings)
        self._last: float | None = None  # sample, scaled and with its noise
        # The buffer begins with the signal from the next frame's beginning on: so many samples are there, or
        # so many are still to come before it.
        self._there = self._skip = 0
        if settings.pad_mode == "constant":
            self._keep(np.zeros(-plan.first, self.dtype))
        self._edge = self.dtype.type(0)  # what is beyond the end
        self._pcen = logarithm.Pcen(settings, plan.hop_length / plan.sample_rate)
        self._lookahead, self._sliding = _Lookahead(settings), dynamics.Sliding(settings)
        self._unstacked: np.ndarray | None = None

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take in a chunk of sound.

        Parameters
        ----------
        samples : array (n,), floating
            The next samples, full scale 1; there may be none.

        Returns
        -------
        ndarray (k, F)
            The frames that are complete now.

        Raises
        ------
        AudioError
            If the samples are no mono sound. The stream then is as it was before.
        """
        samples = np.asarray(samples)
        if self._feed is not None and samples.dtype == self.dtype and samples.flags.c_contiguous:
            features = self._fed(samples, self._feed)
            if features is not None:
                return features
        settings = self._plan.settings
        if samples.shape == (0,):
            return self._finished(self._static(samples.astype(self.dtype)))
        samples = check_samples(samples, far_beyond_1=beyond_full_scale(settings)).astype(
            self.dtype, copy=False
        )
        noise = None
        if self._rng is not None:
            noise = framing.draw_dither(self._rng, len(samples), settings, self.dtype)
        scaled = framing.scale(samples, settings, noise)
        signal = framing.emphasise(scaled, settings, self._last)
        if settings.pad_mode == "edge":
            if self._n_samples == 0:
                self._keep(np.full(-self._plan.first, signal[0]))
            self._edge = signal[-1]
        self._last = scaled[-1]
        self._n_samples += len(samples)
        return self._finished(self._static(signal))

    def finish(self) -> np.ndarray:
        """Take note that the recording is over, and begin anew.

        Returns
        -------
        ndarray (k, F)
            The frames still to come: those that reach beyond the end, and what deltas and stacking held back.
        """
        plan = self._plan
        n_frames = plan.count_frames(self._n_samples) if self._n_samples else 0
        missing = n_frames - self._n_frames
        beyond = 0
        if missing > 0:
            wanted = self._skip + (missing - 1) * plan.hop_length + plan.frame_length
            beyond = max(0, wanted - self._there)
        rest = self._finished(self._static(np.full(beyond, self._edge)), last=True)
        self.reset()
        return rest

    def _static(self, signal: np.ndarray) -> np.ndarray:
        """Compute the frames that are complete with some more signal."""
        plan, signal = self._plan, np.concatenate([self._buffer[: self._there], signal])
        passed = min(self._skip, len(signal))
        k = self._n_complete(len(signal) - passed)
        result = np.empty((k, plan.n_computed), self.dtype)
        for t in range(0, k, BLOCK):
            self._compute(signal[passed + t * plan.hop_length :], result[t : t + BLOCK])
        self._skip += max(0, k * plan.hop_length - (len(signal) - passed)) - passed
        self._keep(signal[passed + k * plan.hop_length :])
        self._n_frames += k
        return result

    def _fed(self, samples: np.ndarray, feed: Callable[..., bool]) -> np.ndarray | None:
        """Do all that `push` has to do in one call; None, if it has more to do."""
        if samples.ndim != 1 or not 0 < len(samples) <= len(self._buffer) - self._there:
            return None
        there = self._there + len(samples)
        k = self._n_complete(there)
        result = np.empty((k, self.n_features), self.dtype)
        if not feed(samples, self._buffer, self._there, result):
            return None
        self._there = there - k * self._plan.hop_length
        self._n_samples += len(samples)
        self._n_frames += k
        return result

    def _n_complete(self, n_samples: int) -> int:
        """Count the frames within some samples."""
        return max(0, 1 + (n_samples - self._plan.frame_length) // self._plan.hop_length)

    def _keep(self, signal: np.ndarray) -> None:
        """Keep the signal from the next frame's beginning on."""
        if len(signal) > len(self._buffer):
            self._buffer = np.empty(2 * len(signal), self.dtype)
        self._buffer[: len(signal)] = signal
        self._there = len(signal)

    def _finished(self, frames: np.ndarray, last: bool = False) -> np.ndarray:
        """Do what needs more than one frame."""
        if self._frame_alone:
            return frames
        plan = self._plan
        if not plan.in_one_pass:
            bands, energy = separated(plan, frames)
            frames = arranged(plan, Frames(self._pcen(bands), energy))
        frames = self._sliding(self._lookahead(frames, last))
        count = plan.settings.stack
        if count == 1:
            return frames
        if self._unstacked is not None:
            frames = np.concatenate([self._unstacked, frames])
        whole = len(frames) if last else len(frames) // count * count
        self._unstacked = frames[whole:].copy()
        return np.ascontiguousarray(dynamics.stack_frames(frames[:whole], count))


def stream_file(
    path: str | os.PathLike[str],
    settings: FeatureSettings,
    sample_rate: int | None = None,
    block_s: float = 60.0,
) -> Iterator[np.ndarray]:
    """Compute the features of a recording that is too long to have in memory.

    Parameters
    ----------
    path : path
        A file that libsndfile reads.
    settings : FeatureSettings
        How sound becomes features: none that needs the whole recording.
    sample_rate : int, optional
        To which rate, in Hz, the sound is brought. By default the file's own.
    block_s : float, default 60
        How much sound is read at a time, in seconds.

    Yields
    ------
    ndarray (k, F), float32
        The features of the next frames.

    Raises
    ------
    FeatureError
        As of `FeatureStream` and `read_audio`.
    """
    stream = FeatureStream(settings, sample_rate or audio_sample_rate(path))
    for samples in read_audio_blocks(path, sample_rate, block_s):
        yield stream.push(samples)
    yield stream.finish()


class _Lookahead:
    """Deltas of frames of which the next are still to come.

    It holds back the frames whose deltas would change, and keeps those before them that their deltas need.
    """

    def __init__(self, settings: FeatureSettings) -> None:
        half = settings.delta_width // 2
        self.settings = settings
        self.delay = 0
        if settings.delta_order:
            self.delay = half * (settings.delta_order if settings.delta_kind == "regression" else 1)
        self.frames: np.ndarray | None = None
        self.n_done = 0  # of these

    def __call__(self, frames: np.ndarray, last: bool) -> np.ndarray:
        if self.settings.delta_order == 0:
            return frames
        if self.frames is not None:
            frames = np.concatenate([self.frames, frames])
        end = len(frames)
        if not last:  # the first fit takes in so many; a regression repeats the first frame
            fitted = self.settings.delta_kind == "regression" or end >= self.settings.delta_width
            end = max(0, end - self.delay) if fitted else 0
        done = dynamics.append_deltas(frames, self.settings)[self.n_done : end]
        passed = max(0, end - self.delay - 1)
        self.frames, self.n_done = frames[passed:].copy(), max(end, self.n_done) - passed
        return done


def _check_streamable(settings: FeatureSettings) -> None:
    """Refuse what needs the whole recording."""
    instead = None
    if settings.log == "db" and settings.top_db is not None:
        instead = f"top_db={settings.top_db:g}", "pass top_db=None"
    elif settings.clip_normalisation != "none":
        kind = settings.clip_normalisation
        instead = f"clip_normalisation={kind!r}", f"use sliding_normalisation={kind!r}"
    elif settings.framing == "mirrored":
        instead = "framing='mirrored'", "use framing='whole-frames'"
    elif settings.pad_mode == "reflect":
        instead = "pad_mode='reflect'", "use pad_mode='constant', or framing='whole-frames'"
    if instead:
        raise FeatureError(f"{instead[0]} needs the whole recording, which a stream has not; {instead[1]}")
