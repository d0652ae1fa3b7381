"""How long things take, measured side by side in one process, and on which machine."""

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from threadpoolctl import threadpool_limits

from simd.threads import VARIABLE

TURN = 0.02  # seconds that one of several runs, at least, before the next has its turn
PAUSE = 0.01  # seconds between turns, in which waiting threads of other libraries give up their CPU
SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # variables that bind numpy to another CPU's kernels


def alternate(
    runs: Mapping[str, Callable[[], object]], budget: float, rounds: int = 5, warm_up: int = 2
) -> dict[str, float]:
    """Time several things in turns, so that what slows the machine down for a while slows down all.

    Parameters
    ----------
    runs : mapping of str to callable
        What to time.
    budget : float
        Seconds for all together. Turns go on until they are spent.
    rounds : int, default 5
        Turns that each has, at least.
    warm_up : int, default 2
        Runs of each before, which do not count.

    Returns
    -------
    dict
        The median seconds of one run, by name.
    """
    for run in runs.values():
        for _ in range(warm_up):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    end, done = time.perf_counter() + budget, 0
    while done < rounds or time.perf_counter() < end:
        for name, run in runs.items():
            time.sleep(PAUSE)
            first = now = time.perf_counter()
            while now - first < TURN:
                run()
                before, now = now, time.perf_counter()
                seconds[name].append(now - before)
        done += 1
    return {name: median(times) for name, times in seconds.items()}


@contextmanager
def threads_everywhere(threads: int) -> Iterator[None]:
    """Let our kernels, numpy's products and torch use so many threads, for the length of a block.

    Parameters
    ----------
    threads : int
        How many.

    Yields
    ------
    None
        Nothing; what was before is so again afterwards.
    """
    import torch

    before, of_torch = os.environ.get(VARIABLE), torch.get_num_threads()
    os.environ[VARIABLE] = str(threads)
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(of_torch)
        del os.environ[VARIABLE]
        if before is not None:
            os.environ[VARIABLE] = before


def machine(*packages: str) -> str:
    """Name the CPU, how busy it is before we begin, and the versions.

    Parameters
    ----------
    *packages : str
        Names of distributions.

    Returns
    -------
    str
        One line; and another, where the environment slows numpy down.
    """
    info = Path("/proc/cpuinfo")
    named = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    cpu = named[0].partition(": ")[2] if named else platform.processor() or platform.machine()
    line = f"{cpu}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}"
    for package in packages:
        try:
            line += f", {package} {version(package)}"
        except PackageNotFoundError:
            line += f", no {package}"
    slowing = [name for name in SLOWING if name in os.environ]
    return line + (f"\nwarning: {' and '.join(slowing)} may slow numpy down; unset first" if slowing else "")
