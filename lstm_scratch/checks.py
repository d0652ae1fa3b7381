"""One way to refuse a number that is out of its range."""

import math
from numbers import Integral, Real
from typing import Any

from lstm_scratch.errors import SettingError


def check_number(
    name: str, value: Any, *, whole: bool = False, above: float = -math.inf, below: float = math.inf
) -> None:
    """Make sure that a setting is a finite number between two bounds, which it may not reach.

    Parameters
    ----------
    name : str
        What the message calls it.
    value : object
        The setting.
    whole : bool, default False
        It has to be an integer.
    above, below : float, optional
        The bounds.

    Raises
    ------
    SettingError
        If it is something else.
    """
    if isinstance(value, Integral if whole else Real) and above < float(value) < below:
        return
    kind = "whole number" if whole else "number"
    bounds = [f"above {above:g}"] if above > -math.inf else []
    bounds += [f"below {below:g}"] if below < math.inf else []
    raise SettingError(f"{name} is a {kind} {' and '.join(bounds)}, not {value!r}")


def check_probability(name: str, value: Any) -> None:
    """Make sure that a setting lies in [0, 1).

    Parameters
    ----------
    name : str
        What the message calls it.
    value : object
        The setting.

    Raises
    ------
    SettingError
        If it does not.
    """
    if not (isinstance(value, Real) and 0 <= float(value) < 1):
        raise SettingError(f"{name} is a number in [0, 1), not {value!r}")
