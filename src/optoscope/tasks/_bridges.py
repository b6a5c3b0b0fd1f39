"""Models of Flax, Equinox and Haiku as tasks: the loss is written as one would for the model alone.

None of these libraries is imported before a model of theirs is here.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from optoscope._core.errors import InvalidValueError
from optoscope._core.keys import new_key
from optoscope.tasks._functions import FunctionTask, from_functions
from optoscope.tasks._streams import Stream

Function = Callable[..., Any]


class Bridge(NamedTuple):
    """How a library's models begin, and how one is used with given parameters.

    Args:
        init: from a key and a function that calls the loss with a model, to (params, state).
        bind: from (params, state, key, whether it is being trained) to a model, and a function
            that gives the state after the model was used.
    """

    init: Callable[[PRNGKeyArray, Callable[[Any], Any]], tuple[PyTree[Array], PyTree[Array]]]
    bind: Callable[..., tuple[Any, Callable[[], PyTree[Array]]]]


def from_flax(module: Any, loss: Function, batches: Any, **options: Any) -> FunctionTask:
    """A task from a model of Flax's linen: a module with `init` and `apply`.

    Parameters are its collection "params"; all others, such as batch statistics, are model state,
    which no optimizer touches. Random numbers for dropout are new ones every step.

    Args:
        module: the module.
        loss: `loss(model, batch) -> scalar`, in which `model(…)` is called as the module would be,
            with `train=True` or what the module takes.
        batches: see `from_functions`.
        **options: `validation`, `batch_size` and `name` as in `from_functions`; and `metrics`,
            functions of (model, batch). Give one called "loss" where the model is called in
            another way when it is not trained (`train=False`).

    Raises:
        InvalidValueError: it is no such module; models of nnx have `from_nnx`.
    """
    _check_methods(module, ("init_with_output", "apply"), "from_flax", "a module of flax.linen")

    def init(key: PRNGKeyArray, use: Callable[[Any], Any]) -> tuple[Any, Any]:
        made: dict[str, Any] = {}

        def model(*args: Any, **kwargs: Any) -> Any:
            rngs = {"params": key, "dropout": jax.random.fold_in(key, 1)}
            if made:
                return module.apply(made, *args, rngs=rngs, mutable=True, **kwargs)[0]
            output, variables = module.init_with_output(rngs, *args, **kwargs)
            made.update(variables)
            return output

        use(model)
        _check_used(made, "from_flax")
        params = made.pop("params", {})
        return params, made

    def bind(params: Any, state: Any, key: PRNGKeyArray, training: bool) -> tuple[Any, Any]:
        del training  # the loss says it in its call
        after, calls = dict(state), [0]

        def model(*args: Any, **kwargs: Any) -> Any:
            calls[0] += 1
            rngs = {"dropout": jax.random.fold_in(key, calls[0])}
            variables = {"params": params, **after}
            output, changed = module.apply(
                variables, *args, rngs=rngs, mutable=list(state), **kwargs
            )
            after.update({name: changed[name] for name in after if name in changed})
            return output

        return model, lambda: after

    return _task(Bridge(init, bind), loss, batches, **options)


def from_haiku(transformed: Any, loss: Function, batches: Any, **options: Any) -> FunctionTask:
    """A task from a pair `init` and `apply`, as Haiku's `transform` and many others give it.

    `init(key, …)` gives the parameters and `apply(params, key, …)` the output; or, as of
    `transform_with_state`, `init` gives (params, state) and `apply(params, state, key, …)` gives
    (output, state).

    Args:
        transformed: an object with both.
        loss: `loss(model, batch) -> scalar`, in which `model(…)` is called with what stands for
            the dots above.
        batches: see `from_functions`.
        **options: see `from_flax`.

    Raises:
        InvalidValueError: it lacks one of them.
    """
    _check_methods(transformed, ("init", "apply"), "from_haiku", "a pair of init and apply")
    stateful: list[bool] = []

    def init(key: PRNGKeyArray, use: Callable[[Any], Any]) -> tuple[Any, Any]:
        made: dict[str, Any] = {}

        def model(*args: Any, **kwargs: Any) -> Any:
            if not made:
                found = transformed.init(key, *args, **kwargs)
                stateful[:] = [isinstance(found, tuple) and len(found) == 2]
                made["params"], made["state"] = found if stateful[0] else (found, ())
            output, _ = called(made["params"], made["state"], key, args, kwargs)
            return output

        use(model)
        _check_used(made, "from_haiku")
        return made["params"], made["state"]

    def called(params: Any, state: Any, key: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        if stateful[0]:
            return transformed.apply(params, state, key, *args, **kwargs)
        return transformed.apply(params, key, *args, **kwargs), state

    def bind(params: Any, state: Any, key: PRNGKeyArray, training: bool) -> tuple[Any, Any]:
        del training  # the loss says it in its call
        after, calls = [state], [0]

        def model(*args: Any, **kwargs: Any) -> Any:
            calls[0] += 1
            own = jax.random.fold_in(key, calls[0])
            output, after[0] = called(params, after[0], own, args, kwargs)
            return output

        return model, lambda: after[0]

    return _task(Bridge(init, bind), loss, batches, **options)


def from_nnx(make: Function, loss: Function, batches: Any, **options: Any) -> FunctionTask:
    """A task from a model of Flax's nnx.

    Parameters are its `nnx.Param` variables; batch statistics, the counters of random numbers and
    all other variables are model state, which no optimizer touches. For the metrics the model is
    in its mode for evaluation (`model.eval()`).

    Args:
        make: `make(key) -> nnx.Module`, such as `lambda key: Model(rngs=nnx.Rngs(key))`.
        loss: `loss(model, batch) -> scalar`.
        batches: see `from_functions`.
        **options: see `from_flax`.
    """
    from flax import nnx

    graph, _, _ = nnx.split(make(new_key(0)), nnx.Param, ...)

    def init(key: PRNGKeyArray, use: Callable[[Any], Any]) -> tuple[Any, Any]:
        del use
        _, params, state = nnx.split(make(key), nnx.Param, ...)
        return params, state

    def bind(params: Any, state: Any, key: PRNGKeyArray, training: bool) -> tuple[Any, Any]:
        del key  # the model has random numbers of its own, in its state
        # Copied, since a model's variables are changed in place.
        model: Any = nnx.merge(graph, params, state, copy=True)
        model.train() if training else model.eval()
        return model, lambda: nnx.split(model, nnx.Param, ...)[2]

    return _task(Bridge(init, bind), loss, batches, **options)


def from_equinox(make: Function, loss: Function, batches: Any, **options: Any) -> FunctionTask:
    """A task from a model of Equinox.

    Parameters are its inexact arrays. For the metrics the model is in its mode for inference
    (`eqx.nn.inference_mode`).

    Args:
        make: `make(key) -> model`, or `make(key) -> (model, state)` as `eqx.nn.make_with_state`
            gives it.
        loss: `loss(model, batch) -> scalar`, or `loss(model, state, batch) -> (scalar, state)` for
            a model with a state; where it has an argument `key` it is given one for dropout.
        batches: see `from_functions`.
        **options: see `from_flax`; metrics are functions of (model, batch), or of
            (model, state, batch).
    """
    made = make(new_key(0))
    stateful = isinstance(made, tuple)
    _, static = eqx.partition(made[0] if stateful else made, eqx.is_inexact_array)
    if any(map(eqx.is_array, jax.tree.leaves(static))):
        raise InvalidValueError(
            "the model holds arrays that are not floating-point numbers, which can be neither "
            "trained nor shared by all runs; keep them in its state (eqx.nn.State), or as NumPy "
            "arrays in a static field."
        )
    takes_key = "key" in inspect.signature(loss).parameters

    def init(key: PRNGKeyArray) -> Any:
        model, state = made_of(key)
        params, _ = eqx.partition(model, eqx.is_inexact_array)
        return params, state

    def made_of(key: PRNGKeyArray) -> tuple[Any, Any]:
        return make(key) if stateful else (make(key), ())

    def call(params: Any, state: Any, batch: Any, key: PRNGKeyArray) -> tuple[Array, Any]:
        model, extra = eqx.combine(params, static), {"key": key} if takes_key else {}
        if stateful:
            return loss(model, state, batch, **extra)
        return loss(model, batch, **extra), state

    def measured(metric: Function) -> Function:
        def measure(params: Any, state: Any, batch: Any) -> Array:
            model = eqx.nn.inference_mode(eqx.combine(params, static))
            return metric(model, state, batch) if stateful else metric(model, batch)

        return measure

    def validation_loss(model: Any, *rest: Any) -> Array:
        extra = {"key": new_key(0)} if takes_key else {}
        found = loss(model, *rest, **extra)
        return found[0] if stateful else found

    metrics = {"loss": validation_loss, **(options.pop("metrics", None) or {})}
    return from_functions(
        init,
        call,
        batches,
        has_state=True,
        metrics={name: measured(metric) for name, metric in metrics.items()},
        **options,
    )


def _task(
    bridge: Bridge,
    loss: Function,
    batches: Any,
    *,
    metrics: Mapping[str, Function] | None = None,
    batch_size: int | None = None,
    **options: Any,
) -> FunctionTask:
    """The task whose loss is that of the bridge's model."""
    # Read once: a stream of the host is the same for both.
    of_data = from_functions(lambda key: key, lambda p, b: p, batches, batch_size=batch_size)
    data: Any = of_data.stream if isinstance(of_data.stream, Stream) else batches
    example = jax.eval_shape(of_data.sample_batch, new_key(0))

    def init(key: PRNGKeyArray) -> tuple[PyTree[Array], PyTree[Array]]:
        batch = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), example)
        return bridge.init(key, lambda model: loss(model, batch))

    def call(params: Any, state: Any, batch: Any, key: PRNGKeyArray) -> tuple[Array, Any]:
        model, after = bridge.bind(params, state, key, True)
        value = loss(model, batch)
        return value, after()

    def measured(metric: Function) -> Function:
        def measure(params: Any, state: Any, batch: Any) -> Array:
            return metric(bridge.bind(params, state, new_key(0), False)[0], batch)

        return measure

    found = {"loss": loss, **(metrics or {})}
    # Once, so that the bridge has seen how the model is called.
    jax.eval_shape(init, new_key(0))
    return from_functions(
        init,
        call,
        data,
        has_state=True,
        batch_size=batch_size,
        metrics={name: measured(metric) for name, metric in found.items()},
        **options,
    )


def _check_methods(model: Any, names: tuple[str, ...], bridge: str, wanted: str) -> None:
    lacking = [name for name in names if not callable(getattr(model, name, None))]
    if lacking or isinstance(model, type):
        hint = (
            "Models of flax.nnx have tasks.from_nnx(make, …), those of Equinox "
            "tasks.from_equinox(make, …), and all others tasks.from_functions."
        )
        what = "a class" if isinstance(model, type) else f"a {type(model).__name__}"
        raise InvalidValueError(f"tasks.{bridge} takes {wanted}; this is {what}. {hint}")


def _check_used(made: Mapping[str, Any], bridge: str) -> None:
    if not made:
        raise InvalidValueError(
            f"the loss given to tasks.{bridge} never calls the model; write "
            "`loss(model, batch)` with a call `model(…)` in it."
        )
