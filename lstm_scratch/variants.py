"""The variants: one derivation for every change to the LSTM's step that people use.

Read `lstm.py` first. This is its one layer in one direction again, with a place for each change; what
is not asked for is neutral there (a peephole of zero, a mask of one, no bound), and then the two agree
bit for bit. Letters: T time steps, B batch rows, I inputs, H hidden units, P outputs (H, or fewer by a
projection), G gate blocks (i, f, g, o; coupled i, g, o).

Forward, for t = 0 .. T-1, with phi the gates' nonlinearity, psi the candidate's, chi the output's:

    z_t   = norm(m_x x_t @ weight_ih.T) + bias + norm(m_h h_{t-1} @ weight_hh.T)
    z_i  += p_i * c_{t-1},   z_f += p_f * c_{t-1}               peepholes
    i, f, g = phi(z_i), phi(z_f), psi(z_g)                      coupled: f = 1 - i
    c'_t  = clip(f * c_{t-1} + i * g)
    z_o  += p_o * c'_t                                          this peephole sees the new cell
    o     = phi(z_o)
    h'_t  = (o * chi(c'_t)) @ weight_hr.T
    c_t   = k_c * c_{t-1} + (1 - k_c) * c'_t                    zoneout keeps a part of the old state
    h_t   = k_h * h_{t-1} + (1 - k_h) * h'_t

A step of padding is one at which all of the old state is kept: k = 1.

Sources: peepholes: F. Gers, N. Schraudolph and J. Schmidhuber, JMLR 3 (2002) 115; coupled gates: K. Greff
et al., "LSTM: a search space odyssey", IEEE TNNLS 28 (2017) 2222, CIFG; projection: H. Sak, A. Senior and
F. Beaufays, Interspeech 2014, 338; layer normalisation: J. Ba, J. Kiros and G. Hinton, arXiv:1607.06450,
equation 20 (without their equation 22, of the cell); masks m, the same at every step: Y. Gal and
Z. Ghahramani, NIPS 2016 (with one mask for all gates); zoneout: D. Krueger et al., ICLR 2017.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lstm_scratch.activations import ACTIVATIONS, Activation, clip, clipped
from lstm_scratch.checks import check_number, check_probability
from lstm_scratch.errors import SettingError
from lstm_scratch.layers.dropout import dropout_mask
from lstm_scratch.layers.layer_norm import layer_norm_backward, layer_norm_forward
from lstm_scratch.lstm import valid_steps
from lstm_scratch.params import Params, glorot_uniform, orthogonal


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What differs from the plain LSTM in a step. As it stands, nothing.

    Parameters
    ----------
    peepholes : bool, default False
        The gates see the cell, through one weight per unit: ``peephole (3H,)``, blocks i, f, o.
    coupled : bool, default False
        The forget gate is one minus the input gate, and has no weights of its own.
    layer_norm : bool, default False
        Normalise the two products, of the inputs and of the state: ``gain_ih`` and ``gain_hh (4H,)``.
    cell_clip : float, default infinity
        The new cell is bounded to plus or minus this.
    activation_clip : float, default infinity
        What enters a nonlinearity is bounded to plus or minus this: ONNX's ``clip``, by its specification
        (onnxruntime leaves the output's nonlinearity out).
    gate_activation : str, default "sigmoid"
        phi, one of `ACTIVATIONS`.
    cell_activation : str, default "tanh"
        psi.
    output_activation : str, default "tanh"
        chi.
    input_dropout : float, default 0
        Probability of dropping an input, at all steps of a sequence alike, in training.
    recurrent_dropout : float, default 0
        Probability of dropping a unit of h on its way into the gates, at all steps of a sequence alike,
        in training.
    zoneout_h, zoneout_c : float, default 0
        Probability of keeping the old value of a unit of h or of c, in training; outside training the
        two values are mixed by it.

    Raises
    ------
    SettingError
        If a value is out of its range.
    """

    peepholes: bool = False
    coupled: bool = False
    layer_norm: bool = False
    cell_clip: float = math.inf
    activation_clip: float = math.inf
    gate_activation: str = "sigmoid"
    cell_activation: str = "tanh"
    output_activation: str = "tanh"
    input_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout_h: float = 0.0
    zoneout_c: float = 0.0

    def __post_init__(self) -> None:
        for name in ("cell_clip", "activation_clip"):
            if getattr(self, name) != math.inf:
                check_number(name, getattr(self, name), above=0)
        for name in ("input_dropout", "recurrent_dropout", "zoneout_h", "zoneout_c"):
            check_probability(name, getattr(self, name))
        for name in ("gate_activation", "cell_activation", "output_activation"):
            if getattr(self, name) not in list(ACTIVATIONS):
                raise SettingError(f"{name} is one of {', '.join(ACTIVATIONS)}, not {getattr(self, name)!r}")
        for name in ("peepholes", "coupled", "layer_norm"):
            if not isinstance(getattr(self, name), bool):
                raise SettingError(f"{name} is True or False, not {getattr(self, name)!r}")

    def differing(self) -> dict[str, Any]:
        """List what differs from the plain LSTM.

        Returns
        -------
        dict
            Values by name, which make the variant again.
        """
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }

    @property
    def blocks(self) -> str:
        """The gate blocks of weights, bias and gains, in their order."""
        return "igo" if self.coupled else "ifgo"


PLAIN = Variant()


NormCache = tuple[np.ndarray, np.ndarray] | None  # None without normalisation


class VariantCache(NamedTuple):
    """All that `variant_backward` needs of the forward pass."""

    variant: Variant
    valid: np.ndarray  # (T, B, 1), bool: False at the padding
    mask_x: np.ndarray | float  # (B, I), input dropout
    mask_h: np.ndarray | float  # (B, P), recurrent dropout
    keep_h: np.ndarray  # (T, B, P) or (T, B, 1): the part of the old state that stays
    keep_c: np.ndarray  # (T, B, H) or (T, B, 1)
    x: np.ndarray  # (T, B, I), zero at the padding, masked
    h: np.ndarray  # (T+1, B, P)
    c: np.ndarray  # (T+1, B, H)
    z: np.ndarray  # (T, B, G*H): what enters the gates
    new_c: np.ndarray  # (T, B, H): c' before its bound
    norm_ih: NormCache  # of the inputs' product at all steps
    norm_hh: list[NormCache]  # of the state's product at each


class Steps(NamedTuple):
    """What happens inside the steps, or the gradients with respect to it: one array (T, B, .) each."""

    i: np.ndarray
    f: np.ndarray
    g: np.ndarray
    o: np.ndarray
    c: np.ndarray  # c', the new cell, behind its bound
    h: np.ndarray  # h', the new output


def variant_shapes(
    input_size: int, hidden_size: int, proj_size: int = 0, variant: Variant = PLAIN
) -> dict[str, tuple[int, ...]]:
    """Tell the parameters of one layer and direction.

    Parameters
    ----------
    input_size : int
        I.
    hidden_size : int
        H.
    proj_size : int, default 0
        P, or 0 for no projection.
    variant : Variant
        What differs from the plain LSTM.

    Returns
    -------
    dict of str to tuple of int
        Shapes by name: ``weight_ih (GH, I)``, ``weight_hh (GH, P)``, ``bias (GH,)``, and as far as they
        are needed ``weight_hr (P, H)``, ``peephole ((G-1) H,)``, ``gain_ih`` and ``gain_hh (GH,)``.
    """
    H, G = hidden_size, len(variant.blocks)
    shapes: dict[str, tuple[int, ...]] = {
        "weight_ih": (G * H, input_size),
        "weight_hh": (G * H, proj_size or H),
        "bias": (G * H,),
    }
    if proj_size:
        shapes["weight_hr"] = (proj_size, H)
    if variant.peepholes:
        shapes["peephole"] = ((G - 1) * H,)
    if variant.layer_norm:
        shapes |= {"gain_ih": (G * H,), "gain_hh": (G * H,)}
    return shapes


def variant_init(
    rng: np.random.Generator,
    input_size: int,
    hidden_size: int,
    proj_size: int = 0,
    variant: Variant = PLAIN,
) -> Params:
    """Draw the parameters of one layer and direction.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    input_size : int
        I.
    hidden_size : int
        H.
    proj_size : int, default 0
        P, or 0 for no projection.
    variant : Variant
        What differs from the plain LSTM.

    Returns
    -------
    dict
        Parameters of `variant_shapes`, float64. As of `lstm_init`, input weights are Glorot uniform and
        recurrent ones orthogonal, block by block; a projection is Glorot uniform too, gains are one, and
        peepholes and biases zero.
    """
    H, blocks = hidden_size, variant.blocks
    drawn = {
        "weight_ih": np.vstack([glorot_uniform(rng, H, input_size) for _ in blocks]),
        "weight_hh": np.vstack([orthogonal(rng, H, proj_size or H) for _ in blocks]),
    }
    if proj_size:
        drawn["weight_hr"] = glorot_uniform(rng, proj_size, H)
    shapes = variant_shapes(input_size, H, proj_size, variant)
    return {name: np.full(shape, float("gain" in name)) for name, shape in shapes.items()} | drawn


def variant_forward(
    params: Params,
    x: np.ndarray,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    variant: Variant = PLAIN,
    rng: np.random.Generator | None = None,
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], VariantCache]:
    """Run the layer over a batch of sequences.

    Parameters
    ----------
    params : dict
        As of `variant_init`.
    x : ndarray (T, B, I)
        Inputs.
    h0 : ndarray (B, P), optional
        Output before the first step. By default zero.
    c0 : ndarray (B, H), optional
        Cell before the first step. By default zero.
    lengths : ndarray (B,), int, optional
        Valid steps of each row, in any order, 0 .. T. By default T.
    variant : Variant
        What differs from the plain LSTM.
    rng : numpy.random.Generator, optional
        Source of the masks, in training. By default nothing is dropped, and zoneout is its mean.

    Returns
    -------
    outputs : tuple of ndarray
        ``y (T, B, P)``, zero at the padding; ``h_n (B, P)`` and ``c_n (B, H)``.
    cache : VariantCache
        What `variant_backward` needs.
    """
    weight_hh, weight_hr = params["weight_hh"], params.get("weight_hr")
    (T, B, I), P = x.shape, weight_hh.shape[1]
    H = len(params["bias"]) // len(variant.blocks)
    phi, psi, chi = _activations(variant)
    p = _peepholes(params, variant)
    valid = valid_steps(lengths, T, B)

    dtype = np.result_type(x, params["weight_ih"])
    mask_x = _mask((B, I), variant.input_dropout, dtype, rng)
    x = np.where(valid, x, 0) * mask_x
    from_x, norm_ih = _norm(params.get("gain_ih"), x @ params["weight_ih"].T)
    z = from_x + params["bias"]
    mask_h = _mask((B, P), variant.recurrent_dropout, z.dtype, rng)
    keep_h = _keep(valid, P, variant.zoneout_h, z.dtype, rng)
    keep_c = _keep(valid, H, variant.zoneout_c, z.dtype, rng)
    new_c, norm_hh = np.empty((T, B, H), z.dtype), []
    h = np.zeros((T + 1, B, P), z.dtype)
    c = np.zeros((T + 1, B, H), z.dtype)
    if h0 is not None:
        h[0] = h0
    if c0 is not None:
        c[0] = c0

    for t in range(T):
        from_h, norm = _norm(params.get("gain_hh"), (h[t] * mask_h) @ weight_hh.T)
        norm_hh.append(norm)
        z[t] += from_h
        z_t = _blocks(z[t], variant)  # views: what is added to them is added to z
        z_t["i"] += p["i"] * c[t]
        i, g = phi.value(z_t["i"]), psi.value(z_t["g"])
        if variant.coupled:
            f = 1 - i
        else:
            z_t["f"] += p["f"] * c[t]
            f = phi.value(z_t["f"])
        new_c[t] = f * c[t] + i * g
        bounded_c = clip(new_c[t], variant.cell_clip)
        z_t["o"] += p["o"] * bounded_c
        new_h = phi.value(z_t["o"]) * chi.value(bounded_c)
        if weight_hr is not None:
            new_h = new_h @ weight_hr.T
        c[t + 1] = keep_c[t] * c[t] + (1 - keep_c[t]) * bounded_c
        h[t + 1] = keep_h[t] * h[t] + (1 - keep_h[t]) * new_h

    y = np.where(valid, h[1:], 0)
    cache = VariantCache(variant, valid, mask_x, mask_h, keep_h, keep_c, x, h, c, z, new_c, norm_ih, norm_hh)
    return (y, h[T].copy(), c[T].copy()), cache


def variant_backward(
    params: Params,
    cache: VariantCache,
    dy: np.ndarray,
    dh_n: np.ndarray | None = None,
    dc_n: np.ndarray | None = None,
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], Params]:
    """Carry a loss's gradient back through every step, by the equations of `backward_with_steps`.

    Parameters
    ----------
    params : dict
        The parameters given to `variant_forward`.
    cache : VariantCache
        What it returned.
    dy : ndarray (T, B, P)
        Gradient of the loss with respect to ``y``.
    dh_n : ndarray (B, P), optional
        Gradient with respect to ``h_n``. By default zero.
    dc_n : ndarray (B, H), optional
        Gradient with respect to ``c_n``. By default zero.

    Returns
    -------
    inputs : tuple of ndarray
        ``dx (T, B, I)``, zero at the padding, ``dh0 (B, P)`` and ``dc0 (B, H)``.
    grads : dict
        Gradients of the parameters, under their names.
    """
    inputs, grads, _ = backward_with_steps(params, cache, dy, dh_n, dc_n)
    return inputs, grads


def backward_with_steps(
    params: Params,
    cache: VariantCache,
    dy: np.ndarray,
    dh_n: np.ndarray | None = None,
    dc_n: np.ndarray | None = None,
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], Params, Steps]:
    """Do the work of `variant_backward`, and keep the gradients of all that is inside the steps.

    With ``dh`` and ``dc`` the gradients that reach h_t and c_t, and ``norm'`` the backward pass of the
    normalisation:

        dh'_t = (1 - k_h) * dh,                            dm = dh'_t @ weight_hr
        do    = dm * chi(c'_t),                            dz_o = do * phi'(z_o)
        dc'_t = (1 - k_c) * dc + dm * o * chi'(c'_t) + p_o * dz_o
        dcell = dc'_t where c'_t was within its bound, else 0
        df    = dcell * c_{t-1},                           dz_f = df * phi'(z_f)
        di    = dcell * g,      coupled: di -= df,         dz_i = di * phi'(z_i)
        dg    = dcell * i,                                 dz_g = dg * psi'(z_g)
        dc_{t-1} = k_c * dc + dcell * f + p_i * dz_i + p_f * dz_f
        dh_{t-1} = k_h * dh + m_h * (norm'(dz) @ weight_hh)

    and over all steps, with n_x and n_h the normalised products before their gains,

        dx = m_x * (norm'(dz) @ weight_ih),                dweight_hr = dh'.T @ (o * chi(c'))
        dweight_ih = norm'(dz).T @ (m_x x),                dweight_hh = norm'(dz).T @ (m_h h_{t-1})
        dgain_ih = sum(dz * n_x),   dgain_hh = sum(dz * n_h),   dbias = sum(dz)
        dp_i = sum(dz_i * c_{t-1}), dp_f = sum(dz_f * c_{t-1}), dp_o = sum(dz_o * c'_t)

    Parameters
    ----------
    params : dict
        The parameters given to `variant_forward`.
    cache : VariantCache
        What it returned.
    dy : ndarray (T, B, P)
        Gradient of the loss with respect to ``y``.
    dh_n : ndarray (B, P), optional
        Gradient with respect to ``h_n``. By default zero.
    dc_n : ndarray (B, H), optional
        Gradient with respect to ``c_n``. By default zero.

    Returns
    -------
    inputs : tuple of ndarray
        As of `variant_backward`.
    grads : dict
        As of `variant_backward`.
    steps : Steps
        Gradients with respect to i, f, g, o, c' and h', zero at the padding.
    """
    variant, valid, mask_x, mask_h, keep_h, keep_c, x, h, c, z, new_c, norm_ih, norm_hh = cache
    weight_hr, gain_ih, gain_hh = (params.get(name) for name in ("weight_hr", "gain_ih", "gain_hh"))
    phi, psi, chi = _activations(variant)
    p = _peepholes(params, variant)
    i, f, g, o, bounded_c, _ = values = steps_of(params, cache)
    chi_c, slope_c = chi.value(bounded_c), chi.slope(bounded_c)
    slope = {
        gate: (psi if gate == "g" else phi).slope(z_gate) for gate, z_gate in _blocks(z, variant).items()
    }
    bounded = np.abs(new_c.real) > variant.cell_clip

    dy = np.where(valid, dy, 0)
    dh = np.zeros_like(h[0]) if dh_n is None else dh_n
    dc = np.zeros_like(c[0]) if dc_n is None else dc_n
    d = Steps(*(np.empty_like(array) for array in values))
    dz, dz_hh = np.empty_like(z), np.empty_like(z)  # behind the state's normalisation, and before it
    dgain_hh = np.zeros_like(params["bias"])
    for t in reversed(range(len(z))):
        dz_t = _blocks(dz[t], variant)
        dh_t = dh + dy[t]
        d.h[t] = (1 - keep_h[t]) * dh_t
        dm = d.h[t] if weight_hr is None else d.h[t] @ weight_hr
        d.o[t] = dm * chi_c[t]
        dz_t["o"][:] = d.o[t] * slope["o"][t]
        d.c[t] = (1 - keep_c[t]) * dc + dm * o[t] * slope_c[t] + p["o"] * dz_t["o"]
        dcell = np.where(bounded[t], 0, d.c[t])
        d.f[t] = dcell * c[t]
        d.i[t] = dcell * g[t] - (d.f[t] if variant.coupled else 0)
        d.g[t] = dcell * i[t]
        dz_t["i"][:] = d.i[t] * slope["i"][t]
        dz_t["g"][:] = d.g[t] * slope["g"][t]
        dc = keep_c[t] * dc + dcell * f[t] + p["i"] * dz_t["i"]
        if not variant.coupled:
            dz_t["f"][:] = d.f[t] * slope["f"][t]
            dc = dc + p["f"] * dz_t["f"]
        dz_hh[t], dgain = _norm_backward(gain_hh, norm_hh[t], dz[t])
        dgain_hh += dgain
        dh = keep_h[t] * dh_t + (dz_hh[t] @ params["weight_hh"]) * mask_h

    dz_ih, dgain_ih = _norm_backward(gain_ih, norm_ih, dz)
    dx = (dz_ih @ params["weight_ih"]) * mask_x
    grads = {
        "weight_ih": _rows(dz_ih).T @ _rows(x),
        "weight_hh": _rows(dz_hh).T @ _rows(h[:-1] * mask_h),
        "bias": dz.sum(axis=(0, 1)),
    }
    if weight_hr is not None:
        grads["weight_hr"] = _rows(d.h).T @ _rows(o * chi_c)
    if variant.peepholes:
        seen = {"i": c[:-1], "f": c[:-1], "o": bounded_c}
        of_gate = _blocks(dz, variant)
        grads["peephole"] = np.concatenate(
            [(of_gate[k] * seen[k]).sum(axis=(0, 1)) for k in of_gate if k in seen]
        )
    if variant.layer_norm:
        grads |= {"gain_ih": dgain_ih, "gain_hh": dgain_hh}
    return (dx, dh, dc), grads, d


def steps_of(params: Params, cache: VariantCache) -> Steps:
    """Tell what happened inside the steps.

    Parameters
    ----------
    params : dict
        The parameters given to `variant_forward`.
    cache : VariantCache
        What it returned.

    Returns
    -------
    Steps
        i, f, g, o, c' and h' of every step, padding included.
    """
    phi, psi, chi = _activations(cache.variant)
    z = _blocks(cache.z, cache.variant)
    i, g, o = phi.value(z["i"]), psi.value(z["g"]), phi.value(z["o"])
    f = 1 - i if cache.variant.coupled else phi.value(z["f"])
    c = clip(cache.new_c, cache.variant.cell_clip)
    h = o * chi.value(c)
    return Steps(i, f, g, o, c, h @ params["weight_hr"].T if "weight_hr" in params else h)


def _activations(variant: Variant) -> tuple[Activation, Activation, Activation]:
    """phi, psi and chi."""
    names = (variant.gate_activation, variant.cell_activation, variant.output_activation)
    phi, psi, chi = (clipped(name, variant.activation_clip) for name in names)
    return phi, psi, chi


def _blocks(z: np.ndarray, variant: Variant) -> dict[str, np.ndarray]:
    """Give the columns of each gate, as views."""
    return dict(zip(variant.blocks, np.split(z, len(variant.blocks), axis=-1), strict=True))


def _peepholes(params: Params, variant: Variant) -> dict[str, np.ndarray | float]:
    """Give the peephole weights of each gate that has some, or zeros."""
    gates = variant.blocks.replace("g", "")
    if not variant.peepholes:
        return dict.fromkeys(gates, 0.0)
    return dict(zip(gates, np.split(params["peephole"], len(gates)), strict=True))


def _mask(
    shape: tuple[int, ...], probability: float, dtype: np.dtype, rng: np.random.Generator | None
) -> np.ndarray | float:
    """Dropout's mask, or one where nothing is dropped."""
    mask = dropout_mask(shape, probability, dtype, rng)
    return 1.0 if mask is None else mask


def _keep(
    valid: np.ndarray, n_units: int, probability: float, dtype: np.dtype, rng: np.random.Generator | None
) -> np.ndarray:
    """Give the part of the old state that stays: all of it at the padding, else as zoneout has it."""
    if rng is None or probability == 0:
        return np.where(valid, probability, 1).astype(dtype)
    return np.where(valid, rng.random((*valid.shape[:2], n_units)) < probability, 1).astype(dtype)


def _norm(gain: np.ndarray | None, v: np.ndarray) -> tuple[np.ndarray, NormCache]:
    return (v, None) if gain is None else layer_norm_forward(gain, v)


def _norm_backward(
    gain: np.ndarray | None, cache: NormCache, dy: np.ndarray
) -> tuple[np.ndarray, np.ndarray | float]:
    return (dy, 0.0) if gain is None or cache is None else layer_norm_backward(gain, cache, dy)


def _rows(array: np.ndarray) -> np.ndarray:
    """All steps of all rows below each other."""
    return array.reshape(-1, array.shape[-1])
