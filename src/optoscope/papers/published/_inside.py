"""The state of one coordinate: fixed points, modes, update functions, stable curvatures."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from optoscope import training
from optoscope._core.errors import InvalidValueError
from optoscope._core.keys import stream
from optoscope.analysis import dynamics
from optoscope.analysis.quadratic import curvature_runs, stable_curvature
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers.published._scales import HOME
from optoscope.papers.published._setting import CONTESTANTS, Setting

CURVATURES = np.geomspace(1e-2, 1e3, 26)
GRID, MODES = 101, 6
# Steps without a gradient after which a state is taken to be at rest, if it comes to rest at all.
SILENCE = 2000
# An ordinary gradient of a weight.
TYPICAL = 1e-3
# Far beyond every bias correction.
COUNTERS = 100_000


def inside(setting: Setting, name: str) -> Part:
    """The state of one coordinate: where it comes to rest, its modes there, its update function.

    From states that runs at home have visited: the `kinds` of the fixed points at zero gradient.
    The visited state nearest to the median of the last ones then goes through `SILENCE` steps
    without a gradient; where that ends are `timescales`, `shares` and `learning_rates` of the
    modes, `drift`, the update, `unrest`, how much the state still changes at every step,
    `response`, half the distance between the updates at gradients of ±0.001, and `updates` over
    `grid`; `late_response` and `late_updates` at the visited state, before the silence.
    """
    scale = setting.scale

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        optimizer = setting.load(name, scale.short_steps)
        every = max(1, scale.short_steps // 20)
        run = training.train(
            setting.task(HOME),
            optimizer,
            scale.short_steps,
            key=stream(setting.seed, "inside"),
            probes={"states": dynamics.StateProbe(every=every)},
            num_runs=scale.runs,
        )
        workspace.report(1, 2)
        states = np.asarray(run.records["states"].states, np.float64)
        coordinates = dynamics.coordinate_map(optimizer, counters=COUNTERS)
        return looked_into(coordinates, states, scale.starts)

    counts: dict[str, Any] = {
        "steps": scale.short_steps,
        "runs": scale.runs,
        "starts": scale.starts,
        "silence": SILENCE,
        "typical": TYPICAL,
    }
    described = setting.described(name, HOME, **counts)
    return Part(f"inside-{name}", described, compute)


def looked_into(
    coordinates: dynamics.CoordinateMap,
    states: Float[np.ndarray, "runs measurements coordinates size"],
    num_starts: int,
) -> dict[str, np.ndarray]:
    """What `inside` measures of a map.

    Args:
        coordinates: the map.
        states: that were visited.
        num_starts: how many of the states fixed points are sought from.
    """
    size = states.shape[-1]
    rows = states.reshape(-1, size)
    rows = rows[np.isfinite(rows).all(axis=1)]
    chosen = np.random.default_rng(0).permutation(len(rows))[:num_starts]
    found = dynamics.fixed_points(coordinates, rows[chosen])
    late = _nearest_to_median(states[:, -1].reshape(-1, size))
    rest = dynamics.autonomous_trajectory(coordinates, SILENCE, start=late).states[-1]
    after, drift = coordinates.step(rest, 0.0)
    grid = np.linspace(-TYPICAL, TYPICAL, GRID)
    updates, late_updates = (
        dynamics.update_function(coordinates, state, grid) for state in (rest, late)
    )
    return _modes(coordinates, rest) | {
        "kinds": np.array(found.kinds, dtype=np.str_),
        "state": rest,
        "drift": np.asarray(float(drift)),
        "unrest": np.asarray(np.abs(after - rest).max()),
        "response": np.asarray(abs(updates[-1] - updates[0]) / 2),
        "late_response": np.asarray(abs(late_updates[-1] - late_updates[0]) / 2),
        "grid": grid,
        "updates": updates,
        "late_updates": late_updates,
    }


def _nearest_to_median(
    states: Float[np.ndarray, "states size"],
) -> Float[np.ndarray, " size"]:
    """A visited state: the median of every entry by itself may be none that can be visited."""
    states = states[np.isfinite(states).all(axis=1)]
    spread = np.maximum(states.std(axis=0), 1e-30)
    distances = np.linalg.norm((states - np.median(states, axis=0)) / spread, axis=1)
    return states[int(np.argmin(distances))]


def _modes(coordinates: dynamics.CoordinateMap, state: np.ndarray) -> dict[str, np.ndarray]:
    """The modes with the largest shares, and the `radius`; not numbers without a derivative."""
    arrays = {key: np.full(MODES, np.nan) for key in ("timescales", "shares", "learning_rates")}
    try:
        modes = dynamics.linearize(coordinates, state).modes()
    except (InvalidValueError, np.linalg.LinAlgError):
        return arrays | {"radius": np.asarray(np.nan)}
    kept = min(MODES, len(modes.shares))
    for key, values in (
        ("timescales", np.abs(modes.timescales)),
        ("shares", modes.shares),
        ("learning_rates", np.real(modes.learning_rates)),
    ):
        arrays[key][:kept] = values[:kept]
    return arrays | {"radius": np.asarray(np.abs(modes.timescales).max())}


def curvature(setting: Setting, name: str) -> Part:
    """Runs on ½λφ² from φ = 1: `outcomes` at `curvatures`, and `final_sizes`.

    For those who update each coordinate by itself also the `intervals` of curvatures that are
    stable by the linearization at the last state of `inside`; none where it says nothing.
    """
    scale = setting.scale
    needs = (inside(setting, name),) if CONTESTANTS[name].by_coordinate else ()

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        optimizer = setting.load(name, scale.curvature_steps)
        counts = {"num_steps": scale.curvature_steps}
        intervals = np.zeros((0, 2))
        if needs:
            stable = stable_curvature(
                optimizer,
                curvature_range=(float(CURVATURES[0]), float(CURVATURES[-1])),
                state=needed[needs[0].name]["state"],
                run_curvatures=CURVATURES.tolist(),
                **counts,
            )
            runs, intervals = stable.runs, np.array(stable.intervals).reshape(-1, 2)
        else:
            runs = curvature_runs(optimizer, CURVATURES.tolist(), **counts)
        return {
            "curvatures": CURVATURES,
            "outcomes": np.array(runs.outcomes),
            "final_sizes": np.asarray(runs.final_sizes),
            "intervals": intervals,
        }

    counts = {"steps": scale.curvature_steps, "curvatures": CURVATURES.tolist()}
    described = setting.described(name, **counts)
    return Part(f"curvature-{name}", described, compute, needs)
