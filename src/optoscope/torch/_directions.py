"""What is done to the direction of a whole tensor before it becomes a step.

Each is the function of the same name of `optoscope.optimizers`, where its source is given.
"""

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_NORM_OFFSET = 1e-8
_MEAN_SQUARE_OFFSET = 1e-9


def orthogonalized(matrices: Tensor) -> Tensor:
    """Matrices with about the same singular vectors and all singular values near 1.

    Example:
        >>> values = torch.linalg.svdvals(orthogonalized(torch.diag(torch.tensor([1.0, 5.0]))))
        >>> bool(((values > 0.6) & (values < 1.3)).all())
        True
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    found = matrices.mT if tall else matrices
    found = found / (found.square().sum((-2, -1), keepdim=True).sqrt() + _NORM_OFFSET)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        square = found @ found.mT
        found = a * found + (b * square + c * (square @ square)) @ found
    return found.mT if tall else found


def of_unit_size(direction: Tensor, num_axes: int) -> Tensor:
    """The direction divided by its root mean square over its last axes.

    Math: x (mean x² + 1e-9)^(-1/2).

    Args:
        direction: x.
        num_axes: how many axes the mean is over.
    """
    mean_square = direction.square().mean(tuple(range(-num_axes, 0)), keepdim=True)
    return direction * torch.rsqrt(mean_square + _MEAN_SQUARE_OFFSET)
