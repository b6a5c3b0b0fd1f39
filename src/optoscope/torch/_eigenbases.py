"""Matrices seen in the eigenbases of their gradients' covariances: see the module of JAX."""

import torch
from torch import Tensor

from optoscope._core.input_layouts import (
    EIGENBASES_DECAY,
    LONGEST_SIDE,
    SMALLEST_SHARE,
    matrices_shape,
)
from optoscope.torch._rule import State, zeros
from optoscope.torch._views import View, factored

_SIDES = ("rows", "columns")


def matrices_view(shape: tuple[int, ...]) -> View:
    """Three axes: the matrices, their rows and their columns."""
    return factored(matrices_shape(shape), merged=False)


def start(view: View, device: torch.device) -> State:
    """Covariances of zero, and the axes as they are; nothing for a side that is too long."""
    count, *sizes = view.shape
    state: State = {}
    for side, size in zip(_SIDES, sizes, strict=True):
        if size <= LONGEST_SIDE:
            state[f"covariance_of_{side}"] = zeros((count, size, size), device)
            axes = torch.eye(size, dtype=torch.float32, device=device)
            state[f"basis_of_{side}"] = axes.repeat(count, 1, 1)
    return state


def turned(matrices: Tensor, state: State) -> Tensor:
    """The matrices in the bases: Q_rowsᵀ X Q_columns."""
    return _between(matrices, state.get("basis_of_rows"), state.get("basis_of_columns"))


def turned_gradient(gradient: Tensor, state: State) -> Tensor:
    """The same of a gradient, without what rounding leaves where it has no part."""
    found = turned(gradient, state)
    mean_square = found.square().mean((-2, -1), keepdim=True)
    return torch.where(found.square() < SMALLEST_SHARE**2 * mean_square, 0.0, found)


def turned_back(matrices: Tensor, state: State) -> Tensor:
    """The matrices in their own axes again: Q_rows X Q_columnsᵀ."""
    bases = (state.get(f"basis_of_{side}") for side in _SIDES)
    return _between(matrices, *(None if basis is None else basis.mT for basis in bases))


def advance(gradient: Tensor, state: State, every: int) -> None:
    """The covariances with one more gradient, and now and then the bases that follow them."""
    for side, matrices in zip(_SIDES, (gradient, gradient.mT), strict=True):
        covariance = state.get(f"covariance_of_{side}")
        # The product of a side that is too long to have one would not fit into memory.
        if covariance is not None:
            covariance.lerp_(matrices @ matrices.mT, 1 - EIGENBASES_DECAY)
    refreshed = state["step"] % every == 0
    if refreshed.any():
        turns = (_refresh(side, state, refreshed) for side in _SIDES)
        state["momenta"].copy_(_between(state["momenta"], *turns))


def _refresh(side: str, state: State, refreshed: Tensor) -> Tensor | None:
    """How the basis of one side turns to follow its covariance; None for a side without one."""
    if f"basis_of_{side}" not in state:
        return None
    covariance, basis = state[f"covariance_of_{side}"], state[f"basis_of_{side}"]
    after = torch.linalg.qr(covariance @ basis)[0]
    after = torch.where(refreshed.view(-1, 1, 1, 1), after, basis)
    turn = (basis.mT @ after)[:, None]
    basis.copy_(after)
    return turn


def _between(matrices: Tensor, left: Tensor | None, right: Tensor | None) -> Tensor:
    if left is not None:
        matrices = left.mT @ matrices
    return matrices if right is None else matrices @ right
