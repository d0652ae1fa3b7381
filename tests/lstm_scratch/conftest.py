"""Fixtures: tiny recordings (rising, falling and steady tones), a model trained on them, the command line."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile

from lstm_scratch import AudioClassifier
from lstm_scratch.cli import main
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


@pytest.fixture
def run(capsys) -> Callable[..., Outcome]:
    """Run the command line in this process; `train` and `cross-validate` with tiny options."""

    def run(command: str, *arguments: object) -> Outcome:
        options = TINY_OPTIONS if command in ("train", "cross-validate") else []
        capsys.readouterr()
        status = main([command, *options, *map(str, arguments)])
        return Outcome(status, *capsys.readouterr())

    return run
