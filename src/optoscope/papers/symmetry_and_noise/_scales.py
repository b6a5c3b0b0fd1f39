"""The four scales: the same program with other numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from optoscope.papers import _recipe
from optoscope.papers._recipe import Recipe, Stronger
from optoscope.papers.published import CONTESTANTS

# L2O-DM: the paper's LSTM, as Chen et al. (2020) trained it.
PUBLISHED = tuple(name for name in CONTESTANTS if name.startswith("dm"))
# The symmetry whose deviations are looked at on each of the paper's networks.
SYMMETRIES = {"leaky-relu": "rescale", "batch-norm": "scale", "sigmoid": "translation"}


@dataclass(frozen=True)
class Kind:
    """A kind of learned optimizer before it is meta-trained.

    Args:
        name: of the registry.
        options: of the registered optimizer.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


# The paper's LSTM. The GRU sees what it sees and has as many units: what differs is the cell.
LSTM = Kind("lstm")
GRU = Kind(
    "rnn", {"cell": "gru", "hidden_size": 20, "input_scaling": "log", "output_scale": 0.1}
)  # fmt: skip


@dataclass(frozen=True)
class Scale(_recipe.Scale):
    """All counts of a reproduction of paper A; `make` gives the paper's.

    Args:
        name: "smoke", "laptop", "long", "paper", or your own.
        recipes: by the networks of `SYMMETRIES`.
        lstm: the LSTM optimizer that is meta-trained.
        printed: recipes of the paper's own protocol, by the networks of `SYMMETRIES`, where the
            optimizers of `recipes` are made in another way; they stand beside those.
        published: the optimizers that others trained and that stand beside those too, by their
            short names in `PUBLISHED`.
        penalty_seeds: optimizers of each strength of the penalty; as many as without one, if not
            given.
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
    lstm: Kind = LSTM
    printed: Mapping[str, Recipe] = field(default_factory=dict)
    published: tuple[str, ...] = ()
    penalty_seeds: int | None = None


_PRINTED: dict[str, Any] = {"meta_steps": 10_000}


def _scale(
    name: str,
    meta_training: dict[str, Any],
    *,
    dataset: Literal["digits", "mnist"] = "mnist",
    image_size: int | None = None,
    **counts: Any,
) -> Scale:
    """The paper's counts, but for those that are given."""
    numbers: dict[str, Any] = _PRINTED | meta_training
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
    # The paper's networks and images. What made LSTM optimizers beat tuned ones elsewhere, with a
    # tenth of the paper's updates: Adam's view of the gradient beside its logarithm, a teacher at
    # first, horizons that grow to the paper's. Beside them its own protocol on one network. Judged
    # over 500 steps, unrolls of 20 made optimizers worse from a third of this meta-training on.
    "long": _scale(
        "long",
        {
            "horizon": 100,
            "meta_steps": 1000,
            "meta_learning_rate": 3e-3,
            "estimator": {"stagger": True},
            "evaluations": 10,
            "stronger": Stronger(
                curriculum=(200,),
                imitate={"adam": 0.01},
                imitation_steps=250,
                averaging=0.99,
                cosine=True,
                # That of a sum over twenty steps; of their mean it is 1.
                clip_norm=20.0,
            ),
        },
        lstm=Kind(
            "rnnprop",
            {"hidden_size": 16, "update_scale": 0.1, "log_inputs": True, "bounded": False},
        ),
        printed={"leaky-relu": Recipe("mnist-mlp-leaky-relu", meta_seeds=1, **_PRINTED)},
        published=PUBLISHED,
        penalty_seeds=1,
        sweep_betas=(0.0, 0.03, 0.1, 0.3, 1.0, 3.0),
        runs=8,
        tuning_points=19,
    ),
    "paper": _scale("paper", {}, published=PUBLISHED),
}
