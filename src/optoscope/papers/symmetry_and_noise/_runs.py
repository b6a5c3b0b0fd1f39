"""Parts that run optimizers and measure them; every optimizer meets the same runs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from optoscope import optimizers, training
from optoscope._core.keys import stream
from optoscope.analysis.symmetry import SymmetryProbe, from_action
from optoscope.analysis.updates import HistogramProbe
from optoscope.optimizers import Optimizer
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers.symmetry_and_noise._meta_training import (
    BASELINES,
    SYMMETRIES,
    Setting,
    baselines,
    learned,
    load_learned,
    tuned,
)
from optoscope.papers.symmetry_and_noise._noise_probe import NoiseProbe
from optoscope.tasks import Classification, Task

AGGREGATES = ("sum_abs", "signed", "cosine")
Measure = Callable[[Optimizer], Mapping[str, np.ndarray]]


def _observe(
    task: Task, symmetry: str, optimizer: Optimizer, num_steps: int, num_runs: int, seed: int
) -> training.Trajectory:
    """Runs an optimizer and measures deviations and histograms at every step.

    Figures that want one of them take both: runs of equal length then share one program, and
    compiling costs more than measuring.
    """
    params = jax.eval_shape(task.init, jax.random.key(0))
    deviating = SymmetryProbe(symmetries={symmetry: task.symmetries(params)[symmetry]})
    return training.train(
        task,
        optimizer,
        num_steps,
        key=stream(seed, "evaluation"),
        probes={"symmetry": deviating, "histogram": HistogramProbe()},
        num_runs=num_runs,
    )


def _deviations(
    task: Task, symmetry: str, num_steps: int, num_runs: int, seed: int
) -> Callable[[Optimizer], dict[str, np.ndarray]]:
    """Runs an optimizer: losses and the aggregates of its deviations, each (runs, steps)."""

    def measure(optimizer: Optimizer) -> dict[str, np.ndarray]:
        run = _observe(task, symmetry, optimizer, num_steps, num_runs, seed)
        found = run.records["symmetry"][symmetry]
        arrays = {name: np.asarray(getattr(found, name)) for name in AGGREGATES}
        return arrays | {
            "losses": np.asarray(run.losses),
            "isotropic": np.asarray(found.isotropic[0, 0]),
        }

    return measure


def _losses(
    task: Task, num_steps: int, num_runs: int, seed: int
) -> Callable[[Optimizer], dict[str, np.ndarray]]:
    def measure(optimizer: Optimizer) -> dict[str, np.ndarray]:
        key = stream(seed, "evaluation")
        run = training.train(task, optimizer, num_steps, key=key, num_runs=num_runs)
        return {"losses": np.asarray(run.losses)}

    return measure


def _each(
    contestants: Mapping[str, Sequence[Optimizer]], measure: Measure, workspace: Workspace
) -> dict[str, np.ndarray]:
    """`<name>/<array>` for each name, its repetitions stacked on a leading axis."""
    arrays, done = {}, 0
    total = sum(len(repetitions) for repetitions in contestants.values())
    for name, repetitions in contestants.items():
        found = []
        for optimizer in repetitions:
            found.append(measure(optimizer))
            done += 1
            workspace.report(done, total)
        for key in found[0]:
            arrays[f"{name}/{key}"] = np.stack([one[key] for one in found])
    return arrays


def _comparison(
    name: str,
    setting: Setting,
    variant: str,
    counts: Mapping[str, Any],
    measure_on: Callable[[Classification], Measure],
    *,
    seeds: int,
    standardize: bool = False,
) -> Part:
    """A part that runs the tuned baselines and the learned optimizers on their own task."""
    tuning = tuned(setting, variant)
    trained = [learned(setting, variant, 0.0, seed) for seed in range(seeds)]

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        contestants: dict[str, list[Optimizer]] = {
            baseline: [optimizer] for baseline, optimizer in baselines(needed[tuning.name]).items()
        }
        contestants["lstm"] = [load_learned(needed[part.name]) for part in trained]
        measure = measure_on(setting.task(variant, standardize=standardize))
        return _each(contestants, measure, workspace)

    configuration = setting.described(variant, standardize=standardize, **counts)
    return Part(name, configuration, compute, (tuning, *trained))


def deviations(setting: Setting, variant: str) -> Part:
    """Deviations along training; `<optimizer>/<aggregate>` of shape (repetitions, runs, steps)."""
    scale, symmetry = setting.scale, SYMMETRIES[variant]
    counts: dict[str, Any] = {
        "symmetry": symmetry,
        "num_steps": scale.steps,
        "num_runs": scale.runs,
    }
    return _comparison(
        f"deviations-{variant}",
        setting,
        variant,
        counts,
        lambda task: _deviations(task, symmetry, scale.steps, scale.runs, setting.seed),
        seeds=scale.meta_seeds,
    )


def penalized(
    setting: Setting,
    variant: str,
    betas: tuple[float, ...],
    *,
    on: tuple[str, str] | None = None,
    name: str | None = None,
) -> Part:
    """Optimizers meta-trained under penalties of several strengths, run on one architecture.

    `losses`, and on the architecture of meta-training the aggregates of the deviations, of shape
    (betas, meta-seeds, runs, steps), and `betas`.

    Args:
        setting: scale and seed.
        variant: where they are meta-trained.
        betas: the strengths.
        on: (variant, network) to run on; by default where they are meta-trained.
        name: of the part.
    """
    scale = setting.scale
    trained = {
        beta: [learned(setting, variant, beta, seed) for seed in range(scale.meta_seeds)]
        for beta in betas
    }
    target, network = on or (variant, "mlp")
    counts: dict[str, Any] = {"num_steps": scale.performance_steps, "num_runs": scale.runs}

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        task = setting.task(target, network)
        arguments = (scale.performance_steps, scale.runs, setting.seed)
        if on is None:
            measure = _deviations(task, SYMMETRIES[variant], *arguments)
        else:
            measure = _losses(task, *arguments)
        contestants = {
            f"{beta:g}": [load_learned(needed[part.name]) for part in parts]
            for beta, parts in trained.items()
        }
        arrays = _each(contestants, measure, workspace)
        stacked = {
            key.split("/")[1]: np.stack([arrays[f"{beta:g}/{key.split('/')[1]}"] for beta in betas])
            for key in arrays
        }
        return stacked | {"betas": np.asarray(betas)}

    configuration = setting.described(target, network, trained_on=variant, betas=betas, **counts)
    default = f"penalty-{variant}" + (f"-on-{network}-{target}" if on else "")
    needs = tuple(part for parts in trained.values() for part in parts)
    return Part(name or default, configuration, compute, needs)


def lion_sgd(setting: Setting) -> Part:
    """Lion–SGD on the wide sigmoid network: losses and deviations, (weights, runs, steps)."""
    scale = setting.scale
    weights = scale.interpolations
    rates = {"lion": 0.005, "sgd": 0.5, "momentum": 0.9}
    counts: dict[str, Any] = {"num_steps": scale.steps, "num_runs": scale.runs}

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        task = setting.task("sigmoid", scale.wide)
        measure = _deviations(task, "translation", scale.steps, scale.runs, setting.seed)
        lion, sgd = optimizers.lion(rates["lion"]), optimizers.momentum(rates["sgd"], 0.9)
        found = []
        for index, weight in enumerate(weights):
            found.append(measure(optimizers.interpolate(lion, sgd, weight)))
            workspace.report(index + 1, len(weights))
        stacked = {key: np.stack([one[key] for one in found]) for key in found[0]}
        return stacked | {"weights": np.asarray(weights)}

    configuration = setting.described("sigmoid", scale.wide, weights=weights, **rates, **counts)
    return Part("lion-sgd", configuration, compute)


def histograms(setting: Setting, variant: str) -> Part:
    """Sizes of the updates at chosen steps, on bins that all optimizers share."""
    scale = setting.scale
    chosen = scale.histogram_steps
    counts: dict[str, Any] = {"steps": chosen, "num_runs": scale.runs}

    def measure_on(task: Classification) -> Measure:
        def measure(optimizer: Optimizer) -> Mapping[str, np.ndarray]:
            run = _observe(
                task, SYMMETRIES[variant], optimizer, max(chosen), scale.runs, setting.seed
            )
            found, index = run.records["histogram"], np.asarray(chosen) - 1
            return {
                "counts": np.asarray(found.counts)[:, index].sum(axis=0),
                "zeros": np.asarray(found.zeros)[:, index].sum(axis=0),
                "underflow": np.asarray(found.underflow)[:, index].sum(axis=0),
                "edges": np.asarray(found.edges)[0, 0],
                "steps": np.asarray(chosen),
            }

        return measure

    name = f"histograms-{variant}"
    return _comparison(name, setting, variant, counts, measure_on, seeds=scale.meta_seeds)


def noise(setting: Setting, variant: str, *, standardize: bool = False) -> Part:
    """Tail indices and update covariance along training; (repetitions, measurements) each."""
    scale = setting.scale
    counts: dict[str, Any] = {
        "num_steps": scale.noise_steps,
        "every": scale.noise_every,
        "num_batches": scale.noise_batches,
        "covariance_batches": scale.covariance_batches,
    }

    def measure_on(task: Classification) -> Measure:
        batches_an_epoch = -(-task.splits["train"].labels.shape[0] // task.batch_size)
        probe = NoiseProbe(
            every=scale.noise_every,
            key=stream(setting.seed, "noise"),
            batches="epoch",
            # MNIST without a validation split would have the paper's 469.
            num_batches=min(scale.noise_batches, batches_an_epoch),
            covariance_batches=scale.covariance_batches,
        )

        def measure(optimizer: Optimizer) -> Mapping[str, np.ndarray]:
            run = training.train(
                task,
                optimizer,
                scale.noise_steps,
                key=stream(setting.seed, "evaluation"),
                probes={"noise": probe},
            )
            arrays = {name: np.asarray(value)[0] for name, value in run.records["noise"].items()}
            steps = np.asarray(run.measured_steps["noise"])
            return arrays | {"losses": np.asarray(run.losses)[0], "steps": steps}

        return measure

    name = f"noise-{variant}" + ("-standardized" if standardize else "")
    seeds = scale.noise_seeds
    return _comparison(
        name, setting, variant, counts, measure_on, seeds=seeds, standardize=standardize
    )


class _Bowl(Task):
    """x² + y² from a fixed start, without noise."""

    def init(self, key: Array) -> Float[Array, "2"]:
        """The start."""
        del key
        return jnp.array([1.0, 0.6])

    def sample_batch(self, key: Array) -> None:
        """Nothing."""
        del key

    def loss(self, params: Float[Array, "2"], batch: None) -> Float[Array, ""]:
        """x² + y²."""
        del batch
        return jnp.sum(params**2)


class _Position(training.Probe):
    def measure(self, record: training.StepRecord) -> dict[str, Array]:
        rotation = from_action(_rotated)
        deviation = rotation.contract(record.updates, record.params)[0]
        return {"position": record.params, "deviation": deviation}


def _rotated(point: Array, angle: Array) -> Array:
    c, s = jnp.cos(angle[0]), jnp.sin(angle[0])
    return jnp.array([[c, -s], [s, c]]) @ point


def illustration() -> Part:
    """Gradient descent, Adam and Lion on x² + y²: `<name>/position`, `<name>/deviation`."""
    rates, num_steps = {"sgd": 0.05, "adam": 0.05, "lion": 0.05}, 60

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        arrays = {}
        for name, rate in rates.items():
            run = training.train(
                _Bowl(),
                optimizers.get(name, learning_rate=rate),
                num_steps,
                key=jax.random.key(0),
                probes={"position": _Position()},
            )
            for key, value in run.records["position"].items():
                arrays[f"{name}/{key}"] = np.asarray(value)[0]
        workspace.report(1, 1)
        return arrays

    return Part("illustration", {"learning_rates": rates, "num_steps": num_steps}, compute)


__all__ = [
    "AGGREGATES",
    "BASELINES",
    "deviations",
    "histograms",
    "illustration",
    "lion_sgd",
    "noise",
    "penalized",
]
