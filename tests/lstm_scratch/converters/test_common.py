"""What the converters share: parameters are held against the LSTM that they are said to be of."""

import numpy as np
import pytest

from lstm_scratch.converters import to_keras, to_onnx, to_torch
from lstm_scratch.errors import DataError
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.params import prefixed
from lstm_scratch.variants import Variant

I, H = 4, 2


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (LSTM(I, 3), r"the parameter weight_ih_l0 has shape \(12, 4\), not \(8, 4\); pass what"),
        (LSTM(3, H), r"the parameter weight_ih_l0 has shape \(8, 3\), not \(8, 4\)"),
        (LSTM(I, H, bidirectional=True), "this LSTM has no place for the parameter weight_ih_l0_reverse"),
        (LSTM(I, H, num_layers=2), "this LSTM has no place for the parameter weight_ih_l1"),
        (LSTM(I, H, variant=Variant(peepholes=True)), "this LSTM has no place for the parameter peephole_l0"),
        (LSTM(I, H, reverse=True), "the parameter weight_ih_l0 is missing"),
    ],
    ids=str,
)
@pytest.mark.parametrize("convert", [to_torch, to_keras, to_onnx])
def test_parameters_of_another_lstm_are_refused(convert, of, message):
    with pytest.raises(DataError, match=f"^{message}"):
        convert(LSTM(I, H), of.init(np.random.default_rng(0)))


@pytest.mark.parametrize("convert", [to_torch, to_keras, to_onnx])
def test_parameters_of_a_network_are_refused(convert):
    lstm = LSTM(I, H)
    params = lstm.init(np.random.default_rng(0))
    with pytest.raises(DataError, match=r"weight_ih_l0 is missing; .* of a whole network under\('lstm',"):
        convert(lstm, prefixed("lstm", params))
    with pytest.raises(DataError, match=r"^this LSTM has no place for the parameter head\.weight; pass"):
        convert(lstm, params | {"head.weight": np.ones((3, H))})
