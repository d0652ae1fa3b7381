"""The chapter: one LSTM layer in one direction, forward and backward through time, in plain numpy.

Letters: T time steps, B batch rows, I inputs, H hidden units. Arrays are time-major, ``(T, B, .)``.

Forward, for t = 0 .. T-1 (`*` is elementwise, `@` the matrix product, rows are samples):

    z_t = x_t @ weight_ih.T + h_{t-1} @ weight_hh.T + bias      (B, 4H), blocks z_i, z_f, z_g, z_o
    i, f, o = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o)          input, forget and output gate
    g = tanh(z_g)                                               the candidate for the cell
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(c_t)

The arrays ``h`` and ``c`` are ``(T+1, B, H)``: slot 0 is the initial state and slot t+1 the state
after step t, so that no step is special. Row b takes ``lengths[b]`` steps: after its last one its
state stays as it is, its output is zero, and no gradient enters. What `x` and `dy` hold at the
padding is never looked at, be it NaN.

Where `x`, the states and the parameters have one dtype, it is kept: float32, float64, and complex128, in
which every operation here is analytic, so that a gradient can be checked by a complex step. Shapes and
lengths are not checked here; `LSTM` does that.

Sources: S. Hochreiter and J. Schmidhuber, Neural Computation 9 (1997) 1735; the forget gate:
F. Gers, J. Schmidhuber and F. Cummins, Neural Computation 12 (2000) 2451; backpropagation through
time: P. Werbos, Proceedings of the IEEE 78 (1990) 1550.
"""

from typing import NamedTuple

import numpy as np

from lstm_scratch.params import Params, glorot_uniform, orthogonal


class LSTMCache(NamedTuple):
    """All that `lstm_backward` needs of the forward pass."""

    x: np.ndarray  # (T, B, I), zero at the padding
    h: np.ndarray  # (T+1, B, H)
    c: np.ndarray  # (T+1, B, H)
    gates: np.ndarray  # (T, B, 4H): i, f, g, o after their nonlinearities
    valid: np.ndarray  # (T, B, 1), bool: False at the padding


def lstm_forward(
    params: Params,
    x: np.ndarray,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], LSTMCache]:
    """Run the layer over a batch of sequences.

    Parameters
    ----------
    params : dict
        ``weight_ih (4H, I)``, ``weight_hh (4H, H)`` and ``bias (4H,)``, in blocks i, f, g, o.
    x : ndarray (T, B, I)
        Inputs.
    h0, c0 : ndarray (B, H), optional
        Hidden and cell state before the first step. By default zero.
    lengths : ndarray (B,), int, optional
        Valid steps of each row, in any order, 0 .. T. By default T.

    Returns
    -------
    outputs : tuple of ndarray
        ``y (T, B, H)``, the hidden state after every step, zero at the padding; ``h_n (B, H)`` and
        ``c_n (B, H)``, the state after each row's last valid step.
    cache : LSTMCache
        What `lstm_backward` needs.
    """
    weight_ih, weight_hh, bias = params["weight_ih"], params["weight_hh"], params["bias"]
    (T, B, _), H = x.shape, weight_hh.shape[1]
    valid = valid_steps(lengths, T, B)
    x = np.where(valid, x, 0)

    gates = x @ weight_ih.T + bias  # what needs no recurrence, for all steps at once
    h = np.zeros((T + 1, B, H), gates.dtype)
    c = np.zeros((T + 1, B, H), gates.dtype)
    if h0 is not None:
        h[0] = h0
    if c0 is not None:
        c[0] = c0

    for t in range(T):
        z_i, z_f, z_g, z_o = np.split(gates[t] + h[t] @ weight_hh.T, 4, axis=1)
        i, f, g, o = sigmoid(z_i), sigmoid(z_f), np.tanh(z_g), sigmoid(z_o)
        c_t = f * c[t] + i * g
        h_t = o * np.tanh(c_t)
        gates[t] = np.concatenate([i, f, g, o], axis=1)
        c[t + 1] = np.where(valid[t], c_t, c[t])
        h[t + 1] = np.where(valid[t], h_t, h[t])

    y = np.where(valid, h[1:], 0)
    return (y, h[T].copy(), c[T].copy()), LSTMCache(x, h, c, gates, valid)


def lstm_backward(
    params: Params,
    cache: LSTMCache,
    dy: np.ndarray,
    dh_n: np.ndarray | None = None,
    dc_n: np.ndarray | None = None,
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], Params]:
    """Carry a loss's gradient back through every step.

    With ``dh`` and ``dc`` the gradients that reach h_t and c_t (from y_t, from step t+1, or from
    h_n and c_n), ``s'(z) = s (1 - s)`` for the sigmoid and ``tanh'(z) = 1 - tanh(z)**2``:

        dc   += dh * o * (1 - tanh(c_t)**2)
        dz_i  = dc * g       * i * (1 - i)
        dz_f  = dc * c_{t-1} * f * (1 - f)
        dz_g  = dc * i       * (1 - g**2)
        dz_o  = dh * tanh(c_t) * o * (1 - o)
        dh_{t-1} = dz @ weight_hh,   dc_{t-1} = dc * f

    and over all steps ``dx = dz @ weight_ih``, ``dweight_ih = dz.T @ x``,
    ``dweight_hh = dz.T @ h_{t-1}``, ``dbias = sum(dz)``.

    Parameters
    ----------
    params : dict
        The parameters given to `lstm_forward`.
    cache : LSTMCache
        What `lstm_forward` returned.
    dy : ndarray (T, B, H)
        Gradient of the loss with respect to ``y``.
    dh_n, dc_n : ndarray (B, H), optional
        Gradients with respect to ``h_n`` and ``c_n``. By default zero.

    Returns
    -------
    inputs : tuple of ndarray
        ``dx (T, B, I)``, zero at the padding, ``dh0 (B, H)`` and ``dc0 (B, H)``.
    grads : dict
        Gradients of the parameters, under their names.
    """
    x, h, c, gates, valid = cache
    T, B, H = dy.shape
    dy = np.where(valid, dy, 0)
    dh = np.zeros((B, H), gates.dtype) if dh_n is None else dh_n
    dc = np.zeros((B, H), gates.dtype) if dc_n is None else dc_n

    dz = np.empty_like(gates)
    for t in reversed(range(T)):
        i, f, g, o = np.split(gates[t], 4, axis=1)
        tanh_c = np.tanh(c[t + 1])
        dh_t = dh + dy[t]
        dc_t = dc + dh_t * o * (1 - tanh_c**2)
        dz_i = dc_t * g * i * (1 - i)
        dz_f = dc_t * c[t] * f * (1 - f)
        dz_g = dc_t * i * (1 - g**2)
        dz_o = dh_t * tanh_c * o * (1 - o)
        dz[t] = np.where(valid[t], np.concatenate([dz_i, dz_f, dz_g, dz_o], axis=1), 0)
        dh = np.where(valid[t], dz[t] @ params["weight_hh"], dh)
        dc = np.where(valid[t], dc_t * f, dc)

    dx = dz @ params["weight_ih"]
    dz = dz.reshape(T * B, 4 * H)
    grads = {
        "weight_ih": dz.T @ x.reshape(T * B, x.shape[2]),
        "weight_hh": dz.T @ h[:-1].reshape(T * B, H),
        "bias": dz.sum(axis=0),
    }
    return (dx, dh, dc), grads


def lstm_init(rng: np.random.Generator, input_size: int, hidden_size: int) -> Params:
    """Draw the parameters of one layer and direction.

    Input weights are Glorot uniform, recurrent weights orthogonal, each gate's block drawn on its
    own; biases are zero.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    input_size : int
        I.
    hidden_size : int
        H.

    Returns
    -------
    dict
        ``weight_ih (4H, I)``, ``weight_hh (4H, H)`` and ``bias (4H,)``, float64.
    """
    H = hidden_size
    return {
        "weight_ih": np.vstack([glorot_uniform(rng, H, input_size) for _ in "ifgo"]),
        "weight_hh": np.vstack([orthogonal(rng, H, H) for _ in "ifgo"]),
        "bias": np.zeros(4 * H),
    }


def sigmoid(z: np.ndarray) -> np.ndarray:
    """Logistic function ``1 / (1 + exp(-z))``.

    Parameters
    ----------
    z : ndarray
        Real or complex values.

    Returns
    -------
    ndarray
        Values of the same shape and dtype.
    """
    # In terms of tanh nothing overflows, and complex numbers stay analytic.
    return 0.5 * np.tanh(0.5 * z) + 0.5


def valid_steps(lengths: np.ndarray | None, T: int, B: int) -> np.ndarray:
    """Tell the steps of each row from its padding.

    Parameters
    ----------
    lengths : ndarray (B,), int, optional
        Valid steps of each row. By default T.
    T, B : int
        Time steps and batch rows.

    Returns
    -------
    ndarray (T, B, 1), bool
        True where row b has a step t.
    """
    if lengths is None:
        return np.ones((T, B, 1), dtype=bool)
    return (np.arange(T)[:, None] < lengths)[:, :, None]
