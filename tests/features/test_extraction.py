"""Sound to features: librosa's by default, physically right, and every setting acts."""

import itertools

import librosa
import numpy as np
import pytest
from scipy.fft import dct

from features import (
    AudioError,
    FeatureError,
    FeatureSettings,
    extraction,
    mel_filterbank,
    normalise_clip,
    preset,
    stack_frames,
)
from features.extraction import BLOCK, STAGES, run_stages
from features.settings import NAMES

RATE = 16_000
# One second of noise that fades by 120 dB: the 80 dB floor takes effect.
FADING = (np.random.default_rng(0).uniform(-1, 1, RATE) * 10 ** np.linspace(0, -6, RATE)).astype(np.float32)
FADING.flags.writeable = False
KINDS = ["log-mel", "mfcc"]
each_kind = pytest.mark.parametrize("kind", KINDS)

# Our settings, the sample rate, and what librosa calls the same.
SAME_AS_LIBROSA = {
    "librosa's defaults": (
        {"n_mels": 128, "frame_ms": 2048 / 22.05, "hop_ms": 512 / 22.05},
        22_050,
        {},
    ),
    "speech": (
        {},
        16_000,
        {"n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 40},
    ),
    "telephone": (
        {"n_mels": 23},
        8000,
        {"n_fft": 256, "win_length": 200, "hop_length": 80, "n_mels": 23},
    ),
    "own n_fft": (
        {"n_fft": 1000, "hop_ms": 12.5, "n_mels": 26},
        16_000,
        {"n_fft": 1000, "win_length": 400, "hop_length": 200, "n_mels": 26},
    ),
    "band": (
        {"f_min_hz": 64, "f_max_hz": 7000},
        16_000,
        {"n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 40, "fmin": 64, "fmax": 7000},
    ),
}
same_as_librosa = pytest.mark.parametrize(
    ("settings", "rate", "reference"), SAME_AS_LIBROSA.values(), ids=SAME_AS_LIBROSA
)


# Values


@same_as_librosa
def test_log_mel_is_librosas(settings, rate, reference):
    frames = FeatureSettings(kind="log-mel", **settings)(FADING, rate)
    power = librosa.feature.melspectrogram(y=FADING, sr=rate, **reference)
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames, librosa.power_to_db(power).T, rtol=0, atol=1e-4)  # dB


@pytest.mark.parametrize("n_mfcc", [13, 20])
@same_as_librosa
def test_mfcc_is_librosas(settings, rate, reference, n_mfcc):
    frames = FeatureSettings(**settings, n_mfcc=n_mfcc)(FADING, rate)
    expected = librosa.feature.mfcc(y=FADING, sr=rate, n_mfcc=n_mfcc, **reference).T
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames, expected, rtol=1e-6, atol=2e-4)


def test_a_log_spectrogram_is_librosas():
    stft = librosa.stft(FADING, n_fft=512, hop_length=160, win_length=400)
    frames = FeatureSettings(kind="log-spectrogram")(FADING, RATE)
    np.testing.assert_allclose(frames, librosa.power_to_db(np.abs(stft) ** 2).T, rtol=0, atol=2e-4)


@each_kind
def test_deltas_are_librosas_beside_the_static_part(kind):
    settings = FeatureSettings(kind=kind)
    static = settings(FADING, RATE)
    slope, curvature = (librosa.feature.delta(static, order=order, axis=0) for order in (1, 2))
    np.testing.assert_allclose(
        settings.change(delta_order=2)(FADING, RATE),
        np.hstack([static, slope, curvature]),
        rtol=0,
        atol=1e-4,
    )
    np.testing.assert_allclose(
        settings.change(delta_order=1)(FADING, RATE), np.hstack([static, slope]), rtol=0, atol=1e-4
    )


def test_frames_are_normalised_with_their_deltas_and_then_stacked():
    frames = FeatureSettings(delta_order=1)(FADING, RATE)
    for kind, count in itertools.product(["none", "mean", "mean-variance"], [1, 2, 3]):
        whole = FeatureSettings(delta_order=1, clip_normalisation=kind, stack=count)(FADING, RATE)
        np.testing.assert_array_equal(whole, stack_frames(normalise_clip(frames, kind), count))


@pytest.mark.parametrize("top_db", [80.0, 30.0])
def test_top_db_is_a_floor_below_the_clips_maximum_and_nothing_else(top_db):
    settings = FeatureSettings(kind="log-mel", top_db=None)
    unlimited = settings(FADING, RATE)
    assert unlimited.max() - unlimited.min() > 81
    floor = unlimited.max() - np.float32(top_db)
    np.testing.assert_array_equal(
        settings.change(top_db=top_db)(FADING, RATE), np.where(unlimited < floor, floor, unlimited)
    )


@pytest.mark.parametrize("n_samples", [1, 160, RATE])
def test_silence_is_minus_100_db(n_samples):
    silence = np.zeros(n_samples)
    log_mel = FeatureSettings(kind="log-mel")(silence, RATE)
    np.testing.assert_allclose(log_mel, np.full((1 + n_samples // 160, 40), -100), rtol=1e-7)  # one ulp
    cepstrum = np.zeros((len(log_mel), 13))
    cepstrum[:, 0] = -100 * 40**0.5  # the orthonormal DCT of a constant
    np.testing.assert_allclose(FeatureSettings()(silence, RATE), cepstrum, atol=1e-4)


@each_kind
def test_silence_normalises_to_0_with_its_deltas(kind):
    settings = FeatureSettings(kind=kind, delta_order=2, clip_normalisation="mean-variance")
    for dtype in (np.float32, np.float64):
        frames = settings(np.zeros(RATE, dtype), RATE)
        np.testing.assert_array_equal(frames, np.zeros((101, settings.n_features())))


def test_one_sample_has_a_flat_spectrum():
    settings = FeatureSettings(kind="log-mel")
    flat = 10 * np.log10(0.25 * mel_filterbank(settings, RATE).sum(axis=1))
    np.testing.assert_allclose(settings(np.array([0.5]), RATE), flat[None], atol=1e-4)


@pytest.mark.parametrize("n_samples", [1, 160])
@each_kind
def test_a_very_short_clip_has_finite_features(kind, n_samples):
    settings = FeatureSettings(kind=kind, delta_order=2, clip_normalisation="mean-variance", stack=3)
    assert np.isfinite(settings(FADING[:n_samples], RATE)).all()


@each_kind
def test_a_clip_that_starts_a_hop_later_has_its_frames_one_later(kind):
    later = np.concatenate([np.zeros(160, np.float32), FADING])
    static = FeatureSettings(kind=kind)
    early, late = (static.change(delta_order=2)(samples, RATE) for samples in (FADING, later))
    assert len(late) == len(early) + 1
    np.testing.assert_allclose(late[9:-8], early[8:-8], rtol=0, atol=1e-4)
    np.testing.assert_allclose(static(later, RATE)[1:], static(FADING, RATE), rtol=0, atol=1e-4)


def test_twice_as_loud_is_6_db_more():
    for settings, more in [
        (FeatureSettings(kind="log-mel"), 20 * np.log10(2)),
        (FeatureSettings(kind="log-mel", log="ln"), np.log(4)),
        (FeatureSettings(kind="log-mel", log="ln", spectrum="magnitude"), np.log(2)),
    ]:
        loud, soft = settings(FADING[:4000] * 2, RATE), settings(FADING[:4000], RATE)
        np.testing.assert_allclose(loud, soft + more, atol=1e-4)
        scaled = settings.change(sample_scale=2)(FADING[:4000], RATE)
        np.testing.assert_array_equal(scaled, loud)


@pytest.mark.parametrize(
    ("energy", "by_hand"),
    [  # 1 2 3, less half of the sample before, or of itself: 0.5 1.5 2; windowed: 0 1.125 1.5
        ("raw", 1 + 4 + 9),
        ("windowed", 1.125**2 + 1.5**2),
        ("spectral", (1.125 + 1.5) ** 2 + (1.125**2 + 1.5**2) + (1.5 - 1.125) ** 2),  # at 0, 1/4, 1/2
    ],
)
def test_the_energy_is_of_the_frame_the_windowed_frame_or_the_spectrum(energy, by_hand):
    lengths = {"frame_length": 3, "hop_length": 3, "n_fft": 4, "framing": "whole-frames"}
    settings = FeatureSettings(kind="log-spectrogram", log="none", energy=energy, pre_emphasis=0.5, **lengths)
    found = settings(np.array([1.0, 2, 3]), 8000)[0]
    assert found[0] == pytest.approx(np.log(by_hand), rel=1e-13)


def test_the_raw_energy_is_of_the_frame_without_its_mean():
    settings = FeatureSettings(
        kind="log-mel",
        energy="raw",
        remove_dc=True,
        framing="whole-frames",
        frame_length=30,
        hop_length=7,
        n_mels=3,
    )
    frames = np.lib.stride_tricks.sliding_window_view(FADING[:51].astype(np.float64), 30)[::7]
    found = settings(FADING[:51].astype(np.float64), RATE)[:, 0]
    np.testing.assert_allclose(found, np.log(frames.var(axis=1) * 30), rtol=1e-12)


@each_kind
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_are_in_the_dtype_of_the_samples(dtype, kind):
    settings = FeatureSettings(kind=kind, delta_order=2, clip_normalisation="mean")
    found = settings(FADING.astype(dtype), RATE)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, settings(FADING.astype(np.float64), RATE), rtol=0, atol=1e-3)
    for log in ("pcen", "ln", "none"):
        assert (
            settings.change(log=log, sliding_normalisation="none")(FADING.astype(dtype), RATE).dtype == dtype
        )


def test_mfcc_are_the_cosine_transform_of_the_log_mel():
    samples = FADING.astype(np.float64)
    for log in ("db", "ln", "pcen", "none"):
        bands = FeatureSettings(kind="log-mel", log=log)(samples, RATE)
        expected = dct(bands, norm="ortho", axis=1)[:, :13]
        np.testing.assert_allclose(FeatureSettings(log=log)(samples, RATE), expected, rtol=1e-11, atol=1e-11)


def test_pcen_is_librosas():
    settings = {"n_mels": 23, "spectrum": "magnitude"}
    scaled = FADING.astype(np.float64) * 2**31
    bands = librosa.feature.melspectrogram(
        y=scaled, sr=RATE, n_fft=512, win_length=400, hop_length=160, n_mels=23, power=1, dtype=np.float64
    )
    expected = librosa.pcen(bands, sr=RATE, hop_length=160).T
    found = FeatureSettings(kind="log-mel", log="pcen", mel_float32=False, **settings)(scaled / 2**31, RATE)
    assert np.abs(found - expected).max() > 1  # PCEN depends on the scale of samples
    found = FeatureSettings(kind="log-mel", log="pcen", sample_scale=2.0**31, **settings)(
        scaled / 2**31, RATE
    )
    np.testing.assert_allclose(found, expected, rtol=1e-8)


# Every setting acts

HAMMING = {"window": "hamming", "framing": "whole-frames"}  # which looks at a frame's first sample
WARPED = {"vtln_warp": 1.2, "f_min_hz": 20}
# Settings of which it is a matter, and the changed value.
CHANGES = {
    "kind": ({}, "log-mel"),
    "sample_scale": ({}, 2.0),
    "dither": ({}, 1e-3),
    "dither_seed": ({"dither": 1e-3}, 1),
    "pre_emphasis": ({}, 0.5),
    "pre_emphasis_of": ({"pre_emphasis": 0.9} | HAMMING, "signal"),
    "frame_ms": ({"n_fft": 512}, 24.0),
    "hop_ms": ({}, 9.0),
    "frame_length": ({"n_fft": 512}, 399),
    "hop_length": ({}, 159),
    "round_lengths": ({"frame_ms": 24.98, "n_fft": 512}, "down"),
    "framing": ({}, "mirrored"),
    "pad_mode": ({}, "edge"),
    "remove_dc": ({}, True),
    "window": ({}, "povey"),
    "window_symmetric": ({}, True),
    "n_fft": ({}, 600),
    "spectrum": ({}, "magnitude"),
    "divide_by_n_fft": ({}, True),
    "n_mels": ({}, 41),
    "f_min_hz": ({}, 50),
    "f_max_hz": ({}, 7900),
    "mel_scale": ({}, "htk"),
    "mel_norm": ({}, "none"),
    "mel_slopes": ({}, "mel"),
    "htk_skip_bins": ({"f_min_hz": 50}, True),
    "mel_float32": ({}, True),
    "vtln_warp": ({"f_min_hz": 20}, 1.1),
    "vtln_low_hz": (WARPED, 200),
    "vtln_high_hz": (WARPED, 7000),
    "vtln_kind": (WARPED | {"vtln_high_hz": 6000}, "htk"),
    "log": ({}, "ln"),
    "log_floor": ({}, 1e-3),
    "log_floor_for": ({"log_floor": 1e-3}, "zero"),
    "log_offset": ({}, 1e-3),
    "top_db": ({}, 50.0),
    "pcen_gain": ({"log": "pcen"}, 0.9),
    "pcen_bias": ({"log": "pcen"}, 2.1),
    "pcen_power": ({"log": "pcen"}, 0.4),
    "pcen_seconds": ({"log": "pcen"}, 0.3),
    "pcen_eps": ({"log": "pcen"}, 1e-5),
    "n_mfcc": ({}, 12),
    "dct_type": ({}, 3),
    "dct_norm": ({}, "none"),
    "lifter": ({}, 22),
    "lifter_kind": ({"lifter": 22}, "librosa"),
    "energy": ({}, "windowed"),
    "energy_floor": ({"energy": "raw"}, 0.5),
    "level": ({}, "last"),
    "delta_order": ({}, 1),
    "delta_kind": ({"delta_order": 1}, "regression"),
    "delta_width": ({"delta_order": 1}, 5),
    "clip_normalisation": ({}, "mean"),
    "sliding_normalisation": ({}, "mean"),
    "sliding_frames": ({"sliding_normalisation": "mean"}, 7),
    "stack": ({}, 2),
}


def test_every_setting_is_changed_below():
    assert [*CHANGES, "allow_empty_bands"] != list(NAMES)  # which are in their order
    assert {*CHANGES, "allow_empty_bands"} == set(NAMES)


@pytest.mark.parametrize("name", CHANGES)
def test_a_setting_that_is_changed_changes_the_features(name):
    base, value = CHANGES[name]
    settings = FeatureSettings(**base)
    changed = settings.change(**{name: value})
    before, after = (s(FADING.astype(np.float64), RATE) for s in (settings, changed))
    assert before.shape != after.shape or np.abs(before - after).max() > 1e-9 * np.abs(before).max()
    again = settings.change(**{name: getattr(settings, name)})
    np.testing.assert_array_equal(again(FADING.astype(np.float64), RATE), before)


CHOICES = {
    "framing": ["whole-frames", "pad-end", "mirrored"],
    "pad_mode": ["reflect", "edge"],
    "window": ["hamming", "povey", "blackman", "rectangular"],
    "mel_slopes": ["mel", "bins"],
    "log": ["ln", "none", "pcen"],
    "dct_type": [1, 3],
    "dct_norm": ["htk", "none"],
    "energy": ["raw", "windowed", "spectral"],
    "level": ["last", "dropped"],
    "kind": ["log-mel", "log-spectrogram"],
    "clip_normalisation": ["mean", "mean-variance"],
    "sliding_normalisation": ["mean", "mean-variance"],
    "delta_order": [1, 2],
}


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_is_another(name):
    found = [FeatureSettings()(FADING, RATE)]
    found += [
        FeatureSettings(**{name: value, "allow_empty_bands": True})(FADING, RATE) for value in CHOICES[name]
    ]
    for one, other in itertools.combinations(found, 2):
        assert one.shape != other.shape or np.abs(one - other).max() > 1e-3


def test_bands_without_a_bin_are_the_floor():
    settings = FeatureSettings(kind="log-mel", n_mels=200, log="ln", log_floor=1e-7)
    with pytest.raises(FeatureError, match="200 mel bands are too many for 512 FFT points"):
        settings(FADING, RATE)
    found = settings.change(allow_empty_bands=True)(FADING, RATE)
    empty = ~mel_filterbank(settings.change(allow_empty_bands=True), RATE).any(axis=1)
    assert 0 < empty.sum() < 64
    np.testing.assert_allclose(found[:, empty], np.log(1e-7), rtol=1e-6)


# Stages


def test_every_setting_acts_in_a_stage():
    assert {name for stage in STAGES for name in stage.settings} == set(NAMES)


STAGED = [
    *[FeatureSettings(kind=kind) for kind in ("mfcc", "log-mel", "log-spectrogram")],
    *[preset(name) for name in ("librosa", "htk", "kaldi", "torchaudio", "python_speech_features")],
    FeatureSettings(log="pcen", energy="raw", level="last", delta_order=2, stack=3, frame_ms=10, hop_ms=3),
    FeatureSettings(kind="log-mel", energy="spectral", dither=1e-4, sliding_normalisation="mean-variance"),
    FeatureSettings(
        framing="mirrored", pre_emphasis=0.9, pre_emphasis_of="signal", clip_normalisation="mean"
    ),
    FeatureSettings(framing="mirrored", hop_ms=1, frame_ms=5, n_mels=11, n_mfcc=3, energy="windowed"),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("settings", STAGED, ids=range(len(STAGED)))
def test_stage_by_stage_is_the_same_bits(monkeypatch, settings, dtype):
    monkeypatch.setattr(extraction, "kernels_for", lambda plan: None)
    samples = np.tile(FADING, 2).astype(dtype)
    stages = list(run_stages(settings, samples, RATE))
    assert [stage for stage, _ in stages] == list(STAGES)
    np.testing.assert_array_equal(stages[-1][1].values, settings(samples, RATE))
    if settings.hop_ms == 1:
        assert len(stages[-1][1].values) > BLOCK


@pytest.mark.parametrize("settings", STAGED, ids=range(len(STAGED)))
def test_any_number_of_threads_gives_the_same_bits(settings):
    samples = np.tile(FADING, 2)
    for num_threads in (2, 3, None):
        np.testing.assert_array_equal(settings(samples, RATE, num_threads), settings(samples, RATE))


@pytest.mark.parametrize("kind", ["mfcc", "log-mel", "log-spectrogram"])
def test_frames_are_the_same_bits_alone_and_among_others(kind):
    settings = FeatureSettings(kind=kind, top_db=None, framing="whole-frames", energy="raw")
    together = settings(FADING, RATE)
    for t in (0, 1, 50, 97):
        np.testing.assert_array_equal(settings(FADING[t * 160 : t * 160 + 400], RATE)[0], together[t])


# What is refused


@pytest.mark.parametrize(
    ("settings", "rate", "message"),
    [
        ({}, 40, "25 ms every 10 ms is less than a sample at 40 Hz"),
        ({"frame_ms": 0.01}, RATE, "0.01 ms every 10 ms is less than a sample at 16000 Hz"),
        ({"n_fft": 399}, RATE, r"n_fft=399 cannot hold a frame of 400 samples \(25 ms at 16000 Hz\)"),
        ({"f_max_hz": 5000}, 8000, "to 5000 Hz do not fit a sample rate of 8000 Hz"),
        ({"n_mels": 200}, RATE, "200 mel bands are too many for 512 FFT points"),
    ],
)
@each_kind
def test_settings_that_do_not_fit_the_sample_rate_are_refused(settings, rate, message, kind):
    with pytest.raises(FeatureError, match=message):
        FeatureSettings(kind=kind, **settings)(FADING, rate)


def with_one(value, dtype=np.float64):
    samples = np.zeros(900, dtype)
    samples[500] = value
    return samples


@pytest.mark.parametrize("framing", ["centred", "whole-frames", "pad-end", "mirrored"])
@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(RATE, np.int16), "^samples: int16 samples; scale them to floats in"),
        (np.zeros((900, 2)), r"^samples: one channel of shape \(N,\) is wanted, not \(900, 2\)"),
        (np.zeros(0), "^samples: holds no samples$"),
        (with_one(np.nan), r"^samples: 1 of 900 samples are NaN or infinite \(the first is number 500\)"),
        (with_one(-np.inf, np.float32), "^samples: 1 of 900 samples are NaN or infinite"),
        (with_one(1e10), r"^samples: a sample of 1e\+10 is no sound"),
    ],
    ids=["int16", "2-D", "empty", "NaN", "infinite", "too large"],
)
def test_samples_that_are_no_sound_are_refused(samples, message, framing):
    with pytest.raises(AudioError, match=message):
        FeatureSettings(framing=framing)(samples, RATE)
    with pytest.raises(AudioError, match=message):
        list(run_stages(FeatureSettings(framing=framing), samples, RATE))


def test_integers_stored_as_floats_are_warned_about():
    samples = np.round(FADING * 32_767)
    with pytest.warns(
        UserWarning, match="^samples: a sample of 32279, but full scale is 1; 16-bit integers:"
    ):
        found = FeatureSettings()(samples, RATE)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", ["htk", "kaldi"])
def test_integers_stored_as_floats_are_refused_where_they_would_be_scaled_again(name):
    with pytest.raises(AudioError, match=r"by 32768 \(the settings multiply by it again\)$"):
        preset(name)(np.round(FADING * 32_767), RATE)
