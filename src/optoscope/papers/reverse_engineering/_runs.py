"""Parts that run optimizers: comparisons with tuned baselines, and the states of learned ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from optoscope import optimizers, tasks, training
from optoscope._core.errors import InvalidValueError
from optoscope._core.keys import new_key, stream
from optoscope.analysis import dynamics
from optoscope.optimizers import Optimizer, OptimizerModule
from optoscope.papers._meta_trained import best_seed, load_learned
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers.reverse_engineering._dynamics import fixed_points
from optoscope.papers.reverse_engineering._learn import all_learned, training_of
from optoscope.papers.reverse_engineering._searches import (
    analytic_optimum,
    baselines,
    best_baseline,
    tuned,
)
from optoscope.papers.reverse_engineering._setting import RECOVERED, Setting, meta_objective

_CONDITION_NUMBERS, _IMAGES = 1000, 12


def problems(setting: Setting) -> Part:
    """Illustrations of the four tasks: condition numbers, points and images."""

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        regression = setting.distribution("regression")
        assert isinstance(regression, tasks.RandomLeastSquares)
        keys = jax.random.split(stream(setting.seed, "condition numbers"), _CONDITION_NUMBERS)
        matrices = jax.lax.map(lambda key: regression.sample(key).matrix, keys)
        spectra = np.linalg.svd(np.asarray(matrices, np.float64), compute_uv=False) ** 2
        moons = _the_task(setting, "two-moons")
        digits = _the_task(setting, "cnn")
        assert isinstance(moons, tasks.TwoMoons)
        assert isinstance(digits, tasks.Classification)
        train = digits.splits["train"]
        assert isinstance(digits.network, tasks.CNN)
        height, width, _ = digits.network.image_shape
        # The first channel is all there is to see of a digit.
        images = np.asarray(train.inputs[:_IMAGES]).reshape(_IMAGES, height, width, -1)[..., 0]
        return {
            "condition_numbers": spectra[:, 0] / spectra[:, -1],
            "regression_spectra": spectra,
            "points": np.asarray(moons.points),
            "labels": np.asarray(moons.labels),
            "images": images,
            "image_labels": np.asarray(train.labels[:_IMAGES]),
        }

    described = {name: setting.described(name) for name in ("regression", "two-moons", "cnn")}
    return Part("tasks", described | {"count": _CONDITION_NUMBERS}, compute)


def _the_task(setting: Setting, name: str) -> tasks.Task:
    return setting.distribution(name).sample(new_key(0))


def performance(setting: Setting, name: str) -> Part:
    """Tuned baselines and learned optimizers on the same fresh problems.

    For each `<optimizer>/losses`, (repetitions, runs, steps), and `<optimizer>/objective`.
    """
    scale, recipe = setting.scale, setting.recipe(name)
    tuning, trained = tuned(setting, name), all_learned(setting, name)
    needs: tuple[Part, ...] = (tuning, *trained)
    if name == RECOVERED:
        needs = (*needs, fixed_points(setting, name))

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        how = training_of(setting, name)
        learned = [load_learned(needed[part.name], how) for part in trained]
        contestants: dict[str, Sequence[Optimizer | None]] = {
            baseline: [best_baseline(needed[tuning.name], baseline)] for baseline in baselines(name)
        }
        contestants["learned"] = learned
        if name == RECOVERED:
            rate, decay = analytic_optimum(setting)
            contestants["heavy-ball"] = [optimizers.momentum(float(rate), float(decay))]
            contestants |= _linear_ones(learned, needed[f"fixed-points-{name}"])
        distribution = setting.distribution(name)
        arrays: dict[str, Any] = {"best": best_seed([needed[part.name] for part in trained])}
        for index, (label, repetitions) in enumerate(contestants.items()):
            losses = np.stack(
                [_losses(setting, name, distribution, optimizer) for optimizer in repetitions]
            )
            arrays[f"{label}/losses"] = losses
            arrays[f"{label}/objective"] = meta_objective(losses, recipe.relative)
            workspace.report(index + 1, len(contestants))
        return {key: np.asarray(value) for key, value in arrays.items()}

    configuration = setting.described(name, runs=scale.runs)
    return Part(f"performance-{name}", configuration, compute, needs)


def _losses(
    setting: Setting,
    name: str,
    distribution: tasks.TaskDistribution,
    optimizer: Optimizer | None,
) -> np.ndarray:
    """Losses of shape (runs, steps); not a number where there is no optimizer."""
    steps, runs = setting.recipe(name).horizon, setting.scale.runs
    if optimizer is None:
        return np.full((runs, steps), np.nan, np.float32)
    key = stream(setting.seed, f"{name} comparison")
    run = training.train(distribution, optimizer, steps, key=key, num_runs=runs)
    return np.asarray(run.losses)


def _linear_ones(
    learned: Sequence[OptimizerModule], found: Arrays
) -> dict[str, Sequence[Optimizer | None]]:
    """Learned optimizers, linearized at the point where they converge."""
    made: dict[str, list[Optimizer | None]] = {"one-mode": [], "two-modes": [], "linearized": []}
    for optimizer, point in zip(learned, found["convergence"], strict=True):
        coordinates = dynamics.coordinate_map(optimizer)
        linear = dynamics.linearize(coordinates, point)
        modes = linear.modes()
        made["one-mode"].append(_first_modes(modes, 1))
        made["two-modes"].append(_first_modes(modes, 2))
        start = coordinates.initial_state
        made["linearized"].append(dynamics.linearized_optimizer(linear, start=start))
    return dict(made)


def _first_modes(modes: dynamics.Modes, keep: int) -> Optimizer | None:
    try:
        return dynamics.aggregated_momentum(modes, keep=keep)
    except InvalidValueError:  # their learning rates are not determined
        return None
