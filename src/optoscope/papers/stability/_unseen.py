"""Parts that run meta-trained optimizers on unseen tasks, beside tuned Adam and NAdamW."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from optoscope import bench, optimizers, tasks, training
from optoscope._core.keys import stream
from optoscope._core.windows import tenth
from optoscope.optimizers import Optimizer
from optoscope.papers._meta_trained import load_learned
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers.stability._far import diverged, kept_steps, smoothed
from optoscope.papers.stability._learn import learned, training_of
from optoscope.papers.stability._setting import MAIN, Setting

# Those that the paper draws in its figure 4.
FIGURE_4 = (
    "layer-norm-mlp", "residual-network", "lstm-language-model", "transformer-language-model",
)  # fmt: skip
# What pictures call them.
WORDS = {
    "layer-norm-mlp": "MLP, layer norm",
    "layer-norm-tanh-mlp": "Deep MLP, tanh",
    "wide-mlp": "Wide MLP",
    "deep-mlp": "Deep MLP, ReLU",
    "deep-cnn": "Deep CNN",
    "wide-cnn": "Wide CNN",
    "tanh-cnn": "CNN, tanh",
    "residual-network": "Residual network",
    "autoencoder": "Autoencoder",
    "cross-entropy-autoencoder": "Deep autoencoder, tanh",
    "rnn-language-model": "RNN language model",
    "gru-language-model": "GRU language model",
    "lstm-language-model": "LSTM language model",
    "transformer-language-model": "Transformer",
    "es-gradient-layer-norm-mlp": "MLP, ES gradients",
    "es-gradient-autoencoder": "Autoencoder, ES gradients",
}
TUNED = ("adam", "nadamw")
_TRAINED_ON = "mlp"
_ADAM_RATES = (1e-7, 1.0)
# The paper says which hyper-parameters are drawn and how; the ranges past the rate's are ours.
_NADAMW = {
    "learning_rate": bench.LogUniform(1e-5, 1.0),
    "b1": bench.OneMinusLogUniform(1e-3, 1.0),
    "b2": bench.OneMinusLogUniform(1e-5, 1.0),
    "eps": bench.LogUniform(1e-8, 1.0),
    "weight_decay": bench.LogUniform(1e-6, 0.1),
    "warmup": bench.Uniform(0.0, 0.1),
    "cosine": bench.Uniform(0.0, 1.0),
}


def unseen_names(setting: Setting, part: str) -> tuple[str, ...]:
    """The tasks of a figure that are measured at this scale.

    Args:
        setting: which has the scale.
        part: "4" for those of figure 4, "app-5" for the first half of all, "app-6" for the rest.
    """
    return tuple(
        name for name in of_figure(part) if not setting.scale.unseen or name in setting.scale.unseen
    )


def of_figure(part: str) -> tuple[str, ...]:
    """All tasks of "4", "app-5" or "app-6"."""
    half = len(tasks.UNSEEN) // 2
    return {"4": FIGURE_4, "app-5": tasks.UNSEEN[:half], "app-6": tasks.UNSEEN[half:]}[part]


def schedule(
    step: ArrayLike, learning_rate: ArrayLike, warmup: ArrayLike, cosine: ArrayLike, num_steps: int
) -> Float[Array, ""]:
    """The learning rate: a linear rise over the first share of the steps, a cosine over the last.

    Example:
        >>> [round(float(schedule(step, 1.0, 0.1, 0.5, 100)), 3) for step in (0, 9, 50, 75, 100)]
        [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    step, warmup, cosine = jnp.asarray(step), jnp.asarray(warmup), jnp.asarray(cosine)
    rise = jnp.minimum(1.0, (step + 1) / jnp.maximum(warmup * num_steps, 1.0))
    fall = jnp.clip((step / num_steps - (1 - cosine)) / jnp.maximum(cosine, 1e-6), 0.0, 1.0)
    return jnp.asarray(learning_rate) * rise * 0.5 * (1 + jnp.cos(jnp.pi * fall))


def _nadamw(num_steps: int, **values: Any) -> optax.GradientTransformation:
    shape = {name: values.pop(name) for name in ("warmup", "cosine")}
    rate = values.pop("learning_rate")
    return optax.nadamw(
        lambda step: schedule(step, rate, shape["warmup"], shape["cosine"], num_steps), **values
    )


@functools.cache
def _builder(num_steps: int) -> Any:
    # One object for each length: another one, though equal, would be compiled for again.
    return functools.partial(_nadamw, num_steps)


def scheduled_nadamw(num_steps: int, **hyperparameters: Any) -> Optimizer:
    """NAdamW with warm-up and a cosine decay; see `schedule`.

    Args:
        num_steps: of the run.
        hyperparameters: `learning_rate`, `b1`, `b2`, `eps`, `weight_decay`, `warmup`, `cosine`.
    """
    arrays = {name: jnp.asarray(value, jnp.float32) for name, value in hyperparameters.items()}
    return optimizers.OptaxOptimizer(_builder(num_steps), arrays, "scheduled-nadamw")


def _searched(
    setting: Setting, task: tasks.Task, name: str
) -> tuple[dict[str, Optimizer], dict[str, np.ndarray]]:
    """The best Adam and NAdamW by their mean loss, and the arrays of their searches."""
    scale = setting.scale
    counts: dict[str, Any] = {
        "num_steps": scale.unseen_steps,
        "num_runs": scale.tuning_runs,
        "key": stream(setting.seed, f"{name} tuning"),
    }
    create = functools.partial(scheduled_nadamw, scale.unseen_steps)
    rates = {"learning_rate": np.geomspace(*_ADAM_RATES, scale.adam_points)}
    searches = {
        "adam": bench.evaluate_configurations(task, optimizers.adam, rates, **counts),
        "nadamw": bench.random_search(task, create, _NADAMW, scale.nadamw_samples, **counts),
    }
    makers = {"adam": optimizers.adam, "nadamw": create}
    arrays: dict[str, Any] = {}
    for label, search in searches.items():
        arrays |= {f"{label}/{key}": values for key, values in search.hyperparameters.items()}
        arrays |= {f"{label}/best/{key}": value for key, value in search.best.items()}
        arrays[f"{label}/score"] = search.score
    found = {label: makers[label](**searches[label].best) for label in TUNED}
    return found, {key: np.asarray(value) for key, value in arrays.items()}


def _measured(
    setting: Setting, task: tasks.Task, name: str, contenders: Sequence[Optimizer]
) -> dict[str, np.ndarray]:
    """Runs of some optimizers; arrays with leading axes (optimizers, runs)."""
    scale = setting.scale
    losses = np.stack(
        [
            training.train(
                task,
                optimizer,
                scale.unseen_steps,
                key=stream(setting.seed, f"{name} comparison"),
                num_runs=scale.unseen_runs,
            ).losses
            for optimizer in contenders
        ]
    )
    average, last = smoothed(losses), tenth(scale.unseen_steps)

    def mean(values: np.ndarray) -> np.ndarray:
        found = values.astype(np.float64).mean(axis=-1)
        return np.where(np.isfinite(found), found, np.inf)

    return {
        "smoothed": average[..., kept_steps(scale.unseen_steps, scale.records)],
        "mean": mean(losses),
        "final": mean(losses[..., -last:]),
        "diverged": diverged(losses, average),
        "initial": losses[..., 0],
    }


def tuned(setting: Setting, name: str) -> Part:
    """Adam and NAdamW, tuned on the very task by their mean loss, in runs of their own.

    It needs no meta-trained optimizer, so that more meta-seeds leave it as it is.

    The searches as `adam/…` and `nadamw/…`, and the arrays of `unseen` for the best of each.
    """
    scale = setting.scale

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        task = _task(setting, name)
        baselines, arrays = _searched(setting, task, name)
        return arrays | _compared(
            setting, task, name, {label: [one] for label, one in baselines.items()}, workspace
        )

    configuration = _counts(setting, name) | {
        "adam": [*_ADAM_RATES, scale.adam_points],
        "nadamw": {key: [type(d).__name__, d.low, d.high] for key, d in _NADAMW.items()},
        "tuning": [scale.nadamw_samples, scale.tuning_runs],
    }
    return Part(f"tuned-{name}", configuration, compute)


def unseen(setting: Setting, name: str) -> Part:
    """The main arms on a task that they were not meta-trained on, beside tuned baselines.

    For each contestant arrays with leading axes (meta-seeds or 1, runs): `smoothed` at `steps`,
    `mean` and `final` losses (of all steps, of the last tenth; infinite if not finite) and
    `diverged`; the searches as `adam/…` and `nadamw/…`.
    """
    scale, baselines = setting.scale, tuned(setting, name)
    trained = {
        arm: learned(setting, _TRAINED_ON, arm, scale.unseen_seeds)
        for arm in setting.measured(_TRAINED_ON, MAIN)
    }

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        task = _task(setting, name)
        contenders: dict[str, Sequence[Optimizer]] = {}
        for arm, parts in trained.items():
            how = training_of(setting, _TRAINED_ON, arm)
            contenders[arm] = [load_learned(needed[part.name], how) for part in parts]
        measured = _compared(setting, task, name, contenders, workspace)
        about = {
            "steps": kept_steps(scale.unseen_steps, scale.records),
            "num_steps": scale.unseen_steps,
            "num_params": task.metadata["num_params"],
            "guess": task.metadata["guessing_loss"],
            "description": tasks.REGISTRY[name].description,
        }
        told = {key: np.asarray(value) for key, value in about.items()}
        return {**needed[baselines.name], **measured, **told}

    needs = tuple(part for parts in trained.values() for part in parts)
    return Part(f"unseen-{name}", _counts(setting, name), compute, (baselines, *needs))


def _compared(
    setting: Setting,
    task: tasks.Task,
    name: str,
    contenders: Mapping[str, Sequence[Optimizer]],
    workspace: Workspace,
) -> dict[str, np.ndarray]:
    """The arrays of `unseen` for some contestants, and the losses that all of them start from."""
    arrays: dict[str, np.ndarray] = {}
    for index, (label, found) in enumerate(contenders.items()):
        measured = _measured(setting, task, name, found)
        # All meet the same start.
        arrays["initial"] = measured.pop("initial")[0]
        arrays |= {f"{label}/{key}": values for key, values in measured.items()}
        workspace.report(index + 1, len(contenders))
    return arrays


def _counts(setting: Setting, name: str) -> dict[str, Any]:
    """What every run on an unseen task depends on."""
    scale = setting.scale
    return {
        "task": name,
        "size": scale.unseen_size,
        "images": scale.unseen_images,
        "seed": setting.seed,
        "steps": scale.unseen_steps,
        "runs": scale.unseen_runs,
        "records": scale.records,
    }


def _task(setting: Setting, name: str) -> tasks.Task:
    task = tasks.get(name, scale=setting.scale.unseen_size, **_options(setting, name))
    assert isinstance(task, tasks.Task)
    return task


def _options(setting: Setting, name: str) -> dict[str, Any]:
    options = dict(setting.data_options)
    if setting.scale.unseen_images:
        options["dataset"] = setting.scale.unseen_images
    # Text has neither another dataset nor a validation split to leave out.
    return tasks.REGISTRY[name].known(options)
