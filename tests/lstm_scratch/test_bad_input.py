"""Bad input ends in one line that names the file and a fix, or is handled; nothing is overwritten."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import soundfile

from lstm_scratch import AudioClassifier, SequenceClassifier

SCRIPT = Path(sys.executable).with_name("lstm-scratch")


def shell(*command, **settings):
    """Run the console script in a process of its own."""
    return subprocess.run([SCRIPT, *command], capture_output=True, text=True, check=False, **settings)


def interrupt(*_, **__):
    raise KeyboardInterrupt


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Recordings that cannot be used.


def cut(path, part):
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])


def sound(path, samples, rate=8000, subtype="FLOAT"):
    soundfile.write(path, np.asarray(samples, np.float32), rate, subtype=subtype)


NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 30_000).astype(np.float32)


def truncated(path):
    soundfile.write(path, NOISE, 8000)
    cut(path, 0.6)


def with_(value):
    return lambda path: sound(path, np.where(np.arange(3000) == 2000, value, NOISE[:3000]))


def text(path):
    path.write_text("dear diary\n" * 99)


UNREADABLE = ["not a readable recording", "convert or remove"]
# What makes the file of that name, and what has to be said about it.
BAD = {
    "empty.wav": (Path.touch, ["empty", "copy it again"]),
    "cut.wav": (truncated, ["truncated", "copy it again"]),
    "cut.flac": (truncated, ["remove|copy it again"]),
    "cut.ogg": (truncated, ["truncated", "copy it again"]),
    "text.wav": (text, UNREADABLE),
    "notes.txt": (text, UNREADABLE),
    "headless.raw": (lambda path: path.write_bytes(bytes(4000)), UNREADABLE),
    "header.wav": (lambda path: sound(path, []), ["no samples", "record it again or remove"]),
    "nan.wav": (with_(np.nan), ["1 of 3000 samples are NaN or infinite", "number 2000", "mend or remove"]),
    "infinite.wav": (with_(np.inf), ["NaN or infinite", "mend or remove"]),
    "huge.wav": (with_(1e25), ["remove"]),
    "slow.wav": (lambda path: sound(path, NOISE, 6000), ["6000 Hz", "8000 Hz or more"]),
}


@pytest.fixture(params=BAD)
def bad(request, tmp_path):
    """A recording that cannot be used, and what has to be said about it."""
    path = tmp_path / "bad" / request.param
    path.parent.mkdir()
    make, said = BAD[request.param]
    make(path)
    return path, [re.escape(f"{path}: "), *said]


@pytest.fixture
def with_bad(bad, tones, tmp_path, write_manifest):
    """A manifest of `tones` with a bad recording in its midst."""
    files = sorted(tones.glob("*/*.wav"))
    rows = [(path, path.parent.name) for path in files]
    return write_manifest(tmp_path / "list.csv", "path,label", [*rows[:10], (bad[0], "rising"), *rows[10:]])


def test_a_bad_recording_is_not_labelled(run, model, bad):
    path, said = bad
    before = model.read_bytes()
    error = run("predict", model, path).the_error()
    for words in said:
        assert re.search(words, error)
    assert model.read_bytes() == before


def test_training_says_which_recording_is_bad_and_writes_nothing(run, bad, with_bad, tmp_path):
    output = tmp_path / "m.safetensors"
    output.write_bytes(b"old")
    before = snapshot(tmp_path)
    options = ["-o", output, "--overwrite", "--plots", tmp_path / "plots", "--sample-rate-hz", 8000]
    error = run("train", with_bad, *options).the_error()
    for words in [*bad[1], "--skip-bad"]:
        assert re.search(words, error)
    assert snapshot(tmp_path) == before


def test_training_goes_on_without_a_bad_recording_if_told_to(run, bad, with_bad, tmp_path):
    options = ["-o", tmp_path / "m", "--sample-rate-hz", 8000, "--json", "--skip-bad"]
    outcome = run("train", with_bad, *options)
    assert outcome.status == 0
    assert [line for line in outcome.err.splitlines() if line.startswith(f"left out: {bad[0]}: ")]
    clips = json.loads(outcome.out)["classes"]
    used = {name: c["training"] + c["validation"] + c["test"] for name, c in clips.items()}
    assert used == {"falling": 8, "rising": 8, "steady": 8}


def test_evaluating_stops_at_a_bad_recording_or_leaves_it_out_if_told_to(run, model, bad, with_bad):
    error = run("evaluate", model, with_bad).the_error()
    for words in [*bad[1], "--skip-bad"]:
        assert re.search(words, error)
    outcome = run("evaluate", model, with_bad, "--skip-bad", "--json")
    result = json.loads(outcome.out)
    assert (outcome.status, result["n"], result["accuracy"]) == (0, 24, 1)
    assert f"left out: {bad[0]}: " in outcome.err


def test_of_good_and_bad_files_the_good_ones_are_labelled_and_the_status_is_1(run, model, tones, bad):
    good = [tones / "rising" / "2.wav", tones / "falling" / "3.wav"]
    outcome = run("predict", model, good[0], bad[0], good[1])
    assert [line.split("\t")[0] for line in outcome.out.splitlines()] == [str(path) for path in good]
    assert [line.split("\t")[1].split()[0] for line in outcome.out.splitlines()] == ["rising", "falling"]
    assert outcome.status == 1
    assert outcome.err.startswith(f"lstm-scratch: error: {bad[0]}: ")
    assert outcome.err.count("\n") == 1

    outcome = run("predict", model, good[0], bad[0], "--json")
    predictions = json.loads(outcome.out)["predictions"]
    assert (outcome.status, predictions[0]["label"]) == (1, "rising")
    assert predictions[1]["file"] == str(bad[0])
    assert predictions[1]["error"] in outcome.err
    assert "label" not in predictions[1]


@pytest.mark.parametrize("name", ["missing.wav", "folder"])
def test_what_is_no_file_is_told(run, model, tmp_path, name):
    (tmp_path / "folder").mkdir()
    assert f"{tmp_path / name}: " in run("predict", model, tmp_path / name).the_error()


def test_a_folder_with_one_bad_file_among_many(tones, tiny_options, tmp_path):
    """As a user meets it, in a process of its own."""
    shutil.copytree(tones, tmp_path / "data")
    (tmp_path / "data" / "steady" / "4b.wav").write_bytes(b"RIFF")
    command = ["train", *tiny_options, "data", "-o", "m.safetensors", "--json"]
    process = shell(*command, cwd=tmp_path)
    assert process.returncode == 1
    assert "lstm-scratch: error: data/steady/4b.wav: not a readable recording" in process.stderr
    assert "Traceback" not in process.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]

    process = shell(*command, "--skip-bad", cwd=tmp_path)
    assert process.returncode == 0
    assert "left out: data/steady/4b.wav: not a readable recording" in process.stderr
    classes = json.loads(process.stdout)["classes"]
    assert [c["training"] + c["validation"] + c["test"] for c in classes.values()] == [8, 8, 8]
    assert (tmp_path / "m.safetensors").is_file()


# Recordings that are out of the ordinary, and fine.


@pytest.mark.parametrize("kind", ["falling", "rising", "steady"])
@pytest.mark.parametrize(
    "settings", [{"channels": 2}, {"rate": 96_000}, {"rate": 44_100, "channels": 3}], ids=str
)
def test_stereo_and_high_rates_are_labelled_like_others(run, model, tmp_path, write_tone, kind, settings):
    for suffix in ("wav", "flac"):
        path = write_tone(tmp_path / f"x.{suffix}", kind, 3, **settings)
        outcome = run("predict", model, path)
        assert (outcome.status, outcome.err) == (0, "")
        assert outcome.out.startswith(f"{path}\t{kind} ")


def test_a_clip_of_10_ms_is_labelled(run, model, trained, tmp_path, write_tone):
    path = write_tone(tmp_path / "short.wav", "rising", seconds=0.01)
    assert soundfile.info(path).frames == 80
    outcome = run("predict", model, path)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.split("\t")[1].split()[0] == trained.predict([path])[0]


@pytest.mark.compiled
def test_a_silent_clip_is_labelled_with_a_warning_in_one_line(model, tmp_path):
    sound(tmp_path / "silent.wav", np.zeros(2000))
    process = shell("predict", model, "silent.wav", cwd=tmp_path)
    assert process.returncode == 0
    assert process.stdout.split("\t")[1].split()[0] in ("falling", "rising", "steady")
    assert "silent.wav: silent, all samples are zero" in process.stderr
    assert process.stderr.count("\n") == 1, "no line of source code"


def test_odd_clips_are_trained_on_and_tested(run, tones, tmp_path, write_tone):
    """Stereo, 96 kHz, 10 ms, silent: each in training and test, and each is told of."""
    data = tmp_path / "data"
    shutil.copytree(tones, data)
    write_tone(data / "rising" / "stereo.wav", "rising", 8, channels=2)
    write_tone(data / "rising" / "high.wav", "rising", 9, rate=96_000)
    write_tone(data / "rising" / "short.wav", "rising", 10, seconds=0.01)
    sound(data / "steady" / "silent.wav", np.zeros(2000))
    outcome = run("train", data, "-o", tmp_path / "m", "--json")
    assert outcome.status == 0
    warnings = [line for line in outcome.err.splitlines() if "warning" in line]
    assert [line for line in warnings if "nearly the same" not in line] == [  # sweeps are pieces of one sweep
        f"warning: 1 clip is silent, all samples are zero: {data / 'steady' / 'silent.wav'}; record again or "
        "remove",
        "warning: sample rates are mixed (27 clips at 8000 Hz, 1 clip at 96000 Hz); 8000 Hz is used for all, "
        "and what higher rates hold beyond is lost: to keep it, leave the low ones out",
        f"warning: 1 clip is far from the median duration of 0.25 s: {data / 'rising' / 'short.wav'} "
        "(0.01 s); make sure that each holds one thing, whole",
    ]
    result = json.loads(outcome.out)
    assert sum(c["training"] + c["validation"] + c["test"] for c in result["classes"].values()) == 28
    result = json.loads(run("evaluate", tmp_path / "m", data, "--json").out)
    assert (result["n"], result["sample_rate_hz"]) == (28, 8000)


# Data that do not hold together.


@pytest.mark.parametrize("command", ["train", "cross-validate", "evaluate"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label\n0.wav,a\nlost.wav,b\n", ["list.csv, line 3", "lost.wav is missing", "add the file"]),
        ("path,speaker\n0.wav,a\n", ["list.csv", "no column 'label'", "path,label[,"]),
        ("path,label\n0.wav,a\n1.wav,b\n0.wav,a\n", ["list.csv, line 4", "0.wav", "line 2", "remove one"]),
        ("path,label\n", ["list.csv", "add a line"]),
    ],
    ids=["missing file", "missing column", "duplicate path", "no rows"],
)
def test_a_faulty_manifest_is_told_by_every_command(run, model, tones, tmp_path, command, text, said):
    shutil.copytree(tones / "rising", tmp_path / "data")
    manifest = tmp_path / "data" / "list.csv"
    manifest.write_text(text)
    before = snapshot(tmp_path)
    arguments = {
        "train": [manifest, "-o", tmp_path / "m"],
        "cross-validate": [manifest, "--folds", "speaker"],
        "evaluate": [model, manifest],
    }
    error = run(command, *arguments[command]).the_error()
    for words in said:
        assert words in error
    assert snapshot(tmp_path) == before


def test_a_class_with_one_clip_is_told_or_trained_on_with_a_warning(run, tones, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(tones, data)
    (data / "lonely").mkdir()
    shutil.copy(tones / "steady" / "0.wav", data / "lonely" / "only.wav")
    error = run("train", data, "-o", tmp_path / "m").the_error()
    for words in (str(data / "lonely" / "only.wav"), "'lonely'", "add recordings, remove the class"):
        assert words in error
    assert not (tmp_path / "m").exists()
    outcome = run("train", data, "-o", tmp_path / "m", "--test-fraction", 0)
    assert outcome.status == 0
    assert "warning: class 'lonely' has one clip to train on" in outcome.err


@pytest.mark.parametrize("data", ["nowhere", "empty", "one_class"])
def test_data_that_cannot_be_learned_from_are_told(run, tones, tmp_path, data):
    (tmp_path / "empty").mkdir()
    shutil.copytree(tones / "rising", tmp_path / "one_class" / "rising")
    error = run("train", tmp_path / data, "-o", tmp_path / "m").the_error()
    said = {"nowhere": "no such file or folder", "empty": "one folder per class", "one_class": "two classes"}
    assert str(tmp_path / data) in error
    assert said[data] in error
    assert not (tmp_path / "m").exists()


def test_a_label_that_the_model_does_not_know_is_told(run, model, tones, tmp_path):
    shutil.copytree(tones / "rising", tmp_path / "data" / "soaring")
    error = run("evaluate", model, tmp_path / "data").the_error()
    for words in (
        str(tmp_path / "data" / "soaring" / "0.wav"),
        "'soaring'",
        "falling, rising, steady",
        "remove",
    ):
        assert words in error


# Model files.


def rewrite(path, change_text=lambda text: text, without=None):
    """Change what a model file says of itself, or take an array out of it."""
    with safetensors.safe_open(path, "numpy") as file:
        text = change_text(file.metadata()["lstm-scratch"])
        arrays = {name: file.get_tensor(name) for name in file.keys() if name != without}  # noqa: SIM118 (no dict)
    path.write_bytes(safetensors.numpy.save(arrays, {"lstm-scratch": text}))


def described(change):
    """Make a function that changes the description in a model file."""
    return lambda path: rewrite(path, lambda text: json.dumps(change(json.loads(text))))


def foreign(path):
    path.write_bytes(safetensors.numpy.save({"weight": np.zeros(3, np.float32)}))


def of_sequences(path):
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(4, 2)) for _ in range(4)]
    SequenceClassifier(hidden_size=2, epochs=1).fit(sequences, [0, 1, 0, 1]).save(path)


AGAIN = ["copy it again or train anew"]
VERSION = ["model format (2|None)", "reads format 1", "use the version that wrote it, or train anew"]
BAD_MODELS = {
    "missing": (Path.unlink, ["no such model file; `lstm-scratch train DATA -o"]),
    "empty": (lambda path: cut(path, 0), AGAIN),
    "cut in the first number": (lambda path: path.write_bytes(path.read_bytes()[:5]), AGAIN),
    "cut after the first number": (lambda path: path.write_bytes(path.read_bytes()[:8]), AGAIN),
    "cut in the header": (lambda path: path.write_bytes(path.read_bytes()[:300]), AGAIN),
    "cut in the weights": (lambda path: cut(path, 0.7), AGAIN),
    "cut by a byte": (lambda path: path.write_bytes(path.read_bytes()[:-1]), AGAIN),
    "too long": (lambda path: path.write_bytes(path.read_bytes() + b"x"), AGAIN),
    "garbage": (lambda path: path.write_bytes(NOISE.tobytes()), AGAIN),
    "of a later version": (described(lambda about: about | {"format_version": 2}), VERSION),
    "of no version": (described(lambda about: about | {"format_version": None}), VERSION),
    "of another program": (foreign, ["no lstm-scratch model", "train"]),
    "of sequences": (of_sequences, ["SequenceClassifier"]),
    "with half a description": (lambda path: rewrite(path, lambda text: text[:100]), ["train anew"]),
    "with a list for a description": (described(lambda about: [about]), ["train anew"]),
    "without its classes": (described(lambda about: about | {"classes": None}), ["train anew"]),
    "without its settings": (described(lambda about: about | {"settings": {}}), ["train anew"]),
    "with a setting out of range": (
        described(lambda about: about | {"settings": about["settings"] | {"dropout": 2}}),
        ["dropout", "train anew"],
    ),
    "without a weight": (lambda path: rewrite(path, without="linear.bias"), ["train anew"]),
    "without its scale": (lambda path: rewrite(path, without="normalisation.scale"), ["train anew"]),
}


@pytest.mark.parametrize("fault", BAD_MODELS)
def test_a_file_that_is_no_good_model_is_told_by_every_command_and_left(run, model, tones, tmp_path, fault):
    path = tmp_path / "m.safetensors"
    shutil.copy(model, path)
    spoil, said = BAD_MODELS[fault]
    spoil(path)
    before = snapshot(tmp_path)
    for command in (["info", path], ["predict", path, tones / "rising" / "0.wav"], ["evaluate", path, tones]):
        error = run(*command).the_error()
        for words in [re.escape(f"{path}: "), *said]:
            assert re.search(words, error)
    assert snapshot(tmp_path) == before


def test_a_folder_is_no_model(run, tmp_path):
    assert f"{tmp_path}: " in run("info", tmp_path).the_error()


# Outputs.


def test_a_model_that_is_there_is_kept_unless_told_otherwise(run, tones, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")
    error = run("train", tones, "-o", path).the_error()
    assert str(path) in error
    assert "--overwrite" in error
    assert snapshot(tmp_path) == {path: b"old"}


@pytest.mark.parametrize("below", ["m.safetensors", "deep/m.safetensors"])
def test_an_output_that_cannot_be_written_is_told_before_the_training(
    run, tones, tmp_path, monkeypatch, below
):
    monkeypatch.setattr("lstm_scratch.training.AdamW.step", interrupt)
    file = tmp_path / "file"
    file.write_bytes(b"old")
    assert str(file) in run("train", tones, "-o", file / below, "--epochs", 1).the_error()
    assert snapshot(tmp_path) == {file: b"old"}


def test_an_output_that_is_a_folder_is_told_by_its_name(run, tones, tmp_path, monkeypatch):
    monkeypatch.setattr("lstm_scratch.training.AdamW.step", interrupt)
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    assert f"{folder}: " in run("train", tones, "-o", folder, "--overwrite", "--epochs", 1).the_error()
    assert list(tmp_path.rglob("*")) == [folder, folder / "sub"]


def test_plots_that_cannot_be_written_are_told(run, tones, tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    options = ["-o", tmp_path / "m", "--plots", tmp_path / "file", "--epochs", 1]
    assert str(tmp_path / "file") in run("train", tones, *options).the_error()
    assert (tmp_path / "file").read_bytes() == b"old"


# Interruptions.


@pytest.mark.parametrize("where", ["reading", "training", "saving"])
def test_an_interruption_is_told_in_one_line_and_leaves_the_old_model(
    run, tones, tmp_path, monkeypatch, where
):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")
    replace = Path.replace
    if where == "reading":
        monkeypatch.setattr("lstm_scratch.audio.read_audio", interrupt)
    elif where == "training":
        monkeypatch.setattr("lstm_scratch.training.AdamW.step", interrupt)
    else:  # when the new file is complete, and about to take the old one's place

        def last_moment(part, to):
            return interrupt() if to == path else replace(part, to)

        monkeypatch.setattr(Path, "replace", last_moment)
    outcome = run("train", tones, "-o", path, "--overwrite")
    error, left = outcome.the_error(), snapshot(tmp_path)
    if where == "reading":
        assert error == "lstm-scratch: error: interrupted"
    else:
        checkpoint = tmp_path / "m.checkpoint.safetensors"
        assert error == (
            f"lstm-scratch: error: interrupted; {checkpoint} holds the last good weights, a model that "
            "`predict` takes; go on with --resume"
        )
        kept = AudioClassifier.load(checkpoint)
        assert len(kept.history_) == (0 if where == "training" else 12)
        del left[checkpoint]
    assert left == {path: b"old"}


def test_ctrl_c_ends_a_training_in_one_line(tones, tmp_path):
    command = [
        SCRIPT,
        "train",
        tones,
        "-o",
        tmp_path / "m",
        "--epochs",
        "1000000",
        "--patience-epochs",
        "1000000",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert "24 clips of 3 classes" in first
    assert (process.returncode, out) == (1, "")
    assert err.splitlines()[-1] == "lstm-scratch: error: interrupted"
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
