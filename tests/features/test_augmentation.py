"""Augmentation does what it says, by measure: SNR, spectra, pitch, masks, mixtures; a seed repeats it."""

import doctest
import json
import math
import pickle

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import features.augmentation
from features import (
    AudioError,
    Augmentation,
    FeatureError,
    FeatureSettings,
    add_noise,
    change_speed,
    coloured_noise,
    draw_vtln_warp,
    equalise,
    gain,
    mix,
    mixup_weight,
    read_audio,
    spec_augment,
    time_shift,
)
from features.augmentation import augmentation_to_dict

RATE = 8000
CLIP = np.random.default_rng(0).uniform(-0.5, 0.5, 1234)
BABBLE = np.random.default_rng(1).standard_normal(4321)
FRAMES = np.random.default_rng(2).standard_normal((37, 11)) + 10 * np.arange(11)
for array in (CLIP, BABBLE, FRAMES):
    array.flags.writeable = False  # so that a function which writes to its input fails


def generator(seed=0):
    return np.random.default_rng(seed)


def tone(hz, n_samples, dtype=np.float64, rate=RATE):
    return np.sin(2 * np.pi * hz * np.arange(n_samples) / rate + 0.3).astype(dtype)


def decibels(signal, noise):
    return 10 * np.log10(np.sum(np.float64(signal) ** 2) / np.sum(np.float64(noise) ** 2))


def starts_of(excerpt, noise):
    """Where in a noise (repeated without end) an excerpt of it, up to a factor, starts."""
    repeated = np.resize(noise, len(noise) + len(excerpt))
    windows = np.lib.stride_tricks.sliding_window_view(repeated, len(excerpt))[: len(noise)]
    norms = np.linalg.norm(windows, axis=1) * np.linalg.norm(excerpt)
    alike = np.divide(windows @ excerpt, norms, out=np.zeros(len(noise)), where=norms > 0)
    return np.flatnonzero(alike > 1 - 1e-6)


# Noise


@pytest.mark.parametrize(("dtype", "within_db"), [(np.float64, 1e-5), (np.float32, 1e-3)])
@pytest.mark.parametrize("snr_db", [-20, -3.3, 0, 7, np.float32(12.5), 40])
@pytest.mark.parametrize("n_noise", [1, 2, 100, 1233, 1234, 1235, 4321])
def test_the_snr_over_the_whole_clip_is_what_was_asked_for(n_noise, snr_db, dtype, within_db):
    clip = (0.01 * CLIP).astype(dtype)
    noise = 300 + BABBLE[:n_noise] if n_noise < 3 else BABBLE[:n_noise]
    noisy = add_noise(clip, noise.astype(np.float32), snr_db, generator())
    assert noisy.dtype == dtype
    assert noisy.shape == clip.shape
    assert decibels(clip, noisy.astype(np.float64) - clip) == pytest.approx(float(snr_db), abs=within_db)


@pytest.mark.parametrize("level", [1e-300, 1e-30, 1e6])
def test_the_snr_is_exact_at_any_level(level):
    """The squares of the faintest are 0 in float64."""
    noisy = add_noise(CLIP, level * BABBLE, np.float32(10), generator())
    assert decibels(CLIP, noisy - CLIP) == pytest.approx(10, abs=1e-5)
    noisy = add_noise(level * CLIP, BABBLE, np.float32(10), generator())
    assert decibels(CLIP, noisy / level - CLIP) == pytest.approx(10, abs=1e-5)


def test_any_excerpt_of_a_longer_noise_is_as_likely():
    clip, noise = CLIP[:9], BABBLE[:16]
    rng = generator()
    drawn = np.concatenate([starts_of(add_noise(clip, noise, 0, rng) - clip, noise) for _ in range(4000)])
    counts = np.bincount(drawn, minlength=16)
    assert counts[8:].sum() == 0  # an excerpt never runs over the end
    np.testing.assert_allclose(counts[:8], 500, atol=5 * math.sqrt(500))


def test_a_shorter_noise_is_repeated_from_any_place():
    clip, noise = CLIP[:25], BABBLE[:7]
    rng = generator()
    drawn = np.concatenate([starts_of(add_noise(clip, noise, 0, rng) - clip, noise) for _ in range(2800)])
    np.testing.assert_allclose(np.bincount(drawn, minlength=7), 400, atol=5 * math.sqrt(400))


def test_silent_excerpts_are_not_drawn_and_the_others_are_as_likely():
    clip, noise = CLIP[:4], np.zeros(40)
    noise[[10, 11, 12, 13, 14, 15, 33]] = BABBLE[:7]
    rng = generator()
    changes = [add_noise(clip, noise, 0, rng) - clip for _ in range(1300)]
    for change in changes:
        assert decibels(clip, change) == pytest.approx(0, abs=1e-5)
    # 9 excerpts touch the stretch, 4 the lone sample. One sample alone is in those 4, at each of four
    # places, and in the first and the last of the 9.
    alone = [np.flatnonzero(change) for change in changes if np.count_nonzero(change) == 1]
    counts = np.bincount(np.concatenate(alone), minlength=4)
    np.testing.assert_allclose(counts, [200, 100, 100, 200], atol=5 * math.sqrt(100))


def test_noise_from_a_file_at_another_rate(tmp_path):
    soundfile.write(tmp_path / "street.wav", 0.1 * BABBLE, 16_000, subtype="FLOAT")
    noise, _ = read_audio(tmp_path / "street.wav", RATE)
    noisy = add_noise(CLIP, noise, 5, generator())
    (start,) = starts_of(noisy - CLIP, noise.astype(np.float64))
    assert 0 <= start <= math.ceil(4321 / 2) - 1234


def test_a_silent_clip_stays_silent():
    np.testing.assert_array_equal(add_noise(np.zeros(50, np.float32), BABBLE, 5, generator()), np.zeros(50))


@pytest.mark.parametrize("n_noise", [1, 49, 50, 51, 52, 300])
def test_silent_noise_is_refused(n_noise):
    with pytest.raises(FeatureError, match=f"^noise: all {n_noise} samples are 0, .* use another noise$"):
        add_noise(CLIP[:50], np.zeros(n_noise), 5, generator())


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (np.ones((2, 3)), r"noise: one channel .* not \(2, 3\)"),
        (np.array(1.0), r"noise: one channel .* not \(\)"),
        (np.ones(0), "noise: holds no samples"),
        (np.ones(7, np.int16), "noise: int16 samples"),
        (np.full(7, np.nan), "noise: 20 of 20 samples are NaN"),
    ],
)
def test_noise_that_is_no_sound_is_refused(noise, message):
    with pytest.raises(AudioError, match=message):
        add_noise(CLIP[:20], noise, 5, generator())


# Coloured noise


@pytest.mark.parametrize("exponent", [-2, -1, 0, 0.7, 1, 2, 3])
@pytest.mark.parametrize("n_samples", [600, 601])
def test_the_power_of_coloured_noise_falls_with_the_exponent(n_samples, exponent):
    rng = generator()
    spectra = [np.abs(np.fft.rfft(coloured_noise(n_samples, exponent, rng))) ** 2 for _ in range(2000)]
    power = np.mean(spectra, axis=0)
    # Relative errors are 0.022 in each bin, 0.032 in that of half the sample rate, which is real. Unit power
    # ties steep noise in its lowest bins, which have nearly all of it.
    frequency = np.arange(1 if exponent <= 1 else 10, len(power))
    power = power[frequency]
    assert np.polyfit(np.log(frequency), np.log(power), 1)[0] == pytest.approx(-exponent, abs=0.02)
    flat = power * frequency ** float(exponent)
    np.testing.assert_allclose(flat / flat.mean(), 1, atol=0.16)


def test_white_noise_is_gaussian():
    noise = coloured_noise(200_001, 0, generator()).astype(np.float64)
    assert np.mean(noise**3) == pytest.approx(0, abs=0.03)
    assert np.mean(noise**4) == pytest.approx(3, abs=0.06)


@settings(deadline=None, database=None, derandomize=True)
@given(st.integers(2, 300), st.floats(-10, 10), st.integers(0, 99))
def test_coloured_noise_has_unit_power_and_no_mean(n_samples, exponent, seed):
    noise = coloured_noise(n_samples, exponent, generator(seed))
    assert noise.shape == (n_samples,)
    assert noise.dtype == np.float32
    assert np.mean(noise.astype(np.float64) ** 2) == pytest.approx(1, abs=1e-5)
    assert np.mean(noise, dtype=np.float64) == pytest.approx(0, abs=1e-6)


def test_coloured_noise_repeats_without_a_seam():
    noise = coloured_noise(5000, 3, generator()).astype(np.float64)
    steps = np.abs(np.diff(noise))
    assert abs(noise[0] - noise[-1]) < 3 * steps.max()
    assert steps.max() < 0.02 * np.ptp(noise)


# Gain, shift, speed


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("gain_db", "factor"), [(0, 1), (20, 10), (-40, 0.01), (6, 1.9952623149688795)])
def test_a_gain_multiplies_the_amplitude(gain_db, factor, dtype):
    louder = gain(CLIP.astype(dtype), gain_db)
    assert louder.dtype == dtype
    np.testing.assert_allclose(louder, factor * CLIP, rtol=1e-12 if dtype == np.float64 else 2e-7)


def test_a_gain_does_not_clip():
    np.testing.assert_allclose(gain(np.array([0.5, -0.9]), 40), [50, -90], rtol=1e-12)


@pytest.mark.parametrize(
    ("n_shift", "expected"),
    [
        (0, [1, 2, 3, 4, 5]),
        (2, [0, 0, 1, 2, 3]),
        (np.int8(-1), [2, 3, 4, 5, 0]),
        (4, [0, 0, 0, 0, 1]),
        (-4, [5, 0, 0, 0, 0]),
        (5, [0, 0, 0, 0, 0]),
        (-5, [0, 0, 0, 0, 0]),
        (10**9, [0, 0, 0, 0, 0]),
        (np.int8(-128), [0, 0, 0, 0, 0]),
    ],
)
def test_a_shift_brings_zeros_in(n_shift, expected):
    samples = np.arange(1, 6, dtype=np.float32)
    samples.flags.writeable = False
    moved = time_shift(samples, n_shift)
    assert moved.dtype == np.float32
    np.testing.assert_array_equal(moved, expected)
    assert not np.shares_memory(moved, samples)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factor", [0.5, 0.9, 0.97, 1.1, 4 / 3, 2])
def test_a_faster_sine_is_the_sine_of_that_many_times_the_frequency(factor, dtype):
    faster = change_speed(tone(400, 3000, dtype), factor)
    assert faster.dtype == dtype
    assert len(faster) == math.ceil(round(3000 / factor, 6))
    inside = slice(150, -150)  # the filter reaches 64 samples of the slower
    np.testing.assert_allclose(faster[inside], tone(400 * factor, len(faster))[inside], atol=1e-4)


def test_speed_does_not_alias():
    assert np.abs(change_speed(tone(2500, 4000), 2)[150:-150]).max() < 1e-4  # 5000 Hz do not fit


@pytest.mark.parametrize("factor", [1, 1.0, 1.004, 0.996])
def test_a_speed_of_nearly_1_leaves_the_clip_alone(factor):
    assert change_speed(CLIP, factor) is CLIP


@settings(deadline=None, database=None, derandomize=True)
@given(st.floats(0.5, 2))
def test_a_speed_is_met_within_5_thousandths(factor):
    assert len(change_speed(np.zeros(5000), factor)) == pytest.approx(
        5000 / factor, rel=0.0051 / factor + 3e-4
    )


def test_every_hundredth_is_a_speed_of_its_own():
    lengths = [len(change_speed(np.zeros(10_000, np.float32), percent / 100)) for percent in range(50, 201)]
    assert lengths == [math.ceil(1_000_000 / percent) for percent in range(50, 201)]


# Tone


def mel_hz(n_gains, rate):
    """Where the gains are: equally far apart in mel of 0 to 8 kHz, which stand for half the sample rate."""
    return 700 * (np.exp(np.linspace(0, np.log1p(8000 / 700), n_gains)) - 1) * rate / 16_000


@pytest.mark.parametrize(("dtype", "within"), [(np.float64, 1e-13), (np.float32, 3e-7)])
@pytest.mark.parametrize(("db", "factor"), [(0, 1), (20, 10), (-6, 0.5011872336272722)])
@pytest.mark.parametrize("n_gains", [2, 5])
def test_gains_that_are_all_alike_are_one_gain(n_gains, db, factor, dtype, within):
    clip = CLIP.astype(dtype)
    equalised = equalise(clip, [db] * n_gains)
    assert equalised.dtype == dtype
    np.testing.assert_allclose(equalised, factor * clip, rtol=0, atol=factor * within)


@pytest.mark.parametrize("rate", [RATE, 22_050])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_tone_has_the_gain_of_its_frequency_and_its_phase(dtype, rate):
    gains = [0, 6, -12, 9, -3]
    places = np.array(mel_hz(5, rate))
    middles = np.array(mel_hz(9, rate))[1::2]  # straight in between
    at = dict(zip(places[1:-1], gains[1:-1], strict=True)) | dict(zip(middles, [3, -3, -1.5, 3], strict=True))
    for hz, db in at.items():
        clip = tone(hz, 9000, dtype, rate)
        inside = slice(1500, -1500)
        np.testing.assert_allclose(
            equalise(clip, gains)[inside], 10 ** (db / 20) * clip[inside], atol=0.01 * 10 ** (db / 20)
        )


def test_a_constant_has_the_first_gain_and_the_highest_frequency_the_last():
    flat, alternating = np.ones(9000), np.resize([1.0, -1.0], 9000)
    inside = slice(4000, 5000)
    for clip, factor in ((flat, 10), (alternating, 0.1)):
        np.testing.assert_allclose(equalise(clip, [20, 0, -20])[inside], factor * clip[inside], rtol=0.02)


def test_a_tone_is_changed_without_delay_and_what_is_at_the_end_is_not_heard_at_the_beginning():
    clip = np.zeros(4001)
    clip[2000] = 1
    response = equalise(clip, [-9, 4, 7, -2, 5, -6])
    np.testing.assert_allclose(response, response[::-1], atol=1e-12)
    assert np.argmax(np.abs(response)) == 2000
    for place in (0, -1):
        clip = np.zeros(4001)
        clip[place] = 1
        far = (
            equalise(clip, [-9, 4, 7, -2, 5, -6])[::-1]
            if place == 0
            else equalise(clip, [-9, 4, 7, -2, 5, -6])
        )
        assert np.abs(far[:2000]).max() < 1e-3 * np.abs(far).max()
        assert np.argmax(np.abs(far)) == 4000


def test_an_equaliser_leaves_its_input_as_it_is_and_takes_short_clips():
    clip = np.array([0.25])
    clip.flags.writeable = False
    assert equalise(clip, (6, 6)) == pytest.approx([0.25 * 10**0.3])
    assert len(equalise(CLIP[:7], np.array([3.0, -3.0, 1.0]))) == 7


@pytest.mark.parametrize(
    ("gains_db", "message"),
    [
        ([3], r"gains_db are at least two numbers, not \[3\]"),
        ([], r"gains_db are at least two numbers, not \[\]"),
        (3, "gains_db are at least two numbers, not 3"),
        ([3, math.nan], "each of gains_db is a finite number from -200 to 200, not nan"),
        ([3, 201], "each of gains_db is a finite number from -200 to 200, not 201"),
        ([3, "4"], "each of gains_db is .*, not '4'"),
    ],
)
def test_gains_that_are_none_are_refused(gains_db, message):
    with pytest.raises(FeatureError, match=f"^{message}$"):
        equalise(CLIP, gains_db)


def test_vtln_warps_are_uniform_around_1():
    rng = generator()
    warps = np.array([draw_vtln_warp(rng) for _ in range(20_000)])
    assert warps.min() == pytest.approx(0.9, abs=1e-3)
    assert warps.max() == pytest.approx(1.1, abs=1e-3)
    np.testing.assert_allclose(np.histogram(warps, 10, (0.9, 1.1))[0], 2000, atol=5 * math.sqrt(2000))
    assert 0.98 <= draw_vtln_warp(rng, 0.02) <= 1.02
    assert draw_vtln_warp(rng, spread=0) == 1


# SpecAugment

TIME_ONLY = {"n_frequency_masks": 0, "max_time_fraction": 1.0, "value": 99.0}
FREQUENCY_ONLY = {"n_time_masks": 0, "value": 99.0}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("value", [None, -7.5, np.arange(11) / 3], ids=["mean", "number", "per feature"])
def test_a_hidden_cell_has_the_value_and_every_other_is_untouched(value, seed, dtype):
    frames = FRAMES.astype(dtype)
    masked = spec_augment(frames, generator(seed), max_time_width=9, max_frequency_width=5, value=value)
    assert masked.dtype == dtype
    assert not np.shares_memory(masked, frames)
    fill = frames.mean(axis=0, dtype=np.float64) if value is None else value
    fill = np.broadcast_to(np.asarray(fill, dtype), frames.shape)
    touched = masked != frames
    np.testing.assert_array_equal(masked[touched], fill[touched])
    # What is hidden is whole frames and whole features, no more than two masks of each.
    rows, columns = touched.all(axis=1), touched.all(axis=0)
    np.testing.assert_array_equal(touched, rows[:, None] | columns[None, :])
    for line, width in ((rows, 7), (columns, 5)):  # 7: a fifth of 37
        starts = np.diff(np.concatenate([[0], line])) == 1
        assert starts.sum() <= 2
        assert line.sum() <= 2 * width


@pytest.mark.parametrize(
    ("axis", "settings", "size", "widest"),
    [
        (0, TIME_ONLY | {"n_time_masks": 1, "max_time_width": 6}, 37, 6),
        (0, TIME_ONLY | {"n_time_masks": 1, "max_time_width": 90}, 37, 37),
        (0, TIME_ONLY | {"n_time_masks": 1, "max_time_width": 90, "max_time_fraction": 0.2}, 37, 7),
        (1, FREQUENCY_ONLY | {"n_frequency_masks": 1, "max_frequency_width": 4}, 11, 4),
        (1, FREQUENCY_ONLY | {"n_frequency_masks": 1, "max_frequency_width": 50}, 11, 11),
    ],
)
def test_widths_are_uniform_from_0_to_the_largest_and_places_over_all_that_fit(axis, settings, size, widest):
    rng, n_draws = generator(), 4000
    placed = np.zeros((widest + 1, size + 1), int)
    for _ in range(n_draws):
        line = (spec_augment(FRAMES, rng, **settings) == 99).all(axis=1 - axis)
        placed[line.sum(), np.argmax(line)] += 1
    expected = n_draws / (widest + 1)
    np.testing.assert_allclose(placed.sum(axis=1), expected, atol=5 * math.sqrt(expected))
    for width in range(1, widest + 1):
        n_places = size - width + 1
        assert placed[width, n_places:].sum() == 0
        each = placed[width].sum() / n_places
        np.testing.assert_allclose(placed[width, :n_places], each, atol=5 * math.sqrt(each) + 3)


def test_the_first_and_the_last_frame_are_hidden_in_turn():
    rng = generator()
    lines = np.array([(spec_augment(FRAMES, rng, **TIME_ONLY) == 99).all(axis=1) for _ in range(500)])
    assert lines[:, 0].any()
    assert lines[:, -1].any()
    assert not lines.all(axis=0).any()


@pytest.mark.parametrize("n_masks", [1, 3, 5])
@pytest.mark.parametrize("axis", [0, 1])
def test_masks_are_as_many_as_asked_for(axis, n_masks):
    settings = TIME_ONLY | {"n_time_masks": n_masks, "max_time_width": 4}
    if axis == 1:
        settings = FREQUENCY_ONLY | {"n_frequency_masks": n_masks, "max_frequency_width": 4}
    rng, most = generator(), 0
    for _ in range(400):
        masked = spec_augment(np.zeros((200, 150)), rng, **settings)
        line = (masked == 99).all(axis=1 - axis)
        most = max(most, int((np.diff(np.concatenate([[0], line])) == 1).sum()))
    assert most == n_masks


@pytest.mark.parametrize(
    ("fraction", "n_frames", "widest"), [(0.29, 100, 29), (0.2, 4, 0), (0.2, 5, 1), (0.0, 50, 0), (1.0, 3, 3)]
)
def test_a_time_mask_is_no_wider_than_its_part_of_the_clip(fraction, n_frames, widest):
    rng = generator()
    settings = TIME_ONLY | {"n_time_masks": 1, "max_time_width": 1000, "max_time_fraction": fraction}
    widths = [
        (spec_augment(np.zeros((n_frames, 2)), rng, **settings) == 99).all(axis=1).sum() for _ in range(600)
    ]
    assert max(widths) == widest


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (6, 1)])
def test_one_frame_or_one_feature(shape):
    frames = np.full(shape, 3.0)
    for seed in range(30):
        masked = spec_augment(frames, generator(seed), max_time_fraction=1.0, value=99)
        assert masked.shape == shape
        assert np.isin(masked, [3, 99]).all()
        np.testing.assert_array_equal(spec_augment(frames, generator(seed), max_time_fraction=1.0), frames)


def test_no_masks_change_nothing():
    unmasked = spec_augment(FRAMES, generator(), n_time_masks=0, n_frequency_masks=0)
    np.testing.assert_array_equal(unmasked, FRAMES)


def test_log_mels_are_masked():
    frames = FeatureSettings(kind="log-mel", n_mels=23)(tone(700, RATE), RATE)
    masked = spec_augment(frames, generator(3))
    assert masked.dtype == frames.dtype
    assert 0 < (masked != frames).sum() < frames.size / 2


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros(5), r"frames: floats of shape \(T, F\) are wanted, not float64 \(5,\)"),
        (np.zeros((0, 5)), r"not float64 \(0, 5\)"),
        (np.zeros((5, 0)), r"not float64 \(5, 0\)"),
        (np.zeros((2, 3), int), r"not int64 \(2, 3\)"),
    ],
)
def test_what_is_no_features_is_refused(frames, message):
    with pytest.raises(FeatureError, match=message):
        spec_augment(frames, generator())


def test_a_value_of_the_wrong_shape_is_refused():
    with pytest.raises(FeatureError, match=r"one number or one per feature, 11, not of shape \(37,\)"):
        spec_augment(FRAMES, generator(), value=np.zeros(37))


# Mixup


@pytest.mark.parametrize("alpha", [0.2, 1, 8])
def test_mixup_weights_are_beta(alpha):
    rng = generator()
    weights = np.array([mixup_weight(rng, alpha) for _ in range(20_000)])
    assert weights.min() >= 0
    assert weights.max() <= 1
    variance = 1 / (4 * (2 * alpha + 1))
    assert weights.mean() == pytest.approx(0.5, abs=5 * math.sqrt(variance / 20_000))
    assert weights.var() == pytest.approx(variance, rel=0.05)


@pytest.mark.parametrize("alpha", [0.001, 1000])
def test_mixup_weights_at_either_end(alpha):
    rng = generator()
    weights = np.array([mixup_weight(rng, alpha) for _ in range(100)])
    assert np.isfinite(weights).all()
    assert (np.abs(weights - 0.5) > 0.4).all() == (alpha < 1)


def test_a_mixture_is_the_weighted_sum():
    np.testing.assert_array_equal(mix(np.array([4.0, 8]), np.array([0.0, -8]), 0.75), [3, 4])
    np.testing.assert_array_equal(mix(np.eye(3)[2], np.eye(3)[0], 0.75), [0.25, 0, 0.75])
    np.testing.assert_array_equal(mix(np.eye(3, dtype=int)[2], np.eye(3, dtype=int)[2], 0.3), [0, 0, 1])


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("tail", [(), (4,)])
def test_the_shorter_of_a_mixture_is_padded_with_zeros(tail, swapped):
    rng = generator()
    long, short = rng.standard_normal((7, *tail)), rng.standard_normal((5, *tail))
    mixed = mix(short, long, 0.3) if swapped else mix(long, short, 0.7)
    np.testing.assert_allclose(mixed[:5], 0.7 * long[:5] + 0.3 * short, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(mixed[5:], 0.7 * long[5:], rtol=1e-14)


def test_a_mixture_keeps_float32_whatever_the_weight_is():
    assert mix(np.ones(3, np.float32), np.zeros(4, np.float32), np.float64(0.5)).dtype == np.float32


@pytest.mark.parametrize(
    ("first", "second"), [((3,), (3, 2)), ((3, 4), (3, 2)), ((), ()), ((2, 3, 4), (2, 3, 5))]
)
def test_what_does_not_go_together_is_not_mixed(first, second):
    with pytest.raises(FeatureError, match="cannot be mixed; only their length, the first axis, may differ"):
        mix(np.zeros(first), np.zeros(second), 0.5)


# All together

EVERYTHING = Augmentation(
    speed=(0.9, 1.1), shift_ms=(-20, 20), equaliser_db=(-8, 8), snr_db=(3, 20), gain_db=(-9, 6)
)


def test_changes_come_in_the_documented_order():
    """Bounds that are equal leave only the excerpt to the generator."""
    augment = Augmentation(
        speed=(1.25, 1.25), shift_ms=(5, 5), snr_db=(7, 7), noises=[BABBLE], gain_db=(-6, -6)
    )
    augmented = augment(CLIP, RATE, generator())
    clean = time_shift(change_speed(CLIP, 1.25), 40)
    added = augmented / 10 ** (-6 / 20) - clean
    assert len(augmented) == math.ceil(1234 / 1.25)
    assert decibels(clean, added) == pytest.approx(7, abs=1e-5)
    assert len(starts_of(added, BABBLE)) == 1
    assert (added[:40] != 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_seed_gives_the_same_bits_and_another_does_not(dtype):
    clip = CLIP.astype(dtype)
    clip.flags.writeable = False
    augment = Augmentation(
        speed=(0.9, 1.1), shift_ms=(-20, 20), snr_db=(3, 20), gain_db=(-9, 6), probability=0.7
    )
    again = pickle.loads(pickle.dumps(augment))
    runs = [
        [change(clip, RATE, rng).tobytes() for _ in range(8)]
        for change, rng in ((augment, generator(5)), (again, generator(5)), (augment, generator(6)))
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert len(set(runs[0])) == 8
    assert augment(clip, RATE, generator()).dtype == dtype


def draw_everything(rng):
    yield add_noise(CLIP, BABBLE, 3, rng)
    yield coloured_noise(77, 1, rng)
    yield draw_vtln_warp(rng)
    yield spec_augment(FRAMES, rng)
    yield mixup_weight(rng)


def test_every_draw_is_the_generators():
    first, second, other = (list(draw_everything(generator(seed))) for seed in (3, 3, 4))
    for one, two, three in zip(first, second, other, strict=True):
        np.testing.assert_array_equal(one, two)
        assert not np.array_equal(one, three)


def test_nothing_is_on_by_default():
    assert Augmentation()(CLIP, RATE, generator()) is CLIP
    assert Augmentation(speed=(0.9, 1.1), gain_db=(3, 6), probability=0)(CLIP, RATE, generator()) is CLIP


def test_values_are_uniform_within_their_range():
    augment, rng = Augmentation(gain_db=(-6, 12)), generator()
    gains = [20 * np.log10(augment(np.ones(1), RATE, rng)[0]) for _ in range(9000)]
    np.testing.assert_allclose(np.histogram(gains, 9, (-6, 12))[0], 1000, atol=5 * math.sqrt(1000))


def test_shifts_are_in_ms_of_the_sample_rate():
    for rate, at in ((8000, 8), (44_100, 44)):
        clip = np.zeros(100)
        clip[0] = 1
        assert np.argmax(Augmentation(shift_ms=(1, 1))(clip, rate, generator())) == at


def test_each_change_happens_with_the_probability_on_its_own():
    augment, rng = Augmentation(shift_ms=(1, 1), gain_db=(20, 20), probability=0.3), generator()
    clip = np.zeros(100)
    clip[5] = 1
    counts = {}
    for _ in range(4000):
        changed = augment(clip, RATE, rng)
        case = (int(np.argmax(changed)), round(float(changed.max())))
        counts[case] = counts.get(case, 0) + 1
    for case, chance in {(5, 1): 0.49, (13, 1): 0.21, (5, 10): 0.21, (13, 10): 0.09}.items():
        assert counts[case] / 4000 == pytest.approx(chance, abs=0.04)


def test_every_noise_is_as_likely():
    noises = [np.array([1.0]), np.array([1.0, 2.0]), np.array([1.0, 3.0])]
    augment, rng = Augmentation(snr_db=(0, 0), noises=noises), generator()
    ratios = []
    for _ in range(900):
        added = augment(CLIP[:9], RATE, rng) - CLIP[:9]
        ratios.append(round(added.max() / added.min()))
    np.testing.assert_allclose(np.bincount(ratios), [0, 300, 300, 300], atol=5 * math.sqrt(300))


def test_coloured_noise_of_a_drawn_exponent_is_the_default_noise():
    augment = Augmentation(snr_db=(0, 0), exponent=(2, 2))
    clip, rng = tone(3900, 800), generator()
    spectra = [np.abs(np.fft.rfft(augment(clip, RATE, rng) - clip)) ** 2 for _ in range(400)]
    power = np.mean(spectra, axis=0)[1:300]
    assert np.polyfit(np.log(np.arange(1, 300)), np.log(power), 1)[0] == pytest.approx(-2, abs=0.05)


def test_six_gains_of_an_equaliser_are_drawn_each_for_itself():
    """Read off the response to an impulse, at the frequencies where they stand."""
    augment, rng = Augmentation(equaliser_db=(-9, 4)), generator()
    impulse = np.zeros(1025)
    impulse[512] = 1
    places = np.array(mel_hz(6, RATE))[:5]
    drawn = []
    for _ in range(600):
        response = augment(impulse, RATE, rng)
        spectrum = np.exp(-2j * np.pi * np.outer(places, np.arange(1025) - 512) / RATE) @ response
        drawn.append(20 * np.log10(np.abs(spectrum)))
    drawn = np.array(drawn)
    assert drawn.min() > -9.3
    assert drawn.max() < 4.3
    np.testing.assert_allclose(drawn.mean(axis=0), -2.5, atol=5 * 13 / math.sqrt(12 * 600))
    np.testing.assert_allclose(drawn.std(axis=0), 13 / math.sqrt(12), rtol=0.1)
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.eye(5), atol=0.2)


def test_tone_comes_after_the_shift_and_before_the_noise():
    augment = Augmentation(
        shift_ms=(5, 5), equaliser_db=(20, 20), snr_db=(7, 7), noises=[BABBLE], gain_db=(-6, -6)
    )
    added = augment(CLIP, RATE, generator()) / 10 ** (-6 / 20) - 10 * time_shift(CLIP, 40)
    assert decibels(10 * time_shift(CLIP, 40), added) == pytest.approx(7, abs=1e-5)
    assert len(starts_of(added, BABBLE)) == 1


def test_noise_that_is_made_up_lasts_a_second_and_is_repeated_without_a_seam():
    augment = Augmentation(snr_db=(3, 3), exponent=(1, 1))
    clip = tone(300, 2 * RATE + 777)
    added = augment(clip, RATE, generator()) - clip
    assert decibels(clip, added) == pytest.approx(3, abs=1e-5)
    np.testing.assert_allclose(added[RATE:], added[:-RATE], atol=1e-6)
    for shorter in (1, 2, 400, 4000):
        other = np.abs(added[shorter:] - added[:-shorter]).max()
        assert other > 0.1 * np.abs(added).max(), "not sooner"
    # A clip of less has noise of its own length.
    clip = tone(300, 800)
    added = augment(clip, RATE, generator()) - clip
    assert decibels(clip, added) == pytest.approx(3, abs=1e-5)
    spectrum = np.abs(np.fft.rfft(added))
    assert spectrum[0] < 1e-5 * spectrum.max(), "all of it, as its mean is 0"


def test_what_makes_an_augmentation_again_is_what_json_holds():
    augment = Augmentation(
        speed=np.array([0.9, 1.1]),
        equaliser_db=(-3, np.float32(5)),
        snr_db=[4, 9],
        probability=np.float64(0.75),
    )
    plain = augmentation_to_dict(augment)
    assert json.loads(json.dumps(plain)) == plain
    assert plain == {
        "speed": [0.9, 1.1],
        "shift_ms": None,
        "equaliser_db": [-3.0, 5.0],
        "snr_db": [4.0, 9.0],
        "exponent": [0.0, 2.0],
        "gain_db": None,
        "probability": 0.75,
    }
    first, second = (a(CLIP, RATE, generator(4)) for a in (augment, Augmentation(**plain)))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("seed", range(9))
def test_a_clip_of_one_sample_survives_everything(seed):
    assert np.isfinite(EVERYTHING(np.ones(1), RATE, generator(seed))).all()


def test_bounds_may_be_an_array():
    augment = Augmentation(gain_db=np.array([20.0, 20.0]))
    np.testing.assert_allclose(augment(CLIP, RATE, generator()), 10 * CLIP, rtol=1e-12)


def test_the_example_gives_what_it_shows():
    results = doctest.testmod(features.augmentation)
    assert (results.attempted, results.failed) == (6, 0)


# What is refused


@pytest.mark.parametrize(
    "call",
    [
        lambda samples: add_noise(samples, BABBLE, 5, generator()),
        lambda samples: gain(samples, 5),
        lambda samples: time_shift(samples, 5),
        lambda samples: change_speed(samples, 1.1),
        lambda samples: equalise(samples, [3, -3]),
        lambda samples: Augmentation()(samples, RATE, generator()),
    ],
    ids=["add_noise", "gain", "time_shift", "change_speed", "equalise", "Augmentation"],
)
def test_samples_that_are_no_sound_are_refused(call):
    for samples, message in [
        (np.zeros((2, 9)), "samples: one channel"),
        (np.zeros(9, np.int16), "samples: int16 samples"),
        (np.zeros(0), "samples: holds no samples"),
        (np.array([0, np.nan]), "samples: 1 of 2 samples are NaN"),
    ]:
        with pytest.raises(AudioError, match=message):
            call(samples)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: add_noise(CLIP, BABBLE, 201, generator()),
            "snr_db is a finite number from -200 to 200, not 201",
        ),
        (lambda: add_noise(CLIP, BABBLE, math.inf, generator()), "snr_db is .*, not inf"),
        (lambda: gain(CLIP, math.nan), "gain_db is a finite number from -200 to 200, not nan"),
        (lambda: gain(CLIP, "3"), "gain_db is .*, not '3'"),
        (lambda: coloured_noise(1, 0, generator()), "n_samples is a whole number from 2 on, not 1"),
        (lambda: coloured_noise(9.0, 0, generator()), r"n_samples is a whole number from 2 on, not 9\.0"),
        (lambda: coloured_noise(9, 11, generator()), "exponent is a finite number from -10 to 10, not 11"),
        (lambda: time_shift(CLIP, 0.5), r"n_shift is a whole number, not 0\.5"),
        (lambda: change_speed(CLIP, 0.49), r"factor is a finite number from 0\.5 to 2, not 0\.49"),
        (lambda: change_speed(CLIP, 2.01), r"factor is a finite number from 0\.5 to 2, not 2\.01"),
        (lambda: draw_vtln_warp(generator(), 0.6), r"spread is a finite number from 0 to 0\.5, not 0\.6"),
        (lambda: mixup_weight(generator(), 0), r"alpha is a finite number from 0\.001 to 1000, not 0"),
        (lambda: mix(CLIP, CLIP, 1.5), r"weight is a finite number from 0 to 1, not 1\.5"),
        (lambda: EVERYTHING(CLIP, 0, generator()), "sample_rate is a finite number from 1 on, not 0"),
    ],
)
def test_an_amount_out_of_range_is_refused(call, message):
    with pytest.raises(FeatureError, match=f"^{message}$"):
        call()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"n_time_masks": -1}, "n_time_masks is a whole number from 0 on, not -1"),
        ({"max_time_width": 2.5}, r"max_time_width is a whole number from 0 on, not 2\.5"),
        ({"max_time_fraction": 1.1}, r"max_time_fraction is a finite number from 0 to 1, not 1\.1"),
        ({"n_frequency_masks": None}, "n_frequency_masks is a whole number from 0 on, not None"),
        ({"max_frequency_width": -3}, "max_frequency_width is a whole number from 0 on, not -3"),
    ],
)
def test_masks_out_of_range_are_refused(setting, message):
    with pytest.raises(FeatureError, match=f"^{message}$"):
        spec_augment(FRAMES, generator(), **setting)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"speed": (0.4, 1.1)}, r"each bound of speed is a finite number from 0\.5 to 2, not 0\.4"),
        ({"speed": 1.1}, r"speed is a pair \(lowest, highest\), not 1\.1"),
        ({"speed": (1, 1.1, 1.2)}, r"speed is a pair \(lowest, highest\), not \(1, 1\.1, 1\.2\)"),
        ({"exponent": None}, r"exponent is a pair \(lowest, highest\), not None"),
        (
            {"shift_ms": (-math.inf, 5)},
            r"each bound of shift_ms is a finite number from -1e\+09 to 1e\+09, not -inf",
        ),
        (
            {"shift_ms": (-1e308, 1e308)},
            r"each bound of shift_ms is a finite number from .* to 1e\+09, not -1e\+308",
        ),
        ({"snr_db": (20, 5)}, r"snr_db is a pair \(lowest, highest\), not \(20, 5\); swap them"),
        ({"snr_db": (5, 500)}, "each bound of snr_db is a finite number from -200 to 200, not 500"),
        ({"exponent": (-11, 0)}, "each bound of exponent is a finite number from -10 to 10, not -11"),
        ({"equaliser_db": (6, -6)}, r"equaliser_db is a pair \(lowest, highest\), not \(6, -6\); swap them"),
        (
            {"equaliser_db": (0, 201)},
            "each bound of equaliser_db is a finite number from -200 to 200, not 201",
        ),
        ({"gain_db": (math.nan, 0)}, "each bound of gain_db is a finite number from -200 to 200, not nan"),
        ({"probability": 1.5}, r"probability is a finite number from 0 to 1, not 1\.5"),
        ({"noises": [BABBLE, np.zeros(7)]}, r"noises\[1\]: all samples are 0; leave it out"),
        ({"noises": [np.zeros((2, 7))]}, r"noises\[0\]: one channel .*; average the channels"),
        ({"noises": BABBLE}, r"noises\[0\]: one channel .*; average the channels"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings, message):
    with pytest.raises(FeatureError, match=f"^{message}$"):
        Augmentation(**settings)
