"""Saved optimizers as rules for PyTorch."""

import hashlib
import textwrap
import warnings
from pathlib import Path

import torch

from optoscope._core.errors import FileFormatError, check_count
from optoscope._core.files import read_bytes
from optoscope._core.saved_optimizers import (
    DESCRIPTION,
    MOST_WEIGHT_BYTES,
    WEIGHTS,
    find,
    read_description,
)
from optoscope.torch._celo import CeloRule
from optoscope.torch._directed import Celo2Rule, GeneralRule
from optoscope.torch._mlp import MLPRule
from optoscope.torch._recurrent import LSTMRule, RNNPropRule, RNNRule
from optoscope.torch._rule import Rule
from optoscope.torch._star import StarRule

_RECURRENT, _SMALL = (LSTMRule, RNNRule, RNNPropRule), (MLPRule, StarRule, CeloRule)
RULES: dict[str, type[Rule]] = {
    rule.registered_name: rule for rule in (*_RECURRENT, *_SMALL, Celo2Rule, GeneralRule)
}


def load_rule(path_or_name: str | Path, num_steps: int | None = None) -> tuple[Rule, str]:
    """A saved optimizer, and a text that identifies it.

    Args:
        path_or_name: a folder, or a name of an optimizer that comes with the library.
        num_steps: the length of training, for one that is made for a length; that which it was
            saved with, if not given.

    Raises:
        InvalidValueError: a length below 1.
        UnknownNameError: neither a folder nor a name of an optimizer that comes with the library.
        FileFormatError: of a class that PyTorch has under another name, or damaged.
    """
    from safetensors.torch import load

    if num_steps is not None:
        check_count("num_steps", num_steps, minimum=1)
    description = read_description(path_or_name)
    folder, name = find(path_or_name), description["class"]
    if name not in RULES:
        raise FileFormatError(
            f"{folder / DESCRIPTION} is of class {name!r}; for PyTorch there are "
            f"{', '.join(sorted(RULES))}. An optimizer designed by hand is in torch.optim."
        )
    path = folder / WEIGHTS
    try:
        content = read_bytes(path, most=MOST_WEIGHT_BYTES, error=FileFormatError)
        with torch.device("cpu"):
            weights = load(content)
    except FileFormatError:
        raise
    except Exception as error:  # whatever a reader trips over, the file is at fault
        raise FileFormatError(f"{path} cannot be read as safetensors: {error}.") from None
    configuration = dict(description["configuration"])
    if num_steps is not None and configuration.get("num_steps") is None:
        warnings.warn(
            f"num_steps={num_steps} changes nothing: {path_or_name} is made for no length of "
            "training. Leave it out.",
            stacklevel=3,
        )
    elif num_steps is not None:
        configuration["num_steps"] = num_steps
    try:
        # The weights go from there to the parameters, whatever PyTorch's default device is.
        with torch.device("cpu"):
            rule = RULES[name](weights, **configuration)
    except Exception as error:  # the same for its description
        reason = textwrap.shorten(str(error), 300, placeholder=" ...")
        raise FileFormatError(f"{folder}: {reason}") from None
    described = repr((name, sorted(configuration.items()))).encode()
    return rule, f"{name} {hashlib.sha256(described + content).hexdigest()[:16]}"
