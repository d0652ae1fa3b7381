"""The kernels compute what plain numpy computes, for every setting, and a frame the same anywhere."""

import numpy as np
import pytest

from features import PRESETS, FeatureSettings, extraction, preset
from features.extraction import Frames, columns, conditioned, static_frames
from features.framing import count_frames
from features.kernels import frames as kernels
from features.plan import plan

RATE = 16_000
SOUND = np.random.default_rng(0).uniform(-1, 1, 5000) * np.linspace(1, 0.01, 5000)
SOUND.flags.writeable = False

SETTINGS = {
    **{name: preset(name) for name in PRESETS},
    **{f"{name}, log-mel": preset(name, kind="log-mel", energy="none") for name in PRESETS},
    "log-spectrogram": FeatureSettings(kind="log-spectrogram"),
    "log-spectrogram with energy": FeatureSettings(kind="log-spectrogram", energy="spectral", log="ln"),
    "magnitude": FeatureSettings(spectrum="magnitude", divide_by_n_fft=True),
    "windowed energy last": FeatureSettings(energy="windowed", level="last", log="ln", log_floor=1e-3),
    "no level": FeatureSettings(level="dropped", top_db=None),
    "raw energy, bands": FeatureSettings(kind="log-mel", energy="raw", energy_floor=2.0),
    "no logarithm": FeatureSettings(kind="log-mel", log="none"),
    "pcen": FeatureSettings(log="pcen", energy="raw"),
    "offset": FeatureSettings(log="ln", log_offset=0.5, log_floor=0.0),
    "floor for zeros": FeatureSettings(log_floor=1e-4, log_floor_for="zero", top_db=None),
    "n_fft 600": FeatureSettings(n_fft=600),
    "n_fft 2": FeatureSettings(kind="log-spectrogram", frame_length=2, hop_length=3, n_fft=2),
    "one band": FeatureSettings(kind="log-mel", n_mels=1, frame_length=37, n_fft=54),
    "DC and frame pre-emphasis": FeatureSettings(remove_dc=True, pre_emphasis=0.5),
}
all_settings = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def both(monkeypatch, settings, sound):
    """Features by the kernels, and in plain numpy."""
    assert extraction.kernels_for(plan(settings, RATE)) is kernels
    fast = settings(sound, RATE)
    with monkeypatch.context() as patch:
        patch.setattr(extraction, "kernels_for", lambda plan: None)
        return fast, settings(sound, RATE)


@all_settings
@dtypes
@pytest.mark.parametrize("n_samples", [600, 5000])  # fewer frames than lanes, and more
def test_the_kernels_compute_what_plain_numpy_computes(monkeypatch, settings, dtype, n_samples):
    fast, plain = both(monkeypatch, settings, SOUND[:n_samples].astype(dtype))
    assert fast.dtype == plain.dtype == dtype
    assert fast.shape == plain.shape
    scale = np.abs(plain).max()
    assert np.abs(fast - plain).max() < 200 * np.finfo(dtype).eps * scale


@all_settings
@dtypes
def test_silence_too(monkeypatch, settings, dtype):
    fast, plain = both(monkeypatch, settings, np.zeros(900, dtype))
    np.testing.assert_allclose(fast, plain, rtol=1e-4 if dtype == np.float32 else 1e-12, atol=1e-4)


@all_settings
@dtypes
def test_a_frame_has_the_same_bits_alone_and_among_others(settings, dtype):
    at_rate = plan(settings, RATE)
    signal = conditioned(SOUND.astype(dtype), settings)
    n_frames = count_frames(len(signal), settings, RATE)
    together = static_frames(at_rate, signal, 0, n_frames)
    for t in [0, 1, n_frames // 2, n_frames - 1]:
        assert static_frames(at_rate, signal, t, t + 1).tobytes() == together[t].tobytes()


def test_threads_change_no_bit(monkeypatch):
    monkeypatch.setattr(extraction, "FRAMES_WORTH_A_THREAD", 2)
    for settings in (FeatureSettings(), preset("kaldi")):
        one = settings(SOUND, RATE, num_threads=1)
        for threads in (2, 3, None):
            assert settings(SOUND, RATE, num_threads=threads).tobytes() == one.tobytes()


def test_blocks_change_no_bit(monkeypatch):
    whole = FeatureSettings()(SOUND, RATE)
    for size in (1, 3, 7):
        monkeypatch.setattr(extraction, "BLOCK", size)
        assert FeatureSettings()(SOUND, RATE).tobytes() == whole.tobytes()


@dtypes
@pytest.mark.parametrize("T", [1, 5, 16, 33])
def test_columns_are_made_of_bands_as_in_plain_numpy(dtype, T):
    settings = preset("kaldi", level="last", log="pcen")
    at_rate, rng = plan(settings, RATE), np.random.default_rng(T)
    values = rng.standard_normal((T, at_rate.n_bands + 1)).astype(dtype)
    result = np.empty((T, at_rate.n_static), dtype)
    kernels.arrange(at_rate, values, result)
    plain = columns(at_rate, Frames(values[:, :-1], values[:, -1]))
    np.testing.assert_allclose(result, plain, rtol=0, atol=50 * np.finfo(dtype).eps)


@pytest.mark.parametrize("n_fft", [401, 413, 406, 2 * 11 * 32])
def test_other_lengths_are_left_to_numpy(n_fft):
    settings = FeatureSettings(n_fft=n_fft)
    assert extraction.kernels_for(plan(settings, RATE)) is None
    assert np.isfinite(settings(SOUND, RATE)).all()


def test_infinities_in_the_tables_do_not_reach_other_columns(monkeypatch):
    settings = FeatureSettings(kind="log-mel", log="ln", log_floor=0.0, energy="raw", energy_floor=1e-3)
    fast, plain = both(monkeypatch, settings, np.zeros(400))
    wanted = np.r_[np.log(1e-3), np.full(40, -np.inf)]
    np.testing.assert_allclose(fast[0], wanted)
    np.testing.assert_allclose(plain[0], wanted)


@pytest.mark.parametrize(
    "settings", [FeatureSettings(), FeatureSettings(framing="whole-frames"), preset("kaldi")]
)
@pytest.mark.parametrize("threads", [1, 3])
def test_samples_need_not_lie_side_by_side(monkeypatch, settings, threads):
    monkeypatch.setattr(extraction, "BLOCK", 7)
    monkeypatch.setattr(extraction, "FRAMES_WORTH_A_THREAD", 2)
    stereo = np.stack([SOUND, SOUND[::-1]], axis=1)
    for sound in (stereo[:, 0], stereo[:, 1], SOUND[::-1], SOUND[::3]):
        wanted = settings(sound.copy(), RATE)
        assert settings(sound, RATE, num_threads=threads).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("energy", ["none", "raw"])
def test_more_bands_than_bins_have_their_room(monkeypatch, energy):
    settings = FeatureSettings(
        frame_length=16, hop_length=5, n_mels=300, n_mfcc=299, allow_empty_bands=True, energy=energy
    )
    fast, plain = both(monkeypatch, settings, SOUND[:700])
    np.testing.assert_allclose(fast, plain, rtol=0, atol=1e-10)


@pytest.mark.parametrize("level", ["first", "last"])
@pytest.mark.parametrize("kind", ["log-mel", "log-spectrogram"])
@pytest.mark.parametrize("top_db", [None, 80.0])
def test_the_energy_is_where_it_is_told_to_be(monkeypatch, level, kind, top_db):
    settings = FeatureSettings(kind=kind, energy="raw", level=level, top_db=top_db, n_mels=11)
    alone = settings.change(energy="none")
    fast, plain = both(monkeypatch, settings, SOUND)
    np.testing.assert_allclose(fast, plain, rtol=0, atol=1e-10)
    place = 0 if level == "first" else -1
    np.testing.assert_array_equal(np.delete(fast, place, axis=1), alone(SOUND, RATE))
    middle = SOUND[160 * 9 - 200 : 160 * 9 + 200]
    assert fast[9, place] == pytest.approx(np.log(middle @ middle), rel=1e-12)
