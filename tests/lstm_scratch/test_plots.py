"""The pictures are PNG files that show the numbers given, whole or not at all."""

import sys

import numpy as np
import pytest
from matplotlib.image import imread

from lstm_scratch import plots
from lstm_scratch.errors import UserError
from lstm_scratch.plots import plot_confusion, plot_memory, plot_training


def epoch(number, training_loss, validation_loss=None):
    return {
        "epoch": number,
        "training_loss": training_loss,
        "training_accuracy": 1 - training_loss / 2,
        "validation_loss": validation_loss,
        "validation_accuracy": None if validation_loss is None else 1 - validation_loss,
    }


HISTORY = [epoch(1, 0.9, 0.8), epoch(2, 0.5, 0.3), epoch(3, 0.2, 0.4)]


@pytest.fixture
def figures(monkeypatch):
    """The figures that were drawn."""
    drawn = []
    make = plots._figure
    monkeypatch.setattr(plots, "_figure", lambda *size: drawn.append(make(*size)) or drawn[-1])
    return drawn


def pixels(path):
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    image = imread(path)
    assert image.min() < image.max()
    return image


def test_a_confusion_matrix_shows_its_counts_names_and_shares(tmp_path, figures):
    path = tmp_path / "new" / "folder" / "confusion.png"
    plot_confusion(path, [[6, 2, 0], [0, 0, 0], [1, 0, 3]], ["no", "maybe", "yes"], "75 % right")
    pixels(path)
    axes = figures[0].axes[0]
    cells = {
        (round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axes.texts
    }
    assert cells == {(0, 0): "6", (0, 1): "2", (2, 0): "1", (2, 2): "3"}
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25, 0], [0, 0, 0], [0.25, 0, 0.75]]
    assert axes.images[0].get_clim() == (0, 1)
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [tick.get_text() for tick in ticks] == ["no", "maybe", "yes"]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("predicted", "true", "75 % right")


def test_a_perfect_matrix_is_darker_than_one_that_guesses(tmp_path):
    dark = []
    for name, confusion in (("perfect", [[4, 0], [0, 4]]), ("guess", [[2, 2], [2, 2]])):
        plot_confusion(tmp_path / f"{name}.png", confusion, ["a", "b"], "title")
        colours = pixels(tmp_path / f"{name}.png")[..., :3]
        dark.append(int((np.abs(colours - np.array([8, 48, 107]) / 255).max(axis=-1) < 0.02).sum()))
    assert dark[0] > 10 * dark[1] + 1000


@pytest.mark.parametrize("name", ["$x$ & $_$", r"\frac{", "speech_with_background_music", "100 %"])
def test_any_class_name_can_be_drawn_as_it_stands(tmp_path, name):
    plot_confusion(tmp_path / "c.png", [[1, 0], [0, 1]], [name, "b"], "title")
    pixels(tmp_path / "c.png")


def test_training_curves_show_every_epoch_and_the_one_that_was_kept(tmp_path, figures):
    plot_training(tmp_path / "training.png", HISTORY, "run 1")
    pixels(tmp_path / "training.png")
    wanted = {
        "loss, nats": ([0.9, 0.5, 0.2], [0.8, 0.3, 0.4], 0.3),
        "accuracy, %": ([55, 75, 90], [20, 70, 60], 70),
    }
    assert [axes.get_ylabel() for axes in figures[0].axes] == list(wanted)
    assert figures[0].get_suptitle() == "run 1"
    for axes in figures[0].axes:
        training, validation, kept = axes.lines
        assert training.get_xdata().tolist() == validation.get_xdata().tolist() == [1, 2, 3]
        assert training.get_ydata() == pytest.approx(wanted[axes.get_ylabel()][0])
        assert validation.get_ydata() == pytest.approx(wanted[axes.get_ylabel()][1])
        assert (float(kept.get_xdata()[0]), float(kept.get_ydata()[0])) == pytest.approx(
            (2, wanted[axes.get_ylabel()][2])
        )
        assert [text.get_text() for text in axes.get_legend().get_texts()][1:] == ["validation", "kept"]


def test_without_validation_only_the_training_is_drawn(tmp_path, figures):
    plot_training(tmp_path / "t.png", [epoch(1, 0.9), epoch(2, 0.4)], "title")
    for axes in figures[0].axes:
        assert len(axes.lines) == 1
    assert figures[0].axes[0].lines[0].get_ydata().tolist() == [0.9, 0.4]


@pytest.mark.parametrize(
    "draw",
    [
        lambda path: plot_confusion(path, [[1, 0], [0, 1]], ["a", "b"], "title"),
        lambda path: plot_training(path, HISTORY, "title"),
    ],
    ids=["confusion", "training"],
)
def test_without_matplotlib_the_fix_is_told_and_an_old_picture_is_left(tmp_path, monkeypatch, draw):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"^pictures need matplotlib: pip install 'lstm-scratch\[plots\]'$"):
        draw(path)
    assert path.read_bytes() == b"old"
    monkeypatch.undo()
    draw(path)
    pixels(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_memory_shows_gradients_relative_to_the_last_step_and_the_last_traces_gates(tmp_path, figures):
    rng = np.random.default_rng(0)
    traces = {name: {"dc_l0": rng.normal(size=(5, 3, 2)), "f_l0": rng.random((5, 3, 2))} for name in "ab"}
    plot_memory(tmp_path / "m.png", traces, "how far")
    pixels(tmp_path / "m.png")
    above, below, _ = figures[0].axes
    assert [line.get_label() for line in above.get_lines()] == ["a", "b"]
    for line, traced in zip(above.get_lines(), traces.values(), strict=True):
        rows = np.linalg.norm(traced["dc_l0"], axis=2)
        by_hand = [np.sqrt((row**2).mean()) for row in rows]
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4, 5])
        np.testing.assert_allclose(line.get_ydata(), np.divide(by_hand, by_hand[-1]))
    assert (above.get_yscale(), above.get_title()) == ("log", "how far")
    np.testing.assert_array_equal(below.images[0].get_array(), traces["b"]["f_l0"][:, 0].T)
    assert below.images[0].get_clim() == (0, 1)
    assert below.get_title() == "forget gates: b"
