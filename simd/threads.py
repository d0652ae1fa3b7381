"""Threads: a piece of work in parts, each in a thread of its own.

The kernels release Python's lock, so Python's threads do; no thread layer of numba is started, and nothing
global is set. What is computed does not depend on how many there are.

To wake a thread that sleeps can take as long as a small batch's forward pass. So whoever has nothing to do
looks out for a short while before it goes to sleep: the passes of a training follow each other faster than
that. And who called does the parts itself that nobody else has begun.
"""

import os
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from numbers import Integral
from queue import SimpleQueue
from typing import Any

import numpy as np
from llvmlite import ir

from simd.cpu import IS_X86
from simd.emitter import Emitter, operation
from simd.errors import ThreadCountError
from simd.jit import jit
from simd.vectors import call

VARIABLE = "LSTM_SCRATCH_NUM_THREADS"
WORTH_A_THREAD = 20_000_000  # operations; of fewer, waking another thread costs more than it gains
TURNS = 10_000  # of looking out: a quarter of a millisecond or so, where the CPU knows how to pause


def _define_look_out(e: Emitter, arguments: list[Any]) -> None:
    """Look at a number in memory until it is at least what is wanted, so many times at the most."""
    address, wanted, turns = arguments
    b = e.b
    loop, done = b.append_basic_block("look"), b.append_basic_block("done")
    pointer = b.inttoptr(address, wanted.type.as_pointer())
    before = b.block
    b.branch(loop)
    b.position_at_end(loop)
    turn = b.phi(wanted.type)
    turn.add_incoming(e.number(0), before)
    if IS_X86:  # tells the CPU that this is waiting
        call(b, "llvm.x86.sse2.pause", ir.VoidType(), [])
    number = b.load_atomic(pointer, "acquire", 8)
    following = b.add(turn, e.number(1))
    turn.add_incoming(following, loop)
    waiting = b.icmp_signed("<", number, wanted)
    b.cbranch(b.and_(waiting, b.icmp_signed("<", following, turns)), loop, done)
    b.position_at_end(done)


_look_out = operation("look_out", _define_look_out)


@jit
def _wait(counter, wanted, turns):
    """Wait for a short while, or until a counter is so high."""
    _look_out(counter, (counter.ctypes.data, wanted, turns))


class _Team:
    """Threads that do parts of pieces of work."""

    def __init__(self) -> None:
        self.tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.asked = np.zeros(1, np.int64)  # how often
        self.size = 0

    def grow(self, size: int) -> None:
        """Start threads, until there are so many, or the system refuses: the caller can do without."""
        try:
            while self.size < size:
                threading.Thread(target=self._serve, name=f"lstm-scratch-{self.size}", daemon=True).start()
                self.size += 1
        except RuntimeError:
            return

    def ask(self, task: Callable[[], None], helpers: int) -> None:
        """Have so many threads call a task, soon."""
        self.grow(helpers)
        for _ in range(helpers):
            self.tasks.put(task)
        self.asked[0] += helpers

    def _serve(self) -> None:
        while True:
            asked = self.asked[0]
            if self.tasks.empty():
                _wait(self.asked, asked + 1, TURNS)
            self.tasks.get()()


_lock = threading.Lock()
_team = _Team()


def _forget_team() -> None:
    """After a fork the threads are gone, and only their names are left."""
    global _team, _lock
    _team, _lock = _Team(), threading.Lock()


os.register_at_fork(after_in_child=_forget_team)


def thread_count(num_threads: int | None = None) -> int:
    """Tell how many threads to use.

    Parameters
    ----------
    num_threads : int, optional
        What the caller wants. By default what the environment variable ``LSTM_SCRATCH_NUM_THREADS`` says,
        or one for every CPU that this process may run on.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    ThreadCountError
        If the number is not a whole one from 1 on.
    """
    if num_threads is None:
        text = os.environ.get(VARIABLE)
        if text is None:
            return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        number = int(text) if text.strip().isdecimal() else 0
        if number == 0:
            raise ThreadCountError(f"{VARIABLE} is a whole number above 0, not {text!r}")
        return number
    if not (isinstance(num_threads, Integral) and num_threads > 0):
        raise ThreadCountError(f"num_threads is a whole number above 0, not {num_threads!r}")
    return num_threads


def threads_for(operations: int, num_threads: int | None) -> int:
    """Tell how many threads to use for a piece of work.

    Parameters
    ----------
    operations : int
        How much it is.
    num_threads : int, optional
        As of `thread_count`.

    Returns
    -------
    int
        1 for so little work that another thread costs more than it gains.
    """
    if operations <= WORTH_A_THREAD and num_threads is None and VARIABLE not in os.environ:
        return 1
    threads = thread_count(num_threads)  # refuses a wrong number for little work, too
    return threads if operations > WORTH_A_THREAD else 1


def in_parts(work: Callable[[int, int], None], costs: np.ndarray, parts: int) -> None:
    """Do a piece of work in parts of about the same cost, here and in threads.

    Parameters
    ----------
    work : callable
        ``work(low, high)`` does the things low .. high; it releases Python's lock.
    costs : ndarray (n,)
        What each thing costs.
    parts : int
        How many parts, at the most.
    """
    if parts == 1 or len(costs) == 0:
        work(0, len(costs))
        return
    waiting = list(pairwise(bounds_of(costs, parts)))
    n_parts = len(waiting)
    results: SimpleQueue[BaseException | None] = SimpleQueue()
    done = np.zeros(1, np.int64)  # of the parts; a hint, as two threads may count at once
    busy: list[None] = []

    def do_parts() -> None:
        while waiting:
            try:
                part = waiting.pop()
            except IndexError:  # somebody was faster
                return
            try:
                work(*part)
            except BaseException as error:
                results.put(error)
            else:
                results.put(None)
            done[0] += 1

    def help_out() -> None:
        busy.append(None)
        try:
            do_parts()
        finally:
            busy.pop()

    try:
        with _lock:
            _team.ask(help_out, n_parts - 1)
        do_parts()
        _wait(done, n_parts, TURNS)
        errors = [error for error in (results.get() for _ in range(n_parts)) if error is not None]
    except BaseException:  # Ctrl-C: nobody is to write to the caller's arrays any more
        waiting.clear()
        while busy:
            time.sleep(0.001)
        raise
    if errors:
        raise errors[0]


def all_at_once(
    run: Callable[[int, int | None], Any], n: int, operations: int, num_threads: int | None
) -> list[Any]:
    """Call a function for n things that do not need each other, in threads of their own where it is worth it.

    Parameters
    ----------
    run : callable
        ``run(k, threads)`` does thing k, and may use so many threads for it.
    n : int
        How many things.
    operations : int
        Of each.
    num_threads : int, optional
        As of `thread_count`, for all of them.

    Returns
    -------
    list
        What the calls returned, in order.
    """
    threads = threads_for(operations, num_threads)
    if threads == 1:
        return [run(k, num_threads) for k in range(n)]
    with _lock:
        _team.grow(threads - 1)  # each call may ask for some of them
    results: list[Any] = [None] * n

    def work(low: int, high: int) -> None:
        for k in range(low, high):
            results[k] = run(k, max(1, threads // n))

    in_parts(work, np.ones(n), n)
    return results


def bounds_of(costs: np.ndarray, parts: int) -> list[int]:
    """Cut a row of things into parts of about the same cost.

    Parameters
    ----------
    costs : ndarray (n,)
        Of each thing.
    parts : int
        How many there are at the most.

    Returns
    -------
    list of int
        Where each part begins, and n.
    """
    cumulated = costs.cumsum()
    wanted = cumulated[-1] * np.arange(1, parts) / parts
    inner = cumulated.searchsorted(wanted) + (wanted > 0)  # a part ends behind the thing that fills it
    return sorted({0, *inner.tolist(), len(costs)})
