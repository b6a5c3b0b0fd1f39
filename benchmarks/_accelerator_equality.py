"""Whether an accelerator computes what the CPU does: optimizers, estimators, a resumed run."""

import functools
import math
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from _accelerator_checks import Check, Devices, Measured, compare, on, relative_difference
from _accelerator_problems import every_rank, on_default_device, optimizer_on_host
from _networks import random_images

from optoscope import meta, optimizers, tasks, training
from optoscope._core.errors import RunDirectoryError
from optoscope._core.programs import Program
from optoscope._core.trees import digest

STEPS, RUNS = 20, 2

# Optimizers that only add and multiply: rounding of sums, about 1e-6 after 20 steps.
_LINEAR = ("sgd", "momentum", "aggmo")
LINEAR_TOLERANCE = 2e-5
# Adam divides by 1 − β₂ᵗ: one bit of the power β₂ᵗ is 6e-5 of the first step.
NORMALIZED_TOLERANCE = 1e-4
# Exponentials, tanh and roots of another compiler, and steps that are small beside parameters.
LEARNED_TOLERANCE = 5e-4
# Evolution strategies divide a difference of two losses by σ.
ESTIMATOR_TOLERANCE = 1e-3


def optimizer_tolerance(name: str) -> float:
    """What two platforms may differ by after 20 steps, relative to the way gone."""
    if optimizers.REGISTRY[name].learned:
        return LEARNED_TOLERANCE
    return LINEAR_TOLERANCE if name in _LINEAR else NORMALIZED_TOLERANCE


def trajectory(device: Any, name: str, precision: str = "highest") -> dict[str, Any]:
    """Two runs side by side by `training.train`: losses, ways gone, optimizer states."""
    fixed = {} if optimizers.REGISTRY[name].learned else {"learning_rate": 0.01}
    task, optimizer = every_rank(), optimizer_on_host(name, **fixed)
    with on(device, precision):
        run = training.train(
            on_default_device(task),
            on_default_device(optimizer),
            STEPS,
            key=jax.random.key(0),
            num_runs=RUNS,
        )
        moved = jax.tree.map(lambda end, start: end - start, run.params, dict(task.start))
    return {"losses": run.losses, "moved": moved, "state": run.state}


def default_precision_difference(devices: Devices) -> float:
    """How far SGD's runs are from the CPU's in the precision that users have by default."""
    reference = trajectory(devices.reference, "sgd")
    return relative_difference(trajectory(devices.candidate, "sgd", "default"), reference)


def optimizer_checks(devices: Devices) -> list[Check]:
    """Compares every registered optimizer with the CPU."""
    return [
        Check(
            f"optimizer {name}: {STEPS} steps on parameters of rank 0 to 4",
            optimizer_tolerance(name),
            20.0 if optimizers.REGISTRY[name].learned else 6.0,
            functools.partial(compare, devices, functools.partial(trajectory, name=name)),
        )
        for name in optimizers.names()
    ]


def _network(*hidden: int) -> tasks.TaskDistribution:
    """A smooth network: a kink is on one side here and on the other there."""
    images = random_images(16)
    return tasks.fixed(tasks.mlp_classification(images, hidden=hidden, activation="tanh"))


def _strategy(make: Callable[..., meta.Estimator], name: str, **options: Any) -> Any:
    # Steps as large as these make losses of θ + ε and θ − ε differ by far more than rounding.
    scales = {"star": {}, "mlp": {"step_scale": 0.03}}
    estimator = make(_network(), num_particles=4, horizon=12, std=0.03, **options)
    return estimator, optimizer_on_host(name, **scales[name])


# What makes every estimator and the optimizer that it is most used with.
ESTIMATORS: dict[str, Callable[[], tuple[meta.Estimator, Any]]] = {
    "TruncatedBackprop": lambda: (
        meta.TruncatedBackprop(_network(8), num_tasks=2, truncation=6, horizon=15),
        optimizer_on_host("lstm"),
    ),
    "FullBackprop": lambda: (
        meta.FullBackprop(_network(8), num_tasks=2, horizon=8),
        optimizer_on_host("rnn", hidden_size=8, output_scale=0.1),
    ),
    "TruncatedES": lambda: _strategy(meta.TruncatedES, "mlp", truncation=6),
    "FullES": lambda: _strategy(meta.FullES, "star"),
    "PES": lambda: _strategy(meta.PES, "star", truncation=6),
}


def estimator_names() -> list[str]:
    """Every estimator that the library has, whether or not this file knows how to make it."""
    return [meta.ESTIMATORS[name].estimator.__name__ for name in meta.ESTIMATORS]


@Program
def _two(estimator: meta.Estimator, optimizer: Any, key: Any) -> Any:
    workers = estimator.init(optimizer, key)

    def one(workers: Any, key: Any) -> Any:
        result, workers = estimator.estimate(optimizer, workers, key)
        gradient = eqx.filter(result.gradient, eqx.is_inexact_array)
        return workers, (result.loss, gradient, result.aux)

    return jax.lax.scan(one, workers, jax.random.split(key, 2))


def estimate(device: Any, name: str) -> dict[str, Any]:
    """Two estimates one after the other, and the workers after them."""
    if name not in ESTIMATORS:
        raise NotImplementedError(
            f"the estimator {name} is new; say in benchmarks/_accelerator_equality.py how to make "
            "it."
        )
    with on(device):
        estimator, optimizer = ESTIMATORS[name]()
        optimizer = on_default_device(optimizer)
        workers, (losses, gradients, aux) = _two(estimator, optimizer, jax.random.key(1))
    return {"losses": losses, "gradients": gradients, "aux": aux, "workers": workers}


def estimator_checks(devices: Devices) -> list[Check]:
    """Compares every meta-gradient estimator with the CPU."""
    return [
        Check(
            f"estimator {name}: two meta-gradients",
            ESTIMATOR_TOLERANCE,
            25.0,
            functools.partial(compare, devices, functools.partial(estimate, name=name)),
        )
        for name in estimator_names()
    ]


def repeat_check(devices: Devices) -> Check:
    """The same program with the same keys on the accelerator twice: the same bits."""

    def measure() -> Measured:
        first, second = (estimate(devices.candidate, "PES") for _ in range(2))
        same = digest(first) == digest(second)
        return Measured(0.0 if same else max(relative_difference(first, second), 1e-12))

    return Check("the same keys give the same bits twice", 0.0, 2.0, measure)


_KEY, _HALF, _WHOLE = 2, 2, 4
# Made once: another one of the same kind would be another program.
_META_OPTIMIZER = optax.sgd(1e-3, momentum=0.9)


def _trainer() -> meta.Trainer:
    estimator, _ = ESTIMATORS["PES"]()
    return meta.Trainer(estimator, _META_OPTIMIZER, steps_per_call=_HALF, checkpoint_every=_HALF)


def meta_train(device: Any, num_steps: int, directory: Path) -> dict[str, Any]:
    """Goes on to so many meta-steps; returns how far the meta-parameters are from the start."""
    with on(device):
        _, start = ESTIMATORS["PES"]()
        start = on_default_device(start)
        result = _trainer().run(start, num_steps, key=jax.random.key(_KEY), directory=directory)
        return {"moved": jax.tree.map(jnp.subtract, result.optimizer, start)}


def restored(device: Any, directory: Path) -> Any:
    """Everything in the newest checkpoint: meta-parameters, workers, accumulators, counts."""
    with on(device):
        _, start = ESTIMATORS["PES"]()
        meta_params = eqx.filter(on_default_device(start), eqx.is_inexact_array)
        init_key, _ = jax.random.split(jax.random.key(_KEY))
        # As `Trainer.run` makes it: a checkpoint is read in the structure of a first state.
        like = _trainer()._initial(on_default_device(start), meta_params, init_key)
        found = meta.Checkpoints(directory / "checkpoints").restore(like)
    if found is None:
        raise FileNotFoundError(f"there is no checkpoint in {directory}")
    return found[1]


def resumed(writer: Any, reader: Any) -> dict[str, Measured]:
    """Meta-trains half way on one device and the rest on both: what was read, where they end.

    A resume that is refused with a message about the run directory is as good as an exact one.
    """
    with tempfile.TemporaryDirectory() as place:
        own, other = Path(place) / "own", Path(place) / "other"
        meta_train(writer, _HALF, own)
        shutil.copytree(own, other)
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                written, read = restored(writer, own), restored(reader, other)
                there = meta_train(reader, _WHOLE, other)
        except RunDirectoryError as error:
            refused = Measured(0.0, f"refused: {str(error)[:200]}")
            return {"read": refused, "ends": refused}
        passed_over = [str(one.message) for one in caught if "passed over" in str(one.message)]
        here = meta_train(writer, _WHOLE, own)
    bits = 0.0 if digest(written) == digest(read) else math.inf
    return {
        "read": Measured(bits if not passed_over else math.inf, "; ".join(passed_over)),
        "ends": Measured(relative_difference(there, here)),
    }


def resume_checks(devices: Devices) -> list[Check]:
    """A run that is begun on the CPU and resumed on the accelerator, and the other way round."""
    checks = []
    for writer, reader, way in (
        (devices.reference, devices.candidate, "CPU to accelerator"),
        (devices.candidate, devices.reference, "accelerator to CPU"),
    ):
        both = functools.cache(functools.partial(resumed, writer, reader))
        checks += [
            Check(
                f"resume, {way}: the state that is read, bit for bit",
                0.0,
                40.0,
                lambda both=both: both()["read"],
            ),
            Check(
                f"resume, {way}: meta-steps after it",
                ESTIMATOR_TOLERANCE,
                0.5,
                lambda both=both: both()["ends"],
            ),
        ]
    return checks
