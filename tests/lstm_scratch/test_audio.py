"""AudioClassifier: files, arrays and features in, labels out, and one file on disk."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from features import AudioError, FeatureSettings
from lstm_scratch import AudioClassifier, audio
from lstm_scratch.audio import common_sample_rate, extract_features
from lstm_scratch.batches import Fetched
from lstm_scratch.errors import SettingError
from lstm_scratch.layers.pooling import EACH, STATISTICS

RATE = 8000
SMALL = {"hidden_size": 8, "epochs": 10, "batch_size": 8, "learning_rate": 0.02}


def sweeps(n, seed=0):
    """Tones that glide up or down through the same band: the same spectrum, told apart in time only."""
    rng = np.random.default_rng(seed)
    labels = np.array(["down", "up"])[rng.integers(0, 2, n)]
    clips = []
    for label in labels:
        hz = np.linspace(*rng.uniform((300, 1500), (600, 3000)), rng.integers(1600, 3200))
        hz = hz if label == "up" else hz[::-1]
        tone = np.sin(2 * np.pi * np.cumsum(hz) / RATE)
        clips.append((0.3 * tone + rng.normal(scale=0.01, size=len(hz))).astype(np.float32))
    return clips, labels


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweeps")
    clips, labels = sweeps(60)
    paths = [folder / f"{n}.wav" for n in range(len(clips))]
    for path, clip in zip(paths, clips, strict=True):
        soundfile.write(path, clip, RATE, subtype="FLOAT")
    return paths, labels


@pytest.fixture(scope="module")
def fitted(files):
    return AudioClassifier(**SMALL).fit(*files)


def test_it_learns_from_files_and_labels_arrays(fitted):
    clips, labels = sweeps(80, seed=1)
    assert fitted.sample_rate_ == RATE
    assert fitted.score(clips, labels) > 0.95


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", [*STATISTICS, "mean+max+std", "attention+last", EACH])
def test_a_clips_probabilities_do_not_depend_on_the_clips_beside_it(engine, pooling, bidirectional):
    """With slopes of slopes and stacked frames, whose last steps lean on what is not there."""
    rng = np.random.default_rng(0)
    clips = [rng.normal(scale=0.1, size=n).astype(np.float32) for n in (900, 4000, 250, 2111, 4000, 1600)]
    labels = np.array(["a", "b"] * 3)
    classifier = AudioClassifier(
        features=FeatureSettings(n_mels=14, n_mfcc=6, delta_order=2, stack=3),
        pooling=pooling,
        bidirectional=bidirectional,
        engine=engine,
        num_layers=2,
        sample_rate=RATE,
        **SMALL | {"epochs": 1, "hidden_size": 5},
    )
    features = classifier.extract(clips)
    given = (
        [np.repeat(y, len(x)) for x, y in zip(features, labels, strict=True)] if pooling == EACH else labels
    )
    classifier.fit(features, given)
    together, turned = classifier.predict_proba(clips), classifier.predict_proba(clips[::-1])[::-1]
    for n, clip in enumerate(clips):
        (alone,) = classifier.predict_proba([clip])
        assert alone.shape == ((len(features[n]), 2) if pooling == EACH else (2,))
        np.testing.assert_allclose(together[n], alone, rtol=0, atol=1e-6)
        np.testing.assert_allclose(turned[n], alone, rtol=0, atol=1e-6)
    assert np.abs(np.diff([of_one[0] for of_one in together], axis=0)).max() > 1e-3, "clips differ"


def test_files_arrays_and_features_give_the_same_bits(fitted, files):
    paths = files[0][:7]
    arrays = [soundfile.read(path, dtype="float32")[0] for path in paths]
    features = fitted.extract(paths)
    assert features[0].shape[1] == fitted.features.n_features() == 13 * 3 * 4
    np.testing.assert_array_equal(features[3], fitted.features(arrays[3], RATE))
    expected = fitted.predict_proba(paths)
    for other in (list(map(str, paths)), arrays, features):
        np.testing.assert_array_equal(fitted.predict_proba(other), expected)


def test_a_clips_result_does_not_depend_on_its_batch_mates(fitted):
    """Not even at its end, where deltas of a padded batch would see the padding."""
    clips, _ = sweeps(9, seed=2)
    clips.append(np.tile(clips[0], 5))
    together = fitted.predict_proba(clips)
    alone = np.concatenate([fitted.predict_proba([clip]) for clip in clips])
    np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize(
    "features",
    [
        FeatureSettings(n_mfcc=9, clip_normalisation="mean"),
        FeatureSettings(kind="log-mel", n_mels=20, delta_order=1),
    ],
)
def test_a_saved_model_holds_features_rate_and_labels(files, tmp_path, features):
    classifier = AudioClassifier(**SMALL | {"epochs": 1}, features=features, sample_rate=4000).fit(*files)
    classifier.save(tmp_path / "model.safetensors")
    loaded = AudioClassifier.load(tmp_path / "model.safetensors")
    assert (loaded.features, loaded.sample_rate_) == (features, 4000)
    np.testing.assert_array_equal(loaded.classes_, ["down", "up"])
    np.testing.assert_array_equal(loaded.predict_proba(files[0]), classifier.predict_proba(files[0]))


def test_the_same_seed_saves_the_same_bytes(files, tmp_path):
    for n, seed in enumerate((3, 3, 4)):
        classifier = AudioClassifier(**SMALL | {"epochs": 1}, random_state=seed).fit(*files)
        classifier.save(tmp_path / f"{n}.safetensors")
    first, again, other = (path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert first == again != other


def test_the_sample_rate_is_the_lowest_of_the_files_but_at_most_16_khz(tmp_path):
    for rate in (22_050, 44_100, 11_025):
        soundfile.write(tmp_path / f"{rate}.wav", np.zeros(100), rate)
    assert common_sample_rate([tmp_path / "22050.wav", tmp_path / "44100.wav"]) == 16_000
    assert common_sample_rate(sorted(tmp_path.iterdir())) == 11_025
    (tmp_path / "bad.wav").write_text("no sound")
    assert common_sample_rate([tmp_path / "bad.wav", tmp_path / "22050.wav"]) == 16_000
    with pytest.raises(AudioError, match=r"bad\.wav"):
        common_sample_rate([tmp_path / "bad.wav"])


def test_a_file_that_lacks_the_band_the_features_use_is_refused(tmp_path):
    path = tmp_path / "narrow.wav"
    soundfile.write(path, np.ones(4000) / 2, 8000)
    with pytest.raises(AudioError, match=r"narrow\.wav: recorded at 8000 Hz.*4000 Hz.*8000 Hz; use"):
        AudioClassifier(sample_rate=16_000).extract([path])
    (features,) = AudioClassifier(sample_rate=16_000, features=FeatureSettings(f_max_hz=4000)).extract([path])
    assert features.shape == (51, 13)


def test_extract_notes_what_is_bad_and_what_is_silent_and_keeps_the_rest(tmp_path):
    good, silent, bad = (tmp_path / f"{name}.wav" for name in ("good", "silent", "bad"))
    soundfile.write(good, np.ones(900) / 2, RATE)
    soundfile.write(silent, np.zeros(900), RATE)
    bad.write_bytes(b"")
    extraction = extract_features([bad, good, silent, np.array([0.1, np.nan])], FeatureSettings(), RATE)
    assert extraction.kept == [1, 2]
    assert extraction.silent == [str(silent)]
    assert [str(error).split(":")[0] for error in extraction.bad] == [str(bad), "array 3"]
    np.testing.assert_array_equal(
        extraction.features[0], FeatureSettings()(np.full(900, 0.5, np.float32), RATE)
    )
    with pytest.warns(UserWarning, match=r"silent\.wav: silent"):
        AudioClassifier(sample_rate=RATE).extract([silent])


def test_arrays_without_a_rate_and_impossible_rates_are_refused():
    clips, labels = sweeps(4)
    with pytest.raises(SettingError, match="sample_rate has to be given"):
        AudioClassifier().fit(clips, labels)
    with pytest.raises(SettingError, match="sample_rate is a whole number above 0, not 0"):
        AudioClassifier(sample_rate=0).fit(clips, labels)
    with pytest.raises(SettingError, match="not known yet"):
        AudioClassifier().extract(clips)
    with pytest.raises(AudioError, match=r"array 0: one channel"):
        AudioClassifier(sample_rate=RATE).extract([np.zeros((100, 2), np.float32)])


def single_steps(stack, n_features):
    return (
        f"stack={stack} joins every clip to a single step, of {n_features:,} features, which leaves an LSTM "
        "nothing to remember; lower it"
    )


def test_a_stack_that_no_clip_is_longer_than_is_told():
    """Of the longest clip, which has 41 frames: of 41 and more, and where features are fetched."""
    clips, labels = sweeps(8)
    clips[5] = np.tile(clips[5], 2)[:3200]

    def classifier(stack, **settings):
        features = FeatureSettings(n_mels=9, n_mfcc=5, stack=stack)
        return AudioClassifier(
            features=features, sample_rate=RATE, **SMALL | {"epochs": 1, "hidden_size": 3} | settings
        )

    with pytest.warns(UserWarning, match=f"^{single_steps(41, 205)}$") as caught:
        classifier(41).fit(clips, labels)
    assert [Path(warning.filename).name for warning in caught] == ["test_audio.py"]
    long = classifier(300)
    features = long.extract(clips)
    fetched = []

    def fetch(n):
        fetched.append(n)
        return features[n]

    for X in (features, Fetched(fetch, [len(of_one) for of_one in features])):
        with pytest.warns(UserWarning, match=f"^{single_steps(300, 1500)}$"):
            long.fit(X, labels)
    assert fetched[:8] == list(range(8)), "nothing is fetched before what is learned from is checked"
    classifier(40).fit(clips, labels)  # two steps, and nothing to tell
    frames = classifier(1).extract(clips)
    classifier(1).fit([of_one[:1] for of_one in frames], labels)  # the clips' own doing


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(
    "command",
    [("train",), ("cross-validate", "--folds", 2, "--processes", 1)],
    ids=lambda command: command[0],
)
def test_a_stack_that_no_clip_is_longer_than_is_told_once_by_every_command(
    run, tones, tmp_path, command, cached
):
    cache = ("--cache", tmp_path / "cache") if cached else ()
    short = ("--stack-frames", 26, "--epochs", 1, "-o", tmp_path / "out")
    outcome = run(command[0], tones, *command[1:], *short, *cache)
    assert outcome.status == 0
    told = [line for line in outcome.err.splitlines() if "stack=" in line]
    assert told == [f"lstm-scratch: warning: {single_steps(26, 416)}"]


def test_labels_of_whole_clips_cannot_be_learned_step_by_step(run, tones, tmp_path, monkeypatch):
    """Said before a recording is opened; and by `fit`, which is given features and labels alone."""
    said = (
        "pooling='none' learns from a label of every step, but here every clip has one label; choose another "
        "pooling, such as mean"
    )
    clips, labels = sweeps(8)
    features = AudioClassifier(sample_rate=RATE).extract(clips)
    classifier = AudioClassifier(**SMALL, sample_rate=RATE, pooling=EACH)
    for y in (labels, labels.tolist(), np.arange(8) % 2):
        with pytest.raises(SettingError, match=f"^{said}$"):
            classifier.fit(features, y)
    monkeypatch.setattr(audio, "read_audio", None)
    for command in (("train",), ("cross-validate", "--folds", 2)):
        output = tmp_path / "output"
        error = run(*command, tones, "-o", output, "--set", "pooling=none").the_error()
        assert error == f"lstm-scratch: error: {said}"
        assert not output.exists()
    of_steps = [np.arange(len(clip)) % 2 for clip in features]
    classifier.set_params(epochs=1).fit(features, of_steps).save(output)
    for words in (("predict", output, tones / "steady" / "1.wav"), ("evaluate", output, tones)):
        assert run(*words).the_error() == f"lstm-scratch: error: {said}"
