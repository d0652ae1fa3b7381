"""Converters: an LSTM and its parameters in the conventions of torch, Keras and ONNX, and back."""

from lstm_scratch.converters.keras import from_keras, to_keras
from lstm_scratch.converters.onnx import from_onnx, to_onnx
from lstm_scratch.converters.torch import from_torch, to_torch

__all__ = ["from_keras", "from_onnx", "from_torch", "to_keras", "to_onnx", "to_torch"]
