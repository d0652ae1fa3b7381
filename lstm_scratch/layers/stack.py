"""The LSTM as people use it: layers on top of each other, one or two directions, dropout between.

Letters: T time steps, B batch rows, I inputs, H hidden units, D directions (1 or 2), L layers.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lstm_scratch.checks import check_number, check_probability
from lstm_scratch.layers.dropout import dropout_backward, dropout_forward
from lstm_scratch.lstm import LSTMCache, lstm_backward, lstm_forward, lstm_init
from lstm_scratch.params import Params


class StackCache(NamedTuple):
    """All that `LSTM.backward` needs of the forward pass."""

    passes: list[LSTMCache]  # one per layer and direction: l0, l0_reverse, l1, ...
    masks: list[np.ndarray | None]  # dropout between layers
    lengths: np.ndarray  # (B,)


@dataclass(frozen=True)
class LSTM:
    """A stack of LSTM layers, as `torch.nn.LSTM` computes it.

    It holds sizes only; parameters and caches go in and out of its methods. A direction's
    parameters are ``weight_ih_l{k}``, ``weight_hh_l{k}`` and ``bias_l{k}``, with ``_reverse`` at the
    end for the one that reads backwards.

    Parameters
    ----------
    input_size : int
        I, features per step.
    hidden_size : int
        H, hidden units per layer and direction.
    num_layers : int, default 1
        L.
    bidirectional : bool, default False
        Read backwards too: D = 2, outputs side by side.
    dropout : float, default 0
        Probability of dropping an output on its way to the next layer, in training.

    Raises
    ------
    SettingError
        If a size is not positive or the probability not in [0, 1).
    """

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("input_size", "hidden_size", "num_layers"):
            check_number(name, getattr(self, name), whole=True, above=0)
        check_probability("dropout", self.dropout)

    @property
    def output_size(self) -> int:
        """D * H, columns of the output."""
        return self.hidden_size * (2 if self.bidirectional else 1)

    def init(self, rng: np.random.Generator, dtype: Any = np.float32) -> Params:
        """Draw parameters: Glorot input weights, orthogonal recurrent weights, zero biases.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of randomness.
        dtype : dtype, default float32
            Of the parameters.

        Returns
        -------
        dict
            Parameters by name.
        """
        params = {}
        for layer in range(self.num_layers):
            size = self.input_size if layer == 0 else self.output_size
            for reverse in self._directions:
                for name, array in lstm_init(rng, size, self.hidden_size).items():
                    params[name + _suffix(layer, reverse)] = array.astype(dtype)
        return params

    def forward(
        self,
        params: Params,
        x: np.ndarray,
        h0: np.ndarray | None = None,
        c0: np.ndarray | None = None,
        lengths: np.ndarray | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], StackCache]:
        """Run the stack over a batch of sequences.

        Parameters
        ----------
        params : dict
            Parameters by name.
        x : ndarray (T, B, I)
            Inputs.
        h0, c0 : ndarray (L * D, B, H), optional
            States before the first step, in the order l0, l0_reverse, l1, ... By default zero.
        lengths : ndarray (B,), int, optional
            Valid steps of each row, in any order, 0 .. T. By default T.
        rng : numpy.random.Generator, optional
            Source of the dropout masks, in training. By default there is no dropout.

        Returns
        -------
        outputs : tuple of ndarray
            ``y (T, B, D * H)``, zero at the padding, ``h_n`` and ``c_n (L * D, B, H)``.
        cache : StackCache
            What `backward` needs.

        Raises
        ------
        ValueError
            If a shape or a length does not fit.
        """
        lengths = self._check(x, h0, c0, lengths)
        y, h_n, c_n = x, [], []
        passes: list[LSTMCache] = []
        masks: list[np.ndarray | None] = []
        for layer in range(self.num_layers):
            if layer > 0:
                y, mask = dropout_forward(y, self.dropout, rng)
                masks.append(mask)
            outputs = []
            for reverse in self._directions:
                row = len(passes)
                (out, h, c), cache = lstm_forward(
                    self._of_pass(params, layer, reverse),
                    reverse_valid(y, lengths) if reverse else y,
                    None if h0 is None else h0[row],
                    None if c0 is None else c0[row],
                    lengths,
                )
                outputs.append(reverse_valid(out, lengths) if reverse else out)
                h_n.append(h)
                c_n.append(c)
                passes.append(cache)
            y = np.concatenate(outputs, axis=2)
        return (y, np.stack(h_n), np.stack(c_n)), StackCache(passes, masks, lengths)

    def backward(
        self,
        params: Params,
        cache: StackCache,
        dy: np.ndarray,
        dh_n: np.ndarray | None = None,
        dc_n: np.ndarray | None = None,
    ) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], Params]:
        """Carry a loss's gradient back through the stack.

        Parameters
        ----------
        params : dict
            The parameters given to `forward`.
        cache : StackCache
            What `forward` returned.
        dy : ndarray (T, B, D * H)
            Gradient of the loss with respect to ``y``.
        dh_n, dc_n : ndarray (L * D, B, H), optional
            Gradients with respect to ``h_n`` and ``c_n``. By default zero.

        Returns
        -------
        inputs : tuple of ndarray
            ``dx (T, B, I)``, ``dh0`` and ``dc0 (L * D, B, H)``.
        grads : dict
            Gradients of the parameters, under their names.
        """
        passes, masks, lengths = cache
        H, D = self.hidden_size, len(self._directions)
        state = passes[0].h[0]
        dh0, dc0 = np.empty((2, len(passes), *state.shape), state.dtype)
        grads: Params = {}
        for layer in reversed(range(self.num_layers)):
            dx = np.zeros_like(passes[D * layer].x)
            for reverse in self._directions:
                row = D * layer + reverse
                d_out = dy[:, :, H * reverse : H * (reverse + 1)]
                (d_in, dh0[row], dc0[row]), of_pass = lstm_backward(
                    self._of_pass(params, layer, reverse),
                    passes[row],
                    reverse_valid(d_out, lengths) if reverse else d_out,
                    None if dh_n is None else dh_n[row],
                    None if dc_n is None else dc_n[row],
                )
                dx += reverse_valid(d_in, lengths) if reverse else d_in
                grads |= {name + _suffix(layer, reverse): grad for name, grad in of_pass.items()}
            dy = dropout_backward(dx, masks[layer - 1]) if layer > 0 else dx
        return (dy, dh0, dc0), grads

    @property
    def _directions(self) -> tuple[bool, ...]:
        """For each direction, whether it reads in reverse."""
        return (False, True) if self.bidirectional else (False,)

    def _of_pass(self, params: Params, layer: int, reverse: bool) -> Params:
        """Parameters of one layer and direction, under the names of `lstm.py`."""
        suffix = _suffix(layer, reverse)
        return {name: params[name + suffix] for name in ("weight_ih", "weight_hh", "bias")}

    def _check(
        self,
        x: np.ndarray,
        h0: np.ndarray | None,
        c0: np.ndarray | None,
        lengths: np.ndarray | None,
    ) -> np.ndarray:
        """Refuse shapes that would only fail deep inside, or broadcast; return the lengths."""
        if x.ndim != 3 or x.shape[2] != self.input_size:
            raise ValueError(f"x has shape {x.shape}, not (T, B, {self.input_size})")
        T, B, _ = x.shape
        shape = (self.num_layers * len(self._directions), B, self.hidden_size)
        for name, state in (("h0", h0), ("c0", c0)):
            if state is not None and state.shape != shape:
                raise ValueError(f"{name} has shape {state.shape}, not {shape}")
        if lengths is None:
            return np.full(B, T)
        lengths = np.asarray(lengths)
        if lengths.shape != (B,) or not np.issubdtype(lengths.dtype, np.integer):
            raise ValueError(f"lengths are {B} whole numbers, not {lengths!r}")
        if B and not (lengths.min() >= 0 and lengths.max() <= T):
            raise ValueError(f"lengths lie between 0 and T={T}, not {lengths!r}")
        return lengths


def reverse_valid(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Reverse the valid steps of each row in time; the padding stays where it is.

    Its own inverse, and its own backward.

    Parameters
    ----------
    x : ndarray (T, B, F)
        A batch.
    lengths : ndarray (B,), int
        Valid steps of each row.

    Returns
    -------
    ndarray (T, B, F)
        The batch, row b's step t holding what was in step ``lengths[b] - 1 - t``.
    """
    t = np.arange(len(x))[:, None]
    source = np.where(t < lengths, lengths - 1 - t, t)
    return np.take_along_axis(x, source[:, :, None], axis=0)


def _suffix(layer: int, reverse: bool) -> str:
    """End of the parameters' names of one layer and direction, as torch has it."""
    return f"_l{layer}_reverse" if reverse else f"_l{layer}"
