"""Every choice that turns sound into features, as one frozen set of settings that is called with sound.

The defaults are librosa's convention on frames of speech: periodic Hann window, frames centred on
multiples of the hop with zeros beyond the ends, power spectrum, Slaney's mel scale with bands of
unit area, ``10 log10(max(power, 1e-10))`` in dB with nothing more than 80 dB below the clip's
maximum, orthonormal DCT-II, Savitzky-Golay deltas over 9 frames. `presets` has the other conventions.

Letters: N samples, T frames, F features.
"""

import dataclasses
import difflib
import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np

from features.errors import FeatureError

Kind = Literal["mfcc", "log-mel", "log-spectrogram"]
Normalisation = Literal["none", "mean", "mean-variance"]

# What a setting may be: one of some words, or a number of which the bounds are told. The lower bound of
# those above 0 is not among them.
CHOICES = {
    "kind": ("mfcc", "log-mel", "log-spectrogram"),
    "pre_emphasis_of": ("frame", "signal"),
    "round_lengths": ("nearest", "down"),
    "framing": ("centred", "whole-frames", "pad-end", "mirrored"),
    "pad_mode": ("constant", "reflect", "edge"),
    "window": ("hann", "hamming", "povey", "blackman", "rectangular"),
    "spectrum": ("power", "magnitude"),
    "mel_scale": ("slaney", "htk"),
    "mel_norm": ("slaney", "none"),
    "mel_slopes": ("hz", "mel", "bins"),
    "vtln_kind": ("kaldi", "htk"),
    "log": ("db", "ln", "none", "pcen"),
    "log_floor_for": ("less", "zero"),
    "dct_type": (1, 2, 3),
    "dct_norm": ("ortho", "htk", "none"),
    "lifter_kind": ("htk", "librosa"),
    "energy": ("none", "raw", "windowed", "spectral"),
    "level": ("first", "last", "dropped"),
    "delta_order": (0, 1, 2),
    "delta_kind": ("savitzky-golay", "regression"),
    "clip_normalisation": ("none", "mean", "mean-variance"),
    "sliding_normalisation": ("none", "mean", "mean-variance"),
}
FLAGS = (
    "remove_dc",
    "window_symmetric",
    "divide_by_n_fft",
    "htk_skip_bins",
    "mel_float32",
    "allow_empty_bands",
)
ABOVE_ZERO = (
    "sample_scale",
    "frame_ms",
    "hop_ms",
    "f_max_hz",
    "vtln_warp",
    "top_db",
    "pcen_power",
    "pcen_seconds",
    "pcen_eps",
)
FROM_ZERO = (
    "dither",
    "f_min_hz",
    "vtln_low_hz",
    "vtln_high_hz",
    "log_floor",
    "log_offset",
    "lifter",
    "energy_floor",
    "pcen_gain",
    "pcen_bias",
)
WHOLE = ("frame_length", "hop_length", "n_fft", "n_mels", "n_mfcc", "delta_width", "sliding_frames", "stack")
OPTIONAL = ("frame_ms", "hop_ms", "frame_length", "hop_length", "n_fft", "f_max_hz", "vtln_high_hz", "top_db")
LARGEST = 2**53  # beyond any sense
TWICE_TOLD = (("frame_ms", "frame_length"), ("hop_ms", "hop_length"))  # a duration, or samples
LENGTHS_MS = tuple(ms for ms, _ in TWICE_TOLD)


@dataclass(frozen=True, kw_only=True, repr=False)
class FeatureSettings:
    """How sound becomes features. Calling it with ``(samples, sample_rate)`` gives them, of shape (T, F).

    The settings are in the order in which they act.

    Parameters
    ----------
    kind : {"mfcc", "log-mel", "log-spectrogram"}, default "mfcc"
        Cepstra of mel bands; the mel bands; the bins of the Fourier transform.
    sample_scale : float, default 1
        By what samples are multiplied first. They are floats of full scale 1; 32768 makes of them what an
        origin saw that reads 16-bit integers.
    dither : float, default 0
        Standard deviation of white Gaussian noise that is added to the scaled samples.
    dither_seed : int, default 0
        Of that noise: the same for every clip.
    pre_emphasis : float, default 0
        a in ``x[n] - a x[n - 1]``.
    pre_emphasis_of : {"frame", "signal"}, default "frame"
        Whether it is done within each frame, whose first sample counts as preceded by itself, or once over
        the signal, whose first sample stays as it is.
    frame_ms, hop_ms : float, optional
        Length of a frame, and time from one to the next, in ms: 25 and 10, unless told in samples.
    frame_length, hop_length : int, optional
        The same in samples. Each is told in ms or in samples, not both.
    round_lengths : {"nearest", "down"}, default "nearest"
        How ms become whole samples.
    framing : {"centred", "whole-frames", "pad-end", "mirrored"}, default "centred"
        Frame t is centred on sample ``t * hop``, with `pad_mode` beyond the ends. Or it begins there, and
        there are only whole frames (Kaldi's snip_edges); or the last is filled with zeros. Or it is centred
        on sample ``(t + 1/2) * hop``, and beyond the ends the signal is mirrored (Kaldi without snip_edges).
    pad_mode : {"constant", "reflect", "edge"}, default "constant"
        What is beyond the ends of a centred signal: zeros; the signal mirrored at its last sample; that
        sample.
    remove_dc : bool, default False
        Subtract each frame's mean.
    window : {"hann", "hamming", "povey", "blackman", "rectangular"}, default "hann"
        What a frame is multiplied by. Povey's is the Hann window to the power of 0.85.
    window_symmetric : bool, default False
        Whether its last value is the first again, or that comes one sample later (periodic).
    n_fft : int, optional
        Length of the Fourier transform in samples. By default the next power of two that holds a frame.
    spectrum : {"power", "magnitude"}, default "power"
        Absolute value of the transform, squared or not.
    divide_by_n_fft : bool, default False
        Divide it by `n_fft`.
    n_mels : int, default 40
        Mel bands.
    f_min_hz : float, default 0
        Lower edge of the lowest band in Hz.
    f_max_hz : float, optional
        Upper edge of the highest band in Hz. By default half the sample rate.
    mel_scale : {"slaney", "htk"}, default "slaney"
        Linear below 1 kHz; or ``1127 ln(1 + f / 700)``.
    mel_norm : {"slaney", "none"}, default "slaney"
        Triangles of area 1 over Hz, or of height 1.
    mel_slopes : {"hz", "mel", "bins"}, default "hz"
        In what a triangle's sides are straight: Hz; mel; bins, with the edges moved down to whole ones.
    htk_skip_bins : bool, default False
        Leave out the bins around the edges that HTK leaves out.
    mel_float32 : bool, default False
        Round the bands' weights to float32, as librosa does for float64 too.
    allow_empty_bands : bool, default False
        Whether a band may be so narrow that it holds no bin: it then is `log_floor`.
    vtln_warp : float, default 1
        Factor by which the vocal tract counts as longer: bands move to frequencies that are lower by it.
    vtln_low_hz : float, default 100
        Lower end of the range that is warped by just that factor, in Hz.
    vtln_high_hz : float, optional
        Its upper end. By default 500 Hz below half the sample rate.
    vtln_kind : {"kaldi", "htk"}, default "kaldi"
        Whose piecewise linear warp.
    log : {"db", "ln", "none", "pcen"}, default "db"
        ``10 log10(x)``; natural; none; per-channel energy normalisation, which adapts to the level.
    log_floor : float, default 1e-10
        The least that a logarithm is taken of.
    log_floor_for : {"less", "zero"}, default "less"
        Whether whatever is less is replaced by it, or zeros alone.
    log_offset : float, default 0
        Added before the logarithm.
    top_db : float or None, default 80
        With `log` "db": floor in dB below the clip's maximum. None: no such floor.
    pcen_gain, pcen_bias, pcen_power, pcen_seconds, pcen_eps : float
        alpha, delta, r, the smoother's time constant, and epsilon of PCEN; by default 0.98, 2, 0.5, 0.4 s and
        1e-6.
    n_mfcc : int, default 13
        Cepstral coefficients, the zeroth among them.
    dct_type : {1, 2, 3}, default 2
        Of the discrete cosine transform.
    dct_norm : {"ortho", "htk", "none"}, default "ortho"
        Orthonormal; by ``sqrt(2 / n_mels)`` throughout; or twice the sum.
    lifter : float, default 0
        L in ``1 + L / 2 * sin(pi n / L)``, by which coefficient n is multiplied. 0: not at all.
    lifter_kind : {"htk", "librosa"}, default "htk"
        n counts from 0 or, with librosa, from 1.
    energy : {"none", "raw", "windowed", "spectral"}, default "none"
        The logarithm of a frame's energy, in place of the zeroth coefficient or beside the bands: the sum of
        squares before pre-emphasis, or after the window; or the sum over the spectrum.
    energy_floor : float, default 0
        The least that its logarithm is taken of. 0: `log_floor`.
    level : {"first", "last", "dropped"}, default "first"
        Where the column is that tells the level: the energy, or the zeroth coefficient.
    delta_order : {0, 1, 2}, default 0
        Append slopes (1), and curvatures too (2).
    delta_kind : {"savitzky-golay", "regression"}, default "savitzky-golay"
        Derivatives of a fitted polynomial; or slopes by regression, and slopes of these.
    delta_width : int, default 9
        Frames in a fit, an odd number: 5 for HTK's window of 2.
    clip_normalisation : {"none", "mean", "mean-variance"}, default "none"
        Normalise every feature over the clip.
    sliding_normalisation : {"none", "mean", "mean-variance"}, default "none"
        Normalise every feature over the last frames.
    sliding_frames : int, default 300
        How many, the present one among them.
    stack : int, default 1
        Frames joined to one step.

    Raises
    ------
    FeatureError
        If a setting is out of its range, or contradicts another.
    """

    kind: Kind = "mfcc"
    sample_scale: float = 1.0
    dither: float = 0.0
    dither_seed: int = 0
    pre_emphasis: float = 0.0
    pre_emphasis_of: Literal["frame", "signal"] = "frame"
    frame_ms: float | None = None
    hop_ms: float | None = None
    frame_length: int | None = None
    hop_length: int | None = None
    round_lengths: Literal["nearest", "down"] = "nearest"
    framing: Literal["centred", "whole-frames", "pad-end", "mirrored"] = "centred"
    pad_mode: Literal["constant", "reflect", "edge"] = "constant"
    remove_dc: bool = False
    window: Literal["hann", "hamming", "povey", "blackman", "rectangular"] = "hann"
    window_symmetric: bool = False
    n_fft: int | None = None
    spectrum: Literal["power", "magnitude"] = "power"
    divide_by_n_fft: bool = False
    n_mels: int = 40
    f_min_hz: float = 0.0
    f_max_hz: float | None = None
    mel_scale: Literal["slaney", "htk"] = "slaney"
    mel_norm: Literal["slaney", "none"] = "slaney"
    mel_slopes: Literal["hz", "mel", "bins"] = "hz"
    htk_skip_bins: bool = False
    mel_float32: bool = False
    allow_empty_bands: bool = False
    vtln_warp: float = 1.0
    vtln_low_hz: float = 100.0
    vtln_high_hz: float | None = None
    vtln_kind: Literal["kaldi", "htk"] = "kaldi"
    log: Literal["db", "ln", "none", "pcen"] = "db"
    log_floor: float = 1e-10
    log_floor_for: Literal["less", "zero"] = "less"
    log_offset: float = 0.0
    top_db: float | None = 80.0
    pcen_gain: float = 0.98
    pcen_bias: float = 2.0
    pcen_power: float = 0.5
    pcen_seconds: float = 0.4
    pcen_eps: float = 1e-6
    n_mfcc: int = 13
    dct_type: Literal[1, 2, 3] = 2
    dct_norm: Literal["ortho", "htk", "none"] = "ortho"
    lifter: float = 0.0
    lifter_kind: Literal["htk", "librosa"] = "htk"
    energy: Literal["none", "raw", "windowed", "spectral"] = "none"
    energy_floor: float = 0.0
    level: Literal["first", "last", "dropped"] = "first"
    delta_order: Literal[0, 1, 2] = 0
    delta_kind: Literal["savitzky-golay", "regression"] = "savitzky-golay"
    delta_width: int = 9
    clip_normalisation: Normalisation = "none"
    sliding_normalisation: Normalisation = "none"
    sliding_frames: int = 300
    stack: int = 1

    def __post_init__(self) -> None:
        for pair, default in zip(TWICE_TOLD, (25.0, 10.0), strict=True):
            told = [name for name in pair if getattr(self, name) is not None]
            if len(told) == 2:
                raise FeatureError(f"{pair[0]} and {pair[1]} say the same thing; leave one of them out")
            if not told:
                object.__setattr__(self, pair[0], default)
        self._check_each()
        self._check_together()

    def __repr__(self) -> str:
        changed = ", ".join(f"{name}={value!r}" for name, value in self.differing().items())
        return f"FeatureSettings({changed})"

    def _check_each(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices or isinstance(value, bool | float):
                raise FeatureError(f"{name} is one of {', '.join(map(str, choices))}, not {value!r}")
        for name in FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise FeatureError(f"{name} is True or False, not {getattr(self, name)!r}")
        numbers = (
            [(name, Real, "a positive number") for name in ABOVE_ZERO]
            + [(name, Real, "a number from 0 on") for name in FROM_ZERO]
            + [(name, Integral, "a positive whole number") for name in WHOLE]
        )
        for name, kind, wanted in numbers:
            value = getattr(self, name)
            if value is None and name in OPTIONAL:
                continue
            fits = isinstance(value, kind) and not isinstance(value, bool) and 0 <= value < LARGEST  # type: ignore[operator]  # Real has no order
            if not fits or (value == 0 and name not in FROM_ZERO):
                raise FeatureError(f"{name} is {wanted}, not {value!r}")
        seed = self.dither_seed
        if not isinstance(seed, Integral) or isinstance(seed, bool) or seed < 0:
            raise FeatureError(f"dither_seed is a whole number from 0 on, not {self.dither_seed!r}")
        emphasis = self.pre_emphasis
        if not isinstance(emphasis, Real) or isinstance(emphasis, bool) or not 0 <= emphasis <= 1:
            raise FeatureError(f"pre_emphasis is a number from 0 to 1, not {self.pre_emphasis!r}")

    def _check_together(self) -> None:
        if self.kind == "mfcc" and self.n_mfcc > self.n_mels:
            raise FeatureError(
                f"n_mfcc={self.n_mfcc} coefficients cannot be had from n_mels={self.n_mels} bands; "
                "lower n_mfcc, or raise n_mels"
            )
        if self.kind == "mfcc" and self.dct_type == 1 and self.n_mels < 2:
            raise FeatureError("a DCT of type 1 needs two bands; raise n_mels, or use dct_type=2")
        if self.dct_norm == "htk" and self.dct_type != 2:
            raise FeatureError(f"HTK's scale is of a DCT of type 2, not {self.dct_type}; change dct_norm")
        if self.kind == "mfcc" and self.level == "dropped" and self.n_mfcc == 1:
            raise FeatureError("n_mfcc=1 with the level dropped leaves no column; raise n_mfcc")
        if self.f_max_hz is not None and self.f_min_hz >= self.f_max_hz:
            edges = f"{self.f_min_hz:g} to {self.f_max_hz:g}"
            raise FeatureError(f"there are no mel bands from {edges} Hz; f_min_hz < f_max_hz is needed")
        if self.kind != "mfcc" and self.energy == "none" and self.level == "dropped":
            raise FeatureError(f"a {self.kind} has no level that could be dropped; change level or kind")
        if self.energy != "none" and self.level == "dropped":
            raise FeatureError(f"energy={self.energy!r} is asked for and dropped; change energy or level")
        if self.delta_width % 2 == 0:
            raise FeatureError(f"deltas are fitted to an odd number of frames, not {self.delta_width}")
        if self.delta_order and self.delta_width <= self.delta_order:
            raise FeatureError(
                f"no deltas can be fitted to delta_width={self.delta_width} frames; use 3 or more"
            )
        if "none" not in (self.clip_normalisation, self.sliding_normalisation):
            raise FeatureError("normalise over the clip or over the last frames, not over both")
        if self.framing != "centred" and self.pad_mode != "constant":
            raise FeatureError(
                f"pad_mode={self.pad_mode!r} is for centred frames, not for {self.framing}; leave it out"
            )

    def differing(self, other: "FeatureSettings | None" = None) -> dict[str, Any]:
        """Tell which settings differ.

        Parameters
        ----------
        other : FeatureSettings, optional
            From which. By default the defaults.

        Returns
        -------
        dict
            These settings by name, where they are not the other's.
        """
        than = FeatureSettings() if other is None else other
        found = {name: getattr(self, name) for name in NAMES if getattr(self, name) != getattr(than, name)}
        # A length in samples says by itself that it is not told in ms.
        return {name: value for name, value in found.items() if value is not None or name not in LENGTHS_MS}

    def change(self, **changes: Any) -> Self:
        """Make the same settings but for some.

        Parameters
        ----------
        **changes
            Settings by name. A length told in samples replaces one in ms, and the other way about.

        Returns
        -------
        FeatureSettings
            The changed ones.

        Raises
        ------
        FeatureError
            If a name is unknown, a setting out of its range, or two contradict each other.
        """
        check_names(changes)
        for pair in TWICE_TOLD:
            told = [name for name in pair if changes.get(name) is not None]
            if len(told) == 1:
                changes = dict.fromkeys(pair) | changes
        return dataclasses.replace(self, **changes)

    def __call__(self, samples: np.ndarray, sample_rate: int, num_threads: int | None = 1) -> np.ndarray:
        """Compute the features of a clip.

        Parameters
        ----------
        samples : array (N,), floating
            Mono sound, full scale 1, at least one sample.
        sample_rate : int
            Its rate in Hz.
        num_threads : int or None, default 1
            How many threads to use, of a long clip. None: as many as ``LSTM_SCRATCH_NUM_THREADS`` says, or
            one for every CPU. Results are the same bits for any number.

        Returns
        -------
        ndarray (T, n_features), float32; float64 for samples in float64
            The features.

        Raises
        ------
        FeatureError
            If the samples are no mono sound or fewer than whole frames need, or if the settings do not fit
            the sample rate.
        """
        from features.extraction import extract

        return extract(self, samples, sample_rate, num_threads)

    def n_features(self, sample_rate: int | None = None) -> int:
        """Count the columns that a call returns.

        Parameters
        ----------
        sample_rate : int, optional
            Of the sound, in Hz. Needed for a log-spectrogram without `n_fft`, whose bins depend on it.

        Returns
        -------
        int
            F.

        Raises
        ------
        FeatureError
            If the sample rate is needed and not told, or does not fit.
        """
        if self.kind == "mfcc":
            static = self.n_mfcc - (self.level == "dropped")
        elif self.kind == "log-mel":
            static = self.n_mels + (self.energy != "none")
        else:
            static = self.sizes(sample_rate)[2] // 2 + 1 + (self.energy != "none")
        return static * (1 + self.delta_order) * self.stack

    def sizes(self, sample_rate: int | None) -> tuple[int, int, int]:
        """Lengths in samples at a sample rate.

        Parameters
        ----------
        sample_rate : int or None
            In Hz. None will do where all is told in samples.

        Returns
        -------
        frame_length, hop_length, n_fft : int
            Of a frame, from one frame to the next, of the Fourier transform.

        Raises
        ------
        FeatureError
            If they do not fit together.
        """
        if sample_rate is None:
            if self.frame_length is None or self.hop_length is None:
                raise FeatureError("lengths in ms need the sample rate")
        else:
            check_sample_rate(sample_rate)
        frame, hop = (
            getattr(self, length) or self._in_samples(getattr(self, ms), sample_rate)
            for ms, length in TWICE_TOLD
        )
        if min(frame, hop) < 1:
            told = " every ".join(
                f"{getattr(self, ms):g} ms" if getattr(self, ms) else f"{getattr(self, length)} samples"
                for ms, length in TWICE_TOLD
            )
            raise FeatureError(
                f"a frame of {told} is less than a sample at {sample_rate} Hz; use a higher sample rate or "
                "longer frames"
            )
        n_fft = self.n_fft or 1 << (frame - 1).bit_length()
        if n_fft < frame:
            told = f" ({self.frame_ms:g} ms at {sample_rate} Hz)" if self.frame_ms else ""
            raise FeatureError(
                f"n_fft={n_fft} cannot hold a frame of {frame} samples{told}; raise it, or leave it out"
            )
        return frame, hop, n_fft

    def _in_samples(self, ms: float, sample_rate: int | None) -> int:
        assert sample_rate is not None
        if self.round_lengths == "down":
            return math.floor(sample_rate * 0.001 * ms)  # Kaldi's own expression, with its rounding
        return math.floor(sample_rate * ms / 1000 + 0.5)


NAMES = tuple(field.name for field in dataclasses.fields(FeatureSettings))


def check_sample_rate(sample_rate: Any) -> None:
    """Refuse what is no sample rate.

    Parameters
    ----------
    sample_rate : int
        In Hz.

    Raises
    ------
    FeatureError
        If it is no positive whole number.
    """
    if not isinstance(sample_rate, Integral) or sample_rate < 1:
        raise FeatureError(f"a sample rate is a positive whole number of Hz, not {sample_rate!r}")


def check_names(names: Any) -> None:
    """Refuse names that are no setting's.

    Parameters
    ----------
    names : iterable of str
        The names.

    Raises
    ------
    FeatureError
        If there is no such setting.
    """
    for name in names:
        if name not in NAMES:
            alike = difflib.get_close_matches(name, NAMES, n=1)
            hint = f"; did you mean {alike[0]}?" if alike else f"; there are {', '.join(NAMES)}"
            raise FeatureError(f"there is no setting {name!r}{hint}")


def setting_from_text(text: str) -> tuple[str, Any]:
    """Read a setting as it is typed on a command line.

    Parameters
    ----------
    text : str
        ``NAME=VALUE``: a number, a word, true or false, or none.

    Returns
    -------
    name : str
        Which setting.
    value : int, float, bool, str or None
        Of the setting's type. What cannot be read stays text, which `FeatureSettings` then refuses.

    Raises
    ------
    FeatureError
        If there is no such setting, or no value.
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals:
        raise FeatureError(f"a setting is told as NAME=VALUE, such as n_mels=26, not {text!r}")
    check_names([name])
    if name in CHOICES:
        return name, {str(choice): choice for choice in CHOICES[name]}.get(value, value)
    if name in FLAGS:
        return name, {"true": True, "false": False}.get(value.lower(), value)
    if name in OPTIONAL and value.lower() == "none":
        return name, None
    try:
        return name, int(value) if name in (*WHOLE, "dither_seed") else float(value)
    except ValueError:
        return name, value


def settings_to_dict(settings: FeatureSettings) -> dict[str, Any]:
    """Write settings as plain values, to be kept in a file.

    Parameters
    ----------
    settings : FeatureSettings
        The settings.

    Returns
    -------
    dict
        Every setting by name.
    """
    return dataclasses.asdict(settings)


def settings_from_dict(values: dict[str, Any]) -> FeatureSettings:
    """Read settings that `settings_to_dict` wrote.

    Parameters
    ----------
    values : dict
        Settings by name; the others are as by default.

    Returns
    -------
    FeatureSettings
        The settings.

    Raises
    ------
    FeatureError
        If a setting is unknown or out of its range.
    """
    check_names(values)
    return FeatureSettings(**values)
