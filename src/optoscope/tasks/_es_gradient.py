"""Tasks whose gradient is an evolution-strategies estimate."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, UInt32

from optoscope._core.antithetic import draw_perturbation, moved, scaled, slope
from optoscope._core.errors import check_count, check_number
from optoscope._core.keys import as_key, from_data
from optoscope.tasks._base import Params, Task
from optoscope.tasks._contract import metadata_of
from optoscope.tasks._drawing import draw_batch_at, gather_batch


class PerturbedBatch(eqx.Module):
    """A batch, and the key data that its perturbations are drawn from."""

    batch: PyTree[Array]
    key_data: UInt32[Array, " words"]


class _Loss(eqx.Module):
    """A task's loss; of one that has a model state, in a given one and with a given key."""

    task: Task
    state: PyTree[Array] = ()
    key: PRNGKeyArray | None = None

    def __call__(self, params: Params, batch: PyTree[Array]) -> Float[Array, ""]:
        if self.key is None:
            return self.task.loss(params, batch)
        with_state = self.task.loss_with_state  # type: ignore[attr-defined]
        return with_state(params, self.state, batch, self.key)[0]


def antithetic_gradient(
    loss: _Loss, params: Params, batch: PerturbedBatch, num_pairs: int, std: float
) -> Params:
    """ĝ = mean over pairs of (ℓ(θ + ε) − ℓ(θ − ε))/(2σ²) · ε with ε ~ N(0, σ²I).

    Its mean is the gradient of the loss smoothed by N(0, σ²I). One pair after the other: a pair
    then needs the memory of two evaluations however many pairs there are.
    """

    def add_pair(total: Params, key: PRNGKeyArray) -> tuple[Params, None]:
        noise = draw_perturbation(key, params, std)
        ahead, behind = (loss(moved(params, noise, sign), batch.batch) for sign in (1, -1))
        gradient = scaled(noise, slope(ahead, behind, std) / num_pairs)
        return jax.tree.map(jnp.add, total, gradient), None

    keys = jax.random.split(from_data(batch.key_data), num_pairs)
    return jax.lax.scan(add_pair, jax.tree.map(jnp.zeros_like, params), keys)[0]


@eqx.filter_custom_jvp
def _estimated(
    params: Params, loss: _Loss, batch: PerturbedBatch, num_pairs: int, std: float
) -> Float[Array, ""]:
    del num_pairs, std
    return loss(params, batch.batch)


@_estimated.def_jvp
def _estimated_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    params, loss, batch, num_pairs, std = primals
    value = loss(params, batch.batch)
    if tangents[0] is None:
        return value, jnp.zeros_like(value)
    # A leaf that is not differentiated has no tangent.
    moves = jax.tree.map(lambda p, t: jnp.zeros_like(p) if t is None else t, params, tangents[0])
    slopes = antithetic_gradient(loss, params, batch, num_pairs, std)
    products = jax.tree.map(lambda g, t: jnp.sum(g * t), slopes, moves)
    return value, sum(jax.tree.leaves(products), start=jnp.zeros_like(value))


class ESGradient(Task):
    """A task whose loss is another task's, and whose gradient an antithetic ES estimate of it.

    `jax.grad(task.loss)` is what an optimizer receives: noisy, and made of losses alone. The
    value of the loss is exact, at the unperturbed parameters. The batch holds the key of the
    perturbations: the same batch gives the same estimate. Only derivatives by the parameters are
    replaced; those of the estimate itself (a meta-gradient through the optimizer's input) are
    exact. Symmetries of the loss hold only on average for such a gradient, so none is declared.

    Math: see `es_gradient`.

    Args:
        task: the task.
        num_pairs: antithetic pairs a gradient; it costs twice as many losses.
        std: σ, the standard deviation of the perturbations.
        name: how reports call the task.

    Raises:
        InvalidValueError: fewer than one pair, or σ not positive.
    """

    task: Task
    num_pairs: int = eqx.field(static=True, default=8)
    std: float = eqx.field(static=True, default=0.01)
    name: str | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        check_count("num_pairs", self.num_pairs, minimum=1)
        check_number("std", self.std, minimum=0, exclusive_minimum=True)

    def init(self, key: PRNGKeyArray) -> Params:
        """Draws the task's initial parameters."""
        return self.task.init(key)

    def sample_batch(self, key: PRNGKeyArray) -> PerturbedBatch:
        """Draws a batch of the task and the key of its perturbations."""
        batch_key, noise_key = jax.random.split(as_key(key))
        return PerturbedBatch(self.task.sample_batch(batch_key), jax.random.key_data(noise_key))

    def loss(self, params: Params, batch: PerturbedBatch) -> Float[Array, ""]:
        """The task's loss; its derivative is the estimate."""
        return _estimated(params, _Loss(self.task), batch, self.num_pairs, self.std)

    def validate(self, params: Params, state: PyTree[Array] = ()) -> dict[str, Float[Array, ""]]:
        """What the task that is estimated gives; its losses are exact."""
        own = getattr(self.task, "validate", None)
        return {} if own is None else own(params, state)

    def accuracy(self, params: Params, split: str = "test") -> Float[Array, ""] | None:
        """The accuracy on the task that is estimated."""
        own = getattr(self.task, "accuracy", None)
        return None if own is None else own(params, split)

    @property
    def metadata(self) -> dict[str, Any]:
        """The task's, and how the gradient is estimated."""
        metadata = metadata_of(self.task)
        if self.name is not None:
            metadata = metadata | {"name": self.name}
        return metadata | {"gradient": "es", "num_pairs": self.num_pairs, "std": self.std}


class _WithModelState(ESGradient):
    """The same of a task whose loss takes a model state and a key, and whose data may be a stream.

    The losses of all perturbations are of the same model state and key.
    """

    def draw_at(self, key: PRNGKeyArray, step: Int[Array, ""]) -> PyTree[Array]:
        """Draws step `step` of a run: a stream continues from step to step."""
        batch_key, noise_key = jax.random.split(as_key(key))
        noise = jax.random.key_data(jax.random.fold_in(noise_key, step))
        return PerturbedBatch(draw_batch_at(self.task, batch_key, step), noise)

    def draw(self, key: PRNGKeyArray) -> PyTree[Array]:
        return self.draw_at(key, jnp.zeros((), jnp.int32))

    def gather(self, draw: PyTree[Array]) -> PerturbedBatch:
        return PerturbedBatch(gather_batch(self.task, draw.batch), draw.key_data)

    def sample_batch(self, key: PRNGKeyArray) -> PerturbedBatch:
        return self.gather(self.draw(key))

    def init_state(self, key: PRNGKeyArray) -> PyTree[Array]:
        return self.task.init_state(key)  # type: ignore[attr-defined]

    def loss_with_state(
        self, params: Params, state: PyTree[Array], batch: PerturbedBatch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], PyTree[Array]]:
        with_state = self.task.loss_with_state  # type: ignore[attr-defined]
        after = with_state(params, state, batch.batch, key)[1]
        loss = _Loss(self.task, state, key)
        return _estimated(params, loss, batch, self.num_pairs, self.std), after


def es_gradient(
    task: Task, *, num_pairs: int = 8, std: float = 0.01, name: str | None = None
) -> ESGradient:
    """The task, with evolution-strategies estimates in the place of its gradient.

    Use it to see how an optimizer copes with very noisy gradients. The noise grows with the
    number of parameters P: a gradient's signal is about the share num_pairs/P of its energy.

    Math: ĝ = mean over pairs of (ℓ(θ + ε) − ℓ(θ − ε))/(2σ²) · ε with ε ~ N(0, σ²I), which is the
    gradient of the loss smoothed by N(0, σ²I) on average.

    Source: Salimans et al. (2017), antithetic; paper C, section 5, names "training models with
    ES gradients" and gives neither pairs nor σ.

    Args:
        task: any task.
        num_pairs: antithetic pairs a gradient, at least 1.
        std: σ, above 0.
        name: how reports call the task; the task's own name if not given.

    Raises:
        InvalidValueError: fewer than one pair, or σ not positive.

    Example:
        >>> from optoscope.tasks import Rosenbrock
        >>> task, start = es_gradient(Rosenbrock(), num_pairs=2000), jnp.array([0.0, 1.0])
        >>> grads = jax.grad(task.loss)(start, task.sample_batch(jax.random.key(0)))
        >>> bool(jnp.allclose(grads, jnp.array([-2.0, 200.0]), atol=40.0))
        True
    """
    kind = _WithModelState if hasattr(task, "loss_with_state") else ESGradient
    return kind(task, num_pairs, float(std), name)
