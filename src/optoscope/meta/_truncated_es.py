"""Evolution strategies, one truncation at a time: biased (TruncatedES) and persistent (PES)."""

import abc
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from optoscope._core.antithetic import scaled, slope
from optoscope._core.errors import InvalidValueError, check_count
from optoscope._core.non_finite import all_finite
from optoscope._core.trees import joined, parted
from optoscope.meta._estimator import Worker
from optoscope.meta._evolution import PerturbedRuns, draw_horizon, horizon_range
from optoscope.meta._evolution_strategy import EvolutionStrategy, Sums
from optoscope.optimizers import Optimizer, packed_state
from optoscope.tasks import TaskDistribution
from optoscope.training import InnerState
from optoscope.training._step import initial_model_state


class Particle(Worker):
    """One antithetic pair in progress.

    Parameters and states have a leading axis over the runs that the next truncation continues.

    Args:
        horizon: steps of the present episode.
        perturbation: ξ, the sum of the episode's perturbations so far; empty for `TruncatedES`.
    """

    horizon: Int[Array, ""]
    perturbation: PyTree[Array]


class TruncatedStrategy(EvolutionStrategy):
    """Runs episodes one truncation at a time; a new episode may begin within a truncation."""

    truncation: int = eqx.field(static=True, default=50)
    stagger: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        check_count("truncation", self.truncation, minimum=1)
        _, longest = horizon_range(self.horizon)
        if self.truncation > longest:
            raise InvalidValueError(
                f"truncation {self.truncation} is longer than the horizon {longest}; "
                "use FullES, or a shorter truncation."
            )
        if not self.objective.additive:
            raise InvalidValueError(
                f"the objective is {self.objective.reduction!r}, which is no sum over steps, so "
                "that one truncation cannot compute its part; use 'mean' or 'sum', or FullES."
            )

    @property
    @abc.abstractmethod
    def kept(self) -> tuple[int, ...]:
        """The indices in `signs` of the runs that the next truncation continues."""

    @property
    @abc.abstractmethod
    def persistent(self) -> bool:
        """Whether the perturbations of an episode are summed up."""

    def first(self, tasks: TaskDistribution, optimizer: Optimizer, key: PRNGKeyArray) -> Worker:
        """A particle at step 0 of its first episode, which `stagger` cuts short."""
        task_key, init_key, horizon_key, cut_key = jax.random.split(key, 4)
        task = tasks.sample(task_key)
        start = task.init(init_key)
        params, states, model_states = jax.tree.map(
            lambda leaf: jnp.stack([leaf] * len(self.kept)),
            (start, packed_state(optimizer, start), initial_model_state(task, init_key)),
        )
        horizon = draw_horizon(horizon_key, self.horizon)
        if self.stagger:
            horizon = jax.random.randint(cut_key, (), 1, horizon + 1, jnp.int32)
        sum_of_noise = ()
        if self.persistent:
            sum_of_noise = jax.tree.map(jnp.zeros_like, eqx.filter(optimizer, eqx.is_inexact_array))
        return Particle(
            jax.random.key_data(task_key),
            params,
            states,
            jnp.zeros((), jnp.int32),
            horizon,
            sum_of_noise,
            model_state=model_states,
        )

    def advance(
        self, runs: PerturbedRuns, noise: PyTree[Array], worker: Worker, key: PRNGKeyArray
    ) -> tuple[Sums, Worker]:
        """Runs one truncation of an antithetic pair and returns its contribution."""
        assert isinstance(worker, Particle)
        params, states, model_states = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (len(self.signs), *leaf.shape[1:])),
            (worker.params, worker.optimizer_state, worker.model_state),
        )
        inner = InnerState(params, states, worker.step, model_state=model_states)
        episode = runs.resume(worker.task_key, inner, worker.horizon)
        unrolled, episode = runs.unroll(episode, key, self.truncation)
        terms = self.objective.step_terms(
            unrolled.losses[:2], unrolled.penalties[:2], unrolled.steps
        )
        differences = slope(terms[0], terms[1], self.std)
        gradient = scaled(noise, jnp.sum(differences))
        perturbation = ()
        if self.persistent:
            # The episode's earlier perturbations act on all its steps, the last one included.
            first = unrolled.restarts == 0
            earlier = jnp.sum(jnp.where(first, differences, 0.0))
            before = joined(worker.perturbation)
            gradient = jax.tree.map(jnp.add, gradient, scaled(before, earlier))
            perturbation = jax.tree.map(
                lambda leaf, total: leaf + jnp.where(first[-1], total, 0.0), noise, before
            )
            perturbation = parted(perturbation, worker.perturbation)
        present = unrolled.restarts == unrolled.restarts[-1]
        broken = ~all_finite(episode.inner.params)
        broken |= jnp.any(present & ~jnp.isfinite(unrolled.losses))
        sums = self.contribution(
            unrolled,
            jnp.ones(self.truncation, bool),
            jnp.sum(terms) / 2,
            gradient,
            broken,
        )
        inner = episode.inner
        continued = (inner.params, inner.optimizer_state, inner.model_state)
        if self.kept != tuple(range(len(self.signs))):
            kept = jnp.array(self.kept)
            continued = jax.tree.map(lambda leaf: leaf[kept], continued)
        params, states, model_states = continued
        # An episode that diverged has ended; the next one begins with the next truncation.
        step = jnp.where(broken, episode.horizon, episode.inner.step)
        return sums, Particle(
            episode.task_key,
            params,
            states,
            step,
            episode.horizon,
            perturbation,
            model_state=model_states,
        )


class TruncatedES(TruncatedStrategy):
    """Antithetic evolution strategies over one truncation at a time: cheap, but biased.

    Both signs start every truncation from the same state, so the effect of a perturbation on
    later truncations is left out. Use it as a baseline for `PES`; use `PES` to train.

    Source: paper C; Metz et al. (2019).

    Args:
        tasks: the distribution of problems, drawn afresh at every restart.
        num_particles: antithetic pairs side by side; their estimates are averaged.
        horizon: inner steps of an episode, or (shortest, longest) for log-uniform episodes.
        std: σ, the standard deviation of the perturbations.
        objective: the meta-objective, "mean" or "sum" over a truncation.
        devices: over how many devices the particles are spread, those of other processes
            included; must divide `num_particles`.
        truncation: inner steps between estimates.
        stagger: cut the first episode of every particle short at a random step, so that they do
            not all restart together.
        continue_from: the run whose final state the next truncation starts from: "plus" for
            θ + ε (the default, at no extra cost), or "unperturbed" for θ, which is a third run
            and makes a truncation 1.5 times as expensive.

    Raises:
        InvalidValueError: a count below 1, σ not positive, a range that runs backwards, a
            truncation longer than the horizon, an objective that is no sum over steps, weights
            of another length than the longest horizon, devices that do not divide the particles,
            or an unknown value of `continue_from`.
    """

    continue_from: Literal["plus", "unperturbed"] = eqx.field(static=True, default="plus")

    def __check_init__(self):
        if self.continue_from not in ("plus", "unperturbed"):
            raise InvalidValueError(
                f"continue_from is {self.continue_from!r}; it must be 'plus' or 'unperturbed'."
            )

    @property
    def signs(self) -> tuple[int, ...]:
        """The runs at θ + ε and θ − ε, and the one at θ where the next truncation needs it."""
        return (1, -1) if self.continue_from == "plus" else (1, -1, 0)

    @property
    def kept(self) -> tuple[int, ...]:
        """The one run whose final state both signs continue from."""
        return (0,) if self.continue_from == "plus" else (2,)

    @property
    def persistent(self) -> bool:
        """Each truncation is estimated from its own perturbation alone."""
        return False


class PES(TruncatedStrategy):
    """Persistent evolution strategies: unbiased, at the cost of one truncation per estimate.

    A particle's two runs each continue from their own state, and it keeps ξ, the sum of the
    perturbations of its episode so far. Averaged over the steps of an episode the estimate is the
    gradient of the mean loss over the horizon as σ → 0. The variance grows with the number of
    truncations in an episode; use several particles to reduce it.

    With `objective.maximum` a loss that is not finite counts as that maximum; without one the
    particle is left out of the mean. Either way the pair starts a new episode with the next
    truncation and is counted in `aux["non_finite"]`.

    Math: with δ_t = ℓ⁺_t − ℓ⁻_t over the W steps of a truncation,
    ĝ = mean_i [Σ_t δ_t (ξ + ε, or ε after a restart)] / (2σ²W); then ξ ← ξ + ε, or ε if there
    was a restart. The factor 1/W is left out for the objective "sum".

    Source: Vicol et al. (2021), algorithm 2; paper C, appendix B (W = 50, σ = 0.01, horizon
    2000).

    Args:
        tasks: the distribution of problems, drawn afresh at every restart.
        num_particles: antithetic pairs side by side; their estimates are averaged.
        horizon: inner steps of an episode, or (shortest, longest) for log-uniform episodes.
            Every step has the same weight, so long episodes weigh more.
        std: σ, the standard deviation of the perturbations.
        objective: the meta-objective, "mean" or "sum" over a truncation.
        devices: over how many devices the particles are spread, those of other processes
            included; must divide `num_particles`.
        truncation: W, inner steps between estimates.
        stagger: cut the first episode of every particle short at a random step, so that they do
            not all restart together.

    Raises:
        InvalidValueError: a count below 1, σ not positive, a range that runs backwards, a
            truncation longer than the horizon, an objective that is no sum over steps, weights
            of another length than the longest horizon, or devices that do not divide the
            particles.
    """

    @property
    def signs(self) -> tuple[int, ...]:
        """One run at θ + ε and one at θ − ε."""
        return (1, -1)

    @property
    def kept(self) -> tuple[int, ...]:
        """Each sign goes on from its own state."""
        return (0, 1)

    @property
    def persistent(self) -> bool:
        """The perturbations of an episode are summed, which removes the bias."""
        return True
