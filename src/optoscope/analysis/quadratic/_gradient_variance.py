"""How noisy the meta-gradient through a sampled unroll is, against the nominal step (figure 2a)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int, Key, PRNGKeyArray

from optoscope._core.chunks import map_chunked
from optoscope._core.errors import InvalidValueError, check_count
from optoscope._core.programs import Program
from optoscope._core.showing import shown
from optoscope._core.trees import fresh_arrays
from optoscope.analysis.quadratic._model import (
    MatrixOptimizer,
    NoisyQuadratic,
    checked_square,
)
from optoscope.training import run_keys
from optoscope.training._run import run_once

PAPER_HORIZONS = (
    1, 2, 3, 4, 5, 10, 25, 50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 800, 900, 1000,
)  # fmt: skip

# What the derivatives of the seeds that advance side by side may hold.
_CHUNK_BYTES = 2**26


@shown
@dataclass(frozen=True)
class GradientVariance:
    """The spread of the meta-gradient over seeds.

    Args:
        nominals: the values of α.
        horizons: the values of T.
        trace_variance: tr of the covariance of dL/dP, divided by N as in the paper's A.32; not
            finite where the unroll overflows.
        standard_error: of `trace_variance`, over the seeds.
        mean_gradient: the mean of dL/dP.
        num_seeds: N.
    """

    nominals: Float64[np.ndarray, " nominals"]
    horizons: tuple[int, ...]
    trace_variance: Float64[np.ndarray, "nominals horizons"]
    standard_error: Float64[np.ndarray, "nominals horizons"]
    mean_gradient: Float64[np.ndarray, "nominals horizons n n"]
    num_seeds: int


def paper_nominals(quadratic: NoisyQuadratic, count: int = 50) -> Float64[np.ndarray, " count"]:
    """The α of figure 2a: `count` values from 0 to 2/λ_max(H), both ends included."""
    check_count("count", count, minimum=1)
    return np.linspace(0.0, 2 / quadratic.largest_curvature, count)


def _sampled_gradients(
    quadratic: NoisyQuadratic,
    preconditioner: Float[Array, "n n"],
    nominal: Float[Array, ""],
    horizons: Int[Array, " horizons"],
    key: PRNGKeyArray,
    longest: int,
) -> Float[Array, "horizons n n"]:
    """dL(T)/dP of one sampled run for every T.

    Forward mode: the gradient of every step's loss comes out of one pass, so one run of the
    longest horizon serves all. P has few entries, which is when that is cheap.
    """
    init_key, batch_key = jax.random.split(key)

    def losses(P: Float[Array, "n n"]) -> Float[Array, " steps"]:
        optimizer = MatrixOptimizer(P, nominal)
        # A run records losses before its updates; equation 8 begins after the first.
        return run_once(quadratic, optimizer, longest + 1, init_key, batch_key)[0][1:]

    total = jnp.cumsum(jax.jacfwd(losses)(preconditioner), axis=0)
    return total[horizons - 1] / horizons[:, None, None]


@Program
def _all_gradients(
    quadratic: NoisyQuadratic,
    preconditioner: Float[Array, "n n"],
    nominals: Float[Array, " nominals"],
    horizons: Int[Array, " horizons"],
    keys: Key[Array, " seeds"],
    longest: int,
    chunk_size: int,
) -> Float[Array, "seeds nominals horizons n n"]:
    def one_seed(key: PRNGKeyArray) -> Float[Array, "nominals horizons n n"]:
        return jax.vmap(
            lambda nominal: _sampled_gradients(
                quadratic, preconditioner, nominal, horizons, key, longest
            )
        )(nominals)

    return map_chunked(one_seed, keys, chunk_size)


def gradient_variance(
    quadratic: NoisyQuadratic,
    *,
    key: PRNGKeyArray,
    nominals: Sequence[float] | np.ndarray | None = None,
    horizons: Sequence[int] = PAPER_HORIZONS,
    num_seeds: int = 500,
    preconditioner: Any | None = None,
) -> GradientVariance:
    """Samples the meta-gradient dL/dP through T-step unrolls and measures its spread.

    The meta-gradient of a seed is that of the mean loss over steps 1 to T of one run, φ₀ and
    all ξ drawn. Seeds are shared over α and T: the values of one curve are comparable with each
    other, not independent of each other. All horizons come from one pass over the longest.

    Source: paper C, figure 2a, equations A.31 to A.33 (50 values of α, 500 seeds, P = 0: the
    defaults). The paper does not say whether φ₀ is drawn anew for each seed; here it is.

    Args:
        quadratic: the problem.
        key: PRNG key.
        nominals: values of α; `paper_nominals` if not given.
        horizons: values of T, each at least 1.
        num_seeds: runs, at least 2.
        preconditioner: P, shape (n, n); zero if not given.

    Returns:
        The trace of the variance for every α and T, float64.

    Raises:
        InvalidValueError: no values of α or T, a horizon below 1, fewer than 2 seeds.

    Example:
        >>> found = gradient_variance(NoisyQuadratic.paper(), key=jax.random.key(0),
        ...                           nominals=[0.0, 0.7], horizons=[1, 20], num_seeds=100)
        >>> bool(found.trace_variance[1, 1] < found.trace_variance[0, 1])
        True
    """
    n = quadratic.size
    P = checked_square(
        "preconditioner", np.zeros((n, n)) if preconditioner is None else preconditioner, n
    )
    chosen = paper_nominals(quadratic) if nominals is None else np.asarray(nominals, np.float64)
    if chosen.ndim != 1 or not len(chosen) or not len(horizons):
        raise InvalidValueError("nominals and horizons must be lists of at least one number each.")
    for horizon in horizons:
        check_count("horizons", horizon, minimum=1)
    check_count("num_seeds", num_seeds, minimum=2)
    longest = int(max(horizons))
    bytes_a_seed = 2 * 8 * len(chosen) * longest * n * n
    chunk_size = max(1, min(num_seeds, _CHUNK_BYTES // bytes_a_seed))
    with jax.enable_x64(True):
        gradients = np.asarray(
            _all_gradients(
                fresh_arrays(quadratic), jnp.asarray(P), jnp.asarray(chosen), jnp.asarray(horizons),
                run_keys(key, num_seeds), longest, chunk_size,
            )
        )  # fmt: skip
    mean = gradients.mean(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.square(gradients - mean).sum(axis=(-1, -2))
        trace, spread = squares.mean(axis=0), squares.std(axis=0, ddof=1)
    error = spread / num_seeds**0.5
    return GradientVariance(chosen, tuple(map(int, horizons)), trace, error, mean, num_seeds)
