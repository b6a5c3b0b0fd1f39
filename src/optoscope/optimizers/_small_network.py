"""The small network that maps a coordinate's 39 inputs to a few outputs, fused into one loop."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from optoscope._core.errors import InvalidValueError
from optoscope._core.input_layouts import MOMENTUM_DECAYS, SMALL_FC, InputLayout
from optoscope._core.keys import as_key
from optoscope.optimizers._accumulators import (
    Accumulators,
    Decays,
    advance,
    start,
    start_beside,
)
from optoscope.optimizers._base import Packed, as_arrays, params_of
from optoscope.optimizers._blocks import Block, blocks
from optoscope.optimizers._inputs import Inputs, measure, time_features
from optoscope.optimizers._layer_sums import (
    affine,
    along,
    relu,
    repeated,
    untrained_weights,
    weighted_sum,
)

# Up to so many hidden units every product is an operation of one fused loop over coordinates; of
# more, the compiler is given matrix products and the units' values are written to memory.
_FUSED = 8


class Coordinates(eqx.Module):
    """The inputs of an update rule, for all coordinates of one tensor at once.

    Args:
        outputs: the network's, scaled; one array per head.
        gradient: g.
        momenta: m_k, updated.
        preconditioner: (v + ε)^(-1/2).
    """

    outputs: tuple[Float[Array, "*shape"], ...]
    gradient: Float[Array, "*shape"]
    momenta: tuple[Float[Array, "*shape"], ...]
    preconditioner: Float[Array, "*shape"]


class SmallState(NamedTuple):
    """The averages of `Accumulators`, each as a tree like the parameters, and the step count.

    A parameter without coordinates has None in each tree.
    """

    momenta: tuple[PyTree[Array], ...]
    second_moment: PyTree[Array]
    rows: PyTree[Array]
    columns: PyTree[Array]
    step: Int[Array, ""]


class SmallBlocks(NamedTuple):
    """The averages of every block of tensors, see `Block`, and the step count."""

    accumulators: tuple[Accumulators, ...]
    step: Int[Array, ""]


_NOTHING = Accumulators(tuple(None for _ in MOMENTUM_DECAYS), None, None, None)  # type: ignore


class SmallNetwork(eqx.Module):
    """A perceptron with two hidden layers, ReLU, and the decays of the averages behind its inputs.

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
    layout: InputLayout = eqx.field(static=True, default=SMALL_FC)

    @classmethod
    def create(
        cls,
        key: PRNGKeyArray,
        num_heads: int,
        *,
        hidden_size: int = 4,
        layout: InputLayout = SMALL_FC,
        decays: Decays | None = None,
    ) -> "SmallNetwork":
        """Draws an untrained network.

        Args:
            key: PRNG key.
            num_heads: outputs H.
            hidden_size: units of each hidden layer; without any it gives its output bias alone.
            layout: which inputs it has.
            decays: of the averages; meta-parameters at their usual start if not given.
        """
        shapes = (
            (layout.num_inputs, hidden_size),
            (hidden_size, hidden_size),
            (hidden_size, num_heads),
        )
        first, second, third = untrained_weights(as_key(key), shapes)
        return cls(
            Decays.create() if decays is None else decays,
            first,
            jnp.zeros(hidden_size),
            second,
            jnp.zeros(hidden_size),
            third,
            jnp.zeros(num_heads),
            layout,
        )

    def init(self, params: PyTree[ArrayLike]) -> SmallState:
        """Zero averages for every tensor, in the network's own type."""
        leaves, structure = jax.tree.flatten(as_arrays(params))
        dtype = self.input_weights.dtype
        averages = [
            start_beside(leaf, dtype) if math.prod(jnp.shape(leaf)) else _NOTHING for leaf in leaves
        ]
        return _as_trees(structure, averages, jnp.zeros((), jnp.int32))

    def init_packed(self, params: PyTree[ArrayLike]) -> Packed:
        """The same with small tensors side by side."""

        def averages(block: Block) -> Accumulators:
            one = start(block.shape, self.input_weights.dtype)
            if not block.stacked:
                return one
            count = len(block.shapes)
            return jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), one)

        accumulators = tuple(map(averages, _blocks(jax.tree.leaves(as_arrays(params)))))
        return Packed(SmallBlocks(accumulators, jnp.zeros((), jnp.int32)))

    def update(
        self,
        grads: PyTree[ArrayLike],
        state: SmallState | Packed,
        params: PyTree | None,
        rule: Callable[[Coordinates], Float[Array, "*shape"]],
        scales: Sequence[float],
        time_unit: float = 1.0,
    ) -> tuple[PyTree[Array], SmallState | Packed]:
        """The updates that `rule` makes of every coordinate's outputs, and the next state.

        Args:
            grads: one gradient per parameter.
            state: as `init` or the last step left it.
            params: the parameters before the update; they are an input.
            rule: element-wise; from a tensor's coordinates to what is added to them.
            scales: what each head's output is multiplied by before the rule sees it.
            time_unit: how many steps the functions of time take for one.

        Raises:
            InvalidValueError: no parameters were given, or those of another tree.
        """
        if params is None and jax.tree.leaves(grads):
            raise InvalidValueError(
                "this optimizer's update got no parameters, which are one of its inputs; "
                "write update(grads, state, params)."
            )
        leaves, structure = jax.tree.flatten(as_arrays(grads))
        parameters = jax.tree.leaves(params_of(grads, params))
        before = state.state if isinstance(state, Packed) else state
        # Tied to the step, the weights cannot be moved out of a loop over steps: spread over a
        # tensor's shape there, each would be read from memory.
        network, step = jax.lax.optimization_barrier((self._scaled(scales), before.step))
        bias = network._first_bias(step, time_unit)
        if isinstance(before, SmallBlocks):
            updates, averages = network._update_blocks(leaves, parameters, before, bias, rule)
            after = Packed(SmallBlocks(averages, before.step + 1))
        else:
            averages = _by_leaf(structure, before)
            updates, averages = network._update_leaves(leaves, parameters, averages, bias, rule)
            after = _as_trees(structure, averages, before.step + 1)
        updates = [update.astype(leaf.dtype) for update, leaf in zip(updates, leaves, strict=True)]
        return jax.tree.unflatten(structure, updates), after

    def _first_bias(self, step: Int[Array, ""], time_unit: float) -> Float[Array, " hidden"]:
        """The first layer's bias with what the functions of time add to it."""
        if not self.layout.with_time:
            return self.input_bias
        return self.input_bias + jnp.matmul(
            time_features(step, self.input_bias.dtype, unit=time_unit),
            self.input_weights[self.layout.num_normalized :],
            precision=jax.lax.Precision.HIGHEST,
        )

    def _scaled(self, scales: Sequence[float]) -> "SmallNetwork":
        """Scales the outputs by the weights: one product per weight, not one per coordinate."""
        heads = jnp.asarray(scales, self.output_bias.dtype)
        return eqx.tree_at(
            lambda network: (network.output_weights, network.output_bias),
            self,
            (self.output_weights * heads, self.output_bias * heads),
        )

    def _update_leaves(
        self,
        gradients: Sequence[Array],
        parameters: Sequence[Array],
        before: Sequence[Accumulators],
        bias: Float[Array, " hidden"],
        rule: Callable[[Coordinates], Array],
    ) -> tuple[list[Array], list[Accumulators]]:
        """Tensor by tensor, so that each may be split over devices in its own way."""
        dtype, whole = self.input_weights.dtype, jax.device_count() == 1
        # A tensor without coordinates is its own update.
        updates, after = list(gradients), list(before)
        for place, gradient in enumerate(gradients):
            if gradient.size == 0:
                continue
            updates[place], after[place] = self._update_tensor(
                gradient.astype(dtype),
                parameters[place].astype(dtype),
                before[place],
                None,
                bias,
                rule,
                whole,
                _last_two(range(gradient.ndim)),
            )
        return updates, after

    def _update_blocks(
        self,
        gradients: Sequence[Array],
        parameters: Sequence[Array],
        before: SmallBlocks,
        bias: Float[Array, " hidden"],
        rule: Callable[[Coordinates], Array],
    ) -> tuple[list[Array], tuple[Accumulators, ...]]:
        updates, after = list(gradients), []
        for block, averages in zip(_blocks(gradients), before.accumulators, strict=True):
            update, averages = self._update_block(
                block, gradients, parameters, averages, bias, rule
            )
            for place, tensor in zip(block.places, block.unstack(update), strict=True):
                updates[place] = tensor.reshape(gradients[place].shape)
            after.append(averages)
        return updates, tuple(after)

    def _update_block(
        self,
        block: Block,
        gradients: Sequence[Array],
        parameters: Sequence[Array],
        before: Accumulators,
        bias: Float[Array, " hidden"],
        rule: Callable[[Coordinates], Array],
    ) -> tuple[Array, Accumulators]:
        dtype = self.input_weights.dtype
        gradient, parameter = block.stack(gradients, dtype), block.stack(parameters, dtype)

        def update(gradient: Array, parameter: Array, before: Accumulators, real: Any) -> Any:
            return self._update_tensor(
                gradient, parameter, before, real, bias, rule, True, _last_two(block.axes)
            )

        real = block.real()
        if block.stacked:
            update = jax.vmap(update, (0, 0, 0, None if real is None else 0))
        return update(gradient, parameter, before, None if real is None else jnp.asarray(real))

    def _update_tensor(
        self,
        gradient: Array,
        parameter: Array,
        before: Accumulators,
        real: Bool[Array, "*shape"] | None,
        bias: Float[Array, " hidden"],
        rule: Callable[[Coordinates], Array],
        whole: bool,
        last_two: tuple[int, ...],
    ) -> tuple[Array, Accumulators]:
        if whole:
            # A transposed product is copied into the averages' order once, instead of being read
            # across its rows by every loop.
            gradient = with_layout_constraint(gradient, Layout(tuple(range(gradient.ndim))))
        after = advance(self.decays, before, gradient)
        # The averages are written once, in place; what follows reads them.
        after, gradient, parameter = jax.lax.optimization_barrier((after, gradient, parameter))
        # Of up to two axes the last two are all there are.
        over = last_two if self.layout.over_last_two_axes and gradient.ndim > 2 else None
        inputs = measure(
            gradient, parameter, after, real, layout=self.layout, over=over, whole=whole
        )
        if self.hidden_bias.size:
            outputs = self._outputs(inputs, bias)
        else:
            outputs = tuple(jnp.broadcast_to(one, gradient.shape) for one in self.output_bias)
        update = rule(Coordinates(outputs, gradient, after.momenta, inputs.preconditioner))
        return update, after

    def _outputs(self, inputs: Inputs, bias: Float[Array, " hidden"]) -> tuple[Array, ...]:
        """All coordinates' outputs, head by head."""
        weights = self.input_weights[: self.layout.num_normalized]
        weights = weights.reshape(*weights.shape, *(1,) * (inputs.scales.ndim - 1))
        weights = weights * inputs.scales[:, None]
        rows = repeated(inputs.rows, weights, self.layout.row_indices) + along(bias, inputs.rows)
        columns = repeated(inputs.columns, weights, self.layout.column_indices)
        num_units, num_heads = self.output_weights.shape
        if num_units > _FUSED:
            return self._wide_outputs(inputs, weights, rows, columns)
        hidden = [
            relu(weighted_sum(inputs.whole, weights[:, unit], rows[unit] + columns[unit]))
            for unit in range(num_units)
        ]
        hidden = [
            relu(affine(hidden, self.hidden_weights[:, unit], self.hidden_bias[unit]))
            for unit in range(num_units)
        ]
        return tuple(
            affine(hidden, self.output_weights[:, head], self.output_bias[head])
            for head in range(num_heads)
        )

    def _wide_outputs(
        self,
        inputs: Inputs,
        weights: Float[Array, "inputs hidden ..."],
        rows: Float[Array, "hidden ..."],
        columns: Float[Array, "hidden ..."],
    ) -> tuple[Array, ...]:
        """The same by matrix products, with all units' values in memory."""

        def unit(weights: Array, rows: Array, columns: Array) -> Array:
            return weighted_sum(inputs.whole, weights, rows + columns)

        def layer(weights: Array, bias: Array, values: Array) -> Array:
            product = jnp.tensordot(weights.T, values, axes=1, precision=jax.lax.Precision.HIGHEST)
            return product + along(bias, product)

        hidden = relu(jax.vmap(unit, (1, 0, 0))(weights, rows, columns))
        hidden = relu(layer(self.hidden_weights, self.hidden_bias, hidden))
        return tuple(layer(self.output_weights, self.output_bias, hidden))


def _last_two(axes: Sequence[int]) -> tuple[int, ...]:
    """Where a tensor's last two axes are, if its axes are taken in this order."""
    return tuple(place for place, axis in enumerate(axes) if axis >= len(axes) - 2)


def _as_trees(structure: Any, averages: Sequence[Accumulators], step: Int[Array, ""]) -> SmallState:
    """The averages of all tensors, each average as one tree."""
    momenta = tuple(
        structure.unflatten([one.momenta[k] for one in averages])
        for k in range(len(MOMENTUM_DECAYS))
    )
    second_moment, rows, columns = (
        structure.unflatten([one[part] for one in averages]) for part in range(1, 4)
    )
    return SmallState(momenta, second_moment, rows, columns, step)


def _by_leaf(structure: Any, state: SmallState) -> list[Accumulators]:
    """The averages of `_as_trees`, tensor by tensor."""
    momenta = zip(*map(structure.flatten_up_to, state.momenta), strict=True)
    rest = map(structure.flatten_up_to, (state.second_moment, state.rows, state.columns))
    return [Accumulators(*parts) for parts in zip(momenta, *rest, strict=True)]


def _blocks(leaves: Sequence[Array]) -> tuple[Block, ...]:
    return blocks([jnp.shape(leaf) for leaf in leaves])
