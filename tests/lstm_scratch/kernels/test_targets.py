"""Other CPUs than this one, told to numba in a process of their own; and no numba at all."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from lstm_scratch import lstm
from lstm_scratch.kernels import engine as kernels

# H, I, B, T; one, two and three registers remain beside whole tiles.
SHAPES = [(3, 2, 3, 5), (5, 4, 7, 6), (20, 17, 11, 3), (33, 13, 2, 4), (70, 41, 9, 5)]

# Computes the passes of one file and writes all results, by name, to another.
COMPUTE = """
import sys
import numpy as np
from lstm_scratch.kernels import engine as kernels
from simd.cpu import REGISTERS
from lstm_scratch.kernels.step import single_step

given, results = np.load(sys.argv[1]), {"registers": np.array(REGISTERS)}
for key in sorted({name.split("/")[0] for name in given}):
    a = {name.split("/")[1]: given[name] for name in given if name.startswith(f"{key}/")}
    params = {name: a[name] for name in ("weight_ih", "weight_hh", "bias")}
    outputs, cache = kernels.lstm_forward(params, a["x"], a["h0"], a["c0"], a["lengths"])
    inputs, grads = kernels.lstm_backward(params, cache, a["dy"], a["dh_n"], a["dc_n"])
    names = ("y", "h_n", "c_n", "dx", "dh0", "dc0", *(f"d{name}" for name in grads))
    for name, array in zip(names, (*outputs, *inputs, *grads.values()), strict=True):
        results[f"{key}/{name}"] = array
    first = a["x"][:1, :1], a["h0"][:1], a["c0"][:1]
    states, ((_, *expected), _) = single_step([params])(first[0][0, 0], *first[1:]), kernels.lstm_forward(
        params, *first
    )
    assert np.array_equal(states, expected, equal_nan=True), "one step alone"
np.savez(sys.argv[2], **results)
"""
HASWELL = ["avx", "avx2", "fma", "f16c", "sse", "sse2", "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt"]
HASWELL += ["bmi", "bmi2", "lzcnt", "movbe", "cx16", "64bit", "cmov", "fxsr", "mmx"]
# What numba is told, and what it takes to run that.
TARGETS = {
    "AVX2": ("haswell", ",".join(f"+{name}" for name in HASWELL), 32),
    "SSE2": ("x86-64", "+sse,+sse2,+64bit,+cmov,+fxsr,+mmx", 16),
}
on_x86 = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="this CPU is no x86"
)


def computed_by(target, passes, folder):
    """The results of all passes, in a process whose numba compiles for that target."""
    name, features, _ = TARGETS[target]
    arrays = {f"{key}/{k}": array for key, a in passes.items() for k, array in a.arrays().items()}
    np.savez(folder / "given.npz", **arrays)
    environment = os.environ | {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    command = [sys.executable, "-W", "error", "-c", COMPUTE, folder / "given.npz", folder / "results.npz"]
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert process.returncode == 0, process.stderr
    with np.load(folder / "results.npz") as results:
        return dict(results)


def has_what_it_takes(target):
    """Whether this CPU has all that the target's code may use."""
    import llvmlite.binding as llvm

    has = llvm.get_host_cpu_features()
    return all(has.get(feature[1:], False) for feature in TARGETS[target][1].split(","))


def check(target, dtype, draw, folder):
    if not has_what_it_takes(target):
        pytest.skip(f"this CPU cannot run {target}")
    passes = {str(n): draw(*shape, dtype, "uneven") for n, shape in enumerate(SHAPES)}
    results = computed_by(target, passes, folder)
    assert results["registers"][0] == TARGETS[target][2], "it was not the target that was compiled for"
    bound = {np.float32: 3e-6, np.float64: 1e-13}[dtype]
    for n, a in passes.items():
        here = a.run(kernels.lstm_forward, kernels.lstm_backward)
        exact = a.astype(np.float64).run(lstm.lstm_forward, lstm.lstm_backward)
        for name, array in exact.items():
            found = results[f"{n}/{name}"]
            assert found.dtype == dtype
            assert np.abs(found - array).max() <= bound * np.abs(array).max(), (SHAPES[int(n)], name)
            # Going back, sums over units are taken register by register; if one holds all, in the same order.
            in_one_register = SHAPES[int(n)][0] <= TARGETS[target][2] // np.dtype(dtype).itemsize
            if name in ("y", "h_n", "c_n") or in_one_register:
                np.testing.assert_array_equal(found, here[name], err_msg=name)


kinds = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@on_x86
@kinds
def test_avx2_gives_the_chapters_results_and_the_values_bits_of_this_cpu(draw, dtype, tmp_path):
    check("AVX2", dtype, draw, tmp_path)


@pytest.mark.long
@on_x86
@kinds
def test_without_fused_instructions_the_results_are_the_same(draw, dtype, tmp_path):
    """LLVM makes up for them, slowly."""
    check("SSE2", dtype, draw, tmp_path)


# An LSTM on engine "numba", forward and back, in a process where it cannot compile.
FALL_BACK = """
import sys, warnings
WITHOUT
import numpy as np
from lstm_scratch.layers.stack import LSTM

rng = np.random.default_rng(0)
x, dy = rng.normal(size=(6, 4, 3)), rng.normal(size=(6, 4, 10))
results = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for engine in ("numba", "numpy"):
        for _ in range(3):
            lstm = LSTM(3, 5, num_layers=2, bidirectional=True, engine=engine)
            params = lstm.init(np.random.default_rng(1), np.float64)
            outputs, cache = lstm.forward(params, x, lengths=np.array([3, 0, 6, 1]))
            inputs, grads = lstm.backward(params, cache, dy)
            lstm.forward(params, x, inference=True)
        results[engine] = [*outputs, *inputs, *grads.values()]
same = all(np.array_equal(a, b) for a, b in zip(results["numba"], results["numpy"], strict=True))
print(same, len(results["numba"]), results["numba"][0].any())
for warning in caught:
    print(warning.message)
"""
NOT_INSTALLED = """
class NotInstalled:
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in ("numba", "llvmlite"):
            raise ModuleNotFoundError(f"No module named {name!r}")
sys.meta_path.insert(0, NotInstalled)
"""


@pytest.mark.parametrize(
    ("without", "environment", "reason"),
    [
        ("", {"NUMBA_DISABLE_JIT": "1"}, "NUMBA_DISABLE_JIT is set"),
        (NOT_INSTALLED, {}, "No module named 'numba'"),
        (NOT_INSTALLED.replace('("numba", "llvmlite")', '("llvmlite",)'), {}, "No module named 'llvmlite'"),
    ],
    ids=["NUMBA_DISABLE_JIT", "no numba", "no llvmlite"],
)
def test_where_numba_cannot_compile_numpy_does_it_and_says_so_once(without, environment, reason):
    process = subprocess.run(
        [sys.executable, "-c", FALL_BACK.replace("WITHOUT", without)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert process.stderr == ""
    results, *warnings = process.stdout.splitlines()
    assert results == "True 18 True"
    assert len(warnings) == 1
    assert warnings[0].startswith("no fast kernels, numpy computes instead: ")
    assert reason in warnings[0]
