"""A learned optimizer in a loop of your own, with a schedule and decoupled weight decay."""

import jax
import optax

from optoscope import optimizers, tasks

task, num_steps = tasks.get("digits-mlp-relu"), 300
optimizer = optax.chain(
    optimizers.scale_by_learned("star-small-mnist-mlp"),
    optax.add_decayed_weights(1e-4),
    optax.scale_by_learning_rate(optax.cosine_decay_schedule(0.3, num_steps)),
)
params = task.init(jax.random.key(0))
state, update = optimizer.init(params), jax.jit(optimizer.update, donate_argnums=1)
gradient = jax.jit(jax.grad(task.loss))
for key in jax.random.split(jax.random.key(1), num_steps):
    updates, state = update(gradient(params, task.sample_batch(key)), state, params)
    params = optax.apply_updates(params, updates)
print(f"loss on the last batch {task.loss(params, task.sample_batch(key)):.3f}")
