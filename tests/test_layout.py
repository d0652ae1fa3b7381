"""The house: imports point down only, and the library does without what is not its own."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each file imports only from floors below its own. A folder's files share its floor.
FLOORS = {
    "simd": [
        {"cpu", "errors", "jit"},
        {"vectors"},
        {"emitter"},
        {"buffers", "loading", "moves", "threads"},
    ],
    "features": [
        {"errors"},
        {"audio", "settings"},
        {"augmentation", "cepstrum", "dynamics", "framing", "logarithm", "mel", "presets", "spectrum"},
        {"plan", "kernels/fft"},
        {"kernels/frames"},
        {"extraction"},
        {"comparison", "stream"},
    ],
    "lstm_scratch": [
        {
            "errors",
            "version",
            "params",
            "progress",
            "splits",
            "metrics",
            "batches",
            "sound",
            "threads",
            "estimator",
        },
        {"checks", "files", "corpus", "optim", "lstm", "processes", "shipped"},
        {
            "activations",
            "layers/dropout",
            "layers/layer_norm",
            "layers/linear",
            "layers/loss",
            "layers/pooling",
            "segments",
            "scenes",
        },
        {"variants", "sources"},
        {"kernels/layout", "kernels/packing", "kernels/tile"},
        {"kernels/passes", "kernels/step"},
        {"kernels/head"},
        {"kernels/engine"},
        {"engines"},
        {"layers/stack"},
        {"stepping", "tracing", "truncated", "converters/common"},
        {"converters/keras", "converters/onnx", "converters/torch"},
        {"network"},
        {"training"},
        {"checkpoint", "epoch_log"},
        {"classifier", "plots", "synthesis", "division", "inspection"},
        {"audio"},
        {"feature_store", "stream"},
        {"activity"},
        {"recipe"},
        {"results"},
        {"experiments", "analysis", "detection"},
        {"demo", "listening"},
        {"cli"},
        {"__main__"},
    ],
}
FLOOR_OF = {
    f"{package}/{name}": floor
    for package, floors in FLOORS.items()
    for floor, names in enumerate(floors)
    for name in names
}
# The one exception: settings are called with sound, and hand it to what they are settings of.
UPWARDS = ("features/settings", "features/extraction")
# What each package may import of the others.
PACKAGES = {
    "simd": set(),
    "features": {"simd"},
    "lstm_scratch": {"simd", "features"},
    "reference": {"simd", "features", "lstm_scratch"},
}


def imports(path):
    """Absolute names of the modules that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                is_file = (ROOT / module.replace(".", "/")).with_suffix(".py").exists()
                yield module if is_file else node.module


def modules(package):
    return sorted(p for p in (ROOT / package).rglob("*.py") if p.name != "__init__.py")


def own_name(path):
    return path.relative_to(ROOT).with_suffix("").as_posix()


@pytest.mark.parametrize("path", [path for package in FLOORS for path in modules(package)], ids=own_name)
def test_a_file_imports_only_from_floors_below(path):
    own = own_name(path)
    for name in imports(path):
        if name.split(".")[0] == own.split("/")[0]:
            other = name.replace(".", "/")
            assert FLOOR_OF[other] < FLOOR_OF[own] or (own, other) == UPWARDS, f"{own} imports {other}"


def test_every_floor_is_inhabited():
    assert {own_name(path) for package in FLOORS for path in modules(package)} == set(FLOOR_OF)


def test_packages_import_each_other_in_one_direction():
    for package, allowed in PACKAGES.items():
        for path in modules(package):
            others = {name.split(".")[0] for name in imports(path)} & set(PACKAGES) - {package}
            assert others <= allowed | ({"reference"} if path.name == "cli.py" else set()), path


def test_the_command_line_imports_reference_only_when_it_checks_gradients():
    code = "import sys, lstm_scratch.cli; print(any(name.startswith('reference') for name in sys.modules))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "False\n"


def test_features_are_imported_through_one_door():
    doors = [
        path.name
        for path in modules("lstm_scratch")
        if any(name.split(".")[0] == "features" for name in imports(path))
    ]
    assert doors == ["sound.py"]


WITHOUT = """
import sys

NOT_INSTALLED = "torch sklearn librosa matplotlib espeakng_loader numba onnx onnxruntime keras".split()

class NotInstalled:
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in NOT_INSTALLED:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NotInstalled)

import numpy as np
from lstm_scratch import AudioClassifier
import lstm_scratch.cli, lstm_scratch.converters, lstm_scratch.demo, reference

rng = np.random.default_rng(0)
labels = np.array(["high", "low"] * 12)
clips = [
    np.sin(np.arange(600) * (1.2 if label == "high" else 0.4) + rng.uniform(0, 6)).astype(np.float32)
    for label in labels
]
classifier = AudioClassifier(sample_rate=8000, hidden_size=4, epochs=8, batch_size=4).fit(clips, labels)
classifier.save(sys.argv[1])
print(AudioClassifier.load(sys.argv[1]).score(clips, labels))
"""


def test_the_library_runs_where_torch_and_all_extras_are_not_installed(tmp_path):
    command = [sys.executable, "-c", WITHOUT, str(tmp_path / "model.safetensors")]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    warned, _ = process.stderr.splitlines()  # the warning and the line of code that it quotes
    assert warned.endswith("UserWarning: no fast kernels, numpy computes instead: numba")
    assert float(process.stdout) > 0.9


def test_a_users_own_features_module_is_named_in_the_error(tmp_path):
    (tmp_path / "features.py").write_text("colour = 'red'\n")
    command = [sys.executable, "-c", "from lstm_scratch import AudioClassifier"]
    process = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    last = process.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: 'features' is {tmp_path / 'features.py'}, which hides")
    assert "rename that file" in last


@pytest.mark.compiled
@pytest.mark.parametrize("name", ["LSTM", "AudioClassifier", "lstm_forward"])
def test_a_users_own_simd_module_is_named_in_the_error(tmp_path, name):
    (tmp_path / "simd.py").write_text("colour = 'red'\n")
    command = [sys.executable, "-c", f"from lstm_scratch import {name}; {name}"]
    process = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    if name == "lstm_forward":  # the chapter needs no registers
        assert process.returncode == 0
        return
    last = process.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: 'simd' is {tmp_path / 'simd.py'}, which hides")
    assert "rename that file" in last
