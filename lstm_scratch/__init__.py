"""An LSTM without a framework: numpy, hand-written backpropagation through time, real audio.

`lstm.py` is where to start reading; `AudioClassifier` is where to start using.
"""

from lstm_scratch.audio import AudioClassifier
from lstm_scratch.classifier import SequenceClassifier
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.lstm import lstm_backward, lstm_forward, lstm_init
from lstm_scratch.network import Network

__all__ = [
    "LSTM",
    "AudioClassifier",
    "Network",
    "SequenceClassifier",
    "lstm_backward",
    "lstm_forward",
    "lstm_init",
]
