"""What is held out stays so: by speaker and by source, the same everywhere."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from lstm_scratch.errors import DataError
from lstm_scratch.sources import held_out, read_noises, read_sources, read_speech

DATA = Path(__file__).parents[3] / "shared" / "data"
CORPORA = ("fsdd", "speech_commands_v2_test", "noise")
needs_data = pytest.mark.skipif(
    not all((DATA / name).is_dir() for name in CORPORA), reason=f"needs the recordings in {DATA}"
)
RATE = 8000


def write(path, level, seconds=0.3):
    """A word of that level, known by its length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(0).standard_normal(round(seconds * RATE)) * level
    soundfile.write(path, samples, RATE, subtype="FLOAT")


def test_one_group_in_five_is_held_out_the_same_ones_always():
    held = [
        group for group in ("theo", "george", "nicolas", "jackson", "lucas", "running_tap") if held_out(group)
    ]
    assert held == ["theo", "george", "running_tap"]
    fraction = np.mean([held_out(f"speaker {n}") for n in range(5000)])
    assert 0.18 < fraction < 0.22


@pytest.fixture
def corpus(tmp_path):
    """Speakers with words of their own length; theo and george are held out."""
    lines = ["path,label,speaker"]
    for n, speaker in enumerate(["theo", "lucas", "george", "nicolas"]):
        for k in range(2 + n):
            write(tmp_path / "words" / f"{speaker}{k}.wav", 0.1, 0.3 + 0.02 * n)
            lines.append(f"words/{speaker}{k}.wav,{'noise' if k == 1 else 'word'},{speaker}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def shapes(speakers):
    return [(len(clips), len(clips[0].samples)) for clips in speakers]


def test_speech_comes_by_speaker_from_one_side(corpus):
    assert shapes(read_speech(corpus, RATE, test=True)) == [(4, 0.34 * RATE), (2, 0.3 * RATE)]
    assert shapes(read_speech(corpus, RATE, test=False)) == [(3, 0.32 * RATE), (5, 0.36 * RATE)]
    assert shapes(read_speech(corpus, 2 * RATE, test=False)) == [(3, 0.64 * RATE), (5, 0.72 * RATE)]
    left = read_speech(corpus, RATE, test=True, leave_out=["noise"])
    assert shapes(left) == [(3, 0.34 * RATE), (1, 0.3 * RATE)]


def test_what_is_not_clean_is_left_out(corpus):
    write(corpus / "words" / "theo0.wav", 0)
    assert shapes(read_speech(corpus, RATE, test=True)) == [(4, 0.34 * RATE), (1, 0.3 * RATE)]
    write(corpus / "words" / "theo1.wav", 0.1, 2)  # noise from end to end
    assert shapes(read_speech(corpus, RATE, test=True)) == [(4, 0.34 * RATE)]


def test_of_a_speaker_the_first_ones_are_read(corpus, monkeypatch):
    monkeypatch.setattr("lstm_scratch.sources.MOST_CLIPS", 3)
    assert shapes(read_speech(corpus, RATE, test=True)) == [(3, 0.34 * RATE), (2, 0.3 * RATE)]


def test_a_folder_of_files_is_one_of_sources(tmp_path):
    for n, name in enumerate(["running_tap", "pink_noise", "dishes", "bike", "meow"]):
        write(tmp_path / f"{name}.wav", 0 if name == "bike" else 0.1 * (n + 1), 0.1 + 0.01 * n)
    assert [len(noise) for noise in read_noises(tmp_path, RATE, test=True)] == [880, 800]
    held = {name for name in ("dishes", "bike", "meow") if held_out(name)}
    assert not held
    assert [len(noise) for noise in read_noises(tmp_path, RATE, test=False, leave_out=["meow"])] == [960]


def test_a_side_without_recordings_is_said_in_one_line(tmp_path):
    write(tmp_path / "dishes.wav", 0.1)
    with pytest.raises(DataError) as caught:
        read_noises(tmp_path, RATE, test=True)
    message = f"{tmp_path}: of 1 speakers or sources, none is held out; add recordings of others"
    assert str(caught.value) == message
    with pytest.raises(DataError, match="no such file or folder"):
        read_sources(tmp_path, RATE, test=True)


@needs_data
def test_real_sources_are_on_one_side_each(monkeypatch):
    monkeypatch.setattr("lstm_scratch.sources.MOST_CLIPS", 2)
    monkeypatch.setattr("lstm_scratch.sources.NOISE", {"noise": ("dude_miaowing",)})
    sides = [read_sources(DATA, RATE, test) for test in (False, True)]
    (n_train, n_test) = (len(sources.speakers) for sources in sides)
    assert n_train > 120
    assert n_test > 25
    prints = [{noise[:4000].tobytes() for noise in sources.noises} for sources in sides]
    assert prints[0].isdisjoint(prints[1])
    assert [len(noises) for noises in prints] == [3, 2]
    words = [{clip.samples.tobytes() for clips in sources.speakers for clip in clips} for sources in sides]
    assert words[0].isdisjoint(words[1])
