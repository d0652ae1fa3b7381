"""Speech in sound that is listened to: from files of any length, from a pipe, chunk by chunk."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lstm_scratch.activity import SpeechDetector, SpeechStream
from lstm_scratch.segments import Segment, Segmentation
from lstm_scratch.sound import AudioError, Resampler, read_audio_blocks

BLOCK_S = 10.0  # of a file that is read at a time
CHUNK_S = 0.1  # of a pipe


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
    """
    stream = SpeechStream(detector, segmentation)
    for chunk in chunks:
        yield from stream.push(chunk)
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
        If it ends in half a sample.
    """
    resampler, rest = Resampler(pipe_rate, sample_rate), b""
    read = getattr(pipe, "read1", pipe.read)  # what is there already, rather than all that is asked for
    while data := read(2 * max(1, round(CHUNK_S * pipe_rate))):
        data = rest + data
        whole = len(data) // 2 * 2
        data, rest = data[:whole], data[whole:]
        yield from resampler(np.frombuffer(data, "<i2").astype(np.float32) / 32768)
    if rest:
        raise AudioError("the raw samples end in half of one; 16 bits each are wanted, mono")
    yield from resampler(np.zeros(0, np.float32), last=True)
