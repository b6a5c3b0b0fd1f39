"""An optimizer made of named mechanisms, each of which can be switched off or read as source."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from optoscope.analysis.dynamics._linear_optimizer import LinearOptimizer
from optoscope.optimizers import OptimizerModule


class Clipping(eqx.Module):
    """ĝ = c tanh(g / c).

    Args:
        threshold: c.
    """

    threshold: Float[Array, ""]

    def __call__(self, grad: Array) -> Array:
        """Clips a gradient smoothly to at most the threshold."""
        return self.threshold * jnp.tanh(grad / self.threshold)


class Schedule(eqx.Module):
    """The rate at step t is 1 + a exp(−t/τ) times the final one.

    Args:
        excess: a, above −1.
        duration: τ, in steps.
    """

    excess: Float[Array, ""]
    duration: Float[Array, ""]

    def __call__(self, step: Array) -> Array:
        """The factor at a step."""
        return 1 + self.excess * jnp.exp(-step / self.duration)


class Adaptation(eqx.Module):
    """The rate is 1 / (1 + (|m|/s)^p) times that at zero, m a running mean of the gradient.

    Args:
        scale: s, where the rate has halved.
        power: p.
        decay: γ in m ← γ m + (1 − γ) g.
    """

    scale: Float[Array, ""]
    power: Float[Array, ""]
    decay: Float[Array, ""]

    def __call__(self, mean: Array) -> Array:
        """The factor for a running mean."""
        # The inner floor keeps the power's derivative finite where the mean is zero.
        return 1 / (1 + jnp.maximum(jnp.abs(mean) / self.scale, 1e-12) ** self.power)


class ExplicitState(eqx.Module):
    """Steps taken, running means of the gradients, velocities."""

    step: Int[Array, ""]
    means: PyTree[Array]
    velocities: PyTree[Array]


class ExplicitOptimizer(OptimizerModule):
    """Aggregated momentum on gradients that were clipped, scheduled and adapted to.

    v ← A v + b ĝ, update = c·v + e ĝ + f with ĝ = schedule(t) · adaptation(m) · clipping(g).

    Args:
        momentum: the modes, without a gradient g* of their own.
        clipping: or None.
        schedule: or None.
        adaptation: or None.
    """

    momentum: LinearOptimizer
    clipping: Clipping | None = None
    schedule: Schedule | None = None
    adaptation: Adaptation | None = None

    def init(self, params: PyTree[Array]) -> ExplicitState:
        """A state with the step count and all averages at zero."""
        zeros = jax.tree.map(jnp.zeros_like, params)
        return ExplicitState(jnp.zeros((), jnp.int32), zeros, self.momentum.init(params))

    def update(
        self,
        grads: PyTree[Array],
        state: ExplicitState,
        params: PyTree[Array] | None = None,
        **extra,
    ) -> tuple[PyTree[Array], ExplicitState]:
        """The updates and the next state."""
        means, inputs = state.means, grads
        if self.clipping is not None:
            inputs = jax.tree.map(self.clipping, inputs)
        if self.schedule is not None:
            factor = self.schedule(state.step)
            inputs = jax.tree.map(lambda g: factor * g, inputs)
        if self.adaptation is not None:
            adaptation = self.adaptation
            means = jax.tree.map(
                lambda m, g: (adaptation.decay * m + (1 - adaptation.decay) * g).astype(m.dtype),
                means,
                grads,
            )
            inputs = jax.tree.map(lambda g, m: g * adaptation(m), inputs, means)
        inputs = jax.tree.map(lambda new, old: new.astype(old.dtype), inputs, grads)
        updates, velocities = self.momentum.update(inputs, state.velocities)
        return updates, ExplicitState(state.step + 1, means, velocities)

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The names of the mechanisms that are switched on beside momentum."""
        names = ("clipping", "schedule", "adaptation")
        return tuple(name for name in names if getattr(self, name) is not None)

    def without(self, name: str) -> "ExplicitOptimizer":
        """The optimizer with one mechanism off ("momentum": each velocity forgets at once)."""
        parts: dict[str, Any] = {part: getattr(self, part) for part in self.mechanisms}
        if name != "momentum":
            parts[name] = None
            return ExplicitOptimizer(self.momentum, **parts)
        return ExplicitOptimizer(memoryless(self.momentum), **parts)

    def source(self) -> str:
        """A readable Python program that makes this optimizer as an Optax transformation."""
        return _source(self)


def memoryless(momentum: LinearOptimizer) -> LinearOptimizer:
    """Plain descent with the rate that the momentum has in the long run, Σ α_j/(1 − β_j)."""
    identity = jnp.eye(momentum.inputs.shape[0])
    settled = jnp.linalg.solve(identity - momentum.transition, momentum.inputs)
    return eqx.tree_at(
        lambda m: (m.transition, m.inputs),
        momentum,
        (jnp.zeros_like(momentum.transition), settled.astype(momentum.inputs.dtype)),
    )


_PROGRAM = '''"""Distilled from a learned optimizer: {summary}."""

import jax
import jax.numpy as jnp
import optax

# Velocities: v <- A v + b g. A real mode is one entry of A's diagonal, a complex one a 2x2 block.
A = jnp.array({transition})
B = jnp.array({inputs})
READOUT = jnp.array({readout})
DIRECT, CONSTANT = {direct}, {constant}
{constants}

def distilled() -> optax.GradientTransformation:
    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        velocities = jax.tree.map(lambda p: jnp.zeros((len(B), *p.shape), p.dtype), params)
        return jnp.zeros((), jnp.int32), zeros, velocities

    def update(grads, state, params=None):
        del params
        step, means, velocities = state

        def one(g, m, v):
            x = g
{body}
            v = jnp.tensordot(A, v, 1) + jnp.multiply.outer(B, x)
            return jnp.tensordot(READOUT, v, 1) + DIRECT * x + CONSTANT, m, v

        leaves, structure = jax.tree.flatten(grads)
        columns = [one(*leaf) for leaf in zip(
            leaves, jax.tree.leaves(means), jax.tree.leaves(velocities)
        )]
        updates, means, velocities = (
            jax.tree.unflatten(structure, [column[i] for column in columns]) for i in range(3)
        )
        return updates, (step + 1, means, velocities)

    return optax.GradientTransformation(init, update)
'''


def _numbers(array: Array) -> str:
    """The shortest decimals that are the same float32."""
    if array.ndim == 0:
        return repr(float(str(np.float32(array))))
    return "[" + ", ".join(_numbers(entry) for entry in array) + "]"


def _source(optimizer: ExplicitOptimizer) -> str:
    momentum, constants, body = optimizer.momentum, [], []
    if optimizer.clipping is not None:
        constants.append(f"CLIP = {_numbers(optimizer.clipping.threshold)}")
        body.append("x = CLIP * jnp.tanh(x / CLIP)")
    if optimizer.schedule is not None:
        schedule = optimizer.schedule
        constants.append(
            f"EXCESS, DURATION = {_numbers(schedule.excess)}, {_numbers(schedule.duration)}"
        )
        body.append("x = (1 + EXCESS * jnp.exp(-step / DURATION)) * x")
    if optimizer.adaptation is not None:
        parts = optimizer.adaptation
        numbers = ", ".join(_numbers(n) for n in (parts.scale, parts.power, parts.decay))
        constants.append(f"SCALE, POWER, DECAY = {numbers}")
        body.append("m = DECAY * m + (1 - DECAY) * g")
        body.append("x = x / (1 + jnp.maximum(jnp.abs(m) / SCALE, 1e-12) ** POWER)")
    named = ", ".join(("momentum", *optimizer.mechanisms))
    return _PROGRAM.format(
        summary=f"{momentum.inputs.shape[0]} velocities; {named}",
        transition=_numbers(momentum.transition),
        inputs=_numbers(momentum.inputs),
        readout=_numbers(momentum.readout),
        direct=_numbers(momentum.direct),
        constant=_numbers(momentum.constant),
        constants="".join(f"{line}\n" for line in constants),
        body="\n".join(f"            {line}" for line in body),
    )
