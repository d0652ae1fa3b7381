"""From sound to features: the stages in their order, in plain numpy, and who computes them.

`STAGES` is the definition: what each stage is called, which settings it has, and what it does. A frame's
numbers are sums and products over that frame alone, taken in one order; so they are the same bits alone
and among others. `features.kernels` computes the stages from framing to columns faster, and is proven equal.

Letters: N samples, T frames.
"""

from collections.abc import Callable, Iterator
from functools import partial
from numbers import Integral
from typing import Any, Literal, NamedTuple

import numpy as np

from features import dynamics, framing, logarithm
from features.audio import check_samples
from features.errors import FeatureError
from features.plan import Plan, plan
from features.settings import FeatureSettings
from features.spectrum import spectrum
from simd.loading import load_kernels

BLOCK = 1024  # frames that are computed at a time: their samples stay in the cache
FRAMES_WORTH_A_THREAD = 3000  # of fewer, waking a thread costs more than it gains


class Frames(NamedTuple):
    """What goes from stage to stage."""

    values: np.ndarray  # (N,) samples, then (T, n)
    energy: np.ndarray | None = None  # (T,), its logarithm


class Stage(NamedTuple):
    """A step on the way from sound to features."""

    name: str
    settings: tuple[str, ...]  # the settings that act in it
    compute: Callable[[Plan, Frames], Frames]


def _signal(plan: Plan, data: Frames) -> Frames:
    return Frames(conditioned(data.values, plan.settings))


def _framing(plan: Plan, data: Frames) -> Frames:
    signal, settings = data.values, plan.settings
    low, high = _span(plan, 0, plan.count_frames(len(signal)))
    return Frames(
        framing.cut(framing.stretch(signal, low, high, settings), plan.frame_length, plan.hop_length)
    )


def _dc(plan: Plan, data: Frames) -> Frames:
    if not plan.settings.remove_dc:
        return data
    return Frames(data.values - _sum(data.values)[:, None] / data.values.dtype.type(plan.frame_length))


def _pre_emphasis(plan: Plan, data: Frames) -> Frames:
    frames, energy = data
    if plan.settings.energy == "raw":
        energy = logarithm.log_energy(_sum(frames * frames), plan.settings)
    factor = frames.dtype.type(plan.settings.pre_emphasis)
    if plan.settings.pre_emphasis_of == "frame" and factor:
        frames = frames - factor * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    return Frames(frames, energy)


def _window(plan: Plan, data: Frames) -> Frames:
    frames = data.values * plan.window.astype(data.values.dtype)
    energy = data.energy
    if plan.settings.energy == "windowed":
        energy = logarithm.log_energy(_sum(frames * frames), plan.settings)
    return Frames(frames, energy)


def _spectrum(plan: Plan, data: Frames) -> Frames:
    settings = plan.settings
    power = spectrum(data.values, plan.n_fft, settings.spectrum == "magnitude", settings.divide_by_n_fft)
    energy = data.energy
    if settings.energy == "spectral":
        energy = logarithm.log_energy(_sum(power), settings)
    return Frames(power, energy)


def _bands(plan: Plan, data: Frames) -> Frames:
    return data if plan.bank is None else data._replace(values=_product(data.values, plan.bank.T))


def _logarithm(plan: Plan, data: Frames) -> Frames:
    return _adapted(plan, data._replace(values=logarithm.logarithm(data.values, plan.settings)))


def _adapted(plan: Plan, data: Frames) -> Frames:
    """Do to the bands what needs other frames."""
    bands = data.values
    if plan.settings.log == "pcen":
        bands = logarithm.Pcen(plan.settings, plan.hop_length / plan.sample_rate)(bands)
    return data._replace(values=logarithm.limit_range(bands, plan.limit))


def _columns(plan: Plan, data: Frames) -> Frames:
    return Frames(columns(plan, data))


def _deltas(plan: Plan, data: Frames) -> Frames:
    return Frames(dynamics.append_deltas(data.values, plan.settings))


def _normalisation(plan: Plan, data: Frames) -> Frames:
    settings = plan.settings
    frames = dynamics.normalise_clip(data.values, settings.clip_normalisation)
    return Frames(dynamics.Sliding(settings)(frames))


def _stacking(plan: Plan, data: Frames) -> Frames:
    return Frames(np.ascontiguousarray(dynamics.stack_frames(data.values, plan.settings.stack)))


#: From samples to features, in order.
STAGES = (
    Stage("signal", ("sample_scale", "dither", "dither_seed", "pre_emphasis", "pre_emphasis_of"), _signal),
    Stage(
        "framing",
        ("frame_ms", "frame_length", "hop_ms", "hop_length", "round_lengths", "framing", "pad_mode", "n_fft"),
        _framing,
    ),
    Stage("DC removal", ("remove_dc",), _dc),
    Stage("pre-emphasis", ("pre_emphasis", "pre_emphasis_of"), _pre_emphasis),
    Stage("window", ("window", "window_symmetric"), _window),
    Stage("spectrum", ("n_fft", "spectrum", "divide_by_n_fft"), _spectrum),
    Stage(
        "mel bands",
        (
            "kind",
            "n_mels",
            "f_min_hz",
            "f_max_hz",
            "mel_scale",
            "mel_norm",
            "mel_slopes",
            "htk_skip_bins",
            "mel_float32",
            "allow_empty_bands",
            "vtln_warp",
            "vtln_low_hz",
            "vtln_high_hz",
            "vtln_kind",
        ),
        _bands,
    ),
    Stage(
        "logarithm",
        (
            "log",
            "log_floor",
            "log_floor_for",
            "log_offset",
            "top_db",
            "pcen_gain",
            "pcen_bias",
            "pcen_power",
            "pcen_seconds",
            "pcen_eps",
        ),
        _logarithm,
    ),
    Stage(
        "cepstra and level",
        (
            "kind",
            "n_mfcc",
            "dct_type",
            "dct_norm",
            "lifter",
            "lifter_kind",
            "energy",
            "energy_floor",
            "level",
        ),
        _columns,
    ),
    Stage("deltas", ("delta_order", "delta_kind", "delta_width"), _deltas),
    Stage("normalisation", ("clip_normalisation", "sliding_normalisation", "sliding_frames"), _normalisation),
    Stage("stacking", ("stack",), _stacking),
)
OF_A_FRAME = STAGES[2:9]  # which need no other frame, but for PCEN and `top_db`


def run_stages(
    settings: FeatureSettings, samples: np.ndarray, sample_rate: int
) -> Iterator[tuple[Stage, Frames]]:
    """Run the stages one after the other over a whole clip, in plain numpy.

    Parameters
    ----------
    settings : FeatureSettings
        What to do.
    samples : array (N,), floating
        Mono sound.
    sample_rate : int
        In Hz.

    Yields
    ------
    stage : Stage
        Which one.
    frames : Frames
        What it made.

    Raises
    ------
    FeatureError
        As of `FeatureSettings.__call__`.
    """
    at_rate = plan(settings, sample_rate)
    data = Frames(checked(samples, at_rate))
    for stage in STAGES:
        data = stage.compute(at_rate, data)
        yield stage, data


def extract(
    settings: FeatureSettings, samples: np.ndarray, sample_rate: int, num_threads: int | None = 1
) -> np.ndarray:
    """Compute the features of a clip, by kernels where there are any.

    Parameters
    ----------
    settings : FeatureSettings
        What to do.
    samples : array (N,), floating
        Mono sound.
    sample_rate : int
        In Hz.
    num_threads : int or None, default 1
        As of `FeatureSettings.__call__`.

    Returns
    -------
    ndarray (T, F)
        The features.

    Raises
    ------
    FeatureError
        As of `FeatureSettings.__call__`.
    """
    if num_threads is not None and not (isinstance(num_threads, Integral) and num_threads > 0):
        raise FeatureError(f"num_threads is a positive whole number or None, not {num_threads!r}")
    at_rate = plan(settings, sample_rate)
    signal = checked(samples, at_rate)
    n_frames = at_rate.count_frames(len(signal))
    as_a_whole = not framing.by_blocks(settings)
    if as_a_whole:
        signal = conditioned(signal, settings)
    static = static_frames(at_rate, signal, 0, n_frames, num_threads, is_conditioned=as_a_whole)
    return finished(at_rate, static)


def checked(samples: np.ndarray, plan: Plan) -> np.ndarray:
    """Refuse samples that are no sound, or of which there is no frame.

    Parameters
    ----------
    samples : array (N,), floating
        Mono sound.
    plan : Plan
        What is to be done with it.

    Returns
    -------
    ndarray (N,), float32 or float64
        The samples.

    Raises
    ------
    AudioError
        If they are no mono sound of full scale 1.
    FeatureError
        If they are too few.
    """
    samples = check_samples(samples, far_beyond_1=beyond_full_scale(plan.settings))
    if plan.count_frames(len(samples)) < 1:
        framing.check_length(len(samples), plan.settings, plan.sample_rate)  # which says so
    return np.ascontiguousarray(samples)  # as kernels read it


def beyond_full_scale(settings: FeatureSettings) -> Literal["warn", "refuse"]:
    """Tell what to do about samples far beyond full scale.

    Parameters
    ----------
    settings : FeatureSettings
        `sample_scale`.

    Returns
    -------
    {"warn", "refuse"}
        They are refused where they would be multiplied as if they were of full scale 1.
    """
    return "refuse" if settings.sample_scale > 1 else "warn"


def conditioned(samples: np.ndarray, settings: FeatureSettings) -> np.ndarray:
    """Do what is done to a signal as a whole.

    Parameters
    ----------
    samples : ndarray (N,), floating
        The signal.
    settings : FeatureSettings
        What to do.

    Returns
    -------
    ndarray (N,)
        The signal, scaled, with dither and pre-emphasis.
    """
    rng = framing.dither(settings)
    noise = None if rng is None else framing.draw_dither(rng, len(samples), settings, samples.dtype)
    return framing.emphasise(framing.scale(samples, settings, noise), settings)


def static_frames(
    plan: Plan,
    signal: np.ndarray,
    start: int,
    stop: int,
    num_threads: int | None = 1,
    is_conditioned: bool = True,
) -> np.ndarray:
    """Compute what depends on single frames alone, a block of them at a time.

    Parameters
    ----------
    plan : Plan
        What to do.
    signal : ndarray (N,)
        The conditioned signal.
    start, stop : int
        From which frame to which.
    num_threads : int or None, default 1
        As of `FeatureSettings.__call__`.
    is_conditioned : bool, default True
        Whether the signal is; or that is done block by block, where `framing.by_blocks` says so.

    Returns
    -------
    ndarray (stop - start, n)
        Columns, where the plan is in one pass; else the bands, and the energy behind them if there is one.
    """
    result = np.empty((stop - start, plan.n_computed), signal.dtype)
    kernels, n_frames, threads = kernels_for(plan), stop - start, 1
    compute = _plain_frames if kernels is None else kernels.extract
    if kernels is not None and num_threads != 1 and n_frames >= FRAMES_WORTH_A_THREAD:
        from simd.threads import in_parts, thread_count  # which take numba

        threads = thread_count(num_threads)
    block = min(BLOCK, -(-n_frames // threads))

    def work(low: int, high: int) -> None:
        for t in range(start + low * block, min(start + high * block, stop), block):
            end = min(t + block, stop)
            take = framing.stretch if is_conditioned else framing.conditioned_stretch
            compute(plan, take(signal, *_span(plan, t, end), plan.settings), result[t - start : end - start])

    n_blocks = -(-n_frames // block)
    if threads == 1:
        work(0, n_blocks)
    else:
        in_parts(work, np.ones(n_blocks), threads)
    return result


def columns(plan: Plan, data: Frames) -> np.ndarray:
    """Turn bands and energy into a frame's columns.

    Parameters
    ----------
    plan : Plan
        What to do.
    data : Frames
        Logarithms of bands (T, n_bands), and of the energy.

    Returns
    -------
    ndarray (T, n_static)
        The columns.
    """
    energy = [] if data.energy is None else [data.energy[:, None]]
    if plan.columns is None:
        order = [*energy, data.values] if plan.energy_first else [data.values, *energy]
        return np.concatenate(order, axis=1) if energy else data.values
    weights = plan.columns if energy else plan.columns[:-1]
    return _product(np.concatenate([data.values, *energy], axis=1), weights)


def frame_computer(plan: Plan, dtype: np.dtype) -> Callable[[np.ndarray, np.ndarray], None]:
    """Set up what computes some frames again and again.

    Parameters
    ----------
    plan : Plan
        What to do.
    dtype : dtype
        Of the signal.

    Returns
    -------
    callable
        ``compute(stretch, result)`` computes the frames that begin with a stretch of conditioned signal, as
        many as the result has rows: as of `static_frames`.
    """
    kernels = kernels_for(plan)
    return partial(_plain_frames, plan) if kernels is None else kernels.Extractor(plan, dtype)


def separated(plan: Plan, values: np.ndarray) -> Frames:
    """Tell bands from the energy behind them.

    Parameters
    ----------
    plan : Plan
        What to do, not in one pass.
    values : ndarray (T, n)
        As of `static_frames`.

    Returns
    -------
    Frames
        Bands, and energy if there is one.
    """
    n = plan.n_bands
    return Frames(values[:, :n], values[:, n] if values.shape[1] > n else None)


def finished(plan: Plan, static: np.ndarray) -> np.ndarray:
    """Do what needs more than one frame.

    Parameters
    ----------
    plan : Plan
        What to do.
    static : ndarray (T, n)
        As of `static_frames`, of a whole clip.

    Returns
    -------
    ndarray (T, F)
        The features.
    """
    data = Frames(static)
    if not plan.in_one_pass:
        data = _adapted(plan, separated(plan, static))
        data = Frames(arranged(plan, data))
    for stage in STAGES[-3:]:
        data = stage.compute(plan, data)
    return data.values


def arranged(plan: Plan, data: Frames) -> np.ndarray:
    """Do what `columns` does, by kernels where there are any.

    Parameters
    ----------
    plan : Plan
        What to do.
    data : Frames
        As of `columns`.

    Returns
    -------
    ndarray (T, n_static)
        The columns.
    """
    kernels = kernels_for(plan)
    if plan.columns is None or kernels is None:
        return columns(plan, data)
    energy = [] if data.energy is None else [data.energy[:, None]]
    values = np.ascontiguousarray(np.concatenate([data.values, *energy], axis=1) if energy else data.values)
    result = np.empty((len(values), plan.n_static), values.dtype)
    kernels.arrange(plan, values, result)
    return result


def _plain_frames(plan: Plan, stretch: np.ndarray, result: np.ndarray) -> None:
    """Run the stages of single frames in plain numpy."""
    data = Frames(framing.cut(stretch, plan.frame_length, plan.hop_length)[: len(result)])
    for stage in OF_A_FRAME if plan.in_one_pass else OF_A_FRAME[:-2]:
        data = stage.compute(plan, data)
    if not plan.in_one_pass:
        data = data._replace(values=logarithm.logarithm(data.values, plan.settings))
    result[:, : data.values.shape[1]] = data.values
    if data.values.shape[1] < result.shape[1]:
        result[:, -1] = data.energy


def _span(plan: Plan, start: int, stop: int) -> tuple[int, int]:
    """From which sample to which some frames reach."""
    low = plan.first + start * plan.hop_length
    return low, low + (stop - start - 1) * plan.hop_length + plan.frame_length


# Sums in one order, whatever the number of frames; numpy's own change theirs with the shape.


def _sum(values: np.ndarray) -> np.ndarray:
    """Sum of each row."""
    total = np.zeros(len(values), values.dtype)
    for column in values.T:
        total += column
    return total


def _product(values: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """``values @ matrix``, of which the zeros count as not there."""
    result = np.zeros((len(values), matrix.shape[1]), values.dtype)
    weights = matrix.astype(values.dtype)
    for k, column in enumerate(values.T):
        there = weights[k].nonzero()[0]
        with np.errstate(invalid="ignore"):  # of logarithms of zero
            result[:, there] += column[:, None] * weights[k, there]
    return result


def warm_up() -> None:
    """Compile the kernels, so that nobody has to wait for it later."""
    at_rate = plan(FeatureSettings(), 16_000)
    for dtype in (np.float32, np.float64):
        FeatureSettings()(np.zeros(1, dtype), 16_000)
        feed = getattr(frame_computer(at_rate, np.dtype(dtype)), "feed", None)
        if feed is not None:
            feed(np.zeros(1, dtype), np.zeros(2, dtype), 0, np.zeros((0, at_rate.n_bands), dtype))


def kernels_for(plan: Plan) -> Any:
    """Find the kernels, if they compute what a plan says.

    Parameters
    ----------
    plan : Plan
        What to do.

    Returns
    -------
    module or None
        `features.kernels.frames`.
    """
    kernels = load_kernels("features.kernels.frames", "features")
    return kernels if kernels is not None and kernels.is_for_kernels(plan) else None
