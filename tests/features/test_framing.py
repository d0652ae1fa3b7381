"""Frames begin where their kind says, up to and beyond the ends; windows are scipy's."""

import numpy as np
import pytest
from scipy.signal import get_window

from features import FeatureError, FeatureSettings, preset
from features.framing import (
    check_length,
    count_frames,
    cut,
    dither,
    draw_dither,
    emphasise,
    first_sample,
    scale,
    stretch,
    window,
)

FRAMINGS = ["centred", "whole-frames", "pad-end", "mirrored"]
NOISE = np.random.default_rng(0).standard_normal(53)
NOISE.flags.writeable = False


def framed(framing, frame=10, hop=4, **settings):
    return FeatureSettings(framing=framing, frame_length=frame, hop_length=hop, **settings)


# Which frames


@pytest.mark.parametrize(
    ("settings", "n_samples", "first", "count"),
    [
        # A transform of 16 is centred on 0, 4, ...: it begins at -8, and the frame of 10 in it 3 later.
        (framed("centred"), 23, -5, 6),
        (framed("centred"), 24, -5, 7),
        (framed("centred"), 1, -5, 1),
        (framed("centred", n_fft=17), 24, -5, 6),  # an odd one begins at -8 too, and ends a sample later
        (framed("centred", n_fft=17), 25, -5, 7),
        (framed("centred", frame=9, n_fft=17), 25, -4, 7),
        (framed("whole-frames"), 9, 0, 0),
        (framed("whole-frames"), 10, 0, 1),
        (framed("whole-frames"), 13, 0, 1),
        (framed("whole-frames"), 14, 0, 2),
        (framed("whole-frames", frame=3, hop=7), 16, 0, 2),
        (framed("pad-end"), 1, 0, 1),
        (framed("pad-end"), 10, 0, 1),
        (framed("pad-end"), 11, 0, 2),
        (framed("pad-end"), 14, 0, 2),
        (framed("pad-end"), 15, 0, 3),
        (framed("mirrored"), 1, -3, 0),  # centred on 2, 6, ...
        (framed("mirrored"), 2, -3, 1),
        (framed("mirrored"), 5, -3, 1),
        (framed("mirrored"), 6, -3, 2),
        (framed("mirrored", frame=11), 6, -3, 2),  # 11 samples around the third, at 2
        (framed("mirrored", frame=11, hop=5), 7, -3, 1),
        (framed("mirrored", frame=11, hop=5), 8, -3, 2),
    ],
)
def test_frames_are_counted_by_hand(settings, n_samples, first, count):
    assert first_sample(settings, None) == first
    assert count_frames(n_samples, settings, None) == count


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_sample_more_or_a_frame_more_and_never_less(framing):
    counts = [count_frames(n, framed(framing, 11, 5), None) for n in range(1, 100)]
    assert set(np.diff(counts)) == {0, 1}
    assert counts[-1] - counts[-6] == 1


@pytest.mark.parametrize("framing", FRAMINGS)
def test_frames_of_a_ramp_are_its_stretches(framing):
    settings = framed(framing)
    ramp = np.arange(1.0, 60)
    first, count = first_sample(settings, None), count_frames(59, settings, None)
    frames = cut(stretch(ramp, first, first + (count - 1) * 4 + 10, settings), 10, 4)
    assert frames.shape == (count, 10)
    np.testing.assert_array_equal(frames[3], np.arange(10) + first + 12 + 1)


# Beyond the ends


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        (framed("centred"), "constant"),
        (framed("centred", pad_mode="reflect"), "reflect"),
        (framed("centred", pad_mode="edge"), "edge"),
        (framed("pad-end"), "constant"),
        (framed("mirrored"), "symmetric"),
    ],
)
@pytest.mark.parametrize("n", [53, 7, 2, 1])
def test_a_stretch_is_what_numpy_pads(settings, mode, n):
    signal = NOISE[:n]
    padded = np.pad(signal, 90, mode=mode)
    for low, high in [(-8, n + 5), (-80, n + 77), (-8, n), (-8, 1), (0, n + 5), (n - 1, n + 9), (0, n)]:
        np.testing.assert_array_equal(stretch(signal, low, high, settings), padded[low + 90 : high + 90])
    for low, high in [(-20, -3), (n + 2, n + 19), (-9, 0), (n, n + 9)]:  # no sample of the signal
        np.testing.assert_array_equal(stretch(signal, low, high, settings), padded[low + 90 : high + 90])


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_stretch_within_the_signal_is_a_view_of_it(framing):
    assert np.shares_memory(stretch(NOISE, 3, 50, framed(framing)), NOISE)


def test_the_last_sample_is_repeated_where_the_signal_is_mirrored_and_not_where_it_is_reflected():
    signal = np.array([1.0, 2, 3])
    mirrored = stretch(signal, -2, 5, framed("mirrored"))
    np.testing.assert_array_equal(mirrored, [2, 1, 1, 2, 3, 3, 2])
    reflected = stretch(signal, -2, 5, framed("centred", pad_mode="reflect"))
    np.testing.assert_array_equal(reflected, [3, 2, 1, 2, 3, 2, 1])


def test_a_stretch_keeps_float32():
    for settings in (framed("centred"), framed("mirrored"), framed("centred", pad_mode="edge")):
        assert stretch(NOISE.astype(np.float32), -3, 60, settings).dtype == np.float32


# The whole signal


def test_a_signal_with_nothing_to_do_is_left_alone():
    of_frames = FeatureSettings(pre_emphasis=0.9)
    assert emphasise(scale(NOISE, of_frames), of_frames) is NOISE


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_signal_is_scaled_then_gets_noise_and_then_emphasis(dtype):
    samples, noise = np.array([1, -2, 5], dtype), np.array([0.5, 0, -1], dtype)
    settings = FeatureSettings(sample_scale=4, dither=1, pre_emphasis=0.5, pre_emphasis_of="signal")
    scaled = scale(samples, settings, noise)
    found = emphasise(scaled, settings)
    assert scaled.dtype == found.dtype == dtype
    np.testing.assert_array_equal(scaled, [4.5, -8, 19])
    np.testing.assert_array_equal(found, [4.5, -10.25, 23])
    np.testing.assert_array_equal(emphasise(scaled[1:], settings, before=4.5), found[1:])
    assert len(emphasise(scaled[:0], settings)) == 0


@pytest.mark.parametrize(("of", "by_hand"), [("frame", [0.5, 2.5, 0.5]), ("signal", [1, 2.5, 0.5])])
def test_the_first_sample_is_emphasised_in_a_frame_and_not_in_the_signal(of, by_hand):
    settings = framed(
        "whole-frames", 3, 3, n_fft=4, kind="log-spectrogram", log="none", window="rectangular", top_db=None
    )
    emphasised = settings.change(pre_emphasis=0.5, pre_emphasis_of=of)(np.array([1.0, 3, 2]), 8000)
    np.testing.assert_allclose(emphasised, settings(np.array(by_hand, np.float64), 8000), rtol=1e-13)


def test_the_mean_is_taken_from_each_frame():
    settings = framed("whole-frames", 20, 7, kind="log-spectrogram", log="none", window="rectangular")
    frames = np.lib.stride_tricks.sliding_window_view(NOISE, 20)[::7]
    power = np.abs(np.fft.rfft(frames - frames.mean(axis=1, keepdims=True), 32)) ** 2
    found = settings.change(remove_dc=True)(NOISE, 8000)
    np.testing.assert_allclose(found, power, rtol=1e-11, atol=1e-11)
    assert found[:, 0].max() < 1e-25
    assert settings(NOISE, 8000)[:, 0].max() > 1


def test_dither_is_white_gaussian_noise_of_the_standard_deviation_told():
    settings = FeatureSettings(dither=0.3, dither_seed=5)
    noise = draw_dither(dither(settings), 40_000, settings, np.dtype(np.float32))
    assert noise.dtype == np.float32
    assert np.std(noise) == pytest.approx(0.3, rel=0.02)
    assert abs(noise.mean()) < 0.01
    assert np.mean(np.abs(noise) < 0.3) == pytest.approx(0.6827, abs=0.01)
    assert abs(np.mean(noise[1:] * noise[:-1])) < 0.003


def test_dither_comes_in_pieces_as_at_once_and_from_its_seed():
    settings = FeatureSettings(dither=0.3, dither_seed=5)
    at_once = draw_dither(dither(settings), 30, settings, np.dtype(np.float64))
    rng = dither(settings)
    pieces = [draw_dither(rng, n, settings, np.dtype(np.float64)) for n in (7, 0, 23)]
    np.testing.assert_array_equal(np.concatenate(pieces), at_once)
    other = settings.change(dither_seed=6)
    assert not np.array_equal(draw_dither(dither(other), 30, other, np.dtype(np.float64)), at_once)
    assert dither(FeatureSettings()) is None


def test_dither_is_of_the_scaled_samples():
    settings = FeatureSettings(
        kind="log-spectrogram", log="none", sample_scale=100, dither=2, window="rectangular"
    )
    power = settings(np.zeros(64_000), 16_000)[3:-3]
    assert power.mean() == pytest.approx(400 * 2**2, rel=0.02)  # Parseval: 400 samples of variance 4


# Windows


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("length", [1, 2, 7, 400, 551])
@pytest.mark.parametrize(
    ("name", "scipys"), [("hann",) * 2, ("hamming",) * 2, ("blackman",) * 2, ("rectangular", "boxcar")]
)
def test_windows_are_scipys(name, scipys, length, symmetric):
    found = window(FeatureSettings(window=name, window_symmetric=symmetric), length)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, get_window(scipys, length, fftbins=not symmetric), rtol=0, atol=1e-15)


@pytest.mark.parametrize("symmetric", [False, True])
def test_poveys_window_is_the_hann_window_to_the_power_of_0_85(symmetric):
    found = window(FeatureSettings(window="povey", window_symmetric=symmetric), 9)
    hann = get_window("hann", 9, fftbins=not symmetric)
    np.testing.assert_allclose(found, hann**0.85, rtol=0, atol=1e-14)


# What is refused


LEAST = {"centred": 1, "whole-frames": 200, "pad-end": 1, "mirrored": 40}  # for a frame of 200 every 80


@pytest.mark.parametrize(
    ("framing", "n_samples"),
    [("whole-frames", 199), ("whole-frames", 1), ("mirrored", 39), ("mirrored", 1)],
)
def test_a_clip_without_a_frame_is_refused(framing, n_samples):
    settings = FeatureSettings(framing=framing)
    for call in (
        lambda: settings(np.zeros(n_samples), 8000),
        lambda: check_length(n_samples, settings, 8000),
    ):
        with pytest.raises(FeatureError) as caught:
            call()
        of = "of 200" if framing == "whole-frames" else "with its middle in the clip"
        assert str(caught.value) == (
            f"{n_samples} samples hold no frame {of}; use a longer clip, or "
            'framing="pad-end" or "centred", which fill up with zeros'
        )


@pytest.mark.parametrize("framing", FRAMINGS)
def test_the_shortest_clip_with_a_frame_is_accepted(framing):
    settings = preset("kaldi").change(framing=framing)
    assert settings(NOISE.repeat(4)[: LEAST[framing]], 8000).shape == (1, 13)
