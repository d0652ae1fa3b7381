"""Parameters: a flat dict of named arrays, and how they start.

Names are torch's, joined with dots: ``lstm.weight_ih_l0``. A gradient dict has the same names and
shapes as the parameters it belongs to.
"""

import re
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias, TypeVar

import numpy as np

Params: TypeAlias = dict[str, np.ndarray]
T = TypeVar("T")

_BIAS = re.compile(r"(?P<start>|.*\.)bias(?P<end>_l\d+(_reverse)?)")
_TORCH_BIAS = re.compile(r"(?P<start>|.*\.)bias_(?P<which>ih|hh)(?P<end>_l\d+(_reverse)?)")


class FrozenParams(Params):
    """Parameters that stay as they are, as `freeze` makes them.

    What is derived from them is derived once: an engine packs its weights in the first call only.

    Parameters
    ----------
    arrays : dict
        Arrays that nobody writes to any more.
    """

    def __init__(self, arrays: Params) -> None:
        super().__init__(arrays)
        self._derived: dict[str, Any] = {}

    def once(self, name: str, derive: Callable[[], T]) -> T:
        """Give what is derived from the parameters, of the first call with this name.

        Parameters
        ----------
        name : str
            Of what is derived.
        derive : callable
            Makes it, without arguments.

        Returns
        -------
        object
            What it made.
        """
        if name not in self._derived:
            self._derived[name] = derive()
        derived: T = self._derived[name]
        return derived

    def __reduce__(self) -> tuple[Any, ...]:
        return freeze, (dict(self),)

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        """Refuse to change.

        Parameters
        ----------
        *args, **kwargs : object
            Whatever the change was to be.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError("frozen parameters stay as they are: change dict(params) and freeze that")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse


def freeze(params: Params) -> FrozenParams:
    """Copy parameters that are to be used many times, and to change no more.

    Parameters
    ----------
    params : dict
        Parameters.

    Returns
    -------
    FrozenParams
        The same names and values, in arrays that cannot be written to.
    """
    if isinstance(params, FrozenParams):
        return params
    # In the same memory order, by which BLAS chooses the order of its sums.
    copies = {name: array.copy(order="K") for name, array in params.items()}
    for array in copies.values():
        array.flags.writeable = False
    # Who owns an array may make it writable again; who has a view may not.
    return FrozenParams({name: array.view() for name, array in copies.items()})


def renamed(params: Params, key: str, name_of: Callable[[str], str | None]) -> Params:
    """Pick parameters, under other names.

    Parameters
    ----------
    params : dict
        Parameters.
    key : str
        Stands for the names, among frozen parameters.
    name_of : callable
        Gives the new name of a parameter by its old one, or None for one that is left out.

    Returns
    -------
    dict
        The same arrays; frozen, if the parameters are.
    """

    def pick() -> Params:
        return {new: array for name, array in params.items() if (new := name_of(name)) is not None}

    if isinstance(params, FrozenParams):
        return params.once(key, lambda: FrozenParams(pick()))
    return pick()


def glorot_uniform(rng: np.random.Generator, n_out: int, n_in: int) -> np.ndarray:
    """Draw a weight matrix that keeps the variance of signals and of gradients.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    n_out, n_in : int
        Rows and columns.

    Returns
    -------
    ndarray (n_out, n_in), float64
        Uniform in ``+-sqrt(6 / (n_in + n_out))``.

    Notes
    -----
    X. Glorot and Y. Bengio, AISTATS 2010, equation 16.
    """
    limit = np.sqrt(6 / (n_in + n_out))
    return rng.uniform(-limit, limit, (n_out, n_in))


def orthogonal(rng: np.random.Generator, n_out: int, n_in: int) -> np.ndarray:
    """Draw a matrix with orthonormal columns, uniform over all of them (rows, where it is wider than high).

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    n_out, n_in : int
        Rows and columns.

    Returns
    -------
    ndarray (n_out, n_in), float64
        A matrix Q with ``Q.T @ Q`` the identity (``Q @ Q.T``, where it is wider than high).

    Notes
    -----
    A. Saxe et al., ICLR 2014; the signs make it uniform: F. Mezzadri, Notices of the AMS 54 (2007).
    """
    q, r = np.linalg.qr(rng.standard_normal((max(n_out, n_in), min(n_out, n_in))))
    q = q * np.sign(np.diag(r))
    return np.asarray(q if n_out >= n_in else q.T)


def under(prefix: str, params: Params) -> Params:
    """Pick the parameters of one part, without their prefix.

    Parameters
    ----------
    prefix : str
        Name of the part, such as ``"lstm"``.
    params : dict
        Parameters of the whole.

    Returns
    -------
    dict
        The same arrays under the names the part itself uses.
    """
    start = prefix + "."
    return renamed(params, start, lambda name: name.removeprefix(start) if name.startswith(start) else None)


def prefixed(prefix: str, params: Params) -> Params:
    """Name the parameters of one part as the whole does: the inverse of `under`.

    Parameters
    ----------
    prefix : str
        Name of the part, such as ``"lstm"``.
    params : dict
        Parameters of the part.

    Returns
    -------
    dict
        The same arrays under longer names.
    """
    return {f"{prefix}.{name}": array for name, array in params.items()}


def count(params: Params) -> int:
    """Count the numbers in all parameters.

    Parameters
    ----------
    params : dict
        Parameters.

    Returns
    -------
    int
        How many numbers they hold.
    """
    return sum(array.size for array in params.values())


def to_torch_names(params: Params) -> Params:
    """Name LSTM parameters as torch does, with its two biases, of which the second is zero.

    Parameters
    ----------
    params : dict
        Parameters with one ``bias_l0`` per layer and direction, under any prefix.

    Returns
    -------
    dict
        The same with ``bias_ih_l0`` and ``bias_hh_l0``: what `torch.nn.Module.load_state_dict` takes.
    """
    torch_params = {}
    for name, array in params.items():
        if match := _BIAS.fullmatch(name):
            start, end = match["start"], match["end"]
            torch_params[f"{start}bias_ih{end}"] = array
            # Added to minus zero, every number stays what it is; to zero, minus zero does not.
            torch_params[f"{start}bias_hh{end}"] = np.full_like(array, -0.0)
        else:
            torch_params[name] = array
    return torch_params


def from_torch_names(torch_params: Params) -> Params:
    """Add up torch's two biases of each layer and direction: the inverse of `to_torch_names`.

    Parameters
    ----------
    torch_params : dict
        Parameters with ``bias_ih_l0`` and ``bias_hh_l0`` per layer and direction, under any prefix.

    Returns
    -------
    dict
        The same with one ``bias_l0``.
    """
    params = {}
    for name, array in torch_params.items():
        match = _TORCH_BIAS.fullmatch(name)
        if not match:
            params[name] = array
        elif match["which"] == "ih":
            start, end = match["start"], match["end"]
            params[f"{start}bias{end}"] = array + torch_params[f"{start}bias_hh{end}"]
    return params
