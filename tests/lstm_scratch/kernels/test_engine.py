"""The kernels' two functions against those of `lstm.py`: values, every gradient, and what bits depend on."""

import itertools

import numpy as np
import pytest

from lstm_scratch import lstm
from lstm_scratch.engines import ENGINES, numpy_backward, numpy_forward
from lstm_scratch.kernels import engine as kernels
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.lstm import LSTMCache, valid_steps
from lstm_scratch.variants import PLAIN, Variant, VariantCache

NUMBA = kernels.lstm_forward, kernels.lstm_backward
NUMPY = lstm.lstm_forward, lstm.lstm_backward
KERNELS = {getattr(kernels, name) for name in vars(kernels) if hasattr(getattr(kernels, name), "signatures")}
STATES = ("h0", "c0", "dh_n", "dc_n")
VALUES = ("y", "h_n", "c_n")
# Below, at and above whole registers of 16, 8 and 4 numbers, and blocks of four registers.
WIDTHS = [1, 2, 15, 16, 17, 33, 64, 100]
INPUTS = [1, 13, 40, 41]
BATCHES = [*range(1, 10), 17]
STEPS = [0, 1, 5]

kinds = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def assert_close(ours, theirs, rtol_values, rtol_grads, label):
    """Fail unless every array agrees, counted relative to its largest entry."""
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        assert ours[name].shape == array.shape, (label, name)
        error = np.abs(ours[name] - array).max(initial=0)
        bound = (rtol_values if name in VALUES else rtol_grads) * np.abs(array).max(initial=0)
        assert error <= bound, f"{label}: {name} is off by {error:.1e}, bound {bound:.1e}"


def assert_as_the_chapter(a, label):
    """Against `lstm.py` in float64, whatever the dtype."""
    bounds = {np.float32: (2e-6, 3e-6), np.float64: (1e-14, 1e-13)}[a.x.dtype.type]
    found = a.run(*NUMBA)
    assert {array.dtype for array in found.values()} == {a.x.dtype}, label
    assert_close(found, a.astype(np.float64).run(*NUMPY), *bounds, label)
    return found


@kinds
@pytest.mark.parametrize("H", WIDTHS)
def test_values_and_gradients_are_the_chapters_whatever_the_sizes(draw, H, dtype):
    """Whole rows and uneven ones in turn."""
    cases = itertools.product(INPUTS, BATCHES, STEPS)
    for k, (I, B, T) in enumerate(cases):
        for lengths in ("uneven", None)[k % 2 :: 2]:
            a = draw(H, I, B, T, dtype, lengths)
            assert_as_the_chapter(a, f"H={H} I={I} B={B} T={T} lengths={a.lengths}")


@kinds
@pytest.mark.parametrize(
    ("H", "I", "B", "T"), [(3, 5, 40, 7), (47, 9, 11, 30), (20, 3, 150, 4), (130, 2, 3, 3), (256, 7, 33, 2)]
)
@pytest.mark.parametrize("lengths", [None, "uneven"])
def test_values_and_gradients_are_the_chapters_for_larger_ones(draw, H, I, B, T, lengths, dtype):
    """Weights' gradients are summed in several chunks of rows; H is above a chunk's rows, too."""
    assert_as_the_chapter(draw(H, I, B, T, dtype, lengths), "")


@kinds
@pytest.mark.parametrize("lengths", [None, [3, 0, 5, 2, 5]], ids=str)
@pytest.mark.parametrize(
    "given", [given for n in range(5) for given in itertools.combinations(STATES, n)], ids=str
)
def test_states_and_their_gradients_may_be_left_out(draw, given, lengths, dtype, assert_same_bits):
    a = draw(17, 3, 5, 5, dtype, lengths if lengths is None else np.array(lengths), given)
    found = assert_as_the_chapter(a, given)
    zeros = {name: np.zeros((5, 17), dtype) for name in STATES if name not in given}
    explicit = a._replace(**zeros).run(*NUMBA)
    for name in explicit:
        np.testing.assert_array_equal(found[name], explicit[name], err_msg=name)


@kinds
@pytest.mark.parametrize("lengths", [None, "uneven", "none"])
@pytest.mark.parametrize("B", [1, 2, 4, 5, 9])
def test_without_a_cache_the_values_are_the_same_bits(draw, B, lengths, dtype, assert_same_bits):
    """On both sides of the number of rows from which the inputs' product is done step by step."""
    for H in (1, 17, 64):
        a = draw(H, 5, B, 6, dtype, np.zeros(B, int) if lengths == "none" else lengths)
        arguments = a.params, a.x, a.h0, a.c0, a.lengths
        outputs, cache = kernels.lstm_forward(*arguments)
        without, nothing = kernels.lstm_forward(*arguments, keep=False)
        assert cache is not None
        assert nothing is None
        assert_same_bits(dict(zip(VALUES, without, strict=True)), dict(zip(VALUES, outputs, strict=True)))


def row_results(a, found, b):
    """What is of row b alone."""
    length = len(a.x) if a.lengths is None else a.lengths[b]
    of_steps = {name: found[name][:length, b] for name in ("y", "dx")}
    return of_steps | {name: found[name][b] for name in ("h_n", "c_n", "dh0", "dc0")}


@kinds
@pytest.mark.parametrize("lengths", [None, "uneven"])
@pytest.mark.parametrize(("H", "B"), [(3, 4), (17, 11), (70, 17)])
def test_a_row_has_the_same_bits_in_any_batch_and_any_order(draw, H, B, lengths, dtype, assert_same_bits):
    a = draw(H, 13, B, 7, dtype, lengths)
    together = a.run(*NUMBA)
    alone = [a.rows([b]).run(*NUMBA) for b in range(B)]
    shuffled = np.random.default_rng(1).permutation(B)
    others = a.rows(shuffled).run(*NUMBA)
    fewer = a.rows(shuffled[: B // 2]).run(*NUMBA)
    for b in range(B):
        expected = row_results(a, together, b)
        assert_same_bits(row_results(a.rows([b]), alone[b], 0), expected)
        place = int(np.flatnonzero(shuffled == b)[0])
        assert_same_bits(row_results(a.rows(shuffled), others, place), expected)
        if place < B // 2:
            assert_same_bits(row_results(a.rows(shuffled[: B // 2]), fewer, place), expected)


@kinds
def test_padding_at_the_end_changes_no_bit(draw, dtype, assert_same_bits):
    """The same rows in a batch of more steps."""
    a = draw(17, 5, 6, 4, dtype, np.full(6, 4))
    longer = {k: np.concatenate([getattr(a, k), np.full_like(getattr(a, k), np.nan)]) for k in ("x", "dy")}
    found, expected = a._replace(**longer).run(*NUMBA), a._replace(lengths=None).run(*NUMBA)
    for name in ("y", "dx"):
        np.testing.assert_array_equal(found[name][4:], 0, err_msg=name)
        found[name] = found[name][:4]
    assert_same_bits(found, expected)


@kinds
@pytest.mark.parametrize("lengths", [None, "uneven"])
@pytest.mark.parametrize("B", [2, 9])
def test_every_backward_pass_from_one_cache_gives_what_the_first_gave(
    draw, B, lengths, dtype, assert_same_bits
):
    a = draw(20, 3, B, 6, dtype, lengths)
    _, cache = kernels.lstm_forward(a.params, a.x, a.h0, a.c0, a.lengths)

    def back(factor):
        inputs, grads = kernels.lstm_backward(
            a.params, cache, *(dtype(factor) * d for d in (a.dy, a.dh_n, a.dc_n))
        )
        return dict(zip(("dx", "dh0", "dc0"), inputs, strict=True)) | grads

    first = back(1)
    copies = {name: array.copy() for name, array in first.items()}
    doubled = back(2)
    assert_same_bits(back(1), copies)
    assert_same_bits(first, copies)  # nor is it written over
    for name, array in copies.items():
        np.testing.assert_array_equal(doubled[name], 2 * array, err_msg=name)


@kinds
@pytest.mark.parametrize("lengths", [None, "uneven"])
def test_what_is_given_is_left_as_it_is_and_not_handed_back(draw, lengths, dtype, assert_same_bits):
    a = draw(16, 16, 6, 5, dtype, lengths)
    before = {name: array.copy() for name, array in a.arrays().items()}
    found = a.run(*NUMBA)
    assert_same_bits(a.arrays(), before)
    for name, array in found.items():
        for other_name, other in (a.arrays() | found).items():
            assert name == other_name or not np.shares_memory(array, other), f"{name} and {other_name}"


@pytest.mark.parametrize("lengths", [None, np.array([3, 0, 5, 2])], ids=str)
def test_outputs_that_are_changed_change_no_gradient(lengths):
    fast = LSTM(3, 16, engine="numba")
    params, x = fast.init(np.random.default_rng(0)), np.ones((5, 4, 3), np.float32)
    found = []
    for change in (False, True):
        (y, h_n, c_n), cache = fast.forward(params, x, lengths=lengths)
        dy = y.copy()
        for output in (y, h_n, c_n) if change else ():
            output[:] = np.nan
        found.append(fast.backward(params, cache, dy)[1])
    for name, grad in found[0].items():
        np.testing.assert_array_equal(found[1][name], grad, err_msg=name)
        assert grad.any()


def every_second(array):
    """A view with gaps along every axis."""
    spread = np.full([2 * n for n in array.shape], np.nan, array.dtype)
    view = spread[tuple([slice(None, None, 2)] * array.ndim)]
    view[...] = array
    return view


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def backwards(array):
    return array[::-1].copy()[::-1]


def unaligned(array):
    raw = np.empty(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


@kinds
@pytest.mark.parametrize("lengths", [None, "uneven"])
@pytest.mark.parametrize("B", [3, 6])
@pytest.mark.parametrize("memory", [every_second, np.asfortranarray, backwards, read_only, unaligned])
def test_arrays_may_lie_in_memory_in_any_way(draw, memory, B, lengths, dtype, assert_same_bits):
    """As in a slice, a converter's transposed weights, a file that is mapped into memory."""
    a = draw(17, 5, B, 4, dtype, lengths)
    expected = a.run(*NUMBA)
    compiled = {kernel: len(kernel.signatures) for kernel in KERNELS}
    assert_same_bits(a.map(memory).run(*NUMBA), expected)
    assert {kernel: len(kernel.signatures) for kernel in KERNELS} == compiled, "nothing is compiled anew"


@kinds
@pytest.mark.parametrize("B", [3, 6])
def test_nothing_at_the_padding_is_looked_at(draw, B, dtype, assert_same_bits):
    a = draw(17, 5, B, 6, dtype, np.array([4, 0, 5, 6, 0, 1][:B]))
    x, dy = a.x.copy(), a.dy.copy()
    padding = ~valid_steps(a.lengths, 6, B)[:, :, 0]
    x[padding] = dy[padding] = np.nan
    found = a._replace(x=x, dy=dy).run(*NUMBA)
    assert_same_bits(found, a.run(*NUMBA))
    for name in ("y", "dx"):
        np.testing.assert_array_equal(found[name][padding], 0, err_msg=name)
        assert (found[name][~padding] != 0).all(), name


@kinds
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("keep", [True, False])
def test_one_number_that_is_none_spoils_its_row_from_there_on_alone(draw, bad, keep, dtype):
    """As in `lstm.py`: NaN is neither swallowed nor spread to other rows. inf saturates the gates."""
    a = draw(17, 5, 7, 6, dtype)
    a.x[2, 3, 1] = bad
    (y, h_n, c_n), _ = kernels.lstm_forward(a.params, a.x, a.h0, a.c0, keep=keep)
    with np.errstate(all="ignore"):
        (expected, *states), _ = lstm.lstm_forward(a.params, a.x, a.h0, a.c0)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-5)
    for found, state in zip((h_n, c_n), states, strict=True):
        np.testing.assert_allclose(found, state, rtol=2e-5, atol=2e-5)
    assert np.isnan(y).any() == np.isnan(bad)


@kinds
def test_huge_sums_saturate_the_gates_without_a_warning(draw, dtype):
    a = draw(5, 3, 4, 6, dtype)
    a = a._replace(x=a.x * dtype(1e6))
    found, expected = a.run(*NUMBA), a.astype(np.float64).run(*NUMPY)
    assert_close(found, expected, 1e-5, 1e-4, "huge")


@pytest.mark.parametrize("lengths", [None, "uneven"])
def test_gradients_are_derivatives(draw, lengths):
    """Not by comparison with the chapter, but by differences of the loss along a direction."""
    a = draw(7, 3, 6, 5, np.float64, lengths)

    def loss(b):
        (y, h_n, c_n), _ = kernels.lstm_forward(b.params, b.x, b.h0, b.c0, b.lengths)
        return (y * a.dy).sum() + (h_n * a.dh_n).sum() + (c_n * a.dc_n).sum()

    found, rng = a.run(*NUMBA), np.random.default_rng(0)
    for name in ("x", "h0", "c0", *a.params):
        array = a.arrays()[name]
        direction = rng.normal(size=array.shape)

        def at(step, name=name, array=array, direction=direction):
            moved = array + step * direction
            if name in a.params:
                return loss(a._replace(params=a.params | {name: moved}))
            return loss(a._replace(**{name: moved}))

        slope = (8 * (at(1e-3) - at(-1e-3)) - (at(2e-3) - at(-2e-3))) / 12e-3
        assert abs(slope - (found[f"d{name}"] * direction).sum()) < 1e-8 * max(1, abs(slope)), name


# --- what the engine hands over --------------------------------------------------------------------------


def forward(name, a, variant=PLAIN, rng=None, inference=False):
    return ENGINES[name].forward(
        a.params, a.x, a.h0, a.c0, a.lengths, variant, rng, inference=inference, num_threads=None
    )


def everything(name, a, **options):
    """All that an engine gives, with gradients in the dtype of its outputs."""
    (y, h_n, c_n), cache = forward(name, a, **options)
    d = [array.astype(y.dtype) for array in (a.dy, a.dh_n, a.dc_n)]
    (dx, dh0, dc0), grads = ENGINES[name].backward(a.params, cache, *d, input_gradient=True)
    values = {"y": y, "h_n": h_n, "c_n": c_n, "dx": dx, "dh0": dh0, "dc0": dc0}
    return values | {f"d{k}": grad for k, grad in grads.items()}, cache


@pytest.fixture
def no_kernels(monkeypatch):
    """Whoever calls a kernel fails."""

    def called(*arguments, **options):
        raise AssertionError("a kernel was called")

    monkeypatch.setattr(kernels, "lstm_forward", called)
    monkeypatch.setattr(kernels, "lstm_backward", called)


def test_without_kernels_the_plain_case_would_fail(draw, no_kernels):
    """Else the tests below would show nothing."""
    with pytest.raises(AssertionError, match="a kernel was called"):
        forward("numba", draw(3, 2, 4, 5))


OTHER_KINDS = {
    "complex128": lambda a: a.map(lambda array: array + 0.1j * array[::-1]),
    "complex64": lambda a: a.astype(np.complex64),
    "float16": lambda a: a.astype(np.float16),
    "big-endian": lambda a: a.astype(np.dtype(np.float64).newbyteorder("S")),
    "whole numbers": lambda a: a._replace(x=(4 * a.x).astype(int)),
    "x alone is float32": lambda a: a._replace(x=a.x.astype(np.float32)),
    "h0 alone is float32": lambda a: a._replace(h0=a.h0.astype(np.float32)),
    "c0 alone is float32": lambda a: a._replace(c0=a.c0.astype(np.float32)),
    "the bias alone is float32": lambda a: a._replace(
        params=a.params | {"bias": a.params["bias"].astype(np.float32)}
    ),
    "parameters alone are float32": lambda a: a._replace(
        params={k: v.astype(np.float32) for k, v in a.params.items()}
    ),
}


@pytest.mark.parametrize("change", OTHER_KINDS.values(), ids=OTHER_KINDS.keys())
def test_other_kinds_of_numbers_are_numpys(draw, change, no_kernels, assert_same_bits):
    a = change(draw(5, 3, 4, 6, lengths="uneven"))
    found, cache = everything("numba", a)
    assert isinstance(cache, LSTMCache)
    expected, _ = everything("numpy", a)
    assert found["y"].any()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize(
    "options",
    [{"variant": Variant(peepholes=True)}, {"variant": Variant(coupled=True)}, {"proj_size": 2}],
    ids=str,
)
@pytest.mark.parametrize("inference", [False, True])
def test_variants_and_projections_are_numpys(options, inference, no_kernels):
    plain = LSTM(3, 5, **options)
    fast = LSTM(3, 5, engine="numba", **options)
    params = plain.init(np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(6, 4, 3)).astype(np.float32)
    (y, h_n, c_n), cache = fast.forward(params, x, inference=inference)
    assert isinstance(cache.passes[0], VariantCache)
    expected, plain_cache = plain.forward(params, x)
    for found, array in zip((y, h_n, c_n), expected, strict=True):
        np.testing.assert_array_equal(found, array)
    _, grads = fast.backward(params, cache, y)
    for name, grad in plain.backward(params, plain_cache, y)[1].items():
        np.testing.assert_array_equal(grads[name], grad, err_msg=name)


@kinds
def test_the_plain_layer_is_computed_by_kernels(draw, dtype):
    """The engine's own: neither handed over nor the same bits as numpy's."""
    a = draw(20, 7, 6, 5, dtype, "uneven")
    found, cache = everything("numba", a)
    assert isinstance(cache, kernels.KernelCache)
    of_kernels = a.run(*NUMBA)
    for name, array in of_kernels.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    of_numpy, _ = everything("numpy", a)
    assert any((found[name] != of_numpy[name]).any() for name in found)
    assert isinstance(
        numpy_forward(a.params, a.x, *[None] * 3, PLAIN, None, inference=False, num_threads=None)[1],
        LSTMCache,
    )


@pytest.mark.parametrize("shape", [{}, {"num_layers": 2, "bidirectional": True}], ids=str)
def test_going_back_by_a_pass_for_inference_is_refused_in_one_line(shape):
    lstm = LSTM(3, 5, engine="numba", **shape)
    params = lstm.init(np.random.default_rng(0))
    (y, h_n, c_n), cache = lstm.forward(params, np.ones((6, 4, 3), np.float32), inference=True)
    with pytest.raises(ValueError, match="was for inference") as caught:
        lstm.backward(params, cache, y)
    assert "\n" not in str(caught.value)
    for found, array in zip(
        (y, h_n, c_n), lstm.forward(params, np.ones((6, 4, 3), np.float32))[0], strict=True
    ):
        np.testing.assert_array_equal(found, array)


def test_a_numpy_cache_goes_back_by_numpy(draw):
    a = draw(5, 3, 4, 6)
    _, cache = numpy_forward(a.params, a.x, a.h0, a.c0, None, PLAIN, None, inference=False, num_threads=None)
    found = ENGINES["numba"].backward(a.params, cache, a.dy, a.dh_n, a.dc_n, input_gradient=True)
    expected = numpy_backward(a.params, cache, a.dy, a.dh_n, a.dc_n, input_gradient=True)
    for ours, theirs in zip(found[0], expected[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for name, grad in expected[1].items():
        np.testing.assert_array_equal(found[1][name], grad, err_msg=name)
