"""What `lstm-scratch gradcheck` does: get what is to be checked, check it, make a table of it."""

import runpy
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lstm_scratch.checks import check_number
from lstm_scratch.errors import SettingError, ThreadCountError, UserError
from lstm_scratch.layers.stack import LSTM
from reference.cases import draw_case
from reference.gradcheck import LABELS, MAX_ENTRIES, Loss, Method, allowed, check_gradients


def gradcheck_lstm(
    lstm: LSTM, T: int, B: int, lengths: Sequence[int] | None = None, seed: int = 0, **settings: Any
) -> dict[str, Any]:
    """Check every gradient of our LSTM on random numbers, in training, with fixed masks.

    Parameters
    ----------
    lstm : LSTM
        Sizes and options.
    T, B : int
        Time steps and batch rows.
    lengths : sequence of int, optional
        Valid steps of each row, in place of B rows of T steps.
    seed : int, default 0
        Of everything that is drawn.
    **settings
        As of `gradcheck`.

    Returns
    -------
    dict
        As of `gradcheck`.

    Raises
    ------
    SettingError
        If a length is not in 0 .. T, or the seed below 0.
    """
    check_number("seed", seed, whole=True, at_least=0)
    for length in lengths or ():
        if not 0 <= length <= T:
            raise SettingError(f"a length lies between 0 and the number of steps, {T}, not {length}")
    case = draw_case(lstm, T, len(lengths) if lengths else B, lengths, seed, mask_seed=seed)
    return gradcheck(str(lstm), case.loss, case.arrays, case.gradients(), seed=seed, **settings)


def gradcheck_file(target: str, **settings: Any) -> dict[str, Any]:
    """Check what a function of the user's returns.

    Parameters
    ----------
    target : str
        ``FILE.py:NAME``, a function without arguments that returns ``(loss, arrays, grads)``.
    **settings
        As of `gradcheck`.

    Returns
    -------
    dict
        As of `gradcheck`.

    Raises
    ------
    UserError
        If there is no such function, it returns something else, or anything in the file fails.
    """
    file, _, name = target.rpartition(":")
    if not file or not name:
        raise UserError(f"{target}: name a file and a function in it, such as layer.py:check")
    Path(file).open().close()  # whatever is wrong here is told as for every other file
    sys.path.insert(0, str(Path(file).resolve().parent))  # its neighbours can be imported, as in a script
    try:
        function = runpy.run_path(file).get(name)
        if not callable(function):
            raise UserError(f"there is no function {name}")
        match function():
            case (loss, Mapping() as arrays, Mapping() as grads) if callable(loss):
                return gradcheck(target, loss, arrays, grads, **settings)
        raise UserError("has to return (loss, arrays, grads): a function and two dicts of arrays")
    except (UserError, ThreadCountError) as error:
        raise UserError(f"{target}: {error}") from error
    except (Exception, SystemExit) as error:  # theirs: the message names the line
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f"line {frame.lineno}: " for frame in frames if frame.filename == file]
        message = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{target}: {lines[-1] if lines else ''}{message}") from error


def gradcheck(
    name: str,
    loss: Loss,
    arrays: Mapping[str, np.ndarray],
    grads: Mapping[str, np.ndarray],
    *,
    method: Method = "central",
    tolerance: float | None = None,
    directions: int | None = None,
    max_entries: int = MAX_ENTRIES,
    seed: int = 0,
) -> dict[str, Any]:
    """Check gradients, and sum up in a form that JSON can hold.

    Parameters
    ----------
    name : str
        Of what is checked.
    loss : callable
        As of `check_gradients`, like all that follows.
    arrays, grads : mapping of str to ndarray
        What was differentiated by, and the gradients.
    method : {"central", "complex"}, default "central"
        How to differentiate.
    tolerance : float, optional
        Largest relative error allowed. By default as of `assert_gradients`.
    directions : int, optional
        Compare that many random directions of every tensor.
    max_entries : int, default 500
        A larger tensor is compared along random directions.
    seed : int, default 0
        Of the directions.

    Returns
    -------
    dict
        ``tensors``, one `Comparison` each, with ``right`` and with None for what is not finite;
        ``wrong``, the names of those that are; and what was checked, and how.
    """
    limit = allowed(method, tolerance)
    tensors = []
    for comparison in check_gradients(
        loss, arrays, grads, method=method, directions=directions, max_entries=max_entries, seed=seed
    ):
        keys = ("error", "gradient", "numerical", "uncertainty")
        numbers = {key: getattr(comparison, key) for key in keys}
        finite = {key: number if np.isfinite(number) else None for key, number in numbers.items()}
        tensors.append(asdict(comparison) | finite | {"right": comparison.error <= limit})
    wrong = [tensor["name"] for tensor in tensors if not tensor["right"]]
    return {"checked": name, "method": method, "tolerance": limit, "tensors": tensors, "wrong": wrong}


def table(result: Mapping[str, Any]) -> str:
    """Lay out the result for people.

    Parameters
    ----------
    result : dict
        What `gradcheck` returned.

    Returns
    -------
    str
        A line for every tensor, and one that sums up.
    """
    label, unclear = LABELS[result["method"]], []
    rows = [("tensor", "shape", "worst at", "gradient", label, "relative error", "")]
    for t in result["tensors"]:
        where = f"{t['compared']} directions" if t["index"] is None else str(list(t["index"]))
        numbers = [
            "not finite" if t[key] is None else format(t[key], spec)
            for key, spec in (("gradient", ".9g"), ("numerical", ".9g"), ("error", ".1e"))
        ]
        shape = "x".join(map(str, t["shape"]))
        verdict = "ok" if t["right"] else "WRONG"
        # None is infinite
        if t["uncertainty"] is None or t["uncertainty"] > result["tolerance"]:
            verdict += f", {label} known to {t['uncertainty'] or np.inf:.1e}"
            unclear.append(t["name"])
        rows.append((t["name"], shape, where, *numbers, verdict))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    compared = sum(t["compared"] for t in result["tensors"])
    sum_up = f"{compared} derivatives of {len(result['tensors'])} tensors by {label}s"
    if result["wrong"]:
        verdict = f"WRONG by more than {result['tolerance']:g}: {', '.join(result['wrong'])}"
    else:
        verdict = f"all right to {result['tolerance']:g}"
        verdict += f", or as far as rounding lets one know: {', '.join(unclear)}" if unclear else ""
    return "\n".join([*lines, f"{sum_up}: {verdict}"])
