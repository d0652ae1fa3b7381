"""Voice activity detectors side by side on the same sound: `python -m benchmarks.vad --data ../shared/data`.

Every detector gives a score for every 10 ms, by what it says of the moment in the middle, and has a threshold
of its own. One that is not installed has no lines.

The sets: meetings, labelled by people, turn by turn, so that short pauses count as speech; mixes of speech
and noise whose labels are exact, at one signal-to-noise ratio each, in which neither a speaker nor a noise
was trained on; and what is held out of noise and of music, in which nobody speaks.

AUC is the area under the ROC curve over all frames of a set. F1, precision and recall are those of frames, at
the detector's threshold. False alarms are segments, at default settings around that threshold, per hour. Time
is that of one thread, as the median of turns; memory is what a fresh process needs for the detector and 10 s
of sound, above what it had before.
"""

import argparse
import csv
import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from benchmarks.memory import resident
from benchmarks.timing import alternate, machine, threads_everywhere
from lstm_scratch.activity import SpeechDetector
from lstm_scratch.errors import DataError
from lstm_scratch.metrics import roc_auc
from lstm_scratch.scenes import SceneSettings, draw_scene, frame_labels
from lstm_scratch.segments import Segmentation, find_segments
from lstm_scratch.sound import read_audio, resample
from lstm_scratch.sources import NOISE, SPEECH, Sources, read_noises, read_sources

Row = dict[str, Any]

CORPORA = ("vad_meetings", "instruments", *SPEECH, *NOISE)
RATE = 16_000
HOP = 160  # samples of a frame
HOP_S = HOP / RATE
SNRS_DB = (-5, 0, 5, 10, 20, 30)
SCENES, QUICK_SCENES = 30, 4  # of 10 s, for each ratio
QUICK_NOISES = 12
SEED = 1
# Speech in one noise that never stops, at a ratio that is what it says: no room, no band, no slope, no drift.
EXACT = SceneSettings(
    speech=1,
    talkers=(1, 2),
    talker_gain_db=(0, 0),
    pause_s=(0.5, 2),
    gain_db=(-20, 0),
    recorded=1,
    coloured=0,
    room=0,
    passing=0,
    music=0,
    transients=0,
    reverberation=0,
    band=0,
    tilt_db=(0, 0),
    drift=0,
    overload=0,
)
HYSTERESIS = 0.15  # by which a segment's offset is below its onset
MODES = range(4)  # of webrtcvad, from the most to the least speech
NOTES = """\
webrtcvad says yes or no, in four modes: the AUC beside "webrtcvad" is the area under the line through their
four points and the corners. silero-vad scores every 32 ms; "silero-vad, whole" is its model for whole
recordings, with the same scores."""


class Detector(Protocol):
    """What is compared."""

    name: str
    threshold: float

    def scores(self, samples: np.ndarray) -> np.ndarray:
        """Score a recording.

        Parameters
        ----------
        samples : ndarray (N,), float32
            At 16 kHz.

        Returns
        -------
        ndarray (N // 160,)
            From 0 to 1, higher where there is speech.
        """


class Recording(NamedTuple):
    """Sound, and the truth about each of its frames."""

    samples: np.ndarray  # (N,), float32
    labels: np.ndarray  # (N // 160,), bool


def on_grid(values: np.ndarray, hop_s: float, n_frames: int) -> np.ndarray:
    """Take for every 10 ms the value in whose time its middle lies.

    Parameters
    ----------
    values : ndarray (k,)
        Value t holds from ``t * hop_s`` to ``(t + 1) * hop_s``.
    hop_s : float
        Seconds.
    n_frames : int
        T, how many are wanted.

    Returns
    -------
    ndarray (T,)
        Where the values end too early, the last one goes on. Zeros if there are none.
    """
    if len(values) == 0:
        return np.zeros(n_frames, np.float32)
    at = np.floor((np.arange(n_frames) + 0.5) * HOP_S / hop_s + 1e-9).astype(int)
    return np.asarray(values[np.minimum(at, len(values) - 1)])


class Ours:
    """The detector that comes with the package."""

    name, threshold = "ours", 0.5

    def __init__(self, detector: SpeechDetector | None = None) -> None:
        self.detector = detector or SpeechDetector.load()

    def scores(self, samples: np.ndarray) -> np.ndarray:
        """Score a recording, as of `Detector`.

        Parameters
        ----------
        samples : ndarray (N,), float32
            At 16 kHz.

        Returns
        -------
        ndarray (N // 160,)
            Probabilities.
        """
        probabilities = self.detector.probabilities(resample(samples, RATE, self.detector.sample_rate_))
        return on_grid(probabilities, self.detector.hop_s, len(samples) // HOP)


class WebRTC:
    """The detector of WebRTC, in one of its modes."""

    threshold = 0.5

    def __init__(self, mode: int) -> None:
        self.name, self.mode = f"webrtcvad {mode}", mode
        self.module = importlib.import_module("webrtcvad")

    def scores(self, samples: np.ndarray) -> np.ndarray:
        """Score a recording, as of `Detector`.

        Parameters
        ----------
        samples : ndarray (N,), float32
            At 16 kHz.

        Returns
        -------
        ndarray (N // 160,)
            0 or 1.
        """
        vad = self.module.Vad(self.mode)  # it remembers what it heard
        sound = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes()
        size = 2 * HOP
        frames = (sound[n * size : (n + 1) * size] for n in range(len(samples) // HOP))
        return np.array([vad.is_speech(frame, RATE) for frame in frames], np.float32)


class Silero:
    """silero-vad by onnxruntime alone: its package would import torch.

    Its model for streams takes 512 samples, the 64 before them, and its state. The one for whole recordings
    takes all such chunks at once.
    """

    threshold = 0.5
    CHUNK, CONTEXT = 512, 64

    def __init__(self, whole: bool = False) -> None:
        import onnxruntime

        self.name, self.whole = "silero-vad, whole" if whole else "silero-vad", whole
        spec = find_spec("silero_vad")
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError("No module named 'silero_vad'")
        file = "silero_vad_16k_sequence.onnx" if whole else "silero_vad.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # its files hold tensors that nothing uses
        path = Path(spec.origin).parent / "data" / file
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def scores(self, samples: np.ndarray) -> np.ndarray:
        """Score a recording, as of `Detector`.

        Parameters
        ----------
        samples : ndarray (N,), float32
            At 16 kHz.

        Returns
        -------
        ndarray (N // 160,)
            Probabilities.
        """
        n_chunks = -(-len(samples) // self.CHUNK)
        padded = np.zeros(self.CONTEXT + n_chunks * self.CHUNK, np.float32)
        padded[self.CONTEXT : self.CONTEXT + len(samples)] = samples
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.CONTEXT + self.CHUNK)
        chunks = windows[:: self.CHUNK]  # each begins with the end of the one before it
        scores = np.zeros(n_chunks, np.float32)
        if self.whole:
            h = c = np.zeros((1, 1, 128), np.float32)
            scores = self.session.run(None, {"input": np.ascontiguousarray(chunks), "h": h, "c": c})[0]
        else:
            state, rate = np.zeros((2, 1, 128), np.float32), np.array(RATE, np.int64)
            for n, chunk in enumerate(chunks):
                given = {"input": chunk[None], "state": state, "sr": rate}
                score, state = self.session.run(None, given)
                scores[n] = score[0, 0]
        return on_grid(scores, self.CHUNK / RATE, len(samples) // HOP)


MAKERS: dict[str, Callable[[], Detector]] = {
    "ours": Ours,
    **{f"webrtcvad {mode}": partial(WebRTC, mode) for mode in MODES},
    "silero-vad": Silero,
    "silero-vad, whole": partial(Silero, True),
}
ONLY_TIMED = ("silero-vad, whole",)


def installed() -> tuple[dict[str, Detector], list[str]]:
    """Load the detectors.

    Returns
    -------
    tuple of dict and list of str
        Those that are there, by name; and why the others are not.
    """
    detectors, missing = {}, []
    for name, make in MAKERS.items():
        try:
            detectors[name] = make()
        except ImportError as error:
            missing.append(f"{name} is left out: {error}")
    return detectors, missing


def meetings(data: Path, subset: str) -> list[Recording]:
    """Read meetings and who labelled them.

    Parameters
    ----------
    data : Path
        The folder that holds ``vad_meetings``.
    subset : str
        As its table has it.

    Returns
    -------
    list of Recording
        In alphabetical order.
    """
    folder = data / "vad_meetings"
    turns: dict[str, list[tuple[float, float]]] = {}
    with (folder / "vad_segments.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["subset"] == subset:
                turns.setdefault(row["file"], []).append((float(row["start_s"]), float(row["end_s"])))
    recordings = []
    for name in sorted(turns):
        samples, _ = read_audio(folder / name, RATE)
        middle = (np.arange(len(samples) // HOP) + 0.5) * HOP_S
        labels = np.any([(start <= middle) & (middle < end) for start, end in turns[name]], axis=0)
        recordings.append(Recording(samples, labels))
    return recordings


def mixes(sources: Sources, snr_db: float, n_scenes: int) -> list[Recording]:
    """Draw scenes at a signal-to-noise ratio: the same ones every time, and for every ratio the same speech.

    Parameters
    ----------
    sources : Sources
        Held out.
    snr_db : float
        The ratio, in dB.
    n_scenes : int
        How many.

    Returns
    -------
    list of Recording
        The scenes.
    """
    settings = SceneSettings(**(vars(EXACT) | {"snr_db": (snr_db, snr_db)}))
    scenes = []
    for n in range(n_scenes):
        scene = draw_scene(*sources, RATE, np.random.default_rng([SEED, n]), settings)
        scenes.append(Recording(scene.samples, frame_labels(scene.active, HOP, HOP)))
    return scenes


def without_speech(noises: Sequence[np.ndarray]) -> list[Recording]:
    """Take recordings in which nobody speaks.

    Parameters
    ----------
    noises : sequence of ndarray (M,), float32
        The recordings.

    Returns
    -------
    list of Recording
        They, and that.
    """
    return [Recording(noise, np.zeros(len(noise) // HOP, bool)) for noise in noises]


def sets_of(data: Path, quick: bool) -> dict[str, list[Recording]]:
    """Gather all sets.

    Parameters
    ----------
    data : Path
        The folder of corpora.
    quick : bool
        Only a part of each.

    Returns
    -------
    dict
        Recordings, by the set's name.

    Raises
    ------
    DataError
        If a corpus is missing.
    """
    missing = [name for name in CORPORA if not (data / name).is_dir()]
    if missing:
        raise DataError(f"{data}: no {', '.join(missing)} in it; name the folder that holds these corpora")
    sources = read_sources(data, RATE, test=True)
    n_scenes, most = (QUICK_SCENES, QUICK_NOISES) if quick else (SCENES, None)
    sets = {f"meetings, {subset}": meetings(data, subset) for subset in ("test", "development")}
    sets |= {f"mixes, {snr_db} dB": mixes(sources, snr_db, n_scenes) for snr_db in SNRS_DB}
    music = read_noises(data / "instruments", RATE, test=True)
    return sets | {"noise": without_speech(sources.noises[:most]), "music": without_speech(music[:most])}


def area_under(points: Sequence[tuple[float, float]]) -> float:
    """Area under the line through points of an ROC curve and its corners.

    Parameters
    ----------
    points : sequence of (float, float)
        False positive rate and true positive rate.

    Returns
    -------
    float
        0 to 1.
    """
    x, y = np.transpose(sorted([(0.0, 0.0), *points, (1.0, 1.0)]))
    return float(np.trapezoid(y, x))


def measure(name: str, recordings: list[Recording], detectors: Sequence[Detector]) -> list[Row]:
    """Score the recordings of a set.

    Parameters
    ----------
    name : str
        Of the set.
    recordings : list of Recording
        All frames count alike.
    detectors : sequence of Detector
        Whose scores.

    Returns
    -------
    list of dict
        A row for each, and one for all modes of webrtcvad together, which has an AUC alone. What has no
        meaning in a set is None.
    """
    labels = np.concatenate([recording.labels for recording in recordings])
    hours = len(labels) * HOP_S / 3600
    shared = {"set": name, "hours": hours, "speech": float(labels.mean())}
    rows: list[Row] = []
    points = []
    for detector in detectors:
        every = [detector.scores(recording.samples) for recording in recordings]
        scores = np.concatenate(every)
        found = scores >= detector.threshold
        right = np.count_nonzero(found & labels)
        rates: dict[str, float | None] = dict.fromkeys(COLUMNS)
        if labels.any():
            rates["f1"] = 2 * right / (np.count_nonzero(found) + np.count_nonzero(labels))
            rates["precision"] = right / np.count_nonzero(found) if found.any() else None
            rates["recall"] = right / np.count_nonzero(labels)
            if isinstance(detector, WebRTC):
                points.append((float(found[~labels].mean()), float(found[labels].mean())))
            else:
                rates["auc"] = roc_auc(labels, scores)
        else:
            rates["false_alarms_per_hour"] = sum(map(partial(_alarms, detector.threshold), every)) / hours
        rows.append({**shared, "detector": detector.name, **rates})
    if points:
        rows.append({**shared, "detector": "webrtcvad", **dict.fromkeys(COLUMNS), "auc": area_under(points)})
    return rows


def _alarms(threshold: float, scores: np.ndarray) -> int:
    """Count segments."""
    settings = Segmentation(onset=threshold, offset=max(0.0, threshold - HYSTERESIS))
    return len(find_segments(scores, HOP_S, settings))


def time_them(samples: np.ndarray, detectors: Sequence[Detector], budget: float) -> dict[str, float]:
    """Time detectors in turns, with one thread each.

    Parameters
    ----------
    samples : ndarray (N,), float32
        The sound.
    detectors : sequence of Detector
        Whom.
    budget : float
        Seconds for all together.

    Returns
    -------
    dict
        Milliseconds per second of sound, by name.
    """
    with threads_everywhere(1):
        seconds = alternate({d.name: partial(d.scores, samples) for d in detectors}, budget)
    return {name: 1e3 * s / (len(samples) / RATE) for name, s in seconds.items()}


def memory_of(name: str) -> float:
    """Ask a fresh process what a detector needs.

    Parameters
    ----------
    name : str
        One of `MAKERS`.

    Returns
    -------
    float
        Megabytes.
    """
    command = [sys.executable, "-m", "benchmarks.vad", "--data", ".", "--memory-of", name]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(process.stdout)


def print_memory(name: str) -> None:
    """Load a detector, let it hear 10 s of noise, and print how much more memory there was than before.

    Parameters
    ----------
    name : str
        One of `MAKERS`.
    """
    before = resident("VmHWM")
    samples = np.random.default_rng(0).standard_normal(10 * RATE).astype(np.float32) / 10
    MAKERS[name]().scores(samples)
    print((resident("VmHWM") - before) / 1e6)


COLUMNS = {
    "auc": "AUC",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "false_alarms_per_hour": "alarms/h",
}
HEADER = f"{'set':22}{'minutes':>8}{'speech':>8}  {'detector':14} |" + "".join(
    f"{column:>11}" for column in COLUMNS.values()
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
    cells = []
    for column in COLUMNS:
        value, digits = row[column], 0 if column == "false_alarms_per_hour" else 3
        cells.append(f"{'':>11}" if value is None else f"{value:11.{digits}f}")
    about = f"{row['set']:22}{60 * row['hours']:8.1f}{100 * row['speech']:7.0f}%  {row['detector']:14} |"
    return (about + "".join(cells)).rstrip()


def main(arguments: list[str] | None = None) -> None:
    """Run the command.

    Parameters
    ----------
    arguments : list of str, optional
        By default the process's.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vad", description="compare voice activity")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="folder of corpora")
    parser.add_argument("--quick", action="store_true", help="a part of each set, in about half a minute")
    parser.add_argument("--json", metavar="FILE", help="write the rows")
    parser.add_argument("--memory-of", choices=MAKERS, metavar="DETECTOR", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.memory_of:
        print_memory(given.memory_of)
        return
    try:
        sets = sets_of(given.data, given.quick)
    except DataError as error:
        parser.error(str(error))
    on = machine("numpy", "scipy", "numba", "onnxruntime", "webrtcvad-wheels", "silero-vad")
    detectors, missing = installed()
    print("\n".join([on, *missing, "", HEADER]), flush=True)
    compared = [detector for name, detector in detectors.items() if name not in ONLY_TIMED]
    rows: list[Row] = []
    for name, recordings in sets.items():
        measured = measure(name, recordings, compared)
        rows += measured
        print("\n".join(map(line_of, measured)), flush=True)
    samples = sets["meetings, development"][0].samples[: 10 * RATE]
    times = time_them(samples, list(detectors.values()), 2.0 if given.quick else 10.0)
    print(f"\n{'detector':18} |{'ms / s of sound':>16}{'memory':>9} MB")
    costs = []
    for name, milliseconds in times.items():
        costs.append({"detector": name, "ms_per_second": milliseconds, "memory_mb": memory_of(name)})
        print(f"{name:18} |{milliseconds:16.3f}{costs[-1]['memory_mb']:9.0f}", flush=True)
    print(f"\n{NOTES}")
    if given.json:
        Path(given.json).write_text(
            json.dumps({"machine": on, "rows": rows, "costs": costs}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
