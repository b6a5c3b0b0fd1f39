"""Evolution strategies over whole episodes."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from optoscope._core.antithetic import scaled, slope
from optoscope.meta._estimator import Worker
from optoscope.meta._evolution import PerturbedRuns, horizon_range
from optoscope.meta._evolution_strategy import EvolutionStrategy, Sums
from optoscope.optimizers import Optimizer
from optoscope.tasks import TaskDistribution


class FullES(EvolutionStrategy):
    """Antithetic evolution strategies over the whole horizon: unbiased, but each estimate is slow.

    Use it for short horizons and as the reference for the truncated ones; with a long horizon
    `PES` gives a meta-gradient every few steps instead of one per episode. Nothing is carried
    over: every estimate starts on new problems. Given a range of horizons, every particle draws
    its own; it runs to the longest one, and the steps past its own are not counted.

    A loss that is not finite counts as `objective.maximum`; without one the particle is left out
    of the mean. Either way it is counted in `aux["non_finite"]`.

    Math: ĝ = mean_i (L(θ + ε_i) − L(θ − ε_i)) ε_i / (2σ²), ε_i ~ N(0, σ²I), which is the
    gradient of E L(θ + ε).

    Source: paper C, section 2 and Metz et al. (2019).

    Args:
        tasks: the distribution of problems, drawn afresh at every estimate.
        num_particles: antithetic pairs side by side; their estimates are averaged.
        horizon: inner steps of an episode, or (shortest, longest) for log-uniform episodes.
        std: σ, the standard deviation of the perturbations.
        objective: the meta-objective of an episode; any reduction.
        devices: over how many devices the particles are spread, those of other processes
            included; must divide `num_particles`.

    Raises:
        InvalidValueError: a count below 1, σ not positive, a range that runs backwards, weights
            of another length than the longest horizon, or devices that do not divide the
            particles.
    """

    @property
    def signs(self) -> tuple[int, ...]:
        """One run at θ + ε and one at θ − ε."""
        return (1, -1)

    def first(self, tasks: TaskDistribution, optimizer: Optimizer, key: PRNGKeyArray) -> Worker:
        """A worker that counts the estimates; nothing else is carried over."""
        del tasks, optimizer
        return Worker(jax.random.key_data(key), (), (), jnp.zeros((), jnp.int32))

    def advance(
        self, runs: PerturbedRuns, noise: PyTree, worker: Worker, key: PRNGKeyArray
    ) -> tuple[Sums, Worker]:
        """Runs one whole episode of an antithetic pair and returns its contribution."""
        begin_key, unroll_key = jax.random.split(key)
        _, longest = horizon_range(self.horizon)
        unrolled, _ = runs.unroll(runs.begin(begin_key), unroll_key, longest)
        counted = unrolled.restarts == 0
        plus, minus = jax.vmap(self.objective, in_axes=(0, 0, None, None))(
            unrolled.losses, unrolled.penalties, unrolled.steps, counted
        )
        gradient = scaled(noise, slope(plus, minus, self.std))
        never = jnp.zeros((), bool)
        sums = self.contribution(unrolled, counted, (plus + minus) / 2, gradient, never)
        return sums, eqx.tree_at(lambda w: w.step, worker, worker.step + 1)
