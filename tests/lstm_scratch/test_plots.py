"""The pictures are PNG files that show the numbers given, whole or not at all."""

import sys

import numpy as np
import pytest
from matplotlib.image import imread

from lstm_scratch import plots
from lstm_scratch.errors import UserError
from lstm_scratch.plots import plot_confusion, plot_features, plot_memory, plot_training
from lstm_scratch.sound import FeatureSettings, preset


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


def tones(seconds=0.4, rate=8000):
    """Two tones, of 500 and 2000 Hz, and a third of 1000 Hz in the last quarter."""
    time = np.arange(round(seconds * rate)) / rate
    late = time >= 0.75 * seconds
    return sum(0.2 * np.sin(2 * np.pi * hz * time) for hz in (500, 2000)) + 0.4 * late * np.sin(
        2 * np.pi * 1000 * time
    )


def at_hz(axes, hz):
    """Where an axis has the tick of a frequency."""
    labels = [label.get_text() for label in axes.get_yticklabels()]
    return axes.get_yticks()[labels.index(str(hz))]


def value_at(image, seconds, row):
    """The value that is drawn at a point of the axes."""
    left, right, bottom, top = image.get_extent()
    values = image.get_array()
    column = int((seconds - left) / (right - left) * values.shape[1])
    return values[int((row - bottom) / (top - bottom) * values.shape[0]), column]


@pytest.mark.parametrize(
    ("settings", "first_s", "unit"),
    [
        (FeatureSettings(), 0, "dB"),
        (preset("kaldi", delta_order=2, stack=3, clip_normalisation="mean"), 0.0125, "ln(power)"),
        (preset("htk", frame_ms=20), 0.01, "ln(magnitude)"),
    ],
    ids=["default", "kaldi", "htk"],
)
def test_features_are_drawn_where_they_are_in_time_and_frequency(tmp_path, figures, settings, first_s, unit):
    samples = tones()
    plot_features(tmp_path / "f.png", settings, samples, 8000, "tone$s_")
    pixels(tmp_path / "f.png")
    waveform, log_mel, mfcc, bar, _ = figures[0].axes
    (line,) = waveform.lines
    np.testing.assert_array_equal(line.get_xdata(), np.arange(3200) / 8000)
    np.testing.assert_array_equal(line.get_ydata(), samples)
    assert [axes.get_xlim() for axes in (waveform, log_mel, mfcc)] == [(0, 0.4)] * 3

    static = settings.change(delta_order=0, stack=1, clip_normalisation="none", energy="none", level="first")
    bands = static.change(kind="log-mel")(samples, 8000)
    np.testing.assert_array_equal(log_mel.images[0].get_array(), bands.T)
    np.testing.assert_array_equal(mfcc.images[0].get_array(), static(samples, 8000)[:, 1:].T)
    for axes, low, high in ((log_mel, 0, settings.n_mels), (mfcc, 1, settings.n_mfcc)):
        end = first_s + 0.01 * (len(bands) - 1)
        expected = (first_s - 0.005, end + 0.005, low - 0.5, high - 0.5)
        assert axes.images[0].get_extent() == pytest.approx(expected)

    image = log_mel.images[0]
    for hz in (500, 2000):  # tones are at their ticks: more there than two bands away
        row = at_hz(log_mel, hz)
        assert value_at(image, 0.2, row) > max(value_at(image, 0.2, row + step) for step in (-2.5, 2.5)) + 1
    early, late = (value_at(image, seconds, at_hz(log_mel, 1000)) for seconds in (0.27, 0.33))
    assert late > early + 5

    assert bar.get_ylabel() == unit
    assert (waveform.get_ylabel(), log_mel.get_ylabel()) == ("amplitude\n(full scale 1)", "frequency, Hz")
    assert (mfcc.get_xlabel(), mfcc.get_ylabel()) == ("time, s", "coefficient")
    assert waveform.get_title() == "tone$s_"
    assert mfcc.get_title() == "MFCC 1 to 12"


def test_of_a_long_recording_the_outline_is_drawn(tmp_path, figures):
    samples = np.zeros(50_003)
    samples[20_000], samples[49_999] = 0.9, -0.8
    plot_features(tmp_path / "f.png", FeatureSettings(), samples, 16_000, "clicks")
    (outline,) = figures[0].axes[0].collections
    points = outline.get_paths()[0].vertices
    high, low = points[points[:, 1].argmax()], points[points[:, 1].argmin()]
    assert (high[1], low[1]) == (0.9, -0.8)
    assert high[0] == pytest.approx(1.25, abs=0.001)
    assert low[0] == pytest.approx(49_999 / 16_000, abs=0.001)


@pytest.mark.parametrize(
    ("settings", "n"),
    [
        (FeatureSettings(n_mels=1, n_mfcc=1), 1),
        (FeatureSettings(kind="log-mel", n_mels=5), 1),
        (FeatureSettings(kind="log-mel", log_floor=0.0, top_db=None), 900),
        (FeatureSettings(log="pcen", energy="raw", level="last"), 900),
        (FeatureSettings(kind="log-spectrogram", log="none"), 900),
    ],
)
def test_silence_one_sample_and_single_bands_can_be_drawn(tmp_path, settings, n):
    plot_features(tmp_path / "f.png", settings, np.zeros(n), 8000, "nothing")
    pixels(tmp_path / "f.png")
