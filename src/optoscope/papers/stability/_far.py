"""Parts that run meta-trained optimizers far past the horizon they were meta-trained at."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from optoscope import meta, training
from optoscope._core.keys import stream
from optoscope._core.windows import tenth
from optoscope.papers._meta_trained import load_learned
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers.stability._learn import learned, training_of
from optoscope.papers.stability._setting import OBJECTIVE, Setting

SMOOTHING = 0.98


def smoothed(losses: Float[np.ndarray, "*runs steps"]) -> Float64[np.ndarray, "*runs steps"]:
    """An exponential moving average that starts at the first value.

    It is not finite from the first loss on that is not.

    Example:
        >>> smoothed(np.array([1.0, 2.0])).round(2).tolist()
        [1.0, 1.02]
    """
    # Takes longer to import than most commands to start.
    from scipy.signal import lfilter

    losses = np.asarray(losses, np.float64)
    first = SMOOTHING * losses[..., :1]
    return lfilter([1 - SMOOTHING], [1, -SMOOTHING], losses, axis=-1, zi=first)[0]


def kept_steps(num_steps: int, count: int) -> Int[np.ndarray, " steps"]:
    """About `count` steps of a run, evenly spread over the logarithm, first and last included."""
    steps = np.geomspace(1, num_steps, count).round().astype(np.int64) - 1
    return np.unique(np.append(steps, [0, num_steps - 1]))


def diverged(
    losses: Float[np.ndarray, "*runs steps"], average: Float[np.ndarray, "*runs steps"]
) -> Bool[np.ndarray, "*runs"]:
    """Whether runs diverged: a loss is not finite, or the smoothed loss ends above the first."""
    finite = np.isfinite(losses).all(axis=-1)
    with np.errstate(invalid="ignore"):
        return ~finite | ~(average[..., -1] <= losses[..., 0])


def summary(
    losses: Float[np.ndarray, "*runs steps"],
    horizon: int,
    multiples: Sequence[int],
    records: int,
    objective: meta.Objective,
) -> dict[str, np.ndarray]:
    """The arrays that are kept of runs past their horizon; see `far`."""
    average, window = smoothed(losses), tenth(horizon)
    ends = [multiple * horizon for multiple in multiples]
    steps = kept_steps(ends[-1], records)
    normal = np.asarray(objective.normalize(jnp.asarray(losses)), np.float64)
    bounded = np.where(np.isfinite(average), average, np.inf)
    broken = ~np.isfinite(losses)
    lost_at = np.where(broken.any(axis=-1), broken.argmax(axis=-1), np.inf)

    def before(end: int) -> np.ndarray:
        return normal[..., end - window : end].mean(axis=-1)

    def over(found: list[np.ndarray]) -> np.ndarray:
        return np.stack(found, axis=-1)

    return {
        "smoothed": average[..., steps],
        "initial": losses[..., 0],
        "at_horizon": before(horizon),
        "at_multiples": over([before(end) for end in ends]),
        "diverged": over([diverged(losses[..., :end], average[..., :end]) for end in ends]),
        "worst": over([bounded[..., horizon:end].max(axis=-1) for end in ends]),
        "lost_at": lost_at,
    }


def far(setting: Setting, name: str, arm: str) -> Part:
    """The kept optimizers of an arm far past their horizon, all on the same runs.

    Arrays with leading axes (meta-seeds, runs): `smoothed` at `steps`; `initial`, the first
    loss; `at_horizon` and `at_multiples`, the mean normalized loss of the last tenth of a
    horizon before the horizon and before each of `multiples` of it; `diverged` by then, and
    `worst`, the largest smoothed loss in between; `lost_at`, the first step that is not finite.
    """
    scale, recipe = setting.scale, setting.recipe(name)
    trained, num_steps = learned(setting, name, arm), scale.multiples[-1] * recipe.horizon

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        task, how = setting.task(name), training_of(setting, name, arm)
        found = []
        for index, part in enumerate(trained):
            losses = training.train(
                task,
                load_learned(needed[part.name], how),
                num_steps,
                key=stream(setting.seed, f"{name} far"),
                num_runs=scale.far_runs,
            ).losses
            found.append(
                summary(
                    np.asarray(losses), recipe.horizon, scale.multiples, scale.records, OBJECTIVE
                )
            )
            workspace.report(index + 1, len(trained))
        arrays = {key: np.stack([one[key] for one in found]) for key in found[0]}
        return arrays | {
            "steps": kept_steps(num_steps, scale.records),
            "multiples": np.asarray(scale.multiples),
            "horizon": np.asarray(recipe.horizon),
            "maximum": np.asarray(OBJECTIVE.maximum),
        }

    configuration = setting.described(
        name, multiples=scale.multiples, runs=scale.far_runs, records=scale.records
    )
    return Part(f"far-{name}-{arm}", configuration, compute, trained)
