"""Recipes: all settings of a classifier by name, from small TOML files, and changed by name.

A recipe names settings; the others are as `AudioClassifier` (for voice activity, `SpeechDetector`) has them
by default. Files that are shipped lie in the folder ``recipes``; what is done without a recipe is in
``default.toml`` there.
"""

import dataclasses
import difflib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstm_scratch.activity import SpeechDetector
from lstm_scratch.audio import AudioClassifier
from lstm_scratch.errors import SettingError
from lstm_scratch.scenes import SceneSettings
from lstm_scratch.sound import OPTIONAL_FEATURES, Augmentation, FeatureSettings, setting_from_text
from lstm_scratch.variants import Variant

FOLDER = Path(__file__).parent / "recipes"
DEFAULT = "default"
ABOUT = "about"  # what a recipe says of itself
FAST = "fast"  # the table of its short cuts
TASK = "task"  # what it trains
CLASSIFICATION, ACTIVITY = "classification", "voice-activity"
_ESTIMATORS = {CLASSIFICATION: AudioClassifier, ACTIVITY: SpeechDetector}


def _names(of: type, *without: str) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(of) if field.name not in without)


_SOUND = _names(Augmentation, "noises")
_VARIANT = _names(Variant)
_SIZES = ("hidden_size", "num_layers", "bidirectional", "pooling", "dropout", "forget_bias")
_CHANGES = ("vtln", "tempo", "copies", "mixup", "time_masks", "time_mask", "feature_masks", "feature_mask")
SCENES = "scenes"  # the table of a detector alone
_SCENE = f"{SCENES}."  # before the names of what scenes are like, some of which augmentation has, too
_DETECTOR = ("look_ahead", "n_scenes")
_PARTS = ("features", "augmentation", "variant")  # settings that have settings
_OWN = ("random_state", "verbose", "engine")  # of a run, and not of what is run

#: Which settings there are, by the tables of a recipe.
TABLES: dict[str, tuple[str, ...]] = {
    "features": ("sample_rate", *_names(FeatureSettings)),
    "augmentation": (*_SOUND, *_CHANGES),
    "network": (*_SIZES, *_VARIANT),
    "training": _names(AudioClassifier, "sample_rate", *_SIZES, *_CHANGES, *_PARTS, *_OWN),
    SCENES: (*_DETECTOR, *(_SCENE + name for name in _names(SceneSettings))),
}
_TABLE_OF = {name: table for table, names in TABLES.items() for name in names}
_WORDS = ("true", "false", "none")  # which are typed in any case
_OPTIONAL = {
    "equaliser_db",
    "sample_rate",
    "speed",
    "shift_ms",
    "snr_db",
    "gain_db",
    "vtln",
    "tempo",
    "epochs",
    "patience",
    "class_weight",
}


class Recipe(NamedTuple):
    """What a recipe file says."""

    name: str
    about: str
    settings: dict[str, Any]  # what differs from the defaults
    short_cuts: dict[str, Any]  # what differs from these, where time counts
    task: str = CLASSIFICATION

    def choose(self, fast: bool) -> dict[str, Any]:
        """List the settings that are meant.

        Parameters
        ----------
        fast : bool
            Whether time counts.

        Returns
        -------
        dict
            A copy, which may be changed.

        Raises
        ------
        SettingError
            If the recipe knows no short cuts.
        """
        if fast and not self.short_cuts:
            others = [name for name in recipe_names() if read_recipe(name).short_cuts]
            raise SettingError(
                f"the recipe {self.name} has no short cuts (no table [{FAST}]); leave --fast out, or take a "
                f"recipe that has: {', '.join(others)}"
            )
        return self.settings | (self.short_cuts if fast else {})


def recipe_names() -> list[str]:
    """List the recipes that are shipped.

    Returns
    -------
    list of str
        Their names, in alphabetical order.
    """
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_recipe(name: str) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    name : str
        One of `recipe_names`, or the path of a file that ends in ``.toml``.

    Returns
    -------
    Recipe
        Its settings.

    Raises
    ------
    SettingError
        If there is no such recipe, or a setting in it is unknown.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        raise SettingError(
            f"there is no recipe {name!r}: name {', '.join(recipe_names())}, or a file that ends in .toml"
        )
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: no TOML file ({error}); mend it there") from None
    about, task = str(tables.pop(ABOUT, "")), tables.pop(TASK, CLASSIFICATION)
    if task not in list(_ESTIMATORS):
        raise SettingError(f"{path}: {TASK} is {' or '.join(_ESTIMATORS)}, not {task!r}")
    settings: dict[str, Any] = {}
    short_cuts = tables.pop(FAST, {})
    if not isinstance(short_cuts, dict):
        raise SettingError(f"{path}: {FAST} is a table of settings, [{FAST}], not {short_cuts!r}")
    if isinstance(scenes := short_cuts.get(SCENES), dict):  # scenes.speech = 0.5
        del short_cuts[SCENES]
        short_cuts |= {_SCENE + key: value for key, value in scenes.items()}
    for key in short_cuts:
        _table_of(key, f"{path}, [{FAST}]")
    for table, values in tables.items():
        if table not in TABLES or not isinstance(values, dict):
            raise SettingError(f"{path}: {table}: settings stand in the tables {', '.join(TABLES)}")
        for key, value in values.items():
            where = f"{path}, [{table}]"
            if table == SCENES and (_SCENE + key in _TABLE_OF or key not in _TABLE_OF):
                key = _SCENE + key
            if _table_of(key, where) != table:
                raise SettingError(f"{where}: {key} stands in [{_TABLE_OF[key]}]; move it there")
            settings[key] = _read(key, value)
    _check_task((*settings, *short_cuts), task, str(path))
    short_cuts = {key: _read(key, value) for key, value in short_cuts.items()}
    return Recipe(path.stem, about, settings, short_cuts, task)


def setting_of_text(text: str) -> tuple[str, Any]:
    """Read a setting as it is typed on a command line.

    Parameters
    ----------
    text : str
        ``NAME=VALUE``: a number, a word, true, false, none, or a pair such as ``[0.9, 1.1]``.

    Returns
    -------
    name : str
        Which setting.
    value : object
        Its value.

    Raises
    ------
    SettingError
        If there is no such setting.
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals:
        raise SettingError(f"a setting is told as NAME=VALUE, such as hidden_size=32, not {text!r}")
    if _table_of(name, "--set") == "features" and name != "sample_rate":
        return setting_from_text(text)
    word = value.lower()
    try:
        return name, _read(name, tomllib.loads(f"value = {word if word in _WORDS else value}")["value"])
    except tomllib.TOMLDecodeError:
        return name, _read(name, word if word in _WORDS else value)


def build_classifier(
    settings: Mapping[str, Any], task: str = CLASSIFICATION, **others: Any
) -> AudioClassifier:
    """Make an untrained classifier.

    Parameters
    ----------
    settings : mapping
        Settings by name, whatever table they stand in; the others are as by default.
    task : {"classification", "voice-activity"}, optional
        What it is for.
    **others
        Further parameters of `AudioClassifier`, such as ``random_state``.

    Returns
    -------
    AudioClassifier
        With these settings; a `SpeechDetector` for voice activity.

    Raises
    ------
    SettingError
        If a setting is unknown or out of its range; of the features, `FeatureError`.
    """
    for name in settings:
        _table_of(name, "settings")
    _check_task(settings, task, "settings")

    def of(names: Sequence[str]) -> dict[str, Any]:
        return {name: settings[name] for name in names if name in settings}

    estimator = _ESTIMATORS[task]
    default = estimator()
    if isinstance(default, SpeechDetector):
        scenes = {name.removeprefix(_SCENE): settings[name] for name in settings if name.startswith(_SCENE)}
        others = of(_DETECTOR) | {"scenes": dataclasses.replace(default.scenes, **scenes)} | others
    own = (*_SIZES, *_CHANGES, *TABLES["training"], "sample_rate")
    augmentation = Augmentation(**of(_SOUND))
    names = ("speed", "shift_ms", "equaliser_db", "snr_db", "gain_db")
    changes = augmentation.probability and any(getattr(augmentation, name) is not None for name in names)
    return estimator(
        **of(own),
        features=default.features.change(**of(_names(FeatureSettings))),
        augmentation=augmentation if changes else None,
        variant=Variant(**of(_VARIANT)),
        **others,
    )


def settings_of(classifier: AudioClassifier) -> dict[str, Any]:
    """List every setting of a classifier: what `build_classifier` makes it of.

    Parameters
    ----------
    classifier : AudioClassifier
        Trained or not.

    Returns
    -------
    dict
        Values by name, in the order of `TABLES`.
    """
    sources = (classifier.features, classifier.augmentation or Augmentation(), classifier.variant, classifier)
    settings = {}
    for name in _TABLE_OF:
        if name.startswith(_SCENE) and isinstance(classifier, SpeechDetector):
            settings[name] = getattr(classifier.scenes, name.removeprefix(_SCENE))
        for source in sources:
            if hasattr(source, name):
                settings[name] = getattr(source, name)
    return settings


def to_toml(
    settings: Mapping[str, Any],
    about: str = "",
    short_cuts: Mapping[str, Any] | None = None,
    task: str = CLASSIFICATION,
) -> str:
    """Write settings as a recipe.

    Parameters
    ----------
    settings : mapping
        Values by name.
    about : str, optional
        What the recipe says of itself.
    short_cuts : mapping, optional
        What differs where time counts.
    task : str, optional
        What it trains.

    Returns
    -------
    str
        The text of a file that `read_recipe` reads.
    """
    lines = [f"{ABOUT} = {_toml(about)}"] if about else []
    lines += [f"{TASK} = {_toml(task)}"] if task != CLASSIFICATION else []
    for table, names in TABLES.items():
        there = [name for name in names if name in settings]
        if there:
            lines += [
                "",
                f"[{table}]",
                *(f"{name.removeprefix(_SCENE)} = {_toml(settings[name])}" for name in there),
            ]
    if short_cuts:
        lines += ["", f"[{FAST}]", *(f"{name} = {_toml(value)}" for name, value in short_cuts.items())]
    return "\n".join(lines).strip() + "\n"


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Put settings into what JSON can hold.

    Parameters
    ----------
    settings : mapping
        Values by name.

    Returns
    -------
    dict
        Pairs as lists, labels as text, numpy's numbers as Python's, and None for what is infinite.
    """
    return {name: _plain(value) for name, value in settings.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list | np.ndarray):
        return [_plain(item) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if value == math.inf else value


def _toml(value: Any) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)  # whose texts are TOML's, too
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_toml(str(key))} = {_toml(item)}' for key, item in value.items())}}}"
    return repr(value)


def _table_of(name: str, where: str) -> str:
    if name not in _TABLE_OF:
        like = difflib.get_close_matches(name, _TABLE_OF, 1)
        hint = (
            f"; did you mean {like[0]}?" if like else "; `lstm-scratch recipes default` lists all there are"
        )
        raise SettingError(f"{where}: there is no setting {name!r}{hint}")
    return _TABLE_OF[name]


def _check_task(names: Iterable[str], task: str, where: str) -> None:
    """Refuse what another task alone has."""
    if task == CLASSIFICATION and (others := set(names) & set(TABLES[SCENES])):
        raise SettingError(f"{where}: {min(others)}: only {TASK} = {ACTIVITY!r} has scenes; leave it out")


def _read(name: str, value: Any) -> Any:
    """Read what TOML cannot say: nothing, and pairs that do not change."""
    if value == "none" and name in (*_OPTIONAL, *OPTIONAL_FEATURES):
        return None
    return tuple(value) if isinstance(value, list) else value
