"""Pictures, as PNG: the confusion matrix, the training curve, the memory of an LSTM (extra `plots`)."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lstm_scratch.errors import UserError
from lstm_scratch.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONFUSION, TRAINING = "confusion.png", "training.png"  # what the pictures are called
DPI = 150


def check_plots() -> None:
    """Make sure that pictures can be drawn, before something long begins.

    Raises
    ------
    UserError
        If matplotlib is not installed.
    """
    _figure(1, 1)


def plot_confusion(
    path: str | os.PathLike[str], confusion: ArrayLike, classes: Sequence[Any], title: str
) -> None:
    """Draw a confusion matrix: shade by part of the true class, numbers are clips.

    Parameters
    ----------
    path : path
        The PNG file.
    confusion : array (K, K), int
        Rows are true classes, columns predicted ones.
    classes : sequence
        Their K names.
    title : str
        What the picture says on top.

    Raises
    ------
    UserError
        If matplotlib is not installed.
    """
    confusion = np.asarray(confusion)
    size = 2.5 + 0.42 * len(classes)
    figure = _figure(size + 1.0, size)
    axes = figure.add_subplot()
    part = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(part, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(confusion), strict=True):
        colour = "white" if part[row, column] > 0.5 else "black"
        axes.text(column, row, str(confusion[row, column]), ha="center", va="center", color=colour)
    ticks = np.arange(len(classes))
    names = [str(name) for name in classes]
    axes.set_xticks(ticks, names, rotation=45, ha="right", parse_math=False)  # a $ is a $
    axes.set_yticks(ticks, names, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    figure.colorbar(image, ax=axes, label="part of the true class", shrink=0.8)
    with atomic_write(path) as part_file:
        figure.savefig(part_file, dpi=DPI)


def plot_training(path: str | os.PathLike[str], history: Sequence[dict[str, Any]], title: str) -> None:
    """Draw loss and accuracy, of training and validation, by epoch.

    Parameters
    ----------
    path : path
        The PNG file.
    history : sequence of dict
        A classifier's `history_`.
    title : str
        What the picture says on top.

    Raises
    ------
    UserError
        If matplotlib is not installed.
    """
    figure = _figure(9.0, 3.6)
    epochs = [epoch["epoch"] for epoch in history]
    validated = history[0]["validation_loss"] is not None
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        scale = 100 if name == "accuracy" else 1
        axes.plot(
            epochs,
            [scale * epoch[f"training_{name}"] for epoch in history],
            label="training, with dropout",
        )
        if validated:
            values = [scale * epoch[f"validation_{name}"] for epoch in history]
            axes.plot(epochs, values, label="validation")
            best = int(np.argmin([epoch["validation_loss"] for epoch in history]))
            axes.plot(epochs[best], values[best], "o", color="C1", label="kept")
        axes.set(xlabel="epoch", ylabel="accuracy, %" if name == "accuracy" else "loss, nats")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    with atomic_write(path) as part_file:
        figure.savefig(part_file, dpi=DPI)


def plot_memory(
    path: str | os.PathLike[str], traces: Mapping[str, Mapping[str, np.ndarray]], title: str
) -> None:
    """Draw how far back the loss reaches: the gradient of every cell, and the forget gates.

    Parameters
    ----------
    path : path
        The PNG file.
    traces : mapping of str to trace
        What `lstm_scratch.tracing.trace` returned for batches of equal length, ``(T, B, .)``, by what the
        picture calls it. The gates shown are the first layer's of the last trace, and one row of the
        batch.
    title : str
        What the picture says on top.

    Raises
    ------
    UserError
        If matplotlib is not installed.
    """
    figure = _figure(9.0, 6.0)
    above, below = figure.subplots(2, 1, sharex=True)
    steps = np.arange(1, len(next(iter(traces.values()))["dc_l0"]) + 1)
    for name, traced in traces.items():
        size = np.sqrt((traced["dc_l0"] ** 2).sum(axis=2).mean(axis=1))
        above.semilogy(steps, size / size[-1], label=name)
    above.set(ylabel="gradient of the cell,\nrelative to the last step's", title=title)
    above.grid(alpha=0.3)
    above.legend()
    gates = traced["f_l0"][:, 0].T
    image = below.imshow(
        gates,
        aspect="auto",
        cmap="Blues",
        vmin=0,
        vmax=1,
        extent=(0.5, len(steps) + 0.5, len(gates) + 0.5, 0.5),
    )
    below.set(xlabel="step", ylabel="unit", title=f"forget gates: {name}")
    below.yaxis.get_major_locator().set_params(integer=True)
    figure.colorbar(image, ax=below, label="kept part of the cell")
    with atomic_write(path) as part_file:
        figure.savefig(part_file, dpi=DPI)


def _figure(width: float, height: float) -> "Figure":
    # Without pyplot: no window system is looked for, and no global state is changed.
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("pictures need matplotlib: pip install 'lstm-scratch[plots]'") from None
    return Figure(figsize=(width, height), layout="constrained")
