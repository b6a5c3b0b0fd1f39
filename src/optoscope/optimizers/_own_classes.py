"""Optimizers of a person's own class on disk: where the class is, and what makes another of it.

Nothing of theirs is imported or run unless they say, in the call, that they trust it.
"""

import dataclasses
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optoscope._core.errors import FileFormatError, InvalidValueError
from optoscope._core.keys import new_key
from optoscope.optimizers._base import OptimizerModule

Trust = type[OptimizerModule] | str | None
_SCALARS = (str, bool, int, float, type(None))
_HOW = (
    "Give the class `configuration()`, which returns JSON, and a class method "
    "`create(key, **configuration)` that makes an optimizer of the same shape."
)


def import_path(kind: type) -> str:
    """MODULE:NAME of a class.

    >>> import_path(OptimizerModule)
    'optoscope.optimizers._base:OptimizerModule'
    """
    return f"{kind.__module__}:{kind.__qualname__}"


def is_own(optimizer: OptimizerModule) -> bool:
    """Whether the class is a person's own that has no registered name."""
    kind = type(optimizer)
    registered = kind.registered_name is not OptimizerModule.registered_name
    return not registered and kind.__module__.partition(".")[0] != "optoscope"


def configuration_of(optimizer: OptimizerModule) -> dict[str, Any]:
    """What makes an optimizer of the same shape: `configuration()`, or its fields without numbers.

    Raises:
        FileFormatError: a field holds what is neither an array nor, in a static field, JSON.
    """
    kind = type(optimizer)
    if kind.configuration is not OptimizerModule.configuration:
        return {"create": optimizer.configuration()}
    fields = {}
    for one in dataclasses.fields(kind):
        value = getattr(optimizer, one.name)
        static = bool(one.metadata.get("static"))
        try:
            fields[one.name] = _static(value) if static else _shapes(value)
        except InvalidValueError as error:
            raise FileFormatError(
                f"an optimizer of class {kind.__name__} cannot be saved by its fields: "
                f"{one.name} holds {error}. {_HOW}"
            ) from None
    return {"fields": fields}


def trusted_class(path: str, trust: Trust, place: Any) -> type[OptimizerModule]:
    """The class of an import path, if it is trusted.

    Args:
        path: MODULE:NAME, as the file has it.
        trust: the class itself, or the same MODULE:NAME.
        place: of the file, for messages.

    Raises:
        FileFormatError: it is not trusted, is another class, or cannot be imported.
    """
    module, _, name = path.partition(":")
    if trust is None:
        raise FileFormatError(
            f"{place} is an optimizer of the class {name} of {module}, which is not registered. "
            "Loading it runs that class: no file decides this. If you trust it, say so with the "
            f'class itself, optimizers.load(…, trust={name}), or by name, trust="{path}".'
        )
    if isinstance(trust, str):
        if trust != path:
            raise FileFormatError(f"{place} is of the class {path}, not of {trust}.")
        found: Any = _imported(module, name, place)
    else:
        found = trust
    if not (isinstance(found, type) and issubclass(found, OptimizerModule)):
        raise FileFormatError(f"{found!r} is no class of optimizers (OptimizerModule).")
    # A module is called otherwise when it is run as a program; the class is the same.
    if found.__qualname__ != name:
        raise FileFormatError(f"{place} is of the class {path}, not of {import_path(found)}.")
    return found


def make(kind: type[OptimizerModule], configuration: Mapping[str, Any]) -> OptimizerModule:
    """An optimizer of that shape; to be called under `eqx.filter_eval_shape`.

    Raises:
        FileFormatError: the class has other fields than the file.
    """
    if "create" in configuration:
        return _created(kind, dict(configuration["create"]))
    values, known = configuration["fields"], {one.name: one for one in dataclasses.fields(kind)}
    if set(values) != set(known):
        odd = sorted(set(values) ^ set(known))[0]
        raise FileFormatError(
            f"the field {odd!r} is in the file or in {kind.__name__}, not in both"
        )
    made = object.__new__(kind)
    for name, value in values.items():
        static = bool(known[name].metadata.get("static"))
        # As Equinox makes a module of its leaves.
        object.__setattr__(made, name, _from_static(value) if static else _from_shapes(value))
    return made


def _created(kind: type[OptimizerModule], configuration: dict[str, Any]) -> OptimizerModule:
    create: Any = getattr(kind, "create", kind)
    if "key" in inspect.signature(create).parameters:
        return create(key=new_key(0), **configuration)
    return create(**configuration)


def _imported(module: str, name: str, place: Any) -> Any:
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # whatever a module of theirs raises
        raise FileFormatError(
            f"the class {name} of {module}, which {place} needs, cannot be imported "
            f"({type(error).__name__}: {error}). Import it yourself and give the class: "
            f"optimizers.load(…, trust={name.rpartition('.')[2]})."
        ) from None
    return found


def _static(value: Any) -> Any:
    if isinstance(value, tuple):
        return {"tuple": [_static(one) for one in value]}
    if type(value) in _SCALARS:
        return value
    raise InvalidValueError(f"{type(value).__name__}, which JSON does not have")


def _from_static(value: Any) -> Any:
    return tuple(map(_from_static, value["tuple"])) if isinstance(value, dict) else value


def _shapes(value: Any) -> Any:
    """A field's structure: dictionaries, lists and tuples of arrays, with shapes in their place."""
    if isinstance(value, jax.Array | np.ndarray) or type(value) in (float, int):
        array = jnp.asarray(value) if isinstance(value, float | int) else value
        return {"array": [list(array.shape), str(array.dtype)]}
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {"dict": {key: _shapes(one) for key, one in value.items()}}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_shapes(one) for one in value]}
    if value is None:
        return None
    raise InvalidValueError(
        f"a {type(value).__name__}; settings that are no numbers to be trained belong into "
        "eqx.field(static=True)"
    )


def _from_shapes(value: Any) -> Any:
    if value is None:
        return None
    if "array" in value:
        shape, dtype = value["array"]
        return jnp.zeros(tuple(shape), dtype)
    if "dict" in value:
        return {key: _from_shapes(one) for key, one in value["dict"].items()}
    kind = tuple if "tuple" in value else list
    return kind(map(_from_shapes, value[kind.__name__]))
