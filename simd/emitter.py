"""Writing instructions for LLVM: addresses, loads, stores, loops, and operations that jitted code calls."""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from simd.vectors import Kind, Vector

I64, I32 = ir.IntType(64), ir.IntType(32)
CACHE_LINE = 64  # bytes


class Emitter:
    """Writes instructions for one kind of number. Addresses are in bytes, strides in elements.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Where they are written.
    kind : Kind
        Of the numbers.
    """

    def __init__(self, builder: Any, kind: Kind) -> None:
        self.b, self.kind = builder, kind

    def number(self, value: int) -> ir.Constant:
        """Write a whole number.

        Parameters
        ----------
        value : int
            The number.

        Returns
        -------
        llvmlite.ir.Constant
            The same as LLVM's.
        """
        return ir.Constant(I64, value)

    def address(self, base: Any, elements: Any) -> Any:
        """Give the address so many elements behind another.

        Parameters
        ----------
        base : llvmlite.ir.Value
            An address.
        elements : int or llvmlite.ir.Value
            How many.

        Returns
        -------
        llvmlite.ir.Value
            An address.
        """
        if isinstance(elements, int):
            return base if elements == 0 else self.b.add(base, self.number(elements * self.kind.n_bytes))
        return self.b.add(base, self.b.mul(elements, self.number(self.kind.n_bytes)))

    def row(self, base: Any, stride: Any, r: int) -> Any:
        """Give the address of a row.

        Parameters
        ----------
        base : llvmlite.ir.Value
            Address of row 0.
        stride : llvmlite.ir.Value
            From one row to the next.
        r : int
            Which row.

        Returns
        -------
        llvmlite.ir.Value
            An address.
        """
        return base if r == 0 else self.address(base, self.b.mul(stride, self.number(r)))

    def vector(self, value: Any) -> Vector:
        """Give a register's numbers their operators.

        Parameters
        ----------
        value : llvmlite.ir.Value
            The register.

        Returns
        -------
        Vector
            The same.
        """
        return Vector(self.b, self.kind, value)

    def load(self, address: Any, vector: int = 0) -> Vector:
        """Load a register's numbers.

        Parameters
        ----------
        address : llvmlite.ir.Value
            Where they are.
        vector : int, default 0
            How many vectors behind it.

        Returns
        -------
        Vector
            The numbers.
        """
        address = self.address(address, vector * self.kind.lanes)
        pointer = self.b.inttoptr(address, self.kind.vector.as_pointer())
        return self.vector(self.b.load(pointer, align=self.kind.n_bytes))

    def store(self, value: Vector, address: Any, vector: int = 0) -> None:
        """Store a register's numbers.

        Parameters
        ----------
        value : Vector
            The numbers.
        address : llvmlite.ir.Value
            Where to.
        vector : int, default 0
            How many vectors behind it.
        """
        address = self.address(address, vector * self.kind.lanes)
        pointer = self.b.inttoptr(address, self.kind.vector.as_pointer())
        self.b.store(value.value, pointer, align=self.kind.n_bytes)

    def broadcast(self, address: Any) -> Any:
        """Load one number into all lanes.

        Parameters
        ----------
        address : llvmlite.ir.Value
            Where it is.

        Returns
        -------
        llvmlite.ir.Value
            A vector.
        """
        number = self.b.load(self.b.inttoptr(address, self.kind.scalar.as_pointer()))
        undefined = ir.Constant(self.kind.vector, ir.Undefined)
        first = self.b.insert_element(undefined, number, ir.Constant(I32, 0))
        lanes = ir.Constant(ir.VectorType(I32, self.kind.lanes), [0] * self.kind.lanes)
        return self.b.shuffle_vector(first, undefined, lanes)

    def prefetch(self, address: Any, write: bool = False) -> None:
        """Ask for a cache line that will be needed soon.

        Parameters
        ----------
        address : llvmlite.ir.Value
            In the line; it need not be valid.
        write : bool, default False
            Whether it will be written.
        """
        pointer = ir.IntType(8).as_pointer()
        signature = ir.FunctionType(ir.VoidType(), [pointer, I32, I32, I32])
        name = "llvm.prefetch.p0"
        function = self.b.module.globals.get(name) or ir.Function(self.b.module, signature, name)
        flags = [ir.Constant(I32, flag) for flag in (int(write), 3, 1)]
        self.b.call(function, [self.b.inttoptr(address, pointer), *flags])

    def count(self, n: Any, carried: list[Any], body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
        """Loop k = 0 .. n - 1, carrying values from one turn to the next.

        Parameters
        ----------
        n : llvmlite.ir.Value
            How many turns.
        carried : list of llvmlite.ir.Value
            Values before the first turn.
        body : callable
            Writes a turn: from k and the values before it, the values after it.

        Returns
        -------
        list of llvmlite.ir.Value
            Values after the last turn.
        """
        b = self.b
        before = b.block
        loop, done = b.append_basic_block("k"), b.append_basic_block("k_done")
        b.cbranch(b.icmp_signed(">", n, self.number(0)), loop, done)
        b.position_at_end(loop)
        k = b.phi(I64)
        k.add_incoming(self.number(0), before)
        inside = [b.phi(value.type) for value in carried]
        result = body(k, inside)
        following = b.add(k, self.number(1))
        k.add_incoming(following, b.block)
        for phi, start, end in zip(inside, carried, result, strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(end, b.block)
        last = b.block
        b.cbranch(b.icmp_signed("<", following, n), loop, done)
        b.position_at_end(done)
        after = [b.phi(value.type) for value in carried]
        for phi, start, end in zip(after, carried, result, strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(end, last)
        return after


def operation(name: str, define: Callable[[Emitter, list[Any]], None]) -> Any:
    """Make an operation for jitted code: ``run(array, numbers)``, where the array only tells the dtype.

    Parameters
    ----------
    name : str
        Its name, one of a kind.
    define : callable
        Writes it, given an emitter and the numbers.

    Returns
    -------
    callable
        The operation. `numbers` is a tuple of whole ones. It becomes one function per kind of number,
        wherever it is called from.
    """

    @intrinsic
    def run(context: Any, array: Any, numbers: Any) -> Any:
        kind = Kind(np.dtype(str(array.dtype)))

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            full = f"simd_{name}_{kind.suffix}"
            function = builder.module.globals.get(full)
            if function is None:
                function_type = ir.FunctionType(ir.VoidType(), [I64] * len(signature.args[1].types))
                function = ir.Function(builder.module, function_type, full)
                # One copy serves all who are linked together; as internal ones, two of them hung.
                function.linkage = "linkonce_odr"
                function.attributes.add("noinline")
                inside = ir.IRBuilder(function.append_basic_block("entry"))
                define(Emitter(inside, kind), list(function.args))
                inside.ret_void()
            arguments = [
                context.cast(builder, builder.extract_value(values[1], n), of, types.intp)
                for n, of in enumerate(signature.args[1].types)
            ]
            builder.call(function, arguments)
            return context.get_dummy_value()

        return types.void(array, numbers), codegen

    return run
