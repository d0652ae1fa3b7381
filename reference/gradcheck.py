"""Gradient check: hand-written gradients against numerical derivatives of the loss.

The loss is a function of named arrays, ``loss(arrays) -> number``, and computes nothing but that. Its
derivative along a direction v (one entry of an array, or a random mix of all its entries) comes

- by central differences, ``(loss(a + h v) - loss(a - h v)) / (2 h)``: good to about 1e-9, for any loss;
- by a complex step, ``Im loss(a + i h v) / h``: nothing is subtracted, so h may be tiny and the result
  is good to rounding; for a loss that is analytic and keeps complex numbers as they are.

A numerical derivative is itself known only so well, since the loss rounds: badly where the loss normalises
nearly equal numbers. So where a gradient seems wrong, the derivative is taken again with each array moved by
one rounding, and from step to step. What it changes by is how well it is known, and only what is beyond that
is an error. The gradient has no say in this: a wrong one gains no more than the loss's own rounding, about
1e-15 by a complex step where the loss is well-conditioned, and never more than 1e-4.

Source of the complex step: W. Squire and G. Trapp, SIAM Review 40 (1998) 110.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
_NEARBY, _MARGIN = 4, 8  # so often the arrays are moved by a rounding; several of these add up
_LARGEST_UNCERTAINTY = 1e-4  # what a rounding of the arrays changes by more excuses nothing: it may be a jump
_AGREEMENT = 1e-5  # of the complex step with central differences


@dataclass(frozen=True)
class Comparison:
    """A gradient and its numerical counterpart, where they differ most."""

    name: str
    shape: tuple[int, ...]
    error: float  # the largest difference, relative to the tensor; infinite where a number is not finite;
    # less `uncertainty`
    index: tuple[int, ...] | None  # the entry where it is; None: a random direction of length 1
    gradient: float
    numerical: float
    step: float  # the one that suits the tensor best
    compared: int  # how many entries or directions
    uncertainty: float = 0.0  # how well `numerical` is known, relative too; 0 where nothing seemed wrong


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

    Where that is more than `tolerance`, and than `TOLERANCES` has for the method, the numerical derivative's
    own uncertainty is measured and does not count.

    A complex step is held against central differences first, along one random direction of each tensor.

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
        A tensor whose error is no larger is not tried at further steps, nor looked at twice.
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
    _check_settings(steps, directions, max_entries, seed)
    limit = max(allowed(method, tolerance), TOLERANCES[method])
    arrays, grads = _fitting(arrays, grads, np.complex128 if method == "complex" else np.float64)
    _check_loss(loss, arrays)
    if method == "complex":
        _check_complex_step(loss, arrays, steps, seed)
        steps = (_COMPLEX_STEP,)

    counts = {
        name: _DIRECTIONS if directions is None and array.size > max_entries else directions
        for name, array in arrays.items()
        if array.size
    }
    gradients = {name: _along(grads[name], count, seed) for name, count in counts.items()}
    gradient_sizes = {name: _size(grads[name], count) for name, count in counts.items()}
    sizes: dict[str, float] = {}
    best: dict[str, Comparison] = {}
    found: dict[str, tuple[np.ndarray, float]] = {}  # for `best`, all errors, and what they are relative to
    for step in steps:
        numericals = {
            name: np.array(
                [
                    _derivative(loss, arrays, name, v, step * _scales(arrays[name], v)[0], method)
                    for v in _probes(arrays[name], count, seed)
                ]
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
            errors = _errors(gradients[name], numerical, size)
            k = int(errors.argmax())
            if name not in best or errors[k] < best[name].error:
                best[name] = Comparison(
                    name=name,
                    shape=arrays[name].shape,
                    error=float(errors[k]),
                    index=_index(arrays[name], k, counts[name]),
                    gradient=float(gradients[name][k]),
                    numerical=float(numerical[k]),
                    step=step,
                    compared=numerical.size,
                )
                found[name] = errors, max(size, np.finfo(np.float64).tiny)

    for name, (errors, size) in found.items():
        if not limit < best[name].error < np.inf:
            continue
        probes, seen = list(_probes(arrays[name], counts[name], seed)), list[Comparison]()
        for k in map(int, np.argsort(-errors)):
            gradient, error = float(gradients[name][k]), float(errors[k])
            if error <= limit:
                break
            known, uncertainty = _known(loss, arrays, name, probes[k], steps, method)
            if uncertainty <= _LARGEST_UNCERTAINTY * size:
                error = max(0.0, abs(gradient - known) - uncertainty) / size
            index = _index(arrays[name], k, counts[name])
            seen.append(
                replace(
                    best[name],
                    error=error,
                    index=index,
                    gradient=gradient,
                    numerical=known,
                    uncertainty=uncertainty / size,
                )
            )
            if error > limit:  # one wrong entry is enough
                break
        best[name] = max(seen, key=lambda comparison: comparison.error)
    return list(best.values())


def allowed(method: Method, tolerance: float | None) -> float:
    """Tell how large an error may be.

    Parameters
    ----------
    method : {"central", "complex"}
        How to differentiate.
    tolerance : float or None
        What the user wants.

    Returns
    -------
    float
        That, or what suits the method.

    Raises
    ------
    SettingError
        If there is no such method, or the tolerance is no number from 0 on.
    """
    if method not in METHODS:
        raise SettingError(f"method is one of {', '.join(METHODS)}, not {method!r}")
    if tolerance is None:
        return TOLERANCES[method]
    check_number("tolerance", tolerance, at_least=0)
    return tolerance


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

    Warns
    -----
    UserWarning
        If the numerical derivative of a tensor is not known as well as the tolerance asks.
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    limit = allowed(method, tolerance)
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
        f"gradient {c.gradient:.12g}, {LABELS[method]} {c.numerical:.12g} (relative error {c.error:.1e}"
        f"{f', the {LABELS[method]} known to {c.uncertainty:.1e}' if c.uncertainty > limit else ''})"
        for c in comparisons
        if not c.error <= limit
    ]
    if wrong:
        raise AssertionError("\n".join(wrong))
    for c in comparisons:
        if c.uncertainty > limit:
            warnings.warn(
                f"{c.name} is held to {c.uncertainty:.1e} only: the loss's rounding hides what is less",
                stacklevel=2,
            )


def _check_settings(steps: Sequence[float], directions: int | None, max_entries: int, seed: int) -> None:
    if not isinstance(steps, Sequence | np.ndarray) or not len(steps):
        raise SettingError(f"steps are one number or more, such as [1e-5, 1e-4], not {steps!r}")
    for step in steps:
        check_number("a step", step, above=0)
    if directions is not None:
        check_number("directions", directions, whole=True, above=0)
    check_number("max_entries", max_entries, whole=True, at_least=0)
    check_number("seed", seed, whole=True, at_least=0)


def _fitting(
    arrays: Mapping[str, np.ndarray], grads: Mapping[str, np.ndarray], dtype: type
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Refuse what does not fit; return arrays of the wanted dtype, copied, and their gradients."""
    for what, mapping in (("arrays", arrays), ("gradients", grads)):
        if not isinstance(mapping, Mapping):
            raise UserError(f"the {what} are a dict of arrays, not {type(mapping).__name__}")
        for name in mapping:
            if not isinstance(name, str):
                raise UserError(f"the names of the {what} are text, not {name!r}")
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
        if gradient.dtype.kind not in "iufc":
            raise UserError(f"the gradient of {name} holds no numbers, but {gradient.dtype}")
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


def _check_complex_step(loss: Loss, arrays: dict[str, np.ndarray], steps: Sequence[float], seed: int) -> None:
    """Refuse a loss of which a part loses its imaginary part: a gradient without it would seem right."""
    directions = {name: d for name, array in arrays.items() if array.size for d in _probes(array, 1, seed)}
    exact = {
        name: _derivative(loss, arrays, name, direction, _COMPLEX_STEP, "complex")
        for name, direction in directions.items()
    }
    # Derivatives that are much smaller than the largest are hardly known by differences.
    floor = 1e-4 * max(map(abs, filter(np.isfinite, exact.values())), default=0)
    for name, direction in directions.items():
        if not np.isfinite(exact[name]):
            continue  # which is found to be wrong
        for step in steps:
            h = step * _scales(arrays[name], direction)[0]
            difference = _derivative(loss, arrays, name, direction, h, "central")
            size = max(abs(exact[name]), abs(difference), floor)
            if abs(difference - exact[name]) <= _AGREEMENT * size:
                break
        else:
            raise UserError(
                f"the complex step and central differences disagree along a direction of {name}, "
                f"{exact[name]:.6g} and {difference:.6g}: some part of the loss loses its imaginary part "
                "(np.abs, .real or a cast), or has a kink there; write it with analytic functions, or choose "
                'method="central"'
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
    except TypeError as error:
        if not wants_complex:
            raise
        raise UserError(
            f'the loss does not compute complex numbers, choose method="central": TypeError: {error}'
        ) from error
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
    loss: Loss, arrays: dict[str, np.ndarray], name: str, direction: np.ndarray, h: float, method: Method
) -> float:
    """Differentiate the loss as one array moves along a direction."""

    def moved(by: complex) -> Any:
        return _value(loss, arrays | {name: np.asarray(arrays[name] + by * direction)})

    if method == "complex":
        return float(moved(1j * h).imag / h)
    with np.errstate(invalid="ignore", divide="ignore"):  # a large step may leave where the loss is defined
        return float((moved(h) - moved(-h)).real / (2 * h))


def _scales(array: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
    """Tell what a step is in units of: the array's values, where these are above 1; those that move."""
    farthest = float(np.abs(direction).max())  # it is this entry that moves by the step
    own = float(np.abs(array[direction != 0]).max())
    return max(1.0, float(np.abs(array).max())) / farthest, own / farthest


def _known(
    loss: Loss,
    arrays: dict[str, np.ndarray],
    name: str,
    direction: np.ndarray,
    steps: Sequence[float],
    method: Method,
) -> tuple[float, float]:
    """Differentiate along a direction as well as can be; tell how well that is.

    The uncertainty of a step is what the derivative changes by when each array's numbers move to neighbours
    (rounding; no less than that of the loss alone), and from the next larger step to this (curvature). The
    step of the smallest one counts.
    """
    rng, ulp = np.random.default_rng(0), np.finfo(np.float64).eps
    nearby = [arrays] + [
        {key: a * (1 + ulp * rng.choice([-1, 1], size=a.shape)) for key, a in arrays.items()}
        for _ in range(_NEARBY)
    ]
    known, largest_first = [], np.sort(steps)[::-1]
    rounding = 0 if method == "complex" else ulp * abs(_value(loss, arrays))
    for scale in (1.0,) if method == "complex" else filter(None, _scales(arrays[name], direction)):
        found = np.array(
            [
                [_derivative(loss, near, name, direction, step * scale, method) for near in nearby]
                for step in largest_first
            ]
        )
        with np.errstate(invalid="ignore"):
            uncertainty = rounding / (largest_first * scale)
            uncertainty += _MARGIN * np.abs(found - found[:, :1]).max(axis=1)
            if len(steps) > 1:
                uncertainty[1:] += np.abs(np.diff(found[:, 0]))
                uncertainty[0] = np.inf  # nothing is known of its curvature
        uncertainty[np.isnan(uncertainty)] = np.inf
        k = int(uncertainty.argmin())
        known.append((float(found[k, 0]), float(uncertainty[k])))
    return min(known, key=lambda one: one[1])


def _index(array: np.ndarray, k: int, count: int | None) -> tuple[int, ...] | None:
    """Find the entry of the k-th probe, if probes are entries."""
    return tuple(map(int, np.unravel_index(k, array.shape))) if count is None else None


def _size(array: np.ndarray, count: int | None) -> float:
    """How large derivatives are: the largest entry, or for random directions the root mean square.

    A gradient's is what its derivative along a direction of length 1 is on average.
    """
    return float(np.abs(array).max()) if count is None else _rms(array)


def _rms(array: np.ndarray) -> float:
    with np.errstate(over="ignore"):  # what overflows is infinitely wrong
        return float(np.linalg.norm(array) / np.sqrt(array.size))


def _errors(gradient: np.ndarray, numerical: np.ndarray, size: float) -> np.ndarray:
    """Differences relative to `size`; infinite, not NaN, where a number is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        errors = np.abs(gradient - numerical) / max(size, np.finfo(np.float64).tiny)
    errors[~np.isfinite(errors)] = np.inf  # else NaN would pass every comparison
    return errors if np.isfinite(size) else np.full_like(errors, np.inf)
