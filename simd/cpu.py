"""The vector registers of the CPU that numba compiles for: how wide they are, and how many."""

import platform
from typing import NamedTuple

import llvmlite.binding as llvm
import numpy as np
from numba import config

IS_X86 = platform.machine() in ("x86_64", "AMD64", "i386", "i686")


class Registers(NamedTuple):
    """Vector registers."""

    n_bytes: int  # width of one
    number: int


def registers() -> Registers:
    """Ask what numba's target has; `NUMBA_CPU_FEATURES` may narrow it.

    Returns
    -------
    Registers
        AVX-512 has 32 of 64 bytes, AVX 16 of 32 bytes. Whatever else there is has 16 bytes, and what it
        lacks LLVM makes up for.
    """
    named = config.CPU_FEATURES  # type: ignore[attr-defined]  # made at run time
    features = llvm.get_host_cpu_features().flatten() if named is None else named
    has = {feature[1:] for feature in features.split(",") if feature.startswith("+")}
    if "avx512f" in has:
        return Registers(64, 32)
    if "avx" in has:
        return Registers(32, 16)
    return Registers(16, 32 if platform.machine() in ("aarch64", "arm64") else 16)


REGISTERS = registers()


def lanes(dtype: np.dtype) -> int:
    """Count the numbers in one register.

    Parameters
    ----------
    dtype : dtype
        float32 or float64.

    Returns
    -------
    int
        L.
    """
    return REGISTERS.n_bytes // np.dtype(dtype).itemsize
