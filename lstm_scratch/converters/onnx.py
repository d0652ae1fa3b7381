"""ONNX: an LSTM as a model of ONNX operators, and back (extra `onnx`).

One operator is one layer with all its directions. Against ours:

- its gates are i, o, f, c, where c is our g, and its peepholes i, o, f;
- its two biases add up, and ours is the first;
- what a direction that reads backwards writes lies at the steps that it read, as ours does;
- ``input_forget=1`` couples the gates: the text of the specification does not say how, onnxruntime computes
  ``f = 1 - i``, as we do, and leaves the forget gate's weights alone. `to_onnx` writes the input gate's
  there, negated, so that where the attribute is ignored a sigmoid comes to the same;
- ``clip`` bounds what enters every activation, by the specification and here. onnxruntime (1.32) leaves h's
  out (github.com/microsoft/onnxruntime/issues/27224): where a cell is beyond the bound its outputs differ;
- rows of which ``sequence_lens`` is 0 end in the state that they began with. In onnxruntime they end in zero.

On the CPU, onnxruntime runs the operator in float32 and time-major (``layout=0``) only. Models are written
for the latter, and in the parameters' dtype.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lstm_scratch.converters.common import check_params, check_settings, suffixes
from lstm_scratch.errors import ModelFileError, UserError
from lstm_scratch.files import atomic_write, check_writable
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.params import Params
from lstm_scratch.variants import Variant
from lstm_scratch.version import __version__

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

# The operator is as it is here since opset 14 (2021); an old version is read by most runtimes.
OPSET, IR_VERSION = 14, 7
GATES, PEEPHOLES = "iofg", "iof"
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}

# Ours, with ONNX's name and its alpha and beta.
ACTIVATIONS: dict[str, tuple[str, tuple[float, ...]]] = {
    "sigmoid": ("Sigmoid", ()),
    "tanh": ("Tanh", ()),
    "relu": ("Relu", ()),
    "softsign": ("Softsign", ()),
    "hard_sigmoid": ("HardSigmoid", (0.2, 0.5)),
    "identity": ("Affine", (1.0, 0.0)),
}


def to_onnx(
    lstm: LSTM,
    params: Params,
    path: str | os.PathLike[str] | None = None,
    *,
    lengths: bool = False,
    states: bool = False,
    overwrite: bool = False,
) -> "ModelProto":
    """Turn an LSTM into an ONNX model.

    Its input is ``x``, its outputs are ``y``, ``h_n`` and ``c_n``, all in the shapes of `LSTM.forward`.

    Parameters
    ----------
    lstm : LSTM
        The stack.
    params : dict
        Its parameters.
    path : path, optional
        A file to write, too.
    lengths : bool, default False
        The model has an input ``sequence_lens (B,)``, int32.
    states : bool, default False
        The model has inputs ``initial_h`` and ``initial_c (L * D, B, H)``.
    overwrite : bool, default False
        Replace a file that is there.

    Returns
    -------
    onnx.ModelProto
        The model.

    Raises
    ------
    SettingError
        If ONNX's LSTM cannot compute it. Dropout is of training only, and left out.
    DataError
        If the parameters are not just those of this LSTM.
    UserError
        If the file is there already, or onnx is not installed.
    OSError
        If the file cannot be written.

    Notes
    -----
    ONNX keeps `activation_clip` in float32, and `from_onnx` reads the shortest number that is the same
    there: 0.3 comes back as 0.3, but 1/3 as 0.33333334.
    """
    onnx = _import_onnx()
    known = "reverse peepholes coupled activation_clip gate_activation cell_activation output_activation"
    check_settings("ONNX", lstm, known.split())
    check_params(lstm, params)
    if path is not None:
        check_writable(path)
        if Path(path).exists() and not overwrite:
            raise UserError(f"{path}: is there already; name another file, or pass overwrite=True")

    D, H = len(lstm.directions), lstm.hidden_size
    weights: dict[str, np.ndarray] = {}
    for layer in range(lstm.num_layers):
        weights |= _arrays(lstm, params, layer)
    dtype = onnx.helper.np_dtype_to_tensor_dtype(weights["W_l0"].dtype)
    rows = ["B", "T"] if lstm.batch_first else ["T", "B"]
    of_states = [lstm.num_layers * D, "B", H]
    inputs = {"x": [*rows, lstm.input_size]}
    if states:
        inputs |= {"initial_h": of_states, "initial_c": of_states}
    outputs = {"y": [*rows, D * H], "h_n": of_states, "c_n": of_states}
    describe = onnx.helper.make_tensor_value_info
    described = [[describe(name, dtype, of[name]) for name in of] for of in (inputs, outputs)]
    if lengths:
        described[0].insert(1, describe("sequence_lens", onnx.TensorProto.INT32, ["B"]))
    constants = weights | {"y_shape": np.array([0, 0, D * H])}  # 0: what it was
    if states:
        constants["directions"] = np.full(lstm.num_layers, D)
    graph = onnx.helper.make_graph(
        _nodes(lstm, lengths, states),
        "lstm",
        *described,
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model: ModelProto = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="lstm-scratch",
        producer_version=__version__,
    )
    if path is not None:
        with atomic_write(path) as part:
            part.write_bytes(model.SerializeToString())
    return model


def from_onnx(model: "ModelProto | str | os.PathLike[str]") -> tuple[LSTM, Params]:
    """Turn a model's LSTM operators, one stack of them, into an LSTM.

    Whether each operator reads all of what the one before wrote, and nothing else, is found out by
    following random numbers through whatever lies between. What comes before the first operator and behind
    the last one is not read, and neither are the inputs that say how long a row is and how it begins: these
    are given to `LSTM.forward`.

    Parameters
    ----------
    model : onnx.ModelProto or path
        A model, or its file.

    Returns
    -------
    lstm : LSTM
        The stack: `batch_first` if the model's input is so, which need not be the operators' layout.
    params : dict
        Its parameters: copies, of the same dtype.

    Raises
    ------
    ModelFileError
        If there is no stack of LSTM operators, or one that an `LSTM` cannot be.
    UserError
        If onnx is not installed.
    """
    onnx = _import_onnx()
    if not isinstance(model, onnx.ModelProto):
        model = _load(model)
    operators, batch_first = _read(model)
    settings = operators[0].settings
    for operator in operators:
        for name, value in operator.settings.items():
            if value != settings[name]:
                raise ModelFileError(
                    f"{operator.where}: its {name} is {value!r}, but {settings[name]!r} in the first one; "
                    "an LSTM has the same in all layers: convert them one by one"
                )
    direction, H = settings.pop("direction"), settings.pop("hidden_size")
    lstm = LSTM(
        operators[0].arrays["W"].shape[2],
        H,
        num_layers=len(operators),
        bidirectional=direction == "bidirectional",
        batch_first=batch_first,
        reverse=direction == "reverse",
        variant=Variant(peepholes=any("P" in operator.arrays for operator in operators), **settings),
    )
    blocks, params = lstm.variant.blocks, {}
    for k, operator in enumerate(operators):
        for row, suffix in enumerate(suffixes(lstm, k)):
            of_pass = {name: array[row] for name, array in operator.arrays.items()}
            zeros = np.zeros(8 * H, of_pass["W"].dtype)
            params["weight_ih" + suffix] = _reordered(of_pass["W"], GATES, blocks)
            params["weight_hh" + suffix] = _reordered(of_pass["R"], GATES, blocks)
            bias = of_pass.get("B", zeros)
            params["bias" + suffix] = _reordered(bias[: 4 * H] + bias[4 * H :], GATES, blocks)
            if lstm.variant.peepholes:
                peepholes = of_pass.get("P", zeros[: 3 * H])
                params["peephole" + suffix] = _reordered(peepholes, PEEPHOLES, blocks.replace("g", ""))
    return lstm, params


def _import_onnx() -> Any:
    try:
        import onnx.reference  # and onnx itself
    except ImportError:
        raise UserError("ONNX models need onnx: pip install 'lstm-scratch[onnx]'") from None
    return onnx


def _reordered(array: np.ndarray, blocks: str, wanted: str) -> np.ndarray:
    """Reorder blocks of rows."""
    of_gate = dict(zip(blocks, np.split(array, len(blocks)), strict=True))
    of_gate.setdefault("f", -of_gate["i"])  # coupled gates have none of their own
    return np.concatenate([of_gate[gate] for gate in wanted])


def _arrays(lstm: LSTM, params: Params, layer: int) -> dict[str, np.ndarray]:
    """Give one layer's parameters as its operator has them."""
    blocks, passes = lstm.variant.blocks, []
    for suffix in suffixes(lstm, layer):
        bias = _reordered(params["bias" + suffix], blocks, GATES)
        of_pass = {
            "W": _reordered(params["weight_ih" + suffix], blocks, GATES),
            "R": _reordered(params["weight_hh" + suffix], blocks, GATES),
            "B": np.concatenate([bias, np.full_like(bias, -0.0)]),  # as in `to_torch_names`
        }
        if lstm.variant.peepholes:
            of_pass["P"] = _reordered(params["peephole" + suffix], blocks.replace("g", ""), PEEPHOLES)
        passes.append(of_pass)
    return {f"{name}_l{layer}": np.stack([of_pass[name] for of_pass in passes]) for name in passes[0]}


def _nodes(lstm: LSTM, lengths: bool, states: bool) -> "list[NodeProto]":
    """Lay out the operators, in the order in which they run."""
    from onnx.helper import make_node

    nodes, layers, attributes = [], range(lstm.num_layers), _attributes(lstm)
    if states:
        nodes += [
            make_node("Split", [name, "directions"], [f"{name}_l{k}" for k in layers], axis=0)
            for name in ("initial_h", "initial_c")
        ]
    if lstm.batch_first:
        nodes.append(make_node("Transpose", ["x"], ["x_by_step"], perm=[1, 0, 2]))
    y = "x_by_step" if lstm.batch_first else "x"
    for k in layers:
        inputs = [y, f"W_l{k}", f"R_l{k}", f"B_l{k}", "sequence_lens" if lengths else ""]
        inputs += [f"initial_h_l{k}", f"initial_c_l{k}"] if states else ["", ""]
        inputs += [f"P_l{k}"] if lstm.variant.peepholes else []
        outputs = [f"Y_l{k}", f"h_n_l{k}", f"c_n_l{k}"]
        nodes.append(make_node("LSTM", inputs, outputs, name=f"lstm_l{k}", **attributes))
        # From (T, D, B, H), the directions come to lie side by side.
        top = k == lstm.num_layers - 1
        perm = [2, 0, 1, 3] if top and lstm.batch_first else [0, 2, 1, 3]
        y = "y" if top else f"y_l{k}"
        nodes.append(make_node("Transpose", [f"Y_l{k}"], [f"Y_by_row_l{k}"], perm=perm))
        nodes.append(make_node("Reshape", [f"Y_by_row_l{k}", "y_shape"], [y]))
    states_of = {name: [f"{name}_l{k}" for k in layers] for name in ("h_n", "c_n")}
    return nodes + [make_node("Concat", parts, [name], axis=0) for name, parts in states_of.items()]


def _attributes(lstm: LSTM) -> dict[str, Any]:
    """Say what all operators are told."""
    variant, D = lstm.variant, len(lstm.directions)
    names = (variant.gate_activation, variant.cell_activation, variant.output_activation)
    activations = [ACTIVATIONS[name] for name in names] * D
    constants = [of_one for _, of_one in activations if of_one]
    return {
        "hidden_size": lstm.hidden_size,
        "direction": "bidirectional" if D == 2 else "reverse" if lstm.reverse else "forward",
        "activations": [name for name, _ in activations],
        "activation_alpha": [alpha for alpha, _ in constants] or None,  # None: no such attribute
        "activation_beta": [beta for _, beta in constants] or None,
        "clip": variant.activation_clip if variant.activation_clip < math.inf else None,
        "input_forget": 1 if variant.coupled else None,
    }


class _Operator(NamedTuple):
    where: str  # what messages call it
    settings: dict[str, Any]  # ours: those that have to be the same in all layers
    arrays: dict[str, np.ndarray]  # W, R, and as far as they are there B and P


def _load(path: str | os.PathLike[str]) -> "ModelProto":
    import onnx
    from google.protobuf.message import DecodeError

    if not Path(path).is_file():
        raise ModelFileError(f"{path}: no such ONNX file")
    try:
        return onnx.load(path)
    except DecodeError as error:
        raise ModelFileError(f"{path}: not a whole ONNX file ({error}); copy it again") from None
    except (onnx.checker.ValidationError, ValueError, OSError) as error:  # of the files beside it
        raise ModelFileError(f"{path}: {error}; copy it again with all its files") from None


def _read(model: "ModelProto") -> tuple[list[_Operator], bool]:
    """Find the operators, and whether the model's input is batch-first."""
    import onnx

    graph = model.graph
    values = {}
    for tensor in graph.initializer:
        try:
            values[tensor.name] = onnx.numpy_helper.to_array(tensor)
        except (onnx.checker.ValidationError, ValueError, OSError) as error:
            raise ModelFileError(
                f"the model's constant {tensor.name!r} cannot be read ({error}); "
                "pass the path of a whole model, with all its files beside it"
            ) from None
    constant = set(values)
    probes = _probes([value for value in graph.input if value.name not in constant])
    values |= probes
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    rng = np.random.default_rng(1)
    last = max((k for k, node in enumerate(graph.node) if node.op_type == "LSTM"), default=None)
    if last is None:
        raise ModelFileError("there is no LSTM operator in this model")
    operators: list[_Operator] = []
    batch_first = False
    written: np.ndarray = np.empty(0)
    for node in graph.node[: last + 1]:
        if node.op_type != "LSTM":
            _compute(node, values, constant, opsets)
            continue
        operator, layout = _operator(node, len(operators), values, constant, probes)
        x = values.get(node.input[0])
        if x is not None and x.ndim != 3:
            raise ModelFileError(f"{operator.where}: X has {x.ndim} axes, not 3; export it with a batch axis")
        if x is not None and layout == 1:
            x = x.swapaxes(0, 1)
        if not operators:
            batch_first = layout == 1
            for probe in probes.values():
                if _same(x, probe):
                    batch_first = False
                elif probe.ndim == 3 and _same(x, probe.swapaxes(0, 1)):
                    batch_first = True
        elif not _same(x, written):
            raise ModelFileError(
                f"{operator.where}: it does not read what the LSTM operator before it writes, and just that; "
                "convert the operators one by one"
            )
        elif operator.arrays["W"].shape[2] != written.shape[2]:
            raise ModelFileError(
                f"{operator.where}: W is for {operator.arrays['W'].shape[2]} inputs, "
                f"but the operator before it has {written.shape[2]} outputs"
            )
        operators.append(operator)
        T, B = (5, 3) if x is None else x.shape[:2]
        D, H = operator.arrays["W"].shape[0], operator.settings["hidden_size"]
        y = rng.normal(size=(T, D, B, H)).astype(operator.arrays["W"].dtype)
        written = y.swapaxes(1, 2).reshape(T, B, D * H)
        values[node.output[0]] = y.transpose(2, 0, 1, 3) if layout == 1 else y
    return operators, batch_first


def _same(array: np.ndarray | None, other: np.ndarray) -> bool:
    return array is not None and np.array_equal(array, other)


def _probes(inputs: "Sequence[ValueInfoProto]") -> dict[str, np.ndarray]:
    """Draw numbers for a model's inputs, to see where they arrive."""
    import onnx

    rng = np.random.default_rng(0)
    sizes: dict[str, int] = {}  # of axes by name; all different, so that no two are taken for each other
    probes = {}
    for value in inputs:
        of_type = value.type.tensor_type
        if not of_type.HasField("shape"):
            continue
        shape = [
            axis.dim_value or sizes.setdefault(axis.dim_param or f"{value.name} {k}", len(sizes) + 2)
            for k, axis in enumerate(of_type.shape.dim)
        ]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(of_type.elem_type)
        probes[value.name] = (rng.normal(size=shape) if dtype.kind == "f" else np.ones(shape)).astype(dtype)
    return probes


def _compute(
    node: "NodeProto", values: dict[str, np.ndarray], constant: set[str], opsets: dict[str, int]
) -> None:
    """Add an operator's outputs to the values, if they can be known."""
    from onnx.helper import make_empty_tensor_value_info, make_graph
    from onnx.reference import ReferenceEvaluator

    inputs = {name: values.get(name) for name in node.input if name}
    if any(value is None for value in inputs.values()):
        return
    names = [name for name in node.output if name]
    given, made = ([make_empty_tensor_value_info(name) for name in end] for end in (inputs, names))
    graph = make_graph([node], "one operator", given, made)
    try:
        with np.errstate(all="ignore"):
            outputs: Any = ReferenceEvaluator(graph, opsets=opsets).run(None, inputs)
    except Exception:  # an operator of another's, or sizes that our numbers lack: where needed, it is missed
        return
    values.update(zip(names, outputs, strict=True))
    if constant >= inputs.keys():
        constant |= set(names)


def _operator(
    node: "NodeProto",
    number: int,
    values: dict[str, np.ndarray],
    constant: set[str],
    probes: dict[str, np.ndarray],
) -> tuple[_Operator, int]:
    """Read one operator, and its layout."""
    import onnx

    where = f"LSTM operator {number} {node.name!r}"
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    names = dict(
        zip(("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"), node.input, strict=False)
    )
    for key in ("W", "R", "B", "P"):
        if (names.get(key) or key in "WR") and names.get(key) not in constant:
            raise ModelFileError(f"{where}: {key} is not a constant of the model; export it with its weights")
    drawn = np.concatenate([[0], *(probe.ravel() for probe in probes.values())])
    for key in ("initial_h", "initial_c"):
        if names.get(key) and not np.isin(values.get(names[key], np.nan), drawn).all():
            raise ModelFileError(
                f"{where}: {key} is neither zero nor an input of the model; an LSTM holds no state of its own"
            )
    arrays = {key: values[names[key]] for key in ("W", "R", "B", "P") if names.get(key)}
    direction = attributes.get("direction", b"forward").decode()
    if direction not in DIRECTIONS:
        raise ModelFileError(f"{where}: its direction is one of {', '.join(DIRECTIONS)}, not {direction!r}")
    D, H, I = DIRECTIONS[direction], (0, *arrays["R"].shape)[-1], (0, *arrays["W"].shape)[-1]
    H = attributes.get("hidden_size", H)
    wanted = {"W": (D, 4 * H, I), "R": (D, 4 * H, H), "B": (D, 8 * H), "P": (D, 3 * H)}
    for key, array in arrays.items():
        if array.shape != wanted[key] or array.size == 0:
            raise ModelFileError(
                f"{where}: {key} has shape {array.shape}, not {wanted[key]} of {direction!r}, "
                f"{I} inputs and {H} hidden units; export it anew"
            )
    clip = attributes.get("clip", math.inf)
    if not clip > 0:
        raise ModelFileError(f"{where}: its clip is {clip:g}; a bound is above 0")
    settings = {
        "hidden_size": H,
        "direction": direction,
        "coupled": attributes.get("input_forget", 0) == 1,
        # The attribute is float32: 0.3, and not what the nearest float32 is as a float64.
        "activation_clip": float(str(np.float32(clip))),
        **_activations(where, attributes, D),
    }
    return _Operator(where, settings, arrays), attributes.get("layout", 0)


def _activations(where: str, attributes: dict[str, Any], n_directions: int) -> dict[str, str]:
    """Tell an operator's activations in our names."""
    names = [name.decode() for name in attributes.get("activations", [])] or ["Sigmoid", "Tanh", "Tanh"]
    if len(names) == 3:
        names *= n_directions
    if len(names) != 3 * n_directions:
        raise ModelFileError(
            f"{where}: it has {len(names)} activations, {', '.join(names)}; an LSTM has 3 per direction"
        )
    alphas, betas = (list(attributes.get(f"activation_{name}", [])) for name in ("alpha", "beta"))
    ours = {name.lower(): (own, constants) for own, (name, constants) in ACTIVATIONS.items()}
    found = []
    for name in names:
        if name.lower() not in ours:
            known = ", ".join(onnx_name for onnx_name, _ in ACTIVATIONS.values())
            raise ModelFileError(f"{where}: its activation {name} is not one of {known}")
        own, constants = ours[name.lower()]
        if constants:
            # They are listed for those activations that have some. Affine has no defaults.
            defaults = constants if own == "hard_sigmoid" else (math.nan, math.nan)
            given = tuple(
                listed.pop(0) if listed else default
                for listed, default in zip((alphas, betas), defaults, strict=True)
            )
            if not np.array_equal(np.array(given, np.float32), np.array(constants, np.float32)):
                raise ModelFileError(
                    f"{where}: its {name} has alpha and beta {given}; ours has {constants}, and no others"
                )
        found.append(own)
    if found[:3] != found[-3:]:
        raise ModelFileError(f"{where}: its directions have different activations, {', '.join(names)}")
    return dict(zip(("gate_activation", "cell_activation", "output_activation"), found[:3], strict=True))
