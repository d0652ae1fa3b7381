"""The LSTM as people use it: layers on top of each other, one or two directions, dropout between.

Letters: T time steps, B batch rows, I inputs, H hidden units, P outputs (H, or fewer by a projection),
D directions (1 or 2), L layers.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from lstm_scratch.checks import check_number, check_probability
from lstm_scratch.engines import Engine, engine_named
from lstm_scratch.errors import SettingError
from lstm_scratch.layers.dropout import dropout_backward, dropout_forward
from lstm_scratch.params import Params, renamed
from lstm_scratch.variants import PLAIN, Variant, variant_init, variant_shapes


class StackCache(NamedTuple):
    """All that `LSTM.backward` needs of the forward pass."""

    passes: list[Any]  # each engine's own, one per layer and direction: l0, l0_reverse, l1, ...
    masks: list[np.ndarray | None]  # dropout between layers
    lengths: np.ndarray | None  # (B,)
    num_threads: int | None  # of the forward pass
    shapes: dict[str, tuple[int, ...]]  # of y, h_n and c_n


@dataclass(frozen=True)
class LSTM:
    """A stack of LSTM layers, as `torch.nn.LSTM` computes it, and its variants.

    It holds sizes only; parameters and caches go in and out of its methods. A direction's
    parameters are ``weight_ih_l{k}``, ``weight_hh_l{k}``, ``bias_l{k}``, with a projection
    ``weight_hr_l{k}``, and what a variant adds, with ``_reverse`` at the end for the direction that
    reads backwards.

    Parameters
    ----------
    input_size : int
        I, features per step.
    hidden_size : int
        H, hidden units per layer and direction.
    num_layers : int, default 1
        L.
    bidirectional : bool, default False
        Read backwards too: D = 2, outputs side by side.
    dropout : float, default 0
        Probability of dropping an output on its way to the next layer, in training.
    proj_size : int, default 0
        P, if h is projected to fewer than H values; 0 for no projection, P = H.
    batch_first : bool, default False
        ``x`` and ``y`` are ``(B, T, .)``; states are as ever.
    reverse : bool, default False
        Read backwards only. Outputs stay at the steps whose inputs they saw last.
    variant : Variant
        What differs from the plain LSTM in every layer's step.
    engine : str or Engine, default "numba"
        Who computes: one of `lstm_scratch.engines.ENGINES`, or one of your own.

    Raises
    ------
    SettingError
        If a size is not positive, the probability not in [0, 1), the projection not smaller than H,
        two directions are asked for and one of them alone, or the engine is unknown.
    """

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    proj_size: int = 0
    batch_first: bool = False
    reverse: bool = False
    variant: Variant = PLAIN
    engine: str | Engine = "numba"

    def __post_init__(self) -> None:
        for name, kind in (("variant", Variant), ("engine", str | Engine)):
            if not isinstance(getattr(self, name), kind):
                raise SettingError(f"{name} is a {kind}, not {getattr(self, name)!r}")
        for name in ("input_size", "hidden_size", "num_layers"):
            check_number(name, getattr(self, name), whole=True, above=0)
        check_number("proj_size", self.proj_size, whole=True, at_least=0)
        if self.proj_size >= self.hidden_size:
            raise SettingError(
                f"proj_size is smaller than hidden_size={self.hidden_size}, not {self.proj_size}"
            )
        check_probability("dropout", self.dropout)
        if self.bidirectional and self.reverse:
            raise SettingError("reverse is for one direction alone; bidirectional reads backwards too")
        self._engine()

    @property
    def directions(self) -> tuple[bool, ...]:
        """For each direction, whether it reads in reverse."""
        return (False, True) if self.bidirectional else (self.reverse,)

    @property
    def output_size(self) -> int:
        """D * P, columns of the output."""
        return (self.proj_size or self.hidden_size) * len(self.directions)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Ends of the parameters' names, in the order of the states: ``_l0``, ``_l0_reverse``, ``_l1`` ..."""
        ends = ["_reverse" if reverse else "" for reverse in self.directions]
        return tuple(f"_l{layer}{end}" for layer in range(self.num_layers) for end in ends)

    def init(self, rng: np.random.Generator, dtype: Any = np.float32, forget_bias: float = 0.0) -> Params:
        """Draw parameters: Glorot input weights, orthogonal recurrent weights, zero biases.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of randomness.
        dtype : dtype, default float32
            Of the parameters.
        forget_bias : float, default 0
            Bias of the forget gates. Above 0, what is in the cell stays longer at first. Where the
            gates are coupled, the input gates' bias is the opposite of it, which does the same.

        Returns
        -------
        dict
            Parameters by name.

        Notes
        -----
        The forget gates' bias: R. Jozefowicz, W. Zaremba and I. Sutskever, ICML 2015.
        """
        params: Params = {}
        H = self.hidden_size
        for suffix in self.suffixes:
            of_pass = variant_init(rng, *self._sizes(suffix))
            if self.variant.coupled:
                of_pass["bias"][:H] = -forget_bias
            else:
                of_pass["bias"][H : 2 * H] = forget_bias
            params |= {name + suffix: array.astype(dtype) for name, array in of_pass.items()}
        return params

    def forward(
        self,
        params: Params,
        x: np.ndarray,
        h0: np.ndarray | None = None,
        c0: np.ndarray | None = None,
        lengths: np.ndarray | None = None,
        rng: np.random.Generator | None = None,
        inference: bool = False,
        num_threads: int | None = None,
    ) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], StackCache]:
        """Run the stack over a batch of sequences, or over one.

        Parameters
        ----------
        params : dict
            Parameters by name.
        x : ndarray (T, B, I)
            Inputs; ``(B, T, I)`` with `batch_first`; ``(T, I)`` for one sequence, where ``y`` and the
            states have no batch axis either.
        h0 : ndarray (L * D, B, P), optional
            Outputs before the first step, in the order l0, l0_reverse, l1, ... By default zero.
        c0 : ndarray (L * D, B, H), optional
            Cells before the first step. By default zero.
        lengths : ndarray (B,), int, optional
            Valid steps of each row, in any order, 0 .. T. By default T.
        rng : numpy.random.Generator, optional
            Source of the dropout masks, in training. By default there is no dropout.
        inference : bool, default False
            Promise that no backward pass follows, so that an engine may keep less.
        num_threads : int, optional
            Threads of engine numba, also in `backward`. By default what the environment variable
            ``LSTM_SCRATCH_NUM_THREADS`` says, or all CPUs. The results are the same bits for any number.

        Returns
        -------
        outputs : tuple of ndarray
            ``y (T, B, D * P)``, zero at the padding, ``h_n (L * D, B, P)`` and ``c_n (L * D, B, H)``.
        cache : StackCache
            What `backward` needs.

        Raises
        ------
        ValueError
            If a parameter, a shape or a length does not fit.
        """
        self.check_params(params)
        lengths = self.check_inputs(x, h0, c0, lengths)
        if num_threads is not None:
            check_number("num_threads", num_threads, whole=True, above=0)
        if not isinstance(rng, np.random.Generator | None):
            raise ValueError(f"rng is a generator such as np.random.default_rng(0), not {rng!r}")
        batched = x.ndim == 3
        y, h_n, c_n = self.time_major(x), [], []
        if not batched:
            h0, c0 = (None if state is None else state[:, None] for state in (h0, c0))
        n_steps = y.shape[0] * y.shape[1] if lengths is None else int(lengths.sum())
        passes: list[Any] = []
        masks: list[np.ndarray | None] = []
        for layer in range(self.num_layers):
            if layer > 0:
                y, mask = dropout_forward(y, self.dropout, rng)
                masks.append(mask)

            def forward(direction: int, threads: int | None, layer: int = layer, y: np.ndarray = y) -> Any:
                row, reverse = len(self.directions) * layer + direction, self.directions[direction]
                (out, h, c), of_pass = self._engine().forward(
                    _of_pass(params, self.suffixes[row]),
                    reverse_valid(y, lengths) if reverse else y,
                    None if h0 is None else h0[row],
                    None if c0 is None else c0[row],
                    lengths,
                    self.variant,
                    rng,
                    inference=inference,
                    num_threads=threads,
                )
                return reverse_valid(out, lengths) if reverse else out, h, c, of_pass

            results = self._each_direction(forward, layer, n_steps, num_threads)
            outputs = [out for out, _, _, _ in results]
            h_n += [h for _, h, _, _ in results]
            c_n += [c for _, _, c, _ in results]
            passes += [of_pass for _, _, _, of_pass in results]
            y = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=2)
        y, h, c = self.as_given(y, batched), np.stack(h_n), np.stack(c_n)
        if not batched:
            h, c = h[:, 0], c[:, 0]
        return (y, h, c), StackCache(
            passes, masks, lengths, num_threads, {"dy": y.shape, "dh_n": h.shape, "dc_n": c.shape}
        )

    def backward(
        self,
        params: Params,
        cache: StackCache,
        dy: np.ndarray,
        dh_n: np.ndarray | None = None,
        dc_n: np.ndarray | None = None,
        input_gradient: bool = True,
    ) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], Params]:
        """Carry a loss's gradient back through the stack.

        Parameters
        ----------
        params : dict
            The parameters given to `forward`.
        cache : StackCache
            What `forward` returned.
        dy : ndarray (T, B, D * P)
            Gradient of the loss with respect to ``y``, of its shape.
        dh_n : ndarray (L * D, B, P), optional
            Gradient with respect to ``h_n``. By default zero.
        dc_n : ndarray (L * D, B, H), optional
            Gradient with respect to ``c_n``. By default zero.
        input_gradient : bool, default True
            Whether ``dx`` is wanted, which training does not.

        Returns
        -------
        inputs : tuple of ndarray
            ``dx``, ``dh0`` and ``dc0``, of the shapes of ``x``, ``h_n`` and ``c_n``; ``dx`` without columns,
            if it is not wanted.
        grads : dict
            Gradients of the parameters, under their names.

        Raises
        ------
        ValueError
            If a parameter, a shape or a dtype does not fit.
        """
        self.check_params(params)
        passes, masks, lengths, num_threads, shapes = cache
        if None in passes:
            raise ValueError("that forward pass was for inference: there is nothing to go back by")
        for name, given in (("dy", dy), ("dh_n", dh_n), ("dc_n", dc_n)):
            if given is not None and given.shape != shapes[name]:
                raise ValueError(f"{name} has shape {given.shape}, not {shapes[name]}")
        batched = dy.ndim == 3
        dy = self.time_major(dy)
        if not batched:
            dh_n, dc_n = (None if d is None else d[:, None] for d in (dh_n, dc_n))
        P, D = self.output_size // len(self.directions), len(self.directions)
        d_states: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        grads: Params = {}
        n_steps = dy.shape[0] * dy.shape[1] if lengths is None else int(lengths.sum())
        for layer in reversed(range(self.num_layers)):

            def backward(direction: int, _: int | None, layer: int = layer, dy: np.ndarray = dy) -> Any:
                row, reverse = D * layer + direction, self.directions[direction]
                d_out = dy[:, :, P * direction : P * (direction + 1)]
                (d_in, dh0, dc0), of_pass = self._engine().backward(
                    _of_pass(params, self.suffixes[row]),
                    passes[row],
                    reverse_valid(d_out, lengths) if reverse else d_out,
                    None if dh_n is None else dh_n[row],
                    None if dc_n is None else dc_n[row],
                    input_gradient=input_gradient or layer > 0,
                )
                return reverse_valid(d_in, lengths) if reverse else d_in, (dh0, dc0), of_pass

            # At once if the forward passes were: each takes as many threads as it took then.
            results = self._each_direction(backward, layer, n_steps, num_threads)
            for direction, (_, states, of_pass) in enumerate(results):
                row = D * layer + direction
                d_states[row] = states
                grads |= {name + self.suffixes[row]: grad for name, grad in of_pass.items()}
            dy = sum((d_in for d_in, _, _ in results[1:]), start=results[0][0])
            if layer > 0:
                dy = dropout_backward(dy, masks[layer - 1])
        dh0, dc0 = (np.stack([d_states[row][k] for row in range(len(passes))]) for k in (0, 1))
        if not batched:
            dh0, dc0 = dh0[:, 0], dc0[:, 0]
        return (self.as_given(dy, batched), dh0, dc0), grads

    def _each_direction(
        self, run: Callable[[int, int | None], Any], layer: int, n_steps: int, num_threads: int | None
    ) -> list[Any]:
        """Run a pass per direction: at once where it is worth it, unless they draw masks or are numpy's."""
        together = self._engine().together
        if together is None or len(self.directions) == 1 or self.variant != PLAIN or self.proj_size:
            return [run(direction, num_threads) for direction in range(len(self.directions))]
        H, I = self.hidden_size, self.input_size if layer == 0 else self.output_size
        return together(run, len(self.directions), 8 * n_steps * H * (I + H), num_threads)

    def single_step(self, params: Params) -> Callable[..., tuple[np.ndarray, np.ndarray]] | None:
        """Set up the engine's way to do one step of one sequence, of which `Stepper` is the public side.

        Parameters
        ----------
        params : dict
            Parameters by name.

        Returns
        -------
        callable or None
            From ``x (I,)``, ``h`` and ``c (L, H)``, h and c after the step. None, if the engine has none.
        """
        make = self._engine().single_step
        return make and make(self.layers_of(params), self.variant)

    def layers_of(self, params: Params) -> list[Params]:
        """Part the parameters by layers and directions.

        Parameters
        ----------
        params : dict
            Parameters by name.

        Returns
        -------
        list of dict
            Of each pass, without suffixes.
        """
        return [_of_pass(params, suffix) for suffix in self.suffixes]

    def _engine(self) -> Engine:
        return engine_named(self.engine) if isinstance(self.engine, str) else self.engine

    def time_major(self, x: np.ndarray) -> np.ndarray:
        """Bring inputs or outputs into the layout that the passes use.

        Parameters
        ----------
        x : ndarray (T, B, F), (B, T, F) with `batch_first`, or (T, F)
            As a user gives it.

        Returns
        -------
        ndarray (T, B, F)
            The same values, not copied.
        """
        if x.ndim == 2:
            return x[:, None]
        return x.swapaxes(0, 1) if self.batch_first else x

    def as_given(self, y: np.ndarray, batched: bool) -> np.ndarray:
        """Bring inputs or outputs into the user's layout: the inverse of `time_major`.

        Parameters
        ----------
        y : ndarray (T, B, F)
            As the passes use it.
        batched : bool
            Whether the user's layout has a batch axis.

        Returns
        -------
        ndarray (T, B, F), (B, T, F) with `batch_first`, or (T, F)
            The same values, not copied.
        """
        if not batched:
            return y[:, 0]
        return y.swapaxes(0, 1) if self.batch_first else y

    def check_params(self, params: Params) -> None:
        """Refuse parameters of another LSTM, with which this one would be another.

        Parameters
        ----------
        params : dict
            As of `forward`. Names that are none of a layer's are not looked at.

        Raises
        ------
        ValueError
            If one is missing, has another shape, or has no place here.
        """
        for name, shape in self._shapes.items():
            if name not in params:
                raise ValueError(f"the parameter {name} is missing")
            if params[name].shape != shape:
                raise ValueError(f"the parameter {name} has shape {params[name].shape}, not {shape}")
        for name in params:
            if name not in self._shapes and re.search(r"_l\d+(_reverse)?$", name):
                raise ValueError(f"this LSTM has no place for the parameter {name}")

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Of all parameters."""
        return {
            name + suffix: shape
            for suffix in self.suffixes
            for name, shape in variant_shapes(*self._sizes(suffix)).items()
        }

    def _sizes(self, suffix: str) -> tuple[int, int, int, Variant]:
        """Give what decides the parameters of one layer and direction."""
        size = self.input_size if suffix.startswith("_l0") else self.output_size
        return size, self.hidden_size, self.proj_size, self.variant

    def check_inputs(
        self,
        x: np.ndarray,
        h0: np.ndarray | None,
        c0: np.ndarray | None,
        lengths: np.ndarray | None,
    ) -> np.ndarray | None:
        """Refuse shapes that would only fail deep inside, or broadcast.

        Parameters
        ----------
        x, h0, c0, lengths : ndarray
            As of `forward`.

        Returns
        -------
        ndarray (B,), int, or None
            The lengths.

        Raises
        ------
        ValueError
            If one does not fit.
        """
        for name, array in (("x", x), ("h0", h0), ("c0", c0)):
            if array is not None and not isinstance(array, np.ndarray):
                raise ValueError(f"{name} is an ndarray, not a {type(array).__name__}")
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            layout = "(B, T, " if self.batch_first else "(T, B, "
            raise ValueError(
                f"x has shape {x.shape}, not {layout}{self.input_size}) or (T, {self.input_size})"
            )
        batched = x.ndim == 3
        T, B, _ = self.time_major(x).shape
        n_states = self.num_layers * len(self.directions)
        for name, state, size in (
            ("h0", h0, self.proj_size or self.hidden_size),
            ("c0", c0, self.hidden_size),
        ):
            shape = (n_states, B, size) if batched else (n_states, size)
            if state is not None and state.shape != shape:
                raise ValueError(f"{name} has shape {state.shape}, not {shape}")
        if lengths is None:
            return None
        if not batched:
            raise ValueError("one sequence without a batch axis has no lengths: cut it instead")
        lengths = np.asarray(lengths)
        if lengths.shape != (B,) or not np.issubdtype(lengths.dtype, np.integer):
            raise ValueError(f"lengths are {B} whole numbers, not {lengths!r}")
        if B and not (lengths.min() >= 0 and lengths.max() <= T):
            raise ValueError(f"lengths lie between 0 and T={T}, not {lengths!r}")
        return lengths


def reverse_valid(x: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """Reverse the valid steps of each row in time; the padding stays where it is.

    Its own inverse, and its own backward.

    Parameters
    ----------
    x : ndarray (T, B, F)
        A batch.
    lengths : ndarray (B,), int, or None
        Valid steps of each row. None for T.

    Returns
    -------
    ndarray (T, B, F)
        The batch, row b's step t holding what was in step ``lengths[b] - 1 - t``.
    """
    if lengths is None:
        return x[::-1]
    t = np.arange(len(x))[:, None]
    source = np.where(t < lengths, lengths - 1 - t, t)
    return np.asarray(x[source, np.arange(len(lengths))])


def _of_pass(params: Params, suffix: str) -> Params:
    """Pick the parameters of one layer and direction, under the names of `lstm.py`."""
    return renamed(params, suffix, lambda name: name.removesuffix(suffix) if name.endswith(suffix) else None)
