"""Sound to numbers: read a recording, and turn it into log-mel or MFCC features of shape (T, F).

>>> import numpy as np
>>> from features import Mfcc
>>> samples = np.sin(np.arange(16_000, dtype=np.float32))  # one second at 16 kHz
>>> Mfcc(n_mfcc=13, delta_order=2)(samples, sample_rate=16_000).shape
(101, 39)
"""

from features.audio import AUDIO_SUFFIXES, audio_sample_rate, check_samples, read_audio, resample
from features.errors import AudioError, FeatureError
from features.frames import deltas, normalise_clip, stack_frames
from features.mel import hz_to_mel, mel_filterbank, mel_to_hz
from features.settings import LogMel, Mfcc, settings_from_dict, settings_to_dict
from features.spectrum import power_spectrogram

__all__ = [
    "AUDIO_SUFFIXES",
    "AudioError",
    "FeatureError",
    "LogMel",
    "Mfcc",
    "audio_sample_rate",
    "check_samples",
    "deltas",
    "hz_to_mel",
    "mel_filterbank",
    "mel_to_hz",
    "normalise_clip",
    "power_spectrogram",
    "read_audio",
    "resample",
    "settings_from_dict",
    "settings_to_dict",
    "stack_frames",
]
