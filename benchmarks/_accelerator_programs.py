"""Whether programs for an accelerator are free of what was written for a CPU."""

import functools
import math
import re
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _accelerator_checks import Check, Devices, Measured, on, relative_difference, replaced
from _accelerator_equality import ESTIMATORS
from _accelerator_problems import every_rank, on_default_device, optimizer_on_host

from optoscope import optimizers
from optoscope._core.programs import Program, compiler_options
from optoscope.optimizers import _inputs, as_optax
from optoscope.optimizers._base import extra_arguments
from optoscope.optimizers._sums_of_squares import as_array

# Libraries that only a CPU's programs call.
_CPU_CALL = re.compile(r"cpu|lapack|^blas_|onednn|eigen", re.IGNORECASE)
# Two tensors that fill loops of their own, one of sizes that nothing divides, and small ones that
# share a loop.
_SHAPES = ((200, 150), (131, 127), (9, 7), (2, 3, 4), (9,), ())
# Sums of up to 30,000 float32 numbers in another order, and what the network makes of them.
PLAIN_TOLERANCE = 1e-4


def lowering_platform(device: Any) -> str:
    """The platform that programs for the device are written for; for a CPU, what a GPU would get.

    JAX writes programs for platforms that are not there, so this much is checked everywhere.
    """
    if device.platform == "cpu":
        return "cuda"
    if device.platform != "gpu":
        return device.platform
    return "rocm" if "rocm" in device.client.platform_version.lower() else "cuda"


def called_libraries(text: str) -> set[str]:
    """The names of the custom calls in a program as JAX hands it to XLA."""
    return set(re.findall(r"custom_call @([\w.$]+)", text))


def _half_squares(params: Any) -> jax.Array:
    """A loss whose gradient is the parameters."""
    return sum((jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)), jnp.zeros(())) / 2


def _update(device: Any, name: str, params: Any = None) -> tuple[Any, tuple]:
    """One optimizer's update as a function of arrays, and arrays for it."""
    with on(device):
        params = on_default_device(every_rank().start if params is None else params)
        arrays, rest = eqx.partition(on_default_device(optimizer_on_host(name)), eqx.is_array)
        state = eqx.combine(arrays, rest).init(params)

    def update(arrays: Any, state: Any, params: Any) -> Any:
        loss, grads = jax.value_and_grad(_half_squares)(params)
        extra = extra_arguments(loss, grads, _half_squares)
        return as_optax(eqx.combine(arrays, rest)).update(grads, state, params, **extra)

    return update, (arrays, state, params)


def _estimate(device: Any) -> tuple[Any, tuple]:
    with on(device):
        estimator, optimizer = ESTIMATORS["PES"]()
        arrays, rest = eqx.partition((estimator, on_default_device(optimizer)), eqx.is_array)

    def estimate(arrays: Any, key: Any) -> Any:
        estimator, optimizer = eqx.combine(arrays, rest)
        result, _ = estimator.estimate(optimizer, estimator.init(optimizer, key), key)
        return eqx.filter(result, eqx.is_array)

    return estimate, (arrays, jax.random.key(0))


def _lowered_text(function: Any, arguments: tuple, platform: str) -> str:
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()


def foreign_calls(device: Any) -> Measured:
    """How many CPU libraries are called by every optimizer's update and by PES."""
    platform = lowering_platform(device)
    programs = [_update(device, name) for name in optimizers.names()] + [_estimate(device)]
    found = set().union(
        *(called_libraries(_lowered_text(*program, platform)) for program in programs)
    )
    foreign = {name for name in found if _CPU_CALL.search(name)}
    return Measured(len(foreign), f"for {platform}: {', '.join(sorted(foreign)) or 'none'}")


def folded_reductions(device: Any) -> int:
    """How many reductions of several operands STAR's update has there: one a hand-made loop.

    They suit a CPU. Where this is zero, the plain sums are taken.
    """
    params = [np.zeros(shape, np.float32) for shape in _SHAPES]
    text = _lowered_text(*_update(device, "star", params), lowering_platform(device))
    return len(re.findall(r"stablehlo\.reduce\([^)]*\), \(", text))


def left_constraints(device: Any) -> Measured:
    """How many layout constraints the compiler left in STAR's program: none can be run."""
    function, arguments = _update(device, "star")
    with on(device):
        text = jax.jit(function).lower(*arguments).compile().as_text() or ""
    return Measured(text.count("LayoutConstraint"))


def options_check(device: Any) -> Measured:
    """How many of the CPU's compiler options are handed to another compiler."""
    options = compiler_options()
    foreign = options if device.platform != "cpu" and jax.default_backend() != "cpu" else {}
    return Measured(len(foreign), f"in force: {', '.join(options) or 'none'}")


def plain_sums_of_squares(
    loops: Any, alone: Sequence[Any] = (), *, whole: bool = True
) -> jax.Array:
    """What `sums_of_squares` computes, as one writes it first, wherever the tensors lie."""
    del whole
    products = [
        math.prod(map(as_array, factors), start=as_array(tensor))
        for groups in loops
        for tensor, several in groups
        for factors in several
    ]
    return jnp.stack([jnp.sum(product**2) for product in (*products, *alone)])


def _star(device: Any, shapes: Sequence[tuple[int, ...]], slopes: bool) -> Any:
    """STAR's update of tensors of such shapes, or its derivative by all meta-parameters."""
    draw = np.random.default_rng(2)
    # NumPy's scalars are no arrays.
    params, grads, weights = (
        [np.asarray(draw.normal(size=shape), np.float32) for shape in shapes] for _ in range(3)
    )

    def updates(optimizer: Any, params: Any, grads: Any) -> Any:
        return optimizer.update(grads, optimizer.init(params), params)[0]

    def weighted(optimizer: Any, params: Any, grads: Any, weights: Any) -> jax.Array:
        pairs = zip(updates(optimizer, params, grads), weights, strict=True)
        return sum(jnp.mean(one * other) for one, other in pairs)

    with on(device):
        arguments = on_default_device((optimizer_on_host("star"), params, grads))
        if not slopes:
            return Program(updates)(*arguments)
        found = Program(jax.grad(weighted))(*arguments, on_default_device(weights))
    return jax.tree.leaves(found)


def plain_sums_difference(device: Any) -> Measured:
    """How far STAR with hand-made loops is from STAR with plain sums, on the same device.

    Derivatives are compared for one tensor: their programs take long to compile.
    """

    def both() -> tuple[Any, Any]:
        return _star(device, _SHAPES, False), _star(device, _SHAPES[:1], True)

    ours = both()
    with replaced(_inputs, "sums_of_squares", plain_sums_of_squares):
        return Measured(relative_difference(ours, both()))


def program_checks(devices: Devices) -> list[Check]:
    """What is written for a CPU stays there, and what is shared is right."""
    device = devices.candidate
    return [
        Check(
            "compiler options of a CPU on an accelerator",
            0,
            0.1,
            functools.partial(options_check, device),
        ),
        Check(
            "calls of a CPU's libraries, in all updates and in PES",
            0,
            10.0,
            functools.partial(foreign_calls, device),
        ),
        Check(
            "layout constraints that the compiler left in STAR's update",
            0,
            8.0,
            functools.partial(left_constraints, device),
        ),
        Check(
            "STAR with hand-made loops against STAR with plain sums",
            PLAIN_TOLERANCE,
            25.0,
            functools.partial(plain_sums_difference, device),
        ),
    ]
