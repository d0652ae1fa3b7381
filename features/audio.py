"""Sound in: a file of any kind libsndfile reads, to mono float32 samples at a wanted rate.

Letters: N samples, C channels.
"""

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from features.errors import AudioError
from simd.errors import warn

#: File name endings that libsndfile reads and that hold recordings.
AUDIO_SUFFIXES = frozenset(
    [
        ".aif",
        ".aifc",
        ".aiff",
        ".au",
        ".caf",
        ".flac",
        ".mp3",
        ".oga",
        ".ogg",
        ".opus",
        ".rf64",
        ".snd",
        ".w64",
        ".wav",
    ]
)

STOPBAND_DB = 81.0  # what resampling leaves of a tone that does not fit the new rate
LOUDEST = 2.0**32  # beyond 32-bit integers taken for floats; the power of more overflows
NEGLIGIBLE_BYTES = 1024  # some programs count their header as sound; a cut takes more than that
FAR_BEYOND_1 = 32.0  # 30 dB above full scale
CHECK_BLOCK = 2**13  # samples: few enough that BLAS keeps to one thread
PASSBAND = 0.92  # of the lower rate's Nyquist frequency, kept flat


def read_audio(path: str | os.PathLike[str], sample_rate: int | None = None) -> tuple[np.ndarray, int]:
    """Read a recording as mono samples.

    Channels are averaged; integer formats are scaled to [-1, 1).

    Parameters
    ----------
    path : path
        A file that libsndfile reads: WAV, FLAC, OGG (Vorbis, Opus), MP3, AIFF and others.
    sample_rate : int, optional
        The rate wanted, in Hz. By default the file's own.

    Returns
    -------
    samples : ndarray (N,), float32
        The recording.
    sample_rate : int
        Its rate in Hz.

    Raises
    ------
    AudioError
        If the file is missing, empty, truncated, no audio, or holds NaN or infinite samples.
    """
    _check_rate(sample_rate)
    with _opened(path) as file:
        native_rate, channels = file.samplerate, file.read(dtype="float32", always_2d=True)
        _check_whole(path, file, len(channels))
    samples = check_samples(_mono(channels), name=str(path))
    if sample_rate is not None:
        samples = resample(samples, native_rate, sample_rate)
    return samples, sample_rate or native_rate


def read_audio_blocks(
    path: str | os.PathLike[str], sample_rate: int | None = None, block_s: float = 60.0
) -> Iterator[np.ndarray]:
    """Read a recording as mono samples, a block at a time: for what is too long to have in memory.

    Put together, the blocks are what `read_audio` returns, bit for bit.

    Parameters
    ----------
    path : path
        A file that libsndfile reads.
    sample_rate : int, optional
        The rate wanted, in Hz. By default the file's own.
    block_s : float, default 60
        Length of a block in seconds. The last is shorter.

    Yields
    ------
    ndarray (n,), float32
        The next samples.

    Raises
    ------
    AudioError
        As of `read_audio`, as soon as it shows.
    """
    if not 0 < block_s < math.inf:
        raise AudioError(f"a block is a positive number of seconds, not {block_s!r}")
    _check_rate(sample_rate)
    with _opened(path) as file:
        resampler = Resampler(file.samplerate, sample_rate or file.samplerate)
        n = 0
        far_beyond_1: Literal["warn", "accept"] = "warn"
        for channels in file.blocks(
            max(1, round(block_s * file.samplerate)), dtype="float32", always_2d=True
        ):
            samples, name = _mono(channels), f"{path}, from sample {n} on" if n else str(path)
            samples = check_samples(samples, name, far_beyond_1)
            if not _loudest(samples) < FAR_BEYOND_1:
                far_beyond_1 = "accept"  # it has been said
            n += len(channels)
            yield from resampler(samples)
        _check_whole(path, file, n)
        yield from resampler(np.zeros(0, np.float32), last=True)


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[soundfile.SoundFile]:
    """Open a recording, and turn what may go wrong into one line."""
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"{path}: {'is a directory' if path.is_dir() else 'no such file'}")
    if path.stat().st_size == 0:
        raise AudioError(f"{path}: the file is empty (0 bytes); record or copy it again")
    try:
        file = soundfile.SoundFile(os.fsencode(path))
    except TypeError:  # soundfile takes any .raw for headerless
        raise AudioError(
            f"{path}: not a readable recording (no header tells its sample rate); convert or remove it"
        ) from None
    except soundfile.LibsndfileError as error:
        raise _unreadable(path, error) from None
    with file:
        try:
            yield file
        except soundfile.LibsndfileError as error:
            raise _unreadable(path, error) from None


def _unreadable(path: Path, error: soundfile.LibsndfileError) -> AudioError:
    """Put libsndfile's reason into one line."""
    reason = error.error_string.rstrip(".")
    return AudioError(f"{path}: not a readable recording ({reason}); convert or remove it")


def _check_rate(sample_rate: int | None) -> None:
    """Refuse what is no rate to resample to."""
    whole = isinstance(sample_rate, Integral) and not isinstance(sample_rate, bool)
    if sample_rate is not None and not (whole and sample_rate > 0):
        raise AudioError(f"a sample rate is a positive whole number of Hz, not {sample_rate!r}")


def _check_whole(path: str | os.PathLike[str], file: soundfile.SoundFile, n_read: int) -> None:
    """Refuse a file that ends before its header says."""
    if n_read < file.frames or _cut_short(Path(path), file):
        raise AudioError(f"{path}: truncated, its header promises more sound than is there; copy it again")
    if n_read == 0:
        raise AudioError(f"{path}: holds no samples; record it again or remove it")


def _mono(channels: np.ndarray) -> np.ndarray:
    """Average the channels."""
    if channels.shape[1] == 1:
        return channels[:, 0]
    with np.errstate(invalid="ignore"):  # opposed infinities
        return np.asarray(channels.mean(axis=1, dtype=np.float32))


def audio_sample_rate(path: str | os.PathLike[str]) -> int:
    """Look up a recording's own sample rate without reading its samples.

    Parameters
    ----------
    path : path
        A file that libsndfile reads.

    Returns
    -------
    int
        The rate in Hz.

    Raises
    ------
    AudioError
        If the file is no readable recording.
    """
    if not Path(path).is_file():
        read_audio(path)  # fails, with the message for this file
    try:
        return int(soundfile.info(os.fsencode(path)).samplerate)
    except (soundfile.LibsndfileError, TypeError):
        return read_audio(path)[1]  # fails too, with the message for this file


def check_samples(
    samples: np.ndarray, name: str = "samples", far_beyond_1: Literal["warn", "refuse", "accept"] = "warn"
) -> np.ndarray:
    """Refuse what is no mono sound.

    Parameters
    ----------
    samples : array (N,), floating
        One channel; full scale is 1.
    name : str, default "samples"
        What the message calls them.
    far_beyond_1 : {"warn", "refuse", "accept"}, default "warn"
        What to do about values above 32, which are hardly of full scale 1.

    Returns
    -------
    ndarray (N,), float32 or float64
        The samples, at least one, all finite. float64 stays, others become float32.

    Raises
    ------
    AudioError
        If they have another shape, are integers, are none, hold NaN or infinity, or are too large.

    Warns
    -----
    UserWarning
        If they are so large that they are probably 16-bit integers stored as floats.
    """
    samples = np.asarray(samples)
    if samples.ndim != 1:
        raise AudioError(
            f"{name}: one channel of shape (N,) is wanted, not {samples.shape}; average the channels"
        )
    if samples.dtype.kind != "f":
        raise AudioError(
            f"{name}: {samples.dtype} samples; scale them to floats in [-1, 1] (int16: divide by 32768)"
        )
    if len(samples) == 0:
        raise AudioError(f"{name}: holds no samples")
    with np.errstate(over="ignore"):
        samples = samples.astype(np.float64 if samples.itemsize == 8 else np.float32, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        for n in range(0, len(samples), CHECK_BLOCK):
            # Mostly a sum of squares tells at once that all is well.
            block = samples[n : n + CHECK_BLOCK]
            if not block.dot(block) < FAR_BEYOND_1**2 and not _loudest(block) < FAR_BEYOND_1:
                _check_values(samples, name, far_beyond_1)
                break
    return samples


def _loudest(samples: np.ndarray) -> float:
    """Tell the largest absolute value; NaN, if there is one."""
    return float(np.maximum(samples.max(), -samples.min()))


def _check_values(samples: np.ndarray, name: str, far_beyond_1: str) -> None:
    """Say what is wrong with samples that are very large, or no numbers."""
    finite = np.isfinite(samples)
    loudest = np.abs(samples[finite]).max(initial=0)
    if loudest > LOUDEST:
        raise AudioError(
            f"{name}: a sample of {loudest:.3g} is no sound, full scale is 1; scale or remove it"
        )
    if not finite.all():
        first = int(np.argmin(finite))
        raise AudioError(
            f"{name}: {len(samples) - int(finite.sum())} of {len(samples)} samples are NaN or infinite "
            f"(the first is number {first}); mend or remove it"
        )
    message = f"{name}: a sample of {loudest:.6g}, but full scale is 1; 16-bit integers: divide by 32768"
    if far_beyond_1 == "refuse":
        raise AudioError(f"{message} (the settings multiply by it again)")
    if far_beyond_1 == "warn":
        warn(message)


def resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Change the sample rate, without aliasing.

    A Kaiser-windowed sinc, flat to 92 % of the lower rate's Nyquist frequency and 80 dB down
    from that Nyquist frequency on, applied in polyphase form.

    Parameters
    ----------
    samples : ndarray (N,), floating
        The sound.
    from_hz : int
        Its sample rate in Hz.
    to_hz : int
        The wanted sample rate in Hz.

    Returns
    -------
    ndarray (ceil(N * to_hz / from_hz),)
        The sound at the new rate, of the same dtype; the same array if the rates are equal.

    Raises
    ------
    AudioError
        If a rate is not positive, or the samples are integers.

    Notes
    -----
    Filter design: J. F. Kaiser, "Nonrecursive digital filter design using the I0-sinh window
    function", ISCAS 1974.
    """
    if from_hz <= 0 or to_hz <= 0:
        raise AudioError(f"sample rates are positive numbers of Hz, not {from_hz} and {to_hz}")
    if not np.issubdtype(samples.dtype, np.floating):
        raise AudioError(f"{samples.dtype} samples cannot be resampled; scale them to floats in [-1, 1]")
    if from_hz == to_hz:
        return samples
    divisor = math.gcd(from_hz, to_hz)
    up, down = to_hz // divisor, from_hz // divisor
    from scipy.signal import resample_poly  # half a second, which nobody is to wait for who resamples nothing

    taps = _low_pass(max(up, down)).astype(samples.dtype)
    return np.asarray(resample_poly(samples, up, down, window=taps))


class Resampler:
    """Resampling of a recording that comes in blocks: `resample` of blocks with what is around them.

    Parameters
    ----------
    from_hz : int
        Rate of the blocks, in Hz.
    to_hz : int
        Rate that is wanted, in Hz.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self.rates = from_hz, to_hz
        divisor = math.gcd(*self.rates)
        self.up, self.down = to_hz // divisor, from_hz // divisor
        # A sample depends on so many on either side; in whole periods, so that the filter's phases stay.
        reach = 0 if from_hz == to_hz else len(_low_pass(max(self.up, self.down))) // (2 * self.up) + 1
        self.around = -(-reach // self.down) * self.down
        self.samples = np.zeros(0, np.float32)
        self.before = 0  # of them are there for what is behind them

    def __call__(self, block: np.ndarray, last: bool = False) -> Iterator[np.ndarray]:
        """Take in a block; give what can be told by now, if there is any.

        Parameters
        ----------
        block : array (N,), floating
            The next samples.
        last : bool, default False
            Whether the recording is over with them.

        Yields
        ------
        ndarray (M,)
            The next samples at the wanted rate.
        """
        if self.rates[0] == self.rates[1]:
            if len(block):
                yield block
            return
        self.samples = np.concatenate([self.samples, block])
        ready = len(self.samples) if last else (len(self.samples) - self.around) // self.down * self.down
        if ready > self.before:
            new = resample(self.samples[: ready + self.around], *self.rates)
            end = len(new) if last else ready // self.down * self.up
            yield new[self.before // self.down * self.up : end]
            passed = max(0, ready - self.around)
            self.samples, self.before = self.samples[passed:].copy(), ready - passed


@lru_cache(maxsize=128)  # as many as the ratios that `change_speed` may draw
def _low_pass(ratio: int) -> np.ndarray:
    """Low-pass taps at `ratio` times the lower rate; frequencies are in units of its Nyquist."""
    from scipy.signal import firwin, kaiserord

    n_taps, beta = kaiserord(STOPBAND_DB, (1 - PASSBAND) / ratio)
    cutoff = (1 + PASSBAND) / 2 / ratio
    return np.asarray(firwin(n_taps | 1, cutoff, window=("kaiser", beta)))  # odd: no half-sample delay


def _cut_short(path: Path, file: soundfile.SoundFile) -> bool:
    """Whether the container itself says that the file ends too early."""
    # libsndfile mends a wrong size silently, but tells in its log. Programs that write to a pipe
    # leave the largest size there is: that is no promise.
    for promised, found in re.findall(
        r"(?m)^\s*(?:data|riff|SSND|Data Size|Riff size)\s*:\s*(\d+) \(should be (\d+)\)", file.extra_info
    ):
        missing = int(promised) - int(found)
        if missing > min(NEGLIGIBLE_BYTES, int(promised) // 100) and int(promised) < 0x7FFF0000:
            return True
    # An Ogg stream marks its last page; libsndfile is content with fewer.
    if file.format != "OGG":
        return False
    with path.open("rb") as pages:
        pages.seek(max(0, path.stat().st_size - 65_307))  # the largest page
        tail = pages.read()
    # A page is a header of 27 bytes, a table of its segments' sizes, and the segments.
    page = tail[max(0, tail.rfind(b"OggS")) :]
    return len(page) < 27 or not page[5] & 4 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])
