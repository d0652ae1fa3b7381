"""Recipes on the command line: what is chosen, by a recipe, an option, or by name; and what is listed."""

import json
import re

import numpy as np
import pytest
import soundfile

from lstm_scratch import cli
from lstm_scratch.activity import SpeechDetector
from lstm_scratch.audio import AudioClassifier
from lstm_scratch.recipe import build_classifier, read_recipe, recipe_names, settings_of
from lstm_scratch.sound import FeatureSettings

OWN = """
about = "for a test"

[features]
n_mels = 17
n_mfcc = 7
delta_order = 0
top_db = "none"

[augmentation]
gain_db = [-3, 3]
tempo = [0.9, 1.1]

[network]
hidden_size = 6
pooling = "last"
dropout = 0.2

[training]
epochs = 3
batch_size = 5

[fast]
epochs = 1
tempo = "none"
"""


RATE = 8000


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    return path


@pytest.fixture
def chosen():
    def chosen(*words, command="train"):
        """The classifier that a command would train."""
        words = [command, "DATA", *map(str, words)]
        words += ["--folds", "speaker"] if command == "cross-validate" else []
        return cli._classifier(cli._parser().parse_args(words), 5)

    return chosen


@pytest.mark.parametrize("command", ["train", "cross-validate"])
@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_alone_is_its_settings(chosen, name, command):
    recipe = read_recipe(name)
    classifier = chosen("--recipe", name, command=command)
    assert settings_of(classifier) == settings_of(build_classifier(recipe.settings, recipe.task))
    assert (classifier.random_state, classifier.verbose, classifier.engine) == (5, True, "numba")


def test_without_a_recipe_all_is_as_by_default_and_sound_is_changed(chosen):
    settings, of_class = settings_of(chosen()), settings_of(AudioClassifier())
    changed = {"equaliser_db", "snr_db", "gain_db", "probability", "vtln", "tempo"}
    assert {name for name in settings if settings[name] != of_class[name]} == changed
    assert settings == settings_of(build_classifier(read_recipe("default").settings))


def test_what_is_set_by_name_goes_before_options_and_options_before_the_recipe(chosen, own):
    def of(*words):
        classifier = chosen("--recipe", own, *words)
        return classifier.hidden_size, classifier.pooling, classifier.dropout, classifier.features.n_mels

    assert of() == (6, "last", 0.2, 17)
    options = ("--hidden-size", 9, "--pooling", "max", "--n-mels", 21)
    assert of(*options) == (9, "max", 0.2, 21)
    named = ("--set", "hidden_size=11", "--set", "dropout=0.1", "--set", "n_mels=25")
    assert of(*named) == of(*named, "--hidden-size", 6) == (11, "last", 0.1, 25)
    assert of(*named, *options) == of(*options, *named) == (11, "max", 0.1, 25)
    assert of("--set", "dropout=0.4", "--set", "dropout=0.15") == (6, "last", 0.15, 17), "the last one"
    # An option may bring back what is so by default, and none what the recipe switched on.
    assert of("--hidden-size", 48, "--pooling", "mean")[:2] == (48, "mean")
    assert chosen("--recipe", own, "--set", "gain_db=none").augmentation is None
    assert chosen("--recipe", own, "--set", "tempo=none").tempo is None


def test_options_replace_settings_of_a_shipped_recipe(chosen):
    words = ("--bidirectional", "--features", "log-mel", "--stack-frames", 2, "--class-weight", "none")
    before, after = (
        settings_of(chosen("--recipe", "keywords")),
        settings_of(chosen("--recipe", "keywords", *words)),
    )
    changed = {"bidirectional": True, "kind": "log-mel", "stack": 2}
    assert {name for name in after if after[name] != before[name]} == changed.keys()
    assert {name: after[name] for name in changed} == changed
    assert chosen("--class-weight", "balanced", "--set", "class_weight=none").class_weight is None


@pytest.mark.parametrize("fast", [False, True])
def test_a_fast_training_looks_for_no_near_copies(own, tmp_path, capsys, fast):
    rng = np.random.default_rng(0)
    for n in range(6):
        sound = 0.1 * rng.normal(size=RATE // 2)
        for label, gain in ("ab"[n % 2], 1), ("b", 0.5):
            if gain == 1 or n == 4:
                (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
                soundfile.write(tmp_path / "data" / label / f"{n}-{gain}.wav", gain * sound, RATE)
    words = ["train", tmp_path / "data", "--recipe", own, "--test-fraction", 0, "-o", tmp_path / "model"]
    assert cli.main([*map(str, words), *(["--fast"] if fast else [])]) == 0
    said = capsys.readouterr().err
    assert ("nearly the same recording stands under two labels" in said) is not fast
    assert ("recordings that are nearly the same are not looked for" in said) is fast
    # A cache knows them anyway.
    cached = ["--cache", str(tmp_path / "cache"), "--set", "gain_db=none", "--overwrite"]
    assert cli.main([*map(str, words), *(["--fast"] if fast else []), *cached]) == 0
    said = capsys.readouterr().err
    assert "nearly the same recording stands under two labels" in said
    assert "are not looked for" not in said


def test_short_cuts_are_taken_when_time_counts_and_options_go_before_them(chosen, own):
    assert (chosen("--recipe", own).epochs, chosen("--recipe", own).tempo) == (3, (0.9, 1.1))
    fast = chosen("--recipe", own, "--fast")
    assert (fast.epochs, fast.tempo, fast.batch_size) == (1, None, 5)
    assert chosen("--recipe", own, "--fast", "--epochs", 7).epochs == 7
    assert chosen("--recipe", own, "--fast", "--set", "epochs=8").epochs == 8


def test_scenes_are_set_by_name(chosen):
    detector = chosen("--recipe", "voice-activity", "--set", "scenes.speech=0.45", "--set", "n_scenes=77")
    assert type(detector) is SpeechDetector
    assert (detector.scenes.speech, detector.n_scenes) == (0.45, 77)
    changed = {"scenes.speech": 0.45, "n_scenes": 77}
    assert settings_of(detector) == settings_of(chosen("--recipe", "voice-activity")) | changed


def test_a_model_is_trained_by_a_recipe_and_its_figures_are_told(run, tones, tmp_path, own):
    path = tmp_path / "m.safetensors"
    outcome = run(
        "train", tones, "-o", path, "--recipe", own, "--set", "hidden_size=5", "--set", "log=ln", "--json"
    )
    assert outcome.status == 0
    model = AudioClassifier.load(path)
    # The fixture's options stand on the command line, too: --epochs 12 and others.
    assert (model.hidden_size, model.pooling, model.dropout, model.batch_size) == (5, "last", 0.2, 8)
    assert (model.epochs, len(model.history_)) == (12, 12)
    wanted = FeatureSettings(n_mels=20, n_mfcc=8, delta_order=1, stack=2, top_db=None, log="ln")
    assert model.features == wanted
    assert (model.augmentation.gain_db, model.tempo) == ((-3, 3), (0.9, 1.1))
    assert json.loads(outcome.out)["epochs"] == 12


def test_a_cross_validation_names_its_recipe(run, tones, tmp_path, own):
    words = (
        "--folds",
        2,
        "--recipe",
        own,
        "--set",
        "cell_clip=inf",
        "--epochs",
        1,
        "--processes",
        1,
        "--json",
    )
    outcome = json.loads(run("cross-validate", tones, *words).out, parse_constant=pytest.fail)
    assert outcome["recipe"] == str(own)
    found = [outcome["settings"][name] for name in ("tempo", "gain_db", "cell_clip", "pooling", "epochs")]
    assert found == [[0.9, 1.1], [-3, 3], None, "last", 1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--recipe", "digit"], "there is no recipe 'digit': name default, digits, emotion, "),
        (["--recipe", "keywords", "--fast"], "the recipe keywords has no short cuts .*; leave --fast out"),
        (["--fast"], "the recipe default has no short cuts .*; leave --fast out"),
        (["--set", "hiden_size=3"], r"--set: there is no setting 'hiden_size'; did you mean hidden_size\?"),
        (
            ["--set", "hidden_size"],
            "a setting is told as NAME=VALUE, such as hidden_size=32, not 'hidden_size'",
        ),
        (
            ["--set", "tempo=0.9,1.1"],
            "tempo is a pair of factors from 0.5 to 2, the lower first, not '0.9,1.1'",
        ),
        (["--set", "bidirectional=maybe"], "bidirectional is True or False, not 'maybe'"),
        (["--set", "n_scenes=9"], "n_scenes: only task = 'voice-activity' has scenes; leave it out"),
        (["--set", "probability=3"], "probability is a finite number from 0 to 1, not 3"),
        (["--set", "sample_rate=16k"], "sample_rate is a whole number above 0, not '16k'"),
    ],
)
@pytest.mark.parametrize("command", ["train", "cross-validate"])
def test_what_cannot_be_ends_in_one_line_and_nothing_is_written(run, tones, tmp_path, command, words, said):
    given = ("-o", tmp_path / "m.safetensors") if command == "train" else ("--folds", 2)
    error = run(command, tones, *given, *words).the_error()
    assert re.search(f": error: .*{said}", error), error
    assert list(tmp_path.iterdir()) == []


def test_a_detector_is_not_cross_validated(run, tones):
    error = run("cross-validate", tones, "--folds", 2, "--recipe", "voice-activity").the_error()
    assert error.endswith("the recipe voice-activity is for `train`: it has no clips to cross-validate")


# The list.


def test_recipes_are_listed_with_what_they_are_for(run):
    outcome = run("recipes")
    lines = outcome.out.splitlines()
    assert [line.split()[0] for line in lines] == recipe_names()
    for name, line in zip(recipe_names(), lines, strict=True):
        assert line.split(maxsplit=1)[1] == read_recipe(name).about
    about = json.loads(run("recipes", "--json").out)
    assert about == {name: read_recipe(name).about for name in recipe_names()}


@pytest.mark.parametrize("name", recipe_names())
def test_all_settings_of_a_recipe_are_told_in_a_file_that_trains_the_same(run, chosen, tmp_path, name):
    path = tmp_path / "all.toml"
    path.write_text(run("recipes", name).out)
    classifier = chosen("--recipe", name)
    assert settings_of(chosen("--recipe", path)) == settings_of(classifier)
    again = read_recipe(str(path))
    assert again.settings == settings_of(classifier)
    assert again._replace(name=name, settings={}) == read_recipe(name)._replace(settings={})
    assert run("recipes", path).out == path.read_text()
    told = json.loads(run("recipes", name, "--json").out, parse_constant=pytest.fail)
    assert told.keys() == settings_of(classifier).keys()
    assert told["hidden_size"] == classifier.hidden_size
    assert told["cell_clip"] is None, "JSON knows no infinity"


def test_a_recipe_that_is_not_there_is_told(run):
    assert "there is no recipe 'words': name default, digits, " in run("recipes", "words").the_error()


def test_a_detector_keeps_no_features(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    arguments = [
        "train",
        str(tmp_path / "data"),
        "--recipe",
        "voice-activity",
        "--cache",
        str(tmp_path / "c"),
    ]
    assert cli.main([*arguments, "-o", str(tmp_path / "m")]) == 1
    assert "scenes, which are drawn and not kept: leave --cache out" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
