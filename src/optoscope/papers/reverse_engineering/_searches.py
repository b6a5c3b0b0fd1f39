"""Parts that tune the baselines: random samples of a grid, judged by the meta-objective."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from optoscope import bench, optimizers, training
from optoscope._core.keys import stream
from optoscope.optimizers import Optimizer
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers.reverse_engineering._setting import BASELINES, RECOVERED, Setting


@dataclass(frozen=True)
class Range:
    """Values between two ends, evenly spaced in the logarithm.

    Args:
        low: above 0.
        high: above `low`.
        decay: whether the hyper-parameter is one minus the value, as for β near 1; then 1 is no
            edge, since no β lies below 0.
    """

    low: float
    high: float
    decay: bool = False

    def values(self, num: int) -> Float[np.ndarray, " num"]:
        """The hyper-parameter's values, rounded as the search will see them."""
        values = np.geomspace(self.low, self.high, num)
        return (1 - values if self.decay else values).astype(np.float32)

    def beyond(self, best: float, num: int) -> "Range | None":
        """The neighboring range to search too where the best value is at an edge."""
        values = self.values(num)
        if np.isclose(best, values[0], rtol=1e-6, atol=0):
            return dataclasses.replace(self, low=self.low / 10, high=self.low)
        if np.isclose(best, values[-1], rtol=1e-6, atol=0) and not (self.decay and self.high >= 1):
            high = min(1.0, 10 * self.high) if self.decay else 10 * self.high
            return dataclasses.replace(self, low=self.high, high=high)
        return None

    def joined(self, other: "Range") -> "Range":
        """The union of two adjacent ranges."""
        low, high = min(self.low, other.low), max(self.high, other.high)
        return dataclasses.replace(self, low=low, high=high)


_MOMENTUM = Range(1e-3, 1.0, decay=True)
_SECOND = Range(1e-4, 1.0, decay=True)
# Learning rates by task, wide enough that none of the best should be at an edge.
_RATES = {
    "regression": {"momentum": (1e-3, 3.0), "rmsprop": (1e-4, 1.0), "adam": (1e-3, 3.0)},
    "rosenbrock": {"momentum": (1e-6, 1e-2), "rmsprop": (1e-4, 1.0), "adam": (1e-3, 3.0)},
    "two-moons": {"momentum": (1e-3, 10.0), "rmsprop": (1e-4, 1.0), "adam": (1e-4, 1.0)},
    "cnn": {"momentum": (1e-3, 10.0), "rmsprop": (1e-5, 0.1), "adam": (1e-4, 1.0)},
    RECOVERED: {"momentum": (1e-2, 30.0)},
}
_DECAYS = {
    "momentum": {"momentum": _MOMENTUM},
    "rmsprop": {"decay": _SECOND},
    "adam": {"b1": _MOMENTUM, "b2": _SECOND},
}


def baselines(name: str) -> tuple[str, ...]:
    """The optimizers that are tuned for a task."""
    return tuple(baseline for baseline in BASELINES if baseline in _RATES[name])


def search_space(name: str, baseline: str) -> dict[str, Range]:
    """The first ranges of a search."""
    return {"learning_rate": Range(*_RATES[name][baseline])} | _DECAYS[baseline]


@dataclass(frozen=True)
class _Found:
    values: dict[str, np.ndarray]
    score: np.ndarray

    @property
    def best(self) -> dict[str, float]:
        index = int(np.argmin(self.score))
        return {key: float(values[index]) for key, values in self.values.items()}

    def joined(self, other: "_Found") -> "_Found":
        values = {k: np.concatenate([v, other.values[k]]) for k, v in self.values.items()}
        return _Found(values, np.concatenate([self.score, other.score]))


def _search(
    setting: Setting, name: str, baseline: str, space: Mapping[str, Range], label: str
) -> _Found:
    """The scores of `samples` configurations drawn from the grid over `space`."""
    scale = setting.scale
    draw = np.random.default_rng(
        np.asarray(jax.random.key_data(stream(setting.seed, f"{name} {baseline} {label}")))
    )
    drawn = {
        key: draw.choice(values.values(scale.grid_points), scale.samples)
        for key, values in space.items()
    }
    return _scored(setting, name, baseline, drawn, scale.search(name).runs)


def _scored(
    setting: Setting,
    name: str,
    baseline: str,
    configurations: Mapping[str, np.ndarray],
    runs: int,
) -> _Found:
    """Configurations with their mean meta-objective over problems."""
    recipe, distribution = setting.recipe(name), setting.distribution(name)
    # More problems begin with the fewer ones: no configuration is judged on others than the rest.
    key = stream(setting.seed, f"tuning {name}")
    found = bench.evaluate_configurations(
        distribution,
        optimizers.REGISTRY[baseline].create,
        configurations,
        num_steps=recipe.horizon,
        key=key,
        num_runs=runs,
    )
    scores = found.scores
    if recipe.relative:
        # Any optimizer's first loss will do: it is taken before the first step.
        first = training.train(distribution, optimizers.sgd(0.0), 1, key=key, num_runs=runs).losses
        scores = scores / np.asarray(first)[:, 0]
    return _Found(found.hyperparameters, scores.mean(axis=1))


def _winner(setting: Setting, name: str, baseline: str, found: _Found) -> tuple[dict, float]:
    """The best configuration and its score; the finalists' where there is a second round.

    The least of 2,500 scores on one problem is as much that problem's luck as a good setting.
    """
    search = setting.scale.search(name)
    if search.finalists:
        first = np.argsort(found.score, kind="stable")[: search.finalists]
        chosen = {key: values[first] for key, values in found.values.items()}
        found = _scored(setting, name, baseline, chosen, search.finalist_runs)
    return found.best, float(found.score.min())


def _widened(setting: Setting, name: str, baseline: str) -> tuple[_Found, dict[str, Range]]:
    """The search, with further ones past every edge that was best; what it ranged over."""
    points, space = setting.scale.grid_points, search_space(name, baseline)
    found = _search(setting, name, baseline, space, "")
    for attempt in range(setting.scale.widenings):
        best = found.best
        beyond = {key: values.beyond(best[key], points) for key, values in space.items()}
        further = {key: new for key, new in beyond.items() if new is not None}
        if not further or not np.isfinite(found.score.min()):
            break
        found = found.joined(
            _search(setting, name, baseline, space | further, f"wider {attempt}")
        )  # fmt: skip
        space = space | {key: space[key].joined(new) for key, new in further.items()}
    return found, space


def _on_edge(space: Mapping[str, Range], best: Mapping[str, float]) -> bool:
    return any(values.beyond(best[key], 2) is not None for key, values in space.items())


def heavy_ball_optimum(smallest: float, largest: float) -> tuple[float, float]:
    """(α*, β*) of heavy ball for curvatures in [smallest, largest]: the fastest convergence.

    Math: α* = 4 / (√ℓ + √L)², β* = ((√L − √ℓ) / (√L + √ℓ))².

    Example:
        >>> heavy_ball_optimum(0.25, 1.0)
        (1.7777777777777777, 0.1111111111111111)
    """
    low, high = smallest**0.5, largest**0.5
    return 4 / (low + high) ** 2, ((high - low) / (high + low)) ** 2


def analytic_optimum(setting: Setting) -> Float[np.ndarray, "2"]:
    """The optimum for the distribution of `recovered`."""
    low, high = setting.distribution(RECOVERED).metadata["curvature"]
    return np.asarray(heavy_ball_optimum(low, high))


def tuned(setting: Setting, name: str) -> Part:
    """The searches of the baselines on a task.

    For each baseline `<name>/score`, the values tried, `<name>/best/<hyper-parameter>`,
    `<name>/best_score` and `<name>/on_edge`.
    """
    scale, search = setting.scale, setting.scale.search(name)

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        arrays: dict[str, Any] = {}
        for index, baseline in enumerate(baselines(name)):
            found, space = _widened(setting, name, baseline)
            best, best_score = _winner(setting, name, baseline, found)
            arrays |= {f"{baseline}/{key}": values for key, values in found.values.items()}
            arrays |= {f"{baseline}/best/{key}": value for key, value in best.items()}
            arrays |= {
                f"{baseline}/score": found.score,
                f"{baseline}/best_score": best_score,
                f"{baseline}/on_edge": _on_edge(space, best) or not np.isfinite(best_score),
            }
            workspace.report(index + 1, len(baselines(name)))
        if name == RECOVERED:
            arrays["optimum"] = analytic_optimum(setting)
        return {key: np.asarray(value) for key, value in arrays.items()}

    spaces = {
        baseline: {key: dataclasses.astuple(r) for key, r in search_space(name, baseline).items()}
        for baseline in baselines(name)
    }
    configuration = setting.described(
        name,
        spaces=spaces,
        samples=scale.samples,
        grid_points=scale.grid_points,
        widenings=scale.widenings,
        runs=search.runs,
        finalists=[search.finalists, search.finalist_runs],
        relative=setting.recipe(name).relative,
    )
    return Part(f"tuned-{name}", configuration, compute)


def best_baseline(arrays: Arrays, baseline: str) -> Optimizer:
    """A tuned baseline from the arrays of `tuned`."""
    prefix = f"{baseline}/best/"
    values = {key[len(prefix) :]: float(arrays[key]) for key in arrays if key.startswith(prefix)}
    return optimizers.REGISTRY[baseline].create(**values)
