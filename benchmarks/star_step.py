"""One STAR step against Adam's on a matrix (at most 8), and inner steps of particles against SGD's.

The second table is per inner step (gradient and update) of a 784-128-128-10 network at batch 128:
one optimizer alone, then antithetic particles, each with meta-parameters of its own, side by
side (vmap), in chunks, one after the other (lax.map), or one after the other on each device.
PES needs 0.4 of SGD's rate: a ratio of at most 2.5.
"""

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _networks import network
from _timing import Run, print_ratios, side_by_side
from jax.sharding import Mesh, PartitionSpec

from optoscope import optimizers, tasks
from optoscope._core.programs import Program
from optoscope.training import InnerState, initial_state, inner_step


def matrix_steps(
    optimizer: optimizers.Optimizer, size: int, steps: int, changing: bool = False
) -> Run:
    """A scan of `steps` updates of a size × size matrix.

    Of a gradient that is always the same XLA takes what depends on it alone out of the scan; one
    that changes is a product with the parameters.
    """

    @Program
    def run(optimizer, params, grads):
        def step(carry, _):
            params, state = carry
            gradient = jax.lax.optimization_barrier(grads * params) if changing else grads
            updates, state = optimizer.update(gradient, state, params)
            return (params + updates, state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), None, length=steps)[0][0]

    params = jax.random.normal(jax.random.key(0), (size, size))
    grads = jax.random.normal(jax.random.key(1), (size, size))
    return lambda: run(optimizer, params, grads)


def unroll_from(
    task: tasks.Task,
    optimizer: optimizers.Optimizer,
    start: InnerState,
    key: jax.Array,
    steps: int,
) -> tuple[InnerState, jax.Array]:
    """`steps` inner steps from a given state: the state after them, and their losses."""

    def step(inner, index):
        inner, record = inner_step(task, optimizer, inner, jax.random.fold_in(key, index))
        return inner, record.loss

    return jax.lax.scan(step, start, jnp.arange(steps))


def unroll(task: tasks.Task, optimizer, key: jax.Array, steps: int) -> jax.Array:
    """The losses of the first `steps` inner steps."""
    return unroll_from(task, optimizer, initial_state(task, optimizer, key), key, steps)[1]


def antithetic(optimizer, particles: int):
    """2 × `particles` copies with meta-parameters θ + ε and θ − ε on a leading axis."""
    leaves, structure = jax.tree.flatten(optimizer)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    noise = [
        0.01 * jax.random.normal(key, (particles, *leaf.shape))
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    both = [
        leaf + jnp.concatenate([shift, -shift]) for leaf, shift in zip(leaves, noise, strict=True)
    ]
    return jax.tree.unflatten(structure, both)


def many(task: tasks.Task, optimizer, particles: int, steps: int, how: str) -> Run:
    """The unrolls of all particles, spread in one of several ways."""
    copies = antithetic(optimizer, particles)
    key = jax.random.key(3)

    def one(task, copy):
        return unroll(task, copy, key, steps)

    def sequential(task, copies):
        return jax.lax.map(partial(one, task), copies)

    def chunked(task, copies):
        return jax.lax.map(partial(one, task), copies, batch_size=int(how))

    if how == "devices":
        everywhere, split = PartitionSpec(), PartitionSpec("particles")
        run = jax.shard_map(
            sequential,
            mesh=Mesh(np.array(jax.devices()), ("particles",)),
            in_specs=(everywhere, split),
            out_specs=split,
            check_vma=False,
        )
    else:
        run = {"vmap": jax.vmap(one, in_axes=(None, 0)), "map": sequential}.get(how, chunked)
    compiled = jax.jit(run)
    return lambda: compiled(task, copies)


def alone(task: tasks.Task, optimizer, steps: int) -> Run:
    """Times one unroll by itself."""
    compiled = jax.jit(lambda task, optimizer: unroll(task, optimizer, jax.random.key(3), steps))
    return lambda: compiled(task, optimizer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--particles", type=int, nargs="*", default=[4, 16])
    parser.add_argument("--ways", nargs="*", default=["vmap", "2", "map", "devices"])
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--skip-matrix", action="store_true")
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", options.devices)

    star, mlp = optimizers.get("star"), optimizers.get("mlp")
    if not options.skip_matrix:
        steps = options.steps
        for changing in (False, True):
            kind = "changing gradients" if changing else "one gradient"
            adam = f"optax.adam, {options.size} × {options.size}, {kind}"
            candidates = {
                name: matrix_steps(optimizer, options.size, steps, changing)
                for name, optimizer in ((adam, optax.adam(1e-3)), ("STAR", star), ("MLP", mlp))
            }
            seconds = side_by_side(candidates, options.rounds)
            per_step = {name: [s / steps for s in values] for name, values in seconds.items()}
            print_ratios(per_step, adam, "per step")
            print()

    task = network(784, (128, 128), batch_size=128)
    sgd = "SGD alone"
    steps = 5 * options.steps
    candidates = {sgd: (alone(task, optimizers.sgd(0.1), steps), steps)}
    for name, optimizer in (("STAR", star), ("MLP", mlp)):
        candidates[f"{name} alone"] = (alone(task, optimizer, steps), steps)
    for particles in options.particles:
        for how in options.ways:
            count = 2 * particles * options.steps
            for name, optimizer in (("SGD", optimizers.sgd(0.1)), ("STAR", star)):
                run = many(task, optimizer, particles, options.steps, how)
                candidates[f"{name}, 2 × {particles} particles, {how}"] = (run, count)
    seconds = side_by_side({name: run for name, (run, _) in candidates.items()}, options.rounds)
    per_step = {
        name: [value / candidates[name][1] for value in values] for name, values in seconds.items()
    }
    print_ratios(per_step, sgd, "per step")


if __name__ == "__main__":
    main()
