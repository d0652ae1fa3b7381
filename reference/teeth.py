"""Teeth: known-wrong backward passes, every one of which the checks have to catch.

A tooth is a small change to the source of one module, of the kind that people make: two gates swapped, a
carry dropped, a length forgotten. The changed module is compiled beside the real one, and each check is
asked whether the gradients are still right. A check that passes a tooth is blunt there; a tooth that no
check catches would mean that the proof proves nothing.
"""

import inspect
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import lstm_scratch.layers.stack
import lstm_scratch.lstm
import lstm_scratch.variants
from lstm_scratch.engines import Engine
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.variants import Variant
from reference.cases import Case, draw_case
from reference.golden_vectors import worst_error
from reference.gradcheck import check_gradients
from reference.torch_lstm import torch_steps

STACK, PLAIN, VARIANTS = lstm_scratch.layers.stack, lstm_scratch.lstm, lstm_scratch.variants
TOLERANCES = {"central": 1e-7, "complex": 1e-12, "directions": 1e-12, "torch": 1e-11}


@dataclass(frozen=True)
class Tooth:
    """A wrong change: in a module's source, `old`, which is there once, becomes `new`."""

    name: str
    module: ModuleType
    old: str
    new: str
    variant: Variant = Variant()  # the one that shows it  # noqa: RUF009 (it is frozen)
    training: bool = False  # whether it takes dropout masks to show


_ZONEOUT = Variant(zoneout_h=0.3, zoneout_c=0.4)
_PEEPHOLES = Variant(peepholes=True)
_NORM = Variant(layer_norm=True)

TEETH = (
    Tooth("input and forget gate swapped", PLAIN, "[dz_i, dz_f, dz_g, dz_o]", "[dz_f, dz_i, dz_g, dz_o]"),
    Tooth("candidate and output gate swapped", PLAIN, "[dz_i, dz_f, dz_g, dz_o]", "[dz_i, dz_f, dz_o, dz_g]"),
    Tooth("tanh' of the cell from its input", PLAIN, "(1 - tanh_c**2)\n", "(1 - c[t + 1] ** 2)\n"),
    Tooth("tanh' of the candidate from tanh twice", PLAIN, "i * (1 - g**2)\n", "i * (1 - np.tanh(g) ** 2)\n"),
    Tooth("sigmoid' without its second factor", PLAIN, "g * i * (1 - i)\n", "g * i\n"),
    Tooth("sigmoid' of the wrong gate", PLAIN, "c[t] * f * (1 - f)\n", "c[t] * i * (1 - i)\n"),
    Tooth("the cell's carry dropped", PLAIN, "dc_t * f, dc)", "0 * f, dc)"),
    Tooth("the cell's carry not forgotten", PLAIN, "dc_t * f, dc)", "dc_t, dc)"),
    Tooth("the cell's carry without this step", PLAIN, "dc_t * f, dc)", "dc * f, dc)"),
    Tooth("the output's carry dropped", PLAIN, "dh_t = dh + dy[t]", "dh_t = dy[t]"),
    Tooth("the output's own gradient dropped", PLAIN, "dh_t = dh + dy[t]", "dh_t = dh"),
    Tooth("dL/dh_n ignored", PLAIN, "if dh_n is None else dh_n", "if True else dh_n"),
    Tooth("dL/dc_n ignored", PLAIN, "if dc_n is None else dc_n", "if True else dc_n"),
    Tooth("the cell sees the loss through h_n alone", PLAIN, "dc_t = dc + dh_t", "dc_t = 0 * dc + dh_t"),
    Tooth(
        "no output gate on the way to the cell", PLAIN, "dh_t * o * (1 - tanh_c**2)", "dh_t * (1 - tanh_c**2)"
    ),
    Tooth("forget gate sees the new cell", PLAIN, "dc_t * c[t] * f", "dc_t * c[t + 1] * f"),
    Tooth("output gate sees the old cell", PLAIN, "tanh_c = np.tanh(c[t + 1])", "tanh_c = np.tanh(c[t])"),
    Tooth("a sign", PLAIN, "dz_g = dc_t * i", "dz_g = -dc_t * i"),
    Tooth(
        "the first step skipped", PLAIN, "reversed(range(T)):\n        i", "reversed(range(1, T)):\n        i"
    ),
    Tooth("steps walked forwards", PLAIN, "in reversed(range(T)):\n        i", "in range(T):\n        i"),
    Tooth(
        "recurrent weights see the new state", PLAIN, "h[:-1].reshape(T * B, H)", "h[1:].reshape(T * B, H)"
    ),
    Tooth("a gradient times 1.001", PLAIN, "dz.T @ x.reshape(", "1.001 * dz.T @ x.reshape("),
    Tooth("the bias summed once too often", PLAIN, "dz.sum(axis=0)", "2 * dz.sum(axis=0)"),
    Tooth("the mean over the batch for its sum", PLAIN, "dz.sum(axis=0)", "dz.sum(axis=0) / B"),
    Tooth(
        "padding adds to the weights",
        PLAIN,
        "np.where(valid[t], np.concatenate([dz_i",
        "np.where(True, np.concatenate([dz_i",
    ),
    Tooth(
        "padding stops the state's gradient",
        PLAIN,
        'dz[t] @ params["weight_hh"], dh)',
        'dz[t] @ params["weight_hh"], 0)',
    ),
    Tooth("padding stops the cell's gradient", PLAIN, "dc_t * f, dc)", "dc_t * f, 0)"),
    Tooth(
        "padding taken for steps",
        PLAIN,
        "dy = np.where(valid, dy, 0)",
        "dy = dy + 0; valid = np.ones_like(valid)",
    ),
    Tooth(
        "length ignored in one direction",
        STACK,
        "reverse_valid(d_out, lengths) if reverse else d_out",
        "d_out[::-1] if reverse else d_out",
    ),
    Tooth(
        "inputs of one direction left reversed",
        STACK,
        "reverse_valid(d_in, lengths) if reverse else d_in",
        "d_in",
    ),
    Tooth(
        "one direction's inputs forgotten",
        STACK,
        "sum((d_in for d_in, _, _ in results[1:]), start=results[0][0])",
        "results[0][0]",
    ),
    Tooth(
        "initial states in the wrong order",
        STACK,
        "for row in range(len(passes))]) for",
        "for row in reversed(range(len(passes)))]) for",
    ),
    Tooth(
        "final states of the first layer for all",
        STACK,
        "None if dc_n is None else dc_n[row]",
        "None if dc_n is None else dc_n[0]",
    ),
    Tooth(
        "another dropout mask on the way back",
        STACK,
        "dropout_backward(dy, masks[layer - 1])",
        "dy",
        training=True,
    ),
    Tooth(
        "peepholes forgotten in the cell",
        VARIANTS,
        'dcell * f[t] + p["i"] * dz_t["i"]',
        "dcell * f[t]",
        _PEEPHOLES,
    ),
    Tooth("output peephole not followed to the cell", VARIANTS, ' + p["o"] * dz_t["o"]', "", _PEEPHOLES),
    Tooth("output peephole on the old cell", VARIANTS, '"o": bounded_c}', '"o": c[:-1]}', _PEEPHOLES),
    Tooth("coupling forgotten", VARIANTS, "(d.f[t] if variant.coupled else 0)", "0", Variant(coupled=True)),
    Tooth(
        "the normalisation's mean forgotten",
        VARIANTS,
        "dz_hh[t], dgain = _norm_backward(gain_hh, norm_hh[t], dz[t])",
        "dz_hh[t], dgain = gain_hh * norm_hh[t][1] * dz[t], 0",
        _NORM,
    ),
    Tooth(
        "a bound that lets gradients through",
        VARIANTS,
        "np.where(bounded[t], 0, d.c[t])",
        "d.c[t]",
        Variant(cell_clip=0.4),
    ),
    Tooth("zoneout forgets what it kept", VARIANTS, "dc = keep_c[t] * dc", "dc = 0 * dc", _ZONEOUT),
    Tooth("zoneout passes all of the new", VARIANTS, "(1 - keep_h[t]) * dh_t", "dh_t", _ZONEOUT),
    Tooth(
        "recurrent mask forgotten on the way back",
        VARIANTS,
        '(dz_hh[t] @ params["weight_hh"]) * mask_h',
        '(dz_hh[t] @ params["weight_hh"])',
        Variant(recurrent_dropout=0.4),
        training=True,
    ),
    Tooth(
        "recurrent weights see the unmasked state",
        VARIANTS,
        "_rows(h[:-1] * mask_h)",
        "_rows(h[:-1])",
        Variant(recurrent_dropout=0.4),
        training=True,
    ),
)


def catch(tooth: Tooth) -> dict[str, bool]:
    """Ask every check whether it catches a tooth.

    Parameters
    ----------
    tooth : Tooth
        The wrong backward pass.

    Returns
    -------
    dict of str to bool
        For ``central`` (differences), ``complex`` (steps), ``directions`` (random, by complex steps)
        and ``torch``, whether it does. torch is left out where masks are drawn, which it cannot know.
    """
    return caught(broken_case(tooth))


def caught(case: Case) -> dict[str, bool]:
    """Ask every check whether a case's gradients are wrong.

    Parameters
    ----------
    case : Case
        An LSTM.

    Returns
    -------
    dict of str to bool
        As of `catch`.
    """
    loss, arrays, grads = case.loss, case.arrays, case.gradients()
    comparisons = {
        "central": check_gradients(loss, arrays, grads, steps=(1e-5,)),
        "complex": check_gradients(loss, arrays, grads, method="complex"),
        "directions": check_gradients(loss, arrays, grads, method="complex", directions=4),
    }
    errors = {check: max(c.error for c in found) for check, found in comparisons.items()}
    if case.mask_seed is None:
        errors["torch"] = worst_error(grads, torch_steps(case)[1])
    return {check: not error <= TOLERANCES[check] for check, error in errors.items()}


def broken_case(tooth: Tooth) -> Case:
    """Draw a case whose backward pass is the wrong one.

    Parameters
    ----------
    tooth : Tooth
        What is wrong with it.

    Returns
    -------
    Case
        Two layers in two directions for the stack, else one; with lengths.
    """
    module = broken_module(tooth)
    size, mask_seed = (4, 2), 5 if tooth.training else None
    if tooth.module is STACK:
        lstm = module.LSTM(*size, num_layers=2, bidirectional=True, dropout=0.4)
    elif tooth.module is PLAIN:
        engine = Engine(
            lambda params, x, h0, c0, lengths, *_, **__: module.lstm_forward(params, x, h0, c0, lengths),
            lambda *inputs, **_: module.lstm_backward(*inputs),
        )
        lstm = LSTM(*size, engine=engine)
    else:
        engine = Engine(
            lambda *inputs, **_: module.variant_forward(*inputs),
            lambda *inputs, **_: module.variant_backward(*inputs),
        )
        lstm = LSTM(*size, variant=tooth.variant, engine=engine)
    return draw_case(lstm, lengths=[2, 0, 5], mask_seed=mask_seed)


def broken_module(tooth: Tooth) -> Any:
    """Compile a module with the wrong change.

    Parameters
    ----------
    tooth : Tooth
        The change.

    Returns
    -------
    module
        It is not in `sys.modules`; the real one stays as it is.

    Raises
    ------
    ValueError
        If the source does not hold what is to be changed exactly once: then the tooth is gone.
    """
    source = inspect.getsource(tooth.module)
    if source.count(tooth.old) != 1:
        raise ValueError(f"{tooth.name}: {tooth.old!r} is {source.count(tooth.old)} times in the source")
    module = ModuleType(tooth.module.__name__)
    exec(compile(source.replace(tooth.old, tooth.new), str(tooth.module.__file__), "exec"), vars(module))
    return module


if __name__ == "__main__":
    for tooth in TEETH:
        by = [check for check, yes in catch(tooth).items() if yes]
        print(f"{tooth.name:<50} {'caught by ' + ', '.join(by) if by else 'NOT CAUGHT'}")
