"""Mistakes that a user can mend: each message is one line that says what, where, and the fix."""

import sys


class UserError(ValueError):
    """Something in the user's data, files or settings that has to be changed."""


class SettingError(UserError):
    """A setting out of its range."""


class DataError(UserError):
    """Training or test data that cannot be used as they are."""


class ModelFileError(UserError):
    """A file that is no model, or a model that this version cannot read."""


class NotFittedError(UserError, AttributeError):
    """A classifier that was asked to predict before it was trained."""


def user_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """List the errors to catch where a mistake of the user's ends in one line.

    Parameters
    ----------
    *others : type
        What is caught beside.

    Returns
    -------
    tuple of type
        `UserError`, the others, and what `simd` raises for a wrong number of threads. To import that would
        take numba; but nobody can have raised it where nobody has imported it.
    """
    of_threads = getattr(sys.modules.get("simd.threads"), "ThreadCountError", None)
    return (UserError, *others) if of_threads is None else (UserError, *others, of_threads)
