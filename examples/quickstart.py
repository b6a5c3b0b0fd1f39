"""Meta-train a small LSTM optimizer for a minute's fraction, then race it against Adam.

Too short to win: it shows the pieces. `optoscope demo` does it properly.
"""

import jax
import optax

from optoscope import meta, optimizers, tasks, training

task = tasks.get("digits-mlp-sigmoid")
estimator = meta.TruncatedBackprop(
    tasks.fixed(task), num_tasks=2, truncation=10, horizon=40, objective=meta.Objective("mean")
)
trainer = meta.Trainer(estimator, optax.adam(5e-3))
start = optimizers.get("lstm", key=jax.random.key(1), hidden_size=8)
result = trainer.run(start, 40, key=jax.random.key(0))

# One key: run r of every optimizer has the same initial parameters and the same batches.
key = jax.random.key(2)
for name, optimizer in (("before", start), ("after", result.optimizer), ("Adam", optax.adam(0.1))):
    losses = training.train(task, optimizer, 40, key=key, num_runs=4).losses
    print(f"{name:>7}: mean loss over 40 steps {losses.mean():.3f}")
