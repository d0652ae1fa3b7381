"""The same LSTM in torch, twice: its own module, and step by step. torch is imported inside functions only.

`torch_lstm` is `torch.nn.LSTM` on packed sequences. `torch_steps` is every variant, written as scalar
equations say it, one row and one step at a time and differentiated by torch: it shares no idea of how to
treat a batch, padding, directions or a backward pass with the code that it proves.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_scratch.params import from_torch_names, to_torch_names
from reference.cases import INPUTS, OUTPUTS, Case

if TYPE_CHECKING:
    from torch import Tensor

Results = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]


def torch_lstm(case: Case) -> Results:
    """Run `torch.nn.LSTM`, forward and backward, without dropout.

    Rows without steps, which torch cannot pack, are left out and given what is true by definition: the
    final state is the initial one, and so are the gradients.

    Parameters
    ----------
    case : Case
        A plain LSTM, with a projection or without, and at least one row that has steps.

    Returns
    -------
    values : dict
        ``y``, ``h_n`` and ``c_n``.
    grads : dict
        Gradients of ``x``, ``h0``, ``c0`` and of every parameter, under our names.
    """
    import torch

    lstm, lengths = case.lstm, case.lengths
    names = {name: name.replace("_reverse", "") if lstm.reverse else name for name in case.params}
    params = {names[name]: array for name, array in case.params.items()}
    module = torch.nn.LSTM(
        lstm.input_size,
        lstm.hidden_size,
        num_layers=lstm.num_layers,
        bidirectional=lstm.bidirectional,
        proj_size=lstm.proj_size,
        batch_first=lstm.batch_first,
        dtype=torch.from_numpy(case.arrays["x"]).dtype,
    )
    module.load_state_dict({k: torch.tensor(v) for k, v in to_torch_names(params).items()})
    inputs = {name: torch.tensor(case.arrays[name], requires_grad=True) for name in INPUTS}
    x, states, upstream = inputs["x"], (inputs["h0"], inputs["c0"]), case.upstream
    if lstm.reverse:
        x = _reversed(x, lengths, lstm.batch_first)
    if lengths is None:
        y, (h_n, c_n) = module(x, states)
    else:
        rows = torch.tensor(np.flatnonzero(lengths))
        axis = 0 if lstm.batch_first else 1
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            x.index_select(axis, rows),
            torch.tensor(lengths)[rows],
            batch_first=lstm.batch_first,
            enforce_sorted=False,
        )
        packed_y, final = module(packed, tuple(state[:, rows] for state in states))
        of_rows, _ = torch.nn.utils.rnn.pad_packed_sequence(
            packed_y, batch_first=lstm.batch_first, total_length=x.shape[1 - axis]
        )
        y = x.new_zeros((*x.shape[:2], lstm.output_size)).index_copy(axis, rows, of_rows)
        h_n, c_n = (a.index_copy(1, rows, b) for a, b in zip(states, final, strict=True))
    if lstm.reverse:
        y = _reversed(y, lengths, lstm.batch_first)
    torch.autograd.backward([y, h_n, c_n], [torch.tensor(upstream[f"d{name}"]) for name in OUTPUTS])
    # Both of torch's biases have the same gradient: that of their sum. Ours is one of the two.
    grads = {k: np.asarray(p.grad) for k, p in module.named_parameters()}
    grads |= {k: np.zeros_like(g) for k, g in grads.items() if k.startswith("bias_hh")}
    grads = from_torch_names(grads)
    grads = {name: grads[torch_name] for name, torch_name in names.items()}
    values = {name: a.detach().numpy() for name, a in zip(OUTPUTS, (y, h_n, c_n), strict=True)}
    return values, grads | {name: np.asarray(a.grad) for name, a in inputs.items()}


def _reversed(x: "Tensor", lengths: np.ndarray | None, batch_first: bool) -> "Tensor":
    """Reverse the valid steps of each row."""
    import torch

    if x.ndim == 2 or lengths is None:
        return x.flip(1 if batch_first and x.ndim == 3 else 0)
    rows = x if batch_first else x.swapaxes(0, 1)
    rows = torch.stack([torch.cat([row[:n].flip(0), row[n:]]) for row, n in zip(rows, lengths, strict=True)])
    return rows if batch_first else rows.swapaxes(0, 1)


def torch_steps(case: Case) -> Results:
    """Run any variant step by step, and differentiate it by torch's autograd. Masks are not drawn.

    Parameters
    ----------
    case : Case
        Any LSTM, batched.

    Returns
    -------
    values : dict
        ``y``, ``h_n`` and ``c_n``.
    grads : dict
        Gradients of ``x``, ``h0``, ``c0`` and of every parameter, under our names.
    """
    import torch

    lstm = case.lstm
    arrays = {name: torch.tensor(array, requires_grad=True) for name, array in case.arrays.items()}
    rows = arrays["x"] if lstm.batch_first else arrays["x"].swapaxes(0, 1)
    B, T, _ = rows.shape
    lengths = np.full(B, T) if case.lengths is None else case.lengths
    all_y, all_h, all_c = [], [], []
    for b in range(B):
        sequence = [rows[b, t] for t in range(lengths[b])]
        final_h: list[Tensor] = []
        final_c: list[Tensor] = []
        for layer in range(lstm.num_layers):
            outputs = []
            for reverse in lstm.directions:
                suffix = f"_l{layer}_reverse" if reverse else f"_l{layer}"
                of_pass = {k.removesuffix(suffix): a for k, a in arrays.items() if k.endswith(suffix)}
                h, c = arrays["h0"][len(final_h), b], arrays["c0"][len(final_c), b]
                hs = []
                for x_t in reversed(sequence) if reverse else sequence:
                    h, c = _torch_step(lstm.variant, of_pass, x_t, h, c)
                    hs.append(h)
                outputs.append(hs[::-1] if reverse else hs)
                final_h.append(h)
                final_c.append(c)
            sequence = [torch.cat(parts) for parts in zip(*outputs, strict=True)]
        padding = [rows.new_zeros(lstm.output_size)] * (T - len(sequence))
        all_y.append(torch.stack(sequence + padding))
        all_h.append(torch.stack(final_h))
        all_c.append(torch.stack(final_c))
    y = torch.stack(all_y, dim=0 if lstm.batch_first else 1)
    outputs_ = (y, torch.stack(all_h, dim=1), torch.stack(all_c, dim=1))
    torch.autograd.backward(outputs_, [torch.tensor(case.upstream[f"d{name}"]) for name in OUTPUTS])
    values = {name: a.detach().numpy() for name, a in zip(OUTPUTS, outputs_, strict=True)}
    # What no step used has no gradient.
    grads = {
        k: np.zeros_like(case.arrays[k]) if a.grad is None else a.grad.numpy() for k, a in arrays.items()
    }
    return values, grads


def _torch_step(
    variant: Any, p: dict[str, "Tensor"], x: "Tensor", h: "Tensor", c: "Tensor"
) -> tuple["Tensor", "Tensor"]:
    """Compute h_t and c_t of one row."""
    import torch
    from torch.nn import functional

    def activation(name: str, z: "Tensor") -> "Tensor":
        if variant.activation_clip < math.inf:
            z = z.clamp(-variant.activation_clip, variant.activation_clip)
        ours = {"hard_sigmoid": lambda z: (0.2 * z + 0.5).clamp(0, 1), "identity": lambda z: z}
        function: Any = ours.get(name) or getattr(functional, name)
        result: Tensor = function(z)
        return result

    H = c.numel()
    from_x, from_h = p["weight_ih"] @ x, p["weight_hh"] @ h
    if variant.layer_norm:
        from_x = functional.layer_norm(from_x, from_x.shape, p["gain_ih"])
        from_h = functional.layer_norm(from_h, from_h.shape, p["gain_hh"])
    z = dict(
        zip("igo" if variant.coupled else "ifgo", torch.split(from_x + from_h + p["bias"], H), strict=True)
    )
    peephole = dict.fromkeys("ifo", torch.zeros_like(c))
    if variant.peepholes:
        peephole |= zip("io" if variant.coupled else "ifo", torch.split(p["peephole"], H), strict=True)
    i = activation(variant.gate_activation, z["i"] + peephole["i"] * c)
    f = 1 - i if variant.coupled else activation(variant.gate_activation, z["f"] + peephole["f"] * c)
    g = activation(variant.cell_activation, z["g"])
    new_c = f * c + i * g
    if variant.cell_clip < math.inf:
        new_c = new_c.clamp(-variant.cell_clip, variant.cell_clip)
    o = activation(variant.gate_activation, z["o"] + peephole["o"] * new_c)
    new_h = o * activation(variant.output_activation, new_c)
    if "weight_hr" in p:
        new_h = p["weight_hr"] @ new_h
    return (
        variant.zoneout_h * h + (1 - variant.zoneout_h) * new_h,
        variant.zoneout_c * c + (1 - variant.zoneout_c) * new_c,
    )
