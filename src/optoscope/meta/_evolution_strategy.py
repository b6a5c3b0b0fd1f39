"""The common part of all evolution strategies: particles, sums over them, and checks."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from optoscope._core.antithetic import draw_perturbation, perturbed
from optoscope._core.chunks import map_chunked, side_by_side
from optoscope._core.errors import check_count, check_number
from optoscope._core.non_finite import all_finite, mean_over_usable, zero_unless
from optoscope._core.trees import joined, parted
from optoscope.meta._estimator import (
    Estimator,
    MetaGradient,
    Worker,
    check_spread,
    sum_over_tasks,
)
from optoscope.meta._evolution import (
    Horizon,
    PerturbedRuns,
    Unrolled,
    horizon_range,
)
from optoscope.meta._objective import Objective
from optoscope.optimizers import Optimizer
from optoscope.tasks import TaskDistribution
from optoscope.training import run_keys
from optoscope.training._train import inner_bytes

# A step's temporaries are a few times the state.
_BYTES_PER_STATE_BYTE = 4

Sums = dict[str, PyTree[Array]]


class EvolutionStrategy(Estimator):
    """Estimates the gradient of the smoothed meta-loss from losses alone, in antithetic pairs.

    The weights θ of the optimizer are moved a little at random, forth and back; where the losses
    of the two runs differ, the direction in which they fall is a direction to go in. No derivative
    of the task or of the optimizer is taken. What is estimated is the gradient of the meta-loss's
    mean over all such small moves, which is smooth even where the meta-loss itself is not.

    Every particle draws ε ~ N(0, σ²I) and runs the optimizer with θ + ε and with θ − ε, on one
    problem, from the same keys and data. See `FullES`, `TruncatedES` and `PES`.
    """

    tasks: TaskDistribution
    num_particles: int = eqx.field(static=True, default=16)
    horizon: Horizon = eqx.field(static=True, default=2000)
    std: float = eqx.field(static=True, default=0.01)
    objective: Objective = Objective()

    def __check_init__(self):
        check_count("num_particles", self.num_particles, minimum=1)
        check_number("std", self.std, minimum=0, exclusive_minimum=True)
        _, longest = horizon_range(self.horizon)
        self.objective.check_horizon(longest)
        check_spread(self.num_particles, "particles", self.devices)

    @property
    @abc.abstractmethod
    def signs(self) -> tuple[int, ...]:
        """The multiples of ε that are run; the first two are 1 and −1."""

    @abc.abstractmethod
    def first(self, tasks: TaskDistribution, optimizer: Optimizer, key: PRNGKeyArray) -> Worker:
        """One particle before its first unroll."""

    @abc.abstractmethod
    def advance(
        self, runs: PerturbedRuns, noise: PyTree[Array], worker: Worker, key: PRNGKeyArray
    ) -> tuple[Sums, Worker]:
        """One particle's contribution to the sums over particles, and the particle after it.

        Args:
            runs: of the perturbed optimizers.
            noise: ε, in vectors as `joined` makes them; the contributed gradient is in such too.
            worker: the particle.
            key: PRNG key.
        """

    def init(self, optimizer: Optimizer, key: PRNGKeyArray) -> Worker:
        """The particles before their first unroll, each at the start of its first episode."""

        def one(
            tasks: TaskDistribution, optimizer: Optimizer, worker: None, key: PRNGKeyArray
        ) -> tuple[Sums, Worker]:
            del worker
            return {}, self.first(tasks, optimizer, key)

        return self._over_particles(one, optimizer, None, key)[1]

    def estimate(
        self, optimizer: Optimizer, workers: Worker, key: PRNGKeyArray
    ) -> tuple[MetaGradient, Worker]:
        """The mean over the particles' next unrolls."""

        def one(
            tasks: TaskDistribution, optimizer: Optimizer, worker: Worker, key: PRNGKeyArray
        ) -> tuple[Sums, Worker]:
            noise_key, unroll_key = jax.random.split(key)
            meta_params, rest = eqx.partition(optimizer, eqx.is_inexact_array)
            vectors = joined(meta_params)
            noise = draw_perturbation(noise_key, vectors, self.std)
            moved = perturbed(vectors, noise, self.signs)
            stacked = jax.vmap(lambda one: parted(one, meta_params))(moved)
            runs = PerturbedRuns(tasks, stacked, rest, self.horizon, self.objective)
            return self.advance(runs, noise, worker, unroll_key)

        sums, workers = self._over_particles(one, optimizer, workers, key)
        used = sums["used"]
        # Where no particle is usable, the loss is NaN and the trainer skips the meta-step.
        mean = {name: mean_over_usable(sums[name], used) for name in ("loss", "inner_loss")}
        mean_gradient = jax.tree.map(lambda leaf: leaf / jnp.maximum(used, 1.0), sums["gradient"])
        gradient = parted(mean_gradient, eqx.filter(optimizer, eqx.is_inexact_array))
        aux = {name: sums[name] for name in ("non_finite", "lost_gradients", "restarts")}
        return MetaGradient(
            mean["loss"], gradient, aux | {"inner_loss": mean["inner_loss"]}
        ), workers

    def _over_particles(
        self,
        function: Callable[[TaskDistribution, Optimizer, Any, PRNGKeyArray], tuple[Sums, Worker]],
        optimizer: Optimizer,
        workers: Any,
        key: PRNGKeyArray,
    ) -> tuple[Sums, Worker]:
        arrays, rest = eqx.partition(optimizer, eqx.is_array)
        data, structure = eqx.partition(self.tasks, eqx.is_array)

        def one(data: PyTree, arrays: PyTree, item: tuple[Any, PRNGKeyArray]) -> tuple:
            return function(eqx.combine(data, structure), eqx.combine(arrays, rest), *item)

        bytes_each = _BYTES_PER_STATE_BYTE * len(self.signs) * inner_bytes(self.tasks, optimizer)
        chunk = side_by_side(bytes_each, self.num_particles // self.devices)
        return sum_over_tasks(
            one,
            arrays,
            workers,
            run_keys(key, self.num_particles),
            data,
            self.devices,
            lambda function, items: map_chunked(function, items, chunk),
        )

    def contribution(
        self,
        unrolled: Unrolled,
        counted: Bool[Array, " steps"],
        loss: Float[Array, ""],
        gradient: PyTree[Array],
        broken: Bool[Array, ""],
    ) -> Sums:
        """One particle's contribution to the sums.

        Args:
            unrolled: its losses.
            counted: which steps are part of the estimate.
            loss: its meta-loss, the mean of both signs.
            gradient: its meta-gradient.
            broken: whether the particle diverged, so that a new episode must begin.
        """
        losses = self.objective.normalize(unrolled.losses[:2])
        inner = jnp.sum(jnp.where(counted, losses, 0.0)) / (2 * jnp.sum(counted))
        diverged = broken | jnp.any(counted & ~jnp.isfinite(unrolled.losses))
        # Without a maximum that replaces a non-finite loss, the particle cannot be used.
        used = jnp.isfinite(loss) & all_finite(gradient)
        values = {"loss": loss, "inner_loss": inner, "gradient": gradient}
        values = zero_unless(used, values)
        restarts = jnp.max(jnp.where(counted, unrolled.restarts, 0))
        counts = {
            "used": used,
            "non_finite": diverged | ~used,
            "lost_gradients": jnp.isfinite(loss) & ~used,
            "restarts": restarts,
        }
        return values | {name: count.astype(jnp.float32) for name, count in counts.items()}
