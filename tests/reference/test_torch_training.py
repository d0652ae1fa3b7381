"""Training beside torch on real features: the same losses, update after update."""

from pathlib import Path

import numpy as np
import pytest

from lstm_scratch.engines import ENGINES
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.network import Network
from reference.torch_training import LIMIT, our_losses, torch_losses, worst_difference

FSDD = Path(__file__).parents[3] / "shared" / "data" / "fsdd"


@pytest.mark.skipif(not FSDD.is_dir(), reason=f"needs the recordings in {FSDD}")
@pytest.mark.parametrize("engine", ENGINES)
def test_300_updates_on_spoken_digits_give_the_losses_of_torch(engine):
    assert LIMIT == 1e-9
    assert worst_difference(FSDD, updates=300, engine=engine) <= LIMIT


def batches():
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(5, 3, 4)), np.array([2, 5, 3]), rng.integers(0, 2, 3)) for _ in range(20)]


def test_losses_fall_and_one_weight_off_shows():
    """The comparison can fail: it sees a change of a billionth in one number."""
    network = Network(LSTM(4, 2), 2)
    params = network.init(np.random.default_rng(1), np.float64)
    ours = np.array(list(our_losses(network, params, batches()[:1] * 60)))
    theirs = np.array(list(torch_losses(network, params, batches()[:1] * 60)))
    assert ours[-1] < ours[0] - 0.05
    assert np.max(np.abs(ours - theirs) / theirs) <= 1e-13
    params["lstm.weight_hh_l0"][3, 1] += 1e-7
    moved = np.array(list(our_losses(network, params, batches()[:1] * 60)))
    assert np.max(np.abs(moved - theirs) / theirs) > LIMIT
