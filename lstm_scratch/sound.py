"""The one door to the package `features`, for the modules that turn sound into labels.

`features` is a plain name: a file `features.py` next to a user's script would be imported instead.
"""

from pathlib import Path

import features

if not hasattr(features, "FeatureSettings"):
    raise ImportError(
        f"'features' is {features.__file__}, which hides the package of that name that lstm_scratch "
        "needs; rename that file, or run from another folder"
    )

from features import (
    AUDIO_SUFFIXES,
    PRESETS,
    AudioError,
    Augmentation,
    Difference,
    FeatureError,
    FeatureSettings,
    FeatureStream,
    audio_sample_rate,
    change_speed,
    check_samples,
    coloured_noise,
    explain_difference,
    preset,
    read_audio,
    resample,
    settings_from_dict,
    settings_to_dict,
)
from features.audio import Resampler, read_audio_blocks
from features.augmentation import augmentation_to_dict
from features.extraction import warm_up as warm_up_features
from features.framing import frame_seconds
from features.mel import band_centres
from features.settings import OPTIONAL as OPTIONAL_FEATURES
from features.settings import setting_from_text

FEATURES_FOLDER = Path(features.__file__).parent

__all__ = [
    "AUDIO_SUFFIXES",
    "FEATURES_FOLDER",
    "OPTIONAL_FEATURES",
    "PRESETS",
    "AudioError",
    "Augmentation",
    "Difference",
    "FeatureError",
    "FeatureSettings",
    "FeatureStream",
    "Resampler",
    "audio_sample_rate",
    "augmentation_to_dict",
    "band_centres",
    "change_speed",
    "check_samples",
    "coloured_noise",
    "explain_difference",
    "frame_seconds",
    "preset",
    "read_audio",
    "read_audio_blocks",
    "resample",
    "setting_from_text",
    "settings_from_dict",
    "settings_to_dict",
    "warm_up_features",
]
