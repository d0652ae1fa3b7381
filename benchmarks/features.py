"""MFCC against the libraries whose conventions they follow: `python -m benchmarks.features`.

40 mel bands, 13 cepstra, 25 ms every 10 ms at 16 kHz: ours at each origin's own settings, checked for equal
results before anything is timed, then timed with it in turns. A ratio is the origin's time by ours: above 1
ours is faster. An origin that is not installed has no lines.

The sound is white noise at -20 dB. Each origin is set up before it is timed, if it can be: what is left is
what has to be done for one more clip.
"""

import argparse
import json
import tracemalloc
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.timing import alternate, machine, threads_everywhere
from features import FeatureSettings, preset
from simd.threads import thread_count

Run = Callable[[], np.ndarray]
Row = dict[str, Any]

RATE = 16_000
DURATIONS = (1, 10)  # seconds; and hours
LEVEL_DB = -20
CASE = {"n_mels": 40, "n_mfcc": 13, "frame_ms": 25, "hop_ms": 10, "n_fft": 512}
TOLERANCE = {"float32": 2e-5, "float64": 1e-11}  # of the largest cepstrum
# Over hours of noise a narrow band now and then holds next to nothing, and a frame's rounding is large beside
# that: so one cepstrum in so many may be off by more, but not by much.
RARE, RARE_TOLERANCE = 10_000, 50  # the latter times `TOLERANCE`
MOST_SECONDS, MOST_BYTES = 60, 8e9  # of an origin's run; where it would need more, it is left out
HOURS_ROUNDS = 3
NOTES = """\
kaldi_native_fbank: its calls from Python are part of it, one per frame, as is its conversion of the samples,
one by one; without the latter it takes about two thirds of the time. Its samples are scaled beforehand.
python_speech_features: computes in float64. So does ours, and in the next line in float32.
audioflux: its frame is as long as its transform, 32 ms; so is ours. It gives log10, ours dB. It has one
thread in all rows: alone in a process it uses no more, and beside torch more make its spectrum wrong.
All threads: kaldi_native_fbank and python_speech_features have none of their own, ours from 3000 frames on.
-: left out, as it would need more than {seconds} s or {gigabytes:.0f} GB, by what a shorter clip needed."""


def _librosa(librosa: Any, x: np.ndarray) -> Run:
    lengths = {"n_fft": 512, "win_length": 400, "hop_length": 160}
    return lambda: librosa.feature.mfcc(y=x, sr=RATE, n_mfcc=13, n_mels=40, **lengths).T


def _kaldi(kaldi: Any, x: np.ndarray) -> Run:
    options = kaldi.MfccOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = 40
    x = 32768 * x

    def run() -> np.ndarray:
        mfcc = kaldi.OnlineMfcc(options)  # serves one clip
        mfcc.accept_waveform(RATE, x)
        mfcc.input_finished()
        return np.stack([mfcc.get_frame(t) for t in range(mfcc.num_frames_ready)])

    return run


def _python_speech_features(module: Any, x: np.ndarray) -> Run:
    return lambda: np.asarray(module.mfcc(x, RATE, numcep=13, nfilt=40))


def _torchaudio(torchaudio: Any, x: np.ndarray) -> Run:
    import torch

    lengths = {"n_fft": 512, "win_length": 400, "hop_length": 160}
    transform = torchaudio.transforms.MFCC(RATE, n_mfcc=13, melkwargs={"n_mels": 40, **lengths})
    given = torch.from_numpy(x)

    def run() -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(transform(given)).T

    return run


def _audioflux(audioflux: Any, x: np.ndarray) -> Run:
    kinds = audioflux.type
    spectrum = audioflux.BFT(
        num=40,
        radix2_exp=9,
        samplate=RATE,
        slide_length=160,
        window_type=kinds.WindowType.HANN,
        scale_type=kinds.SpectralFilterBankScaleType.MEL,
        style_type=kinds.SpectralFilterBankStyleType.SLANEY,
        normal_type=kinds.SpectralFilterBankNormalType.NONE,
        data_type=kinds.SpectralDataType.POWER,
    )
    cepstra = audioflux.XXCC(40)
    cepstra.set_time_length(spectrum.cal_time_length(len(x)))
    return lambda: cepstra.xxcc(spectrum.bft(x, result_type=1), cc_num=13).T


class Origin(NamedTuple):
    """A library, and ours at its settings."""

    settings: FeatureSettings
    prepare: Callable[[Any, np.ndarray], Run]  # takes the module and the samples; a run makes (T, 13)
    dtype: str = "float32"  # in which it computes
    unit: float = 1.0  # by which its cepstra are multiplied to be ours
    one_thread: bool = False  # whatever is allowed: `NOTES` say why


ORIGINS = {
    "librosa": Origin(preset("librosa", **CASE), _librosa),
    "kaldi_native_fbank": Origin(preset("kaldi", **CASE), _kaldi),
    "python_speech_features": Origin(
        preset("python_speech_features", **CASE), _python_speech_features, "float64"
    ),
    "torchaudio": Origin(preset("torchaudio", **CASE), _torchaudio),
    "audioflux": Origin(
        FeatureSettings(
            framing="whole-frames", mel_scale="htk", mel_norm="none", log_floor=1e-8, top_db=None
        ).change(**CASE | {"frame_ms": 32}),
        _audioflux,
        unit=10.0,
        one_thread=True,
    ),
}


def installed() -> dict[str, Any]:
    """Import the origins.

    Returns
    -------
    dict
        The modules of those that are there, by name.
    """
    modules = {}
    for name in ORIGINS:
        try:
            modules[name] = import_module(name)
        except (ImportError, OSError):  # the latter: its binary is for another torch
            continue
    return modules


def noise(seconds: float) -> np.ndarray:
    """Make sound.

    Parameters
    ----------
    seconds : float
        How much.

    Returns
    -------
    ndarray (N,), float32
        The same noise every time.
    """
    samples = np.random.default_rng(0).standard_normal(round(seconds * RATE), np.float32)
    samples *= np.float32(10 ** (LEVEL_DB / 20))
    return samples


def needs(row: Row, seconds: float) -> tuple[float, float]:
    """Estimate what an origin needs for a longer clip.

    Parameters
    ----------
    row : dict
        As of `measure`, for a shorter one.
    seconds : float
        Length of the longer one.

    Returns
    -------
    tuple of float
        Seconds and bytes.
    """
    if row["theirs_ms"] is None:
        return np.inf, np.inf
    times = seconds / row["seconds"]
    return row["theirs_ms"] / 1e3 * times, row["theirs_bytes"] * times


def measure(
    name: str, module: Any, x: np.ndarray, threads: int, budget: float, theirs_too: bool = True
) -> list[Row]:
    """Check an origin's results, then time it and ours.

    Parameters
    ----------
    name : str
        Of the origin.
    module : module
        Its own.
    x : ndarray (N,), float32
        The sound.
    threads : int
        How many each may use.
    budget : float
        Seconds for it. 0: `HOURS_ROUNDS` turns of each.
    theirs_too : bool, default True
        Whether the origin runs at all.

    Returns
    -------
    list of dict
        A row for each dtype of ours. `theirs_bytes` is the most memory that the origin had of Python and
        numpy at any moment, the cepstra among it.

    Raises
    ------
    AssertionError
        As of `check_equal`.
    """
    origin = ORIGINS[name]
    dtypes = ("float64", "float32") if origin.dtype == "float64" else ("float32",)
    given = {dtype: x.astype(dtype, copy=False) for dtype in dtypes}
    runs: dict[str, Run] = {
        dtype: partial(origin.settings, given[dtype], RATE, num_threads=threads) for dtype in dtypes
    }
    n_bytes, rounds = None, 5 if budget else HOURS_ROUNDS
    # Threads of OpenMP too; ours are none of these.
    with threads_everywhere(threads), threadpool_limits(1 if origin.one_thread else threads):
        if theirs_too:
            theirs = origin.prepare(module, given[origin.dtype])
            tracemalloc.start()
            cepstra = theirs()
            n_bytes = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            for dtype, run in runs.items():
                check_equal(run(), origin.unit * cepstra, dtype, name)
            del cepstra
            runs["theirs"] = theirs
        seconds = alternate(runs, budget, rounds, warm_up=0 if theirs_too else 1)
    duration = len(x) / RATE
    return [
        {
            "op": "mfcc",
            "seconds": duration,
            "threads": threads,
            "origin": name,
            "frame_ms": origin.settings.frame_ms,
            "dtype": dtype,
            "ours_ms": 1e3 * seconds[dtype],
            "theirs_ms": 1e3 * seconds["theirs"] if theirs_too else None,
            "ratio": seconds["theirs"] / seconds[dtype] if theirs_too else None,
            "times_real_time": duration / seconds[dtype],
            "theirs_bytes": n_bytes,
        }
        for dtype in dtypes
    ]


def check_equal(ours: np.ndarray, theirs: np.ndarray, dtype: str, name: str) -> None:
    """Refuse cepstra that are not the same to rounding.

    Parameters
    ----------
    ours, theirs : ndarray (T, 13)
        The cepstra.
    dtype : str
        In which ours were computed.
    name : str
        Whose theirs are.

    Raises
    ------
    AssertionError
        If they differ by more than `TOLERANCE` of the largest, but for few in many, or in number.
    """
    if ours.dtype != dtype or ours.shape != theirs.shape:
        raise AssertionError(f"{name} has {theirs.shape}, ours {ours.shape} in {ours.dtype}, not {dtype}")
    difference = np.abs(ours - theirs)
    atol = TOLERANCE[dtype] * np.abs(theirs).max()
    n_beyond = np.count_nonzero(~(difference <= atol))  # NaN is beyond, too
    if n_beyond > difference.size // RARE or not difference.max() <= RARE_TOLERANCE * atol:
        raise AssertionError(
            f"{n_beyond} of {difference.size} cepstra of {name} differ by more than {atol:.2g} from ours "
            f"in {dtype}, at most by {difference.max():.2g}"
        )


HEADER = (
    f"{'seconds':>7}{'threads':>8}  {'origin':24}{'ours in':8} |{'ours':>10}{'theirs':>10} ms |"
    f"{'theirs':>7} x ours |{'ours':>8} x real time"
)


def line_of(row: Row) -> str:
    """Format a row for the table.

    Parameters
    ----------
    row : dict
        As of `measure`.

    Returns
    -------
    str
        One line, under `HEADER`.
    """
    theirs, ratio = f"{'-':>10}", f"{'-':>7}"
    if row["ratio"] is not None:
        theirs, ratio = f"{row['theirs_ms']:10.3f}", f"{row['ratio']:7.2f}"
    return (
        f"{row['seconds']:7g}{row['threads']:8}  {row['origin']:24}{row['dtype']:8} |{row['ours_ms']:10.3f}"
        f"{theirs}    |{ratio}        |{row['times_real_time']:8.0f}"
    )


def summary(rows: list[Row]) -> str:
    """Give the fastest origin of each duration and number of threads, and how fast ours is on one thread.

    Parameters
    ----------
    rows : list of dict
        As of `measure`.

    Returns
    -------
    str
        Two lines.
    """
    fastest, alone = [], []
    for seconds, threads in dict.fromkeys((row["seconds"], row["threads"]) for row in rows):
        of_both = [row for row in rows if (row["seconds"], row["threads"]) == (seconds, threads)]
        timed = [row for row in of_both if row["ratio"] is not None]
        if timed:
            least = min(timed, key=lambda row: row["ratio"])
            fastest.append(f"{seconds:g} s x {threads}: {least['ratio']:.2f} ({least['origin']})")
        same = [row for row in of_both if (row["frame_ms"], row["dtype"]) == (CASE["frame_ms"], "float32")]
        times = [row["times_real_time"] for row in same]
        if threads == 1 and times:
            alone.append(f"{seconds:g} s: {min(times):.0f} to {max(times):.0f}")
    return (
        f"fastest other in each row (seconds x threads): ratio {', '.join(fastest)}\n"
        f"ours on one thread, 25 ms, float32, times real time: {', '.join(alone)}"
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command.

    Parameters
    ----------
    arguments : list of str, optional
        By default the process's.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features", description="time MFCC")
    parser.add_argument("--quick", action="store_true", help="short clips only, in under half a minute")
    parser.add_argument("--hours", type=float, default=1.0, help="length of the long clip (default: 1)")
    parser.add_argument("--json", metavar="FILE", help="write the rows")
    given = parser.parse_args(arguments)
    durations = [*DURATIONS, *([] if given.quick else [3600 * given.hours])]
    modules = installed()
    on = machine("numpy", "scipy", "numba", *ORIGINS)
    print(f"{on}\n40 mel bands, 13 cepstra, 25 ms every 10 ms, 16 kHz\n\n{HEADER}", flush=True)
    rows: list[Row] = []
    before: dict[tuple[str, int], Row] = {}
    for seconds in durations:
        x = noise(seconds)
        for threads in sorted({1, thread_count()}):
            for name, module in modules.items():
                of_shorter = before.get((name, threads))
                time, n_bytes = needs(of_shorter, seconds) if of_shorter else (0.0, 0.0)
                runs = time <= MOST_SECONDS and n_bytes <= MOST_BYTES
                budget = 0.0 if seconds not in DURATIONS else 0.5 if given.quick else 3.0
                measured = measure(name, module, x, threads, budget, runs)
                before[name, threads] = measured[0]
                rows += measured
                print("\n".join(map(line_of, measured)), flush=True)
    notes = NOTES.format(seconds=MOST_SECONDS, gigabytes=MOST_BYTES / 1e9)
    print(f"\n{notes}\n\n{summary(rows)}")
    if given.json:
        Path(given.json).write_text(json.dumps({"machine": on, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
