"""What the converters share."""

from collections.abc import Collection
from dataclasses import fields

from lstm_scratch.errors import SettingError
from lstm_scratch.layers.stack import LSTM

# Masks are of training only; what a converted LSTM computes outside it is the same without them.
EVERYWHERE = {
    "input_size",
    "hidden_size",
    "num_layers",
    "bidirectional",
    "batch_first",
    "reverse",
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
