"""How everything here is compiled, in one place, and where the result is kept.

numba keeps compiled functions on disk, and looks at a function's own file to tell whether they are still
right. Ours are made of several files, those here and those of the package that they serve. So each package
has a folder whose name depends on all of them, on the versions of numba and of ours, and on the CPU. What is
in it is never stale, only unused.
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
from numba import njit

HERE = Path(__file__).parent

config: Any = numba.config  # its settings are made at run time


@cache
def cache_folder(package: Path) -> Path | None:
    """Tell where a package's compiled functions are kept.

    Parameters
    ----------
    package : path
        The folder with the package's files.

    Returns
    -------
    path or None
        A folder below ``$XDG_CACHE_HOME``, or else ``~/.cache``. None where nothing can be written
        there: then each process compiles anew.
    """
    # Functions of ours become a part of those that call them, in whatever package.
    sources = [source for folder in dict.fromkeys((HERE, package)) for source in sorted(folder.glob("*.py"))]
    named = (config.CPU_NAME, config.CPU_FEATURES)
    target = named if any(named) else (llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())
    versions = (_our_version(), numba.__version__, llvmlite.__version__, sys.version)
    key = hashlib.sha256(repr((versions, target)).encode())
    for source in sources:
        key.update(source.read_bytes())
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = base / "lstm-scratch" / f"{_name(package)}-{key.hexdigest()[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):  # read-only, or there is no home
        return None
    return folder


def _name(package: Path) -> str:
    """Name a package as it is imported: of folders `kernels` there are several."""
    house = HERE.parent
    parts = package.relative_to(house).parts if package.is_relative_to(house) else ()
    return ".".join(parts) or package.name


def _our_version() -> str:
    try:
        return version("lstm-scratch")
    except PackageNotFoundError:  # run from a folder of sources
        return ""


def is_compiled(package: Path) -> bool:
    """Tell whether some process has compiled a package's functions before.

    Parameters
    ----------
    package : path
        As of `cache_folder`.

    Returns
    -------
    bool
        Whether anything is kept.
    """
    folder = cache_folder(package)
    return folder is not None and any(folder.rglob("*.nbi"))


def jit(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called, and keep the result on disk.

    It runs without Python's global lock, divides as C does, and knows no fast-math: NaN stays NaN.

    Parameters
    ----------
    function : callable
        Of arrays and numbers.

    Returns
    -------
    numba.core.dispatcher.Dispatcher
        The compiled function.
    """
    folder = cache_folder(Path(function.__code__.co_filename).parent)
    if folder is None:
        return njit(error_model="numpy", nogil=True)(function)
    before = config.CACHE_DIR
    config.CACHE_DIR = str(folder)
    try:
        return njit(error_model="numpy", nogil=True, cache=True)(function)
    finally:
        config.CACHE_DIR = before
