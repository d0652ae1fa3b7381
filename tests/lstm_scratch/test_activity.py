"""The speech detector: what it learns, when it says what, and that chunks and files change no bit of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile

import lstm_scratch
from lstm_scratch import progress
from lstm_scratch.activity import CLASSES, SHIPPED, SpeechDetector, SpeechStream
from lstm_scratch.errors import DataError, ModelFileError, NotFittedError, SettingError
from lstm_scratch.scenes import Scene, SceneSettings
from lstm_scratch.segments import Segmentation, find_segments
from lstm_scratch.sound import AudioError, Augmentation, FeatureError, FeatureSettings, read_audio, resample
from lstm_scratch.stream import Stream

RATE, FRAME, HOP, STACK, AHEAD = 12_000, 300, 120, 2, 3  # of the detector
STEP = FRAME + (STACK - 1) * HOP  # samples that a step hears
SMALL = {"n_scenes": 9, "epochs": 3, "batch_size": 4, "validation_fraction": 0.2}


def middles(n_steps):
    """The sample in the middle of what each probability is about."""
    return np.arange(n_steps) * STACK * HOP + STACK * HOP // 2


def pulses(begin_s, end_s, seconds, seed=3):
    """One voice, and faint noise around it."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    hum = sum(np.sin(2 * np.pi * 150 * k * time + k) / k for k in range(1, 9))
    voice = 0.1 * hum * (0.6 + 0.4 * np.sin(2 * np.pi * 6 * time)) * ((time >= begin_s) & (time < end_s))
    return (voice + 0.004 * rng.normal(size=len(time))).astype(np.float32)


# What it has learned


def test_it_tells_voices_that_it_has_not_heard_from_noise(detector, scene):
    said, true = [], []
    for n in range(12):
        samples, active = scene(n)
        said.append(detector.probabilities(samples))
        true.append(active[middles(len(said[-1]))])
    said, true = np.concatenate(said), np.concatenate(true)
    assert 300 < true.sum() < len(true) - 300
    auc = np.mean(said[true][:, None] > said[~true])
    assert auc > 0.97
    # In another order of the labels, or one step earlier or later, it would know less.
    assert np.mean((said > 0.5) == true) > 0.9


def test_speech_begins_and_ends_when_the_sound_does(detector):
    for begin_s, end_s in ((1.0, 2.2), (0.63, 1.57)):
        even = Segmentation(onset=0.5, offset=0.5, padding_s=0)  # neither early nor late
        (found,) = detector.detect(pulses(begin_s, end_s, 3.1), even)
        assert found.start_s == pytest.approx(begin_s, abs=0.05)
        assert found.end_s == pytest.approx(end_s, abs=0.06)
        assert found.probability > 0.8
        (padded,) = detector.detect(pulses(begin_s, end_s, 3.1), replace(even, padding_s=0.07))
        assert padded.start_s == pytest.approx(found.start_s - 0.07)
        assert padded.end_s == pytest.approx(found.end_s + 0.07)


def test_speech_up_to_the_end_ends_with_the_recording(detector):
    samples = pulses(0.5, 9, 1.777)
    assert detector.detect(samples)[-1].end_s == len(samples) / RATE
    assert detector.detect(np.zeros(9000, np.float32)) == []


# Which sound a probability is about, and when it is there


def test_hop_and_latency_are_those_of_steps(detector):
    assert detector.hop_s == STACK * HOP / RATE == 0.02
    assert detector.n_ahead == AHEAD * STACK * HOP == 720
    assert detector.latency_s == pytest.approx(0.06 + 0.035 - 0.01)
    default = SpeechDetector()
    assert default.hop_s == 0.02
    assert default.latency_s == pytest.approx(0.08 + 0.035 - 0.01)


def arrivals(detector, samples):
    """How many samples had come when each probability came."""
    stream, when = SpeechStream(detector), []
    for n, sample in enumerate(samples[:, None]):
        when += [n + 1] * len(stream.probabilities(sample))
    return np.array(when)


def test_a_probability_comes_when_its_latency_is_over(detector, scene):
    when = arrivals(detector, scene(0).samples[:4020])
    assert len(when) == 13
    assert when.tolist() == [AHEAD * STACK * HOP + t * STACK * HOP + STEP for t in range(13)]
    waited = (when - (np.arange(13) + 0.5) * STACK * HOP) / RATE
    np.testing.assert_allclose(waited, detector.latency_s, rtol=1e-12)


def test_deltas_come_late_and_the_latency_says_so(untrained, speakers, scene):
    features = untrained().features.change(delta_order=1, delta_width=5)
    late = untrained(features=features, **SMALL).fit_scenes(speakers(0), [])
    assert late.latency_s == pytest.approx(0.06 + 0.035 - 0.01 + 2 * HOP / RATE)
    when = arrivals(late, scene(0).samples[:4000])
    waited = (when - (np.arange(len(when)) + 0.5) * STACK * HOP) / RATE
    np.testing.assert_allclose(waited, late.latency_s, rtol=1e-12)
    samples = scene(1).samples[:7777]
    stream = SpeechStream(late)
    chunks = [stream.probabilities(chunk) for chunk in np.split(samples, [100, 5001])]
    assert (
        late.probabilities(samples).tobytes()
        == np.concatenate([*chunks, stream.last_probabilities()]).tobytes()
    )
    assert len(late.probabilities(samples)) == 32


def test_probabilities_are_what_the_stream_says_look_ahead_steps_later(detector, scene):
    samples = scene(2).samples
    stream = Stream(detector)
    said = np.concatenate([stream.push(np.pad(samples, (0, AHEAD * STACK * HOP))), stream.finish()])
    found = detector.probabilities(samples)
    assert np.ptp(found) > 0.5
    assert found.dtype == np.float32
    assert found.tobytes() == said[AHEAD:, 1].tobytes()
    assert stream.classes.tolist() == list(CLASSES) == ["other", "speech"]


def test_what_comes_after_the_look_ahead_changes_nothing(detector, scene):
    samples, t = scene(3).samples.copy(), 20
    before = detector.probabilities(samples)
    heard = (t + AHEAD) * STACK * HOP + STEP  # samples, until then
    samples[heard:] = 0.5
    after = detector.probabilities(samples)
    assert before[: t + 1].tobytes() == after[: t + 1].tobytes()
    assert before[t + 1] != after[t + 1]
    samples[heard - 40 : heard] = 0.5
    assert detector.probabilities(samples)[t] != before[t]


@pytest.mark.parametrize(("stack", "look_ahead", "hop"), [(1, 0, 70), (2, 3, 120), (3, 2, 97), (4, 1, 350)])
def test_step_labels_are_those_of_the_middle_of_what_is_judged(untrained, stack, look_ahead, hop):
    features = untrained().features.change(stack=stack, hop_ms=None, hop_length=hop)
    detector = untrained(features=features, look_ahead=look_ahead)
    rng, seen = np.random.default_rng(4), set()
    for n in (300, 669, 670, 2345, 6789):
        scene = Scene(rng.normal(0, 0.1, n).astype(np.float32), np.repeat(rng.random(n) < 0.5, 40)[:n])
        labels = detector.step_labels(scene)
        assert len(labels) == len(features(scene.samples, RATE))
        for t, label in enumerate(labels):
            about = max(t - look_ahead, 0) * stack  # first frame
            assert label == scene.active[min(about * hop + stack * hop // 2, n - 1)]
            seen.add(int(label))
    assert seen == {0, 1}


def test_what_is_too_short_has_no_probability(detector):
    for n, n_steps in ((0, 0), (1, 0), (299, 0), (300, 1), (419, 1), (420, 1), (539, 1), (540, 2), (2000, 8)):
        samples = np.full(n, 0.1, np.float32)
        assert detector.probabilities(samples).shape == (n_steps,)
        found = detector.detect(samples, Segmentation(onset=0, offset=0, min_speech_s=0))
        assert [(s.start_s, s.end_s) for s in found] == ([(0, n / RATE)] if n_steps else [])


# Chunks, files, arrays


def test_no_chunk_changes_a_bit(detector, scene):
    rng = np.random.default_rng(8)
    stream = SpeechStream(detector)
    for n, size in enumerate([36_000, 12_345, 700]):
        samples = scene(n).samples[:size]
        whole = detector.probabilities(samples)
        for cuts in ([], [0, 0, 1, 2, 300], np.sort(rng.integers(0, size, 50)), np.arange(0, size, 97)):
            said = [stream.probabilities(chunk) for chunk in np.split(samples, cuts)]
            said.append(stream.last_probabilities())
            assert np.concatenate(said).tobytes() == whole.tobytes()


def test_segments_of_chunks_are_those_of_the_whole(detector, scene):
    settings = Segmentation(onset=0.6, offset=0.2, min_speech_s=0.06, min_silence_s=0.05, padding_s=0.03)
    n_found = 0
    stream = SpeechStream(detector, settings)
    for n in range(6):
        samples = scene(n).samples[: 30_001 + n]
        whole = detector.detect(samples, settings)
        n_found += len(whole)
        assert whole == find_segments(
            detector.probabilities(samples), 0.02, settings, duration_s=len(samples) / RATE
        )
        chunks = np.split(samples, np.arange(0, len(samples), 531))
        assert [s for chunk in chunks for s in stream.push(chunk)] + stream.finish() == whole
    assert n_found > 8


def test_a_stream_begins_anew_and_what_is_no_sound_leaves_it_as_it_was(detector, scene):
    samples = scene(1).samples
    whole = detector.detect(samples)
    stream = SpeechStream(detector)
    stream.probabilities(scene(2).samples)
    stream.last_probabilities()
    found = stream.push(samples[:5000])
    for wrong in (np.full(7, np.nan), np.zeros((5, 2)), np.zeros(4, np.int16)):
        with pytest.raises(AudioError):
            stream.push(wrong)
    assert found + stream.push(samples[5000:]) + stream.finish() == whole
    assert whole[-1].end_s <= len(samples) / RATE


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44_100, 2), (12_000, 3)])
def test_a_file_is_brought_to_the_detectors_rate(detector, tmp_path, rate, channels):
    sound = resample(pulses(1.0, 2.2, 3.1), RATE, rate)
    path = tmp_path / "voice.wav"
    soundfile.write(path, np.repeat(sound[:, None], channels, axis=1), rate, subtype="FLOAT")
    found = detector.detect(path)
    assert found == detector.detect(str(path)) == detector.detect(read_audio(path, RATE)[0])
    assert len(found) == 1
    assert found[0].start_s == pytest.approx(0.95, abs=0.1)
    assert found[0].end_s == pytest.approx(2.25, abs=0.1)


# Kept


def test_a_saved_detector_gives_the_same_bits(detector, detector_file, scene, tmp_path):
    loaded = SpeechDetector.load(detector_file)
    samples = scene(4).samples
    assert loaded.probabilities(samples).tobytes() == detector.probabilities(samples).tobytes()
    assert loaded.scenes == detector.scenes
    assert loaded.features == detector.features
    assert (loaded.look_ahead, loaded.hop_s, loaded.latency_s) == (3, 0.02, detector.latency_s)
    loaded.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == detector_file.read_bytes()


def test_a_description_is_json(detector, detector_file):
    described = detector.describe()
    text = json.dumps(described)
    assert json.loads(text) == json.loads(json.dumps(SpeechDetector.load(detector_file).describe()))
    assert described["estimator"] == "SpeechDetector"
    assert described["classes"] == ["other", "speech"]
    assert json.loads(text)["settings"]["scenes"]["snr_db"] == [10, 25]
    clips = described["card"]["clips"]
    steps = {part: clips["other"][part] + clips["speech"][part] for part in ("training", "validation")}
    assert steps == {"training": 54 * 149, "validation": 6 * 149}  # scenes, and steps of each


def test_a_model_of_another_kind_is_refused_in_one_line(model, detector_file, tmp_path):
    with pytest.raises(ModelFileError) as caught:
        SpeechDetector.load(model)
    assert str(caught.value) == f"{model}: holds a AudioClassifier, not a SpeechDetector; name another file"
    with pytest.raises(ModelFileError, match="holds a SpeechDetector, not a AudioClassifier"):
        lstm_scratch.AudioClassifier.load(detector_file)
    with pytest.raises(ModelFileError, match="no such model file"):
        SpeechDetector.load(tmp_path / "none.safetensors")
    assert SHIPPED.name == "voice-activity.safetensors"


# Training


def test_the_same_seed_trains_the_same_bytes(untrained, speakers, tmp_path):
    def saved(name, **settings):
        path = tmp_path / name
        untrained(**SMALL | settings).fit_scenes(speakers(0), []).save(path)
        return path.read_bytes()

    assert saved("one") == saved("other")
    assert saved("one") != saved("third", random_state=6)


def test_scenes_that_are_drawn_are_counted_while_one_waits(untrained, speakers, monkeypatch, capsys):
    bar = progress.tqdm
    monkeypatch.setattr(progress, "tqdm", lambda **given: bar(**given | {"delay": 0, "mininterval": 0}))
    untrained(**SMALL, verbose=True).fit_scenes(speakers(0), [])
    told = capsys.readouterr().err
    assert "drawing: 100%" in told
    assert "9/9" in told
    untrained(**SMALL).fit_scenes(speakers(0), [])
    assert capsys.readouterr().err == ""


def test_a_training_that_was_interrupted_goes_on_to_the_same_bytes(untrained, speakers, tmp_path):
    whole, checkpoint = tmp_path / "whole", tmp_path / "checkpoint"
    noises = [np.random.default_rng(0).normal(0, 0.1, 5000).astype(np.float32)]
    settings = SMALL | {"scenes": SceneSettings(duration_s=1.5, speed=0, reverberation=0)}
    untrained(**settings).fit_scenes(speakers(0), noises).save(whole)

    def stop(epoch):
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    stopped = untrained(**settings)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit_scenes(speakers(0), noises, checkpoint=checkpoint, checkpoint_seconds=0, on_epoch=stop)
    with pytest.raises(NotFittedError):
        stopped.detect(np.zeros(500, np.float32))
    until_then = SpeechDetector.load(checkpoint)
    assert until_then.classes_.tolist() == ["other", "speech"]
    assert until_then.probabilities(noises[0]).shape == (20,)

    with pytest.raises(ModelFileError, match="a checkpoint of a training with other data or settings"):
        untrained(**settings | {"look_ahead": 2}).fit_scenes(
            speakers(0), noises, checkpoint=checkpoint, resume=True
        )
    epochs = []
    resumed = stopped.fit_scenes(
        speakers(0), noises, checkpoint=checkpoint, resume=True, on_epoch=lambda epoch: epochs.append(epoch)
    )
    assert [epoch.epoch for epoch in epochs][-1] == 3
    assert len(epochs) < 3, "it began anew"
    resumed.save(tmp_path / "resumed")
    assert (tmp_path / "resumed").read_bytes() == whole.read_bytes()


CANNOT = "a SpeechDetector has bidirectional=False, pooling='none' and a sample_rate; leave these"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bidirectional": True}, CANNOT),
        ({"pooling": "mean"}, CANNOT),
        ({"sample_rate": None}, CANNOT),
        (
            {"features": FeatureSettings(framing="centred", top_db=None)},
            "a SpeechDetector has features with framing='whole-frames', as it listens",
        ),
        ({"features": FeatureSettings(framing="whole-frames")}, "top_db"),
        ({"augmentation": Augmentation(gain_db=(-3, 3))}, "no augmentation, vtln or tempo"),
        ({"vtln": (0.9, 1.1)}, "no augmentation, vtln or tempo"),
        ({"scenes": {"duration_s": 3}}, "scenes are SceneSettings, not {'duration_s': 3}"),
        ({"n_scenes": 0}, "n_scenes is a whole number above 0, not 0"),
        ({"look_ahead": -1}, "look_ahead is a whole number from 0 on, not -1"),
    ],
)
def test_what_cannot_listen_is_refused_before_anything_is_drawn(untrained, settings, message):
    with pytest.raises((SettingError, FeatureError)) as caught:
        untrained(**settings).fit_scenes([], [])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_scenes_without_speech_or_speakers_teach_nothing(untrained, speakers):
    with pytest.raises(DataError, match="at least one speaker"):
        untrained(**SMALL).fit_scenes([], [])
    silent = SceneSettings(duration_s=1, speech=0)
    with pytest.raises(DataError, match="all clips are labelled other; at least two classes are needed"):
        untrained(**SMALL, scenes=silent).fit_scenes(speakers(0), [])


def test_it_is_there_at_the_top_of_the_package():
    assert lstm_scratch.SpeechDetector is SpeechDetector
    assert lstm_scratch.SpeechStream is SpeechStream
    assert lstm_scratch.Segmentation is Segmentation
