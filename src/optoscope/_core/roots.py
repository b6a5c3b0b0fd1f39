"""Square roots whose derivatives are finite at zero, also inside functions of others."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Literal
from jaxtyping import Array, Float, PyTree

_PLAIN: ContextVar[bool] = ContextVar("plain roots", default=False)


@contextlib.contextmanager
def plain_roots() -> Iterator[None]:
    """While it is entered, roots have their own derivative, which is infinite at zero.

    For those who ask what the derivative is, instead of how to go on without one.
    """
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def safe_root(square: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """√x, with the derivative 0 at x = 0, where the root has none.

    What is under a root here is a square, or a sum or a running mean of squares: it is zero where
    all of them are, and there its own derivative is zero. The chain rule multiplies the two, and
    infinity times zero is not a number. So it has to be this root wherever something in this
    library can be differentiated.

    Example:
        >>> float(safe_root(jnp.asarray(9.0))), float(jax.grad(safe_root)(jnp.zeros(())))
        (3.0, 0.0)
    """
    return jnp.sqrt(square) if _PLAIN.get() else _safe_root(square)


@jax.custom_jvp
def _safe_root(square: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return jnp.sqrt(square)


@_safe_root.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    (square,), (slope,) = primals, tangents
    zero = square == 0
    # The inner `where` keeps a second derivative finite, too.
    return _safe_root(square), jnp.where(
        zero, 0, 0.5 / _safe_root(jnp.where(zero, 1, square))
    ) * slope


def with_safe_roots(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """The function with every square root in it made a `safe_root`; its values are the same.

    For Optax's transformations, which have plain roots of second moments and norms. A call on
    concrete arrays is the function itself: there is nothing to differentiate in it.

    Args:
        function: of pytrees of arrays, to pytrees of arrays.

    Example:
        >>> halved = with_safe_roots(lambda x: jnp.linalg.norm(x) / 2)
        >>> float(halved(jnp.array([3.0, 4.0]))), jax.grad(halved)(jnp.zeros(2)).tolist()
        (2.5, [0.0, 0.0])
    """

    @functools.wraps(function)
    def safe(*args: Any) -> Any:
        # While another program is traced, its new arrays are tracers too.
        leaves = [*jax.tree.leaves(args), jnp.zeros(())]
        if _PLAIN.get() or not any(isinstance(leaf, Tracer) for leaf in leaves):
            return function(*args)
        jaxpr, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
        if not _has_roots(jaxpr):
            return function(*args)
        return jax.tree.unflatten(
            jax.tree.structure(shapes), _evaluated(jaxpr, jax.tree.leaves(args))
        )

    return safe


def _has_roots(part: Any) -> bool:
    """Whether a traced function, or what stands among an equation's parameters, takes roots."""
    if isinstance(part, ClosedJaxpr):
        return any(
            equation.primitive.name == "sqrt" or _has_roots(tuple(equation.params.values()))
            for equation in part.jaxpr.eqns
        )
    return isinstance(part, tuple) and any(map(_has_roots, part))


def _evaluated(closed: ClosedJaxpr, arguments: Sequence[Any]) -> list[Any]:
    """Evaluates the equations of a traced function one by one, with safe roots."""
    values: dict[Any, Any] = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    values |= zip(closed.jaxpr.invars, arguments, strict=True)

    def value(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else values[variable]

    for equation in closed.jaxpr.eqns:
        given = [value(variable) for variable in equation.invars]
        name, parameters = equation.primitive.name, equation.params
        if name == "sqrt":
            results = [safe_root(*given)]
        elif name in ("jit", "pjit"):
            results = _evaluated(parameters["jaxpr"], given)
        else:
            # Loops and branches; what has derivatives of its own keeps them.
            if not name.startswith("custom_"):
                parameters = {key: _safe_parameter(entry) for key, entry in parameters.items()}
            bound = equation.primitive.get_bind_params(parameters)
            # Before JAX 0.10 functions among the parameters came apart from them.
            functions, parameters = bound if isinstance(bound, tuple) else ((), bound)
            results = equation.primitive.bind(*functions, *given, **parameters)
            results = results if equation.primitive.multiple_results else [results]
        values |= zip(equation.outvars, results, strict=True)
    return [value(variable) for variable in closed.jaxpr.outvars]


def _safe_parameter(entry: Any) -> Any:
    if type(entry) is tuple:  # branches; a named tuple is something else, as a kind of key is
        return tuple(map(_safe_parameter, entry))
    if not isinstance(entry, ClosedJaxpr):
        return entry
    like = [
        jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)
        for aval in entry.in_avals
    ]
    return jax.make_jaxpr(lambda *arguments: _evaluated(entry, arguments))(*like)
