"""One way to refuse a number that is out of its range."""

import math
from numbers import Integral, Real
from typing import Any

from lstm_scratch.errors import SettingError


def check_number(
    name: str, value: Any, *, whole: bool = False, above: float = -math.inf, at_least: float = -math.inf
) -> None:
    """Make sure that a setting is a finite number and not too small.

    Parameters
    ----------
    name : str
        What the message calls it.
    value : object
        The setting.
    whole : bool, default False
        It has to be an integer.
    above : float, optional
        A bound that it may not reach.
    at_least : float, optional
        A bound that it may reach.

    Raises
    ------
    SettingError
        If it is something else.
    """
    if (
        isinstance(value, Integral if whole else Real)
        and above < float(value) < math.inf
        and float(value) >= at_least
    ):
        return
    kind = "whole number" if whole else "number"
    bound = f"from {at_least:g} on" if at_least > -math.inf else "that is finite"
    bound = f"above {above:g}" if above > -math.inf else bound
    raise SettingError(f"{name} is a {kind} {bound}, not {value!r}")


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
