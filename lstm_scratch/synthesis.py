"""The built-in corpus: ten English digits spoken by about a hundred synthetic voices.

eSpeak NG (the package ``espeakng-loader``, extra ``demo``) speaks them through its C interface. It
keeps hidden state, so that a word comes out a little different when it is spoken again: the corpus
is therefore rendered in one fixed order by a fresh process, `python -m lstm_scratch.synthesis DIR ACCENT`.
"""

import csv
import ctypes
import importlib
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import soundfile

from lstm_scratch.errors import UserError
from lstm_scratch.progress import progress_bar

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DEFAULT_ACCENT = "en-us"
_ENGLISH = ("en-us", "en-us-nyc", "en", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-029")
# Languages of eSpeak NG, and how each writes the digits. Other tongues than English write them as they would
# say them: read by their rules, with their sounds, the words come out with an accent.
ACCENTS = dict.fromkeys(_ENGLISH, DIGITS) | {
    "de": ("siro", "wann", "tu", "thrie", "for", "faiv", "ßicks", "ßewen", "ejt", "nein"),
    "el": ("ζίροου", "ουάν", "του", "θρι", "φορ", "φάιβ", "σιξ", "σέβεν", "έιτ", "νάιν"),
    "es": ("siro", "uan", "tu", "tri", "for", "faiv", "sics", "seven", "eit", "nain"),
    "fr": ("ziro", "ouanne", "tou", "sri", "for", "faïve", "sixe", "sévène", "éïte", "naïne"),
    "it": ("ziro", "uan", "tu", "tri", "for", "faiv", "sics", "seven", "eit", "nain"),
    "nl": ("ziro", "wan", "toe", "srie", "for", "faif", "siks", "sevven", "eet", "nain"),
}
# Voices less than 3 dB apart (mean difference of log-mel spectra): they count as one speaker, lest
# the test hears a voice that training heard under another name.
ALIKE = (
    ("Diogo", "Henrique", "Hugo"),
    ("Gene", "Gene2"),
    ("adam", "benjamin", "edward2", "klatt6"),
    ("anika", "anikaRobot"),
    ("edward", "klatt3", "klatt4", "klatt5"),
    ("fast", "m6"),
    ("klatt", "klatt2"),
    ("michel", "miguel"),
    ("rob", "robert"),
    ("robosoft2", "robosoft3"),
    ("robosoft4", "robosoft5"),
    ("steph2", "steph3"),
)
TEST_EVERY = 4  # every fourth speaker, in alphabetical order, is kept for the test

# From espeak-ng's speak_lib.h.
AUDIO_OUTPUT_SYNCHRONOUS = 2
POSITION_CHARACTER = 1
CHARACTERS_UTF8 = 1
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def spoken_digits(folder: str | os.PathLike[str], accent: str = DEFAULT_ACCENT) -> Path:
    """Render the corpus in a fresh process, unless it is there already.

    Parameters
    ----------
    folder : path
        Where its recordings and its manifest go.
    accent : str, default "en-us"
        How the voices speak: one of `ACCENTS`.

    Returns
    -------
    Path
        The manifest, with columns path, label, speaker (a voice, or the first of several that sound
        alike) and split.

    Raises
    ------
    UserError
        If there is no such accent, the synthesizer is not installed, or fails.
    """
    if accent not in ACCENTS:
        raise UserError(f"there is no accent {accent!r}; name one of {', '.join(sorted(ACCENTS))}")
    folder = Path(folder)
    manifest = folder / "manifest.csv"
    if manifest.is_file():
        return manifest
    if folder.exists():
        raise UserError(f"{folder}: is there, but holds no manifest.csv; remove it or name another folder")
    _import_synthesizer()
    part = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        command = [sys.executable, "-P", "-m", "lstm_scratch.synthesis", str(part), accent]
        # In a session of its own a Ctrl-C does not reach it; `run` then ends it.
        process = subprocess.run(command, check=False, start_new_session=True)
        if process.returncode != 0:
            raise UserError(
                f"{folder}: the synthesizer failed with exit status {process.returncode} (see above)"
            )
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return manifest


def render(folder: Path, accent: str = DEFAULT_ACCENT) -> None:
    """Speak every digit in every voice, and write the manifest last.

    Parameters
    ----------
    folder : Path
        Where the recordings go; made if needed.
    accent : str, default "en-us"
        One of `ACCENTS`.

    Raises
    ------
    UserError
        If the synthesizer refuses to start.
    """
    library, sample_rate, voices = _open_synthesizer()
    spoken: list[np.ndarray] = []

    def take(samples: "ctypes._Pointer[ctypes.c_short]", n: int, _: int) -> int:
        if samples and n > 0:
            spoken.append(np.ctypeslib.as_array(samples, (n,)).copy())
        return 0

    callback = CALLBACK(take)  # kept here, since the library keeps only its address
    library.espeak_SetSynthCallback(callback)
    speaker_of = {voice: next((g[0] for g in ALIKE if voice in g), voice) for voice in voices}
    test_speakers = sorted(set(speaker_of.values()))[TEST_EVERY - 1 :: TEST_EVERY]
    rows = [("path", "label", "speaker", "split")]
    with progress_bar(len(voices), "speaking", "voices", shown=True) as bar:
        for voice in voices:
            if library.espeak_SetVoiceByName(f"{accent}+{voice}".encode()) != 0:
                raise UserError(f"eSpeak NG does not know its own voice {voice!r}; reinstall espeakng-loader")
            speaker = speaker_of[voice]
            split = "test" if speaker in test_speakers else "train"
            name = voice.replace(" ", "_")
            (folder / name).mkdir(parents=True)
            for digit, written in zip(DIGITS, ACCENTS[accent], strict=True):
                spoken.clear()
                text = written.encode()
                library.espeak_Synth(
                    text, len(text) + 1, 0, POSITION_CHARACTER, 0, CHARACTERS_UTF8, None, None
                )
                path = f"{name}/{digit}.wav"
                soundfile.write(folder / path, np.concatenate(spoken), sample_rate)
                rows.append((path, digit, speaker, split))
            bar.update()
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def _import_synthesizer() -> ModuleType:
    try:
        return importlib.import_module("espeakng_loader")
    except ImportError:
        raise UserError("the demo needs a speech synthesizer: pip install 'lstm-scratch[demo]'") from None


def _open_synthesizer() -> tuple[ctypes.CDLL, int, list[str]]:
    """Start eSpeak NG: its library, its sample rate in Hz, and the names of its voice variants."""
    espeakng_loader = _import_synthesizer()
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = Path(espeakng_loader.get_data_path())
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    sample_rate = library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, str(data.parent).encode(), 0)
    if sample_rate <= 0:
        raise UserError(f"eSpeak NG does not start with the data in {data}; reinstall espeakng-loader")
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # of the breath in some voices
    voices = sorted(path.name for path in (data / "voices" / "!v").iterdir())
    return library, sample_rate, voices


if __name__ == "__main__":
    try:
        render(Path(sys.argv[1]), *sys.argv[2:])
    except UserError as error:
        sys.exit(str(error))
