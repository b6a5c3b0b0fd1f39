"""Random least-squares problems: small, cheap, and with known answers."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from optoscope._core.errors import InvalidValueError, check_count, check_number
from optoscope.tasks._base import Task, TaskDistribution


class LeastSquares(Task):
    """f(x) = ½‖Ax − b‖² less its minimum; the gradient is exact, there are no batches.

    Args:
        matrix: A.
        target: b.
        start: the initial parameters x₀; part of the problem, so `init` draws nothing.
        minimum: the least value of ½‖Ax − b‖², subtracted from the loss.
    """

    matrix: Float[Array, "rows columns"]
    target: Float[Array, " rows"]
    start: Float[Array, " columns"]
    minimum: Float[Array, ""]

    def init(self, key: PRNGKeyArray) -> Float[Array, " columns"]:
        """The problem's own start."""
        del key
        return self.start

    def sample_batch(self, key: PRNGKeyArray) -> None:
        """Nothing: the loss is deterministic."""

    def loss(self, params: Float[Array, " columns"], batch: None = None) -> Float[Array, ""]:
        """½‖Ax − b‖² less its minimum."""
        del batch
        return 0.5 * jnp.sum(jnp.square(self.matrix @ params - self.target)) - self.minimum


class RandomLeastSquares(TaskDistribution):
    """Least-squares problems with standard normal A/sqrt(columns), b and start.

    Source: paper B, section 3 ("linear regression"): five parameters; A of 10×5, or 5×5 for the
    ill-conditioned variant.

    Args:
        rows: rows of A, at least 1.
        columns: parameters, at least 1.
        name: how reports call the distribution.
    """

    rows: int = eqx.field(static=True, default=10)
    columns: int = eqx.field(static=True, default=5)
    name: str = eqx.field(static=True, default="quadratic")

    def __check_init__(self):
        if self.rows < 1 or self.columns < 1:
            raise InvalidValueError(
                f"rows and columns are {self.rows} and {self.columns}; both must be at least 1."
            )

    def sample(self, key: PRNGKeyArray) -> LeastSquares:
        """Draws a problem, its start included."""
        matrix_key, target_key, start_key = jax.random.split(key, 3)
        matrix = jax.random.normal(matrix_key, (self.rows, self.columns)) / self.columns**0.5
        target = jax.random.normal(target_key, (self.rows,))
        start = jax.random.normal(start_key, (self.columns,))
        solution = jnp.linalg.lstsq(matrix, target)[0]
        minimum = 0.5 * jnp.sum(jnp.square(matrix @ solution - target))
        return LeastSquares(matrix, target, start, minimum)

    @property
    def metadata(self) -> dict[str, Any]:
        """The task's name and its sizes."""
        return {"name": self.name, "rows": self.rows, "num_params": self.columns}


class RandomQuadratic(TaskDistribution):
    """Quadratics f(x) = ½xᵀHx + cᵀx less their minimum, with eigenvalues log-uniform in bounds.

    The distribution for which heavy ball has a known optimum: for H between ℓ and L the rate
    4/(√ℓ + √L)² with momentum ((√L − √ℓ)/(√L + √ℓ))². Minima lie up to about 1/ℓ away, so that
    initial losses differ a lot; `meta.FullBackprop(relative=True)` makes them count alike.

    Math: H = QᵀΛQ with log λ uniform in [log ℓ, log L] and Q uniform over the orthonormal
    matrices; c and the start are standard normal. Given as ½‖Ax − b‖² with A = Λ^½ Q and
    b = −Λ^−½ Q c, whose minimum is 0 without rounding.

    Source: paper B, appendix B, compares with this optimum but does not give its distribution;
    the eigenvalues' range is this library's choice.

    Args:
        num_params: parameters, at least 1.
        smallest: ℓ, above 0.
        largest: L, at least ℓ.
    """

    num_params: int = eqx.field(static=True, default=5)
    smallest: float = eqx.field(static=True, default=1e-3)
    largest: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        check_count("num_params", self.num_params, maximum=2**31 - 1)
        check_number("smallest", self.smallest, minimum=0, exclusive_minimum=True)
        check_number("largest", self.largest, minimum=self.smallest)

    def sample(self, key: PRNGKeyArray) -> LeastSquares:
        """Draws a problem, its start included."""
        curvature_key, basis_key, target_key, start_key = jax.random.split(key, 4)
        logarithm = jax.random.uniform(
            curvature_key,
            (self.num_params,),
            minval=math.log(self.smallest),
            maxval=math.log(self.largest),
        )
        basis = jax.random.orthogonal(basis_key, self.num_params)
        root = jnp.exp(0.5 * logarithm)
        # Q c is as standard normal as c.
        target = jax.random.normal(target_key, (self.num_params,)) / root
        start = jax.random.normal(start_key, (self.num_params,))
        return LeastSquares(root[:, None] * basis, target, start, jnp.zeros_like(root[0]))

    @property
    def metadata(self) -> dict[str, Any]:
        """Name, size and the bounds of the curvature."""
        return {
            "name": "quadratic-log-uniform",
            "num_params": self.num_params,
            "curvature": [self.smallest, self.largest],
        }
