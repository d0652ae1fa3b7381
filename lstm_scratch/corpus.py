"""A corpus: which recording has which label, who is heard in it, and on which side of a split it is.

Two forms on disk: a folder with one folder per class, or a CSV manifest with the columns
``path,label[,speaker|source|group][,split|fold]``, paths relative to the manifest.
"""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np

from lstm_scratch.errors import DataError
from lstm_scratch.sound import AUDIO_SUFFIXES

GROUP_COLUMNS = ("speaker", "source", "group")
NO_GROUP = ("", "none")  # cells that name nobody: each such clip stands alone
ALONE = "alone: "  # what the group of such a clip begins with
PART_OF_WORD = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "development": "validation",
    "test": "test",
    "testing": "test",
}
MANIFEST_NAME = "manifest.csv"

Part = Literal["training", "validation", "test"]


@dataclass(frozen=True)
class Corpus:
    """Recordings and what is known about each. All sequences have the same length.

    Parameters
    ----------
    name : str
        Where it came from.
    paths : sequence of Path
        The recordings.
    labels : sequence of str
        Their classes.
    group_column : str or None
        What a group is: "speaker", "source" or "group". None if groups are not known.
    groups : sequence of str or None
        Who or what was recorded.
    parts : sequence of {"training", "validation", "test"} or None
        The split that the manifest gives.
    folds : sequence of str or None
        The folds that the manifest gives.
    """

    name: str
    paths: Sequence[Path]
    labels: Sequence[str]
    group_column: str | None = None
    groups: Sequence[str] | None = None
    parts: Sequence[str] | None = None
    folds: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: Sequence[int] | np.ndarray) -> Self:
        """Select some of the recordings.

        Parameters
        ----------
        indices : sequence of int
            Which ones.

        Returns
        -------
        Corpus
            Those, in that order.
        """

        def of(column: Sequence[str] | None) -> list[str] | None:
            return None if column is None else [column[n] for n in indices]

        return type(self)(
            self.name,
            [self.paths[n] for n in indices],
            [self.labels[n] for n in indices],
            self.group_column,
            of(self.groups),
            of(self.parts),
            of(self.folds),
        )


def read_corpus(path: str | os.PathLike[str]) -> Corpus:
    """Read a folder of class folders, or a manifest.

    Parameters
    ----------
    path : path
        A manifest (a file), a folder that holds a ``manifest.csv``, or a folder whose folders are
        classes; recordings may lie in folders below those.

    Returns
    -------
    Corpus
        Every recording, in the manifest's or in alphabetical order.

    Raises
    ------
    DataError
        If there is nothing there, or the manifest is wrong: the message names the line.
    """
    path = Path(path)
    if (path / MANIFEST_NAME).is_file():
        return _read_manifest(path / MANIFEST_NAME)
    if path.is_dir():
        return _read_folder(path)
    if path.is_file():
        return _read_manifest(path)
    raise DataError(f"{path}: no such file or folder; name a folder of class folders or a CSV manifest")


def _read_folder(folder: Path) -> Corpus:
    paths, labels = [], []
    for class_folder in sorted(folder.iterdir()):
        if class_folder.is_dir() and not class_folder.name.startswith("."):
            for path in sorted(class_folder.rglob("*")):
                hidden = any(part.startswith(".") for part in path.relative_to(class_folder).parts)
                if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file() and not hidden:
                    paths.append(path)
                    labels.append(class_folder.name)
    if not paths:
        raise DataError(
            f"{folder}: no recordings; put them in one folder per class, such as {folder}/yes/1.wav "
            f"(read are {', '.join(sorted(AUDIO_SUFFIXES))}), or name a CSV manifest"
        )
    return Corpus(str(folder), paths, labels)


def _read_manifest(manifest: Path) -> Corpus:
    columns, rows = _read_table(manifest)
    group_columns = [name for name in GROUP_COLUMNS if name in columns]
    if len(group_columns) > 1:
        raise DataError(
            f"{manifest}: columns {' and '.join(group_columns)}; keep the one that must not cross a split"
        )
    first_line: dict[Path, int] = {}
    paths = []
    missing = []
    for line, row in rows:
        where = f"{manifest}, line {line}"
        for name in ("path", "label", "split", "fold"):
            if name in columns and not row[name]:
                raise DataError(f"{where}: no {name}; fill in the cell or remove the line")
        path = manifest.parent / row["path"]
        if first_line.setdefault(path.resolve(), line) != line:
            raise DataError(
                f"{where}: {row['path']} stands in line {first_line[path.resolve()]} already; remove one"
            )
        paths.append(path)
        if not path.is_file():
            missing.append(f"{where}: {row['path']} is missing")
        if "split" in columns and row["split"].lower() not in PART_OF_WORD:
            raise DataError(f"{where}: split is train, validation or test, not {row['split']!r}")
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(
            f"{missing[0]}{more}; paths are relative to the manifest: add the file or remove the line"
        )

    def column(name: str) -> list[str] | None:
        return [row[name] for _, row in rows] if name in columns else None

    splits = column("split")
    groups = column(group_columns[0]) if group_columns else None
    return Corpus(
        str(manifest),
        paths,
        [row["label"] for _, row in rows],
        group_columns[0] if group_columns else None,
        groups
        and [g if g.lower() not in NO_GROUP else ALONE + str(p) for g, p in zip(groups, paths, strict=True)],
        splits and [PART_OF_WORD[word.lower()] for word in splits],
        column("fold"),
    )


def _read_table(manifest: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Column names, and each row as (line number, cells by column)."""
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            columns = [name.strip().lower() for name in next(reader, [])]
            table = [(reader.line_num, cells) for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{manifest}: no CSV file in UTF-8 ({error}); a manifest is wanted here") from None
    for name in ("path", "label"):
        if name not in columns:
            raise DataError(
                f"{manifest}: no column {name!r} in its first line ({', '.join(columns)[:80]!r}); "
                "it has, separated by commas, path,label[,speaker|source|group][,split|fold]"
            )
    if len(set(columns)) < len(columns):
        raise DataError(
            f"{manifest}: a column stands twice in its first line ({', '.join(columns)}); remove one"
        )
    for line, cells in table:
        if len(cells) != len(columns):
            raise DataError(
                f"{manifest}, line {line}: {len(cells)} cells for {len(columns)} columns; mend the line"
            )
    if not table:
        raise DataError(f"{manifest}: holds a header and no recordings; add a line for each")
    return columns, [
        (line, dict(zip(columns, (cell.strip() for cell in cells), strict=True))) for line, cells in table
    ]
