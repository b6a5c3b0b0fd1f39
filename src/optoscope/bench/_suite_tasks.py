"""The tasks of a suite: what is trained on when optimizers are ranked over several tasks."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optoscope import tasks
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.tasks import Task, TaskDistribution


@dataclass(frozen=True)
class SuiteTask:
    """One task of a suite.

    Args:
        task: a registered task.
        options: its options.
        description: one line for pages.
    """

    task: str
    description: str
    options: Mapping[str, Any] = field(default_factory=dict)


_LAPTOP: Mapping[str, Any] = {"scale": "laptop"}
# Images of one dataset alone, the smallest of the real ones, so that there is one to fetch.
_IMAGES: Mapping[str, Any] = {**_LAPTOP, "dataset": "mnist"}
_DIGITS: Mapping[str, Any] = {"scale": "smoke"}

SUITES: Mapping[str, Mapping[str, SuiteTask]] = {
    "small": {
        "mlp": SuiteTask("deep-mlp", "MNIST at 14×14, MLP 32-32-32-32-32 with ReLU", _IMAGES),
        "layer-norm-mlp": SuiteTask(
            "layer-norm-mlp", "MNIST at 14×14, MLP 32-32-32 with layer norm and ReLU", _IMAGES
        ),
        "autoencoder": SuiteTask(
            "autoencoder", "MNIST at 14×14, autoencoder 64-16-64 with ReLU, squared error", _IMAGES
        ),
        "cnn": SuiteTask(
            "deep-cnn", "MNIST at 14×14, four 3×3 convolutions of 8-8-16-16 channels", _IMAGES
        ),
        "residual": SuiteTask(
            "residual-network",
            "MNIST at 14×14, residual network of two blocks, 8 and 16 channels, layer norm",
            _IMAGES,
        ),
        "lstm": SuiteTask(
            "lstm-language-model", "characters of Shakespeare, LSTM of 48 units", _LAPTOP
        ),
        "transformer": SuiteTask(
            "transformer-language-model",
            "characters of Shakespeare, transformer of two layers, 32 wide",
            _LAPTOP,
        ),
        "noisy-gradient": SuiteTask(
            "es-gradient-autoencoder",
            "the autoencoder, with gradients estimated by evolution strategies from six pairs",
            _IMAGES,
        ),
    },
    "smoke": {
        "mlp": SuiteTask("deep-mlp", "digits, MLP 16-16-16-16-16 with ReLU", _DIGITS),
        "autoencoder": SuiteTask("autoencoder", "digits, autoencoder 24-8-24", _DIGITS),
        "cnn": SuiteTask("deep-cnn", "digits, three convolutions of 4-4-8 channels", _DIGITS),
    },
}
"""Suites by name.

"small" has eight tasks on which no optimizer that comes with the library was trained. Most of those
saw multi-layer perceptrons of one or two hidden layers alone, or functions of a few parameters;
`general` saw small networks of several kinds, and its numbers were learned without these tasks.
"smoke" is for trying the command out: it needs no data but the bundled digits, and ranks nothing
that matters.
"""


def suite_tasks(
    suite: str | Mapping[str, Task | TaskDistribution],
    names: Sequence[str] = (),
    *,
    data_dir: str | Path | None = None,
) -> dict[str, Task | TaskDistribution]:
    """The tasks of a suite, built.

    Args:
        suite: the name of one, or tasks of your own by name.
        names: those that are wanted; all if empty.
        data_dir: where datasets lie.

    Raises:
        UnknownNameError: no such suite, or no such task in it.
        InvalidValueError: there is no task.
        DataError: a dataset is missing.
    """
    if isinstance(suite, str) and suite not in SUITES:
        raise UnknownNameError("suite", suite, SUITES)
    known = SUITES[suite] if isinstance(suite, str) else suite
    for name in names:
        if name not in known:
            raise UnknownNameError("task of the suite", name, known)
    built: dict[str, Task | TaskDistribution] = {}
    for name in names or known:
        one = known[name]
        if isinstance(one, SuiteTask):
            built[name] = tasks.get(one.task, **one.options, **_data(data_dir))
        else:
            built[name] = one
    if not built:
        raise InvalidValueError("there is no task; give at least one, by a name.")
    return built


def described(
    suite: str | Mapping[str, Task | TaskDistribution], names: Collection[str]
) -> dict[str, str]:
    """A line for each of the named tasks, where the suite is one of the library's."""
    known = SUITES[suite] if isinstance(suite, str) else {}
    return {name: one.description for name, one in known.items() if name in names}


def _data(data_dir: str | Path | None) -> dict[str, Any]:
    return {} if data_dir is None else {"data_dir": data_dir}
