"""A learned optimizer's steps in PyTorch beside the same steps in JAX."""

import time
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch
from _twins import twin

from optoscope import optimizers
from optoscope.torch import LearnedOptimizer
from optoscope.training import run_keys
from optoscope.training._run import split_run_key
from optoscope.training._step import draw_step, initial_state, inner_step

# Chosen before anything was compared: float32 has seven digits, of which a few tens of steps of
# training, in which every step depends on the one before, cost up to four.
LOSS_TOLERANCE = 1e-3
# The first steps, compilation among them, are not timed.
WARM_UP = 3
# JAX is compared with itself too, from a start that was moved by about the rounding of float32.
ROUNDING = 1e-7


@dataclass(frozen=True)
class Beside:
    """What was found, step by step where it has several numbers.

    Args:
        jax_losses: of the steps in JAX.
        torch_losses: of the same batches in PyTorch.
        distances: between the parameters after each step, over how far JAX's have come.
        moved_losses: of JAX from a start that was moved by rounding, on the same batches.
        moved_distances: of those parameters from JAX's own.
        milliseconds: of a whole step (gradient and update): "jax", "torch" and "adamw"; and of the
            update alone: "torch update" and "adamw update".
        state_bytes: of the state for each parameter, "torch" and "adamw".
    """

    jax_losses: list[float]
    torch_losses: list[float]
    distances: list[float]
    moved_losses: list[float]
    moved_distances: list[float]
    milliseconds: dict[str, float]
    state_bytes: dict[str, float]

    @property
    def largest_difference(self) -> float:
        """The largest difference of the losses of a step, relative to JAX's."""
        return _difference(self.torch_losses, self.jax_losses)

    @property
    def moved_difference(self) -> float:
        """The same for JAX from the start that was moved."""
        return _difference(self.moved_losses, self.jax_losses)

    @property
    def equal(self) -> bool:
        """Whether every loss is within the tolerance."""
        return self.largest_difference <= LOSS_TOLERANCE


def _difference(theirs: list[float], ours: list[float]) -> float:
    return float(np.max(np.abs(np.subtract(theirs, ours)) / np.abs(ours)))


def compare_steps(task: Any, name: str, num_steps: int, length: int, seed: int = 0) -> Beside:
    """Takes steps with one optimizer in both, from the same start and on the same batches.

    Args:
        task: whose network has a twin.
        name: of a pretrained optimizer that is made for a length of training.
        num_steps: that are taken.
        length: of training, which the optimizer is told.
        seed: of start and batches.
    """
    optimizer = optimizers.load(name, num_steps=length)
    _, init_key, batch_key = split_run_key(run_keys(jax.random.key(seed), 1)[0])
    inner = eqx.filter_jit(initial_state)(task, optimizer, init_key)
    start = jax.tree.map(np.asarray, inner.params)
    signs = np.random.default_rng(seed)
    nudged = jax.tree.map(
        lambda leaf: leaf * np.float32(1 + ROUNDING * signs.choice((-1, 1), leaf.shape)), start
    )
    moved = eqx.tree_at(lambda state: state.params, inner, jax.tree.map(jnp.asarray, nudged))

    @eqx.filter_jit
    def advance(task: Any, optimizer: Any, inner: Any) -> Any:
        draw = draw_step(task, batch_key, inner.step)
        inner, record = inner_step(task, optimizer, inner, draw=draw)
        return inner, record.loss, record.batch

    module = twin(task.network, start)
    told = length if getattr(optimizer, "num_steps", None) is not None else None
    learned = LearnedOptimizer(module.parameters(), name, num_steps=told)
    batches: list[Any] = []
    losses: tuple[list[float], ...] = ([], [], [])
    distances: tuple[list[float], ...] = ([], [])
    times: dict[str, list[float]] = {}
    for _ in range(num_steps):
        started = time.perf_counter()
        inner, loss, batch = jax.block_until_ready(advance(task, optimizer, inner))
        times.setdefault("jax", []).append(time.perf_counter() - started)
        batches.append(jax.tree.map(np.asarray, batch))
        losses[0].append(float(loss))
        losses[1].append(_step(module, learned, batches[-1], times, "torch"))
        moved, moved_loss, _ = advance(task, optimizer, moved)
        losses[2].append(float(moved_loss))
        for place, other in enumerate((module.read(start), moved.params)):
            distances[place].append(_distance(other, inner.params, start))
    reference = twin(task.network, start)
    adamw = torch.optim.AdamW(reference.parameters(), lr=1e-3)
    for batch in batches:
        _step(reference, adamw, batch, times, "adamw")
    late = {label: each[min(WARM_UP, len(each) - 1) :] for label, each in times.items()}
    return Beside(
        losses[0],
        losses[1],
        distances[0],
        losses[2],
        distances[1],
        {label: 1e3 * float(np.median(each)) for label, each in late.items()},
        {"torch": _bytes_a_parameter(learned), "adamw": _bytes_a_parameter(adamw)},
    )


def _step(
    module: Any, optimizer: torch.optim.Optimizer, batch: Any, times: dict, label: str
) -> float:
    """One step in PyTorch; adds its times and returns the loss before it."""
    started = time.perf_counter()
    optimizer.zero_grad()
    loss = module.loss(batch)
    loss.backward()
    between = time.perf_counter()
    optimizer.step()
    ended = time.perf_counter()
    times.setdefault(label, []).append(ended - started)
    times.setdefault(f"{label} update", []).append(ended - between)
    return float(loss.detach())


def _distance(ours: Any, theirs: Any, start: Any) -> float:
    """‖θ_torch − θ_jax‖ / ‖θ_jax − θ₀‖ over all parameters."""
    leaves = [jax.tree.leaves(tree) for tree in (ours, theirs, start)]
    apart = sum(float(np.sum((a - np.asarray(b)) ** 2)) for a, b, _ in zip(*leaves, strict=True))
    come = sum(float(np.sum((np.asarray(b) - c) ** 2)) for _, b, c in zip(*leaves, strict=True))
    return float(np.sqrt(apart / come))


def _bytes_a_parameter(optimizer: torch.optim.Optimizer) -> float:
    params = [param for group in optimizer.param_groups for param in group["params"]]
    held = {
        value.untyped_storage().data_ptr(): value.untyped_storage().nbytes()
        for param in params
        for value in jax.tree.leaves(optimizer.state[param])
        if isinstance(value, torch.Tensor)
    }
    return sum(held.values()) / sum(param.numel() for param in params)


def rows(name: str, label: str, size: int, found: Beside) -> str:
    """Lines of a table: whole steps and updates, memory, and how far apart the two are."""
    ms, held = found.milliseconds, found.state_bytes
    said = f"{found.largest_difference:.1e} ({'equal' if found.equal else 'NOT equal'})"
    moved = f"{found.moved_difference:.1e}, {found.moved_distances[-1]:.1e}"
    first = f"| {name}, {size:,} |"
    return "\n".join(
        [
            f"{first} {label}, JAX | {ms['jax']:.0f} | | | {moved} |",
            f"{first} {label}, PyTorch | {ms['torch']:.0f} | {ms['torch update']:.0f} | "
            f"{held['torch']:.3g} | {said}, {found.distances[-1]:.1e} |",
            f"{first} torch.optim.AdamW | {ms['adamw']:.0f} | {ms['adamw update']:.0f} | "
            f"{held['adamw']:.3g} | |",
        ]
    )


HEADINGS = (
    "| task, parameters | optimizer | ms a step | ms an update | bytes | losses, params apart |\n"
    "| --- | --- | --- | --- | --- | --- |"
)
