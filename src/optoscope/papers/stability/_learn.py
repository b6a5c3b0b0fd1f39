"""Parts that meta-train optimizers by persistent evolution strategies."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from optoscope import meta, optimizers, tasks
from optoscope._core.keys import new_key, stream
from optoscope.optimizers import OptimizerModule, StarOptimizer
from optoscope.papers._meta_trained import export, finished, outcome, restored, weights
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers.stability._scales import Recipe
from optoscope.papers.stability._setting import ARMS, Setting


def _on_matrices(meta_params: PyTree[Array]) -> PyTree[bool]:
    """The network's weights; its biases and the decays of its averages have lower rank."""
    return jax.tree.map(lambda leaf: leaf.ndim == 2, meta_params)


def _clipped_adamw(
    learning_rate: Float[Array, ""], weight_decay: Float[Array, ""], clip: Float[Array, ""]
) -> optax.GradientTransformation:
    # The trainer skips gradients that are not finite, so there is nothing else to clip here.
    return optax.chain(
        optax.stateless_with_tree_map(lambda g, _: jax.numpy.clip(g, -clip, clip)),
        optax.adamw(learning_rate, weight_decay=weight_decay, mask=_on_matrices),
    )


def meta_optimizer(recipe: Recipe, weight_decay: float) -> optax.GradientTransformation:
    """AdamW whose numbers are arrays: all weight decays share one compiled program."""
    numbers = {
        "learning_rate": recipe.meta_learning_rate,
        "weight_decay": weight_decay,
        "clip": recipe.clip,
    }
    arrays = {name: jax.numpy.asarray(value) for name, value in numbers.items()}
    module = optimizers.OptaxOptimizer(_clipped_adamw, arrays, "clipped-adamw")
    return cast(optax.GradientTransformation, optimizers.as_optax(module))


def blank(arm: str, key: PRNGKeyArray) -> StarOptimizer:
    """The optimizer of an arm before meta-training."""
    return StarOptimizer.create(key, **ARMS[arm].options)


def learned(setting: Setting, name: str, arm: str, meta_seed: int) -> Part:
    """A meta-trained optimizer.

    Its weights by their names under `best/` (the least held-out loss) and `final/`; the curves
    of meta-training (`steps`, `held_out`; `report_steps`, `meta_loss`, `gradient_norm`,
    `non_finite`); `seconds`, `skipped`, `evaluation_loss`.

    The optimizers of one meta-seed meet the same problems and draws whatever their arm, and
    arms of one shape start from the same weights.
    """
    recipe, weight_decay = setting.recipe(name), ARMS[arm].weight_decay

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        seed = stream(setting.seed, f"{name} meta-seed {meta_seed}")
        weights_key, steps_key = jax.random.split(seed)
        task, objective = setting.task(name), setting.objective(name)
        # All are judged on the same runs, or the best of them would be luck.
        held_out = meta.HeldOutLoss(
            task,
            recipe.horizon,
            recipe.evaluation_runs,
            stream(setting.seed, f"{name} held out"),
            lambda losses: jax.numpy.mean(objective.normalize(losses)),
        )
        trainer = meta.Trainer(
            meta.PES(
                tasks.fixed(task),
                num_particles=recipe.num_particles,
                devices=math.gcd(setting.devices, recipe.num_particles),
                truncation=recipe.truncation,
                horizon=recipe.horizon,
                std=recipe.std,
                objective=objective,
            ),
            meta_optimizer(recipe, weight_decay),
            evaluation=held_out,
            evaluate_every=-(-recipe.meta_steps // recipe.evaluations),
            checkpoint_every=max(10, recipe.meta_steps // 20),
        )
        start, folder = blank(arm, weights_key), workspace.folder()
        result = finished(
            trainer.run(
                start,
                recipe.meta_steps,
                key=steps_key,
                directory=folder,
                on_report=lambda report: workspace.report(report.step, recipe.meta_steps),
            )
        )
        kept = {"best": result.best, "final": result.optimizer}
        export(folder, result, task.metadata, configuration)
        arrays = {
            f"{which}/{path}": leaf
            for which, optimizer in kept.items()
            for path, leaf in weights(optimizer).items()
        }
        curves = _curves(folder / "metrics.jsonl", held_out(start))
        return arrays | curves | outcome(result)

    configuration = setting.described(
        name,
        optimizer=blank(arm, new_key(0)).configuration(),
        weight_decay=weight_decay,
        meta_seed=meta_seed,
        meta_steps=recipe.meta_steps,
        meta_learning_rate=recipe.meta_learning_rate,
        num_particles=recipe.num_particles,
        std=recipe.std,
        truncation=recipe.truncation,
        clip=recipe.clip,
        maximum=setting.objective(name).maximum,
        evaluations=[recipe.evaluations, recipe.evaluation_runs],
    )
    # Weight decay is an array of the program.
    programs = f"learned-{name}-{configuration['optimizer']}"
    return Part(f"learned-{name}-{arm}-seed-{meta_seed}", configuration, compute, programs=programs)


def _curves(log: Path, at_start: float) -> dict[str, np.ndarray]:
    """Meta-training as the trainer's log tells it; the log survives interruptions."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    judged = [line for line in lines if line.get("evaluation_loss") is not None]
    steps = [0, *(line["step"] for line in judged)]
    held_out = [at_start, *(line["evaluation_loss"] for line in judged)]

    def reported(field: str) -> np.ndarray:
        return np.asarray([line[field] for line in lines], np.float64)

    return {
        "steps": np.asarray(steps),
        "held_out": np.asarray(held_out),
        "report_steps": reported("step").astype(np.int64),
        "meta_loss": reported("meta_loss"),
        "gradient_norm": reported("gradient_norm"),
        "non_finite": reported("non_finite_tasks"),
    }


def all_learned(setting: Setting, name: str, arm: str) -> tuple[Part, ...]:
    """The optimizers of all meta-seeds of an arm."""
    return tuple(learned(setting, name, arm, seed) for seed in setting.seeds(name, arm))


def load_learned(arrays: Arrays, arm: str, which: str = "best") -> OptimizerModule:
    """The optimizer from the arrays of `learned`: the "best" or the "final" one."""
    prefix = f"{which}/"
    found: dict[str, Any] = {
        key.removeprefix(prefix): values for key, values in arrays.items() if key.startswith(prefix)
    }
    return restored(blank(arm, new_key(0)), found)


def training_curves(setting: Setting, name: str, arm: str) -> Part:
    """Meta-training of an arm over its meta-seeds, (meta-seeds, evaluations or reports)."""
    trained = all_learned(setting, name, arm)
    recipe = setting.recipe(name)

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        found = [needed[part.name] for part in trained]
        stacked = (
            "held_out", "meta_loss", "gradient_norm", "non_finite", "skipped", "seconds",
        )  # fmt: skip
        arrays = {key: np.stack([one[key] for one in found]) for key in stacked}
        steps = found[0]["steps"]
        best = np.asarray([steps[np.argmin(one["held_out"])] for one in found])
        return arrays | {
            "steps": steps,
            "report_steps": found[0]["report_steps"],
            "best_step": best,
            "weight_decay": np.asarray(ARMS[arm].weight_decay),
            "learning_rate": np.asarray(recipe.meta_learning_rate),
            "maximum": np.asarray(setting.objective(name).maximum),
        }

    return Part(f"training-{name}-{arm}", {"seeds": len(trained)}, compute, trained)
