"""Proof: gradients by finite differences, and the same computation in torch.

It imports `lstm_scratch`; nothing but tests and benchmarks imports it.
"""

from reference.gradcheck import Comparison, assert_gradients, compare_gradients, numerical_gradient

__all__ = ["Comparison", "assert_gradients", "compare_gradients", "numerical_gradient"]
