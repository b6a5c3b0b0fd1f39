"""Tasks by name."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from optoscope import data
from optoscope._core.errors import InvalidValueError
from optoscope._core.registry import Registry
from optoscope.tasks._base import Task, TaskDistribution
from optoscope.tasks._classification import mlp_classification
from optoscope.tasks._quadratic import RandomLeastSquares


@dataclass(frozen=True)
class TaskEntry:
    """A registered task: how to build it and what it is, in one line.

    Args:
        build: makes the task; its keyword arguments are the task's options.
        description: one line for lists.
        dataset: the dataset it needs, or None.
    """

    build: Callable[..., Task | TaskDistribution]
    description: str
    dataset: str | None = None


REGISTRY: Registry[TaskEntry] = Registry("task")

_ImageDataset = Literal["digits", "mnist", "fashion_mnist", "cifar10"]

_VARIANTS = {
    "sigmoid": {"activation": "sigmoid"},
    "tanh": {"activation": "tanh"},
    "relu": {"activation": "relu"},
    "leaky-relu": {"activation": "leaky_relu"},
    "batch-norm": {"activation": "relu", "norm": "batch"},
    "layer-norm": {"activation": "relu", "norm": "layer"},
}
# Paper A's networks: the one of meta-training, and those its figure 6 and 7 move to.
_HIDDEN = {"mlp": (20,), "mlp-40": (40,), "mlp-20-20": (20, 20), "mlp-100-100": (100, 100)}
_DATASETS: dict[_ImageDataset, str] = {
    "digits": "scikit-learn's 8×8 digits (bundled)",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
}


def _build_mlp(
    dataset: _ImageDataset,
    name: str,
    settings: dict[str, Any],
    *,
    data_dir: str | Path | None = None,
    size: int | None = None,
    standardize: bool = False,
    verify: bool = True,
    validation_size: int | None = None,
    **options: Any,
) -> Task:
    loaded = data.load(
        dataset,
        data_dir=data_dir,
        size=size,
        standardize=standardize,
        verify=verify,
        validation_size=validation_size,
    )
    return mlp_classification(loaded, name=name, **(settings | options))


for _dataset, _title in _DATASETS.items():
    for _network, _hidden in _HIDDEN.items():
        for _variant, _settings in _VARIANTS.items():
            _name = f"{_dataset.replace('_', '-')}-{_network}-{_variant}"
            _layers = "-".join(map(str, _hidden))
            REGISTRY.register(
                _name,
                TaskEntry(
                    partial(_build_mlp, _dataset, _name, {"hidden": _hidden, **_settings}),
                    f"{_title}, MLP with hidden units {_layers}, {_variant.replace('-', ' ')}",
                    _dataset,
                ),
            )
REGISTRY.register(
    "quadratic",
    TaskEntry(RandomLeastSquares, "random least squares in 5 parameters, 10 equations (paper B)"),
)
REGISTRY.register(
    "quadratic-ill-conditioned",
    TaskEntry(
        partial(RandomLeastSquares, rows=5),
        "random least squares in 5 parameters, 5 equations (paper B)",
    ),
)

_DATA_OPTIONS = ("data_dir", "size", "standardize", "verify", "validation_size")


def get(name: str, **options: Any) -> Task | TaskDistribution:
    """The task (or distribution of tasks) called `name`.

    Args:
        name: one of `names()`.
        **options: the task's own keyword arguments: for image tasks `data_dir`, `size`,
            `standardize`, `verify`, `validation_size`, `hidden`, `activation`, `norm`,
            `batch_size`.

    Raises:
        UnknownNameError: no such task; the message suggests the nearest names.
        InvalidValueError: an option the task does not have.
        DataError: its dataset is missing or damaged.

    Example:
        >>> get("digits-mlp-sigmoid").metadata["num_params"]
        1510
    """
    entry = REGISTRY[name]
    known = inspect.signature(entry.build).parameters
    if entry.dataset is not None:
        known = {*_DATA_OPTIONS, "hidden", "activation", "norm", "batch_size"}
    unknown = [option for option in options if option not in known]
    if unknown:
        raise InvalidValueError(
            f"task {name!r} has no option {unknown[0]!r}; it takes {', '.join(sorted(known))}."
        )
    return entry.build(**options)


def names() -> tuple[str, ...]:
    """The names of all registered tasks."""
    return REGISTRY.names()
