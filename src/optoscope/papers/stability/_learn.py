"""Parts that meta-train optimizers by persistent evolution strategies."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from optoscope import meta, tasks
from optoscope._core.keys import stream
from optoscope.optimizers import StarOptimizer
from optoscope.papers import _meta_trained
from optoscope.papers._meta_trained import MetaTraining
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers._recipe import Recipe
from optoscope.papers.stability._setting import ARMS, OBJECTIVE, Setting


def blank(arm: str, key: PRNGKeyArray) -> StarOptimizer:
    """The optimizer of an arm before meta-training."""
    return StarOptimizer.create(key, **ARMS[arm].options)


def training_of(setting: Setting, name: str, arm: str) -> MetaTraining:
    """How the optimizers of an arm are meta-trained on a task.

    The optimizers of one meta-seed meet the same problems whatever their arm, and arms of one
    shape start from the same weights.
    """
    recipe = setting.recipe(name)

    def estimator(stage: Recipe, task: Any, devices: int) -> meta.PES:
        return meta.PES(
            tasks.fixed(task),
            num_particles=stage.num_tasks,
            devices=devices,
            truncation=stage.truncation,
            horizon=stage.horizon,
            objective=OBJECTIVE,
            **stage.estimator,
        )

    def evaluation(task: Any, key: PRNGKeyArray) -> meta.HeldOutLoss:
        # All are judged on the same runs, or the best of them would be luck.
        del key
        return meta.HeldOutLoss(
            task,
            recipe.horizons[-1],
            recipe.evaluation_runs,
            stream(setting.seed, f"{name} held out"),
            lambda losses: jnp.mean(OBJECTIVE.normalize(losses)),
        )

    return MetaTraining(
        name=f"learned-{name}-{arm}",
        recipe=recipe,
        blank=lambda key: blank(arm, key),
        problems=lambda: setting.task(name),
        estimator=estimator,
        evaluation=evaluation,
        described=setting.described(name, maximum=OBJECTIVE.maximum),
        stream=name,
        weight_decay=ARMS[arm].weight_decay,
    )


def learned(setting: Setting, name: str, arm: str, count: int | None = None) -> tuple[Part, ...]:
    """The optimizers of an arm: of its first `count` meta-seeds, or of all."""
    number = setting.seeds(name, arm)
    number = number if count is None else min(count, number)
    return _meta_trained.all_learned(setting, training_of(setting, name, arm), number)


def training_curves(setting: Setting, name: str, arm: str) -> Part:
    """Meta-training of an arm over its meta-seeds, (meta-seeds, evaluations or reports)."""
    trained = learned(setting, name, arm)
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
            "maximum": np.asarray(OBJECTIVE.maximum),
        }

    return Part(f"training-{name}-{arm}", {"seeds": len(trained)}, compute, trained)
