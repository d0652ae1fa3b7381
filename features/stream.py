"""Features live: fed with chunks of any size, the same bits as for the whole recording at once.

Letters: n samples of a chunk, k frames, F features.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

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
from features.plan import Plan, plan
from features.settings import FeatureSettings, settings_to_dict

State = dict[str, np.ndarray]


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

    def state(self) -> State:
        """Take a snapshot of all that the sound so far has left behind.

        Returns
        -------
        dict of str to ndarray
            Copies, by name: ``settings`` (n,), a text in bytes; ``n_samples`` (1,) that have come in; and
            what the stages remember, as far as they do: ``signal``, ``last``, ``edge``, ``dither``, ``pcen``,
            ``deltas``, ``sliding``, ``sliding_before``, ``stacking``. Whoever keeps arrays can keep it. It
            depends on the sound alone, not on its chunks.
        """
        rng, sliding = self._rng, self._sliding
        there = {
            "n_samples": self._n_samples,
            "signal": self._buffer[: self._there],
            "last": self._last,
            "edge": self._edge,
            "dither": None if rng is None else divmod(_pcg64(rng)["state"]["state"], 2**64),
            "pcen": self._pcen.smooth,
            "deltas": self._lookahead.frames,
            "sliding": None if sliding.segment is None else sliding.segment[: sliding.n_there],
            "sliding_before": sliding.from_behind,
            "stacking": self._unstacked,
        }
        layout = self._layout(_Place.after(self._n_samples, self._plan))
        arrays = {name: np.array(there[name], of).reshape(shape) for name, (of, shape) in layout.items()}
        return arrays | {"settings": np.array(bytearray(self._described().encode()))}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on where a snapshot was taken, bit for bit.

        Parameters
        ----------
        state : mapping of str to ndarray
            What `state` returned, of a stream of equal settings, sample rate and dtype. It is left as it is.

        Raises
        ------
        FeatureError
            If it is of other settings, or damaged. The stream then is as it was before.
        """
        plan = self._plan
        place = self._checked_place(state)
        self.reset()
        self._n_samples, self._n_frames, self._skip = place.n_samples, place.n_frames, place.skip
        self._keep(state["signal"])
        if "last" in state:
            self._last = state["last"][0]
        if "edge" in state:
            self._edge = state["edge"][0]
        if self._rng is not None:
            high, low = state["dither"].tolist()
            generator = _pcg64(self._rng)
            generator["state"]["state"] = high * 2**64 + low
            self._rng.bit_generator.state = generator
        kept = {name: array.copy() for name, array in state.items()}
        self._pcen.smooth = kept.get("pcen")
        self._lookahead.frames, self._lookahead.n_done = kept.get("deltas"), place.n_passed_on - place.oldest
        self._unstacked = kept.get("stacking")
        self._sliding.from_behind = kept.get("sliding_before")
        if plan.settings.sliding_normalisation != "none" and place.n_passed_on:
            segment = np.empty((plan.settings.sliding_frames, 2, self._n_columns))
            self._sliding.n_there = place.n_passed_on % len(segment)
            segment[: self._sliding.n_there] = state.get("sliding", segment[:0])
            self._sliding.segment = segment

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

    def _described(self) -> str:
        """Tell what has to be equal for a state to fit."""
        of = settings_to_dict(self._plan.settings)
        return json.dumps(
            of | {"sample_rate": self._plan.sample_rate, "dtype": self.dtype.name}, default=float
        )

    @property
    def _n_columns(self) -> int:
        """Of a frame, with its deltas."""
        return self._plan.n_static * (1 + self._plan.settings.delta_order)

    def _layout(self, place: "_Place") -> dict[str, tuple[Any, tuple[int, ...]]]:
        """Tell of which dtype and shape each array of a state is."""
        plan, settings, columns = self._plan, self._plan.settings, self._n_columns
        layout: dict[str, tuple[Any, tuple[int, ...]]] = {
            "n_samples": (np.int64, (1,)),
            "signal": (self.dtype, (place.there,)),
        }
        if place.n_samples and settings.pre_emphasis_of == "signal" and settings.pre_emphasis:
            layout["last"] = self.dtype, (1,)
        if place.n_samples and settings.pad_mode == "edge":
            layout["edge"] = self.dtype, (1,)
        if settings.dither:
            layout["dither"] = np.uint64, (2,)
        if place.n_frames and settings.log == "pcen":
            layout["pcen"] = np.float64, (plan.n_bands,)
        if place.n_frames and settings.delta_order:
            layout["deltas"] = self.dtype, (place.n_frames - place.oldest, plan.n_static)
        if settings.sliding_normalisation != "none":
            segments, n_there = divmod(place.n_passed_on, settings.sliding_frames)
            if n_there:
                layout["sliding"] = np.float64, (n_there, 2, columns)
            if segments:
                layout["sliding_before"] = np.float64, (settings.sliding_frames + 1, 2, columns)
        if place.n_passed_on % settings.stack:
            layout["stacking"] = self.dtype, (place.n_passed_on % settings.stack, columns)
        return layout

    def _checked_place(self, state: Mapping[str, np.ndarray]) -> "_Place":
        """Refuse a state that is not of a stream like this one."""
        ours = json.loads(self._described())
        try:
            theirs = json.loads(bytes(state["settings"]))
            differing = [(name, theirs[name], ours[name]) for name in ours if theirs[name] != ours[name]]
            (n_samples,) = state["n_samples"].tolist()
            place = _Place.after(int(n_samples), self._plan)
            found = {name: (array.dtype, array.shape) for name, array in state.items() if name != "settings"}
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise FeatureError(
                f"this is no state of a FeatureStream ({error!r}); restore what its state() returned"
            ) from None
        for name, other, own in differing:
            raise FeatureError(
                f"the state is of a stream with {name}={other!r}, and this one has {name}={own!r}; "
                "restore it into one of the same settings"
            )
        wanted = self._layout(place) if n_samples >= 0 else {}
        for name in sorted(wanted.keys() | found.keys()):
            if name not in found or name not in wanted or found[name] != wanted[name]:
                here, needed = (
                    f"{np.dtype(arrays[name][0])} {arrays[name][1]}" if name in arrays else "nothing"
                    for arrays in (found, wanted)
                )
                raise FeatureError(
                    f"the state is damaged: after {n_samples} samples {name!r} is {here}, not {needed}; "
                    "take it anew"
                )
        return place

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


class _Place(NamedTuple):
    """How far a stream has come, which the number of samples alone decides."""

    n_samples: int
    n_frames: int  # computed, before deltas
    there: int  # samples kept
    skip: int  # samples still to be passed over
    n_passed_on: int  # frames, with their deltas
    oldest: int  # frame that deltas keep

    @classmethod
    def after(cls, n_samples: int, plan: Plan) -> "_Place":
        settings, frame, hop = plan.settings, plan.frame_length, plan.hop_length
        padded = settings.pad_mode == "constant" or n_samples > 0
        length = n_samples + (-plan.first if padded else 0)
        n_frames = max(0, 1 + (length - frame) // hop)
        rest = length - n_frames * hop
        lookahead = _Lookahead(settings)
        n_passed_on = lookahead.n_passed_on(n_frames)
        oldest = max(0, n_passed_on - lookahead.delay - 1)
        return cls(n_samples, n_frames, max(0, rest), max(0, -rest), n_passed_on, oldest)


def _pcg64(rng: np.random.Generator) -> dict[str, Any]:
    """Numpy's description of the generator: of its 128 bits, only those named "state" ever change."""
    return dict(rng.bit_generator.state)


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

    def n_passed_on(self, n_frames: int) -> int:
        """Of so many frames, count those whose deltas are final."""
        # The first fit takes in so many; a regression repeats the first frame.
        settings = self.settings
        fitted = settings.delta_kind == "regression" or n_frames >= settings.delta_width
        return max(0, n_frames - self.delay) if fitted or settings.delta_order == 0 else 0

    def __call__(self, frames: np.ndarray, last: bool) -> np.ndarray:
        if self.settings.delta_order == 0:
            return frames
        if self.frames is not None:
            frames = np.concatenate([self.frames, frames])
        end = len(frames) if last else self.n_passed_on(len(frames))
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
