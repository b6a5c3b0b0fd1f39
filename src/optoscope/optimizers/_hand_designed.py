"""Hand-designed optimizers: Optax's own, with hyper-parameters that are array leaves."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from optoscope._core.errors import InvalidValueError
from optoscope._core.roots import with_safe_roots
from optoscope.optimizers._base import (
    Optimizer,
    OptimizerModule,
    as_arrays,
    as_optax,
    cast_like,
    packed_state,
    params_of,
    without_aliases,
)
from optoscope.optimizers._domains import check_hyperparameters
from optoscope.optimizers._placement import follow, zeros_beside

Scalar = float | int | Float[Array, ""]


class OptaxOptimizer(OptimizerModule):
    """An Optax transformation whose hyper-parameters are array leaves.

    Search over them with `vmap`, differentiate through them, change them without recompiling.
    Where a coordinate's gradient is zero, derivatives are finite, which those of Optax's own
    transformations are not. Of parameters in bfloat16 and float16 the state and the arithmetic are
    in float32, where Optax's own are in the parameters' type and squares and small gradients get
    lost.

    Args:
        build: Optax's constructor.
        hyperparameters: its numeric keyword arguments.
        name: how reports call the optimizer.
    """

    build: Callable[..., optax.GradientTransformation] = eqx.field(static=True)
    hyperparameters: dict[str, Float[Array, ""]]
    name: str = eqx.field(static=True)

    def init(self, params: PyTree[ArrayLike]) -> PyTree[Array]:
        """The initial state of the Optax optimizer, in arrays of its own."""
        params = _widened(as_arrays(params))
        state = self.build(**self.hyperparameters).init(params)
        return follow(without_aliases(state, params, self.hyperparameters), params)

    def update(
        self,
        grads: PyTree[ArrayLike],
        state: PyTree[Array],
        params: PyTree | None = None,
        **extra,
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        """Optax's update, in the types of the gradients and of the state."""

        def update(hyperparameters: Any, grads: Any, state: Any, params: Any) -> Any:
            transformation = optax.with_extra_args_support(self.build(**hyperparameters))
            return transformation.update(grads, state, params, **extra)

        grads, own = as_arrays(grads), params_of(grads, params)
        if params is not None:
            extra = {
                name: _of_widened(part, own, params) if callable(part) else _widened(part)
                for name, part in extra.items()
            }
        updates, new_state = with_safe_roots(update)(
            self.hyperparameters, _widened(grads), state, _widened(own)
        )
        return cast_like(updates, grads), cast_like(new_state, state)

    @property
    def registered_name(self) -> str:
        """The optimizer's own name."""
        return self.name

    def configuration(self) -> dict[str, Any]:
        """The names of the hyper-parameters; their values are leaves."""
        return dict.fromkeys(self.hyperparameters, 0.0)


def _widened(tree: PyTree) -> PyTree:
    """The tree with float32 for all narrower floating-point numbers."""

    def widened(leaf: Any) -> Any:
        narrow = eqx.is_inexact_array(leaf) and leaf.dtype.itemsize < 4
        return leaf.astype(jnp.float32) if narrow else leaf

    return jax.tree.map(widened, tree)


def _of_widened(
    function: Callable[..., Any], own: PyTree[Array], params: PyTree
) -> Callable[..., Any]:
    """A function of `params` as one of those that have gradients, in float32."""

    # Optax looks at the names of its arguments.
    @functools.wraps(function)
    def of_widened(point: PyTree[Array], *args: Any, **kwargs: Any) -> Any:
        return _widened(function(eqx.combine(cast_like(point, own), params), *args, **kwargs))

    return of_widened


def from_optax(build: Callable[..., Any], name: str, **hyperparameters: Scalar) -> OptaxOptimizer:
    """One of Optax's optimizers, its hyper-parameters checked and made array leaves.

    Args:
        build: Optax's constructor.
        name: how reports call the optimizer.
        **hyperparameters: numbers; those that are traced pass unchecked.

    Raises:
        InvalidValueError: a hyper-parameter outside its domain, see `DOMAINS`.
    """
    check_hyperparameters(name, hyperparameters)
    arrays = {key: jnp.asarray(value, jnp.float32) for key, value in hyperparameters.items()}
    return OptaxOptimizer(build, arrays, name)


def sgd(learning_rate: Scalar = 0.1) -> OptaxOptimizer:
    """Plain stochastic gradient descent: u = −η g."""
    return from_optax(optax.sgd, "sgd", learning_rate=learning_rate)


def momentum(learning_rate: Scalar = 0.1, momentum: Scalar = 0.9) -> OptaxOptimizer:
    """Heavy-ball momentum: m ← μ m + g, u = −η m."""
    return from_optax(optax.sgd, "momentum", learning_rate=learning_rate, momentum=momentum)


def rmsprop(
    learning_rate: Scalar = 0.001, decay: Scalar = 0.9, eps: Scalar = 1e-8
) -> OptaxOptimizer:
    """RMSProp: v ← γ v + (1 − γ) g², u = −η g/√(v + ε)."""
    return from_optax(optax.rmsprop, "rmsprop", learning_rate=learning_rate, decay=decay, eps=eps)


def adam(
    learning_rate: Scalar = 0.001, b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-8
) -> OptaxOptimizer:
    """Adam (Kingma and Ba 2015), with bias correction."""
    return from_optax(optax.adam, "adam", learning_rate=learning_rate, b1=b1, b2=b2, eps=eps)


def nadamw(
    learning_rate: Scalar = 0.001,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
) -> OptaxOptimizer:
    """Adam with Nesterov momentum and decoupled weight decay."""
    return from_optax(
        optax.nadamw,
        "nadamw",
        learning_rate=learning_rate,
        b1=b1,
        b2=b2,
        eps=eps,
        weight_decay=weight_decay,
    )


def lion(
    learning_rate: Scalar = 0.001,
    b1: Scalar = 0.9,
    b2: Scalar = 0.99,
    weight_decay: Scalar = 0.0,
) -> OptaxOptimizer:
    """Lion (Chen et al. 2023). Weight decay is off, unlike in Optax's default."""
    return from_optax(
        optax.lion, "lion", learning_rate=learning_rate, b1=b1, b2=b2, weight_decay=weight_decay
    )


class Velocities(NamedTuple):
    """The state of aggregated momentum: for each parameter an array (K, *its shape)."""

    velocities: PyTree[Float[Array, "modes ..."]]


class AggregatedMomentum(OptimizerModule):
    """Aggregated momentum (Lucas et al. 2018): v_k ← β_k v_k + g, u = −(η/K) Σ_k v_k.

    Args:
        learning_rate: η.
        betas: the K damping coefficients, shape (K,).
    """

    learning_rate: Float[Array, ""]
    betas: Float[Array, " modes"]

    def init(self, params: PyTree[ArrayLike]) -> Velocities:
        """K velocities per parameter, all zero, stacked on a leading axis."""
        params, modes = _widened(as_arrays(params)), self.betas.shape
        return Velocities(
            jax.tree.map(lambda leaf: zeros_beside(leaf, leaf.dtype, before=modes), params)
        )

    def update(
        self,
        grads: PyTree[ArrayLike],
        state: Velocities,
        params: PyTree | None = None,
        **extra,
    ) -> tuple[PyTree[Array], Velocities]:
        """The mean of the velocities, times −η."""

        def advance(grad: Array, velocity: Array) -> Array:
            betas = self.betas.reshape((-1,) + (1,) * grad.ndim)
            return (betas * velocity + grad).astype(velocity.dtype)

        grads = as_arrays(grads)
        velocities = jax.tree.map(advance, grads, state.velocities)
        # One by one: XLA reduces over a leading axis ten times more slowly on a CPU.
        rate = self.learning_rate / self.betas.shape[0]
        updates = jax.tree.map(lambda v: -rate * sum(v[k] for k in range(len(v))), velocities)
        return cast_like(updates, grads), Velocities(velocities)

    @property
    def registered_name(self) -> str:
        """The name in the registry, "aggmo"."""
        return "aggmo"

    def configuration(self) -> dict[str, Any]:
        """The number of modes, as that many zeros."""
        return {"betas": [0.0] * self.betas.shape[0]}


def aggmo(
    learning_rate: Scalar = 0.1, betas: tuple[float, ...] | list[float] = (0.0, 0.9, 0.99)
) -> AggregatedMomentum:
    """Aggregated momentum with the damping coefficients `betas`."""
    if len(betas) == 0:
        raise InvalidValueError("betas is empty; aggregated momentum needs at least one.")
    check_hyperparameters("aggmo", {"learning_rate": learning_rate, "betas": betas})
    return AggregatedMomentum(
        jnp.asarray(learning_rate, jnp.float32), jnp.asarray(betas, jnp.float32)
    )


class Interpolation(OptimizerModule):
    """u = λ u_a + (1 − λ) u_b; both optimizers see every gradient and advance their state.

    Source: paper A, figure 7 (Lion–SGD).

    Args:
        first: optimizer a.
        second: optimizer b.
        weight: λ.
    """

    first: Optimizer
    second: Optimizer
    weight: Float[Array, ""]

    def init(self, params: PyTree[ArrayLike]) -> PyTree[Array]:
        """The initial states of the two optimizers."""
        states = self.first.init(params), self.second.init(params)
        return without_aliases(states, params)

    def init_packed(self, params: PyTree[ArrayLike]) -> PyTree[Array]:
        """The initial states of the two optimizers, packed."""
        return packed_state(self.first, params), packed_state(self.second, params)

    def update(
        self,
        grads: PyTree[ArrayLike],
        state: PyTree[Array],
        params: PyTree | None = None,
        **extra,
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        """The weighted sum of both updates, and both next states."""
        first, second = as_optax(self.first), as_optax(self.second)
        first_updates, first_state = first.update(grads, state[0], params, **extra)
        second_updates, second_state = second.update(grads, state[1], params, **extra)
        updates = jax.tree.map(
            lambda a, b: self.weight * a + (1 - self.weight) * b, first_updates, second_updates
        )
        return cast_like(updates, as_arrays(grads)), (first_state, second_state)


def interpolate(first: Optimizer, second: Optimizer, weight: Scalar) -> Interpolation:
    """The optimizer whose update is `weight` times the first's plus the rest times the second's.

    Example:
        >>> halfway = interpolate(sgd(1.0), sgd(3.0), 0.5)
        >>> updates, _ = halfway.update(jnp.ones(1), halfway.init(jnp.zeros(1)))
        >>> float(updates[0])
        -2.0
    """
    return Interpolation(first, second, jnp.asarray(weight, jnp.float32))
