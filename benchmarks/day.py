"""A day of sound through a stream, as fast as it goes: memory, speed and drift: `python -m benchmarks.day`.

A chunk is a second of sound. What is resident should not grow. An hour of silence, and of sound that fades
among the smallest numbers there are (denormal ones, with which some processors are slow), should take no
longer than one of speech. What the stream says after a day should be what the same model says in float64,
whose sums are numpy's own.

Each model hears each sound in a fresh process; all of it takes some 20 minutes. It reads what Linux says of a
process, and needs Linux.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import MB, STATUS, in_fresh_process, resident
from benchmarks.timing import machine
from lstm_scratch.audio import AudioClassifier
from lstm_scratch.layers.linear import linear_forward
from lstm_scratch.layers.loss import softmax
from lstm_scratch.layers.pooling import VARIANCE_FLOOR
from lstm_scratch.params import under
from lstm_scratch.sound import FeatureSettings, FeatureStream, preset
from lstm_scratch.stream import Stream

Row = dict[str, Any]

RATE = 16_000  # Hz
HOUR = 3600  # chunks
EARLY = 60  # chunks, after which everything is there
HOURS, QUICK_HOURS = 24, 1
HIDDEN = 64
N_CLASSES = 10
TOLERANCE = 1e-5  # of a probability
MODELS = {  # features and pooling
    "MFCC, mean": (preset("kaldi", n_mels=40), "mean"),
    "PCEN and all that remembers, mean+max+std": (
        FeatureSettings(
            log="pcen",
            top_db=None,
            pre_emphasis=0.97,
            pre_emphasis_of="signal",
            delta_order=1,
            sliding_normalisation="mean",
            stack=2,
        ),
        "mean+max+std",
    ),
}
SOUNDS = ("speech-like noise", "silence", "fading")


class Sound:
    """A sound, second by second.

    Parameters
    ----------
    name : str
        One of `SOUNDS`: noise in syllables, of another loudness every second; zeros; or, every minute anew, a
        tone that fades from 1e-30 to 1e-42.
    """

    def __init__(self, name: str) -> None:
        n = np.arange(60 * RATE)
        if name == "silence":
            minute = np.zeros(len(n))
        elif name == "fading":
            minute = np.sin(0.3 * n) * 10.0 ** (-30 - 12 * n / len(n))
        else:
            syllables = np.sin(np.pi * 4 * n / RATE) ** 2
            minute = 0.3 * syllables * np.random.default_rng(0).standard_normal(len(n))
        self.name, self.minute = name, np.split(minute.astype(np.float32), 60)

    def __call__(self, second: int) -> np.ndarray:
        """Make a second of it.

        Parameters
        ----------
        second : int
            Which.

        Returns
        -------
        ndarray (RATE,), float32
            Samples.
        """
        chunk = self.minute[second % 60]
        if self.name != "speech-like noise":
            return chunk
        return chunk * np.float32(np.random.default_rng([0, second]).uniform(0.01, 1))


class Reference:
    """A classifier that listens in float64, with sums that are not ours.

    Parameters
    ----------
    classifier : AudioClassifier
        Of pooling "mean", or "mean+max+std".
    """

    def __init__(self, classifier: AudioClassifier) -> None:
        self.classifier = classifier
        self.params = {name: array.astype(np.float64) for name, array in classifier.params_.items()}
        self.lstm = under("lstm", self.params)
        self.features = FeatureStream(classifier.features, RATE, np.float64)
        self.h: np.ndarray | None = None
        self.c: np.ndarray | None = None
        self.steps = 0
        self.gathered = np.zeros((3, HIDDEN))  # sums, largest values, sums of squares
        self.gathered[1] = -np.inf

    def push(self, samples: np.ndarray) -> None:
        """Listen.

        Parameters
        ----------
        samples : ndarray (n,)
            The next samples.
        """
        frames = self.features.push(samples.astype(np.float64))
        x = ((frames - self.classifier.mean_) / self.classifier.scale_)[:, None]
        (y, self.h, self.c), _ = self.classifier.network_.lstm.forward(
            self.lstm, x, self.h, self.c, inference=True
        )
        y = y[:, 0]
        self.steps += len(y)
        self.gathered[0] += y.sum(axis=0)
        self.gathered[1] = np.maximum(self.gathered[1], y.max(axis=0))
        self.gathered[2] += (y**2).sum(axis=0)

    def says(self) -> np.ndarray:
        """Tell what the sound is so far.

        Returns
        -------
        ndarray (K,)
            Probabilities.
        """
        mean, std = self.gathered[0] / self.steps, self.gathered[2] / self.steps
        std = np.sqrt(std - mean**2 + VARIANCE_FLOOR)
        pooled = mean if self.classifier.pooling == "mean" else np.concatenate([mean, self.gathered[1], std])
        return np.asarray(softmax(linear_forward(under("linear", self.params), pooled[None])[0])[0])


def listen(model: str, sound: str, hours: int) -> Row:
    """Push hours of a sound through a stream, in this process.

    Parameters
    ----------
    model : str
        Of `MODELS`.
    sound : str
        Of `SOUNDS`.
    hours : int
        How long.

    Returns
    -------
    dict
        ``steps``; ``seconds`` of each hour, in the stream alone; ``resident_mb``, after a minute and after
        each hour; ``difference`` from the reference after each hour, as the largest of a probability.

    Raises
    ------
    AssertionError
        If a difference is above `TOLERANCE`.
    """
    features, pooling = MODELS[model]
    noise = np.random.default_rng(0).normal(0, 0.1, (2 * N_CLASSES, RATE // 2)).astype(np.float32)
    classifier = AudioClassifier(
        features=features,
        sample_rate=RATE,
        hidden_size=HIDDEN,
        bidirectional=False,
        pooling=pooling,
        epochs=1,
    ).fit(list(noise), [str(n % N_CLASSES) for n in range(len(noise))])
    stream, reference, of = Stream(classifier), Reference(classifier), Sound(sound)
    stream.push(of(0))  # compiles it
    Reference(classifier).push(of(0))
    stream.reset()
    said, steps = np.zeros((1, N_CLASSES)), 0
    row: Row = {"model": model, "sound": sound, "seconds": [], "resident_mb": [], "difference": []}
    for hour in range(hours):
        seconds = 0.0
        for second in range(hour * HOUR, (hour + 1) * HOUR):
            chunk = of(second)
            start = time.perf_counter()
            said = stream.push(chunk)
            seconds += time.perf_counter() - start
            steps += len(said)
            reference.push(chunk)
            if second == EARLY:
                row["resident_mb"].append(resident() / MB)
        row["seconds"].append(seconds)
        row["resident_mb"].append(resident() / MB)
        difference = float(np.abs(said[-1] - reference.says()).max())
        if not difference <= TOLERANCE:  # NaN is not, either
            raise AssertionError(f"after {hour + 1} h of {sound}, {model} is off by {difference}")
        row["difference"].append(difference)
    if steps != reference.steps:
        raise AssertionError(f"{steps} steps, but {reference.steps} of the reference")
    return row | {"steps": steps}


def line_of(row: Row) -> str:
    """Format a row for the table.

    Parameters
    ----------
    row : dict
        As of `listen`.

    Returns
    -------
    str
        One line.
    """
    seconds, mb, off = row["seconds"], row["resident_mb"], row["difference"]
    times = f"{np.median(seconds):9.2f}{max(seconds):9.2f}{seconds[-1]:9.2f}"
    memory = f"{mb[0]:9.1f}{mb[1]:9.1f}{mb[-1]:9.1f}"
    return f"{row['sound']:18}{row['steps']:>11,} |{times} |{memory} |{off[0]:10.1e}{off[-1]:10.1e}"


def main(arguments: list[str] | None = None) -> None:
    """Run the command.

    Parameters
    ----------
    arguments : list of str, optional
        By default the process's.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.day", description="listen to a day of sound")
    parser.add_argument("--quick", action="store_true", help="an hour in place of a day")
    parser.add_argument("--json", metavar="FILE", help="write the rows")
    given = parser.parse_args(arguments)
    if not STATUS.exists():
        parser.exit(1, "benchmarks.day needs Linux: it reads /proc/self/status\n")
    hours = QUICK_HOURS if given.quick else HOURS
    on = machine("numpy", "numba")
    print(f"{on}\n\n{hours} h of sound at {RATE} Hz, in chunks of a second; H={HIDDEN}")
    rows = []
    for model in MODELS:
        print(
            f"\n{model}\n{'':29} |  seconds per hour of sound |{'resident, MB':>27} |{'off float64 by':>20}"
        )
        names = (
            f"{'median':>9}{'most':>9}{'last':>9} |{'1 min':>9}{'1 h':>9}{'end':>9} |{'1 h':>10}{'end':>10}"
        )
        print(f"{'sound':18}{'steps':>11} |{names}", flush=True)
        for sound in SOUNDS:
            call = f"listen({model!r}, {sound!r}, {hours})"
            rows.append(row := in_fresh_process(call, "benchmarks.day"))
            print(line_of(row), flush=True)
    if given.json:
        Path(given.json).write_text(json.dumps({"machine": on, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
