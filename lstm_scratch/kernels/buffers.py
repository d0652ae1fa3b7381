"""Memory for the kernels: aligned, and for what lives only during a call, used again by the next.

Fresh memory costs a page fault for every 4 kB, which for packed weights is several times the packing.
"""

import math

import numpy as np

from lstm_scratch.kernels.emitter import CACHE_LINE

LARGEST = 32 * 2**20  # bytes that are kept for later calls; what is larger goes back to the system
MOST = 4  # blocks kept at a time

_kept: list[tuple[int, np.ndarray]] = []  # address and bytes; to append and to pop is atomic in Python


def empty(dtype: np.dtype, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Allocate arrays.

    Parameters
    ----------
    dtype : dtype
        Of their numbers.
    *shapes : tuple of int
        One per array.

    Returns
    -------
    list of ndarray
        Parts of one block, each at the beginning of a cache line; they hold whatever was in the memory.
    """
    return _carve(*_block(_size(dtype, shapes)), dtype, shapes)


class Scratch:
    """Arrays as of `empty`, for the length of a ``with`` block only.

    Parameters
    ----------
    dtype : dtype
        Of their numbers.
    *shapes : tuple of int
        One per array.
    """

    def __init__(self, dtype: np.dtype, *shapes: tuple[int, ...]) -> None:
        self.dtype, self.shapes = dtype, shapes

    def __enter__(self) -> list[np.ndarray]:
        size = _size(self.dtype, self.shapes)
        try:
            self.block = _kept.pop()
        except IndexError:
            self.block = _block(size)
        if self.block[1].nbytes < size + CACHE_LINE:
            self.block = _block(size)
        return _carve(*self.block, self.dtype, self.shapes)

    def __exit__(self, *_: object) -> None:
        if self.block[1].nbytes <= LARGEST and len(_kept) < MOST:
            _kept.append(self.block)


def _size(dtype: np.dtype, shapes: tuple[tuple[int, ...], ...]) -> int:
    """Bytes of arrays, each rounded up to whole cache lines."""
    return sum(-(-math.prod(shape) * dtype.itemsize // CACHE_LINE) * CACHE_LINE for shape in shapes)


def _block(size: int) -> tuple[int, np.ndarray]:
    block = np.empty(size + CACHE_LINE, np.uint8)
    return block.ctypes.data, block


def _carve(
    address: int, block: np.ndarray, dtype: np.dtype, shapes: tuple[tuple[int, ...], ...]
) -> list[np.ndarray]:
    arrays = []
    offset = -address % CACHE_LINE
    for shape in shapes:
        arrays.append(np.ndarray(shape, dtype, block, offset))  # type: ignore[call-overload]
        offset += _size(dtype, (shape,))
    return arrays
