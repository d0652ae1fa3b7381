"""How much memory the LSTM needs, in training and over hours of sound: `python -m benchmarks.memory`.

Letters: T time steps, B batch rows, I inputs, H hidden units. All is float32. It reads what Linux says of a
process, and needs Linux.

Training: a step is a forward pass and every gradient, x's too. Each contestant is alone in a fresh process,
which does a tiny step first, so that imports, compiling and starting threads do not count. What counts is the
most memory that is resident at any moment during some steps, above what was resident before x was made. Both
have to hold x, y, dy, dx and the parameters' gradients; that is the last column.

Features: a recording of hours is read, and its MFCC computed, block by block.

Inference: features of one long sequence come in blocks, and the state goes from block to block. What is
resident should not grow, and the outputs have to be the same bits as of one pass.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.timing import machine
from features import preset, stream_file
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.params import Params, freeze

Row = dict[str, Any]

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
MB = 1e6
SHAPES = [(500, 128, 40, 100), (100, 128, 128, 512), (500, 64, 40, 256)]  # T, B, I, H
QUICK = [(100, 64, 40, 100)]
WARM_UP = (3, 8)  # T, B of the tiny step
STEPS = 3
INPUTS, HIDDEN = 40, 128  # of inference
FRAMES_PER_SECOND = 100
RATE = 16_000  # of a recording, in Hz
HOURS, QUICK_HOURS = 10, 1
BLOCK = 1000  # frames
AT_ONCE = 10  # blocks that are also computed in one pass
SHARES = (0.01, 0.1, 0.5, 1.0)


def resident(field: str = "VmRSS") -> int:
    """Ask how much of this process is in memory.

    Parameters
    ----------
    field : {"VmRSS", "VmHWM"}
        Now, or the most since `peak_of` began.

    Returns
    -------
    int
        Bytes.
    """
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def peak_of(work: Callable[[], object]) -> int:
    """Do some work, and watch the memory.

    Parameters
    ----------
    work : callable
        What to do.

    Returns
    -------
    int
        Bytes that were resident at most, above those before.
    """
    before = resident()
    CLEAR.write_text("5")  # forget the most so far
    work()
    return resident("VmHWM") - before


def our_step(I: int, H: int) -> Callable[[np.ndarray, np.ndarray], None]:
    """Set up our LSTM.

    Parameters
    ----------
    I, H : int
        Its sizes.

    Returns
    -------
    callable
        A step: takes x and dy, and computes y and all gradients.
    """
    lstm = LSTM(I, H, engine="numba")
    params = lstm.init(np.random.default_rng(0))

    def step(x: np.ndarray, dy: np.ndarray) -> None:
        (y, _, _), cache = lstm.forward(params, x)
        (dx, _, _), grads = lstm.backward(params, cache, dy)
        assert (y.shape, dx.shape, grads.keys()) == (dy.shape, x.shape, params.keys())

    return step


def torch_step(I: int, H: int) -> Callable[[np.ndarray, np.ndarray], None]:
    """Set up torch's LSTM.

    Parameters
    ----------
    I, H : int
        Its sizes.

    Returns
    -------
    callable
        As of `our_step`.
    """
    import torch

    module = torch.nn.LSTM(I, H)

    def step(x: np.ndarray, dy: np.ndarray) -> None:
        of_x = torch.from_numpy(x).requires_grad_()
        y, _ = module(of_x)
        grads = torch.autograd.grad(y, [of_x, *module.parameters()], torch.from_numpy(dy))
        assert (y.shape, grads[0].shape) == (dy.shape, x.shape)

    return step


CONTESTANTS = {"ours": our_step, "torch": torch_step}


def peak_of_training(who: str, T: int, B: int, I: int, H: int) -> int:
    """Measure some steps in this process.

    Parameters
    ----------
    who : str
        One of `CONTESTANTS`.
    T, B, I, H : int
        Sizes.

    Returns
    -------
    int
        Bytes, as of `peak_of`.
    """
    step, rng = CONTESTANTS[who](I, H), np.random.default_rng(0)

    def steps(number: int, T: int, B: int) -> None:
        x, dy = (rng.standard_normal((T, B, size), np.float32) for size in (I, H))
        for _ in range(number):
            step(x, dy)

    steps(1, *WARM_UP)
    return peak_of(lambda: steps(STEPS, T, B))


def in_fresh_process(call: str, module: str = "benchmarks.memory") -> Any:
    """Call a function of a module in a process of its own.

    Parameters
    ----------
    call : str
        The call, as Python.
    module : str, default "benchmarks.memory"
        Where the function is.

    Returns
    -------
    object
        What it returned, by way of JSON.
    """
    code = f"import json; from {module} import *; print(json.dumps({call}))"
    folder = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def training_row(shape: tuple[int, int, int, int]) -> Row:
    """Measure all contestants.

    Parameters
    ----------
    shape : tuple of int
        T, B, I, H.

    Returns
    -------
    dict
        The row.
    """
    T, B, I, H = shape
    mb = {who: in_fresh_process(f"peak_of_training({who!r}, *{shape})") / MB for who in CONTESTANTS}
    both_hold = 4 * (2 * T * B * (I + H) + 4 * H * (I + H + 1))
    return {
        **dict(zip("TBIH", shape, strict=True)),
        **{f"{who}_mb": peak for who, peak in mb.items()},
        "ratio": mb["ours"] / mb["torch"],
        "both_hold_mb": both_hold / MB,
    }


def features(block: int) -> np.ndarray:
    """Draw the features of a block, the same whenever it is asked for.

    Parameters
    ----------
    block : int
        Which.

    Returns
    -------
    ndarray (BLOCK, 1, INPUTS), float32
        Features.
    """
    return np.random.default_rng([0, block]).standard_normal((BLOCK, 1, INPUTS), np.float32)


def difference_of_blocks(lstm: LSTM, params: Params) -> float:
    """Compute the first blocks one after the other, and in one pass.

    Parameters
    ----------
    lstm : LSTM
        The layer.
    params : dict
        Its parameters.

    Returns
    -------
    float
        The largest difference of outputs and of last states.

    Raises
    ------
    AssertionError
        If it is not zero.
    """
    h = c = None
    ys = []
    for block in range(AT_ONCE):
        (y, h, c), _ = lstm.forward(params, features(block), h, c, inference=True)
        ys.append(y)
    x = np.concatenate([features(block) for block in range(AT_ONCE)])
    at_once, _ = lstm.forward(params, x, inference=True)
    pairs = zip(at_once, (np.concatenate(ys), h, c), strict=True)
    difference = float(np.max([np.abs(one - other).max() for one, other in pairs]))
    if difference != 0:  # NaN is not, either
        raise AssertionError(f"blocks differ from one pass by {difference}")
    return difference


def stream(hours: float) -> Row:
    """Carry the state through a long sequence, in this process.

    Parameters
    ----------
    hours : float
        Its length.

    Returns
    -------
    dict
        ``resident_mb`` after each of `SHARES`; ``seconds`` in forward passes, and ``real_time_factor``, these
        by the seconds of sound; ``difference`` of `difference_of_blocks`.
    """
    lstm = LSTM(INPUTS, HIDDEN, engine="numba")
    params = freeze(lstm.init(np.random.default_rng(0)))
    difference = difference_of_blocks(lstm, params)
    blocks = round(hours * 3600 * FRAMES_PER_SECOND / BLOCK)
    marks = {max(1, round(share * blocks)): share for share in SHARES}
    h = c = None
    resident_mb, seconds = {}, 0.0
    for block in range(blocks):
        x = features(block)
        start = time.perf_counter()
        (_, h, c), _ = lstm.forward(params, x, h, c, inference=True)
        seconds += time.perf_counter() - start
        if block + 1 in marks:
            resident_mb[f"{marks[block + 1]:.0%}"] = resident() / MB
    return {
        "hours": hours,
        "frames": blocks * BLOCK,
        "resident_mb": resident_mb,
        "seconds": seconds,
        "real_time_factor": seconds / (blocks * BLOCK / FRAMES_PER_SECOND),
        "difference": difference,
    }


def write_recording(path: Path, hours: float) -> None:
    """Write a long recording of noise, a minute at a time.

    Parameters
    ----------
    path : path
        A WAV file.
    hours : float
        Its length.
    """
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for _ in range(round(60 * hours)):
            file.write(rng.uniform(-0.1, 0.1, 60 * RATE).astype(np.float32))


def listen(path: str) -> Row:
    """Compute all features of a recording, in this process.

    Parameters
    ----------
    path : str
        The recording.

    Returns
    -------
    dict
        ``frames``; ``seconds``; ``most_mb``, all that was resident at any moment, with Python and libraries;
        and ``features_mb``, what the features take that are kept.
    """
    CLEAR.write_text("5")
    start = time.perf_counter()
    kept = list(stream_file(path, preset("kaldi", n_mels=40)))
    seconds = time.perf_counter() - start
    return {
        "frames": sum(map(len, kept)),
        "seconds": seconds,
        "most_mb": resident("VmHWM") / MB,
        "features_mb": sum(block.nbytes for block in kept) / MB,
    }


def main(arguments: list[str] | None = None) -> None:
    """Run the command.

    Parameters
    ----------
    arguments : list of str, optional
        By default the process's.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description="measure peak memory")
    parser.add_argument("--quick", action="store_true", help="one shape, and one hour of sound")
    parser.add_argument("--json", metavar="FILE", help="write the rows")
    given = parser.parse_args(arguments)
    if not CLEAR.exists():
        parser.exit(1, "benchmarks.memory needs Linux: it reads /proc/self/status\n")
    on = machine("numpy", "numba", "torch")
    print(f"{on}\n\ntraining   T    B    I    H |    ours   torch ours/torch | both hold, MB")
    rows = []
    for shape in QUICK if given.quick else SHAPES:
        rows.append(row := training_row(shape))
        sizes = "".join(f"{size:5}" for size in shape)
        mb = f"{row['ours_mb']:8.1f}{row['torch_mb']:8.1f}{row['ratio']:11.2f}"
        print(f"{'':7}{sizes} |{mb} |{row['both_hold_mb']:10.1f}", flush=True)
    long = in_fresh_process(f"stream({QUICK_HOURS if given.quick else HOURS})")
    print(f"\ninference of {long['hours']} h, {long['frames']:,} frames, I={INPUTS}, H={HIDDEN}")
    print("resident after " + ", ".join(f"{share}: {mb:.1f} MB" for share, mb in long["resident_mb"].items()))
    print(f"{long['seconds']:.1f} s in forward passes: real time by {1 / long['real_time_factor']:,.0f}")
    print(f"blocks differ from one pass over {AT_ONCE * BLOCK:,} frames by {long['difference']:g}")
    hours = QUICK_HOURS if given.quick else HOURS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.wav"
        write_recording(path, hours)
        heard = in_fresh_process(f"listen({str(path)!r})") | {"hours": hours}
        megabytes = path.stat().st_size / MB
    print(f"\nMFCC of a recording of {hours} h, {megabytes:,.0f} MB: {heard['frames']:,} frames, all kept")
    print(
        f"resident at most: {heard['most_mb']:.0f} MB, Python and libraries included, of which features "
        f"{heard['features_mb']:.0f} MB; {heard['seconds']:.1f} s, reading included"
    )
    if given.json:
        report = {"machine": on, "training": rows, "inference": long, "features": heard}
        Path(given.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
