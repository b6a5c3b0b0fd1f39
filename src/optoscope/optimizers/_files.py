"""Optimizers on disk: weights as safetensors, the rest as JSON. Loading executes nothing.

A person's own class is the one exception, and only where the call says that it is trusted.
"""

import dataclasses
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from optoscope._core.errors import FileFormatError, check_count
from optoscope._core.files import read_bytes, replacing, write_text
from optoscope._core.kinds import check_kind
from optoscope._core.saved_optimizers import (
    DESCRIPTION,
    FORMAT,
    MOST_WEIGHT_BYTES,
    VERSION,
    WEIGHTS,
    find,
    read_description,
)
from optoscope._core.tensors import from_safetensors, to_safetensors
from optoscope._core.trees import size
from optoscope.optimizers._base import Optimizer, OptimizerModule, named_leaves
from optoscope.optimizers._own_classes import (
    Trust,
    configuration_of,
    import_path,
    is_own,
    make,
    trusted_class,
)
from optoscope.optimizers._registry import entry, get

_FLOATS = ("float32", "float64", "bfloat16", "float16")
_WIDEST_BYTES = 8
_HEADER_BYTES = 1_000_000


def save(
    path: str | Path, optimizer: OptimizerModule, metadata: dict[str, Any] | None = None
) -> Path:
    """Writes `optimizer.safetensors` and `optimizer.json` into the folder `path`.

    Every weight keeps its own precision: float32, float64, bfloat16 or float16.

    Args:
        path: a folder; it is made if need be.
        optimizer: a registered optimizer, learned or not, or one of a class of your own: its
            import path is stored, with `configuration()` where it has one (then
            `create(key, **configuration)` must make an optimizer of the same shape), else with
            the shapes of its arrays and its static fields.
        metadata: how it was meta-trained; any JSON.

    Returns:
        The folder.

    Raises:
        FileFormatError: the optimizer is a composition, which has no registered name, or could
            not be loaded again: its class, shapes or types are not what its name makes, or a
            class of your own has fields that are neither arrays nor JSON.
        RunDirectoryError: the folder cannot be written.
    """
    folder = Path(path)
    own = is_own(optimizer)
    description = {
        "format": FORMAT,
        "version": VERSION,
        "class": import_path(type(optimizer)) if own else optimizer.registered_name,
        "configuration": configuration_of(optimizer) if own else optimizer.configuration(),
        "metadata": metadata or {},
    }
    # Both are made before either is written: what cannot be saved leaves the folder as it was.
    text = json.dumps(description, indent=2, allow_nan=False) + "\n"
    arrays = {name: _as_array(leaf) for name, leaf in _weights(optimizer)}
    _refuse_what_cannot_be_loaded(optimizer, arrays, description)
    weights = to_safetensors(arrays)
    with replacing(folder / WEIGHTS) as temporary:
        temporary.write_bytes(weights)
    write_text(folder / DESCRIPTION, text)
    return folder


def load(
    path_or_name: str | Path, *, trust: Trust = None, num_steps: int | None = None
) -> OptimizerModule:
    """Loads an optimizer saved by `save`, a run's exported one, or one that comes with the library.

    Args:
        path_or_name: a folder with `optimizer.json`, a run directory, or one of
            `pretrained_names()`.
        trust: for an optimizer of a class of your own that is not registered: the class, or its
            MODULE:NAME, which is then imported. No file makes this library run code that the
            call does not name.
        num_steps: the length of training, for an optimizer that is made for one; that which it
            was saved with, if not given. Other optimizers are the same for every length.

    Raises:
        InvalidValueError: `num_steps` below 1.
        UnknownNameError: neither a folder nor a name; the message suggests the nearest names.
        FileFormatError: unknown class, one that is not trusted, newer version, missing weights
            or wrong shapes.
    """
    description = read_description(path_or_name)
    folder = find(path_or_name)
    path = folder / WEIGHTS
    own = None
    if ":" in description["class"]:
        own = trusted_class(description["class"], trust, folder / DESCRIPTION)
    try:
        skeleton = _skeleton(description, own)
    except Exception as error:  # whatever a configuration trips over, the file is at fault
        reason = textwrap.shorten(str(error), 300, placeholder=" ...")
        raise FileFormatError(f"{folder / DESCRIPTION}: {reason}") from None
    numbers = size([leaf for _, leaf in _weights(skeleton)])
    most = min(_WIDEST_BYTES * numbers + _HEADER_BYTES, MOST_WEIGHT_BYTES)
    weights = from_safetensors(read_bytes(path, most=most, error=FileFormatError), path)
    try:
        _check_fit(weights, skeleton)
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}.") from None
    # What a file holds does not depend on the reader's flag: float64 stays float64.
    with jax.enable_x64(True):
        loaded = jax.tree_util.tree_map_with_path(
            lambda where, leaf: jnp.asarray(weights[_place(where)]) if _is_weight(leaf) else leaf,
            skeleton,
        )
    return loaded if num_steps is None else for_num_steps(loaded, num_steps)


def for_num_steps(optimizer: Optimizer, num_steps: int) -> Any:
    """An optimizer made for another length of training, where it knows one; else as it is.

    Raises:
        InvalidValueError: a length below 1.
    """
    check_count("num_steps", num_steps, minimum=1)
    if not isinstance(getattr(optimizer, "num_steps", None), int):
        return optimizer
    return dataclasses.replace(optimizer, num_steps=num_steps)  # type: ignore[type-var]


def _is_weight(leaf: Any) -> bool:
    """Whether a leaf is stored; others, such as a network's activation, its class makes again."""
    return not callable(leaf)


def _weights(optimizer: OptimizerModule) -> Iterator[tuple[str, Any]]:
    return ((name, leaf) for name, leaf in named_leaves(optimizer) if _is_weight(leaf))


def _place(path: tuple[Any, ...]) -> str:
    """The name of a leaf, as in `named_leaves`."""
    return jax.tree_util.keystr(path).lstrip(".")


def _skeleton(
    description: Mapping[str, Any], own: type[OptimizerModule] | None = None
) -> OptimizerModule:
    """The optimizer of a description, with shapes in place of weights.

    Args:
        description: its class and configuration.
        own: the class, where it is a person's own.

    Raises:
        UnknownNameError: there is no such class.
        InvalidValueError: an argument is of another type than the class takes.
    """
    if own is not None:
        return eqx.filter_eval_shape(lambda: make(own, description["configuration"]))
    parameters = inspect.signature(entry(description["class"]).create).parameters
    for name, value in description["configuration"].items():
        if name in parameters:
            check_kind(name, value, parameters[name].annotation)
    return eqx.filter_eval_shape(get, description["class"], **description["configuration"])


def _as_array(leaf: Any) -> np.ndarray:
    # JAX takes a plain number for a weight of the usual precision; NumPy's float64 is one as well
    # for Python, but has a precision of its own.
    return np.asarray(leaf, np.float32 if type(leaf) in (float, int) else None)


def _check_fit(weights: Mapping[str, np.ndarray], skeleton: OptimizerModule) -> None:
    wanted = dict(_weights(skeleton))
    if set(weights) != set(wanted):
        odd = sorted(set(weights) ^ set(wanted))
        raise FileFormatError(f"it does not fit its description: {odd[0]!r} is in one of them only")
    for name, leaf in wanted.items():
        array = weights[name]
        # The precision is the optimizer's own affair; the skeleton's is that of the reader's flag.
        if array.shape != leaf.shape or array.dtype.name not in _FLOATS:
            raise FileFormatError(
                f"{name} has shape {array.shape} and type {array.dtype}, but its description asks "
                f"for {leaf.shape} and one of the types {', '.join(_FLOATS)}"
            )


def _refuse_what_cannot_be_loaded(
    optimizer: OptimizerModule, arrays: Mapping[str, np.ndarray], description: Mapping[str, Any]
) -> None:
    """Raises FileFormatError unless `load` would give the same optimizer back."""
    made = f"what {description['class']!r} makes of {description['configuration']}"
    skeleton = _skeleton(description, type(optimizer) if is_own(optimizer) else None)
    same = jax.tree.structure(skeleton) == jax.tree.structure(optimizer)
    if type(skeleton) is not type(optimizer) or not same:
        raise FileFormatError(
            f"the optimizer of class {type(optimizer).__name__} cannot be saved: it is not {made}, "
            "so that another one would be loaded. Save an optimizer that `optimizers.get` makes, "
            "or whose `create` makes the same of its `configuration()`."
        )
    try:
        _check_fit(arrays, skeleton)
    except FileFormatError as error:
        raise FileFormatError(
            f"the optimizer cannot be saved, since it is not {made}: {error}."
        ) from None
