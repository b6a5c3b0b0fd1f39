"""A meta-trained optimizer as a part, and the optimizer back from the part's arrays."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, PRNGKeyArray

from optoscope import meta, optimizers, tasks
from optoscope._core.arrays import read_arrays, write_arrays
from optoscope._core.errors import RunDirectoryError
from optoscope._core.files import read_lines
from optoscope._core.keys import new_key, stream
from optoscope.optimizers import OptimizerModule
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers._recipe import Recipe, Setting

# The folder of the best optimizer, in that of its part.
_OPTIMIZER = "optimizer"


@dataclass(frozen=True)
class MetaTraining:
    """How an optimizer is meta-trained: what a paper adds to the numbers of a recipe.

    Args:
        name: of its parts; that of a meta-seed follows.
        recipe: the numbers.
        blank: the optimizer before meta-training, of a key.
        problems: makes what it is meta-trained on; called when it is, since data are read.
        estimator: gives meta-gradients, of (the recipe, what `problems` made, devices); in a
            curriculum, the recipe is that of one horizon.
        evaluation: judges optimizers, of (what `problems` made, a key of the meta-seed).
        described: what there is to say of the problems, and of anything beside the recipe that
            results depend on.
        stream: the first words of the name of its random numbers; meta-trainings with the same
            words start from the same weights and meet the same problems.
        weight_decay: in meta-training, as a multiple of the rate, if there is one; see
            `Recipe.meta_optimizer`.
    """

    name: str
    recipe: Recipe
    blank: Callable[[PRNGKeyArray], OptimizerModule]
    problems: Callable[[], tasks.Task | tasks.TaskDistribution]
    estimator: Callable[[Recipe, Any, int], meta.Estimator]
    evaluation: Callable[[Any, PRNGKeyArray], meta.HeldOutLoss]
    described: Mapping[str, Any] = field(default_factory=dict)
    stream: str = ""
    weight_decay: float | None = None

    @property
    def snapshot_steps(self) -> tuple[int, ...]:
        """The meta-steps after which snapshots are taken; the last is the end."""
        steps = np.linspace(0, self.recipe.meta_steps, self.recipe.snapshots + 1)[1:]
        return tuple(int(step) for step in np.unique(np.round(steps)))

    @functools.cached_property
    def _optimizer(self) -> dict[str, Any]:
        # Once for all meta-seeds: drawing the weights of a paper's thousand parts took seconds.
        return self.blank(new_key(0)).configuration()

    def configuration(self) -> dict[str, Any]:
        """The configuration that the result depends on, besides the seeds."""
        numbers = self.recipe.configuration()
        # Those of the problems are in `described`; how many there are changes none of them.
        for name in ("task", "options", "meta_seeds"):
            del numbers[name]
        return numbers | {
            "optimizer": self._optimizer, "weight_decay": self.weight_decay, **self.described,
        }  # fmt: skip


def learned(setting: Setting[Any], training: MetaTraining, meta_seed: int) -> Part:
    """A meta-trained optimizer.

    The arrays of the part are:

    - `best/<name>`: the weights with the least held-out loss, which is `evaluation_loss`;
    - `snapshots/<name>`: the weights at `snapshots/steps`, whose held-out losses are
      `snapshots/objective`; the last are those at the end;
    - `steps`, `held_out`: the held-out loss in the course of meta-training, from the untrained
      optimizer on, wherever it was finite;
    - `report_steps`, `meta_loss`, `gradient_norm`, `non_finite`: as the trainer reported them;
    - `seconds` that it took, and `skipped` meta-steps.
    """
    recipe = training.recipe

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        words = f"{training.stream} meta-seed {meta_seed}".strip()
        keys = jax.random.split(stream(setting.seed, words), 3)
        weights_key, steps_key, evaluation_key = keys
        problems, folder = training.problems(), workspace.folder()
        evaluation = training.evaluation(problems, evaluation_key)
        devices = math.gcd(setting.devices, recipe.num_tasks)
        stages = [_trainer(training, one, problems, devices, evaluation) for one in recipe.stages]
        start = training.blank(weights_key)

        def up_to(step: int) -> meta.MetaTrainingResult:
            # A run ends where the next one goes on, so a snapshot is a run's end.
            result = _run(
                recipe,
                stages,
                start,
                step,
                key=steps_key,
                directory=folder,
                on_report=lambda report: workspace.report(report.step, recipe.meta_steps),
            )
            if result.interrupted:
                raise KeyboardInterrupt
            _keep(_snapshot(folder, step), result.optimizer, evaluation(result.optimizer))
            return result

        *before, last = training.snapshot_steps
        for step in before:
            if not _snapshot(folder, step).exists():
                up_to(step)
        result = up_to(last)
        # As `optoscope train` says it, too: the horizons that follow the first one.
        told = configuration | {"curriculum": recipe.horizons[1:]}
        _export(folder, result, problems.metadata, told)
        return {
            **{f"best/{path}": leaf for path, leaf in weights(result.best).items()},
            **_snapshots(folder, training.snapshot_steps),
            **_curves(folder / "metrics.jsonl", evaluation(start)),
            **_outcome(result),
        }

    configuration = {"seed": setting.seed, "meta_seed": meta_seed} | training.configuration()
    # Every other number is an array of the program.
    programs = f"{training.stream} {configuration['optimizer']}"
    name = f"{training.name}-seed-{meta_seed}"
    return Part(name, configuration, compute, programs=programs, exported=_OPTIMIZER)


def _trainer(
    training: MetaTraining,
    stage: Recipe,
    problems: Any,
    devices: int,
    evaluation: meta.HeldOutLoss,
) -> meta.Trainer:
    recipe = training.recipe
    return meta.Trainer(
        stage.imitating(training.estimator(stage, problems, devices)),
        stage.meta_optimizer(training.weight_decay),
        evaluation=evaluation,
        evaluate_every=-(-recipe.meta_steps // recipe.evaluations),
        checkpoint_every=max(10, recipe.meta_steps // 20),
        averaging=stage.averaging,
    )


def _run(
    recipe: Recipe,
    stages: Sequence[meta.Trainer],
    start: OptimizerModule,
    num_steps: int,
    *,
    directory: Path,
    **options: Any,
) -> meta.MetaTrainingResult:
    """Meta-trains up to a meta-step, or through a whole curriculum; its log is one file."""
    if len(stages) == 1:
        return stages[0].run(start, num_steps, directory=directory, **options)
    made = dict(zip(recipe.horizons, stages, strict=True))
    curriculum = meta.Curriculum(
        lambda horizon, _: made[horizon], recipe.horizons, recipe.stages[0].meta_steps
    )
    result = curriculum.run(start, directory=directory, **options)
    meta.join_logs(result.directories, directory / "metrics.jsonl")
    return result


def all_learned(
    setting: Setting[Any], training: MetaTraining, count: int | None = None
) -> tuple[Part, ...]:
    """The optimizers of the first `count` meta-seeds; of all that the recipe has, if not given."""
    seeds = range(training.recipe.meta_seeds if count is None else count)
    return tuple(learned(setting, training, seed) for seed in seeds)


def load_learned(arrays: Arrays, training: MetaTraining, which: str = "best") -> OptimizerModule:
    """The optimizer from the arrays of `learned`.

    Args:
        arrays: of the part.
        training: as it was made for.
        which: "best" for the one with the least held-out loss, "final" for the one at the end.
    """
    if which == "final":
        return load_snapshots(arrays, training)[-1]
    return _restored(training, _under(arrays, "best/"))


def load_snapshots(arrays: Arrays, training: MetaTraining) -> list[OptimizerModule]:
    """The optimizers of the snapshots, from the arrays of `learned`."""
    stacked = _under(arrays, "snapshots/")
    return [
        _restored(training, {key: np.asarray(one[index]) for key, one in stacked.items()})
        for index in range(len(stacked["steps"]))
    ]


def best_seed(trained: Sequence[Arrays]) -> int:
    """The meta-seed with the least held-out loss."""
    losses = np.array([float(arrays["evaluation_loss"]) for arrays in trained])
    return int(np.argmin(np.where(np.isfinite(losses), losses, np.inf)))


def weights(optimizer: OptimizerModule) -> dict[str, np.ndarray]:
    """The optimizer's arrays by their names."""
    return {path: np.asarray(leaf) for path, leaf in optimizers.named_leaves(optimizer)}


def _under(arrays: Arrays, prefix: str) -> dict[str, np.ndarray]:
    found = (key for key in arrays if key.startswith(prefix))
    return {key.removeprefix(prefix): arrays[key] for key in found}


def _restored(training: MetaTraining, arrays: Mapping[str, np.ndarray]) -> OptimizerModule:
    blank = training.blank(new_key(0))
    leaves = [jnp.asarray(arrays[path]) for path, _ in optimizers.named_leaves(blank)]
    return jax.tree.unflatten(jax.tree.structure(blank), leaves)


def _snapshot(folder: Path, step: int) -> Path:
    return folder / f"snapshot-{step}.npz"


def _keep(path: Path, optimizer: OptimizerModule, objective: float) -> None:
    arrays = weights(optimizer) | {"objective": np.asarray(objective)}
    write_arrays(path, arrays)


def _snapshots(folder: Path, steps: Sequence[int]) -> dict[str, np.ndarray]:
    kept = [read_arrays(_snapshot(folder, step)) for step in steps]
    stacked = {f"snapshots/{key}": np.stack([one[key] for one in kept]) for key in kept[0]}
    return stacked | {"snapshots/steps": np.asarray(steps)}


def _curves(log: Path, at_start: float) -> dict[str, np.ndarray]:
    """Meta-training as the trainer's log tells it; the log survives interruptions."""
    lines = read_lines(log)
    try:
        return _columns(lines, at_start)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunDirectoryError(
            f"{log} does not hold what meta-training writes ({type(error).__name__}: {error}). "
            f"Delete {log.parent} to meta-train anew."
        ) from None


def _columns(lines: Sequence[Any], at_start: float) -> dict[str, np.ndarray]:
    judged = [line for line in lines if line.get("evaluation_loss") is not None]
    steps: Int[np.ndarray, " evaluations"] = np.asarray([0, *(line["step"] for line in judged)])
    held_out = [at_start, *(line["evaluation_loss"] for line in judged)]

    def reported(name: str) -> np.ndarray:
        return np.asarray([line[name] for line in lines], np.float64)

    return {
        "steps": steps,
        "held_out": np.asarray(held_out),
        "report_steps": reported("step").astype(np.int64),
        "meta_loss": reported("meta_loss"),
        "gradient_norm": reported("gradient_norm"),
        "non_finite": reported("non_finite_tasks"),
    }


def _outcome(result: meta.MetaTrainingResult) -> dict[str, np.ndarray]:
    # NaN, since None is no array: no evaluation was finite.
    loss = np.nan if result.best_loss is None else result.best_loss
    values = {"seconds": result.seconds, "skipped": result.skipped, "evaluation_loss": loss}
    return {name: np.asarray(value) for name, value in values.items()}


def _export(
    folder: Path,
    result: meta.MetaTrainingResult,
    task: Mapping[str, Any],
    configuration: Mapping[str, Any],
) -> None:
    """Writes the best optimizer to its folder, for `optimizers.load` and the commands."""
    provenance = {
        "task": dict(task) | {"options": configuration.get("options", {})},
        "meta_training": dict(configuration),
        "meta_steps_done": result.step,
        "evaluation_loss": result.best_loss,
        "skipped": result.skipped,
    }
    optimizers.save(folder / _OPTIMIZER, result.best, provenance)
