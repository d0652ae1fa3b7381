"""What the converters share."""

from collections.abc import Collection
from dataclasses import fields

from lstm_scratch.errors import DataError, SettingError
from lstm_scratch.layers.stack import LSTM
from lstm_scratch.params import Params

# Masks are of training only; what a converted LSTM computes outside it is the same without them.
EVERYWHERE = {
    "input_size",
    "hidden_size",
    "num_layers",
    "bidirectional",
    "batch_first",
    "variant",
    "engine",
    "dropout",
    "input_dropout",
    "recurrent_dropout",
}


def check_settings(library: str, lstm: LSTM, known: Collection[str]) -> None:
    """Refuse an LSTM that a library cannot compute.

    Parameters
    ----------
    library : str
        What the message calls it.
    lstm : LSTM
        What is to be converted.
    known : collection of str
        Settings of `LSTM` and `Variant` that the library has, beyond `EVERYWHERE`.

    Raises
    ------
    SettingError
        If another setting is not at its default.
    """
    for holder in (lstm, lstm.variant):
        for field in fields(holder):
            value = getattr(holder, field.name)
            if field.name not in EVERYWHERE and field.name not in known and value != field.default:
                raise SettingError(
                    f"the LSTM of {library} has no {field.name}, which is {value!r} here; "
                    "train one without it to convert it"
                )


def check_params(lstm: LSTM, params: Params) -> None:
    """Refuse parameters that are not those of an LSTM, all of them and no others.

    Parameters
    ----------
    lstm : LSTM
        The stack.
    params : dict
        What are to be its parameters.

    Raises
    ------
    DataError
        If one is missing, has another shape, or has no place.
    """
    try:
        lstm.check_params(params)
        for name in params:
            if not name.endswith(lstm.suffixes):
                raise ValueError(f"this LSTM has no place for the parameter {name}")
    except ValueError as error:
        raise DataError(
            f"{error}; pass what is the LSTM's and nothing else, of a whole network under('lstm', ...)"
        ) from None


def suffixes(lstm: LSTM, layer: int) -> tuple[str, ...]:
    """Pick the ends of the parameters' names of one layer.

    Parameters
    ----------
    lstm : LSTM
        The stack.
    layer : int
        From 0.

    Returns
    -------
    tuple of str
        One per direction: ``"_l0"``, ``"_l0_reverse"``.
    """
    D = len(lstm.directions)
    return lstm.suffixes[D * layer : D * (layer + 1)]
