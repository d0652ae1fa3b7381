"""Cases: an LSTM with everything that a forward and a backward pass take, drawn at random."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstm_scratch.engines import Engine
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.params import Params

INPUTS, OUTPUTS = ("x", "h0", "c0"), ("y", "h_n", "c_n")


@dataclass(frozen=True)
class Case:
    """What a gradient is proven on. The loss is ``sum(y * dy) + sum(h_n * dh_n) + sum(c_n * dc_n)``.

    Parameters
    ----------
    lstm : LSTM
        Sizes and options.
    arrays : dict
        Parameters by name, and ``x``, ``h0``, ``c0``: all that is differentiated by.
    upstream : dict
        ``dy``, ``dh_n``, ``dc_n``: the gradients that come from the loss.
    lengths : ndarray (B,), int, or None
        Valid steps of each row.
    mask_seed : int or None
        Seed of the dropout masks, which are the same at every call. None: not in training.
    """

    lstm: LSTM
    arrays: dict[str, np.ndarray]
    upstream: dict[str, np.ndarray]
    lengths: np.ndarray | None = None
    mask_seed: int | None = None

    @property
    def params(self) -> Params:
        """The parameters among the arrays."""
        return {name: array for name, array in self.arrays.items() if name not in INPUTS}

    def on(self, engine: str | Engine) -> "Case":
        """Let another engine compute it.

        Parameters
        ----------
        engine : str or Engine
            As of `LSTM`.

        Returns
        -------
        Case
            The same, but for that.
        """
        return dataclasses.replace(self, lstm=dataclasses.replace(self.lstm, engine=engine))

    def values(self, arrays: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """Run the forward pass.

        Parameters
        ----------
        arrays : dict, optional
            Instead of the case's own.

        Returns
        -------
        dict
            ``y``, ``h_n`` and ``c_n``.
        """
        return dict(zip(OUTPUTS, self._forward(arrays or self.arrays)[0], strict=True))

    def loss(self, arrays: Mapping[str, np.ndarray]) -> Any:
        """Compute the loss.

        Parameters
        ----------
        arrays : dict
            Instead of the case's own; they may be complex.

        Returns
        -------
        float or complex
            The loss.
        """
        return sum((value * self.upstream[f"d{name}"]).sum() for name, value in self.values(arrays).items())

    def gradients(self) -> dict[str, np.ndarray]:
        """Run the backward pass.

        Returns
        -------
        dict
            The loss's gradient with respect to every array, under its name.
        """
        _, cache = self._forward(self.arrays)
        upstream = (self.upstream.get(name) for name in ("dy", "dh_n", "dc_n"))
        d_inputs, grads = self.lstm.backward(self.params, cache, *upstream)  # type: ignore[arg-type]  # dy is there
        return grads | dict(zip(INPUTS, d_inputs, strict=True))

    def _forward(self, arrays: Mapping[str, np.ndarray]) -> tuple[tuple[np.ndarray, ...], Any]:
        rng = None if self.mask_seed is None else np.random.default_rng(self.mask_seed)
        x, h0, c0 = (arrays[name] for name in INPUTS)
        params = {name: array for name, array in arrays.items() if name not in INPUTS}
        return self.lstm.forward(params, x, h0, c0, self.lengths, rng)


def draw_case(
    lstm: LSTM,
    T: int = 5,
    B: int | None = 3,
    lengths: Any = None,
    seed: int = 0,
    dtype: Any = np.float64,
    mask_seed: int | None = None,
) -> Case:
    """Draw a case.

    Parameters
    ----------
    lstm : LSTM
        Sizes and options.
    T : int, default 5
        Time steps.
    B : int or None, default 3
        Batch rows; None for one sequence without a batch axis.
    lengths : sequence of int, optional
        Valid steps of each row.
    seed : int, default 0
        Of everything that is drawn.
    dtype : dtype, default float64
        Of everything that is drawn.
    mask_seed : int, optional
        Seed of the dropout masks. By default there is no dropout.

    Returns
    -------
    Case
        Parameters around those of `LSTM.init`, none of them zero, and normal inputs and gradients.
    """
    rng = np.random.default_rng(seed)
    params = {k: a + rng.normal(scale=0.5, size=a.shape) for k, a in lstm.init(rng, np.float64).items()}
    rows = () if B is None else (B,)
    layout = (*rows, T) if lstm.batch_first else (T, *rows)
    states = (lstm.num_layers * len(lstm.directions), *rows)
    P = lstm.proj_size or lstm.hidden_size
    inputs = {"x": (*layout, lstm.input_size), "h0": (*states, P), "c0": (*states, lstm.hidden_size)}
    upstream = {"dy": (*layout, lstm.output_size), "dh_n": inputs["h0"], "dc_n": inputs["c0"]}
    arrays = params | {name: rng.normal(size=shape) for name, shape in inputs.items()}
    return Case(
        lstm,
        {name: array.astype(dtype) for name, array in arrays.items()},
        {name: rng.normal(size=shape).astype(dtype) for name, shape in upstream.items()},
        None if lengths is None else np.asarray(lengths),
        mask_seed,
    )
