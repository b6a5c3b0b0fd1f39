"""One view for every optimizer: the map of one coordinate's state, F(h, g) -> (h', update)."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from optoscope._core.errors import InvalidValueError, check_count, check_number
from optoscope._core.showing import shown
from optoscope.analysis.dynamics._layout import StateLayout
from optoscope.analysis.dynamics._precision import double_precision
from optoscope.optimizers import Optimizer

_LINEAR_TOLERANCE = 1e-9


class ScalarMap(eqx.Module):
    """An optimizer on one scalar parameter, its state as a vector; what programs work with.

    Args:
        optimizer: in float64.
        parameter: the parameter's value, shape ().
        template: the optimizer's state; frozen leaves keep the values they have here.
        moving: for each leaf of the state whether it is part of the vector.
    """

    optimizer: Optimizer
    parameter: Float[Array, ""]
    template: PyTree[Any]
    moving: tuple[bool, ...] = eqx.field(static=True)

    def flatten(self, state: PyTree[Any]) -> Float[Array, " size"]:
        """The moving leaves, one after the other."""
        leaves = zip(jax.tree.leaves(state), self.moving, strict=True)
        parts = [jnp.ravel(leaf).astype(jnp.float64) for leaf, moves in leaves if moves]
        return jnp.concatenate(parts) if parts else jnp.zeros(0, jnp.float64)

    def unflatten(self, vector: Float[Array, " size"]) -> PyTree[Any]:
        """The optimizer's own state."""
        leaves, structure = jax.tree.flatten(self.template)
        start = 0
        for index, (leaf, moves) in enumerate(zip(leaves, self.moving, strict=True)):
            if moves:
                piece = vector[start : start + leaf.size]
                leaves[index] = piece.reshape(leaf.shape).astype(leaf.dtype)
                start += leaf.size
        return jax.tree.unflatten(structure, leaves)

    def step(
        self, state: Float[Array, " size"], gradient: Float[Array, ""]
    ) -> tuple[Float[Array, " size"], Float[Array, ""]]:
        """The next state and the update; to be called in float64."""
        updates, new_state = self.optimizer.update(gradient, self.unflatten(state), self.parameter)
        return self.flatten(new_state), updates.astype(jnp.float64)


@shown
@dataclasses.dataclass(frozen=True)
class LinearReadout:
    """update = weights · h' + direct · g + bias, exactly, at every state and gradient.

    Args:
        weights: on the state after the step.
        direct: on the gradient; zero where the update is a function of the state alone.
        bias: a constant.
    """

    weights: Float[np.ndarray, " size"]
    direct: float
    bias: float


@dataclasses.dataclass(frozen=True)
class CoordinateMap:
    """The map of one coordinate under an optimizer, F(h, g) -> (h', update), in float64.

    Args:
        scalar_map: the map for use inside programs that run in float64.
        initial_state: h₀.
        labels: where in the optimizer's state each entry of h is stored.
        frozen: the leaves of the state that are held at their first value: integer counters, keys
            and whatever is shared by all coordinates.
        readout: the linear readout, or None where the update is not linear in (h', g).
    """

    scalar_map: ScalarMap
    initial_state: Float[np.ndarray, " size"]
    labels: tuple[str, ...]
    frozen: tuple[str, ...]
    readout: LinearReadout | None

    @property
    def size(self) -> int:
        """How many entries the state h has."""
        return len(self.labels)

    def step(
        self, state: Float[np.ndarray, "*batch size"], gradient: Any
    ) -> tuple[Float[np.ndarray, "*all size"], Float[np.ndarray, "*all"]]:
        """The next states and the updates, NumPy arrays in float64.

        Args:
            state: h, with any leading axes.
            gradient: g, a number or an array that broadcasts against those axes.
        """
        state = np.asarray(state, np.float64)
        self.check_states(state)
        batch = np.broadcast_shapes(state.shape[:-1], np.shape(gradient))
        gradients = np.broadcast_to(np.asarray(gradient, np.float64), batch).reshape(-1)
        states = np.broadcast_to(state, (*batch, self.size)).reshape(len(gradients), self.size)
        new, updates = _step_all(self.scalar_map, states, gradients)
        return new.reshape(*batch, self.size), updates.reshape(batch)

    def check_states(self, state: np.ndarray) -> None:
        """Raises InvalidValueError unless the last axis of `state` is h's."""
        if state.ndim < 1 or state.shape[-1] != self.size:
            raise InvalidValueError(
                f"a state of shape {state.shape} was given to a map whose states have "
                f"{self.size} entries; the last axis must be of that length."
            )

    def check_has_state(self, purpose: str) -> None:
        """Raises InvalidValueError where h is empty."""
        if self.size == 0:
            raise InvalidValueError(
                f"this optimizer has no state, so there are no {purpose}; "
                "its update function is all there is to see."
            )


@double_precision
def _step_all(scalar_map: ScalarMap, states: Array, gradients: Array) -> tuple[Array, Array]:
    return jax.vmap(scalar_map.step)(states, gradients)


def _in_float64(tree: PyTree[Any]) -> PyTree[Any]:
    def cast(leaf: Any) -> Any:
        is_array = isinstance(leaf, jax.Array | np.ndarray)
        inexact = is_array and jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.asarray(leaf, jnp.float64) if inexact else leaf

    return jax.tree.map(cast, tree)


def coordinate_map(
    optimizer: Optimizer, *, params: float = 0.0, counters: int | None = None
) -> CoordinateMap:
    """Any component-wise optimizer as the map of one coordinate's state.

    The optimizer is run on one scalar parameter, in float64 whatever the global setting, and
    the floats of its state become a vector h. Use it to look at Optax's optimizers with the
    tools made for learned ones. Optimizers that look at several coordinates at once (clipping by
    the global norm, LAMB) lose that here: the map is what they do to a lone parameter.

    Integer counters are frozen, so a schedule stands still and Adam's bias correction stays that
    of one step; with `counters=100_000` it is gone. State that all coordinates share is frozen
    too. `.frozen` lists both.

    Args:
        optimizer: Optax's or this library's.
        params: the parameter's value; matters where there is weight decay.
        counters: the value at which integer counters are held; their first one if not given.

    Returns:
        The map, its initial state, and its linear readout if it has one (found by fitting the
        updates at random states, where the fit is exact or there is none).

    Raises:
        InvalidValueError: a parameter that is not finite or a negative counter.

    Example:
        >>> from optoscope import optimizers
        >>> momentum = coordinate_map(optimizers.momentum(0.5, 0.75))
        >>> momentum.size, round(float(momentum.readout.weights[0]), 12)
        (1, -0.5)
        >>> state, update = momentum.step(momentum.initial_state, 2.0)
        >>> state.tolist(), float(update)
        ([2.0], -1.0)
    """
    check_number("params", params)
    if counters is not None:
        check_count("counters", counters, minimum=0)
    layout = StateLayout.of(optimizer)
    with jax.enable_x64(True):
        optimizer = _in_float64(optimizer)
        parameter = jnp.asarray(params, jnp.float64)
        state = optimizer.init(parameter)
        with_paths, structure = jax.tree_util.tree_flatten_with_path(state)
        labels, frozen, leaves = [], [], []
        for (path, leaf), moves in zip(with_paths, layout.moving, strict=True):
            name = jax.tree_util.keystr(path).lstrip(".")
            if counters is not None and jnp.issubdtype(leaf.dtype, jnp.integer):
                leaf = jnp.full_like(leaf, counters)
            leaves.append(leaf)
            entries = [name] if leaf.size == 1 else [f"{name}[{i}]" for i in range(leaf.size)]
            if moves:
                labels += entries
            else:
                frozen.append(name)
        template = jax.tree.unflatten(structure, leaves)
        scalar_map = ScalarMap(optimizer, parameter, template, layout.moving)
        initial = np.asarray(scalar_map.flatten(template))
    return CoordinateMap(
        scalar_map, initial, tuple(labels), tuple(frozen), _fit_readout(scalar_map, initial)
    )


def _fit_readout(scalar_map: ScalarMap, initial: np.ndarray) -> LinearReadout | None:
    """The readout that explains the updates at random states and gradients to rounding."""
    size = len(initial)
    generator = np.random.default_rng(0)
    # Spread out: what is linear for small gradients only must not pass for linear.
    shape = (4 * size + 24, 1)
    states = initial + generator.normal(size=(shape[0], size)) * 10 ** generator.uniform(
        -2, 1, shape
    )
    gradients = generator.normal(size=shape[0]) * 10 ** generator.uniform(-4, 1, shape[0])
    states[::2] = np.abs(states[::2])  # second moments live above zero
    new, updates = _step_all(scalar_map, states, gradients)
    usable = np.isfinite(new).all(1) & np.isfinite(updates)
    if usable.sum() < size + 4:
        return None
    new, gradients, updates = new[usable], gradients[usable], updates[usable]
    ones = np.ones_like(gradients)
    without = _exact_fit(np.column_stack([new, ones]), updates)
    # What the state explains is not taken from the gradient: it may be one of h's entries.
    if without is not None:
        return LinearReadout(without[:size], 0.0, float(without[size]))
    fit = _exact_fit(np.column_stack([new, gradients, ones]), updates)
    if fit is None:
        return None
    return LinearReadout(fit[:size], float(fit[size]), float(fit[size + 1]))


def _exact_fit(design: np.ndarray, values: np.ndarray) -> np.ndarray | None:
    """The coefficients that give `values` to rounding, or None where none do."""
    solution, *_ = np.linalg.lstsq(design, values, rcond=1e-13)
    error = np.abs(design @ solution - values).max()
    if error > _LINEAR_TOLERANCE * np.abs(values).max():
        return None
    # What the fit leaves of a coefficient that is not there.
    solution[np.abs(solution) < 1e-12 * np.abs(solution).max()] = 0.0
    return solution
