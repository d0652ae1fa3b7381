"""`lstm-scratch gradcheck`: our LSTM in any configuration, a layer of the user's, a table, an exit status."""

import json
import sys

import numpy as np
import pytest

from lstm_scratch import cli
from lstm_scratch.activations import ACTIVATIONS
from lstm_scratch.errors import UserError
from reference import command
from reference.command import gradcheck, gradcheck_file, table
from reference.gradcheck import MAX_ENTRIES, METHODS

LAYER = """
import numpy as np
from scale import scale

def right():
    a, b = np.array([[1.0, -2.0, 3.0]]), np.array(0.5)
    return lambda arrays: (scale(arrays["a"]) ** 2).sum() * arrays["b"], {"a": a, "b": b}, {
        "a": 8 * a * b, "b": 4 * (a**2).sum()
    }

def wrong():
    loss, arrays, grads = right()
    return loss, arrays, grads | {"a": grads["a"] * [1, 1, 1.001]}

def not_finite():
    loss, arrays, grads = right()
    return loss, arrays, grads | {"b": np.inf}

def many():
    w = np.linspace(0, 1, 501)
    return lambda arrays: (arrays["w"] ** 2).sum(), {"w": w}, {"w": 2 * w}

def nothing():
    return None

def loss_alone():
    return right()[0]

def two_dicts_short():
    return right()[0], [1.0], [2.0]

def number_as_name():
    loss, arrays, grads = right()
    return loss, {3: arrays["a"], "b": arrays["b"]}, grads

def single():
    loss, arrays, grads = right()
    return loss, {"a": arrays["a"].astype(np.float32), "b": arrays["b"]}, grads

def needs_an_argument(x):
    return right()

def failing():
    loss, arrays, grads = right()

    def failing_loss(arrays):
        raise RuntimeError("two\\nlines")

    return failing_loss, arrays, grads

number = 3
"""
FAILING = LAYER[: LAYER.index("raise RuntimeError")].count("\n") + 1


@pytest.fixture
def layer(tmp_path, monkeypatch):
    """A file of the user's, which imports another that lies beside it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "scale", raising=False)
    (tmp_path / "scale.py").write_text("def scale(a):\n    return 2 * a\n")
    path = tmp_path / "layer.py"
    path.write_text(LAYER)
    return path


@pytest.fixture
def run(capsys):
    def run(*arguments):
        status = cli.main(["gradcheck", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def checked(run):
    """Run with --json, and return the result."""

    def checked(*arguments):
        status, out, err = run(*arguments, "--json")
        assert (status, err) == (0, "")
        return json.loads(out)

    return checked


def shapes(result):
    return {tensor["name"]: tuple(tensor["shape"]) for tensor in result["tensors"]}


def test_our_lstm_is_checked_in_every_entry_and_the_table_says_so(run):
    status, out, err = run()
    assert (status, err) == (0, "")
    head, *lines, last = out.splitlines()
    assert head.split("  ")[0] == "tensor"
    assert [line.split()[0] for line in lines] == ["weight_ih_l0", "weight_hh_l0", "bias_l0", "x", "h0", "c0"]
    assert all(line.endswith("  ok") for line in lines)
    assert last == "128 derivatives of 6 tensors by central differences: all right to 1e-08"


def test_sizes_and_options_arrive(checked):
    result = checked(
        *("--method", "complex", "--input-size", 7, "--hidden-size", 3, "--num-layers", 2, "--steps", 4),
        *("--lengths", "2,0,4,1,3", "--bidirectional", "--dropout", 0.3, "--proj-size", 2, "--batch-first"),
    )
    assert (result["method"], result["tolerance"], result["wrong"]) == ("complex", 1e-13, [])
    found = shapes(result)
    assert (found["x"], found["h0"], found["c0"]) == ((5, 4, 7), (4, 5, 2), (4, 5, 3))
    assert (found["weight_ih_l0"], found["weight_ih_l1_reverse"]) == ((12, 7), (12, 4))
    assert "dropout=0.3" in result["checked"]


def test_masks_are_drawn_and_stay(checked):
    at_rest, dropping, other = (
        checked("--num-layers", 2, "--dropout", p, "--seed", seed, "--directions", 1)["tensors"]
        for p, seed in ((0, 1), (0.5, 1), (0.5, 2))
    )
    gradients = [[tensor["gradient"] for tensor in tensors] for tensors in (at_rest, dropping, other)]
    assert gradients[0] != gradients[1] != gradients[2]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("options", "field"),
    [
        (["--reverse"], "reverse=True"),
        (["--peepholes"], "peepholes=True"),
        (["--coupled"], "coupled=True"),
        (["--layer-norm"], "layer_norm=True"),
        (["--cell-clip", "0.4"], "cell_clip=0.4"),
        (["--activation-clip", "0.9"], "activation_clip=0.9"),
        (["--input-dropout", "0.3"], "input_dropout=0.3"),
        (["--recurrent-dropout", "0.3"], "recurrent_dropout=0.3"),
        (["--zoneout-h", "0.3"], "zoneout_h=0.3"),
        (["--zoneout-c", "0.3"], "zoneout_c=0.3"),
        *((["--gate-activation", name], f"gate_activation='{name}'") for name in ACTIVATIONS),
        (["--cell-activation", "softsign"], "cell_activation='softsign'"),
        (["--output-activation", "relu"], "output_activation='relu'"),
    ],
)
def test_every_variant_is_right_by_both_methods(checked, options, field, method):
    small = ("--steps", 3, "--lengths", "3,1")
    assert field in checked(*small, *options, "--method", method)["checked"]


def test_the_same_seed_gives_the_same_table(run):
    first, again, other = (run("--seed", seed) for seed in (5, 5, 6))
    assert first == again
    assert first[1] != other[1]


def test_directions_and_large_tensors(checked, run):
    assert {tensor["compared"] for tensor in checked("--directions", 3)["tensors"]} == {3}
    status, out, _ = run("--hidden-size", 12, "--max-entries", 100)
    assert status == 0
    compared = {line.split()[0]: "8 directions" in line for line in out.splitlines()[1:-1]}
    assert compared["weight_hh_l0"]
    assert not compared["bias_l0"]


def test_the_command_line_has_the_functions_default():
    assert cli._parser().parse_args(["gradcheck"]).max_entries == MAX_ENTRIES


def test_a_layer_of_ones_own_is_checked(layer, run, checked):
    for method in METHODS:
        assert checked(f"{layer}:right", "--method", method)["checked"] == f"{layer}:right"
    status, out, err = run(f"{layer}:right")
    assert (status, err) == (0, "")
    assert out.splitlines()[1].split()[:2] == ["a", "1x3"]
    assert checked(f"{layer}:many")["tensors"][0]["index"] is None


def test_a_wrong_gradient_is_marked_and_ends_in_status_1(layer, run):
    status, out, err = run(f"{layer}:wrong")
    assert (status, err) == (1, "")
    _, a, b, last = out.splitlines()
    assert a.split()[:6] == ["a", "1x3", "[0,", "2]", "12.012", "12"]
    assert a.endswith("1.0e-03         WRONG")
    assert b.endswith("ok")
    assert last == "4 derivatives of 2 tensors by central differences: WRONG by more than 1e-08: a"
    status, out, _ = run(f"{layer}:wrong", "--json", "--method", "complex")
    result = json.loads(out)
    assert (status, result["wrong"]) == (1, ["a"])
    tensor = result["tensors"][0]
    assert (tensor["name"], tensor["index"], tensor["right"]) == ("a", [0, 2], False)
    assert tensor["gradient"] == pytest.approx(12.012)
    assert tensor["numerical"] == pytest.approx(12)


def test_the_tolerance_is_the_users(layer, run):
    assert run(f"{layer}:wrong", "--tolerance", 1e-2)[0] == 0
    assert run(f"{layer}:right", "--tolerance", 1e-30)[0] == 1


def test_what_is_not_finite_is_null_in_json_and_named_in_the_table(layer, run):
    status, out, _ = run(f"{layer}:not_finite", "--json")
    b = json.loads(out, parse_constant=pytest.fail)["tensors"][1]
    assert (status, b["gradient"], b["error"], b["right"]) == (1, None, None, False)
    _, out, _ = run(f"{layer}:not_finite")
    assert out.splitlines()[2].split("  ")[0] == "b"
    assert out.count("not finite") == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "layer.py:absent: there is no function absent"),
        ("number", "layer.py:number: there is no function number"),
        ("nothing", "layer.py:nothing: has to return (loss, arrays, grads): a function and two dicts"),
        ("loss_alone", "layer.py:loss_alone: has to return (loss, arrays, grads)"),
        ("number_as_name", "layer.py:number_as_name: the names of the arrays are text, not 3"),
        ("two_dicts_short", "layer.py:two_dicts_short: has to return (loss, arrays, grads)"),
        ("single", "layer.py:single: a gradient check needs float64, not float32, which a is"),
        ("needs_an_argument", "TypeError: needs_an_argument() missing 1 required positional argument"),
        ("failing", f"layer.py:failing: line {FAILING}: RuntimeError: two lines"),
    ],
)
def test_mistakes_in_ones_own_file_end_in_one_line(layer, run, name, message):
    status, out, err = run(f"{layer}:{name}")
    assert (status, out) == (1, "")
    assert err.startswith(f"lstm-scratch: error: {layer}:{name}: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def check(:", "SyntaxError"),
        ("import no_such_thing", "line 1: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("\nraise SystemExit(0)", "line 2: SystemExit: 0"),
    ],
)
def test_files_that_do_not_run_end_in_one_line(layer, run, code, message):
    layer.write_text(code)
    status, out, err = run(f"{layer}:check")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert message in err


def test_what_cannot_be_is_refused_in_one_line(layer, run, tmp_path):
    for arguments, message in (
        ([tmp_path / "absent.py:check"], "absent.py: No such file or directory"),
        ([f"{tmp_path}:check"], "Is a directory"),
        ([layer], "name a file and a function in it, such as layer.py:check"),
        (["check"], "check: name a file and a function in it"),
        ([f"{layer}:right", "--hidden-size", 3], "sizes and variants are for our LSTM"),
        ([f"{layer}:right", "--lengths", "1,2"], "sizes and variants are for our LSTM"),
        (["--lengths", "2,6"], "a length lies between 0 and the number of steps, 5, not 6"),
        (["--lengths=-1,2"], "a length lies between 0 and the number of steps, 5, not -1"),
        (["--seed", -1], "seed is a whole number from 0 on, not -1"),
        (["--tolerance", "nan"], "tolerance is a number from 0 on, not nan"),
        (["--tolerance", -1], "tolerance is a number from 0 on, not -1.0"),
        (["--dropout", 1], "dropout is a number in [0, 1), not 1.0"),
        (["--proj-size", 2], "proj_size is smaller than hidden_size=2, not 2"),
        (["--reverse", "--bidirectional"], "reverse is for one direction alone"),
    ):
        status, out, err = run(*arguments)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert message in err


def test_lengths_that_are_no_numbers_are_refused(run, capsys):
    with pytest.raises(SystemExit):
        run("--lengths", "a,b")
    assert "argument --lengths: whole numbers such as 2,0,5, not a,b" in capsys.readouterr().err


@pytest.mark.parametrize("method", METHODS)
def test_what_rounding_excuses_is_told(run, method):
    status, out, _ = run("--layer-norm", "--hidden-size", 1, "--method", method)
    assert status == 0
    (h0,) = [line for line in out.splitlines() if line.startswith("h0")]
    assert "  ok, c" in h0
    assert " known to " in h0
    assert out.endswith(", or as far as rounding lets one know: h0\n")


def test_a_loss_that_is_not_analytic_is_told_with_the_way_out(layer, run):
    layer.write_text(
        "import numpy as np\n"
        "def check():\n"
        "    x = np.array([1.0, -2.0])\n"
        "    return lambda arrays: np.abs(arrays['x']).sum(), {'x': x}, {'x': np.sign(x)}\n"
    )
    assert run(f"{layer}:check")[0] == 0
    status, _, err = run(f"{layer}:check", "--method", "complex")
    assert status == 1
    assert "np.abs, .real or a cast to float has lost the derivative" in err
    assert 'method="central"' in err


def test_a_defect_in_our_lstm_would_be_seen(monkeypatch, run):
    backward = command.LSTM.backward

    def spoilt(self, *arguments, **others):
        inputs, grads = backward(self, *arguments, **others)
        return inputs, grads | {"bias_l0": grads["bias_l0"] * (1 + 1e-6)}

    monkeypatch.setattr(command.LSTM, "backward", spoilt)
    for method in METHODS:
        status, out, _ = run("--method", method)
        assert status == 1
        assert out.rstrip().endswith(": bias_l0")


def test_columns_stand_below_each_other():
    x = np.array([1.0, 2.0])
    result = gradcheck("x", lambda a: (a["long name"] ** 2).sum(), {"long name": x}, {"long name": 2 * x})
    head, line, _ = table(result).splitlines()
    assert line.index("2") == head.index("shape")
    assert line.index("[") == head.index("worst at")


def test_a_target_that_names_no_file_is_refused():
    with pytest.raises(UserError, match="name a file"):
        gradcheck_file(":check")


PASS = """
import numpy as np
from lstm_scratch import LSTM

def check():
    lstm = LSTM(2, 3)
    lstm.forward(lstm.init(np.random.default_rng(0)), np.ones((4, 5, 2), np.float32))
"""


@pytest.mark.compiled
def test_a_wrong_number_of_threads_is_told_as_every_mistake_is(run, tmp_path, monkeypatch):
    path = tmp_path / "layer.py"
    path.write_text(PASS)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("LSTM_SCRATCH_NUM_THREADS", "zwei")
    message = "LSTM_SCRATCH_NUM_THREADS is a whole number above 0, not 'zwei'"
    assert run(f"{path}:check") == (1, "", f"lstm-scratch: error: {path}:check: {message}\n")
    assert run("--engine", "numba") == (1, "", f"lstm-scratch: error: {message}\n")
