"""Threads: a piece of work in parts, each in a thread of its own.

The kernels release Python's lock, so Python's threads do; no thread layer of numba is started, and nothing
global is set. What is computed does not depend on how many there are.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise

import numpy as np

from lstm_scratch.checks import check_number

VARIABLE = "LSTM_SCRATCH_NUM_THREADS"

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


def _forget_pool() -> None:
    """After a fork the threads are gone, and only their names are left."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_pool)


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
    SettingError
        If the number is not a whole one from 1 on.
    """
    if num_threads is None:
        text = os.environ.get(VARIABLE)
        if text is None:
            return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        number = int(text) if text.strip().isdecimal() else 0
        check_number(VARIABLE, number or text, whole=True, above=0)  # refused as it was written
        return number
    check_number("num_threads", num_threads, whole=True, above=0)
    return num_threads


def in_parts(work: Callable[[int, int], None], costs: np.ndarray, parts: int) -> None:
    """Do a piece of work in parts of about the same cost, one of them here, the others in threads.

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
    first, *others = pairwise(bounds_of(costs, parts).tolist())
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="lstm-scratch")
        running = [_pool.submit(work, *part) for part in others]
    try:
        work(*first)
    finally:
        wait(running)
    for part in running:
        part.result()


def bounds_of(costs: np.ndarray, parts: int) -> np.ndarray:
    """Cut a row of things into parts of about the same cost.

    Parameters
    ----------
    costs : ndarray (n,)
        Of each thing.
    parts : int
        How many there are at the most.

    Returns
    -------
    ndarray of int
        Where each part begins, and n.
    """
    cumulated = np.concatenate([[0], np.cumsum(costs)])
    wanted = cumulated[-1] * np.arange(1, parts) / parts
    return np.unique(np.concatenate([[0], np.searchsorted(cumulated, wanted), [len(costs)]]))
