"""Memory for the kernels: aligned, and for what lives only during a call, used again by the next.

Fresh memory costs a page fault for every 4 kB, which packed weights would pay in every call.
"""

import math

import numpy as np

from simd.emitter import CACHE_LINE

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
    return _carve(*_block(_room(dtype, shapes)), dtype, shapes)


class Scratch:
    """Arrays as of `empty`, for the length of one ``with`` block only.

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
        room = _room(self.dtype, self.shapes)
        try:
            self.block = _kept.pop()
        except IndexError:
            self.block = _block(room)
        if self.block[1].nbytes < room:
            self.block = _block(room)
        return _carve(*self.block, self.dtype, self.shapes)

    def __exit__(self, error: object, *_: object) -> None:
        # After an error, such as Ctrl-C, other threads may still write to it.
        if error is None and self.block[1].nbytes <= LARGEST and len(_kept) < MOST:
            _kept.append(self.block)


def _room(dtype: np.dtype, shapes: tuple[tuple[int, ...], ...]) -> int:
    """Bytes in which arrays of these shapes have room, wherever the block begins."""
    numbers = sum([math.prod(shape) for shape in shapes])
    return numbers * dtype.itemsize + CACHE_LINE * (len(shapes) + 1)


def _block(room: int) -> tuple[int, np.ndarray]:
    block = np.empty(room, np.uint8)
    return block.ctypes.data, block


def _carve(
    address: int, block: np.ndarray, dtype: np.dtype, shapes: tuple[tuple[int, ...], ...]
) -> list[np.ndarray]:
    """Lay arrays out in a block, each from a cache line on."""
    arrays, used = [], 0
    for shape in shapes:
        used += -(address + used) % CACHE_LINE
        arrays.append(np.ndarray(shape, dtype, block, used))
        used += arrays[-1].nbytes
    return arrays
