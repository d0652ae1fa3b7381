"""From the plain loop to the register tile: `python -m benchmarks.kernels`.

One layer's forward pass, again and again, each version one change from the one before it. Letters: T time
steps, B batch rows, I inputs, H hidden units, L lanes of a register. All is float32, and all but the last
version has one thread.

A version takes x and the weights, in whatever order it wants them; putting them in order is not timed. It
fills ``h (T+1, B, H)``, whose slot 0 is the state before the first step, and takes ``c (B, H)`` along. Every
version has to agree with `lstm.py` before anything is timed.
"""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.extending import register_jitable

import lstm_scratch.lstm as plain
from benchmarks.lstm import TOLERANCE, gemm_peak
from benchmarks.timing import alternate, machine, threads_everywhere
from lstm_scratch.kernels import engine as kernels
from lstm_scratch.kernels.packing import pack_gates
from lstm_scratch.kernels.tile import gates_4, store_4, tile
from lstm_scratch.params import Params, freeze
from simd.cpu import lanes
from simd.threads import thread_count

Array = np.ndarray
Row = dict[str, Any]

jit = njit(error_model="numpy", nogil=True)  # as the product's, but not kept on disk
SHAPE = (100, 32, 40, 128)  # T, B, I, H; H is a multiple of L
ONE = np.float32(1)  # a plain 1 would make numba go on in float64


class Version(NamedTuple):
    """One way to compute the pass, and on how much of it."""

    name: str
    run: Callable[[Array], Array]  # from x to y (T, B, H)
    x: Array  # all of it, or fewer steps and rows for what takes too long
    threads: int = 1
    beside: bool = False  # it is not one of the steps


def cell(z_i: Any, z_f: Any, z_g: Any, z_o: Any, c: Any) -> Any:
    """Compute one unit's c and h, by exp and tanh of the C library, which take one number at a time.

    (Where Intel's SVML is installed, numba takes those of SVML, and they can take L.)
    """
    i = ONE / (ONE + math.exp(-z_i))
    f = ONE / (ONE + math.exp(-z_f))
    g = math.tanh(z_g)
    o = ONE / (ONE + math.exp(-z_o))
    c = f * c + i * g
    return c, o * math.tanh(c)


register_jitable(cell)  # Python calls it, and compiled code does


def loops(x: Any, weight_ih: Any, weight_hh: Any, bias: Any, h: Any, c: Any) -> None:
    """Take lists or arrays: one dot product per gate of a unit, one number after the other."""
    H = len(bias) // 4
    z = [bias[0]] * 4
    for t in range(len(x)):
        for b in range(len(x[t])):
            for unit in range(H):
                for gate in range(4):
                    row = gate * H + unit
                    total = bias[row]
                    for k in range(len(x[t][b])):
                        total += x[t][b][k] * weight_ih[row][k]
                    for k in range(H):
                        total += h[t][b][k] * weight_hh[row][k]
                    z[gate] = total
                c[b][unit], h[t + 1][b][unit] = cell(z[0], z[1], z[2], z[3], c[b][unit])


jitted_loops = jit(loops)


@jit
def reordered_loops(x: Array, weight_ih: Array, weight_hh: Array, bias: Array, h: Array, c: Array) -> None:
    """Go over all units inside, weights transposed: L sums grow at once, and each in its old order."""
    (T, B, I), H = x.shape, c.shape[1]
    for t in range(T):
        for b in range(B):
            z = bias.copy()
            for k in range(I):
                for n in range(4 * H):
                    z[n] += x[t, b, k] * weight_ih[k, n]
            for k in range(H):
                for n in range(4 * H):
                    z[n] += h[t, b, k] * weight_hh[k, n]
            for u in range(H):
                c[b, u], h[t + 1, b, u] = cell(z[u], z[H + u], z[2 * H + u], z[3 * H + u], c[b, u])


@jit
def gates(z: Array, c: Array, h: Array) -> None:
    """Turn ``z (blocks, B, 4, L)``, in which units come in blocks, into c and h."""
    blocks, B, _, L = z.shape
    for block in range(blocks):
        for b in range(B):
            of = z[block, b]
            for lane in range(L):
                unit = block * L + lane
                c[b, unit], h[b, unit] = cell(of[0, lane], of[1, lane], of[2, lane], of[3, lane], c[b, unit])


def matrix_products(x: Array, weight_ih: Array, weight_hh: Array, bias: Array, h: Array, c: Array) -> None:
    """Leave the sums to numpy's BLAS: those with x for all steps at once, those with h in every step."""
    B, H = c.shape
    z = x @ weight_ih + bias
    for t in range(len(x)):
        z[t] += h[t] @ weight_hh
        gates(z[t].reshape(1, B, 4, H), c, h[t + 1])


@jit
def tiles(x: Array, h: Array, packed: Array, packed_bias: Array, z: Array) -> None:
    """Compute a step's z by register tiles, a block of units after the other."""
    blocks, _, W = packed.shape
    for block in range(blocks):
        of_block = tile(
            rows=len(x),
            right=packed[block].ctypes.data,
            right_stride=W,
            init=packed_bias[block].ctypes.data,
            init_stride=0,
            left=x.ctypes.data,
            left_stride=x.shape[1],
            n_left=x.shape[1],
            left2=h.ctypes.data,
            left2_stride=h.shape[1],
            n_left2=h.shape[1],
            out=z[block].ctypes.data,
            out_stride=W,
        )
        store_4(z, of_block)


@jit
def register_tiles(x: Array, packed: Array, packed_bias: Array, h: Array, c: Array) -> None:
    """Take our sums, of packed weights, in place of BLAS's; z goes through memory as before."""
    blocks, _, W = packed.shape
    z = np.empty((blocks, c.shape[0], 4, W // 4), x.dtype)
    for t in range(len(x)):
        tiles(x[t], h[t], packed, packed_bias, z)
        gates(z, c, h[t + 1])


@jit
def own_exp(x: Array, packed: Array, packed_bias: Array, h: Array, c: Array) -> None:
    """Take our exp and tanh in place of the C library's: L numbers at once.

    The tile that the product uses does it, with sums that begin at z and have nothing to add.
    """
    (blocks, _, W), (B, H) = packed.shape, c.shape
    z = np.empty((blocks, B, W), x.dtype)
    for t in range(len(x)):
        tiles(x[t], h[t], packed, packed_bias, z)
        for block in range(blocks):
            begin = block * W // 4 * x.itemsize
            cells, out = c.ctypes.data + begin, h[t + 1].ctypes.data + begin
            of_block = tile(
                rows=B,
                right=0,
                right_stride=0,
                init=z[block].ctypes.data,
                init_stride=W,
                out=out,
                out_stride=H,
                c_prev=cells,
                c=cells,
            )
            gates_4(z, of_block)


def versions(params: Params, x: Array, threads: int) -> list[Version]:
    """Set up all versions.

    Parameters
    ----------
    params : dict
        As of `lstm_forward`.
    x : ndarray (T, B, I)
        Inputs.
    threads : int
        Of the last version.

    Returns
    -------
    list of Version
        From slow to fast.
    """
    (T, B, I), H, L = x.shape, params["weight_hh"].shape[1], lanes(x.dtype)
    ours = [params[name] for name in ("weight_ih", "weight_hh", "bias")]
    transposed = [np.ascontiguousarray(array.T) for array in ours]
    packed = [np.empty((H // L, I + H, 4 * L), x.dtype), np.empty((H // L, 4 * L), x.dtype)]
    pack_gates(*ours, *packed)
    frozen = freeze(params)

    def filling(
        fill: Callable[..., None], weights: list[Any], lists: bool = False
    ) -> Callable[[Array], Array]:
        weights = [array.tolist() for array in weights] if lists else weights

        def run(x: Any) -> Array:
            h, c = np.zeros((len(x) + 1, x.shape[1], H), x.dtype), np.zeros((x.shape[1], H), x.dtype)
            arrays = [array.tolist() if lists else array for array in (x, h, c)]
            fill(arrays[0], *weights, *arrays[1:])
            return np.asarray(arrays[1][1:])

        return run

    def product(threads: int) -> Callable[[Array], Array]:
        return lambda x: kernels.lstm_forward(frozen, x, keep=False, num_threads=threads)[0][0]

    return [
        Version(f"python loops (1 of {T * B:,} steps)", filling(loops, ours, lists=True), x[:1, :1]),
        Version("jitted loops", filling(jitted_loops, ours), x),
        Version("loops reordered", filling(reordered_loops, transposed), x),
        Version("matrix product", filling(matrix_products, transposed), x),
        Version("beside: numpy (lstm.py)", lambda x: plain.lstm_forward(params, x)[0][0], x, beside=True),
        Version("register tile", filling(register_tiles, packed), x),
        Version("own exp", filling(own_exp, packed), x),
        Version("own exp, in registers", product(1), x),
        Version(f"all threads ({threads})", product(threads), x, threads),
    ]


def measure(shape: tuple[int, int, int, int], threads: int, budget: float, rounds: int) -> list[Row]:
    """Check all versions, then time them in turns.

    Parameters
    ----------
    shape : tuple of int
        T, B, I, H.
    threads : int
        Of the last version.
    budget : float
        Seconds for all.
    rounds : int
        Turns that each has, at least.

    Returns
    -------
    list of dict
        A row per version.

    Raises
    ------
    AssertionError
        If an output of a version differs by more than `TOLERANCE` of the largest.
    """
    (T, B, I, H), rng = shape, np.random.default_rng(0)
    sizes = {"weight_ih": (4 * H, I), "weight_hh": (4 * H, H), "bias": (4 * H,)}
    params = {name: (rng.uniform(-1, 1, size) / H**0.5).astype(np.float32) for name, size in sizes.items()}
    every = versions(params, rng.standard_normal((T, B, I), np.float32), threads)
    with threads_everywhere(1):
        for version in every:
            y, expected = version.run(version.x), plain.lstm_forward(params, version.x)[0][0]
            atol = TOLERANCE * np.abs(expected).max()
            np.testing.assert_allclose(y, expected, 0, atol, equal_nan=False, err_msg=version.name)
        runs = {version.name: lambda version=version: version.run(version.x) for version in every}
        seconds = alternate(runs, budget, rounds, warm_up=0)
    peaks = {}
    for number in {1, threads}:
        with threads_everywhere(number):
            peaks[number] = gemm_peak()
    steps = {version.name: version.x.shape[0] * version.x.shape[1] for version in every}
    ms = {name: 1e3 * time * T * B / steps[name] for name, time in seconds.items()}
    gflops = {name: 8 * T * B * H * (I + H) / time / 1e6 for name, time in ms.items()}
    names = [version.name for version in every if not version.beside]
    before = dict(zip(names[1:], names, strict=False))
    return [
        {
            **dict(zip("TBIH", shape, strict=True)),
            "version": name,
            "threads": number,
            "steps_timed": steps[name],
            "ms": ms[name],
            "gflops": gflops[name],
            "times_before": ms[before[name]] / ms[name] if name in before else None,
            "times_first": ms[names[0]] / ms[name],
            "fraction_of_peak": gflops[name] / peaks[number],
        }
        for name, _, _, number, _ in every
    ]


def main(arguments: list[str] | None = None) -> None:
    """Run the command.

    Parameters
    ----------
    arguments : list of str, optional
        By default the process's.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description="time step by step")
    parser.add_argument("--quick", action="store_true", help="a few turns only")
    parser.add_argument("--json", metavar="FILE", help="write the rows")
    given = parser.parse_args(arguments)
    on = machine("numpy", "numba")
    print(f"{on}\n{', '.join(f'{letter}={size}' for letter, size in zip('TBIH', SHAPE, strict=True))}\n")
    rows = measure(SHAPE, thread_count(), *((0, 3) if given.quick else (15, 5)))
    print(f"{'':32}{'ms':>12}{'GFLOP/s':>10} |{'x before':>9}{'x first':>9} | of peak")
    for row in rows:
        times = "" if row["times_before"] is None else f"{row['times_before']:.1f}"
        print(
            f"{row['version']:32}{row['ms']:12,.2f}{row['gflops']:10.2f} |{times:>9}"
            f"{row['times_first']:9,.0f} |{row['fraction_of_peak']:8.1%}"
        )
    if given.json:
        Path(given.json).write_text(json.dumps({"machine": on, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
