"""How large updates are: histograms of |u| on bins that all optimizers share."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from optoscope._core.drawings import Drawing, ProbeText
from optoscope._core.errors import InvalidValueError, check_count, check_number
from optoscope._core.showing import shown
from optoscope._core.trees import size
from optoscope.training import Probe, StepRecord


@shown
class UpdateHistogram(eqx.Module):
    """Counts of |u| over all coordinates; with the four counts outside the bins they add up to N.

    Args:
        edges: the bins' edges; bin j holds edges[j] ≤ |u| < edges[j + 1].
        counts: coordinates a bin.
        underflow: |u| below the first edge, exact zeros included.
        zeros: the exact zeros among the underflow.
        overflow: |u| at or above the last edge, infinity included.
        not_a_number: coordinates that are NaN.
    """

    edges: Float[Array, "*measurements edges"]
    counts: Int[Array, "*measurements bins"]
    underflow: Int[Array, "*measurements"]
    zeros: Int[Array, "*measurements"]
    overflow: Int[Array, "*measurements"]
    not_a_number: Int[Array, "*measurements"]


def log_bins(low: float = 1e-8, high: float = 10.0, num: int = 54) -> Float[Array, " edges"]:
    """The `num` + 1 edges of bins of equal width in the logarithm.

    Use one set of edges for everything that is compared: on bins of their own, as in the program
    released with paper A, the heights of two histograms mean different things.

    Args:
        low: the first edge, above 0 and not below float32's least normal number.
        high: the last edge.
        num: bins; the default has 6 a decade.

    Raises:
        InvalidValueError: edges out of order or range, or too close for float32.

    Example:
        >>> [round(edge, 4) for edge in log_bins(0.01, 10.0, 3).tolist()]
        [0.01, 0.1, 1.0, 10.0]
    """
    limits = np.finfo(np.float32)
    check_number("low", low, minimum=float(limits.tiny))
    check_number("high", high, minimum=low, maximum=float(limits.max), exclusive_minimum=True)
    check_count("num", num, minimum=1)
    edges = np.geomspace(low, high, num + 1).astype(np.float32)
    if not (np.diff(edges) > 0).all():
        raise InvalidValueError(
            f"{num} bins from {low:g} to {high:g} are narrower than float32 can tell apart; "
            "use fewer."
        )
    return jnp.asarray(edges)


def update_histogram(
    updates: PyTree[Float[Array, "..."]], edges: Float[Array, " edges"]
) -> UpdateHistogram:
    """Counts the sizes of all entries of `updates`; can be compiled, vmapped and scanned.

    Source: paper A, section 4.4 and figures 9, 13 and 14; the bins are shared here.

    Args:
        updates: what the optimizer added to the parameters.
        edges: ascending and positive, as `log_bins` makes them.

    Example:
        >>> updates = {"w": jnp.array([0.0, -0.5, 2.0, 70.0])}
        >>> result = update_histogram(updates, log_bins(0.1, 10.0, 2))
        >>> result.counts.tolist(), int(result.underflow), int(result.overflow)
        ([1, 1], 1, 1)
    """

    def count(condition: Array) -> Array:
        return jnp.sum(condition, axis=-1, dtype=jnp.int32)

    def leaf_counts(leaf: Array) -> tuple[Array, Array, Array]:
        sizes = jnp.abs(leaf.ravel())
        # Comparing with every edge fuses into one pass; a scatter into bins would be serial.
        at_least = count(sizes >= edges[:, None].astype(sizes.dtype))
        return at_least, count(sizes == 0), count(jnp.isnan(sizes))

    none = jnp.zeros((), jnp.int32)
    at_least, zeros, not_a_number = jnp.zeros(edges.shape, jnp.int32), none, none
    for leaf in jax.tree.leaves(updates):
        leaf_at_least, leaf_zeros, leaf_not_a_number = leaf_counts(leaf)
        at_least = at_least + leaf_at_least
        zeros, not_a_number = zeros + leaf_zeros, not_a_number + leaf_not_a_number
    return UpdateHistogram(
        edges,
        at_least[:-1] - at_least[1:],
        size(updates) - not_a_number - at_least[0],
        zeros,
        at_least[-1],
        not_a_number,
    )


class HistogramProbe(Probe):
    """The histogram of the sizes of the updates that were applied.

    Args:
        every: measure at steps 0, every, 2·every, …
        low: the first edge.
        high: the last edge.
        num: bins.
    """

    text = ProbeText(
        "Upwards the size of a coordinate's update, darker where more of them are: one column for "
        "each measurement, over all runs. A narrow dark line is an optimizer that moves every "
        "coordinate about as far, as Lion does; a broad one follows the gradients' own sizes.",
        "Zeros and what lies outside the bins, which only the records count. The shares are of "
        "what is inside them, and each optimizer's shades are its own.",
        (Drawing("histogram", ".counts", "size of the update", logarithmic=True, edges=".edges"),),
    )

    low: float = eqx.field(static=True, default=1e-8)
    high: float = eqx.field(static=True, default=10.0)
    num: int = eqx.field(static=True, default=54)

    def __check_init__(self):
        log_bins(self.low, self.high, self.num)

    def measure(self, record: StepRecord) -> UpdateHistogram:
        """The histogram on the probe's own bins."""
        return update_histogram(record.updates, log_bins(self.low, self.high, self.num))
