"""Mistakes that a user can mend: each message is one line that says what, where, and the fix."""

try:
    from simd.errors import ThreadCountError
except ImportError as error:  # a user's own simd.py, next to a script
    import simd

    raise ImportError(
        f"'simd' is {simd.__file__}, which hides the package of that name that lstm_scratch needs; "
        "rename that file, or run from another folder"
    ) from error

__all__ = [
    "DataError",
    "DivergenceError",
    "ModelFileError",
    "NotFittedError",
    "SettingError",
    "ThreadCountError",
    "UserError",
]


class UserError(ValueError):
    """Something in the user's data, files or settings that has to be changed."""


class SettingError(UserError):
    """A setting out of its range."""


class DataError(UserError):
    """Training or test data that cannot be used as they are."""


class DivergenceError(SettingError):
    """A training whose settings make it learn less and less."""


class ModelFileError(UserError):
    """A file that is no model, or a model that this version cannot read."""


class NotFittedError(UserError, AttributeError):
    """A classifier that was asked to predict before it was trained."""
