"""The Rosenbrock function: a curved valley in two parameters."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from optoscope.tasks._base import Task


class Rosenbrock(Task):
    """f(x, y) = (1 − x)² + 100 (y − x²)², least (0) at (1, 1); there are no batches.

    Starts are uniform over (−2, 2) × (−1, 3). Gradients there reach 2.5e3: what meta-learns on
    it needs clipping or small steps at first.

    Source: Rosenbrock (1960); paper B, section 3.2.

    Example:
        >>> float(Rosenbrock().loss(jnp.array([0.0, 2.0])))
        401.0
    """

    def init(self, key: PRNGKeyArray) -> Float[Array, "2"]:
        """Draws a start (x, y)."""
        low, high = jnp.array([-2.0, -1.0]), jnp.array([2.0, 3.0])
        return jax.random.uniform(key, (2,), minval=low, maxval=high)

    def sample_batch(self, key: PRNGKeyArray) -> None:
        """Nothing: the loss is deterministic."""

    def loss(self, params: Float[Array, "2"], batch: None = None) -> Float[Array, ""]:
        """The function's value at (x, y)."""
        del batch
        x, y = params
        return (1 - x) ** 2 + 100 * (y - x**2) ** 2

    @property
    def metadata(self) -> dict[str, Any]:
        """The task's name and its number of parameters."""
        return {"name": "rosenbrock", "num_params": 2}
