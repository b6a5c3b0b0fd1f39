"""The settings of meta-training that the papers share: recipes, scales of counts, and settings."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from optoscope import meta, optimizers, tasks
from optoscope._core.errors import InvalidValueError, check_count
from optoscope.optimizers import OptimizerModule

DECAY = 0.8


@dataclass(frozen=True)
class Stronger:
    """What makes meta-training stronger than a recipe's numbers alone.

    Args:
        curriculum: horizons that follow the recipe's own, growing, as in `meta.Curriculum`. Each
            has an equal share of the meta-steps, with a rate, an imitation and an average of its
            own; all are judged on the longest.
        imitate: learning rates of the optimizers that are imitated at first, by their registered
            names, as in `meta.Imitation`.
        imitation_steps: meta-steps of each horizon after which the imitation has no weight.
        averaging: decay of an average of the meta-parameters, as in `meta.Trainer`.
        cosine: whether the rate falls to zero by a cosine over each horizon's meta-steps.
        clip_norm: the largest norm of a meta-gradient; None for no limit.
    """

    curriculum: tuple[int, ...] = ()
    imitate: Mapping[str, float] = field(default_factory=dict)
    imitation_steps: int = 500
    averaging: float = 0.0
    cosine: bool = False
    clip_norm: float | None = None


@dataclass(frozen=True)
class Recipe:
    """A task, and the numbers with which optimizers are meta-trained on it.

    Args:
        task: in the registry of tasks.
        options: of the task.
        optimizer: arguments of the learned optimizer that belong to this task.
        estimator: further arguments of the meta-gradient estimator, beside those that follow.
        horizon: inner steps of an episode.
        truncation: inner steps a meta-gradient, for estimators that need not unroll a whole
            episode.
        num_tasks: problems a meta-gradient; of evolution strategies, antithetic pairs.
        meta_steps: meta-gradients that are applied.
        meta_learning_rate: Adam's at the start.
        decay_steps: meta-steps after which the rate is multiplied by 0.8; None for a constant rate.
        clip: the largest entry of a meta-gradient; None for no limit.
        l2: this times the meta-parameters is added to the meta-gradient, if it is not None.
        relative: divide a problem's losses by its first one.
        meta_seeds: optimizers that are meta-trained.
        evaluations: times the held-out loss is taken in the course of meta-training.
        evaluation_runs: problems it is taken over.
        snapshots: states of meta-training that are kept, evenly spread; the last is the end.
        stronger: what is added to plain meta-training, if anything is.

    Raises:
        InvalidValueError: a curriculum with several snapshots or with fewer meta-steps than
            horizons, or two ways in which the rate falls.
    """

    task: str
    options: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    estimator: Mapping[str, Any] = field(default_factory=dict)
    horizon: int = 200
    truncation: int = 20
    num_tasks: int = 1
    meta_steps: int = 1000
    meta_learning_rate: float = 1e-3
    decay_steps: int | None = None
    clip: float | None = None
    l2: float | None = None
    relative: bool = False
    meta_seeds: int = 3
    evaluations: int = 50
    evaluation_runs: int = 4
    snapshots: int = 1
    stronger: Stronger | None = None

    def __post_init__(self):
        if len(self.horizons) > 1 and self.snapshots > 1:
            raise InvalidValueError(
                f"snapshots is {self.snapshots}, and a curriculum keeps its end alone; leave one "
                "of them out."
            )
        if self._cosine and self.decay_steps is not None:
            raise InvalidValueError(
                "decay_steps and cosine both say how the meta learning rate falls; leave one out."
            )
        check_count("meta_steps", self.meta_steps, minimum=len(self.horizons))

    @property
    def horizons(self) -> tuple[int, ...]:
        """Inner steps of an episode, in the order of a curriculum."""
        return (self.horizon, *(self.stronger.curriculum if self.stronger else ()))

    @property
    def stages(self) -> "tuple[Recipe, ...]":
        """One recipe for every horizon; the recipe itself where there is one horizon."""
        if len(self.horizons) == 1:
            return (self,)
        assert self.stronger is not None
        alone = dataclasses.replace(self.stronger, curriculum=())
        count = self.meta_steps // len(self.horizons)
        return tuple(
            dataclasses.replace(self, horizon=horizon, meta_steps=count, stronger=alone)
            for horizon in self.horizons
        )

    @property
    def _cosine(self) -> bool:
        return self.stronger is not None and self.stronger.cosine

    @property
    def averaging(self) -> float:
        """The decay of the average of the meta-parameters; 0 for none."""
        return self.stronger.averaging if self.stronger else 0.0

    def imitating(self, estimator: meta.Estimator) -> meta.Estimator:
        """The estimator, with the imitation that the recipe asks for."""
        if self.stronger is None or not self.stronger.imitate:
            return estimator
        teachers = [
            optimizers.get(name, learning_rate=rate) for name, rate in self.stronger.imitate.items()
        ]
        return meta.Imitation(estimator, teachers, steps=self.stronger.imitation_steps)

    def configuration(self) -> dict[str, Any]:
        """Everything that the recipe says, without what it does not use of `stronger`."""
        numbers = dataclasses.asdict(self)
        if self.stronger is None:
            # Finished parts of recipes without it stay what they are.
            del numbers["stronger"]
        return numbers

    def meta_optimizer(self, weight_decay: float | None = None) -> OptimizerModule:
        """Adam, with those of clipping, decay of the rate and L2 that the recipe asks for.

        All numbers are arrays: recipes that ask for the same share one compiled program, whatever
        their numbers, and so do all weight decays.

        Args:
            weight_decay: of matrices alone, apart from the gradient as in AdamW, as a multiple of
                the rate.
        """
        numbers = {
            "learning_rate": self.meta_learning_rate,
            "decay_steps": self.decay_steps,
            "cosine_steps": self.meta_steps if self._cosine else None,
            "clip": self.clip,
            "clip_norm": self.stronger.clip_norm if self.stronger else None,
            "l2": self.l2,
            "weight_decay": weight_decay,
        }
        arrays = {
            name: jnp.asarray(value, jnp.float32)
            for name, value in numbers.items()
            if value is not None
        }
        return optimizers.OptaxOptimizer(_clipped_adam, arrays, "clipped-adam")


def _clipped_adam(
    learning_rate: Float[Array, ""],
    decay_steps: Float[Array, ""] | None = None,
    cosine_steps: Float[Array, ""] | None = None,
    clip: Float[Array, ""] | None = None,
    clip_norm: Float[Array, ""] | None = None,
    l2: Float[Array, ""] | None = None,
    weight_decay: Float[Array, ""] | None = None,
) -> optax.GradientTransformation:
    # Only what is asked for: even a factor of 1 changes how XLA rounds.
    chain = []
    if clip is not None:
        chain.append(
            optax.stateless_with_tree_map(lambda grad, _: _clipped(jnp.asarray(grad), clip))
        )
    if clip_norm is not None:
        chain.append(optax.clip_by_global_norm(clip_norm))  # pyright: ignore[reportArgumentType]
    if l2 is not None:
        chain.append(optax.add_decayed_weights(l2))
    schedule = learning_rate if decay_steps is None else _stairs(learning_rate, decay_steps)
    if cosine_steps is not None:
        schedule = _cosine(learning_rate, cosine_steps)
    if weight_decay is None:
        chain.append(optax.adam(schedule))
    else:
        chain.append(optax.adamw(schedule, weight_decay=weight_decay, mask=_matrices))
    return optax.chain(*chain)


def _clipped(grad: Array, clip: Float[Array, ""]) -> Array:
    # Of NaN there is none, since the trainer skips such gradients.
    return jnp.clip(jnp.where(jnp.isnan(grad), 0.0, grad), -clip, clip)


def _stairs(learning_rate: Float[Array, ""], decay_steps: Float[Array, ""]) -> optax.Schedule:
    return lambda count: learning_rate * DECAY ** jnp.floor(jnp.asarray(count) / decay_steps)


def _cosine(learning_rate: Float[Array, ""], num_steps: Float[Array, ""]) -> optax.Schedule:
    # Optax's own takes no array for the number of steps.
    return lambda count: (
        learning_rate * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(jnp.asarray(count) / num_steps, 1)))
    )


def _matrices(meta_params: PyTree[Array]) -> PyTree[bool]:
    """The network's weights; its biases and the decays of its averages have lower rank."""
    return jax.tree.map(lambda leaf: leaf.ndim == 2, meta_params)


@dataclass(frozen=True)
class Scale:
    """The counts of one scale; a paper adds those of what it measures.

    Args:
        name: "smoke", "laptop", "long", "paper", or your own.
        recipes: of meta-training, by the paper's short names of the tasks. What is not there is
            not measured.
        verify: refuse a dataset that is incomplete; otherwise the files that are there are used.
    """

    name: str
    recipes: Mapping[str, Recipe]
    verify: bool = field(default=True, kw_only=True)

    @property
    def num_tasks(self) -> int:
        """The largest number of problems a meta-gradient, which devices can share."""
        return max(recipe.num_tasks for recipe in self.recipes.values())


Counts = TypeVar("Counts", bound=Scale)


@dataclass(frozen=True)
class Setting(Generic[Counts]):
    """The setting that all parts of one reproduction share.

    Args:
        scale: the counts.
        seed: of everything random.
        data_dir: where datasets lie; not part of any configuration, since data are checked.
        devices: local devices to spread meta-training's problems over; results differ by rounding.
    """

    scale: Counts
    seed: int = 0
    data_dir: Path | None = None
    devices: int = 1

    @property
    def data_options(self) -> dict[str, Any]:
        """The options of every task on a dataset.

        Nothing is held out for validation: what is meta-trained is judged on its training loss.
        """
        options: dict[str, Any] = {"validation_size": 0}
        if not self.scale.verify:
            options["verify"] = False
        return options if self.data_dir is None else options | {"data_dir": self.data_dir}

    def recipe(self, name: str) -> Recipe:
        """The numbers of a task."""
        return self.scale.recipes[name]

    def distribution(self, name: str) -> tasks.TaskDistribution:
        """The problems of a task; a single one is a distribution of itself."""
        recipe = self.recipe(name)
        known = tasks.REGISTRY[recipe.task].known(self.data_options)
        return tasks.as_distribution(tasks.get(recipe.task, **known | dict(recipe.options)))

    def task(self, name: str) -> tasks.Task:
        """The task itself, where there is a single one."""
        recipe = self.recipe(name)
        known = tasks.REGISTRY[recipe.task].known(self.data_options)
        task = tasks.get(recipe.task, **known | dict(recipe.options))
        if not isinstance(task, tasks.Task):
            raise InvalidValueError(
                f"{recipe.task} is a distribution of tasks, and one task is needed; take "
                "`setting.distribution`."
            )
        return task

    def described(self, name: str, **values: Any) -> dict[str, Any]:
        """The configuration of a part on a task, for its description."""
        recipe = self.recipe(name)
        problem = {"task": recipe.task, "options": dict(recipe.options)}
        return problem | {"seed": self.seed, "horizon": recipe.horizon, **values}
