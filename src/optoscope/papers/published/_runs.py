"""Runs on networks: symmetry and tails in short ones, and who lasts in long ones."""

import functools
from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Float

from optoscope import bench, training
from optoscope._core.keys import new_key, stream
from optoscope.analysis.noise import TailIndexProbe
from optoscope.analysis.symmetry import SymmetryProbe
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers.published._scales import PROBED
from optoscope.papers.published._setting import CONTESTANTS, Setting

PLACES = 200
_AVERAGED = 0.98


def probed(setting: Setting, name: str) -> Part:
    """Symmetry deviations and tail indices of updates on the network with leaky ReLU.

    `cosine` and `isotropic` of the rescaling symmetry, (runs, measurements); `alpha`,
    `surrogate` and `gradient_alpha`, (runs, measurements of the tail index).
    """
    scale = setting.scale

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        task = setting.task(PROBED)
        params = jax.eval_shape(task.init, new_key(0))
        symmetry = {"rescale": task.symmetries(params)["rescale"]}
        every = max(1, scale.short_steps // 20)
        run = training.train(
            task,
            setting.load(name, scale.short_steps),
            scale.short_steps,
            key=stream(setting.seed, "probed"),
            probes={
                "symmetry": SymmetryProbe(every=every, symmetries=symmetry),
                "tails": TailIndexProbe(every=max(1, scale.short_steps // 2),
                                        num_batches=scale.batches),
            },
            num_runs=scale.runs,
        )  # fmt: skip
        found, tails = run.records["symmetry"]["rescale"], run.records["tails"]
        return {
            "cosine": np.asarray(found.cosine),
            "isotropic": np.asarray(found.isotropic),
            "alpha": np.asarray(tails["update"]["alpha"]),
            "surrogate": np.asarray(tails["update"]["surrogate_alpha"]),
            "gradient_alpha": np.asarray(tails["gradient"]["alpha"]),
        }

    counts = {"steps": scale.short_steps, "runs": scale.runs, "batches": scale.batches}
    return Part(f"probed-{name}", setting.described(name, PROBED, **counts), compute)


def rate(setting: Setting, name: str, task: str) -> Part:
    """The learning rate with the least final loss in long runs of its own.

    `rates`, their `scores` and the `best`.
    """
    scale, ends = setting.scale, CONTESTANTS[name].rates
    assert ends is not None
    rates = np.geomspace(*ends, scale.rates)

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        search = bench.evaluate_configurations(
            setting.task(task),
            functools.partial(setting.load, name, scale.steps),
            {"learning_rate": rates},
            num_steps=scale.steps,
            num_runs=scale.tuning_runs,
            key=stream(setting.seed, f"rate {task}"),
            metric=bench.Metric("final"),
            on_progress=workspace.report,
        )
        best = np.asarray(search.best["learning_rate"])
        return {"rates": rates, "scores": np.asarray(search.score), "best": best}

    counts = {"steps": scale.steps, "runs": scale.tuning_runs, "rates": rates.tolist()}
    return Part(f"rate-{task}-{name}", setting.described(name, task, **counts), compute)


def long_run(setting: Setting, name: str, task: str) -> Part:
    """A long run, with the best learning rate for those who have one: see `summary`."""
    scale = setting.scale
    needs = (rate(setting, name, task),) if CONTESTANTS[name].rates else ()

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        rates = {"learning_rate": float(needed[needs[0].name]["best"])} if needs else {}
        run = training.train(
            setting.task(task),
            setting.load(name, scale.steps, **rates),
            scale.steps,
            key=stream(setting.seed, f"long {task}"),
            num_runs=scale.runs,
        )
        found = summary(np.asarray(run.losses), scale.early_steps)
        return found | {"rate": np.asarray(rates.get("learning_rate", np.nan))}

    counts = {"steps": scale.steps, "runs": scale.runs, "early": scale.early_steps}
    described = setting.described(name, task, **counts)
    return Part(f"long-{task}-{name}", described, compute, needs)


def summary(losses: Float[np.ndarray, "runs steps"], early_steps: int) -> dict[str, np.ndarray]:
    """What is kept of long runs.

    The moving average (0.98) of the loss, `smoothed`, (runs, places), at `steps`; one number a
    run: `first`, the first loss; `early`, the mean of the first ones; `final`, that of the last
    tenth of the run, infinite where a loss is not finite; `given_back`, as `bench.given_back`.
    """
    average = bench.smoothed(losses, _AVERAGED)
    places = np.unique(np.geomspace(1, losses.shape[1], PLACES).round().astype(int)) - 1
    finite = np.isfinite(losses).all(axis=1)
    return {
        "smoothed": average[:, places],
        "steps": places + 1,
        "first": losses[:, 0],
        "early": np.asarray(bench.Metric("train").of_losses(losses, early_steps)),
        "final": np.where(finite, bench.tenths(losses)[:, -1], np.inf),
        "given_back": bench.given_back(losses),
    }
