"""How much is computed: the counts of the paper, of nights on two cores, of a laptop, of a test."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optoscope.analysis.quadratic import PAPER_HORIZONS
from optoscope.papers import _recipe
from optoscope.papers._recipe import Recipe


@dataclass(frozen=True)
class Scale(_recipe.Scale):
    """The counts of one scale; `SCALES` holds the four that have names.

    Args:
        name: its name.
        recipes: by the names of `TASKS`; a task that is not there is not measured. Their
            meta-seeds are those of the main arms.
        other_seeds: optimizers of every other arm.
        arms: optimizers that are compared on a task, by the task's name; all where it is not
            there. On the first task Hyperparam, Blackbox and STAR with a decay of 0.5 must be.
        multiples: of the horizon, where runs past it are judged; the last is how far they go.
        far_runs: runs past the horizon per optimizer.
        records: steps at which smoothed losses are kept.
        unseen: tasks of `tasks.UNSEEN` that are measured; all if empty.
        unseen_size: at which of their sizes.
        unseen_images: the dataset of those that have images; each task's own if empty.
        unseen_steps: steps of a run on an unseen task.
        unseen_runs: runs per optimizer on an unseen task.
        unseen_seeds: meta-trained optimizers of an arm that are run there.
        adam_points: learning rates of Adam from 1e-7 to 1.
        nadamw_samples: configurations of NAdamW.
        tuning_runs: runs per configuration.
        nominals: values of α in figure 2a.
        horizons: values of T in figure 2a.
        variance_seeds: runs per value in figure 2a.
        quadratic_meta_steps: meta-steps of figures 2b and 2c.
        quadratic_seeds: meta-trainings of figures 2b and 2c.
        quadratic_every: meta-steps between their records.
        examples: random linear optimizers like that of figure 1.
        bound_draws: random preconditioners per batch, of ten, on which the bounds are tried.
        curvature_steps: steps of a run on a quadratic.
    """

    other_seeds: int = 5
    arms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    multiples: tuple[int, ...] = (10, 100)
    far_runs: int = 5
    records: int = 500
    unseen: tuple[str, ...] = ()
    unseen_size: str = "paper"
    unseen_images: str = ""
    unseen_steps: int = 10_000
    unseen_runs: int = 3
    unseen_seeds: int = 5
    adam_points: int = 15
    nadamw_samples: int = 1000
    tuning_runs: int = 1
    nominals: int = 50
    horizons: tuple[int, ...] = PAPER_HORIZONS
    variance_seeds: int = 500
    quadratic_meta_steps: int = 100_000
    quadratic_seeds: int = 5
    quadratic_every: int = 100
    examples: int = 100
    bound_draws: int = 1000
    curvature_steps: int = 2000


def _recipe_on(task: str, options: dict[str, Any] | None = None, **numbers: Any) -> Recipe:
    """The paper's numbers, but for those that are given."""
    return Recipe(
        task,
        options or {},
        **{
            "estimator": {"std": 0.01},
            "horizon": 2000,
            "truncation": 50,
            "num_tasks": 16,
            "meta_steps": 100_000,
            "meta_learning_rate": 1e-4,
            "clip": 1.0,
            "meta_seeds": 5,
            "evaluations": 100,
            "evaluation_runs": 8,
        }
        | numbers,
    )


_SMALL_MLP = {"hidden": (32, 32), "batch_size": 64, "size": 14}
_SMALL_CNN = {"channels": (8, 16, 16), "strides": (2, 2, 1), "batch_size": 32, "size": 16}
_LONG = {
    "meta_steps": 50_000,
    "meta_learning_rate": 2e-4,
    "num_tasks": 4,
    "evaluations": 50,
    "evaluation_runs": 4,
}

SCALES = {
    # Wiring only: no optimizer is meta-trained long enough for its verdicts to mean anything.
    "smoke": Scale(
        "smoke",
        {
            "mlp": _recipe_on(
                "digits-mlp-128-128",
                {"hidden": (), "batch_size": 8},
                meta_learning_rate=1e-3,
                meta_steps=10,
                num_tasks=2,
                truncation=5,
                horizon=20,
                meta_seeds=2,
                evaluations=1,
                evaluation_runs=2,
            )
        },
        other_seeds=1,
        # Each further kind of optimizer is half a minute of compiling the same code again.
        arms={"mlp": ("hyperparam", "blackbox", "star-0.1", "star-0.5")},
        multiples=(2, 3),
        far_runs=2,
        records=30,
        unseen=("layer-norm-mlp", "autoencoder"),
        unseen_size="smoke",
        unseen_images="digits",
        unseen_steps=20,
        unseen_runs=1,
        unseen_seeds=1,
        adam_points=3,
        nadamw_samples=3,
        nominals=9,
        horizons=(1, 5, 20),
        variance_seeds=20,
        quadratic_meta_steps=100,
        quadratic_seeds=2,
        quadratic_every=10,
        examples=5,
        bound_draws=20,
        curvature_steps=40,
    ),
    # Images of 14 x 14 and layers of 32: a fifteenth of the coordinates, which is what costs.
    # A hundredth of the paper's meta-steps, at ten times its rate.
    "laptop": Scale(
        "laptop",
        {
            "mlp": _recipe_on(
                "mnist-mlp-128-128",
                _SMALL_MLP,
                meta_learning_rate=1e-3,
                meta_steps=1000,
                num_tasks=8,
                meta_seeds=5,
                evaluations=20,
                evaluation_runs=2,
            )
        },
        other_seeds=3,
        multiples=(10, 20),
        far_runs=2,
        unseen_size="laptop",
        # Half of them are CIFAR-10's otherwise, 160 MB to fetch.
        unseen_images="mnist",
        unseen_steps=1000,
        unseen_runs=1,
        unseen_seeds=3,
        nadamw_samples=24,
        quadratic_meta_steps=20_000,
        quadratic_every=20,
    ),
    # The laptop's MLP with half the paper's meta-steps, at twice its rate, so that what weight
    # decay takes away over all of them is the same: 20 to 40 minutes of a core for each
    # optimizer. Weight decays are compared after a fifth of that, at five times the rate again.
    # The CNN, on images of 16 x 16 and with a quarter of the channels, has a twentieth of the
    # paper's meta-steps; every other ablation is left to the paper's scale.
    "long": Scale(
        "long",
        {
            "mlp": _recipe_on("mnist-mlp-128-128", _SMALL_MLP, **_LONG, meta_seeds=2),
            "brief": _recipe_on(
                "mnist-mlp-128-128",
                _SMALL_MLP,
                **_LONG | {"meta_steps": 10_000, "meta_learning_rate": 1e-3},
                meta_seeds=1,
            ),
            "cnn": _recipe_on(
                "cifar10-cnn-mean-pool",
                _SMALL_CNN,
                **_LONG | {"meta_steps": 5000, "meta_learning_rate": 1e-3, "evaluations": 25},
                meta_seeds=1,
            ),
        },
        other_seeds=1,
        arms={
            "mlp": ("hyperparam", "blackbox", "star-0.5", "star-small"),
            "brief": ("star-0", "star-0.1", "star-0.5", "star-1"),
            "cnn": ("hyperparam", "blackbox", "star-0.5", "star-small"),
        },
        far_runs=3,
        unseen_size="laptop",
        unseen_steps=2000,
        unseen_runs=2,
        unseen_seeds=2,
        nadamw_samples=100,
        quadratic_meta_steps=20_000,
        quadratic_every=20,
        # Of the archive of CIFAR-10, the files that are there.
        verify=False,
    ),
    "paper": Scale(
        "paper",
        {
            "mlp": _recipe_on("fashion-mnist-mlp-128-128"),
            "cnn": _recipe_on("cifar10-cnn-mean-pool"),
        },
    ),
}
