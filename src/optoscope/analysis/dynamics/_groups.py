"""State trajectories by layer and by parameter type."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, PyTree

from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope._core.showing import shown
from optoscope.analysis.dynamics._probes import GroupStates

GROUPINGS = ("array", "layer", "type")


@shown
@dataclasses.dataclass(frozen=True)
class GroupTrajectories:
    """Mean states of groups of parameters over a run, and the gradients they met.

    Args:
        names: the groups.
        sizes: parameters in each.
        states: mean h over the group's coordinates and over runs.
        gradient_counts: counts of |g| in each bin, summed over runs.
        gradient_edges: the bins' edges.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    states: Float[np.ndarray, "groups steps size"]
    gradient_counts: Float[np.ndarray, "groups steps bins"]
    gradient_edges: Float[np.ndarray, " edges"]


def _names(params: PyTree[Any], by: str) -> list[str]:
    """The group of every array: its own path, the path less its last part, or that part."""
    names = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        parts = [jax.tree_util.keystr((entry,)).strip("[].'\"") for entry in path]
        kind = parts[-1] if parts and not parts[-1].isdigit() else ""
        if by == "array":
            names.append("/".join(parts))
        elif by == "layer":
            names.append("/".join(parts[:-1]))
        else:
            names.append(kind or ("weights" if np.ndim(leaf) > 1 else "bias"))
    return names


def group_trajectories(
    record: GroupStates, params: PyTree[Any], *, by: str = "array"
) -> GroupTrajectories:
    """The record of `GroupProbe`, averaged by array, layer or parameter type.

    Feed the states to `effective_learning_rate` or `state_pca`.

    Source: paper B, figure 7.

    Args:
        record: the probe's record, with leading axes (runs, measurements).
        params: parameters of one run, or their shapes, for names and sizes.
        by: "array" (layer and type), "layer" (what a path names before its last part) or "type"
            (the last part: weights, bias).

    Raises:
        UnknownNameError: another grouping.
        InvalidValueError: parameters of another number of arrays.
    """
    if by not in GROUPINGS:
        raise UnknownNameError("grouping", by, GROUPINGS)
    states = np.asarray(record.states, np.float64)
    leaves, names = jax.tree.leaves(params), _names(params, by)
    if states.ndim != 4 or states.shape[2] != len(leaves):
        raise InvalidValueError(
            f"a record of shape {states.shape} does not go with {len(leaves)} parameter arrays; "
            "it must be (runs, measurements, arrays, size), as training.train returns it."
        )
    counts = np.asarray(record.gradients.counts, np.float64).sum(axis=0)
    sizes = np.array([np.size(leaf) for leaf in leaves])
    groups = tuple(dict.fromkeys(names))
    members = [np.array([name == group for name in names]) for group in groups]
    mean = states.mean(axis=0)
    return GroupTrajectories(
        groups,
        tuple(int(sizes[member].sum()) for member in members),
        np.stack(
            [np.average(mean[:, member], axis=1, weights=sizes[member]) for member in members]
        ),
        np.stack([counts[:, member].sum(axis=1) for member in members]),
        np.asarray(record.gradients.edges, np.float64).reshape(
            -1, record.gradients.edges.shape[-1]
        )[0],
    )
