"""Fixtures: tiny recordings (rising, falling and steady tones), a model trained on them, the command line."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile

from lstm_scratch import AudioClassifier, SpeechDetector
from lstm_scratch.cli import main
from lstm_scratch.scenes import Clip, Scene, SceneSettings, draw_scene, speech_clip
from lstm_scratch.sound import FeatureSettings

RATE_HZ = 8000
SLOPE_HZ_PER_S = {"falling": -2000, "rising": 2000, "steady": 0}
CLIPS_PER_TONE = 8
# The command line's options for the classifier of the fixture `tiny`.
TINY_OPTIONS = [
    *("--hidden-size", "8", "--epochs", "12", "--batch-size", "8", "--learning-rate", "0.02"),
    *("--n-mels", "20", "--n-mfcc", "8", "--delta-order", "1", "--stack-frames", "2"),
]


class Outcome(NamedTuple):
    """What a command left: exit status, stdout, stderr."""

    status: int
    out: str
    err: str

    def the_error(self) -> str:
        """The one line in which a failed command says what is wrong."""
        lines = [line for line in self.err.splitlines() if "lstm-scratch: error: " in line]
        assert self.status == 1, self
        assert len(lines) == 1, self.err
        assert lines[0].startswith("lstm-scratch: error: ")
        assert self.err.rstrip("\n").endswith(lines[0]), "the error comes last, and is one line"
        assert "Traceback" not in self.err
        assert self.out == ""
        return lines[0]


@pytest.fixture(scope="session")
def write_tone() -> Callable[..., Path]:
    def write_tone(path, kind="steady", n=0, *, seconds=0.25, rate=RATE_HZ, channels=1):
        """Clip number n of a kind: a sweep of 500 Hz at most, from 800 + 40 n Hz, in faint noise."""
        time = np.arange(round(seconds * rate)) / rate
        slope = SLOPE_HZ_PER_S[kind]
        start = 800 + 40 * n + (500 if slope < 0 else 0)
        samples = 0.3 * np.sin(2 * np.pi * (start + slope * time / 2) * time)
        samples += 1e-3 * np.random.default_rng(n).normal(size=len(time))
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.repeat(samples[:, None], channels, axis=1), rate)
        return path

    return write_tone


@pytest.fixture
def write_manifest() -> Callable[..., Path]:
    def write_manifest(path: Path, columns: str, rows: Sequence[Sequence[object]]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([columns.split(","), *rows])
        return path

    return write_manifest


@pytest.fixture(scope="session")
def tones(tmp_path_factory, write_tone) -> Path:
    """A folder of three classes of eight clips. Tests leave it as it is."""
    folder = tmp_path_factory.mktemp("data") / "tones"
    for kind in SLOPE_HZ_PER_S:
        for n in range(CLIPS_PER_TONE):
            write_tone(folder / kind / f"{n}.wav", kind, n)
    return folder


@pytest.fixture(scope="session")
def tiny() -> Callable[..., AudioClassifier]:
    def tiny(**settings) -> AudioClassifier:
        features = FeatureSettings(n_mels=20, n_mfcc=8, delta_order=1, stack=2)
        size = {"hidden_size": 8, "epochs": 12, "batch_size": 8, "learning_rate": 0.02}
        return AudioClassifier(**{"features": features} | size | settings)

    return tiny


@pytest.fixture(scope="session")
def tiny_options() -> list[str]:
    return TINY_OPTIONS


@pytest.fixture(scope="session")
def trained(tones, tiny) -> AudioClassifier:
    """A classifier that labels every clip of `tones` right. Tests leave it as it is."""
    files = sorted(tones.glob("*/*.wav"))
    labels = [path.parent.name for path in files]
    classifier = tiny(epochs=30).fit(files, labels)
    assert classifier.predict(files).tolist() == labels
    return classifier


@pytest.fixture(scope="session")
def model(trained, tmp_path_factory) -> Path:
    """The file that `trained` saved. Tests leave it as it is."""
    path = tmp_path_factory.mktemp("model") / "tones.safetensors"
    trained.save(path)
    return path


VOICE_HZ = 12_000  # of the detector
SCENES = SceneSettings(
    **{"duration_s": 3, "talkers": (1, 2), "words": (1, 4), "pause_s": (0.3, 1), "speed": 0, "coloured": 1},
    **{"snr_db": (10, 25), "gain_db": (-6, 0), "recorded": 0, "music": 0, "transients": 0, "drift": 0},
    **{"reverberation": 0, "band": 0, "overload": 0},
)
LISTENING = FeatureSettings(
    kind="log-mel", n_mels=14, framing="whole-frames", top_db=None, log_floor=1e-8, stack=2
)


@pytest.fixture(scope="session")
def speakers() -> Callable[[int], list[list[Clip]]]:
    def speakers(seed):
        """Three who say seven words each: hums, of eight harmonics, that swell and fade as syllables do."""
        rng = np.random.default_rng(seed)

        def word() -> Clip:
            time = np.arange(round(rng.uniform(0.25, 0.5) * VOICE_HZ)) / VOICE_HZ
            hertz = rng.uniform(110, 220) * np.arange(1, 9)[:, None]
            hum = (np.sin(2 * np.pi * (hertz * time + rng.uniform(size=(8, 1)))) / hertz).sum(axis=0)
            hum *= 0.6 + 0.4 * np.sin(2 * np.pi * rng.uniform(4, 9) * time)
            return speech_clip(np.pad(hum, 500), VOICE_HZ)

        return [[word() for _ in range(7)] for _ in range(3)]

    return speakers


@pytest.fixture(scope="session")
def untrained() -> Callable[..., SpeechDetector]:
    def untrained(**settings) -> SpeechDetector:
        size = {"hidden_size": 9, "num_layers": 2, "learning_rate": 0.02, "batch_size": 8, "look_ahead": 3}
        rest = {"sample_rate": VOICE_HZ, "features": LISTENING, "scenes": SCENES, "n_scenes": 60, "epochs": 5}
        rest |= {"copies": 0}
        return SpeechDetector(**size | rest | {"random_state": 5} | settings)

    return untrained


@pytest.fixture(scope="session")
def detector(untrained, speakers) -> SpeechDetector:
    """A detector that knows such voices. Tests leave it as it is."""
    return untrained().fit_scenes(speakers(0), [])


@pytest.fixture(scope="session")
def scene(speakers) -> Callable[[int], Scene]:
    """Scene number n, of voices that the detector has not heard."""
    others = speakers(1)
    return lambda n: draw_scene(others, [], VOICE_HZ, np.random.default_rng([n, 99]), SCENES)


@pytest.fixture(scope="session")
def words(speakers) -> np.ndarray:
    """Five seconds with four words in faint noise, and pauses between them, as integers of 16 bits."""
    samples = 0.004 * np.random.default_rng(2).normal(size=5 * VOICE_HZ + 1)
    for clip, begin_s in zip(speakers(2)[0], (0.5, 1.4, 2.7, 3.9), strict=False):
        begin = round(begin_s * VOICE_HZ)
        samples[begin : begin + len(clip.samples)] += 0.1 * clip.samples
    return np.round(samples * 32767).astype("<i2")


@pytest.fixture(scope="session")
def detector_file(detector, tmp_path_factory) -> Path:
    """The file that `detector` saved. Tests leave it as it is."""
    path = tmp_path_factory.mktemp("detector") / "voices.safetensors"
    detector.save(path)
    return path


@pytest.fixture
def run(capsys) -> Callable[..., Outcome]:
    """Run the command line in this process; `train` and `cross-validate` with tiny options."""

    def run(command: str, *arguments: object) -> Outcome:
        options = TINY_OPTIONS if command in ("train", "cross-validate") else []
        capsys.readouterr()
        status = main([command, *options, *map(str, arguments)])
        return Outcome(status, *capsys.readouterr())

    return run
