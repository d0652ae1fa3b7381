"""The gradient check itself: it passes what is right and catches what is wrong."""

import numpy as np
import pytest

from lstm_scratch.errors import UserError
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.lstm import lstm_backward, lstm_forward
from lstm_scratch.variants import Variant
from reference import assert_gradients, check_gradients
from reference.cases import draw_case
from reference.gradcheck import METHODS, TOLERANCES

T, B, I, H = 5, 3, 4, 2
rng = np.random.default_rng(3)
PARAMS = {
    "weight_ih": rng.normal(size=(4 * H, I)),
    "weight_hh": rng.normal(size=(4 * H, H)),
    "bias": rng.normal(size=4 * H),
}
X, DY, DC_N = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H)), rng.normal(size=(B, H))
ARRAYS = PARAMS | {"x": X}
LENGTHS = np.array([2, 5, 3])


def loss(arrays):
    (y, _, c_n), _ = lstm_forward(arrays, arrays["x"], lengths=LENGTHS)
    return (y * DY).sum() + (c_n * DC_N).sum()


def right():
    _, cache = lstm_forward(PARAMS, X, lengths=LENGTHS)
    (dx, _, _), grads = lstm_backward(PARAMS, cache, DY, dc_n=DC_N)
    return grads | {"x": dx}


def swap_gates(grads):
    i, f, g, o = np.split(grads["weight_hh"], 4)
    return grads | {"weight_hh": np.vstack([f, i, g, o])}


def ignore_dc_n(grads):
    _, cache = lstm_forward(PARAMS, X, lengths=LENGTHS)
    (dx, _, _), grads = lstm_backward(PARAMS, cache, DY)
    return grads | {"x": dx}


def ignore_lengths(grads):
    _, cache = lstm_forward(PARAMS, X)
    (dx, _, _), grads = lstm_backward(PARAMS, cache, DY, dc_n=DC_N)
    return grads | {"x": dx}


def one_nan(grads):
    dx = grads["x"].copy()
    dx[0, 0, 0] = np.nan
    return grads | {"x": dx}


WRONG = {
    "a gradient times 1.001": lambda grads: grads | {"bias": grads["bias"] * 1.001},
    "two gates swapped": swap_gates,
    "the gradient of c_n ignored": ignore_dc_n,
    "lengths ignored": ignore_lengths,
    "one entry NaN": one_nan,
    "all zero": lambda grads: grads | {"x": np.zeros_like(X)},
}


WAYS = [(method, directions) for method in METHODS for directions in (None, 4)]


@pytest.mark.parametrize(("method", "directions"), WAYS)
def test_right_gradients_pass(method, directions):
    assert_gradients(loss, ARRAYS, right(), method=method, directions=directions)


@pytest.mark.parametrize(("method", "directions"), WAYS)
@pytest.mark.parametrize("spoil", WRONG.values(), ids=WRONG.keys())
def test_wrong_gradients_are_caught(spoil, method, directions):
    with pytest.raises(AssertionError, match="relative error"):
        assert_gradients(loss, ARRAYS, spoil(right()), method=method, directions=directions)


def test_an_lstm_is_right_to_rounding_by_a_complex_step():
    for comparison in check_gradients(loss, ARRAYS, right(), method="complex"):
        assert comparison.error < 1e-14


def test_the_tolerance_is_as_strict_as_the_method_and_never_nan():
    slightly = right() | {"bias": right()["bias"] * (1 + 1e-12)}
    assert_gradients(loss, ARRAYS, slightly)
    assert_gradients(loss, ARRAYS, slightly, 1e-11, method="complex")
    with pytest.raises(AssertionError, match=r"^bias\[4\]: .*$"):
        assert_gradients(loss, ARRAYS, slightly, method="complex")
    for tolerance in (np.nan, -1, np.inf, "1e-8"):
        with pytest.raises(UserError, match="tolerance is a number from 0 on, not"):
            assert_gradients(loss, ARRAYS, right(), tolerance)


def test_a_comparison_tells_the_worst_entry_and_both_numbers():
    grads = right()
    grads["bias"][5] += 0.5
    *_, bias, _ = check_gradients(loss, ARRAYS, grads)
    assert (bias.name, bias.shape, bias.index, bias.compared) == ("bias", (8,), (5,), 8)
    assert bias.gradient == grads["bias"][5]
    assert bias.numerical == pytest.approx(right()["bias"][5], rel=1e-7)
    assert bias.error == pytest.approx(0.5 / np.abs(right()["bias"]).max(), rel=1e-7)


def test_along_directions_there_is_no_entry_but_the_products_and_their_number():
    grads = right()
    grads["x"] = grads["x"] + 0.5
    x = check_gradients(loss, ARRAYS, grads, method="complex", directions=3)[-1]
    assert (x.name, x.shape, x.index, x.compared) == ("x", (T, B, I), None, 3)
    directions = np.random.default_rng(0).normal(size=(3, T, B, I))
    directions /= np.sqrt((directions**2).sum(axis=(1, 2, 3), keepdims=True))
    worst = np.abs(directions.sum(axis=(1, 2, 3))).argmax()
    assert x.gradient == pytest.approx((directions[worst] * grads["x"]).sum(), rel=1e-12)
    assert x.numerical == pytest.approx((directions[worst] * right()["x"]).sum(), rel=1e-12)
    size = np.sqrt((grads["x"] ** 2).mean())
    assert x.error == pytest.approx(abs(x.gradient - x.numerical) / size, rel=1e-12)


def test_another_seed_draws_other_directions():
    first, again, other = (check_gradients(loss, ARRAYS, right(), directions=1, seed=n)[0] for n in (1, 1, 2))
    assert first == again
    assert first.gradient != other.gradient


def test_a_failure_names_each_wrong_tensor_and_its_worst_entry():
    grads = right()
    grads["bias"][5] += 0.5
    grads["weight_hh"][3, 1] = -0.25
    with pytest.raises(AssertionError) as failure:
        assert_gradients(loss, ARRAYS, grads)
    hh, bias = str(failure.value).splitlines()
    assert hh.startswith("weight_hh[3, 1]: gradient -0.25, central difference ")
    assert bias.startswith(f"bias[5]: gradient {grads['bias'][5]:.12g}, central difference ")
    with pytest.raises(
        AssertionError, match=r"^weight_hh along a random direction: .* complex step .*\nbias"
    ):
        assert_gradients(loss, ARRAYS, grads, method="complex", directions=2)


def many(n=20_000):
    """A loss of many weights, each with a gradient of its own size."""
    x = np.random.default_rng(1).normal(size=n)
    arrays = {"w": np.linspace(-1, 1, n)}
    return lambda arrays: np.tanh(x * arrays["w"]).sum(), arrays, x * (1 - np.tanh(x * arrays["w"]) ** 2)


@pytest.mark.parametrize("method", METHODS)
def test_a_large_tensor_is_compared_along_directions(method):
    loss, arrays, grad = many()
    (comparison,) = check_gradients(loss, arrays, {"w": grad}, method=method)
    assert (comparison.index, comparison.compared) == (None, 8)
    assert comparison.error < {"central": 1e-9, "complex": 1e-14}[method]
    assert check_gradients(loss, arrays, {"w": grad}, directions=2)[0].compared == 2


def test_max_entries_is_where_directions_begin():
    loss, arrays, grad = many(10)
    assert check_gradients(loss, arrays, {"w": grad}, max_entries=10)[0].compared == 10
    assert check_gradients(loss, arrays, {"w": grad}, max_entries=9)[0].index is None


def test_one_entry_of_a_large_tensor_a_millionth_off_is_caught_along_directions():
    loss, arrays, grad = many()
    grad[4321] *= 1 + 1e-6
    with pytest.raises(AssertionError, match=r"^w along a random direction"):
        assert_gradients(loss, arrays, {"w": grad}, method="complex")


def test_a_direction_across_the_gradient_does_not_make_rounding_an_error():
    """The gradient of entries 1 and -1 has products near zero with many directions."""
    w = {"w": np.ones(2)}

    def loss(arrays):
        return 1000 + arrays["w"] @ [1.0, -1.0]

    assert_gradients(loss, w, {"w": np.array([1.0, -1.0])}, directions=2000, steps=[1e-3])


@pytest.mark.parametrize("directions", [None, 3])
def test_the_sweep_finds_a_step_for_any_scale(directions):
    steep, large = np.array([0.01, 0.03]), np.array([1e8, -2e8, 3.0])
    assert_gradients(
        lambda a: np.exp(1000 * a["steep"]).sum(),
        {"steep": steep},
        {"steep": 1000 * np.exp(1000 * steep)},
        directions=directions,
    )
    flat = {"large": np.cos(large / 1e8) / 1e8}
    assert_gradients(lambda a: np.sin(a["large"] / 1e8).sum(), {"large": large}, flat, directions=directions)


def test_each_tensor_has_a_step_of_its_own_and_one_step_alone_may_fail():
    arrays = {"steep": np.array([0.01, 0.03]), "straight": np.array([2.0])}
    grads = {"steep": 1000 * np.exp(1000 * arrays["steep"]), "straight": np.array([1e9])}

    def loss(arrays):
        return np.exp(1000 * arrays["steep"]).sum() + 1e9 * arrays["straight"].sum()

    steep, straight = check_gradients(loss, arrays, grads)
    assert steep.step < 1e-5 < straight.step
    with pytest.raises(AssertionError, match=r"^steep"):
        assert_gradients(loss, arrays, grads, steps=[1e-4])


def test_a_tensor_within_the_tolerance_is_not_tried_at_further_steps():
    calls = []

    def counted(arrays):
        calls.append(1)
        return loss(arrays)

    entries = sum(array.size for array in ARRAYS.values())
    assert_gradients(counted, ARRAYS, right(), steps=(1e-5, 1e-4))
    assert len(calls) == 2 + 2 * entries
    calls.clear()
    check_gradients(counted, ARRAYS, right(), steps=(1e-5, 1e-4))
    assert len(calls) == 2 + 4 * entries


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("method", "directions"), WAYS)
def test_what_is_not_finite_is_infinitely_wrong(bad, method, directions):
    grads = right()
    grads["bias"][5] = bad
    bias = check_gradients(loss, ARRAYS, grads, method=method, directions=directions)[2]
    assert bias.error == np.inf
    if directions is None:
        assert bias.index == (5,)
    settings = {"method": method, "directions": directions}
    with np.errstate(invalid="ignore"):
        for comparison in check_gradients(lambda arrays: loss(arrays) * bad, ARRAYS, right(), **settings):
            assert comparison.error == np.inf


def test_a_tensor_without_finite_derivatives_leaves_the_others_their_measure():
    arrays = {"edge": np.ones(1), "a": np.full(1, 3.0), "unused": np.ones(1)}

    def loss(arrays):
        return (arrays["a"] ** 2).sum() + (0 if arrays["edge"][0] == 1 else np.nan)

    grads = {"edge": np.zeros(1), "a": np.full(1, 6.0), "unused": np.full(1, 1e-14)}
    edge, a, unused = check_gradients(loss, arrays, grads)
    assert edge.error == np.inf
    assert max(a.error, unused.error) < 1e-9


def test_gradients_too_large_for_a_norm_are_infinitely_wrong_too():
    for huge in (1e5, 1e200):
        grads = {"x": np.full(X.shape, huge)}
        (comparison,) = check_gradients(lambda arrays: 0 * arrays["x"].sum(), {"x": X}, grads, directions=3)
        assert comparison.error > 1e-2


def test_arrays_are_left_as_they_are():
    a = np.array([[1.0, -2.0, 3.0]])
    assert_gradients(lambda arrays: (arrays["a"] ** 2).sum(), {"a": a}, {"a": 2 * a})
    np.testing.assert_array_equal(a, [[1.0, -2.0, 3.0]])


def test_arrays_of_any_rank_are_compared_and_empty_ones_left_out():
    arrays = {"scalar": np.array(3.0), "empty": np.zeros((0, 4)), "rank 4": np.ones((1, 2, 1, 2))}
    grads = {"scalar": np.array(6.0), "empty": np.zeros((0, 4)), "rank 4": 2 * np.ones((1, 2, 1, 2))}

    def loss(arrays):
        return sum((array**2).sum() for array in arrays.values())

    for method, directions in WAYS:
        scalar, four = check_gradients(loss, arrays, grads, method=method, directions=directions)
        assert (scalar.name, four.name) == ("scalar", "rank 4")
        assert max(scalar.error, four.error) < 1e-9
    for nothing in ({}, {"empty": np.zeros((0, 4))}):
        with pytest.raises(UserError, match="nothing to check"):
            check_gradients(loss, nothing, nothing)


def test_names_shapes_and_dtypes_that_do_not_fit_are_refused():
    def refused(arrays, grads, message, **settings):
        with pytest.raises(UserError, match=message):
            check_gradients(lambda arrays: (arrays["x"] ** 2).sum(), arrays, grads, **settings)

    refused({"x": X.astype(np.float32)}, {"x": X}, "needs float64, not float32, which x is")
    refused({"x": np.arange(3)}, {"x": np.arange(3)}, "needs float64, not int64")
    refused({"x": X}, {"y": X}, r"gradients of \['y'\] for arrays \['x'\]")
    refused({"x": X}, {"x": X[0]}, r"x has shape \(5, 3, 4\), its gradient \(3, 4\)")
    refused({"x": X}, {"x": X + 0j}, "the gradient of x is complex")
    refused({"x": X}, {"x": X}, "method is one of central, complex, not 'forward'", method="forward")
    refused({"x": X}, {"x": X}, "steps are one number or more", steps=[])
    refused({"x": X}, {"x": X}, r"steps are one number or more, such as .*, not 1e-05", steps=1e-5)
    refused({"x": X}, {"x": X}, "seed is a whole number from 0 on, not -1", seed=-1)
    refused({"x": X}, {"x": "text"}, r"x has shape \(5, 3, 4\), its gradient \(\)")
    refused({"x": X[0, 0, 0]}, {"x": "text"}, "the gradient of x holds no numbers, but <U4")
    refused([X], {"x": X}, "the arrays are a dict of arrays, not list")
    refused({"x": X}, X, "the gradients are a dict of arrays, not ndarray")
    refused({"x": X, 3: X}, {"x": X}, "the names of the arrays are text, not 3")
    refused({"x": X}, {"x": X}, "a step is a number above 0, not 0", steps=[1e-5, 0])
    refused({"x": X}, {"x": X}, "directions is a whole number above 0, not 0", directions=0)
    refused({"x": X}, {"x": X}, "max_entries is a whole number from 0 on, not -1", max_entries=-1)


def test_a_loss_that_draws_other_masks_each_time_is_refused():
    rng = np.random.default_rng(0)

    def dropping(arrays):
        return (arrays["x"] * (rng.random(X.shape) > 0.5)).sum()

    def fixed(arrays):
        return (arrays["x"] * (np.random.default_rng(0).random(X.shape) > 0.5)).sum()

    for method in METHODS:
        with pytest.raises(UserError, match=r"and then .* for the same arrays: draw dropout masks .* seeded"):
            check_gradients(dropping, {"x": X}, {"x": X}, method=method)
        mask = np.random.default_rng(0).random(X.shape) > 0.5
        assert_gradients(fixed, {"x": X}, {"x": mask * 1.0}, method=method)


def test_the_refusal_of_a_loss_that_changes_by_itself_names_both_values():
    values = iter([1.25, 1.5])
    with pytest.raises(UserError, match=r"the loss is 1\.25 and then 1\.5 for"):
        check_gradients(lambda arrays: next(values), {"x": X}, {"x": X})


def test_a_loss_may_take_arrays_out_of_its_dict():
    assert_gradients(lambda arrays: (arrays.pop("x") ** 2).sum(), {"x": X}, {"x": 2 * X})


def test_a_loss_that_changes_its_arrays_is_refused_and_they_are_not_changed():
    x = X.copy()

    def careless(arrays):
        arrays["x"] *= 2
        return arrays["x"].sum()

    with pytest.raises(UserError, match="the loss changes x: it has to leave"):
        check_gradients(careless, {"x": x}, {"x": x})
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize("value", [None, "1", X, [1.0], True])
def test_a_loss_that_is_no_number_is_refused(value):
    with pytest.raises(UserError, match="the loss is one number, not"):
        check_gradients(lambda arrays: value, {"x": X}, {"x": X})


def test_what_is_not_analytic_is_refused_by_the_complex_step_and_differentiated_by_differences():
    grads = {"x": np.sign(X)}

    def absolute(arrays):
        return np.abs(arrays["x"]).sum()

    def cast(arrays):
        return absolute(arrays) + float(arrays["x"].sum())

    def stored(arrays):
        out = np.zeros(X.shape)
        out[:] = arrays["x"]
        return out.sum()

    assert_gradients(absolute, {"x": X}, grads)
    with pytest.raises(UserError, match=r'real for complex arrays: np\.abs.*or choose method="central"'):
        check_gradients(absolute, {"x": X}, grads, method="complex")
    for loss in (cast, stored):
        with pytest.raises(UserError, match="casts complex numbers to real"):
            check_gradients(loss, {"x": X}, grads, method="complex")
    with pytest.raises(UserError, match="the loss is complex for real arrays"):
        check_gradients(lambda arrays: arrays["x"].sum() + 0j, {"x": X}, grads)


def test_comparisons_by_the_real_part_keep_the_complex_step():
    def relu(arrays):
        return (arrays["x"] * (arrays["x"].real > 0)).sum()

    assert_gradients(relu, {"x": X}, {"x": (X > 0) * 1.0}, method="complex")


@pytest.mark.parametrize(("method", "directions"), WAYS)
def test_a_gradient_of_zero_is_measured_against_the_others_and_nothing_against_nothing(method, directions):
    a, unused, empty = np.array([3.0]), np.array([1.0, 2.0]), np.zeros((0, 4))
    arrays = {"a": a, "unused": unused, "empty": empty}
    grads = {"a": 2 * a, "unused": np.array([1e-14, 0]), "empty": empty}
    settings = {"method": method, "directions": directions}
    assert_gradients(
        lambda arrays: (arrays["a"] ** 2).sum() + arrays["empty"].sum(), arrays, grads, **settings
    )
    with pytest.raises(AssertionError, match=r"^unused(\[1\]| along)"):
        assert_gradients(
            lambda arrays: (arrays["a"] ** 2).sum(),
            arrays,
            grads | {"unused": np.array([0, 1e-5])},
            **settings,
        )
    nothing = {"unused": np.zeros(2)}
    assert_gradients(lambda arrays: 0 * arrays["unused"].sum(), nothing, nothing, **settings)


@pytest.mark.parametrize(("method", "directions"), WAYS)
def test_a_small_gradient_is_held_to_its_own_size(method, directions):
    a, small = np.array([3.0]), np.array([2.0])
    grads = {"a": 2 * a, "small": 1e-4 * 2 * small * 1.001}
    with pytest.raises(AssertionError, match=r"^small(\[0\]| along)"):
        assert_gradients(
            lambda arrays: (arrays["a"] ** 2).sum() + 1e-4 * (arrays["small"] ** 2).sum(),
            {"a": a, "small": small},
            grads,
            5e-4,
            method=method,
            directions=directions,
        )


@pytest.mark.parametrize("directions", [None, 4])
def test_a_small_gradient_forgotten_is_not_lost_beside_a_large_one(directions):
    """Zero instead of 4e-9 of the largest, which the tolerance would forgive."""
    arrays = {"a": np.array([3.0]), "small": np.array([2.0])}
    with pytest.raises(AssertionError, match=r"^small"):
        assert_gradients(
            lambda arrays: (arrays["a"] ** 2).sum() + 6e-9 * (arrays["small"] ** 2).sum(),
            arrays,
            {"a": np.array([6.0]), "small": np.zeros(1)},
            directions=directions,
        )


@pytest.mark.parametrize("directions", [None, 4])
def test_huge_differences_by_a_bad_step_excuse_no_other_tensor(directions):
    arrays = {"a": np.array([3.0]), "steep": np.array([1e-6])}
    grads = {"a": np.array([6.001]), "steep": 1e5 * np.exp(1e5 * arrays["steep"])}
    with pytest.raises(AssertionError, match=r"^a(\[0\]| along)[^\n]*$"):
        assert_gradients(
            lambda arrays: (arrays["a"] ** 2).sum() + np.exp(1e5 * arrays["steep"]).sum(),
            arrays,
            grads,
            1e-4,
            directions=directions,
        )


def test_a_method_that_is_none_is_refused_by_name():
    with pytest.raises(UserError, match="method is one of central, complex, not 'Complex'"):
        assert_gradients(loss, ARRAYS, right(), method="Complex")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", [0, 3])
def test_rounding_where_nearly_equal_numbers_are_normalised_is_no_error(method, seed):
    """The derivative by h0 is a difference of nearly equal numbers, and no check can know it to 1e-8."""
    case = draw_case(LSTM(4, 1, variant=Variant(layer_norm=True)), seed=seed)
    settings = {"tolerance": TOLERANCES[method], "method": method}
    found = {c.name: c for c in check_gradients(case.loss, case.arrays, case.gradients(), **settings)}
    assert max(c.error for c in found.values()) <= TOLERANCES[method]
    assert TOLERANCES[method] < found["h0"].uncertainty < 2000 * TOLERANCES[method]
    assert found["weight_ih_l0"].uncertainty == 0
    with pytest.warns(UserWarning, match=r"h0 is held to \d\.\de-\d+ only: the loss's rounding hides"):
        assert_gradients(case.loss, case.arrays, case.gradients(), method=method)
    for name, factor in (("h0", 1.001), ("weight_ih_l0", 1 + 1e-6)):
        wrong = case.gradients()
        wrong[name] = wrong[name] * factor
        with pytest.raises(AssertionError, match=f"^{name}"):
            assert_gradients(case.loss, case.arrays, wrong, method=method)


@pytest.mark.parametrize(("method", "off"), [("central", 1e-7), ("complex", 3e-13)])
@pytest.mark.parametrize("directions", [None, 4])
def test_a_well_conditioned_loss_excuses_next_to_nothing(method, off, directions):
    for name, gradient in right().items():
        wrong = right() | {name: gradient * (1 + off)}
        found = check_gradients(loss, ARRAYS, wrong, TOLERANCES[method], method=method, directions=directions)
        for c in found:
            assert (c.error > TOLERANCES[method]) == (c.name == name)
            assert c.uncertainty < off


def test_a_derivative_that_a_rounding_turns_over_excuses_nothing():
    """At the kink the slope is 0 or 1: unknown by far more than 1e-4."""
    x = {"x": np.array([1.0])}

    def kinked(arrays):
        return (arrays["x"] * (arrays["x"].real >= 1)).sum() + (arrays["x"] ** 2).sum() * 1e-3

    (c,) = check_gradients(kinked, x, {"x": np.array([0.5])})
    assert c.error > 0.1
    assert not c.uncertainty < 1e-4
    with pytest.raises(AssertionError, match="the central difference known to "):
        assert_gradients(kinked, x, {"x": np.array([0.5])})


def test_entries_of_very_different_sizes_have_steps_of_their_own():
    x = np.array([1e-4, 1.0])
    assert_gradients(lambda arrays: np.log(arrays["x"]).sum(), {"x": x}, {"x": 1 / x})
    with pytest.raises(AssertionError, match=r"^x\[0\]"):
        assert_gradients(lambda arrays: np.log(arrays["x"]).sum(), {"x": x}, {"x": 1 / x * [1 + 1e-7, 1]})


def test_a_part_of_the_loss_that_loses_its_imaginary_part_is_refused():
    def partly(arrays):
        return (np.abs(arrays["x"]) + 0 * arrays["x"]).sum() + (arrays["x"] ** 2).sum()

    for grads in ({"x": 2 * X}, {"x": 2 * X + np.sign(X)}):
        with pytest.raises(UserError, match=r"disagree along a direction of x.*loses its imaginary part"):
            check_gradients(partly, {"x": X}, grads, method="complex")
    assert_gradients(partly, {"x": X}, {"x": 2 * X + np.sign(X)})


def test_a_loss_that_takes_no_complex_numbers_is_refused():
    def real(arrays):
        if np.iscomplexobj(arrays["x"]):
            raise TypeError("no complex128")
        return (arrays["x"] ** 2).sum()

    assert_gradients(real, {"x": X}, {"x": 2 * X})
    with pytest.raises(UserError, match=r"does not compute complex numbers.*\"central\".*no complex128"):
        check_gradients(real, {"x": X}, {"x": 2 * X}, method="complex")
