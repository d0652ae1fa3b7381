"""Segments: by hand, beside a naive definition, live in any chunks, and written down."""

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_scratch.errors import DataError, SettingError
from lstm_scratch.segments import (
    FORMATS,
    Segment,
    Segmentation,
    Segmenter,
    find_segments,
    format_segments,
)

PLAIN = Segmentation(min_speech_s=0, min_silence_s=0, padding_s=0)


def naive(probabilities, hop, settings, duration=None):
    """The definition, with all frames at hand: whole arrays, one rule after the other."""
    speech, on = [], False
    for p in probabilities:
        on = p >= settings.offset if on else p >= settings.onset
        speech.append(on)
    edges = np.flatnonzero(np.diff([False, *speech, False]))
    runs = [list(pair) for pair in edges.reshape(-1, 2)]
    merged = []
    for start, end in runs:
        if merged and (start - merged[-1][1]) * hop < settings.min_silence_s - 1e-9:
            merged[-1][1] = end
        else:
            merged.append([start, end])
    kept = [(start, end) for start, end in merged if (end - start) * hop >= settings.min_speech_s - 1e-9]
    found = []
    for n, (start, end) in enumerate(kept):
        low = (kept[n - 1][1] + start) / 2 * hop if n else 0
        high = (end + kept[n + 1][0]) / 2 * hop if n + 1 < len(kept) else np.inf
        found.append(
            (
                max(start * hop - settings.padding_s, low, 0),
                min(
                    end * hop + settings.padding_s,
                    high,
                    len(probabilities) * hop if duration is None else duration,
                ),
                np.mean(probabilities[start:end]),
            )
        )
    return found


@st.composite
def cases(draw):
    hop = draw(st.sampled_from([0.01, 0.016, 0.1]))
    times = st.integers(0, 6).map(lambda n: n * hop) | st.floats(0, 6 * hop)
    onset = draw(st.floats(0, 1))
    options = Segmentation(
        onset=onset,
        offset=draw(st.floats(0, onset)),
        min_speech_s=draw(times),
        min_silence_s=draw(times),
        padding_s=draw(times),
    )
    levels = [0.0, 1.0, onset, options.offset, draw(st.floats(0, 1))]
    stretches = draw(st.lists(st.tuples(st.sampled_from(levels), st.integers(1, 9)), max_size=25))
    probabilities = np.array([p for p, length in stretches for _ in range(length)])
    late = draw(st.none() | st.floats(-0.99, 3))
    duration = None if late is None else max(0, len(probabilities) + late) * hop
    return probabilities, hop, options, duration


@settings(max_examples=600, deadline=None, database=None, derandomize=True)
@given(cases(), st.lists(st.integers(0, 30)))
def test_segments_are_those_of_the_naive_definition_whole_or_in_any_chunks(case, sizes):
    probabilities, hop, options, duration = case
    found = find_segments(probabilities, hop, options, duration)
    expected = naive(probabilities, hop, options, duration)
    assert len(found) == len(expected)
    np.testing.assert_allclose(np.reshape(found, (-1, 3)), np.reshape(expected, (-1, 3)), rtol=0, atol=1e-9)

    segmenter, live = Segmenter(hop, options), []
    for chunk in np.split(probabilities, np.minimum(np.cumsum(sizes, dtype=int), len(probabilities))):
        live += segmenter.push(chunk)
    assert live + segmenter.finish(duration) == found

    end = len(probabilities) * hop if duration is None else duration
    times = [0, *(time for segment in found for time in segment[:2]), end]
    assert times == sorted(times)


def test_speech_begins_at_the_onset_and_ends_below_the_offset():
    probabilities = np.array([0.49, 0.5, 0.35, 0.9, 0.34, 0.49, 0.2, 0.7])
    (first, second) = find_segments(probabilities, 0.5, PLAIN)
    assert first == pytest.approx((0.5, 2.0, (0.5 + 0.35 + 0.9) / 3))
    assert second == pytest.approx((3.5, 4.0, 0.7))


def test_pauses_are_filled_before_what_is_short_is_dropped():
    def of(text, **options):
        found = find_segments(np.array([float(c) for c in text]), 0.1, Segmentation(**options))
        return [(round(s.start_s, 6), round(s.end_s, 6), round(s.probability, 6)) for s in found]

    # Two frames, a pause of one, three: six together.
    assert of("0110111000", min_speech_s=0.6, min_silence_s=0.2, padding_s=0) == [(0.1, 0.7, 0.833333)]
    assert of("0110111000", min_speech_s=0.6, min_silence_s=0.1, padding_s=0) == []
    assert of("0110111000", min_speech_s=0.3, min_silence_s=0.1, padding_s=0) == [(0.4, 0.7, 1)]
    # Three frames are 0.3 s, whatever 3 * 0.1 is.
    assert of("0111000111", min_speech_s=0.3, min_silence_s=0.3, padding_s=0) == [(0.1, 0.4, 1), (0.7, 1, 1)]


def test_padding_meets_in_the_middle_and_stays_within_the_recording():
    probabilities = np.array([1.0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1])
    wide = Segmentation(min_speech_s=0, min_silence_s=0.1, padding_s=0.21)
    found = [segment[:2] for segment in find_segments(probabilities, 0.1, wide, duration_s=1.3)]
    np.testing.assert_allclose(found, [(0, 0.25), (0.25, 0.71), (0.89, 1.3)])
    # Nor where the last frame is cut short, and whether the end comes live or not.
    soft = Segmentation(min_speech_s=0, min_silence_s=0, padding_s=0.04)
    (segment,) = find_segments(np.array([0.0, 1, 0]), 0.1, soft, duration_s=0.2)
    assert segment == (pytest.approx(0.06), 0.2, 1)
    # What is dropped takes no room.
    short = Segmentation(min_speech_s=0.2, min_silence_s=0.1, padding_s=0.5)
    ((start, end, _),) = find_segments(np.array([1.0, 1, 0, 0, 1, 0, 0, 0, 0, 0]), 0.1, short)
    assert (start, end) == pytest.approx((0, 0.7))


def test_a_segment_comes_out_as_soon_as_it_is_final():
    options = Segmentation(min_speech_s=0.2, min_silence_s=0.3, padding_s=0.1)
    segmenter = Segmenter(0.1, options)
    #                           filled        final after 0.3 s
    pushed = [len(segmenter.push(np.array([float(c)]))) for c in "0110011000000"]
    assert pushed == [0] * 9 + [1, 0, 0, 0]
    # A next one that is long enough makes the one before it final, however long it goes on.
    wide = Segmenter(0.1, Segmentation(min_speech_s=0.2, min_silence_s=0.1, padding_s=5))
    assert [len(wide.push(np.array([float(c)]))) for c in "11001111"] == [0, 0, 0, 0, 0, 1, 0, 0]


def test_after_hours_it_holds_no_more_than_at_first():
    segmenter = Segmenter(0.01)
    rng = np.random.default_rng(0)
    segmenter.push(rng.random(500))
    held = {name: type(value) for name, value in vars(segmenter).items()}
    assert {list, np.ndarray, tuple}.isdisjoint(held.values())
    segmenter.push(rng.random(50_000))
    assert held.keys() == vars(segmenter).keys()


def test_after_the_end_it_begins_anew():
    segmenter = Segmenter(0.1, PLAIN)
    probabilities = np.array([0.0, 0.8, 0.6, 0.9])
    assert segmenter.push(probabilities) == []
    first = segmenter.finish()
    assert first == [pytest.approx((0.1, 0.4, 2.3 / 3))]
    assert segmenter.push(probabilities) + segmenter.finish() == first
    assert find_segments(np.zeros(0), 0.1) == []


def test_settings_longer_than_any_recording_are_no_error():
    forever = Segmentation(min_silence_s=1e308, padding_s=1e308, min_speech_s=0)
    probabilities = np.array([0.0, 0.8, 0.1, 0.9, 0.0])
    assert find_segments(probabilities, 0.1, forever) == [pytest.approx((0, 0.5, 1.8 / 3))]
    assert find_segments(probabilities, 0.1, Segmentation(min_speech_s=1e308)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"onset": 1.2}, "onset is a number from 0 to 1, not 1.2"),
        ({"offset": np.nan}, "offset is a number from 0 to 1, not nan"),
        ({"onset": 0.3}, "offset is at most the onset, 0.3, not 0.35; lower it"),
        ({"min_speech_s": -1}, "min_speech_s is a number from 0 on, not -1"),
        ({"min_silence_s": "1"}, "min_silence_s is a number from 0 on, not '1'"),
        ({"padding_s": np.inf}, "padding_s is a number from 0 on, not inf"),
    ],
)
def test_a_setting_out_of_range_is_named(options, message):
    with pytest.raises(SettingError) as caught:
        Segmentation(**options)
    assert str(caught.value) == message


def test_what_are_no_probabilities_is_refused_and_changes_nothing():
    segmenter = Segmenter(0.1, PLAIN)
    segmenter.push(np.array([0.0, 0.9]))
    for wrong, message in [
        (np.array([0.5, 1.5]), "frame 3 has 1.5, which is not from 0 to 1"),
        (np.array([np.nan]), "frame 2 has nan"),
        (np.array([1, 0]), r"floats of shape \(k,\) are wanted, not int64 \(2,\)"),
        (np.zeros((2, 3)), r"not float64 \(2, 3\)"),
    ]:
        with pytest.raises(DataError, match=message):
            segmenter.push(wrong)
    with pytest.raises(SettingError, match=r"duration_s is 0\.05, but 2 frames of 0\.1 s reach to 0\.2"):
        segmenter.finish(0.05)
    assert segmenter.finish(0.15) == [pytest.approx((0.1, 0.15, 0.9))]
    with pytest.raises(SettingError, match="hop_s is a number above 0, not 0"):
        Segmenter(0)


SEGMENTS = [Segment(0.1, 2.00049, 0.98765), Segment(61.2345, 3723.5, 1.0)]
NAME = 'a, "b"\tc é.wav'


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("text", "0.100\t2.000\t0.988\n61.234\t3723.500\t1.000\n"),
        (
            "csv",
            'file,start_s,end_s,probability\n"a, ""b""\tc é.wav",0.100,2.000,0.988\n'
            '"a, ""b""\tc é.wav",61.234,3723.500,1.000\n',
        ),
        ("audacity", "0.100\t2.000\tspeech\n61.234\t3723.500\tspeech\n"),
        (
            "rttm",
            'SPEAKER a,_"b"_c_é.wav 1 0.100 1.900 <NA> <NA> speech 0.988 <NA>\n'
            'SPEAKER a,_"b"_c_é.wav 1 61.234 3662.266 <NA> <NA> speech 1.000 <NA>\n',
        ),
    ],
)
def test_a_format_is_written_as_its_readers_want_it(kind, text):
    assert format_segments(SEGMENTS, kind, NAME) == text


def test_what_is_written_is_read_back():
    rows = list(csv.DictReader(io.StringIO(format_segments(SEGMENTS, "csv", NAME), newline="")))
    assert [row["file"] for row in rows] == [NAME, NAME]
    assert [float(row["end_s"]) for row in rows] == [2.0, 3723.5]
    text = format_segments(SEGMENTS, "json", NAME)
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert json.loads(text) == {
        "file": NAME,
        "segments": [
            {"start_s": 0.1, "end_s": 2.0, "probability": 0.988},
            {"start_s": 61.234, "end_s": 3723.5, "probability": 1.0},
        ],
    }
    for line in format_segments(SEGMENTS, "rttm", NAME).splitlines():
        assert len(line.split()) == 10


def test_no_speech_is_no_line():
    written = {kind: format_segments([], kind, "quiet.wav") for kind in FORMATS}
    assert written == {
        "text": "",
        "json": '{"file": "quiet.wav", "segments": []}\n',
        "csv": "file,start_s,end_s,probability\n",
        "audacity": "",
        "rttm": "",
    }


def test_an_unknown_format_is_named():
    with pytest.raises(SettingError) as caught:
        format_segments(SEGMENTS, "xml", NAME)
    assert str(caught.value) == "format is one of text, json, csv, audacity, rttm, not 'xml'"
