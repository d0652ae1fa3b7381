"""torch: parameters as the state dict of a module, and back.

Names, gate order and shapes are torch's already. What differs are its two biases, which only add up: ours
becomes the first of them. torch itself is imported where a tensor is made, and nowhere else.
"""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_scratch.errors import UserError
from lstm_scratch.params import Params, from_torch_names, to_torch_names

if TYPE_CHECKING:
    from torch import Tensor

_OF_VARIANTS = re.compile(r"(|.*\.)(peephole|gain_ih|gain_hh)_l\d+(_reverse)?")


def to_torch(params: Params) -> "dict[str, Tensor]":
    """Turn parameters into what `torch.nn.Module.load_state_dict` takes.

    Parameters
    ----------
    params : dict
        An LSTM's, under any prefix; others stay as they are.

    Returns
    -------
    dict of str to torch.Tensor
        Copies, of the same dtype. `from_torch` gives `params` back, bit by bit.

    Raises
    ------
    UserError
        If torch's LSTM has no place for a parameter, or torch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise UserError("tensors need torch: pip install torch") from None
    for name in params:
        if _OF_VARIANTS.fullmatch(name):
            raise UserError(f"torch's LSTM has no place for {name}; train one without it to convert it")
    for start, end, n_gates in _recurrent(params):
        if n_gates != 4 and f"{start}bias{end}" in params:
            raise UserError(
                f"torch's LSTM has four gates, but {start}weight_hh{end} has {n_gates}; "
                "train one that is not coupled to convert it"
            )
    return {name: torch.tensor(array) for name, array in to_torch_names(params).items()}


def from_torch(state_dict: Mapping[str, Any]) -> Params:
    """Turn a module's state dict into parameters.

    Parameters
    ----------
    state_dict : mapping of str to torch.Tensor or ndarray
        What ``module.state_dict()`` gives, on any device, or the same as arrays. Keys that are not an
        LSTM's stay as they are.

    Returns
    -------
    dict of str to ndarray
        Copies, of the same dtype, but bfloat16, which numpy lacks, as float32. Biases are added up, and
        zero where a module was made without.
    """
    params = {name: _array(value) for name, value in state_dict.items()}
    for start, end, n_gates in list(_recurrent(params)):
        if n_gates == 4:  # torch's GRU has three under the same names, its RNN one
            names = [f"{start}bias_ih{end}", f"{start}bias_hh{end}"]
            biases = {name: params.pop(name) for name in names if name in params}
            zeros = np.zeros_like(params[f"{start}weight_hh{end}"][:, 0])
            params |= from_torch_names(biases) or {f"{start}bias{end}": zeros}
    return params


def _recurrent(params: Params) -> Iterator[tuple[str, str, int]]:
    """Give what stands before and behind ``weight_hh`` in each name that has it, and the gates it holds."""
    for name, weight_hh in params.items():
        if match := re.fullmatch(r"(|.*\.)weight_hh(_l\d+(?:_reverse)?)", name):
            start, end = match.groups()
            hidden_size = params.get(f"{start}weight_hr{end}", weight_hh).shape[1]
            yield start, end, len(weight_hh) // hidden_size


def _array(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    return np.array(value)
