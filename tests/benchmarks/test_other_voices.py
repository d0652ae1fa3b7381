"""The corpus with other voices: whose clips are in it, and that none of the others is tested."""

import csv
import sys
from collections import Counter

import numpy as np
import pytest
import soundfile

from benchmarks import other_voices
from benchmarks.other_voices import main, recorded_digits, without_silence, write_corpus
from lstm_scratch.corpus import read_corpus
from lstm_scratch.division import divisions
from lstm_scratch.errors import DataError, UserError
from lstm_scratch.synthesis import DIGITS, spoken_digits

RATE = 16_000


def tone(seconds, before=0.0, after=0.0):
    sound = 0.5 * np.sin(np.arange(round(RATE * seconds)) * 0.3)
    return np.concatenate([np.zeros(round(RATE * before)), sound, np.zeros(round(RATE * after))])


@pytest.fixture
def data(tmp_path):
    """Corpora of tones: three speakers of two digits; and four words, of which two are digits."""
    data = tmp_path / "data"
    fsdd = [
        ("a/4.wav", "4", "ada"),
        ("a/7.wav", "7", "ada"),
        ("b/4.wav", "4", "ben"),
        ("b/7.wav", "7", "ben"),
    ]
    fsdd += [("c/4.wav", "4", "cleo"), ("c/7.wav", "7", "cleo")]
    words = [
        "_unknown_/seven_x_0.flac",
        "_unknown_/bed_x_0.flac",
        "_unknown_/four_y_1.flac",
        "yes/four_z_0.flac",
    ]
    for name, columns, rows in (
        ("fsdd", ("path", "label", "speaker"), fsdd),
        ("speech_commands_v2_test", ("path", "label"), [(path, "any") for path in words]),
    ):
        for path, *_ in rows:
            (data / name / path).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(data / name / path, tone(0.5, before=0.2, after=0.3), RATE)
        with (data / name / "manifest.csv").open("w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
    return data


@pytest.fixture
def two_accents(monkeypatch):
    pytest.importorskip("espeakng_loader", reason="needs the speech synthesizer of the extra demo")
    monkeypatch.setattr(other_voices, "ACCENTS", {"en-us": DIGITS, "de": DIGITS})


def test_others_are_trained_on_in_every_round_and_never_tested(data, two_accents, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["--data", "data", "-o", "made/corpus", "--accents", "1"])
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["corpus"], "nothing is left beside it"
    corpus = read_corpus(tmp_path / "made" / "corpus")
    n_others = 2 * 5 + 104 * 10  # words by speeds; voices by digits
    assert len(corpus) == 6 + n_others
    assert [path.resolve() for path in corpus.paths[:6]] == [
        path.resolve() for path in read_corpus(data / "fsdd").paths
    ]
    assert corpus.labels[:6] == ["4", "7"] * 3
    assert corpus.groups[:6] == ["ada", "ada", "ben", "ben", "cleo", "cleo"]
    for part, n_left_out in (("test", 0), ("validation", 2)):
        rounds = divisions(corpus, "speaker", part)
        assert [name for name, _ in rounds] == ["ada", "ben", "cleo"]
        for _, division in rounds:
            assert set(range(6, 6 + n_others)) <= set(division.training.tolist())
            assert (len(division.training), len(division.test)) == (n_others + 4 - n_left_out, 2)


def test_a_voice_speaks_with_one_accent_and_its_neighbour_with_the_next(data, two_accents, tmp_path):
    corpus = read_corpus(write_corpus(data, tmp_path / "corpus", accents_per_voice=1))
    spoken = [path for path in corpus.paths if "synthetic" in path.parts]
    clips = Counter((path.parent.name, path.name.split("-")[0]) for path in spoken)
    assert set(clips.values()) == {10}
    assert [accent for accent, _ in sorted(clips, key=lambda clip: clip[1])] == ["en-us", "de"] * 52
    labels = Counter(label for path, label in zip(corpus.paths, corpus.labels, strict=True) if path in spoken)
    assert labels == dict.fromkeys("0123456789", 104)

    whole = read_corpus(spoken_digits(tmp_path / "whole", "de")).paths
    (path,) = [path for path in whole if path.parts[-2:] == ("Alicia", "six.wav")]
    samples, rate = soundfile.read(path, dtype="float32")
    ours, our_rate = soundfile.read(
        tmp_path / "corpus" / "synthetic" / "de" / "Alicia-six.wav", dtype="float32"
    )
    assert our_rate == rate
    np.testing.assert_array_equal(ours, without_silence(samples, rate))
    assert (
        corpus.labels[corpus.paths.index(tmp_path / "corpus" / "synthetic" / "de" / "Alicia-six.wav")] == "6"
    )


def test_a_voice_may_speak_with_all_accents(data, two_accents, tmp_path):
    corpus = read_corpus(write_corpus(data, tmp_path / "corpus", accents_per_voice=2))
    accents = Counter(path.parent.name for path in corpus.paths if "synthetic" in path.parts)
    assert accents == {"en-us": 1040, "de": 1040}


def test_recorded_digits_are_cut_and_played_at_every_speed(data, tmp_path):
    rows = list(recorded_digits(data / "speech_commands_v2_test", tmp_path))
    assert [label for _, label, _ in rows] == ["7"] * 5 + ["4"] * 5, (
        "no other words, and none of other labels"
    )
    assert {speaker for *_, speaker in rows} == {"none"}
    assert [name for name, *_ in rows[5:]] == [f"recorded/four_y_1-{n}.wav" for n in (80, 90, 100, 110, 120)]
    seconds = [soundfile.info(tmp_path / name).duration for name, *_ in rows[:5]]
    assert seconds == pytest.approx([0.52 / speed for speed in (0.8, 0.9, 1.0, 1.1, 1.2)], abs=1e-4)
    samples, rate = soundfile.read(tmp_path / rows[2][0])
    assert rate == RATE
    np.testing.assert_allclose(samples, tone(0.5, before=0.01, after=0.01), atol=1e-4)


def test_a_frame_of_silence_stays_on_either_side():
    sound = tone(0.3, before=0.14, after=0.25)
    np.testing.assert_array_equal(without_silence(sound, RATE), tone(0.3, before=0.01, after=0.01))
    sound[: RATE // 100] = 0.5 * 10 ** (-29 / 20) / np.sqrt(2)  # faint, but within 30 dB
    np.testing.assert_array_equal(without_silence(sound, RATE), sound[: round(0.45 * RATE)])
    sound[: RATE // 100] *= 10 ** (-2 / 20)
    np.testing.assert_array_equal(without_silence(sound, RATE), tone(0.3, before=0.01, after=0.01))


@pytest.mark.parametrize("sound", [np.zeros(700, np.float32), np.ones(12, np.float32)])
def test_what_has_no_beginning_stays_whole(sound):
    assert without_silence(sound, RATE) is sound


# What goes wrong.


def test_a_folder_that_is_there_is_left_alone(data, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--data", str(data), "-o", str(data)])
    assert stop.value.code == 1
    assert capsys.readouterr().err == f"{data}: is there already; remove it or name another folder\n"
    assert sorted(path.name for path in data.iterdir()) == ["fsdd", "speech_commands_v2_test"]


def test_a_corpus_that_is_missing_is_told_and_nothing_is_left(data, tmp_path):
    (data / "speech_commands_v2_test").rename(data / "elsewhere")
    with pytest.raises(DataError, match=r"speech_commands_v2_test: no such file or folder"):
        write_corpus(data, tmp_path / "corpus")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_recording_that_is_damaged_is_told(data, tmp_path, capsys):
    (data / "speech_commands_v2_test" / "_unknown_" / "four_y_1.flac").write_bytes(b"no sound")
    with pytest.raises(SystemExit) as stop:
        main(["--data", str(data), "-o", str(tmp_path / "corpus")])
    assert stop.value.code == 1
    assert "four_y_1.flac: not a readable recording" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_without_speakers_there_is_nobody_to_leave_out(data, tmp_path):
    manifest = data / "fsdd" / "manifest.csv"
    manifest.write_text("".join(line.rpartition(",")[0] + "\n" for line in manifest.read_text().splitlines()))
    with pytest.raises(DataError, match=r"fsdd/manifest\.csv: no column speaker; name the folder"):
        write_corpus(data, tmp_path / "corpus")


@pytest.mark.parametrize("number", [0, 14])
def test_a_number_of_accents_that_there_is_not_is_told(data, tmp_path, number):
    with pytest.raises(UserError, match=rf"^a voice has from 1 to 13 accents, not {number}$"):
        write_corpus(data, tmp_path / "corpus", number)


def test_without_the_synthesizer_nothing_is_left(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UserError, match=r"needs a speech synthesizer"):
        write_corpus(data, tmp_path / "corpus")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
