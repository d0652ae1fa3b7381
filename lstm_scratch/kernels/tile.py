"""The register tile: a block of a matrix product that stays in registers, and what is done to it there.

    sums[r, v] = init[r, v] + sum_k left[r, k] * right[k, v]        r < rows, v < vectors of L columns

A product of matrices is limited by loads: two numbers for each multiplication. A block of rows x vectors sums
loads rows + vectors and multiplies rows * vectors times with it, so the block is as large as the registers
allow. What follows the sums, the epilogue, happens while they are still in registers: the gates' mathematics
costs no trip to memory.

`right` is packed beforehand, so that the vectors of one k lie side by side. Every sum is taken in the order
of k, one fused multiply-add after the other, whatever the size of the block: a row's result has the same bits
whichever rows are computed with it.

numba cannot be talked into this by loops, so the instructions are written for LLVM directly. Each of the
names at the end is an operation that jitted code calls with a `Tile`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from simd.cpu import REGISTERS
from simd.emitter import CACHE_LINE, I64, Emitter, operation
from simd.jit import jit
from simd.vectors import Vector, Vectors, call, sigmoid, tanh

# Rows of a block by its width in vectors, the largest first: its sums, all of the smaller side and one of the
# other have to fit into the registers. One row more, and sums live in memory, at half the speed.
ROWS = (
    {8: (2, 1), 4: (6, 4, 2, 1), 3: (8, 4, 2, 1), 2: (12, 4, 2, 1), 1: (8, 4, 2, 1)}
    if REGISTERS.number == 32
    else {8: (1,), 4: (3, 2, 1), 3: (4, 2, 1), 2: (6, 2, 1), 1: (8, 4, 2, 1)}
)


class Tile(NamedTuple):
    """What an operation works on: addresses in bytes, strides in elements."""

    rows: Any
    right: Any
    right_stride: Any  # from one k to the next
    init: Any  # where the sums begin; its stride is 0 where all rows begin alike
    init_stride: Any
    left: Any
    left_stride: Any
    n_left: Any  # how many k
    left2: Any  # a second left side, whose right side lies behind the first one's
    left2_stride: Any
    n_left2: Any
    panel: Any  # from four vectors of the right side to the next four
    out: Any
    out_stride: Any  # also of the cells
    gates: Any
    gates_stride: Any
    c_prev: Any
    c: Any
    dc: Any
    keep: Any  # whether the gates are stored


@jit
def tile(
    rows,
    right,
    right_stride,
    init,
    init_stride,
    left=0,
    left_stride=0,
    n_left=0,
    left2=0,
    left2_stride=0,
    n_left2=0,
    panel=0,
    out=0,
    out_stride=0,
    gates=0,
    gates_stride=0,
    c_prev=0,
    c=0,
    dc=0,
    keep=False,
):  # numba knows no defaults of a NamedTuple
    """Make a `Tile` by names."""
    return Tile(
        rows,
        right,
        right_stride,
        init,
        init_stride,
        left,
        left_stride,
        n_left,
        left2,
        left2_stride,
        n_left2,
        panel,
        out,
        out_stride,
        gates,
        gates_stride,
        c_prev,
        c,
        dc,
        keep,
    )


def _product(
    e: Emitter, t: Tile, rows: int, vectors: int, transposed: bool, at_k: Callable[[Any], None], late: bool
) -> dict[tuple[int, int], Vector]:
    """Emit the sums."""
    b, kind = e.b, e.kind
    places = [(r, v) for r in range(rows) for v in range(vectors)]
    zero = kind.constant(0.0)
    first = [zero if late else e.load(e.row(t.init, t.init_stride, r), v).value for r, v in places]
    fused = f"llvm.fma.{kind.suffix}"

    def accumulate(sums: list[Any], left: Any, stride: Any, n: Any, right: Any) -> list[Any]:
        starts = [e.address(left, r) if transposed else e.row(left, stride, r) for r in range(rows)]

        def body(k: Any, sums: list[Any]) -> list[Any]:
            offset = b.mul(k, stride) if transposed else k
            line = e.address(right, b.mul(k, t.right_stride))
            lines = [line] + [
                e.address(line, b.mul(t.panel, e.number(j))) for j in range(1, (vectors + 3) // 4)
            ]
            after: dict[tuple[int, int], Any] = {}
            of = dict(zip(places, sums, strict=True))

            def numbers(r: int) -> Any:
                return e.broadcast(e.address(starts[r], offset))

            def weights(v: int) -> Any:
                return e.load(lines[v // 4], v % 4).value

            # The smaller operand stays in registers, the other one streams by: sums + 1 + the smaller one.
            if vectors <= rows:
                held = [weights(v) for v in range(vectors)]
                for r in range(rows):
                    number = numbers(r)
                    for v in range(vectors):
                        after[r, v] = call(b, fused, kind.vector, [number, held[v], of[r, v]])
            else:
                held = [numbers(r) for r in range(rows)]
                for v in range(vectors):
                    weight = weights(v)
                    for r in range(rows):
                        after[r, v] = call(b, fused, kind.vector, [held[r], weight, of[r, v]])
            at_k(k)
            return [after[place] for place in places]

        return e.count(n, sums, body)

    sums = accumulate(first, t.left, t.left_stride, t.n_left, t.right)
    if not transposed:
        behind = e.address(t.right, b.mul(t.n_left, t.right_stride))
        sums = accumulate(sums, t.left2, t.left2_stride, t.n_left2, behind)
    result = {place: e.vector(value) for place, value in zip(places, sums, strict=True)}
    if late:
        result = {(r, v): x + e.load(e.row(t.init, t.init_stride, r), v) for (r, v), x in result.items()}
    return result


def _emit_store(e: Emitter, t: Tile, rows: int, vectors: int) -> None:
    """Write ``out = sums``."""
    sums = _product(e, t, rows, vectors, False, lambda k: None, late=False)
    for (r, v), x in sums.items():
        e.store(x, e.row(t.out, t.out_stride, r), v)


def _emit_store_transposed(e: Emitter, t: Tile, rows: int, vectors: int) -> None:
    """Write ``out = sums``, where left is read by columns and `init` is added last."""
    sums = _product(e, t, rows, vectors, True, lambda k: None, late=True)
    for (r, v), x in sums.items():
        e.store(x, e.row(t.out, t.out_stride, r), v)


def _emit_gates(e: Emitter, t: Tile, rows: int, vectors: int) -> None:
    """Forward: the sums are z of `vectors` / 4 blocks of hidden units; out = h."""
    keep = e.b.icmp_signed("!=", t.keep, e.number(0))
    with e.b.if_then(keep):  # the lines that will be written
        for r in range(rows):
            for j in range(vectors * e.kind.lanes * e.kind.n_bytes // CACHE_LINE):
                e.prefetch(
                    e.address(e.row(t.gates, t.gates_stride, r), j * CACHE_LINE // e.kind.n_bytes), write=True
                )
    z = _product(e, t, rows, vectors, False, lambda k: None, late=False)
    places = [(r, block) for r in range(rows) for block in range(vectors // 4)]
    z_i, z_f, z_g, z_o = (Vectors([z[r, 4 * block + gate] for r, block in places]) for gate in range(4))
    i, f, g, o = z_i.each(sigmoid), z_f.each(sigmoid), z_g.each(tanh), z_o.each(sigmoid)
    c_prev = Vectors([e.load(e.row(t.c_prev, t.out_stride, r), block) for r, block in places])
    with e.b.if_then(keep):
        for n, (r, block) in enumerate(places):
            for k, gate in enumerate((i, f, g, o)):
                e.store(gate.members[n], e.row(t.gates, t.gates_stride, r), 4 * block + k)
    c = f * c_prev + i * g
    h = o * c.each(tanh)
    for n, (r, block) in enumerate(places):
        e.store(c.members[n], e.row(t.c, t.out_stride, r), block)
        e.store(h.members[n], e.row(t.out, t.out_stride, r), block)


def _emit_dgates(e: Emitter, t: Tile, rows: int, vectors: int) -> None:
    """Backward: the sums are dh of `vectors` blocks of hidden units, written where `init` was."""
    b = e.b
    lines = 4 * vectors * e.kind.lanes * e.kind.n_bytes // CACHE_LINE  # of gates, per row

    def fetch(k: Any) -> None:  # a line per k of what the epilogue will read
        row, line = b.udiv(k, e.number(lines)), b.urem(k, e.number(lines))
        row = b.select(b.icmp_unsigned("<", row, e.number(rows)), row, e.number(rows - 1))
        address = e.address(t.gates, b.mul(row, t.gates_stride))
        e.prefetch(e.address(address, b.mul(line, e.number(CACHE_LINE // e.kind.n_bytes))))

    for r in range(rows):
        for base, stride in ((t.c_prev, t.out_stride), (t.init, t.init_stride)):
            for j in range(max(1, vectors * e.kind.lanes * e.kind.n_bytes // CACHE_LINE)):
                e.prefetch(e.address(e.row(base, stride, r), j * CACHE_LINE // e.kind.n_bytes))
    dh = _product(e, t, rows, vectors, False, fetch, late=True)
    for (r, v), x in dh.items():
        e.store(x, e.row(t.init, t.init_stride, r), v)


def _emit_dgates_row(e: Emitter, t: Tile, vectors: int) -> None:
    """Backward: gates of a row become dz in place.

    dh comes from the cache: that costs less than this much code for each row of each tile.
    """
    for v in range(vectors):
        dh = e.load(t.init, v)
        i, f, g, o = (e.load(t.gates, 4 * v + n) for n in range(4))
        tanh_c = tanh(e.load(t.c, v))
        dc = e.load(t.dc, v) + dh * o * (1.0 - tanh_c * tanh_c)
        dz_i = dc * g * i * (1.0 - i)
        dz_f = dc * e.load(t.c_prev, v) * f * (1.0 - f)
        dz_g = dc * i * (1.0 - g * g)
        dz_o = dh * tanh_c * o * (1.0 - o)
        for n, dz in enumerate((dz_i, dz_f, dz_g, dz_o)):
            e.store(dz, t.gates, 4 * v + n)
        e.store(dc * f, t.dc, v)


def _column(
    name: str,
    vectors: int,
    emit: Callable[[Emitter, Tile, int, int], None],
    emit_row: Callable[[Emitter, Tile, int], None] | None = None,
    transposed: bool = False,
) -> Any:
    """Make an operation that works down all rows, tile by tile, and in each with `emit_row` row by row."""

    def define(e: Emitter, arguments: list[Any]) -> None:
        t, b = Tile(*arguments), e.b

        def moved(t: Tile, r: Any) -> Tile:
            """Give the same, from row r on."""
            strides = {
                "init": t.init_stride,
                "left": e.number(1) if transposed else t.left_stride,
                "left2": t.left2_stride,
                "out": t.out_stride,
                "gates": t.gates_stride,
                "c_prev": t.out_stride,
                "c": t.out_stride,
                "dc": t.out_stride,
            }
            return t._replace(
                **{name: e.address(getattr(t, name), b.mul(r, stride)) for name, stride in strides.items()}
            )

        entry, loop, done = b.block, b.append_basic_block("rows"), b.append_basic_block("end")
        emitted = b.append_basic_block("emitted")
        b.cbranch(b.icmp_signed(">", t.rows, e.number(0)), loop, done)
        b.position_at_end(emitted)
        taken = b.phi(I64)
        b.position_at_end(loop)
        r = b.phi(I64)
        r.add_incoming(e.number(0), entry)
        left, here = b.sub(t.rows, r), moved(t, r)
        for height in ROWS[vectors]:
            take, skip = b.append_basic_block("take"), b.append_basic_block("skip")
            fits = b.icmp_signed(">=", left, e.number(height))
            if vectors == 4 and height % 3 == 0:  # 8 rows are 4 + 4, better than 6 + 2
                fits = b.and_(fits, b.icmp_signed("!=", left, e.number(height + height // 3)))
            b.cbranch(fits, take, skip)
            b.position_at_end(take)
            emit(e, here, height, vectors)
            taken.add_incoming(e.number(height), b.block)
            b.branch(emitted)
            b.position_at_end(skip)
        b.unreachable()
        b.position_at_end(emitted)
        if emit_row is not None:

            def each(row: Any, carried: list[Any]) -> list[Any]:
                emit_row(e, moved(here, row), vectors)
                return carried

            e.count(taken, [], each)
        following = b.add(r, taken)
        r.add_incoming(following, b.block)
        b.cbranch(b.icmp_signed("<", following, t.rows), loop, done)
        b.position_at_end(done)

    return operation(f"{name}_{vectors}", define)


gates_4 = _column("gates", 4, _emit_gates)
gates_8 = _column("gates", 8, _emit_gates)
dgates_1 = _column("dgates", 1, _emit_dgates, _emit_dgates_row)
dgates_2 = _column("dgates", 2, _emit_dgates, _emit_dgates_row)
dgates_3 = _column("dgates", 3, _emit_dgates, _emit_dgates_row)
dgates_4 = _column("dgates", 4, _emit_dgates, _emit_dgates_row)
store_1 = _column("store", 1, _emit_store)
store_2 = _column("store", 2, _emit_store)
store_3 = _column("store", 3, _emit_store)
store_4 = _column("store", 4, _emit_store)
store_transposed_4 = _column("store_transposed", 4, _emit_store_transposed, transposed=True)
