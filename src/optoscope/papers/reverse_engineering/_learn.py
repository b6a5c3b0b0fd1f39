"""Parts that meta-train optimizers and keep snapshots on the way."""

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import PRNGKeyArray

from optoscope import meta, optimizers
from optoscope._core.files import replacing
from optoscope._core.keys import new_key, stream
from optoscope.optimizers import OptimizerModule
from optoscope.papers._meta_trained import export, finished, outcome, restored, weights
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers.reverse_engineering._scales import Recipe
from optoscope.papers.reverse_engineering._setting import Setting, meta_objective

_L2 = 1e-5
_DECAY = 0.8


@functools.cache
def _meta_optimizer(
    learning_rate: float, clip: float, decay_steps: int
) -> optax.GradientTransformation:
    # One object for all trainings: another one, though equal, would be compiled for again.
    schedule = optax.exponential_decay(learning_rate, decay_steps, _DECAY, staircase=True)
    return optax.chain(
        meta.clip_elementwise(clip), optax.add_decayed_weights(_L2), optax.adam(schedule)
    )


def held_out(setting: Setting, name: str) -> meta.HeldOutLoss:
    """An evaluation by the meta-objective; infinite where a problem diverged.

    All meta-seeds are judged on the same problems, or the best of them would be luck.
    """
    recipe = setting.recipe(name)
    return meta.HeldOutLoss(
        setting.distribution(name),
        recipe.horizon,
        recipe.evaluation_runs,
        stream(setting.seed, f"{name} held out"),
        lambda losses: meta_objective(np.asarray(losses), recipe.relative).mean(),
    )


def blank(recipe: Recipe, key: PRNGKeyArray) -> OptimizerModule:
    """The optimizer before meta-training."""
    return optimizers.RNNOptimizer.create(key, **recipe.optimizer)


def snapshot_steps(recipe: Recipe) -> tuple[int, ...]:
    """When snapshots are taken; the last at the end."""
    steps = np.linspace(0, recipe.meta_steps, recipe.snapshots + 1)[1:]
    return tuple(int(step) for step in np.unique(np.round(steps)))


def _trainer(setting: Setting, name: str, evaluation: meta.HeldOutLoss) -> meta.Trainer:
    recipe = setting.recipe(name)
    return meta.Trainer(
        meta.FullBackprop(
            setting.distribution(name),
            num_tasks=recipe.num_tasks,
            horizon=recipe.horizon,
            relative=recipe.relative,
            second_order=recipe.second_order,
            backward_clip=recipe.backward_clip,
            devices=math.gcd(setting.devices, recipe.num_tasks),
        ),
        _meta_optimizer(recipe.meta_learning_rate, recipe.clip, recipe.decay_steps),
        evaluation=evaluation,
        evaluate_every=-(-recipe.meta_steps // recipe.evaluations),
        checkpoint_every=max(10, recipe.meta_steps // 10),
    )


def learned(setting: Setting, name: str, meta_seed: int) -> Part:
    """A meta-trained optimizer: the one with the least held-out loss.

    The weights by their names under `best/`, `seconds`, `skipped`, `evaluation_loss`; the
    snapshots' under `snapshots/` with a leading axis, with `snapshots/steps` and
    `snapshots/objective`.
    """
    recipe = setting.recipe(name)

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        seed = stream(setting.seed, f"{name} meta-seed {meta_seed}")
        weights_key, steps_key = jax.random.split(seed)
        evaluation = held_out(setting, name)
        trainer, folder = _trainer(setting, name, evaluation), workspace.folder()
        start = blank(recipe, weights_key)

        def up_to(step: int) -> meta.MetaTrainingResult:
            # A run ends where the next one goes on, so a snapshot is a run's end.
            result = finished(
                trainer.run(
                    start,
                    step,
                    key=steps_key,
                    directory=folder,
                    on_report=lambda report: workspace.report(report.step, recipe.meta_steps),
                )
            )
            _keep(_snapshot(folder, step), result.optimizer, evaluation(result.optimizer))
            return result

        for step in snapshot_steps(recipe)[:-1]:
            if not _snapshot(folder, step).exists():
                up_to(step)
        result = up_to(recipe.meta_steps)
        export(folder, result, evaluation.task.metadata, configuration)
        best = {f"best/{path}": leaf for path, leaf in weights(result.best).items()}
        return best | _snapshots(folder, recipe) | outcome(result)

    configuration = setting.described(
        name,
        optimizer=dict(recipe.optimizer),
        meta_seed=meta_seed,
        meta_steps=recipe.meta_steps,
        num_tasks=recipe.num_tasks,
        meta_learning_rate=recipe.meta_learning_rate,
        relative=recipe.relative,
        evaluations=[recipe.evaluations, recipe.evaluation_runs],
        snapshots=recipe.snapshots,
        clip=recipe.clip,
        l2=_L2,
        decay=[_DECAY, recipe.decay_steps],
        second_order=recipe.second_order,
        kept="least held-out loss",
        **({"backward_clip": recipe.backward_clip} if recipe.backward_clip else {}),
    )
    return Part(
        f"learned-{name}-seed-{meta_seed}", configuration, compute, programs=f"learned-{name}"
    )


def _snapshot(folder: Path, step: int) -> Path:
    return folder / f"snapshot-{step}.npz"


def _keep(path: Path, optimizer: Any, objective: float) -> None:
    arrays = weights(optimizer) | {"objective": np.asarray(objective)}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _snapshots(folder: Path, recipe: Recipe) -> dict[str, np.ndarray]:
    steps, kept = snapshot_steps(recipe), []
    for step in steps:
        with np.load(_snapshot(folder, step), allow_pickle=False) as saved:
            kept.append({key: saved[key] for key in saved.files})
    stacked = {f"snapshots/{key}": np.stack([one[key] for one in kept]) for key in kept[0]}
    return stacked | {"snapshots/steps": np.asarray(steps)}


def all_learned(setting: Setting, name: str) -> tuple[Part, ...]:
    """The optimizers of all meta-seeds of a task."""
    return tuple(learned(setting, name, seed) for seed in setting.seeds(name))


def load_learned(arrays: Arrays, recipe: Recipe) -> OptimizerModule:
    """The optimizer from the arrays of `learned`."""
    paths = (key for key in arrays if key.startswith("best/"))
    empty = blank(recipe, new_key(0))
    return restored(empty, {key.removeprefix("best/"): arrays[key] for key in paths})


def load_snapshots(arrays: Arrays, recipe: Recipe) -> list[OptimizerModule]:
    """The optimizers of the snapshots, from the arrays of `learned`."""
    stacked = {
        key.removeprefix("snapshots/"): values
        for key, values in arrays.items()
        if key.startswith("snapshots/")
    }
    empty = blank(recipe, new_key(0))
    return [
        restored(empty, {key: values[index] for key, values in stacked.items()})
        for index in range(len(stacked["steps"]))
    ]


def best_seed(trained: list[Arrays]) -> int:
    """The meta-seed with the least held-out loss."""
    losses = np.array([float(arrays["evaluation_loss"]) for arrays in trained])
    return int(np.argmin(np.where(np.isfinite(losses), losses, np.inf)))
