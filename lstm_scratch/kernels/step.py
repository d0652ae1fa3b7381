"""One step of one sequence through all layers, for live use: one call, weights packed beforehand."""

import threading
from collections.abc import Callable

import numba
import numpy as np

from lstm_scratch.kernels.layout import plain
from lstm_scratch.kernels.packing import pack_gates
from lstm_scratch.kernels.tile import gates_4, gates_8, tile
from lstm_scratch.params import Params
from simd.buffers import empty
from simd.cpu import lanes
from simd.jit import jit

_lock = threading.Lock()


def pack_layers(layers: list[Params]) -> np.ndarray:
    """Pack the weights of layers that lie on top of each other.

    Parameters
    ----------
    layers : list of dict
        ``weight_ih``, ``weight_hh`` and ``bias`` of each, all of one dtype, float32 or float64.

    Returns
    -------
    ndarray (n,)
        Of each layer its packed weights, then its biases, as `step` reads them.
    """
    dtype = layers[0]["bias"].dtype
    W = 4 * lanes(dtype)
    H = layers[0]["weight_hh"].shape[1]
    blocks = -(-4 * H // W)
    features = [layer["weight_ih"].shape[1] + H for layer in layers]
    (packed,) = empty(dtype, (sum(blocks * (K + 1) * W for K in features),))
    start = 0
    for layer, K in zip(layers, features, strict=True):
        weights, biases = np.split(packed[start : start + blocks * (K + 1) * W], [blocks * K * W])
        arrays = (plain(layer[name]) for name in ("weight_ih", "weight_hh", "bias"))
        pack_gates(*arrays, weights.reshape(blocks, K, W), biases.reshape(blocks, W))
        start += blocks * (K + 1) * W
    return packed


@jit
def step(x, h, c, packed, sizes):
    """Compute the states after a step, h and c (layers, H), from those before and the inputs x (I,)."""
    I, layers, H, L = sizes
    if x.size != I or h.shape != (layers, H) or c.shape != (layers, H):
        raise ValueError("x, h or c has another shape")
    S, W = x.itemsize, 4 * L
    blocks = (H + L - 1) // L
    Hp = blocks * L
    new_h, new_c = np.empty((layers, Hp), x.dtype), np.empty((layers, Hp), x.dtype)
    weights, left, n_left = np.intp(packed.ctypes.data), np.intp(x.ctypes.data), I
    for layer in range(layers):
        for unit in range(H):
            new_c[layer, unit] = c[layer, unit]
        K = n_left + H
        bias = weights + S * blocks * K * W
        state = S * layer * Hp
        block = 0
        while block < blocks:
            both = block + 1 < blocks
            at = state + S * block * L
            args = tile(
                1,
                right=weights + S * block * K * W,
                right_stride=W,
                init=bias + S * block * W,
                init_stride=0,
                left=left,
                n_left=n_left,
                left2=h.ctypes.data + S * layer * H,
                n_left2=H,
                panel=K * W,
                out=new_h.ctypes.data + at,
                c_prev=new_c.ctypes.data + at,
                c=new_c.ctypes.data + at,
            )
            if both:
                gates_8(x, args)
            else:
                gates_4(x, args)
            block += 2 if both else 1
        weights, left, n_left = bias + S * blocks * W, np.intp(new_h.ctypes.data) + state, H
    if Hp == H:
        return new_h, new_c
    return new_h[:, :H].copy(), new_c[:, :H].copy()


def single_step(layers: list[Params]) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Set up the step of layers that lie on top of each other.

    Parameters
    ----------
    layers : list of dict
        As of `pack_layers`.

    Returns
    -------
    callable
        From the inputs x (I,) and the states h and c (layers, H), of any dtype, h and c after the step. It
        raises a ValueError where a shape does not fit.
    """
    packed = pack_layers(layers)
    dtype = packed.dtype
    (_, I), H = layers[0]["weight_ih"].shape, layers[0]["weight_hh"].shape[1]
    sizes = (I, len(layers), H, lanes(dtype))
    vector, matrix = (numba.typeof(np.zeros((1,) * n, dtype)) for n in (1, 2))
    with _lock:
        step.disable_compile(False)
        step.compile((vector, matrix, matrix, vector, numba.typeof(sizes)))
        step.disable_compile()

    def run(x: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        states: tuple[np.ndarray, np.ndarray]
        x = np.asarray(x, dtype)
        try:
            states = step(x, h, c, packed, sizes)
        except TypeError:  # not compiled for these: to look first would take as long as a small step
            x, h, c = (plain(np.asarray(array, dtype)) for array in (x, h, c))
            if (x.ndim, h.ndim, c.ndim) != (1, 2, 2):
                raise ValueError("x, h or c has another shape") from None
            states = step(x, h, c, packed, sizes)
        return states

    return run
