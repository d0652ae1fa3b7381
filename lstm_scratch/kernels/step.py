"""One step of one sequence through all layers, for live use: one call, weights packed beforehand."""

from collections.abc import Callable

import numpy as np

from lstm_scratch.kernels.buffers import empty
from lstm_scratch.kernels.cpu import lanes
from lstm_scratch.kernels.jit import jit
from lstm_scratch.kernels.layout import plain
from lstm_scratch.kernels.packing import pack_gates
from lstm_scratch.kernels.tile import gates_4, gates_8, tile
from lstm_scratch.params import Params


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
def step(x, h, c, packed, W):
    """Compute the states after a step, h and c (layers, H), from those before and the inputs x (I,)."""
    S, (layers, H) = x.itemsize, h.shape
    L = W // 4
    blocks = (H + L - 1) // L
    Hp = blocks * L
    new_h, new_c = np.empty((layers, Hp), x.dtype), np.empty((layers, Hp), x.dtype)
    weights, left, n_left = np.intp(packed.ctypes.data), np.intp(x.ctypes.data), x.size
    for layer in range(layers):
        for unit in range(H):
            new_c[layer, unit] = c[layer, unit]
        K = n_left + H
        bias = weights + S * blocks * K * W
        state = S * layer * Hp
        block = 0
        while block < blocks:
            width = 2 if block + 1 < blocks else 1
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
            if width == 2:
                gates_8(x, args)
            else:
                gates_4(x, args)
            block += width
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
        From the inputs x (I,) and the states h and c (layers, H), of any dtype, h and c after the step.
    """
    packed = pack_layers(layers)
    dtype = packed.dtype
    W = 4 * lanes(dtype)

    def run(x: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # To numba, arrays of another dtype or in another memory order are other types, to compile anew.
        if not (x.dtype == h.dtype == c.dtype == dtype):
            x, h, c = x.astype(dtype), h.astype(dtype), c.astype(dtype)
        states: tuple[np.ndarray, np.ndarray] = step(plain(x), plain(h), plain(c), packed, W)
        return states

    return run
