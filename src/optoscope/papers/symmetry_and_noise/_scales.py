"""The three scales: the same program with other numbers."""

from dataclasses import dataclass
from typing import Any, Literal

from optoscope.papers import _recipe
from optoscope.papers._recipe import Recipe

# The symmetry whose deviations are looked at on each of the paper's networks.
SYMMETRIES = {"leaky-relu": "rescale", "batch-norm": "scale", "sigmoid": "translation"}


@dataclass(frozen=True)
class Scale(_recipe.Scale):
    """All counts of a reproduction of paper A; `make` gives the paper's.

    Args:
        name: "smoke", "laptop", "paper", or your own.
        recipes: by the networks of `SYMMETRIES`.
        dataset: "digits" or "mnist".
        image_size: pixels a side after averaging over areas; None keeps the images.
        wide: the larger network of figures 6 and 7, as the registry's names spell it.
        betas: strengths of the penalty for rescale and scale; the first must be 0.
        translation_betas: the same for translation.
        sweep_betas: the strengths of `sweep-beta`.
        runs: paired runs per optimizer.
        steps: steps of the runs in which deviations are measured.
        performance_steps: steps of the runs in which performance is compared.
        tuning_points: points of each learning-rate grid.
        tuning_runs: runs per point.
        interpolations: λ of Lion–SGD, descending.
        histogram_steps: updates to draw, the first being number 1.
        noise_steps: steps of the runs in which noise is measured.
        noise_every: steps between its measurements.
        noise_batches: mini-batches for the tail index.
        covariance_batches: mini-batches for the covariance.
        noise_seeds: meta-trained optimizers whose noise is measured; it is the costly part.
    """

    dataset: Literal["digits", "mnist"] = "mnist"
    image_size: int | None = None
    wide: str = "mlp-100-100"
    betas: tuple[float, ...] = (0.0, 0.1, 0.5, 1.0)
    translation_betas: tuple[float, ...] = (0.0, 0.01, 0.1, 0.5, 1.0)
    sweep_betas: tuple[float, ...] = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    runs: int = 10
    steps: int = 100
    performance_steps: int = 200
    tuning_points: int = 25
    tuning_runs: int = 8
    interpolations: tuple[float, ...] = (1.0, 0.5, 0.25, 0.1, 0.0)
    histogram_steps: tuple[int, ...] = (1, 5, 10, 30, 100, 500)
    noise_steps: int = 1000
    noise_every: int = 100
    noise_batches: int = 469
    covariance_batches: int = 93
    noise_seeds: int = 3


def _scale(
    name: str,
    meta_training: dict[str, Any],
    *,
    dataset: Literal["digits", "mnist"] = "mnist",
    image_size: int | None = None,
    **counts: Any,
) -> Scale:
    """The paper's counts, but for those that are given."""
    numbers: dict[str, Any] = {"meta_steps": 10_000} | meta_training
    options = {} if image_size is None else {"size": image_size}
    recipes = {
        variant: Recipe(f"{dataset}-mlp-{variant}", options, **numbers) for variant in SYMMETRIES
    }
    return Scale(name, recipes, dataset=dataset, image_size=image_size, **counts)


SCALES = {
    # Wiring only: no optimizer is meta-trained long enough for its verdicts to mean anything.
    "smoke": _scale(
        "smoke",
        {
            "meta_seeds": 2,
            "meta_steps": 30,
            "truncation": 10,
            "horizon": 50,
            "meta_learning_rate": 5e-3,
            "evaluations": 1,
        },
        dataset="digits",
        wide="mlp-20-20",
        betas=(0.0, 1.0),
        translation_betas=(0.0, 1.0),
        sweep_betas=(0.0, 0.3, 1.0),
        runs=2,
        steps=40,
        performance_steps=40,
        tuning_points=3,
        tuning_runs=2,
        interpolations=(1.0, 0.5, 0.0),
        histogram_steps=(1, 5, 40),
        noise_steps=21,
        noise_every=10,
        noise_batches=8,
        covariance_batches=8,
        noise_seeds=1,
    ),
    # Images of 10 x 10: a seventh of the coordinates, hence of the time an update of the
    # optimizer's weights takes. A tenth of the updates, at five times the rate: that is noisy, so
    # it is the choice among many evaluations that makes it good.
    "laptop": _scale(
        "laptop",
        {"meta_steps": 1000, "meta_learning_rate": 5e-3, "evaluations": 25},
        image_size=10,
        sweep_betas=(0.0, 0.03, 0.1, 0.3, 1.0, 3.0),
        runs=8,
        tuning_points=19,
    ),
    "paper": _scale("paper", {}),
}
