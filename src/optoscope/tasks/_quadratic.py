"""Random least-squares problems: small, cheap, and with known answers."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from optoscope._core.errors import InvalidValueError
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
    """

    rows: int = eqx.field(static=True, default=10)
    columns: int = eqx.field(static=True, default=5)

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
        """Name and sizes."""
        return {"name": "quadratic", "rows": self.rows, "num_params": self.columns}
