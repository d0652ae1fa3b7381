"""Scenes: what is labelled is what was said, at the ratio that was asked for, the same every time."""

import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from lstm_scratch.corpus import read_corpus
from lstm_scratch.errors import DataError, SettingError
from lstm_scratch.scenes import (
    Clip,
    SceneSettings,
    calls,
    degrade,
    draw_scene,
    frame_labels,
    music,
    reverberate,
    speech_activity,
    speech_clip,
    transients,
)
from lstm_scratch.sound import AudioError, coloured_noise, read_audio

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_commands = pytest.mark.skipif(
    not (DATA / "speech_commands_v2_test").is_dir(), reason=f"needs the recordings in {DATA}"
)
RATE = 8000
# Speech alone, as it is: everything else is switched on by the test that is about it.
BARE = SceneSettings(
    duration_s=5,
    speech=1,
    talkers=(1, 1),
    word_gap_s=(0, 0),
    overlap=0,
    speed=0,
    talker_gain_db=(0, 0),
    recorded=0,
    coloured=0,
    room=0,
    passing=0,
    music=0,
    transients=0,
    reverberation=0,
    band=0,
    tilt_db=(0, 0),
    gain_db=(0, 0),
    drift=0,
    overload=0,
    rounding=0,
)


def word(seconds, rng, rate=RATE):
    """Noise that sounds from its first to its last sample."""
    samples = rng.standard_normal(round(seconds * rate)).astype(np.float32)
    return Clip(samples / np.sqrt(np.mean(samples**2)), np.ones(len(samples), bool))


@pytest.fixture
def speakers():
    rng = np.random.default_rng(3)
    return [[word(seconds, rng) for seconds in rng.uniform(0.15, 0.6, n)] for n in (5, 9, 13)]


@pytest.fixture
def noises():
    rng = np.random.default_rng(4)
    return [coloured_noise(n, 1, rng) for n in (7001, 90_001)]


def decibels(power):
    return 10 * math.log10(power)


def recording(stretches, rate=RATE, seed=0):
    """Noise whose level in dB is given for stretches of seconds."""
    rng = np.random.default_rng(seed)
    parts = [rng.standard_normal(round(s * rate)) * 10 ** (level / 20) for s, level in stretches]
    return np.concatenate(parts).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16_000])
@pytest.mark.parametrize("level", [-70, -20])
def test_speech_is_found_by_its_level_to_10_ms(rate, level):
    #                     pause  word                 short pause            word
    samples = recording([(0.3, -60), (0.2, 0), (0.15, -60), (0.25, -8), (0.5, -60)], rate) * 10 ** (
        level / 20
    )
    active = speech_activity(samples, rate)
    assert active.shape == samples.shape
    edges = np.flatnonzero(np.diff(active)) / rate
    np.testing.assert_allclose(edges, [0.3, 0.9], atol=0.011)
    # Without bridges, the pause is one.
    edges = np.flatnonzero(np.diff(speech_activity(samples, rate, bridge_s=0.1))) / rate
    np.testing.assert_allclose(edges, [0.3, 0.5, 0.65, 0.9], atol=0.011)


@pytest.mark.parametrize(
    ("stretches", "begin", "end"),
    [
        # Its soft end is speech, down to 30 dB below what is loud; what is as soft and alone is breath.
        ([(0.3, -60), (0.2, 0), (0.2, -25), (0.4, -60)], 0.3, 0.7),
        ([(0.3, -60), (0.2, 0), (0.2, -35), (0.4, -60)], 0.3, 0.5),
        ([(0.3, -60), (0.1, -25), (0.3, -60), (0.2, 0), (0.4, -60)], 0.7, 0.9),
        # A click is none, however loud.
        ([(0.3, -60), (0.01, 0), (0.3, -60), (0.2, 0), (0.4, -60)], 0.61, 0.81),
        # Above noise that is 28 dB below, what is 25 dB below does not show.
        ([(0.4, -28), (0.2, 0), (0.1, -25), (0.4, -28)], 0.4, 0.6),
        # Noise that was cut off is noise, though nothing is softer than it.
        ([(0.4, -22), (0.2, 0), (0.2, -22), (0.3, -200)], 0.4, 0.6),
        # All of a clip that was cut tight.
        ([(0.3, 0)], 0.0, 0.3),
        ([(0.1, -8), (0.1, 0), (0.1, -10)], 0.0, 0.3),
    ],
)
def test_what_counts_as_speech(stretches, begin, end):
    for seed in range(5):
        active = speech_activity(recording(stretches, seed=seed), RATE)
        expected = np.zeros(len(active), bool)
        expected[round(begin * RATE) : round(end * RATE)] = True
        assert np.count_nonzero(active != expected) <= 2 * 0.011 * RATE


def test_silence_is_no_speech():
    assert not speech_activity(np.zeros(801), RATE).any()
    assert not speech_activity(np.full(801, 0.5), RATE).any()
    assert speech_activity(np.zeros(1), RATE).shape == (1,)
    assert speech_clip(np.zeros(801), RATE) is None
    with pytest.raises(AudioError):
        speech_activity(np.zeros(0), RATE)


def test_a_clip_is_cut_out_scaled_and_fades():
    samples = recording([(0.4, -70), (0.3, -20), (0.2, -70)]) + np.float32(0.2)
    clip = speech_clip(samples, RATE)
    assert clip.samples.dtype == np.float32
    assert len(clip.samples) == len(clip.active) == pytest.approx(0.4 * RATE, abs=170)
    assert np.flatnonzero(clip.active)[0] == 0.05 * RATE
    assert np.mean(clip.samples[clip.active] ** 2) == pytest.approx(1)
    assert abs(clip.samples[0]) < 1e-5
    assert abs(clip.samples[-1]) < 1e-3
    before = samples.copy()
    speech_clip(samples, RATE)
    np.testing.assert_array_equal(samples, before)


def test_a_long_recording_full_of_noise_is_no_clip():
    def clip(*stretches):
        return speech_clip(recording(stretches), RATE)

    assert clip((0.3, -35), (0.3, 0), (0.3, -35)) is not None
    assert clip((0.3, -15), (0.3, 0), (0.3, -15)) is None
    assert clip((0.3, -15), (0.3, 0), (0.3, -15), (0.5, -200)) is None
    assert clip((0.9, 0)) is None
    assert clip((0.7, 0)) is not None  # a word that was cut tight


@needs_commands
def test_of_real_words_most_are_clean_and_none_is_longer_than_a_word():
    corpus = read_corpus(DATA / "speech_commands_v2_test")
    chosen = [n for n, label in enumerate(corpus.labels) if label != "silence"][::40]
    clips = [speech_clip(*read_audio(corpus.paths[n], 16_000)) for n in chosen]
    seconds = np.array([clip.active.sum() / 16_000 for clip in clips if clip is not None])
    assert 0.8 * len(clips) < len(seconds) < len(clips)
    assert 0.35 < np.median(seconds) < 0.6
    assert np.quantile(seconds, 0.05) > 0.12
    assert np.quantile(seconds, 0.95) < 0.9


@pytest.mark.parametrize(("frame_length", "hop_length"), [(1, 1), (5, 2), (4, 3), (7, 7), (20, 3), (21, 3)])
def test_a_frame_has_the_label_of_its_centre(frame_length, hop_length):
    active = np.random.default_rng(0).random(20) < 0.5
    firsts = [first for first in range(0, 20, hop_length) if first + frame_length <= 20]
    expected = [active[first + frame_length // 2] for first in firsts]
    labels = frame_labels(active, frame_length, hop_length)
    assert labels.dtype == bool
    assert labels.tolist() == expected


def test_the_same_seed_gives_the_same_scene_and_another_another(speakers, noises):
    def scene(seed):
        return draw_scene(speakers, noises, RATE, np.random.default_rng(seed), SceneSettings(duration_s=2.5))

    for seed in range(12):
        first, second = scene(seed), scene(seed)
        np.testing.assert_array_equal(first.samples, second.samples)
        np.testing.assert_array_equal(first.active, second.active)
        assert first.samples.dtype == np.float32
        assert first.active.dtype == bool
        assert first.samples.shape == first.active.shape == (20_000,)
        assert np.abs(first.samples).max() <= 1
    assert not np.array_equal(scene(0).samples, scene(1).samples)


@pytest.mark.parametrize("talkers", [(1, 1), (3, 3)])
def test_what_is_active_is_what_sounds(speakers, talkers):
    pauses = []
    for seed in range(20):
        scene = draw_scene(speakers, [], RATE, np.random.default_rng(seed), replace(BARE, talkers=talkers))
        sounds = scene.samples != 0
        assert not sounds[~scene.active].any()
        silent = np.flatnonzero(np.diff(np.concatenate([[1], sounds, [1]])))
        for begin, end in zip(silent[::2], silent[1::2], strict=True):
            within = begin > 0 and end < len(sounds)
            assert scene.active[begin:end].all() == (within and end - begin < 0.2 * RATE) or end - begin == 1
            pauses.append((end - begin) / RATE)
    assert max(pauses) > 1


def test_of_what_is_played_at_another_speed_the_same_is_active():
    rng = np.random.default_rng(0)
    clips = []
    for n in (900, 1100, 1300, 1700):  # with silence at both ends, and in the middle
        samples = rng.standard_normal(n + 1400).astype(np.float32)
        active = np.zeros(len(samples), bool)
        active[300:700], active[1000 : n + 200] = True, True
        clips.append(Clip(samples * active, active))
    settings = replace(BARE, speed=1, bridge_s=0, pause_s=(0.2, 0.2))
    lengths = set()
    for seed in range(10):
        scene = draw_scene([clips], [], RATE, np.random.default_rng(seed), settings)
        power = scene.samples.astype(float) ** 2
        assert power[~scene.active].sum() < 0.01 * power.sum()
        edges = np.flatnonzero(np.diff(scene.active))
        lengths |= set(np.diff(edges).tolist())
        envelope = np.convolve(power, np.ones(40), "same")
        assert (envelope[scene.active] > 0.01 * envelope.max()).all()
    # 400 samples, at 0.85 to 1.15 times the speed.
    assert {round(400 / speed) for speed in (0.9, 0.95, 1.05, 1.1)} <= {
        n + k for n in lengths for k in (-1, 0, 1)
    }


def test_bridges_are_as_long_as_they_are_set(speakers):
    for bridge_s in (0, 0.7):
        settings = replace(BARE, bridge_s=bridge_s, pause_s=(0.5, 0.5))
        shortest = []
        for seed in range(10):
            active = draw_scene(speakers, [], RATE, np.random.default_rng(seed), settings).active
            edges = np.flatnonzero(np.diff(active))
            edges = edges[0 if not active[0] else 1 :]  # begin, end, begin, end ..
            shortest += list(np.diff(edges)[1::2] / RATE)
        assert (min(shortest) < 0.2) if bridge_s == 0 else (min(shortest) >= 0.7)


def test_words_of_an_utterance_follow_each_other_by_the_gap_and_none_comes_twice():
    lengths = [811, 907, 1201, 1503]  # by which a word is known
    clips = [
        Clip(np.ones(n + 30 + 90, np.float32), np.pad(np.ones(n, bool), (30, 90))) for n in lengths
    ]  # with margins, which may lie in the gaps
    settings = replace(
        BARE, duration_s=30, words=(1000, 1000), word_gap_s=(0.1, 0.1), pause_s=(1, 1), bridge_s=0
    )
    found = 0
    for seed in range(5):
        active = draw_scene([clips], [], RATE, np.random.default_rng(seed), settings).active
        stretches = np.split(active, np.flatnonzero(np.diff(active)) + 1)
        utterances = [[]]
        for stretch in stretches:
            if stretch[0]:
                utterances[-1].append(len(stretch))
            elif len(stretch) != 0.1 * RATE:
                utterances.append([])
        for utterance in utterances[2:-1]:  # the scene may cut the first, after an empty one, and the last
            if utterance:
                assert sorted(utterance) == lengths
                found += 1
    assert found > 25


def noise_of(speakers, noises, seed, settings):
    """Scenes with and without the noises of `settings`: noise, and the mask."""
    silent = replace(settings, recorded=0, coloured=0, music=0, transients=0, room=0)
    clean = draw_scene(speakers, noises, RATE, np.random.default_rng(seed), silent)
    noisy = draw_scene(speakers, noises, RATE, np.random.default_rng(seed), settings)
    np.testing.assert_array_equal(clean.active, noisy.active)
    return clean, noisy.samples.astype(float) - clean.samples


@pytest.mark.parametrize("what", ["recorded", "coloured"])
@pytest.mark.parametrize("snr_db", [-5.0, 20.0])
def test_the_ratio_is_that_of_active_speech(speakers, noises, what, snr_db):
    # So soft that no peak is scaled down.
    settings = replace(BARE, gain_db=(-40, -40), snr_db=(snr_db, snr_db), **{what: 1})
    for seed in range(6):
        clean, noise = noise_of(speakers, noises, seed, settings)
        speech = np.mean(clean.samples[clean.active].astype(float) ** 2)
        assert decibels(speech / np.mean(noise**2)) == pytest.approx(snr_db, abs=0.05)


@pytest.mark.parametrize("what", ["music", "transients"])
def test_of_what_pauses_the_ratio_is_that_where_it_sounds(speakers, what):
    settings = replace(BARE, gain_db=(-40, -40), snr_db=(0, 0), **{what: 1})
    fractions = []
    for seed in range(8):
        clean, noise = noise_of(speakers, [], seed, settings)
        sounds = np.abs(noise) > 1e-9
        speech = np.mean(clean.samples[clean.active].astype(float) ** 2)
        assert decibels(speech / np.mean(noise[sounds] ** 2)) == pytest.approx(0, abs=0.3)
        fractions.append(sounds.mean())
    assert min(fractions) < (0.2 if what == "transients" else 1)


@pytest.mark.parametrize("what", ["recorded", "coloured", "music", "transients"])
def test_without_speech_the_ratio_is_another_one(speakers, noises, what):
    """What sounds alone: its level is that of `alone_db`, whatever `snr_db` is."""
    loud = replace(BARE, speech=0, gain_db=(-40, -40), snr_db=(30, 30), alone_db=(-7, -7), **{what: 1})
    for seed in range(6):
        samples = draw_scene(speakers, noises, RATE, np.random.default_rng(seed), loud).samples
        sounding = samples[np.abs(samples) > 1e-9].astype(float)
        # Speech would be at -20 dB before the gain.
        assert decibels(np.mean(sounding**2)) == pytest.approx(-20 - 40 + 7, abs=0.3)


def test_around_music_there_is_a_room_and_around_transients_none():
    def silent(**settings):
        rooms = replace(BARE, speech=0, rt60_s=(2, 2), direct_db=(0, 0), **settings)
        scenes = [draw_scene([], [], RATE, np.random.default_rng(seed), rooms) for seed in range(8)]
        return np.mean([scene.samples == 0 for scene in scenes])

    assert silent(music=1) > 0.1  # its rests
    assert silent(music=1, reverberation=1) < 0.05
    assert silent(transients=1, reverberation=1) == silent(transients=1) > 0.3


def test_without_speech_nothing_is_active_and_all_the_rest_sounds(noises):
    settings = replace(BARE, speech=0)
    for what in ("recorded", "coloured", "room", "music", "transients"):
        scene = draw_scene([], noises, RATE, np.random.default_rng(5), replace(settings, **{what: 1}))
        assert not scene.active.any()
        assert scene.samples.any()
    assert not draw_scene([], noises, RATE, np.random.default_rng(5), settings).samples.any()


def test_chances_are_kept(speakers, noises):
    settings = replace(BARE, duration_s=0.5, speech=0.3, words=(9, 9), pause_s=(0.01, 0.01))
    rng = np.random.default_rng(0)
    spoken = [draw_scene(speakers, noises, RATE, rng, settings).samples.any() for _ in range(400)]
    assert 0.2 < np.mean(spoken) < 0.35  # some begin in a pause


def test_passing_noise_begins_or_ends_in_the_middle(noises):
    settings = replace(BARE, speech=0, recorded=1, passing=1)
    rng = np.random.default_rng(0)
    sounding = [np.abs(draw_scene([], noises, RATE, rng, settings).samples) > 0 for _ in range(20)]
    fractions = [mask.mean() for mask in sounding if mask.any()]
    assert sum(0.02 < fraction < 0.98 for fraction in fractions) > 8
    for mask in sounding:
        assert len(np.flatnonzero(np.diff(mask))) <= 4  # one stretch; and where the noise itself is 0


def test_a_room_comes_after_the_sound_and_dies_away():
    samples = np.zeros(9001, np.float32)
    samples[1000] = 2
    energies = []
    for seed in range(30):
        wet = reverberate(samples, RATE, 0.4, 3, np.random.default_rng(seed))
        assert wet.shape == samples.shape
        np.testing.assert_allclose(wet[:1001], samples[:1001], atol=1e-6)
        tail = wet[1001:].astype(float)
        assert decibels(4 / np.sum(tail**2)) == pytest.approx(3, abs=0.01)
        energies.append([np.sum(tail[n : n + 800] ** 2) for n in (400, 1600)])
    early, late = np.mean(energies, axis=0)
    # 60 dB in 0.4 s are 22.5 dB in 0.15 s; its treble dies sooner.
    assert 20 < decibels(early / late) < 30


def test_labels_are_those_of_the_dry_clips(speakers):
    wet = replace(BARE, reverberation=1, rt60_s=(0.6, 0.6), direct_db=(0, 0))
    for seed in range(4):
        dry = draw_scene(speakers, [], RATE, np.random.default_rng(seed), BARE)
        scene = draw_scene(speakers, [], RATE, np.random.default_rng(seed), wet)
        np.testing.assert_array_equal(scene.active, dry.active)
        assert scene.samples[~scene.active].any()


def tones(hertz, rate=16_000):
    t = np.arange(rate) / rate
    return np.sum([np.sin(2 * np.pi * f * t) for f in hertz], axis=0).astype(np.float32)


def levels_of(samples, hertz):
    """Levels of tones, whole numbers of Hz, in one second."""
    return 20 * np.log10(np.abs(np.fft.rfft(samples))[list(hertz)] * 2 / len(samples) + 1e-9)


def test_a_gain_is_that_of_the_scene():
    samples = tones([700])
    given = degrade(samples, 16_000, np.random.default_rng(0), replace(BARE, gain_db=(-13, -13)))
    np.testing.assert_allclose(given, samples * 10 ** (-33 / 20), rtol=1e-5, atol=1e-7)


def test_a_band_leaves_what_is_in_it_and_its_time():
    hertz = (60, 1000, 2000, 6000)
    kinds = set()
    for seed in range(12):
        given = degrade(tones(hertz), 16_000, np.random.default_rng(seed), replace(BARE, band=1))
        low, middle, high, highest = levels_of(given, hertz) + 20
        assert abs(middle) < 0.1
        assert abs(high) < 0.2
        assert highest < -25
        kinds.add(bool(low < -25))
        click = np.zeros(16_001, np.float32)
        click[4000] = 1
        given = degrade(click, 16_000, np.random.default_rng(seed), replace(BARE, band=1))
        assert np.argmax(given) == 4000
        np.testing.assert_allclose(given[3900:4000], given[4001:4101][::-1], atol=1e-6)
    assert kinds == {False, True}  # a telephone's, and a low pass


def test_a_slope_is_that_many_db_per_octave():
    hertz = (250, 500, 1000, 4000)
    given = degrade(tones(hertz), 16_000, np.random.default_rng(0), replace(BARE, tilt_db=(-2, -2)))
    # What comes round at the ends is faded nowhere: the tones are cut.
    np.testing.assert_allclose(levels_of(given, hertz) + 20, [4, 2, 0, -4], atol=0.2)


def test_a_gain_that_wanders_stays_within_6_db_and_moves():
    samples = np.ones(80_000, np.float32)
    given = degrade(samples, 16_000, np.random.default_rng(0), replace(BARE, drift=1))
    wandering = 20 * np.log10(given) + 20
    assert np.abs(wandering).max() <= 6.001
    assert np.ptp(wandering) > 1
    assert np.abs(np.diff(wandering)).max() < 12 / 16_000


def test_overload_clips_and_rounding_rounds():
    samples = tones([440]) * 3
    clipped = degrade(samples, 16_000, np.random.default_rng(0), replace(BARE, overload=1))
    assert np.abs(clipped).max() == pytest.approx(0.09, rel=1e-4)
    assert np.mean(np.abs(clipped) > 0.0899) > 0.5
    rounded = degrade(samples, 16_000, np.random.default_rng(0), replace(BARE, rounding=1))
    steps = rounded.astype(float) * 32767
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-2)
    loud = degrade(samples * 100, 16_000, np.random.default_rng(0), BARE)
    assert np.abs(loud).max() == 1
    np.testing.assert_allclose(loud, tones([440]), atol=1e-4)  # scaled, not clipped


def test_music_is_harmonic_and_transients_are_short():
    for seed in range(6):
        sound = music(32_000, 16_000, np.random.default_rng(seed))
        assert sound.shape == (32_000,)
        power = np.abs(np.fft.rfft(sound)) ** 2
        # A few lines hold nearly all of it; of noise, these would hold 2 %.
        assert np.sort(power)[-len(power) // 50 :].sum() > 0.7 * power.sum()
    for seed in range(12):
        sound = transients(32_000, 16_000, np.random.default_rng(seed))
        assert sound.any()
        assert np.isfinite(sound).all()


def test_most_calls_have_a_pitch_and_it_glides():
    pitched, gliding = [], []
    for seed in range(40):
        sound = calls(16_003, 8000, np.random.default_rng(seed))
        assert sound.shape == (16_003,)
        assert sound.dtype == np.float32
        assert np.isfinite(sound).all()
        frames = np.lib.stride_tricks.sliding_window_view(sound, 800)[::400].astype(float)
        energies = np.sum(frames**2, axis=1)
        if not sound.any():  # a pause that is longer than this
            continue
        frames = frames[energies > 0.1 * energies.max()]
        power = np.abs(np.fft.rfft(frames * np.hanning(800))) ** 2  # 401 lines, 10 Hz apart
        shares = np.sort(power)[:, -20:].sum(axis=1) / power.sum(axis=1)  # of noise, a fifth
        pitched.append(np.median(shares) > 0.6)
        strongest = np.maximum(np.argmax(power, axis=1), 1)
        gliding.append(strongest.max() > 1.2 * strongest.min())
    assert np.mean(pitched) > 0.6
    assert np.mean(gliding) > 0.4


def test_nobody_to_speak_is_said_in_one_line(noises):
    rng = np.random.default_rng(0)
    for speakers in ([], [[]]):
        with pytest.raises(DataError, match="speakers: each of at least one speaker needs a clip"):
            draw_scene(speakers, noises, RATE, rng)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"duration_s": 0}, "duration_s is a number from 0.1 on, not 0"),
        ({"bridge_s": -0.1}, "bridge_s is a number from 0 on, not -0.1"),
        ({"speech": 1.5}, "speech is a chance from 0 to 1, not 1.5"),
        ({"snr_db": 5}, "snr_db is a pair (lowest, highest), not 5"),
        ({"snr_db": (5, 0)}, "snr_db is a pair (lowest, highest), not (5, 0); swap them"),
        ({"talkers": (0, 2)}, "each bound of talkers is a whole number from 1 on, not 0"),
        ({"talkers": (1.5, 2)}, "each bound of talkers is a whole number from 1 on, not 1.5"),
        ({"rt60_s": (0, 1)}, "each bound of rt60_s is a number from 0.01 on, not 0"),
        ({"rt60_s": (0.1, 1e5)}, "rt60_s is 20 s at the most, not (0.1, 100000.0)"),
        ({"gain_db": (np.nan, 1)}, "each bound of gain_db is a number from -100 on, not nan"),
    ],
)
def test_a_setting_out_of_range_is_named(options, message):
    with pytest.raises(SettingError) as caught:
        SceneSettings(**options)
    assert str(caught.value) == message


def test_every_setting_is_checked():
    for field in fields(SceneSettings):
        with pytest.raises(SettingError, match=field.name):
            SceneSettings(**{field.name: "much"})
