"""Speech in sound that is listened to: from files of any length, from a pipe, chunk by chunk."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lstm_scratch.activity import SpeechDetector, SpeechStream
from lstm_scratch.checks import check_number
from lstm_scratch.errors import SettingError
from lstm_scratch.segments import Segment, Segmentation, format_segments
from lstm_scratch.sound import AudioError, Resampler, read_audio_blocks

BLOCK_S = 10.0  # of a file that is read at a time
CHUNK_S = 0.1  # of a pipe
MAX_RATE = 768_000  # of a pipe, in Hz: what is above would take memory, and is a slip


def listen(
    detector: SpeechDetector, chunks: Iterable[np.ndarray], segmentation: Segmentation | None = None
) -> Iterator[Segment]:
    """Find the stretches of speech in sound that comes chunk by chunk.

    Parameters
    ----------
    detector : SpeechDetector
        A trained one.
    chunks : iterable of array (n,)
        Samples at its rate.
    segmentation : Segmentation, optional
        How probabilities become segments.

    Yields
    ------
    Segment
        As soon as it is certain.

    Raises
    ------
    AudioError
        If sound cannot be used: after the speech that was heard before it.
    """
    stream = SpeechStream(detector, segmentation)
    try:
        for chunk in chunks:
            yield from stream.push(chunk)
    except AudioError:  # a pipe that was cut in the midst of a sample, say: what was heard before it counts
        yield from stream.finish()
        raise
    yield from stream.finish()


def file_chunks(path: str | Path, sample_rate: int) -> Iterator[np.ndarray]:
    """Read a recording of any length.

    Parameters
    ----------
    path : path
        A file that libsndfile reads.
    sample_rate : int
        To which rate it is brought, in Hz.

    Yields
    ------
    ndarray (n,), float32
        The next samples.

    Raises
    ------
    AudioError
        If it cannot be used.
    """
    yield from read_audio_blocks(path, sample_rate, BLOCK_S)


def pcm_chunks(pipe: BinaryIO, pipe_rate: int, sample_rate: int) -> Iterator[np.ndarray]:
    """Read raw samples from a pipe, as they come: mono, 16 bits, signed, the low byte first.

    Parameters
    ----------
    pipe : binary file
        Such as ``sys.stdin.buffer``.
    pipe_rate : int
        Of what comes, in Hz.
    sample_rate : int
        To which rate it is brought, in Hz.

    Yields
    ------
    ndarray (n,), float32
        The next samples.

    Raises
    ------
    AudioError
        If nothing comes, or it ends in half a sample.
    SettingError
        If its rate is no whole number from 1 to 768,000.
    """
    check_number("the sample rate of a pipe, in Hz,", pipe_rate, whole=True, above=0)
    if pipe_rate > MAX_RATE:
        raise SettingError(f"the sample rate of a pipe is {MAX_RATE} Hz at the most, not {pipe_rate}")
    resampler, rest, n_samples = Resampler(pipe_rate, sample_rate), b"", 0
    read = getattr(pipe, "read1", pipe.read)  # what is there already, rather than all that is asked for
    while data := read(2 * max(1, round(CHUNK_S * pipe_rate))):
        data = rest + data
        whole = len(data) // 2 * 2
        data, rest, n_samples = data[:whole], data[whole:], n_samples + whole // 2
        yield from resampler(np.frombuffer(data, "<i2").astype(np.float32) / 32768)
    yield from resampler(np.zeros(0, np.float32), last=True)
    if rest:
        raise AudioError("the raw samples end in half of one; 16 bits each are wanted, mono")
    if not n_samples:
        raise AudioError("no raw samples came; look at what writes them")


def format_heard(segment: Segment, kind: str, name: str, several: bool) -> str:
    """Write down a segment as soon as it is certain: a line as of `format_segments`.

    Parameters
    ----------
    segment : Segment
        What was heard.
    kind : {"text", "csv", "audacity", "rttm"}
        The format; "csv" without the header line, which is ``format_segments([], "csv", "")``.
    name : str
        What the recording is called.
    several : bool
        Whether there are other recordings. Then "text" has the name before the times, and "audacity" has it
        for a label, where there is no name otherwise.

    Returns
    -------
    str
        A whole line.

    Raises
    ------
    SettingError
        If there is no such format.
    """
    line = format_segments([segment], kind, name).removeprefix(format_segments([], kind, name))
    if several and kind == "text":
        return f"{name}\t{line}"
    if several and kind == "audacity":
        return line.replace("speech", name)
    return line
