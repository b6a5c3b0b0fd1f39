"""Full backprop as in paper B against a plain JAX program: at most 1.0 of its time.

A meta-step is the gradient of the mean loss of 32 least-squares problems in five parameters over
200 steps of a 32-unit GRU, second-order terms kept, and Adam with clipping. The plain program is
what one writes by hand for just this: vectorized over problems, rematerialized per step, one
compiled meta-step a call. `--meta-train` then meta-trains with paper B's settings and compares
with the best of 2500 momentum settings on the same held-out problems.
"""

import argparse
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from _timing import print_ratios, side_by_side

from optoscope import bench, meta, optimizers, tasks

NUM_TASKS, HORIZON, HIDDEN, ROWS, COLUMNS = 32, 200, 32, 10, 5
UPDATES = 10


def meta_optimizer(clip: optax.GradientTransformation) -> optax.GradientTransformation:
    schedule = optax.exponential_decay(3e-3, 500, 0.8, staircase=True)
    return optax.chain(clip, optax.add_decayed_weights(1e-5), optax.adam(schedule))


def plain_program():
    """A straightforward implementation, with nothing of optoscope in it."""

    def sample(key):
        keys = jax.random.split(key, 3)
        A = jax.random.normal(keys[0], (ROWS, COLUMNS)) / COLUMNS**0.5
        b, x = jax.random.normal(keys[1], (ROWS,)), jax.random.normal(keys[2], (COLUMNS,))
        least = 0.5 * jnp.sum((A @ jnp.linalg.lstsq(A, b)[0] - b) ** 2)
        return A, b, x, least

    def loss(x, A, b, least):
        return 0.5 * jnp.sum((A @ x - b) ** 2) - least

    def cell(p, h, g):
        g = g[:, None]
        z = jax.nn.sigmoid(g @ p["W"].T + h @ p["U"].T + p["b"])
        u, r = jnp.split(z, 2, axis=-1)
        n = jnp.tanh(g @ p["Wn"].T + (r * h) @ p["Un"].T + p["bn"])
        h = u * h + (1 - u) * n
        return h, h @ p["w"] + p["c"]

    def unroll(p, key):
        A, b, x, least = sample(key)

        @jax.checkpoint
        def step(carry, _):
            x, h = carry
            value, g = jax.value_and_grad(loss)(x, A, b, least)
            h, u = cell(p, h, g)
            return (x + u, h), value

        h = jnp.broadcast_to(p["h0"], (COLUMNS, HIDDEN))
        return jnp.mean(jax.lax.scan(step, (x, h), None, length=HORIZON)[1])

    def init(key):
        keys = jax.random.split(key, 4)
        return {
            "W": jax.random.normal(keys[0], (2 * HIDDEN, 1)),
            "U": jax.random.normal(keys[1], (2 * HIDDEN, HIDDEN)) / HIDDEN**0.5,
            "b": jnp.zeros(2 * HIDDEN),
            "Wn": jax.random.normal(keys[2], (HIDDEN, 1)),
            "Un": jax.random.normal(keys[3], (HIDDEN, HIDDEN)) / HIDDEN**0.5,
            "bn": jnp.zeros(HIDDEN),
            "h0": jnp.zeros(HIDDEN),
            "w": jnp.zeros(HIDDEN),
            "c": jnp.zeros(()),
        }

    adam = meta_optimizer(optax.clip(5.0))

    @jax.jit
    def meta_step(p, state, key):
        keys = jax.random.split(key, NUM_TASKS)
        gradient = jax.grad(lambda p: jnp.mean(jax.vmap(unroll, (None, 0))(p, keys)))(p)
        updates, state = adam.update(gradient, state, p)
        return optax.apply_updates(p, updates), state

    start = init(jax.random.key(0))

    def run():
        p, state = start, adam.init(start)
        for index in range(UPDATES):
            p, state = meta_step(p, state, jax.random.key(index))
        return p

    return run


def trainer(steps_per_call: int, **options) -> meta.Trainer:
    problems = tasks.as_distribution(tasks.get("quadratic"))
    estimator = meta.FullBackprop(problems, num_tasks=NUM_TASKS, horizon=HORIZON)
    clip = meta.clip_elementwise(5.0)
    return meta.Trainer(estimator, meta_optimizer(clip), steps_per_call=steps_per_call, **options)


def optoscope_program(cell: str):
    """The same by this library, through the public trainer."""
    optimizer = optimizers.RNNOptimizer.create(jax.random.key(0), cell=cell, hidden_size=HIDDEN)
    made = trainer(UPDATES)

    def run():
        result = made.run(optimizer, UPDATES, key=jax.random.key(0))
        return eqx.filter(result.optimizer, eqx.is_array)

    return run


def meta_train(num_steps: int, name: str) -> None:
    """Meta-trains, searches momentum, and compares on the same 1,000 fresh problems."""
    task = tasks.as_distribution(tasks.get(name))
    estimator = meta.FullBackprop(task, num_tasks=NUM_TASKS, horizon=HORIZON)
    held_out = meta.HeldOutLoss(task, HORIZON, 1000, jax.random.key(77))
    made = meta.Trainer(estimator, meta_optimizer(meta.clip_elementwise(5.0)), steps_per_call=100)
    optimizer = optimizers.RNNOptimizer.create(jax.random.key(0), hidden_size=HIDDEN)
    started = time.perf_counter()
    result = made.run(optimizer, num_steps, key=jax.random.key(1))
    print(
        f"{name}: {num_steps} meta-steps in {time.perf_counter() - started:.0f} s, skipped "
        f"{result.skipped}, held-out mean loss {held_out(result.optimizer):.4f}"
    )
    for attempt in ("with compilation", "again"):
        started = time.perf_counter()
        found = bench.random_search(
            task,
            optimizers.momentum,
            {
                "learning_rate": bench.LogUniform(1e-3, 3.0),
                "momentum": bench.OneMinusLogUniform(1e-3, 1.0),
            },
            2500,
            num_steps=HORIZON,
            num_runs=64,
            key=jax.random.key(2),
        )
        seconds = time.perf_counter() - started
        print(f"2500 momentum settings, 64 problems, {attempt}: {seconds:.1f} s")
    best = optimizers.momentum(**found.best)
    print(
        f"best of them: {found.best}, {np.min(found.score):.4f} on its problems, "
        f"{held_out(best):.4f} on the held-out ones; {found.warnings or 'not on an edge'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--meta-train", type=int, default=0, metavar="STEPS")
    parser.add_argument("--task", default="quadratic")
    options = parser.parse_args()
    candidates = {"plain program, GRU": plain_program()}
    for cell in ("gru", "vanilla", "lstm"):
        candidates[f"optoscope, {cell}"] = optoscope_program(cell)
    seconds = side_by_side(candidates, options.rounds)
    print_ratios(
        {name: [value / UPDATES for value in values] for name, values in seconds.items()},
        "plain program, GRU",
        "per meta-step",
    )
    if options.meta_train:
        meta_train(options.meta_train, options.task)


if __name__ == "__main__":
    main()
