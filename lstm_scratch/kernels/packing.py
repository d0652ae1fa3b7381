"""Packing: weights in the order in which the tiles read them, and their gradients back in ours.

Letters: I inputs, H hidden units, L lanes of a register, W = 4 L. Hidden units come in blocks of L, and a
block's gates lie side by side: column ``gate * L + lane`` of block ``unit // L``. Padding, where H or I is no
multiple, is zero. Single numbers are copied, not slices: numba compiles seconds longer for these, on account
of the messages that they might raise.
"""

import numpy as np

from simd.jit import jit
from simd.moves import copy, transpose


@jit
def pack_gates(weight_ih, weight_hh, bias, packed, packed_bias):
    """Pack for the forward pass.

    Fills ``packed (blocks, I + H, W)``: ``packed[block, k, gate * L + lane]`` is
    ``[weight_ih | weight_hh][gate * H + block * L + lane, k]``; and the biases ``(blocks, W)`` likewise.
    """
    H, I = weight_hh.shape[1], weight_ih.shape[1]
    blocks, L = packed.shape[0], packed.shape[2] // 4
    if blocks * L > H:
        packed[blocks - 1] = 0
        packed_bias[blocks - 1] = 0
    for block in range(blocks):
        units = min(L, H - block * L)
        for gate in range(4):
            row, column = gate * H + block * L, gate * L
            to = packed[block, :, column : column + units]
            transpose(weight_ih[row : row + units], to[:I], L)
            transpose(weight_hh[row : row + units], to[I:], L)
            for lane in range(units):
                packed_bias[block, column + lane] = bias[row + lane]


@jit
def pack_columns(weight, packed):
    """Pack for products with dz, from the right.

    Fills ``packed (panels, 4 Hp, W)``: ``packed[panel, row in the gates' order, column]`` is
    ``weight[row, panel * W + column]``; Hp is H padded to whole blocks.
    """
    H, columns = weight.shape[0] // 4, weight.shape[1]
    panels, K, W = packed.shape
    blocks, L = K // W, W // 4
    if blocks * L > H:
        packed[:, (blocks - 1) * W :] = 0
    if panels * W > columns:
        packed[panels - 1] = 0
    for panel in range(panels):
        first, last = panel * W, min(columns, panel * W + W)
        for block in range(blocks):
            units = min(L, H - block * L)
            for gate in range(4):
                row, to = gate * H + block * L, block * W + gate * L
                copy(weight[row : row + units, first:last], packed[panel, to : to + units], L)


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
            transpose(of_block[:I], dweight_ih[row : row + units], L)
            transpose(of_block[I : I + H], dweight_hh[row : row + units], L)
            for lane in range(units):
                dbias[row + lane] = of_block[I + H, lane]
    return dweight_ih, dweight_hh, dbias
