"""The command line: results on stdout, the rest on stderr, options that arrive, the same bits for a seed."""

import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread

import features
from lstm_scratch import engines, progress
from lstm_scratch.audio import AudioClassifier
from lstm_scratch.classifier import _Checkpoints
from lstm_scratch.cli import main
from lstm_scratch.results import markdown_table, read_results, table_row
from lstm_scratch.sound import FeatureSettings, explain_difference, preset, read_audio
from lstm_scratch.stream import Stream
from simd.jit import cache_folder

SCRIPT = Path(sys.executable).with_name("lstm-scratch")
COMMANDS = ["demo", "train", "cross-validate", "evaluate", "predict"]
COMMANDS += ["results", "info", "features", "warmup", "gradcheck"]


@pytest.fixture
def split(tones, tmp_path, write_manifest):
    """A manifest of `tones`: clips 0 to 4 train, 5 to 7 test, by three speakers that are in both."""
    rows = [
        (path, path.parent.name, f"s{n % 3}", "test" if n % 8 >= 5 else "train")
        for n, path in enumerate(sorted(tones.glob("*/*.wav")))
    ]
    return write_manifest(tmp_path / "data" / "list.csv", "path,label,speaker,split", rows)


# The console script, in a process of its own.


def test_the_console_script_trains_as_the_function_does(run, tones, tiny_options, tmp_path):
    """A fresh process gives the same bytes too."""
    run("train", tones, "-o", tmp_path / "here.safetensors", "--seed", 3)
    command = [SCRIPT, "train", *tiny_options, tones, "-o", "there.safetensors", "--seed", "3", "--json"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(process.stdout)["model"] == "there.safetensors"
    assert "lstm-scratch predict there.safetensors" in process.stderr
    assert (tmp_path / "there.safetensors").read_bytes() == (tmp_path / "here.safetensors").read_bytes()


@pytest.mark.compiled
def test_a_reader_that_had_enough_brings_no_traceback(model, tones):
    files = sorted(tones.glob("*/*.wav"))
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [SCRIPT, "predict", model, *files], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert (process.returncode, process.stderr) == (1, "")


@pytest.mark.parametrize("arguments", [[], ["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_is_there_for_every_command(capsys, arguments):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    out, err = capsys.readouterr()
    assert end.value.code == (0 if arguments else 2)
    shown = out if arguments else err
    words = {"train": ["--seed", "--skip-bad", "--frame-ms", "--sample-rate-hz"], "predict": ["--top"]}
    for word in words.get(arguments[0] if arguments else "", []):
        assert word in shown
    if "--help" in arguments[:1]:
        assert all(name in shown for name in COMMANDS)


# Training.


def test_train_prints_one_json_object_whose_figures_fit_together(run, split, tmp_path):
    outcome = run("train", split, "-o", tmp_path / "m.safetensors", "--json", "--seed", 7)
    assert outcome.status == 0
    assert outcome.out.count("\n") == 1
    result = json.loads(outcome.out)
    assert (result["n"], result["seed"], result["sample_rate_hz"]) == (9, 7, 8000)
    assert list(result["classes"]) == ["falling", "rising", "steady"]
    assert all(c["training"] + c["validation"] == 5 and c["test"] == 3 for c in result["classes"].values())
    assert result["accuracy"] == sum(c["correct"] for c in result["classes"].values()) / 9
    assert result["uar"] == pytest.approx(
        np.mean([c["correct"] / c["test"] for c in result["classes"].values()])
    )
    assert result["accuracy"] > 0.6, "tones are easily told apart"
    loaded = AudioClassifier.load(tmp_path / "m.safetensors")
    assert result["parameters"] == loaded.n_parameters_
    assert result["seconds"] > 0
    assert "warning: 3 speaker(s) are on both sides of the given split (s0, s1, s2)" in outcome.err


def test_results_are_on_stdout_and_the_rest_on_stderr(run, split, tmp_path):
    result = json.loads(run("train", split, "-o", tmp_path / "a.safetensors", "--json").out)
    outcome = run("train", split, "-o", tmp_path / "b.safetensors")
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["class", "train", "valid", "test", "right"]
    for line, (name, counts) in zip(lines[1:], result["classes"].items(), strict=False):
        parts = ("training", "validation", "test", "correct")
        assert line.split() == [name, *(str(counts[part]) for part in parts)]
    figures = f"accuracy {100 * result['accuracy']:.2f} %, UAR {100 * result['uar']:.2f} % of 9 test clips; "
    assert lines[4].startswith(f"{figures}{result['parameters']:,} parameters")
    assert len(lines) == 5
    assert f"{split}: 24 clips of 3 classes" in outcome.err
    assert f"saved {tmp_path / 'b.safetensors'}" in outcome.err
    assert "accuracy" not in outcome.err


def test_progress_is_on_stderr_with_loss_accuracy_and_time_left(run, tones, tmp_path, monkeypatch):
    tqdm = progress.tqdm
    monkeypatch.setattr(progress, "tqdm", lambda **given: tqdm(**given | {"delay": 0, "mininterval": 0}))
    outcome = run(
        "train", tones, "-o", tmp_path / "m", "--json", "--patience-epochs", 99, "--validation-fraction", 0.3
    )
    json.loads(outcome.out)
    bars = outcome.err.replace("\r", "\n").splitlines()
    assert any("features: 100%" in bar and "24/24" in bar for bar in bars)
    last = next(bar for bar in reversed(bars) if bar.startswith("training:"))
    for word in ("12/12", "loss=", " accuracy=", "validation loss=", "validation accuracy=", "<"):
        assert word in last


def test_without_a_test_the_model_is_saved_and_no_accuracy_is_claimed(run, tones, tmp_path):
    outcome = run("train", tones, "-o", tmp_path / "m.safetensors", "--test-fraction", 0)
    assert (outcome.status, "accuracy" in outcome.out) == (0, False)
    assert "no test; " in outcome.out
    outcome = run("train", tones, "-o", tmp_path / "n.safetensors", "--test-fraction", 0, "--json")
    result = json.loads(outcome.out)
    assert (result["accuracy"], result["uar"], result["n"]) == (None, None, 0)
    clips = AudioClassifier.load(tmp_path / "m.safetensors").card_["clips"]
    assert sum(counts["training"] + counts["validation"] for counts in clips.values()) == 24


def test_the_fold_asked_for_is_tested(run, tones, tmp_path, write_manifest):
    files = sorted(tones.glob("*/*.wav"))
    rows = [(path, path.parent.name, "small" if path.stem in "01" else "large") for path in files]
    manifest = write_manifest(tmp_path / "list.csv", "path,label,fold", rows)
    for fold, n in (("small", 6), ("large", 18)):
        outcome = run(
            "train", manifest, "-o", tmp_path / f"{fold}.safetensors", "--test-fold", fold, "--json"
        )
        assert json.loads(outcome.out)["n"] == n


def test_a_seed_decides_every_bit_of_the_model(run, tones, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run("train", tones, "-o", tmp_path / name, "--seed", seed).status == 0
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c
    one, two = (AudioClassifier.load(tmp_path / name) for name in "ac")
    assert not np.array_equal(one.params_["linear.weight"], two.params_["linear.weight"])


def test_overwrite_replaces_the_model_that_is_there(run, tones, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")
    assert run("train", tones, "-o", path, "--overwrite", "--epochs", 1).status == 0
    assert AudioClassifier.load(path).classes_.tolist() == ["falling", "rising", "steady"]
    assert list(tmp_path.iterdir()) == [path]


OPTIONS = {
    "--hidden-size": ("hidden_size", 5),
    "--num-layers": ("num_layers", 2),
    "--dropout": ("dropout", 0.25),
    "--forget-bias": ("forget_bias", 1.5),
    "--engine": ("engine", "numba"),
    "--batch-size": ("batch_size", 7),
    "--learning-rate": ("learning_rate", 0.003),
    "--weight-decay": ("weight_decay", 0.02),
    "--label-smoothing": ("label_smoothing", 0.05),
    "--validation-fraction": ("validation_fraction", 0.3),
    "--pooling": ("pooling", "attention+std"),
    "--ema-decay": ("ema_decay", 0.75),
    "--mixup": ("mixup", 0.4),
    "--time-masks": ("time_masks", 2),
    "--time-mask": ("time_mask", 0.15),
    "--feature-masks": ("feature_masks", 3),
    "--feature-mask": ("feature_mask", 0.35),
    "--sampling": ("sampling", "balanced"),
    "--schedule": ("schedule", "constant"),
    "--class-weight": ("class_weight", "balanced"),
    "--epochs": ("epochs", 2),
    "--patience-epochs": ("patience", 9),
    "--sample-rate-hz": ("sample_rate", 7000),
    "--seed": ("random_state", 11),
}
FEATURE_OPTIONS = {
    "--features": ("kind", "log-mel"),
    "--frame-ms": ("frame_ms", 20.0),
    "--hop-ms": ("hop_ms", 8.0),
    "--n-mels": ("n_mels", 15),
    "--f-min-hz": ("f_min_hz", 50.0),
    "--f-max-hz": ("f_max_hz", 3000.0),
    "--delta-order": ("delta_order", 2),
    "--stack-frames": ("stack", 3),
    "--clip-normalisation": ("clip_normalisation", "mean-variance"),
}


def test_every_option_reaches_the_model(run, tones, tmp_path):
    path = tmp_path / "m.safetensors"
    given = [word for option, (_, value) in (OPTIONS | FEATURE_OPTIONS).items() for word in (option, value)]
    assert run("train", tones, "-o", path, *given, "--no-bidirectional").status == 0
    about = json.loads(run("info", path, "--json").out)
    features = about["settings"].pop("features")
    assert {name: about["settings"][name] for name, _ in OPTIONS.values()} == dict(OPTIONS.values())
    assert {name: features[name] for name, _ in FEATURE_OPTIONS.values()} == dict(FEATURE_OPTIONS.values())
    assert about["settings"]["bidirectional"] is False
    assert (about["sample_rate"], len(about["history"])) == (7000, 2)
    loaded = AudioClassifier.load(path)
    assert loaded.params_["linear.weight"].shape == (3, 2 * 5)
    assert loaded.n_features_in_ == 15 * 3 * 3


def test_mfcc_are_as_many_as_asked_for(run, tones, tmp_path):
    assert run("train", tones, "-o", tmp_path / "m", "--n-mfcc", 5, "--epochs", 1).status == 0
    assert json.loads(run("info", tmp_path / "m", "--json").out)["settings"]["features"]["n_mfcc"] == 5
    assert AudioClassifier.load(tmp_path / "m").n_features_in_ == 5 * 2 * 2


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--hidden-size", 0, "hidden_size"),
        ("--hidden-size", -3, "hidden_size"),
        ("--num-layers", 0, "num_layers"),
        ("--dropout", 1.5, "dropout"),
        ("--dropout", "nan", "dropout"),
        ("--forget-bias", "nan", "forget_bias is a number that is finite"),
        ("--epochs", 0, "epochs"),
        ("--patience-epochs", -1, "patience"),
        ("--batch-size", 0, "batch_size"),
        ("--learning-rate", 0, "learning_rate"),
        ("--weight-decay", -1, "weight_decay"),
        ("--label-smoothing", 1, "label_smoothing"),
        ("--pooling", "median", r"pooling is one of mean, max, std, .*, not 'median'"),
        ("--pooling", "mean+mean", r"several joined by \+.*, not 'mean\+mean'"),
        ("--ema-decay", 1, "ema_decay"),
        ("--mixup", -0.1, "mixup"),
        ("--time-masks", -1, "time_masks"),
        ("--time-mask", 1, r"time_mask is a number in \[0, 1\)"),
        ("--feature-masks", -2, "feature_masks"),
        ("--feature-mask", 1.5, r"feature_mask is a number in \[0, 1\)"),
        ("--checkpoint-seconds", -1, "checkpoint_seconds is a number from 0 on"),
        ("--checkpoint-seconds", "nan", "checkpoint_seconds"),
        ("--validation-fraction", 1, "validation_fraction"),
        ("--test-fraction", 1, "test fraction"),
        ("--seed", -1, "seed|random_state"),
        ("--frame-ms", -1, "frame_ms"),
        ("--frame-ms", "inf", "frame_ms"),
        ("--hop-ms", 0, "hop_ms"),
        ("--hop-ms", "inf", "hop_ms"),
        ("--hop-ms", 0.01, "less than a sample"),
        ("--n-mels", 0, "n_mels"),
        ("--n-mels", 500, "500 mel bands are too many"),
        ("--n-mfcc", 50, "n_mfcc"),
        ("--n-mfcc", 0, "n_mfcc"),
        ("--f-min-hz", 4000, "f_min_hz"),
        ("--f-max-hz", 4001, "8000 Hz"),
        ("--stack-frames", 0, "stack"),
        ("--sample-rate-hz", 0, "sample.rate.*above 0"),
        ("--sample-rate-hz", -8000, "^(?!.*--skip-bad).*sample.rate.*above 0"),
    ],
)
def test_a_value_out_of_range_ends_in_one_line_and_nothing_is_written(
    run, tones, tmp_path, option, value, said
):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")
    error = run("train", tones, "-o", path, "--overwrite", option, value).the_error()
    assert re.search(said, error)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("option", [["--n-mels", "4.5"], ["--sampling", "some"], ["--no-such-option"]])
def test_arguments_that_cannot_be_read_have_exit_status_2(capsys, tones, option):
    with pytest.raises(SystemExit) as end:
        main(["train", str(tones), *option])
    assert end.value.code == 2
    assert f"lstm-scratch{'' if 'such' in option[0] else ' train'}: error: " in capsys.readouterr().err


# Interrupted, and resumed.


@pytest.fixture
def stop_at(monkeypatch):
    """Make a training end in its n-th update, some updates after its last checkpoint."""

    def stop_at(update, error, later=0):
        note, calls = _Checkpoints.note, []

        def noted(self, state):
            calls.append(None)
            if len(calls) <= update - later:
                note(self, state)
            if len(calls) == update:
                raise error

        monkeypatch.setattr(_Checkpoints, "note", noted)

    return stop_at


def epochs_in(path):
    return [json.loads(line)["epoch"] for line in path.read_text().splitlines()]


OFTEN = ("--checkpoint-seconds", 0, "--patience-epochs", 99)


def test_a_training_that_is_interrupted_is_resumed_to_the_same_bytes(
    run, tones, tmp_path, stop_at, monkeypatch
):
    whole, path = tmp_path / "whole" / "m.safetensors", tmp_path / "m.safetensors"
    assert run("train", tones, "-o", whole, "--json-log", whole.with_name("log"), *OFTEN).status == 0
    checkpoint, log = tmp_path / "m.checkpoint.safetensors", tmp_path / "log"
    arguments = ("train", tones, "-o", path, "--json-log", log)

    stop_at(12, KeyboardInterrupt(), later=4)
    error = run(*arguments, *OFTEN).the_error()
    monkeypatch.undo()
    assert error == (
        f"lstm-scratch: error: interrupted; {checkpoint} holds the last good weights, a model that `predict` "
        "takes; go on with --resume"
    )
    assert sorted(tmp_path.iterdir()) == [log, checkpoint, whole.parent]
    assert epochs_in(log) == [1, 2, 3]
    assert len(AudioClassifier.load(checkpoint).history_) == 2  # so the third comes again
    outcome = run("predict", checkpoint, tones / "rising" / "1.wav")
    assert outcome.status == 0
    assert outcome.out.startswith(str(tones / "rising" / "1.wav"))

    # Begun again without a word about it, nothing is lost.
    before = checkpoint.read_bytes()
    error = run(*arguments).the_error()
    assert str(checkpoint) in error
    assert "go on with --resume, or begin anew with --overwrite" in error
    assert checkpoint.read_bytes() == before
    assert epochs_in(log) == [1, 2, 3]
    error = run(*arguments, *OFTEN, "--resume", "--hidden-size", 9).the_error()
    assert f"{checkpoint}: a checkpoint of a training with other data or settings" in error
    assert checkpoint.read_bytes() == before

    outcome = run(*arguments, *OFTEN, "--resume")
    assert outcome.status == 0
    assert f"going on from {checkpoint}" in outcome.err
    assert sorted(tmp_path.iterdir()) == [log, path, whole.parent]
    assert path.read_bytes() == whole.read_bytes()
    assert log.read_bytes() == whole.with_name("log").read_bytes()
    assert epochs_in(log) == list(range(1, 13))


@pytest.mark.parametrize("name", ["m.safetensors", "m.checkpoint.safetensors", "data.csv"])
def test_a_log_is_never_written_into_another_file_of_the_training(run, tmp_path, name):
    data = tmp_path / "data.csv"
    data.write_text("path,label\n")
    there = tmp_path / "." / name
    error = run("train", data, "-o", tmp_path / "m.safetensors", "--json-log", there).the_error()
    assert error == f"lstm-scratch: error: {there}: the log is to be a file of its own; name another one"
    assert sorted(tmp_path.iterdir()) == [data]
    assert data.read_text() == "path,label\n"


def test_overwrite_begins_anew_where_a_checkpoint_is(run, tones, tmp_path, stop_at, monkeypatch):
    path = tmp_path / "m.safetensors"
    stop_at(4, KeyboardInterrupt())
    run("train", tones, "-o", path, "--seed", 5).the_error()
    monkeypatch.undo()
    assert run("train", tones, "-o", path, "--epochs", 2, "--overwrite").status == 0
    assert list(tmp_path.iterdir()) == [path]
    assert len(AudioClassifier.load(path).history_) == 2


def test_a_training_that_is_to_be_resumed_begins_where_there_is_no_checkpoint(run, tones, tmp_path):
    path = tmp_path / "m"
    outcome = run("train", tones, "-o", path, "--epochs", 1, "--resume")
    assert outcome.status == 0
    assert f"{tmp_path / 'm.checkpoint'}: not there; from the start" in outcome.err
    assert list(tmp_path.iterdir()) == [path]
    assert "is there already" in run("train", tones, "-o", path, "--resume").the_error()


@pytest.mark.compiled
def test_control_c_ends_in_one_line(tones, tiny_options, tmp_path):
    options = [*tiny_options, "--epochs", "100000", "--quiet", "--checkpoint-seconds", "0.01"]
    process = subprocess.Popen(
        [SCRIPT, "train", tones, "-o", "m", *options], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "m.checkpoint").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    *warned, last = err.splitlines()
    # The first training of all says that it compiles.
    assert all(line.startswith(("warning: ", "lstm-scratch: compiling the kernels")) for line in warned)
    assert last == (
        "lstm-scratch: error: interrupted; m.checkpoint holds the last good weights, a model that `predict` "
        "takes; go on with --resume"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["m.checkpoint"]
    assert AudioClassifier.load(tmp_path / "m.checkpoint").classes_.tolist() == [
        "falling",
        "rising",
        "steady",
    ]


def test_without_a_checkpoint_there_is_another_training_in_the_log(run, tones, tmp_path):
    log, words = tmp_path / "log", ("--resume", "--epochs", 3)
    for name in ("one", "two"):
        assert run("train", tones, "-o", tmp_path / name, "--json-log", log, *words).status == 0
    assert epochs_in(log) == [1, 2, 3, 1, 2, 3]


@pytest.mark.filterwarnings("always")
def test_a_training_that_diverges_ends_in_one_line_with_what_is_left(run, tones, tmp_path):
    options = ("--schedule", "constant", "--learning-rate", 1e37)
    error = run("train", tones, "-o", tmp_path / "m", "--json-log", tmp_path / "log", *options).the_error()
    why, left, anew = error.split("; ")
    assert re.fullmatch(
        r"lstm-scratch: error: the (loss|gradient's norm) became \w+ in update \d \(epoch 1\) at a learning "
        r"rate of 1e\+37, which is likely too high: lower it, or max_gradient_norm",
        why,
    )
    assert left == f"{tmp_path / 'm.checkpoint'} holds the last good weights, a model that `predict` takes"
    assert anew == "begin anew with --overwrite"
    assert list(tmp_path.iterdir()) == [tmp_path / "m.checkpoint"]
    assert run("predict", tmp_path / "m.checkpoint", tones / "steady" / "1.wav").status == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("good", [0, 3])
def test_a_disk_that_takes_no_more_checkpoints_ends_it_in_one_line(
    run, tones, tmp_path, monkeypatch, code, good
):
    path, checkpoint = tmp_path / "m", tmp_path / "m.checkpoint"
    write, written = Path.write_bytes, []

    def full(self, content):
        if len(written) == good:
            write(self, content[:1000])
            raise OSError(code, os.strerror(code))
        written.append(write(self, content))

    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_bytes", full)
        error = run("train", tones, "-o", path, *OFTEN).the_error()
    said = f"lstm-scratch: error: {checkpoint}: cannot write the checkpoint ({os.strerror(code)}); mend that"
    said += " and resume"
    kept = f"; {checkpoint} holds the last good weights, a model that `predict` takes; go on with --resume"
    assert error == said + kept * (good > 0)
    assert list(tmp_path.iterdir()) == [checkpoint] * (good > 0)
    assert run("train", tones, "-o", path, *OFTEN, "--resume").status == 0
    assert run("train", tones, "-o", tmp_path / "whole", *OFTEN).status == 0
    assert path.read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_model_that_cannot_be_written_is_not_lost(run, tones, tmp_path, monkeypatch):
    path, checkpoint = tmp_path / "m", tmp_path / "m.checkpoint"

    def full(self, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as disk:
        disk.setattr(AudioClassifier, "save", full)
        error = run("train", tones, "-o", path).the_error()
    assert error.startswith(
        f"lstm-scratch: error: {path}: No space left on device; {checkpoint} holds the last"
    )
    monkeypatch.setattr("lstm_scratch.optim.AdamW.step", None)  # nothing is left to learn
    assert run("train", tones, "-o", path, "--resume").status == 0
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_takes_no_checkpoint_or_log_is_told_before_anything_is_read(run, tones, tmp_path):
    (tmp_path / "m.checkpoint").mkdir()
    outcome = run("train", tones, "-o", tmp_path / "m", "--overwrite")
    assert f"{tmp_path / 'm.checkpoint'}: is a folder" in outcome.the_error()
    assert "clips of" not in outcome.err
    (tmp_path / "file").touch()
    outcome = run("train", tones, "-o", tmp_path / "n", "--json-log", tmp_path / "file" / "log")
    assert str(tmp_path / "file") in outcome.the_error()
    assert "clips of" not in outcome.err


def test_quiet_leaves_results_and_warnings_and_the_same_bytes(run, split, tones, tmp_path):
    few = ("--epochs", 2, "--validation-fraction", 0.3)
    said = run("train", tones, "-o", tmp_path / "a", *few).err.splitlines()
    assert any(line.startswith("saved ") for line in said)
    outcome = run("train", tones, "-o", tmp_path / "b", *few, "--quiet")
    assert outcome.err.splitlines() == [line for line in said if line.startswith("warning: ")]
    assert outcome.out.splitlines()[0].split() == ["class", "train", "valid", "test", "right"]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    outcome = run("train", split, "-o", tmp_path / "c", *few, "--quiet", "--json")
    assert json.loads(outcome.out)["n"] == 9
    assert all(line.startswith("warning: ") for line in outcome.err.splitlines())
    assert "warning: 3 speaker(s) are on both sides of the given split" in outcome.err
    error = run("train", tones, "-o", tmp_path / "c", "--quiet").the_error()
    assert "is there already" in error


def test_every_epoch_is_logged_as_json(run, tones, tmp_path):
    log = tmp_path / "new" / "log.jsonl"
    for n, name in enumerate(("a", "b")):
        run("train", tones, "-o", tmp_path / name, "--json-log", log, "--epochs", 3 + n, "--seed", n)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    histories = [AudioClassifier.load(tmp_path / name).history_ for name in "ab"]
    assert lines == histories[0] + histories[1]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 1, 2, 3, 4]


# Evaluating and cross-validating.


def test_evaluate_finds_what_train_reported(run, split, tmp_path):
    path = tmp_path / "m.safetensors"
    trained = json.loads(run("train", split, "-o", path, "--epochs", 3, "--json").out)
    outcome = run("evaluate", path, split, "--json")
    assert outcome.out.count("\n") == 1
    evaluated = json.loads(outcome.out)
    for name in ("accuracy", "uar", "n", "confusion", "parameters"):
        assert evaluated[name] == trained[name]
    for name, counts in evaluated["classes"].items():
        assert counts == {part: trained["classes"][name][part] for part in ("test", "correct")}
    assert evaluated["seconds"] > 0
    assert "testing the 9 test rows of 24" in outcome.err
    text = run("evaluate", path, split).out
    assert (
        f"accuracy {100 * trained['accuracy']:.2f} %, UAR {100 * trained['uar']:.2f} % of 9 test clips"
        in text
    )


@pytest.mark.parametrize(("part", "n"), [("training", 15), ("all", 24)])
def test_evaluate_takes_the_part_asked_for(run, model, split, part, n):
    result = json.loads(run("evaluate", model, split, "--part", part, "--json").out)
    assert (result["n"], result["accuracy"]) == (n, 1)


def test_cross_validation_by_speaker_is_reported_per_speaker_and_in_the_mean(run, split):
    outcome = run("cross-validate", split, "--folds", "speaker", "--seeds", 2, "--json")
    assert outcome.out.count("\n") == 1
    result = json.loads(outcome.out)
    assert (result["n"], result["seeds"]) == (24, [0, 1])
    assert [(run["fold"], run["n"]) for run in result["folds"]] == [("s0", 8), ("s1", 8), ("s2", 8)] * 2
    lines = run("cross-validate", split, "--folds", "speaker", "--seeds", 2).out.splitlines()
    assert [line.split()[:4] for line in lines[:3]] == [
        ["speaker", name, "accuracy", f"{100 * value:.2f}"]
        for name, value in result["accuracy_by_fold"].items()
    ]
    for line, bounds, figure in zip(lines[3:7:2], lines[4:7:2], ("accuracy", "uar"), strict=True):
        assert line.split()[:2] == [figure, f"{100 * result[figure]:.2f}"]
        assert f"{100 * result[f'{figure}_sd']:.2f})" in line
        low, high = (f"{100 * bound:.2f}" for bound in result[f"{figure}_interval"])
        assert bounds.strip() == f"95 % interval {low} to {high} %, over 3 speakers"
    assert lines[7].startswith(f"24 clips, {result['parameters']:,} parameters")
    assert len(lines) == 8


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--folds", "source"], "no column 'source'"), (["--folds", "fold"], "no column 'fold'")],
)
def test_cross_validation_that_cannot_be_is_told(run, split, options, said):
    assert said in run("cross-validate", split, *options).the_error()


@pytest.mark.parametrize(
    "arguments",
    [
        ["cross-validate", "d", "--folds", "split", "--seeds", "0"],
        ["cross-validate", "d", "--folds", "split", "--processes", "0"],
        ["predict", "m", "f", "--top", "0"],
    ],
)
def test_counts_below_one_are_wrong_usage(capsys, arguments):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "at least 1, not 0" in capsys.readouterr().err


@pytest.mark.parametrize("folds", ["1", "-3", "2.5", "speakers"])
def test_folds_that_are_none_are_wrong_usage(capsys, folds):
    with pytest.raises(SystemExit, match="2"):
        main(["cross-validate", "d", f"--folds={folds}"])
    said = f"split, fold, speaker, source, group, or a whole number from 2 on, not {folds}"
    assert said in capsys.readouterr().err


def test_results_are_kept_and_put_in_a_table(run, split, tmp_path):
    first, second = tmp_path / "new" / "a.json", tmp_path / "b.json"
    options = ["--folds", 3, "--seeds", 2, "--epochs", 2]
    outcome = run("cross-validate", split, *options, "-o", first, "--json")
    assert f"saved {first}; next, try: " in outcome.err
    assert read_results(first) == json.loads(outcome.out)
    assert run("cross-validate", split, *options, "--part", "validation", "-o", second).status == 0
    validated = read_results(second)
    assert validated["protocol"]["part"] == "validation"
    printed = run("results", first, second, "--figure", "uar")
    rows = [table_row(first), table_row(second)]
    assert (printed.out, printed.err) == (markdown_table(rows, "uar") + "\n", "")
    assert "epochs=2" in printed.out
    assert "| list.csv (24 clips) | 3, validation part | " in printed.out
    found = json.loads(run("results", first, "--without", "steady,rising", "--json").out)
    assert found == {"rows": [table_row(first, ["steady", "rising"])]}
    assert found["rows"][0]["n"] == 8
    assert "no class 'flat'" in run("results", first, "--without", "flat").the_error()
    assert f"{split}: not a whole JSON file" in run("results", first, split).the_error()


def test_results_that_are_there_are_replaced_only_if_wanted(run, split, tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    path.write_bytes(b"old")
    options = ["--folds", "split", "--epochs", 1, "-o", path]
    outcome = run("cross-validate", split, *options)
    assert outcome.the_error() == (
        f"lstm-scratch: error: {path}: is there already; name another file, or pass --overwrite"
    )
    assert (path.read_bytes(), "speaker" in outcome.err) == (b"old", False), "told before anything is read"
    assert run("cross-validate", split, *options, "--overwrite").status == 0
    assert read_results(path)["n"] == 9
    monkeypatch.setattr("lstm_scratch.results.json.dumps", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("cross-validate", split, *options, "--overwrite")
    assert read_results(path)["n"] == 9
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "r.json"]


@pytest.mark.compiled
def test_an_error_in_a_process_of_a_cross_validation_ends_in_its_one_line(run, split, tmp_path):
    lines = split.read_text().splitlines()
    falling = [n for n, line in enumerate(lines) if "falling" in line and not line.endswith("test")]
    for n in falling:
        path = tmp_path / "data" / f"{n}.wav"
        path.write_bytes(b"no sound")
        lines[n] = ",".join([path.name, *lines[n].split(",")[1:]])
    split.write_text("\n".join(lines))
    outcome = run(
        *("cross-validate", split, "--folds", "split", "--seeds", 2, "--processes", 2, "--skip-bad")
    )
    assert "none of the recordings of class 'falling' to train on can be used" in outcome.the_error()


def alive_in_group(group):
    """Processes of a group, but for those that have ended and wait to be counted."""
    stats = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            stats.append(path.read_text().rpartition(")")[2].split())
    return [stat for stat in stats if int(stat[2]) == group and stat[0] not in "ZX"]


@pytest.mark.compiled
def test_ctrl_c_ends_a_cross_validation_and_its_processes_in_one_line(split, tiny_options, tmp_path):
    """As a terminal sends it: to all processes at once."""
    (tmp_path / "tmp").mkdir()
    command = [SCRIPT, "cross-validate", *tiny_options, split, "--folds", "speaker", "--seeds", "10000"]
    command += ["--processes", "2", "-o", tmp_path / "r.json"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp")},
    ) as process:
        said = [process.stderr.readline()]
        while " of 30000: seed " not in said[-1]:
            said.append(process.stderr.readline())
            assert said[-1], said
        assert [path.name[:13] for path in (tmp_path / "tmp").iterdir()] == ["lstm-scratch-"]
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    lines = [line for line in err.splitlines() if " of 30000: seed " not in line]
    assert lines == ["lstm-scratch: error: interrupted"]
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not (tmp_path / "r.json").exists()
    deadline = time.monotonic() + 60
    while alive_in_group(process.pid):  # multiprocessing's own tracker ends when it sees that all others have
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_evaluate_tests_the_fold_that_is_named(run, tones, tmp_path, write_manifest):
    rows = [(path, path.parent.name, int(path.stem) % 4) for path in sorted(tones.glob("*/*.wav"))]
    manifest = write_manifest(tmp_path / "folds.csv", "path,label,fold", rows)
    assert run("train", manifest, "-o", tmp_path / "m", "--test-fold", 1).status == 0
    for options, said in (([], "fold 1"), (["--test-fold", 2], "fold 2")):
        outcome = run("evaluate", tmp_path / "m", manifest, *options, "--json")
        assert json.loads(outcome.out)["n"] == 6
        assert f"testing the 6 rows of {said} of 24" in outcome.err
    assert "no fold 'five'" in run("evaluate", tmp_path / "m", manifest, "--test-fold", "five").the_error()


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_pictures_that_cannot_be_written_are_told_before_anything_is_read(
    run, model, tones, tmp_path, command
):
    (tmp_path / "file").touch()
    target = (tones, "-o", tmp_path / "m") if command == "train" else (model, tones)
    outcome = run(command, *target, "--plots", tmp_path / "file" / "plots")
    assert str(tmp_path / "file") in outcome.the_error()
    assert not (tmp_path / "m").exists()
    assert "clips of" not in outcome.err


def test_a_file_name_that_is_no_text_is_labelled_and_printed(run, model, write_tone, tmp_path):
    path = tmp_path / os.fsdecode(b"f\xfcnf.wav")
    write_tone(tmp_path / "plain.wav", "rising").rename(path)
    process = subprocess.run(
        [SCRIPT, "predict", model, path, os.fsdecode(b"g\xfc")], capture_output=True, check=False
    )
    assert process.returncode == 1
    assert b"f\\udcfcnf.wav\trising" in process.stdout
    assert b"g\\udcfc: no such file" in process.stderr
    assert b"Traceback" not in process.stderr


def test_the_program_runs_as_a_module_too():
    process = subprocess.run(
        [sys.executable, "-m", "lstm_scratch", "--version"], capture_output=True, text=True, check=True
    )
    assert process.stdout == "lstm-scratch 0.1.0\n"


# Predicting.


def test_predict_prints_a_line_per_file_the_most_probable_label_first(run, trained, model, tones):
    files = [tones / "rising" / "1.wav", tones / "steady" / "6.wav"]
    outcome = run("predict", model, *files)
    assert (outcome.status, outcome.err) == (0, "")
    for line, file, row in zip(outcome.out.splitlines(), files, trained.predict_proba(files), strict=True):
        ranked = sorted(zip(row.tolist(), trained.classes_, strict=True), reverse=True)
        assert line.split("\t") == [str(file), *(f"{label} {p:.3f}" for p, label in ranked)]
        assert line.split("\t")[1].startswith(file.parent.name)


@pytest.mark.parametrize(("top", "shown"), [(1, 1), (2, 2), (9, 3)])
def test_predict_shows_as_many_labels_as_asked_for(run, model, tones, top, shown):
    line = run("predict", model, tones / "rising" / "1.wav", "--top", top).out
    assert len(line.split("\t")) == 1 + shown


def test_predict_as_json_has_every_probability(run, trained, model, tones):
    files = [tones / "falling" / "0.wav", tones / "rising" / "7.wav"]
    outcome = run("predict", model, *files, "--json", "--top", 1)
    assert outcome.out.count("\n") == 1
    predictions = json.loads(outcome.out)["predictions"]
    assert [(p["file"], p["label"]) for p in predictions] == [(str(f), f.parent.name) for f in files]
    for prediction, row in zip(predictions, trained.predict_proba(files), strict=True):
        wanted = dict(zip(trained.classes_.tolist(), row.tolist(), strict=True))
        assert prediction["probabilities"] == pytest.approx(wanted, abs=1e-6)
        assert sum(prediction["probabilities"].values()) == pytest.approx(1, abs=1e-5)


# Telling what is in a model.


def test_info_tells_what_is_in_a_model(run, trained, model):
    text = run("info", model).out
    assert f"{model}: AudioClassifier, {trained.n_parameters_:,} parameters" in text
    for words in (
        "sample rate: 8000 Hz",
        "classes (3): falling, rising, steady",
        "hidden_size=8",
        "n_mfcc=8",
    ):
        assert words in text
    assert f"trained: {len(trained.history_)} epochs" in text


def test_info_as_json_is_the_description_and_the_size(run, trained, model):
    outcome = run("info", model, "--json")
    assert outcome.out.count("\n") == 1
    about = json.loads(outcome.out)
    assert about.pop("parameters") == trained.n_parameters_
    assert about == json.loads(json.dumps(trained.describe()))


# Pictures.


def test_plots_are_drawn_where_asked_for(run, split, tmp_path):
    path, folder = tmp_path / "m.safetensors", tmp_path / "new" / "plots"
    assert run("train", split, "-o", path, "--plots", folder).status == 0
    assert run("evaluate", path, split, "--plots", tmp_path / "test").status == 0
    pictures = sorted(picture.relative_to(tmp_path).as_posix() for picture in tmp_path.rglob("*.png"))
    assert pictures == ["new/plots/confusion.png", "new/plots/training.png", "test/confusion.png"]
    images = {name: imread(tmp_path / name) for name in pictures}
    for name, image in images.items():
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert image.min() < 0.5 < image.max()
    assert np.array_equal(images["new/plots/confusion.png"], images["test/confusion.png"]), "the same figures"


def test_without_matplotlib_plots_are_refused_before_the_training(run, split, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    outcome = run("train", split, "-o", tmp_path / "m.safetensors", "--plots", tmp_path / "plots")
    assert "pip install 'lstm-scratch[plots]'" in outcome.the_error()
    assert not list(tmp_path.glob("*.safetensors"))
    assert not (tmp_path / "plots").exists()


# Features.


@pytest.fixture
def recording(write_tone, tmp_path):
    return write_tone(tmp_path / "sound" / "tone.wav", "rising", seconds=0.3)


def test_features_are_summed_up(run, recording):
    outcome = run("features", recording, "--set", "n_mels=20", "--set", "window=povey")
    features = FeatureSettings(n_mels=20, window="povey")(*read_audio(recording))
    assert features.shape == (31, 13)
    assert outcome.out.splitlines() == [
        f"{recording}: 0.300 s, 2400 samples at 8000 Hz",
        "settings: window=povey, n_mels=20",
        f"features: 31 frames x 13 columns, from {features.min():.4g} to {features.max():.4g}",
    ]
    assert (outcome.status, outcome.err) == (0, "")
    assert "settings: all as by default\n" in run("features", recording).out
    words = [word for change in ("frame_length=300", "hop_ms=5", "top_db=none") for word in ("--set", change)]
    out = run("features", recording, *words).out
    assert "settings: hop_ms=5.0, frame_length=300, top_db=None\n" in out


def test_features_as_json_and_as_npy_are_those_of_the_function(run, recording, tmp_path):
    path = tmp_path / "new" / "kaldi.npy"
    words = ["--preset", "kaldi", "--set", "delta_order=2", "--sample-rate-hz", 6000]
    outcome = run("features", recording, *words, "-o", path, "--json")
    assert outcome.out.count("\n") == 1
    assert outcome.err == f"saved {path}\n"
    settings, (samples, rate) = preset("kaldi", delta_order=2), read_audio(recording, 6000)
    features = settings(samples, rate)
    saved = np.load(path, allow_pickle=False)
    assert (saved.dtype, saved.shape) == (np.float32, (28, 39))
    np.testing.assert_array_equal(saved, features)
    assert list(path.parent.iterdir()) == [path]
    result = json.loads(outcome.out)
    assert FeatureSettings(**result.pop("settings")) == settings
    assert result == {
        "file": str(recording),
        "samples": 1800,
        "seconds": 0.3,
        "sample_rate_hz": 6000,
        "shape": [28, 39],
        "least": float(features.min()),
        "largest": float(features.max()),
    }


SETTINGS = {
    "kind=log-mel": "log-mel",
    "dither=0.5": 0.5,
    "dither_seed=7": 7,
    "frame_ms=20": 20.0,
    "frame_length=300": 300,
    "pre_emphasis=0.9": 0.9,
    "remove_dc=true": True,
    "mel_float32 = False": False,
    "top_db=none": None,
    "n_fft=None": None,
    "energy=none": "none",
    "dct_type=3": 3,
    "delta_order=1": 1,
    "log_floor=1e-5": 1e-5,
}


@pytest.mark.parametrize(("word", "value"), SETTINGS.items(), ids=SETTINGS)
def test_a_setting_is_read_by_its_type(run, recording, word, value):
    settings = json.loads(run("features", recording, "--set", word, "--json").out)["settings"]
    read = settings[word.split("=")[0].strip()]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--preset", "kadi"], "there is no preset 'kadi'; there are librosa, htk, kaldi"),
        (["--compare", "kadi"], "there is no preset 'kadi'; there are librosa, htk, kaldi"),
        (["--set", "n_mel=20"], "there is no setting 'n_mel'; did you mean n_mels?"),
        (["--compare-set", "windw=hann"], "there is no setting 'windw'; did you mean window?"),
        (["--set", "n_mels=few"], "n_mels is a positive whole number, not 'few'"),
        (["--set", "n_mels=4.5"], "n_mels is a positive whole number, not '4.5'"),
        (["--set", "remove_dc=1"], "remove_dc is True or False, not '1'"),
        (["--set", "f_min_hz=nan"], "f_min_hz is a number from 0 on, not nan"),
        (["--set", "dct_type=4"], "dct_type is one of 1, 2, 3, not '4'"),
        (["--set", "hop_ms=none", "--set", "n_mels=none"], "n_mels is a positive whole number, not 'none'"),
        (["--set", "window"], "a setting is told as NAME=VALUE, such as n_mels=26, not 'window'"),
        (["--set", "f_max_hz=4001"], "do not fit a sample rate of 8000 Hz"),
        (["--compare-set", "f_max_hz=4001"], "do not fit a sample rate of 8000 Hz"),
        (["--sample-rate-hz", "0"], "0"),
    ],
)
def test_features_that_cannot_be_end_in_one_line_and_nothing_is_written(
    run, recording, tmp_path, words, said
):
    written = ["-o", tmp_path / "f.npy", "--plot", tmp_path / "f.png"]
    assert said in run("features", recording, *words, *written).the_error()
    assert list(tmp_path.iterdir()) == [recording.parent]


def test_features_of_no_recording_end_in_one_line(run, tmp_path):
    assert f"{tmp_path / 'none.wav'}: no such file" in run("features", tmp_path / "none.wav").the_error()


@pytest.mark.parametrize("option", ["-o", "--plot"])
def test_features_replace_a_file_only_when_told_to(run, recording, option):
    path = recording.with_name("old")
    path.write_bytes(b"old")
    error = run("features", recording, option, path).the_error()
    assert f"{path}: is there already; name another file, or pass --overwrite" in error
    assert path.read_bytes() == b"old"
    assert run("features", recording, option, path, "--overwrite").status == 0
    assert path.read_bytes().startswith(b"\x93NUMPY" if option == "-o" else b"\x89PNG\r\n\x1a\n")
    assert sorted(recording.parent.iterdir()) == [path, recording]


def test_neither_the_recording_nor_another_result_is_replaced(run, recording, tmp_path):
    before, path = recording.read_bytes(), tmp_path / "both"
    link = tmp_path / "link.wav"
    link.symlink_to(recording)
    for outputs in (["-o", recording], ["--plot", link], ["-o", path, "--plot", tmp_path / "." / "both"]):
        error = run("features", recording, *outputs, "--overwrite").the_error()
        assert "are to be different files; name another one" in error
    assert recording.read_bytes() == before
    assert not path.exists()
    os.mkfifo(path)
    assert (
        "is no file that could be replaced"
        in run("features", recording, "-o", path, "--overwrite").the_error()
    )
    assert path.is_fifo()


@pytest.mark.filterwarnings("always")
def test_what_is_warned_of_takes_one_line(run, tmp_path):
    path = tmp_path / "loud.wav"
    soundfile.write(path, np.full(900, 200.0), 8000, subtype="FLOAT")
    outcome = run("features", path)
    assert outcome.status == 0
    for line, name in zip(outcome.err.splitlines(), (path, "samples"), strict=True):
        assert line.startswith(f"lstm-scratch: warning: {name}: a sample of 200, but full scale is 1")


def test_infinite_differences_are_null_in_json(run, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(900), 8000)
    given = ("--set", "top_db=none", "--compare-set", "log_floor=0", "--json")
    result = json.loads(run("features", tmp_path / "silent.wav", *given).out, parse_constant=pytest.fail)
    assert result["difference"]["relative"] is result["difference"]["largest"] is None


def test_features_are_compared(run, recording):
    samples, rate = read_audio(recording)
    outcome = run("features", recording, "--preset", "htk", "--compare", "kaldi")
    found = explain_difference("htk", "kaldi", samples, rate)
    assert outcome.out.split("\n\n", 1)[1] == f"{found}\n"
    assert "htk and kaldi part at stage 3 of 12, DC removal, by remove_dc\n" in outcome.out
    outcome = run("features", recording, "--compare", "none", "--compare-set", "stack=2", "--json")
    result = json.loads(outcome.out)["difference"]
    assert (result["names"], result["stage"]) == (["defaults", "defaults changed"], "stacking")
    assert (result["settings"], result["values"]) == (["stack"], {"stack": [1, 2]})
    assert result["shapes"] == result["final"]["shapes"] == [[31, 13], [16, 26]]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], ["kaldi", "kaldi changed"]),
        (["--set", "n_mels=20"], ["kaldi changed", "kaldi changed again"]),
        (["--compare", "kaldi", "--set", "window=povey"], ["kaldi changed (1)", "kaldi changed (2)"]),
    ],
)
def test_features_are_compared_with_a_setting_changed(run, recording, words, names):
    outcome = run(
        "features", recording, "--preset", "kaldi", *words, "--compare-set", "window=hamming", "--json"
    )
    found = json.loads(outcome.out)["difference"]
    assert (found["names"], found["stage"], found["settings"]) == (names, "window", ["window"])
    assert found["values"] == {"window": ["povey", "hamming"]}


def test_infinities_are_null_in_json(run, write_tone, tmp_path):
    recording = tmp_path / "silence.wav"
    soundfile.write(recording, np.zeros(800), 8000)
    floors = ["--set", "kind=log-mel", "--set", "n_mels=20", "--set", "top_db=none", "--set", "log_floor=0"]
    out = run("features", recording, *floors, "--compare-set", "log_floor=1e-10", "--json").out
    result = json.loads(out, parse_constant=pytest.fail)
    assert (result["least"], result["difference"]["largest"]) == (None, None)
    assert result["difference"]["settings"] == ["log_floor"]


def test_features_are_drawn(run, recording, tmp_path):
    path = tmp_path / "new" / "tone.png"
    assert run("features", recording, "--preset", "kaldi", "--plot", path).status == 0
    image = imread(path)
    assert image.min() < 0.5 < image.max()
    assert list(path.parent.iterdir()) == [path]


def test_without_matplotlib_features_are_not_drawn_and_nothing_is_written(
    run, recording, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    outcome = run("features", recording, "--plot", tmp_path / "p.png", "-o", tmp_path / "f.npy")
    assert "pip install 'lstm-scratch[plots]'" in outcome.the_error()
    assert list(tmp_path.iterdir()) == [recording.parent]


@pytest.mark.compiled
def test_warmup_compiles_the_kernels_and_tells_where_they_are_kept(run):
    result = json.loads(run("warmup", "--json").out)
    for package, function in ((engines, "passes.backward"), (features, "frames._extract")):
        folder = cache_folder(Path(package.__file__).parent / "kernels")
        assert folder.parent == Path(result["folder"])
        assert list(folder.rglob(f"{function}*.nbi"))
    assert result["seconds"] >= 0


def test_warmup_without_numba_says_what_to_do(run, monkeypatch):
    monkeypatch.setattr(engines, "_kernels", lambda: None)
    finished = run("warmup")
    assert finished.status == 1
    assert finished.err.startswith("lstm-scratch: error: there is no working numba here: pip install numba")
    assert finished.err.count("\n") == 1


@pytest.mark.compiled
def test_a_variable_that_is_no_number_of_threads_ends_in_one_line(run, tones, tmp_path, monkeypatch):
    monkeypatch.setenv("LSTM_SCRATCH_NUM_THREADS", "zwei")
    outcome = run("train", tones, "-o", tmp_path / "m.safetensors")
    message = "LSTM_SCRATCH_NUM_THREADS is a whole number above 0, not 'zwei'"
    assert outcome.the_error() == f"lstm-scratch: error: {message}"


def test_any_setting_of_the_features_can_be_trained_with_and_such_a_model_listens(run, split, tmp_path):
    model = tmp_path / "live.safetensors"
    words = ("--set", "top_db=none", "--set", "framing=whole-frames", "--set", "n_mels=19")
    run("train", split, "-o", model, "--no-bidirectional", "--delta-order", 0, "--stack-frames", 1, *words)
    classifier = AudioClassifier.load(model)
    assert classifier.features == FeatureSettings(
        top_db=None, framing="whole-frames", n_mels=19, n_mfcc=classifier.features.n_mfcc
    )
    samples = np.sin(np.arange(2000) * 0.7).astype(np.float32)
    said = Stream(classifier).push(samples)
    np.testing.assert_allclose(said[-1:], classifier.predict_proba([samples]), rtol=0, atol=1e-5)
    error = run("train", split, "-o", tmp_path / "m", "--set", "top_dB=none").the_error()
    assert "there is no setting 'top_dB'; did you mean top_db?" in error
