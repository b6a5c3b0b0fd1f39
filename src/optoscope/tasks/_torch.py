"""A PyTorch model as a task, so that optimizers can be compared on it."""

import functools
import threading
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, UInt32

from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.tasks._base import Task
from optoscope.tasks._torch_problem import TorchProblem

Params = dict[str, Array]
Seed = UInt32[Array, " words"]
# What a problem draws its random numbers with is PyTorch's one global generator.
_LOCK = threading.Lock()


class TorchTask(Task):
    """A PyTorch model as a task; see `from_torch`, which makes it.

    A batch is the seed that it is drawn with: the data never leave PyTorch.
    """

    problem: TorchProblem = eqx.field(static=True)
    name: str = eqx.field(static=True)

    def init(self, key: PRNGKeyArray) -> Params:
        """The parameters of a newly made module, by name; of a given module its own."""
        return _call(self.problem.initial_parameters, self._shapes(), jax.random.key_data(key))

    def sample_batch(self, key: PRNGKeyArray) -> Seed:
        """The seed of a batch, and of whatever is random in the loss."""
        return jax.random.key_data(key)

    def loss(self, params: Params, batch: Seed) -> Float[Array, ""]:
        """The loss on the batch of that seed, in training mode; differentiable once, backwards."""
        return _loss(self.problem, params, batch)

    def validation_loss(self, params: Params) -> Float[Array, ""] | None:
        """The mean loss over the validation data, in evaluation mode; None without such data."""
        if not self.problem.has_validation:
            return None
        return _call(self.problem.validation_loss, _NUMBER, params)

    def validate(self, params: Params, state: PyTree[Array] = ()) -> dict[str, Float[Array, ""]]:
        """The loss over the validation data; nothing without such data."""
        del state
        loss = self.validation_loss(params)
        return {} if loss is None else {"loss": loss}

    def accuracy(self, params: Params, split: str = "test") -> Float[Array, ""] | None:
        """The share of the validation data that is right; None without them or without a measure.

        There are no other held-out data: they stand for the splits "validation" and "test".
        """
        if split not in ("validation", "test"):
            raise UnknownNameError("split", split, ("validation", "test"))
        if not self.problem.has_accuracy:
            return None
        return _call(self.problem.accuracy, _NUMBER, params)

    @property
    def metadata(self) -> dict[str, Any]:
        """Name, number of parameters, and that it is a PyTorch model."""
        sizes = [int(np.prod(shape)) for shape, _ in self.problem.parameters.values()]
        return {"name": self.name, "framework": "PyTorch", "num_params": sum(sizes)}

    def _shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        return {
            name: jax.ShapeDtypeStruct(shape, dtype)
            for name, (shape, dtype) in self.problem.parameters.items()
        }


_NUMBER = jax.ShapeDtypeStruct((), jnp.float32)


def _call(function: Callable[..., Any], result: Any, *arguments: Any) -> Any:
    """The result of a function of PyTorch, from within a compiled program, one after the other."""

    def locked(*arguments: Any) -> Any:
        with _LOCK:
            return function(*jax.tree.map(np.asarray, arguments))

    return jax.pure_callback(locked, result, *arguments, vmap_method="sequential")


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loss(problem: TorchProblem, params: Params, seed: Seed) -> Float[Array, ""]:
    return _call(problem.loss, _NUMBER, params, seed)


def _loss_and_gradient(
    problem: TorchProblem, params: Params, seed: Seed
) -> tuple[Float[Array, ""], Params]:
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    return _call(problem.loss_and_gradient, (_NUMBER, like), params, seed)


def _pull_back(
    problem: TorchProblem, gradient: Params, cotangent: Float[Array, ""]
) -> tuple[Params, None]:
    del problem
    return jax.tree.map(lambda leaf: (cotangent * leaf).astype(leaf.dtype), gradient), None


_loss.defvjp(_loss_and_gradient, _pull_back)


def from_torch(
    module: Callable[..., Any],
    loss: Callable[[Any, Any], Any],
    loader: Any,
    *,
    validation: Any = None,
    accuracy: Callable[[Any, Any], Any] | None = None,
    name: str = "torch-model",
) -> TorchTask:
    """A PyTorch model as a task, to compare optimizers on it with `bench.evaluate` and `compare`.

    Use it to ask whether a learned optimizer is better than a tuned Adam on a model that exists in
    PyTorch. The model is not compiled into JAX: each step calls PyTorch from the compiled loop,
    one run after the other, and copies parameters and gradients. So it is slower than the same
    model in JAX (small models by some ten times), and meta-gradients cannot be taken through it.

    Batches are paired: run r of every optimizer has the same parameters at its start, the same
    batches and the same dropout, for all of them come from the run's key. Batches are drawn with
    replacement, as in every task here: an epoch does not show each example once.

    Buffers start every step as the module has them. Running statistics of batch normalization are
    therefore measured anew, on 20 training batches, where the validation data are looked at.

    Args:
        module: a function that makes a `torch.nn.Module` (a class, say), called for every run
            with PyTorch's generator seeded for it; or a module, from whose parameters every run
            starts. What does not require a gradient stays as it is.
        loss: `loss(module, batch)`, a scalar.
        loader: a `torch.utils.data.DataLoader` of a data set with indices, of which the batch
            size and `collate_fn` are used; a list of batches; or a function that draws a batch
            with the `torch.Generator` it is given.
        validation: an iterable of batches, such as a `DataLoader`; it is gone through whole.
        accuracy: `accuracy(module, batch)` gives for each example of a batch whether it is right.
        name: how reports call the task.

    Raises:
        InvalidValueError: a loader that batches cannot be drawn from by key, a loss that is no
            scalar, an accuracy without validation data, or nothing that can be trained.
        ModuleNotFoundError: PyTorch is not installed.
    """
    if accuracy is not None and validation is None:
        raise InvalidValueError(
            "accuracy is given, but no validation data to take it on; write validation=…, an "
            "iterable of batches."
        )
    return TorchTask(TorchProblem(module, loss, loader, validation, accuracy), name)
