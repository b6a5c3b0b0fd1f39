"""`training.train` against a hand-written scan of the same optimizer, no probes: at most 1.05."""

import argparse

import jax
import jax.numpy as jnp
import optax
from _timing import Run, print_ratios, side_by_side

from optoscope import optimizers, tasks, training


def hand_written(
    task: tasks.Task, transformation: optax.GradientTransformation, num_steps: int
) -> Run:
    """The loop one writes by hand: one compiled scan."""

    @jax.jit
    def run(task, key):
        params = task.init(key)

        def step(carry, index):
            params, state = carry
            batch = task.sample_batch(jax.random.fold_in(key, index))
            loss, grads = jax.value_and_grad(task.loss)(params, batch)
            updates, state = transformation.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), loss

        (params, _), losses = jax.lax.scan(
            step, (params, transformation.init(params)), jnp.arange(num_steps)
        )
        return losses

    return lambda: run(task, jax.random.key(0))


def by_training(task: tasks.Task, optimizer: optimizers.Optimizer, num_steps: int) -> Run:
    """The same by this library."""
    return lambda: training.train(task, optimizer, num_steps, key=jax.random.key(0)).losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--task", default="digits-mlp-sigmoid")
    parser.add_argument("--steps", type=int, default=5000)
    options = parser.parse_args()
    task = tasks.get(options.task)
    assert isinstance(task, tasks.Task)
    lstm = optimizers.get("lstm")
    for name, ours, by_hand, steps in (
        ("SGD", optimizers.sgd(0.1), optax.sgd(0.1), options.steps),
        ("Adam", optimizers.adam(0.01), optax.adam(0.01), options.steps),
        ("LSTM", lstm, optimizers.as_optax(lstm), options.steps // 10),
    ):
        seconds = side_by_side(
            {
                f"hand-written scan, {name}, {steps} steps": hand_written(task, by_hand, steps),
                f"training.train, {name}, {steps} steps": by_training(task, ours, steps),
            },
            options.rounds,
        )
        print_ratios(seconds, f"hand-written scan, {name}, {steps} steps", "per run")


if __name__ == "__main__":
    main()
