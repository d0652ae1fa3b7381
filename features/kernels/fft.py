"""The Fourier transform of real frames: a register's lanes full of frames at a time.

Row n of the data holds sample n of L frames, one in each lane; so all lanes do the same, and what comes out
for a frame does not depend on its neighbours. Samples 2n and 2n + 1 count as the real and imaginary part of a
complex number z[n], which halves the transform's length: M = n_fft / 2.

That transform is done in place, by decimation in frequency: a pass of radix r cuts each block of r * m
numbers into r of m, of which the p-th holds the frequencies that leave p when divided by r. In the end they
stand in the order of their reversed digits; `positions` says where. The spectrum of the real frame is taken
from pairs of them, as power.

J. W. Cooley and J. W. Tukey, Mathematics of Computation 19 (1965) 297. W. M. Gentleman and G. Sande, AFIPS
Conference Proceedings 29 (1966) 563. Real input: J. W. Cooley, P. A. W. Lewis and P. D. Welch, Journal of
Sound and Vibration 12 (1970) 315.
"""

import math
from typing import Any

import numpy as np

from simd.emitter import I64, Emitter, operation
from simd.vectors import Vector, fma

RADICES = (4, 2, 3, 5)

Complex = tuple[Vector, Vector]


def factors(n: int) -> list[int] | None:
    """Factor a length into radices.

    Parameters
    ----------
    n : int
        The length.

    Returns
    -------
    list of int or None
        The radices, in the order of the passes; None, if another would be needed.
    """
    found = []
    for radix in RADICES:
        while n % radix == 0:
            found.append(radix)
            n //= radix
    return found if n == 1 else None


def twiddles(radices: list[int]) -> np.ndarray:
    """Compute the factors that stand between passes.

    Parameters
    ----------
    radices : list of int
        Of the passes.

    Returns
    -------
    ndarray, float64
        For each pass, j = 0 .. m - 1 and p = 1 .. r - 1: real and imaginary part of
        ``exp(-2 pi i j p / (r m))``.
    """
    tables, length = [], math.prod(radices)
    for radix in radices:
        m = length // radix
        angle = -2 * np.pi / length * np.arange(m)[:, None] * np.arange(1, radix)
        tables.append(np.stack([np.cos(angle), np.sin(angle)], axis=-1).ravel())
        length = m
    return np.concatenate([np.zeros(0), *tables])


def positions(radices: list[int]) -> np.ndarray:
    """Tell where each frequency is after the passes.

    Parameters
    ----------
    radices : list of int
        Of the passes.

    Returns
    -------
    ndarray (M,), int64
        Position of frequency k.
    """
    where, k, m = np.zeros(math.prod(radices), np.int64), np.arange(math.prod(radices)), math.prod(radices)
    for radix in radices:
        m //= radix
        where += k % radix * m
        k = k // radix
    return where


def _times(x: Complex, w: Complex) -> Complex:
    """Complex product."""
    return fma(x[0], w[0], -(x[1] * w[1])), fma(x[0], w[1], x[1] * w[0])


def _add(x: Complex, y: Complex) -> Complex:
    return x[0] + y[0], x[1] + y[1]


def _sub(x: Complex, y: Complex) -> Complex:
    return x[0] - y[0], x[1] - y[1]


def _sub_i(x: Complex, y: Complex) -> Complex:
    """``x - i y``."""
    return x[0] + y[1], x[1] - y[0]


def _add_i(x: Complex, y: Complex) -> Complex:
    """``x + i y``."""
    return x[0] - y[1], x[1] + y[0]


def _add_scaled(x: Complex, y: Complex, factor: float) -> Complex:
    return fma(y[0], factor, x[0]), fma(y[1], factor, x[1])


def butterfly(x: list[Complex]) -> list[Complex]:
    """Transform 2, 3, 4 or 5 complex numbers.

    Parameters
    ----------
    x : list of Complex
        The numbers.

    Returns
    -------
    list of Complex
        ``sum_q x[q] exp(-2 pi i p q / r)`` for each p.
    """
    if len(x) == 2:
        return [_add(x[0], x[1]), _sub(x[0], x[1])]
    if len(x) == 4:
        even, odd = butterfly([x[0], x[2]]), butterfly([x[1], x[3]])
        return [
            _add(even[0], odd[0]),
            _sub_i(even[1], odd[1]),
            _sub(even[0], odd[0]),
            _add_i(even[1], odd[1]),
        ]
    # Of odd length: numbers q and r - q have the same cosines and opposite sines.
    r = len(x)
    pairs = [(q, _add(x[q], x[r - q]), _sub(x[q], x[r - q])) for q in range(1, (r + 1) // 2)]
    y: list[Complex] = [x[0]] * r
    for _, total, _ in pairs:
        y[0] = _add(y[0], total)
    for p in range(1, (r + 1) // 2):
        angles = [2 * math.pi * p * q / r for q, _, _ in pairs]
        cosines = x[0]
        for (_, total, _), angle in zip(pairs, angles, strict=True):
            cosines = _add_scaled(cosines, total, math.cos(angle))
        first = pairs[0][2]
        sines: Complex = (first[0] * math.sin(angles[0]), first[1] * math.sin(angles[0]))
        for (_, _, difference), angle in list(zip(pairs, angles, strict=True))[1:]:
            sines = _add_scaled(sines, difference, math.sin(angle))
        y[p], y[r - p] = _sub_i(cosines, sines), _add_i(cosines, sines)
    return y


def _define_pass(radix: int, last: bool) -> Any:
    """Write a pass; the last has m = 1, and nothing to multiply by."""

    def define(e: Emitter, arguments: list[Any]) -> None:
        data, table, blocks, m = arguments
        L = e.kind.lanes

        def rows(n: Any) -> Any:
            """So many complex numbers, in elements."""
            return e.b.mul(n, e.number(2 * L))

        def block(b: Any, _: list[Any]) -> list[Any]:
            start = e.address(data, rows(e.b.mul(b, e.b.mul(m, e.number(radix)))))

            def one(j: Any, _: list[Any]) -> list[Any]:
                at = [e.address(e.row(start, rows(m), q), rows(j)) for q in range(radix)]
                y = butterfly([(e.load(address), e.load(address, 1)) for address in at])
                if not last:
                    at_j = e.address(table, e.b.mul(j, e.number(2 * (radix - 1))))
                    for p in range(1, radix):
                        w = [e.vector(e.broadcast(e.address(at_j, 2 * (p - 1) + part))) for part in (0, 1)]
                        y[p] = _times(y[p], (w[0], w[1]))
                for address, (real, imaginary) in zip(at, y, strict=True):
                    e.store(real, address)
                    e.store(imaginary, address, 1)
                return []

            return e.count(m, [], one)

        e.count(blocks, [], block)

    return operation(f"fft_{radix}{'_last' if last else ''}", define)


def _define_power(e: Emitter, arguments: list[Any]) -> None:
    """Write |X[k]|**2 and |X[M - k]|**2 of the real frame, for k = 0 .. M // 2."""
    data, places, table, factor, power, pairs, m = arguments
    L, b = e.kind.lanes, e.b

    def complex_at(k: Any) -> Complex:
        place = b.load(b.inttoptr(b.add(places, b.mul(k, e.number(8))), I64.as_pointer()))
        address = e.address(data, b.mul(place, e.number(2 * L)))
        return e.load(address), e.load(address, 1)

    scale = e.vector(e.broadcast(factor))

    def pair(k: Any, _: list[Any]) -> list[Any]:
        (ar, ai), (br, bi) = complex_at(k), complex_at(b.sub(m, k))
        # Twice the transforms of the even and of the odd samples; and times exp(-2 pi i k / n_fft).
        even, odd = (ar + br, ai - bi), (ai + bi, br - ar)
        at = e.address(table, b.mul(k, e.number(2)))
        turned = _times(odd, (e.vector(e.broadcast(at)), e.vector(e.broadcast(e.address(at, 1)))))
        for row, (real, imaginary) in ((k, _add(even, turned)), (b.sub(m, k), _sub(even, turned))):
            value = fma(real, real, imaginary * imaginary) * scale
            e.store(value, e.address(power, b.mul(row, e.number(L))))
        return []

    e.count(pairs, [], pair)


PASSES = {(radix, last): _define_pass(radix, last) for radix in RADICES for last in (False, True)}
pass_2, pass_3, pass_4, pass_5 = (PASSES[radix, False] for radix in (2, 3, 4, 5))
last_2, last_3, last_4, last_5 = (PASSES[radix, True] for radix in (2, 3, 4, 5))
power_of = operation("power", _define_power)
