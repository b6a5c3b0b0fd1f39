"""Finds saved optimizers and reads their descriptions, for JAX and for PyTorch alike."""

from pathlib import Path
from typing import Any

from optoscope._core.errors import FileFormatError, UnknownNameError
from optoscope._core.files import read_json

FORMAT = "optoscope/optimizer"
VERSION = 1
WEIGHTS = "optimizer.safetensors"
DESCRIPTION = "optimizer.json"
# No optimizer is nearly as large: what is larger means harm.
MOST_WEIGHT_BYTES = 4_000_000_000
# What files without a setting mean, where that is not what the class makes of its absence today.
_BEFORE_IT_WAS_A_SETTING = {"general": {"refresh_every": None}}
PRETRAINED = Path(__file__).parent.parent / "optimizers" / "pretrained"


def find(path_or_name: str | Path) -> Path:
    """The folder of a saved optimizer, of a run's exported one, or of one of the library's own.

    Raises:
        UnknownNameError: neither a folder nor a name; the message suggests the nearest names.
        FileFormatError: a folder that holds no optimizer.
    """
    path = Path(path_or_name)
    for folder in (path, path / "optimizer"):
        if (folder / DESCRIPTION).is_file():
            return folder
    if str(path_or_name) in pretrained_names():
        return PRETRAINED / str(path_or_name)
    if path.exists():
        raise FileFormatError(
            f"{path} holds no optimizer: {DESCRIPTION} is neither in it nor in its optimizer/."
        )
    raise UnknownNameError(
        "saved optimizer (no such folder, and no pretrained one)",
        str(path_or_name),
        pretrained_names(),
    )


def pretrained_names() -> tuple[str, ...]:
    """The names of the meta-trained optimizers that come with the library."""
    return tuple(
        sorted(description.parent.name for description in PRETRAINED.glob(f"*/{DESCRIPTION}"))
    )


def read_description(path_or_name: str | Path) -> dict[str, Any]:
    """The content of `optimizer.json`: class, configuration, metadata.

    Raises:
        FileFormatError: not such a file, or from a newer version of the library.
    """
    path = find(path_or_name) / DESCRIPTION
    description = read_json(path, FileFormatError)
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise FileFormatError(
            f"{path} does not describe an optimizer (its format is not {FORMAT!r})."
        )
    version = description.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise FileFormatError(
            f"{path} has format version {version!r}; this optoscope reads up to {VERSION}. "
            "Upgrade it."
        )
    if not isinstance(description.get("class"), str) or not isinstance(
        description.get("configuration"), dict
    ):
        raise FileFormatError(f"{path} lacks the class or the configuration.")
    earlier = _BEFORE_IT_WAS_A_SETTING.get(description["class"], {})
    description["configuration"] = earlier | description["configuration"]
    if not isinstance(description.setdefault("metadata", {}), dict):
        raise FileFormatError(f"{path}: the metadata must be an object of names and values.")
    return description
