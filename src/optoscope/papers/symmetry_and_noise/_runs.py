"""Parts that run optimizers and measure them; every optimizer meets the same runs."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from optoscope import optimizers, training
from optoscope._core.keys import new_key, stream
from optoscope.analysis.noise import NoiseProbe
from optoscope.analysis.symmetry import SymmetryProbe
from optoscope.analysis.updates import HistogramProbe
from optoscope.optimizers import Optimizer
from optoscope.papers._meta_trained import all_learned, load_learned
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers.symmetry_and_noise._learn import baseline, training_of, tuned
from optoscope.papers.symmetry_and_noise._setting import (
    BASELINES,
    LEARNED,
    PUBLISHED,
    SYMMETRIES,
    Setting,
)
from optoscope.tasks import Classification, Task

CONTESTANTS = (*BASELINES, "lstm")
AGGREGATES = ("sum_abs", "signed", "cosine")
Measure = Callable[[Optimizer], Mapping[str, np.ndarray]]


def _observe(
    task: Task, symmetry: str, optimizer: Optimizer, num_steps: int, num_runs: int, seed: int
) -> training.Trajectory:
    """Runs an optimizer and measures deviations and histograms at every step.

    Figures that want one of them take both: runs of equal length then share one program, and
    compiling costs more than measuring.
    """
    params = jax.eval_shape(task.init, new_key(0))
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


def _each(
    contestants: Mapping[str, Sequence[Optimizer]],
    measure: Measure,
    workspace: Workspace,
    *,
    at_once: int = 2,
) -> dict[str, np.ndarray]:
    """`<name>/<array>` for each name, its repetitions stacked on a leading axis.

    Two optimizers run at once: while one compiles or fills one core, the other has the rest.
    """
    jobs = [(name, optimizer) for name, found in contestants.items() for optimizer in found]
    arrays: dict[str, list[np.ndarray]] = {}
    with ThreadPoolExecutor(at_once) as pool:
        found = pool.map(lambda job: measure(job[1]), jobs)
        for done, ((name, _), one) in enumerate(zip(jobs, found, strict=True)):
            for key, values in one.items():
                arrays.setdefault(f"{name}/{key}", []).append(values)
            workspace.report(done + 1, len(jobs))
    return {key: np.stack(values) for key, values in arrays.items()}


def _comparison(
    name: str,
    setting: Setting,
    variant: str,
    counts: Mapping[str, Any],
    measure_on: Callable[[Classification], Measure],
    *,
    seeds: int,
    contestants: Sequence[str] = CONTESTANTS,
    at_once: int = 2,
    version: int = 1,
    **options: Any,
) -> Part:
    """A part that runs tuned baselines and learned optimizers on their own task.

    Args:
        name: of the part.
        setting: scale and seed.
        variant: the network.
        counts: further configuration.
        measure_on: what to measure on a task.
        seeds: meta-trained optimizers of each kind, at most.
        contestants: baselines, kinds of learned optimizers, and published ones.
        at_once: how many of them run at the same time.
        version: of the part's numerics.
        options: of the task on which they are run.
    """
    tuning = tuned(setting, variant)
    trainings = {
        kind: training_of(setting, variant, optimizer=kind)
        for kind in contestants
        if kind in LEARNED
    }
    trained = {
        kind: all_learned(setting, how, min(seeds, how.recipe.meta_seeds))
        for kind, how in trainings.items()
    }

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        optimizers_of: dict[str, list[Optimizer]] = {}
        for kind in contestants:
            if kind in trainings:
                arrays = [needed[part.name] for part in trained[kind]]
                optimizers_of[kind] = [load_learned(each, trainings[kind]) for each in arrays]
            elif kind in PUBLISHED:
                optimizers_of[kind] = [setting.published(kind)]
            else:
                optimizers_of[kind] = [baseline(needed[tuning.name], kind)]
        measure = measure_on(setting.task(variant, **options))
        return _each(optimizers_of, measure, workspace, at_once=at_once)

    described = {"contestants": contestants, **options, **counts}
    for kind in contestants:
        if kind in PUBLISHED:
            described |= setting.weights_described(kind)
    needs = (tuning, *(part for parts in trained.values() for part in parts))
    return Part(name, setting.described(variant, **described), compute, needs, version=version)


def deviations(setting: Setting, variant: str, kind: str | None = None) -> Part:
    """Deviations along training; `<optimizer>/<aggregate>` of shape (repetitions, runs, steps).

    Args:
        setting: scale and seed.
        variant: the network.
        kind: one optimizer by itself, in place of `CONTESTANTS`.
    """
    scale, symmetry = setting.scale, SYMMETRIES[variant]
    counts: dict[str, Any] = {
        "symmetry": symmetry,
        "num_steps": scale.steps,
        "num_runs": scale.runs,
    }
    return _comparison(
        f"deviations-{variant}" + (f"-{kind}" if kind else ""),
        setting,
        variant,
        counts,
        lambda task: _deviations(task, symmetry, scale.steps, scale.runs, setting.seed),
        seeds=setting.recipe(variant).meta_seeds,
        contestants=(kind,) if kind else CONTESTANTS,
    )


def penalized(
    setting: Setting,
    variant: str,
    betas: tuple[float, ...],
    *,
    on: tuple[str, str] | None = None,
    protocol: str = "paper",
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
        protocol: of meta-training, as in `training_of`.
        name: of the part.
    """
    scale = setting.scale
    trainings = [training_of(setting, variant, beta, protocol=protocol) for beta in betas]
    trained = [all_learned(setting, how, setting.penalty_seeds(variant)) for how in trainings]
    target, network = on or (variant, "mlp")
    counts: dict[str, Any] = {"num_steps": scale.performance_steps, "num_runs": scale.runs}

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        task = setting.task(target, network)
        arguments = (scale.performance_steps, scale.runs, setting.seed)
        # Elsewhere only the losses are drawn; with deviations, the program is one that exists.
        observe = _deviations(task, SYMMETRIES[target], *arguments)

        def measure(optimizer: Optimizer) -> dict[str, np.ndarray]:
            found = observe(optimizer)
            return found if on is None else {"losses": found["losses"]}

        contestants = {
            f"{beta:g}": [load_learned(needed[part.name], how) for part in parts]
            for beta, how, parts in zip(betas, trainings, trained, strict=True)
        }
        return _stacked(_each(contestants, measure, workspace)) | {"betas": np.asarray(betas)}

    described = {"trained_on": variant, "betas": betas, "protocol": protocol, **counts}
    needs = tuple(part for parts in trained for part in parts)
    configuration = setting.described(target, network, **described)
    return Part(name or f"penalty-{variant}", configuration, compute, needs)


def _stacked(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`<name>/<array>` of all names as one array, names leading."""
    names = list(dict.fromkeys(key.split("/")[0] for key in arrays))
    kinds = dict.fromkeys(key.split("/", 1)[1] for key in arrays)
    return {kind: np.stack([arrays[f"{name}/{kind}"] for name in names]) for kind in kinds}


@dataclass(frozen=True)
class Sweep:
    """A property of the task that is varied, while all others stay as in meta-training.

    Args:
        name: of the part.
        symmetry: whose deviations are measured; every task of the sweep must have it.
        tasks: label of each value, with the network's variant and the task's options.
    """

    name: str
    symmetry: str
    tasks: Mapping[str, tuple[str, Mapping[str, Any]]]


def swept(setting: Setting, sweep: Sweep, variant: str = "leaky-relu") -> Part:
    """Deviations and losses while something about the task is varied.

    `<optimizer>/<array>` of shape (values, repetitions, runs, steps). The baselines are tuned
    anew for each value; the learned optimizers are those of `variant`, as they are.
    """
    scale, how = setting.scale, training_of(setting, variant)
    trained = all_learned(setting, how)
    tunings = {
        label: tuned(setting, where, label=f"{sweep.name}-{label}", **options)
        for label, (where, options) in sweep.tasks.items()
    }

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        found: dict[str, list[np.ndarray]] = {}
        for index, (label, (where, options)) in enumerate(sweep.tasks.items()):
            contestants: dict[str, list[Optimizer]] = {
                name: [baseline(needed[tunings[label].name], name)] for name in BASELINES
            }
            contestants["lstm"] = [load_learned(needed[part.name], how) for part in trained]
            measure = _deviations(
                setting.task(where, **options), sweep.symmetry, scale.steps, scale.runs,
                setting.seed,
            )  # fmt: skip
            quiet = dataclasses.replace(workspace, report=lambda *_: None)
            for key, values in _each(contestants, measure, quiet).items():
                found.setdefault(key, []).append(values)
            workspace.report(index + 1, len(sweep.tasks))
        labels = np.asarray(list(sweep.tasks))
        return {key: np.stack(values) for key, values in found.items()} | {"values": labels}

    counts: dict[str, Any] = {"num_steps": scale.steps, "num_runs": scale.runs}
    values = {label: [where, dict(options)] for label, (where, options) in sweep.tasks.items()}
    described = setting.described(variant, symmetry=sweep.symmetry, values=values, **counts)
    return Part(f"sweep-{sweep.name}", described, compute, (*tunings.values(), *trained))


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

    return _comparison(
        f"histograms-{variant}",
        setting,
        variant,
        counts,
        measure_on,
        seeds=setting.recipe(variant).meta_seeds,
    )


def noise(
    setting: Setting, variant: str, *, standardize: bool = False, kind: str | None = None
) -> Part:
    """Tail indices and update covariance along training; (repetitions, measurements) each.

    Args:
        setting: scale and seed.
        variant: the network.
        standardize: whether pixels are standardized.
        kind: one optimizer by itself, in place of `CONTESTANTS`.
    """
    scale = setting.scale
    counts: dict[str, Any] = {
        "num_steps": scale.noise_steps,
        "every": scale.noise_every,
        "num_batches": scale.noise_batches,
        "covariance_batches": scale.covariance_batches,
    }

    def measure_on(task: Classification) -> Measure:
        probe = NoiseProbe(
            every=scale.noise_every,
            key=stream(setting.seed, "noise"),
            batches="epoch",
            num_batches=scale.noise_batches,
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

    suffix = ("-standardized" if standardize else "") + (f"-{kind}" if kind else "")
    return _comparison(
        f"noise-{variant}{suffix}",
        setting,
        variant,
        counts,
        measure_on,
        seeds=scale.noise_seeds,
        contestants=(kind,) if kind else CONTESTANTS,
        # Its measurements are made on the host, between the steps: they would wait for each other.
        at_once=1,
        # 2: tail indices of coordinates that are never silent.
        version=2,
        standardize=standardize,
    )
