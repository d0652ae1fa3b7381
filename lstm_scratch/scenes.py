"""Scenes for voice activity: speech among other sounds, in rooms, through microphones; with exact labels.

Clips of clean speech become utterances, whose words follow each other closely, and utterances become turns of
one talker or several. What else sounds is recorded noise, coloured noise, a quiet room or nothing; and music,
calls and transients. These also come without any speech, and then, but for the room, as loud as speech would
be, so that they are known for what they are not. All is drawn, and the same seed gives the same bits.

A sample is active if it lies in speech as it was said: what a room adds afterwards is not. `frame_labels`
turns samples into frames.

Letters: N samples, T frames.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from numbers import Real
from typing import NamedTuple

import numpy as np

from lstm_scratch.checks import check_number
from lstm_scratch.errors import DataError, SettingError
from lstm_scratch.sound import change_speed, check_samples, coloured_noise

SILENT_DB = -119.0
STEP_S = 0.01  # of levels, by which activity is told
BRIDGE_S = 0.2  # pauses shorter than this are speech
CORE_DB, REACH_DB = (
    15.0,
    30.0,
)  # below the loud part: what speech has to reach, and how far it goes from there
CLEARANCE_DB = 10.0  # above the noise floor, where that does not reach into the core
CLEAN_DB, CLEAN_S = (
    25.0,
    0.8,
)  # from the noise to the loud part, in a recording that is so long that it pauses
STEADY_DB = 4.0  # range within which the level of noise remains
SHORTEST_S = 0.04  # what is louder for a shorter time is a click
MARGIN_S, EDGE_S = 0.05, 0.004  # what is left around a clip's speech, and how its ends fade where nothing is
SPEEDS = (0.85, 0.9, 0.95, 1.05, 1.1, 1.15)  # few, so that their filters are worked out once
SPEECH_RMS = 0.1  # of speech before a scene's gain: -20 dB
LONGEST_RT60_S = 20.0  # of a cathedral
TABLE = 2048  # points of a period


class Clip(NamedTuple):
    """Clean speech, cut out: made by `speech_clip`."""

    samples: np.ndarray  # (N,), float32; the root mean square of what is active is 1
    active: np.ndarray  # (N,), bool


class Scene(NamedTuple):
    """What can be heard, and when somebody speaks."""

    samples: np.ndarray  # (N,), float32, full scale 1
    active: np.ndarray  # (N,), bool


@dataclass(frozen=True, kw_only=True)
class SceneSettings:
    """What scenes are like. Ranges are pairs of bounds, between which values are uniform; chances are 0 to 1.

    Parameters
    ----------
    duration_s : float, default 10
        Length of a scene in seconds.
    speech : float, default 0.85
        Chance that there is speech at all.
    talkers : (int, int), default (1, 3)
        How many take turns.
    words : (float, float), default (1, 20)
        Words of an utterance, on average over a scene; in a scene they are geometric. Nobody says the same
        clip twice in an utterance: whoever has few is brief.
    word_gap_s : (float, float), default (0, 0.3)
        From word to word in an utterance; two of three gaps are in the range's lowest third.
    pause_s : (float, float), default (0.2, 4)
        From turn to turn, on average over a scene; in a scene they are exponential.
    overlap : float, default 0.1
        Chance that a turn begins before the one before it is over.
    bridge_s : float, default 0.2
        Pauses shorter than this, in seconds, are labelled as speech.
    speed : float, default 0.4
        Chance that an utterance is played slower or faster, by up to 15 %.
    talker_gain_db : (float, float), default (-10, 0)
        How loud a talker is.
    snr_db : (float, float), default (-5, 30)
        Of recorded and of coloured noise, of music and of transients, each by itself: the power of speech,
        over the active samples, by that of the noise where it sounds.
    alone_db : (float, float), default (-20, 20)
        The same in a scene without speech, where the power is that of the speech that might have been: what
        barks alone is as loud as who speaks alone.
    recorded, coloured, room : float, default 0.5, 0.15, 0.25
        Chances of each background, one regardless of the other: excerpts of recordings; noise of a random
        colour; the faint noise and hum of a quiet room.
    room_snr_db : (float, float), default (25, 50)
        Signal-to-noise ratio of a quiet room.
    passing : float, default 0.3
        Chance that recorded noise begins or ends in the middle of the scene.
    music, transients : float, default 0.15, 0.25
        Chances of chords, melodies or calls; of clicks, knocks, beeps or typing.
    reverberation : float, default 0.65
        Chance of a room around the talkers; and of one around music.
    rt60_s : (float, float), default (0.1, 0.8)
        Its reverberation time in seconds.
    direct_db : (float, float), default (-6, 12)
        Power of the direct sound by that of the reverberation: a talker's distance.
    band : float, default 0.25
        Chance of a narrow band: a telephone's, 300 to 3400 Hz, or what is below 4 kHz.
    tilt_db : (float, float), default (-3, 3)
        The microphone's slope, per octave.
    gain_db : (float, float), default (-30, 0)
        Of the whole scene; with 0, speech is at -20 dB before a talker's own gain.
    drift : float, default 0.25
        Chance that the gain wanders, by up to 6 dB to either side in a few seconds.
    overload : float, default 0.05
        Chance that peaks are clipped.
    rounding : float, default 0.5
        Chance of 16-bit samples.

    Raises
    ------
    SettingError
        If a setting is out of its range.
    """

    duration_s: float = 10.0
    speech: float = 0.85
    talkers: tuple[int, int] = (1, 3)
    words: tuple[float, float] = (1.0, 20.0)
    word_gap_s: tuple[float, float] = (0.0, 0.3)
    pause_s: tuple[float, float] = (0.2, 4.0)
    overlap: float = 0.1
    bridge_s: float = BRIDGE_S
    speed: float = 0.4
    talker_gain_db: tuple[float, float] = (-10.0, 0.0)
    snr_db: tuple[float, float] = (-5.0, 30.0)
    alone_db: tuple[float, float] = (-20.0, 20.0)
    recorded: float = 0.5
    coloured: float = 0.15
    room: float = 0.25
    room_snr_db: tuple[float, float] = (25.0, 50.0)
    passing: float = 0.3
    music: float = 0.15
    transients: float = 0.25
    reverberation: float = 0.65
    rt60_s: tuple[float, float] = (0.1, 0.8)
    direct_db: tuple[float, float] = (-6.0, 12.0)
    band: float = 0.25
    tilt_db: tuple[float, float] = (-3.0, 3.0)
    gain_db: tuple[float, float] = (-30.0, 0.0)
    drift: float = 0.25
    overload: float = 0.05
    rounding: float = 0.5

    def __post_init__(self) -> None:
        check_number("duration_s", self.duration_s, at_least=0.1)
        check_number("bridge_s", self.bridge_s, at_least=0)
        lowest = {"talkers": 1, "words": 1, "word_gap_s": 0, "pause_s": 0, "rt60_s": 0.01}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, tuple):
                if not (isinstance(value, tuple | list) and len(value) == 2):
                    raise SettingError(f"{field.name} is a pair (lowest, highest), not {value!r}")
                for bound in value:
                    check_number(
                        f"each bound of {field.name}",
                        bound,
                        whole=field.name == "talkers",
                        at_least=lowest.get(field.name, -100),
                    )
                if field.name == "rt60_s" and value[1] > LONGEST_RT60_S:
                    raise SettingError(f"rt60_s is {LONGEST_RT60_S:g} s at the most, not {value!r}")
                if value[0] > value[1]:
                    raise SettingError(f"{field.name} is a pair (lowest, highest), not {value!r}; swap them")
            elif not field.name.endswith("_s") and not (isinstance(value, Real) and 0 <= float(value) <= 1):
                raise SettingError(f"{field.name} is a chance from 0 to 1, not {value!r}")


def speech_activity(samples: np.ndarray, sample_rate: int, bridge_s: float = BRIDGE_S) -> np.ndarray:
    """Tell where somebody speaks in a clean recording, by its level alone.

    Levels are those of windows of 20 ms, every 10 ms, of the sound with its treble raised by pre-emphasis,
    which fricatives have most of, and hum least. Speech is what comes within 15 dB of the recording's loud
    part (the 95th percentile), and what is around that down to 30 dB below the loud part; but nowhere less
    than 10 dB above the noise, where that leaves the 15 dB. What is that loud for less than 40 ms is a click.
    Noise has the level of the 5th percentile, or the highest one at which the sound remains within 4 dB for a
    quarter of the time; for half of it, if that is as loud as the loud part.

    Parameters
    ----------
    samples : array (N,), floating
        The recording: one talker, little noise.
    sample_rate : int
        Its rate in Hz.
    bridge_s : float, default 0.2
        Pauses shorter than this, in seconds, are speech.

    Returns
    -------
    ndarray (N,), bool
        Which samples are speech, in steps of 10 ms. None in silence.

    Raises
    ------
    AudioError
        If the samples are no mono sound.
    """
    level, floor, loud = _levels(samples, sample_rate)
    if loud <= SILENT_DB:
        return np.zeros(len(samples), bool)
    core = level >= loud - CORE_DB
    reach = level >= max(loud - REACH_DB, min(floor + CLEARANCE_DB, loud - CORE_DB))
    active = np.zeros(len(level), bool)
    for a, b in _stretches(reach):
        active[a:b] = (
            core[a:b].any() and (b - a) * STEP_S >= SHORTEST_S - 1e-9
        )  # else it is breath, or a click
    step = round(STEP_S * sample_rate)
    return _bridged(np.repeat(active, step)[: len(samples)], round(bridge_s * sample_rate))


def _levels(samples: np.ndarray, sample_rate: int) -> tuple[np.ndarray, float, float]:
    """Tell the levels every 10 ms, in dB, that of the noise, and that of the loud part."""
    samples = check_samples(samples).astype(np.float64)
    step = round(STEP_S * sample_rate)
    samples = samples - samples.mean()
    samples[1:] -= 0.9 * samples[:-1]
    energy = np.concatenate([[0.0], np.cumsum(samples**2)])
    begin = np.arange(0, len(samples), step)  # of a step; its window has half a step more on either side
    first, last = np.maximum(begin - step // 2, 0), np.minimum(begin - step // 2 + 2 * step, len(samples))
    level = 10 * np.log10(
        np.maximum(energy[last] - energy[first], 0) / (last - first) + 10 ** (SILENT_DB / 10)
    )
    floor, loud = np.percentile(level, [5, 95])
    # Noise keeps its level, as speech does not; below it may be nothing at all, where a recording was padded.
    in_order = np.sort(level)
    shares = np.searchsorted(in_order, in_order + STEADY_DB) - np.arange(len(level))
    steady = shares >= np.where(in_order + STEADY_DB < loud - 5, 0.25, 0.5) * len(level)
    if steady.any():
        floor = max(floor, in_order[steady][-1] + STEADY_DB / 2)
    return level, float(floor), float(loud)


def _stretches(mask: np.ndarray) -> list[tuple[int, int]]:
    """Where a mask is True: first index, and the one after the last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _bridged(active: np.ndarray, shortest: int) -> np.ndarray:
    """Fill the pauses between speech that are shorter than that."""
    active, stretches = active.copy(), _stretches(active)
    for (_, end), (start, _) in pairwise(stretches):
        if start - end < shortest:
            active[end:start] = True
    return active


def speech_clip(samples: np.ndarray, sample_rate: int) -> Clip | None:
    """Cut the speech out of a clean recording, for scenes.

    Parameters
    ----------
    samples : array (N,), floating
        The recording, such as one word.
    sample_rate : int
        Its rate in Hz.

    Returns
    -------
    Clip or None
        From 50 ms before the first to 50 ms after the last active sample, fading at both ends; the root mean
        square of what is active is 1. None if its level does not tell where somebody speaks: nothing is
        active, or it is so long that there must be a pause, 0.8 s, and the noise is not 25 dB below the loud
        part.

    Raises
    ------
    AudioError
        If the samples are no mono sound.
    """
    active = speech_activity(samples, sample_rate)
    _, floor, loud = _levels(samples, sample_rate)
    if not active.any() or (len(samples) >= CLEAN_S * sample_rate and loud - floor < CLEAN_DB):
        return None
    where = np.flatnonzero(active)
    margin = round(MARGIN_S * sample_rate)
    begin, end = max(where[0] - margin, 0), min(where[-1] + 1 + margin, len(active))
    cut = samples[begin:end].astype(np.float64)
    cut -= cut.mean()
    # What fades is the margin; where the recording leaves none, a few ms, so that nothing clicks.
    edge = round(EDGE_S * sample_rate)
    for side, n_fade in ((cut, max(where[0] - begin, edge)), (cut[::-1], max(end - 1 - where[-1], edge))):
        n_fade = min(n_fade, len(cut))
        side[:n_fade] *= np.sin(np.linspace(0, np.pi / 2, n_fade, endpoint=False)) ** 2
    active = active[begin:end]
    return Clip((cut / math.sqrt(np.mean(cut[active] ** 2))).astype(np.float32), active)


def frame_labels(active: np.ndarray, frame_length: int, hop_length: int) -> np.ndarray:
    """Label frames by the sample at their centre.

    Frame t has the samples from ``t * hop_length`` to ``t * hop_length + frame_length``, as features have it
    that are framed without centring; only whole frames count.

    Parameters
    ----------
    active : array (N,), bool
        Which samples are speech.
    frame_length, hop_length : int
        Samples of a frame, and from one frame to the next.

    Returns
    -------
    ndarray (T,), bool
        T is ``1 + (N - frame_length) // hop_length``, or 0 if no frame is whole. Label t is
        ``active[t * hop_length + frame_length // 2]``.

    Raises
    ------
    SettingError
        If a length is no positive whole number.
    """
    check_number("frame_length", frame_length, whole=True, at_least=1)
    check_number("hop_length", hop_length, whole=True, at_least=1)
    n_frames = max(0, 1 + (len(active) - frame_length) // hop_length)
    return np.asarray(active, bool)[np.arange(n_frames) * hop_length + frame_length // 2]


def draw_scene(
    speakers: Sequence[Sequence[Clip]],
    noises: Sequence[np.ndarray],
    sample_rate: int,
    rng: np.random.Generator,
    settings: SceneSettings | None = None,
) -> Scene:
    """Draw a scene.

    Parameters
    ----------
    speakers : sequence of sequence of Clip
        What each speaker said, at `sample_rate`.
    noises : sequence of array (M,), floating
        Recordings of what is not speech, at `sample_rate`. With none, all backgrounds are made.
    sample_rate : int
        Of all of them and of the scene, in Hz.
    rng : numpy.random.Generator
        Draws everything.
    settings : SceneSettings, optional
        What the scene is like. By default `SceneSettings()`.

    Returns
    -------
    Scene
        As long as the settings say.

    Raises
    ------
    DataError
        If there is to be speech and nobody to speak, or somebody has said nothing.
    """
    settings = settings or SceneSettings()
    check_number("sample_rate", sample_rate, whole=True, at_least=1)
    if settings.speech > 0 and not (len(speakers) and all(len(clips) for clips in speakers)):
        raise DataError("speakers: each of at least one speaker needs a clip; give some, or set speech to 0")
    n_samples = round(settings.duration_s * sample_rate)
    samples, active = np.zeros(n_samples, np.float32), np.zeros(n_samples, bool)
    power = 10 ** (rng.uniform(*settings.talker_gain_db) / 10)  # of the speech that might have been
    if rng.random() < settings.speech:
        samples, active = _conversation(speakers, n_samples, sample_rate, rng, settings)
        if active.any():
            power = float(np.mean(np.square(samples[active])))
    snrs_db = settings.snr_db if active.any() else settings.alone_db
    for noise, snr_db in _noises(noises, n_samples, sample_rate, snrs_db, rng, settings):
        sounding = noise[noise != 0]
        if len(sounding):
            rms = math.sqrt(np.mean(np.square(sounding)))
            samples += noise * np.float32(math.sqrt(power) * 10 ** (-snr_db / 20) / rms)
    return Scene(degrade(samples, sample_rate, rng, settings), active)


def _conversation(
    speakers: Sequence[Sequence[Clip]],
    n_samples: int,
    sample_rate: int,
    rng: np.random.Generator,
    settings: SceneSettings,
) -> Scene:
    """Let one or several talkers take turns, each at a place of their own in one room."""
    n_talkers = min(int(rng.integers(settings.talkers[0], settings.talkers[1] + 1)), len(speakers))
    talkers = rng.choice(len(speakers), n_talkers, replace=False)
    tracks = np.zeros((n_talkers, n_samples), np.float32)
    active = np.zeros(n_samples, bool)
    mean_words, mean_pause = _log_uniform(rng, settings.words), _log_uniform(rng, settings.pause_s)
    # The scene may begin in the middle of a word, of a turn or of a pause.
    place = round(rng.uniform(-2, 2 * mean_pause) * sample_rate)
    while place < n_samples:
        talker = int(rng.integers(n_talkers))
        n_words = int(rng.geometric(1 / mean_words))
        said = _utterance(speakers[talkers[talker]], n_words, n_samples, sample_rate, rng, settings)
        _add(tracks[talker], said.samples, place)
        first, last = max(place, 0), max(place + len(said.active), 0)
        active[first:last] |= said.active[first - place : first - place + len(active[first:last])]
        place += len(said.samples)
        if rng.random() < settings.overlap:
            place -= round(rng.uniform(0, 0.5) * len(said.samples))
        else:
            place += round(rng.exponential(mean_pause) * sample_rate)
        place = max(place, 1 - n_samples)
    echoes = rng.random() < settings.reverberation
    rt60_s = rng.uniform(*settings.rt60_s)
    samples = np.zeros(n_samples, np.float32)
    for track in tracks:
        gain_db, direct_db = rng.uniform(*settings.talker_gain_db), rng.uniform(*settings.direct_db)
        if echoes and track.any():
            track = reverberate(track, sample_rate, rt60_s, direct_db, rng)
        samples += track * np.float32(10 ** (gain_db / 20))
    return Scene(samples, _bridged(active, round(settings.bridge_s * sample_rate)))


def _utterance(
    clips: Sequence[Clip],
    n_words: int,
    longest: int,
    sample_rate: int,
    rng: np.random.Generator,
    settings: SceneSettings,
) -> Clip:
    """Let a speaker say words in a row, with gaps between what is active of them."""
    low, high = settings.word_gap_s
    placed: list[tuple[Clip, int]] = []
    place = end = 0
    for n in rng.permutation(len(clips))[:n_words]:
        clip = clips[n]
        where = np.flatnonzero(clip.active)
        if placed:
            third = (high - low) / 3
            gap = rng.uniform(low, low + third) if rng.random() < 2 / 3 else rng.uniform(low + third, high)
            place += round(gap * sample_rate) - int(where[0])
        placed.append((clip, max(place, 0)))
        end = max(end, placed[-1][1] + len(clip.samples))
        place = placed[-1][1] + int(where[-1]) + 1
        if end >= longest:
            break
    samples, active = np.zeros(end, np.float32), np.zeros(end, bool)
    for clip, start in placed:
        samples[start : start + len(clip.samples)] += clip.samples * np.float32(10 ** (rng.normal(0, 0.1)))
        active[start : start + len(clip.active)] |= clip.active
    if rng.random() < settings.speed:
        samples = change_speed(samples, SPEEDS[int(rng.integers(len(SPEEDS)))])
        active = active[np.arange(len(samples)) * len(active) // len(samples)]
    return Clip(samples, active)


def _noises(
    noises: Sequence[np.ndarray],
    n_samples: int,
    sample_rate: int,
    snrs_db: tuple[float, float],
    rng: np.random.Generator,
    settings: SceneSettings,
) -> list[tuple[np.ndarray, float]]:
    """Draw what else sounds, and its signal-to-noise ratio."""
    drawn = []
    if rng.random() < settings.recorded and len(noises):
        noise = noises[int(rng.integers(len(noises)))]
        excerpt = noise.take(rng.integers(len(noise)) + np.arange(n_samples), mode="wrap").astype(np.float32)
        if rng.random() < settings.passing:
            begin, end = np.sort(rng.integers(-n_samples // 2, n_samples * 3 // 2, 2)).clip(0, n_samples)
            excerpt = excerpt * _window(n_samples, begin, end, round(0.05 * sample_rate))
        drawn.append((excerpt, rng.uniform(*snrs_db)))
    if rng.random() < settings.coloured:
        drawn.append((coloured_noise(n_samples, rng.uniform(0, 2), rng), rng.uniform(*snrs_db)))
    if rng.random() < settings.room:
        room = coloured_noise(n_samples, rng.uniform(0.5, 2), rng)
        mains = (
            (50, 60)[int(rng.integers(2))] * 2 * np.pi / sample_rate * np.arange(n_samples, dtype=np.float32)
        )
        room += np.float32(rng.uniform(0, 0.5)) * np.sin(mains) + np.float32(rng.uniform(0, 0.5)) * np.sin(
            2 * mains
        )
        drawn.append((room, rng.uniform(*settings.room_snr_db)))
    if rng.random() < settings.music:
        made = (music, calls)[int(rng.integers(2))](n_samples, sample_rate, rng)
        if rng.random() < settings.reverberation:
            rt60_s, direct_db = rng.uniform(*settings.rt60_s), rng.uniform(*settings.direct_db)
            made = reverberate(made, sample_rate, rt60_s, direct_db, rng)
        drawn.append((made, rng.uniform(*snrs_db)))
    if rng.random() < settings.transients:
        drawn.append((transients(n_samples, sample_rate, rng), rng.uniform(*snrs_db)))
    return drawn


def reverberate(
    samples: np.ndarray, sample_rate: int, rt60_s: float, direct_db: float, rng: np.random.Generator
) -> np.ndarray:
    """Put a talker into a room: the direct sound, and noise that dies away after it.

    Parameters
    ----------
    samples : array (N,), floating
        The sound without a room.
    sample_rate : int
        Its rate in Hz.
    rt60_s : float
        Seconds in which the reverberation falls by 60 dB.
    direct_db : float
        Energy of the direct sound by that of the reverberation, in dB.
    rng : numpy.random.Generator
        Draws the room.

    Returns
    -------
    ndarray (N,), float32
        The direct sound at its place, and the room; what is left of it at the end is cut off.

    Notes
    -----
    Noise under an exponential: J. D. Polack, "La transmission de l'énergie sonore dans les salles", 1988. Its
    treble dies sooner here, and it begins 1 to 10 ms after the direct sound.
    """
    from scipy.signal import lfilter, oaconvolve  # slow to import, as in `resample`

    n_tail = max(round(rt60_s * sample_rate), 1)
    decay = np.exp(-math.log(1000) / n_tail * np.arange(n_tail))
    tail = rng.standard_normal(n_tail) * decay
    smooth = rng.uniform(0, 0.8)
    dull = lfilter([1 - smooth], [1, -smooth], tail)
    tail = tail * decay + dull * (1 - decay)
    tail *= 10 ** (-direct_db / 20) / math.sqrt(np.sum(tail**2))
    n_delay = 1 + round(rng.uniform(0.001, 0.01) * sample_rate)
    response = np.concatenate([[1.0], np.zeros(n_delay - 1), tail]).astype(np.float32)
    return np.asarray(oaconvolve(samples.astype(np.float32, copy=False), response)[: len(samples)])


def degrade(
    samples: np.ndarray, sample_rate: int, rng: np.random.Generator, settings: SceneSettings | None = None
) -> np.ndarray:
    """Record a scene: microphone, band, level, overload, rounding.

    Parameters
    ----------
    samples : array (N,), floating
        The scene, with its speech at a root mean square of about 1.
    sample_rate : int
        Its rate in Hz.
    rng : numpy.random.Generator
        Draws everything.
    settings : SceneSettings, optional
        What it is like. By default `SceneSettings()`.

    Returns
    -------
    ndarray (N,), float32
        As recorded, at most full scale; nothing comes earlier or later than before.
    """
    settings = settings or SceneSettings()
    n_samples = len(samples)
    kind = int(rng.integers(2)) if rng.random() < settings.band else None
    tilt = rng.uniform(*settings.tilt_db)
    if kind is not None or tilt:
        samples = _filtered(samples, sample_rate, tilt, kind)
    scale = SPEECH_RMS * 10 ** (rng.uniform(*settings.gain_db) / 20)
    samples = samples * np.float32(scale)
    if rng.random() < settings.drift:
        n_points = 2 + n_samples // (2 * sample_rate)
        decibels = rng.uniform(-6, 6, n_points)
        at = np.linspace(0, n_points - 1, n_samples)
        samples = samples * (10 ** (np.interp(at, np.arange(n_points), decibels) / 20)).astype(np.float32)
    peak = float(np.abs(samples).max(initial=0))
    if rng.random() < settings.overload:
        samples = np.clip(samples, -peak * 0.3, peak * 0.3)
    elif peak > 1:
        samples = samples / np.float32(peak)
    samples = np.clip(samples, -1, 1)
    if rng.random() < settings.rounding:
        samples = np.round(samples * np.float32(32767)) / np.float32(32767)
    return samples.astype(np.float32, copy=False)


def _filtered(samples: np.ndarray, sample_rate: int, tilt_db: float, kind: int | None) -> np.ndarray:
    """Filter without delay: a slope around 1 kHz; a telephone's band if `kind` is 0, below 4 kHz if 1."""
    from scipy.fft import irfft, next_fast_len, rfft

    n_fft = next_fast_len(len(samples) + sample_rate // 50, real=True)  # what rings does not come round
    hertz = np.fft.rfftfreq(n_fft, 1 / sample_rate).astype(np.float32)
    octaves = np.log2(np.clip(hertz, 50, 8000) / 1000)
    response = np.exp2(octaves * np.float32(tilt_db / 20 * math.log2(10)))
    if kind is not None:
        response /= np.sqrt(1 + (hertz / (3400, 3800)[kind]) ** 16)  # Butterworth's magnitude, of order 8
    if kind == 0:
        response /= np.sqrt(1 + (300 / np.maximum(hertz, 1)) ** 8)
    filtered = irfft(rfft(samples.astype(np.float32, copy=False), n_fft) * response, n_fft)
    return np.asarray(filtered[: len(samples)])


def music(n_samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Make what is harmonic as voices are, and is none: chords or a melody, with vibrato and envelopes.

    Parameters
    ----------
    n_samples : int
        N.
    sample_rate : int
        In Hz.
    rng : numpy.random.Generator
        Draws the piece.

    Returns
    -------
    ndarray (N,), float32
        Music; 0 in its rests.
    """
    samples = np.zeros(n_samples, np.float32)
    chords = rng.random() < 0.5
    seconds = _log_uniform(rng, (0.4, 2.0) if chords else (0.1, 2.0))
    root = 55 * 2 ** rng.uniform(0, 3)
    scale = (
        np.array([0, 2, 4, 7, 9, 12, 14, 16])
        if rng.random() < 0.5
        else np.array([0, 3, 5, 7, 10, 12, 15, 17])
    )
    n_harmonics = int(rng.integers(1, 31))
    slope = rng.uniform(0.5, 2)
    period = np.arange(TABLE) / TABLE
    orders = np.arange(1, n_harmonics + 1)
    orders = orders[orders * root * 2 ** (scale[-1] / 12) < 0.45 * sample_rate]
    amplitudes = orders**-slope * rng.uniform(0.3, 1, len(orders))
    shifts = rng.uniform(0, 1, len(orders))
    table = (amplitudes @ np.sin(2 * np.pi * (np.outer(orders, period) + shifts[:, None]))).astype(np.float32)
    vibrato_hz, depth = rng.uniform(4, 7), rng.uniform(0, 0.03) * (rng.random() < 0.6)
    attack, release = rng.uniform(0.003, 0.08), rng.uniform(0.02, 0.1)
    decay_s = rng.uniform(0.1, 0.8) if rng.random() < 0.6 else np.inf  # plucked, or held
    place = round(rng.uniform(-1, 1) * sample_rate)
    while place < n_samples:
        length = max(round(seconds * float(rng.choice([0.5, 1, 1, 1, 2])) * sample_rate), 2)
        if rng.random() < 0.85:
            t = np.arange(length, dtype=np.float32) / np.float32(sample_rate)
            envelope = np.minimum(t / np.float32(attack), 1) * np.exp(-t / np.float32(decay_s))
            envelope *= np.minimum((t[-1] - t) / np.float32(release), 1)
            bend = np.sin(np.float32(2 * np.pi * vibrato_hz) * t) * np.float32(depth / vibrato_hz / 2 / np.pi)
            for note in rng.choice(scale, 3 if chords else 1, replace=False):
                phase = (t + bend) * np.float32(root * 2 ** (note / 12) * TABLE)
                _add(samples, table[phase.astype(np.int64) % TABLE] * envelope, place)
        place += length
    return samples


def calls(n_samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Make what has a pitch that glides as voices' does, and is none: animals, sirens, engines.

    Parameters
    ----------
    n_samples : int
        N.
    sample_rate : int
        In Hz.
    rng : numpy.random.Generator
        Draws who calls, and when.

    Returns
    -------
    ndarray (N,), float32
        The calls; 0 between them.
    """
    from scipy.signal import lfilter  # slow to import, as in `resample`

    samples = np.zeros(n_samples, np.float32)
    hertz, seconds = _log_uniform(rng, (40, 2000)), _log_uniform(rng, (0.06, 3.0))
    pause_s = _log_uniform(rng, (0.05, 3.0))
    octaves = rng.uniform(0, 1) * (rng.random() < 0.8)  # by which the pitch glides to either side
    wobble_hz, wobble = _log_uniform(rng, (3, 40)), rng.uniform(0, 0.06) * (rng.random() < 0.5)
    beat_hz, beat = _log_uniform(rng, (2, 100)), rng.uniform(0, 1) * (rng.random() < 0.4)
    breath = rng.uniform(0, 1) ** 2
    orders = np.arange(1, int(rng.integers(2, 32)))
    orders = orders[(orders == 1) | (orders * hertz * 2**octaves < 0.45 * sample_rate)]
    amplitudes = orders ** -rng.uniform(0, 2) * rng.uniform(0.2, 1, len(orders))
    turns = np.outer(orders, np.arange(TABLE) / TABLE) + rng.uniform(0, 1, len(orders))[:, None]
    table = (amplitudes @ np.sin(2 * np.pi * turns)).astype(np.float32)
    table /= np.sqrt(np.mean(table**2))
    contour = rng.uniform(-1, 1, int(rng.integers(2, 6)))  # nearly the same in every call
    resonances = []  # of a throat or a pipe, which does not move as a mouth does
    for _ in range(int(rng.integers(4))):
        angle = 2 * np.pi * _log_uniform(rng, (200, 0.4 * sample_rate)) / sample_rate
        radius = rng.uniform(0.8, 0.98)
        resonances.append(([1 - radius], [1, -2 * radius * math.cos(angle), radius**2]))
    attack, release = rng.uniform(0.01, 0.4), rng.uniform(0.05, 0.8)  # parts of a call
    place = round(rng.uniform(-1, 1) * sample_rate)
    while place < n_samples:
        length = max(round(seconds * rng.uniform(0.7, 1.4) * sample_rate), 16)
        t, part = np.arange(length) / sample_rate, np.linspace(0, 1, length)
        points = contour + rng.normal(0, 0.1, len(contour))
        glide = octaves * np.interp(part, np.linspace(0, 1, len(points)), points)
        pitch = hertz * np.exp2(glide) * (1 + wobble * np.sin(2 * np.pi * wobble_hz * t))
        sound = table[(np.cumsum(pitch / sample_rate) * TABLE).astype(np.int64) % TABLE]
        sound = (1 - breath) * sound + breath * rng.standard_normal(length)
        sound *= 1 + beat * np.sin(2 * np.pi * beat_hz * t)
        for numerator, denominator in resonances:
            sound = 0.3 * sound + lfilter(numerator, denominator, sound)
        sound *= np.minimum(np.minimum(part / attack, (1 - part) / release), 1) * 10 ** rng.normal(0, 0.1)
        _add(samples, sound.astype(np.float32), place)
        place += length + round(rng.exponential(pause_s) * sample_rate)
    return samples


def transients(n_samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Make what is short: clicks, knocks, beeps or typing.

    Parameters
    ----------
    n_samples : int
        N.
    sample_rate : int
        In Hz.
    rng : numpy.random.Generator
        Draws which, and when.

    Returns
    -------
    ndarray (N,), float32
        The sounds; 0 between them.
    """
    samples = np.zeros(n_samples, np.float32)
    kind = ("clicks", "knocks", "beeps", "keys")[int(rng.integers(4))]
    n_most, interval = {"clicks": (4, 1.0), "knocks": (5, 0.25), "beeps": (8, 0.4), "keys": (40, 0.15)}[kind]
    hertz = _log_uniform(rng, (80, 400) if kind == "knocks" else (400, min(3500, 0.4 * sample_rate)))
    beep_s = _log_uniform(rng, (0.05, 0.4))
    for _ in range(int(rng.integers(1, 6))):  # groups
        place = int(rng.integers(n_samples))
        for _ in range(int(rng.integers(1, n_most + 1))):
            loudness = 10 ** rng.normal(0, 0.15)
            if kind == "beeps":
                t = np.arange(max(round(beep_s * sample_rate), 2)) / sample_rate
                edges = np.minimum(np.minimum(t, t[-1] - t) / 0.005, 1)
                sound = np.sin(2 * np.pi * hertz * t) * edges
            else:
                decay_s = rng.uniform(0.015, 0.05) if kind == "knocks" else rng.uniform(0.001, 0.008)
                t = np.arange(max(round(5 * decay_s * sample_rate), 2)) / sample_rate
                sound = rng.standard_normal(len(t)) * np.exp(-t / decay_s)
                if kind == "knocks":
                    sound = 0.2 * sound + np.sin(2 * np.pi * hertz * t) * np.exp(-t / decay_s)
            _add(samples, (loudness * sound).astype(np.float32), place)
            if kind == "keys":  # a key comes up again
                _add(samples, (0.5 * loudness * sound).astype(np.float32), place + round(0.06 * sample_rate))
            place += round(interval * rng.uniform(0.5, 1.5) * sample_rate)
    return samples


def _add(samples: np.ndarray, sound: np.ndarray, place: int) -> None:
    """Add a sound at its place, with what lies within."""
    first, last = max(place, 0), min(place + len(sound), len(samples))
    if first < last:
        samples[first:last] += sound[first - place : last - place]


def _window(n_samples: int, begin: int, end: int, n_fade: int) -> np.ndarray:
    """1 from `begin` to `end` and 0 elsewhere, with fades inside, but for the edges of the scene."""
    at = np.arange(n_samples, dtype=np.float32)
    rising = np.ones(n_samples, np.float32) if begin == 0 else (at - begin) / n_fade
    falling = np.ones(n_samples, np.float32) if end == n_samples else (end - at) / n_fade
    return np.clip(np.minimum(rising, falling), 0, 1)


def _log_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    low, high = (max(bound, 1e-3) for bound in bounds)
    return float(np.exp(rng.uniform(math.log(low), math.log(high))))
