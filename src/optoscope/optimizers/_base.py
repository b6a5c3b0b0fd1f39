"""The one contract: `init(params) -> state`, `update(grads, state, params) -> (updates, state)`."""

import abc
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import optax
from jaxtyping import Array, PyTree

from optoscope._core.errors import FileFormatError


@runtime_checkable
class Optimizer(Protocol):
    """Anything with Optax's two methods: an Optax transformation or one of this library's modules.

    Updates are *added* to the parameters.
    """

    @property
    def init(self) -> Any:
        """`init(params) -> state`."""
        ...

    @property
    def update(self) -> Any:
        """`update(grads, state, params=None, **extra) -> (updates, state)`."""
        ...


class OptimizerModule(eqx.Module):
    """An optimizer whose inexact array leaves are its (meta-)parameters.

    So a gradient, a perturbation or a `vmap` with respect to the module is one with respect to
    its hyper-parameters or its network weights, and changing them never recompiles.
    """

    @abc.abstractmethod
    def init(self, params: PyTree[Array]) -> PyTree[Array]:
        """The state before the first step."""

    @abc.abstractmethod
    def update(
        self,
        grads: PyTree[Array],
        state: PyTree[Array],
        params: PyTree[Array] | None = None,
        **extra,
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        """The updates to add to `params`, and the next state."""

    @property
    def registered_name(self) -> str:
        """The name under which `optimizers.get` makes this class."""
        raise FileFormatError(
            f"an optimizer of class {type(self).__name__} cannot be saved: it has no registered "
            "name. Save its parts."
        )

    def configuration(self) -> dict[str, Any]:
        """The keyword arguments that make an optimizer of this shape; JSON-serialisable."""
        return {}


def as_optax(optimizer: Optimizer) -> optax.GradientTransformationExtraArgs:
    """The optimizer as Optax's own NamedTuple, for code that insists on the type.

    Example:
        >>> from optoscope import optimizers
        >>> isinstance(as_optax(optimizers.adam(0.1)), optax.GradientTransformationExtraArgs)
        True
    """
    if isinstance(optimizer, optax.GradientTransformationExtraArgs):
        return optimizer
    if isinstance(optimizer, optax.GradientTransformation):
        return optax.with_extra_args_support(optimizer)
    return optax.GradientTransformationExtraArgs(optimizer.init, optimizer.update)


def cast_like(tree: PyTree[Array], reference: PyTree[Array]) -> PyTree[Array]:
    """Casts every leaf to the type of its counterpart: states keep their types over steps."""
    return jax.tree.map(lambda leaf, other: leaf.astype(other.dtype), tree, reference)


def named_leaves(optimizer: PyTree) -> Iterator[tuple[str, Array]]:
    """The array leaves with their paths ("layers[0].weights"), in the order of flattening."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(optimizer):
        yield jax.tree_util.keystr(path).lstrip("."), leaf
