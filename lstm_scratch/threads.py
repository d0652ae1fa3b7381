"""How many threads numpy's matrix products may use."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from threadpoolctl import threadpool_limits

_lock = Lock()
_users = 0  # blocks that are being run now, in any thread
_limits: threadpool_limits | None = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep matrix products to one thread, for the length of a block or of a function it decorates.

    The matrices of a step are small: a second thread gains less than waking it costs, and on a busy
    machine it makes a step many times slower. The limit holds for the whole process, so the first block
    to begin sets it and the last to end takes it back.

    Yields
    ------
    None
        Nothing; what was allowed before is allowed again afterwards.
    """
    global _users, _limits
    with _lock:
        if _users == 0:
            _limits = threadpool_limits(limits=1, user_api="blas")
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and _limits is not None:
                _limits.restore_original_limits()
