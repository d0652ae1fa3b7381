"""Layout: valid steps without padding between, by hand."""

import numpy as np
import pytest

from lstm_scratch.kernels.layout import Layout, plain

# Four rows of 2, 0, 3 and 2 steps; sorted they are row 2, 0, 3, 1. Numbers tell t and row: 10 t + row.
LENGTHS = np.array([2, 0, 3, 2])
PADDED = (10 * np.arange(3)[:, None] + np.arange(4.0))[:, :, None] + [0, 0.5]
PACKED = np.array([2, 0, 3, 12, 10, 13, 22.0])[:, None] + [0, 0.5]
STATES = np.array([100, 101, 102, 103.0])[:, None] + [0, 0.5]


def test_steps_stand_one_after_the_other_with_the_longest_row_first():
    layout = Layout(LENGTHS, 3, 4)
    assert (layout.N, layout.T, layout.B) == (7, 3, 4)
    np.testing.assert_array_equal(layout.steps, [3, 2, 2, 0])
    np.testing.assert_array_equal(layout.counts, [3, 3, 1])
    np.testing.assert_array_equal(layout.starts, [0, 3, 6])
    np.testing.assert_array_equal(layout.pack(PADDED), PACKED)


def test_a_row_follows_its_own_step_before_or_its_initial_state():
    """In h, with four initial states in front: rows 4 .. 10 are the steps."""
    np.testing.assert_array_equal(Layout(LENGTHS, 3, 4).before, [0, 1, 2, 4, 5, 6, 7])


def test_padding_comes_back_as_zeros():
    expected = PADDED.copy()
    expected[2, 0] = expected[:, 1] = expected[2, 3] = 0
    np.testing.assert_array_equal(Layout(LENGTHS, 3, 4).pad(PACKED), expected)


def test_states_are_sorted_and_back():
    layout = Layout(LENGTHS, 3, 4)
    np.testing.assert_array_equal(layout.sort(STATES), STATES[[2, 0, 3, 1]])
    np.testing.assert_array_equal(layout.unsort(STATES[[2, 0, 3, 1]]), STATES)


def test_a_rows_last_state_is_after_its_last_step_or_its_initial_one():
    h = np.concatenate([STATES[[2, 0, 3, 1]], PACKED])
    expected = np.array([22, 10, 13, 101.0])[:, None] + [0, 0.5]
    np.testing.assert_array_equal(Layout(LENGTHS, 3, 4).last_of(h), expected)


def test_a_last_states_gradient_goes_to_the_last_step_or_to_the_initial_state():
    packed, initial = PACKED.copy(), np.arange(8.0).reshape(4, 2)
    Layout(LENGTHS, 3, 4).add_to_last(packed, initial, 1000 * STATES)
    expected = PACKED.copy()
    expected[6] += 1000 * STATES[2]
    expected[4] += 1000 * STATES[0]
    expected[5] += 1000 * STATES[3]
    np.testing.assert_array_equal(packed, expected)
    expected = np.arange(8.0).reshape(4, 2)
    expected[3] += 1000 * STATES[1]
    np.testing.assert_array_equal(initial, expected)


@pytest.mark.parametrize("lengths", [None, np.full(4, 3)], ids=["no lengths", "all of T"])
def test_whole_rows_stay_in_their_order(lengths):
    layout = Layout(lengths, 3, 4)
    packed = PADDED.reshape(12, 2)
    assert layout.N == 12
    np.testing.assert_array_equal(layout.steps, [3] * 4)
    np.testing.assert_array_equal(layout.counts, [4, 4, 4])
    np.testing.assert_array_equal(layout.starts, [0, 4, 8])
    np.testing.assert_array_equal(layout.pack(PADDED), packed)
    np.testing.assert_array_equal(layout.pad(packed), PADDED)
    np.testing.assert_array_equal(layout.sort(STATES), STATES)
    np.testing.assert_array_equal(layout.unsort(STATES), STATES)
    np.testing.assert_array_equal(layout.last_of(np.concatenate([STATES, packed])), PADDED[2])
    added, initial = packed.copy(), np.zeros((4, 2))
    layout.add_to_last(added, initial, STATES)
    np.testing.assert_array_equal(added, np.concatenate([packed[:8], packed[8:] + STATES]))
    np.testing.assert_array_equal(initial, 0)


@pytest.mark.parametrize(("T", "lengths"), [(3, np.zeros(4, int)), (0, np.zeros(4, int)), (0, None)])
def test_rows_without_steps_are_their_initial_states(T, lengths):
    layout = Layout(lengths, T, 4)
    assert layout.N == 0
    np.testing.assert_array_equal(layout.steps, [0] * 4)
    np.testing.assert_array_equal(layout.counts, [0] * T)
    assert layout.pack(np.ones((T, 4, 2))).shape == (0, 2)
    np.testing.assert_array_equal(layout.pad(np.ones((0, 2))), np.zeros((T, 4, 2)))
    np.testing.assert_array_equal(layout.unsort(layout.last_of(layout.sort(STATES))), STATES)
    initial = np.ones((4, 2))
    layout.add_to_last(np.ones((0, 2)), initial, STATES)
    np.testing.assert_array_equal(initial, 1 + STATES)


@pytest.mark.parametrize("lengths", [None, np.zeros(0, int)])
def test_no_rows_have_no_steps(lengths):
    layout = Layout(lengths, 3, 0)
    assert layout.N == 0
    np.testing.assert_array_equal(layout.counts, [0, 0, 0])
    assert layout.pack(np.ones((3, 0, 2))).shape == (0, 2)
    assert layout.pad(np.ones((0, 2))).shape == (3, 0, 2)
    assert layout.last_of(np.ones((0, 2))).shape == layout.unsort(np.ones((0, 2))).shape == (0, 2)
    layout.add_to_last(np.ones((0, 2)), np.ones((0, 2)), np.ones((0, 2)))


@pytest.mark.parametrize("kind", [np.int8, np.int32, np.uint8, np.uint16, np.uint64])
def test_lengths_of_any_whole_kind_give_the_same_layout(kind):
    """Unsigned numbers have no negatives to sort by."""
    layout = Layout(LENGTHS.astype(kind), 3, 4)
    np.testing.assert_array_equal(layout.steps, [3, 2, 2, 0])
    np.testing.assert_array_equal(layout.pack(PADDED), PACKED)
    for numbers in (layout.counts, layout.starts, layout.steps, layout.last, layout.before):
        assert numbers.dtype == np.intp, "or everything is compiled once more"


def test_more_steps_than_fit_into_the_kind_of_the_lengths():
    layout = Layout(np.array([200, 255], np.uint8), 300, 2)
    assert layout.N == 455
    np.testing.assert_array_equal(layout.counts, [2] * 200 + [1] * 55 + [0] * 45)
    np.testing.assert_array_equal(layout.order, [1, 0])


def test_what_is_packed_pads_back_for_drawn_lengths():
    rng = np.random.default_rng(0)
    for T, B in ((1, 1), (4, 7), (9, 2), (6, 12)):
        lengths = rng.integers(0, T + 1, size=B)
        x = rng.normal(size=(T, B, 3))
        layout = Layout(lengths, T, B)
        packed = layout.pack(x)
        assert packed.flags.c_contiguous
        valid = (np.arange(T)[:, None] < lengths)[:, :, None]
        np.testing.assert_array_equal(layout.pad(packed), np.where(valid, x, 0))
        h = np.concatenate([np.full((B, 3), 7.0), packed])
        last = np.where(lengths[:, None] > 0, x[lengths - 1, np.arange(B)], 7.0)
        np.testing.assert_array_equal(layout.unsort(layout.last_of(h)), last)


def test_a_plain_array_is_not_copied_and_any_other_becomes_one():
    array = np.arange(12.0).reshape(3, 4)
    assert plain(array) is array
    frozen = array.copy()
    frozen.flags.writeable = False
    odd = np.empty(array.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(3, 4)
    odd[...] = array
    for other in (frozen, odd, array[:, ::2], np.asfortranarray(array), np.broadcast_to(array[0], (3, 4))):
        assert not other.flags.carray
        np.testing.assert_array_equal(plain(other), other)
        assert plain(other).flags.carray
