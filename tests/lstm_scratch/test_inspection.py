"""What is told of a corpus before training is so: counts, durations, and every oddity that was put in."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lstm_scratch.corpus import Corpus, read_corpus
from lstm_scratch.experiments import train
from lstm_scratch.inspection import Heard, Inspector, hear, inspect_corpus
from lstm_scratch.sound import read_audio, resample

SHARED = Path(__file__).parents[3] / "shared" / "data"
RATE = 8000


def noise(seed, seconds=0.5, rate=RATE, level=0.1):
    """Noise, that gets louder and softer: no two seeds are alike."""
    rng = np.random.default_rng(seed)
    samples = rng.normal(size=round(seconds * rate)) * (1.2 + np.sin(np.arange(round(seconds * rate)) / 300))
    return (level * samples / np.abs(samples).max()).astype(np.float32)


def report_of(rows, parts=None, **given):
    """A report of rows (label, samples[, rate]), which are named 0, 1, ..."""
    inspector = Inspector()
    for n, (_, samples, *rate) in enumerate(rows):
        inspector.add(str(n), samples, *(rate or [RATE]))
    corpus = Corpus("corpus", [Path(str(n)) for n in range(len(rows))], [row[0] for row in rows])
    return inspector.report(corpus, parts, **given)


def found(report):
    """Groups of clips by kind of finding."""
    return {finding.kind: finding.clips for finding in report.findings}


def coded(samples, rate, kind, subtype):
    """The samples after a lossy format."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    file.seek(0)
    decoded, rate = soundfile.read(file, dtype="float32")
    return decoded, rate


def test_classes_are_counted_and_timed_by_part():
    rows = [("b", noise(n, seconds)) for n, seconds in enumerate((0.2, 0.3, 0.7))]
    rows += [("a", noise(9, 0.4))] + [("b", noise(n, 0.3)) for n in range(3, 5)]
    report = report_of(rows, ["training", "test", "training", "training", "test", "validation"])
    a, b = report.classes
    assert (a.label, a.clips) == ("a", {"training": 1, "validation": 0, "test": 0})
    assert (b.label, b.clips) == ("b", {"training": 2, "validation": 1, "test": 2})
    assert (a.seconds, a.median_seconds) == (0.4, 0.4)
    assert b.seconds == pytest.approx(1.8)
    assert b.median_seconds == 0.3
    assert report.lines()[:3] == [
        "class  training  validation  test  in all  median",
        "a             1           0     0  0.40 s  0.40 s",
        "b             2           1     2  1.80 s  0.30 s",
    ]


def test_minutes_and_hours_are_told_as_such():
    inspector = Inspector()
    for n in range(3):
        inspector.add(f"{n}.wav", np.zeros(3_000_000, np.float32), 800 * (n > 0) + 200)
    corpus = Corpus("c", [Path(f"{n}.wav") for n in range(3)], ["long", "short", "short"])
    assert inspector.report(corpus).lines()[1:3] == [
        "long       1      4.2 h     4.2 h",
        "short      2  100.0 min  50.0 min",
    ]


def test_a_plain_corpus_is_told_of_without_a_warning():
    rows = [("ab"[n % 2], noise(n)) for n in range(10)]
    report = report_of(rows)
    assert report.findings == []
    assert report.lines() == [
        "class  clips  in all  median",
        "a          5  2.50 s  0.50 s",
        "b          5  2.50 s  0.50 s",
    ]


def test_what_was_not_taken_in_is_passed_over():
    inspector = Inspector()
    inspector.add("1", noise(1), RATE)
    report = inspector.report(Corpus("c", [Path("0"), Path("1")], ["a", "b"]))
    assert [(one.label, one.clips) for one in report.classes] == [("b", {"all": 1})]
    assert Inspector().report(Corpus("c", [Path("0")], ["a"])).lines() == ["class  in all  median"]


def test_without_near_copies_only_the_same_samples_are_told():
    kinds = {}
    for near_copies in (False, True):
        inspector = Inspector(near_copies)
        sounds = [noise(n) for n in range(5)]
        for n, samples in enumerate([*sounds, sounds[3] / 2, sounds[1]]):
            inspector.add(str(n), samples, RATE)
        corpus = Corpus("corpus", [Path(str(n)) for n in range(7)], ["a"] * 7)
        kinds[near_copies] = found(inspector.report(corpus))
    assert kinds[False] == {"duplicates": [["1", "6"]]}
    assert kinds[True] == {"duplicates": [["1", "6"]], "near-duplicates": [["3", "5"]]}


def test_small_and_unbalanced_classes_are_told():
    rows = [("few", noise(n)) for n in range(4)] + [("many", noise(4 + n)) for n in range(20)]
    few, unbalanced = (finding.message for finding in report_of(rows).findings)
    assert few == (
        "too few clips to learn a class from: 'few' has 4 clips of 2.00 s in all; record more, or remove the "
        "class"
    )
    assert "20 clips of 'many', 4 of 'few'" in unbalanced
    assert "--sampling balanced" in unbalanced
    rows.append(("few", noise(99)))
    assert report_of(rows).findings == []
    # Balanced in all, unbalanced in training.
    parts = ["training"] + ["test"] * 3 + ["training"] * 5 + ["test"] * 15 + ["test"]
    (finding,) = report_of(rows, parts).findings
    assert "5 clips of 'many', 1 of 'few'" in finding.message


@pytest.mark.parametrize(
    ("parts", "labels", "kind", "said"),
    [
        (["training"] * 2, "aa", "duplicates", "is there twice, once: 0 = 5; remove"),
        (
            ["training", "test"],
            "aa",
            "duplicates across parts",
            "two sides of the split, once: 0 (training) = 5 (test); what is tested was learned by heart",
        ),
        (
            ["training", "test"],
            "ab",
            "duplicates across labels",
            "two labels, once: 0 (a) = 5 (b); one label at most",
        ),
    ],
)
@pytest.mark.parametrize("is_near", [False, True])
def test_copies_are_told_by_what_they_do_harm(parts, labels, kind, said, is_near):
    rows = [(label, noise(n)) for n, label in enumerate("aaaaabbbbbb")]
    rows[5] = (labels[1], rows[0][1] * np.float32(0.5 if is_near else 1))
    (finding,) = report_of(rows, [parts[0]] * 5 + [parts[1]] * 6 if len(set(parts)) > 1 else None).findings
    assert finding.kind == ("near-" if is_near else "") + kind
    assert finding.clips == [["0", "5"]]
    assert said in finding.message
    assert finding.message.startswith("nearly the same recording" if is_near else "the same recording")


def test_copies_stand_in_one_group_and_the_first_three_groups_in_the_line():
    rows = [("a", noise(n % 5)) for n in range(11)]
    (finding,) = report_of(rows).findings
    assert finding.clips == [["0", "5", "10"], ["1", "6"], ["2", "7"], ["3", "8"], ["4", "9"]]
    assert "5 times: 0 = 5 = 10, 1 = 6, 2 = 7, and 2 more; remove" in finding.message


def test_the_same_samples_at_another_rate_are_another_recording():
    rows = [("a", noise(0), rate) for rate in (8000, 11_025)] + [("a", noise(n)) for n in range(1, 5)]
    assert list(found(report_of(rows))) == ["mixed sample rates"]


VARIANTS = {
    "softer, to 16 bits": lambda x: coded(x / 10, 16_000, "WAV", "PCM_16"),
    "upside down": lambda x: (-x, 16_000),
    "at 8 kHz": lambda x: (resample(x, 16_000, 8000), 8000),
    "at 44.1 kHz": lambda x: (resample(x, 16_000, 44_100), 44_100),
    "vorbis": lambda x: coded(x, 16_000, "OGG", "VORBIS"),
    "mp3": lambda x: coded(x, 16_000, "MP3", "MPEG_LAYER_III"),
    "u-law": lambda x: coded(x, 16_000, "WAV", "ULAW"),
    "after silence": lambda x: (np.pad(x, (1111, 0)), 16_000),
    "cut at both ends": lambda x: (x[300:-500], 16_000),
    "in faint noise": lambda x: (x + noise(77, 0.9, 16_000, 0.002), 16_000),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_recording_is_known_again(name):
    rows = [("a", noise(n, 0.9, 16_000), 16_000) for n in range(30)]
    rows.append(("a", *VARIANTS[name](rows[17][1])))
    assert found(report_of(rows))["near-duplicates"] == [["17", "30"]]


def test_silence_and_clipping_are_told():
    rows = [("a", noise(n)) for n in range(7)]
    rows[1] = ("a", np.zeros(4000, np.float32))
    rows[2] = ("a", np.zeros(3999, np.float32))  # no duplicate of the other: there is nothing to tell them by
    rows[3][1][:2500] = 0
    rows[4][1][1000:1040] = 1
    rows[5][1][500:502] = 1  # two samples are a loud sound
    report = report_of(rows)
    assert found(report) == {
        "silent": [["1"], ["2"]],
        "mostly silent": [["3"]],
        "clipped": [["4"]],
    }
    silent, mostly, clipped = report.lines()[-3:]
    assert silent == "warning: 2 clips are silent, all samples are zero: 1, 2; record again or remove"
    assert "1 clip is for the most part digital silence (zeros): 3 (62 %); cut" in mostly
    assert "1 clip is clipped, flat at full scale: 4 (1 %); record at a lower level" in clipped


def test_single_zeros_are_no_silence():
    samples = [noise(n) for n in range(5)]
    for clip in samples:
        clip[np.arange(len(clip)) % 3 > 0] = 0  # two of three
    assert report_of([("a", clip) for clip in samples]).findings == []


def test_mixed_sample_rates_are_counted_and_the_one_that_is_used_is_named():
    rows = [
        ("a", noise(n, 0.5, rate), rate) for n, rate in enumerate((8000, 16_000, 8000, 44_100, 16_000, 8000))
    ]
    report = report_of(rows, sample_rate=8000)
    assert report.sample_rates == {8000: 3, 16_000: 2, 44_100: 1}
    (finding,) = report.findings
    assert "(3 clips at 8000 Hz, 2 clips at 16000 Hz, 1 clip at 44100 Hz); 8000 Hz is used" in finding.message
    assert "the lowest is used" in report_of(rows).findings[0].message


def test_durations_far_from_the_median_are_told_the_farthest_first():
    rows = [("a", noise(n, s)) for n, s in enumerate((0.5, 5.2, 0.5, 0.02, 0.4, 4.9, 0.5, 0.5))]
    (finding,) = report_of(rows).findings
    assert finding.clips == [["3"], ["1"]]
    assert "2 clips are far from the median duration of 0.50 s: 3 (0.02 s), 1 (5.20 s);" in finding.message


def test_a_corpus_is_read_and_its_folds_count_as_parts(tmp_path, write_tone):
    paths = [write_tone(tmp_path / f"{n}.wav", "steady", n) for n in range(5)]
    paths += [tmp_path / "5.flac", tmp_path / "broken.wav"]
    soundfile.write(paths[5], soundfile.read(paths[2], dtype="int16")[0], RATE)
    paths[6].write_text("no sound")
    corpus = Corpus("c", paths, ["a"] * 7, folds=list("1213223"))
    report = inspect_corpus(corpus)
    assert report.classes[0].clips == {"fold 1": 2, "fold 2": 3, "fold 3": 1}
    (finding,) = report.findings
    assert finding.kind == "duplicates across parts"  # the same samples in another format
    assert f"{paths[2]} (fold 1) = {paths[5]} (fold 2)" in finding.message


def test_a_sweep_is_a_copy_of_a_later_piece_of_the_same_sweep(tmp_path, write_tone):
    """Which is so: tones that rise by 2 kHz a second from 800 Hz and from 840 Hz are 20 ms apart."""
    paths = [write_tone(tmp_path / f"{n}.wav", "rising", n) for n in (0, 1)]
    (_, finding) = inspect_corpus(Corpus("c", paths, "aa")).findings[::-1]
    assert finding.clips == [[str(path) for path in paths]]


def test_what_is_told_can_be_written_as_json():
    rows = [("a", noise(0)), ("b", noise(0), 16_000)]
    plain = json.loads(json.dumps(report_of(rows).to_dict()))
    assert plain["classes"][0] == {"label": "a", "clips": {"all": 1}, "seconds": 0.5, "median_seconds": 0.5}
    assert plain["sample_rates"] == {"8000": 1, "16000": 1}
    assert [finding["kind"] for finding in plain["findings"]] == ["few clips", "mixed sample rates"]


def test_it_is_said_before_training_begins_and_what_is_learned_stays_the_same(tones, tiny):
    corpus, events = read_corpus(tones), []

    class Watched(type(tiny())):
        def fit(self, *given, **how):
            events.append("training")
            return super().fit(*given, **how)

    classifier = Watched(**tiny(epochs=1).get_params())
    result = train(corpus, classifier, say=events.append)
    header = events.index("class    training  test  in all  median")
    assert events[header + 1] == "falling         6     2  2.00 s  0.25 s"
    assert header + 3 < events.index("training")
    assert result["corpus"]["classes"][2]["clips"] == {"training": 6, "test": 2}
    for finding in result["corpus"]["findings"]:
        assert header + 3 < events.index(f"warning: {finding['message']}") < events.index("training")


def test_what_is_kept_of_a_recording_goes_through_bytes():
    sounds = [(noise(5), 8000), (np.zeros(70, np.float32), 44_100), (np.ones(900, np.float32), 16_000)]
    for samples, rate in sounds:
        heard = hear(samples, rate)
        again = Heard.from_bytes(heard.to_bytes())
        assert again[:-1] == heard[:-1]
        assert (again.sample_rate, again.seconds) == (rate, len(samples) / rate)
        assert again.is_silent == (not samples.any())
        assert (again.fingerprint is None) == (heard.fingerprint is None)
        if heard.fingerprint is not None:
            for ours, theirs in zip(again.fingerprint, heard.fingerprint, strict=True):
                assert (ours.dtype, ours.tobytes()) == (theirs.dtype, theirs.tobytes())
    assert hear(*sounds[0]).fingerprint is not None
    assert hear(*sounds[1]).fingerprint is None


# Real recordings.


def real(name):
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"needs the recordings in {folder}")
    return read_corpus(folder)


def short(groups):
    return [[Path(name).name for name in group] for group in groups]


def test_three_thousand_spoken_digits_by_six_people_hold_no_copies():
    report = inspect_corpus(real("fsdd"))
    assert report.findings == []
    assert [one.clips for one in report.classes] == [{"training": 270, "test": 30}] * 10
    assert sum(one.seconds for one in report.classes) == pytest.approx(1312, abs=1)


def test_sounds_that_stand_in_two_folds_are_found():
    """At 44.1 kHz the fires correlate by 0.95 and more throughout; the cries for two seconds, by 0.98."""
    kinds = found(inspect_corpus(real("esc10")))
    assert short(kinds["near-duplicates across parts"]) == [["3-151080-A.ogg", "5-151085-A.ogg"]]
    assert short(kinds["near-duplicates"]) == [["2-28314-A.ogg", "2-30322-A.ogg"]]
    assert len(kinds["mostly silent"]) == 40


def test_one_actor_was_stored_twice():
    kinds = found(inspect_corpus(real("ravdess")))
    assert kinds.keys() == {"duplicates"}
    assert short(kinds["duplicates"]) == [["03-01-03-01-02-01-07.flac", "03-01-03-01-02-02-07.flac"]]


def test_three_hundred_notes_of_ten_instruments_hold_no_copies():
    report = inspect_corpus(real("instruments"))
    assert {kind: len(clips) for kind, clips in found(report).items()} == {"clipped": 7}


def test_real_recordings_are_known_again_at_half_the_rate_and_cut():
    corpus = real("ravdess")
    inspector = Inspector()
    some = corpus.take(range(0, len(corpus), 12))
    paths = list(some.paths)
    for n, path in enumerate(some.paths):
        samples, rate = read_audio(path)
        inspector.add(str(path), samples, rate)
        paths.append(Path(f"copy {n}"))
        inspector.add(str(paths[-1]), resample(0.3 * samples[800:], rate, 8000), 8000)
    report = inspector.report(Corpus("c", paths, [*some.labels] * 2))
    pairs = {tuple(pair) for pair in found(report)["near-duplicates"]}
    assert pairs == {(str(path), f"copy {n}") for n, path in enumerate(some.paths)}
