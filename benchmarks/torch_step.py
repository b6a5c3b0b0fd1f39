"""A step of the optimizers for PyTorch beside torch.optim.AdamW(foreach=True): at most 12 times it.

The model has 10 million parameters in the shapes of a transformer of width 512. Candidates take
turns; look at the paired ratios, since on a busy machine all of them are slow.
"""

import argparse
from collections.abc import Callable

import torch
from _timing import print_ratios, side_by_side

from optoscope.torch import LearnedOptimizer

SHAPES = (
    [(1000, 512)]
    + 3 * [(512, 512)] * 4
    + 3 * [(2048, 512), (512, 2048)]
    + 20 * [(512,)]
    + 3 * [(2048,)]
)


def steps(make: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]) -> Callable[[], None]:
    """Steps on a model of its own, whose gradients are drawn once."""
    generator = torch.Generator().manual_seed(0)
    params = [
        torch.nn.Parameter(0.02 * torch.randn(shape, generator=generator)) for shape in SHAPES
    ]
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator)
    optimizer = make(params)
    return lambda: optimizer.step()


def main() -> None:
    """Measures all optimizers and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--optimizers", nargs="+", default=["star-mnist-mlp"], help="pretrained optimizers"
    )
    options = parser.parse_args()
    adamw = "torch.optim.AdamW(foreach=True)"
    candidates = {adamw: steps(lambda params: torch.optim.AdamW(params, foreach=True))}
    for name in options.optimizers:
        candidates[name] = steps(lambda params, name=name: LearnedOptimizer(params, name))
    print_ratios(side_by_side(candidates, options.rounds), adamw, "per step")


if __name__ == "__main__":
    main()
