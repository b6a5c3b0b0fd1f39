"""How much is computed: the counts of the paper, of a laptop, and of a test."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optoscope.analysis.quadratic import PAPER_HORIZONS


@dataclass(frozen=True)
class Recipe:
    """A task, and how optimizers are meta-trained on it.

    Args:
        task: in the registry of tasks; a classification.
        options: of the task.
        num_classes: of the task; losses are clipped to 1.5 ln of it.
        meta_learning_rate: AdamW's.
        meta_steps: meta-gradients that are applied.
        num_particles: antithetic pairs.
        std: of the perturbations.
        truncation: inner steps a meta-gradient.
        horizon: inner steps of a life.
        clip: the largest entry of a meta-gradient.
        meta_seeds: optimizers of each of the main arms.
        other_seeds: optimizers of every other arm.
        evaluations: times the held-out loss is taken, the untrained optimizer's not counted.
        evaluation_runs: runs it is taken over, each as long as the horizon.
    """

    task: str
    options: Mapping[str, Any] = field(default_factory=dict)
    num_classes: int = 10
    meta_learning_rate: float = 1e-4
    meta_steps: int = 100_000
    num_particles: int = 16
    std: float = 0.01
    truncation: int = 50
    horizon: int = 2000
    clip: float = 1.0
    meta_seeds: int = 5
    other_seeds: int = 5
    evaluations: int = 100
    evaluation_runs: int = 8


@dataclass(frozen=True)
class Scale:
    """The counts of one scale; `SCALES` holds the three that have names.

    Args:
        name: its name.
        recipes: by the names of `TASKS`; a task that is not there is not measured.
        arms: optimizers that are compared; all if empty. Hyperparam,
            Blackbox and STAR with a decay of 0.5 must be there.
        multiples: of the horizon, where runs past it are judged; the last is how far they go.
        far_runs: runs past the horizon an optimizer.
        records: steps at which smoothed losses are kept.
        unseen: tasks of `tasks.UNSEEN` that are measured; all if empty.
        unseen_size: at which of their sizes.
        unseen_images: the dataset of those that have images; each task's own if empty.
        unseen_steps: steps of a run on an unseen task.
        unseen_runs: runs an optimizer on an unseen task.
        unseen_seeds: meta-trained optimizers of an arm that are run there.
        adam_points: learning rates of Adam from 1e-7 to 1.
        nadamw_samples: configurations of NAdamW.
        tuning_runs: runs a configuration.
        nominals: values of α in figure 2a.
        horizons: values of T in figure 2a.
        variance_seeds: runs a value in figure 2a.
        quadratic_meta_steps: meta-steps of figures 2b and 2c.
        quadratic_seeds: meta-trainings of figures 2b and 2c.
        quadratic_every: meta-steps between their records.
        examples: random linear optimizers like that of figure 1.
        bound_draws: random preconditioners a batch, of ten, on which the bounds are tried.
        curvature_steps: steps of a run on a quadratic.
    """

    name: str
    recipes: Mapping[str, Recipe]
    arms: tuple[str, ...] = ()
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

    @property
    def num_tasks(self) -> int:
        """The largest number of particles a meta-gradient, for the command line."""
        return max(recipe.num_particles for recipe in self.recipes.values())


SCALES = {
    # Wiring only: no optimizer is meta-trained long enough for its verdicts to mean anything.
    "smoke": Scale(
        "smoke",
        {
            "mlp": Recipe(
                "digits-mlp-128-128",
                {"hidden": (), "batch_size": 8},
                meta_learning_rate=1e-3,
                meta_steps=10,
                num_particles=2,
                truncation=5,
                horizon=20,
                meta_seeds=2,
                other_seeds=1,
                evaluations=1,
                evaluation_runs=2,
            )
        },
        # Each further kind of optimizer is half a minute of compiling the same code again.
        arms=("hyperparam", "blackbox", "star-0.1", "star-0.5"),
        multiples=(2, 3),
        far_runs=2,
        records=30,
        unseen=("layer-norm-mlp", "autoencoder"),
        unseen_size="smoke",
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
            "mlp": Recipe(
                "mnist-mlp-128-128",
                {"hidden": (32, 32), "batch_size": 64, "size": 14},
                meta_learning_rate=1e-3,
                meta_steps=1000,
                num_particles=8,
                meta_seeds=5,
                other_seeds=3,
                evaluations=20,
                evaluation_runs=2,
            )
        },
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
    "paper": Scale(
        "paper",
        {
            "mlp": Recipe("fashion-mnist-mlp-128-128"),
            "cnn": Recipe("cifar10-cnn-mean-pool"),
        },
    ),
}
