"""Files: written whole or not at all, and one container for arrays with a description (safetensors).

A safetensors file is a header, in which a plain text may be kept, and raw arrays: opening one
never runs code.
"""

import contextlib
import errno
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lstm_scratch.errors import ModelFileError

# All that is not an array is one text under one key: safetensors keeps no order among several, and the
# same model is to be the same bytes.
METADATA_KEY = "lstm-scratch"
FORMAT_VERSION = 1


def check_writable(path: str | os.PathLike[str]) -> None:
    """Make sure that a file can be written, before something long begins.

    Parameters
    ----------
    path : path
        Where the file is to be.

    Raises
    ------
    OSError
        If it cannot be written there.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder; name a file in it", str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is no file that could be replaced; name another", str(path))
    there = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise OSError(
            error.errno, f"cannot write there ({error.strerror}); name another folder", str(there)
        ) from None


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file next to its place and move it there when it is complete.

    Parameters
    ----------
    path : path
        Where the file is to be. Folders above it are made.

    Yields
    ------
    Path
        Where to write it. If the block raises, that file is removed and `path` is as before.
    """
    path = Path(path).resolve()  # a link stays a link
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def save_model(
    path: str | os.PathLike[str], arrays: dict[str, np.ndarray], description: dict[str, Any]
) -> None:
    """Save arrays and a description in one file, atomically.

    Parameters
    ----------
    path : path
        The file; one that is there is replaced.
    arrays : dict
        Arrays by name.
    description : dict
        Anything that JSON can hold.
    """
    text = json.dumps(
        {"format_version": FORMAT_VERSION} | description,
        sort_keys=True,
        default=lambda number: number.item(),  # numpy's, from a parameter grid
    )
    arrays = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    with atomic_write(path) as part:
        part.write_bytes(save(arrays, {METADATA_KEY: text}))


def load_model(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Load what `save_model` saved.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    arrays : dict
        Arrays by name.
    description : dict
        The description.

    Raises
    ------
    ModelFileError
        If the file is missing, cut short, of another kind, or of a later version.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(f"{path}: no such model file; `lstm-scratch train DATA -o {path}` makes one")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
    except (SafetensorError, ValueError) as error:
        raise ModelFileError(
            f"{path}: not a whole safetensors file ({error}); copy it again or train anew"
        ) from None
    if METADATA_KEY not in metadata:
        raise ModelFileError(
            f"{path}: a safetensors file, but no lstm-scratch model; `lstm-scratch train` makes one"
        )
    try:
        description = dict(json.loads(metadata[METADATA_KEY]))
    except (ValueError, TypeError) as error:
        raise ModelFileError(f"{path}: damaged description ({error}); copy it again or train anew") from None
    version = description.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: model format {version}, but this lstm-scratch reads format {FORMAT_VERSION}; "
            "use the version that wrote it, or train anew"
        )
    return arrays, description
