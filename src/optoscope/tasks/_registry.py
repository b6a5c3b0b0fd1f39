"""The registry of tasks: each is found by its name."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
from jaxtyping import PRNGKeyArray

from optoscope import data
from optoscope._core.errors import InvalidValueError
from optoscope._core.keys import new_key
from optoscope._core.kinds import check_kind, check_size
from optoscope._core.memory import check_memory
from optoscope._core.registry import Registry
from optoscope._core.trees import num_bytes
from optoscope.tasks._base import Task, TaskDistribution, as_distribution
from optoscope.tasks._classification import cnn_classification, mlp_classification
from optoscope.tasks._es_gradient import es_gradient
from optoscope.tasks._quadratic import RandomLeastSquares, RandomQuadratic
from optoscope.tasks._rosenbrock import Rosenbrock
from optoscope.tasks._two_moons import two_moons
from optoscope.tasks._unseen import SCALES, UNSEEN_TASKS, UnseenTask, build_unseen

_TEXT_OPTIONS = ("data_dir", "verify")
_IMAGE_OPTIONS = (*_TEXT_OPTIONS, "size", "standardize", "validation_size")
_DATA_OPTIONS: Mapping[str, Any] = {
    "data_dir": str | Path | None,
    "verify": bool,
    "size": int | None,
    "standardize": bool,
    "validation_size": int | None,
    "dataset": str | None,
}


@dataclass(frozen=True)
class TaskEntry:
    """A registered task: how to build it and what it is, in one line.

    Args:
        build: makes the task; its keyword arguments are the task's options.
        description: one line for lists.
        dataset: the dataset it needs, or None.
        options: what `build` takes besides the data's options, with their types, where its
            signature does not tell.
        defaults: likewise the values that are taken if an option is not given; of tasks of several
            sizes ("scale") only those that all sizes share.
        data_options: the options of its dataset.
        family: the tasks that lists show together.
        parts: the name in the parts in which tasks of the family differ, as dataset, network and
            variant; the whole name if not given.
    """

    build: Callable[..., Task | TaskDistribution]
    description: str
    dataset: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    data_options: tuple[str, ...] = _IMAGE_OPTIONS
    family: str = "others"
    parts: tuple[str, ...] = ()

    @property
    def option_types(self) -> Mapping[str, Any]:
        """The keyword arguments that `build` takes, each with its type."""
        if self.dataset is None:
            parameters = inspect.signature(self.build).parameters.values()
            return {p.name: p.annotation for p in parameters if p.name != "name"}
        return {name: _DATA_OPTIONS[name] for name in self.data_options} | dict(self.options)

    @property
    def option_defaults(self) -> Mapping[str, Any]:
        """The values of options that are not given; what depends on the scale is left out."""
        if self.dataset is None:
            return _defaults(self.build)
        return {name: _DATA_DEFAULTS[name] for name in self.data_options} | dict(self.defaults)

    @property
    def known_options(self) -> frozenset[str]:
        """The names of the keyword arguments that `build` takes."""
        return frozenset(self.option_types)

    def known(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The given options without those that the task does not have."""
        return {name: value for name, value in options.items() if name in self.known_options}


def _defaults(make: Callable[..., Any]) -> dict[str, Any]:
    """The defaults of a function's arguments, but for the name that it gives the task."""
    parameters = inspect.signature(make).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.name != "name"}


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


def _build(
    make: Callable[..., Task],
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
    return make(loaded, name=name, **(settings | options))


# "dataset" is an option of the unseen tasks alone.
_DATA_DEFAULTS: Mapping[str, Any] = {**_defaults(_build), "dataset": None}


def _make_options(make: Callable[..., Task]) -> dict[str, Any]:
    """The keyword arguments of `make`, which are a task's options, with their types."""
    parameters = inspect.signature(make).parameters.values()
    return {
        p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "name"
    }


def _register_unseen(name: str, entry: UnseenTask) -> None:
    noise = _make_options(es_gradient)
    options = {"scale": str} | _make_options(entry.make) | {o: noise[o] for o in entry.es or {}}
    shared = _defaults(entry.make) | dict(entry.es or {}) | dict(entry.common)
    by_scale = {option for scale in SCALES for option in getattr(entry, scale)}
    registered = TaskEntry(
        partial(build_unseen, name),
        entry.description,
        entry.dataset,
        options=options,
        defaults={"scale": "paper"} | {o: v for o, v in shared.items() if o not in by_scale},
        data_options=_TEXT_OPTIONS if entry.is_text else (*_IMAGE_OPTIONS, "dataset"),
        family="unlike the tasks of meta-training",
    )
    REGISTRY.register(name, registered)


def _register_images(
    make: Callable[..., Task],
    dataset: _ImageDataset,
    network: str,
    settings: dict[str, Any],
    description: str,
    variant: str = "",
) -> None:
    """Registers a network on a dataset, in one of its variants if it has any."""
    parts = (dataset.replace("_", "-"), network, *([variant] if variant else []))
    name = "-".join(parts)
    build = partial(_build, make, dataset, name, settings)
    title = f"{_DATASETS[dataset]}, {description}"
    family = "MLPs on images (paper A)" if variant else "networks on images (papers B and C)"
    options, defaults = _make_options(make), _defaults(make) | settings
    REGISTRY.register(
        name, TaskEntry(build, title, dataset, options, defaults, family=family, parts=parts)
    )


for _dataset in _DATASETS:
    for _network, _hidden in _HIDDEN.items():
        for _variant, _settings in _VARIANTS.items():
            _register_images(
                mlp_classification,
                _dataset,
                _network,
                {"hidden": _hidden, **_settings},
                f"MLP with hidden units {'-'.join(map(str, _hidden))}, "
                f"{_variant.replace('-', ' ')}",
                _variant,
            )
    _register_images(
        mlp_classification,
        _dataset,
        "mlp-dm",
        {"hidden": (20,), "activation": "sigmoid", "initialization": "small_normal"},
        "MLP with hidden units 20, sigmoid, from N(0, 0.01²)",
    )
    _register_images(
        cnn_classification, _dataset, "cnn", {}, "three 3×3 convolutions of 16 channels (paper B)"
    )
    _register_images(
        mlp_classification,
        _dataset,
        "mlp-128-128",
        {"hidden": (128, 128), "activation": "relu", "initialization": "truncated_normal"},
        "MLP with hidden units 128-128, relu (paper C)",
    )
    _register_images(
        cnn_classification,
        _dataset,
        "cnn-mean-pool",
        {
            "channels": (32, 64, 64),
            "strides": (2, 1, 1),
            "padding": "SAME",
            "pooling": "mean",
            "initialization": "truncated_normal",
            "batch_size": 128,
        },
        "3×3 convolutions of 32-64-64, mean pooling (paper C)",
    )
for _name, _make, _title in (
    (
        "quadratic",
        RandomLeastSquares,
        "random least squares in 5 parameters, 10 equations (paper B)",
    ),
    (
        "quadratic-ill-conditioned",
        partial(RandomLeastSquares, rows=5, name="quadratic-ill-conditioned"),
        "random least squares in 5 parameters, 5 equations (paper B)",
    ),
    (
        "quadratic-log-uniform",
        RandomQuadratic,
        "random quadratics in 5 parameters, curvature from 1e-3 to 1",
    ),
    ("rosenbrock", Rosenbrock, "the Rosenbrock function from random starts (paper B)"),
    (
        "two-moons",
        two_moons,
        "two moons, MLP 2-64-64-64-1 with tanh, all points at once (paper B)",
    ),
):
    REGISTRY.register(_name, TaskEntry(_make, _title, family="small functions"))
for _name, _unseen in UNSEEN_TASKS.items():
    _register_unseen(_name, _unseen)


def get(name: str, /, **options: Any) -> Task | TaskDistribution:
    """The task (or distribution of tasks) called `name`.

    Args:
        name: one of `names()`.
        **options: the task's own keyword arguments: for image tasks `data_dir`, `size`,
            `standardize`, `verify`, `validation_size`, and those of `mlp_classification` or
            `cnn_classification`; for the tasks in `UNSEEN` also `scale`: "smoke", "laptop" or
            "paper", and for their images `dataset`.

    Raises:
        UnknownNameError: no such task; the message suggests the nearest names.
        InvalidValueError: an option the task does not have, or of another type, or a task that is
            too large for the memory.
        DataError: its dataset is missing or damaged.

    Example:
        >>> get("digits-mlp-sigmoid").metadata["num_params"]
        1510
    """
    entry = REGISTRY[name]
    known = entry.known_options
    unknown = [option for option in options if option not in known]
    if unknown:
        raise InvalidValueError(
            f"task {name!r} has no option {unknown[0]!r}; it takes {', '.join(sorted(known))}."
        )
    for option, value in options.items():
        check_kind(option, value, entry.option_types[option])
        check_size(option, value)
    kinds = entry.option_types
    task = entry.build(**{name: _as_kind(value, kinds[name]) for name, value in options.items()})
    if options:
        _check_memory(task)
    return task


def _as_kind(value: Any, kind: Any) -> Any:
    """A value as its type has it, from a file, where tuples are lists and 1.0 may be 1."""
    if isinstance(value, list):
        return tuple(value)
    return float(value) if kind is float and isinstance(value, int) else value


def _check_memory(task: Task | TaskDistribution) -> None:
    """Refuses a task whose parameters or batch could never be held, before they are made."""

    def made(task: Task | TaskDistribution, key: PRNGKeyArray) -> tuple[Task, Any, Any]:
        one = as_distribution(task).sample(key)
        return one, one.init(key), one.sample_batch(key)

    one, params, batch = eqx.filter_eval_shape(made, task, new_key(0))
    needed = {"the problem": one, "its parameters": params, "a batch": batch}
    check_memory(
        {what: num_bytes(tree) for what, tree in needed.items()}, "Ask for a smaller task."
    )


def names() -> tuple[str, ...]:
    """The names of all registered tasks."""
    return REGISTRY.names()
