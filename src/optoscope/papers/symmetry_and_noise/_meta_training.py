"""Parts that tune baselines and meta-train optimizers."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from optoscope import bench, meta, optimizers, tasks
from optoscope._core.keys import stream
from optoscope.analysis.symmetry import SymmetryPenalty
from optoscope.optimizers import LSTMOptimizer, Optimizer
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers.symmetry_and_noise._scales import Scale

BASELINES = ("momentum", "adam", "lion")
SYMMETRIES = {"leaky-relu": "rescale", "batch-norm": "scale", "sigmoid": "translation"}


@dataclass(frozen=True)
class Setting:
    """What all parts of one reproduction share.

    Args:
        scale: the counts.
        seed: of everything random.
        data_dir: where datasets lie; not part of any configuration, since data are checked.
    """

    scale: Scale
    seed: int = 0
    data_dir: Path | None = None

    def task(
        self, variant: str, network: str = "mlp", *, standardize: bool = False
    ) -> tasks.Classification:
        """The task of a variant ("sigmoid", "leaky-relu", "batch-norm")."""
        options: dict[str, Any] = {"standardize": standardize}
        if self.scale.image_size is not None:
            options["size"] = self.scale.image_size
        if self.data_dir is not None:
            options["data_dir"] = self.data_dir
        task = tasks.get(f"{self.scale.dataset}-{network}-{variant}", **options)
        assert isinstance(task, tasks.Classification)
        return task

    def described(self, variant: str, network: str = "mlp", **values: Any) -> dict[str, Any]:
        """The configuration of a part on a task, for its description."""
        task = f"{self.scale.dataset}-{network}-{variant}"
        size = self.scale.image_size
        return {"task": task, "image_size": size, "seed": self.seed, **values}


def tuned(setting: Setting, variant: str) -> Part:
    """The searches of the baselines' learning rates; the best as `<name>/best`.

    The score is the mean training loss over the steps that are then compared.
    """
    scale = setting.scale
    counts: dict[str, Any] = {
        "num_steps": scale.steps,
        "num_points": scale.tuning_points,
        "num_runs": scale.tuning_runs,
    }

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        task = setting.task(variant)
        searches = {}
        for index, name in enumerate(BASELINES):
            searches[name] = bench.tune(name, task, key=stream(setting.seed, "tuning"), **counts)
            workspace.report(index + 1, len(BASELINES))
        arrays = dict(bench.search_arrays(searches))
        for name, search in searches.items():
            arrays[f"{name}/best"] = np.asarray(search.best["learning_rate"])
            arrays[f"{name}/on_edge"] = np.asarray(bool(search.warnings))
        return arrays

    configuration = setting.described(variant, optimizers=BASELINES, **counts)
    return Part(f"tuned-{variant}", configuration, compute)


def baselines(arrays: Arrays) -> dict[str, Optimizer]:
    """The tuned baselines from the arrays of `tuned`."""
    return {
        name: optimizers.REGISTRY[name].create(learning_rate=float(arrays[f"{name}/best"]))
        for name in BASELINES
    }


@functools.cache
def _meta_optimizer(learning_rate: float) -> optax.GradientTransformation:
    # One object for all trainings: another one, though equal, would be compiled for again.
    return optax.adam(learning_rate)


def learned(setting: Setting, variant: str, beta: float, meta_seed: int) -> Part:
    """An LSTM optimizer meta-trained with a penalty of strength β on its variant's symmetry.

    The weights by their names, `seconds`, `meta_steps`, `skipped` and `evaluation_loss`. The
    optimizers of one meta-seed start from the same weights and meet the same problems whatever
    β is.
    """
    scale, name = setting.scale, SYMMETRIES[variant]
    counts: dict[str, Any] = {
        "meta_steps": scale.meta_steps,
        "truncation": scale.truncation,
        "horizon": scale.horizon,
        "meta_learning_rate": scale.meta_learning_rate,
    }

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        task = setting.task(variant)
        # With β = 0 too: β is an array leaf, so all strengths share one compiled program.
        penalty = SymmetryPenalty.for_task(task, name, beta)
        seed = stream(setting.seed, f"meta-seed {meta_seed}")
        weights_key, steps_key, evaluation_key = jax.random.split(seed, 3)
        distribution = tasks.fixed(task)
        trainer = meta.Trainer(
            meta.TruncatedBackprop(
                distribution,
                truncation=scale.truncation,
                horizon=scale.horizon,
                objective=meta.Objective("sum", penalties=(penalty,)),
            ),
            _meta_optimizer(scale.meta_learning_rate),
            evaluation=meta.HeldOutLoss(distribution, scale.horizon, 2, evaluation_key),
            evaluate_every=max(10, scale.meta_steps // 10),
            checkpoint_every=max(10, scale.meta_steps // 10),
        )
        result = trainer.run(
            LSTMOptimizer.create(weights_key),
            scale.meta_steps,
            key=steps_key,
            directory=workspace.folder(),
            on_report=lambda report: workspace.report(report.step, scale.meta_steps),
        )
        if result.interrupted:
            raise KeyboardInterrupt
        arrays = {path: np.asarray(leaf) for path, leaf in optimizers.named_leaves(result.best)}
        # NaN, since None is no array: no evaluation was finite.
        loss = np.nan if result.best_loss is None else result.best_loss
        return arrays | {
            "seconds": np.asarray(result.seconds),
            "meta_steps": np.asarray(result.step),
            "skipped": np.asarray(result.skipped),
            "evaluation_loss": np.asarray(loss),
        }

    configuration = setting.described(
        variant, symmetry=name, beta=beta, meta_seed=meta_seed, kept="least held-out loss", **counts
    )
    return Part(f"learned-{variant}-beta-{beta:g}-seed-{meta_seed}", configuration, compute)


def load_learned(arrays: Arrays) -> LSTMOptimizer:
    """The optimizer from the arrays of `learned`."""
    blank = LSTMOptimizer.create(jax.random.key(0))
    leaves = [jnp.asarray(arrays[path]) for path, _ in optimizers.named_leaves(blank)]
    structure = jax.tree.structure(blank)
    assert all(eqx.is_array(leaf) for leaf in jax.tree.leaves(blank))
    return jax.tree.unflatten(structure, leaves)
