"""Gradient check: hand-written gradients against numerical derivatives of the loss.

The loss is a function of named arrays, ``loss(arrays) -> number``, and computes nothing but that. Its
derivative along a direction v (one entry of an array, or a random mix of all its entries) comes

- by central differences, ``(loss(a + h v) - loss(a - h v)) / (2 h)``: good to about 1e-9, for any loss;
- by a complex step, ``Im loss(a + i h v) / h``: nothing is subtracted, so h may be tiny and the result
  is good to rounding; for a loss that is analytic and keeps complex numbers as they are.

Source of the complex step: W. Squire and G. Trapp, SIAM Review 40 (1998) 110.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.exceptions import ComplexWarning

from lstm_scratch.checks import check_number
from lstm_scratch.errors import SettingError, UserError

Loss = Callable[[dict[str, np.ndarray]], Any]
Method = Literal["central", "complex"]
METHODS: tuple[Method, ...] = get_args(Method)
LABELS: dict[Method, str] = {"central": "central difference", "complex": "complex step"}
TOLERANCES: dict[Method, float] = {"central": 1e-8, "complex": 1e-13}
STEPS = (1e-5, 1e-4, 1e-6, 1e-3, 1e-7)  # what suits most losses first
MAX_ENTRIES = 500
# A tensor whose derivatives are this much smaller than the largest of all holds nothing but rounding.
_ROUNDING = {"central": 1e-9, "complex": 1e-13}
_COMPLEX_STEP = 1e-30
_DIRECTIONS = 8


@dataclass(frozen=True)
class Comparison:
    """A gradient and its numerical counterpart, where they differ most."""

    name: str
    shape: tuple[int, ...]
    error: float  # the largest difference, relative to the tensor; infinite where a number is not finite
    index: tuple[int, ...] | None  # the entry where it is; None: a random direction of length 1
    gradient: float
    numerical: float
    step: float  # the one that suits the tensor best
    compared: int  # how many entries or directions


def check_gradients(
    loss: Loss,
    arrays: Mapping[str, np.ndarray],
    grads: Mapping[str, np.ndarray],
    tolerance: float = 0.0,
    *,
    method: Method = "central",
    steps: Sequence[float] = STEPS,
    directions: int | None = None,
    max_entries: int = MAX_ENTRIES,
    seed: int = 0,
) -> list[Comparison]:
    """Hold gradients against derivatives of the loss.

    Each entry's difference counts relative to the largest derivative of its tensor, or of all tensors
    where the tensor's are zero but for rounding.

    Along random directions, ``sum(grad * v)`` is compared with the derivative along v. There the
    difference counts relative to the norm of the gradient (for v as long as the square root of the
    number of entries), not relative to the product: a direction that happens to lie across the
    gradient has a product near zero, and any rounding would look large beside it.

    Parameters
    ----------
    loss : callable
        Computes one number from a dict of arrays, always the same from the same ones. For a complex step
        the arrays are complex128, and so is the result: ``np.abs``, ``.real`` and a cast to float lose the
        derivative (compare and sort by ``.real``, which is right).
    arrays : mapping of str to ndarray, float64
        What was differentiated by. They are left as they are.
    grads : mapping of str to ndarray
        The gradients, under the same names.
    tolerance : float, default 0
        A tensor whose error is no larger is not tried at further steps, to save time.
    method : {"central", "complex"}, default "central"
        How to differentiate.
    steps : sequence of float
        Of central differences: how far the entry that moves farthest does, in units of the array's values
        where these are above 1. A large step has an error of its size squared, a small one has the loss's
        rounding divided by it, and which is good depends on the loss: so all are tried, and each tensor
        is judged at the step where its worst entry is best. That forgives nothing, as a wrong
        gradient is off by the same amount at every step.
    directions : int, optional
        Compare that many random directions of every tensor. By default every entry is compared, and 8
        directions of a tensor that has more than `max_entries`.
    max_entries : int, default 500
        See `directions`.
    seed : int, default 0
        Of the directions.

    Returns
    -------
    list of Comparison
        One for every array that is not empty: where the two differ most.

    Raises
    ------
    UserError
        If names, shapes or dtypes do not fit, or the loss is not what it has to be.
    """
    _check_settings(method, steps, directions, max_entries)
    dtype = np.complex128 if method == "complex" else np.float64
    arrays, grads = _fitting(arrays, grads, dtype)
    _check_loss(loss, arrays)

    counts = {
        name: _DIRECTIONS if directions is None and array.size > max_entries else directions
        for name, array in arrays.items()
        if array.size
    }
    gradients = {name: _along(grads[name], count, seed) for name, count in counts.items()}
    gradient_sizes = {name: _size(grads[name], count) for name, count in counts.items()}
    sizes: dict[str, float] = {}
    best: dict[str, Comparison] = {}
    for step in (_COMPLEX_STEP,) if method == "complex" else steps:
        numericals = {
            name: np.array(
                [_derivative(loss, arrays, name, v, step) for v in _probes(arrays[name], count, seed)]
            )
            for name, count in counts.items()
            if name not in best or best[name].error > tolerance
        }
        sizes |= {name: _size(numerical, counts[name]) for name, numerical in numericals.items()}
        # Derivatives by a bad step may be huge: the largest is one that the gradient is as large as.
        both = [np.fmin(sizes[name], gradient_sizes[name]) for name in sizes]
        largest = float(max(filter(np.isfinite, both), default=0))
        for name, numerical in numericals.items():
            size = sizes[name]
            if counts[name] is not None:  # few directions may all lie across the gradient
                size = max(size, gradient_sizes[name])
            if not size > _ROUNDING[method] * largest:
                size = largest
            error, k = _worst(gradients[name], numerical, size)
            if name in best and best[name].error <= error:
                continue
            shape, entries = arrays[name].shape, counts[name] is None
            best[name] = Comparison(
                name=name,
                shape=shape,
                error=error,
                index=tuple(int(i) for i in np.unravel_index(k, shape)) if entries else None,
                gradient=float(gradients[name][k]),
                numerical=float(numerical[k]),
                step=step,
                compared=numerical.size,
            )
    return list(best.values())


def assert_gradients(
    loss: Loss,
    arrays: Mapping[str, np.ndarray],
    grads: Mapping[str, np.ndarray],
    tolerance: float | None = None,
    *,
    method: Method = "central",
    steps: Sequence[float] = STEPS,
    directions: int | None = None,
    max_entries: int = MAX_ENTRIES,
    seed: int = 0,
) -> None:
    """Fail where a gradient is not the derivative of the loss.

    Parameters
    ----------
    loss : callable
        As `check_gradients` takes it, like all but the tolerance.
    arrays : mapping of str to ndarray, float64
        What was differentiated by.
    grads : mapping of str to ndarray
        The gradients, under the same names.
    tolerance : float, optional
        Largest relative error allowed. By default 1e-8 for central differences, 1e-13 for a complex step.
    method : {"central", "complex"}, default "central"
        How to differentiate.
    steps : sequence of float
        Of central differences.
    directions : int, optional
        Compare that many random directions of every tensor.
    max_entries : int, default 500
        A larger tensor is compared along random directions.
    seed : int, default 0
        Of the directions.

    Raises
    ------
    AssertionError
        It names each wrong gradient, its worst entry, and both numbers there.
    UserError
        If names, shapes or dtypes do not fit, or the loss is not what it has to be.
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    limit = TOLERANCES[method] if tolerance is None else tolerance
    comparisons = check_gradients(
        loss,
        arrays,
        grads,
        limit,
        method=method,
        steps=steps,
        directions=directions,
        max_entries=max_entries,
        seed=seed,
    )
    wrong = [
        f"{c.name}{' along a random direction' if c.index is None else list(c.index)}: "
        f"gradient {c.gradient:.12g}, {LABELS[method]} {c.numerical:.12g} (relative error {c.error:.1e})"
        for c in comparisons
        if not c.error <= limit
    ]
    if wrong:
        raise AssertionError("\n".join(wrong))


def _check_settings(method: str, steps: Sequence[float], directions: int | None, max_entries: int) -> None:
    if method not in METHODS:
        raise SettingError(f"method is one of {', '.join(METHODS)}, not {method!r}")
    if not len(steps):
        raise SettingError("steps are one number or more, not none")
    for step in steps:
        check_number("a step", step, above=0)
    if directions is not None:
        check_number("directions", directions, whole=True, above=0)
    check_number("max_entries", max_entries, whole=True, at_least=0)


def _fitting(
    arrays: Mapping[str, np.ndarray], grads: Mapping[str, np.ndarray], dtype: type
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Refuse what does not fit; return arrays of the wanted dtype, copied, and their gradients."""
    if set(arrays) != set(grads):
        raise UserError(f"gradients of {sorted(grads)} for arrays {sorted(arrays)}")
    if not any(np.size(array) for array in arrays.values()):
        raise UserError("the arrays hold no numbers: there is nothing to check")
    copies: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        array, gradient = np.asarray(array), np.asarray(grads[name])
        if array.dtype != np.float64:
            raise UserError(f"a gradient check needs float64, not {array.dtype}, which {name} is")
        if gradient.shape != array.shape:
            raise UserError(f"{name} has shape {array.shape}, its gradient {gradient.shape}")
        if np.iscomplexobj(gradient):
            raise UserError(f"the gradient of {name} is complex: compute it from the real arrays")
        copies[name] = array.astype(dtype)
    return copies, {name: np.asarray(grads[name]) for name in arrays}


def _check_loss(loss: Loss, arrays: dict[str, np.ndarray]) -> None:
    """Refuse a loss that changes its arrays, or is another number the second time."""
    copies = {name: array.copy() for name, array in arrays.items()}
    first = _value(loss, copies)
    for name, copy in copies.items():
        if not np.array_equal(copy, arrays[name], equal_nan=True):
            raise UserError(f"the loss changes {name}: it has to leave its arrays as they are")
    second = _value(loss, copies)
    if not np.array_equal(first, second, equal_nan=True):
        raise UserError(
            f"the loss is {first!r} and then {second!r} for the same arrays: draw dropout masks and all "
            "else that is random from a generator seeded inside the loss, np.random.default_rng(0)"
        )


def _value(loss: Loss, arrays: dict[str, np.ndarray]) -> Any:
    """Compute the loss, and make sure that it is one number of the arrays' kind."""
    wants_complex = any(map(np.iscomplexobj, arrays.values()))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ComplexWarning)
            value = np.asarray(loss(dict(arrays)))
    except ComplexWarning as warning:
        raise UserError(
            "the loss casts complex numbers to real, which loses the derivative: give what it computes the "
            'dtype of the arrays, or choose method="central"'
        ) from warning
    if value.ndim or value.dtype.kind not in "iufc":
        raise UserError(f"the loss is one number, not {value.dtype} of shape {value.shape}")
    if wants_complex and not np.iscomplexobj(value):
        raise UserError(
            "the loss is real for complex arrays: np.abs, .real or a cast to float has lost the derivative; "
            'write it with analytic functions, or choose method="central"'
        )
    if not wants_complex and np.iscomplexobj(value):
        raise UserError(f"the loss is complex for real arrays: {value}")
    return value.item()


def _probes(array: np.ndarray, count: int | None, seed: int) -> Iterator[np.ndarray]:
    """Every entry's direction, or `count` random ones of length 1."""
    if count is None:
        for index in np.ndindex(array.shape):
            direction = np.zeros(array.shape)
            direction[index] = 1
            yield direction
    else:
        rng = np.random.default_rng(seed)
        for _ in range(count):
            direction = np.asarray(rng.normal(size=array.shape))
            yield np.asarray(direction / np.linalg.norm(direction))


def _along(gradient: np.ndarray, count: int | None, seed: int) -> np.ndarray:
    """Products of a gradient with each of its probes."""
    if count is None:
        return gradient.ravel()
    return np.array([np.vdot(direction, gradient) for direction in _probes(gradient, count, seed)])


def _derivative(
    loss: Loss, arrays: dict[str, np.ndarray], name: str, direction: np.ndarray, step: float
) -> float:
    """Differentiate the loss as one array moves along a direction."""
    array = arrays[name]

    def moved(by: Any) -> Any:
        return _value(loss, arrays | {name: np.asarray(array + by * direction)})

    if np.iscomplexobj(array):
        return float(moved(1j * step).imag / step)
    # The entry that moves farthest does so by `step`, in units of the array's values where these are large.
    h = step * max(1.0, np.abs(array).max()) / np.abs(direction).max()
    return float((moved(h) - moved(-h)) / (2 * h))


def _size(array: np.ndarray, count: int | None) -> float:
    """How large derivatives are: the largest entry, or for random directions the root mean square.

    A gradient's is what its derivative along a direction of length 1 is on average.
    """
    return float(np.abs(array).max()) if count is None else _rms(array)


def _rms(array: np.ndarray) -> float:
    with np.errstate(over="ignore"):  # what overflows is infinitely wrong
        return float(np.linalg.norm(array) / np.sqrt(array.size))


def _worst(gradient: np.ndarray, numerical: np.ndarray, size: float) -> tuple[float, int]:
    """Find the largest difference, relative to `size`, and where it is."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(gradient - numerical)
    difference[~np.isfinite(difference)] = np.inf  # else NaN would pass every comparison
    k = int(difference.argmax())
    error = float(difference[k]) / max(size, np.finfo(np.float64).tiny)
    return error if np.isfinite(size) else np.inf, k
