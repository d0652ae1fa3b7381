"""The whole network, from sequences to logits: LSTM stack, pooling, dropout, linear.

Letters: T time steps, B batch rows, F features per step, K classes.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lstm_scratch.checks import check_probability
from lstm_scratch.errors import SettingError
from lstm_scratch.layers.dropout import dropout_backward, dropout_forward
from lstm_scratch.layers.linear import linear_backward, linear_forward, linear_init
from lstm_scratch.layers.loss import cross_entropy_backward, cross_entropy_forward
from lstm_scratch.layers.pooling import (
    PoolingCache,
    pooled_size,
    pooling_backward,
    pooling_forward,
    pooling_init,
    statistics,
)
from lstm_scratch.layers.stack import LSTM, StackCache
from lstm_scratch.params import Params, prefixed, under
from lstm_scratch.tracing import trace


class NetworkCache(NamedTuple):
    """All that `Network.backward` needs of the forward pass."""

    lstm: StackCache
    pooling: PoolingCache
    mask: np.ndarray | None  # dropout
    linear: np.ndarray


@dataclass(frozen=True)
class Network:
    """A classifier of sequences. It holds sizes only; parameters go in and out of its methods.

    Parameters
    ----------
    lstm : LSTM
        The stack.
    n_classes : int
        K.
    pooling : str, default "mean"
        How the steps become one vector: "mean", "max", "std", "last", "attention", or several joined by "+".
        "none": every step has logits of its own.
    dropout : float, default 0
        Probability of dropping a pooled value, in training.

    Raises
    ------
    SettingError
        If the pooling is unknown, the probability not in [0, 1), or the stack batch-first.
    """

    lstm: LSTM
    n_classes: int
    pooling: str = "mean"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.lstm.batch_first:
            raise SettingError("a network reads (T, B, F): give its LSTM batch_first=False")
        statistics(self.pooling)
        check_probability("dropout", self.dropout)

    def init(self, rng: np.random.Generator, dtype: Any = np.float32, forget_bias: float = 0.0) -> Params:
        """Draw parameters.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of randomness.
        dtype : dtype, default float32
            Of the parameters.
        forget_bias : float, default 0
            Bias of the forget gates, as of `LSTM.init`.

        Returns
        -------
        dict
            ``lstm.*``, ``pooling.*`` and ``linear.*``.
        """
        size = self.lstm.output_size
        params = (
            prefixed("lstm", self.lstm.init(rng, dtype, forget_bias))
            | prefixed("pooling", pooling_init(rng, self.pooling, size))
            | prefixed("linear", linear_init(rng, pooled_size(self.pooling, size), self.n_classes))
        )
        return {name: array.astype(dtype) for name, array in params.items()}

    def forward(
        self,
        params: Params,
        x: np.ndarray,
        lengths: np.ndarray,
        rng: np.random.Generator | None = None,
        inference: bool = False,
    ) -> tuple[np.ndarray, NetworkCache]:
        """Compute the logits of a batch.

        Parameters
        ----------
        params : dict
            Parameters by name.
        x : ndarray (T, B, F)
            Padded sequences.
        lengths : ndarray (B,), int
            Valid steps of each row.
        rng : numpy.random.Generator, optional
            Source of the dropout masks, in training. By default there is no dropout.
        inference : bool, default False
            Promise that no backward pass follows.

        Returns
        -------
        logits : ndarray (B, K), or (T, B, K) where nothing is pooled
            Scores before the softmax.
        cache : NetworkCache
            What `backward` needs.
        """
        (y, _, _), lstm = self.lstm.forward(
            under("lstm", params), x, lengths=lengths, rng=rng, inference=inference
        )
        pooled, pooling = pooling_forward(
            under("pooling", params), self.pooling, y, lengths, self.lstm.directions
        )
        dropped, mask = dropout_forward(pooled, self.dropout, rng)
        logits, linear = linear_forward(under("linear", params), dropped)
        return logits, NetworkCache(lstm, pooling, mask, linear)

    def backward(
        self, params: Params, cache: NetworkCache, dlogits: np.ndarray, input_gradient: bool = True
    ) -> tuple[np.ndarray, Params]:
        """Carry a loss's gradient back to inputs and parameters.

        Parameters
        ----------
        params : dict
            The parameters given to `forward`.
        cache : NetworkCache
            What `forward` returned.
        dlogits : ndarray (B, K) or (T, B, K)
            Gradient with respect to its result.
        input_gradient : bool, default True
            Whether ``dx`` is wanted.

        Returns
        -------
        dx : ndarray (T, B, F)
            Gradient with respect to ``x``; without columns, if it is not wanted.
        grads : dict
            Gradients of the parameters.
        """
        dy, head = self._head_backward(params, cache, dlogits)
        (dx, _, _), lstm = self.lstm.backward(
            under("lstm", params), cache.lstm, dy, input_gradient=input_gradient
        )
        return dx, prefixed("lstm", lstm) | head

    def trace(
        self, params: Params, x: np.ndarray, lengths: np.ndarray, targets: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Record every step of the stack, and the gradient of the cross-entropy with respect to it.

        Parameters
        ----------
        params : dict
            Parameters by name.
        x : ndarray (T, B, F)
            Padded sequences.
        lengths : ndarray (B,), int
            Valid steps of each row.
        targets : ndarray (B,) or (T, B), int
            The class of each row, or step, whose loss is meant. The loss is the mean over them.

        Returns
        -------
        dict of str to ndarray
            As of `lstm_scratch.tracing.trace`.
        """
        logits, cache = self.forward(params, x, lengths)
        _, loss = cross_entropy_forward(logits, targets)
        dy, _ = self._head_backward(params, cache, cross_entropy_backward(loss))
        return trace(self.lstm, under("lstm", params), x, lengths=lengths, dy=dy)

    def _head_backward(
        self, params: Params, cache: NetworkCache, dlogits: np.ndarray
    ) -> tuple[np.ndarray, Params]:
        """From the logits back to the outputs of the stack."""
        dropped, linear = linear_backward(under("linear", params), cache.linear, dlogits)
        pooled = dropout_backward(dropped, cache.mask)
        dy, pooling = pooling_backward(under("pooling", params), self.pooling, cache.pooling, pooled)
        return dy, prefixed("pooling", pooling) | prefixed("linear", linear)
