"""Is a learned optimizer better than a tuned Adam on my PyTorch model? The same table answers."""

import torch
from torch.nn.functional import cross_entropy

from optoscope import bench, optimizers, tasks

inputs = torch.randn(1000, 20, generator=torch.Generator().manual_seed(0))
data = torch.utils.data.TensorDataset(inputs, (inputs[:, :3].sum(dim=1) > 0).long())
task = tasks.from_torch(
    lambda: torch.nn.Sequential(torch.nn.Linear(20, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2)),
    lambda model, batch: cross_entropy(model(batch[0]), batch[1]),
    torch.utils.data.DataLoader(data, batch_size=64),
)
star = {"star": optimizers.load("star-mnist-mlp")}
found = bench.compare(task, star, ["adam"], num_steps=30, seed=0, num_points=9, tuning_runs=2)
for name, one in found.evaluation.optimizers.items():
    print(f"{name}: mean loss over 30 steps {one.losses.mean():.3f}")
