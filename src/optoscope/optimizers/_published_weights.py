"""From the names and orders of others' weight files to the leaves of this library's modules."""

from collections.abc import Iterable, Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from optoscope._core.errors import FileFormatError

# How many numbers each of Celo's groups of inputs has for a coordinate, in their order.
GROUP_SIZES = (1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3)


class Source:
    """The arrays of a file, taken by name and shape; at the end none may be left.

    Args:
        arrays: by name.
        prefix: removed from the names that have it.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], prefix: str = "") -> None:
        """Keeps the arrays under their short names."""
        self.arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
        self._left = set(self.arrays)

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def take(self, name: str, *shape: int) -> Float[np.ndarray, "..."]:
        """The array of a name in float32; leading axes of length 1 beyond its shape are dropped.

        Raises:
            FileFormatError: there is none, its shape or type is another, or it is not finite.
        """
        if name not in self.arrays:
            raise FileFormatError(f"{name!r} is not in it; it has {_listed(self.arrays)}")
        self._left.discard(name)
        array = self.arrays[name]
        extra = array.ndim - len(shape)
        if extra > 0 and array.shape[:extra] == (1,) * extra:
            array = array.reshape(array.shape[extra:])
        if array.shape != shape:
            raise FileFormatError(f"{name!r} has the shape {array.shape}, where {shape} is needed")
        if not (jnp.issubdtype(array.dtype, jnp.floating) and np.isfinite(array).all()):
            raise FileFormatError(
                f"{name!r}, of type {array.dtype}, has something else than finite floats"
            )
        return np.asarray(array, np.float32)

    def finish(self) -> None:
        """Raises FileFormatError if an array was not taken."""
        if self._left:
            raise FileFormatError(f"it has arrays that do not belong there: {_listed(self._left)}")


def _listed(names: Iterable[str]) -> str:
    some = sorted(names)
    more = f" and {len(some) - 5} more" if len(some) > 5 else ""
    return ", ".join(map(repr, some[:5])) + more if some else "no arrays"


def celo_perceptron(source: Source, hidden_size: int) -> dict[str, Float[Array, "..."]]:
    """The perceptron of Celo and Celo2 by the names of `SmallNetwork`.

    The authors' files have one matrix for each group of inputs, stored (in, out); PyLO's have
    linear layers of PyTorch, stored (out, in).
    """
    if "first_layer_bias" in source:
        first = [
            source.take(f"first_layer_weights.{group}", hidden_size, size).T
            for group, size in enumerate(GROUP_SIZES)
        ]
        found = {
            "input_bias": source.take("first_layer_bias", hidden_size),
            "hidden_weights": source.take("hidden.weight", hidden_size, hidden_size).T,
            "hidden_bias": source.take("hidden.bias", hidden_size),
            "output_weights": source.take("output.weight", 3, hidden_size).T,
            "output_bias": source.take("output.bias", 3),
        }
    else:
        first = [
            source.take(f"w0__{group}", size, hidden_size) for group, size in enumerate(GROUP_SIZES)
        ]
        found = {
            "input_bias": source.take("b0", hidden_size),
            "hidden_weights": source.take("w1", hidden_size, hidden_size),
            "hidden_bias": source.take("b1", hidden_size),
            "output_weights": source.take("w2", hidden_size, 3),
            "output_bias": source.take("b2", 3),
        }
    found["input_weights"] = np.concatenate(first)
    return _on_device(found)


def small_perceptron(source: Source, hidden_size: int) -> dict[str, Float[Array, "..."]]:
    """The perceptron of `small_fc_lopt`, AdafacLO and MuLO by the names of `SmallNetwork`.

    In PyLO's files its layers are `network.input`, `network.linear_0` and `network.output`; in
    the authors' they are `w0`, `b0` and so on.
    """
    shapes = {"input": (39, hidden_size), "hidden": (hidden_size,) * 2, "output": (hidden_size, 2)}
    found = {}
    for place, (layer, shape) in enumerate(shapes.items()):
        if "network.input.weight" in source:
            name = "network.linear_0" if layer == "hidden" else f"network.{layer}"
            found[f"{layer}_weights"] = source.take(f"{name}.weight", *shape[::-1]).T
            found[f"{layer}_bias"] = source.take(f"{name}.bias", shape[1])
        else:
            found[f"{layer}_weights"] = source.take(f"w{place}", *shape)
            found[f"{layer}_bias"] = source.take(f"b{place}", shape[1])
    return _on_device(found)


def lstm_layer(
    weights: Float[np.ndarray, "features gates"], bias: Float[np.ndarray, " gates"]
) -> tuple[Float[Array, "gates features"], Float[Array, " gates"]]:
    """Weights and bias of a Haiku or Sonnet LSTM as `LSTMLayer` has them.

    Both store (in, out), have the input, candidate, forget and output gates in this order, and
    add 1 to the bias of the forget gate when they run.

    Args:
        weights: on the input, then the hidden state.
        bias: of the gates.
    """
    by_gate = weights.T.reshape(4, -1, weights.shape[0])[[0, 2, 1, 3]]
    biases = bias.reshape(4, -1)[[0, 2, 1, 3]]
    biases = biases + np.asarray([[0], [1], [0], [0]], biases.dtype)
    return jnp.asarray(by_gate.reshape(weights.T.shape)), jnp.asarray(biases.ravel())


def _on_device(arrays: Mapping[str, np.ndarray]) -> dict[str, Array]:
    return {name: jnp.asarray(array) for name, array in arrays.items()}
