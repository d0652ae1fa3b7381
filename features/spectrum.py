"""From a frame to the power or magnitude of its spectrum."""

import numpy as np


def spectrum(frames: np.ndarray, n_fft: int, magnitude: bool = False, divide: bool = False) -> np.ndarray:
    """Compute the power of frames over frequency.

    Parameters
    ----------
    frames : ndarray (T, frame_length), floating
        Windowed frames, at most `n_fft` samples each.
    n_fft : int
        Length of the Fourier transform.
    magnitude : bool, default False
        Its square root instead.
    divide : bool, default False
        Divide by `n_fft`.

    Returns
    -------
    ndarray (T, 1 + n_fft // 2)
        ``|rfft(frame)| ** 2``, in the dtype of `frames`.
    """
    from scipy.fft import (
        rfft,
    )  # keeps float32, in which it is several times faster than numpy's; slow to import

    bins = rfft(frames, n_fft, axis=1)
    power = bins.real**2 + bins.imag**2
    if magnitude:
        power = np.sqrt(power)
    return np.asarray(power / power.dtype.type(n_fft) if divide else power)
