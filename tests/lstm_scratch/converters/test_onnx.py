"""ONNX: onnxruntime computes the same from our models, and we the same from any LSTM operators."""

import dataclasses
import io
import itertools
import math
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from lstm_scratch import activations
from lstm_scratch.converters import from_onnx, to_onnx
from lstm_scratch.converters import onnx as converter
from lstm_scratch.errors import ModelFileError, SettingError, UserError
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.variants import Variant
from reference.cases import draw_case

T, B, I, H = 5, 3, 4, 2
OUTPUTS = ["y", "h_n", "c_n"]
SIZES = [
    {},
    {"reverse": True},
    {"bidirectional": True, "batch_first": True},
    {"num_layers": 2, "reverse": True, "batch_first": True},
    {"num_layers": 3, "bidirectional": True},
]
VARIANTS = [
    Variant(peepholes=True),
    Variant(coupled=True),
    Variant(coupled=True, peepholes=True, gate_activation="hard_sigmoid"),
    *(Variant(gate_activation=name) for name in ("tanh", "relu", "softsign", "hard_sigmoid", "identity")),
    *(Variant(cell_activation=name) for name in ("sigmoid", "relu", "softsign", "hard_sigmoid", "identity")),
    *(
        Variant(output_activation=name)
        for name in ("sigmoid", "relu", "softsign", "hard_sigmoid", "identity")
    ),
]


CLIP = Variant(activation_clip=0.3)  # which is no float32


def run(model, feeds):
    """What onnxruntime computes."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(OUTPUTS, session.run(None, feeds), strict=True))


def feeds_of(case):
    """All inputs of a model, drawn and of our names, under ONNX's."""
    feeds = {"x": case.arrays["x"], "initial_h": case.arrays["h0"], "initial_c": case.arrays["c0"]}
    if case.lengths is not None:
        feeds["sequence_lens"] = case.lengths.astype(np.int32)
    return feeds


def assert_same(values, expected, tolerance=1e-6):
    for name, value in expected.items():
        np.testing.assert_allclose(values[name], value, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("lengths", [None, [2, 5, 1]], ids=str)
def test_onnxruntime_computes_the_same_from_our_model(sizes, lengths):
    case = draw_case(LSTM(I, H, dropout=0.5, **sizes), T, B, lengths, dtype=np.float32)
    model = to_onnx(case.lstm, case.params, lengths=lengths is not None, states=True)
    onnx.checker.check_model(model, full_check=True)
    assert_same(run(model, feeds_of(case)), case.values())


@pytest.mark.parametrize("variant", VARIANTS, ids=repr)
def test_onnxruntime_computes_the_same_variant(variant):
    lstm = LSTM(I, H, num_layers=2, bidirectional=True, variant=variant)
    case = draw_case(lstm, T, B, [3, 1, 5], dtype=np.float32)
    case.arrays.update({name: array * 0.5 for name, array in case.arrays.items()})  # identities grow
    model = to_onnx(lstm, case.params, lengths=True, states=True)
    onnx.checker.check_model(model, full_check=True)
    assert_same(run(model, feeds_of(case)), case.values(), 2e-6)


def test_a_model_of_x_alone_starts_from_zero():
    case = draw_case(LSTM(I, H, num_layers=2), T, B, dtype=np.float32)
    zeros = dict.fromkeys(("h0", "c0"), np.zeros_like(case.arrays["h0"]))
    values = run(to_onnx(case.lstm, case.params), {"x": case.arrays["x"]})
    assert_same(values, case.values(case.arrays | zeros))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_a_model_in_float64_is_as_exact_in_onnxs_own_reference(sizes):
    """onnxruntime has the operator in float32 only, and the reference without lengths and attributes."""
    case = draw_case(LSTM(I, H, variant=Variant(peepholes=True), **sizes), T, B)
    model = to_onnx(case.lstm, case.params, states=True)
    values = ReferenceEvaluator(model).run(None, feeds_of(case))
    assert_same(dict(zip(OUTPUTS, values, strict=True)), case.values(), 1e-12)


def test_coupled_gates_are_right_even_where_the_attribute_is_ignored():
    case = draw_case(LSTM(I, H, variant=Variant(coupled=True, peepholes=True)), T, B)
    values = ReferenceEvaluator(to_onnx(case.lstm, case.params, states=True)).run(None, feeds_of(case))
    assert_same(dict(zip(OUTPUTS, values, strict=True)), case.values(), 1e-12)


@pytest.mark.parametrize("coupled", [False, True])
def test_clip_bounds_what_enters_the_gates(coupled):
    variant = Variant(activation_clip=1.2, peepholes=True, coupled=coupled)
    case = draw_case(LSTM(I, H, variant=variant), T, B, dtype=np.float32)
    case.arrays["x"] *= 3
    case.arrays["c0"] *= np.float32(0.2)
    ours = case.values()
    free = draw_case(LSTM(I, H, variant=dataclasses.replace(variant, activation_clip=math.inf)))
    with pytest.raises(AssertionError, match="y"):  # it does bound something
        assert_same(free.values(case.arrays), ours, 0.1)
    assert_same(run(to_onnx(case.lstm, case.params, states=True), feeds_of(case)), ours)


def test_clip_differs_in_onnxruntime_where_a_cell_is_beyond_it():
    """By the specification it bounds what enters every activation; onnxruntime leaves the last one out."""
    case = draw_case(LSTM(I, H, variant=Variant(activation_clip=0.5)), 1, B, dtype=np.float32)
    case.arrays["c0"] *= 4
    values, ours = run(to_onnx(case.lstm, case.params, states=True), feeds_of(case)), case.values()
    c = ours["c_n"]
    assert (np.abs(c) > 0.5).any()
    assert (np.abs(c) < 0.5).any()
    without = ours["h_n"] * np.tanh(c) / np.tanh(np.clip(c, -0.5, 0.5))
    assert_same(values, {"c_n": c, "h_n": without, "y": without})


def test_rows_without_steps_end_in_zero_in_onnxruntime_and_as_they_began_here():
    case = draw_case(LSTM(I, H, num_layers=2, bidirectional=True), T, B, [3, 0, 5], dtype=np.float32)
    values = run(to_onnx(case.lstm, case.params, lengths=True, states=True), feeds_of(case))
    ours = case.values()
    for name, state in (("h_n", "h0"), ("c_n", "c0")):
        np.testing.assert_array_equal(values[name][:, 1], 0)
        np.testing.assert_array_equal(ours[name][:, 1], case.arrays[state][:, 1])
        ours[name][:, 1] = 0
    assert_same(values, ours)  # y, and all other rows


@pytest.mark.parametrize("gates", list(itertools.combinations("ifgo", 2)), ids="".join)
def test_two_gates_in_each_others_place_are_noticed(gates):
    case = draw_case(LSTM(I, H), T, B, dtype=np.float32)
    order = ["ifgo".index({gates[0]: gates[1], gates[1]: gates[0]}.get(gate, gate)) for gate in "ifgo"]
    swapped = {k: a.reshape(4, H, *a.shape[1:])[order].reshape(a.shape) for k, a in case.params.items()}
    values = run(to_onnx(case.lstm, swapped, states=True), feeds_of(case))
    with pytest.raises(AssertionError, match="y"):
        assert_same(values, case.values(), 1e-3)


@pytest.mark.parametrize("gates", list(itertools.combinations("ifo", 2)), ids="".join)
def test_two_peepholes_in_each_others_place_are_noticed(gates):
    case = draw_case(LSTM(I, H, variant=Variant(peepholes=True)), T, B, dtype=np.float32)
    order = ["ifo".index({gates[0]: gates[1], gates[1]: gates[0]}.get(gate, gate)) for gate in "ifo"]
    swapped = case.params | {"peephole_l0": case.params["peephole_l0"].reshape(3, H)[order].ravel()}
    values = run(to_onnx(case.lstm, swapped, states=True), feeds_of(case))
    with pytest.raises(AssertionError, match="y"):
        assert_same(values, case.values(), 1e-3)


# Models by hand: operators on top of each other, and what lies between.


def operator_weights(rng, n_inputs, D=1, hidden_size=H, dtype=np.float32):
    shapes = {
        "W": (D, 4 * hidden_size, n_inputs),
        "R": (D, 4 * hidden_size, hidden_size),
        "B": (D, 8 * hidden_size),
        "P": (D, 3 * hidden_size),
    }
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def operator(k, x, attributes, weights, y="y", states=False):
    """One operator, with those of its weights that are given."""
    names = [f"{name}{k}" if name in weights else "" for name in ("W", "R", "B")]
    inputs = [x, *names, "", *(("initial_h", "initial_c") if states else ("", ""))]
    inputs += [f"P{k}"] if "P" in weights else []
    return helper.make_node("LSTM", inputs, [y, *OUTPUTS[1:]], name=f"lstm{k}", **attributes)


def model_of(nodes, constants, x_shape=("T", "B", I), D=1, dtype=np.float32, opset=14, **inputs):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    shapes = {"x": x_shape} | inputs
    graph = helper.make_graph(
        nodes,
        "by hand",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, kind, [None] * (3 + (name == "y"))) for name in OUTPUTS],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)


def single(attributes, weights, states=False, **options):
    """A model of one operator."""
    constants = {f"{name}0": array for name, array in weights.items()}
    D = len(weights["W"])
    if states:
        options |= dict.fromkeys(("initial_h", "initial_c"), (D, "B", weights["R"].shape[2]))
    return model_of([operator(0, "x", attributes, weights, states=states)], constants, **options)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kept", ["WR", "WRB", "WRP", "WRBP"])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"hidden_size": H, "input_forget": 1},
        {"activations": ["HardSigmoid", "Softsign", "Affine"], "activation_alpha": [0.2, 1.0]},
        {"activations": ["hardsigmoid", "Relu", "Tanh"]},
        {"activations": ["Sigmoid", "HardSigmoid", "Affine"], "clip": 50.0},
    ],
    ids=str,
)
def test_we_compute_the_same_from_an_operator_by_hand(attributes, kept, direction):
    """All numbers are random, both biases and the forget gate's unused weights among them."""
    rng = np.random.default_rng(0)
    D = 2 if direction == "bidirectional" else 1
    weights = {name: array for name, array in operator_weights(rng, I, D).items() if name in kept}
    if "activations" in attributes:
        names = attributes["activations"] * D
        alphas = [{"hardsigmoid": 0.2, "affine": 1.0}.get(name.lower()) for name in names]
        betas = [{"hardsigmoid": 0.5, "affine": 0.0}.get(name.lower()) for name in names]
        attributes = attributes | {
            "activations": names,
            "activation_alpha": [alpha for alpha in alphas if alpha is not None],
            "activation_beta": [beta for beta in betas if beta is not None],
        }
    model = single({"direction": direction, "hidden_size": H} | attributes, weights, states=True)
    lstm, params = from_onnx(model)
    assert lstm.variant.peepholes == ("P" in kept)
    case = draw_case(lstm, T, B, dtype=np.float32)
    case.arrays.update({name: array * np.float32(0.5) for name, array in case.arrays.items()})
    values = run(model, feeds_of(case))
    values["y"] = values["y"].swapaxes(1, 2).reshape(T, B, D * H)
    assert_same(values, case.values(case.arrays | params), 2e-6)


def test_activations_without_numbers_have_onnxs():
    weights = operator_weights(np.random.default_rng(0), I)
    model = single({"hidden_size": H, "activations": ["HardSigmoid", "Tanh", "HardSigmoid"]}, weights)
    lstm, params = from_onnx(model)
    assert lstm.variant.gate_activation == lstm.variant.output_activation == "hard_sigmoid"
    x = np.random.default_rng(1).normal(size=(T, B, I)).astype(np.float32)
    np.testing.assert_allclose(lstm.forward(params, x)[0][0], run(model, {"x": x})["y"][:, 0], atol=1e-6)


def test_three_activations_hold_for_both_directions():
    """By the specification; onnxruntime wants six."""
    weights = operator_weights(np.random.default_rng(0), I, D=2)
    three = {"direction": "bidirectional", "activations": ["Relu", "Tanh", "Softsign"]}
    lstm, _ = from_onnx(single(three, weights))
    assert lstm.variant == Variant(peepholes=True, gate_activation="relu", output_activation="softsign")


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_layout_1_is_batch_first(direction):
    """onnxruntime has no layout 1; onnx's own reference has."""
    rng = np.random.default_rng(0)
    D = 2 if direction == "bidirectional" else 1
    weights = operator_weights(rng, I, D, dtype=np.float64)
    attributes = {"direction": direction, "hidden_size": H, "layout": 1}
    model = single(attributes, weights, x_shape=("B", "T", I), dtype=np.float64)
    lstm, params = from_onnx(model)
    assert lstm.batch_first
    x = rng.normal(size=(B, T, I))
    outputs = dict(zip(OUTPUTS, ReferenceEvaluator(model).run(None, {"x": x}), strict=True))
    expected = {"y": outputs["y"].reshape(B, T, D * H)} | {k: outputs[k].swapaxes(0, 1) for k in OUTPUTS[1:]}
    assert_same(dict(zip(OUTPUTS, lstm.forward(params, x)[0], strict=True)), expected, 1e-12)


def test_operators_of_layout_1_on_top_of_each_other():
    rng = np.random.default_rng(0)
    first, second = (operator_weights(rng, n_inputs, dtype=np.float64) for n_inputs in (I, H))
    constants = {f"{name}0": array for name, array in first.items()} | {"axis": np.array([2])}
    constants |= {f"{name}1": array for name, array in second.items()}
    nodes = [
        operator(0, "x", {"layout": 1}, first, y="Y0"),
        helper.make_node("Squeeze", ["Y0", "axis"], ["y0"]),
        operator(1, "y0", {"layout": 1}, second),
    ]
    model = model_of(nodes, constants, x_shape=("B", "T", I), dtype=np.float64)
    lstm, params = from_onnx(model)
    assert (lstm.batch_first, lstm.num_layers) == (True, 2)
    x = rng.normal(size=(B, T, I))
    y = ReferenceEvaluator(model).run(["y"], {"x": x})[0]
    np.testing.assert_allclose(lstm.forward(params, x)[0][0], y[:, :, 0], atol=1e-12)


@pytest.mark.parametrize("opset", [9, 14])
def test_operators_on_top_of_each_other_and_weights_that_are_computed(opset):
    """A squeeze between the two, weights through an operator, peepholes in one of the two only."""
    rng = np.random.default_rng(0)
    first, second = operator_weights(rng, I), operator_weights(rng, H)
    del second["P"]
    constants = {f"{name}0": array for name, array in first.items()}
    constants |= {f"{name}1": array for name, array in second.items()}
    constants["half"] = constants.pop("W0") / 2
    between = [  # what is an input today was an attribute
        helper.make_node("Squeeze", ["Y0"], ["squeezed"], axes=[1]),
        helper.make_node("Dropout", ["squeezed"], ["y0", ""], ratio=0.5),
    ]
    if opset > 12:
        between = [helper.make_node("Squeeze", ["Y0", "axis"], ["y0"])]
        constants["axis"] = np.array([1])
    nodes = [
        helper.make_node("Add", ["half", "half"], ["W0"]),
        helper.make_node("Relu", ["x"], ["positive"]),
        operator(0, "positive", {"hidden_size": H}, first, y="Y0"),
        *between,
        operator(1, "y0", {"hidden_size": H}, second),
    ]
    nodes[2].output[1:] = ["", ""]
    model = model_of(nodes, constants, opset=opset)
    lstm, params = from_onnx(model)
    assert lstm == LSTM(I, H, num_layers=2, variant=Variant(peepholes=True))
    x = np.abs(rng.normal(size=(T, B, I))).astype(np.float32)
    values = dict(zip(OUTPUTS, lstm.forward(params, x)[0], strict=True))
    expected = run(model, {"x": x})
    np.testing.assert_allclose(values["y"], expected["y"][:, 0], atol=1e-6)
    np.testing.assert_allclose(values["c_n"][1:], expected["c_n"], atol=1e-6)


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"batch_first": True},
        {"bidirectional": True},
        {"num_layers": 2},
        {"num_layers": 3, "bidirectional": True, "batch_first": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("dynamic", [False, True])
def test_what_torch_exports_is_read(sizes, dynamic):
    torch.manual_seed(0)
    module = torch.nn.LSTM(I, H, **sizes).eval()
    shape = (B, T, I) if module.batch_first else (T, B, I)
    x, file = torch.randn(shape), io.BytesIO()
    with warnings.catch_warnings():  # its other exporter writes no LSTM operator without a further package
        warnings.simplefilter("ignore")
        axes = {"x": [0, 1]} if dynamic else None
        torch.onnx.export(module, (x,), file, dynamo=False, input_names=["x"], dynamic_axes=axes)
    lstm, params = from_onnx(onnx.load_from_string(file.getvalue()))
    assert lstm == LSTM(I, H, **sizes)
    with torch.no_grad():
        y, (h_n, c_n) = module(x)
    ours, _ = lstm.forward(params, x.numpy())
    assert_same(dict(zip(OUTPUTS, ours, strict=True)), {"y": y, "h_n": h_n, "c_n": c_n})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "options",
    SIZES + [{"num_layers": 2, "bidirectional": True, "variant": variant} for variant in [*VARIANTS, CLIP]],
    ids=repr,
)
def test_the_way_there_and_back_keeps_every_bit(options, dtype):
    case = draw_case(LSTM(I, H, **options), dtype=dtype)
    case.params["bias_l0_reverse" if case.lstm.reverse else "bias_l0"][0] = -0.0
    lstm, params = from_onnx(to_onnx(case.lstm, case.params, lengths=True, states=True))
    assert lstm == from_onnx(to_onnx(case.lstm, case.params))[0] == case.lstm
    assert params.keys() == case.params.keys()
    for name, array in case.params.items():
        assert (params[name].dtype, params[name].tobytes()) == (array.dtype, array.tobytes()), name


def test_a_file_is_written_whole_and_read_again(tmp_path):
    case = draw_case(LSTM(I, H), dtype=np.float32)
    path = tmp_path / "models" / "lstm.onnx"
    model = to_onnx(case.lstm, case.params, path)
    assert path.read_bytes() == model.SerializeToString()
    assert [file.name for file in path.parent.iterdir()] == ["lstm.onnx"]
    for given in (path, str(path)):
        lstm, params = from_onnx(given)
        assert lstm == case.lstm
        np.testing.assert_array_equal(params["weight_ih_l0"], case.params["weight_ih_l0"])
    with pytest.raises(UserError, match=r"lstm\.onnx: is there already; name another file, or pass overwri"):
        to_onnx(case.lstm, case.params, path)
    to_onnx(case.lstm, {name: 2 * array for name, array in case.params.items()}, path, overwrite=True)
    np.testing.assert_array_equal(from_onnx(path)[1]["bias_l0"], 2 * case.params["bias_l0"])


def test_files_that_are_none_are_named(tmp_path):
    with pytest.raises(ModelFileError, match=r"missing\.onnx: no such ONNX file$"):
        from_onnx(tmp_path / "missing.onnx")
    (tmp_path / "text.onnx").write_text("no model at all")
    with pytest.raises(ModelFileError, match=r"text\.onnx: not a whole ONNX file \(.*\); copy it again$"):
        from_onnx(tmp_path / "text.onnx")


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(converter, "_arrays", None)  # the work
    lstm = LSTM(I, H)
    for overwrite in (False, True):
        with pytest.raises(IsADirectoryError, match="is a folder; name a file in it"):
            to_onnx(lstm, lstm.init(np.random.default_rng(0)), tmp_path, overwrite=overwrite)


@pytest.mark.parametrize("left", [0, 40])
def test_weights_in_a_file_of_their_own_that_is_gone_or_cut_short(tmp_path, monkeypatch, left):
    lstm = LSTM(I, H)
    model = to_onnx(lstm, lstm.init(np.random.default_rng(0)))
    path, weights = tmp_path / "lstm.onnx", tmp_path / "weights.bin"
    onnx.save(model, path, save_as_external_data=True, location=weights.name, size_threshold=0)
    assert from_onnx(path)[0] == lstm
    without = onnx.load(path, load_external_data=False)
    weights.write_bytes(weights.read_bytes()[:left])
    if not left:
        weights.unlink()
    with pytest.raises(ModelFileError, match=r"lstm\.onnx: .*W_l0.*; copy it again with all its files$"):
        from_onnx(path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFileError, match=r"^the model's constant 'W_l0' cannot be read \(.*\); pass"):
        from_onnx(without)


@pytest.mark.parametrize(("clip", "back"), [(0.3, 0.3), (1 / 3, 0.33333334), (5, 5.0)])
def test_a_bound_comes_back_as_float32_has_it(clip, back):
    lstm = LSTM(I, H, variant=Variant(activation_clip=clip))
    again, _ = from_onnx(to_onnx(lstm, lstm.init(np.random.default_rng(0))))
    assert again.variant.activation_clip == back


def test_every_activation_has_a_name_in_onnx():
    assert converter.ACTIVATIONS.keys() == activations.ACTIVATIONS.keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proj_size": 1}, "proj_size, which is 1 here; train one without it to convert it"),
        ({"variant": Variant(layer_norm=True)}, "layer_norm, which is True here"),
        ({"variant": Variant(cell_clip=3)}, "cell_clip, which is 3 here"),
        ({"variant": Variant(zoneout_h=0.1)}, "zoneout_h, which is 0.1 here"),
        ({"variant": Variant(zoneout_c=0.1)}, "zoneout_c, which is 0.1 here"),
    ],
)
def test_what_onnx_lacks_is_named(options, message):
    lstm = LSTM(I, H, **options)
    with pytest.raises(SettingError, match=f"^the LSTM of ONNX has no {message}"):
        to_onnx(lstm, lstm.init(np.random.default_rng(0)))


def test_masks_of_training_are_left_out():
    variant = Variant(input_dropout=0.1, recurrent_dropout=0.2)
    case = draw_case(LSTM(I, H, num_layers=2, dropout=0.3, variant=variant), T, B, dtype=np.float32)
    model = to_onnx(case.lstm, case.params, states=True)
    assert from_onnx(model)[0] == LSTM(I, H, num_layers=2)
    assert_same(run(model, feeds_of(case)), case.values())


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"activations": ["Elu", "Tanh", "Tanh"]}, "its activation Elu is not one of Sigmoid, Tanh, Relu"),
        (
            {"activations": ["HardSigmoid", "Tanh", "Tanh"], "activation_alpha": [0.25]},
            r"its HardSigmoid has alpha and beta \(0\.25, 0\.5\); ours has \(0\.2, 0\.5\), and no others",
        ),
        ({"activations": ["Sigmoid", "Affine", "Tanh"]}, r"its Affine has alpha and beta \(nan, nan\); ours"),
        (
            {"activations": ["Sigmoid", "Tanh", "Tanh", "Sigmoid", "Relu", "Tanh"]},
            "its directions have different activations, Sigmoid, Tanh, Tanh, Sigmoid, Relu, Tanh",
        ),
    ],
)
def test_activations_that_we_lack_are_named(attributes, message):
    weights = operator_weights(np.random.default_rng(0), I, D=2)
    model = single({"direction": "bidirectional", "hidden_size": H} | attributes, weights)
    with pytest.raises(ModelFileError, match=f"^LSTM operator 0 'lstm0': {message}"):
        from_onnx(model)


@pytest.mark.parametrize(
    ("attributes", "hidden_size", "message"),
    [
        ({}, 3, "its hidden_size is 3, but 2 in the first one; an LSTM has the same in all layers"),
        ({"direction": "reverse"}, H, "its direction is 'reverse', but 'forward' in the first one"),
        ({"input_forget": 1}, H, "its coupled is True, but False in the first one"),
        ({"clip": 3.0}, H, "its activation_clip is 3.0, but inf in the first one"),
        ({"activations": ["Relu", "Tanh", "Tanh"]}, H, "its gate_activation is 'relu', but 'sigmoid' in"),
    ],
)
def test_operators_that_one_lstm_cannot_hold_are_named(attributes, hidden_size, message):
    rng = np.random.default_rng(0)
    first, second = operator_weights(rng, I), operator_weights(rng, H, hidden_size=hidden_size)
    constants = {f"{name}0": array for name, array in first.items()} | {"axis": np.array([1])}
    constants |= {f"{name}1": array for name, array in second.items()}
    nodes = [
        operator(0, "x", {}, first, y="Y0"),
        helper.make_node("Squeeze", ["Y0", "axis"], ["y0"]),
        operator(1, "y0", attributes, second),
    ]
    with pytest.raises(ModelFileError, match=f"^LSTM operator 1 'lstm1': {message}"):
        from_onnx(model_of(nodes, constants))


@pytest.mark.parametrize(
    "between",
    [
        helper.make_node("Relu", ["y0"], ["x1"]),
        helper.make_node("Neg", ["y0"], ["x1"]),
        helper.make_node("Transpose", ["y0"], ["x1"], perm=[1, 0, 2]),
        helper.make_node("Identity", ["other"], ["x1"]),
        helper.make_node("Strange", ["y0"], ["x1"], domain="strange"),
    ],
    ids=lambda node: node.op_type,
)
def test_something_between_two_operators_is_noticed(between):
    rng = np.random.default_rng(0)
    first, second = operator_weights(rng, I), operator_weights(rng, H)
    constants = {f"{name}0": array for name, array in first.items()} | {"axis": np.array([1])}
    constants |= {f"{name}1": array for name, array in second.items()}
    nodes = [
        operator(0, "x", {}, first, y="Y0"),
        helper.make_node("Squeeze", ["Y0", "axis"], ["y0"]),
        between,
        operator(1, "x1", {}, second),
    ]
    message = (
        "^LSTM operator 1 'lstm1': it does not read what the LSTM operator before it writes, and just that"
    )
    with pytest.raises(ModelFileError, match=message):
        from_onnx(model_of(nodes, constants, other=("T", "B", H)))
    nodes[2:] = [operator(1, "y0", {}, second)]
    assert from_onnx(model_of(nodes, constants))[0].num_layers == 2


@pytest.mark.parametrize(
    ("attributes", "changes", "message"),
    [
        ({"direction": "sideways"}, {}, "its direction is one of forward, reverse, bidirectional, not"),
        ({"direction": "bidirectional"}, {}, r"W has shape \(1, 8, 4\), not \(2, 8, 4\) of 'bidirectional'"),
        ({"hidden_size": 3}, {}, r"W has shape \(1, 8, 4\), not \(1, 12, 4\) of 'forward', 4 inputs and 3"),
        ({}, {"W": (8, I)}, r"W has shape \(8, 4\), not \(1, 8, 4\) of 'forward', 4 inputs"),
        ({}, {"W": ()}, r"W has shape \(\), not \(1, 8, 0\)"),
        ({}, {"W": (2, 8, I)}, r"W has shape \(2, 8, 4\), not \(1, 8, 4\)"),
        ({}, {"W": (1, 6, I)}, r"W has shape \(1, 6, 4\), not \(1, 8, 4\)"),
        ({}, {"W": (1, 8, 0)}, r"W has shape \(1, 8, 0\)"),
        ({"hidden_size": H}, {"R": (1, 8, 3)}, r"R has shape \(1, 8, 3\), not \(1, 8, 2\)"),
        ({}, {"R": (8, H)}, r"R has shape \(8, 2\), not \(1, 8, 2\)"),
        ({}, {"B": (1, 8)}, r"B has shape \(1, 8\), not \(1, 16\)"),
        ({}, {"P": (1, 8)}, r"P has shape \(1, 8\), not \(1, 6\)"),
        ({}, {"R": None}, "R is not a constant of the model; export it with its weights"),
        ({"activations": ["Sigmoid", "Tanh"]}, {}, "it has 2 activations, Sigmoid, Tanh; an LSTM has 3"),
        ({"activations": ["Sigmoid", "Tanh", "Tanh"] * 2}, {}, "it has 6 activations, Sigmoid, "),
        ({"clip": 0.0}, {}, "its clip is 0; a bound is above 0$"),
        ({"clip": -1.5}, {}, "its clip is -1.5; a bound is above 0$"),
        ({"clip": math.nan}, {}, "its clip is nan; a bound is above 0$"),
    ],
    ids=str,
)
def test_an_operator_that_is_none_is_named(attributes, changes, message):
    weights = operator_weights(np.random.default_rng(0), I)
    for name, shape in changes.items():
        if shape is None:
            del weights[name]
        else:
            weights[name] = np.ones(shape, np.float32)
    constants = {f"{name}0": array for name, array in weights.items()}
    with pytest.raises(ModelFileError, match=f"^LSTM operator 0 'lstm0': {message}"):
        from_onnx(model_of([operator(0, "x", attributes, weights)], constants))


def test_inputs_that_do_not_fit_an_operator_are_refused():
    rng = np.random.default_rng(0)
    first, second = operator_weights(rng, I), operator_weights(rng, 3)
    constants = {f"{name}0": array for name, array in first.items()} | {"axis": np.array([1])}
    constants |= {f"{name}1": array for name, array in second.items()}
    nodes = [
        operator(0, "x", {}, first, y="Y0"),
        helper.make_node("Squeeze", ["Y0", "axis"], ["y0"]),
        operator(1, "y0", {}, second),
    ]
    with pytest.raises(ModelFileError, match=r"^LSTM operator 1 'lstm1': W is for 3 inputs, but .* has 2"):
        from_onnx(model_of(nodes, constants))
    with pytest.raises(ModelFileError, match=r"^LSTM operator 0 'lstm0': X has 2 axes, not 3; "):
        from_onnx(model_of(nodes, constants, x_shape=("T", I)))


def test_a_model_without_the_operator_is_refused():
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    with pytest.raises(ModelFileError, match=r"^there is no LSTM operator in this model$"):
        from_onnx(model_of(nodes, {}))


@pytest.mark.parametrize("name", ["W", "R", "B", "P"])
def test_weights_that_are_inputs_are_refused(name):
    weights = operator_weights(np.random.default_rng(0), I)
    constants = {f"{key}0": array for key, array in weights.items() if key != name}
    inputs = {f"{name}0": weights[name].shape}
    message = f"^LSTM operator 0 'lstm0': {name} is not a constant of the model; export it with its weights$"
    with pytest.raises(ModelFileError, match=message):
        from_onnx(model_of([operator(0, "x", {}, weights)], constants, **inputs))
    nodes = [helper.make_node("Neg", ["given"], [f"{name}0"]), operator(0, "x", {}, weights)]
    with pytest.raises(ModelFileError, match=message):
        from_onnx(model_of(nodes, constants, given=weights[name].shape))


@pytest.mark.parametrize("name", ["initial_h", "initial_c"])
def test_a_state_of_its_own_is_refused_unless_it_is_zero(name):
    weights = operator_weights(np.random.default_rng(0), I)
    states = {"initial_h": np.zeros((1, B, H), np.float32), "initial_c": np.zeros((1, B, H), np.float32)}
    constants = {f"{key}0": array for key, array in weights.items()} | states
    model = model_of([operator(0, "x", {}, weights, states=True)], constants)
    assert from_onnx(model)[0] == LSTM(I, H, variant=Variant(peepholes=True))
    constants[name] = np.full((1, B, H), 0.1, np.float32)
    model = model_of([operator(0, "x", {}, weights, states=True)], constants)
    message = f"^LSTM operator 0 'lstm0': {name} is neither zero nor an input of the model"
    with pytest.raises(ModelFileError, match=message):
        from_onnx(model)


def test_an_input_of_unknown_shape_is_taken_as_the_operator_reads_it():
    weights = operator_weights(np.random.default_rng(0), I)
    model = single({"layout": 1}, weights)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    assert from_onnx(model)[0].batch_first


def test_missing_onnx_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setitem(sys.modules, "onnx.reference", None)
    lstm = LSTM(I, H)
    message = r"^ONNX models need onnx: pip install 'lstm-scratch\[onnx\]'$"
    with pytest.raises(UserError, match=message):
        to_onnx(lstm, lstm.init(np.random.default_rng(0)))
    with pytest.raises(UserError, match=message):
        from_onnx("model.onnx")
