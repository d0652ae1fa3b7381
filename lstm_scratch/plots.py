"""Pictures, as PNG: confusion matrix, training curve, an LSTM's memory, features (extra `plots`)."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lstm_scratch.errors import UserError
from lstm_scratch.files import atomic_write
from lstm_scratch.sound import FeatureSettings, band_centres, frame_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CONFUSION, TRAINING = "confusion.png", "training.png"  # what the pictures are called
DPI = 150
WAVEFORM_COLUMNS = 2000  # of a longer signal, the lowest and highest sample in as many pieces are drawn
FRAMES_DRAWN = 700  # of more, the picture shows averages
BETWEEN_TICKS = 0.08  # of the axis, at least


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


def plot_features(
    path: str | os.PathLike[str],
    settings: FeatureSettings,
    samples: np.ndarray,
    sample_rate: int,
    title: str,
) -> None:
    """Draw waveform, log-mel and MFCC of a recording over time.

    Parameters
    ----------
    path : path
        The PNG file, whatever its ending.
    settings : FeatureSettings
        Of the features. What they do after the coefficients (deltas, normalisation, stacking) is not drawn;
        nor is the energy, nor the zeroth coefficient, beside which the others would have no colour.
    samples : ndarray (N,), floating
        The recording, full scale 1.
    sample_rate : int
        In Hz.
    title : str
        What the picture says on top.

    Raises
    ------
    UserError
        If matplotlib is not installed.
    FeatureError
        If the settings do not fit the recording, or give no mel bands of it.
    """
    bare = settings.change(
        delta_order=0,
        clip_normalisation="none",
        sliding_normalisation="none",
        stack=1,
        energy="none",
        level="first",
        n_mfcc=min(settings.n_mfcc, settings.n_mels),
    )
    bands = bare.change(kind="log-mel")(samples, sample_rate)
    cepstra = bare.change(kind="mfcc")(samples, sample_rate)
    first = 1 if cepstra.shape[1] > 1 else 0
    figure = _figure(9.0, 8.0)
    axes = figure.subplots(3, 1, sharex=True, height_ratios=(2, 3, 3))
    waveform, log_mel, mfcc = axes
    _draw_waveform(waveform, samples, sample_rate)
    waveform.set(ylabel="amplitude\n(full scale 1)")
    waveform.set_title(title, parse_math=False)

    middles = frame_seconds(len(bands), bare, sample_rate)
    half_hop = bare.sizes(sample_rate)[1] / sample_rate / 2
    span = (middles[0] - half_hop, middles[-1] + half_hop)
    as_grid: dict[str, Any] = {"aspect": "auto", "origin": "lower"}
    as_grid["interpolation"] = "nearest" if len(bands) <= FRAMES_DRAWN else "auto"
    image = log_mel.imshow(bands.T, cmap="magma", extent=(*span, -0.5, bands.shape[1] - 0.5), **as_grid)
    at, hz = _frequency_ticks(band_centres(bare, sample_rate))
    log_mel.set_yticks(at, [f"{tick:g}" for tick in hz])
    log_mel.set(ylabel="frequency, Hz", title=f"log-mel: {bands.shape[1]} bands")
    unit = {"db": "dB", "ln": f"ln({bare.spectrum})", "none": bare.spectrum, "pcen": "PCEN"}[bare.log]
    figure.colorbar(image, ax=log_mel, label=unit)

    shown = cepstra[:, first:]
    most = float(np.abs(shown[np.isfinite(shown)]).max(initial=0)) or 1.0  # 0 is white
    image = mfcc.imshow(
        shown.T,
        cmap="RdBu_r",
        vmin=-most,
        vmax=most,
        extent=(*span, first - 0.5, cepstra.shape[1] - 0.5),
        **as_grid,
    )
    mfcc.set(xlabel="time, s", ylabel="coefficient", title=f"MFCC {first} to {cepstra.shape[1] - 1}")
    mfcc.yaxis.get_major_locator().set_params(integer=True)
    mfcc.set_xlim(0, len(samples) / sample_rate)
    figure.colorbar(image, ax=mfcc, label="coefficient's value")
    with atomic_write(path) as part_file:
        figure.savefig(part_file, dpi=DPI, format="png")


def _draw_waveform(axes: "Axes", samples: np.ndarray, sample_rate: int) -> None:
    size = -(-len(samples) // WAVEFORM_COLUMNS)
    if size < 3:
        axes.plot(np.arange(len(samples)) / sample_rate, samples, linewidth=0.8)
    else:
        pieces = np.pad(samples, (0, -len(samples) % size), mode="edge").reshape(-1, size)
        middles = (np.arange(len(pieces)) + 0.5) * size / sample_rate
        axes.fill_between(middles, pieces.min(axis=1), pieces.max(axis=1), linewidth=0.5)
    axes.grid(alpha=0.3)


def _frequency_ticks(centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose round frequencies, and tell where they are on an axis that counts bands from 0."""
    hz = np.array([digit * 10.0**power for power in range(6) for digit in (1, 2, 5)])
    hz = hz[(centres[0] <= hz) & (hz <= centres[-1])]
    at = np.interp(hz, centres, np.arange(len(centres)))
    kept: list[int] = []
    for i in reversed(range(len(hz))):
        if not kept or at[kept[-1]] - at[i] >= BETWEEN_TICKS * len(centres):
            kept.append(i)
    kept.reverse()
    return at[kept], hz[kept]


def _figure(width: float, height: float) -> "Figure":
    # Without pyplot: no window system is looked for, and no global state is changed.
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("pictures need matplotlib: pip install 'lstm-scratch[plots]'") from None
    return Figure(figsize=(width, height), layout="constrained")
