"""The small network that maps a coordinate's 39 inputs to a few outputs, fused into one loop."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from optoscope._core.errors import InvalidValueError
from optoscope.optimizers._accumulators import Accumulators, Decays, advance, start
from optoscope.optimizers._inputs import (
    NUM_INPUTS,
    NUM_NORMALIZED,
    Feature,
    Inputs,
    measure,
    time_features,
)

HIDDEN = 4


class Coordinates(eqx.Module):
    """What an update rule may use, for all coordinates of one tensor at once.

    Args:
        outputs: the network's, one array per head.
        gradient: g.
        momenta: m_k, updated.
        preconditioner: (v + 1e-6)^(-1/2).
    """

    outputs: tuple[Float[Array, "*shape"], ...]
    gradient: Float[Array, "*shape"]
    momenta: tuple[Float[Array, "*shape"], ...]
    preconditioner: Float[Array, "*shape"]


class SmallState(eqx.Module):
    """The averages of every tensor, in the order of the parameters' leaves, and the step count."""

    accumulators: tuple[Accumulators, ...]
    step: Int[Array, ""]


class SmallNetwork(eqx.Module):
    """A 39-4-4-H perceptron with ReLU and the decays of the averages behind its inputs.

    It sees one coordinate at a time; all coordinates share it. Weights start truncated normal
    on ±2 standard deviations times 1/sqrt(fan_in), without correcting the truncation's variance;
    biases and decays start at zero. Weights are its matrices, biases its vectors: a
    meta-optimizer that decays the weights alone decays the leaves of rank 2.

    Source: Metz et al. (2022), `small_fc_lopt`.
    """

    decays: Decays
    input_weights: Float[Array, "inputs hidden"]
    input_bias: Float[Array, " hidden"]
    hidden_weights: Float[Array, "hidden hidden"]
    hidden_bias: Float[Array, " hidden"]
    output_weights: Float[Array, "hidden heads"]
    output_bias: Float[Array, " heads"]

    @classmethod
    def create(cls, key: PRNGKeyArray, num_heads: int) -> "SmallNetwork":
        """Draws an untrained network.

        Args:
            key: PRNG key.
            num_heads: outputs H.
        """

        def weights(index: int, fan_in: int, fan_out: int) -> Float[Array, "fan_in fan_out"]:
            draws = jax.random.truncated_normal(
                jax.random.fold_in(key, index), -2.0, 2.0, (fan_in, fan_out)
            )
            return draws * fan_in**-0.5

        return cls(
            Decays.create(),
            weights(0, NUM_INPUTS, HIDDEN),
            jnp.zeros(HIDDEN),
            weights(1, HIDDEN, HIDDEN),
            jnp.zeros(HIDDEN),
            weights(2, HIDDEN, num_heads),
            jnp.zeros(num_heads),
        )

    def init(self, params: PyTree[Array]) -> SmallState:
        """Zero averages for every tensor, in the network's own type."""
        dtype = self.input_weights.dtype
        return SmallState(
            tuple(start(_shape(leaf), dtype) for leaf in jax.tree.leaves(params)),
            jnp.zeros((), jnp.int32),
        )

    def update(
        self,
        grads: PyTree[Array],
        state: SmallState,
        params: PyTree[Array] | None,
        rule: Callable[[Coordinates], Float[Array, "*shape"]],
    ) -> tuple[PyTree[Array], SmallState]:
        """The updates that `rule` makes of every coordinate's outputs, and the next state.

        Args:
            grads: one gradient a parameter.
            state: as `init` or the last step left it.
            params: the parameters before the update; they are an input.
            rule: element-wise; from a tensor's coordinates to what is added to them.

        Raises:
            InvalidValueError: no parameters were given.
        """
        if params is None:
            raise InvalidValueError(
                "this optimizer's update got no parameters, which are one of its inputs; "
                "write update(grads, state, params)."
            )
        leaves, structure = jax.tree.flatten(grads)
        # Tied to the step, the weights cannot be moved out of a loop over steps: spread over a
        # tensor's shape there, each would be read from memory.
        network, step = jax.lax.optimization_barrier((self, state.step))
        bias = network.input_bias + (
            time_features(step, network.input_bias.dtype) @ network.input_weights[NUM_NORMALIZED:]
        )
        updates, accumulators = [], []
        for gradient, parameter, before in zip(
            leaves, jax.tree.leaves(params), state.accumulators, strict=True
        ):
            if gradient.size == 0:
                updates.append(gradient)
                accumulators.append(before)
                continue
            update, after = network._update_tensor(gradient, parameter, before, bias, rule)
            updates.append(update.reshape(gradient.shape).astype(gradient.dtype))
            accumulators.append(after)
        return (
            jax.tree.unflatten(structure, updates),
            SmallState(tuple(accumulators), state.step + 1),
        )

    def _update_tensor(
        self,
        gradient: Array,
        parameter: Array,
        before: Accumulators,
        bias: Float[Array, " hidden"],
        rule: Callable[[Coordinates], Array],
    ) -> tuple[Array, Accumulators]:
        dtype, shape = self.input_weights.dtype, _shape(gradient)
        gradient = gradient.astype(dtype).reshape(shape)
        parameter = parameter.astype(dtype).reshape(shape)
        after = advance(self.decays, before, gradient)
        # The averages are written once, in place; what follows reads them.
        after, gradient, parameter = jax.lax.optimization_barrier((after, gradient, parameter))
        inputs = measure(gradient, parameter, after)
        outputs = self._outputs(inputs, bias)
        update = rule(Coordinates(outputs, gradient, after.momenta, inputs.preconditioner))
        return update, after

    def _outputs(self, inputs: Inputs, bias: Float[Array, " hidden"]) -> tuple[Array, ...]:
        """All coordinates' outputs, head by head."""
        hidden = []
        for unit in range(HIDDEN):
            column = self.input_weights[:, unit]
            rows = _weighted_sum(inputs.rows, column, bias[unit])
            columns = _weighted_sum(inputs.columns, column, jnp.zeros_like(bias[unit]))
            # Vectors before they are spread, so that a coordinate costs one addition for both.
            rows, columns = jax.lax.optimization_barrier((rows, columns))
            hidden.append(_relu(_weighted_sum(inputs.whole, column, rows + columns)))
        hidden = [
            _relu(_affine(hidden, self.hidden_weights[:, unit], self.hidden_bias[unit]))
            for unit in range(HIDDEN)
        ]
        return tuple(
            _affine(hidden, self.output_weights[:, head], self.output_bias[head])
            for head in range(self.output_bias.shape[0])
        )


def _weighted_sum(
    features: Sequence[Feature], weights: Float[Array, " inputs"], offset: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Feature by feature, each normalised through its weight."""
    total = offset
    for feature in features:
        weight = sum(weights[index] for index in feature.indices)
        total = total + feature.values * (weight * feature.scale)
    return total


def _affine(
    values: Sequence[Array], weights: Float[Array, " values"], offset: Float[Array, ""]
) -> Array:
    total = offset
    for index, value in enumerate(values):
        total = total + value * weights[index]
    return total


def _relu(values: Float[Array, "..."]) -> Float[Array, "..."]:
    # One instruction a vector; jax.nn.relu's maximum takes three, for NaN's sake, which this
    # keeps too.
    return jnp.where(values < 0, jnp.zeros_like(values), values)


def _shape(leaf: Array) -> tuple[int, ...]:
    """A scalar is treated as a vector of one coordinate."""
    return jnp.shape(leaf) or (1,)
