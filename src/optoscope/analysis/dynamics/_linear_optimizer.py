"""Linear optimizers that run on tasks: one mode, several, or a whole linearized map."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from optoscope._core.errors import InvalidValueError, check_count
from optoscope.analysis.dynamics._linearize import Linearization
from optoscope.analysis.dynamics._modes import Modes
from optoscope.optimizers import OptimizerModule


class LinearOptimizer(OptimizerModule):
    """v ← A v + b (g − g*) + d, update = c·v + e (g − g*) + f, each coordinate for itself.

    Args:
        transition: A.
        inputs: b.
        offset: d.
        readout: c.
        direct: e.
        constant: f.
        gradient: g*.
        start: v at the first step.
    """

    transition: Float[Array, "size size"]
    inputs: Float[Array, " size"]
    offset: Float[Array, " size"]
    readout: Float[Array, " size"]
    direct: Float[Array, ""]
    constant: Float[Array, ""]
    gradient: Float[Array, ""]
    start: Float[Array, " size"]

    def init(self, params: PyTree[Array]) -> PyTree[Array]:
        """The starting v of every coordinate, stacked on a leading axis."""

        def one(leaf: Array) -> Array:
            column = self.start.reshape((-1,) + (1,) * leaf.ndim)
            return jnp.broadcast_to(column, (self.start.shape[0], *leaf.shape)).astype(leaf.dtype)

        return jax.tree.map(one, params)

    def update(
        self,
        grads: PyTree[Array],
        state: PyTree[Array],
        params: PyTree[Array] | None = None,
        **extra,
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        """The updates and the next velocities."""

        def advance(grad: Array, velocity: Array) -> Array:
            column = (-1,) + (1,) * grad.ndim
            new = jnp.tensordot(self.transition, velocity, 1) + self.offset.reshape(column)
            new = new + self.inputs.reshape(column) * (grad - self.gradient)
            return new.astype(velocity.dtype)

        def read(grad: Array, velocity: Array) -> Array:
            update = jnp.tensordot(self.readout, velocity, 1) + self.constant
            return (update + self.direct * (grad - self.gradient)).astype(grad.dtype)

        velocities = jax.tree.map(advance, grads, state)
        return jax.tree.map(read, grads, velocities), velocities


def aggregated_momentum(modes: Modes, *, keep: int | None = None) -> LinearOptimizer:
    """The modes with the largest shares running alone, as an optimizer.

    v_j ← β_j v_j + (g − g*), update = −Σ_j α_j v_j − direct·(g − g*) + the update at g*. A
    conjugate pair counts as one and runs in real arithmetic.

    Source: paper B, equation 6, with α_j as `Modes` defines it; Lucas et al. (2018).

    Args:
        modes: of a linearized optimizer, sorted by share.
        keep: how many to keep; all if not given.

    Raises:
        InvalidValueError: more than there are, fewer than one, or modes of a (nearly) defective
            matrix, whose learning rates cancel.

    Example:
        >>> from optoscope import optimizers
        >>> from optoscope.analysis.dynamics import coordinate_map, linearize
        >>> modes = linearize(coordinate_map(optimizers.momentum(0.5, 0.75)), np.zeros(1)).modes()
        >>> alone = aggregated_momentum(modes, keep=1)
        >>> state = alone.init(jnp.zeros(2))
        >>> for _ in range(2):
        ...     updates, state = alone.update(jnp.ones(2), state)
        >>> updates.tolist()
        [-0.875, -0.875]
    """
    groups = modes.groups
    keep = len(groups) if keep is None else keep
    check_count("keep", keep, minimum=min(1, len(groups)), maximum=len(groups))
    if not modes.well_conditioned:
        raise InvalidValueError(
            f"the eigenvectors have condition number {modes.condition:.1e}: the modes' learning "
            "rates are not determined. Use linearized_optimizer, which needs no eigenvectors."
        )
    size = sum(len(group) for group in groups[:keep])
    transition, inputs, readout = np.zeros((size, size)), np.zeros(size), np.zeros(size)
    place = 0
    for group in groups[:keep]:
        beta, alpha = modes.timescales[group[0]], modes.learning_rates[group[0]]
        inputs[place] = 1.0
        if len(group) == 1:
            transition[place, place], readout[place] = beta.real, -alpha.real
        else:
            pair = slice(place, place + 2)
            transition[pair, pair] = [[beta.real, -beta.imag], [beta.imag, beta.real]]
            # −(α v + its conjugate) for v = v₁ + i v₂.
            readout[pair] = -2 * alpha.real, 2 * alpha.imag
        place += len(group)
    return LinearOptimizer(
        jnp.asarray(transition),
        jnp.asarray(inputs),
        jnp.zeros(size),
        jnp.asarray(readout),
        jnp.asarray(-modes.direct),
        jnp.asarray(modes.update),
        jnp.asarray(modes.gradient),
        jnp.zeros(size),
    )


def linearized_optimizer(
    linearization: Linearization, *, start: Float[np.ndarray, " size"] | None = None
) -> LinearOptimizer:
    """The whole first-order map as an optimizer; exact to second order in (h − h*, g − g*).

    Its state is the distance from h*.

    Args:
        linearization: of an optimizer.
        start: the state h that coordinates start from; h* if not given.

    Raises:
        InvalidValueError: a start of another size.
    """
    state = linearization.state
    start = state if start is None else np.asarray(start, np.float64)
    if start.shape != state.shape:
        raise InvalidValueError(f"start has shape {start.shape}; it must be {state.shape}.")
    # The readout sees the residual through v; the update at h* has it counted already.
    constant = linearization.update - linearization.readout @ linearization.residual
    return LinearOptimizer(
        jnp.asarray(linearization.jacobian),
        jnp.asarray(linearization.input_jacobian),
        jnp.asarray(linearization.residual),
        jnp.asarray(linearization.readout),
        jnp.asarray(linearization.direct),
        jnp.asarray(constant),
        jnp.asarray(linearization.gradient),
        jnp.asarray(start - state),
    )
