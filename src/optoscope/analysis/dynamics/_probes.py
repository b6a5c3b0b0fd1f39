"""Probes of states: a sample of coordinates, or the mean of every parameter array."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from optoscope._core.drawings import Drawing, ProbeText
from optoscope._core.errors import InvalidValueError, check_count, check_seed
from optoscope._core.keys import new_key
from optoscope._core.showing import shown
from optoscope._core.trees import size
from optoscope.analysis.dynamics._layout import StateLayout
from optoscope.analysis.updates import UpdateHistogram, log_bins, update_histogram
from optoscope.optimizers import Optimizer, packed_state
from optoscope.tasks import Task
from optoscope.training import Probe, StepRecord


@shown
class VisitedStates(eqx.Module):
    """States that a run has visited, before the step, with the gradients and updates there.

    Args:
        states: h of each sampled coordinate.
        gradients: its gradient.
        updates: its update.
    """

    states: Float[Array, "*measurements coordinates size"]
    gradients: Float[Array, "*measurements coordinates"]
    updates: Float[Array, "*measurements coordinates"]


class _LayoutProbe(Probe):
    layout: StateLayout | None = eqx.field(default=None, kw_only=True)

    def bind(self, task: Task, optimizer: Optimizer) -> Probe:
        """The probe for this optimizer's states."""
        layout = StateLayout.of(optimizer, packed=True)
        start = jax.eval_shape(lambda: packed_state(optimizer, task.init(new_key(0))))
        try:
            layout.structure.flatten_up_to(start)
        except ValueError:
            raise InvalidValueError(
                "this optimizer's state is not one for each coordinate: it keeps averages over "
                "rows and columns, or takes tensors together, so there is none to look at."
            ) from None
        if not any(layout.moving):
            raise InvalidValueError("this optimizer has no state, so there is none to record.")
        return eqx.tree_at(
            lambda probe: probe.layout, self, layout, is_leaf=lambda leaf: leaf is None
        )

    def _vectors(self, record: StepRecord) -> Float[Array, "coordinates size"]:
        if self.layout is None:
            raise InvalidValueError(
                "the probe does not know its optimizer; call bind(task, optimizer) first, as "
                "training.train does."
            )
        return self.layout.vectors(record.state, record.params)


class StateProbe(_LayoutProbe):
    """The states of some coordinates, drawn once and kept through the run.

    Use it to get starts for `fixed_points`, trajectories for `state_pca`, and the density of met
    gradients.

    Source: paper B, section 4.

    Args:
        every: measure at steps 0, every, 2·every, …
        num_coordinates: how many; all if there are fewer.
        seed: of the draw.
    """

    text = ProbeText(
        "The entries of the states of the sampled coordinates, the gradients that they met and "
        "the updates that they gave. The line is the median over coordinates, runs and entries, "
        "the band holds the middle half, the thin lines are 5% and 95%. A band that settles says "
        "that states have come to where they stay.",
        "Which entry of the state moves with which gradient: for that take the records to "
        "`analysis.dynamics` (fixed points, `state_pca`).",
        (
            Drawing("spread", ".states", "entries of sampled states"),
            Drawing("spread", ".gradients", "sampled gradients"),
            Drawing("spread", ".updates", "sampled updates"),
        ),
    )

    num_coordinates: int = eqx.field(static=True, default=64)
    seed: int = eqx.field(static=True, default=0)

    def __check_init__(self):
        check_count("num_coordinates", self.num_coordinates, minimum=1)

    def measure(self, record: StepRecord) -> VisitedStates:
        """The sampled coordinates' states, gradients and updates."""
        total = size(record.params)
        count = min(self.num_coordinates, total)
        chosen = np.sort(np.random.default_rng(check_seed(self.seed)).permutation(total)[:count])
        return VisitedStates(
            self._vectors(record)[chosen],
            ravel_pytree(record.grads)[0][chosen],
            ravel_pytree(record.updates)[0][chosen],
        )


@shown
class GroupStates(eqx.Module):
    """For each array of the parameters its mean state and the sizes of its gradients.

    Args:
        states: the mean of h over the array's coordinates.
        gradients: counts of |g|, a leading axis of arrays in every field.
    """

    states: Float[Array, "*measurements arrays size"]
    gradients: UpdateHistogram


class GroupProbe(_LayoutProbe):
    """Mean states and gradient sizes per parameter array; memory does not grow with parameters.

    `group_trajectories` makes layers and parameter types of it.

    Source: paper B, figure 7.

    Args:
        every: measure at steps 0, every, 2·every, …
        low: the first edge of the bins of |g|.
        high: the last edge.
        num: bins.
    """

    text = ProbeText(
        "The entries of the mean state of every parameter array: the line is their median over "
        "arrays, runs and entries, the band holds the middle half, the thin lines are 5% and 95%. "
        "Beside it the sizes of all gradients, darker where more of them are.",
        "Which array is which: `analysis.dynamics.group_trajectories` makes layers and parameter "
        "types of the records. Means hide coordinates that move apart.",
        (
            Drawing("spread", ".states", "entries of the mean states"),
            Drawing(
                "histogram", ".gradients.counts", "size of the gradient", logarithmic=True,
                edges=".gradients.edges",
            ),
        ),
    )  # fmt: skip

    low: float = eqx.field(static=True, default=1e-8)
    high: float = eqx.field(static=True, default=1e3)
    num: int = eqx.field(static=True, default=66)

    def __check_init__(self):
        log_bins(self.low, self.high, self.num)

    def measure(self, record: StepRecord) -> GroupStates:
        """One row for each array, in the order of flattening."""
        vectors = self._vectors(record)
        ends = np.cumsum([leaf.size for leaf in jax.tree.leaves(record.params)])[:-1]
        means = [jnp.mean(part, axis=0) for part in jnp.split(vectors, ends)]
        edges = log_bins(self.low, self.high, self.num)
        histograms = [update_histogram(leaf, edges) for leaf in jax.tree.leaves(record.grads)]
        return GroupStates(
            jnp.stack(means), jax.tree.map(lambda *leaves: jnp.stack(leaves), *histograms)
        )
