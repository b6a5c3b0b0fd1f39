"""A task, a probe and an optimizer of your own, each in a few lines."""

import jax
import jax.numpy as jnp
import optax

from optoscope import meta, optimizers, tasks, training


class Rosenbrock(tasks.Task):
    """(1 − x)² + 100 (y − x²)²."""

    def init(self, key):
        return jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)

    def sample_batch(self, key):
        return None

    def loss(self, params, batch):
        x, y = params
        return (1 - x) ** 2 + 100 * (y - x**2) ** 2


class LargestUpdate(training.Probe):
    """The largest change of any parameter."""

    def measure(self, record):
        return jnp.max(jnp.abs(record.updates))


class LearnedRate(optimizers.OptimizerModule):
    """Gradient descent whose learning rate is a meta-parameter."""

    log_rate: jax.Array

    def init(self, params):
        return ()

    def update(self, grads, state, params=None, **extra):
        return jax.tree.map(lambda g: -jnp.exp(self.log_rate) * g, grads), state


task = Rosenbrock()
run = training.train(
    task,
    optimizers.adam(0.05),
    300,
    key=jax.random.key(0),
    num_runs=8,
    probes={"largest": LargestUpdate(every=100)},
)
print("largest update at steps", run.measured_steps["largest"], run.records["largest"].mean(axis=0))

estimator = meta.TruncatedBackprop(
    tasks.fixed(task), num_tasks=8, truncation=20, horizon=60, objective=meta.Objective("log_sum")
)
trainer = meta.Trainer(estimator, optax.adam(0.1))
result = trainer.run(LearnedRate(jnp.asarray(-9.0)), 60, key=jax.random.key(0))
print(f"learned rate {jnp.exp(result.optimizer.log_rate):.2e}, from {jnp.exp(-9.0):.2e}")
