"""Two interleaved half circles, classified by a small network."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from optoscope._core.errors import UnknownNameError, check_count, check_number, check_seed
from optoscope._core.keys import new_key
from optoscope._core.memory import check_memory
from optoscope._core.trees import size, squared_norm
from optoscope.tasks._base import Task
from optoscope.tasks._mlp import MLP, MLPParams


class TwoMoons(Task):
    """A multi-layer perceptron with one logit, trained on all points at once by logistic loss.

    Deterministic: the points are fixed, every step sees all of them; problems differ in their
    initial weights. Make it with `two_moons`.

    Math: mean over points of log(1 + exp(∓z)), + ½·l2·‖θ‖² over all weights and biases.

    Args:
        network: maps (params, points) to one logit per point.
        points: coordinates of the training points.
        labels: which moon, 0 or 1.
        l2: strength of the penalty; 0 for none.
    """

    network: MLP
    points: Float[Array, "points 2"]
    labels: Float[Array, " points"]
    l2: float = eqx.field(static=True, default=0.0)

    def init(self, key: PRNGKeyArray) -> MLPParams:
        """Draws the network's initial parameters."""
        return self.network.init(key)

    def sample_batch(self, key: PRNGKeyArray) -> None:
        """Nothing: every step sees all points."""

    def loss(self, params: MLPParams, batch: None = None) -> Float[Array, ""]:
        """The mean logistic loss in nats, with the penalty."""
        del batch
        logits = self.network(params, self.points)[:, 0]
        loss = jnp.mean(optax.sigmoid_binary_cross_entropy(logits, self.labels))
        if not self.l2:
            return loss
        return loss + 0.5 * self.l2 * squared_norm(params)

    def accuracy(self, params: MLPParams, split: str = "test") -> Float[Array, ""] | None:
        """The share of training points classified correctly; None for other splits."""
        if split not in ("train", "validation", "test"):
            raise UnknownNameError("split", split, ("train", "validation", "test"))
        if split != "train":
            return None
        return jnp.mean((self.network(params, self.points)[:, 0] > 0) == (self.labels > 0.5))

    @property
    def metadata(self) -> dict[str, Any]:
        """Name, network, number of parameters and of points, and the penalty."""
        return {
            "name": "two-moons",
            "widths": list(self.network.widths),
            "activation": self.network.activation,
            "num_params": size(jax.eval_shape(self.init, new_key(0))),
            "num_points": self.points.shape[0],
            "l2": self.l2,
        }


def two_moons(
    *,
    hidden: tuple[int, ...] = (64, 64, 64),
    activation: str = "tanh",
    num_points: int = 1024,
    noise: float | int = 0.1,
    l2: float | int = 0.0,
    seed: int = 0,
) -> TwoMoons:
    """scikit-learn's two moons with a multi-layer perceptron.

    Source: paper B, section 3.2: 2-64-64-64-1 with tanh, 8,577 parameters.

    Args:
        hidden: units of each hidden layer.
        activation: as for `MLP`.
        num_points: points in both moons together.
        noise: standard deviation of the points about the half circles, whose radius is 1.
        l2: strength of the penalty on the parameters; paper B does not say; 5e-3 is small.
        seed: draws the points.

    Raises:
        InvalidValueError: fewer than two points, a negative noise, l2 or seed, or wrong widths.
        UnknownNameError: an unknown activation.

    Example:
        >>> two_moons().metadata["num_params"]
        8577
    """
    check_count("num_points", num_points, minimum=2)
    # Coordinates in double precision, once more in a shuffled order.
    check_memory({"points": 2 * 2 * 8 * num_points}, "Ask for fewer points.")
    check_number("noise", noise, minimum=0)
    check_number("l2", l2, minimum=0)
    check_seed(seed)
    network = MLP((2, *hidden, 1), activation)
    # Importing scikit-learn takes a second.
    from sklearn.datasets import make_moons

    points, labels = make_moons(num_points, noise=noise, random_state=seed)
    return TwoMoons(
        network, jnp.asarray(points, jnp.float32), jnp.asarray(labels, jnp.float32), float(l2)
    )
