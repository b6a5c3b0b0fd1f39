"""A symmetry of your own model: declared in three lines, checked, measured, penalized."""

import jax
import jax.numpy as jnp

from optoscope import meta, optimizers, tasks, training
from optoscope.analysis import symmetry


class Attention(tasks.Task):
    """softmax(x Wq Wkᵀ xᵀ) x: queries may grow by any factor if keys shrink by it."""

    def init(self, key):
        first, second = jax.random.split(key)
        return {"query": jax.random.normal(first, (8, 4)), "key": jax.random.normal(second, (8, 4))}

    def sample_batch(self, key):
        return jax.random.normal(key, (16, 8))

    def loss(self, params, batch):
        scores = (batch @ params["query"]) @ (batch @ params["key"]).T
        return jnp.mean((jax.nn.softmax(scores) @ batch - jnp.roll(batch, 1, axis=0)) ** 2)

    def symmetries(self, params):
        # One generator a column: its entries of `query` as they are, those of `key` negated.
        heads = tasks.rescale(lambda p: p["query"].T, lambda p: p["key"].T, label="column")
        return {"query-key": heads}


task = Attention()
checked = symmetry.verify(task, jax.random.key(0))
print("constraints that gradients violate:", checked.failed or "none")

for name, optimizer in {"sgd": optimizers.sgd(0.1), "adam": optimizers.adam(0.03)}.items():
    run = training.train(
        task, optimizer, 100, key=jax.random.key(1), num_runs=4,
        probes={"symmetry": symmetry.SymmetryProbe(every=25)},
    )  # fmt: skip
    found = run.records["symmetry"]["query-key"].cosine.mean(axis=0)
    print(f"{name}: cosine with the symmetry at steps 0, 25, 50, 75:", found.round(4))

# The same object penalizes a learned optimizer's deviations in meta-training.
objective = meta.Objective(
    "sum", penalties=(symmetry.SymmetryPenalty.for_task(task, "query-key", beta=0.1),)
)
