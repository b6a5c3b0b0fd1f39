"""A learned optimizer in a PyTorch training loop, used like any of torch.optim."""

import torch

from optoscope.torch import LearnedOptimizer

torch.manual_seed(0)
inputs = torch.randn(512, 20)
labels = (inputs[:, :2].prod(dim=1) > 0).long()
model = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
optimizer = LearnedOptimizer(model.parameters(), "star-mnist-mlp", lr=1.0, weight_decay=1e-4)
for step in range(301):
    loss = torch.nn.functional.cross_entropy(model(inputs), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 0:
        print(f"step {step}: loss {loss:.3f}")
