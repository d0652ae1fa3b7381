"""The LSTM, fast: from the plain loop to the register tile.

`lstm.py` says what is computed. This package computes the same, and is proven equal to it by every test.
docs/kernels.md takes a reader there step by step, each with its measured gain. The files, from the bottom up:

1. `cpu.py`: how wide a vector register is, and how many there are.
2. `vectors.py`: numbers in a register with operators; exp, sigmoid and tanh of them, by polynomials of
   our own.
3. `emitter.py`: how instructions are written, and become operations that compiled code calls.
4. `tile.py`: a block of a matrix product that stays in registers, and the gates' mathematics on its sums.
   Forward, the sums are z, and become gates, c and h. Backward, they are dh, and become dz and dc.
5. `moves.py`, `packing.py`: copies and transpositions by registers; weights in the order in which a tile
   reads them.
6. `passes.py`, `step.py`: the loops over time; one step of one sequence through all layers.
7. `layout.py`, `threads.py`, `buffers.py`: rows sorted by length, so that a row that has ended costs nothing;
   rows shared by threads; memory used again.
8. `engine.py`: all of it behind the two signatures of `lstm.py`.

Two choices go through all of it. Every sum is taken in one order, and every operation rounded once: so a
row has the same bits alone, in any batch, and for any number of threads. And nothing is computed that is not
needed: no padding, no rows that have ended, no gates kept in inference.

`jit.py` compiles, and keeps the result on disk. ``python -m benchmarks.lstm`` measures.
"""
