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
lstm = LSTM(40, 64)
lstm.forward(lstm.init(np.random.default_rng(0)), np.ones((100, 1, 40), np.float32), inference=True)
"""
TRAINING = """
import numpy as np
from lstm_scratch import LSTM
lstm = LSTM(40, 64)
params = lstm.init(np.random.default_rng(0))
(y, _, _), cache = lstm.forward(params, np.ones((100, 8, 40), np.float32))
lstm.backward(params, cache, y)
"""
SAVED = """
import sys
import numpy as np
from lstm_scratch import AudioClassifier
tones = [np.sin(np.arange(4000) * hz / 8000).astype(np.float32) for hz in (2000, 9000)]
settings = {"sample_rate": 8000, "epochs": 1, "batch_size": 2, "validation_fraction": 0}
AudioClassifier(**settings).fit(tones, ["low", "high"]).save(sys.argv[1])
"""
PREDICTION = """
import sys
import numpy as np
from lstm_scratch import AudioClassifier
AudioClassifier.load(sys.argv[1]).predict([np.ones(8000, np.float32)])
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
    "first forward pass": OURS,
    "first training step": TRAINING,
    "a saved model's first prediction": PREDICTION,
    "import torch": "import torch",
    "torch's first forward pass": TORCH,
}
COLD = {"first forward pass, nothing compiled": OURS, "first training step, nothing compiled": TRAINING}


def start(code: str, cache: str) -> None:
    """Run code in a fresh process.

    Parameters
    ----------
    code : str
        What it runs. Its argument is the file of the saved model.
    cache : str
        The folder in which caches are, and the model.
    """
    command = [sys.executable, "-c", code, f"{cache}/model.safetensors"]
    environment = os.environ | {"XDG_CACHE_HOME": cache}
    # Installed modules have their bytecode, and are not compiled anew in every process.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run(command, env=environment, check=True)


def start_cold(code: str) -> None:
    """Run code where nothing is compiled yet.

    Parameters
    ----------
    code : str
        As of `start`.
    """
    with tempfile.TemporaryDirectory() as cache:
        start(code, cache)


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
        start(SAVED, cache)
        runs = {name: lambda code=code: start(code, cache) for name, code in STARTS.items()}
        seconds = alternate(runs, budget=0)
    cold = {name: lambda code=code: start_cold(code) for name, code in COLD.items()}
    seconds |= alternate(cold, budget=0, rounds=3, warm_up=0)
    for name, time in seconds.items():
        print(f"{name:46}{time:7.3f} s")
    if given.json:
        rows = [{"op": name, "seconds": time} for name, time in seconds.items()]
        Path(given.json).write_text(json.dumps({"machine": on, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
