"""From the probability of speech in every frame to stretches of speech: a whole recording's, or live.

Frame t is the time from ``t * hop_s`` to ``(t + 1) * hop_s``. Speech begins with the frame that reaches the
onset and lasts up to the first one that is below the offset. Then short pauses are filled, what is short even
so is dropped, and what is left is padded: in this order. Where the padding of two segments would overlap,
they meet in the middle of the pause.

Letter: k frames.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import NamedTuple

import numpy as np

from lstm_scratch.checks import check_number
from lstm_scratch.errors import DataError, SettingError


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """How probabilities become segments. Times are taken up to whole frames, but for the padding.

    Parameters
    ----------
    onset : float, default 0.5
        Speech begins where the probability reaches this, from 0 to 1.
    offset : float, default 0.35
        It ends where the probability is below this; from 0 to `onset`.
    min_speech_s : float, default 0.25
        What is shorter than this, in seconds, is dropped.
    min_silence_s : float, default 0.2
        Pauses shorter than this, in seconds, are speech.
    padding_s : float, default 0.05
        By how much a segment is made longer at each end, in seconds.

    Raises
    ------
    SettingError
        If a setting is out of its range.
    """

    onset: float = 0.5
    offset: float = 0.35
    min_speech_s: float = 0.25
    min_silence_s: float = 0.2
    padding_s: float = 0.05

    def __post_init__(self) -> None:
        for name in ("onset", "offset"):
            value = getattr(self, name)
            if not (isinstance(value, Real) and 0 <= float(value) <= 1):
                raise SettingError(f"{name} is a number from 0 to 1, not {value!r}")
        if self.offset > self.onset:
            raise SettingError(f"offset is at most the onset, {self.onset}, not {self.offset}; lower it")
        for name in ("min_speech_s", "min_silence_s", "padding_s"):
            check_number(name, getattr(self, name), at_least=0)


class Segment(NamedTuple):
    """A stretch of speech."""

    start_s: float
    end_s: float
    probability: float  # the mean over its frames, filled pauses among them, padding not


@dataclass
class _Run:
    """Frames of speech, with the pauses that are filled."""

    start: int
    end: int  # the frame after the last one
    total: float  # sum of the probabilities up to the end


class Segmenter:
    """Segments live: probabilities in, segments out as soon as nothing can change them any more.

    For any chunks it gives what `find_segments` gives of the whole. What it keeps is a few numbers, however
    long the recording is.

    Parameters
    ----------
    hop_s : float
        Seconds from one frame to the next.
    segmentation : Segmentation, optional
        The settings. By default `Segmentation()`.

    Raises
    ------
    SettingError
        If the hop is no positive number.
    """

    def __init__(self, hop_s: float, segmentation: Segmentation | None = None) -> None:
        check_number("hop_s", hop_s, above=0)
        self.hop_s, self.segmentation = float(hop_s), segmentation or Segmentation()
        self._min_speech = self._frames(self.segmentation.min_speech_s)
        self._min_silence = self._frames(self.segmentation.min_silence_s)
        # After so many frames, whatever comes is too far away to touch what is padded.
        self._reach = self._frames(2 * self.segmentation.padding_s) + 1
        self.reset()

    def _frames(self, seconds: float) -> int:
        # 0.3 / 0.1 is a little below 3, 0.6 / 0.2 above; and no recording has 1e18 frames.
        return math.ceil(min(seconds / self.hop_s, 1e18) - 1e-6)

    def reset(self) -> None:
        """Begin anew, with another recording."""
        self._n_frames, self._speaking = 0, False
        self._run: _Run | None = None  # goes on, or may go on
        self._total = 0.0  # sum of the probabilities since its start
        self._ready: _Run | None = None  # long enough; only its padding may depend on what follows
        self._before: int | None = None  # where the one before that ended

    def push(self, probabilities: np.ndarray) -> list[Segment]:
        """Take in the next frames.

        Parameters
        ----------
        probabilities : array (k,), floating
            Of speech; there may be none.

        Returns
        -------
        list of Segment
            Those that are final now, in their order.

        Raises
        ------
        DataError
            If these are no probabilities. The segmenter then is as it was before.
        """
        probabilities = np.asarray(probabilities)
        if probabilities.ndim != 1 or not np.issubdtype(probabilities.dtype, np.floating):
            raise DataError(
                f"probabilities: floats of shape (k,) are wanted, not {probabilities.dtype} "
                f"{probabilities.shape}; give one per frame"
            )
        wrong = np.flatnonzero(~((probabilities >= 0) & (probabilities <= 1)))
        if len(wrong):
            raise DataError(
                f"probabilities: frame {self._n_frames + wrong[0]} has {probabilities[wrong[0]]}, which is "
                "not from 0 to 1"
            )
        return [segment for value in probabilities.tolist() for segment in self._step(value)]

    def finish(self, duration_s: float | None = None) -> list[Segment]:
        """Take note that the recording is over, and begin anew.

        Parameters
        ----------
        duration_s : float, optional
            Length of the recording, in seconds: no segment ends later. By default that of its frames.

        Returns
        -------
        list of Segment
            Those that were still to come.

        Raises
        ------
        SettingError
            If the recording is so short that its last frame would begin after its end. The segmenter then
            is as it was before.
        """
        whole = self._n_frames * self.hop_s
        duration = whole if duration_s is None else duration_s
        check_number("duration_s", duration, at_least=0)
        if duration < whole - self.hop_s * (1 + 1e-6):
            raise SettingError(
                f"duration_s is {duration:g}, but {self._n_frames} frames of {self.hop_s:g} s reach to "
                f"{whole:g}; give the recording's length in seconds"
            )
        self._close()
        rest = [] if self._ready is None else [self._emit(self._ready, duration=duration)]
        self.reset()
        return rest

    def _step(self, probability: float) -> Iterator[Segment]:
        """Take in one frame."""
        self._n_frames += 1
        settings, n_frames = self.segmentation, self._n_frames
        self._speaking = probability >= (settings.offset if self._speaking else settings.onset)
        if self._speaking and self._run is None:
            self._run, self._total = _Run(n_frames - 1, n_frames, 0.0), 0.0
        self._total += probability
        if self._run is not None and self._speaking:
            self._run.end, self._run.total = n_frames, self._total
            if self._ready is not None and n_frames - self._run.start >= self._min_speech:
                yield self._emit(self._ready, after=self._run.start)
        elif self._run is not None and n_frames - self._run.end >= self._min_silence:
            self._close()
        if self._ready is not None and self._run is None and n_frames - self._ready.end >= self._reach:
            yield self._emit(self._ready)

    def _close(self) -> None:
        """End the run that goes on: it is dropped; or ready, and then no other has been since it was long."""
        if self._run is not None and self._run.end - self._run.start >= self._min_speech:
            self._ready = self._run
        self._run = None

    def _emit(self, run: _Run, after: int | None = None, duration: float = math.inf) -> Segment:
        """Pad the run that is ready, up to the middle of the pauses before it and `after` it."""
        padding, hop = self.segmentation.padding_s, self.hop_s
        lowest = 0.0 if self._before is None else (self._before + run.start) * hop / 2
        highest = duration if after is None else (run.end + after) * hop / 2
        self._before, self._ready = run.end, None
        return Segment(
            max(run.start * hop - padding, lowest),
            min(run.end * hop + padding, highest),
            min(run.total / (run.end - run.start), 1.0),  # rounding
        )


def find_segments(
    probabilities: np.ndarray,
    hop_s: float,
    segmentation: Segmentation | None = None,
    duration_s: float | None = None,
) -> list[Segment]:
    """Find the speech in a whole recording.

    Parameters
    ----------
    probabilities : array (k,), floating
        Of speech in each frame.
    hop_s : float
        Seconds from one frame to the next.
    segmentation : Segmentation, optional
        The settings. By default `Segmentation()`.
    duration_s : float, optional
        Length of the recording, in seconds. By default that of its frames.

    Returns
    -------
    list of Segment
        In their order, within the recording; one ends before the next begins, or just there.

    Raises
    ------
    SettingError
        If the hop is no positive number, or the recording is shorter than its frames.
    DataError
        If these are no probabilities.
    """
    segmenter = Segmenter(hop_s, segmentation)
    found = segmenter.push(probabilities)
    return found + segmenter.finish(duration_s)


def _text(segments: Sequence[Segment], name: str) -> str:
    return "".join(f"{s.start_s:.3f}\t{s.end_s:.3f}\t{s.probability:.3f}\n" for s in segments)


def _json(segments: Sequence[Segment], name: str) -> str:
    found = [{field: round(value, 3) for field, value in s._asdict().items()} for s in segments]
    return json.dumps({"file": name, "segments": found}, ensure_ascii=False) + "\n"


def _csv(segments: Sequence[Segment], name: str) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file", *Segment._fields])
    writer.writerows([name, *(f"{value:.3f}" for value in s)] for s in segments)
    return table.getvalue()


def _audacity(segments: Sequence[Segment], name: str) -> str:
    return "".join(f"{s.start_s:.3f}\t{s.end_s:.3f}\tspeech\n" for s in segments)


def _rttm(segments: Sequence[Segment], name: str) -> str:
    name = "_".join(name.split()) or "recording"  # fields end at white space
    return "".join(
        # The duration is that of the rounded times: no segment reaches into the next.
        f"SPEAKER {name} 1 {s.start_s:.3f} {round(s.end_s, 3) - round(s.start_s, 3):.3f} <NA> <NA> speech "
        f"{s.probability:.3f} <NA>\n"
        for s in segments
    )


_WRITERS: dict[str, Callable[[Sequence[Segment], str], str]] = {
    "text": _text,
    "json": _json,
    "csv": _csv,
    "audacity": _audacity,
    "rttm": _rttm,
}
FORMATS = tuple(_WRITERS)


def format_segments(segments: Sequence[Segment], kind: str, name: str) -> str:
    """Write segments down, in seconds with three decimals.

    Parameters
    ----------
    segments : sequence of Segment
        Of one recording.
    kind : {"text", "json", "csv", "audacity", "rttm"}
        "text" has a line for each, start, end and probability between tabs. "json" is one line with the name
        and a list. "csv" has a header line and the name in every line, in quotes where it needs them.
        "audacity" is a label track that Audacity imports. "rttm" is what tools for diarisation read; white
        space in the name becomes ``_`` there, as fields end at it.
    name : str
        What the recording is called.

    Returns
    -------
    str
        Whole lines; for "text", "audacity" and "rttm" none where there is no speech.

    Raises
    ------
    SettingError
        If there is no such format.

    Notes
    -----
    RTTM: "The 2009 (RT-09) Rich Transcription Meeting Recognition Evaluation Plan", NIST, appendix A. Its
    fields are type, file, channel, onset, duration, words, subtype, speaker, confidence and lookahead.
    """
    if kind not in _WRITERS:
        raise SettingError(f"format is one of {', '.join(FORMATS)}, not {kind!r}")
    return _WRITERS[kind](segments, name)
