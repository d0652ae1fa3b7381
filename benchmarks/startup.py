"""How long a fresh process takes to be of use: `python -m benchmarks.startup`."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import alternate, machine

OURS = """
import numpy as np
from lstm_scratch import LSTM
lstm = LSTM(40, 64, engine="numba")
lstm.forward(lstm.init(np.random.default_rng(0)), np.ones((100, 1, 40), np.float32), inference=True)
"""
TORCH = """
import torch
with torch.inference_mode():
    torch.nn.LSTM(40, 64)(torch.ones(100, 1, 40))
"""
STARTS = {
    "python": "",
    "import numpy": "import numpy",
    "import lstm_scratch": "import lstm_scratch",
    "from lstm_scratch import AudioClassifier": "from lstm_scratch import AudioClassifier",
    "first forward pass, engine numba": OURS,
    "import torch": "import torch",
    "torch's first forward pass": TORCH,
}
COLD = "first forward pass, engine numba, cold cache"


def start(code: str, cache: str) -> None:
    """Run code in a fresh process.

    Parameters
    ----------
    code : str
        What it runs.
    cache : str
        The folder in which caches are.
    """
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"XDG_CACHE_HOME": cache}, check=True)


def start_cold() -> None:
    """Run our first forward pass, where nothing is compiled yet."""
    with tempfile.TemporaryDirectory() as cache:
        start(OURS, cache)


def main(arguments: list[str] | None = None) -> None:
    """Run the command.

    Parameters
    ----------
    arguments : list of str, optional
        By default the process's.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description="time fresh processes")
    parser.add_argument("--json", metavar="FILE", help="write the rows")
    given = parser.parse_args(arguments)
    on = machine("numpy", "numba", "torch")
    print(f"{on}\n")
    with tempfile.TemporaryDirectory() as cache:
        runs = {name: lambda code=code: start(code, cache) for name, code in STARTS.items()}
        seconds = alternate(runs, budget=0)
    seconds |= alternate({COLD: start_cold}, budget=0, rounds=3, warm_up=0)
    for name, time in seconds.items():
        print(f"{name:46}{time:7.3f} s")
    if given.json:
        rows = [{"op": name, "seconds": time} for name, time in seconds.items()]
        Path(given.json).write_text(json.dumps({"machine": on, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
