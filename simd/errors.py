"""What goes wrong, by name and aloud; apart from the rest, which takes numba to import."""

import sys
import warnings

OURS = {"simd", "features", "lstm_scratch", "reference"}


class ThreadCountError(ValueError):
    """A number of threads that is none. Its message is one line that names where the number is from."""


def warn(message: str) -> None:
    """Warn, as of the line outside these packages that led here.

    Parameters
    ----------
    message : str
        Of what.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in OURS:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
