"""Parts on the state of learned optimizers: where it goes, its fixed points, their modes."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from optoscope import training
from optoscope._core.keys import stream
from optoscope.analysis import dynamics
from optoscope.analysis.dynamics import CoordinateMap, FixedPoints
from optoscope.optimizers import OptimizerModule
from optoscope.papers._meta_trained import best_seed, load_learned
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers.reverse_engineering._learn import all_learned, training_of
from optoscope.papers.reverse_engineering._setting import Setting

GRID, OFFSETS, MODES = 101, 7, 4
_LEAST_GRADIENT = 1e-12
# Steps after which a state at rest counts as settled.
_SETTLING = 500

Measure = Callable[[int, OptimizerModule], Mapping[str, Any]]


def over_seeds(
    setting: Setting,
    name: str,
    needed: Mapping[str, Arrays],
    workspace: Workspace,
    measure: Measure,
) -> dict[str, np.ndarray]:
    """The arrays of `measure` for each meta-seed, stacked on a leading axis, and `best`."""
    trained = [needed[part.name] for part in all_learned(setting, name)]
    found = []
    for seed, arrays in enumerate(trained):
        found.append(measure(seed, load_learned(arrays, training_of(setting, name))))
        workspace.report(seed + 1, len(trained))
    stacked = {key: np.stack([np.asarray(one[key]) for one in found]) for key in found[0]}
    return stacked | {"best": np.asarray(best_seed(trained))}


def states(setting: Setting, name: str) -> Part:
    """States that learned optimizers visit, with gradients and updates, of some coordinates.

    (meta-seeds, runs, measurements, coordinates), and `states` one axis more.
    """
    scale, recipe = setting.scale, setting.recipe(name)
    every = max(1, -(-recipe.horizon // scale.state_measurements))
    trained = all_learned(setting, name)

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        distribution = setting.distribution(name)
        probe = dynamics.StateProbe(every=every, num_coordinates=scale.coordinates)

        def measure(seed: int, optimizer: OptimizerModule) -> dict[str, Any]:
            run = training.train(
                distribution,
                optimizer,
                recipe.horizon,
                key=stream(setting.seed, f"{name} states"),
                probes={"states": probe},
                num_runs=scale.state_runs,
            )
            visited = run.records["states"]
            return {
                "states": visited.states, "gradients": visited.gradients,
                "updates": visited.updates,
            }  # fmt: skip

        steps = np.arange(0, recipe.horizon, every)
        return over_seeds(setting, name, needed, workspace, measure) | {"steps": steps}

    configuration = setting.described(
        name, runs=scale.state_runs, every=every, coordinates=scale.coordinates
    )
    return Part(f"states-{name}", configuration, compute, trained)


def finite_rows(states: Float[np.ndarray, "*batch size"]) -> Float[np.ndarray, "rows size"]:
    """The states that are finite, as rows."""
    rows = np.asarray(states, np.float64).reshape(-1, states.shape[-1])
    return rows[np.isfinite(rows).all(axis=1)]


def gradient_size(gradients: np.ndarray, share: float) -> float:
    """The size that this share of the met gradients does not exceed; never zero."""
    sizes = np.abs(np.asarray(gradients, np.float64))
    sizes = sizes[np.isfinite(sizes)]
    size = float(np.quantile(sizes, share)) if sizes.size else 1.0
    return max(size, _LEAST_GRADIENT)


def settled(
    coordinates: CoordinateMap, states: Float[np.ndarray, "*batch size"], num_steps: int
) -> Float[np.ndarray, "*batch size"]:
    """The states after many steps without gradient."""
    for _ in range(num_steps):
        states = coordinates.step(states, 0.0)[0]
    return states


def convergence_point(
    found: FixedPoints, coordinates: CoordinateMap, last: Float[np.ndarray, "rows size"]
) -> tuple[Float[np.ndarray, " size"], bool]:
    """The attracting fixed point nearest to where runs end, and whether there is one.

    Without one, the state that the runs' ends settle into.
    """
    center = np.median(last, axis=0)
    attracting = found.points[[kind != "saddle" for kind in found.kinds]]
    if len(attracting) == 0:
        return settled(coordinates, center, _SETTLING), False
    nearest = np.argmin(np.linalg.norm(attracting - center, axis=1))
    return attracting[nearest], True


def draw_starts(
    visited: Float[np.ndarray, "rows size"], count: int
) -> Float[np.ndarray, "count size"]:
    """Always `count` of the visited states, so that one program serves all optimizers."""
    draw = np.random.default_rng(0)
    return visited[draw.choice(len(visited), count, replace=len(visited) < count)]


def fixed_points(setting: Setting, name: str) -> Part:
    """Fixed points without gradient, and the modes at the one that runs converge to.

    Paddings are NaN, or "" for kinds. All arrays have a leading axis of meta-seeds.
    """
    scale = setting.scale
    visits, trained = states(setting, name), all_learned(setting, name)

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        visited = needed[visits.name]

        def measure(seed: int, optimizer: OptimizerModule) -> dict[str, Any]:
            coordinates = dynamics.coordinate_map(optimizer)
            all_states = np.asarray(visited["states"][seed], np.float64)
            rows = finite_rows(all_states)
            if len(rows) < 2:
                rows = np.stack([coordinates.initial_state] * 2)
            last = finite_rows(all_states[:, -1])
            found = dynamics.fixed_points(coordinates, draw_starts(rows, scale.starts))
            point, is_fixed = convergence_point(found, coordinates, last if len(last) else rows)
            typical = gradient_size(visited["gradients"][seed], 0.5)
            rate = dynamics.effective_learning_rate(coordinates, point, scale=typical).rates
            variance = dynamics.total_variance(
                np.moveaxis(all_states, 2, 1).reshape(-1, *all_states[0, :, 0].shape)
            )
            limit = gradient_size(visited["gradients"][seed], 0.95)
            return {
                **_padded(found, coordinates, scale.points, typical),
                "initial": coordinates.initial_state,
                "convergence": point,
                "is_fixed": is_fixed,
                "convergence_rate": rate,
                "variance": variance,
                **_components(rows),
                **_along_modes(coordinates, point, rows, limit),
            }

        found = over_seeds(setting, name, needed, workspace, measure)
        return found | {"steps": visited["steps"]}

    configuration = setting.described(name, starts=scale.starts, points=scale.points)
    return Part(f"fixed-points-{name}", configuration, compute, (visits, *trained))


def _padded(
    found: FixedPoints, coordinates: CoordinateMap, count: int, scale: float
) -> dict[str, Any]:
    kept = min(len(found), count)
    points = np.full((count, coordinates.size), np.nan)
    points[:kept] = found.points[:kept]
    # Evaluated with zeros in place of the padding: one program for any number of points.
    rates = dynamics.effective_learning_rate(coordinates, np.nan_to_num(points), scale=scale).rates
    rates = np.where(np.arange(count) < kept, rates, np.nan)
    arrays: dict[str, Any] = {
        "count": len(found), "points": points, "rates": rates,
        "unconverged": found.num_unconverged,
        "attracting": sum(kind != "saddle" for kind in found.kinds),
        "kinds": np.array([*found.kinds[:kept], *[""] * (count - kept)], "U8"),
    }  # fmt: skip
    for key in ("multiplicity", "residuals", "error_bounds", "sigma_min"):
        arrays[key] = np.full(count, np.nan)
        arrays[key][:kept] = getattr(found, key)[:kept]
    return arrays


def _components(rows: Float[np.ndarray, "rows size"]) -> dict[str, Any]:
    found = dynamics.state_pca(rows, num_components=min(3, *rows.shape))
    return {
        "pca_mean": found.mean,
        "pca_components": found.components,
        "pca_explained": found.explained,
    }


def _along_modes(
    coordinates: CoordinateMap,
    point: Float[np.ndarray, " size"],
    rows: Float[np.ndarray, "rows size"],
    limit: float,
) -> dict[str, Any]:
    """The modes at a state, and update functions on the way along the first few."""
    modes = dynamics.linearize(coordinates, point).modes()
    chosen = [group[0] for group in modes.groups[:MODES]]
    offsets, places = [], []
    for index in chosen:
        # Of a conjugate pair, the plane's one axis: the real part.
        direction = np.real(modes.right[:, index])
        length = np.linalg.norm(direction)
        visited = np.abs(np.real((rows - point) @ modes.left[:, index])) * length
        reach = max(float(np.quantile(visited, 0.95)), 1e-6)
        offsets.append(np.linspace(-reach, reach, OFFSETS))
        places.append(point + offsets[-1][:, None] * direction / max(length, 1e-300))
    grid = np.linspace(-limit, limit, GRID)
    places = np.stack(places)
    return {
        "timescales": modes.timescales,
        "learning_rates": modes.learning_rates,
        "shares": modes.shares,
        "condition": modes.condition,
        "mode_index": np.array(chosen),
        "mode_offsets": np.stack(offsets),
        "mode_states": places,
        "mode_updates": dynamics.update_function(coordinates, places, grid),
        "mode_rates": dynamics.effective_learning_rate(coordinates, places, scale=limit).rates,
        "grid": grid,
    }
