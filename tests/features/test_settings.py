"""Log-mel and MFCC are librosa's, settings survive a file, and what cannot be computed is refused."""

import itertools
import json

import librosa
import numpy as np
import pytest

from features import (
    FeatureError,
    LogMel,
    Mfcc,
    mel_filterbank,
    normalise_clip,
    settings_from_dict,
    settings_to_dict,
    stack_frames,
)

RATE = 16_000
# One second of noise that fades by 120 dB: the 80 dB floor takes effect.
FADING = (np.random.default_rng(0).uniform(-1, 1, RATE) * 10 ** np.linspace(0, -6, RATE)).astype(np.float32)
FADING.flags.writeable = False

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
    frames = LogMel(**settings)(FADING, rate)
    power = librosa.feature.melspectrogram(y=FADING, sr=rate, **reference)
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames, librosa.power_to_db(power).T, rtol=0, atol=1e-4)  # dB


@pytest.mark.parametrize("n_mfcc", [13, 20])
@same_as_librosa
def test_mfcc_is_librosas(settings, rate, reference, n_mfcc):
    frames = Mfcc(**settings, n_mfcc=n_mfcc)(FADING, rate)
    expected = librosa.feature.mfcc(y=FADING, sr=rate, n_mfcc=n_mfcc, **reference).T
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames, expected, rtol=1e-6, atol=2e-4)


@pytest.mark.parametrize("kind", [LogMel, Mfcc])
def test_deltas_are_librosas_beside_the_static_part(kind):
    static = kind()(FADING, RATE)
    slope, curvature = (librosa.feature.delta(static, order=order, axis=0) for order in (1, 2))
    np.testing.assert_allclose(
        kind(delta_order=2)(FADING, RATE), np.hstack([static, slope, curvature]), rtol=0, atol=1e-4
    )
    np.testing.assert_allclose(
        kind(delta_order=1)(FADING, RATE), np.hstack([static, slope]), rtol=0, atol=1e-4
    )


def test_frames_are_normalised_with_their_deltas_and_then_stacked():
    frames = Mfcc(delta_order=1)(FADING, RATE)
    for kind, count in itertools.product(["none", "mean", "mean-variance"], [1, 2, 3]):
        whole = Mfcc(delta_order=1, clip_normalisation=kind, stack=count)(FADING, RATE)
        np.testing.assert_array_equal(whole, stack_frames(normalise_clip(frames, kind), count))


@pytest.mark.parametrize("top_db", [80.0, 30.0])
def test_top_db_is_a_floor_below_the_clips_maximum_and_nothing_else(top_db):
    unlimited = LogMel(top_db=None)(FADING, RATE)
    assert unlimited.max() - unlimited.min() > 81
    floor = unlimited.max() - np.float32(top_db)
    np.testing.assert_array_equal(
        LogMel(top_db=top_db)(FADING, RATE), np.where(unlimited < floor, floor, unlimited)
    )


@pytest.mark.parametrize("n_samples", [1, 160, RATE])
def test_silence_is_minus_100_db(n_samples):
    silence = np.zeros(n_samples)
    log_mel = LogMel()(silence, RATE)
    np.testing.assert_allclose(log_mel, np.full((1 + n_samples // 160, 40), -100), rtol=1e-7)  # one ulp
    cepstrum = np.zeros((len(log_mel), 13))
    cepstrum[:, 0] = -100 * 40**0.5  # the orthonormal DCT of a constant
    np.testing.assert_allclose(Mfcc()(silence, RATE), cepstrum, atol=1e-4)


@pytest.mark.parametrize("kind", [LogMel, Mfcc])
def test_silence_normalises_to_0_with_its_deltas(kind):
    frames = kind(delta_order=2, clip_normalisation="mean-variance")(np.zeros(RATE), RATE)
    np.testing.assert_array_equal(frames, np.zeros((101, kind().n_features * 3)))


def test_one_sample_has_a_flat_spectrum():
    flat = 10 * np.log10(0.25 * mel_filterbank(RATE, 512, 40).sum(axis=1))
    np.testing.assert_allclose(LogMel()(np.array([0.5]), RATE), flat[None], atol=1e-4)


@pytest.mark.parametrize("n_samples", [1, 160])
@pytest.mark.parametrize("kind", [LogMel, Mfcc])
def test_a_very_short_clip_has_finite_features(kind, n_samples):
    settings = kind(delta_order=2, clip_normalisation="mean-variance", stack=3)
    assert np.isfinite(settings(FADING[:n_samples], RATE)).all()


@pytest.mark.parametrize("kind", [LogMel, Mfcc])
def test_a_clip_that_starts_a_hop_later_has_its_frames_one_later(kind):
    later = np.concatenate([np.zeros(160, np.float32), FADING])
    early, late = (kind(delta_order=2)(samples, RATE) for samples in (FADING, later))
    assert len(late) == len(early) + 1
    np.testing.assert_allclose(late[9:-8], early[8:-8], rtol=0, atol=1e-4)
    np.testing.assert_allclose(kind()(later, RATE)[1:], kind()(FADING, RATE), rtol=0, atol=1e-4)


def test_n_features_counts_the_columns():
    for delta_order, stack, kind in itertools.product([0, 1, 2], [1, 2, 3], ["none", "mean-variance"]):
        common = {"delta_order": delta_order, "stack": stack, "clip_normalisation": kind, "n_mels": 20}
        for settings, n_static in [(LogMel(**common), 20), (Mfcc(**common, n_mfcc=7), 7)]:
            assert settings.n_features == n_static * (1 + delta_order) * stack
            assert settings(FADING[:3200], RATE).shape == (-(-21 // stack), settings.n_features)


# As plain values


def test_settings_are_written_as_plain_values():
    assert settings_to_dict(Mfcc(n_mfcc=20, n_fft=1024, stack=2, clip_normalisation="mean")) == {
        "kind": "mfcc",
        "n_mels": 40,
        "frame_ms": 25.0,
        "hop_ms": 10.0,
        "n_fft": 1024,
        "f_min_hz": 0.0,
        "f_max_hz": None,
        "top_db": 80.0,
        "delta_order": 0,
        "clip_normalisation": "mean",
        "stack": 2,
        "n_mfcc": 20,
    }
    assert settings_to_dict(LogMel())["kind"] == "log-mel"


@pytest.mark.parametrize(
    "settings", [LogMel(), Mfcc(), LogMel(top_db=None, f_max_hz=7600.5), Mfcc(n_mfcc=20, delta_order=2)]
)
def test_settings_survive_a_json_file(settings):
    values = json.loads(json.dumps(settings_to_dict(settings)))
    before = dict(values)
    assert settings_from_dict(values) == settings
    assert values == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "chroma"}, "'chroma'; known: log-mel, mfcc"),
        ({"n_mels": 40}, "None; known: log-mel, mfcc"),
        ({"kind": "mfcc", "n_bands": 3}, "does not know: .*'n_bands'"),
        ({"kind": "log-mel", "n_mfcc": 13}, "does not know: .*'n_mfcc'"),
        ({"kind": "mfcc", "n_mels": -3}, "n_mels is a positive whole number, not -3"),
    ],
)
def test_plain_values_that_are_no_settings_are_refused(values, message):
    with pytest.raises(FeatureError, match=message):
        settings_from_dict(values)


# What is refused


WHOLE = {"n_mels", "n_fft", "stack"}


@pytest.mark.parametrize("value", [0, -1, float("nan"), "40"])
@pytest.mark.parametrize("name", ["n_mels", "frame_ms", "hop_ms", "n_fft", "top_db", "stack"])
def test_settings_that_are_not_positive_numbers_are_refused(name, value):
    kind = "whole number" if name in WHOLE else "number"
    with pytest.raises(FeatureError, match=f"^{name} is a positive {kind}, not {value!r}$"):
        LogMel(**{name: value})


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_counts_that_are_not_whole_are_refused(name):
    with pytest.raises(FeatureError, match=f"^{name} is a positive whole number, not 40.5$"):
        LogMel(**{name: 40.5})


@pytest.mark.parametrize("name", ["n_mels", "frame_ms", "hop_ms", "stack"])
def test_settings_that_cannot_be_none_are_refused(name):
    with pytest.raises(FeatureError, match=f"^{name} is a positive .*number, not None$"):
        LogMel(**{name: None})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"delta_order": 3}, "delta_order is 0, 1 or 2, not 3"),
        ({"delta_order": -1}, "delta_order is 0, 1 or 2, not -1"),
        ({"clip_normalisation": "variance"}, "mean or mean-variance, not 'variance'"),
        ({"n_mfcc": 0}, "n_mfcc is between 1 and n_mels=40, not 0"),
        ({"n_mfcc": 41}, "n_mfcc is between 1 and n_mels=40, not 41"),
        ({"n_mfcc": 13, "n_mels": 12}, "n_mfcc is between 1 and n_mels=12, not 13"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(FeatureError, match=message):
        Mfcc(**settings)


@pytest.mark.parametrize(
    ("settings", "rate", "message"),
    [
        (LogMel(), 40, "25 ms every 10 ms is less than a sample at 40 Hz"),
        (LogMel(frame_ms=0.01), RATE, "0.01 ms every 10 ms is less than a sample at 16000 Hz"),
        (LogMel(n_fft=399), RATE, r"n_fft=399 cannot hold a frame of 400 samples \(25 ms at 16000 Hz\)"),
        (LogMel(f_max_hz=5000), 8000, "to 5000 Hz do not fit a sample rate of 8000 Hz"),
        (LogMel(n_mels=200), RATE, "200 mel bands are too many for 512 FFT points"),
    ],
)
def test_settings_that_do_not_fit_the_sample_rate_are_refused(settings, rate, message):
    with pytest.raises(FeatureError, match=message):
        settings(FADING, rate)


def test_samples_that_are_no_sound_are_refused():
    with pytest.raises(FeatureError, match="int16 samples"):
        LogMel()(np.zeros(RATE, np.int16), RATE)
