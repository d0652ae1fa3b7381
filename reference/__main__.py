"""The report: how far every engine is from torch and from the golden vectors, and which teeth are caught.

``python -m reference [--configurations N] [--recordings DATA] [--json]``; it needs torch (extra `dev`).

The golden vectors were written by engine numpy, after it had agreed with torch and with complex steps. So for
that engine their row tells that nothing has changed since; for others it is a proof of its own.
"""

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstm_scratch.engines import ENGINES
from lstm_scratch.errors import ThreadCountError, UserError
from lstm_scratch.sound import FeatureError
from reference.golden_vectors import FOLDER, read, worst_error
from reference.parity import GRADIENTS, VALUES, draw_torch_case, errors
from reference.teeth import TEETH, catch
from reference.torch_training import LIMIT, worst_difference

UPDATES = 300


class Row(NamedTuple):
    """How far one engine is off in one dtype: the worst of many configurations."""

    engine: str
    dtype: str
    against: str
    configurations: int
    values: float
    gradients: float

    def is_right(self) -> bool:
        """Tell whether it is off by no more than it may be.

        Returns
        -------
        bool
            By the limits of `reference.parity`.
        """
        return self.values <= VALUES[self.dtype] and self.gradients <= GRADIENTS[self.dtype]


def main() -> int:
    """Print the report.

    Returns
    -------
    int
        Exit status: 0, or 1 if something is off by more than it may be or a tooth is not caught.
    """
    parser = argparse.ArgumentParser(prog="python -m reference", description="Prove the LSTM and report.")
    parser.add_argument(
        "--configurations", type=int, default=500, metavar="N", help="per engine and dtype (default: 500)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--recordings", type=Path, metavar="DATA", help="also train on them beside torch, 300 updates"
    )
    options = parser.parse_args()
    if options.configurations < 1:
        parser.error("--configurations is at least 1")
    if importlib.util.find_spec("torch") is None:
        print("python -m reference: error: torch is not installed; `make test` installs it", file=sys.stderr)
        return 1
    training = {}
    try:  # first, as something may be wrong with the recordings
        if options.recordings is not None:
            training = {engine: worst_difference(options.recordings, UPDATES, engine) for engine in ENGINES}
    except (UserError, ThreadCountError, FeatureError, OSError) as error:
        print(f"python -m reference: error: {error}", file=sys.stderr)
        return 1
    rows = [
        row
        for engine in ENGINES
        for row in (
            *(against_torch(engine, dtype, options.configurations, options.seed) for dtype in VALUES),
            against_golden_vectors(engine),
        )
    ]
    teeth = {tooth.name: [check for check, yes in catch(tooth).items() if yes] for tooth in TEETH}
    if options.json:
        print(json.dumps({"rows": [row._asdict() for row in rows], "teeth": teeth, "training": training}))
    else:
        print(to_text(rows, teeth))
        for engine, apart in training.items():
            print(
                f"losses of {UPDATES} updates in float64, {engine} beside torch: {apart:.1e} ({LIMIT:.0e})"
                + ("" if apart <= LIMIT else "  WRONG")
            )
    right = all(row.is_right() for row in rows) and all(teeth.values())
    return 0 if right and all(apart <= LIMIT for apart in training.values()) else 1


def against_torch(engine: str, dtype: str, configurations: int, seed: int) -> Row:
    """Compare an engine with `torch.nn.LSTM` on configurations drawn at random.

    Parameters
    ----------
    engine : str
        One of `ENGINES`.
    dtype : {"float32", "float64"}
        Of its arrays.
    configurations : int
        How many.
    seed : int
        Of what is drawn.

    Returns
    -------
    Row
        The worst errors.
    """
    rng = np.random.default_rng(seed)

    def pick(_: str, choices: Any) -> Any:
        return choices[int(rng.integers(len(choices)))]

    found = (errors(draw_torch_case(pick, dtype), engine) for _ in range(configurations))
    return _worst(engine, dtype, "torch", found)


def against_golden_vectors(engine: str) -> Row:
    """Compare an engine with the golden vectors.

    Parameters
    ----------
    engine : str
        One of `ENGINES`.

    Returns
    -------
    Row
        The worst errors.
    """
    files = [read(path) for path in sorted(FOLDER.glob("*.npz"))]
    found = [
        (worst_error(case.on(engine).values(), values), worst_error(case.on(engine).gradients(), grads))
        for case, values, grads in files
    ]
    return _worst(engine, "float64", "golden vectors", found)


def to_text(rows: list[Row], teeth: dict[str, list[str]]) -> str:
    """Write the report as a person reads it.

    Parameters
    ----------
    rows : list of Row
        The comparisons.
    teeth : dict of str to list of str
        For each wrong backward pass, the checks that caught it.

    Returns
    -------
    str
        Lines.
    """
    lines = ["wrong backward pass                           caught by"]
    lines += [f"{name:<45} {', '.join(checks) or 'NONE'}" for name, checks in teeth.items()]
    lines += [
        "",
        "worst error, relative to the largest entry of a tensor (in brackets: allowed)",
        "engine  dtype    against         configurations  values           gradients",
    ]
    lines += [
        f"{row.engine:<7} {row.dtype:<8} {row.against:<15} {row.configurations:>14}  "
        f"{row.values:.1e} ({VALUES[row.dtype]:.0e})  {row.gradients:.1e} ({GRADIENTS[row.dtype]:.0e})"
        + ("" if row.is_right() else "  WRONG")
        for row in rows
    ]
    lines += ["golden vectors: written by engine numpy once it had agreed with torch and with complex steps"]
    return "\n".join([*lines, "", f"teeth caught: {sum(map(bool, teeth.values()))} of {len(teeth)}"])


def _worst(engine: str, dtype: str, against: str, found: Iterable[tuple[float, float]]) -> Row:
    values, gradients = zip(*found, strict=True)
    return Row(engine, dtype, against, len(values), max(values), max(gradients))


if __name__ == "__main__":
    sys.exit(main())
