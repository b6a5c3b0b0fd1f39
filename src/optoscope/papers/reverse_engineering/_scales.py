"""The four scales of a reproduction: the paper's counts, a night's, a laptop's, and a test's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optoscope.papers import _recipe
from optoscope.papers._recipe import Recipe

# Published optimizers whose loss stays down in runs of 20,000 steps, as their own study found.
LASTING = ("dm_cl_il", "rnnprop", "rnnprop_cl_il")


@dataclass(frozen=True)
class Search:
    """How the baselines of a task are tuned.

    Args:
        runs: problems that they are tuned on.
        finalists: the best configurations, which are judged again on `finalist_runs` problems
            where the search could afford few; 0 for no second round.
        finalist_runs: problems of that round.
    """

    runs: int = 64
    finalists: int = 0
    finalist_runs: int = 16


@dataclass(frozen=True)
class Scale(_recipe.Scale):
    """The counts of one scale; `SCALES` holds the four that have names.

    Args:
        name: its name.
        recipes: by the names of `TASKS` and "recovered".
        searches: by the same names; a task that is not there has the paper's.
        samples: configurations of each search.
        grid_points: values of each hyper-parameter that they are drawn from.
        widenings: how often a range is widened whose edge is best.
        runs: problems that optimizers are compared on.
        state_runs: runs in which states are recorded.
        state_measurements: measurements per run, at most.
        coordinates: of each run, at most.
        starts: states from which fixed points are searched.
        points: fixed points kept.
        gradients: gradients of the S-curve, on each arm.
        manifold_steps: of the iteration toward approximate fixed points.
        published: the optimizers that others trained and in which a line of fixed points is looked
            for too, by their short names in `LASTING`.
    """

    searches: Mapping[str, Search] = field(default_factory=dict)
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
    published: tuple[str, ...] = ()

    def search(self, name: str) -> Search:
        """How the baselines of a task are tuned."""
        return self.searches.get(name, Search())


def _recipe_on(task: str, options: dict[str, Any] | None = None, **numbers: Any) -> Recipe:
    """The paper's numbers, but for those that are given; it searched the rate for each task."""
    return Recipe(
        task,
        options or {},
        **{
            "num_tasks": 32,
            "meta_steps": 5000,
            "meta_learning_rate": 3e-3,
            "decay_steps": 500,
            "clip": 5.0,
            "l2": 1e-5,
            "evaluation_runs": 64,
        }
        | numbers,
    )


# Gradients of Rosenbrock's function reach thousands. Seen as they are, or by their logarithm,
# meta-training went from overflow to overflow at every rate that was tried. With entries clipped at
# 5, as the paper has it, one of three meta-seeds fell from a meta-loss of 3.3 to millions within
# ten meta-steps and never came back; at 0.5 all of five do as well as the better two.
_ROSENBROCK: dict[str, Any] = {
    "optimizer": {"input_scaling": "scaled", "input_scale": 0.01},
    "meta_learning_rate": 1e-3,
    "clip": 0.5,
}
# On a network every coordinate feels a constant in the update, and meta-training with outputs as
# large as gradients went from one such drift to the next. Inputs that saturate, as Adam's do, were
# needed to come near Adam. On two moons second-order terms exploded; on the CNN they helped.
_ON_CNN = {"input_scaling": "scaled", "input_scale": 100.0, "output_scale": 0.03}
_ON_TWO_MOONS = {"input_scaling": "scaled", "input_scale": 100.0, "output_scale": 0.1}
# An optimizer whose states stay small, where tanh and gates are nearly linear: what it lacks to be
# more than momentum is what makes it easy to read. `recovered` needs the distribution whose best
# heavy ball is known.
_NEARLY_LINEAR = {"input_scaling": "scaled", "input_scale": 0.1, "output_scale": 10.0}


def _tiny(task: str, **numbers: Any) -> Recipe:
    """The smallest possible counts, to test that all parts work together."""
    small: dict[str, Any] = {
        "optimizer": {"hidden_size": 8},
        "horizon": 12,
        "meta_steps": 10,
        "num_tasks": 2,
        "meta_seeds": 1,
        "evaluations": 2,
        "evaluation_runs": 4,
    }
    return _recipe_on(task, **small | numbers)


# The paper's counts, which a laptop has time for.
_CHEAP = {
    "regression": _recipe_on("quadratic"),
    "rosenbrock": _recipe_on("rosenbrock", **_ROSENBROCK),
}


def _recovered(snapshots: int) -> Recipe:
    return _recipe_on(
        "quadratic-log-uniform",
        optimizer=_NEARLY_LINEAR,
        meta_learning_rate=1e-3,
        relative=True,
        snapshots=snapshots,
    )


# Two moons and the CNN below the paper's scale.
_FEWER: dict[str, Any] = {
    "meta_learning_rate": 1e-3,
    "clip": 0.1,
    "num_tasks": 4,
    "evaluations": 40,
    "evaluation_runs": 16,
}
_SHORT = _FEWER | {"decay_steps": 100, "horizon": 100, "meta_seeds": 2}
_LONG = _FEWER | {"decay_steps": 100, "meta_steps": 1000}

SCALES = {
    # Wiring only: no optimizer is meta-trained long enough for its verdicts to mean anything.
    "smoke": Scale(
        "smoke",
        {
            "regression": _tiny("quadratic", meta_seeds=2),
            "rosenbrock": _tiny("rosenbrock"),
            "two-moons": _tiny("two-moons", options={"hidden": (4, 4), "num_points": 32}),
            "cnn": _tiny("digits-cnn", options={"channels": (2, 2, 2), "batch_size": 8}),
            "recovered": _tiny("quadratic-log-uniform", relative=True, snapshots=2, meta_steps=20),
        },
        {name: Search(2) for name in ("regression", "rosenbrock", "two-moons", "recovered")}
        | {"cnn": Search(2, finalists=2)},
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
            **_CHEAP,
            "two-moons": _recipe_on(
                "two-moons",
                {"hidden": (16, 16, 16), "num_points": 256},
                optimizer=_ON_TWO_MOONS,
                estimator={"second_order": False},
                meta_steps=1000,
                **_SHORT,
            ),
            "cnn": _recipe_on(
                "digits-cnn",
                {"channels": (4, 4, 4), "batch_size": 16},
                optimizer=_ON_CNN,
                estimator={"backward_clip": 0.1},
                meta_steps=600,
                **_SHORT,
            ),
            "recovered": _recovered(snapshots=25),
        },
        {"two-moons": Search(4, finalists=50), "cnn": Search(1, finalists=50)},
    ),
    # The paper's counts where they are cheap. Two moons and the CNN have a fifth of its meta-steps,
    # each over its 200 steps: under half an hour of one core an optimizer. None of the CNN's four
    # layers has fewer than 80 parameters or more than half of them all, so that they can be
    # compared.
    "long": Scale(
        "long",
        {
            **_CHEAP,
            "two-moons": _recipe_on(
                "two-moons",
                {"hidden": (32, 32, 32), "num_points": 256},
                optimizer=_ON_TWO_MOONS,
                estimator={"second_order": False},
                **_LONG,
            ),
            "cnn": _recipe_on(
                "mnist-cnn",
                {"channels": (8, 8, 8), "strides": (2, 1, 1), "batch_size": 32, "size": 14},
                optimizer=_ON_CNN,
                estimator={"backward_clip": 0.1},
                **_LONG,
            ),
            "recovered": _recovered(snapshots=25),
        },
        {"two-moons": Search(4, finalists=50), "cnn": Search(1, finalists=50)},
        published=LASTING,
    ),
    "paper": Scale(
        "paper",
        {
            **_CHEAP,
            "two-moons": _recipe_on("two-moons"),
            "cnn": _recipe_on("mnist-cnn"),
            "recovered": _recovered(snapshots=50),
        },
        published=LASTING,
    ),
}
