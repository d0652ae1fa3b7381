"""A whole epoch of training, ours and torch's: `python -m benchmarks.training`.

What is trained is an `AudioClassifier` of 48 units in two directions, whose mean is pooled, on the
features of recordings, or on noise of the size of spoken digits, 32 to a batch. All is counted: gathering
and padding of batches, forward, loss, backward, clipping, AdamW and its one-cycle rates. Ours is the
product's own loop, `lstm_scratch.training.train`. Both begin every epoch with the same weights and take
the same batches, in float32, in one process, with the same number of threads. A ratio is torch's time by
ours: above 1 ours is faster.

Dropout is 0 in both: two libraries do not draw the same masks, and the losses are to be the same. Neither
computes a gradient with respect to the features. Our loop also counts right answers, which torch is spared.
"""

import argparse
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from benchmarks.timing import alternate, machine, threads_everywhere
from lstm_scratch import training
from lstm_scratch.audio import AudioClassifier, common_sample_rate
from lstm_scratch.batches import Examples, shuffled
from lstm_scratch.corpus import read_corpus
from lstm_scratch.division import divide
from lstm_scratch.layers.loss import cross_entropy_forward
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.network import Network
from lstm_scratch.optim import AdamW
from lstm_scratch.params import Params, to_torch_names
from simd.threads import thread_count

Clips = tuple[list[np.ndarray], np.ndarray]  # standardised features (T, F), and their classes
Row = dict[str, Any]

TOLERANCE = 2e-6  # of the loss, between two float32 results
COMPARED = 20  # updates whose losses have to agree; later, rounding may have led them apart
SEED = 0
CLIPS, CLASSES = 2700, 10
STEPS = (4, 9, 22)  # of a spoken digit, in which four frames make one: fewest, most frequent, most

HEAD = "pooling, linear, loss"
PARTS = (
    ("gathering batches", Examples, "batch"),
    ("LSTM forward", LSTM, "forward"),
    ("LSTM backward", LSTM, "backward"),
    (HEAD, Network, "forward"),
    (HEAD, Network, "backward"),
    (HEAD, training, "cross_entropy_forward"),
    (HEAD, training, "cross_entropy_backward"),
    ("clipping", training, "clip_gradient_norm"),
    ("AdamW", AdamW, "step"),
    ("everything else", training, "train"),
)


class Recipe(NamedTuple):
    """What is trained, from which weights, how, and on what."""

    network: Network  # of one layer, in both directions, with mean pooling
    params: Params
    options: training.TrainingOptions
    clips: Clips


def one_epoch(clips: Clips) -> Recipe:
    """Set up one epoch of a classifier without dropout.

    Parameters
    ----------
    clips : tuple of (sequences, classes)
        The training data.

    Returns
    -------
    Recipe
        What to time.
    """
    classifier = AudioClassifier(pooling="mean", dropout=0.0, epochs=1, batch_size=32)
    # Made as the classifier makes them, so that the benchmark stays like what users run.
    network = classifier._make_network(clips[0][0].shape[1], int(clips[1].max()) + 1)
    params = network.init(np.random.default_rng(SEED), forget_bias=classifier.forget_bias)
    return Recipe(network, params, classifier._training_options(), clips)


def _noise() -> Clips:
    rng, F = np.random.default_rng(SEED), AudioClassifier().features.n_features()
    lengths = rng.triangular(*STEPS, CLIPS).round().astype(int)
    return [rng.standard_normal((T, F), np.float32) for T in lengths], rng.integers(0, CLASSES, CLIPS)


def _recorded(recordings: Path) -> Clips:
    """Extract the features of a corpus's training part."""
    corpus = read_corpus(recordings)
    corpus = corpus.take(divide(corpus, np.random.default_rng(SEED)).training)
    sequences = AudioClassifier(sample_rate=common_sample_rate(corpus.paths)).extract(corpus.paths)
    steps = np.concatenate(sequences)
    mean, scale = steps.mean(axis=0), steps.std(axis=0)
    _, classes = np.unique(corpus.labels, return_inverse=True)
    return [(sequence - mean) / scale for sequence in sequences], classes


def our_epoch(recipe: Recipe) -> None:
    """Train for one epoch, as users do.

    Parameters
    ----------
    recipe : Recipe
        What to train.
    """
    network, params, options, clips = recipe
    training.train(network, params, Examples(*clips, network.n_classes), None, options, SEED)


def our_losses(recipe: Recipe) -> list[float]:
    """Train for one epoch, and note the losses.

    Parameters
    ----------
    recipe : Recipe
        What to train.

    Returns
    -------
    list of float
        The loss of every batch, before its update.
    """
    losses = []

    def noted(*arguments: Any) -> tuple[float, np.ndarray]:
        loss, cache = cross_entropy_forward(*arguments)
        losses.append(loss)
        return loss, cache

    with mock.patch.object(training, "cross_entropy_forward", noted):
        our_epoch(recipe)
    return losses[:-1]  # the last one is by what the training makes sure of its last update


def torch_epoch(recipe: Recipe, packed: bool) -> Callable[[], list[float]]:
    """Set up the same epoch in torch.

    Parameters
    ----------
    recipe : Recipe
        What to train.
    packed : bool
        Whether the LSTM takes packed sequences. Else it takes padded ones, which oneDNN computes. Each
        direction is then an LSTM of its own, as one that reads backwards would begin with the padding: it
        is given the clips turned round, and the mean over their steps does not ask for the order.

    Returns
    -------
    callable
        Trains for one epoch, and returns the loss of every batch, before its update.
    """
    import torch
    from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence, pad_sequence

    network, params, options, (sequences, targets) = recipe
    sizes = network.lstm.input_size, network.lstm.hidden_size
    lstm, linear = (
        torch.nn.LSTM(*sizes, bidirectional=packed),
        torch.nn.Linear(2 * sizes[1], network.n_classes),
    )
    module = torch.nn.ModuleDict({"lstm": lstm, "linear": linear})
    state = {name: torch.tensor(array) for name, array in to_torch_names(params).items()}
    if not packed:
        module["reverse"] = reverse = torch.nn.LSTM(*sizes)
        state = {re.sub(r"^lstm\.(.*)_reverse$", r"reverse.\1", name): array for name, array in state.items()}
    for name, parameter in module.named_parameters():
        parameter.requires_grad_("bias_hh" not in name)  # we have one bias
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    clips, classes = [torch.tensor(sequence) for sequence in sequences], torch.tensor(targets)
    turned = [clip.flip(0) for clip in clips]
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)

    def pooled(batch: np.ndarray) -> torch.Tensor:
        if packed:
            y, lengths = pad_packed_sequence(
                lstm(pack_sequence([clips[n] for n in batch], enforce_sorted=False))[0]
            )
        else:
            y_forward, _ = lstm(pad_sequence([clips[n] for n in batch]))
            y_reverse, _ = reverse(pad_sequence([turned[n] for n in batch]))
            lengths = torch.tensor([len(clips[n]) for n in batch])
            valid = torch.arange(len(y_forward))[:, None] < lengths
            y = torch.cat([y_forward, y_reverse], dim=2) * valid[:, :, None]
        return y.sum(dim=0) / lengths[:, None]

    def run() -> list[float]:
        module.load_state_dict(state)
        batches = list(shuffled(len(clips), options.batch_size, training.order_of_epoch(SEED, 1)))
        # Fused is the fastest of its implementations on a CPU.
        adamw = torch.optim.AdamW(trained, weight_decay=options.weight_decay, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            adamw, options.learning_rate, total_steps=len(batches), cycle_momentum=False
        )
        losses = []
        for batch in batches:
            loss = criterion(linear(pooled(batch)), classes[batch])
            losses.append(loss.item())
            adamw.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, options.max_gradient_norm)
            adamw.step()
            schedule.step()
        return losses

    return run


def check_equal(losses: Mapping[str, Sequence[float]]) -> None:
    """Refuse losses that are not ours to float32 rounding.

    Parameters
    ----------
    losses : mapping of str to sequence of float
        Of each contestant's updates, among them "ours".

    Raises
    ------
    AssertionError
        If one of the first `COMPARED` differs by more than `TOLERANCE`, or their number does.
    """
    first = {who: of_updates[:COMPARED] for who, of_updates in losses.items()}
    for who, theirs in first.items():
        if len(losses[who]) != len(losses["ours"]):
            raise AssertionError(f"{who} has {len(losses[who])} updates, ours {len(losses['ours'])}")
        np.testing.assert_allclose(first["ours"], theirs, TOLERANCE, 0, False, f"losses of {who}")


def profile(run: Callable[[], object]) -> dict[str, float]:
    """Time the parts of our training, by a clock around each of the functions that do them.

    Parameters
    ----------
    run : callable
        Calls `training.train`.

    Returns
    -------
    dict
        Seconds of each part. What a function spends in one of another part counts there alone: so they
        add up to the whole of `training.train`.
    """
    seconds = dict.fromkeys((part for part, _, _ in PARTS), 0.0)
    inner = [0.0]  # for each of the functions that run now, the seconds of those that it has called

    def clocked(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            inner.append(0.0)
            start = time.perf_counter()
            result = function(*arguments, **options)
            whole = time.perf_counter() - start
            seconds[part] += whole - inner.pop()
            inner[-1] += whole
            return result

        return timed

    with ExitStack() as patches:
        for part, owner, name in PARTS:
            patches.enter_context(mock.patch.object(owner, name, clocked(part, getattr(owner, name))))
        run()
    return seconds


def measure(recipe: Recipe, threads: int, epochs: int) -> Row:
    """Check that the losses are the same, then time epochs in turns, and the parts of one of ours.

    Parameters
    ----------
    recipe : Recipe
        What to train.
    threads : int
        How many each may use, in a block of `threads_everywhere`.
    epochs : int
        How many of each, at least.

    Returns
    -------
    dict
        The row.
    """
    torch_runs = {f"torch_{how}": torch_epoch(recipe, how == "packed") for how in ("packed", "padded")}
    check_equal({"ours": our_losses(recipe)} | {who: run() for who, run in torch_runs.items()})
    runs = {"ours": lambda: our_epoch(recipe), **torch_runs}
    seconds = alternate(runs, budget=0, rounds=epochs, warm_up=0)
    faster = min(torch_runs, key=seconds.__getitem__)
    return {
        "op": "training_epoch",
        "clips": len(recipe.clips[0]),
        "updates": math.ceil(len(recipe.clips[0]) / recipe.options.batch_size),
        "threads": threads,
        **{f"{who}_s": time for who, time in seconds.items()},
        "torch_s": seconds[faster],
        "faster_torch": faster,
        "ratio_torch": seconds[faster] / seconds["ours"],
        "profile_ms": {part: 1e3 * time for part, time in profile(runs["ours"]).items()},
    }


def _tables(row: Row) -> str:
    """Format a row: who takes how long, and what ours is spent on."""
    lines = [f"{'':24}{'s an epoch':>12}{'updates/s':>12}{'x ours':>8}"]
    for who in ("ours", "torch_packed", "torch_padded"):
        seconds = row[f"{who}_s"]
        lines.append(f"{who:24}{seconds:12.3f}{row['updates'] / seconds:12.0f}{seconds / row['ours_s']:8.2f}")
    lines += [f"{row['faster_torch']} takes {row['ratio_torch']:.2f} times as long as ours", ""]
    whole = sum(row["profile_ms"].values())
    lines.append(f"{'one of our epochs':24}{'ms':>12}{'share':>12}")
    for part, ms in {**row["profile_ms"], "sum": whole}.items():
        lines.append(f"{part:24}{ms:12.1f}{ms / whole:12.1%}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Run the command.

    Parameters
    ----------
    arguments : list of str, optional
        By default the process's.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description="time whole epochs")
    parser.add_argument("--recordings", metavar="PATH", help="a folder or manifest (default: noise)")
    parser.add_argument("--threads", type=int, default=thread_count(), help="of each (default: all CPUs)")
    parser.add_argument("--epochs", type=int, default=7, help="of each, at least (default: 7)")
    parser.add_argument("--json", metavar="FILE", help="write the row")
    parser.add_argument("--quick", action="store_true", help="a tenth of the clips")
    given = parser.parse_args(arguments)
    on = machine("numpy", "numba", "torch")
    print(on)
    sequences, classes = _recorded(Path(given.recordings)) if given.recordings else _noise()
    every = slice(None, None, 10 if given.quick else 1)
    with threads_everywhere(given.threads):
        row = measure(one_epoch((sequences[every], classes[every])), given.threads, given.epochs)
    threads = f"{given.threads} thread{'s' * (given.threads > 1)}"
    print(f"{row['clips']} clips, {row['updates']} updates an epoch, {threads}\n\n{_tables(row)}")
    if given.json:
        Path(given.json).write_text(json.dumps({"machine": on, "rows": [row]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
