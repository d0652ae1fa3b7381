"""Proof: gradients by numerical differentiation, and the same computation in torch.

It imports `lstm_scratch`; nothing but tests, benchmarks and the `gradcheck` command imports it.
"""

from reference.gradcheck import Comparison, assert_gradients, check_gradients

__all__ = ["Comparison", "assert_gradients", "check_gradients"]
