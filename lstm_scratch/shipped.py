"""Models that are shipped with the package, by name; the card of each lies beside it."""

from pathlib import Path

from lstm_scratch.errors import ModelFileError

FOLDER = Path(__file__).parent / "models"
SUFFIX = ".safetensors"


def shipped_models() -> list[str]:
    """List the models that are shipped.

    Returns
    -------
    list of str
        Their names, in alphabetical order.
    """
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))


def model_file(name: str | Path) -> Path:
    """Find a model.

    Parameters
    ----------
    name : str or path
        A file; or, where there is none of that name, a model of `shipped_models`.

    Returns
    -------
    Path
        The file.
    """
    path = Path(name)
    shipped = FOLDER / f"{name}{SUFFIX}"
    return shipped if not path.is_file() and str(name) in shipped_models() else path  # a folder is no model


def card_of(name: str) -> str:
    """Read the card of a shipped model.

    Parameters
    ----------
    name : str
        Of `shipped_models`.

    Returns
    -------
    str
        Data, licences, figures and limits, in Markdown.

    Raises
    ------
    ModelFileError
        If there is no such model.
    """
    if name not in shipped_models():
        raise ModelFileError(f"no model {name!r} is shipped; there are {', '.join(shipped_models())}")
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")
