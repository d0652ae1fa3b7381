"""Keras: its layers compute the same from our parameters, and ours the same from its weights."""

import itertools

import numpy as np
import pytest

from lstm_scratch.converters import from_keras, to_keras
from lstm_scratch.errors import DataError, SettingError
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.variants import Variant
from reference.cases import draw_case

# get_weights of Keras, on torch, asks numpy in a way that numpy 2 wants changed.
COPY = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
pytestmark = pytest.mark.filterwarnings(COPY)

T, B, I, H = 5, 3, 4, 2
SIZES = [
    {},
    {"num_layers": 2},
    {"bidirectional": True},
    {"num_layers": 3, "bidirectional": True},
    {"reverse": True},
    {"num_layers": 2, "reverse": True},
]


@pytest.fixture(scope="module")
def keras(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))  # it writes its settings there
        import keras

        yield keras


def layers_of(keras, lstm, dtype="float64", **options):
    """Keras's layers, as `to_keras` says that they are to be made."""
    layers = []
    for k in range(lstm.num_layers):
        layer = keras.layers.LSTM(
            lstm.hidden_size,
            return_sequences=True,
            return_state=True,
            go_backwards=lstm.reverse and k == 0,
            dtype=dtype,
            **options,
        )
        if lstm.bidirectional:
            layer = keras.layers.Bidirectional(layer, dtype=dtype)
        layer.build((None, None, lstm.output_size if k else lstm.input_size))
        layers.append(layer)
    return layers


def run(layers, case):
    """What Keras computes, in our shapes."""
    y, h_n, c_n = case.arrays["x"], [], []
    D = len(case.lstm.directions)
    for k, layer in enumerate(layers):
        rows = range(D * k, D * (k + 1))
        states = [case.arrays[name][row] for row in rows for name in ("h0", "c0")]
        y, *states = layer(y, initial_state=states)
        h_n += states[0::2]
        c_n += states[1::2]
    values = {"y": y, "h_n": h_n, "c_n": c_n}
    values = {name: np.stack([part.detach().numpy() for part in value]) for name, value in values.items()}
    if case.lstm.reverse:
        values["y"] = values["y"][:, ::-1]
    return values


def assert_same(values, expected, tolerance):
    for name, value in expected.items():
        np.testing.assert_allclose(values[name], value, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-6)])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_layers_compute_the_same_from_our_parameters(keras, sizes, dtype, tolerance):
    case = draw_case(LSTM(I, H, batch_first=True, **sizes), T, B, dtype=dtype)
    layers = layers_of(keras, case.lstm, dtype)
    for layer, weights in zip(layers, to_keras(case.lstm, case.params), strict=True):
        layer.set_weights(weights)
    assert_same(run(layers, case), case.values(), tolerance)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_we_compute_the_same_from_the_weights_of_layers(keras, sizes, use_bias):
    keras.utils.set_random_seed(0)
    case = draw_case(LSTM(I, H, batch_first=True, **sizes), T, B)
    layers = layers_of(keras, case.lstm, use_bias=use_bias, bias_initializer="normal", unit_forget_bias=False)
    weights = [layer.get_weights() for layer in layers]
    lstm, params = from_keras(*weights, go_backwards=case.lstm.reverse)
    assert lstm == case.lstm
    assert_same(case.values(case.arrays | params), run(layers, case), 1e-12)


def test_a_fresh_layer_as_keras_makes_it(keras):
    keras.utils.set_random_seed(0)
    layer = keras.layers.LSTM(H, return_sequences=True)
    x = np.random.default_rng(0).normal(size=(B, T, I)).astype(np.float32)
    expected = layer(x).detach().numpy()
    lstm, params = from_keras(layer.get_weights())
    (y, _, _), _ = lstm.forward(params, x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "softsign", "linear"])
def test_activations_are_those_of_the_same_name(keras, activation):
    keras.utils.set_random_seed(0)
    for options in ({"activation": activation}, {"recurrent_activation": activation}):
        case = draw_case(LSTM(I, H, batch_first=True), T, B)
        (layer,) = layers_of(keras, case.lstm, **options)
        lstm, params = from_keras(layer.get_weights(), **options)
        (y, _, _), _ = lstm.forward(params, case.arrays["x"], case.arrays["h0"], case.arrays["c0"])
        np.testing.assert_allclose(y, run([layer], case)["y"], rtol=1e-12, atol=1e-12)
        (weights,) = to_keras(lstm, params)
        for array, theirs in zip(weights, layer.get_weights(), strict=True):
            np.testing.assert_array_equal(array, theirs)


@pytest.mark.parametrize("gates", list(itertools.combinations("ifgo", 2)), ids="".join)
def test_two_gates_in_each_others_place_are_noticed(keras, gates):
    case = draw_case(LSTM(I, H, batch_first=True), T, B)
    order = ["ifgo".index({gates[0]: gates[1], gates[1]: gates[0]}.get(gate, gate)) for gate in "ifgo"]
    swapped = {k: a.reshape(4, H, *a.shape[1:])[order].reshape(a.shape) for k, a in case.params.items()}
    (layer,) = layers_of(keras, case.lstm)
    layer.set_weights(*to_keras(case.lstm, swapped))
    with pytest.raises(AssertionError, match="y"):
        assert_same(run([layer], case), case.values(), 1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_way_there_and_back_keeps_every_bit(sizes, dtype):
    case = draw_case(LSTM(I, H, batch_first=True, dropout=0.3, **sizes), dtype=dtype)
    weights = to_keras(case.lstm, case.params)
    lstm, params = from_keras(*weights, go_backwards=case.lstm.reverse)
    assert lstm == LSTM(I, H, batch_first=True, **sizes)
    assert params.keys() == case.params.keys()
    weights[0][2][:] = 7  # a copy
    for name, array in case.params.items():
        assert (params[name].dtype, params[name].tobytes()) == (array.dtype, array.tobytes()), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proj_size": 1}, "the LSTM of Keras has no proj_size, which is 1 here; train one without it"),
        ({"variant": Variant(peepholes=True)}, "the LSTM of Keras has no peepholes, which is True here"),
        ({"variant": Variant(coupled=True)}, "the LSTM of Keras has no coupled"),
        ({"variant": Variant(layer_norm=True)}, "the LSTM of Keras has no layer_norm"),
        ({"variant": Variant(cell_clip=3)}, "the LSTM of Keras has no cell_clip, which is 3 here"),
        ({"variant": Variant(activation_clip=3)}, "the LSTM of Keras has no activation_clip"),
        ({"variant": Variant(zoneout_c=0.1)}, "the LSTM of Keras has no zoneout_c"),
        (
            {"variant": Variant(gate_activation="hard_sigmoid")},
            "no layer of Keras has our hard_sigmoid, which is the gate_activation here; its own has another",
        ),
        (
            {"variant": Variant(cell_activation="relu")},
            "Keras has one activation for the candidate and the output; here they are relu and tanh",
        ),
    ],
)
def test_what_keras_lacks_is_named(options, message):
    lstm = LSTM(I, H, **options)
    with pytest.raises(SettingError, match=f"^{message}"):
        to_keras(lstm, lstm.init(np.random.default_rng(0)))


KERNEL, RECURRENT, BIAS = np.zeros((I, 4 * H)), np.zeros((H, 4 * H)), np.zeros(4 * H)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "a Keras LSTM has two or three arrays per direction; pass get_weights"),
        ([[[KERNEL, RECURRENT, BIAS]]], r"each argument is get_weights\(\) of one layer; a list of these"),
        ([[[KERNEL, RECURRENT, BIAS]] * 2], r"each .* with \*: from_keras\(\*layers\)$"),
        ([KERNEL, RECURRENT, BIAS], r"each argument is get_weights\(\) of one layer"),
        ([[]], "a Keras LSTM has two or three arrays per direction; pass get_weights"),
        (
            [[np.zeros((I, 3 * H)), np.zeros((H, 3 * H)), np.zeros((2, 3 * H))]],  # a GRU
            r"layer 0 has arrays of shapes \[\(4, 6\), \(2, 6\), \(2, 6\)\], not \[\(4, 8\), \(2, 8\), \(8",
        ),
        ([[KERNEL, RECURRENT, BIAS], [KERNEL, RECURRENT, BIAS]], r"layer 1 .* not \[\(2, 8\), \(2, 8\)"),
        ([[KERNEL, RECURRENT], [KERNEL, RECURRENT] * 2], "layer 1 has arrays of shapes"),
        ([[KERNEL, RECURRENT] * 2, [KERNEL, RECURRENT, BIAS]], "layer 1 has arrays of shapes"),
        ([[KERNEL, RECURRENT] * 4], "layer 0 has arrays of shapes"),
    ],
)
def test_weights_of_something_else_are_refused(layers, message):
    with pytest.raises(DataError, match=f"^{message}"):
        from_keras(*layers)


def test_an_activation_of_keras_alone_is_refused():
    with pytest.raises(SettingError, match=r"^an activation from Keras is one of sigmoid, .*'hard_sigmoid'"):
        from_keras([KERNEL, RECURRENT, BIAS], recurrent_activation="hard_sigmoid")
