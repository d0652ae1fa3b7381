"""The command `vad`: what it prints, in each format, is what the detector finds; live, as soon as can be."""

import csv
import io
import json
import subprocess
import sys
import threading

import numpy as np
import pytest
import soundfile

from lstm_scratch.cli import main
from lstm_scratch.segments import Segmentation

RATE = 12_000  # of the detector


@pytest.fixture
def talk(tmp_path, words):
    path = tmp_path / "talk.wav"
    soundfile.write(path, words, RATE, subtype="PCM_16")
    return path


@pytest.fixture
def other(tmp_path, words):
    """Half of it, at another rate, in a file whose name has white space."""
    path = tmp_path / "other talk.flac"
    soundfile.write(path, words[: len(words) // 2], 16_000, subtype="PCM_16")
    return path


@pytest.fixture
def vad(run, detector_file):
    return lambda *arguments: run("vad", "--model", detector_file, *arguments)


@pytest.fixture
def stdin(monkeypatch):
    def stdin(data):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))

    return stdin


def rounded(segments, n_values=3):
    return [tuple(round(value, 3) for value in segment)[:n_values] for segment in segments]


def parsed(kind, out, named):
    """Segments by name, from what was printed; None for a name where there is none."""
    found = {}
    if kind == "csv":
        rows = list(csv.DictReader(io.StringIO(out)))
        assert out.startswith("file,start_s,end_s,probability\n")
        for row in rows:
            values = [float(row[name]) for name in ("start_s", "end_s", "probability")]
            found.setdefault(row["file"], []).append(tuple(values))
        return found
    for line in out.splitlines():
        fields = line.split("\t")
        name = None
        if kind == "rttm":
            what, name, channel, start, length, *no, label, probability, end = line.split(" ")
            assert (what, channel, no, label, end) == ("SPEAKER", "1", ["<NA>"] * 2, "speech", "<NA>")
            values = float(start), round(float(start) + float(length), 3), float(probability)
        elif kind == "audacity":
            values, label = tuple(map(float, fields[:2])), fields[2]
            assert len(fields) == 3
            if named:
                name = label
            else:
                assert label == "speech"
        else:
            name = fields.pop(0) if named else None
            assert len(fields) == 3
            values = tuple(map(float, fields))
        found.setdefault(name, []).append(values)
    return found


@pytest.mark.parametrize("kind", ["text", "csv", "audacity", "rttm"])
def test_lines_tell_what_the_detector_finds(vad, detector, talk, other, kind):
    n_values = 2 if kind == "audacity" else 3
    wanted = {str(path): rounded(detector.detect(path), n_values) for path in (talk, other)}
    assert [len(segments) for segments in wanted.values()] == [4, 2]
    outcome = vad("--format", kind, talk)
    assert (outcome.status, outcome.err) == (0, "")
    name = str(talk) if kind in ("csv", "rttm") else None
    assert parsed(kind, outcome.out, named=False) == {name: wanted[str(talk)]}
    outcome = vad("--format", kind, talk, other)
    if kind == "rttm":
        wanted = {name.replace(" ", "_"): segments for name, segments in wanted.items()}
    assert parsed(kind, outcome.out, named=True) == wanted
    assert (outcome.status, outcome.err) == (0, "")


def test_text_is_what_is_printed_if_nothing_is_said(vad, talk):
    assert vad(talk).out == vad("--format", "text", talk).out
    assert vad(talk).out.count("\n") == 4


@pytest.mark.parametrize("option", [["--format", "json"], ["--json"], ["--json", "--format", "csv"]])
def test_json_is_one_object_at_the_end(vad, detector, talk, other, option):
    outcome = vad(*option, talk, other)
    assert (outcome.status, outcome.err, outcome.out.count("\n")) == (0, "", 1)
    recordings = json.loads(outcome.out)["recordings"]
    assert [recording["file"] for recording in recordings] == [str(talk), str(other)]
    for path, recording in zip((talk, other), recordings, strict=True):
        values = [(s["start_s"], s["end_s"], s["probability"]) for s in recording["segments"]]
        assert values == rounded(detector.detect(path))
        assert "error" not in recording


def test_where_nobody_speaks_nothing_is_printed(vad, tmp_path):
    path = tmp_path / "quiet.wav"
    soundfile.write(path, np.zeros(9001), RATE)
    assert vad(path) == (0, "", "")
    assert vad("--format", "csv", path) == (0, "file,start_s,end_s,probability\n", "")
    quiet = {"recordings": [{"file": str(path), "segments": []}]}
    assert json.loads(vad("--json", path).out) == quiet


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (["--onset", 0.9], {"onset": 0.9}),
        (["--offset", 0.02], {"offset": 0.02}),
        (["--onset", 0.1, "--offset", 0.05], {"onset": 0.1, "offset": 0.05}),
        (["--min-speech-s", 0.4], {"min_speech_s": 0.4}),
        (["--min-silence-s", 0.6], {"min_silence_s": 0.6}),
        (["--padding-s", 0.123], {"padding_s": 0.123}),
    ],
)
def test_every_option_arrives(vad, detector, talk, options, settings):
    found = parsed("text", vad(talk, *options).out, named=False)[None]
    assert found == rounded(detector.detect(talk, Segmentation(**settings)))
    assert found != rounded(detector.detect(talk)), "an option that changes nothing would pass"


def test_settings_that_contradict_each_other_end_in_one_line(vad, talk):
    error = vad(talk, "--onset", 0.3).the_error()
    assert error == "lstm-scratch: error: offset is at most the onset, 0.3, not 0.35; lower it"
    assert "min_speech_s is a number from 0 on" in vad(talk, "--min-speech-s", -1).the_error()


# From a pipe


@pytest.mark.parametrize("kind", ["text", "json"])
def test_raw_samples_from_stdin_are_as_the_file(vad, detector, talk, words, stdin, kind):
    stdin(words.tobytes())
    outcome = vad("-", "--sample-rate-hz", RATE, "--format", kind)
    assert (outcome.status, outcome.err) == (0, "")
    if kind == "json":
        (recording,) = json.loads(outcome.out)["recordings"]
        assert recording["file"] == "-"
        found = [tuple(segment.values()) for segment in recording["segments"]]
    else:
        found = parsed("text", outcome.out, named=False)[None]
    assert found == rounded(detector.detect(talk))


def test_stdin_is_at_16_khz_if_nothing_is_said(vad, detector, words, stdin, tmp_path):
    path = tmp_path / "faster.wav"
    soundfile.write(path, words, 16_000, subtype="PCM_16")
    stdin(words.tobytes())
    found = parsed("text", vad("-", path).out, named=True)
    assert found["-"] == found[str(path)] == rounded(detector.detect(path))


def test_a_segment_is_printed_while_the_sound_goes_on(detector, detector_file, words, talk):
    """The line comes before stdin ends: whoever reads it waits for nothing else."""
    command = [sys.executable, "-m", "lstm_scratch", "vad", "--model", detector_file, "-"]
    command += ["--sample-rate-hz", str(RATE)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # Without buffers of ours, in which a second line would be lost to `communicate`.
    with subprocess.Popen(command, bufsize=0, **pipes) as process:
        guard = threading.Timer(120, process.kill)  # who waits for the end of stdin would wait for ever
        guard.start()
        process.stdin.write(words[: 2 * RATE + 600].tobytes())  # the second word is over, the third to come
        process.stdin.flush()
        lines = [process.stdout.readline().decode()]
        rest, err = process.communicate(words[2 * RATE + 600 :].tobytes())
        guard.cancel()
    assert (process.returncode, err) == (0, b"")
    assert lines[0].count("\t") == 2
    wanted = rounded(detector.detect(talk))
    assert parsed("text", lines[0] + rest.decode(), named=False)[None] == wanted


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no raw samples came; look at what writes them"),
        (bytes(2001), "the raw samples end in half of one; 16 bits each are wanted, mono"),
    ],
)
def test_a_bad_pipe_ends_in_one_line(vad, stdin, data, message):
    stdin(data)
    assert vad("-").the_error() == f"lstm-scratch: error: {message}"


def test_a_rate_that_is_none_is_refused(vad, capsys):
    with pytest.raises(SystemExit) as end:
        vad("-", "--sample-rate-hz", 0)
    assert end.value.code == 2
    assert "--sample-rate-hz: at least 1, not 0" in capsys.readouterr().err


# What goes wrong


@pytest.fixture
def bad(tmp_path, talk):
    """Files that cannot be used, and what is said of them."""
    names = {"empty.wav": b"", "text.wav": b"once upon a time", "cut.wav": talk.read_bytes()[:60_000]}
    for name, content in names.items():
        (tmp_path / name).write_bytes(content)
    reasons = ["the file is empty", "not a readable recording", "truncated", "no such file"]
    return dict(zip([tmp_path / name for name in (*names, "none.wav")], reasons, strict=True))


def test_bad_files_have_a_line_each_and_the_others_go_on(vad, detector, talk, other, bad):
    outcome = vad(*bad, talk, other)
    lines = outcome.err.splitlines()
    assert outcome.status == 1
    for line, (path, reason) in zip(lines, bad.items(), strict=True):
        assert line.startswith(f"lstm-scratch: error: {path}: {reason}")
    found = parsed("text", outcome.out, named=True)
    for path in (talk, other):
        assert found.pop(str(path)) == rounded(detector.detect(path))
    # What was certain before it showed that a file is cut short, was printed.
    assert list(found) == [str(path) for path in bad if path.name == "cut.wav"]


def test_bad_files_are_in_the_json_too(vad, detector, talk, bad):
    outcome = vad("--json", *bad, talk)
    assert outcome.status == 1
    assert len(outcome.err.splitlines()) == 4
    *wrong, right = json.loads(outcome.out)["recordings"]
    for recording, (path, reason) in zip(wrong, bad.items(), strict=True):
        assert recording["file"] == str(path)
        assert recording["error"].startswith(f"{path}: {reason}")
    assert [tuple(segment.values()) for segment in right["segments"]] == rounded(detector.detect(talk))


def test_a_model_that_is_no_detector_is_refused_in_one_line(run, model, talk, tmp_path, detector_file, tones):
    error = run("vad", "--model", model, talk).the_error()
    assert (
        error
        == f"lstm-scratch: error: {model}: holds a AudioClassifier, not a SpeechDetector; name another file"
    )
    assert "no such model file" in run("vad", "--model", tmp_path / "none", talk).the_error()
    assert "not a whole safetensors file" in run("vad", "--model", talk, talk).the_error()
    assert "holds a SpeechDetector" in run("predict", detector_file, talk).the_error()


def test_without_a_model_the_shipped_one_is_taken(run, detector_file, talk, vad, monkeypatch):
    monkeypatch.setattr("lstm_scratch.cli.SHIPPED", detector_file)
    assert run("vad", talk) == vad(talk)


def test_a_closed_stdin_is_told(vad, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    error = vad("-").the_error()
    assert error == "lstm-scratch: error: -: stdin is closed; name a file, or pipe samples in"


def test_a_shipped_model_is_found_by_its_name(run, talk):
    outcome = run("vad", "--model", "voice-activity", talk)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome == run("vad", talk)


def test_info_tells_what_is_in_a_detector(run, detector, detector_file):
    outcome = run("info", detector_file)
    lines = outcome.out.splitlines()
    assert (outcome.status, outcome.err) == (0, "")
    assert lines[0] == f"{detector_file}: SpeechDetector, {detector.n_parameters_:,} parameters"
    assert lines[1:3] == ["sample rate: 12000 Hz", "classes (2): other, speech"]
    assert lines[5].startswith("trained: 5 epochs; ")
    about = json.loads(run("info", detector_file, "--json").out)
    assert (about["settings"]["look_ahead"], about["settings"]["scenes"]["duration_s"]) == (3, 3)


def test_help_names_every_setting_and_its_default(capsys):
    with pytest.raises(SystemExit) as end:
        main(["vad", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0
    for option, default in (("onset", 0.5), ("offset", 0.35), ("min-speech-s", 0.25), ("padding-s", 0.05)):
        assert f"--{option} N" in out
        assert f"(default: {default})" in out.split(f"--{option} N ")[1].split("--")[0]
    assert "{text,json,csv,audacity,rttm}" in out
