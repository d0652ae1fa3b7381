"""What a corpus is made of, and what is odd about it, told before anything is learned from it.

An `Inspector` is handed every recording once, while its features are computed: nothing is read twice. It
keeps a few numbers of each, and a fingerprint of 2 kB at the most, by which the same recording is known again
at another level, in another format, at another sample rate, or cut a little differently. These numbers,
`Heard`, can be kept as bytes: whoever has them need not read the recording again.

The fingerprint is in two parts. The mean power in 24 bands tells which clips may be the same at all: nearest
neighbours in a tree, so the work does not grow with the square of the clips. The waveform of the loudest half
second, below 1.8 kHz, decides: two takes of a word hardly ever agree in phase, a copy always does.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, NamedTuple, Self, get_args

import numpy as np

from lstm_scratch.corpus import Corpus, Part
from lstm_scratch.sound import AudioError, read_audio

FEW_CLIPS = 5  # of a class: fewer are too few to learn from
UNBALANCED = 5  # times as many clips of one class as of another
MOSTLY = 0.5  # of a clip's samples
SILENT_S = 0.01  # zeros in a row that make digital silence; a sound passes zero for shorter
FULL_SCALE = 0.999
FLAT = 3  # samples in a row at full scale: a clipped peak
CLIPPED = 0.001  # of a clip's samples
FAR_FROM_MEDIAN = 10  # times as long, or as short, as half of the clips
SHOWN = 3  # examples in a warning; the dict has them all

# The fingerprint. Every rate down to 8 kHz holds these bands, and every lossy format keeps them.
BAND_EDGES_HZ = np.geomspace(150, 3400, 25)
FLOOR_DB = -40  # below the strongest band, formats do what they like
WAVE_HZ = 1800  # the waveform's upper edge
WAVE_RATE = 4000
WAVE_S = 0.5
LISTENED_S = 30  # of a long recording, from its beginning
NEIGHBOURS = 4  # that are compared with a clip
ALIKE_DB = 3.0  # root mean square over the bands
SAME = 0.95  # correlation of waveforms; two takes of a spoken digit reach 0.92
HARDLY = 0.25  # between the samples, and where they overlap by half, copies still correlate by more
FINER = 4  # steps per sample in which a shift is looked for

PARTS = get_args(Part)
DIGEST_BYTES = 16
HEARD = np.dtype(
    [
        ("sample_rate", "<u4"),
        ("seconds", "<f8"),
        ("silence", "<f8"),
        ("clipped", "<f8"),
        ("digest", f"V{DIGEST_BYTES}"),
        ("bands_db", "<f4", len(BAND_EDGES_HZ) - 1),
    ]
)


@dataclass(frozen=True)
class ClassSummary:
    """How much there is of one class.

    Parameters
    ----------
    label : str
        Its name.
    clips : dict of str to int
        Recordings by part; under "all" where parts are not known.
    seconds : float
        Of sound in all.
    median_seconds : float
        Half of the clips are shorter.
    """

    label: str
    clips: dict[str, int]
    seconds: float
    median_seconds: float


@dataclass(frozen=True)
class Finding:
    """Something that a person should know before training.

    Parameters
    ----------
    kind : str
        What it is, such as "silent" or "duplicates across parts".
    message : str
        One line: what, where, the fix.
    clips : list of list of str
        The recordings that are meant, in groups: copies of each other stand together.
    """

    kind: str
    message: str
    clips: list[list[str]]


@dataclass(frozen=True)
class Report:
    """What a corpus is made of.

    Parameters
    ----------
    classes : list of ClassSummary
        In alphabetical order.
    sample_rates : dict of int to int
        Clips by their own sample rate in Hz.
    findings : list of Finding
        What is odd, what matters most first.
    """

    classes: list[ClassSummary]
    sample_rates: dict[int, int]
    findings: list[Finding]

    def lines(self) -> list[str]:
        """Put it into lines for people.

        Returns
        -------
        list of str
            A table of the classes, then a line for each finding.
        """
        parts = list(self.classes[0].clips) if self.classes else []
        rows = [["class", *(part if part != "all" else "clips" for part in parts), "in all", "median"]]
        for one in self.classes:
            counts = [str(one.clips[part]) for part in parts]
            rows.append([one.label, *counts, _duration(one.seconds), _duration(one.median_seconds)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
            for row in rows
        ]
        return table + [f"warning: {finding.message}" for finding in self.findings]

    def to_dict(self) -> dict[str, Any]:
        """Put it into plain values.

        Returns
        -------
        dict
            What JSON can hold; every clip of every finding is in it.
        """
        return asdict(self) | {"sample_rates": {str(hz): n for hz, n in self.sample_rates.items()}}


class _Fingerprint(NamedTuple):
    bands_db: np.ndarray  # (24,), float32
    wave: np.ndarray  # (n,), int8


class Heard(NamedTuple):
    """What is kept of a recording.

    Parameters
    ----------
    sample_rate : int
        Its own, in Hz.
    seconds : float
        Its duration.
    silence : float
        Part of it that is digital silence.
    clipped : float
        Part of it that is flat at full scale.
    digest : bytes
        A hash of the samples.
    fingerprint : tuple or None
        Powers of bands, and a waveform. None: there is nothing to be heard below 3.4 kHz, or it was not
        wanted.
    """

    sample_rate: int
    seconds: float
    silence: float
    clipped: float
    digest: bytes
    fingerprint: _Fingerprint | None

    @property
    def is_silent(self) -> bool:
        """Whether all samples are zero."""
        return self.silence == 1

    def to_bytes(self) -> bytes:
        """Put it into bytes.

        Returns
        -------
        bytes
            A record, and behind it the waveform of the fingerprint, if there is one.
        """
        record = np.zeros((), HEARD)
        for name in ("sample_rate", "seconds", "silence", "clipped"):
            record[name] = getattr(self, name)
        record["digest"] = np.void(self.digest)
        if self.fingerprint is None:
            return record.tobytes()
        record["bands_db"] = self.fingerprint.bands_db
        return record.tobytes() + self.fingerprint.wave.tobytes()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Take it from the bytes that `to_bytes` made.

        Parameters
        ----------
        raw : bytes
            Of one recording.

        Returns
        -------
        Heard
            The same values.
        """
        record = np.frombuffer(raw, HEARD, 1)[0]
        wave = np.frombuffer(raw, np.int8, offset=HEARD.itemsize)
        return cls(
            int(record["sample_rate"]),
            float(record["seconds"]),
            float(record["silence"]),
            float(record["clipped"]),
            record["digest"].tobytes(),
            _Fingerprint(record["bands_db"].copy(), wave.copy()) if len(wave) else None,
        )


def hear(samples: np.ndarray, sample_rate: int, fingerprint: bool = True) -> Heard:
    """Work out what is kept of a recording.

    Parameters
    ----------
    samples : ndarray (N,), floating
        Mono sound as it was recorded, at least one sample; full scale is 1.
    sample_rate : int
        In Hz.
    fingerprint : bool, default True
        Take a fingerprint, which is most of the work.

    Returns
    -------
    Heard
        What an `Inspector` takes in.
    """
    samples = np.ascontiguousarray(samples, np.float32)
    digest = hashlib.blake2b(samples.data, digest_size=DIGEST_BYTES, salt=sample_rate.to_bytes(8, "little"))
    silence = 1.0
    if samples.any():
        silence = _in_runs(samples == 0, SILENT_S * sample_rate) / len(samples)
    return Heard(
        sample_rate,
        len(samples) / sample_rate,
        silence,
        _in_runs(np.abs(samples) >= FULL_SCALE, FLAT) / len(samples),
        digest.digest(),
        _fingerprint(samples, sample_rate) if fingerprint else None,
    )


class Inspector:
    """Takes in recordings one by one, and then tells about them.

    Parameters
    ----------
    near_copies : bool, default True
        Take the fingerprints by which recordings are found that are nearly the same, which takes longer than
        all the rest. Without them, copies are found that are the same sample for sample.
    """

    def __init__(self, near_copies: bool = True) -> None:
        self._near_copies = near_copies
        self._heard: dict[str, Heard] = {}

    def __len__(self) -> int:
        return len(self._heard)

    def add(self, name: str, samples: np.ndarray, sample_rate: int) -> None:
        """Take in a recording, as it was read and before it is resampled.

        Parameters
        ----------
        name : str
            Its path.
        samples : ndarray (N,), floating
            Mono sound, at least one sample; full scale is 1.
        sample_rate : int
            In Hz.
        """
        self.add_heard(name, hear(samples, sample_rate, self._near_copies))

    def add_heard(self, name: str, heard: Heard) -> None:
        """Take in what was kept of a recording.

        Parameters
        ----------
        name : str
            Its path.
        heard : Heard
            What `hear` made of it.
        """
        self._heard[name] = heard

    def report(
        self, corpus: Corpus, parts: Sequence[str] | None = None, sample_rate: int | None = None
    ) -> Report:
        """Tell about the recordings of a corpus that were taken in.

        Parameters
        ----------
        corpus : Corpus
            Which recordings, and their labels.
        parts : sequence of str, optional
            On which side of a split each is. By default what the corpus says: its split, or its folds.
        sample_rate : int, optional
            The rate in Hz at which sound will be analysed, where that is settled.

        Returns
        -------
        Report
            Of those that were taken in; others, which could not be read, are passed over.
        """
        if parts is None and corpus.folds is not None and corpus.parts is None:
            parts = [f"fold {fold}" for fold in corpus.folds]
        parts = parts if parts is not None else corpus.parts
        clips = {
            str(path): _Clip(label, "all" if parts is None else parts[n], self._heard[str(path)])
            for n, (path, label) in enumerate(zip(corpus.paths, corpus.labels, strict=True))
            if str(path) in self._heard
        }
        classes = _classes(clips.values())
        rates = Counter(clip.heard.sample_rate for clip in clips.values())
        findings = [
            *_copies(clips),
            *_sizes(classes),
            *_sounds(clips),
            *_rates(rates, sample_rate),
            *_durations(clips),
        ]
        return Report(classes, dict(sorted(rates.items())), findings)


class _Clip(NamedTuple):
    label: str
    part: str
    heard: Heard


def inspect_corpus(corpus: Corpus, sample_rate: int | None = None) -> Report:
    """Read a whole corpus, and tell about it.

    Parameters
    ----------
    corpus : Corpus
        The recordings. Those that cannot be read are passed over.
    sample_rate : int, optional
        The rate in Hz at which sound will be analysed, where that is settled.

    Returns
    -------
    Report
        What it is made of.
    """
    inspector = Inspector()
    for path in corpus.paths:
        try:
            samples, native = read_audio(path)
        except AudioError:
            continue
        inspector.add(str(path), samples, native)
    return inspector.report(corpus, sample_rate=sample_rate)


# What is kept of a recording.


def _in_runs(marked: np.ndarray, at_least: float) -> int:
    """Count what is marked, as far as it is so many in a row."""
    if np.count_nonzero(marked) < at_least:
        return 0
    edges = np.flatnonzero(np.diff(marked, prepend=False, append=False))
    lengths = edges[1::2] - edges[::2]
    return int(lengths[lengths >= at_least].sum())


def _fingerprint(samples: np.ndarray, sample_rate: int) -> _Fingerprint | None:
    """Take what stays as it is at another level or rate, in another format, or behind some silence."""
    from scipy.fft import irfft, next_fast_len, rfft

    there = np.flatnonzero(samples)
    if len(there) == 0:
        return None
    sound = samples[there[0] : there[-1] + 1][: LISTENED_S * sample_rate]
    n = next_fast_len(max(len(sound), sample_rate // 10), real=True)  # two bins at least in the lowest band
    spectrum = rfft(sound, n)
    power = np.concatenate([[0], np.cumsum(spectrum.real**2 + spectrum.imag**2, dtype=np.float64)])
    edges = np.minimum(np.ceil(BAND_EDGES_HZ * n / sample_rate).astype(int), len(spectrum))
    bands = np.diff(power[edges]) / np.maximum(np.diff(edges), 1)
    if not bands.max() > 0:
        return None
    bands_db = 10 * np.log10(np.maximum(bands / bands.max(), 10 ** (FLOOR_DB / 10)))

    # One transform back resamples, and cuts off above `WAVE_HZ`. Tilted, so that hum does not outweigh all.
    low, high = edges[0], min(int(WAVE_HZ * n / sample_rate), len(spectrum))
    tilted = np.zeros(high, np.complex64)
    tilted[low:] = spectrum[low:high] * np.arange(low, high, dtype=np.float32)
    wave = irfft(tilted, round(n * WAVE_RATE / sample_rate))[: -(-len(sound) * WAVE_RATE // sample_rate)]
    kept = round(WAVE_S * WAVE_RATE)
    if len(wave) > kept:
        energy = np.concatenate([[0], np.cumsum(wave.astype(np.float64) ** 2)])
        loudest = int(np.argmax(energy[kept:] - energy[:-kept]))
        wave = wave[loudest : loudest + kept]
    peak = np.abs(wave).max()
    if not peak > 0:
        return None
    return _Fingerprint(bands_db.astype(np.float32), np.round(wave * (127 / peak)).astype(np.int8))


def _likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlate two waveforms at the shift at which they agree best, whichever way round they are."""
    from scipy.fft import irfft, next_fast_len, rfft

    n = next_fast_len(len(one) + len(other), real=True)
    spectra = [rfft(wave.astype(np.float32), n) for wave in (one, other)]
    product = spectra[0] * spectra[1].conj()
    whole = np.sqrt(np.prod([np.sum(np.square(wave, dtype=np.float64)) for wave in (one, other)]))
    if np.abs(irfft(product, n)).max() < HARDLY * whole:
        return 0.0
    # Between the samples too: half a sample's shift is much of a period of what is high.
    finer = np.abs(irfft(product, FINER * n)) * FINER
    products = np.roll(finer, FINER // 2).reshape(n, FINER).max(axis=1)
    energies = [np.concatenate([[0], np.cumsum(wave.astype(np.float64) ** 2)]) for wave in (one, other)]
    shifts = np.arange(1 - len(other), len(one))
    begin, end = np.maximum(0, shifts), np.minimum(len(one), len(other) + shifts)
    of_one = energies[0][end] - energies[0][begin]
    of_other = energies[1][end - shifts] - energies[1][begin - shifts]
    # What overlaps has to be most of both.
    enough = (of_one >= MOSTLY * energies[0][-1]) & (of_other >= MOSTLY * energies[1][-1])
    enough &= 2 * (end - begin) >= max(len(one), len(other))
    return float((products[shifts] * enough / np.sqrt(np.maximum(of_one * of_other, 1))).max())


# What is found.


def _classes(clips: Iterable[_Clip]) -> list[ClassSummary]:
    by_label: dict[str, list[_Clip]] = {}
    for clip in clips:
        by_label.setdefault(clip.label, []).append(clip)
    found = {clip.part for own in by_label.values() for clip in own}
    parts = [part for part in PARTS if part in found] + sorted(found - set(PARTS))
    summaries = []
    for label in sorted(by_label):
        seconds = [clip.heard.seconds for clip in by_label[label]]
        counts = Counter(clip.part for clip in by_label[label])
        summaries.append(
            ClassSummary(label, {part: counts[part] for part in parts}, sum(seconds), median(seconds))
        )
    return summaries


def _copies(clips: Mapping[str, _Clip]) -> Iterator[Finding]:
    """Find recordings that are there more than once."""
    same: dict[bytes, list[str]] = {}
    for name, clip in clips.items():
        if not clip.heard.is_silent:
            same.setdefault(clip.heard.digest, []).append(name)
    yield from _by_severity([names for names in same.values() if len(names) > 1], clips, "duplicates")
    fingerprints = {
        names[0]: fingerprint
        for names in same.values()
        if (fingerprint := clips[names[0]].heard.fingerprint) is not None
    }
    yield from _by_severity(_near(fingerprints), clips, "near-duplicates")


def _near(fingerprints: Mapping[str, _Fingerprint]) -> list[list[str]]:
    """Find pairs of clips that are the same recording, the most alike first."""
    if len(fingerprints) < 2:
        return []
    from scipy.spatial import KDTree  # slow to import: not where nobody looks for near copies

    names, prints = list(fingerprints), list(fingerprints.values())
    bands = np.array([own.bands_db for own in prints])
    reach = ALIKE_DB * np.sqrt(bands.shape[1])
    k = min(1 + NEIGHBOURS, len(names))
    _, neighbours = KDTree(bands).query(bands, k=k, distance_upper_bound=reach)
    pairs = {
        (min(n, int(m)), max(n, int(m)))
        for n, row in enumerate(neighbours)
        for m in row
        if m != n and m < len(names)  # where there are no more, the tree says `len(names)`
    }
    likeness = {(n, m): _likeness(prints[n].wave, prints[m].wave) for n, m in sorted(pairs)}
    found = sorted((pair for pair in likeness if likeness[pair] >= SAME), key=lambda p: (-likeness[p], p))
    return [[names[n], names[m]] for n, m in found]


def _by_severity(groups: list[list[str]], clips: Mapping[str, _Clip], kind: str) -> Iterator[Finding]:
    """Make a finding of each kind of copies: under two labels, on two sides of a split, or neither."""
    copies = "the same recording" if kind == "duplicates" else "nearly the same recording"
    kinds: dict[str, list[list[str]]] = {"labels": [], "parts": [], "": []}
    for names in groups:
        two_labels = len({clips[name].label for name in names}) > 1
        two_parts = len({clips[name].part for name in names}) > 1
        kinds["labels" if two_labels else "parts" if two_parts else ""].append(names)
    if found := kinds["labels"]:
        shown = _examples(" = ".join(f"{name} ({clips[name].label})" for name in group) for group in found)
        yield Finding(
            f"{kind} across labels",
            f"{copies} stands under two labels, {_times(found)}: {shown}; one label at most is right: remove "
            "the other",
            found,
        )
    if found := kinds["parts"]:
        shown = _examples(" = ".join(f"{name} ({clips[name].part})" for name in group) for group in found)
        yield Finding(
            f"{kind} across parts",
            f"{copies} is on two sides of the split, {_times(found)}: {shown}; what is tested was learned by "
            "heart, and the figures will be too good: keep all copies on one side, or remove all but one",
            found,
        )
    if found := kinds[""]:
        shown = _examples(" = ".join(group) for group in found)
        yield Finding(
            kind, f"{copies} is there twice, {_times(found)}: {shown}; remove all but one of each", found
        )


def _sizes(classes: Sequence[ClassSummary]) -> Iterator[Finding]:
    """Find classes of which there is too little."""
    few = [one for one in classes if sum(one.clips.values()) < FEW_CLIPS]
    if few:
        shown = _examples(
            f"{one.label!r} has {_clips(sum(one.clips.values()))} of {_duration(one.seconds)} in all"
            for one in few
        )
        yield Finding(
            "few clips", f"too few clips to learn a class from: {shown}; record more, or remove the class", []
        )
    sizes = {one.label: one.clips.get("training", sum(one.clips.values())) for one in classes}
    sizes = {label: size for label, size in sizes.items() if size}
    if len(sizes) > 1:
        least, most = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
        if sizes[most] >= UNBALANCED * sizes[least]:
            yield Finding(
                "unbalanced",
                f"classes are unbalanced: {sizes[most]} clips of {most!r}, {sizes[least]} of {least!r}; "
                "record more of what is rare, or try --sampling balanced or --class-weight balanced",
                [],
            )


def _sounds(clips: Mapping[str, _Clip]) -> Iterator[Finding]:
    """Find clips in which there is nothing to hear, or that were recorded too loud."""
    silent = [name for name, clip in clips.items() if clip.heard.is_silent]
    if silent:
        yield Finding(
            "silent",
            f"{_clips_are(silent)} silent, all samples are zero: {_examples(silent)}; record again or remove",
            [[name] for name in silent],
        )
    share = {n: clip.heard.silence for n, clip in clips.items() if MOSTLY < clip.heard.silence < 1}
    if share:
        worst = sorted(share, key=lambda name: (-share[name], name))
        shown = _examples(f"{name} ({100 * share[name]:.0f} %)" for name in worst)
        yield Finding(
            "mostly silent",
            f"{_clips_are(worst)} for the most part digital silence (zeros): {shown}; cut the silence off, "
            "or it may be what is learned",
            [[name] for name in worst],
        )
    share = {name: clip.heard.clipped for name, clip in clips.items() if clip.heard.clipped >= CLIPPED}
    if share:
        worst = sorted(share, key=lambda name: (-share[name], name))
        shown = _examples(f"{name} ({100 * share[name]:.2g} %)" for name in worst)
        yield Finding(
            "clipped",
            f"{_clips_are(worst)} clipped, flat at full scale: {shown}; record at a lower level",
            [[name] for name in worst],
        )


def _rates(rates: Mapping[int, int], used: int | None) -> Iterator[Finding]:
    if len(rates) < 2:
        return
    counts = ", ".join(f"{_clips(n)} at {hz} Hz" for hz, n in sorted(rates.items()))
    settled = "the lowest is" if used is None else f"{used} Hz is"
    yield Finding(
        "mixed sample rates",
        f"sample rates are mixed ({counts}); {settled} used for all, and what higher rates hold beyond is "
        "lost: to keep it, leave the low ones out",
        [],
    )


def _durations(clips: Mapping[str, _Clip]) -> Iterator[Finding]:
    seconds = {name: clip.heard.seconds for name, clip in clips.items()}
    if not seconds:
        return
    middle = median(seconds.values())
    odd = [
        name for name, s in seconds.items() if s > FAR_FROM_MEDIAN * middle or middle > FAR_FROM_MEDIAN * s
    ]
    if odd:
        odd.sort(key=lambda name: (-abs(np.log(seconds[name] / middle)), name))
        shown = _examples(f"{name} ({_duration(seconds[name])})" for name in odd)
        yield Finding(
            "durations",
            f"{_clips_are(odd)} far from the median duration of {_duration(middle)}: {shown}; make sure "
            "that each holds one thing, whole",
            [[name] for name in odd],
        )


# Words.


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _clips(number: int) -> str:
    return f"{number} clip{'s' if number != 1 else ''}"


def _clips_are(names: Sequence[str]) -> str:
    return f"{_clips(len(names))} {'is' if len(names) == 1 else 'are'}"


def _times(groups: Sequence[object]) -> str:
    return "once" if len(groups) == 1 else f"{len(groups)} times"


def _examples(items: Iterable[str]) -> str:
    """Put the first few into one phrase."""
    items = list(items)
    more = f", and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + more
