"""Recipes: each shipped one can be used, a setting has one name and one place, and what is amiss is told."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest

from lstm_scratch.activity import SpeechDetector
from lstm_scratch.audio import AudioClassifier
from lstm_scratch.errors import SettingError
from lstm_scratch.recipe import (
    ACTIVITY,
    CLASSIFICATION,
    TABLES,
    Recipe,
    build_classifier,
    plain_settings,
    read_recipe,
    recipe_names,
    setting_of_text,
    settings_of,
    to_toml,
)
from lstm_scratch.scenes import SceneSettings
from lstm_scratch.sound import Augmentation, FeatureError, FeatureSettings
from lstm_scratch.stream import Stream
from lstm_scratch.variants import Variant

NAMES = ["default", "digits", "emotion", "environment", "instruments", "keywords", "voice-activity"]
# What a recipe does not say: of a run, and settings that have settings.
OF_A_RUN = {"random_state", "verbose", "engine"}
OF_PARTS = {"features", "augmentation", "variant", "scenes"}
DETECTOR = {"n_scenes", "look_ahead"}


def fields(of):
    return {field.name for field in dataclasses.fields(of)}


def plain(classifier):
    """All that makes a classifier what it is, in values that can be compared."""
    values = classifier.get_params()
    if values["augmentation"] is not None:
        values["augmentation"] = dataclasses.asdict(values["augmentation"])
    return type(classifier), values


def written(tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


# The shipped ones.


def test_the_shipped_recipes_are_these():
    assert recipe_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_is_read_and_built_and_its_settings_are_in_range(name):
    recipe = read_recipe(name)
    assert (recipe.name, bool(recipe.about)) == (name, True)
    for settings in [recipe.settings, recipe.settings | recipe.short_cuts]:
        classifier = build_classifier(settings, recipe.task)
        classifier.check_settings()
        told = settings_of(classifier)
        for key in settings.keys() - recipe.short_cuts.keys():
            assert told[key] == settings[key] or settings.get("probability") == 0, key
    assert type(classifier) is (SpeechDetector if name == "voice-activity" else AudioClassifier)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rate", [8000, 16_000])
def test_every_warp_and_tempo_of_a_shipped_recipe_can_be_computed(name, rate):
    """At both ends of what is drawn, where a band might hold no bin."""
    recipe = read_recipe(name)
    classifier = build_classifier(recipe.settings, recipe.task)
    sound = np.random.default_rng(0).uniform(-0.3, 0.3, rate).astype(np.float32)
    warps, tempos = classifier.vtln or (1.0,), classifier.tempo or (1.0,)
    for warp in warps:
        for tempo in tempos:
            changed = dataclasses.replace(
                classifier, vtln=(warp, warp), tempo=(tempo, tempo), augmentation=None
            )
            features, target = changed._redraw([sound].__getitem__, rate, keep=True)(
                0, np.random.default_rng(0)
            )
            assert target is None
            assert features.shape[1] == classifier.features.n_features(rate)
            assert np.isfinite(features).all()
            assert features.std() > 0


def warped(rate, **settings):
    """The features of a sound as training without a recipe may draw them, at one warp."""
    settings = read_recipe("default").settings | settings
    classifier = build_classifier(settings | {"tempo": None, "probability": 0})
    sound = np.random.default_rng(0).uniform(-0.3, 0.3, 4321).astype(np.float32)
    changed, _ = classifier._redraw([sound].__getitem__, rate, keep=False)(0, np.random.default_rng(0))
    return changed, sound, classifier.features


@pytest.mark.parametrize("factor", [0.88, 1.14])
@pytest.mark.parametrize(
    ("f_min_hz", "f_max_hz", "low_hz", "high_hz"),
    [
        (0, None, 100, 3500),
        (99, 3000, 100, 2500),
        (100, 3000, 200, 2500),
        (310, 3990, 410, 3490),
    ],
)
def test_a_warp_keeps_off_the_ends_of_the_bands(factor, f_min_hz, f_max_hz, low_hz, high_hz):
    changed, sound, plain = warped(8000, f_min_hz=f_min_hz, f_max_hz=f_max_hz, vtln=(factor, factor))
    told = plain.change(vtln_warp=factor, vtln_low_hz=low_hz, vtln_high_hz=high_hz)
    np.testing.assert_array_equal(changed, told(sound, 8000))
    assert np.abs(changed - plain(sound, 8000)).max() > 1


@pytest.mark.parametrize(
    ("rate", "bands", "factors"),
    [
        (8000, {"f_min_hz": 3000.0, "n_mels": 20}, "0.88, 1.1, 1.14"),
        (2000, {"f_min_hz": 300.0}, "0.88, 1.05, 1.1, 1.14"),
        (2200, {"f_min_hz": 200.0}, "1.14"),
        (
            16_000,
            {"f_min_hz": 1000.0, "f_max_hz": 1500.0, "n_mels": 4, "n_mfcc": 4},
            "0.88, 0.923, 0.967, 1.01, 1.05, 1.1, 1.14",
        ),
    ],
)
def test_a_warp_that_bands_have_no_room_for_is_left_out(rate, bands, factors):
    told = f"no room for warps by {factors}, which training leaves out"
    with pytest.warns(UserWarning, match=re.escape(told)):
        changed, sound, plain = warped(rate, **bands)
    if factors.count(",") == 6:
        np.testing.assert_array_equal(changed, plain(sound, rate))
    else:
        assert np.isfinite(changed).all()


@pytest.mark.parametrize("name", NAMES)
def test_all_settings_of_a_recipe_written_and_read_make_the_same_classifier(name, tmp_path):
    recipe = read_recipe(name)
    classifier = build_classifier(recipe.settings, recipe.task, random_state=7)
    text = to_toml(settings_of(classifier), recipe.about, recipe.short_cuts, recipe.task)
    again = read_recipe(written(tmp_path, text))
    assert again == Recipe("own", recipe.about, settings_of(classifier), recipe.short_cuts, recipe.task)
    assert plain(build_classifier(again.settings, again.task, random_state=7)) == plain(classifier)
    # What differs is enough.
    text = to_toml(recipe.settings, recipe.about, recipe.short_cuts, recipe.task)
    assert read_recipe(written(tmp_path, text)) == recipe._replace(name="own")


def test_settings_of_every_kind_come_through_a_file(tmp_path):
    """Words that need quoting, infinity, pairs, nothing, weights by label."""
    settings = {
        "sample_rate": None,
        "top_db": None,
        "log": "none",
        "lifter": 22.5,
        "n_mels": 33,
        "remove_dc": True,
        "shift_ms": (-7, 12.5),
        "snr_db": None,
        "vtln": (0.9, 1.25),
        "copies": 3,
        "bidirectional": False,
        "cell_clip": math.inf,
        "gate_activation": "hard_sigmoid",
        "class_weight": {'a "b" \\ c': 2.0, "d.e": 0.5},
        "epochs": None,
    }
    about = 'how "it" is \\ said, 日本'
    short_cuts = {"epochs": 2, "vtln": None, "copies": 0}
    recipe = read_recipe(written(tmp_path, to_toml(settings, about, short_cuts)))
    assert recipe == Recipe("own", about, settings, short_cuts, CLASSIFICATION)
    assert type(recipe.settings["vtln"]) is tuple
    classifier = build_classifier(recipe.settings)
    assert {name: settings_of(classifier)[name] for name in settings} == settings


def test_short_cuts_of_scenes_come_through_a_file(tmp_path):
    settings = {"n_scenes": 70, "scenes.speech": 0.65, "scenes.words": (2, 9)}
    short_cuts = {"n_scenes": 11, "scenes.speech": 0.75, "epochs": 2}
    text = to_toml(settings, short_cuts=short_cuts, task=ACTIVITY)
    recipe = read_recipe(written(tmp_path, text))
    assert recipe == Recipe("own", "", settings, short_cuts, ACTIVITY)
    detector = build_classifier(recipe.choose(fast=True), ACTIVITY)
    assert (detector.n_scenes, detector.epochs) == (11, 2)
    assert (detector.scenes.speech, detector.scenes.words) == (0.75, (2, 9))
    assert detector.scenes == dataclasses.replace(SceneSettings(), speech=0.75, words=(2, 9))


# Names.


def test_every_setting_stands_in_one_table_and_no_other_name_does():
    listed = [name for names in TABLES.values() for name in names]
    assert len(listed) == len(set(listed))
    scenes = {f"scenes.{name}" for name in fields(SceneSettings)}
    wanted = fields(SpeechDetector) - OF_PARTS - OF_A_RUN
    wanted |= fields(FeatureSettings) | fields(Augmentation) - {"noises"} | fields(Variant) | scenes
    assert set(listed) == wanted
    assert fields(SpeechDetector) - fields(AudioClassifier) == DETECTOR | {"scenes"}
    # The table tells the part that a setting goes to.
    assert set(TABLES["features"]) == fields(FeatureSettings) | {"sample_rate"}
    assert set(TABLES["augmentation"]) >= fields(Augmentation) - {"noises"}
    assert set(TABLES["network"]) >= fields(Variant)
    assert set(TABLES["scenes"]) == scenes | DETECTOR
    assert list(TABLES) == ["features", "augmentation", "network", "training", "scenes"]


def other_than(value):
    """A value of the same kind, within any range that we have."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return value[0], value[1] + 1
    if isinstance(value, int):
        return value + 2
    return value * 0.5 + 0.01


def test_every_number_and_flag_reaches_the_part_that_it_is_a_setting_of():
    """And that part alone, though scenes have names that augmentation has as well."""
    contradicting = {"frame_length", "hop_length", "bidirectional"}  # a detector has one direction
    before = settings_of(SpeechDetector())
    names = [n for n, value in before.items() if isinstance(value, bool | int | float | tuple)]
    names = [n for n in names if n not in contradicting and math.isfinite(np.max(before[n]))]
    assert len(names) > 80
    for name in names:
        if name in TABLES["augmentation"] and name in fields(Augmentation):
            continue  # without a change that is on there is no augmentation
        value = 3 if name == "dct_type" else other_than(before[name])
        after = settings_of(build_classifier({name: value}, ACTIVITY))
        assert after.items() - before.items() == {(name, value)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("speed", (0.9, 1.2)),
        ("shift_ms", (-3, 8)),
        ("equaliser_db", (-4, 5)),
        ("snr_db", (6, 21)),
        ("gain_db", (-2, 1)),
    ],
)
def test_any_change_of_sound_makes_an_augmentation_and_none_makes_none(name, value):
    others = {"probability": 0.35, "exponent": (0.5, 1.5)}
    augmentation = build_classifier({name: value} | others).augmentation
    expected = dataclasses.asdict(Augmentation(**{name: value} | others))
    assert dataclasses.asdict(augmentation) == expected
    assert build_classifier(others).augmentation is None
    assert build_classifier({name: None} | others).augmentation is None
    # What never happens costs nothing: features are computed once.
    assert not build_classifier({name: value, "probability": 0}).hears


def test_settings_of_a_classifier_are_in_the_order_of_the_tables_and_without_scenes():
    names = [name for table, names in TABLES.items() for name in names if table != "scenes"]
    assert list(settings_of(AudioClassifier())) == names
    assert list(settings_of(SpeechDetector())) == [name for names in TABLES.values() for name in names]


def test_settings_in_plain_values_are_what_json_gives_back():
    classifier = AudioClassifier(
        class_weight={3: np.float32(2), "b": 1}, learning_rate=np.float64(0.5), vtln=(0.9, 1.1)
    )
    settings = plain_settings(settings_of(classifier))
    assert json.loads(json.dumps(settings, allow_nan=False)) == settings
    found = [settings[name] for name in ("class_weight", "learning_rate", "vtln", "cell_clip", "hidden_size")]
    assert found == [{"3": 2.0, "b": 1}, 0.5, [0.9, 1.1], None, 48]


# What is amiss.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[network]\nhiden_size = 3",
            r", \[network\]: there is no setting 'hiden_size'; did you mean hidden_size\?",
        ),
        (
            "[network]\nqqqq = 3",
            ": there is no setting 'qqqq'; `lstm-scratch recipes default` lists all there are",
        ),
        ("[training]\nhidden_size = 3", r", \[training\]: hidden_size stands in \[network\]; move it there"),
        ("[features]\nsnr_db = [3, 9]", r", \[features\]: snr_db stands in \[augmentation\]; move it there"),
        ("[network]\nspeech = 0.3", r": there is no setting 'speech'"),
        ("[training]\nn_scenes = 30", r", \[training\]: n_scenes stands in \[scenes\]; move it there"),
        ("[scenes]\nhidden_size = 3", r", \[scenes\]: hidden_size stands in \[network\]; move it there"),
        (
            "[scenes]\nspeach = 0.3",
            r"\[scenes\]: there is no setting 'scenes.speach'; did you mean scenes.speech\?",
        ),
        ("[training]\nnoises = 3", ": there is no setting 'noises'"),
        ("[training]\nrandom_state = 3", ": there is no setting 'random_state'"),
        (
            "[netwerk]\nhidden_size = 3",
            ": netwerk: settings stand in the tables features, augmentation, network, ",
        ),
        ("hidden_size = 3", ": hidden_size: settings stand in the tables features, "),
        ("[network]\nhidden_size = \nx = 1", r": no TOML file \(.*line 2.*\); mend it there"),
        ("[network]\ndropout = 0.1\ndropout = 0.2", r": no TOML file \(.*\); mend it there"),
        ('task = "singing"', ": task is classification or voice-activity, not 'singing'"),
        (
            'task = ["classification"]',
            r": task is classification or voice-activity, not \['classification'\]",
        ),
        ("fast = 3", r": fast is a table of settings, \[fast\], not 3"),
        ("[fast]\nepoch = 3", r", \[fast\]: there is no setting 'epoch'; did you mean epochs\?"),
        ("[fast]\nscenes = 3", r", \[fast\]: there is no setting 'scenes'"),
        ("[scenes]\nspeech = 0.3", ": scenes.speech: only task = 'voice-activity' has scenes; leave it out"),
        ("[scenes]\nlook_ahead = 2", ": look_ahead: only task = 'voice-activity' has scenes; leave it out"),
        (
            "[fast]\nscenes.speech = 0.3",
            ": scenes.speech: only task = 'voice-activity' has scenes; leave it out",
        ),
    ],
)
def test_a_recipe_that_is_amiss_is_told_in_one_line_that_names_the_file(tmp_path, text, said):
    path = written(tmp_path, text)
    with pytest.raises(SettingError) as error:
        read_recipe(path)
    message = str(error.value)
    assert message.startswith(path)
    assert re.search(said, message), message
    assert "\n" not in message


def test_a_file_that_is_no_text_is_told(tmp_path):
    (tmp_path / "own.toml").write_bytes(b'about = "\xff"')
    with pytest.raises(SettingError, match=r"own\.toml: no TOML file \(.*\); mend it there"):
        read_recipe(str(tmp_path / "own.toml"))


@pytest.mark.parametrize("name", ["digit", "no/such.toml", "", "."])
def test_a_recipe_that_is_not_there_is_told_with_those_that_are(name):
    said = f"there is no recipe {name!r}: name {', '.join(NAMES)}, or a file that ends in .toml"
    with pytest.raises(SettingError, match=f"^{re.escape(said)}$"):
        read_recipe(name)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hiden_size": 3}, r"settings: there is no setting 'hiden_size'; did you mean hidden_size\?"),
        (
            {"scenes.speech": 0.5},
            "settings: scenes.speech: only task = 'voice-activity' has scenes; leave it out",
        ),
        ({"n_scenes": 5}, "settings: n_scenes: only task = 'voice-activity' has scenes; leave it out"),
        ({"probability": 2}, "probability is a finite number from 0 to 1, not 2"),
        ({"exponent": 2}, r"exponent is a pair \(lowest, highest\), not 2"),
        ({"gain_db": (3, -3)}, r"gain_db is a pair \(lowest, highest\), not \(3, -3\); swap them"),
        ({"kind": "plp"}, "kind is one of mfcc, log-mel, log-spectrogram, not 'plp'"),
        ({"peepholes": "yes"}, "peepholes is True or False, not 'yes'"),
    ],
)
def test_settings_that_cannot_be_are_not_built(settings, said):
    with pytest.raises((SettingError, FeatureError), match=f"^{said}$"):
        build_classifier(settings)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("bidirectional", "false", "bidirectional is True or False, not 'false'"),
        ("tempo", "fast", "tempo is a pair of factors from 0.5 to 2, the lower first, not 'fast'"),
        ("tempo", 0, "tempo is a pair .*, not 0"),
        ("tempo", (), r"tempo is a pair .*, not \(\)"),
        ("vtln", (0.9,), r"vtln is a pair .*, not \(0.9,\)"),
        ("vtln", (0.9, 1.0, 1.1), r"vtln is a pair .*, not \(0.9, 1.0, 1.1\)"),
        ("vtln", (1.1, 0.9), r"vtln is a pair .*, not \(1.1, 0.9\)"),
        ("vtln", (0.4, 1.1), r"vtln is a pair .*, not \(0.4, 1.1\)"),
        ("tempo", (0.9, 2.1), r"tempo is a pair .*, not \(0.9, 2.1\)"),
        ("tempo", ("0.9", "1.1"), r"tempo is a pair .*, not \('0.9', '1.1'\)"),
        ("tempo", (math.nan, 1.0), r"tempo is a pair .*, not \(nan, 1.0\)"),
        ("copies", -1, "copies is a whole number from 0 on, not -1"),
        ("copies", 1.5, "copies is a whole number from 0 on, not 1.5"),
    ],
)
def test_settings_out_of_range_are_told_before_training(name, value, said):
    with pytest.raises(SettingError, match=f"^{said}$"):
        build_classifier({name: value}).check_settings()


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("hidden_size=32", "hidden_size", 32),
        (" dropout = 0.25 ", "dropout", 0.25),
        ("learning_rate=1e-3", "learning_rate", 0.001),
        ("cell_clip=inf", "cell_clip", math.inf),
        ("pooling=mean+std", "pooling", "mean+std"),
        ('pooling="last"', "pooling", "last"),
        ("pooling=none", "pooling", "none"),
        ("epochs=none", "epochs", None),
        ("epochs=None", "epochs", None),
        ("class_weight=none", "class_weight", None),
        ("class_weight={yes = 2.5, no = 1}", "class_weight", {"yes": 2.5, "no": 1}),
        ("tempo=[0.9, 1.1]", "tempo", (0.9, 1.1)),
        ("vtln=none", "vtln", None),
        ("bidirectional=false", "bidirectional", False),
        ("bidirectional=False", "bidirectional", False),
        ("peepholes=TRUE", "peepholes", True),
        ("sample_rate=8000", "sample_rate", 8000),
        ("sample_rate=none", "sample_rate", None),
        ("n_mels=26", "n_mels", 26),
        ("lifter=22", "lifter", 22.0),
        ("top_db=none", "top_db", None),
        ("log=none", "log", "none"),
        ("dct_type=3", "dct_type", 3),
        ("remove_dc=True", "remove_dc", True),
        ("scenes.speech=0.4", "scenes.speech", 0.4),
        ("scenes.words=[2, 5]", "scenes.words", (2, 5)),
        ("look_ahead=5", "look_ahead", 5),
    ],
)
def test_a_setting_is_read_by_its_kind(text, name, value):
    found = setting_of_text(text)
    assert found == (name, value)
    assert type(found[1]) is type(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hidden_size", "a setting is told as NAME=VALUE, such as hidden_size=32, not 'hidden_size'"),
        ("=3", "--set: there is no setting ''; `lstm-scratch recipes default` lists all there are"),
        ("n_mel=3", r"--set: there is no setting 'n_mel'; did you mean n_mels\?"),
    ],
)
def test_what_is_no_setting_is_told(text, said):
    with pytest.raises(SettingError, match=f"^{said}$"):
        setting_of_text(text)


@pytest.mark.parametrize(
    "text", ["hidden_size=", "hidden_size=many", "n_mels=many", "sample_rate=16k", "tempo=0.9,1.1"]
)
def test_a_value_that_cannot_be_read_is_refused_by_what_it_is_a_setting_of(text):
    name, value = setting_of_text(text)
    assert value == text.partition("=")[2]
    with pytest.raises((SettingError, FeatureError), match=f"^{name} .* not {value!r}"):
        build_classifier({name: value}).check_settings()


# Short cuts.


def test_short_cuts_replace_what_they_name_and_the_rest_stays(tmp_path):
    text = to_toml({"hidden_size": 9, "epochs": 8, "tempo": (0.9, 1.1)}, "", {"epochs": 2, "tempo": None})
    recipe = read_recipe(written(tmp_path, text))
    slow, fast = recipe.choose(fast=False), recipe.choose(fast=True)
    assert slow == {"hidden_size": 9, "epochs": 8, "tempo": (0.9, 1.1)}
    assert fast == {"hidden_size": 9, "epochs": 2, "tempo": None}
    fast["hidden_size"] = slow["hidden_size"] = 1
    assert recipe.settings["hidden_size"] == 9, "copies, which may be changed"


def test_digits_are_fast_as_sound_is_not_changed():
    recipe = read_recipe("digits")
    slow, fast = (build_classifier(recipe.choose(fast)) for fast in (False, True))
    assert (slow.hears, fast.hears) == (True, False), "features are computed once"
    assert fast.epochs < (slow.epochs or 8)


def test_a_recipe_without_short_cuts_says_so():
    said = (
        r"the recipe keywords has no short cuts \(no table \[fast\]\); leave --fast out, or take a recipe "
        "that has: digits"
    )
    with pytest.raises(SettingError, match=f"^{said}$"):
        read_recipe("keywords").choose(fast=True)


# Keywords, live.

RATE = 16_000


def keywords(**others):
    """A classifier of that recipe, whose weights are as they are drawn."""
    recipe = read_recipe("keywords")
    rng = np.random.default_rng(0)
    clips = [rng.normal(scale=0.05, size=n).astype(np.float32) for n in (5000, 6100, 4300, 7200)]
    settings = recipe.settings | {"hidden_size": 9, "epochs": 1, "sample_rate": RATE} | others
    return build_classifier(settings).fit(clips, ["a", "b", "a", "b"])


def test_keywords_are_heard_live_as_a_whole_recording_is():
    classifier = keywords()
    sound = np.random.default_rng(1).normal(scale=0.1, size=9013).astype(np.float32)
    stream = Stream(classifier)
    live = np.concatenate([*(stream.push(chunk) for chunk in np.array_split(sound, 37)), stream.finish()])
    whole = Stream(classifier)
    np.testing.assert_array_equal(live, np.concatenate([whole.push(sound), whole.finish()]))
    assert len(live) == len(classifier.features(sound, RATE))
    np.testing.assert_allclose(live[-1], classifier.predict_proba([sound])[0], rtol=0, atol=1e-6)
    # What is to come changes nothing: the first steps of a recording are those of its beginning.
    first = Stream(classifier).push(sound[:6000])
    np.testing.assert_array_equal(first, live[: len(first)])
    other = Stream(classifier)
    np.testing.assert_array_equal(other.push(sound[:6000]), first)
    assert not np.array_equal(other.push(-3 * sound[6000:]), live[len(first) : len(first) + 5])


def test_keywords_are_as_late_as_their_recipe_says():
    """From the middle of a step to the sample with which its probabilities are there."""
    recipe = read_recipe("keywords")
    every_ms, late_ms = map(float, re.search(r"every ([\d.]+) ms, ([\d.]+) ms behind", recipe.about).groups())
    stream = Stream(keywords())
    sound = np.random.default_rng(2).normal(scale=0.1, size=8000).astype(np.float32)
    there = [n + 1 for n in range(len(sound)) for _ in stream.push(sound[n : n + 1])]
    features = build_classifier(recipe.settings).features
    frame, hop, _ = features.sizes(RATE)
    step = features.stack * hop
    late = [n - (t * step + (step - hop + frame) / 2) for t, n in enumerate(there)]
    assert len(there) == 14
    assert there[0] == frame + 8 * hop, "the first step waits until a polynomial can be fitted to nine frames"
    assert late[1:] == [late_ms * RATE / 1000] * 13
    assert np.diff(there[1:]).tolist() == [every_ms * RATE / 1000] * 12


def test_what_a_recipe_says_of_itself_may_have_any_characters(tmp_path):
    about = 'two\nlines, "quoted", \\ and ü'
    (tmp_path / "r.toml").write_text(to_toml({"hidden_size": 3}, about), encoding="utf-8")
    recipe = read_recipe(str(tmp_path / "r.toml"))
    assert (recipe.about, recipe.settings) == (about, {"hidden_size": 3})
