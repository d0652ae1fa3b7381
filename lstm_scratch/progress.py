"""Progress bars on stderr: one place that decides how they look."""

import sys
from threading import RLock
from typing import Any

from tqdm import tqdm

# tqdm's own lock is one among processes too, made of a semaphore that a process that is killed leaves behind.
tqdm.set_lock(RLock())


def progress_bar(total: int, description: str, unit: str, shown: bool) -> Any:
    """Open a bar with the time that is left.

    Parameters
    ----------
    total : int
        How many units there are.
    description : str
        What is being done.
    unit : str
        What is counted.
    shown : bool
        False: nothing is shown.

    Returns
    -------
    tqdm
        The bar, a context manager with ``update`` and ``set_postfix``.
    """
    # In a log every refresh is a line of its own, so they come less often there.
    interval = 0.1 if sys.stderr.isatty() else 5.0
    return tqdm(
        total=total,
        desc=description,
        unit=f" {unit}",
        file=sys.stderr,
        disable=not shown,
        mininterval=interval,
        dynamic_ncols=True,
        delay=0.5,  # what is done at once needs no bar
    )
