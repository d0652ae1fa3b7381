"""Short-time spectra: frames of a signal, windowed, to power per frequency bin.

Letters: N samples, T frames, n_fft the length of the Fourier transform.
"""

import numpy as np


def power_spectrogram(samples: np.ndarray, frame_length: int, hop_length: int, n_fft: int) -> np.ndarray:
    """Power of a signal over time and frequency.

    Frame t is centred on sample ``t * hop_length``; beyond the ends the signal is zero. Each frame
    is weighted by a periodic Hann window of `frame_length`, zero-padded evenly to `n_fft`.

    Parameters
    ----------
    samples : ndarray (N,), floating
        The signal.
    frame_length : int
        Length of the window in samples, at most `n_fft`.
    hop_length : int
        Samples from one frame to the next.
    n_fft : int
        Length of the Fourier transform.

    Returns
    -------
    ndarray (1 + N // hop_length, 1 + n_fft // 2)
        ``|rfft(window * frame)| ** 2``, in the dtype of `samples`. (N - 1 for N where `n_fft` is odd.)

    Notes
    -----
    Equal to ``numpy.abs(librosa.stft(samples, n_fft=n_fft, hop_length=hop_length,
    win_length=frame_length)).T ** 2``.
    """
    window = np.zeros(n_fft, samples.dtype)
    start = (n_fft - frame_length) // 2
    hann = 0.5 - 0.5 * np.cos(2 * np.pi / frame_length * np.arange(frame_length))
    window[start : start + frame_length] = hann if frame_length > 1 else 1.0
    padded = np.pad(samples, n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop_length]
    spectrum = np.fft.rfft(frames * window, axis=1)
    return np.asarray(spectrum.real**2 + spectrum.imag**2)
