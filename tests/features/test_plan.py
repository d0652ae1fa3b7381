"""What settings and a sample rate determine: worked out once, shared read-only, columns in their order."""

import numpy as np
import pytest

from features import FeatureError, FeatureSettings, mel_filterbank, preset
from features.cepstrum import cepstral_matrix
from features.extraction import Frames, columns
from features.framing import window
from features.plan import plan


def test_a_plan_holds_what_the_settings_mean():
    settings = FeatureSettings(n_mels=20, window="povey")
    found = plan(settings, 8000)
    assert (found.frame_length, found.hop_length, found.n_fft, found.first) == (200, 80, 256, -100)
    assert (found.settings, found.sample_rate) == (settings, 8000)
    assert (found.n_bands, found.n_static) == (20, 13)
    np.testing.assert_array_equal(found.window, window(settings, 200))
    np.testing.assert_array_equal(found.bank, mel_filterbank(settings, 8000))


def test_a_plan_is_worked_out_once():
    assert plan(FeatureSettings(n_mels=20), 8000) is plan(FeatureSettings(n_mels=20), 8000)
    assert plan(FeatureSettings(n_mels=20), 16_000) is not plan(FeatureSettings(n_mels=20), 8000)


def test_shared_arrays_cannot_be_written_to():
    found = plan(FeatureSettings(), 16_000)
    for array in (found.bank, found.window, found.columns):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_bins_are_the_bands_of_a_spectrogram():
    found = plan(FeatureSettings(kind="log-spectrogram"), 16_000)
    assert (found.bank, found.columns) == (None, None)
    assert (found.n_bands, found.n_static) == (257, 257)


def test_log_mel_without_energy_has_the_bands_as_columns():
    found = plan(FeatureSettings(kind="log-mel", n_mels=21), 16_000)
    assert found.columns is None
    assert found.n_static == 21


BANDS = np.random.default_rng(0).standard_normal(12)  # eleven bands, and the energy


@pytest.mark.parametrize(
    ("energy", "level", "order"),
    [  # of the cepstra 0 .. 4, and the energy, 5
        ("none", "first", [0, 1, 2, 3, 4]),
        ("none", "last", [1, 2, 3, 4, 0]),
        ("none", "dropped", [1, 2, 3, 4]),
        ("raw", "first", [5, 1, 2, 3, 4]),
        ("raw", "last", [1, 2, 3, 4, 5]),
    ],
)
def test_cepstra_are_in_the_order_told(energy, level, order):
    settings = FeatureSettings(n_mels=11, n_mfcc=5, energy=energy, level=level)
    all_columns = np.append(BANDS[:11] @ cepstral_matrix(settings), BANDS[11])
    np.testing.assert_allclose(BANDS @ plan(settings, 16_000).columns, all_columns[order], rtol=1e-12)


@pytest.mark.parametrize(("level", "order"), [("first", [11, *range(11)]), ("last", [*range(12)])])
def test_the_energy_is_beside_the_bands_where_told(level, order):
    settings = FeatureSettings(kind="log-mel", n_mels=11, energy="windowed", level=level)
    found = columns(plan(settings, 16_000), Frames(BANDS[None, :11], BANDS[11:]))
    np.testing.assert_array_equal(found[0], BANDS[order])
    settings = FeatureSettings(
        kind="log-spectrogram", frame_length=20, hop_length=7, energy="raw", level=level
    )
    order = [17, *range(17)] if level == "first" else list(range(18))
    found = plan(settings, 16_000)
    assert found.n_static == 18
    np.testing.assert_array_equal(columns(found, Frames(np.arange(17.0)[None], np.array([17.0])))[0], order)


@pytest.mark.parametrize(
    ("settings", "in_one_pass", "limit"),
    [
        ({}, False, 80),
        ({"top_db": None}, True, None),
        ({"log": "ln"}, True, None),  # 80 dB have no meaning there
        ({"log": "none"}, True, None),
        ({"log": "pcen"}, False, None),
        ({"top_db": 7}, False, 7),
    ],
)
def test_a_frame_depends_on_others_by_pcen_and_top_db_alone(settings, in_one_pass, limit):
    found = plan(FeatureSettings(**settings), 16_000)
    assert (found.in_one_pass, found.limit) == (in_one_pass, limit)


def test_what_does_not_fit_the_sample_rate_is_refused():
    with pytest.raises(
        FeatureError, match="mel bands from 20 to 3800 Hz do not fit a sample rate of 6000 Hz"
    ):
        plan(preset("kaldi", f_max_hz=3800), 6000)
