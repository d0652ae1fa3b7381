"""Truncated backpropagation: chunks compute what one run computes, and a horizon cuts where theory says."""

import dataclasses
import math

import numpy as np
import pytest

from lstm_scratch.errors import SettingError
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.lstm import valid_steps
from lstm_scratch.truncated import truncated_backward, truncated_forward
from lstm_scratch.variants import Variant
from reference import assert_gradients
from reference.cases import INPUTS, OUTPUTS, draw_case

T, B, I, H, P = 7, 3, 4, 6, 2
SHAPES = {
    "one layer": {},
    "two layers": {"num_layers": 2},
    "projection": {"proj_size": P},
    "two layers, projection": {"num_layers": 2, "proj_size": P},
    "variant": {"variant": Variant(peepholes=True, coupled=True, layer_norm=True, zoneout_h=0.2)},
}
LENGTHS = [None, [7, 0, 3], [2, 4, 6], [1, 7, 5]]
CHUNKS = [1, 2, 3, 6, 7, 9]

shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
some_shapes = pytest.mark.parametrize("shape", [{}, SHAPES["two layers, projection"]], ids=str)


def draw(engine, shape, batch_first=False, **options):
    lstm = LSTM(I, H, engine=engine, batch_first=batch_first, **shape)
    return draw_case(lstm, T, **{"B": B} | options)


def values_in_chunks(case, chunk):
    inputs = (case.arrays[name] for name in INPUTS)
    x, h0, c0 = inputs
    outputs, cache = truncated_forward(case.lstm, case.params, x, chunk, h0, c0, case.lengths)
    return dict(zip(OUTPUTS, outputs, strict=True)), cache


def gradients_in_chunks(case, chunk, horizon, **upstream):
    _, cache = values_in_chunks(case, chunk)
    d_inputs, grads = truncated_backward(
        case.lstm, case.params, cache, **upstream or case.upstream, horizon=horizon
    )
    return grads | dict(zip(INPUTS, d_inputs, strict=True))


def truncated_loss(case, chunk, horizon):
    """The loss whose derivative a horizon gives, by plain runs over slices.

    The loss of chunk k is computed by one run from the start of chunk k - horizon + 1, into which goes the
    state as a number that no array moves; only a run from the very start begins with h0 and c0.
    """
    params, (x, h0, c0) = case.params, (case.arrays[name] for name in INPUTS)
    lstm = dataclasses.replace(case.lstm, engine="numpy")
    lengths = np.full(x.shape[1], T) if case.lengths is None else case.lengths
    starts = range(0, T, chunk)
    frozen = {}
    for start in starts:
        (_, *frozen[start]), _ = lstm.forward(params, x[:start], h0, c0, np.minimum(lengths, start))

    def loss(arrays):
        total = 0
        for k, start in enumerate(starts):
            end = min(start + chunk, T)
            first = starts[max(k - horizon + 1, 0)]
            states = (arrays["h0"], arrays["c0"]) if first == 0 else frozen[first]
            (y, h_n, c_n), _ = lstm.forward(
                arrays, arrays["x"][first:end], *states, np.clip(lengths - first, 0, end - first)
            )
            total = total + (y[start - first :] * case.upstream["dy"][start:end]).sum()
        return total + (h_n * case.upstream["dh_n"]).sum() + (c_n * case.upstream["dc_n"]).sum()

    return loss


# Forward.


@shapes
@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_chunks_compute_what_one_run_computes(engine, shape, chunk, lengths, assert_agree):
    case = draw(engine, shape, lengths=lengths)
    values, _ = values_in_chunks(case, chunk)
    assert_agree(values, case.values(), rtol=1e-12, atol=1e-14)


@some_shapes
@pytest.mark.parametrize("chunk", [2, 9])
@pytest.mark.parametrize(
    "options",
    [{"batch_first": True, "lengths": [2, 0, 7]}, {"B": None}, {"B": None, "batch_first": True}],
    ids=["batch first", "one sequence", "one sequence, batch first"],
)
def test_layouts_are_those_of_the_stack(engine, shape, chunk, options, assert_agree):
    case = draw(engine, shape, **options)
    values, _ = values_in_chunks(case, chunk)
    assert_agree(values, case.values(), rtol=1e-12, atol=1e-14)
    for horizon in (None, 99):
        grads = gradients_in_chunks(case, chunk, horizon)
        assert_agree(grads, case.gradients(), rtol=1e-11, atol=1e-12)


def test_layouts_hold_the_same_truncated_gradients(engine, assert_agree):
    case = draw(engine, {}, lengths=[2, 0, 7])
    swapped = dataclasses.replace(
        case,
        lstm=dataclasses.replace(case.lstm, batch_first=True),
        arrays=case.arrays | {"x": case.arrays["x"].swapaxes(0, 1)},
        upstream=case.upstream | {"dy": case.upstream["dy"].swapaxes(0, 1)},
    )
    grads = gradients_in_chunks(swapped, 2, 1)
    grads["x"] = grads["x"].swapaxes(0, 1)
    assert_agree(grads, gradients_in_chunks(case, 2, 1), rtol=1e-12, atol=1e-13)

    row = {name: case.arrays[name][:, 2] for name in INPUTS}
    alone = dataclasses.replace(
        case,
        arrays=case.params | row,
        upstream={name: array[:, 2] for name, array in case.upstream.items()},
        lengths=None,
    )
    only = {name: np.zeros_like(array) for name, array in case.upstream.items()}
    for name, array in only.items():
        array[:, 2] = case.upstream[name][:, 2]
    grads = gradients_in_chunks(case, 2, 1, **only)
    grads |= {name: grads[name][:, 2] for name in INPUTS}
    assert_agree(gradients_in_chunks(alone, 2, 1), grads, rtol=1e-11, atol=1e-12)


def test_states_default_to_zero(engine):
    case = draw(engine, {"num_layers": 2})
    x, h0, c0 = (case.arrays[name] for name in INPUTS)
    outputs, cache = truncated_forward(case.lstm, case.params, x, 3)
    zeros, zeros_cache = truncated_forward(case.lstm, case.params, x, 3, 0 * h0, 0 * c0)
    for array, expected in zip(outputs, zeros, strict=True):
        np.testing.assert_array_equal(array, expected)
    dy = case.upstream["dy"]
    d_inputs, grads = truncated_backward(case.lstm, case.params, cache, dy)
    d_zeros, grads_zeros = truncated_backward(case.lstm, case.params, zeros_cache, dy, 0 * h0, 0 * c0)
    for array, expected in zip((*d_inputs, *grads.values()), (*d_zeros, *grads_zeros.values()), strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.any()


# Backward.


@shapes
@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_without_a_horizon_the_gradient_is_the_full_one(engine, shape, chunk, lengths, assert_agree):
    case = draw(engine, shape, lengths=lengths)
    grads = gradients_in_chunks(case, chunk, None)
    assert_agree(grads, case.gradients(), rtol=1e-12, atol=1e-13)


@some_shapes
@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_a_horizon_of_all_chunks_cuts_nothing(engine, shape, chunk, lengths, assert_agree):
    case = draw(engine, shape, lengths=lengths)
    chunks = math.ceil(T / chunk)
    for horizon in (chunks, chunks + 1):
        grads = gradients_in_chunks(case, chunk, horizon)
        assert_agree(grads, case.gradients(), rtol=1e-11, atol=1e-12)


@shapes
@pytest.mark.parametrize(("chunk", "horizon"), [(1, 1), (1, 3), (2, 1), (2, 2), (3, 1), (3, 2), (4, 1)])
def test_a_horizon_gives_the_derivative_of_the_loss_with_frozen_states(engine, shape, chunk, horizon):
    """By a complex step, entry by entry; rows end in different chunks, one of them before the first step."""
    lengths = [7, 0, 3]
    case = draw(engine, shape, lengths=lengths)
    assert_gradients(
        truncated_loss(case, chunk, horizon),
        case.arrays,
        gradients_in_chunks(case, chunk, horizon),
        1e-13 if engine == "numpy" else 1e-11,
        method="complex",
        directions=None if chunk == 2 and shape == SHAPES["projection"] else 3,
    )


def test_the_loss_with_frozen_states_is_the_loss():
    """A check of the check: frozen or not, it is the same number, and by a long horizon all is moved."""
    case = draw("numpy", {}, lengths=[7, 2, 3])
    for horizon in (1, 2, 4):
        loss = truncated_loss(case, 2, horizon)
        assert loss(case.arrays) == pytest.approx(case.loss(case.arrays), rel=1e-13)
    assert_gradients(
        truncated_loss(case, 2, 4), case.arrays, case.gradients(), method="complex", directions=4
    )


@shapes
def test_a_cut_is_felt_in_every_gradient(engine, shape):
    case = draw(engine, shape, lengths=[7, 6, 5])
    full, cut, longer = (gradients_in_chunks(case, 2, horizon) for horizon in (None, 1, 2))
    for name, array in full.items():
        assert np.abs(cut[name] - array).max() > 1e-3 * np.abs(array).max(), name
        assert np.abs(cut[name] - longer[name]).max() > 1e-4 * np.abs(array).max(), name


def test_a_chunks_gradient_goes_as_far_back_as_its_horizon(engine):
    """A loss in the last of four chunks alone, which all rows reach."""
    case = draw(engine, {"num_layers": 2})
    dy = np.zeros_like(case.upstream["dy"])
    dy[6] = case.upstream["dy"][6]
    for horizon in (1, 2, 3, 4):
        grads = gradients_in_chunks(case, 2, horizon, dy=dy)
        reached = np.abs(grads["x"]).max(axis=(1, 2)) > 0
        np.testing.assert_array_equal(reached, np.arange(T) >= 2 * (4 - horizon))
        assert grads["h0"].any() == grads["c0"].any() == (horizon == 4)


def test_a_horizon_of_one_adds_up_chunks_taken_alone(engine, assert_agree):
    case = draw(engine, {"num_layers": 2}, lengths=[7, 0, 3])
    state, dx, summed = (case.arrays["h0"], case.arrays["c0"]), [], dict.fromkeys(case.params, 0.0)
    for start in range(0, T, 3):
        part = np.s_[start : start + 3]
        left = np.clip(case.lengths - start, 0, len(case.arrays["x"][part]))
        (_, *state_after), cache = case.lstm.forward(case.params, case.arrays["x"][part], *state, left)
        final = {} if start + 3 < T else {name: case.upstream[name] for name in ("dh_n", "dc_n")}
        (d, *d_states), grads = case.lstm.backward(case.params, cache, case.upstream["dy"][part], **final)
        summed = {name: total + grads[name] for name, total in summed.items()}
        dx.append(d)
        if start == 0:
            first = d_states
        state = state_after
    expected = summed | dict(zip(INPUTS, (np.concatenate(dx), *first), strict=True))
    assert_agree(gradients_in_chunks(case, 3, 1), expected, rtol=1e-13, atol=1e-14)


@some_shapes
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("horizon", [None, 1, 2])
def test_nothing_at_the_padding_is_looked_at(engine, shape, batch_first, horizon):
    case = draw(engine, shape, batch_first=batch_first, lengths=[2, 0, 5])
    padding = ~valid_steps(case.lengths, T, B)[:, :, 0]
    padding = padding.T if batch_first else padding
    x, dy = case.arrays["x"].copy(), case.upstream["dy"].copy()
    x[padding] = dy[padding] = np.nan
    dirty = dataclasses.replace(case, arrays=case.arrays | {"x": x}, upstream=case.upstream | {"dy": dy})
    for ours, clean in (
        (values_in_chunks(dirty, 2)[0], values_in_chunks(case, 2)[0]),
        (gradients_in_chunks(dirty, 2, horizon), gradients_in_chunks(case, 2, horizon)),
    ):
        for name, array in clean.items():
            np.testing.assert_array_equal(ours[name], array, err_msg=name)
    np.testing.assert_array_equal(gradients_in_chunks(dirty, 2, horizon)["x"][padding], 0)


def test_gradients_through_masks_are_derivatives(engine):
    """Dropout between layers and in the step, with masks drawn anew for every chunk."""
    variant = Variant(input_dropout=0.3, recurrent_dropout=0.2, zoneout_h=0.3)
    case = draw(engine, {"num_layers": 2, "dropout": 0.4, "variant": variant}, lengths=[7, 0, 3])
    weights = case.upstream

    def forward(arrays):
        x, h0, c0 = (arrays[name] for name in INPUTS)
        rng = np.random.default_rng(2)
        return truncated_forward(case.lstm, arrays, x, 3, h0, c0, case.lengths, rng)

    def loss(arrays):
        return sum(
            (a * weights[f"d{name}"]).sum() for name, a in zip(OUTPUTS, forward(arrays)[0], strict=True)
        )

    _, cache = forward(case.arrays)
    first, second, _ = (of_chunk.masks[0] for of_chunk in cache.chunks)
    assert (first != second).any()
    d_inputs, grads = truncated_backward(case.lstm, case.params, cache, **weights, horizon=None)
    assert_gradients(loss, case.arrays, grads | dict(zip(INPUTS, d_inputs, strict=True)), directions=3)


def test_float32_stays_float32(engine):
    case = draw(engine, {"num_layers": 2, "proj_size": P}, lengths=[7, 0, 3], dtype=np.float32)
    for horizon in (None, 1, 2):
        found = values_in_chunks(case, 2)[0] | gradients_in_chunks(case, 2, horizon)
        assert {name: array.dtype for name, array in found.items()} == dict.fromkeys(found, np.float32)


@pytest.mark.parametrize(("steps", "rows"), [(0, 3), (7, 0)])
def test_no_steps_and_no_rows_have_no_gradient(engine, steps, rows):
    case = draw_case(LSTM(I, H, num_layers=2, engine=engine), T=steps, B=rows)
    values, grads = values_in_chunks(case, 2)[0], gradients_in_chunks(case, 2, 1)
    assert (values["y"].shape, grads["x"].shape) == ((steps, rows, H), (steps, rows, I))
    for state in ("h", "c") if steps == 0 else ():
        np.testing.assert_array_equal(values[f"{state}_n"], case.arrays[f"{state}0"])
        np.testing.assert_array_equal(grads[f"{state}0"], case.upstream[f"d{state}_n"])
    for name, param in case.params.items():
        np.testing.assert_array_equal(grads[name], np.zeros_like(param), err_msg=name)


def test_what_is_given_is_left_as_it_is(engine):
    case = draw(engine, {"num_layers": 2}, lengths=[7, 0, 3])
    before = {name: array.copy() for name, array in (case.arrays | case.upstream).items()}
    for horizon in (None, 2):
        gradients_in_chunks(case, 2, horizon)
    for name, array in (case.arrays | case.upstream).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


# Refusals.


@pytest.mark.parametrize("shape", [{"bidirectional": True}, {"reverse": True}], ids=str)
def test_a_stack_that_reads_backwards_is_refused(engine, shape):
    with pytest.raises(SettingError, match="reads backwards cannot run in chunks"):
        values_in_chunks(draw(engine, shape), 2)


@pytest.mark.parametrize("chunk", [0, -1, 2.5, None])
def test_a_chunk_without_steps_is_refused(chunk):
    with pytest.raises(SettingError, match=f"chunk is a whole number above 0, not {chunk}"):
        values_in_chunks(draw("numpy", {}), chunk)


@pytest.mark.parametrize("horizon", [0, -1, 1.5])
def test_a_horizon_that_reaches_nothing_is_refused(horizon):
    with pytest.raises(SettingError, match=f"horizon is a whole number above 0, not {horizon}"):
        gradients_in_chunks(draw("numpy", {}), 2, horizon)


def test_what_does_not_fit_is_refused_before_a_chunk_would_fit():
    case = draw("numpy", {})
    x, h0, c0 = (case.arrays[name] for name in INPUTS)
    with pytest.raises(ValueError, match="between 0 and T=7"):
        truncated_forward(case.lstm, case.params, x, 2, h0, c0, np.array([2, 8, 1]))
    with pytest.raises(ValueError, match="lengths are 3 whole numbers"):
        truncated_forward(case.lstm, case.params, x, 2, h0, c0, np.array([2, 1]))
    with pytest.raises(ValueError, match="c0 has shape"):
        truncated_forward(case.lstm, case.params, x, 2, h0, c0[:, :1])


def test_a_gradient_of_another_length_is_refused():
    lstm = LSTM(4, 2)
    params = lstm.init(np.random.default_rng(0), np.float64)
    _, cache = truncated_forward(lstm, params, np.zeros((7, 3, 4)), 2)
    with pytest.raises(ValueError, match=r"dy has shape \(2, 3, 2\), not \(1, 3, 2\)"):
        truncated_backward(lstm, params, cache, np.zeros((8, 3, 2)))
