"""torch: parameters as the state dict of a module, and back.

Names, gate order and shapes are torch's already. What differs are its two biases, which only add up: ours
becomes the first of them. torch itself is imported where a tensor is made, and nowhere else.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_scratch.converters.common import check_params, check_settings
from lstm_scratch.errors import DataError, UserError
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.params import Params, to_torch_names

if TYPE_CHECKING:
    from torch import Tensor


def to_torch(lstm: LSTM, params: Params) -> "dict[str, Tensor]":
    """Turn parameters into what `load_state_dict` of a `torch.nn.LSTM` takes.

    Parameters
    ----------
    lstm : LSTM
        The stack. The module is to be made with its sizes, and with biases.
    params : dict
        Its parameters. Of a whole network's, these are ``under("lstm", params)``, and the result goes to
        its module ``lstm``, or as ``prefixed("lstm", ...)`` into the network's state dict
        (`lstm_scratch.params`).

    Returns
    -------
    dict of str to torch.Tensor
        Copies, of the same dtype. `from_torch` gives `params` back, bit by bit.

    Raises
    ------
    SettingError
        If torch's LSTM cannot compute it. Dropout inside a layer is of training only, and left out.
    DataError
        If the parameters are not just those of this LSTM.
    UserError
        If torch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise UserError("tensors need torch: pip install torch") from None
    check_settings("torch", lstm, ["proj_size"])
    check_params(lstm, params)
    return {name: torch.tensor(array) for name, array in to_torch_names(params).items()}


def from_torch(state_dict: Mapping[str, Any], *, batch_first: bool = False) -> tuple[LSTM, Params]:
    """Turn the state dict of a `torch.nn.LSTM` into an LSTM.

    Parameters
    ----------
    state_dict : mapping of str to torch.Tensor or ndarray
        What ``module.state_dict()`` gives, on any device, or the same as arrays; of a module made with
        biases or without. Of a whole network's, pass ``under("lstm", state_dict)``
        (`lstm_scratch.params`).
    batch_first : bool, default False
        Whether the module was made with it. That and its dropout are not in a state dict.

    Returns
    -------
    lstm : LSTM
        The stack.
    params : dict
        Its parameters: copies, of the same dtype, but bfloat16, which numpy lacks, as float32. Biases are
        added up, and zero where the module has none.

    Raises
    ------
    DataError
        If it is not the state dict of an LSTM.
    """
    if not isinstance(state_dict, Mapping):
        raise DataError(
            f"a state dict is a mapping, not {type(state_dict).__name__}; use module.state_dict()"
        )
    arrays = {name: _array(value) for name, value in state_dict.items()}
    weights = [arrays.get(f"weight_{name}_l0", np.empty((0, 0))) for name in ("ih", "hh", "hr")]
    weight_ih, weight_hh, weight_hr = weights
    if {array.ndim for array in weights} != {2} or not weight_ih.size or not weight_hh.size:
        raise DataError(
            "an LSTM's state dict has matrices weight_ih_l0 and weight_hh_l0, not these; "
            "of a whole network pass under('lstm', state_dict)"
        )
    lstm = LSTM(
        input_size=weight_ih.shape[1],
        hidden_size=weight_hr.shape[1] or weight_hh.shape[1],
        num_layers=sum(f"weight_ih_l{k}" in arrays for k in range(len(arrays))),
        bidirectional="weight_ih_l0_reverse" in arrays,
        proj_size=len(weight_hr),
        batch_first=batch_first,
    )
    shape = (4 * lstm.hidden_size,)
    names = [f"bias_{which}{suffix}" for suffix in lstm.suffixes for which in ("ih", "hh")]
    if not any(name in arrays for name in names):
        arrays |= {name: np.zeros(shape, weight_hh.dtype) for name in names}
    for name in names:
        found = f"has shape {arrays[name].shape}" if name in arrays else "is missing"
        if found != f"has shape {shape}":
            raise DataError(f"{name} {found}; each layer and direction has two biases {shape}, or none has")
    biases = [arrays.pop(name) for name in names]
    of_passes = zip(lstm.suffixes, biases[::2], biases[1::2], strict=True)
    params = arrays | {f"bias{suffix}": ih + hh for suffix, ih, hh in of_passes}
    check_params(lstm, params)
    return lstm, params


def _array(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    return np.array(value)
