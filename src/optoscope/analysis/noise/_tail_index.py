"""How heavy the tails of noise are: α of a stable law, beside what Gaussian noise would give."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Array, Float, Float64, Int64, PRNGKeyArray

from optoscope._core.errors import InvalidValueError, UnknownNameError, check_count
from optoscope._core.keys import as_key
from optoscope._core.showing import shown
from optoscope.analysis.noise._silence import (
    MINIMUM_BATCHES_TO_STANDARDIZE,
    Measured,
    recentered,
    repetitions,
    selected,
)
from optoscope.analysis.noise._surrogate import gaussian_surrogate

TailProtocol = Literal["corrected", "paper", "released"]
TAIL_PROTOCOLS = ("corrected", "paper", "released")

# A verdict needs this many combined standard errors between the estimate and the surrogate's.
VERDICT_THRESHOLD = 3.0
# The released program adds this inside its logarithms.
_RELEASED_EPSILON = 2.2e-16


@shown
@dataclass(frozen=True)
class TailIndex:
    """An estimated tail index, and the same estimate for Gaussian noise of the same covariance.

    Args:
        alpha: α; 2 for Gaussian noise, lower for heavier tails. Infinite where the sums of
            groups are no larger than the samples themselves; NaN where nothing can be measured.
        standard_error: of `alpha`, for independent groups.
        zero_fraction: the share of coordinates that are exactly zero in every batch.
        surrogate_alpha: α of the Gaussian surrogate; NaN without a key or with a single batch.
        surrogate_standard_error: of `surrogate_alpha`.
        group_size: m, samples per group.
        standardized: whether every coordinate was divided by its own scale.
        silent_fraction: the share of samples, in coordinates that are not zero throughout, which
            have the value that their coordinate repeats most often.
        measured: what of the coordinates that are not zero throughout `alpha` is an estimate of:
            "every sample", "coordinates that are never silent", "samples that are not silent", or
            "nothing", where hardly anything but repeated values is left.
    """

    alpha: float
    standard_error: float
    zero_fraction: float
    surrogate_alpha: float
    surrogate_standard_error: float
    group_size: int
    standardized: bool
    silent_fraction: float
    measured: Measured

    @property
    def heavy_tailed(self) -> bool:
        """Whether α lies below 2, and below the surrogate's by over 3 combined standard errors."""
        combined = math.hypot(self.standard_error, self.surrogate_standard_error)
        lower = self.surrogate_alpha - self.alpha > VERDICT_THRESHOLD * combined
        return bool(self.alpha < 2 and lower)

    @property
    def verdict(self) -> str:
        """The comparison with the Gaussian surrogate, in words."""
        if self.measured == "nothing":
            return "no tail to measure"
        return "heavy-tailed" if self.heavy_tailed else "not distinguishable from Gaussian"


@shown
@dataclass(frozen=True)
class GroupSizeCurve:
    """α against the group size, one entry each: flat for a stable law, drifting for others."""

    group_sizes: Int64[np.ndarray, " sizes"]
    alpha: Float64[np.ndarray, " sizes"]
    standard_error: Float64[np.ndarray, " sizes"]
    surrogate_alpha: Float64[np.ndarray, " sizes"]
    surrogate_standard_error: Float64[np.ndarray, " sizes"]


@dataclass(frozen=True)
class _Prepared:
    """One vector whose consecutive entries are summed, and the surrogate's.

    Args:
        count: samples in coordinates that are not zero throughout; the vector has fewer of them
            where silent ones were left out, or none where nothing can be measured.
    """

    vector: np.ndarray
    surrogate: np.ndarray | None
    count: int
    zero_fraction: float
    silent_fraction: float
    standardized: bool
    protocol: TailProtocol
    measured: Measured


def _standardized(samples: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Every coordinate over the geometric mean of its non-zero sizes among those kept.

    Not over its standard deviation: that has no limit for α < 2, and dividing by it would pull
    α towards 2. The geometric mean is finite for every stable law.
    """
    size = np.abs(samples)
    nonzero = kept & (size > 0)
    # One array of logarithms, in place.
    logs = np.log(size, out=np.zeros_like(size), where=nonzero)
    return samples / np.exp(logs.sum(axis=0) / np.maximum(nonzero.sum(axis=0), 1))


def _flatten(
    samples: np.ndarray,
    kept: np.ndarray,
    protocol: TailProtocol,
    standardize: bool,
    generator: Any,
) -> np.ndarray:
    if protocol == "released":
        return samples.astype(np.float32).ravel()
    if standardize:
        samples = _standardized(samples, kept)
    if protocol == "paper":
        return samples.ravel()
    vector = samples[kept & (samples != 0)]
    generator.shuffle(vector)
    return vector


def _prepare(
    samples: Any, protocol: str, standardize: bool | None, seed: np.ndarray | None
) -> _Prepared:
    """Checks, drops, standardizes, flattens and permutes; NumPy alone, so callbacks can use it."""
    if protocol not in TAIL_PROTOCOLS:
        raise UnknownNameError("protocol", protocol, TAIL_PROTOCOLS)
    if protocol == "corrected" and seed is None:
        raise InvalidValueError(
            "the corrected protocol permutes the samples and needs a key: "
            "tail_index(samples, key=jax.random.key(0))."
        )
    values = np.asarray(samples, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        raise InvalidValueError(
            f"samples has shape {values.shape}; it must be (batches, coordinates), none of them 0."
        )
    if not np.isfinite(values).all():
        raise InvalidValueError(
            f"{int((~np.isfinite(values)).sum())} of {values.size} samples are not finite; "
            "leave out the batches or the steps at which the run diverged."
        )
    alive = (values != 0).any(axis=0)
    if not alive.any():
        raise InvalidValueError("every sample is exactly zero: there is no noise to measure.")
    if protocol == "corrected" and not alive.all():
        values = values[:, alive]
    if standardize is None:
        standardize = protocol == "corrected" and len(values) >= MINIMUM_BATCHES_TO_STANDARDIZE
    if protocol == "released" and standardize:
        raise InvalidValueError("the released protocol does not standardize; use 'corrected'.")
    found = repetitions(values)
    silent_fraction = float(found.silent[:, (values != 0).any(axis=0)].mean())
    kept, measured, repeated, count = (
        np.ones_like(found.silent),
        "every sample",
        found.repeated,
        values.size,
    )
    if protocol == "corrected":
        kept, measured = selected(found, standardize)
        some = kept.any(axis=0)
        kept, repeated, values = kept[:, some], repeated[:, some], values[:, some]
        values = recentered(values, kept)
    generator = None if seed is None else np.random.default_rng(np.asarray(seed, np.uint32))
    vector = _flatten(values, kept, protocol, standardize, generator)
    surrogate = None
    if generator is not None and len(values) > 1 and vector.size:
        drawn = gaussian_surrogate(values, repeated, generator)
        surrogate = _flatten(drawn, kept, protocol, standardize, generator)
    zero_fraction = 1.0 - float(alive.mean())
    return _Prepared(
        vector, surrogate, count, zero_fraction, silent_fraction, standardize, protocol, measured
    )


def _mean_log(values: np.ndarray, protocol: TailProtocol) -> float:
    size = np.abs(values)
    if protocol == "released":
        return float(np.log(size + np.float32(_RELEASED_EPSILON)).mean())
    # The formula has no value at an exact zero; only the released program gives it one.
    size = size[size > 0]
    return float(np.log(size, out=size).mean()) if size.size else -math.inf


def _estimate(
    vector: np.ndarray | None, group_size: int, protocol: TailProtocol
) -> tuple[float, float]:
    """α and its standard error; Mohammadi et al. (2015), corollary 2.4."""
    if vector is None or not vector.size:
        return math.nan, math.nan
    num_groups = len(vector) // group_size
    groups = vector[: num_groups * group_size].reshape(num_groups, group_size)
    growth = _mean_log(groups.sum(axis=1), protocol) - _mean_log(vector, protocol)
    if not growth > 0:
        return math.inf, math.inf
    alpha = math.log(group_size) / growth
    log_variance = (1 / (6 * alpha**2) + 1 / 12) / num_groups
    return alpha, alpha**2 * math.pi * math.sqrt(log_variance) / math.log(group_size)


def _largest_divisor(count: int) -> int:
    return next(size for size in range(math.isqrt(count), 0, -1) if count % size == 0)


def _checked_group_size(group_size: int | None, prepared: _Prepared) -> int:
    count, trims = len(prepared.vector) or prepared.count, prepared.protocol == "corrected"
    if count < 4:
        raise InvalidValueError(f"{count} samples are too few to group; give at least 4.")
    if group_size is None:
        group_size = math.isqrt(count) if trims else _largest_divisor(count)
        if group_size < 2:
            raise InvalidValueError(
                f"{count} samples have no divisor from 2 to their root, so protocol "
                f"{prepared.protocol!r} cannot group them; use protocol='corrected', which "
                "leaves the rest out."
            )
    check_count("group_size", group_size, minimum=2, maximum=max(2, count // 2))
    if not trims and count % group_size:
        raise InvalidValueError(
            f"group_size is {group_size}, which does not divide the {count} samples; protocol "
            f"{prepared.protocol!r} needs a divisor. Use protocol='corrected', which leaves the "
            "rest out."
        )
    return group_size


def key_seed(key: PRNGKeyArray | None) -> np.ndarray | None:
    """The seed of NumPy's generator, which callbacks are given instead of the key."""
    return None if key is None else np.asarray(jax.random.key_data(as_key(key)))


def tail_index_from_seed(
    samples: Any,
    seed: np.ndarray | None,
    *,
    group_size: int | None,
    protocol: str,
    standardize: bool | None,
) -> TailIndex:
    """`tail_index` without JAX, for use inside a callback."""
    prepared = _prepare(samples, protocol, standardize, seed)
    group_size = _checked_group_size(group_size, prepared)
    alpha, error = _estimate(prepared.vector, group_size, prepared.protocol)
    surrogate, surrogate_error = _estimate(prepared.surrogate, group_size, prepared.protocol)
    return TailIndex(
        alpha,
        error,
        prepared.zero_fraction,
        surrogate,
        surrogate_error,
        group_size,
        prepared.standardized,
        prepared.silent_fraction,
        prepared.measured,
    )


def tail_index(
    samples: Float[np.ndarray | Array, "batches coordinates"],
    *,
    group_size: int | None = None,
    protocol: str = "corrected",
    key: PRNGKeyArray | None = None,
    standardize: bool | None = None,
) -> TailIndex:
    """Estimates the tail index α of noise, and the same for Gaussian noise of equal structure.

    Use it on `noise_samples`. α by itself shows nothing: unequal scales, correlation or dead
    coordinates pull it far below 2 on Gaussian noise as well; read `verdict`, which compares
    with the surrogate. The verdict has power only where coordinates are standardized (from 20
    batches on): the surrogate takes over each coordinate's scale, and among unstandardized
    heavy-tailed coordinates those scales alone are heavy-tailed with the same α. Centering over
    few batches spreads an outlier over its coordinate and raises α; use a hundred or more. In 200
    batches of 300 coordinates with α = 1.5 the verdict is "heavy-tailed" in 10 of 10 trials where
    half of the samples are silent, in 6 where 80% are, in 2 where 90% are.

    Silence: a coordinate whose gradient is exactly zero in some batches (a unit that was off, a
    pixel that was dark) mixes an atom with a density, and has a finite variance if the density
    has one; but the mixture of sizes, in which centering turns the zeros into minus the mean,
    pulls α to 1.3 when half of the samples are silent. Samples that repeat one value exactly are
    therefore found in each coordinate, which centering does not hide, and the surrogate has the
    same values in the same batches, under every protocol. The corrected protocol measures the
    coordinates that are never silent, where they hold at least 400 samples and a tenth of the
    coordinates that are not zero throughout. At the start, and after 20 and 200 steps of Adam,
    they were 63, 85 and 86% of those in `digits-mlp-relu` and 47, 58 and 58% in `mnist-mlp-relu`.
    Where there are fewer, it measures the samples that are not silent, of all coordinates: those
    of coordinates that are silent at times are more often small or large than Gaussian noise is
    (`mnist-mlp-relu` after 200 steps: α is 1.67 with them, 1.88 without). To look at such
    coordinates alone, give `tail_index` their columns. Where only a few values are repeated again
    and again there is no tail to measure, and α is NaN: one-hot vectors, for which the formula
    gives 0.8 to 1.7 although they are bounded, and Lion's updates.

    Math: for N numbers in groups of m with sums Y, 1/α = (mean log|Y| − mean log|X|)/log m, with
    standard error α²π·sqrt((1/(6α²) + 1/12)·m/N)/log m for independent groups.

    Source: Mohammadi et al. (2015), corollary 2.4; Simsekli et al. (2019); paper A, section 3.2.
    Protocols:

    - "paper": the formula as printed, on consecutive entries of the samples flattened batch by
      batch, float64, m the largest divisor of N not above its root. Zeros have no logarithm
      and are left out of both means.
    - "released": the authors' program: the same in float32, with 2.2e-16 inside the logarithms,
      where every zero counts as log 2.2e-16.
    - "corrected": float64; coordinates that are zero throughout, silent coordinates or samples as
      above, and other exact zeros are left out; what is left of a coordinate with silent samples
      is centered again, and left out with fewer than 20 of them where it would be divided by its
      scale. Each coordinate is divided by the geometric mean of its sizes; then *all*
      (batch, coordinate) entries are permuted as one, since only that removes correlation
      between the coordinates of a batch for good: of centered samples, the pairs that share a
      batch and those that do not cancel. m is the root of N, rounded down; the last N mod m
      entries are left out of the groups.

    Args:
        samples: noise U_k, one row per mini-batch.
        group_size: m, at least 2; chosen by the protocol if not given.
        protocol: "corrected", "paper" or "released".
        key: permutes and draws the surrogate; the other two protocols can go without a key
            and then without a surrogate.
        standardize: divide each coordinate by its scale; by default in the corrected protocol
            with at least 20 batches. Show both: without it, α also measures unequal scales.

    Returns:
        The estimate, its standard error, the surrogate's, and the verdict.

    Raises:
        InvalidValueError: samples that are not finite, not 2-D or all zero, a group size below
            2 or without room, or (except in the corrected protocol) no divisor of N.
        UnknownNameError: an unknown protocol.

    Example:
        >>> noise = np.random.default_rng(0).standard_normal((50, 400))
        >>> result = tail_index(noise, key=jax.random.key(0))
        >>> result.group_size, result.verdict
        (141, 'not distinguishable from Gaussian')
    """
    return tail_index_from_seed(
        samples, key_seed(key), group_size=group_size, protocol=protocol, standardize=standardize
    )


def _default_group_sizes(prepared: _Prepared, num_sizes: int) -> list[int]:
    count = len(prepared.vector) or prepared.count
    largest = max(2, count // 30)
    wanted = np.geomspace(2, largest, num_sizes)
    if prepared.protocol == "corrected":
        return sorted({int(size) for size in wanted})
    divisors = np.array([size for size in range(2, largest + 1) if count % size == 0])
    if divisors.size == 0:
        raise InvalidValueError(
            f"{count} samples have no divisor from 2 to {largest}; use protocol='corrected'."
        )
    return sorted({int(divisors[np.argmin(np.abs(np.log(divisors / size)))]) for size in wanted})


def alpha_against_group_size(
    samples: Float[np.ndarray | Array, "batches coordinates"],
    *,
    group_sizes: Sequence[int] | None = None,
    num_sizes: int = 16,
    protocol: str = "corrected",
    key: PRNGKeyArray | None = None,
    standardize: bool | None = None,
) -> GroupSizeCurve:
    """The tail index for several group sizes, on one permutation and one surrogate.

    A stable law gives the same α at every m. A curve that climbs toward 2 as m grows is noise
    with a finite variance, whatever α the default m gives.

    Args:
        samples: noise U_k, one row per mini-batch.
        group_sizes: the sizes m; by default about `num_sizes`, evenly spaced in the logarithm
            from 2 to a thirtieth of the samples (their divisors in "paper" and "released").
        num_sizes: how many sizes to aim for.
        protocol: as in `tail_index`.
        key: as in `tail_index`.
        standardize: as in `tail_index`.

    Returns:
        Arrays with one entry per size.

    Raises:
        InvalidValueError: as `tail_index`.
    """
    check_count("num_sizes", num_sizes, minimum=1)
    prepared = _prepare(samples, protocol, standardize, key_seed(key))
    if group_sizes is None:
        group_sizes = _default_group_sizes(prepared, num_sizes)
    sizes = [_checked_group_size(size, prepared) for size in group_sizes]
    rows = [
        _estimate(prepared.vector, size, prepared.protocol)
        + _estimate(prepared.surrogate, size, prepared.protocol)
        for size in sizes
    ]
    return GroupSizeCurve(
        np.asarray(sizes, np.int64), *np.asarray(rows, np.float64).reshape(-1, 4).T
    )
