"""Listening: files block by block, pipes cut into any pieces, segments as soon as they are certain."""

import io
import os

import numpy as np
import pytest
import soundfile

from lstm_scratch import listening
from lstm_scratch.errors import SettingError
from lstm_scratch.listening import file_chunks, format_heard, listen, pcm_chunks
from lstm_scratch.segments import FORMATS, Segment, Segmentation, format_segments
from lstm_scratch.sound import AudioError, read_audio, resample

RATE = 12_000  # of the detector


class Pieces:
    """A pipe that gives its bytes in these pieces, and notes how many it was asked for."""

    def __init__(self, data, cuts):
        self.pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if a < b]
        self.asked = []

    def read(self, size):
        self.asked.append(size)
        if not self.pieces:
            return b""
        piece, rest = self.pieces[0][:size], self.pieces[0][size:]
        self.pieces[:1] = [rest] if rest else []
        return piece


def written(path, integers, rate=RATE):
    soundfile.write(path, integers, rate, subtype="PCM_16")
    return path


def test_file_array_and_chunks_have_the_same_segments(detector, words, tmp_path, monkeypatch):
    path, samples = written(tmp_path / "words.wav", words), words.astype(np.float32) / 32768
    whole = detector.detect(samples)
    assert len(whole) == 4
    assert detector.detect(path) == whole
    assert list(listen(detector, file_chunks(path, RATE))) == whole
    monkeypatch.setattr(listening, "BLOCK_S", 0.37)
    assert len(list(file_chunks(path, RATE))) == 14
    assert list(listen(detector, file_chunks(path, RATE))) == whole
    for size in (7, 97, 5000):
        chunks = (samples[n : n + size] for n in range(0, len(samples), size))
        assert list(listen(detector, chunks)) == whole
    strict = Segmentation(onset=0.9, offset=0.8, min_silence_s=0.03, padding_s=0)
    assert list(listen(detector, [samples], strict)) == detector.detect(samples, strict) != whole
    assert list(listen(detector, [])) == []


@pytest.mark.parametrize("settings", [Segmentation(), Segmentation(min_silence_s=0.03, padding_s=0.4)])
def test_a_segment_is_there_as_soon_as_it_is_certain(detector, words, settings):
    samples, heard, hop = words.astype(np.float32) / 32768, 0, detector.hop_s

    def chunks():
        nonlocal heard
        for n in range(0, len(samples), 60):
            heard = min(n + 60, len(samples)) / RATE
            yield samples[n : n + 60]

    found = listen(detector, chunks(), settings)
    waits = [heard - (segment.end_s - settings.padding_s) for segment in found]
    # The pause; or what is out of the padding's reach; or what follows, if it is long enough to be speech.
    longest = max(settings.min_silence_s, 2 * settings.padding_s + hop) + settings.min_speech_s
    assert len(waits) == 4
    assert max(waits[:-1]) <= longest + detector.latency_s + 3 * hop
    assert min(waits) > 0


@pytest.mark.parametrize("rate", [8000, 12_000, 44_100])
def test_a_file_in_blocks_is_the_whole_file(tmp_path, monkeypatch, words, rate):
    path = written(tmp_path / "words.wav", words, rate)
    monkeypatch.setattr(listening, "BLOCK_S", 0.21)
    blocks = list(file_chunks(path, RATE))
    assert len(blocks) > 5
    assert np.concatenate(blocks).tobytes() == read_audio(path, RATE)[0].tobytes()
    assert np.concatenate(blocks).tobytes() == resample(read_audio(path)[0], rate, RATE).tobytes()


def test_a_file_that_is_none_says_so(tmp_path):
    with pytest.raises(AudioError, match=r"none\.wav: no such file"):
        list(file_chunks(tmp_path / "none.wav", RATE))


@pytest.mark.parametrize("pipe_rate", [8000, 12_000, 44_100])
def test_bytes_may_be_cut_anywhere(words, pipe_rate):
    data = words[:3001].astype("<i2").tobytes()
    wanted = resample(words[:3001].astype(np.float32) / 32768, pipe_rate, RATE)
    rng = np.random.default_rng(pipe_rate)
    for cuts in (
        [],
        [1],
        [1, 2, 3, 4, 7, 600, 601],
        range(1, 6002),
        np.sort(rng.integers(0, 6002, 9)).tolist(),
    ):
        pipe = Pieces(data, cuts)
        chunks = list(pcm_chunks(pipe, pipe_rate, RATE))
        assert np.concatenate(chunks).dtype == np.float32
        assert np.concatenate(chunks).tobytes() == wanted.tobytes()
        assert set(pipe.asked) == {2 * pipe_rate // 10}, "a tenth of a second"


def test_values_of_raw_samples():
    data = bytes([0, 0, 1, 0, 255, 255, 0, 128, 255, 127, 0, 64])
    (chunk,) = pcm_chunks(io.BytesIO(data), RATE, RATE)
    assert chunk.tolist() == [0, 1 / 32768, -1 / 32768, -1, 32767 / 32768, 0.5]


def test_a_pipe_gives_what_is_there_and_does_not_wait_for_more():
    read, write = os.pipe()
    with os.fdopen(read, "rb") as pipe, os.fdopen(write, "wb", buffering=0) as other:
        chunks = pcm_chunks(pipe, RATE, RATE)
        other.write(bytes([0, 64, 0]))
        assert next(chunks).tolist() == [0.5]
        other.write(bytes([192, 0, 32]))
        assert next(chunks).tolist() == [-0.5, 0.25]
        other.close()
        assert list(chunks) == []


@pytest.mark.parametrize("pipe_rate", [8000, 44_100])
def test_a_pipe_at_another_rate_is_as_the_file_at_that_rate(detector, words, tmp_path, pipe_rate):
    there = resample(words.astype(np.float32) / 32768, RATE, pipe_rate)
    integers = np.round(there * 32767).astype("<i2")
    path = written(tmp_path / "words.wav", integers, pipe_rate)
    whole = detector.detect(path)
    assert len(whole) == 4
    pipe = Pieces(integers.tobytes(), [3, 1001, 40_000])
    assert list(listen(detector, pcm_chunks(pipe, pipe_rate, RATE))) == whole


def test_half_a_sample_and_none_are_refused_but_what_came_is_not_lost():
    chunks = pcm_chunks(Pieces(bytes(801), [700]), 8000, RATE)
    got = []
    with pytest.raises(AudioError) as caught:
        got.extend(chunks)
    assert str(caught.value) == "the raw samples end in half of one; 16 bits each are wanted, mono"
    assert sum(map(len, got)) == 600
    with pytest.raises(AudioError, match="no raw samples came"):
        list(pcm_chunks(io.BytesIO(b""), 8000, RATE))
    for rate in (0, -8000, 44_100.5):
        with pytest.raises(SettingError, match="the sample rate of a pipe, in Hz, is a whole number above 0"):
            list(pcm_chunks(io.BytesIO(b"abcd"), rate, RATE))


def test_speech_that_goes_on_when_a_pipe_is_cut_is_told_before_the_error(detector, words):
    speaking = words[: round(4.2 * RATE)]  # in the midst of the fourth word
    whole = list(listen(detector, pcm_chunks(io.BytesIO(speaking.tobytes()), RATE, RATE)))
    assert whole[-1].end_s == pytest.approx(4.2, abs=0.05)
    got = []
    with pytest.raises(AudioError, match="half of one"):
        got.extend(listen(detector, pcm_chunks(io.BytesIO(speaking.tobytes() + b"x"), RATE, RATE)))
    assert got == whole


SEGMENTS = [Segment(0.5, 1.25, 0.75), Segment(2.0, 3.1254, 0.5)]


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "json"])
@pytest.mark.parametrize("name", ["talk.wav", 'my "file"\n, really.wav'])
def test_lines_one_by_one_are_those_of_the_whole(kind, name):
    lines = [format_heard(segment, kind, name, several=False) for segment in SEGMENTS]
    assert format_segments([], kind, name) + "".join(lines) == format_segments(SEGMENTS, kind, name)


def test_of_several_recordings_each_line_has_the_name():
    lines = {
        kind: format_heard(SEGMENTS[1], kind, "a talk.wav", several=True)
        for kind in FORMATS[:1] + FORMATS[2:]
    }
    assert lines == {
        "text": "a talk.wav\t2.000\t3.125\t0.500\n",
        "csv": "a talk.wav,2.000,3.125,0.500\n",
        "audacity": "2.000\t3.125\ta talk.wav\n",
        "rttm": "SPEAKER a_talk.wav 1 2.000 1.125 <NA> <NA> speech 0.500 <NA>\n",
    }


def test_a_pipe_at_an_absurd_rate_is_refused_before_memory_is_taken():
    with pytest.raises(SettingError, match="768000 Hz at the most, not 99999999"):
        next(pcm_chunks(io.BytesIO(bytes(8)), 99_999_999, RATE))
