"""Parts that tune baselines and meta-train optimizers."""

import functools
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import PRNGKeyArray

from optoscope import bench, meta, optimizers, tasks
from optoscope._core.keys import new_key, stream
from optoscope.analysis.symmetry import SymmetryPenalty
from optoscope.bench._comparison import search_arrays
from optoscope.optimizers import Optimizer, OptimizerModule
from optoscope.papers._meta_trained import export, finished, outcome, restored, weights
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers.symmetry_and_noise._setting import BASELINES, SYMMETRIES, Setting

REDUCTIONS = {"paper": "sum", "released": "log_sum"}
# The GRU sees what the LSTM sees and has as many units: what differs is the cell.
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "lstm": {},
    "rnn": {"cell": "gru", "hidden_size": 20, "input_scaling": "log", "output_scale": 0.1},
}


@dataclass(frozen=True)
class Recipe:
    """How an optimizer is meta-trained.

    Args:
        variant: the network it is meta-trained on; its symmetry is the penalised one.
        beta: strength of the penalty on deviations.
        protocol: "paper" (sum of the losses, β·Σ|d|) or "released" (logarithm of that sum,
            |β·Σ d|), which is what the program released with the paper does.
        optimizer: a learned optimizer of the registry.
    """

    variant: str
    beta: float = 0.0
    protocol: str = "paper"
    optimizer: str = "lstm"

    @property
    def name(self) -> str:
        """Part of a file name."""
        kind = "learned" if self.optimizer == "lstm" else self.optimizer
        released = "-released" if self.protocol == "released" else ""
        return f"{kind}-{self.variant}{released}-beta-{self.beta:g}"

    def objective(self, task: tasks.Task) -> meta.Objective:
        """The meta-loss of an unroll, with the penalty.

        With β = 0 too: β is an array leaf, so all strengths share one compiled program.
        """
        symmetry = SYMMETRIES[self.variant]
        penalty = SymmetryPenalty.for_task(task, symmetry, self.beta, self.protocol)
        return meta.Objective(REDUCTIONS[self.protocol], penalties=(penalty,))

    def blank(self, key: PRNGKeyArray) -> OptimizerModule:
        """The optimizer before meta-training."""
        return optimizers.get(self.optimizer, key=key, **CONFIGURATIONS[self.optimizer])


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


@functools.cache
def _meta_optimizer(learning_rate: float) -> optax.GradientTransformation:
    # One object for all trainings: another one, though equal, would be compiled for again.
    return optax.adam(learning_rate)


def learned(setting: Setting, recipe: Recipe, meta_seed: int) -> Part:
    """A meta-trained optimizer.

    The weights by their names, `seconds`, `meta_steps`, `skipped` and `evaluation_loss`. The
    optimizers of one meta-seed start from the same weights and meet the same problems whatever
    β is.
    """
    scale = setting.scale
    counts: dict[str, Any] = {
        "meta_steps": scale.meta_steps,
        "num_tasks": scale.num_tasks,
        "truncation": scale.truncation,
        "horizon": scale.horizon,
        "meta_learning_rate": scale.meta_learning_rate,
        "evaluations": scale.evaluations,
    }

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        task = setting.task(recipe.variant)
        seed = stream(setting.seed, f"meta-seed {meta_seed}")
        weights_key, steps_key, evaluation_key = jax.random.split(seed, 3)
        distribution, folder = tasks.fixed(task), workspace.folder()
        trainer = meta.Trainer(
            meta.TruncatedBackprop(
                distribution,
                num_tasks=scale.num_tasks,
                devices=math.gcd(setting.devices, scale.num_tasks),
                truncation=scale.truncation,
                horizon=scale.horizon,
                objective=recipe.objective(task),
            ),
            _meta_optimizer(scale.meta_learning_rate),
            evaluation=meta.HeldOutLoss(distribution, scale.horizon, 4, evaluation_key),
            evaluate_every=-(-scale.meta_steps // scale.evaluations),
            checkpoint_every=max(10, scale.meta_steps // 5),
        )
        result = finished(
            trainer.run(
                recipe.blank(weights_key),
                scale.meta_steps,
                key=steps_key,
                directory=folder,
                on_report=lambda report: workspace.report(report.step, scale.meta_steps),
            )
        )
        export(folder, result, task.metadata, configuration)
        return weights(result.best) | outcome(result) | {"meta_steps": np.asarray(result.step)}

    configuration = setting.described(
        recipe.variant,
        symmetry=SYMMETRIES[recipe.variant],
        beta=recipe.beta,
        protocol=recipe.protocol,
        optimizer=recipe.optimizer,
        meta_seed=meta_seed,
        kept="least held-out loss",
        **counts,
    )
    return Part(f"{recipe.name}-seed-{meta_seed}", configuration, compute, programs=recipe.name)


def load_learned(arrays: Arrays, recipe: Recipe) -> OptimizerModule:
    """The optimizer from the arrays of `learned`."""
    return restored(recipe.blank(new_key(0)), arrays)
