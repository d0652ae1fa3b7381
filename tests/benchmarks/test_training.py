"""The machinery of the benchmark of training, on networks too small to tell anything of time."""

import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from lstm_scratch.batches import Examples
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.network import Network

pytestmark = pytest.mark.compiled
KEYS = "op clips updates threads ours_s torch_packed_s torch_padded_s torch_s faster_torch ratio_torch"


@pytest.fixture
def benchmark():
    import benchmarks.training

    return benchmarks.training


@pytest.fixture
def recipe(benchmark):
    """Seven clips in batches of two: four updates."""
    rng = np.random.default_rng(1)
    sequences = [rng.standard_normal((T, 3), np.float32) for T in (4, 6, 1, 5, 9, 2, 7)]
    recipe = benchmark.one_epoch((sequences, np.array([0, 3, 1, 2, 3, 0, 1])))
    network = Network(LSTM(3, 5, bidirectional=True), 4)
    return recipe._replace(
        network=network, params=network.init(rng), options=replace(recipe.options, batch_size=2)
    )


def test_the_recipe_is_the_classifiers_but_for_dropout(benchmark):
    network, params, options, clips = benchmark.one_epoch(benchmark._noise())
    assert network == Network(LSTM(156, 48, bidirectional=True), 10)
    assert params["linear.weight"].dtype == clips[0][0].dtype == np.float32
    assert (options.epochs, options.batch_size, options.schedule) == (1, 32, "one-cycle")
    assert len(clips[0]) == len(clips[1]) == 2700
    assert np.mean([len(sequence) for sequence in clips[0]]) == pytest.approx(11.5, abs=0.5)


def test_the_training_part_of_a_corpus_is_standardised(benchmark, tmp_path):
    rng = np.random.default_rng(0)
    for label, n in itertools.product(("no", "yes"), range(5)):
        (tmp_path / label).mkdir(exist_ok=True)
        soundfile.write(tmp_path / label / f"{n}.wav", rng.uniform(-0.5, 0.5, 2000 + 100 * n), 8000)
    sequences, classes = benchmark._recorded(tmp_path)
    np.testing.assert_array_equal(classes, [0] * 4 + [1] * 4)  # one of five is for the test
    steps = np.concatenate(sequences)
    assert steps.dtype == np.float32
    np.testing.assert_allclose(steps.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(steps.std(axis=0), 1, rtol=1e-5)


@pytest.mark.parametrize("packed", [True, False])
def test_losses_are_torchs_and_one_weight_off_shows(benchmark, recipe, packed):
    ours = benchmark.our_losses(recipe)
    epoch = benchmark.torch_epoch(recipe, packed)
    assert len(ours) == 4
    benchmark.check_equal({"ours": ours, "torch": epoch()})
    benchmark.check_equal({"ours": ours, "torch": epoch()})  # it begins anew
    recipe.params["lstm.weight_hh_l0_reverse"][2, 1] += 0.01
    with pytest.raises(AssertionError, match="losses of torch"):
        benchmark.check_equal({"ours": ours, "torch": benchmark.torch_epoch(recipe, packed)()})


def test_another_loss_or_number_of_updates_is_refused(benchmark):
    ours = [2.0] * (benchmark.COMPARED + 1)
    benchmark.check_equal({"ours": ours, "torch": [*ours[:-1], 2.1]})  # rounding grows
    for n in (0, benchmark.COMPARED - 1):
        for wrong in (2 + 2e-5, np.nan):
            with pytest.raises(AssertionError, match="losses of torch"):
                benchmark.check_equal({"ours": ours, "torch": [*ours[:n], wrong, *ours[n + 1 :]]})
    with pytest.raises(AssertionError, match="torch has 20 updates, ours 21"):
        benchmark.check_equal({"ours": ours, "torch": ours[1:]})


def test_wrong_losses_are_refused_before_anything_is_timed(benchmark, recipe, monkeypatch):
    monkeypatch.setattr(benchmark, "our_losses", lambda recipe: [2.0] * 4)
    monkeypatch.setattr(benchmark, "alternate", None)
    with pytest.raises(AssertionError, match="losses of torch_packed"):
        benchmark.measure(recipe, threads=1, epochs=1)


def test_the_parts_of_an_epoch_are_its_sum(benchmark, recipe, monkeypatch):
    """On a clock that ticks when it is read, each part is so many ticks an update; forward, once more."""
    clock = itertools.count()
    batch, forward = Examples.batch, LSTM.forward
    monkeypatch.setattr(benchmark, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    ticks = benchmark.profile(lambda: benchmark.our_epoch(recipe))
    assert ticks == {
        "gathering batches": 4,
        "LSTM forward": 4 + 1,
        "LSTM backward": 4,
        "pooling, linear, loss": 4 * 6 + 3,
        "clipping": 4,
        "AdamW": 4,
        "everything else": 4 * 7 + 1 + 2,
    }
    assert sum(ticks.values()) == next(clock) - 1  # from the first to the last
    assert Examples.batch is batch
    assert LSTM.forward is forward


def test_the_command_prints_tables_and_writes_a_row(benchmark, monkeypatch, tmp_path, capsys):
    seconds = {"ours": 0.5, "torch_packed": 2.0, "torch_padded": 1.0}
    monkeypatch.setattr(benchmark, "alternate", lambda runs, **_: {who: seconds[who] for who in runs})
    monkeypatch.setattr(benchmark, "CLIPS", 330)
    path = tmp_path / "rows.json"
    benchmark.main(["--quick", "--threads", "1", "--epochs", "2", "--json", str(path)])
    (row,) = json.loads(path.read_text())["rows"]
    assert list(row) == [*KEYS.split(), "profile_ms"]
    assert [row[key] for key in KEYS.split()] == [
        *("training_epoch", 33, 2, 1),
        *(0.5, 2, 1, 1, "torch_padded", 2),
    ]
    assert list(row["profile_ms"]) == list(dict.fromkeys(part for part, _, _ in benchmark.PARTS))
    assert min(row["profile_ms"].values()) > 0
    out = capsys.readouterr().out
    assert "33 clips, 2 updates an epoch, 1 thread\n" in out
    assert "torch_padded takes 2.00 times as long as ours" in out
    assert f"sum{sum(row['profile_ms'].values()):33.1f}      100.0%" in out
