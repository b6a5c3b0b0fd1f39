"""How much is computed, and on which tasks: of a paper's length, of a laptop, and of a test."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HOME, PROBED = "home", "relu"


@dataclass(frozen=True)
class Problem:
    """A registered task with its options.

    Args:
        task: its registered name.
        options: of `tasks.get`.
    """

    task: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scale:
    """The counts of one scale; `SCALES` holds the three that have names.

    Args:
        name: its name.
        problems: by the short names of `TASKS`.
        steps: of a long run.
        runs: of everything that is run.
        early_steps: of a long run, that count as its start.
        rates: learning rates that are tried for optimizers that want one.
        tuning_runs: for each of them.
        short_steps: of the runs that are looked into.
        batches: from which a tail index is estimated.
        driven_steps: of a run on drawn gradients.
        curvature_steps: of a run on a quadratic.
        starts: from which fixed points are sought.
        num_tasks: side by side, which devices could share: nothing is meta-trained.
        verify: refuse a dataset that is incomplete.
    """

    name: str
    problems: Mapping[str, Problem]
    steps: int
    runs: int
    early_steps: int
    rates: int
    tuning_runs: int
    short_steps: int
    batches: int
    driven_steps: int
    curvature_steps: int
    starts: int
    num_tasks: int = 1
    verify: bool = True


# The home of L2O-DM is its network and its start, N(0, 0.01²); its images are MNIST's at 28×28.
TASKS: Mapping[str, str] = {
    HOME: "MLP, sigmoid (home)",
    PROBED: "MLP, leaky ReLU",
    "cnn": "CNN",
    "moons": "Two moons, all points",
}
_SMALL_CNN = {"channels": (6, 6), "strides": (1, 2), "batch_size": 16}
_SMALL_MOONS = {"hidden": (16, 16), "num_points": 256}

SCALES: Mapping[str, Scale] = {
    "smoke": Scale(
        "smoke",
        {
            HOME: Problem("digits-mlp-dm"),
            PROBED: Problem("digits-mlp-leaky-relu"),
            "cnn": Problem("digits-cnn", _SMALL_CNN),
            "moons": Problem("two-moons", _SMALL_MOONS),
        },
        steps=60,
        runs=2,
        early_steps=10,
        rates=2,
        tuning_runs=1,
        short_steps=20,
        batches=8,
        driven_steps=30,
        curvature_steps=60,
        starts=8,
    ),
    # Recurrent optimizers cost by the coordinate: networks are small, steps as many as at length.
    "laptop": Scale(
        "laptop",
        {
            HOME: Problem("mnist-mlp-dm", {"size": 8}),
            PROBED: Problem("mnist-mlp-leaky-relu", {"size": 8, "hidden": (10,)}),
            "cnn": Problem("digits-cnn", _SMALL_CNN),
            "moons": Problem("two-moons", _SMALL_MOONS),
        },
        steps=20_000,
        runs=3,
        early_steps=200,
        rates=7,
        tuning_runs=1,
        short_steps=200,
        batches=64,
        driven_steps=400,
        curvature_steps=2000,
        starts=64,
    ),
    "paper": Scale(
        "paper",
        {
            HOME: Problem("mnist-mlp-dm"),
            PROBED: Problem("mnist-mlp-leaky-relu"),
            "cnn": Problem("mnist-cnn"),
            "moons": Problem("two-moons"),
        },
        steps=20_000,
        runs=10,
        early_steps=200,
        rates=13,
        tuning_runs=2,
        short_steps=200,
        batches=469,
        driven_steps=1000,
        curvature_steps=5000,
        starts=256,
    ),
}
