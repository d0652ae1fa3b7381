"""torch: its modules compute the same from our parameters, and ours the same from its."""

import itertools
import sys

import numpy as np
import pytest
import torch

from lstm_scratch.converters import from_torch, to_torch
from lstm_scratch.errors import DataError, SettingError, UserError
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.params import from_torch_names, prefixed, to_torch_names, under
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
    module.load_state_dict(to_torch(case.lstm, case.params))
    assert_same(run(module, case), case.values(), tolerance)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_we_compute_the_same_from_a_modules_state_dict(sizes, bias):
    case = draw_case(lstm_of(sizes), T, B)
    module = module_of(sizes, torch.float64, bias=bias)  # drawn by torch: both biases, none of them zero
    lstm, params = from_torch(module.state_dict(), batch_first=module.batch_first)
    assert lstm == case.lstm
    assert_same(case.values(case.arrays | params), run(module, case), 1e-12)


@pytest.mark.parametrize("gates", list(itertools.combinations("ifgo", 2)), ids="".join)
def test_two_gates_in_each_others_place_are_noticed(gates):
    case = draw_case(LSTM(I, H), T, B)
    order = ["ifgo".index({gates[0]: gates[1], gates[1]: gates[0]}.get(gate, gate)) for gate in "ifgo"]
    swapped = {k: a.reshape(4, H, *a.shape[1:])[order].reshape(a.shape) for k, a in case.params.items()}
    module = module_of({}, torch.float64)
    module.load_state_dict(to_torch(case.lstm, swapped))
    with pytest.raises(AssertionError, match="y"):
        assert_same(run(module, case), case.values(), 1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_way_there_and_back_keeps_every_bit(sizes, dtype):
    case = draw_case(lstm_of(sizes), dtype=dtype)
    numbers = [-0.0, np.nan, np.inf, np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max]
    case.params["bias_l0"][: len(numbers)] = numbers
    tensors = to_torch(case.lstm, case.params)
    lstm, back = from_torch(tensors, batch_first=case.lstm.batch_first)
    assert lstm == case.lstm
    assert back.keys() == case.params.keys()
    tensors["weight_ih_l0"][:] = 7  # neither shares its memory
    for name, array in case.params.items():
        assert (back[name].dtype, back[name].tobytes()) == (array.dtype, array.tobytes()), name
        assert not (array == 7).any()


def test_an_lstm_in_a_network_goes_there_and_back_under_its_prefix():
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(I, H)
            self.head = torch.nn.Linear(H, 3)

    network = Network()
    state_dict = network.state_dict()
    lstm, params = from_torch(under("lstm", {name: tensor.numpy() for name, tensor in state_dict.items()}))
    assert lstm == LSTM(I, H)
    both = state_dict["lstm.bias_ih_l0"] + state_dict["lstm.bias_hh_l0"]
    np.testing.assert_array_equal(both, params["bias_l0"])
    tensors = to_torch(lstm, under("lstm", prefixed("lstm", params) | {"head.weight": np.ones((3, H))}))
    network.load_state_dict(state_dict | prefixed("lstm", tensors))
    np.testing.assert_array_equal(network.lstm.bias_ih_l0.detach(), params["bias_l0"])
    np.testing.assert_array_equal(network.lstm.bias_hh_l0.detach(), 0)


@pytest.mark.parametrize(
    ("theirs", "ours"), [(torch.float16, "float16"), (torch.bfloat16, "float32"), (torch.float64, "float64")]
)
def test_tensors_of_any_dtype_keep_their_values(theirs, ours):
    module = torch.nn.LSTM(I, H, bias=False, dtype=theirs)
    _, params = from_torch(dict(module.named_parameters()))  # these carry gradients
    assert {array.dtype.name for array in params.values()} == {ours}
    np.testing.assert_array_equal(
        params["weight_ih_l0"].astype(np.float64), module.weight_ih_l0.detach().double().numpy()
    )
    np.testing.assert_array_equal(params["bias_l0"], np.zeros(4 * H))


def test_masks_of_training_are_left_out():
    variant = Variant(input_dropout=0.1, recurrent_dropout=0.2)
    case = draw_case(LSTM(I, H, num_layers=2, dropout=0.3, variant=variant), T, B)
    assert from_torch(to_torch(case.lstm, case.params))[0] == LSTM(I, H, num_layers=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reverse": True}, "reverse, which is True here; train one without it to convert it"),
        ({"variant": Variant(peepholes=True)}, "peepholes, which is True here"),
        ({"variant": Variant(coupled=True)}, "coupled, which is True here"),
        ({"variant": Variant(layer_norm=True)}, "layer_norm, which is True here"),
        ({"variant": Variant(cell_clip=3)}, "cell_clip, which is 3 here"),
        ({"variant": Variant(activation_clip=3)}, "activation_clip, which is 3 here"),
        ({"variant": Variant(zoneout_h=0.1)}, "zoneout_h, which is 0.1 here"),
        ({"variant": Variant(zoneout_c=0.1)}, "zoneout_c, which is 0.1 here"),
        ({"variant": Variant(gate_activation="hard_sigmoid")}, "gate_activation, which is 'hard_sigmoid'"),
        ({"variant": Variant(cell_activation="relu")}, "cell_activation, which is 'relu' here"),
        ({"variant": Variant(output_activation="relu")}, "output_activation, which is 'relu' here"),
    ],
    ids=str,
)
def test_what_torch_lacks_is_named(options, message):
    lstm = LSTM(I, H, **options)
    with pytest.raises(SettingError, match=f"^the LSTM of torch has no {message}"):
        to_torch(lstm, lstm.init(np.random.default_rng(0)))


def state_dict_of(**changes):
    """A whole one of two layers, with some of it exchanged, or left out for None."""
    state_dict = {name: tensor.numpy() for name, tensor in torch.nn.LSTM(I, H, 2).state_dict().items()}
    return {name: array for name, array in (state_dict | changes).items() if array is not None}


@pytest.mark.parametrize(
    ("state_dict", "message"),
    [
        (torch.nn.LSTM(I, H), r"a state dict is a mapping, not LSTM; use module\.state_dict\(\)$"),
        ({}, "an LSTM's state dict has matrices weight_ih_l0 and weight_hh_l0, not these; of a whole"),
        (prefixed("lstm", state_dict_of()), "an LSTM's state dict has matrices weight_ih_l0"),
        (state_dict_of(weight_hh_l0=np.ones(8)), "an LSTM's state dict has matrices weight_ih_l0"),
        (state_dict_of(weight_hh_l0=None), "an LSTM's state dict has matrices weight_ih_l0"),
        (state_dict_of(bias_hh_l0=None), "bias_hh_l0 is missing; each layer and direction has two biases"),
        (state_dict_of(bias_ih_l1=None), r"bias_ih_l1 is missing; .* two biases \(8,\), or none has$"),
        (state_dict_of(bias_hh_l1=np.ones(1)), r"bias_hh_l1 has shape \(1,\); each layer and direction has"),
        (state_dict_of(bias_hh_l2=np.ones(8)), "this LSTM has no place for the parameter bias_hh_l2"),
        (state_dict_of(weight_ih_l1=None), "this LSTM has no place for the parameter weight_hh_l1"),
        (state_dict_of(weight_hh_l1=None), "the parameter weight_hh_l1 is missing"),
        (state_dict_of(weight_hr_l0=np.ones((1, H))), r"the parameter weight_hh_l0 has shape \(8, 2\), not"),
        (torch.nn.GRU(I, H, bias=False).state_dict(), r"the parameter weight_ih_l0 has shape \(6, 4\), not"),
        (torch.nn.Linear(I, H).state_dict(), "an LSTM's state dict has matrices"),
    ],
)
def test_what_is_no_state_dict_of_an_lstm_is_refused(state_dict, message):
    with pytest.raises(DataError, match=f"^{message}"):
        from_torch(state_dict)


def test_missing_torch_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"^tensors need torch: pip install torch$"):
        to_torch(LSTM(I, H), {})


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
