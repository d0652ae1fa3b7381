"""Variants: equations by hand, values and gradients against torch's autograd, masks, settings."""

import dataclasses
import math

import numpy as np
import pytest

from lstm_scratch.activations import ACTIVATIONS
from lstm_scratch.engines import ENGINES
from lstm_scratch.errors import SettingError
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.lstm import lstm_backward, lstm_forward, lstm_init, valid_steps
from lstm_scratch.variants import PLAIN, Variant, variant_backward, variant_forward, variant_init
from reference import assert_gradients
from reference.cases import draw_case
from reference.torch_lstm import torch_steps

T, B, I, H, P = 5, 3, 4, 6, 2
LENGTHS = [2, 0, 5]
SINGLE = {
    "peepholes": {"peepholes": True},
    "coupled": {"coupled": True},
    "layer norm": {"layer_norm": True},
    "cell clip": {"cell_clip": 0.4},
    "activation clip": {"activation_clip": 0.6},
    "zoneout of h": {"zoneout_h": 0.3},
    "zoneout of c": {"zoneout_c": 0.2},
} | {
    f"{name} as {place}": {place: name}
    for place, default in (
        ("gate_activation", "sigmoid"),
        ("cell_activation", "tanh"),
        ("output_activation", "tanh"),
    )
    for name in ACTIVATIONS
    if name != default
}
TOGETHER = {
    "peepholes, coupled": {"peepholes": True, "coupled": True},
    "peepholes, layer norm": {"peepholes": True, "layer_norm": True},
    "coupled, layer norm": {"coupled": True, "layer_norm": True},
    "peepholes, both clips": {"peepholes": True, "cell_clip": 0.4, "activation_clip": 0.6},
    "zoneout, cell clip": {"zoneout_h": 0.3, "zoneout_c": 0.2, "cell_clip": 0.4},
    "zoneout, coupled, peepholes": {"zoneout_h": 0.3, "zoneout_c": 0.2, "coupled": True, "peepholes": True},
    "other activations": {
        "gate_activation": "hard_sigmoid",
        "cell_activation": "relu",
        "output_activation": "softsign",
        "coupled": True,
    },
    "everything": {
        "peepholes": True,
        "coupled": True,
        "layer_norm": True,
        "cell_clip": 0.7,
        "activation_clip": 1.1,
        "gate_activation": "hard_sigmoid",
        "cell_activation": "softsign",
        "output_activation": "identity",
        "zoneout_h": 0.3,
        "zoneout_c": 0.2,
    },
}
MASKS = {
    "input dropout": {"input_dropout": 0.4},
    "recurrent dropout": {"recurrent_dropout": 0.4},
    "zoneout of h": {"zoneout_h": 0.4},
    "zoneout of c": {"zoneout_c": 0.4},
    "all masks": {"input_dropout": 0.3, "recurrent_dropout": 0.2, "zoneout_h": 0.4, "zoneout_c": 0.5},
}
EVERY = SINGLE | TOGETHER
ZONEOUT = {"zoneout_h", "zoneout_c"}
ALL_AT_ONCE = TOGETHER["everything"] | MASKS["all masks"]

every = pytest.mark.parametrize("settings", EVERY.values(), ids=EVERY.keys())
masks = pytest.mark.parametrize("settings", MASKS.values(), ids=MASKS.keys())
projections = pytest.mark.parametrize("proj_size", [0, P], ids=["", "projection"])


def draw(engine, settings, shape=None, **options):
    lstm = LSTM(I, H, variant=Variant(**settings), engine=engine, **shape or {})
    case = draw_case(lstm, T, **{"B": B, "lengths": LENGTHS} | options)
    if settings.get("gate_activation") in ("identity", "relu"):
        # Such gates multiply without bound: from step to step the numbers would grow by orders.
        case = dataclasses.replace(case, arrays={name: a / 3 for name, a in case.arrays.items()})
    return case


def results(case):
    """Everything that a forward and a backward pass give."""
    return case.values() | {f"d{name}": grad for name, grad in case.gradients().items()}


def assert_same_bits(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, err_msg=name)


# Neutral settings are the plain LSTM.


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=str)
def test_the_neutral_variant_is_the_plain_lstm(dtype, lengths):
    case = draw("numpy", {}, lengths=lengths, dtype=dtype)
    params = {name.removesuffix("_l0"): a for name, a in case.params.items()}
    inputs = (case.arrays["x"], case.arrays["h0"][0], case.arrays["c0"][0], case.lengths)
    upstream = (case.upstream["dy"], case.upstream["dh_n"][0], case.upstream["dc_n"][0])
    plain, plain_cache = lstm_forward(params, *inputs)
    outputs, cache = variant_forward(params, *inputs, PLAIN, np.random.default_rng(0))
    for array, expected in zip(outputs, plain, strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == dtype

    plain_inputs, plain_grads = lstm_backward(params, plain_cache, *upstream)
    d_inputs, grads = variant_backward(params, cache, *upstream)
    assert grads.keys() == plain_grads.keys()
    for array, expected in zip(
        (*d_inputs, *grads.values()), (*plain_inputs, *(plain_grads[k] for k in grads)), strict=True
    ):
        tolerance = 10 * np.finfo(dtype).eps * np.abs(expected).max()
        np.testing.assert_allclose(array, expected, rtol=0, atol=tolerance)


def test_peepholes_of_zero_change_no_bit():
    case = draw("numpy", {})
    seeing = draw("numpy", {"peepholes": True})
    params = case.params | {"peephole_l0": np.zeros(3 * H)}
    (y, h_n, c_n), _ = seeing.lstm.forward(
        params, case.arrays["x"], case.arrays["h0"], case.arrays["c0"], case.lengths
    )
    assert_same_bits({"y": y, "h_n": h_n, "c_n": c_n}, case.values())


@pytest.mark.parametrize("settings", SINGLE.values(), ids=SINGLE.keys())
def test_every_setting_matters(engine, settings):
    """Else the comparisons below would compare the plain LSTM with itself."""
    plain, changed = draw(engine, {}), draw(engine, settings)
    arrays = plain.arrays
    if "coupled" in settings:  # without the forget gate's block
        arrays = {n: np.delete(a, np.s_[H : 2 * H], axis=0) if "_l0" in n else a for n, a in arrays.items()}
    extra = {name: changed.arrays[name] for name in changed.arrays.keys() - arrays.keys()}
    changed = dataclasses.replace(changed, arrays=arrays | extra)
    assert np.abs(changed.values()["y"] - plain.values()["y"]).max() > 1e-2


# One unit, two steps, by hand. Gates in the order i, f, g, o.

X, H0, C0 = (1.5, -2.0), 0.25, -0.5
W = {"i": 0.5, "f": -0.4, "g": 0.9, "o": 0.3}
R = {"i": 0.2, "f": 0.7, "g": -0.6, "o": 0.1}
BIAS = {"i": 0.1, "f": 0.2, "g": -0.3, "o": 0.4}


def sigma(z):
    return 1 / (1 + math.exp(-z))


def assert_by_hand(step, blocks="ifgo", extra=None, **settings):
    """Compare with ``step(x, h, c) -> (h, c)``, two scalars."""
    columns = {"weight_ih": W, "weight_hh": R, "bias": BIAS}
    params = {name: np.array([of_gate[k] for k in blocks]) for name, of_gate in columns.items()}
    params |= {"weight_ih": params["weight_ih"][:, None], "weight_hh": params["weight_hh"][:, None]}
    params |= {name: np.array(values) for name, values in (extra or {}).items()}
    h, c, expected = H0, C0, []
    for x in X:
        h, c = step(x, h, c)
        expected.append(h)
    (y, h_n, c_n), _ = variant_forward(
        params, np.reshape(X, (2, 1, 1)), np.array([[H0]]), np.array([[C0]]), None, Variant(**settings)
    )
    np.testing.assert_allclose(y[:, 0, 0], expected, rtol=1e-14)
    assert h_n[0, 0] == pytest.approx(h, rel=1e-14)
    assert c_n[0, 0] == pytest.approx(c, rel=1e-14)


def test_peepholes_by_hand():
    """Input and forget gate see the old cell, the output gate sees the new one."""

    def step(x, h, c):
        i = sigma(0.5 * x + 0.2 * h + 0.1 + 0.8 * c)
        f = sigma(-0.4 * x + 0.7 * h + 0.2 - 0.35 * c)
        g = math.tanh(0.9 * x - 0.6 * h - 0.3)
        c = f * c + i * g
        o = sigma(0.3 * x + 0.1 * h + 0.4 + 1.7 * c)
        return o * math.tanh(c), c

    assert_by_hand(step, extra={"peephole": [0.8, -0.35, 1.7]}, peepholes=True)


def test_coupled_gates_by_hand():
    def step(x, h, c):
        i = sigma(0.5 * x + 0.2 * h + 0.1)
        g = math.tanh(0.9 * x - 0.6 * h - 0.3)
        o = sigma(0.3 * x + 0.1 * h + 0.4)
        c = (1 - i) * c + i * g
        return o * math.tanh(c), c

    assert_by_hand(step, blocks="igo", coupled=True)


def test_coupled_gates_with_peepholes_by_hand():
    """Two peepholes are left, of the input and the output gate."""

    def step(x, h, c):
        i = sigma(0.5 * x + 0.2 * h + 0.1 + 0.8 * c)
        g = math.tanh(0.9 * x - 0.6 * h - 0.3)
        c = (1 - i) * c + i * g
        o = sigma(0.3 * x + 0.1 * h + 0.4 + 1.7 * c)
        return o * math.tanh(c), c

    assert_by_hand(step, blocks="igo", extra={"peephole": [0.8, 1.7]}, coupled=True, peepholes=True)


def test_layer_norm_by_hand():
    """The four numbers of each product are normalised together, the bias comes after."""
    gain_ih, gain_hh = [1.1, 0.9, 1.3, 0.7], [0.6, 1.2, 0.8, 1.4]

    def normalised(products, gains):
        mean = sum(products) / 4
        variance = sum((p - mean) ** 2 for p in products) / 4
        return [
            gain * (p - mean) / math.sqrt(variance + 1e-5) for gain, p in zip(gains, products, strict=True)
        ]

    def step(x, h, c):
        from_x = normalised([0.5 * x, -0.4 * x, 0.9 * x, 0.3 * x], gain_ih)
        from_h = normalised([0.2 * h, 0.7 * h, -0.6 * h, 0.1 * h], gain_hh)
        i = sigma(from_x[0] + from_h[0] + 0.1)
        f = sigma(from_x[1] + from_h[1] + 0.2)
        g = math.tanh(from_x[2] + from_h[2] - 0.3)
        o = sigma(from_x[3] + from_h[3] + 0.4)
        c = f * c + i * g
        return o * math.tanh(c), c

    assert_by_hand(step, extra={"gain_ih": gain_ih, "gain_hh": gain_hh}, layer_norm=True)


def test_cell_clip_by_hand():
    """The bounded cell is what the output and the next step see."""
    reached = []

    def step(x, h, c):
        i = sigma(0.5 * x + 0.2 * h + 0.1)
        f = sigma(-0.4 * x + 0.7 * h + 0.2)
        g = math.tanh(0.9 * x - 0.6 * h - 0.3)
        o = sigma(0.3 * x + 0.1 * h + 0.4)
        c = f * c + i * g
        reached.append(abs(c) > 0.2)
        c = min(max(c, -0.2), 0.2)
        return o * math.tanh(c), c

    assert_by_hand(step, cell_clip=0.2)
    assert any(reached)


def test_activation_clip_by_hand():
    """What enters any of the five nonlinearities is bounded, the cell itself is not."""
    reached = set()

    def bounded(z, name):
        if abs(z) > 0.3:
            reached.add(name)
        return min(max(z, -0.3), 0.3)

    def step(x, h, c):
        i = sigma(bounded(0.5 * x + 0.2 * h + 0.1, "i"))
        f = sigma(bounded(-0.4 * x + 0.7 * h + 0.2, "f"))
        g = math.tanh(bounded(0.9 * x - 0.6 * h - 0.3, "g"))
        o = sigma(bounded(0.3 * x + 0.1 * h + 0.4, "o"))
        c = f * c + i * g
        return o * math.tanh(bounded(c, "c")), c

    assert_by_hand(step, activation_clip=0.3)
    assert reached >= {"i", "f", "g", "o"}


def test_the_cell_is_bounded_on_its_way_to_the_output_but_not_to_the_next_step():
    """All gates at a half, the candidate x + h: a cell from 1.5 over 0.875 to 0.55, bounded to 0.25."""
    candidate = np.array([[0.0], [0.0], [1.0], [0.0]])
    params = {"weight_ih": candidate, "weight_hh": candidate, "bias": np.zeros(4)}
    settings = {"activation_clip": 0.25, "cell_activation": "identity", "output_activation": "identity"}
    (y, _, c_n), _ = variant_forward(
        params,
        np.reshape([0.2, 0.1], (2, 1, 1)),
        np.array([[0.05]]),
        np.array([[1.5]]),
        variant=Variant(**settings),
    )
    np.testing.assert_allclose(y[:, 0, 0], 0.5 * 0.25, rtol=1e-15)
    first = 0.5 * 1.5 + 0.5 * (0.2 + 0.05)
    assert c_n[0, 0] == pytest.approx(0.5 * first + 0.5 * (0.1 + 0.125), rel=1e-15)


def test_zoneout_outside_training_is_its_mean_by_hand():
    """The new output is of the new cell before the old one is mixed in."""

    def step(x, h, c):
        i = sigma(0.5 * x + 0.2 * h + 0.1)
        f = sigma(-0.4 * x + 0.7 * h + 0.2)
        g = math.tanh(0.9 * x - 0.6 * h - 0.3)
        o = sigma(0.3 * x + 0.1 * h + 0.4)
        new_c = f * c + i * g
        new_h = o * math.tanh(new_c)
        return 0.3 * h + 0.7 * new_h, 0.2 * c + 0.8 * new_c

    assert_by_hand(step, zoneout_h=0.3, zoneout_c=0.2)


def test_every_place_has_its_own_activation_by_hand():
    def step(x, h, c):
        def gate(z):
            return min(max(0.2 * z + 0.5, 0), 1)

        i = gate(0.5 * x + 0.2 * h + 0.1)
        f = gate(-0.4 * x + 0.7 * h + 0.2)
        z = 0.9 * x - 0.6 * h - 0.3
        o = gate(0.3 * x + 0.1 * h + 0.4)
        c = f * c + i * z / (1 + abs(z))
        return o * max(c, 0), c

    assert_by_hand(step, gate_activation="hard_sigmoid", cell_activation="softsign", output_activation="relu")


def test_a_projection_by_hand():
    """Two units, of which one mixture goes out and into the next step."""
    rng = np.random.default_rng(4)
    w, r, b, hr = rng.normal(size=8), rng.normal(size=8), rng.normal(size=8), (0.7, -1.2)
    h, c, expected = 0.3, [0.4, -0.6], []
    for x in X:
        z = [w[k] * x + r[k] * h + b[k] for k in range(8)]
        c = [sigma(z[2 + k]) * c[k] + sigma(z[k]) * math.tanh(z[4 + k]) for k in (0, 1)]
        h = sum(hr[k] * sigma(z[6 + k]) * math.tanh(c[k]) for k in (0, 1))
        expected.append(h)
    params = {"weight_ih": w[:, None], "weight_hh": r[:, None], "bias": b, "weight_hr": np.array([hr])}
    (y, h_n, c_n), _ = variant_forward(
        params, np.reshape(X, (2, 1, 1)), np.array([[0.3]]), np.array([[0.4, -0.6]])
    )
    np.testing.assert_allclose(y[:, 0, 0], expected, rtol=1e-13)
    np.testing.assert_array_equal(h_n, y[1])
    np.testing.assert_allclose(c_n[0], c, rtol=1e-13)


# Against torch, step by step, and against numerical derivatives.


@every
@projections
def test_values_and_gradients_are_those_of_torch(engine, settings, proj_size, assert_as):
    assert_as(draw(engine, settings, {"proj_size": proj_size}), torch_steps)


@pytest.mark.parametrize("shape", [{"num_layers": 2, "bidirectional": True}, {"reverse": True}], ids=str)
@pytest.mark.parametrize("settings", TOGETHER.values(), ids=TOGETHER.keys())
def test_layers_and_directions_of_variants_are_those_of_torch(engine, settings, shape, assert_as):
    assert_as(draw(engine, settings, shape | {"proj_size": P}), torch_steps)


@every
@projections
def test_every_gradient_is_the_derivative_of_the_loss(engine, settings, proj_size, assert_derivatives):
    assert_derivatives(draw(engine, settings, {"proj_size": proj_size}), directions=3)


@pytest.mark.parametrize(
    "settings", [SINGLE["peepholes"], SINGLE["layer norm"], TOGETHER["everything"]], ids=str
)
def test_every_entry_of_every_gradient_is_right_to_rounding(settings):
    case = draw("numpy", settings, {"proj_size": P})
    assert_gradients(case.loss, case.arrays, case.gradients(), 1e-13, method="complex")


@masks
@projections
def test_gradients_through_masks_are_derivatives(engine, settings, proj_size, assert_derivatives):
    assert_derivatives(draw(engine, settings, {"proj_size": proj_size}, mask_seed=3), directions=4)


@pytest.mark.parametrize("shape", [{}, {"num_layers": 2, "bidirectional": True, "proj_size": P}], ids=str)
def test_gradients_of_everything_at_once_are_derivatives(engine, shape, assert_derivatives):
    assert_derivatives(draw(engine, ALL_AT_ONCE, shape | {"dropout": 0.3}, mask_seed=3), directions=4)


# Padding, empty rows, dtypes.


@pytest.mark.parametrize("settings", (EVERY | MASKS).values(), ids=(EVERY | MASKS).keys())
@pytest.mark.parametrize("mask_seed", [None, 5], ids=["", "training"])
def test_nothing_at_the_padding_is_looked_at_and_its_gradient_is_zero(engine, settings, mask_seed):
    case = draw(engine, settings, {"proj_size": P, "bidirectional": True}, mask_seed=mask_seed)
    padding = ~valid_steps(case.lengths, T, B)[:, :, 0]
    x, dy = case.arrays["x"].copy(), case.upstream["dy"].copy()
    x[padding] = dy[padding] = np.nan
    dirty = dataclasses.replace(case, arrays=case.arrays | {"x": x}, upstream=case.upstream | {"dy": dy})
    expected, found = results(case), results(dirty)
    assert_same_bits(found, expected)
    for name in ("y", "dx"):
        np.testing.assert_array_equal(found[name][padding], 0, err_msg=name)
    for state in ("h", "c"):
        np.testing.assert_array_equal(found[f"{state}_n"][:, 1], case.arrays[f"{state}0"][:, 1])
        np.testing.assert_array_equal(found[f"d{state}0"][:, 1], case.upstream[f"d{state}_n"][:, 1])


@pytest.mark.parametrize("settings", (EVERY | MASKS).values(), ids=(EVERY | MASKS).keys())
@pytest.mark.parametrize("mask_seed", [None, 5], ids=["", "training"])
def test_float32_stays_float32_and_is_float64_rounded(engine, settings, mask_seed):
    shape = {"proj_size": P, "num_layers": 2, "dropout": 0.3}
    exact = results(draw(engine, settings, shape, mask_seed=mask_seed))
    single = results(draw(engine, settings, shape, mask_seed=mask_seed, dtype=np.float32))
    for name, array in exact.items():
        assert single[name].dtype == np.float32, name
        assert np.abs(single[name] - array).max() <= 1e-5 * np.abs(array).max(), name


@pytest.mark.parametrize("settings", [{}, ALL_AT_ONCE], ids=["plain", "everything"])
@pytest.mark.parametrize(("steps", "rows"), [(0, 3), (5, 0)])
def test_no_steps_and_no_rows_have_no_gradient(engine, settings, steps, rows):
    lstm = LSTM(I, H, variant=Variant(**settings), engine=engine, proj_size=P)
    case = draw_case(lstm, T=steps, B=rows, mask_seed=1)
    found = results(case)
    if steps == 0:
        for state in ("h", "c"):
            np.testing.assert_array_equal(found[f"{state}_n"], case.arrays[f"{state}0"])
            np.testing.assert_array_equal(found[f"d{state}0"], case.upstream[f"d{state}_n"])
    for name, param in case.params.items():
        np.testing.assert_array_equal(found[f"d{name}"], np.zeros_like(param), err_msg=name)


# Masks: those of dropout are the same at every step, those of zoneout are not.

ROWS, WIDTH, STEPS = 40, 7, 4


def through(engine, weight, settings, rng, x=None, h0=None):
    """A layer whose gates are open and whose candidate comes from the inputs or from the state alone.

    Nothing stays in the cell: the output is the product, with whatever mask is on it.
    """
    lstm = LSTM(WIDTH, WIDTH, variant=Variant(**settings), engine=engine)
    params = {name: np.zeros_like(a) for name, a in lstm.init(rng, np.float64).items()}
    params[weight][2 * WIDTH : 3 * WIDTH] = np.eye(WIDTH)
    params["bias_l0"][:WIDTH] = params["bias_l0"][3 * WIDTH :] = 1e3
    params["bias_l0"][WIDTH : 2 * WIDTH] = -1e3
    x = np.zeros((STEPS, ROWS, WIDTH)) if x is None else x
    (y, _, _), _ = lstm.forward(params, x, h0, rng=rng)
    return y


LINEAR = {"cell_activation": "identity", "output_activation": "identity"}


def assert_is_a_mask(mask, probability):
    """Zero or the inverse of what is kept, about as often as it should be, and differing between rows."""
    assert set(np.unique(mask)) == {0, 1 / (1 - probability)}
    rate = np.mean(mask == 0)
    assert abs(rate - probability) < 4 * np.sqrt(probability * (1 - probability) / mask.size)
    assert len(np.unique(mask, axis=0)) > ROWS / 2


def test_input_dropout_drops_the_same_inputs_of_a_row_at_every_step(engine):
    x = np.random.default_rng(1).choice([-1.0, 1.0], (STEPS, ROWS, WIDTH))
    settings = LINEAR | {"input_dropout": 0.2}
    mask = through(engine, "weight_ih_l0", settings, np.random.default_rng(2), x) / x
    assert_is_a_mask(mask[0], 0.2)
    for t in range(1, STEPS):
        np.testing.assert_array_equal(mask[t], mask[0])
    other = through(engine, "weight_ih_l0", settings, np.random.default_rng(3), x) / x
    assert (mask != other).any()


def test_recurrent_dropout_drops_the_same_units_of_a_row_at_every_step(engine):
    h0 = np.random.default_rng(1).choice([-1.0, 1.0], (1, ROWS, WIDTH))
    settings = LINEAR | {"recurrent_dropout": 0.2}
    y = through(engine, "weight_hh_l0", settings, np.random.default_rng(2), h0=h0)
    mask = y[0] / h0[0]
    assert_is_a_mask(mask, 0.2)
    for t in range(STEPS):
        np.testing.assert_allclose(y[t], h0[0] * mask ** (t + 1), rtol=1e-14)


def test_dropout_of_one_kind_leaves_the_other_product_alone(engine):
    """The state is read whole behind input dropout, and the inputs behind recurrent dropout."""
    rng = np.random.default_rng(1)
    x, h0 = rng.normal(size=(STEPS, ROWS, WIDTH)), rng.normal(size=(1, ROWS, WIDTH))
    y = through(engine, "weight_hh_l0", LINEAR | {"input_dropout": 0.5}, rng, x, h0)
    np.testing.assert_allclose(y, np.broadcast_to(h0, y.shape), rtol=1e-14)
    y = through(engine, "weight_ih_l0", LINEAR | {"recurrent_dropout": 0.5}, rng, x, h0)
    np.testing.assert_allclose(y, x, rtol=1e-14)


@pytest.mark.parametrize(("kept", "other"), [("h", "c"), ("c", "h")])
def test_zoneout_keeps_old_values_exactly_where_its_mask_says_so(engine, kept, other):
    """Step by step: each value is either the old one, to the bit, or the plain LSTM's new one."""
    plain = LSTM(I, WIDTH, engine=engine)
    zoned = dataclasses.replace(plain, variant=Variant(**{f"zoneout_{kept}": 0.3}))
    rng = np.random.default_rng(1)
    params = draw_case(plain).params
    state = {name: rng.normal(size=(1, ROWS, WIDTH)) for name in ("h", "c")}
    stayed = []
    for _ in range(STEPS):
        x = rng.normal(size=(1, ROWS, I))
        new, of_zoned = (
            dict(zip("hc", lstm.forward(params, x, state["h"], state["c"], rng=rng)[0][1:], strict=True))
            for lstm in (plain, zoned)
        )
        stays = of_zoned[kept] == state[kept]
        stayed.append(stays)
        np.testing.assert_allclose(of_zoned[kept], np.where(stays, state[kept], new[kept]), rtol=1e-12)
        np.testing.assert_allclose(of_zoned[other], new[other], rtol=1e-12)
        state = of_zoned
    stayed = np.array(stayed)
    assert abs(stayed.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / stayed.size)
    assert len(np.unique(stayed, axis=0)) == STEPS, "it is drawn anew at every step"
    assert len(np.unique(stayed[0, 0], axis=0)) > ROWS / 2


def test_zoneout_draws_anew_at_every_step_of_a_run(engine):
    case = draw(engine, {"zoneout_h": 0.5}, B=ROWS, lengths=None, mask_seed=1)
    h = np.concatenate([case.arrays["h0"], case.values()["y"]])
    stayed = h[1:] == h[:-1]
    assert abs(stayed.mean() - 0.5) < 4 * np.sqrt(0.25 / stayed.size)
    assert len(np.unique(stayed, axis=0)) == T


def test_the_mean_of_zoneout_in_training_is_what_it_is_at_rest(engine):
    """At one step, where the mean over masks is exact; 20,000 equal rows, each with a mask of its own."""
    case = draw(engine, {"zoneout_h": 0.3, "zoneout_c": 0.2}, lengths=None)
    one = {name: case.arrays[name][:1, :1] for name in ("x", "h0", "c0")}
    _, *at_rest = case.lstm.forward(case.params, **one)[0]
    many = {name: np.repeat(array, 20_000, axis=1) for name, array in one.items()}
    _, *trained = case.lstm.forward(case.params, **many, rng=np.random.default_rng(0))[0]
    for rest, samples in zip(at_rest, trained, strict=True):
        error = samples.std(axis=1) / np.sqrt(20_000)
        assert (error > 1e-5).all()
        assert (np.abs(samples.mean(axis=1) - rest[:, 0]) < 5 * error).all()


@masks
def test_the_same_seed_draws_the_same_masks_and_another_draws_others(engine, settings):
    case = draw(engine, settings, {"proj_size": P}, mask_seed=1)
    first = results(case)
    assert_same_bits(results(case), first)
    other = dataclasses.replace(case, mask_seed=2).values()
    assert np.abs(other["y"] - first["y"]).max() > 1e-3


@pytest.mark.parametrize("name", ["input_dropout", "recurrent_dropout"])
def test_outside_training_nothing_is_dropped(engine, name):
    assert_same_bits(results(draw(engine, {name: 0.5})), results(draw(engine, {"cell_clip": 1e9})))


@pytest.mark.parametrize("settings", EVERY.values(), ids=EVERY.keys())
def test_outside_training_the_result_is_always_the_same(engine, settings):
    case = draw(engine, settings)
    assert_same_bits(results(case), results(case))


@pytest.mark.parametrize("settings", [s for s in EVERY.values() if not s.keys() & ZONEOUT], ids=str)
def test_in_training_nothing_is_random_but_masks(engine, settings):
    case = draw(engine, settings)
    assert_same_bits(results(dataclasses.replace(case, mask_seed=1)), results(case))


def test_a_run_leaves_what_it_is_given(engine):
    case = draw(engine, ALL_AT_ONCE, {"proj_size": P}, mask_seed=1)
    before = {name: array.copy() for name, array in (case.arrays | case.upstream).items()}
    results(case)
    assert_same_bits(case.arrays | case.upstream, before)


@pytest.mark.parametrize("settings", [{}, ALL_AT_ONCE], ids=["plain", "everything"])
def test_who_changes_a_result_changes_nothing_that_backward_needs(engine, settings):
    case = draw(engine, settings)
    params = {name.removesuffix("_l0"): array for name, array in case.params.items()}
    upstream = (case.upstream["dy"], case.upstream["dh_n"][0], case.upstream["dc_n"][0])
    of_engine, grads = ENGINES[engine], []
    for spoil in (False, True):
        outputs, cache = of_engine.forward(
            params,
            case.arrays["x"],
            case.arrays["h0"][0],
            case.arrays["c0"][0],
            case.lengths,
            case.lstm.variant,
            np.random.default_rng(0),
            inference=False,
            num_threads=None,
        )
        if spoil:
            for array in outputs:
                array.fill(np.nan)
        d_inputs, of_params = of_engine.backward(params, cache, *upstream, input_gradient=True)
        grads.append(of_params | dict(zip(("x", "h0", "c0"), d_inputs, strict=True)))
    assert_same_bits(*grads)


# Parameters and settings.


@pytest.mark.parametrize(
    ("settings", "blocks", "names"),
    [
        ({}, 4, set()),
        ({"peepholes": True}, 4, {"peephole"}),
        ({"coupled": True}, 3, set()),
        ({"layer_norm": True}, 4, {"gain_ih", "gain_hh"}),
        (TOGETHER["everything"], 3, {"peephole", "gain_ih", "gain_hh"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("proj_size", [0, 7])
def test_parameters_start_by_their_rules(settings, blocks, names, proj_size):
    size, variant = 20, Variant(**settings)
    params = variant_init(np.random.default_rng(0), 30, size, proj_size, variant)
    names = names | {"weight_ih", "weight_hh", "bias"} | ({"weight_hr"} if proj_size else set())
    assert params.keys() == names
    columns = proj_size or size
    for block in np.split(params["weight_hh"], blocks):
        np.testing.assert_allclose(block.T @ block, np.eye(columns), atol=1e-13)
    for name, n_out, n_in in (("weight_ih", size, 30), ("weight_hr", proj_size, size)):
        if name in params:
            limit = np.sqrt(6 / (n_in + n_out))
            assert params[name].shape == (n_out * (blocks if name == "weight_ih" else 1), n_in)
            assert 0.95 * limit < np.abs(params[name]).max() <= limit
            assert params[name].std() == pytest.approx(limit / np.sqrt(3), rel=0.1)
    np.testing.assert_array_equal(params["bias"], np.zeros(blocks * size))
    if "peephole" in names:
        np.testing.assert_array_equal(params["peephole"], np.zeros((blocks - 1) * size))
    if "gain_ih" in names:
        np.testing.assert_array_equal(params["gain_ih"], np.ones(blocks * size))
        np.testing.assert_array_equal(params["gain_hh"], np.ones(blocks * size))


def test_without_a_variant_the_draw_is_that_of_the_plain_lstm():
    ours, plain = variant_init(np.random.default_rng(5), I, H), lstm_init(np.random.default_rng(5), I, H)
    assert_same_bits(ours, plain)


def test_the_forget_bias_of_coupled_gates_closes_the_input_gate():
    """A forget gate of sigmoid(b) is an input gate of sigmoid(-b)."""
    rng = np.random.default_rng(0)
    lstm = LSTM(I, H, bidirectional=True, variant=Variant(coupled=True))
    params = lstm.init(rng, np.float64, forget_bias=1.5)
    for suffix in ("_l0", "_l0_reverse"):
        np.testing.assert_array_equal(params[f"bias{suffix}"], [-1.5] * H + [0.0] * 2 * H)
    nothing = {name: np.zeros_like(a) if "weight" in name else a for name, a in params.items()}
    (_, _, c_n), _ = lstm.forward(nothing, np.zeros((1, B, I)), c0=np.ones((2, B, H)))
    np.testing.assert_allclose(c_n, sigma(1.5), rtol=1e-14)


def test_parameters_are_drawn_in_the_wanted_dtype():
    lstm = LSTM(I, H, proj_size=P, variant=Variant(**ALL_AT_ONCE))
    for dtype in (np.float32, np.float64):
        params = lstm.init(np.random.default_rng(0), dtype)
        assert {array.dtype for array in params.values()} == {np.dtype(dtype)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in ("input_dropout", "recurrent_dropout", "zoneout_h", "zoneout_c")
        for value in (1.0, -0.1, math.nan, None, "0.1")
    ]
    + [
        (name, value)
        for name in ("cell_clip", "activation_clip")
        for value in (0, -1.0, -math.inf, math.nan, None, "1")
    ]
    + [
        (name, value)
        for name in ("gate_activation", "cell_activation", "output_activation")
        for value in ("step", "Tanh", None)
    ]
    + [(name, value) for name in ("peepholes", "coupled", "layer_norm") for value in ("no", 1, None)],
    ids=str,
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(SettingError, match=f"{name} is .*not {value!r}"):
        Variant(**{name: value})


def test_an_unknown_activation_is_told_which_there_are():
    with pytest.raises(SettingError, match=f"one of {', '.join(ACTIVATIONS)}, not 'step'"):
        Variant(gate_activation="step")


def test_an_activation_in_a_list_is_no_activation():
    with pytest.raises(SettingError, match=r"cell_activation is one of .*, not \['tanh'\]"):
        Variant(cell_activation=["tanh"])


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.uint8])
def test_whole_numbers_are_dropped_from_like_others(dtype):
    """One-hot inputs: what is kept is divided by 0.7, and not by that number's whole part."""
    x = np.random.default_rng(0).integers(0, 2, (T, B, I))
    lstm = LSTM(I, H, variant=Variant(input_dropout=0.3))
    params = lstm.init(np.random.default_rng(1), np.float64)
    (y, _, _), _ = lstm.forward(params, x.astype(dtype), rng=np.random.default_rng(2))
    (expected, _, _), _ = lstm.forward(params, x.astype(np.float64), rng=np.random.default_rng(2))
    np.testing.assert_allclose(y, expected, rtol=1e-14)
    assert np.isfinite(y).all()


def test_a_bound_that_numpy_made_leaves_the_dtype_alone():
    case = draw_case(LSTM(I, H, variant=Variant(cell_clip=np.float64(0.5))), dtype=np.float32)
    results = case.values() | case.gradients()
    assert {array.dtype for array in results.values()} == {np.dtype(np.float32)}
