"""How many threads numpy's matrix products may use."""

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep matrix products to one thread, for the length of a block or of a function it decorates.

    The matrices of a step are small: a second thread gains less than waking it costs, and on a busy
    machine it makes a step many times slower.

    Yields
    ------
    None
        Nothing; what was allowed before is allowed again afterwards.
    """
    with threadpool_limits(limits=1, user_api="blas"):
        yield
