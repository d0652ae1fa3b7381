"""The two functions of `lstm.py`, fast: rows sorted, weights packed, threads sent out, results unpacked.

Letters: T time steps, B batch rows, N valid steps of all rows together, I inputs, H hidden units, Hp the
same padded to whole registers of L numbers.
"""

from dataclasses import dataclass

import numpy as np

from lstm_scratch.kernels.layout import Layout, plain
from lstm_scratch.kernels.packing import pack_columns, pack_gates, unpack_weights
from lstm_scratch.kernels.passes import (
    backward,
    forward,
    inputs_gradient,
    inputs_product,
    weight_gradients,
)
from lstm_scratch.params import FrozenParams, Params
from simd.buffers import Scratch, empty
from simd.cpu import lanes
from simd.emitter import CACHE_LINE
from simd.threads import in_parts, threads_for

FEW = 5  # with fewer rows than this, the inputs' product is done for all steps at once
CHUNK = 128  # rows of a chunk of the weights' gradients, at least


@dataclass
class KernelCache:
    """All that `lstm_backward` needs of the forward pass."""

    layout: Layout
    x: np.ndarray  # (N, I)
    h: np.ndarray  # (B + N, Hp), initial states in front
    c: np.ndarray  # (B + N, Hp)
    gates: np.ndarray  # (N, 4 Hp and padding), in blocks of L units, and in a block i, f, g, o
    num_threads: int | None  # of the forward pass
    spent: bool = False  # whether `gates` holds dz by now: a backward pass writes it over them


def lstm_forward(
    params: Params,
    x: np.ndarray,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    num_threads: int | None = None,
    keep: bool = True,
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], KernelCache | None]:
    """Run the layer over a batch of sequences, as `lstm_scratch.lstm.lstm_forward` does.

    Parameters
    ----------
    params : dict
        ``weight_ih (4H, I)``, ``weight_hh (4H, H)`` and ``bias (4H,)``, float32 or float64, as all arrays.
        Frozen ones are packed once, others in every call.
    x : ndarray (T, B, I)
        Inputs.
    h0, c0 : ndarray (B, H), optional
        Hidden and cell state before the first step. By default zero.
    lengths : ndarray (B,), int, optional
        Valid steps of each row, in any order, 0 .. T. By default T.
    num_threads : int, optional
        As of `thread_count`. The results are the same bits for any number.
    keep : bool, default True
        Whether a backward pass is to follow. Without, gates and cells are not kept.

    Returns
    -------
    outputs : tuple of ndarray
        ``y (T, B, H)``, ``h_n (B, H)`` and ``c_n (B, H)``. A row's are the same bits whatever other rows
        there are.
    cache : KernelCache or None
        What `lstm_backward` needs.
    """
    (T, B, _), H = x.shape, params["weight_hh"].shape[1]
    Hp = -(-H // lanes(x.dtype)) * lanes(x.dtype)
    layout = Layout(lengths, T, B)
    N = layout.N
    if keep:
        h, c, gates = empty(x.dtype, (B + N, Hp), (B + N, Hp), (N, _gates_width(Hp, x.dtype)))
    else:
        h, c, gates = empty(x.dtype, (B + N, Hp), (B, Hp), (0, 0))
    for state, initial in ((h, h0), (c, c0)):
        state[:B] = 0
        if initial is not None:
            state[:B, :H] = layout.sort(initial)
    rows = layout.pack(x)
    if keep and np.may_share_memory(rows, x):
        rows = rows.copy()  # whoever changes x later does not change its gradients
    cache = KernelCache(layout, rows, h, c, gates, num_threads)
    _run(params, cache, keep, num_threads)
    last_c = layout.last_of(c) if keep else c
    y = layout.pad(h[B:, :H])
    if keep and layout.whole:
        y = y.copy()  # nor does whoever changes y
    outputs = y, layout.unsort(layout.last_of(h)[:, :H]), layout.unsort(last_c[:, :H])
    return outputs, cache if keep else None


def _run(params: Params, cache: KernelCache, keep: bool, num_threads: int | None) -> None:
    """Fill the cache from its inputs and initial states."""
    layout, x, h, c, gates = cache.layout, cache.x, cache.h, cache.c, cache.gates
    (N, I), (H, Hp), W = x.shape, (params["weight_hh"].shape[1], h.shape[1]), 4 * lanes(x.dtype)
    few = layout.B < FEW
    products = (N if few and not keep else 0, _gates_width(Hp, x.dtype))
    shapes = ((Hp * 4 // W, I + H, W), (Hp * 4 // W, W))

    def pack(packed: np.ndarray, packed_bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weights = (plain(params[name]) for name in ("weight_ih", "weight_hh", "bias"))
        pack_gates(*weights, packed, packed_bias)
        return packed, packed_bias

    frozen = params if isinstance(params, FrozenParams) else None
    with Scratch(x.dtype, products, *(shapes if frozen is None else ())) as (z, *room):
        if frozen is None:
            packed, packed_bias = pack(*room)
        else:
            packed, packed_bias = frozen.once("packed gates", lambda: pack(*empty(x.dtype, *shapes)))
        if not keep:
            gates = z
        if few:
            inputs_product(x, packed, packed_bias, gates)

        def work(low: int, high: int) -> None:
            forward(x, packed, packed_bias, gates, h, c, layout.starts, layout.counts, few, keep, low, high)

        in_parts(work, layout.steps, threads_for(8 * N * H * (I + H), num_threads))


def lstm_backward(
    params: Params,
    cache: KernelCache,
    dy: np.ndarray,
    dh_n: np.ndarray | None = None,
    dc_n: np.ndarray | None = None,
    num_threads: int | None = None,
    input_gradient: bool = True,
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], Params]:
    """Carry a loss's gradient back through every step, as `lstm_scratch.lstm.lstm_backward` does.

    Parameters
    ----------
    params : dict
        The parameters given to `lstm_forward`.
    cache : KernelCache
        What `lstm_forward` returned. The gates' gradients are written over the gates, to save memory: a
        second backward pass from one cache does the forward pass again first.
    dy : ndarray (T, B, H)
        Gradient of the loss with respect to ``y``.
    dh_n, dc_n : ndarray (B, H), optional
        Gradients with respect to ``h_n`` and ``c_n``. By default zero.
    num_threads : int, optional
        As of `thread_count`. By default as in the forward pass. The results are the same bits for any number.
    input_gradient : bool, default True
        Whether ``dx`` is wanted.

    Returns
    -------
    inputs : tuple of ndarray
        ``dx (T, B, I)``, zero at the padding, or without columns if it is not wanted, ``dh0 (B, H)`` and
        ``dc0 (B, H)``.
    grads : dict
        Gradients of the parameters, under their names.
    """
    num_threads = cache.num_threads if num_threads is None else num_threads
    if cache.spent:
        _run(params, cache, True, num_threads)
    cache.spent = True
    layout, x, h, c, gates = cache.layout, cache.x, cache.h, cache.c, cache.gates
    weight_ih, weight_hh = plain(params["weight_ih"]), plain(params["weight_hh"])
    dtype, (N, I), H, Hp, B = x.dtype, x.shape, weight_hh.shape[1], h.shape[1], layout.B
    L = lanes(dtype)
    W = 4 * L
    wanted = I if input_gradient else 0
    (dx,) = empty(dtype, (N, -(-wanted // L) * L))
    dc, dh0 = np.zeros((B, Hp), dtype), np.zeros((B, Hp), dtype)
    parts = threads_for(4 * N * (weight_ih.size + weight_hh.size), num_threads)
    starts, counts = layout.starts, layout.counts
    with Scratch(
        dtype,
        (-(-Hp // W), 4 * Hp, W),
        (-(-wanted // W), 4 * Hp, W),
        (N, Hp),
        (I + H + 1, _gates_width(Hp, dtype)),
    ) as (packed_hh, packed_ih, dh, sums):
        pack_columns(weight_hh, packed_hh)
        if input_gradient:
            pack_columns(weight_ih, packed_ih)
        dh[:, :H] = layout.pack(dy)
        dh[:, H:] = 0
        if dh_n is not None:
            layout.add_to_last(dh[:, :H], dh0[:, :H], dh_n)
        if dc_n is not None:
            dc[:, :H] = layout.sort(dc_n)

        def carry_back(low: int, high: int) -> None:
            backward(dh, packed_hh, gates, h, c, dc, dh0, starts, counts, low, high)
            if input_gradient:
                inputs_gradient(gates, packed_ih, dx, starts, counts, low, high)

        in_parts(carry_back, layout.steps, parts)
        h_prev = h[:N] if layout.whole else h[layout.before]

        def sum_up(low: int, high: int) -> None:
            weight_gradients(x, h_prev, gates, sums, L, max(CHUNK, H), low, high)

        in_parts(sum_up, np.ones(Hp // L), parts)
        names = ("weight_ih", "weight_hh", "bias")
        grads = dict(zip(names, unpack_weights(sums, I, H, L), strict=True))
    return (layout.pad(dx[:, :wanted]), layout.unsort(dh0[:, :H]), layout.unsort(dc[:, :H])), grads


def _gates_width(Hp: int, dtype: np.dtype) -> int:
    """Give an odd number of cache lines per row: so rows do not compete for one place in the cache."""
    return 4 * Hp + CACHE_LINE // dtype.itemsize
