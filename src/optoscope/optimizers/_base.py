"""The one contract: `init(params) -> state`, `update(grads, state, params) -> (updates, state)`."""

import abc
import inspect
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from optoscope._core.errors import FileFormatError, InvalidValueError
from optoscope._core.keys import is_key


@runtime_checkable
class Optimizer(Protocol):
    """Anything with Optax's two methods: an Optax transformation or one of this library's modules.

    Updates are *added* to the parameters.
    """

    @property
    def init(self) -> Any:
        """A function from parameters to the initial state: `init(params) -> state`."""
        ...

    @property
    def update(self) -> Any:
        """`update(grads, state, params=None, **extra) -> (updates, state)`."""
        ...


class BoundMethod:
    """`init` or `update` of one optimizer, as `jax.jit`, Optax and Flax want functions to be.

    It is hashed by the identity of its optimizer. Equinox's own bound methods are hashed by their
    arrays, which fails, and are pytrees of arrays, which Flax refuses among static attributes.
    """

    def __init__(self, function: Callable[..., Any], optimizer: "OptimizerModule") -> None:
        """Binds a function of the class to an optimizer."""
        self.__func__ = function
        self.__self__ = optimizer
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The method's result."""
        return self.__func__(self.__self__, *args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        """The method's, for `donate_argnames` and the like."""
        return inspect.signature(types.MethodType(self.__func__, self.__self__))

    def __hash__(self) -> int:
        """Of the function and the identity of the optimizer."""
        return hash((self.__func__, id(self.__self__)))

    def __eq__(self, other: object) -> bool:
        """Whether it is the same method of the same object."""
        return (
            isinstance(other, BoundMethod)
            and self.__func__ is other.__func__
            and self.__self__ is other.__self__
        )

    def __repr__(self) -> str:
        return f"<{type(self.__self__).__name__}.{self.__name__}>"


class OptimizerModule(eqx.Module):
    """An optimizer whose inexact array leaves are its (meta-)parameters.

    So a gradient, a perturbation or a `vmap` with respect to the module is one with respect to
    its hyper-parameters or its network weights, and changing them never recompiles where the
    module is an argument of the compiled function, as in this library's own programs. Its methods
    can be compiled as they are, `jax.jit(optimizer.update)`; then its arrays are constants of the
    program.

    An optimizer is hashed by its identity and equals itself alone, like a function.
    """

    # Where every coordinate goes by itself and the packed state is that of one vector: the axis of
    # the state's arrays that goes over the coordinates, so that devices can share them.
    coordinate_axis: ClassVar[int | None] = None

    def __check_init__(self) -> None:
        # Flax refuses arrays in an attribute that it takes for static, which `tx` is, unless the
        # type is known to it. Nothing is imported: what does not use Flax has not loaded it.
        flax_nnx = sys.modules.get("flax.nnx")
        if flax_nnx is not None:
            flax_nnx.register_data_type(type(self))

    def __hash__(self) -> int:
        return object.__hash__(self)

    def __eq__(self, other: object, /) -> bool:
        return self is other

    if not TYPE_CHECKING:

        def __getattribute__(self, name: str, /) -> Any:
            found = super().__getattribute__(name)
            if name in ("init", "update") and hasattr(found, "__func__"):
                return BoundMethod(found.__func__, self)
            return found

    @abc.abstractmethod
    def init(self, params: PyTree[ArrayLike]) -> PyTree[Array]:
        """The state before the first step."""

    def init_packed(self, params: PyTree[ArrayLike]) -> PyTree[Array]:
        """The state for parameters that lie whole on one device, arranged for speed.

        It is what this library's own loops start from: small tensors go through a learned
        optimizer side by side. `update` goes on with either arrangement. In a loop of your own
        use it where no parameter is split over devices; for one large tensor there is no
        difference.
        """
        return self.init(params)

    @abc.abstractmethod
    def update(
        self,
        grads: PyTree[ArrayLike],
        state: PyTree[Array],
        params: PyTree | None = None,
        **extra,
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        """The updates to add to `params`, and the next state.

        `params` is the tree that the gradients were taken of, an Equinox module as it is. Where a
        gradient is None there is no update.
        """

    @property
    def registered_name(self) -> str:
        """The name under which `optimizers.get` makes this class."""
        raise FileFormatError(
            f"an optimizer of class {type(self).__name__} cannot be saved: it has no registered "
            "name. Save its parts."
        )

    def configuration(self) -> dict[str, Any]:
        """The keyword arguments that make an optimizer of this shape; JSON-serializable."""
        return {}


class Packed(NamedTuple):
    """A state that `init_packed` made, in an arrangement of the optimizer's own."""

    state: PyTree[Array]


def packed_state(optimizer: Optimizer, params: PyTree[ArrayLike]) -> PyTree[Array]:
    """The state before the first step of a loop whose parameters lie whole on one device."""
    if isinstance(optimizer, OptimizerModule):
        return optimizer.init_packed(params)
    return optimizer.init(params)


def as_optax(optimizer: Optimizer) -> optax.GradientTransformationExtraArgs:
    """The optimizer as Optax's own NamedTuple, for code that insists on the type.

    Like those of Optax, it is a pair of functions that holds no arrays of its own for a
    transformation to see; to meta-train or perturb an optimizer, hand over the module itself.

    Example:
        >>> from optoscope import optimizers
        >>> isinstance(as_optax(optimizers.adam(0.1)), optax.GradientTransformationExtraArgs)
        True
    """
    if isinstance(optimizer, optax.GradientTransformationExtraArgs):
        return optimizer
    if isinstance(optimizer, optax.GradientTransformation):
        return optax.with_extra_args_support(optimizer)
    return optax.GradientTransformationExtraArgs(optimizer.init, _tolerant(optimizer.update))


def _tolerant(update: Callable[..., Any]) -> Callable[..., Any]:
    """An update that is given any extra arguments, and hands on those that `update` takes."""
    try:
        parameters = inspect.signature(update).parameters.values()
    except (TypeError, ValueError):  # nothing is known of it
        return update
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return update
    taken = {parameter.name for parameter in parameters}

    def tolerant(grads: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        known = {name: value for name, value in extra.items() if name in taken}
        return update(grads, state, params, **known)

    return tolerant


def extra_arguments(
    value: Float[Array, ""],
    grad: PyTree[Array],
    value_fn: Callable[[PyTree[Array]], Float[Array, ""]],
) -> dict[str, Any]:
    """The arguments that `update` is given at every step beside gradient, state and parameters.

    Those are Optax's names: `value` (Polyak's step size, MoMo, reduction on a plateau), `grad`
    and `value_fn` (line searches, L-BFGS), and `obj_fn`, which is what Sophia's estimator of the
    curvature calls the same function. What an optimizer does not use costs nothing: XLA removes
    it from the compiled program.

    Args:
        value: the loss at the parameters, on this step's batch.
        grad: its gradient.
        value_fn: the loss on this step's batch, as a function of the parameters.
    """

    def accepting(params: PyTree[Array], obj_fn: Any = None) -> Float[Array, ""]:
        # Line searches hand on to it what they do not know themselves.
        del obj_fn
        return value_fn(params)

    return {"value": value, "grad": grad, "value_fn": accepting, "obj_fn": value_fn}


def evaluation_params(
    optimizer: Optimizer, state: PyTree[Array], params: PyTree[Array]
) -> PyTree[Array]:
    """The parameters to evaluate, for an optimizer that takes its gradients elsewhere.

    Optax's schedule-free optimizers step at one point and are evaluated at another, the running
    mean of their iterates. An optimizer of your own says where by a method
    `evaluation_params(state, params)`. For every other optimizer it is `params` itself, the same
    object.

    Args:
        optimizer: the optimizer.
        state: its state.
        params: the parameters that its next step starts from.

    Example:
        >>> import jax.numpy as jnp
        >>> averaging = optax.contrib.schedule_free_sgd(0.1, b1=0.5)
        >>> params = jnp.asarray(1.0)
        >>> state = averaging.init(params)._replace(z=jnp.asarray(0.5))
        >>> float(evaluation_params(averaging, state, params))
        1.5
    """
    own = getattr(optimizer, "evaluation_params", None)
    if own is not None:
        return own(state, params)

    def averages(part: Any) -> bool:
        return isinstance(part, optax.contrib.ScheduleFreeState)

    found = [part for part in jax.tree.leaves(state, is_leaf=averages) if averages(part)]
    if len(found) != 1:
        return params
    return optax.contrib.schedule_free_eval_params(found[0], params)


def as_arrays(tree: PyTree[ArrayLike]) -> PyTree[Array]:
    """The tree with arrays of JAX for those of NumPy, which may be written to, and for numbers."""
    return jax.tree.map(lambda leaf: leaf if isinstance(leaf, Array) else jnp.array(leaf), tree)


def params_of(grads: PyTree[ArrayLike], params: PyTree | None) -> PyTree[Array] | None:
    """The parameters of the gradients that are there, as a tree like the gradients.

    Where a gradient is None, `params` may have anything: a parameter that is not trained, or what
    an Equinox module holds beside arrays.

    Raises:
        InvalidValueError: the two are not one tree.

    Example:
        >>> params_of({"frozen": None, "trained": 0.5}, {"frozen": [1.0, 2.0], "trained": 3.0})
        {'frozen': None, 'trained': Array(3., dtype=float32, weak_type=True)}
    """
    if params is None:
        return None
    try:
        found = jax.tree.map(
            lambda grad, param: None if grad is None else param,
            grads,
            params,
            is_leaf=lambda leaf: leaf is None,
        )
    except ValueError:
        found = None
    structure = jax.tree.structure(grads)
    if jax.tree.structure(found) != structure:
        both = (textwrap.shorten(str(one), 300) for one in (structure, jax.tree.structure(params)))
        raise InvalidValueError(
            f"the gradients and the parameters are not one tree, but {' and '.join(both)}; write "
            "update(grads, state, params), with params the tree that the gradients were taken of."
        )
    return as_arrays(found)


def cast_like(tree: PyTree[Array], reference: PyTree[Array]) -> PyTree[Array]:
    """Casts every leaf to the type of its counterpart: states keep their types over steps."""

    def cast(leaf: Array, other: Array) -> Array:
        return leaf if is_key(other) else leaf.astype(other.dtype)

    return jax.tree.map(cast, tree, reference)


def without_aliases(state: PyTree[Array], *others: PyTree[Any]) -> PyTree[Array]:
    """The state with a copy of each array that it holds twice or shares with `others`.

    A buffer that is donated must be donated once, and must not be the parameters' own.
    """
    seen = {id(leaf) for leaf in jax.tree.leaves(others)}

    def own(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array):
            return leaf
        if id(leaf) in seen:
            return jnp.array(leaf, copy=True)
        seen.add(id(leaf))
        return leaf

    return jax.tree.map(own, state)


def named_leaves(optimizer: PyTree) -> Iterator[tuple[str, Array]]:
    """The array leaves with their paths ("layers[0].weights"), in the order of flattening."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(optimizer):
        yield jax.tree_util.keystr(path).lstrip("."), leaf
