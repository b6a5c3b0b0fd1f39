"""The coordinate-wise LSTM optimizer of Andrychowicz et al. (2016)."""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from optoscope._core.errors import check_count, check_number
from optoscope._core.keys import as_key
from optoscope.optimizers._base import OptimizerModule, Packed, as_arrays
from optoscope.optimizers._one_vector import as_one_vector, update_as_one_vector
from optoscope.optimizers._placement import zeros_beside

_NUM_INPUTS = 2


class LSTMLayer(eqx.Module):
    """An LSTM cell over coordinates: features come first, then the coordinates' own axes.

    Inputs and hidden state are stacked, so that a step is one (4H, F) by (F, N) product. The
    rows of `weights` are the input, forget, candidate and output gates.
    """

    weights: Float[Array, "gates features"]
    bias: Float[Array, " gates"]

    def __call__(
        self,
        inputs: Float[Array, "inputs ..."],
        hidden: Float[Array, "hidden ..."],
        cell: Float[Array, "hidden ..."],
    ) -> tuple[Float[Array, "hidden ..."], Float[Array, "hidden ..."]]:
        """The next hidden and cell states."""
        features = jnp.concatenate([inputs, hidden])
        # No axes are merged: each stays split over devices as it is.
        products = jnp.tensordot(self.weights, features, axes=1)
        pre_activations = products + self.bias.reshape(-1, *(1,) * (features.ndim - 1))
        input_gate, forget_gate, candidate, output_gate = jnp.split(pre_activations, 4)
        cell = jax.nn.sigmoid(forget_gate) * cell + jax.nn.sigmoid(input_gate) * jnp.tanh(candidate)
        return jax.nn.sigmoid(output_gate) * jnp.tanh(cell), cell


class LSTMState(NamedTuple):
    """Hidden and cell states: for each layer and parameter an array (hidden_size, *its shape).

    A parameter without coordinates has None.
    """

    hidden: tuple[PyTree[Float[Array, "hidden ..."]], ...]
    cell: tuple[PyTree[Float[Array, "hidden ..."]], ...]


def log_and_sign(
    grads: Float[Array, "*coordinates"], exponent: float, log_offset: float = 0.0
) -> Float[Array, "2 ..."]:
    """The two inputs made from a gradient g: its log size and its sign, or g itself if tiny.

    With p = `exponent`: (log(|g| + offset)/p, sign g) where |g| ≥ e^−p, else (−1, e^p g).

    Source: Andrychowicz et al. (2016), appendix A.

    Example:
        >>> log_and_sign(jnp.array([-jnp.exp(5.0), 0.0]), 10.0).tolist()
        [[0.5, -1.0], [-1.0, 0.0]]
    """
    magnitude = jnp.abs(grads)
    large = magnitude >= jnp.exp(-exponent)
    # The inner `where` keeps log's derivative finite where its value is not used.
    log_size = jnp.log(jnp.where(large, magnitude, 1.0) + log_offset) / exponent
    return jnp.stack(
        [
            jnp.where(large, log_size, -1.0),
            jnp.where(large, jnp.sign(grads), jnp.exp(exponent) * grads),
        ]
    )


def draw(key: PRNGKeyArray, index: int, hidden_size: int, *shape: int) -> Float[Array, "..."]:
    """Uniform numbers in ±1/sqrt(H), others for every index."""
    bound = hidden_size**-0.5
    key = jax.random.fold_in(key, index)
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


def draw_layers(
    key: PRNGKeyArray, num_inputs: int, hidden_size: int, num_layers: int
) -> tuple[LSTMLayer, ...]:
    """Untrained layers, of which each sees the one before it; they use the first 2·L indices."""
    layers = []
    for layer in range(num_layers):
        num_features = (num_inputs if layer == 0 else hidden_size) + hidden_size
        weights = draw(key, 2 * layer, hidden_size, 4 * hidden_size, num_features)
        bias = draw(key, 2 * layer + 1, hidden_size, 4 * hidden_size)
        layers.append(LSTMLayer(weights, bias))
    return tuple(layers)


def run_layers(
    layers: Sequence[LSTMLayer],
    inputs: Float[Array, "inputs ..."],
    hidden: Sequence[Float[Array, "hidden ..."]],
    cell: Sequence[Float[Array, "hidden ..."]],
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """The next hidden and cell states of all layers, one on top of the other."""
    hiddens, cells = [], []
    for layer, previous, memory in zip(layers, hidden, cell, strict=True):
        inputs, memory = layer(inputs, previous, memory)
        hiddens.append(inputs)
        cells.append(memory)
    return tuple(hiddens), tuple(cells)


def zero_states(
    params: PyTree[ArrayLike], dtype: DTypeLike, before: tuple[int, ...]
) -> PyTree[Float[Array, "..."]]:
    """Zeros for every coordinate, split over devices as the parameters are.

    Args:
        params: those of a parameter without coordinates are None.
        dtype: of the zeros.
        before: the axes that come before the coordinates' own.
    """

    def zeros(param: Array) -> Array | None:
        if math.prod(param.shape) == 0:
            return None
        return zeros_beside(param, dtype, before=before)

    return jax.tree.map(zeros, as_arrays(params))


def tensor_by_tensor(
    advance: Callable[..., tuple[Array, ...]],
    grads: PyTree[ArrayLike],
    states: Sequence[PyTree[Array]],
) -> tuple[PyTree[Array], tuple[PyTree[Array], ...]]:
    """The updates of all tensors and their next states, each state as a tree.

    Args:
        advance: of one tensor's gradient and states, one argument each, its update and its next
            states.
        grads: what has no coordinates is its own update.
        states: trees like `grads`.
    """
    leaves, structure = jax.tree.flatten(as_arrays(grads))
    before = [structure.flatten_up_to(state) for state in states]
    after = [
        advance(leaf, *own) if leaf.size else (leaf, *own)
        for leaf, *own in zip(leaves, *before, strict=True)
    ]
    updates, *following = (
        structure.unflatten([one[part] for one in after]) for part in range(len(states) + 1)
    )
    return updates, tuple(following)


class LSTMOptimizer(OptimizerModule):
    """A two-layer LSTM that sees one coordinate's gradient and gives that coordinate's update.

    Every scalar parameter has its own state, all share the weights. The state starts at zero, the
    weights uniform in ±1/sqrt(H). Packed, all parameters are one vector of N coordinates.

    Source: Andrychowicz et al. (2016); paper A, section 2.1. The factor `update_scale` is not
    in the paper's text but in its program. DeepMind's own program, which the published `l2o-dm`
    optimizers follow, is `update_scale=0.01, exponent=5, log_offset=1.19e-7`: its second input,
    clip(e^p g, −1, 1), is the same function.

    Example:
        >>> optimizer = LSTMOptimizer.create(jax.random.key(0))
        >>> params = {"w": jnp.ones((3, 2)), "b": jnp.zeros(2)}
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> updates["w"].shape, state.hidden[0]["w"].shape
        ((3, 2), (20, 3, 2))
        >>> optimizer.init_packed(params).state.hidden[0].shape
        (20, 8)
    """

    coordinate_axis: ClassVar[int | None] = -1
    layers: tuple[LSTMLayer, ...]
    readout: Float[Array, " hidden"]
    readout_bias: Float[Array, ""]
    update_scale: float = eqx.field(static=True)
    exponent: float = eqx.field(static=True)
    log_offset: float = eqx.field(static=True)

    @classmethod
    def create(
        cls,
        key: PRNGKeyArray,
        *,
        hidden_size: int = 20,
        num_layers: int = 2,
        update_scale: float | int = 0.1,
        exponent: float | int = 10.0,
        log_offset: float | int = 0.0,
    ) -> "LSTMOptimizer":
        """Draws an untrained optimizer.

        Args:
            key: PRNG key.
            hidden_size: units H of each cell.
            num_layers: stacked cells.
            update_scale: factor on the readout.
            exponent: p of the gradient preprocessing.
            log_offset: added inside its logarithm; the program released with paper A uses 1e-8.

        Raises:
            InvalidValueError: a size below 1, or a scale or exponent that is not positive.
        """
        check_count("hidden_size", hidden_size, minimum=1)
        check_count("num_layers", num_layers, minimum=1, maximum=64)
        check_number("update_scale", update_scale, minimum=0, exclusive_minimum=True)
        check_number("exponent", exponent, minimum=0, exclusive_minimum=True)
        check_number("log_offset", log_offset, minimum=0)
        key = as_key(key)
        return cls(
            draw_layers(key, _NUM_INPUTS, hidden_size, num_layers),
            draw(key, 2 * num_layers, hidden_size, hidden_size),
            draw(key, 2 * num_layers + 1, hidden_size),
            float(update_scale),
            float(exponent),
            float(log_offset),
        )

    def init(self, params: PyTree[ArrayLike]) -> LSTMState:
        """Zero states for every coordinate of `params`."""
        dtype, size = self.readout.dtype, self.readout.shape
        hidden, cell = (
            tuple(zero_states(params, dtype, size) for _ in self.layers) for _ in range(2)
        )
        return LSTMState(hidden, cell)

    def init_packed(self, params: PyTree[ArrayLike]) -> Packed:
        """Zero states for all coordinates as one vector."""
        return Packed(self.init(as_one_vector(params)))

    def update(
        self,
        grads: PyTree[ArrayLike],
        state: LSTMState | Packed,
        params: PyTree | None = None,
        **extra,
    ) -> tuple[PyTree[Array], LSTMState | Packed]:
        """The updates (in the gradients' types) and the next state."""
        if isinstance(state, Packed):
            return update_as_one_vector(self, grads, state)
        updates, states = tensor_by_tensor(self._advance, grads, (*state.hidden, *state.cell))
        count = len(self.layers)
        return updates, LSTMState(states[:count], states[count:])

    def _advance(
        self,
        gradient: Float[Array, "*shape"],
        *states: Float[Array, "hidden ..."],
    ) -> tuple[Array, ...]:
        """One tensor's update, then the hidden and the cell states, layer by layer."""
        count = len(self.layers)
        seen = log_and_sign(gradient.astype(self.readout.dtype), self.exponent, self.log_offset)
        hidden, cell = run_layers(self.layers, seen, states[:count], states[count:])
        output = jnp.tensordot(self.readout, hidden[-1], axes=1) + self.readout_bias
        return ((self.update_scale * output).astype(gradient.dtype), *hidden, *cell)

    @property
    def registered_name(self) -> str:
        """The name in the registry, "lstm"."""
        return "lstm"

    def configuration(self) -> dict[str, Any]:
        """The arguments of `create`."""
        return {
            "hidden_size": self.readout.shape[0],
            "num_layers": len(self.layers),
            "update_scale": self.update_scale,
            "exponent": self.exponent,
            "log_offset": self.log_offset,
        }
