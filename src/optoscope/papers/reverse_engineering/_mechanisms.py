"""Parts on what the state is for: clipping, schedules, adaptation, layers."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from optoscope import optimizers, training
from optoscope._core.errors import InvalidValueError
from optoscope._core.keys import new_key, stream
from optoscope.analysis import dynamics
from optoscope.analysis.dynamics import CoordinateMap
from optoscope.optimizers import OptimizerModule
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers.reverse_engineering._dynamics import (
    GRID,
    fixed_points,
    gradient_size,
    over_seeds,
    states,
)
from optoscope.papers.reverse_engineering._learn import all_learned
from optoscope.papers.reverse_engineering._setting import Setting

_BINS = 60
_SIZES = 400
_DECADES = 4.0
_ARM_FUNCTIONS = 5
# Where an update is below this share of the linear one, it counts as saturated.
_SATURATED = 0.5


def known_updates() -> Part:
    """Update functions of gradient descent, clipping, momentum and RMSProp at several states."""
    rate, bound, decay = 0.5, 1.0, 0.9
    velocities, second_moments = np.linspace(-2, 2, 5), np.array([0.1, 0.3, 1.0, 3.0, 10.0])

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        grid = np.linspace(-3.0, 3.0, GRID)
        made = {
            "sgd": (optimizers.sgd(rate), np.zeros((1, 0))),
            "momentum": (optimizers.momentum(rate, decay), velocities[:, None]),
            "rmsprop": (optimizers.rmsprop(rate, decay), second_moments[:, None]),
        }
        found = {
            name: dynamics.update_function(dynamics.coordinate_map(optimizer), places, grid)
            for name, (optimizer, places) in made.items()
        }
        return {
            "grid": grid,
            "sgd": found["sgd"][0],
            "clipping": -rate * np.clip(grid, -bound, bound),
            "momentum": found["momentum"],
            "momentum_states": velocities,
            "rmsprop": found["rmsprop"],
            "rmsprop_states": second_moments,
        }

    configuration = {"rate": rate, "bound": bound, "decay": decay}
    return Part("known-updates", configuration, compute)


def _saturation(
    coordinates: CoordinateMap, state: np.ndarray, gradients: np.ndarray
) -> tuple[float, float, float]:
    """The slope at 0, the threshold of saturation, and the share of gradients beyond it."""
    typical = gradient_size(gradients, 0.5)
    largest = gradient_size(gradients, 1.0)
    rate = float(dynamics.effective_learning_rate(coordinates, state, scale=typical).rates)
    sizes = np.geomspace(largest * 10**-_DECADES, largest, _SIZES)
    updates = dynamics.update_function(coordinates, state, np.concatenate([sizes, -sizes]))
    up, down = updates.reshape(2, -1)
    secants = -(up - down) / (2 * sizes)
    beyond = np.flatnonzero(secants < _SATURATED * rate)
    threshold = float(sizes[beyond[0]]) if len(beyond) else np.inf
    met = np.abs(gradients[np.isfinite(gradients)])
    return rate, threshold, float((met > threshold).mean()) if met.size else np.nan


def clipping(setting: Setting, name: str) -> Part:
    """Update functions at the initial state beside the density of the gradients that are met."""
    visits, points = states(setting, name), fixed_points(setting, name)

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        all_gradients = np.asarray(needed[visits.name]["gradients"], np.float64)
        best = int(needed[visits.name]["best"])
        limit = gradient_size(all_gradients[best], 0.999)
        edges = np.linspace(-limit, limit, _BINS + 1)

        def measure(seed: int, optimizer: OptimizerModule) -> dict[str, Any]:
            coordinates, met = dynamics.coordinate_map(optimizer), all_gradients[seed]
            point = needed[points.name]["convergence"][seed]
            both = np.stack([coordinates.initial_state, point])
            reach = gradient_size(met, 0.999)
            grid = np.linspace(-reach, reach, GRID)
            first, last = dynamics.update_function(coordinates, both, grid)
            rate, threshold, saturated = _saturation(coordinates, both[0], met)
            final_rate, final_threshold, final_saturated = _saturation(coordinates, both[1], met)
            return {
                "grid": grid, "initial_updates": first, "convergence_updates": last,
                "linear_rate": rate, "threshold": threshold, "saturated": saturated,
                "convergence_linear_rate": final_rate,
                "convergence_threshold": final_threshold,
                "convergence_saturated": final_saturated,
                "gradient_counts": np.histogram(met[np.isfinite(met)], edges)[0],
            }  # fmt: skip

        found = over_seeds(setting, name, needed, workspace, measure)
        return found | {"gradient_edges": edges}

    needs = (visits, points, *all_learned(setting, name))
    return Part(f"clipping-{name}", setting.described(name, saturated=_SATURATED), compute, needs)


def schedule(setting: Setting, name: str) -> Part:
    """The path of learned optimizers from their initial state while all gradients are zero."""
    visits, horizon = states(setting, name), setting.recipe(name).horizon

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        visited = needed[visits.name]

        def measure(seed: int, optimizer: OptimizerModule) -> dict[str, Any]:
            coordinates = dynamics.coordinate_map(optimizer)
            typical = gradient_size(visited["gradients"][seed], 0.5)
            found = dynamics.autonomous_trajectory(coordinates, horizon, scale=typical)
            updates = np.asarray(visited["updates"][seed], np.float64)
            assert found.alignment is not None
            return {
                "states": found.states, "rates": found.rates.rates, "updates": found.updates,
                "drift": found.drift, "alignment": found.alignment, "chance": found.chance,
                "used_secant": found.rates.used_secant,
                "update_scale": np.sqrt(np.nanmean(updates**2)),
            }  # fmt: skip

        found = over_seeds(setting, name, needed, workspace, measure)
        return found | {"chance": found["chance"][0]}

    needs = (visits, *all_learned(setting, name))
    return Part(f"schedule-{name}", setting.described(name), compute, needs)


def adaptation(setting: Setting, name: str) -> Part:
    """Fixed points under every gradient that is met: the S-curve, and rates along its arms."""
    visits, points = states(setting, name), fixed_points(setting, name)
    per_arm = setting.scale.gradients
    middle = per_arm
    arm_index = np.unique(np.linspace(0, per_arm, _ARM_FUNCTIONS).astype(int)) + middle

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        visited = needed[visits.name]
        # One set of gradients for all meta-seeds, so that they can be compared.
        limit = gradient_size(visited["gradients"], 0.999)
        arm = np.geomspace(limit * 10**-_DECADES, limit, per_arm)
        gradients = np.concatenate([-arm[::-1], [0.0], arm])

        def measure(seed: int, optimizer: OptimizerModule) -> dict[str, Any]:
            coordinates = dynamics.coordinate_map(optimizer)
            start = needed[points.name]["convergence"][seed]
            found = _along_branch(coordinates, gradients, start)
            typical = gradient_size(visited["gradients"][seed], 0.5)
            filled = np.nan_to_num(found["points"])
            rates = dynamics.effective_learning_rate(coordinates, filled, scale=typical).rates
            known = np.isfinite(found["points"][:, 0])
            grid = np.linspace(-limit, limit, GRID)
            functions = dynamics.update_function(coordinates, filled[arm_index], grid)
            return found | {
                "rates": np.where(known, rates, np.nan),
                "grid": grid,
                "arm_updates": np.where(known[arm_index][:, None], functions, np.nan),
            }

        found = over_seeds(setting, name, needed, workspace, measure)
        return found | {"gradients": gradients, "arm_index": arm_index}

    needs = (visits, points, *all_learned(setting, name))
    configuration = setting.described(name, per_arm=per_arm)
    return Part(f"adaptation-{name}", configuration, compute, needs)


def _along_branch(
    coordinates: CoordinateMap,
    gradients: Float[np.ndarray, " gradients"],
    start: Float[np.ndarray, " size"],
) -> dict[str, np.ndarray]:
    """For each gradient the branch's stable point where it has one, else any, else NaN."""
    count = len(gradients)
    points, updates = np.full((count, coordinates.size), np.nan), np.full(count, np.nan)
    stable, met = np.zeros(count, bool), np.zeros(count, int)
    try:
        branch = dynamics.continue_fixed_points(coordinates, gradients, start)
    except InvalidValueError:  # the runs end at no fixed point
        branch = None
    if branch is not None:
        for index, gradient in enumerate(gradients):
            here = np.flatnonzero(branch.requested & (branch.gradients == gradient))
            if len(here) == 0:
                continue
            chosen = here[np.argmax(branch.stable[here])]
            points[index], updates[index] = branch.points[chosen], branch.updates[chosen]
            stable[index], met[index] = branch.stable[chosen], len(here)
    gains = np.full(count, np.nan)
    np.divide(-updates, gradients, out=gains, where=gradients != 0)
    return {"points": points, "gains": gains, "stable": stable, "met": met}


def groups(setting: Setting, name: str = "cnn") -> Part:
    """State trajectories, rates and gradient sizes by layer and parameter type."""
    scale, recipe = setting.scale, setting.recipe(name)
    visits = states(setting, name)
    every = max(1, -(-recipe.horizon // scale.state_measurements))

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        distribution = setting.distribution(name)
        task = distribution.sample(new_key(0))
        params = jax.eval_shape(task.init, new_key(0))
        labels: dict[str, Any] = {}

        def measure(seed: int, optimizer: OptimizerModule) -> dict[str, Any]:
            run = training.train(
                distribution,
                optimizer,
                recipe.horizon,
                key=stream(setting.seed, f"{name} states"),
                probes={"groups": dynamics.GroupProbe(every=every)},
                num_runs=scale.state_runs,
            )
            record = run.records["groups"]
            found = dynamics.group_trajectories(record, params)
            labels.update(_labels(found.names, found.sizes), gradient_edges=found.gradient_edges)
            typical = gradient_size(needed[visits.name]["gradients"][seed], 0.5)
            rates = dynamics.effective_learning_rate(
                dynamics.coordinate_map(optimizer), found.states, scale=typical
            ).rates
            return {
                "states": found.states, "rates": rates,
                "gradient_counts": found.gradient_counts,
                "separation": _separation(np.asarray(record.states, np.float64)),
            }  # fmt: skip

        found = over_seeds(setting, name, needed, workspace, measure)
        return found | labels | {"steps": np.arange(0, recipe.horizon, every)}

    configuration = setting.described(name, runs=scale.state_runs, every=every)
    needs = (visits, *all_learned(setting, name))
    return Part(f"groups-{name}", configuration, compute, needs)


def _labels(names: tuple[str, ...], sizes: tuple[int, ...]) -> dict[str, np.ndarray]:
    layers = [label.rpartition("/")[0] for label in names]
    order = list(dict.fromkeys(layers))
    return {
        "names": np.array(names),
        "sizes": np.array(sizes),
        "types": np.array([label.rpartition("/")[2] for label in names]),
        "layers": np.array([order.index(layer) for layer in layers]),
    }


def _separation(record: Float[np.ndarray, "runs steps arrays size"]) -> float:
    """The variance between arrays' mean trajectories over that which runs alone would make."""
    mean = record.mean(axis=0)
    between = mean.var(axis=1, ddof=1).sum(axis=-1).mean()
    within = record.var(axis=0, ddof=1).sum(axis=-1).mean() / len(record)
    return float(between / max(within, 1e-30))
