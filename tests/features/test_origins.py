"""Each preset gives its origin's numbers, for settings drawn at random; wrong ones are seen."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features import PRESETS, FeatureError, FeatureSettings, preset, regression
from reference import origins
from reference.origins import COMPARISONS, HTK_FILES, htk_error, read_htk, worst

HTK = Path(__file__).parents[3] / "shared" / "data" / "htk_features"
needs_htk = pytest.mark.skipif(not HTK.is_dir(), reason=f"needs HTK's files in {HTK}")
BY_NAME = {comparison.error.__name__: comparison for comparison in COMPARISONS}
every = pytest.mark.parametrize(
    ("name", "dtype"), [(name, dtype) for name, comparison in BY_NAME.items() for dtype in comparison.allowed]
)
pytestmark = pytest.mark.usefixtures("one_torch_thread")


def compare(data, name, dtype):
    error = BY_NAME[name].error(lambda what, options: data.draw(st.sampled_from(options), label=what), dtype)
    assert error <= BY_NAME[name].allowed[dtype]


@every
@settings(max_examples=40, deadline=None, database=None, derandomize=True)
@given(data=st.data())
def test_a_preset_with_any_settings_is_its_origin(name, dtype, data):
    compare(data, name, dtype)


@pytest.mark.long
@every
@settings(
    max_examples=1000,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(data=st.data())
def test_a_preset_with_any_settings_is_its_origin_in_thousands_of_cases(name, dtype, data):
    compare(data, name, dtype)


@needs_htk
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", HTK_FILES)
def test_htks_own_files_are_met(name, dtype):
    assert htk_error(HTK, name, dtype) <= HTK_FILES[name][2]
    assert read_htk(HTK / name).shape == (142, 23 if "fbank" in name else 39)


def test_the_limits_are_those_that_were_promised():
    for comparison in COMPARISONS:
        if comparison.origin in ("librosa", "python_speech_features", "torchaudio's definition"):
            assert comparison.allowed["float64"] <= 1e-9
        assert max(comparison.allowed.values()) <= 2e-4
    assert {allowed for name, (_, _, allowed) in HTK_FILES.items() if "fea" in name} == {2e-4}
    assert {allowed for name, (_, _, allowed) in HTK_FILES.items() if "fbank" in name} == {5e-5}


# Teeth: what is wrong in one setting is seen.


def first(what, options):
    """The simplest case: each origin's defaults."""
    return {"seed": 3, "samples more": 370}.get(what, options[0])


WRONG = [
    *[("librosa_mfcc", wrong) for wrong in ({"window_symmetric": True}, {"mel_float32": False})],
    ("librosa_log_mel", {"mel_scale": "htk"}),
    ("librosa_pcen", {"round_lengths": "down", "mel_slopes": "mel"}),
    *[("kaldi_mfcc", wrong) for wrong in ({"window_symmetric": False}, {"mel_slopes": "hz"})],
    *[("kaldi_mfcc", wrong) for wrong in ({"sample_scale": 32000.0}, {"pre_emphasis_of": "signal"})],
    ("kaldi_fbank", {"remove_dc": False}),
    ("kaldi_bands", {"mel_scale": "slaney"}),
    *[("psf_mfcc", wrong) for wrong in ({"mel_slopes": "hz"}, {"pre_emphasis_of": "frame"})],
    *[("psf_fbank", wrong) for wrong in ({"divide_by_n_fft": False}, {"framing": "whole-frames"})],
    *[("torchaudio_mfcc", wrong) for wrong in ({"pad_mode": "edge"}, {"mel_scale": "slaney"})],
    ("torchaudio_log_mel", {"mel_norm": "slaney"}),
]


@pytest.mark.parametrize(("name", "wrong"), WRONG)
def test_one_wrong_setting_is_seen(name, wrong, monkeypatch):
    allowed = BY_NAME[name].allowed["float64"]
    assert BY_NAME[name].error(first, "float64") <= allowed

    def slightly_wrong(preset_name, **changes):
        return preset(preset_name, **changes).change(**wrong)

    monkeypatch.setattr(origins, "preset", slightly_wrong)
    assert BY_NAME[name].error(first, "float64") > allowed


@pytest.mark.parametrize(
    ("ours", "error"),
    [
        (np.array([[1.0, -4]]), 0),
        (np.array([[1.0, -3]]), 0.25),
        (np.array([[1.0, np.nan]]), np.inf),
        (np.array([[1.0, -np.inf]]), np.inf),
        (np.array([1.0, -4]), np.inf),
        (np.zeros((0, 2)), np.inf),
    ],
)
def test_the_error_is_relative_to_the_largest_and_infinite_for_another_shape(ours, error):
    assert worst(ours, np.array([[1.0, -4]])) == error


# What differs by design


@pytest.mark.filterwarnings("ignore:The 'warn' function:DeprecationWarning")
def test_a_transform_that_cannot_hold_a_frame_is_refused_and_no_frame_cut():
    from python_speech_features import mfcc

    sound = np.random.default_rng(0).uniform(-1, 1, 8000)
    cut = mfcc(sound, 22_050, nfft=512)  # of 551 samples, with a warning at most
    assert np.isfinite(cut).all()
    with pytest.raises(
        FeatureError, match=r"n_fft=512 cannot hold a frame of 551 samples \(25 ms at 22050 Hz"
    ):
        preset("python_speech_features", n_fft=512)(sound, 22_050)


def test_slopes_of_slopes_at_the_ends_are_htks_and_not_kaldis():
    import kaldi_native_fbank as knf

    frames = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    kaldis = knf.compute_deltas(knf.DeltaOptions(order=2, window=2), frames)[:, 6:]
    ours = regression(regression(frames, 5), 5)
    np.testing.assert_allclose(ours[4:-4], kaldis[4:-4], atol=1e-6)
    assert np.abs(ours - kaldis)[[0, 1, -2, -1]].max() > 0.01


# The report


def test_the_report_has_a_line_for_each_comparison(monkeypatch, capsys):
    command = ["origins", "--settings", "1", *(["--htk", str(HTK)] if HTK.is_dir() else [])]
    monkeypatch.setattr(sys, "argv", command)
    assert origins.main() == 0
    lines = capsys.readouterr().out.splitlines()
    n_files = len(HTK_FILES) if HTK.is_dir() else 0
    assert len(lines) == 2 + 2 * n_files + sum(len(comparison.allowed) for comparison in COMPARISONS)
    assert not [line for line in lines if "WRONG" in line]


def test_the_report_fails_where_something_is_wrong(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["origins", "--settings", "2"])
    monkeypatch.setattr(
        origins, "preset", lambda name, **changes: preset(name, **changes).change(window="blackman")
    )
    assert origins.main() == 1
    assert "WRONG" in capsys.readouterr().out


def test_files_that_are_not_there_are_told_in_a_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["origins", "--settings", "1", "--htk", str(tmp_path)])
    assert origins.main() == 1
    assert capsys.readouterr().err.startswith("python -m reference.origins: error: ")


def test_every_preset_has_an_origin_here():
    compared = {comparison.origin for comparison in COMPARISONS} | {"HTK"}
    assert len(compared) == len(PRESETS)
    assert all(isinstance(settings, FeatureSettings) for settings in PRESETS.values())
