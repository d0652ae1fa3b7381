"""The command line: arguments in, calls out. Results go to stdout, everything else to stderr."""

import argparse
import dataclasses
import functools
import io
import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lstm_scratch.activations import ACTIVATIONS
from lstm_scratch.activity import SHIPPED, SpeechDetector
from lstm_scratch.analysis import (
    OWN,
    analyse,
    check_new,
    compare,
    describe_difference,
    others_from_words,
    save_array,
    settings_from_words,
)
from lstm_scratch.audio import AudioClassifier
from lstm_scratch.corpus import read_corpus
from lstm_scratch.demo import run_demo
from lstm_scratch.detection import train_detector
from lstm_scratch.engines import ENGINES, warm_up
from lstm_scratch.epoch_log import EpochLog
from lstm_scratch.errors import DivergenceError, ThreadCountError, UserError
from lstm_scratch.experiments import cross_validate, evaluate, label_files, train
from lstm_scratch.files import check_writable, load_model
from lstm_scratch.layers.pooling import STATISTICS
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.listening import file_chunks, format_heard, listen, pcm_chunks
from lstm_scratch.plots import (
    CONFUSION,
    TRAINING,
    check_plots,
    plot_confusion,
    plot_features,
    plot_training,
)
from lstm_scratch.processes import usable_cpus
from lstm_scratch.recipe import (
    DEFAULT,
    build_classifier,
    plain_settings,
    read_recipe,
    recipe_names,
    setting_of_text,
    settings_of,
    to_toml,
)
from lstm_scratch.results import interval_in_words, markdown_table, save_results, table_row
from lstm_scratch.segments import FORMATS, Segmentation, format_segments
from lstm_scratch.shipped import card_of, model_file, shipped_models
from lstm_scratch.sound import PRESETS, AudioError, FeatureError, warm_up_features
from lstm_scratch.training import MIN_EPOCHS, MIN_UPDATES
from lstm_scratch.variants import PLAIN, Variant

PROGRAM = "lstm-scratch"
DEFAULTS = build_classifier(read_recipe(DEFAULT).settings)
SETTINGS = settings_of(DEFAULTS)
SETTING = "setting."  # what options begin with that are settings
WHOLE = {"sample_rate", "epochs", "patience"} | {k for k, v in SETTINGS.items() if type(v) is int}
CHECKED = LSTM(4, 2)  # by `gradcheck`
FOLDS = ("split", "fold", "speaker", "source", "group")
PIPE = "-"  # stdin, among files


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        Exit status: 0, or 1 after an error that was told in one line (2 for wrong arguments).
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may be no text
    options = _parser().parse_args(arguments)
    with warnings.catch_warnings():
        once = functools.cache(say)  # of many rounds, each may warn of the same
        warnings.showwarning = lambda message, *_, **__: once(f"{PROGRAM}: warning: {message}")
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    """Run the command that was asked for; what a user can mend ends in one line."""
    try:
        return int(options.run(options) or 0)
    except BrokenPipeError:  # whoever read the output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor is the rest flushed at exit
        return 1
    except (OSError, UserError, FeatureError, ThreadCountError, KeyboardInterrupt) as error:
        message = _in_one_line(error)
    print(f"{PROGRAM}: error: {message}", file=sys.stderr)
    return 1


def _in_one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)


def say(line: str) -> None:
    """Tell the user something beside the results.

    Parameters
    ----------
    line : str
        What to tell.
    """
    # In one piece: print by itself writes the end of the line apart, and a Ctrl-C may come between.
    print(f"{line}\n", end="", file=sys.stderr, flush=True)


def _say_warnings(line: str) -> None:
    """Tell the user what is amiss, and nothing else."""
    if line.startswith(("warning: ", "left out: ", "bad: ")):
        say(line)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1, not {number}")
    return number


def _folds(text: str) -> str | int:
    if text in FOLDS:
        return text
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{', '.join(FOLDS)}, or a whole number from 2 on, not {text}")
    return int(text)


def _whole_numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"whole numbers such as 2,0,5, not {text}") from None


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that tells defaults, but no None, False or []."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, []) or "(default:" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Classify recordings with an LSTM that needs no framework.",
        epilog="DATA is a folder with one folder of recordings per class, or a CSV manifest with the columns "
        "path,label[,speaker|source|group][,split|fold].",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {version(PROGRAM)}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(
        name: str, run: Callable[[argparse.Namespace], int | None], about: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=about,
            description=about,
            formatter_class=_Help,
        )
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="print the results as one JSON object")
        return sub

    sub = command("demo", _demo, "Train on synthetic spoken digits; leave a model and pictures.")
    sub.add_argument("-o", "--output", type=Path, default=Path("demo"), metavar="DIR", help="where they go")
    sub.add_argument("--seed", type=int, default=0, help="seed of everything that is drawn")

    sub = command("train", _train, "Train a model on DATA and test it on the part kept aside.")
    sub.add_argument("data", metavar="DATA", type=Path)
    sub.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("model.safetensors"),
        metavar="MODEL",
        help="where it is saved",
    )
    sub.add_argument("--overwrite", action="store_true", help="replace MODEL if it is there")
    sub.add_argument(
        "--resume",
        action="store_true",
        help="go on with an interrupted training, from the checkpoint next to MODEL, to the same bits",
    )
    sub.add_argument(
        "--checkpoint-seconds", type=float, default=10.0, metavar="N", help="from one checkpoint to the next"
    )
    sub.add_argument("--quiet", action="store_true", help="nothing on stderr but warnings and errors")
    sub.add_argument(
        "--json-log", type=Path, metavar="FILE", help="append a JSON object per epoch, one a line"
    )
    sub.add_argument("--plots", type=Path, metavar="DIR", help="draw confusion.png and training.png there")
    sub.add_argument("--seed", type=int, default=0, help="seed of everything that is drawn")
    sub.add_argument("--test-fold", metavar="NAME", help="fold to test on (default: the last)")
    sub.add_argument(
        "--test-fraction",
        type=float,
        default=0.2,
        help="part to test on, if DATA has no split; 0: no test",
    )
    _add_settings(sub)

    sub = command("cross-validate", _cross_validate, "Train and test once for every fold and seed.")
    sub.add_argument("data", metavar="DATA", type=Path)
    sub.add_argument(
        "--folds",
        required=True,
        type=_folds,
        metavar="|".join((*FOLDS, "K")),
        help="the manifest's split, its folds, or leave out one speaker (source, group) at a time; a number: "
        "as many folds are drawn, always the same ones, stratified by class and in whole speakers (sources, "
        "groups)",
    )
    sub.add_argument(
        "--part",
        choices=("test", "validation"),
        default="test",
        help="whose figures; validation: those of a part of the training data, for choosing settings without "
        "looking at the test part, which is left out altogether (the next fold; of a split, a fifth)",
    )
    sub.add_argument(
        "--seeds", type=_positive, default=1, metavar="N", help="rounds, with the seeds 0 .. N-1"
    )
    sub.add_argument(
        "--processes",
        type=_positive,
        default=usable_cpus(),
        metavar="N",
        help="rounds at once; the results are the same (default: as many as there are CPUs)",
    )
    sub.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="save the results there")
    sub.add_argument("--overwrite", action="store_true", help="replace FILE.json if it is there")
    _add_settings(sub)

    sub = command("results", _results, "Print a table, in Markdown, of what cross-validate saved.")
    sub.add_argument("files", metavar="FILE.json", nargs="+", type=Path)
    sub.add_argument(
        "--figure",
        choices=("accuracy", "uar"),
        default="accuracy",
        help="uar: unweighted average recall, the mean over the classes",
    )
    sub.add_argument(
        "--without",
        type=lambda text: text.split(","),
        default=[],
        metavar="LABEL,LABEL,...",
        help="leave clips of these classes out of the figures",
    )

    sub = command("evaluate", _evaluate, "Test MODEL on DATA.")
    sub.add_argument("model", metavar="MODEL", type=Path)
    sub.add_argument("data", metavar="DATA", type=Path)
    sub.add_argument(
        "--part",
        choices=("test", "validation", "training", "all"),
        help="which rows of a manifest with a split (default: test)",
    )
    sub.add_argument(
        "--test-fold",
        metavar="NAME",
        help="which fold of a manifest with folds (default: the model's test fold)",
    )
    sub.add_argument("--plots", type=Path, metavar="DIR", help="draw confusion.png there")
    sub.add_argument("--skip-bad", action="store_true", help="leave out recordings that cannot be used")

    sub = command("predict", _predict, "Label recordings.")
    sub.add_argument("model", metavar="MODEL", type=Path)
    sub.add_argument("files", metavar="FILE", nargs="+", type=Path)
    sub.add_argument("--top", type=_positive, default=3, metavar="N", help="show the N most probable labels")

    sub = command("recipes", _recipes, "List the recipes, or all settings of one.")
    sub.add_argument("name", metavar="NAME", nargs="?", help="a recipe, or a file that ends in .toml")

    sub = command("vad", _vad, "Find the stretches of speech in recordings.")
    sub.add_argument(
        "files", metavar="FILE", nargs="+", help=f"recordings; {PIPE}: raw samples from stdin, mono, 16 bits"
    )
    sub.add_argument("--model", type=Path, metavar="MODEL", help="a detector (default: the one shipped)")
    sub.add_argument(
        "--format", choices=FORMATS, default=FORMATS[0], help="how segments are printed; --json: as json"
    )
    sub.add_argument(
        "--sample-rate-hz", type=_positive, default=16_000, metavar="HZ", help="rate of what comes from stdin"
    )
    _add_numbers(
        sub.add_argument_group("from probabilities to segments"),
        Segmentation(),
        ("onset", float, "speech begins where its probability reaches this"),
        ("offset", float, "it ends where its probability is below this, at most the onset"),
        ("min-speech-s", float, "what is shorter is dropped"),
        ("min-silence-s", float, "pauses that are shorter are speech"),
        ("padding-s", float, "by how much a segment is made longer at each end"),
    )

    sub = command("info", _info, "Tell what is in MODEL.")
    sub.add_argument("model", metavar="MODEL", type=Path)

    sub = command("features", _features, "Tell, save, draw or compare the features of FILE.")
    sub.add_argument("file", metavar="FILE", type=Path)
    presets = f"{', '.join(PRESETS)}; {OWN}: this program's own defaults"
    sub.add_argument("--preset", default=OWN, metavar="NAME", help=f"whose convention: {presets}")
    sub.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting (may be repeated)"
    )
    sub.add_argument(
        "--sample-rate-hz", type=int, metavar="HZ", help="rate at which it is analysed (default: its own)"
    )
    sub.add_argument("-o", "--output", type=Path, metavar="ARRAY.npy", help="save the features there")
    sub.add_argument("--plot", type=Path, metavar="PICTURE.png", help="draw waveform, log-mel and MFCC there")
    sub.add_argument("--overwrite", action="store_true", help="replace files that are there")
    sub.add_argument(
        "--compare",
        metavar="NAME",
        help="tell where those of another convention differ, and which setting does it",
    )
    sub.add_argument(
        "--compare-set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="compare with a setting changed: in the convention of --compare, or else in these settings",
    )

    command("warmup", _warm_up, "Compile the fast kernels now, and not when they are first needed.")

    sub = command("gradcheck", _gradcheck, "Prove the gradients of our LSTM, or of a layer of yours.")
    sub.add_argument(
        "target",
        metavar="FILE.py:NAME",
        nargs="?",
        help="a function of yours, without arguments, that returns (loss, arrays, grads): the gradients of "
        "loss(arrays) (default: our LSTM)",
    )
    sub.add_argument(
        "--method",
        choices=("central", "complex"),
        default="central",
        help="central differences, or the complex step, for analytic losses: exact but for rounding",
    )
    sub.add_argument(
        "--tolerance",
        type=float,
        metavar="X",
        help="largest relative error allowed (default: 1e-8 by central differences, 1e-13 by a complex step)",
    )
    sub.add_argument(
        "--directions",
        type=_positive,
        metavar="N",
        help="compare N random directions of each tensor (default: every entry; 8 directions of a large one)",
    )
    sub.add_argument(
        "--max-entries", type=_positive, default=500, metavar="N", help="a tensor with more of them is large"
    )
    sub.add_argument("--seed", type=int, default=0, help="seed of everything that is drawn")
    _add_lstm(sub)
    return parser


def _add_lstm(sub: argparse.ArgumentParser) -> None:
    """Add what `gradcheck` needs to draw a case of our LSTM."""
    group = sub.add_argument_group("our LSTM, on random numbers")
    group.add_argument("--steps", type=_positive, default=5, metavar="N", help="time steps")
    rows = group.add_mutually_exclusive_group()
    rows.add_argument("--batch", type=_positive, default=3, metavar="N", help="rows of the batch")
    rows.add_argument("--lengths", type=_whole_numbers, metavar="N,N,...", help="valid steps of each row")
    _add_numbers(
        group,
        CHECKED,
        ("input-size", int, "inputs per step"),
        ("hidden-size", int, "hidden units per layer and direction"),
        ("num-layers", int, "LSTM layers"),
        ("proj-size", int, "outputs per step, if projected to fewer than the hidden units"),
        ("dropout", float, "probability of dropping a value between layers"),
    )
    _add_flags(
        group,
        ("bidirectional", "read backwards too"),
        ("reverse", "read backwards only"),
        ("batch-first", "the batch is the first axis"),
    )
    group.add_argument("--engine", choices=ENGINES, default=CHECKED.engine, help="who computes")

    group = sub.add_argument_group("variants of it")
    _add_flags(
        group,
        ("peepholes", "the gates see the cell"),
        ("coupled", "the forget gate is one minus the input gate"),
        ("layer-norm", "normalise what enters the gates"),
    )
    _add_numbers(
        group,
        PLAIN,
        ("cell-clip", float, "bound of the cell"),
        ("activation-clip", float, "bound of what enters a nonlinearity"),
        ("input-dropout", float, "probability of dropping an input, at all steps alike"),
        ("recurrent-dropout", float, "probability of dropping a hidden unit, at all steps alike"),
        ("zoneout-h", float, "probability of keeping an old output"),
        ("zoneout-c", float, "probability of keeping an old cell"),
    )
    for name in ("gate-activation", "cell-activation", "output-activation"):
        default = getattr(PLAIN, name.replace("-", "_"))
        group.add_argument(f"--{name}", choices=ACTIVATIONS, default=default, help="a nonlinearity")


def _add_settings(sub: argparse.ArgumentParser) -> None:
    """Add what `train` and `cross-validate` share: features, network, training."""
    sub.add_argument(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="keep features there, and read them from there when they are needed: for data larger than "
        "memory, and to begin at once the next time; the results are the same. Training that changes sound, "
        "as it does by default, reads the recordings again nevertheless",
    )
    sub.add_argument("--skip-bad", action="store_true", help="leave out recordings that cannot be used")
    sub.add_argument(
        "--recipe",
        metavar="NAME",
        default=DEFAULT,
        help=f"begin with the settings of {', '.join(recipe_names())}, or of a file that ends in .toml, in "
        "which what is not told is as AudioClassifier has it, with no changes of sound",
    )
    sub.add_argument(
        "--fast", action="store_true", help="take the recipe's short cuts, and look for no near copies"
    )
    sub.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"change any setting, of those that `{PROGRAM} recipes {DEFAULT}` lists; may be repeated",
    )
    sub.add_argument("--engine", choices=ENGINES, default=DEFAULTS.engine, help="who computes the LSTM")
    group = sub.add_argument_group("some settings, in place of the recipe's (in brackets: without a recipe)")
    normalisations = ("none", "mean", "mean-variance")
    numbers = "of the beta distribution by which clips are mixed in training; 0: none"
    _add_setting(group, "features", "kind", choices=("mfcc", "log-mel"), help="kind of features")
    _add_setting(
        group,
        "sample-rate-hz",
        "sample_rate",
        help="rate at which sound is analysed (default: the recordings' lowest, at most 16000)",
    )
    _add_setting(group, "frame-ms", help="length of a frame")
    _add_setting(group, "hop-ms", help="from one frame to the next")
    _add_setting(group, "n-mels", help="mel bands")
    _add_setting(group, "n-mfcc", help="cepstral coefficients")
    _add_setting(group, "f-min-hz", help="lower edge of the mel bands")
    _add_setting(group, "f-max-hz", help="their upper edge (default: half the sample rate)")
    _add_setting(group, "delta-order", help="append slopes (1) and curvatures (2)")
    _add_setting(group, "stack-frames", "stack", help="frames per LSTM step")
    _add_setting(group, "clip-normalisation", choices=normalisations, help="of every feature over each clip")
    _add_setting(group, "hidden-size", help="hidden units per layer and direction")
    _add_setting(group, "num-layers", help="LSTM layers")
    _add_setting(group, "bidirectional", action=argparse.BooleanOptionalAction, help="read backwards too")
    poolings = f"{', '.join(STATISTICS)}, or several joined by +"
    _add_setting(group, "pooling", metavar="NAME+...", help=f"how the steps become one vector: {poolings}")
    _add_setting(group, "dropout", help="probability of dropping a value in training")
    _add_setting(group, "forget-bias", help="of the forget gates, before training")
    fewest = f"what makes {MIN_UPDATES} updates, at least {MIN_EPOCHS}"
    _add_setting(group, "epochs", help=f"times through the data (default: {fewest})")
    _add_setting(group, "batch-size", help="clips per update")
    _add_setting(group, "learning-rate", help="of AdamW, at its peak")
    _add_setting(group, "schedule", choices=("one-cycle", "constant"), help="of the learning rate")
    _add_setting(group, "weight-decay", help="of AdamW")
    _add_setting(group, "label-smoothing", help="part of a label spread over all classes")
    _add_setting(group, "ema-decay", help="of a running mean of the weights, which is kept; 0: none")
    _add_setting(group, "mixup", help=numbers)
    _add_setting(group, "time-masks", help="stretches of time that are hidden in training")
    _add_setting(group, "time-mask", help="part of the clip that each hides at most")
    _add_setting(group, "feature-masks", help="bands of neighbouring features that are hidden in training")
    _add_setting(group, "feature-mask", help="part of the features that each hides at most")
    _add_setting(
        group,
        "sampling",
        choices=("shuffled", "balanced"),
        help="each clip once, or every class equally often",
    )
    _add_setting(group, "class-weight", choices=("none", "balanced"), help="weight of each class in the loss")
    _add_setting(
        group, "validation-fraction", help="part of the training clips by which the best epoch is chosen"
    )
    _add_setting(
        group,
        "patience-epochs",
        "patience",
        help="epochs without a better validation loss after which it ends, where there is a validation part "
        "(default: a quarter of the epochs, at least 5)",
    )


def _add_setting(group: argparse._ArgumentGroup, option: str, name: str = "", **how: Any) -> None:
    """Add an option for a setting of a recipe, which is there only if it is given."""
    name = name or option.replace("-", "_")
    default, about = SETTINGS[name], how.pop("help")
    if "(default:" not in about:
        about += f" (default: {default if default is not None else 'none'})"
    if "choices" not in how and "action" not in how:
        kind = int if name in WHOLE else float if isinstance(default, float) or name == "f_max_hz" else str
        how = {"type": kind, "metavar": "N"} | how
    group.add_argument(f"--{option}", dest=SETTING + name, default=argparse.SUPPRESS, help=about, **how)


def _add_numbers(
    group: argparse._ArgumentGroup, defaults: object, *numbers: tuple[str, Callable[[str], Any], str]
) -> None:
    """Add options named after fields of `defaults`."""
    for name, kind, about in numbers:
        default = getattr(defaults, name.replace("-", "_"))
        group.add_argument(f"--{name}", type=kind, default=default, metavar="N", help=about)


def _add_flags(group: argparse._ArgumentGroup, *flags: tuple[str, str]) -> None:
    for name, about in flags:
        group.add_argument(f"--{name}", action="store_true", help=about)


def _lstm(options: argparse.Namespace) -> LSTM:
    """Make an LSTM from the options of `_add_lstm`."""
    given = vars(options)
    variant = Variant(**{field.name: given[field.name] for field in dataclasses.fields(Variant)})
    sizes = {field.name: given[field.name] for field in dataclasses.fields(LSTM) if field.name in given}
    return LSTM(**sizes, variant=variant)


def _classifier(options: argparse.Namespace, seed: int) -> AudioClassifier:
    """Make an untrained classifier: the recipe, the options of `_add_settings`, and what is set by name."""
    recipe = read_recipe(options.recipe)
    settings = recipe.choose(options.fast)
    for key, value in vars(options).items():
        if key.startswith(SETTING):
            settings[key.removeprefix(SETTING)] = value
    settings |= map(setting_of_text, options.set)
    if settings.get("class_weight") == "none":
        settings["class_weight"] = None
    verbose = not vars(options).get("quiet")
    return build_classifier(settings, recipe.task, random_state=seed, engine=options.engine, verbose=verbose)


def _demo(options: argparse.Namespace) -> None:
    result = run_demo(options.output, options.seed, say)
    _print(options, result, lambda: _print_result(result))
    say(f"model:    {result['model']}")
    say(f"pictures: {' '.join(result['pictures'])}")
    say("next, try:")
    say(f"  {_program()} predict {result['model']} {result['example']}")
    say(f"  {_program()} train YOUR_FOLDER -o mine.safetensors    (one folder of recordings per class)")
    say(f"  {_program()} info {result['model']}")


def _train(options: argparse.Namespace) -> None:
    tell = _say_warnings if options.quiet else say
    checkpoint = options.output.with_name(f"{options.output.stem}.checkpoint{options.output.suffix}")
    if options.output.exists() and not options.overwrite:
        raise UserError(f"{options.output}: is there already; name another file with -o, or pass --overwrite")
    if checkpoint.exists() and not (options.resume or options.overwrite):
        raise UserError(
            f"{checkpoint}: here is a training that was interrupted; go on with --resume, or begin anew with "
            "--overwrite"
        )
    for path in (options.output, checkpoint, options.json_log):
        if path is not None:
            check_writable(path)
    if options.json_log is not None:
        others = (options.output.resolve(), checkpoint.resolve(), options.data.resolve())
        if options.json_log.resolve() in others:
            raise UserError(f"{options.json_log}: the log is to be a file of its own; name another one")
    _check_pictures(options.plots)
    classifier = _classifier(options, options.seed)
    if options.cache is not None and isinstance(classifier, SpeechDetector):
        raise UserError("a detector learns from scenes, which are drawn and not kept: leave --cache out")
    corpus = read_corpus(options.data)
    resumed = options.resume and checkpoint.exists()
    if options.resume:
        tell(f"going on from {checkpoint}" if resumed else f"{checkpoint}: not there; from the start")
    run: Callable[..., dict[str, Any]] = functools.partial(
        train, cache=options.cache, near_copies=not options.fast
    )
    show, use = _print_result, "predict"
    if isinstance(classifier, SpeechDetector):
        run, show, use = train_detector, _print_detection, "vad --model"
    try:
        result = run(
            corpus,
            classifier,
            test_fold=options.test_fold,
            test_fraction=options.test_fraction,
            skip_bad=options.skip_bad,
            say=tell,
            checkpoint=checkpoint,
            checkpoint_seconds=options.checkpoint_seconds,
            resume=options.resume,
            on_epoch=None if options.json_log is None else EpochLog(options.json_log, resumed),
        )
        classifier.save(options.output)
    except BrokenPipeError:
        raise
    except (KeyboardInterrupt, DivergenceError, OSError) as error:
        raise UserError(_in_one_line(error) + _way_on(error, checkpoint, use)) from None
    checkpoint.unlink(missing_ok=True)
    result["model"] = str(options.output)
    _print(options, result, lambda: show(result))
    _draw(options.plots, result, classifier.history_)
    tell(f"saved {options.output}; next, try: {_program()} {use} {options.output} FILE...")


def _way_on(error: BaseException, checkpoint: Path, use: str) -> str:
    """Tell what is left of a training that did not end, and what it can be used by."""
    if not checkpoint.exists():
        return ""
    left = f"; {checkpoint} holds the last good weights, a model that `{use}` takes; "
    # With the same settings, a training diverges again.
    anew = isinstance(error, DivergenceError)
    return left + ("begin anew with --overwrite" if anew else "go on with --resume")


def _cross_validate(options: argparse.Namespace) -> None:
    if options.output is not None:
        if not options.overwrite:
            check_new(options.output)
        check_writable(options.output)
    classifier = _classifier(options, 0)
    if isinstance(classifier, SpeechDetector):
        raise UserError(f"the recipe {options.recipe} is for `train`: it has no clips to cross-validate")
    outcome = cross_validate(
        read_corpus(options.data),
        classifier,
        options.folds,
        part=options.part,
        seeds=range(options.seeds),
        processes=options.processes,
        skip_bad=options.skip_bad,
        say=say,
        cache=options.cache,
    )
    outcome |= {"recipe": options.recipe, "fast": options.fast}
    if options.output is not None:
        save_results(options.output, outcome)

    def show() -> None:
        title = "fold" if isinstance(options.folds, int) else options.folds
        for name, value in outcome["accuracy_by_fold"].items():
            print(f"{title} {name:<16} accuracy {100 * value:6.2f} %")
        means = f"mean of {len(outcome['accuracy_by_fold'])} fold(s) and {options.seeds} seed(s)"
        for figure in ("accuracy", "uar"):
            sd = outcome[f"{figure}_sd"]
            spread = "" if sd is None else f" (standard deviation over seeds {100 * sd:.2f})"
            print(f"{figure:<9} {100 * outcome[figure]:6.2f} %, {means}{spread}")
            if outcome[f"{figure}_interval"] is not None:
                print(f"{'':<9} 95 % interval {interval_in_words(outcome, figure)}")
        print(f"{outcome['n']} clips, {outcome['parameters']:,} parameters, {outcome['seconds']:.1f} s")

    _print(options, outcome, show)
    if options.output is not None:
        say(f"saved {options.output}; next, try: {_program()} results {options.output}")


def _results(options: argparse.Namespace) -> None:
    rows = [table_row(path, options.without) for path in options.files]
    _print(options, {"rows": rows}, lambda: print(markdown_table(rows, options.figure, options.without)))


def _evaluate(options: argparse.Namespace) -> None:
    _check_pictures(options.plots)
    result = evaluate(
        AudioClassifier.load(model_file(options.model)),
        read_corpus(options.data),
        part=options.part,
        test_fold=options.test_fold,
        skip_bad=options.skip_bad,
        say=say,
    )
    _print(options, result, lambda: _print_result(result))
    _draw(options.plots, result, None)


def _predict(options: argparse.Namespace) -> int:
    predictions = []
    for prediction in label_files(AudioClassifier.load(model_file(options.model)), options.files, say):
        predictions.append(prediction)
        if "error" in prediction:
            say(f"{PROGRAM}: error: {prediction['error']}")
        elif not options.json:
            ranked = list(prediction["probabilities"].items())[: options.top]
            print(prediction["file"], *(f"{label} {p:.3f}" for label, p in ranked), sep="\t", flush=True)
    if options.json:
        print(json.dumps({"predictions": predictions}))
    return int(any("error" in prediction for prediction in predictions))


def _recipes(options: argparse.Namespace) -> None:
    if options.name is None:
        about = {name: read_recipe(name).about for name in recipe_names()}
        _print(options, about, lambda: print(*(f"{k:<16} {v}" for k, v in about.items()), sep="\n"))
        return
    recipe = read_recipe(options.name)
    settings = settings_of(build_classifier(recipe.settings, recipe.task))
    text = to_toml(settings, recipe.about, recipe.short_cuts, recipe.task)
    _print(options, plain_settings(settings), lambda: print(text, end=""))


def _vad(options: argparse.Namespace) -> int:
    detector = SpeechDetector.load(SHIPPED if options.model is None else model_file(options.model))
    given = {field.name: vars(options)[field.name] for field in dataclasses.fields(Segmentation)}
    segmentation, kind = Segmentation(**given), "json" if options.json else options.format
    recordings: list[dict[str, Any]] = []
    if PIPE in options.files and sys.stdin is None:
        raise UserError(f"{PIPE}: stdin is closed; name a file, or pipe samples in")
    if kind != "json":
        print(format_segments([], kind, ""), end="", flush=True)  # a header, where the format has one
    status = 0
    for name in options.files:
        if name == PIPE:
            chunks = pcm_chunks(sys.stdin.buffer, options.sample_rate_hz, detector.sample_rate_)
        else:
            chunks = file_chunks(name, detector.sample_rate_)
        found, bad = [], {}
        try:
            for segment in listen(detector, chunks, segmentation):
                if kind == "json":
                    found.append(segment)
                else:
                    print(format_heard(segment, kind, name, len(options.files) > 1), end="", flush=True)
        except AudioError as error:
            say(f"{PROGRAM}: error: {error}")
            bad, status = {"error": str(error)}, 1
        recordings.append(json.loads(format_segments(found, "json", name)) | bad)
    if kind == "json":
        print(json.dumps({"recordings": recordings}))
    return status


def _info(options: argparse.Namespace) -> None:
    path = model_file(options.model)
    is_detector = load_model(path)[1].get("estimator") == SpeechDetector.__name__
    classifier = (SpeechDetector if is_detector else AudioClassifier).load(path)
    about = classifier.describe() | {"parameters": classifier.n_parameters_}

    def show() -> None:
        print(f"{options.model}: {about['estimator']}, {about['parameters']:,} parameters")
        print(f"sample rate: {about['sample_rate']} Hz")
        print(f"classes ({len(about['classes'])}): {', '.join(map(str, about['classes']))}")
        features = about["settings"].pop("features")
        changed = {"kind": features["kind"]} | classifier.features.differing()
        for title, values in (("features", changed), ("settings", about["settings"])):
            print(f"{title}: {', '.join(f'{name}={value}' for name, value in values.items())}")
        print(f"trained: {len(about['history'])} epochs; {json.dumps(about['card'])}")
        if str(options.model) in shipped_models() and path != options.model:
            print(f"\n{card_of(str(options.model))}", end="")

    _print(options, about, show)


def _features(options: argparse.Namespace) -> None:
    outputs = [path for path in (options.plot, options.output) if path is not None]
    everything = [path.resolve() for path in (options.file, *outputs)]
    if len(set(everything)) < len(everything):
        raise UserError("the recording and what is made of it are to be different files; name another one")
    for path in outputs:
        if not options.overwrite:
            check_new(path)
        check_writable(path)
    if options.plot is not None:
        check_plots()
    settings = settings_from_words(options.preset, options.set)
    others, names = others_from_words(options.preset, options.set, options.compare, options.compare_set)
    analysis = analyse(options.file, settings, options.sample_rate_hz)
    result = analysis.describe()
    found = None if others is None else compare(analysis, others, names)
    if found is not None:
        result["difference"] = describe_difference(found)
    if options.plot is not None:
        title = f"{options.file.name}, {names[0]}"
        plot_features(options.plot, settings, analysis.samples, analysis.sample_rate, title)
    if options.output is not None:
        save_array(options.output, analysis.features)
    _print(options, result, lambda: print(analysis, *(["", found] if found else []), sep="\n"))
    for path in outputs:
        say(f"saved {path}")


def _warm_up(options: argparse.Namespace) -> None:
    start = time.perf_counter()
    folder = warm_up()
    warm_up_features()
    seconds = time.perf_counter() - start
    result = {"folder": folder, "seconds": seconds}
    _print(options, result, lambda: print(f"kernels compiled in {seconds:.1f} s, kept in {folder}"))


def _gradcheck(options: argparse.Namespace) -> int:
    from reference.command import gradcheck_file, gradcheck_lstm, table  # what no other command needs

    settings = {
        key: vars(options)[key] for key in ("method", "tolerance", "directions", "max_entries", "seed")
    }
    lstm, default = _lstm(options), _parser().parse_args(["gradcheck"])
    if options.target is None:
        result = gradcheck_lstm(lstm, options.steps, options.batch, options.lengths, **settings)
    elif lstm != CHECKED or any(
        vars(options)[key] != vars(default)[key] for key in ("steps", "batch", "lengths")
    ):
        raise UserError(f"sizes and variants are for our LSTM; {options.target} says itself what it checks")
    else:
        result = gradcheck_file(options.target, **settings)
    _print(options, result, lambda: print(table(result)))
    return int(bool(result["wrong"]))


def _program() -> str:
    """Tell what to type to run this program again."""
    return PROGRAM if shutil.which(PROGRAM) else sys.argv[0]


def _check_pictures(folder: Path | None) -> None:
    """Make sure that `_draw` will be able to draw there."""
    if folder is not None:
        check_plots()
        for name in (CONFUSION, TRAINING):
            check_writable(folder / name)


def _draw(folder: Path | None, result: dict[str, Any], history: list[dict[str, Any]] | None) -> None:
    if folder is None:
        return
    if result["n"] and "confusion" in result:
        title = f"{100 * result['accuracy']:.1f} % of {result['n']} clips"
        plot_confusion(folder / CONFUSION, result["confusion"], list(result["classes"]), title)
    if history is not None:
        plot_training(folder / TRAINING, history, "training")


def _print(options: argparse.Namespace, result: dict[str, Any], show: Callable[[], None]) -> None:
    """Print results: one JSON object, or whatever `show` prints for people."""
    if options.json:
        print(json.dumps(result))
    else:
        show()


def _print_detection(result: dict[str, Any]) -> None:
    if result["n"]:
        figures = ", ".join(f"{name} {100 * result[name]:.2f} %" for name in ("f1", "precision", "recall"))
        auc = "no AUC (only speech, or none)" if result["auc"] is None else f"AUC {result['auc']:.4f}"
        print(f"{auc}, {figures} of {result['n']} steps of test scenes")
    print(f"{result['parameters']:,} parameters, {result['seconds']:.1f} s")


def _print_result(result: dict[str, Any]) -> None:
    print(f"{'class':<16}{'train':>7}{'valid':>7}{'test':>7}{'right':>7}")
    for name, counts in result["classes"].items():
        cells = (counts.get(part, "") for part in ("training", "validation", "test", "correct"))
        print(f"{name:<16}" + "".join(f"{cell:>7}" for cell in cells))
    if result["n"]:
        print(
            f"accuracy {100 * result['accuracy']:.2f} %, UAR {100 * result['uar']:.2f} % "
            f"of {result['n']} test clips; {result['parameters']:,} parameters, {result['seconds']:.1f} s"
        )
    else:
        print(f"no test; {result['parameters']:,} parameters, {result['seconds']:.1f} s")
