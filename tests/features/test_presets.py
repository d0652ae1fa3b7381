"""Presets by name, changed by name; each is another convention. Their numbers: test_origins.py."""

import itertools

import numpy as np
import pytest

from features import PRESETS, FeatureError, FeatureSettings, preset

NOISE = np.random.default_rng(0).uniform(-0.1, 0.1, 8000)
NOISE.flags.writeable = False


def test_there_are_five():
    assert list(PRESETS) == ["librosa", "htk", "kaldi", "torchaudio", "python_speech_features"]
    for name, settings in PRESETS.items():
        assert preset(name) == settings


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_changed_by_name_and_stays_as_it_was(name):
    before = PRESETS[name]
    changed = preset(name, n_mels=30, n_mfcc=9, frame_ms=20)
    assert (changed.n_mels, changed.n_mfcc, changed.frame_ms, changed.frame_length) == (30, 9, 20, None)
    assert PRESETS[name] is before
    assert before.change(n_mels=30, n_mfcc=9, frame_ms=20) == changed


def test_presets_cannot_be_replaced():
    with pytest.raises(TypeError):
        PRESETS["librosa"] = FeatureSettings()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_its_origins_default_number_of_columns(name):
    n_mfcc = {"librosa": 20, "torchaudio": 40}.get(name, 13)
    n_mels = {"librosa": 128, "torchaudio": 128, "htk": 20, "kaldi": 23, "python_speech_features": 26}[name]
    features = preset(name)(NOISE, 16_000)
    assert features.shape[1] == n_mfcc
    assert preset(name, kind="log-mel", energy="none")(NOISE, 16_000).shape == (len(features), n_mels)
    assert np.isfinite(features).all()


def test_no_two_presets_say_the_same():
    aligned = {"n_mels": 26, "n_mfcc": 13, "frame_ms": 25, "hop_ms": 10, "framing": "pad-end"}
    found = [preset(name, **aligned | {"pad_mode": "constant"})(NOISE, 16_000) for name in PRESETS]
    for one, other in itertools.combinations(found, 2):
        assert np.abs(one - other).max() > 0.1


def test_librosas_defaults_are_ours_but_for_sizes():
    lengths = {"frame_ms": 25, "hop_ms": 10, "n_mels": 40, "n_mfcc": 13}
    near = preset("librosa", **lengths, mel_float32=False, allow_empty_bands=False)
    assert near == FeatureSettings()


@pytest.mark.parametrize("name", ["HTK", "", "torch"])
def test_an_unknown_preset_is_refused(name):
    with pytest.raises(FeatureError) as caught:
        preset(name)
    assert str(caught.value) == (
        f"there is no preset {name!r}; there are librosa, htk, kaldi, torchaudio, python_speech_features"
    )


@pytest.mark.parametrize(
    ("name", "of_bands", "of_energy"),
    [
        ("librosa", -100, -10 * np.log(10)),  # dB
        ("htk", 0, np.log(1e-30)),  # HTK's own floor of a band is 1
        ("kaldi", np.log(2.0**-23), np.log(2.0**-23)),
        ("torchaudio", -100, -10 * np.log(10)),  # dB
        ("python_speech_features", np.log(2.0**-52), np.log(2.0**-52)),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_silence_is_the_origins_floor(name, of_bands, of_energy, dtype):
    found = preset(name, kind="log-mel", energy="raw", level="last")(np.zeros(4000, dtype), 16_000)
    np.testing.assert_allclose(found[:, :-1], of_bands, rtol=1e-6)
    np.testing.assert_allclose(found[:, -1], of_energy, rtol=1e-6)


def test_htks_bands_are_warped_as_htk_does():
    told = {"vtln_warp": 0.9, "vtln_high_hz": 7000.0}
    found = preset("htk", **told)(NOISE, 16_000)
    np.testing.assert_array_equal(found, preset("htk", **told, vtln_kind="htk")(NOISE, 16_000))
    assert not np.array_equal(found, preset("htk", **told, vtln_kind="kaldi")(NOISE, 16_000))
