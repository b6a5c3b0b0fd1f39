"""The running averages that the small learned optimizers look at: their only state."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from optoscope._core.input_layouts import FACTORED_DECAYS, MOMENTUM_DECAYS, StartingDecays
from optoscope.optimizers._placement import zeros_along, zeros_beside

_DECAY_GAIN = 10.0
_SQUARE_OFFSET = 1e-30
# No sum of this many squares overflows float32; a gradient above 1e15 counts as 1e15 in them.
_LARGEST_SQUARE = 1e30


class Decays(eqx.Module):
    """How fast each average forgets, as seven meta-parameters that start at zero, or fixed.

    Math: β = 1 − (1 − d₀) exp(10 φ), d₀ as in `starting`. The second moment's and the factored
    averages' β are clipped to [0, 1]; a momentum's is not. Fixed decays have no φ and stay at d₀.

    Source: paper C's optimizer and Metz et al. (2022).

    Example:
        >>> decays = Decays.create()
        >>> [round(float(rate), 4) for rate in decays.momentum_rates()]
        [0.1, 0.01, 0.001]
    """

    momentum: Float[Array, " momenta"] | None
    factored: Float[Array, " averages"] | None
    second_moment: Float[Array, ""] | None
    starting: StartingDecays = eqx.field(static=True, default=StartingDecays())

    @classmethod
    def create(cls) -> "Decays":
        """All decays at their starting values d₀."""
        return cls(jnp.zeros(len(MOMENTUM_DECAYS)), jnp.zeros(len(FACTORED_DECAYS)), jnp.zeros(()))

    @classmethod
    def fixed(cls, starting: StartingDecays) -> "Decays":
        """Decays that are no meta-parameters."""
        return cls(None, None, None, starting)

    def momentum_rates(self, dtype: DTypeLike = jnp.float32) -> Float[Array, " momenta"]:
        """1 − β of every momentum; in the type of the meta-parameters if there are any."""
        return _rates(self.starting.momentum, self.momentum, dtype)

    def factored_rates(self, dtype: DTypeLike = jnp.float32) -> Float[Array, " averages"]:
        """1 − β of every factored average."""
        return _clipped(_rates(self.starting.factored, self.factored, dtype))

    def second_moment_rate(self, dtype: DTypeLike = jnp.float32) -> Float[Array, ""]:
        """1 − β of the second moment."""
        start = 1 - self.starting.second_moment
        if self.second_moment is None:
            return jnp.asarray(start, dtype)
        return _clipped(start * jnp.exp(_DECAY_GAIN * self.second_moment))


class Accumulators(NamedTuple):
    """The averages of one tensor; they start at zero, without bias correction.

    Args:
        momenta: m_k, of the gradient.
        second_moment: v, of the squared gradient.
        rows: R_k of a tensor of rank 2 or more, with size 1 on its largest axis; D_k, of the
            tensor's own shape, of any other; stacked, for they are small and many.
        columns: C_k, with size 1 on its second largest axis; None for rank below 2.
    """

    momenta: tuple[Float[Array, "*shape"], ...]
    second_moment: Float[Array, "*shape"]
    rows: Float[Array, "averages ..."]
    columns: Float[Array, "averages ..."] | None


def factored_axes(shape: tuple[int, ...]) -> tuple[int, int]:
    """The second largest and the largest axis; among equals the later one counts as larger.

    Example:
        >>> factored_axes((3, 3, 8, 4)), factored_axes((5, 5))
        ((3, 2), (0, 1))
    """
    order = np.argsort(shape, kind="stable")
    return int(order[-2]), int(order[-1])


def start(shape: tuple[int, ...], dtype: DTypeLike) -> Accumulators:
    """The averages before the first step, all zero."""

    def stacked(shape: tuple[int, ...]) -> Array:
        return jnp.zeros((len(FACTORED_DECAYS), *shape), dtype)

    rows, columns = stacked(shape), None
    if len(shape) >= 2:
        second, first = factored_axes(shape)
        rows, columns = (
            stacked((*shape[:axis], 1, *shape[axis + 1 :])) for axis in (first, second)
        )
    momenta = tuple(jnp.zeros(shape, dtype) for _ in MOMENTUM_DECAYS)
    return Accumulators(momenta, jnp.zeros(shape, dtype), rows, columns)


def start_beside(param: Array, dtype: DTypeLike) -> Accumulators:
    """The same for one parameter, split over devices as it is."""
    shape = jnp.shape(param)
    count = len(FACTORED_DECAYS)

    def without(axis: int) -> Array:
        axes = (None, *(None if other == axis else other for other in range(len(shape))))
        return zeros_along(param, dtype, (count, *shape[:axis], 1, *shape[axis + 1 :]), axes)

    momenta = tuple(zeros_beside(param, dtype) for _ in MOMENTUM_DECAYS)
    second_moment = zeros_beside(param, dtype)
    if len(shape) < 2:
        rows = zeros_beside(param, dtype, before=(count,))
        return Accumulators(momenta, second_moment, rows, None)
    second, first = factored_axes(shape)
    return Accumulators(momenta, second_moment, without(first), without(second))


def advance(decays: Decays, before: Accumulators, gradient: Float[Array, "*shape"]) -> Accumulators:
    """The averages after one more gradient g.

    Math: m_k ← β_k m_k + (1−β_k) g; v ← β v + (1−β) g²; with q = g² + 1e-30,
    R_k ← β_k R_k + (1−β_k) mean of q over the largest axis, C_k the same over the second
    largest, or D_k ← β_k D_k + (1−β_k) q where the rank is below 2.

    Source: Metz et al. (2022); the factored averages are Adafactor's (Shazeer and Stern 2018).
    Squares are capped at 1e30, so that no finite gradient makes an average infinite.
    """

    def average(rates: Array, old: Array, new: Array) -> Array:
        return old + rates.reshape(rates.shape + (1,) * new.ndim) * (new - old)

    dtype = gradient.dtype
    floored = capped_square(gradient) + _SQUARE_OFFSET
    momenta = tuple(
        average(rate, old, gradient)
        for rate, old in zip(decays.momentum_rates(dtype), before.momenta, strict=True)
    )
    # Tied to the state, the square of a gradient that is always the same is not taken out of a
    # loop over steps, which would then read one more array of the tensor's size.
    tied, old = jax.lax.optimization_barrier((gradient, before.second_moment))
    second_moment = average(decays.second_moment_rate(dtype), old, capped_square(tied))
    rates = decays.factored_rates(dtype)
    if before.columns is None:
        rows = average(rates, before.rows, floored)
        return Accumulators(momenta, second_moment, rows, None)
    second, first = factored_axes(gradient.shape)
    over_rows = jnp.mean(floored, axis=first, keepdims=True)
    over_columns = jnp.mean(floored, axis=second, keepdims=True)
    return Accumulators(
        momenta,
        second_moment,
        average(rates, before.rows, over_rows),
        average(rates, before.columns, over_columns),
    )


def _rates(
    decays: tuple[float, ...], meta_parameters: Float[Array, " decays"] | None, dtype: DTypeLike
) -> Float[Array, " decays"]:
    starting = [1 - decay for decay in decays]
    if meta_parameters is None:
        return jnp.asarray(starting, dtype)
    return jnp.asarray(starting, meta_parameters.dtype) * jnp.exp(_DECAY_GAIN * meta_parameters)


def capped_square(gradient: Float[Array, "..."]) -> Float[Array, "..."]:
    """g², at most 1e30, so that an average of squares never becomes infinite."""
    return jnp.minimum(gradient * gradient, _LARGEST_SQUARE)


def _clipped(rate: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.clip(rate, 0.0, 1.0)
