"""Checkpoints: a training that stands still, in arrays and plain values, and back.

A checkpoint is a model file, of what would be kept if the training ended there, with all that the training
needs to go on beside it. Whoever loads the model passes that over.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from lstm_scratch.optim import AdamW
from lstm_scratch.params import Params, prefixed, under
from lstm_scratch.training import Epoch, TrainingState

PREFIX = "training"  # of the arrays and the values that only the training needs
_PARTS = ("params", "average", "best", "mean", "square")
_NUMBERS = ("best_epoch", "epoch", "batch", "loss_sum", "correct", "rows")


def state_arrays(state: TrainingState) -> Params:
    """List the arrays of a training.

    Parameters
    ----------
    state : TrainingState
        Between two updates.

    Returns
    -------
    dict
        ``training.params.*``, ``training.mean.*`` and so on: the very arrays, not copies.
    """
    parts = (state.params, state.average, state.best, state.optimiser.mean, state.optimiser.square)
    arrays: Params = {}
    for name, part in zip(_PARTS, parts, strict=True):
        arrays |= prefixed(f"{PREFIX}.{name}", part)
    return arrays


def state_values(state: TrainingState) -> dict[str, Any]:
    """List the numbers of a training.

    Parameters
    ----------
    state : TrainingState
        Between two updates, of which the last was not loud.

    Returns
    -------
    dict
        What JSON can hold.
    """
    return {
        **{name: getattr(state, name) for name in _NUMBERS},
        "best_loss": state.best_loss if math.isfinite(state.best_loss) else None,
        "updates": state.optimiser.steps,
        "history": [dataclasses.asdict(epoch) for epoch in state.history],
    }


def restore_state(arrays: Params, values: dict[str, Any], start: TrainingState) -> TrainingState:
    """Put a training together again.

    Parameters
    ----------
    arrays : dict
        What `state_arrays` gave, among others.
    values : dict
        What `state_values` gave, among others.
    start : TrainingState
        The same training before its first update, as `training.first_state` makes it.

    Returns
    -------
    TrainingState
        A training from it goes on as the other one did.

    Raises
    ------
    KeyError
        If an array or a number is missing.
    ValueError
        If an array is of another shape or dtype than the parameter it belongs to, or numbers do not fit each
        other.
    TypeError
        If the values are of other kinds than `state_values` gave.
    """
    _check_values(values, start)
    updated = values["updates"] > 0
    there = True, bool(start.average), values["best_epoch"] > 0, updated, updated
    params, average, best, mean, square = (
        _part(arrays, f"{PREFIX}.{part}", start.params) if is_there else {}
        for part, is_there in zip(_PARTS, there, strict=True)
    )
    optimiser = AdamW(weight_decay=start.optimiser.weight_decay)
    optimiser.steps, optimiser.mean, optimiser.square = values["updates"], mean, square
    best_loss = math.inf if values["best_loss"] is None else values["best_loss"]
    history = [Epoch(**epoch) for epoch in values["history"]]
    numbers = {name: values[name] for name in _NUMBERS}
    return TrainingState(params, optimiser, average, best, best_loss=best_loss, history=history, **numbers)


def _check_values(values: dict[str, Any], start: TrainingState) -> None:
    """Refuse what `state_values` cannot have given."""
    for name, first in {"updates": 0, **{name: getattr(start, name) for name in _NUMBERS}}.items():
        if type(values[name]) is not type(first):
            raise TypeError(f"{name} is {values[name]!r}")
        if not values[name] >= first:
            raise ValueError(f"{name} is {values[name]!r}")
    loss, history = values["best_loss"], values["history"]
    if not (loss is None or (type(loss) is float and math.isfinite(loss))):
        raise TypeError(f"best_loss is {loss!r}")
    if type(history) is not list:
        raise TypeError(f"history is {history!r}")
    epoch, batch = values["epoch"], values["batch"]
    for name, fits in {
        "history": len(history) == epoch - 1,
        "best_epoch": values["best_epoch"] < epoch,
        "updates": values["updates"] >= epoch - 1 + batch,
        "rows": (values["rows"] > 0) == (batch > 0),
    }.items():
        if not fits:
            raise ValueError(f"{name} does not fit epoch {epoch}, batch {batch}")


def _part(arrays: Params, prefix: str, params: Params) -> Params:
    """Copy the arrays of one part, one for each parameter and like it."""
    part = under(prefix, arrays)
    for name, param in params.items():
        if name not in part:
            raise KeyError(f"{prefix}.{name}")
        found = part[name]
        if (found.shape, found.dtype) != (param.shape, param.dtype):
            raise ValueError(
                f"{prefix}.{name} is {found.dtype} of shape {found.shape}, not {param.dtype} of {param.shape}"
            )
    return {name: part[name].copy() for name in params}


def of_model(arrays: Params) -> Params:
    """Leave out what only the training needs.

    Parameters
    ----------
    arrays : dict
        Of a checkpoint, or of a model.

    Returns
    -------
    dict
        Those of the model.
    """
    return {name: np.asarray(array) for name, array in arrays.items() if not name.startswith(PREFIX + ".")}
