"""The part on how modes change in the course of meta-training."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from optoscope.analysis import dynamics
from optoscope.analysis.dynamics import Modes
from optoscope.optimizers import OptimizerModule
from optoscope.papers._meta_trained import load_snapshots
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers.reverse_engineering._dynamics import (
    convergence_point,
    draw_starts,
    finite_rows,
    over_seeds,
    settled,
    states,
)
from optoscope.papers.reverse_engineering._learn import all_learned, training_of
from optoscope.papers.reverse_engineering._searches import analytic_optimum
from optoscope.papers.reverse_engineering._setting import RECOVERED, Setting

_STARTS, _SETTLING = 64, 500


def meta_training(setting: Setting) -> Part:
    """Timescales and learning rates of matched modes at every snapshot, for each meta-seed."""
    name = RECOVERED
    how = training_of(setting, name)
    visits, trained = states(setting, name), all_learned(setting, name)

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        def measure(seed: int, optimizer: OptimizerModule) -> dict[str, Any]:
            del optimizer
            arrays = needed[trained[seed].name]
            visited = finite_rows(needed[visits.name]["states"][seed])
            modes = [_modes(one, visited) for one in load_snapshots(arrays, how)]
            tracked = _tracked(modes, visited.shape[1])
            return tracked | {"objective": arrays["snapshots/objective"]}

        steps = needed[trained[0].name]["snapshots/steps"]
        found = over_seeds(setting, name, needed, workspace, measure)
        return found | {"steps": steps, "optimum": analytic_optimum(setting)}

    needs = (visits, *trained)
    configuration = setting.described(name, starts=_STARTS)
    return Part(f"meta-training-{name}", configuration, compute, needs)


def _modes(optimizer: OptimizerModule, visited: Float[np.ndarray, "rows size"]) -> Modes | None:
    """The modes where the optimizer comes to rest by itself; None where there is no fixed point."""
    coordinates = dynamics.coordinate_map(optimizer)
    rest = settled(coordinates, coordinates.initial_state, _SETTLING)
    rows = np.concatenate([visited, rest[None], coordinates.initial_state[None]])
    starts = draw_starts(rows[np.isfinite(rows).all(axis=1)], _STARTS)
    starts[0] = np.where(np.isfinite(rest), rest, 0.0)
    found = dynamics.fixed_points(coordinates, starts)
    point, is_fixed = convergence_point(found, coordinates, starts[:1])
    return dynamics.linearize(coordinates, point).modes() if is_fixed else None


def _tracked(modes: list[Modes | None], size: int) -> dict[str, np.ndarray]:
    """Matched over the snapshots that have a fixed point; NaN for the others."""
    known = [index for index, one in enumerate(modes) if one is not None]
    present = [one for one in modes if one is not None]
    timescales = np.full((len(modes), size), np.nan, complex)
    rates, shares = timescales.copy(), np.full((len(modes), size), np.nan)
    overlaps = np.full((max(len(modes) - 1, 0), size), np.nan)
    if present:
        tracks = dynamics.track_modes(present)
        timescales[known], rates[known] = tracks.timescales, tracks.learning_rates
        weights = np.abs(tracks.learning_rates) / np.maximum(1 - np.abs(tracks.timescales), 1e-9)
        shares[known] = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
        overlaps[np.array(known[1:], int) - 1] = tracks.overlaps
    return {
        "timescales": timescales,
        "learning_rates": rates,
        "shares": shares,
        "overlaps": overlaps,
    }
