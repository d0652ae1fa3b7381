"""Speech in sound that is listened to: from files of any length, from a pipe, chunk by chunk."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lstm_scratch.activity import SpeechDetector
from lstm_scratch.segments import Segment, Segmentation, Segmenter
from lstm_scratch.sound import AudioError, Resampler, read_audio_blocks
from lstm_scratch.stream import Stream

BLOCK_S = 10.0  # of a file that is read at a time
CHUNK_S = 0.1  # of a pipe


class SpeechStream:
    """A detector that listens: sound in, segments out as soon as they are certain.

    Put together, its segments are those of `SpeechDetector.detect`.

    Parameters
    ----------
    detector : SpeechDetector
        A trained one.
    segmentation : Segmentation, optional
        How probabilities become segments.
    """

    def __init__(self, detector: SpeechDetector, segmentation: Segmentation | None = None) -> None:
        self._stream, self._look_ahead = Stream(detector), detector.look_ahead
        self._sample_rate, self._ahead = self._stream.sample_rate, detector.n_ahead
        self._segmenter = Segmenter(detector.hop_s, segmentation)
        self._n_samples, self._early = 0, self._look_ahead

    def probabilities(self, samples: np.ndarray) -> np.ndarray:
        """Take in a chunk of sound.

        Parameters
        ----------
        samples : array (n,), floating
            The next samples at the detector's rate, full scale 1; there may be none.

        Returns
        -------
        ndarray (k,), float32
            The probability of speech in the next steps, `SpeechDetector.latency_s` behind the sound.

        Raises
        ------
        AudioError
            If the samples are no mono sound.
        """
        found = self._stream.push(samples)[:, 1]
        self._n_samples += len(samples)
        early, self._early = min(self._early, len(found)), max(0, self._early - len(found))
        return found[early:]

    def last_probabilities(self) -> np.ndarray:
        """Take note that the sound is over.

        Returns
        -------
        ndarray (k,), float32
            The probability of speech in the steps that were still to come.
        """
        n = self._n_samples
        rest = [self.probabilities(np.zeros(self._ahead, np.float32)), self._stream.finish()[:, 1]]
        rest[1] = rest[1][min(self._early, len(rest[1])) :]
        self._n_samples, self._early = n, self._look_ahead
        return np.concatenate(rest)

    def push(self, samples: np.ndarray) -> list[Segment]:
        """Take in a chunk of sound.

        Parameters
        ----------
        samples : array (n,), floating
            As of `probabilities`.

        Returns
        -------
        list of Segment
            Those that are certain now.

        Raises
        ------
        AudioError
            If the samples are no mono sound.
        """
        return self._segmenter.push(self.probabilities(samples))

    def finish(self) -> list[Segment]:
        """Take note that the sound is over, and begin anew.

        Returns
        -------
        list of Segment
            The rest.
        """
        segments = self._segmenter.push(self.last_probabilities())
        segments += self._segmenter.finish(self._n_samples / self._sample_rate)
        self._n_samples = 0
        return segments


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
