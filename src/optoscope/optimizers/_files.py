"""Optimizers on disk: weights as safetensors, the rest as JSON. Loading executes nothing."""

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from optoscope._core.errors import FileFormatError
from optoscope._core.files import replacing, write_text
from optoscope._core.saved_optimizers import (
    DESCRIPTION,
    FORMAT,
    VERSION,
    WEIGHTS,
    find,
    read_description,
)
from optoscope.optimizers._base import OptimizerModule, named_leaves
from optoscope.optimizers._registry import get


def save(
    path: str | Path, optimizer: OptimizerModule, metadata: dict[str, Any] | None = None
) -> Path:
    """Writes `optimizer.safetensors` and `optimizer.json` into the folder `path`.

    Args:
        path: a folder; it is made if need be.
        optimizer: a registered optimizer, learned or not.
        metadata: how it was meta-trained; any JSON.

    Returns:
        The folder.

    Raises:
        FileFormatError: the optimizer is a composition, which has no registered name.
        RunDirectoryError: the folder cannot be written.
    """
    from safetensors.numpy import save as to_safetensors

    folder = Path(path)
    description = {
        "format": FORMAT,
        "version": VERSION,
        "class": optimizer.registered_name,
        "configuration": optimizer.configuration(),
        "metadata": metadata or {},
    }
    # Both are made before either is written: what cannot be saved leaves the folder as it was.
    text = json.dumps(description, indent=2, allow_nan=False) + "\n"
    weights = to_safetensors({leaf: np.asarray(value) for leaf, value in named_leaves(optimizer)})
    with replacing(folder / WEIGHTS) as temporary:
        temporary.write_bytes(weights)
    write_text(folder / DESCRIPTION, text)
    return folder


def load(path_or_name: str | Path) -> OptimizerModule:
    """Loads an optimizer saved by `save`, a run's exported one, or one that comes with the library.

    Args:
        path_or_name: a folder with `optimizer.json`, a run directory, or one of
            `pretrained_names()`.

    Raises:
        UnknownNameError: neither a folder nor a name; the message suggests the nearest names.
        FileFormatError: unknown class, newer version, missing weights or wrong shapes.
    """
    from safetensors.numpy import load_file

    description = read_description(path_or_name)
    folder = find(path_or_name)
    path = folder / WEIGHTS
    try:
        skeleton = eqx.filter_eval_shape(get, description["class"], **description["configuration"])
    except Exception as error:  # whatever a configuration trips over, the file is at fault
        raise FileFormatError(f"{folder / DESCRIPTION}: {error}") from None
    try:
        weights = load_file(path)
    except Exception as error:  # the same for the weights: an unknown type is a KeyError there
        raise FileFormatError(f"{path} cannot be read as safetensors: {error}.") from None
    names = [name for name, _ in named_leaves(skeleton)]
    leaves, structure = jax.tree.flatten(skeleton)
    if set(weights) != set(names):
        odd = sorted(set(weights) ^ set(names))
        raise FileFormatError(
            f"{path} does not fit its description: {odd[0]!r} is in one of them only."
        )
    for name, leaf in zip(names, leaves, strict=True):
        if weights[name].shape != leaf.shape or weights[name].dtype != leaf.dtype:
            raise FileFormatError(
                f"{path}: {name} has shape {weights[name].shape} and type {weights[name].dtype}, "
                f"but its description asks for {leaf.shape} and {leaf.dtype}."
            )
    return jax.tree.unflatten(structure, [jnp.asarray(weights[name]) for name in names])
