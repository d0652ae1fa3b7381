"""Logarithms and their floors by hand; PCEN is librosa's, and its own definition's, in pieces too."""

import librosa
import numpy as np
import pytest

from features import FeatureSettings
from features.logarithm import Pcen, limit_range, log_energy, logarithm

POWER = np.array([[0, 1e-6, 0.5], [1, 100, 1e5]])
FLOOR = 1e-3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("settings", "by_hand"),
    [
        ({"log": "db"}, [[-30, -30, -10 * np.log10(2)], [0, 20, 50]]),
        ({"log": "ln"}, np.log([[1e-3, 1e-3, 0.5], [1, 100, 1e5]])),
        ({"log": "ln", "log_floor_for": "zero"}, np.log([[1e-3, 1e-6, 0.5], [1, 100, 1e5]])),
        ({"log": "db", "log_floor_for": "zero"}, 10 * np.log10([[1e-3, 1e-6, 0.5], [1, 100, 1e5]])),
        ({"log": "ln", "log_offset": 0.25}, np.log(POWER + 0.25)),
        ({"log": "none", "log_offset": 0.25}, POWER),
        ({"log": "pcen", "log_offset": 0.25}, POWER),
    ],
)
def test_logarithms_by_hand(settings, by_hand, dtype):
    power = POWER.astype(dtype)
    power.flags.writeable = False
    found = logarithm(power, FeatureSettings(**settings, log_floor=FLOOR))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, by_hand, rtol=3e-7, atol=1e-7)


def test_without_a_floor_nothing_is_minus_infinity():
    found = logarithm(POWER, FeatureSettings(log="ln", log_floor=0))
    assert found[0, 0] == -np.inf
    np.testing.assert_allclose(found[1], np.log(POWER[1]))


@pytest.mark.parametrize(
    ("settings", "by_hand"),
    [
        ({}, [1e-3, 1e-3, 2]),  # the floor of bands
        ({"energy_floor": 0.5}, [0.5, 0.5, 2]),
        ({"energy_floor": 0.5, "log_floor_for": "zero"}, [0.5, 1e-6, 2]),
        ({"log": "db", "top_db": 10, "log_offset": 7}, [1e-3, 1e-3, 2]),  # natural, whatever the bands'
    ],
)
def test_log_energies_by_hand(settings, by_hand):
    energy = np.array([0, 1e-6, 2], np.float32)
    found = log_energy(energy, FeatureSettings(**settings, log_floor=FLOOR))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.log(by_hand), rtol=3e-7)


def test_a_range_is_limited_below_the_maximum_of_all():
    decibels = np.array([[-60, -5.5], [2, -30]], np.float32)
    np.testing.assert_array_equal(limit_range(decibels, 10), [[-8, -5.5], [2, -8]])
    assert limit_range(decibels, 10).dtype == np.float32
    assert limit_range(decibels, None) is decibels


# PCEN


BANDS = np.random.default_rng(0).exponential(size=(37, 5)) * np.geomspace(1e-8, 1e3, 5)
PCEN = [
    {},
    {"pcen_gain": 0.7, "pcen_bias": 1.3, "pcen_power": 0.3, "pcen_seconds": 0.06, "pcen_eps": 1e-3},
    {"pcen_bias": 0},
    {"pcen_gain": 0, "pcen_power": 1},
]


@pytest.mark.parametrize("settings", PCEN)
def test_pcen_is_librosas(settings):
    theirs = {name.removeprefix("pcen_"): value for name, value in settings.items()}
    theirs["time_constant"] = theirs.pop("seconds", 0.4)
    expected = librosa.pcen(BANDS.T, sr=16_000, hop_length=160, **theirs).T
    found = Pcen(FeatureSettings(**settings), 0.01)(BANDS)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13 * expected.max())
    single = Pcen(FeatureSettings(**settings), 0.01)(BANDS.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=3e-6)


@pytest.mark.parametrize("settings", PCEN)
def test_pcen_is_its_definition(settings):
    settings = FeatureSettings(**settings)
    bias, power, frames = settings.pcen_bias, settings.pcen_power, settings.pcen_seconds / 0.01
    s = ((1 + 4 * frames**2) ** 0.5 - 1) / (2 * frames**2)
    smooth, expected = np.ones(5), []
    for energy in BANDS:
        smooth = (1 - s) * smooth + s * energy
        gained = energy / (settings.pcen_eps + smooth) ** settings.pcen_gain
        expected.append((gained + bias) ** power - bias**power)
    np.testing.assert_allclose(Pcen(settings, 0.01)(BANDS), expected, rtol=1e-7, atol=1e-15)


def test_pcen_adapts_to_a_steady_level():
    steady = np.full((3000, 2), [1e-2, 1e4])
    last = Pcen(FeatureSettings(pcen_gain=1.0), 0.01)(steady)[-1]
    np.testing.assert_allclose(last, 3**0.5 - 2**0.5, rtol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pcen_in_pieces_is_the_same_bits(dtype):
    bands, settings = BANDS.astype(dtype), FeatureSettings()
    pcen = Pcen(settings, 0.01)
    pieces = [pcen(bands[low:high]) for low, high in [(0, 1), (1, 1), (1, 20), (20, 37)]]
    np.testing.assert_array_equal(np.concatenate(pieces), Pcen(settings, 0.01)(bands))


def test_pcen_of_long_silence_stays_among_normal_numbers_and_changes_no_bit():
    """What decays into the smallest numbers is computed with slowly; nothing that small is ever seen."""
    pcen, forgetful = (Pcen(FeatureSettings(), 0.01) for _ in range(2))
    assert (1 - pcen.s) ** 40_000 == 0, "nothing is left of the beginning"
    assert not pcen(np.zeros((40_000, 3))).any()
    assert (pcen.smooth > np.finfo(np.float64).tiny).all()
    forgetful.smooth = np.zeros(3)
    after = BANDS[:, :3] * 1e-9
    assert pcen(after).tobytes() == forgetful(after).tobytes()
