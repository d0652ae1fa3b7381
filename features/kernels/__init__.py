"""Features, fast: a register holds the same sample of as many frames as it has lanes.

`features.extraction` says what is computed. Here it is computed for L frames side by side, from their samples
to their columns, in memory that fits the nearest cache:

1. `fft.py`: the Fourier transform, in place, by passes of radix 2 to 5; and power from it.
2. `frames.py`: what comes before and after: DC, pre-emphasis, window; bands, logarithm, columns. All of it
   in one compiled function, and the tables that it reads.

No lane knows of another. So a frame has the same bits wherever it is: alone, in a stream, in a clip.
"""
