"""The trace: every value against a plain loop, every gradient by nudging that value inside the loop."""

import cmath
import dataclasses
import math

import numpy as np
import pytest
import soundfile

from lstm_scratch import SequenceClassifier
from lstm_scratch.errors import DataError, NotFittedError, SettingError
from lstm_scratch.layers.linear import linear_forward
from lstm_scratch.layers.loss import cross_entropy_forward
from lstm_scratch.layers.pooling import pooling_forward
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.lstm import valid_steps
from lstm_scratch.network import Network
from lstm_scratch.params import under
from lstm_scratch.tracing import trace
from lstm_scratch.variants import Variant
from reference.cases import INPUTS, draw_case

T, B, I, H, P, K = 4, 3, 5, 6, 2, 7
LENGTHS = [2, 0, 4]
NAMES = "ifgoch"
CASES = {
    "plain": ({}, {}),
    "lengths": ({}, {"lengths": LENGTHS}),
    "two layers, two directions": ({"num_layers": 2, "bidirectional": True}, {"lengths": LENGTHS}),
    "reverse, projection": ({"reverse": True, "proj_size": P}, {"lengths": LENGTHS}),
    "peepholes": ({"variant": Variant(peepholes=True)}, {"lengths": LENGTHS}),
    "coupled, projection": ({"variant": Variant(coupled=True), "proj_size": P}, {"lengths": LENGTHS}),
    "zoneout": ({"variant": Variant(zoneout_h=0.3, zoneout_c=0.2)}, {"lengths": LENGTHS}),
    "clipped cell": ({"variant": Variant(cell_clip=0.4)}, {"lengths": LENGTHS}),
    "all of them": (
        {
            "variant": Variant(peepholes=True, coupled=True, zoneout_h=0.3, zoneout_c=0.2, cell_clip=0.4),
            "proj_size": P,
            "num_layers": 2,
            "bidirectional": True,
        },
        {"lengths": LENGTHS},
    ),
}

each = pytest.mark.parametrize(("shape", "options"), CASES.values(), ids=CASES.keys())


def draw(shape, options):
    hidden_size = H if "proj_size" in shape else 2
    return draw_case(LSTM(I, hidden_size, **shape), T, **{"B": B} | options)


def traced(case, **upstream):
    x, h0, c0 = (case.arrays[name] for name in INPUTS)
    return trace(case.lstm, case.params, x, h0, c0, case.lengths, **upstream)


def loop(case, b, nudge=None):
    """Run row b alone, unit by unit, and give its part of the loss.

    Parameters
    ----------
    nudge : callable
        ``nudge(name, t, unit, value)`` sees every number right when it is computed, t being the step whose
        input was read and the name that of the trace, and returns what to go on with.
    """
    lstm, variant = case.lstm, case.lstm.variant
    sequence = list(case.arrays["x"][: T if case.lengths is None else case.lengths[b], b])
    loss, row = 0, 0
    for layer in range(lstm.num_layers):
        outputs = [[] for _ in sequence]
        for reverse in lstm.directions:
            suffix = f"_l{layer}_reverse" if reverse else f"_l{layer}"
            p = {name.removesuffix(suffix): a for name, a in case.params.items() if name.endswith(suffix)}
            h, c = list(case.arrays["h0"][row, b]), list(case.arrays["c0"][row, b])
            for t in sorted(range(len(sequence)), reverse=reverse):
                h, c = one_step(variant, p, suffix, t, sequence[t], h, c, nudge)
                outputs[t] += h
            loss += np.dot(case.upstream["dh_n"][row, b], h) + np.dot(case.upstream["dc_n"][row, b], c)
            row += 1
        sequence = outputs
    return loss + sum(np.dot(case.upstream["dy"][t, b], y) for t, y in enumerate(sequence))


def one_step(variant, p, suffix, t, x, h, c, nudge):
    """One step in scalars: every gate, the new cell and the new output go through the nudge."""
    size, of_gate = len(c), {gate: k for k, gate in enumerate("igo" if variant.coupled else "ifgo")}
    peephole = {}
    if variant.peepholes:
        gates = "io" if variant.coupled else "ifo"
        peephole = dict(zip(gates, p["peephole"].reshape(-1, size), strict=True))

    def z(gate, unit, cell):
        row = of_gate[gate] * size + unit
        total = np.dot(p["weight_ih"][row], x) + np.dot(p["weight_hh"][row], h) + p["bias"][row]
        return total + (peephole[gate][unit] * cell if gate in peephole else 0)

    def seen(name, unit, value):
        return nudge(name + suffix, t, unit, value) if nudge else value

    new_c, m = [], []
    for unit in range(size):
        i = seen("i", unit, sigma(z("i", unit, c[unit])))
        f = seen("f", unit, 1 - i if variant.coupled else sigma(z("f", unit, c[unit])))
        g = seen("g", unit, cmath.tanh(z("g", unit, 0)))
        cell = f * c[unit] + i * g
        if abs(cell.real) > variant.cell_clip:
            cell = math.copysign(variant.cell_clip, cell.real)
        cell = seen("c", unit, cell)
        o = seen("o", unit, sigma(z("o", unit, cell)))
        new_c.append(cell)
        m.append(o * cmath.tanh(cell))
    new_h = [np.dot(weights, m) for weights in p["weight_hr"]] if "weight_hr" in p else m
    new_h = [seen("h", unit, value) for unit, value in enumerate(new_h)]
    keep_h, keep_c = variant.zoneout_h, variant.zoneout_c
    return (
        [keep_h * old + (1 - keep_h) * new for old, new in zip(h, new_h, strict=True)],
        [keep_c * old + (1 - keep_c) * new for old, new in zip(c, new_c, strict=True)],
    )


def sigma(z):
    return 1 / (1 + cmath.exp(-z))


def loop_values(case):
    """What the loop computes, in the layout of a trace."""
    sizes = dict.fromkeys(NAMES, case.lstm.hidden_size) | {"h": case.lstm.proj_size or case.lstm.hidden_size}
    values = {
        f"{name}{suffix}": np.zeros((T, B, size))
        for suffix in case.lstm.suffixes
        for name, size in sizes.items()
    }

    def note(b):
        def nudge(name, t, unit, value):
            values[name][t, b, unit] = value.real
            return value

        return nudge

    for b in range(B):
        loop(case, b, note(b))
    return values


def loop_gradients(case):
    """Derivatives of the loss by each number that the loop computes: a complex step right there."""
    grads = {f"d{name}": np.zeros_like(array) for name, array in loop_values(case).items()}
    for name, grad in grads.items():
        for t, b, unit in np.argwhere(np.broadcast_to(valid_steps(case.lengths, T, B), grad.shape)):

            def nudge(*args, where=(name[1:], t, unit)):
                return args[-1] + 1e-30j if args[:-1] == where else args[-1]

            grad[t, b, unit] = loop(case, b, nudge).imag / 1e-30
    return grads


def split(found):
    """Values, and gradients."""
    values = {name: array for name, array in found.items() if not name.startswith("d")}
    return values, {name: array for name, array in found.items() if name.startswith("d")}


@each
def test_values_and_gradients_are_those_of_a_plain_loop(shape, options, assert_agree):
    case = draw(shape, options)
    values, grads = split(traced(case, **case.upstream))
    assert_agree(values, loop_values(case), rtol=1e-13, atol=1e-15)
    assert_agree(grads, loop_gradients(case), rtol=1e-12, atol=1e-13)


def test_the_loop_computes_the_loss():
    """A check of the check: else a trace would be compared with something else."""
    for shape, options in CASES.values():
        case = draw(shape, options)
        total = sum(loop(case, b) for b in range(B))
        assert total == pytest.approx(case.loss(case.arrays), rel=1e-13)


@pytest.mark.parametrize("given", ["dy", "dh_n", "dc_n"])
def test_each_of_the_losss_gradients_may_come_alone(given, assert_agree):
    case = draw(*CASES["two layers, two directions"])
    only = {name: array * (name == given) for name, array in case.upstream.items()}
    _, grads = split(traced(case, **{given: case.upstream[given]}))
    alone = dataclasses.replace(case, upstream=only)
    assert_agree(grads, loop_gradients(alone), rtol=1e-12, atol=1e-13)


@each
def test_without_a_gradient_there_are_the_same_values_and_no_gradients(shape, options):
    case = draw(shape, options)
    found = traced(case)
    assert found.keys() == {f"{name}{suffix}" for suffix in case.lstm.suffixes for name in NAMES}
    values, _ = split(traced(case, **case.upstream))
    for name, array in found.items():
        np.testing.assert_array_equal(array, values[name], err_msg=name)


@each
def test_padding_is_zero_and_what_stands_there_is_not_looked_at(shape, options):
    case = draw(shape, {"lengths": LENGTHS})
    padding = ~valid_steps(case.lengths, T, B)[:, :, 0]
    found = traced(case, **case.upstream)
    x, dy = case.arrays["x"].copy(), case.upstream["dy"].copy()
    x[padding] = dy[padding] = np.nan
    dirty = dataclasses.replace(case, arrays=case.arrays | {"x": x})
    for name, array in traced(dirty, **case.upstream | {"dy": dy}).items():
        np.testing.assert_array_equal(array, found[name], err_msg=name)
        np.testing.assert_array_equal(array[padding], 0, err_msg=name)
        assert array[~padding].any(), name


@each
def test_batch_first_swaps_the_axes_of_every_array(shape, options):
    case = draw(shape, options)
    swapped = dataclasses.replace(
        case,
        lstm=dataclasses.replace(case.lstm, batch_first=True),
        arrays=case.arrays | {"x": case.arrays["x"].swapaxes(0, 1)},
    )
    upstream = case.upstream | {"dy": case.upstream["dy"].swapaxes(0, 1)}
    expected = traced(case, **case.upstream)
    found = traced(swapped, **upstream)
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array.swapaxes(0, 1), expected[name], err_msg=name)


@pytest.mark.parametrize("batch_first", [False, True])
@each
def test_one_sequence_has_no_batch_axis(shape, options, batch_first, assert_agree):
    case = draw(shape, {})
    lstm = dataclasses.replace(case.lstm, batch_first=batch_first)
    inputs = {name: case.arrays[name][:, 1] for name in INPUTS}
    upstream = {name: array[:, 1] for name, array in case.upstream.items()}
    found = trace(lstm, case.params, **inputs, **upstream)
    expected = {name: array[:, 1] for name, array in traced(case, **case.upstream).items()}
    assert_agree(found, expected, rtol=1e-12, atol=1e-14)


def test_the_trace_is_of_what_every_engine_computes(engine, assert_agree):
    """The last layer's h is the output; the gradients of the first step's cell are what went back."""
    case = draw({"num_layers": 2, "proj_size": P, "engine": engine}, {"lengths": LENGTHS})
    found = traced(case, **case.upstream)
    assert_agree({"y": found["h_l1"]}, {"y": case.values()["y"]}, rtol=1e-12, atol=1e-14)
    z = {gate: found[f"d{gate}_l0"] * found[f"{gate}_l0"] * (1 - found[f"{gate}_l0"]) for gate in "ifo"}
    z["g"] = found["dg_l0"] * (1 - found["g_l0"] ** 2)
    bias = np.concatenate([z[gate].sum(axis=(0, 1)) for gate in "ifgo"])
    assert_agree({"bias": bias}, {"bias": case.gradients()["bias_l0"]}, rtol=1e-11, atol=1e-12)


def test_nothing_is_dropped_in_a_trace():
    case = draw({"num_layers": 2}, {"lengths": LENGTHS})
    variant = Variant(input_dropout=0.5, recurrent_dropout=0.5)
    dropping = dataclasses.replace(case, lstm=dataclasses.replace(case.lstm, dropout=0.5, variant=variant))
    expected = traced(case, **case.upstream)
    for name, array in traced(dropping, **case.upstream).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_float32_stays_float32():
    case = draw({"num_layers": 2, "bidirectional": True}, {"lengths": LENGTHS, "dtype": np.float32})
    found = traced(case, **case.upstream)
    assert {name: array.dtype for name, array in found.items()} == dict.fromkeys(found, np.float32)


def test_a_trace_without_steps_is_empty():
    case = draw_case(LSTM(I, H, bidirectional=True), T=0, B=B)
    found = traced(case, **case.upstream)
    assert {array.shape for array in found.values()} == {(0, B, H)}
    assert len(found) == 2 * 2 * len(NAMES)


# Of a whole network, and of a classifier.


@pytest.mark.parametrize("pooling", ["mean", "max", "last", "attention"])
@pytest.mark.parametrize("shape", [{"bidirectional": True}, {"reverse": True, "proj_size": P}], ids=str)
def test_a_networks_trace_is_of_the_cross_entropy_of_its_targets(pooling, shape, assert_agree):
    rng = np.random.default_rng(3)
    network = Network(LSTM(I, H, num_layers=2, dropout=0.5, **shape), K, pooling, dropout=0.5)
    params = network.init(rng, np.float64)
    params = {name: array + rng.normal(scale=0.3, size=array.shape) for name, array in params.items()}
    x, lengths, targets = rng.normal(size=(T, B, I)), np.array([2, 1, 4]), np.array([6, 0, 3])
    of_lstm = under("lstm", params)
    (y, _, _), _ = network.lstm.forward(of_lstm, x, lengths=lengths)

    def loss(y):
        pooled, _ = pooling_forward(under("pooling", params), pooling, y, lengths, network.lstm.directions)
        logits, _ = linear_forward(under("linear", params), pooled)
        return cross_entropy_forward(logits, targets)[0]

    dy = np.zeros_like(y)
    for index in np.argwhere(np.broadcast_to(valid_steps(lengths, T, B), y.shape)):
        step = np.zeros_like(y)
        step[tuple(index)] = 1e-5
        dy[tuple(index)] = (loss(y + step) - loss(y - step)) / 2e-5
    assert dy.any()
    expected = trace(network.lstm, of_lstm, x, lengths=lengths, dy=dy)
    values, grads = split(network.trace(params, x, lengths, targets))
    for name, array in values.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    assert_agree(values | grads, expected, rtol=1e-7, atol=1e-8)


@pytest.fixture(scope="module")
def fitted():
    """Two classes, told apart by the sign of the second of three features."""
    rng = np.random.default_rng(0)
    labels = rng.choice(["minus", "plus"], 40)
    sequences = [rng.normal(loc=5, size=(rng.integers(3, 6), 3)) for _ in labels]
    for sequence, label in zip(sequences, labels, strict=True):
        sequence[:, 1] = np.abs(sequence[:, 1]) * (1 if label == "plus" else -1)
    classifier = SequenceClassifier(
        hidden_size=4, num_layers=2, epochs=8, batch_size=8, learning_rate=0.02, dropout=0.4
    )
    classifier.fit(sequences, labels)
    assert classifier.score(sequences, labels) == 1
    return classifier, sequences[:6], labels[:6]


def test_a_classifiers_trace_is_its_networks_on_scaled_features(fitted):
    classifier, (sequence, *_), _ = fitted
    x = ((sequence.astype(np.float32) - classifier.mean_) / classifier.scale_)[:, None]
    for target, label in enumerate(["minus", "plus"]):
        expected = classifier.network_.trace(
            classifier.params_, x, np.array([len(sequence)]), np.array([target])
        )
        found = classifier.trace(sequence, label)
        assert found.keys() == expected.keys()
        assert len(found) == 2 * 2 * 2 * len(NAMES)
        for name, array in found.items():
            assert array.dtype == np.float32
            assert array.shape == (len(sequence), 4)
            np.testing.assert_array_equal(array, expected[name][:, 0], err_msg=name)


def test_a_classifiers_trace_explains_its_prediction_unless_told_otherwise(fitted):
    classifier, sequences, labels = fitted
    assert set(labels) == {"minus", "plus"}
    for sequence, label in zip(sequences, labels, strict=True):
        by_default, as_named = classifier.trace(sequence), classifier.trace(sequence, label)
        other = classifier.trace(sequence, "plus" if label == "minus" else "minus")
        for name, array in by_default.items():
            np.testing.assert_array_equal(array, as_named[name], err_msg=name)
            assert np.array_equal(array, other[name]) != name.startswith("d"), name


def test_a_classifiers_trace_refuses_what_it_does_not_know(fitted):
    classifier, (sequence, *_), _ = fitted
    for label in ("sideways", 7):
        with pytest.raises(DataError, match=f"label {label!r} does not occur in the training data"):
            classifier.trace(sequence, label)
    with pytest.raises(DataError, match=r"not \(T, 3\)"):
        classifier.trace(sequence[:, :2], "plus")
    for label in (None, "plus"):
        with pytest.raises(NotFittedError, match="call fit first"):
            SequenceClassifier().trace(sequence, label)


def test_numbers_as_labels_are_not_mixed_up_with_their_names(fitted):
    """Not even where there are many classes, which numpy's sets compare as text."""
    _, sequences, _ = fitted
    classifier = SequenceClassifier(hidden_size=2, epochs=1).fit(sequences * 5, range(30))
    expected, other = (classifier.trace(sequences[0], label) for label in (3, 20))
    for name, array in classifier.trace(sequences[0], np.int64(3)).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
        assert np.array_equal(array, other[name]) != name.startswith("d"), name
    for label in (30, "3", 2.5):
        with pytest.raises(DataError, match=f"label {label!r} does not occur in the training data"):
            classifier.trace(sequences[0], label)


def test_an_audio_classifiers_trace_takes_a_file_its_samples_or_its_features(trained, tones):
    path = tones / "rising" / "3.wav"
    samples, _ = soundfile.read(path, dtype="float32")
    (features,) = trained.extract([path])
    expected = SequenceClassifier.trace(trained, features, "rising")
    assert expected["h_l0"].shape == (len(features), 8)
    for recording in (path, str(path), samples, features):
        for label in ("rising", None):  # which is what it predicts
            found = trained.trace(recording, label)
            assert found.keys() == expected.keys()
            for name, array in found.items():
                np.testing.assert_array_equal(array, expected[name], err_msg=name)
    with pytest.raises(DataError, match="label 'sideways' does not occur"):
        trained.trace(path, "sideways")


def test_an_audio_classifier_has_to_be_fitted_first(tiny, tones):
    for label in (None, "rising"):
        with pytest.raises((NotFittedError, SettingError), match="call fit first"):
            tiny().trace(tones / "rising" / "3.wav", label)
