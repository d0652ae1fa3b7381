"""Moving numbers about: every number to its place, and nothing beside it touched."""

import itertools

import numpy as np
import pytest

from simd.cpu import lanes
from simd.moves import copy, transpose

SIZES = {
    "1": lambda L: 1,
    "L-1": lambda L: L - 1,
    "L": lambda L: L,
    "L+1": lambda L: L + 1,
    "2L+3": lambda L: 2 * L + 3,
    "3L": lambda L: 3 * L,
}
SHAPES = [*itertools.permutations(SIZES, 2)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=" x ".join)
kinds = pytest.mark.parametrize("dtype", [np.float32, np.float64])
OURS, THEIRS = -1, -2  # what stands around the target, and in it before; what stands around the source


def within(rows, columns, margins, dtype, sentinel):
    """Give a bigger array full of sentinels, and a part of it: margins are above, left, below, right."""
    above, left, below, right = margins
    whole = np.full((above + rows + below, left + columns + right), sentinel, dtype)
    return whole, whole[above : above + rows, left : left + columns]


def assert_moves(move, rows, columns, dtype, target_of):
    """Fail unless source goes where `target_of` says, from view to view, and all else stays as it was."""
    L = lanes(dtype)
    around_source, source = within(rows, columns, (3, 5, L + 2, L + 4), dtype, THEIRS)
    source[:] = 1 + np.arange(rows * columns).reshape(rows, columns)
    moved = target_of(source)
    # Margins wide enough that whole registers and squares too many would fall into them.
    margins = 2, 7, L + 3, L + 6
    around_target, target = within(*moved.shape, margins, dtype, OURS)
    expected, part = within(*moved.shape, margins, dtype, OURS)
    part[:] = moved
    before = around_source.copy()
    assert source.strides[0] > columns * source.itemsize
    assert target.strides[0] > moved.shape[1] * target.itemsize
    move(source, target, L)
    np.testing.assert_array_equal(around_target, expected)
    np.testing.assert_array_equal(around_source, before)


@shapes
@kinds
def test_a_copy_has_every_number_in_its_place(shape, dtype):
    rows, columns = (SIZES[name](lanes(dtype)) for name in shape)
    assert_moves(copy, rows, columns, dtype, lambda source: source)


@shapes
@kinds
def test_a_transposed_copy_has_every_number_in_its_place(shape, dtype):
    rows, columns = (SIZES[name](lanes(dtype)) for name in shape)
    assert_moves(transpose, rows, columns, dtype, lambda source: source.T)


@kinds
@pytest.mark.parametrize(("move", "target_of"), [(copy, lambda s: s), (transpose, lambda s: s.T)])
def test_no_rows_or_no_columns_move_nothing(move, target_of, dtype):
    L = lanes(dtype)
    assert_moves(move, 0, 2 * L + 1, dtype, target_of)
    assert_moves(move, L + 3, 0, dtype, target_of)


@kinds
@pytest.mark.parametrize(("move", "target_of"), [(copy, lambda s: s), (transpose, lambda s: s.T)])
def test_numbers_keep_their_bits(move, target_of, dtype):
    """Moving is not computing: of NaN the payload stays, of zero the sign, and the smallest numbers."""
    L = lanes(dtype)
    rows, columns = 2 * L + 1, L + 2
    bits = np.dtype(f"u{np.dtype(dtype).itemsize}")
    drawn = np.random.default_rng(0).integers(0, np.iinfo(bits).max, (rows, columns), bits, endpoint=True)
    quiet = np.array(np.nan, dtype).view(bits)
    special = [0, 1, quiet, quiet | 5, np.array(-0.0, dtype).view(bits), np.array(-np.inf, dtype).view(bits)]
    drawn[0, :3], drawn[-1, -3:] = special[:3], special[3:]
    _, source = within(rows, columns, (1, 2, L, L), dtype, THEIRS)
    source.view(bits)[:] = drawn
    expected = target_of(drawn)
    _, target = within(*expected.shape, (2, 1, L, L), dtype, OURS)
    move(source, target, L)
    np.testing.assert_array_equal(target.view(bits), expected)
    np.testing.assert_array_equal(source.view(bits), drawn)
