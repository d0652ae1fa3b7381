"""The training loop: shuffled batches, AdamW under a one-cycle learning rate, early stopping, checkpoints.

All that is drawn depends on the seed, the epoch and the batch alone, so that a training that goes on from a
checkpoint computes the same bits as one that was never interrupted.
"""

import contextlib
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lstm_scratch.batches import Batch, Examples, Fetched, ahead, pad, shuffled
from lstm_scratch.checks import check_number, check_probability
from lstm_scratch.errors import DivergenceError, SettingError
from lstm_scratch.layers.loss import cross_entropy_backward, cross_entropy_forward
from lstm_scratch.layers.pooling import EACH
from lstm_scratch.network import Network
from lstm_scratch.optim import AdamW, clip_gradient_norm, one_cycle
from lstm_scratch.params import Params, freeze
from lstm_scratch.threads import one_blas_thread

MIN_UPDATES = 2000  # small data want this many, however few batches they make
MIN_EPOCHS = 20
PREDICTION_STEPS = 8192  # padded steps that are computed at a time, so that memory stays small
EXPLODED = 10.0  # times the loss of guessing: who is this far off for long does not learn any more
LONG = 50  # updates
ORDER, DISTORTION, DROPOUT = range(3)  # what is drawn, each from a stream of its own


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How to train.

    Parameters
    ----------
    epochs : int or None
        Times through the data. None: as many as make 2000 updates, at least 20.
    batch_size : int
        Sequences per update.
    learning_rate : float
        Peak of the schedule.
    schedule : {"one-cycle", "constant"}
        How the learning rate runs.
    weight_decay : float
        Of AdamW.
    max_gradient_norm : float
        Gradients are scaled down to this norm.
    label_smoothing : float
        Part of the label spread over all classes.
    patience : int or None
        Epochs without a better validation loss after which training stops. None: a quarter of the
        epochs, at least 5.
    ema_decay : float, default 0
        Decay of the running mean of the parameters over the updates, which is what is kept: near 1, of many.
        0: the parameters themselves are kept.

    Raises
    ------
    SettingError
        If a value is out of its range.
    """

    epochs: int | None
    batch_size: int
    learning_rate: float
    schedule: str
    weight_decay: float
    max_gradient_norm: float
    label_smoothing: float
    patience: int | None
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        check_number("batch_size", self.batch_size, whole=True, above=0)
        for name in ("epochs", "patience"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), whole=True, above=0)
        for name in ("learning_rate", "max_gradient_norm"):
            check_number(name, getattr(self, name), above=0)
        check_number("weight_decay", self.weight_decay, at_least=0)
        for name in ("label_smoothing", "ema_decay"):
            check_probability(name, getattr(self, name))
        if self.schedule not in ("one-cycle", "constant"):
            raise SettingError(f"schedule is one-cycle or constant, not {self.schedule!r}")

    def learning_rate_of(self, update: int, updates: int) -> float:
        """Learning rate of an update.

        Parameters
        ----------
        update : int
            0 .. updates - 1.
        updates : int
            Of the whole training.

        Returns
        -------
        float
            The rate.
        """
        if self.schedule == "constant":
            return self.learning_rate
        return one_cycle(update, updates, self.learning_rate)


@dataclass(frozen=True)
class Epoch:
    """What one time through the data brought. Validation is None without a validation part."""

    epoch: int  # 1, 2, ...
    epochs: int  # how many there will be at the most
    learning_rate: float  # of the last update
    training_loss: float  # mean over the epoch, as the parameters changed, with dropout
    training_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None


Part = tuple[Sequence[np.ndarray], Any]  # sequences (T, F) and their classes, or those of their steps


@dataclass
class TrainingState:
    """Where a training stands: all that the next update depends on, but the data."""

    params: Params
    optimiser: AdamW
    average: Params  # their running mean; empty without one
    best: Params  # after the epoch with the smallest validation loss; empty before, and without validation
    best_loss: float = math.inf
    best_epoch: int = 0
    epoch: int = 1  # the one that is under way
    batch: int = 0  # how many of it are done
    loss_sum: float = 0.0  # over the rows of this epoch
    correct: int = 0
    rows: int = 0
    loud: int = 0  # updates in a row whose loss was far beyond that of guessing
    history: list[Epoch] = field(default_factory=list)

    @property
    def current(self) -> Params:
        """The parameters that count now: their running mean, where there is one."""
        return self.average or self.params

    @property
    def kept(self) -> Params:
        """The parameters that a training which ended here would return."""
        return self.best or self.current


def first_state(params: Params, options: TrainingOptions) -> TrainingState:
    """Tell where a training stands before its first update.

    Parameters
    ----------
    params : dict
        Parameters to start from. They are copied.
    options : TrainingOptions
        How to train.

    Returns
    -------
    TrainingState
        Of epoch 1, batch 0.
    """
    copies = [{name: array.copy() for name, array in params.items()} for _ in range(2)]
    optimiser = AdamW(weight_decay=options.weight_decay)
    return TrainingState(copies[0], optimiser, copies[1] if options.ema_decay else {}, {})


@one_blas_thread()
@np.errstate(over="ignore", invalid="ignore")  # what comes of it ends in a DivergenceError
def train(
    network: Network,
    params: Params,
    examples: Examples,
    validation: Part | None,
    options: TrainingOptions,
    seed: int,
    class_weight: np.ndarray | None = None,
    sampling: np.ndarray | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_update: Callable[[TrainingState, int], None] | None = None,
    state: TrainingState | None = None,
) -> tuple[Params, list[Epoch]]:
    """Train a network.

    Parameters
    ----------
    network : Network
        What to train.
    params : dict
        Parameters to start from. They are left as they are.
    examples : Examples
        What to learn from.
    validation : tuple of (sequences, classes) or None
        The part by which the best epoch is chosen. None: the last epoch is kept.
    options : TrainingOptions
        How to train.
    seed : int
        Of the batches' order, the examples' distortion and the dropout masks.
    class_weight : ndarray (K,), optional
        Weight of each class in the loss.
    sampling : ndarray (N,), optional
        How often each sequence is wanted, relative to the others. By default, once in every epoch.
    on_epoch : callable, optional
        Called after each epoch with an `Epoch`.
    on_update : callable, optional
        Called in each update, as soon as loss and gradient are known to be finite and before anything but
        the count of loud updates has changed: with the `TrainingState`, which goes on changing, and the
        number of updates that there will be at the most.
    state : TrainingState, optional
        Where to go on. By default at the start.

    Returns
    -------
    params : dict
        Parameters after the epoch with the smallest validation loss.
    history : list of Epoch
        All epochs.

    Raises
    ------
    DivergenceError
        If the loss, a gradient or what the last update left stops being finite numbers, or the loss stays
        beyond all bounds.
    """
    per_epoch = math.ceil(len(examples) / options.batch_size)
    epochs = options.epochs or max(MIN_EPOCHS, math.ceil(MIN_UPDATES / per_epoch))
    patience = options.patience or max(5, epochs // 4)
    if state is None:
        state = first_state(params, options)

    batch: Batch | None = None
    while state.epoch <= epochs and state.epoch - state.best_epoch - 1 < (patience if validation else epochs):
        batches = _batches(examples, options.batch_size, seed, state.epoch, state.batch, sampling)
        with contextlib.closing(batches):
            for number, batch in batches:
                learning_rate = options.learning_rate_of(state.optimiser.steps, epochs * per_epoch)
                dropout = _rng(seed, DROPOUT, state.epoch, number)
                loss, logits, grads = _gradient(
                    network, state, batch, options, class_weight, dropout, learning_rate
                )
                if on_update is not None:
                    on_update(state, epochs * per_epoch)
                state.optimiser.step(state.params, grads, learning_rate)
                _follow(state, options.ema_decay)
                rows, correct = _count(logits, batch.targets)
                state.loss_sum += loss * rows
                state.rows += rows
                state.correct += correct
                state.batch += 1
        learning_rate = options.learning_rate_of(state.optimiser.steps - 1, epochs * per_epoch)
        _end_epoch(network, state, validation, options, class_weight, epochs, learning_rate)
        if on_epoch is not None:
            on_epoch(state.history[-1])
    if batch is not None:
        _check_last_update(network, state, batch, options, class_weight)
    return state.kept, state.history


def _gradient(
    network: Network,
    state: TrainingState,
    batch: Batch,
    options: TrainingOptions,
    class_weight: np.ndarray | None,
    dropout: np.random.Generator,
    learning_rate: float,
) -> tuple[float, np.ndarray, Params]:
    """Loss, logits and clipped gradient of a batch. If they are no sound ones, the training ends."""

    def diverged(what: str) -> DivergenceError:
        where = f"in update {state.optimiser.steps + 1} (epoch {state.epoch})"
        cause = "which is likely too high: lower it, or max_gradient_norm"
        if not np.isfinite(batch.x).all():
            cause = "since sequences of its batch hold NaN or infinite values: mend the data"
        return DivergenceError(f"{what} {where} at a learning rate of {learning_rate:.2g}, {cause}")

    logits, cache = network.forward(state.params, batch.x, batch.lengths, dropout)
    loss, loss_cache = cross_entropy_forward(logits, batch.targets, options.label_smoothing, class_weight)
    if not math.isfinite(loss):
        raise diverged(f"the loss became {loss}")
    state.loud = state.loud + 1 if loss > EXPLODED * math.log(network.n_classes) else 0
    if state.loud == LONG:
        raise diverged(
            f"the loss, {loss:.3g}, has been more than {EXPLODED:g} times that of guessing for {LONG} updates"
        )
    _, grads = network.backward(state.params, cache, cross_entropy_backward(loss_cache), input_gradient=False)
    norm = clip_gradient_norm(grads, options.max_gradient_norm)
    if not math.isfinite(norm):
        raise diverged(f"the gradient's norm became {norm}")
    return loss, logits, grads


def _check_last_update(
    network: Network,
    state: TrainingState,
    batch: Batch,
    options: TrainingOptions,
    class_weight: np.ndarray | None,
) -> None:
    """See to it that the last update left sound weights: those of others are seen in the next one."""
    logits, _ = network.forward(state.params, batch.x, batch.lengths, inference=True)
    loss, _ = cross_entropy_forward(logits, batch.targets, options.label_smoothing, class_weight)
    # An infinite bias of a gate leaves the loss finite.
    unsound = [name for name, array in state.params.items() if not np.isfinite(array).all()]
    if math.isfinite(loss) and not unsound:
        return
    what = f"{unsound[0]} holds NaN or infinite values" if math.isfinite(loss) else f"the loss became {loss}"
    epoch = state.history[-1]
    raise DivergenceError(
        f"{what} after update {state.optimiser.steps}, the last (epoch {epoch.epoch}), at a learning rate of "
        f"{epoch.learning_rate:.2g}, which is likely too high: lower it, or max_gradient_norm"
    )


def _rng(seed: int, *place: int) -> np.random.Generator:
    """Draw from a stream of its own, wherever in the training it is."""
    return np.random.default_rng([seed, *place])


def order_of_epoch(seed: int, epoch: int) -> np.random.Generator:
    """Give what an epoch's order is drawn from.

    Parameters
    ----------
    seed : int
        Of the training.
    epoch : int
        1, 2, ...

    Returns
    -------
    numpy.random.Generator
        For `shuffled`.
    """
    return _rng(seed, ORDER, epoch)


def _batches(
    examples: Examples, batch_size: int, seed: int, epoch: int, done: int, sampling: np.ndarray | None
) -> Generator[tuple[int, Batch], None, None]:
    """Batches of an epoch that are still to come, and their numbers."""

    def made() -> Generator[tuple[int, Batch], None, None]:
        order = shuffled(len(examples), batch_size, order_of_epoch(seed, epoch), sampling)
        for number, indices in enumerate(order):
            if number >= done:
                yield number, examples.batch(indices, _rng(seed, DISTORTION, epoch, number))

    return ahead(made()) if examples.slow else made()


def _follow(state: TrainingState, decay: float) -> None:
    """Take the parameters into their running mean, which forgets its beginnings faster while it is young."""
    steps = state.optimiser.steps
    part = 1 - min(decay, (1 + steps) / (10 + steps))
    for name, mean in state.average.items():
        mean += part * (state.params[name] - mean)


def _count(logits: np.ndarray, targets: np.ndarray) -> tuple[int, int]:
    """Count rows (or steps) that have a class, and those that are right."""
    classes = targets.argmax(axis=-1) if targets.ndim == logits.ndim else targets
    return int((classes >= 0).sum()), int((logits.argmax(axis=-1) == classes).sum())


def _end_epoch(
    network: Network,
    state: TrainingState,
    validation: Part | None,
    options: TrainingOptions,
    class_weight: np.ndarray | None,
    epochs: int,
    learning_rate: float,
) -> None:
    """Validate, and set out for the next epoch."""
    loss = accuracy = None
    if validation is not None:
        sequences, targets = validation
        logits = predict_logits(network, state.current, sequences)
        if network.pooling == EACH:
            logits, targets = np.concatenate(logits), np.concatenate(targets)
        loss, _ = cross_entropy_forward(logits, targets, options.label_smoothing, class_weight)
        rows, correct = _count(logits, targets)
        accuracy = correct / rows
        if loss < state.best_loss:
            state.best = {name: array.copy() for name, array in state.current.items()}
            state.best_loss, state.best_epoch = loss, state.epoch
    training = state.loss_sum / state.rows, state.correct / state.rows
    state.history.append(Epoch(state.epoch, epochs, learning_rate, *training, loss, accuracy))
    state.epoch += 1
    state.batch = state.correct = state.rows = 0
    state.loss_sum = 0.0


@one_blas_thread()
def predict_logits(network: Network, params: Params, sequences: Sequence[np.ndarray]) -> Any:
    """Compute the logits of any number of sequences, those of similar length together.

    Parameters
    ----------
    network : Network
        The network.
    params : dict
        Its parameters.
    sequences : sequence of ndarray (T, F)
        Features.

    Returns
    -------
    ndarray (N, K), or list of ndarray (T, K) where nothing is pooled
        Scores before the softmax, in the order of the sequences.
    """
    params = freeze(params)
    if isinstance(sequences, Fetched):
        lengths = np.array(sequences.lengths)
    else:
        lengths = np.array([len(sequence) for sequence in sequences])
    results: list[Any] = [None] * len(lengths)

    def made() -> Generator[tuple[np.ndarray, tuple[np.ndarray, np.ndarray]], None, None]:
        order = np.argsort(lengths, kind="stable")
        while len(order):
            # Lengths rise, so the last sequence of a batch decides how long its padding makes the others.
            fit = np.arange(1, len(order) + 1) * lengths[order] <= PREDICTION_STEPS
            batch, order = np.split(order, [max(1, int(fit.sum()))])
            yield batch, pad([sequences[n] for n in batch])

    with contextlib.closing(ahead(made()) if isinstance(sequences, Fetched) else made()) as batches:
        for batch, (x, length) in batches:
            logits, _ = network.forward(params, x, length, inference=True)
            for b, n in enumerate(batch):
                results[n] = logits[: lengths[n], b] if network.pooling == EACH else logits[b]
    return results if network.pooling == EACH else np.stack(results)
