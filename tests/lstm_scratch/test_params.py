"""Frozen parameters: copies that stay as they are, with which every pass gives the same bits."""

import copy
import operator
import pickle

import numpy as np
import pytest

from lstm_scratch.layers.stack import LSTM
from lstm_scratch.params import FrozenParams, freeze, prefixed, renamed, under

KINDS = [np.float32, np.float64]


def draw():
    """Parameters of several dtypes and shapes under two prefixes; no two numbers are alike."""
    return {
        "lstm.weight": np.arange(1, 7.0).reshape(2, 3),
        "lstm.bias": np.arange(7, 12, dtype=np.float32),
        "linear.weight": np.arange(12, 16.0).reshape(4, 1),
        "lstm_2.bias": np.array([16.0]),
    }


def assert_same(ours, theirs):
    """Fail unless parameters have the same names, in the same order, and the same bits."""
    assert list(ours) == list(theirs)
    for name, array in theirs.items():
        assert_same_bits(ours[name], array, name)


def assert_same_bits(ours, theirs, name=""):
    assert ours.dtype == theirs.dtype, name
    bits = f"u{theirs.itemsize}"
    np.testing.assert_array_equal(ours.view(bits), theirs.view(bits), err_msg=name)


def assert_frozen(params):
    assert type(params) is FrozenParams
    for array in params.values():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        with pytest.raises(ValueError, match="read-only"):
            array += 1


def test_frozen_parameters_are_copies():
    params = draw()
    frozen = freeze(params)
    for array in params.values():
        array *= -1
    params["lstm.bias"] = np.zeros(3)
    del params["linear.weight"]
    assert_same(frozen, draw())


def test_freezing_leaves_the_original_free():
    params = draw()
    freeze(params)
    params["lstm.bias"][1] = 100
    params["more"] = np.ones(2)
    assert params["lstm.bias"].tolist() == [7, 100, 9, 10, 11]
    assert type(params) is dict


def test_frozen_arrays_refuse_writing():
    frozen = freeze(draw())
    assert_frozen(frozen)
    assert_same(frozen, draw())


@pytest.mark.parametrize(
    "change",
    [
        lambda p: operator.setitem(p, "lstm.bias", np.zeros(5)),
        lambda p: operator.setitem(p, "new", np.zeros(5)),
        lambda p: operator.delitem(p, "lstm.bias"),
        lambda p: p.update({"lstm.bias": np.zeros(5)}),
        lambda p: p.update(new=np.zeros(5)),
        lambda p: p.update(),
        lambda p: operator.ior(p, {"lstm.bias": np.zeros(5)}),
        lambda p: p.pop("lstm.bias"),
        lambda p: p.pop("new", None),
        lambda p: p.popitem(),
        lambda p: p.clear(),
        lambda p: p.setdefault("new", np.zeros(5)),
        lambda p: p.setdefault("lstm.bias"),
    ],
    ids=[
        *("setitem", "setitem new", "delitem", "update", "update by keyword", "update by nothing", "|="),
        *("pop", "pop default", "popitem", "clear", "setdefault", "setdefault of a name that is there"),
    ],
)
def test_frozen_parameters_refuse_to_change(change):
    frozen = freeze(draw())
    with pytest.raises(TypeError) as caught:
        change(frozen)
    assert str(caught.value) == "frozen parameters stay as they are: change dict(params) and freeze that"
    assert_same(frozen, draw())


def test_a_dict_of_frozen_parameters_may_be_changed_and_frozen():
    frozen, bias = freeze(draw()), np.array([5.0, 6.0])
    for changed in (dict(frozen), frozen.copy(), frozen | {}):
        assert type(changed) is dict
        changed["lstm.bias"] = bias
        assert_same(freeze(changed), draw() | {"lstm.bias": bias})
    assert_same(frozen, draw())


def test_freezing_what_is_frozen_gives_the_same_object():
    frozen = freeze(draw())
    assert freeze(frozen) is frozen
    part = under("lstm", frozen)
    assert freeze(part) is part


@pytest.mark.parametrize("made", [object(), None], ids=["something", "None"])
def test_what_is_derived_is_derived_once_by_name(made):
    frozen, calls = freeze(draw()), []

    def derive(name, result=made):
        return frozen.once(name, lambda: (calls.append(name), result)[1])

    assert derive("a") is made
    assert derive("a", "another") is made
    assert calls == ["a"]
    assert derive("b", "of b") == "of b"
    assert derive("a") is made
    assert derive("b") == "of b"
    assert calls == ["a", "b"]


def test_what_could_not_be_derived_is_tried_again():
    frozen = freeze(draw())
    with pytest.raises(ZeroDivisionError):
        frozen.once("a", lambda: 1 / 0)
    assert frozen.once("a", lambda: 7) == 7


def test_each_has_its_own_derived():
    params = draw()
    one, two = freeze(params), freeze(params)
    assert one.once("a", lambda: 1) == 1
    assert two.once("a", lambda: 2) == 2
    assert under("lstm", one).once("a", lambda: 3) == 3
    assert one.once("a", lambda: 4) == 1


PART = {"weight": draw()["lstm.weight"], "bias": draw()["lstm.bias"]}


def upper_biases(params, key="biases"):
    """`renamed`: what ends in bias, in capitals."""
    return renamed(params, key, lambda name: name.upper() if name.endswith("bias") else None)


BIASES = {"LSTM.BIAS": draw()["lstm.bias"], "LSTM_2.BIAS": draw()["lstm_2.bias"]}
parts = pytest.mark.parametrize(
    ("pick", "expected", "names"),
    [
        (lambda p: under("lstm", p), PART, {"weight": "lstm.weight", "bias": "lstm.bias"}),
        (upper_biases, BIASES, {"LSTM.BIAS": "lstm.bias", "LSTM_2.BIAS": "lstm_2.bias"}),
        (lambda p: under("nothing", p), {}, {}),
    ],
    ids=["under", "renamed", "under nothing"],
)


@parts
def test_a_part_of_frozen_parameters_is_frozen_and_the_same_object_each_time(pick, expected, names):
    frozen = freeze(draw())
    part = pick(frozen)
    assert_frozen(part)
    assert_same(part, expected)
    assert all(part[new] is frozen[old] for new, old in names.items())
    assert pick(frozen) is part
    assert pick(freeze(draw())) is not part
    assert_same(frozen, draw())


@parts
def test_a_part_of_plain_parameters_is_a_fresh_dict_of_the_same_arrays(pick, expected, names):
    params = draw()
    part = pick(params)
    assert type(part) is dict
    assert_same(part, expected)
    assert all(part[new] is params[old] for new, old in names.items())
    part["new"] = np.ones(3)
    again = pick(params)
    assert_same(again, expected)
    assert again is not part
    assert_same(params, draw())


def test_parts_of_frozen_parameters_do_not_stand_for_each_other():
    frozen = freeze(draw())
    for _ in range(2):
        assert_same(under("lstm", frozen), PART)
        assert_same(under("lstm_2", frozen), {"bias": np.array([16.0])})
        assert_same(under("linear", frozen), {"weight": np.arange(12, 16.0).reshape(4, 1)})
        assert_same(upper_biases(frozen), BIASES)


def test_parts_of_parts_are_the_same_objects_each_time():
    frozen = freeze(prefixed("network", draw()))
    part = under("lstm", under("network", frozen))
    assert_same(part, PART)
    assert_frozen(part)
    assert under("lstm", under("network", frozen)) is part


@pytest.mark.parametrize(
    "duplicate",
    [
        copy.deepcopy,
        copy.copy,
        *(lambda p, n=n: pickle.loads(pickle.dumps(p, n)) for n in range(pickle.HIGHEST_PROTOCOL + 1)),
    ],
    ids=["deepcopy", "copy", *(f"pickle {n}" for n in range(pickle.HIGHEST_PROTOCOL + 1))],
)
def test_a_copy_is_frozen_with_equal_values_and_derives_anew(duplicate):
    frozen = freeze(draw())
    frozen.once("a", lambda: lambda: "no function of a function can be pickled")
    under("lstm", frozen)
    other = duplicate(frozen)
    assert other is not frozen
    assert_same(other, draw())
    assert_frozen(other)
    assert not any(np.shares_memory(other[name], frozen[name]) for name in frozen)
    assert other.once("a", lambda: 5) == 5
    assert under("lstm", other) is not under("lstm", frozen)
    with pytest.raises(TypeError, match="stay as they are"):
        other["lstm.bias"] = 0


T = 5
cases = pytest.mark.parametrize(
    ("B", "lengths"),
    [(1, None), (7, None), (1, [3]), (7, [3, 0, 5, 2, 5, 1, 4])],
    ids=["one row", "rows", "one row, lengths", "rows, lengths"],
)
kinds = pytest.mark.parametrize("dtype", KINDS)
# Of the second, float32 and float64 fill several registers and leave a part of one.
sizes = pytest.mark.parametrize(("I", "H"), [(4, 2), (13, 35)])


def stack(I, H, engine, dtype, B, seed=0):
    """Two layers of two directions, their parameters, and inputs and states."""
    rng = np.random.default_rng([seed, I, H, B])
    lstm = LSTM(I, H, num_layers=2, bidirectional=True, engine=engine)
    params = {k: a + 0.1 * rng.normal(size=a.shape).astype(dtype) for k, a in lstm.init(rng, dtype).items()}
    shapes = {"x": (T, B, I), "h0": (4, B, H), "c0": (4, B, H)}
    return lstm, params, {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def assert_same_arrays(ours, theirs):
    for name, our, their in zip(("y or dx", "h", "c"), ours, theirs, strict=True):
        assert_same_bits(our, their, name)


@cases
@kinds
@sizes
def test_inference_gives_the_same_bits_with_frozen_parameters(engine, I, H, dtype, B, lengths):
    lstm, params, inputs = stack(I, H, engine, dtype, B)
    lengths = None if lengths is None else np.array(lengths)
    expected, _ = lstm.forward(params, **inputs, lengths=lengths, inference=True)
    frozen = freeze(params)
    for array in params.values():
        array[...] = np.nan  # it is copies that count, from before the first call on
    for given in (frozen, frozen, copy.deepcopy(frozen)):
        outputs, _ = lstm.forward(given, **inputs, lengths=lengths, inference=True)
        assert_same_arrays(outputs, expected)


def test_one_frozen_object_serves_batches_of_every_size(engine):
    lstm, params, _ = stack(13, 35, engine, np.float32, 1)
    frozen = freeze(params)
    for B in (7, 1, 4, 7, 18, 1):
        _, _, inputs = stack(13, 35, engine, np.float32, B)
        expected, _ = lstm.forward(params, **inputs, inference=True)
        outputs, _ = lstm.forward(frozen, **inputs, inference=True)
        assert_same_arrays(outputs, expected)


def test_two_frozen_objects_do_not_stand_for_each_other(engine):
    lstm, params, inputs = stack(4, 2, engine, np.float64, 7)
    others = {name: array - 0.25 for name, array in params.items()}
    expected = [lstm.forward(p, **inputs, inference=True)[0] for p in (params, others)]
    assert (expected[0][0] != expected[1][0]).all()
    frozen = [freeze(params), freeze(others)]
    for _ in range(2):
        for given, wanted in zip(frozen, expected, strict=True):
            assert_same_arrays(lstm.forward(given, **inputs, inference=True)[0], wanted)


@cases
@kinds
@sizes
def test_gradients_are_the_same_bits_with_frozen_parameters(engine, I, H, dtype, B, lengths):
    lstm, params, inputs = stack(I, H, engine, dtype, B)
    lengths = None if lengths is None else np.array(lengths)
    rng = np.random.default_rng(1)
    given = [rng.normal(size=shape).astype(dtype) for shape in ((T, B, 2 * H), (4, B, H), (4, B, H))]

    def run(params):
        outputs, cache = lstm.forward(params, **inputs, lengths=lengths)
        # A second backward pass from one cache may do the forward pass again.
        return outputs, *(lstm.backward(params, cache, *given) for _ in range(2))

    expected = run(params)
    frozen = freeze(params)
    lstm.forward(frozen, **inputs, lengths=lengths, inference=True)
    for _ in range(2):
        outputs, *passes = run(frozen)
        assert_same_arrays(outputs, expected[0])
        for (ours, grads), (theirs, their_grads) in zip(passes, expected[1:], strict=True):
            assert_same_arrays(ours, theirs)
            assert_same(grads, their_grads)
            assert all(grad.flags.writeable for grad in grads.values())


@pytest.fixture
def packings(monkeypatch):
    """Counts the times that the kernels packed weights: how often since the last time it was called."""
    from lstm_scratch.kernels import engine as kernels

    calls, pack_gates = [], kernels.pack_gates
    monkeypatch.setattr(kernels, "pack_gates", lambda *arrays: (calls.append(1), pack_gates(*arrays))[1])

    def since_then():
        number = len(calls)
        calls.clear()
        return number

    return since_then


@pytest.mark.compiled
@pytest.mark.parametrize("B", [1, 7])
def test_weights_are_packed_in_the_first_call_only(packings, B):
    """One packing for each of two layers and two directions."""
    lstm, params, inputs = stack(13, 35, "numba", np.float32, B)
    frozen = freeze(params)

    def forward(params, **options):
        _, cache = lstm.forward(params, **inputs, **options)
        return cache

    for expected in (4, 4, 4):
        forward(params, inference=True)
        assert packings() == expected, "plain ones may have changed"
    for expected in (4, 0, 0):
        forward(frozen, inference=True)
        assert packings() == expected
    cache = forward(frozen)
    dy = np.ones((T, B, 70), np.float32)
    for _ in range(2):
        lstm.backward(frozen, cache, dy)
    assert packings() == 0
    forward(copy.deepcopy(frozen))
    assert packings() == 4, "a copy packs its own"


@pytest.mark.compiled
def test_a_networks_part_is_packed_in_the_first_call_only(packings):
    lstm, params, inputs = stack(4, 2, "numba", np.float64, 7)
    frozen = freeze(prefixed("lstm", params))
    for expected in (4, 0, 0):
        lstm.forward(under("lstm", frozen), **inputs, inference=True)
        assert packings() == expected


@pytest.mark.parametrize("B", [1, 7])
def test_frozen_arrays_keep_their_order_in_memory_and_so_their_bits(engine, B):
    lstm, params, inputs = stack(13, 35, engine, np.float32, B)
    params = {name: np.asfortranarray(array) for name, array in params.items()}
    expected, _ = lstm.forward(params, **inputs, inference=True)
    frozen = freeze(params)
    for given in (frozen, copy.deepcopy(frozen)):
        assert_same_arrays(lstm.forward(given, **inputs, inference=True)[0], expected)


def test_frozen_arrays_cannot_be_made_writable_again():
    frozen = freeze({"weight": np.ones((3, 2))})
    with pytest.raises(ValueError, match="WRITEABLE"):
        frozen["weight"].flags.writeable = True
