"""Why two settings give different features: both run stage by stage over one signal, until they part.

What a setting does is found by trying: it is changed alone, and the stages run again. So a setting that
differs without doing anything, such as `lifter_kind` where nothing is liftered, is told from one that acts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from features.errors import FeatureError
from features.extraction import STAGES, Frames, run_stages
from features.framing import frame_seconds
from features.presets import preset
from features.settings import NAMES, TWICE_TOLD, FeatureSettings

# Of the largest value of a stage, in float64: less is rounding. So little, as a logarithm comes later, to
# which power 100 dB below the largest is as good as any.
ROUNDING = 1e-12

Shape = tuple[int, ...]


class Gap(NamedTuple):
    """How far two arrays are apart.

    Parameters
    ----------
    shapes : tuple of tuple of int
        Of a's array and b's; () for one that is not there.
    largest : float or None
        Largest absolute difference. None where the shapes differ.
    relative : float or None
        That, relative to the largest absolute value of a's array. None if there is no such value, or it is 0.
    position : tuple of int or None
        Where it is.
    """

    shapes: tuple[Shape, Shape]
    largest: float | None = None
    relative: float | None = None
    position: Shape | None = None


@dataclass(frozen=True)
class Difference:
    """What sets two settings apart, on one signal. As text, it is told in a few lines.

    Parameters
    ----------
    names : tuple of str
        What a and b are called.
    stage : str or None
        The first stage after which they differ, by its name in `features.extraction.STAGES`. None: in none.
    settings : tuple of str
        What makes them part there: with these settings taken from b, and none of them to spare, a does
        up to this stage what b does.
    values : dict of str to tuple
        What a and b have, of every setting that differs. A length that one has in ms and the other in
        samples is told in samples.
    part : {"values", "energy"}
        What differs: the frames, or the energy beside them.
    shapes : tuple of tuple of int
        Of what a and b have after that stage: samples, or frames and columns; () for no energy.
    largest : float or None
        Largest absolute difference after that stage; 0 if they do not part, None if the shapes differ.
    relative : float or None
        That, relative to the largest absolute value of a there; None if that is 0.
    seconds : float or None
        When it is, from the first sample to that sample or the middle of that frame.
    later : dict of str to tuple of str
        The other settings that differ, by the first stage at which each alone, changed in a (or, if it does
        nothing there, in b), does something.
    without_effect : tuple of str
        The settings that differ and do nothing on this signal, changed alone in a or in b.
    final : Gap
        How far apart the features are in the end.
    """

    names: tuple[str, str]
    stage: str | None
    settings: tuple[str, ...]
    values: Mapping[str, tuple[Any, Any]]
    part: str
    shapes: tuple[Shape, Shape]
    largest: float | None
    relative: float | None
    seconds: float | None
    later: Mapping[str, tuple[str, ...]]
    without_effect: tuple[str, ...]
    final: Gap

    def __str__(self) -> str:
        a, b = self.names
        if self.stage is None:
            lines = [f"{a} and {b} give the same features, {_told_shape(self.final.shapes[0])}"]
        else:
            number = [stage.name for stage in STAGES].index(self.stage) + 1
            when = "" if self.seconds is None else f", at {self.seconds:.3f} s"
            what = "energies" if self.part == "energy" else "values"
            gap = Gap(self.shapes, self.largest, self.relative)
            lines = [
                f"{a} and {b} part at stage {number} of {len(STAGES)}, {self.stage}, "
                f"by {', '.join(self.settings)}",
                f"{what} there: {self._told_gap(gap)}{when}",
                f"features in the end: {self._told_gap(self.final)}",
            ]
        rows = [(self.stage or "", name) for name in self.settings]
        rows += [(stage, name) for stage, names in self.later.items() for name in names]
        rows += [("without effect", name) for name in self.without_effect]
        if rows:
            told = [(stage, name, *map(str, self.values[name])) for stage, name in rows]
            table = [("stage", "setting", a, b), *told]
            widths = [max(map(len, column)) for column in zip(*table, strict=True)]
            lines.append("")
            lines += [
                "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
                for row in table
            ]
        return "\n".join(lines)

    def _told_gap(self, gap: Gap) -> str:
        a, b = self.names
        ours, theirs = map(_told_shape, gap.shapes)
        if gap.largest is None:
            return f"{ours} in {a}, {theirs} in {b}"
        if gap.largest == 0:
            return f"the same, {ours}"
        part = "" if gap.relative is None else f" ({100 * gap.relative:.3g} % of {a}'s largest value)"
        return f"{ours}, apart by up to {gap.largest:.3g}{part}"


def _told_shape(shape: Shape) -> str:
    if len(shape) == 2:
        return f"{shape[0]} frames x {shape[1]} columns"
    return f"{shape[0]} numbers" if shape else "none"


class _Parting(NamedTuple):
    """Where two settings part."""

    number: int  # of the stage
    part: str
    gap: Gap


def explain_difference(
    a: FeatureSettings | str, b: FeatureSettings | str, samples: np.ndarray, sample_rate: int
) -> Difference:
    """Find the first stage at which two settings part on a signal, by how much, and by which setting.

    Both are run stage by stage in float64 and plain numpy, again and again with settings of the one in the
    other: some dozens of times for two presets. A clip of some seconds tells as much as an hour.

    Parameters
    ----------
    a, b : FeatureSettings or str
        Settings, or names of presets.
    samples : array (N,), floating
        Mono sound, full scale 1.
    sample_rate : int
        In Hz.

    Returns
    -------
    Difference
        Arrays count as different where any value is apart by more than 1e-12 of the largest.

    Raises
    ------
    FeatureError
        If there is no such preset, or a or b cannot be computed of these samples.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> samples = rng.uniform(-1, 1, 800)
    >>> found = explain_difference("kaldi", preset("kaldi", window="hamming"), samples, 16_000)
    >>> found.stage, found.settings, found.values["window"]
    ('window', ('window',), ('povey', 'hamming'))
    """
    names = (a if isinstance(a, str) else "a", b if isinstance(b, str) else "b")
    if names[0] == names[1]:
        names = ("a", "b")
    ours, theirs = (preset(given) if isinstance(given, str) else given for given in (a, b))
    samples = np.asarray(samples)
    if samples.dtype.kind == "f":  # others are refused, with the message for them
        samples = samples.astype(np.float64)
    search = _Search(ours, theirs, samples, sample_rate)
    found = search.parting(ours, theirs)
    ends = [_last(settings, samples, sample_rate) for settings in (ours, theirs)]
    final = _gap(*ends) or Gap((ends[0].shape, ends[1].shape), 0.0)
    causes = search.causes(found.number) if found else ()
    later: dict[str, tuple[str, ...]] = {}
    without_effect: tuple[str, ...] = ()
    acting = {name: search.acts_in(name) for name in search.differing if name not in causes}
    for name, number in sorted(acting.items(), key=lambda item: -1 if item[1] is None else item[1]):
        if number is None:
            without_effect += (name,)
        else:
            stage = STAGES[number].name
            later[stage] = (*later.get(stage, ()), name)
    gap = found.gap if found else final
    return Difference(
        names=names,
        stage=STAGES[found.number].name if found else None,
        settings=causes,
        values=search.differing,
        part=found.part if found else "values",
        shapes=gap.shapes,
        largest=gap.largest,
        relative=gap.relative,
        seconds=_seconds(found, ours, sample_rate),
        later=later,
        without_effect=without_effect,
        final=final,
    )


class _Search:
    """Two settings on one signal."""

    def __init__(self, a: FeatureSettings, b: FeatureSettings, samples: np.ndarray, sample_rate: int) -> None:
        self.a, self.b = a, b
        self.samples, self.sample_rate = samples, sample_rate
        self.differing = _differing(a, b, sample_rate)

    def parting(self, a: FeatureSettings, b: FeatureSettings, until: int | None = None) -> _Parting | None:
        """Find the first stage whose output differs, before stage number `until` (by default, of all)."""
        if a == b:
            return None
        runs = (run_stages(settings, self.samples, self.sample_rate) for settings in (a, b))
        for number, ((_, ours), (_, theirs)) in enumerate(zip(*runs, strict=True)):
            if number == until:
                return None
            for part, pair in zip(Frames._fields, zip(ours, theirs, strict=True), strict=True):
                gap = _gap(*pair)
                if gap:
                    return _Parting(number, part, gap)
        return None

    def causes(self, number: int) -> tuple[str, ...]:
        """Find the least settings of b with which a does what b does up to a stage."""
        # From all of b's, one after the other is left as a has it, if that does no harm; those of other
        # stages first.
        needed = sorted(self.differing, key=lambda name: name in STAGES[number].settings)
        for name in tuple(needed):
            rest = [other for other in needed if other != name]
            try:
                changed = self.with_values(self.a, rest, 1)
                harmless = self.parting(changed, self.b, number + 1) is None
            except FeatureError:  # the one cannot be without the other
                harmless = False
            if harmless:
                needed = rest
        return tuple(name for name in self.differing if name in needed)

    def acts_in(self, name: str) -> int | None:
        """Find the first stage at which a setting alone does something; None if it does nothing."""
        tried = False
        for settings, side in ((self.a, 1), (self.b, 0)):
            try:
                found = self.parting(settings, self.with_values(settings, [name], side))
            except FeatureError:
                continue
            if found:
                return found.number
            tried = True
        if tried:
            return None
        # It can be changed with others only; then what the stage says has to do.
        return next(number for number, stage in enumerate(STAGES) if name in stage.settings)

    def with_values(self, settings: FeatureSettings, names: Iterable[str], side: int) -> FeatureSettings:
        """Change settings to what a (0) or b (1) has."""
        return settings.change(**{name: self.differing[name][side] for name in names})


def _differing(a: FeatureSettings, b: FeatureSettings, sample_rate: int) -> dict[str, tuple[Any, Any]]:
    """Collect what differs, a's value and b's. Lengths in ms and in samples are compared in samples."""
    pairs = {name: (getattr(a, name), getattr(b, name)) for name in NAMES}
    in_samples = zip(a.sizes(sample_rate), b.sizes(sample_rate), strict=True)
    for (ms, length), sizes in zip(TWICE_TOLD, in_samples, strict=False):
        if None in pairs[ms] and None in pairs[length]:  # told in ms by the one, in samples by the other
            pairs[ms], pairs[length] = (None, None), sizes
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _gap(ours: np.ndarray | None, theirs: np.ndarray | None) -> Gap | None:
    """Compare two arrays; None if they are the same but for rounding."""
    if ours is None or theirs is None:
        shapes = [() if array is None else array.shape for array in (ours, theirs)]
        return None if ours is theirs else Gap((shapes[0], shapes[1]))
    if ours.shape != theirs.shape:
        return Gap((ours.shape, theirs.shape))
    with np.errstate(invalid="ignore"):
        apart = np.abs(ours - theirs)
    apart[(ours == theirs) | (np.isnan(ours) & np.isnan(theirs))] = 0  # infinities
    apart[np.isnan(apart)] = np.inf
    largest, scale = float(apart.max(initial=0)), _largest(ours)
    if largest <= ROUNDING * max(scale, _largest(theirs)):
        return None
    index = tuple(int(i) for i in np.unravel_index(apart.argmax(), apart.shape))
    return Gap((ours.shape, theirs.shape), largest, largest / scale if scale else None, index)


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values[np.isfinite(values)]).max(initial=0))


def _last(settings: FeatureSettings, samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Run all stages."""
    for _, frames in run_stages(settings, samples, sample_rate):
        values = frames.values
    return values


def _seconds(found: _Parting | None, settings: FeatureSettings, sample_rate: int) -> float | None:
    """When the largest difference is."""
    if found is None or found.gap.position is None:
        return None
    row, name = found.gap.position[0], STAGES[found.number].name
    if name == "signal":
        return row / sample_rate
    stack = settings.stack if name == "stacking" else 1
    return float(frame_seconds((row + 1) * stack, settings, sample_rate)[row * stack :].mean())
