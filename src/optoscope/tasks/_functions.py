"""A task from plain functions: any model, any data."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from optoscope._core.errors import InvalidValueError, check_number
from optoscope._core.hashes import hashable
from optoscope._core.keys import new_key
from optoscope._core.trees import size
from optoscope.tasks._base import Batch, Params, Task
from optoscope.tasks._streams import Stream, as_stream, stream_draw

Function = Callable[..., Any]


class FunctionTask(Task):
    """A task made by `from_functions`.

    Args:
        functions: `init`, `loss`, the metrics by name, and `batches` where batches are drawn by
            a function of a key.
        examples: arrays with a leading axis of examples, where batches are drawn from them.
        validation: the batch that validation is measured on, or None.
        stream: where batches come from the host.
        batch_size: examples per batch, of `examples`.
        has_state: whether `init` and `loss` also return a model state.
        name: how reports call the task.
    """

    examples: PyTree[Array]
    validation: PyTree[Array]
    functions: "_Functions" = eqx.field(static=True)
    stream: Stream | None = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    has_state: bool = eqx.field(static=True)
    name: str = eqx.field(static=True)

    def init(self, key: PRNGKeyArray) -> Params:
        """Draws the initial parameters with the user's function."""
        made = self.functions.init(key)
        return made[0] if self.has_state else made

    def init_state(self, key: PRNGKeyArray) -> PyTree[Array]:
        """The initial model state; () where the model has none."""
        return self.functions.init(key)[1] if self.has_state else ()

    def sample_batch(self, key: PRNGKeyArray) -> Batch:
        """A batch; of a stream, the first one of the stream that the key stands for."""
        return self.gather(self.draw(key))

    def draw(self, key: PRNGKeyArray) -> PyTree[Array]:
        """Which examples, or which batch of a stream, or the key itself."""
        if self.stream is not None:
            return stream_draw(key, 0)
        if self.functions.batches is not None:
            return key
        count = jax.tree.leaves(self.examples)[0].shape[0]
        return jax.random.randint(key, (self.batch_size,), 0, count)

    def draw_at(self, key: PRNGKeyArray, step: Any) -> PyTree[Array]:
        """The random numbers of step `step` of a run; a stream continues from step to step."""
        if self.stream is not None:
            return stream_draw(key, step)
        return self.draw(jax.random.fold_in(key, step))

    def gather(self, draw: PyTree[Array]) -> Batch:
        """The batch that was drawn."""
        if self.stream is not None:
            return self.stream.fetch(draw)
        if self.functions.batches is not None:
            return self.functions.batches(draw)
        return jax.tree.map(lambda leaf: leaf[draw], self.examples)

    def loss(self, params: Params, batch: Batch) -> Float[Array, ""]:
        """The loss in its initial model state, with a fixed key; see `loss_with_state`."""
        key = new_key(0)
        return self.loss_with_state(params, self.init_state(key), batch, key)[0]

    def loss_with_state(
        self, params: Params, state: PyTree[Array], batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], PyTree[Array]]:
        """The loss, and the model state after it."""
        extra = {"key": key} if self.functions.takes_key else {}
        if self.has_state:
            return self.functions.loss(params, state, batch, **extra)
        return self.functions.loss(params, batch, **extra), ()

    def validate(self, params: Params, state: PyTree[Array] = ()) -> dict[str, Float[Array, ""]]:
        """The metrics on the validation batch; `loss` is the loss where no metric is called so."""
        if self.validation is None:
            return {}
        arguments = (params, state) if self.has_state else (params,)
        found = {
            name: jnp.asarray(metric(*arguments, self.validation))
            for name, metric in self.functions.metrics
        }
        if "loss" not in found:
            key = new_key(0)
            found["loss"] = self.loss_with_state(params, state, self.validation, key)[0]
        return found

    @property
    def metadata(self) -> dict[str, Any]:
        """Name, number of parameters, batch size where known."""
        params = jax.eval_shape(self.init, new_key(0))
        found = {"name": self.name, "class": "from_functions", "num_params": size(params)}
        return found | ({"batch_size": self.batch_size} if self.batch_size else {})


class _Functions(eqx.Module):
    """A person's functions; equal only to themselves, so that programs are compiled once."""

    init: Function = eqx.field(static=True)
    loss: Function = eqx.field(static=True)
    batches: Function | None = eqx.field(static=True)
    metrics: tuple[tuple[str, Function], ...] = eqx.field(static=True)
    takes_key: bool = eqx.field(static=True)


def from_functions(
    init: Function,
    loss: Function,
    batches: Any,
    *,
    validation: Any = None,
    metrics: Mapping[str, Function] | None = None,
    has_state: bool = False,
    batch_size: int | None = None,
    name: str = "own",
) -> FunctionTask:
    """A task from functions: any model, with any data.

    Only what `init` returns as parameters is trained. Batch statistics and other model state
    belong into the state, never into the parameters, where every optimizer would move them.

    Args:
        init: `init(key) -> params`; with `has_state`, `init(key) -> (params, state)`.
        loss: `loss(params, batch) -> scalar`; with `has_state`,
            `loss(params, state, batch) -> (scalar, new state)`. Where it has an argument called
            `key` it is given one, a new one every step, for dropout and the like.
        batches: an array, or a tuple or dictionary of arrays, with a leading axis of examples
            (then batches of `batch_size` are drawn with replacement); a function
            `batches(key) -> batch` that JAX can compile; or data on the host: a function of a
            `seed` that returns an iterator of batches, a PyTorch `DataLoader`, a Hugging Face
            dataset or a Grain `MapDataset` with `batch_size`, or anything, such as a list of
            batches, that can be iterated again and again. Data on the host are read while the
            device computes.
        validation: a batch to measure validation on; `None` where there is none.
        metrics: further functions of (params, batch), with `has_state` of
            (params, state, batch), measured on the validation batch; one called "loss" replaces
            the loss there, for models that behave otherwise when they are not trained.
        has_state: whether there is a model state.
        batch_size: examples per batch, where `batches` are arrays (32 if not given).
        name: how reports call the task.

    Raises:
        InvalidValueError: data of a kind that cannot be used, such as a generator.

    Example:
        >>> x = np.linspace(-1, 1, 50).astype(np.float32)
        >>> line = from_functions(
        ...     init=lambda key: {"slope": jax.random.normal(key)},
        ...     loss=lambda params, batch: jnp.mean((params["slope"] * batch[0] - batch[1]) ** 2),
        ...     batches=(x, 3 * x), batch_size=10, validation=(x, 3 * x))
        >>> from optoscope import optimizers, training
        >>> run = training.train(line, optimizers.adam(0.1), 200, key=jax.random.key(0))
        >>> round(float(run.params["slope"][0]), 2)
        3.0
    """
    if validation is not None:
        validation = jax.tree.map(jnp.asarray, validation)
    examples, draw, stream = None, None, None
    if _is_arrays(batches):
        examples = jax.tree.map(jnp.asarray, batches)
        counts = {leaf.shape[0] for leaf in jax.tree.leaves(examples)}
        if len(counts) != 1:
            raise InvalidValueError(
                f"the arrays of batches hold {sorted(counts)} examples; each needs the same "
                "number, on its first axis."
            )
        batch_size = 32 if batch_size is None else batch_size
        check_number("batch_size", batch_size, minimum=1)
    elif callable(batches) and "seed" not in _parameters(batches) and not _is_loader(batches):
        draw = batches
    else:
        stream = as_stream(batches, batch_size)
        batch_size = jax.tree.leaves(stream.shapes)[0].shape[0]
    functions = _Functions(
        hashable(init),
        hashable(loss),
        None if draw is None else hashable(draw),
        tuple((metric, hashable(function)) for metric, function in (metrics or {}).items()),
        "key" in _parameters(loss),
    )
    return FunctionTask(examples, validation, functions, stream, batch_size or 0, has_state, name)


def _parameters(function: Function) -> frozenset[str]:
    try:
        return frozenset(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return frozenset()


def _is_loader(data: Any) -> bool:
    return hasattr(data, "__iter__") or hasattr(data, "__next__")


def _is_arrays(data: Any) -> bool:
    """Whether this is an array, or a tuple or dictionary of arrays, with an axis of examples."""
    if not isinstance(data, np.ndarray | jax.Array | tuple | dict):
        return False
    leaves = jax.tree.leaves(data)
    return bool(leaves) and all(
        isinstance(leaf, np.ndarray | jax.Array) and leaf.ndim > 0 for leaf in leaves
    )
