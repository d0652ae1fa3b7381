"""AdamW, clipping and the one-cycle rate: step by step those of torch."""

import numpy as np
import pytest
import torch

from lstm_scratch.optim import AdamW, clip_gradient_norm, one_cycle


def test_adamw_takes_the_steps_of_torch():
    rng = np.random.default_rng(0)
    params = {"a": rng.normal(size=(3, 4)), "b": rng.normal(size=5)}
    theirs = {name: torch.nn.Parameter(torch.tensor(a)) for name, a in params.items()}
    ours, optimiser = AdamW(weight_decay=0.1), torch.optim.AdamW(theirs.values(), lr=0.05, weight_decay=0.1)
    for _ in range(20):
        grads = {name: rng.normal(size=a.shape) for name, a in params.items()}
        for name, grad in grads.items():
            theirs[name].grad = torch.tensor(grad)
        ours.step(params, grads, 0.05)
        optimiser.step()
        for name, array in params.items():
            np.testing.assert_allclose(array, theirs[name].detach().numpy(), rtol=1e-12)


def test_adamw_keeps_float32():
    params = {"a": np.ones(3, np.float32)}
    optimiser = AdamW()
    optimiser.step(params, {"a": np.ones(3, np.float32)}, 0.1)
    # A first step is the learning rate against the sign, after the decay: 1 - 0.1 * 0.01 - 0.1.
    np.testing.assert_allclose(params["a"], 0.899, rtol=1e-6)
    assert {a.dtype for a in (params["a"], optimiser.mean["a"], optimiser.square["a"])} == {np.dtype("f4")}


def test_clipping_scales_all_gradients_to_the_norm_and_leaves_small_ones():
    grads = {"a": np.array([3.0]), "b": np.array([[0.0, 4.0]])}
    assert clip_gradient_norm(grads, 1.0) == 5.0
    np.testing.assert_allclose(grads["a"], 0.6)
    np.testing.assert_allclose(grads["b"], [[0, 0.8]])
    assert clip_gradient_norm(grads, 2.0) == pytest.approx(1.0)
    np.testing.assert_allclose(grads["a"], 0.6)


@pytest.mark.parametrize("total", [10, 37, 1000])
def test_one_cycle_is_that_of_torch(total):
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.3, total_steps=total)
    for step in range(total):
        assert one_cycle(step, total, 0.3) == pytest.approx(schedule.get_last_lr()[0], rel=1e-9), step
        optimiser.step()
        if step < total - 1:
            schedule.step()


@pytest.mark.parametrize("total", [1, 2, 3])
def test_one_cycle_of_a_few_steps_is_finite_and_never_above_the_peak(total):
    rates = [one_cycle(step, total, 0.3) for step in range(total)]
    assert all(0 < rate <= 0.3 for rate in rates)
