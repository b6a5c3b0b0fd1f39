"""The component-wise recurrent optimizer of paper B."""

import math
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from optoscope._core.errors import InvalidValueError, UnknownNameError, check_count, check_number
from optoscope._core.roots import safe_root
from optoscope.optimizers._accumulators import capped_square
from optoscope.optimizers._base import OptimizerModule, Packed, as_arrays
from optoscope.optimizers._cells import CELLS, Cell
from optoscope.optimizers._one_vector import as_one_vector, update_as_one_vector
from optoscope.optimizers._placement import zeros_beside

_NUM_INPUTS: dict[str, int] = {"raw": 1, "scaled": 1, "log": 2, "normalized": 3}
_OFFSET = 1e-8


class RNNState(NamedTuple):
    """What every coordinate keeps, as trees of arrays.

    `coordinates` has an array (*shape, state) for each parameter. Where inputs are normalized,
    `averages` has the running means of the gradient and of its square, (*shape, 2); elsewhere it
    is None. A parameter without coordinates has None in each tree.
    """

    coordinates: PyTree[Float[Array, "... state"]]
    averages: PyTree[Float[Array, "... 2"]] | None = None


class RNNOptimizer(OptimizerModule):
    """A recurrent network that sees one coordinate's gradient and gives that coordinate's update.

    Every scalar parameter has its own state, all share the weights. Small, and linear in its
    readout, so that `analysis.dynamics` can analyze it; for large problems see
    `LSTMOptimizer`. The initial state is a parameter that is trained with the others. The
    readout starts at zero: an untrained optimizer does nothing.

    Math: h⁺ = F(h, x(g)), update = output_scale · (w·h⁺ + c), where F is one of `CELLS` and the
    input x is g ("raw"), s g ("scaled"), (log(1 + s |g|), sign g) ("log"), which has a jump at
    g = 0, where the derivative that JAX gives it is 0, or (m/√v, g/√v, log(1 + s √v))
    ("normalized"), with s the input scale and m and v running means of g and g², one decay for
    both, which start at zero and are not corrected for it.

    Source: paper B, equations 1 and 2, appendix D.2 (a GRU of 32 or 64 units; the paper does not
    say how its input was scaled). The normalized inputs are after RNNProp (Lv et al., 2017).

    Example:
        >>> import jax
        >>> optimizer = RNNOptimizer.create(jax.random.key(0))
        >>> params = {"w": jnp.ones((3, 2)), "b": jnp.zeros(2)}
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> updates["b"].tolist(), state.coordinates["w"].shape
        ([0.0, 0.0], (3, 2, 32))
        >>> optimizer.init_packed(params).state.coordinates.shape
        (8, 32)
    """

    coordinate_axis: ClassVar[int | None] = 0
    cell: Cell
    initial_state: Float[Array, " state"]
    readout: Float[Array, " hidden"]
    readout_bias: Float[Array, ""]
    cell_name: str = eqx.field(static=True)
    output_scale: float = eqx.field(static=True)
    input_scaling: str = eqx.field(static=True)
    input_scale: float = eqx.field(static=True)
    decay: float = eqx.field(static=True, default=0.95)

    @classmethod
    def create(
        cls,
        key: PRNGKeyArray,
        *,
        cell: str = "gru",
        hidden_size: int = 32,
        output_scale: float | int = 1.0,
        input_scaling: str = "raw",
        input_scale: float | int = 1.0,
        decay: float | int = 0.95,
    ) -> "RNNOptimizer":
        """Draws an untrained optimizer.

        Args:
            key: PRNG key.
            cell: "gru", "vanilla" (a plain tanh network) or "lstm".
            hidden_size: units H.
            output_scale: factor on the readout.
            input_scaling: what the network sees: "raw", "scaled", "log" or "normalized".
            input_scale: the factor s on the gradient, for all but "raw".
            decay: of the running means, from 0 to 1, for "normalized".

        Raises:
            UnknownNameError: an unknown cell or input scaling.
            InvalidValueError: a size below 1, a scale that is not positive, such a decay, or an
                input scale or a decay that `input_scaling` does not use.
        """
        if cell not in CELLS:
            raise UnknownNameError("cell", cell, CELLS)
        if input_scaling not in _NUM_INPUTS:
            raise UnknownNameError("input scaling", input_scaling, _NUM_INPUTS)
        check_count("hidden_size", hidden_size, minimum=1)
        check_number("output_scale", output_scale, minimum=0, exclusive_minimum=True)
        check_number("input_scale", input_scale, minimum=0, exclusive_minimum=True)
        check_number("decay", decay, minimum=0, maximum=0.999999)
        if input_scale != 1 and input_scaling == "raw":
            raise InvalidValueError(
                f"input_scale is {input_scale!r}, but input_scaling={input_scaling!r} does not "
                'use it; write input_scaling="scaled", "log" or "normalized".'
            )
        if decay != 0.95 and input_scaling != "normalized":
            raise InvalidValueError(
                f"decay is {decay!r}, but input_scaling={input_scaling!r} does not use it; write "
                'input_scaling="normalized".'
            )
        made = CELLS[cell].create(key, _NUM_INPUTS[input_scaling], hidden_size)
        return cls(
            made,
            jnp.zeros(made.state_size),
            jnp.zeros(hidden_size),
            jnp.zeros(()),
            cell,
            float(output_scale),
            input_scaling,
            float(input_scale),
            float(decay),
        )

    def init(self, params: PyTree[ArrayLike]) -> RNNState:
        """The trained initial state, once for every coordinate of `params`, and averages of 0."""
        dtype, size = self.initial_state.dtype, self.initial_state.shape
        params = as_arrays(params)

        def start(param: Array) -> Array | None:
            if math.prod(param.shape) == 0:
                return None
            return zeros_beside(param, dtype, after=size) + self.initial_state

        def averages(param: Array) -> Array | None:
            return zeros_beside(param, dtype, after=(2,)) if math.prod(param.shape) else None

        normalized = self.input_scaling == "normalized"
        return RNNState(
            jax.tree.map(start, params), jax.tree.map(averages, params) if normalized else None
        )

    def init_packed(self, params: PyTree[ArrayLike]) -> Packed:
        """The same for all coordinates as one vector."""
        return Packed(self.init(as_one_vector(params)))

    def update(
        self,
        grads: PyTree[ArrayLike],
        state: RNNState | Packed,
        params: PyTree | None = None,
        **extra,
    ) -> tuple[PyTree[Array], RNNState | Packed]:
        """The updates (in the gradients' types) and the next state."""
        if isinstance(state, Packed):
            return update_as_one_vector(self, grads, state)

        grads, averages = as_arrays(grads), state.averages
        if averages is not None:
            averages = jax.tree.map(self._averaged, grads, averages)

        def advance(
            gradient: Array, before: Array | None, means: Array | None = None
        ) -> Array | None:
            if before is None:
                return None
            return self.cell(self._inputs(gradient.astype(self.readout.dtype), means), before)

        def read(gradient: Array, after: Array | None) -> Array:
            if after is None:
                return gradient
            return self._output(after).astype(gradient.dtype)

        known = (state.coordinates,) if averages is None else (state.coordinates, averages)
        after = jax.tree.map(advance, grads, *known)
        return jax.tree.map(read, grads, after), RNNState(after, averages)

    def _averaged(self, gradient: Array, averages: Array | None) -> Array | None:
        """The running means of a tensor's gradient and of its square after a step."""
        if averages is None:
            return None
        g = gradient.astype(averages.dtype)
        return averages + (1 - self.decay) * (jnp.stack([g, capped_square(g)], -1) - averages)

    def _inputs(
        self,
        grads: Float[Array, "*coordinates"],
        averages: Float[Array, "*coordinates 2"] | None,
    ) -> Float[Array, "*coordinates inputs"]:
        if averages is not None:
            root = safe_root(averages[..., 1])
            scaled = [averages[..., 0] / (root + _OFFSET), grads / (root + _OFFSET)]
            return jnp.stack([*scaled, jnp.log1p(self.input_scale * root)], axis=-1)
        scaled = self.input_scale * grads
        if self.input_scaling == "log":
            return jnp.stack([jnp.log1p(jnp.abs(scaled)), jnp.sign(grads)], axis=-1)
        return scaled[..., None]

    def _output(self, state: Float[Array, "*coordinates state"]) -> Float[Array, "*coordinates"]:
        hidden = state[..., : self.cell.hidden_size]
        return self.output_scale * (hidden @ self.readout + self.readout_bias)

    @property
    def registered_name(self) -> str:
        """The name in the registry, "rnn"."""
        return "rnn"

    def configuration(self) -> dict[str, Any]:
        """The arguments of `create`."""
        return {
            "cell": self.cell_name,
            "hidden_size": self.cell.hidden_size,
            "output_scale": self.output_scale,
            "input_scaling": self.input_scaling,
            "input_scale": self.input_scale,
            "decay": self.decay,
        }
