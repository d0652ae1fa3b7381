"""Training on sound that is changed: what is drawn, how many versions there are, and what stays as it was."""

import dataclasses

import numpy as np
import pytest
import soundfile

from lstm_scratch.audio import AudioClassifier, extract_features
from lstm_scratch.batches import Examples
from lstm_scratch.corpus import Corpus, read_corpus
from lstm_scratch.errors import DataError
from lstm_scratch.experiments import cross_validate, train
from lstm_scratch.sound import Augmentation, FeatureSettings

RATE = 8000
FEATURES = FeatureSettings(n_mels=16, n_mfcc=7, delta_order=1, stack=2)
CHANGES = Augmentation(
    speed=(0.9, 1.1), equaliser_db=(-6, 6), snr_db=(5, 20), gain_db=(-6, 6), probability=0.8
)


def clips(n, seed=0):
    """Noises of unlike lengths, so that each is known by its features."""
    rng = np.random.default_rng(seed)
    return [rng.normal(scale=0.1, size=1500 + 37 * k).astype(np.float32) for k in range(n)]


def classifier(**settings):
    size = {"hidden_size": 6, "epochs": 3, "batch_size": 5, "features": FEATURES, "sample_rate": RATE}
    return AudioClassifier(**size | settings)


def drawn(of, sounds, times, seed=0):
    """Features of every sound, drawn so many times."""
    redraw, rng = of._redraw(sounds.__getitem__, RATE, keep=True), np.random.default_rng(seed)
    found = [[redraw(n, rng) for _ in range(times)] for n in range(len(sounds))]
    assert all(target is None for of_one in found for _, target in of_one), "the label stays"
    return [[features for features, _ in of_one] for of_one in found]


def different(arrays):
    return {array.tobytes() for array in arrays}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noises")
    paths = [folder / f"{n}.wav" for n in range(14)]
    for path, clip in zip(paths, clips(14), strict=True):
        soundfile.write(path, clip, RATE, subtype="FLOAT")
    return paths, ["a", "b"] * 7


@pytest.fixture
def tone_corpus(tones):
    corpus = read_corpus(tones)
    speakers = [f"s{int(path.stem) % 4}" for path in corpus.paths]
    return Corpus(corpus.name, corpus.paths, corpus.labels, "speaker", speakers)


# What is drawn.


@pytest.mark.parametrize("copies", [0, 3])
def test_the_same_draws_give_the_same_features(copies):
    of = classifier(augmentation=CHANGES, vtln=(0.9, 1.1), tempo=(0.8, 1.25), copies=copies)
    first, again, other = (drawn(of, clips(4), 5, seed) for seed in (1, 1, 2))
    for one, two, three in zip(first, again, other, strict=True):
        assert [array.tobytes() for array in one] == [array.tobytes() for array in two]
        assert [array.tobytes() for array in one] != [array.tobytes() for array in three]


def test_as_many_versions_of_each_clip_as_copies():
    of = classifier(augmentation=CHANGES, vtln=(0.9, 1.1), tempo=(0.8, 1.25), copies=3)
    sounds = clips(4)
    versions = [different(of_one) for of_one in drawn(of, sounds, 60)]
    assert [len(of_one) for of_one in versions] == [3] * 4
    assert len(set.union(*versions)) == 12, "each clip has its own"
    # They are those of the seed, in whatever order they are asked for.
    assert [different(of_one) for of_one in drawn(of, sounds, 60, seed=9)] == versions
    others = drawn(dataclasses.replace(of, random_state=1), sounds, 60)
    assert not set.union(*map(different, others)) & set.union(*versions)


def test_each_version_comes_as_often():
    of_one = drawn(classifier(augmentation=CHANGES, copies=4), clips(1), 2000)[0]
    counts = [sum(array is version for array in of_one) for version in {id(a): a for a in of_one}.values()]
    np.testing.assert_allclose(counts, [500] * 4, atol=5 * np.sqrt(500))


def test_one_copy_is_always_the_same_and_no_copies_are_always_others():
    for copies, expected in ((1, 1), (0, 25)):
        of = classifier(augmentation=CHANGES, copies=copies)
        assert [len(different(of_one)) for of_one in drawn(of, clips(2), 25)] == [expected] * 2


@pytest.mark.parametrize("copies", [0, 2])
def test_a_warp_and_a_tempo_of_1_change_nothing(copies):
    of, sounds = classifier(vtln=(1.0, 1.0), tempo=(1.0, 1.0), copies=copies), clips(3)
    for plain, changed in zip(of.extract(sounds), drawn(of, sounds, 4), strict=True):
        for features in changed:
            np.testing.assert_array_equal(features, plain)


@pytest.mark.parametrize(("tempo", "hop"), [(0.5, 40), (0.8, 64), (1.25, 100), (2.0, 160)])
def test_tempo_changes_the_number_of_frames_and_not_the_frames(tempo, hop):
    """10 ms are 80 samples: twice the tempo is every second frame."""
    one_by_one = dataclasses.replace(FEATURES, stack=1, delta_order=0)
    of = classifier(features=one_by_one, tempo=(tempo, tempo))
    (sound,) = clips(1)
    features = drawn(of, [sound], 1)[0][0]
    assert len(features) == 1 + len(sound) // hop
    plain = of.extract([sound])[0]
    together = {0.5: (features[::2], plain), 2.0: (features, plain[::2])}.get(
        tempo, (features[:: 80 // np.gcd(hop, 80)], plain[:: hop // np.gcd(hop, 80)])
    )
    n = min(map(len, together))
    assert n >= 4
    # But for the floor below the clip's loudest frame, which these do not reach.
    np.testing.assert_allclose(together[0][:n], together[1][:n], rtol=0, atol=1e-4)


def test_tempos_and_warps_are_drawn_from_seven_of_their_range_each_as_often():
    of = classifier(tempo=(0.8, 1.4), vtln=(0.9, 1.2), copies=0)
    (sound,) = clips(1)
    tempos, warps = np.linspace(0.8, 1.4, 7), np.linspace(0.9, 1.2, 7)
    known = {
        FEATURES.change(vtln_warp=warp, hop_ms=None, hop_length=round(80 * tempo))(sound, RATE).tobytes(): (
            k,
            j,
        )
        for k, tempo in enumerate(tempos)
        for j, warp in enumerate(warps)
    }
    assert len(known) == 49
    pairs = np.array([known[features.tobytes()] for features in drawn(of, [sound], 980)[0]])
    counts = np.zeros((7, 7), int)
    np.add.at(counts, tuple(pairs.T), 1)
    np.testing.assert_allclose(counts, 20, atol=5 * np.sqrt(20))


def test_a_drawn_warp_multiplies_that_of_the_settings():
    warped = FEATURES.change(vtln_warp=1.1)
    of, sounds = classifier(features=warped, vtln=(0.9, 0.9)), clips(2)
    for sound, (features,) in zip(sounds, drawn(of, sounds, 1), strict=True):
        np.testing.assert_array_equal(features, FEATURES.change(vtln_warp=1.1 * 0.9)(sound, RATE))
        assert not np.array_equal(features, warped(sound, RATE))


def test_sound_is_changed_before_its_features_are_taken():
    of, sounds = classifier(augmentation=Augmentation(gain_db=(20, 20)), vtln=(1.1, 1.1)), clips(2)
    for sound, (features,) in zip(sounds, drawn(of, sounds, 1), strict=True):
        expected = FEATURES.change(vtln_warp=1.1)(10 * sound, RATE)
        np.testing.assert_allclose(features, expected, rtol=0, atol=1e-4)


def test_it_hears_if_anything_changes_sound():
    assert not classifier().hears
    for settings in ({"augmentation": CHANGES}, {"vtln": (0.9, 1.1)}, {"tempo": (0.9, 1.1)}):
        assert classifier(**settings).hears


# Training.

AUGMENTED = {"augmentation": CHANGES, "vtln": (0.9, 1.1), "tempo": (0.8, 1.25), "copies": 2}


@pytest.mark.parametrize("copies", [0, 2])
def test_samples_and_paths_are_trained_on_to_the_same_bytes(files, tmp_path, copies):
    paths, labels = files
    for name, X, seed in (
        ("a", paths, 3),
        ("b", clips(14), 3),
        ("c", list(map(str, paths)), 3),
        ("d", paths, 4),
    ):
        of = classifier(**AUGMENTED | {"copies": copies}, random_state=seed, validation_fraction=0.3)
        of.fit(X, labels).save(tmp_path / name)
    a, b, c, d = ((tmp_path / name).read_bytes() for name in "abcd")
    assert a == b == c != d
    classifier(validation_fraction=0.3, random_state=3).fit(paths, labels).save(tmp_path / "e")
    plain, changed = AudioClassifier.load(tmp_path / "e"), AudioClassifier.load(tmp_path / "a")
    np.testing.assert_array_equal(plain.mean_, changed.mean_)  # of what was recorded
    assert not np.array_equal(plain.params_["linear.weight"], changed.params_["linear.weight"])


def test_what_is_validated_and_tested_on_stays_as_it_was_recorded(files, tmp_path):
    paths, labels = files
    of = classifier(**AUGMENTED)
    features = of.extract(paths)
    for name, held in (("a", paths[9:]), ("b", features[9:])):
        fitted = classifier(**AUGMENTED).fit(paths[:9], labels[:9], validation_data=(held, labels[9:]))
        fitted.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    np.testing.assert_array_equal(fitted.predict_proba(paths), fitted.predict_proba(features))
    np.testing.assert_array_equal(fitted.predict_proba(clips(14)), fitted.predict_proba(features))


def test_a_changed_clip_keeps_its_label_and_the_validation_part_is_not_drawn(files, monkeypatch):
    paths, labels = files
    asked, rows = [], []

    def redraw(self, sound_of, sample_rate, keep):
        known = [sound.tobytes() for sound in clips(14)]
        indices = [known.index(sound_of(n).tobytes()) for n in range(14)]

        def draw(n, rng):
            asked.append(indices[n])
            return np.full((3, 28), 1e6 if labels[indices[n]] == "b" else -1e6, np.float32), None

        return draw

    batch = Examples.batch

    def spy(self, indices, rng):
        made = batch(self, indices, rng)
        rows.extend(zip(made.x[0, :, 0] > 0, made.targets, strict=True))
        return made

    monkeypatch.setattr(AudioClassifier, "_redraw", redraw)
    monkeypatch.setattr(Examples, "batch", spy)
    fitted = classifier(tempo=(0.9, 1.1), validation_fraction=0.4, epochs=2, patience=2).fit(paths, labels)
    training = [counts["training"] for counts in fitted.card_["clips"].values()]
    validation = [counts["validation"] for counts in fitted.card_["clips"].values()]
    assert (sum(training) + sum(validation), min(validation) > 0) == (14, True)
    assert len(set(asked)) == sum(training), "of those alone that are trained on"
    assert len(asked) == 2 * sum(training) == len(rows)
    assert {(bool(loud), int(target)) for loud, target in rows} == {(False, 0), (True, 1)}


@pytest.mark.parametrize("settings", [{"augmentation": CHANGES}, {"vtln": (0.9, 1.1)}, {"tempo": (0.9, 1.1)}])
def test_features_are_refused_where_sound_is_wanted(settings):
    of, sounds = classifier(**settings), clips(4)
    features = of.extract(sounds)
    for X in (features, [*sounds[:3], features[3]]):
        with pytest.raises(
            DataError, match=r"^features cannot be augmented: give paths, samples, or a FeatureStore$"
        ):
            of.fit(X, ["a", "b", "a", "b"])
    assert not hasattr(of, "params_")


def test_a_saved_model_holds_what_changed_the_sound(files, tmp_path):
    paths, labels = files
    augmentation = Augmentation(gain_db=np.array([-3.0, 2.0]), shift_ms=[-4, 9], probability=0.6)
    of = classifier(augmentation=augmentation, vtln=np.array([0.9, 1.1]), tempo=[0.8, 1.25], copies=5)
    of.fit(paths, labels).save(tmp_path / "m")
    loaded = AudioClassifier.load(tmp_path / "m")
    assert (loaded.vtln, loaded.tempo, loaded.copies) == ((0.9, 1.1), (0.8, 1.25), 5)
    expected = Augmentation(gain_db=(-3.0, 2.0), shift_ms=(-4.0, 9.0), probability=0.6)
    assert dataclasses.asdict(loaded.augmentation) == dataclasses.asdict(expected)
    np.testing.assert_array_equal(loaded.predict_proba(paths), of.predict_proba(paths))
    loaded.fit(paths, labels).save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()
    none = classifier(epochs=1).fit(paths, labels)
    none.save(tmp_path / "none")
    loaded = AudioClassifier.load(tmp_path / "none")
    assert (loaded.augmentation, loaded.vtln, loaded.tempo, loaded.copies) == (None, None, None, 8)


def test_samples_are_kept_beside_features_if_wanted(files):
    paths, _ = files
    bad = np.array([0.1, np.nan])
    extraction = extract_features([paths[2], bad, paths[5]], FEATURES, RATE, keep_samples=True)
    for n, samples, features in zip((2, 5), extraction.samples, extraction.features, strict=True):
        np.testing.assert_array_equal(samples, clips(14)[n])
        np.testing.assert_array_equal(features, FEATURES(samples, RATE))
    assert extract_features(paths[:2], FEATURES, RATE).samples == []


def test_a_silent_file_is_told_by_its_name_where_sound_is_changed(files, tmp_path):
    paths, labels = files
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(1700), RATE)
    with pytest.warns(UserWarning, match=r"^.*silent\.wav: silent, all samples are zero$") as told:
        classifier(tempo=(0.9, 1.1), epochs=1).fit([*paths, silent], [*labels, "a"])
    assert len(told) == 1


# Experiments.


def test_a_corpus_is_trained_on_as_its_files_are(tones, tiny):
    corpus = read_corpus(tones)
    of = tiny(epochs=2, **AUGMENTED)
    assert train(corpus, of, test_fraction=0)["n"] == 0
    with_paths = tiny(epochs=2, **AUGMENTED, sample_rate=RATE).fit(corpus.paths, corpus.labels)
    for name, array in with_paths.params_.items():
        np.testing.assert_array_equal(of.params_[name], array, err_msg=name)
    plain = tiny(epochs=2, sample_rate=RATE).fit(corpus.paths, corpus.labels)
    assert not np.array_equal(of.params_["linear.weight"], plain.params_["linear.weight"])


def test_one_process_and_two_give_the_same_figures_where_sound_is_changed(tone_corpus, tiny):
    """Predictions of each clip, and the losses of every epoch."""
    outcomes, said = [], []
    for processes in (1, 2):
        lines = []
        of = tiny(epochs=4, **AUGMENTED, validation_fraction=0.3)
        outcome = cross_validate(tone_corpus, of, 3, seeds=(7,), processes=processes, say=lines.append)
        outcomes.append({k: v for k, v in outcome.items() if k not in ("seconds", "protocol")})
        said.append(lines)
    assert outcomes[0] == outcomes[1]
    assert said[0] == said[1]
    assert 0 < outcomes[0]["accuracy"] < 1, "figures that could differ"
    plain = cross_validate(tone_corpus, tiny(epochs=4, validation_fraction=0.3), 3, seeds=(7,))
    assert plain["clips"]["predicted"] != outcomes[0]["clips"]["predicted"]
    assert outcomes[0]["settings"]["tempo"] == [0.8, 1.25]


def test_silence_in_a_corpus_is_told_once_by_its_file_where_sound_is_changed(tone_corpus, tiny, tmp_path):
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(2000), RATE)
    corpus = Corpus("c", [*tone_corpus.paths, silent], [*tone_corpus.labels, "steady"])
    for run in (
        lambda say: train(corpus, tiny(epochs=1, tempo=(0.9, 1.1)), test_fraction=0.2, say=say),
        lambda say: cross_validate(corpus, tiny(epochs=1, tempo=(0.9, 1.1)), 2, say=say),
    ):
        lines = []
        run(lines.append)
        assert sum("silent" in line for line in lines) == 1
        assert any(str(silent) in line for line in lines if "silent" in line)
