"""More training data than was recorded: noise, gain, shift, speed, masks and mixtures, drawn with a seed.

Each is a plain function that leaves its input as it is and keeps its dtype; where something is drawn,
it takes `rng`, and the same seed gives the same bits. `Augmentation` puts those that change sound
together. They are for training data alone: what is tested on has to be what was recorded.

Letters: N samples, M samples of noise, T frames, F features, K classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Real
from typing import Any

import numpy as np

from features.audio import check_samples, resample
from features.errors import FeatureError

DECIBELS = (-200.0, 200.0)  # more would leave float32
EQUALISER_GAINS = 6  # of which a curve is drawn
EQUALISER_REACH = 1024  # samples over which its filter has died away
SPEEDS = (0.5, 2.0)
SHIFTS_MS = (-1e9, 1e9)  # more than any recording is long
EXPONENTS = (-10.0, 10.0)
ALPHAS = (1e-3, 1e3)  # beyond, the draws are 0 and 1, or 0.5, and in the end rounding


def add_noise(samples: np.ndarray, noise: np.ndarray, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    """Add a random excerpt of a noise at a signal-to-noise ratio.

    ``10 log10(sum(samples ** 2) / sum(added ** 2)) = snr_db``, both sums over the whole clip, its
    silent parts included. A silent clip has no such ratio and stays silent.

    Parameters
    ----------
    samples : array (N,), floating
        The clip, full scale 1.
    noise : array (M,), floating
        The noise, at the sample rate of the clip: ``read_audio(path, sample_rate)[0]``, or
        `coloured_noise`. Any of its excerpts of N samples is as likely as any other, but for silent
        ones, which are not drawn. Where M < N, it is repeated from a random place on. Of a long noise,
        only the excerpt is checked.
    snr_db : float
        Signal-to-noise ratio in dB, from -200 to 200.
    rng : numpy.random.Generator
        Draws the excerpt.

    Returns
    -------
    ndarray (N,)
        The noisy clip, in the dtype of `samples`. It may exceed full scale: nothing is clipped.

    Raises
    ------
    FeatureError
        If the clip or the noise is no mono sound, the noise is silent throughout, or the ratio is out of its
        range.

    Notes
    -----
    Training with noise at drawn ratios: S. Yin et al., "Noisy training for deep neural networks in speech
    recognition", EURASIP Journal on Audio, Speech, and Music Processing 2015:2.
    """
    _check(samples)
    _check_number("snr_db", snr_db, *DECIBELS)
    noise = np.asarray(noise)
    if noise.ndim == 1 and len(noise):
        noise = _excerpt(noise, len(samples), rng)
    _check(noise, "noise")
    _, level = _normalised(samples)
    added, _ = _normalised(noise)
    return np.asarray(samples + level * 10 ** (-float(snr_db) / 20) * added).astype(np.asarray(samples).dtype)


def _check(samples: np.ndarray, name: str = "samples") -> np.ndarray:
    """Refuse what is no mono sound; loud it may be, as nothing here depends on the level."""
    return check_samples(samples, name, far_beyond_1="accept")


def _excerpt(noise: np.ndarray, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `n_samples` of a noise in a row, not all 0; one shorter than that is repeated."""
    n_starts = len(noise) - n_samples + 1 if len(noise) >= n_samples else len(noise)
    place = np.arange(n_samples)
    excerpt = noise.take(rng.integers(n_starts) + place, mode="wrap")
    if excerpt.any():
        return excerpt
    # As if drawn again until it is not silent, in one draw.
    n_loud = np.concatenate([[0], np.cumsum(noise != 0)])
    starts = np.flatnonzero(n_loud[n_samples:] - n_loud[:-n_samples])
    if len(starts) == 0:
        raise FeatureError(
            f"noise: all {len(noise)} samples are 0, which cannot be scaled to an SNR; use another noise"
        )
    return np.asarray(noise.take(rng.choice(starts) + place))


def _normalised(samples: np.ndarray) -> tuple[np.ndarray, float]:
    """Divide a signal by its root mean square, in float64, and give that as well: 0 for silence."""
    samples = np.asarray(samples, np.float64)
    peak = float(np.abs(samples).max())
    if peak == 0:
        return samples, 0.0
    samples = samples / peak  # first, or the squares of a faint signal are 0
    rms = math.sqrt(np.mean(samples**2))
    return samples / rms, peak * rms


def coloured_noise(n_samples: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise whose power falls with frequency: the power spectrum is ``1 / f ** exponent``.

    Parameters
    ----------
    n_samples : int
        N, at least 2.
    exponent : float
        0 is white noise, 1 pink (the same power in every octave), 2 brown, -1 blue, -2 violet; from -10
        to 10.
    rng : numpy.random.Generator
        Draws the noise.

    Returns
    -------
    ndarray (N,), float32
        The noise. Its mean is 0, its root mean square 1; it repeats without a seam.

    Raises
    ------
    FeatureError
        If the length or the exponent is out of its range.

    Notes
    -----
    Every amplitude of the spectrum is drawn from a complex Gaussian: J. Timmer and M. Koenig, "On
    generating power law noise", Astronomy and Astrophysics 300 (1995) 707.
    """
    _check_number("n_samples", n_samples, 2, whole=True)
    _check_number("exponent", exponent, *EXPONENTS)
    frequencies = np.fft.rfftfreq(n_samples)
    spectrum = rng.standard_normal(len(frequencies)) + 1j * rng.standard_normal(len(frequencies))
    if n_samples % 2 == 0:  # half the sample rate: its amplitude is real, its power no less
        spectrum[-1] = math.sqrt(2) * spectrum[-1].real
    spectrum[0] = 0
    spectrum[1:] *= frequencies[1:] ** (-exponent / 2)
    return _normalised(np.fft.irfft(spectrum, n_samples))[0].astype(np.float32)


def gain(samples: np.ndarray, gain_db: float) -> np.ndarray:
    """Make a clip louder or softer: ``samples * 10 ** (gain_db / 20)``.

    Parameters
    ----------
    samples : array (N,), floating
        The clip.
    gain_db : float
        Gain in dB, from -200 to 200; 6 is about twice the amplitude.

    Returns
    -------
    ndarray (N,)
        The louder clip, in the dtype of `samples`. Nothing is clipped.

    Raises
    ------
    FeatureError
        If the clip is no mono sound, or the gain is out of its range.

    Notes
    -----
    Volume perturbation in V. Peddinti et al., "JHU ASpIRE system: robust LVCSR with TDNNs, iVector
    adaptation and RNN-LMs", ASRU 2015.
    """
    _check(samples)
    _check_number("gain_db", gain_db, *DECIBELS)
    return np.asarray(samples) * 10 ** (float(gain_db) / 20)


def time_shift(samples: np.ndarray, n_shift: int) -> np.ndarray:
    """Move a clip in time; zeros come in at one end, and what leaves at the other is lost.

    Parameters
    ----------
    samples : array (N,), floating
        The clip.
    n_shift : int
        Samples that it comes later; earlier if negative. Beyond N, nothing is left but zeros.

    Returns
    -------
    ndarray (N,)
        The moved clip, in the dtype of `samples`.

    Raises
    ------
    FeatureError
        If the clip is no mono sound, or the shift no whole number.

    Notes
    -----
    By up to 100 ms in R. Tang and J. Lin, "Deep residual learning for small-footprint keyword
    spotting", ICASSP 2018.
    """
    _check(samples)
    _check_number("n_shift", n_shift, -math.inf, whole=True)
    samples = np.asarray(samples)
    moved = np.zeros_like(samples)
    n_kept = max(len(samples) - abs(int(n_shift)), 0)
    if n_shift >= 0:
        moved[len(samples) - n_kept :] = samples[:n_kept]
    else:
        moved[:n_kept] = samples[len(samples) - n_kept :]
    return moved


def change_speed(samples: np.ndarray, factor: float) -> np.ndarray:
    """Play a clip faster or slower, which changes its pitch and its formants as well.

    Parameters
    ----------
    samples : array (N,), floating
        The clip.
    factor : float
        Speed, from 0.5 to 2. 1.1 makes a clip shorter by 1 / 1.1, and every frequency 1.1 times as
        high. The nearest fraction ``p / q`` with a `q` up to 100 is taken, which is at most 0.005 away;
        every hundredth is one.

    Returns
    -------
    ndarray (ceil(N * q / p),)
        The faster clip, in the dtype of `samples`; the same array if the fraction is 1.

    Raises
    ------
    FeatureError
        If the clip is no mono sound, or the factor is out of its range.

    Notes
    -----
    T. Ko et al., "Audio augmentation for speech recognition", Interspeech 2015, where the factors are
    0.9, 1 and 1.1. By `resample`, and so without aliasing.
    """
    _check(samples)
    _check_number("factor", factor, *SPEEDS)
    samples = np.asarray(samples)
    speed = Fraction(float(factor)).limit_denominator(100)
    return resample(samples, speed.numerator, speed.denominator).astype(samples.dtype, copy=False)


def equalise(samples: np.ndarray, gains_db: Sequence[float]) -> np.ndarray:
    """Change the tone of a clip, as another microphone or another room would.

    Parameters
    ----------
    samples : array (N,), floating
        The clip.
    gains_db : sequence of float
        Gains in dB, at frequencies that are equally far apart on HTK's mel scale of a sound at 16 kHz, from 0
        to half the sample rate; in between, they run straight. At least two.

    Returns
    -------
    ndarray (N,)
        The clip, filtered without a shift of any phase, in the dtype of `samples`.

    Raises
    ------
    FeatureError
        If the clip is no mono sound, or a gain is no finite number.
    """
    _check(samples)
    samples = np.asarray(samples)
    if np.ndim(gains_db) != 1 or len(gains_db) < 2:
        raise FeatureError(f"gains_db are at least two numbers, not {gains_db!r}")
    for db in gains_db:
        _check_number("each of gains_db", db, *DECIBELS)
    from scipy.fft import irfft, next_fast_len, rfft  # float32 stays float32

    # Zeros behind, so that the end of the clip does not sound at its beginning.
    n = next_fast_len(len(samples) + EQUALISER_REACH, real=True)
    spectrum = rfft(samples, n)
    mel = np.log1p(np.linspace(0, 8000 / 700, len(spectrum)))
    factor = 10 ** (np.interp(mel, np.linspace(0, mel[-1], len(gains_db)), gains_db) / 20)
    filtered = irfft(spectrum * factor.astype(samples.dtype), n)[: len(samples)]
    return np.asarray(filtered.astype(samples.dtype, copy=False))


def draw_vtln_warp(rng: np.random.Generator, spread: float = 0.1) -> float:
    """Draw a speaker: the factor of a vocal-tract length perturbation.

    It is a setting of the features, which stretches their frequencies as a shorter or longer vocal
    tract would::

        frames = dataclasses.replace(settings, vtln_warp=draw_vtln_warp(rng))(samples, sample_rate)

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the factor.
    spread : float, default 0.1
        How far from 1 it may be, from 0 to 0.5. Adults differ by about 0.12 (L. Lee and R. Rose, ICASSP
        1996).

    Returns
    -------
    float
        The factor, uniform from ``1 - spread`` to ``1 + spread``.

    Raises
    ------
    FeatureError
        If the spread is out of its range.

    Notes
    -----
    N. Jaitly and G. E. Hinton, "Vocal tract length perturbation (VTLP) improves speech recognition", ICML
    workshop on deep learning for audio, speech and language, 2013.
    """
    _check_number("spread", spread, 0, 0.5)
    return float(rng.uniform(1 - spread, 1 + spread))


def spec_augment(
    frames: np.ndarray,
    rng: np.random.Generator,
    *,
    n_time_masks: int = 2,
    max_time_width: int = 20,
    max_time_fraction: float = 0.2,
    n_frequency_masks: int = 2,
    max_frequency_width: int = 8,
    value: float | np.ndarray | None = None,
) -> np.ndarray:
    """SpecAugment: hide some stretches of time and some bands of frequency.

    A mask's width is uniform from 0 to the largest, its place is uniform over all where it fits; masks may
    overlap. There is no time warping, which the paper found to matter least.

    Parameters
    ----------
    frames : array (T, F), floating
        Features of one clip without padding. Neighbouring columns are to be neighbouring bands: those
        of a log-mel without deltas and stacking. For others, switch the masks of frequency off.
    rng : numpy.random.Generator
        Draws the masks.
    n_time_masks : int, default 2
        Masks over time; 0 for none.
    max_time_width : int, default 20
        Frames that a mask over time hides at most.
    max_time_fraction : float, default 0.2
        Part of the clip that a mask over time hides at most, from 0 to 1: the paper's p.
    n_frequency_masks : int, default 2
        Masks over frequency; 0 for none.
    max_frequency_width : int, default 8
        Features that a mask over frequency hides at most; never more than F.
    value : float or array (F,), optional
        What hidden features become. By default each one's mean over the clip.

    Returns
    -------
    ndarray (T, F)
        The features with masks, in the dtype of `frames`.

    Raises
    ------
    FeatureError
        If the frames are no features, or a setting is out of its range.

    Notes
    -----
    D. S. Park et al., "SpecAugment: a simple data augmentation method for automatic speech recognition",
    Interspeech 2019. Its features have a mean of 0, and what is hidden becomes 0: for such features, that is
    ``value=0``. Its masks never hide the last frame or band; these do.
    """
    _check_number("n_time_masks", n_time_masks, 0, whole=True)
    _check_number("max_time_width", max_time_width, 0, whole=True)
    _check_number("max_time_fraction", max_time_fraction, 0, 1)
    _check_number("n_frequency_masks", n_frequency_masks, 0, whole=True)
    _check_number("max_frequency_width", max_frequency_width, 0, whole=True)
    frames = np.asarray(frames)
    if frames.ndim != 2 or frames.size == 0 or not np.issubdtype(frames.dtype, np.floating):
        raise FeatureError(f"frames: floats of shape (T, F) are wanted, not {frames.dtype} {frames.shape}")
    n_frames, n_features = frames.shape
    fill = np.asarray(frames.mean(axis=0, dtype=np.float64) if value is None else value)
    if fill.shape not in ((), (n_features,)):
        raise FeatureError(f"value is one number or one per feature, {n_features}, not of shape {fill.shape}")
    fill = np.broadcast_to(fill, n_features)

    masked = frames.copy()
    longest = min(max_time_width, math.floor(max_time_fraction * n_frames + 1e-9))  # 0.29 * 100 is 28.999...
    for _ in range(n_time_masks):
        masked[_draw_mask(n_frames, longest, rng)] = fill
    for _ in range(n_frequency_masks):
        columns = _draw_mask(n_features, min(max_frequency_width, n_features), rng)
        masked[:, columns] = fill[columns]
    return masked


def _draw_mask(size: int, max_width: int, rng: np.random.Generator) -> slice:
    """Draw where a mask lies, of a width from 0 to `max_width`."""
    width = int(rng.integers(max_width + 1))
    start = int(rng.integers(size - width + 1))
    return slice(start, start + width)


def mixup_weight(rng: np.random.Generator, alpha: float = 0.2) -> float:
    """Draw how much of the first of two examples a mixture takes: from Beta(alpha, alpha).

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the weight.
    alpha : float, default 0.2
        From 0.001 to 1000. Small: most mixtures are nearly one of the two; 1: uniform; large: half and half.

    Returns
    -------
    float
        The weight for `mix`, from 0 to 1.

    Raises
    ------
    FeatureError
        If alpha is out of its range.

    Notes
    -----
    H. Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018.
    """
    _check_number("alpha", alpha, *ALPHAS)
    return float(rng.beta(alpha, alpha))


def mix(first: np.ndarray, second: np.ndarray, weight: float) -> np.ndarray:
    """Mix two examples, or their labels: ``weight * first + (1 - weight) * second``.

    Both of a pair take the same weight::

        weight = mixup_weight(rng)
        samples = mix(samples_1, samples_2, weight)
        label = mix(np.eye(n_classes)[label_1], np.eye(n_classes)[label_2], weight)

    Parameters
    ----------
    first : array (N,), (T, F) or (K,)
        Sound, features, or the probability of every class.
    second : array
        The same of the other example. The shorter of the two is padded with zeros at its end. That is
        silence in sound; in features it is so only where 0 is their mean
        (``clip_normalisation="mean"``): else, mix sound.
    weight : float
        Part of the first, from 0 to 1.

    Returns
    -------
    ndarray
        The mixture, as long as the longer.

    Raises
    ------
    FeatureError
        If the two do not go together, or the weight is out of its range.

    Notes
    -----
    H. Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018, equation in section 1.
    """
    _check_number("weight", weight, 0, 1)
    first, second = np.asarray(first), np.asarray(second)
    if first.ndim == 0 or first.ndim != second.ndim or first.shape[1:] != second.shape[1:]:
        raise FeatureError(
            f"{first.shape} and {second.shape} cannot be mixed; only their length, the first axis, may differ"
        )
    length = max(len(first), len(second))
    first, second = (np.pad(x, [(0, length - len(x))] + [(0, 0)] * (x.ndim - 1)) for x in (first, second))
    return np.asarray(float(weight) * first + float(1 - weight) * second)


@dataclass(frozen=True, kw_only=True, eq=False)
class Augmentation:
    """Changes to sound, drawn anew for every call: in this order, speed, shift, tone, noise, gain.

    Each range is a pair of bounds, between which values are uniform; None switches its change off.
    Noise comes after the shift, so that it covers the zeros which that leaves.

    Parameters
    ----------
    speed : (float, float), optional
        Factors for `change_speed`.
    shift_ms : (float, float), optional
        Times for `time_shift`, in ms; positive is later.
    equaliser_db : (float, float), optional
        Gains for `equalise`, in dB: one for each of six frequencies.
    snr_db : (float, float), optional
        Ratios for `add_noise`, in dB.
    noises : sequence of array (M,), default ()
        Noises, of which one is drawn, at the sample rate of the clips. By default `coloured_noise`.
    exponent : (float, float), default (0, 2)
        Exponents for `coloured_noise`.
    gain_db : (float, float), optional
        Gains for `gain`, in dB.
    probability : float, default 1
        Chance of each change that is on, one regardless of the other.

    Raises
    ------
    FeatureError
        If a setting is out of its range, or a noise is silent or no mono sound.

    Examples
    --------
    >>> import numpy as np
    >>> augment = Augmentation(speed=(0.9, 1.1), snr_db=(5, 20), probability=0.8)
    >>> rng = np.random.default_rng(0)
    >>> clips = [np.sin(np.arange(n)) for n in (4000, 5000)]
    >>> more = [augment(clip, 8000, rng) for clip in clips for _ in range(3)]
    >>> len(more)
    6
    """

    speed: tuple[float, float] | None = None
    shift_ms: tuple[float, float] | None = None
    equaliser_db: tuple[float, float] | None = None
    snr_db: tuple[float, float] | None = None
    noises: Sequence[np.ndarray] = ()
    exponent: tuple[float, float] = (0.0, 2.0)
    gain_db: tuple[float, float] | None = None
    probability: float = 1.0

    def __post_init__(self) -> None:
        _check_range("exponent", self.exponent, *EXPONENTS)
        for name, low, high in (
            ("speed", *SPEEDS),
            ("shift_ms", *SHIFTS_MS),
            ("equaliser_db", *DECIBELS),
            ("snr_db", *DECIBELS),
            ("gain_db", *DECIBELS),
        ):
            if getattr(self, name) is not None:
                _check_range(name, getattr(self, name), low, high)
        _check_number("probability", self.probability, 0, 1)
        for number, noise in enumerate(self.noises):
            if not _check(noise, f"noises[{number}]").any():
                raise FeatureError(f"noises[{number}]: all samples are 0; leave it out")

    def __call__(self, samples: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
        """Change a clip at random.

        Parameters
        ----------
        samples : array (N,), floating
            Mono sound, full scale 1, at least one sample.
        sample_rate : int
            Its rate in Hz.
        rng : numpy.random.Generator
            Draws everything.

        Returns
        -------
        ndarray
            The changed clip, in the dtype of `samples`; of another length if speed is on; the same array if
        nothing happens.

        Raises
        ------
        FeatureError
            If the samples are no mono sound.
        """
        _check(samples)
        _check_number("sample_rate", sample_rate, 1)
        samples = np.asarray(samples)
        if self.speed is not None and self._happens(rng):
            samples = change_speed(samples, rng.uniform(*self.speed))
        if self.shift_ms is not None and self._happens(rng):
            samples = time_shift(samples, round(rng.uniform(*self.shift_ms) * sample_rate / 1000))
        if self.equaliser_db is not None and self._happens(rng):
            samples = equalise(samples, rng.uniform(*self.equaliser_db, EQUALISER_GAINS).tolist())
        if self.snr_db is not None and self._happens(rng):
            if len(self.noises):
                noise = self.noises[int(rng.integers(len(self.noises)))]
            else:
                from scipy.fft import next_fast_len

                # Longer clips have it several times over, which nobody hears, and a second is soon drawn.
                n_noise = next_fast_len(max(min(len(samples), sample_rate), 2), real=True)
                noise = coloured_noise(n_noise, rng.uniform(*self.exponent), rng)
            samples = add_noise(samples, noise, rng.uniform(*self.snr_db), rng)
        if self.gain_db is not None and self._happens(rng):
            samples = gain(samples, rng.uniform(*self.gain_db))
        return samples

    def _happens(self, rng: np.random.Generator) -> bool:
        return bool(rng.random() < self.probability)


def augmentation_to_dict(augmentation: Augmentation) -> dict[str, Any]:
    """Put what is changed into plain values, which make it again but for the noises.

    Parameters
    ----------
    augmentation : Augmentation
        Changes to sound.

    Returns
    -------
    dict
        What JSON can hold.
    """
    ranges = ("speed", "shift_ms", "equaliser_db", "snr_db", "exponent", "gain_db")
    plain = {name: getattr(augmentation, name) for name in ranges}
    plain = {k: v if v is None else [float(bound) for bound in v] for k, v in plain.items()}
    return plain | {"probability": float(augmentation.probability)}


def _check_number(name: str, value: Any, low: float, high: float = math.inf, *, whole: bool = False) -> None:
    """Refuse a setting that is no finite number from `low` to `high`."""
    kind = Integral if whole else Real
    if isinstance(value, kind) and math.isfinite(value) and low <= float(value) <= high:
        return
    bounds = f" from {low:g}" if low > -math.inf else ""
    bounds += f" to {high:g}" if high < math.inf else " on" if bounds else ""
    raise FeatureError(f"{name} is a {'whole' if whole else 'finite'} number{bounds}, not {value!r}")


def _check_range(name: str, bounds: Any, low: float, high: float) -> None:
    """Refuse what is no pair of numbers in order."""
    try:
        first, last = bounds
    except (TypeError, ValueError):
        raise FeatureError(f"{name} is a pair (lowest, highest), not {bounds!r}") from None
    for bound in (first, last):
        _check_number(f"each bound of {name}", bound, low, high)
    if first > last:
        raise FeatureError(f"{name} is a pair (lowest, highest), not {bounds!r}; swap them")
