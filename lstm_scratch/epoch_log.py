"""A log that programs read: a JSON object for each epoch, one a line."""

import dataclasses
import json
import math
import os
from pathlib import Path

from lstm_scratch.training import Epoch

BEGINNING = b" "  # of a training, before its first line
LINE = b'{"epoch":'  # how a line begins


class EpochLog:
    """Appends to a file, and writes no epoch of a training twice, however often that is resumed.

    A training that is resumed repeats the epochs since its checkpoint to the bit. So a line that is there
    already is known by its text, if it is of this training and not of an earlier one, which may have been the
    same: when a training begins that is not the first in the file, it leaves a space there, which its first
    line will stand behind, and which JSON passes over.

    Parameters
    ----------
    path : path
        The file; what is in it stays. It is made, and folders above it, if it is not there.
    resumed : bool
        Whether the file may have lines of the training that is logged.

    Raises
    ------
    OSError
        If the file cannot be read or written.
    """

    def __init__(self, path: str | os.PathLike[str], resumed: bool) -> None:
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        there = self._path.read_bytes() if self._path.exists() else b""
        own = (b"\n" + there).rpartition(b"\n" + BEGINNING)[2]
        self._lines = set(own.split(b"\n")[:-1]) if resumed else set()
        last = there.rpartition(b"\n")[2]
        cut = last.removeprefix(BEGINNING)  # by a full disk, perhaps
        if resumed and cut and (cut.startswith(LINE) or LINE.startswith(cut)):
            os.truncate(self._path, len(there) - len(cut))  # it comes again
            return
        before = b"\n" if cut else b""
        if not resumed and there and last != BEGINNING:
            before += BEGINNING
        if before:
            with self._path.open("ab") as file:
                file.write(before)

    def __call__(self, epoch: Epoch) -> None:
        """Write a line, and leave nothing of it in a buffer.

        Parameters
        ----------
        epoch : Epoch
            What it brought. A figure that is no finite number is null.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        figures = dataclasses.asdict(epoch)
        finite = {k: v if v is not None and math.isfinite(v) else None for k, v in figures.items()}
        line = json.dumps(finite).encode()
        if line in self._lines:
            return
        try:
            with self._path.open("ab") as file:
                file.write(line + b"\n")
        except OSError as error:
            reason = f"cannot write the log ({error.strerror}); mend that and resume"
            raise OSError(error.errno, reason, str(self._path)) from None
