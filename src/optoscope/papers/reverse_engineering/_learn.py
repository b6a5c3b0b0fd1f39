"""How paper B's optimizers are meta-trained."""

from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from optoscope import meta
from optoscope._core.keys import stream
from optoscope.optimizers import RNNOptimizer
from optoscope.papers import _meta_trained
from optoscope.papers._meta_trained import MetaTraining
from optoscope.papers._parts import Part
from optoscope.papers._recipe import Recipe
from optoscope.papers.reverse_engineering._setting import Setting, meta_objective


def training_of(setting: Setting, name: str) -> MetaTraining:
    """How the optimizers of a task are meta-trained: by gradients through whole episodes."""
    recipe = setting.recipe(name)

    def estimator(stage: Recipe, problems: Any, devices: int) -> meta.FullBackprop:
        return meta.FullBackprop(
            problems,
            num_tasks=stage.num_tasks,
            horizon=stage.horizon,
            relative=stage.relative,
            devices=devices,
            **stage.estimator,
        )

    def evaluation(problems: Any, key: PRNGKeyArray) -> meta.HeldOutLoss:
        # All meta-seeds are judged on the same problems, or the best of them would be luck.
        del key
        return meta.HeldOutLoss(
            problems,
            recipe.horizons[-1],
            recipe.evaluation_runs,
            stream(setting.seed, f"{name} held out"),
            # Infinite where a problem diverged.
            lambda losses: meta_objective(np.asarray(losses), recipe.relative).mean(),
        )

    return MetaTraining(
        name=f"learned-{name}",
        recipe=recipe,
        blank=lambda key: RNNOptimizer.create(key, **recipe.optimizer),
        problems=lambda: setting.distribution(name),
        estimator=estimator,
        evaluation=evaluation,
        described=setting.described(name),
        stream=name,
    )


def all_learned(setting: Setting, name: str) -> tuple[Part, ...]:
    """The optimizers of all meta-seeds of a task."""
    return _meta_trained.all_learned(setting, training_of(setting, name))
