"""Fixtures for all tests: every engine in turn, and how closely results have to agree."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numba import config

from lstm_scratch.engines import ENGINES
from reference import assert_gradients
from reference.cases import Case

TESTS = Path(__file__).parent


def pytest_runtest_setup(item):
    folders = item.path.relative_to(TESTS).parts
    about_kernels = item.get_closest_marker("compiled") or "kernels" in folders or "simd" in folders
    if about_kernels and config.DISABLE_JIT:
        pytest.skip("NUMBA_DISABLE_JIT: there are no compiled kernels")


@pytest.fixture(params=ENGINES)
def engine(request) -> str:
    """Name of each engine. A test that takes it holds for all that compute an LSTM.

    Float64 agrees with torch to 1e-12 on each; only "numpy" is analytic and takes a complex step.
    """
    return request.param


@pytest.fixture
def always_threads(monkeypatch):
    """Small work is divided too."""
    monkeypatch.setattr("simd.threads.WORTH_A_THREAD", 0)


@pytest.fixture(scope="session")
def assert_agree() -> Callable[..., None]:
    def assert_agree(ours, theirs, rtol, atol):
        """Fail unless arrays agree by name, entry by entry; atol counts relative to an array's largest."""
        assert ours.keys() == theirs.keys()
        for name, array in theirs.items():
            scale = np.abs(array).max(initial=0)
            assert np.isfinite(scale), name
            np.testing.assert_allclose(ours[name], array, rtol=rtol, atol=atol * scale, err_msg=name)

    return assert_agree


@pytest.fixture(scope="session")
def one_torch_thread() -> Iterator[None]:
    """On arrays as small as ours, torch's threads wait for each other for most of the time."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def assert_as(assert_agree, one_torch_thread) -> Callable[..., None]:
    def assert_as(case: Case, reference: Callable[[Case], tuple[dict, dict]]) -> None:
        """Fail unless values and gradients of a float64 case are those of a reference."""
        values, grads = reference(case)
        assert_agree(case.values(), values, rtol=1e-12, atol=1e-14)
        assert_agree(case.gradients(), grads, rtol=1e-11, atol=1e-12)

    return assert_as


@pytest.fixture(scope="session")
def assert_derivatives() -> Callable[..., None]:
    def assert_derivatives(case: Case, directions: int | None = None) -> None:
        """Fail unless gradients are derivatives.

        On every engine by differences along directions; on "numpy", where a complex step is quicker and
        good to rounding, by that too: entry by entry, unless a number of directions is given.
        """
        grads = case.gradients()
        assert_gradients(case.loss, case.arrays, grads, 1e-8, directions=directions or 8)
        if case.lstm.engine == "numpy":
            assert_gradients(case.loss, case.arrays, grads, 1e-13, method="complex", directions=directions)

    return assert_derivatives
