"""Golden vectors: every engine gives what the files hold. Reading and comparing takes no torch."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lstm_scratch.engines import ENGINES
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.variants import Variant
from reference import golden_vectors
from reference.golden_vectors import FOLDER, GRADIENTS, VALUES, cases, read, worst_error, write

FILES = sorted(FOLDER.glob("*.npz"))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_engine_gives_the_values_and_gradients_in_the_file(path, engine):
    case, values, grads = read(path)
    assert worst_error(case.on(engine).values(), values) <= 1e-12
    assert worst_error(case.on(engine).gradients(), grads) <= 1e-11


def test_the_files_are_those_of_the_script():
    drawn = cases()
    assert {path.stem for path in FILES} == set(drawn)
    assert len(FILES) >= 20
    for path in FILES:
        case, _, _ = read(path)
        assert case.lstm == drawn[path.stem].lstm
        for name, array in (drawn[path.stem].arrays | drawn[path.stem].upstream).items():
            np.testing.assert_array_equal((case.arrays | case.upstream)[name], array)


@pytest.mark.parametrize(
    "path", [p for p in FILES if read(p)[0].lstm.variant != Variant()], ids=lambda p: p.stem
)
def test_each_variant_makes_a_difference(path):
    """A bound that bounds nothing, say, would prove nothing."""
    case, values, _ = read(path)
    variant = case.lstm.variant
    for name in vars(variant):
        if getattr(variant, name) == getattr(Variant(), name) or name in (
            "peepholes",
            "coupled",
            "layer_norm",
        ):
            continue  # these three have parameters of their own
        less = Variant(**{k: v for k, v in vars(variant).items() if k != name})
        without = LSTM(**{k: v for k, v in vars(case.lstm).items() if k != "variant"}, variant=less)
        (y, _, _), _ = without.forward(
            case.params, *(case.arrays[k] for k in ("x", "h0", "c0")), case.lengths
        )
        assert np.abs(y - values["y"]).max() > 1e-3, name


def test_writing_again_gives_the_same_files(tmp_path):
    lines = write(tmp_path)
    assert len(lines) == len(FILES)
    for path in FILES:
        with np.load(path, allow_pickle=False) as old, np.load(tmp_path / path.name) as new:
            assert set(old.files) == set(new.files)
            assert json.loads(str(old["configuration"])) == json.loads(str(new["configuration"]))
            named = [{k: file[k] for k in old.files if k != "configuration"} for file in (old, new)]
        assert worst_error(named[1], named[0]) <= 1e-11


def test_nothing_is_written_where_torch_disagrees(tmp_path, monkeypatch):
    right = golden_vectors.torch_steps

    def wrong(case):
        values, grads = right(case)
        return values, grads | {"x": grads["x"] * (1 + 1e-11)}

    monkeypatch.setattr(golden_vectors, "torch_steps", wrong)
    with pytest.raises(AssertionError, match=r"plain: torch is off by .* in gradients"):
        write(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert VALUES < GRADIENTS < 1e-11


def test_worst_error_by_hand():
    a = {"a": np.array([1.0, -4.0]), "b": np.array([0.5])}
    assert worst_error(a, a) == 0
    assert worst_error(a | {"a": np.array([1.0, -4.4])}, a) == pytest.approx(0.1)
    assert worst_error(a | {"b": np.array([0.6])}, a) == pytest.approx(0.2)
    assert worst_error(a | {"b": np.array([0.6])}, a, floor=0.5) == pytest.approx(0.05)
    assert worst_error({"a": np.array([1e-3])}, {"a": np.zeros(1)}) == pytest.approx(1e-3)
    assert worst_error(a | {"b": np.array([np.nan])}, a) == math.inf
    assert worst_error({"a": a["a"]}, a) == math.inf
    assert worst_error(a | {"b": np.array([[0.5]])}, a) == math.inf


WITHOUT_TORCH = """
import sys

class NotInstalled:
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NotInstalled)
from reference.golden_vectors import FOLDER, read, worst_error
for path in FOLDER.glob("*.npz"):
    case, values, grads = read(path)
    assert worst_error(case.values(), values) <= 1e-12 and worst_error(case.gradients(), grads) <= 1e-11
    print(path.stem)
"""


@pytest.mark.compiled
def test_the_files_are_read_and_met_where_torch_is_not_installed():
    command = [sys.executable, "-c", WITHOUT_TORCH]
    process = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert process.stderr == ""
    assert sorted(process.stdout.split()) == [path.stem for path in FILES]
