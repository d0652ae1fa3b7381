"""Spoken digits, with other voices to learn from: `python -m benchmarks.other_voices`.

With ``--data ../shared/data -o FOLDER`` it makes a corpus for `cross-validate FOLDER --folds speaker`:
fsdd's clips, with their speakers, and clips of others, with the speaker `none`, which are trained on in every
round and never tested. The others are

- the digits among the unknown words of Speech Commands: 208 clips of 98 people, each also played slower and
  faster;
- the synthetic voices of the demo, which take turns with the accents of `synthesis.ACCENTS`.

Silence before and after a word is cut off, as it is in fsdd, whose clips stay where they are. It needs the
extra `demo`.
"""

import argparse
import csv
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from lstm_scratch.corpus import MANIFEST_NAME, read_corpus
from lstm_scratch.errors import DataError, UserError
from lstm_scratch.sound import FeatureError, change_speed, read_audio
from lstm_scratch.synthesis import ACCENTS, DIGITS, spoken_digits

Row = tuple[str, str, str]  # path, label, speaker

NOBODY = "none"
SPEEDS = (0.8, 0.9, 1.0, 1.1, 1.2)  # of recordings; pitch and formants change as well
ACCENTS_PER_VOICE = 3
FRAME_MS = 10
AUDIBLE_DB = 30  # below its loudest frame, a word begins and ends


def write_corpus(data: Path, folder: Path, accents_per_voice: int = ACCENTS_PER_VOICE) -> Path:
    """Put fsdd and other voices into one corpus.

    Parameters
    ----------
    data : Path
        The folder of corpora: fsdd and speech_commands_v2_test.
    folder : Path
        Where the others' clips and the manifest go; made here, whole or not at all.
    accents_per_voice : int, default 3
        How many accents each synthetic voice speaks with.

    Returns
    -------
    Path
        The manifest, with columns path, label ("0" to "9") and speaker.

    Raises
    ------
    UserError
        If the folder is there already, the number is out of its range, or the synthesizer is not installed.
    DataError
        If a corpus is missing, or fsdd's speakers are.
    """
    if folder.exists():
        raise UserError(f"{folder}: is there already; remove it or name another folder")
    if not 1 <= accents_per_voice <= len(ACCENTS):
        raise UserError(f"a voice has from 1 to {len(ACCENTS)} accents, not {accents_per_voice}")
    fsdd = read_corpus(data / "fsdd")
    if fsdd.groups is None:
        raise DataError(f"{fsdd.name}: no column speaker; name the folder with fsdd's own manifest in it")
    relative = [Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix() for path in fsdd.paths]
    rows: list[Row] = list(zip(relative, fsdd.labels, fsdd.groups, strict=True))
    part = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        rows += recorded_digits(data / "speech_commands_v2_test", part)
        rows += synthetic_digits(part, accents_per_voice)
        with (part / MANIFEST_NAME).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("path", "label", "speaker"), *rows])
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder / MANIFEST_NAME


def recorded_digits(commands: Path, folder: Path) -> Iterator[Row]:
    """Write the digits among the unknown words of Speech Commands, at every speed of `SPEEDS`.

    Parameters
    ----------
    commands : Path
        The corpus. The name of a file begins with its word.
    folder : Path
        Below it, in ``recorded``, the clips go.

    Yields
    ------
    tuple of str
        Path in the folder, label, speaker.
    """
    for path in read_corpus(commands).paths:
        word = path.name.split("_")[0]
        if path.parent.name != "_unknown_" or word not in DIGITS:
            continue
        samples, rate = read_audio(path)
        samples = without_silence(samples, rate)
        for speed in SPEEDS:
            name = f"recorded/{path.stem}-{round(100 * speed)}.wav"
            yield _write(folder, name, change_speed(samples, speed), rate, word)


def synthetic_digits(folder: Path, accents_per_voice: int = ACCENTS_PER_VOICE) -> Iterator[Row]:
    """Write what synthetic voices say, with accents that follow each other from voice to voice.

    Parameters
    ----------
    folder : Path
        Below it, in ``synthetic``, the clips go.
    accents_per_voice : int, default 3
        How many of the accents each voice takes.

    Yields
    ------
    tuple of str
        Path in the folder, label, speaker.
    """
    # Each accent is rendered whole: what the synthesizer said before is heard in what it says next.
    for a, accent in enumerate(ACCENTS):
        rendered = folder / "rendered"
        corpus = read_corpus(spoken_digits(rendered, accent))
        voices = sorted({path.parent.name for path in corpus.paths})
        for path, word in zip(corpus.paths, corpus.labels, strict=True):
            turn = (a - voices.index(path.parent.name)) % len(ACCENTS)
            # The turns are spread evenly, so that a voice has accents of English, and of other tongues.
            if turn in (k * len(ACCENTS) // accents_per_voice for k in range(accents_per_voice)):
                samples, rate = read_audio(path)
                name = f"synthetic/{accent}/{path.parent.name}-{word}.wav"
                yield _write(folder, name, without_silence(samples, rate), rate, word)
        shutil.rmtree(rendered)


def without_silence(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Cut off what is before and after a word.

    Parameters
    ----------
    samples : ndarray (N,), float32
        One word.
    sample_rate : int
        Its rate in Hz.

    Returns
    -------
    ndarray (M,), float32
        From the frame of 10 ms before the first whose power is within 30 dB of the loudest one's, to the
        frame after the last. What is silent throughout is returned as it is.
    """
    length = sample_rate * FRAME_MS // 1000
    frames = samples[: len(samples) // length * length].reshape(-1, length)
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    if not power.any():
        return samples
    audible = np.flatnonzero(power >= power.max() * 10 ** (-AUDIBLE_DB / 10))
    return samples[max(audible[0] - 1, 0) * length : (audible[-1] + 2) * length]


def _write(folder: Path, name: str, samples: np.ndarray, sample_rate: int, word: str) -> Row:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / name, samples, sample_rate)
    return name, str(DIGITS.index(word)), NOBODY


def main(arguments: list[str] | None = None) -> None:
    """Write the corpus.

    Parameters
    ----------
    arguments : list of str, optional
        By default those of the process.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of corpora")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="made here")
    about = f"of each voice (default: {ACCENTS_PER_VOICE})"
    parser.add_argument("--accents", type=int, default=ACCENTS_PER_VOICE, metavar="N", help=about)
    options = parser.parse_args(arguments)
    try:
        manifest = write_corpus(options.data, options.output, options.accents)
    except (UserError, FeatureError, OSError) as error:
        parser.exit(1, f"{error}\n")
    print(manifest)


if __name__ == "__main__":
    main()
