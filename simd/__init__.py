"""Numbers in registers: how vector instructions are written, compiled and kept on disk.

Beside them are the threads that share work and the memory that it takes. The package knows nothing of sound
nor of LSTMs, and imports nothing of ours: whoever computes fast builds on it. The files, from the bottom up:

1. `cpu.py`: how wide a vector register is, and how many there are. `jit.py`: compiles, and keeps the result
   on disk.
2. `vectors.py`: numbers in a register with operators; exp, sigmoid and tanh of them, by polynomials of
   our own.
3. `emitter.py`: how instructions are written, and become operations that compiled code calls.
4. `moves.py`: copies and transpositions by registers. `threads.py`: a piece of work in parts, each in a
   thread of its own. `buffers.py`: aligned memory, used again.

A compiled function may call those of its own folder and those here: then what is kept on disk is never stale.
"""
