"""What tells optimizers and tasks of one name apart: digests of their arrays and of what they do.

They are the same in every process of one machine; with another version of JAX, or another number
of devices, they may be others.
"""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from optoscope._core.keys import is_key, new_key
from optoscope.optimizers import Optimizer, as_optax
from optoscope.optimizers._base import OptimizerModule, extra_arguments, named_leaves
from optoscope.tasks import REGISTRY, Task, TaskDistribution, as_distribution
from optoscope.tasks._contract import metadata_of
from optoscope.training._step import initial_model_state

# Of functions that a program only names, such as the rule of a derivative or what runs on the host.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_PLAIN = (str, bytes, int, float, complex, type(None))


def optimizer_identity(optimizer: Optimizer) -> dict[str, Any]:
    """What tells an optimizer from others: its class, configuration and a digest of its weights.

    Where it holds functions, as Optax's own transformations do, or is of a person's own class, a
    digest of what its update computes is added.
    """
    arrays = [(name, leaf) for name, leaf in named_leaves(optimizer) if not callable(leaf)]
    found: dict[str, Any] = {"class": type(optimizer).__qualname__, "weights": digest(arrays)}
    if isinstance(optimizer, OptimizerModule):
        found["configuration"] = optimizer.configuration()
    if not _is_known(optimizer):
        found["computes"] = computed(lambda: _first_update(optimizer))
    return found


def maker_identity(create: Callable[..., Optimizer], **arguments: float) -> str:
    """A digest of what the optimizer computes that `create` makes, for any hyper-parameters."""
    return computed(
        lambda given: _first_update(create(**given)),
        {name: jnp.asarray(value, jnp.float32) for name, value in arguments.items()},
    )


def task_identity(task: Task | TaskDistribution) -> list[Any]:
    """What tells a task from others beside its metadata: nothing for those of the registry.

    Of all others it is a digest of their arrays and of what start, batch, loss, gradient and
    validation compute. What runs outside JAX (a model of PyTorch) is told by its first loss.
    """
    return [] if _is_registered(task) else [array_digest(task), computed(_first_step, task)]


def array_digest(task: Task | TaskDistribution) -> str:
    """A digest of a task's arrays: its data, if it has any."""
    return digest(named_leaves(eqx.filter(task, eqx.is_array)))


def digest(arrays: Iterable[tuple[str, Any]]) -> str:
    """A digest of named arrays: names, types, shapes and numbers."""
    found = hashlib.sha256()
    for name, leaf in arrays:
        array = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def computed(function: Callable[..., Any], *arguments: PyTree) -> str:
    """A digest of the program of a function, with the arrays that it has taken from outside."""
    program, *_ = eqx.filter_make_jaxpr(function)(*arguments)
    text = _ADDRESS.sub("", str(program))
    if "callback" in text:
        values = jax.tree.leaves(eqx.filter_jit(function)(*arguments))
        text += " ".join(f"{np.mean(np.abs(np.asarray(value))):.5g}" for value in values)
    constants = [(str(place), one) for place, one in enumerate(_constants(program))]
    return digest([("program", np.frombuffer(text.encode(), np.uint8)), *constants])


def _constants(program: Any) -> Iterator[Any]:
    """The arrays of a program and of those within it, which its text does not show."""
    yield from getattr(program, "consts", ())
    for equation in program.eqns:
        yield from (one.val for one in equation.invars if np.ndim(getattr(one, "val", 0)))
        for one in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program):
            if _is_program(one):
                yield from _constants(one)


def _is_program(one: Any) -> bool:
    return hasattr(one, "eqns")


def _first_update(optimizer: Optimizer) -> PyTree[Array]:
    """The first update and state on a small tree."""
    params = {"matrix": jnp.ones((4, 3)), "vector": jnp.ones(3)}

    def loss(params: PyTree[Array]) -> Float[Array, ""]:
        return sum((jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)), jnp.zeros(()))

    transformation = as_optax(optimizer)
    value, grads = jax.value_and_grad(loss)(params)
    extra = extra_arguments(value, grads, loss)
    return transformation.update(grads, transformation.init(params), params, **extra)


def _first_step(task: Task | TaskDistribution) -> PyTree[Array]:
    """All that a run gets from its task: start, batch, loss, gradient and validation."""
    key: PRNGKeyArray = new_key(0)
    one = as_distribution(task).sample(key)
    params, state = one.init(key), initial_model_state(one, key)
    batch = one.sample_batch(key)
    loss, gradient = jax.value_and_grad(one.loss)(params, batch)
    validation = one.validate(params, state) if hasattr(one, "validate") else {}
    return params, state, loss, gradient, validation


def _is_registered(task: Task | TaskDistribution) -> bool:
    return str(metadata_of(task).get("name")) in REGISTRY and _is_known(task)


def _is_known(part: Any) -> bool:
    """Whether a part and all within it are of this library and no functions.

    Then class, configuration and arrays say all that it computes.
    """
    if isinstance(part, (*_PLAIN, np.ndarray, jax.Array)):
        return True
    if isinstance(part, Mapping):
        return all(map(_is_known, part.values()))
    if isinstance(part, list | tuple):
        return all(map(_is_known, part))
    if not dataclasses.is_dataclass(part) or type(part).__module__.split(".")[0] != "optoscope":
        return False
    return all(_is_known(getattr(part, one.name)) for one in dataclasses.fields(part))
