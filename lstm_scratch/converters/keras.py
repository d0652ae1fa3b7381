"""Keras: parameters as lists of weights, layer by layer, and back. Arrays only: Keras is not needed.

Its gates i, f, c, o are our i, f, g, o, its one bias is ours, and its matrices are ours transposed. Its
batches are ``(B, T, .)``, and a layer that reads backwards alone (`go_backwards`) hands its outputs out in
the order in which it read.
"""

from collections.abc import Sequence

import numpy as np

from lstm_scratch.converters.common import check_params, check_settings, suffixes
from lstm_scratch.errors import DataError, SettingError
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.params import Params
from lstm_scratch.variants import Variant

# Keras's hard_sigmoid is another: z / 6 + 0.5.
ACTIVATIONS = {
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
    "softsign": "softsign",
    "linear": "identity",
}


def to_keras(lstm: LSTM, params: Params) -> list[list[np.ndarray]]:
    """Turn parameters into what ``set_weights`` of each Keras layer takes.

    Parameters
    ----------
    lstm : LSTM
        The stack. Keras's layers are to be made with its activations: ``recurrent_activation`` is the
        gates', ``activation`` the other two. For a stack that reads backwards alone, the first layer gets
        ``go_backwards=True`` and the others do not; the output is then ours, reversed in time.
    params : dict
        Its parameters.

    Returns
    -------
    list of list of ndarray
        For each layer ``kernel (I, 4H)``, ``recurrent_kernel (H, 4H)`` and ``bias (4H,)``, and for
        `keras.layers.Bidirectional` these of both directions.

    Raises
    ------
    SettingError
        If Keras's LSTM cannot compute it. Dropout is of training only, and left out.
    DataError
        If the parameters are not just those of this LSTM.
    """
    activations = ("gate_activation", "cell_activation", "output_activation")
    check_settings("Keras", lstm, ("reverse", *activations))
    check_params(lstm, params)
    for name in activations:
        if getattr(lstm.variant, name) not in ACTIVATIONS.values():
            raise SettingError(
                f"no layer of Keras has our {getattr(lstm.variant, name)}, which is the {name} here; "
                "its own has another slope"
            )
    if lstm.variant.cell_activation != lstm.variant.output_activation:
        raise SettingError(
            "Keras has one activation for the candidate and the output; here they are "
            f"{lstm.variant.cell_activation} and {lstm.variant.output_activation}"
        )
    return [
        [
            params[name + suffix].T.copy()
            for suffix in suffixes(lstm, layer)
            for name in ("weight_ih", "weight_hh", "bias")
        ]
        for layer in range(lstm.num_layers)
    ]


def from_keras(
    *layers: Sequence[np.ndarray],
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    go_backwards: bool = False,
) -> tuple[LSTM, Params]:
    """Turn the weights of Keras layers, stacked in this order, into an LSTM.

    Parameters
    ----------
    *layers : sequence of ndarray
        ``get_weights()`` of each `keras.layers.LSTM`, or of each `keras.layers.Bidirectional` around one
        that puts its outputs side by side, which is its default; made with biases or without.
    activation, recurrent_activation : str
        What the layers were made with.
    go_backwards : bool, default False
        Whether the first layer was made with it, and the others without.

    Returns
    -------
    lstm : LSTM
        The stack. It takes ``(B, T, I)``.
    params : dict
        Its parameters: copies, of the same dtype.

    Raises
    ------
    DataError
        If the arrays are not those of LSTMs that fit on each other.
    SettingError
        If an activation is none of ours.
    """
    for name in (activation, recurrent_activation):
        if name not in ACTIVATIONS:
            raise SettingError(f"an activation from Keras is one of {', '.join(ACTIVATIONS)}, not {name!r}")
    for weights in layers:
        if not isinstance(weights, Sequence) or any(isinstance(array, Sequence) for array in weights):
            raise DataError(
                "each argument is get_weights() of one layer; a list of these is unpacked with *: "
                "from_keras(*layers)"
            )
    if not layers or min(len(weights) for weights in layers) < 2:
        raise DataError(
            "a Keras LSTM has two or three arrays per direction; pass get_weights() of each layer"
        )
    bidirectional = len(layers[0]) > 3
    lstm = LSTM(
        input_size=len(layers[0][0]),
        hidden_size=len(layers[0][1]),
        num_layers=len(layers),
        bidirectional=bidirectional,
        batch_first=True,
        reverse=go_backwards,
        variant=Variant(
            gate_activation=ACTIVATIONS[recurrent_activation],
            cell_activation=ACTIVATIONS[activation],
            output_activation=ACTIVATIONS[activation],
        ),
    )
    params = {}
    H = lstm.hidden_size
    for layer, weights in enumerate(layers):
        arrays = [np.array(array) for array in weights]
        I = lstm.output_size if layer else lstm.input_size
        per_direction = len(arrays) // len(lstm.directions)
        shapes = [(I, 4 * H), (H, 4 * H), (4 * H,)][:per_direction] * len(lstm.directions)
        if [array.shape for array in arrays] != shapes:
            raise DataError(
                f"layer {layer} has arrays of shapes {[array.shape for array in arrays]}, not {shapes}; "
                "all are LSTMs with the same units and directions"
            )
        for suffix in suffixes(lstm, layer):
            kernel, recurrent_kernel, *bias = arrays[:per_direction]
            del arrays[:per_direction]
            params["weight_ih" + suffix] = kernel.T.copy()
            params["weight_hh" + suffix] = recurrent_kernel.T.copy()
            params["bias" + suffix] = bias[0] if bias else np.zeros(4 * H, kernel.dtype)
    return lstm, params
