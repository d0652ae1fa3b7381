"""The LSTM's kernels against torch and onnxruntime: `python -m benchmarks.lstm`.

Letters: T time steps, B batch rows, I inputs, H hidden units. All is float32, with the same weights, in one
process, with the same number of threads. A ratio is the other's time by ours: above 1 ours is faster.

In inference, the weights are frozen: ours are packed once, as onnxruntime's are when its session is made.
In training they are packed, and their gradients unpacked, in every step.

What the others leave is bounded: "at best" is torch's time by that of the matrix products alone at the peak,
the ratio of an LSTM that does nothing else.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lstm_scratch.lstm as plain
from benchmarks.timing import alternate, machine, threads_everywhere
from lstm_scratch.converters.onnx import to_onnx
from lstm_scratch.converters.torch import from_torch
from lstm_scratch.kernels import engine as kernels
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.params import Params, freeze, renamed
from simd.threads import thread_count

Results = dict[str, Any]  # arrays or tensors
Run = Callable[[], Results]
Row = dict[str, Any]

TOLERANCE = 2e-5  # of an array's largest entry, between two float32 results
PEAK_SIZE = 2048


class Cell(NamedTuple):
    """One thing to time: what, and how large."""

    op: str
    T: int
    B: int
    I: int
    H: int


QUICK = [(100, 1, 40, 64), (100, 16, 40, 64), (100, 32, 40, 128)]
VARIABLE = [
    *[(50, 16, 13, 32), (100, 16, 40, 64), (100, 16, 40, 100), (100, 32, 40, 64), (100, 32, 40, 128)],
    *[(100, 32, 128, 256), (100, 64, 40, 256), (500, 16, 40, 128), (500, 32, 40, 64), (50, 128, 128, 512)],
]
BOTH_WAYS = [
    *[(100, 1, 40, 64), (100, 1, 40, 128), (100, 16, 40, 64), (100, 16, 40, 100)],
    *[(100, 32, 40, 128), (100, 64, 40, 256), (500, 16, 40, 128), (50, 32, 128, 512)],
]
ALL = [
    *[(100, 1, 40, 64), (100, 1, 40, 128), (100, 16, 40, 64), (100, 32, 40, 64), (100, 32, 40, 128)],
    *[(100, 64, 40, 256), (100, 128, 128, 512), (500, 16, 40, 128)],
    *[(50, 1, 13, 32), (50, 1, 128, 512), (100, 1, 128, 256), (500, 1, 13, 100), (500, 1, 40, 128)],
    *[(50, 16, 13, 32), (50, 16, 128, 256), (100, 16, 40, 100), (100, 16, 40, 512), (500, 16, 13, 64)],
    *[(50, 32, 13, 32), (50, 32, 40, 100), (100, 32, 128, 256), (500, 32, 40, 64), (500, 32, 128, 128)],
    *[(50, 64, 13, 64), (50, 64, 40, 512), (100, 64, 13, 32), (100, 64, 128, 128), (500, 64, 40, 100)],
    *[(50, 128, 13, 32), (50, 128, 40, 256), (50, 128, 128, 512), (100, 128, 13, 128), (100, 128, 40, 64)],
    (500, 128, 40, 100),
]
SHAPES = {
    "inference": ALL,
    "training": ALL,
    "training_lengths": VARIABLE,
    "bidirectional_inference": BOTH_WAYS,
    "bidirectional_training": BOTH_WAYS,
}


def contestants(cell: Cell, threads: int) -> tuple[dict[str, Run], int]:
    """Set up all that computes a cell.

    Parameters
    ----------
    cell : Cell
        What to compute. `bidirectional` has two layers; with `lengths`, those of the rows are uniform in
        T/4 .. T.
    threads : int
        Of onnxruntime; the others take what `threads_everywhere` says.

    Returns
    -------
    runs : dict
        Of "ours", "numpy", one or more whose names begin with "torch", and "onnxruntime" in inference.
    operations : int
        Floating-point operations of the matrix products.
    """
    import torch

    op, T, B, I, H = cell
    both, training = op.startswith("bidirectional"), "training" in op
    rng = np.random.default_rng(0)
    x = rng.standard_normal((T, B, I), np.float32)
    dy = rng.standard_normal((T, B, 2 * H if both else H), np.float32)
    lengths = rng.integers(T // 4, T + 1, B) if "lengths" in op else None
    if lengths is not None:
        dy *= plain.valid_steps(lengths, T, B)
    torch.manual_seed(0)
    module = torch.nn.LSTM(I, H, num_layers=2 if both else 1, bidirectional=both)
    lstm, params = from_torch(module.state_dict())
    if not training:
        params = freeze(params)
    given = torch.tensor(x)
    runs: dict[str, Run] = {}
    if both:
        for who, name in (("ours", "numba"), ("numpy", "numpy")):
            runs[who] = _stack(replace(lstm, engine=name), params, x, dy if training else None)
    else:
        params_l0 = renamed(params, "_l0", lambda name: name.removesuffix("_l0"))
        for who, engine, options in (("ours", kernels, {"keep": training}), ("numpy", plain, {})):
            runs[who] = _layer(engine, params_l0, x, dy if training else None, lengths, options)
    if lengths is not None:
        runs["torch packed"] = _torch_training(module, given, torch.tensor(dy), torch.tensor(lengths), None)
        mask = torch.tensor(plain.valid_steps(lengths, T, B), dtype=torch.float32)
        runs["torch padded"] = _torch_training(module, given, torch.tensor(dy), None, mask)
    elif training:
        runs["torch"] = _torch_training(module, given, torch.tensor(dy), None, None)
    else:
        runs["torch"] = _torch_inference(module, given)
        runs["onnxruntime"] = _onnxruntime(lstm, params, x, threads)
    weights = sum(array.size for name, array in params.items() if name.startswith("weight"))
    steps = T * B if lengths is None else int(lengths.sum())
    return runs, (6 if training else 2) * steps * weights


def _layer(
    engine: Any,
    params: Params,
    x: np.ndarray,
    dy: np.ndarray | None,
    lengths: np.ndarray | None,
    options: dict[str, Any],
) -> Run:
    """Run the two functions of `lstm.py`, or of the kernels."""

    def run() -> Results:
        (y, h_n, c_n), cache = engine.lstm_forward(params, x, lengths=lengths, **options)
        if dy is None:
            return {"y": y, "h_n": h_n, "c_n": c_n}
        (dx, _, _), grads = engine.lstm_backward(params, cache, dy)
        return {"y": y, "dx": dx, **{f"{name}_l0": grad for name, grad in grads.items()}}

    return run


def _stack(lstm: LSTM, params: Params, x: np.ndarray, dy: np.ndarray | None) -> Run:
    def run() -> Results:
        (y, h_n, c_n), cache = lstm.forward(params, x, inference=dy is None)
        if dy is None:
            return {"y": y, "h_n": h_n, "c_n": c_n}
        (dx, _, _), grads = lstm.backward(params, cache, dy)
        return {"y": y, "dx": dx, **grads}

    return run


def _torch_inference(module: Any, x: Any) -> Run:
    import torch

    def run() -> Results:
        with torch.inference_mode():
            y, (h_n, c_n) = module(x)
        return {"y": y, "h_n": h_n, "c_n": c_n}

    return run


def _torch_training(module: Any, x: Any, dy: Any, lengths: Any, mask: Any) -> Run:
    """Run torch forward and backward: with lengths on packed sequences, with a mask on padded ones."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    x = x.requires_grad_()
    names, parameters = zip(*module.named_parameters(), strict=True)
    # Both of torch's biases have the same gradient; ours is one of them.
    ours = [name.replace("bias_ih", "bias") for name in names]

    def run() -> Results:
        if lengths is not None:
            packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
            y, _ = pad_packed_sequence(module(packed)[0], total_length=len(x))
        else:
            y, _ = module(x)
            y = y if mask is None else y * mask
        dx, *grads = torch.autograd.grad(y, [x, *parameters], dy)
        by_name = {name: grad for name, grad in zip(ours, grads, strict=True) if "bias_hh" not in name}
        return {"y": y.detach(), "dx": dx, **by_name}

    return run


def _onnxruntime(lstm: LSTM, params: Params, x: np.ndarray, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Its threads wait for work busily, but not while others have their turn.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(to_onnx(lstm, params).SerializeToString(), options)

    def run() -> Results:
        return dict(zip(("y", "h_n", "c_n"), session.run(None, {"x": x}), strict=True))

    return run


def check_equal(results: Mapping[str, Results]) -> None:
    """Refuse results that are not ours to float32 rounding.

    Parameters
    ----------
    results : mapping of str to results
        What each contestant returned, among them "ours".

    Raises
    ------
    AssertionError
        If an array differs by more than `TOLERANCE` of its largest entry.
    """
    for who, result in results.items():
        if result.keys() != results["ours"].keys():
            raise AssertionError(f"{who} has {sorted(result)}, ours {sorted(results['ours'])}")
        for name, array in result.items():
            theirs = np.asarray(array)
            ours = np.asarray(results["ours"][name]).reshape(theirs.shape)
            atol = TOLERANCE * np.abs(theirs).max()
            np.testing.assert_allclose(ours, theirs, 0, atol, equal_nan=False, err_msg=f"{name} of {who}")


def measure(cell: Cell, threads: int, peak: float, budget: float = 1.5) -> Row:
    """Check a cell's results, then time it.

    Parameters
    ----------
    cell : Cell
        What to time.
    threads : int
        How many each may use, in a block of `threads_everywhere`.
    peak : float
        GFLOP/s of `gemm_peak`.
    budget : float, default 1.5
        Seconds for it.

    Returns
    -------
    dict
        The row. What does not run the cell has None.
    """
    runs, operations = contestants(cell, threads)
    check_equal({name: run() for name, run in runs.items()})
    reference = {"numpy": runs.pop("numpy")}
    seconds = alternate(runs, budget, warm_up=0) | alternate(reference, budget / 10, rounds=1, warm_up=0)
    ours, onnxruntime = seconds["ours"], seconds.get("onnxruntime")
    torch = min(time for name, time in seconds.items() if name.startswith("torch"))
    gflops = operations / ours / 1e9
    return {
        **cell._asdict(),
        "threads": threads,
        "ours_ms": 1e3 * ours,
        "torch_ms": 1e3 * torch,
        "onnxruntime_ms": onnxruntime and 1e3 * onnxruntime,
        "numpy_ms": 1e3 * seconds["numpy"],
        "ratio_torch": torch / ours,
        "ratio_onnxruntime": onnxruntime and onnxruntime / ours,
        "gflops": gflops,
        "fraction_of_peak": gflops / peak,
        "ratio_torch_at_best": torch * peak * 1e9 / operations,
    }


def read_bandwidth(n_bytes: int) -> float:
    """Measure how fast numbers are read again and again, by a dot product: the fastest run.

    Parameters
    ----------
    n_bytes : int
        Of the array: where it has room decides whence it is read.

    Returns
    -------
    float
        GB/s.
    """
    a = np.ones(n_bytes // 4, np.float32)
    runs = {"dot": lambda: [a @ a for _ in range(max(1, 10**7 // n_bytes))]}
    seconds = min(min(alternate(runs, budget=0, rounds=1).values()) for _ in range(8))
    return n_bytes * max(1, 10**7 // n_bytes) / seconds / 1e9


def gemm_peak() -> float:
    """Measure a large matrix product, torch's or numpy's: the fastest run, as this is to be a bound.

    Returns
    -------
    float
        GFLOP/s.
    """
    import torch

    a = np.random.default_rng(0).standard_normal((PEAK_SIZE, PEAK_SIZE), np.float32)
    b = torch.tensor(a)
    products = {"numpy": lambda: a @ a, "torch": lambda: b @ b}
    seconds = [min(alternate(products, budget=0, rounds=1, warm_up=0).values()) for _ in range(8)]
    return 2 * PEAK_SIZE**3 / min(seconds) / 1e9


HEADER = (
    f"{'':24}{'T':>4}{'B':>5}{'I':>5}{'H':>5} |{'ours':>9}{'torch':>9}{'onnxrt':>9}{'numpy':>9} ms |"
    f"{'torch':>7}{'at best':>8}{'onnxrt':>7} x ours |{'GFLOP/s':>8} of peak"
)


def line_of(row: Row) -> str:
    """Format a row for the table.

    Parameters
    ----------
    row : dict
        As of `measure`.

    Returns
    -------
    str
        One line, under `HEADER`.
    """

    def number(name: str, width: int, digits: int) -> str:
        return f"{'':>{width}}" if row[name] is None else f"{row[name]:{width}.{digits}f}"

    times = "".join(number(f"{who}_ms", 9, 3) for who in ("ours", "torch", "onnxruntime", "numpy"))
    ratios = "".join(
        number(f"ratio_{who}", width, 2)
        for who, width in (("torch", 7), ("torch_at_best", 8), ("onnxruntime", 7))
    )
    return (
        f"{row['op']:24}{row['T']:4}{row['B']:5}{row['I']:5}{row['H']:5} |{times}    |{ratios}        |"
        f"{row['gflops']:8.1f}{row['fraction_of_peak']:8.0%}"
    )


def summary(rows: list[Row]) -> str:
    """Give each operation's geometric mean and smallest ratio.

    Parameters
    ----------
    rows : list of dict
        As of `measure`.

    Returns
    -------
    str
        One line per operation and contestant.
    """
    lines = []
    for op in dict.fromkeys(row["op"] for row in rows):
        for who in ("torch", "onnxruntime"):
            timed = [row for row in rows if row["op"] == op and row[f"ratio_{who}"]]
            if timed:
                ratios = [row[f"ratio_{who}"] for row in timed]
                least = timed[int(np.argmin(ratios))]
                lines.append(
                    f"{op:24} {who:12} geometric mean {_mean(ratios):5.2f}, smallest "
                    f"{min(ratios):5.2f} at T={least['T']} B={least['B']} I={least['I']} H={least['H']}"
                )
                if who == "torch":
                    lines[-1] += f"; at best {_mean([row['ratio_torch_at_best'] for row in timed]):5.2f}"
    return "\n".join(lines)


def _mean(ratios: list[float]) -> float:
    return float(np.exp(np.mean(np.log(ratios))))


def plot(path: str, rows: list[Row], peak: float, title: str) -> None:
    """Draw each operation's ratios by shape, and the roofline of inference.

    In every step, the weights are read once, and two operations done with each number for every row: so
    there are B / 2 operations per byte. What a cache or the memory can deliver bounds a batch of few rows,
    the peak one of many.

    Parameters
    ----------
    path : str
        The picture's file.
    rows : list of dict
        As of `measure`.
    peak : float
        GFLOP/s of `gemm_peak`.
    title : str
        What it says on top.
    """
    from matplotlib.figure import Figure

    ops = list(dict.fromkeys(row["op"] for row in rows))
    figure = Figure(figsize=(9.0, 3.2 * len(ops) + 4.5), layout="constrained")
    *each, roofline = figure.subplots(len(ops) + 1, height_ratios=[3.2] * len(ops) + [4.5])
    intensity = np.array([0.4, 100.0])
    for n_bytes, name in ((2**14, "16 kB"), (2**18, "256 kB"), (2**28, "256 MB")):
        roof = np.minimum(peak, read_bandwidth(n_bytes) * intensity)
        bend = peak * intensity[0] / roof[0]
        roofline.loglog(
            [intensity[0], bend, intensity[1]], [roof[0], peak, peak], label=f"bound: {name} of numbers"
        )
    for H in sorted({row["H"] for row in rows}):
        of_H = [row for row in rows if row["op"] == "inference" and row["H"] == H]
        roofline.loglog([row["B"] / 2 for row in of_H], [row["gflops"] for row in of_H], "o", label=f"H={H}")
    roofline.set(title="roofline of inference", xlabel="operations per byte of weights", ylabel="GFLOP/s")
    roofline.grid(alpha=0.3)
    roofline.legend()
    for axes, op in zip(each, ops, strict=True):
        of_op = sorted((row for row in rows if row["op"] == op), key=lambda row: (row["B"], row["H"]))
        for who, marker in (("torch", "o"), ("onnxruntime", "s")):
            ratios = [row[f"ratio_{who}"] or np.nan for row in of_op]
            if not np.isnan(ratios).all():
                axes.semilogy(ratios, marker, label=f"{who} / ours")
        axes.axhline(1, color="black", linewidth=1)
        names = [f"{row['B']}, {row['H']}, {row['I']}, {row['T']}" for row in of_op]
        axes.set_xticks(range(len(of_op)), names, rotation=90, fontsize=7)
        axes.set_yticks([1, 2, 3, 5, 10], ["1", "2", "3", "5", "10"])
        axes.set_yticks([], minor=True)
        axes.set(title=op, xlabel="B, H, I, T", ylabel="times as long as ours")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> None:
    """Run the command.

    Parameters
    ----------
    arguments : list of str, optional
        By default the process's.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lstm", description="time the LSTM's kernels")
    parser.add_argument("--quick", action="store_true", help="a few cells, in under a minute")
    parser.add_argument("--threads", type=int, default=thread_count(), help="of each (default: all CPUs)")
    parser.add_argument("--json", metavar="FILE", help="write the rows")
    parser.add_argument("--plot", metavar="FILE", help="draw the ratios by shape")
    given = parser.parse_args(arguments)
    on = machine("numpy", "numba", "torch", "onnxruntime")
    print(on)
    threads = f"{given.threads} thread{'s' * (given.threads > 1)}"
    with threads_everywhere(given.threads):
        peak = gemm_peak()
        print(f"{threads}, peak {peak:.0f} GFLOP/s (matrix product)\n\n{HEADER}", flush=True)
        rows = []
        for op, shapes in SHAPES.items():
            for shape in QUICK if given.quick else shapes:
                rows.append(measure(Cell(op, *shape), given.threads, peak))
                print(line_of(rows[-1]), flush=True)
        peak_after = gemm_peak()
    print(f"\n{summary(rows)}\npeak at the end {peak_after:.0f} GFLOP/s: another, if the machine was busy")
    if given.json:
        report = {"machine": on, "peaks_gflops": [peak, peak_after], "rows": rows}
        Path(given.json).write_text(json.dumps(report, indent=1) + "\n")
    if given.plot:
        with threads_everywhere(given.threads):
            plot(given.plot, rows, peak, f"{threads}, {on.partition(';')[0]}")


if __name__ == "__main__":
    main()
