"""What the documentation says is so: its code runs, its docstrings name what is there."""

import doctest
import importlib
import inspect
import os
import pkgutil
import re
import shlex
import sys
from pathlib import Path

import pytest
from numpydoc.validate import validate

from lstm_scratch.cli import main

ROOT = Path(__file__).parents[1]
JITTED_ARE_PLAIN = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"  # they are no one's to call
CHECKS = {"GL08", "PR01", "PR02", "PR03", "PR04", "PR07", "RT01", "RT03", "SS01", "SS02", "SS03", "YD01"}
# Records say what a field is beside the field; AudioClassifier refers to SequenceClassifier.
PARAMETERS_ELSEWHERE = {
    "features.extraction.Frames",
    "features.extraction.Stage",
    "lstm_scratch.activations.Activation",
    "lstm_scratch.activity.SpeechDetector",
    "lstm_scratch.analysis.Analysis",
    "lstm_scratch.audio.AudioClassifier",
    "lstm_scratch.audio.Extraction",
    "lstm_scratch.batches.Batch",
    "lstm_scratch.division.Division",
    "lstm_scratch.engines.Engine",
    "lstm_scratch.kernels.engine.KernelCache",
    "lstm_scratch.kernels.tile.Tile",
    "lstm_scratch.layers.pooling.PoolingCache",
    "lstm_scratch.layers.pooling.StatisticCache",
    "lstm_scratch.layers.stack.StackCache",
    "lstm_scratch.lstm.LSTMCache",
    "lstm_scratch.network.NetworkCache",
    "lstm_scratch.recipe.Recipe",
    "lstm_scratch.results.Predictions",
    "lstm_scratch.scenes.Clip",
    "lstm_scratch.scenes.Scene",
    "lstm_scratch.segments.Segment",
    "lstm_scratch.sources.Sources",
    "lstm_scratch.training.Epoch",
    "lstm_scratch.training.TrainingState",
    "lstm_scratch.truncated.TruncatedCache",
    "lstm_scratch.variants.Steps",
    "lstm_scratch.variants.VariantCache",
    "reference.__main__.Row",
    "reference.gradcheck.Comparison",
    "reference.origins.Comparison",
    "reference.origins.Row",
    "reference.origins.TorchBands",
    "reference.teeth.Tooth",
    "simd.cpu.Registers",
}


def public_objects():
    """Every function, class and method of our packages whose name has no underscore in front."""
    for package in ("features", "lstm_scratch", "reference", "simd"):
        for info in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            module = importlib.import_module(info.name)
            for name, item in vars(module).items():
                if name.startswith("_") or getattr(item, "__module__", None) != info.name:
                    continue
                if JITTED_ARE_PLAIN and {"kernels", "simd"} & set(info.name.split(".")):
                    continue
                if inspect.isfunction(item) or inspect.isclass(item):
                    yield f"{info.name}.{name}"
                if inspect.isclass(item):
                    for method, member in vars(item).items():
                        member = getattr(member, "__func__", getattr(member, "fget", member))
                        if not method.startswith("_") and inspect.isfunction(member):
                            yield f"{info.name}.{name}.{method}"


@pytest.mark.parametrize("name", sorted(set(public_objects())))
def test_docstrings_name_every_parameter_and_result(name):
    checks = CHECKS - {"PR01", "PR02", "PR04"} if name in PARAMETERS_ELSEWHERE else CHECKS
    found = [f"{code} {text}" for code, text in validate(name)["errors"] if code in checks]
    assert not found


@pytest.mark.parametrize(
    ("module", "examples"),
    [
        ("features", 5),
        ("features.comparison", 4),
        ("features.presets", 1),
        ("features.stream", 5),
        ("lstm_scratch.stepping", 4),
    ],
)
def test_docstring_examples_give_what_they_show(module, examples):
    results = doctest.testmod(importlib.import_module(module))
    assert (results.attempted, results.failed) == (examples, 0)


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_the_code_of_every_page_gives_what_it_shows(path, tmp_path, monkeypatch, capsys):
    """Blocks run in order in one namespace; what they print stands in ``# prints`` beside it.

    A block that begins with a file's name stands in that file too, its tests pass, and what our program
    prints about it is what is shown, but for the numbers.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    text, namespace = path.read_text(), {}
    for block in re.finditer(r"```(python|console)\n(.*?)```", text, re.DOTALL):
        kind, code = block.groups()
        if kind == "console":
            command, shown = re.fullmatch(r"\$ lstm-scratch (.*?)\n(.*)", code, re.DOTALL).groups()
            assert main(shlex.split(command)) == 0
            assert without_numbers(capsys.readouterr().out) == without_numbers(shown)
            continue
        if name := re.match(r"# (\w+\.py)\n", code):
            Path(name[1]).write_text(code)
        before = "\n" * text[: block.start(2)].count("\n")  # so that errors name the page's lines
        exec(compile(before + code, str(path), "exec"), namespace)
        for name in [name for name in namespace if name.startswith("test_")]:
            namespace.pop(name)()
        assert capsys.readouterr().out.splitlines() == re.findall(r"# prints (.*)", code)


def without_numbers(text):
    """Words, with N for numbers: their last digits are the machine's."""
    return re.sub(r"-?\d[\d.]*(e[-+]?\d+)?", "N", text).split()


def test_the_readme_example_works_as_pasted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    exec(compile(code, "README.md", "exec"), {})
    shown = re.findall(r"# prints (.*)", code)
    assert capsys.readouterr().out.splitlines() == shown
