"""Where two settings part is found, for every setting there is; what does nothing is said to do nothing."""

import dataclasses
import math

import numpy as np
import pytest

from features import AudioError, FeatureError, FeatureSettings, explain_difference, preset
from features.extraction import STAGES, run_stages

RATE = 16_000
# Noise that fades by 100 dB into silence, so that floors act.
rng = np.random.default_rng(5)
SOUND = rng.uniform(-0.7, 0.7, 5237) * 10 ** np.linspace(0, -5, 5237) + 0.01
SOUND[4000:] = 0
SOUND.flags.writeable = False

MFCC = FeatureSettings(n_mels=23)
BANDS = FeatureSettings(kind="log-mel", n_mels=23)
LIFTERED = MFCC.change(lifter=22.0)
ENERGY = MFCC.change(energy="raw", log_floor=1e-8)
DELTAS = MFCC.change(delta_order=1)
PCEN = BANDS.change(log="pcen")
WARPED = BANDS.change(vtln_warp=1.1, f_min_hz=20.0, vtln_low_hz=300.0)
DITHER = MFCC.change(dither=1e-3)
EMPHASIS = MFCC.change(pre_emphasis=0.9)

# Every setting: where it acts, from which settings to what.
EVERY = [
    ("kind", "cepstra and level", MFCC, "log-mel"),
    ("kind", "mel bands", BANDS, "log-spectrogram"),
    ("sample_scale", "signal", MFCC, 2.0),
    ("dither", "signal", MFCC, 1e-4),
    ("dither_seed", "signal", DITHER, 3),
    ("pre_emphasis", "pre-emphasis", MFCC, 0.97),
    ("pre_emphasis", "signal", MFCC.change(pre_emphasis_of="signal"), 0.97),
    ("pre_emphasis_of", "signal", EMPHASIS, "signal"),
    ("frame_ms", "framing", MFCC, 20.0),
    ("hop_ms", "framing", MFCC, 5.0),
    ("frame_length", "framing", MFCC.change(frame_length=400), 300),
    ("hop_length", "framing", MFCC.change(hop_length=160), 150),
    ("round_lengths", "framing", MFCC.change(frame_ms=25.04), "down"),
    ("framing", "framing", MFCC, "whole-frames"),
    ("framing", "framing", MFCC.change(framing="whole-frames"), "mirrored"),
    ("pad_mode", "framing", MFCC, "reflect"),
    ("remove_dc", "DC removal", MFCC, True),
    ("window", "window", MFCC, "povey"),
    ("window_symmetric", "window", MFCC, True),
    ("n_fft", "spectrum", MFCC.change(framing="whole-frames"), 1024),
    ("n_fft", "framing", MFCC.change(frame_length=401), 403),
    ("spectrum", "spectrum", MFCC, "magnitude"),
    ("divide_by_n_fft", "spectrum", MFCC, True),
    ("n_mels", "mel bands", MFCC, 26),
    ("f_min_hz", "mel bands", MFCC, 20.0),
    ("f_max_hz", "mel bands", MFCC, 7600.0),
    ("mel_scale", "mel bands", MFCC, "htk"),
    ("mel_norm", "mel bands", MFCC, "none"),
    ("mel_slopes", "mel bands", MFCC, "bins"),
    ("htk_skip_bins", "mel bands", MFCC.change(f_min_hz=20.0), True),
    ("mel_float32", "mel bands", MFCC, True),
    ("vtln_warp", "mel bands", MFCC, 0.9),
    ("vtln_low_hz", "mel bands", WARPED, 500.0),
    ("vtln_high_hz", "mel bands", WARPED, 6000.0),
    ("vtln_kind", "mel bands", WARPED, "htk"),
    ("log", "logarithm", MFCC, "ln"),
    ("log_floor", "logarithm", MFCC.change(top_db=None), 1e-6),
    ("log_floor", "pre-emphasis", ENERGY, 1e-6),
    ("log_floor_for", "logarithm", MFCC.change(top_db=None, log_floor=1e-4), "zero"),
    ("log_offset", "logarithm", MFCC, 1e-3),
    ("top_db", "logarithm", MFCC, None),
    ("pcen_gain", "logarithm", PCEN, 0.8),
    ("pcen_bias", "logarithm", PCEN, 1.0),
    ("pcen_power", "logarithm", PCEN, 0.25),
    ("pcen_seconds", "logarithm", PCEN, 0.06),
    ("pcen_eps", "logarithm", PCEN, 1e-3),
    ("n_mfcc", "cepstra and level", MFCC, 20),
    ("dct_type", "cepstra and level", MFCC, 3),
    ("dct_norm", "cepstra and level", MFCC, "htk"),
    ("lifter", "cepstra and level", MFCC, 22.0),
    ("lifter_kind", "cepstra and level", LIFTERED, "librosa"),
    ("energy", "pre-emphasis", MFCC, "raw"),
    ("energy", "window", MFCC, "windowed"),
    ("energy", "spectrum", MFCC, "spectral"),
    ("energy_floor", "pre-emphasis", ENERGY, 1e-3),
    ("level", "cepstra and level", MFCC, "last"),
    ("delta_order", "deltas", MFCC, 2),
    ("delta_kind", "deltas", DELTAS, "regression"),
    ("delta_width", "deltas", DELTAS, 5),
    ("clip_normalisation", "normalisation", MFCC, "mean-variance"),
    ("sliding_normalisation", "normalisation", MFCC, "mean"),
    ("sliding_frames", "normalisation", MFCC.change(sliding_normalisation="mean"), 7),
    ("stack", "stacking", MFCC, 3),
]


def test_every_setting_is_in_the_list_but_for_the_one_that_only_allows():
    names = {field.name for field in dataclasses.fields(FeatureSettings)}
    assert names - {name for name, *_ in EVERY} == {"allow_empty_bands"}


@pytest.mark.parametrize(("name", "stage", "base", "value"), EVERY, ids=[f"{e[0]}-{e[1]}" for e in EVERY])
def test_every_setting_is_found_at_its_stage_in_both_directions(name, stage, base, value):
    changed = base.change(**{name: value})
    for a, b in ((base, changed), (changed, base)):
        found = explain_difference(a, b, SOUND, RATE)
        assert (found.stage, found.settings) == (stage, (name,))
        assert found.values == {name: (getattr(a, name), getattr(b, name))}
        assert (found.later, found.without_effect) == ({}, ())
        assert f"{name} " in str(found).splitlines()[-1]
        # What is told is so: the stage's own outputs, by hand.
        outputs = [{step.name: data for step, data in run_stages(s, SOUND, RATE)} for s in (a, b)]
        pair = [getattr(output[stage], found.part) for output in outputs]
        assert found.shapes == tuple(() if array is None else array.shape for array in pair)
        if found.shapes[0] == found.shapes[1]:
            assert found.largest == np.abs(pair[0] - pair[1]).max() > 0
            assert found.relative == found.largest / np.abs(pair[0]).max()
        else:
            assert (found.largest, found.relative, found.seconds) == (None, None, None)


def test_the_largest_difference_is_found_where_it_is():
    a = preset("kaldi")
    late = a.change(window="hamming")
    click = np.zeros(8000)
    click[6000:6400] = 0.5
    found = explain_difference(a, late, click, RATE)
    frames = [next(d for s, d in run_stages(x, click, RATE) if s.name == "window").values for x in (a, late)]
    t = np.abs(frames[0] - frames[1]).max(axis=1).argmax()
    assert found.seconds == (160 * t + 200) / RATE
    assert (found.part, found.names) == ("values", ("a", "b"))
    found = explain_difference(MFCC, EMPHASIS.change(pre_emphasis_of="signal"), click, RATE)
    assert (found.stage, found.seconds) == ("signal", 6001 / RATE)
    assert found.largest == pytest.approx(0.45)
    assert found.relative == pytest.approx(0.9)


def test_two_settings_of_one_stage_are_both_named():
    found = explain_difference(MFCC, MFCC.change(window="hamming", window_symmetric=True), SOUND, RATE)
    assert (found.stage, found.settings, found.later) == ("window", ("window", "window_symmetric"), {})


def test_of_two_stages_the_first_is_named_and_the_other_listed():
    b = MFCC.change(dct_norm="none", n_mels=26, mel_scale="htk", remove_dc=True, lifter_kind="librosa")
    found = explain_difference(MFCC, b, SOUND, RATE)
    assert (found.stage, found.settings) == ("DC removal", ("remove_dc",))
    assert found.later == {"mel bands": ("n_mels", "mel_scale"), "cepstra and level": ("dct_norm",)}
    assert found.without_effect == ("lifter_kind",)
    assert set(found.values) == {"dct_norm", "n_mels", "mel_scale", "remove_dc", "lifter_kind"}


def test_settings_that_cannot_be_one_without_the_other_are_named_together():
    a, b = MFCC.change(pad_mode="reflect"), MFCC.change(framing="pad-end")
    for pair in ((a, b), (b, a)):
        found = explain_difference(*pair, SOUND, RATE)
        assert (found.stage, found.settings) == ("framing", ("framing", "pad_mode"))


def test_a_setting_that_acts_beside_another_only_is_listed_where_it_does():
    found = explain_difference(MFCC, LIFTERED.change(lifter_kind="librosa", stack=2), SOUND, RATE)
    assert (found.stage, found.settings) == ("cepstra and level", ("lifter", "lifter_kind"))
    assert found.later == {"stacking": ("stack",)}
    b = MFCC.change(remove_dc=True, lifter=22.0, lifter_kind="librosa")
    assert explain_difference(MFCC, b, SOUND, RATE).later == {"cepstra and level": ("lifter", "lifter_kind")}


@pytest.mark.parametrize(
    ("a", "b", "stage", "settings"),
    [
        ("htk", "kaldi", "DC removal", ("remove_dc",)),
        ("librosa", "torchaudio", "framing", ("frame_length", "hop_length", "pad_mode")),
        ("kaldi", "python_speech_features", "signal", ("sample_scale", "pre_emphasis_of")),
        ("librosa", "kaldi", "signal", ("sample_scale",)),
    ],
)
def test_presets_are_taken_by_name(a, b, stage, settings):
    found = explain_difference(a, b, SOUND, RATE)
    assert (found.names, found.stage, found.settings) == ((a, b), stage, settings)
    listed = [*settings, *(name for names in found.later.values() for name in names), *found.without_effect]
    assert sorted(listed) == sorted(found.values), "all that differs is listed, and once"
    order = [step.name for step in STAGES]
    assert sorted(found.later, key=order.index) == list(found.later)
    ends = [preset(name)(SOUND, RATE) for name in (a, b)]
    assert found.final.shapes == (ends[0].shape, ends[1].shape)
    text = str(found)
    first = f"{a} and {b} part at stage {1 + order.index(stage)} of 12, {stage}, by {', '.join(settings)}"
    assert text.splitlines()[0] == first
    assert all(f" {name} " in text for name in found.values)


def test_in_the_end_features_are_as_far_apart_as_they_are():
    a, b = preset("htk", level="first"), preset("kaldi")
    found = explain_difference(a, b, SOUND, RATE)
    ends = a(SOUND, RATE), b(SOUND, RATE)
    assert found.final.largest == pytest.approx(np.abs(ends[0] - ends[1]).max(), rel=1e-9)
    assert found.final.relative == pytest.approx(found.final.largest / np.abs(ends[0]).max(), rel=1e-9)
    t, column = found.final.position
    assert abs(ends[0][t, column] - ends[1][t, column]) == pytest.approx(found.final.largest, rel=1e-9)


def test_equal_settings_part_nowhere():
    for a, b in ((MFCC, MFCC), ("kaldi", "kaldi"), ("kaldi", preset("kaldi"))):
        found = explain_difference(a, b, SOUND, RATE)
        assert (found.stage, found.settings, found.values, found.largest) == (None, (), {}, 0)
        n = 31 if a == "kaldi" else 33
        assert str(found) == f"{found.names[0]} and b give the same features, {n} frames x 13 columns"


@pytest.mark.parametrize(
    ("a", "b", "names"),
    [
        (MFCC, MFCC.change(f_max_hz=8000.0), ("f_max_hz",)),
        (MFCC, MFCC.change(n_fft=512), ("n_fft",)),
        (MFCC, MFCC.change(lifter_kind="librosa"), ("lifter_kind",)),
        (MFCC, MFCC.change(frame_ms=25.01), ("frame_ms",)),
        (MFCC, MFCC.change(allow_empty_bands=True, dither_seed=4), ("dither_seed", "allow_empty_bands")),
        (BANDS, BANDS.change(n_mfcc=7, dct_type=3), ("n_mfcc", "dct_type")),
        (MFCC, MFCC.change(frame_length=400, hop_length=160), ()),
    ],
)
def test_settings_that_do_nothing_are_said_to_do_nothing(a, b, names):
    for pair in ((a, b), (b, a)):
        found = explain_difference(*pair, SOUND, RATE)
        assert (found.stage, found.settings, found.without_effect, found.later) == (None, (), names, {})
        assert (found.largest, found.final.largest) == (0, 0)
        lines = str(found).splitlines()[3:]
        assert [line.split()[:3] for line in lines] == [["without", "effect", name] for name in names]


def test_a_length_in_ms_and_one_in_samples_are_compared_in_samples():
    found = explain_difference(MFCC, MFCC.change(frame_length=512, hop_length=160), SOUND, RATE)
    assert (found.stage, found.settings) == ("framing", ("frame_length",))
    assert found.values == {"frame_length": (400, 512)}


def test_where_frames_are_not_as_many_they_are_counted():
    found = explain_difference(MFCC, MFCC.change(framing="whole-frames"), SOUND, RATE)
    assert found.shapes == ((33, 400), (31, 400))
    assert "values there: 33 frames x 400 columns in a, 31 frames x 400 columns in b" in str(found)


def test_infinite_features_are_compared_too():
    a = BANDS.change(log_floor=0.0, top_db=None)
    found = explain_difference(a, a.change(log_floor=1e-10), SOUND, RATE)
    assert (found.stage, found.settings, found.largest) == ("logarithm", ("log_floor",), math.inf)
    assert explain_difference(a, a.change(n_mfcc=3), SOUND, RATE).stage is None


def test_samples_in_float32_are_compared_in_float64():
    quiet = SOUND.astype(np.float32)
    found = explain_difference(MFCC, MFCC.change(mel_float32=True), quiet, RATE)
    assert found == explain_difference(MFCC, MFCC.change(mel_float32=True), quiet.astype(float), RATE)
    assert 0 < found.relative < 1e-7


@pytest.mark.parametrize(
    ("a", "b", "samples", "error", "said"),
    [
        ("kadi", "htk", SOUND, FeatureError, "there is no preset 'kadi'"),
        ("htk", MFCC.change(f_max_hz=9000.0), SOUND, FeatureError, "do not fit a sample rate"),
        ("htk", "kaldi", SOUND[:300], FeatureError, "300 samples hold no frame of 400"),
        (MFCC, "kaldi", np.arange(5), AudioError, "int"),
    ],
)
def test_what_cannot_be_computed_is_refused(a, b, samples, error, said):
    with pytest.raises(error, match=said):
        explain_difference(a, b, samples, RATE)
