"""Memory for the kernels: where arrays begin, that none lies in another, and which memory comes back."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest

from simd import buffers
from simd.buffers import MOST, Scratch, empty

F4, F8 = np.dtype(np.float32), np.dtype(np.float64)
SHAPES = [(3, 5), (1,), (0, 0), (2, 7, 11), (16,), (6, 0), (17,), (), (4, 64)]
kinds = pytest.mark.parametrize("dtype", [F4, F8])


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch):
    """Memory that earlier tests gave back stays out of sight."""
    monkeypatch.setattr(buffers, "_kept", [])


@pytest.fixture(params=[empty, Scratch])
def arrays_of(request):
    """Arrays by either way, which live as long as the test."""
    with ExitStack() as stack:
        if request.param is empty:
            yield empty
        else:
            yield lambda *arguments: stack.enter_context(Scratch(*arguments))


def fill(arrays, first=1.0):
    """Fill each array with a number of its own."""
    for number, array in enumerate(arrays):
        array.fill(first + number)


def assert_filled(arrays, first=1.0):
    for number, array in enumerate(arrays):
        np.testing.assert_array_equal(array, first + number, err_msg=f"array {number}")


def address(array):
    return array.__array_interface__["data"][0]


def addresses(*arguments):
    """Where a `Scratch` has its arrays."""
    with Scratch(*arguments) as arrays:
        return [address(array) for array in arrays]


@kinds
@pytest.mark.parametrize("start", [0, 1, 16, 63])
def test_arrays_begin_at_a_cache_line_wherever_their_block_does(arrays_of, monkeypatch, dtype, start):
    blocks = []

    def block_at(room):
        """Give a block that begins so many bytes behind a cache line, with a margin on either side."""
        memory = np.full(room + 3 * 64, 0xAB, np.uint8)
        at = 64 - address(memory) % 64 + start
        blocks.append((memory, at, at + room))
        return address(memory) + at, memory[at : at + room]

    monkeypatch.setattr(buffers, "_block", block_at)
    arrays = arrays_of(dtype, *SHAPES)
    fill(arrays)
    assert [array.shape for array in arrays] == SHAPES
    assert {array.dtype for array in arrays} == {dtype}
    assert [address(array) % 64 for array in arrays if array.size] == [0] * 7
    assert all(array.flags.carray for array in arrays)
    assert_filled(arrays)
    [(memory, first, last)] = blocks
    np.testing.assert_array_equal(memory[:first], 0xAB)
    np.testing.assert_array_equal(memory[last:], 0xAB)


@kinds
@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 1000])
def test_arrays_begin_at_a_cache_line_in_memory_as_it_comes(arrays_of, dtype, n):
    kept = []
    for repeat in range(8):
        arrays = arrays_of(dtype, (n,), (3, n))
        assert [address(array) % 64 for array in arrays] == [0, 0]
        fill(arrays, 10.0 * repeat)
        kept.append(arrays)
    for repeat, arrays in enumerate(kept):
        assert_filled(arrays, 10.0 * repeat)


@kinds
@pytest.mark.parametrize("shapes", [[], [(0,)], [(0, 3), (5, 0)]], ids=str)
def test_arrays_without_numbers_are_arrays(arrays_of, dtype, shapes):
    arrays = arrays_of(dtype, *shapes)
    assert [(array.shape, array.dtype, array.sum()) for array in arrays] == [(s, dtype, 0) for s in shapes]


def test_memory_that_is_given_back_is_used_by_the_next_call():
    first = addresses(F4, (3, 50), (70,))
    taken = [empty(F4, (3, 50), (70,)) for _ in range(8)]  # had the block been freed, this would have it now
    assert addresses(F4, (3, 50), (70,)) == first
    assert addresses(F8, (5, 7)) == first[:1], "fewer bytes have room in it too"
    assert addresses(F4, (3, 50), (70,)) == first
    assert len(buffers._kept) == 1
    assert not {address(array) for arrays in taken for array in arrays} & set(first)


def test_arrays_of_empty_are_nobody_elses_ever():
    for _ in range(3):
        with Scratch(F8, (40,)):
            pass
    mine = empty(F8, (9,), (21,))
    fill(mine)
    for _ in range(3):
        with Scratch(F8, (9,), (21,)) as arrays:
            fill(arrays, 100.0)
    fill(empty(F8, (9,), (21,)), 200.0)
    assert_filled(mine)


def test_a_bigger_request_gets_room():
    with Scratch(F4, (6,), (5,)) as small:
        fill(small)
    with Scratch(F4, (600,), (0, 3), (50, 70)) as big:
        fill(big)
        assert_filled(big)
        at = [address(array) for array in big]
    # From now on the bigger block is the one that is kept, for smaller requests as well.
    assert len(buffers._kept) == 1
    assert addresses(F4, (6,), (5,))[0] == at[0]
    assert addresses(F4, (600,), (0, 3), (50, 70)) == at


@pytest.mark.parametrize(("too_many", "kept"), [(0, 1), (1, 0)])
def test_blocks_above_the_largest_are_not_kept(monkeypatch, too_many, kept):
    with Scratch(F8, (300,), (20,)) as arrays:
        at = [address(array) for array in arrays]
        monkeypatch.setattr(buffers, "LARGEST", arrays[0].base.nbytes - too_many)
    assert len(buffers._kept) == kept
    taken = [empty(F8, (300,), (20,)) for _ in range(8)]
    assert (addresses(F8, (300,), (20,)) == at) == kept
    assert len(taken) == 8


def test_the_largest_is_32_megabytes():
    with Scratch(F4, (2**23 + 1,)) as (array,):
        array[-1] = 1
    assert buffers._kept == []
    with Scratch(F4, (2**23 - 1000,)) as (array,):
        array[-1] = 1
    assert [block.nbytes // 2**20 for _, block in buffers._kept] == [31]


def test_no_more_than_the_most_blocks_are_kept():
    with ExitStack() as stack:
        together = [stack.enter_context(Scratch(F4, (10 + n,))) for n in range(MOST + 3)]
        assert buffers._kept == []
    assert len(buffers._kept) == MOST
    before = {address(array) for (array,) in together}
    with ExitStack() as stack:
        again = [stack.enter_context(Scratch(F4, (10,))) for _ in range(MOST)]
        assert {address(array) for (array,) in again} < before
        assert len({address(array) for (array,) in again}) == MOST
        assert buffers._kept == []
    assert len(buffers._kept) == MOST


@kinds
def test_blocks_within_blocks_share_no_memory(dtype):
    for _ in range(3):  # the first time in fresh memory, then in memory that was used
        with Scratch(dtype, (3, 20), (11,)) as outer:
            fill(outer, 10.0)
            with Scratch(dtype, (3, 20), (11,)) as inner:
                fill(inner, 20.0)
                with Scratch(dtype, (7,)) as innermost:
                    fill(innermost, 30.0)
                    assert_filled(inner, 20.0)
                with Scratch(dtype, (5, 9)) as innermost:
                    fill(innermost, 40.0)
                assert_filled(inner, 20.0)
                assert_filled(outer, 10.0)
            with Scratch(dtype, (30,)) as after:
                fill(after, 50.0)
                assert_filled(outer, 10.0)
    assert len(buffers._kept) == 3


def test_threads_at_once_never_see_each_others_numbers():
    n_threads, turns = 8, 25
    barrier = threading.Barrier(n_threads)

    def use(number):
        """Count the turns after which all numbers were still one's own."""
        right = 0
        barrier.wait(60)
        for turn in range(turns):
            mine = 1000.0 * number + turn
            with Scratch(F8, (5 + number, 13), (0, 2), (90 * (turn % 3),)) as arrays:
                fill(arrays, mine)
                time.sleep(0.001)
                right += all((array == mine + n).all() for n, array in enumerate(arrays))
        return right

    with ThreadPoolExecutor(n_threads) as pool:
        assert list(pool.map(use, range(n_threads))) == [turns] * n_threads
    kept = sorted((start, start + block.nbytes) for start, block in buffers._kept)
    assert kept
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(kept)), "no block is kept twice"


def test_after_an_exception_the_memory_is_not_used_again():
    """Who was interrupted may have helpers that still write to it."""
    at = addresses(F4, (33,))

    def fail():
        with Scratch(F4, (33,)) as (array,):
            assert address(array) == at[0]
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert not buffers._kept
    with Scratch(F4, (33,)) as (array,):
        array[:] = 1
    assert len(buffers._kept) == 1
