"""A register of numbers, in LLVM's terms, with operators; and exp, log, sigmoid, tanh and square root of it.

What is written with them reads as it does in numpy, and becomes vector instructions. No fast-math flag
is used: every operation is rounded once, in the order written, so that NaN stays NaN and the same numbers
give the same bits wherever a formula is compiled.
"""

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Union

import numpy as np
from llvmlite import ir

from simd.cpu import lanes

Number = Union["Vector", float]

_LN2 = Decimal("0.693147180559945309417232121458176568")

# (exp(r) - 1 - r) / r**2 for |r| <= ln(2) / 2, lowest power first: the polynomials that agree with it at 5
# and at 11 Chebyshev points, by a number's bytes; tests/simd/test_vectors.py fits them anew.
COEFFICIENTS = {
    4: (0.5, 0.1666657702559799, 0.041666554662050534, 0.008363173074513716, 0.0013926176119936),
    8: (
        0.5,
        0.1666666666666667,
        0.04166666666666668,
        0.00833333333332615,
        0.0013888888888880764,
        0.00019841269874718598,
        2.48015873275671e-05,
        2.755725555500915e-06,
        2.755727507729821e-07,
        2.510514868789909e-08,
        2.0913375031806174e-09,
    ),
}

# (2 atanh(s) / s - 2) / s**2 as a polynomial in s**2, for |s| <= (sqrt(2) - 1) / (sqrt(2) + 1): likewise,
# at 3 and at 7 points.
LOG_COEFFICIENTS = {
    4: (0.6666668503957586, 0.3998878056602198, 0.2957994939197279),
    8: (
        0.666666666666667,
        0.39999999999899505,
        0.28571428625975487,
        0.2222221113479508,
        0.18182889125261723,
        0.15331721600556042,
        0.14616449685043406,
    ),
}


class Kind:
    """A kind of number and its vectors.

    Parameters
    ----------
    dtype : dtype
        float32 or float64.
    """

    def __init__(self, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        self.n_bytes = self.dtype.itemsize
        self.lanes = lanes(self.dtype)
        self.scalar = ir.FloatType() if self.n_bytes == 4 else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.integers = ir.VectorType(ir.IntType(8 * self.n_bytes), self.lanes)
        self.suffix = f"v{self.lanes}f{8 * self.n_bytes}"  # of LLVM's intrinsics

    def constant(self, number: float) -> ir.Constant:
        """Put one number into all lanes.

        Parameters
        ----------
        number : float
            The number.

        Returns
        -------
        llvmlite.ir.Constant
            A vector.
        """
        return ir.Constant(self.vector, [float(self.dtype.type(number))] * self.lanes)


class Vector:
    """A register's numbers while instructions are written. A plain number beside it stands in all lanes.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Writes the instructions.
    kind : Kind
        Of its numbers.
    value : llvmlite.ir.Value
        The vector.
    """

    def __init__(self, builder: Any, kind: Kind, value: Any) -> None:
        self.builder, self.kind, self.value = builder, kind, value

    def _of(self, other: Number) -> Any:
        return other.value if isinstance(other, Vector) else self.kind.constant(other)

    def _make(self, value: Any) -> "Vector":
        return Vector(self.builder, self.kind, value)

    def __add__(self, other: Number) -> "Vector":
        return self._make(self.builder.fadd(self.value, self._of(other)))

    def __sub__(self, other: Number) -> "Vector":
        return self._make(self.builder.fsub(self.value, self._of(other)))

    def __rsub__(self, other: Number) -> "Vector":
        return self._make(self.builder.fsub(self._of(other), self.value))

    def __mul__(self, other: Number) -> "Vector":
        return self._make(self.builder.fmul(self.value, self._of(other)))

    def __truediv__(self, other: Number) -> "Vector":
        return self._make(self.builder.fdiv(self.value, self._of(other)))

    def __rtruediv__(self, other: Number) -> "Vector":
        return self._make(self.builder.fdiv(self._of(other), self.value))

    def __neg__(self) -> "Vector":
        return self._make(self.builder.fneg(self.value))

    __radd__, __rmul__ = __add__, __mul__

    def unless(self, x: "Vector", comparison: str, bound: float, other: float) -> "Vector":
        """Replace the numbers in lanes where a comparison is true of another vector.

        Parameters
        ----------
        x : Vector
            What is compared. No comparison is true of NaN.
        comparison : {"<", ">", "=="}
            With the bound.
        bound : float
            See there.
        other : float
            What stands in their place.

        Returns
        -------
        Vector
            The numbers, some replaced.
        """
        true = self.builder.fcmp_ordered(comparison, x.value, self.kind.constant(bound))
        return self._make(self.builder.select(true, self.kind.constant(other), self.value))


class Vectors:
    """Several registers with operators: each operation is written for all of them before the next.

    One formula's operations wait for each other, those of several do not: so the CPU always has some to do.

    Parameters
    ----------
    members : list of Vector
        The registers.
    """

    def __init__(self, members: list[Vector]) -> None:
        self.members = members

    def each(self, function: Callable[[Vector], Vector]) -> "Vectors":
        """Apply a function to all.

        Parameters
        ----------
        function : callable
            Of one register.

        Returns
        -------
        Vectors
            Its results.
        """
        return Vectors([function(member) for member in self.members])

    def __add__(self, other: "Vectors") -> "Vectors":
        return Vectors([a + b for a, b in zip(self.members, other.members, strict=True)])

    def __mul__(self, other: "Vectors") -> "Vectors":
        return Vectors([a * b for a, b in zip(self.members, other.members, strict=True)])


def call(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """Call one of LLVM's own functions.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Writes the instruction.
    name : str
        Of the function.
    result : llvmlite.ir.Type
        What it returns.
    arguments : list of llvmlite.ir.Value
        What it takes.

    Returns
    -------
    llvmlite.ir.Value
        The result.
    """
    function = builder.module.globals.get(name)
    if function is None:
        signature = ir.FunctionType(result, [argument.type for argument in arguments])
        function = ir.Function(builder.module, signature, name)
    return builder.call(function, arguments)


def fma(a: Vector, b: Number, c: Number) -> Vector:
    """Compute ``a * b + c``, rounded once.

    Parameters
    ----------
    a : Vector
        Numbers.
    b, c : Vector or float
        Numbers.

    Returns
    -------
    Vector
        The result.
    """
    arguments = [a.value, a._of(b), a._of(c)]
    return a._make(call(a.builder, f"llvm.fma.{a.kind.suffix}", a.kind.vector, arguments))


def _power_and_expm1(x: Vector) -> tuple[Vector, Vector]:
    """Split exp(x) into 2**n and exp(r) - 1, with x = n ln(2) + r and |r| <= ln(2) / 2."""
    kind, builder = x.kind, x.builder
    mantissa, bias = (23, 127) if kind.n_bytes == 4 else (52, 1023)
    # Adding 1.5 * 2**mantissa rounds to a whole number, and leaves that in the last bits. A conversion to
    # integers is not defined for NaN; this is, and in the end NaN times whatever comes out is NaN.
    magic = 1.5 * 2.0**mantissa
    shifted = fma(x, 1 / math.log(2), magic)
    n = shifted - magic
    high = math.floor(math.log(2) * 2.0 ** (mantissa // 2)) / 2.0 ** (mantissa // 2)  # n * high is exact
    r = fma(n, -float(_LN2 - Decimal(high)), fma(n, -high, x))
    integer = ir.Constant(kind.integers, [mantissa] * kind.lanes)
    one = ir.Constant(kind.integers, [bias << mantissa] * kind.lanes)
    bits = builder.add(builder.shl(builder.bitcast(shifted.value, kind.integers), integer), one)
    power = Vector(builder, kind, builder.bitcast(bits, kind.vector))
    p: Number = COEFFICIENTS[kind.n_bytes][-1]
    for coefficient in reversed(COEFFICIENTS[kind.n_bytes][:-1]):
        p = fma(r, p, coefficient)
    return power, fma(r * r, p, r)


def exp(x: Vector) -> Vector:
    """Compute exp(x), by ``2**n * exp(r)``.

    Parameters
    ----------
    x : Vector
        Numbers.

    Returns
    -------
    Vector
        Within 1.1 units in the last place; zero below -87 (float64: -708), infinite above 88 (709).
    """
    low, high = (-87.0, 88.0) if x.kind.n_bytes == 4 else (-708.0, 709.0)
    power, expm1 = _power_and_expm1(x)
    return fma(power, expm1, power).unless(x, "<", low, 0.0).unless(x, ">", high, math.inf)


def log(x: Vector) -> Vector:
    """Compute the natural logarithm, by ``n ln(2) + 2 atanh(s)`` with ``s = (m - 1) / (m + 1)``.

    Parameters
    ----------
    x : Vector
        Numbers.

    Returns
    -------
    Vector
        Within 1 unit in the last place; -inf for 0, NaN for what is negative.
    """
    kind, builder = x.kind, x.builder
    mantissa, least = (23, 2.0**-126) if kind.n_bytes == 4 else (52, 2.0**-1022)
    # A number too small to be a normal one is made one first.
    small = builder.fcmp_ordered("<", x.value, kind.constant(least))
    normal = builder.select(small, (x * 2.0**mantissa).value, x.value)

    # x = 2**n m with sqrt(1/2) <= m < sqrt(2), by the bits: those of sqrt(1/2) count as where m begins.
    def integer(value: int) -> ir.Constant:
        return ir.Constant(kind.integers, [value] * kind.lanes)

    begin = int(np.array(math.sqrt(0.5), kind.dtype).view(f"i{kind.n_bytes}"))
    offset = builder.sub(builder.bitcast(normal, kind.integers), integer(begin))
    n_bits = builder.ashr(offset, integer(mantissa))
    m_bits = builder.add(builder.and_(offset, integer((1 << mantissa) - 1)), integer(begin))
    n = x._make(builder.sitofp(n_bits, kind.vector))
    n = n - x._make(builder.select(small, kind.constant(float(mantissa)), kind.constant(0.0)))
    f = x._make(builder.bitcast(m_bits, kind.vector)) - 1.0
    s = f / (f + 2.0)
    z = s * s
    p: Number = LOG_COEFFICIENTS[kind.n_bytes][-1]
    for coefficient in reversed(LOG_COEFFICIENTS[kind.n_bytes][:-1]):
        p = fma(z, p, coefficient)
    half = f * f * 0.5
    high = math.floor(math.log(2) * 2.0 ** (mantissa // 2)) / 2.0 ** (mantissa // 2)  # n * high is exact
    # ln(1 + f) = f - (half - s (half + R)) with R = z p: the large terms last.
    low = fma(n, float(_LN2 - Decimal(high)), s * (half + z * p))
    result = fma(n, high, f - (half - low)) + (x - x)  # which makes NaN of NaN
    result = result.unless(x, "==", 0.0, -math.inf).unless(x, "<", 0.0, math.nan)
    return result.unless(x, "==", math.inf, math.inf)


def sqrt(x: Vector) -> Vector:
    """Compute the square root.

    Parameters
    ----------
    x : Vector
        Numbers.

    Returns
    -------
    Vector
        Rounded once; NaN for what is negative.
    """
    return x._make(call(x.builder, f"llvm.sqrt.{x.kind.suffix}", x.kind.vector, [x.value]))


def sigmoid(z: Vector) -> Vector:
    """Compute ``1 / (1 + exp(-z))``.

    Parameters
    ----------
    z : Vector
        Numbers.

    Returns
    -------
    Vector
        Within 2.5 units in the last place; zero below -88 (float64: -709).
    """
    return 1.0 / (1.0 + exp(-z))


def tanh(z: Vector) -> Vector:
    """Compute ``e / (e + 2)`` with ``e = exp(2 z) - 1``, in which nothing cancels near zero.

    Parameters
    ----------
    z : Vector
        Numbers.

    Returns
    -------
    Vector
        Within 2.5 units in the last place; 0 for -0.
    """
    limit = 9.02 if z.kind.n_bytes == 4 else 19.1  # from here on it is 1 but for rounding
    power, expm1 = _power_and_expm1(z + z)
    e = fma(power, expm1, power - 1.0)
    return (e / (e + 2.0)).unless(z, ">", limit, 1.0).unless(z, "<", -limit, -1.0)
