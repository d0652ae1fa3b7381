"""Fixtures: all that a pass takes, drawn, and everything that an engine makes of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from lstm_scratch.lstm import lstm_init

DTYPES = [np.float32, np.float64]


class Pass(NamedTuple):
    """What a forward and a backward pass over one layer take. Lengths, states and gradients may be None."""

    params: dict[str, np.ndarray]
    x: np.ndarray
    dy: np.ndarray
    lengths: np.ndarray | None = None
    h0: np.ndarray | None = None
    c0: np.ndarray | None = None
    dh_n: np.ndarray | None = None
    dc_n: np.ndarray | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name."""
        return {k: a for k, a in (self._asdict() | self.params).items() if isinstance(a, np.ndarray)}

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> "Pass":
        """Change every array but the lengths."""
        changed = {k: change(a) for k, a in self.arrays().items() if k not in self.params and k != "lengths"}
        return self._replace(params={k: change(a) for k, a in self.params.items()}, **changed)

    def astype(self, dtype: Any) -> "Pass":
        """Change the dtype of everything but the lengths."""
        return self.map(lambda array: array.astype(dtype))

    def rows(self, rows: Any) -> "Pass":
        """Pick rows of the batch."""
        at = {"x": 1, "dy": 1, "lengths": 0, "h0": 0, "c0": 0, "dh_n": 0, "dc_n": 0}
        picked = {k: getattr(self, k) for k in at if getattr(self, k) is not None}
        return self._replace(**{k: np.take(a, rows, axis=at[k]) for k, a in picked.items()})

    def run(self, forward: Callable, backward: Callable, **options: Any) -> dict[str, np.ndarray]:
        """Give everything that an engine's two functions give, by name."""
        (y, h_n, c_n), cache = forward(self.params, self.x, self.h0, self.c0, self.lengths, **options)
        (dx, dh0, dc0), grads = backward(self.params, cache, self.dy, self.dh_n, self.dc_n, **options)
        values = {"y": y, "h_n": h_n, "c_n": c_n, "dx": dx, "dh0": dh0, "dc0": dc0}
        return values | {f"d{name}": grad for name, grad in grads.items()}


@pytest.fixture(scope="session")
def draw() -> Callable[..., Pass]:
    def draw(H, I, B, T, dtype=np.float64, lengths=None, given=("h0", "c0", "dh_n", "dc_n"), seed=0):
        """Draw a pass; lengths "uneven" are in no order, with zeros among them."""
        rng = np.random.default_rng([seed, H, I, B, T])
        params = {k: a + 0.1 * rng.normal(size=a.shape) for k, a in lstm_init(rng, I, H).items()}
        if isinstance(lengths, str):
            lengths = rng.integers(0, T + 1, size=B)
            lengths[B // 2 : B // 2 + 1] = 0
        states = {name: rng.normal(size=(B, H)) for name in ("h0", "c0", "dh_n", "dc_n")}
        states = {name: array for name, array in states.items() if name in given}
        x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H))
        return Pass(params, x, dy, lengths, **states).astype(dtype)

    return draw


@pytest.fixture(scope="session")
def assert_same_bits() -> Callable[..., None]:
    def assert_same_bits(ours, theirs):
        """Fail unless arrays have the same names, dtypes and bits; one NaN is as good as another."""
        assert ours.keys() == theirs.keys()
        for name, array in theirs.items():
            assert ours[name].dtype == array.dtype, name
            np.testing.assert_array_equal(ours[name], array, err_msg=name)
            np.testing.assert_array_equal(np.signbit(ours[name]), np.signbit(array), err_msg=name)

    return assert_same_bits
