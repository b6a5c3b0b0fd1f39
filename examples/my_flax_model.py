"""Is a learned optimizer better than a tuned Adam on my Flax model, batch norm and dropout too?"""

import flax.linen as nn
import optax

from optoscope import bench, data, optimizers, tasks


class Model(nn.Module):
    @nn.compact
    def __call__(self, x, train=True):
        x = nn.BatchNorm(use_running_average=not train)(x.reshape(len(x), -1))
        return nn.Dense(10)(nn.Dropout(0.1, deterministic=not train)(x))


digits, entropy = data.load("digits").train, optax.softmax_cross_entropy_with_integer_labels
batches = (digits.inputs, digits.labels)
task = tasks.from_flax(Model(), lambda m, b: entropy(m(b[0]), b[1]).mean(), batches)
star = {"star": optimizers.load("star-mnist-mlp")}
print(bench.compare(task, star, ["adam"], num_steps=50, seed=0, num_points=9, tuning_runs=2))
