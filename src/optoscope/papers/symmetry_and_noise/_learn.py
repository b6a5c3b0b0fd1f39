"""Parts that tune baselines and meta-train optimizers."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from optoscope import bench, meta, optimizers, tasks
from optoscope._core.keys import stream
from optoscope.analysis.symmetry import SymmetryPenalty
from optoscope.bench._comparison_result import search_arrays
from optoscope.optimizers import Optimizer
from optoscope.papers._meta_trained import MetaTraining
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers._recipe import Recipe
from optoscope.papers.symmetry_and_noise._setting import BASELINES, SYMMETRIES, Setting

REDUCTIONS = {"paper": "sum", "released": "log_sum"}


def training_of(
    setting: Setting,
    variant: str,
    beta: float = 0.0,
    *,
    protocol: str = "paper",
    optimizer: str = "lstm",
) -> MetaTraining:
    """How an optimizer is meta-trained.

    The optimizers of one meta-seed start from the same weights and meet the same problems
    whatever β is.

    Args:
        setting: scale and seed.
        variant: the network it is meta-trained on; its symmetry is the penalized one.
        beta: strength of the penalty on deviations.
        protocol: "paper" (sum of the losses, β·Σ|d|) or "released" (logarithm of that sum,
            |β·Σ d|), which is what the program released with the paper does.
        optimizer: a kind of learned optimizer, of `LEARNED`.
    """
    recipe, symmetry = setting.recipe(variant, optimizer), SYMMETRIES[variant]
    made, kind = setting.kind(optimizer), "learned" if optimizer == "lstm" else optimizer
    released = "-released" if protocol == "released" else ""

    def estimator(stage: Recipe, task: Any, devices: int) -> meta.TruncatedBackprop:
        # With β = 0 too: β is an array leaf, so all strengths share one compiled program.
        penalty = SymmetryPenalty.for_task(task, symmetry, beta, protocol)
        return meta.TruncatedBackprop(
            tasks.fixed(task),
            num_tasks=stage.num_tasks,
            devices=devices,
            truncation=stage.truncation,
            horizon=stage.horizon,
            objective=meta.Objective(REDUCTIONS[protocol], penalties=(penalty,)),
            **stage.estimator,
        )

    return MetaTraining(
        name=f"{kind}-{variant}{released}-beta-{beta:g}",
        recipe=recipe,
        blank=lambda key: optimizers.get(made.name, key=key, **made.options),
        problems=lambda: setting.task(variant),
        estimator=estimator,
        evaluation=lambda task, key: meta.HeldOutLoss(
            tasks.fixed(task), recipe.horizons[-1], recipe.evaluation_runs, key
        ),
        described=setting.described(
            variant, symmetry=symmetry, beta=beta, protocol=protocol, kind=optimizer
        ),
    )


def tuned(setting: Setting, variant: str, *, label: str | None = None, **options: Any) -> Part:
    """The searches of the baselines' learning rates; the best as `<name>/best`.

    The score is the mean training loss over the steps that are then compared.

    Args:
        setting: scale and seed.
        variant: the network.
        label: in place of the variant in the part's name.
        options: of the task.
    """
    scale = setting.scale
    counts: dict[str, Any] = {
        "num_steps": scale.steps,
        "num_points": scale.tuning_points,
        "num_runs": scale.tuning_runs,
    }

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        task = setting.task(variant, **options)
        key = stream(setting.seed, "tuning")
        searches = {}
        # Two at once: most of a short search is compiling.
        with ThreadPoolExecutor(2) as pool:
            found = pool.map(lambda name: bench.tune(name, task, key=key, **counts), BASELINES)
            for index, (name, search) in enumerate(zip(BASELINES, found, strict=True)):
                searches[name] = search
                workspace.report(index + 1, len(BASELINES))
        arrays = dict(search_arrays(searches))
        for name, search in searches.items():
            arrays[f"{name}/best"] = np.asarray(search.best["learning_rate"])
            arrays[f"{name}/on_edge"] = np.asarray(bool(search.warnings))
        return arrays

    configuration = setting.described(variant, optimizers=BASELINES, **options, **counts)
    return Part(f"tuned-{label or variant}", configuration, compute)


def baseline(arrays: Arrays, name: str) -> Optimizer:
    """A tuned baseline from the arrays of `tuned`."""
    return optimizers.REGISTRY[name].create(learning_rate=float(arrays[f"{name}/best"]))
