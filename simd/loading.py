"""Loading kernels when they are first needed, as numba takes its time; without them, where there are none."""

import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from simd.errors import warn


@cache
def load_kernels(name: str, purpose: str) -> Any:
    """Import a module of kernels.

    Parameters
    ----------
    name : str
        The module.
    purpose : str
        What the kernels are for, as a message puts it that says that they are being compiled.

    Returns
    -------
    module or None
        None, where numba is missing, broken or told not to compile: a warning has said so, once.
    """
    try:
        from numba import config

        if config.DISABLE_JIT:  # type: ignore[attr-defined]  # made at run time
            raise ImportError("NUMBA_DISABLE_JIT is set")
        module = import_module(name)
        from simd.jit import cache_folder, is_compiled
    except (ImportError, OSError) as error:
        warn_of(str(error))
        return None
    package = Path(module.__file__ or "").parent
    if not is_compiled(package):
        folder = cache_folder(package)
        kept = f"they are kept in {folder}" if folder else "in every process: ~/.cache is read-only"
        print(
            f"lstm-scratch: compiling the kernels for {purpose}, which takes some seconds; {kept}",
            file=sys.stderr,
        )
    return module


@cache
def warn_of(reason: str) -> None:
    """Warn that there are no kernels, once for each reason.

    Parameters
    ----------
    reason : str
        Why.
    """
    warn(f"no fast kernels, numpy computes instead: {reason}")
