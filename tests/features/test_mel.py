"""The mel scale has its anchors; the filterbank is librosa's, of unit area, and refuses what does not fit."""

import librosa
import numpy as np
import pytest

from features import FeatureError, FeatureSettings, hz_to_mel, mel_filterbank, mel_to_hz, preset
from features.mel import warp


def bank_of(sample_rate, n_fft, n_mels, f_min_hz=0, f_max_hz=None, **settings):
    band = {"n_mels": n_mels, "f_min_hz": f_min_hz, "f_max_hz": f_max_hz}
    settings = FeatureSettings(kind="log-mel", frame_length=1, hop_length=1, n_fft=n_fft, **band, **settings)
    return mel_filterbank(settings, sample_rate)


# Scales


def test_the_mel_scale_has_slaneys_anchors():
    hz = [0, 200 / 3, 400, 1000, 6400, 1000 * 6.4 ** (2 / 27)]
    mel = [0, 1, 6, 15, 42, 17]
    np.testing.assert_allclose(hz_to_mel(hz), mel, rtol=1e-14)
    np.testing.assert_allclose(mel_to_hz(mel), hz, rtol=1e-14)


def test_htks_mel_scale_has_its_anchors():
    hz = [0, 700, 700 * (np.e - 1), 700 * (np.e**2 - 1)]
    mel = [0, 1127 * np.log(2), 1127, 2254]
    np.testing.assert_allclose(hz_to_mel(hz, "htk"), mel, rtol=1e-14)
    np.testing.assert_allclose(mel_to_hz(mel, "htk"), hz, rtol=1e-14)
    np.testing.assert_allclose(hz_to_mel(1000.0, "htk"), 1000, rtol=2e-5)  # what the scale is made for


def test_htks_mel_scale_in_decimal_logarithms_differs_by_a_constant_factor_of_5e_6():
    hz = np.linspace(1, 24_000, 1001)
    ratio = 2595 * np.log10(1 + hz / 700) / hz_to_mel(hz, "htk")
    np.testing.assert_allclose(ratio, 2595 / np.log(10) / 1127, rtol=1e-13)
    assert ratio[0] - 1 == pytest.approx(-5e-6, rel=0.1)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_mel_to_hz_undoes_hz_to_mel(scale):
    hz = np.linspace(0, 24_000, 1001)
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz, scale), scale), hz, rtol=1e-13)


# Filters


def test_a_filterbank_below_1_khz_is_what_a_hand_draws():
    # Edges 0, 200, ..., 1000 Hz; a bin every 100 Hz; triangles 400 Hz wide, so 1 / 200 high.
    triangle = np.array([0.5, 1, 0.5]) / 200
    by_hand = np.zeros((4, 11))
    for band in range(4):
        by_hand[band, 2 * band + 1 : 2 * band + 4] = triangle
    np.testing.assert_allclose(bank_of(2000, 20, 4), by_hand, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(bank_of(2000, 20, 4), by_hand, rtol=1e-12, atol=1e-17)
    np.testing.assert_allclose(bank_of(2000, 20, 4, mel_norm="none"), by_hand * 200, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("norm", ["slaney", "none"])
@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize(
    ("sample_rate", "n_fft", "n_mels", "f_min_hz", "f_max_hz"),
    [
        (22_050, 2048, 128, 0, None),
        (16_000, 512, 40, 0, None),
        (16_000, 512, 23, 64, 7600),
        (16_000, 401, 20, 100, 8000),
        (8000, 256, 26, 0, 4000),
        (48_000, 2048, 80, 20, 16_000),
    ],
)
@pytest.mark.filterwarnings("ignore:Empty filters")
def test_the_filterbank_is_librosas(sample_rate, n_fft, n_mels, f_min_hz, f_max_hz, scale, norm):
    ours = {"mel_scale": scale, "mel_norm": norm, "allow_empty_bands": True}
    reference = librosa.filters.mel(
        sr=sample_rate,
        n_fft=n_fft,
        n_mels=n_mels,
        fmin=f_min_hz,
        fmax=f_max_hz,
        htk=scale == "htk",
        norm=None if norm == "none" else norm,
        dtype=np.float64,
    )
    bank = bank_of(sample_rate, n_fft, n_mels, f_min_hz, f_max_hz, **ours)
    assert bank.dtype == np.float64
    # librosa's HTK scale, 2595 log10(1 + f / 700), has the same edges but for rounding, when evenly spaced.
    np.testing.assert_allclose(bank, reference, rtol=1e-9, atol=1e-11 * reference.max())
    single = bank_of(sample_rate, n_fft, n_mels, f_min_hz, f_max_hz, **ours, mel_float32=True)
    assert (single == single.astype(np.float32)).all()
    assert (single != bank).any()
    np.testing.assert_allclose(single, reference, rtol=1e-6, atol=1e-9)


def test_every_band_has_unit_area_over_hz():
    areas = bank_of(16_000, 2**15, 40).sum(axis=1) * (16_000 / 2**15)
    np.testing.assert_allclose(areas, 1, rtol=1e-4)


@pytest.mark.parametrize("slopes", ["hz", "mel"])
def test_triangles_of_height_1_add_up_to_1_between_the_outer_bands(slopes):
    bank = bank_of(16_000, 2048, 23, mel_scale="htk", mel_norm="none", mel_slopes=slopes)
    first, last = bank[0].argmax() + 1, bank[-1].argmax()
    np.testing.assert_allclose(bank[:, first:last].sum(axis=0), 1, rtol=1e-12)


def test_a_triangle_straight_in_mel_is_what_a_hand_computes():
    # Two bands between 0 and 2700 mel of HTK: edges 0, 900, 1800, 2700 mel.
    f_max = float(mel_to_hz(2700, "htk"))
    scale = {"mel_scale": "htk", "mel_norm": "none", "mel_slopes": "mel"}
    mel = hz_to_mel(np.arange(33) * 250, "htk")
    bank = bank_of(16_000, 64, 2, 0, f_max, **scale)
    rising = [np.clip(1 - np.abs(mel - centre) / 900, 0, None) for centre in (900, 1800)]
    np.testing.assert_allclose(bank, rising, rtol=1e-12, atol=1e-12)
    in_hz = bank_of(16_000, 64, 2, 0, f_max, **scale | {"mel_slopes": "hz"})
    assert np.abs(in_hz - bank).max() > 0.05


def test_triangles_between_whole_bins_are_what_a_hand_draws():
    # Edges 0, 200, ..., 800 Hz at 2000 Hz and 20 points: 21 * edge / 2000 is 0, 2.1, 4.2, 6.3, 8.4.
    bank = bank_of(2000, 20, 3, 0, 800, mel_norm="none", mel_slopes="bins")
    by_hand = np.zeros((3, 11))
    for band in range(3):
        by_hand[band, 2 * band + 1 : 2 * band + 4] = [0.5, 1, 0.5]
    np.testing.assert_allclose(bank, by_hand, rtol=1e-14)


def test_of_two_whole_edges_that_are_one_there_is_one_side_left():
    # Edges 0, 40, 80, 120, 160 Hz: bins 0, 0, 0, 1, 1.
    bank = bank_of(2000, 20, 3, 0, 160, mel_norm="none", mel_slopes="bins", allow_empty_bands=True)
    np.testing.assert_array_equal(bank[:, :3], [[0, 0, 0], [1, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    ("f_min_hz", "f_max_hz", "kept"),
    [  # bins are 31.25 Hz apart, and HTK counts them from 1
        (0, None, range(1, 256)),  # from int(2.5) = 2, to int(256.5) = 256
        (40, 7600, range(2, 243)),  # from int(3.78) = 3, to int(243.7) = 243
        (64, 7620, range(3, 244)),  # from int(4.548) = 4, to int(244.34) = 244
        (46.8, 3000, range(2, 96)),  # from int(3.9976) = 3, to int(96.5) = 96
        (46.9, 2984, range(3, 95)),  # from int(4.0008) = 4, to int(95.99) = 95
    ],
)
def test_htk_leaves_out_the_bins_around_the_edges(f_min_hz, f_max_hz, kept):
    plain = bank_of(16_000, 512, 9, f_min_hz, f_max_hz, mel_scale="htk", mel_norm="none")
    skipped = bank_of(
        16_000, 512, 9, f_min_hz, f_max_hz, mel_scale="htk", mel_norm="none", htk_skip_bins=True
    )
    expected = np.zeros_like(plain)
    expected[:, kept] = plain[:, kept]
    np.testing.assert_array_equal(skipped, expected)


# Warps


def piecewise(hz, factor, low, high, f_min, f_max, kind):
    """The published formulas for one frequency."""
    if kind == "kaldi":
        lower, upper = low * max(1, factor), high * min(1, factor)
    else:
        lower, upper = 2 * low / (1 + 1 / factor), 2 * high / (1 + 1 / factor)
    if hz < lower:
        return f_min + (lower / factor - f_min) / (lower - f_min) * (hz - f_min)
    if hz < upper:
        return hz / factor
    return f_max + (f_max - upper / factor) / (f_max - upper) * (hz - f_max)


@pytest.mark.parametrize("kind", ["kaldi", "htk"])
@pytest.mark.parametrize("factor", [0.8, 0.93, 1, 1.07, 1.25])
def test_a_warp_is_what_the_formulas_say(factor, kind):
    settings = FeatureSettings(
        f_min_hz=30, f_max_hz=7700, vtln_warp=factor, vtln_low_hz=110, vtln_high_hz=5900, vtln_kind=kind
    )
    hz = np.linspace(30, 7700, 1001)
    by_formula = [piecewise(f, factor, 110, 5900, 30, 7700, kind) for f in hz]
    warped = warp(hz, settings, 16_000)
    np.testing.assert_allclose(warped, by_formula, rtol=1e-12)
    assert (warped[0], warped[-1]) == (30, 7700)
    assert (np.diff(warped) > 0).all()


def test_a_longer_vocal_tract_has_its_bands_at_lower_frequencies():
    plain, warped = (
        bank_of(16_000, 2048, 20, 20, vtln_warp=factor).argmax(axis=1).astype(float) for factor in (1, 1.2)
    )
    np.testing.assert_allclose(warped[3:-4], plain[3:-4] / 1.2, atol=1.5)


def test_the_warp_ends_500_hz_below_half_the_sample_rate():
    told = bank_of(16_000, 512, 20, 20, vtln_warp=0.9, vtln_high_hz=7500)
    np.testing.assert_array_equal(bank_of(16_000, 512, 20, 20, vtln_warp=0.9), told)
    other = bank_of(16_000, 512, 20, 20, vtln_warp=0.9, vtln_high_hz=7400)
    assert not np.array_equal(other, told)


@pytest.mark.parametrize("slopes", ["hz", "mel", "bins"])
def test_a_warped_filterbank_has_its_edges_warped(slopes):
    settings = preset("kaldi", vtln_warp=1.15, mel_slopes=slopes)
    edges = mel_to_hz(np.linspace(*hz_to_mel([20, 8000], "htk"), 25), "htk")
    edges = [piecewise(f, 1.15, 100, 7500, 20, 8000, "kaldi") for f in edges]
    bins = np.arange(257.0)
    if slopes == "bins":
        at, edges = bins, np.floor(513 * np.array(edges) / 16_000)
    else:
        scale = (lambda f: hz_to_mel(f, "htk")) if slopes == "mel" else np.asarray
        at, edges = scale(bins * 31.25), scale(edges)
    by_hand = [np.interp(at, edges[m : m + 3], [0, 1, 0]) for m in range(23)]
    np.testing.assert_allclose(mel_filterbank(settings, 16_000), by_hand, rtol=0, atol=1e-12)


# What is refused


@pytest.mark.parametrize(("f_min_hz", "f_max_hz"), [(0, 8001), (4000, 8001), (8000, None)])
def test_edges_that_do_not_fit_are_refused(f_min_hz, f_max_hz):
    named = (
        f"^mel bands from {f_min_hz} to {f_max_hz or 8000} Hz do not fit a sample rate of 16000 Hz; "
        "0 <= f_min_hz < f_max_hz <= 8000 is needed$"
    )
    with pytest.raises(FeatureError, match=named):
        bank_of(16_000, 512, 40, f_min_hz, f_max_hz)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ((-1, None), "f_min_hz is a number from 0 on, not -1"),
        ((0, 0), "f_max_hz is a positive number, not 0"),
    ],
)
def test_edges_that_fit_no_sample_rate_are_refused(edges, message):
    with pytest.raises(FeatureError, match=message):
        bank_of(16_000, 512, 40, *edges)


def test_bands_without_a_bin_are_refused():
    # Bins are 62.5 Hz apart; the lowest of 128 bands ends at 44 Hz.
    with pytest.raises(
        FeatureError,
        match=r"^128 mel bands are too many for 256 FFT points at 16000 Hz: band 0 holds no frequency bin;",
    ):
        bank_of(16_000, 256, 128)


def test_bands_without_a_bin_are_allowed_when_asked_for():
    bank = bank_of(16_000, 256, 128, allow_empty_bands=True)
    assert not bank[0].any()
    assert bank[5].any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"f_min_hz": 125},
            "^a warp of 1.2 between 120 and 7500 Hz does not fit bands from 125 to 8000 Hz; ch",
        ),
        ({"f_max_hz": 7500}, "^a warp of 1.2 between 120 and 7500 Hz does not fit bands from 0 to 7500 Hz"),
        ({"vtln_low_hz": 5000, "vtln_high_hz": 5500}, "between 6000 and 5500 Hz does not fit"),
        ({"vtln_kind": "htk"}, "^a warp of 1.2 between 109.091 and 8181.82 Hz does not fit"),
        ({"vtln_low_hz": 0}, "between 0 and 7500 Hz does not fit"),
    ],
)
def test_a_warp_that_does_not_fit_the_bands_is_refused(settings, message):
    settings = FeatureSettings(vtln_warp=1.2, **settings)
    with pytest.raises(FeatureError, match=message):
        settings(np.zeros(900), 16_000)
