"""A study of settings compares what it says, with a base that is found among the variants."""

import csv

import numpy as np
import pytest
import soundfile

from benchmarks import ablation
from lstm_scratch.recipe import build_classifier
from lstm_scratch.results import read_results

RATE = 8000


def outcome(*accuracies):
    """Results of seeds (rows) and folds."""
    return {
        "folds": [
            {"seed": seed, "fold": str(fold), "accuracy": accuracy}
            for seed, of_seed in enumerate(accuracies)
            for fold, accuracy in enumerate(of_seed)
        ]
    }


def test_a_difference_is_the_mean_over_seeds_of_the_mean_over_folds():
    base = outcome((0.5, 0.6, 0.7), (0.4, 0.6, 0.8))
    variant = outcome((0.6, 0.6, 0.6), (0.7, 0.6, 0.8))
    mean, (low, high), better, folds = ablation.difference(variant, base)
    # Differences of the seeds: 0 and 10 points. Student's t of one degree of freedom is 12.7062.
    assert mean == pytest.approx(5)
    assert (low, high) == pytest.approx((5 - 12.7062 * 5, 5 + 12.7062 * 5), abs=1e-3)
    assert (better, folds) == (1, 3), "the first fold; the second is the same, the third worse"


def test_an_interval_is_students():
    # A mean of 4, a standard deviation of 2, and 3.18245 for three degrees of freedom.
    values = [4 + 2 * x for x in np.array([-1.5, -0.5, 0.5, 1.5]) / np.sqrt(5 / 3)]
    assert ablation.t_interval(values) == pytest.approx((4 - 3.18245, 4 + 3.18245), abs=1e-5)


@pytest.mark.parametrize("name", ablation.STUDIES)
def test_variants_differ_from_their_base_in_what_they_say(name):
    base = ablation.STUDIES[name].base
    variants = ablation.variants_of(base)
    assert {variant.topic for variant in variants if variant.is_base} == ablation.VARIANTS.keys()
    others = [variant for variant in variants if not variant.is_base]
    assert len({variant.file for variant in others}) == len(others)
    for variant in others:
        assert variant.file != "base.json"
        assert variant.settings == base | dict(ablation.VARIANTS[variant.topic][variant.name])
        changes_sound = build_classifier(variant.settings).hears
        assert changes_sound == any(
            variant.settings.get(setting) is not None
            for setting in ("snr_db", "equaliser_db", "gain_db", "shift_ms", "speed", "tempo", "vtln")
        )


def test_a_study_runs_once_and_prints_its_table(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    (tmp_path / "data" / "tones").mkdir(parents=True)
    rows = [("path", "label", "speaker")]
    for speaker in range(4):
        for label, hz in (("low", 500), ("high", 1500)):
            for n in range(2):
                path = f"{speaker}-{label}-{n}.wav"
                sound = np.sin(2 * np.pi * hz * np.arange(2000) / RATE) + 0.1 * rng.normal(size=2000)
                soundfile.write(tmp_path / "data" / "tones" / path, 0.3 * sound, RATE)
                rows.append((path, label, f"s{speaker}"))
    with (tmp_path / "data" / "tones" / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    changed = {**ablation.PLAIN_SOUND, "hidden_size": 3, "pooling": "mean", "n_mels": 11, "n_mfcc": 5}
    changed |= {"epochs": 4}
    monkeypatch.setattr(
        ablation, "STUDIES", {"tones": ablation.Study("tones", "speaker", "default", changed)}
    )
    monkeypatch.setattr(
        ablation,
        "VARIANTS",
        {
            "slopes": {"none": {"delta_order": 0}, "of order 2": {"delta_order": 2}},
            "sound": {"level": {"gain_db": (-6, 6)}},
        },
    )
    words = [
        "--data",
        str(tmp_path / "data"),
        "-o",
        str(tmp_path / "out"),
        "--seeds",
        "2",
        "--processes",
        "1",
    ]
    ablation.main(words)
    first = capsys.readouterr().out
    found = read_results(tmp_path / "out" / "tones" / "base.json")
    assert found["protocol"]["part"] == "validation"
    assert found["seeds"] == [0, 1]
    # Two directions of 4 gates, 3 units, as many states and a bias; a linear layer for 2 classes.
    assert found["parameters"] == 2 * 4 * 3 * (3 * 5 * 4 + 3 + 1) + 2 * (2 * 3 + 1)
    lines = first.splitlines()
    (of_none,) = (line for line in lines if line.startswith("| slopes | none |"))
    assert of_none.endswith(f" | {2 * 4 * 3 * (5 * 4 + 3 + 1) + 2 * (2 * 3 + 1)} |")
    assert lines[1] == "tones (tones, --folds speaker --part validation)"
    assert "| slopes | of order 2 | base | | |" in lines
    assert sum("of 4 |" in line for line in lines) == 2
    monkeypatch.setattr(ablation, "cross_validate", None)  # nothing is worked out again
    ablation.main(words)
    assert capsys.readouterr().out == first
    for wrong, said in (
        (["--seeds", "1"], "--seeds: two at least"),
        (["--seeds", "3"], "base.json: results of other seeds than 3; name another folder with -o"),
        (["--data", str(tmp_path)], f"{tmp_path}: no tones in it; name the folder"),
        (["-o", str(tmp_path / "data" / "tones" / "manifest.csv")], "Not a directory"),
    ):
        with pytest.raises(SystemExit):
            ablation.main([*words, *wrong])
        assert said in capsys.readouterr().err
    (tmp_path / "out" / "tones" / "sound-level.json").unlink()
    ablation.main([*words, "--only-print"])
    missing = [line for line in first.splitlines() if line.startswith("| sound | level |")]
    assert capsys.readouterr().out == first.replace(missing[0], "| sound | level | not run | | |")
    changed["epochs"] = 3
    with pytest.raises(SystemExit):
        ablation.main(words)
    assert "base.json: results of other settings than today's; name another" in capsys.readouterr().err
