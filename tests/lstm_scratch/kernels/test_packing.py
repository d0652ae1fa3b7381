"""Packing: where each weight goes, by index formulas, and back."""

import numpy as np
import pytest

from lstm_scratch.kernels.packing import pack_columns, pack_gates, unpack_weights
from simd.cpu import lanes

SIZES = [(1, 1), (3, 2), (5, 20), (16, 16), (17, 33), (20, 64), (33, 17), (40, 65)]  # H, I
sizes = pytest.mark.parametrize(("H", "I"), SIZES)
kinds = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def draw(H, I, dtype):
    """Weights of which no two are alike, so that none can be in another's place."""
    rng = np.random.default_rng([H, I])
    numbers = 1 + rng.permutation(4 * H * (I + H + 1)).astype(dtype)
    weight_ih, weight_hh, bias = np.split(numbers, [4 * H * I, 4 * H * (I + H)])
    return weight_ih.reshape(4 * H, I), weight_hh.reshape(4 * H, H), bias


def places(H, L):
    """For each unit and gate, its row in our order, its block and its column in the block."""
    for unit in range(H):
        for gate in range(4):
            yield gate * H + unit, unit // L, gate * L + unit % L


def gates_packed(weight_ih, weight_hh, bias, L):
    """What `pack_gates` makes of memory that holds NaN."""
    H, I = weight_hh.shape[1], weight_ih.shape[1]
    blocks = -(-H // L)
    packed = np.full((blocks, I + H, 4 * L), np.nan, weight_ih.dtype)
    packed_bias = np.full((blocks, 4 * L), np.nan, weight_ih.dtype)
    pack_gates(weight_ih, weight_hh, bias, packed, packed_bias)
    return packed, packed_bias


def columns_packed(weight, L):
    """What `pack_columns` makes of memory that holds NaN."""
    H, columns = weight.shape[0] // 4, weight.shape[1]
    packed = np.full((-(-columns // (4 * L)), -(-H // L) * 4 * L, 4 * L), np.nan, weight.dtype)
    pack_columns(weight, packed)
    return packed


@sizes
@kinds
def test_the_forward_passs_weights_stand_by_block_input_gate_and_lane(H, I, dtype):
    weight_ih, weight_hh, bias = draw(H, I, dtype)
    L = lanes(dtype)
    blocks = -(-H // L)
    expected = np.zeros((blocks, I + H, 4 * L), dtype)
    expected_bias = np.zeros((blocks, 4 * L), dtype)
    for row, block, column in places(H, L):
        expected[block, :I, column] = weight_ih[row]
        expected[block, I:, column] = weight_hh[row]
        expected_bias[block, column] = bias[row]
    packed, packed_bias = gates_packed(weight_ih, weight_hh, bias, L)
    assert packed.dtype == packed_bias.dtype == dtype
    np.testing.assert_array_equal(packed, expected)
    np.testing.assert_array_equal(packed_bias, expected_bias)


@sizes
@kinds
@pytest.mark.parametrize("which", [0, 1], ids=["weight_ih", "weight_hh"])
def test_the_backward_passs_weights_stand_by_panel_gate_and_column(H, I, dtype, which):
    weight = draw(H, I, dtype)[which]
    L, columns = lanes(dtype), weight.shape[1]
    W, blocks = 4 * L, -(-H // L)
    panels = -(-columns // W)
    expected = np.zeros((blocks * W, panels * W), dtype)
    for row, block, column in places(H, L):
        expected[block * W + column, :columns] = weight[row]
    packed = columns_packed(weight, L)
    assert packed.dtype == dtype
    np.testing.assert_array_equal(packed, expected.reshape(-1, panels, W).swapaxes(0, 1))


@sizes
@kinds
def test_gradients_come_back_to_where_the_weights_were(H, I, dtype):
    weights = draw(H, I, dtype)
    L = lanes(dtype)
    packed, packed_bias = gates_packed(*weights, L)
    blocks = len(packed)
    # Rows of x, h and 1; columns of all blocks side by side, and a cache line that is none of them.
    sums = np.full((I + H + 1, blocks * 4 * L + 64 // packed.itemsize), np.nan, dtype)
    sums[: I + H, : blocks * 4 * L] = packed.swapaxes(0, 1).reshape(I + H, -1)
    sums[I + H, : blocks * 4 * L] = packed_bias.ravel()
    for ours, theirs in zip(unpack_weights(sums, I, H, L), weights, strict=True):
        assert ours.dtype == dtype
        assert ours.flags.c_contiguous
        np.testing.assert_array_equal(ours, theirs)


@kinds
def test_padding_is_not_read_where_gradients_come_back(dtype):
    H, I, L = 3, 2, lanes(dtype)
    sums = np.full((I + H + 1, 4 * L), np.nan, dtype)
    for _, block, column in places(H, L):
        sums[:, block * 4 * L + column] = 1
    for grad in unpack_weights(sums, I, H, L):
        np.testing.assert_array_equal(grad, 1)
