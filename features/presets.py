"""The conventions of others, each as settings that give their numbers.

What each is proven against, and how closely, is in the README. Any setting may be changed by name.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from features.errors import FeatureError
from features.settings import FeatureSettings

_SPEECH = FeatureSettings(
    framing="whole-frames",
    round_lengths="down",
    window="hamming",
    window_symmetric=True,
    mel_scale="htk",
    mel_norm="none",
    mel_slopes="mel",
    log="ln",
    top_db=None,
    lifter=22.0,
    delta_kind="regression",
    delta_width=5,
)

#: By name, with each origin's own defaults.
PRESETS: Mapping[str, FeatureSettings] = MappingProxyType(
    {
        # librosa.feature.mfcc (kind "log-mel": power_to_db(melspectrogram))
        "librosa": FeatureSettings(
            frame_length=2048, hop_length=512, n_mels=128, n_mfcc=20, mel_float32=True, allow_empty_bands=True
        ),
        # HTK's HCopy, target kind MFCC_0 (MFCC_E: energy="raw"; USEPOWER = T: spectrum="power")
        "htk": _SPEECH.change(
            sample_scale=32768.0,
            pre_emphasis=0.97,
            spectrum="magnitude",
            n_mels=20,
            htk_skip_bins=True,
            vtln_kind="htk",
            log_floor=1.0,
            energy_floor=1e-30,  # of float32; HTK's own is far below
            dct_norm="htk",
            level="last",
        ),
        # compute-mfcc-feats; kaldi-native-fbank's OnlineMfcc (kind "log-mel" with energy "none": fbank)
        "kaldi": _SPEECH.change(
            sample_scale=32768.0,
            pre_emphasis=0.97,
            remove_dc=True,
            window="povey",
            n_mels=23,
            f_min_hz=20.0,
            log_floor=2.0**-23,
            energy="raw",
        ),
        # torchaudio.transforms.MFCC (kind "log-mel": MelSpectrogram, then AmplitudeToDB)
        "torchaudio": FeatureSettings(
            frame_length=400,
            hop_length=200,
            n_fft=400,
            pad_mode="reflect",
            n_mels=128,
            mel_scale="htk",
            mel_norm="none",
            allow_empty_bands=True,
            n_mfcc=40,
            delta_kind="regression",
            delta_width=5,
        ),
        # python_speech_features.mfcc (kind "log-mel" with energy "none": logfbank)
        "python_speech_features": _SPEECH.change(
            framing="pad-end",
            round_lengths="nearest",
            pre_emphasis=0.97,
            pre_emphasis_of="signal",
            window="rectangular",
            divide_by_n_fft=True,
            n_mels=26,
            mel_slopes="bins",
            allow_empty_bands=True,
            log_floor=2.0**-52,
            log_floor_for="zero",
            energy="spectral",
        ),
    }
)


def preset(name: str, **changes: Any) -> FeatureSettings:
    """Take the settings of a convention, with some of them changed.

    Parameters
    ----------
    name : {"librosa", "htk", "kaldi", "torchaudio", "python_speech_features"}
        Whose convention.
    **changes
        Settings by name, as of `FeatureSettings.change`.

    Returns
    -------
    FeatureSettings
        The settings.

    Raises
    ------
    FeatureError
        If there is no such convention or setting, or a setting is out of its range.

    Examples
    --------
    >>> preset("kaldi", kind="log-mel", energy="none", n_mels=80).f_min_hz
    20.0
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise FeatureError(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name].change(**changes)
