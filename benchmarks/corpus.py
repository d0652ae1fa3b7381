"""A corpus larger than memory, from files to a trained model: `python -m benchmarks.corpus`.

A hundred thousand recordings are made up, in a temporary folder: a second of sound each, a gliding tone in
noise, in ten classes. A fresh process computes their features, which go into a store on disk, and trains for
one epoch from there. What counts is the most memory that was resident at any moment, Python and libraries
included. It reads what Linux says of a process, and needs Linux.

"All in memory" is what the features alone would take as arrays. Once more, in another fresh process, the
store is opened when all is there.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.memory import CLEAR, MB, resident
from benchmarks.timing import machine
from lstm_scratch import SequenceClassifier
from lstm_scratch.batches import Fetched
from lstm_scratch.feature_store import open_store
from lstm_scratch.progress import progress_bar
from lstm_scratch.sound import FeatureSettings

Row = dict[str, Any]

CLIPS, QUICK = 100_000, 2000
IN_A_FOLDER = 1000
RATE = 8000
CLASSES = 10
SETTINGS = FeatureSettings(kind="log-mel", n_mels=40, delta_order=1, stack=4)
HIDDEN, BATCH = 32, 64


def path_of(folder: Path, n: int) -> Path:
    """Tell where a recording is.

    Parameters
    ----------
    folder : path
        The corpus.
    n : int
        Which one.

    Returns
    -------
    path
        Its file. Its class is ``n % CLASSES``.
    """
    return folder / f"{n // IN_A_FOLDER}" / f"{n}.wav"


def write_corpus(folder: Path, clips: int) -> None:
    """Make recordings up.

    Parameters
    ----------
    folder : path
        Where.
    clips : int
        How many.
    """
    rng = np.random.default_rng(0)
    noise = 0.05 * rng.standard_normal(60 * RATE, np.float32)
    seconds = np.arange(RATE, dtype=np.float32) / RATE
    file = io.BytesIO()
    soundfile.write(file, np.zeros(RATE), RATE, format="WAV", subtype="PCM_16")
    header = file.getvalue()[: -2 * RATE]  # the same for all
    with progress_bar(clips, "recordings", "clips", True) as bar:
        for n in range(clips):
            start = rng.uniform(1200, 2400)
            slope = 200 * (n % CLASSES) - 900
            angle = np.float32(2 * np.pi) * (np.float32(start) + np.float32(slope / 2) * seconds) * seconds
            begin = rng.integers(len(noise) - RATE)
            samples = np.float32(0.1) * np.sin(angle) + noise[begin : begin + RATE]
            path = path_of(folder, n)
            if n % IN_A_FOLDER == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(header + np.round(samples * 32_767).astype("<i2").tobytes())
            bar.update()


def train(folder: str, clips: int, epochs: int = 1) -> Row:
    """Open the store of a corpus, and train from it, in this process.

    Parameters
    ----------
    folder : str
        The corpus; the store is beside it.
    clips : int
        How many recordings it has.
    epochs : int, default 1
        Times through them. 0: do not train.

    Returns
    -------
    dict
        ``opening_s`` and ``training_s``; ``opening_mb`` and ``training_mb``, the most that was resident until
        then; ``features_mb``, what all features take; ``loss`` of the last epoch, None without one.
    """
    CLEAR.write_text("5")
    start = time.perf_counter()
    paths = [path_of(Path(folder), n) for n in range(clips)]
    store = open_store(Path(folder) / "store", paths, SETTINGS, RATE, verbose=True)
    opening_s, opening_mb = time.perf_counter() - start, resident("VmHWM") / MB
    start, loss = time.perf_counter(), None
    if epochs:
        labels = (np.arange(clips) % CLASSES).tolist()
        classifier = SequenceClassifier(
            hidden_size=HIDDEN, pooling="mean", batch_size=BATCH, epochs=epochs, verbose=True
        )
        from_disk = Fetched(store.__getitem__, store.lengths.tolist())
        loss = classifier.fit(from_disk, labels).history_[-1]["training_loss"]
    return {
        "clips": clips,
        "opening_s": opening_s,
        "opening_mb": opening_mb,
        "training_s": time.perf_counter() - start,
        "training_mb": resident("VmHWM") / MB,
        "features_mb": 4 * int(store.lengths.sum()) * store[0].shape[1] / MB,
        "loss": loss,
    }


def in_fresh_process(call: str) -> Row:
    """Call a function of this module in a process of its own.

    Parameters
    ----------
    call : str
        The call, as Python.

    Returns
    -------
    dict
        What it returned, by way of JSON.
    """
    code = f"import json; from benchmarks.corpus import *; print(json.dumps({call}))"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, check=True)
    row: Row = json.loads(done.stdout)
    return row


def main(arguments: list[str] | None = None) -> None:
    """Run the command.

    Parameters
    ----------
    arguments : list of str, optional
        By default the process's.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.corpus", description="train on a corpus larger than memory"
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:,} clips in place of {CLIPS:,}")
    parser.add_argument("--folder", metavar="DIR", help="where temporary files go (5 GB)")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    given = parser.parse_args(arguments)
    if not CLEAR.exists():
        parser.exit(1, "benchmarks.corpus needs Linux: it reads /proc/self/status\n")
    on = machine("numpy", "numba")
    clips = QUICK if given.quick else CLIPS
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        start = time.perf_counter()
        write_corpus(Path(folder), clips)
        written_s = time.perf_counter() - start
        first = in_fresh_process(f"train({folder!r}, {clips})")
        again = in_fresh_process(f"train({folder!r}, {clips}, epochs=0)")
    print(f"{on}\n\n{clips:,} clips of 1 s, written in {written_s:.0f} s")
    print(f"their features, all in memory: {first['features_mb']:,.0f} MB")
    for what, seconds, megabytes in (
        ("features computed", first["opening_s"], first["opening_mb"]),
        ("one epoch trained", first["training_s"], first["training_mb"]),
        ("the store opened again", again["opening_s"], again["opening_mb"]),
    ):
        print(f"{what:24}{seconds:8.1f} s, resident at most {megabytes:7,.0f} MB")
    if given.json:
        report = {"machine": on, "first": first, "again": again}
        Path(given.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
