"""An LSTM without a framework: numpy, hand-written backpropagation through time, real audio.

`lstm.py` is where to start reading; `AudioClassifier` is where to start using.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lstm_scratch.version import __version__

if TYPE_CHECKING:
    from lstm_scratch.activity import SpeechDetector, SpeechStream
    from lstm_scratch.audio import AudioClassifier
    from lstm_scratch.classifier import SequenceClassifier
    from lstm_scratch.layers.stack import LSTM
    from lstm_scratch.lstm import lstm_backward, lstm_forward, lstm_init
    from lstm_scratch.network import Network
    from lstm_scratch.params import freeze
    from lstm_scratch.segments import Segmentation
    from lstm_scratch.stepping import Stepper
    from lstm_scratch.stream import Stream
    from lstm_scratch.tracing import trace
    from lstm_scratch.truncated import truncated_backward, truncated_forward
    from lstm_scratch.variants import Variant

__all__ = [
    "LSTM",
    "AudioClassifier",
    "Network",
    "Segmentation",
    "SequenceClassifier",
    "SpeechDetector",
    "SpeechStream",
    "Stepper",
    "Stream",
    "Variant",
    "__version__",
    "freeze",
    "lstm_backward",
    "lstm_forward",
    "lstm_init",
    "trace",
    "truncated_backward",
    "truncated_forward",
]

_MODULE_OF = {
    "LSTM": "layers.stack",
    "AudioClassifier": "audio",
    "Network": "network",
    "Segmentation": "segments",
    "SequenceClassifier": "classifier",
    "SpeechDetector": "activity",
    "SpeechStream": "activity",
    "Stepper": "stepping",
    "Stream": "stream",
    "Variant": "variants",
    "freeze": "params",
    "lstm_backward": "lstm",
    "lstm_forward": "lstm",
    "lstm_init": "lstm",
    "trace": "tracing",
    "truncated_backward": "truncated",
    "truncated_forward": "truncated",
}


def __getattr__(name: str) -> Any:
    # Imported when first asked for: who wants the LSTM alone does not wait for what reads sound.
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"lstm_scratch.{_MODULE_OF[name]}"), name)
