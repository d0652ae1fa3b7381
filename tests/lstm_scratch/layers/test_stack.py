"""Layers, directions, projection and layouts: values and every gradient against torch, on every engine."""

import dataclasses

import numpy as np
import pytest

from lstm_scratch.engines import ENGINES, Engine
from lstm_scratch.errors import SettingError
from lstm_scratch.layers.stack import LSTM, reverse_valid
from lstm_scratch.lstm import valid_steps
from lstm_scratch.variants import Variant
from reference.cases import INPUTS, draw_case
from reference.torch_lstm import torch_lstm

T, B, I, H, P = 5, 3, 4, 6, 2
SHAPES = {
    "one layer": {},
    "two directions": {"bidirectional": True},
    "two layers": {"num_layers": 2},
    "three layers, two directions": {"num_layers": 3, "bidirectional": True},
    "projection": {"proj_size": P},
    "projection, two layers, two directions": {"proj_size": P, "num_layers": 2, "bidirectional": True},
    "reverse": {"reverse": True},
    "reverse, two layers": {"reverse": True, "num_layers": 2},
    "reverse, two layers, projection": {"reverse": True, "num_layers": 2, "proj_size": P},
}
LENGTHS = [None, [5, 5, 5], [2, 5, 3], [4, 0, 1]]

shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
layouts = pytest.mark.parametrize("batch_first", [False, True], ids=["time first", "batch first"])


def draw(engine, shape, hidden_size=H, **options):
    names = {"batch_first", "dropout"} & options.keys()
    of_lstm = {name: options.pop(name) for name in names}
    return draw_case(LSTM(I, hidden_size, engine=engine, **shape, **of_lstm), T, **{"B": B} | options)


def results(case):
    """Everything that a forward and a backward pass give."""
    return case.values() | {f"d{name}": grad for name, grad in case.gradients().items()}


def assert_same_bits(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, err_msg=name)


@shapes
@layouts
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_values_and_gradients_are_those_of_torch(engine, shape, batch_first, lengths, assert_as):
    assert_as(draw(engine, shape, batch_first=batch_first, lengths=lengths), torch_lstm)


@shapes
@layouts
def test_one_sequence_without_a_batch_axis_gives_what_torch_gives(engine, shape, batch_first, assert_as):
    assert_as(draw(engine, shape, batch_first=batch_first, B=None), torch_lstm)


@shapes
def test_every_gradient_is_the_derivative_of_the_loss(engine, shape, assert_derivatives):
    """With a row of no steps, and fixed dropout masks."""
    case = draw(engine, shape, hidden_size=3, dropout=0.4, lengths=[4, 0, 5], mask_seed=11)
    assert_derivatives(case, directions=None if len(shape) < 2 else 6)


@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.parametrize("directions", [{}, {"bidirectional": True}, {"reverse": True}], ids=str)
@pytest.mark.parametrize("proj_size", [0, P])
def test_dropout_between_layers_is_torchs_layers_with_masks_between(
    engine, directions, proj_size, assert_agree
):
    case = draw(
        engine,
        directions | {"num_layers": 2, "proj_size": proj_size},
        dropout=0.5,
        lengths=[4, 0, 5],
        mask_seed=1,
    )
    lstm, D = case.lstm, len(case.lstm.directions)
    _, cache = lstm.forward(
        case.params, *(case.arrays[k] for k in INPUTS), case.lengths, np.random.default_rng(1)
    )
    (mask,) = cache.masks
    assert set(np.unique(mask)) == {0.0, 2.0}

    def layer(k, x, dy):
        """Torch on one layer alone."""
        of_layer = {n.replace(f"_l{k}", "_l0"): a for n, a in case.params.items() if f"_l{k}" in n}
        states = {name: case.arrays[name][k * D : (k + 1) * D] for name in ("h0", "c0")}
        upstream = {name: case.upstream[name][k * D : (k + 1) * D] for name in ("dh_n", "dc_n")}
        one = dataclasses.replace(lstm, num_layers=1, input_size=x.shape[2], dropout=0.0)
        values, grads = torch_lstm(
            dataclasses.replace(
                case, lstm=one, arrays=of_layer | states | {"x": x}, upstream=upstream | {"dy": dy}
            )
        )
        return values, {n if n in INPUTS else n.replace("_l0", f"_l{k}"): g for n, g in grads.items()}

    nothing = np.zeros((T, B, lstm.output_size))
    lower, _ = layer(0, case.arrays["x"], nothing)
    upper, grads = layer(1, lower["y"] * mask, case.upstream["dy"])
    _, lower_grads = layer(0, case.arrays["x"], grads["x"] * mask)
    values = {"y": upper["y"]} | {n: np.concatenate([lower[n], upper[n]]) for n in ("h_n", "c_n")}
    states = {name: np.concatenate([lower_grads[name], grads[name]]) for name in ("h0", "c0")}
    assert_agree(case.values(), values, rtol=1e-12, atol=1e-14)
    assert_agree(case.gradients(), grads | lower_grads | states, rtol=1e-11, atol=1e-12)


def test_dropout_acts_between_layers_in_training_only():
    case = draw("numpy", {"num_layers": 2})
    dropping = dataclasses.replace(case.lstm, dropout=0.5)
    x, params = case.arrays["x"], case.params
    (plain, *_), _ = case.lstm.forward(params, x)
    (at_rest, *_), _ = dropping.forward(params, x)
    (trained, *_), cache = dropping.forward(params, x, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(plain, at_rest)
    assert np.abs(trained - plain).max() > 1e-3
    (mask,) = cache.masks
    assert set(np.unique(mask)) == {0.0, 2.0}
    np.testing.assert_array_equal(cache.passes[1].x, cache.passes[0].h[1:] * mask)
    assert len(np.unique(mask, axis=0)) == T, "the mask is drawn anew for every step"


def test_one_layer_has_nothing_between_layers_to_drop(engine):
    case = draw(engine, {"bidirectional": True}, dropout=0.5)
    assert_same_bits(results(dataclasses.replace(case, mask_seed=1)), results(case))


@shapes
@layouts
def test_nothing_at_the_padding_is_looked_at_and_its_gradient_is_zero(engine, shape, batch_first):
    case = draw(engine, shape, batch_first=batch_first, dropout=0.3, mask_seed=2, lengths=[2, 0, 5])
    padding = ~valid_steps(case.lengths, T, B)[:, :, 0]
    padding = padding.T if batch_first else padding
    x, dy = case.arrays["x"].copy(), case.upstream["dy"].copy()
    x[padding] = dy[padding] = np.nan
    dirty = dataclasses.replace(case, arrays=case.arrays | {"x": x}, upstream=case.upstream | {"dy": dy})
    expected, found = results(case), results(dirty)
    assert_same_bits(found, expected)
    for name in ("y", "dx"):
        np.testing.assert_array_equal(found[name][padding], 0, err_msg=name)
        assert (found[name][~padding] != 0).all(), name


@shapes
def test_what_is_not_finite_stays_in_its_row_and_no_engine_warns_of_it(engine, shape):
    """BLAS flags as invalid what is not: a warning would say nothing of the result."""
    case = draw(engine, shape)
    x = case.arrays["x"].copy()
    x[3, 1] = np.inf
    found, expected = results(dataclasses.replace(case, arrays=case.arrays | {"x": x})), results(case)
    assert np.isnan(found["y"][3, 1]).any()
    np.testing.assert_array_equal(found["y"][:, [0, 2]], expected["y"][:, [0, 2]])


@shapes
@pytest.mark.parametrize("lengths", [[4, 0, 1], [0, 0, 0]], ids=str)
def test_an_empty_row_passes_its_states_and_their_gradients_through(engine, shape, lengths):
    case = draw(engine, shape, lengths=lengths)
    found, empty = results(case), case.lengths == 0
    for state in ("h", "c"):
        np.testing.assert_array_equal(found[f"{state}_n"][:, empty], case.arrays[f"{state}0"][:, empty])
        np.testing.assert_array_equal(found[f"d{state}0"][:, empty], case.upstream[f"d{state}_n"][:, empty])
    np.testing.assert_array_equal(found["y"][:, empty], 0)
    np.testing.assert_array_equal(found["dx"][:, empty], 0)
    for name in case.params:
        assert found[f"d{name}"].any() != empty.all(), name


@shapes
def test_a_row_with_padding_is_the_row_alone(engine, shape, assert_agree):
    case = draw(engine, shape, lengths=[3, 0, 5])
    together = results(case)
    summed = dict.fromkeys(case.params, 0.0)
    for b, length in enumerate(case.lengths):
        alone = dataclasses.replace(
            case,
            arrays=case.params
            | {"x": case.arrays["x"][:length, b]}
            | {name: case.arrays[name][:, b] for name in ("h0", "c0")},
            upstream={"dy": case.upstream["dy"][:length, b]}
            | {name: case.upstream[name][:, b] for name in ("dh_n", "dc_n")},
            lengths=None,
        )
        found = results(alone)
        of_row = {name: together[name][:length, b] for name in ("y", "dx")}
        of_row |= {name: together[name][:, b] for name in ("h_n", "c_n", "dh0", "dc0")}
        assert_agree(of_row, {name: found[name] for name in of_row}, rtol=1e-11, atol=1e-13)
        summed = {name: total + found[f"d{name}"] for name, total in summed.items()}
    assert_agree({name: together[f"d{name}"] for name in summed}, summed, rtol=1e-11, atol=1e-13)


@shapes
def test_layouts_hold_the_same_numbers(engine, shape, assert_agree):
    case = draw(engine, shape, lengths=[2, 0, 5])
    swapped = dataclasses.replace(
        case,
        lstm=dataclasses.replace(case.lstm, batch_first=True),
        arrays=case.arrays | {"x": case.arrays["x"].swapaxes(0, 1)},
        upstream=case.upstream | {"dy": case.upstream["dy"].swapaxes(0, 1)},
    )
    found = results(swapped)
    found |= {name: found[name].swapaxes(0, 1) for name in ("y", "dx")}
    assert_agree(found, results(case), rtol=1e-13, atol=1e-15)


@shapes
@pytest.mark.parametrize("given", [(), ("h0",), ("c0",)], ids=["no state", "h0", "c0"])
def test_states_and_their_gradients_default_to_zero(engine, shape, given):
    case = draw(engine, shape)
    states = {name: case.arrays[name] if name in given else None for name in ("h0", "c0")}
    zeros = {n: np.zeros_like(case.arrays[n]) if s is None else s for n, s in states.items()}
    outputs, cache = case.lstm.forward(case.params, case.arrays["x"], **states)
    outputs_zero, cache_zero = case.lstm.forward(case.params, case.arrays["x"], **zeros)
    for array, zero in zip(outputs, outputs_zero, strict=True):
        np.testing.assert_array_equal(array, zero)

    upstream = {f"d{k[0]}_n": case.upstream[f"d{k[0]}_n"] for k in given}
    zero_upstream = {f"d{k[0]}_n": np.zeros_like(a) for k, a in zeros.items()} | upstream
    dy = case.upstream["dy"]
    d_inputs, grads = case.lstm.backward(case.params, cache, dy, **upstream)
    d_zero, grads_zero = case.lstm.backward(case.params, cache_zero, dy, **zero_upstream)
    for array, zero in zip(d_inputs, d_zero, strict=True):
        np.testing.assert_array_equal(array, zero)
        assert array.any()
    assert_same_bits(grads, grads_zero)


@shapes
def test_no_steps_leave_the_states_as_they_are(engine, shape):
    lstm = LSTM(I, H, engine=engine, **shape)
    case = draw_case(lstm, T=0, B=B)
    found = results(case)
    assert found["y"].shape == (0, B, lstm.output_size)
    assert found["dx"].shape == (0, B, I)
    for state in ("h", "c"):
        np.testing.assert_array_equal(found[f"{state}_n"], case.arrays[f"{state}0"])
        np.testing.assert_array_equal(found[f"d{state}0"], case.upstream[f"d{state}_n"])
    for name, param in case.params.items():
        np.testing.assert_array_equal(found[f"d{name}"], np.zeros_like(param), err_msg=name)


@shapes
@layouts
def test_no_rows_give_no_rows_and_no_gradient(engine, shape, batch_first):
    case = draw(engine, shape, batch_first=batch_first, B=0, lengths=np.zeros(0, int))
    found = results(case)
    for name, array in (case.arrays | case.upstream).items():
        ours = found[f"d{name}" if name in case.arrays else name[1:]]
        np.testing.assert_array_equal(ours, np.zeros_like(array), err_msg=name)


@shapes
def test_float32_stays_float32_and_is_float64_rounded(engine, shape):
    exact = draw(engine, shape, lengths=[2, 0, 5])
    single = draw(engine, shape, lengths=[2, 0, 5], dtype=np.float32)
    expected, found = results(exact), results(single)
    for name, array in expected.items():
        assert found[name].dtype == np.float32, name
        # Below this, float64 would have passed for float32.
        error = np.abs(found[name] - array).max() / np.abs(array).max()
        assert error < 3e-6, name
    assert np.abs(found["y"] - expected["y"]).max() > 1e-9


@shapes
@layouts
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_everything_else_is_the_same_where_the_inputs_gradient_is_not_wanted(
    engine, shape, batch_first, lengths
):
    case = draw(engine, shape, batch_first=batch_first, lengths=lengths, dropout=0.3)
    given = [case.arrays[name] for name in INPUTS]
    upstream = [case.upstream[name] for name in ("dy", "dh_n", "dc_n")]
    found = []
    for wanted in (True, False):
        _, cache = case.lstm.forward(case.params, *given, case.lengths, np.random.default_rng(1))
        (dx, dh0, dc0), grads = case.lstm.backward(case.params, cache, *upstream, wanted)
        assert dx.shape == (*given[0].shape[:2], I if wanted else 0)
        found.append(grads | {"dh0": dh0, "dc0": dc0})
    assert_same_bits(*found)


@shapes
def test_what_is_given_is_left_as_it_is(engine, shape):
    case = draw(engine, shape, dropout=0.3, mask_seed=0, lengths=[2, 0, 5])
    before = {name: array.copy() for name, array in (case.arrays | case.upstream).items()}
    lengths = case.lengths.copy()
    results(case)
    assert_same_bits(case.arrays | case.upstream, before)
    np.testing.assert_array_equal(case.lengths, lengths)


def test_what_is_given_may_change_between_forward_and_backward(engine):
    """Buffers are used again: gradients are those of what was there."""
    case = draw(engine, {"num_layers": 2})
    expected = case.gradients()
    given = {name: case.arrays[name].copy() for name in INPUTS}
    _, cache = case.lstm.forward(case.params, *given.values())
    for array in given.values():
        array[:] = 7.0
    d_inputs, grads = case.lstm.backward(case.params, cache, **case.upstream)
    assert_same_bits(grads | dict(zip(INPUTS, d_inputs, strict=True)), expected)


@shapes
def test_results_are_not_views_of_what_is_given_or_of_each_other(engine, shape):
    """Else who changes one of them in place would change another."""
    case = draw(engine, shape, lengths=[2, 0, 5])
    given = case.arrays | case.upstream
    outputs = case.values()
    for name, array in outputs.items():
        for other_name, other in (given | outputs).items():
            assert name == other_name or not np.shares_memory(array, other), f"{name} and {other_name}"


@pytest.mark.parametrize("proj_size", [0, P])
def test_the_reverse_direction_is_the_forward_one_on_reversed_rows(engine, proj_size):
    case = draw(engine, {"bidirectional": True, "proj_size": proj_size}, lengths=[2, 5, 3])
    size = proj_size or H
    (y, h_n, c_n), _ = case.lstm.forward(case.params, case.arrays["x"], lengths=case.lengths)
    one_way = LSTM(I, H, proj_size=proj_size, engine=engine)
    own = {name: array for name, array in case.params.items() if name.endswith("_reverse")}
    swapped = {name.removesuffix("_reverse"): array for name, array in own.items()}
    x = reverse_valid(case.arrays["x"], case.lengths)
    (back, h_back, c_back), _ = one_way.forward(swapped, x, lengths=case.lengths)
    np.testing.assert_array_equal(y[:, :, size:], reverse_valid(back, case.lengths))
    np.testing.assert_array_equal(h_n[1], h_back[0])
    np.testing.assert_array_equal(c_n[1], c_back[0])

    backwards = dataclasses.replace(one_way, reverse=True)
    (y_alone, h_alone, _), _ = backwards.forward(own, case.arrays["x"], lengths=case.lengths)
    np.testing.assert_array_equal(y_alone, y[:, :, size:])
    np.testing.assert_array_equal(h_alone, h_n[1:])


def test_reverse_valid_by_hand():
    x = np.array([[1.0, 5.0, 8.0], [2.0, 6.0, 8.5], [3.0, 7.0, 9.0]])[:, :, None]
    lengths = np.array([2, 3, 0])
    np.testing.assert_array_equal(reverse_valid(x, lengths)[:, :, 0], [[2, 7, 8], [1, 6, 8.5], [3, 5, 9]])
    np.testing.assert_array_equal(reverse_valid(reverse_valid(x, lengths), lengths), x)


def test_parameters_have_the_names_and_shapes_of_torch_and_one_bias():
    shapes = {
        name: a.shape
        for name, a in LSTM(I, H, num_layers=2, bidirectional=True).init(np.random.default_rng(0)).items()
    }
    assert shapes == {
        f"{name}_l{layer}{reverse}": shape
        for layer, width in ((0, I), (1, 2 * H))
        for reverse in ("", "_reverse")
        for name, shape in (("weight_ih", (4 * H, width)), ("weight_hh", (4 * H, H)), ("bias", (4 * H,)))
    }


def test_a_projection_adds_torchs_weight_and_narrows_what_the_next_step_and_layer_read():
    lstm = LSTM(I, H, num_layers=2, bidirectional=True, proj_size=P)
    shapes = {name: a.shape for name, a in lstm.init(np.random.default_rng(0)).items()}
    of_pass = {"weight_hh": (4 * H, P), "bias": (4 * H,), "weight_hr": (P, H)}
    assert shapes == {
        f"{name}_l{layer}{reverse}": shape
        for layer, width in ((0, I), (1, 2 * P))
        for reverse in ("", "_reverse")
        for name, shape in (of_pass | {"weight_ih": (4 * H, width)}).items()
    }
    assert lstm.output_size == 2 * P


def test_a_single_reverse_direction_is_named_as_such():
    lstm = LSTM(I, H, num_layers=2, reverse=True)
    names = {f"{name}_l{k}_reverse" for name in ("weight_ih", "weight_hh", "bias") for k in (0, 1)}
    assert lstm.init(np.random.default_rng(0)).keys() == names
    assert lstm.output_size == H


@pytest.mark.parametrize("shape", [{}, {"bidirectional": True, "proj_size": P}], ids=str)
def test_the_forget_bias_is_in_the_forget_gates_alone(shape):
    lstm = LSTM(I, H, num_layers=2, **shape)
    params = lstm.init(np.random.default_rng(0), np.float64, forget_bias=1.5)
    without = lstm.init(np.random.default_rng(0), np.float64)
    for name, array in params.items():
        expected = without[name].copy()
        if name.startswith("bias"):
            np.testing.assert_array_equal(expected, 0)
            expected[H : 2 * H] = 1.5
        np.testing.assert_array_equal(array, expected, err_msg=name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((T, B, I + 1))}, r"x has shape \(5, 3, 5\), not \(T, B, 4\) or \(T, 4\)"),
        ({"x": np.zeros((1, T, B, I))}, "x has shape"),
        ({"x": np.zeros(I)}, "x has shape"),
        ({"x": np.zeros((T, I))}, r"h0 has shape \(1, 3, 6\), not \(1, 6\)"),
        ({"h0": np.zeros((1, 1, H))}, "h0 has shape"),
        ({"h0": np.zeros((B, H))}, "h0 has shape"),
        ({"c0": np.zeros((2, B, H))}, "c0 has shape"),
        ({"lengths": np.array([1, 2])}, "whole numbers"),
        ({"lengths": np.array([1.0, 2.0, 3.0])}, "whole numbers"),
        ({"lengths": np.array([1, 2, T + 1])}, "between 0 and T=5"),
        ({"lengths": np.array([1, -1, 3])}, "between 0 and T=5"),
        ({"x": np.zeros((T, I)), "h0": None, "c0": None, "lengths": np.array([3])}, "has no lengths"),
    ],
)
def test_what_does_not_fit_is_refused_and_not_broadcast(engine, change, message):
    case = draw(engine, {})
    inputs = {name: case.arrays[name] for name in INPUTS}
    with pytest.raises(ValueError, match=message):
        case.lstm.forward(case.params, **inputs | change)


def test_batch_first_counts_rows_and_steps_along_the_other_axes():
    lstm = LSTM(I, H, batch_first=True)
    params = lstm.init(np.random.default_rng(0))
    x = np.zeros((B, T, I), np.float32)
    with pytest.raises(ValueError, match="lengths are 3 whole numbers"):
        lstm.forward(params, x, lengths=np.full(T, 2))
    with pytest.raises(ValueError, match=r"h0 has shape \(1, 5, 6\), not \(1, 3, 6\)"):
        lstm.forward(params, x, h0=np.zeros((1, T, H)))
    with pytest.raises(ValueError, match=r"not \(B, T, 4\) or \(T, 4\)"):
        lstm.forward(params, np.zeros((B, T, I + 1)))


def test_a_projection_bounds_h_but_not_the_cell():
    lstm = LSTM(I, H, proj_size=P)
    params = lstm.init(np.random.default_rng(0))
    x = np.zeros((T, B, I), np.float32)
    with pytest.raises(ValueError, match=r"h0 has shape \(1, 3, 6\), not \(1, 3, 2\)"):
        lstm.forward(params, x, h0=np.zeros((1, B, H)))
    with pytest.raises(ValueError, match=r"c0 has shape \(1, 3, 2\), not \(1, 3, 6\)"):
        lstm.forward(params, x, c0=np.zeros((1, B, P)))


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": 0},
        {"num_layers": 0},
        {"input_size": -1},
        {"dropout": 1.0},
        {"hidden_size": 2.5},
        {"proj_size": -1},
        {"proj_size": 1.5},
        {"proj_size": H},
        {"proj_size": H + 1},
        {"reverse": True, "bidirectional": True},
        {"engine": "abacus"},
        {"engine": 3},
        {"variant": None},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(SettingError, match=next(iter(change))):
        LSTM(**{"input_size": I, "hidden_size": H} | change)


@pytest.mark.parametrize(
    ("lstm", "other", "message"),
    [
        (LSTM(I, H), LSTM(I, H + 1), r"weight_ih_l0 has shape \(28, 4\), not \(24, 4\)"),
        (LSTM(I, H), LSTM(I + 1, H), r"weight_ih_l0 has shape \(24, 5\), not \(24, 4\)"),
        (LSTM(I, H, proj_size=P), LSTM(I, H), r"weight_hh_l0 has shape \(24, 6\), not \(24, 2\)"),
        (LSTM(I, H, num_layers=2), LSTM(I, H), "weight_ih_l1 is missing"),
        (LSTM(I, H), LSTM(I, H, bidirectional=True), "no place for the parameter weight_ih_l0_reverse"),
        (LSTM(I, H, reverse=True), LSTM(I, H), "weight_ih_l0_reverse is missing"),
        (LSTM(I, H, variant=Variant(layer_norm=True)), LSTM(I, H), "gain_ih_l0 is missing"),
        (LSTM(I, H), LSTM(I, H, variant=Variant(peepholes=True)), "no place for the parameter peephole_l0"),
        (LSTM(I, H, variant=Variant(coupled=True)), LSTM(I, H), r"has shape \(24, 4\), not \(18, 4\)"),
    ],
)
def test_parameters_of_another_lstm_are_refused(lstm, other, message):
    params, x = other.init(np.random.default_rng(0), np.float64), np.zeros((T, B, I))
    with pytest.raises(ValueError, match=message):
        lstm.forward(params, x)
    with pytest.raises(ValueError, match=message):
        lstm.check_params(params)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(
    ("name", "shape", "wanted"),
    [
        ("dy", (T, B, 2 * H + 1), "dy has shape"),
        ("dy", (T + 1, B, 2 * H), "dy has shape"),
        ("dy", (T, 2 * H), "dy has shape"),
        ("dh_n", (1, B, H), r"dh_n has shape \(1, 3, 6\), not \(2, 3, 6\)"),
        ("dc_n", (2, 1, H), r"dc_n has shape \(2, 1, 6\), not \(2, 3, 6\)"),
    ],
)
def test_gradients_that_do_not_fit_are_refused_and_not_cut(engine, batch_first, name, shape, wanted):
    case = draw(engine, {"bidirectional": True, "batch_first": batch_first})
    _, cache = case.lstm.forward(case.params, case.arrays["x"])
    with pytest.raises(ValueError, match=wanted):
        case.lstm.backward(case.params, cache, **case.upstream | {name: np.zeros(shape)})


def test_lists_and_seeds_are_refused_by_name():
    lstm = LSTM(I, H, dropout=0.5, num_layers=2)
    params, x = lstm.init(np.random.default_rng(0)), np.zeros((T, B, I), np.float32)
    with pytest.raises(ValueError, match="x is an ndarray, not a list"):
        lstm.forward(params, x.tolist())
    with pytest.raises(ValueError, match=r"rng is a generator such as np.random.default_rng\(0\), not 0"):
        lstm.forward(params, x, rng=0)


def test_an_unknown_engine_is_told_which_there_are():
    with pytest.raises(SettingError, match=f"one of {', '.join(ENGINES)}, not 'abacus'"):
        LSTM(I, H, engine="abacus")


def test_an_engine_of_ones_own_computes_every_pass():
    """One that hands over and counts; its results come out, so a half of them is noticed."""
    calls = []

    def forward(params, x, *others, **options):
        calls.append(("forward", sorted(params), x.shape))
        (y, h_n, c_n), cache = ENGINES["numpy"].forward(params, x, *others, **options)
        return (y / 2, h_n, c_n), cache

    def backward(params, cache, dy, *others, **options):
        calls.append(("backward", sorted(params), dy.shape))
        return ENGINES["numpy"].backward(params, cache, dy / 2, *others, **options)

    case = draw(Engine(forward, backward), {"bidirectional": True})
    plain = dataclasses.replace(
        case,
        lstm=dataclasses.replace(case.lstm, engine="numpy"),
        upstream=case.upstream | {"dy": case.upstream["dy"] / 2},
    )
    expected = plain.values()
    assert_same_bits(case.values(), expected | {"y": expected["y"] / 2})
    calls.clear()
    assert_same_bits(case.gradients(), plain.gradients())
    names = ["bias", "weight_hh", "weight_ih"]
    assert calls == [("forward", names, (T, B, I))] * 2 + [("backward", names, (T, B, H))] * 2


def test_a_backward_pass_refuses_what_is_not_of_its_forward_pass(engine):
    lstm = LSTM(I, H, engine=engine)
    params = lstm.init(np.random.default_rng(0))
    x = np.ones((T, B, I), np.float32)
    (y, _, _), cache = lstm.forward(params, x)
    with pytest.raises(ValueError, match=r"weight_hh_l0 has shape \(20, 5\), not "):
        lstm.backward(params | {"weight_hh_l0": np.ones((20, 5), np.float32)}, cache, y)


@pytest.mark.compiled
def test_the_kernels_refuse_parameters_of_another_dtype_than_their_forward_passs():
    lstm = LSTM(I, H, engine="numba")
    params = lstm.init(np.random.default_rng(0))
    (y, _, _), cache = lstm.forward(params, np.ones((T, B, I), np.float32))
    with pytest.raises(ValueError, match="the forward pass was in float32"):
        lstm.backward({name: array.astype(float) for name, array in params.items()}, cache, y)


@pytest.mark.parametrize("number", [0, 1.5, "2"])
def test_a_wrong_number_of_threads_is_refused_for_the_smallest_input(engine, number):
    lstm = LSTM(I, H, engine=engine)
    with pytest.raises(SettingError, match="num_threads is a whole number above 0"):
        lstm.forward(lstm.init(np.random.default_rng(0)), np.ones((T, B, I)), num_threads=number)
