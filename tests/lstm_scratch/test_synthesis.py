"""The built-in corpus is the same every time, its test voices are new, and the demo learns from it."""

import csv
import hashlib
import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from lstm_scratch import synthesis
from lstm_scratch.audio import AudioClassifier, extract_features
from lstm_scratch.corpus import read_corpus
from lstm_scratch.errors import UserError
from lstm_scratch.sound import FeatureSettings
from lstm_scratch.synthesis import ACCENTS, DIGITS, render, spoken_digits

SCRIPT = Path(sys.executable).with_name("lstm-scratch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for a demo, in which the corpus has been rendered."""
    pytest.importorskip("espeakng_loader", reason="needs the speech synthesizer of the extra demo")
    folder = tmp_path_factory.mktemp("synthesis") / "demo"
    assert spoken_digits(folder / "corpus") == folder / "corpus" / "manifest.csv"
    return folder


@pytest.fixture(scope="module")
def rows(folder):
    with (folder / "corpus" / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def digests(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).digest() for path in files}


def test_every_voice_says_every_digit(folder, rows):
    assert len(rows) == 1040
    assert Counter(row["label"] for row in rows) == dict.fromkeys(DIGITS, 104)
    corpus = read_corpus(folder / "corpus")
    assert corpus.group_column == "speaker"
    assert [path.stem for path in corpus.paths] == corpus.labels
    seconds = [soundfile.info(path).duration for path in corpus.paths]
    assert min(seconds) > 0.1
    assert max(seconds) < 3
    assert all(np.abs(soundfile.read(path)[0]).max() > 0.01 for path in corpus.paths[::20])


@pytest.mark.parametrize("beside", [None, "features.py"])
def test_rendering_again_in_a_fresh_process_gives_the_same_bytes(folder, tmp_path, monkeypatch, beside):
    """Also from a folder where a file of the user's has the name of a package that is needed."""
    monkeypatch.chdir(tmp_path)
    if beside:
        (tmp_path / beside).write_text("nonsense = 1")
    spoken_digits("again")
    assert digests(tmp_path / "again") == digests(folder / "corpus")
    assert {path.name for path in tmp_path.iterdir()} - {beside} == {"again"}


def test_no_speaker_is_both_trained_and_tested(rows):
    speakers = {part: {row["speaker"] for row in rows if row["split"] == part} for part in ("train", "test")}
    assert not speakers["train"] & speakers["test"]
    assert (len(speakers["train"]), len(speakers["test"])) == (66, 21)
    for part, clips in (("train", 820), ("test", 220)):
        counted = Counter(row["label"] for row in rows if row["split"] == part)
        assert counted == dict.fromkeys(DIGITS, clips // 10)


def test_no_test_voice_sounds_like_a_training_voice(folder, rows):
    """Voices are more than 3 dB apart, and the measure does find voices that sound alike."""
    rows = [row for row in rows if row["label"] in ("zero", "one", "seven")]
    paths = [folder / "corpus" / row["path"] for row in rows]
    spectra = dict(
        zip(paths, extract_features(paths, FeatureSettings(kind="log-mel"), 22_050).features, strict=True)
    )

    def distance(one, other):
        """Mean over the words that are of the same length, within 2 frames; infinite if none is."""
        words = []
        for a, b in zip(one, other, strict=True):
            frames = min(len(spectra[a]), len(spectra[b]))
            if max(len(spectra[a]), len(spectra[b])) <= frames + 2:
                words.append(np.abs(spectra[a][:frames] - spectra[b][:frames]).mean())
        return np.mean(words) if words else np.inf

    voices = {"train": {}, "test": {}}
    for row, path in zip(rows, paths, strict=True):
        voices[row["split"]].setdefault(path.parent.name, []).append(path)
    assert (len(voices["train"]), len(voices["test"])) == (82, 22)
    pairs = itertools.product(voices["train"].items(), voices["test"].items())
    distances = {(one, other): distance(a, b) for (one, a), (other, b) in pairs}
    assert np.isfinite(list(distances.values())).sum() > 500
    assert min(distances.values()) > 3, min(distances, key=distances.get)
    together = voices["train"] | voices["test"]
    assert distance(together["Gene"], together["Gene2"]) < 2


def test_every_accent_has_ten_words_and_a_language_that_reads_them():
    pytest.importorskip("espeakng_loader", reason="needs the speech synthesizer of the extra demo")
    library, _, voices = synthesis._open_synthesizer()
    for accent, words in ACCENTS.items():
        assert library.espeak_SetVoiceByName(f"{accent}+{voices[0]}".encode()) == 0, accent
        assert len(set(words)) == len(DIGITS), accent


def test_an_accent_changes_the_sound_and_nothing_else(folder, rows, tmp_path):
    path = spoken_digits(tmp_path / "greek", "el")
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == rows
    usual, greek = digests(folder / "corpus"), digests(tmp_path / "greek")
    assert {name for name in usual if usual[name] == greek[name]} == {"manifest.csv"}


# What goes wrong.


def test_an_accent_that_there_is_not_is_told(tmp_path):
    with pytest.raises(UserError, match=r"^there is no accent 'en-uk'; name one of de, el, en, en-029, "):
        spoken_digits(tmp_path / "corpus", "en-uk")
    assert list(tmp_path.iterdir()) == []


def test_without_the_synthesizer_the_fix_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    said = r"^the demo needs a speech synthesizer: pip install 'lstm-scratch\[demo\]'$"
    with pytest.raises(UserError, match=said):
        render(tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()


def test_without_the_synthesizer_the_demo_ends_in_one_line(tmp_path):
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "espeakng_loader.py").write_text("raise ImportError('not installed')")
    path = [str(tmp_path / "path"), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.run(
        [SCRIPT, "demo", "-o", tmp_path / "demo"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    errors = process.stderr.splitlines()[1:]  # after "1/3 corpus: ..."
    assert errors == [
        "lstm-scratch: error: the demo needs a speech synthesizer: pip install 'lstm-scratch[demo]'"
    ]
    assert not (tmp_path / "demo").exists()


def test_a_synthesizer_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fail(command, **_):
        (Path(command[-2]) / "Alex").mkdir(parents=True)
        return SimpleNamespace(returncode=-11)

    monkeypatch.setattr(synthesis.subprocess, "run", fail)
    with pytest.raises(UserError, match=r"corpus: the synthesizer failed with exit status -11"):
        spoken_digits(tmp_path / "corpus")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "letters.txt").write_text("dear diary")
    with pytest.raises(UserError, match=r"is there, but holds no manifest.csv; remove it or name another"):
        spoken_digits(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_ctrl_c_ends_the_rendering_in_one_line_and_leaves_nothing(folder, tmp_path):
    """A terminal sends it to the whole process group."""
    command = [SCRIPT, "demo", "-o", tmp_path / "demo"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        end = time.monotonic() + 60
        while time.monotonic() < end and not list(tmp_path.glob("demo/.corpus-*/*/*.wav")):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "1/3 corpus" in err
    assert err.splitlines()[-1] == "lstm-scratch: error: interrupted"
    assert "Traceback" not in err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# The demo.


def test_the_demo_learns_digits_of_voices_never_heard_and_reuses_the_corpus(folder, run):
    files = sorted((folder / "corpus").rglob("*"))
    before = [path.stat().st_mtime_ns for path in files]
    outcome = run("demo", "-o", folder, "--json", "--seed", 1)
    assert outcome.status == 0
    assert outcome.out.count("\n") == 1
    result = json.loads(outcome.out)
    assert (result["n"], sorted(result["classes"]), result["seed"]) == (220, sorted(DIGITS), 1)
    assert result["accuracy"] > 0.9
    assert sorted((folder / "corpus").rglob("*")) == files
    assert [path.stat().st_mtime_ns for path in files] == before

    model, pictures = folder / "digits.safetensors", [folder / "confusion.png", folder / "training.png"]
    assert (result["model"], result["pictures"]) == (str(model), [str(path) for path in pictures])
    for picture in pictures:
        assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    card = AudioClassifier.load(model).card_
    assert card["test"] == {name: result[name] for name in ("accuracy", "uar", "n")}
    measured = json.loads(run("evaluate", model, folder / "corpus", "--json").out)
    assert measured["confusion"] == result["confusion"]

    for words in ("1/3 corpus", "2/3 training", "3/3 saving", str(model), *map(str, pictures)):
        assert words in outcome.err
    (proposed,) = [line for line in outcome.err.splitlines() if " predict " in line]
    _, *arguments = shlex.split(proposed)
    predicted = run(*arguments)
    assert predicted.status == 0
    assert predicted.out.split("\t")[1].split()[0] in DIGITS
