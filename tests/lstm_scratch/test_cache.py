"""With --cache, features are kept and streamed: what is learned, and told, is the same to the bit."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter

import pytest

from lstm_scratch import audio, feature_store, training
from lstm_scratch.audio import extract_features
from lstm_scratch.batches import Fetched
from lstm_scratch.corpus import Corpus, read_corpus
from lstm_scratch.errors import DataError
from lstm_scratch.experiments import cross_validate, train
from lstm_scratch.feature_store import open_store
from lstm_scratch.sound import Augmentation

N = 24  # of `tones`
RATE = 8000


@pytest.fixture
def corpus(tones, tmp_path):
    """A copy of three tones, eight clips each, in turns of five speakers."""
    own = read_corpus(shutil.copytree(tones, tmp_path / "tones"))
    speakers = [f"s{n % 5}" for n in range(N)]
    return Corpus(own.name, own.paths, own.labels, "speaker", speakers)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def extracted(monkeypatch):
    """Paths of the clips whose features are computed for a cache."""
    paths = []

    def spy(recordings, *given):
        paths.extend(map(str, recordings))
        return extract_features(recordings, *given)

    monkeypatch.setattr(feature_store, "extract_features", spy)
    return paths


@pytest.fixture
def opened(monkeypatch):
    """Paths of the recordings that are decoded, by whomever, and the threads that do it."""
    calls, read_audio = [], audio.read_audio

    def spy(path):
        calls.append((str(path), threading.current_thread().name))
        return read_audio(path)

    monkeypatch.setattr(audio, "read_audio", spy)
    return calls


@pytest.fixture
def remembers_at_once(monkeypatch):
    """Files that were written just now are believed to stay as they are."""
    monkeypatch.setattr(feature_store, "FRESH_NS", -1_000_000_000)


@pytest.fixture
def reads(monkeypatch):
    """How often the frames at each place of a cache are read, by thread."""
    counts, read = Counter(), feature_store._Log.read

    def spy(log, record):
        counts[threading.current_thread().name, int(record["offset"])] += 1
        return read(log, record)

    monkeypatch.setattr(feature_store._Log, "read", spy)
    return counts


def outcome_of(work, corpus, classifier, *given, **how):
    """What an experiment returns and says, but for the time that it takes, and what only a cache is about."""
    lines = []
    result = work(corpus, classifier, *given, say=lines.append, **how)
    del result["seconds"]
    return result, [line for line in lines if not line.startswith("training changes sound")]


def assert_learned_the_same(ours, theirs):
    assert ours.history_ == theirs.history_
    assert ours.card_ == theirs.card_
    assert ours.params_.keys() == theirs.params_.keys()
    for name, array in theirs.params_.items():
        assert ours.params_[name].tobytes() == array.tobytes(), name
    assert ours.mean_.tobytes() == theirs.mean_.tobytes()
    assert ours.scale_.tobytes() == theirs.scale_.tobytes()


LOUDER = Augmentation(gain_db=(-7, 5))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"mixup": 0.3, "feature_masks": 2, "class_weight": "balanced", "validation_fraction": 0},
        {"augmentation": LOUDER},
        {"augmentation": LOUDER, "vtln": (0.9, 1.1), "copies": 2},
        {"tempo": (0.8, 1.2), "copies": 0},
    ],
    ids=str,
)
def test_a_training_from_a_cache_is_the_same_to_the_bit(corpus, cache, tiny, change, extracted):
    settings = {"epochs": 4} | change
    fresh, first, again = tiny(**settings), tiny(**settings), tiny(**settings)
    plain = outcome_of(train, corpus, fresh)
    assert extracted == []
    for classifier, computed in ((first, N), (again, 0)):
        assert outcome_of(train, corpus, classifier, cache=cache) == plain
        assert_learned_the_same(classifier, fresh)
        assert len(extracted) == computed
        extracted.clear()
    assert plain[0]["n"] == 5  # speaker 2's
    moved = tiny(**settings | {"random_state": 3})
    train(corpus, moved, cache=cache)
    assert moved.params_["linear.weight"].tobytes() != fresh.params_["linear.weight"].tobytes()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_cross_validation_from_a_cache_has_the_same_figures(corpus, cache, tiny, extracted, processes):
    given, how = ("speaker",), {"seeds": (0, 4)}
    plain, lines = outcome_of(cross_validate, corpus, tiny(epochs=2), *given, **how)
    how["processes"] = processes
    for computed in (N, 0):
        ours, told = outcome_of(cross_validate, corpus, tiny(epochs=2), *given, **how, cache=cache)
        assert ours.pop("protocol")["processes"] == processes
        assert ours == {name: value for name, value in plain.items() if name != "protocol"}
        assert told == lines
        assert len(extracted) == computed
        extracted.clear()


def test_a_second_training_opens_no_recording(corpus, cache, tiny, opened, remembers_at_once):
    """Not for what is told about the corpus either."""
    train(corpus, tiny(epochs=1), cache=cache)
    assert sorted(path for path, _ in opened) == sorted(map(str, corpus.paths))
    opened.clear()
    result = train(corpus, tiny(epochs=1), cache=cache)
    assert opened == []
    assert sum(one["clips"]["training"] for one in result["corpus"]["classes"]) == N - 5
    assert result["corpus"]["sample_rates"] == {"8000": N}


def test_what_is_amiss_is_told_from_a_cache_too(corpus, cache, tiny, tmp_path):
    corpus.paths[3].write_bytes(b"no sound")
    shutil.copy(corpus.paths[5], corpus.paths[14])  # under another label
    silent = corpus.paths[9]
    audio_of_it = feature_store.soundfile.read(silent)[0]
    feature_store.soundfile.write(silent, 0 * audio_of_it, RATE)
    for skip_bad in (False, True):
        for work, given in ((train, ()), (cross_validate, (2,))):
            told = []
            for how in ({}, {"cache": cache}, {"cache": cache}):
                lines = []
                try:
                    result = work(corpus, tiny(epochs=1), *given, skip_bad=skip_bad, say=lines.append, **how)
                    told.append((lines, result["n"], result.get("corpus")))
                except DataError as error:
                    told.append((lines, str(error)))
            assert told[0] == told[1] == told[2]
            said = "\n".join(told[0][0])
            assert f"{'left out' if skip_bad else 'bad'}: {corpus.paths[3]}: not a readable" in said
            assert (f"{silent}" in said) == skip_bad
            if skip_bad and work is train:
                kinds = [finding["kind"] for finding in told[0][2]["findings"]]
                assert "duplicates across labels" in kinds


def test_a_changed_recording_is_heard_anew(corpus, cache, tiny, extracted, write_tone):
    train(corpus, tiny(epochs=2), cache=cache)
    extracted.clear()
    write_tone(corpus.paths[7], "steady", 31)
    plain, ours = tiny(epochs=2), tiny(epochs=2)
    expected = outcome_of(train, corpus, plain)
    assert outcome_of(train, corpus, ours, cache=cache) == expected
    assert_learned_the_same(ours, plain)
    assert extracted == [str(corpus.paths[7])]


def test_a_recording_that_changes_while_it_is_trained_on_ends_in_one_line(corpus, cache, tiny, write_tone):
    store = open_store(cache, corpus.paths, tiny().features, RATE)
    assert store.sound(4).tobytes() == audio.read_audio(corpus.paths[4])[0].tobytes()
    write_tone(corpus.paths[4], "steady", 31)
    with pytest.raises(DataError) as caught:
        tiny(epochs=2, augmentation=LOUDER, sample_rate=RATE, validation_fraction=0).fit(store, corpus.labels)
    assert str(caught.value) == (f"{corpus.paths[4]}: changed since its features were computed; begin anew")


# What is streamed, when, and by whom.

BATCHES = "lstm-scratch batches"


def test_features_are_read_three_times_before_training_and_once_an_epoch(
    corpus, cache, tiny, reads, tmp_path
):
    """To check and to hash them; for their mean; and for their spread. Then by a thread of their own."""
    store = open_store(cache, corpus.paths, tiny().features, RATE)
    classifier = tiny(epochs=5, sample_rate=RATE, validation_fraction=0)
    classifier.fit(store, corpus.labels, checkpoint=tmp_path / "checkpoint")
    by_thread = {name: {o: n for (who, o), n in reads.items() if who == name} for name, _ in reads}
    assert set(by_thread) == {"MainThread", BATCHES}
    assert list(by_thread["MainThread"].values()) == [3] * N
    assert list(by_thread[BATCHES].values()) == [5] * N
    reads.clear()
    probabilities = classifier.predict_proba(store)
    assert sorted(who for who, _ in reads) == ["MainThread"] * N + [BATCHES] * N
    assert set(reads.values()) == {1}
    assert probabilities.tobytes() == classifier.predict_proba(list(store)).tobytes()


def test_the_next_batch_is_read_while_one_is_learned_from(corpus, cache, tiny, monkeypatch):
    store = open_store(cache, corpus.paths, tiny().features, RATE)
    read, gradient = feature_store._Log.read, training._gradient
    begun, beyond = [], threading.Event()

    def reading(log, record):
        if threading.current_thread().name == BATCHES:
            begun.append(None)
            if len(begun) == 8:  # a batch has seven
                beyond.set()
        return read(log, record)

    def learning(*given):
        assert beyond.wait(60), "nothing was read ahead"
        return gradient(*given)

    monkeypatch.setattr(feature_store._Log, "read", reading)
    monkeypatch.setattr(training, "_gradient", learning)
    tiny(epochs=1, batch_size=7, sample_rate=RATE, validation_fraction=0).fit(store, corpus.labels)
    assert len(begun) == N


def test_sound_that_training_changes_is_read_anew_for_every_epoch(corpus, cache, tiny, opened):
    """As many copies as there are are not kept."""
    store = open_store(cache, corpus.paths, tiny().features, RATE)
    opened.clear()
    settings = {"epochs": 5, "augmentation": LOUDER, "copies": 1, "validation_fraction": 0}
    tiny(**settings, sample_rate=RATE).fit(store, corpus.labels)
    assert Counter(opened) == {(str(path), BATCHES): 5 for path in corpus.paths}


def test_features_without_their_sound_cannot_be_changed(corpus, cache, tiny):
    store = open_store(cache, corpus.paths, tiny().features, RATE)
    fetched = Fetched(store.__getitem__, store.lengths.tolist())
    with pytest.raises(DataError, match="features cannot be augmented: give paths, samples, or a Feature"):
        tiny(augmentation=LOUDER, sample_rate=RATE).fit(fetched, corpus.labels)


# The command line.


def test_the_option_of_both_commands_reaches_the_cache(run, tones, cache, tmp_path, extracted):
    plain, cached = tmp_path / "plain.safetensors", tmp_path / "cached.safetensors"
    assert run("train", tones, "-o", plain).status == 0
    assert run("train", tones, "-o", cached, "--cache", cache).status == 0
    assert cached.read_bytes() == plain.read_bytes()
    assert len(extracted) == N
    outcomes = [
        run("cross-validate", tones, "--folds", 3, "--processes", n, *how, "--epochs", 2)
        for n in (1, 2)
        for how in ((), ("--cache", cache))
    ]
    assert len({outcome.out.rsplit(",", 1)[0] for outcome in outcomes}) == 1
    assert "accuracy" in outcomes[0].out
    assert len(extracted) == N


def test_a_training_goes_on_whether_or_not_there_is_a_cache(corpus, cache, tiny, tmp_path):
    path = tmp_path / "checkpoint"

    def stop(epoch):
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    whole = tiny(epochs=4)
    train(corpus, whole)
    for before, after in (({}, {"cache": cache}), ({"cache": cache}, {})):
        with pytest.raises(KeyboardInterrupt):
            train(corpus, tiny(epochs=4), checkpoint=path, checkpoint_seconds=0, on_epoch=stop, **before)
        resumed = tiny(epochs=4)
        train(corpus, resumed, checkpoint=path, resume=True, **after)
        assert_learned_the_same(resumed, whole)
        path.unlink()


KILLED = """
import os, signal, sys
from lstm_scratch import feature_store
from lstm_scratch.cli import main
write, calls = feature_store._write, []
def dying(file, raw, offset):
    calls.append(None)
    if len(calls) == 15:  # the frames of the eighth clip
        write(file, raw[: len(raw) // 2], offset)
        os.kill(os.getpid(), signal.SIGKILL)
    write(file, raw, offset)
feature_store._write = dying
main(sys.argv[1:])
"""


def test_a_run_that_was_killed_is_gone_on_with(run, tones, cache, tmp_path, tiny_options, extracted):
    plain, path = tmp_path / "plain.safetensors", tmp_path / "m.safetensors"
    arguments = ["train", str(tones), "-o", str(path), "--cache", str(cache)]
    process = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments, *tiny_options], check=False, capture_output=True
    )
    assert process.returncode == -signal.SIGKILL
    assert not path.exists()
    assert run(*arguments).status == 0
    assert len(extracted) == N - 7
    assert run("train", tones, "-o", plain).status == 0
    assert path.read_bytes() == plain.read_bytes()


COMMANDS = [("train", "-o", "m"), ("cross-validate", "--folds", 2)]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_full_disk_is_told_in_one_line(run, tones, cache, tmp_path, monkeypatch, command):
    calls, pwrite = [], os.pwrite

    def full(file, raw, offset):
        calls.append(None)
        if len(calls) > 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(file, raw, offset)

    monkeypatch.setattr(feature_store.os, "pwrite", full)
    monkeypatch.chdir(tmp_path)
    error = run(command[0], tones, *command[1:], "--cache", cache).the_error()
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    assert error == (
        f"lstm-scratch: error: {folder}: the disk is full; make room, or name a folder on another disk"
    )
    assert list(tmp_path.iterdir()) == [cache]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_disk_that_cannot_be_written_is_told_in_one_line_unless_all_is_there(
    run, tones, cache, tmp_path, monkeypatch, remembers_at_once, tiny, command
):
    monkeypatch.chdir(tmp_path)
    arguments = (command[0], tones, *command[1:], "--cache", cache)
    os_open, mkdir = os.open, feature_store.Path.mkdir

    def read_only(path, flags, *given, **how):
        if str(path).startswith(str(cache)) and flags & (os.O_RDWR | os.O_WRONLY):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return os_open(path, flags, *given, **how)

    def no_folder(path, *given, **how):
        if str(path).startswith(str(cache)) and not path.exists():
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return mkdir(path, *given, **how)

    with monkeypatch.context() as patch:
        patch.setattr(feature_store.os, "open", read_only)
        patch.setattr(feature_store.Path, "mkdir", no_folder)
        error = run(*arguments).the_error()
        assert error.startswith(f"lstm-scratch: error: {cache}")
        assert error.endswith(
            ": features cannot be written there (Read-only file system); name another folder"
        )
    open_store(cache, read_corpus(tones).paths, tiny().features, RATE)
    with monkeypatch.context() as patch:
        patch.setattr(feature_store.os, "open", read_only)
        patch.setattr(feature_store.Path, "mkdir", no_folder)
        assert run(*arguments).status == 0
