"""A linearized optimizer together with the curvature it descends."""

import numpy as np
from jaxtyping import Float

from optoscope._core.errors import check_number
from optoscope.analysis.dynamics._linearize import Linearization


def joint_matrix(
    linearization: Linearization, curvature: float
) -> Float[np.ndarray, "size_and_1 size_and_1"]:
    """The matrix of one step of (φ, h), parameter and state, on the loss ½ λ φ².

    Use it to ask which curvatures an optimizer can stand: descent along an eigenvector of the
    Hessian is stable iff the spectral radius is below 1.

    Math: g = λφ, h' = J h + b g, φ' = φ + w·h' + d g, so
    [[1 + (w·b + d) λ, w J], [b λ, J]].

    Args:
        linearization: of the optimizer, at the state it has while it converges.
        curvature: λ, an eigenvalue of the Hessian.

    Raises:
        InvalidValueError: a curvature that is not finite.

    Example:
        >>> from optoscope import optimizers
        >>> from optoscope.analysis.dynamics import coordinate_map, linearize
        >>> heavy_ball = linearize(coordinate_map(optimizers.momentum(0.5, 0.25)), np.zeros(1))
        >>> (joint_matrix(heavy_ball, 2.0).round(12) + 0.0).tolist()
        [[0.0, -0.125], [2.0, 0.25]]
    """
    check_number("curvature", curvature)
    jacobian, inputs = linearization.jacobian, linearization.input_jacobian
    slope = linearization.readout @ inputs + linearization.direct
    return np.block(
        [
            [np.array([[1 + slope * curvature]]), (linearization.readout @ jacobian)[None, :]],
            [inputs[:, None] * curvature, jacobian],
        ]
    )


def joint_spectral_radius(linearization: Linearization, curvature: float) -> float:
    """The largest size of an eigenvalue of `joint_matrix`: below 1, the optimizer converges.

    SGD is stable iff λ < 2/α, heavy ball iff α λ < 2 (1 + β).

    Args:
        linearization: of the optimizer.
        curvature: λ.

    Raises:
        InvalidValueError: a curvature that is not finite.

    Example:
        >>> from optoscope import optimizers
        >>> from optoscope.analysis.dynamics import coordinate_map, linearize
        >>> sgd = linearize(coordinate_map(optimizers.sgd(0.5)), np.zeros(0))
        >>> round(joint_spectral_radius(sgd, 3.0), 12)
        0.5
    """
    eigenvalues = np.linalg.eigvals(joint_matrix(linearization, curvature))
    return float(np.abs(eigenvalues).max())
