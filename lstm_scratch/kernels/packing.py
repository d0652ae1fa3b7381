"""Packing: weights in the order in which the tiles read them, and their gradients back in ours.

Letters: I inputs, H hidden units, L lanes of a register, W = 4 L. Hidden units come in blocks of L, and a
block's gates lie side by side: column ``gate * L + lane`` of block ``unit // L``. Padding, where H or I is no
multiple, is zero. Single numbers are copied, not slices: numba compiles seconds longer for these, on account
of the messages that they might raise.
"""

import numpy as np

from lstm_scratch.kernels.jit import jit


@jit
def transpose(source, target):
    """Copy ``source.T`` into target, in squares that stay in the cache."""
    rows, columns = source.shape
    for first in range(0, columns, 16):
        for row in range(rows):
            for column in range(first, min(columns, first + 16)):
                target[column, row] = source[row, column]


@jit
def pack_gates(weight_ih, weight_hh, bias, L):
    """Pack for the forward pass.

    Returns ``packed (blocks, I + H, W)``, where ``packed[block, k, gate * L + lane]`` is
    ``[weight_ih | weight_hh][gate * H + block * L + lane, k]``, and the biases ``(blocks, W)`` likewise.
    """
    H, I = weight_hh.shape[1], weight_ih.shape[1]
    blocks = (H + L - 1) // L
    packed = np.empty((blocks, I + H, 4 * L), weight_ih.dtype)
    packed_bias = np.zeros((blocks, 4 * L), weight_ih.dtype)
    if blocks * L > H:
        packed[blocks - 1] = 0
    for block in range(blocks):
        units = min(L, H - block * L)
        for gate in range(4):
            row, column = gate * H + block * L, gate * L
            to = packed[block, :, column : column + units]
            transpose(weight_ih[row : row + units], to[:I])
            transpose(weight_hh[row : row + units], to[I:])
            for lane in range(units):
                packed_bias[block, column + lane] = bias[row + lane]
    return packed, packed_bias


@jit
def pack_columns(weight, L):
    """Pack for products with dz, from the right.

    Returns ``packed (panels, 4 Hp, W)``, where ``packed[panel, row in the gates' order, column]`` is
    ``weight[row, panel * W + column]``; Hp is H padded to whole blocks.
    """
    H, columns = weight.shape[0] // 4, weight.shape[1]
    W, blocks = 4 * L, (H + L - 1) // L
    panels = (columns + W - 1) // W
    packed = np.empty((panels, blocks * W, W), weight.dtype)
    if blocks * L > H:
        packed[:, (blocks - 1) * W :] = 0
    if panels * W > columns:
        packed[panels - 1] = 0
    for panel in range(panels):
        first, last = panel * W, min(columns, panel * W + W)
        for unit in range(H):
            for gate in range(4):
                row = unit // L * W + gate * L + unit % L
                for column in range(first, last):
                    packed[panel, row, column - first] = weight[gate * H + unit, column]
    return packed


@jit
def unpack_weights(sums, I, H, L):
    """Bring the weights' gradients from rows of x, h and 1 by the gates' columns into our order.

    Returns ``dweight_ih (4H, I)``, ``dweight_hh (4H, H)`` and ``dbias (4H,)``.
    """
    dweight_ih = np.empty((4 * H, I), sums.dtype)
    dweight_hh = np.empty((4 * H, H), sums.dtype)
    dbias = np.empty(4 * H, sums.dtype)
    for block in range((H + L - 1) // L):
        units = min(L, H - block * L)
        for gate in range(4):
            row, column = gate * H + block * L, block * 4 * L + gate * L
            of_block = sums[:, column : column + units]
            transpose(of_block[:I], dweight_ih[row : row + units])
            transpose(of_block[I : I + H], dweight_hh[row : row + units])
            for lane in range(units):
                dbias[row + lane] = of_block[I + H, lane]
    return dweight_ih, dweight_hh, dbias
