"""Golden vectors: inputs, weights, outputs and every gradient of about twenty LSTMs, in files.

They are what another implementation can be tested against, in any language that reads numpy's ``.npz``:
`docs/golden.md` says how. ``python -m reference.golden_vectors`` writes them anew, and writes none
before three ways to compute it agree: our numpy engine; complex steps through it, for the gradients; and
torch, which knows neither our batches nor our backward pass.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from lstm_scratch.files import atomic_write
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.variants import Variant
from reference.cases import INPUTS, Case, draw_case
from reference.gradcheck import assert_gradients
from reference.torch_lstm import torch_lstm, torch_steps

FOLDER = Path(__file__).parent / "golden"
UNSORTED = [2, 0, 5]  # shortest neither first nor last, and a row without steps
VALUES, GRADIENTS = 1e-13, 1e-12  # how far torch may be off, relative to the largest entry


def cases() -> dict[str, Case]:
    """Draw every configuration.

    Returns
    -------
    dict of str to Case
        By name, float64.
    """
    plain = LSTM(4, 2)
    configurations: dict[str, tuple[LSTM, dict[str, Any]]] = {
        "plain": (plain, {}),
        "plain_lengths": (plain, {"lengths": UNSORTED}),
        "one_step": (plain, {"T": 1}),
        "one_unit": (LSTM(1, 1), {}),
        "forty_steps": (plain, {"T": 40}),
        "reverse_lengths": (LSTM(4, 2, reverse=True), {"lengths": UNSORTED}),
        "bidirectional": (LSTM(4, 2, bidirectional=True), {}),
        "bidirectional_lengths": (LSTM(4, 2, bidirectional=True), {"lengths": UNSORTED}),
        "two_layers": (LSTM(4, 2, num_layers=2), {}),
        "three_layers_bidirectional_lengths": (
            LSTM(4, 2, num_layers=3, bidirectional=True),
            {"lengths": UNSORTED},
        ),
        "projection": (LSTM(4, 6, proj_size=2), {}),
        "projection_two_layers_bidirectional_lengths": (
            LSTM(4, 6, num_layers=2, bidirectional=True, proj_size=2),
            {"lengths": UNSORTED},
        ),
    }
    variants: dict[str, Variant] = {
        "peepholes": Variant(peepholes=True),
        "coupled": Variant(coupled=True),
        "coupled_peepholes": Variant(coupled=True, peepholes=True),
        "layer_norm": Variant(layer_norm=True),
        "cell_clip": Variant(cell_clip=0.4),
        "activation_clip": Variant(activation_clip=0.8),
        "zoneout_inference": Variant(zoneout_h=0.1, zoneout_c=0.3),
        "hard_sigmoid_softsign_identity": Variant(
            gate_activation="hard_sigmoid", cell_activation="softsign", output_activation="identity"
        ),
        "relu": Variant(cell_activation="relu", output_activation="relu"),
    }
    for name, variant in variants.items():
        configurations[name] = (LSTM(4, 2, variant=variant), {"lengths": [5, 2, 4]})
    everything = Variant(peepholes=True, layer_norm=True, cell_clip=0.9, activation_clip=2.0, zoneout_c=0.2)
    configurations["peepholes_two_layers_bidirectional_lengths"] = (
        LSTM(4, 2, num_layers=2, bidirectional=True, variant=variants["peepholes"]),
        {"lengths": UNSORTED},
    )
    configurations["many_variants_projection"] = (
        LSTM(4, 6, proj_size=2, variant=everything),
        {"lengths": [5, 2, 4]},
    )
    return {name: draw_case(lstm, **more) for name, (lstm, more) in configurations.items()}


def write(folder: Path = FOLDER) -> list[str]:
    """Compute all vectors three ways, and write them where the three agree.

    Parameters
    ----------
    folder : path
        Where the files go.

    Returns
    -------
    list of str
        One line per file: how far the ways were apart.

    Raises
    ------
    AssertionError
        If two of them disagree. Nothing is written then.
    """
    lines, files = [], {}
    for name, case in cases().items():
        values, grads = case.values(), case.gradients()
        assert_gradients(case.loss, case.arrays, grads, method="complex")
        torch_values, torch_grads = torch_steps(case)
        off = worst_error(torch_values, values), worst_error(torch_grads, grads)
        if case.lstm.variant == Variant():
            module_values, module_grads = torch_lstm(case)
            off = (
                max(off[0], worst_error(module_values, values)),
                max(off[1], worst_error(module_grads, grads)),
            )
        if off[0] > VALUES or off[1] > GRADIENTS:
            raise AssertionError(f"{name}: torch is off by {off[0]:.1e} in values, {off[1]:.1e} in gradients")
        lines.append(f"{name:<45} values {off[0]:.1e}  gradients {off[1]:.1e}")
        files[name] = to_arrays(case, values, grads)
    folder.mkdir(exist_ok=True)
    for name, arrays in files.items():
        with atomic_write(folder / f"{name}.npz") as part:
            np.savez_compressed(part, allow_pickle=False, **arrays)
    return lines


def to_arrays(
    case: Case, values: dict[str, np.ndarray], grads: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Lay out the arrays of one file.

    Parameters
    ----------
    case : Case
        Inputs, weights and upstream gradients.
    values, grads : dict
        What it gives.

    Returns
    -------
    dict of str to ndarray
        ``configuration`` (JSON), ``lengths``, ``input.*``, ``param.*``, ``upstream.*``, ``output.*`` and
        ``grad.*``.
    """
    T, B, _ = case.arrays["x"].shape
    lengths = np.full(B, T) if case.lengths is None else case.lengths
    groups = {
        "param": case.params,
        "input": {name: case.arrays[name] for name in INPUTS},
        "upstream": case.upstream,
        "output": values,
        "grad": grads,
    }
    arrays = {f"{group}.{name}": array for group, named in groups.items() for name, array in named.items()}
    return {"configuration": np.array(json.dumps(_options(case.lstm))), "lengths": lengths} | arrays


def read(path: Path) -> tuple[Case, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Read one file.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    case : Case
        Inputs, weights and upstream gradients.
    values : dict
        ``y``, ``h_n`` and ``c_n``.
    grads : dict
        The gradient with respect to every input and parameter.
    """
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    options = json.loads(str(arrays.pop("configuration")))
    lengths = arrays.pop("lengths")
    named: dict[str, dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        group, name = key.split(".", 1)
        named.setdefault(group, {})[name] = array
    variant = Variant(**options.pop("variant"))
    case = Case(LSTM(**options, variant=variant), named["param"] | named["input"], named["upstream"], lengths)
    return case, named["output"], named["grad"]


def worst_error(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], floor: float = 0.0) -> float:
    """Tell how far two sets of arrays are apart.

    Parameters
    ----------
    found, expected : dict
        Arrays of the same names and shapes.
    floor : float, default 0
        No tensor counts as smaller than this part of the largest.

    Returns
    -------
    float
        The largest difference in any tensor, relative to that tensor's largest entry (or to 1, where
        all of it is smaller than 1e-30); infinite where names, shapes or NaN differ.
    """
    if found.keys() != expected.keys() or any(found[k].shape != expected[k].shape for k in expected):
        return math.inf
    worst, largest = 0.0, max((float(np.abs(array).max(initial=0)) for array in expected.values()), default=0)
    for name, array in expected.items():
        if array.size == 0:
            continue
        scale = max(float(np.abs(array).max()), floor * largest)
        error = float(np.abs(found[name] - array).max()) / (scale if scale > 1e-30 else 1.0)
        worst = max(worst, error if error == error else math.inf)
    return worst


def _options(lstm: LSTM) -> dict[str, Any]:
    """Give what differs from the defaults, as plain values."""
    sizes = {
        field.name: getattr(lstm, field.name)
        for field in dataclasses.fields(lstm)
        if field.name not in ("variant", "engine", "dropout") and getattr(lstm, field.name) != field.default
    }
    variant = {
        field.name: getattr(lstm.variant, field.name)
        for field in dataclasses.fields(lstm.variant)
        if getattr(lstm.variant, field.name) != field.default
    }
    return sizes | {"variant": variant}


if __name__ == "__main__":
    print("\n".join(write()))
