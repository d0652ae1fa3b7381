"""What scenes are drawn from: folders of speech and of noise, and which of it is held out from training.

Whoever or whatever was recorded is held out as a whole: a group, which is a speaker or a source where a
manifest names one, and else a file's own name.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np

from lstm_scratch.corpus import ALONE, MANIFEST_NAME, Corpus, read_corpus
from lstm_scratch.errors import DataError
from lstm_scratch.scenes import Clip, speech_clip
from lstm_scratch.sound import AUDIO_SUFFIXES, read_audio

ONE_IN = 5  # groups that are held out
MOST_CLIPS = 100  # of one speaker: the first ones
# Folders, and what is left out of them: labels, or names of files. What has a voice in it is no noise; and
# the silence among the spoken commands was cut from the recordings in `noise`.
SPEECH = {"fsdd": (), "speech_commands_v2_test": ("silence",)}
NOISE = {"noise": ("dude_miaowing",), "esc10": ("baby_cry", "person_sneeze")}


class Sources(NamedTuple):
    """What `draw_scene` is given."""

    speakers: list[list[Clip]]
    noises: list[np.ndarray]  # each (M,), float32


def held_out(group: str) -> bool:
    """Tell whether a group is held out from training: one in five is, the same ones everywhere and always.

    Parameters
    ----------
    group : str
        A speaker, a source, or a file's name without its folders and its suffix.

    Returns
    -------
    bool
        Whether nothing of it may be trained on.
    """
    return crc32(group.encode()) % ONE_IN == 0


def read_sources(data: str | os.PathLike[str], sample_rate: int, test: bool) -> Sources:
    """Read all speech and noise of one side from a folder that holds the corpora `SPEECH` and `NOISE`.

    Parameters
    ----------
    data : path
        The folder.
    sample_rate : int
        To which recordings are resampled, in Hz.
    test : bool
        Read what is held out, and not what may be trained on.

    Returns
    -------
    Sources
        Speakers and noises.

    Raises
    ------
    DataError
        If a corpus is missing, or has no recordings on that side.
    AudioError
        If a recording cannot be read.
    """
    speakers: list[list[Clip]] = []
    noises: list[np.ndarray] = []
    for name, left_out in SPEECH.items():
        speakers += read_speech(Path(data) / name, sample_rate, test, left_out)
    for name, left_out in NOISE.items():
        noises += read_noises(Path(data) / name, sample_rate, test, left_out)
    return Sources(speakers, noises)


def read_speech(
    path: str | os.PathLike[str], sample_rate: int, test: bool, leave_out: Sequence[str] = ()
) -> list[list[Clip]]:
    """Read clean speech.

    Parameters
    ----------
    path : path
        A corpus, as of `read_corpus`; or a folder of recordings, each of a speaker of its own.
    sample_rate : int
        To which it is resampled, in Hz.
    test : bool
        Read what is held out, and not what may be trained on.
    leave_out : sequence of str, optional
        Labels that are not to be read.

    Returns
    -------
    list of list of Clip
        By speaker, in alphabetical order, of each the first 100. Recordings that are not clean are left out,
        as of `speech_clip`.

    Raises
    ------
    DataError
        If there are no recordings on that side.
    AudioError
        If one cannot be read.
    """
    speakers: dict[str, list[Clip]] = {}
    for group, file in _files(path, test, leave_out):
        clips = speakers.setdefault(group, [])
        if len(clips) < MOST_CLIPS:
            clip = speech_clip(read_audio(file, sample_rate)[0], sample_rate)
            if clip is not None:
                clips.append(clip)
    return [clips for clips in speakers.values() if clips]


def read_noises(
    path: str | os.PathLike[str], sample_rate: int, test: bool, leave_out: Sequence[str] = ()
) -> list[np.ndarray]:
    """Read what is not speech.

    Parameters
    ----------
    path : path
        A corpus, as of `read_corpus`; or a folder of recordings, each of a source of its own.
    sample_rate : int
        To which it is resampled, in Hz.
    test : bool
        Read what is held out, and not what may be trained on.
    leave_out : sequence of str, optional
        Labels, or names of files without their suffix, that are not to be read.

    Returns
    -------
    list of ndarray (M,), float32
        The recordings, by source, in alphabetical order. Silent ones are left out.

    Raises
    ------
    DataError
        If there are no recordings on that side.
    AudioError
        If one cannot be read.
    """
    noises = [read_audio(file, sample_rate)[0] for _, file in _files(path, test, leave_out)]
    return [noise for noise in noises if noise.any()]


def _files(path: str | os.PathLike[str], test: bool, leave_out: Sequence[str]) -> list[tuple[str, Path]]:
    """List groups and recordings of one side, in alphabetical order."""
    corpus = _corpus(Path(path))
    groups = corpus.groups or [file.stem for file in corpus.paths]
    files = []
    for group, file, label in zip(groups, corpus.paths, corpus.labels, strict=True):
        group = file.stem if group.startswith(ALONE) else group  # whose path differs from place to place
        if held_out(group) == test and label not in leave_out:
            files.append((group, file))
    if not files:
        raise DataError(
            f"{corpus.name}: of {len(set(groups))} speakers or sources, none is "
            f"{'held out' if test else 'to be trained on'}; add recordings of others"
        )
    return sorted(files)


def _corpus(path: Path) -> Corpus:
    """Read a corpus, or a folder of files, of which each has its own label."""
    files = sorted(file for file in path.glob("*") if file.suffix.lower() in AUDIO_SUFFIXES)
    if files and not (path / MANIFEST_NAME).exists():
        return Corpus(str(path), files, [file.stem for file in files])
    return read_corpus(path)
