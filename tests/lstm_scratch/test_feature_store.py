"""Features on disk are those that would be computed, to the bit, whatever happened to the files."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import soundfile

from lstm_scratch import SequenceClassifier, feature_store
from lstm_scratch.audio import extract_features
from lstm_scratch.batches import Fetched
from lstm_scratch.errors import DataError, SettingError
from lstm_scratch.feature_store import RECORD, open_store, store_key
from lstm_scratch.inspection import hear
from lstm_scratch.sound import AudioError, FeatureSettings

RATE = 8000
SETTINGS = FeatureSettings(n_mels=20, n_mfcc=7, delta_order=1, stack=2)
N = 11


@pytest.fixture
def clips(tmp_path, write_tone):
    """Paths of tones of different durations."""
    return [
        write_tone(tmp_path / "clips" / f"{n}.wav", ("rising", "falling")[n % 2], n, seconds=0.1 + 0.03 * n)
        for n in range(N)
    ]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def remembers_at_once(monkeypatch):
    """Files that were written just now are believed to stay as they are."""
    monkeypatch.setattr(feature_store, "FRESH_NS", -1_000_000_000)


@pytest.fixture
def extracted(monkeypatch):
    """Paths of the clips whose features are computed."""
    paths = []

    def spy(recordings, *given):
        paths.extend(recordings)
        return extract_features(recordings, *given)

    monkeypatch.setattr(feature_store, "extract_features", spy)
    return paths


@pytest.fixture
def hashed(monkeypatch):
    """Paths of the clips whose bytes are read."""
    paths, file_digest = [], feature_store.hashlib.file_digest

    def spy(file, digest):
        paths.append(file.name)
        return file_digest(file, digest)

    monkeypatch.setattr(feature_store.hashlib, "file_digest", spy)
    return paths


def assert_same(store, clips, settings=SETTINGS, rate=RATE):
    """Fail unless the store holds what is computed from the files as they are now."""
    inspected = {}
    expected = extract_features(
        clips, settings, rate, heard=lambda name, *sound: inspected.update({name: hear(*sound)})
    ).features
    assert len(store) == len(expected) == len(clips)
    assert store.lengths.tolist() == [len(features) for features in expected]
    for ours, features in zip(store, expected, strict=True):
        assert ours.dtype == np.float32
        assert ours.shape == features.shape
        assert ours.tobytes() == features.tobytes()
    for n, path in enumerate(clips):
        heard, again = store.heard(n), inspected[str(path)]
        assert heard[:-1] == again[:-1]
        assert heard.fingerprint.bands_db.tobytes() == again.fingerprint.bands_db.tobytes()
        assert heard.fingerprint.wave.tobytes() == again.fingerprint.wave.tobytes()


def on_disk(folder):
    """The one folder of features."""
    (path,) = (path for path in folder.iterdir() if path.is_dir())
    return path


def strings(paths):
    return sorted(map(str, paths))


@pytest.mark.parametrize("num_threads", [1, 3, None])
@pytest.mark.parametrize("background", [False, True])
def test_a_store_holds_the_features_of_every_clip(folder, clips, num_threads, background):
    assert_same(
        open_store(folder, clips, SETTINGS, RATE, num_threads=num_threads, background=background), clips
    )


def test_what_is_there_is_not_computed_again(folder, clips, extracted):
    open_store(folder, clips[:7], SETTINGS, RATE)
    assert strings(extracted) == strings(clips[:7])
    extracted.clear()
    assert_same(open_store(folder, clips, SETTINGS, RATE), clips)
    assert strings(extracted) == strings(clips[7:])
    extracted.clear()
    assert_same(open_store(folder, clips[::-1], SETTINGS, RATE), clips[::-1])
    assert extracted == []


def test_files_that_stayed_as_they_are_are_not_read(folder, clips, hashed, remembers_at_once):
    open_store(folder, clips, SETTINGS, RATE)
    assert strings(hashed) == strings(clips)
    hashed.clear()
    assert_same(open_store(folder, clips, SETTINGS, RATE), clips)
    assert hashed == []
    open_store(folder, clips, SETTINGS, RATE, trust_times=False)
    assert strings(hashed) == strings(clips)
    hashed.clear()
    path = folder / "files"
    path.write_text(path.read_text().replace("wav", "mav", 1))  # damaged
    assert_same(open_store(folder, clips, SETTINGS, RATE), clips)
    assert strings(hashed) == strings(clips)


def test_files_that_were_written_just_now_are_read_again(folder, clips, hashed):
    """Within a tick of the clock a second change leaves no trace."""
    open_store(folder, clips, SETTINGS, RATE)
    hashed.clear()
    assert_same(open_store(folder, clips, SETTINGS, RATE), clips)
    assert strings(hashed) == strings(clips)


def test_other_contents_under_the_same_name_size_and_time_are_noticed(
    folder, clips, extracted, remembers_at_once
):
    open_store(folder, clips, SETTINGS, RATE)
    before = clips[4].stat()
    samples, _ = soundfile.read(clips[4], dtype="int16")
    extracted.clear()
    soundfile.write(clips[4], samples[::-1], RATE)
    os.utime(clips[4], ns=(before.st_atime_ns, before.st_mtime_ns))
    after = clips[4].stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert_same(open_store(folder, clips, SETTINGS, RATE), clips)
    assert extracted == [str(clips[4])]


def test_a_moved_corpus_is_known_again(folder, clips, tmp_path, extracted):
    open_store(folder, clips, SETTINGS, RATE)
    extracted.clear()
    moved = [tmp_path / "elsewhere" / f"{path.stem} b.wav" for path in clips]
    moved[0].parent.mkdir()
    for path, new in zip(clips, moved, strict=True):
        path.rename(new)
    assert_same(open_store(folder, moved, SETTINGS, RATE), moved)
    assert extracted == []


def test_other_settings_and_rates_are_kept_apart(folder, clips):
    others = [(SETTINGS, 6000), (FeatureSettings(kind="log-mel", n_mels=9), RATE), (SETTINGS, RATE)]
    stores = [open_store(folder, clips, *other) for other in others]
    for store, other in zip(stores, others, strict=True):
        assert_same(store, clips, *other)
    assert len({store_key(*other) for other in others}) == 3


def test_the_key_depends_on_sources_libraries_and_cpu(tmp_path, monkeypatch):
    keys = [store_key(SETTINGS, RATE)]
    assert store_key(FeatureSettings(n_mels=20, n_mfcc=7, delta_order=1, stack=2), RATE) == keys[0]
    sources = shutil.copytree(feature_store.FEATURES_FOLDER, tmp_path / "features")
    monkeypatch.setattr(feature_store, "FEATURES_FOLDER", sources)
    assert store_key(SETTINGS, RATE) == keys[0]
    (sources / "kernels" / "frames.py").write_text("changed")
    keys.append(store_key(SETTINGS, RATE))
    monkeypatch.setattr(feature_store.importlib.metadata, "version", lambda name: f"{name} 9")
    keys.append(store_key(SETTINGS, RATE))
    monkeypatch.setattr(feature_store.platform, "machine", lambda: "pdp11")
    keys.append(store_key(SETTINGS, RATE))
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    keys.append(store_key(SETTINGS, RATE))
    assert len(set(keys)) == 5


def test_parts_of_a_store_read_from_it(folder, clips):
    store = open_store(folder, clips, SETTINGS, RATE)
    expected = extract_features(clips, SETTINGS, RATE).features
    part = store.take([8, 2, 5])
    for ours, n in zip(part, (8, 2, 5), strict=True):
        np.testing.assert_array_equal(ours, expected[n])
    assert part.lengths.tolist() == [len(expected[n]) for n in (8, 2, 5)]
    np.testing.assert_array_equal(part[-1], expected[5])
    np.testing.assert_array_equal(store[3:9:2][1], expected[5])
    assert len(store[3:9:2]) == 3
    with pytest.raises(IndexError):
        store[N]
    store[0][:] = 7  # what was read is the reader's own
    np.testing.assert_array_equal(store[0], expected[0])


def test_the_same_recording_twice_is_kept_once(folder, clips, tmp_path, extracted):
    copy = shutil.copy(clips[3], tmp_path / "copy.wav")
    files = [clips[3], copy, clips[0]]
    store = open_store(folder, files, SETTINGS, RATE, num_threads=1)
    assert len(extracted) == 2
    assert_same(store, files)


def test_a_classifier_learns_the_same_from_a_store(folder, clips):
    store = open_store(folder, clips, SETTINGS, RATE)
    labels = [n % 2 for n in range(N)]
    from_disk, from_memory = (
        SequenceClassifier(hidden_size=3, epochs=2, batch_size=4).fit(X, labels)
        for X in (
            Fetched(store.__getitem__, store.lengths.tolist()),
            extract_features(clips, SETTINGS, RATE).features,
        )
    )
    for name, array in from_memory.params_.items():
        assert array.tobytes() == from_disk.params_[name].tobytes(), name


# Recordings that cannot be used.


@pytest.mark.parametrize("background", [False, True])
def test_bad_recordings_are_told_by_their_index(folder, clips, tmp_path, background):
    broken = tmp_path / "broken.wav"
    broken.write_text("no sound")
    files = [clips[0], broken, clips[1], tmp_path / "lost.wav"]
    store = open_store(folder, files, SETTINGS, RATE, skip_bad=True, background=background)
    assert store.bad.keys() == {1, 3}
    assert str(store.bad[1]).startswith(f"{broken}: not a readable recording")
    assert str(store.bad[3]) == f"{tmp_path / 'lost.wav'}: no such file"
    assert store.take([2, 3]).bad.keys() == {1}
    assert store.lengths[1] == store.lengths[3] == 0
    with pytest.raises(AudioError, match=r"broken\.wav: not a readable"):
        store[1]
    assert_same(store.take([0, 2]), clips[:2])


def test_the_first_bad_recording_is_raised(folder, clips, tmp_path):
    with pytest.raises(AudioError, match=r"/lost\.wav: no such file"):
        open_store(folder, [clips[0], tmp_path / "lost.wav", tmp_path / "lost too.wav"], SETTINGS, RATE)


def test_a_recording_that_changes_while_it_is_read_is_not_believed(folder, clips, monkeypatch, write_tone):
    def changing(recordings, *given):
        write_tone(clips[2], "steady", 77)
        return extract_features(recordings, *given)

    monkeypatch.setattr(feature_store, "extract_features", changing)
    with pytest.raises(AudioError, match=r"2\.wav: changed while it was read; try again"):
        open_store(folder, [clips[2]], SETTINGS, RATE)
    monkeypatch.undo()
    assert_same(open_store(folder, [clips[2]], SETTINGS, RATE), [clips[2]])


# What can happen to files.

DIES = """
import os, signal, sys
from lstm_scratch import feature_store
from lstm_scratch.sound import FeatureSettings
dies_at, part, folder, *clips = sys.argv[1:]
write, calls = feature_store._write, []
def dying(file, raw, offset):
    calls.append(None)
    if len(calls) == int(dies_at):
        write(file, raw[: int(len(raw) * float(part))], offset)
        os.kill(os.getpid(), signal.SIGKILL)
    write(file, raw, offset)
feature_store._write = dying
settings = FeatureSettings(n_mels=20, n_mfcc=7, delta_order=1, stack=2)
feature_store.open_store(folder, clips, settings, 8000, num_threads=1)
"""


@pytest.mark.parametrize("part", [0, 0.4, 1])
@pytest.mark.parametrize("dies_at", [1, 2, 5, 6])
def test_a_process_killed_at_any_moment_leaves_a_store_that_is_right(folder, clips, dies_at, part, extracted):
    """Frames are every odd write, their record is the next; some of a write may be there already."""
    command = [sys.executable, "-c", DIES, str(dies_at), str(part), str(folder), *map(str, clips)]
    process = subprocess.run(command, check=False)
    assert process.returncode == -signal.SIGKILL
    assert_same(open_store(folder, clips, SETTINGS, RATE), clips)
    assert len(extracted) == N - dies_at // 2 + (dies_at % 2 == 0 and part < 1)
    extracted.clear()
    assert_same(open_store(folder, clips, SETTINGS, RATE), clips)
    assert extracted == []


@pytest.mark.parametrize("where", [0, 0.3, 0.77, 0.9999])
@pytest.mark.parametrize("name", ["features.f32", "index"])
def test_a_flipped_bit_is_noticed_and_mended(folder, clips, name, where, extracted):
    open_store(folder, clips, SETTINGS, RATE)
    path = on_disk(folder) / name
    raw = bytearray(path.read_bytes())
    raw[int(where * len(raw))] ^= 0x10
    path.write_bytes(raw)
    extracted.clear()
    assert_same(open_store(folder, clips, SETTINGS, RATE), clips)
    assert len(extracted) == 1
    extracted.clear()
    assert_same(open_store(folder, clips, SETTINGS, RATE), clips)
    assert extracted == [], "it was mended on disk, too"


def test_damage_to_an_open_store_is_mended(folder, clips, extracted):
    store = open_store(folder, clips, SETTINGS, RATE)
    extracted.clear()
    (on_disk(folder) / "features.f32").write_bytes(b"")
    assert_same(store, clips)
    assert len(extracted) == N
    extracted.clear()
    assert_same(store, clips)
    assert_same(open_store(folder, clips, SETTINGS, RATE), clips)
    assert extracted == []


@pytest.mark.parametrize("left", [0, 0.5, 0.93])
@pytest.mark.parametrize("name", ["features.f32", "index"])
def test_a_file_that_was_cut_is_completed(folder, clips, name, left, extracted):
    open_store(folder, clips, SETTINGS, RATE)
    path = on_disk(folder) / name
    size = path.stat().st_size
    os.truncate(path, int(left * size))
    extracted.clear()
    assert_same(open_store(folder, clips, SETTINGS, RATE), clips)
    assert 1 <= len(extracted) <= N
    extracted.clear()
    assert_same(open_store(folder, clips, SETTINGS, RATE), clips)
    assert extracted == []


def test_damaged_features_of_a_recording_that_is_another_now_are_an_error(folder, clips, write_tone):
    store = open_store(folder, clips, SETTINGS, RATE)
    (on_disk(folder) / "features.f32").write_bytes(b"")
    write_tone(clips[0], "steady", 5)
    with pytest.raises(
        DataError, match=r"the features of .*0\.wav are damaged, and it has changed since; open"
    ):
        store[0]


TWO = """
import sys
from lstm_scratch.feature_store import open_store
from lstm_scratch.sound import FeatureSettings
folder, *clips = sys.argv[1:]
settings = FeatureSettings(n_mels=20, n_mfcc=7, delta_order=1, stack=2)
store = open_store(folder, clips, settings, 8000)
print(sum(float(features.sum(dtype="f8")) for features in store))
"""


def test_processes_at_the_same_time_share_a_store(folder, clips):
    command = [sys.executable, "-c", TWO, str(folder), *map(str, clips)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    sums = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 3
    expected = sum(float(f.sum(dtype="f8")) for f in extract_features(clips, SETTINGS, RATE).features)
    assert [float(text) for text in sums] == [expected] * 3
    assert_same(open_store(folder, clips, SETTINGS, RATE), clips)
    assert (on_disk(folder) / "index").stat().st_size == N * RECORD.itemsize, "each was computed once"


def test_a_store_that_waits_for_another_process_can_be_closed(folder, clips, remembers_at_once):
    open_store(folder, clips[:1], SETTINGS, RATE)
    with feature_store._Log(on_disk(folder)).locked():
        store = open_store(folder, clips, SETTINGS, RATE, background=True)
        assert store[0].shape == (store._shelf.records[0]["steps"], 14 * 2)  # that one is there
        store.close()
        with pytest.raises(DataError, match="closed before all features were there"):
            store[1]
    assert_same(open_store(folder, clips, SETTINGS, RATE), clips)


def test_a_full_disk_is_told_in_one_line(folder, clips, monkeypatch):
    calls = []

    def full(file, raw, offset):
        calls.append(None)
        if len(calls) > 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(file, raw, offset)

    pwrite = os.pwrite
    monkeypatch.setattr(feature_store.os, "pwrite", full)
    with pytest.raises(DataError) as caught:
        open_store(folder, clips, SETTINGS, RATE)
    assert str(caught.value) == (
        f"{on_disk(folder)}: the disk is full; make room, or name a folder on another disk"
    )
    calls.clear()
    store = open_store(folder, clips, SETTINGS, RATE, background=True)
    with pytest.raises(DataError, match="the disk is full"):
        store.take([0, 3]).lengths.sum()
    store.close()
    monkeypatch.undo()
    assert_same(open_store(folder, clips, SETTINGS, RATE), clips)


def test_a_folder_that_cannot_be_is_told_in_one_line(folder, clips):
    folder.write_text("a file")
    with pytest.raises(
        DataError, match=r"store/.*: features cannot be written there \(.*\); name another folder"
    ):
        open_store(folder, clips, SETTINGS, RATE)


def test_a_store_on_a_disk_that_cannot_be_written_is_read(folder, clips, monkeypatch, remembers_at_once):
    open_store(folder, clips, SETTINGS, RATE)
    os_open = os.open

    def read_only(path, flags, *mode):
        if flags & (os.O_RDWR | os.O_WRONLY):
            raise OSError(errno.EROFS, "Read-only file system")
        return os_open(path, flags, *mode)

    monkeypatch.setattr(feature_store.os, "open", read_only)
    assert_same(open_store(folder, clips, SETTINGS, RATE), clips)


def test_the_number_of_threads_is_one_at_least(folder, clips):
    with pytest.raises(SettingError, match="num_threads is a whole number above 0, not 0"):
        open_store(folder, clips, SETTINGS, RATE, num_threads=0)


# In the background.


def test_clips_are_there_while_others_are_still_being_computed(folder, clips, monkeypatch):
    gate, begun = threading.Event(), threading.Event()

    def gated(recordings, *given):
        if recordings != [str(clips[1])]:
            begun.set()
            assert gate.wait(60)
        return extract_features(recordings, *given)

    monkeypatch.setattr(feature_store, "extract_features", gated)
    store = open_store(folder, clips, SETTINGS, RATE, background=True, num_threads=1)
    assert begun.wait(60)  # the thread is at clip 0
    # Nobody has begun clip 1, so it is computed here.
    expected = extract_features(clips[1:2], SETTINGS, RATE).features
    assert store[1].tobytes() == expected[0].tobytes()
    assert store._shelf.state[0] == feature_store.BEGUN
    gate.set()
    assert_same(store, clips)


def test_a_mistake_in_a_thread_is_raised_where_a_clip_is_asked_for(folder, clips, monkeypatch):
    def wrong(recordings, *given):
        raise ZeroDivisionError("wrong")

    monkeypatch.setattr(feature_store, "extract_features", wrong)
    store = open_store(folder, clips, SETTINGS, RATE, background=True)
    with pytest.raises(ZeroDivisionError):
        store[N - 1]
    store.close()
    with pytest.raises(ZeroDivisionError):
        open_store(folder, clips, SETTINGS, RATE)
