"""Settings survive a file, and those that are unknown, out of range or contradictory are refused."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from features import FeatureError, FeatureSettings, preset, settings_from_dict, settings_to_dict
from features.settings import ABOVE_ZERO, CHOICES, FLAGS, FROM_ZERO, NAMES, OPTIONAL, TWICE_TOLD, WHOLE

RATE = 16_000


# What they mean


def test_every_setting_has_bounds():
    bounded = [*CHOICES, *FLAGS, *ABOVE_ZERO, *FROM_ZERO, *WHOLE, "dither_seed", "pre_emphasis"]
    assert sorted(bounded) == sorted(NAMES)


def test_what_is_optional_is_what_has_a_default_of_none():
    fields = dataclasses.fields(FeatureSettings)
    assert {field.name for field in fields if field.default is None} | {"top_db"} == set(OPTIONAL)


@pytest.mark.parametrize(
    ("settings", "rate", "expected"),
    [
        ({}, 16_000, (400, 160, 512)),
        ({}, 8000, (200, 80, 256)),
        ({}, 22_050, (551, 221, 1024)),  # 551.25 and 220.5
        ({"round_lengths": "down"}, 22_050, (551, 220, 1024)),
        ({"frame_ms": 32, "hop_ms": 12.5}, 16_000, (512, 200, 512)),
        ({"frame_length": 513, "hop_length": 7}, 16_000, (513, 7, 1024)),
        ({"frame_length": 300, "hop_length": 70, "n_fft": 301}, None, (300, 70, 301)),
        ({"frame_length": 1, "hop_length": 2}, None, (1, 2, 1)),
        ({"frame_length": 300, "hop_ms": 7.5}, 8000, (300, 60, 512)),
    ],
)
def test_lengths_in_samples(settings, rate, expected):
    assert FeatureSettings(**settings).sizes(rate) == expected


def test_n_features_counts_the_columns():
    sound = np.random.default_rng(0).uniform(-1, 1, 3200)
    kinds = [
        ({"kind": "log-mel"}, 20),
        ({"kind": "log-mel", "energy": "raw"}, 21),
        ({"kind": "mfcc"}, 7),
        ({"kind": "mfcc", "energy": "windowed", "level": "last"}, 7),
        ({"kind": "mfcc", "level": "dropped"}, 6),
        ({"kind": "log-spectrogram"}, 257),
        ({"kind": "log-spectrogram", "energy": "spectral"}, 258),
    ]
    for delta_order, stack, kind in itertools.product([0, 1, 2], [1, 2, 3], ["none", "mean-variance"]):
        common = {"delta_order": delta_order, "stack": stack, "clip_normalisation": kind, "n_mels": 20}
        for of_kind, n_static in kinds:
            settings = FeatureSettings(**common, **of_kind, n_mfcc=7)
            assert settings.n_features(RATE) == n_static * (1 + delta_order) * stack
            assert settings(sound, RATE).shape == (-(-21 // stack), settings.n_features(RATE))


def test_n_features_needs_the_sample_rate_where_the_bins_depend_on_it():
    assert FeatureSettings().n_features() == 13
    assert FeatureSettings(kind="log-mel", energy="raw").n_features() == 41
    assert FeatureSettings(kind="log-spectrogram", frame_length=70, hop_length=9).n_features() == 65
    with pytest.raises(FeatureError, match=r"^lengths in ms need the sample rate$"):
        FeatureSettings(kind="log-spectrogram").n_features()


# Changed


def test_settings_are_changed_by_name_and_stay_as_they_were():
    settings = FeatureSettings(n_mels=30)
    assert settings.change(n_mfcc=9) == FeatureSettings(n_mels=30, n_mfcc=9)
    assert settings == FeatureSettings(n_mels=30)


@pytest.mark.parametrize(("pair", "default"), [*zip(TWICE_TOLD, [25.0, 10.0], strict=True)])
def test_a_length_in_samples_replaces_one_in_ms_and_the_other_way_about(pair, default):
    ms, length = pair
    in_ms = FeatureSettings()
    in_samples = in_ms.change(**{length: 100})
    assert [getattr(in_ms, name) for name in pair] == [default, None]
    assert [getattr(in_samples, name) for name in pair] == [None, 100]
    assert [getattr(in_samples.change(**{ms: 7.5}), name) for name in pair] == [7.5, None]
    assert [getattr(in_samples.change(**{ms: None, length: None}), name) for name in pair] == [default, None]
    assert [getattr(in_samples.change(n_mels=20), name) for name in pair] == [None, 100]


# As plain values


def test_settings_are_written_as_plain_values():
    written = settings_to_dict(FeatureSettings(n_mfcc=20, n_fft=1024, stack=2, clip_normalisation="mean"))
    assert tuple(written) == NAMES
    defaults = {field.name: field.default for field in dataclasses.fields(FeatureSettings)} | {
        "frame_ms": 25.0,
        "hop_ms": 10.0,
    }
    changed = {"n_mfcc": 20, "n_fft": 1024, "stack": 2, "clip_normalisation": "mean"}
    assert written == defaults | changed
    assert settings_to_dict(FeatureSettings(kind="log-mel"))["kind"] == "log-mel"


@pytest.mark.parametrize(
    "settings",
    [
        FeatureSettings(kind="log-mel"),
        FeatureSettings(),
        FeatureSettings(kind="log-mel", top_db=None, f_max_hz=7600.5),
        FeatureSettings(n_mfcc=20, delta_order=2),
        FeatureSettings(frame_length=300, hop_ms=7.5, log="pcen", vtln_warp=1.1, remove_dc=True),
        preset("kaldi"),
    ],
)
def test_settings_survive_a_json_file(settings):
    values = json.loads(json.dumps(settings_to_dict(settings)))
    before = dict(values)
    assert settings_from_dict(values) == settings
    assert values == before


def test_what_plain_values_leave_out_is_as_by_default():
    assert settings_from_dict({"n_mels": 30}) == FeatureSettings(n_mels=30)


# What is refused


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "chroma"}, "^kind is one of mfcc, log-mel, log-spectrogram, not 'chroma'$"),
        ({"n_bands": 3}, "^there is no setting 'n_bands'"),
        ({"nmels": 3}, r"^there is no setting 'nmels'; did you mean n_mels\?$"),
        ({"hopms": 3}, r"^there is no setting 'hopms'; did you mean hop_ms\?$"),
        ({"xyzzy": 3}, "^there is no setting 'xyzzy'; there are kind, sample_scale, .*, stack$"),
        ({"n_mels": -3}, "^n_mels is a positive whole number, not -3$"),
    ],
)
def test_plain_values_that_are_no_settings_are_refused(values, message):
    with pytest.raises(FeatureError, match=message):
        settings_from_dict(values)
    with pytest.raises(FeatureError, match=message):
        FeatureSettings().change(**values)
    with pytest.raises(FeatureError, match=message):
        preset("htk", **values)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "40", True, 40j])
@pytest.mark.parametrize("name", ABOVE_ZERO + WHOLE)
def test_settings_that_are_not_positive_numbers_are_refused(name, value):
    kind = "whole number" if name in WHOLE else "number"
    with pytest.raises(FeatureError) as caught:
        FeatureSettings(**{name: value})
    assert str(caught.value) == f"{name} is a positive {kind}, not {value!r}"


@pytest.mark.parametrize("value", [-1, -1e-9, float("nan"), float("inf"), "40", False])
@pytest.mark.parametrize("name", FROM_ZERO)
def test_settings_that_are_no_numbers_from_0_on_are_refused(name, value):
    with pytest.raises(FeatureError) as caught:
        FeatureSettings(**{name: value})
    assert str(caught.value) == f"{name} is a number from 0 on, not {value!r}"


@pytest.mark.parametrize("name", WHOLE)
def test_counts_that_are_not_whole_are_refused(name):
    with pytest.raises(FeatureError, match=f"^{name} is a positive whole number, not 40.5$"):
        FeatureSettings(**{name: 40.5})


@pytest.mark.parametrize("value", [-1, 0.5, "1"])
def test_a_seed_that_is_no_whole_number_is_refused(value):
    with pytest.raises(FeatureError, match=f"^dither_seed is a whole number from 0 on, not {value!r}$"):
        FeatureSettings(dither_seed=value)


@pytest.mark.parametrize("value", [-0.1, 1.01, float("nan"), "0.97", None])
def test_a_pre_emphasis_that_is_not_between_0_and_1_is_refused(value):
    with pytest.raises(FeatureError, match=f"^pre_emphasis is a number from 0 to 1, not {value!r}$"):
        FeatureSettings(pre_emphasis=value)


@pytest.mark.parametrize("name", sorted({*ABOVE_ZERO, *FROM_ZERO, *WHOLE} - set(OPTIONAL)))
def test_settings_that_cannot_be_none_are_refused(name):
    with pytest.raises(FeatureError, match=f"^{name} is a .*number.*, not None$"):
        FeatureSettings(**{name: None})


@pytest.mark.parametrize("name", OPTIONAL)
def test_settings_that_can_be_none(name):
    FeatureSettings(**{name: None})


@pytest.mark.parametrize("name", CHOICES)
def test_words_that_are_no_choice_are_refused(name):
    for value in ("Hann", None, -1):
        with pytest.raises(FeatureError) as caught:
            FeatureSettings(**{name: value})
        choices = ", ".join(map(str, CHOICES[name]))
        assert str(caught.value) == f"{name} is one of {choices}, not {value!r}"


@pytest.mark.parametrize("name", FLAGS)
def test_flags_that_are_not_true_or_false_are_refused(name):
    for value in (1, "yes", None):
        with pytest.raises(FeatureError) as caught:
            FeatureSettings(**{name: value})
        assert str(caught.value) == f"{name} is True or False, not {value!r}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"delta_order": 3}, "^delta_order is one of 0, 1, 2, not 3$"),
        ({"delta_order": -1}, "^delta_order is one of 0, 1, 2, not -1$"),
        ({"clip_normalisation": "variance"}, "mean, mean-variance, not 'variance'$"),
        ({"n_mfcc": 0}, "^n_mfcc is a positive whole number, not 0$"),
        ({"n_mfcc": 41}, "^n_mfcc=41 coefficients cannot be had from n_mels=40 bands; lower n_mfcc, or"),
        ({"n_mfcc": 13, "n_mels": 12}, "^n_mfcc=13 coefficients cannot be had from n_mels=12 bands"),
        ({"frame_ms": 25, "frame_length": 400}, "^frame_ms and frame_length say the same thing; leave one"),
        ({"hop_ms": 25, "hop_length": 400}, "^hop_ms and hop_length say the same thing; leave one of them"),
        ({"dct_type": 1, "n_mels": 1, "n_mfcc": 1}, "^a DCT of type 1 needs two bands; raise n_mels, or"),
        ({"dct_type": 3, "dct_norm": "htk"}, "^HTK's scale is of a DCT of type 2, not 3; change dct_norm$"),
        ({"n_mfcc": 1, "level": "dropped"}, "^n_mfcc=1 with the level dropped leaves no column; raise n_mf"),
        (
            {"kind": "log-mel", "energy": "raw", "level": "dropped"},
            "^energy='raw' is asked for and dropped; change energy or level$",
        ),
        ({"delta_width": 8}, "^deltas are fitted to an odd number of frames, not 8$"),
        ({"delta_width": 1, "delta_order": 1}, "^no deltas can be fitted to delta_width=1 frames; use 3 or"),
        (
            {"clip_normalisation": "mean", "sliding_normalisation": "mean"},
            "^normalise over the clip or over the last frames, not over both$",
        ),
        (
            {"framing": "whole-frames", "pad_mode": "reflect"},
            "^pad_mode='reflect' is for centred frames, not for whole-frames; leave it out$",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(FeatureError, match=message):
        FeatureSettings(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"n_mfcc": 40},
        {"kind": "log-mel", "n_mels": 5},  # n_mfcc is 13 and says nothing
        {"kind": "log-mel", "dct_type": 1, "n_mels": 1},
        {"dct_type": 1, "n_mels": 2, "n_mfcc": 2},
        {"n_mfcc": 2, "level": "dropped"},
        {"delta_width": 3, "delta_order": 2},
        {"delta_width": 1},
        {"pre_emphasis": 1},
    ],
)
def test_settings_at_the_edge_of_what_is_refused_are_accepted(settings):
    FeatureSettings(**settings)


@pytest.mark.parametrize(
    ("settings", "rate", "message"),
    [
        ({}, 40, "^a frame of 25 ms every 10 ms is less than a sample at 40 Hz; use a higher sample rate or"),
        ({"frame_ms": 0.01}, RATE, "^a frame of 0.01 ms every 10 ms is less than a sample at 16000 Hz"),
        ({"hop_ms": 0.01}, RATE, "^a frame of 25 ms every 0.01 ms is less than a sample at 16000 Hz"),
        ({"n_fft": 399}, RATE, r"^n_fft=399 cannot hold a frame of 400 samples \(25 ms at 16000 Hz\); raise"),
        ({"frame_length": 257, "n_fft": 256}, RATE, "^n_fft=256 cannot hold a frame of 257 samples; raise"),
    ],
)
def test_settings_that_do_not_fit_the_sample_rate_are_refused(settings, rate, message):
    with pytest.raises(FeatureError, match=message):
        FeatureSettings(**settings).sizes(rate)
    with pytest.raises(FeatureError, match=message):
        FeatureSettings(**settings)(np.zeros(RATE), rate)


@pytest.mark.parametrize("rate", [0, -8000, 16_000.0, "16000", float("nan")])
def test_a_sample_rate_that_is_no_whole_number_of_hz_is_refused(rate):
    FeatureSettings()(np.zeros(RATE), RATE)  # though one that compares equal has just been used
    for call in (lambda s: s.sizes(rate), lambda s: s(np.zeros(RATE), rate)):
        with pytest.raises(FeatureError) as caught:
            call(FeatureSettings())
        assert str(caught.value) == f"a sample rate is a positive whole number of Hz, not {rate!r}"


@pytest.mark.parametrize("kind", ["mfcc", "log-spectrogram"])
def test_sound_needs_a_sample_rate(kind):
    for settings in (FeatureSettings(kind=kind), FeatureSettings(kind=kind, frame_length=40, hop_length=9)):
        with pytest.raises(FeatureError, match=r"^a sample rate is a positive whole number of Hz, not None$"):
            settings(np.zeros(RATE), None)


def test_a_sample_rate_may_be_numpys():
    sound = np.random.default_rng(0).uniform(-1, 1, 900)
    np.testing.assert_array_equal(FeatureSettings()(sound, np.int64(8000)), FeatureSettings()(sound, 8000))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"f_min_hz": 5000.0, "f_max_hz": 100.0}, "there are no mel bands from 5000 to 100 Hz"),
        ({"energy": "raw", "level": "dropped"}, "energy='raw' is asked for and dropped"),
        ({"kind": "log-mel", "level": "dropped"}, "a log-mel has no level that could be dropped"),
        ({"dither_seed": True}, "dither_seed is a whole number from 0 on, not True"),
        ({"pre_emphasis": True}, "pre_emphasis is a number from 0 to 1, not True"),
        ({"delta_order": True}, "delta_order is one of 0, 1, 2, not True"),
        ({"dct_type": 2.0}, "dct_type is one of 1, 2, 3, not 2.0"),
        ({"n_mels": 10**400}, "n_mels is a positive whole number"),
    ],
)
def test_more_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(FeatureError, match=message):
        FeatureSettings(**changes)


@pytest.mark.parametrize("num_threads", [0, -1, 1.5, "2"])
@pytest.mark.parametrize("n_samples", [400, 200_000])
def test_a_wrong_number_of_threads_is_refused_for_any_clip(num_threads, n_samples):
    with pytest.raises(FeatureError, match="num_threads is a positive whole number or None, not "):
        FeatureSettings()(np.zeros(n_samples), 16_000, num_threads)


def test_a_scale_below_1_takes_samples_of_16_bits():
    large = np.random.default_rng(0).uniform(-30_000, 30_000, 700)
    with pytest.warns(UserWarning, match="full scale is 1"):
        found = FeatureSettings(sample_scale=1 / 32768)(large, 16_000)
    np.testing.assert_array_equal(found, FeatureSettings()(large / 32768, 16_000))


def test_settings_show_what_is_not_as_by_default():
    shown = FeatureSettings(frame_length=400, n_mels=26)
    assert repr(shown) == "FeatureSettings(frame_length=400, n_mels=26)"
    assert shown.differing() == {"frame_length": 400, "n_mels": 26}
    assert eval(repr(preset("kaldi"))) == preset("kaldi")
    assert preset("kaldi").differing(preset("kaldi", n_mels=24)) == {"n_mels": 23}


def test_a_preset_that_is_no_name_is_refused():
    with pytest.raises(FeatureError, match=r"there is no preset \['kaldi'\]"):
        preset(["kaldi"])


def test_a_monstrous_number_of_bands_takes_no_memory():
    with pytest.raises(FeatureError, match="99999999 mel bands are too many for 512 FFT points"):
        FeatureSettings(n_mels=99_999_999)(np.zeros(400), 16_000)
