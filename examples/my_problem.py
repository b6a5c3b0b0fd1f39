"""A problem of my own: `optoscope evaluate star-mnist-mlp --task examples/my_problem.py:task`."""

import jax
import jax.numpy as jnp

from optoscope import optimizers, tasks, training

x = jnp.linspace(-1, 1, 500)[:, None]


def task(hidden=16):  # `--set hidden=64` on the command line
    return tasks.from_functions(
        init=lambda key: jax.random.normal(key, (2, hidden)),
        loss=lambda p, batch: jnp.mean((jnp.tanh(batch[0] * p[0]) @ p[1] - batch[1]) ** 2),
        batches=(x, jnp.sin(3 * x[:, 0])),
    )


if __name__ == "__main__":
    print(training.train(task(), optimizers.adam(0.05), 99, key=jax.random.key(0)).losses[0, -1])
