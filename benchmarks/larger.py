"""The general optimizer as shipped on larger networks, beside tuned AdamW and Muon.

    python benchmarks/larger.py --out runs/larger

Four learning rates for AdamW and for Muon, with a cosine; the general optimizer as it comes. Cells
that are done are kept in --out; several processes may work there. Prints a table.

    python benchmarks/larger.py --torch --out runs/larger

takes some tens of steps with the general optimizer in PyTorch and in JAX instead, from the same
start and on the same batches. Losses must agree to a thousandth in every step. Also prints times,
and memory, beside torch.optim.AdamW. What is done is kept in --out too.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from optoscope import bench, optimizers, tasks
from optoscope._core.compilation_cache import enable_compilation_cache
from optoscope._core.files import read_json, write_json
from optoscope._core.trees import num_bytes, size

# About a decade around the best rates of small networks.
BASELINES = {"adamw-cosine": (5e-4, 1e-2), "muon-cosine": (5e-3, 1e-1)}
NUM_RATES = 4
# Raised with what changes what `beside_torch` keeps.
TORCH_VERSION = 1
TASKS: Mapping[str, Callable[[], Any]] = {
    "transformer": lambda: tasks.get(
        "transformer-language-model",
        scale="laptop",
        num_layers=4,
        width=160,
        num_heads=4,
        length=32,
    ),
    # A part of CIFAR-10 is enough: all see the same images.
    "cnn": lambda: tasks.get("cifar10-cnn", verify=False, channels=(32, 48, 64), batch_size=64),
}


def contestant(name: str) -> bench.Contestant:
    """A baseline with the range of learning rates above."""
    entry = optimizers.entry(name)
    return bench.Contestant(name, entry.create, {"learning_rate": BASELINES[name]}, True)


def state_share(optimizer: Any, params: Any) -> float:
    """Bytes of state for each parameter."""
    return num_bytes(jax.eval_shape(optimizer.init, params)) / size(params)


def rows(result: bench.SuiteResult, task: str, problem: Any, steps: int) -> list[str]:
    """A line of the table for everyone: final and mean loss of the best trial, memory and time."""
    params = jax.eval_shape(problem.init, jax.random.key(0))
    made = {name: optimizers.get(name, learning_rate=1e-3, num_steps=steps) for name in BASELINES}
    made["general"] = optimizers.load("general", num_steps=steps)
    lines = []
    for label, optimizer in made.items():
        losses = result.losses[label][task]
        final = losses[:, :, -max(1, steps // 20) :].mean(axis=(1, 2))
        best = int(np.nanargmin(final))
        seconds = result.seconds[label][task] / losses.shape[0]
        lines.append(
            f"| {task}, {size(params):,} | {label} | {losses.shape[0]} | {final[best]:.4f} | "
            f"{losses[best].mean():.4f} | {state_share(optimizer, params):.3g} | "
            f"{1000 * seconds / steps:.0f} |"
        )
    return lines


def beside_torch(names: Sequence[str], optimizer: str, steps: int, length: int, out: Path) -> None:
    """Compares PyTorch's steps with JAX's on each task and prints a table.

    Args:
        names: of the tasks.
        optimizer: the name of a pretrained one.
        steps: that are taken.
        length: of training, which the optimizer is told.
        out: where what is done is kept.
    """
    import torch
    from _beside_torch import HEADINGS, Beside, compare_steps
    from _beside_torch import rows as torch_rows

    print(f"{steps} steps, PyTorch {torch.__version__} with {torch.get_num_threads()} threads.")
    print("JAX is compared with itself, from a start that was moved by rounding.\n")
    print(HEADINGS)
    for name in names:
        problem = TASKS[name]()
        # Whatever the numbers depend on.
        weights = [str(leaf) for leaf in jax.tree.leaves(optimizers.load(optimizer))]
        known = [problem.metadata, steps, length, torch.__version__, weights, TORCH_VERSION]
        description = json.loads(json.dumps(known, default=str))
        path = out / "torch" / f"{name}-{optimizer}.json"
        kept = read_json(path) if path.is_file() else {}
        if kept.get("description") == description:
            found = Beside(**kept["found"])
        else:
            found = compare_steps(problem, optimizer, steps, length)
            content = {"description": description, "found": dataclasses.asdict(found)}
            write_json(path, content)
        params = jax.eval_shape(problem.init, jax.random.key(0))
        print(torch_rows(name, optimizer, size(params), found), flush=True)


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/larger"))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--torch", action="store_true", help="compare steps with PyTorch's")
    parser.add_argument("--torch-steps", type=int, default=30, help="how many")
    parser.add_argument("--torch-optimizer", default="general", help="a pretrained one")
    options = parser.parse_args()
    enable_compilation_cache()
    if options.torch:
        names = options.tasks.split(",")
        steps, length = options.torch_steps, options.steps
        beside_torch(names, options.torch_optimizer, steps, length, options.out)
        return
    print("| task, parameters | optimizer | trials | final | mean | bytes | ms a step |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in options.tasks.split(","):
        problem = TASKS[name]()
        result = bench.suite(
            {"general": optimizers.load("general", num_steps=options.steps)},
            {name: problem},
            baselines=[contestant(one) for one in BASELINES],
            num_steps=options.steps,
            num_runs=1,
            num_rates=NUM_RATES,
            tuned=False,
            directory=options.out,
        )
        print("\n".join(rows(result, name, problem, options.steps)), flush=True)


if __name__ == "__main__":
    main()
