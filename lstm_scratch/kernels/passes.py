"""The passes: loops over time, made of tiles.

Letters: T steps, B batch rows, N valid steps of all rows together, I inputs, H hidden units, Hp the same
padded to whole registers of L lanes (the padding stays zero), W = 4 L.

Rows are sorted by length, the longest first, and stand step after step without padding between: step t
has the rows ``starts[t] .. starts[t] + counts[t]``, and its row r follows the row r of step t-1. In h and c,
B rows of initial states come before all that. A row that has ended is in no step any more, and costs nothing.

A call does the rows ``low .. high`` of every step. No row looks at another, so threads share a batch that
way, without a word to each other, and give the same bits as one alone.
"""

import numpy as np

from lstm_scratch.kernels.tile import (
    dgates_1,
    dgates_2,
    dgates_3,
    dgates_4,
    gates_4,
    gates_8,
    store_1,
    store_2,
    store_3,
    store_4,
    store_transposed_4,
    tile,
)
from simd.jit import jit


@jit
def forward(x, packed, packed_bias, gates, h, c, starts, counts, few, keep, low, high):
    """Compute h (B + N, Hp) and c, and with `keep` all gates.

    Without `keep`, c has B rows, and each step replaces the one before. With `few`, the product with the
    inputs is in `gates` already.
    """
    S = x.itemsize
    I, Hp = x.shape[1], h.shape[1]
    blocks, K, W = packed.shape
    H, B, stride = K - I, h.shape[0] - x.shape[0], gates.shape[1]
    px, pw, pb, pg = x.ctypes.data, packed.ctypes.data, packed_bias.ctypes.data, gates.ctypes.data
    ph, pc = h.ctypes.data, c.ctypes.data
    for t in range(counts.size):
        rows = min(high, counts[t]) - low
        if rows <= 0:
            break
        here = starts[t] + low
        before = B + starts[t - 1] + low if t > 0 else low
        c_before, c_here = (before, B + here) if keep else (low, low)
        done = 0
        while done < blocks:
            # One or two rows give too few sums to keep the multipliers busy: two blocks at once, then.
            both = rows <= 2 and done + 1 < blocks
            width = 2 if both else 1
            # To and fro: the weights that were used last are still in the cache.
            block = done if t % 2 == 0 else blocks - done - width
            unit, column = S * block * (W // 4), S * block * W
            weights, init, init_stride, n = pw + S * block * K * W, pb + column, 0, I
            if few:
                weights, init, init_stride, n = (
                    weights + S * I * W,
                    pg + S * here * stride + column,
                    stride,
                    0,
                )
            args = tile(
                rows,
                right=weights,
                right_stride=W,
                init=init,
                init_stride=init_stride,
                left=px + S * here * I,
                left_stride=I,
                n_left=n,
                left2=ph + S * before * Hp,
                left2_stride=Hp,
                n_left2=H,
                panel=K * W,
                out=ph + S * (B + here) * Hp + unit,
                out_stride=Hp,
                gates=pg + S * here * stride + column,
                gates_stride=stride,
                c_prev=pc + S * c_before * Hp + unit,
                c=pc + S * c_here * Hp + unit,
                keep=keep,
            )
            if both:
                gates_8(x, args)
            else:
                gates_4(x, args)
            done += width


@jit
def inputs_product(x, packed, packed_bias, gates):
    """Compute ``gates = x @ weight_ih.T + bias``, for all steps at once."""
    S, (N, I), stride = x.itemsize, x.shape, gates.shape[1]
    blocks, K, W = packed.shape
    for block in range(blocks):
        args = tile(
            N,
            right=packed.ctypes.data + S * block * K * W,
            right_stride=W,
            init=packed_bias.ctypes.data + S * block * W,
            init_stride=0,
            left=x.ctypes.data,
            left_stride=I,
            n_left=I,
            out=gates.ctypes.data + S * block * W,
            out_stride=stride,
        )
        store_4(x, args)


@jit
def backward(dy, packed_hh, gates, h, c, dc, dh0, starts, counts, low, high):
    """Turn gates into dz, and dc from the gradient of the last cells into that of the first; write dh0.

    `dy (N, Hp)` holds the gradient of each row's last output, too; dh is written over it.
    """
    S = dy.itemsize
    N, Hp = dy.shape
    panels, K, W = packed_hh.shape
    B, L, stride, T = h.shape[0] - N, W // 4, gates.shape[1], counts.size
    pg, pc, weights = gates.ctypes.data, c.ctypes.data, packed_hh.ctypes.data
    for t in range(T - 1, -1, -1):
        rows = min(high, counts[t]) - low
        if rows <= 0:
            continue
        here = starts[t] + low
        before = B + starts[t - 1] + low if t > 0 else low
        going_on = max(0, min(high, counts[t + 1]) - low) if t + 1 < T else 0
        following = starts[t + 1] + low if t + 1 < T else 0
        # Rows that go on get a gradient from their next step, the others end here.
        for first, last, n in ((0, going_on, K), (going_on, rows, 0)):
            if first == last:
                continue
            for done in range(panels):
                panel = done if t % 2 == 0 else panels - 1 - done
                column = panel * W
                args = tile(
                    last - first,
                    right=weights + S * panel * K * W,
                    right_stride=W,
                    init=dy.ctypes.data + S * ((here + first) * Hp + column),
                    init_stride=Hp,
                    left=pg + S * (following + first) * stride,
                    left_stride=stride,
                    n_left=n,
                    out_stride=Hp,
                    gates=pg + S * ((here + first) * stride + 4 * column),
                    gates_stride=stride,
                    c_prev=pc + S * ((before + first) * Hp + column),
                    c=pc + S * ((B + here + first) * Hp + column),
                    dc=dc.ctypes.data + S * ((low + first) * Hp + column),
                )
                vectors = min(4, (Hp - column) // L)
                if vectors == 4:
                    dgates_4(dy, args)
                elif vectors == 3:
                    dgates_3(dy, args)
                elif vectors == 2:
                    dgates_2(dy, args)
                else:
                    dgates_1(dy, args)
    if T > 0 and counts[0] > low:
        product(gates, packed_hh, dh0, low, min(high, counts[0]))


@jit
def inputs_gradient(gates, packed_ih, dx, starts, counts, low, high):
    """Compute ``dx = dz @ weight_ih``."""
    if counts.size > 0 and low == 0 and high >= counts[0]:  # all rows: they stand without gaps
        product(gates, packed_ih, dx, 0, dx.shape[0])
        return
    for t in range(counts.size):
        end = min(high, counts[t])
        if end > low:
            product(gates, packed_ih, dx, starts[t] + low, starts[t] + end)


@jit
def product(left, packed, out, low, high):
    """Compute ``out[low:high] = left[low:high] @`` what `pack_columns` packed."""
    S, columns = out.itemsize, out.shape[1]
    _, K, W = packed.shape
    zero = np.zeros(W, out.dtype)
    for column in range(0, columns, W):
        args = tile(
            high - low,
            right=packed.ctypes.data + S * column * K,
            right_stride=W,
            init=zero.ctypes.data,
            init_stride=0,
            left=left.ctypes.data + S * low * left.shape[1],
            left_stride=left.shape[1],
            n_left=K,
            out=out.ctypes.data + S * (low * columns + column),
            out_stride=columns,
        )
        vectors = min(4, (columns - column) // (W // 4))
        if vectors == 4:
            store_4(out, args)
        elif vectors == 3:
            store_3(out, args)
        elif vectors == 2:
            store_2(out, args)
        else:
            store_1(out, args)


@jit
def weight_gradients(x, h_prev, gates, sums, L, chunk, first, last):
    """Compute ``sums = [x | h_prev | 1].T @ dz``, in the columns of the blocks first .. last.

    Rows come in chunks: each is summed on its own while it is in the cache, and then added, which is more
    exact than one long sum, too. Threads share the columns, so that no sum depends on their number. What is
    in `sums` before does not count.
    """
    N, I = x.shape
    Hp, H, W = h_prev.shape[1], sums.shape[0] - I - 1, 4 * L
    one, zero = np.ones(1, x.dtype), np.zeros(W, x.dtype)
    if N == 0:
        sums[:] = 0
    for n in range(0, N, chunk):
        rows = min(chunk, N - n)
        for block in range(first, last):
            add_product(x, n * I, I, I, gates, n, rows, zero, sums, 0, block * W)
            add_product(h_prev, n * Hp, Hp, H, gates, n, rows, zero, sums, I, block * W)
            add_product(one, 0, 0, 1, gates, n, rows, zero, sums, I + H, block * W)


@jit
def add_product(left, start, left_stride, features, gates, n, rows, zero, sums, row, column):
    """Do ``sums[row:, column:] += left.T @ gates``, W columns wide; `rows` rows of `features` features.

    The first rows, n = 0, are added to zero.
    """
    S, stride, sums_stride = left.itemsize, gates.shape[1], sums.shape[1]
    out = sums.ctypes.data + S * (row * sums_stride + column)
    args = tile(
        features,
        right=gates.ctypes.data + S * (n * stride + column),
        right_stride=stride,
        init=out if n > 0 else zero.ctypes.data,
        init_stride=sums_stride if n > 0 else 0,
        left=left.ctypes.data + S * start,
        left_stride=left_stride,
        n_left=rows,
        out=out,
        out_stride=sums_stride,
    )
    store_transposed_4(sums, args)
