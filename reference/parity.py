"""Parity with torch: LSTMs of every kind that `torch.nn.LSTM` has, drawn at random; how far ours are off."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lstm_scratch.layers.stack import LSTM
from reference.cases import Case, draw_case
from reference.golden_vectors import worst_error
from reference.torch_lstm import torch_lstm

# How far we may be off, relative to the largest entry of a tensor. In float32 we are held against torch in
# float64 on the same numbers. One rounding is 6e-8 there, and where a tensor is a sum that happens to cancel,
# all of it is rounding (torch's own float32 is off as far): so none counts as smaller than a hundredth of
# the largest.
VALUES = {"float64": 1e-12, "float32": 2e-5}
GRADIENTS = {"float64": 1e-11, "float32": 1e-4}
FLOOR = {"float64": 0.0, "float32": 0.01}

Pick = Callable[[str, Sequence[Any]], Any]


def draw_torch_case(pick: Pick, dtype: str) -> Case:
    """Draw a case that torch can compute too.

    Parameters
    ----------
    pick : callable
        ``pick(name, options)`` chooses one of the options; what comes first is the simplest.
    dtype : {"float32", "float64"}
        Of its arrays.

    Returns
    -------
    Case
        Layers, directions, projection, layout, lengths, states and upstream gradients all vary.
    """
    hidden_size = pick("hidden_size", range(1, 9))
    direction = pick("direction", ("forward", "reverse", "bidirectional"))
    lstm = LSTM(
        pick("input_size", range(1, 8)),
        hidden_size,
        num_layers=pick("num_layers", (1, 2, 3)),
        bidirectional=direction == "bidirectional",
        reverse=direction == "reverse",
        proj_size=pick("proj_size", range(hidden_size)),
        batch_first=pick("batch_first", (False, True)),
    )
    T = pick("T", range(1, 13))
    B = pick("B", (1, 2, 3, 4, 5, None))
    lengths = None
    if B is not None and pick("with lengths", (False, True)):
        lengths = [pick("length", range(T + 1)) for _ in range(B)]
        lengths[0] = lengths[0] if any(lengths) else T  # torch packs no batch without steps
    case = draw_case(lstm, T, B, lengths, seed=pick("seed", range(1000)), dtype=np.dtype(dtype))
    for arrays, names in ((case.arrays, ("h0", "c0")), (case.upstream, ("dy", "dh_n", "dc_n"))):
        for name in names:
            if pick(f"{name} is zero", (False, False, True)):
                arrays[name][:] = 0
    return case


def errors(case: Case, engine: str) -> tuple[float, float]:
    """Compute a case by one of our engines and by torch in float64.

    Parameters
    ----------
    case : Case
        A plain LSTM, with a projection or without.
    engine : str
        One of `lstm_scratch.engines.ENGINES`.

    Returns
    -------
    values, gradients : float
        How far ours are off, as of `worst_error`.
    """
    ours = case.on(engine)
    exact = dataclasses.replace(
        case,
        arrays={name: array.astype(np.float64) for name, array in case.arrays.items()},
        upstream={name: array.astype(np.float64) for name, array in case.upstream.items()},
    )
    floor = FLOOR[case.arrays["x"].dtype.name]
    values, grads = torch_lstm(exact)
    return worst_error(ours.values(), values, floor), worst_error(ours.gradients(), grads, floor)
