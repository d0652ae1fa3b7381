"""The training loop: shuffled batches, AdamW under a one-cycle learning rate, early stopping."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lstm_scratch.batches import pad, shuffled
from lstm_scratch.checks import check_number, check_probability
from lstm_scratch.errors import SettingError
from lstm_scratch.layers.loss import cross_entropy_backward, cross_entropy_forward
from lstm_scratch.network import Network
from lstm_scratch.optim import AdamW, clip_gradient_norm, one_cycle
from lstm_scratch.params import Params, freeze
from lstm_scratch.threads import one_blas_thread

MIN_UPDATES = 1000  # small data want this many, however few batches they make
MIN_EPOCHS = 8
PREDICTION_STEPS = 8192  # padded steps that are computed at a time, so that memory stays small


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How to train.

    Parameters
    ----------
    epochs : int or None
        Times through the data. None: as many as make 1000 updates, at least 8.
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

    def __post_init__(self) -> None:
        check_number("batch_size", self.batch_size, whole=True, above=0)
        for name in ("epochs", "patience"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), whole=True, above=0)
        for name in ("learning_rate", "max_gradient_norm"):
            check_number(name, getattr(self, name), above=0)
        check_number("weight_decay", self.weight_decay, at_least=0)
        check_probability("label_smoothing", self.label_smoothing)
        if self.schedule not in ("one-cycle", "constant"):
            raise SettingError(f"schedule is one-cycle or constant, not {self.schedule!r}")


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


Part = tuple[Sequence[np.ndarray], np.ndarray]  # sequences (T, F) and their classes


@one_blas_thread()
def train(
    network: Network,
    params: Params,
    training: Part,
    validation: Part | None,
    options: TrainingOptions,
    rng: np.random.Generator,
    class_weight: np.ndarray | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> tuple[Params, list[Epoch]]:
    """Train a network.

    Parameters
    ----------
    network : Network
        What to train.
    params : dict
        Parameters to start from. They are left as they are.
    training : tuple of (sequences, classes)
        Sequences ``(T, F)`` and an int array of their classes, 0 .. K - 1.
    validation : tuple of (sequences, classes) or None
        The part by which the best epoch is chosen. None: the last epoch is kept.
    options : TrainingOptions
        How to train.
    rng : numpy.random.Generator
        Source of the batches' order and the dropout masks.
    class_weight : ndarray (K,), optional
        Weight of each class in the loss.
    on_epoch : callable, optional
        Called after each epoch with an `Epoch`.

    Returns
    -------
    params : dict
        Parameters after the epoch with the smallest validation loss.
    history : list of Epoch
        All epochs.

    Raises
    ------
    SettingError
        If the loss stops being a finite number.
    """
    sequences, targets = training
    per_epoch = math.ceil(len(sequences) / options.batch_size)
    epochs = options.epochs or max(MIN_EPOCHS, math.ceil(MIN_UPDATES / per_epoch))
    patience = options.patience or max(5, epochs // 4)
    params = {name: array.copy() for name, array in params.items()}
    optimiser = AdamW(weight_decay=options.weight_decay)
    history: list[Epoch] = []
    best, best_loss, best_epoch = params, math.inf, 0

    for epoch in range(1, epochs + 1):
        loss_sum, correct = 0.0, 0
        for batch in shuffled(len(sequences), options.batch_size, rng):
            learning_rate = options.learning_rate
            if options.schedule == "one-cycle":
                learning_rate = one_cycle(optimiser.steps, epochs * per_epoch, options.learning_rate)
            x, lengths = pad([sequences[n] for n in batch])
            logits, cache = network.forward(params, x, lengths, rng)
            loss, loss_cache = cross_entropy_forward(
                logits, targets[batch], options.label_smoothing, class_weight
            )
            if not math.isfinite(loss):
                raise SettingError(
                    f"the loss became {loss} in epoch {epoch} at a learning rate of {learning_rate:.2g}; "
                    "lower the learning rate"
                )
            _, grads = network.backward(
                params, cache, cross_entropy_backward(loss_cache), input_gradient=False
            )
            clip_gradient_norm(grads, options.max_gradient_norm)
            optimiser.step(params, grads, learning_rate)
            loss_sum += loss * len(batch)
            correct += int((logits.argmax(axis=1) == targets[batch]).sum())

        validation_loss = validation_accuracy = None
        if validation is not None:
            logits = predict_logits(network, params, validation[0])
            validation_loss, _ = cross_entropy_forward(
                logits, validation[1], options.label_smoothing, class_weight
            )
            validation_accuracy = float((logits.argmax(axis=1) == validation[1]).mean())
        history.append(
            Epoch(
                epoch,
                epochs,
                learning_rate,
                loss_sum / len(sequences),
                correct / len(sequences),
                validation_loss,
                validation_accuracy,
            )
        )
        if on_epoch is not None:
            on_epoch(history[-1])
        if validation_loss is None:
            continue
        if validation_loss < best_loss:
            best = {name: array.copy() for name, array in params.items()}
            best_loss, best_epoch = validation_loss, epoch
        elif epoch - best_epoch >= patience:
            break
    return (params if validation is None else best), history


@one_blas_thread()
def predict_logits(network: Network, params: Params, sequences: Sequence[np.ndarray]) -> np.ndarray:
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
    ndarray (N, K)
        Scores before the softmax, in the order of the sequences.
    """
    params = freeze(params)
    dtype = params["linear.weight"].dtype
    logits = np.zeros((len(sequences), network.n_classes), dtype)
    lengths = np.array([len(sequence) for sequence in sequences])
    order = np.argsort(lengths, kind="stable")
    while len(order):
        # Lengths rise, so the last sequence of a batch decides how long its padding makes the others.
        fit = np.arange(1, len(order) + 1) * lengths[order] <= PREDICTION_STEPS
        batch, order = np.split(order, [max(1, int(fit.sum()))])
        logits[batch], _ = network.forward(params, *pad([sequences[n] for n in batch]), inference=True)
    return logits
