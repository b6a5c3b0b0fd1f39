"""Parts on lines of fixed points: of the CNN's optimizers, and of published ones that last."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from optoscope import training
from optoscope._core.errors import InvalidValueError
from optoscope._core.keys import stream
from optoscope.analysis import dynamics
from optoscope.analysis.dynamics import CoordinateMap
from optoscope.optimizers import OptimizerModule
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers.published import COUNTERS, HOME
from optoscope.papers.reverse_engineering._dynamics import (
    GRID,
    draw_starts,
    finite_rows,
    gradient_size,
    over_seeds,
    settled,
    states,
)
from optoscope.papers.reverse_engineering._learn import all_learned
from optoscope.papers.reverse_engineering._setting import Setting

_POINTS = 64


def manifold(setting: Setting, name: str = "cnn") -> Part:
    """Approximate fixed points: where runs end, iterated on without gradient."""
    visits, num_steps = states(setting, name), setting.scale.manifold_steps

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        visited = needed[visits.name]

        def measure(seed: int, optimizer: OptimizerModule) -> dict[str, Any]:
            coordinates = dynamics.coordinate_map(optimizer)
            return _approximate(
                coordinates, visited["states"][seed], visited["gradients"][seed], num_steps
            )

        return over_seeds(setting, name, needed, workspace, measure)

    configuration = setting.described(name, steps=num_steps, points=_POINTS)
    needs = (visits, *all_learned(setting, name))
    return Part(f"manifold-{name}", configuration, compute, needs)


def line(setting: Setting, name: str) -> Part:
    """The same for a published optimizer at home, without an axis of meta-seeds.

    And `eigenvalues` of the linearization at the middle one of the approximate fixed points, which
    are not numbers where it has no derivative.
    """
    scale, others = setting.scale, setting.others
    every = max(1, -(-others.scale.short_steps // scale.state_measurements))

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        optimizer = others.load(name, others.scale.short_steps)
        probe = dynamics.StateProbe(every=every, num_coordinates=scale.coordinates)
        run = training.train(
            others.task(HOME),
            optimizer,
            others.scale.short_steps,
            key=stream(setting.seed, "published states"),
            probes={"states": probe},
            num_runs=scale.state_runs,
        )
        visited = run.records["states"]
        coordinates = dynamics.coordinate_map(optimizer, counters=COUNTERS)
        found = _approximate(
            coordinates, visited.states, np.asarray(visited.gradients), scale.manifold_steps
        )
        middle = found["points"][len(found["points"]) // 2]
        return found | {"eigenvalues": _eigenvalues(coordinates, middle)}

    counts = {"steps": scale.manifold_steps, "points": _POINTS, "runs": scale.state_runs,
              "every": every, "coordinates": scale.coordinates}  # fmt: skip
    described = others.described(name, HOME, short_steps=others.scale.short_steps, **counts)
    return Part(f"line-{name}", described, compute)


def _approximate(
    coordinates: CoordinateMap,
    visited: Float[np.ndarray, "runs measurements coordinates size"],
    gradients: Float[np.ndarray, "runs measurements coordinates"],
    num_steps: int,
) -> dict[str, Any]:
    """The states in which runs end, after many steps without gradient, along their first axis."""
    rows, ends = finite_rows(visited), finite_rows(visited[:, -1])
    if len(ends) == 0:
        ends = rows = coordinates.initial_state[None]
    points = settled(coordinates, draw_starts(ends, _POINTS), num_steps)
    speeds = np.linalg.norm(coordinates.step(points, 0.0)[0] - points, axis=1)
    axis = dynamics.state_pca(points, num_components=1)
    spread = points.var(axis=0).sum() / max(rows.var(axis=0).sum(), 1e-30)
    order = np.argsort(axis.projections[:, 0])
    points, limit = points[order], gradient_size(gradients, 0.95)
    rates = dynamics.effective_learning_rate(
        coordinates, points, scale=gradient_size(gradients, 0.5)
    ).rates
    grid = np.linspace(-limit, limit, GRID)
    return {
        "points": points, "speeds": speeds[order], "rates": rates, "grid": grid,
        "updates": dynamics.update_function(coordinates, points, grid),
        "places": axis.projections[order, 0], "explained": axis.explained[0],
        "spread": spread,
    }  # fmt: skip


def _eigenvalues(coordinates: CoordinateMap, state: Float[np.ndarray, " size"]) -> np.ndarray:
    try:
        return dynamics.linearize(coordinates, state).modes().timescales
    except (InvalidValueError, np.linalg.LinAlgError):
        return np.full(coordinates.size, np.nan, complex)
