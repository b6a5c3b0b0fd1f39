"""Statistics over runs: mean, interquartile mean and bootstrap intervals."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

_RESAMPLES = 9999
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """A mean over runs with a 95% bootstrap interval.

    Args:
        mean: arithmetic mean; NaN if any run is not finite.
        low: lower end of the interval.
        high: upper end.
        runs: number of runs.
        interquartile_mean: mean of the middle half of the runs.
    """

    mean: float
    low: float
    high: float
    runs: int
    interquartile_mean: float

    def as_json(self) -> dict[str, float | int | None]:
        """JSON-serialisable; what is not finite becomes None."""
        values = {
            "mean": self.mean,
            "low": self.low,
            "high": self.high,
            "runs": self.runs,
            "interquartile_mean": self.interquartile_mean,
        }
        return {
            name: value if math.isfinite(value) else None  # type: ignore[misc]
            for name, value in values.items()
        }


def summarize(values: Float[np.ndarray, " runs"], *, seed: int = 0) -> Summary:
    """Mean, interquartile mean and 95% percentile-bootstrap interval of the mean.

    Args:
        values: one number a run. A single run gives an interval of no width.
        seed: of the resampling.

    Example:
        >>> summarize(np.array([1.0, 2.0, 3.0, 6.0])).interquartile_mean
        2.5
    """
    values = np.asarray(values, np.float64)
    if not np.all(np.isfinite(values)):
        return Summary(math.nan, math.nan, math.nan, len(values), math.nan)
    mean = float(np.mean(values))
    low, high = _interval((values,), lambda sample, axis: np.mean(sample, axis=axis), mean, seed)
    middle = float(stats.trim_mean(values, 0.25))
    return Summary(mean, low, high, len(values), middle)


def relative_improvement(
    values: Float[np.ndarray, " runs"], reference: Float[np.ndarray, " runs"], *, seed: int = 0
) -> Summary:
    """By what share the mean of `values` lies below the mean of `reference`, run paired with run.

    Args:
        values: a loss for each run.
        reference: the other optimizer's loss for the same runs.
        seed: of the resampling.

    Example:
        >>> relative_improvement(np.array([3.0, 6.0]), np.array([4.0, 8.0])).mean
        0.25
    """
    values, reference = np.asarray(values, np.float64), np.asarray(reference, np.float64)
    if not (np.all(np.isfinite(values)) and np.all(np.isfinite(reference))):
        return Summary(math.nan, math.nan, math.nan, len(values), math.nan)

    def statistic(a: Any, b: Any, axis: int) -> Any:
        return 1 - np.mean(a, axis=axis) / np.mean(b, axis=axis)

    value = float(statistic(values, reference, 0))
    low, high = _interval((values, reference), statistic, value, seed)
    middle = float(stats.trim_mean(1 - values / reference, 0.25))
    return Summary(value, low, high, len(values), middle)


def _interval(
    samples: tuple[np.ndarray, ...], statistic: Any, value: float, seed: int
) -> tuple[float, float]:
    if len(samples[0]) < 2 or all(np.ptp(sample) == 0 for sample in samples):
        return value, value
    result = stats.bootstrap(
        samples,
        statistic,
        paired=len(samples) > 1,
        vectorized=True,
        n_resamples=_RESAMPLES,
        confidence_level=_CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(result.low), float(result.high)
