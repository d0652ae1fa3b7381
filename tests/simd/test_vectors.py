"""exp, sigmoid, tanh and log of a register: coefficients fitted anew, and errors counted."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
from numba import njit, types
from numba.extending import intrinsic

from simd import vectors
from simd.cpu import REGISTERS

# Of numpy, which computes what we compare with: NaN that signals is converted, and exp overflows.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered", "ignore:overflow encountered")

N_BYTES = REGISTERS.n_bytes


def compiled(function):
    """A loop over the registers of an array that applies one of the functions; y = function(x)."""

    @intrinsic
    def apply(context, array, source, target):
        kind = vectors.Kind(np.dtype(str(array.dtype)))

        def codegen(context, builder, signature, values):
            source, target = (builder.inttoptr(v, kind.vector.as_pointer()) for v in values[1:])
            x = vectors.Vector(builder, kind, builder.load(source, align=kind.n_bytes))
            builder.store(function(x).value, target, align=kind.n_bytes)
            return context.get_dummy_value()

        return types.void(array, types.intp, types.intp), codegen

    @njit(nogil=True)
    def run(x, y):
        for start in range(0, x.size * x.itemsize, N_BYTES):
            apply(x, x.ctypes.data + start, y.ctypes.data + start)

    def over_all(x):
        padded = np.resize(x, -(-x.size // 16) * 16)  # whole registers, whatever their width
        y = np.empty_like(padded)
        run(padded, y)
        return y[: x.size]

    return over_all


@njit(nogil=True)
def largest_error(y, exact, at, ulps, low, high):
    """Largest error in units in the last place of the exact value, and its place, over low <= at <= high.

    `ulps` holds the unit by the exponent's bits.
    """
    worst, place = 0.0, 0
    for n in range(y.size):
        if low <= at[n] <= high:
            bits = np.float32(exact[n]).view(np.uint32)
            error = abs(np.float64(y[n]) - exact[n]) / ulps[(bits >> 23) & 255]
            if not error <= worst:  # also where it is NaN
                worst, place = error, n
    return worst, place


FUNCTIONS = {name: compiled(getattr(vectors, name)) for name in ("exp", "sigmoid", "tanh")}
# What the docstrings promise: units in the last place, and from where to where; by the bytes of a number.
BOUNDS = {
    "exp": (1.1, {4: (-87, 88), 8: (-708, 709)}),
    "sigmoid": (2.5, {4: (-88, np.inf), 8: (-709, np.inf)}),
    "tanh": (2.5, {4: (-np.inf, np.inf), 8: (-np.inf, np.inf)}),
}
LOG = compiled(vectors.log)
BOUNDS["log"] = (1.0, {4: (0, np.finfo(np.float32).max), 8: (0, np.finfo(np.float64).max)})
# The unit in the last place of a float32 by its exponent's bits: below all normal numbers it stays the same.
ULPS = 2.0 ** (np.maximum(np.arange(256), 1) - 150)


def exact(name, x):
    """The function of x in more digits: float64 for float32, long double for float64."""
    wide = x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)
    if name == "sigmoid":
        return 1 / (1 + np.exp(-wide))
    return getattr(np, name)(wide)


def error_in_ulps(name, x, y):
    """Largest error within the bounds' range, in units in the last place, and the number it is at."""
    low, high = BOUNDS[name][1][x.itemsize]
    if x.dtype == np.float32:
        worst, place = largest_error(y, exact(name, x), x, ULPS, low, high)
        return worst, x[place]
    inside = (low <= x) & (x <= high)
    x, y = x[inside], y[inside]
    truth = exact(name, x)
    errors = np.abs(y - truth) / np.spacing(np.abs(truth).astype(np.float64))
    place = int(np.argmax(errors))  # NaN is the largest
    return float(errors[place]), x[place]


functions = pytest.mark.parametrize("name", FUNCTIONS)
kinds = pytest.mark.parametrize("dtype", [np.float32, np.float64])
needs_long_double = pytest.mark.skipif(
    np.finfo(np.longdouble).eps > 2e-19, reason="long double is not longer than double here"
)


def interpolated(places, values):
    """Coefficients of the polynomial through some points, lowest power first."""
    points = len(places)
    # Newton's divided differences, then multiplied out.
    differences = list(values)
    for order in range(1, points):
        for k in range(points - 1, order - 1, -1):
            differences[k] = (differences[k] - differences[k - 1]) / (places[k] - places[k - order])
    coefficients = [Fraction(0)] * points
    for k in range(points - 1, -1, -1):
        shifted = [Fraction(0), *coefficients[:-1]]
        coefficients = [s - places[k] * c for s, c in zip(shifted, coefficients, strict=True)]
        coefficients[0] += differences[k]
    return coefficients


@pytest.mark.parametrize(("n_bytes", "points"), [(4, 5), (8, 11)])
def test_the_coefficients_are_those_of_the_polynomial_through_chebyshev_points(n_bytes, points):
    """Fitted in fractions: nothing is rounded but the points and the function's own series, at 1e-40."""
    half = Fraction(693147180559945309417232121458176568, 2 * 10**36)
    places = [
        half * Fraction(float(np.cos(np.pi * (2 * k + 1) / (2 * points)))).limit_denominator(10**12)
        for k in range(points)
    ]

    def wanted(r):  # (exp(r) - 1 - r) / r**2
        total, term = Fraction(0), Fraction(1, 2)
        for k in range(3, 40):
            total, term = total + term, term * r / k
        return total

    coefficients = interpolated(places, [wanted(r) for r in places])
    ours = vectors.COEFFICIENTS[n_bytes]
    assert len(ours) == points
    # What counts is the polynomial: each term may be off by a part of the rounding of exp(r) itself.
    unit = {4: 2.0**-24, 8: 2.0**-53}[n_bytes]
    for k, (mine, fitted) in enumerate(zip(ours, coefficients, strict=True)):
        assert abs(Fraction(mine) - fitted) * half ** (k + 2) < unit / 16, k
    for r in np.linspace(-float(half), float(half), 1001):
        value = sum(Fraction(c) * Fraction(r) ** k for k, c in enumerate(ours))
        assert abs(value - wanted(Fraction(r))) * Fraction(r) ** 2 < unit * 0.4


@functions
def test_float32_is_within_its_bound_on_a_dense_sample(name):
    """Every 1021st bit pattern, and all those around the bounds of the ranges."""
    patterns = [np.arange(0, 2**32, 1021, dtype=np.uint32)]
    for edge in (-88, -87, -9.02, 9.02, 87, 88, 17, 0.34657359):
        around = int(np.float32(edge).view(np.uint32))
        patterns.append(np.arange(around - 3000, around + 3000, dtype=np.uint32))
    x = np.concatenate(patterns).view(np.float32)
    worst, at = error_in_ulps(name, x, FUNCTIONS[name](x))
    assert BOUNDS[name][0] / 2 < worst <= BOUNDS[name][0], f"{worst} at {at!r}"


@pytest.mark.long
@functions
def test_float32_is_within_its_bound_for_every_number_there_is(name):
    def chunk(first):
        x = np.arange(first, first + 2**22, dtype=np.int64).astype(np.uint32).view(np.float32)
        y = FUNCTIONS[name](x)
        np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
        low, high = BOUNDS[name][1][4]
        saturated = {"exp": np.inf, "sigmoid": 1, "tanh": 1}[name]
        assert (y[x > high] == saturated).all()
        assert (y[x < low] == 0).all()
        return error_in_ulps(name, x, y)

    with ThreadPoolExecutor(2) as pool:
        worst, at = max(pool.map(chunk, range(0, 2**32, 2**22)))
    assert BOUNDS[name][0] / 2 < worst <= BOUNDS[name][0], f"{worst} at {at!r}"


@needs_long_double
@functions
def test_float64_is_within_its_bound_for_every_exponent(name):
    """Random bit patterns of all kinds, and a dense sample of where the functions are not flat."""
    rng = np.random.default_rng(0)
    mantissas = rng.integers(0, 2**52, size=(2048, 150))
    exponents = np.arange(2048)[:, None] << 52
    magnitudes = (mantissas | exponents).ravel().view(np.float64)
    x = np.concatenate(
        [magnitudes, -magnitudes, rng.uniform(-40, 40, 300_000), rng.uniform(-708, 709, 300_000)]
    )
    worst, at = error_in_ulps(name, x, FUNCTIONS[name](x))
    assert BOUNDS[name][0] / 2 < worst <= BOUNDS[name][0], f"{worst} at {at!r}"


@functions
@kinds
def test_nan_stays_nan_in_its_lane_alone(name, dtype):
    x = np.linspace(-2, 2, 64, dtype=dtype)
    x[::7] = np.nan
    x[::14] = -np.nan
    y = FUNCTIONS[name](x)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
    payloads = np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF] * 16, np.uint32).view(np.float32)
    if dtype == np.float64:
        bits = np.array([0x7FF0000000000001, 0xFFF0000000000001, 0x7FFFFFFFFFFFFFFF, 2**64 - 1], np.uint64)
        payloads = np.resize(bits, 64).view(np.float64)
    assert np.isnan(payloads).all()
    assert np.isnan(FUNCTIONS[name](payloads)).all()


@kinds
@pytest.mark.parametrize(
    ("name", "at_infinity", "at_minus_infinity", "at_zero"),
    [("exp", np.inf, 0, 1), ("sigmoid", 1, 0, 0.5), ("tanh", 1, -1, 0)],
)
def test_infinities_zeros_and_the_largest_numbers_are_exact(
    name, at_infinity, at_minus_infinity, at_zero, dtype
):
    largest = np.finfo(dtype).max
    x = np.array([np.inf, -np.inf, largest, -largest, 0, -0.0], dtype)
    expected = [at_infinity, at_minus_infinity, at_infinity, at_minus_infinity, at_zero, at_zero]
    np.testing.assert_array_equal(FUNCTIONS[name](x), np.array(expected, dtype))
    assert not np.signbit(FUNCTIONS[name](x)[-2:]).any(), "zero loses its sign"


@kinds
def test_the_smallest_numbers_are_not_flushed_to_zero(dtype):
    info = np.finfo(dtype)
    tiny = np.array([info.smallest_subnormal, 3 * info.smallest_subnormal, info.tiny / 3, info.tiny], dtype)
    x = np.concatenate([tiny, -tiny])
    np.testing.assert_array_equal(FUNCTIONS["tanh"](x), x)
    np.testing.assert_array_equal(FUNCTIONS["exp"](x), np.ones_like(x))
    np.testing.assert_array_equal(FUNCTIONS["sigmoid"](x), np.full_like(x, 0.5))


@kinds
def test_outside_their_ranges_exp_is_zero_or_infinite_and_sigmoid_zero(dtype):
    low, high = BOUNDS["exp"][1][np.dtype(dtype).itemsize]
    x = np.array([np.nextafter(dtype(low), dtype(-np.inf)), np.nextafter(dtype(high), dtype(np.inf))], dtype)
    np.testing.assert_array_equal(FUNCTIONS["exp"](x), [0, np.inf])
    edge = np.array([low, high], dtype)
    assert (FUNCTIONS["exp"](edge) > 0).all()
    assert np.isfinite(FUNCTIONS["exp"](edge)).all()
    low = BOUNDS["sigmoid"][1][np.dtype(dtype).itemsize][0]
    below = np.array([low, np.nextafter(dtype(low), dtype(-np.inf))], dtype)
    np.testing.assert_array_equal(FUNCTIONS["sigmoid"](below) > 0, [True, False])


@kinds
def test_tanh_is_one_where_that_is_the_nearest_number_and_not_before(dtype):
    """It is cut where the exact value is less than half a unit below 1."""
    low, near, limit = (8.4, 8.66, 9.02) if dtype == np.float32 else (18.3, 18.7, 19.1)
    beyond = np.linspace(limit, 2 * limit, 1001, dtype=dtype)
    assert (exact("tanh", beyond).astype(dtype) == 1).all()
    np.testing.assert_array_equal(FUNCTIONS["tanh"](beyond), 1)
    before = np.linspace(low, near, 1001, dtype=dtype)
    assert (exact("tanh", before).astype(dtype) < 1).all()
    assert (FUNCTIONS["tanh"](before) < 1).mean() > 0.9, "rounding may make it 1, seldom"
    assert (FUNCTIONS["tanh"](-before) > -1).mean() > 0.2, "below zero less seldom"


@functions
@kinds
def test_a_number_gives_the_same_bits_in_every_lane(name, dtype):
    numbers = np.random.default_rng(0).normal(scale=3, size=50).astype(dtype)
    together = FUNCTIONS[name](np.repeat(numbers, 16)).reshape(50, 16)
    np.testing.assert_array_equal(together, np.broadcast_to(together[:, :1], together.shape))
    shifts = [FUNCTIONS[name](np.roll(numbers, shift))[shift] for shift in range(16)]
    assert len(set(shifts)) == 1
    assert len(set(together[:, 0].tolist())) == 50


def test_numbers_and_registers_mix_as_they_do_in_the_equations():
    """Every operator, with a plain number on either side."""
    one_of_each = compiled(
        lambda x: (-x + 1.5) * 2.0 - (3.0 - x) / (x - 0.25) + 0.5 * (1.0 / x) + vectors.fma(x, x, 2.0)
    )
    x = np.random.default_rng(0).uniform(1, 2, 64)
    expected = (-x + 1.5) * 2 - (3 - x) / (x - 0.25) + 0.5 * (1 / x) + (x * x + 2)
    np.testing.assert_allclose(one_of_each(x), expected, rtol=1e-14, atol=1e-14)
    for comparison, other in itertools.product("<>", (7.0, -np.inf)):
        chosen = compiled(lambda x, c=comparison, o=other: x.unless(x, c, 1.5, o))(x)
        where = x < 1.5 if comparison == "<" else x > 1.5
        np.testing.assert_array_equal(chosen, np.where(where, other, x))


def test_a_fused_product_is_rounded_once():
    x = np.full(64, 1 + 2.0**-30)
    np.testing.assert_array_equal(compiled(lambda x: vectors.fma(x, x, -1.0))(x), 2.0**-29 + 2.0**-60)
    np.testing.assert_array_equal(compiled(lambda x: x * x - 1.0)(x), 2.0**-29)


# The logarithm, which is of positive numbers


@pytest.mark.parametrize(("n_bytes", "points"), [(4, 3), (8, 7)])
def test_the_logarithms_coefficients_are_those_of_the_polynomial_through_chebyshev_points(n_bytes, points):
    root = Fraction(141421356237309504880168872420969807857, 10**38)
    end = ((root - 1) / (root + 1)) ** 2  # z = s**2 lies between 0 and this
    places = [
        end / 2 * (1 + Fraction(float(np.cos(np.pi * (2 * k + 1) / (2 * points)))).limit_denominator(10**12))
        for k in range(points)
    ]

    def wanted(z):  # (2 atanh(s) / s - 2) / z
        return sum(Fraction(2, 2 * k + 3) * z**k for k in range(30))

    ours = vectors.LOG_COEFFICIENTS[n_bytes]
    unit = {4: 2.0**-24, 8: 2.0**-53}[n_bytes]
    for k, (mine, fitted) in enumerate(zip(ours, interpolated(places, map(wanted, places)), strict=True)):
        assert abs(Fraction(mine) - fitted) * end ** (k + 1) < unit / 16, k
    for z in np.linspace(0, float(end), 301):
        value = sum(Fraction(c) * Fraction(z) ** k for k, c in enumerate(ours))
        assert abs(value - wanted(Fraction(z))) * Fraction(z) < unit * 0.1


def test_the_logarithm_in_float32_is_within_its_bound_on_a_dense_sample():
    patterns = [np.arange(1, 0x7F800000, 509, dtype=np.uint32)]
    for edge in (1.0, np.sqrt(0.5), np.sqrt(2.0), 2.0, 1.2e-38):
        around = int(np.float32(edge).view(np.uint32))
        patterns.append(np.arange(around - 3000, around + 3000, dtype=np.uint32))
    x = np.concatenate(patterns).view(np.float32)
    worst, at = error_in_ulps("log", x, LOG(x))
    assert BOUNDS["log"][0] / 2 < worst <= BOUNDS["log"][0], f"{worst} at {at!r}"


@pytest.mark.long
def test_the_logarithm_in_float32_is_within_its_bound_for_every_positive_number():
    def chunk(first):
        x = (
            np.arange(first, min(first + 2**22, 0x7F800000), dtype=np.int64)
            .astype(np.uint32)
            .view(np.float32)
        )
        return error_in_ulps("log", x, LOG(x))

    with ThreadPoolExecutor(2) as pool:
        worst, at = max(pool.map(chunk, range(1, 0x7F800000, 2**22)))
    assert BOUNDS["log"][0] / 2 < worst <= BOUNDS["log"][0], f"{worst} at {at!r}"


@needs_long_double
def test_the_logarithm_in_float64_is_within_its_bound_for_every_exponent():
    rng = np.random.default_rng(0)
    mantissas = rng.integers(1, 2**52, size=(2047, 150))
    x = (mantissas | np.arange(2047)[:, None] << 52).ravel().view(np.float64)
    x = np.concatenate([x, rng.uniform(0.5, 2, 300_000), 1 + rng.uniform(-1e-8, 1e-8, 10_000)])
    worst, at = error_in_ulps("log", x, LOG(x))
    assert BOUNDS["log"][0] / 2 < worst <= BOUNDS["log"][0], f"{worst} at {at!r}"


@kinds
def test_the_logarithm_of_zeros_infinities_and_what_is_negative(dtype):
    x = np.array([0.0, -0.0, np.inf, 1.0, -1.0, -np.inf, np.nan, -np.finfo(dtype).smallest_subnormal], dtype)
    nan = np.nan
    np.testing.assert_array_equal(LOG(x), np.array([-np.inf, -np.inf, np.inf, 0, nan, nan, nan, nan], dtype))


@kinds
def test_a_numbers_logarithm_has_the_same_bits_in_every_lane(dtype):
    numbers = np.random.default_rng(0).lognormal(sigma=9, size=50).astype(dtype)
    together = LOG(np.repeat(numbers, 16)).reshape(50, 16)
    np.testing.assert_array_equal(together, np.broadcast_to(together[:, :1], together.shape))
    assert len(set(together[:, 0].tolist())) == 50


@kinds
def test_square_roots_are_numpys(dtype):
    x = np.abs(np.random.default_rng(0).standard_normal(64)).astype(dtype)
    x[:3] = 0, np.inf, np.finfo(dtype).tiny / 4
    np.testing.assert_array_equal(compiled(vectors.sqrt)(x), np.sqrt(x))
    assert np.isnan(compiled(vectors.sqrt)(-np.ones(64, dtype))).all()
