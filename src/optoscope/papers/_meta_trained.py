"""A meta-trained optimizer as the arrays of a part, and back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optoscope import meta, optimizers
from optoscope.optimizers import OptimizerModule


def weights(optimizer: OptimizerModule) -> dict[str, np.ndarray]:
    """The optimizer's arrays by their names."""
    return {path: np.asarray(leaf) for path, leaf in optimizers.named_leaves(optimizer)}


def restored(blank: OptimizerModule, arrays: Mapping[str, np.ndarray]) -> OptimizerModule:
    """The optimizer whose `weights` these are; `blank` is any one of its configuration."""
    leaves = [jnp.asarray(arrays[path]) for path, _ in optimizers.named_leaves(blank)]
    return jax.tree.unflatten(jax.tree.structure(blank), leaves)


def finished(result: meta.MetaTrainingResult) -> meta.MetaTrainingResult:
    """The result of a meta-training that came to its end.

    Raises:
        KeyboardInterrupt: it was stopped; a part that computes it must stop too.
    """
    if result.interrupted:
        raise KeyboardInterrupt
    return result


def outcome(result: meta.MetaTrainingResult) -> dict[str, np.ndarray]:
    """What a meta-training took and came to: `seconds`, `skipped`, `evaluation_loss`."""
    # NaN, since None is no array: no evaluation was finite.
    loss = np.nan if result.best_loss is None else result.best_loss
    values = {"seconds": result.seconds, "skipped": result.skipped, "evaluation_loss": loss}
    return {name: np.asarray(value) for name, value in values.items()}


def export(
    folder: Path,
    result: meta.MetaTrainingResult,
    task: Mapping[str, Any],
    configuration: Mapping[str, Any],
) -> None:
    """Writes the best optimizer to `optimizer/`, for `optimizers.load` and the commands.

    Args:
        folder: the part's own.
        result: of its meta-training.
        task: metadata of what it was trained on.
        configuration: the part's; its `options` are those of the task.
    """
    provenance = {
        "task": dict(task) | {"options": configuration.get("options", {})},
        "meta_training": dict(configuration),
        "meta_steps_done": result.step,
        "evaluation_loss": result.best_loss,
        "skipped": result.skipped,
    }
    optimizers.save(folder / "optimizer", result.best, provenance)
