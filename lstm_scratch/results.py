"""Results of a cross-validation: figures worked out from what was predicted, the file, and a table of many.

Everything is worked out anew from the predictions, so that another question can be asked of a file
later. Letters: N clips, each tested once; S seeds; K classes.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from lstm_scratch.audio import AudioClassifier
from lstm_scratch.errors import DataError
from lstm_scratch.files import atomic_write
from lstm_scratch.recipe import (
    DEFAULT,
    build_classifier,
    plain_settings,
    read_recipe,
    recipe_names,
    settings_of,
)

KIND = "lstm-scratch cross-validation"
FORMAT_VERSION = 1
CONFIDENCE = 0.95
DRAWS = 10_000  # the ends of an interval over few speakers lie far out, where few draws fall
FIGURES = (
    *("n", "n_groups"),
    *(f"{figure}{of}" for figure in ("accuracy", "uar") for of in ("", "_sd", "_interval", "_by_fold")),
)

Figure = Literal["accuracy", "uar"]


class Predictions(NamedTuple):
    """What was predicted of which clip. Classes, folds and groups are numbers from 0 on."""

    label: np.ndarray  # (N,) true classes
    fold: np.ndarray  # (N,) in whose test part it is
    group: np.ndarray  # (N,) what is drawn as one: clips of the same speaker, or each clip by itself
    predicted: np.ndarray  # (S, N) predicted classes, one row per seed

    def take(self, chosen: np.ndarray) -> "Predictions":
        """Select some of the clips.

        Parameters
        ----------
        chosen : ndarray (N,), bool
            Which ones.

        Returns
        -------
        Predictions
            Those.
        """
        return Predictions(
            self.label[chosen], self.fold[chosen], self.group[chosen], self.predicted[:, chosen]
        )


def figures(clips: Predictions, folds: Sequence[str]) -> dict[str, Any]:
    """Work out accuracy and unweighted average recall (UAR), and how far they can be relied on.

    Parameters
    ----------
    clips : Predictions
        Of at least one clip.
    folds : sequence of str
        The folds' names.

    Returns
    -------
    dict
        ``accuracy`` and ``uar``: the mean over the seeds of the mean over the folds;
        ``accuracy_sd`` and ``uar_sd``: the sample standard deviation over the seeds, which is what the
        training's draws do (None of one seed); ``accuracy_interval`` and ``uar_interval``: [low, high] of
        95 %, of `interval`, which is what other clips or speakers would do; ``accuracy_by_fold`` and
        ``uar_by_fold``; ``n`` clips in ``n_groups``.
    """
    found: dict[str, Any] = {"n": len(clips.label), "n_groups": len(np.unique(clips.group))}
    right = clips.predicted == clips.label
    for figure in ("accuracy", "uar"):
        weights = _weights(clips, figure)
        per_seed = right @ weights
        found[figure] = float(per_seed.mean())
        found[f"{figure}_sd"] = float(per_seed.std(ddof=1)) if len(per_seed) > 1 else None
        parts = np.zeros_like(clips.label) if figure == "accuracy" else clips.label
        found[f"{figure}_interval"] = interval(right.mean(axis=0), weights, clips.group, parts)
        found[f"{figure}_by_fold"] = {
            name: float(np.average(right.mean(axis=0)[own], weights=weights[own]))
            for k, name in enumerate(folds)
            if (own := clips.fold == k).any()
        }
    return found


def _weights(clips: Predictions, figure: str) -> np.ndarray:
    """Weigh clips so that the mean over the folds is the sum over those that were labelled right."""
    weights = np.zeros(len(clips.label))
    folds = np.unique(clips.fold)
    for fold in folds:
        own = clips.fold == fold
        if figure == "accuracy":
            weights[own] = 1 / own.sum()
            continue
        classes = np.unique(clips.label[own])
        for label in classes:
            of_class = own & (clips.label == label)
            weights[of_class] = 1 / (of_class.sum() * len(classes))
    return weights / len(folds)


def interval(
    values: np.ndarray, weights: np.ndarray, groups: np.ndarray, parts: np.ndarray
) -> list[float] | None:
    """Estimate between what bounds a figure lies, had other clips or speakers been tested.

    A bootstrap: as many groups as there are are drawn with replacement, again and again, always the same
    draws. The models are those that there are: what other training data would have done to them is not
    in it. Percentiles of a bootstrap over few groups are too close together, so further ones are taken,
    by which the interval of a normal mean becomes Student's. Where all is right, or all is wrong, every draw
    is the same, and the bounds are those of so many trials as there are groups.

    Parameters
    ----------
    values : ndarray (N,)
        Of each clip: the part of the seeds that labelled it right.
    weights : ndarray (N,)
        What each counts.
    groups : ndarray (N,), int
        Clips of one number are drawn together: of the same speaker, say, who is easy or hard to
        understand in all of them.
    parts : ndarray (N,), int
        The figure is a sum of weighted means, one over each part, as UAR is over the classes; in each draw
        they keep their shares.

    Returns
    -------
    list of float or None
        Lower and upper bound of 95 %. None where there is but one group.

    Notes
    -----
    Percentile intervals: B. Efron and R. J. Tibshirani, *An Introduction to the Bootstrap* (1993),
    chapter 13. Groups drawn whole: C. A. Field and A. H. Welsh, "Bootstrapping clustered data", *Journal of
    the Royal Statistical Society B* 69 (2007) 369-390. The percentiles for few groups ("expanded"):
    T. C. Hesterberg, "What teachers should know about the bootstrap", *The American Statistician* 69 (2015)
    371-386. All right or all wrong: C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial
    limits illustrated in the case of the binomial", *Biometrika* 26 (1934) 404-413.
    """
    group_of = np.unique(groups, return_inverse=True)[1]
    part_of = np.unique(parts, return_inverse=True)[1]
    n_groups = int(group_of.max()) + 1
    if n_groups < 2:
        return None
    if values.min() == values.max() and values[0] in (0, 1):
        furthest = ((1 - CONFIDENCE) / 2) ** (1 / n_groups)
        return [furthest, 1.0] if values[0] else [0.0, 1 - furthest]
    total = np.zeros((n_groups, part_of.max() + 1))
    right = np.zeros_like(total)
    np.add.at(total, (group_of, part_of), weights)
    np.add.at(right, (group_of, part_of), weights * values)
    shares = total.sum(axis=0)
    rng = np.random.default_rng(0)
    drawn = np.empty(DRAWS)
    for n in range(DRAWS):
        times = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)
        of_part, weight = times @ right, times @ total
        there = weight > 0  # a class that nobody drawn has spoken is left out of the mean
        drawn[n] = (of_part[there] / weight[there]) @ shares[there] / shares[there].sum()
    from scipy.special import ndtr, stdtrit  # it takes its time

    t = stdtrit(n_groups - 1, (1 + CONFIDENCE) / 2)
    tail = ndtr(-t * np.sqrt(n_groups / (n_groups - 1)))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return [float(low), float(high)]


def save_results(path: str | os.PathLike[str], outcome: Mapping[str, Any]) -> None:
    """Save what `cross_validate` returned, atomically, replacing a file that is there.

    Parameters
    ----------
    path : path
        The file, JSON.
    outcome : mapping
        The results.
    """
    with atomic_write(path) as part:
        part.write_text(json.dumps({"kind": KIND, "format_version": FORMAT_VERSION} | dict(outcome)) + "\n")


def read_results(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `save_results` saved.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    dict
        What `cross_validate` returned.

    Raises
    ------
    DataError
        If the file is missing, cut short, of another kind, or of a later version.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; `lstm-scratch cross-validate DATA ... -o {path}` makes one")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no text, or no JSON
        raise DataError(
            f"{path}: not a whole JSON file ({error}); name one that `lstm-scratch cross-validate -o` wrote"
        ) from None
    if not isinstance(found, dict) or found.pop("kind", None) != KIND:
        raise DataError(
            f"{path}: holds no results of a cross-validation; name a file that `lstm-scratch "
            "cross-validate -o` wrote"
        )
    version = found.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise DataError(
            f"{path}: results of format {version}, but this lstm-scratch reads format {FORMAT_VERSION}; "
            "use the version that wrote it, or run the cross-validation again"
        )
    return found


def table_row(path: str | os.PathLike[str], without: Sequence[str] = ()) -> dict[str, Any]:
    """Read a file of results, and put it as a row of a table.

    Parameters
    ----------
    path : path
        The file.
    without : sequence of str, optional
        Labels: clips of these classes are left out of the figures, but remain among the classes that
        others can be taken for.

    Returns
    -------
    dict
        ``file``, ``data``, ``folds``, ``part``, ``recipe`` (with ``--fast``, if its short cuts were taken),
        ``changed`` (settings other than its own),
        ``parameters``, ``seconds``, ``n_seeds``, ``resampled`` (what the interval is over), and all that
        `figures` gives.

    Raises
    ------
    DataError
        If the file cannot be read, or has no such label.
    """
    found = read_results(path)
    try:
        protocol, labels = found["protocol"], found["labels"]
        row = {name: found[name] for name in ("data", "parameters", "seconds", "resampled")}
        row |= {name: protocol[name] for name in ("folds", "part")}
        row |= {"file": str(path), "n_seeds": len(found["seeds"])}
        row["recipe"], fast = found.get("recipe", DEFAULT), bool(found.get("fast"))
        row["changed"] = changed(found["settings"], row["recipe"], fast)
        row["recipe"] += " --fast" if fast else ""
        if not without:
            return row | {name: found[name] for name in FIGURES}
        for label in without:
            if label not in labels:
                raise DataError(f"{path}: no class {label!r}; there are {', '.join(labels)}")
        clips = Predictions(*(np.array(found["clips"][name], dtype=np.int64) for name in Predictions._fields))
        chosen = ~np.isin(clips.label, [labels.index(label) for label in without])
        if not chosen.any():
            raise DataError(f"{path}: no clip is left without {', '.join(without)}; name fewer classes")
        return row | figures(clips.take(chosen), list(found["accuracy_by_fold"]))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataError(
            f"{path}: damaged or made by hand ({error!r}); copy it again, or run the cross-validation again"
        ) from None


def changed(settings: Mapping[str, Any], recipe: str = DEFAULT, fast: bool = False) -> dict[str, Any]:
    """Tell which settings of a classifier are not those of a recipe, as it is today.

    Parameters
    ----------
    settings : mapping
        By name, in plain values.
    recipe : str, optional
        A recipe's name. By default what is done without one.
    fast : bool, default False
        Whether its short cuts were taken.

    Returns
    -------
    dict
        Settings by name.
    """
    known = read_recipe(recipe if recipe in recipe_names() else DEFAULT)
    chosen = known.choose(fast and bool(known.short_cuts))
    usual = settings_of(build_classifier(chosen)) | {"engine": AudioClassifier.engine}
    plain, nothing = plain_settings(usual), object()
    found = plain_settings(settings)
    return {name: value for name, value in found.items() if value != plain.get(name, nothing)}


def markdown_table(
    rows: Sequence[Mapping[str, Any]], figure: Figure = "accuracy", without: Sequence[str] = ()
) -> str:
    """Put results side by side.

    Parameters
    ----------
    rows : sequence of mapping
        From `table_row`.
    figure : {"accuracy", "uar"}, default "accuracy"
        Which figure is shown.
    without : sequence of str, optional
        As of `table_row`.

    Returns
    -------
    str
        A table in Markdown.
    """
    shown = {"accuracy": "accuracy", "uar": "UAR"}[figure]
    shown += f" without {', '.join(without)}" if without else ""
    header = [
        "data",
        "folds",
        "recipe",
        "parameters",
        f"{shown} (95 % interval)",
        "spread over seeds",
        "seconds",
    ]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        folds = f"{row['folds']}" + ("" if row["part"] == "test" else ", validation part")
        spread = row[f"{figure}_sd"]
        bounds = interval_in_words(row, figure)
        lines.append(
            [
                f"{row['data']} ({row['n']:,} clips)",
                folds,
                ", ".join([row["recipe"], *(f"{name}={value}" for name, value in row["changed"].items())]),
                f"{row['parameters']:,}",
                f"{100 * row[figure]:.2f} %" + (f" ({bounds})" if bounds else ""),
                "1 seed" if spread is None else f"{100 * spread:.2f} ({row['n_seeds']} seeds)",
                f"{row['seconds']:.0f}",
            ]
        )
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def interval_in_words(row: Mapping[str, Any], figure: Figure) -> str:
    """Write an interval, and what it is over.

    Parameters
    ----------
    row : mapping
        From `cross_validate` or `table_row`.
    figure : {"accuracy", "uar"}
        Of which figure.

    Returns
    -------
    str
        Such as "78.10 to 92.00 %, over 6 speakers"; nothing where there is none.
    """
    bounds = row[f"{figure}_interval"]
    if bounds is None:
        return ""
    low, high = (f"{100 * bound:.2f}" for bound in bounds)
    return f"{low} to {high} %, over {row['n_groups']:,} {row['resampled']}s"
