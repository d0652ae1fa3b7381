"""One step of one sequence, state in and out, from Python; and a whole model, per 10 ms of sound.

`python -m benchmarks.streaming`. Letters: I inputs, H hidden units, L layers. All is float32 with the same
weights, on one thread, and each hands its state on from step to step. A ratio is the other's time by ours:
above 1 ours is faster.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import alternate, machine, threads_everywhere
from lstm_scratch.audio import AudioClassifier
from lstm_scratch.converters.onnx import to_onnx
from lstm_scratch.converters.torch import from_torch
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.params import Params
from lstm_scratch.sound import preset
from lstm_scratch.stepping import Stepper
from lstm_scratch.stream import Stream

Row = dict[str, Any]

SHAPES = [(13, 32, 1), (40, 64, 1), (40, 64, 2), (39, 100, 1), (40, 128, 1), (128, 256, 1)]  # I, H, L
MODELS = [32, 64, 100]  # H
RATE, FRAME, HOP = 16_000, 400, 160  # of a model's sound: Hz, samples, samples
N_CLASSES = 10
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


def model_contestants(H: int) -> dict[str, Callable[[], np.ndarray]]:
    """Set up all that listens: MFCC, LSTM, pooling, linear layer, softmax, after each hop.

    Parameters
    ----------
    H : int
        Hidden units.

    Returns
    -------
    dict
        "ours" (`Stream`), and "others": kaldi-native-fbank's OnlineMfcc and torch's LSTMCell and Linear, with
        the same weights. Each goes through `STEPS` hops, and returns the last probabilities (K,).
    """
    features = preset("kaldi", n_mels=40)
    rng = np.random.default_rng(0)
    clips = rng.normal(0, 0.1, (2 * N_CLASSES, RATE // 4)).astype(np.float32)
    labels = [str(n % N_CLASSES) for n in range(len(clips))]
    classifier = AudioClassifier(
        features=features,
        sample_rate=RATE,
        hidden_size=H,
        bidirectional=False,
        pooling="mean",
        epochs=1,
        random_state=0,
    ).fit(list(clips), labels)
    warm_up, hops = np.split(rng.normal(0, 0.1, FRAME - HOP + STEPS * HOP).astype(np.float32), [FRAME - HOP])
    chunks = np.split(hops, STEPS)
    stream = Stream(classifier)

    def ours() -> np.ndarray:
        stream.reset()
        stream.push(warm_up)
        for chunk in chunks:
            (probabilities,) = stream.push(chunk)
        return np.asarray(probabilities)

    return {"ours": ours, "others": _others(classifier, warm_up, chunks)}


def _others(
    classifier: AudioClassifier, warm_up: np.ndarray, chunks: list[np.ndarray]
) -> Callable[[], np.ndarray]:
    import kaldi_native_fbank as knf
    import torch

    params, H = classifier.params_, classifier.hidden_size
    options = knf.MfccOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = 40
    cell, linear = torch.nn.LSTMCell(13, H), torch.nn.Linear(H, N_CLASSES)
    with torch.no_grad():
        cell.weight_ih.copy_(torch.tensor(params["lstm.weight_ih_l0"]))
        cell.weight_hh.copy_(torch.tensor(params["lstm.weight_hh_l0"]))
        cell.bias_ih.copy_(torch.tensor(params["lstm.bias_l0"]))
        cell.bias_hh.zero_()
        linear.weight.copy_(torch.tensor(params["linear.weight"]))
        linear.bias.copy_(torch.tensor(params["linear.bias"]))
    mean, scale = torch.tensor(classifier.mean_), torch.tensor(classifier.scale_)
    scaled = [32768 * chunk for chunk in (warm_up, *chunks)]

    def run() -> np.ndarray:
        mfcc = knf.OnlineMfcc(options)
        mfcc.accept_waveform(RATE, scaled[0])
        state, total = None, torch.zeros(1, H)
        with torch.inference_mode():
            for n, chunk in enumerate(scaled[1:]):
                mfcc.accept_waveform(RATE, chunk)
                frame = (torch.from_numpy(mfcc.get_frame(n)) - mean) / scale
                state = cell(frame[None], state)
                total += state[0]
                probabilities = torch.softmax(linear(total / (n + 1)), 1)
        return np.asarray(probabilities[0])

    return run


def measure_model(H: int, budget: float) -> Row:
    """Check that a whole model says the same, then time a hop of 10 ms.

    Parameters
    ----------
    H : int
        Hidden units.
    budget : float
        Seconds for it.

    Returns
    -------
    dict
        The row: milliseconds of a hop, and the ratio.

    Raises
    ------
    AssertionError
        If the probabilities differ by more than 1e-4.
    """
    runs = model_contestants(H)
    results = {name: run() for name, run in runs.items()}
    np.testing.assert_allclose(results["ours"], results["others"], 0, 1e-4, equal_nan=False)
    ms = {name: 1e3 * time / STEPS for name, time in alternate(runs, budget, warm_up=0).items()}
    row: Row = {"op": "model", "I": 13, "H": H, "L": 1, "threads": 1}
    return row | {"ours_ms": ms["ours"], "others_ms": ms["others"], "ratio_others": ms["others"] / ms["ours"]}


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
    on = machine("numpy", "numba", "torch", "onnxruntime", "kaldi_native_fbank")
    print(f"{on}\none step of one sequence, 1 thread; microseconds, and how many times ours\n")
    names = "".join(f"{name:>12}" for name in ("ours", "nn.LSTM", "LSTMCell", "onnxruntime"))
    print(f"{'I':>5}{'H':>5}{'L':>3} |{names} |{names[12:]}", flush=True)
    rows = []
    with threads_everywhere(1):
        for I, H, L in SHAPES:
            rows.append(measure(I, H, L, 0.5 if given.quick else 3.0))
            print(line_of(rows[-1]), flush=True)
        print(
            "\na whole model, per 10 ms of sound at 16 kHz: 13 MFCC of 40 bands, LSTM, mean, linear, softmax;"
        )
        print("others: kaldi-native-fbank, and torch's LSTMCell and Linear; microseconds\n")
        print(f"{'H':>5} |{'ours':>12}{'others':>12} |{'others':>12}", flush=True)
        for H in MODELS:
            rows.append(row := measure_model(H, 0.5 if given.quick else 3.0))
            times = f"{1e3 * row['ours_ms']:12.1f}{1e3 * row['others_ms']:12.1f}"
            print(f"{H:5} |{times} |{row['ratio_others']:12.1f}", flush=True)
    if given.json:
        Path(given.json).write_text(json.dumps({"machine": on, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
