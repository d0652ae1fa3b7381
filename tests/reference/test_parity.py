"""Parity with torch over configurations that hypothesis draws: every kind of LSTM that torch has."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstm_scratch.engines import ENGINES
from lstm_scratch.layers.stack import LSTM
from reference.cases import draw_case
from reference.parity import FLOOR, GRADIENTS, VALUES, draw_torch_case, errors
from reference.torch_lstm import torch_lstm, torch_steps

every = pytest.mark.parametrize(("engine", "dtype"), [(e, d) for e in ENGINES for d in VALUES])


def compare(data, engine, dtype):
    case = draw_torch_case(lambda name, options: data.draw(st.sampled_from(options), label=name), dtype)
    values, gradients = errors(case, engine)
    assert values <= VALUES[dtype]
    assert gradients <= GRADIENTS[dtype]


@every
@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(data=st.data())
def test_values_and_gradients_are_those_of_torch(engine, dtype, data):
    compare(data, engine, dtype)


@pytest.mark.long
@every
@settings(
    max_examples=2000,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(data=st.data())
def test_values_and_gradients_are_those_of_torch_in_thousands_of_cases(engine, dtype, data):
    compare(data, engine, dtype)


def test_the_limits_are_those_that_were_promised():
    assert VALUES["float64"] == 1e-12
    assert GRADIENTS["float64"] == 1e-11
    assert FLOOR["float64"] == 0


@pytest.mark.parametrize(
    "lstm", [LSTM(4, 3, proj_size=2, bidirectional=True), LSTM(4, 3, reverse=True)], ids=str
)
def test_torch_module_and_torch_step_by_step_agree(lstm):
    """The two references share nothing but the weights."""
    case = draw_case(lstm, lengths=[2, 0, 5])
    for module, steps in zip(torch_lstm(case), torch_steps(case), strict=True):
        assert module.keys() == steps.keys()
        for name, array in module.items():
            np.testing.assert_allclose(array, steps[name], rtol=1e-11, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("name", ["weight_hh_l0", "bias_l1_reverse", "weight_hr_l0", "h0"])
def test_one_wrong_number_is_seen(name):
    lstm = LSTM(4, 3, num_layers=2, bidirectional=True, proj_size=2)
    case = draw_case(lstm, lengths=[2, 4, 5])
    values, grads = torch_lstm(case)
    case.arrays[name].flat[1] += 1e-9
    moved_values, moved_grads = torch_lstm(case)
    assert errors(case, "numpy") <= (1e-12, 1e-11)
    assert max(np.abs(moved_values[k] - values[k]).max() for k in values) > 1e-12
    assert max(np.abs(moved_grads[k] - grads[k]).max() for k in grads) > 1e-11
