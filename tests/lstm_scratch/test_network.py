"""The whole network, on every engine: gradients by differences, and no clip depends on its neighbours."""

import numpy as np
import pytest

from lstm_scratch.batches import pad
from lstm_scratch.errors import SettingError
from lstm_scratch.layers.pooling import EACH, POOLINGS
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.network import Network
from lstm_scratch.params import under
from lstm_scratch.variants import Variant
from reference import assert_gradients

T, B, I, H, K = 5, 3, 4, 2, 6
LENGTHS = np.array([2, 5, 3])
SHAPES = {
    "one direction": {},
    "two directions": {"bidirectional": True},
    "reverse": {"reverse": True},
    "projection": {"proj_size": 1},
    "two directions, projection": {"bidirectional": True, "proj_size": 1},
    "variant": {"variant": Variant(peepholes=True, recurrent_dropout=0.3, zoneout_c=0.2)},
}


shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


@pytest.mark.parametrize("pooling", POOLINGS)
@shapes
def test_every_gradient_is_the_derivative_of_the_loss(engine, pooling, shape):
    rng = np.random.default_rng(5)
    lstm = LSTM(I, H, num_layers=2, dropout=0.3, engine=engine, **shape)
    network = Network(lstm, K, pooling, dropout=0.3)
    params, x = network.init(rng, np.float64), rng.normal(size=(T, B, I))
    for array in params.values():
        array += rng.normal(size=array.shape)  # gradients well above the rounding of the loss
    dlogits = rng.normal(size=(T, B, K) if pooling == EACH else (B, K))
    if pooling == EACH:  # after the end of a row, logits are the bias alone
        dlogits[np.arange(T)[:, None] >= LENGTHS] = 0

    def forward(arrays):
        return network.forward(arrays, arrays["x"], LENGTHS, np.random.default_rng(9))

    arrays = params | {"x": x}
    dx, grads = network.backward(params, forward(arrays)[1], dlogits)
    # Some gradients are as small as 1e-5 here, which costs the differences three digits.
    assert_gradients(
        lambda moved: (forward(moved)[0] * dlogits).sum(),
        arrays,
        grads | {"x": dx},
        tolerance=1e-7,
        directions=None if shape.keys() <= {"bidirectional"} else 4,
    )


@pytest.mark.parametrize("pooling", POOLINGS)
@shapes
def test_the_logits_of_a_clip_do_not_depend_on_its_batch(engine, pooling, shape):
    rng = np.random.default_rng(1)
    network = Network(LSTM(I, H, engine=engine, **shape), K, pooling)
    params = network.init(rng, np.float64)
    clips = [rng.normal(size=(length, I)) for length in (7, 1, 4)]
    together, _ = network.forward(params, *pad(clips))
    for b, clip in enumerate(clips):
        alone, _ = network.forward(params, *pad([clip]))
        if pooling == EACH:
            assert alone.shape == (len(clip), 1, K)
            np.testing.assert_allclose(together[: len(clip), b], alone[:, 0], rtol=1e-13, atol=1e-15)
        else:
            np.testing.assert_allclose(together[b], alone[0], rtol=1e-13, atol=1e-15)


@shapes
def test_where_nothing_is_pooled_every_step_has_the_linear_layer_of_its_own_output(engine, shape):
    rng = np.random.default_rng(6)
    network = Network(LSTM(I, H, engine=engine, **shape), K, EACH)
    params, x = network.init(rng, np.float64), rng.normal(size=(T, B, I))
    params["linear.bias"] = rng.normal(size=K)
    y = network.lstm.forward(under("lstm", params), x, lengths=LENGTHS)[0][0]
    logits, _ = network.forward(params, x, LENGTHS)
    for t in range(T):
        for b in range(B):
            expected = params["linear.weight"] @ y[t, b] + params["linear.bias"]
            np.testing.assert_allclose(logits[t, b], expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("shape", [{}, {"bidirectional": True}], ids=["one direction", "two directions"])
def test_what_stands_in_the_padding_has_no_influence(engine, pooling, shape):
    """Neither on the logits of what is valid, nor on a gradient."""
    rng = np.random.default_rng(7)
    network = Network(LSTM(I, H, num_layers=2, engine=engine, **shape), K, pooling)
    params, x = network.init(rng, np.float64), rng.normal(size=(T, B, I))
    padding = np.arange(T)[:, None] >= LENGTHS
    other = np.where(padding[:, :, None], 100 * rng.normal(size=x.shape), x)
    dlogits = rng.normal(size=(T, B, K) if pooling == EACH else (B, K))
    if pooling == EACH:
        dlogits[padding] = 0
    results = []
    for given in (x, other):
        logits, cache = network.forward(params, given, LENGTHS)
        dx, grads = network.backward(params, cache, dlogits)
        results.append(grads | {"dx": dx, "logits": logits[~padding] if pooling == EACH else logits})
    for name, array in results[0].items():
        np.testing.assert_array_equal(array, results[1][name], err_msg=name)
    np.testing.assert_array_equal(results[0]["dx"][padding], 0)


def test_parameters_are_named_by_part_and_drawn_in_the_wanted_dtype():
    network = Network(LSTM(I, H), K, "attention")
    params = network.init(np.random.default_rng(0))
    assert {name: a.shape for name, a in params.items()} == {
        "lstm.weight_ih_l0": (4 * H, I),
        "lstm.weight_hh_l0": (4 * H, H),
        "lstm.bias_l0": (4 * H,),
        "pooling.query": (H,),
        "linear.weight": (K, H),
        "linear.bias": (K,),
    }
    assert {a.dtype for a in params.values()} == {np.dtype(np.float32)}


def test_parameters_in_float64_are_drawn_in_float64():
    params = Network(LSTM(I, 20), K).init(np.random.default_rng(0), np.float64)
    block = params["lstm.weight_hh_l0"][:20]
    np.testing.assert_allclose(block @ block.T, np.eye(20), atol=1e-13)


def test_the_last_step_of_a_direction_that_reads_backwards_is_the_first(engine):
    """Its final state, as it is for the other direction, which reads the last valid step last."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(T, B, I))
    for shape, steps in (({}, LENGTHS - 1), ({"reverse": True}, [0, 0, 0]), ({"bidirectional": True}, None)):
        network = Network(LSTM(I, 6, proj_size=H, engine=engine, **shape), K, "last")
        params = network.init(rng, np.float64)
        (y, h_n, _), _ = network.lstm.forward(under("lstm", params), x, lengths=LENGTHS)
        logits, _ = network.forward(params, x, LENGTHS)
        final = np.concatenate(list(h_n), axis=1)
        np.testing.assert_allclose(logits, final @ params["linear.weight"].T, rtol=1e-13, atol=1e-15)
        if steps is not None:
            np.testing.assert_array_equal(y[steps, np.arange(B)], final)


def test_the_network_takes_what_the_stack_puts_out():
    rng = np.random.default_rng(0)
    for shape, width in (({"reverse": True}, 6), ({"proj_size": H, "bidirectional": True}, 2 * H)):
        params = Network(LSTM(I, 6, **shape), K, "attention").init(rng)
        assert params["linear.weight"].shape == (K, width)
        assert params["pooling.query"].shape == (width,)
    params = Network(LSTM(I, 6, bidirectional=True), K, "std+attention+last").init(rng)
    assert (params["linear.weight"].shape, params["pooling.query"].shape) == ((K, 3 * 12), (12,))


def test_a_stack_of_another_layout_is_refused():
    """Its axes would be taken for each other: T and B have no names."""
    with pytest.raises(SettingError, match="give its LSTM batch_first=False"):
        Network(LSTM(I, H, batch_first=True), K)


def test_unknown_pooling_and_impossible_dropout_are_refused():
    for wrong in ("median", "mean+median", "mean+mean", "mean+none", "mean+", "", None):
        with pytest.raises(SettingError, match=r"mean, max, std, last, attention, several joined by \+"):
            Network(LSTM(I, H), K, wrong)
    with pytest.raises(SettingError, match="dropout"):
        Network(LSTM(I, H), K, dropout=-0.1)
