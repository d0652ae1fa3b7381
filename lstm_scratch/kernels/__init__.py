"""The LSTM, fast: from the plain loop to the register tile.

`lstm.py` says what is computed. This package computes the same, and is proven equal to it by every test.
docs/kernels.md takes a reader there step by step, each with its measured gain. The package `simd` has what
it is written with: registers with operators, the compiler, threads, memory. The files, from the bottom up:

1. `tile.py`: a block of a matrix product that stays in registers, and the gates' mathematics on its sums.
   Forward, the sums are z, and become gates, c and h. Backward, they are dh, and become dz and dc.
2. `packing.py`: weights in the order in which a tile reads them.
3. `passes.py`, `step.py`, `head.py`: the loops over time; one step of one sequence through all layers;
   what follows the LSTM after a step.
4. `layout.py`: rows sorted by length, so that a row that has ended costs nothing.
5. `engine.py`: all of it behind the two signatures of `lstm.py`.

Two choices go through all of it. Every sum is taken in one order, and every operation rounded once: so a
row has the same bits alone, in any batch, and for any number of threads. And nothing is computed that is not
needed: no padding, no rows that have ended, no gates kept in inference.

``python -m benchmarks.lstm`` measures.
"""
