"""The same LSTM in torch, for comparison. torch is imported inside the function only."""

import numpy as np

from lstm_scratch.layers.stack import LSTM
from lstm_scratch.params import Params, from_torch_names, to_torch_names


def torch_lstm(
    lstm: LSTM,
    params: Params,
    x: np.ndarray,
    h0: np.ndarray,
    c0: np.ndarray,
    lengths: np.ndarray,
    dy: np.ndarray,
    dh_n: np.ndarray,
    dc_n: np.ndarray,
) -> tuple[Params, Params]:
    """Run `torch.nn.LSTM` on packed sequences, forward and backward.

    Parameters
    ----------
    lstm : LSTM
        Sizes.
    params : dict
        Its parameters, float64.
    x : ndarray (T, B, I)
        Inputs.
    h0, c0 : ndarray (L * D, B, H)
        Initial states.
    lengths : ndarray (B,), int
        Valid steps of each row, at least 1 (torch packs no empty sequence).
    dy : ndarray (T, B, D * H)
        Gradient with respect to the outputs.
    dh_n, dc_n : ndarray (L * D, B, H)
        Gradients with respect to the final states.

    Returns
    -------
    values : dict
        ``y``, ``h_n`` and ``c_n``.
    grads : dict
        Gradients of ``x``, ``h0``, ``c0`` and of every parameter, under our names.
    """
    import torch

    module = torch.nn.LSTM(
        lstm.input_size,
        lstm.hidden_size,
        num_layers=lstm.num_layers,
        bidirectional=lstm.bidirectional,
        dtype=torch.float64,
    )
    module.load_state_dict({k: torch.tensor(v) for k, v in to_torch_names(params).items()})
    inputs = {name: torch.tensor(a, requires_grad=True) for name, a in (("x", x), ("h0", h0), ("c0", c0))}
    packed = torch.nn.utils.rnn.pack_padded_sequence(inputs["x"], torch.tensor(lengths), enforce_sorted=False)
    packed_y, (h_n, c_n) = module(packed, (inputs["h0"], inputs["c0"]))
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(packed_y, total_length=len(x))
    torch.autograd.backward([y, h_n, c_n], [torch.tensor(d) for d in (dy, dh_n, dc_n)])
    values = {name: a.detach().numpy() for name, a in (("y", y), ("h_n", h_n), ("c_n", c_n))}
    # Both of torch's biases have the same gradient: that of their sum. Ours is one of the two.
    grads = {k: np.asarray(p.grad) for k, p in (inputs | dict(module.named_parameters())).items()}
    grads |= {k: np.zeros_like(g) for k, g in grads.items() if k.startswith("bias_hh")}
    return values, from_torch_names(grads)
