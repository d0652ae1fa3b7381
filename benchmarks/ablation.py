"""What helps a small LSTM on little audio, one setting at a time: `python -m benchmarks.ablation`.

Each study has a base: a recipe that changes no sound, and trains more briefly. Each variant differs from it
in one thing, and is trained as often: for every fold and every seed. Tested is a part of the training data,
as of `cross-validate --part validation`: what is found here may be used to choose settings by, and no test
part has been looked at.

Told is the difference to the base in points of accuracy: the mean over the seeds; its interval of 95 % by
Student's t over the seeds' differences, each of which compares two trainings of the same seed; and in how
many folds the variant is better. The interval is about what trainings draw: other speakers or sounds are not
in it, of which the folds tell more. Results are kept in a folder, and what is there is not worked out again.
"""

import argparse
import math
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scipy.special import stdtrit

from lstm_scratch.corpus import read_corpus
from lstm_scratch.errors import DataError, UserError
from lstm_scratch.experiments import cross_validate
from lstm_scratch.processes import usable_cpus
from lstm_scratch.recipe import build_classifier, plain_settings, read_recipe, settings_of
from lstm_scratch.results import CONFIDENCE, read_results, save_results

Settings = Mapping[str, Any]

BASE = "base"
#: What is changed, by topic. What a study's base has already is no variant of it.
VARIANTS: dict[str, dict[str, Settings]] = {
    "slopes": {f"of order {n}" if n else "none": {"delta_order": n} for n in (0, 1, 2)},
    "normalisation": {
        "none": {"clip_normalisation": "none", "top_db": None},
        "mean of each clip": {"clip_normalisation": "mean"},
        "mean and variance of each clip": {"clip_normalisation": "mean-variance"},
        "80 dB below the clip's maximum": {"top_db": 80.0},
    },
    "frames in a step": {f"{n}": {"stack": n} for n in (2, 4, 8)},
    "pooling": {name: {"pooling": name} for name in ("mean", "max", "last", "attention", "mean+max+std")},
    "directions": {"two": {"bidirectional": True}, "one": {"bidirectional": False}},
    "forget bias": {f"{bias}": {"forget_bias": float(bias)} for bias in (0, 1)},
    "dropout": {
        "none": {"dropout": 0.0},
        "of the pooled output, 0.3": {"dropout": 0.3},
        "of the input, 0.1": {"input_dropout": 0.1},
        "of the hidden state, one mask for all steps, 0.2": {"recurrent_dropout": 0.2},
        "zoneout of cell and hidden state, 0.1": {"zoneout_c": 0.1, "zoneout_h": 0.1},
    },
    "label smoothing": {f"{part}": {"label_smoothing": part} for part in (0.0, 0.1)},
    "running mean of the weights": {
        "none": {"ema_decay": 0.0},
        "0.99": {"ema_decay": 0.99},
    },
    "what is changed in training": {
        "nothing": {},
        "masks over time": {"time_masks": 2},
        "masks over features": {"feature_masks": 1},
        "mixup, 0.2": {"mixup": 0.2},
        "noise, 10 to 40 dB": {"snr_db": (10, 40)},
        "equaliser, up to 10 dB": {"equaliser_db": (-10, 10)},
        "level, up to 6 dB": {"gain_db": (-6, 6)},
        "place in the clip, up to 100 ms": {"shift_ms": (-100, 100)},
        "speed (tempo and pitch), up to 10 %": {"speed": (0.9, 1.1)},
        "tempo, up to 20 %": {"tempo": (0.8, 1.25)},
        "length of the vocal tract, up to 15 %": {"vtln": (0.85, 1.18)},
        "noise, equaliser, level, tempo and tract": {
            "snr_db": (10, 40),
            "equaliser_db": (-10, 10),
            "gain_db": (-6, 6),
            "tempo": (0.8, 1.25),
            "vtln": (0.85, 1.18),
        },
    },
}


class Study(NamedTuple):
    """A protocol, and what its variants are compared with."""

    data: str  # a folder
    folds: str
    recipe: str
    changed: Settings  # of the recipe, to make the base

    @property
    def base(self) -> dict[str, Any]:
        """Settings of the base."""
        return read_recipe(self.recipe).settings | dict(self.changed)


PLAIN_SOUND: Settings = {
    **dict.fromkeys(("shift_ms", "equaliser_db", "snr_db", "gain_db", "vtln", "tempo")),
    "probability": 1.0,
    "copies": 4,
}
STUDIES = {
    "digits": Study(
        "fsdd", "speaker", "digits", {**PLAIN_SOUND, "epochs": 10, "pooling": "mean", "feature_masks": 0}
    ),
    "sounds": Study("esc10", "fold", "environment", {**PLAIN_SOUND, "epochs": 25, "stack": 4}),
}


class Difference(NamedTuple):
    """How much more accurate a variant is than the base, in points."""

    mean: float  # over the seeds
    interval: tuple[float, float]
    better: int  # in so many folds
    folds: int


class Variant(NamedTuple):
    """One setting, or a few that belong together."""

    topic: str
    name: str
    settings: dict[str, Any]  # all of them
    is_base: bool

    @property
    def file(self) -> str:
        """What its results are called."""
        words = BASE if self.is_base else f"{self.topic} {self.name}"
        return re.sub(r"[^a-z0-9.]+", "-", words.lower()) + ".json"


def variants_of(base: Settings) -> list[Variant]:
    """List what is compared with a base.

    Parameters
    ----------
    base : mapping
        Its settings.

    Returns
    -------
    list of Variant
        All of `VARIANTS`, in their order; those that change nothing are the base.
    """
    whole = settings_of(build_classifier(base))
    found = []
    for topic, variants in VARIANTS.items():
        for name, changes in variants.items():
            settings = dict(base) | dict(changes)
            is_base = settings_of(build_classifier(settings)) == whole
            found.append(Variant(topic, name, settings, is_base))
    return found


def difference(variant: Mapping[str, Any], base: Mapping[str, Any]) -> Difference:
    """Compare two results of the same protocol and seeds.

    Parameters
    ----------
    variant, base : mapping
        What `cross_validate` returned.

    Returns
    -------
    Difference
        Of accuracies.
    """
    of_variant, of_base = (
        {(done["seed"], done["fold"]): 100 * done["accuracy"] for done in outcome["folds"]}
        for outcome in (variant, base)
    )
    found = {key: accuracy - of_base[key] for key, accuracy in of_variant.items()}
    seeds, folds = ({key[k] for key in found} for k in (0, 1))
    of_seeds = [statistics.mean(found[seed, fold] for fold in folds) for seed in sorted(seeds)]
    better = sum(statistics.mean(found[seed, fold] for seed in seeds) > 0 for fold in folds)
    return Difference(statistics.mean(of_seeds), t_interval(of_seeds), better, len(folds))


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """Bound the mean of what a few normally distributed values are drawn from.

    Parameters
    ----------
    values : sequence of float
        Two at least.

    Returns
    -------
    low, high : float
        Of 95 %, by Student's t.
    """
    n = len(values)
    reach = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * statistics.stdev(values) / math.sqrt(n)
    return statistics.mean(values) - reach, statistics.mean(values) + reach


def run(study: Study, variant: Variant, folder: Path, data: Path, seeds: int, processes: int) -> None:
    """Train and test one variant, unless its results are there.

    Parameters
    ----------
    study : Study
        The protocol.
    variant : Variant
        What is trained.
    folder : Path
        Where its results go, and features are kept.
    data : Path
        A folder with one folder for each corpus.
    seeds, processes : int
        How many.

    Raises
    ------
    DataError
        If what is there has other seeds or settings, or is no whole file of results.
    """
    path, classifier = folder / variant.file, build_classifier(variant.settings)
    if path.exists():
        there = read_results(path)
        if there["seeds"] != list(range(seeds)):
            raise DataError(f"{path}: results of other seeds than {seeds}; name another folder with -o")
        settings = plain_settings(settings_of(classifier))
        if any(there["settings"].get(name, value) != value for name, value in settings.items()):
            raise DataError(f"{path}: results of other settings than today's; name another folder with -o")
        return
    outcome = cross_validate(
        read_corpus(data / study.data),
        classifier,
        study.folds,
        part="validation",
        seeds=range(seeds),
        processes=processes,
        cache=None if classifier.hears else folder / "features",
    )
    save_results(path, outcome | {"recipe": study.recipe})
    print(f"{path}: {100 * outcome['accuracy']:.2f} % in {outcome['seconds']:.0f} s", file=sys.stderr)


def tables(study: Study, folder: Path) -> str:
    """Put what has been found side by side.

    Parameters
    ----------
    study : Study
        Which study.
    folder : Path
        Where its results are.

    Returns
    -------
    str
        A line about the base, and a table in Markdown.
    """
    base = read_results(folder / f"{BASE}.json")
    seeds = len(base["seeds"])
    lines = [
        f"Base: {100 * base['accuracy']:.2f} % (standard deviation over {seeds} seeds "
        f"{100 * base['accuracy_sd']:.2f}), {base['parameters']:,} parameters, "
        f"{base['settings']['epochs']} epochs.",
        "",
        "| what | | difference in points (95 % interval) | better in | parameters |",
        "| --- | --- | --- | --- | --- |",
    ]
    for variant in variants_of(study.base):
        path = folder / variant.file
        if variant.is_base:
            lines.append(f"| {variant.topic} | {variant.name} | base | | |")
        elif path.exists():
            found = read_results(path)
            mean, (low, high), better, folds = difference(found, base)
            lines.append(
                f"| {variant.topic} | {variant.name} | {mean:+.2f} ({low:+.2f} to {high:+.2f}) | {better} of "
                f"{folds} | {found['parameters']:,} |"
            )
        else:
            lines.append(f"| {variant.topic} | {variant.name} | not run | | |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all that is not there yet, and print the tables.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the command line.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a folder with fsdd and esc10 in it")
    parser.add_argument("--output", "-o", type=Path, required=True, help="a folder for results")
    parser.add_argument("--study", choices=STUDIES, action="append", help="only this one; may be repeated")
    parser.add_argument("--only-print", action="store_true", help="train nothing, print what is there")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=usable_cpus())
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        parser.error("--seeds: two at least, as a difference is told with its interval")
    names = options.study or list(STUDIES)
    if missing := [STUDIES[name].data for name in names if not (options.data / STUDIES[name].data).is_dir()]:
        parser.error(
            f"{options.data}: no {', '.join(missing)} in it; name the folder that holds these corpora"
        )
    try:
        _run_all(names, options)
    except (UserError, OSError) as error:
        parser.error(str(error))


def _run_all(names: Sequence[str], options: argparse.Namespace) -> None:
    for name in names:
        study, folder = STUDIES[name], options.output / name
        folder.mkdir(parents=True, exist_ok=True)
        variants = variants_of(study.base)
        for variant in sorted(variants, key=lambda variant: not variant.is_base):  # the base first
            if not options.only_print:
                run(study, variant, folder, options.data, options.seeds, options.processes)
        print(f"\n{name} ({study.data}, --folds {study.folds} --part validation)\n\n{tables(study, folder)}")


if __name__ == "__main__":
    main()
