"""The one door to the package `features`, for the modules that turn sound into labels.

`features` is a plain name: a file `features.py` next to a user's script would be imported instead.
"""

import features

if not hasattr(features, "FeatureSettings"):
    raise ImportError(
        f"'features' is {features.__file__}, which hides the package of that name that lstm_scratch "
        "needs; rename that file, or run from another folder"
    )

from features import (
    AUDIO_SUFFIXES,
    AudioError,
    FeatureError,
    FeatureSettings,
    FeatureStream,
    audio_sample_rate,
    check_samples,
    read_audio,
    resample,
    settings_from_dict,
    settings_to_dict,
)
from features.extraction import warm_up as warm_up_features

__all__ = [
    "AUDIO_SUFFIXES",
    "AudioError",
    "FeatureError",
    "FeatureSettings",
    "FeatureStream",
    "audio_sample_rate",
    "check_samples",
    "read_audio",
    "resample",
    "settings_from_dict",
    "settings_to_dict",
    "warm_up_features",
]
