"""Meta-training as in paper A against a plain JAX program: one run is 200 steps, 10 meta-updates.

The plain program is what one writes first: a scan of rematerialized steps, `value_and_grad`, Adam,
one compiled meta-update a call. Both do the same arithmetic on the same shapes.
Ends with the price of four problems side by side, which must be less than four times one.
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from _networks import random_images
from _timing import print_ratios, side_by_side
from jax.flatten_util import ravel_pytree

from optoscope import meta, optimizers, tasks
from optoscope.data import Dataset

UNROLL, UPDATES, BATCH, HIDDEN = 20, 10, 128, 20


def plain_program(dataset: Dataset, num_inputs: int):
    """A straightforward implementation, with nothing of optoscope in it."""
    images = dataset.train.inputs.reshape(-1, num_inputs)
    labels = dataset.train.labels

    def uniform(key, shape, bound):
        return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

    def init_network(key):
        keys = jax.random.split(key, 4)
        a, b = num_inputs**-0.5, HIDDEN**-0.5
        return {
            "W1": uniform(keys[0], (num_inputs, HIDDEN), a),
            "b1": uniform(keys[1], (HIDDEN,), a),
            "W2": uniform(keys[2], (HIDDEN, 10), b),
            "b2": uniform(keys[3], (10,), b),
        }

    def init_optimizer(key):
        keys = jax.random.split(key, 8)
        shapes = [(80, 2), (80, 20), (80, 1), (80, 20), (80, 20), (80, 1), (1, 20), (1, 1)]
        return [uniform(k, shape, HIDDEN**-0.5) for k, shape in zip(keys, shapes, strict=True)]

    vector, unravel = ravel_pytree(init_network(jax.random.key(0)))

    def loss(vector, index):
        p = unravel(vector)
        logits = jax.nn.sigmoid(images[index] @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels[index]))

    def cell(gates, c):
        i, f, g, o = jnp.split(gates, 4)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c

    def preprocess(g):
        size = jnp.abs(g)
        large = size >= jnp.exp(-10.0)
        log = jnp.log(jnp.where(large, size, 1.0)) / 10
        return jnp.stack(
            [jnp.where(large, log, -1.0), jnp.where(large, jnp.sign(g), jnp.exp(10.0) * g)]
        )

    def update(weights, g, state):
        W1, U1, b1, W2, U2, b2, w, c = weights
        h1, c1, h2, c2 = state
        h1, c1 = cell(W1 @ preprocess(g) + U1 @ h1 + b1, c1)
        h2, c2 = cell(W2 @ h1 + U2 @ h2 + b2, c2)
        return 0.1 * (w @ h2 + c)[0], (h1, c1, h2, c2)

    @jax.checkpoint
    def step(weights, carry, key):
        vector, state = carry
        index = jax.random.randint(key, (BATCH,), 0, labels.shape[0])
        value, g = jax.value_and_grad(loss)(vector, index)
        u, state = update(weights, jax.lax.stop_gradient(g), state)
        return (vector + u, state), value

    adam = optax.adam(1e-3)

    @jax.jit
    def meta_update(weights, adam_state, carry, key):
        def meta_loss(weights):
            keys = jax.random.split(key, UNROLL)
            end, values = jax.lax.scan(lambda c, k: step(weights, c, k), carry, keys)
            return jnp.sum(values), end

        (_, carry), gradient = jax.value_and_grad(meta_loss, has_aux=True)(weights)
        updates, adam_state = adam.update(gradient, adam_state)
        return optax.apply_updates(weights, updates), adam_state, carry

    weights = init_optimizer(jax.random.key(1))

    def run():
        w, adam_state = weights, adam.init(weights)
        zeros = jnp.zeros((HIDDEN, vector.size))
        carry = (vector, (zeros,) * 4)
        for index in range(UPDATES):
            w, adam_state, carry = meta_update(w, adam_state, carry, jax.random.key(index))
        return w

    return run


def optoscope_program(dataset: Dataset, num_tasks: int, devices: int):
    """The same by this library, through the public trainer."""
    return trained(tasks.mlp_classification(dataset), "lstm", num_tasks, devices)


def trained(task: tasks.Task, name: str, num_tasks: int, devices: int):
    """The meta-training of a registered optimizer on a task, 200 steps in 10 meta-updates."""
    estimator = meta.TruncatedBackprop(
        tasks.fixed(task),
        num_tasks=num_tasks,
        truncation=UNROLL,
        horizon=UNROLL * UPDATES,
        objective=meta.Objective("sum"),
        devices=devices,
    )
    trainer = meta.Trainer(estimator, optax.adam(1e-3), steps_per_call=UPDATES)
    optimizer = optimizers.get(name)

    def run():
        result = trainer.run(optimizer, UPDATES, key=jax.random.key(0))
        return eqx.filter(result.optimizer, eqx.is_array)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--inputs", type=int, default=784, help="pixels: 784, or 64 for digits")
    parser.add_argument(
        "--devices", type=int, default=2, help="CPU devices for one problem and for four"
    )
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", options.devices)
    dataset = random_images(options.inputs)
    one = side_by_side(
        {
            "plain program, one problem": plain_program(dataset, options.inputs),
            "optoscope, one problem": optoscope_program(dataset, 1, 1),
            f"the same on {options.devices} devices": optoscope_program(
                dataset, 1, options.devices
            ),
        },
        options.rounds,
    )
    print_ratios(one, "plain program, one problem", "per run")
    four = side_by_side(
        {
            "optoscope, one problem": optoscope_program(dataset, 1, 1),
            "optoscope, four problems": optoscope_program(dataset, 4, options.devices),
        },
        max(3, options.rounds // 2),
    )
    print_ratios(four, "optoscope, one problem", "per run")


if __name__ == "__main__":
    main()
