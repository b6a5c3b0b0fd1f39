"""Learned optimizers that others trained and published, from their weight files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from optoscope._core.errors import FileFormatError, InvalidValueError
from optoscope._core.registry import Registry
from optoscope.optimizers._base import OptimizerModule
from optoscope.optimizers._published_weights import (
    Source,
    celo_perceptron,
    lstm_layer,
    small_perceptron,
)
from optoscope.optimizers._registry import get
from optoscope.optimizers._weight_files import read_arrays


@dataclass(frozen=True)
class PublishedFormat:
    """A kind of published weight file.

    Args:
        make: from the file's arrays and the options to the optimizer.
        options: the options that it takes.
        description: one line for lists.
        required: the options that it needs.
        registered: the name in the registry of optimizers that makes its class.
    """

    make: Callable[..., OptimizerModule]
    options: tuple[str, ...]
    description: str
    required: tuple[str, ...] = ()
    registered: str = ""


PUBLISHED: Registry[PublishedFormat] = Registry("published optimizer")


def load_published(name: str, path: str | Path, **options: Any) -> OptimizerModule:
    """An optimizer of this library with weights that others trained.

    Formats are told apart by their content: Flax's msgpack, safetensors (with PyLO's names too),
    NumPy's npz, and, where PyTorch is installed, its zip files, which are read with
    `weights_only=True`. No pickle is ever executed.

    Args:
        name: one of `PUBLISHED`: "celo2", "celo", "l2o-dm", "rnnprop" or "adafac".
        path: the file.
        **options: of the optimizer: for "celo2" `learning_rate` and `orthogonalize`, for "celo"
            `num_steps`.

    Raises:
        UnknownNameError: no such name.
        InvalidValueError: an option that it does not take, or one that is missing.
        FileFormatError: the file is damaged, of another format, or holds another network.
    """
    found = PUBLISHED[name]
    for option in options:
        if option not in found.options:
            raise InvalidValueError(
                f"{name!r} has no option {option!r}; it takes {', '.join(found.options) or 'none'}."
            )
    for option in found.required:
        if option not in options:
            raise InvalidValueError(
                f"{name!r} needs {option}; write load_published({name!r}, path, {option}=…)."
            )
    arrays = read_arrays(Path(path))
    try:
        return found.make(arrays, **options)
    except FileFormatError as error:
        raise FileFormatError(f"{path} is no weight file of {name!r}: {error}.") from None


def with_leaves(optimizer: OptimizerModule, values: Mapping[str, Array]) -> OptimizerModule:
    """The optimizer with other leaves, by their paths as in `named_leaves`.

    Raises:
        InvalidValueError: no such leaf, or one of another shape.
    """
    values = dict(values)

    def replaced(path: Any, leaf: Any) -> Any:
        name = jax.tree_util.keystr(path).lstrip(".")
        value = values.pop(name, leaf)
        if value.shape != leaf.shape:
            raise InvalidValueError(f"{name} has the shape {leaf.shape}, not {value.shape}")
        return value

    changed = jax.tree_util.tree_map_with_path(replaced, optimizer)
    if values:
        raise InvalidValueError(f"the optimizer has no {', no '.join(values)}.")
    return changed


def _celo2(arrays: Mapping[str, np.ndarray], **options: Any) -> OptimizerModule:
    source = Source(arrays, "ff_mod_stack/~/")
    found = celo_perceptron(source, 8)
    source.finish()
    leaves = {f"network.{name}": leaf for name, leaf in found.items()}
    return with_leaves(get("celo2", **options), leaves)


def _celo(arrays: Mapping[str, np.ndarray], **options: Any) -> OptimizerModule:
    source = Source(arrays, "ff_mod_stack/~/")
    leaves = {f"network.{name}": leaf for name, leaf in celo_perceptron(source, 4).items()}
    size, features = 64, 18
    for part, layer in (("input", "linear_2"), ("mixing", "linear_1")):
        weights = source.take(f"rnn_params/{layer}/w", features, size)
        leaves[f"scheduler.{part}_weights"] = jnp.asarray(weights.T)
        leaves[f"scheduler.{part}_bias"] = jnp.asarray(source.take(f"rnn_params/{layer}/b", size))
    leaves |= _lstm_leaves(source, "scheduler.layer", "rnn_params/rnn/linear", ("w", "b"), 64, 64)
    readout = source.take("rnn_params/step_size/w", size, 1)
    leaves["scheduler.readout"] = jnp.asarray(readout[:, 0])
    leaves["scheduler.readout_bias"] = jnp.asarray(source.take("rnn_params/step_size/b", 1)[0])
    for part in ("hidden", "cell"):
        start = source.take(f"lstm_init_state/{part}", size)
        leaves[f"scheduler.initial_{part}"] = jnp.asarray(start)
    # Two layers have no effect on anything.
    source.take("rnn_params/linear/w", features, size)
    source.take("rnn_params/linear/b", size)
    source.take("rnn_params/rnn_to_controls/w", size, 1)
    source.take("rnn_params/rnn_to_controls/b", 1)
    source.finish()
    return with_leaves(get("celo", **options), leaves)


def _lstm_leaves(
    source: Source, leaf: str, name: str, parts: tuple[str, str], size: int, inputs: int
) -> dict[str, Array]:
    """One layer; Haiku and Sonnet, of which all these files are, have the same order of gates."""
    weights = source.take(f"{name}/{parts[0]}", inputs + size, 4 * size)
    bias = source.take(f"{name}/{parts[1]}", 4 * size)
    made = lstm_layer(weights, bias)
    return {f"{leaf}.weights": made[0], f"{leaf}.bias": made[1]}


def _recurrent(source: Source, first_inputs: int) -> dict[str, Array]:
    """The two LSTMs of 20 units and the readout of Chen et al. (2020)."""
    leaves: dict[str, Array] = {}
    for layer, inputs in enumerate((first_inputs, 20)):
        names = f"layers[{layer}]", f"lstm_{layer + 1}"
        leaves |= _lstm_leaves(source, *names, ("w_gates", "b_gates"), 20, inputs)
    leaves["readout"] = jnp.asarray(source.take("linear/w", 20, 1)[:, 0])
    leaves["readout_bias"] = jnp.asarray(source.take("linear/b", 1)[0])
    return leaves


def _l2o_dm(arrays: Mapping[str, np.ndarray]) -> OptimizerModule:
    source = Source(arrays)
    leaves = _recurrent(source, 2)
    source.finish()
    # DeepMind's offset is the precision of float32.
    made = get("lstm", update_scale=0.01, exponent=5.0, log_offset=float(np.finfo(np.float32).eps))
    return with_leaves(made, leaves)


def _rnnprop(arrays: Mapping[str, np.ndarray]) -> OptimizerModule:
    source = Source(arrays)
    leaves = _recurrent(source, 20)
    leaves["projection"] = jnp.asarray(source.take("input_projection/w", 2, 20).T)
    leaves["projection_bias"] = jnp.asarray(source.take("input_projection/b", 20))
    source.finish()
    return with_leaves(get("rnnprop"), leaves)


def _adafac(arrays: Mapping[str, np.ndarray], **options: Any) -> OptimizerModule:
    source = Source(arrays)
    found = small_perceptron(source, 32)
    source.finish()
    leaves = {f"network.{name}": leaf for name, leaf in found.items()}
    return with_leaves(get("mlp", hidden_size=32, **options), leaves)


for _name, _format in {
    "celo2": PublishedFormat(
        _celo2,
        ("learning_rate", "orthogonalize"),
        "Celo2, 347 numbers (Moudgil et al.)",
        registered="celo2",
    ),
    "celo": PublishedFormat(
        _celo,
        ("num_steps",),
        "Celo with its schedule, 37,089 numbers (Moudgil et al. 2025)",
        required=("num_steps",),
        registered="celo",
    ),
    "l2o-dm": PublishedFormat(
        _l2o_dm,
        (),
        "the LSTM of Andrychowicz et al., trained by Chen et al. (2020), five variants",
        registered="lstm",
    ),
    "rnnprop": PublishedFormat(
        _rnnprop,
        (),
        "RNNProp, trained by Chen et al. (2020), two variants",
        registered="rnnprop",
    ),
    "adafac": PublishedFormat(
        _adafac,
        ("step_scale", "exponent_scale"),
        "the 39-32-32-2 perceptron of AdafacLO and MuLO, by PyLO's names",
        registered="mlp",
    ),
}.items():
    PUBLISHED.register(_name, _format)
