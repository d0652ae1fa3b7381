"""From samples to a frame's columns, L frames at a time.

Everything that settings determine is in two arrays, `numbers` and `table`: the latter says what is to be
done, and where in either of them is what. So one compiled function serves all settings.

Letters: L lanes, T frames, M = n_fft / 2.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from features.audio import FAR_BEYOND_1
from features.kernels import fft
from features.plan import Plan
from simd.buffers import Scratch, empty
from simd.cpu import lanes
from simd.emitter import I64, Emitter, operation
from simd.jit import jit
from simd.moves import copy, transpose
from simd.vectors import Vector, fma, log, sqrt

# What is where in `table`. AT_...: where something begins, in `table` (the first four) or in `numbers`.
FRAME_LENGTH, HOP_LENGTH, N_FFT, N_PASSES, N_BANDS, N_COLUMNS, HAS_BANK = range(7)
REMOVE_DC, ENERGY, ENERGY_FIRST, MAGNITUDE, LOGARITHM, LANES = range(7, 13)
AT_RADICES, AT_PLACES, AT_BANK, AT_COLUMNS = range(13, 17)
AT_WINDOW, AT_TWIDDLES, AT_SPLIT, AT_BANK_WEIGHTS, AT_COLUMN_WEIGHTS, AT_SCALARS = range(17, 23)
HEADER = 23
# What is where behind AT_SCALARS, and what there is of each logarithm.
PER_FRAME, EMPHASIS, POWER_FACTOR, OF_BANDS, OF_ENERGY, SCALE = 0, 1, 2, 3, 7, 11
OFFSET, FLOOR, FLOOR_OF_ZERO, PER_LN = range(4)
ENERGIES = ("none", "raw", "windowed", "spectral")
RAW, WINDOWED, SPECTRAL = 1, 2, 3


def _define_rows(name: str, write: Any) -> Any:
    """Make an operation on n rows of vectors; ``row(k)`` is the address of one."""

    def define(e: Emitter, arguments: list[Any]) -> None:
        data, n, *others = arguments

        def row(k: Any) -> Any:
            return e.address(data, e.b.mul(k, e.number(e.kind.lanes)))

        write(e, row, n, others)

    return operation(name, define)


def _write_sum(power: int) -> Any:
    def write(e: Emitter, row: Any, n: Any, others: list[Any]) -> None:
        """Sum rows; or the squares of what they are above another row."""
        target, *mean = others
        b, four = e.b, e.number(4)
        middle = [e.load(address) for address in mean]

        def add(k: Any, total: Any) -> Any:
            x = e.load(row(k))
            if power == 1:
                return (e.vector(total) + x).value
            x = x - middle[0]
            return fma(x, x, e.vector(total)).value

        def add_four(k: Any, totals: list[Any]) -> list[Any]:  # as one sum alone would wait for itself
            first = b.mul(k, four)
            return [add(b.add(first, e.number(j)), total) for j, total in enumerate(totals)]

        quarter = b.sdiv(n, four)
        done = b.mul(quarter, four)
        totals = e.count(quarter, [e.kind.constant(0.0)] * 4, add_four)
        (last,) = e.count(b.sub(n, done), totals[:1], lambda k, total: [add(b.add(done, k), total[0])])
        a0, a1, a2, a3 = map(e.vector, [last, *totals[1:]])
        e.store((a0 + a1) + (a2 + a3), target)

    return write


def _write_condition(e: Emitter, row: Any, n: Any, others: list[Any]) -> None:
    """Subtract the mean, emphasise high frequencies, and multiply by the window."""
    mean, emphasis, window = others
    middle, factor = e.load(mean), -e.vector(e.broadcast(emphasis))

    def condition(k: Any, carried: list[Any]) -> list[Any]:
        x = e.load(row(k)) - middle
        weight = e.vector(e.broadcast(e.address(window, k)))
        e.store(fma(e.vector(carried[0]), factor, x) * weight, row(k))
        return [x.value]

    # The first sample counts as preceded by itself.
    e.count(n, [(e.load(row(e.number(0))) - middle).value], condition)


def _write_root(e: Emitter, row: Any, n: Any, others: list[Any]) -> None:
    """Take the square root of each row."""

    def root(k: Any, _: list[Any]) -> list[Any]:
        e.store(sqrt(e.load(row(k))), row(k))
        return []

    e.count(n, [], root)


def _write_logarithm(e: Emitter, row: Any, n: Any, others: list[Any]) -> None:
    """Take the logarithm of each row, with an offset and floors."""
    offset, floor, floor_of_zero, per_ln = (
        e.vector(e.broadcast(e.address(others[0], k))) for k in (OFFSET, FLOOR, FLOOR_OF_ZERO, PER_LN)
    )

    def where(comparison: str, x: Vector, bound: Any, other: Vector) -> Vector:
        return e.vector(e.b.select(e.b.fcmp_ordered(comparison, x.value, bound), other.value, x.value))

    def one(k: Any, _: list[Any]) -> list[Any]:
        x = e.load(row(k)) + offset
        x = where("==", where("<", x, floor.value, floor), e.kind.constant(0.0), floor_of_zero)
        e.store(log(x) * per_ln, row(k))
        return []

    e.count(n, [], one)


def _write_weighted_sums(e: Emitter, row: Any, n: Any, others: list[Any]) -> None:
    """Make n rows, each a sum of some that follow each other, times their numbers."""
    table, weights, target = others
    b = e.b

    def entry(k: Any, part: int) -> Any:
        address = b.add(table, b.add(b.mul(k, e.number(16)), e.number(8 * part)))
        return b.load(b.inttoptr(address, I64.as_pointer()))

    def one(k: Any, carried: list[Any]) -> list[Any]:
        first, count = entry(k, 0), entry(k, 1)

        def add(j: Any, total: list[Any]) -> list[Any]:
            weight = e.vector(e.broadcast(e.address(weights, b.add(carried[0], j))))
            return [fma(e.load(row(b.add(first, j))), weight, e.vector(total[0])).value]

        (total,) = e.count(count, [e.kind.constant(0.0)], add)
        e.store(e.vector(total), e.address(target, b.mul(k, e.number(e.kind.lanes))))
        return [b.add(carried[0], count)]

    e.count(n, [e.number(0)], one)


_sum_rows = _define_rows("sum_rows", _write_sum(power=1))
_sum_squares = _define_rows("sum_squares", _write_sum(power=2))
_condition = _define_rows("condition", _write_condition)
_root = _define_rows("root", _write_root)
_logarithm = _define_rows("logarithm", _write_logarithm)
_weighted_sums = _define_rows("weighted_sums", _write_weighted_sums)
_power = fft.power_of
_pass_2, _pass_3, _pass_4, _pass_5 = fft.pass_2, fft.pass_3, fft.pass_4, fft.pass_5
_last_2, _last_3, _last_4, _last_5 = fft.last_2, fft.last_3, fft.last_4, fft.last_5


@jit
def _spread(source, first, target, spare, L):
    """Put L rows of source, from the first on, into the lanes of target; where there are fewer, these."""
    T, length = source.shape
    if T >= L:
        transpose(source[first : first + L], target[:length], L)
        return
    # Rows first, as lanes that are stored one by one cannot be loaded at once soon.
    copy(source, spare[:T], L)
    transpose(spare, target[:length], L)


@jit
def _gather(source, target, first, L):
    """Put the lanes of source into the rows of target, from the first on, as far as there are any."""
    T = target.shape[0]
    if T >= L:
        transpose(source, target[first : first + L], L)
        return
    for lane in range(T):
        for k in range(source.shape[0]):
            target[lane, k] = source[k, lane]


@jit
def _transform(data, table, numbers, L):
    """Transform rows 0 .. n_fft - 1, in place."""
    S, at = data.itemsize, data.ctypes.data
    m, blocks = table[N_FFT] // 2, 1
    twiddles = numbers.ctypes.data + table[AT_TWIDDLES] * S
    for k in range(table[N_PASSES]):
        radix = table[table[AT_RADICES] + k]
        m //= radix
        given = (at, twiddles, blocks, m)
        if m > 1:
            if radix == 4:
                _pass_4(data, given)
            elif radix == 2:
                _pass_2(data, given)
            elif radix == 3:
                _pass_3(data, given)
            else:
                _pass_5(data, given)
        elif radix == 4:
            _last_4(data, given)
        elif radix == 2:
            _last_2(data, given)
        elif radix == 3:
            _last_3(data, given)
        else:
            _last_5(data, given)
        twiddles += 2 * m * (radix - 1) * S
        blocks *= radix


@jit
def _extract(stretch, numbers, table, scratch, result, L):
    """Compute the columns of as many frames as result has rows."""
    S, n_frames = stretch.itemsize, result.shape[0]
    length, n_fft, n_bands, kind = table[FRAME_LENGTH], table[N_FFT], table[N_BANDS], table[ENERGY]
    n_bins = n_fft // 2 + 1
    rows = scratch.reshape(-1, L)
    row = L * S  # bytes
    frame, spectrum = rows.ctypes.data, rows[n_fft + 1 :].ctypes.data
    first_band = n_fft + 1 + (n_bins + 1 if table[HAS_BANK] else 0)
    bands = rows[first_band:].ctypes.data
    energy = bands - row if table[ENERGY_FIRST] else bands + n_bands * row
    columns = bands + (n_bands + 1) * row
    last = first_band + n_bands + 1 + table[N_COLUMNS]
    mean, for_few = rows[last], rows[last + 1 : last + 1 + length].reshape(L, length)
    at, places = numbers.ctypes.data, table.ctypes.data
    scalars = at + table[AT_SCALARS] * S
    if table[N_COLUMNS]:
        made = rows[first_band + n_bands + 1 :][: table[N_COLUMNS]]
    else:
        made = rows[first_band - table[ENERGY_FIRST] :][: n_bands + (kind != 0)]
    frames = np.lib.stride_tricks.as_strided(stretch, (n_frames, length), (table[HOP_LENGTH] * S, S))
    for group in range(0, n_frames, L):
        # The last group is a whole one, too: frames that are done again are the same.
        t = max(0, min(group, n_frames - L))
        _spread(frames, t, rows, for_few, L)
        rows[length:n_fft] = 0
        mean[:] = 0
        if table[REMOVE_DC]:
            _sum_rows(scratch, (frame, length, mean.ctypes.data))
            mean *= numbers[table[AT_SCALARS] + PER_FRAME]
        if kind == RAW:
            _sum_squares(scratch, (frame, length, energy, mean.ctypes.data))
        window = at + table[AT_WINDOW] * S
        _condition(scratch, (frame, length, mean.ctypes.data, scalars + EMPHASIS * S, window))
        if kind == WINDOWED:
            mean[:] = 0
            _sum_squares(scratch, (frame, length, energy, mean.ctypes.data))
        _transform(scratch, table, numbers, L)
        M = n_fft // 2
        split, factor = at + table[AT_SPLIT] * S, scalars + POWER_FACTOR * S
        _power(scratch, (frame, places + table[AT_PLACES] * 8, split, factor, spectrum, M // 2 + 1, M))
        if table[MAGNITUDE]:
            _root(scratch, (spectrum, n_bins))
        if kind == SPECTRAL:
            _sum_rows(scratch, (spectrum, n_bins, energy))
        if table[HAS_BANK]:
            weights = at + table[AT_BANK_WEIGHTS] * S
            _weighted_sums(scratch, (spectrum, n_bands, places + table[AT_BANK] * 8, weights, bands))
        if table[LOGARITHM]:
            _logarithm(scratch, (bands, n_bands, scalars + OF_BANDS * S))
        if kind:
            _logarithm(scratch, (energy, 1, scalars + OF_ENERGY * S))
        if table[N_COLUMNS]:
            weights, given = at + table[AT_COLUMN_WEIGHTS] * S, places + table[AT_COLUMNS] * 8
            _weighted_sums(scratch, (bands, table[N_COLUMNS], given, weights, columns))
        _gather(made, result, t, L)


@jit
def _feed(samples, signal, n, numbers, table, scratch, result):
    """Append samples to the n of a signal, compute frames, drop what is behind; False if too loud, or NaN."""
    quiet, scale = True, numbers[table[AT_SCALARS] + SCALE]
    for k in range(len(samples)):
        quiet &= abs(samples[k]) < FAR_BEYOND_1
        signal[n + k] = samples[k] * scale
    if not quiet:
        return False
    if len(result):
        _extract(signal, numbers, table, scratch, result, table[LANES])
        passed = len(result) * table[HOP_LENGTH]
        for k in range(n + len(samples) - passed):
            signal[k] = signal[k + passed]
    return True


@jit
def _arrange(values, numbers, table, scratch, result, L):
    """Compute the columns from bands, and energy behind them."""
    S, n_columns = values.itemsize, table[N_COLUMNS]
    rows = scratch.reshape(-1, L)
    made = rows[values.shape[1] :][:n_columns]
    weights = numbers.ctypes.data + table[AT_COLUMN_WEIGHTS] * S
    given = table.ctypes.data + table[AT_COLUMNS] * 8
    for_few = rows[values.shape[1] + n_columns :][: values.shape[1]].reshape(L, values.shape[1])
    for group in range(0, result.shape[0], L):
        t = max(0, min(group, result.shape[0] - L))
        _spread(values, t, rows, for_few, L)
        _weighted_sums(scratch, (rows.ctypes.data, n_columns, given, weights, made.ctypes.data))
        _gather(made, result, t, L)


class _Tables(NamedTuple):
    """What settings determine, for the compiled functions."""

    numbers: np.ndarray
    table: np.ndarray  # int64
    n_rows: int  # of scratch
    lanes: int


@lru_cache(maxsize=32)
def is_for_kernels(plan: Plan) -> bool:
    """Tell whether the kernels compute what a plan says.

    Parameters
    ----------
    plan : Plan
        Settings at a sample rate.

    Returns
    -------
    bool
        Not for transforms of odd length, or with a prime factor above 5.
    """
    return plan.n_fft % 2 == 0 and fft.factors(plan.n_fft // 2) is not None


@lru_cache(maxsize=32)
def _tables(plan: Plan, dtype: np.dtype, arrange: bool) -> _Tables:
    """Make the tables; `arrange` is whether the columns are to be made at once, or by `_arrange`."""
    settings = plan.settings
    M, n_bins = plan.n_fft // 2, plan.n_fft // 2 + 1
    radices = fft.factors(M)
    assert radices is not None
    table = np.zeros(HEADER, np.int64)
    numbers: list[np.ndarray] = []
    integers: list[np.ndarray] = [table]

    def put(at: int, array: np.ndarray) -> None:
        kept = numbers if array.dtype.kind == "f" else integers
        table[at] = sum(map(len, kept))
        kept.append(array)

    def put_sparse(at_places: int, at_weights: int, matrix: np.ndarray) -> None:
        """Put a matrix: of each column, from its first weight to its last."""
        there = [column.nonzero()[0] for column in matrix.T]
        first = np.array([rows[0] if len(rows) else 0 for rows in there])
        count = np.array([rows[-1] - rows[0] + 1 if len(rows) else 0 for rows in there])
        put(at_places, np.stack([first, count], axis=1).ravel())
        weights = [matrix[f : f + c, k] for k, (f, c) in enumerate(zip(first, count, strict=True))]
        put(at_weights, np.concatenate(weights))

    table[[FRAME_LENGTH, HOP_LENGTH, N_FFT]] = plan.frame_length, plan.hop_length, plan.n_fft
    table[[N_PASSES, N_BANDS, HAS_BANK]] = len(radices), plan.n_bands, plan.bank is not None
    table[LANES], table[ENERGY_FIRST] = lanes(dtype), plan.energy_first and plan.in_one_pass
    table[REMOVE_DC], table[MAGNITUDE] = settings.remove_dc, settings.spectrum == "magnitude"
    table[ENERGY], table[LOGARITHM] = ENERGIES.index(settings.energy), settings.log in ("db", "ln")
    put(AT_RADICES, np.array(radices, np.int64))
    places = fft.positions(radices)
    put(AT_PLACES, np.append(places, places[0]))  # frequency M is frequency 0
    put(AT_WINDOW, plan.window)
    put(AT_TWIDDLES, fft.twiddles(radices))
    angle = -np.pi / M * np.arange(M // 2 + 1)
    put(AT_SPLIT, np.stack([np.cos(angle), np.sin(angle)], axis=1).ravel())
    if plan.bank is not None:
        put_sparse(AT_BANK, AT_BANK_WEIGHTS, plan.bank.T)
    if plan.columns is not None and arrange:
        table[N_COLUMNS] = plan.n_static
        put_sparse(AT_COLUMNS, AT_COLUMN_WEIGHTS, plan.columns)
    divisor = plan.n_fft if settings.divide_by_n_fft else 1
    quarter = 0.25 / (divisor**2 if table[MAGNITUDE] else divisor)  # as the halves are not halved before
    floors = [_floors(settings.log_floor, settings.log_floor_for)]
    floors.append(_floors(settings.energy_floor or settings.log_floor, settings.log_floor_for))
    per_ln = 10 / math.log(10) if settings.log == "db" else 1.0
    emphasis = settings.pre_emphasis if settings.pre_emphasis_of == "frame" else 0.0
    scalars = [1 / plan.frame_length, emphasis, quarter]
    scalars += [settings.log_offset, *floors[0], per_ln, 0.0, *floors[1], 1.0, settings.sample_scale]
    put(AT_SCALARS, np.array(scalars))
    of_extract = plan.n_fft + n_bins + plan.n_bands + plan.n_static + plan.frame_length + 4
    of_arrange = 2 * (plan.n_bands + 1) + plan.n_static
    n_rows = max(of_extract, of_arrange)
    return _Tables(np.concatenate(numbers).astype(dtype), np.concatenate(integers), n_rows, lanes(dtype))


def _floors(least: float, kind: str) -> tuple[float, float]:
    """Tell what the least is, and what a zero becomes."""
    return (least, 0.0) if kind == "less" else (-math.inf, least)


class Extractor:
    """Computes frames, in memory of its own: for one who does so again and again.

    Parameters
    ----------
    plan : Plan
        What to do.
    dtype : dtype
        Of the signal: float32 or float64.
    """

    def __init__(self, plan: Plan, dtype: np.dtype) -> None:
        self.tables = _tables(plan, np.dtype(dtype), plan.in_one_pass)
        (self.scratch,) = empty(np.dtype(dtype), (self.tables.n_rows * self.tables.lanes,))

    def __call__(self, stretch: np.ndarray, result: np.ndarray) -> None:
        """Compute frames, as `extract` does.

        Parameters
        ----------
        stretch : ndarray (n,)
            Signal.
        result : ndarray (T, n)
            Is written.
        """
        numbers, table, _, lanes = self.tables
        _extract(stretch, numbers, table, self.scratch, result, lanes)

    def feed(self, samples: np.ndarray, signal: np.ndarray, n: int, result: np.ndarray) -> bool:
        """Take in a few samples and compute frames, in one call: what is done for every hop of a live stream.

        Parameters
        ----------
        samples : ndarray (m,)
            Unscaled; the memory of one follows that of the other.
        signal : ndarray (n + m or more,)
            Its first n are the signal from the next frame's beginning on. Is written: first the samples are
            appended, then what is behind the frames is dropped.
        n : int
            See there.
        result : ndarray (T, n_static)
            Is written: as many frames as it has rows.

        Returns
        -------
        bool
            Whether it was done: not, if a sample is far beyond full scale or NaN.
        """
        numbers, table, _, _ = self.tables
        done: bool = _feed(samples, signal, n, numbers, table, self.scratch, result)
        return done


def extract(plan: Plan, stretch: np.ndarray, result: np.ndarray) -> None:
    """Compute frames that begin with a stretch of signal.

    Parameters
    ----------
    plan : Plan
        What to do.
    stretch : ndarray (n,), float32 or float64
        The conditioned signal from the first frame's beginning to the last one's end.
    result : ndarray (T, n_static), or (T, n_bands) with the energy behind them
        Is written: as of `features.extraction.static_frames`.
    """
    tables = _tables(plan, stretch.dtype, plan.in_one_pass)
    with Scratch(stretch.dtype, (tables.n_rows * tables.lanes,)) as (scratch,):
        _extract(stretch, tables.numbers, tables.table, scratch, result, tables.lanes)


def arrange(plan: Plan, values: np.ndarray, result: np.ndarray) -> None:
    """Compute columns from the bands' logarithms.

    Parameters
    ----------
    plan : Plan
        What to do.
    values : ndarray (T, n_bands), and the energy behind them if there is one
        Logarithms.
    result : ndarray (T, n_static)
        Is written.
    """
    tables = _tables(plan, values.dtype, True)
    with Scratch(values.dtype, (tables.n_rows * tables.lanes,)) as (scratch,):
        _arrange(values, tables.numbers, tables.table, scratch, result, tables.lanes)
