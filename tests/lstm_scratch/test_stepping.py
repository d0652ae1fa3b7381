"""One step at a time: the same numbers as the whole sequence at once."""

import threading

import numpy as np
import pytest

from lstm_scratch import LSTM, Stepper, Variant
from lstm_scratch.errors import SettingError

T, I = 7, 4


def draw(dtype=np.float32, **settings):
    rng = np.random.default_rng(0)
    lstm = LSTM(I, **settings)
    params = {name: array + 0.1 for name, array in lstm.init(rng, dtype).items()}  # biases are not zero
    x = rng.standard_normal((T, I)).astype(dtype)
    h0 = rng.standard_normal((lstm.num_layers, lstm.output_size)).astype(dtype)
    c0 = rng.standard_normal((lstm.num_layers, lstm.hidden_size)).astype(dtype)
    return lstm, params, x, (h0, c0)


def steps(step, x, state):
    outputs = []
    for of_step in x:
        y, state = step(of_step, state)
        outputs.append(y)
    return np.array(outputs), *state


# Around the width of a register, and of two; layers whose inputs are not their neighbours'.
@pytest.mark.parametrize(("H", "L"), [(1, 1), (2, 3), (15, 1), (16, 2), (17, 1), (33, 2), (64, 1), (100, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("given", [False, True], ids=["from-zero", "from-a-state"])
def test_steps_give_what_the_sequence_gives(engine, H, L, dtype, given):
    lstm, params, x, state = draw(dtype, hidden_size=H, num_layers=L, engine=engine)
    if not given:
        state = None
    found = steps(Stepper(lstm, params), x, state)
    expected, _ = lstm.forward(params, x, *(state or ()))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        if engine == "numba":
            np.testing.assert_array_equal(ours, theirs)
        else:  # a product of one row may round otherwise than one of many
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=10 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    "settings",
    [
        {"proj_size": 2},
        {"variant": Variant(peepholes=True)},
        {"variant": Variant(layer_norm=True), "num_layers": 2},
        {"dropout": 0.5, "num_layers": 2},
    ],
    ids=str,
)
def test_whatever_the_stack_has_goes_step_by_step(engine, settings):
    lstm, params, x, state = draw(np.float64, hidden_size=3, engine=engine, **settings)
    expected, _ = lstm.forward(params, x, *state)
    for ours, theirs in zip(steps(Stepper(lstm, params), x, state), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-14)


def test_a_step_changes_neither_its_state_nor_the_results_of_others(engine):
    lstm, params, x, state = draw(hidden_size=5, num_layers=2, engine=engine)
    step = Stepper(lstm, params)
    before = [array.copy() for array in state]
    y, after = step(x[0], state)
    kept = [array.copy() for array in (y, *after)]
    following, _ = step(x[1], after)
    for array, copy in zip((*state, y, *after), (*before, *kept), strict=True):
        np.testing.assert_array_equal(array, copy)
    y[:] = np.nan  # whoever changes the outputs does not change the state
    np.testing.assert_array_equal(step(x[1], after)[0], following)


def test_later_changes_of_the_parameters_do_not_count(engine):
    lstm, params, x, state = draw(hidden_size=5, engine=engine)
    step = Stepper(lstm, params)
    y, _ = step(x[0], state)
    for array in params.values():
        array[:] = np.nan
    np.testing.assert_array_equal(step(x[0], state)[0], y)


def test_arrays_of_any_kind_are_taken(engine):
    lstm, params, x, (h, c) = draw(hidden_size=5, num_layers=2, engine=engine)
    step = Stepper(lstm, params)
    expected, _ = step(x[0], (h, c))
    strided = np.repeat(x[0], 2)[::2]
    wide = tuple(np.asfortranarray(array.astype(np.float64)) for array in (h, c))
    read_only = x[0].copy()
    read_only.flags.writeable = False
    for given in ((strided, (h, c)), (x[0].astype(np.float64), wide), (read_only, (h, c))):
        np.testing.assert_allclose(step(*given)[0], expected, rtol=1e-6)


def test_many_threads_share_a_stepper(engine):
    lstm, params, _, _ = draw(hidden_size=20, engine=engine)
    step = Stepper(lstm, params)
    sequences = np.random.default_rng(1).standard_normal((8, 200, I)).astype(np.float32)
    expected = [steps(step, x, None)[0] for x in sequences]
    found = [None] * len(sequences)

    def run(n):
        found[n] = steps(step, sequences[n], None)[0]

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(sequences))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(found, expected)


def test_layers_of_two_dtypes_are_stepped_as_the_sequence_is(engine):
    lstm, params, x, state = draw(np.float64, hidden_size=16, num_layers=2, engine=engine)
    params = {name: array.astype(np.float32) if "_l1" in name else array for name, array in params.items()}
    expected, _ = lstm.forward(params, x, *state)
    for ours, theirs in zip(steps(Stepper(lstm, params), x, state), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-14)


@pytest.mark.parametrize("settings", [{"bidirectional": True}, {"reverse": True}], ids=str)
def test_who_reads_backwards_is_refused(settings):
    _, params, _, _ = draw(hidden_size=5)
    with pytest.raises(SettingError, match="cannot go step by step"):
        Stepper(LSTM(I, 5, **settings), params)


def test_shapes_that_do_not_fit_are_refused(engine):
    lstm, params, x, (h, c) = draw(hidden_size=5, engine=engine)
    step = Stepper(lstm, params)
    for bad in ((x[0, :-1], (h, c)), (x[:1], (h, c)), (x[0], (h[0], c)), (x[0], (h, c[:, :-1]))):
        with pytest.raises(ValueError, match=r"x, h and c have shapes|[xhc]0? has shape"):
            step(*bad)
    with pytest.raises(ValueError, match="weight_ih_l0 is missing"):
        Stepper(lstm, {name: array for name, array in params.items() if name != "weight_ih_l0"})


def test_one_step_is_the_one_by_hand(engine):
    lstm, params, x, (h, c) = draw(np.float64, hidden_size=2, engine=engine)
    z = params["weight_ih_l0"] @ x[0] + params["weight_hh_l0"] @ h[0] + params["bias_l0"]
    i, f, o = (1 / (1 + np.exp(-z[k : k + 2])) for k in (0, 2, 6))
    c_next = f * c[0] + i * np.tanh(z[4:6])
    y, (h_next, c_found) = Stepper(lstm, params)(x[0], (h, c))
    np.testing.assert_allclose(c_found[0], c_next, rtol=1e-14)
    np.testing.assert_allclose(y, o * np.tanh(c_next), rtol=1e-14)
    np.testing.assert_array_equal(h_next[0], y)
