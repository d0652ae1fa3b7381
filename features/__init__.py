"""Sound to numbers: read a recording, and turn it into log-mel or MFCC features of shape (T, F).

>>> import numpy as np
>>> from features import FeatureSettings, preset
>>> samples = np.sin(np.arange(16_000, dtype=np.float32))  # one second at 16 kHz
>>> FeatureSettings(n_mfcc=13, delta_order=2)(samples, sample_rate=16_000).shape
(101, 39)
>>> preset("kaldi", n_mels=40)(samples, sample_rate=16_000).shape
(98, 13)
"""

from features.audio import (
    AUDIO_SUFFIXES,
    audio_sample_rate,
    check_samples,
    read_audio,
    read_audio_blocks,
    resample,
)
from features.augmentation import (
    Augmentation,
    add_noise,
    change_speed,
    coloured_noise,
    draw_vtln_warp,
    equalise,
    gain,
    mix,
    mixup_weight,
    spec_augment,
    time_shift,
)
from features.cepstrum import dct_matrix
from features.comparison import Difference, explain_difference
from features.dynamics import deltas, normalise_clip, regression, stack_frames
from features.errors import AudioError, FeatureError
from features.mel import hz_to_mel, mel_filterbank, mel_to_hz
from features.presets import PRESETS, preset
from features.settings import FeatureSettings, settings_from_dict, settings_to_dict
from features.stream import FeatureStream, stream_file

__all__ = [
    "AUDIO_SUFFIXES",
    "PRESETS",
    "AudioError",
    "Augmentation",
    "Difference",
    "FeatureError",
    "FeatureSettings",
    "FeatureStream",
    "add_noise",
    "audio_sample_rate",
    "change_speed",
    "check_samples",
    "coloured_noise",
    "dct_matrix",
    "deltas",
    "draw_vtln_warp",
    "equalise",
    "explain_difference",
    "gain",
    "hz_to_mel",
    "mel_filterbank",
    "mel_to_hz",
    "mix",
    "mixup_weight",
    "normalise_clip",
    "preset",
    "read_audio",
    "read_audio_blocks",
    "regression",
    "resample",
    "settings_from_dict",
    "settings_to_dict",
    "spec_augment",
    "stack_frames",
    "stream_file",
    "time_shift",
]
