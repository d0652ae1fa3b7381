"""Proof of the features: how far each preset is from its origin, over settings drawn at random.

``python -m reference.origins [--htk FOLDER] [--settings N] [--seed N] [--json]``; it needs the origins (extra
`dev`). Each origin's settings are translated to ours here, and nowhere else.

An error is the largest difference, relative to the largest value of the origin's. Ours are computed in
float32 and in float64; an origin that has only one of them is held against both. What is allowed:

- In float64, 1e-10. Rounding alone makes 1e-12 of the logarithm of a band in which little is left.
- In float32, 1e-4. A Fourier transform is off by 1e-7 of the frame's largest bin. The sounds that are drawn
  have noise 55 dB below a tone, and of thousands of bins one is 30 times less than the others: it is off by
  1e-7 * 600 * 30 = 2e-3, as is its logarithm, which counts beside values of 20. PCEN, and the cepstra of
  librosa and torchaudio, which sum many bands and count beside values of hundreds: 1e-5.
- Kaldi computes in float32, the edges of its bands too. Near 3000 mel one step of it is 2.4e-4 mel; three of
  them are 2e-5 of a slope of 35 mel (of 80 bands), and as much of a bin's weight. Bands are drawn whose
  largest weight is 0.05 or more: 4e-4 in the logarithm, beside 5 or more: 1e-4 again. Warped, a slope is down
  to a quarter as long, and its edges go through exp and log once more: 2e-4 of a weight.
- HTK's files are float32 of what it computed in float32. They are compared by the difference itself: cepstra
  to 2e-4 and logarithms to 5e-5, about twice what a computation by HTK's rules in float64 is off.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from features import (
    FeatureError,
    FeatureSettings,
    mel_filterbank,
    normalise_clip,
    preset,
    read_audio,
    regression,
)

Pick = Callable[[str, Sequence[Any]], Any]
BOTH = ("float32", "float64")

# HTK's files: what they hold, ours, and how far we may be off. See the README beside them.
_HTK = {"spectrum": "power", "n_mels": 23, "pre_emphasis": 0.0}
_MFCC = {"delta_order": 2}
HTK_FILES: dict[str, tuple[str, dict[str, Any], float]] = {
    "test.wav.fea_htk.1": ("MFCC_0_D_A", _HTK | _MFCC, 2e-4),
    "test.wav.fea_htk.2": ("MFCC_E_D_A", _HTK | _MFCC | {"energy": "raw"}, 2e-4),
    "test.wav.fea_htk.4": ("MFCC_E_D_A", _HTK | _MFCC | {"energy": "raw", "pre_emphasis": 0.97}, 2e-4),
    "test.wav.fbank_htk.1": ("FBANK", _HTK | {"kind": "log-mel"}, 5e-5),
    "test.wav.fbank_htk.2": ("FBANK", _HTK | {"kind": "log-mel", "f_min_hz": 25.0}, 5e-5),
}


class Comparison(NamedTuple):
    """A part of an origin that is compared with ours."""

    origin: str
    what: str
    error: Callable[[Pick, str], float]  # of settings that are drawn, ours in a dtype
    allowed: dict[str, float]  # by dtype


class Row(NamedTuple):
    """The worst error of many settings."""

    origin: str
    what: str
    dtype: str
    settings: int
    error: float
    allowed: float

    def is_right(self) -> bool:
        """Tell whether it is off by no more than it may be.

        Returns
        -------
        bool
            Whether it is.
        """
        return self.error <= self.allowed


def draw_sound(pick: Pick, sample_rate: int, dtype: str) -> np.ndarray:
    """Draw a sound: noise that fades, a tone, an offset.

    There is no silence in it: where that begins within a frame, all that is left in some bands, once the
    mean of the frame is taken away, is rounding, of which each has its own.

    Parameters
    ----------
    pick : callable
        ``pick(name, options)`` chooses one of the options; what comes first is the simplest.
    sample_rate : int
        In Hz.
    dtype : {"float32", "float64"}
        What it is.

    Returns
    -------
    ndarray (N,)
        A fifth of a second or more, and no less than librosa wants for a transform of 2048.
    """
    n = sample_rate // 5 + 500 + pick("samples more", range(0, 3000, 37))
    rng = np.random.default_rng(pick("seed", range(1000)))
    noise = rng.standard_normal(n) * np.geomspace(0.1, pick("fades to", (0.1, 1e-3)), n)
    tone = pick("tone", (0.0, 0.05)) * np.sin(2 * np.pi * 0.11 * np.arange(n))
    sound = noise + tone + pick("offset", (0.0, 0.02))
    # A number of float32, so that what all compute with is the same.
    return np.asarray(sound.astype(np.float32).astype(dtype))


def worst(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Tell how far ours are off.

    Parameters
    ----------
    ours, theirs : ndarray
        Of the same shape, or nothing of ours is right.

    Returns
    -------
    float
        The largest difference, relative to the largest of theirs; infinite for another shape or NaN.
    """
    if ours.shape != theirs.shape or ours.size == 0 or not np.isfinite(theirs).all():
        return np.inf
    apart = float(np.abs(ours.astype(np.float64) - theirs).max() / np.abs(theirs).max())
    return apart if np.isfinite(apart) else np.inf


# Kaldi


def kaldi_mfcc(pick: Pick, dtype: str) -> float:
    """Compare with kaldi-native-fbank's OnlineMfcc.

    Parameters
    ----------
    pick : callable
        As of `draw_sound`.
    dtype : {"float32", "float64"}
        Of ours.

    Returns
    -------
    float
        As of `worst`.
    """
    import kaldi_native_fbank as knf

    ours, rate, frame_opts = _draw_kaldi_frames(pick)
    options = {
        "num_ceps": pick("num_ceps", (13, 7, 10)),
        "cepstral_lifter": pick("cepstral_lifter", (22.0, 0.0, 9.5)),
        "htk_compat": pick("htk_compat", (False, True)),
    }
    energy, of_energy = _draw_kaldi_energy(pick)
    ours = ours.change(
        n_mfcc=options["num_ceps"],
        lifter=options["cepstral_lifter"],
        level="last" if options["htk_compat"] else "first",
        dct_norm="htk" if options["htk_compat"] else "ortho",  # a zeroth coefficient larger by sqrt(2)
        **of_energy,
    )
    ours, mel_opts = _draw_kaldi_bands(pick, ours, rate)
    theirs = knf.OnlineMfcc(knf.MfccOptions(frame_opts=frame_opts, mel_opts=mel_opts, **options, **energy))
    return _beside_kaldi(pick, ours, theirs, rate, dtype)


def kaldi_fbank(pick: Pick, dtype: str) -> float:
    """Compare with kaldi-native-fbank's OnlineFbank.

    Parameters
    ----------
    pick : callable
        As of `draw_sound`.
    dtype : {"float32", "float64"}
        Of ours.

    Returns
    -------
    float
        As of `worst`.
    """
    import kaldi_native_fbank as knf

    ours, rate, frame_opts = _draw_kaldi_frames(pick)
    options = {
        "use_power": pick("use_power", (True, False)),
        "use_log_fbank": pick("use_log_fbank", (True, True, False)),
        "use_log_floor": pick("use_log_floor", (True, False)),
        "htk_compat": pick("htk_compat", (False, True)),
    }
    energy, of_energy = _draw_kaldi_energy(pick)
    if not options["use_log_floor"]:
        of_energy["energy_floor"] = of_energy["energy_floor"] or 2.0**-23
    ours = ours.change(
        kind="log-mel",
        spectrum="power" if options["use_power"] else "magnitude",
        log="ln" if options["use_log_fbank"] else "none",
        log_offset=0.0 if options["use_log_floor"] else 2.0**-23,
        log_floor=2.0**-23 if options["use_log_floor"] else 0.0,
        level="last" if options["htk_compat"] else "first",
        **of_energy,
    )
    ours, mel_opts = _draw_kaldi_bands(pick, ours, rate)
    theirs = knf.OnlineFbank(knf.FbankOptions(frame_opts=frame_opts, mel_opts=mel_opts, **options, **energy))
    return _beside_kaldi(pick, ours, theirs, rate, dtype)


def kaldi_bands(pick: Pick, dtype: str) -> float:
    """Compare with kaldi-native-fbank's MelBanks, whose bands are warped.

    Parameters
    ----------
    pick : callable
        As of `draw_sound`.
    dtype : str
        Without a meaning: ours are float64.

    Returns
    -------
    float
        As of `worst`.
    """
    import kaldi_native_fbank as knf

    ours, rate, frame_opts = _draw_kaldi_frames(pick)
    ours = ours.change(
        vtln_warp=pick("warp", (1.0, 0.8, 0.9, 0.97, 1.03, 1.1, 1.25)),
        vtln_low_hz=pick("vtln_low", (100.0, 135.0)),
        vtln_high_hz=rate / 2 - pick("vtln_high", (500.0, 900.0)),
    )
    ours, mel_opts = _draw_kaldi_bands(pick, ours, rate)
    mel_opts.vtln_low, mel_opts.vtln_high = ours.vtln_low_hz, ours.vtln_high_hz
    factor = ours.vtln_warp
    theirs = knf.MelBanks(mel_opts, frame_opts, factor).get_matrix()
    return worst(mel_filterbank(ours, rate)[:, : theirs.shape[1]], theirs)


def kaldi_dynamics(pick: Pick, dtype: str) -> float:
    """Compare with kaldi-native-fbank's compute_deltas and apply_cmvn.

    Away from the ends: there Kaldi's slopes of slopes are those of repeated frames, ours (and HTK's) those of
    repeated slopes.

    Parameters
    ----------
    pick : callable
        As of `draw_sound`.
    dtype : {"float32", "float64"}
        Of ours.

    Returns
    -------
    float
        As of `worst`.
    """
    import kaldi_native_fbank as knf

    rng = np.random.default_rng(pick("seed", range(1000)))
    single = rng.standard_normal((pick("frames", range(20, 60)), 7)).astype(np.float32)
    frames, window = single.astype(dtype), pick("window", (1, 2, 3))
    slopes = regression(frames, 2 * window + 1)
    ours = np.hstack([frames, slopes, regression(slopes, 2 * window + 1)])
    theirs = knf.compute_deltas(knf.DeltaOptions(order=2, window=window), single)
    inner = slice(2 * window, -2 * window)
    stats, norm_vars = knf.compute_cmvn_stats(single), pick("norm_vars", (False, True))
    return max(
        worst(ours[inner], theirs[inner]),
        worst(slopes, theirs[:, 7:14]),  # up to the ends
        worst(
            normalise_clip(frames, "mean-variance" if norm_vars else "mean"),
            knf.apply_cmvn(stats, knf.CmvnOptions(norm_vars=norm_vars), single),
        ),
    )


def _draw_kaldi_frames(pick: Pick) -> tuple[FeatureSettings, int, Any]:
    """Draw how there are frames: ours, the sample rate, and Kaldi's."""
    import kaldi_native_fbank as knf

    rate = pick("sample_rate", (16_000, 8000, 11_025, 22_050, 44_100))
    frame_ms, hop_ms = pick("frame_ms", (25.0, 20.0, 32.0)), pick("hop_ms", (10.0, 7.5, 16.0))
    window = pick("window_type", ("povey", "hamming", "hanning", "hann", "blackman", "rectangular"))
    pre_emphasis, remove_dc = pick("preemph_coeff", (0.97, 0.0, 0.6)), pick("remove_dc_offset", (True, False))
    snip_edges = pick("snip_edges", (True, False))
    ours = preset(
        "kaldi",
        frame_ms=frame_ms,
        hop_ms=hop_ms,
        window="hann" if window == "hanning" else window,
        window_symmetric=window != "hann",
        pre_emphasis=pre_emphasis,
        remove_dc=remove_dc,
        framing="whole-frames" if snip_edges else "mirrored",
    )
    theirs = knf.FrameExtractionOptions(
        samp_freq=rate,
        frame_shift_ms=hop_ms,
        frame_length_ms=frame_ms,
        dither=0.0,
        preemph_coeff=pre_emphasis,
        remove_dc_offset=remove_dc,
        window_type=window,
        snip_edges=snip_edges,
    )
    return ours, rate, theirs


def _draw_kaldi_energy(pick: Pick) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draw whether there is an energy: Kaldi's, ours."""
    use, raw = pick("use_energy", (True, False)), pick("raw_energy", (True, False))
    floor = pick("energy_floor", (0.0, 1.0, 5e5))
    ours = "none" if not use else "raw" if raw else "windowed"
    theirs = {"use_energy": use, "raw_energy": raw, "energy_floor": floor}
    return theirs, {"energy": ours, "energy_floor": floor}


def _draw_kaldi_bands(pick: Pick, ours: FeatureSettings, rate: int) -> tuple[FeatureSettings, Any]:
    """Draw bands of which each holds a bin: ours, Kaldi's."""
    import kaldi_native_fbank as knf

    low, below = pick("low_freq", (20.0, 0.0, 64.0)), pick("high_freq", (0.0, 200.0, 340.0))
    most = pick("num_bins", (23, 40, 13, 60, 80))
    ours = ours.change(f_min_hz=low, f_max_hz=rate / 2 - below, n_mels=most)
    while _has_an_empty_band(ours, rate):
        ours = ours.change(n_mels=ours.n_mels - 5)
    return ours, knf.MelBanksOptions(num_bins=ours.n_mels, low_freq=low, high_freq=-below)


def _has_an_empty_band(settings: FeatureSettings, rate: int) -> bool:
    bank = mel_filterbank(settings.change(allow_empty_bands=True), rate)
    # A bin that is almost at the foot of its triangle has a weight that is rounding.
    return bool((bank.max(axis=1) < 0.05).any())


def _beside_kaldi(pick: Pick, ours: FeatureSettings, theirs: Any, rate: int, dtype: str) -> float:
    samples = draw_sound(pick, rate, dtype)
    theirs.accept_waveform(rate, (samples * 32768).astype(np.float32).tolist())
    theirs.input_finished()
    found = np.stack([theirs.get_frame(t) for t in range(theirs.num_frames_ready)])
    return worst(ours(samples, rate), found)


# python_speech_features


def psf_mfcc(pick: Pick, dtype: str) -> float:
    """Compare with python_speech_features' mfcc, and delta of it.

    Parameters
    ----------
    pick : callable
        As of `draw_sound`.
    dtype : {"float32", "float64"}
        Of ours.

    Returns
    -------
    float
        As of `worst`.
    """
    import python_speech_features as psf

    ours, rate, options = _draw_psf(pick)
    n_mfcc, lifter = pick("numcep", (13, 7, 20)), pick("ceplifter", (22, 0, 9))
    energy, n = pick("appendEnergy", (True, False)), pick("N", (2, 1, 4))
    ours = ours.change(
        n_mfcc=n_mfcc,
        lifter=lifter,
        energy="spectral" if energy else "none",
        delta_order=2,
        delta_width=2 * n + 1,
    )
    samples = _draw_psf_sound(pick, ours, rate, dtype)
    theirs = psf.mfcc(
        samples.astype(np.float64), rate, numcep=n_mfcc, ceplifter=lifter, appendEnergy=energy, **options
    )
    slopes = psf.delta(theirs, n)
    return worst(ours(samples, rate), np.hstack([theirs, slopes, psf.delta(slopes, n)]))


def psf_fbank(pick: Pick, dtype: str) -> float:
    """Compare with python_speech_features' fbank and logfbank.

    Parameters
    ----------
    pick : callable
        As of `draw_sound`.
    dtype : {"float32", "float64"}
        Of ours.

    Returns
    -------
    float
        As of `worst`.
    """
    import python_speech_features as psf

    ours, rate, options = _draw_psf(pick)
    samples = _draw_psf_sound(pick, ours, rate, dtype)
    exact = samples.astype(np.float64)
    bands, energy = psf.fbank(exact, rate, **options)
    ours = ours.change(kind="log-mel")
    linear = ours.change(log="none", energy="none")(samples, rate)
    errors = [
        worst(ours(samples, rate), np.column_stack([np.log(energy), np.log(bands)])),
        worst(linear, np.where(bands == np.finfo(float).eps, 0, bands)),
    ]
    if ours.window == "rectangular":
        del options["winfunc"]
        errors.append(worst(ours.change(energy="none")(samples, rate), psf.logfbank(exact, rate, **options)))
    return max(errors)


def _draw_psf(pick: Pick) -> tuple[FeatureSettings, int, dict[str, Any]]:
    """Draw settings of python_speech_features: ours, the sample rate, and theirs."""
    rate = pick("samplerate", (16_000, 8000, 11_025, 22_050))
    frame_ms, hop_ms = pick("winlen", (25.0, 20.0, 12.5, 30.0)), pick("winstep", (10.0, 7.5, 40.0))
    low, high = pick("lowfreq", (0, 110, 301.5)), pick("highfreq", (None, 3900))
    window = pick("winfunc", ("rectangular", "hamming", "hann", "blackman"))
    functions = {"rectangular": np.ones, "hamming": np.hamming, "hann": np.hanning, "blackman": np.blackman}
    n_mels, pre_emphasis = pick("nfilt", (26, 20, 40)), pick("preemph", (0.97, 0, 0.5))
    n_fft = pick("nfft", (1024, 700, 2048))
    ours = preset(
        "python_speech_features",
        frame_ms=frame_ms,
        hop_ms=hop_ms,
        n_fft=n_fft,
        n_mels=n_mels,
        f_min_hz=low,
        f_max_hz=high,
        window=window,
        pre_emphasis=pre_emphasis,
    )
    theirs = {
        "winlen": frame_ms / 1000,
        "winstep": hop_ms / 1000,
        "nfilt": n_mels,
        "nfft": n_fft,
        "lowfreq": low,
        "highfreq": high,
        "preemph": pre_emphasis,
        "winfunc": functions[window],
    }
    return ours, rate, theirs


def _draw_psf_sound(pick: Pick, ours: FeatureSettings, rate: int, dtype: str) -> np.ndarray:
    """Draw a sound whose last frame holds more than its first sample.

    Blackman's window is 0 there but for rounding, and whose rounding it is decides the logarithm.
    """
    samples = draw_sound(pick, rate, dtype)
    return samples[:-1] if len(samples) % ours.sizes(rate)[1] == 1 else samples


# librosa


def librosa_mfcc(pick: Pick, dtype: str) -> float:
    """Compare with librosa.feature.mfcc, and librosa.feature.delta of it.

    Parameters
    ----------
    pick : callable
        As of `draw_sound`.
    dtype : {"float32", "float64"}
        Of ours and librosa's.

    Returns
    -------
    float
        As of `worst`.
    """
    import librosa

    ours, rate, options = _draw_librosa(pick)
    samples = draw_sound(pick, rate, dtype)
    limit, floor = pick("top_db", (80.0, None, 35.5)), pick("amin", (1e-10, 1e-5))
    cepstra = {
        "n_mfcc": pick("n_mfcc", (20, 13, 5)),
        "dct_type": pick("dct_type", (2, 1, 3)),
        "norm": pick("dct norm", ("ortho", None)),
        "lifter": pick("lifter", (0, 22, 7.5)),
    }
    width = pick("width", (9, 5, 3))
    ours = ours.change(
        n_mfcc=cepstra["n_mfcc"],
        dct_type=cepstra["dct_type"],
        dct_norm=cepstra["norm"] or "none",
        lifter=cepstra["lifter"],
        lifter_kind="librosa",
        top_db=limit,
        log_floor=floor,
        delta_width=width,
    )
    bands = _librosa_bands(samples, rate, options)
    decibels = librosa.power_to_db(bands, top_db=limit, amin=floor)
    theirs = librosa.feature.mfcc(S=decibels, **cepstra).T
    found = ours(samples, rate)
    if len(found) < width:  # librosa refuses them
        return worst(found, theirs)
    slopes = [librosa.feature.delta(theirs, width=width, order=order, axis=0) for order in (1, 2)]
    return worst(ours.change(delta_order=2)(samples, rate), np.hstack([theirs, *slopes]))


def librosa_log_mel(pick: Pick, dtype: str) -> float:
    """Compare with librosa.feature.melspectrogram, and librosa.power_to_db of it.

    Parameters
    ----------
    pick : callable
        As of `draw_sound`.
    dtype : {"float32", "float64"}
        Of ours and librosa's.

    Returns
    -------
    float
        As of `worst`.
    """
    import librosa

    ours, rate, options = _draw_librosa(pick)
    samples = draw_sound(pick, rate, dtype)
    limit = pick("top_db", (80.0, None, 35.5))
    bands = _librosa_bands(samples, rate, options)
    ours = ours.change(kind="log-mel", top_db=limit)
    return max(
        worst(ours(samples, rate), librosa.power_to_db(bands, top_db=limit).T),
        worst(ours.change(log="none")(samples, rate), bands.T),
    )


def librosa_pcen(pick: Pick, dtype: str) -> float:
    """Compare with librosa.pcen of librosa.feature.melspectrogram.

    Parameters
    ----------
    pick : callable
        As of `draw_sound`.
    dtype : {"float32", "float64"}
        Of ours and librosa's.

    Returns
    -------
    float
        As of `worst`.
    """
    import librosa

    ours, rate, options = _draw_librosa(pick)
    samples, scale = draw_sound(pick, rate, dtype), pick("scale", (2.0**31, 1.0))
    gain, bias, power = pick("gain", (0.98, 0.5)), pick("bias", (2.0, 0.3, 0.0)), pick("power", (0.5, 0.2))
    seconds, eps = pick("time_constant", (0.4, 0.05)), pick("eps", (1e-6, 1e-2))
    bands = _librosa_bands(samples * samples.dtype.type(scale), rate, options)
    with np.errstate(divide="ignore"):  # without a bias it takes the logarithm of silence
        theirs = librosa.pcen(
            bands,
            sr=rate,
            hop_length=options["hop_length"],
            gain=gain,
            bias=bias,
            power=power,
            time_constant=seconds,
            eps=eps,
        )
    ours = ours.change(
        kind="log-mel",
        log="pcen",
        sample_scale=scale,
        pcen_gain=gain,
        pcen_bias=bias,
        pcen_power=power,
        pcen_seconds=seconds,
        pcen_eps=eps,
    )
    return worst(ours(samples, rate), theirs.T)


def _draw_librosa(pick: Pick) -> tuple[FeatureSettings, int, dict[str, Any]]:
    """Draw settings of librosa: ours, the sample rate, and theirs."""
    rate = pick("sr", (22_050, 16_000, 8000))
    n_fft = pick("n_fft", (2048, 512, 1000, 801))
    window_length = n_fft - pick("win_length", (0, 111, 300))
    hop, center = pick("hop_length", (512, 160, 201)), pick("center", (True, True, False))
    if not center:
        window_length = n_fft  # librosa cuts frames of n_fft, and has the window in their middle
    low, high = pick("fmin", (0.0, 55.0)), pick("fmax", (None, 3700.0))
    n_mels, htk = pick("n_mels", (128, 40, 23)), pick("htk", (False, True))
    norm, power = pick("norm", ("slaney", None)), pick("power", (2.0, 1.0))
    pad_mode = pick("pad_mode", ("constant", "reflect", "edge"))
    window = pick("window", ("hann", "hamming", "blackman", "boxcar"))
    ours = preset(
        "librosa",
        frame_length=window_length,
        hop_length=hop,
        n_fft=n_fft,
        framing="centred" if center else "whole-frames",
        pad_mode=pad_mode if center else "constant",
        window="rectangular" if window == "boxcar" else window,
        spectrum="power" if power == 2 else "magnitude",
        n_mels=n_mels,
        f_min_hz=low,
        f_max_hz=high,
        mel_scale="htk" if htk else "slaney",
        mel_norm=norm or "none",
    )
    theirs = {
        "n_fft": n_fft,
        "win_length": window_length,
        "hop_length": hop,
        "center": center,
        "pad_mode": pad_mode,
        "window": window,
        "power": power,
        "n_mels": n_mels,
        "fmin": low,
        "fmax": high,
        "htk": htk,
        "norm": norm,
    }
    return ours, rate, theirs


def _librosa_bands(samples: np.ndarray, rate: int, options: dict[str, Any]) -> np.ndarray:
    import warnings

    import librosa

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Empty filters")
        return np.asarray(librosa.feature.melspectrogram(y=samples, sr=rate, **options))


# torchaudio, by its documented definition, in torch


def torchaudio_mfcc(pick: Pick, dtype: str) -> float:
    """Compare with what torchaudio.transforms.MFCC documents.

    Parameters
    ----------
    pick : callable
        As of `draw_sound`.
    dtype : {"float32", "float64"}
        Of ours and torch's.

    Returns
    -------
    float
        As of `worst`.
    """
    import torch

    ours, rate, bands = _draw_torchaudio(pick, dtype)
    n_mels, n_mfcc = ours.n_mels, pick("n_mfcc", (40, 13))
    if pick("log_mels", (False, True)):
        ours = ours.change(log="ln", log_offset=1e-6, log_floor=0.0, top_db=None)
        logarithms = torch.log(bands.power + 1e-6)
    else:
        logarithms = _decibels(bands.power)
    n, k = torch.arange(n_mels, dtype=torch.float64), torch.arange(n_mfcc, dtype=torch.float64)[:, None]
    transform = torch.cos(torch.pi / n_mels * (n + 0.5) * k) * (2 / n_mels) ** 0.5
    transform[0] *= 0.5**0.5
    theirs = (transform.to(logarithms.dtype) @ logarithms).T.numpy()
    return worst(ours.change(n_mfcc=n_mfcc)(bands.samples, rate), theirs)


def torchaudio_log_mel(pick: Pick, dtype: str) -> float:
    """Compare with what torchaudio's MelSpectrogram and AmplitudeToDB document.

    Parameters
    ----------
    pick : callable
        As of `draw_sound`.
    dtype : {"float32", "float64"}
        Of ours and torch's.

    Returns
    -------
    float
        As of `worst`.
    """
    ours, rate, bands = _draw_torchaudio(pick, dtype)
    ours = ours.change(kind="log-mel")
    return max(
        worst(ours(bands.samples, rate), _decibels(bands.power).T.numpy()),
        worst(ours.change(log="none")(bands.samples, rate), bands.power.T.numpy()),
    )


class TorchBands(NamedTuple):
    """A sound, and its mel bands computed in torch."""

    samples: np.ndarray  # (N,)
    power: Any  # Tensor (n_mels, T)


def _draw_torchaudio(pick: Pick, dtype: str) -> tuple[FeatureSettings, int, TorchBands]:
    import torch

    rate, n_fft = pick("sample_rate", (16_000, 8000, 22_050)), pick("n_fft", (400, 512, 1024))
    hop = pick("hop_length", (None, 160, 111)) or n_fft // 2
    # No bin lies on the edge of the lowest band: whether its weight there is 0 or 1e-14 is rounding.
    low, high = pick("f_min", (0.0, 61.7)), pick("f_max", (None, 3600.0))
    n_mels = pick("n_mels", (128, 40, 64))
    ours = preset(
        "torchaudio",
        frame_length=n_fft,
        hop_length=hop,
        n_fft=n_fft,
        n_mels=n_mels,
        f_min_hz=low,
        f_max_hz=high,
    )
    samples = draw_sound(pick, rate, dtype)
    sound = torch.from_numpy(samples)
    window = torch.hann_window(n_fft, dtype=sound.dtype)
    stft = torch.stft(sound, n_fft, hop, window=window, center=True, pad_mode="reflect", return_complex=True)
    power = stft.real**2 + stft.imag**2
    exact = torch.float64
    mel = [2595 * np.log10(1 + hz / 700) for hz in (low, high or rate / 2)]
    edges = 700 * (10 ** (torch.linspace(mel[0], mel[1], n_mels + 2, dtype=exact) / 2595) - 1)
    hz = torch.linspace(0, rate / 2, n_fft // 2 + 1, dtype=exact)
    rising = (hz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - hz) / (edges[2:] - edges[1:-1])[:, None]
    bank = torch.clamp(torch.minimum(rising, falling), min=0)
    return ours, rate, TorchBands(samples, bank.to(sound.dtype) @ power)


def _decibels(power: Any) -> Any:
    """Do what AmplitudeToDB documents: a floor of 1e-10, and nothing 80 dB below the maximum."""
    import torch

    decibels = 10 * torch.log10(torch.clamp(power, min=1e-10))
    return torch.maximum(decibels, decibels.max() - 80)


_LOGARITHMS = {"float32": 1e-4, "float64": 1e-10}
_MANY = {"float32": 1e-5, "float64": 1e-10}

#: What is compared over drawn settings.
COMPARISONS = (
    Comparison("kaldi-native-fbank", "MFCC", kaldi_mfcc, dict.fromkeys(BOTH, 1e-4)),
    Comparison("kaldi-native-fbank", "log-mel", kaldi_fbank, dict.fromkeys(BOTH, 1e-4)),
    Comparison("kaldi-native-fbank", "warped bands", kaldi_bands, {"float64": 2e-4}),
    Comparison("kaldi-native-fbank", "deltas, CMVN", kaldi_dynamics, dict.fromkeys(BOTH, 1e-6)),
    Comparison("python_speech_features", "MFCC, deltas", psf_mfcc, _LOGARITHMS),
    Comparison("python_speech_features", "log-mel", psf_fbank, _LOGARITHMS),
    Comparison("librosa", "MFCC, deltas", librosa_mfcc, _MANY),
    Comparison("librosa", "log-mel", librosa_log_mel, _LOGARITHMS),
    Comparison("librosa", "PCEN", librosa_pcen, _MANY),
    Comparison("torchaudio's definition", "MFCC", torchaudio_mfcc, _MANY),
    Comparison("torchaudio's definition", "log-mel", torchaudio_log_mel, _LOGARITHMS),
)


def read_htk(path: Path) -> np.ndarray:
    """Read an HTK parameter file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    ndarray (T, F), float32
        What it holds.
    """
    content = path.read_bytes()
    n_frames, bytes_per_frame = np.frombuffer(content, ">i4", 1)[0], np.frombuffer(content, ">i2", 5)[4]
    return np.frombuffer(content, ">f4", offset=12).reshape(n_frames, bytes_per_frame // 4)


def htk_error(folder: Path, name: str, dtype: str) -> float:
    """Compare with a file of HTK's.

    Parameters
    ----------
    folder : Path
        With the files, and the recording they were made from.
    name : str
        Of `HTK_FILES`.
    dtype : {"float32", "float64"}
        Of ours.

    Returns
    -------
    float
        The largest difference; infinite for another shape.
    """
    samples, rate = read_audio(folder / "test.wav")
    ours = preset("htk", **HTK_FILES[name][1])(samples.astype(dtype), rate)
    theirs = read_htk(folder / name)
    return float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else np.inf


def report(settings: int, seed: int, htk: Path | None) -> list[Row]:
    """Compare all.

    Parameters
    ----------
    settings : int
        How many are drawn of each.
    seed : int
        Of what is drawn.
    htk : Path or None
        HTK's files.

    Returns
    -------
    list of Row
        The worst errors.
    """
    rows = [
        Row("HTK", f"{what} {name[-5:]}", dtype, 1, htk_error(htk, name, dtype), allowed)
        for name, (what, _, allowed) in (HTK_FILES if htk else {}).items()
        for dtype in BOTH
        if htk
    ]
    for origin, what, error, bounds in COMPARISONS:
        for dtype, allowed in bounds.items():
            rng = np.random.default_rng(seed)

            def pick(_: str, choices: Any, rng: np.random.Generator = rng) -> Any:
                return choices[int(rng.integers(len(choices)))]

            found = max(error(pick, dtype) for _ in range(settings))
            rows.append(Row(origin, what, dtype, settings, found, allowed))
    return rows


def to_text(rows: list[Row]) -> str:
    """Write the report as a person reads it.

    Parameters
    ----------
    rows : list of Row
        The comparisons.

    Returns
    -------
    str
        Lines.
    """
    lines = ["origin                   dtype    what              settings  worst error  allowed"]
    lines += [
        f"{row.origin:<24} {row.dtype:<8} {row.what:<17} {row.settings:>8}  {row.error:>11.1e}  "
        f"{row.allowed:.0e}" + ("" if row.is_right() else "  WRONG")
        for row in rows
    ]
    return "\n".join([*lines, "relative to the largest value of a clip; HTK's: absolute"])


def main() -> int:
    """Print the report.

    Returns
    -------
    int
        Exit status: 0, or 1 if something is off by more than it may be.
    """
    parser = argparse.ArgumentParser(
        prog="python -m reference.origins", description="Compare features with their origins."
    )
    parser.add_argument("--htk", type=Path, metavar="FOLDER", help="also compare with HTK's files there")
    parser.add_argument(
        "--settings", type=int, default=200, metavar="N", help="how many are drawn of each (default: 200)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if options.settings < 1:
        parser.error("--settings is at least 1")
    try:
        rows = report(options.settings, options.seed, options.htk)
    except (ImportError, FeatureError, OSError) as error:
        print(f"python -m reference.origins: error: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"rows": [row._asdict() for row in rows]}) if options.json else to_text(rows))
    return 0 if all(row.is_right() for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
