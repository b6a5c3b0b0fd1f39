"""How much is computed: the counts of the paper, of a laptop, and of a test."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """A task, and how an optimizer is meta-trained on it.

    Args:
        task: in the registry of tasks.
        options: of the task.
        optimizer: arguments of `RNNOptimizer.create`.
        meta_learning_rate: Adam's at the start, for this task alone; the paper searched it.
        clip: the largest entry of a meta-gradient.
        backward_clip: the largest norm of what flows back from a step to the one before it; the
            paper has none.
        decay_steps: meta-steps after which the rate is multiplied by 0.8.
        second_order: whether meta-gradients flow through the gradients that an optimizer sees.
        horizon: inner steps of meta-training, of the searches and of the comparison.
        meta_steps: meta-gradients that are applied.
        num_tasks: problems a meta-gradient.
        meta_seeds: optimizers that are meta-trained; the one with the least held-out loss is "the"
            learned optimizer of the task.
        relative: divide a problem's losses by its first one.
        evaluations: times the held-out loss is taken.
        evaluation_runs: problems it is taken over.
        snapshots: states of meta-training that are kept.
        search_runs: problems that baselines are tuned on.
        finalists: the best configurations, which are judged again on `finalist_runs` problems
            where the search could afford few; 0 for no second round.
        finalist_runs: problems of that round.
    """

    task: str
    options: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    meta_learning_rate: float = 3e-3
    clip: float = 5.0
    backward_clip: float | None = None
    decay_steps: int = 500
    second_order: bool = True
    horizon: int = 200
    meta_steps: int = 5000
    num_tasks: int = 32
    meta_seeds: int = 3
    relative: bool = False
    evaluations: int = 50
    evaluation_runs: int = 64
    snapshots: int = 1
    search_runs: int = 64
    finalists: int = 0
    finalist_runs: int = 16


@dataclass(frozen=True)
class Scale:
    """The counts of one scale; `SCALES` holds the three that have names.

    Args:
        name: its name.
        recipes: by the names of `TASKS` and "recovered".
        samples: configurations of each search.
        grid_points: values of each hyper-parameter that they are drawn from.
        widenings: how often a range is widened whose edge is best.
        runs: problems that optimizers are compared on.
        state_runs: runs in which states are recorded.
        state_measurements: times a run, at most.
        coordinates: of each run, at most.
        starts: states from which fixed points are searched.
        points: fixed points kept.
        gradients: gradients of the S-curve, on each arm.
        manifold_steps: of the iteration towards approximate fixed points.
    """

    name: str
    recipes: Mapping[str, Recipe]
    samples: int = 2500
    grid_points: int = 50
    widenings: int = 3
    runs: int = 64
    state_runs: int = 16
    state_measurements: int = 100
    coordinates: int = 16
    starts: int = 512
    points: int = 32
    gradients: int = 20
    manifold_steps: int = 200

    @property
    def num_tasks(self) -> int:
        """The largest number of problems a meta-gradient, for the command line."""
        return max(recipe.num_tasks for recipe in self.recipes.values())


# Gradients of Rosenbrock's function reach thousands. Seen as they are, or by their logarithm,
# meta-training went from overflow to overflow at every rate that was tried.
_ON_ROSENBROCK = {"input_scaling": "scaled", "input_scale": 0.01}
# On a network every coordinate feels a constant in the update, and meta-training with outputs as
# large as gradients went from one such drift to the next. Inputs that saturate, as Adam's do, were
# needed to come near Adam. On two moons second-order terms exploded; on the CNN they helped.
_ON_CNN = {"input_scaling": "scaled", "input_scale": 100.0, "output_scale": 0.03}
_ON_TWO_MOONS = {"input_scaling": "scaled", "input_scale": 100.0, "output_scale": 0.1}
# An optimizer whose states stay small, where tanh and gates are nearly linear: what it lacks to be
# more than momentum is what makes it easy to read. `recovered` needs the distribution whose best
# heavy ball is known.
_NEARLY_LINEAR = {"input_scaling": "scaled", "input_scale": 0.1, "output_scale": 10.0}


def _tiny(task: str, **settings: Any) -> Recipe:
    """For wiring only: everything as small as it goes."""
    small = Recipe(
        task,
        optimizer={"hidden_size": 8},
        horizon=12,
        meta_steps=10,
        num_tasks=2,
        meta_seeds=1,
        evaluations=2,
        evaluation_runs=4,
        search_runs=2,
    )
    return dataclasses.replace(small, **settings)


SCALES = {
    # Wiring only: no optimizer is meta-trained long enough for its verdicts to mean anything.
    "smoke": Scale(
        "smoke",
        {
            "regression": _tiny("quadratic", meta_seeds=2),
            "rosenbrock": _tiny("rosenbrock"),
            "two-moons": _tiny("two-moons", options={"hidden": (4, 4), "num_points": 32}),
            "cnn": _tiny(
                "digits-cnn", options={"channels": (2, 2, 2), "batch_size": 8}, finalists=2
            ),
            "recovered": _tiny("quadratic-log-uniform", relative=True, snapshots=2, meta_steps=20),
        },
        samples=12,
        grid_points=6,
        widenings=1,
        runs=4,
        state_runs=2,
        coordinates=4,
        starts=32,
        points=8,
        gradients=3,
        manifold_steps=20,
    ),
    # Two moons and the CNN are smaller networks, over half the steps, with an eighth of the
    # problems a meta-gradient and a fifth of the meta-gradients: what costs is the optimizer on
    # all their coordinates. About 0.4 s of one core a meta-step.
    "laptop": Scale(
        "laptop",
        {
            "regression": Recipe("quadratic"),
            "rosenbrock": Recipe("rosenbrock", optimizer=_ON_ROSENBROCK, meta_learning_rate=1e-3),
            "two-moons": Recipe(
                "two-moons",
                {"hidden": (16, 16, 16), "num_points": 256},
                optimizer=_ON_TWO_MOONS,
                meta_learning_rate=1e-3,
                clip=0.1,
                decay_steps=100,
                second_order=False,
                horizon=100,
                meta_steps=1000,
                num_tasks=4,
                meta_seeds=2,
                evaluations=40,
                evaluation_runs=16,
                search_runs=4,
                finalists=50,
            ),
            "cnn": Recipe(
                "digits-cnn",
                {"channels": (4, 4, 4), "batch_size": 16},
                optimizer=_ON_CNN,
                meta_learning_rate=1e-3,
                clip=0.1,
                backward_clip=0.1,
                decay_steps=100,
                horizon=100,
                meta_steps=600,
                num_tasks=4,
                meta_seeds=2,
                evaluations=40,
                evaluation_runs=16,
                search_runs=1,
                finalists=50,
            ),
            "recovered": Recipe(
                "quadratic-log-uniform",
                optimizer=_NEARLY_LINEAR,
                meta_learning_rate=1e-3,
                relative=True,
                snapshots=25,
            ),
        },
    ),
    "paper": Scale(
        "paper",
        {
            "regression": Recipe("quadratic"),
            "rosenbrock": Recipe("rosenbrock", optimizer=_ON_ROSENBROCK, meta_learning_rate=1e-3),
            "two-moons": Recipe("two-moons"),
            "cnn": Recipe("mnist-cnn"),
            "recovered": Recipe(
                "quadratic-log-uniform",
                optimizer=_NEARLY_LINEAR,
                meta_learning_rate=1e-3,
                relative=True,
                snapshots=50,
            ),
        },
    ),
}
