"""Moving numbers about, a register at a time: copies and transpositions."""

from typing import Any

from llvmlite import ir

from simd.emitter import I32, Emitter, operation
from simd.jit import jit


def _define_copy(e: Emitter, arguments: list[Any]) -> None:
    """Copy rows of whole vectors."""
    rows, vectors, source, source_stride, target, target_stride = arguments

    def one_row(row: Any, _: list[Any]) -> list[Any]:
        start, end = (
            e.address(base, e.b.mul(row, stride))
            for base, stride in ((source, source_stride), (target, target_stride))
        )

        def one_vector(vector: Any, _: list[Any]) -> list[Any]:
            offset = e.b.mul(vector, e.number(e.kind.lanes))
            e.store(e.load(e.address(start, offset)), e.address(end, offset))
            return []

        return e.count(vectors, [], one_vector)

    e.count(rows, [], one_row)


def _define_transpose(e: Emitter, arguments: list[Any]) -> None:
    """Transpose whole squares of L x L numbers, each in L registers."""
    down, across, source, source_stride, target, target_stride = arguments
    L = e.kind.lanes

    def square(start: Any, end: Any) -> None:
        rows = [e.load(e.row(start, source_stride, r)).value for r in range(L)]
        # Of each 2 x 2 blocks, the two off the diagonal change places: blocks of L / 2, then of L / 4, ...
        size = L // 2
        while size:
            keep = [j if not j & size else L + j - size for j in range(L)]
            swap = [j + size if not j & size else L + j for j in range(L)]
            for r in (r for r in range(L) if not r & size):
                pair = rows[r], rows[r + size]
                for place, lanes in ((r, keep), (r + size, swap)):
                    mask = ir.Constant(ir.VectorType(I32, L), lanes)
                    rows[place] = e.b.shuffle_vector(*pair, mask)
            size //= 2
        for r, row in enumerate(rows):
            e.store(e.vector(row), e.row(end, target_stride, r))

    def squares_down(i: Any, _: list[Any]) -> list[Any]:
        i = e.b.mul(i, e.number(L))
        start, end = e.address(source, e.b.mul(i, source_stride)), e.address(target, i)

        def squares_across(j: Any, _: list[Any]) -> list[Any]:
            j = e.b.mul(j, e.number(L))
            square(e.address(start, j), e.address(end, e.b.mul(j, target_stride)))
            return []

        return e.count(across, [], squares_across)

    e.count(down, [], squares_down)


_copy = operation("copy", _define_copy)
_transpose = operation("transpose", _define_transpose)


@jit
def copy(source, target, L):
    """Copy source into target, of the same shape. The numbers of a row are side by side."""
    rows, columns = source.shape
    S, whole = source.itemsize, columns // L * L
    strides = (source.strides[0] // S, target.strides[0] // S)
    _copy(source, (rows, whole // L, source.ctypes.data, strides[0], target.ctypes.data, strides[1]))
    for row in range(rows):
        for column in range(whole, columns):
            target[row, column] = source[row, column]


@jit
def transpose(source, target, L):
    """Copy ``source.T`` into target. The numbers of a row are side by side."""
    rows, columns = source.shape
    S, down, across = source.itemsize, rows // L, columns // L
    strides = (source.strides[0] // S, target.strides[0] // S)
    _transpose(source, (down, across, source.ctypes.data, strides[0], target.ctypes.data, strides[1]))
    for row in range(rows):
        for column in range(across * L if row < down * L else 0, columns):
            target[column, row] = source[row, column]
