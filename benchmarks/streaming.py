"""One step of one sequence, state in and out, from Python: `python -m benchmarks.streaming`.

Letters: I inputs, H hidden units, L layers. All is float32 with the same weights, on one thread, and each
hands its state on from step to step. A ratio is the other's time by ours: above 1 ours is faster.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import alternate, machine, threads_everywhere
from lstm_scratch.converters.onnx import to_onnx
from lstm_scratch.converters.torch import from_torch
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.params import Params
from lstm_scratch.stepping import Stepper

Row = dict[str, Any]

SHAPES = [(13, 32, 1), (40, 64, 1), (40, 64, 2), (39, 100, 1), (40, 128, 1), (128, 256, 1)]  # I, H, L
STEPS = 100  # of a run
TOLERANCE = 2e-5  # of the largest output, between two float32 results


def contestants(I: int, H: int, L: int) -> dict[str, Callable[[], np.ndarray]]:
    """Set up all that does the steps.

    Parameters
    ----------
    I, H, L : int
        Sizes.

    Returns
    -------
    dict
        Of "ours", "torch" (`torch.nn.LSTM`), "cell" (`torch.nn.LSTMCell`, one layer only) and
        "onnxruntime". Each goes through `STEPS` steps, and returns the last outputs (H,).
    """
    import torch

    torch.manual_seed(0)
    module = torch.nn.LSTM(I, H, L)
    lstm, params = from_torch(module.state_dict())
    x = np.random.default_rng(0).standard_normal((STEPS, I), np.float32)
    runs = {
        "ours": _ours(lstm, params, x),
        "torch": _torch(module, x),
        "onnxruntime": _onnxruntime(lstm, params, x),
    }
    if L == 1:
        cell = torch.nn.LSTMCell(I, H)
        cell.load_state_dict({name.removesuffix("_l0"): a for name, a in module.state_dict().items()})
        runs["cell"] = _cell(cell, x)
    return runs


def _ours(lstm: LSTM, params: Params, x: np.ndarray) -> Callable[[], np.ndarray]:
    step = Stepper(lstm, params)

    def run() -> np.ndarray:
        state = None
        for of_step in x:
            y, state = step(of_step, state)
        return y

    return run


def _torch(module: Any, x: np.ndarray) -> Callable[[], np.ndarray]:
    import torch

    steps = list(torch.tensor(x)[:, None])

    def run() -> np.ndarray:
        state = None
        with torch.inference_mode():
            for of_step in steps:
                y, state = module(of_step, state)
        return np.asarray(y[0])

    return run


def _cell(cell: Any, x: np.ndarray) -> Callable[[], np.ndarray]:
    import torch

    steps = list(torch.tensor(x))

    def run() -> np.ndarray:
        state: Any = None
        with torch.inference_mode():
            for of_step in steps:
                state = cell(of_step, state)
        return np.asarray(state[0])

    return run


def _onnxruntime(lstm: LSTM, params: Params, x: np.ndarray) -> Callable[[], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = to_onnx(lstm, params, states=True).SerializeToString()
    session = onnxruntime.InferenceSession(model, options)
    zero = np.zeros((lstm.num_layers, 1, lstm.hidden_size), np.float32)
    steps = list(x[:, None, None])

    def run() -> np.ndarray:
        h = c = zero
        for of_step in steps:
            y, h, c = session.run(None, {"x": of_step, "initial_h": h, "initial_c": c})
        return np.asarray(y[0, 0])

    return run


def measure(I: int, H: int, L: int, budget: float) -> Row:
    """Check the results, then time them.

    Parameters
    ----------
    I, H, L : int
        Sizes.
    budget : float
        Seconds for it.

    Returns
    -------
    dict
        The row: milliseconds of a step, and ratios. What does not run has None.

    Raises
    ------
    AssertionError
        If an output differs from ours by more than `TOLERANCE` of its largest entry.
    """
    runs = contestants(I, H, L)
    results = {name: run() for name, run in runs.items()}
    for name, y in results.items():
        atol = TOLERANCE * np.abs(y).max()
        np.testing.assert_allclose(results["ours"], y, 0, atol, equal_nan=False, err_msg=name)
    seconds = alternate(runs, budget, warm_up=0)
    ms = {name: 1e3 * time / STEPS for name, time in seconds.items()}
    row: Row = {"op": "step", "I": I, "H": H, "L": L, "threads": 1}
    names = ("ours", "torch", "cell", "onnxruntime")
    row |= {f"{name}_ms": ms.get(name) for name in names}
    return row | {f"ratio_{name}": ms[name] / ms["ours"] if name in ms else None for name in names[1:]}


def line_of(row: Row) -> str:
    """Format a row for the table.

    Parameters
    ----------
    row : dict
        As of `measure`.

    Returns
    -------
    str
        One line.
    """

    def number(name: str, scale: float) -> str:
        return f"{'':>12}" if row[name] is None else f"{scale * row[name]:12.1f}"

    times = "".join(number(f"{name}_ms", 1e3) for name in ("ours", "torch", "cell", "onnxruntime"))
    ratios = "".join(number(f"ratio_{name}", 1) for name in ("torch", "cell", "onnxruntime"))
    return f"{row['I']:5}{row['H']:5}{row['L']:3} |{times} |{ratios}"


def main(arguments: list[str] | None = None) -> None:
    """Run the command.

    Parameters
    ----------
    arguments : list of str, optional
        By default the process's.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description="time single steps")
    parser.add_argument("--quick", action="store_true", help="in some seconds")
    parser.add_argument("--json", metavar="FILE", help="write the rows")
    given = parser.parse_args(arguments)
    on = machine("numpy", "numba", "torch", "onnxruntime")
    print(f"{on}\none step of one sequence, 1 thread; microseconds, and how many times ours\n")
    names = "".join(f"{name:>12}" for name in ("ours", "nn.LSTM", "LSTMCell", "onnxruntime"))
    print(f"{'I':>5}{'H':>5}{'L':>3} |{names} |{names[12:]}", flush=True)
    rows = []
    with threads_everywhere(1):
        for I, H, L in SHAPES:
            rows.append(measure(I, H, L, 0.5 if given.quick else 3.0))
            print(line_of(rows[-1]), flush=True)
    if given.json:
        Path(given.json).write_text(json.dumps({"machine": on, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
