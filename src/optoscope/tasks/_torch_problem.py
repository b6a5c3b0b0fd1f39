"""A PyTorch model's losses and gradients as NumPy arrays, independent of the task classes."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from optoscope._core.errors import InvalidValueError

if TYPE_CHECKING:
    import torch

Arrays = Mapping[str, np.ndarray]
_STATISTICS_BATCHES = 20


class TorchProblem:
    """A module with its loss and its data.

    Args:
        module: makes a module, or is one.
        loss: of a module and a batch.
        loader: what batches are drawn from.
        validation: an iterable of batches, or None.
        accuracy: of a module and a batch, for each example; or None.

    Raises:
        InvalidValueError: see `tasks.from_torch`.
    """

    def __init__(
        self,
        module: Callable[..., Any],
        loss: Callable[[Any, Any], Any],
        loader: Any,
        validation: Any,
        accuracy: Callable[[Any, Any], Any] | None,
    ):
        """Makes a module and takes its loss once: what cannot work fails here."""
        import torch

        self._make = None if isinstance(module, torch.nn.Module) else module
        self._loss, self._validation, self._accuracy = loss, validation, accuracy
        self._draw = _drawing(loader)
        first = np.zeros(2, np.uint32)
        with _seeded(first):
            made = copy.deepcopy(module) if self._make is None else module()
        if not isinstance(made, torch.nn.Module):
            raise InvalidValueError(
                f"module made a {type(made).__name__}; give a torch.nn.Module or a function "
                "without arguments that makes one."
            )
        self._module = made.train()
        self._trained = {n: p for n, p in made.named_parameters() if p.requires_grad}
        if not self._trained:
            raise InvalidValueError(
                "no parameter of the module requires a gradient, so nothing can be trained."
            )
        self.parameters = {
            name: (tuple(param.shape), _as_numpy(param[None][:0]).dtype)
            for name, param in self._trained.items()
        }
        self.loss_and_gradient({n: _as_numpy(p) for n, p in self._trained.items()}, first)

    @property
    def has_validation(self) -> bool:
        """Whether there are validation data."""
        return self._validation is not None

    @property
    def has_accuracy(self) -> bool:
        """Whether there is a measure of accuracy too."""
        return self._accuracy is not None

    def initial_parameters(self, seed: np.ndarray) -> dict[str, np.ndarray]:
        """The parameters of a run at its start."""
        named = self._trained
        if self._make is not None:
            with _seeded(seed):
                named = dict(self._make().named_parameters())
        return {name: _as_numpy(named[name]) for name in self.parameters}

    def loss(self, params: Arrays, seed: np.ndarray) -> np.ndarray:
        """The training loss of a PyTorch module at these parameters."""
        import torch

        with torch.no_grad():
            return _number(self._training_loss(self._tensors(params), seed))

    def loss_and_gradient(
        self, params: Arrays, seed: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The training loss and its gradient, zero for what it does not depend on."""
        import torch

        tensors = {name: x.requires_grad_() for name, x in self._tensors(params).items()}
        with torch.enable_grad():
            value = self._training_loss(tensors, seed)
        grads = torch.autograd.grad(value, list(tensors.values()), allow_unused=True)
        return _number(value), {
            name: np.zeros(shape, dtype) if grad is None else _as_numpy(grad)
            for (name, (shape, dtype)), grad in zip(self.parameters.items(), grads, strict=True)
        }

    def validation_loss(self, params: Arrays) -> np.ndarray:
        """The mean over the validation data's examples."""
        return self._over_validation(params, lambda module, batch: self._loss(module, batch))

    def accuracy(self, params: Arrays) -> np.ndarray:
        """The share of the validation data's examples that are right."""
        measure = self._accuracy
        assert measure is not None
        return self._over_validation(params, lambda module, batch: measure(module, batch).float())

    def _tensors(self, params: Arrays) -> dict[str, "torch.Tensor"]:
        return {name: _as_tensor(params[name], like) for name, like in self._trained.items()}

    def _training_loss(
        self, params: Mapping[str, "torch.Tensor"], seed: np.ndarray
    ) -> "torch.Tensor":
        import torch

        with _seeded(seed) as generator:
            batch = self._draw(generator)
            # Copies: batch normalization writes into its buffers.
            buffers = {name: buffer.clone() for name, buffer in self._module.named_buffers()}
            whole = {f"module.{name}": tensor for name, tensor in {**params, **buffers}.items()}
            wrapped = _with_loss(self._module, self._loss)
            value = torch.func.functional_call(wrapped, whole, (batch,))
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            got = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            raise InvalidValueError(
                f"the loss gave {got}; it must give a scalar tensor, such as a mean over the batch."
            )
        return value.reshape(())

    def _over_validation(self, params: Arrays, measure: Callable[[Any, Any], Any]) -> np.ndarray:
        import torch

        module = copy.deepcopy(self._module)
        own = dict(module.named_parameters())
        total, count = 0.0, 0
        with torch.no_grad():
            for name, tensor in self._tensors(params).items():
                own[name].copy_(tensor)
            self._measure_statistics(module)
            module.eval()
            for batch in self._validation:
                examples = _num_examples(batch)
                total += examples * float(measure(module, batch).mean())
                count += examples
        if count == 0:
            raise InvalidValueError("the validation data hold no batch.")
        return np.asarray(total / count, np.float32)

    def _measure_statistics(self, module: "torch.nn.Module") -> None:
        """Running averages over training batches, for layers that keep some."""
        import torch

        layers = [x for x in module.modules() if getattr(x, "running_mean", None) is not None]
        for layer in layers:
            layer.reset_running_stats()  # type: ignore[operator]
            layer.momentum = None  # type: ignore[assignment]
        for index in range(_STATISTICS_BATCHES if layers else 0):
            with _seeded(np.asarray([1, index], np.uint32)) as generator, torch.no_grad():
                self._loss(module, self._draw(generator))


def _with_loss(module: "torch.nn.Module", loss: Callable[[Any, Any], Any]) -> "torch.nn.Module":
    """A module whose output is the loss: then its parameters can be exchanged for a call."""
    import torch

    class WithLoss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.module = module

        def forward(self, batch: Any) -> Any:
            return loss(self.module, batch)

    return WithLoss()


def _drawing(loader: Any) -> Callable[["torch.Generator"], Any]:
    """A function that draws a batch with a generator."""
    import torch

    if isinstance(loader, torch.utils.data.DataLoader):
        data, size = loader.dataset, loader.batch_size
        if isinstance(data, torch.utils.data.IterableDataset) or size is None:
            raise InvalidValueError(
                "the DataLoader's data come one after the other and cannot be drawn by index, so "
                "that two optimizers would not meet the same batches; give a function that draws "
                "a batch with the torch.Generator it is given, or a list of batches."
            )
        if len(data) == 0:  # type: ignore[arg-type]
            raise InvalidValueError("the DataLoader's data set is empty.")

        def draw(generator: "torch.Generator") -> Any:
            chosen = torch.randint(len(data), (size,), generator=generator)  # type: ignore[arg-type]
            return loader.collate_fn([data[index] for index in chosen.tolist()])

        return draw
    if isinstance(loader, Sequence) and len(loader) > 0:
        return lambda generator: loader[int(torch.randint(len(loader), (), generator=generator))]
    if callable(loader):
        return loader
    raise InvalidValueError(
        f"batches cannot be drawn from a {type(loader).__name__}; give a DataLoader, a list of "
        "batches, or a function that draws a batch with the torch.Generator it is given."
    )


@contextmanager
def _seeded(seed: np.ndarray) -> Iterator["torch.Generator"]:
    """PyTorch's own generator seeded, for the time being, and one for the data."""
    import torch

    number = int.from_bytes(np.asarray(seed, np.uint32).tobytes(), "little") % 2**63
    with torch.random.fork_rng():
        torch.manual_seed(number)
        yield torch.Generator().manual_seed(number)


def _num_examples(batch: Any) -> int:
    while not hasattr(batch, "shape"):
        batch = next(iter(batch.values() if isinstance(batch, Mapping) else batch))
    return int(batch.shape[0])


def _number(value: "torch.Tensor") -> np.ndarray:
    return np.asarray(float(value.detach()), np.float32)


def _as_numpy(tensor: "torch.Tensor") -> np.ndarray:
    """A copy, in a type that JAX has."""
    import torch

    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        # NumPy's own types lack it: the bits are handed over.
        return tensor.view(torch.int16).numpy().view(jnp.bfloat16).copy()
    return (
        tensor.to(torch.float32 if tensor.dtype == torch.float64 else tensor.dtype).numpy().copy()
    )


def _as_tensor(array: np.ndarray, like: "torch.Tensor") -> "torch.Tensor":
    import torch

    copied = np.array(array)
    if copied.dtype == jnp.bfloat16:
        tensor = torch.from_numpy(copied.view(np.int16)).view(torch.bfloat16)
    else:
        tensor = torch.from_numpy(copied)
    return tensor.to(like.device, like.dtype)
