"""What is held out is in proportion by class, never cuts through a group and never empties a class."""

import numpy as np
import pytest

from lstm_scratch.splits import hold_out

SEEDS = range(50)


def counts(labels, mask):
    """Clips held out of each class."""
    return {label: int(mask[np.array(labels) == label].sum()) for label in sorted(set(labels))}


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_each_class_gives_its_share(fraction, seed):
    labels = ["a"] * 50 + ["b"] * 30 + ["c"] * 20
    mask = hold_out(labels, fraction, np.random.default_rng(seed))
    assert counts(labels, mask) == {"a": 50 * fraction, "b": 30 * fraction, "c": 20 * fraction}


def test_the_lot_decides_which_clips_and_the_same_rng_draws_the_same():
    labels = ["a", "b"] * 20
    masks = [hold_out(labels, 0.2, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])
    drawn = sum(hold_out(labels, 0.2, np.random.default_rng(seed)).astype(int) for seed in SEEDS)
    assert drawn.min() >= 1
    assert drawn.max() <= 25


@pytest.mark.parametrize(("classes", "clips", "fraction"), [(100, 3, 0.1), (10, 82, 0.1), (100, 27, 0.1)])
def test_a_share_that_is_no_whole_number_is_rounded_so_that_the_sum_fits(classes, clips, fraction):
    """Rounded class by class, a tenth of 100 classes of three clips would be none at all, or 100."""
    labels = np.repeat(np.arange(classes), clips).tolist()
    share = clips * fraction
    for seed in SEEDS[:10]:
        mask = hold_out(labels, fraction, np.random.default_rng(seed))
        assert abs(mask.sum() - classes * share) <= 1
        assert set(counts(labels, mask).values()) == {np.floor(share), np.ceil(share)}


def test_groups_stay_together_and_the_share_comes_close():
    rng = np.random.default_rng(7)
    labels = rng.choice(["a", "b", "c"], 200, p=[0.6, 0.3, 0.1]).tolist()
    groups = rng.integers(25, size=200)
    largest = np.bincount(groups).max()
    chosen = set()
    for seed in SEEDS:
        mask = hold_out(labels, 0.2, np.random.default_rng(seed), groups.tolist())
        inside = set(groups[mask].tolist())
        assert not inside & set(groups[~mask].tolist())
        assert abs(mask.sum() - 40) <= largest / 2 + 1
        assert counts(labels, ~mask)["c"] >= 1
        chosen.add(frozenset(inside))
    assert len(chosen) > 40


def test_every_class_keeps_a_clip_outside_whatever_is_wanted():
    labels = ["a"] * 10 + ["b"] * 2 + ["c"]
    for seed in SEEDS:
        mask = hold_out(labels, 0.99, np.random.default_rng(seed), minimum=1)
        assert counts(labels, mask) == {"a": 9, "b": 1, "c": 0}


def test_a_group_that_has_all_clips_of_a_class_is_never_held_out():
    labels = ["a"] * 6 + ["b"] * 6
    groups = ["u", "v", "w"] * 2 + ["x"] * 6
    for seed in SEEDS:
        mask = hold_out(labels, 0.3, np.random.default_rng(seed), groups)
        assert counts(labels, mask)["b"] == 0
        assert counts(labels, mask)["a"] in (2, 4)


def test_minimum_asks_for_a_clip_of_every_class_however_small_the_fraction():
    labels = np.repeat(["a", "b", "c"], [3, 10, 40]).tolist()
    assert hold_out(labels, 0.01, np.random.default_rng(0)).sum() <= 1
    assert counts(labels, hold_out(labels, 0.01, np.random.default_rng(0), minimum=1)) == dict.fromkeys(
        "abc", 1
    )


@pytest.mark.parametrize("groups", [None, ["u", "v"] * 5])
def test_nothing_is_held_out_where_nothing_is_wanted(groups):
    assert not hold_out(["a"] * 10, 0.0, np.random.default_rng(0), groups).any()


def test_one_giant_group_cannot_be_parted():
    assert not hold_out(["a", "b"] * 10, 0.2, np.random.default_rng(0), ["everybody"] * 20).any()


def test_of_groups_that_all_overshoot_the_smallest_is_held_out():
    groups = np.repeat(["u", "v", "w"], [30, 10, 40])
    for seed in SEEDS:
        mask = hold_out(["a"] * 80, 0.05, np.random.default_rng(seed), groups.tolist())
        assert np.array_equal(mask, groups == "v")
