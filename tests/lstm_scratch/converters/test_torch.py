"""torch: its modules compute the same from our parameters, and ours the same from its."""

import itertools
import sys

import numpy as np
import pytest
import torch

from lstm_scratch.converters import from_torch, to_torch
from lstm_scratch.errors import UserError
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.params import from_torch_names, prefixed, to_torch_names
from lstm_scratch.variants import Variant
from reference.cases import draw_case

T, B, I, H = 5, 3, 4, 2
SIZES = [
    {},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
    {"num_layers": 3, "hidden_size": 6, "proj_size": 2},
]
DTYPES = {np.float32: torch.float32, np.float64: torch.float64}


def lstm_of(sizes):
    return LSTM(I, **{"hidden_size": H} | sizes)


def module_of(sizes, dtype, **options):
    torch.manual_seed(0)
    return torch.nn.LSTM(I, **{"hidden_size": H} | sizes, dtype=dtype, **options)


def run(module, case):
    with torch.no_grad():
        x, h0, c0 = (torch.tensor(case.arrays[name]) for name in ("x", "h0", "c0"))
        y, (h_n, c_n) = module(x, (h0, c0))
    return {"y": y.numpy(), "h_n": h_n.numpy(), "c_n": c_n.numpy()}


def assert_same(values, expected, tolerance):
    for name, value in expected.items():
        np.testing.assert_allclose(values[name], value, rtol=0, atol=tolerance, err_msg=name)


# torch says which of its own implementations it takes for a projection in float32.
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-6)])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_a_module_computes_the_same_from_our_parameters(sizes, dtype, tolerance):
    case = draw_case(lstm_of(sizes), T, B, dtype=dtype)
    module = module_of(sizes, DTYPES[dtype])
    module.load_state_dict(to_torch(case.params))
    assert_same(run(module, case), case.values(), tolerance)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_we_compute_the_same_from_a_modules_state_dict(sizes, bias):
    case = draw_case(lstm_of(sizes), T, B)
    module = module_of(sizes, torch.float64, bias=bias)  # drawn by torch: both biases, none of them zero
    params = from_torch(module.state_dict())
    assert_same(case.values(case.arrays | params), run(module, case), 1e-12)


@pytest.mark.parametrize("gates", list(itertools.combinations("ifgo", 2)), ids="".join)
def test_two_gates_in_each_others_place_are_noticed(gates):
    case = draw_case(LSTM(I, H), T, B)
    order = ["ifgo".index({gates[0]: gates[1], gates[1]: gates[0]}.get(gate, gate)) for gate in "ifgo"]
    swapped = {k: a.reshape(4, H, *a.shape[1:])[order].reshape(a.shape) for k, a in case.params.items()}
    module = module_of({}, torch.float64)
    module.load_state_dict(to_torch(swapped))
    with pytest.raises(AssertionError, match="y"):
        assert_same(run(module, case), case.values(), 1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_way_there_and_back_keeps_every_bit(sizes, dtype):
    params = prefixed("network.lstm", draw_case(lstm_of(sizes), dtype=dtype).params)
    params["head.weight"] = np.ones((3, 2), dtype)
    params["head.bias_layer"] = np.ones(3, dtype)  # no LSTM's bias, for all its name
    numbers = [-0.0, np.nan, np.inf, np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max]
    params["network.lstm.bias_l0"][: len(numbers)] = numbers
    tensors = to_torch(params)
    back = from_torch(tensors)
    assert back.keys() == params.keys()
    for name, array in params.items():
        assert (back[name].dtype, back[name].tobytes()) == (array.dtype, array.tobytes()), name
    tensors["head.weight"][:] = 7  # neither shares its memory
    assert (params["head.weight"] == 1).all()
    assert (back["head.weight"] == 1).all()


def test_a_whole_networks_state_dict_goes_through():
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bias_layer = torch.nn.Linear(I, I)
            self.lstm = torch.nn.LSTM(I, H)
            self.gru = torch.nn.GRU(I, H)
            self.rnn = torch.nn.RNN(I, H)

    network = Network()
    state_dict = network.state_dict()
    params = from_torch({name: tensor.numpy() for name, tensor in state_dict.items()})
    of_lstm = {f"lstm.{name}_l0" for name in ("weight_ih", "weight_hh", "bias")}
    assert params.keys() == {name for name in state_dict if not name.startswith("lstm.")} | of_lstm
    for name in params.keys() & state_dict.keys():
        np.testing.assert_array_equal(params[name], state_dict[name])
    network.load_state_dict(to_torch(params))
    both = state_dict["lstm.bias_ih_l0"] + state_dict["lstm.bias_hh_l0"]
    np.testing.assert_array_equal(both, params["lstm.bias_l0"])


@pytest.mark.parametrize(
    ("theirs", "ours"), [(torch.float16, "float16"), (torch.bfloat16, "float32"), (torch.float64, "float64")]
)
def test_tensors_of_any_dtype_keep_their_values(theirs, ours):
    module = torch.nn.LSTM(I, H, bias=False, dtype=theirs)
    params = from_torch(dict(module.named_parameters()))  # these carry gradients
    assert {array.dtype.name for array in params.values()} == {ours}
    np.testing.assert_array_equal(
        params["weight_ih_l0"].astype(np.float64), module.weight_ih_l0.detach().double().numpy()
    )
    np.testing.assert_array_equal(params["bias_l0"], np.zeros(4 * H))


@pytest.mark.parametrize(
    ("variant", "name"),
    [(Variant(peepholes=True), "peephole_l0"), (Variant(layer_norm=True), "gain_ih_l0")],
    ids=str,
)
def test_parameters_that_torch_has_no_place_for_are_named(variant, name):
    lstm = LSTM(I, H, bidirectional=True, variant=variant)
    params = prefixed("lstm", lstm.init(np.random.default_rng(0)))
    with pytest.raises(UserError, match=rf"^torch's LSTM has no place for lstm\.{name}; train one without"):
        to_torch(params)


def test_gates_that_torch_has_no_place_for_are_named():
    params = LSTM(I, H, variant=Variant(coupled=True)).init(np.random.default_rng(0))
    with pytest.raises(UserError, match=r"^torch's LSTM has four gates, but weight_hh_l0 has 3; train one"):
        to_torch(params)


def test_missing_torch_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"^tensors need torch: pip install torch$"):
        to_torch({})


@pytest.mark.parametrize("variant", [Variant(), Variant(coupled=True, peepholes=True)], ids=repr)
def test_names_alone_come_back_for_any_variant(variant):
    """Saved models have torch's names, whatever the LSTM."""
    params = prefixed(
        "bias_l", LSTM(I, H, variant=variant, bidirectional=True).init(np.random.default_rng(0))
    )
    back = from_torch_names(to_torch_names(params))
    assert back.keys() == params.keys()
    for name, array in params.items():
        assert back[name].tobytes() == array.tobytes(), name
